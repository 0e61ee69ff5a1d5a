"""The pictures of lessons 02 to 06 show the numbers they are given, and keep still in a flipbook."""

import copy
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
    """What `hero` is given: keys, bytes and accuracies that name their g."""
    keys = torch.randn(g, 3, 5, generator=torch.Generator().manual_seed(g))
    every_g = [one for one in range(1, n + 1) if n % one == 0]
    quality = {one: [one / n, one / n / 2] for one in every_g}
    return n, keys, {one: one * 2**30 for one in every_g}, quality, "a model"


FIGURES = {
    "appending": ([10, 100], [1.0, 10.0], [2.0, 1.0]),
    "cache_bars": (["a", "b"], [8000, 6000], [1000, 2000]),
    "changes": (torch.tensor([0, 0, 0.7, 1.4]), some(4), WORDS, 2),
    "columns": ([torch.arange(24).view(2, 12)], ["x"], "A title", 12, 4),
    "decoding": (3, WORDS),
    "found": ([some(3, 3), torch.eye(3)], ["a", "b"], WORDS[:3]),
    "hero": dial(4),
    "lookup": (some(4, 4).tril(), [0, 0, 3], WORDS[:3], "A title"),
    "masks": ([causal_mask(2, 4), causal_mask(4, 4)], ["a", "b"]),
    "model_map": (MODELS, {"mine": (9, 9)}),
    "published": (ROWS,),
    "sees": (causal(), WORDS, 2),
    "spread": ({"a": [0.1, 0.2], "b": [0.5] * 9}, "A title", "x"),
}
every_figure = pytest.mark.parametrize("name", FIGURES)


def draw(name):
    return getattr(figures, name)(*copy.deepcopy(FIGURES[name]))


def plain(given):
    """What a figure is given as lists, dicts and numbers, which `==` compares."""
    if isinstance(given, dict):
        return {key: plain(x) for key, x in given.items()}
    if isinstance(given, list | tuple):
        return [plain(x) for x in given]
    return given.tolist() if isinstance(given, torch.Tensor) else given


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


def words(labels):
    return [label.get_text() for label in labels]


def picture(axes):
    return torch.tensor(axes.images[0].get_array())


def told(values):
    """The texts of a heat map of values: two digits in every cell."""
    cells = torch.cartesian_prod(*map(torch.arange, values.shape)).tolist()
    return {(j, i): f"{values[i, j]:.2f}".removeprefix("0") for i, j in cells}


@every_figure
def test_it_is_drawn_at_twice_its_size_on_white_with_words(name):
    figure = draw(name)
    picture = Image.open(io.BytesIO(figures.png(figure))).convert("RGB")
    shown = figure.get_figwidth() * figures.CSS_DPI
    assert picture.width == pytest.approx(2 * shown, abs=1)
    assert picture.getpixel((0, 0)) == (255, 255, 255)
    assert len(figure.alt) > 40


@every_figure
def test_text_is_legible_and_inside(name):
    figure = draw(name)
    figure.draw_without_rendering()
    sizes = [x.get_fontsize() for x in figure.findobj(lambda x: hasattr(x, "get_fontsize"))]
    assert min(sizes) >= 11
    drawn, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert drawn.x0 > -0.03 and drawn.y0 > -0.03
    assert drawn.x1 < width + 0.03 and drawn.y1 < height + 0.03


@every_figure
def test_it_leaves_what_it_is_given_and_is_the_same_twice(name):
    given = copy.deepcopy(FIGURES[name])
    first = getattr(figures, name)(*given)
    assert plain(given) == plain(FIGURES[name])
    assert figures.png(first) == figures.png(draw(name))


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
    for mask, name, axes in zip(given, names, figures.masks(given, names).axes, strict=True):
        t, s = mask.shape
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
    panels = figures.columns(blocks, names, "A title", 12, 12 // n).axes
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
        ([10, 50, 100], [1.0, 7.0, 40.0], [0.5, 0.9, 0.25], "1 to 40 ms, into the buffer: 0.5 to 0.25"),
        ([8, 16], [3.5, 2.0], [0.01, 6.0], "3.5 to 2 ms, into the buffer: 0.01 to 6"),
    ],
)  # fmt: skip
def test_milliseconds_are_drawn_and_said_as_they_were_measured(lengths, cat, buffer, said):
    figure = figures.appending(lengths, cat, buffer)
    (axes,) = figure.axes
    assert lines(axes) == {
        "torch.cat": [[*x] for x in zip(lengths, cat, strict=True)],
        "into the buffer": [[*x] for x in zip(lengths, buffer, strict=True)],
    }
    assert words(axes.get_xticklabels()) == [str(x) for x in lengths]
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert f"{lengths[0]} to {lengths[-1]} tokens" in figure.alt
    assert f"torch.cat: {said}" in figure.alt


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
    axes = figures.published(ROWS).axes[0]
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


@pytest.mark.parametrize("mqa, said", [("8.0", "A MQA −0.5"), ("13.0", "A MQA +2.0")])
def test_published_says_the_means_of_its_table(mqa, said):
    alt = figures.published([ROWS[0] | {"mqa": mqa}, *ROWS[1:]]).alt
    assert all(mean in alt for mean in (said, "A GQA −0.5", "B GQA +0.5"))
    assert "B MQA" not in alt  # nobody measured it


@pytest.mark.parametrize("row", [{}, {"mqa": "-40.0"}, {"gqa": "40.0"}])
def test_every_published_mark_lies_inside(row):
    axes = figures.published([ROWS[0] | row, *ROWS[1:]]).axes[0]
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
    assert named == {"mine, h = 4": ((8, 8), (9, 9)), "his, h = 4": ((16, 4), (9, -9))}
    assert "5 models" in figure.alt and "1 MHA" in figure.alt and "1 MQA" in figure.alt


@pytest.mark.parametrize("n, g", [*((16, g) for g in (1, 2, 4, 8, 16)), (4, 2), (12, 3)])
def test_the_dial_shows_what_g_does(n, g):
    wires, _, alike, memory, quality = figures.hero(*dial(g, n)).axes[:5]
    strands = [line.get_xdata() for line in wires.lines]
    r = n // g
    assert [x[0] for x in strands] == list(range(n))
    assert [x[1] for x in strands] == [i // r * r + (r - 1) / 2 for i in range(n)]
    likeness = picture(alike)
    blocks = torch.block_diag(*[torch.ones(r, r)] * g).bool()
    torch.testing.assert_close(likeness[blocks], torch.ones(g * r * r))
    assert likeness[~blocks].numel() == 0 or likeness[~blocks].max() < 0.999
    filled = [bar for bar in memory.patches if not bar.get_hatch()]
    assert [bar.get_height() for bar in filled] == [g]
    less = f"\n{r}× less" if r > 1 else ""
    assert words(memory.texts) == [f"{g} GiB{less}"]
    assert words(quality.texts) == [f"{g * 3 / 4 / n:.2f}"]


@pytest.mark.parametrize("n, g", [(16, 2), (12, 3), (4, 2)])
def test_the_key_maps_are_what_each_head_reads(n, g):
    keys = dial(g, n)[1]
    axes = figures.hero(*dial(g, n)).axes[1]
    drawn = picture(axes)
    expected = torch.full_like(drawn, float("nan"))
    for i in range(n):
        y, x = i // 8 * 5, i % 8 * 7  # three doors and five numbers, and a gap of two
        expected[y : y + 3, x : x + 5] = keys[i // (n // g)]
        assert axes.get_xlim()[1] > x + 5 and axes.get_ylim()[0] > y + 3
    torch.testing.assert_close(drawn, expected, rtol=0, atol=0, equal_nan=True)


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
}


@pytest.mark.parametrize("name", FLIPBOOKS)
def test_only_what_changes_moves(name):
    def places(figure):
        figure.set_dpi(2 * figures.CSS_DPI)  # as `png` draws it
        figure.draw_without_rendering()
        return [x.bbox.bounds for x in figure.axes], [x.axis() for x in figure.axes]

    (first, scales), *others = (places(getattr(figures, name)(*x)) for x in FLIPBOOKS[name])
    for other, same in others:
        torch.testing.assert_close(other, first, rtol=0, atol=0.5)  # half a pixel
        assert same == scales


def test_likeness_in_the_dial_is_cosine_similarity():
    keys = dial(4)[1]
    torch.testing.assert_close(
        picture(figures.hero(*dial(4)).axes[2]),
        similarity(keys).repeat_interleave(4, 0).repeat_interleave(4, 1),
    )


def test_what_a_mask_hides_is_hatched_in_a_map():
    axes = figures.attention_map(torch.tensor([[1.0, 0], [0.5, 0.5]]), ["a", "b"], "A title").axes[
        0
    ]
    assert texts(axes) == {(0, 0): "1.00", (0, 1): ".50", (1, 1): ".50"}
    assert [p.get_hatch() for p in axes.patches] == ["////"]
