"""Judge notebooks that were handed in: one row for each exercise, in a table beside them.

    python -m makers.assess handed_in 2026-11-26    (make assess FOLDER=handed_in SEED=2026-11-26)

Every answer runs alone: the imports of its lesson and of the notebook, then the learner's exercise
cells up to its own. What that cell hands to `check` is examined on probes drawn from the seed,
today's date if none is named. A row's diagnosis is what `check` says, or what ended the answer.

What this protects from, with bubblewrap (makers/sandbox.py): an answer sees no file but Python and
this course, so neither what others handed in nor yours; it writes into memory that is gone with it;
it reaches no network; it ends by itself or is ended, alone, after a time, with the processes it
started; it may take so much memory, so many processes. The others are judged as if it were not.

What it does not protect from: a hole in the kernel; and started as root it is weaker than as you.
And a forger: answer and judge are in one process of Python, and who looks for the judge there can
make it say "passed". To change `check`, the course's functions or the judge's is not enough, all
are read anew; but Python and PyTorch are one for both.
That an answer is, or calls, the library's own is remarked if it does so plainly. Nor can anything
here know who wrote an answer, or whether it is copied from the solution that `check` shows.

ISOLATION=none leaves the sandbox out, if you trust every line: then answers run as you.
"""

import csv
import datetime
import json
import os
import queue
import re
import sys
import tempfile
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import psutil
from tqdm import tqdm

from course_utils import copies
from course_utils.checks import engine
from makers import handed_in, sandbox

SECONDS = 20  # for the learner's cell, and again for judging it
START = 60  # for Python, and what the answer needs from other cells
OF_CHECK = {  # diagnoses that every exercise has
    "an error",
    "an in-place edit",
    "another dtype",
    "not a function",
    "nothing returned",
    "something else",
}
NOT_STARTED = "not started"
ENDED = {  # diagnosis: remark
    "out of time": "an endless loop, or far too slow; or this machine was busy",
    "out of memory": "it took too much, or this machine had too little left",
    "too many processes": "it started them without end",
    "ended the process": "os._exit, a crash, or a signal",
    "no verdict": "the judge could not finish: look at this cell yourself",
}
LIBRARY = "calls the library's own"
UNKNOWN = "a name is unknown: is it from a cell that is no exercise?"


class Row(NamedTuple):
    """A line of the table; without an exercise it says why there is none."""

    learner: str
    notebook: str
    exercise: str = ""
    passed: str = ""
    diagnosis: str = ""
    attempts: int | str = ""
    remark: str = ""


def assess(folder, seed, isolated=True, seconds=SECONDS, show=sys.stderr, stop=None):
    """The Rows of all notebooks below a folder, in order.

    Ctrl-C sets the Event stop; then those that are done by now. Raises NotADirectoryError if there
    is no such folder.
    """
    lessons = handed_in.course()
    versions = set(map(copies.made_from, copies.lessons().values()))
    stop = stop or threading.Event()
    slots = queue.SimpleQueue()
    for slot in range(workers()):
        slots.put(slot)

    def judge(row, answer):
        if not answer:
            return row
        slot = slots.get()
        try:
            lesson = lessons[answer.exercise]
            found = judged(answer, lesson, seed, isolated, slot, seconds, stop)
        finally:
            slots.put(slot)
        if stop.is_set():
            return None
        passed, diagnosis, remark = found
        remark = "; ".join(filter(None, [row.remark, remark]))
        return row._replace(passed="yes" if passed else "no", diagnosis=diagnosis, remark=remark)

    found = [
        pair
        for path in handed_in.notebooks(folder)
        for pair in rows(path, folder, lessons, versions)
    ]
    bar = tqdm(total=len(found), unit="row", file=show, disable=show is None)
    with bar, ThreadPoolExecutor(slots.qsize()) as pool:
        futures = []
        try:
            for row, answer in found:
                futures.append(pool.submit(judge, row, answer))
            for future in futures:
                future.result()
                bar.update()
        except KeyboardInterrupt:
            stop.set()
        finally:
            pool.shutdown(cancel_futures=True)
    return [x.result() for x in futures if not x.cancelled() and x.result()]


def workers():
    """How many answers run at the same time: one a core, if each may take all the memory it may."""
    return max(1, min(os.cpu_count(), psutil.virtual_memory().available // sandbox.TOTAL))


def rows(path, folder, lessons, versions):
    """Row and Answer of each exercise in a notebook; the Answer is None where nothing must run."""
    learner, name = who(path.relative_to(folder))
    try:
        notebook = handed_in.parsed(path)
        answers, unknown = handed_in.answers(notebook, lessons)
        made_from = handed_in.made_from(notebook)
        tried = handed_in.attempts(path)
    except handed_in.Unreadable as error:
        yield Row(learner, name, remark=str(error)), None
        return
    if unknown:
        few = plain(", ".join(unknown[:3]))
        yield (
            Row(learner, name, remark=f"of another version: the course has no exercise {few}"),
            None,
        )
    older = "from another version of its lesson" if made_from and made_from not in versions else ""
    for answer in answers:
        row = Row(learner, name, answer.exercise, attempts=tried.get(answer.exercise, ""))
        row = row._replace(remark=older)
        if all(handed_in.untouched(x, lessons[answer.exercise]) for x in answer.cell):
            yield row._replace(passed="no", diagnosis=NOT_STARTED), None
        else:
            yield row, answer
    there = {answer.exercise for answer in answers}
    for missing in lessons:
        if missing not in there and missing[:2] in {exercise[:2] for exercise in there}:
            yield Row(learner, name, missing, "no", NOT_STARTED, remark="its cell is gone"), None


def who(path):
    """Whose a notebook is: the first folder's name, or else the file's; and its own name."""
    return plain(path.parts[0] if len(path.parts) > 1 else path.stem), plain(str(path))


def plain(text):
    """A text in one line, of what can be printed, and no formula in a spreadsheet.

    >>> plain("=1+1\\n")
    "'=1+1?"
    """
    text = "".join(x if x.isprintable() else "?" for x in text)[:120]
    return f"'{text}" if text[:1] in tuple("=+-@") else text


def judged(answer, lesson, seed, isolated, slot, seconds, stop):
    """Whether an answer passed, the diagnosis, and a remark."""
    job = {
        "name": answer.exercise,
        "seed": seed,
        "stub": lesson.function,
        "course": lesson.set_up,
        "theirs": answer.others,
        "before": answer.before,
        "answer": "".join(answer.cell),
        "seconds": seconds,
        **sandbox.limits(isolated, slot, START + 2 * seconds),
    }
    given = json.dumps(job).encode()
    said, why = sandbox.run("makers.judge", given, isolated, START + 2 * seconds, stop)
    return (False, why, ENDED[why]) if why else believed(said, engine.find(answer.exercise))


def believed(said, exercise):
    """What a verdict says, if it is one that can be: it comes from where a stranger's code ran.

    >>> believed(b'{"passed": true, "diagnosis": "well done"}', engine.find("01.attention"))[1]
    'no verdict'
    """
    if not said:
        return False, "ended the process", ENDED["ended the process"]
    try:
        found = json.loads(said)
        passed, diagnosis = found.get("passed", False), found["diagnosis"]
        if passed is True and diagnosis is None:
            return True, "", LIBRARY if found["library"] is True else ""
        if passed is False and diagnosis in ENDED:
            return False, diagnosis, ENDED[diagnosis]
        if passed is False and diagnosis in OF_CHECK | exercise.mistakes.keys() | {NOT_STARTED}:
            unknown = diagnosis == "an error" and found["unknown name"] is True
            return False, diagnosis, UNKNOWN if unknown else ""
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        pass
    return False, "no verdict", ENDED["no verdict"]


def write(path, rows, isolated):
    """The rows as CSV, put in the place of what was there."""
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, delete=False, newline="", encoding="utf-8"
    ) as file:
        table = csv.writer(file)
        table.writerow([*Row._fields, "isolation"])
        table.writerows([*row, "bubblewrap" if isolated else "none"] for row in rows)
    os.chmod(file.name, 0o644)
    os.replace(file.name, path)


def text(rows, isolated):
    """The rows to read, and what they come to."""
    head = [] if isolated else [f"Isolation: {sandbox.NONE}.", ""]
    titles = ("notebook", "exercise", "passed", "diagnosis", "attempts", "remark")
    table = [titles, *(tuple(str(getattr(row, x)) for x in titles) for row in rows)]
    widths = [max(len(line[i]) for line in table) for i in range(len(titles) - 1)]
    lines = ["  ".join(map(str.ljust, line, [*widths, 0])).rstrip() for line in table]
    return "\n".join([*head, *lines, "", *summary(rows)])


def summary(rows):
    """How many passed each exercise, and what was wrong with the others, most often first."""
    files = len({row.notebook for row in rows})
    judged = [row for row in rows if row.exercise]
    odd = len(rows) - len(judged)
    passed = sum(row.passed == "yes" for row in judged)
    yield f"{files} notebooks, {len(judged)} exercises, {passed} passed; {odd} lines of no exercise"
    for exercise in sorted({row.exercise for row in judged}):
        of = [row for row in judged if row.exercise == exercise]
        wrong = Counter(row.diagnosis for row in of if row.passed == "no").most_common()
        said = "".join(f", {diagnosis} {n}" for diagnosis, n in wrong)
        yield f"{exercise}: {sum(row.passed == 'yes' for row in of)} of {len(of)} passed{said}"


def main(folder, seed="", isolation=""):
    """Assess, write the table, print it."""
    folder, seed = Path(folder).resolve(), seed or datetime.date.today().isoformat()
    if not re.fullmatch(r"[\w.-]{1,40}", seed, flags=re.A):
        raise ValueError(f"SEED is {seed!r}; name a word, as in SEED=2026-11-26")
    isolated = sandbox.ready(isolation, folder)
    if folder.is_dir():
        with tempfile.TemporaryFile(dir=folder):
            pass  # the table can be written: else that is told now, not after an hour
    stop = threading.Event()
    rows = assess(folder, seed, isolated, stop=stop)
    if not rows and not stop.is_set():
        raise ValueError(f"no notebook (*.ipynb) in {folder}")
    path = folder / f"assessed-{seed}{'-interrupted' * stop.is_set()}.csv"
    print(text(rows, isolated))
    write(path, rows, isolated)
    print(f"\nThe table: {path}")
    if stop.is_set():
        sys.exit("Interrupted: the others are not judged.")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except (ValueError, OSError, sandbox.Refused) as error:
        sys.exit(str(error))
