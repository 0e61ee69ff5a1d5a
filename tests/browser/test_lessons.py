"""The lessons as a student meets them: JupyterLab in Chromium, a keyboard and a mouse."""

import shutil
from pathlib import Path

import nbformat
import pytest
from hub_server import serve

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
LESSONS = sorted(path.stem for path in (Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
HERO = "06_grouped_query_attention"


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


@pytest.mark.parametrize("name", LESSONS)
def test_every_flipbook_moves_and_everything_is_accessible(page, lab, name):
    open_notebook(page, lab, f"{name}.ipynb")
    run_all(page)
    assert not page.locator(".jp-OutputArea-output[data-mime-type*=error]").count()
    for i in range(page.locator(".flipbook").count()):
        seen = turn_pages(flipbook(page, i))
        assert len(set(seen)) == len(seen) > 1
    passed, wrong = accessibility(page, ".jp-OutputArea-output")
    assert not wrong, "\n".join(wrong)
    assert {"label", "color-contrast"} <= passed
    assert page.locator(".jp-OutputArea-output img:not([alt])").count() == 0


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_the_dial_of_lesson_06(page, lab, theme):
    open_notebook(page, lab, f"{HERO}.ipynb")
    use_theme(page, theme)
    run_all(page)
    book = flipbook(page)
    assert book.text.inner_text() == "8"
    for key, g, size in (("Home", 1, "0.125 GiB"), ("End", 32, "4 GiB"), ("", 8, "1 GiB")):
        if key:
            book.slider.press(key)
        else:
            book.slider.press("ArrowLeft")
            book.slider.press("ArrowLeft")
        said = book.picture.get_attribute("alt")
        assert said.startswith(f"{g} K/V head") and f"{g} of 32" in said and size in said
        book.area.scroll_into_view_if_needed()
        shown, whole = book.picture.bounding_box(), book.area.bounding_box()
        assert shown["height"] < 720 and shown["width"] <= whole["width"]
        save_screenshot(page, f"dial_{g}_{theme.split()[1].lower()}")


def test_lesson_05_says_what_a_right_answer_costs(page, lab):
    open_notebook(page, lab, "05_multi_query_attention.ipynb")
    run_all(page)
    exercise = tagged(lab, "05_multi_query_attention", "exercise:05.multi_query_attention")
    type_into_cell(page, exercise, EXPANDED)
    said = run_cell(page, exercise)
    assert "Passed" in said and "262,144 bytes, 8 × the 32,768 bytes of K" in said
    type_into_cell(page, exercise, FOLDED)
    said = run_cell(page, exercise)
    assert "Passed" in said and "no tensor on the way was larger than K" in said


def test_lesson_08_reads_a_model_of_the_hub(page, lab, tmp_path):
    name, gated = "HuggingFaceTB/SmolLM2-135M", "meta-llama/Meta-Llama-3-8B"
    for model in (name, gated):
        shutil.copytree(data_path("checkpoints", "doors-g32"), tmp_path / "hub" / model)
    with serve(tmp_path / "hub") as hub:
        hub.gated[gated] = {"a token that may"}
        open_notebook(page, lab, "08_inside_real_models.ipynb")
        start = (
            f"import os\nos.environ.update(HF_ENDPOINT='{hub.url}', HF_HOME='{tmp_path}/cache')\n"
        )
        type_into_cell(page, 2, start + cell(page, 2).locator(".cm-content").inner_text())
        run_all(page)
        choice = page.locator(".widget-dropdown select")
        choice.select_option(name)
        page.get_by_text(f"{name} · MHA, n = 32, g = 32, h = 16. Layer 0: 265.").wait_for()
        sent = hub.body_bytes
        cells = nbformat.read(lab.folder / "08_inside_real_models.ipynb", as_version=4).cells
        read = next(i for i, x in enumerate(cells) if x.source == "explorer.read()")
        run_cell(page, read)
        assert 264_960 <= hub.body_bytes - sent < 270_000  # 10 rows, a norm, k_proj, v_proj
        picture = cell(page, read).locator("img")
        assert "K after RoPE: 32 different maps" in picture.get_attribute("alt")
        save_screenshot(page, "lesson_08_hub")
        choice.select_option(gated)
        page.get_by_text(f"{gated} is gated: ask for access at {hub.url}/{gated}").wait_for()
