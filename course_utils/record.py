"""What a learner has met, kept in one small file in their own folder: `progress.json`.

Exercises: how often they were tried, which named mistakes were met, when they passed. Guesses: what
was said, and the truth. No code and no messages, no name unless one is given. With
COURSE_PROGRESS=off nothing is kept.
"""

import copy
import hashlib
import json
import os
import secrets
import sys
import tempfile
import unicodedata
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

VERSION = 1
CLONE = Path(__file__).resolve().parent.parent
CONTENT = Path("/content")  # where Colab begins, gone with its runtime
DRIVE = CONTENT / "drive" / "MyDrive"  # where it mounts a Drive
MOUNT = 'run from google.colab import drive; drive.mount("/content/drive") in a cell of its own'
WAIT = 10  # seconds for another kernel to finish writing
TOLD = set()  # what went wrong is said once


class Damaged(ValueError):
    """A file that is not one of ours, or is not whole."""


class Newer(ValueError):
    """A file that a newer version of the course has written."""


def in_colab():
    """Whether this runs in Google Colab."""
    return "google.colab" in sys.modules


def in_drive():
    """Whether this is Colab with a Drive mounted, which outlives the runtime."""
    return in_colab() and folder().is_relative_to(DRIVE)


def folder():
    """The learner's own folder: $COURSE_FOLDER, else my_lessons in Drive, the clone or the home."""
    if named := os.environ.get("COURSE_FOLDER"):
        return Path(named).expanduser().absolute()
    if in_colab():
        return (DRIVE if DRIVE.is_dir() else CONTENT) / "my_lessons"
    is_clone = (CLONE / "notebooks").is_dir() and (CLONE / "pyproject.toml").is_file()
    return (CLONE if is_clone and os.access(CLONE, os.W_OK) else Path.home()) / "my_lessons"


def path():
    """Where progress is kept, or None with COURSE_PROGRESS=off."""
    is_off = os.environ.get("COURSE_PROGRESS", "").strip().lower() == "off"
    return None if is_off else folder() / "progress.json"


def read(file=None):
    """What is kept in a file; without one, in the learner's own, which may not be there yet.

    Of a file that is named, raises OSError, or ValueError if it is damaged, not one of ours, or of
    a newer version.
    """
    if file is not None:
        return parsed(Path(file).read_bytes())
    own = path()
    if own is None:
        return blank()
    try:
        return with_runtime(parsed(own.read_bytes()), own)
    except FileNotFoundError:
        return with_runtime(blank(), own)
    except ValueError as error:
        tell(f"{own} {error}.")
    except OSError as error:
        tell(f"Your progress cannot be read: {error}.")
    return blank()


def attempt(exercise, diagnosis, passed):
    """Keep that an exercise was tried, and with which mistake; after it has passed, nothing more.

    So attempts are those that a pass took, and running a lesson again adds none.
    """
    when = now()

    def change(kept):
        new = {"attempts": 0, "mistakes": {}, "first": when, "last": when, "passed": None}
        entry = kept["exercises"].setdefault(exercise, new)
        if entry["passed"]:
            return
        entry["attempts"] += 1
        entry["last"] = when
        if passed:
            entry["passed"] = when
        else:
            met = entry["mistakes"].pop(diagnosis, 0)
            entry["mistakes"][diagnosis] = met + 1  # the last one is the one met last

    update(change)


def said(name, value):
    """Keep a guess, a number or a text, in place of an earlier one, until its truth is shown."""
    if not an_answer(value):
        return tell(f"This guess is not kept: {value!r}.")
    new = {"said": value, "truth": None, "when": now()}

    def change(kept):
        if kept["guesses"].get(name, new)["truth"] is None:
            kept["guesses"][name] = new

    update(change)


def shown(name, truth):
    """Keep the truth that a guess stands beside; the first one counts, and none without a guess."""
    if not an_answer(truth):
        return tell(f"This truth is not kept: {truth!r}.")

    def change(kept):
        guess = kept["guesses"].get(name, {})
        if guess and guess["truth"] is None:
            guess["truth"] = truth

    update(change)


def guessed(name):
    """What was guessed, or None."""
    return read()["guesses"].get(name, {}).get("said")


def named(name):
    """Keep the name that a learner gives; "" takes it back."""
    update(lambda kept: kept.update(name=name))


def blank():
    """What is kept of one who has just begun."""
    learner = secrets.token_hex(4)
    return {"version": VERSION, "learner": learner, "name": "", "exercises": {}, "guesses": {}}


def now():
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def moment(when):
    """The datetime of a time that is kept; ValueError if it is none, or has no time zone.

    >>> moment("2026-11-26T10:00:00Z").isoformat()
    '2026-11-26T10:00:00+00:00'
    """
    read = datetime.fromisoformat(when)
    if read.tzinfo is None:
        raise ValueError(f"{when} has no time zone")
    return read


def update(change):
    """Change what is kept, alone; where it cannot be kept, say why once and go on."""
    where = path()
    if where is None:
        return
    try:
        where.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock_path(where), timeout=WAIT):
            before = whole_or_blank(where)
            kept = with_runtime(copy.deepcopy(before), where)
            change(kept)
            if kept != before or not where.exists():
                write(where, kept)
    except Newer as error:
        tell(f"Your progress is not kept: {where} {error}.")
    except OSError as error:
        tell(
            f"Your progress is not kept: {error}. Everything else works. To keep it, name a folder "
            "that you can write to: run %env COURSE_FOLDER=~/my_lessons in a cell of its own."
        )


def lock_path(where):
    """A file of this user in the machine's temp folder: a Drive or a home on NFS may not lock."""
    user = getattr(os, "getuid", str)()
    known = hashlib.sha256(f"{user} {where.resolve()}".encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"course-progress-{known}.lock"


def whole_or_blank(where):
    """What is kept there; a damaged file is set aside first, under a name that is free."""
    try:
        return parsed(where.read_bytes())
    except FileNotFoundError:
        return blank()
    except Damaged as error:
        i = 1
        while (aside := where.with_name(f"damaged-{i}-{where.name}")).exists():
            i += 1
        os.replace(where, aside)
        print(f"{where} {error}: it is set aside as {aside.name}, and your progress begins anew.")
        return blank()


def with_runtime(kept, where):
    """In Colab with a Drive: this, and what was kept in the runtime before that was mounted."""
    runtime = CONTENT / "my_lessons" / where.name
    if not in_drive() or not runtime.exists():
        return kept
    try:
        early = parsed(runtime.read_bytes())
    except ValueError as error:
        tell(f"{runtime} {error}.")
        return kept
    for name, entry in early["exercises"].items():
        own = kept["exercises"].get(name)
        if own is None or (entry["passed"] and not own["passed"]):
            kept["exercises"][name] = entry
    kept["guesses"] = early["guesses"] | kept["guesses"]
    return kept


def write(where, kept):
    """Put all of it into a new file, and that in place of the old one: never half of either."""
    new = where.with_suffix(".new")
    with open(new, "w", encoding="utf-8") as file:
        file.write(json.dumps(kept, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(new, where)


def parsed(content):
    """What a file of this content keeps; raises Damaged or Newer."""
    try:
        kept = json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError):
        raise Damaged("is not JSON") from None
    version = kept.get("version") if isinstance(kept, dict) else None
    if type(version) is int and version > VERSION:
        raise Newer(
            f"was written by a newer version of the course, form {version}; this version knows "
            f"{VERSION}: update the course"
        )
    if wrong := misfit(kept, FORM):
        raise Damaged(f"is not a progress file: {wrong}")
    return kept


def a_time(x):
    try:
        return isinstance(x, str) and bool(moment(x))
    except ValueError:
        return False


def a_count(x):
    return type(x) is int and x >= 0


def a_text(x):
    return isinstance(x, str) and len(x) <= 200 and all(map(is_written, x))


def is_written(letter):
    """Whether it stands in a line, and has a code in UTF-8: no line break, no half of a pair."""
    return unicodedata.category(letter) not in ("Cc", "Cs", "Zl", "Zp")


def an_answer(x):
    return a_text(x) or (type(x) in (int, float) and abs(x) < 1e15)


def or_none(test):
    return lambda x: x is None or test(x)


FORM = {  # {str: x}: any names, each with an x
    "version": lambda x: x == VERSION,
    "learner": lambda x: a_text(x) and len(x) == 8,
    "name": a_text,
    "exercises": {
        str: {
            "attempts": a_count,
            "mistakes": {str: a_count},
            "first": a_time,
            "last": a_time,
            "passed": or_none(a_time),
        }
    },
    "guesses": {str: {"said": an_answer, "truth": or_none(an_answer), "when": a_time}},
}


def misfit(x, form, at="it"):
    """Where x is not of this form, in words, or ""."""
    if callable(form):
        return "" if form(x) else f"{at} is {str(x)[:40]!r}"
    if not isinstance(x, dict):
        return f"{at} is no dict"
    if str in form:
        if odd := [key for key in x if not a_text(key)]:
            return f"{at} has the name {odd[0][:40]!r}"
        form = dict.fromkeys(x, form[str])
    if missing := form.keys() - x.keys():
        return f"{at} has no {min(missing)!r}"
    return next(filter(None, (misfit(x[k], f, f"{at}[{k!r}]") for k, f in form.items())), "")


def tell(what):
    """Say it, the first time."""
    if what not in TOLD:
        TOLD.add(what)
        print(what)
