"""What a config.json means: the sizes of a decoder, and what its family does otherwise than Llama.

Each family writes this in words of its own, and its code takes for granted what the file leaves
out. Here all come into one form, an `Architecture`, of which `decoder` makes the model; what each
family means is read from its code in transformers. h is head_dim.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch.nn.functional import gelu, silu

from course_utils.configs import count, rope_settings
from course_utils.geometry import from_config
from course_utils.rope import frequencies

KNOWN = {  # in a config; what else there may be changes nothing here
    "attention_chunk_size": (None,),
    "attn_logit_softcapping": (None,),
    "final_logit_softcapping": (None,),
    "is_causal": (True,),  # transformers takes null for false
    "mlp_bias": (False, None),
    "partial_rotary_factor": (1, None),
    "per_layer_config": (None,),
    "quantization_config": (None,),
    "text_config": (None,),
    "use_bidirectional_attention": (False, None),
}
SIZES = "vocab_size hidden_size intermediate_size num_hidden_layers num_attention_heads".split()
TANH = partial(gelu, approximate="tanh")
ACTIVATIONS = {None: silu, "silu": silu, "swish": silu, "gelu_pytorch_tanh": TANH}


@dataclass(frozen=True)
class Architecture:
    """The sizes of a decoder, and how it differs from Llama's, in one form for all families."""

    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    d_model: int
    d_ff: int
    vocab: int
    eps: float
    inv_freq: list  # of each layer, (h / 2,); zeros turn nothing
    window: int | None = None  # the longest text of which every token sees all
    tied: bool = False  # words in and out are one matrix
    bias: bool = False  # of q_proj, k_proj, v_proj
    o_bias: bool = False
    qk_norm: str = ""  # "a head", or "all heads" together
    # before and after attention, before and after the MLP; "" if there is none
    norms: tuple = "input_layernorm", "", "post_attention_layernorm", ""
    norm_base: float = 0  # what a file's norms are to be added to
    activation: Callable = silu
    embed_factor: float = 1
    query_factor: float = 1  # besides 1 / √h
    residual_factor: float = 1
    logits_factor: float = 1

    def check_length(self, n_tokens):
        """Raise ValueError if a token of so long a text does not see all that come before it."""
        if self.window and n_tokens > self.window:
            raise ValueError(
                f"{n_tokens} tokens are too many: of some layers a token may see only the last "
                f"{self.window}; known here are texts of {self.window} tokens or less"
            )


def gemma(c):
    both = {None: TANH, "gelu": TANH}  # an old file that says gelu means this one
    return {
        "tied": c.get("tie_word_embeddings", True),
        "norm_base": 1,
        "activation": known(c, "hidden_act", ACTIVATIONS | both),
        "embed_factor": c["hidden_size"] ** 0.5,
    }


def gemma3(c):
    """Every sixth layer turns slowly and sees all; the others turn fast and see a window."""
    every = count(c, "sliding_window_pattern", default=6)
    kinds = of_layers(
        c, "layer_types", lambda i: "full_attention" if i % every == 0 else "sliding_attention"
    )
    limit = window(c | {"layer_types": kinds}, absent=4096)
    rope = c.get("rope_parameters") or {}
    slow = {"rope_theta": c.get("rope_theta", 1e6)} | (rope.get("full_attention") or {})
    fast = {"rope_theta": c.get("rope_local_base_freq", 1e4)}
    turned = {
        "full_attention": turning(c, slow | (c.get("rope_scaling") or {})),
        "sliding_attention": turning(c, fast | (rope.get("sliding_attention") or {})),
    }
    return gemma(c) | {
        "activation": known(c, "hidden_activation", ACTIVATIONS | {None: TANH}),
        "inv_freq": [turned[kind] for kind in kinds],
        "window": limit,
        "qk_norm": "a head",
        "norms": (
            "input_layernorm",
            "post_attention_layernorm",
            "pre_feedforward_layernorm",
            "post_feedforward_layernorm",
        ),
        "query_factor": (from_config(c).head_dim / number(c, "query_pre_attn_scalar", 256)) ** 0.5,
    }


def granite(c):
    return {
        "embed_factor": number(c, "embedding_multiplier", 1),
        "query_factor": number(c, "attention_multiplier", 1) * from_config(c).head_dim ** 0.5,
        "residual_factor": number(c, "residual_multiplier", 1),
        "logits_factor": 1 / number(c, "logits_scaling", 1),
    }


def smollm3(c):
    """Every fourth layer has no RoPE."""
    every = count(c, "no_rope_layer_interval", default=4)
    turned = of_layers(c, "no_rope_layers", lambda i: i % every)  # 0: without
    one = turning(c, rope(c), theta=2e6)
    return {
        "tied": c.get("tie_word_embeddings", True),
        "window": window(c, on=c.get("use_sliding_window")),
        "inv_freq": [one if x else torch.zeros_like(one) for x in turned],
    }


def qwen2(c):
    on = c.get("use_sliding_window")
    return {"window": window(c, absent=4096, on=on), "bias": True, "o_bias": False}


def qwen3(c):
    on = c.get("use_sliding_window")
    return {"window": window(c, absent=4096, on=on), "qk_norm": "a head"}


def olmo2(c):
    norms = "", "post_attention_layernorm", "", "post_feedforward_layernorm"
    return {"qk_norm": "all heads", "norms": norms}


FAMILIES = {  # model_type → what a config means that is not as in Llama
    "gemma": gemma,
    "gemma3_text": gemma3,
    "granite": granite,
    "llama": lambda c: {},
    "mistral": lambda c: {"window": window(c, absent=4096), "bias": False, "o_bias": False},
    "olmo2": olmo2,
    "phi3": lambda c: {"bias": False, "o_bias": False},
    "qwen2": qwen2,
    "qwen3": qwen3,
    "smollm3": smollm3,
}


def architecture(config):
    """The `Architecture` of a config.json, a dict.

    Raises ValueError if a family, or a setting, is not known here.

    >>> sizes = {"hidden_size": 12, "intermediate_size": 16, "num_hidden_layers": 2}
    >>> sizes |= {"num_attention_heads": 6, "num_key_value_heads": 2, "vocab_size": 9}
    >>> a = architecture({"model_type": "mistral", "rms_norm_eps": 1e-5} | sizes)
    >>> a.head_dim, a.window
    (2, 4096)
    """
    family = known(config, "model_type", FAMILIES)
    for name, values in KNOWN.items():
        known(config, name, values, absent=True if name == "is_causal" else None)
    wide = ["head_dim"] * (config["model_type"] in ("gemma", "gemma3_text", "qwen3"))
    for name in [*SIZES, *wide, "rms_norm_eps"]:  # of the others, h is d // n
        if config.get(name) is None:
            raise ValueError(f"config.json has no {name}; it cannot be computed without")
    vocab, d, d_ff, n_layers, *_ = (count(config, name) for name in [*SIZES, *wide])
    differs = family(config)
    if "window" not in differs:
        differs["window"] = window(config)
    m = from_config(config)
    bias = config.get("attention_bias") or False
    found = {"bias": bias, "o_bias": bias, "tied": config.get("tie_word_embeddings") or False}
    if "inv_freq" not in differs:
        found["inv_freq"] = [turning(config, rope(config))] * n_layers
    if "activation" not in differs:
        found["activation"] = known(config, "hidden_act", ACTIVATIONS)
    sizes = n_layers, m.n_heads, m.n_kv_heads, m.head_dim, d, d_ff, vocab
    return Architecture(*sizes, number(config, "rms_norm_eps"), **found | differs)


def rope(c):
    """What a config says of RoPE, if it is one for all layers."""
    found = rope_settings(c)
    if kinds := [name for name, value in found.items() if isinstance(value, dict)]:
        raise ValueError(
            f"RoPE differs between layers ({', '.join(kinds)}); known here is one RoPE"
        )
    return {"rope_theta": c.get("rope_theta")} | found


def turning(c, rope, theta=10_000.0):
    """The `frequencies` of this RoPE; theta is for a file that says none."""
    known(rope, "partial_rotary_factor", KNOWN["partial_rotary_factor"])
    if context := c.get("original_max_position_embeddings"):  # it wins, as in transformers
        rope = rope | {"original_max_position_embeddings": context}
    theta = number({"rope_theta": rope.get("rope_theta") or theta}, "rope_theta")
    return frequencies(from_config(c).head_dim, theta, rope)


def window(c, absent=None, on=True):
    """How long a text may be of which every token of every layer sees all; None for any length.

    absent is the window of a family where the file does not say, on whether it is in use.
    """
    size = c.get("sliding_window", absent) if on else None
    for kind in {*(c.get("layer_types") or ())} - {"full_attention"}:
        if kind != "sliding_attention" or not size:
            raise ValueError(
                f"config.json has layers of {kind}; known here are layers that see all tokens, or "
                "a sliding_window of which it says the size"
            )
    return count(c, "sliding_window", default=size) if size else None


def of_layers(c, name, otherwise):
    """c[name], a list with something for each layer; if there is none, otherwise(1), …"""
    n_layers = c["num_hidden_layers"]
    found = c.get(name) or [otherwise(i) for i in range(1, n_layers + 1)]
    if len(found) < n_layers:
        raise ValueError(f"config.json has {name} of {len(found)} layers, and {n_layers} layers")
    return found[:n_layers]


def known(c, name, values, absent=None):
    """c[name], or what a table has for it; ValueError if it is none of these values."""
    value = c.get(name, absent)
    if value not in [*values]:
        listed = ", ".join(repr(x) for x in values if x is not None) or "none"
        raise ValueError(f"{name} is {value!r}; known here is {listed}")
    return values[value] if isinstance(values, dict) else value


def number(c, name, absent=None):
    """c[name], a number above 0; ValueError if it is none."""
    value = c.get(name, absent)
    if type(value) not in (int, float) or value <= 0:
        raise ValueError(f"config.json has {name} {value!r}; it must be a number above 0")
    return value
