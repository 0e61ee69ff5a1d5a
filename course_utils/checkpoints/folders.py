"""Folders on this disk: one's own, and those of the Hub's own library, which knows their names.

The library is what transformers and `hf download` read and write with.
"""

import re
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

PART = r"\w[\w.]*(?:-[\w.]+)*"  # of a name


def snapshot_file(name, file, revision, cache=None):
    """Where a file of a model is on the disk, at a branch or commit; None if it is not.

    >>> snapshot_file("org/name", "config.json", "main", cache="/no/such/folder")
    """
    found = try_to_load_from_cache(name, file, cache_dir=cache, revision=revision)
    return Path(found) if isinstance(found, str) else None


def snapshot(folder):
    """(folder, name, commit) of a model's folder; in the Hub's cache the name is "org/name".

    There the folder above all snapshots stands for that of its branch main.

    >>> snapshot(Path("cache/models--org--name/snapshots/0123"))[1:]
    ('org/name', '0123')
    >>> snapshot(Path("/models/mine"))[1:]
    ('mine', None)
    """
    folder = folder.resolve()
    place = rf"(.*)/models--({PART}(?:--{PART})?)(?:/snapshots(?:/([^/]+))?)?"
    if not (parts := re.fullmatch(place, folder.as_posix())):
        return folder, folder.name, None
    cache, name, commit = parts[1], parts[2].replace("--", "/"), parts[3]
    config = snapshot_file(name, "config.json", commit or "main", cache)
    return config.parent if config else folder, name, config.parent.name if config else commit


class Folder:
    """A folder on this machine, read by the same names as `ranges.Repository`."""

    n_requests = 0

    def __init__(self, path):
        self.path, self.name, self.revision = snapshot(path)
        self.name, self.bytes_read = self.name or str(self.path), 0  # of / it is ""

    def files(self):
        return sorted(x.name for x in self.path.iterdir() if x.is_file())

    def local(self, file):
        return self.path / file if file in self.files() else None

    def size(self, file):
        return (self.path / file).stat().st_size

    def read(self, file):
        return self.read_range(file, 0, self.size(file) - 1) if file in self.files() else None

    def read_ranges(self, ranges):
        return [self.read_range(*x) for x in ranges]

    def read_range(self, file, first, last):
        with (self.path / file).open("rb") as f:
            f.seek(first)
            n = f.readinto(data := bytearray(last + 1 - first))
        self.bytes_read += n
        if n < len(data):
            raise ValueError(f"{file} is broken: it ends before byte {last}, after {first + n}")
        return data

    def missing(self, ranges):
        return sum(last + 1 - first for _, first, last in ranges)
