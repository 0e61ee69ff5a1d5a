"""The rule of imports: which folder of the package may import from which."""

import ast

import pytest
from lessons import ROOT

MAY_ASK = {  # nothing asks widgets, makers, environment or progress
    "library": {"configs"},  # the other files of course_utils itself: what the course teaches
    "configs": {"layers"},
    "ladder": {"library"},  # as its exercises ask for it
    "checkpoints": {"library"},
    "experiments": {"library"},
    "figures": {"library", "experiments.diversity"},  # a measure
    "record": set(),
    "widgets": {"library", "checkpoints", "experiments", "figures", "record"},
    "copies": {"record"},
    "environment": {"figures", "record", "copies"},
    "progress": {"library", "figures", "record", "checks"},
    "checks": {
        "library",
        "ladder",
        "checkpoints",
        "experiments",
        "record",
        "figures.parts",  # its colours
    },
    "makers": {"configs", "library", "checkpoints", "experiments", "figures", "copies", "checks"},
}
FILES = [*(ROOT / "course_utils").rglob("*.py"), *(ROOT / "makers").rglob("*.py")]


def room(name):
    """The room of a module, "figures" or "library"; None for course_utils itself."""
    top, *below = name.split(".")
    if top != "course_utils":
        return top
    if not below:
        return None
    is_file = (ROOT / "course_utils" / f"{below[0]}.py").exists()
    return "library" if is_file and below[0] not in MAY_ASK else below[0]


def is_module(name):
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


def imported(path):
    """The modules that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: write where it comes from"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if is_module(name) else node.module for name in whole)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_room_asks_only_those_it_may(path):
    own = room(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    for name in imported(path):
        if name.split(".")[0] not in ("course_utils", "makers", "tests"):
            continue
        other = room(name)
        if other in (own, None):
            continue
        may = MAY_ASK[own] if own else set()
        assert other in may or name.removeprefix("course_utils.") in may, f"{own} asks {name}"


def test_every_room_is_in_the_rule():
    rooms = {path.name for path in (ROOT / "course_utils").iterdir() if path.is_dir()}
    assert rooms - {"__pycache__"} == MAY_ASK.keys() - {
        "library",
        "ladder",
        "record",
        "copies",
        "environment",
        "progress",
        "makers",
    }
