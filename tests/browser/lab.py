"""A real JupyterLab in a real browser: start it, open a notebook, run it, look at it."""

import asyncio
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import nbformat
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Error, expect, sync_playwright

from makers.publish import COLAB

PATIENCE = 10_000  # ms for anything in the page that should happen at once; the machine may be busy
expect.set_options(timeout=PATIENCE)
SCREENSHOTS = Path(__file__).parent / "screenshots"
CHROMIUM_FLAGS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
SETTINGS = {
    "notebook-extension/tracker": {"windowingMode": "none"},  # every cell is in the page
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "docmanager-extension/plugin": {"autosave": False},
}
BUSY = """from pathlib import Path
while not Path("stop").exists():
    pass"""  # a cell that ends when somebody puts this file into the lab's folder
# What a page knows of its notebook: JupyterLab run with --expose-app-in-browser gives us the app.
PANEL = "jupyterapp.shell.currentWidget"
CODE_CELLS = f"{PANEL}.content.widgets.filter(cell => cell.model.type === 'code')"


class Lab(NamedTuple):
    url: str
    token: str
    folder: Path  # what JupyterLab shows; notebooks written here can be opened


def is_root():
    return hasattr(os, "geteuid") and os.geteuid() == 0


def chromium():
    """Path of the browser: $CHROMIUM, else one on PATH, else None: the one Playwright installed."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


def launch(playwright):
    """Chromium without a window; it refuses its sandbox to root."""
    flags = CHROMIUM_FLAGS + ["--no-sandbox"] * is_root()
    return playwright.chromium.launch(executable_path=chromium(), args=flags)


@contextmanager
def running_lab(folder, home):
    """JupyterLab over `folder`, in a state that tests can rely on."""
    use_settings(home)
    program = [sys.executable, "-m", "jupyterlab", "--expose-app-in-browser"]
    own = {"COURSE_OUTPUTS": "live", "COURSE_FOLDER": str(home / "my_lessons")}
    kept = {k: v for k, v in os.environ.items() if k != "COURSE_PROGRESS"}  # as a learner's is
    with serving(program, folder, home, kept | own) as lab:
        yield lab


def use_settings(home):
    """Write what a JupyterLab served from `home` begins with."""
    for name, settings in SETTINGS.items():
        path = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(settings))


@contextmanager
def serving(program, folder, home, environment):
    """A Jupyter server over `folder`; all it writes about itself is in `home`, not the user's."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    lab = Lab(f"http://127.0.0.1:{port}", secrets.token_hex(16), Path(folder))
    options = ["--no-browser", "--ip=127.0.0.1", f"--port={port}", "--port-retries=0"]
    environment = environment | {
        "JUPYTER_TOKEN": lab.token,
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTER_PREFER_ENV_PATH": "1",  # this environment's kernel and widgets, not the user's
    }
    with open(home / "lab.log", "w") as log:
        server = subprocess.Popen(
            [*program, *options, *["--allow-root"] * is_root()],
            cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not answers(lab):
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Jupyter did not start:\n{(home / 'lab.log').read_text()}")
            time.sleep(0.1)
        yield lab
    finally:
        stop(server)


@contextmanager
def away(lab, seconds):
    """The same lab further away: what goes there takes so much longer, and what comes back."""

    async def carry(reader, writer):
        later = asyncio.get_running_loop().call_later
        while data := await reader.read(2**16):
            later(seconds, writer.write, data)
        later(seconds, writer.close)

    async def meet(reader, writer):
        there, back = await asyncio.open_connection("127.0.0.1", int(lab.url.rpartition(":")[2]))
        with suppress(asyncio.CancelledError):  # at the end
            await asyncio.gather(carry(reader, back), carry(there, writer))

    async def serve():
        server = await asyncio.start_server(meet, "127.0.0.1", 0)
        port.set_result(server.sockets[0].getsockname()[1])
        await asyncio.wrap_future(done)

    port, done = Future(), Future()
    thread = threading.Thread(target=asyncio.run, args=[serve()])
    thread.start()
    try:
        yield lab._replace(url=f"http://127.0.0.1:{port.result(10)}")
    finally:
        done.set_result(None)
        thread.join()


def stop(server):
    """End a server and whatever it started; at once if it does not end its kernels, then itself."""
    os.killpg(server.pid, signal.SIGTERM)
    try:
        server.wait(5)
    except subprocess.TimeoutExpired:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def ask(lab, path, method="GET"):
    """One call of Jupyter's REST interface."""
    headers = {"Authorization": f"token {lab.token}"}
    request = urllib.request.Request(f"{lab.url}/api{path}", method=method, headers=headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read() or "null")


def answers(lab):
    try:
        return ask(lab, "/")
    except (urllib.error.URLError, OSError):
        return None


def shut_down_kernels(lab):
    for session in ask(lab, "/sessions"):
        ask(lab, f"/sessions/{session['id']}", "DELETE")


@contextmanager
def new_page(browser):
    """A fresh page; `page.problems` collects the errors in its console, and there must be none."""
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.route(f"{COLAB}/**", lambda route: route.fulfill(body=""))  # the badge, if published
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.problems = []
    page.on("pageerror", lambda error: page.problems.append(f"exception: {error}"))
    page.on(
        "console",
        lambda said: said.type == "error" and page.problems.append(f"{said.text} {said.location}"),
    )
    try:
        yield page
    finally:
        context.close()
    assert not page.problems, "\n".join(page.problems)


def write_notebook(lab, name, *cells):
    """A notebook of these code cells in the folder that JupyterLab shows."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3 (ipykernel)"}
    nbformat.write(notebook, lab.folder / name)


def open_notebook(page, lab, name, timeout=60):
    """Open a notebook, and nothing else, in JupyterLab; returns when its kernel is ready."""
    page.goto(f"{lab.url}/lab/tree/{name}?reset&token={lab.token}")
    wait_for_notebook(page, name, timeout)


def wait_for_notebook(page, name, timeout=60):
    """Wait until the notebook is shown and its kernel is ready (also after page.reload())."""
    page.wait_for_function(
        f"name => window.jupyterapp && {PANEL}?.context?.path === name"
        f" && {PANEL}.context.isReady && {PANEL}.sessionContext.isReady"
        f" && {PANEL}.sessionContext.session?.kernel?.status === 'idle'",
        arg=name,
        timeout=timeout * 1000,
    )


def command(page, name, timeout=60):
    """Carry out one of JupyterLab's commands; returns when it has finished."""
    page.evaluate(
        "name => { window.finished = false;"
        " jupyterapp.commands.execute(name).finally(() => { window.finished = true; }); }",
        name,
    )
    page.wait_for_function("window.finished", timeout=timeout * 1000)


def run_all(page, timeout=120):
    """Run every cell; AssertionError, with what the kernel said, unless every cell has run."""
    command(page, "notebook:run-all-cells", timeout)
    left = page.evaluate(
        f"{CODE_CELLS}.map(cell => cell.model).filter(model => model.executionState === 'running'"
        " || (model.executionCount === null && model.sharedModel.source.trim()))"
        ".map(model => model.sharedModel.source)"
    )
    said = page.locator("[data-mime-type='application/vnd.jupyter.stderr']").all_inner_texts()
    assert not left, "\n\n".join([f"{len(left)} cells have not run, the first:", left[0], *said])


def cell(page, i):
    """The i-th cell of the notebook that is open; negative counts from the end."""
    cells = page.locator(".jp-NotebookPanel:not(.lm-mod-hidden) .jp-Notebook .jp-Cell")
    return cells.nth(i)


def type_into_cell(page, i, source):
    """Replace a cell's source as if pasted: nothing is indented or completed on the way."""
    cell(page, i).locator(".cm-content").click()
    page.keyboard.press("Control+a")
    page.keyboard.insert_text(source)


def start_cell(page, i):
    """Run a cell with Control+Enter and return at once, while the kernel is at work."""
    cell(page, i).locator(".cm-content").click()
    page.keyboard.press("Control+Enter")


def run_cell(page, i, timeout=60):
    """Run a cell; returns the text it prints, when it has finished."""
    cell(page, i).locator(".cm-content").click()
    command(page, "notebook:run-cell", timeout)
    # JupyterLab writes a long text into the page in pieces, one a frame.
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done, 20)))")
    return "\n".join(cell(page, i).locator(".jp-OutputArea-output").all_inner_texts()).strip()


def ask_python(page, source, timeout=60):
    """What the kernel prints for this source, run in the last cell of the notebook."""
    type_into_cell(page, -1, source)
    return run_cell(page, -1, timeout)


def flipbook(page, i=0):
    """Locators of the i-th flipbook: its `area`, `slider`, `text` and the `picture` it exposes."""
    area = page.locator(".flipbook").nth(i)
    area.locator("xpath=self::*[@data-ready='true']").wait_for()
    return SimpleNamespace(
        area=area,
        slider=area.get_by_role("slider"),
        picture=area.get_by_role("img"),
        text=area.locator(".slider-text"),
    )


def turn_pages(book):
    """The alt texts of a flipbook's pictures: by keyboard, from the first place to the last."""
    book.slider.press("Home")
    seen = [book.picture.get_attribute("alt")]
    for _ in range(int(book.slider.get_attribute("max"))):
        book.slider.press("ArrowRight")
        seen.append(book.picture.get_attribute("alt"))
    return seen


TIME_KEYS = """shown => {  // ms from a key going down to the frame that shows something else
    window.times = [];
    const pressed = () => {
        const [start, before] = [performance.now(), shown.innerHTML];
        const look = () => shown.innerHTML === before ? requestAnimationFrame(look)
            : times.push(performance.now() - start);
        requestAnimationFrame(look);
    };
    window.addEventListener("keydown", pressed, { capture: true });
    window.stop = () => window.removeEventListener("keydown", pressed, { capture: true });
}"""


def key_times(shown, slider, n_moves=20, places=5):
    """ms from a key on a slider to the part it changes: some places on and back, now and then."""
    page = shown.page
    shown.evaluate(TIME_KEYS)
    slider.focus()
    mixed = random.Random(0)
    for i in range(n_moves):
        page.keyboard.press("ArrowRight" if i % (2 * places) < places else "ArrowLeft")
        page.wait_for_function("n => times.length === n", arg=i + 1)
        page.wait_for_timeout(mixed.uniform(60, 160))  # in no step with the frames
    return page.evaluate("stop(), times")


def use_theme(page, name):
    """Switch JupyterLab to "JupyterLab Dark" or "JupyterLab Light"."""
    page.evaluate("theme => jupyterapp.commands.execute('apputils:change-theme', { theme })", name)
    light = str("Light" in name).lower()
    page.locator(f"body[data-jp-theme-name='{name}'][data-jp-theme-light='{light}']").wait_for(
        state="attached"
    )
    page.locator("#jupyterlab-splash").wait_for(state="detached")


def accessibility(page, selector):
    """What axe says of a part of the page: (ids of the rules that passed, violations as text).

    The body of JupyterLab has no height, and axe takes what lies outside of it for unseen: without
    one of its own, `color-contrast` would look at nothing.
    """
    page.add_style_tag(content="body { height: 100vh; }")
    found = Axe().run(page, context=selector, options={"preload": False}).response  # no requests
    wrong = [
        f"{rule['id']}: {rule['help']}: {node['html']}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]
    return {rule["id"] for rule in found["passes"]}, wrong


def save_screenshot(page, name):
    """The page as a PNG in tests/browser/screenshots, which git ignores; returns its path."""
    path = SCREENSHOTS / f"{name}.png"
    page.screenshot(path=path)
    return path


def main():
    """End with an error, and say what to do, unless a browser for the tests starts."""
    with sync_playwright() as playwright:
        try:
            launch(playwright).close()
        except Error as error:
            sys.exit(
                f"{error}\n\nNo browser for the tests. Install Chromium (on Debian: sudo apt install "
                "chromium), or sudo .venv/bin/playwright install-deps chromium, or name one in "
                "$CHROMIUM."
            )


if __name__ == "__main__":
    main()
