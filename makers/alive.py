"""A lesson for a page: run, its controls alive without a kernel, its formulas without a script.

The slides and the site are made of this; alive.js is what the pages themselves have of it.
"""

import os
import re
from functools import partial, reduce
from operator import getitem

import nbformat
from latex2mathml.converter import convert
from nbclient import NotebookClient

from course_utils.figures import WIDGET
from makers.publish import BADGE

STATE = "application/vnd.jupyter.widget-state+json"


def run(notebook, folder):
    """The notebook, run offline, with the state of its widgets, and without its badges."""
    environment = os.environ | {"COURSE_PROGRESS": "off", "HF_HUB_OFFLINE": "1"}
    environment.pop("COURSE_OUTPUTS", None)
    client = NotebookClient(
        notebook,
        timeout=600,
        coalesce_streams=True,
        extra_arguments=["--log-level=40"],  # errors only
        resources={"metadata": {"path": folder}},
    )
    client.execute(env=environment)
    first = notebook.cells[0]
    first.source = BADGE.sub("", first.source)  # they are pictures from elsewhere
    return notebook


def run_lesson(path):
    """A lesson, run; it says so, as that takes a while."""
    print(f"{path.stem}: running it ...", end=" ", flush=True)
    notebook = run(nbformat.read(path, as_version=4), path.parent)
    print("done")
    return notebook


def states(notebook):
    """The states of a notebook's controls, if they are ours: {name: state}, bytes as base64.

    Jupyter's own controls ask the kernel: a page shows the words they have as well.
    """
    models = notebook.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
    own = {name: model for name, model in models.items() if "_esm" in model["state"]}
    for model in own.values():
        for buffer in model.get("buffers", []):
            *path, last = buffer["path"]
            reduce(getitem, path, model["state"])[last] = {"base64": buffer["data"]}
    return {name: model["state"] for name, model in own.items()}


def taken(output):
    """The name of the widget that an output shows, no longer in it; None if it shows none.

    That an exercise has not passed yet is taken out as well: it is nothing to say on a page.
    """
    if "text" in output:
        output.text = re.sub(r".*: the library's \(yours has.*\)\n", "", output.text)
    return output.get("data", {}).pop(WIDGET, {}).get("model_id")


def drawn(source):
    """A text as its page has it; what stands in ` or ``` is code, and stays as it is."""
    parts = re.split("(`+[^`]+`+)", source)
    return "".join(x if i % 2 else unbroken(formulas(x)) for i, x in enumerate(parts))


def formulas(source):
    """A text whose formulas, in $ or $$, are MathML: a browser draws that without a script.

    As in Pandoc no formula begins or ends with a space, or ends before a digit: that is a price.
    """
    for signs, display in ((r"\$\$", "block"), (r"\$", "inline")):
        between = rf"{signs}(?! )([^$]+)(?<! ){signs}(?!\d)"
        draw = partial(convert, display=display)
        source = re.sub(between, lambda found, draw=draw: draw(found[1]), source)
    return source


def unbroken(source):
    """A text in which no line ends inside "g = 32", "2 · n" or "26 %"."""
    source = re.sub(r"(?<=\w) ([=·]) (?=\w)", "\u00a0\\1\u00a0", source)
    return source.replace(" %", "\u00a0%")
