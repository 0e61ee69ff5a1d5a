"""Laws of the window experiment: its texts, its masks, how far layers reach, and what was measured."""

import itertools
from statistics import fmean

import pandas as pd
import pytest
import torch

from course_utils import data_path
from course_utils.attention import causal_mask
from course_utils.experiments import distance, results
from course_utils.experiments.distance import DistanceModel, evaluate, examples, train, window_mask
from makers.window_models import N_LAYERS, SEEDS, family


def seeded(n):
    return torch.Generator().manual_seed(n)


def test_each_door_is_told_once_and_asked_once_at_its_distance():
    for doors, rooms, back in zip(*examples(20, seeded(0)), strict=True):
        told = {}
        for i, (door, room, far) in enumerate(
            zip(doors.tolist(), rooms.tolist(), back.tolist(), strict=True)
        ):
            if door in told:
                assert (room, far) == (told[door][0], i - told[door][1])
            else:
                assert far == 0
                told[door] = room, i
        assert sorted(told) == list(range(distance.N_DOORS)) and (back > 0).sum() == len(told)


def test_who_must_guess_is_right_one_time_in_sixteen():
    _, rooms, back = examples(2000, seeded(1))
    asked = rooms[back > 0]
    shares = torch.bincount(asked, minlength=distance.N_ROOMS) / len(asked)
    assert (shares - 1 / distance.N_ROOMS).abs().max() < 0.005


@pytest.mark.parametrize("t, window", [*itertools.product((1, 5, 9), (1, 2, 4, 8, 9, 12))])
def test_a_window_is_a_row_and_those_right_before_it(t, window):
    slow = [[0 <= i - j < window for j in range(t)] for i in range(t)]
    assert window_mask(t, window).tolist() == slow
    assert torch.equal(window_mask(t, None), causal_mask(t, t))


def test_it_is_the_mask_of_transformers():
    """Of its first row; a window of w there is a row and the w - 1 before it as well."""
    import transformers
    from transformers.masking_utils import create_sliding_window_causal_mask

    config = transformers.Qwen3Config(sliding_window=3, use_sliding_window=True, hidden_size=8)
    config._attn_implementation = "eager"
    x = torch.zeros(1, 7, 8)
    mask = create_sliding_window_causal_mask(
        config, x, None, None, position_ids=torch.arange(7)[None]
    )
    assert torch.equal(mask[0, 0] == 0, window_mask(7, 3))


@pytest.mark.parametrize(
    "windows", [[4], [4, 4], [8, 8, 8, 8], [2, 5, 3], [1, 1, 1], [16, 16, 16, 16]], ids=str
)
def test_stacked_windows_reach_the_sum_of_what_each_sees_before_and_not_a_row_more(windows):
    torch.manual_seed(0)
    model = DistanceModel(windows).double()
    given = examples(1, seeded(0))
    doors, reach = given[0], sum(w - 1 for w in windows)
    with torch.no_grad():
        before = model(*given)
        for row in (0, 20):
            other = doors.clone()
            other[0, row] = (doors[0, row] + 1) % distance.N_DOORS
            changed = (
                (model(other, *given[1:]) != before).any(dim=-1)[0].nonzero().flatten().tolist()
            )
            assert changed == list(range(row, min(64, row + reach + 1)))


def test_one_full_layer_reaches_all_and_a_window_as_long_as_the_text_is_none():
    torch.manual_seed(0)
    model = DistanceModel([8, None, 8]).double()
    given = examples(2, seeded(0))
    with torch.no_grad():
        before, (doors, *others) = model(*given), given
        other = doors.clone()
        other[:, 0] = (doors[:, 0] + 1) % distance.N_DOORS
        assert (model(other, *others) != before).any(dim=-1).all()
        model.windows = [64, 64, 64]
        long = model(*given)
        model.windows = [None, None, None]
        assert torch.equal(model(*given), long)


def test_a_question_is_not_told_its_answer():
    torch.manual_seed(0)
    model, (doors, rooms, back) = DistanceModel([None]), examples(3, seeded(0))
    other = rooms.where(back == 0, (rooms + 1) % distance.N_ROOMS)
    with torch.no_grad():
        assert torch.equal(model(doors, rooms, back), model(doors, other, back))


def test_training_is_the_same_every_time_and_learns():
    losses = []
    for _ in range(2):
        torch.manual_seed(3)
        losses.append(train(DistanceModel([None], d_model=16), steps=12, seed=3))
    assert losses[0] == losses[1] and losses[0][-1] < losses[0][0]


def test_evaluation_counts_what_a_slow_loop_counts():
    torch.manual_seed(0)
    model = DistanceModel([4, 4])
    doors, rooms, back = examples(30, seeded(10_000))
    with torch.no_grad():
        given = model(doors, rooms, back).argmax(dim=-1)
    found = evaluate(model, batch=30)
    for far, (share, asked) in found.items():
        at = [(i, j) for i in range(30) for j in range(64) if back[i, j] == far]
        right = sum(given[i, j] == rooms[i, j] for i, j in at)
        assert asked == len(at)
        assert asked == 0 or share == pytest.approx(right.item() / asked)


# What was measured


def test_every_model_was_measured_at_every_distance():
    rows = pd.read_csv(data_path("results", "windows.csv"))
    runs = rows.groupby(["window", "full", "steps", "seed"]).distance.apply(list)
    assert set(runs.index) == set(family())
    assert all(of == list(range(1, 64)) for of in runs)
    assert set(rows.task) == {"distance"}
    assert rows.groupby("distance").asked.nunique().eq(1).all()  # the same texts for all
    assert rows.drop_duplicates("distance").asked.sum() == 2048 * distance.N_DOORS


@pytest.mark.parametrize("window", [4, 8, 16])
def test_answers_end_where_no_layer_can_reach(window):
    """With a window everywhere: right in it, at chance beyond what all layers can pass on."""
    of, reach = results.by_distance(window), N_LAYERS * (window - 1)
    assert all(len(seeds) == len(SEEDS) for seeds in of.values())
    assert min(min(of[i]) for i in range(1, window)) > 0.98
    beyond = fmean(fmean(of[i]) for i in range(reach + 1, 64))
    assert abs(beyond - 1 / distance.N_ROOMS) < 0.02
    passed_on = fmean(fmean(of[i]) for i in range(window, reach + 1))
    assert beyond < passed_on < 0.6


@pytest.mark.parametrize("window, full", [(0, 0), (4, 4), (8, 4), (8, 1), (16, 4)])
def test_one_full_layer_mends_it(window, full):
    of = results.by_distance(window, full)
    assert min(fmean(seeds) for seeds in of.values()) > 0.93  # of 26 asked at 63 rows a seed
    assert fmean(fmean(seeds) for seeds in of.values()) > 0.99
