"""One Key, Many Queries: what the lessons use more than once.

attention, kv_cache, rope, geometry, layers, cost, decoder, families and pooling are what is taught;
environment readies a machine; the folders read configs and checkpoints, measure, draw, move, judge.
"""

import difflib
import gc
from pathlib import Path

gc.freeze()  # what was imported before, torch above all: to look through it takes 0.1 s each time

SENTENCE = "one key opens many doors and one door needs many keys"  # the same in all lessons


def data_path(*parts: str) -> Path:
    """Path of a file in the course's data, in a clone and in an installed wheel alike.

    Raises FileNotFoundError if there is no such file.

    >>> data_path("models.csv").name
    'models.csv'
    """
    package = Path(__file__).resolve().parent
    installed, clone = package / "data", package.parent / "data"
    path = (installed if installed.is_dir() else clone).joinpath(*parts)
    if not path.exists():
        raise FileNotFoundError(
            f"no {'/'.join(parts)} in {path.parent}; reinstall the course, or clone it again"
        )
    return path


def letters(word: str) -> list[int]:
    """How often each of the letters a to z is in a word: 26 numbers.

    >>> letters("keeps")[4]  # e
    2
    """
    return [word.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"]


def did_you_mean(name: str, names, otherwise: str, n: int = 3) -> str:
    """What an error says of an unknown name: n of the names that have it in them, or are near it.

    Upper and lower case are the same. If there are none like it, `otherwise` is said.

    >>> did_you_mean("K_proj", ["k_proj.weight", "norm"], "there are two")
    "did you mean 'k_proj.weight'?"
    """
    known, key = {x.casefold(): x for x in names}, name.strip().casefold()
    near = [x for x in known if key in x] or difflib.get_close_matches(key, known, n)
    return f"did you mean {' or '.join(repr(known[x]) for x in near[:n])}?" if near else otherwise
