"""The lessons as slides, each one file that needs nothing else; see slides/index.html.

    python -m makers.slides        (make slides)            every lesson
    python -m makers.slides 06     (make slides LESSON=06)  one

A lesson is run, so that its pictures and times are this machine's; sliders move without a kernel.
"""

import json
import os
import re
import sys
from copy import deepcopy
from functools import partial, reduce
from html import escape
from operator import getitem
from pathlib import Path

import nbformat
import sphinx_revealjs
from latex2mathml.converter import convert
from nbclient import NotebookClient
from nbconvert import SlidesExporter
from nbformat.v4 import new_output
from pygments.formatters import HtmlFormatter

from course_utils.checks.quiz import pages
from course_utils.figures import WIDGET
from makers.slides.deck import ROOT, deck, lessons, marks

HERE = Path(__file__).parent
REVEAL = Path(sphinx_revealjs.__file__).parent / "_static" / "revealjs"
STATE = "application/vnd.jupyter.widget-state+json"


def main(*numbers, folder=ROOT / "slides"):
    chosen = lessons(*numbers)
    folder.mkdir(exist_ok=True)
    for path in chosen:
        print(f"{path.stem}: running it ...", end=" ", flush=True)
        notebook = run(nbformat.read(path, as_version=4), path.parent)
        (folder / f"{path.stem}.html").write_text(page(notebook), encoding="utf-8")
        print("done")
    made = [path for path in lessons() if (folder / f"{path.stem}.html").exists()]
    (folder / "index.html").write_text(index(made), encoding="utf-8")
    print(f"Open {os.path.relpath(folder / 'index.html')} in a browser.")


def run(notebook, folder):
    """The notebook, run offline, with the state of its widgets."""
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
    return notebook


def page(notebook):
    """The HTML page of a lesson that was run."""
    models = notebook.metadata.get("widgets", {}).get(STATE, {}).get("state", {})
    slides, widgets = deck(notebook), {}
    slides.cells = [shown for cell in slides.cells for shown in prepared(cell, models, widgets)]
    own = {
        "title": title(notebook),
        "css": reveal("dist/reset.css", "dist/reveal.css") + read("page.css") + colours(),
        "reveal": reveal("dist/reveal.js", "plugin/notes/notes.js", "plugin/zoom/zoom.js"),
        "js": read("host.js") + read("page.js"),
        "widgets": json.dumps(widgets).replace("<", r"\u003c"),
    }
    exporter = SlidesExporter(template_file=str(HERE / "page.html.j2"))
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    exporter.exclude_anchor_links = True
    return exporter.from_notebook_node(slides, resources={"slides": own})[0]


def prepared(cell, models, widgets):
    """The cells that a page has for one of a deck's; `widgets` takes the state of its controls."""
    if cell.cell_type == "markdown":
        cell.source = drawn(cell.source).replace(".ipynb)", ".html)")
        return [cell]
    folded = cell.metadata.jupyter
    cell.metadata.transient = {"remove_source": folded.source_hidden}
    outputs = [] if folded.outputs_hidden else cell.outputs
    cell.outputs = [alive(output, models, widgets) for output in outputs]
    if quiz := re.fullmatch(r'checks\.quiz\("(\d\d)"\)', cell.source):
        cell.outputs = [
            new_output("display_data", {"text/html": html, "text/plain": text})
            for html, text in pages(quiz[1])
        ]
    elif marks(cell).show != "each":
        return [cell]
    return [alone(cell, i) for i in range(len(cell.outputs))]


def alone(cell, i):
    """A cell with one of the things that a cell has put out, on a screen of its own."""
    one = deepcopy(cell)
    one.outputs, one.metadata.transient = [cell.outputs[i]], {"remove_source": True}
    if i:
        one.id, one.metadata.slideshow = f"{cell.id}-{i}", {"slide_type": "subslide"}
    return one


def alive(output, models, widgets):
    """An output whose control, if it is one of ours, lives in the page.

    Jupyter's own controls ask the kernel: of them the page shows the words they have as well.
    That an exercise has not passed yet is nothing to say on a wall.
    """
    if "text" in output:
        output.text = re.sub(r".*: the library's \(yours has.*\)\n", "", output.text)
    data = output.get("data", {})
    name = data.pop(WIDGET, {}).get("model_id")
    if "_esm" in models.get(name, {}).get("state", {}):
        widgets[name] = models[name]["state"]
        for buffer in models[name].get("buffers", []):
            *path, last = buffer["path"]
            reduce(getitem, path, widgets[name])[last] = {"base64": buffer["data"]}
        output.data = {"text/html": f'<div class="control" data-name="{name}"></div>'}
    return output


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


def colours():
    """The colours of code, light and dark."""
    return "\n".join(
        HtmlFormatter(style=style).get_style_defs(f"{where} .highlight")
        for where, style in (("", "default"), (":root[data-theme=dark]", "github-dark"))
    )


def title(notebook):
    return re.match("# (.*)", notebook.cells[0].source)[1]


def index(paths):
    """The page that leads to the slides of these lessons."""
    links = ""
    for path in paths:
        name = escape(title(nbformat.read(path, as_version=4)))
        links += f'<li><a href="{path.stem}.html">{name}</a></li>\n'
    return read("index.html").replace("LESSONS", links)


def reveal(*names):
    """The text of files of reveal.js, as a package of Python's has them."""
    return "\n".join((REVEAL / name).read_text(encoding="utf-8") for name in names)


def read(name):
    return (HERE / name).read_text(encoding="utf-8")


if __name__ == "__main__":
    main(*filter(None, sys.argv[1:]))
