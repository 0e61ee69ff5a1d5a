"""What a learner has met is kept: through kills, through two kernels at once, and through damage."""

import json
import os
import subprocess
import sys
import threading
import types
from pathlib import Path

import pytest

from course_utils import checks, record

HERE = Path(__file__).parent


def python(*arguments, **how):
    """A Python of its own, which keeps progress where this one does."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.Popen([sys.executable, *arguments], env=env, text=True, **how)


def ended(process):
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    return out


def test_nothing_is_kept_where_it_is_off(own, monkeypatch):
    for word in ("off", "OFF "):
        monkeypatch.setenv("COURSE_PROGRESS", word)
        record.attempt("01.attention", "no scale", False)
        record.said("06.maps", 8)
        assert record.path() is None and not own.exists()
        assert record.guessed("06.maps") is None and not record.read()["exercises"]


def test_reading_makes_nothing(own):
    assert record.read()["exercises"] == {} and record.guessed("06.maps") is None
    assert not own.exists()


def test_attempts_are_those_that_a_pass_took(own, monkeypatch):
    times = iter(f"2026-11-26T10:00:0{i}Z" for i in range(9))
    monkeypatch.setattr(record, "now", lambda: next(times))
    for diagnosis in ("no scale", "an error", "no scale"):
        record.attempt("01.attention", diagnosis, False)
    entry = record.read()["exercises"]["01.attention"]
    assert entry["attempts"] == 3 and entry["mistakes"] == {"no scale": 2, "an error": 1}
    assert entry["passed"] is None and entry["first"] < entry["last"]
    record.attempt("01.attention", None, True)
    passed = record.read()
    entry = passed["exercises"]["01.attention"]
    assert entry["attempts"] == 4 and sum(entry["mistakes"].values()) == 3
    assert entry["passed"] == entry["last"]
    record.attempt("01.attention", None, True)
    record.attempt("01.attention", "no scale", False)
    assert record.read() == passed


def test_a_guess_is_the_last_before_its_truth(own):
    record.shown("06.maps", 8)
    assert record.read()["guesses"] == {}
    record.said("06.maps", 32)
    record.said("06.maps", "1")
    assert record.guessed("06.maps") == "1"
    record.shown("06.maps", 8)
    record.said("06.maps", 8)
    record.shown("06.maps", 9)
    guess = record.read()["guesses"]["06.maps"]
    assert (guess["said"], guess["truth"]) == ("1", 8)


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), 10**400, "a\nb", "\ud800", "x" * 201]
)
def test_what_cannot_be_kept_is_said_and_breaks_nothing(own, capsys, value):
    record.said("06.share", value)
    assert "is not kept" in capsys.readouterr().out
    record.said("06.share", 0.5)
    record.shown("06.share", value)
    assert record.read()["guesses"]["06.share"] | {"when": ""} == {
        "said": 0.5,
        "truth": None,
        "when": "",
    }


def test_one_learner_stays_one(own):
    record.attempt("01.attention", "no scale", False)
    first = record.read()["learner"]
    record.named("Ada")
    assert record.read()["learner"] == first and record.read()["name"] == "Ada"
    assert len(first) == 8 and int(first, 16) >= 0


def test_check_keeps_what_it_found(own, capsys):
    checks.check("00.group_size", lambda n_heads, n_kv_heads: ...)
    assert not own.exists()  # not started
    checks.check("00.group_size", lambda n_heads, n_kv_heads: n_heads - n_kv_heads)
    checks.check("00.group_size", lambda n_heads, n_kv_heads: 1 // 0)
    checks.check("00.group_size", 4)
    checks.check("00.group_size", lambda n_heads, n_kv_heads: n_heads // n_kv_heads)
    (entry,) = record.read()["exercises"].values()
    assert entry["mistakes"] == {"a difference": 1, "an error": 1, "not a function": 1}
    assert entry["attempts"] == 4 and entry["passed"]
    assert "Passed" in capsys.readouterr().out


def test_only_what_is_said_to_be_kept_is(own):
    checks.check("00.group_size", lambda n_heads, n_kv_heads: secret / 0)  # noqa: F821
    record.said("06.maps", 8)
    kept = json.loads((own / "progress.json").read_text())
    assert kept.keys() == {"version", "learner", "name", "exercises", "guesses"}
    (entry,) = kept["exercises"].values()
    assert entry.keys() == {"attempts", "mistakes", "first", "last", "passed"}
    assert kept["guesses"]["06.maps"].keys() == {"said", "truth", "when"}
    assert "secret" not in str(kept) and str(Path.home()) not in str(kept)


@pytest.mark.parametrize("begun", [False, True])
def test_a_kill_at_any_step_leaves_the_old_or_the_new(own, begun):
    if begun:
        record.attempt("01.attention", "no scale", False)
    old = int(begun)
    lines = ended(python(str(HERE / "kills.py"), stdout=subprocess.PIPE)).splitlines()
    kills = [json.loads(line) for line in lines]
    steps = [call.rpartition(".")[2] for call, *_ in kills]
    assert {"open", "write", "flush", "fsync", "replace", "flock"} <= {*steps}
    for _, same, tried, there in kills:
        assert tried == (old if same else old + 1)
        assert {*there} <= {"progress.json", "progress.new"}
    assert {same for _, same, *_ in kills} == {True, False}
    to_disk = [x for x in steps if x in ("write", "flush", "fsync", "replace")]
    assert to_disk[-4:] == ["write", "flush", "fsync", "replace"]  # what a loss of power would need
    record.attempt("01.attention", "no scale", False)  # no lock is left that holds
    assert {x.name for x in own.iterdir()} <= {"progress.json", "progress.new"}


def test_four_kernels_at_once_lose_nothing(own):
    program = """if True:
        import sys
        from course_utils import record
        for i in range(25):
            record.attempt("01.attention", f"mistake {sys.argv[1]}", False)
            record.said(f"06.{sys.argv[1]}{i}", i)"""
    quiet = {"stdout": subprocess.PIPE}
    for process in [python("-c", program, str(i), **quiet) for i in range(4)]:
        assert ended(process) == ""
    kept = record.read()
    entry = kept["exercises"]["01.attention"]
    assert entry["attempts"] == 100
    assert entry["mistakes"] == {f"mistake {i}": 25 for i in range(4)}
    assert len(kept["guesses"]) == 100
    assert [x.name for x in own.iterdir()] == ["progress.json"]


def test_threads_of_one_kernel_lose_nothing(own):
    def work():
        for _ in range(10):
            record.attempt("01.attention", "no scale", False)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert record.read()["exercises"]["01.attention"]["attempts"] == 40


GOOD = {
    "version": 1,
    "learner": "0a1b2c3d",
    "name": "",
    "exercises": {
        "01.attention": {
            "attempts": 1,
            "mistakes": {"no scale": 1},
            "first": "2026-11-26T10:00:00Z",
            "last": "2026-11-26T10:00:00Z",
            "passed": None,
        }
    },
    "guesses": {"06.maps": {"said": 8, "truth": None, "when": "2026-11-26T10:00:00Z"}},
}


def spoilt():
    """GOOD with one thing after the other left out, and put in the place of another."""

    def places(x, *at):
        for key, below in x.items():
            yield (*at, key)
            if isinstance(below, dict):
                yield from places(below, *at, key)

    free = {("exercises", "01.attention"), ("guesses", "06.maps")}  # names that may be missing
    free.add(("exercises", "01.attention", "mistakes", "no scale"))
    for at in places(GOOD):
        for new in (..., [1], {"x": []}, -1.5j):
            copy = json.loads(json.dumps(GOOD))
            *above, last = at
            place = copy
            for key in above:
                place = place[key]
            if new is ...:
                if at in free:
                    continue
                del place[last]
            else:
                place[last] = str(new) * 300 if isinstance(new, complex) else new
            yield json.dumps(copy)


DAMAGED = ["", "{", "[]", "null", "1", '"x"', "[" * 100_000, "{}", json.dumps(GOOD)[:-9], *spoilt()]


def test_whatever_is_not_ours_is_damaged():
    assert record.parsed(json.dumps(GOOD).encode()) == GOOD
    for text in [*DAMAGED, "\udcff"]:
        with pytest.raises(record.Damaged):
            record.parsed(text.encode("utf-8", "surrogateescape"))


def test_what_no_page_or_picture_can_show_is_damaged():
    for text in ("\ud800bbbbbbb", "b\nbbbbbb", "b\u2028bbbbbb"):
        with pytest.raises(record.Damaged):
            record.parsed(json.dumps(GOOD | {"learner": text}).encode())
    for name in ("Zoë", "Нина", "महेश", "👩‍💻", "علی‌رضا"):
        assert record.parsed(json.dumps(GOOD | {"name": name}).encode())["name"] == name
    guess = {"said": 10**400, "truth": None, "when": record.now()}
    with pytest.raises(record.Damaged):
        record.parsed(json.dumps(GOOD | {"guesses": {"06.maps": guess}}).encode())


def test_what_is_damaged_is_set_aside_and_said(own, capsys):
    own.mkdir()
    file = own / "progress.json"
    for i, text in enumerate(DAMAGED[:3], start=1):
        file.write_text(text)
        record.read()
        assert file.read_text() == text  # reading changes nothing
        capsys.readouterr()
        record.attempt("01.attention", "no scale", False)
        assert f"set aside as damaged-{i}-progress.json" in capsys.readouterr().out
        assert (own / f"damaged-{i}-progress.json").read_text() == text
        assert record.read()["exercises"]["01.attention"]["attempts"] == 1
    assert [x.name for x in own.glob("progress*.json")] == ["progress.json"]


def test_what_is_newer_is_left_alone_and_said_once(own, capsys):
    own.mkdir()
    file = own / "progress.json"
    file.write_text('{"version": 2}')
    for _ in range(2):
        record.attempt("01.attention", "no scale", False)
    assert file.read_text() == '{"version": 2}'
    said = capsys.readouterr().out
    assert said.count("newer version of the course") == 1 and "update the course" in said
    assert record.read()["exercises"] == {}


def test_a_folder_that_cannot_be_written_breaks_no_check(own, capsys):
    own.write_text("a file where the folder should be")
    for _ in range(2):
        result = checks.check("00.group_size", lambda n_heads, n_kv_heads: n_heads // n_kv_heads)
        assert result.passed
    record.said("06.maps", 8)
    assert record.guessed("06.maps") is None
    said = capsys.readouterr().out
    assert said.count("Your progress is not kept") == 1 and "COURSE_FOLDER" in said


def test_each_call_that_can_fail_may_fail(own, monkeypatch, capsys):
    record.attempt("01.attention", "no scale", False)
    before = (own / "progress.json").read_bytes()

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    for name in ("fsync", "replace", "open"):
        with monkeypatch.context() as broken:
            broken.setattr(os, name, full)
            record.attempt("01.attention", "no scale", False)
        assert (own / "progress.json").read_bytes() == before
    assert "No space left on device" in capsys.readouterr().out


def test_the_folder_is_the_learners_own(tmp_path, monkeypatch):
    monkeypatch.setenv("COURSE_FOLDER", "~/here")
    assert record.folder() == Path.home() / "here"
    monkeypatch.delenv("COURSE_FOLDER")
    assert record.folder() == record.CLONE / "my_lessons"
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # a clone that a hub shares
    assert record.folder() == Path.home() / "my_lessons"
    monkeypatch.setattr(record, "CLONE", tmp_path)  # an installed wheel
    assert record.folder() == Path.home() / "my_lessons"
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    monkeypatch.setattr(record, "DRIVE", tmp_path / "drive" / "MyDrive")
    assert record.folder() == Path("/content/my_lessons")
    record.DRIVE.mkdir(parents=True)
    assert record.folder() == record.DRIVE / "my_lessons"


def test_what_was_kept_before_a_drive_was_mounted_is_not_lost(tmp_path, colab):
    record.attempt("00.group_size", None, True)
    record.attempt("01.attention", None, True)
    record.said("06.maps", 8)
    assert (tmp_path / "my_lessons" / "progress.json").exists() and not record.in_drive()
    record.DRIVE.mkdir(parents=True)  # with what an earlier session has left
    earlier = json.loads(json.dumps(GOOD))
    (record.DRIVE / "my_lessons").mkdir()
    (record.DRIVE / "my_lessons" / "progress.json").write_text(json.dumps(earlier))
    for _ in range(2):  # as it is read, and once it is written
        kept = record.read()
        assert {name for name, x in kept["exercises"].items() if x["passed"]} == {
            "00.group_size",
            "01.attention",
        }
        assert kept["guesses"] == GOOD["guesses"] and kept["learner"] == GOOD["learner"]
        record.attempt("02.causal_mask", "an error", False)
    assert record.in_drive() and "02.causal_mask" in record.read(record.path())["exercises"]


def test_the_last_mistake_is_the_one_met_last(own):
    for diagnosis in ("no scale", "an error", "no scale"):
        record.attempt("01.attention", diagnosis, False)
    mistakes = record.read()["exercises"]["01.attention"]["mistakes"]
    assert [*mistakes.items()] == [("an error", 1), ("no scale", 2)]


def test_the_lock_lies_in_the_temp_folder(own, tmp_path):
    one, other = (record.lock_path(tmp_path / name) for name in ("a", "b"))
    assert one != other and one.parent == other.parent != tmp_path
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    paths = {record.lock_path(tmp_path / x / "progress.json") for x in ("real", "link")}
    assert len(paths) == 1
