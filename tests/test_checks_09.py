"""Exercises of lesson 09: mistakes are known in the words a learner would write them in."""

import pytest

from course_utils import cost
from course_utils.checks.engine import examine, find
from course_utils.cost import step_time

TIMES = {
    "the sum of both": lambda a, b, c, d: 1000 * (a / (c * 1e9) + b / (d * 1e12)),
    "the shorter of both": lambda a, b, c, d: min(a / c / 10**6, b / d / 10**9),
    "bits for bytes": lambda a, b, c, d: max(8 * a / (c * 10**6), b / (d * 10**9)),
    "GiB for GB": lambda a, b, c, d: max(a / (c * 2**30), b / (d * 10**12)) * 1000,
    "2³⁰ for 10⁹ and 2⁴⁰ for 10¹²": lambda a, b, c, d: 1000 * max(a / (c * 2**30), b / (d * 2**40)),
    "2²⁰ for 10⁶ and 2³⁰ for 10⁹": lambda a, b, c, d: max(a / (c * 2**20), b / (d * 2**30)),
    "seconds for milliseconds": lambda a, b, c, d: max(a / (c * 10**9), b / (d * 10**12)),
    "reading 1,000 times too short": lambda a, b, c, d: max(a / (c * 10**9), b / (d * 10**9)),
    "computing 1,000 times too long": lambda a, b, c, d: max(a / (c * 10**6), b / (d * 10**6)),
    "G and T left out": lambda a, b, c, d: max(a / c, b / d),
    "G and T left out, times 1,000": lambda a, b, c, d: max(a / c, b / d) * 1000,
    "bandwidth and peak exchanged": lambda a, b, c, d: max(a / (d * 10**9), b / (c * 10**6)),
    "the fractions upside down": lambda a, b, c, d: max(c * 1e6 / a, d * 1e9 / b),
    "a roof over the speed": lambda a, b, c, d: b / min(d * 1e9, b / a * c * 1e6),
    "flop divided by bytes": lambda a, b, c, d: (
        b / (d * 1e9) if b / a > d * 1000 / c else a / (c * 1e6)
    ),
    "a whole number": lambda a, b, c, d: max(a // (c * 10**6), b // (d * 10**9)),
}


@pytest.mark.parametrize("diagnosis", TIMES)
def test_a_wrong_time_is_named(diagnosis):
    assert examine(find("09.step_time"), TIMES[diagnosis]).diagnosis == diagnosis


ROOFS = {
    "flop a byte last": lambda a, b, c, d: 1000 * b / min(d * 1e12, c * 1e9 * b / a),
    "in units": lambda a, b, c, d: b / min(d, c * (b / a) / 1000) / 1e9,
    "whole": lambda a, b, c, d: b / min(d * 10**9, c * 10**6 * b / a),
    "a speed by if": lambda a, b, c, d: b / (d * 1e9 if b / a > 1000 * d / c else b / a * c * 1e6),
}


@pytest.mark.parametrize("style", ROOFS)
def test_a_roof_is_named_however_it_is_written(style):
    assert examine(find("09.step_time"), ROOFS[style]).diagnosis == "a roof over the speed"


def test_a_roof_in_seconds_is_not_taken_for_fractions_upside_down():
    def seconds(a, b, c, d):
        return b / min(d * 1e12, b / a * c * 1e9)

    assert examine(find("09.step_time"), seconds).diagnosis == "something else"


def flop(m, s):
    """Of one user, in all layers."""
    return 4 * m.n_layers * m.n_heads * m.head_dim * s


TOKENS = {
    "g in place of n in the flop": lambda m, w, b, s, c, d, x=2: (
        1000 * b / (step_time(x * w, 2 * b * w, c, d)
        + step_time(m.kv_bytes(s, b, x), 4 * b * m.n_layers * m.n_kv_heads * m.head_dim * s, c, d))
    ),
    "n in place of g in the cache": lambda m, w, b, s, c, d, x=2: (
        1000 * b / (step_time(x * w, 2 * b * w, c, d) + step_time(
            2 * m.n_layers * b * m.n_heads * m.head_dim * s * x, b * flop(m, s), c, d))
    ),
    "weights read once for each user": lambda m, w, b, s, c, d, x=2: (
        1000 / (step_time(x * w, 2 * w, c, d) + step_time(m.kv_bytes(s, 1, x), flop(m, s), c, d))
    ),
    "one user": lambda m, w, b, s, c, d, x=2: (
        1000 / (step_time(x * w, 2 * w, c, d) + step_time(m.kv_bytes(s, 1, x), flop(m, s), c, d)) * b
    ),
    "one user's cache": lambda m, w, b, s, c, d, x=2: (
        1000 * b / (step_time(x * w, 2 * b * w, c, d)
        + step_time(m.kv_bytes(s, bytes_per_element=x), b * flop(m, s), c, d))
    ),
    "one user's attention in one layer": lambda m, w, b, s, c, d, x=2: (
        1000 * b / (step_time(x * w, 2 * b * w, c, d) + step_time(
            cost.decode_bytes(m.n_kv_heads, m.head_dim, s, x),
            cost.decode_flop(m.n_heads, m.head_dim, s), c, d))
    ),
    "2 bytes for each element of the cache": lambda m, w, b, s, c, d, x=2: (
        1000 * b / (step_time(x * w, 2 * b * w, c, d)
        + step_time(m.kv_bytes(s, b), b * flop(m, s), c, d))
    ),
    "one roof over both parts": lambda m, w, b, s, c, d, x=2: (
        1000 * b / step_time(x * w + m.kv_bytes(s, b, x), b * (2 * w + flop(m, s)), c, d)
    ),
    "the sum of reading and computing": lambda m, w, b, s, c, d, x=2: (
        1000 * b / ((x * w + m.kv_bytes(s, b, x)) / (c * 1e6) + b * (2 * w + flop(m, s)) / (d * 1e9))
    ),
    "tokens a second of each user": lambda m, w, b, s, c, d, x=2: (
        1000 / (step_time(x * w, 2 * b * w, c, d)
        + step_time(m.kv_bytes(s, b, x), b * flop(m, s), c, d))
    ),
    "tokens a millisecond": lambda m, w, b, s, c, d, x=2: (
        b / (step_time(x * w, 2 * b * w, c, d)
        + step_time(m.kv_bytes(s, b, x), b * flop(m, s), c, d))
    ),
}  # fmt: skip


@pytest.mark.parametrize("diagnosis", TOKENS)
def test_a_wrong_number_of_tokens_is_named(diagnosis):
    assert examine(find("09.tokens_per_second"), TOKENS[diagnosis]).diagnosis == diagnosis


def test_two_mistakes_at_once_are_not_taken_for_one():
    def per_user_in_one_layer(m, w, b, s, c, d, x=2):
        one_layer = step_time(m.kv_bytes(s, b, x), b * flop(m, s), c, d) / m.n_layers
        return 1000 / (step_time(x * w, 2 * b * w, c, d) + one_layer)

    assert (
        examine(find("09.tokens_per_second"), per_user_in_one_layer).diagnosis == "something else"
    )
