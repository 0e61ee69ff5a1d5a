"""Keep an attempt once for each call that this takes, killed there: `python kills.py`.

Every call of a function written in C is met, Python's own built-ins aside: those that open, write,
flush, lock and rename are among them, whichever they are. Prints a line for each kill.
"""

import json
import os
import shutil
import signal
import sys
from itertools import count

from course_utils import record


def killed_at(i):
    """One more attempt in a process of its own, killed at its i-th call; which that is, or ""."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        calls = count()

        def watch(frame, event, called):
            if event == "c_call" and not in_memory(called) and next(calls) == i:
                os.write(writer, called.__qualname__.encode())
                os.kill(os.getpid(), signal.SIGKILL)

        sys.setprofile(watch)
        record.attempt("01.attention", "no scale", False)
        sys.setprofile(None)
        os._exit(0)
    os.close(writer)
    with open(reader) as said:
        call = said.read()
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status) == bool(call), (status, call)
    return call


def in_memory(called):
    """Whether this is a built-in, such as len, or a method of a built-in type, such as dict.get."""
    of = type(called.__self__)
    return called.__module__ == "builtins" or (of.__module__ == "builtins" and of is not type(sys))


def main():
    file = record.path()
    before = file.read_bytes() if file.exists() else None
    for i in count():
        call = killed_at(i)
        if not call:
            break
        after = file.read_bytes() if file.exists() else None
        kept = record.read()["exercises"]
        there = sorted(x.name for x in file.parent.glob("*"))
        tried = kept["01.attention"]["attempts"] if kept else 0
        print(json.dumps([call, before == after, tried, there]))
        if before is not None:  # as it was, for the next kill
            file.write_bytes(before)
        elif file.parent.exists():
            shutil.rmtree(file.parent)


if __name__ == "__main__":
    main()
