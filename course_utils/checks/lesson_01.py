"""Exercise of lesson 01: attention, with the mistakes that are made in writing it."""

import torch

from course_utils.attention import attention
from course_utils.checks.draws import drawing
from course_utils.checks.engine import Exercise, Mistake
from course_utils.checks.wrong import attend, drawn, ones, probe, results_of, unmasked

MISTAKES = {
    **drawn(
        unmasked,
        "no scale",
        "scores divided by √d_model",
        "scores divided by h",
        "no softmax",
        "softmax over the queries",
        "softmax over the heads",
        "scores returned in place of weights",
        "queries and keys swapped",
        "keys in place of values",
        "queries in place of keys",
        "the first sequence for all",
        "a causal mask",
    ),
    "a product without a transpose": Mistake(
        unmasked(score=lambda q, k: q @ k),
        "q @ k would multiply the h numbers of a query with one number of each key. Turn the keys "
        "first, q @ k.mT: (t, h) @ (h, s) is (t, s). If you did: transpose gives back a new "
        "tensor, keep it.",
    ),
    "k.T in place of k.mT": Mistake(
        unmasked(score=lambda q, k: q @ k.permute(3, 2, 1, 0)),
        "k.T turns all four axes round, the batch too. k.mT, or k.transpose(-2, -1), swaps the "
        "last two.",
    ),
    "heads and keys swapped": Mistake(
        unmasked(score=lambda q, k: q @ k.transpose(1, 2)),
        "Axes 1 and 2 are the heads and the keys. Swap the last two: k.transpose(-2, -1).",
    ),
    "the batch and the heads swapped": Mistake(
        unmasked(score=lambda q, k: q @ k.transpose(0, 1)),
        "Axes 0 and 1 are the batch and the heads. Swap the last two: k.transpose(-2, -1).",
    ),
    "k.t(), which is for two axes": Mistake(
        unmasked(score=lambda q, k: q @ k.t()),
        "k has four axes, and t() swaps two of two. Write k.mT or k.transpose(-2, -1).",
    ),
    "number times number, not a matrix product": Mistake(
        unmasked(score=lambda q, k: q * k),
        "q * k compares place with place only. A score is a sum of h products, and every query "
        "meets every key: q @ k.mT.",
    ),
    "keys in place of queries": Mistake(
        unmasked(read=lambda q, k, v: (k, k, v)),
        "The keys are compared with themselves: q is never used.",
    ),
    "scores rounded down": Mistake(
        unmasked(weigh=lambda x: x.floor().softmax(-1)),
        "// divides and rounds down, so close scores become equal. Write /.",
    ),
    "torch.sqrt of a number": Mistake(
        unmasked(scale=lambda q: 1 / torch.sqrt(q.shape[-1])),
        "torch.sqrt takes a tensor, and h is a number: write h**0.5.",
    ),
    "softmax without an axis": Mistake(
        unmasked(weigh=lambda x: x.softmax()),
        "Say which axis shall sum to 1: softmax(dim=-1), the keys.",
    ),
    "softmax of whole numbers": Mistake(
        unmasked(weigh=lambda x: x.long().softmax(-1)),
        "Scores are no whole numbers: what is behind the point counts. Leave .long() out.",
    ),
    "^ in place of **": Mistake(
        unmasked(scale=lambda q: q[..., :1] ^ 0.5),
        "In Python ^ is not a power but a play with bits: write h**0.5.",
    ),
    "weights with a column for each query": Mistake(
        lambda q, k, v: (
            v @ (k @ q.mT / q.shape[-1] ** 0.5).softmax(-1),
            (k @ q.mT / q.shape[-1] ** 0.5).softmax(-1),
        ),
        "Here a row is a query: q @ k.mT is (t, s), and its rows, times v, are the output.",
    ),
    "softmax taken twice": Mistake(
        unmasked(weigh=lambda x: x.softmax(-1).softmax(-1)),
        "The first softmax made weights; a second makes them nearly equal. One is enough.",
    ),
    "keys reshaped, not transposed": Mistake(
        unmasked(score=lambda q, k: q @ k.reshape(*k.shape[:2], k.shape[3], k.shape[2])),
        "reshape reads the numbers on in the order they lie in; it swaps no axes. k.mT does.",
    ),
    "the transposed weights": Mistake(
        unmasked(give=lambda output, weights, scores: (output, weights.mT)),
        "The output is right. Return the weights as they are, (t, s): a row for each query.",
    ),
    "values averaged with the transposed weights": Mistake(
        lambda q, k, v: (attend(q, k, v)[1].mT @ v, attend(q, k, v)[1]),
        "Weights (t, s) times values (s, h) fit as they are: weights @ v.",
    ),
    "only the weights": Mistake(
        lambda q, k, v: attend(q, k, v)[1],
        "Return both: output, weights.",
    ),
    "queries in place of values": Mistake(
        unmasked(read=lambda q, k, v: (q, k, q)),
        "Queries decide the weights; what is averaged are the values.",
    ),
    "values transposed as well": Mistake(
        lambda q, k, v: (attend(q, k, v)[1] @ v.mT, attend(q, k, v)[1]),
        "Weights (t, s) times values (s, h) fit as they are: weights @ v.",
    ),
    "log_softmax in place of softmax": Mistake(
        unmasked(weigh=lambda x: x.log_softmax(-1)),
        "These are logarithms of weights, all negative: softmax(dim=-1).",
    ),
    "softmax of the keys alone, for lack of brackets": Mistake(
        lambda q, k, v: (
            (q @ (k.mT / q.shape[-1] ** 0.5).softmax(-1)) @ v,
            q @ (k.mT / q.shape[-1] ** 0.5).softmax(-1),
        ),
        "A method belongs to what is right before its dot: put brackets round the whole product, "
        "(q @ k.mT / h**0.5).softmax(-1).",
    ),
    "bmm, which is for three axes": Mistake(
        unmasked(score=lambda q, k: torch.bmm(q, k.mT)),
        "torch.bmm takes three axes, and q has four. @ takes any number: q @ k.mT.",
    ),
    "mm, which is for two axes": Mistake(
        unmasked(score=lambda q, k: torch.mm(q, k.mT)),
        "torch.mm takes two axes, and q has four. @ takes any number: q @ k.mT.",
    ),
    "a causal mask lined up with the upper left corner": Mistake(
        unmasked(mask=lambda t, s: ones(t, s).tril()),
        "Here every query may see every key: no mask, and no is_causal=True.",
    ),
    "weights and values multiplied the other way round": Mistake(
        lambda q, k, v: (v @ attend(q, k, v)[1], attend(q, k, v)[1]),
        "Weights (t, s) come first, values (s, h) second: weights @ v is (t, h).",
    ),
    "scores multiplied by √h": Mistake(
        unmasked(scale=lambda q: q.shape[-1] ** 0.5),
        "Longer vectors already give larger scores: divide.",
    ),
    "h**1/2, which is h / 2": Mistake(
        unmasked(scale=lambda q: 2 / q.shape[-1]),
        "The power comes before the division: write h**0.5.",
    ),
    "/ h**1/2, which is / h / 2": Mistake(
        unmasked(scale=lambda q: 1 / (2 * q.shape[-1])),
        "The power comes before both divisions: you divided by h, and then by 2. Write h**0.5.",
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
        more="also takes a mask (02), and K/V heads that several query heads share (05, 06)",
        **drawing(  # b, n, t, s, h: an easy one, all equal, all different, then each of them 1
            probe(1, 1, 3, 3, 2),
            probe(1, 1, 4, 6, 3),
            probe(2, 2, 2, 2, 2),
            probe(2, 3, 4, 6, 5),
            probe(1, 3, 2, 4, 5),
            probe(3, 1, 2, 4, 5),
            probe(2, 3, 1, 4, 5),
            probe(3, 2, 4, 1, 5),
            probe(2, 3, 4, 5, 1),
        ),
        returns=("output", "weights"),
        mistakes=MISTAKES,
        hints=(
            "Four steps: scores of every query with every key, the scale, softmax, average of the "
            "values.",
            "All scores at once are a matrix product: q @ k.mT has one row for each query and one "
            "column for each key. k.mT swaps the last two axes only.",
            "scores.softmax(dim=-1) makes every row sum to 1; weights @ v is the average.",
        ),
    )
}
