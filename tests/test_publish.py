"""One value names where the course is published; badges and set-up cells follow it, and go again."""

import os
import shutil
import subprocess
import sys

import nbformat
import pytest
from lessons import ROOT, code, read

import publish


@pytest.fixture
def copy(tmp_path):
    """What publishing changes, in a folder of its own."""
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    for name in ("README.md", "pyproject.toml", "publish.py", "Makefile"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def files(root):
    return {path: path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_published_and_back_nothing_has_changed(copy):
    publish.publish("", copy)
    before = files(copy)
    publish.publish("made-up/course.of-1@v1.2", copy)
    once = files(copy)
    assert {path.name for path in before if before[path] != once[path]} == {
        "README.md",
        "pyproject.toml",
        *(path.name for path in (ROOT / "notebooks").glob("*.ipynb")),
    }
    publish.publish("made-up/course.of-1@v1.2", copy)
    assert files(copy) == once
    publish.publish("", copy)
    assert files(copy) == before


def test_the_tree_is_stamped_as_pyproject_says(copy):
    before = files(copy)
    publish.stamp(copy)
    assert files(copy) == before


def test_published_every_lesson_opens_from_the_tag_and_installs_it(copy):
    publish.publish("owner/name@v1", copy)
    assert publish.settings(copy)[1] == "owner/name@v1"
    for path in (copy / "notebooks").glob("*.ipynb"):
        notebook = read(path)
        address = (
            f"https://colab.research.google.com/github/owner/name/blob/v1/notebooks/{path.name}"
        )
        title, badge = notebook.cells[0].source.splitlines()[:3:2]
        assert title.startswith("# ") and badge.endswith(f"]({address})")
        assert "git+https://github.com/owner/name@v1" in code(notebook)[0].source
    readme = (copy / "README.md").read_text()
    assert "### In Google Colab\n\n[![Open lesson 00 in Google Colab](" in readme


def test_a_notebook_without_its_set_up_cell_loses_nothing(copy):
    path = copy / "notebooks" / "01_self_attention.ipynb"
    notebook = read(path)
    code(notebook)[0].source = "print('mine')"
    nbformat.write(notebook, path)
    with pytest.raises(ValueError, match=r"01_self_attention.ipynb: copy the first code cell from"):
        publish.publish("owner/name@v1", copy)
    assert code(read(path))[0].source == "print('mine')"


def test_the_set_up_cell_is_three_lines():
    for published in ("", "owner/name@v1"):
        assert len(publish.set_up_cell("0.1.0", published).splitlines()) == 3


@pytest.mark.parametrize(
    "repository, tag, fault",
    [
        ("", "v1", "REPO is ''; it must be owner/name, as on GitHub"),
        ("name", "v1", "REPO is 'name'; it must be"),
        ("https://github.com/owner/name", "v1", "REPO is "),
        ("owner/name; rm", "v1", "REPO is "),
        ("owner/name", "", "TAG is ''; letters, digits, dots and dashes, as in TAG=v1"),
        ("owner/name", "v1$(x)", "TAG is 'v1$(x)'; letters"),
        ("owner/name", "-v1", "TAG is '-v1'; letters"),
    ],
)
def test_what_a_shell_or_github_would_not_take_as_it_is_is_refused(copy, repository, tag, fault):
    before = files(copy)
    command = [sys.executable, "publish.py", repository, tag]
    run = subprocess.run(command, cwd=copy, capture_output=True, text=True)
    assert run.returncode == 1 and run.stderr.startswith(fault)
    assert files(copy) == before


def make(folder, *arguments):
    """What `make publish` would run, as text."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    command = ["make", "--dry-run", "--old-file=.venv/.ready", "publish", *arguments]
    run = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=True)
    return run.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    "address, repository",
    [
        ("https://github.com/owner/name.git", "owner/name"),
        ("https://github.com/owner/my.name", "owner/my.name"),
        ("git@github.com:owner/name.git", "owner/name"),
        ("https://github.com/owner/name/", "owner/name"),
        ("https://example.invalid/owner/name.git", ""),  # Colab opens nothing from there
    ],
)
def test_make_reads_the_repository_from_its_remote(copy, address, repository):
    subprocess.run(["git", "init", "--quiet"], cwd=copy, check=True)
    subprocess.run(["git", "remote", "add", "origin", address], cwd=copy, check=True)
    assert make(copy, "TAG=v1").endswith(f'publish.py "{repository}" "v1"')
    assert make(copy, "TAG=v1", "REPO=a/b").endswith('publish.py "a/b" "v1"')
