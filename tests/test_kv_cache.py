"""Decoding with a cache equals computing everything at once, at every position."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_utils.attention import GroupedQueryAttention, causal_attention
from course_utils.kv_cache import KVCache, decode_step

SIZES = {letter: st.integers(1, 3) for letter in "brg"}
SIZES["chunks"] = st.lists(st.integers(1, 4), min_size=1, max_size=6)


def turn(x, start):
    """A rotation like RoPE's: pairs of x (b, heads, t, h) turn by an angle per position."""
    angle = torch.arange(start, start + x.shape[2])[:, None] / torch.arange(1, x.shape[3] // 2 + 1)
    even, odd = x[..., 0::2], x[..., 1::2]
    cos, sin = angle.cos().to(x), angle.sin().to(x)
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], -1).flatten(-2)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    **SIZES,
    pairs=st.integers(1, 3),
    spare=st.integers(0, 3),
    rope=st.sampled_from([None, turn]),
)
def test_cached_equals_uncached_for_every_chunking(b, r, g, pairs, chunks, spare, rope):
    torch.manual_seed(0)
    h, s = 2 * pairs, sum(chunks)
    layer = GroupedQueryAttention(7, r * g, g, head_dim=h).double()
    x = torch.randn(b, s, 7).double()
    cache = KVCache(b, g, s + spare, h, dtype=torch.float64)
    expected, expected_weights = layer(x, rope=rope)
    start = 0
    for chunk in chunks:
        end = start + chunk
        output, weights = layer(x[:, start:end], cache, rope)
        torch.testing.assert_close(output, expected[:, start:end], atol=1e-12, rtol=1e-12)
        seen = expected_weights[:, :, start:end, :end]
        torch.testing.assert_close(weights, seen, atol=1e-12, rtol=1e-12)
        start = end
        assert cache.n_tokens == end


@settings(max_examples=100, deadline=None, derandomize=True)
@given(**SIZES, h=st.integers(1, 5))
def test_decode_steps_of_any_size_give_what_all_at_once_gives(b, r, g, h, chunks):
    random = torch.Generator().manual_seed(0)
    s = sum(chunks)
    q, k, v = (
        torch.randn(b, heads, s, h, dtype=torch.float64, generator=random)
        for heads in (r * g, g, g)
    )
    cache = KVCache(b, g, s, h, dtype=torch.float64)
    pieces = zip(*(x.split(chunks, dim=2) for x in (q, k, v)), strict=True)
    output = torch.cat([decode_step(*piece, cache) for piece in pieces], dim=2)
    torch.testing.assert_close(output, causal_attention(q, k, v)[0], atol=1e-12, rtol=1e-12)
    assert cache.n_tokens == s and torch.equal(cache.k, k) and torch.equal(cache.v, v)


@pytest.mark.parametrize(
    "q, k, text",
    [
        ((1, 2, 1, 4), (1, 2, 2, 4), "q has 1 tokens, k_new 2; both are of the same new tokens"),
        ((1, 2, 1, 5), (1, 2, 1, 4), "q has head_dim 5, k has head_dim 4; a query can only be "),
        ((1, 3, 1, 4), (1, 2, 1, 4), "n_heads (3) must be divisible by n_kv_heads (2); try one "),
        ((1, 2, 9, 4), (1, 2, 9, 4), "the cache is full: 0 of 8 tokens used, 9 more do not fit; "),
    ],
)
def test_a_step_that_does_not_fit_leaves_the_cache_as_it_was(q, k, text):
    cache = KVCache(1, 2, 8, 4)
    with pytest.raises(ValueError) as error:
        decode_step(torch.ones(q), torch.ones(k), torch.ones(k), cache)
    assert str(error.value).startswith(text)
    assert cache.n_tokens == 0 and not cache.k.any()


def test_append_returns_views_of_everything_so_far():
    cache = KVCache(2, 3, 5, 4)
    first, second = torch.randn(2, 3, 2, 4), torch.randn(2, 3, 1, 4)
    cache.append(first, -first)
    k, v = cache.append(second, -second)
    assert torch.equal(k, torch.cat([first, second], 2))
    assert torch.equal(v, -k)
    assert k.data_ptr() == cache.k.data_ptr() and v.data_ptr() == cache.v.data_ptr()


def test_it_keeps_no_gradients():
    layer, cache = GroupedQueryAttention(6, 2, 1), KVCache(1, 1, 4, 3)
    for _ in range(2):
        output, _ = layer(torch.randn(1, 2, 6), cache)
        output.sum().backward()
    assert not cache.k.requires_grad and not cache.v.requires_grad


def test_another_dtype_is_refused_with_the_remedy():
    cache = KVCache(1, 1, 4, 3)
    with pytest.raises(ValueError) as error:
        cache.append(*2 * [torch.zeros(1, 1, 2, 3, dtype=torch.bfloat16)])
    assert str(error.value) == (
        "k is torch.bfloat16 and v torch.bfloat16, the cache torch.float32; "
        "make it with dtype=torch.bfloat16"
    )
    assert cache.n_tokens == 0


def test_what_is_no_tensor_or_elsewhere_is_refused_with_the_remedy():
    cache, x = KVCache(1, 1, 4, 3), torch.zeros(1, 1, 2, 3)
    for odd, error, text in [
        (x.numpy(), TypeError, "v is a ndarray, no tensor: give torch.as_tensor(v)"),
        (x.to("meta"), ValueError, "k is on cpu and v on meta, the cache on cpu; give them as k.to('cpu')"),
    ]:  # fmt: skip
        with pytest.raises(error) as raised:
            cache.append(x, odd)
        assert str(raised.value) == text
    assert cache.n_tokens == 0


@pytest.mark.parametrize("dtype, size", [(torch.float32, 4), (torch.bfloat16, 2)])
def test_bytes_are_those_of_the_allocated_tensors(dtype, size):
    cache = KVCache(2, 3, 5, 4, dtype=dtype)
    assert cache.n_bytes == 2 * 2 * 3 * 5 * 4 * size
    assert cache.k.dtype == cache.v.dtype == dtype


def test_a_full_cache_says_so_and_keeps_what_it_has():
    cache = KVCache(1, 1, 3, 2)
    cache.append(*2 * [torch.ones(1, 1, 2, 2)])
    before = cache.k.clone()
    with pytest.raises(ValueError) as error:
        cache.append(*2 * [torch.full((1, 1, 2, 2), 7.0)])
    assert str(error.value) == (
        "the cache is full: 2 of 3 tokens used, 2 more do not fit; make it with max_tokens=4 or more"
    )
    assert torch.equal(cache.k, before)
    assert cache.n_tokens == 2


@pytest.mark.parametrize(
    "k, v",
    [
        ((1, 2, 1, 4), (1, 2, 1, 4)),
        ((1, 3, 1, 4), (1, 3, 2, 4)),
        ((1, 3, 1, 5), (1, 3, 1, 5)),
        ((3, 4), (3, 4)),
    ],
)
def test_another_shape_is_refused_with_both_shapes(k, v):
    cache = KVCache(1, 3, 9, 4)
    with pytest.raises(ValueError) as error:
        cache.append(torch.zeros(k), torch.zeros(v))
    assert str(error.value) == f"k {k} and v {v} do not fit this cache; both must be (1, 3, t, 4)"
    assert cache.n_tokens == 0
