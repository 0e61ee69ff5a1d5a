"""Every lesson as stored: its hygiene, its exercises, its quiz; browser/ runs it."""

import itertools
import json
import re
from pathlib import Path

import pytest
from lessons import PATHS, ROOT, code, read
from nbconvert import HTMLExporter

from course_utils import data_path, questions
from course_utils.checks.engine import exercises
from makers import publish

LESSONS = {path.stem: read(path) for path in PATHS}
lesson = pytest.mark.parametrize("name", LESSONS)


def prose(notebook):
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


def test_there_are_lessons_and_their_names_count_up():
    assert [name[:2] for name in LESSONS] == [f"{i:02d}" for i in range(len(LESSONS))]
    assert len(LESSONS) >= 2


@lesson
def test_it_was_run_in_order_and_without_errors(name):
    cells = code(LESSONS[name])
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [o for cell in cells for o in cell.outputs if o.output_type == "error"]
    assert not [o for cell in cells for o in cell.outputs if o.get("name") == "stderr"]


@lesson
def test_it_is_small_and_stores_nothing_private(name):
    path = ROOT / "notebooks" / f"{name}.ipynb"
    text = path.read_text(encoding="utf-8")
    assert path.stat().st_size < 1_000_000
    assert "widgets" not in LESSONS[name].metadata
    assert "widget-view+json" not in text  # without its state it shows as an error in JupyterLab
    assert not re.search(r"hf_[A-Za-z0-9]{20,}", text)
    assert not re.search(r'["\s\'](/(home|root|tmp|Users|work|opt|usr)/|[A-Z]:\\\\)', text)
    assert not [cell for cell in code(LESSONS[name]) if "execution" in cell.metadata]


@lesson
def test_the_set_up_cell_is_the_same_everywhere(name):
    colab, set_up = code(LESSONS[name])[:2]
    assert colab.source == publish.set_up_cell(*publish.settings())
    assert not colab.outputs  # outside Colab it does nothing, and in JupyterLab it is folded
    assert colab.metadata.jupyter.source_hidden
    assert set_up.source == code(LESSONS["00_start_here"])[1].source


@lesson
def test_the_badge_is_there_when_the_course_is_published(name):
    _, published = publish.settings()
    badges = publish.badges(published, f"{name}.ipynb")
    assert badges in LESSONS[name].cells[0].source
    assert prose(LESSONS[name]).count("colab.research.google.com") == (2 if published else 0)


@lesson
def test_shell_commands_stand_alone(name):
    """Colab's IPython 7.34, on Python 3.12 and newer, does not understand `x = !command`."""
    for cell in code(LESSONS[name]):
        assert not re.search(r"=\s*[!%]\w", cell.source), cell.source


@lesson
def test_every_picture_has_alt_text(name):
    for cell in code(LESSONS[name]):
        for output in cell.outputs:
            if "image/png" in output.get("data", {}):
                assert len(output.metadata["image/png"]["alt"]) > 20
            assert "<img" not in output.get("data", {}).get("text/html", "")
    for alt in re.findall(r"!\[(.*?)\]\(", prose(LESSONS[name])):
        assert len(alt) > 20


@lesson
def test_as_a_web_page_every_picture_has_its_alt_text_and_nothing_needs_a_script(name):
    page, _ = HTMLExporter(template_name="basic").from_notebook_node(LESSONS[name])
    pictures = re.findall(r"<img .*?>", page, flags=re.S)
    assert pictures and all(re.search(r'alt="[^"]{20,}"', tag) for tag in pictures)
    assert "<script" not in page
    assert page.count("<details>") >= (1 if name[:2] == "00" else 15)


@lesson
def test_links_lead_somewhere(name):
    anchors = {
        (lesson, heading.strip().replace(" ", "-"))
        for lesson, notebook in LESSONS.items()
        for heading in re.findall(r"^#+ (.*)$", prose(notebook), flags=re.M)
    }
    targets = re.findall(r"\]\((.*?)\)", prose(LESSONS[name]))
    for target in targets:
        if re.fullmatch(r"https://(arxiv\.org/abs/\d{4}\.\d{5}|github\.com/\S+/\d+)", target):
            continue  # a paper, an issue: no test reaches for the network
        file, _, anchor = target.partition("#")
        assert (ROOT / "notebooks" / file).exists(), target
        assert not anchor or (Path(file).stem, anchor) in anchors, target


def test_the_map_of_lesson_00_and_the_readme_lead_to_every_lesson():
    for page, start in (
        (prose(LESSONS["00_start_here"]), ""),
        ((ROOT / "README.md").read_text(encoding="utf-8"), "notebooks/"),
    ):
        for name in list(LESSONS)[1:]:
            assert re.search(
                rf"^\| {name[:2]} \| \[.*\]\({start}{name}\.ipynb\) \|", page, flags=re.M
            )


def rows(page):
    """The rows of every table of a page, without their links: {first cell: the others}."""
    plain = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", page)
    lines = re.findall(r"^\| (.*) \|$", plain, flags=re.M)
    return {first: others for first, *others in (line.split(" | ") for line in lines)}


def test_lesson_00_and_the_readme_ask_the_same_questions():
    lesson = rows(prose(LESSONS["00_start_here"]))
    readme = rows((ROOT / "README.md").read_text(encoding="utf-8"))
    assert {name[:2]: lesson[name[:2]] for name in LESSONS} == {
        name[:2]: readme[name[:2]] for name in LESSONS
    }


@lesson
def test_headings_go_down_one_level_at_a_time(name):
    levels = [len(marks) for marks in re.findall(r"^(#+) ", prose(LESSONS[name]), flags=re.M)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


@lesson
def test_minutes_are_given_for_every_section(name):
    sections = re.findall(r"^## (.*)$", prose(LESSONS[name]), flags=re.M)
    minutes = LESSONS[name].metadata.course.minutes
    assert set(minutes) == set(sections)
    told = int(re.search(r"(\d+) minutes", prose(LESSONS[name])).group(1))
    assert abs(sum(minutes.values()) - told) <= 5


@lesson
def test_it_is_short(name):
    assert len(publish.BADGE.sub("", prose(LESSONS[name])).split()) < 1800
    assert max(len(cell.source.splitlines()) for cell in code(LESSONS[name])) <= 15
    for cell in code(LESSONS[name])[1:]:
        assert max(map(len, cell.source.splitlines())) <= 100
    guesses = [cell for cell in code(LESSONS[name]) if cell.source.startswith("guess(")]
    assert len(LESSONS[name].cells) - len(guesses) <= 46


@lesson
def test_it_has_the_exercises_of_its_number_and_each_is_unsolved(name):
    tags = [t for cell in code(LESSONS[name]) for t in cell.metadata.get("tags", [])]
    there = [tag.removeprefix("exercise:") for tag in tags if tag.startswith("exercise:")]
    assert there == [exercise for exercise in exercises() if exercise[:2] == name[:2]] != []
    for cell in code(LESSONS[name]):
        for tag in cell.metadata.get("tags", []):
            if tag.startswith("exercise:"):
                assert "Not started" in cell.outputs[0].data["text/html"]


@lesson
def test_every_guess_is_asked_once_and_its_truth_told_once_after_it(name):
    cells = code(LESSONS[name])
    asked, told = (
        [(x, i) for i, cell in enumerate(cells) for x in re.findall(call, cell.source, flags=re.M)]
        for call in (r'^guess\("(.*?)"\)$', r'\btruth\("(.*?)"')
    )
    wanted = [x for x in questions.questions() if x[:2] == name[:2]]
    assert [x for x, _ in asked] == wanted != []
    assert sorted(x for x, _ in told) == sorted(wanted)
    assert all(i < dict(told)[x] for x, i in asked)
    for i in {i for _, i in asked}:
        assert all(line.startswith("guess(") for line in cells[i].source.splitlines())


@pytest.mark.parametrize("name", questions.questions())
def test_a_question_is_short_and_has_places_to_choose_from(name):
    question = questions.find(name)
    assert 3 <= len(question["ask"]) <= 60
    form = question.keys() - {"ask", "text", "truth"}
    assert form in ({"choices"}, {"values"}, {"from", "to", "step"})
    assert form != {"choices"} or "text" not in question
    places = questions.places(question)
    read = [questions.words(question, place) for place in places]
    assert 2 <= len(places) == len(set(read)) <= 101
    assert all(len(text) <= 60 for text in read)
    if form == {"choices"}:
        assert all(isinstance(place, str) for place in places)
        assert question.get("truth", places[0]) in places
    else:
        assert places == sorted(places)
        assert question.get("to", places[-1]) == places[-1]


QUIZZES = sorted(path.stem for path in data_path("quizzes").glob("*.json"))


def test_every_lesson_but_the_first_has_a_quiz():
    assert [name[:2] for name in LESSONS][1:] == QUIZZES
    for name in list(LESSONS)[1:]:
        assert f'checks.quiz("{name[:2]}")' in [cell.source for cell in code(LESSONS[name])]


@pytest.mark.parametrize("number", QUIZZES)
def test_a_quiz_has_one_right_answer_a_question_and_explains_them_all(number):
    questions = json.loads(data_path("quizzes", f"{number}.json").read_text(encoding="utf-8"))
    assert 4 <= len(questions) <= 6
    for question in questions:
        answers = question["answers"]
        assert sum(answer["right"] for answer in answers) == 1
        assert len({answer["why"] for answer in answers}) == len(answers) >= 3
        assert all(len(answer["why"]) > 25 for answer in answers)


@pytest.mark.parametrize("number", QUIZZES)
def test_the_right_answer_is_not_always_in_the_same_place(number, capsys):
    (notebook,) = [LESSONS[name] for name in LESSONS if name[:2] == number]
    (cell,) = [cell for cell in code(notebook) if "checks.quiz" in cell.source]
    page = cell.outputs[0].data["text/html"]
    places = [
        re.findall(r"<b>(Right|No)\.</b>", part).index("Right")
        for part in re.split(r"<p style=[^>]*>\d\. ", page)[1:]
    ]
    assert len(set(places)) > 1
