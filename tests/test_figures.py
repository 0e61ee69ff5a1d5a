"""The pictures of lessons 02 to 06 show the numbers they are given, and keep still in a flipbook."""

import io

import matplotlib.colors
import pytest
import torch
from PIL import Image

from course_utils import figures
from course_utils.attention import causal_mask, split_heads
from course_utils.diversity import similarity
from course_utils.geometry import Geometry

WORDS = ["one", "key", "opens", "many"]
ROWS = [
    {"study": "A", "benchmark": "x", "mha": "10.0", "mqa": "8.0", "gqa": "9.5"},
    {"study": "A", "benchmark": "y", "mha": "20.0", "mqa": "21.0", "gqa": ""},
    {"study": "B", "benchmark": "z", "mha": "5.0", "mqa": "", "gqa": "5.5"},
]
MODELS = [
    Geometry("mine", 2, 8, 8, 4, d_model=32, max_context=9),
    Geometry("yours", 2, 16, 8, 4, d_model=64, max_context=9),
    Geometry("theirs", 2, 16, 1, 4, d_model=64, max_context=9),
]


def causal(s=4):
    return (torch.arange(s * s).view(s, s) / 7).masked_fill(~causal_mask(s, s), -99).softmax(-1)


def hero(g, n=16):
    """The dial with keys, bytes and accuracies that name their g."""
    keys = torch.randn(g, 3, 5, generator=torch.Generator().manual_seed(g))
    every_g = [1, 2, 4, 8, 16]
    quality = {one: [one / 16, one / 32] for one in every_g}
    return figures.hero(n, keys, {one: one * 2**30 for one in every_g}, quality, "a model")


NUMBERS = torch.arange(24).view(2, 12)
FIGURES = {
    "appending": lambda: figures.appending([10, 100], [1.0, 10.0], [1.0, 1.0]),
    "cache_bars": lambda: figures.cache_bars(["a", "b"], [8000, 6000], [1000, 2000]),
    "changes": lambda: figures.changes(torch.eye(4)[2], torch.ones(4), WORDS, 2),
    "columns": lambda: figures.columns([NUMBERS], ["x"], "A title", 12, 4),
    "decoding": lambda: figures.decoding(3, WORDS),
    "found": lambda: figures.found([torch.eye(3), torch.zeros(3, 3)], ["a", "b"], WORDS[:3]),
    "hero": lambda: hero(4),
    "lookup": lambda: figures.lookup(torch.eye(4), [0, 0, 3], WORDS[:3], "A title"),
    "masks": lambda: figures.masks([causal_mask(2, 4), causal_mask(4, 4)], ["a", "b"]),
    "model_map": lambda: figures.model_map(MODELS, {"mine": (9, 9)}),
    "published": lambda: figures.published(ROWS),
    "sees": lambda: figures.sees(causal(), WORDS, 2),
    "spread": lambda: figures.spread({"a": [0.1, 0.2], "b": [0.5] * 9}, "A title", "x"),
}
every_figure = pytest.mark.parametrize("name", FIGURES)


def texts(axes):
    """The texts of an axes by the square or point they stand in."""
    return {
        tuple(map(round, t.get_position())): t.get_text()
        for t in axes.texts
        if t.get_transform() == axes.transData
    }


def colours(axes):
    """The colour of every square, by the place of its middle."""
    return {
        (round(p.get_x() + 0.5), round(p.get_y() + 0.5)): matplotlib.colors.to_hex(
            p.get_facecolor()
        )
        for p in axes.patches
    }


@every_figure
def test_it_is_drawn_at_twice_its_size_on_white_with_words(name):
    figure = FIGURES[name]()
    picture = Image.open(io.BytesIO(figures.png(figure))).convert("RGB")
    shown = figure.get_figwidth() * figures.CSS_DPI
    assert picture.width == pytest.approx(2 * shown, abs=1)
    assert picture.getpixel((0, 0)) == (255, 255, 255)
    assert len(figure.alt) > 40


@every_figure
def test_text_is_legible_and_inside(name):
    figure = FIGURES[name]()
    figure.draw_without_rendering()
    sizes = [x.get_fontsize() for x in figure.findobj(lambda x: hasattr(x, "get_fontsize"))]
    assert min(sizes) >= 11
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert drawn.x0 > -0.03 and drawn.y0 > -0.03
    assert drawn.x1 < width + 0.03 and drawn.y1 < height + 0.03


@every_figure
def test_it_leaves_what_it_is_given_and_is_the_same_twice(name):
    assert figures.png(FIGURES[name]()) == figures.png(FIGURES[name]())


@pytest.mark.parametrize("current", range(4))
def test_a_word_sees_its_own_row_and_nothing_behind_it(current):
    weights = causal()
    axes = figures.sees(weights, WORDS, current).axes[0]
    row = {place: text for place, text in texts(axes).items() if place[1] == current}
    assert row == {(j, current): f"{weights[current, j]:.2f}" for j in range(current + 1)}
    hatched = [p for p in axes.patches if p.get_hatch()]
    assert len(hatched) == sum(4 - i - 1 for i in range(current + 1))


def test_masks_are_drawn_as_they_are():
    given = [causal_mask(2, 4), ~causal_mask(4, 4)]
    for mask, axes in zip(given, figures.masks(given, ["a", "b"]).axes, strict=True):
        t, s = mask.shape
        drawn = [[int(texts(axes)[j, i]) for j in range(s)] for i in range(t)]
        assert drawn == mask.int().tolist()
        assert [x.get_text() for x in axes.get_yticklabels()] == [str(i) for i in range(s - t, s)]
        assert sum(bool(p.get_hatch()) for p in axes.patches) == (~mask).sum()


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6, 12])
def test_a_number_keeps_its_colour_wherever_it_goes(n):
    x = torch.arange(36).view(1, 3, 12)
    blocks = [x[0], *split_heads(x, n)[0], x.view(12, 3)]
    names = [str(i) for i in range(len(blocks))]
    panels = figures.columns(blocks, names, "A title", 12, 12 // n).axes
    for block, axes in zip(blocks, panels, strict=True):
        for i, row in enumerate(block.tolist()):
            for j, number in enumerate(row):
                head = number % 12 // (12 // n)
                assert texts(axes)[j, i] == str(number)
                assert colours(axes)[j, i] == figures.GROUPS[head % 8].lower()


@pytest.mark.parametrize("step", [1, 2, 4])
def test_work_is_counted_as_it_is_drawn(step):
    figure = figures.decoding(step, WORDS)
    without, cached = ([*texts(axes).values()] for axes in figure.axes)
    assert without.count("new") == cached.count("new") == step
    assert without.count("again") == cached.count("read") == step * (step - 1) // 2
    assert f"{len(without)} without a cache and {step} with one" in figure.alt


def test_changes_counts_the_words_that_notice():
    with_mask = torch.tensor([0.0, 0.3, 1, 1])
    assert (
        "1 of the 2 words before it notice" in figures.changes(with_mask, with_mask, WORDS, 2).alt
    )


def test_a_door_is_labelled_with_what_is_asked_about_it():
    figure = figures.lookup(torch.eye(4), [0, 0, 3], ["colour", "wood", "lock"], "A title")
    labels = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert labels == ["door 0\ncolour\nwood", "door 1\n", "door 2\n", "door 3\nlock"]
    assert (
        "head 0 looks most at door 0 (colour, wood); head 1 looks most at door 1 (not" in figure.alt
    )


def test_shares_are_drawn_for_every_model():
    shares = [torch.rand(3, 2), torch.rand(3, 2)]
    axes = figures.found(shares, ["a", "b"], ["wood", "lock"]).axes
    for share, panel in zip(shares, axes, strict=False):
        for (j, i), text in texts(panel).items():
            assert text == f"{share[i, j]:.2f}".removeprefix("0")


def test_published_differences_are_those_of_the_table():
    axes = figures.published(ROWS).axes[0]
    assert [t.get_text() for t in axes.texts] == ["+0.5", "−0.5", "−0.5"]  # B gqa, A mqa, A gqa
    marks = [line.get_xdata() for line in axes.lines if line.get_marker() in "^o"]
    assert [list(x) for x in marks if len(x)] == [[0.5], [-2.0, 1.0], [-0.5]]


def test_bars_are_as_long_as_the_caches():
    axes = figures.cache_bars(["a", "b"], [8000, 6000], [1000, 2000]).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [8, 1, 6, 2]
    assert [t.get_text().strip() for t in axes.texts] == [
        "MHA 8 kB", "MQA 1 kB, 8 times smaller", "MHA 6 kB", "MQA 2 kB, 3 times smaller",
    ]  # fmt: skip


def test_models_are_counted_by_kind():
    figure = figures.model_map(MODELS, {"mine": (9, 9)})
    assert figure.axes[0].get_title(loc="left") == "1 of 1 GQA models have 8 K/V heads"
    at = {tuple(map(tuple, c.get_offsets().tolist())) for c in figure.axes[0].collections}
    assert at == {((8.0, 8.0),), ((16.0, 8.0),), ((16.0, 1.0),)}


@pytest.mark.parametrize("g", [1, 2, 4, 8, 16])
def test_the_dial_shows_what_g_does(g):
    figure = hero(g)
    wires, _, alike, memory, quality = figure.axes[:5]
    lines = [line.get_xdata() for line in wires.lines]
    r = 16 // g
    assert [x[0] for x in lines] == list(range(16))
    assert [x[1] for x in lines] == [i // r * r + (r - 1) / 2 for i in range(16)]
    likeness = torch.tensor(alike.images[0].get_array())
    blocks = torch.block_diag(*[torch.ones(r, r)] * g).bool()
    torch.testing.assert_close(likeness[blocks], torch.ones(g * r * r))
    assert likeness[~blocks].numel() == 0 or likeness[~blocks].max() < 0.999
    filled = [bar for bar in memory.patches if not bar.get_hatch()]
    assert [bar.get_height() for bar in filled] == [g]
    less = f"\n{r}× less" if r > 1 else ""
    assert [t.get_text() for t in memory.texts] == [f"{g} GiB{less}"]
    assert [t.get_text() for t in quality.texts] == [f"{g * 3 / 64:.2f}"]


def test_the_key_maps_are_what_each_head_reads():
    keys = torch.randn(2, 3, 5)
    picture = torch.tensor(
        figures.hero(16, keys, {2: 2**30, 16: 2**33}, {2: [1.0]}, "a model")
        .axes[1]
        .images[0]
        .get_array()
    )
    for i in range(16):
        y, x = i // 8 * 5, i % 8 * 7  # three doors and five numbers, and a gap of two
        assert torch.equal(picture[y : y + 3, x : x + 5], keys[i // 8])


def test_only_what_changes_moves():
    places = []
    for g in (1, 4, 16):
        figure = hero(g)
        figure.draw_without_rendering()
        places.append([[round(x) for x in axes.bbox.bounds] for axes in figure.axes])
    assert places[0] == places[1] == places[2]


def test_likeness_in_the_dial_is_cosine_similarity():
    keys = torch.randn(4, 3, 5, generator=torch.Generator().manual_seed(4))
    drawn = torch.tensor(hero(4).axes[2].images[0].get_array())
    torch.testing.assert_close(
        drawn, similarity(keys).repeat_interleave(4, 0).repeat_interleave(4, 1)
    )


def test_what_a_mask_hides_is_hatched_in_a_map():
    axes = figures.attention_map(torch.tensor([[1.0, 0], [0.5, 0.5]]), ["a", "b"], "A title").axes[
        0
    ]
    assert texts(axes) == {(0, 0): "1.00", (0, 1): ".50", (1, 1): ".50"}
    assert [p.get_hatch() for p in axes.patches] == ["////"]
