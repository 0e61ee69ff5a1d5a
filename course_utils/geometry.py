"""The geometry of a model's attention, the bytes its cache takes, and a table of real models.

l layers, b batch, n query heads, g key/value heads, r = n // g, h head_dim, d d_model, s tokens.
Bytes are bytes: 10**9 of them are a GB, 2**30 a GiB.
"""

import csv
import functools
import math
from collections import Counter
from dataclasses import dataclass, replace

from course_utils import data_path, did_you_mean
from course_utils.attention import group_size
from course_utils.configs import UNSHARED as UNSHARED  # lesson 08 takes it from here
from course_utils.configs import one_g, sizes
from course_utils.layers import Layers, parse


def kv_cache_bytes(n_layers, batch, n_kv_heads, head_dim, n_tokens, bytes_per_element=2):
    """Bytes of a cache of keys and values, 2 · l · b · g · h · s · bytes_per_element, rounded up.

    bytes_per_element is 4 for float32, 2 for float16 and bfloat16, 1 for 8 bits, 0.5 for 4 bits.

    Raises ValueError if a factor is zero or negative; only n_tokens may be 0, an empty cache.
    Source: DeepSeek-V2, arXiv 2405.04434, Table 1 (elements per token).

    >>> kv_cache_bytes(n_layers=32, batch=1, n_kv_heads=8, head_dim=128, n_tokens=8192) / 2**30
    1.0
    """
    factors = {"n_layers": n_layers, "batch": batch, "n_kv_heads": n_kv_heads, "head_dim": head_dim}
    check(n_tokens, bytes_per_element, **factors)
    return math.ceil(2 * math.prod(factors.values()) * n_tokens * bytes_per_element)


def check(n_tokens, bytes_per_element, **factors):
    """Raise ValueError if a size makes no sense; only the tokens may be 0."""
    for name, value in factors.items():
        if value < 1:
            raise ValueError(f"{name} ({value}) must be at least 1")
    if n_tokens < 0:
        raise ValueError(f"n_tokens ({n_tokens}) must not be negative; an empty cache has 0")
    if bytes_per_element <= 0:
        raise ValueError(
            f"bytes_per_element ({bytes_per_element}) must be more than 0; "
            "try 2 for bfloat16, 1 for 8 bits or 0.5 for 4 bits"
        )


@dataclass(frozen=True)
class Geometry:
    """The sizes of a model that its attention and its cache depend on.

    head_dim is h, in some models not d // n; latent_dim is what an MLA model caches per token and
    layer, in elements: a latent and one RoPE key. `layers`, a tuple of `Layers`, is for models
    whose layers differ; n_kv_heads and head_dim are then those of one kind. upper_bound says why
    less may be kept than is counted. max_context is None if nothing says it. rope_theta is
    "learned" for learned positions. confirmed counts the entries of source, unsure says what none
    of them has.

    Raises ValueError if n is not divisible by g, or no kind of layers has this g.

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
    max_context: int | None = None
    latent_dim: int | None = None
    layers: tuple | None = None
    upper_bound: str = ""
    rope_theta: float | str | None = None
    vocab: int | None = None
    released: str = ""
    gated: str = ""
    mirror: str = ""
    source: str = ""
    confirmed: int = 0
    unsure: str = ""

    def __post_init__(self):
        counts = {x.n_kv_heads for x in self.layers or () if x.n_kv_heads}
        if counts and self.n_kv_heads not in counts:  # replace(model, n_kv_heads=…) left the layers
            raise ValueError(
                f"n_kv_heads ({self.n_kv_heads}) is that of no kind of layers of {self.name!r} "
                f"({', '.join(map(str, sorted(counts)))}); try with_kv_heads({self.n_kv_heads})"
            )
        if (most := max((x.n_layers for x in self.layers or ()), default=0)) > self.n_layers:
            raise ValueError(f"{most} layers of one kind are too many; n_layers is {self.n_layers}")
        if self.n_kv_heads or self.layers is None:
            group_size(self.n_heads, self.n_kv_heads)

    @property
    def caches(self):
        """`layers`, or what it stands for where all layers are alike; () if nothing is cached."""
        if self.layers is not None:
            return self.layers
        if self.latent_dim:
            return (Layers(self.n_layers, latent_dim=self.latent_dim),)
        return (Layers(self.n_layers, self.n_kv_heads, self.head_dim, self.head_dim),)

    @property
    def kind(self):
        """MHA (g = n), GQA, MQA (g = 1); MLA, which caches a latent instead of heads; or none."""
        if any(x.latent_dim for x in self.caches):
            return "MLA"
        counts = {x.n_kv_heads for x in self.caches} - {0}
        if not counts:
            return "none"
        if counts == {self.n_heads}:
            return "MHA"
        return "MQA" if counts == {1} else "GQA"

    @property
    def group_size(self):
        """r = n // g, the query heads that share one K/V head; 0 if there are none."""
        return self.n_heads // self.n_kv_heads if self.n_kv_heads else 0

    @property
    def g(self):
        """The numbers of K/V heads of its layers in words.

        >>> model("Llama-3 8B").g, model("MiMo-V2-Flash 309B-A15B").g, model("Kimi-K3 2.8T").g
        ('8', '4 to 8', 'none')
        """
        counts = sorted({x.n_kv_heads for x in self.caches} - {0})
        return " to ".join(map(str, dict.fromkeys(counts[:1] + counts[-1:]))) or "none"

    @property
    def windows(self):
        """Which layers keep the last tokens only, in words; "" if none does.

        >>> model("Gemma-3 27B").windows
        'sliding window of 1024 tokens in 52 of 62 layers'
        """
        windowed = Counter()
        for x in self.caches:
            windowed[x.window] += x.n_layers
        words = [
            f"sliding window of {window} tokens in {n} of {self.n_layers} layers"
            for window, n in windowed.items()
            if window
        ]
        if "window" in self.upper_bound:
            words.append(self.upper_bound)
        return ", ".join(words)

    @property
    def is_upper_bound(self):
        """True if some layers need fewer bytes than `kv_bytes` says."""
        return bool(self.upper_bound)

    @property
    def reading(self):
        """What is cached, in a line.

        >>> model("Qwen3-Next 80B-A3B").reading
        '36 of 48 layers keep a state of 557,056 numbers, 12 keep 2 K/V heads of 256 for all tokens'
        """
        words = []
        for x in self.caches:
            of_all = f" of {self.n_layers} layers" if not words else ""
            words.append(f"{x.n_layers}{of_all} keep{'s' * (x.n_layers == 1)} {x.reading}")
        return ", ".join(words) or f"none of {self.n_layers} layers keeps anything"

    def with_kv_heads(self, n_kv_heads):
        """The same model with g = n_kv_heads in every layer that caches keys or a latent.

        >>> model("DeepSeek-V3 (671B)").with_kv_heads(1).kv_bytes(n_tokens=1)
        31232
        """
        h = self.head_dim
        layers = self.layers and tuple(
            replace(
                x,
                n_kv_heads=n_kv_heads,
                latent_dim=0,
                key_dim=x.key_dim or h,
                value_dim=x.value_dim or h * bool(x.latent_dim),
            )
            if x.n_kv_heads or x.latent_dim
            else x
            for x in self.layers
        )
        return replace(self, n_kv_heads=n_kv_heads, latent_dim=None, layers=layers)

    def kv_bytes(self, n_tokens, batch=1, bytes_per_element=2, n_gpus=1, block=1, n_source=0):
        """Bytes of this model's cache, on each of n_gpus that share its heads.

        n_source are the tokens that an encoder read, or a picture's: of 0 nothing is kept. block is
        how many tokens a server gives memory to at once.

        Raises ValueError as `kv_cache_bytes` does.
        Source for MLA: DeepSeek-V2, arXiv 2405.04434, Table 1: d_c + d_h^R = 512 + 64 elements.

        >>> model("DeepSeek-V3 (671B)").kv_bytes(n_tokens=1)  # 576 elements · 61 layers · 2 bytes
        70272
        """
        check(n_tokens, bytes_per_element, batch=batch, n_gpus=n_gpus, block=block)
        if n_source < 0:
            raise ValueError(f"n_source ({n_source}) must not be negative; 0 if nothing was read")
        given = batch, bytes_per_element, n_gpus, block
        return math.ceil(
            sum(x.n_bytes(n_source if x.cross else n_tokens, *given) for x in self.caches)
        )

    def token_bytes(self, n_tokens=0, batch=1, bytes_per_element=2):
        """Bytes that the next token takes after n_tokens; where a window is full, none.

        Where several tokens share an entry, its part of one.
        Raises ValueError as `kv_cache_bytes` does.

        >>> gemma = model("Gemma-3 27B")
        >>> gemma.token_bytes(), gemma.token_bytes(n_tokens=131_072)  # of 62 layers, and of 10
        (507904, 81920)
        """
        check(n_tokens, bytes_per_element, batch=batch)
        grows = (x for x in self.caches if not x.cross and n_tokens < (x.window or math.inf))
        numbers = sum(x.n_layers * x.per_token / x.every for x in grows)
        return math.ceil(batch * numbers * bytes_per_element)


def from_config(config, name=""):
    """The Geometry in a config.json (a dict), or in the part of it that writes.

    What the file leaves out is filled in as its family's code does. In an MLA model head_dim is
    that of V, and n_kv_heads what the file says, though none are cached.

    Raises ValueError if a number is missing, or if the file has a field that may change what a
    layer keeps and is not known here.

    >>> config = {"num_hidden_layers": 12, "hidden_size": 768, "num_attention_heads": 12}
    >>> from_config(config | {"num_key_value_heads": 4}, "mine").kv_bytes(n_tokens=1)
    12288
    """
    return Geometry(name, **sizes(config))


def kv_heads(config):
    """g, how many K/V heads a layer caches, as a config.json (a dict) has it.

    Raises ValueError if a latent is cached, if a number is missing or not one for all layers, or if
    it is not known here what the code of this family does without one.

    >>> kv_heads({"num_attention_heads": 71, "num_kv_heads": 71, "multi_query": True})  # Falcon-7B
    1
    """
    return one_g(config)


@functools.cache
def models():
    """All rows of data/models.csv, in its order.

    >>> [m.name for m in models() if m.kind == "MLA"][:3]
    ['DeepSeek-V2-Lite (16B)', 'DeepSeek-V2 (236B)', 'DeepSeek-V3 (671B)']
    """
    with data_path("models.csv").open(encoding="utf-8", newline="") as file:
        rows = [
            {key: int(x) if x.isdigit() else x for key, x in row.items() if x}
            for row in csv.DictReader(file)
        ]
    return tuple(
        Geometry(**row | ({"layers": parse(row["layers"])} if "layers" in row else {}))
        for row in rows
    )


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
