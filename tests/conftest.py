"""What several files of tests share."""

import socket
import sys
import types

import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.utils import _cache_assets

from course_utils import record
from course_utils.checkpoints import disk, hub


@pytest.fixture(scope="module")
def one_thread():
    """Sums in one order, so that training gives the same numbers every time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A learner's folder that is not there yet."""
    monkeypatch.setenv("COURSE_FOLDER", str(tmp_path / "own"))
    monkeypatch.delenv("COURSE_PROGRESS")
    monkeypatch.setattr(record, "TOLD", set())
    return tmp_path / "own"


@pytest.fixture
def colab(monkeypatch, tmp_path):
    """Google Colab without a Drive; with one once record.DRIVE is made."""
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.delenv("COURSE_FOLDER", raising=False)
    monkeypatch.delenv("COURSE_PROGRESS")
    monkeypatch.setattr(record, "CONTENT", tmp_path)
    monkeypatch.setattr(record, "DRIVE", tmp_path / "drive" / "MyDrive")


@pytest.fixture
def no_other_network(monkeypatch, tmp_path):
    """An empty cache, no token, short waits, and no way beyond this machine."""
    connect = socket.create_connection

    def only_loopback(address, *args, **kwargs):
        assert address[0] == "127.0.0.1", f"a test reached for {address}"
        return connect(address, *args, **kwargs)

    monkeypatch.setattr(socket, "create_connection", only_loopback)
    for module in (constants, _cache_assets):
        monkeypatch.setattr(module, "HF_ASSETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "downloads"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)  # a request of its own, once
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", *disk.OWN):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(hub, "WAIT", 0.01)
    monkeypatch.setattr(hub, "TIMEOUT", 5)
