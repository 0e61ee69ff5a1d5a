"""How `check` judges what is unusual: errors, other dtypes, edits, gradients; and what it draws."""

import html
import re

import numpy as np
import pytest
import torch

from course_utils import checks
from course_utils.checks import lesson_06
from course_utils.checks.engine import Exercise, Mistake, examine, find
from course_utils.checks.maps import READABLE, compared, grid, scale, wanted
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


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_on_the_way_is_seen_though_the_results_do_not_show_it(dtype):
    def scores_in_half(q, k, v):
        return attend(q, k, v, (q.to(dtype) @ k.to(dtype).mT).float() / q.shape[-1] ** 0.5)

    result = examine(ATTENTION, scores_in_half)
    assert result.passed and "training" not in result.message

    def and_wrong(q, k, v):
        return attend(q, k, v, (q.to(dtype) @ k.to(dtype).mT).float())

    assert not examine(ATTENTION, and_wrong).passed


def test_an_answer_of_few_digits_is_not_taken_for_one_in_half_precision():
    exercise = Exercise(lambda x: x.sum(), [(torch.arange(120.0),)], ("sum",), {}, ())
    assert not examine(exercise, lambda x: x.sum() + 1).passed


def test_a_numpy_answer_is_told_in_a_line():
    result = examine(find("07.mean_pool_kv"), lambda w, n, g: np.ones((4, 4), dtype=np.float32))
    last = result.message.splitlines()[-1]
    assert last == (
        "the pooled weight is a float32 array of NumPy (4, 4), it should be a float64 tensor "
        "(4, 4); torch.from_numpy makes one"
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


# ── numbers with a point ───────────────────────────────────────────────────────────────────────

THIRD = Exercise(lambda n: n / 3, [(1,), (6,)], ("a third",), {}, ())


@pytest.mark.parametrize(
    "fn",
    [
        lambda n: n * (1 / 3),
        lambda n: float(np.float32(n) / 3),
        lambda n: np.float64(n) / 3,
        lambda n: np.float32(n) / 3,
        lambda n: 2 if n == 6 else n / 3,
    ],
)
def test_where_a_float_is_expected_any_number_will_do_that_is_as_near(fn):
    assert examine(THIRD, fn).passed


@pytest.mark.parametrize(
    "fn, said",
    [
        (lambda n: n * 0.333, "a third is 0.333, it should be 0.33333333"),
        (lambda n: round(n / 3), "a third is 0, it should be 0.33333333"),
        (lambda n: n // 3 + n % 3, "a third is 1, it should be 0.33333333"),
        (lambda n: n * 0.1 + 0.2, "a third is 0.3, it should be 0.33333333"),
        (lambda n: True, "a third is True, it should be 0.33333333"),
        (lambda n: "1/3", "a third is '1/3', it should be 0.33333333"),
        (lambda n: [n / 3], "a third is a list of 1, it should be 0.33333333"),
        (lambda n: float("nan"), "a third is nan, it should be 0.33333333"),
        (lambda n: torch.tensor(n / 3), "a third is a float32 tensor (), it should be 0.33333333"),
    ],
)
def test_another_number_is_told_in_a_line(fn, said):
    result = examine(THIRD, fn)
    assert (result.passed, result.message.splitlines()[-1]) == (False, said)


def test_a_model_is_shown_by_its_name_and_its_sizes():
    result = examine(find("09.tokens_per_second"), lambda *given: 1.0)
    assert result.message.splitlines()[1] == (
        "for model Llama-3 8B (l = 32, n = 32, g = 8, h = 128), n_weights = 8030261248, "
        "batch = 1, n_tokens = 8192, bandwidth = 3350, peak = 989"
    )


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


def split_by_n(self, x, cache=None):
    heads = [self.q_proj(x), self.k_proj(x), self.v_proj(x)]
    q, k, v = (y.view(*y.shape[:2], self.n_heads, -1).transpose(1, 2) for y in heads)
    if cache:
        k, v = cache.append(k, v)
    return self.o_proj(q.transpose(1, 2).flatten(2)), q @ k.mT


@pytest.mark.parametrize(
    "fn, name, never",
    [
        (
            lambda q, k, v: attend(
                q, k, v, (q @ k.mT).masked_fill(~torch.ones(3, 4).tril().T.bool()[:3, :3], -9e9)
            ),
            "02.causal_attention",
            "a mask for t keys",
        ),
        (
            type("Layer", (lesson_06.GroupedQueryAttention,), {"forward": split_by_n}),
            "06.GroupedQueryAttention",
            "K and V projected to n heads",
        ),
    ],
)
def test_an_error_by_chance_of_the_same_type_is_not_named(fn, name, never):
    result = examine(find(name), fn)
    assert not result.passed and result.diagnosis != never


def refusing_with(error):
    def pool(weight, n, g):
        if n % g:
            raise error(f"{n} {g}")
        return find("07.mean_pool_kv").reference(weight, n, g)

    return pool


@pytest.mark.parametrize("error", [RuntimeError, IndexError, TypeError, NotImplementedError])
def test_an_error_raised_by_hand_is_not_pytorchs(error):
    result = examine(find("07.mean_pool_kv"), refusing_with(error))
    assert result.started and result.diagnosis == "an error of another kind"


def test_a_latent_refused_with_another_error_is_started():
    def heads(config):
        if config.get("kv_lora_rank"):
            raise NotImplementedError("a latent")
        return find("08.kv_heads").reference(config)

    result = examine(find("08.kv_heads"), heads)
    assert result.started and result.diagnosis == "an error of another kind for a latent"


def test_none_of_a_get_is_told():
    result = examine(find("08.kv_heads"), lambda config: config.get("num_key_value_heads"))
    assert result.diagnosis == "nothing returned"
    assert "A get gives None where the field is absent." in result.message


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


# ── what is drawn ──────────────────────────────────────────────────────────────────────────────


def tables(page):
    return re.findall(r"<table.*?</table>", page)


def numbers(table):
    return [re.findall(r">([^<>]+)</td>", row) for row in table.split("</tr>")[:-1]]


def test_a_wrong_answer_is_drawn_beside_the_librarys_and_marked_where_it_differs():
    expected, got = torch.eye(3), torch.eye(3)
    got[1, 2] = 0.25
    page, alt = compared(("x",), expected, got)
    library, yours = map(numbers, tables(page))
    assert library == [["1", "0", "0"], ["0", "1", "0"], ["0", "0", "1"]]
    assert yours == [["1", "0", "0"], ["0", "1", "≠ .25"], ["0", "0", "1"]]
    assert alt == (
        "Heat maps of x, the library's beside yours: 1 of 9 places differ, most in row 1, column "
        "2: 0 there, yours .25."
    )
    assert f'role="img" aria-label="{html.escape(alt)}"' in page


def test_the_map_that_differs_most_is_drawn():
    expected, got = torch.zeros(2, 3, 2, 2), torch.zeros(2, 3, 2, 2)
    got[0, 0, 0, 0], got[1, 2, 1, 0] = 0.5, torch.nan
    page, alt = compared(("x",), expected, got)
    assert "library: x[1, 2]" in page
    assert "most in row 1, column 0: 0 there, yours nan" in alt


@pytest.mark.parametrize("lowest", [0, -1])  # both scales of colours
def test_every_number_can_be_read_on_its_colour(lowest):
    """WCAG 2, 1.4.3: a contrast of 4.5, by its own formula."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)]
        linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
        return sum(a * b for a, b in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    x = torch.linspace(lowest, 1, 513).reshape(27, 19)
    cells = re.findall("background: #(.{6}); color: (white|black)", grid("x", x, scale(x)))
    assert len(cells) == 513 and len({ink for _, ink in cells}) == 2
    for fill, ink in cells:
        darker, lighter = sorted([luminance(fill), float(ink == "white")])
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (fill, ink)


def test_another_shape_is_drawn_beside_the_right_one():
    page, alt = compared(("x",), torch.zeros(2, 3), torch.zeros(3, 2))
    assert [len(numbers(x)) for x in tables(page)] == [2, 3]
    assert alt == "Heat maps: the library's x (2, 3), yours (3, 2)."


@pytest.mark.parametrize(
    "expected, got",
    [
        (torch.zeros(READABLE + 1, 2), torch.ones(READABLE + 1, 2)),
        (torch.zeros(2, 2), None),
        (torch.zeros(2, 2), "x"),
        (torch.zeros(2, 2), np.zeros((2, 2))),
        ((torch.zeros(2, 2), torch.zeros(2, 2)), torch.zeros(2, 2)),
        (torch.zeros(2, 2), torch.zeros(0, 2)),
        (torch.zeros(()), torch.ones(())),
        (ValueError("no"), torch.zeros(2, 2)),
        (4, 5),
    ],
)
def test_words_say_what_no_picture_can(expected, got):
    names = ("x", "y")[: 2 if isinstance(expected, tuple) else 1]
    assert compared(names, expected, got) == ("", "")


def test_before_anything_is_written_a_small_example_is_drawn():
    result = examine(find("03.split_heads"), lambda x, n_heads: ...)
    page, alt = result.picture
    given, *heads = map(numbers, tables(page))
    assert given == [["0", "1", "2", "3", "4", "5"], ["6", "7", "8", "9", "10", "11"]]
    assert heads == [[["0", "1"], ["6", "7"]], [["2", "3"], ["8", "9"]], [["4", "5"], ["10", "11"]]]
    assert alt == "An example, as heat maps: x (1, 2, 6), n_heads = 3 → the result (1, 3, 2, 2)."
    assert wanted(("n",), (8,), ("g",), 4) == ("", "")


TENSORS = ["01.attention", "02.causal_mask", "02.causal_attention", "03.split_heads"]
TENSORS += ["03.merge_heads", "03.multi_head_attention", "04.decode_step"]
TENSORS += ["05.multi_query_attention", "06.grouped_query_attention", "07.mean_pool_kv"]


@pytest.mark.parametrize("name", TENSORS)
def test_every_exercise_of_tensors_draws_what_is_wanted_and_what_is_wrong(name):
    exercise = find(name)
    assert examine(exercise, lambda *given: ...).picture[0].count("<table") >= 1
    diagnosis, mistake = next(iter(exercise.mistakes.items()))
    page, alt = examine(exercise, mistake.wrong).picture
    assert page.count("<table") >= 2 and "yours" in alt, diagnosis


def test_the_card_and_its_text_have_the_picture(capsys):
    checks.check("02.causal_mask", lambda t, s: torch.ones(t, s, dtype=torch.bool))
    shown = capsys.readouterr().out
    assert "≠ True" in shown and "places differ, most in row 0" in shown
