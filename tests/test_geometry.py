"""Laws of course_utils.geometry: the cache formula, config.json, and the table of real models."""

import dataclasses
import json
import re

import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from course_utils.geometry import (
    UNSHARED,
    Geometry,
    from_config,
    kv_cache_bytes,
    kv_heads,
    model,
)
from course_utils.kv_cache import KVCache

MIB, GIB = 2**20, 2**30
small = st.integers(1, 4)
width = st.sampled_from([torch.float32, torch.bfloat16, torch.int8])


def geometry(n_heads=6, n_kv_heads=2, **more):
    """A small geometry in which all letters differ."""
    sizes = {"n_layers": 3, "head_dim": 5, "d_model": 32, "max_context": 64} | more
    return Geometry("toy", n_heads=n_heads, n_kv_heads=n_kv_heads, **sizes)


# The formula


@given(l=small, b=small, g=small, h=small, s=st.integers(0, 5), dtype=width)
def test_the_formula_counts_what_allocated_keys_and_values_take(l, b, g, h, s, dtype):
    tensors = [torch.zeros(b, g, s, h, dtype=dtype) for _ in range(l) for _ in ("k", "v")]
    allocated = sum(x.nbytes for x in tensors)
    assert kv_cache_bytes(l, b, g, h, s, dtype.itemsize) == allocated
    assert kv_cache_bytes(l, b, g, h, s, dtype.itemsize / 2) == allocated / 2
    toy = geometry(n_heads=2 * g, n_kv_heads=g, n_layers=l, head_dim=h)
    assert toy.kv_bytes(s, b, dtype.itemsize) == allocated


@given(l=small, b=small, g=small, h=small, s=small)
def test_the_formula_is_one_KVCache_a_layer(l, b, g, h, s):
    layers = [KVCache(b, g, s, h, dtype=torch.bfloat16) for _ in range(l)]
    assert kv_cache_bytes(l, b, g, h, s) == sum(cache.n_bytes for cache in layers)


@given(l=small, b=small, latent=st.integers(1, 9), s=st.integers(0, 5), dtype=width)
def test_MLA_counts_one_latent_a_token_and_layer(l, b, latent, s, dtype):
    latents = [torch.zeros(b, s, latent, dtype=dtype) for _ in range(l)]
    toy = geometry(n_layers=l, latent_dim=latent)
    assert toy.kv_bytes(s, b, dtype.itemsize) == sum(x.nbytes for x in latents)


@pytest.mark.parametrize("toy", [geometry(), geometry(latent_dim=7)], ids=["GQA", "MLA"])
@given(s=small, b=small, x=st.sampled_from([0.5, 1, 2, 4]), times=st.integers(1, 5))
def test_bytes_are_linear_in_tokens_batch_and_bytes_per_element(toy, s, b, x, times):
    # an even batch: whole bytes also at 4 bits and an odd latent
    once = toy.kv_bytes(s, 2 * b, x)
    assert toy.kv_bytes(times * s, 2 * b, x) == times * once
    assert toy.kv_bytes(s, times * 2 * b, x) == times * once
    assert toy.kv_bytes(s, 2 * b, times * x) == times * once


@given(l=small, b=small, g=small, h=small, s=small)
def test_sharing_shrinks_the_cache_by_r_and_query_heads_do_not_count(l, b, g, h, s):
    whole = kv_cache_bytes(l, b, 12, h, s)
    assert 12 * kv_cache_bytes(l, b, 1, h, s) == whole  # MQA
    assert 12 // g * kv_cache_bytes(l, b, g, h, s) == whole  # GQA: r times smaller
    few = geometry(n_heads=g, n_kv_heads=g, n_layers=l, head_dim=h)
    many = geometry(n_heads=7 * g, n_kv_heads=g, n_layers=l, head_dim=h)
    assert few.kv_bytes(s, b) == many.kv_bytes(s, b)


def test_bytes_are_whole_numbers_rounded_up():
    assert kv_cache_bytes(1, 1, 1, 1, 1, 0.5) == 1
    assert kv_cache_bytes(1, 1, 1, 1, 1, 0.75) == 2  # 12 bits
    assert geometry(n_layers=1, latent_dim=1).kv_bytes(1, 1, 0.5) == 1  # 4 bits
    assert isinstance(kv_cache_bytes(3, 1, 2, 5, 7, 0.5), int)
    assert isinstance(geometry(latent_dim=7).kv_bytes(7, 1, 0.5), int)
    assert isinstance(geometry().kv_bytes(7), int)


# The lecture's numbers


def test_the_lecture_GPT_3():
    gpt3 = model("GPT-3 175B")
    assert gpt3.kv_bytes(1) == 4.5 * MIB
    assert gpt3.kv_bytes(1024) == 4.5 * GIB == 4_831_838_208
    assert gpt3.kv_bytes(gpt3.max_context) == 9 * GIB == 9_663_676_416
    assert kv_cache_bytes(96, 1, 1, 128, 1024) == 48 * MIB
    assert kv_cache_bytes(96, 1, 8, 128, 1024) == 384 * MIB
    assert kv_cache_bytes(96, 1, 1, 128, 2048) == 96 * MIB
    assert kv_cache_bytes(96, 1, 8, 128, 2048) == 768 * MIB


def test_the_lecture_left_h_out():
    """96 · 1 · 8 · 1024 · 2 · 2 is 3 MiB, 128 times less than the 384 MB the lecture prints."""
    assert kv_cache_bytes(96, 1, 8, 128, 1024) == 128 * (96 * 1 * 8 * 1024 * 2 * 2)


@pytest.mark.parametrize("g, gigabytes", [(128, 399.77), (8, 24.99), (1, 3.12)])
def test_the_lecture_DeepSeek_at_100_000_tokens(g, gigabytes):
    assert round(kv_cache_bytes(61, 1, g, 128, 100_000) / 1e9, 2) == gigabytes


def test_what_DeepSeek_really_caches():
    v3 = model("DeepSeek-V3 (671B)")
    assert v3.kv_bytes(1) == 70_272
    assert round(v3.kv_bytes(100_000) / 1e9, 2) == 7.03
    heads = {g: kv_cache_bytes(61, 1, g, 128, 1) for g in (128, 8, 1)}
    assert round(heads[128] / v3.kv_bytes(1), 1) == 56.9
    assert round(heads[8] / v3.kv_bytes(1), 2) == 3.56
    assert v3.kv_bytes(1) / heads[1] == 2.25  # more than MQA


# The table of real models


@pytest.mark.parametrize(
    "n, g, latent_dim, kind, r",
    [
        (8, 8, None, "MHA", 1),
        (8, 4, None, "GQA", 2),
        (8, 1, None, "MQA", 8),
        (8, 8, 24, "MLA", 1),
        (1, 1, None, "MHA", 1),
    ],
)
def test_kind_and_group_size(n, g, latent_dim, kind, r):
    toy = geometry(n, g, latent_dim=latent_dim)
    assert (toy.kind, toy.group_size) == (kind, r)


@pytest.mark.parametrize("name", ["Llama-3 8B", " llama-3 8b ", "LLAMA-3 8B"])
def test_lookup_ignores_case_and_outer_spaces_only(name):
    assert model(name).name == "Llama-3 8B"


# What a config.json says, against transformers' own files and caches

CLASSES = {  # of transformers, by how the name of a model begins; the first that fits
    "GPT-2": "GPT2",
    "Llama": "Llama",
    "TinyLlama": "Llama",
    "SmolLM2": "Llama",
    "DeepSeek-LLM": "Llama",
    "Mistral": "Mistral",
    "Mixtral": "Mixtral",
    "Falcon": "Falcon",
    "StarCoder": "GPTBigCode",
    "TinyStarCoderPy": "GPTBigCode",
    "SantaCoder": "GPTBigCode",
    "Gemma-2 ": "Gemma2",
    "Gemma-3 270M": "Gemma3Text",
    "Gemma-3 1B": "Gemma3Text",
    "Gemma-3 ": "Gemma3",
    "Gemma": "Gemma",
    "Qwen2.5": "Qwen2",
    "Qwen3-30B-A3B": "Qwen3Moe",
    "Qwen3-235B-A22B": "Qwen3Moe",
    "Qwen3": "Qwen3",
    "Phi": "Phi3",
    "SmolLM3": "SmolLM3",
    "OLMo-2": "Olmo2",
    "gpt-oss": "GptOss",
    "DeepSeek-V2": "DeepseekV2",
    "DeepSeek-V3": "DeepseekV3",
}


def config_class(name):
    return next((CLASSES[start] for start in CLASSES if name.startswith(start)), None)


def written(m):
    """The config.json that transformers writes for a row of the table, as a dict."""
    cls = config_class(m.name)
    if cls in ("GPT2", "GPTBigCode"):
        names = "n_layer", "n_head", "n_embd", "n_positions"
    else:
        names = (
            "num_hidden_layers",
            "num_attention_heads",
            "hidden_size",
            "max_position_embeddings",
        )
    given = dict(zip(names, (m.n_layers, m.n_heads, m.d_model, m.max_context), strict=True))
    given["vocab_size"] = m.vocab
    if cls == "Falcon":
        given["multi_query"] = True
        if m.n_kv_heads > 1:
            given |= {"new_decoder_architecture": True, "num_kv_heads": m.n_kv_heads}
    elif cls == "GPTBigCode":
        given["multi_query"] = True
    elif cls != "GPT2":
        given["num_key_value_heads"] = m.n_kv_heads
    if cls.startswith(("Gemma", "Qwen3", "GptOss")):
        given["head_dim"] = m.head_dim
    if cls in ("Mistral", "Phi3") or m.windows:
        window = re.search(r"\d+", m.windows)
        given["sliding_window"] = int(window[0]) if window else None
    if m.rope_theta != "learned":
        rope = {"rope_type": "default", "rope_theta": float(m.rope_theta)}
        local = {"sliding_attention": rope | {"rope_theta": 1e4}, "full_attention": rope}
        given["rope_parameters"] = local if cls.startswith("Gemma3") else rope
    if cls == "Gemma3":
        given = {"text_config": given, "vision_config": {"num_attention_heads": 3}}
    return json.loads(getattr(transformers, f"{cls}Config")(**given).to_json_string())


def test_a_decoy_is_in_the_config_of_Falcon_7B():
    config = written(model("Falcon-7B"))
    assert (config["num_kv_heads"], config["multi_query"], kv_heads(config)) == (71, True, 1)


def test_multi_query_is_a_decoy_in_Falcon_180B_and_absent_in_Falcon_40B():
    """Their own files; that of 40B leaves it out, and transformers' default is true."""
    large = {"num_attention_heads": 232, "num_kv_heads": 8, "multi_query": True}
    older = {"n_head": 128, "n_head_kv": 8}
    for config in (large, older):
        assert kv_heads(config | {"new_decoder_architecture": True, "model_type": "falcon"}) == 8
    assert written(model("Falcon-40B"))["multi_query"]


def test_rope_theta_is_found_where_older_files_have_it():
    config = written(model("Llama-3 8B"))
    theta = config.pop("rope_parameters")["rope_theta"]
    assert from_config(config).rope_theta is None
    assert from_config(config | {"rope_theta": theta}).rope_theta == 500_000
    assert from_config(config | {"rope_parameters": None, "rope_theta": 3}).rope_theta == 3


def test_a_window_that_is_switched_off_is_none():
    config = written(model("Qwen2.5-7B")) | {"sliding_window": 4096, "max_window_layers": 21}
    del config["layer_types"]
    assert not from_config(config | {"use_sliding_window": False}).windows
    assert from_config(config | {"use_sliding_window": True}).windows == (
        "sliding window of 4096 tokens in 7 of 28 layers"
    )


TINY = {"num_hidden_layers": 2, "num_attention_heads": 6, "hidden_size": 48, "vocab_size": 40}
TINY_GPT = {"n_layer": 2, "n_head": 6, "n_embd": 48, "vocab_size": 40, "n_positions": 32}
LATENT = {"kv_lora_rank": 12, "q_lora_rank": 10, "qk_rope_head_dim": 4, "qk_nope_head_dim": 6}
EXPERTS = {"n_routed_experts": 4, "n_group": 1, "topk_group": 1, "num_experts_per_tok": 2}
ENDS = {"bos_token_id": 1, "eos_token_id": 2}


def cached(cls, **given):
    """The config.json of a small random model, and the layers of a cache that it filled."""
    config = getattr(transformers, f"{cls}Config")(**given, **ENDS)
    torch.manual_seed(0)
    small_model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        layers = small_model(torch.arange(5)[None]).past_key_values.layers
    assert len(layers) == 2
    return json.loads(config.to_json_string()), layers


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    "cls, given, g",
    [
        ("Llama", TINY | {"num_key_value_heads": 2, "intermediate_size": 20}, 2),
        ("Llama", TINY | {"intermediate_size": 20}, 6),
        ("Qwen2", TINY | {"num_key_value_heads": 3, "intermediate_size": 20}, 3),
        ("Qwen3", TINY | {"num_key_value_heads": 2, "head_dim": 10, "intermediate_size": 20}, 2),
        ("Gemma", TINY | {"num_key_value_heads": 1, "head_dim": 10, "intermediate_size": 20}, 1),
        ("Falcon", TINY | {"multi_query": True, "num_kv_heads": 6}, 1),  # the decoy, as in 7B
        ("Falcon", TINY | {"multi_query": False}, 6),
        ("GPTBigCode", TINY_GPT | {"multi_query": True}, 1),
        ("GPTBigCode", TINY_GPT | {"multi_query": False}, 6),
        ("GPT2", TINY_GPT, 6),
        ("GPTNeoX", TINY | {"intermediate_size": 20}, 6),
        ("GPTJ", TINY_GPT | {"rotary_dim": 4}, 6),
        ("OPT", TINY | {"ffn_dim": 20, "word_embed_proj_dim": 48}, 6),
        ("Bloom", TINY, 6),
        ("Phi", TINY | {"intermediate_size": 20}, 6),
    ],
)
def test_a_real_cache_has_the_heads_that_the_config_says(cls, given, g):
    config, layers = cached(cls, **given)
    assert kv_heads(config) == g
    if config["model_type"] in UNSHARED and g == 6:  # as most of their files have it, or older ones
        config.pop("num_key_value_heads", None)
        assert kv_heads(config) == kv_heads(config | {"num_key_value_heads": None}) == 6
    said = from_config(config)
    assert (said.n_kv_heads, said.n_layers) == (g, len(layers))
    for layer in layers:
        assert layer.keys.shape == layer.values.shape == (1, g, 5, said.head_dim)
    held = sum(x.nbytes for layer in layers for x in (layer.keys, layer.values))
    assert said.kv_bytes(5, bytes_per_element=layers[0].keys.itemsize) == held


@pytest.mark.usefixtures("one_thread")
def test_transformers_caches_each_head_of_Falcon_40B_r_times():
    sizes = TINY | {"num_kv_heads": 2, "multi_query": True, "new_decoder_architecture": True}
    config, layers = cached("Falcon", **sizes)
    assert kv_heads(config) == 2
    for layer in layers:
        for x in (layer.keys, layer.values):
            assert x.shape == (1, 6, 5, 8)
            groups = x.unflatten(1, (2, 3))  # (b, g, r, s, h)
            assert torch.equal(groups, groups[:, :, :1].expand_as(groups))
            assert not torch.equal(groups[:, 0], groups[:, 1])


@pytest.mark.usefixtures("one_thread")
def test_a_real_MLA_cache_is_as_wide_as_the_latent():
    sizes = TINY | LATENT | EXPERTS | {"v_head_dim": 8, "intermediate_size": 20}
    config, layers = cached("DeepseekV3", **sizes, num_key_value_heads=6, moe_intermediate_size=8)
    said = from_config(config)
    assert (said.kind, said.head_dim, said.n_kv_heads) == ("MLA", 8, 6)
    for layer in layers:
        assert layer.keys.shape[1] == layer.values.shape[1] == 1
        assert layer.keys.shape[-1] + layer.values.shape[-1] == said.latent_dim == 16


# A file that does not say it, in all families of transformers

BARE = {
    "num_attention_heads": 6, "hidden_size": 48, "num_hidden_layers": 4, "vocab_size": 40,
    "n_head": 6, "n_embd": 48, "n_layer": 4, "head_dim": 8, "intermediate_size": 20, "ffn_dim": 20,
    "ffn_hidden_size": 20, "word_embed_proj_dim": 48, "rotary_dim": 4, "num_experts": 2,
    "num_local_experts": 2, "n_routed_experts": 2, "moe_intermediate_size": 8, "pad_token_id": 0,
} | ENDS  # fmt: skip
GATED = {"qwen3_5_moe_text", "qwen3_5_text", "qwen3_next"}
DIFFER = {"inkling_text"}  # its windowed layers have other query heads as well


def bare(kind, **more):
    """The config.json of a small model, with those of the sizes in BARE that its class knows."""
    cls = CONFIG_MAPPING[kind]
    known = {*cls.__dataclass_fields__, *cls.attribute_map}
    sizes = {name: x for name, x in BARE.items() if name in known}
    return {"model_type": kind} | sizes | more


def test_of_a_file_that_does_not_say_it_g_is_what_the_class_of_the_family_takes():
    heads = {"num_attention_heads": 6}
    for kind in UNSHARED:
        for more in ({}, {"num_key_value_heads": None}):
            assert kv_heads({"model_type": kind} | heads | more) == 6
            read = CONFIG_MAPPING[kind].from_dict(bare(kind) | more)
            assert getattr(read, "num_key_value_heads", None) in (None, 6)  # not another one
    for kind in ("mistral", "qwen2", "gemma3_text", "gpt_oss", "falcon"):
        read = CONFIG_MAPPING[kind].from_dict({"num_attention_heads": 32})
        g = 1 if kind == "falcon" else read.num_key_value_heads
        assert kv_heads({"model_type": kind, "num_attention_heads": 32}) == g
    for kind in ("nobodys", "internlm2", None):
        with pytest.raises(ValueError, match=f"{kind!r} has without it is not known"):
            kv_heads({"model_type": kind} | heads)


def built(config):
    """What transformers makes of a config.json: the file it writes, and the attention of layers.

    Each is (q_proj, k_proj, v_proj, o_proj), without numbers.
    """
    read = CONFIG_MAPPING[config["model_type"]].from_dict(config)
    with torch.device("meta"):
        made = transformers.AutoModelForCausalLM.from_config(read)
    of_heads = (m for m in made.modules() if hasattr(m, "num_key_value_groups"))
    parts = ([getattr(m, f"{part}_proj", None) for part in "qkvo"] for m in of_heads)
    layers = [x for x in parts if all(hasattr(projection, "out_features") for projection in x)]
    return json.loads(read.to_json_string()), layers


def test_in_all_families_g_is_what_the_attention_of_transformers_has_or_refused():
    """o_proj takes n outputs as long as a value, v_proj makes g values, with a gate or without."""
    differ, gated, n_checked = set(), set(), 0
    for kind in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        if "num_key_value_heads" not in CONFIG_MAPPING[kind].__dataclass_fields__:
            continue
        try:
            config, layers = built(bare(kind, num_key_value_heads=2))
        except Exception:  # it wants more than these sizes
            continue
        try:
            g = kv_heads(config)
        except ValueError as error:
            assert re.search("one latent|different g|no K/V heads|what .* caches", str(error)), kind
            continue
        for q, k, v, o in layers:
            n_checked += 1
            if g * o.in_features != 6 * v.out_features:
                differ.add(kind)
            if g * q.out_features != 6 * k.out_features:
                gated.add(kind)
    assert (differ, gated) == (DIFFER, GATED | DIFFER)
    assert n_checked > 120


def test_the_shapes_of_Qwen3_Next_as_lesson_08_has_them():
    read = transformers.Qwen3NextConfig(num_hidden_layers=4, num_experts=2, vocab_size=40)
    config, (layer,) = built(json.loads(read.to_json_string()))
    assert (config["num_attention_heads"], config["head_dim"], kv_heads(config)) == (16, 256, 2)
    assert tuple(x.weight.shape for x in layer) == (
        (8192, 2048),
        (512, 2048),
        (512, 2048),
        (2048, 4096),
    )


@pytest.mark.parametrize(
    "other, message",
    [
        (
            {"swa_num_key_value_heads": 8},
            "config.json has swa_num_key_value_heads 8, and which layers that is for is not known here",
        ),
        (
            {"num_global_key_value_heads": 8},
            "config.json has num_global_key_value_heads 8, and which layers that is for is not known here",
        ),
        (
            {"per_layer_config": {"5": {"num_key_value_heads": 1}}},
            "config.json has per_layer_config {'5': {'num_key_value_heads': 1}}, and which layers that is for is not known here",
        ),
        (
            {"per_layer_config": {"1": {"num_key_value_heads": 1}}},
            "config.json has layers of different g: 1, 2; see from_config(config).g",
        ),
        (
            {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]}
            | {"swa_num_key_value_heads": 3},
            "config.json has layers of different g: 2, 3; see from_config(config).g",
        ),
    ],
)
def test_a_file_that_says_another_g_for_some_layers_has_no_one_g(other, message):
    config = LLAMA | {"num_key_value_heads": 2} | other
    with pytest.raises(ValueError) as error:
        kv_heads(config)
    assert str(error.value) == message
    assert kv_heads(config | dict.fromkeys(other)) == 2


def test_another_field_that_says_the_same_g_changes_nothing():
    config = {"num_attention_heads": 16, "num_key_value_heads": 8, "swa_num_key_value_heads": 8}
    assert kv_heads(config) == 8


@pytest.mark.parametrize(
    "config, g",
    [
        ({"model_type": "chatglm", "multi_query_attention": True, "multi_query_group_num": 2}, 2),
        ({"model_type": "chatglm", "multi_query_attention": False, "multi_query_group_num": 2}, 32),
        ({"model_type": "codeshell", "group_query_attention": True, "num_query_groups": 8}, 8),
        ({"model_type": "plamo", "num_key_value_heads": 32, "n_shared_head": 8}, 4),
        ({"model_type": "mistral"}, 8),
        ({"model_type": "falcon"}, 1),  # its code: one head where multi_query is absent
        ({"model_type": "gpt_bigcode", "multi_query": None}, 32),
        ({"model_type": "internlm"}, 32),
    ],
)
def test_a_family_that_says_it_otherwise_is_understood(config, g):
    assert kv_heads(config | {"num_attention_heads": 32}) == g


@pytest.mark.parametrize(
    "config", [{"model_type": "nemotron-nas", "num_key_value_heads": None}, {}]
)
def test_a_family_that_nobody_knows_is_not_taken_for_MHA(config):
    with pytest.raises(ValueError) as error:
        kv_heads(config | {"num_attention_heads": 32})
    assert str(error.value) == (
        f"config.json has no num_key_value_heads; what model_type {config.get('model_type')!r} "
        "has without it is not known here: its code tells, and so do the rows of v_proj, which are "
        "g · h"
    )
    assert kv_heads(config | {"num_attention_heads": 32, "num_key_value_heads": 4}) == 4


LLAMA = {"model_type": "llama", "num_hidden_layers": 2, "hidden_size": 48, "num_attention_heads": 6}
KIND = {"model_type": "llama"}


@pytest.mark.parametrize(
    "config, g",
    [
        (KIND | {"num_attention_heads": 6}, 6),  # older than the field
        (KIND | {"num_attention_heads": 6, "num_key_value_heads": None}, 6),
        ({"n_head": 128, "n_head_kv": 8}, 8),  # Falcon-40B under its first name, RefinedWeb
        ({"n_head": 71, "multi_query": True}, 1),  # Falcon-7B under its first name
        ({"num_attention_heads": 128, "new_decoder_architecture": True}, 128),
        ({"num_attention_heads": 128, "num_kv_heads": None, "new_decoder_architecture": True}, 128),
        ({"num_attention_heads": 6, "num_key_value_heads": 2, "kv_lora_rank": None}, 2),
        ({"text_config": {"num_attention_heads": 6, "num_key_value_heads": 3}}, 3),
        ({"num_attention_heads": 9, "text_config": KIND | {"n_head": 6}, "vision_config": {}}, 6),
        ({"num_attention_heads": 6, "num_kv_heads": 3, "multi_query": False}, 6),
    ],
)
def test_names_and_gaps_of_older_files_are_understood(config, g):
    assert kv_heads(config) == g


def test_what_a_config_leaves_out_is_filled_in():
    said = from_config(LLAMA, "mine")
    assert said == Geometry("mine", 2, 6, 6, 8, 48, max_context=2048, vocab=32_000)
    assert from_config(LLAMA | {"n_ctx": 7, "head_dim": 5}).head_dim == 5
    assert from_config(LLAMA | {"n_ctx": 7}).max_context == 7


HELD = "; it must be one number, at least 1, that holds for every layer"


N = "config.json has no num_attention_heads (nor n_head, n_heads, num_heads, attention_heads, num_query_heads); it does not tell what this model caches"


@pytest.mark.parametrize(
    "change, message",
    [
        ({"num_key_value_heads": [2]}, "config.json has num_key_value_heads of 1 layers only"),
        ({"num_key_value_heads": 0}, f"config.json has num_key_value_heads 0{HELD}"),
        ({"num_key_value_heads": True}, f"config.json has num_key_value_heads True{HELD}"),
        ({"num_key_value_heads": "2"}, f"config.json has num_key_value_heads '2'{HELD}"),
        ({"num_attention_heads": None}, N),
        # as Gemma-3 4B: the part that sees counts its heads, the one that speaks does not
        (
            {
                "text_config": {"hidden_size": 2560, "num_hidden_layers": 2},
                "vision_config": {"num_attention_heads": 16},
            },
            N,
        ),
        (
            {"num_key_value_heads": None, "model_type": "nobodys"},
            "config.json has no num_key_value_heads; what model_type 'nobodys' has without it "
            "is not known here: its code tells, and so do the rows of v_proj, which are g · h",
        ),
    ],
)
def test_a_config_that_does_not_say_how_many_heads_is_refused(change, message):
    for read in (kv_heads, from_config):
        with pytest.raises(ValueError) as error:
            read(LLAMA | change)
        assert str(error.value) == message


def test_heads_listed_by_layers_are_counted_by_layers():
    config = LLAMA | {"num_key_value_heads": [2, 6]}
    assert str(from_config(config).caches[0]) == "1 × g 2 h 8"
    assert from_config(config).g == "2 to 6"
    with pytest.raises(ValueError, match="layers of different g: 2, 6"):
        kv_heads(config)
    assert kv_heads(LLAMA | {"num_key_value_heads": [2, 2]}) == 2


@pytest.mark.parametrize("field", ["num_hidden_layers", "hidden_size"])
def test_a_geometry_without_its_sizes_is_refused(field):
    with pytest.raises(ValueError, match=rf"^config.json has no {field} \(nor n_"):
        from_config({name: x for name, x in LLAMA.items() if name != field})
    with pytest.raises(ValueError, match=r"n_heads \(6\) must be divisible by n_kv_heads \(4\)"):
        from_config(LLAMA | {"num_key_value_heads": 4})


def test_what_is_cached_instead_of_heads_is_said():
    config = LLAMA | {"model_type": "kimi_k2", "num_key_value_heads": 6, "kv_lora_rank": 512}
    config["qk_rope_head_dim"] = 64
    with pytest.raises(ValueError) as error:
        kv_heads(config)
    assert str(error.value) == (
        "no K/V heads are cached, but one latent a token and layer, of which all heads are made"
    )
    assert from_config(config).latent_dim == 576
    with pytest.raises(ValueError) as error:
        from_config(config | {"qk_rope_head_dim": None})
    assert str(error.value) == (
        "config.json has kv_lora_rank, and qk_rope_head_dim None; it must be a number: "
        "what is cached is the latent and this key"
    )


# Errors say what is wrong and what to do


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"n_layers": 0}, "n_layers (0) must be at least 1"),
        ({"batch": -2}, "batch (-2) must be at least 1"),
        ({"n_kv_heads": 0}, "n_kv_heads (0) must be at least 1"),
        ({"head_dim": -1}, "head_dim (-1) must be at least 1"),
        ({"n_tokens": -1}, "n_tokens (-1) must not be negative; an empty cache has 0"),
        (
            {"bytes_per_element": 0},
            "bytes_per_element (0) must be more than 0; "
            "try 2 for bfloat16, 1 for 8 bits or 0.5 for 4 bits",
        ),
    ],
)
def test_senseless_sizes_are_refused(wrong, message):
    sizes = {"n_layers": 2, "batch": 3, "n_kv_heads": 4, "head_dim": 5, "n_tokens": 6}
    with pytest.raises(ValueError) as error:
        kv_cache_bytes(**sizes | wrong)
    assert str(error.value) == message


@pytest.mark.parametrize("latent_dim", [None, 7])
def test_kv_bytes_refuses_senseless_sizes_too(latent_dim):
    with pytest.raises(ValueError, match=r"batch \(0\) must be at least 1"):
        geometry(latent_dim=latent_dim).kv_bytes(5, batch=0)


@pytest.mark.parametrize(
    "n, g, divisors",
    [(32, 5, "1, 2, 4, 8, 16, 32"), (12, 24, "1, 2, 3, 4, 6, 12"), (9, 0, "1, 3, 9")],
)
def test_groups_must_divide_the_heads(n, g, divisors):
    with pytest.raises(ValueError) as error:
        geometry(n, g)
    expected = f"n_heads ({n}) must be divisible by n_kv_heads ({g}); try one of {divisors}"
    assert str(error.value) == expected


@pytest.mark.parametrize(
    "name, message",
    [
        (
            "Llama 3 8B",
            "no model named 'Llama 3 8B'; "
            "did you mean 'Llama-3 8B' or 'Llama-3.1 8B' or 'Llama-3 70B'?",
        ),
        ("falcon-7", "no model named 'falcon-7'; did you mean 'Falcon-7B'?"),
        ("xyzzy", "no model named 'xyzzy'; [m.name for m in models()] lists them all"),
    ],
)
def test_an_unknown_name_suggests_the_nearest(name, message):
    with pytest.raises(KeyError) as error:
        model(name)
    assert error.value.args == (message,)


def test_a_geometry_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        model("Llama-3 8B").n_kv_heads = 32
