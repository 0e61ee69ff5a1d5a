"""How long a decode step takes on this machine, in several forms, and the machine's two speeds.

A step reads all keys and values once and does 4 · n · h · s flop with them; `cost` says what that
takes at least. Times are in milliseconds, bandwidth in GB/s, peak in Tflop/s. b batch, n query
heads, g key/value heads, h head_dim, s tokens.
"""

import random
import statistics
import time
from functools import partial

import torch
from torch.nn.functional import linear, scaled_dot_product_attention

from course_utils.attention import (
    attention,
    average_rows,
    decode_attention,
    score_rows,
    split_heads,
)
from course_utils.cost import decode_bytes

COLD = 2**28  # bytes: more than the caches of a processor hold


def bandwidth(device="cpu"):
    """GB/s read from memory at best: by a sum of 256 MiB, on a GPU by a sum or product of 1 GiB."""
    x = torch.ones(COLD // 4 if device == "cpu" else COLD, device=device).view(-1, 2**14)
    ways = [x.sum] if device == "cpu" else [x.sum, partial(torch.mv, x, x[0])]
    return x.nbytes / min(fastest(way, device) for way in ways) / 1e9


def peak(dtype=torch.float32, device="cpu"):
    """Tflop/s at best, in products of two matrices of 1,024 rows, on a GPU of 8,192."""
    size = 1024 if device == "cpu" else 8192
    x = torch.randn(size, size, device=device).to(dtype)  # with ones a GPU is faster
    return 2 * size**3 / fastest(partial(torch.mm, x, x), device) / 1e12


def fastest(function, device):
    """Seconds of the fastest of 20 calls; a GPU is given four at once, so that it never waits."""
    many = 1 if device == "cpu" else 4
    return min(seconds(lambda: [function() for _ in range(many)]) for _ in range(20)) / many


def repeated(q, k, v):
    """Grouped attention the slow way: K and V copied to n heads, as `repeat_kv` does."""
    r = q.shape[1] // k.shape[1]
    if r > 1:
        k, v = k.repeat_interleave(r, dim=1), v.repeat_interleave(r, dim=1)
    return scaled_dot_product_attention(q, k, v)


def enable_gqa(q, k, v, mask=None):
    """PyTorch's own grouped attention, asked for with its flag; mask (t, s) or None."""
    return scaled_dot_product_attention(q, k, v, mask, enable_gqa=True)


def as_rows(q, k, v, mask=None):
    """The same without the flag: the queries of a group as r · t rows of one K/V head."""
    (b, n, t, h), g = q.shape, k.shape[1]
    if mask is not None:
        mask = mask.repeat(n // g, 1)
    output = scaled_dot_product_attention(q.reshape(b, g, -1, h), k, v, mask)
    return output.reshape(b, n, t, v.shape[-1])


def prefill(q, k, v):
    """Grouped attention of a whole prompt, each of s queries over what came before it.

    Where a GPU has no fused kernel for that, K and V are repeated first: PyTorch's plain one would
    keep all n · s · s scores.
    """
    if q.is_cuda and not gqa_kernels(q, k, v):
        k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    return scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=q.shape != k.shape)


def absorbed(q, rows, kv_rank, mask=None):
    """MLA over what it caches, with queries that have absorbed W_UK: MQA, the latent is the value.

    q (b, n, t, kv_rank + rope_dim), rows (b, 1, s, kv_rank + rope_dim) → (b, n, t, kv_rank), of
    which W_UV makes the output. mask (t, s) as `causal_mask` gives it. As `attention` does it, but
    it hides only what a mask can hide.
    """
    (n, t, width), rows = q.shape[1:], rows[:, 0]
    scores = (q.flatten(1, 2) / width**0.5 @ rows.mT).unflatten(1, (n, t))
    if mask is not None:  # every query may see all but the last t tokens
        scores[..., -t:].masked_fill_(~mask[:, -t:], float("-inf"))
    weights = scores.softmax(dim=-1).flatten(1, 2)
    return (weights @ rows[..., :kv_rank]).unflatten(1, (n, t))


def expanded(q, rows, w_up, mask=None):
    """MLA that makes keys and values of all that it caches, then PyTorch's own attention.

    q (b, n, t, head_dim + rope_dim), rows (b, 1, s, kv_rank + rope_dim), w_up
    (n · (head_dim + value_dim), kv_rank) → (b, n, t, value_dim). mask (t, s).
    """
    latent, k_rope = rows.tensor_split([w_up.shape[1]], dim=-1)
    n, head_dim = q.shape[1], q.shape[-1] - k_rope.shape[-1]
    k, v = split_heads(linear(latent[:, 0], w_up), n).tensor_split([head_dim], dim=-1)
    k = torch.cat([k, k_rope.expand(-1, n, -1, -1)], dim=-1)
    return scaled_dot_product_attention(q, k, v, mask)


FORMS = {
    "decode_attention": decode_attention,
    "attention": lambda q, k, v: attention(q, k, v)[0],
    "SDPA, groups as rows": as_rows,
    "SDPA, enable_gqa": enable_gqa,
}
REPEATED = {"SDPA, repeat_kv": repeated}  # on its own: what follows so many writes is slowed down


def parts(q, k, v):
    """The parts of a step for these shapes, each on its own: {name: function of q, k and v}.

    On a CPU those of `decode_attention`, on a GPU of `attention`.

    >>> q, k = torch.ones(1, 4, 1, 2), torch.ones(1, 2, 3, 2)
    >>> {name: tuple(part(q, k, k).shape) for name, part in parts(q, k, k).items()}
    {'q · k': (2, 2, 3), 'softmax': (2, 2, 3), 'weights · v': (2, 2, 2)}
    """
    (b, n, _, h), g = q.shape, k.shape[1]
    score, average = score_rows, average_rows
    if q.is_cuda:
        wide = torch.float32 if q.dtype == torch.float16 else q.dtype  # as in `attention`
        score, average = (lambda q, k: q.to(wide) @ k.to(wide).mT), torch.matmul
    rows = q.reshape(b * g, n // g, h)
    scores = score(rows, k.flatten(0, 1))
    weights = scores.softmax(dim=-1).to(q.dtype)
    return {
        "q · k": lambda q, k, v: score(rows, k.flatten(0, 1)),
        "softmax": lambda q, k, v: scores.softmax(dim=-1).to(q.dtype),
        "weights · v": lambda q, k, v: average(weights, v.flatten(0, 1)),
    }


def gqa_kernels(q, k, v):
    """Which of PyTorch's fused kernels on a GPU take g K/V heads as they are: a list of names.

    If none does, `enable_gqa` falls to its plain kernel, which copies K and V to n heads: so on a
    T4 (transformers issue 48633).

    >>> gqa_kernels(torch.ones(1, 4, 1, 8), *torch.ones(2, 1, 2, 6, 8))  # a CPU has another one
    []
    """
    cuda = torch.backends.cuda
    asked = cuda.SDPAParams(q, k, v, None, 0.0, False, True)
    able = {
        "flash": cuda.can_use_flash_attention,
        "cuDNN": cuda.can_use_cudnn_attention,
        "memory-efficient": cuda.can_use_efficient_attention,
    }
    return [name for name, can in able.items() if q.is_cuda and can(asked)]


def cold_caches(shape, dtype, device, most, kept=2):
    """K and V of a shape (b, g, s, h), many times: more than a processor's own cache holds.

    At least two, unless `most` is 1, and no more than `most`. There is room behind the s tokens: a
    cache is seldom just full. kept is 1 for MLA's, which has rows, and neither K nor V.
    """
    b, g, s, h = shape
    held = kept * b * decode_bytes(g, h, s, dtype.itemsize) // 2
    copies = min(max(2, COLD // held), most)
    x = torch.ones(copies, kept, b, g, s + 1, h, dtype=dtype, device=device)
    return (x.normal_() if x.is_cuda else x)[..., :s, :]  # a GPU computes faster with ones


def time_forms(
    forms, n_heads, n_kv_heads, head_dim, n_tokens, dtype=torch.float32, device="cpu", repeats=9,
    batch=1,
):  # fmt: skip
    """Milliseconds of a decode step in each form: {name: (lower quartile, median, upper quartile)}.

    forms {name: function of q (b, n, 1, h), k and v (b, g, s, h)}. They take turns, in a new order
    each time, and read K and V that the processor has not read lately: in a model, other layers
    come between. repeats is at least 2.

    >>> times = time_forms({"SDPA": enable_gqa}, 4, 2, head_dim=8, n_tokens=64, repeats=3)
    >>> low, median, high = times["SDPA"]
    >>> 0 < low <= median <= high
    True
    """
    shape = batch, n_kv_heads, n_tokens, head_dim
    caches = cold_caches(shape, dtype, device, most=1024)
    q = torch.ones(batch, n_heads, 1, head_dim, dtype=dtype, device=device)
    taken, turn, order = {name: [] for name in forms}, 0, random.Random(0)
    for _ in range(repeats + 1):
        for name in order.sample(list(forms), len(forms)):
            turn += 1
            taken[name].append(1000 * seconds(forms[name], q, *caches[turn % len(caches)]))
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
