"""The calculator of the KV cache, on the kernel's side; the browser is in tests/browser."""

import re
from dataclasses import replace

import pytest

from course_utils import figures
from course_utils.geometry import model, models
from course_utils.widgets.calculator import Calculator, bill, formula

V3 = "DeepSeek-V3 (671B)"


def words(html):
    """What is read of a page: its text, with | between the cells of a table."""
    return re.sub("<.*?>", "", re.sub("</t[hd]>|<br>|<table.*?>", " | ", html))


def test_llama_3_8b_at_its_full_context_is_one_gib():
    text = words(bill(model("Llama-3 8B"), 8192))
    assert "2 · 32 · 1 · 8 · 128 · 8192 · 2 = 1,073,741,824 bytes" in text
    assert "1.07 GB = 1.00 GiB" in text
    assert "131,072 bytes for each token" in text
    assert "MHA, g = 32 |  | 4.29 GB | × 4" in text
    assert "this, g = 8 |  | 1.07 GB | × 1" in text
    assert "MQA, g = 1 |  | 0.134 GB | ÷ 8" in text


@pytest.mark.parametrize(
    "geometry, n_tokens, said",
    [
        (model("GPT-3 175B"), 1024, "4.83 GB = 4.50 GiB"),
        (model("GPT-3 175B"), 2048, "9.66 GB = 9.00 GiB"),
        (replace(model(V3), latent_dim=None), 100_000, "399.77 GB = 372.31 GiB"),
        (model(V3), 100_000, "7.03 GB = 6.54 GiB"),
        (model("Llama-3.1 405B"), 131_072, "67.65 GB = 63.00 GiB"),
        (model("TinyStarCoderPy 164M"), 1, "0.00000512 GB = 0.00000477 GiB"),
    ],
)
def test_the_bill_of_models_known_by_hand(geometry, n_tokens, said):
    # 2·96·96·128·1024·2, and twice that; 2·61·128·128·100000·2; 61·576·100000·2;
    # 2·126·8·128·131072·2; 2·20·64·2 = 5120
    assert said in words(bill(geometry, n_tokens)).split(" | ")


def test_users_are_whole_sequences_beside_the_weights():
    one_user = 1_073_741_824
    for weights, users in [(0, [14, 22, 74, 131]), (16.06, [0, 7, 59, 116]), (141, [0, 0, 0, 0])]:
        text = words(bill(model("Llama-3 8B"), 8192, batch=5, weights=weights))
        for memory, n in zip([16, 24, 80, 141], users, strict=True):
            left = max(memory - weights, 0)
            assert f"{memory} GB | {left:g} GB | {n} |" in text
            assert n * one_user <= left * 10**9 < (n + 1) * one_user
        counted = f"less {weights:g} GB of weights" if weights else "weights not counted"
        assert counted in text
        assert ("weights come on top" in text) == (weights == 0)


def test_a_latent_is_billed_and_named():
    text = words(bill(model(V3), 100_000, batch=2, bytes_per_element=1))
    assert (
        "l · b · (latent + RoPE key) · s · bytes | 61 · 2 · 576 · 100000 · 1 = 7,027,200,000 bytes"
        in text
    )
    assert "not K and V in heads, but a latent and one RoPE key, together 576 elements" in text
    assert "MHA, g = 128 |  | 399.77 GB | × 56.9" in text
    assert "MQA, g = 1 |  | 3.12 GB | ÷ 2.25" in text  # "GQA with 2.25 groups"
    assert "latent" not in words(bill(replace(model(V3), latent_dim=None), 1))


def test_a_latent_is_set_beside_keys_as_wide_as_the_values_and_that_is_said():
    text = words(bill(model(V3), 100_000))
    assert "399.77 GB" in text and "MHA and MQA take K and V 128 wide each." in text
    assert "192 wide: with those, both would take 1.25 times" in text  # (192 + 128) / (128 + 128)
    assert "wide" not in words(bill(model("Llama-3 8B"), 100_000))


@pytest.mark.parametrize(
    "name, n_tokens, note",
    [
        ("Gemma-3 1B", 8192, "upper bound"),
        ("GPT-3 175B", 2048, "upper bound"),
        ("GPT-2 xl (1.5B)", 1025, "up to 1,024 tokens"),
    ],
)
def test_what_the_formula_does_not_know_is_said(name, n_tokens, note):
    assert note in bill(model(name), n_tokens)
    assert note not in bill(replace(model(name), windows=""), n_tokens=1)


@pytest.mark.parametrize("m", models(), ids=lambda m: m.name)
@pytest.mark.parametrize("n_tokens, batch, per_element", [(1, 1, 0.5), (1_048_576, 64, 4)])
def test_every_model_has_a_bill_that_agrees_with_its_formula(m, n_tokens, batch, per_element):
    page = bill(m, n_tokens, batch, per_element)
    letters, numbers = formula(m, n_tokens, batch, per_element)
    factors, total = numbers.removesuffix(" bytes").split(" = ")
    product = 1
    for factor in factors.split(" · "):
        product *= float(factor)
    assert product == int(total.replace(",", "")) == m.kv_bytes(n_tokens, batch, per_element)
    assert letters.count("·") == factors.count("·")
    assert f"{letters}<br>{numbers}<br>" in page
    assert "<script" not in page and not re.search(r"\b(nan|inf|None)\b", page)
    assert max(map(float, re.findall(r"width: (\d+)px", page))) == 100


def test_a_bill_needs_tokens():
    with pytest.raises(ValueError) as error:
        bill(model("Llama-3 8B"), 0)
    assert str(error.value) == "n_tokens (0) must be at least 1; an empty cache has no bill"


def sizes(calculator):
    return tuple(control.value for control in calculator.sizes)


@pytest.mark.parametrize("m", models(), ids=lambda m: m.name)
def test_a_model_sets_its_sizes_and_leaves_the_others(m):
    calculator = Calculator()
    calculator.b.value, calculator.s.value, calculator.bytes.value = 3, 1024, 1
    calculator.model.value = m.name
    assert sizes(calculator) == (m.n_layers, m.n_heads, m.n_kv_heads, m.head_dim)
    assert (calculator.b.value, calculator.s.value, calculator.bytes.value) == (3, 1024, 1)
    assert calculator.model.value == m.name
    weights = 16.06 if m.name == "Llama-3 8B" else 0
    assert calculator.weights.value == weights
    assert calculator.bill.value == bill(m, 1024, 3, 1, weights)
    assert m.max_context in calculator.s.values


@pytest.mark.parametrize("letter, value", [("l", 16), ("n", 64), ("g", 4), ("h", 64)])
def test_moving_a_size_makes_the_model_your_own(letter, value):
    calculator = Calculator()
    getattr(calculator, letter).value = value
    assert calculator.model.value == "your own"
    expected = {"l": 32, "n": 32, "g": 8, "h": 128} | {letter: value}
    assert sizes(calculator) == tuple(expected.values())
    assert calculator.weights.value == (16.06 if letter == "g" else 0)  # g changes them little
    assert "<b>your own</b> · GQA" in calculator.bill.value
    assert ("weights do not change with g" in calculator.bill.value) == (letter == "g")
    calculator.model.value = "Llama-3 8B"
    assert sizes(calculator) == (32, 32, 8, 128)


@pytest.mark.parametrize("name, value", [("b", 4), ("s", 100_000), ("bytes", 1), ("weights", 9)])
def test_moving_anything_else_keeps_the_model(name, value):
    calculator = Calculator()
    calculator.model.value = V3
    getattr(calculator, name).value = value
    assert calculator.model.value == V3
    asked = {"batch": 1, "n_tokens": 8192, "bytes_per_element": 2, "weights": 0}
    argument = {"b": "batch", "s": "n_tokens", "bytes": "bytes_per_element"}.get(name, name)
    assert calculator.bill.value == bill(model(V3), **asked | {argument: value})


def test_without_its_model_a_latent_becomes_heads():
    calculator = Calculator()
    calculator.model.value, calculator.s.value = V3, 100_000
    assert "7.03 GB" in calculator.bill.value
    calculator.model.value = "your own"
    assert sizes(calculator) == (61, 128, 128, 128)
    assert "399.77 GB" in calculator.bill.value


def test_only_divisors_of_n_can_be_chosen_for_g():
    calculator = Calculator()
    for n in calculator.n.values:
        calculator.n.value = n
        assert calculator.g.values == [g for g in range(1, n + 1) if n % g == 0]
        assert calculator.g.value in calculator.g.values
    calculator.n.value, calculator.g.value = 32, 8
    for n, g in [(24, 8), (28, 4), (9, 1)]:  # g stays if it divides n
        calculator.n.value = n
        assert calculator.g.value == g


def test_one_move_writes_one_bill():
    calculator, bills = Calculator(), []
    calculator.bill.observe(bills.append, "value")
    moves = [(calculator.n, 25), (calculator.model, V3), (calculator.g, 2), (calculator.s, 4096)]
    for control, value in moves:
        bills.clear()
        control.value = value
        assert len(bills) == 1


def test_every_control_has_a_short_label():
    model, *sliders, weights = Calculator().children[0].children
    labels = [model.description, *(slider.label for slider in sliders), weights.description]
    assert labels[1:5] == ["l · layers", "n · query heads", "g · K/V heads", "h · head width"]
    assert all(label and len(label) < 20 for label in labels)


def test_sliders_run_from_small_to_large_and_say_what_they_mean():
    calculator = Calculator()
    for slider in calculator.children[0].children[1:-1]:
        assert slider.values == sorted(set(slider.values))
    assert calculator.s.texts[calculator.s.index] == "8,192"
    assert calculator.bytes.texts == ["0.5 · 4 bits", "1 · 8 bits", "2 · half", "4 · float32"]


def test_stored_it_is_the_bill_without_a_widget():
    calculator = Calculator()
    assert calculator._repr_mimebundle_()[0] == {
        "text/html": calculator.bill.value,
        "text/plain": "KV cache of Llama-3 8B: 2 · 32 · 1 · 8 · 128 · 8192 · 2 = 1,073,741,824 bytes",
    }


def test_live_it_is_a_widget_with_the_bill_beside_it(monkeypatch):
    monkeypatch.delenv("COURSE_OUTPUTS")
    calculator = Calculator()
    data, _ = calculator._repr_mimebundle_()
    assert set(data) == {figures.WIDGET, "text/html", "text/plain"}
    assert data[figures.WIDGET]["model_id"] == calculator.model_id


def test_ipywidgets_7_cannot_show_it_without_its_words():
    assert Calculator()._ipython_display_ is None
