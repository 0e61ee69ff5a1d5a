"""Exercises: each mistake has its own diagnosis, the reference and other good styles pass."""

import functools
import inspect
import math

import pytest
import torch

from course_utils import checks
from course_utils.checks.engine import Exercise, Mistake, examine, exercises, find
from course_utils.kv_cache import KVCache

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


def test_lesson_01_names_the_mistakes_of_the_course_plan():
    planned = {
        "no scale",
        "scores multiplied by √h",
        "scores divided by h",
        "scores divided by √d_model",
        "softmax over the queries",
        "no softmax",
        "queries and keys swapped",
        "softmax after the value product",
    }
    assert planned <= set(find("01.attention").mistakes)


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
    return weights @ v.double(), weights


def in_half_precision(q, k, v):
    return by_einsum(q.half(), k.half(), v.half())


def in_bfloat16(q, k, v):
    return by_einsum(q.bfloat16(), k.bfloat16(), v.bfloat16())


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
    assert examine(find("00.group_size"), lambda n, g: 4).diagnosis == "something else"


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
    assert result.diagnosis == "an error"
    said, shapes, line, error = result.message.splitlines()
    assert said == "It raised an error."
    assert shapes == "for q (1, 1, 3, 2), k (1, 1, 3, 2), v (1, 1, 3, 2)"
    assert line == "line: weights = (q @ k).softmax(-1)"
    assert error.startswith("RuntimeError: ")


@pytest.mark.parametrize(
    "fn, said",
    [
        (lambda q, k, v: (by_einsum(q, k, v)[0] + 1, by_einsum(q, k, v)[1]), "output differs by"),
        (lambda q, k, v: (by_einsum(q, k, v)[0], by_einsum(q, k, v)[1] ** 2), "weights differs by"),
        (lambda q, k, v: (q[0], k), "output is a float32 tensor (1, 3, 2), it should be a float32"),
        (lambda q, k, v: (q, k, v), "return 2 things, output, weights; you returned 3 things"),
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


def test_check_shows_hints_in_order_and_the_library_last(capsys):
    result = checks.check("01.attention", stub)
    page = capsys.readouterr().out
    assert "01.attention: Not started. Replace the ... and run the cell again." in page
    places = [page.index(f"Hint {i} of 4") for i in (1, 2, 3, 4)]
    assert places == sorted(places) and places[-1] < page.index("Solution")
    assert not result.started


def test_the_solution_is_the_library_source(capsys):
    for name in exercises():
        reference = find(name).reference
        assert reference.__module__.startswith("course_utils.")
        checks.solution(name)
        assert capsys.readouterr().out.strip().endswith(inspect.getsource(reference).strip())


def test_an_unknown_exercise_suggests_the_nearest():
    with pytest.raises(KeyError) as error:
        checks.check("01.atention", stub)
    assert error.value.args[0] == "no exercise named '01.atention'; did you mean '01.attention'?"
