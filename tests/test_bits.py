"""Laws of course_utils.bits: PyTorch's own rounding, what an error can be, and what stays."""

import itertools

import pytest
import torch

from course_utils import bits
from course_utils.attention import GroupedQueryAttention
from course_utils.kv_cache import KVCache

DIMS = -1, -2, 0, (0, 1, 2, 3)
CASES = list(itertools.product(range(2, 9), DIMS))


def draw(*shape, seed=0, dtype=torch.float64):
    return torch.randn(
        shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).to(dtype)


@pytest.mark.parametrize("n_bits, dim", CASES)
def test_it_rounds_as_pytorch_does(n_bits, dim):
    x, most = draw(2, 3, 5, 7, seed=n_bits, dtype=torch.float32), 2 ** (n_bits - 1) - 1
    integers, scales = bits.quantize(x, n_bits, dim)
    whole = scales.expand_as(x)
    right = torch.stack([
        torch.fake_quantize_per_tensor_affine(number, scale.item(), 0, -most, most)
        for number, scale in zip(x.flatten(), whole.flatten(), strict=True)
    ]).view_as(x)  # fmt: skip
    torch.testing.assert_close(bits.dequantize(integers, scales), right)


@pytest.mark.parametrize("n_bits, dim", CASES)
def test_the_largest_fits_and_no_error_is_more_than_half_a_step(n_bits, dim):
    x = draw(2, 3, 5, 7, seed=n_bits)
    integers, scales = bits.quantize(x, n_bits, dim)
    most = 2 ** (n_bits - 1) - 1
    assert integers.dtype == torch.int8 and scales.dtype == x.dtype
    assert (integers.abs().amax(dim) == most).all()  # all levels are in use
    error = (bits.dequantize(integers, scales) - x).abs()
    assert (error <= scales / 2 + 1e-12).all()
    at_the_ends = integers.abs() == most
    assert (error[at_the_ends & (x.abs() == x.abs().amax(dim, keepdim=True))] < 1e-12).all()


def test_levels_lie_alike_on_both_sides_and_sizes_do_not_matter():
    x = draw(2, 3, 5, 7)
    for n_bits in range(2, 9):
        integers, scales = bits.quantize(x, n_bits)
        mirrored, same = bits.quantize(-x, n_bits)
        assert torch.equal(mirrored, -integers) and torch.equal(same, scales)
        larger, scaled = bits.quantize(1024 * x, n_bits)
        assert torch.equal(larger, integers) and torch.equal(scaled, 1024 * scales)


def test_once_rounded_it_stays():
    for n_bits, dim in CASES:
        once = bits.dequantize(*bits.quantize(draw(2, 3, 5, 7), n_bits, dim))
        twice = bits.dequantize(*bits.quantize(once, n_bits, dim))
        torch.testing.assert_close(twice, once, rtol=0, atol=1e-14)


def test_zeros_stay_zeros():
    x = draw(2, 3, 5, 7)
    x[1, 2, 3] = 0
    integers, scales = bits.quantize(x, 4)
    assert (integers[1, 2, 3] == 0).all() and scales[1, 2, 3] == 1
    assert not bits.dequantize(*bits.quantize(torch.zeros(2, 3), 4, dim=(0, 1))).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_dtypes_stay_and_no_rounded_scale_makes_a_level_too_many(dtype):
    x = draw(500, 30, dtype=dtype)
    for n_bits in range(2, 9):
        integers, scales = bits.quantize(x, n_bits)
        rounded = bits.dequantize(integers, scales)
        assert rounded.dtype == scales.dtype == dtype
        assert integers.abs().max() == 2 ** (n_bits - 1) - 1
        error = (rounded.double() - x.double()).abs() / scales.double()
        assert error.max() < 1.1  # without a clamp 127.5 steps become 128, which is -128 in int8


def test_what_does_not_fit_is_refused():
    for n in (1, 9, 2.5):
        with pytest.raises(ValueError, match=rf"bits \({n}\) must be one of 2, 3, … 8; int8"):
            bits.quantize(torch.ones(2), n)
    with pytest.raises(TypeError, match=r"x is torch\.int64; give a floating tensor"):
        bits.quantize(torch.ones(2, dtype=torch.int64), 4)
    with pytest.raises(TypeError, match="x is list; give a floating tensor"):
        bits.quantize([1.0], 4)


# The cache that rounds


def test_attention_with_a_rounding_cache_reads_what_is_rounded():
    torch.manual_seed(0)
    layer = GroupedQueryAttention(d_model=12, n_heads=6, n_kv_heads=3).double()
    x = draw(2, 5, 12)
    cache = KVCache(2, 3, 5, 2, dtype=torch.float64)
    right, _ = layer(x, cache)
    as_it_is, _ = layer(x, bits.RoundedCache(4))
    assert torch.equal(as_it_is, right)  # None leaves keys and values alone
    k, v = bits.RoundedCache(3, keys=-2, values=-1).append(cache.k, cache.v)
    torch.testing.assert_close(k, bits.dequantize(*bits.quantize(cache.k, 3, -2)))
    torch.testing.assert_close(v, bits.dequantize(*bits.quantize(cache.v, 3, -1)))
    errors = [
        (layer(x, bits.RoundedCache(n, keys=-1, values=-1))[0] - right).abs().mean()
        for n in (8, 4, 2)
    ]
    assert 0 < errors[0] < errors[1] < errors[2]


def test_a_channel_planted_in_the_keys_changes_no_score_and_costs_a_token_s_scale_its_levels():
    """What lesson 11 shows with trained models: powers of two are exact."""
    torch.manual_seed(0)
    q, k = draw(2, 6, 5, 8), draw(2, 6, 5, 8)
    times = torch.ones(8, dtype=torch.float64)
    times[0] = 16
    assert torch.equal((q / times) @ (k * times).mT, q @ k.mT)

    def error(dim):
        return (
            (q / times) @ bits.dequantize(*bits.quantize(k * times, 4, dim)).mT - q @ k.mT
        ).std()

    plain = (q @ bits.dequantize(*bits.quantize(k, 4, -2)).mT - q @ k.mT).std()
    torch.testing.assert_close(error(-2), plain)
    assert error(-1) > 3 * plain
