"""Is this machine ready for the course: what is installed, which device, are widgets alive."""

import ctypes
import gc
import html
import os
import platform
import shutil
from importlib import metadata
from typing import NamedTuple

import anywidget
import torch
import traitlets
from IPython import get_ipython
from IPython.display import display
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from course_utils import copies, record
from course_utils.figures import as_shown
from course_utils.record import in_colab

COURSE = "course_utils"
NO_CODE = (
    "A line below should say that widgets are alive. If there is none, your network may block "
    "cdn.jsdelivr.net, where Colab loads them from. In each lesson, run %env COURSE_OUTPUTS=stored "
    "in a cell of its own after the first: sliders then show as pictures."
)


fresh, my_lessons, newer = copies.fresh, copies.my_lessons, copies.newer  # where there is no make


class Row(NamedTuple):
    what: str
    found: str
    remedy: str = ""  # empty: nothing to do


def set_up():
    """Make what a lesson prints the same everywhere: seeded, three digits, one thread.

    And after each cell give back what it no longer needs, so that many can share a machine.
    """
    torch.manual_seed(0)
    torch.set_num_threads(1)
    torch.set_printoptions(precision=3, sci_mode=False)
    shell = get_ipython()
    if shell and give_back not in shell.events.callbacks["post_run_cell"]:
        gc.freeze()  # what has been imported by now stays
        shell.events.register("post_run_cell", give_back)


def give_back(cell=None):
    """Give the machine back the memory of what was deleted or is out of reach.

    Figures hold each other in circles, which Python finds only when it looks for them; and what is
    free the C library keeps for later, unless glibc is told to trim it.
    """
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if os.name == "posix" else None
    if trim:
        trim(0)


def device():
    """The device a lesson uses where a GPU helps: "cuda" if torch can use one, else "cpu".

    >>> device() in ("cuda", "cpu")
    True
    """
    return "cuda" if torch.cuda.is_available() else "cpu"


def dtype():
    """The numbers `device` is fast with: float32 on a CPU; on a GPU bfloat16, on old ones float16.

    >>> dtype() in (torch.float32, torch.bfloat16, torch.float16)
    True
    """
    if device() == "cpu":
        return torch.float32
    bfloat16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if bfloat16 else torch.float16


def report():
    """Show what is ready and what is not, with one remedy for each problem."""
    rows = [python(), *packages(), processor(), gpu(), progress(), *lessons()]
    text = "\n".join(
        f"{row.what}: {row.found}. {'To do: ' + row.remedy if row.remedy else 'Ready.'}"
        for row in rows
    )
    cells = "".join(
        f"<tr><th style='text-align: left'>{row.what}</th>"
        f"<td style='text-align: left'>{html.escape(row.found)}</td>"
        f"<td style='text-align: left'><b>{'To do' if row.remedy else 'Ready'}</b> "
        f"{html.escape(row.remedy)}</td></tr>"
        for row in rows
    )
    page = f"<table style='font-size: 15px; margin: 0'>{cells}</table>"
    display({"text/plain": text, "text/html": page}, raw=True)
    if in_colab():  # which shows nothing at all of a widget whose code it cannot load
        display({"text/plain": NO_CODE, "text/html": paragraph(NO_CODE)}, raw=True)
    display(Pulse())


def paragraph(text):
    return f"<p style='font-size: 15px; padding: 6px'>{text}</p>"


def python():
    """The Python of this kernel, against what the course supports."""
    version = platform.python_version()
    wanted = metadata.metadata(COURSE)["Requires-Python"]
    remedy = f"install Python {wanted}, then make lab again"
    if in_colab():
        remedy = "choose Runtime → Change runtime type, and there the latest version"
    return Row("Python", version, "" if SpecifierSet(wanted).contains(version) else remedy)


def packages():
    """What the course requires: a row for each package, JupyterLab aside (Colab has none)."""
    for requirement in map(Requirement, metadata.requires(COURSE)):
        if requirement.marker or requirement.name == "jupyterlab":
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            yield Row(requirement.name, "missing", f'run %pip install "{requirement}" in a cell')
            continue
        remedy = (
            f'outside the range this course supports: run %pip install "{requirement}" in a cell'
        )
        good = requirement.specifier.contains(version, prereleases=True)
        yield Row(requirement.name, version, "" if good else remedy)


def processor():
    """The cores of this machine."""
    return Row("CPU", f"{os.cpu_count()} cores")


def gpu():
    """The GPU torch can use, or why it can use none; no lesson needs one."""
    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        size = f"{card.total_memory / 2**30:.0f} GiB"
        return Row("GPU", f"{card.name}, {size}; lessons 07 and 09 use it")
    if shutil.which("nvidia-smi"):
        remedy = "run nvidia-smi in a terminal; if it lists a GPU: make clean, then make lab"
        return Row("GPU", "a driver, but torch cannot use it", remedy)
    return Row("GPU", "none that CUDA can use, and none is needed: every lesson runs on the CPU")


def progress():
    """Where it is kept what a learner has passed, or what would lose it."""
    file = record.path()
    if file is None:
        return Row("Progress", "not kept: COURSE_PROGRESS is off")
    if in_colab() and not record.in_drive():
        remedy = f"to keep it, and your lessons, {record.MOUNT}"
        return Row("Progress", f"in {file}, which ends with this runtime", remedy)
    there = next(x for x in file.parents if x.exists())
    if there.is_dir() and os.access(there, os.W_OK):
        return Row("Progress", f"kept in {file}")
    remedy = "run %env COURSE_FOLDER=~/my_lessons in a cell of its own, in each lesson"
    return Row("Progress", f"not kept: {there} cannot be written", remedy)


def lessons():
    """A learner's own copies, and what the course has newer; no row for those who have none."""
    found, remedy = copies.state()
    if found:
        yield Row("Lessons", found, remedy)


class Pulse(anywidget.AnyWidget):
    """A line drawn by the browser once widgets are alive, and again when Python has answered."""

    _esm = """
    export default { render({ model, el }) {
      Object.assign(el.style, { fontSize: "15px", padding: "6px" });
      const show = () => { el.textContent = model.get("heard")
        ? "Widgets: alive. Your browser drew this line and Python heard it."
        : "Widgets: alive in the browser. Waiting for Python…"; };
      model.on("change:heard", show);
      show();
      model.set("drawn", true);
      model.save_changes();
    } };
    """
    drawn = traitlets.Bool(False).tag(sync=True)
    heard = traitlets.Bool(False).tag(sync=True)
    _ipython_display_ = None  # ipywidgets 7 would show the widget without the remedy

    @traitlets.observe("drawn")
    def _answer(self, change):
        self.heard = True

    def _repr_mimebundle_(self, **kwargs):
        """The widget; where none can live, the remedy."""
        data, extra = super()._repr_mimebundle_(**kwargs)
        remedy = "install ipywidgets and anywidget where JupyterLab is installed (make lab does)"
        if in_colab():
            remedy = "choose Runtime → Restart session"
        text = (
            "Widgets: this line says they are alive once you have run the cell. If it does not, "
            f"{remedy}, reload this page and run the cell again."
        )
        data |= {
            "text/plain": text,
            "text/html": paragraph(text),
        }
        return as_shown(data), extra
