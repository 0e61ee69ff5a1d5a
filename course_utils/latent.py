"""Multi-head latent attention (MLA): compress to store, expand to use.

Of a token a layer keeps one row: a latent of kv_rank numbers, of which all heads' keys and values
are made, and one key of rope_dim numbers that is rotated and shared by all heads. b batch, n query
heads, t new tokens, s all of them, d d_model; of a key head_dim numbers have no position, and
rope_dim have one; a value has value_dim.
"""

import torch
from torch import nn

from course_utils.attention import causal_attention, check_tensors, merge_heads, split_heads
from course_utils.kv_cache import end_of


class LatentCache:
    """A cache as `KVCache` is, of one row of kv_rank + rope_dim numbers a token and nothing else.

    `n_tokens` is s, the number of tokens so far; `n_bytes` the memory it holds, full or not.

    It keeps no gradients. Raises ValueError if what is appended has another shape, dtype or device,
    or does not fit, TypeError if it is no tensor; the cache is then unchanged.

    >>> cache = LatentCache(batch=1, kv_rank=4, rope_dim=2, max_tokens=5)
    >>> cache.append(torch.ones(1, 3, 6)).shape, cache.n_tokens, cache.n_bytes  # 5 · 6 · 4 bytes
    (torch.Size([1, 3, 6]), 3, 120)
    """

    def __init__(self, batch, kv_rank, rope_dim, max_tokens, dtype=torch.float32, device="cpu"):
        self.rows = torch.zeros(batch, max_tokens, kv_rank + rope_dim, dtype=dtype, device=device)
        self.n_tokens = 0

    @property
    def n_bytes(self):
        return self.rows.nbytes

    def append(self, rows):
        """Write rows (b, t, kv_rank + rope_dim) behind what is there → a view (b, s, …) of all."""
        check_tensors(cache=self.rows, rows=rows)
        b, max_tokens, width = self.rows.shape
        if rows.ndim != 3 or rows.shape != (b, rows.shape[1], width):
            raise ValueError(
                f"rows {tuple(rows.shape)} do not fit this cache; they must be ({b}, t, {width})"
            )
        end = end_of(self.n_tokens, rows.shape[1], max_tokens)
        self.rows[:, self.n_tokens : end] = rows.detach()
        self.n_tokens = end
        return self.rows[:, :end]


class MultiHeadLatentAttention(nn.Module):
    """Causal attention whose n heads' keys and values are made of one latent a token.

    The parts are named as in DeepSeek's checkpoints. q_rank=None makes queries of x itself,
    value_dim=None is head_dim. forward: x (b, t, d), a `LatentCache` and a rotation
    `rope(x, start)` of (b, heads, t, rope_dim), both optional → output (b, t, d), weights
    (b, n, t, s). It is `expanded` until something is cached, then `absorbed`: the same numbers,
    with fewer flop if few tokens are new.

    Raises ValueError if a size is less than 1; rope_dim may be 0, for a layer without positions.
    Source: DeepSeek-V2, arXiv 2405.04434, sections 2.1 and 3.1.2, appendix C; without YaRN, by
    which DeepSeek's own models turn more slowly and enlarge scores.

    >>> layer = MultiHeadLatentAttention(d_model=12, n_heads=6, head_dim=5, kv_rank=8, rope_dim=2)
    >>> layer.kv_b_proj.weight.shape, layer(torch.zeros(1, 3, 12))[1].shape
    (torch.Size([60, 8]), torch.Size([1, 6, 3, 3]))
    """

    def __init__(self, d_model, n_heads, head_dim, kv_rank, rope_dim, q_rank=None, value_dim=None):
        super().__init__()
        value_dim = head_dim if value_dim is None else value_dim
        check_sizes(
            d_model=d_model, n_heads=n_heads, head_dim=head_dim, kv_rank=kv_rank,
            rope_dim=rope_dim, q_rank=q_rank, value_dim=value_dim,
        )  # fmt: skip
        self.n_heads, self.kv_rank = n_heads, kv_rank
        self.key_parts, self.up_parts = (head_dim, rope_dim), (head_dim, value_dim)
        queries = n_heads * (head_dim + rope_dim)
        if q_rank is None:
            self.q_proj = nn.Linear(d_model, queries, bias=False)
        else:  # queries of a latent of their own: fewer weights, nothing of it is cached
            self.q_a_proj = nn.Linear(d_model, q_rank, bias=False)
            self.q_a_layernorm = nn.RMSNorm(q_rank, eps=1e-6)
            self.q_b_proj = nn.Linear(q_rank, queries, bias=False)
        self.kv_a_proj_with_mqa = nn.Linear(d_model, kv_rank + rope_dim, bias=False)
        self.kv_a_layernorm = nn.RMSNorm(kv_rank, eps=1e-6)
        self.kv_b_proj = nn.Linear(kv_rank, n_heads * (head_dim + value_dim), bias=False)
        self.o_proj = nn.Linear(n_heads * value_dim, d_model, bias=False)

    def queries(self, x, start=0, rope=None):
        """x (b, t, d) → (b, n, t, head_dim + rope_dim), of which rope_dim numbers are rotated."""
        if hasattr(self, "q_proj"):
            q = self.q_proj(x)
        else:
            q = self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x)))
        q, q_rope = split_heads(q, self.n_heads).split(self.key_parts, dim=-1)
        return torch.cat([q, rope(q_rope, start) if rope else q_rope], dim=-1)

    def rows(self, x, start=0, rope=None):
        """What is cached of x (b, t, d), by equations 9 and 15: (b, t, kv_rank + rope_dim)."""
        latent, k_rope = self.kv_a_proj_with_mqa(x).tensor_split([self.kv_rank], dim=-1)
        if rope:
            k_rope = rope(k_rope[:, None], start)[:, 0]  # a head of its own, the only one
        return torch.cat([self.kv_a_layernorm(latent), k_rope], dim=-1)

    def seen(self, x, cache, rope):
        """The queries of x, and the rows of all tokens so far: (b, s, kv_rank + rope_dim)."""
        past = cache.n_tokens if cache else 0
        q, rows = self.queries(x, past, rope), self.rows(x, past, rope)
        return q, cache.append(rows) if cache else rows

    def expanded(self, x, cache=None, rope=None):
        """Make all heads' keys and values of the latents, then attend: equations 10, 11, 17-19."""
        q, rows = self.seen(x, cache, rope)
        latent, k_rope = rows.tensor_split([self.kv_rank], dim=-1)
        k, v = split_heads(self.kv_b_proj(latent), self.n_heads).split(self.up_parts, dim=-1)
        k = torch.cat([k, k_rope[:, None].expand(-1, self.n_heads, -1, -1)], dim=-1)
        output, weights = causal_attention(q, k, v)
        return self.o_proj(merge_heads(output)), weights

    def absorbed(self, x, cache=None, rope=None):
        """The same without any head's keys: queries go to the latents, q · (W_UK c) = (q W_UK) · c.

        Then it is multi-query attention: a row is the one key, and the latent in it the one value.
        """
        q, rows = self.seen(x, cache, rope)
        up = self.kv_b_proj.weight.unflatten(0, (self.n_heads, -1))
        w_uk, w_uv = up.split(self.up_parts, dim=1)  # (n, head_dim or value_dim, kv_rank)
        q, q_rope = q.split(self.key_parts, dim=-1)
        q = torch.einsum("bnth,nhc->bntc", q, w_uk)  # q @ w_uk would copy w_uk for each of b
        q = torch.cat([q, q_rope], dim=-1)
        scale = (rows.shape[-1] / sum(self.key_parts)) ** 0.5  # attention divides by √(width of q)
        key = rows[:, None]
        output, weights = causal_attention(scale * q, key, key[..., : self.kv_rank])
        output = torch.einsum("bntc,nvc->bntv", output, w_uv)
        return self.o_proj(merge_heads(output)), weights

    def forward(self, x, cache=None, rope=None):
        form = self.absorbed if cache and cache.n_tokens else self.expanded
        return form(x, cache, rope)


def check_sizes(rope_dim, q_rank, **sizes):
    """Raise ValueError for what is no size of a `MultiHeadLatentAttention`."""
    for name, value in (sizes | {"q_rank": 1 if q_rank is None else q_rank}).items():
        if value < 1:
            raise ValueError(f"{name} ({value}) must be at least 1")
    if rope_dim < 0 or rope_dim % 2:
        raise ValueError(
            f"rope_dim ({rope_dim}) must be even: RoPE turns numbers in pairs; "
            f"try {max(0, rope_dim + rope_dim % 2)}"
        )
