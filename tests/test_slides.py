"""The lessons cut into screens: nothing lost, no answer beside its question, no network needed."""

import json
import re
from functools import partial

import nbformat
import pytest
from lessons import PATHS, code, read
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from course_utils.figures import WIDGET
from makers import alive
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
    cell = new_markdown_cell("## One\n\nTwo three.\n\nTwo four.", id="here")
    for words in ("Six", "Two"):
        cell.metadata.course = {"slide": {"say": [words]}}
        with pytest.raises(ValueError, match=f"here: '{words}' begins [02] paragraphs"):
            deck(new_notebook(cells=[cell]))


def test_what_is_said_goes_to_the_notes_and_a_cut_begins_a_screen():
    cell = new_markdown_cell("## One\n\nTwo.\n\nThree.\n\nFour.\n\n## Five", id="here")
    cell.metadata.slideshow = {"slide_type": "slide"}
    cell.metadata.course = {"slide": {"say": ["Two"], "cut": ["Four", "## Five"]}}
    cells = deck(new_notebook(cells=[cell])).cells
    assert [(c.source, c.metadata.slideshow.slide_type, c.metadata.course.foot) for c in cells] == [
        ("## One", "slide", ""),
        ("Two.", "notes", "One"),
        ("Three.", "-", "One"),
        ("Four.", "subslide", "One"),
        ("## Five", "slide", ""),
    ]
    cell.metadata.course.slide.say = ["## One"]
    said, shown, *_ = deck(new_notebook(cells=[cell])).cells
    assert (said.metadata.slideshow.slide_type, shown.source) == ("notes", "Two.\n\nThree.")
    assert shown.metadata.slideshow.slide_type == "slide"  # the mark is for what is shown


def test_an_exercise_is_shown_without_what_it_has_put_out():
    cell = new_code_cell("...", metadata={"tags": ["exercise:06.maps"]})
    assert deck(new_notebook(cells=[cell])).cells[0].metadata.jupyter == {
        "source_hidden": False,
        "outputs_hidden": True,
    }


def test_formulas_are_drawn_by_the_browser_alone():
    drawn = alive.formulas(r"So $\sqrt h$ and $$\frac{a}{b}$$")
    assert drawn.count("<math") == 2 and "$" not in drawn
    assert "<msqrt><mi>h</mi></msqrt>" in drawn and 'display="block"' in drawn


@lesson
def test_every_formula_of_a_lesson_is_drawn(name):
    texts = [cell.source for cell in LESSONS[name].cells if cell.cell_type == "markdown"]
    assert not [text for text in texts if "$" in alive.drawn(text)]


def test_code_and_prices_are_no_formulas():
    text = "`a = b`, `$c$`, $5 and $6, $7-$8, a $ sign.\n\n```\na = b + $c$\n```"
    assert alive.drawn(text) == text
    assert "<math" in alive.drawn(f"{text} $c$")


@lesson
def test_marks_are_those_that_a_deck_knows(name):
    for cell in LESSONS[name].cells:
        own = cell.metadata.get("course", {}).get("slide", {})
        assert own.keys() <= ({"show"} if cell.cell_type == "code" else {"say", "cut"}), cell.id
        assert own.get("show", "both") in ("code", "output", "both", "each"), cell.id
        kind = cell.metadata.get("slideshow", {}).get("slide_type", "-")
        assert kind in ("slide", "subslide", "notes", "skip", "-"), cell.id


HOSTILE = "</title></script><!--<script>"


def hostile(*outputs, **marks):
    """A lesson whose words are those of a page, and a cell that has put these things out."""
    cell = new_code_cell("1", outputs=[*outputs], id="b", metadata={"course": {"slide": marks}})
    cells = [new_markdown_cell(f"# {HOSTILE}\n\n`{HOSTILE}`", id="a"), cell]
    for cell in cells:
        cell.metadata.slideshow = {"slide_type": "slide"}
    return new_notebook(cells=cells)


def test_what_a_lesson_says_does_not_end_the_parts_of_its_page():
    notebook = hostile(
        new_output("stream", text=HOSTILE),
        new_output("error", ename="ValueError", evalue="no", traceback=[f"\x1b[31m{HOSTILE}"]),
        new_output("display_data", {"text/plain": HOSTILE, WIDGET: {"model_id": "m"}}),
    )
    tags = r"</?title>|<script[^>]*>|</script>|<!--"
    (title, end, *rest), plain = re.findall(tags, slides.page(notebook)), slides.page(hostile())
    assert [title, end] == ["<title>", "</title>"] and [title, end, *rest] == re.findall(
        tags, plain
    )

    state = {"_esm": HOSTILE, "label": HOSTILE}
    notebook.metadata.widgets = {alive.STATE: {"state": {"m": {"state": state}}}}
    page = slides.page(notebook)
    assert re.findall(tags, page) == re.findall(tags, plain)
    assert json.loads(re.search(r'id="widgets">(.*?)</script>', page)[1]) == {"m": state}


def test_a_cell_shows_what_its_mark_says():
    outputs = [new_output("stream", text=text) for text in ("put out", "put out")]
    for show, sources, out, ids in (
        ("each", 0, 2, ["a", "b", "b-1"]),
        ("output", 0, 2, ["a", "b"]),
        ("code", 1, 0, ["a", "b"]),
        ("both", 1, 2, ["a", "b"]),
    ):
        page = slides.page(hostile(*outputs, show=show))
        assert re.findall('<section id="(.*?)">', page) == ids
        assert (page.count("hl-ipython3"), page.count("<pre>put out")) == (sources, out)


def test_links_lead_to_the_slides_of_the_next_lesson():
    notebook = hostile()
    notebook.cells[0].source += "\n\n[Next](77_next.ipynb)"
    assert '<a href="77_next.html">Next</a>' in slides.page(notebook)


def test_the_index_leads_to_what_is_made(tmp_path, monkeypatch):
    monkeypatch.setattr(slides, "run_lesson", read)
    monkeypatch.setattr(slides, "page", lambda notebook: "")
    for numbers, stems in ((["06"], ["06_grouped_query_attention"]), ([], LESSONS)):
        slides.main(*numbers, folder=tmp_path)
        index = (tmp_path / "index.html").read_text(encoding="utf-8")
        assert re.findall('href="(.*?)"', index) == [f"{stem}.html" for stem in stems]


@pytest.mark.parametrize("make", [slides.main, partial(slides.main, "06"), live.main])
def test_a_lesson_that_is_not_there_is_named_with_those_that_are(make, tmp_path):
    with pytest.raises(SystemExit, match="There is no lesson 77; there are 00, 01, "):
        make("77", folder=tmp_path)


def test_live_slides_are_the_same_deck(tmp_path, capsys):
    live.main("06", folder=tmp_path)
    written = read(next(tmp_path.glob("06*.ipynb")))
    assert written.metadata.rise
    assert written.cells == deck(LESSONS["06_grouped_query_attention"]).cells
    assert capsys.readouterr().out.strip().endswith("06_grouped_query_attention.ipynb")
