"""Sliders over a formula: by themselves on an empty page, and in JupyterLab with its kernel busy."""

import math
import random
from statistics import median, quantiles

import pytest
from playwright.sync_api import expect

from course_utils.cost import decode_bytes, decode_flop, step_time
from course_utils.widgets.roof import Roof
from course_utils.widgets.step import Step

from .bare import DARK, show
from .lab import (
    BUSY,
    accessibility,
    ask_python,
    cell,
    key_times,
    new_page,
    open_notebook,
    run_all,
    save_screenshot,
    shut_down_kernels,
    start_cell,
    use_theme,
    write_notebook,
)

MACHINES = {  # GB/s, Tflop/s in float32 and half, GB
    "this machine": (17.3, 0.0812, 0.031, 8),
    "M2 laptop": (100, 3.58, 3.58, 24),
    "T4": (320, 8.1, 65, 16),
    "A100": (2039, 19.5, 312, 80),
    "H100": (3350, 67, 989, 80),
    "H200": (4800, 67, 989, 141),
}
WIDGETS = pytest.mark.parametrize("widget", [Roof, Step])
MOVE = """moves => {  // by the sliders, as a reader does; the words after each move
    const sliders = document.querySelectorAll(".formula input");
    return moves.map(([slider, place]) => {
        sliders[slider].value = place;
        sliders[slider].dispatchEvent(new Event("input"));
        return document.querySelector(".formula-words").textContent;
    });
}"""
TEXTS = """() => [...document.querySelectorAll(".formula text")].map(text => {
    const { left, top, right, bottom } = text.getBoundingClientRect();
    const size = parseFloat(getComputedStyle(text).fontSize);
    return [text.textContent, left, top, right, bottom, size];
})"""


@pytest.fixture(scope="module")
def bare(browser):
    with new_page(browser) as page:
        yield page


def every_move(widget):
    """All values of all sliders, once in order and then as many at random: [(slider, place)]."""
    lengths = [len(control["values"]) for control in widget.controls.values()]
    moves = [(i, place) for i, n in enumerate(lengths) for place in range(n)]
    mixed = random.Random(0)
    for _ in range(600):
        i = mixed.randrange(len(lengths))
        moves.append((i, mixed.randrange(lengths[i])))
    return moves


@WIDGETS
def test_the_browser_says_what_python_says(bare, widget):
    one = widget(MACHINES)
    show(bare, one)
    moves = every_move(one)
    names = list(one.controls)
    for (i, place), words in zip(moves, bare.evaluate(MOVE, moves), strict=True):
        one.choose(**{names[i]: one.controls[names[i]]["values"][place]})
        assert words == one.words(), one.chosen
    assert bare.evaluate("model.get('chosen')") == one.chosen
    sliders = bare.get_by_role("slider")
    for i, (name, control) in enumerate(one.controls.items()):
        text = control["texts"][control["values"].index(one.chosen[name])]
        assert sliders.nth(i).get_attribute("aria-valuetext") == text
    assert one.words() in bare.get_by_role("img").get_attribute("aria-label")


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("n, per_element", [(8, 1), (32, 4), (128, 2)])
def test_the_dots_stand_at_the_least_time(bare, machine, n, per_element):
    roof = Roof(MACHINES, machine=machine, n=n, bytes=per_element)
    show(bare, roof)
    dots = bare.locator("circle").evaluate_all(
        "all => all.map(x => [+x.getAttribute('cx'), +x.getAttribute('cy')])"
    )
    ticks = dict(bare.locator("[text-anchor=end]").evaluate_all(
        "all => all.map(x => [x.textContent, x.getAttribute('y') - 5])"
    ))  # fmt: skip
    decade = ticks["0.1"] - ticks["1"]
    many = [2**k for k in range(n.bit_length())]
    assert len(dots) == len(many)
    c = roof.chosen
    for g, (x, y) in zip(many, dots, strict=True):
        size, flop = decode_bytes(g, 128, 4096, per_element), decode_flop(n, 128, 4096)
        ms = step_time(size, flop, c["bandwidth"], c["peak"])
        assert y == pytest.approx(ticks["1"] - decade * math.log10(ms), abs=0.1)
        way = math.log2(g) / math.log2(n)
        assert x == pytest.approx(dots[0][0] + way * (dots[-1][0] - dots[0][0]), abs=0.1)


STATES = [
    (Roof, {}), (Roof, {"machine": "H100", "bytes": 2}), (Roof, {"peak": 0.05, "n": 128}),
    (Roof, {"bandwidth": 10_000, "peak": 80, "bytes": 1}), (Roof, {"machine": "A100", "n": 8}),
    (Step, {}), (Step, {"machine": "this machine", "b": 512}), (Step, {"g": 4, "s": 131_072}),
    (Step, {"machine": "H200", "g": 2, "s": 1024, "b": 512, "bytes": 1}),
    (Step, {"machine": "M2 laptop", "g": 16, "b": 1, "s": 131_072}),
]  # fmt: skip


@pytest.mark.parametrize("width", [360, 700, 1100])
@pytest.mark.parametrize("widget, chosen", STATES)
def test_nothing_is_cut_or_lies_over_another(bare, widget, chosen, width):
    show(bare, widget(MACHINES, **chosen), width)
    stage = bare.locator(".formula svg").bounding_box()
    texts = bare.evaluate(TEXTS)
    for i, (text, left, top, right, bottom, size) in enumerate(texts):
        assert size >= 13
        assert stage["x"] <= left and right <= stage["x"] + stage["width"] + 0.5, text
        assert stage["y"] <= top and bottom <= stage["y"] + stage["height"] + 0.5, text
        for other, x0, y0, x1, y1, _ in texts[:i]:
            apart = right <= x0 or x1 <= left or bottom <= y0 + 3 or y1 <= top + 3
            assert apart, f"{text} lies over {other}"
    cut = "all => all.filter(x => x.scrollWidth > x.clientWidth).map(x => x.textContent)"
    assert bare.locator(".slider-name, .slider-text, body").evaluate_all(cut) == []


@pytest.mark.parametrize("colors", ["", DARK])
@WIDGETS
def test_axe_finds_nothing(bare, widget, colors):
    show(bare, widget(MACHINES), colors=colors)
    passed, wrong = accessibility(bare, "#widget")
    assert not wrong, "\n".join(wrong)
    assert {"label", "color-contrast", "svg-img-alt"} <= passed


@WIDGETS
def test_when_the_view_is_gone_it_hears_nothing(bare, widget):
    show(bare, widget(MACHINES))
    before = bare.locator(".formula-words").inner_text()
    bare.evaluate("end()")
    chosen = (widget(MACHINES, machine="H100", bytes=1)).chosen
    bare.evaluate("chosen => model.set('chosen', chosen)", chosen)
    assert bare.locator(".formula-words").inner_text() == before


SHOWN = f"""
from pathlib import Path
from course_utils.widgets import Roof, Step

machines = {MACHINES}
roof = Roof(machines)
roof"""


@pytest.fixture(scope="module")
def notebook(browser, lab):
    """One notebook: a roof, a step, a cell that can keep the kernel busy, a free cell."""
    write_notebook(lab, "formulas.ipynb", SHOWN, "step = Step(machines)\nstep", BUSY, "")
    (lab.folder / "stop").touch()
    with new_page(browser) as page:
        page.set_viewport_size({"width": 1300, "height": 1000})
        open_notebook(page, lab, "formulas.ipynb")
        run_all(page)
        yield page
        shut_down_kernels(lab)


def slider(page, name, i=0):
    return cell(page, i).get_by_role("slider", name=name, exact=True)


def words(page, i=0):
    return cell(page, i).locator(".formula-words")


def test_python_moves_the_picture_and_hears_of_moves(notebook):
    said = ask_python(notebook, "roof.choose(machine='A100', bytes=4, n=32); print(roof.words())")
    expect(words(notebook)).to_have_text(said)
    slider(notebook, "bandwidth").press("ArrowRight")
    expect(slider(notebook, "machine")).to_have_attribute("aria-valuetext", "your own")
    expect(slider(notebook, "bandwidth")).to_have_attribute("aria-valuetext", "2,500 GB/s")
    said = ask_python(notebook, "print(roof.chosen['machine'], roof.words())")
    assert said == f"your own {words(notebook).inner_text()}"


def test_a_busy_kernel_changes_nothing(notebook, lab):
    ask_python(notebook, "step.choose(machine='H100', g=8, b=1, s=8192, bytes=2)")
    expect(slider(notebook, "b · users", 1)).to_have_attribute("aria-valuetext", "1")
    (lab.folder / "stop").unlink()
    start_cell(notebook, 2)
    expect(cell(notebook, 2).locator(".jp-InputPrompt")).to_have_text("[*]:")
    seen = []
    try:
        notebook.evaluate(
            """() => { window.places = [];
            const users = document.querySelector(".formula input[aria-valuetext='1']");
            const look = () => { places.push(users.value); requestAnimationFrame(look); };
            look(); }"""
        )
        for _ in range(9):
            slider(notebook, "b · users", 1).press("ArrowRight")
            seen.append(words(notebook, 1).inner_text())
        assert len(set(seen)) == 9 and "each of 512 users" in seen[-1]
    finally:
        (lab.folder / "stop").touch()
    expect(cell(notebook, 2).locator(".jp-InputPrompt")).not_to_have_text("[*]:")
    assert ask_python(notebook, "print(step.words())") == seen[-1]
    places = [int(place) for place in notebook.evaluate("places")]
    assert places == sorted(places) and places[-1] == 9


@pytest.mark.parametrize("i, name, first", [(0, "bandwidth", "320 GB/s"), (1, "b · users", "1")])
def test_a_picture_follows_a_key_within_a_frame(notebook, i, name, first):
    ask_python(notebook, "roof.choose(machine='T4'); step.choose(b=1)")  # far from the last
    expect(slider(notebook, name, i)).to_have_attribute("aria-valuetext", first)
    times = key_times(notebook.locator(".formula-stage").nth(i), slider(notebook, name, i), 18)
    ninth = quantiles(times, n=10)[-1]
    print(f"{name}: key → picture: median {median(times):.1f} ms, p90 {ninth:.1f} ms")
    assert median(times) < 50


def test_the_notebook_does_not_hear_the_keys(notebook):
    there = "jupyterapp.shell.currentWidget.content"
    cell(notebook, 3).locator(".jp-InputPrompt").click()
    slider(notebook, "machine").focus()
    before = notebook.evaluate(f"[{there}.activeCellIndex, {there}.widgets.length]")
    for key in ("ArrowDown", "ArrowUp", "ArrowUp", *"abydd"):
        notebook.keyboard.press(key)
    assert notebook.evaluate(f"[{there}.activeCellIndex, {there}.widgets.length]") == before
    expect(slider(notebook, "machine")).to_be_focused()


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
@pytest.mark.parametrize("width", [700, 1100])
def test_it_is_accessible_in_both_themes(notebook, theme, width):
    try:
        notebook.set_viewport_size({"width": width, "height": 1200})
        use_theme(notebook, theme)
        ask_python(notebook, "roof.choose(machine='this machine', bytes=4); step.choose(b=32)")
        for i, name in enumerate(["roof", "step"]):
            cell(notebook, i).locator(".formula").scroll_into_view_if_needed()
            save_screenshot(notebook, f"{name}_{width}_{theme.split()[1].lower()}")
            passed, wrong = accessibility(notebook, ".jp-OutputArea-output")
            assert not wrong, "\n".join(wrong)
            assert {"label", "color-contrast"} <= passed
    finally:
        use_theme(notebook, "JupyterLab Light")
        notebook.set_viewport_size({"width": 1300, "height": 1000})


def test_it_works_on_when_its_kernel_is_dead(notebook, lab):
    shut_down_kernels(lab)
    before = words(notebook).inner_text()
    slider(notebook, "machine").press("End")
    expect(words(notebook)).not_to_have_text(before)
    expect(slider(notebook, "bandwidth")).to_have_attribute("aria-valuetext", "4,800 GB/s")
    notebook.problems.clear()  # JupyterLab's, which asks for the kernel that is gone
