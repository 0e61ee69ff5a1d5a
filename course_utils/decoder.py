"""A decoder like Llama's: what real checkpoints hold, layer by layer, with the names they use.

l layers, b batch, n query heads, g key/value heads, h head_dim, d d_model, t new tokens, s all of
them. A config is the dict in a model's config.json; Llama's, Qwen2's and Qwen3's can be read.
"""

from functools import partial

import torch
from torch import nn
from torch.nn.functional import linear, silu

from course_utils.attention import GroupedQueryAttention
from course_utils.geometry import count, from_config
from course_utils.kv_cache import KVCache
from course_utils.rope import frequencies, rotate

KNOWN = {  # in a config; what else there may be changes nothing here
    "model_type": ("llama", "qwen2", "qwen3"),
    "hidden_act": ("silu", "swish", None),
    "is_causal": (True,),  # transformers takes null for false
    "mlp_bias": (False, None),
    "per_layer_config": (None,),
    "quantization_config": (None,),
    "text_config": (None,),
}
SIZES = "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads"


class Attention(GroupedQueryAttention):
    """`GroupedQueryAttention` with what Qwen adds: biases, or a norm of each query and key."""

    def __init__(self, config):
        m, model_type = from_config(config), config["model_type"]
        bias = config.get("attention_bias", False) or model_type == "qwen2"
        super().__init__(m.d_model, m.n_heads, m.n_kv_heads, m.head_dim, bias)
        if model_type == "qwen2":
            self.o_proj = nn.Linear(m.n_heads * m.head_dim, m.d_model, bias=False)
        norm = partial(nn.RMSNorm, m.head_dim, config["rms_norm_eps"])
        self.q_norm, self.k_norm = (norm(), norm()) if model_type == "qwen3" else (None, None)

    def queries(self, x):
        q = super().queries(x)
        return self.q_norm(q) if self.q_norm else q

    def keys(self, x):
        k = super().keys(x)
        return self.k_norm(k) if self.k_norm else k


class MLP(nn.Module):
    """SwiGLU: one projection opens and closes what the other lets through."""

    def __init__(self, config):
        super().__init__()
        d, d_ff = config["hidden_size"], config["intermediate_size"]
        self.gate_proj = nn.Linear(d, d_ff, bias=False)
        self.up_proj = nn.Linear(d, d_ff, bias=False)
        self.down_proj = nn.Linear(d_ff, d, bias=False)

    def forward(self, x):
        return self.down_proj(silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """Attention, then the MLP, each on a normalised x and added to it.

    forward: x (b, t, d), a `KVCache` or None, a rotation → x (b, t, d), weights (b, n, t, s).
    """

    def __init__(self, config):
        super().__init__()
        norm = partial(nn.RMSNorm, config["hidden_size"], config["rms_norm_eps"])
        self.input_layernorm, self.post_attention_layernorm = norm(), norm()
        self.self_attn, self.mlp = Attention(config), MLP(config)

    def forward(self, x, cache, rope):
        output, weights = self.self_attn(self.input_layernorm(x), cache, rope)
        x = x + output
        return x + self.mlp(self.post_attention_layernorm(x)), weights


class Decoder(nn.Module):
    """Token ids in, a score for every next token out.

    forward: ids (b, t), a list of l caches or None → logits (b, t, vocab), l weights (b, n, t, s).

    Raises ValueError if config has a setting that this code does not know.
    Source: Touvron et al. 2023, arXiv 2302.13971; transformers' LlamaForCausalLM is its test.

    >>> sizes = {"hidden_size": 12, "intermediate_size": 16, "num_hidden_layers": 2}
    >>> sizes |= {"num_attention_heads": 6, "num_key_value_heads": 2, "vocab_size": 9}
    >>> model = Decoder({"model_type": "llama", "rms_norm_eps": 1e-5} | sizes)
    >>> logits, weights = model(torch.tensor([[1, 2, 3, 4, 5]]))
    >>> logits.shape, weights[1].shape
    (torch.Size([1, 5, 9]), torch.Size([1, 6, 5, 5]))
    """

    def __init__(self, config):
        super().__init__()
        check_config(config)
        self.config, self.rope = config, rotation(config)
        self.embed_tokens = nn.Embedding(config["vocab_size"], config["hidden_size"])
        self.layers = nn.ModuleList(Layer(config) for _ in range(config["num_hidden_layers"]))
        self.norm = nn.RMSNorm(config["hidden_size"], config["rms_norm_eps"])
        if not config.get("tie_word_embeddings", False):
            self.lm_head = nn.Linear(config["hidden_size"], config["vocab_size"], bias=False)

    def forward(self, ids, caches=None):
        x, weights = self.embed_tokens(ids), []
        caches = [None] * len(self.layers) if caches is None else caches
        for layer, cache in zip(self.layers, caches, strict=True):
            x, of_layer = layer(x, cache, self.rope)
            weights.append(of_layer)
        head = getattr(self, "lm_head", self.embed_tokens)  # tied: words in and out are one matrix
        return linear(self.norm(x), head.weight), weights

    def caches(self, max_tokens, batch=1):
        """An empty cache for every layer."""
        m, like = from_config(self.config), self.norm.weight
        sizes = batch, m.n_kv_heads, max_tokens, m.head_dim
        return [KVCache(*sizes, like.dtype, like.device) for _ in self.layers]


@torch.no_grad()
def greedy(model, ids, n_new):
    """The ids (b, t) and n_new more, each the likeliest, even past the end → (b, t + n_new)."""
    caches = model.caches(ids.shape[1] + n_new, batch=len(ids))
    new = ids
    for _ in range(n_new):
        logits, _ = model(new, caches)
        new = logits[:, -1:].argmax(dim=-1)
        ids = torch.cat([ids, new], dim=1)
    return ids


def check_config(config):
    """Raise ValueError unless this code computes what a model with this config does."""
    for name, known in KNOWN.items():
        value = config.get(name, True if name == "is_causal" else None)
        if value not in known:
            values = ", ".join(repr(x) for x in known if x is not None) or "none"
            raise ValueError(f"{name} is {value!r}; known here is {values}")
    sizes = SIZES.split() + ["head_dim"] * (config["model_type"] == "qwen3")  # of others d // n
    for name in [*sizes, "rms_norm_eps"]:
        if config.get(name) is None:
            raise ValueError(f"config.json has no {name}; it cannot be computed without")
    for name in sizes:
        count(config, name)
    if type(eps := config["rms_norm_eps"]) not in (int, float):
        raise ValueError(f"config.json has rms_norm_eps {eps!r}; it must be a number")
    if windowed := windows(config):
        raise ValueError(
            f"of layers {', '.join(map(str, windowed))} a token sees the last ones, not all (see "
            "layer_types and sliding_window in config.json); known here are layers that see all"
        )
    rotation(config)


def windows(config):
    """The layers that see only a window or a part of all tokens, as transformers reads a config."""
    n_layers, types = config["num_hidden_layers"], config.get("layer_types")
    if types:
        return [i for i, kind in enumerate(types) if kind != "full_attention"]
    if config["model_type"] == "llama":  # its masks show all tokens, but its cache forgets them
        window = config.get("sliding_window") or config.get("attention_chunk_size")
        return [*range(n_layers)] if window else []
    if not config.get("use_sliding_window") or not config.get("sliding_window", 4096):
        return []
    first = config.get("max_window_layers")
    return [*range(28 if first is None else first, n_layers)]


def rotation(config):
    """The rotation `rope(x, start)` of a model: x (b, heads, t, h), the first at position start."""
    m = from_config(config)
    scaling = dict(config.get("rope_scaling") or config.get("rope_parameters") or {})
    if kinds := [name for name, value in scaling.items() if isinstance(value, dict)]:
        raise ValueError(
            f"RoPE differs between layers ({', '.join(kinds)}); known here is one RoPE"
        )
    if context := config.get("original_max_position_embeddings"):  # it wins, as in transformers
        scaling["original_max_position_embeddings"] = context
    return partial(rotate, inv_freq=frequencies(m.head_dim, m.rope_theta or 10_000.0, scaling))
