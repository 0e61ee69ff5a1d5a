"""One Key, Many Queries: what the lessons use more than once."""

from pathlib import Path

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
