"""The recall models, trained and measured: checkpoints/recall, results/quality.csv, conversion.csv.

    python -m makers.recall_models    does what the tables do not have yet; stop it at any time

n query heads, g key/value heads, kv_rank of a latent, or 0 without one.
"""

from itertools import product

import pandas as pd
import torch
from tqdm import tqdm

from course_utils import data_path
from course_utils.experiments.recall import (
    RecallModel,
    converted,
    evaluate,
    learning_curve,
    load,
    save,
    train,
)
from course_utils.latent import MultiHeadLatentAttention
from course_utils.pooling import first_head_kv, mean_pool_kv, random_kv

SEEDS = range(5)
METHODS = {"mean": mean_pool_kv, "first": first_head_kv, "random": random_kv}


def main():
    """Both tables, on one thread: the same numbers every time on the same machine."""
    torch.set_num_threads(1)
    train_all()
    convert_all()


def family():
    """Every model: (n_heads, n_kv_heads, kv_rank, match, rate, steps, seed), in order.

    >>> next(family()), len(list(family()))
    ((8, 8, 0, 'both', 0.005, 600, 0), 240)
    """
    for steps, g in product((600, 1800), (8, 4, 2, 1)):
        matches = ["width", "parameters"] if g < 8 else ["both"]
        yield from product([8], [g], [0], matches, [0.005], [steps], SEEDS)
    for g in (32, 16, 8, 4, 2, 1):
        yield from product([32], [g], [0], ["width" if g < 32 else "both"], [0.005], [600], SEEDS)
    compared = (8, 32), (8, 16), (2, 0), (1, 0)
    for rate, (g, kv_rank) in product((0.005, 0.01, 0.02, 0.04), compared):
        if kv_rank or rate > 0.005:  # the others are above
            yield from product([8], [g], [kv_rank], ["width"], [rate], [600, 1800], SEEDS)


def train_all():
    """Train the models that quality.csv lacks; add their curves, and keep those lessons use."""
    columns = "n_heads", "n_kv_heads", "kv_rank", "match", "rate", "steps", "seed"
    for n, g, kv_rank, match, rate, steps, seed, add in missing(
        "quality", columns, "step,accuracy,loss", family()
    ):
        torch.manual_seed(seed)
        model = RecallModel(n, g, d_ff=widened(n, g) if match == "parameters" else 128)
        if kv_rank:  # the task has no positions
            model.attention = MultiHeadLatentAttention(64, n, 8, kv_rank, rope_dim=0)
        points = learning_curve(model, steps, seed, rate=rate)
        if match != "parameters" and not kv_rank and rate == 0.005 and (n == 8 or seed == 0):
            save(model, f"n{n}-g{g}-seed{seed}" + "-1800" * (steps == 1800))
        add(f"{step},{share:.3f},{loss:.3f}" for step, share, loss in points)


def conversion_runs():
    """Every conversion: (n_heads, n_kv_heads, method, uptraining, seed), in order.

    uptraining is the share of the 600 steps that made the model; "none" is not converted at all.
    """
    shares = 0.0, 0.05, 0.1
    yield from product([8], [8], ["none"], shares, SEEDS)
    yield from product([8], [4, 2, 1], METHODS, shares, SEEDS)


def convert_all():
    """Convert, train on and measure what conversion.csv lacks."""
    columns = "n_heads", "n_kv_heads", "method", "uptraining", "seed"
    for n, g, method, uptraining, seed, add in missing(
        "conversion", columns, "accuracy,loss", conversion_runs()
    ):
        model = load(f"n{n}-g{n}-seed{seed}")
        torch.manual_seed(1000 + seed)  # seed itself gave the model its first weights
        if method != "none":
            model = converted(model, g, METHODS[method])
        if uptraining:
            train(model, round(600 * uptraining), seed=1000 + seed)  # on examples it has not seen
        share, loss = evaluate(model)
        add([f"{share:.3f},{loss:.3f}"])


def widened(n_heads, n_kv_heads):
    """The d_ff that gives a `RecallModel` as many weights as MHA has, to within half a neuron.

    What the narrower K and V projections save, the two layers of the MLP get.

    >>> widened(8, 8), widened(8, 1)
    (128, 184)
    """
    saved = 2 * (n_heads - n_kv_heads) * 8 * 64  # K and V, heads, h, d
    return 128 + round(saved / (2 * 64 + 1))  # into the MLP and out of it, and a bias


def missing(table, columns, measured, runs, task="recall"):
    """Each run that data/results/{table}.csv lacks, and a function that adds its rows, all at once.

    columns name what makes a run, measured what comes after it in a row; task stands before it.
    """
    path = data_path("results") / f"{table}.csv"
    if not path.exists():
        path.write_text(f"task,{','.join(columns)},{measured}\n")
    done = set(pd.read_csv(path)[list(columns)].itertuples(index=False, name=None))
    for run in tqdm([run for run in runs if run not in done], desc=table):

        def add(rows, run=run):
            more = "".join(f"{task},{','.join(map(str, run))},{row}\n" for row in rows)
            whole = path.with_suffix(".new")
            whole.write_text(path.read_text() + more)
            whole.replace(path)  # a run is there whole or not at all

        yield *run, add


if __name__ == "__main__":
    main()
