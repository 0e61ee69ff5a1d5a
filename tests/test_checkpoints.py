import json
import math
import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save, save_file

from course_utils import data_path
from course_utils.checkpoints import open_checkpoint
from course_utils.checkpoints.format import DTYPES, byte_range, parse_header, why_not

CONFIG = {
    "model_type": "llama",
    "hidden_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "vocab_size": 5,
    "max_position_embeddings": 7,
}


def can_save(dtype):
    """Whether safetensors saves a dtype of torch, and reads it again."""
    try:
        return load(save({"x": torch.zeros(16, dtype=torch.uint8).view(dtype)}))["x"].dtype == dtype
    except (KeyError, RuntimeError, SafetensorError, TypeError, ValueError):
        return False


SAVED = sorted(
    {x for x in vars(torch).values() if isinstance(x, torch.dtype) and can_save(x)}, key=str
)


def write(folder, tensors, config=CONFIG):
    """A folder in the Hub's format with one file of weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(tensors, folder / "model.safetensors")
    return folder


def write_shards(folder, shards, total_size=True):
    """A folder in the Hub's format with several files of weights, {file: tensors}."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    for file, tensors in shards.items():
        save_file(tensors, folder / file)
    index = {"weight_map": {name: file for file, x in shards.items() for name in x}}
    if total_size:
        index["metadata"] = {
            "total_size": sum(t.nbytes for x in shards.values() for t in x.values())
        }
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def write_header(folder, header, n_data=0, n=None):
    """A folder whose weights are any header, a str, and so many bytes of data."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    text = header if isinstance(header, bytes) else header.encode()
    n = len(text) if n is None else n
    (folder / "model.safetensors").write_bytes(n.to_bytes(8, "little") + text + bytes(n_data))
    return folder


def same(x, y):
    """Whether two tensors are alike, to the last bit, nan and all."""
    bits = [t.contiguous().flatten().view(torch.uint8) for t in (x, y)]
    return x.dtype == y.dtype and x.shape == y.shape and torch.equal(*bits)


def rows_of(x, rows):
    """x[rows] for dtypes too that torch cannot index."""
    n = x.nbytes // len(x) if len(x) else 0
    table = x.contiguous().flatten().view(torch.uint8).view(len(x), n)
    return table[rows].flatten().view(x.dtype).view(len(table[rows]), *x.shape[1:])


@st.composite
def tensors(draw, min_axes=0, min_rows=0):
    """A tensor of any dtype that safetensors saves."""
    dtype = draw(st.sampled_from(SAVED))
    packed = "float4" in str(dtype)  # has axes: a single number is no whole byte
    shape = draw(st.lists(st.integers(0, 5), min_size=max(min_axes, packed), max_size=3))
    if min_axes:
        shape[0] = draw(st.integers(min_rows, 9))
    n = math.prod(shape) * dtype.itemsize
    data = bytearray(draw(st.binary(min_size=n, max_size=n)))
    if dtype == torch.bool:
        data = bytearray(x % 2 for x in data)
    return torch.frombuffer(data, dtype=dtype).view(shape) if n else torch.empty(shape, dtype=dtype)


def some_rows(n):
    """Row numbers of a tensor of n rows, in any order and as often as one likes, or a slice."""
    lists = st.lists(st.integers(-n, n - 1), max_size=12) if n else st.just([])
    return st.one_of(lists, st.slices(n))


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(["a", "b.weight", "ключ", "d"]), tensors(), min_size=1))
def test_any_tensor_equals_what_safetensors_reads(tmp_path_factory, saved):
    folder = write(tmp_path_factory.mktemp("any"), saved)
    checkpoint = open_checkpoint(folder)
    found = checkpoint.tensors(dict.fromkeys(saved))
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert sorted(checkpoint.names) == sorted(file.keys())
        for name in file.keys():  # noqa: SIM118
            assert same(found[name], file.get_tensor(name))
            assert checkpoint.shape(name) == tuple(file.get_slice(name).get_shape())
            assert checkpoint.dtype(name) == file.get_tensor(name).dtype
    assert checkpoint.n_bytes == sum(x.nbytes for x in saved.values())


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_rows_equal_what_safetensors_reads(tmp_path_factory, data):
    x = data.draw(tensors(min_axes=1))
    rows = data.draw(some_rows(len(x)))
    folder = write(tmp_path_factory.mktemp("rows"), {"x": x, "y": torch.ones(3)})
    checkpoint = open_checkpoint(folder)
    with safe_open(folder / "model.safetensors", "pt") as file:
        whole = file.get_tensor("x")
    expected = rows_of(whole, list(range(len(x)))[rows] if isinstance(rows, slice) else rows)
    assert same(checkpoint.tensor("x", rows), expected)
    if not isinstance(rows, slice):
        assert same(checkpoint.tensor("x", torch.tensor(rows, dtype=torch.int64)), expected)


def test_every_dtype_that_safetensors_saves_is_read():
    assert {torch.float32, torch.bfloat16, torch.float8_e4m3fn, torch.bool} <= {*SAVED}
    assert {*SAVED} <= {*DTYPES.values()}


@pytest.mark.parametrize("stored", DTYPES)
@pytest.mark.parametrize("shape", [(4, 6), (3, 2, 4), (6,), (0, 4)])
def test_every_dtype_is_read_as_safetensors_reads_it(tmp_path, stored, shape):
    bits = 4 if stored == "F4" else 8 * DTYPES[stored].itemsize
    n = math.prod(shape) * bits // 8
    header = {"x": entry(stored, shape, (0, n))}
    folder = write_header(tmp_path / "m", json.dumps(header), n_data=0)
    data = bytes(i % 2 if stored == "BOOL" else i for i in range(n))
    with (folder / "model.safetensors").open("ab") as file:
        file.write(data)
    checkpoint = open_checkpoint(folder)
    with safe_open(folder / "model.safetensors", "pt") as file:
        x = file.get_tensor("x")
        assert checkpoint.shape("x") == tuple(file.get_slice("x").get_shape())
    assert checkpoint.dtype("x") == x.dtype and same(checkpoint.tensor("x"), x)
    assert checkpoint.n_bytes == checkpoint.price({"x": None}) == x.nbytes == n
    for rows in ([2, 0, 2, -1], [1], slice(1, 3), slice(0, 0)) if len(x) else ([], slice(None)):
        numbers = list(range(len(x)))[rows] if isinstance(rows, slice) else rows
        assert same(checkpoint.tensor("x", rows), rows_of(x, numbers))
        row = n // len(x) if n else 0
        assert checkpoint.price({"x": rows}) == row * len({i % len(x) for i in numbers})


def test_an_odd_last_axis_of_f4_is_refused_as_safetensors_does(tmp_path):
    text = json.dumps({"x": entry("F4", [2, 3], [0, 3]), "y": entry("U8", [1], [3, 4])})
    folder = write_header(tmp_path / "m", text, n_data=4)
    with safe_open(folder / "model.safetensors", "pt") as file, pytest.raises(SafetensorError):
        file.get_tensor("x")
    checkpoint = open_checkpoint(folder)
    assert (checkpoint.shape("x"), checkpoint.tensor("y").tolist()) == ((2, 3), [0])
    for read in (checkpoint.tensor, lambda name: checkpoint.price({name: [0]})):
        with pytest.raises(ValueError) as error:
            read("x")
        assert str(error.value) == "x is F4 (2, 3); torch needs an even last axis, two make a byte"


def test_only_the_rows_asked_for_are_read_and_each_once(tmp_path):
    checkpoint = open_checkpoint(write(tmp_path / "m", {"x": torch.arange(200.0).view(20, 10)}))
    assert checkpoint.shape("x") == (20, 10)
    before = checkpoint.bytes_read
    assert checkpoint.price({"x": [3, -17, 4, 3]}) == 80
    assert checkpoint.tensor("x", [3, -17, 4, 3])[:, 0].tolist() == [30, 30, 40, 30]
    assert checkpoint.bytes_read - before == 80
    assert checkpoint.n_requests == 0


def test_what_is_read_can_be_changed_and_nothing_else_changes(tmp_path):
    x = torch.arange(6.0).view(3, 2)
    checkpoint = open_checkpoint(write(tmp_path / "m", {"x": x, "y": x + 1}))
    found = checkpoint.tensors({"x": None, "y": [0, 1, 2]})
    found["x"].zero_()
    assert torch.equal(found["y"], x + 1)
    assert torch.equal(checkpoint.tensor("x"), x)


def test_shards_are_read_like_one_file(tmp_path):
    a, b = {"a.weight": torch.randn(4, 3)}, {"b.weight": torch.randn(5).bfloat16()}
    folder = write_shards(tmp_path / "m", {"model-1.safetensors": a, "model-2.safetensors": b})
    checkpoint = open_checkpoint(folder)
    found = checkpoint.tensors({"b.weight": None, "a.weight": slice(1, 3)})
    assert list(found) == ["b.weight", "a.weight"]
    assert torch.equal(found["b.weight"], b["b.weight"])
    assert torch.equal(found["a.weight"], a["a.weight"][1:3])
    assert (checkpoint.names, checkpoint.n_bytes) == (["a.weight", "b.weight"], 58)


def test_a_shard_that_is_not_asked_for_is_not_opened(tmp_path):
    a = {"a": torch.ones(2)}
    folder = write_shards(tmp_path / "m", {"1.safetensors": a, "2.safetensors": {"b": a["a"]}})
    (folder / "2.safetensors").unlink()
    assert open_checkpoint(folder).tensor("a").tolist() == [1, 1]
    with pytest.raises(FileNotFoundError, match=r"no 2\.safetensors in m; there is 1\.safetensors"):
        open_checkpoint(folder).shape("b")


def test_bytes_of_all_weights_are_added_up_where_no_index_tells(tmp_path):
    shards = {"1.safetensors": {"a": torch.ones(2)}, "2.safetensors": {"b": torch.ones(3)}}
    assert open_checkpoint(write_shards(tmp_path / "m", shards, total_size=False)).n_bytes == 20


@pytest.mark.parametrize("total_size", [None, 12, -1, 0, 10**30, "20", 20.0, True])
def test_bytes_of_all_weights_are_those_in_the_files_whatever_an_index_says(tmp_path, total_size):
    shards = {"1.safetensors": {"a": torch.ones(2)}, "2.safetensors": {"b": torch.ones(3)}}
    folder = write_shards(tmp_path / "m", shards)
    path = folder / "model.safetensors.index.json"
    index = json.loads(path.read_text())
    for metadata in ({"total_size": total_size}, total_size):
        path.write_text(json.dumps(index | {"metadata": metadata}))
        assert open_checkpoint(folder).n_bytes == 20


def test_an_index_may_write_a_dot_and_a_slash_before_its_files(tmp_path):
    x = torch.arange(6.0).view(3, 2)
    folder = write_shards(tmp_path / "m", {"1.safetensors": {"x": x}, "2.safetensors": {"y": x}})
    path = folder / "model.safetensors.index.json"
    path.write_text(path.read_text().replace('"1.safe', '"./1.safe'))
    checkpoint = open_checkpoint(folder)
    assert checkpoint.tensor("x").equal(x) and checkpoint.n_bytes == 48
    assert checkpoint.files == {"x": "1.safetensors", "y": "2.safetensors"}


@pytest.mark.parametrize("index", ["of another model", "{"])
def test_one_file_beside_an_index_is_what_is_read(tmp_path, index):
    write_shards(tmp_path / "m", {"1.safetensors": {"x": torch.ones(5), "old": torch.ones(2)}})
    folder = write(tmp_path / "m", {"x": torch.arange(3.0), "new": torch.ones(4)})
    if index == "{":
        (folder / "model.safetensors.index.json").write_text(index)
    else:
        (folder / "1.safetensors").unlink()
    checkpoint = open_checkpoint(folder)
    assert sorted(checkpoint.names) == ["new", "x"] and checkpoint.n_bytes == 28
    assert checkpoint.tensor("x").equal(torch.arange(3.0))


def test_a_folder_has_a_name_a_config_and_a_geometry(tmp_path):
    checkpoint = open_checkpoint(write(tmp_path / "mine", {"x": torch.ones(1)}))
    assert (checkpoint.name, checkpoint.revision, checkpoint.config) == ("mine", None, CONFIG)
    geometry = checkpoint.geometry
    assert (geometry.name, geometry.n_heads, geometry.n_kv_heads, geometry.head_dim) == (
        "mine",
        6,
        2,
        2,
    )


def test_the_bytes_of_a_folder_are_counted(tmp_path):
    folder = write(tmp_path / "m", {"x": torch.ones(5)})
    checkpoint = open_checkpoint(folder)
    checkpoint.tensor("x")
    assert checkpoint.bytes_read == sum(x.stat().st_size for x in folder.iterdir())


def test_the_tokenizer_is_the_one_in_the_folder(tmp_path):
    from tokenizers import Tokenizer, models

    folder = write(tmp_path / "m", {"x": torch.ones(1)})
    Tokenizer(models.WordLevel({"key": 0, "one": 1}, "key")).save(str(folder / "tokenizer.json"))
    assert open_checkpoint(folder).tokenizer().encode("one").ids == [1]


def test_byte_range_is_where_the_bytes_are(tmp_path):
    x, y = torch.randn(3, 4), torch.randn(7).half()
    data = (write(tmp_path / "m", {"x": x, "y": y}) / "model.safetensors").read_bytes()
    n = int.from_bytes(data[:8], "little")
    for name, tensor in {"x": x, "y": y}.items():
        for header in (data, data[: 8 + n], data[: 8 + n + 5]):
            first, last = byte_range(header, name)
            assert data[first : last + 1] == tensor.numpy().tobytes()


# ── what is not there ──────────────────────────────────────────────────────────────────────────


def test_a_tensor_that_is_not_there_is_answered_with_near_names(tmp_path):
    names = ("h.0.k_proj.weight", "h.0.k_proj.bias", "__metadata__x")
    checkpoint = open_checkpoint(write(tmp_path / "m", {x: torch.ones(2) for x in names}))
    with pytest.raises(
        KeyError, match=r"did you mean 'h\.0\.k_proj\.bias' or 'h\.0\.k_proj\.weight'"
    ):
        checkpoint.tensor("k_proj")
    with pytest.raises(
        KeyError, match=r"no tensor named 'h\.0\.k_prj\.weight'; did you mean 'h\.0\.k_proj"
    ):
        checkpoint.price({"h.0.k_prj.weight": None})
    with pytest.raises(KeyError, match="no tensor named '__metadata__'"):
        byte_range(checkpoint.header("model.safetensors")[0], "__metadata__")


@pytest.mark.parametrize("row", [5, -6])
def test_a_row_that_is_not_there_is_named_with_how_many_there_are(tmp_path, row):
    checkpoint = open_checkpoint(write(tmp_path / "m", {"x": torch.ones(5, 2)}))
    with pytest.raises(
        IndexError, match=f"there is no row {row}; this tensor has 5, counted from 0"
    ):
        checkpoint.tensor("x", [0, row])


IDS = torch.tensor([[3, 0, 3]])
NO_ROWS = {
    "a mask": [True, False],
    "a mask as a tensor": torch.ones(5, dtype=torch.bool),
    "fractions": [0.0],
    "fractions as a tensor": torch.tensor([0.5]),
    "words": "a",
    "a list of lists": [[0]],
    "a number": 0,
    "a number as a tensor": torch.tensor(0),
    "a number of numpy": IDS.numpy()[0, 0],
    "a fraction as a tensor": torch.tensor(0.5),
    "numbers that can be told only once": iter([3, 0, 3]),
    "ids of a batch": IDS,
    "ids of a batch of numpy": IDS.numpy(),
    "ids of an empty batch": [[]],
}


@pytest.mark.parametrize("rows", NO_ROWS.values(), ids=NO_ROWS)
def test_rows_that_are_no_flat_list_of_numbers_are_refused_with_the_remedy(tmp_path, rows):
    checkpoint = open_checkpoint(write(tmp_path / "m", {"x": torch.ones(5, 2)}))
    before = checkpoint.bytes_read
    for ask in (checkpoint.tensor, lambda *x: checkpoint.price(dict([x]))):
        with pytest.raises(TypeError) as error:
            ask("x", rows)
        remedy = "rows must be a flat list of whole numbers; of ids (1, s) give ids[0]"
        assert str(error.value) == remedy
    assert checkpoint.bytes_read - before < 200  # of the header, and nothing of x


def test_the_remedy_works_and_any_flat_list_will_do(tmp_path):
    x = torch.arange(10.0).view(5, 2)
    checkpoint = open_checkpoint(write(tmp_path / "m", {"x": x}))
    for rows in (IDS[0], IDS[0].numpy(), (3, 0, 3), list(IDS[0]), list(IDS[0].numpy())):
        assert checkpoint.tensor("x", rows).equal(x[[3, 0, 3]])
    assert checkpoint.tensor("x", range(1, 4)).equal(x[1:4])
    assert checkpoint.tensor("x", torch.tensor([], dtype=torch.int64)).shape == (0, 2)


def test_a_single_number_has_no_rows(tmp_path):
    checkpoint = open_checkpoint(write(tmp_path / "m", {"x": torch.tensor(3.0)}))
    assert checkpoint.tensor("x").item() == 3
    with pytest.raises(IndexError, match="leave rows out"):
        checkpoint.tensor("x", [0])


def test_a_folder_that_is_not_there_is_no_model_of_the_hub(tmp_path):
    for source in (
        tmp_path / "no",
        str(tmp_path / "no"),
        "./no/model",
        "~/no-such-folder/model",
        "~no-such-user/model",
        "$NO_SUCH_VARIABLE/model",
        r"C:\models\llama",
        "C:/models/llama",
        r"\\server\models",
        "./" + 300 * "long",
    ):
        with pytest.raises(
            FileNotFoundError, match=r"no folder .*; on the Hub, models are called org/name"
        ):
            open_checkpoint(source)
    with pytest.raises(FileNotFoundError, match="no folder C:/my models/llama; on the Hub"):
        open_checkpoint("file:///C:/my%20models/llama")


def test_a_path_is_understood_as_it_is_pasted(tmp_path, monkeypatch):
    folder = write(tmp_path / "my models" / "m", {"x": torch.ones(1)})
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("MODELS", str(folder.parent))
    monkeypatch.chdir(tmp_path)
    for source in (
        folder,
        f"{folder}/",
        f" '{folder}'\n",
        f"file://{folder}",
        folder.as_uri(),
        folder.as_uri().replace("///", "//localhost/"),
        f"{folder}.",
        "~/my models/m",
        "$MODELS/m",
        "my models/m",
    ):
        assert open_checkpoint(source).names == ["x"]


def test_a_file_of_a_checkpoint_stands_for_its_folder(tmp_path):
    whole = write(tmp_path / "m", {"x": torch.ones(1)})
    shards = write_shards(tmp_path / "s", {"1.safetensors": {"a": torch.ones(1)}})
    (shards / "other.safetensors").write_bytes(b"")
    for file in ("config.json", "model.safetensors"):
        assert open_checkpoint(whole / file).name == "m"
    for file in ("model.safetensors.index.json", "1.safetensors"):
        assert open_checkpoint(str(shards / file)).names == ["a"]
    with pytest.raises(
        ValueError, match=r"other\.safetensors is no file of a checkpoint: give a fol"
    ):
        open_checkpoint(shards / "other.safetensors")
    (whole / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no config\.json in m; there is model"):
        open_checkpoint(whole / "model.safetensors")


def test_a_folder_without_config_or_weights_says_what_there_is(tmp_path):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(FileNotFoundError, match=r"no config\.json in .*; there is notes\.txt"):
        open_checkpoint(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(
        FileNotFoundError, match=r"no model\.safetensors in .*; there is config\.json, notes\.txt"
    ):
        _ = open_checkpoint(tmp_path).names


def test_a_link_to_nothing_is_told_so(tmp_path):
    folder = write_header(tmp_path / "m", "{}")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to("no-such-blob")
    with pytest.raises(
        FileNotFoundError, match=r"no model\.safetensors in m: it is a link to no-such-"
    ):
        _ = open_checkpoint(folder).names


def test_the_folder_above_all_has_a_name():
    with pytest.raises(FileNotFoundError, match=r"no config\.json in /.*; there is "):
        open_checkpoint("/")


def test_a_pickle_is_never_opened(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04cposix\nsystem\n")
    checkpoint = open_checkpoint(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r"pytorch_model\.bin; a pickle may run code.*safetensors/convert"
    ):
        checkpoint.tensor("x")
    assert checkpoint.bytes_read == len("{}")


def test_why_not_names_what_is_fused_or_latent():
    assert why_not(["m.q_proj.weight", "m.k_proj.weight", "m.v_proj.weight"]) == ""
    assert why_not(["m.qkv_proj.weight", "m.gate_up_proj.weight"]) == ""  # Phi-3's are cut
    for part in ("c_attn", "query_key_value", "qkv_proj", "Wqkv", "W_pack"):
        assert why_not([f"h.0.{part}.weight"]).startswith(
            f"{part} is queries, keys and values fused"
        )
    latent = why_not(["m.q_proj.weight", "m.kv_a_proj_with_mqa.weight", "m.kv_b_proj.weight"])
    assert latent.startswith("kv_a_proj_with_mqa makes one latent for all heads (MLA)")
    assert why_not(["conv.weight"]).startswith("there is no k_proj")


def test_a_checkpoint_of_fused_projections_says_so_and_shows_its_shapes(tmp_path):
    checkpoint = open_checkpoint(write(tmp_path / "m", {"h.0.c_attn.weight": torch.ones(4, 12)}))
    assert checkpoint.shape("h.0.c_attn.weight") == (4, 12)
    assert "config and shapes can be shown" in checkpoint.why_not
    with pytest.raises(KeyError, match="c_attn is queries, keys and values fused"):
        checkpoint.tensor("model.layers.0.self_attn.k_proj.weight")


# ── what is broken ─────────────────────────────────────────────────────────────────────────────


def entry(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    "header",
    [
        "[]",
        '{"x": ',
        "[" * 100_000,
        b"\xff\xfe{}",
        {"x": 3},
        {"x": {"dtype": "F32"}},
        {"x": entry(dtype=1)},
        {"x": entry(dtype="F33")},
        {"x": entry(shape=[-2, -1])},
        {"x": entry(shape=[2.0])},
        {"x": entry(shape=[True, 2])},
        {"x": entry(offsets=[0, 4, 8])},
        {"x": entry(offsets=["0", "8"])},
        {"x": entry(offsets=[8, 0])},
        {"x": entry(offsets=[0, 10**30])},
        {"x": entry(shape=[3])},
        {"x": entry(shape=[2**62, 2**62])},
        {"x": entry(shape=[4], offsets=[0, 16])},  # more than there is
        {"x": entry(shape=[1], offsets=[0, 4])},  # less
        {"x": entry(), "y": entry(offsets=[4, 12])},
        {"x": entry(), "y": entry()},
        {"x\n": entry(offsets=[8, 0])},
        {"x " * 900: entry(offsets=[8, 0])},
    ],
)
def test_a_broken_header_is_refused_in_the_words_of_safetensors(tmp_path, header):
    text = json.dumps(header) if isinstance(header, dict) else header
    checkpoint = open_checkpoint(write_header(tmp_path / "m", text, n_data=8))
    with pytest.raises(ValueError, match=r"^model\.safetensors is broken: .+; download") as error:
        checkpoint.tensor("x")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(("n", "size"), [(0, 18), (1, 18), (11, 18), (2**64 - 1, 18), (10**9, 18)])
def test_a_header_longer_than_the_file_is_refused(tmp_path, n, size):
    checkpoint = open_checkpoint(write_header(tmp_path / "m", '{"x": {} }', n=n))
    with pytest.raises(ValueError, match=f"it has {size} bytes, its header {n}; download it again"):
        _ = checkpoint.names
    assert checkpoint.bytes_read == len("{}") + 8


def test_a_header_larger_than_safetensors_allows_is_not_read(tmp_path):
    folder = write_header(tmp_path / "m", "{}", n=100_000_001)
    os.truncate(folder / "model.safetensors", 200_000_000)
    with pytest.raises(ValueError, match="its header 100000001"):
        _ = open_checkpoint(folder).names


@pytest.mark.parametrize("data", [b"", b"\x02\0\0", b"\x02\0\0\0\0\0\0"])
def test_a_file_too_short_for_a_header_is_refused(tmp_path, data):
    folder = write_header(tmp_path / "m", "{}")
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match=f"it ends before byte 7, after {len(data)}"):
        _ = open_checkpoint(folder).names


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 988097824\n",
            "model.safetensors is broken: it is a Git LFS pointer; run git lfs pull there",
        ),
        (
            "\n<!DOCTYPE html><html>log in</html>",
            "model.safetensors is broken: it is a web page; download it again",
        ),
    ],
)
def test_what_lies_in_place_of_weights_is_named(tmp_path, text, said):
    folder = write_header(tmp_path / "m", "{}")
    (folder / "model.safetensors").write_text(text)
    with pytest.raises(ValueError) as error:
        _ = open_checkpoint(folder).names
    assert str(error.value) == said


def test_a_file_cut_off_within_the_data_is_refused(tmp_path):
    folder = write(tmp_path / "m", {"x": torch.ones(100)})
    os.truncate(folder / "model.safetensors", 200)
    with pytest.raises(ValueError, match="not fully covered; download it again"):
        open_checkpoint(folder).tensor("x")


@pytest.mark.parametrize("text", ["[]", "{", "", "\xff", "[" * 100_000])
def test_a_config_or_an_index_that_is_no_object_is_refused(tmp_path, text):
    folder = write_shards(tmp_path / "m", {"1.safetensors": {"x": torch.ones(1)}})
    (folder / "model.safetensors.index.json").write_text(text or "3", encoding="latin-1")
    with pytest.raises(
        ValueError, match=r"^model\.safetensors\.index\.json is broken: it is no JSON"
    ):
        open_checkpoint(folder)
    (folder / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"^config\.json is broken: it is no JSON object"):
        open_checkpoint(folder)


@pytest.mark.parametrize(
    "files",
    [[], 3, {"x": 3}, {"x": "../secret.safetensors"}, {"x": "pytorch.bin"}, {"x": "a/1.safetensors"}, {"x": "/1.safetensors"}, {"x": "./.."}, {"x": ""}],
)  # fmt: skip
def test_an_index_that_names_other_files_than_weights_is_refused(tmp_path, files):
    folder = write_shards(tmp_path / "m", {"1.safetensors": {"x": torch.ones(1)}})
    index = json.dumps({"weight_map": files, "metadata": 3})
    (folder / "model.safetensors.index.json").write_text(index)
    with pytest.raises(
        ValueError, match=r"its weight_map must name a \.safetensors file beside it"
    ):
        open_checkpoint(folder)


def test_a_dtype_that_torch_has_not_is_named_and_its_shape_is_shown(tmp_path):
    text = json.dumps({"x": entry("F6_E2M3", [4], [8, 11]), "y": entry()})
    checkpoint = open_checkpoint(write_header(tmp_path / "n", text, n_data=11))
    assert (checkpoint.shape("x"), checkpoint.tensor("y").tolist()) == ((4,), [0, 0])
    for read in (checkpoint.dtype, checkpoint.tensor):
        with pytest.raises(
            ValueError, match=r"x is F6_E2M3, which torch \d\S+ cannot read; see its shape"
        ):
            read("x")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4)
    ),
    max_leaves=12,
)
ENTRY = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.sampled_from(["F32", "BF16", "U8", "F4", "?"]) | JSON,
        "shape": st.lists(st.integers(-1, 9), max_size=3) | JSON,
        "data_offsets": st.lists(st.integers(-1, 80), max_size=3) | JSON,
    },
)
HEADER = st.dictionaries(st.text(max_size=9), ENTRY | JSON, max_size=4).map(json.dumps)
BROKEN = st.one_of(
    HEADER.map(str.encode), st.binary(max_size=60), JSON.map(json.dumps).map(str.encode)
)


@settings(max_examples=300, deadline=None)
@given(BROKEN, st.integers(0, 80), st.none() | st.integers(0, 2**64 - 1))
def test_no_header_crashes_or_hangs(tmp_path_factory, header, n_data, n):
    folder = write_header(tmp_path_factory.mktemp("broken"), header, n_data, n)
    checkpoint = open_checkpoint(folder)
    try:
        names = checkpoint.names
    except ValueError as error:
        assert str(error).startswith("model.safetensors is broken: ")
        assert "\n" not in str(error)
        return
    for name in names:  # a header that is accepted keeps its word
        begin, end = byte_range(checkpoint.header("model.safetensors")[0], name)
        assert 0 <= begin <= end + 1 <= (folder / "model.safetensors").stat().st_size
        try:
            x = checkpoint.tensor(name)
        except ValueError as error:
            assert "cannot read; see" in str(error) or "needs an even last axis" in str(error)
            continue
        assert (x.dtype, x.nbytes) == (checkpoint.dtype(name), end + 1 - begin)
        assert x.shape == checkpoint.torch_shape(name)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_what_safetensors_opens_is_opened(tmp_path_factory, data):
    saved = {"x": torch.ones(2, 3), "y": torch.ones(4, dtype=torch.bool)}
    folder = write(tmp_path_factory.mktemp("mutated"), saved)
    path = folder / "model.safetensors"
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        i = data.draw(
            st.integers(0, 8 + int.from_bytes(content[:8], "little") - 1)
            if len(content) > 8
            else st.just(0)
        )
        content[min(i, len(content) - 1)] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        with safe_open(path, "pt") as file:
            known = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
    except SafetensorError:
        return
    checkpoint = open_checkpoint(folder)
    assert {name: list(checkpoint.shape(name)) for name in checkpoint.names} == known


def test_a_header_of_many_tensors_is_checked_once(tmp_path):
    places = {f"t{i}": entry(offsets=[8 * i, 8 * i + 8]) for i in range(20_000)}
    text = json.dumps(places).encode()
    assert (
        len(parse_header(len(text).to_bytes(8, "little") + text, 8 + len(text) + 160_000, "m"))
        == 20_000
    )


def test_the_models_of_the_course_are_read_as_safetensors_reads_them():
    folders = [x.parent for x in sorted(data_path("checkpoints").rglob("config.json"))]
    assert folders
    for folder in folders:
        checkpoint = open_checkpoint(folder)
        with safe_open(folder / "model.safetensors", "pt") as file:
            for name in checkpoint.names:
                assert same(checkpoint.tensor(name), file.get_tensor(name))
