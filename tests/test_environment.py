"""The report names each problem with its remedy."""

import shutil
import subprocess
import sys
import types
from importlib import metadata

import pytest
import torch

from course_utils import environment, record
from course_utils.figures import WIDGET


def test_everything_is_ready_here():
    rows = [environment.python(), *environment.packages(), environment.processor()]
    assert not [row for row in rows if row.remedy]
    assert {"Python", "torch", "ipywidgets", "anywidget"} <= {row.what for row in rows}


@pytest.mark.parametrize("version, good", [("3.11.0", True), ("3.13.2", True), ("3.10.9", False)])
def test_an_old_python_is_named(monkeypatch, version, good):
    monkeypatch.setattr("platform.python_version", lambda: version)
    row = environment.python()
    assert row.found == version
    assert row.remedy == ("" if good else "install Python >=3.11, then make lab again")
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    assert ("Change runtime type" in environment.python().remedy) != good


@pytest.mark.parametrize("version, good", [("7.7.1", True), ("8.1.9", True), ("9.0", False)])
def test_versions_outside_the_tested_range_are_named(monkeypatch, version, good):
    real = metadata.version
    monkeypatch.setattr(metadata, "version", lambda x: version if x == "ipywidgets" else real(x))
    (row,) = [row for row in environment.packages() if row.what == "ipywidgets"]
    remedy = (
        'outside the range this course supports: run %pip install "ipywidgets<9,>=7.7.1" in a cell'
    )
    assert row.remedy == ("" if good else remedy)


def test_a_missing_package_is_named(monkeypatch):
    real = metadata.version

    def version(name):
        if name == "anywidget":
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "version", version)
    (row,) = [row for row in environment.packages() if row.what == "anywidget"]
    assert (row.found, row.remedy) == (
        "missing",
        'run %pip install "anywidget<1,>=0.9.18" in a cell',
    )


def test_the_gpu_is_named(monkeypatch):
    card = types.SimpleNamespace(name="A Card", total_memory=80 * 2**30)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: card)
    found = "A Card, 80 GiB; lessons 07 and 09 use it"
    assert environment.gpu() == ("GPU", found, "")
    assert environment.device() == "cuda"


@pytest.mark.parametrize(
    "gpu, bfloat16, dtype",
    [(False, False, "float32"), (True, False, "float16"), (True, True, "bfloat16")],
)
def test_the_fast_numbers_are_those_of_the_device(monkeypatch, gpu, bfloat16, dtype):
    def supported(including_emulation):
        assert not including_emulation  # a T4 says it supports what it only imitates
        return bfloat16

    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert environment.dtype() == getattr(torch, dtype)


@pytest.mark.parametrize("driver", [True, False])
def test_without_a_gpu_nothing_is_missing_unless_there_is_a_driver(monkeypatch, driver):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(shutil, "which", lambda name: "/bin/nvidia-smi" if driver else None)
    assert bool(environment.gpu().remedy) == driver
    assert environment.device() == "cpu"


def test_colab_is_recognised(monkeypatch):
    assert not environment.in_colab()
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    assert environment.in_colab()


def test_the_report_has_one_line_for_each_row(capsys):
    environment.report()
    said = capsys.readouterr().out
    for word in ("Python", "torch", "GPU", "Ready", "CPU"):
        assert word in said


def test_colab_is_told_what_to_do_where_widgets_stay_dead(monkeypatch, capsys):
    environment.report()
    assert "jsdelivr" not in capsys.readouterr().out
    monkeypatch.setattr(environment, "in_colab", lambda: True)
    environment.report()
    assert "%env COURSE_OUTPUTS=stored" in capsys.readouterr().out


def test_the_report_says_where_progress_is_kept(monkeypatch, tmp_path):
    assert environment.progress() == ("Progress", "not kept: COURSE_PROGRESS is off", "")
    monkeypatch.delenv("COURSE_PROGRESS")
    monkeypatch.setenv("COURSE_FOLDER", str(tmp_path / "not" / "there" / "yet"))
    file = tmp_path / "not" / "there" / "yet" / "progress.json"
    assert environment.progress() == ("Progress", f"kept in {file}", "")
    (tmp_path / "not").write_text("a file where a folder should be")
    row = environment.progress()
    assert "cannot be written" in row.found and "%env COURSE_FOLDER" in row.remedy


def test_colab_is_told_that_progress_ends_with_the_runtime(colab, tmp_path):
    row = environment.progress()
    assert "ends with this runtime" in row.found and "drive.mount" in row.remedy
    record.DRIVE.mkdir(parents=True)
    kept = record.DRIVE / "my_lessons" / "progress.json"
    assert environment.progress() == ("Progress", f"kept in {kept}", "")


def test_python_answers_the_browser():
    pulse = environment.Pulse()
    assert not pulse.heard
    pulse.drawn = True
    assert pulse.heard


def test_where_widgets_are_dead_the_remedy_stands(monkeypatch):
    monkeypatch.delenv("COURSE_OUTPUTS")
    pulse = environment.Pulse()
    data, _ = pulse._repr_mimebundle_()
    assert "make lab" in data["text/html"] and "make lab" in data["text/plain"]
    assert WIDGET in data
    monkeypatch.setattr(environment, "in_colab", lambda: True)
    data, _ = pulse._repr_mimebundle_()
    assert "Runtime → Restart session" in data["text/plain"]
    assert pulse._ipython_display_ is None  # ipywidgets 7 would show the widget alone


def test_set_up_makes_lessons_print_the_same(restore_torch):
    environment.set_up()
    first = torch.randn(3)
    environment.set_up()
    assert torch.equal(first, torch.randn(3))
    assert torch.get_num_threads() == 1
    assert str(torch.tensor([1 / 3, 1000.0])) == "tensor([   0.333, 1000.000])"


SHELL = """
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
from course_utils import SENTENCE, checks, environment, figures, letters, progress, widgets

environment.set_up()
environment.set_up()
"""
MIB = """
def mib():
    with open("/proc/self/smaps_rollup") as file:
        return next(int(line.split()[1]) / 1024 for line in file if "Private_Dirty" in line)
"""


def said_by(program):
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


def test_after_a_cell_what_is_out_of_reach_is_gone_and_pictures_keep_no_pixels():
    """Two pictures: one deleted, with its circle of references, one kept, but not what it drew."""
    program = f"""{SHELL}
import gc, weakref
from matplotlib.backends.backend_agg import RendererAgg

gc.disable()
shell.user_ns["cards"] = cards = [figures.wiring(8, 2), figures.wiring(8, 4)]
for card in cards:
    figures.png(card)
drawn = weakref.ref(cards.pop())
del card
print(drawn() is not None)
shell.run_cell("pass")
print(drawn() is None, not any(isinstance(x, RendererAgg) for x in gc.get_objects()))
print(shell.events.callbacks["post_run_cell"].count(environment.give_back))
"""
    assert said_by(program) == ["True", "True", "True", "1"]


def test_after_a_cell_the_machine_has_the_memory_back():
    """Small pieces, every 1000th of them still in use: the C library would keep all of it."""
    program = f"""{SHELL}{MIB}
shell.run_cell("pass")
before = mib()
pieces = [bytearray(5000) for _ in range(40_000)]  # 191 MiB
pieces = pieces[::1000]
print(mib() - before > 150)
shell.run_cell("pass")
print(mib() - before < 20)
"""
    assert said_by(program) == ["True", "True"]


def test_a_set_up_cell_imports_no_pandas():
    """It takes 22 MiB and 0.15 s, and a class shares one machine."""
    assert said_by(f"{SHELL}\nimport sys\nprint('pandas' in sys.modules)") == ["False"]


@pytest.fixture
def restore_torch():
    threads = torch.get_num_threads()
    yield
    torch.set_printoptions(profile="default")
    torch.set_num_threads(threads)
