"""A lesson cut into screens, at the marks in its cells' metadata.

Jupyter's own mark is `slideshow.slide_type`: "slide" begins a section, "subslide" a screen, "notes"
is for the speaker, "skip" is left out; a cell without one goes on below the cell before. What else
a screen needs stands in `course.slide`:

- `say`: paragraphs, by their first words, that are not shown: the speaker says them, and reads them
  in the notes of the screen before them;
- `cut`: paragraphs, by their first words, that begin a screen of their own;
- `show`: of a code cell "code", "output", "both", or "each": every thing that it has put out on a
  screen of its own. Without it a picture, a control or a truth is shown without its code, and an
  exercise without what it has put out.
"""

import re
from copy import deepcopy
from itertools import groupby
from types import SimpleNamespace

from nbformat import from_dict

from makers.lessons import draws, is_exercise


def deck(notebook):
    """The notebook with a cell for each part of a screen; every code cell is there, in order.

    A cell's `course.foot` is the heading its screen stands under. Raises ValueError if words in
    `say` or `cut` do not begin one paragraph.
    """
    cells, section = [], ""
    for cell in map(deepcopy, notebook.cells):
        is_text = cell.cell_type == "markdown"
        for part in paragraphs(cell) if is_text else [code(cell)]:
            heading = re.match("##? (.*)", part.source) if is_text else None
            if heading or marks(part).kind == "slide":
                section = heading[1] if heading else ""
            part.metadata.setdefault("course", {})["foot"] = "" if heading else section
            cells.append(part)
    return from_dict({**notebook, "cells": cells})


def marks(cell):
    """The marks of a cell: its type of slide, and what `course.slide` says of it."""
    own = cell.metadata.get("course", {}).get("slide", {})
    kind = cell.metadata.get("slideshow", {}).get("slide_type", "-")
    return SimpleNamespace(**{"kind": kind, "say": [], "cut": [], "show": None} | own)


def paragraphs(cell):
    """The cells that a cell of text becomes; what is said goes with the screen before it."""
    mark, texts = marks(cell), cell.source.split("\n\n")
    say, cut = ([place(words, texts, cell) for words in way] for way in (mark.say, mark.cut))
    runs = groupby(range(len(texts)), lambda i: (i in say, sum(start <= i for start in cut)))
    parts, kind = [], mark.kind
    for (said, _), (*run,) in runs:
        source = "\n\n".join(texts[i] for i in run)
        begins = "slide" if source.startswith("## ") else "subslide"
        parts.append((source, "notes" if said else begins if run[0] in cut else kind))
        kind = kind if said else "-"  # only what is shown first is of the cell's own kind
    return [like(cell, i, *part) for i, part in enumerate(parts)]


def place(words, texts, cell):
    """Which of the texts begins with these words; ValueError if not one does."""
    (*found,) = (i for i, text in enumerate(texts) if text.startswith(words))
    if len(found) != 1:
        raise ValueError(f"{cell.id}: {words!r} begins {len(found)} paragraphs; it must be one")
    return found[0]


def like(cell, i, source, kind):
    """A cell of text of a deck: the i-th of a lesson's cell."""
    part = deepcopy(cell)
    part.source, part.id = source, f"{cell.id}-{i}" if i else cell.id
    part.metadata.slideshow = {"slide_type": kind}
    return part


def code(cell):
    """A cell of code with what its screen does not show folded away."""
    usual = "code" if is_exercise(cell) else "output" if draws(cell) else "both"
    show = marks(cell).show or usual
    folded = {"source_hidden": show in ("output", "each"), "outputs_hidden": show == "code"}
    cell.metadata.jupyter = folded
    return cell
