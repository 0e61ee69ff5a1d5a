"""Laws of makers.recall_models and experiments.results: the tables and models that are shipped are what it makes."""

import re
from itertools import product

import pandas as pd
import pytest
import torch

from course_utils import data_path
from course_utils.experiments import recall
from course_utils.experiments.recall import (
    RecallModel,
    converted,
    evaluate,
    load,
    train,
)
from course_utils.experiments.results import accuracies, curves, latent_accuracies
from course_utils.latent import MultiHeadLatentAttention
from course_utils.pooling import first_head_kv, mean_pool_kv, random_kv
from makers import recall_models
from makers.recall_models import METHODS, conversion_runs, family, widened

pytestmark = pytest.mark.usefixtures("one_thread")


def table(name):
    return pd.read_csv(data_path("results", f"{name}.csv"))


# What is shipped


def test_quality_has_a_curve_of_five_seeds_of_every_model():
    rows = table("quality")
    columns = "task,n_heads,n_kv_heads,kv_rank,match,rate,steps,seed,step,accuracy,loss"
    assert ",".join(rows.columns) == columns
    assert set(rows.task) == {"recall"}
    for match in ("width", "parameters"):
        for steps in (600, 1800):
            seeds = accuracies(8, steps, match)
            assert {g: len(x) for g, x in seeds.items()} == {8: 5, 4: 5, 2: 5, 1: 5}
    assert {g: len(x) for g, x in accuracies(32, 600).items()} == dict.fromkeys(
        (32, 16, 8, 4, 2, 1), 5
    )
    found = rows[
        ["n_heads", "n_kv_heads", "kv_rank", "match", "rate", "steps", "seed"]
    ].drop_duplicates()
    assert list(found.itertuples(index=False, name=None)) == list(family())
    assert list(rows.step * 12 / rows.steps) == list(range(1, 13)) * 240


def test_conversion_has_five_seeds_of_everything():
    rows = table("conversion")
    columns = "task,n_heads,n_kv_heads,method,uptraining,seed,accuracy,loss"
    assert ",".join(rows.columns) == columns
    assert set(rows.task) == {"recall"}
    found = rows[["n_heads", "n_kv_heads", "method", "uptraining", "seed"]]
    assert list(found.itertuples(index=False, name=None)) == list(conversion_runs())
    counts = rows.groupby(["n_kv_heads", "method", "uptraining"]).size()
    assert len(counts) == 3 + 27 and set(counts) == {5}


def test_accuracies_and_curves_are_those_of_the_table():
    """Row by row, as a reader would look them up."""
    ends, ways = {}, {}
    for row in table("quality").itertuples():
        of_600 = (row.n_heads, row.steps, row.kv_rank, row.rate) == (8, 600, 0, 0.005)
        if of_600 and row.match in ("parameters", "both") and row.step == 600:
            ends.setdefault(row.n_kv_heads, []).append(row.accuracy)
        if of_600 and row.match in ("width", "both"):
            way = ways.setdefault(row.n_kv_heads, {}).setdefault(row.seed, [])
            way.append((row.step, row.accuracy))
    assert accuracies(8, 600, "parameters") == ends
    assert curves(8, 600) == {g: list(seeds.values()) for g, seeds in ways.items()}
    for rate, steps in product((0.005, 0.01, 0.02, 0.04), (600, 1800)):
        rows = table("quality").query(
            f"n_heads == 8 and rate == {rate} and step == steps == {steps}"
        )
        for kv_rank, seeds in latent_accuracies(steps, rate).items():
            assert seeds == list(rows[rows.kv_rank == kv_rank].accuracy) and len(seeds) == 5
        for g, seeds in accuracies(8, steps, rate=rate).items():
            heads = rows[
                (rows.kv_rank == 0) & (rows.n_kv_heads == g) & (rows.match != "parameters")
            ]
            assert seeds == list(heads.accuracy) and len(seeds) == 5
    assert list(curves(32, 600)) == [32, 16, 8, 4, 2, 1]
    for g, runs in curves(8, 1800).items():
        assert [run[-1][1] for run in runs] == accuracies(8, 1800)[g]


@pytest.mark.parametrize("name", ["quality", "conversion"])
def test_shares_have_three_digits(name):
    text = data_path("results", f"{name}.csv").read_text()
    assert all(re.search(r",[01]\.\d{3},\d\.\d{3}$", line) for line in text.splitlines()[1:])


def test_a_model_with_a_latent_trained_again_is_as_good_as_the_table_says():
    torch.manual_seed(0)
    model = RecallModel(8)
    model.attention = MultiHeadLatentAttention(64, 8, 8, kv_rank=32, rope_dim=0)
    train(model, 600, seed=0, rate=0.01)
    seeds = latent_accuracies(600, rate=0.01)[32]
    spread = max(seeds) - min(seeds)
    assert min(seeds) - spread < evaluate(model)[0] < max(seeds) + spread
    assert max(seeds) + spread < min(accuracies(8, 600)[8])  # or this would prove nothing


def test_a_model_trained_again_is_as_good_as_the_table_says():
    """Another processor may train another model, but not one outside the spread of the seeds."""
    torch.manual_seed(0)
    model = RecallModel(8, 1)
    train(model, 600, seed=0)
    seeds = accuracies(8, 600)[1]
    spread = max(seeds) - min(seeds)
    assert min(seeds) - spread < evaluate(model)[0] < max(seeds) + spread
    assert max(seeds) + spread < min(accuracies(8, 600)[8])  # or this would prove nothing


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("method, g", [("none", 8), ("mean", 4), ("first", 2), ("random", 1)])
def test_without_uptraining_the_table_says_what_conversion_gives(method, g, seed):
    rows = table("conversion").query("uptraining == 0")
    (row,) = rows.query(
        f"method == '{method}' and n_kv_heads == {g} and seed == {seed}"
    ).itertuples()
    model = load(f"n8-g8-seed{seed}")
    torch.manual_seed(1000 + seed)
    share, loss = evaluate(converted(model, g, (METHODS | {"none": mean_pool_kv})[method]))
    assert share == pytest.approx(row.accuracy, abs=0.002)
    assert loss == pytest.approx(row.loss, abs=0.005)


def test_random_weights_are_not_those_the_model_began_with():
    """The seed of the model gives its first weights, which it keeps for the most part."""
    model = load("n8-g8-seed0")
    doors = model.value.weight[:16].flatten()

    def likeness(seed):
        torch.manual_seed(seed)
        keys = converted(model, 2, random_kv).attention.k_proj.weight
        return torch.cosine_similarity(keys.flatten(), doors, dim=0).abs()

    assert likeness(0) > 0.9  # what the command must not do
    assert likeness(1000) < 0.1


# Converted models


def test_a_converted_model_keeps_its_other_sizes():
    model = RecallModel(6, 6, d_model=24, head_dim=5, d_ff=17)
    assert converted(model, 2).sizes == model.sizes | {"n_kv_heads": 2}


@torch.no_grad()
@pytest.mark.parametrize("n, before, g", [(8, 8, 8), (8, 8, 2), (8, 8, 1), (32, 32, 4), (32, 4, 2)])
def test_a_recall_model_is_converted_and_knows_its_heads(n, before, g):
    model = load(f"n{n}-g{before}-seed0")
    new = converted(model, g)
    assert (new.attention.n_heads, new.attention.n_kv_heads) == (n, g)
    expected = mean_pool_kv(model.attention.k_proj.weight, before, g)
    torch.testing.assert_close(new.attention.k_proj.weight.data, expected)
    if g == before:
        assert evaluate(new) == evaluate(model)
    assert not torch.equal(converted(model, g, random_kv).attention.k_proj.weight, expected)


def test_training_on_leaves_the_model_it_came_from_alone():
    model = load("n8-g8-seed0")
    before = {name: x.clone() for name, x in model.state_dict().items()}
    train(converted(model, 8, first_head_kv), 1, seed=0)
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())


# The commands


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """The commands in another folder; how they would train is kept, measuring costs nothing."""
    for folder in ("checkpoints/recall", "results"):
        (tmp_path / folder).mkdir(parents=True)
    trained = []

    def training(model, steps, seed, watch=lambda step, loss: None, rate=0.005):
        size = vars(model.attention).get("kv_rank") or model.attention.n_kv_heads
        trained.append((size, model.ffn[0].out_features, rate, steps, seed))
        for step in range(1, steps + 1):
            watch(step, 3.0)
        model.answer.bias.data.fill_(steps + seed)

    for module in (recall_models, recall):
        monkeypatch.setattr(module, "train", training)
        monkeypatch.setattr(module, "evaluate", lambda model: (0.5, 2.0))
    for module in (recall_models, recall):
        monkeypatch.setattr(module, "data_path", lambda *parts: tmp_path.joinpath(*parts))
    return tmp_path, trained


def test_quality_trains_and_writes_what_is_shipped(elsewhere):
    folder, trained = elsewhere
    recall_models.train_all()
    shipped = {path.name for path in data_path("checkpoints", "recall").glob("*")}
    assert {path.name for path in (folder / "checkpoints" / "recall").iterdir()} == shipped
    for name in shipped:
        seed, steps = map(int, re.findall(r"seed(\d)-(\d+)", name.replace(".", "-600."))[0])
        model = load(name.removesuffix(".safetensors"))
        assert model.answer.bias.unique() == steps + seed and model.sizes["d_ff"] == 128
    path = folder / "results" / "quality.csv"
    expected = table("quality").assign(accuracy=0.5, loss=2.0)
    pd.testing.assert_frame_equal(pd.read_csv(path), expected)
    assert path.read_text().splitlines()[1] == "recall,8,8,0,both,0.005,600,0,50,0.500,2.000"
    assert trained == [
        (kv_rank or g, widened(n, g) if match == "parameters" else 128, rate, steps, seed)
        for n, g, kv_rank, match, rate, steps, seed in family()
    ]


def test_quality_begins_as_it_did_for_what_is_shipped(tmp_path, monkeypatch):
    """Another seed, batch, rate or number of steps is 0.004 away or more; double precision 0.000001."""
    losses = []

    def watch(step, loss):
        losses.append(loss)
        if step == 20:
            raise InterruptedError

    (tmp_path / "results").mkdir()
    monkeypatch.setattr(recall_models, "data_path", lambda *parts: tmp_path.joinpath(*parts))
    monkeypatch.setattr(recall, "train", lambda *given: train(*given[:3], watch))
    with pytest.raises(InterruptedError):
        recall_models.main()
    assert losses[::5] + losses[-1:] == pytest.approx(
        [2.931, 2.906, 2.888, 2.851, 2.815], abs=0.002
    )


def test_quality_goes_on_where_it_was_stopped(elsewhere, monkeypatch):
    """Finished runs stay as they are; the one that was stopped is trained again from its start."""
    folder, _ = elsewhere
    whole, calls = recall_models.learning_curve, []

    def third_is_stopped(model, steps, seed, rate):
        calls.append(seed)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(model, steps, seed, rate=rate)

    monkeypatch.setattr(recall_models, "learning_curve", third_is_stopped)
    monkeypatch.setattr(recall_models, "family", lambda: list(family())[:4])
    with pytest.raises(KeyboardInterrupt):
        recall_models.train_all()
    path = folder / "results" / "quality.csv"
    assert set(pd.read_csv(path).seed) == {0, 1}
    path.write_text(path.read_text().replace("0.500", "0.700"))
    recall_models.train_all()
    assert calls == [0, 1, 2, 2, 3]
    rows = pd.read_csv(path)
    assert list(rows.seed) == [0] * 12 + [1] * 12 + [2] * 12 + [3] * 12
    assert list(rows.accuracy) == [0.7] * 24 + [0.5] * 24


def test_conversion_trains_and_writes_what_is_shipped(elsewhere, monkeypatch):
    folder, trained = elsewhere
    monkeypatch.setattr(recall_models, "load", lambda name: RecallModel(8, 8))
    recall_models.convert_all()
    expected = table("conversion").assign(accuracy=0.5, loss=2.0)
    pd.testing.assert_frame_equal(pd.read_csv(folder / "results" / "conversion.csv"), expected)
    assert trained == [
        (g, 128, 0.005, {0.05: 30, 0.1: 60}[share], 1000 + seed)
        for _, g, _, share, seed in conversion_runs()
        if share
    ]


def test_conversion_goes_on_where_it_was_stopped(elsewhere, monkeypatch):
    folder, trained = elsewhere
    monkeypatch.setattr(recall_models, "load", lambda name: RecallModel(8, 8))
    path = folder / "results" / "conversion.csv"
    done = "".join(
        f"recall,{','.join(map(str, run))},0.123,4.567\n" for run in list(conversion_runs())[:-3]
    )
    before = "task,n_heads,n_kv_heads,method,uptraining,seed,accuracy,loss\n" + done
    path.write_text(before)
    recall_models.convert_all()
    more = "".join(f"recall,8,1,random,0.1,{seed},0.500,2.000\n" for seed in (2, 3, 4))
    assert path.read_text() == before + more
    assert trained == [(1, 128, 0.005, 60, seed) for seed in (1002, 1003, 1004)]
    recall_models.convert_all()
    assert path.read_text() == before + more


def test_two_conversions_come_out_again(tmp_path, monkeypatch):
    (tmp_path / "results").mkdir()
    monkeypatch.setattr(recall_models, "data_path", lambda *parts: tmp_path.joinpath(*parts))
    runs = [(8, 4, "mean", 0.05, 0), (8, 2, "random", 0.0, 1)]
    monkeypatch.setattr(recall_models, "conversion_runs", lambda: runs)
    recall_models.convert_all()
    got = pd.read_csv(tmp_path / "results" / "conversion.csv")
    keys = ["n_kv_heads", "method", "uptraining", "seed"]
    both = got.merge(table("conversion"), on=keys)
    assert len(both) == 2
    assert list(both.accuracy_x) == pytest.approx(list(both.accuracy_y), abs=0.01)
    assert list(both.loss_x) == pytest.approx(list(both.loss_y), abs=0.02)
