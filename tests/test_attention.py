"""attention() and its module against PyTorch, and against the slow obvious loop."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from course_utils.attention import (
    GroupedQueryAttention,
    attention,
    causal_attention,
    causal_mask,
    decode_attention,
    group_size,
    merge_heads,
    multi_head_attention,
    split_heads,
)
from course_utils.kv_cache import KVCache, decode_step

MANY = settings(max_examples=150, deadline=None, derandomize=True)
TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-6, torch.float16: 5e-3, torch.bfloat16: 4e-2}


@st.composite
def calls(draw, dtypes=tuple(TOLERANCE)):
    """q, k, v and a mask (or None) of small odd shapes, g from 1 to n."""
    b, r, g, t, s, h = (draw(st.integers(1, top)) for top in (3, 4, 4, 6, 7, 9))
    dtype = draw(st.sampled_from(dtypes))
    random = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))

    def normal(*shape):
        return torch.randn(shape, generator=random, dtype=torch.float64).to(dtype)

    mask = None
    if draw(st.booleans()):
        mask = torch.rand(t, s, generator=random) < 0.6
        mask[:, 0] = True  # nobody may be left with nothing to look at
    return normal(b, r * g, t, h), normal(b, g, s, h), normal(b, g, s, h), mask


def close(a, b):
    tolerance = TOLERANCE[a.dtype]
    torch.testing.assert_close(a, b, atol=tolerance, rtol=tolerance, check_dtype=False)


def by_loop(q, k, v, mask):
    """One head, one query, one key at a time, in plain Python floats."""
    (b, n, t, h), (g, s) = q.shape, k.shape[1:3]
    output, weights = torch.zeros(b, n, t, h).double(), torch.zeros(b, n, t, s).double()
    for x in range(b):
        for i in range(n):
            j = i * g // n
            for y in range(t):
                e = []
                for z in range(s):
                    dot = sum(q[x, i, y, c].item() * k[x, j, z, c].item() for c in range(h))
                    may = mask is None or mask[y, z]
                    e.append(math.exp(dot / math.sqrt(h)) if may else 0.0)
                for z in range(s):
                    weights[x, i, y, z] = e[z] / sum(e)
                    for c in range(h):
                        output[x, i, y, c] += e[z] / sum(e) * v[x, j, z, c].item()
    return output, weights


@MANY
@given(calls())
def test_attention_equals_pytorch(call):
    q, k, v, mask = call
    output, weights = attention(q, k, v, mask)
    close(output, F.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True))
    assert weights.shape == (*q.shape[:3], k.shape[2])
    assert output.dtype == q.dtype


LAYOUTS = {
    "as made": lambda x: x,
    "a cache with room": lambda x: F.pad(x, (0, 0, 0, 3), value=9.0)[:, :, :-3],
    "the end of a cache": lambda x: F.pad(x, (0, 0, 3, 0), value=9.0)[:, :, 3:],
    "columns of wider rows": lambda x: F.pad(x, (0, 1), value=9.0)[..., :-1],
    "heads of one projection": lambda x: x.transpose(1, 2).contiguous().transpose(1, 2),
    "transposed": lambda x: x.mT.contiguous().mT,
    "one head seen g times": lambda x: x[:, :1].contiguous().expand_as(x),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@settings(max_examples=80, deadline=None, derandomize=True)
@given(call=calls(), r=st.integers(1, 17))
def test_decoding_equals_attention_of_one_query_however_the_cache_lies(layout, call, r):
    _, k, v, _ = call
    q = torch.randn(k.shape[0], r * k.shape[1], 1, k.shape[3]).to(k)
    k, v = LAYOUTS[layout](k), LAYOUTS[layout](v)
    expected = attention(q, k.contiguous(), v.contiguous())[0]
    output = decode_attention(q, k, v)
    close(output, expected)
    assert output.shape == expected.shape and output.dtype == q.dtype


def test_decoding_refuses_more_than_one_query():
    x = torch.ones(1, 2, 3, 4)
    with pytest.raises(ValueError, match=r"q has t \(3\) queries a head; decoding has one"):
        decode_attention(x, x, x)
    with pytest.raises(ValueError, match=r"n_heads \(2\) must be divisible by n_kv_heads \(3\)"):
        decode_attention(x[:, :, :1], *torch.ones(2, 1, 3, 5, 4))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(calls(dtypes=(torch.float64,)))
def test_attention_equals_the_loop(call):
    output, weights = attention(*call)
    expected_output, expected_weights = by_loop(*call)
    close(output, expected_output)
    close(weights, expected_weights)


@MANY
@given(calls(dtypes=(torch.float64,)))
def test_weights_are_an_average(call):
    q, k, v, mask = call
    output, weights = attention(q, k, v, mask)
    close(weights.sum(-1), torch.ones(q.shape[:3]))
    assert (weights >= 0).all()
    if mask is not None:
        assert (weights[..., ~mask] == 0).all()
    r = q.shape[1] // k.shape[1]
    assert (output <= v.amax(2).repeat_interleave(r, 1)[:, :, None] + 1e-12).all()


@MANY
@given(calls(dtypes=(torch.float64,)))
def test_grouping_equals_repeating_the_heads(call):
    q, k, v, mask = call
    r = q.shape[1] // k.shape[1]
    repeated = (x.repeat_interleave(r, dim=1) for x in (k, v))
    for mine, expected in zip(attention(*call), attention(q, *repeated, mask), strict=True):
        close(mine, expected)


@MANY
@given(calls(dtypes=(torch.float64,)), st.randoms(use_true_random=False))
def test_the_order_of_keys_does_not_matter(call, random):
    q, k, v, _ = call
    order = list(range(k.shape[2]))
    random.shuffle(order)
    close(attention(q, k[:, :, order], v[:, :, order])[0], attention(q, k, v)[0])


def test_large_scores_do_not_overflow_in_half_precision():
    q = torch.full((1, 1, 2, 128), 30.0, dtype=torch.float16)  # q · k is 115,200, above 65,504
    output, _ = attention(q, q, q)
    assert torch.equal(output, q)


@pytest.mark.parametrize("scale", [30, 200, 3000, -200])
@pytest.mark.parametrize("t, s", [(1, 7), (3, 7), (7, 7)])
def test_scores_beyond_the_largest_number_of_float16_are_those_of_pytorch(scale, t, s):
    torch.manual_seed(0)
    q = scale * (1 + torch.rand(2, 6, t, 128)).half()
    k, v = abs(scale) * (1 + torch.rand(2, 2, s, 128)).half(), torch.randn(2, 2, s, 128).half()
    expected = F.scaled_dot_product_attention(q, k, v, causal_mask(t, s), enable_gqa=True)
    output, weights = causal_attention(q, k, v)
    assert expected.isfinite().all() and output.dtype == weights.dtype == torch.float16
    close(output, expected)
    cache = KVCache(2, 2, s, 128, torch.float16)
    cache.append(k[:, :, : s - t], v[:, :, : s - t])
    close(decode_step(q, k[:, :, s - t :], v[:, :, s - t :], cache), expected)
    if t == 1:
        close(decode_attention(q, k, v), expected)


def test_a_query_that_may_see_no_key_gets_nan_in_any_precision():
    mask = torch.tensor([[True, False], [False, False]])
    for dtype in TOLERANCE:
        x = torch.ones(1, 1, 2, 3, dtype=dtype)
        output, weights = attention(x, x, x, mask)
        assert output[0, 0].isnan().all(-1).tolist() == [False, True]
        assert weights[0, 0].isnan().all(-1).tolist() == [False, True]


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("b, r, g, s, h", [(0, 3, 2, 5, 4), (2, 3, 2, 0, 4), (2, 0, 2, 5, 4), (2, 9, 1, 0, 3), (2, 3, 2, 5, 0)])  # fmt: skip
def test_decoding_what_is_empty_gives_what_attention_gives(b, r, g, s, h, dtype):
    q, k = torch.ones(b, r * g, 1, h, dtype=dtype), torch.ones(b, g, s, h, dtype=dtype)
    output, expected = decode_attention(q, k, k), attention(q, k, k)[0]
    assert output.shape == q.shape and output.dtype == dtype and output.equal(expected)


def most_allocated(fn, *arguments):
    """Bytes of the largest allocation while fn runs."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        fn(*arguments)
    return max(event.self_cpu_memory_usage for event in profile.events())


def test_attention_never_copies_keys_or_values():
    b, n, g, s, h = 2, 32, 4, 512, 64
    q, cache = torch.randn(b, n, 1, h), KVCache(b, g, s + 9, h)
    k, v = cache.append(torch.randn(b, g, s, h), torch.randn(b, g, s, h))
    # scores and weights at most, never K
    assert most_allocated(attention, q, k, v) <= 2 * b * n * s * 4 < k.nbytes


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("g", [32, 16, 8])
def test_decoding_copies_no_cache_where_there_are_many_keys(g, dtype):
    b, n, s, h = 2, 32, 64, 128
    q, cache = torch.randn(b, n, 1, h).to(dtype), KVCache(b, g, s + 9, h, dtype)
    k, v = cache.append(*torch.randn(2, b, g, s, h).to(dtype))
    # the places of the rows of V, 8 bytes each, and weights at most
    assert most_allocated(decode_attention, q, k, v) <= 2 * b * n * s * 8 < k.nbytes


@given(st.integers(1, 9), st.integers(0, 9))
def test_causal_mask_is_the_last_rows_of_the_square_one(t, more):
    s = t + more
    square = [[j <= i for j in range(s)] for i in range(s)]
    assert causal_mask(t, s).tolist() == square[s - t :]


@given(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.integers(1, 6))
def test_split_and_merge_are_inverse_and_split_is_a_view(b, n, t, h):
    x = torch.randn(b, t, n * h)
    heads = split_heads(x, n)
    assert heads.shape == (b, n, t, h)
    assert torch.equal(heads[:, n - 1], x[:, :, (n - 1) * h :])
    assert torch.equal(merge_heads(heads), x)
    assert heads.data_ptr() == x.data_ptr()


@MANY
@given(*(st.integers(1, top) for top in (3, 6, 4, 5)), st.booleans(), st.integers(0, 10**6))
def test_multi_head_equals_pytorch(b, t, n, h, bias, seed):
    torch.manual_seed(seed)
    d = n * h
    mine = GroupedQueryAttention(d, n, bias=bias).double()
    theirs = torch.nn.MultiheadAttention(d, n, bias=bias, batch_first=True).double()
    projections = mine.q_proj, mine.k_proj, mine.v_proj
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([p.weight for p in projections]))
        theirs.out_proj.weight.copy_(mine.o_proj.weight)
        if bias:
            theirs.in_proj_bias.copy_(torch.cat([p.bias for p in projections]))
            theirs.out_proj.bias.copy_(mine.o_proj.bias)
    x = torch.randn(b, t, d).double()
    blocked = ~causal_mask(t, t)
    expected = theirs(x, x, x, attn_mask=blocked, average_attn_weights=False)
    for got, want in zip(mine(x), expected, strict=True):
        close(got, want)


@MANY
@given(calls(dtypes=(torch.float64,)))
def test_causal_attention_equals_the_last_rows_of_the_square_one(call):
    q, k, v, _ = call
    q = q[:, :, : k.shape[2]]  # no more queries than keys
    (b, n, t, h), s = q.shape, k.shape[2]
    before = torch.zeros(b, n, s - t, h, dtype=q.dtype)
    square = torch.ones(s, s, dtype=torch.bool).tril()
    expected, weights = by_loop(torch.cat([before, q], 2), k, v, square)
    output, got = causal_attention(q, k, v)
    close(output, expected[:, :, s - t :])
    close(got, weights[:, :, s - t :])


@MANY
@given(*(st.integers(1, top) for top in (3, 6, 4, 5, 7)), st.integers(0, 10**6))
def test_the_function_equals_the_module(b, t, n, h, d, seed):
    torch.manual_seed(seed)
    layer = GroupedQueryAttention(d, n, head_dim=h).double()
    x = torch.randn(b, t, d).double()
    w_q, w_k, w_v, w_o = (
        p.weight.T for p in (layer.q_proj, layer.k_proj, layer.v_proj, layer.o_proj)
    )
    got = multi_head_attention(x, w_q, w_k, w_v, w_o, n)
    for mine, its in zip(got, layer(x), strict=True):
        close(mine, its)


@pytest.mark.parametrize("g", [1, 2, 3, 6])
def test_grouped_equals_multi_head_with_repeated_projections(g):
    torch.manual_seed(2)
    d, n, h = 10, 6, 4
    grouped = GroupedQueryAttention(d, n, g, head_dim=h).double()
    full = GroupedQueryAttention(d, n, head_dim=h).double()
    state = grouped.state_dict()
    for name in ("k_proj.weight", "v_proj.weight"):
        heads = state[name].view(g, h, d).repeat_interleave(n // g, dim=0)
        state[name] = heads.reshape(n * h, d)
    full.load_state_dict(state)
    x = torch.randn(2, 5, d).double()
    for got, want in zip(grouped(x), full(x), strict=True):
        close(got, want)


def test_names_and_shapes_are_those_of_real_checkpoints():
    layer = GroupedQueryAttention(d_model=24, n_heads=6, n_kv_heads=2, head_dim=5)
    shapes = {name: tuple(x.shape) for name, x in layer.state_dict().items()}
    assert shapes == {
        "q_proj.weight": (30, 24),
        "k_proj.weight": (10, 24),
        "v_proj.weight": (10, 24),
        "o_proj.weight": (24, 30),
    }


def four(*shape):
    return torch.zeros(shape)


ERRORS = {
    "n_heads (32) must be divisible by n_kv_heads (5); try one of 1, 2, 4, 8, 16, 32": [
        lambda: group_size(32, 5),
        lambda: GroupedQueryAttention(64, 32, 5),
        lambda: attention(four(1, 32, 2, 3), four(1, 5, 2, 3), four(1, 5, 2, 3)),
    ],
    "n_heads (6) must be divisible by n_kv_heads (0); try one of 1, 2, 3, 6": [
        lambda: GroupedQueryAttention(12, 6, 0),
    ],
    "d_model (10) must be divisible by n_heads (4); try one of 1, 2, 5, 10, or give head_dim": [
        lambda: GroupedQueryAttention(10, 4),
    ],
    "width (10) must be divisible by n_heads (4); try one of 1, 2, 5, 10": [
        lambda: split_heads(four(1, 2, 10), 4),
    ],
    "q has shape (3, 2); it needs four axes, (b, heads, tokens, h): add missing ones with x[None]": [
        lambda: attention(four(3, 2), four(1, 1, 3, 2), four(1, 1, 3, 2)),
    ],
    "v has shape (1, 3, 2); it needs four axes, (b, heads, tokens, h): add missing ones with x[None]": [
        lambda: attention(four(1, 1, 3, 2), four(1, 1, 3, 2), four(1, 3, 2)),
    ],
    "q has head_dim 4, k has head_dim 3; a query can only be compared with a key of its own width; split q into n heads, k and v into g": [
        lambda: attention(four(1, 2, 5, 4), four(1, 2, 5, 3), four(1, 2, 5, 3)),
    ],
    "q has batch 2, k has batch 1; they must be equal": [
        lambda: attention(four(2, 1, 5, 4), four(1, 1, 5, 4), four(1, 1, 5, 4)),
    ],
    "k (1, 2, 5, 4) and v (1, 2, 6, 4) must have the same b, g and s: a value for every key": [
        lambda: attention(four(1, 2, 5, 4), four(1, 2, 5, 4), four(1, 2, 6, 4)),
    ],
    "mask is torch.bool (5, 6); it must be torch.bool (6, 5), True = may attend": [
        lambda: attention(*[four(1, 1, 6, 2), *2 * [four(1, 1, 5, 2)]], causal_mask(5, 6)),
    ],
    "mask is torch.float32 (2, 2); it must be torch.bool (2, 2), True = may attend": [
        lambda: attention(*3 * [four(1, 1, 2, 2)], torch.zeros(2, 2)),
    ],
    "mask is torch.bool (3, 2, 2); it must be torch.bool (2, 2), True = may attend": [
        lambda: attention(*3 * [four(1, 1, 2, 2)], torch.ones(3, 2, 2).bool()),
    ],
    "x has shape (2, 10); it needs three axes, (b, t, n·h)": [
        lambda: split_heads(four(2, 10), 2),
        lambda: GroupedQueryAttention(10, 2)(four(2, 10)),
    ],
    "x has shape (2, 3, 5); it needs four axes, (b, n, t, h)": [lambda: merge_heads(four(2, 3, 5))],
    "t (5) queries need at least as many keys; s is 3": [lambda: causal_mask(5, 3)],
}


X = torch.ones(1, 2, 1, 4)
ODD = {
    "q has dtype torch.float32, k torch.float16; they must be equal: give k.to(q.dtype)": (X, X.half(), X.half()),
    "q has dtype torch.float32, v torch.float64; they must be equal: give v.to(q.dtype)": (X, X, X.double()),
    "q has device cpu, k meta; they must be equal: give k.to(q.device)": (X, X.to("meta"), X.to("meta")),
    "q, k and v are torch.int64; attention needs fractions of 16 bits or more: give q.float() …": 3 * [X.long()],
    "q, k and v are torch.complex64; attention needs fractions of 16 bits or more: give q.float() …": 3 * [X.cfloat()],
    "q, k and v are torch.float8_e5m2; attention needs fractions of 16 bits or more: give q.float() …": 3 * [X.to(torch.float8_e5m2)],
    "k is a ndarray, no tensor: give torch.as_tensor(k)": (X, X.numpy(), X.numpy()),
    "q is a list, no tensor: give torch.as_tensor(q)": (X.tolist(), X, X),
    "v is a NoneType, no tensor: give torch.as_tensor(v)": (X, X, None),
}  # fmt: skip


@pytest.mark.parametrize("text", ODD)
def test_what_does_not_go_together_is_named_with_the_remedy(text):
    cache = KVCache(1, 2, 8, 4)
    calls = [attention, causal_attention, decode_attention, lambda *x: decode_step(*x, cache)]
    for call in calls:
        with pytest.raises(TypeError if "no tensor" in text else ValueError) as error:
            call(*ODD[text])
        assert str(error.value) == text
    assert cache.n_tokens == 0


@pytest.mark.parametrize(
    "call",
    [lambda: attention(X, X, X, [[True]]), lambda: split_heads([[1]], 1), lambda: merge_heads(X.numpy())],
)  # fmt: skip
def test_a_mask_and_heads_are_tensors_too(call):
    with pytest.raises(TypeError, match=r"(mask|x) is a \w+, no tensor: give torch\.as_tensor"):
        call()
    with pytest.raises(ValueError, match=r"mask is on meta, q on cpu; give mask\.to\(q\.device\)"):
        attention(X, X, X, torch.ones(1, 1, dtype=torch.bool, device="meta"))


def test_a_layer_computes_under_autocast():
    layer, x = GroupedQueryAttention(4, 2), four(1, 2, 4)
    with torch.autocast("cpu", torch.bfloat16):
        output, _ = layer(x)
    torch.testing.assert_close(output.float(), layer(x)[0], rtol=0.05, atol=0.05)


@pytest.mark.parametrize("text", ERRORS)
def test_errors_give_the_numbers_and_the_remedy(text):
    for call in ERRORS[text]:
        with pytest.raises(ValueError) as error:
            call()
        assert str(error.value) == text
