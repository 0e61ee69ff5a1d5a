"""What each lesson takes of a machine, measured: data/results/kernels.csv.

python -m makers.kernels    (make bench-kernels)

Every lesson is run in a kernel of its own, on one thread. Private is what no other kernel can
share: pages that were written to. A lesson's `private_mib` is what its kernel keeps when all cells
have run, `peak_mib` the most it had, looked at 50 times a second; `setup_s` goes from the start of
the kernel to the end of the set-up cell, the median of five; `cpu_s` is all that the processor did.
"""

import csv
import os
import sys
import time
from contextlib import contextmanager
from statistics import median
from threading import Event, Thread

import nbformat
import psutil
from jupyter_client.manager import start_new_kernel

from makers.decode_times import hardware
from makers.lessons import ROOT, lessons

TABLE = ROOT / "data" / "results" / "kernels.csv"
NAMES = "hardware", "lesson", "setup_s", "private_mib", "peak_mib", "cpu_s"
AGAIN = 4


def main(*numbers):
    rows = [(hardware("cpu"), path.stem[:2], *measured(path)) for path in lessons(*numbers)]
    if numbers:
        return
    with open(TABLE, "w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([NAMES, *rows])


def measured(path):
    """A lesson's numbers, in the order of the columns."""
    cells = [cell for cell in nbformat.read(path, 4).cells if cell.cell_type == "code"]
    with running(path) as (kernel, process, start), watched(process) as peak:
        setups = [set_up(kernel, cells, start)]
        for cell in cells[2:]:
            run(kernel, cell)
        kept, used = private(process), process.cpu_times()
    for _ in range(AGAIN):
        with running(path) as (kernel, _, start):
            setups.append(set_up(kernel, cells, start))
    row = [f"{median(setups):.2f}", round(kept), round(peak()), round(used.user + used.system, 1)]
    print(path.stem, *row, flush=True)
    return row


@contextmanager
def running(path):
    """A kernel, its process, and when it was started."""
    start = time.perf_counter()
    environment = os.environ | {"COURSE_PROGRESS": "off", "OMP_NUM_THREADS": "1"}
    manager, kernel = start_new_kernel(cwd=str(path.parent), env=environment)
    try:
        yield kernel, psutil.Process(manager.provisioner.pid), start
    finally:
        kernel.stop_channels()
        manager.shutdown_kernel(now=True)


def set_up(kernel, cells, start):
    """Run the first two cells; the seconds since `start`."""
    for cell in cells[:2]:
        run(kernel, cell)
    return time.perf_counter() - start


def run(kernel, cell):
    reply = kernel.execute_interactive(cell.source, output_hook=lambda said: None, timeout=600)
    if reply["content"]["status"] != "ok":
        sys.exit(f"{reply['content']['evalue']} in\n{cell.source}")


@contextmanager
def watched(process):
    """Look at what a process has of its own, until this ends; gives a function: the most it had."""
    done, most = Event(), [0]

    def look():
        while not done.wait(0.02):
            most[0] = max(most[0], private(process))

    watching = Thread(target=look)
    watching.start()
    try:
        yield lambda: most[0]
    finally:
        done.set()
        watching.join()


def private(process):
    """MiB that a process has written to, which no other can share."""
    with open(f"/proc/{process.pid}/smaps_rollup", encoding="utf-8") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("Private_D"))


if __name__ == "__main__":
    main(*sys.argv[1:])
