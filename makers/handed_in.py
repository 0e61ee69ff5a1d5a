"""What is in a folder of notebooks handed in: read as data, nothing of it is run or believed.

A notebook that cannot be read is one line of why. Links are not followed.
"""

import json
import os
import re
import stat
from pathlib import Path
from typing import NamedTuple

from course_utils import copies
from makers.judge import imports

NOTEBOOK = 20 * 10**6  # bytes; a lesson with its outputs has less than one million
PROGRESS = 10**6
CELL = 10**5  # characters of an answer


class Unreadable(ValueError):
    """Why a file cannot be judged, in one line."""


class Lesson(NamedTuple):
    """What the course has in its own notebook for one exercise."""

    set_up: list  # cells to run first: the lesson's set-up, and what it has imported by then
    stub: str  # the exercise's cell
    function: str  # what it hands to check


class Answer(NamedTuple):
    exercise: str
    cell: list  # the learner's cell
    before: list  # their cells of the exercises before it
    others: list  # all other cells before it


def course():
    """The Lesson of every exercise by name, from the course's own notebooks.

    >>> course()["01.attention"].function
    'attention'
    """
    found = {}
    for lesson in copies.lessons().values():
        set_up = []
        for cell in lesson["cells"]:
            if cell["cell_type"] != "code" or cell["id"].endswith("-colab"):
                continue
            source = copies.source(cell)
            for name in copies.exercises(cell):
                function = re.search(rf'check\("{name}", (\w+)\)', source)[1]
                found[name] = Lesson(list(set_up), source, function)
            is_set_up = "environment.set_up()" in source
            set_up += filter(None, [source if is_set_up else imports(source)])
    return found


def notebooks(folder):
    """The paths below a folder that are called notebooks, in order; copies that Jupyter kept aside.

    Raises NotADirectoryError if there is no such folder.
    """
    if not folder.is_dir():
        raise NotADirectoryError(f"FOLDER is {str(folder)!r}: there is no such folder")
    for at, folders, files in os.walk(folder):
        folders[:] = sorted(x for x in folders if x != ".ipynb_checkpoints")
        for name in sorted(files + folders):
            if name.lower().endswith(".ipynb"):
                yield Path(at, name)


def content(path, size):
    """The bytes of a file; Unreadable if it is a link, no file, larger than size, or not yours."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    except OSError as error:
        if path.is_symlink():
            raise Unreadable("a link: links are not followed") from None
        raise Unreadable(f"cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise Unreadable("not a file")
    with open(handle, "rb") as file:
        read = file.read(size + 1)
    if len(read) > size:
        raise Unreadable(f"larger than {size / 1e6:g} MB: clear its outputs, and hand it in again")
    return read


def parsed(path, size=NOTEBOOK):
    """The dict that a file of JSON holds; Unreadable if it holds none."""
    read = content(path, size)
    if not read.strip():
        raise Unreadable("empty")
    try:
        found = json.loads(read)
    except (ValueError, RecursionError):
        raise Unreadable("broken: no JSON") from None
    if not isinstance(found, dict):
        raise Unreadable("broken: JSON, but no notebook")
    return found


def code_cells(notebook):
    """Source and exercises of every code cell of a notebook; Unreadable if it has another form."""
    if notebook.get("nbformat") != 4:
        raise Unreadable("no notebook of format 4: open it in JupyterLab, and save it")
    cells = notebook.get("cells")
    if not isinstance(cells, list) or not all(isinstance(x, dict) for x in cells):
        raise Unreadable("broken: it has no cells")
    for cell in cells:
        source, metadata = cell.get("source"), cell.get("metadata")
        source = source if isinstance(source, list) else [source]
        tags = metadata.get("tags") if isinstance(metadata, dict) else None
        tags = tags if isinstance(tags, list) else []
        if not all(isinstance(x, str) for x in (*source, *tags)):
            raise Unreadable("broken: a cell is no text")
        if cell.get("cell_type") == "code":
            known = {"cell_type": "code", "source": source, "metadata": {"tags": tags}}
            yield "".join(source), copies.exercises(known)


def answers(notebook, lessons):
    """The Answers in a notebook, and the exercises it names that the course does not have.

    Of several cells for one exercise the last counts that is not as the course has it. Raises
    Unreadable if there is no exercise.
    """
    cells = list(code_cells(notebook))
    about = [exercises for _, exercises in cells]
    last = {}
    for i, (source, _) in enumerate(cells):
        for name in about[i]:
            if name not in last or not untouched(source, lessons.get(name)):
                last[name] = i
    if not last:
        raise Unreadable("no exercise in it")
    found = []
    for name, i in last.items():
        if name in lessons:
            before = [k for k in sorted({*last.values()}) if k < i and name not in about[k]]
            others = [k for k in range(i) if not about[k]]
            found.append(Answer(name, *(texts(cells, of) for of in ([i], before, others))))
    return found, [name for name in last if name not in lessons]


def texts(cells, which):
    """The sources of some cells; what is longer than CELL is cut off, and will be no Python."""
    return [cells[k][0][:CELL] for k in which]


def untouched(source, lesson):
    """Whether a cell is as the course has it, or empty, spaces aside."""
    return not source.split() or (lesson is not None and source.split() == lesson.stub.split())


def attempts(path):
    """How often each exercise was tried, as the progress*.json beside a notebook say.

    {} if there are none, or those of several learners.
    """
    counts, learners = {}, set()
    for beside in sorted(path.parent.glob("progress*.json")):
        try:
            kept = parsed(beside, PROGRESS)
        except Unreadable:
            continue
        learners.add(str(kept.get("learner")))
        rows = kept.get("exercises")
        for name, entry in rows.items() if isinstance(rows, dict) else []:
            n = entry.get("attempts") if isinstance(entry, dict) else None
            if type(n) is int and 0 <= n < 10**6:
                counts[name] = max(n, counts.get(name, 0))
    return counts if len(learners) == 1 else {}


def made_from(notebook):
    """The version of the lesson that a notebook says it was copied from, or ""."""
    metadata = notebook.get("metadata")
    noted = metadata.get("course") if isinstance(metadata, dict) else None
    version = noted.get("made_from") if isinstance(noted, dict) else None
    return version if isinstance(version, str) else ""
