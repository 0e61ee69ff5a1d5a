"""Run Python in bubblewrap (bwrap): it sees itself and the course, and writes into memory only.

What runs sees none of your files but Python, its packages and this clone's course_utils, makers and
data, all read-only; no network but its own loopback, no process but its own. /tmp and /dev/shm are
memory, limited and gone with it. Started as root, it goes on as a user that owns nothing; that is
the weaker way, since then it can make user namespaces of its own: start it as yourself if you can.

All of it shares the kernel with you: it does not protect from a hole in that, nor from what can be
learnt by timing. A process's memory is limited by the kernel, that of all together by looking at it
four times a second: in between they may take more. Some memory is in no process, only in what it
has open: so all are ended while this machine has less than SPARE left.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
COURSE = [ROOT / x for x in ("course_utils", "makers", "data")]
SYSTEM = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache", "/etc/alternatives")
UID = 61184  # the first that systemd keeps for users who are made for one service
MEMORY = 2**31  # bytes that one process may add to what the course itself takes
TOTAL = 3 * 2**30  # bytes of all processes together
SPARE = TOTAL // 4  # bytes that this machine must have left
SCRATCH = 2**28  # bytes of /tmp
PROCESSES = 32
LIMITS = {"RLIMIT_NOFILE": 128, "RLIMIT_FSIZE": 2**25, "RLIMIT_CORE": 0}
SAID = 2**16  # bytes of an answer that are read

NONE = "none: answers run as you, and may read, write and send whatever you may"
REMEDY = (
    "Without bubblewrap 0.8 or newer nothing that was handed in is run. On Debian 12, Ubuntu 24.04 "
    "and later: sudo apt install bubblewrap; macOS has none: use a Linux machine, or a virtual one."
    "\nIf you trust every line that was handed in: make assess … ISOLATION=none"
)
FORBIDDEN = (
    "bwrap is there, but cannot make the sandbox:\n{}\nAn unknown option: it must be 0.8 or newer. "
    "A container must be allowed user namespaces. Ubuntu 24.04 forbids them: sudo apt install "
    "apparmor-profiles, then copy bwrap-userns-restrict from /usr/share/apparmor/extra-profiles to "
    "/etc/apparmor.d, and sudo systemctl reload apparmor."
)


class Refused(RuntimeError):
    """No isolation on this machine; says the remedy."""


def seen():
    """The folders of the host that are seen inside, all read-only."""
    python = {Path(x) for x in (sys.prefix, sys.base_prefix, sys.exec_prefix)}
    return sorted({*python, *(x.resolve() for x in python), *COURSE} - {Path("/usr")})


def wrapped(command):
    """A command as bwrap runs it."""
    binds = [x for path in SYSTEM for x in ("--ro-bind-try", path, path)]
    for path in seen():
        for parent in reversed(path.parents[:-1]):
            binds += ["--perms", "0755", "--dir", str(parent)]
        binds += ["--ro-bind", str(path), str(path)]
    memory = [
        x
        for path in ("/tmp", "/dev/shm")
        for x in ("--perms", "1777", "--size", str(SCRATCH), "--tmpfs", path)
    ]
    names = ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"]
    if os.geteuid():
        who = ["--unshare-user", "--disable-userns", "--uid", str(UID), "--gid", str(UID)]
    else:  # judge.confine leaves root; within a user namespace its number of processes has no limit
        who = ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    return [
        *("bwrap", *who, *names, "--unshare-cgroup-try", "--die-with-parent", "--new-session"),
        *("--clearenv", "--proc", "/proc", "--dev", "/dev", *memory, *binds),
        *("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp"),
        *(x for name, value in environment("/tmp").items() for x in ("--setenv", name, value)),
        *("--", *command),
    ]


def environment(home):
    """All variables that are set for what runs."""
    return {
        "HOME": home,
        "TMPDIR": home,
        "IPYTHONDIR": f"{home}/ipython",
        "USER": "learner",
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        "PYTHONPATH": str(ROOT),
        "PYTHONDONTWRITEBYTECODE": "1",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "COURSE_PROGRESS": "off",
    }


def ready(isolation="", folder=None):
    """Whether what runs is isolated; raises Refused, with the remedy, if it cannot be and should.

    >>> ready("none")
    False
    """
    if isolation == "none":
        return False
    if isolation:
        raise Refused(f"ISOLATION is {isolation!r}; leave it out, or write ISOLATION=none")
    if not shutil.which("bwrap"):
        raise Refused(REMEDY)
    inside = [path for path in seen() if folder and path in [folder, *folder.parents]]
    if inside:
        raise Refused(f"{folder} lies in {inside[0]}, which every answer may read: move it away")
    tried = subprocess.run(wrapped([sys.executable, "-c", ""]), capture_output=True, text=True)
    if tried.returncode:
        raise Refused(FORBIDDEN.format(tried.stderr.strip()[-500:]))
    return True


def run(module, given, isolated, seconds, stop):
    """What python -m module writes when it is given a text, at most SAID bytes; and why it ended.

    Why is "" if it ended by itself, "out of time", "out of memory" or "too many processes" if it
    was ended; "" too if the Event stop is set, after which nobody waits for it.
    """
    command = [sys.executable, "-m", module]
    with contextlib.ExitStack() as stack:
        said = stack.enter_context(tempfile.TemporaryFile())
        asked = stack.enter_context(tempfile.TemporaryFile())
        asked.write(given)
        asked.seek(0)
        options = {}
        if not isolated:
            home = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
            options = {"cwd": home, "env": environment(home)}
        process = subprocess.Popen(
            wrapped(command) if isolated else command,
            stdin=asked,
            stdout=said,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            **options,
        )
        try:
            why = watched(process, seconds, stop)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        said.seek(0)
        return said.read(SAID), why


def limits(isolated, slot, seconds):
    """What judge.confine is told: who to be, and how much a process may take."""
    uid = UID + slot if isolated and not os.geteuid() else None
    processes = {"RLIMIT_NPROC": 4 * PROCESSES} if isolated else {}  # else all of yours are counted
    limits = LIMITS | processes | {"RLIMIT_CPU": seconds}
    return {"uid": uid, "limits": limits, "memory": MEMORY}


def watched(process, seconds, stop):
    """Wait for a process to end, or for stop, and say why it must not go on, if so."""
    end = time.monotonic() + seconds
    while not stop.is_set():
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.25)
            return ""
        if time.monotonic() > end:
            return "out of time"
        sizes = list(below(process.pid))
        if len(sizes) > PROCESSES:
            return "too many processes"
        if sum(sizes) > TOTAL or psutil.virtual_memory().available < SPARE:
            return "out of memory"
    return ""


def below(pid):
    """The bytes in memory of each process below this one."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in psutil.Process(pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                yield process.memory_info().rss
