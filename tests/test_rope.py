"""Rotary positions against complex numbers and transformers."""

import pytest
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from course_utils.rope import frequencies, rotate

SCALING = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


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
