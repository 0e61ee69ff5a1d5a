"""Figures and flipbooks, on the kernel's side; what the browser does is in tests/browser."""

import base64
import gc
import weakref

import pytest
import torch
import traitlets
from matplotlib.figure import Figure

from course_utils import figures
from course_utils.figures.maps import looks
from course_utils.widgets.flipbook import Flipbook

WORDS = ["one", "key", "opens"]


def test_a_stored_figure_is_a_png_with_alt_text():
    figure = figures.Card(3, 2, alt="nothing yet")
    data, metadata = figure._repr_mimebundle_()
    assert base64.b64decode(data["image/png"]) == figures.png(figure)
    assert data["text/plain"] == "nothing yet" and len(data) == 2
    assert metadata["image/png"] == {"alt": "nothing yet", "width": 3 * figures.CSS_DPI}


def test_a_live_figure_has_its_alt_text_in_html(monkeypatch):
    monkeypatch.delenv("COURSE_OUTPUTS")
    figure = figures.Card(2, 1, alt='a < b & "c"')
    data, _ = figure._repr_mimebundle_()
    assert data["text/html"].startswith('<img alt="a &lt; b &amp; &quot;c&quot;" width="192" src=')
    assert data["text/plain"] == 'a < b & "c"'


@pytest.mark.parametrize(
    "weights, said",
    [
        ([[1, 0, 0], [0, 1, 0], [0, 0, 1]], "one looks most at one; key at key; opens at opens."),
        ([[0, 1, 0], [0, 1, 0]], "key looks most at key; opens at key."),
        ([[0.4, 0.4, 0.2]], "opens looks most at one, key."),
        ([[1 / 3] * 3] * 3, "Every word looks at all alike."),
    ],
)
def test_the_alt_text_of_a_map_says_what_it_shows(weights, said):
    assert looks(torch.tensor(weights), WORDS) == said


def test_equal_words_with_different_rows_are_both_told():
    weights = torch.tensor([[0.0, 1, 0], [0, 1, 0], [0, 0, 1]])
    assert looks(weights, ["a", "b", "a"]) == "a looks most at b; b at b; a at a."


def test_a_map_shows_the_weights_it_is_given():
    weights = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]], requires_grad=True)
    axes = figures.attention_map(weights, WORDS, "A title").axes[0]
    (image,) = axes.images
    assert torch.equal(torch.tensor(image.get_array()), weights)
    assert [t.get_text() for t in axes.get_xticklabels()] == WORDS  # keys
    assert [t.get_text() for t in axes.get_yticklabels()] == WORDS[1:]  # the last two are queries
    numbers = {t.get_position(): t.get_text() for t in axes.texts}
    assert numbers[(2, 0)] == ".20" and numbers[(1, 1)] == ".80"


def test_the_star_stands_at_the_weighted_average():
    values = torch.tensor([[0.0, 4], [8, 0], [8, 8]])
    figure = figures.weighted_average(torch.tensor([0.25, 0.5, 0.25]), values, WORDS)
    dots = [tuple(d.get_offsets()[0]) for d in figure.axes[0].collections]
    assert dots == [(0, 4), (8, 0), (8, 8), (6, 3)]


@pytest.mark.parametrize("n, g", [(8, 8), (8, 2), (6, 3), (4, 1), (18, 9)])
def test_query_head_i_is_wired_to_the_box_of_group_i_over_r(n, g):
    axes = figures.wiring(n, g).axes[0]
    boxes = {t.get_text(): t.get_position()[0] for t in axes.texts if t.get_text()[:1] in "qk"}
    assert sum(name.startswith("kv") for name in boxes) == g
    ends = [line.get_xdata() for line in axes.lines]
    assert [tuple(x) for x in ends] == [(i, boxes[f"kv{i // (n // g)}"]) for i in range(n)]


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="must be divisible by n_kv_heads"):
        figures.wiring(8, 3)


def test_a_map_needs_a_token_for_every_key():
    with pytest.raises(ValueError) as error:
        figures.attention_map(torch.eye(2), WORDS, "A title")
    assert str(error.value) == (
        "weights (2, 2) must be (t, s) with a token for each of the s keys; there are 3 tokens"
    )


@pytest.mark.parametrize("s", [1, 2, 15, 16, 40])
def test_a_map_of_any_length_keeps_its_title_inside(s):
    figure = figures.attention_map(
        torch.full((s, s), 1 / s), ["word"] * s, "A title of some length"
    )
    figure.draw_without_rendering()
    (title,) = [
        t for t in figure.findobj(lambda x: hasattr(x, "get_text")) if t.get_text()[:2] == "A "
    ]
    assert title.get_window_extent().x1 <= figure.bbox.x1


@pytest.mark.parametrize("weights", [[1.0, 0, 0], [1 / 3, 1 / 3, 1 / 3], [-1.0, 1, 1], [2.0, 2, 2]])
def test_any_weights_can_be_tried(weights):
    values = torch.tensor([[0.0, 4], [8, 0], [8, 8]])
    figure = figures.weighted_average(torch.tensor(weights), values, WORDS)
    assert figures.png(figure)


def draw(value):
    return figures.Card(2, 1, alt=f"number {value}")


def test_index_and_value_follow_each_other():
    book = Flipbook(draw, "K/V heads", [1, 2, 4, 8])
    assert (book.index, book.value) == (0, 1)
    for i, value in enumerate([1, 2, 4, 8]):
        book.value = value
        assert book.index == i
    for i in (2, 0, 3):
        book.index = i
        assert book.value == book.values[i]


def test_flipbooks_can_be_linked():
    first, second = Flipbook(draw, "a", [1, 2, 4]), Flipbook(draw, "b", [1, 2, 4])
    traitlets.link((first, "value"), (second, "value"))
    first.value = 4
    assert second.index == 2


def test_each_value_is_drawn_once_before_it_is_shown():
    drawn = []
    Flipbook(lambda x: drawn.append(x) or draw(x), "x", [3, 1, 2])
    assert drawn == [3, 1, 2]


def test_only_one_figure_of_a_flipbook_is_there_at_a_time():
    there, most = weakref.WeakSet(), []

    def drawing(value):
        gc.collect()
        most.append(len(there))
        there.add(figure := draw(value))
        return figure

    Flipbook(drawing, "x", [1, 2, 3, 4])
    assert max(most) <= 1


def test_alt_texts_are_the_figures_own_or_given():
    assert Flipbook(draw, "x", [1, 2]).alts == ["number 1", "number 2"]
    assert Flipbook(draw, "x", [1, 2], alt=lambda v: f"see {v}").alts == ["see 1", "see 2"]


def test_a_stored_flipbook_shows_its_picture_and_says_what_it_is():
    book = Flipbook(draw, "K/V heads", [1, 2])
    book.value = 2
    data, metadata = book._repr_mimebundle_()
    assert set(data) == {"image/png", "text/plain"}
    assert base64.b64decode(data["image/png"]) == book.frames[1]
    assert data["text/plain"] == "K/V heads: 1, 2. At 2: number 2"
    assert metadata["image/png"] == {"width": 192.0, "alt": "number 2"}


def test_a_live_flipbook_is_a_widget_with_the_picture_beside_it(monkeypatch):
    monkeypatch.delenv("COURSE_OUTPUTS")
    data, _ = Flipbook(draw, "K/V heads", [1, 2])._repr_mimebundle_()
    assert set(data) == {figures.WIDGET, "image/png", "text/plain"}


def test_ipywidgets_7_cannot_show_it_without_its_picture():
    assert Flipbook(draw, "x", [1])._ipython_display_ is None


def test_no_alt_text_is_an_error():
    with pytest.raises(ValueError) as error:
        Flipbook(lambda value: Figure(), "x", [1])
    assert str(error.value) == (
        "the figures have no alt text; give alt=, a function from value to words"
    )


def test_no_values_is_an_error():
    with pytest.raises(ValueError) as error:
        Flipbook(draw, "x", [])
    assert str(error.value) == "a flipbook needs at least one value; values is empty"


@pytest.mark.parametrize(
    "trait, wrong, text",
    [
        ("value", 3, "value is 3; it must be in [1, 2]"),
        ("index", 2, "index is 2; it must be from 0 to 1"),
        ("index", -1, "index is -1; it must be from 0 to 1"),
    ],
)
def test_a_wrong_position_is_an_error_and_changes_nothing(trait, wrong, text):
    book = Flipbook(draw, "x", [1, 2])
    with pytest.raises(traitlets.TraitError) as error:
        setattr(book, trait, wrong)
    assert str(error.value) == text
    assert (book.index, book.value) == (0, 1)
