import json
import os
import shutil
from pathlib import Path

import nbformat
import pytest
from filelock import FileLock
from lessons import read
from playwright.sync_api import sync_playwright

from makers import alive

from .lab import launch, new_page, running_lab, shut_down_kernels

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.fixture(scope="session")
def browser():
    with sync_playwright() as playwright:
        browser = launch(playwright)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def lab(tmp_path_factory):
    """JupyterLab over a copy of the lessons."""
    home = tmp_path_factory.mktemp("jupyter")
    folder = home / "notebooks"
    shutil.copytree(NOTEBOOKS, folder, ignore=shutil.ignore_patterns(".*"))
    with running_lab(folder, home) as lab:
        yield lab


@pytest.fixture(scope="session")
def ran(tmp_path_factory):
    """A function: the lesson at a path, run as for slides and site; by one process for all."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    (folder / "ran").mkdir(exist_ok=True)

    def of(path):
        kept = folder / "ran" / path.name
        with FileLock(f"{kept}.lock"):
            if not kept.exists():  # nbformat would sort what stands in order in a control's state
                kept.write_text(json.dumps(alive.run(read(path), path.parent)), encoding="utf-8")
            return nbformat.from_dict(json.loads(kept.read_text(encoding="utf-8")))

    return of


@pytest.fixture
def page(browser, lab):
    """A fresh page; the test fails if the browser reported an error, and its kernels end."""
    with new_page(browser) as page:
        yield page
        shut_down_kernels(lab)
