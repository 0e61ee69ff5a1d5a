"""What stored numbers may be elsewhere: other processors add in another order."""

import platform
import re
import sys
from decimal import Decimal

NUMBER = re.compile(r"(?<![\w.])-?(?:\d[\d,]*)?\.\d+(?:e[+-]?\d+)?(?![\w.])")


def is_reference():
    """Whether this is a kind of machine that the outputs were stored on: there no digit may differ."""
    return (sys.platform, platform.machine()) == ("linux", "x86_64")


class Near(str):
    """A text, equal to one with the same words and, of numbers with a point, one more or less in the last digit.

    >>> Near("a: 0.25 and 3") == "a: 0.26 and 3", Near("0.25") == "0.27", Near("3") == "4"
    (True, False, False)
    """

    def __eq__(self, other):
        if NUMBER.sub("", self) != NUMBER.sub("", other):
            return False
        pairs = zip(NUMBER.findall(self), NUMBER.findall(other), strict=True)
        return all(a == b or are_near(a, b) for a, b in pairs)

    def __ne__(self, other):
        return not self == other

    __hash__ = None


def are_near(a, b):
    """Whether two numbers, as written, are at most one of the coarser's last digit apart."""
    a, b = (Decimal(x.replace(",", "")) for x in (a, b))
    last = Decimal(1).scaleb(max(x.as_tuple().exponent for x in (a, b)))
    return abs(a - b) <= last


def widen(cell):
    """Let a class of nbval's cells compare outputs so."""
    sanitize = cell.sanitize

    def sanitized(self, text):
        shown = sanitize(self, text)
        return Near(shown) if isinstance(shown, str) else shown

    cell.sanitize = sanitized
