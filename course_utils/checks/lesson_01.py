"""Exercise of lesson 01: attention, with the mistakes that are made in writing it."""

from course_utils.attention import attention
from course_utils.checks.engine import Exercise, Mistake
from course_utils.checks.wrong import attend, drawn, probe, results_of, unmasked

MISTAKES = {
    **drawn(
        unmasked,
        "no scale",
        "scores divided by √d_model",
        "softmax over the queries",
        "softmax over the heads",
        "scores returned in place of weights",
        "queries and keys swapped",
        "keys in place of values",
    ),
    "scores multiplied by √h": Mistake(
        unmasked(scale=lambda q: q.shape[-1] ** 0.5),
        "Longer vectors already give larger scores: divide.",
    ),
    "scores divided by h": Mistake(
        unmasked(scale=lambda q: 1 / q.shape[-1]),
        "The spread of q·k grows like √h, not like h: look at the left chart again.",
    ),
    "h**1/2, which is h / 2": Mistake(
        unmasked(scale=lambda q: 2 / q.shape[-1]),
        "The power comes before the division: write h**0.5.",
    ),
    "the number of keys in place of h": Mistake(
        lambda q, k, v: attend(q, k, v, scale=lambda q: k.shape[-2] ** -0.5),
        "h is the length of one query: q.shape[-1].",
    ),
    "the number of queries in place of h": Mistake(
        unmasked(scale=lambda q: q.shape[-2] ** -0.5),
        "h is the length of one query: q.shape[-1].",
    ),
    "the number of heads in place of h": Mistake(
        unmasked(scale=lambda q: q.shape[1] ** -0.5),
        "h is the length of one query: q.shape[-1].",
    ),
    "the batch size in place of h": Mistake(
        unmasked(scale=lambda q: len(q) ** -0.5),
        "h is the length of one query: q.shape[-1].",
    ),
    "the scale after the softmax": Mistake(
        lambda q, k, v: attend(
            q, k, v, scale=lambda q: 1, weigh=lambda x: x.softmax(-1) / q.shape[-1] ** 0.5
        ),
        "Then the weights of a query do not sum to 1: print weights.sum(-1) inside your function.",
    ),
    "softmax over the batch": Mistake(
        unmasked(axis=0),
        "Axis 0 counts sequences. The weights of one query must sum to 1 over the keys, the last "
        "axis.",
    ),
    "a sum without keepdim": Mistake(
        unmasked(weigh=lambda x: x.exp() / x.exp().sum(-1)),
        "sum(dim=-1) drops the axis, so the division lines up with the wrong one: "
        "sum(dim=-1, keepdim=True).",
    ),
    "softmax over everything": Mistake(
        unmasked(weigh=lambda x: x.exp() / x.exp().sum()),
        "All weights together sum to 1, but each query must hand out 1 of its own: "
        "softmax(dim=-1).",
    ),
    "no softmax": Mistake(
        unmasked(weigh=lambda x: x),
        "Print weights.min() inside your function: some are negative, so this is no average.",
    ),
    "a softmax without exp": Mistake(
        unmasked(weigh=lambda x: x / x.sum(-1, keepdim=True)),
        "Dividing by the sum keeps negative scores negative; softmax takes exp first.",
    ),
    "softmax after the value product": Mistake(
        unmasked(
            weigh=lambda x: x,
            give=lambda output, weights, scores: (output.softmax(-1), scores),
        ),
        "The weights are made first; the average over v comes last.",
    ),
    **results_of(attention),
}

EXERCISES = {
    "01.attention": Exercise(
        reference=attention,
        probes=[probe(1, 1, 1, 3, 3, 2), probe(2, 1, 1, 4, 6, 3), probe(3, 2, 3, 4, 6, 5)],
        returns=("output", "weights"),
        mistakes=MISTAKES,
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
