"""Laws of course_utils.cost: bytes, flop and the least time of a step, and the tokens of a second."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from course_utils.attention import attention
from course_utils.cost import (
    decode_bytes,
    decode_flop,
    expanded_flop,
    latent_flop,
    step_time,
    tokens_per_second,
)
from course_utils.geometry import Geometry, model
from course_utils.kv_cache import KVCache

small = st.integers(1, 5)
speed = st.floats(0.01, 10_000)
amount = st.integers(0, 10**15)
LLAMA, N_WEIGHTS = model("Llama-3 8B"), 8_030_261_248
H100 = 3350, 989


def near(x):
    return pytest.approx(x, rel=1e-12)


def toy(l=2, g=3, r=2, h=5):
    return Geometry("toy", l, g * r, g, h, d_model=7, max_context=9)


def flop_counted(act):
    """The flop that PyTorch counts while act runs."""
    with FlopCounterMode(display=False) as counter:
        act()
    return counter.get_total_flops()


# One layer, one user


@given(g=small, h=small, s=st.integers(0, 5), dtype=st.sampled_from([torch.float32, torch.half]))
def test_a_step_reads_what_the_cache_of_one_layer_holds(g, h, s, dtype):
    cache = KVCache(1, g, s, h, dtype)
    assert decode_bytes(g, h, s, dtype.itemsize) == cache.n_bytes
    assert decode_bytes(g, h, s) == KVCache(1, g, s, h, torch.bfloat16).n_bytes


@settings(deadline=None)  # the first count imports much
@given(g=small, r=small, h=small, s=small)
def test_a_step_does_the_flop_that_pytorch_counts_in_its_two_products(g, r, h, s):
    q, k, v = torch.ones(1, g * r, 1, h), torch.ones(1, g, s, h), torch.ones(1, g, s, h)
    assert decode_flop(g * r, h, s) == flop_counted(lambda: attention(q, k, v))


@settings(deadline=None)
@given(n=small, kv_rank=small, rope_dim=small, s=small)
def test_absorbed_it_does_the_flop_of_mqa_with_a_key_wider_than_its_value(n, kv_rank, rope_dim, s):
    q, cached = torch.ones(1, n, kv_rank + rope_dim), torch.ones(1, s, kv_rank + rope_dim)
    counted = flop_counted(lambda: q @ cached.mT @ cached[..., :kv_rank])
    assert latent_flop(n, kv_rank, rope_dim, s) == counted
    assert latent_flop(n, kv_rank, 0, s) == decode_flop(n, kv_rank, s)


@settings(deadline=None)
@given(n=small, h=small, kv_rank=small, rope_dim=small, value_dim=small, s=small)
def test_expanded_it_makes_every_key_and_value_anew_and_attends_with_them(
    n, h, kv_rank, rope_dim, value_dim, s
):
    def act():
        expanded = torch.ones(s, kv_rank) @ torch.ones(kv_rank, n * (h + value_dim))
        k, v = expanded.view(s, n, -1).transpose(0, 1).split([h, value_dim], dim=-1)
        k = torch.cat([k, torch.ones(n, s, rope_dim)], dim=-1)
        return torch.ones(n, 1, h + rope_dim) @ k.mT @ v

    assert expanded_flop(n, h, kv_rank, rope_dim, value_dim, s) == flop_counted(act)


@pytest.mark.parametrize("n, intensity", [(128, 241.8), (64, 120.9), (20, 37.8)])
def test_flop_a_byte_of_a_latent_grow_with_the_heads_and_not_with_the_tokens(n, intensity):
    for s in (1, 4096):
        n_bytes = 2 * (512 + 64) * s
        assert latent_flop(n, 512, 64, s) / n_bytes == pytest.approx(intensity, abs=0.05)


def test_an_empty_cache_costs_nothing():
    assert decode_bytes(3, 5, 0) == decode_flop(6, 5, 0) == step_time(0, 0, 7, 2) == 0
    assert latent_flop(6, 4, 2, 0) == expanded_flop(6, 5, 4, 2, 3, 0) == 0


# The roofline


@given(n_bytes=amount, n_flop=amount, bandwidth=speed, peak=speed)
def test_the_longer_of_reading_and_computing_counts(n_bytes, n_flop, bandwidth, peak):
    reading, computing = n_bytes / (bandwidth * 1e9), n_flop / (peak * 1e12)  # in seconds
    step = step_time(n_bytes, n_flop, bandwidth, peak)
    assert step == near(1000 * (reading if reading > computing else computing))
    assert step == max(
        step_time(n_bytes, 0, bandwidth, peak), step_time(0, n_flop, bandwidth, peak)
    )


@given(n_bytes=amount, n_flop=amount, bandwidth=speed, peak=speed, times=st.integers(1, 9))
def test_twice_the_work_takes_twice_as_long_and_twice_the_speed_half(
    n_bytes, n_flop, bandwidth, peak, times
):
    step = step_time(n_bytes, n_flop, bandwidth, peak)
    assert step_time(times * n_bytes, times * n_flop, bandwidth, peak) == near(times * step)
    assert step_time(n_bytes, n_flop, times * bandwidth, times * peak) == near(step / times)
    for faster in ((times * bandwidth, peak), (bandwidth, times * peak)):
        assert step_time(n_bytes, n_flop, *faster) <= step


def test_units_are_those_of_data_sheets():
    """A GB at 1 GB/s takes a second, a Tflop at 1 Tflop/s as well."""
    assert step_time(10**9, 0, bandwidth=1, peak=1) == step_time(0, 10**12, 1, 1) == 1000


@pytest.mark.parametrize("size", [1, 2, 4])
@pytest.mark.parametrize("bandwidth, peak", [(20, 0.13), (320, 65), (3350, 989)])
@pytest.mark.parametrize("n, h, s", [(32, 128, 4096), (6, 5, 7)])
def test_reading_takes_as_long_as_computing_at_the_crossing(n, h, s, bandwidth, peak, size):
    """At g = 2 · n · bandwidth / (1,000 · size · peak), which need not be whole, whatever h, s."""
    crossing = 2 * n * bandwidth / (1000 * size * peak)
    n_bytes, n_flop = decode_bytes(1, h, s, size), decode_flop(n, h, s)
    reading = step_time(crossing * n_bytes, 0, bandwidth, peak)
    assert reading == near(step_time(0, n_flop, bandwidth, peak))
    assert n_flop / n_bytes == 2 * n / size  # at g = 1: the flop of a byte


# The tokens of a second


def by_loop(m, n_weights, b, s, bandwidth, peak, size):
    """Every product of a step read and computed by itself: the weights once, then all caches."""
    seconds_reading = seconds_computing = 0
    for _ in range(m.n_layers):
        for _ in range(b):
            for _ in range(m.n_kv_heads):
                seconds_reading += 2 * s * m.head_dim * size / (bandwidth * 1e9)
            for _ in range(m.n_heads):
                seconds_computing += 2 * 2 * s * m.head_dim / (peak * 1e12)
    attention = max(seconds_reading, seconds_computing)
    weights = max(
        n_weights * size / (bandwidth * 1e9), sum(2 * n_weights for _ in range(b)) / (peak * 1e12)
    )
    return b / (weights + attention)


@given(
    l=small, g=small, r=small, h=small, b=small, s=st.integers(0, 99), n_weights=st.integers(1, 999),
    bandwidth=speed, peak=speed, size=st.sampled_from([1, 2, 4]),
)  # fmt: skip
def test_tokens_a_second_are_those_of_a_loop(l, g, r, h, b, s, n_weights, bandwidth, peak, size):
    sizes = toy(l, g, r, h), n_weights, b, s, bandwidth, peak, size
    assert tokens_per_second(*sizes) == near(by_loop(*sizes))


@settings(deadline=None)
@given(b=st.integers(1, 9), n_in=small, n_out=small)
def test_each_weight_takes_two_flop_a_user(b, n_in, n_out):
    linear, x = torch.nn.Linear(n_in, n_out, bias=False), torch.ones(b, n_in)
    n_flop, n_weights = flop_counted(lambda: linear(x)), linear.weight.numel()
    computing = tokens_per_second(toy(), n_weights, b, 0, bandwidth=1e9, peak=1e-9)
    assert 1000 * b / computing == near(step_time(0, n_flop, 1e9, peak=1e-9))


@pytest.mark.parametrize("size", [0.5, 1, 2, 4])
def test_one_user_without_a_cache_waits_for_the_weights(size):
    got = tokens_per_second(LLAMA, N_WEIGHTS, 1, 0, *H100, size)
    assert got == near(3350 * 10**9 / (size * N_WEIGHTS))


def test_an_element_has_two_bytes_unless_told_otherwise():
    sizes = LLAMA, N_WEIGHTS, 3, 800, *H100
    assert tokens_per_second(*sizes) == tokens_per_second(*sizes, 2)
    assert tokens_per_second(*sizes) == near(tokens_per_second(*sizes, 4) * 2)


@given(b=small, s=st.integers(1, 9999), bandwidth=speed, peak=speed)
def test_more_of_anything_never_makes_it_slower_but_tokens_and_heads(b, s, bandwidth, peak):
    def tokens(m=LLAMA, b=b, s=s, bandwidth=bandwidth, peak=peak):
        return tokens_per_second(m, N_WEIGHTS, b, s, bandwidth, peak) * (1 + 1e-12)

    now = tokens() / (1 + 1e-12)
    assert tokens(bandwidth=2 * bandwidth) >= now and tokens(peak=2 * peak) >= now
    assert tokens(b=b + 1) >= now >= tokens(b=b + 1) * b / (b + 1) / (1 + 1e-11)  # of each user
    assert tokens(replace(LLAMA, n_kv_heads=1)) >= now
    assert tokens(s=s + 1) <= now * (1 + 1e-11)


@pytest.mark.parametrize("g", [1, 8, 32])
@pytest.mark.parametrize("bandwidth, peak", [H100, (20, 0.13)])
def test_with_many_users_what_each_costs_by_itself_is_left(g, bandwidth, peak):
    """Attention, and the products with the weights: reading these is shared by all."""
    m, s = replace(LLAMA, n_kv_heads=g), 4096
    attention = step_time(
        m.n_layers * decode_bytes(g, 128, s), m.n_layers * decode_flop(32, 128, s), bandwidth, peak
    )
    products = step_time(0, 2 * N_WEIGHTS, bandwidth, peak)
    limit = 1000 / (attention + products)
    assert tokens_per_second(m, N_WEIGHTS, 10**6, s, bandwidth, peak) == near(limit)


def test_a_latent_is_read_as_the_cache_that_it_is():
    latent = replace(toy(), latent_dim=4)
    n_bytes = latent.kv_bytes(n_tokens=6, batch=3)
    got = tokens_per_second(latent, 1, 3, 6, bandwidth=1e-6, peak=1e9)
    assert 3000 / got == near(step_time(2 + n_bytes, 0, 1e-6, 1e9))


def test_one_user_gains_little_from_sharing_and_many_gain_more():
    """Llama-3 8B at 8,192 tokens, g from 32 to 8, as the lesson and its quiz have it."""
    heads = [replace(LLAMA, n_kv_heads=g) for g in (32, 8)]
    gains = []
    for b in (1, 32):
        mha, gqa = (tokens_per_second(m, N_WEIGHTS, b, 8192, *H100) for m in heads)
        gains.append(round(gqa / mha, 1))
    assert gains == [1.2, 3.0]


# Errors say what is wrong and what to do


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"bandwidth": 0}, "bandwidth (0) must be more than 0; try 320, a T4's GB/s"),
        ({"bandwidth": -3}, "bandwidth (-3) must be more than 0; try 320, a T4's GB/s"),
        ({"peak": 0}, "peak (0) must be more than 0; try 65, a T4's Tflop/s in float16"),
        ({"peak": -0.5}, "peak (-0.5) must be more than 0; try 65, a T4's Tflop/s in float16"),
        ({"n_bytes": -1}, "n_bytes (-1) must not be negative; a step without any has 0"),
        ({"n_flop": -2}, "n_flop (-2) must not be negative; a step without any has 0"),
    ],
)
def test_a_senseless_step_is_refused(wrong, message):
    with pytest.raises(ValueError) as error:
        step_time(**{"n_bytes": 5, "n_flop": 7, "bandwidth": 2, "peak": 3} | wrong)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"n_weights": 0}, "n_weights (0) must be at least 1; Llama-3 8B has 8.03e9"),
        ({"n_weights": -4}, "n_weights (-4) must be at least 1; Llama-3 8B has 8.03e9"),
        ({"batch": 0}, "batch (0) must be at least 1"),
        ({"batch": -1}, "batch (-1) must be at least 1"),
        ({"n_tokens": -1}, "n_tokens (-1) must not be negative; an empty cache has 0"),
        ({"bandwidth": 0}, "bandwidth (0) must be more than 0; try 320, a T4's GB/s"),
        ({"peak": 0}, "peak (0) must be more than 0; try 65, a T4's Tflop/s in float16"),
        (
            {"bytes_per_element": 0},
            "bytes_per_element (0) must be more than 0; "
            "try 2 for bfloat16, 1 for 8 bits or 0.5 for 4 bits",
        ),
    ],
)
def test_senseless_sizes_are_refused(wrong, message):
    sizes = {"n_weights": 9, "batch": 2, "n_tokens": 3, "bandwidth": 4, "peak": 5}
    with pytest.raises(ValueError) as error:
        tokens_per_second(toy(), **sizes | wrong)
    assert str(error.value) == message
