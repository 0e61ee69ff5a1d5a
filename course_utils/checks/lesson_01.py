"""Exercise of lesson 01: attention, with the mistakes that are made in writing it."""

import torch

from course_utils.attention import attention
from course_utils.checks.engine import Exercise, Mistake


def probe(seed, b, n, t, s, h, g=None):
    """Queries (b, n, t, h), keys and values (b, g, s, h), g = n if not given; small for softmax."""
    random = torch.Generator().manual_seed(seed)
    shapes = (b, n, t, h), (b, g or n, s, h), (b, g or n, s, h)
    return tuple(torch.randn(shape, generator=random) for shape in shapes)


def attend(q, k, v, scale=None, weigh=None):
    """Attention with one step done otherwise: scores times scale, weights weigh(scores)."""
    scores = q @ k.mT * (q.shape[-1] ** -0.5 if scale is None else scale)
    weights = weigh(scores) if weigh else scores.softmax(-1)
    return weights @ v, weights


def exp_without_keepdim(q, k, v):
    """Softmax by hand, dividing by sums that lie along the wrong axis."""
    return attend(q, k, v, weigh=lambda x: x.exp() / x.exp().sum(-1))


def softmax_last(q, k, v):
    """Softmax of the output instead of the scores."""
    scores = q @ k.mT / q.shape[-1] ** 0.5
    return (scores @ v).softmax(-1), scores


def results_of(reference):
    """The mistakes of returning the right things in the wrong way: output and weights."""
    return {
        "the two results in the wrong order": Mistake(
            lambda *given: reference(*given)[::-1], "Return output first, then weights."
        ),
        "only one result": Mistake(
            lambda *given: reference(*given)[0], "Return both: output, weights."
        ),
    }


EXERCISES = {
    "01.attention": Exercise(
        reference=attention,
        probes=[probe(1, 1, 1, 3, 3, 2), probe(2, 1, 1, 4, 6, 3), probe(3, 2, 3, 4, 6, 5)],
        returns=("output", "weights"),
        mistakes={
            "no scale": Mistake(
                lambda q, k, v: attend(q, k, v, scale=1),
                "Divide the scores by √h before the softmax; h is q.shape[-1].",
            ),
            "scores multiplied by √h": Mistake(
                lambda q, k, v: attend(q, k, v, scale=q.shape[-1] ** 0.5),
                "Longer vectors already give larger scores: divide.",
            ),
            "scores divided by h": Mistake(
                lambda q, k, v: attend(q, k, v, scale=1 / q.shape[-1]),
                "The spread of q·k grows like √h, not like h: look at the left chart again.",
            ),
            "scores divided by √d_model": Mistake(
                lambda q, k, v: attend(q, k, v, scale=(q.shape[1] * q.shape[-1]) ** -0.5),
                "q·k is a sum of h products, so √h counts, whatever the number of heads; "
                "h is q.shape[-1].",
            ),
            "h**1/2, which is h / 2": Mistake(
                lambda q, k, v: attend(q, k, v, scale=2 / q.shape[-1]),
                "The power comes before the division: write h**0.5.",
            ),
            "the number of keys in place of h": Mistake(
                lambda q, k, v: attend(q, k, v, scale=k.shape[-2] ** -0.5),
                "h is the length of one query: q.shape[-1].",
            ),
            "the number of queries in place of h": Mistake(
                lambda q, k, v: attend(q, k, v, scale=q.shape[-2] ** -0.5),
                "h is the length of one query: q.shape[-1].",
            ),
            "the number of heads in place of h": Mistake(
                lambda q, k, v: attend(q, k, v, scale=q.shape[1] ** -0.5),
                "h is the length of one query: q.shape[-1].",
            ),
            "the batch size in place of h": Mistake(
                lambda q, k, v: attend(q, k, v, scale=len(q) ** -0.5),
                "h is the length of one query: q.shape[-1].",
            ),
            "the scale after the softmax": Mistake(
                lambda q, k, v: attend(q, k, v, 1, lambda x: x.softmax(-1) / q.shape[-1] ** 0.5),
                "Then the weights of a query do not sum to 1: print weights.sum(-1) inside your "
                "function.",
            ),
            "softmax over the queries": Mistake(
                lambda q, k, v: attend(q, k, v, weigh=lambda x: x.softmax(-2)),
                "Print weights.sum(-1) inside your function: each query must hand out exactly 1. "
                "The keys are the last axis.",
            ),
            "softmax over the heads": Mistake(
                lambda q, k, v: attend(q, k, v, weigh=lambda x: x.softmax(1)),
                "Axis 1 counts heads. The weights of one query must sum to 1 over the keys, the "
                "last axis.",
            ),
            "softmax over the batch": Mistake(
                lambda q, k, v: attend(q, k, v, weigh=lambda x: x.softmax(0)),
                "Axis 0 counts sequences. The weights of one query must sum to 1 over the keys, "
                "the last axis.",
            ),
            "a sum without keepdim": Mistake(
                exp_without_keepdim,
                "sum(dim=-1) drops the axis, so the division lines up with the wrong one: "
                "sum(dim=-1, keepdim=True).",
            ),
            "softmax over everything": Mistake(
                lambda q, k, v: attend(q, k, v, weigh=lambda x: x.exp() / x.exp().sum()),
                "All weights together sum to 1, but each query must hand out 1 of its own: "
                "softmax(dim=-1).",
            ),
            "scores returned in place of weights": Mistake(
                lambda q, k, v: (attention(q, k, v)[0], q @ k.mT / q.shape[-1] ** 0.5),
                "The output is right. Return with it what the softmax gave.",
            ),
            "no softmax": Mistake(
                lambda q, k, v: attend(q, k, v, weigh=lambda x: x),
                "Print weights.min() inside your function: some are negative, so this is no "
                "average.",
            ),
            "a softmax without exp": Mistake(
                lambda q, k, v: attend(q, k, v, weigh=lambda x: x / x.sum(-1, keepdim=True)),
                "Dividing by the sum keeps negative scores negative; softmax takes exp first.",
            ),
            "queries and keys swapped": Mistake(
                lambda q, k, v: attend(k, q, v),
                "Rows of weights belong to queries: weights must be (…, t, s), so q comes first.",
            ),
            "softmax after the value product": Mistake(
                softmax_last,
                "The weights are made first; the average over v comes last.",
            ),
            "keys in place of values": Mistake(
                lambda q, k, v: attend(q, k, k),
                "Keys decide the weights; what is averaged are the values.",
            ),
            **results_of(attention),
        },
        hints=(
            "Four steps: scores of every query with every key, the scale, softmax, average of the "
            "values.",
            "All scores at once are a matrix product: q @ k.mT has one row for each query and one "
            "column for each key. k.mT swaps the last two axes only.",
            "scores.softmax(dim=-1) makes every row sum to 1; weights @ v is the average.",
            "With a key head for every query head, as here, this is all. The library's code, next, "
            "does more: the lines marked 02 and 06 belong to those lessons.\n"
            "h = q.shape[-1]\n"
            "weights = (q @ k.mT / h**0.5).softmax(dim=-1)\n"
            "return weights @ v, weights",
        ),
    )
}
