"""Which named mistake gives what a learner's function gives, be it numbers or an error."""

import copy
import io
import re
from contextlib import redirect_stdout
from functools import cache
from itertools import compress

from course_utils.checks.compare import close
from course_utils.checks.running import outcome, outcomes


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
    counted = sorted(
        compress(range(len(got)), count), key=lambda i: is_right[i]
    )
    raised = [isinstance(got[i], Exception) for i in counted]

    @cache
    def given_by(name, i):
        return outcome(exercise, exercise.mistakes[name].wrong, copy.deepcopy(exercise.probes[i]))

    ways = [says_the_same, says_the_like if all(raised) else close]
    for alike in ways + [fails_the_same] * (sum(raised) > 1):
        every = exercise.mistakes
        found = [x for x in every if all(alike(got[i], given_by(x, i)) for i in counted)]
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
