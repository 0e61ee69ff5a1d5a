"""The pictures of lesson 11 show the sizes and numbers they are given, and keep still."""

import copy
import itertools
from dataclasses import replace
from functools import partial
from statistics import fmean

import pytest
import torch
from drawn import (
    assert_legible_inside_and_apart,
    assert_only_what_changes_moves,
    plain,
    words,
)
from matplotlib.patches import Rectangle

from course_utils import figures
from course_utils.experiments import results
from course_utils.figures.bill import LINES, TOKENS, keeps
from course_utils.geometry import model
from course_utils.layers import Layers

SOME = "Gemma-3 27B", "gpt-oss-120b", "Qwen3-Next 80B-A3B", "Kimi-K3 2.8T", "Llama-3.1 8B"
TEN = [model(name) for name in (*SOME, "GLM-4.7 355B-A32B", "MiMo-V2-Flash 309B-A15B",
       "DeepSeek-V3.2 (671B)", "DeepSeek-V4-Flash", "Nemotron-3 Nano 30B-A3B")]  # fmt: skip
FAR = range(1, 64)
WINDOWED = {i: [1.0, 0.98] if i < 8 else [0.3, 0.2] if i < 29 else [0.06, 0.05] for i in FAR}
FULL = {i: [1.0, 1.0] for i in FAR}
ANSWERS = {"window in all 4 layers": WINDOWED, "the last layer sees all": FULL}
SHARES = {"token": {8: [1, 1], 4: [1, 0.9], 2: [0.8, 0.6]},
          "tensor": {8: [1, 1], 4: [0.6, 0.7], 2: [0.2, 0.3]}}  # fmt: skip
ROWS = torch.randn(16, 12, generator=torch.Generator().manual_seed(0))
BITS = {"keys": SHARES, "values": {way: {b: [1, 0.96] for b in of} for way, of in SHARES.items()}}
BILLS = {("", "as it is"): 17.2e9, ("2", "one tensor is key and value"): 8.6e9,
         ("s", "a window of 1,024 in 27 layers"): 2.8e9, ("bits", "4 bits, with scales"): 4.43e9}  # fmt: skip


def measured(window):
    """What the lesson draws."""
    return dict(zip(ANSWERS, map(partial(results.by_distance, window), (0, 4)), strict=True))


FIGURES = {
    **{f"layer_bills {s} {name}": (model(name), s) for name in SOME for s in (1024, 2**20)},
    "bills": (TEN, "One of ten bills goes from place 3 to place 6", "gpt-oss-120b"),
    **{f"by_distance {w}": (ANSWERS, w, 4, 1 / 16) for w in (4, 8, 16)},
    **{f"by_distance {w} measured": (measured(w), w, 4, 1 / 16) for w in (4, 8, 16)},
    **{f"fewer_bits {b}": (ROWS, ROWS.round(), b, BITS) for b in (8, 4, 2)},
    **{f"common_beginning {p}": (64, p, 1024, 131_072, 70) for p in (0, 1024, 7168)},
    "levers": (BILLS, "Llama-3 8B's sizes, 9 tokens"),
}


def draw(name):
    return getattr(figures, name.split()[0])(*copy.deepcopy(FIGURES[name]))


@pytest.mark.parametrize("name", FIGURES)
def test_its_text_is_legible_inside_and_apart_and_what_it_is_given_is_left(name):
    given = copy.deepcopy(FIGURES[name])
    assert_legible_inside_and_apart(getattr(figures, name.split()[0])(*given))
    assert plain(given) == plain(FIGURES[name])


@pytest.mark.parametrize("kind", ["layer_bills", "by_distance", "fewer_bits", "common_beginning"])
def test_only_what_changes_moves(kind):
    assert_only_what_changes_moves([draw(name) for name in FIGURES if name.startswith(kind)])


@pytest.mark.parametrize("name", SOME)
@pytest.mark.parametrize("s", [1024, 2**20])
def test_each_kind_has_its_part_of_the_layers_and_of_the_bytes(name, s):
    m, (columns, curve) = model(name), draw(f"layer_bills {s} {name}").axes
    bars = [x for x in columns.patches if isinstance(x, Rectangle)]
    drawn = {(round(x.get_x(), 3), round(x.get_height(), 6)) for x in bars}
    n = sum(x.n_layers for x in m.caches)
    parts = {(-0.5, round(x.n_layers / n, 6)) for x in m.caches}
    assert drawn == parts | {(1.5, round(x.n_bytes(s) / m.kv_bytes(s), 6)) for x in m.caches}
    for start in (-0.5, 1.5):
        column = [x for x in bars if x.get_x() == start]
        assert sum(x.get_height() for x in column) == pytest.approx(1)
        assert len({x.get_hatch() for x in column}) == len(column)  # not by colour alone
        assert min(column, key=lambda x: x.get_y()).get_hatch() is None  # full layers are below
    (as_is,) = (x for x in curve.lines if x.get_label() == "as it is")
    right = [m.kv_bytes(x) / 1e9 for x in as_is.get_xdata()]
    assert as_is.get_ydata().tolist() == pytest.approx(right)
    (dot,) = (x for x in curve.lines if x.get_marker() == "o")
    assert dot.get_xydata().tolist() == [[s, pytest.approx(m.kv_bytes(s) / 1e9)]]


def test_with_every_layer_full_it_is_the_model_without_windows_and_states():
    for name, full in (
        ("Gemma-3 27B", (Layers(62, 16, 128, 128),)),
        ("Qwen3-Next 80B-A3B", (Layers(48, 2, 256, 256),)),
    ):
        curve = draw(f"layer_bills 1024 {name}").axes[1]
        (every,) = (x for x in curve.lines if x.get_label() == "every layer full")
        other = replace(model(name), layers=full)
        right = [other.kv_bytes(x) / 1e9 for x in every.get_xdata()]
        assert every.get_ydata().tolist() == pytest.approx(right)


def test_it_says_what_kinds_of_layers_take():
    figure = draw(f"layer_bills {2**20} Gemma-3 27B")
    title = "Gemma-3 27B, 1,048,576 tokens: 86.3 GB, 16% of that with every layer full"
    assert figure.get_suptitle() == title and figure.alt.startswith(title)
    said = {
        "52 layers keep\nthe last 1,024:\n0.436 GB, 1%",
        "10 layers keep\nall tokens:\n85.9 GB, 99%",
    }
    assert set(words(figure.axes[0].texts)) == said
    assert all(text.replace("\n", " ") in figure.alt for text in said)
    assert "window\n1,024" in words(figure.axes[1].texts)
    for name in ("Llama-3.1 8B", "Gemma-3 27B"):
        assert (
            draw(f"layer_bills 1024 {name}").get_suptitle().endswith(", as with every layer full")
        )


def test_ten_lines_end_at_their_bills_with_their_places():
    figure = draw("bills")
    axes = figure.axes[0]
    for m in TEN:
        parts = [x for x in axes.lines if x.get_color() == LINES[keeps(m)][0]]
        drawn = {tuple(xy) for x in parts for xy in x.get_xydata().tolist()}
        assert {(s, m.kv_bytes(s) / 1e9) for s in TOKENS} <= drawn
    order = sorted(TEN, key=lambda m: m.kv_bytes(2**20))
    assert [f"{i}  {m.name}" for i, m in enumerate(order, 1)] == sorted(
        (x for x in words(axes.texts) if "  " in x), key=lambda x: int(x.split()[0])
    )
    assert sorted(int(x) for x in words(axes.texts) if x.isdigit()) == [*range(1, 11)]
    assert len({line for _, line in LINES.values()}) == len(LINES)
    bold = [x.get_text() for x in axes.texts if x.get_fontweight() == "bold"]
    assert sorted(bold) == ["3", "6  gpt-oss-120b"]


def test_past_a_model_s_own_context_its_line_is_thin():
    axes = draw("bills").axes[0]
    for m in TEN:
        bills = {m.kv_bytes(s) / 1e9: s for s in TOKENS}
        thick = [
            bills[y]
            for x in axes.lines
            if x.get_linewidth() > 2
            for y in x.get_ydata()
            if y in bills
        ]
        assert max(thick) == max(s for s in TOKENS if s <= m.max_context)


@pytest.mark.parametrize(
    "window, ends", [(4, [3, 6, 9, 12, 63]), (8, [7, 14, 21, 28, 63]), (16, [15, 30, 45, 60, 63])]
)
def test_zones_are_what_so_many_layers_can_pass_on(window, ends):
    figure = draw(f"by_distance {window}")
    axes = figure.axes[0]
    zones = [(a + 1, b) for a, b in itertools.pairwise([0, *ends])]
    spans = [(x.get_x(), x.get_x() + x.get_width()) for x in axes.patches]
    assert spans == [(a - 0.5, b + 0.5) for a, b in zones]
    assert axes.get_xticks().tolist() == ends
    (above,) = axes.child_axes
    assert words(above.get_xticklabels()) == ["1", "2", "3", "4", "beyond"]
    assert above.get_xticks().tolist() == [(a + b) / 2 for a, b in zones]
    means = [fmean(fmean(WINDOWED[i]) for i in range(a, b + 1)) for a, b in zones]
    one, two, three, four, beyond = (f"{x:.2f}".removeprefix("0") for x in means)
    each = f"by 1 layer {one}, by 2 {two}, by 3 {three}, by 4 {four}; beyond {beyond}"
    title = f"Window {window}: right {each}"
    assert axes.get_title(loc="left") == title and title in figure.alt
    lines = {x.get_label(): x.get_xydata().tolist() for x in axes.lines}
    for label, of in ANSWERS.items():
        assert lines[label] == [[i, fmean(x)] for i, x in of.items()]


@pytest.mark.parametrize("n_bits", [8, 4, 2])
def test_bits_are_marked_and_each_way_has_a_line_with_its_seeds(n_bits):
    figure = draw(f"fewer_bits {n_bits}")
    assert figure.get_suptitle().startswith(f"{n_bits} bits: ")
    charts = [axes for axes in figure.axes if axes.get_ylabel() == "share right"]
    for axes, (part, ways) in zip(charts, BITS.items(), strict=True):
        assert axes.get_title(loc="left") == f"{part} rounded"
        lines = {x.get_label(): x.get_ydata(orig=False) for x in axes.lines}
        for way, of in ways.items():
            assert lines[way].tolist() == [fmean(x) for x in of.values()]
        (band,) = axes.patches
        assert band.get_x() + band.get_width() / 2 == pytest.approx([8, 4, 2].index(n_bits))
    assert words(charts[1].get_xticklabels()) == ["8", "4", "2"]


@pytest.mark.parametrize("p", [0, 1024, 7168])
def test_a_beginning_is_counted_for_each_or_once(p):
    figure = draw(f"common_beginning {p}")
    bars = [x.get_width() for x in figure.axes[0].patches]
    token = 131_072 / 1e9
    assert bars == pytest.approx([64 * p * token, 64 * 1024 * token, p * token, 64 * 1024 * token])
    each, one = (float(words(figure.axes[0].texts)[i].strip(" GB")) for i in (0, 1))
    assert each == pytest.approx(64 * (p + 1024) * token, rel=5e-3)
    assert one == pytest.approx((p + 64 * 1024) * token, rel=5e-3)
    title = figure.axes[0].get_title(loc="left")
    assert title.startswith(f"{p:,} tokens in common, kept once: {one:.3g} GB, ")
    assert float(title.split()[-2].strip("×")) == pytest.approx(each / one, rel=0.05)


def test_levers_have_their_letter_and_what_they_save():
    figure = draw("levers")
    axes = figure.axes[0]
    assert [x.get_width() for x in axes.patches] == pytest.approx([x / 1e9 for x in BILLS.values()])
    texts = words(axes.texts)
    assert [x for x in texts if x in ("2", "s", "bits")] == ["2", "s", "bits"]
    assert " 8.6 GB, 2× less" in texts and " 2.8 GB, 6.1× less" in texts and " 17.2 GB" in texts
    title = "Llama-3 8B's sizes, 9 tokens: a window of 1,024 in 27 layers saves most, 6.1 times"
    assert figure.get_suptitle() == title
    assert figure.alt.startswith(f"A bar for each lever, in GB. {title}. as it is")
