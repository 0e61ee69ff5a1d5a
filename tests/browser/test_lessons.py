"""The lessons as a student meets them: JupyterLab in Chromium, solved, and some answers typed.

Each lesson is opened and run once, and all that is to be seen there is looked at in that page.
"""

import re
import shutil

import nbformat
import pytest
from hub_server import serve
from lessons import MOVE_EVERYTHING, PATHS, read, solve

from course_utils import data_path

from .lab import (
    accessibility,
    cell,
    flipbook,
    open_notebook,
    run_all,
    run_cell,
    save_screenshot,
    turn_pages,
    type_into_cell,
    use_theme,
)

RIGHT = """def attention(q, k, v):
    scores = q @ k.mT / q.shape[-1] ** 0.5
    weights = scores.softmax(dim=-1)
    return weights @ v, weights

result = checks.check("01.attention", attention)"""
NO_SCALE = RIGHT.replace(" / q.shape[-1] ** 0.5", "")
A_TYPO = RIGHT.replace("q.shape", "Q.shape")
EXPANDED = """def multi_query_attention(q, k, v):
    k, v = (x.expand(-1, q.shape[1], -1, -1) for x in (k, v))
    weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1)
    return weights @ v, weights

result = checks.check("05.multi_query_attention", multi_query_attention)"""
FOLDED = """def multi_query_attention(q, k, v):
    (b, n, t, h), s = q.shape, k.shape[2]
    weights = (q.reshape(b, 1, n * t, h) @ k.mT / h**0.5).softmax(dim=-1)
    return (weights @ v).reshape(b, n, t, h), weights.reshape(b, n, t, s)

result = checks.check("05.multi_query_attention", multi_query_attention)"""
NAMES = {path.stem[:2]: path.stem for path in PATHS}
OWN = ["00", "01", "05", "06", "08"]  # those with a test of their own


def tagged(lab, number, tag):
    """The index of the cell with this tag."""
    cells = nbformat.read(lab.folder / f"{NAMES[number]}.ipynb", as_version=4).cells
    return next(i for i, cell in enumerate(cells) if tag in cell.metadata.get("tags", []))


def open_lesson(page, lab, number):
    """Open a lesson, solved: before it is run it shows its pictures. Returns its cells as stored."""
    path = lab.folder / f"{NAMES[number]}.ipynb"
    notebook, start = read(path), read(path).cells
    page.solved = solve(notebook)
    notebook.cells.append(nbformat.v4.new_code_cell(MOVE_EVERYTHING))
    nbformat.write(notebook, path)
    open_notebook(page, lab, path.name)
    pictures = page.locator(".jp-OutputArea-output img")
    outputs = [o for c in start for o in c.get("outputs", [])]
    assert pictures.count() == sum("image/png" in o.get("data", {}) for o in outputs) > 0
    for i in range(pictures.count()):
        assert pictures.nth(i).evaluate("img => img.complete && img.naturalWidth") > 300
    assert page.get_by_text("Error displaying widget").count() == 0
    return start


def run_lesson(page):
    """Run all cells: exercises pass, every control and flipbook moves, everything is accessible."""
    run_all(page, timeout=300)
    assert not page.locator(".jp-OutputArea-output[data-mime-type*=error]").count()
    said = page.locator("[data-mime-type='application/vnd.jupyter.stdout']").all_inner_texts()
    assert sum("solved" in text.split() for text in said) == page.solved > 0
    assert int(re.search(r"moves: (\d+)", said[-1])[1]) >= 4  # over all values of all controls
    for i in range(page.locator(".flipbook").count()):
        seen = turn_pages(flipbook(page, i))
        assert len(set(seen)) == len(seen) > 1
    passed, wrong = accessibility(page, ".jp-OutputArea-output")
    assert not wrong, "\n".join(wrong)
    assert {"label", "color-contrast"} <= passed
    assert page.locator(".jp-OutputArea-output img:not([alt])").count() == 0


@pytest.mark.parametrize("number", sorted(NAMES.keys() - OWN))
def test_a_lesson_shows_its_pictures_and_moves_them(page, lab, number):
    open_lesson(page, lab, number)
    run_lesson(page)


def test_lesson_00_reports_moves_and_checks(page, lab):
    cells = open_lesson(page, lab, "00")
    run_lesson(page)
    page.get_by_text("Widgets: alive. Your browser drew this line and Python heard it.").wait_for()
    book = flipbook(page)
    book.slider.press("Home")
    book.slider.press("ArrowRight")
    assert book.text.inner_text() == "2"
    assert "8 query heads, 2 K/V heads: 4 to one" in book.picture.get_attribute("alt")
    exercise = tagged(lab, "00", "exercise:00.group_size")
    said = run_cell(page, exercise - 2).splitlines()  # the truth of the guess, and book.value
    assert said[0].endswith(" is 4.") and said[-1] == "2"
    start = cells[exercise].source
    type_into_cell(page, exercise, start)
    assert "Not started" in run_cell(page, exercise)
    type_into_cell(page, exercise, start.replace("...", "return n_heads / n_kv_heads"))
    assert "This is what you get with a float." in run_cell(page, exercise)
    type_into_cell(page, exercise, start.replace("...", "return n_heads // n_kv_heads"))
    assert "Passed" in run_cell(page, exercise)
    save_screenshot(page, "lesson_00")


def test_lesson_01_is_answered_by_keyboard(page, lab):
    open_lesson(page, lab, "01")
    answer = page.locator("summary", has_text="The spread of q·k grows like √h")
    why = page.get_by_text("A sum of h independent products has variance h")
    assert not why.is_visible()
    answer.focus()
    page.keyboard.press("Enter")
    why.wait_for()

    run_lesson(page)
    exercise = tagged(lab, "01", "exercise:01.attention")
    output = cell(page, exercise).locator(".jp-OutputArea-output")
    type_into_cell(page, exercise, A_TYPO)
    said = run_cell(page, exercise)
    assert "line: scores = q @ k.mT / Q.shape[-1] ** 0.5" in said
    assert "NameError: name 'Q' is not defined" in said
    type_into_cell(page, exercise, NO_SCALE)
    said = run_cell(page, exercise)
    assert "Not yet" in said and "This is what you get with no scale." in said
    save_screenshot(page, "lesson_01_exercise")
    first, second = (output.get_by_text(f"Hint {i} of 3") for i in (1, 2))
    assert first.is_visible() and not second.is_visible()
    first.focus()
    page.keyboard.press("Enter")
    second.wait_for()
    assert not output.get_by_text("Solution").is_visible()
    type_into_cell(page, exercise, RIGHT)
    assert "Passed" in run_cell(page, exercise)
    said = run_cell(page, exercise + 2)
    assert said.startswith("attention: yours") and said.endswith("equal to PyTorch? True")


def test_lesson_05_says_what_a_right_answer_costs(page, lab):
    open_lesson(page, lab, "05")
    run_lesson(page)
    exercise = tagged(lab, "05", "exercise:05.multi_query_attention")
    type_into_cell(page, exercise, EXPANDED)
    said = run_cell(page, exercise)
    assert "Passed" in said and "262,144 bytes, 8 × the 32,768 bytes of K" in said
    type_into_cell(page, exercise, FOLDED)
    said = run_cell(page, exercise)
    assert "Passed" in said and "no tensor on the way was larger than K" in said


def test_the_dial_of_lesson_06_in_both_themes(page, lab):
    open_lesson(page, lab, "06")
    run_lesson(page)
    book = flipbook(page)
    for theme in ("Dark", "Light"):
        use_theme(page, f"JupyterLab {theme}")
        for keys, g, size in (
            (["Home"], 1, "0.125 GiB"),
            (["End"], 32, "4 GiB"),
            (["ArrowLeft", "ArrowLeft"], 8, "1 GiB"),
        ):
            for key in keys:
                book.slider.press(key)
            said = book.picture.get_attribute("alt")
            assert said.startswith(f"{g} K/V head") and f"{g} of 32" in said and size in said
            book.area.scroll_into_view_if_needed()
            shown, whole = book.picture.bounding_box(), book.area.bounding_box()
            assert shown["height"] < 720 and shown["width"] <= whole["width"]
            save_screenshot(page, f"dial_{g}_{theme.lower()}")


def test_lesson_08_reads_a_model_of_the_hub(page, lab, tmp_path):
    name, gated = "HuggingFaceTB/SmolLM2-135M", "meta-llama/Meta-Llama-3-8B"
    for model in (name, gated):
        there = data_path("checkpoints", "doors", "doors-g32")
        shutil.copytree(there, tmp_path / "hub" / model)
    with serve(tmp_path / "hub") as hub:
        hub.gated[gated] = {"a token that may"}
        open_lesson(page, lab, "08")
        start = (
            f"import os\nos.environ.update(HF_ENDPOINT='{hub.url}', HF_HOME='{tmp_path}/cache')\n"
        )
        type_into_cell(page, 2, start + cell(page, 2).locator(".cm-content").inner_text())
        run_lesson(page)
        choice = page.locator(".widget-dropdown select")
        choice.select_option(name)
        page.get_by_text(f"{name} · MHA, n = 32, g = 32, h = 16. Layer 0: 265.").wait_for()
        before = len(hub.gets("model.safetensors", "cdn"))
        cells = nbformat.read(lab.folder / f"{NAMES['08']}.ipynb", as_version=4).cells
        read = next(i for i, x in enumerate(cells) if x.source == "explorer.read()")
        run_cell(page, read)
        ranges = [x[3]["range"] for x in hub.gets("model.safetensors", "cdn")[before:]]
        ends = [map(int, x.removeprefix("bytes=").split("-")) for x in ranges]
        assert sum(last + 1 - first for first, last in ends) == 264_960  # rows, norm, k_ and v_proj
        picture = cell(page, read).locator("img")
        assert "K after RoPE: 32 different maps" in picture.get_attribute("alt")
        save_screenshot(page, "lesson_08_hub")
        choice.select_option(gated)
        page.get_by_text(f"{gated} is gated: ask for access at {hub.url}/{gated}").wait_for()
