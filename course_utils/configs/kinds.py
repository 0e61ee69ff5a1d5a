"""Which kind each layer of a model is, as its config.json says it: a letter a layer.

>>> from course_utils.configs.names import settled
>>> file = {"model_type": "gemma3_text", "num_hidden_layers": 8, "sliding_window": 512}
>>> kinds(*settled(file))
'WWWWWFWW'
"""

from course_utils.configs.names import count, family, is_known, whole

# A layer keeps all tokens, or the last ones; a state; both K/V and a state (hybrid); a key for an
# indexer as well; K/V of what an encoder read; nothing. DeepSeek-V4's two keep the last tokens and,
# of all, one entry for a few or for many.
FULL, WINDOW, STATE, HYBRID, HYBRID_WINDOW, INDEXED, CROSS, NOTHING = "FWSHhIX-"
LIGHT, HEAVY = "cC"
MEANS = {
    "full_attention attention full global dense *": FULL,
    "sliding_attention chunked_attention local": WINDOW,
    "linear_attention linear mamba mamba2 recurrent conv M": STATE,
    "hybrid": HYBRID,
    "hybrid_sliding": HYBRID_WINDOW,
    "indexed_attention deepseek_sparse_attention qwen_sparse_attention minimax_m3_sparse": INDEXED,
    "compressed_sparse_attention": LIGHT,
    "heavily_compressed_attention": HEAVY,
    "moe mlp E -": NOTHING,
    "L": WINDOW,  # sliding_window_pattern "LLLG"
    "G": FULL,
}
MEANS = {name: letter for names, letter in MEANS.items() for name in names.split()}
STATES_ONLY = "rwkv", "rwkv5", "rwkv6", "xlstm"
MOST = 10_000  # layers
LAST_FULL = "diffusion_gemma_text", "embedding_gemma2_text", "gemma4_text", "gemma4_unified_text"


def named(c, field, l):
    """Names, in a list or as the letters of a text."""
    value = c[field]
    if not isinstance(value, list | str):
        raise ValueError(f"config.json has {field} {value!r}; it must be a list of names")
    if unknown := dict.fromkeys(str(x) for x in value if str(x) not in MEANS):
        raise ValueError(
            f"config.json has layers called {', '.join(unknown)} in {field}, and what they keep is "
            "not known here"
        )
    return "".join(MEANS[str(x)] for x in value)


def in_turn(c, field, l):
    """Names for a few layers, over and over; or a number, each so many layers one of FULL."""
    if type(c[field]) is int:
        return every(WINDOW)(c, field, l)
    return (named(c, field, l) * l)[:l]


def every(others, offset=None):
    """A number, each so many layers one of FULL; the last of them, or where another field says."""

    def read(c, field, l):
        period = count(c, field)
        at = period - 1 if offset is None else c.get(offset) or 0
        if at not in range(period):
            raise ValueError(f"config.json has {offset} {at!r}; it must be from 0 to {period - 1}")
        return "".join(FULL if i % period == at else others for i in range(l))

    return read


def numbered(letter, others):
    """The numbers of the layers of one kind."""

    def read(c, field, l):
        if not isinstance(c[field], list) or any(type(i) is not int for i in c[field]):
            raise ValueError(f"config.json has {field} {c[field]!r}; it must list layers' numbers")
        if not {*c[field]} <= {*range(l)}:
            raise ValueError(f"config.json has {field} {c[field]!r}, and {l} layers")
        return "".join(letter if i in c[field] else others for i in range(l))

    return read


def mapped(letters, inside=None):
    """A list with a number for each layer, which stands for a kind; or such a list in a dict."""

    def read(c, field, l):
        value = c[field].get(inside) if inside and isinstance(c[field], dict) else c[field]
        if not isinstance(value, list) or not {*map(repr, value)} <= letters.keys():
            raise ValueError(f"config.json has {field} {value!r}; known here: {', '.join(letters)}")
        return "".join(letters[repr(x)] for x in value)

    return read


def flagged(yes, no, inside=None):
    """A list of 1 and 0, or true and false."""
    return mapped({"0": no, "1": yes, "False": no, "True": yes}, inside)


def in_the_middle(c, field, l):
    """PLaMo 2's number: one in so many layers attends, in the middle of them."""
    step = count(c, field)
    at = l - 1 if l <= step // 2 else step // 2
    full = c.get("full_attention_idx")
    attends = [FULL if not isinstance(full, list) or i in full else WINDOW for i in range(l)]
    return "".join(attends[i] if step == 1 or i % step == at else STATE for i in range(l))


def from_one(c, field, l):
    """Kimi's dict: the numbers of the layers of full attention, the first is 1."""
    if not isinstance(c[field], dict):
        raise ValueError(f"config.json has {field} {c[field]!r}; it must be an object")
    return numbered(FULL, STATE)({field: c[field]["full_attn_layers"]}, field, l + 1)[1:]


# What a file says of its layers, and how; the first of these fields that is there counts.
FIELDS = {
    "linear_attn_config": from_one,
    "layer_types": named,
    "layers_block_type": named,
    "hybrid_override_pattern": named,
    "block_types": in_turn,
    "_block_types": in_turn,
    "compress_ratios": mapped({"0": WINDOW, "4": LIGHT, "128": HEAVY}),
    "attn_type_list": flagged(FULL, STATE),
    "hybrid_layer_pattern": flagged(WINDOW, FULL),
    "sparse_attention_config": flagged(INDEXED, FULL, inside="sparse_attention_freq"),
    "full_attn_idxs": numbered(FULL, STATE),
    "attn_layer_indices": numbered(FULL, STATE),
    "hybrid_layer_ids": numbered(HYBRID, STATE),
    "cross_attention_layers": numbered(CROSS, FULL),
    "sliding_window_layers": numbered(WINDOW, FULL),
    "local_layer_ids": numbered(HYBRID_WINDOW, HYBRID),
    "mamba_step": in_the_middle,
    "attn_layer_period": every(STATE, offset="attn_layer_offset"),
    "full_attention_interval": every(STATE),
    "layer_group_size": every(STATE),
    "global_attn_every_n_layers": every(WINDOW),
    "global_attn_every_n": every(WINDOW),
    "sliding_window_pattern": in_turn,
}


def field_of_kinds(c):
    """The field that tells the kinds of layers, or None."""
    for field in FIELDS:
        value = c.get(field)
        inside = not isinstance(value, dict) or value.get("full_attn_layers")
        if value and (inside or field != "linear_attn_config"):
            return field
    return None


def n_layers(kind, c):
    """l: as the file says it, or as long as its list of layers."""
    for field in ("block_configs", "layers_block_type", "hybrid_override_pattern"):
        if isinstance(c.get(field), list | str) and c[field]:
            return len(c[field])
    if c["num_hidden_layers"] is None and isinstance(c.get("layer_types"), list):
        return len(c["layer_types"])
    l = count(c, "num_hidden_layers")
    if kind == "longcat_flash":  # two attentions in each layer
        return 2 * l
    if kind == "hrm_text" and c.get("num_layers_per_stack") is None:  # each layer comes back
        return l * count(c, "H_cycles") * (count(c, "L_cycles") + 1)
    return l


def passes(kind, c):
    """How often a text goes through all layers, which keep something each time."""
    return count(c, "total_ut_steps", default=4) if kind == "ouro" else 1


def window_of(c):
    """The tokens that a windowed layer keeps; None without windows, which -1 and 0 mean as well."""
    if c.get("use_sliding_window") is False:
        return None
    if c.get("attention_chunk_size") in (None, 0, -1) and c["sliding_window"] in (None, 0, -1):
        half = count(c, "local_attention", default=0) // 2  # of ModernBERT's decoder
        return half or None
    return whole("sliding_window", c.get("attention_chunk_size") or c["sliding_window"])


def kinds(kind, c):
    """A letter for each layer.

    Raises ValueError at a name that is not known, or if there are not as many as layers.
    """
    l, field, taken = n_layers(kind, c), field_of_kinds(c), family(kind).get("pattern")
    if l * passes(kind, c) > MOST:
        raise ValueError(
            f"config.json has {l} layers, {passes(kind, c)} times; known here are {MOST} at most"
        )
    if kind == "zamba" and not c.get("layers_block_type"):
        others = every(STATE, offset="attn_layer_offset")(c, "attn_layer_period", l)
        letters = "SSH" + others.replace(FULL, HYBRID)
    elif kind == "llama4_text" and not c.get("layer_types") and c.get("no_rope_layers"):
        letters = flagged(WINDOW, FULL)(c, "no_rope_layers", l)
    elif field:
        letters = FIELDS[field](c, field, l)
    elif taken == "max_window_layers":
        n_full = min(l, count(c, taken)) if c.get(taken) else 0
        letters = FULL * n_full + WINDOW * (l - n_full)
    elif taken or kind in STATES_ONLY:
        letters = pattern(taken or f"|{STATE}|", l)
    else:  # of a family that is not known nobody knows which layers a window is for
        letters = (WINDOW if is_known(kind) else FULL) * l
    if len(letters) < l:
        raise ValueError(f"config.json has {field} of {len(letters)} layers, and {l} layers")
    if kind == "recurrent_gemma":
        letters = letters.replace(FULL, WINDOW)
    if kind in ("glm5_next_text", "qwen4_exp_text"):
        letters = letters.replace(FULL, INDEXED)
    if kind in LAST_FULL or (kind == "olmo_hybrid" and FULL not in letters):
        letters = letters[: l - 1] + FULL
    if not window_of(c):
        letters = letters.replace(WINDOW, FULL).replace(HYBRID_WINDOW, HYBRID)
    shared = c.get("num_kv_shared_layers") or 0  # the last layers read what others keep
    if type(shared) is not int or not 0 <= shared <= l:
        raise ValueError(f"config.json has num_kv_shared_layers {shared!r}, and {l} layers")
    return letters[: l - shared] + NOTHING * shared


def pattern(text, l):
    """l letters: `text` is first|in turn|last, and < before it if they count from the last layer.

    >>> pattern("|WWF|", 8), pattern("F|WWF|F", 8), pattern("<|FWW|", 8)
    ('WWFWWFWW', 'FWFWWFWF', 'WFWWFWWF')
    """
    first, turn, last = text.strip("<").split("|")
    letters = (turn * l)[:l]
    if text.startswith("<"):
        letters = letters[::-1]
    letters = (first + letters[len(first) :])[:l]
    return letters[: l - len(last)] + last
