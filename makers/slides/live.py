"""A lesson as live slides: writes its deck, and prints where, for JupyterLab to open.

python -m makers.slides.live 06    (make slides-live LESSON=06)
"""

import os
import shutil
import sys
from pathlib import Path

import nbformat

from makers.lessons import ROOT, lessons
from makers.slides.deck import deck

HOW = """\
In JupyterLab: Run, Run All Cells. Then click the first cell and press Alt+R: the slides open
beside the notebook, at the cell you chose; the button in their corner makes them fill the screen.
What you change there is gone when you make them anew.
"""


def main(number, folder=ROOT / "slides" / "live"):
    (path,) = lessons(number)
    slides = deck(nbformat.read(path, as_version=4))
    slides.metadata.rise = {"width": 1280, "height": 720, "center": False, "scroll": True}
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(__file__).with_name("live.css"), folder / "rise.css")  # the name it looks for
    nbformat.write(slides, folder / path.name)
    print(HOW, end="", file=sys.stderr)
    print(os.path.relpath(folder / path.name))


if __name__ == "__main__":
    main(*sys.argv[1:])
