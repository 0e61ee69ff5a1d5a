"""Exercises: each mistake has its own diagnosis, the reference and other good styles pass."""

import functools
import io
import json
import math
import struct

import numpy as np
import pytest
import torch
from test_checks_10 import STYLES as LATENT
from test_checks_11 import STYLES as FACTORS

from course_utils import checks, cost
from course_utils.checks import lesson_06, lesson_07
from course_utils.checks.engine import Exercise, Mistake, examine, exercises, find
from course_utils.checks.wrong import refusing
from course_utils.geometry import UNSHARED
from course_utils.kv_cache import KVCache


def careful(fn, text="{} heads cannot share {}"):
    """fn behind a check of n and g, for q, k and v."""
    return refusing(fn, lesson_06.heads_of, text)


def careful_pool(fn):
    """fn behind a check of n and g, for a weight."""
    return refusing(fn, lesson_07.heads_of)


MISTAKES = [(name, diagnosis) for name, e in exercises().items() for diagnosis in e.mistakes]


@pytest.mark.parametrize("name", exercises())
def test_the_reference_passes(name):
    exercise = find(name)
    result = examine(exercise, exercise.reference)
    assert result.passed and result.started and result.diagnosis is None


@pytest.mark.parametrize("name, diagnosis", MISTAKES)
def test_every_mistake_is_rejected_with_its_own_diagnosis(name, diagnosis):
    exercise = find(name)
    mistake = exercise.mistakes[diagnosis]
    result = examine(exercise, mistake.wrong)
    assert (result.passed, result.started, result.diagnosis) == (False, True, diagnosis)
    said, inputs, *shown = result.message.splitlines()
    assert said == f"This is what you get with {diagnosis}. {mistake.see}"
    assert inputs.startswith("for ") and shown  # shapes; what was expected and what came


def by_einsum(q, k, v):
    scores = torch.einsum("bnth,bnsh->bnts", q, k) / math.sqrt(q.size(-1))
    weights = torch.nn.functional.softmax(scores, dim=-1)
    return torch.einsum("bnts,bnsh->bnth", weights, v), weights


def by_loop(q, k, v):
    weights = torch.zeros(*q.shape[:3], k.shape[2])
    output = torch.zeros_like(q)
    for b, n, t in torch.cartesian_prod(*map(torch.arange, q.shape[:3])).tolist():
        e = torch.stack([(q[b, n, t] @ key / q.shape[3] ** 0.5).exp() for key in k[b, n]])
        weights[b, n, t] = e / e.sum()
        output[b, n, t] = sum(w * value for w, value in zip(weights[b, n, t], v[b, n], strict=True))
    return output, weights


def scaled_query(q, k, v):
    weights = (q * q.shape[-1] ** -0.5 @ k.transpose(-2, -1)).softmax(3)
    return [weights @ v, weights]


def by_repeat_interleave(q, k, v):
    r = q.shape[1] // k.shape[1]
    return by_einsum(q, k.repeat_interleave(r, 1), v.repeat_interleave(r, 1))


def by_hand_stable(q, k, v):
    scores = q.double() @ k.double().mT / q.shape[-1] ** 0.5
    e = (scores - scores.amax(-1, keepdim=True)).exp()
    weights = e / e.sum(-1, keepdim=True)
    return (weights @ v.double()).to(q.dtype), weights.to(q.dtype)


def computed_in(dtype, fn):
    """fn in another precision, and its results cast back."""

    def cast(x, dtype):
        return x.to(dtype) if isinstance(x, torch.Tensor) else x

    def casting(*given):
        got = fn(*(cast(x, dtype) for x in given))
        several = isinstance(got, tuple | list)
        return tuple(cast(x, given[0].dtype) for x in got) if several else cast(got, given[0].dtype)

    return casting


def in_half_precision(q, k, v):
    return computed_in(torch.half, by_einsum)(q, k, v)


def in_bfloat16(q, k, v):
    return computed_in(torch.bfloat16, by_einsum)(q, k, v)


def by_pytorch(q, k, v):
    fused = torch.nn.functional.scaled_dot_product_attention
    eye = torch.eye(k.shape[2]).expand(*k.shape[:2], -1, -1)
    h = q.shape[-1]
    return fused(q, k, v), fused(q, k, eye, scale=h**-0.5)


STYLES = [
    by_einsum,
    by_loop,
    scaled_query,
    by_repeat_interleave,
    by_hand_stable,
    in_half_precision,
    in_bfloat16,
    by_pytorch,
]


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.__name__)
def test_other_good_styles_pass(style):
    result = examine(find("01.attention"), style)
    assert result.passed, result.message


def stub(q, k, v):
    """What it should do."""
    ...


def not_implemented(q, k, v):
    raise NotImplementedError


def returns_ellipsis(q, k, v):
    return ...


@pytest.mark.parametrize("fn", [stub, not_implemented, returns_ellipsis])
def test_an_untouched_stub_is_not_started(fn):
    result = examine(find("01.attention"), fn)
    assert (result.passed, result.started, result.diagnosis) == (False, False, None)


def test_a_constant_is_not_taken_for_a_mistake_it_equals_by_chance():
    assert examine(find("00.group_size"), lambda n, g: 6).diagnosis == "something else"


def test_what_a_function_prints_is_printed_once_a_probe(capsys):
    def says_so(q, k, v):
        print("here")
        return q @ k.mT @ v, q @ k.mT

    result = examine(find("01.attention"), says_so)
    assert capsys.readouterr().out == "here\n"
    assert result.diagnosis == "something else"


@pytest.mark.parametrize("given", [None, (torch.ones(2), torch.ones(2)), "attention"])
def test_what_is_not_a_function_is_told(given):
    result = examine(find("01.attention"), given)
    assert (result.passed, result.diagnosis) == (False, "not a function")
    assert result.message.startswith("Give check the function itself, without calling it;")


class Module(torch.nn.Module):
    def __init__(self, act):
        super().__init__()
        self.act = act

    def forward(self, q, k, v):
        return self.act(q, k, v)


class StubModule(torch.nn.Module):
    def forward(self, q, k, v): ...


WRAPPERS = {
    "lambda": lambda fn: lambda q, k, v: fn(q, k, v),
    "partial": functools.partial,
    "module": Module,
    "no_grad": torch.no_grad(),
    "method": lambda fn: Module(fn).forward,
}


@pytest.mark.parametrize("wrap", WRAPPERS.values(), ids=WRAPPERS)
def test_whatever_can_be_called_can_be_checked(wrap):
    assert examine(find("01.attention"), wrap(by_einsum)).passed

    def fails(q, k, v):
        return undefined  # noqa: F821

    assert examine(find("01.attention"), wrap(fails)).diagnosis == "an error"


@pytest.mark.parametrize("fn", [functools.partial(stub), StubModule(), torch.no_grad()(stub)])
def test_a_stub_is_known_in_any_wrapping(fn):
    assert not examine(find("01.attention"), fn).started


def test_half_written_code_that_is_not_implemented_is_not_started():
    def half(q, k, v):
        scores = q @ k.mT
        raise NotImplementedError(scores)

    assert not examine(find("01.attention"), half).started


def refuses(n, g):
    if n % g:
        raise ValueError(f"{n} % {g} is not 0")
    return n // g


REFUSING = Exercise(refuses, [(4, 2), (4, 3)], ("size",), {}, ())


def test_a_function_can_be_asked_to_refuse():
    assert examine(REFUSING, refuses).passed
    result = examine(REFUSING, lambda n, g: n // g)
    assert result.diagnosis == "something else"
    assert result.message.endswith("it should raise ValueError: 4 % 3 is not 0")
    named = REFUSING._replace(mistakes={"n % g ≠ 0 accepted": Mistake(lambda n, g: n // g, "See.")})
    assert examine(named, lambda n, g: n // g).diagnosis == "n % g ≠ 0 accepted"


def test_a_cache_may_be_changed():
    def decode(k, cache):
        return cache.append(k, k)[0] * 1

    k = torch.randn(1, 1, 2, 3)
    exercise = Exercise(decode, [(k, KVCache(1, 1, 4, 3))], ("keys",), {}, ())
    assert examine(exercise, decode).passed


@pytest.mark.parametrize(
    "got, said",
    [
        (torch.ones(2, 2), "mask is a float32 tensor (2, 2), it should be a bool tensor (2, 2)"),
        (
            torch.ones(2, 2).int(),
            "mask is a int32 tensor (2, 2), it should be a bool tensor (2, 2)",
        ),
        (torch.ones(2, 2).bool(), "mask differs by up to 1"),
        (torch.tensor(True), "mask is a bool tensor (), it should be a bool tensor (2, 2)"),
    ],
)
def test_masks_must_be_masks(got, said):
    exercise = Exercise(lambda t: torch.ones(t, t).tril().bool(), [(2,)], ("mask",), {}, ())
    assert said in examine(exercise, lambda t: got).message


@pytest.mark.parametrize(
    "wrong, said",
    [
        ((0, 0, 0), "here in x[0, 0]\nexpected [1.000, 1.000, 1.000, 1.000, …]\n     got [9.000"),
        ((1, 2, 4), "x[1, 2]\nexpected […, 1.000, 1.000, 1.000, 1.000, …]\n     got […, 1.000"),
        ((1, 0, 5), "x[1, 0]\nexpected […, 1.000, 1.000, 1.000, 1.000]\n     got […, 1.000"),
    ],
)
def test_what_differs_is_shown_where_it_differs_most(wrong, said):
    exercise = Exercise(lambda t: torch.ones(2, 3, 6), [(2,)], ("x",), {}, ())
    got = torch.ones(2, 3, 6)
    got[wrong] = 9
    assert said in examine(exercise, lambda t: got).message


class Flattering(torch.Tensor):
    @classmethod
    def __torch_function__(cls, fn, types, given=(), named=None):
        return True if fn in (torch.allclose, torch.equal) else given[0]


class Dispatching(torch.Tensor):
    @classmethod
    def __torch_dispatch__(cls, fn, types, given=(), named=None):
        return given[0]


class Posing:
    __class__ = torch.Tensor
    shape, dtype = torch.Size([3]), torch.float32

    def is_floating_point(self):
        return True

    def detach(self):
        return self

    double = detach
    __torch_function__ = Flattering.__torch_function__


@pytest.mark.parametrize("as_", [tuple, list, lambda x: x[0]])
@pytest.mark.parametrize(
    "lie",
    [
        lambda: torch.zeros(3).as_subclass(Flattering),
        lambda: torch.zeros(3).as_subclass(Dispatching),
        Posing,
    ],
)
def test_what_says_itself_that_it_is_equal_is_not_believed(lie, as_):
    exercise = Exercise(lambda t: as_([torch.ones(t)]), [(3,)], ("x",), {}, ())
    assert not examine(exercise, lambda t: as_([lie()])).passed
    assert examine(exercise, lambda t: as_([torch.nn.Parameter(torch.ones(t))])).passed


def test_a_number_in_a_tensor_can_be_wrong():
    exercise = Exercise(lambda t: torch.tensor(1.0), [(2,)], ("loss",), {}, ())
    assert "loss differs by up to 1" in examine(exercise, lambda t: torch.tensor(2.0)).message
    assert "nan" in examine(exercise, lambda t: torch.tensor(float("nan"))).message


def test_a_forgotten_return_is_told_from_a_stub():
    def forgot(q, k, v):
        weights = (q @ k.mT).softmax(-1)
        weights @ v

    result = examine(find("01.attention"), forgot)
    assert (result.started, result.diagnosis) == (True, "nothing returned")


def test_an_in_place_edit_is_caught_and_named():
    def divides_q_itself(q, k, v):
        q /= q.shape[-1] ** 0.5
        weights = (q @ k.mT).softmax(-1)
        return weights @ v, weights

    result = examine(find("01.attention"), divides_q_itself)
    assert result.diagnosis == "an in-place edit"
    assert result.message == "Your function changed its input q: work on a new tensor."


def test_probes_are_never_changed():
    before = [x.clone() for probe in find("01.attention").probes for x in probe]
    examine(find("01.attention"), lambda q, k, v: (q.zero_(), k.zero_()))
    after = [x for probe in find("01.attention").probes for x in probe]
    assert all(map(torch.equal, before, after))


def test_an_error_is_reported_with_the_shapes_and_the_line():
    def forgets_to_transpose(q, k, v):
        weights = (q @ k).softmax(-1)
        return weights @ v, weights

    result = examine(find("01.attention"), forgets_to_transpose)
    assert result.diagnosis == "a product without a transpose"
    said, shapes, line, error = result.message.splitlines()
    assert said.startswith("This is what you get with a product without a transpose. q @ k would")
    assert shapes == "for q (1, 1, 3, 2), k (1, 1, 3, 2), v (1, 1, 3, 2)"
    assert line == "line: weights = (q @ k).softmax(-1)"
    assert error.startswith("RuntimeError: ")

    def misspells(q, k, v):
        return softmax(q @ k.mT)  # noqa: F821

    result = examine(find("01.attention"), misspells)
    assert result.diagnosis == "an error"
    assert result.message.splitlines()[0] == "It raised an error."


@pytest.mark.parametrize(
    "fn, said",
    [
        (lambda q, k, v: (by_einsum(q, k, v)[0] + 1, by_einsum(q, k, v)[1]), "output differs by"),
        (lambda q, k, v: (by_einsum(q, k, v)[0], by_einsum(q, k, v)[1] ** 2), "weights differs by"),
        (lambda q, k, v: (q[0], k), "output is a float32 tensor (1, 3, 2), it should be a float32"),
        (lambda q, k, v: (q, k, v), "return 2 things, output, weights; you returned a tuple of 3"),
        (lambda q, k, v: "done", "return 2 things, output, weights; you returned 'done'"),
        (lambda q, k, v: (1.0, 2.0), "output is 1.0, it should be a float32 tensor (1, 1, 3, 2)"),
    ],
)
def test_an_unknown_mistake_is_told_by_what_differs(fn, said):
    result = examine(find("01.attention"), fn)
    assert result.diagnosis == "something else"
    assert said in result.message


@pytest.mark.parametrize("fn", [lambda n, g: True, lambda n, g: "4", lambda n, g: torch.tensor(4)])
def test_a_number_must_be_a_whole_number(fn):
    assert not examine(find("00.group_size"), fn).passed


def test_probes_have_shapes_that_tell_mistakes_apart():
    q, k, _ = find("01.attention").probes[-1]
    letters = [*q.shape, k.shape[2]]
    assert len(set(letters)) == len(letters)  # b, n, t, h, s all different
    _, weights = find("01.attention").reference(*find("01.attention").probes[-1])
    assert weights.max() < 0.99  # softmax does not saturate


def test_check_shows_hints_in_order_and_the_solution_last(capsys):
    result = checks.check("01.attention", stub)
    page = capsys.readouterr().out
    assert "01.attention: Not started. Replace the ... and run the cell again." in page
    places = [page.index(f"Hint {i} of 3") for i in (1, 2, 3)]
    assert places == sorted(places) and places[-1] < page.index("Solution")
    assert not result.started


def test_an_unknown_exercise_suggests_the_nearest():
    with pytest.raises(KeyError) as error:
        checks.check("01.atention", stub)
    assert error.value.args[0] == "no exercise named '01.atention'; did you mean '01.attention'?"


def mask_by_rows(t, s):
    return torch.tensor([[j <= s - t + i for j in range(s)] for i in range(t)])


def softmax_of(scores, v):
    weights = scores.softmax(-1)
    return weights @ v, weights


def mask_for(q, k):
    t, s = q.shape[-2], k.shape[-2]
    return torch.ones(t, s, dtype=torch.bool).tril(s - t)


def causal_scores(q, k):
    """Scaled scores, and the mask that goes with them."""
    return q @ k.mT / q.shape[-1] ** 0.5, mask_for(q, k)


def causal_in_place(q, k, v):
    scores, mask = causal_scores(q, k)
    scores[..., ~mask] = -torch.inf
    return softmax_of(scores, v)


def causal_by_where(q, k, v):
    scores, mask = causal_scores(q, k)
    return softmax_of(torch.where(mask, scores, float("-inf")), v)


def causal_by_adding(q, k, v):
    scores, mask = causal_scores(q, k)
    return softmax_of(scores + torch.zeros(mask.shape).masked_fill(~mask, -torch.inf), v)


def causal_with_a_large_number(q, k, v):
    scores, mask = causal_scores(q, k)
    return softmax_of(scores.masked_fill(~mask, -1e9), v)


def causal_by_triu(q, k, v):
    scores, _ = causal_scores(q, k)
    t, s = scores.shape[-2:]
    return softmax_of(scores + torch.full((t, s), -torch.inf).triu(s - t + 1), v)


def causal_renormalised(q, k, v):
    scores, mask = causal_scores(q, k)
    e = scores.exp() * mask
    weights = e / e.sum(-1, keepdim=True)
    return weights @ v, weights


def causal_by_loop(q, k, v):
    t, s = q.shape[2], k.shape[2]
    output, weights = torch.zeros_like(q), torch.zeros(*q.shape[:3], s)
    for i in range(t):
        seen = s - t + i + 1
        out, w = by_einsum(q[:, :, i : i + 1], k[:, :, :seen], v[:, :, :seen])
        output[:, :, i], weights[:, :, i, :seen] = out[:, :, 0], w[:, :, 0]
    return output, weights


def causal_by_pytorch(q, k, v):
    fused, mask = torch.nn.functional.scaled_dot_product_attention, mask_for(q, k)
    eye = torch.eye(k.shape[2]).expand(*k.shape[:2], -1, -1)
    return fused(q, k, v, mask), fused(q, k, eye, mask, scale=q.shape[-1] ** -0.5)


def in_half(fn):
    return computed_in(torch.half, fn)


def heads_by_loop(x, w_q, w_k, w_v, w_o, n):
    h = w_q.shape[1] // n
    outputs, maps = [], []
    for i in range(n):
        q, k, v = (x @ w[:, i * h : (i + 1) * h] for w in (w_q, w_k, w_v))
        output, weights = causal_by_where(q, k, v)
        outputs.append(output)
        maps.append(weights)
    return torch.cat(outputs, -1) @ w_o, torch.stack(maps, 1)


def heads_by_einsum(x, w_q, w_k, w_v, w_o, n):
    q, k, v = (torch.einsum("btd,dnh->bnth", x, w.unflatten(1, (n, -1))) for w in (w_q, w_k, w_v))
    output, weights = causal_by_where(q, k, v)
    return torch.einsum("bnth,nhd->btd", output, w_o.unflatten(0, (n, -1))), weights


def heads_by_linear(x, w_q, w_k, w_v, w_o, n):
    linear, (b, t, _) = torch.nn.functional.linear, x.shape
    q, k, v = (linear(x, w.T).reshape(b, t, n, -1).transpose(1, 2) for w in (w_q, w_k, w_v))
    output, weights = causal_in_place(q, k, v)
    return linear(output.transpose(1, 2).reshape(b, t, -1), w_o.T), weights


def decode_by_cat(q, k_new, v_new, cache):
    s = cache.n_tokens
    k = torch.cat([cache.k[:, :, :s], k_new], dim=2)
    v = torch.cat([cache.v[:, :, :s], v_new], dim=2)
    cache.append(k_new, v_new)
    return by_groups(q, k, v, causal_in_place)[0]


def decode_token_by_token(q, k_new, v_new, cache):
    outputs = []
    for i in range(q.shape[2]):
        now = slice(i, i + 1)
        k, v = cache.append(k_new[:, :, now], v_new[:, :, now])
        outputs.append(by_repeat_interleave(q[:, :, now], k, v)[0])
    return torch.cat(outputs, dim=2)


def decode_by_hand(q, k_new, v_new, cache):
    t, s = q.shape[2], cache.n_tokens
    cache.k[:, :, s : s + t], cache.v[:, :, s : s + t] = k_new, v_new
    cache.n_tokens += t
    return by_groups(q, cache.k[:, :, : s + t], cache.v[:, :, : s + t], causal_by_where)[0]


def decode_by_pytorch(q, k_new, v_new, cache):
    k, v = cache.append(k_new, v_new)
    fused = torch.nn.functional.scaled_dot_product_attention
    return fused(q, k, v, mask_for(q, k), enable_gqa=True)


def by_groups(q, k, v, attend=by_einsum):
    r = q.shape[1] // k.shape[1]
    return attend(q, k.repeat_interleave(r, 1), v.repeat_interleave(r, 1))


def by_loose_fold(q, k, v):
    b, n, t, h = q.shape
    weights = (q.reshape(b, k.shape[1], -1, h) @ k.mT / h**0.5).softmax(-1)
    return (weights @ v).reshape(b, n, t, h), weights.reshape(b, n, t, -1)


def by_fold(q, k, v):
    if q.shape[1] % k.shape[1]:
        raise ValueError("uneven")
    return by_loose_fold(q, k, v)


def by_dropping_the_head(q, k, v):
    k, v = k[:, 0], v[:, 0]
    weights = (torch.einsum("bnth,bsh->bnts", q, k) / q.shape[-1] ** 0.5).softmax(-1)
    return torch.einsum("bnts,bsh->bnth", weights, v), weights


def by_broadcast(q, k, v):
    return softmax_of(q @ k.mT / q.shape[-1] ** 0.5, v)


def by_expand(q, k, v):
    return by_einsum(q, k.expand(-1, q.shape[1], -1, -1), v.expand(-1, q.shape[1], -1, -1))


def by_five_axes(q, k, v):
    q = q.unflatten(1, (k.shape[1], -1))
    weights = (q @ k[:, :, None].mT / q.shape[-1] ** 0.5).softmax(-1)
    return (weights @ v[:, :, None]).flatten(1, 2), weights.flatten(1, 2)


def by_five_letters(q, k, v):
    q = q.unflatten(1, (k.shape[1], -1))
    weights = (torch.einsum("bgrth,bgsh->bgrts", q, k) / q.shape[-1] ** 0.5).softmax(-1)
    return torch.einsum("bgrts,bgsh->bgrth", weights, v).flatten(1, 2), weights.flatten(1, 2)


def by_head(q, k, v):
    n, g = q.shape[1], k.shape[1]
    if n % g:
        raise AssertionError
    each = [
        softmax_of(q[:, i] @ k[:, i * g // n].mT / q.shape[-1] ** 0.5, v[:, i * g // n])
        for i in range(n)
    ]
    return tuple(torch.stack(x, dim=1) for x in zip(*each, strict=True))


def by_group(q, k, v):
    r = q.shape[1] // k.shape[1]
    each = [
        by_einsum(
            q[:, i * r : (i + 1) * r],
            k[:, i : i + 1].expand(-1, r, -1, -1),
            v[:, i : i + 1].expand(-1, r, -1, -1),
        )
        for i in range(k.shape[1])
    ]
    output, weights = (torch.cat(x, dim=1) for x in zip(*each, strict=True))
    return output.view_as(q), weights


def pool_by_loop(weight, n, g):
    r, h = n // g, weight.shape[0] // n
    pooled = torch.zeros(g * h, weight.shape[1], dtype=weight.dtype)
    for i in range(n):
        rows = i // r * h + torch.arange(h)
        pooled[rows] += weight[i * h : (i + 1) * h] / r
    return pooled


def pool_by_groups(weight, n, g):
    heads = torch.stack(weight.chunk(n))
    return torch.cat([heads[i * n // g : (i + 1) * n // g].mean(0) for i in range(g)])


def pool_by_matrix(weight, n, g):
    mean = torch.eye(g, dtype=weight.dtype).repeat_interleave(n // g, 1) / (n // g)
    return (mean @ weight.reshape(n, -1)).reshape(-1, weight.shape[1])


def pool_by_einsum(weight, n, g):
    return torch.einsum("grhd->ghd", weight.view(g, n // g, -1, weight.shape[1])).flatten(0, 1) / (
        n // g
    )


def pool_by_numpy(weight, n, g):
    groups = weight.numpy().reshape(g, n // g, -1, weight.shape[1])
    return torch.from_numpy(groups.mean(axis=1).reshape(-1, weight.shape[1]))


def range_by_struct(header_bytes, tensor_name):
    (n,) = struct.unpack_from("<Q", header_bytes)
    header = json.loads(header_bytes[8:][:n].decode("utf-8"))
    start = 8 + n + header[tensor_name]["data_offsets"][0]
    return start, start + range_by_size(header[tensor_name]) - 1


def range_by_size(info):
    return math.prod(info["shape"]) * {"F32": 4, "BF16": 2}[info["dtype"]]


def range_by_stream(header_bytes, tensor_name):
    file = io.BytesIO(header_bytes)
    n = int(np.frombuffer(file.read(8), "<u8")[0])
    header = json.loads(file.read(n))
    return [file.tell() + x - i for i, x in enumerate(header[tensor_name]["data_offsets"])]


def heads_by_match(config):
    match config:
        case {"kv_lora_rank": int()}:
            raise ValueError("a latent")
        case {"new_decoder_architecture": True, "num_kv_heads": g}:
            return g
        case {"multi_query": True}:
            return 1
        case {"multi_query": False} if g := config.get("n_head", config.get("num_attention_heads")):
            return g
        case {"num_key_value_heads": int(g)}:
            return g
        case {"model_type": "llama", "num_attention_heads": g} | {
            "model_type": "gpt2",
            "n_head": g,
        }:
            return g
    raise ValueError("unknown")


def heads_by_family(config):
    n = config.get("n_head", config.get("num_attention_heads"))
    family = config["model_type"]
    if family.startswith("deepseek"):
        raise ValueError(f"{family} caches a latent")
    if family == "falcon":
        shared = config["num_kv_heads"] if config["new_decoder_architecture"] else 1
        return shared if config["multi_query"] else n
    if family == "gpt_bigcode":
        return 1 if config["multi_query"] else n
    if g := config.get("num_key_value_heads"):
        return g
    if family not in UNSHARED:
        raise ValueError(f"{family} may have another name for it")
    return n


class Layer(torch.nn.Module):
    """Grouped-query attention as a learner may write it."""

    def __init__(self, d_model, n_heads, n_kv_heads, dtype=None):
        super().__init__()
        self.h, self.r = d_model // n_heads, n_heads // n_kv_heads
        width = n_kv_heads * self.h
        self.q_proj = torch.nn.Linear(d_model, d_model, bias=False)
        self.k_proj = torch.nn.Linear(d_model, width, bias=False)
        self.v_proj = torch.nn.Linear(d_model, width, bias=False)
        self.o_proj = torch.nn.Linear(d_model, d_model, bias=False)
        self.register_buffer("mask", torch.ones(9, 9, dtype=torch.bool).tril())

    def project(self, x):
        b, t, _ = x.shape
        n, g = (p.out_features // self.h for p in (self.q_proj, self.k_proj))
        if n % g:
            raise ValueError(f"{n} heads cannot share {g}")
        return [
            p(x).view(b, t, -1, self.h).transpose(1, 2)
            for p in (self.q_proj, self.k_proj, self.v_proj)
        ]

    def forward(self, x, cache=None):
        q, k, v = self.project(x)
        if cache is not None:
            k, v = cache.append(k, v)
        k, v = (y.repeat_interleave(self.r, dim=1) for y in (k, v))
        t, s = q.shape[2], k.shape[2]
        scores = (q @ k.mT) * self.h**-0.5
        output, weights = softmax_of(scores.masked_fill(~self.mask[s - t : s, :s], -torch.inf), v)
        return self.o_proj(output.transpose(1, 2).flatten(2)), weights


class LayerByPyTorch(Layer):
    def forward(self, x, cache=None):
        q, k, v = self.project(x)
        if cache:
            k, v = cache.append(k, v)
        mask = mask_for(q, k)
        eye = torch.eye(k.shape[2]).expand(*k.shape[:2], -1, -1)
        fused = torch.nn.functional.scaled_dot_product_attention
        output = fused(q, k, v, mask, enable_gqa=True)
        weights = fused(q, k, eye, mask, scale=self.h**-0.5, enable_gqa=True)
        return self.o_proj(output.transpose(1, 2).flatten(2)), weights


def time_by_if(n_bytes, n_flop, bandwidth, peak):
    seconds_to_read, seconds_to_compute = n_bytes / bandwidth / 10**9, n_flop / peak / 10**12
    if seconds_to_read > seconds_to_compute:
        return seconds_to_read * 1000
    return seconds_to_compute * 1000


def tokens_by_hand(m, n_weights, b, s, bandwidth, peak, bytes_per_element=2):
    kv = 2 * m.n_layers * b * m.n_kv_heads * m.head_dim * s * bytes_per_element
    scores_and_values = 4 * m.n_layers * b * m.n_heads * m.head_dim * s
    seconds = max(
        n_weights * bytes_per_element / (bandwidth * 1e9), 2 * b * n_weights / peak / 1e12
    )
    seconds += max(kv / (bandwidth * 1e9), scores_and_values / (peak * 1e12))
    return b / seconds


def tokens_user_by_user(model, n_weights, batch, n_tokens, bandwidth, peak, bytes_per_element=2):
    ms = cost.step_time(n_weights * bytes_per_element, 2 * batch * n_weights, bandwidth, peak)
    for _ in range(batch):
        read = model.kv_bytes(n_tokens, bytes_per_element=bytes_per_element)
        flop = 4 * model.n_layers * model.n_heads * model.head_dim * n_tokens
        ms += cost.step_time(read, flop, bandwidth, peak)
    return batch * (1 / ms) * 1000


def tokens_by_layer(model, n_weights, batch, n_tokens, bandwidth, peak, bytes_per_element=2):
    g, n, h = model.n_kv_heads, model.n_heads, model.head_dim
    weights = cost.step_time(n_weights * bytes_per_element, 2 * batch * n_weights, bandwidth, peak)
    layer = cost.step_time(
        cost.decode_bytes(g, h, n_tokens, bytes_per_element),
        cost.decode_flop(n, h, n_tokens),
        bandwidth,
        peak,
    )
    return 1000 / ((weights + batch * model.n_layers * layer) / batch)


GOOD = {
    "02.causal_mask": {
        "by rows": mask_by_rows,
        "not triu": lambda t, s: ~torch.ones(t, s).bool().triu(s - t + 1),
        "triu of ones": lambda t, s: torch.triu(torch.ones(t, s), diagonal=s - t + 1) == 0,
        "bottom rows": lambda t, s: torch.ones(s, s).tril().bool()[-t:],
        "places": lambda t, s: torch.arange(s) <= torch.arange(s - t, s)[:, None],
        "cat": lambda t, s: torch.cat([torch.ones(t, s - t), torch.ones(t, t).tril()], 1).bool(),
    },
    "02.causal_attention": {
        "in place": causal_in_place,
        "where": causal_by_where,
        "adding": causal_by_adding,
        "a large number": causal_with_a_large_number,
        "triu": causal_by_triu,
        "renormalised": causal_renormalised,
        "loop": causal_by_loop,
        "pytorch": causal_by_pytorch,
        "half": in_half(causal_in_place),
        "bfloat16": computed_in(torch.bfloat16, causal_by_where),
    },
    "03.split_heads": {
        "reshape": lambda x, n: x.reshape(*x.shape[:2], n, -1).permute(0, 2, 1, 3),
        "unflatten": lambda x, n: x.unflatten(-1, (n, -1)).swapaxes(1, 2),
        "stack": lambda x, n: torch.stack(x.chunk(n, dim=-1), dim=1),
        "contiguous": lambda x, n: x.view(*x.shape[:2], n, -1).transpose(1, 2).contiguous(),
    },
    "03.merge_heads": {
        "reshape": lambda x: x.transpose(1, 2).reshape(x.shape[0], x.shape[2], -1),
        "cat": lambda x: torch.cat(x.unbind(1), dim=-1),
        "contiguous": lambda x: x.permute(0, 2, 1, 3).contiguous().view(len(x), x.shape[2], -1),
    },
    "03.multi_head_attention": {
        "loop": heads_by_loop,
        "einsum": heads_by_einsum,
        "linear": heads_by_linear,
        "double": computed_in(torch.double, heads_by_loop),
        "half": in_half(heads_by_einsum),
        "bfloat16": computed_in(torch.bfloat16, heads_by_einsum),
    },
    "04.kv_cache_bytes": {
        "product": lambda n_layers, b, g, h, s, size: 2 * n_layers * b * g * h * s * size,
        "prod": lambda *sizes: 2 * math.prod(sizes),
        "bits": lambda *sizes: 2 * math.prod(sizes) * 8 / 8,
        "numpy": lambda *sizes: 2 * np.prod(sizes),
        "two caches": lambda *sizes: (
            KVCache(*sizes[1:3], *sizes[4:2:-1]).n_bytes * sizes[0] // 4 * sizes[5]
        ),
    },
    "04.decode_step": {
        "cat": decode_by_cat,
        "token by token": decode_token_by_token,
        "by hand": decode_by_hand,
        "pytorch": decode_by_pytorch,
    },
    "05.multi_query_attention": {
        "fold": by_fold,
        "no head axis": by_dropping_the_head,
        "broadcast": by_broadcast,
        "expand": by_expand,
        "einsum": lambda q, k, v: by_einsum(q, k, v),
        "repeat": lambda q, k, v: by_einsum(q, *(x.repeat(1, q.shape[1], 1, 1) for x in (k, v))),
        "half": in_half(by_fold),
        "bfloat16": computed_in(torch.bfloat16, by_fold),
        "double": computed_in(torch.double, by_fold),
    },
    "06.grouped_query_attention": {
        "fold": careful(by_fold),
        "repeat_interleave": careful(by_repeat_interleave),
        "five axes": careful(by_five_axes),
        "five letters": careful(by_five_letters),
        "head by head": careful(by_head),
        "group by group": careful(by_group),
        "half": careful(in_half(by_five_letters)),
        "bfloat16": careful(computed_in(torch.bfloat16, by_fold)),
    },
    "06.GroupedQueryAttention": {"a class": Layer, "pytorch": LayerByPyTorch},
    "07.mean_pool_kv": {
        "loop": careful_pool(pool_by_loop),
        "group by group": careful_pool(pool_by_groups),
        "matrix": careful_pool(pool_by_matrix),
        "einsum": careful_pool(pool_by_einsum),
        "numpy": careful_pool(pool_by_numpy),
        "half": careful_pool(in_half(pool_by_groups)),
        "bfloat16": careful_pool(computed_in(torch.bfloat16, pool_by_groups)),
    },
    "08.byte_range": {"struct": range_by_struct, "stream": range_by_stream},
    "08.kv_heads": {"match": heads_by_match, "family": heads_by_family},
    "09.step_time": {
        "speeds first": lambda n_bytes, n_flop, bandwidth, peak: max(
            1000 * n_bytes / (bandwidth * 1e9), n_flop / (peak * 1e12) * 1000
        ),
        "by if": time_by_if,
        "numpy": lambda n_bytes, n_flop, bandwidth, peak: np.maximum(
            np.float64(n_bytes) / bandwidth / 1e6, np.float64(n_flop) / peak / 1e9
        ),
    },
    "09.tokens_per_second": {
        "by hand": tokens_by_hand,
        "user by user": tokens_user_by_user,
        "two of cost.py": tokens_by_layer,
    },
}


@pytest.mark.parametrize("name, style", [(name, style) for name in GOOD for style in GOOD[name]])
def test_good_styles_of_later_lessons_pass(name, style):
    result = examine(find(name), GOOD[name][style])
    assert result.passed, result.message


def test_every_exercise_of_the_later_lessons_has_other_good_styles():
    assert set(GOOD) | set(LATENT) | set(FACTORS) == set(exercises()) - {
        "00.group_size",
        "01.attention",
    }


MQA, GQA = "05.multi_query_attention", "06.grouped_query_attention"


@pytest.mark.parametrize(
    "name, style, said",
    [
        (MQA, "broadcast", "a tensor of 262,144 bytes, 8 × the 32,768 bytes of K."),
        (MQA, "expand", "a tensor of 262,144 bytes, 8 × the 32,768 bytes of K."),
        (MQA, "repeat", "a tensor of 262,144 bytes, 8 × the 32,768 bytes of K."),
        (GQA, "five axes", "a tensor of 262,144 bytes, 4 × the 65,536 bytes of K."),
        (GQA, "repeat_interleave", "a tensor of 262,144 bytes, 4 × the 65,536 bytes of K."),
    ],
)
def test_who_copies_the_keys_for_every_head_is_told_what_it_took(name, style, said):
    result = examine(find(name), GOOD[name][style])
    assert result.passed
    assert "But you paid for the memory you wanted to save: " in result.message
    assert said in result.message


@pytest.mark.parametrize(
    "name, style, n_bytes",
    [
        (MQA, "fold", "32,768"),
        (MQA, "no head axis", "32,768"),
        (GQA, "fold", "65,536"),
        (GQA, "five letters", "65,536"),
    ],
)
def test_who_copies_nothing_is_told_so(name, style, n_bytes):
    result = examine(find(name), GOOD[name][style])
    said = f"And no tensor on the way was larger than K: {n_bytes} bytes here."
    assert result.message.endswith(said)


def test_a_copy_in_another_precision_is_not_one_for_every_head():
    result = examine(find(MQA), GOOD[MQA]["double"])
    assert result.message == "Equal to the library's own on every probe."


class StubLayer(torch.nn.Module):
    def __init__(self, d_model, n_heads, n_kv_heads):
        super().__init__()
        ...

    def forward(self, x, cache=None): ...


class BareStubLayer(torch.nn.Module):
    def __init__(self, d_model, n_heads, n_kv_heads): ...

    def forward(self, x, cache=None): ...


class HalfLayer(Layer):
    def forward(self, x, cache=None): ...


class NotImplementedLayer(StubLayer):
    def forward(self, x, cache=None):
        raise NotImplementedError


class NoForward(torch.nn.Module):
    def __init__(self, d_model, n_heads, n_kv_heads):
        super().__init__()


STUBS = {
    "02.causal_mask": lambda t, s: ...,
    "02.causal_attention": stub,
    "03.split_heads": lambda x, n_heads: None,
    "03.merge_heads": lambda x: None,
    "03.multi_head_attention": lambda x, w_q, w_k, w_v, w_o, n_heads: ...,
    "04.kv_cache_bytes": lambda n_layers, b, g, h, s, bytes_per_element: None,
    "04.decode_step": lambda q, k_new, v_new, cache: None,
    "05.multi_query_attention": stub,
    "06.grouped_query_attention": stub,
    "07.mean_pool_kv": lambda weight, n_heads, n_kv_heads: ...,
    "08.byte_range": lambda header_bytes, tensor_name: ...,
    "08.kv_heads": lambda config: None,
    "09.step_time": lambda n_bytes, n_flop, bandwidth, peak: ...,
    "09.tokens_per_second": lambda model, n_weights, batch, n_tokens, bandwidth, peak, size=2: None,
}


@pytest.mark.parametrize("name", STUBS)
def test_stubs_of_later_lessons_are_not_started(name):
    assert not examine(find(name), STUBS[name]).started


@pytest.mark.parametrize(
    "cls", [StubLayer, BareStubLayer, HalfLayer, NotImplementedLayer, NoForward]
)
def test_a_class_without_a_forward_is_not_started(cls):
    result = examine(find("06.GroupedQueryAttention"), cls)
    assert (result.passed, result.started, result.diagnosis) == (False, False, None)


def test_a_decode_step_without_a_return_is_told_from_a_stub():
    result = examine(find("04.decode_step"), lambda q, k, v, cache: cache.append(k, v) and None)
    assert result.diagnosis == "nothing returned"


class ForgetsReturn(Layer):
    def forward(self, x, cache=None):
        self.o_proj(x)


class OneResult(Layer):
    def forward(self, x, cache=None):
        return super().forward(x, cache)[0]


class WithBias(Layer):
    def __init__(self, d_model, n_heads, n_kv_heads):
        super().__init__(d_model, n_heads, n_kv_heads)
        self.q_proj = torch.nn.Linear(d_model, d_model)


class FullWidth(Layer):
    def __init__(self, d_model, n_heads, n_kv_heads):
        super().__init__(d_model, n_heads, n_heads)


class OtherNames(Layer):
    def __init__(self, d_model, n_heads, n_kv_heads):
        super().__init__(d_model, n_heads, n_kv_heads)
        self.wq = self.q_proj
        del self.q_proj


@pytest.mark.parametrize(
    "cls, diagnosis, said",
    [
        (ForgetsReturn, "nothing returned", "does every path end with a return?"),
        (OneResult, "only one result", "forward must return two things: output, weights"),
        (WithBias, "a bias", "q_proj.bias is one too many; write nn.Linear(…, bias=False)"),
        (
            FullWidth,
            "K and V projected to n heads",
            "k_proj.weight is (8, 8), it should be (4, 8): queries have",
        ),
        (OtherNames, "an error", "there is no q_proj.weight; there is k_proj.weight,"),
        (Layer(8, 4, 2), "an error", "give check the class itself, not a layer made from it"),
    ],
)
def test_a_layer_that_cannot_be_tried_is_told_why(cls, diagnosis, said):
    result = examine(find("06.GroupedQueryAttention"), cls)
    assert (result.passed, result.diagnosis) == (False, diagnosis)
    assert said in result.message


def test_a_check_leaves_the_random_numbers_alone():
    torch.manual_seed(1)
    before = torch.rand(3)
    torch.manual_seed(1)
    examine(find("06.GroupedQueryAttention"), Layer)
    assert torch.equal(torch.rand(3), before)


class Accepts(Layer):
    def forward(self, x, cache=None):
        if self.r * self.k_proj.out_features == self.q_proj.out_features:
            return super().forward(x, cache)
        return x, x


ACCEPTING = {
    GQA: {
        "index": lambda q, k, v: by_einsum(
            q, *(x[:, [i * x.shape[1] // q.shape[1] for i in range(q.shape[1])]] for x in (k, v))
        ),
        "fold": by_loose_fold,
    },
    "06.GroupedQueryAttention": {"class": Accepts},
    "07.mean_pool_kv": {"group by group": pool_by_groups},
}


@pytest.mark.parametrize(
    "name, way", [(name, way) for name in ACCEPTING for way in ACCEPTING[name]]
)
def test_a_right_answer_must_refuse_what_cannot_be_shared(name, way):
    result = examine(find(name), ACCEPTING[name][way])
    assert result.diagnosis == "n % g ≠ 0 accepted"
    assert "it should raise ValueError: n_heads (6) must be divisible by" in result.message


@pytest.mark.parametrize(
    "fn, diagnosis",
    [
        (by_repeat_interleave, "n % g ≠ 0 left to PyTorch"),
        (careful(by_fold, "these heads do not fit"), "a ValueError without both numbers"),
        (careful(by_fold, "{} % {} is not 0"), None),
    ],
)
def test_a_refusal_is_a_value_error_with_both_numbers(fn, diagnosis):
    assert examine(find(GQA), fn).diagnosis == diagnosis


def first_of_all(weight, n, g):
    return weight[: len(weight) // n].repeat(g, 1)


def pool_with_head_dim_first(weight, n, g):
    return weight.reshape(len(weight) // n, g, n // g, -1).mean(2).reshape(-1, weight.shape[1])


@pytest.mark.parametrize(
    "fn, diagnosis",
    [
        (lambda w, n, g: pool_by_matrix(w, n, n // g), "g and r confused"),
        (
            lambda w, n, g: torch.cat([sum(w.chunk(n)) / n] * g),
            "the mean of all heads for every group",
        ),
        (lambda w, n, g: pool_by_groups(w.T, n, g).T, "the columns pooled, not the rows"),
        (lambda w, n, g: pool_by_groups(w.T, n, g), "something else"),
        (pool_with_head_dim_first, "neighbouring rows averaged, not neighbouring heads"),
        (careful_pool(lesson_07.strided), "every g-th head pooled, not neighbours"),
        (first_of_all, "something else"),
    ],
)
def test_a_mistake_in_pooling_is_known_in_another_spelling(fn, diagnosis):
    assert examine(find("07.mean_pool_kv"), fn).diagnosis == diagnosis


def test_refusing_too_little_does_not_hide_another_mistake():
    def first_head(q, k, v):
        return by_broadcast(q, k[:, :1], v[:, :1])

    def modulo(q, k, v):
        order = [i % k.shape[1] for i in range(q.shape[1])]
        return by_einsum(q, k[:, order], v[:, order])

    def modulo_that_refuses(q, k, v):
        assert q.shape[1] % k.shape[1] == 0
        return modulo(q, k, v)

    assert examine(find(GQA), first_head).diagnosis == "the first K/V head for all"
    for fn in (modulo, modulo_that_refuses):
        assert examine(find(GQA), fn).diagnosis == "query head i reading K/V head i mod g"


class ForgetsWeights(Layer):
    def forward(self, x, cache=None):
        output, weights = super().forward(x, cache)
        return output, weights * 0 if cache else weights


class RefusesByAccident(Accepts):
    def forward(self, x, cache=None):
        if self.r * self.k_proj.out_features != self.q_proj.out_features:
            raise undefined  # noqa: F821
        return super().forward(x, cache)


@pytest.mark.parametrize(
    "cls, said",
    [
        (ForgetsWeights, "the last weights differs by up to"),
        (RefusesByAccident, "it should raise ValueError: n_heads (6) must be"),
    ],
)
def test_a_layer_that_is_right_almost_everywhere_does_not_pass(cls, said):
    result = examine(find("06.GroupedQueryAttention"), cls)
    assert not result.passed and said in result.message


def test_a_mistake_that_gives_nan_is_named():
    def strict(q, k, v):
        scores, mask = causal_scores(q, k)
        itself = ~mask.tril(k.shape[-2] - q.shape[-2] - 1)
        return softmax_of(scores.masked_fill(itself, -torch.inf), v)

    result = examine(find("02.causal_attention"), strict)
    assert result.diagnosis == "a word that cannot see itself"
    assert "output differs by up to nan" in result.message


def doubled(x, times):
    return x * times


def playing(fn, x, how_often):
    """Calls fn again and again; ends early if there is nothing."""
    for _ in range(how_often):
        x = fn(x, 2)
        if x is None:
            return None
    return x, how_often


def cheap(fn):
    return "Cheap." if fn.__name__ == "good" else ""


PLAYING = Exercise(
    doubled,
    [(torch.ones(2), 1), (torch.ones(3), 3)],
    ("result", "rounds"),
    {"squares": Mistake(lambda x, times: x**times, "See.")},
    (),
    play=playing,
    remark=cheap,
)


def test_play_says_what_to_run_and_to_compare():
    result = examine(PLAYING, lambda x, times: x**times)
    assert result.diagnosis == "squares"
    assert result.message.splitlines()[1] == "for x (2,), how_often = 1"
    assert result.message.splitlines()[2] == "result differs by up to 1"
    assert not examine(PLAYING, lambda x, times: None).started
    assert examine(PLAYING, lambda x, times: print(x[:0]) or None).diagnosis == "nothing returned"
    assert examine(PLAYING, lambda x, times: x.wrong).diagnosis == "an error"
    assert examine(PLAYING, lambda x, times: x.mul_(times)).diagnosis == "an in-place edit"


def test_a_remark_is_for_who_passed():
    def good(x, times):
        return x + x

    def other(x, times):
        return x + x

    assert examine(PLAYING, good).message == "Equal to the library's own on every probe. Cheap."
    assert examine(PLAYING, other).message == "Equal to the library's own on every probe."
    assert examine(PLAYING._replace(remark=None), good).passed
    good.__code__ = (lambda x, times: x).__code__
    assert "Cheap" not in examine(PLAYING, good).message


@pytest.mark.parametrize("wrong, whose", [(False, "yours"), (True, "the library's (yours has not")])
def test_a_lesson_goes_on_with_yours_if_it_passed(capsys, wrong, whose):
    reference = find("00.group_size").reference
    yours = (lambda n, g: g) if wrong else (lambda n, g: n // g)
    result = examine(find("00.group_size"), yours)
    assert result.mine(yours, reference) is (reference if wrong else yours)
    assert capsys.readouterr().out.startswith(f"group_size: {whose}")
