"""A learner's copies: made, never overwritten, brought up to date with what was written in them."""

import copy
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from urllib.parse import unquote

import nbformat
import pytest
from lessons import PATHS, ROOT, build_wheel, code, read

from course_utils import copies, environment, record
from makers import publish

NAMES = [path.stem for path in PATHS]
ANSWER = """\
def attention(q, k, v):
    weights = (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1)  # mine
    return weights @ v, weights

result = checks.check("01.attention", attention)"""
CALL = 'result = checks.check("01.attention", attention)'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A learner's own folder, and a home."""
    monkeypatch.setenv("COURSE_FOLDER", str(tmp_path / "home" / "mine"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("COURSE_PROGRESS", raising=False)
    return tmp_path / "home" / "mine"


@pytest.fixture
def course(monkeypatch):
    """The lessons of the course, to be changed: what `lessons` gives from now on."""
    course = copies.lessons()
    monkeypatch.setattr(copies, "lessons", lambda: copy.deepcopy(course))
    return course


def stub_of(lesson, name):
    """The cell of an exercise in a notebook, as it is in the course or in a copy."""
    return next(cell for cell in lesson["cells"] if copies.exercise(cell) == name)


def edit(path, change):
    """Change a copy as JupyterLab would: `change` gets the notebook."""
    notebook = read(path)
    change(notebook)
    nbformat.write(notebook, path)
    return path.read_bytes()


def answer(path, name="01.attention", text=ANSWER):
    return edit(path, lambda x: stub_of(x, name).update(source=text))


def uncommented(text):
    return re.sub(r"^# ?", "", text, flags=re.M)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def prose(notebook):
    return "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def targets(notebook):
    """Where the links of a notebook lead that do not leave the course."""
    found = re.findall(r"\]\(([^)#]+)[^)]*\)", prose(notebook))
    return [target for target in found if not target.startswith("https:")]


def test_every_lesson_gets_a_copy_without_outputs(folder):
    copies.my_lessons()
    assert sorted(path.stem for path in folder.iterdir()) == NAMES
    for path in PATHS:
        lesson, mine = read(path), read(folder / path.name)
        nbformat.validate(mine)
        assert [cell.id for cell in mine.cells] == [cell.id for cell in lesson.cells]
        assert [cell.source for cell in code(mine)] == [cell.source for cell in code(lesson)]
        assert not [x for x in code(mine) if x.outputs or x.execution_count is not None]
        assert mine.metadata.course.minutes == lesson.metadata.course.minutes
        tags = [cell.metadata.get("tags") for cell in lesson.cells]
        assert [cell.metadata.get("tags") for cell in mine.cells] == tags


def test_nothing_that_is_there_is_ever_overwritten(folder, course, capsys):
    copies.my_lessons()
    answer(folder / "01_self_attention.ipynb")
    (folder / "02_causal_attention.ipynb").write_text("mine")
    (folder / "03_multi_head_attention.ipynb").unlink()
    for lesson in course.values():
        lesson["cells"][0]["source"] += ["\nnew"]
    for i in range(3):
        for do in (copies.my_lessons, copies.newer, lambda: copies.fresh("01"), copies.newer):
            before = contents(folder)
            do()
            assert before.items() <= contents(folder).items()
            course["04_kv_cache"]["cells"][0]["source"] += [f"\nnewer {i}"]


def test_what_is_missing_is_made_and_what_is_current_is_not_spoken_of(folder, capsys):
    copies.my_lessons()
    assert (
        capsys.readouterr().out == f"{len(NAMES)} lessons are now in ~/mine, yours to write in.\n"
    )
    (folder / "03_multi_head_attention.ipynb").unlink()
    before = contents(folder)
    copies.my_lessons()
    assert capsys.readouterr().out == "1 lesson is now in ~/mine, yours to write in.\n"
    assert len(contents(folder)) == len(before) + 1
    copies.my_lessons()
    assert capsys.readouterr().out == ""
    copies.newer()
    assert capsys.readouterr().out == "Your lessons in ~/mine are as new as the course.\n"
    assert len(contents(folder)) == len(before) + 1


@pytest.mark.parametrize("where", ["my_lessons", "../elsewhere/a b", "my_lessons/deeper"])
def test_in_a_clone_every_link_resolves(where, monkeypatch):
    monkeypatch.setenv("HOME", str(ROOT.parent))
    folder = Path(os.path.abspath(ROOT / where))
    newest = copies.newest_paths(NAMES, folder)
    outward = 0
    for name, lesson in copies.lessons().items():
        notebook = nbformat.from_dict(copies.fresh_copy(lesson, folder, newest))
        assert len(targets(notebook)) == len(targets(read(ROOT / "notebooks" / f"{name}.ipynb")))
        for target in map(unquote, targets(notebook)):
            file = Path(os.path.abspath(folder / target))  # as a browser goes up
            assert file in newest.values() or file.exists(), target
            outward += file not in newest.values()
    assert outward >= 8


def test_out_of_the_home_no_link_pretends_to_lead_anywhere(folder, monkeypatch):
    copies.my_lessons()  # HOME is not that of the clone
    for name in NAMES:
        assert all((folder / target).exists() for target in targets(read(folder / f"{name}.ipynb")))
    text = prose(read(folder / "10_latent_attention.ipynb"))
    assert "The library's layer (`course_utils/latent.py`) has both forms." in text


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A wheel, as if installed: the folder that it is in."""
    folder = tmp_path_factory.mktemp("wheel")
    zipfile.ZipFile(build_wheel(folder)).extractall(folder / "site")
    return folder / "site"


def command(folder, *arguments, **env):
    """`python -m course_utils.copies` of the course in a folder, run elsewhere."""
    return subprocess.run(
        [sys.executable, "-m", "course_utils.copies", *arguments],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(folder)} | env, capture_output=True, text=True,
    )  # fmt: skip


def test_from_a_wheel_the_copies_are_the_same_but_for_links_that_would_lead_nowhere(
    folder, installed
):
    run = command(installed)
    assert (run.returncode, run.stderr) == (0, "") and "12 lessons are now in ~/mine" in run.stdout
    for path in PATHS:
        mine = read(folder / path.name)
        assert [x.source for x in code(mine)] == [x.source for x in code(read(path))]
        assert all((folder / target).exists() for target in targets(mine))
        for name in re.findall(r"\(`(course_utils/\w+[./]\S+)`\)", prose(mine)):
            assert (installed / name).exists(), name
    assert "(`course_utils/data/README.md`)" in prose(read(folder / "04_kv_cache.ipynb"))
    assert "(`course_utils/latent.py`)" in prose(read(folder / "10_latent_attention.ipynb"))
    copies.my_lessons()  # of the clone, over what the wheel has made
    assert not copies.state()[1]


def test_the_lessons_in_the_wheel_are_small(installed):
    paths = list((installed / "course_utils" / "notebooks").glob("*.ipynb"))
    assert sorted(path.stem for path in paths) == NAMES
    assert sum(path.stat().st_size for path in paths) < 500_000


def test_published_or_not_a_lesson_is_the_same(tmp_path):
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks")
    for name in ("README.md", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    publish.publish("owner/name@v1", tmp_path)
    first = [copies.made_from(read(path)) for path in sorted(tmp_path.glob("notebooks/*.ipynb"))]
    publish.publish("", tmp_path)
    then = [copies.made_from(read(path)) for path in sorted(tmp_path.glob("notebooks/*.ipynb"))]
    assert first == then and len(set(first)) == len(NAMES)


def test_outputs_do_not_make_a_lesson_newer_and_its_words_do(course):
    lesson = course["01_self_attention"]
    before = copies.made_from(lesson)
    lesson["cells"][-1] |= {"metadata": {"x": 1}}
    code_cell = stub_of(lesson, "01.attention")
    code_cell |= {"outputs": [], "execution_count": 7, "source": "".join(code_cell["source"])}
    assert copies.made_from(lesson) == before
    lesson["cells"][3]["source"] = "new"
    assert copies.made_from(lesson) != before


def test_a_newer_lesson_comes_beside_the_old_one_with_its_answers(folder, course, capsys):
    copies.my_lessons()
    old = answer(folder / "01_self_attention.ipynb")
    course["01_self_attention"]["cells"][0]["source"] += ["\n\nNew words."]
    capsys.readouterr()
    copies.my_lessons()
    said = capsys.readouterr().out
    assert said.startswith("Lesson 01 is newer in the course: ") and said.count("\n") == 1
    copies.newer()
    said = capsys.readouterr().out
    assert said.startswith("01_self_attention_v2.ipynb in ~/mine: ") and said.count("\n") == 2
    assert "with your answers to 01.attention" in said
    new = read(folder / "01_self_attention_v2.ipynb")
    nbformat.validate(new)
    assert stub_of(new, "01.attention").source == ANSWER
    assert new.cells[0].source.endswith("New words.")
    others = [x.source for x in new.cells if copies.exercise(x) != "01.attention"]
    stored = [x.source for x in read(PATHS[1]).cells if copies.exercise(x) != "01.attention"]
    assert others[1:] == stored[1:]
    assert (folder / "01_self_attention.ipynb").read_bytes() == old
    assert len(contents(folder)) == len(NAMES) + 1
    before = contents(folder)
    copies.newer()
    copies.my_lessons()
    assert contents(folder) == before
    assert capsys.readouterr().out == "Your lessons in ~/mine are as new as the course.\n"


def test_answers_come_from_the_newest_copy_and_versions_count_on(folder, course):
    copies.my_lessons()
    names = ["01_self_attention.ipynb", *(f"01_self_attention_v{i}.ipynb" for i in range(2, 12))]
    for i, name in enumerate(names):
        answer(folder / name, text=f"# {i}\n{ANSWER}")
        course["01_self_attention"]["cells"][0]["source"] += ["\nnew"]
        copies.newer()
    last = read(folder / "01_self_attention_v12.ipynb")
    assert stub_of(last, "01.attention").source == f"# 10\n{ANSWER}"
    assert copies.newest_paths(NAMES, folder)["01_self_attention"].stem == "01_self_attention_v12"


def test_links_of_new_copies_lead_to_the_newest_of_each_lesson(folder, course):
    copies.my_lessons()
    for name in ("00_start_here", "02_causal_attention"):
        course[name]["cells"][0]["source"] += ["\nnew"]
    copies.fresh("04")
    copies.newer()
    leads = set(targets(read(folder / "00_start_here_v2.ipynb")))
    newer = {"02_causal_attention_v2.ipynb", "04_kv_cache_v2.ipynb"}
    assert {x for x in leads if "_v" in x} == newer
    assert all((folder / target).exists() for target in leads)
    assert "02_causal_attention_v2.ipynb" not in targets(read(folder / "01_self_attention.ipynb"))


def test_a_fresh_copy_has_no_answers_and_stands_beside_the_others(folder, course, capsys):
    copies.my_lessons()
    old = answer(folder / "01_self_attention.ipynb")
    for lesson in ("01", 1, "1"):
        copies.fresh(lesson)
    assert (
        "01_self_attention_v4.ipynb in ~/mine: lesson 01 as it begins." in capsys.readouterr().out
    )
    new = read(folder / "01_self_attention_v4.ipynb")
    assert [x.source for x in code(new)] == [x.source for x in code(read(PATHS[1]))]
    assert (folder / "01_self_attention.ipynb").read_bytes() == old
    with pytest.raises(ValueError, match=r"there is no lesson '4x'; there are 00, 01, .*, 10"):
        copies.fresh("4x")
    with pytest.raises(ValueError, match="there is no lesson '99'"):
        copies.fresh("99")


def change_stub(course, text):
    stub_of(course["01_self_attention"], "01.attention")["source"] = text


def carried(folder, course, stub, text=ANSWER):
    """What the exercise's cell holds when its stub has changed and newer has run."""
    copies.my_lessons()
    answer(folder / "01_self_attention.ipynb", text=text)
    change_stub(course, stub)
    copies.newer()
    notebook = read(folder / "01_self_attention_v2.ipynb")
    nbformat.validate(notebook)
    return stub_of(notebook, "01.attention").source


class Checks:
    """Stands for course_utils.checks: what was checked."""

    def __init__(self):
        self.checked = []

    def check(self, name, fn):
        self.checked.append(fn)
        return self

    def mine(self, yours, library):
        return yours


def run(source):
    """The names that a cell defines, and how often it has checked."""
    names = {"checks": Checks(), "library": None}
    exec(source, names)
    return names, len(names["checks"].checked)


def test_where_more_comes_after_the_check_the_answer_gets_it(folder, course):
    stub = stub_of(course["01_self_attention"], "01.attention")["source"]
    source = carried(folder, course, "".join(stub) + "\nmine = result.mine(attention, library)")
    assert source == ANSWER + "\nmine = result.mine(attention, library)"
    names, times = run(source)
    assert times == 1 and names["mine"] is names["attention"]


def test_where_the_question_is_in_other_words_the_answer_stands_below_them(folder, course):
    stub = f'def attention(q, k, v):\n    """Other words."""\n    ...\n\n{CALL}\nx = 1'
    source = carried(folder, course, stub)
    assert source == (
        "# The exercise has changed. It now begins:\n# def attention(q, k, v):\n"
        f'#     """Other words."""\n#     ...\n\n{ANSWER}\nx = 1'
    )
    names, times = run(source)
    assert times == 1 and names["x"] == 1
    change_stub(course, stub.replace("Other", "Still other"))
    copies.newer()
    again = stub_of(read(folder / "01_self_attention_v3.ipynb"), "01.attention").source
    assert again == source.replace("Other", "Still other")


@pytest.mark.parametrize(
    "text",
    [ANSWER, ANSWER.replace("):", ")"), f"%timeit 1\n{ANSWER}", "-" * 3 + "(" * 999],
    ids=["right", "unfinished", "magic", "nested"],
)
@pytest.mark.parametrize("head", ["def attention(q, k, v, mask):", "def attend(q, k, v):"])
def test_where_the_question_is_another_the_answer_is_kept_as_a_comment(folder, course, head, text):
    stub = f'{head}\n    ...\n\nresult = checks.check("01.attention", {head[4:].split("(")[0]})'
    source = carried(folder, course, stub, text)
    assert source.startswith(stub)
    assert run(source)[1] == 1
    assert [x[2:] or x[1:] for x in source.splitlines()[-len(text.splitlines()) :]] == text.split(
        "\n"
    )


def test_more_checks_of_ones_own_are_kept_and_nothing_after_them_is_missing(folder, course):
    stub = "".join(stub_of(course["01_self_attention"], "01.attention")["source"])
    text = ANSWER + "\nprint(result)\nseen = True"
    source = carried(folder, course, stub + "\nmine = result.mine(attention, library)", text)
    assert source.startswith(text)
    names, _ = run(source)
    assert names["seen"] and names["mine"] is names["attention"]


def test_an_untouched_or_emptied_cell_gets_the_new_stub(folder, course):
    stub = f"def attention(new):\n    ...\n\n{CALL}"
    assert carried(folder, course, stub, "".join(stub_of(course["01_self_attention"], "01.attention")["source"]) + "\n\n") == stub  # fmt: skip
    course["01_self_attention"]["cells"][0]["source"] += ["\nnew"]
    answer(folder / "01_self_attention_v2.ipynb", text="\n")
    copies.newer()
    assert stub_of(read(folder / "01_self_attention_v3.ipynb"), "01.attention").source == stub


def test_answers_without_a_place_are_kept_at_the_end_again_and_again(folder, course, capsys):
    copies.my_lessons()
    answer(folder / "01_self_attention.ipynb")
    cell = stub_of(course["01_self_attention"], "01.attention")
    cell["metadata"] = {"tags": ["exercise:01.other"]}
    cell["source"] = 'def other(q):\n    ...\n\nresult = checks.check("01.other", other)'
    copies.newer()
    new = read(folder / "01_self_attention_v2.ipynb")
    nbformat.validate(new)
    assert stub_of(new, "01.other").source == cell["source"]
    heading, kept = new.cells[-2:]
    assert heading.source.startswith("## From your copy before\n")
    assert uncommented(kept.source) == f"01.attention\n{ANSWER}"
    run(kept.source)
    assert "with your answers to 01.attention (at its end)." in capsys.readouterr().out

    answer(folder / "01_self_attention_v2.ipynb", "01.other", "def other(q):\n    return 1")
    cell["metadata"] = {"tags": ["exercise:01.third"]}
    course["01_self_attention"]["cells"][0]["source"] += ["\nnew"]
    copies.newer()
    again = read(folder / "01_self_attention_v3.ipynb")
    nbformat.validate(again)
    assert [x.source for x in again.cells[-3:-1]] == [heading.source, kept.source]
    assert uncommented(again.cells[-1].source) == "01.other\ndef other(q):\n    return 1"
    assert len(again.cells) == len(read(PATHS[1]).cells) + 3


def test_a_fresh_copy_does_not_hide_an_older_answer(folder, course):
    copies.my_lessons()
    answer(folder / "02_causal_attention.ipynb", "02.causal_mask", "mask = 1")
    answer(folder / "02_causal_attention.ipynb", "02.causal_attention", "old = 1")
    copies.fresh("02")
    answer(folder / "02_causal_attention_v2.ipynb", "02.causal_attention", "new = 1")
    course["02_causal_attention"]["cells"][0]["source"] += ["\nnew"]
    copies.newer()
    third = read(folder / "02_causal_attention_v3.ipynb")
    sources = [stub_of(third, f"02.{x}").source for x in ("causal_mask", "causal_attention")]
    assert sources == ["mask = 1", "new = 1"]


def test_of_two_answers_to_one_exercise_none_is_lost(folder, course):
    copies.my_lessons()

    def twice(notebook):
        i = notebook.cells.index(stub_of(notebook, "01.attention"))
        second = copy.deepcopy(notebook.cells[i])
        notebook.cells[i].source = f"# first\n{ANSWER}"
        second.update(source=f"# second\n{ANSWER}", id="copied")
        notebook.cells.insert(0, nbformat.v4.new_code_cell(f"# scratch\n{ANSWER}"))
        notebook.cells.insert(i + 2, second)

    edit(folder / "01_self_attention.ipynb", twice)
    course["01_self_attention"]["cells"][0]["source"] += ["\nnew"]
    copies.newer()
    new = read(folder / "01_self_attention_v2.ipynb")
    assert stub_of(new, "01.attention").source == f"# first\n{ANSWER}"  # tags before what has none
    assert [x.source[17:25] for x in new.cells[-2:]] == ["# second", "# scratc"]


def without_metadata(notebook):
    for cell in notebook.cells:
        cell.metadata = {}
    notebook.metadata = {}


def test_without_any_metadata_answers_are_found_by_what_they_check(folder, course, capsys):
    copies.my_lessons()
    answer(folder / "01_self_attention.ipynb")
    edit(folder / "01_self_attention.ipynb", without_metadata)
    capsys.readouterr()
    copies.my_lessons()
    assert capsys.readouterr().out == ""  # by its cells it is of today
    course["01_self_attention"]["cells"][3]["source"] = "new"
    copies.newer()
    assert stub_of(read(folder / "01_self_attention_v2.ipynb"), "01.attention").source == ANSWER
    assert len(contents(folder)) == len(NAMES) + 1
    copies.newer()
    assert len(contents(folder)) == len(NAMES) + 1


WHOLE = json.dumps(
    {"cells": [{"cell_type": "code", "metadata": {}, "source": CALL}], "metadata": {}}
)


DAMAGED = [
    b"",
    b"{}",
    b"[]",
    b"null",
    b"\xff\xfe",
    b"[" * 100_000,
    WHOLE[:-1].encode(),
    WHOLE.replace(' "metadata": {}}', ' "metadata": 7}').encode(),
    WHOLE.replace(json.dumps(CALL), "7").encode(),
    WHOLE.replace(json.dumps(CALL), "[7]").encode(),
    WHOLE.replace("01.attention", "\\ud800").encode(),
    WHOLE.replace('"metadata": {}, "source"', '"metadata": {"tags": 7}, "source"').encode(),
    WHOLE.replace('"metadata": {}, "source"', '"metadata": {"course": 7}, "source"').encode(),
]


def test_what_is_no_notebook_is_not_opened(tmp_path):
    path = tmp_path / "01_self_attention.ipynb"
    path.write_bytes(WHOLE.encode())
    assert copies.opened(path).answers
    for content in DAMAGED:
        path.write_bytes(content)
        assert copies.opened(path) is None, content[:80]


@pytest.mark.parametrize("content", [DAMAGED[6], None])  # None: a folder
def test_a_damaged_copy_is_told_of_and_stops_nothing(folder, course, content, capsys):
    copies.my_lessons()
    first = answer(folder / "01_self_attention.ipynb")
    copies.fresh("01")
    path = folder / "01_self_attention_v2.ipynb"
    path.unlink()
    path.write_bytes(content) if content is not None else path.mkdir()
    for lesson in ("01_self_attention", "02_causal_attention"):
        course[lesson]["cells"][0]["source"] += ["\nnew"]
    for do in (copies.my_lessons, copies.newer):
        capsys.readouterr()
        do()
        told = "01_self_attention_v2.ipynb cannot be read as a notebook; it stays as it is.\n"
        assert capsys.readouterr().out.count(told) == 1
    assert path.is_dir() if content is None else path.read_bytes() == content
    assert (folder / "01_self_attention.ipynb").read_bytes() == first
    new = read(folder / "01_self_attention_v3.ipynb")  # with the answers of the last whole one
    assert stub_of(new, "01.attention").source == ANSWER
    assert (folder / "02_causal_attention_v2.ipynb").exists()
    capsys.readouterr()
    copies.newer()
    assert capsys.readouterr().out == "Your lessons in ~/mine are as new as the course.\n"


@pytest.mark.parametrize("odd", [{"made_from": []}, {"made_from": {"a": 1}}, {"stub": 7}, None, {}])
def test_odd_marks_are_as_good_as_none(folder, course, odd):
    copies.my_lessons()

    def spoil(notebook):
        notebook.metadata.course = odd
        stub_of(notebook, "01.attention").update(source=ANSWER, metadata={"course": odd})

    edit(folder / "01_self_attention.ipynb", spoil)
    course["01_self_attention"]["cells"][0]["source"] += ["\nnew"]
    copies.newer()
    assert stub_of(read(folder / "01_self_attention_v2.ipynb"), "01.attention").source == ANSWER


def test_other_files_in_the_folder_are_nobodys_copies(folder, course):
    copies.my_lessons()
    others = ["-Copy1", "_v1", "_v0", "_v02", "_v", "_mine", "_v2_mine"]
    for other in others:
        (folder / f"01_self_attention{other}.ipynb").write_text("mine")
    course["01_self_attention"]["cells"][0]["source"] += ["\nnew"]
    copies.newer()
    assert read(folder / "01_self_attention_v2.ipynb")
    assert len(contents(folder)) == len(NAMES) + len(others) + 1


KILLED = """
import os, signal, sys
from itertools import count
from course_utils import copies

two = dict(list(copies.lessons().items())[:2])
for lesson in two.values():
    lesson["cells"] = lesson["cells"][:1] + list(filter(copies.exercise, lesson["cells"]))
    lesson["cells"][0]["source"] += [sys.argv[1]]
copies.lessons = lambda: two

ASKS = ("fspath", "getpid", "stat", "lstat", "scandir", "text_encoding")  # and changes nothing

def writes(called):
    if called.__qualname__ in ASKS:
        return False
    return called.__module__ in ("posix", "io", "_io") or type(called.__self__).__module__ == "_io"

for i in count():
    reader, writer = os.pipe()
    if os.fork() == 0:
        events = count()
        def watch(frame, event, called):
            if event in ("c_call", "c_return") and writes(called) and next(events) == i:
                os.write(writer, called.__qualname__.encode())
                os.kill(os.getpid(), signal.SIGKILL)
        sys.setprofile(watch)
        copies.newer()
        sys.setprofile(None)
        os._exit(0)
    os.close(writer)
    event = open(reader).read()
    os.wait()
    if not event:
        break
    folder = copies.place()
    print("killed at", event, *sorted(path.name for path in folder.glob("*")))
    for name in two:
        for path in copies.copies(name, folder):
            assert copies.opened(path), (event, path)
        if (new := folder / (name + sys.argv[2])).exists():
            new.unlink()
"""


@pytest.mark.parametrize("text, suffix", [("", ".ipynb"), ("\nnew", "_v2.ipynb")])
def test_killed_at_any_call_that_writes_no_half_copy_counts_as_there(folder, text, suffix):
    if text:
        copies.fresh("00")
        copies.fresh("01")
        answer(folder / "01_self_attention.ipynb")
    before = contents(folder) if text else {}
    env = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", KILLED, text, suffix]
    run = subprocess.run(command, env=env, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    kills = [x.split()[2:] for x in run.stdout.splitlines() if x.startswith("killed at")]
    assert {"open", "fsync", "replace", "TextIOWrapper.write"} <= {kill[0] for kill in kills}
    assert max(len(kill) for kill in kills) <= len(before) + 4  # no litter that grows
    assert before.items() <= contents(folder).items()
    copies.newer() if not text else copies.my_lessons()
    assert [x for x in folder.glob("*.ipynb") if not copies.opened(x)] == []


def test_a_folder_that_cannot_be_written_is_told_of_with_the_remedy(folder, monkeypatch):
    folder.parent.mkdir()
    folder.write_text("a file in the way")
    for do in (copies.my_lessons, copies.newer, lambda: copies.fresh("01")):
        with pytest.raises(
            OSError, match=r"your lessons cannot be written: .*File exists.*; set C"
        ):
            do()
    run = command(ROOT)
    assert run.returncode == 1 and run.stderr.count("\n") == 1 and "COURSE_FOLDER" in run.stderr
    assert folder.read_text() == "a file in the way"


def test_a_full_disk_leaves_no_half_copy(folder, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left on device"):
            copies.my_lessons()
    assert not list(folder.glob("*.ipynb"))
    copies.my_lessons()
    assert len(list(folder.glob("*.ipynb"))) == len(NAMES)


def test_lesson_00_says_what_is_newer_to_those_who_have_copies(folder, course, monkeypatch, capsys):
    assert list(environment.lessons()) == []
    environment.my_lessons()
    found = f"{len(NAMES)} of yours in ~/mine"
    assert list(environment.lessons()) == [("Lessons", found, "")]
    for name in ("03_multi_head_attention", "04_kv_cache"):
        course[name]["cells"][0]["source"] += ["\nnew"]
    (row,) = environment.lessons()
    assert row.found == found
    assert row.remedy.startswith("lessons 03 and 04 are newer in the course: ")
    capsys.readouterr()
    environment.report()
    assert f"Lessons: {found}. To do: lessons 03 " in capsys.readouterr().out
    environment.newer()
    environment.fresh("05")
    (row,) = environment.lessons()
    later = (f"{name}_v2.ipynb" for name in list(NAMES)[3:6])
    assert row == ("Lessons", "; ".join([found, *later]), "")
    monkeypatch.setenv("COURSE_PROGRESS", "off")
    assert list(environment.lessons()) == []


@pytest.mark.parametrize("prefix", [ROOT / ".venv", Path("/elsewhere")])
def test_the_remedy_is_makes_where_make_has_set_the_course_up(monkeypatch, prefix):
    monkeypatch.setattr(sys, "prefix", str(prefix))
    remedy = "make newer" if prefix.name == ".venv" else "environment.newer() in a cell"
    assert f": {remedy} brings" in copies.told(["01_self_attention"])


def test_the_command_line_does_the_same(folder, course):
    run = command(ROOT)
    assert (run.returncode, len(contents(folder))) == (0, len(NAMES))
    run = command(ROOT, "fresh", "04")
    assert run.returncode == 0 and (folder / "04_kv_cache_v2.ipynb").exists()
    run = command(ROOT, "newer")
    assert run.stdout == "Your lessons in ~/mine are as new as the course.\n"
    run = command(ROOT, "fresh", "12")
    assert run.returncode == 1 and run.stderr.startswith("there is no lesson '12'; there are 00, ")


def test_the_first_lesson_is_named_as_jupyterlab_would_find_it(folder, monkeypatch):
    copies.my_lessons()
    monkeypatch.chdir(folder.parent)
    assert copies.start() == "mine/00_start_here.ipynb"
    copies.fresh("00")
    assert copies.start() == "mine/00_start_here_v2.ipynb"
    monkeypatch.chdir(ROOT)
    with pytest.raises(
        ValueError, match=r"your lessons are in .*mine: unset COURSE_FOLDER, or run"
    ):
        copies.start()


def make(*arguments):
    env = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    command = ["make", "--old-file=.venv/.ready", *arguments]
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)


def test_make_fresh_asks_which_lesson():
    run = make("fresh")
    assert run.returncode != 0
    assert "Name a lesson, as in: make fresh LESSON=04" in run.stderr


def test_git_leaves_the_copies_alone():
    ignored = ["git", "check-ignore", "my_lessons/00_start_here.ipynb"]
    assert subprocess.run(ignored, cwd=ROOT, capture_output=True).returncode == 0


def test_in_colab_one_is_told_that_they_end_with_the_runtime(folder, monkeypatch, capsys):
    monkeypatch.setattr(record, "in_colab", lambda: True)
    copies.my_lessons()
    assert "end with this runtime" in capsys.readouterr().out
    monkeypatch.setattr(record, "DRIVE", folder.parent)
    copies.my_lessons()
    assert "runtime" not in capsys.readouterr().out
