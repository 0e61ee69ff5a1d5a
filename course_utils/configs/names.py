"""One form for all files: the part that writes, under the usual names, with nothing left out.

Throughout this folder a config is a pair: `kind`, its model_type, and `c`, a dict in that form. n
query heads, g key/value heads, h head_dim, d d_model, l layers.
"""

import functools
import json
import re

from course_utils import data_path

# Families whose code takes g = n where config.json has no num_key_value_heads, or null. Others take
# a number of their own (Mistral's code 8), or have another field (ChatGLM2 multi_query_group_num).
# Those that lesson 08 asks about; here data/families.json tells.
UNSHARED = "bloom", "gpt2", "gpt_neox", "gptj", "llama", "opt", "phi"
INSIDE = (  # where a model that also sees or hears has the part that writes
    "text_config",
    "llm_config",
    "language_config",
    "thinker_config",
    "lm_config",
    "text_model_config",
    "decoder_config",
    "decoder",
)
NAMES = {  # what else a field is called
    "num_hidden_layers": "n_layer n_layers num_layers layers num_transformer_layers num_blocks",
    "num_attention_heads": "n_head n_heads num_heads attention_heads num_query_heads",
    "hidden_size": "n_embd n_embed d_model emb_dim model_dim embed_dim embedding_dim dim",
    "head_dim": "d_kv d_head kv_channels attention_head_dim dim_head attention_head_size "
    "hidden_size_per_head",
    "num_key_value_heads": "num_attention_groups n_head_kv n_kv_heads n_kv_head",
    "max_position_embeddings": "n_positions n_ctx seq_length max_sequence_length max_seq_len "
    "model_max_length context_length max_context_length max_target_positions",
    "sliding_window": "attention_window_size sliding_window_size",
    "vocab_size": "padded_vocab_size",
}
WRITER = {  # what it is called in the part that writes, where another part reads
    "num_hidden_layers": "num_decoder_layers decoder_layers decoder_num_hidden_layers",
    "num_attention_heads": "decoder_attention_heads num_decoder_attention_heads "
    "decoder_num_attention_heads",
    "num_key_value_heads": "decoder_num_key_value_heads",
}
ALSO = {"deepseek_ref": "deepseek_v4", "florence2_language": "bart"}  # what makers call a family
UNKNOWN = {  # families that are refused: what they keep besides, or instead
    "blt": "encoder_config, a cache for bytes and another for patches",
    "cpmant": "prompt_length, tokens that no text shows",
    "dory": "n_recurrent_loops, layers that come back",
    "inkling2_loop_text": "loop_num_passes, layers that come back",
    "reformer": "attn_layers, which keep hidden states",
    "xlnet": "mem_len, which keeps hidden states",
}
SIZES = "num_hidden_layers", "num_attention_heads", "hidden_size"


@functools.cache
def families():
    """What transformers' classes take for granted, by model_type; None for one that only reads.

    >>> families()["gemma3_text"]["head_dim"], families()["vit"]
    (256, None)
    """
    return json.loads(data_path("families.json").read_text(encoding="utf-8"))


def is_known(kind):
    """Whether transformers has a class for this model_type."""
    return isinstance(kind, str) and kind in families()


def family(kind):
    """What is taken for granted in a family; {} of one that is not known, or only reads."""
    return (families()[kind] if is_known(kind) else None) or {}


def settled(config):
    """(kind, c) of a config.json, a dict.

    What the file leaves out is filled in as the family's class does; l, n and d only in a part
    inside another, for those are written as what differs from the class.

    >>> kind, c = settled({"text_config": {"model_type": "gemma3_text", "hidden_size": 2560}})
    >>> kind, c["num_attention_heads"], c["head_dim"]
    ('gemma3_text', 8, 256)
    """
    kind, part, has_encoder = writer(config)
    granted, nested = family(kind), part is not config
    has_encoder = has_encoder or part.get("is_encoder_decoder", granted.get("is_encoder_decoder"))
    c = {**granted, **part, "is_encoder_decoder": has_encoder}
    for name, others in NAMES.items():
        names, in_decoder = [name, *others.split()], WRITER.get(name, "").split()
        names = [*in_decoder, *names] if has_encoder else [*names, *in_decoder]
        c[name] = first(part, names)
        if not any(x in part for x in names) and (nested or name not in SIZES):
            c[name] = first(granted, names)
    if kind is None and c["max_position_embeddings"] is None:
        c["max_position_embeddings"] = c.get("block_size")  # as nanoGPT has it
    if c.get("num_key_value_heads_per_layer") is not None:
        c["num_key_value_heads"] = c["num_key_value_heads_per_layer"]
    if kind == "jetmoe" and c["num_attention_heads"] is None:
        experts = count(c, "num_experts_per_tok", default=2)
        c["num_attention_heads"] = experts * count(c, "num_key_value_heads")
    if str(config.get("model_type")).startswith("gemma4") and "assistant" in config["model_type"]:
        c["num_kv_shared_layers"] = c["num_hidden_layers"]  # it reads another model's cache
    return kind, c


def writer(config):
    """(model_type, dict, whether an encoder comes before it) of the part that writes.

    Raises ValueError if config is no dict, or of a family that is refused.
    """
    if not isinstance(config, dict):
        raise ValueError(f"config.json is a {type(config).__name__}; it must be an object: {{…}}")
    kind, part, has_encoder = config.get("model_type"), config, config.get("is_encoder_decoder")
    while name := next((x for x in INSIDE if part.get(x) and isinstance(part[x], dict)), None):
        kind = part[name].get("model_type") or family(kind).get("inside")
        has_encoder = has_encoder or name == "decoder"
        around = {x: value for x, value in part.items() if x != name}
        own_sizes = any(first(part[name], names) for names in of_sizes())
        part = part[name] if own_sizes or not has_all_sizes(around) else around | part[name]
    if not isinstance(kind, str | None):
        raise ValueError(f"config.json has model_type {kind!r}; it must be a text")
    if kind is None and str(config.get("architectures")).startswith("['LongcatFlash"):
        kind = "longcat_flash"
    kind = ALSO.get(kind, kind)
    for name in {str(config.get("model_type")), kind} & UNKNOWN.keys():
        raise ValueError(f"what {name} caches is not known here: it has {UNKNOWN[name]}")
    return family(kind).get("inside", kind), part, has_encoder  # inside: an older file, all in one


def of_sizes():
    """The names of l, of n and of d."""
    return [[name, *NAMES[name].split()] for name in SIZES]


def has_all_sizes(fields):
    return all(first(fields, names) is not None for names in of_sizes())


def first(fields, names):
    """The first of these fields that is not null, or None."""
    return next((fields[x] for x in names if fields.get(x) is not None), None)


def count(config, *names, default=None):
    """The first of these fields that is there and not null; ValueError if it is not one number."""
    for name in names:
        if config.get(name) is not None:
            return whole(name, config[name])
    if default is None:
        others = NAMES.get(names[0], " ".join(names[1:])).split()
        listed = f" (nor {', '.join(others)})" if others else ""
        raise ValueError(
            f"config.json has no {names[0]}{listed}; it does not tell what this model caches"
        )
    return default


def whole(name, value):
    """The value of a field; ValueError if it is not a whole number above 0."""
    if type(value) is not int or not 1 <= value < 2**31:
        raise ValueError(
            f"config.json has {name} {value!r}; it must be one number, at least 1, that holds for "
            "every layer"
        )
    return value


def obj(c, name):
    """A field that is an object, {} where it is not there; ValueError if it is something else."""
    value = c.get(name) or {}
    if not isinstance(value, dict):
        raise ValueError(f"config.json has {name} {value!r}; it must be an object: {{…}}")
    return value


def per_layer(c):
    """Of per_layer_config what holds for some layers alone, {number: fields}."""
    found = obj(c, "per_layer_config")
    for number, fields in found.items():
        if not re.fullmatch("[0-9]{1,5}", str(number)) or not isinstance(fields, dict):
            raise ValueError(f"config.json has {number!r}: {fields!r} in per_layer_config")
    return {int(number): fields for number, fields in found.items()}


def rope_settings(config):
    """What a config says of RoPE: old files have rope_scaling, which wins, new ones the other."""
    return obj(config, "rope_scaling") or obj(config, "rope_parameters")
