"""The first command of the README, as a stranger types it on a server."""

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from .lab import new_page, stop

ROOT = Path(__file__).parents[2]


@pytest.fixture
def printed_url(tmp_path):
    """What `make lab ARGS=--no-browser` says to open."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "COURSE_OUTPUTS"))}
    env |= {"JUPYTERLAB_WORKSPACES_DIR": str(tmp_path), "IPYTHONDIR": str(tmp_path)}
    log = tmp_path / "log"
    with log.open("w") as file:
        command = ["make", "lab", "ARGS=--no-browser"]
        server = subprocess.Popen(
            command, cwd=ROOT, env=env, stdout=file, stderr=file, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 60
        while not (urls := re.findall(r"http://127\.0\.0\.1:\S+", log.read_text())):
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield urls[0]
    finally:
        stop(server)


def test_the_printed_address_opens_lesson_00(browser, printed_url):
    assert "token=" in printed_url
    with new_page(browser) as page:
        page.goto(printed_url)
        page.get_by_role("heading", name="00 · Start here").wait_for(timeout=60_000)
