"""What one layer keeps, as the config.json says it: heads, a latent, an index key, a state.

Here c is what holds for this one layer; formulas are those of the families' code in transformers.
"""

import math

from course_utils.configs.kinds import (
    CROSS,
    HEAVY,
    HYBRID,
    HYBRID_WINDOW,
    INDEXED,
    LAST_FULL,
    LIGHT,
    NOTHING,
    STATE,
    WINDOW,
    window_of,
)
from course_utils.configs.names import count, is_known, obj, whole
from course_utils.layers import Layers

# Families whose code, beside the model and not in transformers, takes g = n as well.
UNSHARED_ELSEWHERE = "aquila", "baichuan", "btlm", "internlm", "jais", "qwen", "xverse"
NOT_SAID = (
    "config.json has no num_key_value_heads; what model_type {!r} has without it is not known "
    "here: its code tells, and so do the rows of v_proj, which are g · h"
)
WINDOWED, WITH_STATE = {WINDOW, HYBRID_WINDOW}, {STATE, HYBRID, HYBRID_WINDOW}
RATES = {LIGHT: ("compressed_sparse_attention", 4), HEAVY: ("heavily_compressed_attention", 128)}


def keeps(kind, c, letter, i):
    """The Layers, none, one or two, of layer i, whose kind is a letter of `kinds`."""
    if letter == NOTHING:
        return []
    windowed = letter in WINDOWED
    state = state_of(kind, c, windowed) if letter in WITH_STATE else 0
    if letter in WITH_STATE and not state:
        raise ValueError("config.json has layers that keep a state, and no field tells its size")
    if letter == STATE:
        return [Layers(1, state=state)]
    window = window_of(c) if windowed or letter in RATES else None
    index = index_of(kind, c, i) if letter in (INDEXED, LIGHT) else 0
    if c.get("kv_lora_rank"):
        latent = latent_of(c, i)
        return [Layers(1, latent_dim=latent, index_dim=index, window=window, state=state)]
    g, (k, v) = heads(kind, c, windowed), widths(kind, c, windowed)
    if letter in RATES:
        name, usual = RATES[letter]
        every = count(obj(c, "compress_rates"), name, default=usual)
        overlap = 2 * every * (k + index) if letter == LIGHT else 0  # with the entry before
        last = Layers(1, g, k, v, window=window, state=overlap)
        return [last, Layers(1, g, k, v, index_dim=index, every=every)]
    if letter == CROSS:
        return [Layers(1, g, k, v, cross=True)]
    own = Layers(1, g, k, v, index_dim=index, window=window, state=state)
    pictures = kind == "blip_text_model"  # in every layer, though its file does not say so
    reads = c.get("is_encoder_decoder") or c.get("add_cross_attention") or pictures
    return [own, Layers(1, g, k, v, cross=True)] if reads else [own]


# Heads


def heads(kind, c, windowed=False):
    """g, the K/V heads; some families have others in layers with a window, or without."""
    if windowed:
        twice = 2 if kind == "mimo_v2_flash" else 1
        others = "swa_num_key_value_heads", "num_swa_key_value_heads"
        return count(c, *others, default=twice * usual_heads(kind, c))
    if whole_width(kind, c) and c.get("attention_k_eq_v"):  # V is K before its norm and RoPE
        return count(c, "num_global_key_value_heads", default=usual_heads(kind, c))
    return usual_heads(kind, c)


def usual_heads(kind, c):
    """g of the layers that see all tokens."""
    n = count(c, "num_attention_heads")
    if kind == "deepseek_v4":  # the class checks that there is one
        return 1
    if c.get("new_decoder_architecture"):  # Falcon-180B says multi_query as well
        return count(c, "num_kv_heads", "num_key_value_heads", default=n)
    if c.get("multi_query") is not None:  # Falcon-7B, whatever its num_kv_heads; StarCoder
        return 1 if c["multi_query"] else n
    groups = c.get("multi_query_group_num")  # ChatGLM's, but for the first
    if c.get("multi_query_attention") is False or (kind == "chatglm" and groups is None):
        return n
    if groups is not None:
        return whole("multi_query_group_num", groups)
    if c.get("n_shared_head") is not None:  # PLaMo, whatever its num_key_value_heads
        return math.ceil(n / count(c, "n_shared_head"))
    if c.get("group_query_attention") is not None:  # CodeShell
        return count(c, "num_query_groups") if c["group_query_attention"] else n
    attention = obj(c, "attn_config")
    if attention.get("attn_type") == "multiquery_attention":  # MPT
        return 1
    if kind == "dbrx" or attention.get("kv_n_heads") is not None:
        return count(attention, "kv_n_heads", default=1)
    said = c["num_key_value_heads"] is not None or c.get("num_kv_heads") is not None
    if not said and not is_known(kind) and kind not in UNSHARED_ELSEWHERE:
        raise ValueError(NOT_SAID.format(kind))
    return count(c, "num_key_value_heads", "num_kv_heads", default=n)


def whole_width(kind, c):
    """The width of heads in layers that see all, where it is another there; or None."""
    if c.get("per_layer_config"):
        return None
    return count(c, "global_head_dim", default=512 if kind in LAST_FULL else 0) or None


def widths(kind, c, windowed=False):
    """The numbers of a key and of a value: head_dim, or d / n; V may be narrower, or be K."""
    d, n = count(c, "hidden_size"), count(c, "num_attention_heads")
    twice = 2 if kind in ("zamba", "zamba2") else 1  # they attend to two inputs side by side
    h = c["head_dim"] if kind != "zamba2" else None
    if h is None and twice * d % n:
        raise ValueError(
            f"config.json has no head_dim, and hidden_size ({d}) is not divisible by "
            f"num_attention_heads ({n})"
        )
    k = whole("head_dim", h or twice * d // n)
    if kind == "deepseek_v4":  # one head is key and value
        return k, 0
    if windowed:
        if c.get("num_swa_attention_heads"):
            k = d // count(c, "num_swa_attention_heads")
        k = count(c, "swa_head_dim", default=k)
    else:
        k = whole_width(kind, c) or k
    v = c.get("swa_v_head_dim") if windowed else None
    v = v or c.get("v_head_dim")  # 0 where a file is made for a latent and has none
    return k, whole("v_head_dim", v or k)


# Latents and indexers


def latent_of(c, i):
    """The numbers of an MLA layer's latent and RoPE key; some layers have no RoPE."""
    rope, has_rope = c.get("qk_rope_head_dim"), c.get("no_rope_layers") or []
    if type(rope) is not int or rope < 0 or not isinstance(has_rope, list):
        raise ValueError(
            f"config.json has kv_lora_rank, and qk_rope_head_dim {rope!r}; it must be a number: "
            "what is cached is the latent and this key"
        )
    return count(c, "kv_lora_rank") + (0 if i < len(has_rope) and not has_rope[i] else rope)


def index_of(kind, c, i):
    """The numbers of an indexer's key; a layer that uses another's choice of tokens has none."""
    types = c.get("indexer_types") or c.get("index_topk_pattern") or []
    if not isinstance(types, list | str):
        raise ValueError(f"config.json has indexer_types {types!r}; it must be a list")
    period = count(c, "index_topk_freq", default=1)
    offset = whole("index_skip_topk_offset", c.get("index_skip_topk_offset") or 2)
    if kind in ("hy_v4", "hy_v4_vl_text"):
        period, offset = 4, 2
    shared = max(i - offset + 1, 0) % period
    if types[i] in ("shared", "S") if i < len(types) else shared:
        return 0
    names = "sparse_index_dim", "index_head_dim", "indexer_head_dim"
    h = count({**c, **obj(c, "sparse_attention_config")}, *names)
    h *= count(c, "indexer_kv_heads", default=1)
    return 2 * h + 1 if kind == "glm5_next_text" else h  # a key, its gate, and whether it counts


# States


def state_of(kind, c, windowed=False):
    """The numbers of a state and its short convolution; 0 if the file tells none."""
    if kind in OF_FAMILIES:
        return OF_FAMILIES[kind](c)
    if kind in ("inkling_text", "inkling2_text"):
        g, k = heads(kind, c, windowed), widths(kind, c, windowed)[0]
        return convolution(c, 2 * (g * k + count(c, "hidden_size")))
    if c.get("linear_num_value_heads"):
        return delta(c)
    if c.get("linear_num_heads") or obj(c, "linear_attn_config").get("num_heads"):
        return kimi(c)
    if c.get("conv_L_cache"):
        return count(c, "hidden_size") * count(c, "conv_L_cache")
    return mamba(c)


def convolution(c, channels):
    """The numbers that a short convolution over so many channels waits for."""
    names = "mamba_d_conv", "conv_kernel", "conv_kernel_size"
    of_linear = "short_conv_kernel_size", "linear_conv_kernel_dim"
    return channels * count({**c, **obj(c, "linear_attn_config")}, *of_linear, *names, default=4)


def delta(c):
    """Of the gated delta rule a matrix for each head of values, and Q, K and V are convolved."""
    n = count(c, "num_attention_heads", default=1)
    keys, values = (count(c, f"linear_num_{x}_heads", default=n) for x in ("key", "value"))
    k = count(c, "linear_key_head_dim", default=3 * count(c, "hidden_size") // (4 * keys) or 1)
    v = count(c, "linear_value_head_dim", default=2 * k)
    return convolution(c, 2 * keys * k + values * v) + values * k * v


def kimi(c):
    """The same with as many heads for all three, under other names."""
    n, linear = count(c, "num_attention_heads", default=1), obj(c, "linear_attn_config")
    n = count({**c, **linear}, "num_heads", "linear_num_heads", default=n)
    h = count(linear, "head_dim", default=count(c, "linear_head_dim", "head_dim"))
    return convolution(c, 3 * n * h) + n * h * h


def lightning(c):
    """A matrix for each head and nothing else, as in MiniMax-Text-01."""
    return count(c, "num_attention_heads") * widths("", c)[0] ** 2


def bailing(c):
    """Ling 2.5 is as MiniMax, Ling 3 as Kimi."""
    of_ling_2 = "linear_silu" in c and not any(str(x).startswith("kda_") for x in c)
    h = count(c, "linear_head_dim", "head_dim")
    return count(c, "num_attention_heads") * h * h if of_ling_2 else kimi(c)


def griffin(c):
    """RecurrentGemma's sum, and a convolution that keeps one column less."""
    d = count(c, "hidden_size")
    return count(c, "lru_width", default=d) + d * (count(c, "conv1d_width", default=4) - 1)


def rwkv(c):
    """The token before, twice, and three sums."""
    d = count(c, "hidden_size")
    return 2 * d + 3 * count(c, "attention_hidden_size", default=d)


def rwkv6(c):
    """The token before, twice, and a matrix for each head."""
    d = count(c, "hidden_size")
    return 2 * d + d * count(c, "head_size", default=64)


def xlstm(c):
    """Of each head a matrix, a vector and a number."""
    d, n, both = count(c, "hidden_size"), count(c, "num_attention_heads"), []
    for name in ("qk_dim_factor", "v_dim_factor"):
        if type(c.get(name)) not in (int, float) or not 0 < c[name] < 100:
            raise ValueError(f"config.json has {name} {c.get(name)!r}; it must be a number above 0")
        both.append(64 * math.ceil(d * c[name] / 64) // n)
    k, v = both
    return n * (k * v + k + 1)


def zaya(c):
    """Two short convolutions of Q and K, and half of a V that is a token late."""
    n, g, (h, _) = count(c, "num_attention_heads"), heads("zaya", c), widths("zaya", c)
    return (n + g) * h * 2 + g * h // 2


def mamba1(c):
    """Mamba alone, whose file may say how wide it is."""
    inner = count(c, "expand", default=2) * count(c, "hidden_size")
    return mamba(c, count(c, "intermediate_size", default=inner))


def mamba(c, inner=None):
    """Of Mamba 1, or 2, which has groups; 0 if the file tells none."""
    width = count(c, "mamba_d_state", "ssm_state_size", "state_size", default=0)
    if not width:
        return 0
    n = count(c, "mamba_n_heads", "mamba_num_heads", default=0)
    h = c.get("mamba_head_dim") if c.get("mamba_d_head") in (None, "auto") else c["mamba_d_head"]
    if n and h:
        inner = n * whole("mamba_d_head", h)
    usual = count(c, "mamba_expand", "expand", default=2) * count(c, "hidden_size")
    inner = inner or count(c, "mamba_d_ssm", default=usual)
    groups = count(c, "mamba_n_groups", "mamba_ngroups", "n_groups", default=0)
    return convolution(c, inner + 2 * groups * width) + inner * width


OF_FAMILIES = {
    "bailing_hybrid": bailing,
    "bailing_moe_linear": lightning,
    "falcon_mamba": mamba1,
    "mamba": mamba1,
    "minimax": lightning,
    "minimax_m1": lightning,
    "minimax_text_01": lightning,
    "olmo_hybrid": delta,
    "recurrent_gemma": griffin,
    "rwkv": rwkv,
    "rwkv5": rwkv6,
    "rwkv6": rwkv6,
    "xlstm": xlstm,
    "zaya": zaya,
}
