"""Byte ranges of a model on the Hub: over HTTP once, from the disk ever after.

Files that the Hub's own library has put on the disk are read there.

A range is kept in pieces of at most 4 MiB, each with its SHA-256. A piece is written when it is
whole, so that a read that was broken off goes on where it stopped.
"""

import re
import sys
import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from urllib.parse import quote

from huggingface_hub import close_session, constants
from tqdm import tqdm

from course_utils.checkpoints import disk
from course_utils.checkpoints.folders import snapshot_file
from course_utils.checkpoints.hub import Hub, NoSuchFile
from course_utils.checkpoints.names import HUB

PIECE, PIECES = 4 * 2**20, 16  # bytes; and how many neighbours one request may ask for
THREADS, CONFIG = 8, "config.json"
is_commit = re.compile("[0-9a-f]{40}").fullmatch  # not a branch or tag


class Repository:
    """A model on the Hub at one commit, `revision`; source and token as in `Hub`, errors too.

    `bytes_read` and `n_requests` count all that went over the wire. A piece is a range, (file,
    first, last), both included.
    """

    def __init__(self, source, token=None):
        self.hub = Hub(source, token)
        self.name, asked = self.hub.name, self.hub.revision
        namespace = f"{self.hub.host}--{self.name}".replace(":", "-")
        self.folder = disk.make_folder(namespace, "refs")
        self.revision = self.hub.revision = self.resolve(asked)
        self.folder = disk.make_folder(namespace, self.revision)

    bytes_read = property(lambda self: self.hub.bytes_read)
    n_requests = property(lambda self: self.hub.n_requests)

    def local(self, file):
        """Where the Hub's own library has a file of this commit on the disk; None if nowhere."""
        same = self.hub.endpoint in (constants.ENDPOINT, HUB)  # to the library they are
        return snapshot_file(self.name, file, self.hub.revision) if same else None

    def stream(self, file, *args, **kwargs):
        """As `Hub.stream`; if that fails for a model that is on the disk in part, say so."""
        try:
            yield from self.hub.stream(file, *args, **kwargs)
        except ConnectionError as error:
            if file == CONFIG or self.bytes_read:
                raise
            what = f"{file.removesuffix('.index.json')} of {self.name} is not on this disk"
            raise ConnectionError(f"{what}, and {error}") from None

    def resolve(self, revision):
        """The commit that a branch is at; without a network, that it was at when last seen."""
        if is_commit(revision):
            return revision
        try:
            list(self.stream(CONFIG, method="HEAD"))
        except NoSuchFile:
            pass  # this answer names the commit as well
        except ConnectionError:
            close_session()  # a new one will see the environment as it is then
            if seen := self.load(revision):
                return seen.decode()
            if config := self.local(CONFIG):
                return config.parent.name
            raise
        if not is_commit(self.hub.commit):
            where = "" if self.hub.endpoint == constants.ENDPOINT else f"{self.hub.site}/"
            raise ConnectionError(
                f"{self.hub.host} names no commit of {self.name}; is it a Hub? From a mirror, "
                f"{where}{self.name}@COMMIT can be read, with the 40 characters of a commit"
            )
        self.keep(revision, self.hub.commit.encode())
        return self.hub.commit

    def files(self):
        """The names of the model's files, if the Hub tells."""
        return self.hub.ask(f"models/{self.name}/revision/{self.revision}", "rfilename")

    def has(self, file):
        """Whether there is such a file; asked for once, and its first bytes come along."""
        if self.load(f"{file}.none") is not None:
            return False
        try:
            self.read_ranges([(file, 0, 7)])
        except NoSuchFile:
            self.keep(f"{file}.none", b"")
            return False
        return True

    def size(self, file):
        """The bytes of a file; each answer with a part of it says how many."""
        if path := self.local(file):
            return path.stat().st_size
        if (size := self.load(f"{file}.size")) is None:
            if file not in self.hub.sizes:
                list(self.stream(file, 0, 0))
            self.keep(f"{file}.size", size := str(self.hub.sizes[file]).encode())
        return int(size)

    def read(self, file):
        """All bytes of a file; None if there is no such file."""
        if (data := self.load(file)) is None and (path := self.local(file)):
            return path.read_bytes()
        if data is None:
            data = bytearray()
            try:
                with progress(file) as bar:
                    for chunk in self.stream(file):
                        data += chunk
                        bar.update(len(chunk))
            except NoSuchFile:
                pass  # nothing is kept: what a commit has not, it never will have
            self.keep(file, data)
        return data or None

    def missing(self, ranges):
        """How many bytes of ranges (file, first, last), both included, are not on the disk."""
        pieces = [piece for one in ranges for piece in cut(*one)]
        absent = [x for x in pieces if not self.path(piece_name(x)).exists()]
        return sum(n_bytes(x) for x in absent if not self.local(x[0]))

    def read_ranges(self, ranges):
        """The bytes of each range (file, first, last), both included, as a bytearray."""
        buffers = [bytearray(n_bytes(x)) for x in ranges]
        places = [
            (piece, memoryview(buffer)[piece[1] - first : piece[2] + 1 - first])
            for (file, first, last), buffer in zip(ranges, buffers, strict=True)
            for piece in cut(file, first, last)
        ]
        if absent := [x for x in places if not self.fill(*x)]:
            self.fetch_all([piece for piece, _ in absent])
            if not all([self.fill(*x) for x in absent]):
                raise OSError(f"what was written to {self.folder} is gone; is the disk full?")
        return buffers

    def fill(self, piece, place):
        """Copy a piece from the disk to its place; False if it is not there."""
        if (data := self.load(piece_name(piece))) is None and (path := self.local(piece[0])):
            with path.open("rb") as f:
                f.seek(piece[1])
                return f.readinto(place) == len(place)
        if data is not None:
            place[:] = data
        return data is not None

    def fetch_all(self, pieces):
        """Bring pieces to the disk: neighbours in one request, several requests at a time."""
        stop, arrived, pool = threading.Event(), [], ThreadPoolExecutor(THREADS)
        try:
            runs = neighbours(pieces)
            waiting = [pool.submit(self.fetch, run, stop, arrived) for run in runs]
            with progress(self.name, sum(map(n_bytes, pieces))) as bar:
                while waiting:
                    done, waiting = wait(waiting, 0.2, FIRST_EXCEPTION)
                    bar.update(sum(arrived) - bar.n)
                    for future in done:
                        future.result()
        finally:  # an error or an interrupt ends the other threads too
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)

    def fetch(self, run, stop, arrived):
        """Bring neighbouring pieces to the disk, each when it is whole; note what has arrived."""
        (file, first, _), last, data = run[0], run[-1][2], bytearray()
        for chunk in self.stream(file, first, last, stop=stop):
            arrived.append(len(chunk))
            data += chunk
            while len(data) > n_bytes(run[0]):  # what is last is whole when the answer is
                self.keep(piece_name(run[0]), data[: n_bytes(run[0])])
                del data[: n_bytes(run.pop(0))]
        if len(data) == n_bytes(run[0]):
            self.keep(piece_name(run[0]), data)

    def path(self, name):
        return self.folder / quote(name, safe="")

    def load(self, name):
        return disk.load(self.path(name))

    def keep(self, name, data):
        disk.keep(self.path(name), data)


def cut(file, first, last):
    """The pieces of a range.

    >>> cut("f", 10, 10 + PIECE)
    [('f', 10, 4194313), ('f', 4194314, 4194314)]
    """
    starts = range(first, last + 1, PIECE)
    return [(file, start, min(start + PIECE - 1, last)) for start in starts]


def neighbours(pieces):
    """Runs of pieces in which each starts where the one before it ends.

    >>> neighbours([("f", 5, 9), ("f", 0, 3), ("f", 4, 4), ("g", 10, 12)])
    [[('f', 0, 3), ('f', 4, 4), ('f', 5, 9)], [('g', 10, 12)]]
    """
    runs = []
    for piece in sorted(set(pieces)):
        file, _, last = runs[-1][-1] if runs else ("", 0, 0)
        if (file, last + 1) == piece[:2] and len(runs[-1]) < PIECES:
            runs[-1].append(piece)
        else:
            runs.append([piece])
    return runs


def n_bytes(piece):
    """The bytes of a piece or a range."""
    return piece[2] + 1 - piece[1]


def piece_name(piece):
    """The name of a piece on the disk: its file, and where in the file it is."""
    return "{}.{}-{}".format(*piece)


def progress(what, total=None):
    """A bar that is shown for what takes more than a second, and then goes away."""
    return tqdm(
        total=total, unit="B", unit_scale=True, desc=what, delay=1, leave=False, file=sys.stdout
    )
