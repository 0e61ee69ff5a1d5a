"""Latent attention: both forms are one, with a cache and without, and what transformers computes."""

from copy import deepcopy
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DeepseekV2Config, DeepseekV3Config, DynamicCache
from transformers.models.deepseek_v2 import modeling_deepseek_v2 as v2
from transformers.models.deepseek_v3 import modeling_deepseek_v3 as v3

from course_utils.attention import attention
from course_utils.decoder import Decoder
from course_utils.experiments.memory import Watch, largest_tensor
from course_utils.geometry import model
from course_utils.latent import LatentCache, MultiHeadLatentAttention
from course_utils.rope import frequencies, rotate, rotate_neighbours

EXACT = {"atol": 1e-10, "rtol": 1e-10}


def drawn(seed, *sizes, **more):
    """A layer in float64, its weights large enough for every factor to be seen."""
    torch.manual_seed(seed)
    layer = MultiHeadLatentAttention(*sizes, **more).double()
    for name, weight in layer.named_parameters():
        weight.data = 0.3 * torch.randn_like(weight) + ("norm" in name)
    return layer


def turning(rope_dim, rotation=rotate):
    return partial(rotation, inv_freq=frequencies(rope_dim, theta=100.0).double())


@st.composite
def layers(draw):
    """Sizes of which no two are equal, a batch, and chunks of tokens; None is for no RoPE."""
    sizes = draw(st.lists(st.integers(1, 12), min_size=6, max_size=6, unique=True))
    d_model, n_heads, head_dim, kv_rank, value_dim, q_rank = sizes
    rope_dim = draw(st.sampled_from(sorted({0, 2, 4, 6, 8, 10, 12} - set(sizes))))
    more = {"value_dim": value_dim, "q_rank": draw(st.sampled_from([None, q_rank]))}
    layer = drawn(draw(st.integers(0, 9)), d_model, n_heads, head_dim, kv_rank, rope_dim, **more)
    rope = draw(st.sampled_from([None, turning(rope_dim)])) if rope_dim else None
    chunks = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    return layer, rope, draw(st.integers(1, 3)), chunks, draw(st.integers(0, 3))


def tokens(layer, b, s):
    width = layer.kv_a_proj_with_mqa.in_features
    return torch.randn(b, s, width, generator=torch.Generator().manual_seed(1)).double()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(layers())
def test_expanded_equals_absorbed_with_a_cache_and_without(drawn_layer):
    layer, rope, b, chunks, spare = drawn_layer
    s, kv_rank, rope_dim = sum(chunks), layer.kv_rank, layer.key_parts[1]
    x = tokens(layer, b, s)
    expected, expected_weights = layer.expanded(x, rope=rope)
    for form in (layer.absorbed, layer.expanded, layer):
        torch.testing.assert_close(form(x, rope=rope), (expected, expected_weights), **EXACT)
        cache, start = LatentCache(b, kv_rank, rope_dim, s + spare, torch.float64), 0
        for chunk in x.split(chunks, dim=1):
            output, weights = form(chunk, cache, rope)
            end = start + chunk.shape[1]
            torch.testing.assert_close(output, expected[:, start:end], **EXACT)
            torch.testing.assert_close(weights, expected_weights[:, :, start:end, :end], **EXACT)
            start = end
        torch.testing.assert_close(cache.rows[:, :s], layer.rows(x, 0, rope), **EXACT)
        assert cache.n_tokens == s
        assert cache.n_bytes == b * (s + spare) * (kv_rank + rope_dim) * 8


@settings(max_examples=100, deadline=None, derandomize=True)
@given(layers())
def test_it_is_the_slow_obvious_loop(drawn_layer):
    layer, rope, b, chunks, _ = drawn_layer
    x, (head_dim, rope_dim), (_, value_dim) = (
        tokens(layer, b, sum(chunks)), layer.key_parts, layer.up_parts
    )  # fmt: skip
    down, up = layer.kv_a_proj_with_mqa.weight, layer.kv_b_proj.weight
    heads = []
    for head in range(layer.n_heads):
        first = head * (head_dim + value_dim)
        outputs = torch.zeros(*x.shape[:2], value_dim).double()
        for i in range(b):
            for t in range(x.shape[1]):
                q = layer.queries(x[i : i + 1, t : t + 1], t, rope)[0, head, 0]
                scores, values = [], []
                for j in range(t + 1):
                    latent, k_rope = (down @ x[i, j]).split([layer.kv_rank, rope_dim])
                    latent = latent / (latent.square().mean() + 1e-6).sqrt()
                    latent = latent * layer.kv_a_layernorm.weight
                    if rope:
                        k_rope = rope(k_rope.view(1, 1, 1, -1), j).flatten()
                    key = torch.cat([up[first : first + head_dim] @ latent, k_rope])
                    scores.append(q @ key / (head_dim + rope_dim) ** 0.5)
                    values.append(up[first + head_dim : first + head_dim + value_dim] @ latent)
                weights = torch.stack(scores).softmax(0)
                outputs[i, t] = weights @ torch.stack(values)
        heads.append(outputs)
    torch.testing.assert_close(layer(x, rope=rope)[0], layer.o_proj(torch.cat(heads, -1)), **EXACT)


def theirs(module, config, name, sizes, seed):
    """A transformers layer, ours with its weights copied, and what it takes for positions."""
    torch.manual_seed(seed)
    config._attn_implementation = "eager"
    layer = getattr(module, f"{name}Attention")(config, 0).double().eval()
    for key, weight in layer.named_parameters():
        weight.data = 0.3 * torch.randn_like(weight) + ("norm" in key)
    ours = MultiHeadLatentAttention(**sizes).double()
    ours.load_state_dict(layer.state_dict())
    return layer, ours, getattr(module, f"{name}RotaryEmbedding")(config).double()


@pytest.mark.parametrize("name", ["DeepseekV2", "DeepseekV3"])
@pytest.mark.parametrize("q_rank", [None, 7])
@pytest.mark.parametrize("seed", range(3))
def test_it_is_what_transformers_computes_and_caches(name, q_rank, seed):
    sizes = {"d_model": 12, "n_heads": 3, "head_dim": 5, "kv_rank": 11, "rope_dim": 8}
    sizes |= {"q_rank": q_rank, "value_dim": 6}
    config = {"DeepseekV2": DeepseekV2Config, "DeepseekV3": DeepseekV3Config}[name](
        hidden_size=12, num_attention_heads=3, num_key_value_heads=3, qk_nope_head_dim=5,
        qk_rope_head_dim=8, kv_lora_rank=11, v_head_dim=6, q_lora_rank=q_rank,
        num_hidden_layers=1, rope_parameters={"rope_type": "default", "rope_theta": 100.0},
    )  # fmt: skip
    layer, ours, embedding = theirs(v2 if name == "DeepseekV2" else v3, config, name, sizes, seed)
    rope = turning(8, rotate_neighbours)
    x = torch.randn(2, 9, 12, generator=torch.Generator().manual_seed(seed)).double()
    their_cache, our_cache = DynamicCache(config=config), LatentCache(2, 11, 8, 9, torch.float64)
    start = 0
    for t in (4, 1, 2, 2):
        chunk, positions = x[:, start : start + t], torch.arange(start, start + t)[None]
        visible = torch.ones(t, start + t).tril(start).bool()
        mask = torch.zeros(1, 1, t, start + t).double().masked_fill(~visible, float("-inf"))
        expected, expected_weights = layer(
            hidden_states=chunk, position_embeddings=embedding(chunk, positions),
            attention_mask=mask, cache=their_cache,
        )  # fmt: skip
        form = ours.absorbed if start else ours.expanded
        output, weights = form(chunk, our_cache, rope)
        torch.testing.assert_close(output, expected, atol=1e-6, rtol=1e-6)
        torch.testing.assert_close(weights, expected_weights, atol=1e-6, rtol=1e-6)
        start += t
    latent, k_rope = our_cache.rows.split([11, 8], dim=-1)
    cached = their_cache.layers[0]
    torch.testing.assert_close(latent[:, None], cached.keys, atol=1e-6, rtol=1e-6)
    if name == "DeepseekV2":  # keeps neighbours where they are
        k_rope = k_rope.unflatten(-1, (2, 4)).mT.flatten(-2)
    torch.testing.assert_close(k_rope[:, None], cached.values, atol=1e-6, rtol=1e-6)


def test_a_row_is_as_wide_as_the_latent_of_a_real_model():
    v3_sizes = model("DeepSeek-V3 (671B)")
    cache = LatentCache(1, 512, 64, 10, torch.bfloat16)
    assert v3_sizes.n_layers * cache.n_bytes == v3_sizes.kv_bytes(10)


def test_absorbed_attention_is_multi_query_attention_of_the_rows():
    layer = drawn(0, 7, 3, 5, 11, 4, value_dim=6)
    x, rope = tokens(layer, 2, 8), turning(4)
    q, rows = layer.queries(x, 0, rope), layer.rows(x, 0, rope)
    w_uk = layer.kv_b_proj.weight.view(3, 11, 11)[:, :5]
    q = torch.cat([q[..., :5] @ w_uk, q[..., 5:]], dim=-1) * (15 / 9) ** 0.5
    mask = torch.ones(8, 8).tril().bool()
    _, weights = attention(q, rows[:, None], rows[:, None, :, :11], mask)
    torch.testing.assert_close(weights, layer.absorbed(x, rope=rope)[1], **EXACT)


def test_absorbed_makes_no_head_s_keys():
    layer = drawn(0, 7, 6, 16, 20, 4)
    cache = LatentCache(3, 20, 4, 400, torch.float64)
    with torch.no_grad():
        layer(tokens(layer, 3, 390), cache, turning(4))
        x = tokens(layer, 3, 2)
        rows, per_head = cache.n_bytes, 3 * 6 * 392 * 16 * 8
        assert largest_tensor(lambda: layer.absorbed(x, cache, turning(4))) == rows < per_head
        cache.n_tokens = 390
        assert largest_tensor(lambda: layer.expanded(x, cache, turning(4))) >= per_head


def test_decoding_copies_neither_rows_nor_weights():
    layer, made = drawn(0, 7, 6, 16, 20, 4), []
    cache = LatentCache(12, 20, 4, 40, torch.float64)  # many users, and not full
    with torch.no_grad():
        layer(tokens(layer, 12, 9), cache, turning(4))
        there = {x.untyped_storage().data_ptr() for x in (cache.rows, *layer.parameters())}
        with Watch(lambda x: made.append(x.untyped_storage())):
            layer(tokens(layer, 12, 1), cache, turning(4))
    largest = max(x.nbytes() for x in made if x.data_ptr() not in there)
    assert largest < 12 * 10 * 20 * 8  # the latents of what is cached


@pytest.mark.parametrize("dtype, tolerance", [(torch.bfloat16, 2e-2), (torch.float16, 2e-3)])
def test_both_forms_keep_what_half_precision_can(dtype, tolerance):
    layer = drawn(0, 7, 3, 5, 11, 4, value_dim=6).to(dtype)
    x = tokens(layer, 2, 8).to(dtype)
    expected, _ = deepcopy(layer).double().expanded(x.double(), rope=turning(4))
    for form in (layer.expanded, layer.absorbed):
        error = (form(x, rope=turning(4))[0].double() - expected).abs().max()
        assert error < tolerance * expected.abs().max()


def test_both_forms_have_the_same_gradients():
    layer = drawn(0, 7, 3, 5, 11, 4, value_dim=6, q_rank=8)
    x, rope = tokens(layer, 2, 8), turning(4)
    gradients = [
        torch.autograd.grad(form(x, rope=rope)[0].square().sum(), list(layer.parameters()))
        for form in (layer.expanded, layer.absorbed)
    ]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, **EXACT)


def test_a_rotation_of_neighbours_is_complex_multiplication():
    x = torch.randn(2, 3, 5, 8, generator=torch.Generator().manual_seed(0)).double()
    inv_freq = frequencies(8, theta=100.0).double()
    turn = torch.polar(torch.ones(5, 4).double(), torch.arange(7, 12)[:, None] * inv_freq)
    expected = torch.view_as_complex(x.unflatten(-1, (4, 2))) * turn
    expected = torch.cat([expected.real, expected.imag], dim=-1)
    torch.testing.assert_close(rotate_neighbours(x, 7, inv_freq), expected, **EXACT)


def test_a_decoder_can_hold_it():
    config = {"model_type": "llama", "rms_norm_eps": 1e-5, "hidden_size": 12, "vocab_size": 9}
    config |= {"num_attention_heads": 3, "intermediate_size": 16, "num_hidden_layers": 2}
    config |= {"num_key_value_heads": 3, "head_dim": 4}
    torch.manual_seed(0)
    decoder = Decoder(config)
    for layer in decoder.layers:
        layer.self_attn = MultiHeadLatentAttention(12, 3, 5, kv_rank=7, rope_dim=4)
    ids, caches = torch.tensor([[1, 2, 3, 4, 5, 6]]), [LatentCache(1, 7, 4, 6) for _ in range(2)]
    expected, _ = decoder(ids)
    chunks = [decoder(chunk, caches)[0] for chunk in ids.split([3, 1, 2], dim=1)]
    torch.testing.assert_close(torch.cat(chunks, dim=1), expected, atol=1e-5, rtol=1e-5)


def test_a_decoder_says_that_it_cannot_be_made_of_a_latent_config():
    config = DeepseekV3Config(num_hidden_layers=1).to_dict()
    with pytest.raises(ValueError, match="model_type is 'deepseek_v3'"):
        Decoder(config)


def size(**changed):
    sizes = {"d_model": 12, "n_heads": 6, "head_dim": 5, "kv_rank": 8, "rope_dim": 2}
    return MultiHeadLatentAttention(**sizes | changed)


@pytest.mark.parametrize(
    "changed, message",
    [
        ({"kv_rank": 0}, "kv_rank (0) must be at least 1"),
        ({"q_rank": 0}, "q_rank (0) must be at least 1"),
        ({"value_dim": 0}, "value_dim (0) must be at least 1"),
        ({"rope_dim": 3}, "rope_dim (3) must be even: RoPE turns numbers in pairs; try 4"),
        ({"rope_dim": -1}, "rope_dim (-1) must be even: RoPE turns numbers in pairs; try 0"),
    ],
)
def test_senseless_sizes_are_refused(changed, message):
    with pytest.raises(ValueError) as error:
        size(**changed)
    assert str(error.value) == message


@pytest.mark.parametrize(
    "rows, message",
    [
        ((2, 3, 6), "rows (2, 3, 6) do not fit this cache; they must be (1, t, 6)"),
        ((1, 3, 4), "rows (1, 3, 4) do not fit this cache; they must be (1, t, 6)"),
        ((3, 6), "rows (3, 6) do not fit this cache; they must be (1, t, 6)"),
        (
            (1, 4, 6),
            "the cache is full: 2 of 5 tokens used, 4 more do not fit; make it with max_tokens=6 "
            "or more",
        ),
    ],
)
def test_what_does_not_fit_leaves_the_cache_as_it_was(rows, message):
    cache = LatentCache(batch=1, kv_rank=4, rope_dim=2, max_tokens=5)
    cache.append(torch.ones(1, 2, 6))
    before = cache.rows.clone()
    with pytest.raises(ValueError) as error:
        cache.append(torch.full(rows, 7.0))
    assert str(error.value) == message
    with pytest.raises(ValueError, match=r"cache has dtype torch\.float32, rows torch\.float64"):
        cache.append(torch.ones(1, 1, 6).double())
    with pytest.raises(ValueError, match="cache has device cpu, rows meta"):
        cache.append(torch.ones(1, 1, 6, device="meta"))
    with pytest.raises(TypeError, match="rows is a list, no tensor"):
        cache.append([[6 * [1.0]]])
    assert cache.n_tokens == 2 and torch.equal(cache.rows, before)


def test_it_keeps_no_gradients():
    layer = size()
    cache = LatentCache(1, 8, 2, 5)
    layer(torch.ones(1, 3, 12), cache)
    assert not cache.rows.requires_grad
