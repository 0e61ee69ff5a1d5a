"""Run a learner's function on probes, and recognise the mistake in what comes back.

An exercise is data: those of lesson 01 are the dict EXERCISES in lesson_01.py, and so on.
"""

import copy
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from random import Random
from typing import NamedTuple

import torch
from IPython.display import Code, display

from course_utils import did_you_mean, ladder, record
from course_utils.checks.compare import close, difference, dtypes_of, kind, parts, same, shapes
from course_utils.checks.gradients import gradient_lost
from course_utils.checks.maps import compared, wanted
from course_utils.checks.recognise import recognise
from course_utils.checks.report import card
from course_utils.checks.running import coarsest, is_stub, is_unwritten, outcome, outcomes, where


class Mistake(NamedTuple):
    wrong: Callable  # returns what a learner with this mistake gets
    see: str  # how to see that it is one


class Exercise(NamedTuple):
    reference: Callable  # what answers are compared with: the library's own, or else the rung
    probes: list  # tuples of arguments, from easy to hard
    returns: tuple  # names of what comes back: ("output", "weights")
    mistakes: dict  # diagnosis -> Mistake
    hints: tuple
    play: Callable | None = None  # play(fn, *probe) -> what comes back; None is fn(*probe)
    remark: Callable | None = None  # remark(fn) -> what to say to one who passed, or ""
    more: str = ""  # what the library's own does that the exercise does not ask for: a verb first
    layer: Callable | None = None  # the library's own, where reference is but a part of it
    draw: Callable | None = None  # draw(random) -> other probes like these


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
    page = card(name, verdict, result.message, drawn, exercise.hints, source(name))
    text = "\n".join(filter(None, (f"{name}: {verdict}. {result.message}", alt)))
    display({"text/plain": text, "text/html": page}, raw=True)
    if result.started:
        record.attempt(name, result.diagnosis, result.passed)
    return result


def solution(name):
    """Show an exercise solved as its lesson teaches it; KeyError if there is no such one."""
    display(Code(source(name), language="python"))


def source(name):
    """The rung of the ladder that an exercise is about, and where the library's own is."""
    exercise = find(name)
    own = exercise.layer or exercise.reference
    use = f"from {own.__module__} import {own.__name__}"
    return f"{inspect.getsource(rung(name))}\n# The library's own {exercise.more}:\n# {use}"


def rung(name):
    """The solution of the exercise called name, as its lesson teaches it: "01.attention"."""
    return getattr(ladder, name.partition(".")[2])


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


@functools.cache
def redrawn(name, seed):
    """The exercise called name with other probes, drawn from a seed: the same for the same one.

    They show the same mistakes in other sizes and numbers, so that an answer which knows what
    `check` asks, and no more, does not pass. Raises KeyError if there is no such exercise.

    >>> find("00.group_size").probes[:3], redrawn("00.group_size", "2026-11-26").probes[:3]
    ([(8, 2), (12, 4), (32, 8)], [(44, 2), (22, 2), (18, 2)])
    """
    exercise = find(name)
    return exercise._replace(probes=exercise.draw(Random(f"{name} {seed}")))


def examine(exercise, fn):
    """The Result of fn on every probe up to the first that fails."""
    if not callable(fn):
        message = f"Give check the function itself, without calling it; this is {kind(fn)}."
        return Result(False, True, "not a function", message)
    play = inspect.signature(exercise.play or exercise.reference).parameters
    names = list(play)[1:] if exercise.play else list(play)
    recast = None  # of numbers that are right in another dtype: it counts if all numbers are right
    right = outcomes(exercise, exercise.reference)
    for probe, expected in zip(exercise.probes, right, strict=True):
        given = copy.deepcopy(probe)
        got = outcome(exercise, fn, given)
        inputs = shapes(names, probe)
        unwritten = is_unwritten(got) and probe is exercise.probes[0]  # later it may refuse so
        if unwritten or got is ... or (got is None and is_stub(fn)):
            message = "Replace the ... and run the cell again."
            drawn = wanted(names, probe, exercise.returns, expected)
            return Result(False, False, None, message, drawn)
        if got is None:
            of_get = " A get gives None where the field is absent." * isinstance(probe[0], dict)
            message = "Your function gave back None: does every path end with a return?"
            message = f"{message}{of_get}\n{inputs}"
            return Result(False, True, "nothing returned", message)
        raised = isinstance(got, Exception) and not isinstance(expected, Exception)
        if edited := [] if raised else changed(names, probe, given):
            name, new = edited[0]
            message = f"Your function changed its input {name}: work on a {new}."
            return Result(False, True, "an in-place edit", message)
        if close(got, expected) or (
            not raised and close(got, expected, coarsest(exercise, fn, probe))
        ):
            recast = recast or told_of_dtype(exercise.returns, got, expected, inputs)
            continue
        shown = where(got, fn) if raised else difference(exercise.returns, got, expected)
        if diagnosis := recognise(exercise, fn, right):
            said = f"This is what you get with {diagnosis}. {exercise.mistakes[diagnosis].see}"
        elif raised:
            diagnosis, said = "an error", "It raised an error."
        else:
            diagnosis, said = "something else", "Not what the library gives."
        drawn = compared(exercise.returns, expected, got)
        return Result(False, True, diagnosis, f"{said}\n{inputs}\n{shown}", drawn)
    if recast:
        return Result(False, True, "another dtype", recast)
    lost = gradient_lost(exercise, fn, names)
    remark = lost or (exercise.remark(fn) if exercise.remark else "")
    message = f"Equal to the library's own on every probe. {remark}".rstrip()
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
