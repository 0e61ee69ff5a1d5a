"""Laws of experiments.low_rank: the SVD as its oracle, what is replaced, and what its pictures show."""

import random
from functools import cache

import pytest
import torch
from drawn import assert_only_what_changes_moves, words
from hypothesis import given, settings
from hypothesis import strategies as st

from course_utils import checkpoints, data_path, figures
from course_utils.attention import merge_heads, split_heads
from course_utils.decoder import Decoder
from course_utils.experiments import low_rank, recall, results, verses

MANY = settings(max_examples=50, deadline=None, derandomize=True)
SIZES = {"tokens": st.integers(2, 9), "columns": st.integers(2, 9), "seed": st.integers(0, 2**31)}
SMALL = {
    "model_type": "llama", "rms_norm_eps": 1e-5, "hidden_size": 12, "intermediate_size": 16,
    "num_hidden_layers": 2, "num_attention_heads": 6, "num_key_value_heads": 6, "head_dim": 4,
    "vocab_size": 40,
}  # fmt: skip

pytestmark = pytest.mark.usefixtures("one_thread")


def drawn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def small(seed=0):
    torch.manual_seed(seed)
    return Decoder(SMALL)


IDS = torch.arange(35).view(5, 7)


@MANY
@given(**SIZES)
def test_the_nearest_rows_are_those_of_the_svd_and_lose_its_last_values(tokens, columns, seed):
    rows = drawn(tokens, columns, seed=seed)
    u, sizes, v = torch.linalg.svd(rows, full_matrices=False)
    w = low_rank.directions(rows)
    for r in range(1, columns + 1):
        nearest = rows @ w[:, :r] @ w[:, :r].T
        torch.testing.assert_close(nearest, u[:, :r] * sizes[:r] @ v[:r])
        lost = (rows - nearest).square().sum()
        torch.testing.assert_close(lost, sizes[r:].square().sum())
        torch.testing.assert_close(low_rank.kept(rows)[r - 1], 1 - lost / rows.square().sum())


@MANY
@given(**SIZES)
def test_no_other_directions_keep_more(tokens, columns, seed):
    rows = drawn(tokens, columns, seed=seed)
    others = torch.linalg.qr(drawn(columns, columns, seed=seed + 1)).Q
    share = (rows @ others).square().sum(dim=0).cumsum(0) / rows.square().sum()
    assert (share <= low_rank.kept(rows) + 1e-12).all()


@MANY
@given(**SIZES)
def test_more_numbers_keep_more_and_in_the_end_all(tokens, columns, seed):
    rows = drawn(tokens, columns, seed=seed)
    share = low_rank.kept(rows)
    assert (share.diff() >= -1e-12).all()
    most = min(tokens, columns)
    torch.testing.assert_close(share[most - 1 :], torch.ones_like(share[most - 1 :]))
    assert most == 1 or share[most - 2] < 1
    w = low_rank.directions(rows)
    torch.testing.assert_close(w.T @ w, torch.eye(columns, dtype=torch.float64))


def test_a_recall_model_caches_what_its_attention_reads():
    model = recall.load("n8-g2-seed0")
    doors, rooms, asked, _ = recall.examples(3, torch.Generator().manual_seed(0))
    rows = low_rank.keys_values(model, doors, rooms, asked).view(3, 16, 32)
    torch.testing.assert_close(split_heads(rows[:, :8, :16], 2), model.keys(doors, rooms))
    x = torch.cat([model.door_rows(doors, rooms), model.question_rows(asked)], dim=1)
    values = model.attention.values(model.attention_norm(x))
    torch.testing.assert_close(split_heads(rows[:, :, 16:], 2), values)


@pytest.mark.parametrize("r", [1, 7, 64, 128])
def test_a_model_with_a_latent_makes_the_nearest_keys_and_values(r):
    model = recall.load("n8-g8-seed0")
    *given, _ = recall.examples(9, torch.Generator().manual_seed(0))
    rows = low_rank.keys_values(model, *given)
    w = low_rank.directions(rows)[:, :r]
    made = low_rank.with_latent(model, w)
    torch.testing.assert_close(
        low_rank.keys_values(made, *given), rows @ w @ w.T, rtol=1e-4, atol=1e-4
    )
    assert torch.equal(low_rank.keys_values(model, *given), rows)  # it is a copy
    same = torch.allclose(made(*given)[0], model(*given)[0], atol=1e-3)
    assert same == (r >= 64)  # x has 64 numbers


def test_what_is_made_of_x_has_no_more_directions_than_x_whatever_the_weights():
    *given, _ = recall.examples(16, torch.Generator().manual_seed(0))
    for seed in range(3):
        torch.manual_seed(seed)
        for model in (recall.RecallModel(), recall.load(f"n8-g8-seed{seed}-1800")):
            share = low_rank.kept(low_rank.keys_values(model, *given).double())
            assert len(share) == 128 and share[62] < 1 - 1e-6 < share[63]


def test_the_keys_of_a_decoder_are_those_it_caches():
    model, caches = small(), small().caches(max_tokens=7, batch=5)
    model(IDS, caches)
    before, after = low_rank.keys(model, IDS)
    for rope, turned, rows, cached in zip(model.ropes, after, before, caches, strict=True):
        torch.testing.assert_close(turned, merge_heads(cached.k).flatten(0, 1))
        again = rope(split_heads(rows.view(5, 7, 24), 6), 0)
        torch.testing.assert_close(turned, merge_heads(again).flatten(0, 1))


def test_rope_takes_the_bound_away_whatever_the_weights():
    """24 columns: made of 12 numbers before, after it of 12 and a position."""
    for seed in range(3):
        before, after = low_rank.keys(small(seed), IDS)
        assert low_rank.kept(before[1].double())[11] > 1 - 1e-9
        assert low_rank.kept(after[1])[11] < 0.99
        torch.testing.assert_close(before[1].square().sum(), after[1].square().sum())


@cache
def cut():
    """The share of right answers of each seed with so many numbers a token."""
    *seen, _ = recall.examples(64, torch.Generator().manual_seed(1))
    *given, answers = recall.examples(128, torch.Generator().manual_seed(2))
    right = {16: [], 32: [], 48: []}
    for seed in range(5):
        model = recall.load(f"n8-g8-seed{seed}-1800")
        w = low_rank.directions(low_rank.keys_values(model, *seen))
        for r, shares in right.items():
            with torch.no_grad():
                logits, _ = low_rank.with_latent(model, w[:, :r])(*given)
            shares.append((logits.argmax(dim=-1) == answers).double().mean().item())
    return right


def test_48_of_128_numbers_answer_all_and_fewer_less_than_a_model_trained_with_them():
    right, trained = cut(), results.accuracies(8, 1800)
    assert min(right[48]) > 0.99
    for g in (1, 2):  # 16 and 32 numbers
        assert max(right[16 * g]) < min(trained[g]) - 0.1


def test_random_weights_keep_almost_as_much_of_the_squares_in_half_of_their_directions():
    *seen, _ = recall.examples(64, torch.Generator().manual_seed(1))
    for seed in range(5):
        torch.manual_seed(seed)
        models = recall.load(f"n8-g8-seed{seed}-1800"), recall.RecallModel()
        trained, untrained = (low_rank.kept(low_rank.keys_values(x, *seen)) for x in models)
        assert 0.02 < trained[31] - untrained[31] < 0.08
        assert trained[7] - untrained[7] > 0.15


def test_rope_spreads_the_keys_of_the_trained_doors_model():
    path = data_path("checkpoints", "doors", "doors-g32")
    model = checkpoints.load(checkpoints.open_checkpoint(path))
    for before, after in zip(
        *low_rank.keys(model, verses.texts(random.Random(1), 12)), strict=True
    ):
        assert low_rank.kept(before.double())[127] > 1 - 1e-9
        assert low_rank.kept(after)[127] < 0.99
        assert low_rank.kept(before)[31] - low_rank.kept(after)[31] > 0.15


KEPT = {
    "small": {
        "trained": [torch.tensor([0.5, 0.7, 1.0]), torch.tensor([0.7, 0.9, 1.0])],
        "random": [torch.tensor([0.3, 0.4, 1.0])],
        "bound": {"d = 3": 3},
    },
    "large": {
        "trained": [torch.tensor([0.5, 0.6, 0.7, 0.8, 0.9, 1.0])],
        "random": [torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 1.0])] * 2,
    },
}


def test_every_curve_is_drawn_and_its_mean_named():
    figure = figures.kept(KEPT, 2, "A title")
    assert "small: trained .80, random .40; large: trained .60, random .20." in figure.alt
    assert "A title. Means at 2," in figure.alt
    for axes, (name, of) in zip(figure.axes, KEPT.items(), strict=True):
        assert axes.get_title(loc="left") == name
        curves = [x.get_xydata() for x in axes.lines if len(x.get_xdata()) > 2]
        expected = [*of["trained"], *of["random"]]
        for curve, shares in zip(curves, expected, strict=True):
            assert curve[:, 0].tolist() == [*range(1, len(shares) + 1)]
            torch.testing.assert_close(torch.tensor(curve[:, 1]).float(), shares)
        texts = {t.get_text(): t.xy for t in axes.texts}
        means = {"small": [".80", ".40"], "large": [".60", ".20"]}[name]
        assert [texts[mean] for mean in means] == [(2, pytest.approx(float(x))) for x in means]
        assert ("d = 3" in texts) == (name == "small")


SQUARES = {1: [0.4, 0.5], 3: [0.8, 0.9], 4: [1.0, 1.0]}
RIGHT = {1: [0.2, 0.3], 3: [0.6, 0.8], 4: [0.9, 1.0]}
TRAINED = {2: [0.5, 0.6], 6: [1.0, 1.0]}


def page(r):
    exact = drawn(4, 6)
    w = low_rank.directions(exact)[:, :r]
    return figures.low_rank(exact, exact @ w @ w.T, r, SQUARES, RIGHT, TRAINED)


@pytest.mark.parametrize("r, said", [(1, "45 % of the squares kept, 25 % right"), (3, "85 % of the squares kept, 70 % right")])  # fmt: skip
def test_a_page_shows_the_rows_the_nearest_ones_and_the_difference(r, said):
    exact, figure = drawn(4, 6), page(r)
    maps, answers, _ = figure.axes
    image = torch.tensor(maps.images[0].get_array().filled(torch.nan))
    blocks = [image[i * 7 + 3 : i * 7 + 7].double() for i in range(3)]
    w = low_rank.directions(exact)[:, :r]
    for block, x in zip(blocks, [exact, exact @ w @ w.T, exact - exact @ w @ w.T], strict=True):
        torch.testing.assert_close(block, x, rtol=1e-5, atol=1e-6)
    assert maps.images[0].norm.vmax == pytest.approx(exact.abs().max().item())
    names = words(maps.texts)
    assert names == ["as they are", f"nearest of rank {r}", "difference"]
    assert figure.get_suptitle() == f"{r} numbers in place of 6: {said}"
    assert figure.get_suptitle() in figure.alt
    assert (
        "after training 1 .25, 3 .70, 4 .95; GQA trained with so few 2 .55, 6 1.00." in figure.alt
    )
    drawn_means = {x.get_label(): x.get_xydata().tolist() for x in answers.lines[:6]}
    assert drawn_means["cut after training"] == [[1, 0.25], [3, 0.7], [4, 0.95]]
    ring = answers.lines[-1].get_xydata().tolist()
    assert ring == [[r, pytest.approx({1: 0.25, 3: 0.7}[r])]]


def test_the_pages_keep_still():
    assert_only_what_changes_moves([page(r) for r in (1, 3, 4)])
