"""The pictures of lesson 10 show the sizes and numbers they are given, and keep still."""

import copy
import itertools
from statistics import fmean

import pytest
from drawn import (
    assert_legible_inside_and_apart,
    assert_only_what_changes_moves,
    plain,
    words,
)
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from course_utils import figures
from course_utils.experiments.results import Machine
from course_utils.figures.parts import A_LATENT, STYLES

RANKS = 64, 192, 512, 1024, 2048
MACHINES = {"old": Machine(1000, 9, 200, 80), "new": Machine(4000, 9, 400, 80)}  # 200, 100
PAGES = (16, 1), (32, 1), (64, 1), (128, 1), (128, 2), (128, 4)
MEASURED = {"a kernel": [(30, 25.0), (60, 52.0)]}
BYTES = {1: 64, 2: 128, 4: 256, 8: 512}
HEADS = {1: [0.4, 0.5], 2: [0.6, 0.7], 4: [0.8, 0.7], 8: [0.9, 1.0]}  # .45, .65, .75, .95
QUALITY = {
    "6 steps": {"GQA": HEADS, "MLA": {2: [0.8, 0.82], 1: [0.4, 0.42]}},
    "9 steps": {"GQA": HEADS | {4: [1, 1], 8: [1, 1]}, "MLA": {2: [1, 1], 1: [0.5, 0.7]}},
}

ALIKE = QUALITY["9 steps"]


def forms(n, t):
    """Flop a byte of n query heads and t new tokens."""
    return {"MHA": t, "GQA-8": t * n / 8, "MQA": t * n, "MLA": 1.889 * t * n}


def under(n, t, measured=MEASURED):
    return forms(n, t), MACHINES, f"{n} heads, {t} at once", measured


FIGURES = {
    **{f"latent_wiring {rank}": (128, rank, 64, 128) for rank in RANKS},
    "latent_wiring few": (4, 96, 32, 64, 2),
    **{f"ridges {n} · {t}": under(n, t) for n, t in PAGES},
    "ridges not measured": under(128, 1, None),
    "ridges measured twice": under(
        128, 1, {"FlashMLA on H100": [(30, 25.0)], "PyTorch on H200": [(30, 20.0)]}
    ),
    "latent_frontier": (BYTES, QUALITY),
    "latent_frontier alike": (
        BYTES,
        dict.fromkeys(["9,999 steps at a rate of 0.005", "9,999 steps at the best rate"], ALIKE),
    ),
}


def draw(name):
    return getattr(figures, name.split()[0])(*copy.deepcopy(FIGURES[name]))


@pytest.mark.parametrize("name", FIGURES)
def test_its_text_is_legible_inside_and_apart_and_what_it_is_given_is_left(name):
    given = copy.deepcopy(FIGURES[name])
    assert_legible_inside_and_apart(getattr(figures, name.split()[0])(*given))
    assert plain(given) == plain(FIGURES[name])


@pytest.mark.parametrize(
    "names",
    [
        [f"latent_wiring {rank}" for rank in RANKS],
        [f"ridges {n} · {t}" for n, t in PAGES],
    ],
)
def test_only_what_changes_moves(names):
    assert_only_what_changes_moves([draw(name) for name in names])


@pytest.mark.parametrize("rank, worth", [(64, "0.5 K/V head’s"), (192, "1 K/V head’s"),
                                         (512, "2.25 K/V heads’"), (2048, "8.25 K/V heads’")])  # fmt: skip
def test_a_latent_says_how_many_heads_it_is_worth(rank, worth):
    figure = draw(f"latent_wiring {rank}")
    title = f"{rank:,} + 64 = {rank + 64:,} numbers a token: {worth} worth"
    assert figure.axes[0].get_title(loc="left") == title and figure.alt.startswith(title)
    said = f"MQA 256, GQA, 8 K/V heads 2,048, MHA 32,768, MLA {rank + 64:,}."
    assert figure.alt.endswith(said) and "8 of them drawn" in figure.alt


@pytest.mark.parametrize("name", [x for x in FIGURES if x.startswith("latent_wiring")])
def test_boxes_are_as_wide_as_what_they_hold(name):
    n, rank, rope, h, *_ = FIGURES[name]
    axes = draw(name).axes[0]
    boxes = [x for x in axes.patches if isinstance(x, Rectangle)]

    def of(color):
        return [x for x in boxes if to_hex(x.get_facecolor()).upper() == color]

    (latent,), (*keys, rope_key) = (
        of(figures.card.LATENT),
        sorted(of(figures.KEY), key=lambda x: bool(x.get_hatch())),
    )
    assert latent.get_width() == pytest.approx(rank / (2 * h))
    assert rope_key.get_hatch() and rope_key.get_width() == pytest.approx(rope / (2 * h))
    drawn = min(n, 8)
    assert len(keys) == len(of(figures.VALUE)) == len(of(figures.QUERY)) == drawn
    left = [x.get_x() for x in keys]
    pitch = {round(b - a, 9) for a, b in itertools.pairwise(left)}
    assert pitch == {1}  # a key and a value, 2 · head_dim numbers
    strings = [x.get_xdata() for x in axes.lines if x.get_color() == figures.card.LATENT]
    ends = [round(x[1], 9) for x in strings]
    assert ends == [i + 0.5 for i in range(drawn)]
    assert all(latent.get_x() < x < latent.get_x() + latent.get_width() for x, _ in strings)
    last = [x for x in words(axes.texts) if x.startswith("…")]
    assert last == ([f"… to {n - 1}"] * 2 if n > 8 else [])


@pytest.mark.parametrize("name", [x for x in FIGURES if x.startswith("latent_wiring")])
def test_numbers_cached_stand_on_their_axis(name):
    n, rank, rope, h, *g = FIGURES[name]
    head, g = 2 * h, (g or [8])[0]
    scale = draw(name).axes[1]
    marks = {x.get_marker(): x.get_xdata()[0] for x in scale.lines if x.get_marker() != "None"}
    assert marks == {"^": head, "s": g * head, "o": n * head, A_LATENT[1]: rank + rope}
    assert {x.get_text().split(": ")[0]: x.xy[0] for x in scale.texts} == {
        "MQA": head, f"GQA, {g} K/V heads": g * head, "MHA": n * head, "MLA": rank + rope,
    }  # fmt: skip
    assert scale.get_xscale() == "log"
    low, high = scale.get_xlim()
    assert all(low < x < high for x in marks.values())
    for x, label in zip(scale.get_xticks(), words(scale.get_xticklabels()), strict=True):
        numbers, heads = label.split("\n")
        assert float(numbers.replace(",", "")) == x == float(heads) * head


@pytest.mark.parametrize("n, t", PAGES)
def test_every_form_stands_under_each_roof(n, t):
    axes = draw(f"ridges {n} · {t}").axes[0]
    for (label, x), (color, marker, _) in zip(
        forms(n, t).items(), (*STYLES[:3], A_LATENT), strict=True
    ):
        (line,) = [
            one
            for one in axes.lines
            if (one.get_color(), one.get_marker()) == (color, marker)
            and one.get_markerfacecolor() != "white"
        ]
        most = [[x, min(200, x)], [x, min(400, 4 * x)]]  # Tflop/s of x flop at 1 and 4 TB/s
        assert line.get_xydata().tolist() == [pytest.approx(point) for point in most]
        (text,) = [one for one in axes.texts if one.get_text().startswith(label)]
        assert text.get_text() == f"{label}\n{x:,.0f}" and text.xy == pytest.approx(most[1])
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_roofs_have_their_corner_at_the_ridge():
    axes = draw("ridges 128 · 1").axes[0]
    roofs = {x.get_label(): x for x in axes.lines if x.get_label().startswith("at most")}
    assert list(roofs) == ["at most on old, ridge at 200", "at most on new, ridge at 100"]
    for line, ridge, peak in zip(roofs.values(), (200, 100), (200, 400), strict=True):
        low, corner, high = line.get_xydata().tolist()
        assert corner == [ridge, peak] and high == [4000, peak]
        assert low == pytest.approx([0.5, 0.5 * peak / ridge])
    assert len({x.get_linestyle() for x in roofs.values()}) == 2


@pytest.mark.parametrize(
    "page, finding",
    [
        ((16, 1), "MLA, 30 flop a byte: below the ridge of old and new"),
        ((64, 1), "MLA, 121 flop a byte: above the ridge of new, below the ridge of old"),
        ((128, 4), "MLA, 967 flop a byte: above the ridge of old and new"),
    ],
)
def test_ridges_say_on_which_side_the_last_form_is(page, finding):
    n, t = page
    figure = draw(f"ridges {n} · {t}")
    assert figure.get_suptitle() == finding
    assert f"{n} heads, {t} at once. {finding}." in figure.alt
    said = ", ".join(f"{label} {x:,.0f}" for label, x in forms(n, t).items())
    assert f"Flop a byte: {said}." in figure.alt


def test_what_was_measured_is_hollow_and_named():
    figure = draw("ridges 128 · 1")
    (line,) = [x for x in figure.axes[0].lines if x.get_label() == "measured, a kernel"]
    assert line.get_xydata().tolist() == [[30, 25], [60, 52]]
    assert (line.get_markerfacecolor(), line.get_linestyle()) == ("white", "None")
    assert "Measured, a kernel: 25 at 30, 52 at 60." in figure.alt
    (legend,) = figure.legends
    assert words(legend.get_texts())[2:] == ["measured, a kernel"]
    assert "Measured" not in draw("ridges not measured").alt


def test_the_frontier_of_latents_shows_every_seed_at_its_bytes():
    figure = draw("latent_frontier")
    looks = dict(zip((8, 4, 2, 1), STYLES, strict=True))
    for axes, (panel, labels) in zip(figure.axes, QUALITY.items(), strict=True):
        assert axes.get_title(loc="left") == panel
        for (label, of), side in zip(labels.items(), (-1, 1), strict=True):
            for g, seeds in of.items():
                color, marker, _ = looks[g] if label == "GQA" else A_LATENT
                marks = [
                    x.get_xydata()[0].tolist()
                    for x in axes.lines
                    if (x.get_color(), x.get_marker()) == (color, marker)
                ]
                dots = [
                    x.get_ydata().tolist()
                    for x in axes.lines
                    if (x.get_color(), x.get_marker()) == (color, ".")
                ]
                at = BYTES[g] * 2 ** (0.11 * side)
                assert [pytest.approx(at), pytest.approx(fmean(seeds))] in marks
                assert seeds in dots
        assert words(axes.get_xticklabels()) == [f"{x} B\ng = {g}" for g, x in BYTES.items()]


def test_a_ring_is_round_what_no_head_and_no_latent_beats():
    figure = draw("latent_frontier")
    title = (
        "On the frontier: after 6 steps GQA at 64 and 512 B, MLA at 128 B; "
        "after 9 steps MLA at 64 and 128 B"
    )
    assert figure.get_suptitle() == title.replace("; ", ";\n") and f"{title} (ringed)" in figure.alt
    for axes, expected in zip(figure.axes, ([0.45, 0.81, 0.95], [0.6, 1]), strict=True):
        rings = [x.get_ydata()[0] for x in axes.lines if x.get_markersize() == 20]
        assert sorted(rings) == pytest.approx(expected)
    assert "after 6 steps, MLA 64 B .41, 128 B .81;" in figure.alt
    (legend,) = figure.legends
    assert words(legend.get_texts()) == [
        "GQA (a mark each g)",
        "MLA (plus, moved aside)",
        "on the frontier",
    ]


def test_panels_with_one_frontier_are_named_together():
    same = {panel: QUALITY["9 steps"] for panel in ("6 steps", "9 steps")}
    figure = figures.latent_frontier(BYTES, same)
    assert figure.get_suptitle() == "On the frontier: after 6 steps and 9 steps MLA at 64 and 128 B"


def test_models_as_good_in_as_many_bytes_are_both_on_the_frontier():
    same = {"GQA": {1: [0.5, 0.5]}, "MLA": {1: [0.4, 0.6]}}
    alt = figures.latent_frontier({1: 64}, {"6 steps": same}).alt
    assert "after 6 steps GQA at 64 B, MLA at 64 B" in alt
