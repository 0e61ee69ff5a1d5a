"""Progress and the class view as they are met: in JupyterLab, in both themes."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

from course_utils import record

from .lab import accessibility, cell, open_notebook, run_cell, start_cell, use_theme, write_notebook

TRY = """
import os
os.environ["COURSE_FOLDER"] = {folder!r}
from course_utils import checks, progress
checks.check("00.group_size", lambda n_heads, n_kv_heads: n_heads - n_kv_heads)
progress.show()"""


def hand_in(folder, i):
    """One more learner of a class, who has no scale in lesson 01."""
    entry = {"attempts": 1, "mistakes": {"no scale": 1}, "passed": None}
    entry |= {"first": record.now(), "last": record.now()}
    kept = record.blank() | {"learner": f"{i:08x}", "exercises": {"01.attention": entry}}
    (folder / f"progress-{i}.json").write_text(json.dumps(kept))


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_progress_is_shown_and_handed_in(page, lab, theme, tmp_path):
    """In a folder of its own: lessons solved in this JupyterLab leave their progress, too."""
    source = TRY.format(folder=str(tmp_path))
    write_notebook(lab, "progress.ipynb", source, "progress.export('Ada')")
    open_notebook(page, lab, "progress.ipynb")
    use_theme(page, theme)
    assert "nothing leaves this machine by itself" in run_cell(page, 0)
    alt = cell(page, 0).locator("img").last.get_attribute("alt")
    assert "00.group_size: " in alt and "exercises passed" in alt
    assert "the name Ada" in run_cell(page, 1)
    with page.expect_download() as saved:
        cell(page, 1).get_by_text("Download it").click()
    assert saved.value.suggested_filename == "progress-Ada.json"
    kept = record.read(Path(saved.value.path()))
    assert kept["name"] == "Ada" and kept["exercises"]["00.group_size"]["mistakes"]["a difference"]
    passed, wrong = accessibility(page, ".jp-Cell:nth-child(2) .jp-OutputArea-output")
    assert not wrong and {"color-contrast", "link-name"} <= passed


def test_a_running_class_is_redrawn_in_its_place(page, lab, tmp_path):
    hand_in(tmp_path, 1)
    source = (
        f"from course_utils import progress\nprogress.class_summary({str(tmp_path)!r}, every=1)"
    )
    write_notebook(lab, "class.ipynb", source)
    open_notebook(page, lab, "class.ipynb")
    start_cell(page, 0)
    picture = cell(page, 0).locator("img")
    told = "In the room now: no scale, {} of {}, in 01.attention."
    for i, who in ((1, "1 learner"), (2, "2 learners"), (3, "3 learners")):
        hand_in(tmp_path, i)
        first = told.format(i, who)
        page.wait_for_function(
            "first => [...document.querySelectorAll('.jp-OutputArea img')]"
            ".some(image => image.alt.startsWith(first))",
            arg=first,
            timeout=30_000,
        )
        expect(picture).to_have_count(1)
    page.evaluate("jupyterapp.commands.execute('notebook:interrupt-kernel')")
    expect(cell(page, 0).get_by_text("No longer updated.")).to_be_visible()
    expect(cell(page, 0).get_by_text("  no scale: 3 met it, 3 in it now:")).to_be_visible()
