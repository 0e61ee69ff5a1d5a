"""Two lessons in the classic notebook, the front end of Colab's image: its widgets are as old."""

import shutil

import pytest
from browser.lab import flipbook, launch, new_page, save_screenshot, serving, turn_pages
from lessons import COLAB_BIN, PATHS
from playwright.sync_api import sync_playwright


@pytest.mark.parametrize("number", ["01", "06"])
def test_sliders_move_the_pictures(number, colab, wheel, tmp_path):
    (path,) = (path for path in PATHS if path.stem.startswith(number))
    shutil.copy(path, colab.content)
    shutil.copy(wheel, colab.content)
    with (
        serving([COLAB_BIN / "jupyter-notebook"], colab.content, tmp_path, colab.env) as classic,
        sync_playwright() as playwright,
        new_page(launch(playwright)) as page,
    ):
        page.goto(f"{classic.url}/notebooks/{path.name}?token={classic.token}")
        page.wait_for_function("window.Jupyter?.notebook?.kernel?.widget_manager", timeout=60_000)
        for _ in range(3):  # until it has asked for the widgets there are, and heard the answers
            page.evaluate(
                "() => new Promise(reply => Jupyter.notebook.kernel.execute('', {shell: {reply}}))"
            )
        page.evaluate("Jupyter.notebook.execute_all_cells()")
        page.wait_for_function(
            "Jupyter.notebook.get_cells().every(cell => cell.input_prompt_number !== '*')",
            timeout=120_000,
        )
        assert not page.locator(".output_error").count()
        assert page.locator(".flipbook").count() >= 1
        for i in range(page.locator(".flipbook").count()):
            book = flipbook(page, i)
            seen = turn_pages(book)
            assert len(set(seen)) == len(seen) > 1
            assert book.picture.evaluate("img => img.complete && img.naturalWidth") > 300
        save_screenshot(page, f"classic_{number}")
        page.problems[:] = [x for x in page.problems if "about:blank" not in x]  # fonts it misses
