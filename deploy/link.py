"""A link that brings a lesson to every student of a hub.

    python deploy/link.py https://hub.example.org 06 --copy    to their own copy, in my_lessons
    python deploy/link.py https://hub.example.org 06           by nbgitpuller, from the repository

The second takes the repository from pyproject.toml, where make publish writes it, or from --repo.
"""

import argparse
import re
import tomllib
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

ROOT = Path(__file__).resolve().parents[1]
OWN = "localhost", "127.0.0.1"


def lesson_file(lesson, root=ROOT):
    """The notebook of a lesson, 6 or "06"; without one, the first.

    Raises ValueError, with the ones there are.
    """
    names = sorted(path.name for path in (root / "notebooks").glob("*.ipynb"))
    for name in names:
        if lesson is None or name[:2] == str(lesson).zfill(2):
            return name
    there = ", ".join(name[:2] for name in names)
    raise ValueError(f"there is no lesson {lesson!r}; there are {there}")


def hub_address(hub):
    """The address of a hub, without a slash at its end; ValueError if it is not one with https."""
    parts = urlsplit(hub)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{hub!r} is no address of a hub: write https:// and its name")
    if parts.scheme == "http" and parts.hostname not in OWN:
        raise ValueError(f"{hub} sends passwords in the clear: set up https, and write https://")
    if parts.query or parts.fragment:
        raise ValueError(f"{hub!r} has more than an address: leave out what follows ? or #")
    return hub.rstrip("/")


def repository(root=ROOT):
    """The repository that the course is published in; ValueError, with the remedy, if in none."""
    table = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    published = table["tool"]["course"]["published"]
    if not published:
        raise ValueError(
            "this copy is published nowhere: make publish REPO=owner/name, or name another with "
            "--repo https://github.com/owner/name, or link to their own copies with --copy"
        )
    return f"https://github.com/{published.partition('@')[0]}"


def copy_link(hub, name):
    """The link to a student's own copy of a lesson."""
    return f"{hub_address(hub)}/hub/user-redirect/lab/tree/my_lessons/{quote(name)}"


def pull_link(hub, name, repo, branch):
    """The link that brings a repository by nbgitpuller, or what is new in it, and opens a lesson.

    Raises ValueError for a tag: with one, nbgitpuller fails from the second click on.
    """
    if re.fullmatch(r"v\d+(\.\d+)*", branch):
        raise ValueError(
            f"{branch} looks like a tag, which nbgitpuller can clone but not update: name a branch"
        )
    repo = repo.rstrip("/")
    folder = repo.rpartition("/")[2]
    where = f"lab/tree/{quote(folder)}/notebooks/{quote(name)}"
    asked = urlencode({"repo": repo, "branch": branch, "urlpath": where}, quote_via=quote, safe="")
    return f"{hub_address(hub)}/hub/user-redirect/git-pull?{asked}"


def main(arguments=None):
    """Print the link that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("hub", help="its address, as https://hub.example.org")
    parser.add_argument("lesson", nargs="?", help="its number; else the first")
    parser.add_argument("--copy", action="store_true", help="to a student's own copy")
    parser.add_argument("--repo", help="another repository, as https://github.com/owner/name")
    parser.add_argument("--branch", default="main")
    given = parser.parse_args(arguments)
    try:
        name = lesson_file(given.lesson)
        if given.copy:
            print(copy_link(given.hub, name))
        else:
            print(pull_link(given.hub, name, given.repo or repository(), given.branch))
    except ValueError as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
