"""A session in an imitation of Google Colab."""

import json
import os
import subprocess
from types import SimpleNamespace

import pytest
from lessons import COLAB_BIN, ROOT, build_wheel, run


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    return build_wheel(tmp_path_factory.mktemp("dist"))


@pytest.fixture
def colab(tmp_path, monkeypatch):
    """A fresh session: its `content` folder, `run(notebook)` there, the `requests` it made.

    `env` is what its kernel starts with. The course is not installed.
    """
    content, kernel, log = (tmp_path / name for name in ("content", "kernels/python3", "requests"))
    content.mkdir()
    log.touch()
    kernel.mkdir(parents=True)
    argv = [str(COLAB_BIN / "python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    argv.append("--IPKernelApp.kernel_class=google.colab._kernel.Kernel")
    spec = {"argv": argv, "display_name": "Colab", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    subprocess.run([COLAB_BIN / "pip", "uninstall", "-q", "-y", "course_utils"], check=True)
    session = SimpleNamespace(content=content)
    session.env = {k: v for k, v in os.environ.items() if k not in ("COURSE_OUTPUTS", "PYTHONPATH")}
    session.env |= {
        "PATH": f"{COLAB_BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT / "tests" / "colab" / "image"),
        "COLAB_REQUESTS": str(log),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # Python 3.11 warns of its debugger otherwise
    }
    session.run = lambda notebook, **how: run(notebook, content, session.env, **how)
    session.requests = lambda: log.read_text().splitlines()
    return session
