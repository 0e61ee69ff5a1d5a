"""The flipbook as a reader meets it: in JupyterLab, with mouse, keyboard and screen reader."""

import pytest
from playwright.sync_api import expect

from .lab import (
    BUSY,
    accessibility,
    ask_python,
    cell,
    command,
    flipbook,
    new_page,
    open_notebook,
    run_all,
    shut_down_kernels,
    start_cell,
    use_theme,
    wait_for_notebook,
    write_notebook,
)

BOOK = """
from pathlib import Path
from course_utils.figures import Card
from course_utils.widgets.flipbook import Flipbook

def render(n_heads):
    card = Card(5, 2, alt="")
    card.add_subplot().bar(range(n_heads), 1)
    return card

book = Flipbook(render, "K/V heads g", [1, 2, 4, 8], alt=lambda g: f"{g} bars of the same height")
book"""
FIRST, SECOND, THIRD, LAST = (f"{g} bars of the same height" for g in (1, 2, 4, 8))


@pytest.fixture(scope="module")
def notebook(browser, lab):
    """One notebook for all tests here: a book, a second view of it, a busy cell, a free cell."""
    write_notebook(lab, "flipbook.ipynb", BOOK, "book", "", "")
    with new_page(browser) as page:
        open_notebook(page, lab, "flipbook.ipynb")
        run_all(page)
        shows(page, FIRST)
        yield page
        shut_down_kernels(lab)


@pytest.fixture
def page(notebook):
    """The notebook with the book at its first picture."""
    ask_python(notebook, "book.value = 1")
    expect(flipbook(notebook).picture).to_have_attribute("alt", FIRST)
    return notebook


def shows(page, alt, i=0):
    """Exactly one picture is exposed, this one; the slider and its text say the same."""
    book = flipbook(page, i)
    said = alt.split()[0]
    expect(book.picture).to_have_attribute("alt", alt)  # strict: fails if two are exposed
    expect(book.picture).to_be_visible()
    expect(book.text).to_have_text(said)
    expect(book.slider).to_have_attribute("aria-valuetext", said)


def test_keys_move_the_picture_and_python(page):
    flipbook(page).slider.focus()
    for key, alt in [
        ("ArrowRight", SECOND),
        ("ArrowUp", THIRD),
        ("ArrowLeft", SECOND),
        ("End", LAST),
        ("ArrowRight", LAST),
        ("ArrowDown", THIRD),
        ("Home", FIRST),
        ("End", LAST),
    ]:
        page.keyboard.press(key)
        shows(page, alt)
    assert ask_python(page, "print(book.value, book.index)") == "8 3"


def test_a_click_on_the_track_moves_the_picture_and_python(page):
    slider = flipbook(page).slider
    box = slider.bounding_box()
    slider.click(position={"x": box["width"] * 0.65, "y": box["height"] / 2})
    shows(page, THIRD)
    assert ask_python(page, "print(book.value)") == "4"


def test_a_drag_ends_where_the_mouse_is_let_go(page):
    box = flipbook(page).slider.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 8, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 8, y, steps=12)
    page.mouse.up()
    shows(page, LAST)
    assert ask_python(page, "print(book.value)") == "8"


def test_python_moves_the_picture(page):
    ask_python(page, "book.value = 8")
    shows(page, LAST)
    ask_python(page, "book.index = 1")
    shows(page, SECOND)
    assert ask_python(page, "print(book.value)") == "2"


def test_two_views_stay_in_step(page):
    flipbook(page, 1).slider.focus()
    page.keyboard.press("End")
    shows(page, LAST, 0)
    shows(page, LAST, 1)
    flipbook(page, 0).slider.focus()
    page.keyboard.press("ArrowLeft")
    shows(page, THIRD, 0)
    shows(page, THIRD, 1)


def test_the_next_picture_takes_the_place_of_the_last(page):
    area = flipbook(page).area
    before = area.bounding_box(), flipbook(page).picture.bounding_box()
    flipbook(page).slider.focus()
    page.keyboard.press("ArrowRight")
    shows(page, SECOND)
    assert (area.bounding_box(), flipbook(page).picture.bounding_box()) == before
    assert before[1]["width"] == 5 * 96  # a figure of five inches


def test_the_notebook_does_not_hear_the_keys(page):
    active = "jupyterapp.shell.currentWidget.content.activeCellIndex"
    cell(page, 2).locator(".jp-InputPrompt").click()
    flipbook(page).slider.focus()
    before = page.evaluate(active)
    # In command mode: select a cell, collapse a heading, insert above and below, delete, Markdown.
    for key in ("ArrowDown", "ArrowUp", "ArrowLeft", "j", "k", "a", "b", "d", "d", "m"):
        page.keyboard.press(key)
    assert page.evaluate(active) == before
    assert page.locator(".jp-CodeCell").count() == page.locator(".jp-Cell").count() == 4
    expect(flipbook(page).slider).to_be_focused()


def test_pictures_follow_while_the_kernel_is_busy(page, lab):
    (lab.folder / "stop").unlink(missing_ok=True)
    prompt = cell(page, 2).locator(".jp-InputPrompt")
    try:
        cell(page, 2).locator(".cm-content").fill(BUSY)
        start_cell(page, 2)
        expect(prompt).to_have_text("[*]:")
        flipbook(page).slider.focus()
        for key, alt in [("ArrowRight", SECOND), ("ArrowRight", THIRD), ("End", LAST)]:
            page.keyboard.press(key)
            shows(page, alt, 0)
            shows(page, alt, 1)
        page.keyboard.press("ArrowLeft")
        shows(page, THIRD)
        expect(prompt).to_have_text("[*]:")
    finally:
        (lab.folder / "stop").touch()
    expect(prompt).not_to_have_text("[*]:")
    assert ask_python(page, "print(book.value)") == "4"
    shows(page, THIRD)


def test_a_screen_reader_finds_a_named_slider_and_one_picture(page):
    flipbook(page).slider.press("ArrowRight")
    shows(page, SECOND)
    tree = flipbook(page).area.aria_snapshot()
    assert tree.count("- img") == 1 and f'- img "{SECOND}"' in tree
    assert '- slider "K/V heads g"' in tree


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_axe_finds_nothing_and_the_picture_is_a_white_card(page, theme):
    use_theme(page, theme)
    try:
        passed, wrong = accessibility(page, ".flipbook")
        assert not wrong, "\n".join(wrong)
        assert {"color-contrast", "image-alt", "label"} <= passed
        picture = flipbook(page).picture
        assert corner(picture) == [255, 255, 255, 255]
    finally:
        use_theme(page, "JupyterLab Light")


def corner(picture):
    """The colour of the picture's first pixel, as the browser decoded it."""
    return picture.evaluate(
        """image => {
            const canvas = new OffscreenCanvas(1, 1).getContext("2d");
            canvas.drawImage(image, 0, 0);
            return [...canvas.getImageData(0, 0, 1, 1).data];
        }"""
    )


def test_the_book_comes_back_after_a_reload(page):
    flipbook(page).slider.press("End")
    shows(page, LAST)
    command(page, "docmanager:save")
    page.reload()
    wait_for_notebook(page, "flipbook.ipynb")
    shows(page, LAST, 0)
    flipbook(page).slider.press("Home")
    shows(page, FIRST, 0)
    shows(page, FIRST, 1)
    assert ask_python(page, "print(book.value)") == "1"
