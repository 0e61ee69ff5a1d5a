"""The ladder as it is taught: what each exercise asks for, rung by rung, and no more.

`check` and `solution` show these. Lessons go on with the library's own functions, which answers are
compared with: they take more and refuse what does not fit. Letters as in attention.py, which
lessons, and so these rungs, call `library`.
"""

import json

import torch

from course_utils import attention as library
from course_utils.geometry import UNSHARED


def group_size(n_heads, n_kv_heads):
    """How many query heads share one key/value head.

    >>> group_size(8, 2)
    4
    """
    return n_heads // n_kv_heads


def attention(q, k, v):
    """Every query's average of the values, weighted by how well the keys answer it.

    q (b, n, t, h), k and v (b, n, s, h) → output (b, n, t, h), weights (b, n, t, s)

    >>> x = torch.ones(1, 1, 2, 4)
    >>> attention(x, x, x)[1][0, 0]
    tensor([[0.5000, 0.5000],
            [0.5000, 0.5000]])
    """
    h = q.shape[-1]
    scores = q @ k.mT / h**0.5
    weights = scores.softmax(dim=-1)
    return weights @ v, weights


def causal_mask(t, s):
    """Which of s places each of the last t may see, (t, s) bool: itself and all before it.

    >>> causal_mask(2, 4).int()
    tensor([[1, 1, 1, 0],
            [1, 1, 1, 1]], dtype=torch.int32)
    """
    return torch.ones(t, s, dtype=torch.bool).tril(s - t)


def causal_attention(q, k, v):
    """Attention in which the t queries are the last t of s words, and none sees a later one.

    q (b, n, t, h), k and v (b, n, s, h), t ≤ s → output (b, n, t, h), weights (b, n, t, s)

    >>> x = torch.ones(1, 1, 2, 4)
    >>> causal_attention(x, x, x)[1][0, 0]
    tensor([[1.0000, 0.0000],
            [0.5000, 0.5000]])
    """
    t, s, h = q.shape[-2], k.shape[-2], q.shape[-1]
    scores = q @ k.mT / h**0.5
    scores = scores.masked_fill(~causal_mask(t, s), float("-inf"))
    weights = scores.softmax(dim=-1)
    return weights @ v, weights


def split_heads(x, n_heads):
    """Cut every row into heads: (b, t, n·h) → (b, n, t, h).

    >>> split_heads(torch.arange(6).view(1, 1, 6), 2).tolist()
    [[[[0, 1, 2]], [[3, 4, 5]]]]
    """
    b, t, width = x.shape
    return x.view(b, t, n_heads, width // n_heads).transpose(1, 2)


def merge_heads(x):
    """Lay the heads side by side again: (b, n, t, h) → (b, t, n·h).

    >>> merge_heads(torch.arange(6).view(1, 2, 1, 3)).tolist()
    [[[0, 1, 2, 3, 4, 5]]]
    """
    return x.transpose(1, 2).flatten(2)


def multi_head_attention(x, w_q, w_k, w_v, w_o, n_heads):
    """Causal attention in n heads at once: project, split, attend, merge, project.

    x (b, t, d), w_q, w_k and w_v (d, n·h), w_o (n·h, d) → output (b, t, d), weights (b, n, t, t)

    >>> x, w = torch.ones(1, 2, 6), torch.eye(6)
    >>> multi_head_attention(x, w, w, w, w, n_heads=3)[1].shape
    torch.Size([1, 3, 2, 2])
    """
    q = split_heads(x @ w_q, n_heads)
    k = split_heads(x @ w_k, n_heads)
    v = split_heads(x @ w_v, n_heads)
    output, weights = library.causal_attention(q, k, v)
    return merge_heads(output) @ w_o, weights


def decode_step(q, k_new, v_new, cache):
    """Attention of t new tokens over everything in the cache and themselves.

    q, k_new and v_new (b, n, t, h), a KVCache → output (b, n, t, h)

    >>> from course_utils.kv_cache import KVCache
    >>> cache = KVCache(batch=1, n_kv_heads=1, max_tokens=4, head_dim=2)
    >>> x = torch.ones(1, 1, 3, 2)
    >>> decode_step(x, x, x, cache).shape, cache.n_tokens
    (torch.Size([1, 1, 3, 2]), 3)
    """
    k, v = cache.append(k_new, v_new)
    output, _ = library.causal_attention(q, k, v)
    return output


def kv_cache_bytes(n_layers, batch, n_kv_heads, head_dim, n_tokens, bytes_per_element):
    """The bytes of a key and a value for every K/V head, token, sequence and layer.

    >>> kv_cache_bytes(32, 1, 8, 128, 8192, 2) / 2**30
    1.0
    """
    return 2 * n_layers * batch * n_kv_heads * head_dim * n_tokens * bytes_per_element


def multi_query_attention(q, k, v):
    """Attention of n query heads that all read one head of keys and values.

    q (b, n, t, h), k and v (b, 1, s, h) → output (b, n, t, h), weights (b, n, t, s)

    >>> x = torch.ones(1, 1, 2, 4)
    >>> multi_query_attention(x.expand(1, 3, 2, 4), x, x)[1].shape
    torch.Size([1, 3, 2, 2])
    """
    b, n, t, h = q.shape
    rows = q.reshape(b, 1, n * t, h)  # to a key, n heads of t queries are n · t queries
    scores = rows @ k.mT / h**0.5
    weights = scores.softmax(dim=-1)
    output = weights @ v
    return output.reshape(b, n, t, h), weights.reshape(b, n, t, -1)


def grouped_query_attention(q, k, v):
    """Attention of n query heads, of which r = n // g neighbours read one head of keys and values.

    q (b, n, t, h), k and v (b, g, s, h) → output (b, n, t, h), weights (b, n, t, s)

    >>> q, k = torch.ones(1, 6, 2, 4), torch.ones(1, 3, 2, 4)
    >>> grouped_query_attention(q, k, k)[1].shape
    torch.Size([1, 6, 2, 2])
    """
    (b, n, t, h), g = q.shape, k.shape[1]
    if n % g:
        raise ValueError(f"{n} query heads cannot share {g} K/V heads evenly")
    r = n // g
    rows = q.reshape(b, g, r * t, h)  # to a key, r heads of t queries are r · t queries
    scores = rows @ k.mT / h**0.5
    weights = scores.softmax(dim=-1)
    output = weights @ v
    return output.reshape(b, n, t, h), weights.reshape(b, n, t, -1)


class GroupedQueryAttention(torch.nn.Module):
    """Causal attention of n query heads and g key/value heads, with a cache or without.

    x (b, t, d) → output (b, t, d), weights (b, n, t, s)

    >>> layer = GroupedQueryAttention(d_model=12, n_heads=6, n_kv_heads=2)
    >>> layer.k_proj.weight.shape, layer(torch.zeros(1, 5, 12))[1].shape
    (torch.Size([4, 12]), torch.Size([1, 6, 5, 5]))
    """

    def __init__(self, d_model, n_heads, n_kv_heads):
        super().__init__()
        self.n_heads, self.n_kv_heads = n_heads, n_kv_heads
        h = d_model // n_heads
        self.q_proj = torch.nn.Linear(d_model, n_heads * h, bias=False)
        self.k_proj = torch.nn.Linear(d_model, n_kv_heads * h, bias=False)
        self.v_proj = torch.nn.Linear(d_model, n_kv_heads * h, bias=False)
        self.o_proj = torch.nn.Linear(n_heads * h, d_model, bias=False)

    def forward(self, x, cache=None):
        q = library.split_heads(self.q_proj(x), self.n_heads)
        k = library.split_heads(self.k_proj(x), self.n_kv_heads)
        v = library.split_heads(self.v_proj(x), self.n_kv_heads)
        if cache:
            k, v = cache.append(k, v)
        output, weights = library.causal_attention(q, k, v)
        return self.o_proj(library.merge_heads(output)), weights


def mean_pool_kv(weight, n_heads, n_kv_heads):
    """The mean of each group's heads: k_proj's or v_proj's weight (n·h, d) → (g·h, d).

    >>> mean_pool_kv(torch.tensor([[0.0], [2.0], [4.0], [8.0]]), 4, 2).tolist()
    [[1.0], [6.0]]
    """
    if n_heads % n_kv_heads:
        raise ValueError(f"{n_heads} heads cannot be pooled evenly to {n_kv_heads}")
    r = n_heads // n_kv_heads
    groups = weight.unflatten(0, (n_kv_heads, r, -1))  # (g, r, h, d)
    return groups.mean(dim=1).flatten(0, 1)


def byte_range(header_bytes, tensor_name):
    """The first and the last byte of a tensor in its file, both included.

    >>> header = b'{"w": {"data_offsets": [10, 16]}}'
    >>> byte_range(len(header).to_bytes(8, "little") + header, "w")  # 8 + 33 + 10 is the first
    (51, 56)
    """
    n = int.from_bytes(header_bytes[:8], "little")
    header = json.loads(header_bytes[8 : 8 + n])
    begin, end = header[tensor_name]["data_offsets"]
    return 8 + n + begin, 8 + n + end - 1


def kv_heads(config):
    """g, how many K/V heads a layer caches, as a config.json (a dict) has it.

    >>> kv_heads({"num_attention_heads": 32, "num_key_value_heads": 8})
    8
    """
    n = config.get("num_attention_heads") or config.get("n_head")
    if config.get("kv_lora_rank"):
        raise ValueError("a latent is cached, not K/V heads")
    if config.get("new_decoder_architecture"):
        return config["num_kv_heads"]
    if config.get("multi_query") is not None:
        return 1 if config["multi_query"] else n
    if config.get("num_key_value_heads"):
        return config["num_key_value_heads"]
    if config.get("model_type") in UNSHARED:
        return n
    raise ValueError("what this family's code does without the field is unknown")


def step_time(n_bytes, n_flop, bandwidth, peak):
    """The ms that a step takes at least: the longer of reading and computing.

    bandwidth in GB/s, peak in Tflop/s

    >>> step_time(n_bytes=64 * 10**9, n_flop=26 * 10**12, bandwidth=320, peak=65)
    400.0
    """
    reading = n_bytes / (bandwidth * 10**6)  # 10**9 bytes a second are 10**6 a ms
    computing = n_flop / (peak * 10**9)
    return max(reading, computing)


def tokens_per_second(model, n_weights, batch, n_tokens, bandwidth, peak, bytes_per_element=2):
    """Tokens a second in all, at most, of batch users with n_tokens each in the cache.

    >>> from course_utils.geometry import model
    >>> round(tokens_per_second(model("Llama-3 8B"), 8.03e9, 32, 8192, 3350, 989))
    2126
    """
    weights = step_time(bytes_per_element * n_weights, 2 * batch * n_weights, bandwidth, peak)
    n_bytes = model.kv_bytes(n_tokens, batch, bytes_per_element)
    n_flop = 4 * batch * model.n_layers * model.n_heads * model.head_dim * n_tokens
    attention = step_time(n_bytes, n_flop, bandwidth, peak)
    return 1000 * batch / (weights + attention)


def latent_kv(x, w_down, gain, w_up, n_heads, head_dim, rope, start):
    """What is cached of each token, one row, and all heads' keys and values made from it.

    x (b, t, d), the first token at position start → cached (b, t, kv_rank + rope_dim), keys
    (b, n, t, head_dim + rope_dim), values (b, n, t, value_dim); rope(x, start) turns x by position

    >>> x, w_down, w_up = torch.ones(1, 5, 12), torch.ones(6 + 4, 12), torch.ones(2 * (3 + 3), 6)
    >>> made = latent_kv(x, w_down, torch.ones(6), w_up, 2, 3, lambda x, start: x, start=0)
    >>> [tuple(x.shape) for x in made]
    [(1, 5, 10), (1, 2, 5, 7), (1, 2, 5, 3)]
    """
    kv_rank = len(gain)
    down = x @ w_down.mT
    latent = torch.nn.functional.rms_norm(down[..., :kv_rank], (kv_rank,), gain, eps=1e-6)
    rope_key = rope(down[:, None, :, kv_rank:], start)  # (b, 1, t, rope_dim): one for all heads
    cached = torch.cat([latent, rope_key[:, 0]], dim=-1)
    heads = library.split_heads(latent @ w_up.mT, n_heads)  # (b, n, t, head_dim + value_dim)
    keys = torch.cat([heads[..., :head_dim], rope_key.expand(-1, n_heads, -1, -1)], dim=-1)
    return cached, keys, heads[..., head_dim:]


def absorbed_scores(q, cached, w_up, rope):
    """Scores of the last t of s tokens, got in the latent space: no head has keys of its own.

    q (b, n, t, head_dim + rope_dim), not yet turned, cached (b, s, kv_rank + rope_dim) → scores
    (b, n, t, s), -inf for what comes later; rope(x, start) turns x by position

    >>> q, cached, w_up = torch.ones(1, 2, 3, 7), torch.ones(1, 5, 10), torch.ones(2 * (3 + 3), 6)
    >>> absorbed_scores(q, cached, w_up, lambda x, start: x)[0, 0] * 7**0.5
    tensor([[22., 22., 22., -inf, -inf],
            [22., 22., 22., 22., -inf],
            [22., 22., 22., 22., 22.]])
    """
    (b, n, t, width), s, kv_rank = q.shape, cached.shape[1], w_up.shape[1]
    head_dim = width - (cached.shape[2] - kv_rank)
    w_uk = w_up.unflatten(0, (n, -1))[:, :head_dim]  # (n, head_dim, kv_rank): the keys' rows
    absorbed = torch.einsum("bnth,nhc->bntc", q[..., :head_dim], w_uk)
    turned = rope(q[..., head_dim:], s - t)
    rows = torch.cat([absorbed, turned], dim=-1).flatten(1, 2)  # n heads of t queries: n · t
    scores = (rows @ cached.mT / width**0.5).view(b, n, t, s)
    return scores.masked_fill(~library.causal_mask(t, s), float("-inf"))


def cache_bytes(layers, n_tokens):
    """Bytes of a cache whose layers keep different things, of 2 bytes a number.

    layers: tuples (kind, n_layers, numbers, window). "full" layers keep so many numbers of every
    token, "window" layers of the last `window` tokens, "state" layers once; "shared" ones read what
    another layer keeps.

    >>> cache_bytes([("full", 10, 4096, None), ("window", 52, 4096, 1024)], n_tokens=131_072)
    11173625856
    """
    total = 0
    for kind, n_layers, numbers, window in layers:
        if kind == "full":
            total += n_layers * numbers * n_tokens
        elif kind == "window":
            total += n_layers * numbers * min(n_tokens, window)
        elif kind == "state":
            total += n_layers * numbers
    return 2 * total


def layers_of(config):
    """What the layers of a model keep, for `cache_bytes`, as a config.json (a dict) has it.

    >>> types = ["sliding_attention", "full_attention"]
    >>> sizes = {"num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64}
    >>> layers_of(sizes | {"layer_types": types, "sliding_window": 128})
    [('window', 1, 1024, 128), ('full', 1, 1024, None)]
    """
    if latent := config.get("kv_lora_rank"):
        numbers = latent + config["qk_rope_head_dim"] + config.get("index_head_dim", 0)
        return [("full", config["num_hidden_layers"], numbers, None)]
    n, g, h = (config[x] for x in ("num_attention_heads", "num_key_value_heads", "head_dim"))
    g_full = config["num_global_key_value_heads"] if config.get("attention_k_eq_v") else g
    full = ("full", 1, 2 * g_full * config.get("global_head_dim", h), None)
    rows = {
        "sliding_attention": ("window", 1, 2 * g * h, config.get("sliding_window")),
        "full_attention": full,
        0: ("state", 1, n * h * h, None),
        1: full,
    }
    kinds = config.get("layer_types") or config["attn_type_list"]
    shared = config.get("num_kv_shared_layers", 0)
    return [rows[kind] for kind in kinds[: len(kinds) - shared]]


def quantize(x, bits):
    """x in whole numbers of so many bits, and a scale for each row: (…, h) → int8 (…, h), (…, 1).

    >>> integers, scales = quantize(torch.tensor([[0.25, -0.875, 0.4]]), bits=4)
    >>> integers, scales
    (tensor([[ 2, -7,  3]], dtype=torch.int8), tensor([[0.1250]]))
    """
    most = 2 ** (bits - 1) - 1
    largest = x.abs().amax(dim=-1, keepdim=True)
    scales = torch.where(largest == 0, 1, largest / most)  # a row of zeros divides by no zero
    steps = (x / scales).round().clamp(-most, most)  # in half precision scales are rounded, too
    return steps.to(torch.int8), scales
