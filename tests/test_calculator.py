"""The calculator of the KV cache, on the kernel's side; the browser is in tests/browser."""

import json
import math
import random
import re
from dataclasses import replace

import pytest
import traitlets

from course_utils import checkpoints, figures
from course_utils.geometry import Geometry, model, models
from course_utils.layers import Layers
from course_utils.widgets.calculator import Calculator, bill, read_config, shown

V3 = "DeepSeek-V3 (671B)"
START = {
    "model": "Llama-3 8B", "beside": "", "l": 32, "n": 32, "g": 8, "h": 128, "b": 1, "s": 8192, "bytes": 2,
    "weights": 16.06, "gpus": 1, "block": 1, "pages": "needed", "source": 1024,
}  # fmt: skip


def layered(name, *layers, n=32, g=8, h=128):
    n_layers = sum(x.n_layers for x in layers)
    return Geometry(name, n_layers, n, g, h, d_model=n * h, max_context=262_144, layers=layers)


GEMMA = layered("windows", Layers(10, 16, 128, 128), Layers(52, 16, 128, 128, window=1024), g=16)
HYBRID = layered("states", Layers(12, 2, 256, 256), Layers(36, state=540_672), g=2, h=256)
LAYERED = [
    GEMMA,
    HYBRID,
    layered("unlike", Layers(9, 4, 192, 128), Layers(39, 8, 192, 128, window=128), g=4, h=192),
    layered("an index", Layers(61, latent_dim=576, index_dim=128)),
    layered(
        "compressed",
        Layers(61, latent_dim=512, window=128),
        Layers(30, latent_dim=512, index_dim=128, every=4),
        Layers(31, latent_dim=512, every=128),
    ),
    layered("K is V", Layers(5, 4, 512), Layers(25, 8, 256, 256, window=1024)),
    layered("both <b>&'", Layers(44, 2, 128, 128, state=100_001), g=2),
    layered(
        "a source", Layers(32, 20, 64, 64), Layers(32, 20, 64, 64, cross=True), n=20, g=20, h=64
    ),
    layered("one state", Layers(1, state=999)),
    layered("nothing"),
]


def without_windows(m):
    return replace(m, layers=tuple(replace(x, window=None) for x in m.caches))


def words(html):
    """What is read of a page: its text, with | between the cells of a table."""
    return re.sub("<.*?>", "", re.sub("</t[hd]>|<br>|</?div.*?>|<table.*?>", " | ", html))


def said(m, **asked):
    return words(bill(m, START | {"weights": 0} | asked))


def test_llama_3_8b_at_its_full_context_is_one_gib():
    text = words(Calculator().bill)
    assert "2 · l · b · g · h · s · bytes" in text
    assert "2 · 32 · 1 · 8 · 128 · 8192 · 2 = 1,073,741,824 bytes" in text
    assert "1.07 GB = 1.00 GiB for 1 sequence of 8,192 tokens" in text
    assert "131,072 bytes for each token" in text
    assert "MHA, g = 32 |  |  |  | 4.29 GB | × 4" in text
    assert "this, g = 8 |  |  |  | 1.07 GB | × 1" in text
    assert "MQA, g = 1 |  |  |  | 0.134 GB | ÷ 8" in text


@pytest.mark.parametrize(
    "geometry, n_tokens, gb",
    [
        (model("GPT-3 175B"), 1024, "4.83 GB = 4.50 GiB"),
        (model("GPT-3 175B"), 2048, "9.66 GB = 9.00 GiB"),
        (replace(model(V3), latent_dim=None), 100_000, "399.77 GB = 372.31 GiB"),
        (model(V3), 100_000, "7.03 GB = 6.54 GiB"),
        (model("Llama-3.1 405B"), 131_072, "67.65 GB = 63.00 GiB"),
        (model("TinyStarCoderPy 164M"), 1, "0.00000512 GB = 0.00000477 GiB"),
    ],
)
def test_the_bill_of_models_known_by_hand(geometry, n_tokens, gb):
    # 2·96·96·128·1024·2, and twice that; 2·61·128·128·100000·2; 61·576·100000·2;
    # 2·126·8·128·131072·2; 2·20·64·2 = 5120
    assert gb in said(geometry, s=n_tokens)


def test_layers_are_told_by_kind():
    text = said(GEMMA, s=131_072)
    full, last = 2 * 10 * 16 * 128 * 131_072 * 2, 2 * 52 * 16 * 128 * 1024 * 2
    assert "10 layers · 16 heads of 128 · all tokens 10.74 GB ·\u00a096\u00a0%" in text
    assert f"2 · 10 · 1 · 16 · 128 · 131072 · 2 = {full:,} bytes" in text
    assert "52 layers · 16 heads of 128 · the last 1,024 tokens 0.436 GB ·\u00a04\u00a0%" in text
    assert f"2 · 52 · 1 · 16 · 128 · 1024 · 2 = {last:,} bytes" in text
    assert f"{shown((full + last) / 1e9)} GB" in text
    assert "MHA, g = 32 |  |  |  | 22.35 GB | × 2" in text
    assert "MQA, g = 1 |  |  |  | 0.698 GB | ÷ 16" in text
    assert "Each token adds 507,904 bytes, once windows are full 81,920." in text


def test_what_else_a_layer_keeps_is_said_in_words():
    texts = {m.name: said(m, s=1000, bytes=1) for m in LAYERED}
    assert "36 layers · a state of 540,672 numbers" in texts["states"]
    assert "36 · 1 · 540672 · 2 = 38,928,384 bytes" in texts["states"]
    for name, text in texts.items():
        counted = "A state is counted with 2 bytes a number; some engines keep most of it in"
        assert (counted in text) == (name in ("states", "both <b>&'", "one state"))
        assert (" on average" in text) == (name == "compressed")
    assert "A state is counted" not in said(model("Qwen3-Next 80B-A3B"), bytes=4)  # but with 4
    assert "9 layers · 4 heads of K 192 and V 128 · all tokens" in texts["unlike"]
    assert "9 · 1 · 4 · (192 + 128) · 1000 · 1" in texts["unlike"]
    assert (
        "61 layers · a latent and RoPE key of 576 · an index key of 128 · all tokens"
        in texts["an index"]
    )
    assert "61 · 1 · (576 + 128) · 1000 · 1" in texts["an index"]
    assert "an index key of 128 · one entry for 4 tokens" in texts["compressed"]
    assert "30 · 1 · (512 + 128) · 250 · 1" in texts["compressed"]
    assert "4 heads of 512, K and V in one" in texts["K is V"]
    assert (
        "44 layers · 2 heads of 128 · all tokens · a state of 100,001 numbers"
        in texts["both <b>&'"]
    )
    assert "20 heads of 64 · what an encoder read" in texts["a source"]
    assert "one state · no K/V heads | 1 layer · a state of 999 numbers" in texts["one state"]
    assert "nothing is kept of a token" in texts["nothing"]


def test_users_are_whole_sequences_beside_the_weights():
    one_user = 1_073_741_824
    for weights, users in [(1, [13, 21, 73, 130]), (16.06, [0, 7, 59, 116]), (141, [0, 0, 0, 0])]:
        text = said(model("Llama-3 8B"), b=5, weights=weights)
        for memory, n in zip([16, 24, 80, 141], users, strict=True):
            left = max(memory - weights, 0)
            assert f"{memory} GB | {left:.4g} GB | {n} |" in text
            assert n * one_user <= left * 10**9 < (n + 1) * one_user
        assert f"less {weights:g} GB of weights" in text and "How many users fit?" not in text
        assert "A user is one sequence: 1.07 GB." in text


@pytest.mark.parametrize("m", [model(V3), model("Llama-3 8B"), *LAYERED], ids=lambda m: m.name)
def test_without_its_weights_no_users_are_counted(m):
    text = said(m)
    asked = "How many users fit? Type the weights in GB: parameters · bytes (8 billion · 2 = 16)."
    assert (asked in text) == (m.name != "nothing")
    assert "GPU" not in text and "A user is" not in text


def test_a_latent_is_billed_and_named():
    text = said(model(V3), s=100_000, b=2, bytes=1)
    product = "61 · 2 · 576 · 100000 · 1 = 7,027,200,000 bytes"
    assert f"l · b · (latent + RoPE key) · s · bytes | {product}" in text
    assert "61 layers · a latent and RoPE key of 576 · all tokens" in text
    assert "MHA, g = 128 |  |  |  | 399.77 GB | × 56.9" in text
    assert "MQA, g = 1 |  |  |  | 3.12 GB | ÷ 2.25" in text  # "GQA with 2.25 groups"
    assert "K and V 128 wide, as V is; keys with their RoPE part are wider" in text
    assert "atent" not in said(model("Llama-3 8B"))


def test_gpus_share_heads_and_copy_what_they_cannot_share():
    llama, one = model("Llama-3 8B"), 1_073_741_824
    for gpus, share in [(1, one), (2, one // 2), (8, one // 8), (16, one // 8)]:
        text = said(llama, gpus=gpus, weights=16.06)
        assert f" = {share:,} bytes" in text
        assert ("on each of" in text) == (gpus > 1)
        assert ("heads are copied" in text) == (gpus > 8)
    assert "With 16 GPUs and g = 8, heads are copied: a GPU keeps at least one." in text
    assert "2 · l · b · ⌈g / GPUs⌉ · h · s · bytes" in text
    assert "less 1.004 GB of weights" in text and "80 GB | 79 GB | 588 |" in text
    assert "141 GB | 140 GB |" in text  # 139.99625
    latent = said(model(V3), gpus=8)
    assert "A latent is not shared out: each of the 8 GPUs keeps all of it." in latent
    assert "61 · 1 · 576 · 8192 · 2" in latent
    assert "Heads do not divide evenly among 8 GPUs" in said(model("GPT-2 small (124M)"), gpus=8)


def test_blocks_are_whole_and_pages_may_ignore_windows():
    llama = model("Llama-3 8B")
    assert "⌈s / block⌉ · block" in said(llama, block=16)
    assert "· 128 · 8208 · 2" in said(llama, block=16, s=8193)
    assert "· 128 · 1 · 2" in said(llama, s=1)
    pages = said(GEMMA, s=131_072, pages="all")
    assert "52 layers · 16 heads of 128 · all tokens" in pages and "the last" not in pages
    assert "66.57 GB" in pages  # 2 · 62 · 16 · 128 · 131072 · 2


def test_scales_cost_a_sixteenth_of_a_byte():
    llama = model("Llama-3 8B")
    for per_element, n in [(34 / 32, 34), (18 / 32, 18)]:
        text = said(llama, bytes=per_element)
        assert f"32 numbers share a scale of 2 bytes: {n} bytes for 32 numbers." in text
        assert f" = {1_073_741_824 // 64 * n:,} bytes" in text
    assert "scale of" not in said(llama, bytes=0.5)


@pytest.mark.parametrize(
    "name, note, asked",
    [
        ("GPT-2 xl (1.5B)", "It was made for up to 1,024 tokens.", {"s": 2048}),
        ("Llama-3 8B", "An upper bound: a test says so.", {}),
    ],
)
def test_what_the_formula_does_not_know_is_said(name, note, asked):
    m = replace(model(name), upper_bound="a test says so" if "upper" in note else "")
    assert note in said(m, **asked)
    assert note not in said(replace(m, upper_bound=""), s=1024)


@pytest.mark.parametrize("m", [*models(), *LAYERED], ids=lambda m: m.name)
def test_every_bill_is_what_geometry_counts(m):
    mixed = random.Random(m.name)
    for _ in range(9):
        c = START | {
            "s": mixed.choice([1, 129, 1024, 100_000, 1_048_576]),
            "b": mixed.choice([1, 3, 64]),
            "bytes": mixed.choice([0.5, 18 / 32, 1, 34 / 32, 2, 4]),
            "gpus": mixed.choice([1, 2, 8, 16]),
            "block": mixed.choice([1, 16, 256]),
            "source": mixed.choice([1, 1500]),
            "pages": mixed.choice(["needed", "all"]),
        }
        page, text = bill(m, c), words(bill(m, c))
        asked = c["s"], c["b"], c["bytes"], c["gpus"], c["block"], c["source"]
        total = (m if c["pages"] == "needed" else without_windows(m)).kv_bytes(*asked)
        assert f"{shown(total / 1e9)} GB = {shown(total / 2**30)} GiB" in text
        products = re.findall(r"\| ([\d(][\d.+() ·]*?) = ([\d,]+) bytes", text)
        assert len(products) == len(m.caches)
        exact = [eval(product.replace("·", "*")) for product, _ in products]
        assert [math.ceil(x) for x in exact] == [int(n.replace(",", "")) for _, n in products]
        assert math.ceil(sum(exact)) == total
        assert "<script" not in page and not re.search(r"\b(nan|inf|None)\b", page)


@pytest.mark.parametrize("m", models(), ids=lambda m: m.name)
def test_a_model_sets_its_sizes_and_leaves_the_others(m):
    calculator = Calculator()
    kept = {"b": 3, "s": 1024, "bytes": 1, "gpus": 2, "block": 16, "pages": "all", "source": 64}
    calculator.choose(**kept, model=m.name)
    sizes = {"l": m.n_layers, "n": m.n_heads, "g": m.n_kv_heads, "h": m.head_dim}
    weights = {"weights": 16.06 if m.name == "Llama-3 8B" else 0}
    assert calculator.chosen == {"model": m.name, "beside": ""} | kept | sizes | weights
    assert calculator.geometry == m
    assert m.max_context in calculator.controls["s"]["values"]
    for name in "lnh":
        assert calculator.chosen[name] in calculator.controls[name]["values"]


def test_two_models_stand_beside_each_other_to_one_scale():
    calculator = Calculator()
    calculator.choose(beside="qwen3-0.6b", s=4096, b=2)
    assert calculator.chosen["beside"] == "Qwen3-0.6B" and calculator.chosen["l"] == 32
    llama, qwen = (model(name).kv_bytes(4096, 2) for name in ("Llama-3 8B", "Qwen3-0.6B"))
    text = words(calculator.bill)
    assert f"Llama-3 8B keeps {llama / qwen:.3g} × what Qwen3-0.6B does." in text
    assert f"= {llama:,} bytes" in text and f"= {qwen:,} bytes" in text
    assert text.count("less 16.06 GB of weights") == 1  # those of the other are not known
    assert "Type the weights" not in text
    # Bars in pixels, of 100: MHA of Llama's sizes is the longest; Qwen3's is 28/32 of 16/32 of it.
    bars = [int(x) for x in re.findall(r"width: (\d+)px; height: 14px", calculator.bill)]
    assert bars == [100, 25, 3, 44, 22, 3]
    calculator.choose(model="Qwen3-0.6B")
    assert "Qwen3-0.6B keeps as much as Qwen3-0.6B." in words(calculator.bill)
    calculator.choose(beside="")
    assert "keeps" not in words(calculator.bill)
    with pytest.raises(KeyError, match="Qwen3"):
        calculator.choose(beside="Qwen3-0.5B")
    with pytest.raises(
        traitlets.TraitError, match="beside is your own; choose a model of the list"
    ):
        calculator.choose(beside="your own")


@pytest.mark.parametrize("letter, value", [("l", 16), ("n", 64), ("g", 4), ("h", 64)])
def test_moving_a_size_makes_the_model_your_own(letter, value):
    calculator = Calculator()
    calculator.choose(**{letter: value})
    weights = 16.06 if letter == "g" else 0  # g changes them little
    own = {"model": "your own", letter: value, "weights": weights}
    assert calculator.chosen == START | own
    assert "<b>your own</b> · GQA" in calculator.bill
    assert ("weights do not change with g" in calculator.bill) == (letter == "g")
    alike = "Your own: all layers alike, all tokens kept, no window, no latent, no state."
    assert alike in calculator.bill
    calculator.choose(model="Llama-3 8B")
    assert calculator.chosen == START
    assert alike not in calculator.bill


def test_moving_a_size_of_a_layered_model_makes_all_its_layers_the_same():
    calculator = Calculator()
    calculator.choose(model=calculator.add(GEMMA), s=131_072)
    assert "11.17 GB" in calculator.words()
    calculator.choose(l=61)
    assert calculator.chosen["model"] == "your own"
    assert "2 · 61 · 1 · 16 · 128 · 131072 · 2" in calculator.bill


def test_without_its_model_a_latent_becomes_heads():
    calculator = Calculator()
    calculator.choose(model=V3, s=100_000)
    assert "7.03 GB" in calculator.words()
    calculator.choose(model="your own")
    assert [calculator.chosen[x] for x in "lngh"] == [61, 128, 128, 128]
    assert "399.77 GB" in calculator.words()


def test_only_divisors_of_n_can_be_chosen_for_g():
    calculator = Calculator()
    for n in calculator.controls["n"]["values"]:
        if n:
            calculator.choose(n=n)
            assert n % calculator.chosen["g"] == 0
    calculator.choose(n=32, g=8)
    for n, g in [(24, 8), (28, 4), (9, 1)]:  # g stays if it divides n
        calculator.choose(n=n)
        assert calculator.chosen["g"] == g
    with pytest.raises(traitlets.TraitError, match=r"value is 2; it must be in \[1, 3, 9\]"):
        calculator.choose(g=2)


@pytest.mark.parametrize(
    "name, value, message",
    [
        ("s", 1000, "value is 1000; it must be in"),
        ("gpus", 3, "value is 3; it must be in"),
        ("weights", -1, "weights is -1; it must be from 0 to 10000"),
        ("pages", "some", "value is some; it must be in"),
    ],
)
def test_a_value_that_is_not_there_is_an_error_and_changes_nothing(name, value, message):
    calculator = Calculator()
    with pytest.raises(traitlets.TraitError, match=re.escape(message)):
        calculator.choose(**{name: value})
    assert calculator.chosen == START


def test_a_model_that_is_not_there_is_an_error_with_the_nearest():
    with pytest.raises(KeyError, match="Llama-3 8B"):
        Calculator().choose(model="Llama-3 8")
    calculator = Calculator()
    calculator.choose(model="llama-3 70b")  # upper or lower case
    assert calculator.chosen["model"] == "Llama-3 70B"


CONFIG = {
    "model_type": "llama", "num_hidden_layers": 12, "hidden_size": 768, "num_attention_heads": 12,
    "num_key_value_heads": 4, "max_position_embeddings": 4242, "vocab_size": 100,
}  # fmt: skip


LLAMA = "llama, 12 layers, d = 768 (pasted)"


def asks(calculator, **what):
    """What the widget answers a wish of the browser."""
    calculator.set_state({"asked": {"number": 0.5, **what}})
    assert calculator.answer["number"] == 0.5
    return calculator.answer


def test_a_pasted_config_becomes_a_model_of_the_list():
    calculator = Calculator()
    before = calculator.chosen
    assert asks(calculator, config=json.dumps(CONFIG, indent=2)) == {
        "number": 0.5, "name": LLAMA
    }  # fmt: skip
    assert [m["name"] for m in calculator.added] == [LLAMA]
    assert calculator.chosen == before  # the browser chooses it: a slider may be on its way
    assert 4242 in calculator.controls["s"]["values"]
    calculator.choose(model=LLAMA, s=4242)
    assert "2 · 12 · 1 · 4 · 64 · 4242 · 2" in calculator.bill
    asks(calculator, config=json.dumps(CONFIG | {"num_key_value_heads": 2}))
    assert [m["g"] for m in calculator.added] == [2]  # in place of the one before
    asks(calculator, config=json.dumps(CONFIG | {"_name_or_path": "Llama-3 8B"}))
    wide = CONFIG | {"num_hidden_layers": 80, "hidden_size": 1536}
    asks(calculator, config=json.dumps(wide))
    asks(calculator, config=json.dumps({x: y for x, y in CONFIG.items() if x != "model_type"}))
    assert [m["name"] for m in calculator.added] == [
        LLAMA,
        "Llama-3 8B (pasted)",
        "llama, 80 layers, d = 1536 (pasted)",
        "a model, 12 layers, d = 768 (pasted)",
    ]
    assert calculator.add(model("Llama-3 8B")) == "Llama-3 8B, added"


def test_a_model_with_too_many_heads_to_be_shown_is_refused():
    calculator = Calculator()
    wide = {"num_attention_heads": 100_000, "head_dim": 8}
    assert "name" in asks(calculator, config=json.dumps(CONFIG | wide))
    wide["num_attention_heads"] = 200_000
    message = f"{LLAMA}: 200,000 heads; at most 100,000 can be shown"
    assert asks(calculator, config=json.dumps(CONFIG | wide)) == {"number": 0.5, "error": message}
    with pytest.raises(ValueError, match="mine: 100,001 heads"):
        calculator.add(Geometry("mine", 1, 100_001, 100_001, 1, d_model=1))
    assert [m["n"] for m in calculator.added] == [100_000]


@pytest.mark.parametrize(
    "text, message",
    [
        (" \n", "nothing is pasted; open a model's config.json, copy all of it"),
        ("```json\n{}\n```", "there is ``` in it: paste only what stands between the two, from { to }"),
        ('{\n "a": 1,\n "b": 2,\n}', 'no JSON, line 3: a comma before the closing }; remove it: "b": 2,'),
        ('{"a": [1, 2, ]}', 'no JSON, line 1: a comma before the closing ]; remove it: {"a": [1, 2, ]}'),
        ('{\n "a" 1\n}', 'no JSON, line 2: Expecting \':\' delimiter: "a" 1'),
        ('{\n "a": True\n}', 'no JSON, line 2: Expecting value: "a": True'),
        ('{\n "a": {"b": 1}\n', 'no JSON, line 2: Expecting \',\' delimiter, is the end missing?: "a": {"b": 1}'),
        ('{\n', "no JSON, line 1: Expecting property name enclosed in double quotes, is the end missing?: {"),
        ('{\n "a": "b', 'no JSON, line 2: Unterminated string starting at, is the end missing?: "a": "b'),
        (" meta-llama/Llama-2-7b\n", "that is a name: put it into the field below"),
        ("https://huggingface.co/meta-llama/Llama-2-7b", "that is a name: put it into the field below"),
        ("[1]", "no config: a config.json begins with { and ends with }"),
        ("[" * 100_000, "no config: its lists lie too deep in one another"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_pasted_text_is_said(text, message):
    with pytest.raises(ValueError) as error:
        read_config(text)
    assert str(error.value) == message
    calculator = Calculator()
    assert asks(calculator, config=text) == {"number": 0.5, "error": message}
    assert calculator.added == []


def test_the_errors_of_those_who_read_are_told_in_their_own_words():
    calculator = Calculator()
    assert "no num_hidden_layers" in asks(calculator, config="{}")["error"]
    there_is_none = "no folder ./no/such/folder; on the Hub, models are called org/name"
    assert asks(calculator, name="./no/such/folder")["error"] == there_is_none


def test_a_name_without_a_slash_that_is_not_found_is_told_what_a_name_has(monkeypatch):
    def not_found(name):
        raise FileNotFoundError(f"no model {name}")

    monkeypatch.setattr(checkpoints, "open_checkpoint", not_found)
    calculator = Calculator()
    slash = asks(calculator, name="org/Llama-2-7b")["error"]
    assert slash == "no model org/Llama-2-7b"
    error = asks(calculator, name="Llama-2-7b")["error"]
    assert error == "no model Llama-2-7b; Llama-2-7b has no slash: write org/name"


def test_a_model_is_opened_by_its_name(tmp_path):
    calculator = Calculator()
    folder = tmp_path / "tiny"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    calculator.choose(model=asks(calculator, name=str(folder))["name"])
    assert calculator.geometry.n_kv_heads == 4


def test_a_move_is_one_message_and_what_the_browser_chooses_is_not_answered(monkeypatch):
    calculator, sent = Calculator(), []
    monkeypatch.setattr(calculator, "send_state", lambda key: sent.append(key))
    calculator.choose(model=V3)
    assert len(sent) == 1
    monkeypatch.undo()
    messages, chosen = [], calculator.chosen | {"b": 4, "gpus": 8}
    monkeypatch.setattr(calculator, "_send", lambda msg, **kwargs: messages.append(msg))
    calculator.set_state({"chosen": chosen})
    assert calculator.chosen == chosen
    assert all(msg["method"] == "echo_update" for msg in messages)


def test_sliders_run_from_small_to_large_and_say_what_they_mean():
    controls = Calculator().controls
    for control in controls.values():
        assert 0 < len(control["label"]) < 20
        assert control["values"] == sorted(set(control["values"]))
        assert len(control["values"]) == len(control["texts"])
    assert controls["s"]["texts"][controls["s"]["values"].index(8192)] == "8,192"
    assert controls["bytes"]["texts"] == [
        "0.5 · 4 bits", "18/32 · 4 bits with scales (q4_0)", "1 · 8 bits (fp8)",
        "34/32 · 8 bits with scales (q8_0)", "2 · half", "4 · float32",
    ]  # fmt: skip


def test_stored_it_is_the_bill_without_a_widget():
    calculator = Calculator()
    numbers = "2 · 32 · 1 · 8 · 128 · 8192 · 2 = 1,073,741,824 bytes"
    assert calculator._repr_mimebundle_()[0] == {
        "text/html": calculator.bill,
        "text/plain": f"KV cache of Llama-3 8B: {numbers}. {calculator.words()}",
    }
    calculator.choose(model=calculator.add(GEMMA))
    text = calculator._repr_mimebundle_()[0]["text/plain"]
    assert text == f"KV cache of windows: {GEMMA.reading}. {calculator.words()}"


def test_live_it_is_a_widget_with_the_bill_beside_it(monkeypatch):
    monkeypatch.delenv("COURSE_OUTPUTS")
    calculator = Calculator()
    data, _ = calculator._repr_mimebundle_()
    assert set(data) == {figures.WIDGET, "text/html", "text/plain"}
    assert data[figures.WIDGET]["model_id"] == calculator.model_id


def test_ipywidgets_7_cannot_show_it_without_its_words():
    assert Calculator()._ipython_display_ is None
