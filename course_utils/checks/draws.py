"""Probes, and other probes like these: other sizes and numbers that show the same mistakes.

An exercise writes its probes as Calls. A Call drawn anew is given other sizes, but what is 1 stays
1, what is equal stays equal, and what is larger stays larger: edge cases stay edge cases.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from typing import NamedTuple


class Call(NamedTuple):
    """What makes a probe: make(*row, seed=…); other(random, row) is a row drawn anew."""

    make: Callable
    row: tuple
    other: Callable | None = None

    def made(self):
        """The probe as it is written."""
        return self.make(*self.row)

    def drawn(self, random, other):
        """Another probe like it; other is used if the Call has none of its own."""
        row = (self.other or other)(random, self.row)
        return self.make(*row, seed=random.getrandbits(31))


def resized(most=9, kept=None):
    """A way to draw a row anew: its ints above 1 become others, in the same order.

    Those up to `most` are drawn from 2 to most; those above it become up to a fifth larger or
    smaller. What kept(*row) gives does not change.

    >>> from random import Random
    >>> other = resized(most=40, kept=lambda n, g: n % g)
    >>> other(Random(0), (8, 2)), other(Random(1), (8, 2)), other(Random(1), (6, 6))
    ((20, 10), (18, 6), (10, 10))
    """

    def other(random, row):
        old = sorted({x for x in row if is_size(x)})
        small, large = [x for x in old if x <= most], [x for x in old if x > most]
        while old:
            new = sorted(random.sample(range(2, most + 1), len(small)))
            new += [random.randint(x * 4 // 5, x * 6 // 5) for x in large]
            into = dict(zip(old, new, strict=True))
            drawn = tuple(into[x] if is_size(x) else x for x in row)
            in_order = new == sorted(set(new)) and new != old
            if in_order and (kept is None or kept(*drawn) == kept(*row)):
                return drawn
        return row

    return other


def is_size(x):
    """Whether it is a whole number above 1."""
    return type(x) is int and x > 1


def order(x, y):
    """-1, 0 or 1: whether x is less than y, equal, or more."""
    return (x > y) - (x < y)


def redrawable(other=None):
    """A decorator: a function that makes a probe gives the Call of it in place of the probe."""

    def decorate(make):
        @wraps(make)
        def call(*row, **named):
            return Call(make, inspect.signature(make).bind(*row, **named).args, other)

        return call

    return decorate


@redrawable()
def given(*row, seed=0):
    """A probe that is its row."""
    return row


def drawing(*calls, other=None):
    """The fields of an Exercise that come from Calls: its probes, and how others are drawn.

    other is for Calls that have none of their own; if there is none, `resized`.
    """
    other = other or resized()
    return {
        "probes": [call.made() for call in calls],
        "draw": lambda random: [call.drawn(random, other) for call in calls],
    }
