"""INSTRUCTOR.md says what the lessons say: sections, minutes, questions, mistakes, commands."""

import ast
import contextlib
import inspect
import io
import re

import pytest
import torch
from lessons import PATHS, ROOT, code, printed, read

from course_utils import attention as library
from course_utils import checks, environment, geometry, progress, questions, widgets
from course_utils.checks.engine import exercises
from course_utils.experiments import results
from makers.slides import __main__ as slides

GUIDE = (ROOT / "INSTRUCTOR.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```\n", flags=re.M | re.S)
CODE = [source for kind, source in BLOCK.findall(GUIDE) if kind == "python"]
PROSE = re.sub(r"(?<=[^\n|])\n(?=[^\n|])", " ", BLOCK.sub("", GUIDE))  # a paragraph is one line
FRONT, *REST = re.split(r"^## (\d\d) · (.*)\n", PROSE, flags=re.M)
PAGES = {number: (title, text) for number, title, text in zip(*[iter(REST)] * 3, strict=True)}
LESSONS = {path.stem[:2]: read(path) for path in PATHS}
STEMS = {path.stem[:2]: path.stem for path in PATHS}
LEADS = ["Land this", "Demo", "Before each reveal", "Where they get stuck", "Late?"]
LEADS += ["Two-minute check"]
SESSIONS = {  # of each plan, how long its sessions are
    "50 minutes": [50],
    "90 minutes": [90],
    "Half a day": [210],
    "Two evenings": [120, 120],
    "Six weeks": [120] * 6,
}
page = pytest.mark.parametrize("number", LESSONS)


def minutes(number):
    return LESSONS[number].metadata.course.minutes


def sections(number):
    """The cells of each section of a lesson."""
    found, title = {}, ""
    for cell in LESSONS[number].cells:
        is_text = cell.cell_type == "markdown"
        begun = re.findall(r"^## (.*)$", cell.source, flags=re.M) if is_text else []
        for name in begun or [title]:
            found.setdefault(name, []).append(cell)
        title = begun[-1] if begun else title
    return found


def told(name):
    """The truth of a question as its lesson's stored outputs tell it."""
    said = "".join(map(printed, code(LESSONS[name[:2]])))
    ask = re.escape(questions.find(name)["ask"])
    return re.search(rf"^{ask}: (.*)\.$", said, flags=re.M)[1]


def parts(number):
    """The parts of a lesson's page, by the words in bold that they begin with."""
    _, *found = re.split(r"^\*\*(.+?)\.?\*\* ?", PAGES[number][1], flags=re.M)
    return dict(zip(found[::2], found[1::2], strict=True))


def rows(text, *titles):
    """The rows of all tables in a text that have these titles."""
    found, inside = [], False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        inside = line.startswith("|") and (inside or cells == [*titles])
        if inside and cells != [*titles] and not set(line) <= set("|- "):
            found.append(cells)
    return found


def in_italics(text):
    return re.findall(r"(?<!\*)\*(?!\*)([^*\n]+)\*(?!\*)", re.sub("`.*?`", "", text))


def named(texts):
    """The names in `...` of these texts."""
    return re.findall(r"`([^`\n]+)`", texts)


# The page of a lesson.


def test_every_lesson_has_a_page_in_order():
    assert list(PAGES) == list(LESSONS)


@page
def test_a_page_has_its_form(number):
    title, text = PAGES[number]
    assert f"# {number} · {title}" == LESSONS[number].cells[0].source.splitlines()[0]
    first = re.fullmatch(r"\*(\d+) minutes alone\.\* Slides: `(.*)`", text.strip().split("\n")[0])
    assert re.search(rf"\b{first[1]} minutes", LESSONS[number].cells[0].source)
    assert first[2] == f"slides/{STEMS[number]}.html"
    assert list(parts(number)) == LEADS
    assert re.search(r"Right: .* Not yet: ", parts(number)["Two-minute check"])


@page
def test_its_questions_are_the_lesson_s_with_their_truth_and_another_place_to_expect(number):
    found = rows(PAGES[number][1], "guess", "ask", "it is", "expect", "then say")
    assert [row[0] for row in found] == [f"`{x}`" for x in questions.questions() if x[:2] == number]
    for name, _, it_is, expect, say in found:
        name = name.strip("`")
        question = questions.find(name)
        assert it_is == told(name), name
        others = {questions.words(question, place) for place in questions.places(question)}
        others = others - {it_is} if "choices" in question else {"too low", "too high"}
        assert expect.partition(": *")[0] in others, f"{name}: expect one of {others}"
        assert 1 <= len(say.split()) <= 20, name


@page
def test_its_exercises_are_the_lesson_s_with_mistakes_by_their_names(number):
    found = rows(PAGES[number][1], "exercise", "named mistake", "the sentence that unblocks")
    names = [row[0].strip("`") for row in found]
    assert list(dict.fromkeys(names)) == [x for x in exercises() if x[:2] == number]
    assert all(2 <= names.count(name) <= 4 for name in names)
    for name, (_, mistake, say) in zip(names, found, strict=True):
        assert mistake.strip("*") in exercises()[name].mistakes, mistake
        assert 1 <= len(say.split()) <= 20, say


@page
def test_italics_are_sections_or_mistakes_that_can_be_met_by_then(number):
    known = set(sections(number))
    for name, exercise in exercises().items():
        known |= exercise.mistakes.keys() if name[:2] <= number else set()
    assert set(in_italics(PAGES[number][1].strip().partition("\n")[2])) <= known


@page
def test_what_to_skip_has_the_minutes_of_its_section(number):
    cuts, never = parts(number)["Late?"].split("Never skip ")
    skipped = re.findall(r"\*([^*]+)\* \((\d+) min\)", cuts)
    assert skipped and {title: minutes(number)[title] for title, _ in skipped} == {
        title: int(told) for title, told in skipped
    }
    assert set(in_italics(never)) and not set(in_italics(never)) & set(dict(skipped))


def sliders(number, title):
    """What a section's sliders are called, and the places they have: {label: texts}."""
    for cell in sections(number)[title]:
        for x in cell.get("outputs", []):
            if book := re.match(r"(.+?): (.+?)\. At ", x.get("data", {}).get("text/plain", "")):
                yield book[1], book[2].split(", ")
        for name in re.findall(r'^guess\("(.*?)"', cell.source, flags=re.M):
            question = questions.find(name)
            places = questions.places(question)
            yield question["ask"], [questions.words(question, x) for x in places]
        for kind in re.findall(r"widgets\.(Roof|Step)\(", cell.source):
            for control in getattr(widgets, kind)(results.machines()).controls.values():
                yield control["label"], control["texts"]


def moved(text, there):
    """The sliders in bold in a text, each with the places after it, in bold, too."""
    found = {}
    for bold in re.findall(r"\*\*(.+?)\*\*", text):
        if bold in there:
            places = found[bold] = []
        else:
            assert found and bold in there[[*found][-1]], f"{bold}: no slider, and no place of one"
            places.append(bold)
    return found


@page
def test_the_demo_moves_sliders_that_are_there_to_places_they_have(number):
    demo = parts(number)["Demo"]
    (title,) = set(in_italics(demo)) & sections(number).keys()
    found = moved(demo, dict(sliders(number, title)))
    assert found and all(len(places) >= 2 for places in found.values())


# The plans.


def planned(cell):
    """The sections in the last cell of a row, and their minutes: {(lesson, title): minutes}."""
    found = {}
    for number, rest in re.findall(r"(\d\d) · (.*?)(?:;|$)", cell):
        named = re.findall(r"\*(.+?)\*(?: \((\d+) of (\d+))?", rest)
        assert {title for title, *_ in named} <= minutes(number).keys(), cell
        if rest.startswith("all"):
            every = minutes(number).keys() - {title for title, *_ in named}
            named = [(title, "", "") for title in every]
        for title, given, of in named:
            assert int(of or minutes(number)[title]) == minutes(number)[title], title
            found[number, title] = int(given or minutes(number)[title])
    return found


def text_of(plan):
    return re.search(rf"^### {plan}\n(.*?)(?=^##)", FRONT, flags=re.M | re.S)[1]


def plan(name):
    return rows(text_of(name), "from", "minutes", "what", "notebooks")


def test_these_are_the_plans():
    _, text = re.split(r"^## Plans$", FRONT, flags=re.M)
    assert re.findall(r"^### (.*)$", text.split("\n## ")[0], flags=re.M) == list(SESSIONS)


@pytest.mark.parametrize("name", SESSIONS)
def test_the_minutes_of_a_plan_are_those_of_its_sections_and_fit_into_its_sessions(name):
    ends, clock = [], None
    for start, told, what, notebooks in plan(name):
        if int(start) == 0 and clock != 0:
            ends, clock = [*ends, 0], 0
        of = planned(notebooks)
        right = sum(of.values()) + sum(map(int, re.findall(r"\+ (\d+) ", what)))
        assert int(start) == clock, f"{name}: this row begins at minute {clock}: {what}"
        assert int(told) == right, f"{name}: from minute {start} it takes {right}: {what} {of}"
        clock = ends[-1] = clock + right
    assert len(ends) == len(SESSIONS[name])
    assert all(end <= most for end, most in zip(ends, SESSIONS[name], strict=True)), ends


def test_fifty_minutes_have_their_slots():
    assert [int(row[0]) for row in plan("50 minutes")] == [0, 5, 15, 30, 45]


@pytest.mark.parametrize("name", SESSIONS)
def test_a_row_names_cells_and_sliders_of_the_sections_it_shows(name):
    for _, _, what, notebooks in plan(name):
        shown, there = set(), {}
        for where in planned(notebooks):
            shown |= {cell.id for cell in sections(where[0])[where[1]]}
            there |= sliders(*where)
        cells = {x for x in named(what) if re.fullmatch(r"\d\d-\w+", x)}
        assert cells <= shown, f"{name}: {cells - shown} not in {notebooks}"
        moved(re.sub(r"^\*\*(Evening|Week) \d\.\*\*", "", what), there)


def test_the_slides_it_names_are_there():
    pages = map(slides.page, LESSONS.values())
    there = {name for page in pages for name in re.findall('<section id="(.*?)">', page)}
    wanted = re.findall(r"`(?:slides/.*?#/)?(\d\d-\d\d(?:-\d)?)`", GUIDE)
    assert len(wanted) > 30
    assert [name for name in wanted if name not in there] == []


@pytest.mark.parametrize("name", SESSIONS)
def test_what_goes_first_is_in_the_plan(name):
    first = re.search(r"\*\*Goes first:\*\* (.*?)(?=\*\*|\n)", text_of(name))[1]
    shown = {title for *_, notebooks in plan(name) for _, title in planned(notebooks)}
    assert set(in_italics(first)) <= shown


# All of it.


def test_every_name_exists():
    cells = {cell.id for notebook in LESSONS.values() for cell in notebook.cells}
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?:^|`)make ([a-z-]+)", GUIDE, flags=re.M):
        assert re.search(rf"^{target}:", makefile, flags=re.M), f"make {target}"
    for name in named(PROSE):
        if re.fullmatch(r"\d\d-\w+", name):
            assert name in cells, name
        elif re.fullmatch(r"\d\d\.\w+", name):
            assert name in exercises() or name in questions.questions(), name
        elif re.fullmatch(r"[\w./-]+(/|\.(md|py|csv|json|yml))", name):
            assert name in ("slides/", "site/") or (ROOT / name).exists(), name
        elif module := re.fullmatch(r"python -m ([\w.]+)", name):
            assert (ROOT / f"{module[1].replace('.', '/')}.py").exists(), name
    for name in re.findall(r"slides/(\w+)\.html", GUIDE):
        assert name in {*STEMS.values(), "index"}, name


def calls():
    """Every call of the course's functions in the guide, as Python reads it."""
    for source in [*CODE, *named(PROSE)]:
        with contextlib.suppress(SyntaxError):
            yield from (x for x in ast.walk(ast.parse(source)) if isinstance(x, ast.Call))


ROOMS = {"checks": checks, "environment": environment, "geometry": geometry, "widgets": widgets}
ROOMS |= {"progress": progress, "library": library}


def test_every_call_is_one_that_the_course_understands():
    found = []
    for call in calls():
        function = call.func
        if isinstance(function, ast.Attribute) and getattr(function.value, "id", "") in ROOMS:
            function = getattr(ROOMS[function.value.id], function.attr)
            names = [x.arg for x in call.keywords]
            inspect.signature(function).bind(*call.args, **dict.fromkeys(names))
            found.append(function)
            if function is progress.class_guesses:
                questions.find(ast.literal_eval(call.args[0]))
    assert {progress.class_guesses, progress.class_summary, progress.export} <= set(found)
    for room, name in re.findall(rf"`({'|'.join(ROOMS)})\.(?!yml)(\w+)`", GUIDE):
        assert hasattr(ROOMS[room], name), f"{room}.{name}"


def test_truths_told_beside_a_question_are_those_of_the_lessons():
    beside = re.findall(r"`(\d\d\.\w+)` \(([^)]+)\)", FRONT)
    assert len(beside) >= 8
    assert dict(beside) == {name: told(name) for name, _ in beside}


def test_what_is_broken_on_purpose_prints_what_is_said():
    (source,) = [x for x in CODE if "torch" in x]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(source, {"torch": torch, "library": library})
    assert f"It prints `{said.getvalue().strip()}`" in FRONT
    for mistake in re.findall(r"\(\*(.+?)\*\)", FRONT):
        assert any(mistake in x.mistakes for x in exercises().values()), mistake


def test_the_sample_answers_have_their_numbers_from_the_lessons():
    sample = re.search(r"^\*\*Excellent.*?(?=^## )", FRONT, flags=re.M | re.S)[0]
    cells = [cell for notebook in LESSONS.values() for cell in notebook.cells]
    lessons = " ".join(x.source + (printed(x) if "outputs" in x else "") for x in cells)
    numbers = re.findall(r"\d+\.\d+", sample)
    assert len(numbers) >= 5
    assert [x for x in numbers if not re.search(rf"\b{re.escape(x)}\b", lessons)] == []


def test_the_guide_is_led_to():
    assert "](INSTRUCTOR.md)" in (ROOT / "README.md").read_text(encoding="utf-8")
