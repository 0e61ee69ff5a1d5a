"""A tiny model of every architecture in transformers, and the bytes of the cache it really keeps.

One recipe makes the config: `small` gives each field that is in SIZES a small number, and the class
takes its defaults for all others. OVERRIDES has what an architecture wants besides: a second kind of
layers, or sizes that must fit together. Of a model that also sees or hears only the part that
writes is built, its config being that of the whole; an encoder's output is made up.
"""

import dataclasses
import importlib
import inspect
import json
import warnings

import torch
import transformers
from transformers import CONFIG_MAPPING, DynamicCache, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.auto import modeling_auto

from course_utils.configs.names import INSIDE

MAPPINGS = (
    "SEQ_TO_SEQ_CAUSAL_LM",
    "SPEECH_SEQ_2_SEQ",
    "CAUSAL_LM",
    "IMAGE_TEXT_TO_TEXT",
    "MULTIMODAL_LM",
)
CLASSES = {}  # {model_type: name of its class}, of all architectures that write
for mapping in MAPPINGS:
    for kind, name in getattr(modeling_auto, f"MODEL_FOR_{mapping}_MAPPING_NAMES").items():
        CLASSES.setdefault(kind, name if isinstance(name, str) else name[0])

BATCH, SOURCE, PROMPT = 2, 7, 9  # tokens: an encoder's, and those read at once before the others
TOKENS = 12, 16  # multiples of 4, the most tokens that share an entry here (DeepSeek-V4)
D = 48  # the window, 5, is less than the prompt; n, g, h, d, K's and V's width all differ

SIZES = {
    48: "hidden_size d_model n_embd emb_dim embed_dim",
    6: "num_attention_heads n_head num_heads n_heads attention_heads encoder_attention_heads "
    "decoder_attention_heads num_encoder_attention_heads num_decoder_attention_heads "
    "encoder_num_attention_heads decoder_num_attention_heads num_hidden_layers "
    "hidden_size_per_layer_input",
    2: "num_key_value_heads num_kv_heads decoder_num_key_value_heads "
    "encoder_num_key_value_heads encoder_layers num_encoder_layers "
    "encoder_num_hidden_layers num_experts_per_tok moe_k moe_topk "
    "linear_num_key_heads index_n_heads",
    16: "head_dim d_kv kv_channels dim_head",
    3: "decoder_layers num_decoder_layers decoder_num_hidden_layers linear_num_heads",
    4: "num_layers n_layer n_layers layers num_experts num_local_experts n_routed_experts "
    "moe_num_experts qk_rope_head_dim index_topk linear_num_value_heads swa_num_key_value_heads "
    "d_rel",
    40: "intermediate_size ffn_dim d_ff dff encoder_ffn_dim decoder_ffn_dim dim_ff "
    "ffn_hidden_size feed_forward_size dense_intermediate_size",
    20: "moe_intermediate_size shared_expert_intermediate_size expert_ffn_hidden_size "
    "shared_intermediate_size moe_hidden_size shared_experts_intermediate_size "
    "moe_shared_expert_intermediate_size",
    128: "vocab_size vocab_size_per_layer_input src_vocab_size tgt_vocab_size",
    64: "max_position_embeddings n_positions n_ctx max_seq_len max_source_positions "
    "max_target_positions max_encoder_position_embeddings max_decoder_position_embeddings",
    1: "n_group topk_group first_k_dense_replace num_dense_layers",
    5: "sliding_window sliding_window_size window_size attention_window_size attention_chunk_size",
    11: "local_attention",
    14: "kv_lora_rank",
    12: "q_lora_rank swa_head_dim",
    8: "qk_nope_head_dim linear_key_head_dim linear_head_dim rotary_dim swa_num_attention_heads",
    10: "v_head_dim linear_value_head_dim",
    18: "index_head_dim",
    7: "state_size",
    24: "embedding_size projection_dim",
    32: "audio_vocab_size t2u_vocab_size char_vocab_size unit_hifi_gan_vocab_size",
}
SIZES = {name: size for size, names in SIZES.items() for name in names.split()}
EVEN_IF_NULL = """num_key_value_heads num_kv_heads head_dim sliding_window num_decoder_layers
    decoder_num_key_value_heads encoder_num_key_value_heads num_experts_per_tok n_group topk_group
    n_routed_experts audio_vocab_size""".split()


def of(kinds, **fields):
    """The same row of OVERRIDES for several architectures."""
    return {kind: dict(fields) for kind in kinds.split()}


def rope(*section, **more):
    """RoPE of pictures, whose parts of a head add up to half of what turns."""
    return {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [*section]} | more


FULL, NEAR, STATE = "full_attention", "sliding_attention", "linear_attention"
READS = {"is_decoder": True, "add_cross_attention": True}
ASSISTANT = {
    "num_kv_shared_layers": 14,
    "hidden_size_per_layer_input": 0,
    "vocab_size_per_layer_input": 0,
}
LIGHT = {"num_hidden_layers": 1}
HALF = {"partial_rotary_factor": 0.5}

OVERRIDES = {  # model_type: fields, of a whole model or of a part inside one
    # a second kind of layers, where the class's own pattern shows none in 6
    **of("laguna mellum step3p5", layer_types=[FULL, NEAR, NEAR] * 2),
    **of("lfm2 lfm2_moe", layer_types=["conv", "conv", FULL] * 2),
    **of("qwen2 qwen3", use_sliding_window=True, max_window_layers=4),
    "mllama_text_model": {"cross_attention_layers": [1, 4]},
    "deepseek_v4": {
        "compress_rates": {"compressed_sparse_attention": 2, "heavily_compressed_attention": 4},
        "layer_types": [NEAR, "heavily_compressed_attention", "compressed_sparse_attention"] * 2,
    },
    "glm_moe_dsa": {"indexer_types": ["full", "full", "shared"] * 2},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "minimax_m3_vl_text": {"layer_types": [FULL, "minimax_m3_sparse", "minimax_m3_sparse"] * 2},
    "mistral_large4_text": {
        "kv_source_layers": [0, 1, 1, 3, 4, 4],
        "indexer_types": ["full", "full", "full", "shared", "full", "shared"],
    },
    "smollm3": {"use_sliding_window": True, "no_rope_layer_interval": 3},
    "zamba": {"num_hidden_layers": 12},
    "zaya": {"layer_types": ["hybrid", "hybrid_sliding"] * 3, "num_experts_per_tok": 1},
    # layers that share what others keep
    **of(
        "gemma4_text gemma4_unified_text",
        num_hidden_layers=14,
        num_kv_shared_layers=2,
        attention_k_eq_v=True,
        num_global_key_value_heads=1,
        global_head_dim=20,
    ),
    "gemma3n_text": {"num_hidden_layers": 12, "num_kv_shared_layers": 2},
    # states
    "bamba": {"mamba_n_heads": 8, "attn_layer_indices": [2, 5]},
    "falcon_h1": {"mamba_d_ssm": 24, "mamba_n_heads": 3},
    "granitemoehybrid": {"mamba_n_heads": 8, "layer_types": ["mamba", "attention"] * 3},
    "mamba2": {"num_heads": 12, "head_dim": 8, "n_groups": 2},
    "nemotron_h": {"layers_block_type": [STATE, "moe", STATE, FULL, "mlp"], "n_groups": 2},
    "xlstm": {"hidden_size": 128, "num_heads": 4},
    "zamba2": {"layers_block_type": [STATE, STATE, "hybrid"] * 2},
    # sizes that fit together
    **of("qwen2_vl_text qwen2_5_vl_text qwen2_5_omni_text", rope_parameters=rope(1, 1, 2)),
    **of("ernie4_5_vl_moe_text", rope_parameters=rope(1, 1, 2)),
    **of("paddleocr_vl_text cosmos3_edge_text", rope_parameters=rope(2, 3, 3)),
    **of("glm4v_text glm4v_moe_text glm_ocr_text", rope_parameters=rope(1, 1, 0, **HALF)),
    "hunyuan_vl_text": {"rope_parameters": rope(2, 2, 2, 2)},
    "hy_v4_vl_text": {"rope_parameters": rope(1, 1, 0)},
    "cohere_compass_text": {"rope_parameters": {FULL: rope(1, 1, 2), NEAR: rope(1, 1, 2)}},
    "dbrx": {"attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8.0}},
    "glm5_next_text": {"qk_rope_head_dim": 0, "index_kpool": 2},
    "helium": {"head_dim": 8},
    "longcat_flash": {"head_dim": 4},
    "mimo_v2_flash": {"num_attention_heads": 8},
    "pix2struct_text_model": {"d_kv": 8},
    "prophetnet": {"num_encoder_layers": 3},
    "qwen4_exp_text": {
        "indexer_n_heads": 4,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 18,
        "indexer_budget": 4,
        "indexer_compress_ratio": 2,
    },
    "xmod": {"default_language": "en_XX"},
    "diffusion_gemma_text": {
        "num_experts": 4,
        "top_k_experts": 2,
        "moe_intermediate_size": 20,
        "num_global_key_value_heads": 1,
    },
    "moonshine_streaming": {"num_key_value_heads": 6},
    "moonshine": {"encoder_num_key_value_heads": 6},
    **of("encoder-decoder vision-encoder-decoder speech-encoder-decoder", decoder=READS),
    "dia_decoder": {"cross_hidden_size": D, "cross_head_dim": 8, "cross_num_key_value_heads": 4},
    "deepseek_ocr2_text": {"mlp_layer_types": ["dense"] + ["sparse"] * 5},
    "dots1": {"n_shared_experts": 1},
    "gemma4_assistant": {"text_config": {"model_type": "gemma4_text"} | ASSISTANT},
    "gemma4_unified_assistant": {"text_config": {"model_type": "gemma4_unified_text"} | ASSISTANT},
    # what it sees and hears with: as wide as the part that writes, or light
    **of("inkling2 inkling2_loop", vision_config={"text_hidden_size": D}),
    "chameleon": {"vocabulary_map": {"<image>": 5, "IMGIMGA": 6}},
    "apertus1p5": {"text_config": {"vocab_size": 300_000}},
    "dots3_note": {"vision_config": {"adapter_out_dim": D}, "audio_config": {"adapter_out_dim": D}},
    "fun_asr_nano": {"adaptor_config": {"hidden_size": D, "intermediate_size": 12}},
    "granite_docling": {"vision_config": {"out_hidden_size": D}},
    "muse_spark": {"audio_config": {"out_hidden_size": D}},
    "phi4_multimodal": {"vision_config": LIGHT, "audio_config": {"num_blocks": 1}},
    "evolla": {"protein_encoder_config": LIGHT},
    "blip": {"vision_config": {"hidden_size": D}},
    "paligemma": {"vision_config": LIGHT},
    "idefics": {"vision_config": {"embed_dim": 32, "num_hidden_layers": 2, "intermediate_size": D}},
}


WHOLE = "canary", "dia", "gemma4_assistant", "gemma4_unified_assistant", "t5gemma", "t5gemma2"
ENCODERS = "encoder", "encoder_config", "vlm_config", "dit_config"  # made tiny as well

CACHES = "cache", "past_key_values", "cache_params", "state", "mems", "past_buckets_states"
HANDED = "granite4_vision", "recurrent_gemma"  # they make no cache unless one is given
ONCE = "mllama", "musicgen_melody"  # what an encoder read is given with the first tokens only
CROSS = (  # parts that attend to what an encoder read, though their config does not say it
    "blip_text_model",
    "musicgen_decoder",
    "musicgen_melody_decoder",
    "pix2struct_text_model",
    "pp_formulanet_text",
)
GIVEN = {  # what else a model wants to be given
    "idefics": {"image_encoder_embeddings": torch.zeros(BATCH, 1, 5, 32)},
    "voxtral_realtime": {"t_cond": torch.zeros(1, 1, D)},
}


def default(field):
    """What a class has for this field where a file does not say it."""
    if field.default is not dataclasses.MISSING:
        return field.default
    return None if field.default_factory is dataclasses.MISSING else field.default_factory()


def small(cls):
    """The arguments that make a config of this class tiny, with those of the configs inside it."""
    fields = {x.name: default(x) for x in dataclasses.fields(cls)}
    made = {}
    for name, value in fields.items():
        if name in SIZES and (type(value) in (int, float) or (name in EVEN_IF_NULL and not value)):
            made[name] = SIZES[name]
        elif name.endswith("_token_id") and type(value) is int:
            made[name] = min(value, SIZES["vocab_size"] - 1)
    if "kv_lora_rank" in fields and "num_key_value_heads" in fields:  # a latent, and no sharing
        made["num_key_value_heads"] = made["num_attention_heads"]
    if fields.get("is_decoder") is False and not fields.get("is_encoder_decoder"):
        made["is_decoder"] = True
    wanted = OVERRIDES.get(cls.model_type, {})
    for name in {*INSIDE, *ENCODERS} & {*(getattr(cls, "sub_configs", None) or {})}:
        kind = wanted.get(name, {}).get("model_type") or getattr(cls(), name).model_type
        made[name] = {"model_type": kind} | small(CONFIG_MAPPING[kind]) | wanted.get(name, {})
    return made | {name: x for name, x in wanted.items() if name not in (*INSIDE, *ENCODERS)}


def part_of(config):
    """The config of the part that writes."""
    inner = [getattr(config, name, None) for name in INSIDE]
    inner = [x for x in inner if isinstance(x, PreTrainedConfig)]
    return part_of(inner[0]) if inner and config.model_type not in WHOLE else config


def writer(config):
    """The class of a model that writes and is made of this config."""
    if name := CLASSES.get(config.model_type):
        return getattr(transformers, name)
    code = importlib.import_module(type(config).__module__.replace("configuration", "modeling"))
    found = {
        name: x
        for name, x in vars(code).items()
        if inspect.isclass(x) and issubclass(x, PreTrainedModel) and x.config_class is type(config)
    }
    ends = "ForCausalLM", "LMHeadModel", "TextModel", "Model"
    return next(
        x
        for end in ends
        for name, x in found.items()
        if name.endswith(end) and "PreTrained" not in name
    )


def build(kind):
    """(the config as save_pretrained writes it, a model: the whole, or the part that writes)."""
    torch.manual_seed(0)
    config = CONFIG_MAPPING[kind](**small(CONFIG_MAPPING[kind]))
    part = part_of(config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = writer(part)(part).eval().to(torch.float32)
    return json.loads(config.to_json_string()), model


def words(kind):
    """Tokens, in some models several at a time."""
    n_tokens = TOKENS[-1]
    shape = {"dia": (BATCH, n_tokens, 9), "kyutai_speech_to_text": (BATCH, n_tokens, 33)}
    shape |= dict.fromkeys(("musicgen", "musicgen_melody"), (4 * BATCH, n_tokens))
    return torch.randint(3, 20, shape.get(kind, (BATCH, n_tokens)))


def heard(takes, config):
    """What an encoder gives a model that reads it, as arguments."""
    width = getattr(config, "cross_hidden_size", None) or D
    states = torch.randn(BATCH, SOURCE, width)
    if "encoder_outputs" in takes and config.is_encoder_decoder:
        out = BaseModelOutput(last_hidden_state=states)
        out.attention_mask = torch.ones(BATCH, SOURCE, dtype=torch.long)
        out.router_logits = out.router_probs = None
        return {"encoder_outputs": out}
    if "cross_attention_states" in takes:
        return {"cross_attention_states": states}
    reads = getattr(config, "add_cross_attention", False) or config.model_type in CROSS
    return {"encoder_hidden_states": states} if reads else {}


@torch.no_grad()
def read(kind, model, tied=False):
    """Bytes of the cache after each of TOKENS: PROMPT are read at once, then one at a time.

    tied: V is K, and where transformers holds it twice it counts once.
    """
    takes, cache = inspect.signature(model.forward).parameters, None
    tokens = "decoder_input_ids" if "decoder_input_ids" in takes else "input_ids"
    into = next((name for name in CACHES if name in takes), "cache")
    given = heard(takes, model.config) | GIVEN.get(kind, {})
    if kind in HANDED:
        cache = DynamicCache(config=model.config)
    if kind == "recurrent_gemma":
        model._setup_cache(model.config, BATCH, "cpu", torch.float32)
    n_read, found = 0, []
    for step in words(kind).split([PROMPT] + [1] * (TOKENS[-1] - PROMPT), dim=1):
        if n_read and kind in ONCE:
            given = {}
        if kind == "idefics":
            given["image_attention_mask"] = torch.ones(BATCH, step.shape[1], 1)
        if kind == "recurrent_gemma":
            given["position_ids"] = torch.arange(n_read, n_read + step.shape[1])[None]
        held = {into: cache} if cache is not None else {}
        out = model(**{tokens: step}, **given, **held, use_cache=True)
        cache = next((out[name] for name in CACHES if out.get(name) is not None), cache)
        n_read += step.shape[1]
        if n_read in TOKENS:
            found.append(n_bytes((cache, states_in(model)), tied))
    if cache is None:
        raise ValueError("it gives back no cache")
    return found


def states_in(model):
    """The states that RecurrentGemma keeps in its layers and not in the cache."""
    kept = "conv1d_state", "recurrent_states"
    return [getattr(x, name) for x in model.modules() for name in kept if hasattr(x, name)]


def tensors(x, seen, tied):
    """All tensors of floating point that an object holds; others, masks and places, are no cache."""
    if id(x) in seen or isinstance(x, PreTrainedModel | PreTrainedConfig):
        return
    seen.add(id(x))
    if torch.is_tensor(x):
        if x.is_floating_point():
            yield x
        return
    if isinstance(x, list | tuple):
        inside = x
    else:
        inside = dict(x if isinstance(x, dict) else getattr(x, "__dict__", {}))
        keys, values = inside.get("keys"), inside.get("values")
        if tied and torch.is_tensor(keys) and keys.equal(values):
            inside.pop("values")
        inside = inside.values()
    for value in inside:
        yield from tensors(value, seen, tied)


def n_bytes(cache, tied):
    """The bytes of a cache's tensors; one that stands in two places counts once."""
    found = {(x.data_ptr(), x.shape, x.stride()): x.nbytes for x in tensors(cache, set(), tied)}
    return sum(found.values())
