"""One value names where the course is published; badges and set-up cells follow it, and go again."""

import os
import shutil
import subprocess
import sys

import nbformat
import pytest
from lessons import ROOT, code, read

from makers import publish


@pytest.fixture
def copy(tmp_path):
    """What publishing changes, in a folder of its own."""
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    for name in ("README.md", "pyproject.toml", "Makefile"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def files(root):
    return {path: path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def test_published_and_back_nothing_has_changed(copy):
    publish.publish("", copy)
    before = files(copy)
    publish.publish("made-up/course.of-1@v0.1.0", copy)
    once = files(copy)
    assert {path.name for path in before if before[path] != once[path]} == {
        "README.md",
        "pyproject.toml",
        *(path.name for path in (ROOT / "notebooks").glob("*.ipynb")),
    }
    publish.publish("made-up/course.of-1@v0.1.0", copy)
    assert files(copy) == once
    publish.publish("", copy)
    assert files(copy) == before


def test_the_tree_is_stamped_as_pyproject_says(copy):
    before = files(copy)
    publish.stamp(copy)
    assert files(copy) == before


def test_published_every_lesson_opens_from_the_tag_and_installs_it(copy):
    publish.publish("owner/name@v0.1.0", copy)
    assert publish.settings(copy)[1] == "owner/name@v0.1.0"
    for path in (copy / "notebooks").glob("*.ipynb"):
        notebook = read(path)
        address = (
            f"https://colab.research.google.com/github/owner/name/blob/v0.1.0/notebooks/{path.name}"
        )
        title, badge = notebook.cells[0].source.splitlines()[:3:2]
        assert title.startswith("# ") and f'<a href="{address}" target="_parent">' in badge
        assert "git+https://github.com/owner/name@v0.1.0" in code(notebook)[0].source
        page = f"https://owner.github.io/name/{path.stem}.html"
        assert f'<a href="{page}" target="_parent">' in badge
    readme = (copy / "README.md").read_text()
    assert '## In Google Colab\n\n<a href="https://colab.research.google.com/github/own' in readme
    assert "## In ten seconds\n\n[Move the slider](https://owner.github.io/name/)" in readme


@pytest.mark.parametrize(
    "published, address",
    [
        ("owner/name@v0.1.0", "https://owner.github.io/name/"),
        ("Owner/My.Course@v0.1.0", "https://owner.github.io/My.Course/"),
        ("owner/owner.github.io@v0.1.0", "https://owner.github.io/"),
    ],
)
def test_the_pages_are_where_github_shows_them(published, address):
    assert publish.pages(published) == address


def test_a_notebook_without_its_set_up_cell_loses_nothing(copy):
    path = copy / "notebooks" / "01_self_attention.ipynb"
    notebook = read(path)
    code(notebook)[0].source = "print('mine')"
    nbformat.write(notebook, path)
    with pytest.raises(ValueError, match=r"01_self_attention.ipynb: copy the first code cell from"):
        publish.publish("owner/name@v0.1.0", copy)
    assert code(read(path))[0].source == "print('mine')"


@pytest.mark.parametrize("published", ["", "owner/name@v0.1.0"])
def test_the_set_up_cell_is_a_condition_and_two_short_lines(published):
    lines = publish.set_up_cell("0.1.0", published).splitlines()
    assert len(lines) == 3 and max(map(len, lines)) <= 100


@pytest.mark.parametrize(
    "address",
    [
        "owner/my.name",
        "https://github.com/owner/my.name",
        "https://github.com/owner/my.name.git",
        "https://github.com/owner/my.name/",
        "git@github.com:owner/my.name.git",
        "ssh://git@github.com/owner/my.name.git",
    ],
)
def test_an_address_on_github_names_a_repository(address):
    assert publish.place(address, "v0.2.0", "0.2.0") == "owner/my.name@v0.2.0"


@pytest.mark.parametrize(
    "repository, tag, fault",
    [
        ("", "v0.2.0", "REPO is ''; it must be owner/name, or an address on GitHub"),
        ("name", "v0.2.0", "REPO is 'name'"),
        (
            "https://example.invalid/owner/name.git",
            "v0.2.0",
            "REPO is ",
        ),  # Colab opens none from there
        ("owner/name; rm", "v0.2.0", "REPO is "),
        ("owner/name", "v1$(x)", "TAG is 'v1$(x)'; the version in pyproject.toml is 0.2.0, so"),
        ("owner/name", "v0.1.0", "TAG is 'v0.1.0'; the version in pyproject.toml is 0.2.0, so it"),
        ("owner/name", "0.2.0", "TAG is '0.2.0'"),
    ],
)
def test_what_a_shell_or_github_would_not_take_as_it_is_is_refused(repository, tag, fault):
    with pytest.raises(ValueError) as error:
        publish.place(repository, tag, "0.2.0")
    assert str(error.value).startswith(fault)


def test_make_publishes_says_what_is_next_and_takes_it_back(copy):
    """In the copy as if it were set up, with a remote on GitHub; set-up again would fail."""

    def make(*arguments):
        env = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
        return subprocess.run(
            ["make", *arguments], cwd=copy, env=env, capture_output=True, text=True
        )

    publish.publish("", copy)
    before = files(copy / "notebooks")
    shutil.copytree(ROOT / "makers", copy / "makers")  # a package, found before the clone's own
    (copy / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(ROOT / "constraints.txt", copy)
    python = copy / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (copy / ".venv" / ".ready").touch()
    subprocess.run(["git", "init", "--quiet"], cwd=copy, check=True)
    (copy / ".git" / "config").write_text(
        '[remote "origin"]\nurl = https://github.com/owner/name.git'
    )
    run = make("publish", "TAG=v1")
    assert run.returncode and "TAG is 'v1'; the version in pyproject.toml is 0.1.0" in run.stderr
    assert files(copy / "notebooks") == before
    assert make("publish").stdout.splitlines() == [
        "Lessons and README now name owner/name@v0.1.0.",
        'Next: git commit -am "Publish v0.1.0", git tag v0.1.0, git push origin HEAD v0.1.0',
        "Some minutes later the pages are at https://owner.github.io/name/, if on GitHub, once, "
        "Settings → Pages → Source is",
        "GitHub Actions, and Settings → Environments → github-pages lets tags v* deploy.",
    ]
    assert publish.settings(copy)[1] == "owner/name@v0.1.0"
    run = make("unpublish")  # and no set-up on the way
    assert run.stdout.startswith("Lessons and README now name no repository.")
    assert files(copy / "notebooks") == before
