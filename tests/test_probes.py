"""Probes tell a right answer from one that is right at some sizes only."""

import itertools
import json

import pytest
import torch

from course_utils.checks import lesson_09
from course_utils.checks.engine import (
    examine,
    exercises,
    find,
    outcome,
    outcomes,
)
from course_utils.checks.recognise import says_the_same

SIZES = {  # of the arguments of a probe: shapes and numbers in this order
    "00.group_size": "n g",
    "01.attention": "b n t h b n s h b n s h",
    "02.causal_mask": "t s",
    "02.causal_attention": "b n t h b n s h b n s h",
    "03.split_heads": "b t width n",
    "03.merge_heads": "b n t h",
    "03.multi_head_attention": "b t d d width d width d width width d n",
    "04.decode_step": "b n t h b n t h b n t h past",
    "04.kv_cache_bytes": "l b g h s bytes",
    "05.multi_query_attention": "b n t h b one s h b one s h",
    "06.grouped_query_attention": "b n t h b g s h b g s h",
    "06.GroupedQueryAttention": "width n g b t width",
    "07.mean_pool_kv": "width d n g",
}


def sizes(name, probe):
    """{letter: size} of a probe; h where there are n of them side by side."""
    shapes = [x.shape if isinstance(x, torch.Tensor) else (x,) for x in probe]
    found = {}
    for letter, size in zip(SIZES[name].split(), itertools.chain(*shapes), strict=True):
        assert found.setdefault(letter, size) == size, (
            f"{name}: {letter} is {found[letter]}, {size}"
        )
    if width := found.pop("width", None):
        found["h"] = width // found["n"]
    found.pop("one", None)
    return found


def passes(name, wrong):
    """Whether an answer passes that is the library's own, but wrong where wrong(*probe)."""
    exercise = find(name)

    def yours(*given):
        return exercise.reference(*given)

    def play(fn, *probe):
        if fn is yours and wrong(*probe):
            return "something else"
        return exercise.play(fn, *probe) if exercise.play else fn(*probe)

    return examine(exercise._replace(play=play, mistakes={}, remark=None), yours).passed


def fails_where(name, wrong):
    return not passes(name, lambda *probe: wrong(**sizes(name, probe)))


def letters(name):
    return list(sizes(name, find(name).probes[0]))


ONE = [(name, letter) for name in SIZES for letter in letters(name)]
TWO = [(name, *pair) for name in SIZES for pair in itertools.permutations(letters(name), 2)]
# Sizes of which one cannot be larger than the other, and what is not asked for: 6 or more tokens
# go through the cache in pieces.
NOT_LARGER = {("g", "n"), ("t", "s")}
MANY_TOKENS = {("06.GroupedQueryAttention", "t")}
# A model of width 1 has one head.
WIDTH_1 = {("07.mean_pool_kv", "d", "n"), ("07.mean_pool_kv", "d", "g")}


def test_an_answer_that_is_right_everywhere_passes():
    assert all(passes(name, lambda *probe: False) for name in exercises())


@pytest.mark.parametrize("name, letter", ONE)
def test_no_size_is_the_same_in_all_probes(name, letter):
    for size in {sizes(name, probe)[letter] for probe in find(name).probes}:
        assert fails_where(name, lambda **x: x[letter] != size)  # noqa: B023


@pytest.mark.parametrize("name, letter", [x for x in ONE if x not in MANY_TOKENS])
def test_every_size_is_1_in_some_probe(name, letter):
    assert fails_where(name, lambda **x: x[letter] == 1)


CAN_DIFFER = [
    (name, one, other)
    for name, one, other in TWO
    if (name, one) not in MANY_TOKENS and (other, one) not in NOT_LARGER
]


@pytest.mark.parametrize("name, one, other", [x for x in CAN_DIFFER if x not in WIDTH_1])
def test_every_size_is_1_where_another_is_not(name, one, other):
    assert fails_where(name, lambda **x: x[one] == 1 and x[other] > 1)


@pytest.mark.parametrize("name, one, other", TWO)
def test_every_two_sizes_are_equal_in_some_probe_and_not_in_another(name, one, other):
    assert fails_where(name, lambda **x: x[one] == x[other])
    assert fails_where(name, lambda **x: x[one] != x[other])


def result(name, *probe):
    exercise = find(name)
    return outcome(exercise, exercise.reference, probe)


def in_time(which):
    """A place in EXTREME: which(ms to read, ms to compute) of a step."""
    return "09.step_time", lambda n_bytes, n_flop, bandwidth, peak: which(
        n_bytes / bandwidth / 10**6, n_flop / peak / 10**9
    )


def in_tokens(which):
    """A place in EXTREME: which(x, ms), x what is Given, ms of weights, products, cache, flop."""

    def where(*probe):
        x = lesson_09.Given(*probe)
        per_ms = {"weights": x.bandwidth * 10**6, "cache": x.bandwidth * 10**6}
        counts = lesson_09.RIGHT.items()
        return which(x, {name: n(x) / per_ms.get(name, x.peak * 10**9) for name, n in counts})

    return "09.tokens_per_second", where


EXTREME = {
    "weights that are 0 before they are hidden": (
        "02.causal_attention",
        lambda q, k, v: (q @ k.mT).softmax(-1)[..., 0, 0].min() == 0,
    ),
    "scores below -89": (
        "02.causal_attention",
        lambda q, k, v: (q @ k.mT / q.shape[-1] ** 0.5).max() < -89,
    ),
    "more than 2³¹ bytes": (
        "04.kv_cache_bytes",
        lambda *x: result("04.kv_cache_bytes", *x) > 2**31,
    ),
    "an empty cache": ("04.decode_step", lambda q, k, v, past: past == 0),
    "g = n": ("06.grouped_query_attention", lambda q, k, v: q.shape[1] == k.shape[1] > 1),
    "g = 1": ("06.grouped_query_attention", lambda q, k, v: k.shape[1] == 1 < q.shape[1]),
    "a layer with g = n": ("06.GroupedQueryAttention", lambda d, n, g, x: n == g > 1),
    "a layer with g = 1": ("06.GroupedQueryAttention", lambda d, n, g, x: 1 == g < n),
    "to pool nothing": ("07.mean_pool_kv", lambda weight, n, g: n == g > 1),
    "to pool all": ("07.mean_pool_kv", lambda weight, n, g: 1 == g < n),
    **{
        f"a weight in {dtype}": ("07.mean_pool_kv", lambda w, n, g, dtype=dtype: w.dtype == dtype)
        for dtype in (torch.bfloat16, torch.float32, torch.float64)
    },
    "a long header": ("08.byte_range", lambda start, name: length(start) > 65_535),
    "a short header": ("08.byte_range", lambda start, name: length(start) < 255),
    "bytes behind the header": (
        "08.byte_range",
        lambda start, name: len(start) > 8 + length(start),
    ),
    "no bytes behind it": ("08.byte_range", lambda start, name: len(start) == 8 + length(start)),
    "names that hold each other": (
        "08.byte_range",
        lambda start, name: any(name in x and name != x for x in header(start)),
    ),
    "names that the name holds": (
        "08.byte_range",
        lambda start, name: any(x in name and name != x for x in header(start)),
    ),
    "a header backwards": ("08.byte_range", lambda start, name: [*header(start)][1] > name),
    "letters of two bytes": ("08.byte_range", lambda start, name: "ë".encode() in start),
    **{
        f"{field}: null": ("08.kv_heads", lambda config, x=field: config.get(x, "none") is None)
        for field in ("num_key_value_heads", "kv_lora_rank", "multi_query")
    },
    **{
        f"{field}: false": ("08.kv_heads", lambda config, x=field: config.get(x) is False)
        for field in ("multi_query", "new_decoder_architecture")
    },
    "a config with g = n": (
        "08.kv_heads",
        lambda config: config.get("num_key_value_heads") == config.get("num_attention_heads"),
    ),
    "a config with g = 1": ("08.kv_heads", lambda config: config.get("num_key_value_heads") == 1),
    "a decoy beside multi_query: false": (
        "08.kv_heads",
        lambda config: config.get("multi_query") is False and "num_kv_heads" in config,
    ),
    "a step that reads": in_time(lambda reading, computing: reading > computing),
    "a step that computes": in_time(lambda reading, computing: reading < computing),
    "a step that does both as long": in_time(
        lambda reading, computing: reading == pytest.approx(computing)
    ),
    "a step of less than a ms": in_time(lambda reading, computing: max(reading, computing) < 1),
    "a step without flop": ("09.step_time", lambda n_bytes, n_flop, *speeds: n_flop == 0),
    "a step without bytes": ("09.step_time", lambda n_bytes, n_flop, *speeds: n_bytes == 0),
    "one user": in_tokens(lambda x, ms: x.batch == 1),
    "users": in_tokens(lambda x, ms: x.batch > 1),
    "users of an empty cache": in_tokens(lambda x, ms: x.n_tokens == 0),
    "a model with g = n": in_tokens(lambda x, ms: x.model.n_kv_heads == x.model.n_heads),
    "a model with g = 1": in_tokens(lambda x, ms: x.model.n_kv_heads == 1),
    "a model with another h than d / n": in_tokens(
        lambda x, ms: x.model.n_heads * x.model.head_dim != x.model.d_model
    ),
    **{
        f"{size} bytes an element": in_tokens(lambda x, ms, size=size: x.bytes_per_element == size)
        for size in (0.5, 1, 2, 4)
    },
    "bytes_per_element left out": ("09.tokens_per_second", lambda *probe: len(probe) == 6),
    "both parts read": in_tokens(
        lambda x, ms: ms["weights"] > ms["products"] and ms["cache"] > ms["attention"]
    ),
    "weights read, attention computed": in_tokens(
        lambda x, ms: ms["weights"] > ms["products"] and ms["cache"] < ms["attention"]
    ),
    "weights computed, attention read": in_tokens(
        lambda x, ms: ms["weights"] < ms["products"] and ms["cache"] > ms["attention"]
    ),
    "both parts computed": in_tokens(
        lambda x, ms: ms["weights"] < ms["products"] and ms["cache"] < ms["attention"]
    ),
    "less time for the weights than for attention": in_tokens(
        lambda x, ms: max(ms["weights"], ms["products"]) < max(ms["cache"], ms["attention"])
    ),
}


def length(start):
    return int.from_bytes(start[:8], "little")


def header(start):
    return json.loads(start[8 : 8 + length(start)])


@pytest.mark.parametrize("name, where", EXTREME.values(), ids=EXTREME)
def test_what_is_wrong_for_extreme_values_only_is_found(name, where):
    assert not passes(name, where)


@pytest.mark.parametrize("name", exercises())
def test_the_probes_tell_every_two_mistakes_apart(name):
    exercise = find(name)
    found = {x: outcomes(exercise, y.wrong) for x, y in exercise.mistakes.items()}
    for one, other in itertools.combinations(found, 2):
        assert not all(map(says_the_same, found[one], found[other])), (one, other)


@pytest.mark.parametrize("name", exercises())
def test_the_probes_are_few(name):
    assert len(find(name).probes) <= 14
