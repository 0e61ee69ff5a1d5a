"""What a stranger's machine relies on: pinned versions, no CUDA by accident, data in the wheel."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
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

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
REQUIREMENTS = [
    Requirement(line) for line in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["test"]
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
    assert requirement.specifier.contains(PINS[requirement.name])


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


def nvidia_driver():
    """What the Makefile asks: does nvidia-smi list a GPU."""
    path = shutil.which("nvidia-smi")
    return path and subprocess.run([path, "-L"], capture_output=True).stdout.startswith(b"GPU")


def test_a_linux_machine_without_a_driver_has_no_cuda():
    if sys.platform != "linux" or nvidia_driver():
        assert torch.__version__.startswith(PINS["torch"])
        return
    names = [plain(d.metadata["Name"]) for d in metadata.distributions()]
    assert not [n for n in names if n.startswith(("nvidia", "cuda", "triton"))]
    assert torch.version.cuda is None


@pytest.mark.parametrize(
    "system, driver, from_cpu_index",
    [("Linux", False, True), ("Linux", True, False), ("Darwin", False, False)],
)
def test_make_takes_torch_from_the_right_index(tmp_path, system, driver, from_cpu_index):
    for name, line in {
        "uname": f"echo {system}",
        "nvidia-smi": "echo 'GPU 0: A Card'" if driver else "echo 'NVIDIA-SMI has failed'; exit 9",
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{line}\n")
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    command = ["make", "--dry-run", "--always-make", ".venv/.ready"]
    env = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")} | {"PATH": path}
    plan = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    (line,) = [line for line in plan.stdout.splitlines() if "--no-deps" in line]
    assert ("--index-url https://download.pytorch.org/whl/cpu" in line) == from_cpu_index


def test_an_old_python_is_refused_with_the_remedy(tmp_path):
    (tmp_path / "python").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "python").chmod(0o755)
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    command = ["make", "lab", "PYTHON=./python"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode != 0
    assert "needs Python 3.11 or newer; name one: make PYTHON=python3.12 lab" in run.stdout


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
        assert (ROOT / target).exists(), target
    assert f"`dist/course_utils-{PROJECT['version']}-py3-none-any.whl`" in text
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)$", text, flags=re.M):
        assert re.search(rf"^{''.join(target)}:", makefile, flags=re.M), target
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
