"""Name the public repository and tag that Google Colab opens the lessons from and installs.

    python -m makers.publish owner/name    (make publish REPO=owner/name)
    python -m makers.publish               (make unpublish): no badges, in Colab a wheel

The tag is v and the version. Both are kept in pyproject.toml; badges, set-up cells and addresses of
pages are made from them, in every notebook and in the README; doing so again changes nothing.
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
PAGES = """\
[Move the slider]({}), in your browser, with nothing installed:
every lesson is there, and the calculator."""
NO_PAGES = """\
`make site` makes pages of the course, in `site/`: every lesson and the calculator, alive in a
browser, without a network. This copy is published nowhere yet, and nothing of it has run on GitHub;
once it is, a link stands here."""
SETTINGS = """\
on GitHub, once, Settings → Pages → Source is
GitHub Actions, and Settings → Environments → github-pages lets tags v* deploy."""
SET_UP = 'if "google.colab" in str(get_ipython()):'
BADGE = re.compile(rf'\n\n<a href="{re.escape(COLAB)}.*?</a>( · <a href=.*?</a>)?')


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
        remedy = f"Is there a network, and a tag {tag} in {repository}? Then run it again."
    return (
        f"{SET_UP}  # elsewhere, make lab has installed the course\n"
        f"    !pip install -q --no-deps --force-reinstall {source}\n"
        f'    assert not _exit_code, "{remedy}"'
    )


def colab(published, path):
    """The address that opens the notebook `path` in Colab."""
    repository, tag = published.split("@")
    return f"{COLAB}/github/{repository}/blob/{tag}/notebooks/{path}"


def pages(published):
    """The address of the pages: where GitHub shows those of a repository."""
    owner, name = published.partition("@")[0].split("/")
    host = f"{owner.lower()}.github.io"
    return f"https://{host}/" if name.lower() == host else f"https://{host}/{name}/"


def badge(published, path, what):
    """A picture with a link that opens the notebook `path` in Colab; "" if it is not published.

    As Colab writes it: GitHub shows a notebook in a frame, and target leads out of it.
    """
    if not published:
        return ""
    return (
        f'\n\n<a href="{colab(published, path)}" target="_parent">'
        f'<img src="{COLAB}/assets/colab-badge.svg" alt="Open {what} in Google Colab"></a>'
    )


def badges(published, path):
    """What stands under the title of a lesson: its badge and, beside it, its page."""
    if not published:
        return ""
    page = f"{pages(published)}{path.removesuffix('.ipynb')}.html"
    link = f'<a href="{page}" target="_parent">its page, with nothing to run</a>'
    return f"{badge(published, path, 'this lesson')} · {link}"


def stamp(root=ROOT):
    """Bring every badge and every set-up cell in line with pyproject.toml.

    Raises ValueError if the first code of a notebook is not its set-up cell.
    """
    version, published = settings(root)
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        title = notebook.cells[0]
        heading, _, text = BADGE.sub("", title.source, count=1).partition("\n")
        title.source = f"{heading}{badges(published, path.name)}\n{text}"
        set_up = next(cell for cell in notebook.cells if cell.cell_type == "code")
        if not set_up.source.startswith(SET_UP):
            raise ValueError(f"{path}: copy the first code cell from another lesson")
        set_up.source = set_up_cell(version, published)
        nbformat.write(notebook, path)
    readme = root / "README.md"
    text = readme.read_text(encoding="utf-8")
    first = {
        "In ten seconds": PAGES.format(pages(published)) if published else NO_PAGES,
        "In Google Colab": badge(published, "00_start_here.ipynb", "lesson 00").strip() or NOWHERE,
    }
    for section, words in first.items():
        there = rf"(## {section}\n\n).*?(\n\n)"
        text = re.sub(
            there, lambda found, words=words: found[1] + words + found[2], text, flags=re.S
        )
    readme.write_text(text, encoding="utf-8")


def publish(published, root=ROOT):
    """Write where the course is published into pyproject.toml, and stamp; "": nowhere."""
    path = root / "pyproject.toml"
    line = f'published = "{published}"'
    text = path.read_text(encoding="utf-8")
    text = re.sub(r'(?m)^published = ".*?"', line, text, count=1)
    path.write_text(text, encoding="utf-8")
    stamp(root)


def place(repository, tag, version):
    """Both as "owner/name@tag"; repository may also be an address on GitHub.

    Raises ValueError if the one is none, or the other not that of the version.
    """
    on_github = r"(?:.*github\.com[:/])?([\w-]+/[\w.-]+?)(?:\.git)?/*"
    if not (match := re.fullmatch(on_github, repository, flags=re.A)):
        raise ValueError(f"REPO is {repository!r}; it must be owner/name, or an address on GitHub")
    if tag != f"v{version}":
        raise ValueError(
            f"TAG is {tag!r}; the version in pyproject.toml is {version}, so it must be "
            f"v{version}: leave it out, or begin with a new version"
        )
    return f"{match[1]}@{tag}"


def main(repository=None, tag=None):
    """Publish there, or nowhere, and say what to do next."""
    version, _ = settings()
    tag = tag or f"v{version}"
    published = "" if repository is None else place(repository, tag, version)
    publish(published)
    print(f"Lessons and README now name {published or 'no repository'}.")
    if published:
        print(f'Next: git commit -am "Publish {tag}", git tag {tag}, git push origin HEAD {tag}')
        print(f"Some minutes later the pages are at {pages(published)}, if {SETTINGS}")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except ValueError as error:
        sys.exit(str(error))
