"""A config.json, put together: the sizes of a model, and what all its layers keep."""

from dataclasses import replace

from course_utils.configs.keeps import WINDOWED, heads, keeps
from course_utils.configs.kinds import (
    FULL,
    HYBRID,
    INDEXED,
    LAST_FULL,
    field_of_kinds,
    kinds,
    n_layers,
    passes,
    window_of,
)
from course_utils.configs.known import check_known
from course_utils.configs.names import (
    count,
    families,
    family,
    is_known,
    per_layer,
    rope_settings,
    settled,
)
from course_utils.layers import Layers, grouped

LISTED = "num_key_value_heads", "num_kv_heads", "num_attention_heads", "head_dim"  # by some
SAYS_G = (  # fields of which one has to be there, where there is no family
    "num_key_value_heads num_kv_heads multi_query multi_query_group_num n_shared_head "
    "group_query_attention attn_config kv_lora_rank"
).split()


def sizes(config):
    """The fields of a `Geometry` that a config.json (a dict) tells, as a dict.

    Raises ValueError if a number is missing, or if a field is not known here that may change what a
    layer keeps.
    """
    kind, c = settled(config)
    bound, context = not_counted(kind, c), c["max_position_embeddings"]
    if kind is None and c["num_key_value_heads"] is None:  # no family's file: an upper bound
        c["num_key_value_heads"] = c["num_attention_heads"]
    layers = () if only_reads(kind, c) else all_keep(kind, c)
    with_heads = [x for x in layers if x.n_kv_heads]
    latent = max((x.latent_dim for x in layers), default=0)
    needed = None if with_heads or latent else 0  # else the file need not say it
    l = n_layers(kind, c) * passes(kind, c) if layers else count(c, "num_hidden_layers", default=0)
    d = count(c, "hidden_size", default=needed)
    n = count(of_layer(c, 0) or c, "num_attention_heads", default=needed)
    g = h = 0
    if with_heads:  # of a layer that keeps all tokens, if there is one
        main = min(with_heads, key=lambda x: (x.cross, x.window or 0))
        g, h = main.n_kv_heads, main.key_dim
    elif latent:  # what the file says, though none are cached
        g, h = count(c, "num_key_value_heads", default=n), count(c, "v_head_dim", default=d // n)
    alike = [Layers(l, latent_dim=latent)] if latent else [Layers(l, g, h, h)] if g else None
    return {
        "n_layers": l,
        "n_heads": n,
        "n_kv_heads": g,
        "head_dim": h,
        "d_model": d,
        "max_context": context if type(context) is int and context > 0 else None,
        "latent_dim": latent or None,
        "layers": None if [*layers] == alike else layers,
        "upper_bound": bound if layers else "",
        "rope_theta": rope_theta(c),
        "vocab": c["vocab_size"] if type(c["vocab_size"]) is int else None,
    }


def only_reads(kind, c):
    """Whether every token sees all, so that nothing can be cached: an encoder."""
    if c.get("is_encoder_decoder"):
        return False
    encoder = is_known(kind) and families()[kind] is None
    by_default = "is_decoder" in family(kind) and not c["is_decoder"]  # BERT, if nothing is said
    both_ways = kind in ("gemma3_text", *LAST_FULL) and c.get("use_bidirectional_attention")
    return encoder or by_default or c.get("is_causal") is False or both_ways in (True, "all")


def all_keep(kind, c):
    """The tuple of Layers of a model."""
    letters, found = kinds(kind, c), []
    check_known(kind, c, letters)
    share = count(c, "cla_share_factor", default=2) if c.get("use_cla") else 1
    sources = c.get("kv_source_layers") or range(len(letters))
    if not isinstance(sources, list | range) or len(sources) < len(letters):
        raise ValueError(f"config.json has kv_source_layers {sources!r}, and {len(letters)} layers")
    for i, letter in enumerate(letters):
        own = of_layer(c, i)
        if own is None or i % share:  # with use_cla so many layers share one cache
            continue
        kept = keeps(kind, own, letter, i)
        if sources[i] != i:  # another layer's latent, an index key of its own
            kept = [replace(x, latent_dim=0) for x in kept if x.index_dim]
        found += kept
    return grouped(found * passes(kind, c))


def of_layer(c, i):
    """What holds for layer i: the config, with what it says of this layer alone; None of no-ops."""
    own = c | per_layer(c).get(i, {})
    for field in LISTED:
        if isinstance(own.get(field), list):
            if i >= len(own[field]):
                raise ValueError(f"config.json has {field} of {len(own[field])} layers only")
            own[field] = own[field][i]
    blocks = c.get("block_configs")
    if not isinstance(blocks, list | None):
        raise ValueError(f"config.json has block_configs {blocks!r}; it must be a list")
    return of_block(own, blocks[i]) if blocks else own


def of_block(c, block):
    """What holds for a layer by its entry in Nemotron's block_configs; None if it keeps nothing."""
    attention = block.get("attention") if isinstance(block, dict) else None
    if not isinstance(attention, dict):
        raise ValueError(f"config.json has {block!r} in block_configs; it must have attention")
    if attention.get("no_op") or attention.get("replace_with_linear"):
        return None
    for field in ("window_length", "num_sink_tokens", "sparsify", "mamba", "llama4"):
        if attention.get(field):
            raise ValueError(
                f"config.json has {field} in block_configs, and what that changes in the cache is "
                "not known here"
            )
    if attention.get("n_heads_in_group") is None:
        return c | {"num_key_value_heads": count(attention, "num_key_value_heads")}
    g = count(c, "num_attention_heads") // count(attention, "n_heads_in_group")
    return c | {"num_key_value_heads": g}


def not_counted(kind, c):
    """What is said where a file does not say enough to count exactly, or ""."""
    if kind is None and not any(c.get(x) for x in SAYS_G):
        return "as many K/V heads as heads, for want of num_key_value_heads and of a model_type"
    window, context = window_of(c), c["max_position_embeddings"]
    if is_known(kind) or field_of_kinds(c) or not window:
        return ""
    if type(context) is int and window >= context:
        return ""  # it is never full
    return f"sliding window of {window} tokens in some or all layers"


def rope_theta(c):
    """The base of RoPE, in the layers that see all; None if the file does not say one number."""
    rope = rope_settings(c)
    rope = rope.get("full_attention", rope)
    theta = rope.get("rope_theta", c.get("rope_theta")) if isinstance(rope, dict) else None
    return theta if type(theta) in (int, float) else None


def one_g(config):
    """g, if it is one for all layers that cache K/V heads; `geometry.kv_heads` says more."""
    kind, c = settled(config)
    if c.get("kv_lora_rank"):
        raise ValueError(
            "no K/V heads are cached, but one latent a token and layer, of which all heads are made"
        )
    letters = kinds(kind, c) if c["num_hidden_layers"] is not None else FULL
    check_known(kind, c, letters)
    if c["num_hidden_layers"] is None:  # then the file says one g, or nothing
        return heads(kind, c)
    counts = set()
    for i, letter in enumerate(letters):
        own = of_layer(c, i)
        if own and letter in {FULL, HYBRID, INDEXED, *WINDOWED}:
            counts.add(heads(kind, own, letter in WINDOWED))
    if not counts or only_reads(kind, c):
        raise ValueError("no K/V heads are cached")
    if len(counts) > 1:
        listed = ", ".join(map(str, sorted(counts)))
        raise ValueError(
            f"config.json has layers of different g: {listed}; see from_config(config).g"
        )
    return counts.pop()
