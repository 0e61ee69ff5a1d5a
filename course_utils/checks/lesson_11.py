"""Exercises of lesson 11: the bill layer by layer, what a config says of it, and fewer bits."""

import torch

from course_utils import bits as library
from course_utils.checks.draws import drawing, given, redrawable
from course_utils.checks.engine import Exercise, Mistake
from course_utils.geometry import Geometry, from_config
from course_utils.ladder import cache_bytes, layers_of

KINDS = "full", "window", "state", "shared"


# Bytes of layers


def times(kind, n_tokens, window):
    """How often a layer keeps its numbers."""
    kept = {"full": n_tokens, "window": min(n_tokens, window or n_tokens), "state": 1, "shared": 0}
    return kept[kind]


def counting(kept=times, size=2, per=lambda n_layers, kind: n_layers, given=lambda layers: layers):
    """A cache_bytes; each step that is given is done so.

    kept(kind, n_tokens, window) is how often numbers are kept, per(n_layers, kind) in how many
    layers, given(layers) is what is taken for the list; size bytes a number.
    """

    def wrong(layers, n_tokens):
        return size * sum(
            per(n_layers, kind) * numbers * kept(kind, n_tokens, window)
            for kind, n_layers, numbers, window in given(layers)
        )

    return wrong


def but(**of):
    """The `times` that are right but for some kinds: {kind: how often, of n_tokens and window}."""

    def kept(kind, n_tokens, window):
        return of[kind](n_tokens, window) if kind in of else times(kind, n_tokens, window)

    return kept


def in_every_layer(layers):
    """The first window that there is, given to all layers that keep tokens."""
    window = next((row[3] for row in layers if row[3]), None)
    return [("window", *row[1:3], window) if window and row[0] == "full" else row for row in layers]


def least_of_all(layers, n_tokens):
    """min(n_tokens, window) asked of every layer, None among them."""
    return sum(row[2] * min(n_tokens, row[3]) for row in layers)


def least_of_all_turned(layers, n_tokens):
    """The same, the other way round."""
    return sum(row[2] * min(row[3], n_tokens) for row in layers)


def in_bytes(layers, n_tokens):
    """A window of so many bytes."""
    return sum(
        n_layers * (min(2 * numbers * n_tokens, window) if kind == "window" else
                    2 * numbers * times(kind, n_tokens, window))
        for kind, n_layers, numbers, window in layers
    )  # fmt: skip


def in_numbers(layers, n_tokens):
    """A window of so many numbers."""
    return 2 * sum(
        n_layers * (min(numbers * n_tokens, window) if kind == "window" else
                    numbers * times(kind, n_tokens, window))
        for kind, n_layers, numbers, window in layers
    )  # fmt: skip


def by_dict(layers, n_tokens):
    """Three kinds looked up by name, and a fourth that is not there."""
    known = "full", "window", "state"
    return 2 * sum(
        n_layers * numbers * dict.fromkeys(known, times(kind, n_tokens, window))[kind]
        for kind, n_layers, numbers, window in layers
    )


STATE = "A state has one size, however long the text: it is rewritten at every token."
SHARED = "A shared layer reads what another one keeps, and that one is in the list already."

BYTES_MISTAKES = {
    "the window on every layer": Mistake(
        counting(given=in_every_layer),
        "Only the layers of kind window forget. Those of kind full keep all n_tokens: they are why "
        "such a model still answers what lies far back.",
    ),
    "windows left out": Mistake(
        counting(but(window=lambda s, w: s)),
        "A layer with a window keeps the last window tokens, and no more: min(n_tokens, window).",
    ),
    "max for min": Mistake(
        counting(but(window=lambda s, w: max(s, w))),
        "With a long text a window keeps less than all, with a short one no more than there is: "
        "the smaller of the two.",
    ),
    "a whole window, also of a short text": Mistake(
        counting(but(window=lambda s, w: w)),
        "Before the window is full it keeps the tokens that there are: min(n_tokens, window).",
    ),
    "a window one token short": Mistake(
        counting(but(window=lambda s, w: min(s, w - 1))),
        "A window of 4 is a token and the 3 before it: while it is written, all 4 are read.",
    ),
    "the window added to all tokens": Mistake(
        counting(but(window=lambda s, w: s + w)),
        "The last tokens are among all tokens; with a window only they are kept.",
    ),
    "the window counted in bytes": Mistake(
        in_bytes,
        "window counts tokens: min(n_tokens, window) first, then times numbers and bytes.",
    ),
    "the window counted in numbers": Mistake(
        in_numbers,
        "window counts tokens, and each has so many numbers: min(n_tokens, window) first.",
    ),
    "the state times the tokens": Mistake(
        counting(but(state=lambda s, w: s)),
        f"{STATE} Its numbers count once a layer.",
    ),
    "the state left out": Mistake(
        counting(but(state=lambda s, w: 0)),
        "It does not grow, but it is there: its numbers count once a layer.",
    ),
    "one state for all layers": Mistake(
        counting(per=lambda n, kind: 1 if kind == "state" else n),
        "Each of the n_layers has a state of its own.",
    ),
    "shared layers counted again": Mistake(
        counting(but(shared=lambda s, w: min(s, w) if w else s)), f"{SHARED} They add nothing."
    ),
    "shared layers counted again, with all tokens": Mistake(
        counting(but(shared=lambda s, w: s)), f"{SHARED} They add nothing."
    ),
    "shared layers counted once": Mistake(counting(but(shared=lambda s, w: 1)), SHARED),
    "shared layers not known": Mistake(
        by_dict, "The list has a fourth kind, shared: such layers keep nothing of their own."
    ),
    "all kinds but window taken for full": Mistake(
        counting(but(state=lambda s, w: s, shared=lambda s, w: s)),
        f"There are four kinds. {STATE} {SHARED}",
    ),
    "window and state layers left out": Mistake(
        counting(but(window=lambda s, w: 0, state=lambda s, w: 0)),
        "Layers with a window and states keep less, not nothing.",
    ),
    "K and V counted once more": Mistake(
        counting(size=4),
        "numbers is what is kept of a token: K and V are both in it, and where one tensor is both "
        "it is in it once. The only 2 left is that of the bytes.",
    ),
    "numbers in place of bytes": Mistake(
        counting(size=1), "So many numbers are kept; each takes 2 bytes."
    ),
    "bits in place of bytes": Mistake(
        counting(size=16), "2 bytes a number: these are bits, 8 times as many."
    ),
    "one layer of each kind": Mistake(
        counting(per=lambda n, kind: 1), "There are n_layers of each kind, and each has a cache."
    ),
    "all layers alike, as the first kind": Mistake(
        counting(given=lambda rows: [(*rows[0][:1], sum(x[1] for x in rows), *rows[0][2:])]),
        "Go through the list: each kind has numbers and a number of layers of its own.",
    ),
    "the first kind alone": Mistake(
        counting(given=lambda rows: rows[:1]),
        "A return inside the loop ends it after the first kind: add up, and return behind it.",
    ),
    "the last kind alone": Mistake(
        counting(given=lambda rows: rows[-1:]),
        "Each kind takes the place of the one before: add them up, += in place of =.",
    ),
    "a window asked of every layer": Mistake(
        least_of_all,
        "window is None where a layer has none, and min does not take None: ask for the kind "
        "first.",
    ),
    "a window asked of every layer, and tokens": Mistake(
        least_of_all_turned,
        "window is None where a layer has none, and min does not take None: ask for the kind "
        "first.",
    ),
    "a float": Mistake(
        lambda *given: float(cache_bytes(*given)), "Bytes are whole: no / and no 2.0."
    ),
}


def stack(*layers, n_tokens):
    """A probe: layers as cache_bytes takes them, and tokens."""
    return given(list(layers), n_tokens)


def another_stack(random, row):
    """Other layers of the same kinds; what is longer than a window stays longer."""
    layers, n_tokens = row
    s = random.randint(n_tokens // 2 + 2, 2 * n_tokens + 3) if n_tokens else 0
    drawn = []
    for kind, _, numbers, window in layers:
        if window:
            window = random.randint(2, s - 1) if window < n_tokens else s + random.randint(1, 9)
        numbers = random.randint(numbers // 2 + 2, 2 * numbers)
        drawn.append((kind, random.randint(2, 9), numbers, window))
    return drawn, s


# What a config says


def read(fn, config):
    """Bytes of the layers that fn reads from a config, of a short text and of a long one."""
    rows = fn(config)
    if rows is None or rows is ...:
        return rows
    for kind, *_ in rows:
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is none of the kinds {', '.join(KINDS)}")
    rows = [row for row in rows if row[1]]  # a kind of which there are none has no window
    return tuple(cache_bytes(rows, n_tokens) for n_tokens in (100, 131_072))


def reading(change):
    """A layers_of whose rows are changed: change(config, rows) are others."""
    return lambda config: change(config, layers_of(config))


def each(change):
    """A layers_of that changes every row by itself: change(config, kind, numbers, window)."""
    return reading(
        lambda config, rows: [
            (new[0], n, *new[1:])
            for kind, n, numbers, window in rows
            for new in [change(config, kind, numbers, window)]
        ]
    )


def is_latent(config):
    return bool(config.get("kv_lora_rank"))


def without(*fields):
    """A layers_of that does not know these fields."""
    return lambda config: layers_of({key: x for key, x in config.items() if key not in fields})


def with_sizes(g=None, h=None):
    """A layers_of with another g or h, of a config; not in a latent model, nor in states."""

    def wrong(config):
        if is_latent(config):
            return layers_of(config)
        right = {"num_key_value_heads": g, "head_dim": h}
        other = {key: of(config) for key, of in right.items() if of}
        new = layers_of(config | other)
        return [
            old if old[0] == "state" else x for old, x in zip(layers_of(config), new, strict=True)
        ]

    return wrong


def shared_first(config):
    """The shared layers taken from the front."""
    kinds, n = config.get("layer_types"), config.get("num_kv_shared_layers", 0)
    return layers_of(config | {"layer_types": kinds[n:], "num_kv_shared_layers": 0}
                     if kinds else config)  # fmt: skip


def minus_nothing(config):
    """kinds[:-0], which is empty."""
    if config.get("num_kv_shared_layers") == 0:
        return []
    return layers_of(config)


def halved(config, rows):
    """V not kept in full layers where attention_k_eq_v says true."""
    tied = config.get("attention_k_eq_v")
    return [(x[0], x[1], x[2] // 2, x[3]) if tied and x[0] == "full" else x for x in rows]


def all_halved(config, rows):
    """V not kept in any layer where attention_k_eq_v says true."""
    return [(x[0], x[1], x[2] // 2, x[3]) if config.get("attention_k_eq_v") else x for x in rows]


def turned_round(config):
    """1 taken for a state, 0 for a full layer."""
    if kinds := config.get("attn_type_list"):
        return layers_of(config | {"attn_type_list": [1 - x for x in kinds]})
    return layers_of(config)


def null_taken(numbers):
    """A layers_of that works out numbers(g, h) of full layers from what is there, be it null."""

    def wrong(config):
        g = config.get("num_global_key_value_heads", 1)
        numbers(g, config.get("global_head_dim", 1))
        return layers_of(config)

    return wrong


def asking(name, where):
    """A layers_of that asks each config for a field, where(config)."""

    def wrong(config):
        if where(config):
            config[name]
        return layers_of(config)

    return wrong


def of_nothing(act):
    """A layers_of that does something with layer_types, be it None."""

    def wrong(config):
        if not is_latent(config):
            act(config.get("layer_types"))
        return layers_of(config)

    return wrong


def latent(row):
    """A layers_of with row(config) numbers a token in a latent model."""
    return each(
        lambda c, kind, numbers, window: (kind, row(c) if is_latent(c) else numbers, window)
    )


def state(numbers):
    """A layers_of with numbers(config) in a state."""
    return each(lambda c, kind, old, w: (kind, numbers(c) if kind == "state" else old, w))


def as_listed(config):
    """The file's own names of kinds."""
    kinds = config.get("layer_types") or config.get("attn_type_list") or ["latent"]
    return [(kind, 1, 1, None) for kind in kinds]


def as_full(c, kind, numbers, window):
    """A window forgotten."""
    return ("full" if kind == "window" else kind), numbers, None


def as_window(c, kind, numbers, window):
    """A full layer with the window of its file, if that has one."""
    if kind == "full" and c.get("sliding_window"):
        return "window", numbers, c["sliding_window"]
    return kind, numbers, window


def state_of(c):
    """n · h · h."""
    return c["num_attention_heads"] * c["head_dim"] ** 2


COMPRESSED = "A latent is what all heads make their keys and values of (lesson 10), and kept once"
TOKENS_READ = (
    "index_topk is how many tokens a step reads. Which ones, it decides at every step anew: so all "
    "are kept."
)

FILE_MISTAKES = {
    "every layer full": Mistake(
        each(as_full),
        "layer_types has two kinds: sliding_attention keeps the last sliding_window tokens only.",
    ),
    "the window on every layer": Mistake(
        each(as_window),
        "sliding_window is the window of those layers that layer_types calls sliding_attention. "
        "The others keep all tokens.",
    ),
    "the two kinds turned round": Mistake(
        each(lambda c, kind, *of: (as_full if kind == "window" else as_window)(c, kind, *of)),
        "sliding_attention is the one with a window, full_attention the one without.",
    ),
    "shared layers counted again": Mistake(
        without("num_kv_shared_layers"),
        "The last num_kv_shared_layers layers have no cache: they read that of a layer below.",
    ),
    "the first layers taken for the shared ones": Mistake(
        shared_first,
        "It is the last num_kv_shared_layers that read what a layer below keeps; the first have "
        "nobody to read from. Keep the kinds at the beginning of the list.",
    ),
    "no layers left where none is shared": Mistake(
        minus_nothing,
        "One file says num_kv_shared_layers: 0, and kinds[:-0] is empty. Count how many layers "
        "have a cache of their own, and take so many: kinds[: len(kinds) - shared].",
    ),
    "V left out where K = V": Mistake(
        reading(halved),
        "attention_k_eq_v saves a projection: K and V come from one. But K is then turned by RoPE, "
        "V is not; so two tensors are kept.",
    ),
    "V left out of every layer where K = V": Mistake(
        reading(all_halved),
        "attention_k_eq_v saves a projection: K and V come from one. But K is then turned by RoPE, "
        "V is not; so two tensors are kept.",
    ),
    "full layers' own sizes left out": Mistake(
        without("attention_k_eq_v", "global_head_dim"),
        "Gemma 4 has other sizes in its full layers: global_head_dim, and with attention_k_eq_v "
        "num_global_key_value_heads.",
    ),
    "full layers' own g left out": Mistake(
        without("attention_k_eq_v"),
        "The width is right. With attention_k_eq_v full layers also have their own number of "
        "heads: num_global_key_value_heads.",
    ),
    "full layers' own h left out": Mistake(
        without("global_head_dim"),
        "The heads are right. In Gemma 4 those of full layers are also wider: global_head_dim.",
    ),
    "full layers' sizes in every layer": Mistake(
        each(
            lambda c, kind, numbers, w: (
                kind,
                2 * c["num_global_key_value_heads"] * c["global_head_dim"]
                if kind == "window" and c.get("attention_k_eq_v")
                else numbers,
                w,
            )
        ),
        "global_… are the sizes of layers that see all tokens; those with a window have the usual "
        "ones.",
    ),
    "null taken for a number": Mistake(
        null_taken(lambda g, h: g * h),
        "Another file of Gemma 4 says num_global_key_value_heads: null. A field can be there and "
        "say nothing: ask for attention_k_eq_v first.",
    ),
    "null taken for a number, and doubled": Mistake(
        null_taken(lambda g, h: 2 * g * h),
        "Another file of Gemma 4 says num_global_key_value_heads: null. A field can be there and "
        "say nothing: ask for attention_k_eq_v first.",
    ),
    "h taken for d / n": Mistake(
        with_sizes(h=lambda c: c["hidden_size"] // c["num_attention_heads"]),
        "head_dim is a field of its own, and not always d / n: the queries of gpt-oss are wider, "
        "all together, than d.",
    ),
    "n for g": Mistake(
        with_sizes(g=lambda c: c["num_attention_heads"]),
        "What is kept is num_key_value_heads, g; the query heads share them.",
    ),
    "keys alone": Mistake(
        each(lambda c, kind, x, w: (kind, x if is_latent(c) or kind == "state" else x // 2, w)),
        "A token leaves a key and a value in each head: 2 · g · h numbers.",
    ),
    "a head for a layer": Mistake(
        each(
            lambda c, kind, x, w: (
                kind,
                x if is_latent(c) or kind == "state" else 2 * c["head_dim"],
                w,
            )
        ),
        "Each of the g heads has a key and a value: 2 · g · h numbers.",
    ),
    "the RoPE key left out": Mistake(
        latent(lambda c: c["kv_lora_rank"] + c.get("index_head_dim", 0)),
        "Beside the latent lies one RoPE key a token: kv_lora_rank + qk_rope_head_dim.",
    ),
    "the index key left out": Mistake(
        without("index_head_dim"),
        "To choose which tokens to read, the indexer keeps a key of its own a token: "
        "index_head_dim more.",
    ),
    "an index key for each of its heads": Mistake(
        latent(
            lambda c: (
                c["kv_lora_rank"]
                + c["qk_rope_head_dim"]
                + c.get("index_n_heads", 1) * c.get("index_head_dim", 0)
            )
        ),
        "index_n_heads are the indexer's query heads; they share one key a token.",
    ),
    "the latent alone": Mistake(
        latent(lambda c: c["kv_lora_rank"]),
        "Beside the latent lie a RoPE key, qk_rope_head_dim, and, where the file has one, an index "
        "key.",
    ),
    "a latent counted twice": Mistake(
        latent(
            lambda c: 2 * (c["kv_lora_rank"] + c["qk_rope_head_dim"]) + c.get("index_head_dim", 0)
        ),
        f"{COMPRESSED}: no 2 for K and V.",
    ),
    "a latent counted twice, and its index key": Mistake(
        each(lambda c, kind, x, w: (kind, 2 * x if is_latent(c) else x, w)),
        f"{COMPRESSED}: no 2 for K and V.",
    ),
    "a latent for each K/V head": Mistake(
        latent(
            lambda c: (
                c["num_key_value_heads"] * (c["kv_lora_rank"] + c["qk_rope_head_dim"])
                + c.get("index_head_dim", 0)
            )
        ),
        f"{COMPRESSED}. num_key_value_heads is a decoy here.",
    ),
    "only the tokens kept that are read": Mistake(
        each(
            lambda c, kind, x, w: (
                ("window", x, c["index_topk"]) if c.get("index_topk") else (kind, x, w)
            )
        ),
        TOKENS_READ,
    ),
    "states taken for full layers": Mistake(
        lambda c: layers_of(
            c | {"attn_type_list": [1] * len(c["attn_type_list"])} if "attn_type_list" in c else c
        ),
        "A layer of 0 in attn_type_list keeps a state in place of tokens: n · h · h numbers.",
    ),
    "0 and 1 turned round": Mistake(
        turned_round, "In attn_type_list 1 is a full layer, 0 one that keeps a state."
    ),
    "the state times the tokens": Mistake(
        each(lambda c, kind, x, w: ("full" if kind == "state" else kind, x, w)),
        "A state's kind is state: it is rewritten at every token, and does not grow.",
    ),
    "the state left out": Mistake(
        reading(lambda c, rows: [x for x in rows if x[0] != "state"]),
        "A layer that keeps a state keeps something: h · h numbers for each of n query heads.",
    ),
    "a state for each K/V head": Mistake(
        state(lambda c: c["num_key_value_heads"] * c["head_dim"] ** 2),
        "Those layers share no heads: a state is h × h for each of the n query heads.",
    ),
    "a row in place of a matrix": Mistake(
        state(lambda c: c["num_attention_heads"] * c["head_dim"]),
        "For each query head the state is a matrix, h × h: n · h · h numbers.",
    ),
    "one matrix for all heads": Mistake(
        state(lambda c: c["head_dim"] ** 2),
        "Each of the n query heads has a matrix of its own: n · h · h numbers.",
    ),
    "K and V counted in a state": Mistake(
        state(lambda c: 2 * state_of(c)),
        "A state is one matrix for each query head, made of keys and values: no 2.",
    ),
    "one layer of each kind": Mistake(
        reading(lambda c, rows: list(dict.fromkeys((x[0], 1, *x[2:]) for x in rows))),
        "Each entry of the list is a layer, and has a cache. set() forgets how many there are.",
    ),
    "head_dim asked of a latent model": Mistake(
        lambda c: [("full", 1, 2 * c["num_key_value_heads"] * c["head_dim"], None)],
        "With kv_lora_rank no heads are kept, and the file has no head_dim: ask for the latent "
        "first.",
    ),
    **{
        f"layer_types asked of every file, and {how}": Mistake(
            of_nothing(act),
            "One file has attn_type_list in its place: config.get(name) is None where a field is "
            "absent. Ask for the one or the other.",
        )
        for how, act in {
            "gone through": list,
            "cut": lambda kinds: kinds[:1],
            "counted": len,
        }.items()
    },
    **{
        f"{name} asked of every file": Mistake(
            asking(name, where),
            f"config[name] stops where a field is absent, as {name} is in some files: "
            "config.get(name, …).",
        )
        for name, where in {
            "layer_types": lambda c: not is_latent(c),
            "kv_lora_rank": lambda c: True,
            "index_head_dim": is_latent,
            "num_kv_shared_layers": lambda c: "layer_types" in c,
            "global_head_dim": lambda c: not is_latent(c),
            "num_global_key_value_heads": lambda c: not is_latent(c),
            "attention_k_eq_v": lambda c: not is_latent(c),
            "sliding_window": lambda c: not is_latent(c),
        }.items()
    },
    "the file's names of kinds": Mistake(
        as_listed,
        "cache_bytes knows full, window, state and shared: say them in place of the file's words.",
    ),
}


def sliding(pattern, times):
    """layer_types of a pattern in letters, s and f, repeated."""
    names = {"s": "sliding_attention", "f": "full_attention"}
    return [names[x] for x in pattern * times]


GPT_OSS_120B = {
    "model_type": "gpt_oss", "hidden_size": 2880, "num_hidden_layers": 36,
    "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 64, "sliding_window": 128,
    "layer_types": sliding("sf", 18),
}  # fmt: skip
GEMMA_3N_E4B = {
    "model_type": "gemma3n_text", "hidden_size": 2048, "num_hidden_layers": 35,
    "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 256, "sliding_window": 512,
    "num_kv_shared_layers": 15, "layer_types": sliding("ssssf", 7),
}  # fmt: skip
GEMMA_4_31B = {
    "model_type": "gemma4_text", "hidden_size": 5376, "num_hidden_layers": 60,
    "num_attention_heads": 32, "num_key_value_heads": 16, "head_dim": 256, "sliding_window": 1024,
    "num_global_key_value_heads": 4, "global_head_dim": 512, "attention_k_eq_v": True,
    "num_kv_shared_layers": 0, "layer_types": sliding("sssssf", 10),
}  # fmt: skip
MINIMAX_TEXT_01 = {
    "model_type": "minimax_text_01", "hidden_size": 6144, "num_hidden_layers": 80,
    "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 128,
    "attn_type_list": [0, 0, 0, 0, 0, 0, 0, 1] * 10,
}  # fmt: skip
DEEPSEEK_V3_2 = {
    "model_type": "deepseek_v32", "hidden_size": 7168, "num_hidden_layers": 61,
    "num_attention_heads": 128, "num_key_value_heads": 128, "kv_lora_rank": 512,
    "qk_rope_head_dim": 64, "index_head_dim": 128, "index_n_heads": 64, "index_topk": 2048,
}  # fmt: skip
FILES = {  # of real models, shortened: what the lesson shows
    "gpt-oss-120b": GPT_OSS_120B,
    "Gemma-3n E4B": GEMMA_3N_E4B,
    "Gemma-4 31B": GEMMA_4_31B,
    "MiniMax-Text-01 456B-A46B": MINIMAX_TEXT_01,
    "DeepSeek-V3.2 (671B)": DEEPSEEK_V3_2,
}
GEMMA_4_E4B = GEMMA_3N_E4B | {
    "model_type": "gemma4_text", "hidden_size": 2560, "num_hidden_layers": 42,
    "num_global_key_value_heads": None, "global_head_dim": 512, "attention_k_eq_v": False,
    "num_kv_shared_layers": 18, "layer_types": sliding("sssssf", 7),
}  # fmt: skip
OTHERS = [  # and made up: shared layers unlike the first, sizes that differ, no indexer, no window
    GEMMA_4_E4B,
    GEMMA_3N_E4B | {"layer_types": sliding("fsss", 2) + sliding("s", 12), "num_hidden_layers": 20},
    GEMMA_4_31B | {"num_global_key_value_heads": 8, "global_head_dim": 384},
    {key: x for key, x in DEEPSEEK_V3_2.items() if "index" not in key}
    | {"model_type": "deepseek_v3", "num_hidden_layers": 60},
    {key: x for key, x in GPT_OSS_120B.items() if "window" not in key}
    | {"layer_types": sliding("f", 36), "hidden_size": 4096},
]


def another_file(random, row):
    """The same file with other sizes and more layers; which of them are shared tells as much."""
    (config,) = row
    while True:
        drawn = resized_file(random, config)
        if told_apart(drawn) == told_apart(config):
            return (drawn,)


def told_apart(config):
    """Whether the last layers shared and the first are two different bills."""
    if not config.get("num_kv_shared_layers"):
        return False
    return sorted(layers_of(config), key=str) != sorted(shared_first(config), key=str)


def resized_file(random, config):
    """The same file with other sizes, and the pattern of its layers once more, or part of it."""
    drawn = dict(config)
    sizes = [("num_key_value_heads", 1), ("head_dim", 16), ("global_head_dim", 16),
             ("num_global_key_value_heads", 1), ("sliding_window", 1), ("kv_lora_rank", 16),
             ("qk_rope_head_dim", 2), ("index_head_dim", 8), ("index_n_heads", 1),
             ("index_topk", 256)]  # fmt: skip
    for name, step in sizes:
        if config.get(name):
            few = config[name] // step
            drawn[name] = step * random.randint(few // 2 + 1, few * 3 // 2 + 2)
    if config.get("global_head_dim"):  # each of the four sizes is another
        drawn["global_head_dim"] = drawn["head_dim"] + 16 * random.randint(1, 3)
    if config.get("num_global_key_value_heads"):
        drawn["num_global_key_value_heads"] = drawn["num_key_value_heads"] + random.randint(1, 3)
    drawn["num_attention_heads"] = drawn["num_key_value_heads"] * random.randint(3, 5)
    drawn["hidden_size"] = drawn["num_attention_heads"] * random.randint(300, 400)
    for name in ("layer_types", "attn_type_list"):
        if name in config:
            half = len(config[name]) // 2
            drawn[name] = config[name] + config[name][: random.randint(2, half)]
            drawn["num_hidden_layers"] = len(drawn[name])
    if "layer_types" not in config and "attn_type_list" not in config:
        drawn["num_hidden_layers"] += random.randint(1, 30)
    return drawn


# Fewer bits


def another_shape(random, row):
    """Other sizes; what is 1 stays 1."""
    shape, *others = row
    sizes = random.sample(range(3, 10), len(shape))
    return tuple(new if x > 1 else x for x, new in zip(shape, sizes, strict=True)), *others


@redrawable(another_shape)
def numbers(shape, bits, zeros, dtype=torch.float32, seed=0):
    """x and bits: rows of different sizes, none of whose numbers lies halfway between two levels.

    In the first row the largest is negative; with zeros, the last one has nothing else.
    """
    random = torch.Generator().manual_seed(sum(shape) + 100 * bits + seed)
    most = 2 ** (bits - 1) - 1
    levels = torch.randint(-most, most + 1, shape, generator=random, dtype=torch.float64)
    beside = 0.4 * torch.rand(shape, generator=random, dtype=torch.float64)
    inward = -levels.sign() * beside  # so that none is larger than the largest
    x = levels + torch.where(levels == 0, beside, inward)
    rows = x.flatten(0, -2)
    ends = torch.ones(len(rows), dtype=torch.float64)
    ends[::2] = -1
    place = torch.arange(len(rows)) % shape[-1]
    rows[torch.arange(len(rows)), place] = most * ends  # the largest of its row
    rows *= torch.rand(len(rows), 1, generator=random, dtype=torch.float64) * 4 + 0.5
    if zeros:
        rows[-1] = 0
    return rows.view(shape).to(dtype), bits


def rounding(fn, x, bits):
    """What fn gives; for a row of zeros any scale will do that one can divide by."""
    got = fn(x.detach(), bits)  # nobody trains through rounding
    if not isinstance(got, tuple | list) or len(got) != 2:
        return got
    integers, scales = got
    fits = isinstance(scales, torch.Tensor) and scales.shape == (*x.shape[:-1], 1)
    if not fits or not isinstance(integers, torch.Tensor):
        return got
    empty = (x == 0).all(dim=-1, keepdim=True) & scales.isfinite() & (scales > 0)
    scales = torch.where(empty, torch.ones_like(scales), scales)
    return integers, scales


def steps_off(fn):
    """A remark on how far from x the numbers are that an answer stands for."""
    x, bits = numbers((2, 3, 5), 4, zeros=False).made()
    integers, scales = fn(x, bits)
    off = (library.dequantize(integers, scales) - x).abs() / scales
    return f"Dequantized, integers · scales, none is more than {off.max():.1f} of a step from x."


def most_of(bits):
    """The highest level."""
    return 2 ** (bits - 1) - 1


def size_of_rows(x, bits):
    """The largest of each row, without its sign."""
    return x.abs().amax(-1, keepdim=True)


def stepping(
    largest=size_of_rows, most=most_of, whole=torch.round, cut=lambda x, bits: x,
    to=lambda x: x.to(torch.int8), zeros=lambda x: torch.where(x == 0, 1, x), give=None,
):  # fmt: skip
    """A quantize; each step that is given is done so.

    largest(x, bits) is what the highest level, most(bits), stands for; zeros(scales) are safe to
    divide by; whole(x / scales) are whole numbers, cut(whole, bits) those that fit, to(…) in int8;
    give(integers, scales) comes back.
    """

    def wrong(x, bits):
        scales = zeros(largest(x, bits) / most(bits))
        integers = to(cut(whole(x / scales), bits))
        return give(integers, scales) if give else (integers, scales)

    return wrong


def clamped(x, bits):
    """No level beyond those of the bits."""
    return x.clamp(-most_of(bits), most_of(bits))


def from_the_least(x, bits):
    """Levels from the smallest number of a row to the largest: 0 to 2^bits - 1."""
    low, high = x.amin(-1, keepdim=True), x.amax(-1, keepdim=True)
    scales = torch.where(high == low, 1, (high - low) / (2**bits - 1))
    return ((x - low) / scales).round().to(torch.uint8), scales


def unscaled(x, bits):
    """The numbers rounded as they are."""
    return clamped(x.round(), bits).to(torch.int8), torch.ones_like(x[..., :1])


SHARE = (
    "Each row of the last axis has a scale of its own: x.abs().amax(dim=-1, keepdim=True) is the "
    "largest of each."
)
LEVELS = "{} Of 2^bits levels one is 0 and as many are below it as above: 2^(bits - 1) - 1."

BITS_MISTAKES = {
    "the scale over the wrong axis": Mistake(
        stepping(lambda x, bits: x.abs().amax(-2, keepdim=True)),
        f"That is a scale for each column: it is the largest over the rows. {SHARE}",
    ),
    "the scale over the first axis": Mistake(
        stepping(lambda x, bits: x.abs().amax(0, keepdim=True)), SHARE
    ),
    "one scale for all": Mistake(
        stepping(lambda x, bits: x.abs().max() * torch.ones_like(x[..., :1])),
        f"A row of small numbers gets few of the levels then, or none. {SHARE}",
    ),
    "one scale for all, as one number": Mistake(
        stepping(lambda x, bits: x.abs().max()),
        f"A row of small numbers gets few of the levels then, or none. {SHARE}",
    ),
    "the largest taken with its sign": Mistake(
        stepping(lambda x, bits: x.amax(-1, keepdim=True)),
        "In some rows the number farthest from 0 is negative: abs() first, then amax.",
    ),
    "2^bits - 1 levels on one side": Mistake(
        stepping(most=lambda bits: 2**bits - 1, to=lambda x: x.to(torch.int16).to(torch.int8)),
        LEVELS.format("So many levels need one bit more, for the sign."),
    ),
    "2^bits levels on one side": Mistake(
        stepping(most=lambda bits: 2**bits, to=lambda x: x.to(torch.int16).to(torch.int8)),
        LEVELS.format("So many levels need one bit more, for the sign."),
    ),
    "a level too many, and no clamp": Mistake(
        stepping(most=lambda bits: 2 ** (bits - 1), to=lambda x: x.to(torch.int16).to(torch.int8)),
        "The largest becomes 2^(bits - 1), and that does not fit: int8 ends at 127, and 128 comes "
        "back as -128. " + LEVELS.format("Divide by one less, then all fit."),
    ),
    "a level too many, cut off": Mistake(
        stepping(most=lambda bits: 2 ** (bits - 1), cut=clamped),
        "The largest of each row is cut off by a step. " + LEVELS.format("Divide by one less."),
    ),
    "a level below the lowest": Mistake(
        stepping(
            most=lambda bits: 2 ** (bits - 1),
            cut=lambda x, bits: x.clamp(-(2 ** (bits - 1)), most_of(bits)),
        ),
        "The largest positive number is cut off, the largest negative one is not. "
        + LEVELS.format("Divide by one less, then both ends are alike."),
    ),
    "127 for any number of bits": Mistake(
        stepping(most=lambda bits: 127, cut=lambda x, bits: x.clamp(-127, 127)),
        "These are the levels of 8 bits. " + LEVELS.format("Use bits."),
    ),
    "half of bits in place of 2 to their power": Mistake(
        stepping(most=lambda bits: bits - 1), "With bits bits one tells 2**bits things apart."
    ),
    "truncation, not rounding": Mistake(
        stepping(whole=torch.trunc),
        ".to(torch.int8) cuts off what is behind the point, and 2.9 becomes 2: round() first, or "
        "all numbers shrink.",
    ),
    "rounding down": Mistake(
        stepping(whole=torch.floor),
        "floor takes the level below, // as well: all numbers move down, by half a step on "
        "average. round() takes the nearest.",
    ),
    "rounding up": Mistake(stepping(whole=torch.ceil), "round() takes the nearest level."),
    "a division by zero in a row of zeros": Mistake(
        stepping(zeros=lambda x: x),
        "One row is all zeros: its largest is 0, its scale too, and 0 / 0 is no number. What it "
        "turns into as an integer depends on the processor. Take 1 for that scale.",
    ),
    "a division by zero in a row of zeros, left as floats": Mistake(
        stepping(zeros=lambda x: x, to=lambda x: x),
        "One row is all zeros: its largest is 0, its scale too, and 0 / 0 is no number. Take 1 for "
        "that scale; then to(torch.int8).",
    ),
    "whole numbers left as floats": Mistake(
        stepping(to=lambda x: x),
        "The numbers are right, but as floats they take as many bytes as before: .to(torch.int8).",
    ),
    "scales forgotten": Mistake(
        unscaled, "Numbers are as large as they are: divide by the scale first, and return it."
    ),
    "only the integers": Mistake(
        stepping(give=lambda integers, scales: integers),
        "Without scales nobody knows how large they were: return integers, scales.",
    ),
    "scales and integers in the wrong order": Mistake(
        stepping(give=lambda integers, scales: (scales, integers)),
        "Return the integers first, then the scales.",
    ),
    "the scale upside down": Mistake(
        stepping(give=lambda integers, scales: (integers, 1 / scales)),
        "integers · scales must be about x again: return what you divided by, not what you "
        "multiplied with.",
    ),
    "the scale upside down, and divided by": Mistake(
        stepping(
            lambda x, bits: most_of(bits) / size_of_rows(x, bits).clamp(min=1e-9), lambda bits: 1
        ),
        "A step is the largest over the highest level, not the other way round: then x / step is "
        "at most that level.",
    ),
    "the largest in place of the scale": Mistake(
        lambda x, bits: (library.quantize(x, bits)[0], size_of_rows(x, bits)),
        "integers · scales must be about x again: the highest level stands for the largest, so a "
        "step of 1 is the largest / (2^(bits - 1) - 1).",
    ),
    "the axis of the scales lost": Mistake(
        stepping(give=lambda integers, scales: (integers, scales.squeeze(-1))),
        "integers · scales would multiply another axis, or none: keepdim=True.",
    ),
    "integers multiplied back": Mistake(
        stepping(give=lambda integers, scales: (integers * scales, scales)),
        "These are floats again, as large as x was: return the whole numbers themselves.",
    ),
    "levels from the smallest to the largest": Mistake(
        from_the_least,
        "That is the other way, with a zero point, which must be kept too. Here 0 stays 0: levels "
        "lie alike on both sides.",
    ),
}


EXERCISES = {
    "11.cache_bytes": Exercise(
        reference=cache_bytes,
        layer=Geometry,
        more="also counts users, bits, GPUs and blocks",
        **drawing(
            stack(("full", 3, 10, None), n_tokens=7),
            stack(("full", 2, 12, None), ("window", 5, 14, 4), n_tokens=9),
            stack(("window", 5, 14, 40), ("full", 2, 12, None), n_tokens=9),
            stack(("state", 3, 50, None), ("full", 4, 6, None), n_tokens=11),
            stack(("full", 4, 8, None), ("window", 3, 20, 5), ("shared", 6, 20, 5), n_tokens=13),
            stack(("window", 4, 8, 6), ("state", 2, 90, None), ("shared", 3, 7, None), n_tokens=8),
            stack(("full", 10, 4096, None), ("window", 52, 4096, 1024), n_tokens=131_072),
            stack(("state", 36, 557_056, None), ("full", 12, 1024, None), n_tokens=0),
            other=another_stack,
        ),
        returns=("bytes",),
        mistakes=BYTES_MISTAKES,
        hints=(
            "Go through the list, and add up the numbers that each kind keeps: n_layers times "
            "numbers times how often.",
            "full: n_tokens times. window: what is smaller, n_tokens or window. state: once. "
            "shared: not at all. Ask for the kind first; where there is no window it is None.",
            "for kind, n_layers, numbers, window in layers: if kind == …, total += …; at the end "
            "2 bytes a number.",
        ),
    ),
    "11.layers_of": Exercise(
        reference=layers_of,
        layer=from_config,
        more="also knows the fields of some 300 families, and refuses what it does not know",
        **drawing(*map(given, [*FILES.values(), *OTHERS]), other=another_file),
        returns=("bytes for 100 tokens", "bytes for 131,072 tokens"),
        mistakes=FILE_MISTAKES,
        hints=(
            "Begin with kv_lora_rank: config.get(name) is None where a field is absent. Such a "
            "model has one row: full, num_hidden_layers, numbers, None.",
            "For the others go through the list of layers, one row each: (kind, 1, numbers, "
            "window). First cut off the shared ones: kinds[: len(kinds) - shared].",
            "config.get(name, h) is h where there is no field of that name: so full layers get "
            "an h of their own where the file has one. Their g, g_full, is another only with "
            "attention_k_eq_v. A state has n · h · h numbers.",
        ),
        play=read,
    ),
    "11.quantize": Exercise(
        reference=library.quantize,
        more="also shares scales along other axes, and refuses what does not fit int8",
        **drawing(
            numbers((2, 3), 4, zeros=False),
            numbers((1, 2, 3, 5), 4, zeros=False),
            numbers((2, 3, 5, 6), 8, zeros=False, dtype=torch.float64),
            numbers((1, 3, 4, 7), 3, zeros=True),
            numbers((2, 1, 5, 4), 2, zeros=False),
            numbers((2, 3, 4, 5), 8, zeros=True),
            numbers((1, 2, 6, 5), 4, zeros=False, dtype=torch.bfloat16),
        ),
        returns=("integers", "scales"),
        mistakes=BITS_MISTAKES,
        hints=(
            "Which number of a row is farthest from 0? It becomes the highest or the lowest level.",
            "With 4 bits there are 16 codes: 0, seven above and seven below; one is left over. So "
            "the highest level is 2^(bits - 1) - 1, and a step is the largest over that.",
            "x.abs().amax(dim=-1, keepdim=True) is the largest of each row. Then x / scales, "
            "round(), clamp(-most, most), to(torch.int8). Where the largest is 0, take 1 for the "
            "scale: torch.where.",
        ),
        play=rounding,
        remark=steps_off,
    ),
}
