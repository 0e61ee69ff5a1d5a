"""Every slide of every lesson, as a room sees it: on one screen, in large type, without a network."""

import re

import pytest
from lessons import PATHS
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from playwright.sync_api import expect

from makers import alive
from makers.slides import __main__ as slides

from .lab import accessibility, new_page

SCREEN = {"width": 1280, "height": 720}
# What is wrong with the slide that is shown: what is cut off, and text or pictures that are too small.
LOOK = """() => {
  const here = [...document.querySelectorAll(".screen")].find((screen) => !screen.inert);
  const wrong = [];
  for (const e of here.querySelectorAll("*")) {
    const [box, style] = [e.getBoundingClientRect(), getComputedStyle(e)];
    if (!box.width || style.visibility === "hidden" || e.closest("aside")) continue;
    const what = `${e.tagName} ${e.textContent.trim().slice(0, 40)}`;
    if (box.left < -1 || box.top < -1 || box.right > innerWidth + 1 || box.bottom > innerHeight + 1)
      wrong.push(`off the screen: ${what}`);
    if (style.overflow !== "visible" && e.scrollWidth > e.clientWidth + 1) wrong.push(`cut: ${what}`);
    const scale = 2 * Math.min(box.width / e.naturalWidth, box.height / e.naturalHeight);
    if (scale < 0.8) wrong.push(`${scale.toFixed(2)} of its size in a notebook: ${e.alt.slice(0, 40)}`);
    const writes = [...e.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!writes) continue;
    const px = parseFloat(style.fontSize) * e.currentCSSZoom;
    const least = e.closest("math") ? 22 : 24; // the letter below a letter in an exponent
    if (px < least) wrong.push(`${px.toFixed(1)} px: ${what}`);
  }
  return wrong.map((words) => `${here.parentElement.id}: ${words}`);
}"""
HERE = ".screen:not([inert])"
CORNER = "empty-table-header"  # Markdown has no other cell for the corner of a table
ALL = """html, body, .reveal-viewport, .reveal, .slides, .slides section { display: block !important; position: static !important;
  opacity: 1 !important; visibility: visible !important; transform: none !important; zoom: 1 !important;
  height: auto !important; overflow: visible !important; }"""


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_slide_fits_and_every_control_moves_by_keyboard(browser, tmp_path, ran, path):
    notebook = ran(path)
    file = tmp_path / f"{path.stem}.html"
    file.write_text(slides.page(notebook), encoding="utf-8")
    with new_page(browser) as page:
        page.set_viewport_size(SCREEN)
        page.context.set_offline(True)
        page.goto(file.as_uri())
        controls = page.locator(".control")
        wrong = []
        for number in range(1, page.locator(".screen").count() + 1):
            expect(page.locator(".slide-number-a")).to_have_text(str(number))
            expect(page.locator(f"{HERE} .control:not([data-ready])")).to_have_count(0)
            wrong += page.evaluate(LOOK) + unfold(page) + move(page)
            page.keyboard.press("PageDown")  # also where a slider has the focus
        wrong += in_both_themes(page)
        assert not wrong, "\n".join(wrong)
        assert page.locator(".control[data-moved]").count() == controls.count() > 0


SLIDER = """\
from course_utils import widgets
widgets.Slider("K/V heads g", [1, 2, 4])"""


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """The address of a deck of three screens: words, a slider, words."""
    folder = tmp_path_factory.mktemp("slides")
    first = new_markdown_cell("# 77 · Three\n\nThis is said.\n\nThis is shown.")
    first.metadata.course = {"slide": {"say": ["This is said"]}}
    cells = [first, new_code_cell(SLIDER), new_markdown_cell("## The end")]
    for cell in cells:
        cell.metadata.slideshow = {"slide_type": "slide"}
    file = folder / "three.html"
    file.write_text(slides.page(alive.run(new_notebook(cells=cells), folder)), encoding="utf-8")
    return file.as_uri()


def test_space_is_next_and_arrows_move_a_slider_that_has_the_focus(browser, three):
    with new_page(browser) as page:
        page.goto(three)
        expect(page).to_have_title("77 · Three")
        number, slider = page.locator(".slide-number-a"), page.locator(f"{HERE} input")
        page.keyboard.press("Space")
        expect(number).to_have_text("2")
        reach(page, slider)
        page.keyboard.press("ArrowRight")
        expect(slider).to_have_attribute("aria-valuetext", "2")
        expect(number).to_have_text("2")
        page.keyboard.press("Space")
        expect(number).to_have_text("3")
        page.keyboard.press("PageUp")
        expect(slider).to_have_attribute("aria-valuetext", "2")  # as it was left


def test_a_second_window_has_what_to_say_and_keeps_step(browser, three):
    with new_page(browser) as page:
        page.goto(three)
        expect(page.get_by_text("This is said")).to_be_hidden()
        with page.context.expect_page() as opened:
            page.keyboard.press("s")
        own, number = opened.value, page.locator(".slide-number-a")
        expect(own.get_by_text("This is said")).to_be_visible()
        there = own.frame_locator("#current-slide iframe").locator(".slide-number-a")
        expect(there).to_have_text("1")
        own.keyboard.press("PageDown")
        expect(number).to_have_text("2")
        page.keyboard.press("PageDown")
        expect(there).to_have_text("3")


def test_paper_has_a_page_for_each_slide(browser, three):
    with new_page(browser) as page:
        page.goto(f"{three}?view=print")
        expect(page.locator(".pdf-page")).to_have_count(3)
        pdf = page.pdf(prefer_css_page_size=True)
        assert len(re.findall(rb"/Type\s*/Page\b", pdf)) == 3


def in_both_themes(page):
    """What axe finds wrong with all slides, one below the other."""
    page.add_style_tag(content=ALL)
    for name in ("inert", "hidden", "aria-hidden"):
        page.evaluate(
            "name => document.querySelectorAll(`.slides [${name}]`).forEach(e => e.removeAttribute(name))",
            name,
        )
    wrong = []
    for theme in ("light", "dark"):
        page.evaluate("theme => { document.documentElement.dataset.theme = theme; }", theme)
        passed, found = accessibility(page, ".slides")
        assert "color-contrast" in passed
        wrong += [f"{theme}: {words}" for words in found if not words.startswith(CORNER)]
    return wrong


def unfold(page):
    """Open every answer of a quiz, one after the other, and look."""
    wrong = []
    for fold in page.locator(f"{HERE} details").all():
        fold.evaluate("fold => { fold.open = true; }")
        wrong += page.evaluate(LOOK)
        fold.evaluate("fold => { fold.open = false; }")
    return wrong


def move(page):
    """Reach every control of a slide by Tab and move it from end to end; what is wrong then."""
    wrong, here = [], page.locator(HERE)
    for slider in here.locator(".control input[type=range]").locator("visible=true").all():
        reach(page, slider)
        said = set()
        for key in ("End", "Home", "ArrowRight"):
            page.keyboard.press(key)
            said.add(slider.get_attribute("aria-valuetext"))
            wrong += page.evaluate(LOOK)
        assert len(said) >= 2
        slider.evaluate("slider => { slider.closest('.control').dataset.moved = true; }")
    for choices in here.locator(".control fieldset").locator("visible=true").all():
        first = choices.locator("input").first
        reach(page, first)
        page.keyboard.press("Space")
        expect(first).to_be_checked()
        choices.evaluate("choices => { choices.closest('.control').dataset.moved = true; }")
    return wrong


def reach(page, element):
    """Press Tab until an element has the focus."""
    for _ in range(40):
        if element.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Tab")
    raise AssertionError("Tab does not reach a control")
