"""What is handed in is judged right, and whatever it does, the others are, and nothing is lost."""

import csv
import inspect
import json
import os
import socket
import subprocess
import sys

import nbformat
import psutil
import pytest
from lessons import PATHS, ROOT, code, read, solve

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
ANSWERS = {  # learner: the cell, and what passed, diagnosis and remark must be
    "right": (RIGHT + CHECK, "yes", "", ""),
    "wrong": (WRONG + CHECK, "no", "no scale", ""),
    "an error below": (RIGHT + CHECK + "assert result.passed, result.nothing", "yes", "", ""),
    "an error above": ("attention = undefined\n" + CHECK, "no", "an error", assess.UNKNOWN),
    "no Python": ("def attention(q, k, v) return q\n" + CHECK, "no", "an error", ""),
    "the library's": (
        "from course_utils import attention as library\n"
        'checks.check("01.attention", lambda q, k, v: library.attention(q, k, v))',
        *("yes", "", assess.LIBRARY),
    ),
    "forged": (
        WRONG
        + "from course_utils.checks import compare, engine\n"
        + "engine.close = compare.close = lambda *given: True\n"
        + "engine.examine = lambda *given: engine.Result(True, True, None, '')\n"
        + CHECK,
        *("no", "no scale", ""),
    ),
    "an endless loop": (
        RIGHT.replace("    weights", "    while True: pass\n    weights", 1) + CHECK,
        *("no", "out of time", assess.ENDED["out of time"]),
    ),
    "10 GB": (
        f"import mmap, torch\n{IF_REFUSED}{RIGHT}"
        "private = refused(torch.ones, 10 * 2**28)\n"
        "shared = refused(mmap.mmap, -1, 10 * 2**30)\n"
        f"attention = attention if private and shared else None\n{CHECK}",
        *("yes", "", ""),
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
    "prints 100 MB": (
        RIGHT.replace("    weights", "    print('x' * 10**7)\n    weights", 1)
        + "for _ in range(10): print('x' * 10**7)\n"
        + CHECK,
        *("yes", "", ""),
    ),
    "deletes": (f"{IF_REFUSED}{RIGHT}{CHECK}shutil.rmtree('/', ignore_errors=True)", "yes", "", ""),
    "looks around": (
        f"{IF_REFUSED}{RIGHT}\n"
        "hidden = FOLDER, HOME + '/.ssh', HOME + '/.bashrc', ROOT + '/.git', '/etc/passwd', '/var'\n"
        "seen = [x for x in hidden if os.path.exists(x)]\n"
        "seen += ['processes'] * (sum(x.isdigit() for x in os.listdir('/proc')) > 5)\n"
        "seen += ['variables'] * ('SECRET' in os.environ)\n"
        "for x in ('ptrace', 'parent'):\n"
        "    seen += [] if refused(open, f'/proc/{os.getppid()}/mem') else [x]\n"
        f"attention = None if seen else attention\n{CHECK}",
        *("yes", "", ""),
    ),
    "writes elsewhere": (
        f"{IF_REFUSED}{RIGHT}\n"
        "folders = '/', '/usr', '/dev', '/proc', HOME, ROOT, ROOT + '/course_utils', PREFIX, FOLDER\n"
        "wrote = [x for x in folders if not refused(open, x + '/written', 'w')]\n"
        "for folder in ('/tmp', '/dev/shm'):\n"
        "    def fill():\n"
        "        for i in range(10):\n"
        "            with open(f'{folder}/{i}', 'wb') as file: file.write(bytes(5 * 10**7))\n"
        "    wrote += [] if refused(fill) else [folder]\n"
        f"attention = None if wrote else attention\n{CHECK}",
        *("yes", "", ""),
    ),
    "calls out": (
        f"{IF_REFUSED}{RIGHT}\n"
        "reached = [x for x in (('127.0.0.1', PORT), ('1.1.1.1', 53))\n"
        "           if not refused(socket.create_connection, x, 2)]\n"
        f"attention = None if reached else attention\n{CHECK}",
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
        with pytest.raises(sandbox.Refused, match=r"apt install|cannot make a sandbox"):
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
        for learner, (cell, *_) in ANSWERS.items():
            save(tmp_path / learner / "01.ipynb", handed(told + cell))
        before = files(tmp_path), files(ROOT / "makers"), files(ROOT / "course_utils")
        rows = assess.assess(tmp_path, "2026-11-26", seconds=10, show=None)
    assert shown(rows) == {learner: tuple(said) for learner, (_, *said) in ANSWERS.items()}
    assert (files(tmp_path), files(ROOT / "makers"), files(ROOT / "course_utils")) == before
    left = [x.info["cmdline"] for x in psutil.process_iter(["cmdline"])]
    assert not [x for x in left if "31415" in (x or ())]
