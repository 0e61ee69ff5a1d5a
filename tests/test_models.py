"""Laws of data/models.csv: what the files say, what its sources are, and bytes counted apart."""

import csv
import dataclasses
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from course_utils import data_path
from course_utils.geometry import Geometry, from_config, model, models
from course_utils.layers import parse

# name: kind, bytes a token (bfloat16) before any window is full; worked out without this library,
# from the published sizes: layers · 2 · g · h · 2, or what the layers of a kind keep.
EXPECTED = {
    "GPT-2 small (124M)": ("MHA", 36_864),
    "GPT-2 medium (355M)": ("MHA", 98_304),
    "GPT-2 large (774M)": ("MHA", 184_320),
    "GPT-2 xl (1.5B)": ("MHA", 307_200),
    "GPT-3 175B": ("MHA", 4_718_592),
    "Llama-1 7B": ("MHA", 524_288),
    "Llama-2 7B": ("MHA", 524_288),
    "Llama-2 13B": ("MHA", 819_200),
    "Llama-2 70B": ("GQA", 327_680),
    "Llama-3 8B": ("GQA", 131_072),
    "Llama-3 70B": ("GQA", 327_680),
    "Llama-3.1 8B": ("GQA", 131_072),
    "Llama-3.1 70B": ("GQA", 327_680),
    "Llama-3.1 405B": ("GQA", 516_096),
    "Llama-3.2 1B": ("GQA", 32_768),
    "Llama-3.2 3B": ("GQA", 114_688),
    "Llama-3.2 11B Vision": ("GQA", 32 * 2 * 8 * 128 * 2),
    "Llama-3.3 70B": ("GQA", 80 * 2 * 8 * 128 * 2),
    "Llama-4 Scout 17B-16E": ("GQA", 48 * 2 * 8 * 128 * 2),
    "Llama-4 Maverick 17B-128E": ("GQA", 48 * 2 * 8 * 128 * 2),
    "Mistral-7B-v0.1": ("GQA", 131_072),
    "Mistral-7B-v0.3": ("GQA", 131_072),
    "Mixtral-8x7B-v0.1": ("GQA", 131_072),
    "Mistral-Nemo 12B": ("GQA", 40 * 2 * 8 * 128 * 2),
    "Mistral-Large 123B": ("GQA", 88 * 2 * 8 * 128 * 2),
    "Mistral-Small-3 24B": ("GQA", 40 * 2 * 8 * 128 * 2),
    "Ministral-3 8B": ("GQA", 34 * 2 * 8 * 128 * 2),
    "Devstral-Small-2 24B": ("GQA", 40 * 2 * 8 * 128 * 2),
    "Devstral-2 123B": ("GQA", 88 * 2 * 8 * 128 * 2),
    "Falcon-7B": ("MQA", 8_192),
    "Falcon-40B": ("GQA", 122_880),
    "Falcon-180B": ("GQA", 163_840),
    "Falcon3 7B": ("GQA", 28 * 2 * 4 * 256 * 2),
    "Falcon-H1 7B": ("GQA", 44 * 2 * 2 * 128 * 2),
    "PaLM 540B": ("MQA", 120_832),
    "StarCoder 15.5B": ("MQA", 20_480),
    "TinyStarCoderPy 164M": ("MQA", 5_120),
    "SantaCoder 1.1B": ("MQA", 12_288),
    "Gemma-2B": ("MQA", 18_432),
    "Gemma-7B": ("MHA", 458_752),
    "Gemma-2 2B": ("GQA", 106_496),
    "Gemma-2 9B": ("GQA", 344_064),
    "Gemma-2 27B": ("GQA", 376_832),
    "Gemma-3 270M": ("MQA", 18_432),
    "Gemma-3 1B": ("MQA", 26_624),
    "Gemma-3 4B": ("GQA", 139_264),
    "Gemma-3 12B": ("GQA", 393_216),
    "Gemma-3 27B": ("GQA", 507_904),
    "Gemma-3n E2B": ("GQA", 20 * 2 * 2 * 256 * 2),
    "Gemma-3n E4B": ("GQA", 20 * 2 * 2 * 256 * 2),
    "Gemma-4 E2B": ("MQA", (12 * 256 + 3 * 512) * 2 * 1 * 2),
    "Gemma-4 E4B": ("GQA", (20 * 256 + 4 * 512) * 2 * 2 * 2),
    "Gemma-4 26B-A4B": ("GQA", (25 * 8 * 256 + 5 * 2 * 512) * 2 * 2),
    "Gemma-4 31B": ("GQA", (50 * 16 * 256 + 10 * 4 * 512) * 2 * 2),
    "Qwen2.5-0.5B": ("GQA", 12_288),
    "Qwen2.5-1.5B": ("GQA", 28_672),
    "Qwen2.5-3B": ("GQA", 36_864),
    "Qwen2.5-7B": ("GQA", 57_344),
    "Qwen2.5-14B": ("GQA", 196_608),
    "Qwen2.5-32B": ("GQA", 262_144),
    "Qwen2.5-72B": ("GQA", 327_680),
    "QwQ 32B": ("GQA", 64 * 2 * 8 * 128 * 2),
    "Qwen3-0.6B": ("GQA", 114_688),
    "Qwen3-1.7B": ("GQA", 114_688),
    "Qwen3-4B": ("GQA", 147_456),
    "Qwen3-8B": ("GQA", 147_456),
    "Qwen3-14B": ("GQA", 163_840),
    "Qwen3-32B": ("GQA", 262_144),
    "Qwen3-30B-A3B": ("GQA", 98_304),
    "Qwen3-235B-A22B": ("GQA", 192_512),
    "Qwen3-Coder 480B-A35B": ("GQA", 62 * 2 * 8 * 128 * 2),
    "Qwen3-Coder 30B-A3B": ("GQA", 48 * 2 * 4 * 128 * 2),
    "Qwen3-Next 80B-A3B": ("GQA", 12 * 2 * 2 * 256 * 2),
    "Qwen3-VL 235B-A22B": ("GQA", 94 * 2 * 4 * 128 * 2),
    "Qwen3.5 27B": ("GQA", 16 * 2 * 4 * 256 * 2),
    "Qwen3.5 35B-A3B": ("GQA", 10 * 2 * 2 * 256 * 2),
    "Qwen3.5 397B-A17B": ("GQA", 15 * 2 * 2 * 256 * 2),
    "Qwen3.5 0.8B": ("GQA", 6 * 2 * 2 * 256 * 2),
    "Qwen3.5 2B": ("GQA", 6 * 2 * 2 * 256 * 2),
    "Qwen3.5 4B": ("GQA", 8 * 2 * 4 * 256 * 2),
    "Qwen3.5 9B": ("GQA", 8 * 2 * 4 * 256 * 2),
    "Phi-3-mini-4k (3.8B)": ("MHA", 393_216),
    "Phi-4 (14B)": ("GQA", 204_800),
    "Phi-4-mini": ("GQA", 32 * 2 * 8 * 128 * 2),
    "SmolLM2-135M": ("GQA", 23_040),
    "SmolLM2-360M": ("GQA", 40_960),
    "SmolLM2-1.7B": ("MHA", 196_608),
    "SmolLM3-3B": ("GQA", 73_728),
    "TinyLlama-1.1B": ("GQA", 22_528),
    "OLMo-2 1B (0425)": ("MHA", 131_072),
    "OLMo-2 7B (1124)": ("MHA", 524_288),
    "OLMo-2 13B (1124)": ("MHA", 819_200),
    "OLMo-2 32B (0325)": ("GQA", 262_144),
    "OLMo-3 7B": ("MHA", 32 * 2 * 32 * 128 * 2),
    "OLMo-3.1 32B": ("GQA", 64 * 2 * 8 * 128 * 2),
    "gpt-oss-20b": ("GQA", 49_152),
    "gpt-oss-120b": ("GQA", 73_728),
    "DeepSeek-LLM 67B": ("GQA", 389_120),
    "DeepSeek-V2-Lite (16B)": ("MLA", 31_104),
    "DeepSeek-V2 (236B)": ("MLA", 69_120),
    "DeepSeek-V3 (671B)": ("MLA", 70_272),
    "DeepSeek-V3.2 (671B)": ("MLA", 61 * (512 + 64 + 128) * 2),
    "DeepSeek-V4-Flash": ("MQA", (43 * 512 + 21 * (512 + 128) // 4 + 20 * 512 // 128) * 2),
    "DeepSeek-V4-Pro": ("MQA", (61 * 512 + 30 * (512 + 128) // 4 + 31 * 512 // 128) * 2),
    "ChatGLM2-6B": ("GQA", 28 * 2 * 2 * 128 * 2),
    "GLM-4 9B": ("GQA", 40 * 2 * 2 * 128 * 2),
    "GLM-4.5 355B-A32B": ("GQA", 92 * 2 * 8 * 128 * 2),
    "GLM-4.5-Air 106B-A12B": ("GQA", 46 * 2 * 8 * 128 * 2),
    "GLM-4.7 355B-A32B": ("GQA", 92 * 2 * 8 * 128 * 2),
    "GLM-4.7-Flash": ("MLA", 47 * (512 + 64) * 2),
    "GLM-5": ("MLA", 78 * (512 + 64 + 128) * 2),
    "Kimi-K2 1T-A32B": ("MLA", 61 * (512 + 64) * 2),
    "Kimi-Linear 48B-A3B": ("MLA", 7 * (512 + 64) * 2),
    "Kimi-K3 2.8T": ("MLA", 24 * (512 + 64) * 2),
    "MiniMax-Text-01 456B-A46B": ("GQA", 10 * 2 * 8 * 128 * 2),
    "MiniMax-M2.5 230B-A10B": ("GQA", 62 * 2 * 8 * 128 * 2),
    "MiniMax-M3 428B-A23B": ("GQA", (60 * 2 * 4 * 128 + 57 * 128) * 2),
    "MiMo 7B": ("GQA", 36 * 2 * 8 * 128 * 2),
    "MiMo-V2-Flash 309B-A15B": ("GQA", (9 * 4 + 39 * 8) * (192 + 128) * 2),
    "Step-3 316B-A38B": ("MQA", 61 * 2 * 1 * 256 * 2),
    "Step-3.5-Flash 196B-A11B": ("GQA", 45 * 2 * 8 * 128 * 2),
    "ERNIE-4.5 300B-A47B": ("GQA", 54 * 2 * 8 * 128 * 2),
    "Hunyuan 7B": ("GQA", 32 * 2 * 8 * 128 * 2),
    "Seed-OSS 36B": ("GQA", 64 * 2 * 8 * 128 * 2),
    "EXAONE-4.0 32B": ("GQA", 64 * 2 * 8 * 128 * 2),
    "Command-R 35B": ("MHA", 40 * 2 * 64 * 128 * 2),
    "Command-R7B": ("GQA", 32 * 2 * 8 * 128 * 2),
    "Command-A 111B": ("GQA", 64 * 2 * 8 * 128 * 2),
    "Jamba-v0.1 52B": ("GQA", 4 * 2 * 8 * 128 * 2),
    "Jamba-1.5-Large 398B": ("GQA", 9 * 2 * 8 * 128 * 2),
    "Nemotron-H 8B": ("GQA", 4 * 2 * 8 * 128 * 2),
    "Llama-3.3-Nemotron-Super 49B": ("GQA", 49 * 2 * 8 * 128 * 2),
    "Llama-3.1-Nemotron-Ultra 253B": ("GQA", 64 * 2 * 8 * 128 * 2),
    "Nemotron-Nano-9B-v2": ("GQA", 4 * 2 * 8 * 128 * 2),
    "Nemotron-3 Nano 30B-A3B": ("GQA", 6 * 2 * 2 * 128 * 2),
    "Nemotron-3 Super 120B-A12B": ("GQA", 8 * 2 * 2 * 128 * 2),
    "Granite-4.0 H-Tiny": ("GQA", 4 * 2 * 4 * 128 * 2),
    "LFM2-8B-A1B": ("GQA", 6 * 2 * 8 * 64 * 2),
    "Apertus 8B": ("GQA", 32 * 2 * 8 * 128 * 2),
}
HEAD_DIM_IS_NOT_D_OVER_N = {
    "Mistral-Nemo 12B",
    "Mistral-Small-3 24B",
    "Devstral-Small-2 24B",
    "Falcon-H1 7B",
    "PaLM 540B",
    "Gemma-7B",
    "Gemma-2 2B",
    "Gemma-2 9B",
    "Gemma-2 27B",
    "Gemma-3 270M",
    "Gemma-3 1B",
    "Gemma-3 4B",
    "Gemma-3 12B",
    "Gemma-3 27B",
    "Gemma-4 E2B",
    "Gemma-4 E4B",
    "Gemma-4 26B-A4B",
    "Gemma-4 31B",
    "Qwen3-0.6B",
    "Qwen3-4B",
    "Qwen3-32B",
    "Qwen3-30B-A3B",
    "Qwen3-235B-A22B",
    "Qwen3-Coder 480B-A35B",
    "Qwen3-Coder 30B-A3B",
    "Qwen3-Next 80B-A3B",
    "Qwen3-VL 235B-A22B",
    "Qwen3.5 27B",
    "Qwen3.5 35B-A3B",
    "Qwen3.5 397B-A17B",
    "Qwen3.5 0.8B",
    "Qwen3.5 4B",
    "gpt-oss-20b",
    "gpt-oss-120b",
    "DeepSeek-V2 (236B)",
    "DeepSeek-V3 (671B)",
    "DeepSeek-V3.2 (671B)",
    "DeepSeek-V4-Flash",
    "DeepSeek-V4-Pro",
    "GLM-4.5 355B-A32B",
    "GLM-4.5-Air 106B-A12B",
    "GLM-4.7 355B-A32B",
    "GLM-4.7-Flash",
    "GLM-5",
    "Kimi-K2 1T-A32B",
    "Kimi-Linear 48B-A3B",
    "Kimi-K3 2.8T",
    "MiniMax-Text-01 456B-A46B",
    "MiniMax-M2.5 230B-A10B",
    "MiniMax-M3 428B-A23B",
    "MiMo-V2-Flash 309B-A15B",
    "Step-3 316B-A38B",
    "Step-3.5-Flash 196B-A11B",
    "Seed-OSS 36B",
    "Nemotron-Nano-9B-v2",
    "Nemotron-3 Nano 30B-A3B",
}
CONFIGS = json.loads((Path(__file__).parent / "configs.json").read_text(encoding="utf-8"))
OF_PAPERS = {"GPT-3 175B", "PaLM 540B"}  # without a config.json
NUMBERS = [
    "n_layers",
    "n_heads",
    "n_kv_heads",
    "head_dim",
    "d_model",
    "max_context",
    "latent_dim",
    "layers",
    "upper_bound",
    "rope_theta",
    "vocab",
]
LEARNED = {"rope_theta": "learned"}  # what a file does not say of learned positions
CLASS_HAS = {  # what a file leaves to the code of its time
    "GPT-2 small (124M)": LEARNED,
    "GPT-2 medium (355M)": LEARNED,
    "GPT-2 large (774M)": LEARNED,
    "GPT-2 xl (1.5B)": LEARNED,
    "StarCoder 15.5B": LEARNED,
    "TinyStarCoderPy 164M": LEARNED,
    "SantaCoder 1.1B": LEARNED,
    "Falcon-7B": {"rope_theta": "10000"},
    "Falcon-40B": {"rope_theta": "10000", "max_context": "2048"},
}
COMMIT = "@[0-9a-f]{7,40}"
SOURCE = re.compile(  # a file on GitHub, a config.json on the Hub, a table of a paper
    rf"[\w.-]+/[\w.-]+{COMMIT}:[\w./+-]+|hf\.co/[\w.-]+/[\w.-]+{COMMIT}"
    r"|arXiv \d{4}\.\d{5} Table \d[\d.]*"
)
OF_A_CLASS = re.compile(r"transformers \d+\.\d+\.\d+ \w+Config")


def rows():
    with data_path("models.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


ROWS = rows()
by_name = pytest.mark.parametrize("row", ROWS, ids=lambda row: row["name"])


def cell(value):
    """A field of a Geometry as the file has it."""
    if isinstance(value, tuple):
        return "; ".join(map(str, value))
    return "" if value is None else f"{value:.0f}" if isinstance(value, float) else str(value)


# The file


def test_the_table_has_these_models_in_this_order():
    assert [m.name for m in models()] == list(EXPECTED)
    assert len(EXPECTED) == 139
    assert models() is models()


def test_columns_are_the_fields_of_Geometry():
    fields = [field.name for field in dataclasses.fields(Geometry)]
    assert list(ROWS[0]) == fields


@by_name
def test_every_cell_has_its_own_kind_of_content(row):
    pattern = {
        "latent_dim": r"(576)?",
        "layers": r"(\d+ × .+)?",
        "upper_bound": r"(banded sparse attention in every other layer)?",
        "rope_theta": r"(\d+|learned)?",
        "released": r"20[12]\d-(0[1-9]|1[0-2])",
        "gated": "yes|no|unclear|unreleased",
        "mirror": r"([\w.-]+/[\w.-]+)?",
        "source": r"\S.*\S",
        "confirmed": "[1-3]",
        "unsure": r"(\S.*\S)?",
        "name": r"\S.*\S",
    }
    for column, content in row.items():
        assert re.fullmatch(pattern.get(column, r"[1-9]\d*"), content), (column, content)


@by_name
def test_a_reader_can_open_a_source_of_every_row(row):
    entries = row["source"].split("; ")
    assert len(entries) == len(set(entries)) == int(row["confirmed"])
    for entry in entries:
        assert SOURCE.fullmatch(entry) or OF_A_CLASS.fullmatch(entry), entry
    assert not OF_A_CLASS.fullmatch(entries[0])  # a class only beside another source


def test_names_stay_different_without_case():
    assert len({m.name.casefold().strip() for m in models()}) == len(models())


def test_empty_cells_and_numbers_are_read_as_such():
    palm, gpt2, llama = model("PaLM 540B"), model("GPT-2 xl (1.5B)"), model("Llama-3 8B")
    assert (palm.rope_theta, gpt2.rope_theta, llama.rope_theta) == (None, "learned", 500_000)
    assert (llama.vocab, llama.confirmed, llama.unsure) == (128_256, 3, "month from memory")
    assert (llama.gated, llama.mirror) == ("yes", "NousResearch/Meta-Llama-3-8B")
    assert (llama.layers, llama.upper_bound, model("OLMo-2 1B (0425)").confirmed) == (None, "", 1)


@by_name
def test_the_notation_of_layers_comes_back(row):
    layers = parse(row["layers"])
    assert "; ".join(map(str, layers)) == row["layers"]
    assert model(row["name"]).layers == (layers or None)
    assert all(x.n_layers <= int(row["n_layers"]) for x in layers)


# What the files say


def test_every_model_but_those_of_papers_has_its_config():
    assert [*CONFIGS] == [name for name in EXPECTED if name not in OF_PAPERS]
    lines = (Path(__file__).parent / "configs.json").read_text(encoding="utf-8").splitlines()
    assert len(lines) == len(CONFIGS) + 2  # a line for each


@pytest.mark.parametrize("name", CONFIGS)
def test_a_row_is_what_its_config_says(name):
    said = from_config(CONFIGS[name], name)
    row = next(row for row in ROWS if row["name"] == name)
    wanted = {field: cell(getattr(said, field)) for field in NUMBERS} | CLASS_HAS.get(name, {})
    assert {field: row[field] for field in NUMBERS} == wanted


@pytest.mark.parametrize("name", CLASS_HAS)
def test_what_a_class_has_is_really_not_in_the_file(name):
    said = from_config(CONFIGS[name])
    assert all(getattr(said, field) is None for field in CLASS_HAS[name])


@pytest.mark.filterwarnings("ignore:`rope_scaling` is deprecated")
def test_the_config_that_transformers_writes_of_each_says_the_same():
    n_read = 0
    for name, config in CONFIGS.items():
        if config.get("model_type") not in CONFIG_MAPPING:
            continue
        read = CONFIG_MAPPING[config["model_type"]].from_dict(config)
        written = from_config(json.loads(read.to_json_string()), name)
        assert written.caches == model(name).caches, name
        assert (written.n_heads, written.d_model) == (model(name).n_heads, model(name).d_model)
        n_read += 1
    assert n_read > 110


# Bytes


@pytest.mark.parametrize("name", EXPECTED)
def test_the_next_token_takes_what_was_worked_out_elsewhere(name):
    m, (kind, per_token) = model(name), EXPECTED[name]
    assert (m.kind, m.token_bytes()) == (kind, per_token)
    assert m.n_heads % m.n_kv_heads == 0
    assert m.group_size * m.n_kv_heads == m.n_heads
    if m.layers is None:
        assert m.kv_bytes(1) == per_token


@pytest.mark.parametrize("kind, n", [("MHA", 16), ("GQA", 102), ("MQA", 12), ("MLA", 9)])
def test_how_many_of_each_kind_there_are(kind, n):
    assert len([m for m in models() if m.kind == kind]) == n


def heads(g, k, v=None, window=None, every=1, state=0):
    """One layer of the slow count: numbers a token, its window, tokens an entry, its state.

    A latent, and the key of an indexer, are counted as those of one head.
    """
    return g * (k + (k if v is None else v)), window, every, state


def state(numbers):
    return 0, None, 1, numbers


def one_in(n, l, full, other):
    """l layers, of which each nth, counted from 1, is another."""
    return [other if i % n else full for i in range(1, l + 1)]


DELTA = 32 * 128 * 128 + 4 * (2 * 16 * 128 + 32 * 128)  # Qwen3-Next: a matrix a head, convolutions
KDA = 96 * 128 * 128 + 4 * 3 * 96 * 128
MAMBA = 8192 * 16 + 4 * 8192  # Jamba: channels times states
MAMBA_2 = 64 * 64 * 128 + 4 * (64 * 64 + 2 * 8 * 128)  # Nemotron-3 Nano: heads, groups of 8
LAYER_BY_LAYER = {
    "Mistral-7B-v0.1": [heads(8, 128, window=4096)] * 32,
    "Gemma-2 27B": [heads(16, 128, window=None if i % 2 else 4096) for i in range(46)],
    "Gemma-3 27B": one_in(6, 62, heads(16, 128), heads(16, 128, window=1024)),
    "Gemma-3n E4B": one_in(5, 20, heads(2, 256), heads(2, 256, window=512)),
    "Gemma-4 31B": one_in(6, 60, heads(4, 512), heads(16, 256, window=1024)),
    "gpt-oss-20b": one_in(2, 24, heads(8, 64), heads(8, 64, window=128)),
    "Llama-4 Scout 17B-16E": one_in(4, 48, heads(8, 128), heads(8, 128, window=8192)),
    "OLMo-3 7B": one_in(4, 32, heads(32, 128), heads(32, 128, window=4096)),
    "Qwen3-Next 80B-A3B": one_in(4, 48, heads(2, 256), state(DELTA)),
    "DeepSeek-V3.2 (671B)": [heads(1, 512 + 64, 128)] * 61,
    "DeepSeek-V4-Flash": [heads(1, 512, 0, window=128)] * 2
    + [
        x
        for i in range(41)
        for x in (
            heads(1, 512, 0, window=128, state=0 if i % 2 else 2 * 4 * (512 + 128)),
            heads(1, 512, 0, every=128) if i % 2 else heads(1, 512, 128, every=4),
        )
    ],
    "MiMo-V2-Flash 309B-A15B": [
        heads(4, 192, 128) if i in (0, *range(5, 48, 6)) else heads(8, 192, 128, window=128)
        for i in range(48)
    ],
    "Kimi-K3 2.8T": [*one_in(4, 92, heads(1, 512, 64), state(KDA)), heads(1, 512, 64)],
    "MiniMax-Text-01 456B-A46B": one_in(8, 80, heads(8, 128), state(64 * 128 * 128)),
    "MiniMax-M3 428B-A23B": [heads(4, 128)] * 3 + [heads(1, 4 * 128 * 2, 128)] * 57,
    "Jamba-v0.1 52B": [heads(8, 128) if i % 8 == 4 else state(MAMBA) for i in range(32)],
    "Falcon-H1 7B": [heads(2, 128, state=3072 * 256 + 4 * (3072 + 2 * 256))] * 44,
    "Nemotron-3 Nano 30B-A3B": [
        heads(2, 128) if letter == "*" else state(MAMBA_2)
        for letter in "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME"
        if letter != "E"
    ],
    "LFM2-8B-A1B": [
        heads(8, 64) if i in (2, 6, 10, 14, 18, 21) else state(3 * 2048) for i in range(24)
    ],
}


@pytest.mark.parametrize("name", LAYER_BY_LAYER)
@pytest.mark.parametrize("n_tokens", [0, 1, 127, 4097, 131_072])
def test_a_slow_count_over_layers_gives_the_same_bytes(name, n_tokens):
    tokens, n_bytes = range(n_tokens), 0
    for numbers, window, every, once in LAYER_BY_LAYER[name]:
        held = tokens[-window:] if window else tokens
        n_bytes += len(held[every - 1 :: every]) * numbers * 2 + once * 2
    assert model(name).kv_bytes(n_tokens) == n_bytes


def test_the_layers_of_a_model_that_sees_keep_the_picture_once():
    vision = model("Llama-3.2 11B Vision")
    tiles = 4 * ((560 // 14) ** 2 + 1)  # patches and a class token each
    assert vision.kv_bytes(100, n_source=tiles) == (32 * 100 + 8 * tiles) * 2 * 8 * 128 * 2


def test_a_long_text_in_layers_that_differ():
    """At 131,072 tokens, in GB: what a formula for equal layers would say, and what is kept."""
    gemma, following = model("Gemma-3 27B"), model("Qwen3-Next 80B-A3B")
    assert round(gemma.token_bytes() * 131_072 / 1e9, 1) == 66.6
    assert round(gemma.kv_bytes(131_072) / 1e9, 1) == 11.2
    assert round(following.kv_bytes(131_072) / 1e9, 2) == 3.26


# What the rows teach


def test_head_dim_is_not_d_over_n():
    differ = {m.name for m in models() if m.n_heads * m.head_dim != m.d_model}
    assert differ == HEAD_DIM_IS_NOT_D_OVER_N
    assert len(differ) == 56


def test_Falcon_7B_is_MQA_though_its_config_says_71():
    falcon = model("Falcon-7B")
    assert (falcon.kind, falcon.n_kv_heads, falcon.group_size) == ("MQA", 1, 71)
    assert CONFIGS["Falcon-7B"]["num_kv_heads"] == 71


def test_DeepSeek_V3_is_MLA_though_its_config_says_128():
    v3 = model("DeepSeek-V3 (671B)")
    assert (v3.kind, v3.n_heads, v3.n_kv_heads) == ("MLA", 128, 128)
    assert dataclasses.replace(v3, latent_dim=None).kind == "MHA"
    assert {m.latent_dim for m in models()} == {None, 512 + 64}


def test_only_GPT_3_is_an_upper_bound():
    assert {m.name for m in models() if m.is_upper_bound} == {"GPT-3 175B"}
    assert not model("Llama-3 8B").is_upper_bound


def test_windows_are_said_in_words():
    assert model("Mistral-7B-v0.1").windows == "sliding window of 4096 tokens in 32 of 32 layers"
    assert model("Gemma-3 1B").windows == "sliding window of 512 tokens in 22 of 26 layers"
    assert model("gpt-oss-120b").windows == "sliding window of 128 tokens in 18 of 36 layers"
    assert model("Llama-3 8B").windows == ""
    windowed = [m.name for m in models() if m.windows]
    assert len(windowed) == 30


def test_what_lesson_06_says_of_the_models_of_2026():
    new = [m for m in models() if m.kind == "GQA" and m.released.startswith("2026")]
    assert Counter(m.n_kv_heads for m in new) == {2: 7, 4: 5, 8: 2}
    few = [m for m in new if sum(x.n_layers for x in m.caches if x.n_kv_heads) < m.n_layers / 2]
    assert sum(m.name.startswith("Qwen3.5") for m in few) == 7
