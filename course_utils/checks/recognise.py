"""Which named mistake gives what a learner's function gives, be it numbers or an error."""

import copy
import io
import re
from contextlib import redirect_stdout
from itertools import compress

from course_utils.checks.compare import close
from course_utils.checks.running import outcome, outcomes

KEPT = {}


def recognise(exercise, fn, right):
    """The one mistake that gives what fn gives on every probe, or None; right is what is wanted.

    Errors must say the same. If no mistake's do: where other probes have results, and wrong ones,
    the type of an error is enough; else errors must say the like, or the same on several probes,
    whatever the others give. What fn does with a probe that must be refused counts only if all else
    is right.
    """
    with redirect_stdout(io.StringIO()):  # what fn prints was printed once already
        got = outcomes(exercise, fn)
    is_right, count = list(map(close, got, right)), [not isinstance(x, Exception) for x in right]
    if all(compress(is_right, count)):
        count = [True] * len(right)
    counted = sorted(compress(range(len(got)), count), key=lambda i: is_right[i])
    raised = [i for i in counted if isinstance(got[i], Exception) and not is_right[i]]
    like = close if any(not is_right[i] for i in counted if i not in raised) else says_the_like

    def giving(alike):
        every = exercise.mistakes
        return [x for x in every if all(alike(i, given_by(exercise, x, i)) for i in counted)]

    found = giving(lambda i, wrong: says_the_same(got[i], wrong))
    if len(found) != 1:
        found = giving(lambda i, wrong: like(got[i], wrong))
    if len(found) != 1 and len(raised) > 1:
        found = giving(lambda i, wrong: fails_the_same(got[i], wrong, right[i]))[:1]
    return found[0] if len(found) == 1 else None


def given_by(exercise, name, i):
    """What a mistake gives on a probe; kept, for an answer is seldom the last."""
    key = exercise.mistakes[name].wrong, exercise.play, id(exercise.probes), i
    if key not in KEPT:
        probe = copy.deepcopy(exercise.probes[i])
        KEPT[key] = exercise.probes, outcome(exercise, key[0], probe)  # so that the id stays
    return KEPT[key][1]


def says_the_same(got, wrong):
    """Whether two outcomes are close, and say the same if they are errors."""
    return close(got, wrong) and (not isinstance(wrong, Exception) or str(got) == str(wrong))


def says_the_like(got, wrong):
    """Whether two outcomes are close, or errors of one type that differ in quoted names at most."""
    if not isinstance(wrong, Exception):
        return close(got, wrong)
    bare = [re.sub(r"'[^']*'|\w+(?=\.bias)", "", str(x)).strip() for x in (got, wrong)]
    return type(got) is type(wrong) and bare[0] == bare[1] != ""


def fails_the_same(got, wrong, right):
    """Whether two outcomes are errors that say the same, or wrong is right only where got is."""
    errors = [isinstance(x, Exception) for x in (got, wrong)]
    if all(errors):
        return says_the_same(got, wrong)
    return not any(errors) and (close(got, right) or not close(wrong, right))
