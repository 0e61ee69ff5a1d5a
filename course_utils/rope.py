"""Rotary positions (RoPE): a query or key is turned by an angle that grows with its position.

h head_dim, t positions in this call. After it, a score depends on how far apart two tokens are.
"""

import math

import torch


def frequencies(head_dim, theta=10_000.0, scaling=None):
    """How far each pair of numbers turns from one position to the next: (h / 2,) radians.

    The first pair turns fastest, by 1; theta says how slow the last one is. scaling is Llama 3.1's
    for long contexts, a dict as in its config.json: slow pairs become slower by its factor.

    Raises ValueError if h is odd, or scaling is of another kind.
    Source: Su et al. 2021, arXiv 2104.09864.

    >>> frequencies(4, theta=100.0)
    tensor([1.0000, 0.1000])
    """
    if head_dim % 2:
        raise ValueError(f"head_dim ({head_dim}) must be even: RoPE turns numbers in pairs")
    turns = 1 / theta ** (torch.arange(0, head_dim, 2, device="cpu") / head_dim)
    kind = (scaling or {}).get("rope_type", (scaling or {}).get("type", "default"))
    if kind == "default":
        return turns
    if kind != "llama3":
        raise ValueError(f"RoPE scaled as {kind!r} is not known here; try before RoPE, or 'llama3'")
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    rounds = scaling["original_max_position_embeddings"] * turns / (2 * math.pi)  # in the context
    keep = ((rounds - low) / (high - low)).clamp(0, 1)  # 1: many rounds, fast, kept as it is
    return keep * turns + (1 - keep) * turns / scaling["factor"]


def rotate(x, start, turns):
    """x (b, heads, t, h) turned as at positions start to start + t - 1 → the same shape.

    turns (h / 2,) are the `frequencies`; number i makes a pair with number i + h / 2, as in all
    checkpoints of the Hub (Meta's own files pair neighbours).

    >>> quarter = torch.tensor([math.pi / 2])  # one position on: (1, 0) → (0, 1)
    >>> rotate(torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]]), start=0, turns=quarter).round().tolist()
    [[[[1.0, 0.0], [-0.0, 1.0]]]]
    """
    positions = torch.arange(start, start + x.shape[-2], device=x.device)
    angles = positions[:, None] * turns.to(x.device)  # (t, h / 2)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)
