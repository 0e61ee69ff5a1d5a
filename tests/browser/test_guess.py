"""Guesses as a reader makes them: by keyboard, in both themes, in a narrow window."""

import pytest
from playwright.sync_api import expect

from .lab import (
    accessibility,
    ask_python,
    cell,
    command,
    new_page,
    open_notebook,
    run_all,
    run_cell,
    save_screenshot,
    shut_down_kernels,
    use_theme,
    wait_for_notebook,
    write_notebook,
)

ASK = """\
from course_utils import questions
from course_utils.widgets import Guess, guess, truth
from course_utils.widgets.guess import said, told
said.clear(), told.clear()
asked = {
    "99.maps": {"ask": "different key maps with g = 8", "choices": ["1", "8", "32"]},
    "99.right": {"ask": "right with 2 K/V heads", "from": 0, "to": 100, "step": 5, "text": "{} %"},
}
questions.questions = lambda: asked
guess("99.maps")
guess("99.right")"""
MAPS, RIGHT = 'truth("99.maps", 8)', 'truth("99.right", 64)'


@pytest.fixture(scope="module")
def notebook(browser, lab):
    """One notebook for all tests here: it asks two guesses and tells their truths."""
    write_notebook(lab, "guess.ipynb", "%env COURSE_PROGRESS=off", ASK, MAPS, RIGHT, "")
    with new_page(browser) as page:
        open_notebook(page, lab, "guess.ipynb")
        run_all(page)
        yield page
        shut_down_kernels(lab)


@pytest.fixture
def page(notebook):
    """The notebook where nothing was guessed yet."""
    run_cell(notebook, 1)
    cell(notebook, 1).locator(".guess[data-ready]").nth(1).wait_for()
    return notebook


def option(page, text):
    group = cell(page, 1).get_by_role("group", name="different key maps with g = 8")
    return group.get_by_role("radio", name=text, exact=True)


def slider(page):
    return cell(page, 1).get_by_role("slider", name="right with 2 K/V heads")


def truths(page):
    return [run_cell(page, i).splitlines()[-1] for i in (2, 3)]


def test_left_alone_nothing_is_chosen_and_the_truth_is_truths(page):
    assert truths(page) == ["different key maps with g = 8: 8.", "right with 2 K/V heads: 64 %."]
    assert not any(option(page, text).is_checked() for text in ("1", "8", "32"))
    expect(slider(page)).to_have_attribute("aria-valuetext", "no guess yet")


def test_by_keyboard_and_still_there_after_a_reload(page):
    option(page, "1").focus()
    cells = page.locator(".jp-Cell").count()
    for key in (" ", "ArrowRight", "ArrowDown"):
        page.keyboard.press(key)
    expect(option(page, "32")).to_be_checked()
    for key in "abdd":  # commands of the notebook
        page.keyboard.press(key)
    page.keyboard.press("Tab")
    expect(slider(page)).to_be_focused()
    for key in ("ArrowRight", "ArrowRight", "PageUp", "Home", "ArrowRight"):
        page.keyboard.press(key)
    expect(slider(page)).to_have_attribute("aria-valuetext", "5 %")
    assert page.locator(".jp-Cell").count() == cells
    assert truths(page) == [
        "different key maps with g = 8: you said 32; the answer is 8.",
        "right with 2 K/V heads: you said 5 %; the answer is 64 %.",
    ]
    command(page, "docmanager:save")
    page.reload()
    wait_for_notebook(page, "guess.ipynb")
    expect(option(page, "32")).to_be_checked()
    expect(slider(page)).to_have_attribute("aria-valuetext", "5 %")


def test_a_slider_says_where_it_is_and_the_guess_is_where_it_is_let_go(page):
    box = slider(page).bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 9, y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 1, y, steps=5)
    expect(slider(page)).to_have_attribute("aria-valuetext", "100 %")
    page.mouse.move(box["x"] + box["width"] / 2, y, steps=5)
    page.mouse.up()
    said = slider(page).get_attribute("aria-valuetext")
    option(page, "8").click()
    assert truths(page) == [
        "different key maps with g = 8: you said 8; the answer is 8.",
        f"right with 2 K/V heads: you said {said}; the answer is 64 %.",
    ]
    assert 40 <= int(said.removesuffix(" %")) <= 60


def test_two_views_of_one_guess_go_together(page):
    ask_python(page, "control = Guess('99.maps')\ndisplay(control, control)")
    group = cell(page, -1).get_by_role("group")
    for chosen, other in [("8", "1"), ("1", "8")]:
        group.nth(0).get_by_role("radio", name=chosen, exact=True).click()
        expect(group.nth(1).get_by_role("radio", name=chosen, exact=True)).to_be_checked()
        expect(group.nth(1).get_by_role("radio", name=other, exact=True)).not_to_be_checked()
        expect(group.nth(0).get_by_role("radio", name=other, exact=True)).not_to_be_checked()


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
@pytest.mark.parametrize("width", [700, 1300])
def test_it_is_accessible_and_nothing_is_cut(page, theme, width):
    try:
        page.set_viewport_size({"width": width, "height": 800})
        use_theme(page, theme)
        option(page, "8").click()
        slider(page).press("PageUp")
        passed, wrong = accessibility(page, ".jp-OutputArea-output")
        assert not wrong, "\n".join(wrong)
        assert {"label", "color-contrast"} <= passed
        cut = "all => all.filter(x => x.scrollWidth > x.clientWidth + 1).map(x => x.textContent)"
        assert page.locator(".guess, .guess *").evaluate_all(cut) == []
        save_screenshot(page, f"guess_{width}_{theme.split()[1].lower()}")
    finally:
        use_theme(page, "JupyterLab Light")
        page.set_viewport_size({"width": 1400, "height": 1000})
