"""Probes drawn anew: others for each seed, which judge as the written ones do."""

import importlib
import itertools
import os
import random
import subprocess
import sys

import pytest
import torch
from test_probes import EXTREME, SIZES, sizes

from course_utils.checks.compare import close
from course_utils.checks.draws import resized
from course_utils.checks.engine import examine, exercises, find, redrawn, rung
from course_utils.checks.recognise import given_by, recognise
from course_utils.checks.running import outcomes

every_exercise = pytest.mark.parametrize("name", exercises())
SEEDS = range(5)


def written(probe):
    """All that a probe holds, as text."""
    return repr([x.tolist() if isinstance(x, torch.Tensor) else x for x in probe])


def probes_of(seed):
    """The probes of all exercises, as text."""
    return [[written(probe) for probe in redrawn(name, seed).probes] for name in exercises()]


# Others, for each seed


@every_exercise
def test_every_seed_asks_what_no_other_and_what_check_does_not_ask(name):
    asked = [list(map(written, redrawn(name, seed).probes)) for seed in SEEDS]
    assert all(one != other for one, other in itertools.combinations(asked, 2))
    fixed = set(map(written, find(name).probes))
    for probes in asked:
        assert len(fixed.intersection(probes)) < len(probes) / 2


@every_exercise
def test_all_else_stays(name):
    drawn, fixed = redrawn(name, 0), find(name)
    assert drawn._replace(probes=None) == fixed._replace(probes=None)
    assert len(drawn.probes) == len(fixed.probes)


def test_a_seed_is_drawn_once_and_may_be_a_number_or_a_text():
    assert redrawn("01.attention", "2026-11-26") is redrawn("01.attention", "2026-11-26")
    assert probes_of(7) == probes_of("7") != probes_of("8")


def test_a_seed_is_the_same_in_every_process():
    code = "import test_redrawn; print(hash('a'), test_redrawn.probes_of('2026-11-26'))"
    told = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    hashed, probes = told.strip().split(" ", 1)
    assert probes == str(probes_of("2026-11-26")) and int(hashed) != hash("a")


def test_an_exercise_that_is_not_there():
    with pytest.raises(KeyError, match=r"01\.attention"):
        redrawn("01.atention", 0)


# Edge cases stay


def pattern(name, probe):
    """Which sizes of a probe are 0, 1, equal, and larger than others."""
    found = {"0": 0, "1": 1} | sizes(name, probe)
    return [(x > y) - (x < y) for x, y in itertools.combinations(found.values(), 2)]


@pytest.mark.parametrize("name", SIZES)
def test_what_is_1_stays_1_and_what_is_equal_or_larger_stays_so(name):
    right = [pattern(name, probe) for probe in find(name).probes]
    for seed in SEEDS:
        assert [pattern(name, probe) for probe in redrawn(name, seed).probes] == right


@pytest.mark.parametrize("name, where", EXTREME.values(), ids=EXTREME)
def test_extreme_values_are_drawn_with_every_seed(name, where):
    for seed in SEEDS:
        assert any(where(*probe) for probe in redrawn(name, seed).probes)


@pytest.mark.parametrize(
    "name, n, g",
    [("00.group_size", 0, 1), ("06.GroupedQueryAttention", 1, 2), ("07.mean_pool_kv", 1, 2)],
)
def test_what_must_be_refused_stays_so(name, n, g):
    fits = [probe[n] % probe[g] == 0 for probe in find(name).probes]
    for seed in SEEDS:
        assert [probe[n] % probe[g] == 0 for probe in redrawn(name, seed).probes] == fits


@pytest.mark.parametrize(
    "row", [(1, 1, 1), (0, 1, 1), (2, 2, 1), (9, 3, 0), (3, 9001, torch.half), (True, 2.0, 4, "8")]
)
def test_a_row_is_drawn_in_its_order_and_but_for_sizes_as_it_is(row):
    other, numbers = resized(most=9), random.Random(0)
    found = [other(numbers, row) for _ in range(50)]
    for drawn in found:
        for x, y in zip(row, drawn, strict=True):
            assert type(x) is type(y) and (x == y or (type(x) is int and x > 1))
        old, new = ([x for x in xs if type(x) is int] for xs in (row, drawn))
        for i, j in itertools.permutations(range(len(old)), 2):
            assert (old[i] < old[j]) == (new[i] < new[j])
    has_sizes = any(type(x) is int and x > 1 for x in row)
    assert (row not in found) == has_sizes and (len(set(found)) > 1) == has_sizes


# The same is right, and wrong for the same reason


@every_exercise
def test_the_reference_and_the_rung_pass(name):
    for seed in range(2):
        for fn in (find(name).reference, rung(name)):
            result = examine(redrawn(name, seed), fn)
            assert result.passed and " But " not in result.message, (seed, result.message)


QUICK = [name for name in exercises() if name[:2] in ("00", "08", "09") or "bytes" in name]


@every_exercise
def test_every_mistake_is_rejected_with_its_own_diagnosis(name, monkeypatch):
    """As `examine` finds it, but that each runs once."""
    names = {mistake.wrong: x for x, mistake in find(name).mistakes.items()}
    monkeypatch.setattr(
        importlib.import_module("course_utils.checks.recognise"),
        "outcomes",
        lambda exercise, fn: [given_by(exercise, names[fn], i) for i in range(len(right))],
    )
    for seed in range(5 if name in QUICK else 1):
        exercise = redrawn(name, seed)
        right = outcomes(exercise, exercise.reference)
        for wrong, diagnosis in names.items():
            got = [given_by(exercise, diagnosis, i) for i in range(len(right))]
            assert not all(map(close, got, right)), (seed, diagnosis)
            assert recognise(exercise, wrong, right) == diagnosis, seed


@pytest.mark.parametrize("name", [*QUICK, "03.merge_heads"])
def test_examine_gives_every_mistake_its_own_diagnosis(name):
    exercise = redrawn(name, "2026-11-26")
    for diagnosis, mistake in exercise.mistakes.items():
        result = examine(exercise, mistake.wrong)
        assert (result.passed, result.started, result.diagnosis) == (False, True, diagnosis)


@every_exercise
def test_an_answer_that_knows_only_what_check_asks_does_not_pass(name):
    fixed = find(name)
    right = outcomes(fixed, fixed.reference)
    known = dict(zip(map(written, fixed.probes), right, strict=True))

    def by_heart(*given):
        """Never called: play looks up what it gives."""

    def play(fn, *probe):
        if fn is by_heart:
            return known.get(written(probe), right[0])
        return fixed.play(fn, *probe) if fixed.play else fn(*probe)

    blind = {"play": play, "mistakes": {}, "remark": None}
    assert examine(fixed._replace(**blind), by_heart).passed
    for seed in SEEDS:
        result = examine(redrawn(name, seed)._replace(**blind), by_heart)
        assert (result.passed, result.started) == (False, True)
