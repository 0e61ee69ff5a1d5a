"""A day of a class on a hub: all arrive and work, things fail, and what was seen is kept.

On two cores, bounded: every wait has an end, and so has the day.
"""

import asyncio
import contextlib
import importlib.util
import itertools
import json
import os
import random
import re
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles

import aiohttp
import nbformat
import psutil
import running
import student as one
import yaml
from jupyterhub.traitlets import ByteSpecification
from running import ROOT

WITHIN = 60  # seconds in which a class logs in
ARRIVAL = 600  # seconds of patience for the first server, kernel and run of the lesson
SPARE = 2**30  # bytes that the machine must have left for one more to come in
VALUES = yaml.safe_load((ROOT / "deploy" / "values.yaml").read_text())
LIMIT = ByteSpecification().validate(None, VALUES["singleuser"]["memory"]["limit"])
EATER = """
import time
eaten = []
while len(eaten) < {most}:
    eaten.append(b"x" * 2**26)  # 64 MiB, written
    time.sleep(0.2)
"""
LOOK = """
import json as _json, os as _os
def _read(path):
    try:
        return open(path, "rb").read()
    except OSError:
        return b""
_inside = [f"/proc/{{x}}" for x in _os.listdir("/proc") if x.isdigit()]
_environs = b"".join(_read(f"{{x}}/environ") for x in _inside)
print(_json.dumps({{
    "files": [x for x in {files} if _read(x) or any(_read(f"{{y}}/root{{x}}") for y in _inside)],
    "homes": _os.listdir({homes!r}),
    "names": [x for x in {names} if f"/homes/{{x}}".encode() in _environs],
}}))
"""


@dataclass
class Day:
    """What was seen."""

    students: list
    row: dict = field(default_factory=dict)  # for the table
    private: dict = field(default_factory=dict)  # student -> bytes of server and kernel
    killed: dict = field(default_factory=dict)  # student -> how many of their kernels
    eaten: dict = field(default_factory=dict)  # student -> limit, and bytes when it was passed
    servers_ended: dict = field(default_factory=dict)  # student -> how many, theirs and others'
    meanwhile: list = field(default_factory=list)  # statuses of a server while the hub was down
    on_disk: dict = field(default_factory=dict)  # student -> number of the save in their file
    through_api: dict = field(default_factory=dict)
    progress: dict = field(default_factory=dict)
    looked: dict = field(default_factory=dict)  # student -> what their kernel could read
    neighbour: dict = field(default_factory=dict)  # student -> whose files they tried to read
    from_outside: dict = field(default_factory=dict)  # student -> files that are there to be read
    asked_own: list = field(default_factory=list)  # (student, who, call, status): of themselves
    asked_other: list = field(default_factory=list)  # and of another
    pulled: list = field(default_factory=list)  # what nbgitpuller said


def spend(n):
    """A day of a class of n; ends everything, whatever happens."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl+C
    with running.place() as at:
        try:
            return asyncio.run(bounded(at, n))
        except BaseException:
            print(at.log())
            raise


async def bounded(at, n):
    """The day; a class of 6 has nine minutes at most, and one of 40 twenty."""
    async with asyncio.timeout(420 + 20 * n), contextlib.AsyncExitStack() as stack:
        students = []
        for i in range(n):
            jar = aiohttp.CookieJar(unsafe=True)  # of an address without a name, too
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
            web = aiohttp.ClientSession(cookie_jar=jar, timeout=timeout)
            await stack.enter_async_context(web)
            students.append(one.Student(f"student-{i:02}", at.url, at.password, web))
        day = Day(students)
        await whole(at, day)
        return day


async def whole(at, day):
    parts = {"proxy": running.start_proxy(at), "hub": running.start_hub(at)}
    keeping = asyncio.create_task(running.keep(at, parts))
    await running.until(lambda: answers(f"{at.url}/hub/health"), 60, "the hub")
    cpu, begin = psutil.cpu_times(), time.monotonic()
    say("arriving")
    coming = [arriving(i, len(day.students), x) for i, x in enumerate(day.students)]
    here = [x for x in await asyncio.gather(*coming) if x]
    busy = 1 - (psutil.cpu_times().idle - cpu.idle) / (time.monotonic() - begin) / os.cpu_count()
    day.row = machine() | {"students": len(day.students)} | weights(at, day, here)
    own = [psutil.Process(x.pid).memory_full_info().uss for x in parts.values()]
    day.row |= {"hub_mib": round(sum(own) / 2**20)}
    say("working")
    over = asyncio.Event()
    working = [asyncio.create_task(work(x, over)) for x in here]
    await asyncio.sleep(10 + len(here))  # in which nothing fails, and all is timed
    day.row |= latencies(day.students) | {"cpu_busy": round(busy, 2)}
    say("failing")
    await fail(at, day, here)
    day.row |= {"hub_down_s": await without_hub(at, day, here[3], parts)}  # just started anew
    say("the proxy fails")
    day.row |= {"proxy_down_s": await without_proxy(here[0], parts)}
    over.set()
    await asyncio.gather(*working)
    say("looking")
    await pull(at, day, here[-1])
    await look(at, day, here)
    day.row["failures"] = sum(len(x.failures) for x in day.students)
    keeping.cancel()


def say(what):
    print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)


async def answers(url):
    """Whether somebody answers there, and all is well."""
    with contextlib.suppress(aiohttp.ClientError):
        async with aiohttp.ClientSession() as web, web.get(url) as answer:
            return answer.status == 200
    return False


async def arriving(i, n, student):
    """A student comes; who finds the machine full is turned away, which is a failure."""
    await asyncio.sleep(i * min(WITHIN / n, 1.5))
    if psutil.virtual_memory().available < SPARE:
        student.failures.append("turned away: no memory")
        return None
    return student if await one.attempt(student, one.arrive, ARRIVAL, again=None) else None


async def work(student, over):
    """Move the slider, check an answer, save, and think in between; at the end, save once more."""
    for act in itertools.cycle([one.check, one.move, one.save_again, one.move]):
        await asyncio.sleep(random.uniform(3, 9))
        if over.is_set():
            break
        await one.attempt(student, act)
    await one.attempt(student, one.save_again)


# What fails


async def fail(at, day, here):
    """Kernels and servers end, pages are loaded again, and two eat all memory they can get."""
    for student in here[1::4]:
        kernels = list(filter(running.is_kernel, running.inside(at, student.name)))
        for process in kernels:
            process.kill()
        day.killed[student.name] = len(kernels)
    again = [one.attempt(x, one.restart_server) for x in here[2::5]]
    again += [one.attempt(x, one.reload) for x in here[4::5]]
    await asyncio.gather(*again)
    for student, whole in ((here[0], False), (here[3], True)):
        await eat(at, day, student, whole)


async def eat(at, day, student, whole):
    """A student's code takes memory until it is ended; it stops by itself a GiB later."""
    limit = min(LIMIT, psutil.virtual_memory().available - SPARE)  # a full machine stays alive
    before = {bwrap.pid for bwrap in running.sandboxes(at.folder)}
    killer = asyncio.create_task(running.kill_when_full(at, student.name, limit, whole))
    other = one.Student(student.name, student.url, student.password, student.web)  # a second tab
    try:
        async with asyncio.timeout(one.PATIENCE):
            await one.connect(other)
            await one.execute(other, EATER.format(most=(limit + 2**30) // 2**26))
    except one.TROUBLES as trouble:  # it is meant to
        student.troubles.append(f"eating: {trouble}")
    day.eaten[student.name] = limit, await asyncio.wait_for(killer, 5)
    await one.attempt(student, one.reload)
    after = {bwrap.pid for bwrap in running.sandboxes(at.folder)}
    day.servers_ended[student.name] = len(before - after)


async def without_hub(at, day, student, parts):
    """Kill the hub; for how many seconds it has no page, while servers answer."""

    async def is_back():
        day.meanwhile.append(await one.status(student, "GET", f"{student.base}/api/status"))
        return await answers(f"{at.url}/hub/health")

    running.kill(parts["hub"])
    return round(await running.until(is_back, 60, "the hub, killed and started again"), 1)


async def without_proxy(student, parts):
    """Kill the proxy; how many seconds until a student's server answers."""

    async def is_back():
        url = f"{student.url}{student.base}/api/status"
        with contextlib.suppress(aiohttp.ClientError):
            async with student.web.get(url, allow_redirects=False) as answer:
                return answer.status == 200

    running.kill(parts["proxy"])
    return round(await running.until(is_back, 90, "the way to a server"), 1)


# What is seen


async def look(at, day, here):
    """What became of each student's work, and how far each can see."""
    hidden = [str(at.folder / "hub" / "hub.sqlite")]
    for student, other in zip(here, [*here[1:], here[0]], strict=True):
        name, notebook = student.name, at.home(student.name) / one.LESSON
        day.on_disk[name] = one.number(student, nbformat.read(notebook, 4))
        day.through_api[name] = one.number(student, await one.read(student))
        day.progress[name] = json.loads(notebook.with_name("progress.json").read_text())
        paths = [str(at.home(x.name) / one.LESSON) for x in (student, other)]
        asked = LOOK.format(
            files=paths + hidden, homes=str(at.folder / "homes"), names=[name, other.name]
        )
        outputs = []
        if await one.attempt(student, saying(asked, outputs)):
            day.looked[name] = json.loads(outputs[-1]["text"])
        day.neighbour[name] = other.name
        day.from_outside[name] = [x for x in paths + hidden if Path(x).read_bytes()[:1]]
        token = await one.new_token(student)
        for who in (None, token):
            for whom, kept in ((student, day.asked_own), (other, day.asked_other)):
                for method, path, own in calls(whom, whom is other):
                    got = await one.status(student, method, path, who)
                    said = "as it should" if own == got else got
                    kept.append((name, "token" if who else "cookies", f"{method} {path}", said))


def saying(source, outputs):
    """Something to attempt: run a source, and keep what it says."""

    async def look_around(student):
        outputs.extend(await one.execute(student, source))

    return look_around


def calls(of, is_another):
    """What is asked of the server of a student and of the hub about them; what they get."""
    hub, server = f"/hub/api/users/{of.name}", of.base
    yield "GET", f"{server}/api/contents/{one.LESSON}", 200
    yield "GET", f"{server}/api/kernels", 200
    yield "GET", f"{server}/files/{one.LESSON}", 200
    yield "GET", f"{server}/api/kernels/{of.kernel}/channels", 400  # it wants a websocket
    yield "GET", f"{server}/lab", 200
    yield "GET", hub, 200
    yield "POST", f"{hub}/server", 400  # it runs
    if is_another:  # of their own they have stopped before
        yield "DELETE", f"{hub}/server", None
        yield "GET", "/hub/api/users", None


async def pull(at, day, student):
    """A link of deploy/link.py brings the course's repository into a student's home."""
    spec = importlib.util.spec_from_file_location("link", ROOT / "deploy" / "link.py")
    link = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(link)
    bare = at.home(student.name) / ".published" / "course"  # in a home: all that a sandbox shows
    git = ["git", "--git-dir", str(bare)]
    subprocess.run(["git", "clone", "--quiet", "--bare", str(ROOT), str(bare)], check=True)
    subprocess.run([*git, "update-ref", "refs/heads/main", "HEAD"], check=True)
    name = link.lesson_file(6)
    address = link.pull_link(at.url, name, f"file://{bare}", "main")
    async with student.web.get(address) as page:
        day.pulled.append(page.status)
    query = address.partition("?")[2]
    async with student.web.get(
        f"{at.url}{student.base}/git-pull/api?{query}", headers=one.xsrf(student, student.base)
    ) as events:
        async for line in events.content:
            if line.startswith(b"data:"):
                day.pulled.append(json.loads(line[5:])["phase"])
    path = f"{student.base}/api/contents/course/notebooks/{name}"
    day.pulled.append((await one.ask(student, "GET", path))["name"])


# What is measured


def machine():
    """Cores, memory, and the name of the processor."""
    info = Path("/proc/cpuinfo").read_text()
    model = re.sub(r"\(\w+\)", "", re.search(r"model name\s*:\s*(.+)", info)[1])
    gib = round(psutil.virtual_memory().total / 2**30)
    return {"hardware": f"{os.cpu_count()} cores, {gib} GiB, {model}"}


def weights(at, day, here):
    """MiB while all are here: private to a server and a kernel, and shared by all, counted once."""
    servers, kernels, shared, seconds = [], [], 0, []
    for student in here:
        processes = running.inside(at, student.name)
        memory = {x: x.memory_full_info() for x in processes}
        kernel = [m.uss for x, m in memory.items() if running.is_kernel(x)]
        servers.append(sum(m.uss for m in memory.values()) - sum(kernel))
        kernels += kernel
        shared += sum(m.pss - m.uss for m in memory.values())
        seconds.append(sum(sum(x.cpu_times()[:2]) for x in processes))
        day.private[student.name] = servers[-1] + sum(kernel)
    return {
        "server_private_mib": round(median(servers) / 2**20),
        "kernel_private_mib": round(median(kernels) / 2**20),
        "shared_mib": round(shared / 2**20),
        "machine_mib": round(psutil.virtual_memory().used / 2**20),
        "cpu_s": round(median(seconds), 1),
    }


def latencies(students):
    """Medians of all students, and what 95 of 100 stay below."""
    row = {}
    for name, what, unit in (
        ("spawn", "spawn", "s"),
        ("first_picture", "first picture", "s"),
        ("check", "check", "s"),
        ("slider", "slider", "ms"),
    ):
        times = [x for student in students for x in student.times.get(what, [])]
        high = quantiles(times, n=20, method="inclusive")[-1] if len(times) > 1 else times[0]
        for kind, x in (("", median(times)), ("p95_", high)):
            row[f"{name}_{kind}{unit}"] = round(x, 2) if unit == "s" else round(1000 * x)
    return row
