"""The geometry of a model's attention, the bytes its cache takes, and a table of real models.

l layers, b batch, n query heads, g key/value heads, r = n // g, h head_dim, d d_model, s tokens.
Bytes are bytes: 10**9 of them are a GB, 2**30 a GiB.
"""

import csv
import functools
import math
from dataclasses import dataclass

from course_utils import data_path, did_you_mean
from course_utils.attention import group_size


def kv_cache_bytes(n_layers, batch, n_kv_heads, head_dim, n_tokens, bytes_per_element=2):
    """Bytes of a cache of keys and values, 2 · l · b · g · h · s · bytes_per_element, rounded up.

    bytes_per_element is 4 for float32, 2 for float16 and bfloat16, 1 for 8 bits, 0.5 for 4 bits.

    Raises ValueError if a factor is zero or negative; only n_tokens may be 0, an empty cache.
    Source: DeepSeek-V2, arXiv 2405.04434, Table 1 (elements per token).

    >>> kv_cache_bytes(n_layers=32, batch=1, n_kv_heads=8, head_dim=128, n_tokens=8192) / 2**30
    1.0
    """
    sizes = {"n_layers": n_layers, "batch": batch, "n_kv_heads": n_kv_heads, "head_dim": head_dim}
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name} ({value}) must be at least 1")
    if n_tokens < 0:
        raise ValueError(f"n_tokens ({n_tokens}) must not be negative; an empty cache has 0")
    if bytes_per_element <= 0:
        raise ValueError(
            f"bytes_per_element ({bytes_per_element}) must be more than 0; "
            "try 2 for bfloat16, 1 for 8 bits or 0.5 for 4 bits"
        )
    return math.ceil(2 * math.prod(sizes.values()) * n_tokens * bytes_per_element)


@dataclass(frozen=True)
class Geometry:
    """The sizes of a model that its attention and its cache depend on.

    head_dim is h, in some models not d // n; latent_dim is what an MLA model caches per token and
    layer, in elements: a latent and one RoPE key. windows says which layers see less than all
    tokens. rope_theta is "learned" for learned positions. confirmed counts independent sources,
    unsure says what none of them has.

    Raises ValueError if n is not divisible by g.

    >>> llama = Geometry("Llama-3 8B", 32, 32, 8, 128, d_model=4096, max_context=8192)
    >>> llama.kind, llama.group_size, llama.kv_bytes(n_tokens=1)
    ('GQA', 4, 131072)
    """

    name: str
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    d_model: int
    max_context: int
    latent_dim: int | None = None
    windows: str = ""
    rope_theta: float | str | None = None
    vocab: int | None = None
    released: str = ""
    gated: str = ""
    mirror: str = ""
    source: str = ""
    confirmed: int = 0
    unsure: str = ""

    def __post_init__(self):
        group_size(self.n_heads, self.n_kv_heads)

    @property
    def kind(self):
        """MHA (g = n), GQA, MQA (g = 1), or MLA, which caches a latent instead of heads."""
        if self.latent_dim:
            return "MLA"
        if self.n_kv_heads == self.n_heads:
            return "MHA"
        return "MQA" if self.n_kv_heads == 1 else "GQA"

    @property
    def group_size(self):
        """r = n // g, the query heads that share one K/V head."""
        return self.n_heads // self.n_kv_heads

    @property
    def is_upper_bound(self):
        """True if some layers need fewer bytes than `kv_bytes` says: they see only a window."""
        return bool(self.windows)

    def kv_bytes(self, n_tokens, batch=1, bytes_per_element=2):
        """Bytes of this model's cache; an upper bound if it has windows.

        Raises ValueError as `kv_cache_bytes` does.
        Source for MLA: DeepSeek-V2, arXiv 2405.04434, Table 1: d_c + d_h^R = 512 + 64 elements.

        >>> model("DeepSeek-V3 (671B)").kv_bytes(n_tokens=1)  # 576 elements · 61 layers · 2 bytes
        70272
        """
        g, h = self.n_kv_heads, self.head_dim
        if self.latent_dim:  # K and V are both made of one latent: half of the factor 2
            g, h, bytes_per_element = 1, self.latent_dim, bytes_per_element / 2
        return kv_cache_bytes(self.n_layers, batch, g, h, n_tokens, bytes_per_element)


# Families whose code takes g = n where config.json has no num_key_value_heads, or null. Others take
# a number of their own (Mistral's code 8), or have another field (ChatGLM2 multi_query_group_num).
UNSHARED = "bloom", "gpt2", "gpt_neox", "gptj", "llama", "opt", "phi"


def kv_heads(config):
    """g, how many K/V heads a layer caches, as a config.json (a dict) has it.

    If there is a text_config, as in a model that sees pictures, it counts in there.

    Raises ValueError if a latent is cached, if a number is missing or not one for all layers, or if
    it is not known here what the code of this family does without one.

    >>> kv_heads({"num_attention_heads": 71, "num_kv_heads": 71, "multi_query": True})  # Falcon-7B
    1
    """
    config = config.get("text_config") or config
    if config.get("kv_lora_rank"):
        raise ValueError(
            "no K/V heads are cached, but one latent a token and layer, of which all heads are made"
        )
    n = count(config, "num_attention_heads", "n_head")
    if config.get("new_decoder_architecture"):  # Falcon-180B says multi_query as well
        return count(config, "num_kv_heads", "n_head_kv", default=n)
    if config.get("multi_query") is not None:  # Falcon-7B, whatever its num_kv_heads; StarCoder
        return 1 if config["multi_query"] else n
    names, family = ("num_key_value_heads", "n_head_kv"), config.get("model_type")
    if family not in UNSHARED and not any(config.get(name) for name in names):
        raise ValueError(
            f"config.json has no num_key_value_heads; what model_type {family!r} has without it "
            "is not known here: its code tells, and so do the rows of v_proj, which are g · h"
        )
    if field := other_g(config):
        raise ValueError(f"config.json has {field} as well: some layers have another g")
    return count(config, *names, default=n)


def other_g(config):
    """The field that says another number of K/V heads for some of the layers, or None."""
    if "num_key_value_heads" in str(config.get("per_layer_config")):
        return "per_layer_config"
    others = (x for x in config if x.endswith("key_value_heads") and x != "num_key_value_heads")
    return next(
        (x for x in others if config[x] not in (None, config.get("num_key_value_heads"))), None
    )


def from_config(config, name=""):
    """The Geometry in a config.json (a dict), or in its text_config.

    max_context is 2048 where it is not given, head_dim d // n; in an MLA model head_dim is that of
    V, and n_kv_heads what the file says, though none are cached.

    Raises ValueError if a number is missing or not the same for all layers.

    >>> config = {"num_hidden_layers": 12, "hidden_size": 768, "num_attention_heads": 12}
    >>> from_config(config | {"num_key_value_heads": 4}, "mine").kv_bytes(n_tokens=1)
    12288
    """
    config = config.get("text_config") or config
    n, d = count(config, "num_attention_heads", "n_head"), count(config, "hidden_size", "n_embd")
    latent = latent_dim(config) if config.get("kv_lora_rank") else None
    width = "v_head_dim" if latent else "head_dim"
    context = ("max_position_embeddings", "n_positions", "n_ctx", "seq_length")
    rope = rope_settings(config)
    window = config.get("use_sliding_window", True) and config.get("sliding_window")
    return Geometry(
        name,
        n_layers=count(config, "num_hidden_layers", "n_layer"),
        n_heads=n,
        n_kv_heads=count(config, "num_key_value_heads", default=n) if latent else kv_heads(config),
        head_dim=count(config, width, default=d // n),
        d_model=d,
        max_context=count(config, *context, default=2048),
        latent_dim=latent,
        windows=f"sliding window of {window} tokens in some or all layers" if window else "",
        rope_theta=rope.get("full_attention", rope).get("rope_theta", config.get("rope_theta")),
        vocab=config.get("vocab_size"),
    )


def rope_settings(config):
    """What a config says of RoPE: old files have rope_scaling, which wins, new ones the other."""
    return config.get("rope_scaling") or config.get("rope_parameters") or {}


def latent_dim(config):
    """The numbers an MLA model caches per token and layer: a latent, and one RoPE key."""
    return count(config, "kv_lora_rank") + count(config, "qk_rope_head_dim")


def count(config, *names, default=None):
    """The first of these fields that is there and not null; ValueError if it is not one number."""
    for name in names:
        value = config.get(name)
        if value is not None:
            if type(value) is not int or value < 1:
                raise ValueError(
                    f"config.json has {name} {value!r}; it must be one number, at least 1, that "
                    "holds for every layer"
                )
            return value
    if default is None:
        raise ValueError(
            f"config.json has no {' or '.join(names)}; it does not tell what this model caches"
        )
    return default


@functools.cache
def models():
    """All rows of data/models.csv, in its order.

    >>> [m.name for m in models() if m.kind == "MLA"]
    ['DeepSeek-V2-Lite (16B)', 'DeepSeek-V2 (236B)', 'DeepSeek-V3 (671B)']
    """
    with data_path("models.csv").open(encoding="utf-8", newline="") as file:
        rows = [
            {key: int(x) if x.isdigit() else x for key, x in row.items() if x}
            for row in csv.DictReader(file)
        ]
    return tuple(Geometry(**row) for row in rows)


def model(name):
    """The row of the table with this name, upper or lower case.

    Raises KeyError with the nearest names if there is none.

    >>> model("llama-3 8b").n_kv_heads
    8
    """
    table = {m.name.casefold(): m for m in models()}
    if (key := name.strip().casefold()) in table:
        return table[key]
    names = [m.name for m in models()]
    hint = did_you_mean(name, names, "[m.name for m in models()] lists them all")
    raise KeyError(f"no model named {name!r}; {hint}")
