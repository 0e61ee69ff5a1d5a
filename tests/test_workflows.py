"""What runs on GitHub is what runs by hand: its commands exist, its actions are pinned."""

import re
import subprocess

import pytest
import yaml
from lessons import ROOT
from packaging.specifiers import SpecifierSet

from makers import publish

PATHS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in PATHS}
STEPS = [
    (name, step)
    for name, workflow in WORKFLOWS.items()
    for job in workflow["jobs"].values()
    for step in job["steps"]
]
RUN = [(name, step["run"]) for name, step in STEPS if "run" in step]


def on(name):
    return WORKFLOWS[name][True]  # YAML takes on for yes


@pytest.mark.parametrize("name, step", [(n, s["uses"]) for n, s in STEPS if "uses" in s])
def test_an_action_is_githubs_own_and_pinned(name, step):
    assert re.fullmatch(r"actions/[a-z-]+@v\d+\.\d+\.\d+", step)


def test_one_action_has_one_version():
    used = {step["uses"] for _, step in STEPS if "uses" in step}
    assert len({action.partition("@")[0] for action in used}) == len(used)


@pytest.mark.parametrize("name, command", RUN)
def test_a_command_can_be_run_by_hand(name, command):
    program, *arguments = command.split()
    if program == "make":
        plan = ["make", "--dry-run", *arguments]
        subprocess.run(plan, cwd=ROOT, check=True, capture_output=True)
    elif program in ("python", "${{"):
        files = [x for x in arguments if x.endswith((".py", ".ipynb"))]
        assert files and all((ROOT / file).exists() for file in files)
    else:
        assert program in ("sudo", "echo")


def test_github_runs_the_tests_that_run_here():
    here = re.findall(r"^make .+$", (ROOT / ".ci" / "run").read_text(), flags=re.M)
    there = [re.sub(r" PYTHON=\w+", "", command) for name, command in RUN if name == "test"]
    assert here == [command for command in there if command.startswith("make")] != []


def test_the_oldest_and_the_newest_python_are_tried():
    versions = WORKFLOWS["test"]["jobs"]["linux"]["strategy"]["matrix"]["python"]
    requires = SpecifierSet(publish.pyproject()["project"]["requires-python"])
    oldest, newest = (int(version.removeprefix("3.")) for version in versions)
    assert oldest < newest and f"3.{oldest}" in requires and f"3.{oldest - 1}" not in requires


def test_a_learner_on_macos_and_windows_is_set_up_and_runs_a_lesson():
    job = WORKFLOWS["test"]["jobs"]["elsewhere"]
    systems = {x["system"].partition("-")[0] for x in job["strategy"]["matrix"]["include"]}
    assert systems == {"macos", "windows"}
    set_up, lesson = (step["run"] for step in job["steps"] if "run" in step)
    assert set_up == "python start.py set-up" and "-m pytest notebooks/" in lesson


def test_the_site_is_published_from_a_tag_of_the_version():
    (pattern,) = on("pages")["push"]["tags"]
    version, _ = publish.settings()
    assert set(on("pages")) == {"push"} and set(on("pages")["push"]) == {"tags"}
    assert pattern == "v*" and publish.place("owner/name", f"v{version}", version)
    uploaded = [s["with"]["path"] for n, s in STEPS if n == "pages" and "path" in s.get("with", {})]
    assert uploaded == ["site"]  # where make site puts it


def test_once_a_week_nothing_is_pinned_and_links_are_tried():
    assert on("weekly")["schedule"] and "workflow_dispatch" in on("weekly")
    commands = [command for name, command in RUN if name == "weekly"]
    unpin = commands.index("echo > constraints.txt")
    assert commands[unpin + 1 : unpin + 3] == [
        "make PYTHON=python constraints",
        "make PYTHON=python test",
    ]
    assert "make PYTHON=python links" in commands


def test_there_is_one_version_number():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = publish.pyproject()["project"]
    assert cited["version"] == project["version"]
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()
    assert " AND ".join(cited["license"]) == project["license"]
