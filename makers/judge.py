"""Judge one answer, inside the sandbox; makers/assess.py starts this, and says what it is worth.

    python -m makers.judge < job.json > verdict.json

This process runs the cells with nbclient, in a kernel that is a process of its own. The learner's
code is in the kernel, and there the last cell calls `finish`, which sends the verdict with a word
that was not in the kernel before. Nothing else of what the kernel sends is kept.
"""

import ast
import ctypes
import importlib
import json
import os
import re
import resource
import secrets
import sys
import time
from contextlib import redirect_stderr, redirect_stdout

VERDICT = "application/x-course-verdict+json"
UNDUMPABLE = 4  # PR_SET_DUMPABLE: others of this user may not look into this process


def imports(source):
    """The import lines of a cell, "" if there are none, or if it is no Python.

    >>> imports("import math\\nx = math.pi")
    'import math'
    """
    try:
        tree = ast.parse(re.sub(r"(?m)^\s*[%!?].*$", "", source))
        found = [x for x in tree.body if isinstance(x, ast.Import | ast.ImportFrom)]
        return "\n".join(map(ast.unparse, found))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return ""


def confine(uid, limits):
    """Give up root, if uid is another; set what a process may take; be no one's to look into."""
    if uid is not None:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    for name, limit in limits.items():
        _, hard = resource.getrlimit(kind := getattr(resource, name))
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(kind, (limit, limit))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(UNDUMPABLE, 0, 0, 0, 0)


def begin(memory):
    """In the kernel, before the learner's code: note what is handed to check; bound memory."""
    from IPython import get_ipython

    from course_utils import checks
    from course_utils.checks import engine

    handed = get_ipython().handed = {}

    def check(name, fn):
        handed[name] = fn
        return engine.Result(False, True, None, "")

    checks.check = engine.check = check
    if sys.platform == "linux":
        with open("/proc/self/statm") as file:
            limit = int(file.read().split()[0]) * resource.getpagesize() + memory
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def finish(name, seed, stub, failed, word):
    """In the kernel, after the learner's code: judge what was handed to check, and send it.

    The course is read from its files once more, as this module is: what an answer changed in them
    does not count.
    """
    from IPython import get_ipython
    from IPython.display import display

    ipython = get_ipython()
    fn = ipython.handed.get(name, None if failed else ipython.user_ns.get(stub))
    for module in [x for x in sys.modules if x.partition(".")[0] == "course_utils"]:
        del sys.modules[module]
    engine = importlib.import_module("course_utils.checks.engine")
    exercise = engine.redrawn(name, seed)
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        result = engine.examine(exercise, fn)
        library = result.passed and borrows(engine, name, exercise, fn)
    if fn is None and failed:
        result = result._replace(diagnosis="an error")
    verdict = {
        "word": word,
        "passed": result.passed,
        "diagnosis": result.diagnosis if result.started else "not started",
        "unknown name": bool(re.search("^NameError: ", result.message, flags=re.M)),
        "library": library,
    }
    display({VERDICT: verdict}, raw=True)


def borrows(engine, name, exercise, fn):
    """Whether fn is the course's own answer to its exercise, or calls it on the first probe."""
    code_of = importlib.import_module("course_utils.checks.running").code_of
    own = {code_of(x) for x in (exercise.reference, exercise.layer, engine.rung(name)) if x}
    calls = [code_of(fn) in own]

    def see(frame, event, _):
        if event == "call" and frame.f_code in own and frame.f_back:
            calls.append(frame.f_back.f_globals.get("__name__") == "__main__")

    sys.setprofile(see)
    try:
        engine.outcome(exercise, fn, engine.copy.deepcopy(exercise.probes[0]))
    finally:
        sys.setprofile(None)
    return any(calls)


def judged(job):
    """The verdict on a job: what `finish` sent, or {"diagnosis": …} if it could not."""
    sys.modules["rfc3987_syntax"] = None  # jsonschema does without; it takes seconds to import
    import nbclient
    import nbformat.v4
    from nbclient.exceptions import DeadKernelError

    class Client(nbclient.NotebookClient):
        """Keeps no output of the cells: only the last error's name, and the verdict."""

        error = verdict = None
        word = secrets.token_hex(16)

        def process_message(self, msg, cell, cell_index):
            content = msg["content"]
            if msg["msg_type"] == "status":
                return super().process_message(msg, cell, cell_index)
            if msg["msg_type"] == "error":
                self.error = str(content["ename"])[:80], str(content["evalue"])[:200]
            elif msg["msg_type"] == "display_data":
                found = content["data"].get(VERDICT, {})
                if found.get("word") == self.word:
                    self.verdict = found

    client = Client(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell()]),
        timeout_func=lambda cell: job["seconds"] if cell.metadata.kind != "course" else None,
        interrupt_on_timeout=True,
        allow_errors=True,
        store_widget_state=False,
    )

    def run(kind, source):
        client.error, begun = None, time.monotonic()
        client.execute_cell(nbformat.v4.new_code_cell(source, metadata={"kind": kind}), 0)
        return time.monotonic() - begun

    load = "__import__('importlib')"
    me = f"{load}.import_module({__spec__.name!r})"
    ready = False
    try:
        with client.setup_kernel():
            for source in [*job["course"], f"{me}.begin({job['memory']})"]:
                run("course", source)
                if client.error:
                    return {"diagnosis": "no set-up", "error": ": ".join(client.error)}
            ready = True
            for source in filter(None, map(imports, job["theirs"])):
                run("theirs", source)
            for source in job["before"]:
                run("before", source)
            took = run("answer", job["answer"])
            if took < job["seconds"]:
                given = job["name"], job["seed"], job["stub"], bool(client.error), client.word
                failed = client.error and client.error[0] == "NameError"
                took = run("judge", f"{load}.reload({me}).finish(*{given})")
            if took >= job["seconds"]:
                return {"diagnosis": "out of time"}
            verdict = client.verdict or {"diagnosis": "no verdict"}
            return verdict | {"unknown name": bool(verdict.get("unknown name") or failed)}
    except DeadKernelError:
        return {"diagnosis": "ended the process" if ready else "no set-up"}


def main():
    """Read a job, write its verdict to what was standard output, where no kernel writes."""
    job = json.load(sys.stdin)
    confine(job["uid"], job["limits"])
    out, nowhere = os.dup(1), os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    try:
        verdict = judged(job)
    except Exception as error:
        verdict = {"diagnosis": "no verdict", "error": f"{type(error).__name__}: {error}"[:400]}
    os.write(out, json.dumps(verdict).encode())
    os._exit(0)  # and whatever it left running ends with the sandbox


if __name__ == "__main__":
    main()
