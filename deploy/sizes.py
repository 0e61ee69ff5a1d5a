"""What a student needs, from what was measured; what a class needs of that, and what it costs.

    python3 deploy/sizes.py --vcpu-hour 0.03 --gib-hour 0.004

Prices are yours, in your currency. Of kernels.csv and hub.csv in data/results, see `needs`.
"""

import argparse
import csv
import re
from math import ceil, floor
from pathlib import Path
from statistics import median
from typing import NamedTuple

RESULTS = Path(__file__).resolve().parents[1] / "data" / "results"
MADE_BY = {"kernels.csv": "bench-kernels", "hub.csv": "test-hub"}
WAIT = 120  # seconds from the click that starts a server to the first picture, for 95 of 100
OPEN = 4  # lessons that a student leaves open: JupyterLab keeps a kernel for each
STEP = 64  # MiB, to which a guarantee is rounded up; a limit to 256
DISK = 1  # GiB a student: values.yaml says why


class Needs(NamedTuple):
    """What one student is guaranteed and may take, and what a whole class was measured on."""

    memory_guarantee: int  # MiB
    memory_limit: int
    memory_peak: int  # at the peak of the heaviest lesson
    cpu_guarantee: float  # vCPU
    cpu_limit: int
    students: int
    hardware: str


def table(path):
    """The rows of a table, numbers as numbers.

    Raises FileNotFoundError, with the remedy, if it is not there.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no {path}: make {MADE_BY[path.name]} measures it")
    with open(path, newline="", encoding="utf-8") as file:
        return [{name: number(x) for name, x in row.items()} for row in csv.DictReader(file)]


def number(text):
    try:
        return float(text)
    except ValueError:
        return text


def needs(kernels, hub):
    """What a student needs, by the largest class in `hub` in which nobody failed or waited long.

    `kernels` has a row a lesson: private_mib of its kernel at the end, peak_mib on the way. `hub`
    has a row a class: its students, on the hardware named ("2 cores, …"); private MiB of a
    student's server and kernel; and shared_mib, what all map, counted once.

    memory guarantee: server, the median kernel, and a share of what is shared
    memory peak: the same with the heaviest lesson at its peak
    memory limit: server, all that is shared, the heaviest lesson at its peak, three more left open
    CPU guarantee: all cores, shared by the class that they were enough for
    CPU limit: the cores that the class was measured on

    Raises ValueError if there is no such class.
    """
    good = [row for row in hub if not row["failures"] and waited(row) <= WAIT]
    if not good:
        said = [f"{row['failures']:.0f} and {waited(row):.0f} s" for row in hub]
        raise ValueError(
            f"a class needs 0 failures and a wait of at most {WAIT} s, and of those measured there "
            f"were {'; '.join(said)}: make test-hub STUDENTS=…, with fewer"
        )
    row = max(good, key=lambda row: row["students"])
    students, cores = int(row["students"]), int(re.match(r"(\d+) cores?\b", row["hardware"])[1])
    kernel = median(lesson["private_mib"] for lesson in kernels)
    heaviest = max(lesson["peak_mib"] for lesson in kernels)
    server, shared = row["server_private_mib"], row["shared_mib"]
    return Needs(
        rounded_up(server + kernel + shared / students, STEP),
        rounded_up(server + shared + heaviest + (OPEN - 1) * kernel, 256),
        rounded_up(server + heaviest + shared / students, STEP),
        ceil(100 * cores / students) / 100,
        cores,
        students,
        row["hardware"],
    )


def waited(row):
    """Seconds that 95 of 100 waited at most: for their server, and then for the first picture."""
    return row["spawn_p95_s"] + row["first_picture_p95_s"]


def rounded_up(x, step):
    return ceil(x / step) * step


def settings(need):
    """The four settings, as values.yaml has them."""
    return {
        "memory": {"guarantee": f"{need.memory_guarantee}M", "limit": f"{need.memory_limit}M"},
        "cpu": {"guarantee": need.cpu_guarantee, "limit": need.cpu_limit},
    }


def held(need, vcpu, gib):
    """How many students a node holds that lets pods have so much."""
    return min(floor(vcpu / need.cpu_guarantee + 1e-9), floor(gib * 1024 / need.memory_guarantee))


def nodes(need, students, vcpu, gib):
    """How many such nodes a class needs.

    Raises ValueError, with the remedy, if one does not hold a single student.
    """
    if not (each := held(need, vcpu, gib)):
        raise ValueError(
            f"a node of {vcpu:g} vCPU and {gib:g} GiB holds no student, who needs "
            f"{need.cpu_guarantee:g} vCPU and {need.memory_guarantee} MiB: take a larger one"
        )
    return ceil(students / each)


def student_hour(need, students, vcpu, gib, vcpu_hour, gib_hour):
    """What an hour of a student costs: whole nodes, also where they are not full, by the class."""
    node = vcpu * vcpu_hour + gib * gib_hour
    return nodes(need, students, vcpu, gib) * node / students


def report(need, students, vcpu, gib):
    """What a class needs, in words."""
    count, each = nodes(need, students, vcpu, gib), held(need, vcpu, gib)
    cores = ceil(students * need.cpu_limit / need.students)
    ordinary, heaviest = (
        ceil(students * mib / 1024) for mib in (need.memory_guarantee, need.memory_peak)
    )
    return f"""\
From a class of {need.students} on {need.hardware}:

            guarantee      limit
memory  {need.memory_guarantee:>9} MiB  {need.memory_limit:>5} MiB
CPU     {need.cpu_guarantee:>9g} vCPU {need.cpu_limit:>5} vCPU

A node that gives {vcpu:g} vCPU and {gib:g} GiB to pods holds {each} students;
a class of {students} needs {count}.
One machine for all of them: {cores} cores, {ordinary} GiB;
{heaviest} GiB if all are at the peak of the heaviest lesson at once."""


def main(arguments=None):
    """Print it, and what it costs by the prices on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--vcpu-hour", type=float, help="price of a vCPU an hour")
    parser.add_argument("--gib-hour", type=float, help="price of a GiB an hour")
    parser.add_argument("--disk-gib-month", type=float, help="price of a GiB of disk a month")
    parser.add_argument("--students", type=int, default=30)
    parser.add_argument("--node-vcpu", type=float, default=4, help="vCPU a node has for pods")
    parser.add_argument("--node-gib", type=float, default=16, help="GiB a node has for pods")
    given = parser.parse_args(arguments)
    if (given.vcpu_hour is None) != (given.gib_hour is None):
        parser.error("an hour costs by both prices: give --vcpu-hour and --gib-hour")
    shape = given.students, given.node_vcpu, given.node_gib
    try:
        need = needs(table(RESULTS / "kernels.csv"), table(RESULTS / "hub.csv"))
        print(report(need, *shape))
    except (OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    if given.vcpu_hour is not None:
        hour = student_hour(need, *shape, given.vcpu_hour, given.gib_hour)
        print(f"A student-hour costs {hour:.4f}.")
    if given.disk_gib_month is not None:
        month = given.students * DISK * given.disk_gib_month
        print(f"The disks of the class cost {month:.2f} a month, used or not.")


if __name__ == "__main__":
    main()
