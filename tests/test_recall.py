"""Laws of course_utils.experiments.recall: the task, the model, its training, and the models that are shipped."""

import math
import re

import pandas as pd
import pytest
import torch
from torch.nn.functional import one_hot

from course_utils import data_path
from course_utils.experiments import recall
from course_utils.experiments.recall import (
    ATTRIBUTES,
    N_DOORS,
    N_ROOMS,
    RecallModel,
    evaluate,
    examples,
    learning_curve,
    load,
    right_doors,
    train,
)
from makers.recall_models import widened

SHIPPED = [
    f"n8-g{g}-seed{seed}{more}" for more in ("", "-1800") for g in (8, 4, 2, 1) for seed in range(5)
]
SHIPPED += [f"n32-g{g}-seed0" for g in (32, 16, 8, 4, 2, 1)]


pytestmark = pytest.mark.usefixtures("one_thread")


def draw(n_examples=5, n_questions=3, seed=0):
    return examples(n_examples, torch.Generator().manual_seed(seed), n_questions)


def qualities():
    return pd.read_csv(data_path("results", "quality.csv"))


def stored(name):
    """The row of quality.csv that belongs to a checkpoint: its n, g, seed, accuracy and loss."""
    n, g, seed, length = map(int, re.findall(r"\d+", f"{name}-600")[:4])
    rows = qualities().query(
        f"step == steps == {length} and match != 'parameters' and kv_rank == 0 and rate == 0.005"
    )
    (row,) = rows.query(f"n_heads == {n} and n_kv_heads == {g} and seed == {seed}").itertuples()
    return row


# The task


def test_the_answers_are_what_walking_from_door_to_door_finds():
    doors, rooms, asked, answers = draw(n_examples=20)
    for e, t, a in torch.cartesian_prod(*map(torch.arange, answers.shape)).tolist():
        named = [i for i in range(N_DOORS) if doors[e, i, a] == asked[e, t, a]]
        assert len(named) == 1  # a value names one door
        assert right_doors(doors, asked)[e, t, a] == named[0]
        assert answers[e, t, a] == rooms[e, named[0]]


def test_every_attribute_gives_every_value_to_one_door():
    doors = draw()[0]
    expected = torch.arange(N_DOORS)[:, None].expand(5, N_DOORS, len(ATTRIBUTES))
    assert torch.equal(doors.sort(dim=1).values, expected)
    assert len(set(ATTRIBUTES)) == 6


def test_everything_is_drawn_and_about_equally_often():
    doors, rooms, asked, answers = draw(n_examples=2000)
    for drawn, kinds in [(doors, 8), (rooms, 16), (asked, 8), (answers, 16)]:
        shares = drawn.flatten().bincount() / drawn.numel()
        torch.testing.assert_close(shares, torch.full((kinds,), 1 / kinds), rtol=0.1, atol=0)
    first, second = doors[..., 0].flatten(), doors[..., 1].flatten()
    assert (first == second).double().mean().item() == pytest.approx(1 / 8, abs=0.02)


def test_shapes_and_that_the_generator_decides():
    assert [x.shape for x in draw(4, 7)] == [(4, 8, 6), (4, 8), (4, 7, 6), (4, 7, 6)]
    assert all(torch.equal(x, y) for x, y in zip(draw(seed=3), draw(seed=3), strict=True))
    assert not torch.equal(draw(seed=3)[0], draw(seed=4)[0])


def test_heads_that_look_at_the_right_door_only_have_the_answers():
    """Attention with one-hot weights and rooms for values: one head an attribute is enough."""
    doors, rooms, asked, answers = draw()
    weights = one_hot(right_doors(doors, asked), N_DOORS).movedim(2, 1)  # (b, 6 heads, t, 8)
    found = (weights @ one_hot(rooms, N_ROOMS)[:, None]).argmax(dim=-1)  # (b, 6, t)
    assert torch.equal(found.movedim(1, 2), answers)


def test_found_is_the_mean_weight_on_the_right_door():
    generator = torch.Generator().manual_seed(0)
    weights = torch.rand(3, 4, 5, N_DOORS + 5, generator=generator)  # (b, n, t, s)
    right = torch.randint(N_DOORS, (3, 5, 6), generator=generator)
    expected = torch.zeros(4, 6)
    for b, n, t, a in torch.cartesian_prod(*map(torch.arange, (3, 4, 5, 6))).tolist():
        expected[n, a] += weights[b, n, t, right[b, t, a]] / 15
    torch.testing.assert_close(recall.on_right_door(weights, right), expected)


def test_the_commonest_room_is_the_best_guess_and_as_good_as_the_docstring_says():
    _, rooms, _, answers = draw(n_examples=2000)
    counts = one_hot(rooms, N_ROOMS).sum(dim=1)  # (b, 16)
    some_door, most_doors = rooms[:, 0], counts.argmax(dim=1)
    for guess, share in [(torch.tensor(7), 0.06), (some_door, 0.18), (most_doors, 0.26)]:
        right = answers.flatten(1) == guess.view(-1, 1)
        assert right.double().mean().item() == pytest.approx(share, abs=0.01)


# The model


@pytest.mark.parametrize("n, g", [(8, None), (8, 2), (32, 4), (6, 1)])
def test_shapes_of_logits_weights_keys_and_queries(n, g):
    doors, rooms, asked, _ = draw(5, 3)
    model = RecallModel(n, g, d_model=24, head_dim=5)
    logits, weights = model(doors, rooms, asked)
    assert logits.shape == (5, 3, 6, 16)
    assert weights.shape == (5, n, 3, 8 + 3)
    assert model.keys(doors, rooms).shape == (5, g or n, 8, 5)
    assert model.queries(asked).shape == (5, n, 3, 5)
    assert model.door_rows(doors, rooms).shape == (5, 8, 24)
    assert model.question_rows(asked).shape == (5, 3, 24)


@torch.no_grad()
def test_the_weights_come_from_these_keys_and_queries():
    doors, rooms, asked, _ = draw()
    model = RecallModel(n_heads=8, n_kv_heads=2)
    q, k = model.queries(asked), model.keys(doors, rooms).repeat_interleave(4, dim=1)
    on_doors = model(doors, rooms, asked)[1][..., :N_DOORS]
    expected = (q @ k.mT / 8**0.5).softmax(dim=-1)
    torch.testing.assert_close(on_doors / on_doors.sum(dim=-1, keepdim=True), expected)


@torch.no_grad()
def test_the_first_question_sees_itself_and_the_doors_and_no_later_question():
    doors, rooms, asked, _ = draw()
    model = RecallModel()
    logits, weights = model(doors, rooms, asked)
    torch.testing.assert_close(model(doors, rooms, asked[:, :1])[0], logits[:, :1])
    assert (weights[:, :, 0, N_DOORS + 1 :] == 0).all()
    assert (weights[:, :, 0, : N_DOORS + 1] > 0).all()


@torch.no_grad()
def test_the_order_of_the_doors_says_nothing():
    doors, rooms, asked, _ = draw()
    model = RecallModel()
    expected = model(doors, rooms, asked)[0]
    torch.testing.assert_close(model(doors.flip(1), rooms.flip(1), asked)[0], expected)


@torch.no_grad()
def test_values_of_different_attributes_are_different_things():
    model = RecallModel()
    rows = model.question_rows(torch.eye(6, dtype=torch.long)[None])[0]
    assert len({tuple(row.tolist()) for row in rows}) == 6


def test_a_model_knows_its_sizes():
    model = RecallModel(8, d_ff=184)
    assert model.sizes == {
        "n_heads": 8, "n_kv_heads": 8, "d_model": 64, "head_dim": 8, "d_ff": 184,
    }  # fmt: skip
    again = RecallModel(**model.sizes)
    assert [x.shape for x in again.parameters()] == [x.shape for x in model.parameters()]


def test_groups_must_divide_the_heads():
    with pytest.raises(ValueError, match=r"n_heads \(8\) must be divisible by n_kv_heads \(3\)"):
        RecallModel(8, 3)


def test_sharing_takes_weights_from_keys_and_values_only():
    def count(g):
        return sum(x.numel() for x in RecallModel(8, g).parameters())

    assert count(8) - count(1) == 2 * 7 * 8 * 64  # K and V, seven heads, h, d


@pytest.mark.parametrize("n, g", [(8, 8), (8, 4), (8, 2), (8, 1), (32, 16), (32, 1)])
def test_a_widened_model_has_the_parameters_of_mha_to_within_half_a_neuron(n, g):
    def count(g, d_ff):
        return sum(x.numel() for x in RecallModel(n, g, d_ff=d_ff).parameters())

    neuron = count(g, 129) - count(g, 128)
    assert abs(count(g, widened(n, g)) - count(n, 128)) <= neuron / 2


# Training


def trained(seed, steps=6):
    torch.manual_seed(0)
    model = RecallModel(n_kv_heads=2)
    return model, train(model, steps, seed)


def test_training_is_the_same_every_time_and_not_for_every_seed():
    (first, losses), (second, again) = trained(1), trained(1)
    assert losses == again
    assert all(map(torch.equal, first.parameters(), second.parameters()))
    assert trained(2)[1] != losses


def test_training_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    model, expected = RecallModel(), torch.get_rng_state()
    train(model, 2, seed=5)
    evaluate(model)
    assert torch.equal(torch.get_rng_state(), expected)


def test_watch_hears_every_step_and_its_loss():
    heard = []
    losses = train(RecallModel(), 4, seed=0, watch=lambda *x: heard.append(x))
    assert heard == list(zip([1, 2, 3, 4], losses, strict=True))


def test_a_learning_curve_is_measured_at_twelve_steps_and_changes_nothing(capsys):
    expected, _ = trained(1, steps=24)
    torch.manual_seed(0)
    model = RecallModel(n_kv_heads=2)
    points = learning_curve(model, 24, 1, bar="g = 2")
    assert [step for step, _, _ in points] == list(range(2, 25, 2))
    assert points[-1][1:] == evaluate(model)
    assert points[0][2] > points[-1][2]
    assert capsys.readouterr().out.splitlines()[-1].startswith("g = 2 ")  # a bar that is full
    assert all(map(torch.equal, model.parameters(), expected.parameters()))


def test_a_learning_curve_of_an_odd_length_ends_with_the_last_step():
    steps = [step for step, _, _ in learning_curve(RecallModel(), 25, seed=0)]
    assert len(steps) == 12 and steps[-1] == 25


def test_a_learning_curve_of_few_steps_is_measured_at_each():
    assert [step for step, _, _ in learning_curve(RecallModel(), 5, seed=0)] == [1, 2, 3, 4, 5]


def test_sixty_steps_already_learn_something():
    torch.manual_seed(0)
    model = RecallModel()
    before = evaluate(model)
    train(model, 60, seed=0)
    after = evaluate(model)
    assert after[0] > 1.5 * before[0]
    assert after[1] < math.log(16) < before[1]  # guessing is worth ln 16


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match=r"steps \(0\) must be at least 1"):
        train(RecallModel(), 0, seed=0)


# What is shipped


def test_checkpoints_are_these_and_small():
    paths = list(data_path("checkpoints", "recall").iterdir())
    assert {path.name for path in paths} == {f"{name}.safetensors" for name in SHIPPED}
    assert sum(path.stat().st_size for path in paths) < 5e6


@pytest.mark.parametrize("name", SHIPPED)
def test_a_checkpoint_is_as_good_as_the_table_says(name):
    model, row = load(name), stored(name)
    share, loss = evaluate(model)
    assert share == pytest.approx(row.accuracy, abs=0.003)
    assert loss == pytest.approx(row.loss, abs=0.01)
    assert (model.attention.n_heads, model.attention.n_kv_heads) == (row.n_heads, row.n_kv_heads)
    assert {x.dtype for x in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("name", SHIPPED)
def test_a_checkpoint_grew_from_the_first_weights_of_its_seed(name):
    model, seed = load(name), stored(name).seed
    for other in range(5):
        torch.manual_seed(other)
        first = RecallModel(model.attention.n_heads, model.attention.n_kv_heads)
        for part in ("value", "question", "room"):
            grown, before = (getattr(x, part).weight.flatten() for x in (model, first))
            alike = torch.cosine_similarity(grown, before, dim=0)
            assert alike > 0.8 if other == seed else alike < 0.1


def test_a_short_training_ends_as_it_did():
    torch.manual_seed(0)
    losses = train(RecallModel(), 20, seed=0)  # the rate falls to nothing within these
    assert losses[::5] + losses[-1:] == pytest.approx(
        [2.931, 2.838, 2.816, 2.805, 2.790], abs=0.002
    )


@pytest.mark.parametrize("seed", range(5))
def test_eight_keys_beat_one_for_every_seed(seed):
    gap = evaluate(load(f"n8-g8-seed{seed}"))[0] - evaluate(load(f"n8-g1-seed{seed}"))[0]
    assert gap > 0.3


@torch.no_grad()
def test_a_head_of_the_trained_model_looks_up_one_attribute():
    doors, rooms, asked, _ = draw(200, 8)
    weights = load("n8-g8-seed0")(doors, rooms, asked)[1]
    share = recall.on_right_door(weights, right_doors(doors, asked))
    assert (share.amax(dim=0) > 0.85).all()  # every attribute has a head
    assert (share > 0.85).sum(dim=1).max() == 1  # no head has two


def test_a_saved_model_is_loaded_again(tmp_path, monkeypatch):
    (tmp_path / "checkpoints" / "recall").mkdir(parents=True)
    monkeypatch.setattr(recall, "data_path", lambda *parts: tmp_path.joinpath(*parts))
    model = RecallModel(8, 2, d_model=24, head_dim=5, d_ff=17)
    recall.save(model, "mine")
    again = load("mine")
    assert again.sizes == model.sizes
    for x, y in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(x.half().float(), y)


def test_an_unknown_name_is_answered_with_names_near_it_or_all():
    with pytest.raises(KeyError) as error:
        load("n8-g3-seed0")
    assert "no checkpoint named 'n8-g3-seed0'; did you mean 'n8-g8-seed0' or" in str(error.value)
    with pytest.raises(KeyError, match="; there are ") as error:
        load("llama")
    assert all(name in str(error.value) for name in SHIPPED)
