"""Run a learner's function on probes, and recognise the mistake in what comes back.

An exercise is data: those of lesson 01 are the dict EXERCISES in lesson_01.py, and so on.
"""

import copy
import dis
import importlib
import inspect
import io
import pkgutil
import re
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from itertools import compress
from pathlib import Path
from typing import NamedTuple

import torch
from IPython.display import Code, display

from course_utils import did_you_mean
from course_utils.checks.compare import (
    close,
    difference,
    dtypes_of,
    is_floating,
    kind,
    parts,
    same,
    shapes,
)
from course_utils.checks.maps import compared, wanted
from course_utils.checks.report import card


class Mistake(NamedTuple):
    wrong: Callable  # returns what a learner with this mistake gets
    see: str  # how to see that it is one


class Exercise(NamedTuple):
    reference: Callable  # the library's own function: its source is the solution
    probes: list  # tuples of arguments, from easy to hard
    returns: tuple  # names of what comes back: ("output", "weights")
    mistakes: dict  # diagnosis -> Mistake
    hints: tuple
    play: Callable | None = None  # play(fn, *probe) -> what comes back; None is fn(*probe)
    remark: Callable | None = None  # remark(fn) -> what to say to one who passed, or ""


class Result(NamedTuple):
    """What `check` found; diagnosis is None, a named mistake, or what else went wrong."""

    passed: bool
    started: bool
    diagnosis: str | None
    message: str
    picture: tuple = ("", "")  # HTML and alt text, where tensors can be drawn

    def mine(self, yours, library):
        """Your function if it passed, else the library's; says which, for what comes next."""
        whose = "yours" if self.passed else "the library's (yours has not passed yet)"
        print(f"{library.__name__}: {whose}")
        return yours if self.passed else library

    def _ipython_display_(self):
        """Show nothing: `check` has shown it already."""


def check(name, fn):
    """Run fn on the probes of an exercise, show what came out, and return the Result.

    An error inside fn is reported, not raised. Raises KeyError if there is no such exercise.

    >>> result = check("00.group_size", lambda n_heads, n_kv_heads: n_heads - n_kv_heads)
    {'text/plain': '00.group_size: Not yet. This is what you get with a difference. ...
    >>> result.passed, result.diagnosis
    (False, 'a difference')
    """
    exercise = find(name)
    result = examine(exercise, fn)
    verdict = "Passed" if result.passed else "Not yet" if result.started else "Not started"
    drawn, alt = result.picture
    page = card(name, verdict, result.message, drawn, exercise.hints, source(exercise))
    text = "\n".join(filter(None, (f"{name}: {verdict}. {result.message}", alt)))
    display({"text/plain": text, "text/html": page}, raw=True)
    return result


def solution(name):
    """Show the library's own code for an exercise. Raises KeyError if there is no such one."""
    display(Code(source(find(name)), language="python"))


def source(exercise):
    """The reference as the library has it, and how to use it."""
    reference = exercise.reference
    use = f"# from {reference.__module__} import {reference.__name__}"
    return f"{use}\n\n{inspect.getsource(reference)}"


def exercises():
    """All exercises by name, in the order of the lessons."""
    package = importlib.import_module("course_utils.checks")
    lessons = sorted(m.name for m in pkgutil.iter_modules(package.__path__) if "lesson" in m.name)
    modules = [importlib.import_module(f"{package.__name__}.{lesson}") for lesson in lessons]
    return {name: exercise for module in modules for name, exercise in module.EXERCISES.items()}


def find(name):
    """The exercise called name, such as "01.attention"; KeyError suggests the nearest."""
    every = exercises()
    if name not in every:
        there = f"there are {', '.join(every)}"
        raise KeyError(f"no exercise named {name!r}; {did_you_mean(name, every, there, n=1)}")
    return every[name]


def examine(exercise, fn):
    """The Result of fn on every probe up to the first that fails."""
    if not callable(fn):
        message = f"Give check the function itself, without calling it; this is {kind(fn)}."
        return Result(False, True, "not a function", message)
    play = inspect.signature(exercise.play or exercise.reference).parameters
    names = list(play)[1:] if exercise.play else list(play)
    recast = None  # of numbers that are right in another dtype: it counts if all numbers are right
    for probe in exercise.probes:
        given = copy.deepcopy(probe)
        got = outcome(exercise, fn, given)
        expected = outcome(exercise, exercise.reference, copy.deepcopy(probe))
        inputs = shapes(names, probe)
        if is_unwritten(got) or got is ... or (got is None and is_stub(fn)):
            message = "Replace the ... and run the cell again."
            drawn = wanted(names, probe, exercise.returns, expected)
            return Result(False, False, None, message, drawn)
        if got is None:
            message = f"Your function gave back None: does every path end with a return?\n{inputs}"
            return Result(False, True, "nothing returned", message)
        raised = isinstance(got, Exception) and not isinstance(expected, Exception)
        if edited := [] if raised else changed(names, probe, given):
            name, new = edited[0]
            message = f"Your function changed its input {name}: work on a {new}."
            return Result(False, True, "an in-place edit", message)
        if close(got, expected):
            recast = recast or told_of_dtype(exercise.returns, got, expected, inputs)
            continue
        shown = where(got, fn) if raised else difference(exercise.returns, got, expected)
        if diagnosis := recognise(exercise, fn):
            said = f"This is what you get with {diagnosis}. {exercise.mistakes[diagnosis].see}"
        elif raised:
            diagnosis, said = "an error", "It raised an error."
        else:
            diagnosis, said = "something else", "Not what the library gives."
        drawn = compared(exercise.returns, expected, got)
        return Result(False, True, diagnosis, f"{said}\n{inputs}\n{shown}", drawn)
    if recast:
        return Result(False, True, "another dtype", recast)
    remarks = [exercise.remark(fn) if exercise.remark else "", gradient_lost(exercise, fn, names)]
    message = " ".join(filter(None, ("Equal to the library's own on every probe.", *remarks)))
    return Result(True, True, None, message)


def changed(names, probe, given):
    """The arguments that are not any more what they were, each with what to use instead."""
    kinds = {torch.Tensor: "new tensor", dict: "copy", list: "copy"}  # a cache may be changed
    found = [x for x in zip(names, probe, given, strict=False) if type(x[1]) in kinds]
    return [(name, kinds[type(x)]) for name, x, after in found if not same(after, x)]


def told_of_dtype(names, got, expected, inputs):
    """What to say of the first right result in another dtype, or None."""
    for name, (x, y) in zip(names, parts(got, expected), strict=False):
        if dtypes := dtypes_of(x, y):
            return (
                f"The numbers are right, but {name} is {dtypes[0]}, not {dtypes[1]} as what came "
                f"in, and what is {dtypes[1]} cannot be multiplied with it: end with "
                f".to(torch.{dtypes[1]}), or stay in that dtype.\n{inputs}"
            )
    return None


def gradient_lost(exercise, fn, names):
    """What to say of a right answer through which training does not reach its inputs, or "".

    No answer fails for it: who computes with NumPy or lists is right, too. What is decorated with
    torch.no_grad means it.
    """
    probe = next((x for x in exercise.probes if any(map(is_floating, x))), ())
    right, got = (gradients(exercise, f, probe) for f in (exercise.reference, inspect.unwrap(fn)))
    pairs = [x for x in zip(names, right, got, strict=False) if x[1] is not None and x[1].any()]
    lost = [name for name, x, y in pairs if y is None or not close(y, x)]
    if not lost:
        return ""
    return (
        f"But training would not learn through it: the gradient of {', '.join(lost)} is not the "
        "library's. .detach(), .data, .item(), NumPy and torch.no_grad() cut it off."
    )


def gradients(exercise, fn, probe):
    """The gradient of what comes back for each argument of a probe; None where there is none."""
    given = [x.clone().requires_grad_() if is_floating(x) else copy.deepcopy(x) for x in probe]
    inputs = [x for x in given if is_floating(x)]
    found = [None] * len(inputs)
    with torch.enable_grad(), redirect_stdout(io.StringIO()):
        got = outcome(exercise, fn, given)
        results = got if isinstance(got, tuple | list) else (got,)
        learnt = [x.double().square().sum() for x in results if is_floating(x) and x.requires_grad]
        with suppress(RuntimeError):  # numbers that it needs were written over
            found = torch.autograd.grad(sum(learnt), inputs, allow_unused=True) if learnt else found
    left = iter(found)
    return [next(left) if is_floating(x) else None for x in given]


def recognise(exercise, fn):
    """The one mistake that gives what fn gives on every probe, or None.

    Errors must be of one type and say the same; if no mistake's do, be of one type where other
    probes have the same results; or say the same on several probes, whatever the others give. What
    fn does with a probe that must be refused counts only if all else is right.
    """
    right = outcomes(exercise, exercise.reference)
    with redirect_stdout(io.StringIO()):  # what fn prints was printed once already
        got = outcomes(exercise, fn)
    is_right, count = list(map(close, got, right)), [not isinstance(x, Exception) for x in right]
    if all(compress(is_right, count)):
        count = [True] * len(right)
    counted = list(compress(zip(is_right, exercise.probes, got, strict=True), count))
    counted = [x[1:] for x in sorted(counted, key=lambda x: x[0])]  # what is wrong tells most
    raised = [isinstance(x, Exception) for _, x in counted]

    def gives(mistake, alike):
        found = ((outcome(exercise, mistake.wrong, copy.deepcopy(x)), y) for x, y in counted)
        return all(alike(y, x) for x, y in found)

    ways = [says_the_same, says_the_like if all(raised) else close]
    for alike in ways + [fails_the_same] * (sum(raised) > 1):
        found = [name for name, mistake in exercise.mistakes.items() if gives(mistake, alike)]
        if len(found) == 1:
            return found[0]
    return None


def says_the_same(got, wrong):
    """Whether two outcomes are close, and say the same if they are errors."""
    return close(got, wrong) and (not isinstance(wrong, Exception) or str(got) == str(wrong))


def says_the_like(got, wrong):
    """Whether two outcomes are errors of one type that differ in numbers and names at most."""
    bare = [re.sub(r"\d+|'[^']*'|\w+\.\w+", "", str(x)).strip() for x in (got, wrong)]
    errors = isinstance(wrong, Exception) and type(got) is type(wrong)
    return errors and bare[0] == bare[1] != ""


def fails_the_same(got, wrong):
    """Whether two outcomes are errors that say the same, or neither is an error."""
    errors = [isinstance(x, Exception) for x in (got, wrong)]
    return says_the_same(got, wrong) if all(errors) else not any(errors)


def outcomes(exercise, fn):
    """What fn gives on every probe."""
    return [outcome(exercise, fn, copy.deepcopy(probe)) for probe in exercise.probes]


def outcome(exercise, fn, probe):
    """What fn gives on a probe, or the error it raises."""
    try:
        return exercise.play(fn, *probe) if exercise.play else fn(*probe)
    except Exception as error:  # whatever a learner's code raises is the learner's to see
        return error


def is_unwritten(got):
    """Whether somebody wrote `raise NotImplementedError`; PyTorch raises it for what it lacks."""
    if not isinstance(got, NotImplementedError):
        return False
    *_, (frame, line) = traceback.walk_tb(got.__traceback__)
    code, of_torch = frame.f_code, Path(torch.__file__).parent
    if of_torch in Path(code.co_filename).parents:
        return code.co_name == "_forward_unimplemented"  # a module without a forward
    raises = (x for x in dis.get_instructions(code) if x.opname == "RAISE_VARARGS")
    return any(x.positions.lineno == line for x in raises)


def is_stub(fn):
    """Whether the body of fn reads and sets no variable at all."""
    code = code_of(fn)
    return code is not None and not any("FAST" in x.opname for x in dis.get_instructions(code))


def where(error, fn):
    """The learner's line in which an error arose, and what the error says."""
    said = f"{type(error).__name__}: {error}"
    code = code_of(fn)
    frames = traceback.extract_tb(error.__traceback__)
    mine = [f.line for f in frames if code and f.filename == code.co_filename]
    return f"line: {mine[-1]}\n{said}" if mine else said


def code_of(fn):
    """The code of a function (also decorated, or a partial) or of a module's forward, or None."""
    fn = inspect.unwrap(getattr(fn, "func", fn))
    if isinstance(fn, torch.nn.Module) or (isinstance(fn, type) and hasattr(fn, "forward")):
        fn = fn.forward
    return getattr(inspect.unwrap(fn), "__code__", None)
