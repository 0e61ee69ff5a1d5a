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
from html import escape
from pathlib import Path

import nbformat
import sphinx_revealjs
from nbconvert import SlidesExporter
from nbformat.v4 import new_output
from pygments.formatters import HtmlFormatter

from course_utils.checks.quiz import pages
from makers.alive import drawn, run_lesson, states, taken
from makers.lessons import ROOT, lessons, title
from makers.slides.deck import deck, marks

HERE = Path(__file__).parent
REVEAL = Path(sphinx_revealjs.__file__).parent / "_static" / "revealjs"


def main(*numbers, folder=ROOT / "slides"):
    chosen = lessons(*numbers)
    folder.mkdir(exist_ok=True)
    for path in chosen:
        (folder / f"{path.stem}.html").write_text(page(run_lesson(path)), encoding="utf-8")
    made = [path for path in lessons() if (folder / f"{path.stem}.html").exists()]
    (folder / "index.html").write_text(index(made), encoding="utf-8")
    print(f"Open {os.path.relpath(folder / 'index.html')} in a browser.")


def page(notebook):
    """The HTML page of a lesson that was run."""
    slides, own, widgets = deck(notebook), states(notebook), {}
    slides.cells = [shown for cell in slides.cells for shown in prepared(cell, own, widgets)]
    own = {
        "title": title(notebook),
        "css": reveal("dist/reset.css", "dist/reveal.css") + read("page.css") + colours(),
        "reveal": reveal("dist/reveal.js", "plugin/notes/notes.js", "plugin/zoom/zoom.js"),
        "js": read("../alive.js") + read("page.js"),
        "widgets": json.dumps(widgets).replace("<", r"\u003c"),
    }
    exporter = SlidesExporter(template_file=str(HERE / "page.html.j2"))
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    exporter.exclude_anchor_links = True
    return exporter.from_notebook_node(slides, resources={"slides": own})[0]


def prepared(cell, own, widgets):
    """The cells that a page has for one of a deck's; `widgets` takes the state of its controls."""
    if cell.cell_type == "markdown":
        cell.source = drawn(cell.source).replace(".ipynb)", ".html)")
        return [cell]
    folded = cell.metadata.jupyter
    cell.metadata.transient = {"remove_source": folded.source_hidden}
    outputs = [] if folded.outputs_hidden else cell.outputs
    cell.outputs = [alive(output, own, widgets) for output in outputs]
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


def alive(output, own, shown):
    """An output whose control, if it is one of ours, lives in the page; `shown` takes its state."""
    if (name := taken(output)) in own:
        shown[name] = own[name]
        output.data = {"text/html": f'<div class="control" data-name="{name}"></div>'}
    return output


def colours():
    """The colours of code, light and dark."""
    return "\n".join(
        HtmlFormatter(style=style).get_style_defs(f"{where} .highlight")
        for where, style in (("", "default"), (":root[data-theme=dark]", "github-dark"))
    )


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
