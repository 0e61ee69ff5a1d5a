"""A decoder like Llama's: what real checkpoints hold, layer by layer, with the names they use.

l layers, b batch, n query heads, g key/value heads, h head_dim, d d_model, t new tokens, s all of
them. A config is the dict in a model's config.json; `families` says which can be read, and what
each does otherwise than Llama.
"""

from functools import partial

import torch
from torch import nn
from torch.nn.functional import linear, rms_norm

from course_utils.attention import GroupedQueryAttention, split_heads
from course_utils.families import architecture
from course_utils.kv_cache import KVCache
from course_utils.rope import rotate


class Norm(nn.RMSNorm):
    """RMSNorm: numbers are brought to one size, then each is multiplied by a learned one."""

    def __init__(self, width, a):
        super().__init__(width, a.eps)
        self.base = a.norm_base  # Gemma learns how much more than 1

    def forward(self, x):
        return rms_norm(x, self.normalized_shape, self.base + self.weight, self.eps)


class Attention(GroupedQueryAttention):
    """`GroupedQueryAttention` with what some families add: biases, norms of queries and keys."""

    def __init__(self, a):
        n, g, h = a.n_heads, a.n_kv_heads, a.head_dim
        super().__init__(a.d_model, n, g, h, a.bias)
        if a.o_bias != a.bias:
            self.o_proj = nn.Linear(n * h, a.d_model, a.o_bias)
        self.q_norm = self.k_norm = None
        if a.qk_norm:
            widths = (n * h, g * h) if a.qk_norm == "all heads" else (h, h)
            self.q_norm, self.k_norm = (Norm(width, a) for width in widths)
        self.factor = a.query_factor

    def queries(self, x):
        return self.factor * normed_heads(self.q_proj(x), self.n_heads, self.q_norm)

    def keys(self, x):
        return normed_heads(self.k_proj(x), self.n_kv_heads, self.k_norm)


def normed_heads(x, n_heads, norm):
    """`split_heads`, and a norm: of each head, or as wide as x is and before they are split."""
    if norm is None:
        return split_heads(x, n_heads)
    if norm.normalized_shape == x.shape[-1:]:
        return split_heads(norm(x), n_heads)
    return norm(split_heads(x, n_heads))


class MLP(nn.Module):
    """SwiGLU: one projection opens and closes what the other lets through."""

    def __init__(self, a):
        super().__init__()
        self.gate_proj = nn.Linear(a.d_model, a.d_ff, bias=False)
        self.up_proj = nn.Linear(a.d_model, a.d_ff, bias=False)
        self.down_proj = nn.Linear(a.d_ff, a.d_model, bias=False)
        self.activation = a.activation

    def forward(self, x):
        return self.down_proj(self.activation(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """Attention, then the MLP, each on a normalised x and added to it.

    forward: x (b, t, d), a `KVCache` or None, a rotation → x (b, t, d), weights (b, n, t, s).
    """

    def __init__(self, a):
        super().__init__()
        for name in filter(None, a.norms):
            self.add_module(name, Norm(a.d_model, a))
        self.self_attn, self.mlp = Attention(a), MLP(a)
        self.names, self.factor = a.norms, a.residual_factor

    def norms(self):
        """Before and after attention, before and after the MLP: a `Norm`, or nothing done."""
        return [getattr(self, name) if name else nn.Identity() for name in self.names]

    def forward(self, x, cache, rope):
        before, after, before_mlp, after_mlp = self.norms()  # Llama has the two before
        output, weights = self.self_attn(before(x), cache, rope)
        x = x + self.factor * after(output)
        return x + self.factor * after_mlp(self.mlp(before_mlp(x))), weights


class Decoder(nn.Module):
    """Token ids in, a score for every next token out.

    forward: ids (b, t), a list of l caches or None → logits (b, t, vocab), l weights (b, n, t, s).

    Raises ValueError if config has a setting that `families` does not know, or a text is longer
    than a window.
    Source: Touvron et al. 2023, arXiv 2302.13971; transformers' models are its test.

    >>> sizes = {"hidden_size": 12, "intermediate_size": 16, "num_hidden_layers": 2}
    >>> sizes |= {"num_attention_heads": 6, "num_key_value_heads": 2, "vocab_size": 9}
    >>> model = Decoder({"model_type": "llama", "rms_norm_eps": 1e-5} | sizes)
    >>> logits, weights = model(torch.tensor([[1, 2, 3, 4, 5]]))
    >>> logits.shape, weights[1].shape
    (torch.Size([1, 5, 9]), torch.Size([1, 6, 5, 5]))
    """

    def __init__(self, config):
        super().__init__()
        self.config, self.architecture = config, architecture(config)
        a = self.architecture
        self.embed_tokens = nn.Embedding(a.vocab, a.d_model)
        self.layers = nn.ModuleList(Layer(a) for _ in range(a.n_layers))
        self.norm = Norm(a.d_model, a)
        if not a.tied:
            self.lm_head = nn.Linear(a.d_model, a.vocab, bias=False)
        self.ropes = [partial(rotate, inv_freq=inv_freq) for inv_freq in a.inv_freq]

    def forward(self, ids, caches=None):
        a, weights = self.architecture, []
        past = caches[0].n_tokens if caches and caches[0] else 0
        a.check_length(past + ids.shape[1])
        x = a.embed_factor * self.embed_tokens(ids)
        caches = [None] * len(self.layers) if caches is None else caches
        for layer, cache, rope in zip(self.layers, caches, self.ropes, strict=True):
            x, of_layer = layer(x, cache, rope)
            weights.append(of_layer)
        head = getattr(self, "lm_head", self.embed_tokens)  # tied: words in and out are one matrix
        return a.logits_factor * linear(self.norm(x), head.weight), weights

    def caches(self, max_tokens, batch=1):
        """An empty cache for every layer."""
        a, like = self.architecture, self.norm.weight
        sizes = batch, a.n_kv_heads, max_tokens, a.head_dim
        return [KVCache(*sizes, like.dtype, like.device) for _ in self.layers]


@torch.no_grad()
def greedy(model, ids, n_new):
    """The ids (b, t) and n_new more, each the likeliest, even past the end → (b, t + n_new)."""
    model.architecture.check_length(ids.shape[1] + n_new - 1)  # the last new one is not read
    caches = model.caches(ids.shape[1] + n_new, batch=len(ids))
    new = ids
    for _ in range(n_new):
        logits, _ = model(new, caches)
        new = logits[:, -1:].argmax(dim=-1)
        ids = torch.cat([ids, new], dim=1)
    return ids


def rotation(config, layer=0):
    """A layer's rotation `rope(x, start)`: x (b, heads, t, h), the first at position start."""
    return partial(rotate, inv_freq=architecture(config).inv_freq[layer])
