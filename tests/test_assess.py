"""What is handed in is judged right, and whatever it does, the others are, and nothing is lost."""

import csv
import inspect
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from types import SimpleNamespace

import nbformat
import psutil
import pytest
from lessons import PATHS, ROOT, code, read

from course_utils.checks import engine
from course_utils.checks.engine import exercises
from makers import assess, handed_in, sandbox

RIGHT = """
def attention(q, k, v):
    weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1)
    return weights @ v, weights
"""
CHECK = 'result = checks.check("01.attention", attention)\n'
WRONG = RIGHT.replace(" / q.shape[-1] ** 0.5", "")
IF_REFUSED = """
import os, socket, shutil, subprocess, threading, time
def refused(act, *given):
    try:
        act(*given)
    except (OSError, RuntimeError) as error:
        return True
    return False
"""  # the answers below are right only where what they try is refused
PLAIN = {  # learner: the cell, and what passed, diagnosis and remark must be
    "an error above": ("attention = undefined\n" + CHECK, "no", "an error", assess.UNKNOWN),
    "the library's": (
        "from course_utils import attention as library\n"
        'checks.check("01.attention", lambda q, k, v: library.attention(q, k, v))',
        *("yes", "", assess.LIBRARY),
    ),
}
HOSTILE = {
    "forged": (
        WRONG
        + "from course_utils.checks import compare, engine\n"
        + "engine.close = compare.close = lambda *given: True\n"
        + "engine.examine = lambda *given: engine.Result(True, True, None, '')\n"
        + "import makers.judge\nmakers.judge.finish = lambda *given: None\n"
        + CHECK,
        *("no", "no scale", ""),
    ),
    "an endless loop": (
        RIGHT.replace("    weights", "    while True: pass\n    weights", 1) + CHECK,
        *("no", "out of time", assess.ENDED["out of time"]),
    ),
    "10 GB in six processes": (
        f"{IF_REFUSED}{RIGHT}for _ in range(6):\n"
        "    if not os.fork():\n"
        "        much = b'x' * (17 * 10**8)\n"
        f"        time.sleep(100)\ntime.sleep(100)\n{CHECK}",
        *("no", "out of memory", assess.ENDED["out of memory"]),
    ),
    "os._exit": (
        f"{IF_REFUSED}subprocess.Popen(['sleep', '31415'], start_new_session=True)\nos._exit(0)",
        *("no", "ended the process", assess.ENDED["ended the process"]),
    ),
    "kills its parent": (
        f"{IF_REFUSED}os.kill(os.getppid(), 9)\ntime.sleep(100)\n{CHECK}",
        *("no", "ended the process", assess.ENDED["ended the process"]),
    ),
    "many processes": (
        f"{IF_REFUSED}\nfor _ in range(60):\n    subprocess.Popen(['sleep', '31415'])\n"
        f"time.sleep(100)\n{CHECK}",
        *("no", "too many processes", assess.ENDED["too many processes"]),
    ),
    "many threads": (
        f"{IF_REFUSED}{RIGHT}\nthreads = [threading.Thread(target=time.sleep, args=[5], daemon=True)"
        " for _ in range(1000)]\n"
        f"started = [not refused(x.start) for x in threads]\n"
        f"attention = attention if sum(started) < 200 else None\n{CHECK}",
        *("yes", "", ""),
    ),
    "takes much, deletes all, ends in an error": (
        f"import mmap, torch\n{IF_REFUSED}"
        + RIGHT.replace("    weights", "    print('x' * 10**7)\n    weights", 1)
        + "kept = [refused(torch.ones, 10 * 2**28), refused(mmap.mmap, -1, 10 * 2**30)]\n"
        "files = []  # whose bytes are in no process\n"
        "kept += [refused(lambda: [files.append(os.memfd_create('x')) for _ in range(200)])]\n"
        "kept += [refused(os.truncate, files[0], 10**8)]\n"
        "for x in files: os.close(x)\n"
        "for _ in range(10): print('x' * 10**7)\n"
        "attention = attention if all(kept) else None\n"
        f"{CHECK}\nfor x in (FOLDER, ROOT, '/tmp', '/dev/shm'):\n"
        "    shutil.rmtree(x, ignore_errors=True)\n"
        "assert result.passed, result.nothing",
        *("yes", "", ""),
    ),
    "reads, writes and calls out": (
        f"{IF_REFUSED}{RIGHT}\n"
        "hidden = FOLDER, HOME + '/.ssh', HOME + '/.bashrc', ROOT + '/.git', '/etc/passwd', '/var'\n"
        "got = [x for x in hidden if os.path.exists(x)]\n"
        "got += ['processes'] * (sum(x.isdigit() for x in os.listdir('/proc')) > 5)\n"
        "got += ['variables'] * ('SECRET' in os.environ)\n"
        "got += [] if refused(open, f'/proc/{os.getppid()}/mem') else ['the judge']\n"
        "got += [x for x in (('127.0.0.1', PORT), ('1.1.1.1', 53))\n"
        "        if not refused(socket.create_connection, x, 2)]\n"
        "folders = '/', '/usr', '/dev', '/proc', HOME, ROOT + '/course_utils', PREFIX, FOLDER\n"
        "got += [x for x in folders if not refused(open, x + '/written', 'w')]\n"
        "for folder in ('/tmp', '/dev/shm'):\n"
        "    def fill():\n"
        "        for i in range(10):\n"
        "            with open(f'{folder}/{i}', 'wb') as file: file.write(bytes(3 * 10**7))\n"
        "    got += [] if refused(fill) else [folder]\n"
        "refused(open, ROOT + '/written', 'w')  # or in memory only, if the course is in /tmp\n"
        f"attention = None if got else attention\n{CHECK}",
        *("yes", "", ""),
    ),
}


def available():
    try:
        return sandbox.ready()
    except sandbox.Refused:
        return False


def notebook(*sources, tags=(), **metadata):
    cells = [nbformat.v4.new_code_cell(x, metadata={"tags": list(tags)}) for x in sources]
    return nbformat.v4.new_notebook(cells=cells, metadata=metadata)


def save(path, found):
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(found, path)


def handed(answer):
    """Lesson 01 with an answer in its exercise cell."""
    lesson = read(PATHS[1])
    (cell,) = [x for x in code(lesson) if "exercise:01.attention" in x.metadata.get("tags", [])]
    cell.source = answer
    return lesson


def files(folder):
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def shown(rows):
    return {row.learner: (row.passed, row.diagnosis, row.remark) for row in rows}


def test_hostile_answers_get_their_line_and_the_others_are_judged_right(tmp_path, monkeypatch):
    if not available():
        with pytest.raises(sandbox.Refused, match=r"apt install|cannot make the sandbox"):
            assess.main(tmp_path)
        return
    monkeypatch.setenv("SECRET", "one")
    with socket.create_server(("127.0.0.1", 0)) as server:
        names = {
            "FOLDER": str(tmp_path),
            "HOME": os.path.expanduser("~"),
            "ROOT": str(ROOT),
            "PREFIX": sys.prefix,
            "PORT": server.getsockname()[1],
        }
        told = "".join(f"{name} = {value!r}\n" for name, value in names.items())
        for learner, (cell, *_) in HOSTILE.items():
            save(tmp_path / learner / "01.ipynb", handed(told + cell))
        before = files(tmp_path), files(ROOT / "makers"), files(ROOT / "course_utils")
        rows = assess.assess(tmp_path, "2026-11-26", seconds=10, show=None)
    assert shown(rows) == {learner: tuple(said) for learner, (_, *said) in HOSTILE.items()}
    assert (files(tmp_path), files(ROOT / "makers"), files(ROOT / "course_utils")) == before
    assert not (ROOT / "written").exists()
    left = [x.info["cmdline"] for x in psutil.process_iter(["cmdline"])]
    assert not [x for x in left if "31415" in (x or ())]


def odd(folder):
    """What cannot be judged, each in a folder of its own, and what is said of it."""
    unlike = {
        "empty": (b"", "empty"),
        "half": (b'{"cells": [', "broken: no JSON"),
        "deep": (b"[" * 10**6, "broken: no JSON"),
        "bytes": (b"\xff\xfe\x00", "broken: no JSON"),
        "a list": (b"[]", "broken: JSON, but no notebook"),
        "a word for cells": (b'{"nbformat": 4, "cells": "none"}', "broken: it has no cells"),
        "a number": (
            b'{"nbformat": 4, "cells": [{"cell_type": "code", "source": 7}]}',
            "broken: a cell is no text",
        ),
        "old": (
            b'{"nbformat": 3, "worksheets": []}',
            "no notebook of format 4: open it in JupyterLab, and save it",
        ),
        "no cells": (b'{"nbformat": 4, "cells": []}', "no exercise in it"),
        "large": (
            b" " * (handed_in.NOTEBOOK + 1),
            "larger than 20 MB: clear its outputs, and hand it in again",
        ),
    }
    for name, (content, _) in unlike.items():
        (folder / name).mkdir()
        (folder / name / "01.ipynb").write_bytes(content)
    for name in ("link", "folder", "pipe"):
        (folder / name).mkdir()
    (folder / "link" / "01.ipynb").symlink_to(PATHS[1])
    (folder / "folder" / "01.ipynb").mkdir()
    os.mkfifo(folder / "pipe" / "01.ipynb")
    said = {name: text for name, (_, text) in unlike.items()}
    return said | {
        "link": "a link: links are not followed",
        "folder": "not a file",
        "pipe": "not a file",
    }


def test_what_is_no_notebook_gets_one_line(tmp_path):
    said = odd(tmp_path)
    (tmp_path / "a link").symlink_to(ROOT / "notebooks")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / ".ipynb_checkpoints" / "01.ipynb").touch()
    rows = assess.assess(tmp_path, "1", show=None)
    assert {row.learner: row.remark for row in rows} == said
    assert len(rows) == len(said)
    assert {(row.exercise, row.passed, row.diagnosis) for row in rows} == {("", "", "")}


def test_untouched_lessons_have_every_exercise_and_nothing_is_run(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "run", None)
    for path in PATHS:
        save(tmp_path / "ada" / path.name, read(path))
    rows = assess.assess(tmp_path, "1", show=None)
    assert [row.exercise for row in rows] == list(exercises())
    assert {row[3:] for row in rows} == {("no", assess.NOT_STARTED, "", "")}


def test_a_notebook_of_another_version_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(sandbox, "run", lambda *given: (b'{"passed": true}', ""))
    stub = handed_in.course()["02.causal_mask"].stub
    renamed = stub.replace("02.causal_mask", "02.old_mask")
    save(tmp_path / "a" / "02.ipynb", notebook(renamed))
    save(tmp_path / "b" / "02.ipynb", notebook(stub, course={"made_from": "long ago"}))
    rows = assess.assess(tmp_path, "1", show=None)
    assert [row[2:] for row in rows] == [
        ("", "", "", "", "of another version: the course has no exercise 02.old_mask"),
        ("02.causal_mask", "no", "not started", "", "from another version of its lesson"),
        ("02.causal_attention", "no", "not started", "", "its cell is gone"),
    ]


def test_exercises_are_found_without_tags_and_the_last_cell_that_was_changed_counts(tmp_path):
    stub = handed_in.course()["01.attention"].stub
    save(tmp_path / "1.ipynb", notebook(RIGHT + CHECK, "# " + WRONG + CHECK, stub, "x = 1"))
    lessons = handed_in.course()
    (answer,), unknown = handed_in.answers(handed_in.parsed(tmp_path / "1.ipynb"), lessons)
    assert answer.cell == ["# " + WRONG + CHECK] and not unknown
    save(tmp_path / "2.ipynb", notebook("pass", tags=["exercise:01.attention"]))
    assert handed_in.answers(handed_in.parsed(tmp_path / "2.ipynb"), lessons)[0][0].cell == ["pass"]
    save(tmp_path / "3.ipynb", notebook("# " + CHECK))
    with pytest.raises(handed_in.Unreadable, match="no exercise"):
        handed_in.answers(handed_in.parsed(tmp_path / "3.ipynb"), lessons)


def test_an_answer_comes_with_the_exercises_before_it(tmp_path):
    mask, attention = (handed_in.course()[f"02.causal_{x}"].stub for x in ("mask", "attention"))
    save(tmp_path / "2.ipynb", notebook("import math", mask, "x = 1", attention, "y = 1"))
    _, second = handed_in.answers(handed_in.parsed(tmp_path / "2.ipynb"), handed_in.course())[0]
    assert (second.before, second.others) == ([mask], ["import math", "x = 1"])


def test_the_course_s_own_set_up_comes_before_each_exercise():
    lessons = handed_in.course()
    assert list(lessons) == list(exercises())
    for lesson in lessons.values():
        assert "environment.set_up()" in lesson.set_up[0] and lesson.function in lesson.stub
        assert not [x for x in lesson.set_up if "pip install" in x]
    assert "import attention as library" in "\n".join(lessons["10.latent_kv"].set_up)


@pytest.mark.parametrize(
    "files, tried",
    [
        ({}, ""),
        ({"progress.json": {"learner": "a", "exercises": {"01.attention": {"attempts": 3}}}}, 3),
        (
            {
                "progress.json": {"learner": "a", "exercises": {"01.attention": {"attempts": 4}}},
                "progress-Ada.json": {
                    "learner": "a",
                    "exercises": {"01.attention": {"attempts": 3}},
                },
            },
            4,
        ),
        (
            {
                "progress-a.json": {"learner": "a", "exercises": {"01.attention": {"attempts": 3}}},
                "progress-b.json": {"learner": "b", "exercises": {"01.attention": {"attempts": 3}}},
            },
            "",
        ),
        ({"progress.json": {"exercises": {"01.attention": {"attempts": "=many"}}}}, ""),
        ({"progress.json": ["exercises"]}, ""),
    ],
)
def test_attempts_come_from_one_learner_s_progress_beside(tmp_path, files, tried):
    save(tmp_path / "01.ipynb", read(PATHS[1]))
    for name, kept in files.items():
        (tmp_path / name).write_text(json.dumps(kept))
    (row,) = assess.assess(tmp_path, "1", show=None)
    assert row.attempts == tried


@pytest.mark.parametrize(
    "said",
    [
        b"passed",
        b"{",
        b"[]",
        b"null",
        b"[" * 10**5,
        b'{"passed": true}',
        b'{"passed": true, "diagnosis": null}',
        b'{"passed": 1, "diagnosis": null, "library": false}',
        b'{"passed": true, "diagnosis": "no scale", "library": false}',
        b'{"passed": false, "diagnosis": "=1+1", "unknown name": false}',
        b'{"passed": false, "diagnosis": ["no scale"]}',
    ],
)
def test_only_a_verdict_that_can_be_is_believed(said):
    exercise = engine.find("01.attention")
    assert assess.believed(said, exercise) == (False, "no verdict", assess.ENDED["no verdict"])


def test_every_diagnosis_of_check_is_believed():
    given = inspect.getsource(engine.examine)
    for diagnosis in assess.OF_CHECK:
        assert f'"{diagnosis}"' in given
        said = json.dumps({"passed": False, "diagnosis": diagnosis, "unknown name": False})
        assert assess.believed(said.encode(), engine.find("01.attention"))[1] == diagnosis


def test_the_table_is_whole_and_no_link_leads_it_elsewhere(tmp_path, capsys):
    other = tmp_path / "other"
    other.write_text("mine")
    folder = tmp_path / "handed in"
    save(folder / "=1+1\n" / "01.ipynb", read(PATHS[1]))
    (folder / "assessed-1.csv").symlink_to(other)
    assess.main(folder, "1", "none")
    assert other.read_text() == "mine"
    with open(folder / "assessed-1.csv", newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row == {
        "learner": "'=1+1?",
        "notebook": "'=1+1?/01.ipynb",
        "exercise": "01.attention",
        "passed": "no",
        "diagnosis": "not started",
        "attempts": "",
        "remark": "",
        "isolation": "none",
    }
    head, *_, summary, _, table = capsys.readouterr().out.splitlines()
    assert head == f"Isolation: {sandbox.NONE}."
    assert summary == "01.attention: 0 of 1 passed, not started 1"
    assert table == f"The table: {folder}/assessed-1.csv"


def test_without_isolation_the_verdicts_are_the_same(tmp_path):
    for learner, (cell, *_) in PLAIN.items():
        save(tmp_path / learner / "01.ipynb", handed(cell))
    rows = assess.assess(tmp_path, "1", isolated=False, show=None)
    assert shown(rows) == {learner: tuple(said) for learner, (_, *said) in PLAIN.items()}


def test_without_bubblewrap_nothing_is_run_and_the_remedy_is_said(tmp_path):
    save(tmp_path / "right" / "01.ipynb", handed(RIGHT + CHECK))
    ended = subprocess.run(
        [sys.executable, "-m", "makers.assess", tmp_path],
        env=os.environ | {"PATH": "/nowhere"},
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 1 and ended.stderr == f"{sandbox.REMEDY}\n"
    assert not list(tmp_path.glob("*.csv"))


@pytest.mark.parametrize(
    "given, said",
    [
        (["nowhere", "", "none"], "there is no such folder"),
        ([".", "../1", "none"], "SEED is '../1'; name a word, as in SEED=2026-11-26"),
        ([".", "", "some"], "ISOLATION is 'some'; leave it out, or write ISOLATION=none"),
        ([".", "", "none"], "no notebook"),
    ],
)
def test_what_was_asked_wrongly_is_told(tmp_path, monkeypatch, given, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((ValueError, OSError, sandbox.Refused), match=said):
        assess.main(*given)


def test_a_bubblewrap_that_cannot_is_told_with_what_it_says(tmp_path, monkeypatch):
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho bwrap: Unknown option --size >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(sandbox.Refused, match=r"(?s)Unknown option --size.*0\.8 or newer"):
        sandbox.ready()


def test_what_every_answer_may_read_is_no_place_to_hand_in(monkeypatch):
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: name)
    with pytest.raises(sandbox.Refused, match="which every answer may read: move it away"):
        sandbox.ready(folder=ROOT / "data" / "handed_in")


@pytest.fixture
def interruptible():
    """Ctrl-C raises KeyboardInterrupt, as in a terminal; what a shell runs with & ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_after_ctrl_c_what_is_done_is_written(tmp_path, monkeypatch, capsys, interruptible):
    judged = []

    def run(module, given, isolated, seconds, stop):
        judged.append(given)
        if len(judged) > 1:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            assert stop.wait(60)
        return b'{"passed": true, "diagnosis": null, "library": false}', ""

    monkeypatch.setattr(sandbox, "run", run)
    monkeypatch.setattr(assess, "workers", lambda: 1)
    for learner in "abc":
        save(tmp_path / learner / "01.ipynb", handed(RIGHT + CHECK))
    with pytest.raises(SystemExit, match="Interrupted: the others are not judged"):
        assess.main(tmp_path, "1", "none")
    assert len(judged) == 2
    with open(tmp_path / "assessed-1-interrupted.csv", newline="", encoding="utf-8") as file:
        assert [(row["learner"], row["passed"]) for row in csv.DictReader(file)] == [("a", "yes")]
    assert "01.attention: 1 of 1 passed" in capsys.readouterr().out


def test_a_table_that_cannot_be_written_is_told_before_anything_runs(tmp_path, monkeypatch):
    monkeypatch.setattr(assess, "assess", None)
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(PermissionError, match="no place for the table"):
        assess.main(tmp_path, "1", "none")


def refuse(**given):
    raise PermissionError("no place for the table")


@pytest.mark.parametrize("left, stopped, why", [(0, False, "out of memory"), (2**40, True, "")])
def test_what_runs_ends_when_memory_is_short_or_nobody_waits(monkeypatch, left, stopped, why):
    stop = threading.Event()
    if stopped:
        stop.set()
    monkeypatch.setattr(sandbox.psutil, "virtual_memory", lambda: SimpleNamespace(available=left))
    process = subprocess.Popen(["sleep", "100"])
    try:
        assert sandbox.watched(process, 60, stop) == why
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_make_asks_for_a_folder():
    made = subprocess.run(["make", "-n", "assess"], cwd=ROOT, capture_output=True, text=True)
    assert made.returncode and "make assess FOLDER=handed_in" in made.stderr
