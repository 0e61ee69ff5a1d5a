"""A lesson cut into screens, at the marks in its cells' metadata.

Jupyter's own mark is `slideshow.slide_type`: "slide" begins a section, "subslide" a screen, "notes"
is for the speaker, "skip" is left out; a cell without one goes on below the cell before. What else
a screen needs stands in `course.slide`:

- `say`: paragraphs, by their first words, that are not shown, as the speaker says them;
- `cut`: paragraphs, by their first words, that begin a screen of their own;
- `show`: of a code cell "code", "output" or "both". Without it a picture, a control or a truth is
  shown without its code, and an exercise without what it has put out.
"""

import re
from copy import deepcopy
from itertools import pairwise
from types import SimpleNamespace

from nbformat import from_dict

CONTROL = re.compile(r"^(guess|truth)\(|widgets\.", flags=re.M)


def deck(notebook):
    """The notebook with a cell for each part of a screen; every code cell is there, in order.

    A cell's `course.above` is the heading its screen stands under. Raises ValueError if words in
    `say` or `cut` do not begin one paragraph.
    """
    cells, section = [], ""
    for cell in map(deepcopy, notebook.cells):
        is_text = cell.cell_type == "markdown"
        for part in paragraphs(cell) if is_text else [code(cell)]:
            heading = re.match("##? (.*)", part.source) if is_text else None
            section = heading[1] if heading else section
            part.metadata.setdefault("course", {})["above"] = "" if heading else section
            cells.append(part)
    return from_dict({**notebook, "cells": cells})


def marks(cell):
    """The marks of a cell: its type of slide, and what `course.slide` says of it."""
    own = cell.metadata.get("course", {}).get("slide", {})
    kind = cell.metadata.get("slideshow", {}).get("slide_type", "-")
    return SimpleNamespace(**{"kind": kind, "say": [], "cut": [], "show": None} | own)


def paragraphs(cell):
    """The cells of a deck that a cell of text becomes: what is said by the speaker comes last."""
    mark, texts = marks(cell), cell.source.split("\n\n")
    say, cut = ([place(words, texts, cell) for words in way] for way in (mark.say, mark.cut))
    shown = [i for i in range(len(texts)) if i not in say]
    starts = [0, *(shown.index(i) for i in cut), len(shown)]
    parts = [
        ("\n\n".join(texts[i] for i in shown[a:b]), mark.kind if a == 0 else "subslide")
        for a, b in pairwise(starts)
    ]
    parts.append(("\n\n".join(texts[i] for i in say), "notes"))
    return [like(cell, i, *part) for i, part in enumerate(parts) if part[0]]


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
    tags = cell.metadata.get("tags", [])
    is_exercise = any(tag.startswith("exercise:") for tag in tags)
    pictures = any("image/png" in output.get("data", {}) for output in cell.outputs)
    usual = (
        "code" if is_exercise else "output" if pictures or CONTROL.search(cell.source) else "both"
    )
    show = marks(cell).show or usual
    cell.metadata.jupyter = {"source_hidden": show == "output", "outputs_hidden": show == "code"}
    return cell
