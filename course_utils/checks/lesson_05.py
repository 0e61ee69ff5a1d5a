"""Exercise of lesson 05: many query heads, one key and value head, and no copy of it."""

from course_utils.attention import attention
from course_utils.checks.draws import drawing
from course_utils.checks.engine import Exercise, Mistake
from course_utils.checks.wrong import (
    GROUPED,
    attend,
    drawn,
    paid,
    probe,
    results_of,
    unmasked,
)


def other_sequence(q, k, v):
    """b and n made one axis, with the copies of K in the order (n, b)."""
    (b, n), (s, h) = q.shape[:2], k.shape[2:]
    k, v = (x.repeat(n, 1, 1, 1).reshape(b, n, s, h) for x in (k, v))
    return attend(q, k, v)


MISTAKES = {
    **drawn(
        unmasked,
        "softmax over the heads",
        "softmax over the queries",
        "a causal mask",
        "no scale",
        "scores divided by √(n·h)",
        "scores divided by h",
        "no softmax",
        "scores returned in place of weights",
        "keys in place of values",
        "the first sequence for all",
    ),
    "the axes of length 1 squeezed out": Mistake(
        unmasked(read=lambda q, k, v: (q, k.squeeze(), v.squeeze())),
        "squeeze() drops every axis of length 1, so also s, or b, when it is 1. Name the axis of "
        "the head, k.squeeze(1), and mind that (b, s, h) does not line up with (b, n, t, h); K "
        "fits as it is.",
    ),
    "the query heads averaged": Mistake(
        unmasked(read=lambda q, k, v: (q.mean(1, keepdim=True), k, v)),
        "One query is left, so one map: the heads lost their differing questions. Only keys "
        "and values are shared.",
    ),
    "the query heads averaged, and their axis gone": Mistake(
        unmasked(read=lambda q, k, v: (q.mean(1), k[:, 0], v[:, 0])),
        "One query is left, so one map: the heads lost their differing questions. Only keys "
        "and values are shared, n outputs come back.",
    ),
    "the query heads averaged and handed out again": Mistake(
        unmasked(read=lambda q, k, v: (q.mean(1, keepdim=True).expand_as(q), k, v)),
        "Print weights[0, 0] and weights[0, 1]: they are equal, so all heads but one are "
        "wasted. Only keys and values are shared, each head keeps its own query.",
    ),
    "one query for all heads": Mistake(
        unmasked(read=lambda q, k, v: (q[:, :1].expand_as(q), k, v)),
        "Print weights[0, 0] and weights[0, 1]: they are equal, as all heads ask what head 0 "
        "asks. Only keys and values are shared.",
    ),
    "only the first head": Mistake(
        unmasked(read=lambda q, k, v: (q[:, :1], k, v)),
        "One key head does not mean one query head: all n ask, and n outputs come back.",
    ),
    "the outputs averaged over the heads": Mistake(
        unmasked(give=lambda output, weights, scores: (output.mean(1, keepdim=True), weights)),
        "The weights are right. Each head keeps its own output, (b, n, t, h): o_proj mixes "
        "them later.",
    ),
    "outputs and weights averaged over the heads": Mistake(
        lambda q, k, v: tuple(x.mean(1, keepdim=True) for x in attention(q, k, v)),
        "Each head keeps its own output and its own map; keys and values are shared, results "
        "are not.",
    ),
    "the batch lined up with the heads": Mistake(
        unmasked(read=lambda q, k, v: (q, k[:, 0], v[:, 0])),
        "k[:, 0] is (b, s, h). Beside (b, n, t, h) torch lines b up with n, so head i reads "
        "the keys of sequence i. Keep the axis of length 1, or fold the heads away too.",
    ),
    "the heads and the queries left in one axis": Mistake(
        lambda q, k, v: tuple(x.flatten(1, 2) for x in attend(q, k, v)),
        "All numbers are right, on three axes. Give the heads theirs back: reshape to "
        "(b, n, t, …).",
    ),
    "keys of another sequence": Mistake(
        other_sequence,
        "Right for one sequence, wrong for two: repeat(n, …) counts through the sequences "
        "first, reshape through the heads. K needs no repeating at all.",
    ),
    **GROUPED,
    **results_of(attention),
}

EXERCISES = {
    "05.multi_query_attention": Exercise(
        reference=attention,
        more="also takes a mask, and more K/V heads than one (06)",
        **drawing(  # b, n, t, s, h: an easy one, all different, all equal, then each of them 1
            probe(1, 2, 2, 3, 2, g=1),
            probe(3, 3, 2, 4, 5, g=1),
            probe(2, 3, 4, 6, 5, g=1),
            probe(2, 2, 2, 2, 2, g=1),
            probe(1, 3, 2, 4, 5, g=1),
            probe(3, 1, 2, 4, 5, g=1),
            probe(2, 3, 1, 4, 5, g=1),
            probe(2, 3, 4, 1, 5, g=1),
            probe(2, 3, 4, 5, 1, g=1),
        ),
        returns=("output", "weights"),
        mistakes=MISTAKES,
        hints=(
            "Keys and values have one head, which all query heads read. To a key, n heads of t "
            "queries are just n · t queries.",
            "q.reshape(b, 1, n * t, h) lays the heads one under the other: K then fits as it is, "
            "head for head.",
            "Scale, softmax and average as ever; at the end give the heads their axis back.",
        ),
        remark=paid(8, 1, "The next section shows where, and how to avoid it."),
    )
}
