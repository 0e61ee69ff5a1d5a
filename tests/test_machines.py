"""What machines can do at most, as data/machines.csv has it, against their cores and clocks."""

import pandas as pd
import pytest

from course_utils import data_path
from course_utils.experiments import results

MACHINES = results.machines()


def test_the_columns_are_those_that_results_reads_and_every_row_has_a_source():
    table = pd.read_csv(data_path("machines.csv"))
    numbers = ["bandwidth_gb_s", "float32_tflop_s", "half_tflop_s", "memory_gb"]
    assert list(table) == ["machine", *numbers, "source"]
    assert table.machine.is_unique
    assert (table[numbers] > 0).all(axis=None)
    assert table.source.str.contains("https://").all()


def test_each_reads_faster_than_the_one_before():
    assert list(MACHINES) == ["M2 laptop", "T4", "A100", "H100", "H200"]
    bandwidths = [machine.bandwidth for machine in MACHINES.values()]
    assert bandwidths == sorted(bandwidths)


# Cores and GHz: the float32 and the tensor cores run at clocks of their own in an H100.
@pytest.mark.parametrize(
    ("name", "cores", "clock"),
    [
        ("M2 laptop", 1280, 1.398),
        ("T4", 2560, 1.59),
        ("A100", 6912, 1.41),
        ("H100", 16896, 1.98),
        ("H200", 16896, 1.98),
    ],
)
def test_a_core_does_a_multiplication_and_an_addition_a_cycle(name, cores, clock):
    assert MACHINES[name].float32 == pytest.approx(cores * 2 * clock / 1000, rel=0.01)


@pytest.mark.parametrize(
    ("name", "cores", "flop_a_cycle", "clock"),
    [
        ("T4", 320, 128, 1.59),
        ("A100", 432, 512, 1.41),
        ("H100", 528, 1024, 1.83),
        ("H200", 528, 1024, 1.83),
    ],
)
def test_half_is_the_dense_rate_of_the_tensor_cores(name, cores, flop_a_cycle, clock):
    dense = cores * flop_a_cycle * clock / 1000
    assert MACHINES[name].half == pytest.approx(dense, rel=0.01)


# Bits of the bus, and Gbit/s of a wire.
@pytest.mark.parametrize(
    ("name", "width", "rate"),
    [("M2 laptop", 128, 6.4), ("T4", 256, 10), ("A100", 5120, 2 * 1.593), ("H200", 6144, 6.2)],
)
def test_a_bandwidth_is_the_width_of_the_memory_times_its_rate(name, width, rate):
    assert MACHINES[name].bandwidth == pytest.approx(width / 8 * rate, rel=0.03)


def test_half_is_never_slower_than_float32():
    assert all(machine.half >= machine.float32 for machine in MACHINES.values())


@pytest.mark.parametrize(("name", "ridge"), [("H100", 295), ("H200", 206)])
def test_how_many_flop_a_byte_pays_for(name, ridge):
    machine = MACHINES[name]
    assert round(1000 * machine.half / machine.bandwidth) == ridge
