"""Laws of decode_times, its maker and its tables: what is timed is what is said, and no less."""

from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from course_utils import attention as library
from course_utils import data_path
from course_utils.attention import (
    attention,
    causal_attention,
    causal_mask,
    decode_attention,
    merge_heads,
)
from course_utils.cost import decode_bytes, decode_flop, expanded_flop, latent_flop, step_time
from course_utils.decoder import Decoder
from course_utils.experiments import decode_times, results
from course_utils.experiments.memory import largest_tensor
from course_utils.kv_cache import KVCache
from course_utils.latent import LatentCache, MultiHeadLatentAttention
from makers import decode_times as maker

pytestmark = pytest.mark.usefixtures("one_thread")
ALL = decode_times.FORMS | decode_times.REPEATED
XEON, EPYC, H200 = "intel-xeon-processor-16-cores-avx512", "amd-epyc-2-cores", "nvidia-h200"
TABLES = [
    ("decode", EPYC), ("decode", XEON), ("parts", XEON),
    *((what, H200) for what in ("decode", "steps", "prefill", "latent")),
]  # fmt: skip
FIRST = "hardware,torch,dtype,n_heads,n_kv_heads,head_dim,batch,n_tokens,form,run".split(",")
TIMES, LAST = ["low_ms", "median_ms", "high_ms"], ["bandwidth_gb_s", "peak_tflop_s"]
OWN = {  # columns of one table only
    "steps": ["n_weights", "n_layers"],
    "latent": ["n_new", "kv_rank"],
}
CELL = FIRST[2:]
EVERY_G = [32, 16, 8, 4, 2, 1]
SIZE = {"float32": 4, "bfloat16": 2}


def shipped(what, machine):
    return pd.read_csv(data_path("results", f"{what}_{machine}.csv"))


def close(x, y, tolerance=1e-12):
    torch.testing.assert_close(x, y, atol=tolerance, rtol=tolerance)


def qkv(b=2, n=8, g=2, t=1, s=7, h=5, dtype=torch.float64):
    random = torch.Generator().manual_seed(0)
    shapes = (b, n, t, h), (b, g, s, h), (b, g, s, h)
    return [torch.randn(x, generator=random, dtype=torch.float64).to(dtype) for x in shapes]


# What is timed


@pytest.mark.parametrize("form", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_all_forms_give_the_same(form, dtype):
    q = torch.randn(2, 6, 1, 5).to(dtype)
    cache = KVCache(2, 3, 9, 5, dtype)
    k, v = cache.append(*torch.randn(2, 2, 3, 7, 5).to(dtype))
    expected, _ = attention(q.double(), k.double(), v.double())
    tolerance = 1e-6 if dtype == torch.float32 else 2e-2
    output = ALL[form](q, k, v)
    torch.testing.assert_close(output.double(), expected, atol=tolerance, rtol=tolerance)


@pytest.mark.parametrize("form", ["SDPA, enable_gqa", "SDPA, groups as rows"])
@pytest.mark.parametrize("g", [8, 2, 1])
def test_the_last_tokens_do_not_see_what_comes_later(form, g):
    q, k, v = qkv(g=g, t=3)
    close(ALL[form](q, k, v, causal_mask(3, 7)), causal_attention(q, k, v)[0])


@pytest.mark.parametrize("t", [1, 2, 5])
@pytest.mark.parametrize(
    "n, head_dim, kv_rank, rope_dim, value_dim", [(6, 5, 8, 2, 7), (1, 3, 2, 4, 3)]
)
def test_mla_s_forms_are_those_of_its_layer(t, n, head_dim, kv_rank, rope_dim, value_dim):
    """Over a cache with room behind it, whose rows lie apart."""
    torch.manual_seed(0)
    sizes = {"d_model": 12, "n_heads": n, "head_dim": head_dim, "kv_rank": kv_rank}
    layer = MultiHeadLatentAttention(**sizes, rope_dim=rope_dim, value_dim=value_dim).double()
    cache = LatentCache(2, kv_rank, rope_dim, max_tokens=9, dtype=torch.float64)
    x = torch.randn(2, 7, 12, dtype=torch.float64)
    with torch.no_grad():
        expected = layer.expanded(x)[0][:, -t:]
        q, rows = layer.queries(x)[:, :, -t:], cache.append(layer.rows(x))[:, None]
        w_up = layer.kv_b_proj.weight
        mask = causal_mask(t, 7) if t > 1 else None
        output = decode_times.expanded(q, rows, w_up, mask)
        close(layer.o_proj(merge_heads(output)), expected)
        w_uk, w_uv = w_up.unflatten(0, (n, -1)).split([head_dim, value_dim], dim=1)
        q = torch.cat([q[..., :head_dim] @ w_uk, q[..., head_dim:]], dim=-1)
        q = q * ((kv_rank + rope_dim) / (head_dim + rope_dim)) ** 0.5
        output = decode_times.absorbed(q, rows, kv_rank, mask)
        close(layer.o_proj(merge_heads(output @ w_uv.mT)), expected)
        close(decode_times.as_rows(q, rows, rows[..., :kv_rank], mask), output)


def test_only_the_expanded_form_makes_more_than_the_cache():
    q, rows, w_up = torch.ones(1, 12, 1, 18), torch.ones(1, 1, 300, 18), torch.ones(12 * 13, 16)
    assert largest_tensor(decode_times.absorbed, q, rows, 16) == rows.nbytes
    assert largest_tensor(decode_times.expanded, q[..., :7], rows, w_up) == 300 * 12 * 13 * 4


def test_mha_has_nothing_to_repeat():
    q, k = torch.ones(1, 12, 1, 8), torch.ones(1, 12, 300, 8)
    assert largest_tensor(decode_times.repeated, q, k, k) < k.nbytes


def test_only_repeat_kv_lays_the_cache_out_for_all_heads():
    """With n = 12, g = 2: six times K."""
    q, k = torch.ones(1, 12, 1, 8), torch.ones(1, 2, 300, 8)
    copied = {name: largest_tensor(form, q, k, k) for name, form in ALL.items()}
    assert copied["SDPA, repeat_kv"] == 6 * k.nbytes
    assert max(copied["decode_attention"], copied["SDPA, groups as rows"]) < 2 * k.nbytes


@pytest.mark.parametrize("g", [8, 2, 1])
def test_a_prefill_is_causal_attention_of_grouped_heads(g):
    q, k, v = qkv(g=g, t=7)
    close(decode_times.prefill(q, k, v), causal_attention(q, k, v)[0])


class OnGPU(torch.Tensor):
    """A tensor that claims to be on a GPU."""

    is_cuda = property(lambda self: True)


@pytest.mark.parametrize("g", [8, 2, 1])
def test_a_prefill_without_a_fused_kernel_keeps_no_scores(g, monkeypatch):
    """On a T4 the plain one would be taken for g < n: of 8,192 tokens 8 GiB of scores."""
    q, k, v = (x.as_subclass(OnGPU) for x in qkv(g=g, t=7))
    asked = []

    def sdpa(q, k, v, is_causal, enable_gqa):
        asked.append(enable_gqa)
        return scaled_dot_product_attention(q, k, v, is_causal=is_causal)  # refuses other heads

    monkeypatch.setattr(decode_times, "scaled_dot_product_attention", sdpa)
    monkeypatch.setattr(decode_times, "gqa_kernels", lambda q, k, v: [])
    output = decode_times.prefill(q, k, v).as_subclass(torch.Tensor)
    close(output, causal_attention(*(x.as_subclass(torch.Tensor) for x in (q, k, v)))[0])
    assert asked == [False]


def test_a_gpu_s_parts_in_float16_are_those_of_attention():
    """It scores in float32, as scores may be larger than float16 holds."""
    q, k, v = (x.half().as_subclass(OnGPU) for x in qkv(g=2))
    parts = decode_times.parts(300 * q, 300 * k, v)
    scores, weights, output = (part(q, 300 * k, v) for part in parts.values())
    assert scores.dtype == torch.float32 and scores.abs().max() > 65_504
    assert weights.dtype == output.dtype == torch.float16 and not output.isnan().any()


@pytest.mark.parametrize("kind", [torch.Tensor, OnGPU])
@pytest.mark.parametrize("g", [8, 2, 1])
def test_one_part_after_the_other_is_the_whole_step(g, kind):
    q, k, v = qkv(g=g)
    given = [x.as_subclass(kind) for x in (q / 5**0.5, k, v)]
    parts = decode_times.parts(*given)
    scores, weights, output = (part(*given).as_subclass(torch.Tensor) for part in parts.values())
    assert list(parts) == ["q · k", "softmax", "weights · v"]
    expected, of_attention = attention(q, k, v)
    close(scores.softmax(-1), weights)
    close(weights.view(2, 8, 1, 7), of_attention)
    close(output.view(2, 8, 1, 5), decode_attention(q, k, v))
    close(output.view(2, 8, 1, 5), expected)


def test_a_cpu_s_parts_are_those_of_decode_attention(monkeypatch):
    called = []

    def listen(name, own):
        heard = lambda *x: called.append(name) or own(*x)  # noqa: E731
        for module in (library, decode_times):
            monkeypatch.setattr(module, name, heard)

    for name in ("score_rows", "average_rows"):
        listen(name, getattr(library, name))
    q, k, v = qkv()
    decode_attention(q, k, v)
    assert called == ["score_rows", "average_rows"]
    parts = decode_times.parts(q, k, v)
    called.clear()
    [part(q, k, v) for part in parts.values()]
    assert called == ["score_rows", "average_rows"]
    called.clear()
    on_gpu = [x.as_subclass(OnGPU) for x in (q, k, v)]
    [part(*on_gpu) for part in decode_times.parts(*on_gpu).values()]
    assert not called


ABLE = {
    "flash": "can_use_flash_attention",
    "cuDNN": "can_use_cudnn_attention",
    "memory-efficient": "can_use_efficient_attention",
}


@pytest.mark.parametrize("says_yes", [[], ["cuDNN"], ["flash", "cuDNN"], [*ABLE]])
def test_the_kernels_that_take_grouped_heads_are_those_that_say_so(says_yes, monkeypatch):
    """None says so on a T4."""
    q, k, v = qkv()
    asked = []
    for name, function in ABLE.items():
        can = lambda given, name=name: asked.append(given) or name in says_yes  # noqa: E731
        monkeypatch.setattr(torch.backends.cuda, function, can)
    assert decode_times.gqa_kernels(q, k, v) == []  # a CPU has another one
    assert decode_times.gqa_kernels(*(x.to("meta") for x in (q, k, v))) == []
    assert not asked
    assert decode_times.gqa_kernels(*(x.as_subclass(OnGPU) for x in (q, k, v))) == says_yes
    assert len(asked) == 3
    for given in asked:
        assert (given.query.shape, given.key.shape, given.value.shape) == (
            q.shape,
            k.shape,
            v.shape,
        )
        assert given.enable_gqa and not given.is_causal and given.attn_mask is None


def tiny(g=2, dtype=torch.float64, **sizes):
    """A decoder of two layers."""
    torch.manual_seed(0)
    config = {
        "model_type": "llama", "hidden_size": 24, "num_attention_heads": 6,
        "num_key_value_heads": g, "num_hidden_layers": 2, "vocab_size": 11,
        "intermediate_size": 40, "rms_norm_eps": 1e-6,
    }  # fmt: skip
    return Decoder(config | sizes).to(dtype)


def listen_to_caches(model, monkeypatch):
    """The caches that a decoder gives from now on."""
    given, caches = [], model.caches

    def listen(*sizes):
        given.extend(caches(*sizes))
        return given

    monkeypatch.setattr(model, "caches", listen)
    return given


def test_a_whole_step_is_the_decoder_s_over_a_full_cache(monkeypatch):
    model = tiny()
    filled = [KVCache(3, 2, 9, 4, torch.float64) for _ in range(2)]
    for cache in filled:
        cache.append(*torch.full((2, 3, 2, 6, 4), 0.1, dtype=torch.float64))
    ids = torch.zeros(3, 1, dtype=torch.long)
    expected, _ = model(ids, filled)
    caches = listen_to_caches(model, monkeypatch)
    step = maker.whole_step(model, batch=3, n_tokens=7)
    for _ in range(3):  # always the same one
        logits, _ = step()
        close(logits, expected)
        assert [cache.n_tokens for cache in caches] == [7, 7]
        for cache, other in zip(caches, filled, strict=True):
            assert cache.k.shape == (3, 2, 7, 4)  # room for no more
            for own, its in ((cache.k, other.k), (cache.v, other.v)):
                assert (own[:, :, :6] == 0.1).all()
                close(own, its[:, :, :7])


# How it is timed


class Clock:
    """Time that passes only where a test says so."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        monkeypatch.setattr(decode_times.time, "perf_counter", lambda: self.now)


def test_times_are_quartiles_of_milliseconds_and_the_first_turn_does_not_count(monkeypatch):
    clock, heard = Clock(monkeypatch), []

    def form(name, each):
        taken = iter(each)

        def run(q, k, v):
            heard.append(name)
            clock.now += next(taken) / 1000

        return run

    forms = {"a": form("a", [99, 3, 1, 2]), "b": form("b", [99, 10, 10, 10])}
    times = decode_times.time_forms(forms, 4, 2, head_dim=8, n_tokens=16, repeats=3)
    assert times["a"] == pytest.approx((1.5, 2, 2.5))
    assert times["b"] == pytest.approx((10, 10, 10))
    turns = [tuple(heard[i : i + 2]) for i in range(0, 8, 2)]
    assert set(turns) == {("a", "b"), ("b", "a")}  # they take turns, in changing order


@pytest.mark.parametrize("batch", [1, 3])
def test_every_turn_reads_another_cache_of_the_right_shape(batch, monkeypatch):
    monkeypatch.setattr(decode_times, "COLD", batch * 2**16)
    seen = []
    forms = {name: lambda q, k, v: seen.append((q, k, v)) for name in "ab"}
    decode_times.time_forms(forms, 6, 2, 8, 32, dtype=torch.bfloat16, repeats=17, batch=batch)
    q, k, v = seen[0]
    assert q.shape == (batch, 6, 1, 8) and k.shape == v.shape == (batch, 2, 32, 8)
    assert {x.dtype for x in (q, k, v)} == {torch.bfloat16}
    places = [k.data_ptr() for _, k, _ in seen]
    assert len(seen) == 36 and len(set(places[:32])) == 32  # one after the other
    assert k.data_ptr() != v.data_ptr()
    held = 2 * k.numel() * k.itemsize
    assert batch * 2**16 // held == len(set(places))  # together as much as COLD
    assert not k.is_contiguous()  # a cache with room, as KVCache gives it


@pytest.mark.parametrize(
    "device, ways, read, rows, at_once, dtype",
    [
        ("cpu", 1, 2**28, 1024, 1, torch.float64),
        ("meta", 2, 2**30, 8192, 4, torch.bfloat16),
    ],
)
def test_bandwidth_and_peak_are_those_of_the_fastest_call(
    device, ways, read, rows, at_once, dtype, monkeypatch
):
    """In GB/s and Tflop/s; what is no CPU is given four calls at once, and two ways to read."""
    taken = [1.0] * 20 * (ways - 1) + [0.5, 0.25] + [1.0] * 18
    asked, next_one = [], iter(taken + taken)

    def seconds(function):
        asked.append(function())
        return next(next_one)

    monkeypatch.setattr(decode_times, "seconds", seconds)
    assert decode_times.bandwidth(device) == pytest.approx(read * at_once / 0.25 / 1e9)
    assert len(asked) == 20 * ways and {len(x) for x in asked} == {at_once}
    asked.clear()
    next_one = iter([0.5, 0.25] + [1.0] * 18)
    assert decode_times.peak(dtype, device) == pytest.approx(2 * rows**3 * at_once / 0.25 / 1e12)
    (product, *_), *_ = asked
    assert len(asked) == 20 and len(asked[0]) == at_once
    assert product.shape == (rows, rows) and product.dtype == dtype


def test_appending_is_timed_behind_the_tokens_there_are(monkeypatch):
    lengths = []
    append = KVCache.append

    def listen(self, k, v):
        lengths.append(self.n_tokens)
        return append(self, k, v)

    monkeypatch.setattr(KVCache, "append", listen)
    low, median, high = maker.time_append(2, 8, n_tokens=50, repeats=4)
    assert lengths == [50, 51, 52, 53]
    assert 0 < low <= median <= high


# What the maker writes


def test_the_machine_has_a_name(monkeypatch):
    name = maker.hardware("cpu")
    assert name.split(", ")[1].endswith(" cores") and len(name.split(", ")[0]) > 3
    assert name.endswith(torch.backends.cpu.get_cpu_capability()) and "(" not in name
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "A card")
    assert maker.hardware("cuda") == "A card"


SPEEDS = {torch.float32: 4.0, torch.bfloat16: 8.0}  # Tflop/s


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs `main` where nothing takes time, and gives its tables and what it printed."""
    (tmp_path / "results").mkdir()
    quartiles = 1.0, 2.0, 3.0
    fakes = {
        "data_path": lambda *names: tmp_path.joinpath(*names),
        "hardware": lambda where: f"A {where}, 3 cores",
        "bandwidth": lambda where: 2.5,
        "peak": lambda dtype, where: SPEEDS[dtype],
        "tqdm": lambda rows, label: rows,
        "flex": lambda s, where: {"FlexAttention, compiled": decode_times.enable_gqa},
        "time_forms": lambda forms, *given, **more: {name: quartiles for name in forms},
        "time_call": lambda function, *given, **more: quartiles,
        "parts": lambda *x: parts(*(y[..., :1] for y in x)),
        "prefill": lambda q, k, v: None,
        "decoder": lambda sizes, g, dtype: decoder(sizes, g, dtype, "meta"),
    }
    parts, decoder = maker.parts, maker.decoder

    def main(where, **other):
        for name, fake in (fakes | other).items():
            monkeypatch.setattr(maker, name, fake)
        maker.main(where)
        files = {x.name: pd.read_csv(x) for x in tmp_path.glob("results/*.csv")}
        suffix = f"_a-{where}-3-cores.csv"
        assert all(name.endswith(suffix) for name in files)
        return {x.removesuffix(suffix): y for x, y in files.items()}, capsys.readouterr().out

    return main


def assert_same_cells(table, expected):
    of_both = (x[cell(expected)].reset_index(drop=True) for x in (table, expected))
    pd.testing.assert_frame_equal(*of_both)


def cell(table):
    return [column for column in (*CELL, "n_new") if column in table]


def assert_columns(what, table):
    kernel = ["kernel"] if "kernel" in table else []
    assert list(table) == FIRST + TIMES + kernel + OWN.get(what, []) + LAST


def test_on_a_cpu_two_tables_are_written(run):
    tables, said = run("cpu")
    assert set(tables) == {"decode", "parts"}
    for what, table in tables.items():
        assert_columns(what, table)
        assert set(table.hardware) == {"A cpu, 3 cores"} and set(table.run) == {"calls"}
        assert set(table.torch) == {torch.__version__} and set(table.bandwidth_gb_s) == {2.5}
        assert (table.peak_tflop_s == table.dtype.map({"float32": 4.0, "bfloat16": 8.0})).all()
        assert all(form in said for form in table.form)
        assert_same_cells(table, shipped(what, XEON))
    assert len(said.splitlines()) == 1 + sum(1 + len(table) for table in tables.values())
    assert "A cpu, 3 cores: reads 2.5 GB/s" in said
    decode = tables["decode"]
    assert (decode.median_ms[decode.form != "KVCache.append"] == 2.0).all()


def weights_read(sizes, g, form):
    """All but the table of words that come in."""
    config = sizes | {"model_type": "llama", "rms_norm_eps": 1e-5, "num_key_value_heads": g}
    if form.startswith("empty"):
        config |= maker.HOLLOW
    with torch.device("meta"):
        named = dict(Decoder(config).named_parameters())
    del named["embed_tokens.weight"]
    return sum(x.numel() for x in named.values())


class Elsewhere(TorchFunctionMode):
    """What is to be made on a GPU is made in another place."""

    def __init__(self, place):
        super().__init__()
        self.place = place

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if kwargs.get("device") == "cuda":
            kwargs = kwargs | {"device": self.place}
        return function(*args, **kwargs)


def test_on_a_gpu_four_tables_are_those_that_are_shipped(run, monkeypatch):
    """The forms run on meta tensors; what does not fit into 100 GB, or a kernel, is left out."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    checked, compiled = set(), lambda *x: decode_times.enable_gqa(*x)

    def time_forms(forms, n, g, h, s, dtype, device, batch):
        assert (n, h, dtype, device, len(forms)) == (32, 128, torch.bfloat16, "cuda", 1)
        if s == 1 and "cuDNN" in str(forms):
            raise RuntimeError("no such kernel\nmore")
        return {name: (1.0, 2.0, 3.0) for name in forms}

    def time_steps(model, b, s, how):
        n_bytes = 2 * 2 * 32 * model.architecture.n_kv_heads * 128 * s * b
        return [] if n_bytes > 10**11 else [(x, (1.0, 2.0, 3.0)) for x in ("calls", "graph")]

    def timed_call(function, *given, **more):
        function(*given)
        return 10.0, 20.0, 30.0

    with Elsewhere("meta"):
        tables, said = run(
            "cuda",
            flex=lambda s, where: {"FlexAttention, compiled": compiled},
            time_forms=time_forms,
            time_steps=time_steps,
            time_call=timed_call,
            graph=lambda function: function,
            check=lambda form, g, s, dtype: checked.add((form, g)),
            longest_kernel=lambda form, q, caches: "{3} {4} {2}".format(*caches.shape),
        )
    assert set(tables) == {"decode", "prefill", "steps", "latent"}
    for what, table in tables.items():
        assert_columns(what, table)
        assert_same_cells(table, shipped(what, H200))
    assert "kernels that take grouped heads: []" in said
    assert "SDPA, enable_gqa, cuDNN, g = 32, b = 1, s = 1: no such kernel\n" in said
    once = {(compiled, 8)}  # it takes long to compile
    assert checked == {(form, g) for form in maker.ON_GPU.values() for g in EVERY_G} | once
    decode = tables["decode"]
    sizes = decode[["n_kv_heads", "n_tokens", "batch"]].astype(str).agg(" ".join, axis=1)
    assert (decode.kernel == sizes).all()
    assert set(decode[decode.run == "calls"].median_ms) == {2.0}
    small = decode[(decode.run == "graph") & (decode.n_tokens == 1)]
    assert set(small.median_ms) == {20 / 64}  # of so many caches, one after the other
    large = decode[(decode.run == "graph") & (decode.n_tokens == 32768) & (decode.batch == 32)]
    assert set(large.median_ms) == {20 / 2}


def test_a_graph_calls_a_form_on_one_cache_after_the_other(monkeypatch):
    monkeypatch.setattr(maker, "graph", lambda function: function)
    monkeypatch.setattr(decode_times, "COLD", 5 * decode_bytes(2, 8, 16, 2) * 3)
    monkeypatch.setattr(maker, "time_call", lambda f: f() and (5.0, 10.0, 15.0))
    seen = []
    form = lambda q, k, v: seen.append((q.shape, k.shape, k.data_ptr(), v.data_ptr()))  # noqa: E731
    with Elsewhere("cpu"):
        times = maker.time_graph(form, *maker.cold((3, 2, 16, 8), 6, torch.bfloat16))
    assert times == (1, 2, 3)
    assert len(seen) == 5 and {x[:2] for x in seen} == {((3, 6, 1, 8), (3, 2, 16, 8))}
    assert len({place for x in seen for place in x[2:]}) == 10


def test_a_latent_cache_is_cold_too(monkeypatch):
    """Of 2 · 18 · 16 bytes, three times: rows, and neither K nor V."""
    monkeypatch.setattr(decode_times, "COLD", 5 * 3 * 2 * 18 * 16)
    with Elsewhere("cpu"):
        q, caches = maker.cold((3, 1, 16, 18), 6, torch.bfloat16, n_new=2, width=7, kept=1)
    assert q.shape == (3, 6, 2, 7) and caches.shape == (5, 1, 3, 1, 16, 18)


def test_a_graph_is_captured_once_its_kernels_are_warm(monkeypatch):
    heard = []

    @contextmanager
    def within(what):
        heard.append(f"begin {what}")
        yield
        heard.append(f"end {what}")

    class Graph:
        def __str__(self):
            return "graph"

        def replay(self):
            heard.append("replay")

    monkeypatch.setattr(torch.cuda, "synchronize", lambda: heard.append("wait"))
    monkeypatch.setattr(torch.cuda, "Stream", lambda: "stream")
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    for name in ("stream", "graph"):
        monkeypatch.setattr(torch.cuda, name, within)
    replay = maker.graph(lambda: heard.append("call"))
    warm = ["wait", "begin stream", "call", "call", "end stream", "wait"]
    assert heard == [*warm, "begin graph", "call", "end graph", "replay"]
    replay()
    assert heard[-2:] == ["replay", "replay"]


@pytest.mark.parametrize("g", [32, 8, 1])
def test_a_form_is_checked_against_attention(g, monkeypatch):
    monkeypatch.setattr(maker, "sdpa_kernel", lambda kernel: nullcontext())  # a CPU has others
    off = lambda q, k, v: 1.02 * attention(q, k, v)[0]  # noqa: E731
    lost = lambda q, k, v: torch.nan * q  # noqa: E731
    with Elsewhere("cpu"):
        for form in maker.ON_GPU.values():
            maker.check(form, g, 300, torch.bfloat16)
        with pytest.raises(RuntimeError, match=r"^off by 0\.02\d of the result$"):
            maker.check(off, g, 300, torch.float32)
        with pytest.raises(RuntimeError, match=r"^off by nan of the result$"):
            maker.check(lost, g, 300, torch.float32)


def test_a_kernel_is_pinned_while_its_form_runs(monkeypatch):
    heard = []
    monkeypatch.setattr(maker, "sdpa_kernel", lambda x: heard.append(x.name) or nullcontext())
    q, k, v = qkv()
    for name, form in maker.ON_GPU.items():
        heard.clear()
        close(form(q, k, v), attention(q, k, v)[0])
        kernel = {"flash": ["FLASH_ATTENTION"], "cuDNN": ["CUDNN_ATTENTION"]}
        assert heard == kernel.get(name.split(", ")[-1], [])


@pytest.mark.parametrize("kernels, longest", [({"b": 3, "a" * 200: 5}, "a" * 120), ({}, "")])
def test_the_kernel_named_is_the_longest(kernels, longest, monkeypatch):
    on_gpu, on_cpu = torch.autograd.DeviceType.CUDA, torch.autograd.DeviceType.CPU
    events = [
        SimpleNamespace(
            name=name, device_type=where, time_range=SimpleNamespace(elapsed_us=lambda us=us: us)
        )
        for name, us, where in [*((x, y, on_gpu) for x, y in kernels.items()), ("call", 9, on_cpu)]
    ]
    profiled = SimpleNamespace(events=lambda: events)
    monkeypatch.setattr(maker, "profile", lambda activities: nullcontext(profiled))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    seen = []
    with Elsewhere("meta"):
        form = lambda *x: seen.extend(x)  # noqa: E731
        given = maker.cold((3, 4, 9, 128), 32, torch.float16, most=1)
        assert maker.longest_kernel(form, *given) == longest
    assert [x.shape for x in seen] == [(3, 32, 1, 128), (3, 4, 9, 128), (3, 4, 9, 128)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_decoder_is_made_in_its_dtype_and_counts_what_a_step_reads(dtype):
    sizes = maker.LLAMA | {"num_hidden_layers": 2, "vocab_size": 5}
    model, n_weights = maker.decoder(sizes, 4, dtype, "meta")
    assert {x.dtype for x in model.parameters()} == {dtype}
    assert not any(x.requires_grad for x in model.parameters())
    assert {rope.keywords["inv_freq"].device.type for rope in model.ropes} == {"meta"}
    assert n_weights == weights_read(sizes, 4, "decoder")
    assert torch.get_default_dtype() == torch.float32
    assert model(torch.zeros(1, 1, dtype=torch.long, device="meta"))[0].shape == (1, 1, 5)


def test_a_decoder_s_step_is_timed_by_calls_and_in_a_graph_with_fused_attention(monkeypatch):
    model, heard, logits = tiny().requires_grad_(False), [], []
    expected, _ = maker.whole_step(model, 3, 7)()
    compiled = []
    for layer in model.layers:
        monkeypatch.setattr(layer, "compile", lambda dynamic: compiled.append(dynamic))
        layer._compiled_call_impl = lambda *x: pytest.fail("compiled for another shape")
    fused = maker.fused
    monkeypatch.setattr(maker, "fused", lambda *x: heard.append(x[1].shape) or fused(*x))
    monkeypatch.setattr(maker, "graph", lambda step: step)

    def time_call(step, repeats=9):
        logits.append(step()[0])
        return 1.0 * repeats, 10.0, 11.0

    monkeypatch.setattr(maker, "time_call", time_call)
    for how, asked in (("", []), (", compiled", [False, False])):
        times = maker.time_steps(model, 3, 7, how)
        assert times == [("calls", (5.0, 10.0, 11.0)), ("graph", (9.0, 10.0, 11.0))]
        assert heard == [(3, 2, 7, 4)] * 6  # two layers; warm, by calls, in a graph
        assert compiled == asked
        heard.clear()
    for x in logits:
        close(x, expected)
    assert library.causal_attention is causal_attention


def test_what_does_not_fit_is_told_and_left_out(monkeypatch, capsys):
    def whole_step(model, batch, n_tokens):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate")

    monkeypatch.setattr(maker, "whole_step", whole_step)
    assert maker.time_steps(tiny(), 256, 8192, ", compiled") == []
    assert capsys.readouterr().out == "b = 256, s = 8,192, compiled: CUDA out of memory.\n"


# The tables that are shipped


def least(what, row):
    """The ms that a row's step takes at least."""
    speeds = row.bandwidth_gb_s, row.peak_tflop_s
    n, g, h, b, s = row.n_heads, row.n_kv_heads, row.head_dim, row.batch, row.n_tokens
    n_bytes = b * decode_bytes(g, h, s, SIZE[row.dtype])
    n_flop = b * decode_flop(n, h, s)
    if row.form in ("softmax", "KVCache.append"):
        return 0
    if what == "parts":  # K or V
        return step_time(n_bytes / 2, n_flop / 2, *speeds)
    if what == "latent":
        v3 = {"n_heads": n, "kv_rank": 512, "rope_dim": 64, "n_tokens": s}
        if row.form == "expanded":
            n_flop = b * expanded_flop(head_dim=h, value_dim=h, **v3)
        elif row.kv_rank:
            n_flop = b * row.n_new * latent_flop(**v3)
        else:
            n_flop *= row.n_new
        if row.kv_rank:
            n_bytes = 2 * b * s * (512 + 64)
        return step_time(n_bytes, n_flop, *speeds)
    if what == "prefill":  # s queries, and each sees half of the tokens
        return step_time(n_bytes, n_flop * (s + 1) / 2, *speeds)
    if what != "steps":
        return step_time(n_bytes, n_flop, *speeds)
    weights = step_time(SIZE[row.dtype] * row.n_weights, 2 * b * row.n_weights, *speeds)
    return weights + step_time(row.n_layers * n_bytes, row.n_layers * n_flop, *speeds)


@pytest.mark.parametrize("what, machine", TABLES)
def test_no_step_is_faster_than_its_machine(what, machine):
    """But for 3 %: on the H200 attention reads faster than the sum that measured its bandwidth.

    And of the 8 GB that `latent` has for 128 heads, 7 % faster.
    """
    table = shipped(what, machine)
    assert_columns(what, table)
    assert (table.low_ms > 0).all() and not table.duplicated(cell(table)).any()
    assert (table.low_ms <= table.median_ms).all() and (table.median_ms <= table.high_ms).all()
    for row in table.itertuples():
        slack = (0.93 if what == "latent" else 0.97) if machine == H200 else 1
        assert row.median_ms >= slack * least(what, row), row
    for column in ("hardware", "torch", "bandwidth_gb_s"):
        assert table[column].nunique() == 1
    assert (table.groupby("dtype").peak_tflop_s.nunique() == 1).all()


@pytest.mark.parametrize("what", ["steps", "prefill"])
def test_the_h200_s_tables_are_of_one_run(what):
    same = ["hardware", "torch", "bandwidth_gb_s", "peak_tflop_s"]
    assert set(shipped(what, H200)[same].itertuples(index=False, name=None)) == set(
        shipped("decode", H200)[same].itertuples(index=False, name=None)
    )


def test_the_epyc_s_table_is_the_xeon_s_without_empty_calls_and_compiled_forms():
    of_xeon = shipped("decode", XEON).query("n_tokens > 1 and form != 'FlexAttention, compiled'")
    assert_same_cells(shipped("decode", EPYC), of_xeon)
    assert set(of_xeon.form) == {*ALL, "KVCache.append"}


def test_the_kernels_of_the_h200_are_those_that_were_asked_for():
    table = shipped("decode", H200).query("n_tokens > 1")
    assert set(table.form) == {*maker.ON_GPU, "FlexAttention, compiled"}
    for form, part in (
        ("SDPA, enable_gqa, flash", "pytorch_flash::flash_fwd"),
        ("SDPA, enable_gqa, cuDNN", "cudnn_generated"),
        ("SDPA, enable_gqa", "cudnn_generated"),  # the first that can
        ("FlexAttention, compiled", "flex_attention"),
    ):
        kernels = table[table.form == form].kernel
        assert len(kernels) and kernels.str.contains(part, regex=False).all()
    copied = table.query("form == 'SDPA, repeat_kv' and n_kv_heads == 16").kernel
    assert copied.str.contains("cudnn_generated|elementwise_kernel").all()


def test_mla_and_heads_beside_it_were_timed_by_fused_kernels():
    of_form = shipped("latent", H200).groupby("form").kernel
    for form, part in (("absorbed, SDPA", "fmha_cutlass"), ("SDPA,", "cudnn_generated")):
        found = [kernels.str.contains(part) for name, kernels in of_form if name.startswith(form)]
        assert found and all(x.all() for x in found)


def test_steps_say_how_many_weights_they_read():
    steps = shipped("steps", H200)
    assert list(steps.n_kv_heads.unique()) == [32, 8, 1] and set(steps.n_layers) == {32}
    for (g, form), of in steps.groupby(["n_kv_heads", "form"]):
        assert set(of.n_weights) == {weights_read(maker.LLAMA, g, form)}
        assert set(of.head_dim) == {8 if form.startswith("empty") else 128}


@pytest.mark.parametrize(
    "machine, file, run, dtype, s, b",
    [
        ("AMD EPYC", EPYC, "calls", "bfloat16", 1024, 1),
        ("Intel Xeon", XEON, "calls", "float32", 4096, 1),
        ("Intel Xeon", XEON, "calls", "float32", 1, 1),
        ("H200", H200, "graph", "bfloat16", 32768, 1),
        ("H200", H200, "graph", "bfloat16", 4096, 32),
    ],
)
def test_the_recorded_times_are_those_of_the_table(machine, file, run, dtype, s, b):
    times, reading, computing = results.decode_times(dtype, s, b, machine)
    table = shipped("decode", file).query("dtype == @dtype and n_tokens == @s and batch == @b")
    table = table.query("run == @run and form != 'KVCache.append'")
    assert sum(len(of) for of in times.values()) == len(table) > 0
    for row in table.itertuples():
        g = row.n_kv_heads
        assert times[row.form][g] == (row.low_ms, row.median_ms, row.high_ms)
        n_bytes, n_flop = 2 * b * g * 128 * s * SIZE[dtype], 4 * b * 32 * 128 * s
        assert reading[g] == pytest.approx(n_bytes / row.bandwidth_gb_s / 1e6)
        assert computing[g] == pytest.approx(n_flop / row.peak_tflop_s / 1e9)
    assert list(reading) == list(computing) == list(times["attention"]) == EVERY_G[::-1]


def test_recorded_rows_are_found_by_what_they_hold():
    (row,) = results.measured("prefill", "H200", "calls", n_tokens=8192, n_kv_heads=8)
    table = shipped("prefill", H200).query("n_tokens == 8192 and n_kv_heads == 8")
    assert vars(row) == table.iloc[0].to_dict()
    assert results.measured("prefill", "H200", "graph") == []
    found = map(vars, results.measured("parts", "Intel Xeon", "calls"))
    pd.testing.assert_frame_equal(pd.DataFrame(found), shipped("parts", XEON))


@pytest.mark.parametrize("s", [8192, 1])
def test_the_recorded_steps_are_those_of_the_table(s):
    steps = results.steps(s)
    table = shipped("steps", H200).query("run == 'graph' and n_tokens == @s")
    found = [(form, g, b) for form, x in steps.times.items() for g, y in x.items() for b in y]
    assert sorted(found) == sorted(zip(table.form, table.n_kv_heads, table.batch, strict=True))
    for row in table.itertuples():
        g = row.n_kv_heads
        assert steps.times[row.form][g][row.batch] == (row.low_ms, row.median_ms, row.high_ms)
        assert steps.n_weights[g] == row.n_weights
        assert (steps.bandwidth, steps.peak) == (row.bandwidth_gb_s, row.peak_tflop_s)


def test_the_recorded_times_of_mla_are_those_of_the_table():
    """Heads with keys of their own in the faster of two ways, and every form of every size."""
    table, times = shipped("latent", H200), results.latent_times()
    sizes = [(n, t) for n in (16, 32, 64, 128) for t in (1, 2)]
    assert set(table.batch) == {32} and set(table.n_tokens) == {4096}
    assert len(table) == len(sizes) * 9
    heads = {"MHA": None, "GQA-8": 8, "MQA": 1}
    assert sorted(times) == sorted(["absorbed", "absorbed, SDPA", "expanded", *heads])
    for form, of in times.items():
        assert list(of) == sizes
        for (n, t), ms in of.items():
            rows = table[(table.n_heads == n) & (table.n_new == t)]
            if form in heads:
                of_form = (rows.kv_rank == 0) & (rows.n_kv_heads == (heads[form] or n))
            else:
                of_form = (rows.kv_rank == 512) & (rows.form == form)
            rows = rows[of_form]
            assert len(rows) == 1 + (form in heads)
            assert ms == rows.median_ms.min()


def test_the_goals_are_met_on_the_course_s_own_machine():
    times, _, _ = results.decode_times("float32", n_tokens=4096)
    half, _, _ = results.decode_times("bfloat16", n_tokens=4096)
    for g, (_, median, _) in times["decode_attention"].items():
        flag = times["SDPA, enable_gqa"][g][1]
        assert median < flag and (g > 8 or 2 * median <= flag)
        assert half["decode_attention"][g][1] <= median
    appends = results.measured("decode", "AMD EPYC", "calls", form="KVCache.append")
    assert appends and all(row.high_ms < 0.2 for row in appends)
