"""Which fields of a config.json are known: what may change the cache and is not, is refused."""

import re

from course_utils.configs.keeps import WINDOWED, WITH_STATE, whole_width
from course_utils.configs.kinds import FIELDS, INDEXED, LIGHT
from course_utils.configs.names import INSIDE, NAMES, UNSHARED, WRITER, family, is_known, per_layer

READ = {  # the fields that this folder reads
    *FIELDS,
    *INSIDE,
    *NAMES,
    *" ".join([*NAMES.values(), *WRITER.values()]).split(),
    *"""
    H_cycles L_cycles add_cross_attention attention_chunk_size attention_hidden_size
    attention_k_eq_v attn_config attn_layer_offset block_configs block_size cla_share_factor
    compress_rates conv1d_width conv_L_cache conv_kernel conv_kernel_size expand
    full_attention_idx global_head_dim group_query_attention head_size index_head_dim
    index_skip_topk_offset index_topk_freq index_topk_pattern indexer_head_dim indexer_kv_heads
    indexer_types intermediate_size is_causal is_decoder is_encoder_decoder kv_lora_rank
    kv_source_layers linear_conv_kernel_dim linear_head_dim linear_key_head_dim linear_num_heads
    linear_num_key_heads linear_num_value_heads linear_value_head_dim local_attention lru_width
    mamba_d_conv mamba_d_head mamba_d_ssm mamba_d_state mamba_expand mamba_head_dim
    mamba_n_groups mamba_n_heads mamba_ngroups mamba_num_heads max_window_layers multi_query
    multi_query_attention multi_query_group_num n_groups n_shared_head new_decoder_architecture
    no_rope_layers num_experts_per_tok num_global_key_value_heads num_key_value_heads_per_layer
    num_kv_heads num_kv_shared_layers num_layers_per_stack num_query_groups
    num_swa_attention_heads num_swa_key_value_heads per_layer_config qk_dim_factor
    qk_rope_head_dim rope_theta short_conv_kernel_size ssm_state_size state_size swa_head_dim
    swa_num_key_value_heads swa_v_head_dim total_ut_steps use_bidirectional_attention use_cla
    use_sliding_window v_dim_factor v_head_dim
    """.split(),
}
# Fields that change the cache much: in a family whose class does not read them they are decoys, or
# its code is another than that of transformers.
DECISIVE = set(
    "full_attention_interval kv_lora_rank multi_query multi_query_group_num n_shared_head "
    "num_kv_shared_layers use_cla".split()
)
NOT_KEPT = {  # fields about weights, queries or reading, or that follow from what is read
    *"""
    attn_res_block_size blocksparse_block_size blocksparse_homo_head_pattern
    blocksparse_num_local_blocks blocksparse_triton_kernel_block_size blocksparse_vert_stride
    chunk_input compression_config compression_ratio cross_attention_hidden_size
    dense_attention_every_n_layers index_n_heads index_topk lora_rank mamba_headdim
    mla_scale_kv_lora mla_scale_q_lora num_attention_heads_per_layer num_gqa_groups
    num_kv_heads_for_linear_attn num_sliding_attention_heads number_of_conv_states o_groups
    o_lora_rank q_head_dim q_lora_rank qk_head_dim qk_nope_head_dim qkv_multipliers share_q_dim
    swa_num_attention_heads use_shared_attention_adapter use_shared_attention_lora
    use_shared_block_lora use_shared_mlp_adapter use_shared_mlp_lora
    """.split(),
}
# What the name of a field has in it that surely, or perhaps, changes what a layer keeps,
SURELY = re.compile(
    "(^|_)(kv|key_value|window|swa|sliding|cla|sinks?|latents?|loops?|cycles|ut_steps)(_|$)"
)
PERHAPS = re.compile(
    "layer_types|layers_block|block_types|block_configs|block_size|pattern|interval|every_|_idxs?$|"
    "layer_ids|indices|window|swa|sliding|global|local_|chunk|shared|share_|cross_att|linear_|"
    "mamba|ssm|conv|recurren|(^|_)states?(_|$)|(^|_)lru|rwkv|index|compress|latent|lora_rank|kv|"
    "key_value|multi_query|groups|head_dim|head_size|heads|k_eq_v|per_layer|hybrid|sparse_config|"
    "prompt_length"
)
# and what excuses either of them, or the second only.
HARMLESS = re.compile("^_|^encoder_|rope|bias|norm|moe|expert|vision|image|audio|video|quant")
MOSTLY_HARMLESS = re.compile(
    "beam|activation|mlp|ffn|(^|_)dense|intermediate|token|dropout|torch|dtype|version|use_cache|"
    "cache_impl|attn_impl|gradient|loss|init|hash|classif|return_dict|pad_|pruned|label|embed|"
    "vocab|chunk_size_feed_forward|output_|tie_|kernel|dilation|mtp|limited_groups|reward|noise|"
    "engram|hidden_states|hidden_clamp|scale|divisor"
)
OF_STATES = re.compile("mamba_|ssm_|time_step|linear_|conv")
OTHER_G = "swa_num_key_value_heads", "num_swa_key_value_heads", "num_global_key_value_heads"
ONLY_WHERE = {  # fields about some layers: whether there are such layers
    "swa_num_key_value_heads": lambda kind, c, letters: WINDOWED & {*letters},
    "num_swa_key_value_heads": lambda kind, c, letters: WINDOWED & {*letters},
    "num_global_key_value_heads": lambda kind, c, letters: whole_width(kind, c),
    "index_head_dim": lambda kind, c, letters: is_known(kind) or {INDEXED, LIGHT} & {*letters},
    "per_layer_config": lambda kind, c, letters: per_layer(c).keys() <= {*range(len(letters))},
    "ple_layer_ids": lambda kind, c, letters: False,  # Qwen4's convolutions over words
}


def check_known(kind, c, letters):
    """Raise ValueError at fields that may change what a layer keeps and that are not read here."""
    said = {x: value for x, value in c.items() if value not in (None, False, 0, -1, "", [], {})}
    unknown = [x for x in said if is_suspect(kind, c, x, letters)]
    if unknown:
        raise ValueError(
            f"config.json has {', '.join(unknown)}, and what that changes in the cache is not "
            "known here"
        )
    for field in ONLY_WHERE.keys() & said.keys():
        of_all = field in OTHER_G and said[field] == c["num_key_value_heads"]
        if not of_all and not ONLY_WHERE[field](kind, c, letters):
            raise ValueError(
                f"config.json has {field} {said[field]!r}, and which layers that is for is not "
                "known here"
            )


def is_suspect(kind, c, field, letters):
    """Whether a field may change what a layer keeps, and is not known."""
    if field in NOT_KEPT or field in family(kind) or not isinstance(field, str):
        return False
    if kind in UNSHARED and field == "num_key_value_heads" and field not in family(kind):
        return c[field] != c["num_attention_heads"]
    if field in READ:
        return bool(family(kind)) and field in DECISIVE
    if kind == "gpt_neo" and field == "attention_layers":  # all of them keep all tokens
        return False
    if WITH_STATE & {*letters} and OF_STATES.match(field):
        return False
    value = c[field]
    of_each = isinstance(value, list) and len(value) == len(letters) > 3
    return looks_suspect(field) or (of_each and not looks_harmless(field))


def looks_suspect(field):
    """Whether the name of a field says that it may change what a layer keeps."""
    surely = SURELY.search(field) and not HARMLESS.search(field)
    return bool(surely or (PERHAPS.search(field) and not looks_harmless(field)))


def looks_harmless(field):
    return HARMLESS.search(field) or MOSTLY_HARMLESS.search(field)
