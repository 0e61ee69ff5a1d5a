"""What published studies found, as data/published.csv has it, and what may be averaged."""

import pandas as pd
import pytest

from course_utils import data_path
from course_utils.experiments import results

TABLE = pd.read_csv(data_path("published.csv"))


def test_a_row_says_where_it_is_from_and_what_was_held_equal():
    said = TABLE[["study", "source", "setting", "equal", "benchmark", "unit", "mha"]]
    assert not said.isna().any(axis=None)
    assert TABLE[["mqa", "gqa"]].notna().any(axis=1).all()
    assert set(TABLE.unit) == {"points", "perplexity", "ln perplexity"}


def test_a_test_set_counts_once_however_it_was_decoded():
    rows = results.published()
    assert not rows.duplicated(["study", "benchmark"]).any()
    shazeer = rows[rows.study == "Shazeer 2019"].set_index("benchmark")
    difference = (shazeer.mqa - shazeer.mha).to_dict()
    assert difference == pytest.approx({"BLEU dev": -0.2, "BLEU test": (-0.2 + 0.1) / 2})


def test_only_points_are_averaged():
    points = TABLE[TABLE.unit == "points"].drop_duplicates(["study", "benchmark"])
    rows = results.published()
    assert list(zip(rows.study, rows.benchmark, strict=True)) == list(
        zip(points.study, points.benchmark, strict=True)
    )


def test_both_perplexities_are_worse_with_mqa():
    (higher,) = results.perplexity().values()
    assert higher == pytest.approx([100 * (4.2165 / 4.1537 - 1), 100 * (30.2 / 29.9 - 1)], abs=0.01)


def test_all_five_means_of_mqa_lie_below_by_what_lesson_05_says():
    rows = results.published()
    means = (rows.mqa - rows.mha).groupby(rows.study).mean().dropna()
    assert len(means) == 5
    assert [round(x, 1) for x in (means.min(), means.max())] == [-8.2, -0.1]
