"""The first command of the README, as a stranger types it on a server, and what comes after it."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from lessons import read

from .lab import SETTINGS, command, new_page, run_cell, stop, type_into_cell, wait_for_notebook

ROOT = Path(__file__).parents[2]
ANSWER = """def group_size(n_heads, n_kv_heads):
    return n_heads // n_kv_heads  # mine

result = checks.check("00.group_size", group_size)"""


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    """What git would clone from here, set up with what is installed here; nothing is run yet."""
    home = tmp_path_factory.mktemp("stranger")
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, files.split("\0")):
        (home / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, home / "clone" / name)
    (home / "clone" / ".venv").symlink_to(sys.prefix)
    for name, settings in SETTINGS.items():
        path = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings))
    return home / "clone"


def make(clone, *arguments, **how):
    """`make` in the clone, where nothing is to be installed."""
    ours = ("MAKE", "COURSE_")
    env = {k: v for k, v in os.environ.items() if not k.startswith(ours)} | {
        "PYTHONPATH": str(clone),
        "JUPYTERLAB_WORKSPACES_DIR": str(clone.parent / "workspaces"),
        "JUPYTERLAB_SETTINGS_DIR": str(clone.parent / "settings"),
        "IPYTHONDIR": str(clone.parent / "ipython"),
    }
    command = ["make", "--old-file=.venv/.ready", *arguments]
    return subprocess.Popen(command, cwd=clone, env=env, text=True, **how)


def made(clone, *arguments):
    """What `make` prints when it has ended well."""
    process = make(clone, *arguments, stdout=subprocess.PIPE)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return said


@contextmanager
def make_lab(clone):
    """What `make lab` says, and in it the address to open, while it runs."""
    with tempfile.NamedTemporaryFile("w", dir=clone.parent, delete=False) as file:
        log = Path(file.name)
        options = "ARGS=--no-browser --expose-app-in-browser"
        server = make(clone, "lab", options, stdout=file, stderr=file, start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while not (urls := re.findall(r"http://127\.0\.0\.1:\S+", log.read_text())):
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield urls[0], log.read_text()
    finally:
        stop(server)


def exercise_in(path):
    """The index of a notebook's first exercise, and its cell."""
    tagged = enumerate(read(path).cells)
    return next((i, x) for i, x in tagged if "exercise" in str(x.metadata.get("tags")))


def notebooks_in(folder):
    return {path.name: path.read_bytes() for path in folder.glob("*.ipynb")}


def update(clone, *names):
    """The course with other words in these lessons, as git pull might bring it."""
    for name in names:
        path = clone / "notebooks" / f"{name}.ipynb"
        path.write_text(path.read_text().replace('"After this ', '"New. After this '))


def open_address(page, url, name):
    assert "token=" in url
    page.goto(f"{url}&reset", timeout=60_000)  # the server has only just begun
    page.get_by_role("heading", name="00 · Start here").wait_for(timeout=60_000)
    wait_for_notebook(page, name)


def test_a_copy_opens_is_written_in_and_the_course_is_updated_under_it(browser, clone):
    mine = clone / "my_lessons"
    first = mine / "00_start_here.ipynb"
    with make_lab(clone) as (url, said), new_page(browser) as page:
        assert "12 lessons are now in my_lessons, yours to write in." in said
        open_address(page, url, "my_lessons/00_start_here.ipynb")
        assert page.locator(".jp-OutputArea-output").count() == 0
        i, cell = exercise_in(first)
        made_from = read(first).metadata.course.made_from
        for j in (2, i):  # the set-up cell after the title and Colab's, then the exercise
            if j == i:
                type_into_cell(page, j, ANSWER)
            shown = run_cell(page, j)
        assert "00.group_size" in shown and "Passed" in shown
        command(page, "docmanager:save")
        saved = read(first)
        assert saved.metadata.course.made_from == made_from
        assert saved.cells[i].source == ANSWER and saved.cells[i].outputs
        assert saved.cells[i].metadata == cell.metadata and cell.metadata.course.stub
        update(clone, "00_start_here", "02_causal_attention")
        shown = run_cell(page, 4)  # environment.report()
        assert "12 of yours in my_lessons" in shown and "lessons 00 and 02 are newer" in shown
        page.get_by_role("link", name="Self-attention", exact=True).click()
        wait_for_notebook(page, "my_lessons/01_self_attention.ipynb")
    assert "00.group_size" in (mine / "progress.json").read_text()
    before = notebooks_in(mine)

    with make_lab(clone) as (url, said), new_page(browser) as page:
        newer = "Lessons 00 and 02 are newer in the course: make newer brings them beside yours"
        assert said.count(newer) == 1
        said = made(clone, "newer")
        assert "00_start_here_v2.ipynb in my_lessons: " in said
        assert "with your answers to 00.group_size" in said
        assert "02_causal_attention_v2.ipynb" in said and said.count("\n") == 3
        said = made(clone, "fresh", "LESSON=04")
        assert "04_kv_cache_v2.ipynb in my_lessons: lesson 04 as it begins." in said
        new = "my_lessons/00_start_here_v2.ipynb"
        open_address(page, url.replace("my_lessons/00_start_here.ipynb", new), new)
        assert page.locator(".jp-OutputArea-output").count() == 0
        page.get_by_text("# mine").wait_for()
        page.get_by_role("link", name="Causal attention", exact=True).click()
        wait_for_notebook(page, "my_lessons/02_causal_attention_v2.ipynb")
    after = notebooks_in(mine)
    assert before.items() <= after.items() and len(after) == len(before) + 3
