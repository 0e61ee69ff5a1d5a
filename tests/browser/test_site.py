"""The site as a stranger meets it: opened from the disk, without network, kernel or script of others."""

import json
import re
from types import SimpleNamespace
from urllib.parse import urlencode

import pytest
from bs4 import BeautifulSoup
from lessons import PATHS, printed
from nbconvert.filters import markdown2html
from playwright.sync_api import expect

from course_utils import widgets
from course_utils.figures import WIDGET
from makers import alive, publish
from makers.lessons import title
from makers.site import __main__ as site

from .lab import accessibility, new_page, turn_pages

STEMS = [path.stem for path in PATHS]
PAGES = ["index", *STEMS, "calculator", "run"]
lesson = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
MEGABYTE = 1_000_000
# What lies outside of the page's width, or is cut with no way to scroll it.
CUT = """() => [...document.querySelectorAll("article *")].filter((e) => {
  const box = e.getBoundingClientRect();
  const scrolls = e.closest("[tabindex='0'], .toc-drawer, .sidebar-drawer");
  return box.width && box.right > innerWidth + 1 && !scrolls;
}).map((e) => `${e.tagName} ${e.className} ${e.textContent.trim().slice(0, 50)}`)"""
WALK = """() => document.activeElement === document.body ? "" : (document.activeElement.dataset.met = "true")"""
NOT_MET = """() => [...document.querySelectorAll("article :is(input, summary, a[href], [tabindex='0'])")]
  .filter((e) => !e.dataset.met && e.checkVisibility({ visibilityProperty: true }) && e.tabIndex >= 0)
  .filter((e) => e.type !== "radio" || !document.querySelector(`[name="${e.name}"][data-met]`))
  .map((e) => e.outerHTML.slice(0, 90))"""


@pytest.fixture(scope="module")
def folder(ran, tmp_path_factory):
    folder = tmp_path_factory.mktemp("site") / "site"
    site.build({path.stem: ran(path) for path in PATHS}, folder)
    return folder


@pytest.fixture
def opened(browser, folder):
    """A function that opens a page from the disk, offline; returns when its controls live."""
    with new_page(browser) as page:
        page.context.set_offline(True)

        def of(name, place="", width=1400, theme="light"):
            page.set_viewport_size({"width": width, "height": 900 if width > 500 else 740})
            page.emulate_media(color_scheme=theme)
            page.goto("about:blank")  # an address that differs in its place alone loads nothing
            page.goto((folder / f"{name}.html").as_uri() + place)
            page.locator("html[data-alive]").wait_for(state="attached")
            return page

        yield of


def article(folder, name):
    return BeautifulSoup(
        (folder / f"{name}.html").read_text(encoding="utf-8"), "html.parser"
    ).article


def words(text):
    return re.findall(r"\w+", text)


@lesson
def test_all_prose_and_all_that_was_printed_is_on_the_page(folder, ran, path):
    page = article(folder, path.stem)
    there = {}
    for word in words(page.text):
        there[word] = there.get(word, 0) + 1
    _, published = publish.settings()
    for cell in ran(path).cells:
        if cell.cell_type == "markdown":
            shown = markdown2html(alive.drawn(site.linked(cell.source, published)))
            for word in words(BeautifulSoup(shown, "html.parser").text):
                there[word] = there.get(word, 0) - 1
    assert not [word for word, n in there.items() if n < 0]
    flat = " ".join(page.text.split())
    for cell in ran(path).cells:
        if cell.cell_type == "code":
            for line in filter(None, map(str.strip, printed(cell).splitlines())):
                if "yours has not passed" not in line:
                    assert " ".join(line.split()).rstrip(".") in flat, line


@lesson
def test_every_control_begins_as_the_lesson_left_it_with_every_picture(folder, ran, path):
    states, shown = alive.states(ran(path)), []
    for cell in ran(path).cells:
        for output in cell.get("outputs", []):
            name = output.get("data", {}).get(WIDGET, {}).get("model_id")
            there = name in states and "heard" not in states[name]
            shown += [states[name]] if there else []
    controls = article(folder, path.stem).select(".control")
    assert len(controls) == len(shown) > 0
    for control, state in zip(controls, shown, strict=True):
        kept = json.loads(control.find_next_sibling("script").text)
        assert kept.pop("code") == site.key(state["_esm"])
        frames = kept.get("frames", [])
        if frames:
            assert control.img["alt"] == state["alts"][state["index"]]
            frames[state["index"]] = {"base64": control.img["src"].partition(",")[2]}
        assert kept == {name: state[name] for name in kept}
        assert {"frames", "alts", "texts", "index", "chosen", "facts"} & state.keys() <= kept.keys()


def test_the_code_of_the_controls_is_that_of_the_notebooks(folder):
    script = (folder / "_static" / "controls.js").read_text(encoding="utf-8")
    for kind in (widgets.Flipbook, widgets.Guess, widgets.Calculator, widgets.Roof, widgets.Step):
        assert json.dumps(str(kind._esm), ensure_ascii=False) in script
        assert str(kind._css) in (folder / "_static" / "controls.css").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_small_and_asks_for_nothing_from_elsewhere(folder, name):
    text = (folder / f"{name}.html").read_text(encoding="utf-8")
    assert len(text.encode()) <= 3 * MEGABYTE
    page = BeautifulSoup(text, "html.parser")
    sources = [
        tag.get("src") or tag.get("href") for tag in page.select("script[src], link, img, iframe")
    ]
    assert sources and all(re.match(r"data:|[\w#]", x) and "://" not in x for x in sources)
    assert all(len(image["alt"]) > 5 for image in page.select("img"))
    for link in page.select("a[href]"):
        file, _, place = link["href"].partition("#")
        if re.match(r"https?:", file):
            continue
        assert not file or (folder / file).exists(), file
        if place and file and "=" not in place:  # a place of a slider is none in the text
            ids = {tag["id"] for tag in article(folder, file.removesuffix(".html")).select("[id]")}
            assert place in ids, link["href"]


@pytest.mark.parametrize("name", [*PAGES, "search"])
@pytest.mark.parametrize("width, theme", [(1400, "light"), (360, "dark")])
def test_it_is_readable_and_axe_finds_nothing(opened, name, width, theme):
    page = opened(name, "?q=absorbed" if name == "search" else "", width, theme)
    page.evaluate("document.querySelectorAll('details').forEach((x) => { x.open = true; })")
    page.wait_for_timeout(800)  # what unfolds fades in
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(CUT) == []
    passed, wrong = accessibility(page, "html")
    assert not wrong, "\n".join(wrong)
    assert {"color-contrast", "landmark-unique", "page-has-heading-one"} <= passed


@pytest.mark.parametrize("name", PAGES)
def test_tab_reaches_everything_and_every_control_moves(opened, name):
    page = opened(name)
    for _ in range(1000):
        page.keyboard.press("Tab")
        if not page.evaluate(WALK):
            break
    assert page.evaluate(NOT_MET) == []
    moved = 0
    for book in page.locator(".control.flipbook").all():
        slider = book.get_by_role("slider")
        alts = [x.get_attribute("alt") for x in book.locator("img").all()]
        seen = turn_pages(SimpleNamespace(slider=slider, picture=book.get_by_role("img")))
        assert seen == alts
        moved += 1
    for slider in (
        page.locator(".control:not(.flipbook) input[type=range]").locator("visible=true").all()
    ):
        if slider.get_attribute("max") == "0":
            continue  # of g, where n is 1 by now
        before = slider.get_attribute("aria-valuetext")
        slider.press("End")
        after = slider.get_attribute("aria-valuetext")
        slider.press("Home")
        assert len({before, after, slider.get_attribute("aria-valuetext")}) > 1
        moved += 1
    for choices in page.locator(".control .guess-options").all():
        choices.locator("input").last.check()
        expect(choices.locator("input:checked")).to_have_count(1)
        moved += 1
    assert moved or name == "run"


def test_without_a_script_the_pictures_are_there(browser, folder):
    context = browser.new_context(java_script_enabled=False, offline=True)
    page = context.new_page()
    page.goto((folder / "06_grouped_query_attention.html").as_uri())
    expect(page.get_by_alt_text("8 K/V heads for 32 query heads, 4 to one")).to_be_visible()
    expect(page.get_by_text("query head 4 reads K/V head: 0 / 1 / 2")).to_be_visible()
    context.close()


# ── addresses ───────────────────────────────────────────────────────────────────────────────────


def slider(page, name, i=0):
    return page.get_by_role("slider", name=name, exact=True).nth(i)


def place(page):
    return page.evaluate("decodeURIComponent(location.hash).replaceAll('+', ' ')")


def test_an_address_carries_the_place_of_a_slider(opened):
    page = opened("index", "#g=8")
    g = slider(page, "K/V heads g")
    expect(g).to_have_attribute("aria-valuetext", "8")
    expect(page.get_by_role("img", name="8 query heads, 8 K/V heads: 1 to one")).to_be_visible()
    g.press("ArrowLeft")
    page.wait_for_function("location.hash === '#g=4'")
    page.evaluate("location.hash = '#g=1'")
    expect(g).to_have_attribute("aria-valuetext", "1")
    page.evaluate("location.hash = '#g=5'")  # there is none: as on a fresh page
    expect(g).to_have_attribute("aria-valuetext", "2")
    g.press("ArrowRight")
    page.wait_for_function("location.hash === '#g=4'")
    g.press("ArrowLeft")  # where the page begins
    page.wait_for_function("location.hash === ''")


def test_an_address_leads_to_the_control_it_names(opened):
    page = opened("06_grouped_query_attention", "#released-in=2026")
    book = page.locator(".flipbook").nth(1)
    expect(book.get_by_role("slider")).to_have_attribute("aria-valuetext", "2026")
    expect(book).to_be_in_viewport()
    page = opened("06_grouped_query_attention", "#g=2")
    expect(page.locator(".flipbook").first).to_be_in_viewport()
    expect(slider(page, "K/V heads g")).to_have_attribute("aria-valuetext", "2")


ALL = "all => all.map((x) => x.getAttribute('aria-valuetext') ?? x.value)"


def stands(page):
    """What all controls of a page say, and all that follows from them."""
    told = page.locator(".control :is(input[type=range], input[type=number], .combobox-field)")
    cards = page.locator(".control :is(.formula-words, .calculator-card)").all_inner_texts()
    return told.evaluate_all(ALL), cards


@pytest.mark.parametrize(
    "i, name", [(0, "machine"), (0, "bandwidth"), (1, "machine"), (1, "b · users")]
)
def test_of_two_controls_with_the_same_names_each_is_found_again(opened, i, name):
    page = opened("09_where_the_speed_up_stops")
    before = stands(page)
    control = page.locator(".control.formula").nth(i)
    control.get_by_role("slider", name=name, exact=True).press("End")
    page.wait_for_function("location.hash.includes('=')")
    there = stands(page)
    assert there != before
    assert stands(opened("09_where_the_speed_up_stops", page.evaluate("location.hash"))) == there


def test_an_address_carries_what_the_calculator_shows(opened):
    asked = {"model": "Gemma-3 27B", "beside": "Qwen3-0.6B", "s": 131072, "b": 4, "pages": "all"}
    page = opened("calculator", f"#{urlencode(asked)}")
    calculator = widgets.Calculator()
    calculator.choose(**asked)
    shown = " ".join(page.locator(".calculator-card").inner_text().split())
    for line in BeautifulSoup(calculator.bill, "html.parser").stripped_strings:
        assert " ".join(line.split()) in shown
    slider(page, "s · tokens").press("ArrowLeft")
    page.wait_for_function("/[&]s=(?!131072)/.test(location.hash)")
    assert "model=Gemma-3 27B&beside=Qwen3-0.6B&pages=all" in place(page)


def own_heads(page):
    slider(page, "g · K/V heads").press("ArrowLeft")


def own_weights(page):
    page.get_by_label("weights, GB").fill("12.5")


def own_sizes(page):
    for name in ("n · query heads", "l · layers", "h · head width", "bytes per element"):
        slider(page, name).press("PageDown")


@pytest.mark.parametrize("model", ["Llama-3 8B", "Jamba-v0.1 52B"])
@pytest.mark.parametrize("move", [own_heads, own_weights, own_sizes])
def test_an_address_that_is_sent_shows_the_same(opened, move, model):
    page = opened("calculator", f"#{urlencode({'model': model})}")
    asked = page.evaluate("location.hash")
    move(page)
    page.wait_for_function("before => location.hash !== before", arg=asked)
    assert stands(opened("calculator", page.evaluate("location.hash"))) == stands(page)


def test_what_an_address_does_not_say_is_as_on_a_fresh_page(opened):
    page = opened("calculator", "#model=no-such-model&s=7&weights=x&pages=none&beside=your+own")
    fresh = stands(page)
    expect(page.locator(".calculator-card")).to_contain_text("Llama-3 8B")
    expect(page.locator(".calculator-bill")).to_have_count(1)
    page.evaluate("location.hash = '#beside=Qwen3-0.6B&s=131072'")
    expect(page.locator(".calculator-bill")).to_have_count(2)
    page.evaluate("location.hash = '#s=8192'")
    expect(page.locator(".calculator-bill")).to_have_count(1)
    assert stands(page) == fresh
    page.wait_for_timeout(500)
    assert place(page) == "#s=8192"  # whoever only follows an address writes none


# ── what answers ────────────────────────────────────────────────────────────────────────────────


def test_a_guess_unfolds_its_answer_and_says_both(opened):
    page = opened("06_grouped_query_attention")
    answer = page.locator(".truth").first
    expect(answer.locator("p")).to_be_hidden()
    page.locator(".guess").first.get_by_role("radio", name="2").check()
    expect(answer.locator("p")).to_have_text(
        "query head 4 reads K/V head: you said 2; the answer is 1."
    )
    page.locator(".guess").first.get_by_role("radio", name="1").check()
    expect(answer.locator("p")).to_contain_text("you said 1;")


def test_every_guess_has_its_answer(opened):
    for path in PATHS[1:]:
        page = opened(path.stem)
        asked = page.locator(".guess .slider-name").all_inner_texts()
        answers = page.locator(".truth").evaluate_all("all => all.map((x) => x.dataset.ask)")
        assert set(asked) <= set(answers), path.stem


def test_quizzes_and_hints_unfold_by_keyboard(opened):
    page = opened("06_grouped_query_attention")
    for name, inside in (("Hint 1 of 3", "Hint 2 of 3"), ("5", "No. That is 13 % 8")):
        fold = page.locator("summary").get_by_text(name, exact=True).first
        expect(page.get_by_text(inside).first).to_be_hidden()
        fold.press("Enter")
        expect(page.get_by_text(inside).first).to_be_visible()


def test_search_finds_a_word_and_leads_to_its_lesson(opened):
    page = opened("index")
    page.get_by_role("textbox", name="Search").fill("absorbed")
    page.keyboard.press("Enter")
    found = page.locator("#search-results a")
    expect(found.first).to_have_text("10 · Latent attention")
    found.first.click()
    expect(page).to_have_title(re.compile("Latent attention"))


def test_from_home_to_the_end_by_next_and_back(opened):
    page = opened("index")
    for name in PAGES[1:]:
        page.locator(".next-page").click()
        page.wait_for_url(f"**/{name}.html")
    page.locator(".prev-page").click()
    page.wait_for_url("**/calculator.html")


def test_all_pages_and_all_sections_are_in_the_two_tables(opened, ran):
    page = opened("06_grouped_query_attention")
    names = page.locator(".sidebar-tree a").all_inner_texts()
    assert [" ".join(x.split()) for x in names] == [
        *(title(ran(path)) for path in PATHS), "The calculator", "Run it yourself"
    ]  # fmt: skip
    sections = [h.removesuffix("¶") for h in page.locator("article h2").all_inner_texts()]
    assert page.locator(".toc-tree li li a").all_inner_texts() == [x.strip("#¶") for x in sections]


def test_the_theme_is_changed_by_keyboard_and_kept(opened):
    page = opened("index")
    paper = "getComputedStyle(document.body).backgroundColor"
    light, button = page.evaluate(paper), page.locator(".theme-toggle-content button")
    for _ in range(3):
        button.press("Enter")
        if page.evaluate("document.body.dataset.theme") == "dark":
            break
    dark = page.evaluate(paper)
    assert light != dark
    page.goto(page.url.replace("index", "run"))
    assert page.evaluate(paper) == dark
