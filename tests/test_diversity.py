"""Laws of course_utils.experiments.diversity: slow loops as oracles, bounds, and what random weights say."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course_utils.experiments.diversity import distance, effective_rank, jensen_shannon, similarity
from course_utils.experiments.recall import RecallModel, examples, load

MEASURES = [distance, jensen_shannon]
small = st.integers(2, 4)
seeds = st.integers(0, 2**31)
MANY = settings(max_examples=50, deadline=None, derandomize=True)


pytestmark = pytest.mark.usefixtures("one_thread")


def random_maps(n, t, s, seed):
    """Maps with sharp and flat rows, and with zeros as behind a causal mask."""
    generator = torch.Generator().manual_seed(seed)
    scores = 4 * torch.randn(n, t, s, generator=generator, dtype=torch.float64)
    scores[:, :, 1:][torch.rand(n, t, s - 1, generator=generator) < 0.3] = float("-inf")
    return scores.softmax(dim=-1)


def slow_distance(p, q):
    p, q = p.flatten().tolist(), q.flatten().tolist()
    dot = sum(a * b for a, b in zip(p, q, strict=True))
    return 1 - dot / math.sqrt(sum(a * a for a in p)) / math.sqrt(sum(b * b for b in q))


def slow_jensen_shannon(p, q):
    total = 0
    for row, other in zip(p.tolist(), q.tolist(), strict=True):
        for a, b in zip(row, other, strict=True):
            total += sum(x / 2 * math.log2(x / ((a + b) / 2)) for x in (a, b) if x > 0)
    return total / len(p)


@pytest.mark.parametrize(
    "measure, slow", [(distance, slow_distance), (jensen_shannon, slow_jensen_shannon)]
)
@MANY
@given(n=small, t=small, s=small, seed=seeds)
def test_the_mean_over_pairs_is_what_loops_give(measure, slow, n, t, s, seed):
    maps = random_maps(n, t, s, seed)
    pairs = list(itertools.combinations(range(n), 2))
    expected = sum(slow(maps[i], maps[j]) for i, j in pairs) / len(pairs)
    assert measure(maps).item() == pytest.approx(expected, abs=1e-9)
    assert -1e-9 <= measure(maps).item() <= 1 + 1e-9


@pytest.mark.parametrize("measure", MEASURES)
@MANY
@given(n=small, t=small, s=small, seed=seeds)
def test_heads_with_one_map_between_them_are_0_apart(measure, n, t, s, seed):
    maps = random_maps(1, t, s, seed).expand(n, t, s)
    assert measure(maps).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("measure", MEASURES)
@MANY
@given(n=small, t=small, seed=seeds)
def test_heads_that_never_look_at_the_same_key_are_1_apart(measure, n, t, seed):
    generator = torch.Generator().manual_seed(seed)
    keys = torch.rand(t, n + 2, generator=generator).argsort(dim=1)[:, :n]
    maps = torch.nn.functional.one_hot(keys.T, n + 2).double()
    assert measure(maps).item() == pytest.approx(1)


@pytest.mark.parametrize(
    "measure, half", [(distance, 1 - 1 / math.sqrt(2)), (jensen_shannon, 0.311)]
)
def test_one_key_against_two(measure, half):
    maps = torch.tensor([[[1.0, 0.0]], [[0.5, 0.5]]])
    assert measure(maps).item() == pytest.approx(half, abs=1e-3)


@pytest.mark.parametrize("measure", MEASURES)
@MANY
@given(n=small, t=small, s=small, seed=seeds)
def test_neither_the_order_of_heads_nor_of_keys_matters(measure, n, t, s, seed):
    maps = random_maps(n, t, s, seed)
    for turned in (maps.flip(0), maps.flip(1), maps.flip(2)):
        assert measure(turned).item() == pytest.approx(measure(maps).item())


def test_only_jensen_shannon_counts_every_row_the_same():
    """One sharp row (two heads apart) over four flat ones (the same in both)."""
    maps = torch.full((2, 5, 4), 0.25)
    maps[:, 0] = torch.eye(4)[:2]
    assert jensen_shannon(maps).item() == pytest.approx(1 / 5)
    assert distance(maps).item() == pytest.approx(1 / 2)


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("shape", [(1, 3, 4), (3, 4), (2, 3, 4, 5)], ids=str)
def test_what_has_no_two_heads_is_refused(measure, shape):
    with pytest.raises(ValueError) as error:
        measure(torch.ones(shape))
    assert str(error.value) == (
        f"maps has shape {shape}; it needs three axes, (n, t, s), and n of at least 2: "
        "take one example of a batch with weights[0]"
    )


@MANY
@given(n=small, a=small, b=small, seed=seeds)
def test_similarity_is_torch_s_own_cosine(n, a, b, seed):
    x = torch.randn(n, a, b, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    flat = x.flatten(1)
    expected = torch.nn.functional.cosine_similarity(flat[:, None], flat[None], dim=-1)
    torch.testing.assert_close(similarity(x), expected)
    torch.testing.assert_close(similarity(x).diagonal(), torch.ones(n, dtype=torch.float64))


def test_heads_that_share_their_keys_are_blocks_of_ones_in_similarity():
    keys = torch.eye(2)[:, None]  # two K/V heads that share nothing
    expected = torch.block_diag(torch.ones(3, 3), torch.ones(3, 3))
    assert torch.equal(similarity(keys.repeat_interleave(3, dim=0)), expected)
    assert torch.equal(similarity(-keys), similarity(keys))
    assert similarity(torch.stack([keys, -keys]))[0, 1].item() == pytest.approx(-1)


@MANY
@given(rows=small, columns=small, seed=seeds)
def test_the_effective_rank_is_between_1_and_the_smaller_side(rows, columns, seed):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, columns, generator=generator, dtype=torch.float64)
    rank = effective_rank(x).item()
    assert 1 <= rank <= min(rows, columns) + 1e-9
    assert effective_rank(7 * x.T).item() == pytest.approx(rank)


def test_the_effective_rank_of_matrices_one_knows():
    assert effective_rank(torch.eye(5)).item() == pytest.approx(5)
    assert effective_rank(torch.ones(4, 6)).item() == pytest.approx(1, abs=1e-4)
    shares = [1 / 2, 1 / 4, 1 / 4]  # 1.5 bits
    assert effective_rank(torch.diag(8 * torch.tensor(shares))).item() == pytest.approx(2**1.5)


def test_more_shared_keys_cannot_have_a_higher_rank_than_their_width():
    doors, rooms, *_ = examples(16, torch.Generator().manual_seed(0))
    for g in (8, 2, 1):
        keys = RecallModel(n_kv_heads=g).keys(doors, rooms)
        assert effective_rank(keys.transpose(1, 2).flatten(2).flatten(0, 1)).item() <= 8 * g


def test_random_weights_say_nothing_about_sharing():
    """A notebook prints that MHA has the most diverse heads, from weights nobody trained."""
    doors, rooms, asked, _ = examples(1, torch.Generator().manual_seed(0))
    found = {8: [], 1: []}
    with torch.no_grad():
        for seed, g in itertools.product(range(200), found):
            torch.manual_seed(seed)
            weights = RecallModel(n_kv_heads=g)(doors, rooms, asked)[1]
            found[g].append([distance(weights[0]), jensen_shannon(weights[0])])
    eight, one = torch.tensor(found[8]), torch.tensor(found[1])
    assert ((eight.mean(0) - one.mean(0)).abs() < eight.std(0) / 4).all()


@torch.no_grad()
def test_in_trained_models_heads_that_share_their_keys_look_more_alike():
    doors, rooms, asked, _ = examples(64, torch.Generator().manual_seed(0))
    for seed in range(3):
        many, one = (load(f"n8-g{g}-seed{seed}")(doors, rooms, asked)[1] for g in (8, 1))
        for measure in MEASURES:
            tall = [weights.transpose(0, 1).flatten(1, 2) for weights in (many, one)]
            assert measure(tall[0]) > 1.1 * measure(tall[1])
