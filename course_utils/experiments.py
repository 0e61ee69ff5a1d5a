"""The recall models, trained and measured: data/checkpoints, results/quality.csv, conversion.csv.

    python -m course_utils.experiments    does what the tables do not have yet; stop it at any time

n query heads, g key/value heads.
"""

from itertools import product

import pandas as pd
import torch
from tqdm import tqdm

from course_utils import data_path
from course_utils.conversion import convert, first_head_kv, mean_pool_kv, random_kv
from course_utils.recall import RecallModel, evaluate, learning_curve, load, save, train, widened

SEEDS = range(5)
METHODS = {"mean": mean_pool_kv, "first": first_head_kv, "random": random_kv}


def main():
    """Both tables, on one thread: the same numbers every time on the same machine."""
    torch.set_num_threads(1)
    quality()
    conversion()


def family():
    """Every model that is trained: (n_heads, n_kv_heads, match, steps, seed), in order.

    >>> next(family()), len(list(family()))
    ((8, 8, 'both', 600, 0), 100)
    """
    for steps, g in product((600, 1800), (8, 4, 2, 1)):
        yield from product([8], [g], ["width", "parameters"] if g < 8 else ["both"], [steps], SEEDS)
    for g in (32, 16, 8, 4, 2, 1):
        yield from product([32], [g], ["width" if g < 32 else "both"], [600], SEEDS)


def quality():
    """Train the models that quality.csv lacks; add their curves, and keep those lessons use."""
    columns = "n_heads", "n_kv_heads", "match", "steps", "seed"
    for n, g, match, steps, seed, add in missing(
        "quality", columns, "step,accuracy,loss", family()
    ):
        torch.manual_seed(seed)
        model = RecallModel(n, g, d_ff=widened(n, g) if match == "parameters" else 128)
        points = learning_curve(model, steps, seed)
        if match != "parameters" and (n == 8 or seed == 0):
            save(model, f"recall-n{n}-g{g}-seed{seed}" + "-1800" * (steps == 1800))
        add(f"{step},{share:.3f},{loss:.3f}" for step, share, loss in points)


def conversions():
    """Every conversion: (n_heads, n_kv_heads, method, uptraining, seed), in order.

    uptraining is the share of the 600 steps that made the model; "none" is not converted at all.
    """
    shares = 0.0, 0.05, 0.1
    yield from product([8], [8], ["none"], shares, SEEDS)
    yield from product([8], [4, 2, 1], METHODS, shares, SEEDS)


def conversion():
    """Convert, train on and measure what conversion.csv lacks."""
    columns = "n_heads", "n_kv_heads", "method", "uptraining", "seed"
    for n, g, method, uptraining, seed, add in missing(
        "conversion", columns, "accuracy,loss", conversions()
    ):
        model = load(f"recall-n{n}-g{n}-seed{seed}")
        torch.manual_seed(1000 + seed)  # seed itself gave the model its first weights
        if method != "none":
            model = converted(model, g, METHODS[method])
        if uptraining:
            train(model, round(600 * uptraining), seed=1000 + seed)  # on examples it has not seen
        share, loss = evaluate(model)
        add([f"{share:.3f},{loss:.3f}"])


def converted(model, n_kv_heads, pool=mean_pool_kv):
    """A new `RecallModel` with g K/V heads, made from the weights of one that has more.

    Raises ValueError as `convert` does.

    >>> converted(load("recall-n8-g8-seed0"), n_kv_heads=2).attention.k_proj.weight.shape
    torch.Size([16, 64])
    """
    weights = convert(model.state_dict(), model.sizes["n_kv_heads"], n_kv_heads, pool)
    smaller = RecallModel(**model.sizes | {"n_kv_heads": n_kv_heads})
    smaller.load_state_dict(weights)
    return smaller


def accuracies(n_heads, steps, match="width"):
    """The share of right answers after training, from quality.csv: {g: a list, one a seed}.

    match is "width", all other sizes equal, or "parameters", the FFN widened to as many as MHA's.

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


def missing(table, columns, measured, runs):
    """Each run that data/results/{table}.csv lacks, and a function that adds its rows, all at once.

    columns name what makes a run, measured what comes after it in a row.
    """
    path = data_path("results") / f"{table}.csv"
    if not path.exists():
        path.write_text(f"task,{','.join(columns)},{measured}\n")
    done = set(pd.read_csv(path)[list(columns)].itertuples(index=False, name=None))
    for run in tqdm([run for run in runs if run not in done], desc=table):

        def add(rows, run=run):
            more = "".join(f"recall,{','.join(map(str, run))},{row}\n" for row in rows)
            whole = path.with_suffix(".new")
            whole.write_text(path.read_text() + more)
            whole.replace(path)  # a run is there whole or not at all

        yield *run, add


if __name__ == "__main__":
    main()
