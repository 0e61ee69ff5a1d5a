"""The notebooks and the wheel, and how tests make and run them."""

import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from course_utils.checks.engine import rung

ROOT = Path(__file__).parent.parent
COLAB_BIN = ROOT / ".venv-colab" / "bin"  # made by make test-colab
PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))

MOVE_EVERYTHING = """
import ipywidgets
from ipywidgets.widgets import widget as _registry
_all = getattr(_registry, "_instances", None) or ipywidgets.Widget.widgets
_moves = 0
for _one in list(_all.values()):
    for _name, _control in getattr(_one, "controls", {}).items():
        for _choice in _control["values"]:
            _one.choose(**{_name: _choice})
            assert _one.chosen[_name] == _choice, (_one, _name, _choice)
            _moves += 1
    if hasattr(_one, "values"):
        _choices = list(_one.values)
    elif hasattr(_one, "options"):
        _choices = [o[1] if isinstance(o, tuple) else o for o in _one.options]
    elif hasattr(_one, "min") and hasattr(_one, "step"):  # a field for a number: 200 at most
        _last = int((_one.max - _one.min) / _one.step)
        _choices = [_one.min + i * _one.step for i in range(0, _last + 1, -(-_last // 199))]
    elif isinstance(_one, ipywidgets.Checkbox):
        _choices = [True, False]
    else:
        continue
    for _choice in _choices:
        _one.value = _choice
        assert _one.value == _choice, (_one, _choice)
        _moves += 1
print("moves:", _moves)
"""


SOLVED = """\
{source}
{answer} = {name}
{call}
assert result.passed, result.message
print("solved")"""


def read(path):
    return nbformat.read(path, as_version=4)


def solve(notebook):
    """Give every exercise of a notebook the solution that its lesson teaches; returns how many there are."""
    tagged = [(tag, x) for x in code(notebook) for tag in x.metadata.get("tags", [])]
    exercise_cells = [(tag, x) for tag, x in tagged if tag.startswith("exercise:")]
    for tag, cell in exercise_cells:
        taught = rung(tag.removeprefix("exercise:"))
        call = cell.source.rpartition("    ...\n")[2].strip()  # what comes after the stub
        answer = re.search(r'checks\.check\(".*?", (\w+)\)', call).group(1)
        cell.source = SOLVED.format(
            source=inspect.getsource(taught), answer=answer, name=taught.__name__, call=call
        )
    return len(exercise_cells)


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def printed(cell):
    return "".join(o.text for o in cell.outputs if o.output_type == "stream")


def run(notebook, folder, env=None, allow_errors=False):
    """The notebook executed offline in a folder; an error in any cell fails, unless it may."""
    NotebookClient(
        notebook,
        timeout=180,
        allow_errors=allow_errors,
        iopub_timeout=60,  # moving every control sends thousands of messages
        store_widget_state=False,
        resources={"metadata": {"path": folder}},
    ).execute(env=(env or os.environ) | {"HF_HUB_OFFLINE": "1"})
    return notebook


def build_wheel(folder):
    """The course as one file, as `make wheel` makes it, but with the hatchling that is installed."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", folder, ROOT], check=True, capture_output=True)
    (path,) = folder.glob("*.whl")
    return path


def moves(notebook):
    """How many moves MOVE_EVERYTHING, run as the last cell, has made."""
    return int(printed(notebook.cells[-1]).removeprefix("moves: "))
