"""Run a learner's function on probes, and recognise the mistake in what comes back.

An exercise is data: those of lesson 01 are the dict EXERCISES in lesson_01.py, and so on.
"""

import copy
import difflib
import dis
import importlib
import inspect
import io
import pkgutil
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import NamedTuple

import torch
from IPython.display import Code, display

from course_utils.checks.report import card, difference, shapes


class Mistake(NamedTuple):
    wrong: Callable  # returns what a learner with this mistake gets
    see: str  # how to see that it is one


class Exercise(NamedTuple):
    reference: Callable  # the library's own function: its source is the solution
    probes: list  # tuples of arguments, from easy to hard
    returns: tuple  # names of what comes back: ("output", "weights")
    mistakes: dict  # diagnosis -> Mistake
    hints: tuple


class Result(NamedTuple):
    """What `check` found; diagnosis is None, a named mistake, or what else went wrong."""

    passed: bool
    started: bool
    diagnosis: str | None
    message: str

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
    page = card(name, verdict, result.message, exercise.hints, source(exercise))
    text = f"{name}: {verdict}. {result.message}"
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
        near = difflib.get_close_matches(name, every, n=1, cutoff=0)
        raise KeyError(f"no exercise named {name!r}; did you mean {near[0]!r}?")
    return every[name]


def examine(exercise, fn):
    """The Result of fn on every probe up to the first that fails."""
    names = inspect.signature(exercise.reference).parameters
    for probe in exercise.probes:
        given = copy.deepcopy(probe)
        inputs = shapes(names, probe)
        try:
            got = fn(*given)
        except NotImplementedError:
            got = ...
        except Exception as error:  # whatever a learner's code raises is the learner's to see
            return Result(
                False, True, "an error", f"It raised an error.\n{inputs}\n{where(error, fn)}"
            )
        if got is None or got is ...:
            if not uses_arguments(fn):
                return Result(False, False, None, "Replace the ... and run the cell again.")
            message = "Your function gave nothing back: end it with a return."
            return Result(False, True, "nothing returned", message)
        for name, before, after in zip(names, probe, given, strict=False):
            if not same(after, before):
                message = f"Your function changed its input {name}: work on a new tensor."
                return Result(False, True, "an in-place edit", message)
        expected = exercise.reference(*copy.deepcopy(probe))
        if same(got, expected):
            continue
        shown = f"{inputs}\n{difference(exercise.returns, got, expected)}"
        diagnosis = recognise(exercise, fn)
        if diagnosis is None:
            message = f"Not what the library gives.\n{shown}"
            return Result(False, True, "something else", message)
        see = exercise.mistakes[diagnosis].see
        message = f"This is what you get with {diagnosis}. {see}\n{shown}"
        return Result(False, True, diagnosis, message)
    return Result(True, True, None, "Equal to the library's own on every probe.")


def recognise(exercise, fn):
    """The first mistake that gives what fn gives on every probe, or None."""
    with redirect_stdout(io.StringIO()):  # what fn prints was printed once already
        got = [outcome(fn, probe) for probe in exercise.probes]
    for diagnosis, mistake in exercise.mistakes.items():
        wrong = [outcome(mistake.wrong, probe) for probe in exercise.probes]
        if all(map(same, got, wrong)):
            return diagnosis
    return None


def outcome(fn, probe):
    """What fn gives for a probe; `Exception` if it gives none, as for shapes that do not fit."""
    try:
        return fn(*copy.deepcopy(probe))
    except Exception:
        return Exception


def same(got, expected):
    """Whether got is expected: same kind, same shape, and equal up to got's precision."""
    if isinstance(expected, tuple):
        return (
            isinstance(got, tuple | list)
            and len(got) == len(expected)
            and all(map(same, got, expected))
        )
    if isinstance(expected, torch.Tensor):
        if not isinstance(got, torch.Tensor) or got.shape != expected.shape:
            return False
        if not expected.is_floating_point():
            return got.dtype == expected.dtype and torch.equal(got, expected)
        if not got.is_floating_point():
            return False
        tolerance = max(1e-4, 4 * torch.finfo(got.dtype).eps)
        return torch.allclose(got.detach().double(), expected.double(), tolerance, tolerance)
    return type(got) is type(expected) and got == expected


def uses_arguments(fn):
    """Whether the body of fn reads or sets any variable: a stub's does not."""
    return any("FAST" in step.opname for step in dis.get_instructions(fn))


def where(error, fn):
    """The learner's line in which an error arose, and what the error says."""
    said = f"{type(error).__name__}: {error}"
    frames = traceback.extract_tb(error.__traceback__)
    mine = [f.line for f in frames if f.filename == fn.__code__.co_filename]
    return f"line: {mine[-1]}\n{said}" if mine else said
