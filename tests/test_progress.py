"""What a learner sees of their progress, and an instructor of a class."""

import base64
import html
import json
import re
import types
from datetime import timedelta

import pytest
import torch
from drawn import assert_nothing_is_cut_off
from hypothesis import given, settings
from hypothesis import strategies as st

from course_utils import figures, progress, questions, record
from course_utils.checks.engine import exercises

NOW = "2026-11-26T10:30:00Z"
QUESTIONS = {
    "06.maps": {"ask": "different key maps with g = 8", "choices": ["1", "8", "32"]},
    "06.share": {"ask": "the share", "from": 0, "to": 100, "step": 25, "text": "{:.0f} %"},
    "06.heads": {"ask": "heads", "values": [1, 2, 4, 8, 16], "text": "{}", "truth": 8},
}


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setattr(record, "now", lambda: NOW)


@pytest.fixture
def shown(monkeypatch):
    """What is displayed, in order."""
    seen = []
    monkeypatch.setattr(progress, "display", lambda x, **how: seen.append(x))
    monkeypatch.delenv("COURSE_OUTPUTS")
    return seen


def ago(minutes):
    return f"{record.moment(NOW) - timedelta(minutes=minutes):%Y-%m-%dT%H:%M:%SZ}"


def tried(first, last, *mistakes, passed=False):
    """What is kept of an exercise with these mistakes, one after the other, minutes ago."""
    met = {}
    for mistake in mistakes:
        met[mistake] = met.pop(mistake, 0) + 1
    entry = {"attempts": len(mistakes) + passed, "mistakes": met, "first": ago(first)}
    return entry | {"last": ago(last), "passed": ago(last) if passed else None}


def file_of(folder, i, name="", guesses=None, **entries):
    """A learner's file; attention=… is what is kept of 01.attention."""
    every = {short.partition(".")[2]: short for short in exercises()}
    kept = record.blank() | {"learner": f"{i:08x}", "name": name, "guesses": guesses or {}}
    kept["exercises"] = {every[short]: entry for short, entry in entries.items()}
    folder.mkdir(exist_ok=True, parents=True)
    (folder / f"progress-{i}.json").write_text(json.dumps(kept))


def texts(figure):
    """The texts of a figure."""
    return [x for axes in figure.axes for x in axes.texts if x.get_text()]


def words(figure):
    return [x.get_text() for x in texts(figure)]


def assert_drawn_well(figure):
    """No text lies on another, and none leaves the picture."""
    assert_nothing_is_cut_off(figure)
    boxes = [x.get_window_extent() for x in texts(figure)]
    if not boxes:
        return
    x0, y0, x1, y1 = torch.tensor([[b.x0, b.y0, b.x1, b.y1] for b in boxes]).T
    assert (
        min(x0.min(), y0.min()) >= 0 and x1.max() <= figure.bbox.x1 and y1.max() <= figure.bbox.y1
    )
    wide = torch.minimum(x1[:, None], x1) - torch.maximum(x0[:, None], x0)
    tall = torch.minimum(y1[:, None], y1) - torch.maximum(y0[:, None], y0)
    on = torch.triu((wide > 1) & (tall > 2), diagonal=1).nonzero().tolist()
    assert not on, [(words(figure)[i], words(figure)[j]) for i, j in on]


def test_the_ladder_has_each_exercise_and_says_what_it_shows(own, shown, capsys):
    progress.show()
    record.attempt("00.group_size", None, True)
    for _ in range(2):
        record.attempt("01.attention", "no scale", False)
    progress.show()
    none, some = shown
    assert none.alt == f"0 of {len(exercises())} exercises passed. None is begun."
    assert some.alt == (
        f"1 of {len(exercises())} exercises passed. 00.group_size: passed, 1 attempt. "
        "01.attention: 2 attempts so far. The others are not begun."
    )
    for figure in shown:
        said = " ".join(words(figure))
        assert all(name.partition(".")[2] in said for name in exercises())
        assert_drawn_well(figure)
    drawn = words(some)
    assert "✓ group_size" in drawn and "… attention" in drawn  # not by colour alone
    assert f"0 guesses entered. Kept in {own / 'progress.json'}; nothing" in capsys.readouterr().out


def test_all_of_the_ladder_passed(own, shown):
    for name in exercises():
        record.attempt(name, None, True)
    progress.show()
    n = len(exercises())
    assert shown[0].alt.startswith(f"{n} of {n} ") and "not begun" not in shown[0].alt
    assert_drawn_well(shown[0])


def test_where_progress_is_kept_is_said(own, monkeypatch):
    assert "nothing leaves this machine by itself" in progress.where()
    monkeypatch.setenv("COURSE_PROGRESS", "off")
    assert "nothing is kept" in progress.where()


def test_in_colab_progress_is_kept_in_drive_or_ends(colab):
    assert "ends with this runtime" in progress.where() and "drive.mount" in progress.where()
    record.DRIVE.mkdir(parents=True)
    assert "Google Drive" in progress.where() and "drive.mount" not in progress.where()


def test_what_is_kept_names_all_that_is(own, capsys):
    progress.what_is_kept()
    said = capsys.readouterr().out
    for word in ("how often", "mistakes", "first and last", "passed", "guess", "random", "name"):
        assert word in said
    assert "Nothing leaves this machine by itself" in said and "COURSE_PROGRESS=off" in said


def test_the_export_is_a_file_that_a_class_reads(own, shown):
    record.attempt("01.attention", "no scale", False)
    learner = record.read()["learner"]
    (own / "progress-of-another.json").write_text("{}")
    progress.export()
    progress.export(" Zoë \ud800\n van/Dam$ ")
    progress.export()  # the name stays
    others = {"progress.json", "progress-of-another.json"}
    assert {x.name for x in own.iterdir()} == others | {"progress-Zoë_van_Dam.json"}
    assert record.read(own / "progress-Zoë_van_Dam.json")["name"] == "Zoë van/Dam$"
    progress.export("")
    assert {x.name for x in own.iterdir()} == others | {f"progress-{learner}.json"}
    assert record.read()["name"] == record.read(own / f"progress-{learner}.json")["name"] == ""
    first, second, *_ = shown
    assert "1 exercise tried" in first["text/plain"] and "no name" in first["text/plain"]
    assert "the name Zoë van/Dam$" in second["text/plain"]
    link = re.search(
        r'download="(.*?)" href="data:application/json;base64,(.*?)"', first["text/html"]
    )
    kept = json.loads(base64.b64decode(link[2]))
    assert link[1] == f"progress-{learner}.json" and kept["exercises"]["01.attention"]
    assert "1 learner" in progress.summary(own).alt  # of three files


def test_before_any_attempt_the_export_is_the_same_learner(own, shown):
    progress.export()
    record.attempt("01.attention", "no scale", False)
    progress.export()
    assert len(list(own.iterdir())) == 2


@settings(deadline=None, max_examples=20)
@given(st.text())
def test_any_name_makes_a_file_name(name):
    made = progress.file_name(name)
    assert len(made) <= 40 and not re.search(r"[^\w-]", made)


def test_nothing_is_exported_where_progress_is_off(own, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_PROGRESS", "off")
    progress.export("Ada")
    assert not own.exists() and "nothing is kept" in capsys.readouterr().out


def test_an_export_that_cannot_be_written_says_so(own, capsys):
    own.write_text("a file where the folder should be")
    progress.export()
    said = capsys.readouterr().out
    assert "Nothing to hand in was written" in said and "%env COURSE_FOLDER" in said


def test_what_a_newer_course_kept_is_not_handed_in_empty(own, capsys):
    own.mkdir()
    (own / "progress.json").write_text('{"version": 2}')
    progress.export()
    assert [x.name for x in own.iterdir()] == ["progress.json"]
    assert "update the course" in capsys.readouterr().out


def the_class(folder):
    """12 learners with different mistakes."""
    done = tried(28, 27, "a float", passed=True)
    scale = ("no scale",)
    for i, name in enumerate(["Ada", "Ben", "Cleo", "Dan"]):  # have it now
        file_of(folder, i, name, group_size=done, attention=tried(6, i, "no softmax", *scale))
    file_of(folder, 4, "Eve", group_size=done, attention=tried(25, 2, *scale, "an error", *scale))
    ten = tried(3, 1, *["softmax over the queries"] * 5)
    file_of(folder, 5, "Fay", group_size=done, attention=ten)
    away = tried(150, 140, "softmax over the queries")
    file_of(folder, 6, "Gus", group_size=done, attention=away)
    for i, name in enumerate(["Hal", "Ida", "Jo"], start=7):  # had it
        passed = tried(20, 9, *scale, passed=True)
        mask = tried(5, 3, "an error")
        file_of(folder, i, name, group_size=done, attention=passed, causal_mask=mask)
    file_of(folder, 10, "Kim", group_size=tried(2, 1, "the remainder"))
    file_of(folder, 11)


THE_CLASS = f"""\
In the room now: no scale, 5 of 12 learners, in 01.attention.
To say: {exercises()["01.attention"].mistakes["no scale"].see}
12 learners, {record.moment(NOW).astimezone():%d %b %Y, %H:%M}.
00.group_size: 10 passed, 1 trying, 1 not begun.
  a float: 10 met it
  the remainder: 1 met it, 1 in it now: Kim
01.attention: 3 passed, 2 stuck, 4 trying, 1 left off, 2 not begun.
  no scale: 8 met it, 5 in it now: Ada, Ben, Cleo, Dan, Eve
  no softmax: 4 met it
  softmax over the queries: 2 met it, 1 in it now: Fay, 1 left off in it: Gus
  an error: 1 met it
02.causal_mask: 3 trying, 9 not begun.
  an error: 3 met it, 3 in it now: Hal, Ida, Jo
Stuck:
  Eve: 01.attention, no scale, 3 attempts, for 25 min, last one 2 min ago
  Fay: 01.attention, softmax over the queries, 5 attempts, for 3 min, last one 1 min ago
Left off:
  Gus: left off 01.attention, softmax over the queries, 1 attempt, last attempt 2 h ago
Learners:
  0000000b: nothing begun
  Ada: passed 00.group_size; trying 01.attention
  Ben: passed 00.group_size; trying 01.attention
  Cleo: passed 00.group_size; trying 01.attention
  Dan: passed 00.group_size; trying 01.attention
  Eve: passed 00.group_size; stuck 01.attention
  Fay: passed 00.group_size; stuck 01.attention
  Gus: passed 00.group_size; left off 01.attention
  Hal: passed 00.group_size, 01.attention; trying 02.causal_mask
  Ida: passed 00.group_size, 01.attention; trying 02.causal_mask
  Jo: passed 00.group_size, 01.attention; trying 02.causal_mask
  Kim: trying 00.group_size
Begun by no one: 02.causal_attention and later."""


def test_a_class_of_twelve_is_summed_up(tmp_path, shown):
    the_class(tmp_path)
    progress.class_summary(tmp_path)
    (data,) = shown
    assert data["text/plain"] == THE_CLASS  # where there are no pictures
    assert data["text/html"].count(html.escape(THE_CLASS)) == 2  # as alt text, and to be unfolded
    figure = progress.summary(tmp_path)
    assert figure.alt == THE_CLASS
    assert_drawn_well(figure)
    drawn = words(figure)
    assert drawn[0] == "In the room now: no scale, 5 of 12 learners, in 01.attention"
    assert "no scale: 8 met it, 5 in it now: Ada, Ben, Cleo, Dan, Eve" in drawn
    panels = [text for text in drawn if re.match(r"\d\d\.\w+: ", text)]
    assert [text[:2] for text in panels] == ["01", "02", "00"]  # where most are comes first
    assert drawn.count("✓") == 1 + 10 + 3 and "!5" in drawn and "…2" in drawn
    assert drawn.count("‖") == 1 + 1  # in the legend, too


def test_a_screen_that_all_can_see_has_no_names(tmp_path):
    the_class(tmp_path)
    (tmp_path / "progress-Lou.json").write_text("{")
    (tmp_path / "progress-Max.json").write_text('{"version": 1, "learner": "Max"}')
    (tmp_path / "progress-Ned.json").write_text('{"version": 2}')
    figure = progress.summary(tmp_path, names=False)
    said = figure.alt + " ".join(words(figure)) + progress.guess_chart("06.maps", tmp_path).alt
    assert not re.search(r"Ada|Ben|Gus|Kim|Lou|Max|Ned|0000000b", said)
    assert said.count("1 file left out: not JSON") == 3  # in words, drawn, at a question
    assert "1 file left out: not a progress file" in said
    assert "1 file left out: was written by a newer version of the course" in said
    assert "5 in it now: 1, 2, 3, 4, 5" in figure.alt


def test_numbers_do_not_follow_the_alphabet(tmp_path):
    for i, name in enumerate(["Zoë", "Ada", "Max"], start=1):
        file_of(tmp_path, i, name, attention=tried(2, 1, f"mistake {i}"))
    assert progress.summary(tmp_path, names=False).alt == numbered(tmp_path, "ABC")
    assert progress.summary(tmp_path, names=False).alt == numbered(tmp_path, "CBA")


def numbered(folder, names):
    """All in words, without names, after the learners took others."""
    for i, name in enumerate(names, start=1):
        file_of(folder, i, name, attention=tried(2, 1, f"mistake {i}"))
    return progress.summary(folder, names=False).alt


@pytest.mark.parametrize("n", [0, 1, 30, 60])
def test_any_class_fits(tmp_path, n):
    names = ["Wolfeschlegelsteinhausenbergerdorff", "Li", "W" * 80, "$x_1$ & <b>", "李雷", "M" * 14]
    every = exercises()
    for i in range(n):
        entries = {}
        for j, (name, exercise) in enumerate(every.items()):
            longest = sorted(exercise.mistakes, key=len)[-7:]
            mine = [longest[k] for k in range(7) if (i + j + k) % 3]
            if (i + j) % 5:
                short = name.partition(".")[2]
                entries[short] = tried(50 + i, i, *mine, passed=(i * j) % 3 == 1)
        file_of(tmp_path, i, names[i % len(names)], **entries)
    assert_drawn_well(progress.summary(tmp_path))


def test_everyone_in_one_mistake_fits(tmp_path):
    for i in range(40):
        file_of(tmp_path, i, f"Maximiliana {i}", attention=tried(1, 0, "no scale"))
    figure = progress.summary(tmp_path)
    assert_drawn_well(figure)
    assert "no scale: 40 met it, 40 in it now: " in figure.alt
    assert all(f"Maximiliana {i}" in figure.alt for i in range(40))


def test_the_newest_file_of_a_learner_counts(tmp_path):
    file_of(tmp_path / "a" / "deep", 1, "Ada", attention=tried(9, 1, "no scale"))
    file_of(tmp_path / "b", 1, "Ada", attention=tried(9, 5, "no softmax"))
    (tmp_path / "b" / "notes.json").write_text("of no concern")
    alt = progress.summary(tmp_path).alt
    assert "1 learner," in alt and "no scale" in alt and "no softmax" not in alt


def test_two_of_one_name_are_told_apart(tmp_path):
    for i in (1, 2):
        file_of(tmp_path, i, "Ada", attention=tried(2, 1, "no scale"))
    file_of(tmp_path, 3, "李雷", attention=tried(2, 1, "no scale"))
    figure = progress.summary(tmp_path)
    assert "Ada (00000001), Ada (00000002), 李雷 (00000003)" in figure.alt
    assert {"Ada 0000", "00000003"} <= {*words(figure)}


def test_on_a_hub_a_folder_names_its_learner(tmp_path):
    """Unless they gave a name; an export without one beside it changes nothing."""
    one = tried(2, 1, "no scale")
    for i, (home, name) in enumerate([("emre", ""), ("li", "Li Na"), ("a/zoe/my_lessons", "")]):
        file_of(tmp_path / home, i, name, attention=one)
        (tmp_path / home / f"progress-{i}.json").rename(tmp_path / home / "progress.json")
    file_of(tmp_path / "emre", 0, attention=one)
    file_of(tmp_path / "handed_in", 7, attention=one)
    file_of(tmp_path, 8, attention=one)
    (tmp_path / "progress-8.json").rename(tmp_path / "progress.json")
    said = progress.summary(tmp_path).alt.split("Learners:")[1]
    names = re.findall(r"  (.+): trying", said)
    assert names == ["00000007", "00000008", "emre", "Li Na", "zoe"]
    assert "emre" not in progress.summary(tmp_path, names=False).alt


def test_files_that_are_not_ours_are_named(tmp_path):
    file_of(tmp_path, 1, "Ada", attention=tried(2, 1, "no scale"))
    (tmp_path / "progress-broken.json").write_text("{")
    (tmp_path / "progress-foreign.json").write_text('{"version": 1, "learner": []}')
    (tmp_path / "progress-newer.json").write_text('{"version": 2}')
    (tmp_path / "progress-large.json").write_text(" " * 1_000_001)
    (tmp_path / "progress-folder.json").mkdir()
    figure = progress.summary(tmp_path)
    _, said = figure.alt.split("Left out:\n")
    assert "progress-broken.json is not JSON" in said
    assert "progress-foreign.json is not a progress file: it has no" in said
    assert "progress-newer.json was written by a newer version" in said
    assert "progress-large.json is larger than 1,000,000 bytes" in said
    assert "folder" not in said and "1 learner," in figure.alt
    assert_drawn_well(figure)


def test_exercises_that_this_course_lacks_do_not_count(tmp_path):
    file_of(tmp_path, 1, "Ada", attention=tried(2, 1, "no scale"))
    file = tmp_path / "progress-1.json"
    file.write_text(file.read_text().replace("01.attention", "99.nothing"))
    assert "99.nothing" not in progress.summary(tmp_path).alt


def test_a_folder_that_is_not_there_is_named(tmp_path, asked, capsys):
    progress.class_summary(tmp_path / "nowhere")
    progress.class_guesses("06.maps", tmp_path / "nowhere", every=1)
    said = f"There is no folder {tmp_path / 'nowhere'}: name the one that has the files.\n"
    assert capsys.readouterr().out == 2 * said


def test_whom_to_help_first(tmp_path):
    """What was tried last before what was left behind, then who began earlier."""
    same = ["no scale"] * 5
    file_of(tmp_path, 1, "Ada", attention=tried(300, 200, *same))
    file_of(tmp_path, 2, "Ben", attention=tried(40, 30, *same), causal_mask=tried(20, 1, *same))
    file_of(tmp_path, 3, "Cleo", attention=tried(12, 2, *same))
    said = progress.summary(tmp_path).alt.split("Stuck:\n")[1].split("Learners:")[0]
    order = re.findall(r"  (\w+): .*?(\d\d)\.", said)
    assert order == [("Ben", "02"), ("Cleo", "01"), ("Ben", "01"), ("Ada", "01")]
    assert "Left off:\n  Ada: left off 01.attention, no scale, 5 attempts, last attempt 3 h" in said


@pytest.mark.parametrize(
    "last, who, said",
    [
        (30, "stuck", "In the room now: no scale, 2 of 3 learners, in 01.attention"),
        (31, "left off", "Left off in: no scale, 2 of 3 learners, in 01.attention"),
        (3 * 24 * 60, "left off", "Left off in: no scale, 2 of 3 learners, in 01.attention"),
    ],
)
def test_who_is_not_at_work_has_left_off(tmp_path, last, who, said):
    for i, mistake in enumerate(["no softmax", "no scale", "no scale"]):
        file_of(tmp_path, i, f"L{i}", attention=tried(last + 5, last, "an error", mistake))
    alt = progress.summary(tmp_path).alt
    assert alt.startswith(f"{said}.") and f"01.attention: 3 {who}." in alt
    assert ("last attempt 3 days ago" in alt) == (last > 31)


def test_a_room_without_mistakes_is_told_what_has_passed(tmp_path):
    file_of(tmp_path, 1, "Ada")
    assert progress.summary(tmp_path).alt.startswith("No one has begun.")
    done = tried(500, 400, "no scale", passed=True)
    file_of(tmp_path, 2, "Ben", group_size=done, attention=done)
    first = "No one is in a mistake: 01.attention has passed, 1 of 2."
    assert progress.summary(tmp_path).alt.startswith(first)


def test_a_clock_that_is_ahead_makes_no_negative_time(tmp_path):
    file_of(tmp_path, 1, "Ada", attention=tried(-5, -9, *["no scale"] * 5))
    assert "for 0 min, last one 0 min ago" in progress.summary(tmp_path).alt


def test_a_running_session_is_redrawn_in_place_until_interrupted(tmp_path, monkeypatch, capsys):
    the_class(tmp_path)
    seen, waits = [], iter(range(9))
    handle = types.SimpleNamespace(update=lambda x, **how: seen.append(x))

    def wait(seconds):
        assert seconds == 10
        i = next(waits)
        monkeypatch.setattr(record, "now", lambda: ago(-1))  # a minute has passed
        if i == 1:
            file_of(tmp_path, 11, "Lou", attention=tried(1, 0, "no scale"))
        if i == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(progress, "display", lambda x, **how: handle)
    monkeypatch.setattr(progress.time, "sleep", wait)
    monkeypatch.delenv("COURSE_OUTPUTS")
    progress.class_summary(tmp_path, every=10)
    (data,) = seen  # where nothing but the clock has changed nothing flickers
    new = data["text/plain"]
    assert "<details open>" in data["text/html"]  # the words do not fold shut
    assert "no scale, 6 of 12 learners" in new and "Lou" in new
    assert "No longer updated" in capsys.readouterr().out


@pytest.fixture
def asked(monkeypatch):
    monkeypatch.setattr(questions, "questions", lambda: QUESTIONS)


def guess_of(name, said, truth=None):
    return {name: {"said": said, "truth": truth, "when": ago(1)}}


@pytest.mark.parametrize(
    "name, guesses, said",
    [
        ("06.maps", [("1", None), ("8", None), ("8", None)], "3 of 4 learners guessed. 1: 1; 8: 2."),
        ("06.maps", [("1", "32"), ("8", None), ("1", "32"), ("1", "8")], "4 of 4 learners guessed. 1: 3; 8: 1. It is 32."),
        ("06.maps", [("7", None), ("8", None)], "2 of 4 learners guessed, 1 something else. 8: 1."),
        ("06.share", [(25, 60.4), (100, 60.6)], "2 of 4 learners guessed. 25 %: 1; 100 %: 1. It is 60 %."),
        ("06.share", [(30, None)], "1 of 4 learners guessed. 25 %: 1."),
        ("06.share", [("many", "x")], "1 of 4 learners guessed, 1 something else."),
        ("06.heads", [(4, None)], "1 of 4 learners guessed. 4: 1. It is 8."),
        ("06.heads", [], "0 of 4 learners guessed. It is 8."),
    ],
)  # fmt: skip
def test_the_guesses_of_a_room_stand_beside_the_truth(tmp_path, asked, shown, name, guesses, said):
    for i in range(4):
        file_of(tmp_path, i, f"L{i}", guess_of(name, *guesses[i]) if i < len(guesses) else None)
    progress.class_guesses(name, tmp_path)
    figure = progress.guess_chart(name, tmp_path)
    assert figure.alt == shown[0]["text/plain"] == f"{name}: {QUESTIONS[name]['ask']}. {said}"
    assert_drawn_well(figure)
    bars = [x.get_height() for x in figure.axes[0].patches]
    places = questions.places(QUESTIONS[name])
    assert len(bars) == len(places)
    title = figure.axes[0].get_title("left").replace("\n", " ")
    assert title == f"Lesson 06, {name}: {QUESTIONS[name]['ask']}"
    assert ("It is" in said) == ("it is" in " ".join(words(figure)))


def test_a_truth_between_two_places_stands_between_them(tmp_path, asked):
    file_of(tmp_path, 1, "Ada", guess_of("06.heads", 2, 6))
    figure = progress.guess_chart("06.heads", tmp_path)
    (line,) = figure.axes[0].lines
    assert [*line.get_xdata()] == [2.5, 2.5]  # 6 is in the middle of 4 and 8


@pytest.mark.parametrize("name, truth", [("06.maps", "32"), ("06.share", 60.4), ("06.heads", None)])
def test_the_truth_is_hidden_while_the_room_guesses(tmp_path, asked, shown, name, truth):
    """What is shown is what it would be if no one had seen the truth and no one knew it."""
    said = questions.places(QUESTIONS[name])[1]
    file_of(tmp_path, 1, "Ada", guess_of(name, said, truth))
    progress.class_guesses(name, tmp_path, truth=False)
    hidden, seen = (progress.guess_chart(name, tmp_path, x) for x in (False, True))
    assert shown[0]["text/plain"] == hidden.alt and "It is" not in hidden.alt
    assert "It is" in seen.alt and "it is" not in " ".join(words(hidden))
    assert len({x.get_facecolor() for x in hidden.axes[0].patches}) == 1
    assert not hidden.axes[0].lines


def test_every_question_of_the_course_is_drawn(tmp_path, monkeypatch):
    every = questions.questions()
    for i in range(3):  # three who guess each at another place, and are shown the first
        guesses = {}
        for name, places in ((name, questions.places(x)) for name, x in every.items()):
            guesses |= guess_of(name, places[i * (len(places) - 1) // 2], places[0])
        file_of(tmp_path, i, "", guesses)
    read = progress.in_folder(tmp_path)
    monkeypatch.setattr(progress, "in_folder", lambda folder: read)  # once
    for name in every:
        figure = progress.guess_chart(name, tmp_path)
        assert "3 of 3 learners guessed" in figure.alt and "something else" not in figure.alt
        assert_drawn_well(figure)


def test_an_unknown_question_is_named(tmp_path, asked):
    with pytest.raises(KeyError, match=r"did you mean '06\.maps'"):
        progress.class_guesses("06.map", tmp_path)


def test_states_have_signs_of_their_own():
    assert len({sign for _, sign in figures.STATES.values()}) == len(figures.STATES)
