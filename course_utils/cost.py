"""What a token costs: the bytes a step reads, the flop it does, and the least time it takes.

l layers, b batch (its users: a user is one sequence), n query heads, g key/value heads, h head_dim,
s tokens. Units are those of data sheets: a bandwidth in GB/s (10**9 bytes a second), a peak in
Tflop/s (10**12 additions and multiplications a second), and times in ms.
"""

from course_utils.geometry import kv_cache_bytes


def decode_bytes(n_kv_heads, head_dim, n_tokens, bytes_per_element=2):
    """Bytes of K and V that a decode step reads in one layer for one user: 2 · g · h · s elements.

    Raises ValueError as `kv_cache_bytes` does.

    >>> decode_bytes(n_kv_heads=8, head_dim=128, n_tokens=4096)
    16777216
    """
    return kv_cache_bytes(1, 1, n_kv_heads, head_dim, n_tokens, bytes_per_element)


def decode_flop(n_heads, head_dim, n_tokens):
    """Flop of a decode step's attention in one layer for one user: 4 · n · h · s, whatever g is.

    A query and a key take 2 · h, a weight and a value as many; the softmax is left out.

    >>> decode_flop(n_heads=32, head_dim=128, n_tokens=4096)
    67108864
    """
    return 4 * n_heads * head_dim * n_tokens


def latent_flop(n_heads, kv_rank, rope_dim, n_tokens):
    """Flop of a decode step's attention in MLA's absorbed form, in one layer for one user.

    2 · n · s · (2 · kv_rank + rope_dim): a query and what is cached of a token take
    2 · (kv_rank + rope_dim), a weight and a latent 2 · kv_rank. The softmax is left out, and what a
    step does once, whatever s is: its projections, and those by W_UK and W_UV.

    >>> latent_flop(n_heads=128, kv_rank=512, rope_dim=64, n_tokens=1)  # DeepSeek-V3
    278528
    """
    return 2 * n_heads * n_tokens * (2 * kv_rank + rope_dim)


def expanded_flop(n_heads, head_dim, kv_rank, rope_dim, value_dim, n_tokens):
    """The same in its expanded form, if every step expands all s latents anew.

    To make a token's keys and values takes 2 · kv_rank · n · (head_dim + value_dim), to attend
    with them 2 · n · (head_dim + rope_dim + value_dim). As much is left out.

    >>> v3 = {"n_heads": 128, "kv_rank": 512, "rope_dim": 64, "n_tokens": 4096}
    >>> round(expanded_flop(head_dim=128, value_dim=128, **v3) / latent_flop(**v3), 1)
    120.8
    """
    expanding = 2 * kv_rank * n_heads * (head_dim + value_dim)
    attending = 2 * n_heads * (head_dim + rope_dim + value_dim)
    return n_tokens * (expanding + attending)


def step_time(n_bytes, n_flop, bandwidth, peak):
    """The ms that a step takes at least: it reads and computes at once, and the longer one counts.

    bandwidth is in GB/s, peak in Tflop/s.

    Raises ValueError if one of these is not more than 0, or if n_bytes or n_flop is negative.
    Source: Williams, Waterman and Patterson, "Roofline", CACM 52(4), 2009.

    >>> step_time(n_bytes=64 * 10**9, n_flop=13 * 10**11, bandwidth=320, peak=65)  # reading
    200.0
    >>> step_time(n_bytes=64 * 10**9, n_flop=26 * 10**12, bandwidth=320, peak=65)  # computing
    400.0
    """
    for name, value in {"n_bytes": n_bytes, "n_flop": n_flop}.items():
        if value < 0:
            raise ValueError(f"{name} ({value}) must not be negative; a step without any has 0")
    if bandwidth <= 0:
        raise ValueError(f"bandwidth ({bandwidth}) must be more than 0; try 320, a T4's GB/s")
    if peak <= 0:
        raise ValueError(f"peak ({peak}) must be more than 0; try 65, a T4's Tflop/s in float16")
    reading = n_bytes / (bandwidth * 10**6)  # 10**9 bytes a second are 10**6 a ms
    computing = n_flop / (peak * 10**9)
    return max(reading, computing)


def tokens_per_second(model, n_weights, batch, n_tokens, bandwidth, peak, bytes_per_element=2):
    """Tokens a second in all, at most, of b users with s tokens each in the cache.

    model is a Geometry. Weights and attention take turns, so their times add up. A weight is read
    once for all users, and takes 2 flop for each; every user reads a cache of its own. Attention's
    flop are those of MHA, GQA and MQA: MLA does more, see `latent_flop`.

    Raises ValueError if n_weights is below 1, or as `step_time` and `kv_cache_bytes` do.

    >>> from course_utils.geometry import model
    >>> llama = model("Llama-3 8B")
    >>> [round(tokens_per_second(llama, 8.03e9, b, 8192, 3350, 989)) for b in (1, 32)]  # an H100
    [196, 2126]
    """
    if n_weights < 1:
        raise ValueError(f"n_weights ({n_weights}) must be at least 1; Llama-3 8B has 8.03e9")
    n_bytes = model.kv_bytes(n_tokens, batch, bytes_per_element)
    n_flop = batch * sum(
        x.n_layers * decode_flop(model.n_heads, x.key_dim or model.head_dim, x.kept(n_tokens))
        for x in model.caches
        if x.per_token and not x.cross
    )
    weights = step_time(bytes_per_element * n_weights, 2 * batch * n_weights, bandwidth, peak)
    attention = step_time(n_bytes, n_flop, bandwidth, peak)
    return 1000 * batch / (weights + attention)
