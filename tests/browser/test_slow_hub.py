"""Lesson 06 on a hub that is far away, its kernel busy: what needs no Python needs no waiting."""

from statistics import median

import nbformat
import pytest
from lessons import ROOT, read
from playwright.sync_api import expect

from .lab import (
    BUSY,
    away,
    cell,
    flipbook,
    key_times,
    new_page,
    open_notebook,
    run_all,
    save_screenshot,
    shut_down_kernels,
    start_cell,
    turn_pages,
    type_into_cell,
)

LESSON = "06_grouped_query_attention"
THERE, BACK = 0.1, 0.1  # seconds that are added on the way
WAITS = "getComputedStyle(cell, '::after')"


@pytest.fixture(scope="module")
def lesson(browser, lab):
    """The lesson, run; then a cell more, which keeps the kernel busy."""
    (lab.folder / "stop").unlink(missing_ok=True)
    notebook = read(ROOT / "notebooks" / f"{LESSON}.ipynb")
    notebook.cells.append(nbformat.v4.new_code_cell(""))
    nbformat.write(notebook, lab.folder / "far.ipynb")
    with away(lab, THERE) as far, new_page(browser) as page:
        open_notebook(page, far, "far.ipynb")
        run_all(page)
        type_into_cell(page, -1, BUSY)
        start_cell(page, -1)
        expect(cell(page, -1).locator(".jp-InputPrompt")).to_have_text("[*]:")
        try:
            yield page
        finally:
            (lab.folder / "stop").touch()
        shut_down_kernels(lab)


def exercise(page):
    cells = page.locator(".jp-CodeCell").filter(has_text="def grouped_query_attention(q, k, v)")
    expect(cells).to_have_count(1)
    return cells


def said(cells):
    """What is said below a cell, if it can be seen."""
    style = cells.evaluate(f"cell => [{WAITS}.content, {WAITS}.visibility]")
    return style[0].strip('"') if style[1] == "visible" and style[0] != "none" else ""


def test_the_way_there_and_back_takes_that_long(lesson):
    asked = "async () => { const start = performance.now(); await fetch('/api'); return performance.now() - start; }"
    assert lesson.evaluate(asked) > 1000 * (THERE + BACK)


def test_every_picture_of_the_dial_is_there_at_once(lesson):
    book = flipbook(lesson)
    seen = turn_pages(book)
    assert len(set(seen)) == len(seen) == 6
    book.slider.press("Home")
    times = key_times(book.area, book.slider)
    assert median(times) < 1000 * (THERE + BACK)  # nothing was asked of anyone


def test_an_exercise_says_that_it_waits_and_then_answers(lesson, lab):
    """It says nothing while nothing waits; half a second is given before it speaks."""
    cells = exercise(lesson)
    cells.scroll_into_view_if_needed()
    assert said(cells) == ""
    cells.locator(".cm-content").click()
    lesson.keyboard.press("Control+Enter")
    expect(cells.locator(".jp-InputPrompt")).to_have_text("[*]:")
    lesson.wait_for_function(
        f"cell => {WAITS}.visibility === 'visible'", arg=cells.element_handle()
    )
    assert said(cells).startswith("Waiting for Python")
    assert "Interrupt Kernel" in said(cells)
    assert lesson.locator(".check-waits").count() == 1  # the busy cell is no exercise
    save_screenshot(lesson, "waiting")
    (lab.folder / "stop").touch()
    expect(cells.locator(".jp-InputPrompt")).not_to_have_text("[*]:")
    expect(cells.locator(".jp-OutputArea")).to_contain_text("Not started")
    assert said(cells) == "" and lesson.locator(".check-waits").count() == 0
