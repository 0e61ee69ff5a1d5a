"""The tables in data/ that lessons draw, each as its picture takes it.

n query heads, g key/value heads, s tokens.
"""

import csv
import math
from statistics import fmean
from types import SimpleNamespace
from typing import NamedTuple

from course_utils import data_path
from course_utils.cost import decode_bytes, decode_flop, step_time


class DecodeTimes(NamedTuple):
    """Milliseconds of a decode step in one layer: as measured, and the least that is possible."""

    times: dict  # {form: {g: quartiles, the median between}}
    reading: dict  # {g: ms to read the cache}
    computing: dict  # {g: ms to compute}


class Steps(NamedTuple):
    """Milliseconds of a whole decode step, and what is needed to work out the least possible."""

    times: dict  # {form: {g: {users: quartiles, the median between}}}
    n_weights: dict  # {g: how many weights a step reads}
    bandwidth: float  # GB/s, measured
    peak: float  # Tflop/s, measured


class Machine(NamedTuple):
    """What a machine can do at most, as its data sheet says."""

    bandwidth: float  # GB/s
    float32: float  # Tflop/s
    half: float  # Tflop/s in float16 or bfloat16, dense
    memory: float  # GB


def rows(*parts, **where):
    """The rows of a table in data/ in which these columns have these values.

    Numbers are numbers, and what is empty is None.

    >>> rows("machines.csv", machine="H100")[0].bandwidth_gb_s
    3350
    """
    with data_path(*parts).open(encoding="utf-8", newline="") as file:
        found = [{name: value(x) for name, x in row.items()} for row in csv.DictReader(file)]
    return [
        SimpleNamespace(**row)
        for row in found
        if all(row[name] == wanted for name, wanted in where.items())
    ]


def value(text):
    """What a cell of a table says: a whole number, a number, a text, or None if it is empty.

    >>> value("8"), value("0.5"), value("MHA"), value("")
    (8, 0.5, 'MHA', None)
    """
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text or None


def by(name, found, what):
    """What each row has, in a list for each value of a column, the values in order."""
    table = {}
    for row in sorted(found, key=lambda row: getattr(row, name)):
        table.setdefault(getattr(row, name), []).append(getattr(row, what))
    return table


def accuracies(n_heads, steps, match="width", rate=0.005):
    """The share of right answers after training, from quality.csv: {g: a list, one a seed}.

    match is "width", all other sizes equal, or "parameters", the MLP widened to as many as MHA's;
    rate the highest learning rate, where it is not 0.005 only of g = 2 and 1.

    >>> accuracies(n_heads=8, steps=1800)[1]
    [0.634, 0.628, 0.63, 0.63, 0.619]
    """
    of_n = trained(n_heads=n_heads, kv_rank=0, rate=rate, steps=steps, step=steps)
    return by("n_kv_heads", [row for row in of_n if row.match in (match, "both")], "accuracy")


def trained(**where):
    """The rows of quality.csv."""
    return rows("results", "quality.csv", **where)


def latent_accuracies(steps, rate=0.005):
    """The share of right answers of models with MLA, n = 8: {kv_rank: a list, one a seed}.

    They have no RoPE key, and all else is as in `accuracies(8, steps, rate=rate)`.

    >>> list(latent_accuracies(600))
    [16, 32]
    """
    found = trained(rate=rate, steps=steps, step=steps)
    return by("kv_rank", [row for row in found if row.kv_rank], "accuracy")


def by_distance(window, full=0, steps=600):
    """The share of right answers from windows.csv: {distance in rows: a list, one a seed}.

    All four layers have this window but number `full`, 1 to 4, which sees all; 0: none does.

    >>> [round(x, 2) for x in by_distance(window=8)[7]]
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    found = rows("results", "windows.csv", window=window, full=full, steps=steps)
    return by("distance", found, "right")


def curves(n_heads, steps):
    """The share of right answers on the way, from quality.csv: {g: a list of (step, share) a seed}.

    All other sizes are equal. The largest g comes first.

    >>> first_seed, *_ = curves(n_heads=8, steps=600)[8]
    >>> first_seed[:2]
    [(50, 0.135), (100, 0.301)]
    """
    found = trained(n_heads=n_heads, kv_rank=0, rate=0.005, steps=steps)
    points = {}
    for row in sorted(found, key=lambda row: (-row.n_kv_heads, row.seed)):
        if row.match != "parameters":
            run = points.setdefault(row.n_kv_heads, {}).setdefault(row.seed, [])
            run.append((row.step, row.accuracy))
    return {g: list(runs.values()) for g, runs in points.items()}


def conversions():
    """The share of right answers of converted models, from conversion.csv, one a seed.

    {g: {method: {share of the training they were trained on for: a list}}}; the method of g = 8 is
    "none": the MHA models that the others were made from.

    >>> conversions()[4]["mean"][0.1]
    [0.961, 0.923, 0.952, 0.867, 0.944]
    """
    table = {}
    for row in rows("results", "conversion.csv"):
        of_method = table.setdefault(row.n_kv_heads, {}).setdefault(row.method, {})
        of_method.setdefault(row.uptraining, []).append(row.accuracy)
    return table


FILES = {  # of each machine, as `make bench` names them
    "AMD EPYC": "amd-epyc-2-cores",
    "Intel Xeon": "intel-xeon-processor-16-cores-avx512",
    "H200": "nvidia-h200",
}


def measured(what, machine, run, **where):
    """The rows that `make bench` wrote of a machine, called one by one or in a CUDA graph."""
    return rows("results", f"{what}_{FILES[machine]}.csv", run=run, **where)


def decode_times(dtype, n_tokens, batch=1, machine="AMD EPYC"):
    """The `DecodeTimes` that `make bench` measured; those of the H200 in a CUDA graph.

    dtype "float32" or "bfloat16", on the H200 only this; n_tokens 1024, 4096 or 16384, on the H200
    32768 for a batch of 1 or 32, and 4096 for 32; of 1 is next to nothing: what a call takes by
    itself. n = 32, h = 128. machine may also be "Intel Xeon".

    >>> epyc = decode_times("float32", n_tokens=4096)
    >>> list(epyc.reading), len(epyc.times["decode_attention"][1])
    ([1, 2, 4, 8, 16, 32], 3)
    """
    run = "graph" if machine == "H200" else "calls"
    found = measured("decode", machine, run, dtype=dtype, n_tokens=n_tokens, batch=batch)
    found = [row for row in found if row.form != "KVCache.append"]
    times, reading, computing = {}, {}, {}
    for row in sorted(found, key=lambda row: row.n_kv_heads):
        g, h, size = row.n_kv_heads, row.head_dim, {"float32": 4, "bfloat16": 2}[dtype]
        times.setdefault(row.form, {})[g] = row.low_ms, row.median_ms, row.high_ms
        n_bytes, n_flop = decode_bytes(g, h, n_tokens, size), decode_flop(row.n_heads, h, n_tokens)
        speeds = row.bandwidth_gb_s, row.peak_tflop_s
        reading[g] = step_time(batch * n_bytes, 0, *speeds)
        computing[g] = step_time(0, batch * n_flop, *speeds)
    return DecodeTimes(times, reading, computing)


def steps(n_tokens):
    """The `Steps` of a decoder with Llama-3 8B's sizes on the H200, each a CUDA graph.

    n_tokens each user has in the cache, 8192; of 1 there is only the form "empty", one user and
    next to no weights: what the calls take by themselves.

    >>> sorted(steps(8192).times["decoder"][8])
    [1, 2, 4, 8, 16, 32, 64]
    """
    found, times = measured("steps", "H200", "graph", n_tokens=n_tokens), {}
    for row in found:
        of_g = times.setdefault(row.form, {}).setdefault(row.n_kv_heads, {})
        of_g[row.batch] = row.low_ms, row.median_ms, row.high_ms
    n_weights = {g: of[0] for g, of in by("n_kv_heads", found, "n_weights").items()}
    return Steps(times, n_weights, found[0].bandwidth_gb_s, found[0].peak_tflop_s)


def latent_times():
    """Milliseconds of t new tokens' attention in one layer on the H200: {form: {(n, t): median}}.

    DeepSeek-V3's sizes with n heads, 32 users with 4,096 tokens each, in a CUDA graph. MLA is
    "absorbed", also by PyTorch's own attention, or "expanded"; MHA, GQA-8 and MQA have heads of
    128, in the faster of two ways.

    >>> [form for form, of in latent_times().items() if (128, 1) in of]
    ['absorbed', 'absorbed, SDPA', 'expanded', 'MHA', 'GQA-8', 'MQA']
    """
    times = {}
    for row in measured("latent", "H200", "graph"):
        heads = {row.n_heads: "MHA", 8: "GQA-8", 1: "MQA"}
        of = times.setdefault(row.form if row.kv_rank else heads[row.n_kv_heads], {})
        size = row.n_heads, row.n_new
        of[size] = min(row.median_ms, of.get(size, row.median_ms))
    return times


class Score(NamedTuple):
    """What a study says of one benchmark, in points; None where it says nothing."""

    study: str
    benchmark: str
    mha: float
    mqa: float | None
    gqa: float | None


def published():
    """The `Score` of MHA, MQA and GQA in published studies, one for each benchmark.

    From published.csv, without its perplexities, and without MLA: `with_mla` has that. A test set
    that was decoded in two ways is one benchmark, with the mean of both scores.

    >>> len(published()), len({score.study for score in published()})
    (31, 6)
    """
    decoded = {}
    for row in rows("published.csv", unit="points", mla=None):
        of = decoded.setdefault((row.study, row.setting, row.equal, row.benchmark), [])
        of.append((row.mha, row.mqa, row.gqa))
    return [
        Score(study, benchmark, *(None if None in x else fmean(x) for x in zip(*of, strict=True)))
        for (study, _, _, benchmark), of in decoded.items()
    ]


def perplexity():
    """How much higher MQA's perplexity is than MHA's, in per cent: {study: a list}, from the same.

    Lower is better.

    >>> {study: [round(x, 1) for x in higher] for study, higher in perplexity().items()}
    {'Shazeer 2019': [1.5, 1.0]}
    """
    higher = {}
    for row in rows("published.csv"):
        if row.unit.endswith("perplexity"):
            is_log = row.unit == "ln perplexity"
            ratio = math.exp(row.mqa - row.mha) if is_log else row.mqa / row.mha
            higher.setdefault(row.study, []).append(100 * (ratio - 1))
    return higher


def with_mla():
    """The study that tried MLA as well, Tables 8 and 9 of DeepSeek-V2: a row for each model.

    From published.csv: billions of parameters, those active for a token, the numbers cached of a
    token, scores in points. NaN is what the paper does not say; equal is what was kept equal.

    >>> with_mla().set_index(["setting", "attention"]).MMLU["large MoE, 420B tokens"].to_dict()
    {'MHA': 57.5, 'MLA': 59.0}
    """
    import pandas as pd  # only here: it takes a kernel 22 MiB, and most lessons show no table

    models = {}
    for row in rows("published.csv", study="DeepSeek-V2 2024"):
        for attention in ("MHA", "GQA", "MQA", "MLA"):
            if (score := getattr(row, attention.lower())) is not None:
                model = row.setting, attention, row.equal
                models.setdefault(model, {})[row.benchmark] = score
    names = ["setting", "attention", "equal"]
    table = pd.DataFrame(models.values(), pd.MultiIndex.from_tuples(models, names=names))
    sizes = ["parameters", "active parameters", "cache of a token"]
    return table[[*sizes, "BBH", "MMLU", "C-Eval", "CMMLU"]].reset_index()


def speeds():
    """How much faster others found decoding with fewer K/V heads: a row for each pair of times.

    From speeds.csv, without its sources. before and after are in `unit`; equal is what was kept
    equal.

    >>> list(speeds().study)
    ['Shazeer 2019', 'GQA 2023', 'GQA 2023', 'Raschka', 'FlashMLA']
    """
    import pandas as pd

    return pd.read_csv(data_path("speeds.csv")).drop(columns="source")


def machines():
    """The `Machine` in each row of machines.csv, from a laptop to an H200: {name: Machine}.

    >>> machines()["H100"]
    Machine(bandwidth=3350, float32=67.0, half=989.0, memory=80)
    """
    return {
        row.machine: Machine(
            row.bandwidth_gb_s,
            float(row.float32_tflop_s),
            float(row.half_tflop_s),
            row.memory_gb,
        )
        for row in rows("machines.csv")
    }
