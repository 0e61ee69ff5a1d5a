"""Keys and values of all tokens so far, so that decoding computes each of them once.

b batch, g key/value heads, s tokens so far, t new tokens, h head_dim.
"""

import torch

from course_utils.attention import (
    causal_attention,
    check_shapes,
    check_tensors,
    decode_attention,
)


class KVCache:
    """A cache with room for max_tokens, allocated once: appending costs the same at any length.

    `n_tokens` is s, the number of tokens so far; `n_bytes` the memory it holds, full or not.

    It keeps no gradients. Raises ValueError if what is appended has another shape, dtype or device,
    or does not fit, TypeError if it is no tensor; the cache is then unchanged.

    >>> cache = KVCache(batch=1, n_kv_heads=2, max_tokens=5, head_dim=3)
    >>> k, v = cache.append(torch.ones(1, 2, 4, 3), torch.ones(1, 2, 4, 3))
    >>> k.shape, cache.n_tokens, cache.n_bytes  # 2 · 1 · 2 · 5 · 3 elements of 4 bytes
    (torch.Size([1, 2, 4, 3]), 4, 240)
    """

    def __init__(self, batch, n_kv_heads, max_tokens, head_dim, dtype=torch.float32, device="cpu"):
        shape = batch, n_kv_heads, max_tokens, head_dim
        self.k = torch.zeros(shape, dtype=dtype, device=device)
        self.v = torch.zeros(shape, dtype=dtype, device=device)
        self.n_tokens = 0

    @property
    def n_bytes(self):
        return self.k.nbytes + self.v.nbytes

    def append(self, k, v):
        """Write k and v (b, g, t, h) behind what is there → views (b, g, s, h) of everything."""
        for name, x in (("k", k), ("v", v)):
            check_tensors(**{name: x})
        b, g, max_tokens, h = self.k.shape
        if k.shape != v.shape or k.ndim != 4 or k.shape != (b, g, k.shape[2], h):
            raise ValueError(
                f"k {tuple(k.shape)} and v {tuple(v.shape)} do not fit this cache; "
                f"both must be ({b}, {g}, t, {h})"
            )
        if k.dtype != self.k.dtype or v.dtype != self.v.dtype:
            raise ValueError(
                f"k is {k.dtype} and v {v.dtype}, the cache {self.k.dtype}; "
                f"make it with dtype={k.dtype}"
            )
        if k.device != self.k.device or v.device != self.v.device:
            raise ValueError(
                f"k is on {k.device} and v on {v.device}, the cache on {self.k.device}; "
                f"give them as k.to({str(self.k.device)!r})"
            )
        start, end = self.n_tokens, end_of(self.n_tokens, k.shape[2], max_tokens)
        self.k[:, :, start:end], self.v[:, :, start:end] = k.detach(), v.detach()
        self.n_tokens = end
        return self.k[:, :, :end], self.v[:, :, :end]


def end_of(start, t, max_tokens):
    """How many tokens a cache has with t more; ValueError if it has no room for them."""
    if start + t > max_tokens:
        raise ValueError(
            f"the cache is full: {start} of {max_tokens} tokens used, {t} more do not fit; "
            f"make it with max_tokens={start + t} or more"
        )
    return start + t


def decode_step(q, k_new, v_new, cache):
    """Attention of t new tokens over everything in the cache and themselves.

    q (b, n, t, h), k_new and v_new (b, g, t, h), the keys and values of the new tokens only, which
    are appended to the cache → output (b, n, t, h). With t = 1 this is decoding, with more prefill.

    Raises ValueError if the new tokens do not fit each other or the cache, which is then unchanged.

    >>> cache = KVCache(batch=1, n_kv_heads=1, max_tokens=4, head_dim=2)
    >>> x = torch.ones(1, 1, 3, 2)
    >>> decode_step(x, x, x, cache).shape, cache.n_tokens
    (torch.Size([1, 1, 3, 2]), 3)
    """
    check_shapes(q, k_new, v_new)
    if q.shape[2] != k_new.shape[2]:
        raise ValueError(
            f"q has {q.shape[2]} tokens, k_new {k_new.shape[2]}; both are of the same new tokens"
        )
    k, v = cache.append(k_new, v_new)
    if q.shape[2] == 1 and q.device.type == "cpu":  # one query sees all: lesson 09 times it
        return decode_attention(q, k, v)
    return causal_attention(q, k, v)[0]
