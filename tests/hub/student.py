"""One student, in a browser's place: what JupyterHub and JupyterLab's pages send is sent here.

Not what a browser loads beside that: the pages' own code, which it keeps from one visit to the next.
"""

import asyncio
import inspect
import json
import random
import re
import time
from dataclasses import dataclass, field

import aiohttp
from jupyter_client.session import Session, json_packer
from jupyter_server.services.kernels.connection.base import (
    deserialize_msg_from_ws_v1,
    serialize_msg_to_ws_v1,
)
from yarl import URL

from course_utils import ladder
from course_utils.figures import WIDGET

LESSON = "my_lessons/06_grouped_query_attention.ipynb"
EXERCISE = "06.grouped_query_attention"
GUESS, SAID = "06.reads", 1  # the question, and the place of its control: its first choice
MISTAKE = "query head i reading K/V head i mod g"
PROTOCOL = "v1.kernel.websocket.jupyter.org"
LAST = "pieces"  # of the names that the lesson gives
PATIENCE = 180  # seconds that a student tries to get one thing done
RIGHT = inspect.getsource(ladder.grouped_query_attention)
WRONG = """\
def grouped_query_attention(q, k, v):
    r = q.shape[1] // k.shape[1]
    k, v = k.repeat(1, r, 1, 1), v.repeat(1, r, 1, 1)  # repeat, where repeat_interleave is meant
    weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(dim=-1)
    return weights @ v, weights
"""


class Trouble(Exception):
    """What a student sees when something has gone wrong."""


TROUBLES = Trouble, TimeoutError, aiohttp.ClientError, ConnectionError


@dataclass
class Student:
    name: str
    url: str
    password: str
    web: aiohttp.ClientSession  # with cookies of its own
    session: Session = field(default_factory=Session)
    kernel: str = ""
    socket: aiohttp.ClientWebSocketResponse | None = None
    book: str = ""  # the model of the last flipbook shown
    tried: int = 0  # the number in the last save that was sent
    saved: int = 0  # and in the last that the server has confirmed
    times: dict = field(default_factory=dict)  # what was done -> seconds, each time
    troubles: list = field(default_factory=list)  # what was seen, and overcome if not in failures
    failures: list = field(default_factory=list)
    lost: list = field(default_factory=list)  # saves that were not there any more
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)  # one thing after another

    @property
    def base(self):
        return f"/user/{self.name}"

    def took(self, what, begin):
        self.times.setdefault(what, []).append(time.monotonic() - begin)


# Pages and API


def xsrf(student, path):
    """What a page sends to show that it is of the same origin."""
    cookies = student.web.cookie_jar.filter_cookies(URL(student.url + path))
    return {"X-XSRFToken": cookies["_xsrf"].value} if "_xsrf" in cookies else {}


async def ask(student, method, path, **how):
    """What the hub or the server answers, as JSON if it is; Trouble where it refuses."""
    url = student.url + path
    async with student.web.request(method, url, headers=xsrf(student, path), **how) as answer:
        text = await answer.text()
        if answer.status >= 400:
            raise Trouble(f"{method} {path}: {answer.status}")
        return json.loads(text) if answer.content_type == "application/json" and text else text


async def status(student, method, path, token=None):
    """The status of one call, with a student's cookies, or with a token and nothing else."""
    jar = student.web.cookie_jar if token is None else aiohttp.DummyCookieJar()
    headers = {"Authorization": f"token {token}"} if token else xsrf(student, path)
    async with (
        aiohttp.ClientSession(cookie_jar=jar, headers=headers) as web,
        web.request(method, student.url + path, json={} if method == "POST" else None) as answer,
    ):
        return answer.status


async def log_in(student):
    await ask(student, "GET", "/hub/login")
    (token,) = [x.value for x in student.web.cookie_jar if x.key == "_xsrf" and "hub" in x["path"]]
    form = {"username": student.name, "password": student.password, "_xsrf": token}
    await ask(student, "POST", "/hub/login?next=%2Fhub%2Fhome", data=form)


async def start_server(student):
    """Press Start My Server and look at the bar until the server is there; then go to it."""
    await ask(student, "GET", "/hub/spawn", allow_redirects=False)
    path = f"{student.url}/hub/api/users/{student.name}/server/progress"
    async with student.web.get(path) as bar:
        if bar.status >= 400:
            raise Trouble(f"the bar of a starting server: {bar.status}")
        async for line in bar.content:
            event = json.loads(line[5:]) if line.startswith(b"data:") else {}
            if event.get("failed"):
                raise Trouble(f"the server did not start: {event.get('message')}")
            if event.get("ready"):
                break
    await look(student)


async def look(student):
    """Load the page of JupyterLab: this gives the server's cookies, too."""
    async with student.web.get(f"{student.url}{student.base}/lab") as page:
        await page.read()
        if page.status != 200 or page.url.path != f"{student.base}/lab":
            raise Trouble(f"no JupyterLab: {page.status} at {page.url.path}")


async def restart_server(student):
    """Stop My Server, then start it, on the hub's own page."""
    await ask(student, "DELETE", f"/hub/api/users/{student.name}/server")
    while (await ask(student, "GET", f"/hub/api/users/{student.name}"))["servers"]:
        await asyncio.sleep(0.5)
    await reload(student)


async def new_token(student):
    """A token of the student's own, as their page of tokens makes it."""
    made = await ask(student, "POST", f"/hub/api/users/{student.name}/tokens", json={})
    return made["token"]


# The kernel


async def connect(student):
    """Open the lesson's session, which starts a kernel if there is none, and its websocket."""
    opened = {"path": LESSON, "name": LESSON, "type": "notebook", "kernel": {"name": "python3"}}
    session = await ask(student, "POST", f"{student.base}/api/sessions", json=opened)
    student.kernel = session["kernel"]["id"]
    if student.socket:
        await student.socket.close()
    student.socket = await student.web.ws_connect(
        f"{student.url}{student.base}/api/kernels/{student.kernel}/channels"
        f"?session_id={student.session.session}",
        protocols=[PROTOCOL],
        max_msg_size=0,
    )


async def tell(student, kind, content):
    """Send the kernel a message, and yield all that it answers, until it is idle again."""
    message = student.session.msg(kind, content)
    await student.socket.send_bytes(serialize_msg_to_ws_v1(message, "shell", json_packer))
    waiting = {"idle", "reply"} if kind == "execute_request" else {"idle"}
    while waiting:
        heard = await student.socket.receive()
        if heard.type != aiohttp.WSMsgType.BINARY:
            raise Trouble(f"the connection to the kernel ended: {heard.type.name} {heard.data}")
        _, (header, parent, _, said, *_) = deserialize_msg_from_ws_v1(heard.data)
        header, parent, said = map(json.loads, (header, parent, said))
        state = said.get("execution_state")
        if state in ("restarting", "autorestarting", "dead"):
            raise Trouble(f"the kernel is {state}")
        if parent.get("msg_id") != message["header"]["msg_id"]:
            continue
        waiting -= {"idle"} if state == "idle" else set()
        waiting -= {"reply"} if header["msg_type"] == "execute_reply" else set()
        yield header["msg_type"], said


async def execute(student, source):
    """Run a cell; returns its outputs, as a notebook keeps them. Trouble if it ends in an error."""
    outputs = []
    request = {"code": source, "silent": False, "store_history": True, "stop_on_error": True}
    async for kind, said in tell(student, "execute_request", request):
        if kind == "error":
            raise Trouble(f"{said['ename']}: {said['evalue']}")
        if kind in ("stream", "display_data", "execute_result"):
            said.pop("transient", None)
            outputs.append({"output_type": kind} | said)
    return outputs


async def set_index(student, model, index):
    """Move a slider: what its widget in the page tells its model in the kernel."""
    update = {"method": "update", "state": {"index": index}, "buffer_paths": []}
    moved = False
    async for kind, said in tell(student, "comm_msg", {"comm_id": model, "data": update}):
        moved |= kind == "comm_msg" and said["comm_id"] == model
    if not moved:
        raise Trouble("the kernel knows nothing of this slider")


def views(outputs):
    """The models of the widgets that outputs show."""
    return [x["data"][WIDGET]["model_id"] for x in outputs if WIDGET in x.get("data", {})]


def has_picture(outputs):
    data = [x.get("data", {}) for x in outputs]
    return any("image/png" in x or "<img " in x.get("text/html", "") for x in data)


# The lesson


async def read(student):
    """The notebook as the server has it."""
    path = f"{student.base}/api/contents/{LESSON}?type=notebook&content=1"
    return (await ask(student, "GET", path))["content"]


def answer_cell(notebook):
    return next(x for x in notebook["cells"] if f"exercise:{EXERCISE}" in tags(x))


def tags(cell):
    return cell["metadata"].get("tags", [])


def number(student, notebook):
    """The number of the save that a notebook has; 0 for the stub, -1 for what is nobody's."""
    source = answer_cell(notebook)["source"]
    mine = re.match(rf"# {student.name}, save (\d+)\n", source)
    return int(mine[1]) if mine and RIGHT in source else 0 if "    ...\n" in source else -1


def call(cell):
    """What comes after the stub: the check."""
    return cell["metadata"]["course"]["stub"].partition("    ...\n")[2].strip()


async def save(student, notebook):
    """Save the right answer under a new number, as Ctrl+S does."""
    student.tried += 1
    cell = answer_cell(notebook)
    cell["source"] = f"# {student.name}, save {student.tried}\n{RIGHT}\n{call(cell)}"
    sent = {"type": "notebook", "format": "json", "content": notebook}
    await ask(student, "PUT", f"{student.base}/api/contents/{LESSON}", json=sent)
    student.saved = student.tried


async def run_all(student, notebook, begin=None):
    """Run every cell; the first time, with a guess, a wrong and a right answer, and a save."""
    for cell in [x for x in notebook["cells"] if x["cell_type"] == "code"]:
        is_answer = cell is answer_cell(notebook)
        if begin and is_answer and not student.saved:
            await execute(student, f"{WRONG}\n{call(cell)}")
        if begin and is_answer:
            await save(student, notebook)
        check = time.monotonic()
        cell["outputs"] = await execute(student, cell["source"])
        if begin and is_answer:
            student.took("first check", check)
        if begin and f'guess("{GUESS}")' in cell["source"]:
            await set_index(student, views(cell["outputs"])[0], SAID)
        if begin and has_picture(cell["outputs"]) and "first picture" not in student.times:
            student.took("first picture", begin)
        if "Flipbook(" in cell["source"]:
            student.book = views(cell["outputs"])[-1]
    if begin:
        await save(student, notebook)  # with all outputs


async def arrive(student):
    """Log in, start a server, open the lesson, run it, answer its exercise."""
    begin = time.monotonic()
    if "log in" not in student.times:
        await log_in(student)
        student.took("log in", begin)
    begin = time.monotonic()
    await start_server(student)
    student.took("spawn", begin)
    notebook = await read(student)
    begin = time.monotonic()
    await connect(student)
    await run_all(student, notebook, begin)
    student.took("lesson", begin)


async def reload(student):
    """Load the page again, start the server where it is down; the answer must be there; run all."""
    try:
        await look(student)
    except TROUBLES:
        await start_server(student)
    notebook = await read(student)
    found = number(student, notebook)
    if not student.saved <= found <= student.tried:
        student.lost.append(f"save {student.saved} was confirmed, and {found} was there")
    await connect(student)
    if "True" not in str(
        await execute(student, f"{LAST!r} in dir()")
    ):  # a new kernel knows nothing
        await run_all(student, notebook)


async def move(student):
    begin = time.monotonic()
    await set_index(student, student.book, random.randrange(3))
    student.took("slider", begin)


async def check(student):
    begin = time.monotonic()
    await execute(student, f'{RIGHT}\nchecks.check("{EXERCISE}", grouped_query_attention)')
    student.took("check", begin)


async def save_again(student):
    await save(student, await read(student))


async def attempt(student, act, patience=PATIENCE, again=reload):
    """Do something; when that fails, load the page again and then do it again, with patience.

    Whether it was done; if not, that is a failure.
    """
    async with student.busy:
        end = asyncio.get_running_loop().time() + patience
        doing = [act]
        while True:
            try:
                async with asyncio.timeout_at(end):
                    for each in doing:
                        await each(student)
                    return True
            except TROUBLES as trouble:
                seen = f"{act.__name__}: {type(trouble).__name__} {trouble}"
            student.troubles.append(seen)
            if asyncio.get_running_loop().time() > end - 1:
                student.failures.append(seen)
                return False
            await asyncio.sleep(1)
            doing = [again, act] if again else [act]
