"""Small decoders whose layers see a window, trained and measured: results/windows.csv.

python -m makers.window_models    does what the table does not have yet; stop it at any time
"""

import torch

from course_utils.experiments.distance import DistanceModel, evaluate, train
from makers.recall_models import missing

N_LAYERS, SEEDS = 4, range(5)


def family():
    """Every model: (window, full, steps, seed), in order.

    full is which layer sees all, 1 to 4; 0 where none does. Window 0 is none: all layers see all.

    >>> next(family()), len(list(family()))
    ((0, 0, 600, 0), 45)
    """
    kinds = [(0, 0), (8, 0), (8, 4), (8, 1), (16, 0), (16, 4), (4, 0), (4, 4)]
    yield from ((window, full, 600, seed) for seed in SEEDS for window, full in kinds)
    yield from ((8, 0, 2400, seed) for seed in SEEDS)


def main():
    """The table, on one thread: the same numbers every time on the same machine."""
    torch.set_num_threads(1)
    columns = "window", "full", "steps", "seed"
    for window, full, steps, seed, add in missing(
        "windows", columns, "distance,right,asked", family(), task="distance"
    ):
        torch.manual_seed(seed)
        windows = [None if i == full else window or None for i in range(1, N_LAYERS + 1)]
        model = DistanceModel(windows)
        train(model, steps, seed)
        add(f"{at},{right:.4f},{asked}" for at, (right, asked) in evaluate(model).items())


if __name__ == "__main__":
    main()
