"""The safetensors format: which bytes of a file a tensor is, and the tensor those bytes make.

Such a file is 8 bytes that hold a number N, little-endian; N bytes of JSON, the header, which says
of each tensor its dtype, its shape and where its bytes are; then the bytes of all tensors. What a
header says is checked, by safetensors itself, before it is used.
"""

import json
import re
from operator import index
from tempfile import NamedTemporaryFile
from textwrap import shorten

import torch
from safetensors import SafetensorError, safe_open

from course_utils import did_you_mean

MAX_BYTES = 100_000_000  # of a header, as in safetensors
STORED = (
    "F64 F32 F16 BF16 F8_E4M3 F8_E5M2 F8_E8M0 F8_E4M3FNUZ F8_E5M2FNUZ F4 C64 "
    "I64 I32 I16 I8 U64 U32 U16 U8 BOOL"
)
LOADED = (
    "float64 float32 float16 bfloat16 float8_e4m3fn float8_e5m2 float8_e8m0fnu float8_e4m3fnuz "
    "float8_e5m2fnuz float4_e2m1fn_x2 complex64 int64 int32 int16 int8 uint64 uint32 uint16 uint8 "
    "bool"
)
DTYPES = zip(STORED.split(), LOADED.split(), strict=True)
DTYPES = {name: getattr(torch, key) for name, key in DTYPES if hasattr(torch, key)}


def byte_range(header_bytes, tensor_name):
    """The first and the last byte of a tensor in its file, both included, as HTTP's Range counts.

    header_bytes is the beginning of the file: its header, and perhaps more.

    Raises KeyError with the nearest names if there is no such tensor.

    >>> header = b'{"w": {"dtype": "F16", "shape": [3], "data_offsets": [10, 16]}}'
    >>> byte_range(len(header).to_bytes(8, "little") + header, "w")  # 8 + 63 + 10 is the first
    (81, 86)
    """
    n = int.from_bytes(header_bytes[:8], "little")
    header = json.loads(header_bytes[8 : 8 + n])
    begin, end = look_up(header, tensor_name)["data_offsets"]  # counted from the end of the header
    return 8 + n + begin, 8 + n + end - 1


def row_ranges(first, last, shape, rows=None):
    """The byte ranges of rows of a tensor at first–last: one for each run of neighbours.

    Raises IndexError if there is no such row, TypeError if rows are not whole numbers.

    >>> row_ranges(80, 99, (10, 1), [4, 0, 1, 4])
    [(80, 83), (88, 89)]
    """
    if rows is None or first > last:
        return [(first, last)] if first <= last else []
    rows = set(row_numbers(shape, rows))
    size = (last + 1 - first) // shape[0]
    starts = sorted(i for i in rows if i - 1 not in rows)
    ends = sorted(i + 1 for i in rows if i + 1 not in rows)
    return [(first + i * size, first + j * size - 1) for i, j in zip(starts, ends, strict=True)]


def row_numbers(shape, rows):
    """The numbers of the rows that a slice, a list or a tensor names; errors as in `row_ranges`.

    >>> row_numbers((10, 3), [-1, 0]), row_numbers((10, 3), slice(7, None))
    ([9, 0], [7, 8, 9])
    """
    if not shape:
        raise IndexError("a tensor of shape () is one number and has no rows; leave rows out")
    if isinstance(rows, slice):
        return list(range(shape[0])[rows])
    rows = rows.tolist() if hasattr(rows, "tolist") else rows
    try:
        if not hasattr(rows, "__len__") or bool in map(type, rows):
            raise TypeError
        rows = [index(row) for row in rows]
    except TypeError:
        wanted = "rows must be a flat list of whole numbers; of ids (1, s) give ids[0]"
        raise TypeError(wanted) from None
    for row in rows:
        if not -shape[0] <= row < shape[0]:
            raise IndexError(f"there is no row {row}; this tensor has {shape[0]}, counted from 0")
    return [row % shape[0] for row in rows]


def make_tensor(data, dtype, shape, rows=None):
    """A tensor of its bytes, or of those of its `row_ranges`, rows as often as they are named.

    data is a bytearray, which the tensor keeps as its memory.

    >>> make_tensor(bytearray([7, 8, 9, 9]), torch.uint8, (50, 2), rows=[30, 2, 30]).tolist()
    [[9, 9], [7, 8], [9, 9]]
    """
    if rows is not None:
        rows = row_numbers(shape, rows)
        shape = (len(rows), *shape[1:])
    if not data:
        return torch.empty(shape, dtype=dtype)
    if rows is None or rows == (distinct := sorted(set(rows))):
        return torch.frombuffer(data, dtype=dtype).view(shape)
    place = {row: i for i, row in enumerate(distinct)}
    table = torch.frombuffer(data, dtype=torch.uint8).view(len(distinct), -1)
    return table[[place[row] for row in rows]].view(dtype).view(shape)


def torch_dtype(stored, name):
    """The torch dtype of what a tensor is stored as; ValueError if torch has none like it.

    >>> torch_dtype("BF16", "k_proj.weight")
    torch.bfloat16
    """
    if stored not in DTYPES:
        torch_here = f"torch {torch.__version__}"
        raise ValueError(
            f"{name} is {stored}, which {torch_here} cannot read; see its shape instead"
        )
    return DTYPES[stored]


def torch_shape(stored, shape, name):
    """The shape torch gives a tensor: the stored one, but of F4 two numbers are one element.

    Raises ValueError if the last axis of an F4 tensor is odd.

    >>> torch_shape("F4", [5, 6], "up_proj.weight"), torch_shape("F16", [5, 6], "up_proj.weight")
    ((5, 3), (5, 6))
    """
    if stored != "F4":
        return tuple(shape)
    if not shape or shape[-1] % 2:
        raise ValueError(f"{name} is F4 {shape}; torch needs an even last axis, two make a byte")
    return (*shape[:-1], shape[-1] // 2)


def look_up(tensors, name):
    """tensors[name]; KeyError with the nearest names if there is none.

    >>> look_up({"k_proj.weight": 1}, "k_proj")
    Traceback (most recent call last):
    KeyError: "no tensor named 'k_proj'; did you mean 'k_proj.weight'?"
    """
    if name in tensors and name != "__metadata__":
        return tensors[name]
    otherwise = why_not(tensors) or ".names has all there are"
    raise KeyError(f"no tensor named {name!r}; {did_you_mean(str(name), tensors, otherwise)}")


def why_not(names):
    """Why keys and values cannot be read from tensors of these names; "" if they can.

    >>> why_not(["h.0.attn.c_attn.weight"])[:43]
    'c_attn is queries, keys and values fused: k'
    """
    parts = {part for name in names for part in name.split(".")}
    fused = parts & {"c_attn", "query_key_value", "qkv_proj", "Wqkv", "W_pack"}
    if {"q_proj", "k_proj", "v_proj"} <= parts or {"qkv_proj", "gate_up_proj"} <= parts:  # Phi-3's
        return ""
    what = f"{min(fused)} is queries, keys and values fused" if fused else "there is no k_proj"
    if "kv_a_proj_with_mqa" in parts:
        what = "kv_a_proj_with_mqa makes one latent for all heads (MLA)"
    return f"{what}: keys and values cannot be read; config and shapes can be shown"


def header_length(start, size, file):
    """N from the first 8 bytes of a file of so many bytes; ValueError if it cannot be true.

    >>> header_length((9512).to_bytes(8, "little"), size=1000, file="a.safetensors")
    Traceback (most recent call last):
    ValueError: a.safetensors is broken: it has 1000 bytes, its header 9512; download it again
    """
    n = int.from_bytes(start[:8], "little")
    if not 2 <= n <= min(size - 8, MAX_BYTES):
        if start.startswith(b"version "):
            raise ValueError(f"{file} is broken: it is a Git LFS pointer; run git lfs pull there")
        if re.fullmatch(rb"\s*<[!?a-zA-Z][\s!-~]*", start):
            raise ValueError(f"{file} is broken: it is a web page; download it again")
        raise ValueError(
            f"{file} is broken: it has {size} bytes, its header {n}; download it again"
        )
    return n


def parse_header(header_bytes, size, file):
    """{name: {"dtype", "shape", "data_offsets"}} from a header and its 8 bytes, size of the file.

    Raises ValueError if safetensors would not open the file, so that what it says can be trusted.
    """
    with NamedTemporaryFile(suffix=".safetensors") as whole:  # a hole where the data would be
        whole.write(header_bytes)
        whole.truncate(size)
        try:
            safe_open(whole.name, "pt")
        except SafetensorError as error:
            why = str(error).removeprefix("Error while deserializing header: ")
            raise ValueError(f"{file} is broken: {shorten(why, 200)}; download it again") from None
    header = json.loads(header_bytes[8:])
    header.pop("__metadata__", None)
    return header
