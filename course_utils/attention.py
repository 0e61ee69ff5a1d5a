"""Attention in its general form, up to grouped-query attention: what lessons go on with.

ladder.py has it rung by rung, as each lesson builds it.

b batch, n query heads, g key/value heads, r = n // g query heads a group, h head_dim,
t query positions in this call, s keys. Tensors are (b, heads, tokens, h); in masks True means
"may attend". g = n is multi-head attention (MHA), g = 1 multi-query (MQA), in between
grouped-query (GQA).
"""

import torch
from torch import nn
from torch.nn.functional import embedding_bag


def attention(q, k, v, mask=None):
    """Weighted average of the values; the weights say how well each key answers the query.

    q (b, n, t, h), k and v (b, g, s, h), mask (t, s) bool → output (b, n, t, h), weights
    (b, n, t, s). Query head i reads K/V head i // r; K and V are never repeated to n heads. Values
    may have another width than keys, the output then has it too. A query that may see no key at all
    gets nan.

    Raises ValueError if ranks, shapes, dtypes or devices do not fit, or n is not divisible by g,
    TypeError for what is no tensor.
    Source: Vaswani et al. 2017, arXiv 1706.03762; grouping: Ainslie et al. 2023, arXiv 2305.13245.

    >>> x = torch.ones(1, 1, 3, 2)
    >>> attention(x, x, x)[1][0, 0, 0]
    tensor([0.3333, 0.3333, 0.3333])
    """
    check_shapes(q, k, v, mask)
    (b, n, t, h), (g, s) = q.shape, k.shape[1:3]
    r = group_size(n, g)
    grouped = q.reshape(b, g, r * t, h)  # lesson 06: the queries of a group lie under one another
    if q.dtype == torch.float16:  # its largest number is 65,504, and scores may be larger
        grouped, k = grouped.float(), k.float()
    scores = (grouped / h**0.5 @ k.mT).reshape(b, n, t, s)
    if mask is not None:  # lesson 02
        scores = scores.masked_fill(~mask, float("-inf"))
    weights = scores.softmax(dim=-1).to(q.dtype)
    output = weights.reshape(b, g, r * t, s) @ v
    return output.reshape(b, n, t, v.shape[-1]), weights


def causal_mask(t, s):
    """Which of s keys each of the last t queries may see: itself and everything before it.

    Returns (t, s) bool, True = may attend.

    Raises ValueError if t > s.

    >>> causal_mask(2, 4).int()
    tensor([[1, 1, 1, 0],
            [1, 1, 1, 1]], dtype=torch.int32)
    """
    if t > s:
        raise ValueError(f"t ({t}) queries need at least as many keys; s is {s}")
    return torch.ones(t, s, dtype=torch.bool).tril(s - t)


def causal_attention(q, k, v):
    """Attention in which the t queries are the last t of s tokens and see none that comes later.

    Shapes, results and errors are those of `attention`; t may not be larger than s.

    >>> x = torch.ones(1, 1, 3, 2)
    >>> causal_attention(x, x, x)[1][0, 0]
    tensor([[1.0000, 0.0000, 0.0000],
            [0.5000, 0.5000, 0.0000],
            [0.3333, 0.3333, 0.3333]])
    """
    check_shapes(q, k, v)
    return attention(q, k, v, causal_mask(q.shape[-2], k.shape[-2]).to(q.device))


def decode_attention(q, k, v):
    """What `attention` gives for one query, made for decoding on a CPU: K and V are read in place.

    q (b, n, 1, h), k and v (b, g, s, h), views of a cache too → output (b, n, 1, h).

    Raises ValueError as `attention` does, and if there is more than one query a head.

    >>> q, k, v = torch.ones(1, 4, 1, 2), torch.ones(1, 2, 3, 2), torch.ones(1, 2, 3, 2)
    >>> torch.equal(decode_attention(q, k, v), attention(q, k, v)[0])
    True
    """
    check_shapes(q, k, v)
    (b, n, t, h), g = q.shape, k.shape[1]
    if t != 1:
        raise ValueError(f"q has t ({t}) queries a head; decoding has one: use causal_attention")
    if not q.numel() or not k.numel():
        return attention(q, k, v)[0]
    scores = score_rows(q.reshape(b * g, n // g, h) / h**0.5, k.flatten(0, 1))
    output = average_rows(scores.softmax(dim=-1), v.flatten(0, 1)).view(b, n, 1, v.shape[-1])
    if q.dtype == torch.float16 and not q.is_meta and output.isnan().any():  # a score > 65,504
        return attention(q, k, v)[0]
    return output


def score_rows(q, k):
    """q @ k.mT by whichever way reads K fastest: q (m, r, h), k (m, s, h) → (m, r, s)."""
    r, half = q.shape[1], k.itemsize == 2
    if half and r <= 4:  # a head at a time: matmul would first copy a large cache of half precision
        return torch.stack([queries @ keys.mT for queries, keys in zip(q, k, strict=True)])
    if half or r <= 8:  # keys first: a tall matrix, read row by row as it lies
        return (k @ q.mT).mT
    return q @ k.mT


def average_rows(weights, v):
    """weights @ v likewise: weights (m, r, s), v (m, s, h) → (m, r, h)."""
    # few rows of weights: matmul would read V at half the speed of memory
    return weighted_rows(weights, v) if weights.shape[1] <= 4 else weights @ v


def weighted_rows(weights, v):
    """weights @ v by `embedding_bag`, made to add up weighted rows of one table as they lie.

    weights (m, r, s), v (m, s, h) → (m, r, h).
    """
    (m, r, s), h = weights.shape, v.shape[-1]
    if v.stride(0) % h or not v[0].is_contiguous():  # no rows of one table: lay them out
        v = v.contiguous()
    step = v.stride(0) // h  # rows from one v[i] to the next: s, or more in a cache not yet full
    table = v.as_strided(((m - 1) * step + s, h), (h, 1))
    i, j = (torch.arange(x, dtype=torch.int32, device=v.device) for x in (m, s))
    rows = step * i[:, None, None] + j.expand(r, s)
    output = embedding_bag(
        rows.view(m * r, s), table, mode="sum", per_sample_weights=weights.reshape(m * r, s)
    )
    return output.view(m, r, h)


def split_heads(x, n_heads):
    """Cut the last axis into heads: (b, t, n·h) → (b, n, t, h), a view.

    Raises ValueError if x has other axes, or its width is not divisible by n_heads.

    >>> split_heads(torch.arange(6).view(1, 1, 6), 2).tolist()
    [[[[0, 1, 2]], [[3, 4, 5]]]]
    """
    check_tensors(x=x)
    if x.ndim != 3:
        raise ValueError(f"x has shape {tuple(x.shape)}; it needs three axes, (b, t, n·h)")
    b, t, width = x.shape
    if n_heads < 1 or width % n_heads:
        raise ValueError(
            f"width ({width}) must be divisible by n_heads ({n_heads}); try one of {listed(width)}"
        )
    return x.view(b, t, n_heads, width // n_heads).transpose(1, 2)


def merge_heads(x):
    """Lay the heads side by side again: (b, n, t, h) → (b, t, n·h).

    Raises ValueError if x has other axes.

    >>> merge_heads(split_heads(torch.arange(6).view(1, 1, 6), 2)).tolist()
    [[[0, 1, 2, 3, 4, 5]]]
    """
    check_tensors(x=x)
    if x.ndim != 4:
        raise ValueError(f"x has shape {tuple(x.shape)}; it needs four axes, (b, n, t, h)")
    return x.transpose(1, 2).flatten(2)


def multi_head_attention(x, w_q, w_k, w_v, w_o, n_heads):
    """Project, split into heads, attend causally, merge, project.

    x (b, t, d), w_q, w_k and w_v (d, n·h), w_o (n·h, d) → output (b, t, d), weights (b, n, t, t).

    Raises ValueError if n·h is not divisible by n_heads.
    Source: Vaswani et al. 2017, arXiv 1706.03762.

    >>> x, w = torch.ones(1, 2, 6), torch.eye(6)
    >>> multi_head_attention(x, w, w, w, w, n_heads=3)[1].shape
    torch.Size([1, 3, 2, 2])
    """
    q, k, v = (split_heads(x @ w, n_heads) for w in (w_q, w_k, w_v))
    output, weights = causal_attention(q, k, v)
    return merge_heads(output) @ w_o, weights


def group_size(n_heads, n_kv_heads):
    """How many query heads share one key/value head: r = n // g.

    Raises ValueError if the n query heads cannot share g key/value heads evenly.

    >>> group_size(32, 8)
    4
    >>> group_size(32, 5)
    Traceback (most recent call last):
    ValueError: n_heads (32) must be divisible by n_kv_heads (5); try one of 1, 2, 4, 8, 16, 32
    """
    if n_kv_heads < 1 or n_heads % n_kv_heads:
        raise ValueError(
            f"n_heads ({n_heads}) must be divisible by n_kv_heads ({n_kv_heads}); "
            f"try one of {listed(n_heads)}"
        )
    return n_heads // n_kv_heads


class GroupedQueryAttention(nn.Module):
    """Causal attention with n query heads and g key/value heads, named as in real checkpoints.

    n_kv_heads=None is MHA, n_kv_heads=1 is MQA; head_dim=None is d_model // n_heads.
    forward: x (b, t, d), a `KVCache` and a rotation `rope(x, start)` of (b, heads, t, h), both
    optional → output (b, t, d), weights (b, n, t, s).

    Raises ValueError if n is not divisible by g, or d by n where head_dim is not given.
    Source: Ainslie et al. 2023, arXiv 2305.13245.

    >>> layer = GroupedQueryAttention(d_model=12, n_heads=6, n_kv_heads=2)
    >>> layer.k_proj.weight.shape, layer(torch.zeros(1, 5, 12))[1].shape
    (torch.Size([4, 12]), torch.Size([1, 6, 5, 5]))
    """

    def __init__(self, d_model, n_heads, n_kv_heads=None, head_dim=None, bias=False):
        super().__init__()
        n, g = n_heads, n_heads if n_kv_heads is None else n_kv_heads
        group_size(n, g)
        if head_dim is None and d_model % n:
            raise ValueError(
                f"d_model ({d_model}) must be divisible by n_heads ({n}); "
                f"try one of {listed(d_model)}, or give head_dim"
            )
        h = head_dim or d_model // n
        self.n_heads, self.n_kv_heads, self.head_dim = n, g, h
        self.q_proj = nn.Linear(d_model, n * h, bias)
        self.k_proj = nn.Linear(d_model, g * h, bias)
        self.v_proj = nn.Linear(d_model, g * h, bias)
        self.o_proj = nn.Linear(n * h, d_model, bias)

    def queries(self, x):
        return split_heads(self.q_proj(x), self.n_heads)

    def keys(self, x):
        return split_heads(self.k_proj(x), self.n_kv_heads)

    def values(self, x):
        return split_heads(self.v_proj(x), self.n_kv_heads)

    def forward(self, x, cache=None, rope=None):
        past = cache.n_tokens if cache else 0
        q, k, v = self.queries(x), self.keys(x), self.values(x)
        if rope:
            q, k = rope(q, past), rope(k, past)
        if cache:
            k, v = cache.append(k, v)
        output, weights = causal_attention(q, k, v)
        return self.o_proj(merge_heads(output)), weights


def divisors(x):
    """The numbers that divide x, as a list.

    >>> divisors(12)
    [1, 2, 3, 4, 6, 12]
    """
    return [i for i in range(1, x + 1) if x % i == 0]


def listed(x):
    """The divisors of x as text, for messages: 1, 2, 3, 4, 6, 12."""
    return ", ".join(map(str, divisors(x)))


def check_tensors(**tensors):
    """Raise TypeError for what is no tensor, ValueError unless all are of one dtype and device."""
    for name, x in tensors.items():
        if not isinstance(x, torch.Tensor):
            raise TypeError(
                f"{name} is a {type(x).__name__}, no tensor: give torch.as_tensor({name})"
            )
    (first, x), *others = tensors.items()
    for name, y in others:
        for what, a, b in (("dtype", x.dtype, y.dtype), ("device", x.device, y.device)):
            if a != b:
                raise ValueError(
                    f"{first} has {what} {a}, {name} {b}; they must be equal: "
                    f"give {name}.to({first}.{what})"
                )


def check_shapes(q, k, v, mask=None):
    """Raise an error, with what there is and the remedy, unless attention(q, k, v, mask) fits."""
    check_tensors(q=q, k=k, v=v)
    if not q.is_floating_point() or q.itemsize < 2:
        raise ValueError(
            f"q, k and v are {q.dtype}; attention needs fractions of 16 bits or more: "
            "give q.float() …"
        )
    for name, x in (("q", q), ("k", k), ("v", v)):
        if x.ndim != 4:
            raise ValueError(
                f"{name} has shape {tuple(x.shape)}; it needs four axes, (b, heads, tokens, h): "
                "add missing ones with x[None]"
            )
    (b, n, t, h), (g, s) = q.shape, k.shape[1:3]
    group_size(n, g)
    if k.shape[:3] != v.shape[:3]:
        raise ValueError(
            f"k {tuple(k.shape)} and v {tuple(v.shape)} must have the same b, g and s: "
            "a value for every key"
        )
    if q.shape[0] != k.shape[0]:
        raise ValueError(f"q has batch {b}, k has batch {k.shape[0]}; they must be equal")
    if h != k.shape[3]:
        raise ValueError(
            f"q has head_dim {h}, k has head_dim {k.shape[3]}; a query can only be compared with "
            "a key of its own width; split q into n heads, k and v into g"
        )
    if mask is None:
        return
    check_tensors(mask=mask)
    if mask.dtype != torch.bool or mask.shape != (t, s):
        raise ValueError(
            f"mask is {mask.dtype} {tuple(mask.shape)}; it must be torch.bool ({t}, {s}), "
            "True = may attend"
        )
    if mask.device != q.device:
        raise ValueError(f"mask is on {mask.device}, q on {q.device}; give mask.to(q.device)")
