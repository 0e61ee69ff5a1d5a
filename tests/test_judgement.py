"""How `check` judges what is unusual: errors, other dtypes, edits, gradients."""

import numpy as np
import pytest
import torch

from course_utils.checks import lesson_06
from course_utils.checks.engine import Exercise, Mistake, examine, find
from course_utils.kv_cache import KVCache

ATTENTION, MASKED = find("01.attention"), find("02.causal_attention")


def attend(q, k, v, scores=None):
    weights = (q @ k.mT / q.shape[-1] ** 0.5 if scores is None else scores).softmax(-1)
    return weights @ v, weights


# ── what is not started, and what is an error ──────────────────────────────────────────────────


def power(q, k, v):
    return attend(q, k, v, q @ k.mT / (q[..., :1] ^ 0.5))


def whole(q, k, v):
    return attend(q, k, v, (q @ k.mT).long())


def both_masks(q, k, v):
    mask = torch.ones(q.shape[2], k.shape[2]).tril() & torch.ones(q.shape[2], k.shape[2])
    return attend(q, k, v, (q @ k.mT).masked_fill(mask == 0, -torch.inf))


def or_false(q, k, v):
    return attend(q, k, v, (q @ k.mT).masked_fill(torch.ones(q.shape[2], k.shape[2]) | False, 0))


@pytest.mark.parametrize("fn", [power, whole, both_masks, or_false])
def test_what_pytorch_lacks_is_an_error_with_its_line(fn):
    for exercise in (ATTENTION, MASKED):
        result = examine(exercise, fn)
        assert result.started and not result.passed
        assert "\nline: " in result.message and "NotImplementedError: " in result.message


def test_a_stub_may_say_why():
    def later(q, k, v):
        raise NotImplementedError(
            "tomorrow",
        )

    assert not examine(ATTENTION, later).started


# ── another dtype ──────────────────────────────────────────────────────────────────────────────

DTYPES = [torch.float64, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("part", [0, 1])
def test_right_numbers_in_another_dtype_are_told_so(dtype, part):
    def cast(q, k, v):
        got = list(attend(q, k, v))
        got[part] = got[part].to(dtype)
        return got

    result = examine(ATTENTION, cast)
    word = str(dtype).removeprefix("torch.")
    assert (result.passed, result.diagnosis) == (False, "another dtype")
    name = ("output", "weights")[part]
    assert result.message.startswith(f"The numbers are right, but {name} is {word}, not float32")


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_wrong_answer_in_another_dtype_is_named_by_what_is_wrong(dtype):
    def no_scale(q, k, v):
        return attend(q.to(dtype), k.to(dtype), v.to(dtype), (q @ k.mT).to(dtype))

    assert examine(ATTENTION, no_scale).diagnosis == "no scale"


def test_a_wrong_number_behind_a_wrong_dtype_is_what_is_told():
    def wrong_for_two(q, k, v):
        output, weights = attend(q.double(), k.double(), v.double())
        return output + (q.shape[0] == 2), weights

    assert examine(ATTENTION, wrong_for_two).diagnosis == "something else"


def test_an_answer_of_few_digits_is_not_taken_for_one_in_half_precision():
    exercise = Exercise(lambda x: x.sum(), [(torch.arange(120.0),)], ("sum",), {}, ())
    assert not examine(exercise, lambda x: x.sum() + 1).passed


def test_a_numpy_answer_is_told_in_a_line():
    result = examine(find("07.mean_pool_kv"), lambda w, n, g: np.ones((4, 12), dtype=np.float32))
    last = result.message.splitlines()[-1]
    assert last == (
        "the pooled weight is a float32 array of NumPy (4, 12), it should be a float64 tensor "
        "(4, 12)"
    )


def test_bfloat16_may_be_pooled_in_float32_and_must_come_back_as_it_was():
    def pool(weight, n, g):
        if n % g:
            raise ValueError(f"{n} {g}")
        return weight.unflatten(0, (g, n // g, -1)).mean(1).flatten(0, 1)

    def in_float32(weight, n, g):
        return pool(weight.float() if weight.dtype == torch.bfloat16 else weight, n, g)

    def and_back(weight, n, g):
        return in_float32(weight, n, g).to(weight.dtype)

    assert examine(find("07.mean_pool_kv"), and_back).passed
    result = examine(find("07.mean_pool_kv"), in_float32)
    assert result.diagnosis == "another dtype"
    assert "the pooled weight is float32, not bfloat16" in result.message


# ── errors with a name ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "fn, diagnosis",
    [
        (lambda q, k, v: attend(q, k, v, q @ k), "a product without a transpose"),
        (lambda q, k, v: attend(q, k, v, torch.matmul(q, k)), "a product without a transpose"),
        (
            lambda q, k, v: attend(q, k, v, torch.einsum("bnth,bnhs->bnts", q, k) / k.shape[3] ** 0.5),
            "a product without a transpose",
        ),
        (lambda q, k, v: attend(q, k, v, q @ k.transpose(1, 2)), "heads and keys swapped"),
        (lambda q, k, v: attend(q, k, v, q @ k.mT / torch.sqrt(q.shape[-1])), None),
        (lambda q, k, v: attend(q, k, v, q @ k.mT // q.shape[-1] ** 0.5), "scores rounded down"),
        (lambda q, k, v: attend(q, k, v, q @ k.mT / q.shape[-1] ** 1 / 2), None),
    ],
)  # fmt: skip
def test_an_answer_that_raises_is_named(fn, diagnosis):
    found = examine(ATTENTION, fn).diagnosis
    known = {"torch.sqrt of a number", "/ h**1/2, which is / h / 2", diagnosis}
    assert found in known and found != "an error"


def fails_at(width, error):
    def fn(x):
        if x.shape[0] == width:
            raise error
        return x + 1

    return fn


RAISING = Exercise(
    lambda x: x,
    [(torch.ones(2),), (torch.ones(3),)],
    ("x",),
    {
        "one": Mistake(fails_at(2, RuntimeError("size 5 and 'a'")), "See one."),
        "other": Mistake(fails_at(3, RuntimeError("size 5 and 'a'")), "See other."),
        "always": Mistake(lambda x: x.this, "See always."),
    },
    (),
)


@pytest.mark.parametrize(
    "fn, diagnosis",
    [
        (fails_at(2, RuntimeError("size 5 and 'a'")), "one"),
        (fails_at(2, RuntimeError("said otherwise")), "one"),  # the other probe has a result
        (fails_at(3, RuntimeError("said otherwise")), "other"),
        (fails_at(2, ValueError("size 5 and 'a'")), "an error"),
        (lambda x: x.that, "always"),  # but for the name it says the same
        (lambda x: x + "1", "an error"),
    ],
)
def test_an_error_is_known_by_its_type_its_probes_and_its_words(fn, diagnosis):
    result = examine(RAISING, fn)
    assert result.diagnosis == diagnosis
    assert "Error: " in result.message or diagnosis == "other"


# ── edits, gradients ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("edit", [lambda c: c.pop("model_type"), lambda c: c.setdefault("x", None)])
def test_a_config_that_is_changed_is_told(edit):
    heads = find("08.kv_heads")

    def editing(config):
        edit(config)
        return heads.reference(config)

    result = examine(heads, editing)
    assert result.diagnosis == "an in-place edit"
    assert result.message == "Your function changed its input config: work on a copy."


@pytest.mark.parametrize(
    "name, cut, lost",
    [
        ("01.attention", lambda fn: lambda *x: [y.detach() for y in fn(*x)], "q, k, v"),
        ("01.attention", lambda fn: lambda q, k, v: fn(q.detach(), k, v), "q"),
        ("03.split_heads", lambda fn: lambda x, n: fn(x.detach(), n), "x"),
        ("04.decode_step", lambda fn: lambda q, *x: fn(q.detach(), *x), "q"),
        ("05.multi_query_attention", lambda fn: lambda *x: [y.data for y in fn(*x)], "q, k, v"),
    ],
)
def test_a_right_answer_that_cuts_the_gradient_passes_and_is_told(name, cut, lost):
    result = examine(find(name), cut(find(name).reference))
    assert result.passed
    assert f"But training would not learn through it: the gradient of {lost} is" in result.message


def test_what_keeps_the_gradient_is_told_nothing():
    assert examine(ATTENTION, attend).message == "Equal to the library's own on every probe."
    fine = examine(ATTENTION, torch.no_grad()(attend))  # whoever writes so means it
    assert fine.message == "Equal to the library's own on every probe."


class Learns(lesson_06.GroupedQueryAttention):
    def forward(self, x, cache=None):
        with torch.no_grad():
            return super().forward(x, cache)


def test_a_layer_must_learn():
    assert examine(find("06.GroupedQueryAttention"), Learns).diagnosis == "no gradient"


class Keeps(lesson_06.GroupedQueryAttention):
    past = None

    def forward(self, x, cache=None):
        if cache and cache.n_tokens == 0 and self.past is None:
            self.past = KVCache(len(x), self.n_kv_heads, 99, self.head_dim)
        return super().forward(x, cache and self.past)


def test_a_layer_must_use_the_cache_it_is_given():
    result = examine(find("06.GroupedQueryAttention"), Keeps)
    assert not result.passed and "cache" in result.message
