import errno
import itertools
import json
import logging
import math
import os
import random
import re
import runpy
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import torch
from hub_server import COMMIT, SIGNED, Fault, Handler, Server, serve
from huggingface_hub import close_session, constants
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_checkpoints import CONFIG, rows_of, same, some_rows, tensors, write, write_shards

from course_utils.checkpoints import disk, open_checkpoint, ranges
from course_utils.checkpoints import hub as hub_module
from course_utils.checkpoints.hub import Hub, parse

WEIGHTS = "model.safetensors"
OTHER = "f" * 40


pytestmark = pytest.mark.usefixtures("no_other_network")


@pytest.fixture
def hub(tmp_path):
    with serve(tmp_path / "models") as running:
        yield running


@pytest.fixture
def x():
    return torch.randn(40, 25, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def mini(hub, x):
    """The URL of a model with one tensor "x" (40, 25) of 4000 bytes, and "y" behind it."""
    write(hub.folder / "org" / "mini", {"x": x, "y": x[:2] + 1})
    return f"{hub.url}/org/mini"


def as_the_hub(monkeypatch, url):
    """Let a server be the Hub itself."""
    template = url + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def one_line(error):
    assert "\n" not in str(error.value)
    assert error.value.__suppress_context__ or error.value.__context__ is None
    return str(error.value)


def raises(error):
    """What raises an error, whatever it is called with."""

    def function(*args, **kwargs):
        raise error

    return function


def kept(tmp_path):
    """The files of the cache."""
    return sorted(x.name for x in (tmp_path / "cache").rglob("*") if x.is_file())


# ── what is read ───────────────────────────────────────────────────────────────────────────────


def test_any_rows_over_http_equal_the_tensor(tmp_path_factory):
    with serve(tmp_path_factory.mktemp("models")) as hub:
        number = iter(range(10**6))

        @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
        @given(st.data())
        def law(data):
            saved = {"x": data.draw(tensors(min_axes=1)), "y": data.draw(tensors())}
            rows = data.draw(st.none() | some_rows(len(saved["x"])))
            name = f"org/m{next(number)}"
            write(hub.folder / name, saved)
            before = hub.body_bytes
            checkpoint = open_checkpoint(f"{hub.url}/{name}")
            found = checkpoint.tensors({"y": None, "x": rows})
            numbers = list(range(len(saved["x"])))
            numbers = (
                numbers if rows is None else numbers[rows] if isinstance(rows, slice) else rows
            )
            assert same(found["x"], rows_of(saved["x"], numbers))
            assert same(found["y"], saved["y"])
            assert checkpoint.bytes_read == hub.body_bytes - before

        law()


def test_every_byte_that_is_sent_is_counted(hub, mini, x):
    checkpoint = open_checkpoint(mini)
    assert torch.equal(checkpoint.tensor("x", slice(5, 9)), x[5:9])
    assert checkpoint.bytes_read == hub.body_bytes
    assert checkpoint.n_requests == len(hub.seen)
    length, header, rows = hub.gets(WEIGHTS, "cdn")
    assert (length[3]["range"], header[3]["range"][:8]) == ("bytes=0-7", "bytes=8-")
    begin, end = rows[3]["range"].removeprefix("bytes=").split("-")
    assert int(end) + 1 - int(begin) == x[5:9].nbytes


def test_nothing_is_read_ahead(hub, mini):
    checkpoint = open_checkpoint(mini)
    _ = checkpoint.names
    before = hub.body_bytes
    wanted = {"x": [1, 3]}
    assert checkpoint.price(wanted) == 200
    checkpoint.tensors(wanted)
    assert hub.body_bytes - before == 200


def test_a_second_reading_comes_from_the_disk(hub, mini, x):
    wanted = {"x": [7, 2, 7], "y": None}
    first = open_checkpoint(mini).tensors(wanted)
    before = hub.body_bytes, len(hub.seen)
    checkpoint = open_checkpoint(mini)
    assert checkpoint.price(wanted) == 0
    second = checkpoint.tensors(wanted)
    assert all(torch.equal(first[name], second[name]) for name in wanted)
    assert (checkpoint.bytes_read, hub.body_bytes) == (0, before[0])
    assert (checkpoint.n_requests, len(hub.seen)) == (
        1,
        before[1] + 1,
    )  # HEAD: is main where it was?


def test_neighbours_are_one_request_and_others_are_not(hub, mini):
    checkpoint = open_checkpoint(mini)
    _ = checkpoint.names
    before = len(hub.seen)
    checkpoint.tensors({"y": None, "x": [0, 1, 2, 30, 39, 31]})  # 0–2 · 30–31 · 39 with y behind it
    assert [y[0] for y in hub.seen[before:]] == 3 * ["cdn"]


def test_a_range_of_many_pieces_is_one_request_of_at_most_sixteen(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(ranges, "PIECE", 64)
    x = torch.arange(5000, dtype=torch.int16)
    write(hub.folder / "org" / "long", {"x": x})
    checkpoint = open_checkpoint(f"{hub.url}/org/long")
    _ = checkpoint.names
    before = len(hub.seen)
    assert torch.equal(checkpoint.tensor("x"), x)
    assert len(hub.seen) - before == math.ceil(math.ceil(10_000 / 64) / 16)
    assert checkpoint.bytes_read == hub.body_bytes


def test_independent_ranges_are_fetched_at_the_same_time(hub, mini):
    checkpoint = open_checkpoint(mini)
    _ = checkpoint.names
    barrier = threading.Barrier(8, timeout=10)  # falls only if eight requests are there at once
    hub.before_body = barrier.wait
    checkpoint.tensor("x", list(range(0, 32, 4)))
    assert not barrier.broken


def test_shards_are_read_over_http_and_only_those_asked_for(hub, x):
    shards = {"1.safetensors": {"a": x}, "2.safetensors": {"b": x + 1}, "3.safetensors": {"c": x}}
    write_shards(hub.folder / "org" / "shards", shards)
    checkpoint = open_checkpoint(f"{hub.url}/org/shards")
    assert checkpoint.names == ["a", "b", "c"]
    found = checkpoint.tensors({"b": [3], "a": None})
    assert torch.equal(found["a"], x)
    assert torch.equal(found["b"], x[[3]] + 1)
    assert not hub.gets("3.safetensors")
    assert checkpoint.n_bytes == 3 * x.nbytes
    assert checkpoint.bytes_read == hub.body_bytes


def test_of_a_sharded_model_one_file_is_looked_for_once(hub, x):
    write_shards(hub.folder / "org" / "shards", {"1.safetensors": {"a": x}})
    for _ in range(2):
        assert open_checkpoint(f"{hub.url}/org/shards").tensor("a").equal(x)
    assert len([y for y in hub.gets() if y[2].endswith(f"/{WEIGHTS}")]) == 1


def test_one_file_beside_an_index_is_what_is_read_from_the_hub(hub, x):
    write_shards(hub.folder / "org" / "both", {"1.safetensors": {"x": x + 1}})
    write(hub.folder / "org" / "both", {"x": x})
    for _ in range(2):
        assert open_checkpoint(f"{hub.url}/org/both").tensor("x").equal(x)
    assert not hub.gets("1.safetensors") and len(hub.gets(WEIGHTS, "cdn")) == 3


@pytest.mark.parametrize("said, believed", [(10**6, True), (0, False), (-5, False), (10**30, False), ("80", False), (True, False)])  # fmt: skip
def test_what_an_index_says_of_bytes_is_believed_if_it_can_be_true(hub, x, said, believed):
    folder = write_shards(hub.folder / "org" / "s", {f"{i}.safetensors": {i: x} for i in "ab"})
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"metadata": {"total_size": said}}))
    checkpoint = open_checkpoint(f"{hub.url}/org/s")
    before = checkpoint.n_requests
    assert checkpoint.n_bytes == (said if believed else 2 * x.nbytes)
    assert (checkpoint.n_requests == before) == believed
    checkpoint.tensors({"a": None, "b": None})
    assert checkpoint.n_bytes == 2 * x.nbytes  # all headers are there: nothing need be believed


def test_a_model_without_an_index_is_asked_for_one_once(hub, mini):
    for _ in range(2):
        open_checkpoint(mini)
    assert len(hub.gets("index.json")) == 1


def test_the_tokenizer_is_read_once(hub, mini):
    from tokenizers import Tokenizer, models

    tokenizer = Tokenizer(models.WordLevel({"key": 0, "one": 1}, "key"))
    tokenizer.save(str(hub.folder / "org" / "mini" / "tokenizer.json"))
    for _ in range(2):
        assert open_checkpoint(mini).tokenizer().encode("one").ids == [1]
    assert len(hub.gets("tokenizer.json")) == 1


# ── names and commits ──────────────────────────────────────────────────────────────────────────


def test_a_name_a_name_with_revision_and_a_url_are_the_same_model(hub, mini, x, monkeypatch):
    as_the_hub(monkeypatch, hub.url)
    hub.commits["org/mini", "refs/pr/1"] = OTHER
    for source, commit in (
        ("org/mini", COMMIT),
        ("org/mini@main", COMMIT),
        (f"org/mini@{OTHER}", OTHER),
        ("org/mini@refs/pr/1", OTHER),
        ("org/mini@refs%2Fpr%2F1", OTHER),
        (mini, COMMIT),
        (f"{mini}/", COMMIT),
        (f"{mini}/tree/main", COMMIT),
        (f"{mini}/tree/refs%2Fpr%2F1", OTHER),
        (f"{mini}/blob/{OTHER}/config.json?raw=1#x", OTHER),
    ):
        checkpoint = open_checkpoint(source)
        assert (checkpoint.name, checkpoint.revision) == ("org/mini", commit)
        assert torch.equal(checkpoint.tensor("x", [1]), x[[1]])


def test_a_name_may_have_no_organisation():
    assert parse("gpt2") == ("https://huggingface.co", "gpt2", "main")
    assert parse("https://huggingface.co/gpt2/tree/v1")[1:] == ("gpt2", "v1")


ADDRESS = "https://huggingface.co/org/name-1.5B"
MIRROR = "https://host/artifactory/api/huggingfaceml/repo"


@pytest.mark.parametrize(
    ("source", "revision"),
    [
        ("org/name-1.5B", "main"),
        ("org/name-1.5B/", "main"),
        (" org/name-1.5B\n", "main"),
        ('"org/name-1.5B",', "main"),
        ("`org/name-1.5B@v1`", "v1"),
        ("\ufefforg/name-1.5B\u200b", "main"),
        ("org/name-1.5B.", "main"),
        ("“org/name-1.5B@v1”.,", "v1"),
        ("\u200eorg/name-1.5B\u00ad\u2009", "main"),
        ("models--org--name-1.5B", "main"),
        (f"{ADDRESS}.", "main"),
        (f"<{ADDRESS}/tree/v1>.", "v1"),
        ("hf.co/org/name-1.5B", "main"),
        ("huggingface.co/org/name-1.5B/", "main"),
        ("www.huggingface.co/org/name-1.5B", "main"),
        ("HTTP://HuggingFace.co/org/name-1.5B", "main"),
        ("https://hf.co/models/org/name-1.5B", "main"),
        ("hf://org/name-1.5B", "main"),
        ("hf://models/org/name-1.5B@v1/config.json", "v1"),
        ("hf://org/name-1.5B@refs/pr/1/config.json", "refs/pr/1"),
        (ADDRESS, "main"),
        (f"{ADDRESS}@v1", "v1"),
        (f"{ADDRESS}/tree/main/", "main"),
        (f"{ADDRESS}/tree/refs/pr/1", "refs/pr/1"),
        (f"{ADDRESS}/blob/v1/a/config.json?raw=1#L3", "v1"),
        (f"{ADDRESS}/resolve/v1/model.safetensors?download=true", "v1"),
        (f"{ADDRESS}/commit/{OTHER}", OTHER),
        (f"{ADDRESS}/discussions/3", "main"),
        ("https://huggingface.co/api/models/org/name-1.5B", "main"),
        (f"{ADDRESS}.git", "main"),
        (f"git clone {ADDRESS}.git", "main"),
        ("hf download org/name-1.5B --local-dir x", "main"),
        ("git@hf.co:org/name-1.5B.git", "main"),
        ("ssh://git@hf.co:22/org/name-1.5B", "main"),
    ],
)
def test_what_is_pasted_is_understood(source, revision):
    assert parse(source) == ("https://huggingface.co", "org/name-1.5B", revision)


@pytest.mark.parametrize("page", ["", "/", ".git", "@main", "/tree/main", "/resolve/main/x.json?y"])
@pytest.mark.parametrize("endpoint", ["http://host:8", "https://host/a", MIRROR])
def test_a_mirror_may_have_a_prefix(endpoint, page):
    assert parse(f"{endpoint}/org/name{page}") == (endpoint, "org/name", "main")


def test_a_mirror_with_a_prefix_is_read_there(hub, mini, x, monkeypatch):
    (hub.folder / "org").rename(hub.folder / "prefix")
    monkeypatch.setattr(Handler, "answer", without_prefix(Handler.answer))
    checkpoint = open_checkpoint(f"{hub.url}/api/hf/prefix/mini/tree/main")
    assert torch.equal(checkpoint.tensor("x"), x)
    assert checkpoint.name == "prefix/mini"


def without_prefix(answer):
    def handle(self):
        self.path = self.path.removeprefix("/api/hf")
        return answer(self)

    return handle


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("", "'' is no model: give org/name, the http(s) URL of its page, or a folder"),
        ("a/b/c", "'a/b/c' is no model: give org/name"),
        ("org/", "behind the slash comes the name of the model"),
        ("org name/x", "'org name/x' is no model: ' ' has no place in a name; give org/name"),
        ("org/\nname", r"'\n' has no place in a name"),
        ("org/name–1B", "'–' has no place in a name"),
        ("https://", "give org/name"),
        ("https://host/", "give org/name"),
        ("../org/name/x", "give org/name"),
        ("ftp://host/org/name", "only http(s) addresses are read"),
        ("s3://me:secret@bucket/org/name", "only http(s) addresses are read"),
        ("git@github.com:org/name.git", "only http(s) addresses are read"),
        ("https://host/datasets/a/b", "it is a dataset or a Space"),
        ("datasets/squad", "it is a dataset or a Space"),
        ("hf://datasets/a/b", "it is a dataset or a Space"),
        ("huggingface.co/spaces/a/b", "it is a dataset or a Space"),
        ("https://huggingface.co/models?search=secret", "that page is about something else"),
        ("https://me:secret@host/org/name", "leave user name and password out of the address"),
        ("git clone https://me:secret@hf.co/org/name", "leave user name and password out"),
        ("https://me:pass/secret@host/org/name", "this is no model: give org/name"),
        ("me:secret@host/org/name", "this is no model: give org/name"),
        ("org/na me?token=secret", "' ' has no place in a name"),
        ("hf_secretsecretsecretsecret", "this is no model: it looks like a token"),
        ("org/name@", "a branch, tag or commit comes behind @, as in org/name@main"),
        ("org/name:tag", "a branch, tag or commit comes behind @, as in org/name@main"),
        ("hf.co/org/name:Q4_K_M", "a branch, tag or commit comes behind @"),
        ("hf-mirror.com/org/name", "an address begins with https://"),
        ("localhost:8000/org/name", "an address begins with https://"),
        ("org/model.safetensors", "there is no such file"),
        ("org/" + 97 * "a", "a name has at most 96 characters"),
        (f"https://host/{300 * 'a'}/name", "a name has at most 96 characters"),
    ],
)
def test_what_is_no_name_is_told_why(source, why):
    with pytest.raises(ValueError, match=re.escape(why)) as error:
        parse(source)
    assert "secret" not in one_line(error)


@pytest.mark.parametrize("source", ["", " \n", "''"])
def test_nothing_is_not_the_folder_one_is_in(source):
    with pytest.raises(ValueError, match="'' is no model: give org/name"):
        open_checkpoint(source)


@pytest.mark.parametrize(
    ("source", "what"),
    [(None, "None"), (7, "int"), ({"token": "secret"}, "dict"), (b"a/b", "bytes")],
)
def test_what_is_no_text_is_told_so(source, what):
    with pytest.raises(TypeError, match=f"{what} is no model: give org/name") as error:
        open_checkpoint(source)
    assert "secret" not in one_line(error)


def test_an_endpoint_without_https_is_told_so(monkeypatch):
    as_the_hub(monkeypatch, "hf-mirror.com")
    with pytest.raises(
        ValueError, match=r"HF_ENDPOINT is 'hf-mirror\.com': an address begins with"
    ):
        open_checkpoint("org/name")


def test_a_model_is_read_at_one_commit_though_main_moves(hub, mini, x, monkeypatch):
    hub.commits["org/mini", "main"] = "a" * 40
    checkpoint = open_checkpoint(mini)
    assert checkpoint.revision == "a" * 40
    moved = write(hub.folder / "org" / "mini" / ("b" * 40), {"x": -x, "y": x})
    hub.commits["org/mini", "main"] = "b" * 40
    hub.commits["org/mini", "old"] = "a" * 40
    assert torch.equal(checkpoint.tensor("x"), x)
    assert all(
        "a" * 40 in path for _, method, path, _ in hub.seen if "resolve" in path and method == "GET"
    )
    again = open_checkpoint(mini)
    assert again.revision == "b" * 40
    assert torch.equal(again.tensor("x"), -x)
    assert moved.is_dir()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert open_checkpoint(mini).revision == "b" * 40


def test_a_host_that_names_no_commit_is_no_hub(hub, mini, x, monkeypatch):
    hub.commits["org/mini", "main"] = "../../../elsewhere"
    with pytest.raises(ConnectionError, match="names no commit of org/mini; is it a Hub") as error:
        open_checkpoint(mini)
    assert f"From a mirror, {mini}@COMMIT can be read" in one_line(error)
    as_the_hub(monkeypatch, hub.url)
    with pytest.raises(ConnectionError, match="From a mirror, org/mini@COMMIT can be read"):
        open_checkpoint("org/mini")
    for source in ("org/mini", mini):
        assert torch.equal(open_checkpoint(f"{source}@{COMMIT}").tensor("x"), x)


# ── the disk ───────────────────────────────────────────────────────────────────────────────────


def test_a_damaged_piece_is_fetched_again(hub, mini, x, tmp_path):
    open_checkpoint(mini).tensors({"x": None, "y": None})
    for path in (tmp_path / "cache").rglob("*"):
        if path.is_file() and path.name.startswith(f"{WEIGHTS}."):
            content = bytearray(path.read_bytes())
            content[-1] ^= 1
            path.write_bytes(content)
    checkpoint = open_checkpoint(mini)
    assert torch.equal(checkpoint.tensor("x"), x)
    assert torch.equal(checkpoint.tensor("y"), x[:2] + 1)
    assert checkpoint.bytes_read > x.nbytes


@pytest.mark.parametrize("content", [b"", b"short", bytes(32), bytes(5000)])
def test_a_piece_that_is_cut_off_is_fetched_again(mini, x, tmp_path, content):
    open_checkpoint(mini).tensor("x")
    for path in (tmp_path / "cache").rglob(f"{WEIGHTS}.*"):
        path.write_bytes(content)
    assert torch.equal(open_checkpoint(mini).tensor("x"), x)


def test_a_damaged_note_of_a_size_is_made_again(mini, x, tmp_path):
    open_checkpoint(mini).tensor("x")
    for content in (b"", b"no number"):
        (note,) = (tmp_path / "cache").rglob(f"{WEIGHTS}.size")
        note.write_bytes(content)
        checkpoint = open_checkpoint(mini)
        assert torch.equal(checkpoint.tensor("x"), x)
        assert checkpoint.bytes_read < 2000  # one byte, and a redirect


def test_a_reading_that_was_broken_off_goes_on_where_it_stopped(hub, mini, x, monkeypatch):
    monkeypatch.setattr(ranges, "PIECE", 500)
    monkeypatch.setattr(hub_module, "TRIES", 1)
    checkpoint = open_checkpoint(mini)
    _ = checkpoint.names
    hub.faults.append(Fault(WEIGHTS, cut=2600))
    with pytest.raises(ConnectionError, match="1 times"):
        checkpoint.tensor("x")
    checkpoint = open_checkpoint(mini)
    assert checkpoint.price({"x": None}) == 4000 - 2500  # five pieces are whole
    before = checkpoint.bytes_read
    assert torch.equal(checkpoint.tensor("x"), x)
    assert checkpoint.bytes_read - before < 1500 + 2000  # and a redirect
    assert checkpoint.price({"x": None}) == 0


def test_an_interrupt_ends_the_threads_and_keeps_what_is_whole(hub, mini, x, monkeypatch, tmp_path):
    checkpoint = open_checkpoint(mini)
    _ = checkpoint.names
    hub.faults.append(Fault(WEIGHTS, stall=100))

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ranges, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.tensor("x")
    hub.released.set()
    assert not [name for name in kept(tmp_path) if name.endswith(".part")]
    assert torch.equal(open_checkpoint(mini).tensor("x"), x)


def test_nothing_of_a_write_that_fails_stays_on_the_disk(mini, x, monkeypatch, tmp_path):
    checkpoint = open_checkpoint(mini)
    _ = checkpoint.names
    before = kept(tmp_path)

    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="No space left"):
            checkpoint.tensor("x")
    assert kept(tmp_path) == before
    assert torch.equal(checkpoint.tensor("x"), x)


def test_without_network_a_model_that_was_read_opens_still(hub, mini, x, monkeypatch):
    open_checkpoint(mini).tensor("x", [4])
    requests = len(hub.seen)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    checkpoint = open_checkpoint(mini)
    assert checkpoint.revision == COMMIT
    assert torch.equal(checkpoint.tensor("x", [4]), x[[4]])
    assert (checkpoint.bytes_read, len(hub.seen)) == (0, requests)
    with pytest.raises(
        ConnectionError, match="HF_HUB_OFFLINE is set: unset it, or choose the embedded"
    ):
        checkpoint.tensor("x", [5])


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT])
@pytest.mark.parametrize("method", ["mkdir", "write_bytes"])
def test_a_disk_that_takes_nothing_is_named_with_the_way_out(
    mini, x, monkeypatch, tmp_path, number, method
):
    with monkeypatch.context() as patch:
        patch.setattr(Path, method, raises(OSError(number, os.strerror(number), "some file")))
        with pytest.raises(OSError, match="HF_HOME") as error:
            open_checkpoint(mini)
    assert one_line(error) == (
        f"the folder {tmp_path / 'cache'} cannot be used ({os.strerror(number)}): make room in it, "
        "or set HF_HOME to another folder and start Python again"
    )
    assert torch.equal(open_checkpoint(mini).tensor("x"), x)


@pytest.mark.parametrize("variable", ["HF_HOME", *sorted(disk.OWN)])
def test_the_variable_that_is_named_moves_the_cache(mini, monkeypatch, tmp_path, variable):
    monkeypatch.setenv(variable, str(tmp_path / "cache"))
    (tmp_path / "cache").write_text("")
    with pytest.raises(OSError, match="cannot be used") as error:
        open_checkpoint(mini)
    monkeypatch.setenv(re.search(r"set (\w+) to", one_line(error))[1], str(tmp_path / "new"))
    again = runpy.run_path(constants.__file__)["HF_ASSETS_CACHE"]
    assert Path(again).is_relative_to(tmp_path / "new")


def test_a_cache_that_cannot_be_written_to_is_read(mini, monkeypatch):
    wanted = {"x": [7, 2], "y": None}
    first = open_checkpoint(mini).tensors(wanted)
    read_only = raises(OSError(errno.EROFS, os.strerror(errno.EROFS)))
    with monkeypatch.context() as patch:
        for place, name in ((Path, "write_bytes"), (Path, "replace"), (os, "mkdir")):
            patch.setattr(place, name, read_only)
        checkpoint = open_checkpoint(mini)
        found = checkpoint.tensors(wanted)
        with pytest.raises(OSError, match="HF_HOME") as error:
            checkpoint.tensor("x", [3])
    assert os.strerror(errno.EROFS) in one_line(error)
    assert all(torch.equal(first[name], found[name]) for name in wanted)


def test_a_file_where_the_cache_should_be_is_named(mini, tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(OSError, match=r"cache cannot be used \(a file is in its place\)") as error:
        open_checkpoint(mini)
    one_line(error)


# ── the disk of the Hub's own library ──────────────────────────────────────────────────────────


@pytest.fixture
def downloaded(tmp_path, x):
    """The folder of the model mini where transformers or `hf download` have put it."""
    model = tmp_path / "downloads" / "models--org--mini"
    for branch in ("main", "refs/pr/1"):
        (model / "refs" / branch).parent.mkdir(parents=True, exist_ok=True)
        (model / "refs" / branch).write_text(COMMIT)
    return write(model / "snapshots" / COMMIT, {"x": x, "y": x[:2] + 1})


@pytest.fixture(params=["HF_HUB_OFFLINE", "no network"])
def offline(hub, monkeypatch, request):
    """No way to the Hub, and what is said of it."""
    if request.param == "no network":
        as_the_hub(monkeypatch, "http://127.0.0.1:9")
        return r"no answer from 127.0.0.1:9 \(connection refused\)"
    as_the_hub(monkeypatch, hub.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return "HF_HUB_OFFLINE is set: unset it"


@pytest.mark.parametrize("revision", ["", "@main", "@refs/pr/1", f"@{COMMIT}"])
def test_what_is_downloaded_is_read_without_network(downloaded, offline, hub, x, revision):
    checkpoint = open_checkpoint(f"org/mini{revision}")
    assert (checkpoint.name, checkpoint.revision) == ("org/mini", COMMIT)
    assert checkpoint.names == ["x", "y"]
    assert checkpoint.price({"x": None}) == 0
    assert torch.equal(checkpoint.tensor("x", [7, 2]), x[[7, 2]])
    assert (checkpoint.bytes_read, hub.seen) == (0, [])


def test_a_branch_that_is_not_downloaded_is_not_taken_for_another(downloaded, offline):
    with pytest.raises(ConnectionError, match=offline) as error:
        open_checkpoint("org/mini@v2")
    one_line(error)


def test_what_is_downloaded_in_part_says_what_is_missing(downloaded, offline, x):
    (downloaded / WEIGHTS).unlink()
    missing = "{} of org/mini is not on this disk, and "
    with pytest.raises(ConnectionError, match=missing.format(WEIGHTS) + offline) as error:
        open_checkpoint("org/mini")
    one_line(error)
    write_shards(downloaded, {"1.safetensors": {"a": x}, "2.safetensors": {"b": x + 1}})
    (downloaded / "2.safetensors").unlink()
    checkpoint = open_checkpoint("org/mini")
    assert torch.equal(checkpoint.tensor("a"), x)
    with pytest.raises(ConnectionError, match=missing.format("2.safetensors") + offline) as error:
        checkpoint.tensor("b")
    one_line(error)


def test_what_is_downloaded_and_broken_is_named_with_its_path(downloaded, offline):
    blob = (downloaded / WEIGHTS).rename(downloaded / "blob")
    (downloaded / WEIGHTS).symlink_to(blob)  # as the Hub's own library has it
    os.truncate(blob, 3000)
    for source in ("org/mini", downloaded):
        with pytest.raises(ValueError, match="is broken: incomplete metadata") as error:
            _ = open_checkpoint(source).names
        assert one_line(error).endswith(f"; delete {blob.resolve()} and download it again")


def test_what_we_have_read_ourselves_goes_first(hub, mini, x, downloaded, monkeypatch):
    as_the_hub(monkeypatch, hub.url)
    (downloaded / WEIGHTS).rename(downloaded / "later")
    open_checkpoint("org/mini").tensor("x", [4])
    write(downloaded, {"x": -x, "y": x[:2] + 1})
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    checkpoint = open_checkpoint("org/mini")
    assert torch.equal(checkpoint.tensor("x", [4]), x[[4]])
    assert torch.equal(checkpoint.tensor("x", [5]), -x[[5]])


def test_what_is_downloaded_is_not_fetched_again(hub, mini, x, downloaded, monkeypatch):
    as_the_hub(monkeypatch, hub.url)
    assert torch.equal(open_checkpoint("org/mini").tensor("x"), x)
    assert [y[1] for y in hub.seen] == ["HEAD"]
    hub.commits["org/mini", "main"] = OTHER  # and of another commit nothing is there
    assert torch.equal(open_checkpoint("org/mini").tensor("x"), x)
    assert hub.gets(WEIGHTS, "cdn")


def test_a_model_of_another_host_is_not_what_is_downloaded(hub, mini, downloaded):
    write(downloaded, {"x": torch.zeros(40, 25)})
    assert open_checkpoint(mini).tensor("x").any()


def test_a_folder_of_downloads_has_the_name_of_its_model(downloaded, x):
    for folder in (downloaded, downloaded.parents[1], downloaded.parent):
        checkpoint = open_checkpoint(folder)
        assert (checkpoint.name, checkpoint.revision) == ("org/mini", COMMIT)
        assert torch.equal(checkpoint.tensor("x"), x)


# ── faults ─────────────────────────────────────────────────────────────────────────────────────


def test_offline_fails_after_two_tries_with_the_remedy(hub, mini, tmp_path):
    nowhere = socket.create_server(("127.0.0.1", 0))
    port = nowhere.getsockname()[1]
    nowhere.close()
    with pytest.raises(ConnectionError) as error:
        open_checkpoint(f"http://127.0.0.1:{port}/org/mini")
    assert one_line(error) == (
        f"no answer from 127.0.0.1:{port} (connection refused): check the address, or try another "
        "network, or choose the embedded model, which needs no network"
    )
    assert kept(tmp_path) == []


def test_hf_hub_offline_is_honoured(hub, mini, monkeypatch, tmp_path):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ConnectionError, match="HF_HUB_OFFLINE is set: unset it") as error:
        open_checkpoint(mini)
    one_line(error)
    assert (hub.seen, kept(tmp_path)) == ([], [])
    monkeypatch.setenv("TRANSFORMERS_OFFLINE", "1")
    with pytest.raises(ConnectionError, match=r"^TRANSFORMERS_OFFLINE is set: unset it"):
        open_checkpoint(mini)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ConnectionError, match=r"^HF_HUB_OFFLINE is set: unset it"):
        open_checkpoint(mini)


def test_gated_without_a_token_says_how_to_get_in(hub, mini, tmp_path):
    hub.gated["org/mini"] = {"hf_good"}
    with pytest.raises(PermissionError) as error:
        open_checkpoint(mini)
    assert one_line(error) == (
        f"org/mini is gated: ask for access at {mini}, then give your token by HF_TOKEN in the "
        "environment, `hf auth login` or a Colab secret HF_TOKEN, never in a cell"
    )
    assert kept(tmp_path) == []


def test_gated_with_a_token_that_has_no_access_yet_says_to_wait(hub, mini):
    hub.gated["org/mini"], hub.tokens = {"hf_good"}, {"hf_good", "hf_new"}
    with pytest.raises(PermissionError) as error:
        open_checkpoint(mini, token="hf_new")
    assert one_line(error) == (
        f"org/mini is gated, and not yet open to your token: ask for access at {mini}, "
        "and wait until it is granted"
    )


def test_a_token_that_is_not_valid_is_told_from_one_without_access(hub, mini):
    with pytest.raises(
        PermissionError, match=r"does not accept your token \(401\): make a new one"
    ) as error:
        open_checkpoint(mini, token="hf_wrong")
    assert "hf_wrong" not in one_line(error)


def test_gated_with_access_is_read(hub, mini, x):
    hub.gated["org/mini"], hub.tokens = {"hf_good"}, {"hf_good"}
    assert torch.equal(open_checkpoint(mini, token="hf_good").tensor("x"), x)


@pytest.mark.parametrize("token", [None, "hf_good"])
def test_a_model_that_is_not_there_is_answered_with_near_names(hub, mini, token):
    hub.tokens = {"hf_good"}
    with pytest.raises(FileNotFoundError) as error:
        open_checkpoint(f"{hub.url}/org/minni-1B", token=token)
    host = hub.url.removeprefix("http://")
    assert one_line(error) == f"no model org/minni-1B on {host}; did you mean 'org/mini'?"
    with pytest.raises(FileNotFoundError, match="; look for its name in the list of models"):
        open_checkpoint(f"{hub.url}/other/thing", token=token)


def test_a_revision_that_is_not_there_is_answered_with_those_that_are(hub, mini):
    hub.commits["org/mini", "v2"] = OTHER
    with pytest.raises(FileNotFoundError) as error:
        open_checkpoint(f"{mini}/tree/v1")
    assert one_line(error) == "org/mini has no 'v1'; there is main, v2"


def test_a_file_that_is_not_there_is_answered_with_those_that_are(hub, mini):
    with pytest.raises(FileNotFoundError) as error:
        open_checkpoint(mini).tokenizer()
    assert one_line(error) == (
        "no tokenizer.json in org/mini; there is config.json, model.safetensors"
    )
    (hub.folder / "org" / "mini" / "config.json").unlink()
    hub.commits["org/mini", "main"] = OTHER
    with pytest.raises(FileNotFoundError, match=r"no config\.json in org/mini; there is model"):
        open_checkpoint(mini)


def test_a_model_of_pickles_only_is_refused(hub):
    folder = hub.folder / "org" / "old"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    checkpoint = open_checkpoint(f"{hub.url}/org/old")
    with pytest.raises(
        FileNotFoundError, match=r"a pickle may run code.*safetensors/convert"
    ) as error:
        _ = checkpoint.names
    one_line(error)
    assert not hub.gets("pytorch_model.bin")


def test_a_request_too_many_waits_as_long_as_it_is_told(hub, mini, x, monkeypatch):
    waits = []
    monkeypatch.setattr(threading.Event, "wait", waits_for(waits))
    limit = {"Retry-After": "3"}
    hub.faults.append(Fault("config.json", status=429, headers=limit, method="HEAD"))
    hub.faults.append(Fault(WEIGHTS, status=429, headers=limit, times=2))
    rate = {"RateLimit": '"resolvers";r=0;t=5'}  # as the Hub says it
    hub.faults.append(Fault(WEIGHTS, status=429, headers=rate))
    checkpoint = open_checkpoint(mini)
    assert torch.equal(checkpoint.tensor("x"), x)
    assert waits == [3, 3, 3, 5]
    assert checkpoint.bytes_read == hub.body_bytes
    assert checkpoint.n_requests == len(hub.seen)


def waits_for(waits):
    """threading.Event.wait that notes numbers of whole seconds and does not wait for them."""
    wait = threading.Event.wait

    def note(event, timeout=None):
        if isinstance(timeout, int) and timeout > 0:
            waits.append(timeout)
            return event.is_set()
        return wait(event, timeout)

    return note


def test_the_wait_grows_whatever_the_server_says(hub, mini, monkeypatch):
    waits = []
    monkeypatch.setattr(threading.Event, "wait", waits_for(waits))
    monkeypatch.setattr(hub_module, "WAIT", 1)
    hub.faults.append(Fault(WEIGHTS, status=503, headers={"Retry-After": "3"}, times=99))
    with pytest.raises(ConnectionError, match="answered 503, 5 times"):
        list(Hub(mini).stream(WEIGHTS, 0, 9))
    assert waits == [3, 3, 4, 8]  # and after the fifth try none


def test_a_request_too_many_is_given_up_if_the_wait_is_long(hub, mini):
    limit = {"Retry-After": "3600"}
    hub.faults.append(Fault("config.json", status=429, headers=limit, method="HEAD"))
    with pytest.raises(
        ConnectionError, match=r"answered 429: run it again in 3600 s, or choose"
    ) as error:
        open_checkpoint(mini)
    one_line(error)


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_an_error_of_the_server_is_tried_again(hub, mini, x, status):
    hub.faults += [Fault(WEIGHTS, status=status, times=4), Fault("config.json", status=status)]
    checkpoint = open_checkpoint(mini)
    assert torch.equal(checkpoint.tensor("x"), x)
    assert checkpoint.bytes_read == hub.body_bytes
    assert checkpoint.n_requests == len(hub.seen)


def test_an_error_of_the_server_that_stays_is_given_up_after_five_tries(hub, mini, tmp_path):
    checkpoint = open_checkpoint(mini)
    hub.faults.append(Fault(WEIGHTS, status=503, times=99))
    before = kept(tmp_path)
    with pytest.raises(
        ConnectionError, match="answered 503, 5 times: run it again later, or choose"
    ) as error:
        checkpoint.tensor("x")
    one_line(error)
    assert kept(tmp_path) == before
    assert hub.faults[0].times == 99 - 5


def test_another_refusal_of_the_server_is_not_tried_again(hub, mini):
    checkpoint = open_checkpoint(mini)
    hub.faults.append(Fault(WEIGHTS, status=418, times=9))
    with pytest.raises(ConnectionError, match=r"answered 418: run it again later"):
        checkpoint.tensor("x")
    assert hub.faults[0].times == 8


def test_a_server_that_ignores_ranges_is_stopped_before_the_body(hub, tmp_path):
    large = torch.zeros(5_000_000, dtype=torch.uint8)
    write(hub.folder / "org" / "large", {"x": large})
    size = (hub.folder / "org" / "large" / WEIGHTS).stat().st_size
    checkpoint = open_checkpoint(f"{hub.url}/org/large")
    before, files = checkpoint.bytes_read, kept(tmp_path)
    hub.faults.append(Fault(WEIGHTS, ignore_range=True, times=9))
    with pytest.raises(ConnectionError, match=f"it would send {size} bytes of {WEIGHTS}") as error:
        checkpoint.tensor("x", [0])
    one_line(error)
    assert checkpoint.bytes_read - before < 2000  # the redirect
    assert kept(tmp_path) == files
    assert hub.faults[0].times == 8


@pytest.mark.parametrize(
    "said", ["bytes 0-6/4000", "bytes 1-8/4000", "items 0-7/4000", "bytes 0-7/*", "nonsense"]
)
def test_another_range_than_asked_for_is_refused(hub, mini, tmp_path, said):
    checkpoint = open_checkpoint(mini)
    files = kept(tmp_path)
    hub.faults.append(Fault(WEIGHTS, content_range=said))
    with pytest.raises(ConnectionError) as error:
        _ = checkpoint.names
    assert f"sends {said} for bytes 0 to 7 of {WEIGHTS}" in one_line(error)
    assert kept(tmp_path) == files
    assert checkpoint.names == ["x", "y"]  # the next answer is right


def test_a_file_that_the_other_host_has_lost_is_not_a_model_that_is_not_there(hub, mini):
    hub.cdn += "/lost"
    with pytest.raises(
        ConnectionError, match="answered 404: run it again later, or choose"
    ) as error:
        _ = open_checkpoint(mini).names
    one_line(error)


def test_a_file_that_changes_its_size_is_refused(hub, mini):
    checkpoint = open_checkpoint(mini)
    _ = checkpoint.names
    (hub.folder / "org" / "mini" / WEIGHTS).open("ab").write(b"more")
    with pytest.raises(ConnectionError, match="for bytes"):
        checkpoint.tensor("x")


@pytest.mark.parametrize("announced", [False, True])
@pytest.mark.parametrize("cuts", [[10], [0, 1000], [1, 1, 1, 1]])
def test_a_body_cut_short_is_continued_from_the_next_byte(hub, mini, x, cuts, announced):
    checkpoint = open_checkpoint(mini)
    _ = checkpoint.names
    hub.faults += [Fault(WEIGHTS, cut=cut, announced=announced) for cut in cuts]
    before = len([y for y in hub.seen if y[0] == "cdn"])
    assert torch.equal(checkpoint.tensor("x"), x)
    ranges = [y[3]["range"] for y in hub.seen if y[0] == "cdn"][before:]
    firsts = [int(y.removeprefix("bytes=").split("-")[0]) for y in ranges]
    assert [b - a for a, b in itertools.pairwise(firsts)] == cuts
    assert checkpoint.bytes_read == hub.body_bytes


def test_a_whole_file_cut_short_is_continued_too(hub, mini):
    hub.faults.append(Fault("config.json", cut=20))
    checkpoint = open_checkpoint(mini)
    assert checkpoint.config == CONFIG
    assert checkpoint.bytes_read == hub.body_bytes


def test_a_body_that_is_always_cut_short_is_given_up(hub, mini, tmp_path):
    checkpoint = open_checkpoint(mini)
    _ = checkpoint.names
    files = kept(tmp_path)
    hub.faults.append(Fault(WEIGHTS, cut=10, times=99))
    with pytest.raises(ConnectionError, match="5 times: run it again later, or choose") as error:
        checkpoint.tensor("x")
    one_line(error)
    assert kept(tmp_path) == files
    assert checkpoint.bytes_read == hub.body_bytes


def test_a_body_longer_than_asked_for_is_never_written(hub, mini, tmp_path, x):
    checkpoint = open_checkpoint(mini)
    _ = checkpoint.names
    files = kept(tmp_path)
    hub.faults.append(Fault(WEIGHTS, extra=b"more than that"))
    with pytest.raises(
        ConnectionError, match=r"sends more of model\.safetensors than it should"
    ) as error:
        checkpoint.tensor("x")
    one_line(error)
    assert kept(tmp_path) == files
    assert torch.equal(checkpoint.tensor("x"), x)


def test_a_whole_file_without_end_is_stopped(hub, mini, monkeypatch):
    monkeypatch.setattr(hub_module, "MAX_FILE", 20)
    with pytest.raises(ConnectionError, match=r"sends more of config\.json than it should"):
        open_checkpoint(mini)


def test_a_compressed_answer_is_refused(hub, mini):
    hub.extra_headers = {"Content-Encoding": "gzip"}
    with pytest.raises(ConnectionError, match="compressed") as error:
        open_checkpoint(mini)
    one_line(error)
    assert {y[3]["accept-encoding"] for y in hub.seen} == {"identity"}


@pytest.mark.parametrize("stall", [0, 30])
def test_a_server_that_says_nothing_more_is_not_waited_for(hub, mini, monkeypatch, tmp_path, stall):
    monkeypatch.setattr(hub_module, "TIMEOUT", 0.2)
    checkpoint = open_checkpoint(mini)
    _ = checkpoint.names
    files = kept(tmp_path)
    hub.faults.append(Fault(WEIGHTS, stall=stall, times=99))
    with pytest.raises(ConnectionError, match=r"ReadTimeout|sent less") as error:
        checkpoint.tensor("x")
    one_line(error)
    assert kept(tmp_path) == files


def test_one_stall_is_survived(hub, mini, x, monkeypatch):
    monkeypatch.setattr(hub_module, "TIMEOUT", 0.2)
    checkpoint = open_checkpoint(mini)
    _ = checkpoint.names
    hub.faults.append(Fault(WEIGHTS, stall=30))
    assert torch.equal(checkpoint.tensor("x"), x)


def test_a_failure_of_one_range_stops_the_others(hub, mini):
    checkpoint = open_checkpoint(mini)
    _ = checkpoint.names
    hub.faults += [Fault("/mini/model", status=404), Fault("/resolve/", status=404)]
    failed, before = threading.Event(), len(hub.gets(WEIGHTS, "cdn"))
    hub.before_body = lambda: failed.wait(4)  # what has not failed is under way until then
    with pytest.raises(FileNotFoundError):
        checkpoint.tensor("x", list(range(0, 40, 2)))
    failed.set()
    for thread in threading.enumerate():
        if "ThreadPoolExecutor" in thread.name:
            thread.join(5)
    begun = ranges.THREADS + 1  # and one whose thread was free before the error was seen
    assert len(hub.gets(WEIGHTS, "cdn")) - before <= begun


def test_a_stream_ends_when_it_is_told_to(hub, tmp_path):
    large = torch.zeros(3_000_000, dtype=torch.uint8)
    write(hub.folder / "org" / "large", {"x": large})
    stop, reader = threading.Event(), Hub(f"{hub.url}/org/large")
    chunks = reader.stream(WEIGHTS, 0, 2_999_999, stop=stop)
    assert len(next(chunks)) > 0
    stop.set()
    assert list(chunks) == []
    assert reader.bytes_read < 200_000
    requests = len(hub.seen)
    assert list(reader.stream(WEIGHTS, 0, 9, stop=stop)) == []
    assert len(hub.seen) == requests  # nor does it begin


def test_a_stream_that_waits_ends_when_it_is_told_to(hub, mini, monkeypatch):
    monkeypatch.setattr(hub_module, "WAIT", 60)
    hub.faults.append(Fault(WEIGHTS, status=503, times=9))
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    assert list(Hub(mini).stream(WEIGHTS, 0, 9, stop=stop)) == []
    assert hub.faults[0].times == 8


@pytest.mark.parametrize("size", [0, 5, 12])
def test_a_file_too_short_for_its_header_is_broken(hub, mini, size):
    path = hub.folder / "org" / "mini" / WEIGHTS
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(ValueError, match=r"^model\.safetensors is broken: it ") as error:
        _ = open_checkpoint(mini).names
    one_line(error)


# ── what stands between ────────────────────────────────────────────────────────────────────────


@contextmanager
def between(status, headers=None, body=b"{}", certificate=None):
    """The address of a server that gives this answer, whatever it is asked for."""

    class Answer(BaseHTTPRequestHandler):
        def answer(self):
            self.send_response(status)
            for key, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body * (self.command == "GET"))

        do_HEAD = do_GET = do_CONNECT = answer

        def log_message(self, *args):
            pass

    server = Server(("127.0.0.1", 0), Answer)
    if certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(certificate)
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http{'s' if certificate else ''}://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def certificate(tmp_path):
    """What writes a .pem file of a certificate that nobody trusts, and its key."""

    def make(address="127.0.0.1"):
        path = tmp_path / f"{address}.pem"
        what = f"-subj /CN=test -addext subjectAltName=IP:{address}"
        command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 2 {what} -keyout".split()
        made = subprocess.run([*command, path], capture_output=True, check=True)
        path.write_bytes(path.read_bytes() + made.stdout)
        return path

    return make


@pytest.fixture
def environment(monkeypatch):
    """What sets variables that a client is made by; at first there is no proxy."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)

    def set_all(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        close_session()

    set_all()
    yield set_all
    close_session()


def fault_of(source, kind=ConnectionError, token=None):
    """What is said when a source cannot be opened."""
    with pytest.raises(kind) as error:
        open_checkpoint(source, token=token)
    assert type(error.value) is kind
    assert "me:secret" not in str(error.value)
    return one_line(error)


@pytest.fixture
def nowhere():
    """A host and port where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"127.0.0.1:{port}"


IS_HUB = {"X-Repo-Commit": COMMIT}
OR = ", or choose the embedded model, which needs no network"


def test_a_certificate_that_is_not_trusted_is_named_and_the_remedy_works(environment, certificate):
    path = certificate()
    with between(200, IS_HUB, certificate=path) as url:
        host = url.removeprefix("https://")
        assert fault_of(f"{url}/org/mini") == (
            f"the certificate of {host} is not trusted (self-signed certificate): set SSL_CERT_FILE "
            f"to a .pem file of the certificates of your network{OR}"
        )
        environment(SSL_CERT_FILE=str(path))
        assert open_checkpoint(f"{url}/org/mini").revision == COMMIT


def test_a_certificate_for_another_name_is_told_so(environment, certificate):
    path = certificate("127.0.0.2")
    environment(SSL_CERT_FILE=str(path))
    with between(200, IS_HUB, certificate=path) as url:
        said = fault_of(f"{url}/org/mini")
    assert "IP address mismatch" in said
    assert f": log in to this network in a browser, or try another{OR}" in said


def test_a_certificate_of_another_time_is_the_clocks_fault(environment, monkeypatch):
    late = ssl.SSLCertVerificationError(1, "of OpenSSL")
    late.verify_code, late.verify_message = 10, "certificate has expired"
    monkeypatch.setattr(socket, "create_connection", raises(late))
    assert "(certificate has expired): set this computer's clock, or" in fault_of("org/mini")


def test_certificates_that_are_not_there_are_named(environment, tmp_path):
    environment(SSL_CERT_FILE=str(tmp_path / "no.pem"))
    assert fault_of("org/mini") == (
        f"SSL_CERT_FILE names no certificates ({tmp_path / 'no.pem'}: No such file or directory): "
        f"correct or unset it{OR}"
    )


def test_a_host_without_tls_is_told_so(environment, hub):
    said = fault_of(hub.url.replace("http:", "https:") + "/org/mini")
    assert "(it speaks no TLS): try http:// for https://" in said


def test_a_host_that_says_nothing_is_told_from_one_that_hangs_up(environment, monkeypatch):
    monkeypatch.setattr(hub_module, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"127.0.0.1:{server.getsockname()[1]}"
        why = f"no answer from {host} (nothing came for a while, ReadTimeout): go online, or try"
        assert fault_of(f"http://{host}/org/mini").startswith(why)

    class HangUp(BaseHTTPRequestHandler):
        def handle(self):
            pass

    server = Server(("127.0.0.1", 0), HangUp)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    host = f"127.0.0.1:{server.server_port}"
    assert f"no answer from {host} (RemoteProtocolError)" in fault_of(f"http://{host}/org/mini")
    assert f"no answer from {host} (" in fault_of(f"https://{host}/org/mini")
    server.shutdown()
    server.server_close()


def test_a_host_without_an_address_is_named(environment, monkeypatch):
    unknown = socket.gaierror(-2, "Name or service not known")
    monkeypatch.setattr(socket, "create_connection", raises(unknown))
    assert fault_of("org/mini") == (
        "no answer from huggingface.co (this name has no address): check it, and that this "
        f"computer is online{OR}"
    )


@pytest.mark.parametrize("number", [errno.ENETUNREACH, errno.ECONNRESET])
def test_no_way_to_a_host_is_told_so(environment, monkeypatch, number):
    monkeypatch.setattr(socket, "create_connection", raises(OSError(number, os.strerror(number))))
    why = (
        f"no answer from huggingface.co ({os.strerror(number)}): go online, or try another network"
    )
    assert fault_of("org/mini") == why + OR


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("variable", ["{}_proxy", "ALL_PROXY"])
def test_a_proxy_that_is_not_there_is_named_until_it_is_unset(
    environment, mini, nowhere, monkeypatch, scheme, variable
):
    name = variable.format(scheme).upper()
    environment(**{name: f"http://me:secret@{nowhere}"})
    said = fault_of(mini.replace("http", scheme))
    assert f"through the proxy http://{nowhere} that {name} names (connection refused)" in said
    assert said.endswith(f": correct or unset {name}{OR}")
    monkeypatch.delenv(name)  # and no more than that
    assert open_checkpoint(mini).revision == COMMIT


def test_a_proxy_without_tls_is_told_so(environment, nowhere):
    with between(200) as proxy:
        environment(HTTPS_PROXY=proxy.replace("http:", "https:"))
        said = fault_of(f"https://{nowhere}/org/mini")
    assert f"(it speaks no TLS): write HTTPS_PROXY with http://{OR}" in said


def test_a_proxy_needs_no_scheme(environment, nowhere):
    with between(200, IS_HUB) as proxy:
        environment(HTTP_PROXY=proxy.removeprefix("http://"))
        assert open_checkpoint(f"http://{nowhere}/org/mini").revision == COMMIT


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_a_password_is_told_so(environment, nowhere, scheme):
    name = f"{scheme}_PROXY".upper()
    with between(407) as proxy:
        environment(**{name: proxy.replace("//", "//me:secret@")})
        said = fault_of(f"{scheme}://{nowhere}/org/mini")
    assert said.endswith(
        f": a proxy wants a password: set {name} to http://user:password@host:port{OR}"
    )
    assert "407" in said


def test_a_proxy_that_refuses_is_told_so(environment, nowhere):
    with between(403) as proxy:
        environment(HTTPS_PROXY=proxy)
        said = fault_of(f"https://{nowhere}/org/mini")
    assert f"through the proxy {proxy} (403 Forbidden): correct or unset HTTPS_PROXY" in said


@pytest.mark.parametrize(
    ("name", "address", "remedy"),
    [
        ("ALL_PROXY", "socks5://me:secret@127.0.0.1:9", "pip install socksio"),
        ("HTTPS_PROXY", "socks4://me:secret@127.0.0.1:9", "write http://host:port"),
        ("HTTP_PROXY", "proxy:port", "write http://host:port"),
        ("http_proxy", "http://me:secret@proxy:port", "write http://host:port"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named(environment, monkeypatch, name, address, remedy):
    monkeypatch.setitem(sys.modules, "socksio", None)  # as if it were not there
    environment(**{name: address})
    shown = address.replace("me:secret@", "")
    assert fault_of("org/mini") == (
        f"{name} names a proxy that cannot be used, {shown}: {remedy}, or unset {name}{OR}"
    )


@pytest.mark.parametrize("token", [None, "hf_good"])
@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        (403, {}, "answered 403, not as the Hub does: a firewall may block it"),
        (403, {"X-Request-Id": "1"}, "answered 403, not as the Hub does: a firewall may block it"),
        (407, {}, "answered 407, not as the Hub does: a proxy wants a password: set HTTP_PROXY"),
        (511, {}, "answered 511, not as the Hub does: this network wants you to log in"),
        (200, {"Content-Type": "text/html"}, "answered with a web page, not as the Hub does"),
    ],
)
def test_what_is_not_the_hubs_answer_is_not_the_tokens_fault(
    environment, tmp_path, status, headers, words, token
):
    with between(status, headers, b"<html>log in</html>") as url:
        for source in (f"{url}/org/mini", f"{url}/org/mini@{COMMIT}"):
            assert words in fault_of(source, token=token)
    assert kept(tmp_path) == []


def test_a_login_that_is_not_the_hubs_is_wanted_until_a_token_is_sent(environment):
    with between(401) as url:
        source, start = f"{url}/org/mini", f"{url[7:]} answered 401, not as the Hub does: "
        assert fault_of(source) == (
            f"{start}it wants a login: give a mirror's address by HF_ENDPOINT and its token by "
            f"HF_TOKEN{OR}"
        )
        assert fault_of(source, token="hf_good") == (
            f"{start}it did not accept the token that was sent: check HF_TOKEN{OR}"
        )


def test_a_host_that_redirects_without_end_is_told_so(environment):
    with between(302, {"Location": "/org/mini"}) as url:
        said = f"{url[7:]} redirects without end: check the address, or try another network{OR}"
        assert fault_of(f"{url}/org/mini") == said


def test_what_the_law_forbids_is_not_asked_for_again(environment):
    with between(451) as url:
        said = f"127.0.0.1 answered 451: the law forbids it, try another model{OR}"
        assert fault_of(f"{url}/org/mini") == said


def test_a_host_that_speaks_only_tls_is_told_so(environment, certificate):
    with between(200, IS_HUB, certificate=certificate()) as url:
        said = fault_of(url.replace("https:", "http:") + "/org/mini")
        assert ": try https:// for http://, or another network" in said


def test_a_web_page_does_not_close_what_was_read(hub, mini, x, monkeypatch):
    open_checkpoint(mini).tensor("x")
    hub.extra_headers = {"Content-Type": "text/html; charset=utf-8"}
    assert torch.equal(open_checkpoint(mini).tensor("x"), x)


def test_a_firewall_before_the_other_host_is_told_so(hub, mini):
    with between(403, {"Content-Type": "text/html"}) as hub.cdn:
        with pytest.raises(ConnectionError, match="not as the Hub does: a firewall") as error:
            open_checkpoint(mini).tensor("x")
        assert one_line(error).startswith(hub.cdn.removeprefix("http://"))


def test_a_refusal_of_the_hub_is_in_its_words():
    words = {"X-Error-Message": "Access to this resource is disabled."}
    with between(403, words) as url:
        said = fault_of(f"{url}/org/mini", PermissionError, token="hf_good")
        assert "does not accept your token (403): Access to this resource is disabled." in said
        assert "answered 403 (Access to this resource is disabled.)" in fault_of(f"{url}/org/mini")


def test_the_password_of_an_endpoint_is_not_repeated(monkeypatch):
    for status, headers in ((200, {}), (403, {}), (403, {"X-Error-Code": "GatedRepo"})):
        with between(status, headers) as url:
            as_the_hub(monkeypatch, url.replace("//", "//me:secret@"))
            kind = PermissionError if headers else ConnectionError
            assert url.removeprefix("http://") in fault_of("org/mini", kind)


@pytest.mark.parametrize("status", [405, 501])
def test_where_head_is_not_known_get_is_asked(hub, mini, x, status):
    hub.faults.append(Fault("config.json", status=status, method="HEAD"))
    checkpoint = open_checkpoint(mini)
    assert torch.equal(checkpoint.tensor("x"), x)
    assert checkpoint.revision == COMMIT
    assert checkpoint.bytes_read == hub.body_bytes
    assert checkpoint.n_requests == len(hub.seen)


# ── the address on the other host ──────────────────────────────────────────────────────────────


def n_seen_by(hub, server, before=0):
    """How many of the requests after the first `before` a server has seen."""
    return sum(y[0] == server for y in hub.seen[before:])


def test_after_the_first_redirect_all_ranges_go_directly(hub, mini, x):
    checkpoint = open_checkpoint(mini)
    assert torch.equal(checkpoint.tensor("x", list(range(0, 40, 3))), x[::3])
    assert len([y for y in hub.gets(WEIGHTS) if y[2].endswith(WEIGHTS)]) == 1
    assert len(hub.gets(WEIGHTS, "cdn")) == 2 + 14
    assert {y[2] for y in hub.gets(WEIGHTS, "cdn")} == {  # the address, to the letter
        f"/org/mini/{WEIGHTS}?{SIGNED}&Signature={y}" for y in hub.signatures
    }
    assert checkpoint.bytes_read == hub.body_bytes
    assert checkpoint.n_requests == len(hub.seen)


def test_the_commit_is_the_hubs_word_and_stays_when_ranges_go_directly(hub, mini):
    reader = Hub(mini)
    for _ in range(3):
        list(reader.stream(WEIGHTS, 0, 9))
        assert reader.commit == COMMIT


def test_each_file_has_an_address_of_its_own(hub, x):
    shards = {f"{i}.safetensors": {f"t{i}": x + i} for i in range(3)}
    write_shards(hub.folder / "org" / "shards", shards)
    checkpoint = open_checkpoint(f"{hub.url}/org/shards")
    found = checkpoint.tensors({f"t{i}": [i, 20] for i in range(3)})
    assert all(torch.equal(found[f"t{i}"], (x + i)[[i, 20]]) for i in range(3))
    assert [len(hub.gets(file)) for file in shards] == [1, 1, 1]
    assert [len(hub.gets(file, "cdn")) for file in shards] == [4, 4, 4]


@pytest.mark.parametrize("expires_after", [1, 2, 5])
def test_an_expired_address_is_renewed(hub, mini, x, expires_after):
    hub.expires_after = expires_after
    checkpoint = open_checkpoint(mini)
    for i in range(0, 40, 4):
        assert torch.equal(checkpoint.tensor("x", [i]), x[[i]])
    served = 2 + 10
    assert len(hub.signatures) == math.ceil(served / expires_after)
    refused = len(hub.signatures) - 1
    assert len(hub.gets(WEIGHTS, "cdn")) == served + refused
    assert checkpoint.bytes_read == hub.body_bytes
    assert checkpoint.n_requests == len(hub.seen)


def test_an_address_that_expires_in_the_middle_of_a_range_is_renewed(hub, mini, x):
    checkpoint = open_checkpoint(mini)
    _ = checkpoint.names
    hub.faults.append(Fault(WEIGHTS, cut=1000))
    hub.before_body = hub.signatures.clear
    assert torch.equal(checkpoint.tensor("x"), x)
    ranges = [y[3]["range"].split("-")[0] for y in hub.gets(WEIGHTS, "cdn")[-2:]]
    first, again = (int(y.removeprefix("bytes=")) for y in ranges)
    assert again == first + 1000


@pytest.mark.parametrize("expires_after", [math.inf, 3, 1])
def test_threads_that_find_the_address_expired_at_the_same_time_all_complete(
    hub, mini, x, expires_after
):
    checkpoint = open_checkpoint(mini)
    _ = checkpoint.names
    hub.signatures.clear()
    hub.expires_after, before = expires_after, len(hub.seen)
    barrier = threading.Barrier(8, timeout=10)
    accepts = hub.accepts

    def accept_together(signature):
        good = accepts(signature)
        if not good and not barrier.broken and n_seen_by(hub, "hub", before) == 0:
            barrier.wait()  # eight have been refused before the first of them asks the Hub
        return good

    hub.accepts = accept_together
    assert torch.equal(checkpoint.tensor("x", list(range(0, 32, 4))), x[:32:4])
    assert not barrier.broken
    assert n_seen_by(hub, "hub", before) == 8  # each asks once; none is refused a second time
    assert n_seen_by(hub, "cdn", before) == 16
    assert checkpoint.bytes_read == hub.body_bytes


def test_many_threads_and_addresses_that_are_good_once_complete(hub, mini, x):
    hub.expires_after = 1
    checkpoint = open_checkpoint(mini)
    rows = list(range(0, 40, 2))
    assert torch.equal(checkpoint.tensor("x", rows), x[rows])
    assert checkpoint.bytes_read == hub.body_bytes


def test_an_address_that_is_always_refused_is_given_up(hub, mini, tmp_path):
    checkpoint = open_checkpoint(mini)
    _ = checkpoint.names
    files, before = kept(tmp_path), len(hub.seen)
    hub.expires_after = 0
    hub.signatures.clear()
    with pytest.raises(ConnectionError) as error:
        checkpoint.tensor("x")
    assert one_line(error) == (
        "127.0.0.1 answered 403: run it again later, "
        "or choose the embedded model, which needs no network"
    )
    assert [y[0] for y in hub.seen[before:]] == ["cdn", "hub", "cdn"]
    assert kept(tmp_path) == files
    assert checkpoint.bytes_read == hub.body_bytes


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_answer_of_the_other_host_is_tried_again_there(hub, mini, x, status):
    checkpoint = open_checkpoint(mini)
    _ = checkpoint.names
    hub.faults.append(Fault(WEIGHTS, status=status, times=4))
    before = len(hub.seen)
    assert torch.equal(checkpoint.tensor("x"), x)
    assert [y[0] for y in hub.seen[before:]] == 5 * ["cdn"]
    assert checkpoint.bytes_read == hub.body_bytes


def test_when_the_other_host_is_gone_the_hub_is_asked_for_another(hub, mini, x):
    reader = Hub(mini)
    start = b"".join(reader.stream(WEIGHTS, 0, 99))
    with socket.create_server(("127.0.0.1", 0)) as nowhere:
        port = nowhere.getsockname()[1]
    reader.places[WEIGHTS] = f"http://127.0.0.1:{port}/org/mini/{WEIGHTS}"
    assert b"".join(reader.stream(WEIGHTS, 0, 99)) == start
    assert str(port) not in str(reader.places[WEIGHTS])


# ── tokens ─────────────────────────────────────────────────────────────────────────────────────


def tokens_seen(hub):
    """{server: the tokens in requests to it}."""
    found = {"hub": set(), "cdn": set()}
    for server, _, _, headers in hub.seen:
        found[server].add(headers.get("authorization"))
    return found


def test_a_given_token_goes_to_its_host_and_not_to_where_that_redirects(hub, mini):
    hub.tokens = {"hf_given"}
    checkpoint = open_checkpoint(mini, token="hf_given")
    for row in range(0, 30, 3):
        hub.expires_after = 1 + row  # some addresses expire, and some do not
        checkpoint.tensor("x", [row])
    assert tokens_seen(hub) == {"hub": {"Bearer hf_given"}, "cdn": {None}}


def test_a_token_follows_a_redirect_on_its_own_host(hub, mini, x):
    hub.tokens, hub.gated["org/mini"] = {"hf_given"}, {"hf_given"}
    hub.renamed["old/name"] = "org/mini"
    checkpoint = open_checkpoint(f"{hub.url}/old/name", token="hf_given")
    for row in range(3):
        assert torch.equal(checkpoint.tensor("x", [3 * row]), x[[3 * row]])
    assert (checkpoint.name, checkpoint.revision) == ("old/name", COMMIT)
    assert tokens_seen(hub) == {"hub": {"Bearer hf_given"}, "cdn": {None}}
    asked = [y[2] for y in hub.gets() if y[2].endswith(f"/{WEIGHTS}")]
    assert asked == [f"/{y}/resolve/{COMMIT}/{WEIGHTS}" for y in ("old/name", "org/mini")]
    assert checkpoint.n_requests == len(hub.seen)


@pytest.mark.parametrize("where", ["environment", "login"])
def test_a_stored_token_goes_to_the_hub_only(hub, mini, monkeypatch, where, tmp_path):
    hub.tokens = {"hf_stored"}
    if where == "environment":
        monkeypatch.setenv("HF_TOKEN", "hf_stored")
    else:
        (tmp_path / "token").write_text("hf_stored\n")
    open_checkpoint(mini).tensor("x")  # a host that came as a URL
    assert tokens_seen(hub) == {"hub": {None}, "cdn": {None}}
    as_the_hub(monkeypatch, hub.url)
    for source in ("org/mini", mini):
        hub.seen.clear()
        open_checkpoint(source).tensors({"x": [3], "y": None})
        assert tokens_seen(hub)["hub"] == {"Bearer hf_stored"}
    hub.seen.clear()
    open_checkpoint("org/mini").tensor("x", [30])
    assert tokens_seen(hub) == {"hub": {"Bearer hf_stored"}, "cdn": {None}}


def test_a_token_is_in_no_message_repr_log_or_file(hub, mini, tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    secret = "hf_VerySecretThing"
    hub.tokens = {secret}
    checkpoint = open_checkpoint(mini, token=secret)
    checkpoint.tensor("x")
    shown = [repr(x) for x in (checkpoint, checkpoint.source, checkpoint.source.hub)]
    hub.gated["org/mini"] = set()
    hub.faults.append(Fault(WEIGHTS, status=503, times=9))
    for source in (mini, f"{mini}/tree/v9", f"{hub.url}/org/none", f"{hub.url}/org/mini2/tree/x"):
        with pytest.raises(OSError) as error:
            open_checkpoint(source, token=secret).tensor("y")
        shown += [str(error.getrepr(style="short")), repr(error.value)]
    shown += [caplog.text, *capfd.readouterr()]
    shown += [
        x.read_bytes().decode("latin-1") for x in (tmp_path / "cache").rglob("*") if x.is_file()
    ]
    shown += [str(x) for x in (tmp_path / "cache").rglob("*")]
    assert not [x for x in shown if secret in x or "VerySecret" in x]


@pytest.mark.parametrize("token", ["hf_with\nbreak", "hf_ünicode", "Bearer\thf"])
def test_a_damaged_token_is_refused_and_not_shown(mini, token):
    with pytest.raises(ValueError, match="the token is damaged: copy it again") as error:
        open_checkpoint(mini, token=token)
    assert token not in one_line(error)


@pytest.mark.parametrize("token", ["“hf_curly”", "hf_ünicode", "<your token>"])
def test_a_damaged_token_that_is_found_is_refused_and_not_shown(hub, mini, monkeypatch, token):
    as_the_hub(monkeypatch, hub.url)
    monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(
        ValueError, match="the token in HF_TOKEN, or of `hf auth login`, is dama"
    ) as error:
        open_checkpoint(mini)
    assert token not in one_line(error)


# ── progress ───────────────────────────────────────────────────────────────────────────────────


def test_no_bar_is_shown_for_what_is_quick(mini, capfd):
    open_checkpoint(mini).tensor("x")
    assert capfd.readouterr() == ("", "")


def slow(progress):
    """progress, started two seconds ago."""

    def earlier(*args):
        bar = progress(*args)
        bar.start_t, bar.last_print_t = bar.start_t - 2, bar.last_print_t - 2
        return bar

    return earlier


def test_a_bar_is_shown_on_stdout_for_what_takes_a_second(hub, mini, capsys, monkeypatch):
    checkpoint = open_checkpoint(mini)
    _ = checkpoint.names
    monkeypatch.setattr(ranges, "progress", slow(ranges.progress))
    checkpoint.tensor("x")
    out, err = capsys.readouterr()
    assert "org/mini" in out
    assert "100%" in out
    assert err == ""


# ── how much is read of real models ────────────────────────────────────────────────────────────


def layer(i, d, n, g, h, ffn, bias=False, norms=False):
    """The tensors of a layer, name → shape, as Llama, Qwen 2 and Qwen 3 name them."""
    a, m = f"model.layers.{i}.self_attn", f"model.layers.{i}.mlp"
    shapes = {
        f"model.layers.{i}.input_layernorm.weight": (d,),
        f"{m}.down_proj.weight": (d, ffn),
        f"{m}.gate_proj.weight": (ffn, d),
        f"{m}.up_proj.weight": (ffn, d),
        f"model.layers.{i}.post_attention_layernorm.weight": (d,),
        f"{a}.k_proj.weight": (g * h, d),
        f"{a}.o_proj.weight": (d, n * h),
        f"{a}.q_proj.weight": (n * h, d),
        f"{a}.v_proj.weight": (g * h, d),
    }
    if bias:
        shapes |= {f"{a}.{x}_proj.bias": (y * h,) for x, y in (("q", n), ("k", g), ("v", g))}
    if norms:
        shapes |= {f"{a}.{x}_norm.weight": (h,) for x in "qk"}
    return shapes


def model_shapes(layers, d, vocab, tied, **sizes):
    """All tensors of a model, name → shape."""
    shapes = {"model.embed_tokens.weight": (vocab, d), "model.norm.weight": (d,)}
    for i in range(layers):
        shapes |= layer(i, d, **sizes)
    return shapes if tied else shapes | {"lm_head.weight": (vocab, d)}


def write_sparse(path, shapes, filled):
    """A bfloat16 safetensors file whose data is a hole but for random bytes in what is `filled`.

    filled: {name: rows or None} → the bytes written, {name: bytes}. Tensors lie in the order of
    their names, and the header ends at a multiple of eight, as safetensors writes it.
    """
    header, end = {"__metadata__": {"format": "pt"}}, 0
    for name in sorted(shapes):
        begin, end = end, end + 2 * math.prod(shapes[name])
        header[name] = {"dtype": "BF16", "shape": shapes[name], "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    written = {}
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
        for name, rows in filled.items():
            if name not in shapes:
                continue
            begin, stop = header[name]["data_offsets"]
            size = (stop - begin) // shapes[name][0]
            written[name] = b""
            for row in range(1) if rows is None else sorted(rows):
                data = random.Random(f"{name} {row}").randbytes(
                    stop - begin if rows is None else size
                )
                file.seek(8 + len(text) + begin + row * size)
                file.write(data)
                written[name] += data
    return written


REAL = {
    "SmolLM2-135M": dict(layers=30, d=576, n=9, g=3, h=64, ffn=1536, vocab=49152, tied=True),
    "Qwen2.5-0.5B": dict(
        layers=24, d=896, n=14, g=2, h=64, ffn=4864, vocab=151936, tied=True, bias=True
    ),
    "Qwen3-0.6B": dict(
        layers=28, d=1024, n=16, g=8, h=128, ffn=3072, vocab=151936, tied=True, norms=True
    ),
    "TinyLlama-1.1B": dict(layers=22, d=2048, n=32, g=4, h=64, ffn=5632, vocab=32000, tied=False),
    "SmolLM2-1.7B": dict(layers=24, d=2048, n=32, g=32, h=64, ffn=8192, vocab=49152, tied=True),
    "Llama-3-8B": dict(layers=32, d=4096, n=32, g=8, h=128, ffn=14336, vocab=128256, tied=False),
}
NEEDED = {  # bytes of weights, computed by hand from the shapes
    "SmolLM2-135M": 457_344,
    "Qwen2.5-0.5B": 482_560,
    "Qwen3-0.6B": 4_220_928 + 256,
    "TinyLlama-1.1B": 2_150_400,
    "SmolLM2-1.7B": 16_830_464,
    "Llama-3-8B": 16_883_712,
}


def llama_shards(shapes):
    """The four files of Llama-3-8B: which tensors are in which."""
    files = {f"model-0000{i}-of-00004.safetensors": {} for i in (1, 2, 3, 4)}
    for name, shape in shapes.items():
        i = int(name.split(".")[2]) if ".layers." in name else 0 if "embed" in name else 32
        shard = (i > 8) + (i > 20) + (i > 31)
        if i == 20 and ("mlp.up" in name or "mlp.down" in name or "layernorm" in name):
            shard = 2
        if i == 31 and ("mlp.down" in name or "layernorm" in name):
            shard = 3
        files[list(files)[shard]][name] = shape
    return files


@pytest.mark.parametrize("name", REAL)
def test_layer_0_of_a_real_model_costs_its_keys_and_values_only(hub, name, tmp_path):
    shapes, d = model_shapes(**REAL[name]), REAL[name]["d"]
    rows = random.Random(12).sample(range(REAL[name]["vocab"]), 12)
    wanted = {"model.embed_tokens.weight": rows, "model.layers.0.input_layernorm.weight": None}
    parts = ("k_proj.weight", "v_proj.weight", "k_proj.bias", "v_proj.bias", "k_norm.weight")
    names = [f"model.layers.0.self_attn.{x}" for x in parts]
    wanted |= {x: None for x in names if x in shapes}
    folder = hub.folder / "org" / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG, indent=2))
    files = llama_shards(shapes) if name == "Llama-3-8B" else {WEIGHTS: shapes}
    written = {}
    for file, part in files.items():
        written |= write_sparse(folder / file, part, wanted)
    if len(files) > 1:
        index = {
            "metadata": {"total_size": 2 * sum(math.prod(x) for x in shapes.values())},
            "weight_map": {x: file for file, part in files.items() for x in part},
        }
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2))
        sizes = [(folder / file).stat().st_size for file in files]
        assert sizes == [4_976_698_672, 4_999_802_720, 4_915_916_176, 1_168_138_808]
        assert index["metadata"]["total_size"] == 16_060_522_496
    on_disk = sum(512 * x.stat().st_blocks for x in folder.iterdir())
    assert on_disk < NEEDED[name] + 500_000

    checkpoint = open_checkpoint(f"{hub.url}/org/{name}")
    assert checkpoint.price(wanted) == NEEDED[name]
    found = checkpoint.tensors(wanted)
    for key in wanted:
        x = found[key].contiguous().view(torch.uint8).flatten().numpy().tobytes()
        order = sorted(range(12), key=rows.__getitem__)
        if key == "model.embed_tokens.weight":
            x = b"".join(x[2 * d * i : 2 * d * (i + 1)] for i in order)
        assert x == written[key]
    header = len(checkpoint.header(checkpoint.files.get(names[0], WEIGHTS))[0])
    json_bytes = sum(x.stat().st_size for x in folder.glob("*.json"))
    assert checkpoint.bytes_read == hub.body_bytes
    assert checkpoint.bytes_read <= 1.02 * (NEEDED[name] + header + json_bytes)
    assert name != "Llama-3-8B" or checkpoint.bytes_read <= 17_100_000
    print(
        f"{name} | {checkpoint.n_bytes:,} | {NEEDED[name]:,} | {checkpoint.bytes_read:,} | {checkpoint.n_requests}"
    )
