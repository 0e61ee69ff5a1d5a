"""The explorer of models, on the kernel's side, against transformers and a Hub on this machine."""

import itertools
import json
import re
import socket
import threading

import numpy as np
import pytest
import torch
from hub_server import Fault, serve
from huggingface_hub import constants
from ipywidgets import HBox
from safetensors.torch import load_file, save_file
from tiny import SIZES as TINY
from tiny import tiny
from transformers import (
    AutoModelForCausalLM,
    DeepseekV3Config,
    FalconConfig,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    Olmo2Config,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
    SmolLM3Config,
)

from course_utils import SENTENCE, checkpoints, figures
from course_utils.figures.parts import size
from course_utils.widgets import explorer
from course_utils.widgets.explorer import HERE, LLAMA2, LLAMA3, QWEN, THERE, Explorer
from course_utils.widgets.slider import Keys
from makers import doors

WEIGHTS = "model.safetensors"
IDS = doors.tokenizer().encode(SENTENCE).ids
SIZES = TINY | {"vocab_size": doors.config(8)["vocab_size"]}
CONFIGS = {
    "llama": LlamaConfig(**SIZES),
    "qwen2": Qwen2Config(**SIZES),
    "qwen3": Qwen3Config(**SIZES, tie_word_embeddings=True),
    "mha": LlamaConfig(**SIZES | {"num_key_value_heads": 6, "num_hidden_layers": 4}),
    "mqa": LlamaConfig(**SIZES | {"num_key_value_heads": 1, "num_hidden_layers": 2}),
    "mistral": MistralConfig(**SIZES),
    "smollm3": SmolLM3Config(**SIZES, no_rope_layers=[1, 0, 1]),
    "granite": GraniteConfig(**SIZES, embedding_multiplier=3.0, residual_multiplier=0.4),
    "phi3": Phi3Config(**SIZES | {"hidden_size": 48}),
    "olmo2": Olmo2Config(**SIZES),
    "gemma": GemmaConfig(**SIZES),
    "gemma3": Gemma3TextConfig(**SIZES),
}
MINI = "org/llama · GQA, n = 6, g = 2, h = 8"


pytestmark = pytest.mark.usefixtures("no_other_network")


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A server on this machine that is the Hub to whoever asks for org/name."""
    with serve(tmp_path / "models") as running:
        template = running.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "ENDPOINT", running.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        yield running


def make(folder, config, **kwargs):
    """A random model of transformers, saved as the Hub has it, with our tokenizer."""
    model = tiny(config, folder, **kwargs)
    doors.tokenizer().save(str(folder / "tokenizer.json"))
    return model


@pytest.fixture
def llama(hub):
    """The folder of org/llama on the Hub."""
    make(hub.folder / "org" / "llama", CONFIGS["llama"])
    return hub.folder / "org" / "llama"


def looking_at(name, *others):
    """An explorer of this model and others, with it chosen."""
    chosen = Explorer(name, *others)
    chosen.model.value = name
    return chosen


def said(text):
    """The bytes that a line says are to be read or have been read."""
    number, unit = re.search(r"Layer \d+: ([\d.,]+) (B|kB|MB) (?:to )?read", text).groups()
    return f"{number} {unit}"


def is_fault(chosen, text):
    """A line and nothing else: no layers, no picture."""
    assert chosen.text == text
    assert chosen.layer.values == [0]
    assert chosen.read() is None
    assert chosen.text == text


def still_works(chosen):
    """The embedded model can be chosen and read."""
    chosen.model.value = "doors-g1"
    assert chosen.text.startswith("doors-g1 · MQA, n = 32, g = 1, h = 16. Layer 0: ")
    assert chosen.layer.values == [0, 1, 2, 3]
    assert isinstance(chosen.read(), figures.Card)


def pictures(figure):
    """The numbers in all maps of a figure, and its words."""
    maps = [np.ma.filled(x.get_array(), np.nan) for axes in figure.axes for x in axes.get_images()]
    return [maps, figure.alt, figure.get_suptitle()]


# ── the embedded models ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", HERE)
def test_the_embedded_models_need_no_network(monkeypatch, name):
    def no_network(*args, **kwargs):
        raise AssertionError("an embedded model reached for the network")

    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setattr(socket, "create_connection", no_network)
    chosen = looking_at(name)
    assert chosen.layer.values == [0, 1, 2, 3]
    for i in (3, 0):
        chosen.layer.value = i
        assert isinstance(chosen.read(), figures.Card)
        found, size_read = chosen.text.split(f". Layer {i}: ")
        assert found == chosen.sizes
        assert re.fullmatch(r"[\d.]+ (B|kB|MB) read", size_read)  # and no word of requests


@pytest.mark.parametrize("i", range(4))
def test_the_price_of_a_folder_is_what_is_read_of_it(i):
    chosen = Explorer()
    chosen.layer.value = i
    before, price = chosen.checkpoint.bytes_read, said(chosen.text)
    chosen.read()
    assert price == said(chosen.text) == size(chosen.checkpoint.bytes_read - before)


def test_lower_layers_are_computed_once():
    chosen = Explorer()
    chosen.layer.value = 3
    chosen.read()
    for i in (3, 1):
        chosen.layer.value = i
        before = chosen.checkpoint.bytes_read
        chosen.read()
        read = chosen.checkpoint.bytes_read - before
        assert read == 2 * (128 + 2 * 8 * 16 * 128)  # a norm, k_proj and v_proj


def test_the_first_embedded_model_is_chosen_and_the_others_are_offered():
    offered = Explorer("org/mine", "org/other@v1", HERE[1])
    assert offered.model.value == HERE[0]
    assert offered.model.options == (*HERE, *THERE, "org/mine", "org/other@v1")


def test_a_folder_of_ones_own_can_be_named(tmp_path):
    make(tmp_path / "mine", CONFIGS["mqa"])
    for name in (tmp_path / "mine", str(tmp_path / "mine")):
        chosen = Explorer(name)
        chosen.model.value = str(name)
        assert chosen.text.startswith(f"{name} · MQA, n = 6, g = 1, h = 8. Layer 0: ")
        assert chosen.text.endswith(f" to read of {size(chosen.checkpoint.n_bytes)}")
        assert chosen.layer.values == [0, 1]


# ── what is read ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", CONFIGS)
@torch.no_grad()
def test_the_picture_is_of_the_keys_and_values_that_transformers_caches(hub, kind):
    config = CONFIGS[kind]
    n, g, l = config.num_attention_heads, config.num_key_value_heads, config.num_hidden_layers
    cached = make(hub.folder / "org" / kind, config)(torch.tensor([IDS])).past_key_values.layers
    chosen = looking_at(f"org/{kind}")
    assert chosen.layer.values == list(range(l))
    for i in (1, 0, l - 1):
        chosen.layer.value = i
        found = pictures(chosen.read())
        k = "K, here without RoPE" if (kind, i) == ("smollm3", 1) else "K after RoPE"
        panels = {k: cached[i].keys[0], "V": cached[i].values[0]}
        rows = f"qkv_proj {n * 8} + 2 · {g * 8}" if kind == "phi3" else f"v_proj {g * 8}"
        title = f"{kind}, layer {i}: o_proj has {n * 8} columns, {rows} rows"
        expected = pictures(figures.head_grid(panels, n, title))
        assert found[1:] == expected[1:]
        assert len(found[0]) == len(expected[0]) >= 2
        for ours, theirs in zip(found[0], expected[0], strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", CONFIGS)
def test_what_is_said_to_be_read_is_then_read(hub, kind):
    make(hub.folder / "org" / kind, CONFIGS[kind])
    chosen = looking_at(f"org/{kind}")
    last = chosen.layer.values[-1]
    prices = []
    for i in (0, last, last, 1, 0):
        chosen.layer.value = 1 - min(i, 1)  # another one, so that the price is said anew
        chosen.layer.value = i
        before, sent, price = chosen.checkpoint.bytes_read, hub.body_bytes, said(chosen.text)
        assert chosen.text.split(". Layer")[0] == chosen.sizes
        chosen.read()
        grown = chosen.checkpoint.bytes_read - before
        assert grown == hub.body_bytes - sent
        assert price == said(chosen.text) == size(grown)
        prices.append(grown)
    # What is kept is what was asked for: all of a fused matrix does not count as a part of it.
    again = 4 * 2 * 2 * 8 * 48 if kind == "phi3" else 0
    assert prices[0] > 0 and prices[1] > 0 and prices[2:] == [0, again, 0]


def test_opening_and_reading_tell_all_bytes_and_all_requests_so_far(llama, hub):
    chosen = looking_at("org/llama")
    opened = hub.body_bytes
    assert opened > (llama / "tokenizer.json").stat().st_size
    for i in (2, 1, 0):
        chosen.layer.value = i
        assert chosen.text.endswith(f"; opening it took {size(opened)}")
    for i in (0, 2):
        chosen.layer.value = i
        assert chosen.text.endswith(f"; opening it took {size(opened)}")
        chosen.read()
        n = len(hub.seen)
        assert chosen.text.endswith(f" read; so far {size(hub.body_bytes)} in {n} requests")


def test_the_price_in_bytes_is_what_comes_over_the_wire(llama, hub, monkeypatch):
    monkeypatch.setattr(explorer, "size", "{:,} B".format)
    chosen, h, g, d, ffn = looking_at("org/llama"), 8, 2, 18, 28
    rows = 4 * d * len(set(IDS))
    keys_values = 4 * (d + 2 * g * h * d)
    whole = 4 * (2 * d + 2 * 6 * h * d + 2 * g * h * d + 3 * d * ffn)
    # layer 2: what layer 0 has besides, all of layer 1, and a part of layer 2 again
    layers = {0: rows + keys_values, 2: 2 * whole, 1: 0}
    for i, expected in layers.items():
        chosen.layer.value = i
        assert f"Layer {i}: {expected:,} B to read of " in chosen.text
        sent = hub.body_bytes
        chosen.read()
        assert hub.body_bytes - sent == expected
        assert f"Layer {i}: {expected:,} B read; so far {hub.body_bytes:,} B in " in chosen.text


def test_a_second_reading_costs_nothing_and_says_so(llama, hub):
    chosen = looking_at("org/llama")
    chosen.read()
    sent, first = hub.body_bytes, chosen.text
    assert isinstance(chosen.read(), figures.Card)
    assert hub.body_bytes == sent
    assert chosen.text == re.sub("Layer 0: .* read;", "Layer 0: 0 B read;", first) != first
    chosen.layer.value = 1
    chosen.layer.value = 0
    assert chosen.text.startswith(f"{MINI}. Layer 0: 0 B to read of ")


def test_only_config_headers_and_tokenizer_are_read_before_one_asks(llama, hub):
    chosen = looking_at("org/llama")
    for i in (2, 1, 0):
        chosen.layer.value = i
    end = 8 + int.from_bytes((llama / WEIGHTS).read_bytes()[:8], "little")
    for _, method, path, headers in hub.seen:
        file = re.split(r"[/?]", path.split("?")[0])[-1]
        if method == "GET" and file == WEIGHTS:
            first, last = map(int, headers["range"].removeprefix("bytes=").split("-"))
            assert 0 <= first <= last < end
        else:
            assert file in ("config.json", "tokenizer.json", "model.safetensors.index.json")
    assert hub.gets(WEIGHTS)


KNOWN = [name for name, ids in THERE.items() if ids]


def made_small(hub, name):
    """A small model under a known name, as large a vocabulary as its tokens need."""
    sizes = SIZES | {"vocab_size": max(THERE[name]) + 1, "head_dim": 2, "num_hidden_layers": 2}
    config = LlamaConfig(**sizes, tie_word_embeddings=True)
    return make(hub.folder.joinpath(*name.split("/")), config)


def test_our_sentence_is_a_token_a_word_in_all_known_models():
    words = SENTENCE.split()[1:]  # the first has no space before it, and with that another token
    for ids, start in ((LLAMA2, [1]), (LLAMA3, [128_000]), (QWEN, [])):
        assert ids[:-11] == start  # Llama's begin with one that means the start
        assert [ids[-10:].index(x) for x in ids[-10:]] == [words.index(x) for x in words]


@pytest.mark.parametrize("name", KNOWN)
def test_known_models_read_our_sentence_without_their_tokenizer(hub, name):
    with torch.no_grad():
        cached = made_small(hub, name)(torch.tensor([THERE[name]])).past_key_values.layers
    (hub.folder.joinpath(*name.split("/")) / "tokenizer.json").unlink()
    chosen = looking_at(name)
    panels = {"K after RoPE": cached[0].keys[0], "V": cached[0].values[0]}
    title = f"{name.split('/')[1]}, layer 0: o_proj has 12 columns, v_proj 4 rows"
    found, expected = pictures(chosen.read()), pictures(figures.head_grid(panels, 6, title))
    assert found[1:] == expected[1:]
    for ours, theirs in zip(found[0], expected[0], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
    assert not hub.gets("tokenizer.json")
    assert hub.body_bytes < 100_000  # of more than 2 MB


@pytest.mark.parametrize("name", ["org/Meta-Llama-3-8B", "org/Qwen3-0.6B"])
def test_a_model_with_the_end_of_a_known_name_has_its_own_tokens(hub, name):
    make(hub.folder.joinpath(*name.split("/")), CONFIGS["mqa"])
    assert looking_at(name).ids == IDS
    assert hub.gets("tokenizer.json")


# ── faults ─────────────────────────────────────────────────────────────────────────────────────

REMEDY = "or choose the embedded model, which needs no network"


def test_offline_is_a_line(llama, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    chosen = looking_at("org/llama")
    is_fault(chosen, f"HF_HUB_OFFLINE is set: unset it, {REMEDY}")
    still_works(chosen)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    chosen.model.value = "org/llama"
    assert chosen.text.startswith(f"{MINI}. Layer 0: ")


def test_no_network_at_all_is_a_line(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as nowhere:
        host = f"127.0.0.1:{nowhere.getsockname()[1]}"
    chosen = looking_at(f"http://{host}/org/llama")
    why = f"no answer from {host} (connection refused): check the address, or try another network"
    is_fault(chosen, f"{why}, {REMEDY}")
    still_works(chosen)


def test_a_gated_model_is_a_line_until_it_is_open(llama, hub):
    hub.gated["org/llama"] = {"hf_good"}
    chosen = looking_at("org/llama")
    is_fault(
        chosen,
        f"org/llama is gated: ask for access at {hub.url}/org/llama, then give your token by "
        "HF_TOKEN in the environment, `hf auth login` or a Colab secret HF_TOKEN, never in a cell",
    )
    still_works(chosen)
    hub.gated.clear()
    chosen.model.value = "org/llama"
    assert isinstance(chosen.read(), figures.Card)


def test_a_wrong_name_is_a_line_with_the_near_one(llama, hub):
    chosen = looking_at("org/lama")
    host = hub.url.removeprefix("http://")
    is_fault(chosen, f"no model org/lama on {host}; did you mean 'org/llama'?")
    still_works(chosen)


def test_what_is_no_name_is_a_line():
    for name in ("a/b/c", "./no/such/folder", ""):
        chosen = looking_at(name)
        assert chosen.text
        is_fault(chosen, chosen.text)
        assert "\n" not in chosen.text
        still_works(chosen)


SMALL = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 6, "vocab_size": 99}
MLA = {"q_lora_rank": 8, "kv_lora_rank": 20, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8}
MOE = {"n_routed_experts": 4, "n_group": 2, "topk_group": 1, "num_experts_per_tok": 2}
DRAWN = "gemma, gemma3_text, granite, llama, mistral, olmo2, phi3, qwen2, qwen3, smollm3"
READ = f"keys and values cannot be read; config and shapes can be shown; drawn are {DRAWN}"


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (
            GPT2Config(n_embd=24, n_layer=2, n_head=6, vocab_size=99),
            f"MHA, n = 6, g = 6, h = 4: c_attn is queries, keys and values fused: {READ}",
        ),
        (
            FalconConfig(**SMALL, multi_query=True),
            f"MQA, n = 6, g = 1, h = 4: query_key_value is queries, keys and values fused: {READ}",
        ),
        (
            DeepseekV3Config(**SMALL, **MLA, **MOE, v_head_dim=8, num_key_value_heads=6),
            "MLA, n = 6, a latent and RoPE key of 24, h = 8: kv_a_proj_with_mqa makes one latent for all heads "
            f"(MLA): {READ}",
        ),
        (
            Gemma2Config(**SMALL, num_key_value_heads=2, head_dim=8),
            "GQA, n = 6, g = 2, h = 8; 1 of 2 layers keeps 2 K/V heads of 8 for the last 4,096 tokens, 1 keeps 2 K/V heads of 8 for all tokens: model_type is 'gemma2'; known here is 'gemma', "
            "'gemma3_text', 'granite', 'llama', 'mistral', 'olmo2', 'phi3', 'qwen2', 'qwen3', "
            "'smollm3'",
        ),
    ],
    ids=["gpt2", "falcon", "deepseek", "gemma2"],
)
def test_of_what_cannot_be_computed_the_line_says_why_and_its_sizes(hub, llama, config, line):
    torch.manual_seed(1)
    AutoModelForCausalLM.from_config(config).save_pretrained(hub.folder / "org" / "other")
    chosen = looking_at("org/other", "org/llama")
    is_fault(chosen, f"org/other · {line}")
    assert not hub.gets("tokenizer.json")
    still_works(chosen)
    chosen.model.value = "org/llama"
    assert chosen.layer.values == [0, 1, 2]


def without(name):
    """Take a tensor out of a checkpoint."""

    def spoil(folder):
        tensors = load_file(folder / WEIGHTS)
        del tensors[name]
        save_file(tensors, folder / WEIGHTS)

    return spoil


def renamed(old, new):
    """Call a tensor of a checkpoint something else."""

    def spoil(folder):
        tensors = load_file(folder / WEIGHTS)
        save_file({new if x == old else x: t for x, t in tensors.items()}, folder / WEIGHTS)

    return spoil


def added(name, x):
    """Put one more tensor into a checkpoint, or another one in its place."""
    return lambda folder: save_file(load_file(folder / WEIGHTS) | {name: x}, folder / WEIGHTS)


def first_made(kind, spoil):
    """Make a model of another kind, then spoil it."""

    def both(folder):
        make(folder, CONFIGS[kind])
        spoil(folder)

    return both


def config_with(**change):
    """Change what a config.json says."""

    def spoil(folder):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | change))

    return spoil


def written(file, data):
    """Replace a file."""
    return lambda folder: (folder / file).write_bytes(data)


LAST = "model.layers.2.self_attn"
BROKEN = {
    "no config": (lambda folder: (folder / "config.json").unlink(), "no config.json in org/llama; there is generation_config.json"),
    "config is no JSON": (written("config.json", b"<html>"), "config.json is broken: it is no JSON object"),
    "config without layers": (config_with(num_hidden_layers=None), "config.json has no num_hidden_layers (nor n_layer, n_layers, num_layers, layers, num_transformer_layers, num_blocks); it does not tell what this model caches"),
    "config with odd heads": (config_with(num_key_value_heads=4), "n_heads (6) must be divisible by n_kv_heads (4)"),
    "config with words for numbers": (config_with(rms_norm_eps="tiny"), "config.json has rms_norm_eps 'tiny'; it must be a number"),
    "config with a list for an object": (config_with(rope_parameters=[1]), "config.json has rope_parameters [1]; it must be an object: {…}"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), "no model.safetensors in org/llama; there is config.json, generation_config.json"),
    "a short file": (written(WEIGHTS, b"12345"), "model.safetensors is broken: it ends before byte 7, after 5 bytes"),
    "a header of nothing": (written(WEIGHTS, (2).to_bytes(8, "little") + b"[]"), "model.safetensors is broken: invalid JSON in header: "),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "no tokenizer.json in org/llama; there is config.json"),
    "tokenizer is no JSON": (written("tokenizer.json", b"{{{"), "Exception: "),
    "tokenizer is no text": (written("tokenizer.json", b"\xff\xfe"), "'utf-8' codec can't decode byte 0xff"),
    "no embedding": (without("model.embed_tokens.weight"), "KeyError: \"no tensor named 'model.embed_tokens.weight'"),
    "no norm": (without("model.layers.0.input_layernorm.weight"), "model.layers.0.input_layernorm.weight: the file has none, config.json means (18,)"),
    "no norm in the layer that is shown": (without("model.layers.2.input_layernorm.weight"), "model.layers.2.input_layernorm.weight: the file has none, config.json means (18,)"),
    "no MLP below": (without("model.layers.1.mlp.up_proj.weight"), "model.layers.1.mlp.up_proj.weight: the file has none, config.json means (28, 18)"),
    "quantized keys": (renamed(f"{LAST}.k_proj.weight", f"{LAST}.k_proj.qweight"), f"{LAST}.k_proj.qweight: the file has (16, 18), config.json means none"),
    "keys in 8 bits": (added(f"{LAST}.k_proj.weight", torch.ones(16, 18, dtype=torch.int8)), f"{LAST}.k_proj.weight is torch.int8, quantized; try the original model"),
    "no keys": (renamed(f"{LAST}.k_proj.weight", f"{LAST}.keys.weight"), f"{LAST}.k_proj.weight: the file has none, config.json means (16, 18)"),
    "a bias that config.json lacks": (added(f"{LAST}.k_proj.bias", torch.ones(16)), f"{LAST}.k_proj.bias: the file has (16,), config.json means none"),
    "no norm of the keys": (first_made("qwen3", without(f"{LAST}.k_norm.weight")), f"{LAST}.k_norm.weight: the file has none, config.json means (8,)"),
    "a norm of the keys that config.json lacks": (first_made("qwen3", config_with(model_type="llama")), "model.layers.0.self_attn.k_norm.weight: the file has (8,), config.json means none"),
    "wide heads": (config_with(head_dim=64), "model.layers.0.self_attn.k_proj.weight: the file has (16, 18), config.json means (128, 18)"),
    "odd heads": (config_with(head_dim=7), "head_dim (7) must be even: RoPE turns numbers in pairs"),
    "more layers than there are": (config_with(num_hidden_layers=5), "model.layers.3.input_layernorm.weight: the file has none, config.json means (18,)"),
    "quantized, says the config": (config_with(quantization_config={"bits": 4}), "quantization_config is {'bits': 4}; known here is none"),
    "a sliding window of no size": (config_with(layer_types=["sliding_attention"] * 3), "config.json has layers of sliding_attention; known here are layers that see all tokens, or a sliding_window of which it says the size"),
    "a sliding window shorter than our sentence": (config_with(sliding_window=4), f"{len(IDS)} tokens are too many: of some layers a token may see only the last 4; known here are texts of 4 tokens or less"),
    "no epsilon": (config_with(rms_norm_eps=None), "config.json has no rms_norm_eps; it cannot be computed without"),
    "another RoPE": (config_with(rope_parameters={"rope_type": "yarn", "rope_theta": 1e4}), "RoPE of type 'yarn' is not known here; 'default' and 'llama3' are"),
    "half a RoPE": (config_with(rope_parameters={"rope_type": "llama3", "factor": 8.0}), "RoPE of type 'llama3' needs low_freq_factor, high_freq_factor, original_max_position_embeddings in config.json"),
}  # fmt: skip


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_model_is_a_line_at_the_latest_when_it_is_read(llama, fault):
    spoil, words = BROKEN[fault]
    spoil(llama)
    chosen = looking_at("org/llama")
    chosen.layer.value = chosen.layer.values[-1]
    assert chosen.read() is None
    start, _, _ = chosen.text.partition(words)
    assert words in chosen.text
    assert start in ("", f"{chosen.sizes}: ")
    assert "\n" not in chosen.text and len(chosen.text) <= 400
    still_works(chosen)


def test_of_a_vocabulary_too_small_for_llama_3_the_line_says_which_row(hub):
    name = "NousResearch/Meta-Llama-3-8B"
    make(hub.folder.joinpath(*name.split("/")), CONFIGS["llama"])
    chosen = looking_at(name)
    line = f"there is no row 128000; this tensor has {SIZES['vocab_size']}, counted from 0"
    for _ in range(2):
        assert chosen.text == f"{name} · GQA, n = 6, g = 2, h = 8: IndexError: {line}"
        assert chosen.read() is None
    still_works(chosen)


RUNS = len([i for i in set(IDS) if i - 1 not in IDS])  # requests for the rows of the embedding


@pytest.mark.parametrize(
    "bodies", [1, RUNS, RUNS + 1], ids=["embedding", "a layer", "another layer"]
)
def test_a_connection_that_dies_in_the_middle_is_a_line_and_reading_goes_on(llama, hub, bodies):
    chosen, count = looking_at("org/llama"), itertools.count(1)
    chosen.layer.value = 2
    wanted = checkpoints.needed(chosen.checkpoint, IDS, 2)
    price = chosen.checkpoint.price(wanted)

    def dies():
        if next(count) == bodies:
            hub.faults.append(Fault(WEIGHTS, cut=10, times=99))

    hub.before_body = dies
    assert chosen.read() is None
    assert chosen.text.startswith(f"{chosen.sizes}: {hub.url.removeprefix('http://')} ")
    assert chosen.text.endswith(f", 5 times: run it again later, {REMEDY}")
    for thread in threading.enumerate():
        if "ThreadPoolExecutor" in thread.name:
            thread.join(5)  # what it has begun may still come
    hub.faults.clear()
    left, before = chosen.checkpoint.price(wanted), hub.body_bytes
    assert 0 < left < price
    assert isinstance(chosen.read(), figures.Card)
    assert hub.body_bytes - before == left
    assert f"Layer 2: {size(left)} read" in chosen.text
    still_works(chosen)


def test_a_reading_that_is_interrupted_can_be_begun_again(llama, monkeypatch):
    chosen = looking_at("org/llama")
    chosen.read()
    chosen.layer.value = 2
    with monkeypatch.context() as patch:

        def interrupted(*args):
            raise KeyboardInterrupt

        patch.setattr(checkpoints.layers, "read_layer", interrupted)
        with pytest.raises(KeyboardInterrupt):
            chosen.read()
    assert isinstance(chosen.read(), figures.Card)


def test_a_shard_that_cannot_be_priced_is_a_line_and_other_layers_work(hub):
    make(hub.folder / "org" / "shards", CONFIGS["llama"], max_shard_size="20KB")
    chosen = looking_at("org/shards")
    shard = chosen.checkpoint.files["model.layers.2.self_attn.k_proj.weight"]
    assert not hub.gets(shard)
    hub.faults.append(Fault(shard, status=503, times=5))
    chosen.layer.value = 2
    host = hub.url.removeprefix("http://")
    line = f"{host} answered 503, 5 times: run it again later, {REMEDY}"
    assert chosen.text == f"{chosen.sizes}: {line}"
    for i in (1, 2):
        chosen.layer.value = i
        assert f"Layer {i}: " in chosen.text
    assert isinstance(chosen.read(), figures.Card)


# ── how it is shown ────────────────────────────────────────────────────────────────────────────


def test_html_in_names_is_escaped(tmp_path):
    make(tmp_path / "<b>&x", CONFIGS["mqa"])
    for name in (str(tmp_path / "<b>&x"), "<script>alert(1)</script>", "org/<img src=x>"):
        chosen = looking_at(name)
        chosen.read()
        inside = chosen.bill.value.partition(">")[2].removesuffix("</div>")
        assert not re.search("[<>]|&(?!(amp|lt|gt|quot|#x27);)", inside)
    folder = looking_at(str(tmp_path / "<b>&x"))
    assert "&lt;b&gt;&amp;x · MQA" in folder.bill.value and "<b>&x · MQA" in folder.text


def test_one_move_of_the_layer_writes_one_line_and_a_choice_two():
    chosen, lines = Explorer(), []
    chosen.bill.observe(lambda change: lines.append(change.new), "value")
    chosen.layer.value = 3
    assert len(lines) == 1 and "Layer 3: " in lines[0]
    lines.clear()
    chosen.model.value = "doors-g1"
    assert len(lines) == 2
    assert "doors-g1: reading its config, headers and tokenizer" in lines[0]
    assert "doors-g1 · MQA, n = 32, g = 1, h = 16. Layer 0: " in lines[1]


def test_stored_it_is_the_line_without_a_widget(monkeypatch):
    monkeypatch.setenv("COURSE_OUTPUTS", "stored")
    chosen = Explorer()
    assert chosen._repr_mimebundle_()[0] == {
        "text/html": chosen.bill.value,
        "text/plain": "doors-g8 · GQA, n = 32, g = 8, h = 16. Layer 0: 68.4 kB to read of 2.1 MB",
    }


def test_live_it_is_a_widget_with_the_line_beside_it(monkeypatch):
    monkeypatch.delenv("COURSE_OUTPUTS", raising=False)
    chosen = Explorer()
    data, _ = chosen._repr_mimebundle_()
    assert set(data) == {figures.WIDGET, "text/html", "text/plain"}
    assert data[figures.WIDGET]["model_id"] == chosen.model_id
    assert data["text/plain"] == chosen.text


def test_its_controls_have_labels_and_its_keys_find_their_box():
    chosen = Explorer()
    assert (chosen.model.description, chosen.layer.label) == ("model", "layer")
    assert isinstance(chosen, HBox)  # `Keys` looks for the nearest one
    assert isinstance(chosen.children[-1], Keys)


def test_ipywidgets_7_cannot_show_it_without_its_words():
    assert Explorer()._ipython_display_ is None
