"""Read the tensors of a checkpoint that are needed, or a few of their rows, and nothing else.

A checkpoint is a folder in the Hub's format, or a model on the Hub: config.json and
model.safetensors, or several such files and model.safetensors.index.json. Where both are, the one
file is read, as transformers does: the index is of a model that was there before.
"""

import json
import os
import re
from pathlib import Path
from urllib.parse import unquote

from course_utils.checkpoints.folders import Folder
from course_utils.checkpoints.format import (
    byte_range,
    header_length,
    look_up,
    make_tensor,
    parse_header,
    row_ranges,
    torch_dtype,
    torch_shape,
    why_not,
)
from course_utils.checkpoints.names import clean
from course_utils.checkpoints.ranges import Repository
from course_utils.geometry import from_config

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
MAX_FILE = 500 * 10**9  # bytes; the Hub takes none that is larger


def open_checkpoint(source, token=None):
    """A `Checkpoint` from the Hub, "org/name" or "org/name@revision", from a URL, or from a folder.

    A file of a checkpoint stands for its folder. A token is found by itself in HF_TOKEN, after
    `hf auth login`, or among Colab's secrets.

    Raises FileNotFoundError if there is no such model, PermissionError if it is gated,
    ConnectionError if it cannot be reached, ValueError if it is broken, TypeError if it is no text,
    OSError if there is no room on the disk.

    >>> open_checkpoint("./no/such/folder")
    Traceback (most recent call last):
    FileNotFoundError: no folder ./no/such/folder; on the Hub, models are called org/name
    """
    is_path = isinstance(source, os.PathLike)
    text = os.fspath(source) if is_path else clean(source)
    if text.startswith("file://"):
        text = unquote(re.sub(r"file://(?:localhost)?(?:/(?=[A-Za-z]:))?", "", text))
    path = os.path.expandvars(os.path.expanduser(text))
    if os.path.isdir(path):
        return Checkpoint(Folder(Path(path)))
    if os.path.isfile(path):
        checkpoint = Checkpoint(Folder(Path(path).parent))
        if Path(path).name in ("config.json", WHOLE, INDEX, *checkpoint.files.values()):
            return checkpoint
        raise ValueError(f"{text} is no file of a checkpoint: give a folder with {WHOLE}")
    if is_path or re.match(r"[./~$]|[A-Za-z]:[\\/]|.*\\", text):
        raise FileNotFoundError(f"no folder {text}; on the Hub, models are called org/name")
    return Checkpoint(Repository(text, token))


class Checkpoint:
    """The weights of a model, read when they are asked for; made by `open_checkpoint`.

    `name`, `revision` (the commit, or None), `config` (a dict), `geometry` (ValueError if config is
    of another kind), `names` and `n_bytes` of all tensors, `why_not` (why keys and values
    cannot be read, or ""); `bytes_read` and `n_requests` so far, everything included.
    """

    def __init__(self, source):
        self.source, self.name, self.revision = source, source.name, source.revision
        self.headers = {}  # file → its first bytes, as far as its header goes, and the header
        self.config = json_object(self.read("config.json"), "config.json")
        index = None if source.local(WHOLE) else source.read(INDEX)
        self.index = json_object(index or b"{}", INDEX)
        files = self.index.get("weight_map", {})
        if files and not source.local(INDEX) and source.has(WHOLE):  # on the Hub; one file wins
            self.index = files = {}
        if not isinstance(files, dict) or not all(map(is_weights, files.values())):
            wanted = "a .safetensors file beside it for each tensor"
            raise ValueError(f"{INDEX} is broken: its weight_map must name {wanted}")
        # tensor → file; empty if there is one file
        self.files = {name: Path(file).name for name, file in files.items()}

    geometry = property(lambda self: from_config(self.config, self.name))
    names = property(lambda self: [*(self.files or self.header(WHOLE)[1])])
    why_not = property(lambda self: why_not(self.names))
    bytes_read = property(lambda self: self.source.bytes_read)
    n_requests = property(lambda self: self.source.n_requests)

    @property
    def n_bytes(self):
        metadata, files = self.index.get("metadata"), set(self.files.values()) or {WHOLE}
        said = metadata.get("total_size") if isinstance(metadata, dict) else None
        # On the Hub a header costs two requests: there an index is believed, if it can be true.
        unread = files - self.headers.keys()
        if self.revision and unread and type(said) is int:
            seen = sum(map(self.file_bytes, files & self.headers.keys()))
            if seen < said <= seen + MAX_FILE * len(unread):
                return said
        return sum(map(self.file_bytes, files))

    def file_bytes(self, file):
        """The bytes of all tensors in a file."""
        places = [x["data_offsets"] for x in self.header(file)[1].values()]
        return sum(end - begin for begin, end in places)

    def tokenizer(self):
        """The model's `tokenizers.Tokenizer`, from its tokenizer.json."""
        from tokenizers import Tokenizer

        return Tokenizer.from_str(self.read("tokenizer.json").decode())

    def shape(self, name):
        """The shape a tensor is stored with, a tuple; KeyError with near names if there is none.

        Of F4, which torch packs two to a byte, the tensor's last axis is half as long.
        """
        return tuple(self.locate(name)[2]["shape"])

    def dtype(self, name):
        """The dtype of a tensor; ValueError if torch has none like it, KeyError as in `shape`."""
        return torch_dtype(self.locate(name)[2]["dtype"], name)

    def tensor(self, name, rows=None):
        """A tensor as it is stored, or the rows of it that a slice or a list of numbers names.

        Raises IndexError if it has no such row, KeyError or ValueError as `dtype` does.
        """
        return self.tensors({name: rows})[name]

    def tensors(self, wanted):
        """Many tensors at once, {name: rows or None} → {name: tensor}; errors as in `tensor`."""
        ranges = {name: self.ranges(name, rows) for name, rows in wanted.items()}
        buffers = iter(self.source.read_ranges([x for part in ranges.values() for x in part]))
        tensors = {}
        for name, rows in wanted.items():
            parts = [next(buffers) for _ in ranges[name]]
            data = parts[0] if len(parts) == 1 else bytearray().join(parts)
            tensors[name] = make_tensor(data, self.dtype(name), self.torch_shape(name), rows)
        return tensors

    def price(self, wanted):
        """The bytes of weights that `tensors` would have to fetch for this; errors as there."""
        return self.source.missing([x for item in wanted.items() for x in self.ranges(*item)])

    def ranges(self, name, rows):
        """The (file, first, last) of a tensor, or of each run of neighbours among its rows."""
        self.dtype(name)  # refuses what could not be read anyway
        file, header_bytes, _ = self.locate(name)
        place = byte_range(header_bytes, name)
        return [(file, *x) for x in row_ranges(*place, self.torch_shape(name), rows)]

    def torch_shape(self, name):
        return torch_shape(self.locate(name)[2]["dtype"], self.shape(name), name)

    def locate(self, name):
        """The file of a tensor, that file's first bytes, and what its header says of the tensor."""
        file = look_up(self.files, name) if self.files else WHOLE
        header_bytes, header = self.header(file)
        if self.files and name not in header:
            raise ValueError(f"{INDEX} is broken: it says {name} is in {file}, which has none")
        return file, header_bytes, look_up(header, name)

    def header(self, file):
        """The bytes of a file up to the end of its header, and the header; read once."""
        if file not in self.headers:
            try:
                (start,) = self.source.read_ranges([(file, 0, 7)])
            except FileNotFoundError:
                raise not_there(self.source, file) from None
            size = self.source.size(file)
            try:
                rest = file, 8, 7 + header_length(start, size, file)
                start += self.source.read_ranges([rest])[0]
                self.headers[file] = start, parse_header(start, size, file)
            except ValueError as error:
                if not (self.revision and (path := self.source.local(file))):
                    raise
                again = f"; delete {path.resolve()} and download"  # else it is never replaced
                raise ValueError(str(error).replace("; download", again)) from None
        return self.headers[file]

    def metadata(self, file):
        """What a file of weights says of itself, a dict or None."""
        return json.loads(self.header(file)[0][8:]).get("__metadata__")

    def read(self, file):
        """All bytes of a file; FileNotFoundError, with what there is, if there is none."""
        if (data := self.source.read(file)) is None:
            raise not_there(self.source, file)
        return data


def is_weights(file):
    """Whether this names a safetensors file beside the index: x.safetensors or ./x.safetensors."""
    if not isinstance(file, str) or not file.endswith(".safetensors"):
        return False
    return str(Path(file)) == Path(file).name


def json_object(data, file):
    """The JSON object in data as a dict."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ValueError(f"{file} is broken: it is no JSON object")
    return value


def write_json(path, value):
    """Write a file as the Hub's own are written."""
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def not_there(source, file):
    """The error for a file that a model does not have: what it has instead."""
    files = source.files()
    if isinstance(source, Folder) and (path := source.path / file).is_symlink():
        why = f"it is a link to {path.readlink()}; copy that there, or download it again"
        return FileNotFoundError(f"no {file} in {source.name}: {why}")
    why = f"there is {', '.join(files[:9]) or 'no file'}"
    if file == WHOLE and any(x.endswith((".bin", ".pt", ".pth")) for x in files):
        why += "; a pickle may run code when opened: let safetensors/convert on the Hub convert it"
    return FileNotFoundError(f"no {file} in {source.name}; {why}")
