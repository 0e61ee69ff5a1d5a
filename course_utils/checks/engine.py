"""Run a learner's function on probes, and recognise the mistake in what comes back.

An exercise is data: those of lesson 01 are the dict EXERCISES in lesson_01.py, and so on.
"""

import copy
import dis
import importlib
import inspect
import io
import pkgutil
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout
from itertools import compress
from typing import NamedTuple

import torch
from IPython.display import Code, display

from course_utils import did_you_mean
from course_utils.checks.compare import difference, kind, same, shapes
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
    for probe in exercise.probes:
        given = copy.deepcopy(probe)
        got = outcome(exercise, fn, given)
        expected = outcome(exercise, exercise.reference, copy.deepcopy(probe))
        inputs = shapes(names, probe)
        if isinstance(got, NotImplementedError) or got is ... or (got is None and is_stub(fn)):
            return Result(False, False, None, "Replace the ... and run the cell again.")
        if got is None:
            message = f"Your function gave back None: does every path end with a return?\n{inputs}"
            return Result(False, True, "nothing returned", message)
        if isinstance(got, Exception) and not isinstance(expected, Exception):
            message = f"It raised an error.\n{inputs}\n{where(got, fn)}"
            return Result(False, True, "an error", message)
        for name, before, after in zip(names, probe, given, strict=False):
            if isinstance(before, torch.Tensor) and not torch.equal(before, after):
                message = f"Your function changed its input {name}: work on a new tensor."
                return Result(False, True, "an in-place edit", message)
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
    remark = exercise.remark(fn) if exercise.remark else ""
    message = f"Equal to the library's own on every probe. {remark}".rstrip()
    return Result(True, True, None, message)


def recognise(exercise, fn):
    """The first mistake that gives what fn gives on every probe, or None.

    What fn does with a probe that must be refused counts only if all else is right.
    """
    right = outcomes(exercise, exercise.reference)
    with redirect_stdout(io.StringIO()):  # what fn prints was printed once already
        got = outcomes(exercise, fn)
    count = [not isinstance(x, Exception) for x in right]
    if all(map(same, compress(got, count), compress(right, count))):
        count = [True] * len(right)
    for diagnosis, mistake in exercise.mistakes.items():
        wrong = outcomes(exercise, mistake.wrong)
        if all(map(same, compress(got, count), compress(wrong, count))):
            return diagnosis
    return None


def outcomes(exercise, fn):
    """What fn gives on every probe."""
    return [outcome(exercise, fn, copy.deepcopy(probe)) for probe in exercise.probes]


def outcome(exercise, fn, probe):
    """What fn gives on a probe, or the error it raises."""
    try:
        return exercise.play(fn, *probe) if exercise.play else fn(*probe)
    except Exception as error:  # whatever a learner's code raises is the learner's to see
        return error


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
