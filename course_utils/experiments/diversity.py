"""How different the heads of a layer are: n heads, t query positions, s keys.

Measure trained weights. Random ones tell nothing about the kind of attention.
"""

import math

import torch
from torch.nn.functional import normalize


def similarity(x):
    """Cosine similarity between the heads' tensors, each flattened: x (n, ...) → (n, n).

    1 for the same direction, 0 for orthogonal ones (and for a tensor of zeros), -1 for opposite.

    >>> similarity(torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]])).tolist()
    [[1.0, 1.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    x = normalize(x.flatten(1), dim=1)
    return x @ x.T


def distance(maps):
    """Mean cosine distance between two heads' attention maps: maps (n, t, s) → 0 to 1.

    0 if all maps are the same, 1 if no two heads look at the same place. A batch (b, n, t, s) is
    one tall map for each head: maps.transpose(0, 1).flatten(1, 2).

    Raises ValueError unless maps has three axes and two heads or more.

    >>> round(distance(torch.eye(2)[:, None]).item(), 6)  # one query; each head has its own key
    1.0
    """
    i, j = pairs(maps)
    return (1 - similarity(maps)[i, j]).mean()


def jensen_shannon(maps):
    """Mean Jensen–Shannon divergence between two heads' rows, in bits: maps (n, t, s) → 0 to 1.

    The entropy of the average of two rows less the average of their entropies. 0 and 1 as in
    `distance`, which a few sharp rows rule; here every row counts the same.

    Raises ValueError unless maps has three axes and two heads or more.
    Source: Lin 1991, Divergence measures based on the Shannon entropy, IEEE Trans. Inf. Theory 37.

    >>> jensen_shannon(torch.eye(2)[:, None])
    tensor(1.)
    """
    i, j = pairs(maps)
    own = entropy(maps)
    return (entropy((maps[i] + maps[j]) / 2) - (own[i] + own[j]) / 2).mean()


def effective_rank(matrix):
    """How many directions a matrix (rows, columns) uses: 1 to its smaller side.

    exp of the entropy of the singular values, which are divided by their sum first. For the keys of
    g heads of width h laid side by side, (rows, g·h), it is at most g·h: partly arithmetic.

    Source: Roy and Vetterli 2007, The effective rank, EUSIPCO.

    >>> effective_rank(torch.eye(3)), effective_rank(torch.ones(3, 3))
    (tensor(3.), tensor(1.))
    """
    sizes = torch.linalg.svdvals(matrix)
    return 2 ** entropy(sizes / sizes.sum())


def entropy(x):
    """Entropy over the last axis, in bits; what is 0 adds nothing."""
    return -torch.xlogy(x, x).sum(dim=-1) / math.log(2)


def pairs(maps):
    """Indices (i, j) of all pairs of different heads of maps (n, t, s); ValueError if none."""
    if maps.ndim != 3 or len(maps) < 2:
        raise ValueError(
            f"maps has shape {tuple(maps.shape)}; it needs three axes, (n, t, s), and n of at "
            "least 2: take one example of a batch with weights[0]"
        )
    return torch.triu_indices(len(maps), len(maps), offset=1)


def measured(measure, model_of, every_g, seeds=range(5)):
    """measure(model_of(g, seed)) of every model: {g: one number a seed} for each number it gives.

    >>> measured(lambda model: (model, -model), lambda g, seed: 10 * g + seed, [1, 2], seeds=[0, 1])
    [{1: [10, 11], 2: [20, 21]}, {1: [-10, -11], 2: [-20, -21]}]
    """
    columns = {
        g: [list(x) for x in zip(*(measure(model_of(g, i)) for i in seeds), strict=True)]
        for g in every_g
    }
    return [dict(zip(columns, x, strict=True)) for x in zip(*columns.values(), strict=True)]
