"""Slides with a kernel behind them, in the environment that make slides-live sets up for them."""

import os
import re

from lessons import ROOT
from playwright.sync_api import expect

from makers.slides import live

from .lab import new_page, serving, use_settings

PYTHON = ROOT / ".venv-live" / "bin" / "python"
# The slide that is shown; of a stack that is not, one is "present", too.
SLIDE = ".slides > section.present:not(.stack), .slides > section.present > section.present"
NAME = "06_grouped_query_attention.ipynb"


def test_a_flipbook_is_alive_and_its_arrow_keys_do_not_turn_the_slide(browser, tmp_path):
    folder = tmp_path / "slides"
    live.main("06", folder=folder)
    use_settings(tmp_path)
    program, own = (
        [PYTHON, "-m", "jupyterlab"],
        {"COURSE_PROGRESS": "off", "COURSE_OUTPUTS": "live"},
    )
    with serving(program, folder, tmp_path, os.environ | own) as lab, new_page(browser) as page:
        page.goto(f"{lab.url}/lab/tree/{NAME}?reset&token={lab.token}")
        status = page.locator("#jp-main-statusbar")
        expect(status).to_contain_text("| Idle", timeout=60_000)
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        expect(page.get_by_text("1. n = 32, g = 8.")).to_be_visible(timeout=120_000)  # the quiz
        expect(status).to_contain_text("| Idle", timeout=60_000)
        page.locator(".jp-Notebook .jp-Cell").first.click()
        page.locator("[data-command='RISE:preview']").first.click()
        deck = page.frame_locator(".jp-IFrame iframe")
        deck.locator(".flipbook[data-ready]").first.wait_for(state="attached", timeout=60_000)
        slide = deck.locator(SLIDE)
        slider = slide.locator("input[type=range]")
        for _ in range(20):
            if slider.count():
                break
            deck.locator("body").press("Space")
            page.wait_for_timeout(500)
        expect(slider).to_have_attribute("aria-valuetext", "8")
        slider.press("ArrowRight")
        expect(slider).to_have_attribute("aria-valuetext", "16")  # and the slide is the same
        alt = re.compile("^16 K/V heads for 32 query heads")
        expect(slide.locator(".flipbook-shown")).to_have_attribute("alt", alt)
        expect(slide.locator(".cm-editor:visible")).to_have_count(0)
        page.problems.clear()  # JupyterLab's own, with a jupyterlab_widgets of another version
