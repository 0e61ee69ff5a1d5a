"""Set the course up and open it, with nothing but Python: on Linux, macOS and Windows.

    python start.py                     set up, once, and open lesson 00 in JupyterLab
    python start.py --no-browser        the same; what follows goes to JupyterLab
    python start.py set-up FOLDER ...   an environment: torch, and what pip installs with the rest

make does its set-up with this, too.
"""

import os
import subprocess
import sys
from pathlib import Path

# Where a Linux machine without an NVIDIA driver takes torch from, so that no CUDA is downloaded.
# If that address cannot be reached: a mirror, or "" for PyPI, which brings gigabytes of CUDA.
CPU_INDEX = "https://download.pytorch.org/whl/cpu"

HERE = Path(__file__).resolve().parent
USUAL = ".venv", "--constraint", "constraints.txt", "--editable", ".[slides,site,test]"
OLD = "The course needs Python 3.11 or newer, and this is {}.{}; name one: {}"
NO_VENV = "On Debian and Ubuntu: sudo apt install python3-venv"
NO_INDEX = """\
torch cannot be had from {}: is there a network?
If that address cannot be reached from here, change one line, CPU_INDEX in start.py: to a mirror,
or to "", which takes torch from PyPI, with gigabytes of CUDA. Then do this again."""
MISSING = "No matching distribution found", "ResolutionImpossible"  # as pip says it


def main(*arguments):
    os.chdir(str(HERE))
    if arguments[:1] == ("set-up",):
        return set_up(*(arguments[1:] or USUAL))
    if arguments[:1] == ("open",):  # make has set it up
        return open_lab(*arguments[1:])
    if not is_ready():
        set_up(*USUAL)
    return open_lab(*arguments)


def set_up(folder, *what):
    """Make an environment in a folder, and install torch in it, and then what pip is told."""
    if sys.version_info < (3, 11):
        newer = "py -3.12 start.py" if os.name == "nt" else "make PYTHON=python3.12 lab"
        sys.exit(OLD.format(*sys.version_info[:2], newer))
    if subprocess.call([sys.executable, "-m", "venv", folder]):
        sys.exit(NO_VENV)
    pip = [python(folder), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    index = [] if from_pypi() else ["--index-url", CPU_INDEX]
    only = ["--no-deps", "--constraint", "constraints.txt"]
    torch = subprocess.run([*pip, *only, *index, "torch"], stderr=subprocess.PIPE, text=True)
    if torch.returncode:
        missing = index and any(words in torch.stderr for words in MISSING)
        sys.exit(NO_INDEX.format(CPU_INDEX) if missing else torch.stderr)
    if subprocess.call([*pip, *what]):
        sys.exit(1)
    Path(folder, ".ready").touch()


def from_pypi():
    """Whether PyPI's torch is the right one: not on Linux, where it needs an NVIDIA driver."""
    return sys.platform != "linux" or has_driver() or not CPU_INDEX


def has_driver():
    """Whether there is an NVIDIA driver, and it sees a GPU."""
    try:
        seen = subprocess.run(["nvidia-smi", "-L"], capture_output=True)
    except OSError:
        return False
    return seen.stdout.startswith(b"GPU")


def is_ready():
    ready = HERE / ".venv" / ".ready"
    made_of = [HERE / name for name in ("pyproject.toml", "constraints.txt")]
    return ready.exists() and all(x.stat().st_mtime <= ready.stat().st_mtime for x in made_of)


def open_lab(*options):
    """Make the learner's own copies where they are missing, and open lesson 00; its exit code."""
    copies = [python(".venv"), "-m", "course_utils.copies"]
    if subprocess.call(copies):
        return 1
    first = subprocess.run([*copies, "start"], stdout=subprocess.PIPE, text=True)
    if first.returncode:
        return first.returncode
    root = ["--allow-root"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
    address = f"--LabApp.default_url=/lab/tree/{first.stdout.strip()}"
    lab = subprocess.Popen([python(".venv"), "-m", "jupyterlab", *root, address, *options])
    while True:
        try:
            return lab.wait()
        except KeyboardInterrupt:  # JupyterLab hears it too, and asks whether it is meant
            continue


def python(folder):
    return str(Path(folder, "Scripts" if os.name == "nt" else "bin", "python"))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
