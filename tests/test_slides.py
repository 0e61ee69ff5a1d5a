"""The lessons cut into screens: nothing lost, no answer beside its question, no network needed."""

import re

import nbformat
import pytest
from lessons import PATHS, code, read

from makers.slides import __main__ as slides
from makers.slides import live
from makers.slides.deck import deck

LESSONS = {path.stem: read(path) for path in PATHS}
lesson = pytest.mark.parametrize("name", LESSONS)


def screens(notebook):
    """The cells of each screen of a deck; what is skipped is on none."""
    cut = []
    for cell in deck(notebook).cells:
        kind = cell.metadata.get("slideshow", {}).get("slide_type", "-")
        if kind == "skip":
            continue
        if kind in ("slide", "subslide") or not cut:
            cut.append([])
        cut[-1].append(cell)
    return cut


def words(cells):
    return sorted(" ".join(cell.source for cell in cells if cell.cell_type == "markdown").split())


@lesson
def test_all_prose_is_shown_or_said_and_all_code_can_be_run(name):
    notebook = LESSONS[name]
    shown = [cell for screen in screens(notebook) for cell in screen]
    assert words(shown) == words(notebook.cells)
    assert [c.source for c in code(deck(notebook))] == [c.source for c in code(notebook)]
    nbformat.validate(deck(notebook))


@lesson
def test_a_section_begins_a_slide_and_every_screen_says_where_it_belongs(name):
    for screen in screens(LESSONS[name]):
        first = screen[0]
        has_heading = bool(re.match("##? ", first.source))
        begins = first.metadata.slideshow.slide_type == "slide"
        assert has_heading <= begins  # and what leads to the next lesson has neither
        assert bool(first.metadata.course.foot) == (not begins)


@lesson
def test_no_answer_stands_on_the_screen_of_its_question(name):
    where = {"guess": {}, "truth": {}}
    for i, screen in enumerate(screens(LESSONS[name])):
        for call, question in re.findall(
            r'^ *(guess|truth)\("(.*?)"', "\n".join(c.source for c in code_of(screen)), flags=re.M
        ):
            where[call][question] = i
    assert all(where["truth"].get(x, 1000) > i for x, i in where["guess"].items())
    assert where["guess"]


def code_of(screen):
    return [cell for cell in screen if cell.cell_type == "code"]


@lesson
def test_what_moves_has_a_screen_of_its_own_without_its_code(name):
    for screen in screens(LESSONS[name]):
        moving = [cell for cell in code_of(screen) if "widgets." in cell.source]
        for cell in moving:
            assert cell.metadata.jupyter.source_hidden and not cell.metadata.jupyter.outputs_hidden
            assert code_of(screen) == [cell]


def test_words_that_begin_no_paragraph_are_refused():
    cell = nbformat.v4.new_markdown_cell("## One\n\nTwo three.\n\nTwo four.", id="here")
    for words in ("Six", "Two"):
        cell.metadata.course = {"slide": {"say": [words]}}
        with pytest.raises(ValueError, match=f"here: '{words}' begins [02] paragraphs"):
            deck(nbformat.v4.new_notebook(cells=[cell]))


def test_what_is_said_goes_to_the_notes_and_a_cut_begins_a_screen():
    cell = nbformat.v4.new_markdown_cell("## One\n\nTwo.\n\nThree.\n\nFour.", id="here")
    cell.metadata.slideshow = {"slide_type": "slide"}
    cell.metadata.course = {"slide": {"say": ["Two"], "cut": ["Four"]}}
    cells = deck(nbformat.v4.new_notebook(cells=[cell])).cells
    assert [(c.source, c.metadata.slideshow.slide_type, c.metadata.course.foot) for c in cells] == [
        ("## One", "slide", ""),
        ("Two.", "notes", "One"),
        ("Three.", "-", "One"),
        ("Four.", "subslide", "One"),
    ]


def test_formulas_are_drawn_by_the_browser_alone():
    drawn = slides.formulas(r"So $\sqrt h$ and $$\frac{a}{b}$$")
    assert drawn.count("<math") == 2 and "$" not in drawn
    assert "<msqrt><mi>h</mi></msqrt>" in drawn and 'display="block"' in drawn


@pytest.mark.parametrize("make", [slides.main, live.main])
def test_a_lesson_that_is_not_there_is_named_with_those_that_are(make, tmp_path):
    with pytest.raises(SystemExit, match="There is no lesson 77; there are 00, 01, "):
        make("77", folder=tmp_path)


def test_live_slides_are_the_same_deck(tmp_path, capsys):
    live.main("06", folder=tmp_path)
    written = read(next(tmp_path.glob("06*.ipynb")))
    assert written.metadata.rise
    assert written.cells == deck(LESSONS["06_grouped_query_attention"]).cells
    assert capsys.readouterr().out.strip().endswith("06_grouped_query_attention.ipynb")
