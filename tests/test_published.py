"""What published studies found, as data/published.csv has it, and what may be averaged."""

import pandas as pd
import pytest

from course_utils import data_path
from course_utils.experiments import results

TABLE = pd.read_csv(data_path("published.csv"))


def test_a_row_says_where_it_is_from_and_what_was_held_equal():
    said = TABLE[["study", "source", "setting", "equal", "benchmark", "unit", "mha"]]
    assert not said.isna().any(axis=None)
    assert TABLE[["mqa", "gqa", "mla"]].notna().any(axis=1).all()
    assert set(TABLE.unit) == {"points", "perplexity", "ln perplexity", "billions", "numbers"}


def test_a_test_set_counts_once_however_it_was_decoded():
    scores = results.published()
    assert len({(score.study, score.benchmark) for score in scores}) == len(scores)
    shazeer = [score for score in scores if score.study == "Shazeer 2019"]
    difference = {score.benchmark: score.mqa - score.mha for score in shazeer}
    assert difference == pytest.approx({"BLEU dev": -0.2, "BLEU test": (-0.2 + 0.1) / 2})


def test_only_points_are_averaged():
    points = TABLE[(TABLE.unit == "points") & TABLE.mla.isna()]
    points = points.drop_duplicates(["study", "benchmark"])
    found = [(score.study, score.benchmark) for score in results.published()]
    assert found == list(zip(points.study, points.benchmark, strict=True))


def test_both_perplexities_are_worse_with_mqa():
    (higher,) = results.perplexity().values()
    assert higher == pytest.approx([100 * (4.2165 / 4.1537 - 1), 100 * (30.2 / 29.9 - 1)], abs=0.01)


def test_all_five_means_of_mqa_lie_below_by_what_lesson_05_says():
    scores = pd.DataFrame(results.published())
    means = (scores.mqa - scores.mha).groupby(scores.study).mean().dropna()
    assert len(means) == 5
    assert [round(x, 1) for x in (means.min(), means.max())] == [-8.2, -0.1]


def test_means_of_mqa_and_gqa_count_no_model_of_another_table():
    """MLA was compared with another MHA: 57.5 points on MMLU, where MQA's and GQA's had 45.2."""
    deepseek = [score for score in results.published() if score.study == "DeepSeek-V2 2024"]
    mha = {score.benchmark: score.mha for score in deepseek}
    assert mha == {"BBH": 37.0, "MMLU": 45.2, "C-Eval": 42.9, "CMMLU": 43.5}


MLA = results.with_mla().set_index(["setting", "attention"])
DENSE, SMALL, LARGE = "7B, 1.33T tokens", "small MoE, 1.33T tokens", "large MoE, 420B tokens"


def test_every_model_of_the_two_tables_is_a_row():
    assert list(MLA.index) == [
        *((DENSE, kind) for kind in ("MHA", "GQA", "MQA")),
        *((size, kind) for size in (SMALL, LARGE) for kind in ("MHA", "MLA")),
    ]
    assert (MLA.equal == "parameters (more layers)").tolist() == [True] * 3 + [False] * 4
    assert MLA["cache of a token"].isna().tolist() == [True] * 3 + [False] * 4
    assert not MLA.drop(columns=["active parameters", "cache of a token"]).isna().any(axis=None)


@pytest.mark.parametrize(
    "size, layers, heads, head_dim",
    [(SMALL, 27, 16, 128), (LARGE, 60, 56, 128)],  # 56 by the cache: the paper does not say
)
def test_the_caches_are_those_of_the_sizes(size, layers, heads, head_dim):
    cache = MLA.loc[size, "cache of a token"]
    assert cache["MHA"] == pytest.approx(2 * heads * head_dim * layers, abs=50)
    assert cache["MLA"] == pytest.approx((512 + 64) * layers, abs=50)


def test_mla_lies_above_mha_in_seven_of_eight_scores_with_fewer_parameters():
    scores, sizes = ["BBH", "MMLU", "C-Eval", "CMMLU"], ["parameters", "active parameters"]
    numbers = MLA[scores + sizes]
    gains = {x: numbers.loc[(x, "MLA")] - numbers.loc[(x, "MHA")] for x in (SMALL, LARGE)}
    assert sum(gain[score] > 0 for gain in gains.values() for score in scores) == 7
    assert gains[SMALL]["C-Eval"] == pytest.approx(-0.7)
    assert [round(gain[scores].mean(), 1) for gain in gains.values()] == [0.7, 2.2]
    assert all((gain[sizes] < 0).all() for gain in gains.values())
