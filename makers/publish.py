"""Name the public repository and tag that Google Colab opens the lessons from and installs.

    python -m makers.publish owner/name v1    (make publish REPO=owner/name TAG=v1)
    python -m makers.publish                  (make unpublish): no badges, in Colab a wheel

The name is kept in pyproject.toml, as `published`. Badges and set-up cells are made from it and
from the version, in every notebook and in the README; doing so again changes nothing.
"""

import re
import sys
import tomllib
from pathlib import Path

import nbformat

ROOT = Path(__file__).parents[1]
COLAB = "https://colab.research.google.com"
NOWHERE = """\
This copy is published nowhere yet: its lessons have no badges, and in Colab they need the wheel."""
SET_UP = 'if "google.colab" in str(get_ipython()):'
BADGE = re.compile(rf'\n\n<a href="{re.escape(COLAB)}.*?</a>')


def pyproject(root=ROOT):
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


def settings(root=ROOT):
    """The version of the course and where it is published: "owner/name@tag", or "" for nowhere."""
    table = pyproject(root)
    return table["project"]["version"], table["tool"]["course"]["published"]


def set_up_cell(version, published):
    """The first code cell of every lesson: in Colab it installs the course.

    Published, from its tag; else from a wheel of this version beside the notebook.
    """
    source = f"./course_utils-{version}-py3-none-any.whl"
    remedy = "Upload that file (your instructor has it), and run this again."
    if published:
        repository, tag = published.split("@")
        source = f"git+https://github.com/{published}"
        remedy = f"Is there a network, and a tag {tag} in {repository}? Then run this again."
    return (
        f"{SET_UP}  # elsewhere, make lab has installed the course\n"
        f"    !pip install -q --no-deps --force-reinstall {source}\n"
        f'    assert not _exit_code, "{remedy}"'
    )


def badge(published, path, what):
    """A picture with a link that opens the notebook `path` in Colab; "" if it is not published.

    As Colab writes it: GitHub shows a notebook in a frame, and target leads out of it.
    """
    if not published:
        return ""
    repository, tag = published.split("@")
    return (
        f'\n\n<a href="{COLAB}/github/{repository}/blob/{tag}/notebooks/{path}" target="_parent">'
        f'<img src="{COLAB}/assets/colab-badge.svg" alt="Open {what} in Google Colab"></a>'
    )


def stamp(root=ROOT):
    """Bring every badge and every set-up cell in line with pyproject.toml.

    Raises ValueError if the first code of a notebook is not its set-up cell.
    """
    version, published = settings(root)
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        title = notebook.cells[0]
        heading, _, text = BADGE.sub("", title.source, count=1).partition("\n")
        title.source = f"{heading}{badge(published, path.name, 'this lesson')}\n{text}"
        set_up = next(cell for cell in notebook.cells if cell.cell_type == "code")
        if not set_up.source.startswith(SET_UP):
            raise ValueError(f"{path}: copy the first code cell from another lesson")
        set_up.source = set_up_cell(version, published)
        nbformat.write(notebook, path)
    readme = root / "README.md"
    first = badge(published, "00_start_here.ipynb", "lesson 00").strip() or NOWHERE
    text = readme.read_text(encoding="utf-8")
    text = re.sub(r"(### In Google Colab\n\n).*?(\n\n)", rf"\1{first}\2", text, flags=re.S)
    readme.write_text(text, encoding="utf-8")


def publish(published, root=ROOT):
    """Write where the course is published into pyproject.toml, and stamp; "": nowhere."""
    path = root / "pyproject.toml"
    line = f'published = "{published}"'
    text = path.read_text(encoding="utf-8")
    text = re.sub(r'(?m)^published = ".*?"', line, text, count=1)
    path.write_text(text, encoding="utf-8")
    stamp(root)


def place(repository, tag):
    """Both as "owner/name@tag"; repository may also be an address on GitHub.

    Raises ValueError if the one is none, or the other no plain word.
    """
    on_github = r"(?:.*github\.com[:/])?([\w-]+/[\w.-]+?)(?:\.git)?/*"
    if not (match := re.fullmatch(on_github, repository, flags=re.A)):
        raise ValueError(f"REPO is {repository!r}; it must be owner/name, or an address on GitHub")
    if not re.fullmatch(r"\w+([.-]\w+)*", tag, flags=re.A):
        raise ValueError(
            f"TAG is {tag!r}; name one, as in TAG=v1: words of letters and digits, "
            "single dots or dashes between them"
        )
    return f"{match[1]}@{tag}"


def main(repository="", tag=""):
    """Publish there, or nowhere, and say what to do next."""
    published = place(repository, tag) if repository or tag else ""
    publish(published)
    print(f"Lessons and README now name {published or 'no repository'}.")
    if published:
        print(f'Next: git commit -am "Publish {tag}", git tag {tag}, git push origin HEAD {tag}')


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except ValueError as error:
        sys.exit(str(error))
