"""A learner's own copy of every lesson: made where it is missing, and never overwritten.

    python -m course_utils.copies            make what is missing, say what is newer (make lab)
    python -m course_utils.copies newer      newer lessons, beside the old copies (make newer)
    python -m course_utils.copies fresh 04   a fresh copy of one lesson (make fresh LESSON=04)

The copy of a lesson has its name, later ones end in _v2, _v3 and so on. A copy has no outputs; in
its metadata it keeps what it was made from, and in that of an exercise's cell the stub.
"""

import ast
import hashlib
import json
import os
import re
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from filelock import FileLock

from course_utils import record

PACKAGE = Path(__file__).resolve().parent
ROOT = PACKAGE.parent  # of the clone; of a wheel, where it is installed
COLAB = "colab.research.google.com"
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s#:]+)(#[^)]*)?\)")  # within the course
CHECK = re.compile(r"""^[^#\n]*\bcheck\(\s*["'](\d\d\.\w+)["']""", flags=re.M)
TAG = "exercise:"
CHANGED = "# The exercise has changed. It now begins:"
FROM_BEFORE = """\
## From your copy before

What you wrote for exercises that this lesson does not have any more, or a second time for one that
it has. It is commented out; to run it, select it and press *Ctrl+/*."""


def my_lessons(folder=None):
    """Make the copies that are missing, in your own folder or another; say which are not of today.

    Raises OSError, with the remedy, if nothing can be written there.
    """
    course = lessons()
    with writing(folder) as folder:
        if made := make_missing(course, folder):
            lessons_are = "1 lesson is" if len(made) == 1 else f"{len(made)} lessons are"
            print(f"{lessons_are} now in {short(folder)}, yours to write in.")
        if record.in_colab() and not folder.is_relative_to(record.DRIVE):
            print("They end with this runtime. To keep them, mount your Drive, and run this again.")
        if old := outdated(course, folder, tell=print):
            print(f"{told(old).capitalize()}.")


def newer(folder=None):
    """Bring newer lessons beside the old copies, with the newest answer to each exercise.

    Raises OSError, with the remedy, if nothing can be written there.
    """
    course = lessons()
    with writing(folder) as folder:
        old = outdated(course, folder, tell=print)
        paths = {name: next_path(name, folder) for name in old}
        newest = newest_paths(course, folder) | paths
        for name, path in paths.items():
            notebook = fresh_copy(course[name], folder, newest)
            carried = carry(filter(None, map(opened, reversed(copies(name, folder)))), notebook)
            record.write(path, notebook)
            answers = f"with your answers to {', '.join(carried)}" if carried else "no answers yet"
            print(f"{path.name} in {short(folder)}: as it is in the course, {answers}.")
        if paths:
            print("Open them in the file browser: links in your other copies lead to the old ones.")
        else:
            print(f"Your lessons in {short(folder)} are as new as the course.")


def fresh(lesson, folder=None):
    """Make a fresh copy of one lesson, 4 or "04", beside what is there.

    Raises ValueError if there is no such lesson; OSError if nothing can be written there.
    """
    course = lessons()
    name = next((x for x in course if x[:2] == str(lesson).zfill(2)), None)
    if name is None:
        there = ", ".join(x[:2] for x in course)
        raise ValueError(f"there is no lesson {lesson!r}; there are {there}")
    with writing(folder) as folder:
        path = next_path(name, folder)
        newest = newest_paths(course, folder) | {name: path}
        record.write(path, fresh_copy(course[name], folder, newest))
        print(f"{path.name} in {short(folder)}: lesson {name[:2]} as it begins.")


def state(folder=None):
    """What copies there are, in words or "", and what to do if the course is newer.

    With COURSE_PROGRESS=off there are none: no one's own folder is looked at.
    """
    course = lessons()
    folder = place(folder)
    there = [name for name in course if copies(name, folder)] if record.path() else []
    old = outdated(course, folder) if there else []
    later = [path.name for path in newest_paths(course, folder).values() if path.stem not in course]
    found = "; ".join([f"{len(there)} of yours in {short(folder)}", *later]) if there else ""
    return found, told(old) if old else ""


def start(folder=None):
    """Lesson 00 in the learner's folder, as a path from the working directory.

    Raises ValueError if a JupyterLab that is started here could not show it.
    """
    path = os.path.relpath(min(newest_paths(lessons(), place(folder)).values()))
    if path.startswith(os.pardir):
        folder = Path(path).resolve().parent
        raise ValueError(
            f"JupyterLab shows what is in {Path.cwd()}, and your lessons are in {folder}: "
            f"unset COURSE_FOLDER, or run jupyter lab there"
        )
    return Path(path).as_posix()


# The course's lessons, and how they become copies


def lessons():
    """The lessons of the course by name, in a clone and in an installed wheel alike.

    Raises FileNotFoundError if they are missing.

    >>> list(lessons())[0]
    '00_start_here'
    """
    paths = sorted(lessons_folder().glob("*.ipynb"))
    if not paths:
        raise FileNotFoundError(f"no lessons in {lessons_folder()}; install the course again")
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def lessons_folder():
    installed = PACKAGE / "notebooks"
    return installed if installed.is_dir() else ROOT / "notebooks"


def source(cell):
    return "".join(cell["source"])  # a text, or its lines


def made_from(lesson):
    """What tells one version of a lesson from another: a hash of its cells' ids and sources.

    Where the course is published changes a badge and Colab's set-up cell: these do not count.
    """
    cells = [
        (cell["id"], [x for x in source(cell).split("\n") if x and COLAB not in x])
        for cell in lesson["cells"]
        if not cell["id"].endswith("-colab")
    ]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()[:16]


def exercise(cell):
    """The exercise that a cell is for, by its tag, else by what it checks; "" if it is for none."""
    return next(iter(exercises(cell)), "")


def exercises(cell):
    """The exercises that a cell is for: its tag's first, then those it hands to check.

    >>> code = {"cell_type": "code", "metadata": {"tags": ["exercise:01.attention"]}}
    >>> exercises(code | {"source": "checks.check('02.causal_mask', causal_mask)"})
    ['01.attention', '02.causal_mask']
    """
    if cell["cell_type"] != "code":
        return []
    tags = cell["metadata"].get("tags", [])
    tagged = [x.removeprefix(TAG) for x in tags if x.startswith(TAG)]
    return list(dict.fromkeys([*tagged, *CHECK.findall(source(cell))]))


def fresh_copy(lesson, folder, newest):
    """A lesson without outputs, with links that work in the folder: a notebook as a dict."""
    cells = []
    for old in lesson["cells"]:
        cell = old | {"source": source(old), "metadata": dict(old["metadata"])}
        if cell["cell_type"] == "code":
            cell |= {"outputs": [], "execution_count": None}
        else:
            cell["source"] = LINK.sub(lambda x: lead(x, folder, newest), cell["source"])
        if exercise(cell):
            cell["metadata"]["course"] = {"stub": cell["source"]}
        cells.append(cell)
    course = lesson["metadata"]["course"] | {"made_from": made_from(lesson)}
    return lesson | {"cells": cells, "metadata": lesson["metadata"] | {"course": course}}


def lead(link, folder, newest):
    """A link of a lesson as it must be in a copy; where none can lead there, the file's name.

    A Jupyter server shows what is below its root: we count on the clone, or the home, as that.
    """
    text, target, anchor = link.groups("")
    name = target.removesuffix(".ipynb")
    if name in newest:
        return f"[{text}]({newest[name].name}{anchor})"
    beside = [lessons_folder() / target, lessons_folder().parent / target]  # clone, wheel
    file = Path(os.path.abspath(next(filter(Path.exists, beside), beside[0])))
    tops = (ROOT, Path.home()) if lessons_folder().parent == ROOT else ()
    if any(file.is_relative_to(top) and folder.is_relative_to(top) for top in tops):
        return f"[{text}]({quote(Path(os.path.relpath(file, folder)).as_posix())}{anchor})"
    return f"{text} (`{file.relative_to(ROOT).as_posix()}`)"


# The learner's folder


def place(folder=None):
    """The folder as an absolute path; without one the learner's own."""
    return Path(os.path.abspath(Path(folder).expanduser())) if folder else record.folder()


def short(folder):
    """How to write the path of a folder: from the clone, or from the home.

    >>> short(Path.home() / "my_lessons")
    '~/my_lessons'
    """
    if folder.is_relative_to(ROOT):
        return folder.relative_to(ROOT).as_posix()
    if folder.is_relative_to(Path.home()):
        return f"~/{folder.relative_to(Path.home()).as_posix()}"
    return str(folder)


@contextmanager
def writing(folder):
    """The folder, to be written by nobody else; OSError says what to do if it cannot be written."""
    folder = place(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(record.lock_path(folder), timeout=record.WAIT):
            yield folder
    except OSError as error:
        raise OSError(
            f"your lessons cannot be written: {error}; set COURSE_FOLDER to a folder that you can "
            "write to, such as ~/my_lessons"
        ) from error


def copies(name, folder):
    """The copies of a lesson in a folder, from the oldest to the newest."""
    found = {}
    for path in folder.glob(f"{name}*.ipynb"):
        if match := re.fullmatch(r"(?:_v([2-9]|[1-9]\d+))?", path.stem.removeprefix(name)):
            found[int(match[1] or 1)] = path
    return [found[i] for i in sorted(found)]


def next_path(name, folder):
    """Where the next copy of a lesson goes."""
    there = copies(name, folder)
    if not there:
        return folder / f"{name}.ipynb"
    last = there[-1].stem.removeprefix(f"{name}_v")
    return folder / f"{name}_v{int(last) + 1 if last.isdecimal() else 2}.ipynb"


def newest_paths(course, folder):
    """The newest copy of each lesson, or where its first one goes."""
    return {name: [folder / f"{name}.ipynb", *copies(name, folder)][-1] for name in course}


def make_missing(course, folder):
    """Make the copies that are missing; returns the names of their lessons."""
    newest = newest_paths(course, folder)
    missing = [name for name in course if not copies(name, folder)]
    for name in missing:
        record.write(newest[name], fresh_copy(course[name], folder, newest))
    return missing


def outdated(course, folder, tell=None):
    """The lessons of which the newest copy is not of today, is damaged, or is missing.

    tell is called with a line for each copy that cannot be read.
    """
    old = []
    for name, path in newest_paths(course, folder).items():
        copy = opened(path)
        if tell and not copy and path.exists():
            tell(f"{path.name} cannot be read as a notebook; it stays as it is.")
        if not copy or not is_of(copy, course[name]):
            old.append(name)
    return old


def is_of(copy, lesson):
    """Whether a copy is made from a lesson as it is now; if it lost its mark, its cells say so."""
    if copy.made_from:
        return copy.made_from == made_from(lesson)
    return {unlinked(source(x)) for x in lesson["cells"] if not exercise(x)} <= copy.sources


def unlinked(text):
    """A text without what `lead` changes in it."""
    return re.sub(r" \(`[^`]*`\)", "", LINK.sub(r"\1", text))


def told(names):
    """Which lessons the course has newer, and the one command that brings them.

    >>> told(["04_kv_cache", "05_multi_query_attention", "06_grouped_query_attention"])
    'lessons 04, 05 and 06 are newer in the course: ... brings them beside yours, with your answers'
    """
    *others, last = (name[:2] for name in names)
    one, many = f"lesson {last} is", f"lessons {', '.join(others)} and {last} are"
    own = Path(sys.prefix).parent.resolve() == ROOT  # make or start.py has set the course up
    command = "make newer" if own and shutil.which("make") else "environment.newer() in a cell"
    return (
        f"{many if others else one} newer in the course: {command} brings "
        f"{'them' if others else 'it'} beside yours, with your answers"
    )


# What a learner has written


class Copy(NamedTuple):
    made_from: str
    answers: list  # (exercise, source, its stub or "" if that is lost)
    kept: list  # sources of cells with answers from still earlier copies
    sources: set  # of all its cells, without links


def opened(path):
    """What is in a copy; None if it is no notebook."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        cells = notebook["cells"]
        "".join(map(source, cells)).encode("utf-8")  # or it could not be written again
        tagged = sorted(filter(exercise, cells), key=lambda x: not x["metadata"].get("tags"))
        return Copy(
            mark(notebook, "made_from"),
            [(exercise(x), source(x), mark(x, "stub")) for x in tagged],
            [source(x) for x in cells if "kept" in x["metadata"].get("tags", [])],
            {unlinked(source(x)) for x in cells},
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None  # which is told where it matters


def mark(noted, name):
    """What `fresh_copy` has noted in the metadata of a notebook or a cell; "" if that is lost."""
    there = (noted["metadata"].get("course") or {}).get(name)
    return there if isinstance(there, str) else ""


def carry(before, notebook):
    """Put the answers of copies, the newest first, into a new notebook; returns whose exercises.

    Those that find no cell of their own are kept at its end.
    """
    cells = {exercise(cell): cell for cell in notebook["cells"] if exercise(cell)}
    carried, kept, later = [], [], set()  # later: what a newer copy has an answer to
    for copy in before:
        kept += [x for x in copy.kept if x != FROM_BEFORE and x not in kept]
        found = set()
        for name, answer, was in copy.answers:
            now = mark(cells[name], "stub") if name in cells else ""
            if name in later or answer.strip() in ("", (was or now).strip()):
                continue  # or nothing written
            found.add(name)
            if name in cells and name not in carried:
                cells[name]["source"] = merged(answer, was or now, now)
                carried.append(name)
            elif (text := f"# {name}\n{commented(answer)}") not in kept:
                kept.append(text)
                carried.append(f"{name} (at its end)")
        later |= found
    for i, text in enumerate([FROM_BEFORE, *kept] if kept else []):
        cell = {"id": f"kept-{i}", "metadata": {"tags": ["kept"]}, "source": text}
        code = {"cell_type": "code", "outputs": [], "execution_count": None}
        notebook["cells"].append(cell | (code if i else {"cell_type": "markdown"}))
    return carried


def merged(answer, was, now):
    """An answer to the stub that was, in the cell of the stub that is now: it runs as that does."""
    if was == now:
        return answer
    asked, call = parted(now)
    asked_before, call_before = parted(was)
    own = answer.rstrip().removesuffix(call_before).rstrip()
    if not fits(own, asked):
        said = "# The exercise above has changed. You wrote, for the one before:"
        return f"{now}\n\n{said}\n{commented(answer)}"
    if asked != asked_before:
        own = re.sub(rf"\A{CHANGED}(\n#.*)*\n\n", "", own)  # said of an earlier change
        own = f"{CHANGED}\n{commented(asked)}\n\n{own}"
    return f"{own}\n\n{call}"


def parted(stub):
    """A stub: what a learner completes, and what comes after that, from the check on."""
    check = CHECK.search(stub)
    return (stub[: check.start()].rstrip(), stub[check.start() :].rstrip()) if check else (stub, "")


def fits(answer, stub):
    """Whether an answer defines what its stub does, with arguments of the same names.

    >>> fits("def f(x): return 2 * x", "def f(x): ..."), fits("def f(x): pass", "def f(x, y): ...")
    (True, False)
    """
    try:
        return defined(stub).items() <= defined(answer).items()
    except (SyntaxError, ValueError, RecursionError):
        return False


def defined(code):
    """The classes and functions in a source, with the names of their arguments."""
    nodes = list(ast.walk(ast.parse(code)))
    classes = {x.name: None for x in nodes if isinstance(x, ast.ClassDef)}
    functions = [x for x in nodes if isinstance(x, ast.FunctionDef)]
    return classes | {x.name: [arg.arg for arg in arguments(x)] for x in functions}


def arguments(function):
    return [x for x in ast.walk(function.args) if isinstance(x, ast.arg)]


def commented(code):
    return "\n".join(f"# {line}".rstrip() for line in code.strip().splitlines())


def main(command="", *lesson):
    """Do as the command line says."""
    if command == "start":
        print(start())
    else:
        {"": my_lessons, "newer": newer, "fresh": fresh}[command](*lesson)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (OSError, ValueError) as error:
        sys.exit(str(error))
