"""Rotary positions (RoPE): a query or key is turned by an angle that grows with its position.

h head_dim, t positions in this call. A score then depends on two positions only through their
distance.
"""

import math

import torch

LLAMA3 = "factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"


def frequencies(head_dim, theta=10_000.0, scaling=None):
    """How far each pair of numbers turns from one position to the next: (h / 2,) radians.

    The first pair turns fastest, by 1; theta says how slow the last one is. scaling is Llama 3.1's
    for long contexts, a dict as in its config.json: slow pairs become slower by its factor.

    Raises ValueError if h is odd, scaling is of another type, or lacks one of its numbers.
    Source: Su et al. 2021, arXiv 2104.09864.

    >>> frequencies(4, theta=100.0)
    tensor([1.0000, 0.1000])
    """
    if head_dim % 2:
        raise ValueError(f"head_dim ({head_dim}) must be even: RoPE turns numbers in pairs")
    inv_freq = 1 / theta ** (torch.arange(0, head_dim, 2, device="cpu") / head_dim)  # never on meta
    rope_type = (scaling or {}).get("rope_type", (scaling or {}).get("type", "default"))
    if rope_type == "default":
        return inv_freq
    if rope_type != "llama3":
        raise ValueError(
            f"RoPE of type {rope_type!r} is not known here; 'default' and 'llama3' are"
        )
    if missing := [x for x in LLAMA3 if x not in scaling]:
        raise ValueError(f"RoPE of type 'llama3' needs {', '.join(missing)} in config.json")
    factor, low, high, context = (scaling[x] for x in LLAMA3)
    rounds = context * inv_freq / (2 * math.pi)  # of a pair, over the context it was trained on
    keep = ((rounds - low) / (high - low)).clamp(0, 1)  # 1: many rounds, fast, kept as it is
    return keep * inv_freq + (1 - keep) * inv_freq / factor


def rotate(x, start, inv_freq):
    """x (b, heads, t, h) turned as at positions start to start + t - 1 → the same shape.

    inv_freq (h / 2,) are the `frequencies`; number i makes a pair with number i + h / 2, as in
    Llama's and Qwen's checkpoints in transformers' format (Meta's own files pair neighbours).

    >>> x, quarter = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]]), torch.tensor([math.pi / 2])
    >>> rotate(x, start=0, inv_freq=quarter).round().abs().tolist()
    [[[[1.0, 0.0], [0.0, 1.0]]]]
    """
    positions = torch.arange(start, start + x.shape[-2], device=x.device)
    angles = positions[:, None] * inv_freq.to(x.device)  # (t, h / 2)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def rotate_neighbours(x, start, inv_freq):
    """`rotate` for weights whose pairs are neighbours, as in DeepSeek's checkpoints.

    x (b, heads, t, h) with pairs (0, 1), (2, 3), … → the same shape, its pairs as `rotate` has
    them. Scores between two that were so rotated do not depend on the order.

    >>> x, quarter = torch.tensor([[[[1.0, 0.0, 2.0, 0.0]]]]), torch.tensor([math.pi / 2])
    >>> rotate_neighbours(x, start=1, inv_freq=quarter).round().abs().tolist()
    [[[[0.0, 0.0, 1.0, 2.0]]]]
    """
    return rotate(torch.cat([x[..., 0::2], x[..., 1::2]], dim=-1), start, inv_freq)
