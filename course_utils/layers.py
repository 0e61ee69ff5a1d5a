"""What the layers of a model keep of a text: a few kinds of layers, and the bytes of each.

b batch, g key/value heads, h head_dim, s tokens.
"""

import math
import re
from dataclasses import dataclass, replace

LETTERS = {  # of a short notation, as in data/models.csv
    "g": "n_kv_heads",
    "k": "key_dim",
    "v": "value_dim",
    "latent": "latent_dim",
    "index": "index_dim",
    "window": "window",
    "every": "every",
    "state": "state",
}


@dataclass(frozen=True)
class Layers:
    """`n_layers` layers that all keep the same, counted in numbers, not bytes.

    Of each token n_kv_heads keys of key_dim and values of value_dim, which is 0 where one tensor
    is both; or a latent (with its RoPE key) of latent_dim; and an indexer's key of index_dim. With
    a window only of the last tokens, with `every` once for so many; with `cross` of what an encoder
    read instead. Besides, a state, which does not grow. `Geometry` has a tuple of these; a layer
    that keeps two such things stands in two.

    Raises ValueError if a number is negative, n_layers, window or every 0, if heads have no width,
    or if nothing is kept.

    >>> windowed = Layers(52, n_kv_heads=16, key_dim=128, value_dim=128, window=1024)
    >>> windowed.per_token, windowed.kept(n_tokens=131_072), windowed.n_bytes(n_tokens=131_072)
    (4096, 1024, 436207616)
    """

    n_layers: int
    n_kv_heads: int = 0
    key_dim: int = 0
    value_dim: int = 0
    latent_dim: int = 0
    index_dim: int = 0
    window: int | None = None
    every: int = 1
    cross: bool = False
    state: int = 0

    def __post_init__(self):
        least = {"n_layers": 1, "window": 1, "every": 1}
        for name, value in vars(self).items():
            if value is not None and value < least.get(name, 0):
                raise ValueError(f"{name} ({value}) must be at least {least.get(name, 0)}")
        if bool(self.n_kv_heads) != bool(self.key_dim) or (self.value_dim and not self.key_dim):
            raise ValueError(
                f"n_kv_heads ({self.n_kv_heads}), key_dim ({self.key_dim}) and value_dim "
                f"({self.value_dim}) go together; only value_dim may be 0, where V is K"
            )
        if not self.per_token and not self.state:
            raise ValueError(f"{self} keep nothing; leave out such layers")

    @property
    def per_token(self):
        """The numbers that a layer keeps of one token, or once for `every` tokens."""
        return self.numbers(n_gpus=1)

    def numbers(self, n_gpus):
        """`per_token` on each of n_gpus that share the heads; a latent and an index lie on all."""
        g = math.ceil(self.n_kv_heads / n_gpus)  # with fewer heads than GPUs they are copied
        return g * (self.key_dim + self.value_dim) + self.latent_dim + self.index_dim

    def kept(self, n_tokens, block=1):
        """Of how many tokens something is kept, in whole blocks; n_tokens is s."""
        n_kept = min(n_tokens, self.window or n_tokens) // self.every
        return math.ceil(n_kept / block) * block

    def n_bytes(self, n_tokens, batch=1, bytes_per_element=2, n_gpus=1, block=1):
        """Bytes of these layers' cache on each GPU; n_tokens are the encoder's with `cross`.

        A state is counted with 2 bytes a number, or more; some engines keep a part in float32.
        """
        tokens = self.kept(n_tokens, block) * self.numbers(n_gpus) * bytes_per_element
        state = math.ceil(self.state / n_gpus) * max(2, bytes_per_element)
        return self.n_layers * batch * (tokens + state)

    def __str__(self):
        """In the short notation: `52 × g 16 h 128 window 1024`; h is k and v alike."""
        shown = {
            letter: value
            for letter, name in LETTERS.items()
            if (value := getattr(self, name)) and (letter, value) != ("every", 1)
        }
        if self.key_dim == self.value_dim != 0:
            shown = {"h" if x == "k" else x: value for x, value in shown.items() if x != "v"}
        words = [f"{letter} {value}" for letter, value in shown.items()]
        return f"{self.n_layers} × {' '.join(words + ['cross'] * self.cross)}"

    @property
    def reading(self):
        """What a layer keeps, in words: "16 K/V heads of 128 for the last 1,024 tokens"."""
        parts = []
        if g := self.n_kv_heads:
            width = f"{self.key_dim}" + " (K and V in one)" * (not self.value_dim)
            if self.value_dim not in (0, self.key_dim):
                width = f"{self.key_dim} (K) and {self.value_dim} (V)"
            parts.append(f"{g} K/V {'head' if g == 1 else 'heads'} of {width}")
        if self.latent_dim:
            parts.append(f"a latent and RoPE key of {self.latent_dim}")
        if self.index_dim:
            parts.append(f"an index key of {self.index_dim}")
        read = " and ".join(parts)
        if parts:
            read += f" {self.tokens}"
        state = f"a state of {self.state:,} numbers" if self.state else ""
        return " and ".join(filter(None, (read, state)))

    @property
    def tokens(self):
        """The tokens of which something is kept, in words."""
        if self.cross:
            return "for what the encoder read"
        seen = f"the last {self.window:,} tokens" if self.window else "all tokens"
        return f"for {seen}" if self.every == 1 else f"once for every {self.every} of {seen}"


def parse(text):
    """The tuple of Layers that a text in the short notation means.

    Raises ValueError at what it does not know.

    >>> parse("10 × g 16 h 128; 52 × g 16 h 128 window 1024")[1].window
    1024
    >>> "; ".join(map(str, parse("24 × latent 576 index 128; 9 × g 4 k 192 v 128; 69 × state 7")))
    '24 × latent 576 index 128; 9 × g 4 k 192 v 128; 69 × state 7'
    """
    found = []
    for part in filter(None, text.split(";")):
        if not (match := re.fullmatch(r"\s*(\d+) ×((?: [a-z]+ \d+)+)( cross)?\s*", part)):
            raise ValueError(f"{part!r} is not in the notation of layers, as in {SHORT}")
        words = match[2].split()
        fields = {}
        for letter, value in zip(words[::2], words[1::2], strict=True):
            for x in "kv" if letter == "h" else [letter]:
                if x not in LETTERS:
                    raise ValueError(f"{letter!r} in {part!r} is none of h, {', '.join(LETTERS)}")
                if LETTERS[x] in fields:
                    raise ValueError(f"{part!r} says {x} twice; h is k and v")
                fields[LETTERS[x]] = int(value)
        found.append(Layers(int(match[1]), cross=bool(match[3]), **fields))
    return tuple(found)


SHORT = "'10 × g 16 h 128; 52 × g 16 h 128 window 1024'"


def grouped(layers):
    """One Layers for each kind: equal ones are added, the order is that of the first of each.

    >>> [str(x) for x in grouped([Layers(1, state=7), Layers(1, latent_dim=5), Layers(2, state=7)])]
    ['3 × state 7', '1 × latent 5']
    """
    kinds = {}
    for x in layers:
        kind = replace(x, n_layers=1)
        kinds[kind] = kinds.get(kind, 0) + x.n_layers
    return tuple(replace(kind, n_layers=n) for kind, n in kinds.items())
