"""The lessons as a student meets them: JupyterLab in Chromium, a keyboard and a mouse."""

import nbformat
import pytest

from .lab import (
    accessibility,
    cell,
    flipbook,
    open_notebook,
    run_all,
    run_cell,
    save_screenshot,
    type_into_cell,
)

RIGHT = """def attention(q, k, v):
    scores = q @ k.mT / q.shape[-1] ** 0.5
    weights = scores.softmax(dim=-1)
    return weights @ v, weights

result = checks.check("01.attention", attention)"""
NO_SCALE = RIGHT.replace(" / q.shape[-1] ** 0.5", "")
A_TYPO = RIGHT.replace("q.shape", "Q.shape")
LESSONS = ["00_start_here", "01_self_attention"]


def tagged(lab, name, tag):
    """The index of the cell with this tag."""
    cells = nbformat.read(lab.folder / f"{name}.ipynb", as_version=4).cells
    return next(i for i, cell in enumerate(cells) if tag in cell.metadata.get("tags", []))


@pytest.mark.parametrize("name", LESSONS)
def test_before_it_is_run_a_lesson_shows_its_pictures(page, lab, name):
    open_notebook(page, lab, f"{name}.ipynb")
    pictures = page.locator(".jp-OutputArea-output img")
    stored = nbformat.read(lab.folder / f"{name}.ipynb", as_version=4)
    outputs = [o for c in stored.cells for o in c.get("outputs", [])]
    assert pictures.count() == sum("image/png" in o.get("data", {}) for o in outputs) > 0
    for i in range(pictures.count()):
        assert pictures.nth(i).evaluate("img => img.complete && img.naturalWidth") > 300
    assert page.get_by_text("Error displaying widget").count() == 0


def test_lesson_00_reports_moves_and_checks(page, lab):
    open_notebook(page, lab, "00_start_here.ipynb")
    run_all(page)
    page.get_by_text("Widgets: alive. Your browser drew this line and Python heard it.").wait_for()
    book = flipbook(page)
    book.slider.press("ArrowRight")
    assert book.text.inner_text() == "2"
    assert "8 query heads, 2 K/V heads: 4 to one" in book.picture.get_attribute("alt")
    exercise = tagged(lab, "00_start_here", "exercise:00.group_size")
    assert run_cell(page, exercise - 2) == "2"  # book.value
    start = cell(page, exercise).locator(".cm-content").inner_text()
    type_into_cell(page, exercise, start.replace("...", "return n_heads / n_kv_heads"))
    assert "This is what you get with a float." in run_cell(page, exercise)
    type_into_cell(page, exercise, start.replace("...", "return n_heads // n_kv_heads"))
    assert "Passed" in run_cell(page, exercise)
    save_screenshot(page, "lesson_00")


def test_lesson_01_the_slider_by_keyboard_and_mouse(page, lab):
    open_notebook(page, lab, "01_self_attention.ipynb")
    run_all(page)
    book = flipbook(page)
    seen = [book.picture.get_attribute("alt")]
    for _ in range(5):
        book.slider.press("ArrowRight")
        seen.append(book.picture.get_attribute("alt"))
    assert len(set(seen)) == 6 and book.text.inner_text() == "4"
    book.slider.press("Home")
    assert book.picture.get_attribute("alt") == seen[0]
    box = book.slider.bounding_box()
    page.mouse.click(box["x"] + box["width"] - 4, box["y"] + box["height"] / 2)
    assert book.picture.get_attribute("alt") == seen[-1]
    page.mouse.move(box["x"] + box["width"] - 8, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + 4, box["y"] + box["height"] / 2, steps=12)
    page.mouse.up()
    assert book.picture.get_attribute("alt") == seen[0]
    save_screenshot(page, "lesson_01_slider")


def test_lesson_01_the_exercise_is_failed_and_passed_by_typing(page, lab):
    open_notebook(page, lab, "01_self_attention.ipynb")
    run_all(page)
    exercise = tagged(lab, "01_self_attention", "exercise:01.attention")
    output = cell(page, exercise).locator(".jp-OutputArea-output")
    assert "Not started" in output.first.inner_text()
    type_into_cell(page, exercise, A_TYPO)
    said = run_cell(page, exercise)
    assert "line: scores = q @ k.mT / Q.shape[-1] ** 0.5" in said
    assert "NameError: name 'Q' is not defined" in said
    type_into_cell(page, exercise, NO_SCALE)
    said = run_cell(page, exercise)
    assert "Not yet" in said and "This is what you get with no scale." in said
    save_screenshot(page, "lesson_01_exercise")
    first, second = (output.get_by_text(f"Hint {i} of 4") for i in (1, 2))
    assert first.is_visible() and not second.is_visible()
    first.focus()
    page.keyboard.press("Enter")
    second.wait_for()
    assert not output.get_by_text("Solution").is_visible()
    type_into_cell(page, exercise, RIGHT)
    assert "Passed" in run_cell(page, exercise)
    assert run_cell(page, exercise + 2).endswith("yours: equal to PyTorch? True")


def test_lesson_01_the_quiz_explains_by_keyboard(page, lab):
    open_notebook(page, lab, "01_self_attention.ipynb")
    answer = page.locator("summary", has_text="The spread of q·k grows like √h")
    why = page.get_by_text("A sum of h independent products has variance h")
    assert not why.is_visible()
    answer.focus()
    page.keyboard.press("Enter")
    why.wait_for()


def test_lesson_01_is_accessible(page, lab):
    open_notebook(page, lab, "01_self_attention.ipynb")
    run_all(page)
    flipbook(page)
    passed, wrong = accessibility(page, ".jp-OutputArea-output")
    assert not wrong, "\n".join(wrong)
    assert {"image-alt", "label", "color-contrast"} <= passed
    unnamed = page.locator(".jp-OutputArea-output img:not([alt])")
    assert unnamed.count() == 0
