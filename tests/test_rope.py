"""Rotary positions against complex numbers and transformers."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding, apply_rotary_pos_emb

from course_utils.rope import frequencies, rotate

SCALING = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


LLAMA31 = SCALING | {"rope_theta": 500_000.0, "factor": 8.0}


def random(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_a_pair_of_numbers_turns_as_one_complex_number():
    x, turns = random(2, 3, 5, 8), frequencies(8, theta=100.0)
    angles = torch.arange(7, 12)[:, None] * turns
    pairs = torch.complex(x[..., :4], x[..., 4:]) * torch.polar(torch.ones_like(angles), angles)
    torch.testing.assert_close(rotate(x, 7, turns), torch.cat([pairs.real, pairs.imag], -1))


def test_lengths_stay_and_position_zero_is_not_turned():
    x, turns = random(1, 2, 6, 4), frequencies(4)
    y = rotate(x, 0, turns)
    torch.testing.assert_close(y.norm(dim=-1), x.norm(dim=-1))
    assert y[:, :, 0].equal(x[:, :, 0])


def test_scores_depend_on_the_distance_alone():
    q, k = random(2, 1, 1, 1, 16)
    turns = frequencies(16)
    scores = [(rotate(q, 5 + i, turns) @ rotate(k, i, turns).mT).item() for i in range(50)]
    assert max(scores) - min(scores) < 1e-4
    assert abs(scores[0] - (rotate(q, 6, turns) @ rotate(k, 0, turns).mT).item()) > 1e-2


def test_token_by_token_is_all_at_once():
    x, turns = random(1, 2, 6, 4), frequencies(4)
    one_by_one = [rotate(x[:, :, i : i + 1], i, turns) for i in range(6)]
    torch.testing.assert_close(torch.cat(one_by_one, dim=2), rotate(x, 0, turns))


@settings(max_examples=50, deadline=None)
@given(st.integers(-2000, 2000), st.integers(-2000, 2000), st.sampled_from([None, SCALING]))
def test_two_rotations_in_a_row_are_one_by_the_sum_of_positions(a, b, scaling):
    x, turns = random(2, 3, 1, 16), frequencies(16, scaling=scaling)
    twice = rotate(rotate(x, a, turns), b, turns)
    torch.testing.assert_close(twice, rotate(x, a + b, turns), rtol=0, atol=2e-3)
    torch.testing.assert_close(rotate(rotate(x, a, turns), -a, turns), x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("start", [0, 7, 900])
def test_in_any_precision_it_is_the_rotation_of_transformers(dtype, start):
    config = LlamaConfig(
        hidden_size=64, num_attention_heads=4, max_position_embeddings=131072,
        rope_parameters=LLAMA31,
    )  # fmt: skip
    q, k = random(2, 3, 4, 5, 16).to(dtype)
    cos, sin = LlamaRotaryEmbedding(config)(q, torch.arange(start, start + 5)[None])
    turns = frequencies(16, LLAMA31["rope_theta"], LLAMA31)
    for x, expected in zip((q, k), apply_rotary_pos_emb(q, k, cos, sin), strict=True):
        found = rotate(x, start, turns)
        assert found.dtype == expected.dtype == dtype
        torch.testing.assert_close(found, expected)
    whole, turned = (rotate(x, start, turns) for x in (q.double(), q))
    torch.testing.assert_close(turned.double(), whole, rtol=0, atol=8 * torch.finfo(dtype).eps)


@pytest.mark.parametrize("scaling", [None, {"rope_type": "default"}, SCALING])
@pytest.mark.parametrize(("h", "theta"), [(8, 10_000.0), (128, 500_000.0)])
def test_frequencies_are_those_of_transformers(h, theta, scaling):
    config = LlamaConfig(
        hidden_size=4 * h, num_attention_heads=4, head_dim=h, max_position_embeddings=131072,
        rope_parameters={"rope_theta": theta, "rope_type": "default"} | (scaling or {}),
    )  # fmt: skip
    expected = LlamaRotaryEmbedding(config).inv_freq
    torch.testing.assert_close(frequencies(h, theta, scaling), expected)
    if scaling and scaling["rope_type"] == "llama3" and h == 128:
        assert not torch.allclose(expected, frequencies(h, theta))


def test_what_is_not_known_is_refused():
    with pytest.raises(ValueError) as error:
        frequencies(5)
    assert str(error.value) == "head_dim (5) must be even: RoPE turns numbers in pairs"
    with pytest.raises(ValueError, match="'longrope' is not known here"):
        frequencies(4, scaling={"type": "longrope"})
