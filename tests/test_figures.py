"""The pictures of lessons 02 to 07 show the numbers they are given, and keep still in a flipbook."""

import copy
import io
import itertools
import math
from collections import Counter

import matplotlib.colors
import pytest
import torch
from drawn import assert_nothing_is_cut_off, assert_only_what_changes_moves, plain, words
from matplotlib.patches import FancyBboxPatch, Rectangle
from PIL import Image

from course_utils import figures
from course_utils.attention import causal_mask, split_heads
from course_utils.experiments.diversity import similarity
from course_utils.experiments.results import Score
from course_utils.figures.shapes import LETTERS
from course_utils.geometry import Geometry

WORDS = ["one", "key", "opens", "many"]
SCORES = [
    Score("A", "x", mha=10.0, mqa=8.0, gqa=9.5),
    Score("A", "y", mha=20.0, mqa=21.0, gqa=None),
    Score("B", "z", mha=5.0, mqa=None, gqa=5.5),
]
MODELS = [
    Geometry("mine", 2, 8, 8, 4, d_model=32, max_context=9),
    Geometry("yours", 2, 16, 8, 4, d_model=64, max_context=9),
    Geometry("ours", 2, 16, 8, 6, d_model=64, max_context=9),
    Geometry("his", 2, 16, 4, 4, d_model=64, max_context=9),
    Geometry("theirs", 2, 16, 1, 4, d_model=64, max_context=9),
]


def some(*shape):
    """Numbers from 0 to 1, the same every time."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def causal(s=4):
    return (
        (torch.arange(s * s).view(s, s) / 7).masked_fill(~causal_mask(s, s), -torch.inf).softmax(-1)
    )


def dial(g, n=16):
    """What `hero` is given: keys, bytes, accuracies and times that name their g."""
    keys = torch.randn(g, 3, 5, generator=torch.Generator().manual_seed(g))
    every_g = [one for one in range(1, n + 1) if n % one == 0]
    quality = {one: [one / n, one / n / 2] for one in every_g}
    times = {one: (one - 0.25, one + 0.25, one + 1.5) for one in every_g}
    return {
        "n_heads": n,
        "keys": keys,
        "cache_bytes": {one: one * 2**30 for one in every_g},
        "quality": quality,
        "times": times,
        "model": "a model",
    }


def seeds(mean):
    """Three accuracies with this mean."""
    return [mean - 0.04, mean + 0.03, mean + 0.01]


BYTES = {8: 512, 4: 256, 2: 128, 1: 64}
QUALITY = {
    "6 steps": {
        "width": {8: seeds(0.9), 4: seeds(0.8), 2: seeds(0.65), 1: seeds(0.45)},
        "weights": {8: seeds(0.9), 4: seeds(0.85), 2: seeds(0.5), 1: seeds(0.48)},
    },
    "9 steps": {
        "width": {8: [1, 1, 1], 4: [1, 1, 1], 2: [1, 0.98, 0.99], 1: seeds(0.6)},
        "weights": {8: [1, 1, 1], 4: [1, 1, 1], 2: seeds(0.94), 1: seeds(0.7)},
    },
}
CURVES = {
    "g = 8": [[(0, 0.1), (30, 0.7), (60, 0.9)], [(0, 0.2), (30, 0.8), (60, 1.0)]],
    "g = 4": [[(0, 0.1), (30, 0.5), (60, 0.94)], [(0, 0.1), (30, 0.6), (60, 0.94)]],
    "g = 1": [[(0, 0.1), (30, 0.2), (60, 0.3)], [(0, 0.1), (30, 0.3), (60, 0.4)]],
}
MINE = {"g = 4": [[(0, 0.15), (30, 0.45), (60, 0.93)]], "g = 1": [[(0, 0.05), (30, 0.25)]]}
CONVERTED = {
    g: {
        "mean": {0: seeds(0.3), 0.05: seeds(0.4), 0.1: seeds(0.5 + g / 20)},
        "first": {0: seeds(0.27 + g / 40), 0.05: seeds(0.39), 0.1: seeds(0.58)},
        "random": {0: seeds(0.11), 0.05: seeds(0.12), 0.1: seeds(0.13)},
    }
    for g in (4, 2, 1)
}
SCRATCH = {4: seeds(0.8), 2: seeds(0.6), 1: seeds(0.5)}
CONTROL = {0: seeds(0.95), 0.05: seeds(0.97), 0.1: seeds(0.98)}
DIVERSITY = {
    "distance": {
        "trained": {4: seeds(0.8), 2: seeds(0.6), 1: seeds(0.4)},
        "random": {4: seeds(0.9), 2: seeds(0.88), 1: seeds(0.91)},
    },
    "rank": {
        "trained": {4: [9, 10, 11], 2: [6, 7, 8], 1: [3.5, 3.6, 3.7]},
        "random": {4: [3, 3.1, 3.2], 2: [6, 6.5, 7], 1: [7.9, 8, 8.1]},
        "bound": {4: 32, 2: 16, 1: 8},
    },
}
SHARES = {
    name: {"trained": [some(6).cumsum(0) / 6], "random": [some(6) / 2] * 2, "bound": {name: 4}}
    for name in ("d = 4", "n · h = 4")
}
CUT = {2: seeds(0.3), 8: seeds(0.7)}
DOORS = torch.tensor([[2, 0], [0, 1], [1, 2]])  # three doors, two attributes
ASKED = torch.tensor([[0, 0], [1, 0]])
READING = {8: 8.0, 4: 4.0, 2: 2.0, 1: 1.0}
COMPUTING = {8: 2.9, 4: 2.9, 2: 2.8, 1: 2.8}


def steps(context, every_g=(8, 4, 2, 1)):
    """What `roofline` is given for a context: two ways to compute, and two predictions."""
    measured = {
        "ours": {g: (context * (g + 3), context * (g + 4), context * (g + 7)) for g in every_g},
        "theirs": {g: (context * 10, context * 12, context * 13) for g in every_g},
    }
    floors = ({g: context * x for g, x in floor.items()} for floor in (READING, COMPUTING))
    return measured, *floors, f"{context} tokens", 0.7 * context, (0.5, 60)


def users():
    """What `whole_steps` is given: steps of 4 to 13 ms, with g = 8 for 16 users at most."""
    measured = {
        g: {b: (base - 1 + b / 4, base + b / 4, base + 2 + b / 4) for b in (16, 1, 4, 64)[:most]}
        for g, base, most in ((8, 9, 3), (2, 6, 4), (1, 4, 4))
    }
    limits = [
        {
            g: {b: 1000 * b / (ms - less) for b, (_, ms, _) in of.items()}
            for g, of in measured.items()
        }
        for less in (2, 1)
    ]
    return measured, *limits, "A model"


FIGURES = {
    "attention_map": (torch.eye(4), WORDS, "A title"),
    "weighted_average": (
        torch.tensor([0.5, 0.25, 0.25]),
        torch.tensor([[0.0, 4], [8, 0], [8, 8]]),
        WORDS[:3],
    ),
    "score_scale": ([4, 16], [2.0, 4.1], [0.5, 0.7], [0.3, 0.3]),
    "wiring": (8, 2),
    "alphabet": (),
    "appending": ([10, 100], {"cat": [1.0, 10.0], "buffer": [2.0, 1.0]}),
    "cache_bars": (["a", "b"], [8000, 6000], [1000, 2000]),
    "changes": (torch.tensor([0, 0, 0.7, 1.4]), some(4), WORDS, 2),
    "columns": ([torch.arange(24).view(2, 12)], ["x"], "A title", 12, 4, WORDS[:2]),
    "decoding": (3, WORDS),
    "flow": (some(4, 5), some(4, 3), some(4, 3), some(4, 3), WORDS, 2),
    "found": ([some(3, 3), torch.eye(3)], ["a", "b"], WORDS[:3]),
    "frontier": (BYTES, QUALITY),
    "hero": dial(4),
    "kept": (SHARES, 2, "A title"),
    "learning_curves": (CURVES, MINE),
    "lookup": (some(4, 4).tril(), [0, 0, 3], WORDS[:3], "A title"),
    "low_rank": (some(4, 6), some(4, 6) / 2, 8, CUT, CUT, {4: seeds(0.5), 16: seeds(0.9)}),
    "masks": ([causal_mask(2, 4), causal_mask(4, 4)], ["a", "b"]),
    "model_map": (MODELS, {"mine": (9, 9)}),
    "outgrowing": (16, 131072, 16 * 10**9, 8192, 38),
    "published": (SCORES, {"A": [1.46, -0.4]}),
    "questions": (DOORS, torch.tensor([7, 7, 9]), ASKED, ["colour", "size"], 1),
    "roofline": steps(1),
    "whole_steps": users(),
    "sees": (causal(), WORDS, 2),
    "trained_and_random": (DIVERSITY, "A title"),
    "uptraining": (CONVERTED, SCRATCH, CONTROL),
    "writing": ([1, 2], [3.0, 9.0], [3.0, 2.0]),
    "spread": ({"a": [0.1, 0.2], "b": [0.5] * 9}, "A title", "x"),
}


def draw(name):
    return drawn_of(name, copy.deepcopy(FIGURES[name]))


def drawn_of(name, given):
    """The figure of what is given, by place or by keyword."""
    draw = getattr(figures, name)
    return draw(**given) if isinstance(given, dict) else draw(*given)


def texts(axes):
    """The texts of an axes by the square or point they stand in."""
    return {
        tuple(map(round, t.get_position())): t.get_text()
        for t in axes.texts
        if t.get_transform() == axes.transData
    }


def colours(axes, hatched=False):
    """The colour of every square, hatched or not, by the place of its middle."""
    return {
        (round(p.get_x() + 0.5), round(p.get_y() + 0.5)): matplotlib.colors.to_hex(
            p.get_facecolor()
        )
        for p in axes.patches
        if bool(p.get_hatch()) == hatched and p.get_fill()
    }


def bars(axes):
    """The places, heights and colours of upright bars, by their label."""
    return {
        c.get_label(): (
            [round(p.get_x() + p.get_width() / 2, 6) for p in c],
            [p.get_height() for p in c],
            {matplotlib.colors.to_hex(p.get_facecolor()) for p in c},
        )
        for c in axes.containers
    }


def lines(axes):
    """The points of every line, by its label."""
    return {line.get_label(): line.get_xydata().tolist() for line in axes.lines}


def picture(axes):
    return torch.tensor(axes.images[0].get_array())


def told(values):
    """The texts of a heat map of values: two digits in every cell."""
    cells = torch.cartesian_prod(*map(torch.arange, values.shape)).tolist()
    return {(j, i): f"{values[i, j]:.2f}".removeprefix("0") for i, j in cells}


@pytest.mark.parametrize("name", FIGURES)
def test_it_is_legible_at_twice_its_size_told_in_words_and_the_same_twice(name):
    given = copy.deepcopy(FIGURES[name])
    figure = drawn_of(name, given)
    assert plain(given) == plain(FIGURES[name])
    png = figures.png(figure)
    assert png == figures.png(drawn_of(name, given))
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    assert picture.width == pytest.approx(2 * figure.get_figwidth() * figures.CSS_DPI, abs=1)
    assert picture.getpixel((0, 0)) == (255, 255, 255)
    assert len(figure.alt) > 40
    sizes = [x.get_fontsize() for x in figure.findobj(lambda x: hasattr(x, "get_fontsize"))]
    assert min(sizes) >= 11
    assert_nothing_is_cut_off(figure)


@pytest.mark.parametrize("current", range(4))
def test_a_word_sees_its_own_row_and_nothing_behind_it(current):
    weights = causal()
    figure = figures.sees(weights, WORDS, current)
    (axes,) = figure.axes
    row = {(j, current): f"{weights[current, j]:.2f}" for j in range(current + 1)}
    assert texts(axes) == row
    seen = {(j, i) for i in range(current + 1) for j in range(i + 1)}
    hidden = {(j, i) for i in range(current + 1) for j in range(i + 1, 4)}
    assert (set(colours(axes)), set(colours(axes, hatched=True))) == (seen, hidden)
    assert [p.get_y() for p in axes.patches if not p.get_fill()] == [current - 0.5]
    assert words(axes.get_xticklabels()) == words(axes.get_yticklabels()) == WORDS
    assert all(f"{WORDS[j]} {text}" in figure.alt for (j, _), text in row.items())


@pytest.mark.parametrize("given", [[causal_mask(2, 4), ~causal_mask(4, 4)], [causal_mask(1, 3)]])
def test_masks_are_drawn_as_they_are(given):
    names = ["a", "b"][: len(given)]
    tallest = max(map(len, given))
    for mask, name, axes in zip(given, names, figures.masks(given, names).axes, strict=True):
        t, s = mask.shape
        assert axes.get_ylim() == (t - 0.5, t - tallest - 0.5)  # numbers of columns right below
        drawn = [[int(texts(axes)[j, i]) for j in range(s)] for i in range(t)]
        assert drawn == mask.int().tolist()
        assert len(texts(axes)) == t * s
        assert words(axes.get_yticklabels()) == [str(i) for i in range(s - t, s)]
        assert set(colours(axes)) == {(j, i) for i, j in mask.nonzero().tolist()}
        assert set(colours(axes, hatched=True)) == {(j, i) for i, j in (~mask).nonzero().tolist()}
        assert axes.get_title(loc="left") == name


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6, 12])
def test_a_number_keeps_its_colour_wherever_it_goes(n):
    x = torch.arange(36).view(1, 3, 12)
    blocks = [x[0], *split_heads(x, n)[0], x.view(12, 3)]
    names = [str(i) for i in range(len(blocks))]
    figure = figures.columns(blocks, names, "A title", 12, 12 // n, WORDS[:3])
    panels = figure.axes
    labels = [words(axes.get_yticklabels()) for axes in panels]
    assert labels == [WORDS[:3]] + [[]] * (len(panels) - 1)
    assert "Rows: one, key, opens." in figure.alt
    for block, name, axes in zip(blocks, names, panels, strict=True):
        cells = {(j, i): x for i, row in enumerate(block.tolist()) for j, x in enumerate(row)}
        assert texts(axes) == {place: str(number) for place, number in cells.items()}
        heads = {place: number % 12 // (12 // n) for place, number in cells.items()}
        for hatched in (False, True):  # the ninth head has the hue of the first, and is hatched
            assert colours(axes, hatched) == {
                place: figures.GROUPS[head % 8].lower()
                for place, head in heads.items()
                if (head >= 8) == hatched
            }
        assert axes.get_title(loc="left") == name


def test_a_question_is_answered_by_the_rooms_of_the_doors_it_names():
    figure = draw("questions")
    known, wanted = figure.axes
    assert texts(known) == {
        (0, 0): "2", (1, 0): "0", (2, 0): "7",
        (0, 1): "0", (1, 1): "1", (2, 1): "7",
        (0, 2): "1", (1, 2): "2", (2, 2): "9",
    }  # fmt: skip
    filled = {place: hue for place, hue in colours(known).items() if hue != "#ffffff"}
    key, value = figures.KEY.lower(), figures.VALUE.lower()
    assert filled == {(0, 2): key, (1, 0): key, (2, 2): value, (2, 0): value}
    rows = [[t.get_text() for t in wanted.texts][i : i + 2] for i in (0, 2, 4)]
    assert rows == [["0", "0"], ["1", "0"], ["9", "7"]]
    assert words(wanted.get_yticklabels()) == ["question 0", "question 1", "answers to 1"]
    assert "Question 1: colour 1: door 2, room 9; size 0: door 0, room 7." in figure.alt


@pytest.mark.parametrize("step", [1, 2, 4])
def test_work_is_counted_as_it_is_drawn(step):
    figure = figures.decoding(step, WORDS)
    for axes, label, older in zip(
        figure.axes, ("without a cache", "with a cache"), ("again", "read"), strict=True
    ):
        assert axes.get_xlabel() == label
        assert texts(axes) == {
            (j, i): "new" if j == i else older for i in range(step) for j in range(i + 1)
        }
        assert colours(axes).keys() == texts(axes).keys()
        hues = {text: colours(axes)[place] for place, text in texts(axes).items()}
        assert len(set(hues.values())) == len(hues) == len(set(colours(axes).values()))
        assert words(axes.get_xticklabels()) == WORDS
    triangle = step * (step + 1) // 2
    assert f"{triangle} without a cache and {step} with one" in figure.alt


def test_every_letter_can_be_counted_and_no_two_have_the_same_size():
    (axes,) = figures.alphabet().axes
    l, b, n, g, r, t, s, h, d = (LETTERS[letter] for letter in "lbngrtshd")
    assert len({l, b, n, g, r, t, s, h, d}) == 9 and n == g * r
    cells = Counter(
        matplotlib.colors.to_hex(p.get_facecolor()).upper()
        for p in axes.patches
        if isinstance(p, Rectangle)
    )
    assert cells == {
        figures.QUERY: n * t * h,
        figures.KEY: g * s * h,
        figures.VALUE: g * s * h,
        "#DDDDDD": b * t * d,
    }
    assert sum(isinstance(p, FancyBboxPatch) for p in axes.patches) == l + 1  # and one opened
    names = Counter(text.get_text() for text in axes.texts)
    assert (names["x"], names["q"], names["k"], names["v"]) == (1, n, g, g)
    assert sum(line.get_linewidth() == 2 for line in axes.lines) == n
    assert all(f"{letter} = {size}" in figures.alphabet().alt for letter, size in LETTERS.items())


@pytest.mark.parametrize("i", [0, 3])
def test_the_way_from_x_to_the_output_is_drawn_from_its_numbers(i):
    x, q, k, v = some(4, 5), some(4, 3) + 1, some(4, 3), some(4, 3)
    figure = figures.flow(x, q, k, v, WORDS, i)
    (axes,) = figure.axes
    weights = (q @ k.T).softmax(dim=-1)
    drawn = [torch.tensor(mesh.get_array()) for mesh in axes.collections]
    for shown, given in zip(drawn, [x, k.T, v, q, q @ k.T, weights, weights @ v], strict=True):
        torch.testing.assert_close(shown, given)
    frames = [p for p in axes.patches if isinstance(p, Rectangle)]
    tops = [p.get_y() + 1 for p in frames]
    assert tops == pytest.approx([4 + 3.6 + 4 - i] + [4 - i] * 4)  # x, and what its row becomes
    assert f"follow the row of “{WORDS[i]}”" in figure.alt


def test_what_is_too_low_to_be_seen_is_told():
    axes = figures.changes(torch.tensor([0, 0.009]), torch.tensor([0.3, 1e-7]), WORDS[:2], 1).axes[
        0
    ]
    assert [t.get_text() for t in axes.texts] == ["1e-07", "0", "0.009"]


def test_changes_are_drawn_with_the_mask_and_without():
    with_mask, without = [0.0, 0.3, 1.0, 0.6], [0.2, 0.0, 1.1, 0.7]
    figure = figures.changes(torch.tensor(with_mask), torch.tensor(without), WORDS, 2)
    (axes,) = figure.axes
    places, heights, colour = zip(*map(bars(axes).get, ("with mask", "without mask")), strict=True)
    assert places == ([0.2, 1.2, 2.2, 3.2], [-0.2, 0.8, 1.8, 2.8])
    assert heights == (pytest.approx(with_mask), pytest.approx(without))
    assert colour == ({figures.VALUE.lower()}, {"#d55e00"})
    assert sorted(t.get_position() for t in axes.texts) == [(0.2, 0), (0.8, 0)]  # an exact 0
    assert {t.get_text() for t in axes.texts} == {"0"}
    assert words(axes.get_xticklabels()) == WORDS
    bold = [t.get_text() for t in axes.get_xticklabels() if t.get_fontweight() == "bold"]
    assert bold == ["opens"]


@pytest.mark.parametrize("notice", [0, 1, 2])
def test_changes_counts_the_words_that_notice(notice):
    with_mask = torch.tensor([notice > 0, notice > 1, True, True]) * 0.3
    figure = figures.changes(with_mask, torch.ones(4), WORDS, 2)
    assert f"“opens”: with the mask, {notice} of the 2 words before it notice" in figure.alt
    assert figure.axes[0].get_title(loc="left") in figure.alt


def test_a_door_is_labelled_with_what_is_asked_about_it():
    weights = some(3, 4)
    weights[0, 0] = weights[1, 1] = 1
    weights[2, 0] = 0
    figure = figures.lookup(weights, [0, 0, 3], ["colour", "wood", "lock"], "A title")
    (axes,) = figure.axes
    labels = [label.split() for label in words(axes.get_xticklabels())]
    assert labels == [
        ["door", "0", "colour", "wood"], ["door", "1"], ["door", "2"], ["door", "3", "lock"],
    ]  # fmt: skip
    assert (
        "head 0 looks most at door 0 (colour, wood); head 1 looks most at door 1 (not" in figure.alt
    )
    assert words(axes.get_yticklabels()) == ["head 0", "head 1", "head 2"]
    assert texts(axes) == told(weights)
    assert torch.equal(picture(axes), weights)
    assert axes.images[0].get_clim() == (0, 1)


@pytest.mark.parametrize("names", [["a"], ["a", "b"]])
def test_shares_are_drawn_for_every_model(names):
    shares = [*some(len(names), 3, 2)]
    figure = figures.found(shares, names, ["wood", "lock"])
    *panels, _ = figure.axes  # the last is the scale
    for share, name, axes in zip(shares, names, panels, strict=True):
        assert texts(axes) == told(share)
        assert torch.equal(picture(axes), share)
        assert axes.images[0].get_clim() == (0, 1)
        assert axes.get_title(loc="left") == name
        assert words(axes.get_xticklabels()) == ["wood", "lock"]
        assert f"{name}: {share.max():.2f}" in figure.alt
    assert words(panels[0].get_yticklabels()) == ["head 0", "head 1", "head 2"]


@pytest.mark.parametrize(
    "lengths, cat, buffer, said",
    [
        ([1000, 5000], [1.0, 40.0], [0.5, 0.25], "cat: 1 to 40 ms; buffer: 0.5 to 0.25 ms"),
        ([8, 16, 32], [3.5, 9.0, 123.4], [0.01, 6.0, 2.0], "cat: 3.5 to 120 ms; buffer: 0.01 to 2 ms"),
    ],
)  # fmt: skip
def test_milliseconds_to_append_are_drawn_and_said_as_they_were_measured(
    lengths, cat, buffer, said
):
    figure = figures.appending(lengths, {"cat": cat, "buffer": buffer})
    (axes,) = figure.axes
    assert lines(axes) == {
        "cat": [[*x] for x in zip(lengths, cat, strict=True)],
        "buffer": [[*x] for x in zip(lengths, buffer, strict=True)],
    }
    assert words(axes.get_xticklabels()) == [f"{x:,}" for x in lengths]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert f"{lengths[0]} to {lengths[-1]} tokens" in figure.alt
    assert said in figure.alt


def test_every_token_written_has_a_mark_without_a_cache_and_with_one():
    lengths, without, with_cache = [15, 16, 17], [5.0, 7.0, 12.3], [4.0, 3.0, 3.5]
    figure = figures.writing(lengths, without, with_cache)
    (axes,) = figure.axes
    assert lines(axes) == {
        "without a cache": [[*x] for x in zip(lengths, without, strict=True)],
        "with a cache": [[*x] for x in zip(lengths, with_cache, strict=True)],
    }
    assert axes.get_ylim()[0] == 0
    assert "15 to 17 tokens" in figure.alt
    assert "Without a cache 5 to 12 ms, with one 4 to 3.5" in figure.alt


@pytest.mark.parametrize(
    "users, end, title",
    [
        (1, 1.0, "1 user: 1.0 GB of cache at 1,000 tokens, less than the weights"),
        (3, 3.0, "3 users: 3.0 GB of cache at 1,000 tokens, less than the weights"),
        (4, 4.0, "4 users: the cache outgrows the weights at 750 tokens each"),
    ],
)
def test_a_cache_meets_the_weights_where_its_line_crosses_theirs(users, end, title):
    figure = figures.outgrowing(users, 10**6, 3 * 10**9, max_tokens=1000, top=8)  # 1 MB a token
    (axes,) = figure.axes
    level, cache, *mark = (line.get_xydata().tolist() for line in axes.lines)
    assert [y for _, y in level] == [3, 3]
    assert cache == [[0, 0], [1000, end]]
    assert mark == ([[[750, 3]]] if users == 4 else [])
    assert axes.get_title(loc="left") == title
    assert title in figure.alt
    assert words(axes.get_xticklabels()) == ["0", "250", "500", "750", "1,000"]


def test_every_number_of_a_sample_has_a_dot_and_their_mean_a_bar():
    samples = {"few": [0.1, 0.2, 0.6], "many": [0.8, *[0.2] * 7, 0.4]}  # means .3 and .29
    figure = figures.spread(samples, "A title", "x")
    (axes,) = figure.axes
    assert words(axes.get_yticklabels()) == ["few (3)", "many (9)"]
    dots = {name: list(zip(*lines(axes)[name], strict=True)) for name in samples}
    assert {name: list(x) for name, (x, _) in dots.items()} == samples
    for lane, (_, y) in enumerate(dots.values()):
        assert all(abs(place - lane) < 0.4 for place in y)
    means = [line.get_xydata().tolist() for line in axes.lines if line.get_label() not in samples]
    for lane, (mean, bar, text) in enumerate(zip([0.3, 26 / 90], means, axes.texts, strict=True)):
        assert [x for x, _ in bar] == pytest.approx([mean, mean])
        assert [y for _, y in bar] == [lane - 0.4, lane + 0.4]
        assert (text.get_text(), text.xy) == (f"{mean:.2f}", pytest.approx((mean, lane)))
    assert "few: 0.30; many: 0.29" in figure.alt


def test_published_differences_are_those_of_the_table():
    """Lanes from below: B is 0, A is 1; MQA a little lower, GQA a little higher."""
    axes = figures.published(SCORES, {}).axes[0]
    marks, means = {}, {}
    for line in axes.lines:
        x, y = line.get_data()
        if line.get_marker() in ("^", "o") and len(x):
            marks[line.get_marker(), round(y[0], 2)] = list(x)
        elif line.get_marker() == "None" and len(set(y)) > 1 and list(y) != [0, 1]:
            means[round(sum(y) / 2, 2)] = list(x)
    assert marks == {("^", 0.82): [-2, 1], ("o", 1.18): [-0.5], ("o", 0.18): [0.5]}
    assert means == {0.82: [-0.5, -0.5], 1.18: [-0.5, -0.5], 0.18: [0.5, 0.5]}
    said = {round(t.get_position()[1], 2): t.get_text() for t in axes.texts}
    assert said == {0.82: "−0.5", 1.18: "−0.5", 0.18: "+0.5"}
    assert words(axes.get_yticklabels()) == ["B", "A"]
    handles = {h.get_label(): h.get_marker() for h in axes.get_legend().legend_handles}
    assert handles == {"MQA": "^", "GQA, 8 K/V heads": "o"}


@pytest.mark.parametrize("mqa, said", [(8.0, "A MQA −0.5"), (13.0, "A MQA +2.0")])
def test_published_says_the_means_of_its_table(mqa, said):
    alt = figures.published([SCORES[0]._replace(mqa=mqa), *SCORES[1:]], {}).alt
    assert all(mean in alt for mean in (said, "A GQA −0.5", "B GQA +0.5"))
    assert "B MQA" not in alt  # nobody measured it


@pytest.mark.parametrize("mqa, below", [(8.0, "1 of 1"), (13.0, "0 of 1")])
def test_published_says_how_many_studies_saw_mqa_below(mqa, below):
    figure = figures.published([SCORES[0]._replace(mqa=mqa), *SCORES[1:]], {})
    title = f"MQA’s mean lies below MHA’s in {below} studies"
    assert figure.axes[0].get_title(loc="left") == title
    assert title in figure.alt


def test_perplexity_is_said_below_its_lane_and_drawn_nowhere():
    plain, noted = (figures.published(SCORES, x) for x in ({}, {"A": [1.46, -0.4]}))
    note = "MQA’s perplexity (lower is better): +1.5 %, −0.4 %"
    (text,) = [t for t in noted.axes[0].texts if "perplexity" in t.get_text()]
    assert (
        text.get_text() == note and 0.5 <= text.get_position()[1] < 0.67
    )  # lane A is 1, its bar ends
    assert noted.alt == f"{plain.alt} A: {note}."
    drawn = [[line.get_xydata().tolist() for line in x.axes[0].lines] for x in (plain, noted)]
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("score", [{}, {"mqa": -40.0}, {"gqa": 40.0}])
def test_every_published_mark_lies_inside(score):
    axes = figures.published([SCORES[0]._replace(**score), *SCORES[1:]], {}).axes[0]
    low, high = axes.get_xlim()
    assert all(low < x < high for line in axes.lines[:-3] for x in line.get_xdata())
    left = [t.get_position()[0] for t in axes.texts]  # where a mean in numbers ends
    assert min(left) > low + 1


def test_bars_are_as_long_as_the_caches():
    figure = figures.cache_bars(["a", "b"], [8000, 6000], [1000, 2000])
    (axes,) = figure.axes
    drawn = {
        (round(bar.get_y() + bar.get_height() / 2, 6), bool(bar.get_hatch())): bar.get_width()
        for bar in axes.patches
    }
    assert drawn == {(-0.2, True): 8, (0.2, False): 1, (0.8, True): 6, (1.2, False): 2}
    assert {t.get_position(): t.get_text().strip() for t in axes.texts} == {
        (8, -0.2): "MHA 8 kB", (1, 0.2): "MQA 1 kB, 8 times smaller",
        (6, 0.8): "MHA 6 kB", (2, 1.2): "MQA 2 kB, 3 times smaller",
    }  # fmt: skip
    assert words(axes.get_yticklabels()) == ["a", "b"]
    assert "a: 8,000 and 1,000, 8 times smaller; b: 6,000 and 2,000, 3 times smaller" in figure.alt


def test_models_are_counted_by_kind():
    figure = figures.model_map(MODELS, {"mine": (9, 9), "his": (9, -9)})
    (axes,) = figure.axes
    assert axes.get_title(loc="left") == "2 of 3 GQA models have 8 K/V heads"
    marks = {
        c.get_label(): dict(zip(map(tuple, c.get_offsets().tolist()), c.get_sizes(), strict=True))
        for c in axes.collections
    }
    assert marks == {
        "MHA: 1": {(8, 8): 60}, "GQA: 3": {(16, 8): 120, (16, 4): 60}, "MQA: 1": {(16, 1): 60},
    }  # fmt: skip
    named = {t.get_text(): (t.xy, t.get_position()) for t in axes.texts}
    assert named == {"mine": ((8, 8), (9, 9)), "his": ((16, 4), (9, -9))}
    assert "5 models" in figure.alt and "1 MHA" in figure.alt and "1 MQA" in figure.alt
    assert "MLA" not in figure.alt


def test_a_latent_stands_at_the_heads_whose_cache_would_be_as_large():
    latent = Geometry("hers", 2, 16, 16, 4, d_model=64, max_context=9, latent_dim=18)
    figure = figures.model_map([*MODELS, latent], {"hers": (9, 9)})
    (axes,) = figure.axes
    assert axes.get_title(loc="left") == "2 of 3 GQA models have 8 K/V heads"
    marks = axes.collections[-1]
    assert marks.get_label() == "MLA: 1, by its cache"
    assert marks.get_offsets().tolist() == [[16, 2.25]] == [list(axes.texts[0].xy)]
    assert "6 models" in figure.alt and "1 MLA by the size of their cache at 2.25" in figure.alt
    assert latent.kv_bytes(8) == Geometry("", 2, 36, 9, 4, 64, 9).kv_bytes(2)  # 9 / 4 heads


@pytest.mark.parametrize("n, g", [*((16, g) for g in (1, 2, 4, 8, 16)), (4, 2), (12, 3)])
def test_the_dial_shows_what_g_does(n, g):
    figure = figures.hero(**dial(g, n))
    wires, heads, alike, memory, time, quality = figure.axes[:6]
    strands = [line.get_xdata() for line in wires.lines]
    r = n // g
    assert [x[0] for x in strands] == list(range(n))
    assert [x[1] for x in strands] == [i // r * r + (r - 1) / 2 for i in range(n)]
    assert figures.QUERY not in {line.get_color() for line in wires.lines}  # it is the queries'
    rows = [f"heads\n{i}–{min(i + 7, n - 1)}" for i in range(0, n, 8)]
    assert words(heads.get_yticklabels()) == rows
    likeness = picture(alike)
    blocks = torch.block_diag(*[torch.ones(r, r)] * g).bool()
    torch.testing.assert_close(likeness[blocks], torch.ones(g * r * r))
    assert likeness[~blocks].numel() == 0 or likeness[~blocks].max() < 0.999
    filled = [bar for bar in memory.patches if not bar.get_hatch()]
    assert [bar.get_height() for bar in filled] == [g]
    less = f"\n{r}× less" if r > 1 else ""
    assert words(memory.texts) == [f"{g} GiB{less}"]
    assert [bar.get_height() for bar in time.patches if not bar.get_hatch()] == [g + 0.25]
    times = dial(g, n)["times"]
    assert [bar.get_height() for bar in time.patches] == [x for _, x, _ in times.values()]
    (ranges,) = time.collections
    assert [ends[:, 1].tolist() for ends in ranges.get_segments()] == [
        [low, high] for low, _, high in times.values()
    ]
    faster = f"{(n + 0.25) / (g + 0.25):.2g}× faster"
    assert words(time.texts) == [f"{g + 0.25:.1f} ms" + f"\n{faster}" * (r > 1)]
    assert (
        f"Attention in a decode step: {g + 0.25:.1f} ms" + f", {faster}" * (r > 1) + "."
        in figure.alt
    )
    every_g = [str(one) for one in times]
    assert all(words(x.get_xticklabels()) == every_g for x in (memory, time, quality))
    assert words(quality.texts) == [f"{g * 3 / 4 / n:.2f}"]


@pytest.mark.parametrize("n, g", [(16, 2), (12, 3), (4, 2)])
def test_the_key_maps_are_what_each_head_reads(n, g):
    keys = dial(g, n)["keys"]
    axes = figures.hero(**dial(g, n)).axes[1]
    drawn = picture(axes)
    expected = torch.full_like(drawn, float("nan"))
    for i in range(n):
        y, x = i // 8 * 4, i % 8 * 6  # three doors and five numbers, and a gap of one
        expected[y : y + 3, x : x + 5] = keys[i // (n // g)]
        assert axes.get_xlim()[1] > x + 5 and axes.get_ylim()[0] > y + 3
    torch.testing.assert_close(drawn, expected, rtol=0, atol=0, equal_nan=True)


def test_a_step_that_takes_longer_is_called_slower():
    given = dial(4)
    given["times"][4] = (16, 32.5, 33)
    figure = figures.hero(**given)
    assert words(figure.axes[4].texts) == ["32.5 ms\n2× slower"]
    assert "32.5 ms, 2× slower" in figure.alt


@pytest.mark.parametrize(
    "m, t", [*enumerate([12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26], 2)]
)
def test_an_interval_is_students(m, t):
    mean, half = figures.interval([1.0] + [0.0] * (m - 1))  # a standard deviation of 1/√m
    assert (mean, half) == (pytest.approx(1 / m), pytest.approx(t / m))


@pytest.mark.parametrize("values", [[], [1.0], [0.0] * 11])
def test_an_interval_needs_two_to_ten_values(values):
    with pytest.raises(ValueError, match=f"for 2 to 10 values, not for {len(values)}"):
        figures.interval(values)


def drawn_samples(axes, style, filled=True):
    """What is drawn in a colour, by a mark that is filled or not: (marks, spans, dots)."""
    color, marker, _ = style
    own = [x for x in axes.lines if x.get_color() == color]
    where = [x.get_xydata().tolist() for x in own if len(x.get_xdata()) > 0]
    marks = [
        x.get_xydata()[0].tolist()
        for x in own
        if (x.get_marker(), x.get_markersize()) == (marker, 8.5)
        and (x.get_markerfacecolor() != "white") == filled
    ]
    at = {x for x, _ in marks}
    spans = [
        [y for _, y in line] for line in where if len(line) == 2 and {x for x, _ in line} <= at
    ]
    dots = [x.get_xydata().tolist() for x in own if x.get_marker() == "."]
    return marks, spans, dots


def assert_samples(drawn, samples):
    """Each sample is its mean, a line from lowest to highest, its seeds; returns marks' places."""
    marks, spans, dots = drawn
    assert [y for _, y in marks] == pytest.approx([sum(x) / len(x) for x in samples])
    assert spans == [[min(x), max(x)] for x in samples]
    clouds = [[y for _, y in cloud] for cloud in dots]
    assert all(x in clouds for x in samples)
    assert all(len({x for x, _ in cloud}) == 1 for cloud in dots)
    return [x for x, _ in marks]


def of_legend(figure):
    """The looks of a legend's lines, by label."""
    (legend,) = figure.legends
    return {
        text.get_text(): (line.get_marker(), line.get_linestyle(), line.get_color())
        for text, line in zip(legend.get_texts(), legend.get_lines(), strict=True)
    }


def test_a_legend_tells_lines_apart_without_colour():
    figure = draw("roofline")
    (legend,) = figure.legends
    named = {c.get_label(): c.lines[0] for c in figure.axes[0].containers}
    others = ["least possible", "an empty call"]
    assert words(legend.get_texts()) == [*others, *named]
    looks = [(x.get_marker(), x.get_linestyle(), x.get_color()) for x in named.values()]
    assert all(len(set(look)) == len(named) > 1 for look in zip(*looks, strict=True))


@pytest.mark.parametrize(
    "name, said",
    [
        ("frontier", ["width (filled)", "weights (hollow)", "on the frontier, width (filled)"]),
        ("trained_and_random", ["trained weights (filled)", "random weights (hollow)"]),
        ("uptraining", ["mean", "first", "random", "MHA, not converted"]),
    ],
)
def test_a_legend_says_what_a_line_and_what_a_mark_is(name, said):
    figure = draw(name)
    looks = of_legend(figure)
    assert list(looks) == said
    shapes = [(marker, line) for marker, line, _ in looks.values()]
    assert len(set(shapes)) == len(shapes)
    (legend,) = figure.legends
    assert "mean of the seeds, line: lowest to highest" in legend.get_title().get_text()
    figure.draw_without_rendering()
    assert legend.get_window_extent().y1 <= min(x.get_tightbbox().y0 for x in figure.axes)


def test_a_colour_and_a_mark_are_one_g_in_all_pictures_of_the_trade():
    looks = dict(zip((8, 4, 2, 1), figures.parts.STYLES, strict=True))
    curves = {f"g = {g}": [[(0, 0.1), (9, g / 9)]] for g in looks}
    conversion = figures.uptraining(CONVERTED, SCRATCH, CONTROL)
    pictures = [figures.frontier(BYTES, QUALITY), figures.learning_curves(curves)]
    for figure in pictures:
        drawn = {(x.get_color(), x.get_marker()) for axes in figure.axes for x in axes.lines}
        assert {look[:2] for look in looks.values()} <= drawn
    for axes, g in zip(conversion.axes, CONVERTED, strict=True):
        (scratch,) = [x for x in axes.lines if list(x.get_xdata()) == [0, 1]]
        assert (scratch.get_color(), scratch.get_linestyle()) == looks[g][::2]
    of_ways = of_legend(conversion)
    assert of_ways["MHA, not converted"] == (looks[8][1], looks[8][2], looks[8][0])
    ways = [of_ways[way] for way in ("mean", "first", "random")]
    assert not {x for way in ways for x in way[::2]} & {
        x for look in looks.values() for x in look[:2]
    }


def test_the_frontier_shows_every_seed_at_its_bytes():
    figure = figures.frontier(BYTES, QUALITY)
    looks = dict(zip(BYTES, figures.parts.STYLES, strict=True))
    for axes, (panel, labels) in zip(figure.axes, QUALITY.items(), strict=True):
        assert axes.get_title(loc="left") == panel
        width, weights = labels.values()
        for g, x in BYTES.items():
            (left,) = assert_samples(drawn_samples(axes, looks[g]), [width[g]])
            assert x / 1.2 < left <= x
            if g < 8:  # at g = n both are one model
                (right,) = assert_samples(drawn_samples(axes, looks[g], False), [weights[g]])
                assert right / left > 1.1 and x <= right < x * 1.2
            else:
                assert not drawn_samples(axes, looks[g], filled=False)[0]
        assert (axes.get_xscale(), axes.get_ylim()) == ("log", (0, 1.1))
        assert axes.get_xticks().tolist() == list(BYTES.values())
        assert words(axes.get_xticklabels()) == [
            "512 B\ng = 8",
            "256 B\ng = 4",
            "128 B\ng = 2",
            "64 B\ng = 1",
        ]
        means = [figures.interval(of[g])[0] for of in (width, weights) for g in of]
        told = [f"{y:.2f}".removeprefix("0") for y in means]
        assert words(axes.texts) == told[:4] + told[5:]


def test_the_frontier_rings_what_no_other_beats():
    figure = figures.frontier(BYTES, QUALITY)
    for axes, (labels, on) in zip(
        figure.axes, zip(QUALITY.values(), ([8, 4, 2, 1], [4, 2, 1]), strict=True), strict=True
    ):
        rings = [x.get_xydata()[0].tolist() for x in axes.lines if x.get_markersize() == 20]
        width = labels["width"]
        assert [y for _, y in rings] == pytest.approx([figures.interval(width[g])[0] for g in on])
    title = "On the frontier: every g after 6 steps, only g = 1, 2 and 4 after 9 steps"
    assert figure.get_suptitle() == title and title in figure.alt
    for panel, labels in QUALITY.items():
        for label, of in labels.items():
            means = [f"g = {g} {figures.interval(of[g])[0]:.2f}" for g in (1, 2, 4, 8)]
            assert f"after {panel}, {label} {', '.join(means)}".replace(" 0.", " .") in figure.alt


def test_models_that_differ_at_n_are_drawn_apart():
    quality = copy.deepcopy(QUALITY)
    quality["6 steps"]["weights"][8] = seeds(0.8)
    axes = figures.frontier(BYTES, quality).axes[0]
    ((left, high),), ((right, low),) = (
        drawn_samples(axes, figures.parts.STYLES[0], filled)[0] for filled in (True, False)
    )
    assert right / left > 1.1 and (high, low) == pytest.approx((0.9, 0.8))


@pytest.mark.parametrize("mine", [None, MINE])
def test_every_seed_has_its_learning_curve(mine):
    (axes,) = figures.learning_curves(CURVES, mine).axes
    thin = [line for line in axes.lines if line.get_linewidth() < 1.4]
    assert [(x.get_label(), [*map(tuple, x.get_xydata().tolist())]) for x in thin] == [
        (label, run) for label, runs in CURVES.items() for run in runs
    ]
    assert len({(x.get_color(), x.get_linestyle()) for x in thin}) == len(CURVES)
    ends = [x.get_xydata().tolist() for x in axes.lines if x.get_linestyle() == "None"]
    assert [place for (place,) in ends] == [[60, pytest.approx(y)] for y in (0.95, 0.94, 0.35)]
    yours = {x.get_label(): x for x in axes.lines if x.get_linewidth() > 3}
    expected = {f"yours, {label}": run for label, (run,) in (mine or {}).items()}
    assert {k: [*map(tuple, x.get_xydata().tolist())] for k, x in yours.items()} == expected
    colour = {x.get_label(): x.get_color() for x in thin}
    assert all(x.get_color() == colour[label.split(", ")[1]] for label, x in yours.items())
    assert list(colour.values()) == [x[0] for x in figures.parts.STYLES[:3]]  # mine or not
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 60), (0, 1.05))


def test_curves_are_named_where_they_end_and_names_do_not_overlap():
    figure = figures.learning_curves(CURVES, MINE)
    (axes,) = figure.axes
    assert {t.get_text(): t.xy for t in axes.texts} == {
        "g = 8: .95": (60, 0.95), "g = 4: .94": (60, 0.94), "g = 1: .35": (60, pytest.approx(0.35)),
        "yours, g = 4: .93": (60, 0.93), "yours, g = 1: .25": (30, 0.25),
    }  # fmt: skip
    figure.draw_without_rendering()
    boxes = [t.get_bbox_patch().get_window_extent() for t in axes.texts]  # without their lines
    assert sum(box.x0 > axes.bbox.x1 for box in boxes) == 4
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))


@pytest.mark.parametrize(
    "worst, title",
    [
        (0.5, "After 60 steps g = 8 gets .95 right and g = 1 gets .40"),
        (1.5, "After 60 steps g = 1 gets .90 right and g = 4 gets .85"),
    ],
)
def test_learning_curves_say_who_got_furthest(worst, title):
    curves = copy.deepcopy(CURVES)
    curves["g = 1"][1][-1] = (60, worst)
    if worst > 1:
        curves["g = 8"][0][-1] = (60, 0.72)
        curves["g = 4"][0][-1] = (60, 0.76)
    figure = figures.learning_curves(curves)
    assert figure.axes[0].get_title(loc="left") == title
    assert title in figure.alt


def test_yours_are_told():
    alt = figures.learning_curves(CURVES, MINE).alt
    assert "yours, g = 4 .93 at step 60; yours, g = 1 .25 at step 30" in alt


def test_conversions_are_drawn_at_every_share():
    figure = figures.uptraining(CONVERTED, SCRATCH, CONTROL)
    looks = {x: (color, marker, line) for x, (marker, line, color) in of_legend(figure).items()}
    for axes, (g, methods) in zip(figure.axes, CONVERTED.items(), strict=True):
        assert axes.get_title(loc="left") == f"g = {g}"
        ways = methods | {"MHA, not converted": CONTROL}
        places = [
            assert_samples(drawn_samples(axes, looks[x]), list(of.values()))
            for x, of in ways.items()
        ]
        for share, at in enumerate(zip(*places, strict=True)):
            assert list(at) == sorted(set(at)) and all(abs(x - share) < 0.5 for x in at)
        level = figures.interval(SCRATCH[g])[0]
        across = [line.get_ydata() for line in axes.lines if list(line.get_xdata()) == [0, 1]]
        assert [list(y) for y in across] == [[level, level]]
        (band,) = axes.patches
        ends = min(SCRATCH[g]), max(SCRATCH[g])
        assert (band.get_bbox().y0, band.get_bbox().y1) == pytest.approx(ends)
        named = f"from scratch {level:.2f}".replace("0.", ".")
        assert {t.get_text(): t.xy[1] for t in axes.texts} == {named: level}
        assert words(axes.get_xticklabels()) == ["converted", "+5 %", "+10 %"]
        assert axes.get_ylim() == (0, 1.05)
        said = f"g = {g}: mean .30 → .40 → {0.5 + g / 20:.2f}".replace("0.", ".")
        assert said in figure.alt
    assert "random .11 → .12 → .13, from scratch .60" in figure.alt
    assert "MHA, not converted: .95 → .97 → .98." in figure.alt


def test_conversion_says_whose_mean_is_ahead_and_where():
    def of(*means):
        return {share: seeds(mean) for share, mean in zip((0, 0.05, 0.1), means, strict=True)}

    accuracy = {
        4: {"mean": of(0.3, 0.5, 0.7), "first": of(0.4, 0.5, 0.5), "random": of(0.1, 0.1, 0.1)},
        2: {"mean": of(0.3, 0.5, 0.7), "first": of(0.4, 0.5, 0.5), "random": of(0.1, 0.1, 0.1)},
        1: {"mean": of(0.3, 0.5, 0.501), "first": of(0.4, 0.5, 0.5), "random": of(0.1, 0.1, 0.1)},
    }
    figure = figures.uptraining(accuracy, SCRATCH, CONTROL)
    title = "Ahead as converted: “first” at every g; after 10 % uptraining: “mean” at g = 4 and 2"
    assert figure.get_suptitle() == title.replace("; ", ";\n") and title in figure.alt
    for g in (4, 2, 1):  # two digits apart is what one sees
        accuracy[g]["first"] = accuracy[g]["mean"]
    accuracy[1]["mean"] = of(0.2, 0.2, 0.6)
    title = "Ahead as converted: “first” at g = 1; after 10 % uptraining: “mean” at g = 1"
    assert title in figures.uptraining(accuracy, SCRATCH, CONTROL).alt
    same = {g: {name: of(0.5, 0.5, 0.5) for name in methods} for g, methods in accuracy.items()}
    title = "Ahead as converted: none; after 10 % uptraining: none"
    assert title in figures.uptraining(same, SCRATCH, CONTROL).alt


def test_diversity_is_drawn_for_trained_and_random_weights():
    figure = draw("trained_and_random")
    for axes, (label, of) in zip(figure.axes, DIVERSITY.items(), strict=True):
        assert axes.get_title(loc="left") == label
        assert axes.get_ylim() == (0, 1 if label == "distance" else pytest.approx(35.2))
        assert words(axes.get_xticklabels()) == ["1", "2", "4"]
        for i, (g, look) in enumerate(
            zip((1, 2, 4), reversed(figures.parts.STYLES[:3]), strict=True)
        ):
            for kind, filled in (("trained", True), ("random", False)):
                drawn = drawn_samples(axes, look, filled)
                (x,) = assert_samples(drawn, [of[kind][g]])
                assert 0 < (i - x if filled else x - i) < 0.3
    rank = figure.axes[1]
    bounds = [x.get_xydata().tolist() for x in rank.lines if x.get_linewidth() == 4]
    assert bounds == [[[i - 0.4, y], [i + 0.4, y]] for i, y in enumerate((8, 16, 32))]
    assert words(rank.texts) == ["3.6", "7", "10", "at most g·h"]
    assert words(figure.axes[0].texts) == ["0.4", "0.6", "0.8"]


def test_diversity_is_told():
    figure = draw("trained_and_random")
    assert figure.get_suptitle() == "A title" and "A title. Means, from g = 1 to 4, d" in figure.alt
    assert "distance: trained 0.4, 0.6, 0.8, random 0.91, 0.88, 0.9;" in figure.alt
    assert "rank: trained 3.6, 7, 10, random 8, 6.5, 3.1." in figure.alt


@pytest.mark.parametrize("context", [1, 3])
def test_the_roof_is_the_longer_of_reading_and_computing(context):
    measured, *given = steps(context)
    (axes,) = figures.roofline(measured, *given).axes
    roof = lines(axes)["least possible"]
    assert roof[:2] + roof[3:] == [
        [g, context * y] for g, y in ((1, 2.8), (2, 2.8), (4, 4), (8, 8))
    ]
    g, y = roof[2]
    assert y == pytest.approx(context * g)  # reading takes g ms at g
    assert g == pytest.approx(2.8 * (g / 2) ** math.log2(2.9 / 2.8))  # and so does computing
    (edge,) = [x.get_xdata()[0] for x in axes.lines if list(x.get_ydata()) == [0, 1]]
    assert edge == g
    for container, (label, of) in zip(axes.containers, measured.items(), strict=True):
        line, _, (ranges,) = container.lines
        every_g = sorted(of)
        assert container.get_label() == label
        assert line.get_xydata().tolist() == [[g, of[g][1]] for g in every_g]
        assert [ends[:, 1].tolist() for ends in ranges.get_segments()] == [
            pytest.approx([of[g][0], of[g][2]]) for g in every_g
        ]
    named = {t.get_text().strip(): t for t in axes.texts}
    assert set(named) == {"reading the cache", "computing", f"equal at g = {g:.2g}"}
    assert named["computing"].xy[0] < g < named["reading the cache"].xy[0]
    assert (axes.get_xscale(), axes.get_yscale(), axes.get_ylim()) == ("log", "log", (0.5, 60))
    assert words(axes.get_xticklabels()) == ["1", "2", "4", "8"]


def test_the_roofline_says_what_less_reading_brings():
    measured, *given = steps(2)
    figure = figures.roofline(measured, *given)
    title = "2 tokens: 8× less to read, ours 2.4× faster"
    assert figure.axes[0].get_title(loc="left") == title
    assert (
        f"{title}, from g = 8 to 1. Reading and computing take as long at g = 2.9. "
        "A dashed line: an empty call takes 1.4 ms. Milliseconds" in figure.alt
    )
    assert "g = 8, 4, 2, 1: ours 24, 16, 12, 10; theirs 24, 24, 24, 24." in figure.alt


def test_an_empty_call_has_a_line_only_if_it_is_given():
    def called(figure):
        return [x.get_ydata()[0] for x in figure.axes[0].lines if x.get_label() == "an empty call"]

    *given, _, limits = steps(2)
    assert called(figures.roofline(*given, 1.4, limits)) == [1.4]
    without = figures.roofline(*given, limits=limits)
    assert called(without) == [] and "empty" not in without.alt


@pytest.mark.parametrize(
    "flops, said",
    [({g: 0.1 for g in READING}, "reading the cache"), ({g: 9 for g in READING}, "computing")],
)
def test_a_roof_without_a_corner_has_one_name(flops, said):
    figure = figures.roofline(steps(1)[0], READING, flops, "x")
    assert words(figure.axes[0].texts) == [said]
    assert "as long" not in figure.alt
    assert len(lines(figure.axes[0])["least possible"]) == 4


def test_the_roof_and_its_names_have_room():
    measured, reading, computing, *_ = steps(1)
    measured = {f"a way to compute it {i}": measured["ours"] for i in range(4)}
    figure = figures.roofline(measured, reading, computing, "x")
    figure.draw_without_rendering()
    (axes,) = figure.axes
    assert min(t.get_window_extent().y0 for t in axes.texts) > axes.bbox.y0
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert len(legend.get_texts()) == 5 and box.x0 >= 0 and box.x1 <= figure.bbox.x1


def test_a_corner_may_stand_on_a_measured_g():
    figure = figures.roofline(steps(1)[0], READING, {g: 4.0 for g in READING}, "x")
    assert "equal at g = 4" in [t.strip() for t in words(figure.axes[0].texts)]


def test_whole_steps_are_tokens_a_second_between_what_is_possible_and_expected():
    measured, at_most, expected, title = users()
    figure = figures.whole_steps(measured, at_most, expected, title)
    (axes,) = figure.axes
    assert [c.get_label() for c in axes.containers] == [f"g = {g}, measured" for g in measured]
    looks = zip(axes.containers, measured.items(), figures.parts.STYLES, strict=False)
    for container, (g, of), (color, marker, _) in looks:
        line, _, (ranges,) = container.lines
        assert (line.get_color(), line.get_marker(), line.get_linestyle()) == (
            color,
            marker,
            "None",
        )
        by_users = sorted(of.items())
        assert line.get_xydata().tolist() == [
            [b, pytest.approx(1000 * b / ms)] for b, (_, ms, _) in by_users
        ]
        assert [ends[:, 1].tolist() for ends in ranges.get_segments()] == [
            pytest.approx([1000 * b / slow, 1000 * b / fast]) for b, (fast, _, slow) in by_users
        ]
        curves = {x.get_linestyle(): x.get_xydata().tolist() for x in axes.lines
                  if x.get_color() == color and x.get_linestyle() != "None" and len(x.get_xdata())}  # fmt: skip
        assert curves == {
            dashes: [[b, pytest.approx(y)] for b, y in sorted(lines[g].items())]
            for lines, dashes in ((at_most, ":"), (expected, "--"))
        }
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert words(axes.get_xticklabels()) == ["1", "4", "16", "64"]
    (legend,) = figure.legends
    labels = {f"g = {g}, measured" for g in measured}
    assert set(words(legend.get_texts())) == {"at most", "with an empty step"} | labels


def test_whole_steps_tell_what_one_user_and_what_many_gain():
    """16 users: as many as every g has."""
    figure = figures.whole_steps(*users())
    title = "A model: g = 1 is 2.2× as fast for one user, 1.6× for 16"  # 9.25 / 4.25 and 13 / 8
    assert figure.axes[0].get_title(loc="left") == title
    assert f"{title}, each against g = 8." in figure.alt
    assert "g = 8: 1 user 108, 4 users 400, 16 users 1,231; " in figure.alt
    assert "g = 2: 1 user 160, 4 users 571, 16 users 1,600, 64 users 2,909; " in figure.alt
    assert "g = 1: 1 user 235, 4 users 800, 16 users 2,000, 64 users 3,200." in figure.alt


def replaced(changed):
    """What `changes` is given if the word at `changed` is replaced: it and later words notice."""
    return (
        some(11) * (torch.arange(11) >= changed),
        (some(11) + 0.5) * (1 + changed / 50),
        [*"abcdefghijk"],
        changed,
    )


FLIPBOOKS = {
    "sees": [(causal(), WORDS, i) for i in range(4)],
    "changes": [replaced(i) for i in range(11)],
    "decoding": [(step, WORDS) for step in (1, 2, 3, 4)],
    "lookup": [
        (some(8, 8), right, ["colour", "wood", "handle", "lock", "size", "floor"], "A title")
        for right in ([0, 1, 2, 3, 4, 5], [0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 1, 1])
    ],
    "hero": [dial(g) for g in (1, 4, 16)],
    "roofline": [steps(context) for context in (1, 2, 4)],
    "outgrowing": [(users, 131072, 16 * 10**9, 8192, 38) for users in (1, 16, 32)],
}


@pytest.mark.parametrize("name", FLIPBOOKS)
def test_only_what_changes_moves(name):
    assert_only_what_changes_moves([drawn_of(name, x) for x in FLIPBOOKS[name]])


def test_likeness_in_the_dial_is_cosine_similarity():
    keys = dial(4)["keys"]
    torch.testing.assert_close(
        picture(figures.hero(**dial(4)).axes[2]),
        similarity(keys).repeat_interleave(4, 0).repeat_interleave(4, 1),
    )


def test_what_a_mask_hides_is_hatched_in_a_map():
    axes = figures.attention_map(torch.tensor([[1.0, 0], [0.5, 0.5]]), ["a", "b"], "A title").axes[
        0
    ]
    assert texts(axes) == {(0, 0): "1.00", (0, 1): ".50", (1, 1): ".50"}
    assert [p.get_hatch() for p in axes.patches] == ["////"]
