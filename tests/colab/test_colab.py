"""Every lesson as in Google Colab: its versions, one notebook, a wheel or a tag, no clone."""

import ast
import itertools
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from lessons import COLAB_BIN, MOVE_EVERYTHING, PATHS, ROOT, code, moves, printed, read
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from course_utils.figures import WIDGET
from makers import publish

VERSION, _ = publish.settings()
WHEEL = f"course_utils-{VERSION}-py3-none-any.whl"
IMAGE = {
    canonicalize_name(name): version
    for name, version in re.findall(
        r"^(\S+)==(\S+)$", (ROOT / "tests" / "colab" / "versions.txt").read_text(), flags=re.M
    )
}
WHERE = "import course_utils\nprint(course_utils.__file__)"
lesson = pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)


def installed():
    """{name: version} of what is in Colab's environment."""
    listed = subprocess.run(
        [COLAB_BIN / "pip", "list", "--format=json"], capture_output=True, check=True
    )
    return {entry["name"]: entry["version"] for entry in json.loads(listed.stdout)}


def with_the_wheel(path):
    """A lesson that installs the wheel, in a published copy, too."""
    notebook = read(path)
    code(notebook)[0].source = publish.set_up_cell(VERSION, "")
    return notebook


def shown(cell):
    """What a cell shows as text, the pieces of a stream put together."""
    pieces = ["".join(o.text for o in cell.outputs if o.get("name") == "stdout")]
    return pieces + [o.data.get("text/plain") for o in cell.outputs if "data" in o]


@lesson
def test_a_lesson_runs_from_a_folder_with_the_notebook_and_the_wheel(path, colab, wheel):
    shutil.copy(path, colab.content)
    shutil.copy(wheel, colab.content)
    before = installed()
    notebook = with_the_wheel(path)
    notebook.cells += [nbformat.v4.new_code_cell(WHERE), nbformat.v4.new_code_cell(MOVE_EVERYTHING)]
    colab.run(notebook)

    for now, stored in zip(code(notebook), code(read(path)), strict=False):
        assert not [o for o in now.outputs if o.get("name") == "stderr"], now.source
        if "nbval-ignore-output" not in now.metadata.get("tags", []):
            assert shown(now) == shown(stored), now.source
    assert moves(notebook) >= 4
    assert Path(printed(notebook.cells[-2]).strip()).is_relative_to(ROOT / ".venv-colab")

    views = [o for cell in code(notebook) for o in cell.outputs if WIDGET in o.get("data", {})]
    assert views
    for view in views:  # without this Colab does not load the widget's code
        assert view.metadata[WIDGET]["colab"]["custom_widget_manager"]["url"]
        words = view.data["text/plain"]  # and for where no widget can live
        assert len(words) > 20 and " object at " not in words and "(" not in words.split()[0]
    flipbooks = sum(cell.source.count("Flipbook(") for cell in code(notebook))
    assert sum("image/png" in view.data for view in views) == flipbooks

    install, *others = colab.requests()
    assert install.startswith("system pip install -q --no-deps --force-reinstall ")
    assert set(others) <= {"custom widget manager", "secret HF_TOKEN"}
    assert installed() == before | {"course_utils": VERSION}
    assert sorted(file.name for file in colab.content.iterdir()) == sorted([path.name, wheel.name])


def test_where_no_widget_can_live_there_are_pictures_and_text(colab, wheel):
    shutil.copy(wheel, colab.content)
    (path,) = (path for path in PATHS if path.stem.startswith("04"))  # a flipbook, the calculator
    notebook = with_the_wheel(path)
    notebook.cells.insert(2, nbformat.v4.new_code_cell("%env COURSE_OUTPUTS=stored"))
    colab.run(notebook)
    outputs = [o for cell in code(notebook) for o in cell.outputs if "data" in o]
    assert not [o for o in outputs if WIDGET in o.data]
    assert [
        o for o in outputs if "image/png" in o.data and o.data["text/plain"].startswith("step:")
    ]
    assert [o for o in outputs if o.data["text/plain"].startswith("KV cache of Llama-3 8B: ")]


def set_up(colab, published="", then="1"):
    """What the set-up cell, run alone, says; whether the course is there; what `then` prints.

    If it fails it says the error; the version is None, and nothing is printed.
    """
    cells = [publish.set_up_cell(VERSION, published), then]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(x) for x in cells])
    colab.run(notebook, allow_errors=True)
    errors = [o.evalue for o in notebook.cells[0].outputs if o.output_type == "error"]
    said = errors[0] if errors else printed(notebook.cells[0])
    return said, installed().get("course_utils"), printed(notebook.cells[1])


def test_twice_is_harmless(colab, wheel):
    shutil.copy(wheel, colab.content)
    said, version, where = set_up(colab, then=WHERE)
    assert (said, version) == ("", VERSION)
    again = f"{WHERE}\n{publish.set_up_cell(VERSION, '')}\n{WHERE}"
    assert set_up(colab, then=again) == ("", VERSION, 2 * where)


def test_a_rebuilt_wheel_of_the_same_version_is_installed_again(colab, wheel):
    shutil.copy(wheel, colab.content)
    spoil = "import pathlib\npathlib.Path(course_utils.__file__).write_text('spoilt')"
    assert set_up(colab, then=f"{WHERE}\n{spoil}")[0] == ""
    look = "import course_utils\nprint(course_utils.SENTENCE)"
    assert set_up(colab, then=look)[2].startswith("one key opens many doors")


@pytest.mark.parametrize(
    "other", ["course_utils-0.0.1-py3-none-any.whl", WHEEL.replace(".whl", " (1).whl")]
)
def test_another_wheel_is_not_taken_and_the_right_one_is_asked_for(colab, wheel, other):
    shutil.copy(wheel, colab.content / other)
    said, version, _ = set_up(colab, "")
    assert version is None
    assert said == "Upload that file (your instructor has it), and run this again."
    assert f" ./{WHEEL}\n" in publish.set_up_cell(VERSION, "")  # the line above says which


def git(folder, *arguments):
    who = ["-c", "user.name=a founder", "-c", "user.email=founder@example.invalid"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def github_is(address):
    """Variables with which git goes there when it is sent to https://github.com/."""
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{address}.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
    }


@pytest.fixture
def github(tmp_path, colab):
    """A folder that git takes for https://github.com/: what is here is in it, as owner/name@v1."""
    repository = tmp_path / "github" / "owner" / "name"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, files.split("\0")):
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, repository / name)
    git(repository, "init", "--quiet")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "Publish")
    git(repository, "tag", "v1")
    colab.env |= github_is(f"{repository.parents[1]}/")


def test_without_a_wheel_the_tag_is_installed(colab, github):
    before = installed()
    said, version, where = set_up(colab, "owner/name@v1", then=WHERE)
    assert (said, version) == ("", VERSION)
    assert Path(where.strip()).is_relative_to(ROOT / ".venv-colab")
    assert installed() == before | {"course_utils": VERSION}


@pytest.mark.parametrize("published", ["owner/name@v2", "nobody/nothing@v1"])
def test_a_tag_that_is_not_there_is_named_with_the_remedy(colab, github, published):
    said, version, _ = set_up(colab, published)
    repository, tag = published.split("@")
    assert version is None
    assert said == f"Is there a network, and a tag {tag} in {repository}? Then run it again."


def test_without_a_network_the_remedy_is_the_same(colab):
    colab.env |= github_is("http://127.0.0.1:9/")  # where nobody answers
    said, version, _ = set_up(colab, "owner/name@v1")
    assert version is None
    assert said.startswith("Is there a network, and a tag v1 in owner/name?")


def imported():
    """The top-level modules that lessons and library import, Python's own and ours left out."""
    sources = [path.read_text() for path in (ROOT / "course_utils").rglob("*.py")]
    for path in PATHS:
        sources.append("\n".join(cell.source for cell in code(read(path))[1:]))  # all of it Python
    names = set()
    for node in itertools.chain.from_iterable(ast.walk(ast.parse(source)) for source in sources):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.partition(".")[0])
    return names - sys.stdlib_module_names - {"course_utils"}


def test_all_that_is_imported_is_in_the_image():
    ask = "import json, importlib.metadata as m; print(json.dumps(m.packages_distributions()))"
    answer = subprocess.run([COLAB_BIN / "python", "-c", ask], capture_output=True, check=True)
    brought_by = json.loads(answer.stdout)
    assert {"torch", "pandas", "anywidget", "huggingface_hub"} <= imported()
    for module in imported() - {"torch"}:  # Colab has its own
        assert {canonicalize_name(name) for name in brought_by[module]} & IMAGE.keys(), module


def test_the_image_has_versions_that_the_course_supports():
    for requirement in map(Requirement, publish.pyproject()["project"]["dependencies"]):
        if requirement.name != "jupyterlab":  # Colab is one of its own
            version = (IMAGE | {"torch": "2.11.0"})[canonicalize_name(requirement.name)]
            assert requirement.specifier.contains(version), requirement


def test_the_environment_is_the_image(colab):
    found = {canonicalize_name(name): version for name, version in installed().items()}
    assert IMAGE.items() <= found.items()
    # Of click the lists have one that is too old for huggingface_hub, of jedi none.
    assert found.keys() - IMAGE.keys() == {"torch", "pip", "setuptools", "click", "jedi"}
