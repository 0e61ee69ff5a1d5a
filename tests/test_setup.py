"""What a stranger's machine relies on: pinned versions, no CUDA by accident, data in the wheel."""

import ast
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import torch
from lessons import ROOT, build_wheel
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

import course_utils
import start

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENTS = [
    Requirement(line)
    for lines in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    for line in lines
]
PINS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())


def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_installed_package_is_pinned_at_its_version():
    pins = {plain(name): version for name, version in PINS.items()}
    for distribution in metadata.distributions():
        name = plain(distribution.metadata["Name"])
        if name in ("pip", "setuptools", "wheel", plain(PROJECT["name"])):
            continue
        if name.startswith(("nvidia", "cuda", "triton", "appnope")):  # torch and macOS bring them
            continue
        assert pins.get(name) == distribution.version.removesuffix("+cpu"), name


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_every_pin_is_in_the_range_of_pyproject(requirement):
    pins = {plain(name): version for name, version in PINS.items()}
    assert requirement.specifier.contains(pins[plain(requirement.name)])


def test_environment_yml_and_pyproject_agree():
    lines = (ROOT / "environment.yml").read_text().splitlines()
    items = [line.strip()[2:] for line in lines if line.strip().startswith("- ")]
    channels, python, pip, *_, course = items
    assert channels == "conda-forge"
    name, version = python.split("=")
    assert name == "python" and SpecifierSet(PROJECT["requires-python"]).contains(version)
    assert pip == "pip" and course == "-e ."
    options = [item for item in items[3:-1] if item != "pip:"]
    assert options == [
        "--extra-index-url https://download.pytorch.org/whl/cpu",
        "--constraint constraints.txt",
    ]  # packages are listed in pyproject.toml alone
    assert "name: one-key-many-queries" in lines  # of the environment, as the README has it


def test_a_linux_machine_without_a_driver_has_no_cuda():
    if start.from_pypi():
        assert torch.__version__.startswith(PINS["torch"])
        return
    names = [plain(d.metadata["Name"]) for d in metadata.distributions()]
    assert not [n for n in names if n.startswith(("nvidia", "cuda", "triton"))]
    assert torch.version.cuda is None


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """Every program that start.py would run, in a folder where nothing is set up."""
    programs = []

    def run(command, **how):
        programs.append(command)
        return subprocess.CompletedProcess(command, 0, stdout="", stderr="")

    def call(command, **how):
        Path(command[-1]).mkdir(exist_ok=True) if "venv" in command else None
        return run(command).returncode

    monkeypatch.setattr(start, "HERE", tmp_path)
    monkeypatch.chdir(tmp_path)  # and back again
    monkeypatch.setattr(start.subprocess, "run", run)
    monkeypatch.setattr(start.subprocess, "call", call)
    monkeypatch.setattr(start, "has_driver", lambda: False)
    monkeypatch.setattr(start, "open_lab", lambda *options: programs.append(["lab", *options]))
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).touch()
    return programs


@pytest.mark.parametrize(
    "system, driver, index, from_index",
    [
        ("linux", False, start.CPU_INDEX, True),
        ("linux", True, start.CPU_INDEX, False),
        ("linux", False, "", False),  # as somebody has written it who cannot reach it
        ("darwin", False, start.CPU_INDEX, False),
        ("win32", False, start.CPU_INDEX, False),
    ],
)
def test_torch_comes_from_the_right_index(asked, monkeypatch, system, driver, index, from_index):
    monkeypatch.setattr(start.sys, "platform", system)
    monkeypatch.setattr(start, "has_driver", lambda: driver)
    monkeypatch.setattr(start, "CPU_INDEX", index)
    start.main("set-up")
    (torch,) = [command for command in asked if command[-1] == "torch"]
    assert {"--no-deps", "--constraint", "constraints.txt"} <= set(torch)
    assert ("--index-url" in torch) == from_index and (index in torch) == from_index


@pytest.mark.parametrize("said, there", [("GPU 0: A Card", True), ("NVIDIA-SMI has failed", False)])
def test_a_driver_is_one_that_lists_a_gpu(tmp_path, monkeypatch, said, there):
    (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\necho '{said}'\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert start.has_driver() == there
    monkeypatch.setenv("PATH", "")
    assert not start.has_driver()


def test_it_is_set_up_once_and_again_when_what_it_is_made_of_is_newer(asked, tmp_path):
    start.main("--no-browser")
    assert asked[-1] == ["lab", "--no-browser"] and len(asked) == 4  # venv, torch, the rest, lab
    del asked[:]
    start.main()
    assert asked == [["lab"]]
    future = time.time() + 60
    os.utime(tmp_path / "constraints.txt", (future, future))
    start.main()
    assert len(asked) == 5 and "venv" in asked[1]


def test_copies_are_made_before_the_first_is_opened(monkeypatch):
    programs, answers = [], iter([KeyboardInterrupt, 3])

    class Lab:
        def __init__(self, command):
            programs.append(command)

        def wait(self):
            if (answer := next(answers)) is KeyboardInterrupt:
                raise KeyboardInterrupt
            return answer

    monkeypatch.setattr(start.subprocess, "call", lambda command: programs.append(command))
    said = subprocess.CompletedProcess([], 0, stdout="my_lessons/00.ipynb\n")
    monkeypatch.setattr(start.subprocess, "run", lambda *_, **__: said)
    monkeypatch.setattr(start.subprocess, "Popen", Lab)
    assert start.open_lab("--no-browser") == 3  # JupyterLab's own, although Ctrl+C came first
    copies, lab = programs
    assert copies[1:] == ["-m", "course_utils.copies"] and lab[1:3] == ["-m", "jupyterlab"]
    assert {"--LabApp.default_url=/lab/tree/my_lessons/00.ipynb", "--no-browser"} <= set(lab)
    said.returncode = 1  # it has said why
    assert start.open_lab() == 1 and len(programs) == 3


def test_what_failed_is_not_taken_for_set_up(asked, tmp_path, monkeypatch):
    monkeypatch.setattr(start.subprocess, "call", lambda command: "install" in command)
    (tmp_path / ".venv").mkdir()
    with pytest.raises(SystemExit):
        start.main("set-up")
    assert not start.is_ready()


def test_an_old_python_is_refused_with_the_remedy(asked, monkeypatch):
    source = (ROOT / "start.py").read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 7))  # such a one can read it
    monkeypatch.setattr(start.sys, "version_info", (3, 10, 4))
    with pytest.raises(SystemExit) as end:
        start.main("set-up")
    assert str(end.value) == (
        "The course needs Python 3.11 or newer, and this is 3.10; name one: "
        "make PYTHON=python3.12 lab"
    )
    assert not asked


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere torch is PyPI's")
def test_where_the_index_cannot_be_reached_it_says_which_line_to_change(tmp_path):
    """By pip itself, at an address of this machine where nobody answers."""
    nowhere = "http://127.0.0.1:9/whl/cpu"
    source = (ROOT / "start.py").read_text(encoding="utf-8")
    (tmp_path / "start.py").write_text(source.replace(start.CPU_INDEX, nowhere), encoding="utf-8")
    shutil.copy(ROOT / "constraints.txt", tmp_path)
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    kept = {k: v for k, v in os.environ.items() if not k.startswith("PIP_")}
    env = kept | {"PIP_CONFIG_FILE": os.devnull, "PIP_RETRIES": "0"}
    env["PATH"] = f"{tmp_path}{os.pathsep}{env['PATH']}"
    command = [sys.executable, "start.py", "set-up", "made"]
    run = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert run.returncode == 1 and not (tmp_path / "made" / ".ready").exists()
    assert run.stderr.startswith(f"torch cannot be had from {nowhere}: is there a network?")
    assert "change one line, CPU_INDEX in start.py" in run.stderr and "ERROR" not in run.stderr


def test_make_and_a_learner_without_make_set_up_the_same():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert re.findall(r"^\t(\S+)/bin/pip install .* (\S+)$", makefile, flags=re.M) == [
        (".venv-hub", "."),  # the wheel anew
        (".venv-live", "jupyterlab_widgets==3.0.10"),
        (".venv-hub", "\\"),  # what plays the class
    ]
    folder, *what = start.USUAL
    assert re.search(r"^BIN := (.*)/bin$", makefile, flags=re.M)[1] == folder
    extras = set(re.search(r"\[(.*)\]", what[-1])[1].split(","))
    assert extras == PROJECT["optional-dependencies"].keys()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build_wheel(tmp_path_factory.mktemp("wheel"))


def test_the_wheel_carries_data_and_javascript(wheel):
    inside = set(zipfile.ZipFile(wheel).namelist())
    data = [path for path in (ROOT / "data").rglob("*") if path.is_file()]
    assert {f"course_utils/data/{path.relative_to(ROOT / 'data')}" for path in data} <= inside
    assert {f"course_utils/widgets/slider.{kind}" for kind in ("js", "css")} <= inside
    tops = {name.split("/")[0] for name in inside}
    assert tops == {"course_utils", f"course_utils-{PROJECT['version']}.dist-info"}


def test_an_installed_wheel_finds_its_data_from_anywhere(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    (tmp_path / "elsewhere").mkdir()
    code = (
        "from course_utils import data_path, geometry, widgets\n"
        "print(data_path('models.csv'), len(geometry.models()), len(str(widgets.Flipbook._esm)))"
    )
    env = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "elsewhere", env=env, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    path, count, script = run.stdout.split()
    assert Path(path) == tmp_path / "site" / "course_utils" / "data" / "models.csv"
    assert int(count) == 139 and int(script) > 1000


def test_a_clone_finds_its_data_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert course_utils.data_path("models.csv") == ROOT / "data" / "models.csv"


def test_missing_data_is_named_with_the_remedy():
    with pytest.raises(FileNotFoundError) as error:
        course_utils.data_path("results", "nothing.csv")
    assert str(error.value).startswith("no results/nothing.csv in ")
    assert str(error.value).endswith("; reinstall the course, or clone it again")


def test_every_data_file_is_described_and_has_its_sha256():
    data = ROOT / "data"
    lines = (data / "SHA256SUMS").read_text().splitlines()
    listed = {name: digest for digest, name in (line.split("  ", 1) for line in lines)}
    files = {str(path.relative_to(data)) for path in data.rglob("*") if path.is_file()}
    others = {"README.md", "SHA256SUMS"}
    # make bench adds tables of one's own machine
    others |= {x for x in files if re.match("results/[a-z]+_.*csv", x) and x not in listed}
    assert listed == {
        name: hashlib.sha256((data / name).read_bytes()).hexdigest() for name in files - others
    }
    rows = re.findall(r"^\| `(.*?)` \|", (data / "README.md").read_text(), flags=re.M)
    assert all((data / row).exists() for row in rows)
    assert not [name for name in listed if not name.startswith(tuple(rows))]


def test_the_readme_names_what_exists():
    text = (ROOT / "README.md").read_text()
    for target in re.findall(r"\]\((.*?)\)", text):
        assert target.startswith("https://") or (ROOT / target).exists(), target
    assert f"`dist/course_utils-{PROJECT['version']}-py3-none-any.whl`" in text
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)$", text, flags=re.M):
        assert re.search(rf"^{''.join(target)}:", makefile, flags=re.M), target
    first, *others = re.search(r"```\n(py (?s:.*?))\n```", text)[1].splitlines()  # without make
    assert first == "py start.py" and len(others) == 2
    for command in others:
        program, _, asked = command.partition(" -m ")
        assert program == r".venv\Scripts\python"
        same = asked.replace("04", '"$(LESSON)"')
        assert f"-m {same}\n" in makefile
    (tree,) = re.findall(r"## What is where\n\n```\n(.*?)```", text, flags=re.S)
    folder, named = ROOT, set()
    for line in tree.strip().splitlines():
        within = line.startswith("  ")
        for name in line.strip().split("  ")[0].split(", "):
            path = (folder if within else ROOT) / name
            assert path.exists(), name
            named.add(path)
        folder = folder if within else path
    rooms = [x for x in (ROOT / "course_utils").iterdir() if x.is_dir() or x.suffix == ".py"]
    assert {x for x in rooms if not x.name.startswith("__")} <= named


def test_the_licences_are_whole():
    assert "Permission is hereby granted, free of charge" in (ROOT / "LICENSE").read_text()
    text = (ROOT / "LICENSE-TEXT").read_text()
    assert "Attribution 4.0 International" in text and len(text) > 15_000
