"""How long a decode step takes on this machine, and how long it must take.

A step reads all keys and values once and does 4 · n · s · h flop with them. The machine sets two
speeds, so it takes at least the longer of bytes / bandwidth and flop / peak: the roofline. Times
are in milliseconds. n query heads, g key/value heads, h head_dim, s tokens.
"""

import random
import statistics
import time

import torch
from torch.nn.functional import scaled_dot_product_attention

from course_utils.attention import attention, decode_attention
from course_utils.geometry import kv_cache_bytes

COLD = 2**28  # bytes: more than the caches of a processor hold


def decode_bytes(n_kv_heads, head_dim, n_tokens, bytes_per_element=4):
    """Bytes of K and V that a decode step of one layer reads: 2 · g · h · s elements.

    >>> decode_bytes(n_kv_heads=8, head_dim=128, n_tokens=4096)
    33554432
    """
    return kv_cache_bytes(1, 1, n_kv_heads, head_dim, n_tokens, bytes_per_element)


def decode_flop(n_heads, head_dim, n_tokens):
    """Additions and multiplications of a decode step of one layer: 4 · n · h · s, whatever g is.

    A query and a key make 2 · h, a weight and a value as many; the softmax is left out.

    >>> decode_flop(n_heads=32, head_dim=128, n_tokens=4096)
    67108864
    """
    return 4 * n_heads * head_dim * n_tokens


def bandwidth(device="cpu"):
    """Bytes a second read from memory: the fastest of 20 sums over 256 MiB, on a GPU over 1 GiB."""
    x = torch.ones(COLD // 4 if device == "cpu" else COLD, device=device)
    return x.nbytes / min(seconds(x.sum) for _ in range(20))


def peak(dtype=torch.float32, device="cpu"):
    """Flop a second: the fastest of 20 products of matrices with 1,024 rows, on a GPU 4,096."""
    size = 1024 if device == "cpu" else 4096
    x = torch.ones(size, size, dtype=dtype, device=device)
    return 2 * size**3 / min(seconds(torch.mm, x, x) for _ in range(20))


def repeated(q, k, v):
    """Grouped attention the slow way: K and V copied to n heads, as `repeat_kv` does."""
    r = q.shape[1] // k.shape[1]
    if r > 1:
        k, v = k.repeat_interleave(r, dim=1), v.repeat_interleave(r, dim=1)
    return scaled_dot_product_attention(q, k, v)


def enable_gqa(q, k, v):
    """PyTorch's own grouped attention, asked for with its flag."""
    return scaled_dot_product_attention(q, k, v, enable_gqa=True)


def as_rows(q, k, v):
    """PyTorch's attention without the flag: the queries of a group as r rows of one K/V head."""
    b, n, _, h = q.shape
    return scaled_dot_product_attention(q.reshape(b, k.shape[1], -1, h), k, v).reshape(b, n, 1, h)


FORMS = {
    "decode_attention": decode_attention,
    "attention": lambda q, k, v: attention(q, k, v)[0],
    "SDPA, groups as rows": as_rows,
    "SDPA, enable_gqa": enable_gqa,
}
REPEATED = {"SDPA, repeat_kv": repeated}  # on its own: what follows so many writes is slowed down


def time_forms(
    forms, n_heads, n_kv_heads, head_dim, n_tokens, dtype=torch.float32, device="cpu", repeats=9
):
    """Milliseconds of a decode step in each form: {name: (lower quartile, median, upper quartile)}.

    forms {name: function of q (1, n, 1, h), k and v (1, g, s, h)}. They take turns, in a new order
    each time, and read K and V that the processor has not read lately: in a model, other layers
    come between. repeats is at least 2.

    >>> times = time_forms({"SDPA": enable_gqa}, 4, 2, head_dim=8, n_tokens=64, repeats=3)
    >>> low, median, high = times["SDPA"]
    >>> 0 < low <= median <= high
    True
    """
    shape = 1, n_kv_heads, n_tokens + 1, head_dim  # one more: a cache is seldom just full
    copies = max(2, COLD // decode_bytes(n_kv_heads, head_dim, n_tokens, dtype.itemsize))
    caches = torch.ones(copies, 2, *shape, dtype=dtype, device=device)[..., :n_tokens, :]
    q = torch.ones(1, n_heads, 1, head_dim, dtype=dtype, device=device)
    taken, turn, shuffle = {name: [] for name in forms}, 0, random.Random(0)
    for _ in range(repeats + 1):
        for name in shuffle.sample(list(forms), len(forms)):
            turn += 1
            taken[name].append(1000 * seconds(forms[name], q, *caches[turn % copies]))
    return {name: quartiles(times[1:]) for name, times in taken.items()}  # the first warms up


def time_call(function, *arguments, repeats=9):
    """Milliseconds of a call: lower quartile, median, upper quartile of so many.

    >>> low, median, high = time_call(torch.ones, 5, repeats=3)
    >>> 0 < low <= median <= high
    True
    """
    return quartiles([1000 * seconds(function, *arguments) for _ in range(repeats)])


def quartiles(times):
    """Lower quartile, median, upper quartile.

    >>> quartiles([1, 2, 3, 4, 50])
    (2.0, 3.0, 4.0)
    """
    return tuple(statistics.quantiles(times, n=4, method="inclusive"))


def seconds(function, *arguments):
    """Seconds that one call takes, on a GPU until it is done."""
    wait = torch.cuda.synchronize if torch.cuda.is_initialized() else lambda: None
    wait()
    start = time.perf_counter()
    function(*arguments)
    wait()
    return time.perf_counter() - start
