"""The tables in data/ that lessons draw, each as its picture takes it.

n query heads, g key/value heads, s tokens.
"""

import math
from typing import NamedTuple

import pandas as pd

from course_utils import data_path


class DecodeTimes(NamedTuple):
    """Milliseconds of a decode step: as measured, and the least that is possible."""

    times: dict  # {form: {g: quartiles, the median between}}
    reading: dict  # {g: ms to read the cache}
    computing: dict  # {g: ms to compute}


class Machine(NamedTuple):
    """What a machine can do at most, as its data sheet says."""

    bandwidth: float  # GB/s
    float32: float  # Tflop/s
    half: float  # Tflop/s in float16 or bfloat16, dense
    memory: float  # GB


def accuracies(n_heads, steps, match="width"):
    """The share of right answers after training, from quality.csv: {g: a list, one a seed}.

    match is "width", all other sizes equal, or "parameters", the MLP widened to as many as MHA's.

    >>> accuracies(n_heads=8, steps=1800)[1]
    [0.634, 0.628, 0.63, 0.63, 0.619]
    """
    rows = pd.read_csv(data_path("results", "quality.csv"))
    rows = rows[rows["match"].isin([match, "both"])].query("step == steps == @steps")
    of_n = rows.query("n_heads == @n_heads").groupby("n_kv_heads")
    return of_n.accuracy.apply(list).to_dict()


def curves(n_heads, steps):
    """The share of right answers on the way, from quality.csv: {g: a list of (step, share) a seed}.

    All other sizes are equal. The largest g comes first.

    >>> first_seed, *_ = curves(n_heads=8, steps=600)[8]
    >>> first_seed[:2]
    [(50, 0.135), (100, 0.301)]
    """
    rows = pd.read_csv(data_path("results", "quality.csv")).query("match != 'parameters'")
    rows = rows.query("n_heads == @n_heads and steps == @steps")
    points = {g: [] for g in sorted(set(rows.n_kv_heads), reverse=True)}
    for (g, _), run in rows.groupby(["n_kv_heads", "seed"]):
        points[g].append(list(zip(run.step, run.accuracy, strict=True)))
    return points


def conversions():
    """The share of right answers of converted models, from conversion.csv, one a seed.

    {g: {method: {share of the training they were trained on for: a list}}}; the method of g = 8 is
    "none": the MHA models that the others were made from.

    >>> conversions()[4]["mean"][0.1]
    [0.961, 0.923, 0.952, 0.867, 0.944]
    """
    rows = pd.read_csv(data_path("results", "conversion.csv"))
    table = {}
    for (g, method, uptraining), of in rows.groupby(
        ["n_kv_heads", "method", "uptraining"], sort=False
    ):
        table.setdefault(g, {}).setdefault(method, {})[uptraining] = list(of.accuracy)
    return table


def decode_times(dtype, n_tokens):
    """The `DecodeTimes` that `make bench` measured on the course's own machine.

    dtype "float32" or "bfloat16", n_tokens 1024, 4096 or 16384; n = 32, h = 128.

    >>> measured = decode_times("float32", n_tokens=4096)
    >>> list(measured.reading), len(measured.times["decode_attention"][1])
    ([1, 2, 4, 8, 16, 32], 3)
    """
    rows = pd.read_csv(data_path("results", "decode_amd-epyc-2-cores.csv"))
    rows = rows.query("dtype == @dtype and n_tokens == @n_tokens").sort_values("n_kv_heads")
    times = {form: {} for form in rows.form}
    for row in rows.itertuples():
        times[row.form][row.n_kv_heads] = row.low_ms, row.median_ms, row.high_ms
    least = rows.groupby("n_kv_heads").first()
    return DecodeTimes(times, least.bytes_ms.to_dict(), least.flop_ms.to_dict())


def published():
    """Scores of MHA, MQA and GQA in published studies, in points: a row for each benchmark.

    From published.csv, without its perplexities. A test set that was decoded in two ways is one
    benchmark, with the mean of both scores.

    >>> len(published()), published().study.nunique()
    (31, 6)
    """
    rows = pd.read_csv(data_path("published.csv")).query("unit == 'points'")
    of_benchmark = rows.groupby(["study", "setting", "equal", "benchmark"], sort=False)
    return of_benchmark[["mha", "mqa", "gqa"]].mean().reset_index()


def perplexity():
    """How much higher MQA's perplexity is than MHA's, in per cent: {study: a list}, from the same.

    Lower is better.

    >>> {study: [round(x, 1) for x in higher] for study, higher in perplexity().items()}
    {'Shazeer 2019': [1.5, 1.0]}
    """
    higher = {}
    for row in pd.read_csv(data_path("published.csv")).query("unit != 'points'").itertuples():
        is_log = row.unit == "ln perplexity"
        ratio = math.exp(row.mqa - row.mha) if is_log else row.mqa / row.mha
        higher.setdefault(row.study, []).append(100 * (ratio - 1))
    return higher


def machines():
    """The `Machine` in each row of machines.csv, from a laptop to an H200: {name: Machine}.

    >>> machines()["H100"]
    Machine(bandwidth=3350, float32=67.0, half=989.0, memory=80)
    """
    rows = pd.read_csv(data_path("machines.csv")).drop(columns="source")
    return {name: Machine(*ceilings) for name, *ceilings in rows.itertuples(index=False)}
