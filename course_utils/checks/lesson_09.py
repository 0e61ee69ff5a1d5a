"""Exercises of lesson 09: the least time of a step, and the tokens a second of a whole model."""

from typing import NamedTuple

import torch

from course_utils.checks.draws import drawing, given, order
from course_utils.checks.engine import Exercise, Mistake
from course_utils.cost import decode_flop, step_time, tokens_per_second
from course_utils.geometry import Geometry, model, models

# Machines, as bandwidth in GB/s and peak in Tflop/s; a slow one computes far longer than it reads
H100, CORES, SMALL, SLOW = (3350, 989), (20, 0.13), (17, 0.05), (300, 0.01)
LLAMA, FALCON, QWEN, GEMMA = map(model, ("Llama-3 8B", "Falcon-7B", "Qwen3-0.6B", "Gemma-7B"))


def timing(reading=1, computing=1, choose=max, times=1):
    """A step_time whose two times are so many times too long, and what it makes of them."""

    def wrong(n_bytes, n_flop, bandwidth, peak):
        both = n_bytes / (bandwidth * 10**6), n_flop / (peak * 10**9)
        return times * choose([reading * both[0], computing * both[1]])

    return wrong


def upside_down(n_bytes, n_flop, bandwidth, peak):
    """The speeds divided by what is to be done."""
    if 0 in (n_bytes, n_flop):
        raise ZeroDivisionError("upside down")  # in words of its own, for a roof divides by 0 too
    return max(bandwidth * 10**6 / n_bytes, peak * 10**9 / n_flop)


def exchanged(n_bytes, n_flop, bandwidth, peak):
    """Bytes with the peak, flop with the bandwidth."""
    return max(n_bytes / (peak * 10**9), n_flop / (bandwidth * 10**6))


def roof(n_bytes, n_flop, bandwidth, peak):
    """The flop over a speed: the peak, or what the bandwidth lets through if that is less."""
    speed = min(peak * 10**9, n_flop / n_bytes * bandwidth * 10**6)
    return n_flop / speed


def by_ridge(n_bytes, n_flop, bandwidth, peak):
    """Computing where a byte has more flop than the machine's ridge, else reading."""
    if n_flop / n_bytes > 1000 * peak / bandwidth:
        return n_flop / (peak * 10**9)
    return n_bytes / (bandwidth * 10**6)


BITS = (
    "Memory is counted in bytes and so is the bandwidth, GB/s: there are no bits to multiply by 8."
)
BINARY = (
    "Data sheets count in tens: a GB is 10⁹ bytes. 2³⁰ of them are a GiB, 7 % more, and only sizes "
    "of memory are given in those."
)

TIME_MISTAKES = {
    "the sum of both": Mistake(
        timing(choose=sum),
        "A processor reads the next numbers while it computes with these. So the longer of both "
        "times covers the other: take the max.",
    ),
    "the shorter of both": Mistake(
        timing(choose=min),
        "The step is over when both are: the longer time counts. min gives what is done first.",
    ),
    "the mean of both": Mistake(
        timing(choose=sum, times=1 / 2),
        "The step is over when both are, reading and computing: the longer time counts.",
    ),
    "reading alone": Mistake(
        timing(computing=0),
        "Right as long as reading takes longer. n_flop / (peak · 10⁹) is the other time; take the "
        "longer one.",
    ),
    "computing alone": Mistake(
        timing(reading=0),
        "Right as long as computing takes longer. n_bytes / (bandwidth · 10⁶) is the other time; "
        "take the longer one.",
    ),
    "bits for bytes": Mistake(timing(reading=8), BITS),
    "bytes divided by 8": Mistake(
        timing(reading=1 / 8),
        "n_bytes counts bytes already, and the bandwidth is in bytes as well: nothing is to be "
        "divided by 8.",
    ),
    "GiB for GB": Mistake(timing(reading=10**9 / 2**30), BINARY),
    "MiB for MB": Mistake(
        timing(reading=10**6 / 2**20),
        "A GB/s is 10⁶ bytes a millisecond. 2²⁰ bytes are a MiB, 5 % more.",
    ),
    "2⁴⁰ for 10¹²": Mistake(
        timing(computing=10**12 / 2**40), "Tera is 10¹². No data sheet counts flop by 2⁴⁰."
    ),
    "2³⁰ for 10⁹": Mistake(
        timing(computing=10**9 / 2**30),
        "A Tflop/s is 10⁹ flop a millisecond. No data sheet counts flop by 2³⁰.",
    ),
    "2³⁰ for 10⁹ and 2⁴⁰ for 10¹²": Mistake(timing(10**9 / 2**30, 10**12 / 2**40), BINARY),
    "2²⁰ for 10⁶ and 2³⁰ for 10⁹": Mistake(timing(10**6 / 2**20, 10**9 / 2**30), BINARY),
    "seconds for milliseconds": Mistake(
        timing(times=1 / 1000),
        "The numbers are right, and 1,000 times too small: n_bytes / (bandwidth · 10⁹) are "
        "seconds. A second has 1,000 ms.",
    ),
    "microseconds for milliseconds": Mistake(
        timing(times=1000), "The numbers are right, and 1,000 times too large: return ms."
    ),
    "reading 1,000 times too short": Mistake(
        timing(reading=1 / 1000),
        "n_bytes / (bandwidth · 10⁹) are seconds, n_flop / (peak · 10⁹) are ms, for T is 10¹². "
        "Take ms for both: bandwidth · 10⁶.",
    ),
    "reading 1,000 times too long": Mistake(
        timing(reading=1000),
        "A GB/s is 10⁹ bytes a second, and 10⁶ a millisecond. The time for computing is right.",
    ),
    "computing 1,000 times too short": Mistake(
        timing(computing=1 / 1000),
        "n_flop / (peak · 10¹²) are seconds, n_bytes / (bandwidth · 10⁶) are ms. Take ms for both: "
        "peak · 10⁹.",
    ),
    "computing 1,000 times too long": Mistake(
        timing(computing=1000),
        "A Tflop/s is 10¹² flop a second, and 10⁹ a millisecond: G is 10⁹, T is 10¹². The time "
        "for reading is right.",
    ),
    "G and T left out": Mistake(
        timing(10**6, 10**9),
        "bandwidth is in GB/s and peak in Tflop/s: 10⁹ bytes and 10¹² flop a second, and a second "
        "has 1,000 ms.",
    ),
    "G and T left out, times 1,000": Mistake(
        timing(10**9, 10**12),
        "ms are right. But bandwidth is in GB/s and peak in Tflop/s: 10⁹ bytes and 10¹² flop.",
    ),
    "bandwidth and peak exchanged": Mistake(
        exchanged,
        "Bytes are read, at the bandwidth; flop are computed, at the peak.",
    ),
    "the fractions upside down": Mistake(
        upside_down,
        "The time is what is to be done over how much is done in a ms: n_bytes / (bandwidth · "
        "10⁶). Twice the bandwidth must halve it.",
    ),
    "a roof over the speed": Mistake(
        roof,
        "Right as long as the step both reads and computes. Without flop this speed is 0, without "
        "bytes there are no flop a byte: it divides by 0. Take the two times, n_bytes / (bandwidth "
        "· 10⁶) and n_flop / (peak · 10⁹), and of these the max: nothing breaks there.",
    ),
    "flop divided by bytes": Mistake(
        by_ridge,
        "Right as long as there are bytes to read: without any it divides by 0. Compare the two "
        "times, n_bytes / (bandwidth · 10⁶) and n_flop / (peak · 10⁹): nothing breaks there.",
    ),
    "a whole number": Mistake(
        lambda *given: int(step_time(*given)),
        "Right but for what is behind the point, and a layer takes less than a ms: / keeps it, "
        "// and int drop it.",
    ),
    "a tensor for a number": Mistake(
        lambda *given: torch.tensor(step_time(*given)),
        "The number is right. Return a plain one: .item() gives it.",
    ),
}


class Given(NamedTuple):
    """What tokens_per_second is given."""

    model: Geometry
    n_weights: int
    batch: int
    n_tokens: int
    bandwidth: float
    peak: float
    bytes_per_element: float = 2


RIGHT = {
    "weights": lambda x: x.bytes_per_element * x.n_weights,
    "products": lambda x: 2 * x.batch * x.n_weights,
    "cache": lambda x: x.model.kv_bytes(x.n_tokens, x.batch, x.bytes_per_element),
    "attention": lambda x: (
        x.batch * x.model.n_layers * decode_flop(x.model.n_heads, x.model.head_dim, x.n_tokens)
    ),
}


def in_turn(weights, products, cache, attention, speeds, time=step_time):
    """Weights and attention one after the other."""
    return time(weights, products, *speeds) + time(cache, attention, *speeds)


def counting(combine=in_turn, result=lambda x, ms: 1000 * x.batch / ms, **times):
    """A tokens_per_second with some of its four counts so many times too large.

    weights and cache are bytes, products and attention flop; each factor is a function of what is
    Given. combine makes ms of counts and speeds, result what is returned.
    """

    def wrong(*given):
        x = Given(*given)
        counts = {name: right(x) * times.get(name, one)(x) for name, right in RIGHT.items()}
        return result(x, combine(*counts.values(), given[4:6]))

    return wrong


def one(x):
    """The factor of a count that is right."""
    return 1


def two_bytes(x):
    """The factor of bytes where each element has 2."""
    return 2 / x.bytes_per_element


def one_roof(weights, products, cache, attention, speeds):
    """The longer of all reading and all computing."""
    return step_time(weights + cache, products + attention, *speeds)


def longer_part(weights, products, cache, attention, speeds):
    """The longer of weights and attention."""
    return max(step_time(weights, products, *speeds), step_time(cache, attention, *speeds))


def each_part(**wrong):
    """Weights and attention in turn, each with a step_time as `timing` makes it."""
    return lambda *counts: in_turn(*counts, time=timing(**wrong))


ONE_LAYER = "cost.decode_bytes and cost.decode_flop count one layer and one user"

TOKENS_MISTAKES = {
    "2 · n · h · s flop": Mistake(
        counting(attention=lambda x: 1 / 2),
        "Attention has two products: a query with each key, and a weight with each value. Each "
        "takes 2 · h flop a head and token: 4 · n · h · s in all.",
    ),
    "g in place of n in the flop": Mistake(
        counting(attention=lambda x: x.model.n_kv_heads / x.model.n_heads),
        "Sharing saves bytes, no flop: each of the n query heads has its own scores with every "
        "key. On a machine that computes slowly that is what counts.",
    ),
    "d_model in place of n · h": Mistake(
        counting(attention=lambda x: x.model.d_model / (x.model.n_heads * x.model.head_dim)),
        "In some models h is not d / n: Qwen3-0.6B has 16 heads of 128, and d is 1024. Count "
        "model.n_heads · model.head_dim.",
    ),
    "n in place of g in the cache": Mistake(
        counting(cache=lambda x: x.model.n_heads / x.model.n_kv_heads),
        "This is the cache of MHA, with n heads of keys and values. g are kept: model.kv_bytes "
        "counts those.",
    ),
    "one layer": Mistake(
        counting(cache=lambda x: 1 / x.model.n_layers, attention=lambda x: 1 / x.model.n_layers),
        "This is attention in one of l layers. A token goes through all of them, and each reads a "
        "cache of its own.",
    ),
    "one layer in the flop": Mistake(
        counting(attention=lambda x: 1 / x.model.n_layers),
        "model.kv_bytes counts all layers, and 4 · n · h · s is one: times model.n_layers.",
    ),
    "one layer in the cache": Mistake(
        counting(cache=lambda x: 1 / x.model.n_layers),
        "Every layer has keys and values of its own: model.kv_bytes counts them all.",
    ),
    "the layers twice in the cache": Mistake(
        counting(cache=lambda x: x.model.n_layers),
        "model.kv_bytes counts all layers already.",
    ),
    "one user's flop of attention": Mistake(
        counting(attention=lambda x: 1 / x.batch),
        "Each of b users has queries of its own: times b.",
    ),
    "one user's cache": Mistake(
        counting(cache=lambda x: 1 / x.batch),
        "This cache is read once for all users. They share the weights, never a cache: each has "
        "tokens of its own. model.kv_bytes takes batch as well.",
    ),
    "one user's attention": Mistake(
        counting(cache=lambda x: 1 / x.batch, attention=lambda x: 1 / x.batch),
        "This is attention for one user, and the rest is for b. Each has a cache of its own, and "
        "queries of its own.",
    ),
    "one user's attention in one layer": Mistake(
        counting(
            cache=lambda x: 1 / (x.batch * x.model.n_layers),
            attention=lambda x: 1 / (x.batch * x.model.n_layers),
        ),
        f"{ONE_LAYER}. Both are to be taken b · l times.",
    ),
    "one user's flop of attention in one layer": Mistake(
        counting(attention=lambda x: 1 / (x.batch * x.model.n_layers)),
        f"The bytes are right. But {ONE_LAYER}, and so does 4 · n · h · s: times b · l.",
    ),
    "the users twice in the cache": Mistake(
        counting(cache=lambda x: x.batch),
        "model.kv_bytes(n_tokens, batch, …) counts all users already.",
    ),
    "weights read once for each user": Mistake(
        counting(weights=lambda x: x.batch),
        "The weights are the same for all users, and read once a step: that is what batching "
        "saves. Only the flop are 2 a weight and user.",
    ),
    "one user's flop of the weights": Mistake(
        counting(products=lambda x: 1 / x.batch),
        "Weights are read once for all, but every user's token is multiplied with them: 2 · b "
        "flop a weight.",
    ),
    "one user": Mistake(
        counting(
            products=lambda x: 1 / x.batch,
            cache=lambda x: 1 / x.batch,
            attention=lambda x: 1 / x.batch,
        ),
        "This is a step for one user, and b tokens come out of it. Only the bytes of the weights "
        "are the same for b users: count flop and cache for each.",
    ),
    "1 flop a weight": Mistake(
        counting(products=lambda x: 1 / 2),
        "Each weight is multiplied, and the product added to a sum: 2 flop a weight and user.",
    ),
    "bytes_per_element flop a weight": Mistake(
        counting(products=lambda x: x.bytes_per_element / 2),
        "The same with 2 bytes. But a weight takes 2 flop, one product and one sum, however many "
        "bytes it has.",
    ),
    "weights read and not computed with": Mistake(
        counting(products=lambda x: 0),
        "Right for few users. With many, the products take longer than reading: 2 · b flop a "
        "weight.",
    ),
    "no attention": Mistake(
        counting(cache=lambda x: 0, attention=lambda x: 0),
        "This step reads the weights and no cache. Add the time of attention: kv_bytes to read, "
        "4 · b · l · n · h · s flop.",
    ),
    "attention's flop left out": Mistake(
        counting(attention=lambda x: 0),
        "Right where reading the cache takes longer. A slow machine computes longer: 4 · b · l · "
        "n · h · s flop.",
    ),
    "no weights": Mistake(
        counting(weights=lambda x: 0, products=lambda x: 0),
        "This is attention alone. Every step reads all weights as well, once for all users.",
    ),
    "keys alone": Mistake(
        counting(cache=lambda x: 1 / 2),
        "Keys and values are read: 2 · l · b · g · h · s elements. model.kv_bytes counts both.",
    ),
    "the tokens squared": Mistake(
        counting(attention=lambda x: x.n_tokens),
        "s · s scores belong to a prefill of s tokens. Here each user has one new token, and its "
        "queries meet s keys.",
    ),
    "2 bytes for each element": Mistake(
        counting(weights=two_bytes, cache=two_bytes),
        "Right for bfloat16. In float32 an element takes 4 bytes: use bytes_per_element.",
    ),
    "2 bytes for each element of the cache": Mistake(
        counting(cache=two_bytes),
        "The weights are right. model.kv_bytes counts 2 bytes an element unless told otherwise: "
        "give it bytes_per_element as well.",
    ),
    "2 bytes for each weight": Mistake(
        counting(weights=two_bytes),
        "The cache is right. A weight takes bytes_per_element bytes too.",
    ),
    "elements in place of bytes": Mistake(
        counting(
            weights=lambda x: 1 / x.bytes_per_element, cache=lambda x: 1 / x.bytes_per_element
        ),
        "So many numbers are read; each takes bytes_per_element bytes.",
    ),
    "weights counted, not their bytes": Mistake(
        counting(weights=lambda x: 1 / x.bytes_per_element),
        "n_weights is how many there are; each takes bytes_per_element bytes.",
    ),
    "one roof over both parts": Mistake(
        counting(one_roof),
        "Weights and attention take turns: while one part computes, the other does not read yet. "
        "Give each part a step_time of its own, and add the two.",
    ),
    "the longer part": Mistake(
        counting(longer_part),
        "In one part, reading and computing go on at once. The two parts, weights and attention, "
        "take turns: add their times.",
    ),
    "the sum of reading and computing": Mistake(
        counting(each_part(choose=sum)),
        "In each part reading and computing go on at once, so the longer one counts: step_time "
        "takes the max.",
    ),
    "the shorter of reading and computing": Mistake(
        counting(each_part(choose=min)),
        "A part is over when both are, reading and computing: the longer one counts.",
    ),
    "bits for bytes": Mistake(counting(each_part(reading=8)), BITS),
    "GiB for GB": Mistake(counting(each_part(reading=10**9 / 2**30)), BINARY),
    "2³⁰ for 10⁹ and 2⁴⁰ for 10¹²": Mistake(
        counting(each_part(reading=10**9 / 2**30, computing=10**12 / 2**40)), BINARY
    ),
    "tokens a second of each user": Mistake(
        counting(result=lambda x, ms: 1000 / ms),
        "So many come to each user. In all b times as many: each step gives every user a token.",
    ),
    "tokens a second over b": Mistake(
        counting(result=lambda x, ms: 1000 / ms / x.batch),
        "A step gives b tokens, one to each user: times b, not divided by it.",
    ),
    "tokens a millisecond": Mistake(
        counting(result=lambda x, ms: x.batch / ms),
        "step_time gives ms, and a second has 1,000: 1000 · b over the time.",
    ),
    "the ms of a step": Mistake(
        counting(result=lambda x, ms: ms),
        "The time is right. b tokens come out of it: 1000 · b over the time are those of a second.",
    ),
    "the ms of a token": Mistake(
        counting(result=lambda x, ms: ms / x.batch),
        "This is upside down: so many ms a token. 1000 over it are the tokens a second.",
    ),
    "a whole number": Mistake(
        lambda *given: int(tokens_per_second(*given)),
        "Right but for what is behind the point: / keeps it, // and int drop it.",
    ),
    "a tensor for a number": Mistake(
        lambda *given: torch.tensor(tokens_per_second(*given)),
        "The number is right. Return a plain one: .item() gives it.",
    ),
}


def about(random, x):
    """From 2/3 of x to 3/2, to three digits; an int stays one, 0 and 1 stay what they are."""
    if type(x) is int:
        return random.randint(2 * x // 3 + 1, 3 * x // 2) if x > 1 else x
    return float(f"{x * random.uniform(2 / 3, 3 / 2):.3g}")


def times(n_bytes, n_flop, bandwidth, peak):
    """The ms to read, and to compute."""
    return n_bytes / (bandwidth * 10**6), n_flop / (peak * 10**9)


def another_step(random, row):
    """A step of another machine, whose two times are both shorter by one factor."""
    bandwidth, peak = (about(random, x) for x in row[2:])
    shorter = random.uniform(0.5, 0.9)
    reading, computing = (shorter * ms for ms in times(*row))
    n_bytes, n_flop = reading * bandwidth * 10**6, computing * peak * 10**9
    return round(n_bytes) or 0.0, round(n_flop) or 0.0, bandwidth, peak


def regime(model, *others):
    """Which of the times of a step are the longer ones, also where some of the flop are missing."""
    x = Given(model, *others)
    weights, products, cache, attention = (right(x) for right in RIGHT.values())
    weights, products = times(weights, products, x.bandwidth, x.peak)
    cache, attention = times(cache, attention, x.bandwidth, x.peak)
    b, l, r = x.batch, model.n_layers, model.group_size
    return (
        order(max(weights, products), max(cache, attention)),
        *(order(weights, products / fewer) for fewer in (1, 2, b)),
        *(order(cache, attention / fewer) for fewer in (1, 2, r, b, l, b * l)),
        order(2 * cache, attention / (b * l)),
    )


def another_model(random, row):
    """A model of the same sort on another machine; what takes longer stays what takes longer."""
    old, n_weights, batch, n_tokens, bandwidth, peak, *size_of_element = row
    same = [m for m in models() if sort(m) == sort(old) and m.layers is None]
    while True:
        new = random.choice(same)
        numbers = n_weights * size(new) // size(old), batch, n_tokens, bandwidth, peak
        drawn = new, *(about(random, x) for x in numbers), *size_of_element
        if regime(*drawn) == regime(*row):
            return drawn


def size(model):
    """What the number of its weights grows with."""
    return model.n_layers * model.d_model**2


def sort(model):
    """MHA, GQA, MQA or MLA, and whether h is d / n."""
    return model.kind, model.n_heads * model.head_dim == model.d_model


EXERCISES = {
    "09.step_time": Exercise(
        reference=step_time,
        more="refuses what is negative, and speeds of 0",
        **drawing(
            given(64 * 10**9, 13 * 10**11, 320, 65),
            given(64 * 10**9, 26 * 10**12, 320, 65),
            given(33_554_432, 67_108_864, *H100),  # 0.01 ms
            given(4_194_304, 67_108_864, *CORES),
            given(3 * 10**9, 7 * 10**10, 3, 0.07),  # as long to read as to compute
            given(5 * 10**8, 7 * 10**11, 1, 1),
            given(10**12, 10**11, *H100),  # 1,000 times as long to read as to compute, and more
            given(10**9, 10**15, *H100),  # the other way round
            given(4 * 10**9, 0.0, *H100),  # nothing to compute; 1 / 0 and 1 / 0.0 raise other words
            given(0.0, 3 * 10**12, *H100),  # nothing to read
            other=another_step,
        ),
        returns=("the time",),
        mistakes=TIME_MISTAKES,
        hints=(
            "How long would the step take if it only read? And if it only computed? Both go on at "
            "the same time.",
            "A GB/s is 10⁹ bytes a second: how many is that in a millisecond? And a Tflop/s?",
            "n_bytes / (bandwidth · 10⁶) ms for reading, n_flop / (peak · 10⁹) ms for computing: "
            "return the max of the two.",
        ),
    ),
    "09.tokens_per_second": Exercise(
        reference=tokens_per_second,
        more="refuses sizes below 1, and speeds of 0",
        **drawing(
            given(LLAMA, 8_030_261_248, 1, 8192, *H100),
            given(LLAMA, 8_030_261_248, 31, 8191, *H100),
            given(LLAMA, 8_030_261_248, 31, 0, *H100),
            given(FALCON, 7_200_000_000, 5, 2000, *CORES, 4),
            given(LLAMA, 8_030_261_248, 501, 400, *H100, 2),  # weights compute, attention reads
            given(QWEN, 600_000_000, 1, 30_001, *SMALL, 1),  # the other way round
            given(QWEN, 600_000_000, 7, 3001, *SMALL, 0.5),
            given(FALCON, 7_200_000_000, 3, 20_001, *SLOW, 4),
            given(GEMMA, 8_500_000_000, 3, 5000, *CORES, 1),  # g = n
            other=another_model,
        ),
        returns=("the number of tokens a second",),
        mistakes=TOKENS_MISTAKES,
        hints=(
            "A step has two parts that take turns: the products with the weights, and attention. "
            "What does each read, and what does it compute? One step gives every user a token.",
            "Weights: read once, however many users there are, and 2 flop a weight and user. "
            "Attention: model.kv_bytes(n_tokens, batch, bytes_per_element) to read, and "
            "4 · n · h · s flop in each layer for each user.",
            "Add the step_time of both parts: ms. In that time batch tokens are made; in a second, "
            "1000 · batch over it.",
        ),
    ),
}
