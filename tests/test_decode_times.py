"""Laws of course_utils.experiments.decode_times: what a step must cost, and that what is timed is what it says."""

import pandas as pd
import pytest
import torch

from course_utils import data_path
from course_utils.attention import attention
from course_utils.experiments import decode_times, results
from course_utils.experiments.memory import largest_tensor
from course_utils.geometry import kv_cache_bytes
from course_utils.kv_cache import KVCache
from makers import decode_times as maker

pytestmark = pytest.mark.usefixtures("one_thread")
ALL = decode_times.FORMS | decode_times.REPEATED
GIVEN = "hardware,torch,dtype,n_heads,n_kv_heads,head_dim,n_tokens,form,low_ms,median_ms,high_ms"


def decode_csv():
    return pd.read_csv(data_path("results", "decode_amd-epyc-2-cores.csv"))


@pytest.mark.parametrize("g, h, s, size", [(1, 3, 5, 4), (8, 128, 4096, 2), (2, 7, 9, 8)])
def test_a_step_reads_what_the_cache_of_one_layer_holds(g, h, s, size):
    expected = kv_cache_bytes(1, 1, g, h, s, size)
    assert decode_times.decode_bytes(g, h, s, size) == expected
    dtype = {2: torch.bfloat16, 4: torch.float32, 8: torch.float64}[size]
    assert KVCache(1, g, s, h, dtype).n_bytes == expected


@pytest.mark.parametrize("n, g, h, s", [(6, 2, 3, 5), (4, 4, 8, 7)])
def test_a_step_does_the_flop_that_pytorch_counts_in_its_two_products(n, g, h, s):
    from torch.utils.flop_counter import FlopCounterMode

    q, k, v = torch.ones(1, n, 1, h), torch.ones(1, g, s, h), torch.ones(1, g, s, h)
    with FlopCounterMode(display=False) as counter:
        attention(q, k, v)
    assert decode_times.decode_flop(n, h, s) == counter.get_total_flops()


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


def test_mha_has_nothing_to_repeat():
    q, k = torch.ones(1, 12, 1, 8), torch.ones(1, 12, 300, 8)
    assert largest_tensor(decode_times.repeated, q, k, k) < k.nbytes


def test_only_repeat_kv_lays_the_cache_out_for_all_heads():
    """With n = 12, g = 2: six times K."""
    q, k = torch.ones(1, 12, 1, 8), torch.ones(1, 2, 300, 8)
    copied = {name: largest_tensor(form, q, k, k) for name, form in ALL.items()}
    assert copied["SDPA, repeat_kv"] == 6 * k.nbytes
    assert max(copied["decode_attention"], copied["SDPA, groups as rows"]) < 2 * k.nbytes


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


def test_every_turn_reads_another_cache_of_the_right_shape(monkeypatch):
    monkeypatch.setattr(decode_times, "COLD", 2**16)
    seen = []
    forms = {name: lambda q, k, v: seen.append((q, k, v)) for name in "ab"}
    decode_times.time_forms(forms, 6, 2, 8, n_tokens=32, dtype=torch.bfloat16, repeats=3)
    q, k, v = seen[0]
    assert (q.shape, k.shape, v.shape) == ((1, 6, 1, 8), (1, 2, 32, 8), (1, 2, 32, 8))
    assert {x.dtype for x in (q, k, v)} == {torch.bfloat16}
    places = [k.data_ptr() for _, k, _ in seen]
    assert len(set(places)) == len(seen) == 8
    assert k.data_ptr() != v.data_ptr()
    held = 2 * k.numel() * k.itemsize
    assert 2**16 // held >= len(set(places))  # together no more than COLD
    assert not k.is_contiguous()  # a cache with room, as KVCache gives it


def test_bandwidth_is_bytes_and_peak_flop_over_the_shortest_time(monkeypatch):
    taken = iter([0.5, 0.25] + [1.0] * 18 + [0.5, 0.125] + [1.0] * 18)
    asked = []

    def seconds(function, *arguments):
        asked.append(arguments)
        return next(taken)

    monkeypatch.setattr(decode_times, "seconds", seconds)
    assert decode_times.bandwidth() == 2**28 / 0.25
    assert decode_times.peak(torch.bfloat16) == 2 * 1024**3 / 0.125
    x, y = asked[-1]
    assert x.shape == y.shape == (1024, 1024) and x.dtype == torch.bfloat16


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


def test_the_machine_has_a_name():
    assert maker.hardware().endswith(" cores") and len(maker.hardware()) > 8


def test_main_writes_a_row_for_every_cell_and_prints_the_table(tmp_path, monkeypatch, capsys):
    (tmp_path / "results").mkdir()
    monkeypatch.setattr(maker, "data_path", lambda *parts: tmp_path.joinpath(*parts))
    monkeypatch.setattr(maker, "bandwidth", lambda: 2e9)
    monkeypatch.setattr(maker, "peak", lambda dtype: 4e9)
    monkeypatch.setattr(maker, "hardware", lambda: "A (R) CPU, 3 cores")
    given = []

    def time_forms(forms, n, g, h, s, dtype):
        given.append((n, g, h, s, dtype))
        return {name: (1.0, 2.0 + g, 3.0) for name in forms}

    monkeypatch.setattr(maker, "time_forms", time_forms)
    monkeypatch.setattr(maker, "time_append", lambda g, h, s, dtype: (0.1, 0.2, 0.3))
    maker.main()
    table = pd.read_csv(tmp_path / "results" / "decode_a-r-cpu-3-cores.csv")
    shipped = decode_csv()
    same = ["dtype", "n_heads", "n_kv_heads", "head_dim", "n_tokens", "form"]
    pd.testing.assert_frame_equal(table[same], shipped[same])
    row = table[(table.n_kv_heads == 8) & (table.n_tokens == 4096) & (table.dtype == "bfloat16")]
    assert row.bytes_ms.unique() == pytest.approx([1000 * 2 * 8 * 128 * 4096 * 2 / 2e9])
    assert row.flop_ms.unique() == pytest.approx([1000 * 4 * 32 * 128 * 4096 / 4e9])
    assert list(row.median_ms) == [10.0] * len(ALL) + [0.2]
    assert (32, 8, 128, 4096, torch.bfloat16) in given
    said = capsys.readouterr().out
    assert "A (R) CPU, 3 cores, one thread: reads 2.0 GB/s\n" in said
    assert "torch.float32: computes 4 Gflop/s\ntorch.bfloat16: computes 4 Gflop/s\n" in said
    assert "SDPA, enable_gqa" in said and "16384" in said


def test_the_shipped_table_holds_what_the_goals_speak_of():
    table = decode_csv()
    assert ",".join(table.columns) == GIVEN + ",bytes_ms,flop_ms"
    assert set(table.form) == {*ALL, "KVCache.append"}
    assert (table.low_ms <= table.median_ms).all() and (table.median_ms <= table.high_ms).all()
    steps = table[table.form != "KVCache.append"]
    assert (steps.low_ms > steps[["bytes_ms", "flop_ms"]].max(axis=1)).all()  # it is the least
    itemsize = table.dtype.map({"float32": 4, "bfloat16": 2})
    rate = 2 * table.n_kv_heads * table.n_tokens * 128 * itemsize / table.bytes_ms
    assert rate.max() < 1.01 * rate.min()  # one memory; four decimals


def test_the_recorded_times_are_those_of_the_table():
    times, reading, computing = results.decode_times("bfloat16", n_tokens=1024)
    for row in decode_csv().query("dtype == 'bfloat16' and n_tokens == 1024").itertuples():
        assert times[row.form][row.n_kv_heads] == (row.low_ms, row.median_ms, row.high_ms)
        assert reading[row.n_kv_heads] == row.bytes_ms
        assert computing[row.n_kv_heads] == row.flop_ms
    assert list(reading) == list(times["attention"]) == [1, 2, 4, 8, 16, 32]


def test_the_goals_are_met_on_the_course_s_own_machine():
    times, _, _ = results.decode_times("float32", n_tokens=4096)
    half, _, _ = results.decode_times("bfloat16", n_tokens=4096)
    for g, (_, median, _) in times["decode_attention"].items():
        flag = times["SDPA, enable_gqa"][g][1]
        assert median < flag and (g > 8 or 2 * median <= flag)
        assert half["decode_attention"][g][1] <= median
    assert decode_csv().query("form == 'KVCache.append'").high_ms.max() < 0.2
