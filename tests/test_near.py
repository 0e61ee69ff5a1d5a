"""Elsewhere than where outputs were stored, the last digit may be another one; nothing else may."""

import subprocess
import sys

import nbformat
import pytest
from lessons import ROOT
from nbformat.v4 import new_code_cell, new_notebook, new_output
from near import Near


@pytest.mark.parametrize(
    "a, b, same",
    [
        ("0.123 and 0.5", "0.124 and 0.5", True),
        ("0.123", "0.125", False),
        ("-.96", "-.95", True),
        ("-.96", ".96", False),
        ("1,234.5 GB", "1,234.4 GB", True),
        ("0.1230", "0.123", True),  # as Python leaves out a last zero
        ("0.13", "0.125", True),
        ("1.5e-07", "1.6e-07", True),
        ("1.5e-07", "1.5e-06", False),
        ("3 heads", "4 heads", False),  # a whole number is counted
        ("3 heads", "3.0 heads", False),
        ("0.5 heads", "0.5 head", False),
        ("v0.1.0", "v0.1.1", False),  # no number
        ("0.1 0.2", "0.1", False),
        ("nan", "0.1", False),
    ],
)
def test_one_in_the_last_digit_is_near(a, b, same):
    assert (Near(a) == Near(b)) == same and (Near(b) != Near(a)) != same


@pytest.mark.parametrize(
    "machine, stored, passes",
    [
        ("x86_64", "0.33", True),
        ("x86_64", "0.34", False),
        ("arm64", "0.34", True),
        ("arm64", "0.35", False),
    ],
)
def test_a_lesson_is_compared_so_where_the_processor_is_another(tmp_path, machine, stored, passes):
    outputs = [new_output("stream", text=f"{stored} of 3\n")]
    cell = new_code_cell("print(0.33, 'of 3')", outputs=outputs, execution_count=1)
    notebook = new_notebook(cells=[cell])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, tmp_path / "a.ipynb")
    pretends = (
        f"import platform, sys\nsys.platform = 'linux'\nplatform.machine = lambda: '{machine}'\n"
    )
    own = (ROOT / "conftest.py").read_text(encoding="utf-8")
    (tmp_path / "conftest.py").write_text(pretends + own, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text(f"[pytest]\npythonpath = {ROOT / 'tests'}\n")
    command = [sys.executable, "-m", "pytest", "--nbval", "--nbval-current-env", "a.ipynb"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == (0 if passes else 1), run.stdout
