"""A guess and its truth, on the kernel's side; what the browser does is in tests/browser."""

import json

import pytest
import torch

from course_utils import figures, questions, record
from course_utils.widgets import Guess, guess, truth
from course_utils.widgets.guess import said, told

ASKED = {
    "07.maps": {"ask": "different maps", "choices": ["1", "8", "32"]},
    "07.same": {"ask": "are they equal", "choices": ["yes", "no"]},
    "07.right": {"ask": "right", "from": 0, "to": 100, "step": 5, "text": "{:.0f} %"},
    "07.left": {"ask": "left", "from": 0, "to": 0.3, "step": 0.1, "text": "{:.2f}"},
    "07.times": {"ask": "times", "values": [1, 2, 4, 8], "text": "{:g} ×"},
    "07.told": {"ask": "told", "choices": ["A", "B"], "truth": "B"},
}


@pytest.fixture(autouse=True, params=["kept", "not kept"])
def keeping(request, monkeypatch, tmp_path):
    """Questions of our own, no guess yet, in a folder of its own or with keeping off."""
    monkeypatch.setattr(questions, "questions", lambda: ASKED)
    monkeypatch.setenv("COURSE_FOLDER", str(tmp_path))
    monkeypatch.setenv("COURSE_PROGRESS", "on" if request.param == "kept" else "off")
    said.clear()
    told.clear()
    return request.param


def printed(capsys, *args):
    truth(*args)
    return capsys.readouterr().out


PLACES = {
    "07.maps": ["1", "8", "32"],
    "07.same": ["yes", "no"],
    "07.right": list(range(0, 101, 5)),
    "07.left": [0.0, 0.1, 0.2, 0.3],
    "07.times": [1, 2, 4, 8],
    "07.told": ["A", "B"],
}


@pytest.mark.parametrize("name", ASKED)
def test_it_starts_without_a_guess_and_every_place_can_be_said(name, capsys):
    control = Guess(name)
    assert control.values == [None, *PLACES[name]]
    assert (control.value, control.texts[0]) == (None, "no guess yet")
    assert len(set(control.texts)) == len(control.values)
    assert control.options == ("choices" in ASKED[name])
    for value in PLACES[name]:
        control.value = value
        assert Guess(name).value == value  # another control, or after a restart
    last = control.texts[-1]
    assert (
        printed(capsys, name, value)
        == f"{ASKED[name]['ask']}: you said {last}; the answer is {last}.\n"
    )


def test_a_guess_is_kept_where_anything_is(keeping):
    Guess("07.maps").value = "8"
    assert record.guessed("07.maps") == ("8" if keeping == "kept" else None)
    said.clear()  # a new session
    assert Guess("07.maps").value == ("8" if keeping == "kept" else None)


def test_a_guess_is_kept_in_another_folder_too(keeping, tmp_path, monkeypatch):
    guess("07.maps", "8")
    monkeypatch.setenv("COURSE_FOLDER", str(tmp_path / "another"))
    assert record.guessed("07.maps") is None
    guess("07.maps", "8")
    assert record.guessed("07.maps") == ("8" if keeping == "kept" else None)


def test_without_a_guess_the_truth_stands_alone_and_a_guess_can_still_be_made(capsys):
    assert printed(capsys, "07.right", 63.7) == "right: 64 %.\n"
    guess("07.right", 40)
    capsys.readouterr()
    assert printed(capsys, "07.right", 63.7) == "right: you said 40 %; the answer is 64 %.\n"


def test_after_the_truth_a_guess_stays_as_it_was(capsys):
    control = Guess("07.maps")
    control.value = "1"
    control.value = "8"
    assert printed(capsys, "07.maps", 32) == "different maps: you said 8; the answer is 32.\n"
    control.value = "32"
    guess("07.maps", "32")
    capsys.readouterr()
    assert printed(capsys, "07.maps", 32) == "different maps: you said 8; the answer is 32.\n"


def test_a_guess_is_not_taken_back_by_none(capsys):
    control = Guess("07.maps")
    control.value = "1"
    control.value = None
    assert "you said 1" in printed(capsys, "07.maps", 8)


@pytest.mark.parametrize(
    "name, value, text",
    [
        ("07.maps", 8, "8"),
        ("07.maps", torch.tensor(32), "32"),
        ("07.same", True, "yes"),
        ("07.same", torch.tensor([1.0]).equal(torch.tensor([2.0])), "no"),
        ("07.same", torch.tensor(1) == 1, "yes"),
        ("07.right", torch.tensor(61.0), "61 %"),
        ("07.left", 0.0234, "0.02"),
        ("07.times", 2.5, "2.5 ×"),
        ("07.times", 100, "100 ×"),
        ("07.told", None, "B"),
    ],
)
def test_what_a_cell_works_out_is_a_truth(name, value, text, capsys, keeping):
    start = ASKED[name]["ask"]
    assert printed(capsys, name, value) == f"{start}: {text}.\n"
    guess(name, first := PLACES[name][0])
    capsys.readouterr()
    assert printed(capsys, name, value).endswith(f"; the answer is {text}.\n")
    if keeping == "kept":
        kept = json.loads(record.path().read_text(encoding="utf-8"))["guesses"][name]
        assert kept["said"] == first
        assert questions.words(ASKED[name], kept["truth"]) == text


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: guess("07.maps", "9"), "07.maps: '9' is none of '1', '8', '32'; give one"),
        (lambda: truth("07.maps", 9), "07.maps: '9' is none of '1', '8', '32'; give one"),
        (lambda: truth("07.same", 1), "07.same: '1' is none of 'yes', 'no'; give one"),
        (lambda: guess("07.times", 3), "07.times: 3 is none of 1, 2, 4, 8; give one"),
        (lambda: truth("07.times", "4"), "07.times: '4' is none of 1, 2, 4, 8; give one"),
        (
            lambda: truth("07.maps"),
            "07.maps needs its truth: truth('07.maps', …), as its cell worked it out",
        ),
    ],
)
def test_what_is_none_of_the_places_is_refused_and_changes_nothing(call, words):
    with pytest.raises(ValueError) as error:
        call()
    assert str(error.value) == words
    assert not said and not record.read()["guesses"]


@pytest.mark.parametrize("call", [guess, truth])
def test_an_unknown_name_is_told_the_near_one_or_those_of_its_lesson(call):
    with pytest.raises(KeyError) as error:
        call("07.map")
    assert error.value.args == ("no question named '07.map'; did you mean '07.maps'?",)
    there = f"there are {', '.join(ASKED)}"
    for name in ("07.xyzzy", "07", "07."):
        with pytest.raises(KeyError) as error:
            call(name)
        assert error.value.args == (f"no question named {name!r}; {there}",)


def test_a_guess_that_is_no_longer_a_place_is_no_guess(monkeypatch):
    guess("07.maps", "32")
    fewer = {"07.maps": {"ask": "different maps", "choices": ["1", "8"]}}
    monkeypatch.setattr(questions, "questions", lambda: fewer)
    assert Guess("07.maps").value is None


SHOWN = {
    "07.maps": 'different maps: 1 / 8 / 32. In code, as in guess("07.maps", "1")',
    "07.right": 'right: from 0 % to 100 %. In code, as in guess("07.right", 0)',
}


@pytest.mark.parametrize("name", SHOWN)
def test_stored_it_is_words_and_how_to_guess_in_code(name, monkeypatch):
    monkeypatch.setenv("COURSE_OUTPUTS", "stored")
    data, _ = Guess(name)._repr_mimebundle_()
    assert set(data) == {"text/html", "text/plain"}
    assert data["text/plain"] == SHOWN[name]
    call = SHOWN[name].partition("as in ")[2]
    assert f"<code>{call}</code>" in data["text/html"]


def test_live_it_is_a_widget_with_the_words_and_the_guess_beside_it(monkeypatch):
    monkeypatch.delenv("COURSE_OUTPUTS", raising=False)
    control = Guess("07.maps")
    control.value = "8"
    data, _ = control._repr_mimebundle_()
    assert set(data) == {figures.WIDGET, "text/html", "text/plain"}
    assert data["text/plain"].startswith("different maps: 1 / 8 / 32. You said 8. In code")


def test_ipywidgets_7_cannot_show_it_without_its_words():
    assert Guess("07.maps")._ipython_display_ is None
