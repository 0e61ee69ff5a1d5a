"""The lessons, and what their cells are there for."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONTROL = re.compile(r"^(guess|truth)\(|widgets\.", flags=re.M)


def lessons(*numbers):
    """The paths of these lessons, or of all; a number that none has ends the program."""
    every = {path.stem[:2]: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}
    for number in numbers:
        if number not in every:
            sys.exit(f"There is no lesson {number}; there are {', '.join(every)}.")
    return [path for number, path in every.items() if not numbers or number in numbers]


def draws(cell):
    """Whether a cell of code is there for a picture or a control, more than for its words."""
    data = [output.get("data", {}) for output in cell.outputs]
    pictures = any("image/png" in x or "<img " in x.get("text/html", "") for x in data)
    return pictures or bool(CONTROL.search(cell.source))


def is_exercise(cell):
    return any(tag.startswith("exercise:") for tag in cell.metadata.get("tags", []))


def title(notebook):
    return re.match("# (.*)", notebook.cells[0].source)[1]
