"""Every slide of every lesson, as a room sees it: on one screen, in large type, without a network."""

import pytest
from lessons import PATHS, read
from playwright.sync_api import expect

from makers.slides import __main__ as slides

from .lab import accessibility, new_page

SCREEN = {"width": 1280, "height": 720}
# What is wrong with the slide that is shown: text that is too small, and what is cut off.
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
def test_every_slide_fits_and_every_control_moves_by_keyboard(browser, tmp_path, path):
    notebook = slides.run(read(path), path.parent)
    file = tmp_path / f"{path.stem}.html"
    file.write_text(slides.page(notebook), encoding="utf-8")
    with new_page(browser) as page:
        page.set_viewport_size(SCREEN)
        page.context.set_offline(True)
        page.goto(file.as_uri())
        controls = page.locator(".control")
        expect(page.locator(".control[data-ready]")).to_have_count(controls.count())
        wrong = []
        for number in range(1, page.locator(".screen").count() + 1):
            expect(page.locator(".slide-number-a")).to_have_text(str(number))
            wrong += page.evaluate(LOOK) + unfold(page) + move(page)
            page.keyboard.press("PageDown")  # also where a slider has the focus
        wrong += in_both_themes(page)
        assert not wrong, "\n".join(wrong)
        assert page.locator(".control[data-moved]").count() == controls.count() > 0


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
    for slider in here.locator(".control input[type=range]").all():
        reach(page, slider)
        said = set()
        for key in ("End", "Home", "ArrowRight"):
            page.keyboard.press(key)
            said.add(slider.get_attribute("aria-valuetext"))
            wrong += page.evaluate(LOOK)
        assert len(said) >= 2
        slider.evaluate("slider => { slider.closest('.control').dataset.moved = true; }")
    for choices in here.locator(".control fieldset").all():
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
