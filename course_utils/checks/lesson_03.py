"""Exercises of lesson 03: split into heads, merge them, and multi-head attention."""

import torch

from course_utils.attention import (
    causal_attention,
    causal_mask,
    merge_heads,
    multi_head_attention,
    split_heads,
)
from course_utils.checks.draws import drawing, order, redrawable, resized
from course_utils.checks.engine import Exercise, Mistake
from course_utils.checks.wrong import (
    attend,
    drawn,
    interleaved_merge,
    interleaved_split,
    results_of,
    view_merge,
    view_split,
)


def counting(*shape, seed=0):
    """Numbers one after the other, such as 0, 1, 2, …, so that one sees where each went."""
    return (seed % 100 + torch.arange(torch.Size(shape).numel()).float()).view(shape)


@redrawable()
def to_split(b, t, n, h, seed=0):
    """x (b, t, n·h), and n."""
    return counting(b, t, n * h, seed=seed), n


@redrawable()
def to_merge(b, n, t, h, seed=0):
    """x (b, n, t, h) alone."""
    return (counting(b, n, t, h, seed=seed),)


def widths(b, t, d, n, h):
    """How d compares with n·h, and whether n divides it."""
    return order(d, n * h), d % n == 0


@redrawable()
def random(b, t, d, n, h, seed=0):
    """x (b, t, d) and w_q, w_k, w_v (d, n·h), w_o (n·h, d), n; scores stay small."""
    numbers = torch.Generator().manual_seed(b * t * d * n * h + seed)
    shapes = [(b, t, d)] + 3 * [(d, n * h)] + [(n * h, d)]
    x, *w = (torch.randn(shape, generator=numbers) for shape in shapes)
    return (x, *(each / each.shape[0] ** 0.5 for each in w), n)


def in_heads(split=split_heads, merge=merge_heads, **steps):
    """A base: `multi_head_attention`."""

    def wrong(x, w_q, w_k, w_v, w_o, n):
        q, k, v = (split(x @ w, n) for w in (w_q, w_k, w_v))
        output, weights = attend(q, k, v, **{"mask": causal_mask} | steps)
        return merge(output) @ w_o, weights

    return wrong


def without_w_o(x, w_q, w_k, w_v, w_o, n):
    """The merged heads as they are."""
    right = torch.eye(w_o.shape[0], dtype=x.dtype)
    return multi_head_attention(x, w_q, w_k, w_v, right, n)


def never_split(x, w_q, w_k, w_v, w_o, n):
    """One attention over the whole width, without an axis for heads."""
    output, weights = multi_head_attention(x, w_q, w_k, w_v, w_o, 1)
    return output, weights[:, 0]


def averaged(x, w_q, w_k, w_v, w_o, n):
    """Weights as torch.nn.MultiheadAttention returns them."""
    output, weights = multi_head_attention(x, w_q, w_k, w_v, w_o, n)
    return output, weights.mean(1)


def linear(x, w_q, w_k, w_v, w_o, n):
    """All weights the other way round."""
    return multi_head_attention(x, w_q.T, w_k.T, w_v.T, w_o.T, n)


def linear_out(x, w_q, w_k, w_v, w_o, n):
    """Only w_o the other way round."""
    return multi_head_attention(x, w_q, w_k, w_v, w_o.T, n)


SPLIT_MISTAKES = {
    **drawn(
        lambda split, merge: split,
        "heads interleaved",
    ),
    "a view without a transpose": Mistake(
        view_split,
        "view only cuts the numbers as they lie, and in memory word follows word. Print head 0: "
        "its rows all come from the first words. First (b, t, n, h), then transpose(1, 2).",
    ),
    "no transpose": Mistake(
        lambda x, n: split_heads(x, n).transpose(1, 2),
        "The cut is right. Attention multiplies the last two axes, and these must be (t, h): "
        "transpose(1, 2). It gives back a new tensor: keep it.",
    ),
    "the width cut by h": Mistake(
        lambda x, n: x.view(*x.shape[:2], n, n).transpose(1, 2),
        "You took n_heads for both: a row of n · h numbers is n_heads pieces of width // n_heads.",
    ),
    "n and h swapped": Mistake(
        lambda x, n: split_heads(x, x.shape[-1] // n),
        "You made width / n heads of n numbers each. n_heads comes first, what is left over is h. "
        "(x.split takes a size, h; x.chunk a number, n_heads.)",
    ),
    "three heads, whatever n_heads says": Mistake(
        lambda x, n: x.view(*x.shape[:2], 3, x.shape[-1] // 3).transpose(1, 2),
        "Right for the first example only. How many heads there are is n_heads.",
    ),
    "a float for a size": Mistake(
        lambda x, n: x.view(*x.shape[:2], n, x.shape[-1] / n).transpose(1, 2),
        "Sizes are whole: / gives 2.0, // gives 2.",
    ),
    "the width not divided": Mistake(
        lambda x, n: x.view(*x.shape[:2], n, x.shape[-1]).transpose(1, 2),
        "A row of n·h numbers is cut into n pieces of width // n_heads.",
    ),
    "pieces joined with cat": Mistake(
        lambda x, n: torch.cat(x.chunk(n, dim=-1), dim=1),
        "cat lays them end to end, on an axis that is there. torch.stack(pieces, dim=1) makes one "
        "for the heads.",
    ),
    "pieces joined with cat, as more sequences": Mistake(
        lambda x, n: torch.cat(x.chunk(n, dim=-1)),
        "cat lays them end to end, on an axis that is there. torch.stack(pieces, dim=1) makes one "
        "for the heads.",
    ),
    "axes 0 and 1 swapped": Mistake(
        lambda x, n: x.unflatten(-1, (n, -1)).transpose(0, 1),
        "That is (t, b, n, h). Only the words and the heads change places: transpose(1, 2).",
    ),
    "axes 0 and 2 swapped": Mistake(
        lambda x, n: x.unflatten(-1, (n, -1)).transpose(0, 2),
        "That is (n, t, b, h). Only the words and the heads change places: transpose(1, 2).",
    ),
    "the first sequence only": Mistake(
        lambda x, n: split_heads(x[:1], n)[0],
        "The batch is gone. Keep its axis in front: (b, n, t, h).",
    ),
    "the batch and the heads in one axis": Mistake(
        lambda x, n: split_heads(x, n).flatten(0, 1),
        "The heads are right, but (b·n, t, h): leave the batch an axis of its own.",
    ),
    "axes 1 and 3 swapped": Mistake(
        lambda x, n: split_heads(x, n).permute(0, 3, 1, 2),
        "That is (b, h, n, t). Only the words and the heads change places: transpose(1, 2).",
    ),
    "axes 2 and 3 swapped": Mistake(
        lambda x, n: split_heads(x, n).permute(0, 2, 3, 1),
        "That is (b, t, h, n). The words and the heads change places: transpose(1, 2).",
    ),
    "words last": Mistake(
        lambda x, n: split_heads(x, n).mT,
        "That is (b, n, h, t). The last axis must be one word's h numbers: (b, n, t, h).",
    ),
    "heads before the batch": Mistake(
        lambda x, n: split_heads(x, n).transpose(0, 1),
        "That is (n, b, t, h). The batch stays in front: permute(0, 2, 1, 3), or stack with dim=1.",
    ),
    "separate pieces": Mistake(
        lambda x, n: x.chunk(n, dim=-1),
        "These are the right heads, one by one. Put them into one tensor: "
        "torch.stack(pieces, dim=1).",
    ),
}

MERGE_MISTAKES = {
    **drawn(
        lambda split, merge: merge,
        "heads interleaved",
    ),
    "a reshape without a transpose": Mistake(
        view_merge,
        "reshape reads head 0 to its end before head 1, so a row holds several words of one "
        "head. It must hold all heads of one word: transpose(1, 2) first.",
    ),
    "no transpose": Mistake(
        lambda x: x.flatten(2),
        "That is (b, n, t·h): the words of each head in one row. First bring the heads behind the "
        "words: x = x.transpose(1, 2), which gives back a new tensor, then flatten(2).",
    ),
    "three heads, however many there are": Mistake(
        lambda x: torch.cat([x[:, 0], x[:, 1], x[:, 2]], dim=-1),
        "Right for the first example only. x.shape[1] says how many heads there are; "
        "torch.cat(x.unbind(1), dim=-1) takes them all.",
    ),
    "axes 1 and 3 swapped": Mistake(
        lambda x: x.transpose(1, 3).flatten(2),
        "That is (b, h, t·n). The heads and the words change places, axes 1 and 2.",
    ),
    "the wrong axes joined": Mistake(
        lambda x: x.transpose(1, 2).flatten(1, 2),
        "That is (b, t·n, h). The order is right; join the last two axes: flatten(2).",
    ),
    "words last, in memory": Mistake(
        lambda x: x.reshape(len(x), -1, x.shape[2]),
        "reshape reads the numbers as they lie. First bring the heads behind the words: "
        "transpose(1, 2), then flatten(2).",
    ),
    "words last, in memory, and transposed": Mistake(
        lambda x: x.reshape(len(x), -1, x.shape[2]).mT,
        "reshape reads the numbers as they lie. First bring the heads behind the words: "
        "transpose(1, 2), then flatten(2).",
    ),
    "separate pieces": Mistake(
        lambda x: x.unbind(1),
        "These are the right heads, one by one. Lay them side by side: torch.cat(pieces, dim=-1).",
    ),
    "all in one row": Mistake(
        lambda x: x.transpose(1, 2).flatten(1),
        "The order is right. Join only the last two axes: flatten(2).",
    ),
    "the batch and the words in one axis": Mistake(
        lambda x: x.transpose(1, 2).flatten(2).flatten(0, 1),
        "The rows are right, but (b·t, n·h): leave the batch an axis of its own.",
    ),
    "a view after a transpose": Mistake(
        lambda x: x.transpose(1, 2).view(len(x), x.shape[2], -1),
        "The order is right, but view cannot follow a transpose, which leaves the numbers where "
        "they lie: reshape or flatten(2) copies them.",
    ),
    "no reshape": Mistake(
        lambda x: x.transpose(1, 2),
        "The order is right, but there are four axes. Join the last two: flatten(2).",
    ),
    "axes 2 and 3 swapped": Mistake(
        lambda x: x.mT.reshape(len(x), x.shape[2], -1),
        "Swap the heads and the words, axes 1 and 2: then a word's heads lie side by side.",
    ),
    "words last": Mistake(
        lambda x: merge_heads(x).mT,
        "That is (b, n·h, t). A word is a row: (b, t, n·h).",
    ),
    "heads one under the other": Mistake(
        lambda x: x.flatten(1, 2),
        "That is (b, n·t, h), a long list of short words. Swap axes 1 and 2, then join the last "
        "two.",
    ),
    "the heads added up": Mistake(
        lambda x: x.sum(1),
        "That is (b, t, h): what each head found is lost in the sum. Lay them side by side.",
    ),
    "the heads averaged": Mistake(
        lambda x: x.mean(1),
        "That is (b, t, h): what each head found is lost in the mean. Lay them side by side.",
    ),
}

ATTENTION_MISTAKES = {
    **drawn(
        in_heads,
        "no scale",
        "scores divided by √(n·h)",
        "no causal mask",
        "a split without a transpose",
        "a merge without a transpose",
        "a split and a merge without a transpose",
        "heads interleaved",
        "queries and keys swapped",
        "keys and values swapped",
        "keys in place of values",
        "queries in place of keys",
        "scores divided by h",
        "no softmax",
        "scores returned in place of weights",
    ),
    "no merge": Mistake(
        in_heads(merge=lambda x: x),
        "The heads must lie side by side before w_o: first library.merge_heads(output), then @ "
        "w_o.",
    ),
    "a tuple not unpacked": Mistake(
        lambda x, w_q, w_k, w_v, w_o, n: merge_heads(
            causal_attention(*(split_heads(x @ w, n) for w in (w_q, w_k, w_v)))
        ),
        "causal_attention gives back two things: output, weights = library.causal_attention(…).",
    ),
    "queries, keys and values not yet split": Mistake(
        lambda x, w_q, w_k, w_v, w_o, n: causal_attention(x @ w_q, x @ w_k, x @ w_v),
        "x @ w_q is (b, t, n·h). Cut it first, and keep the result: q = library.split_heads(x @ "
        "w_q, n_heads); the same for k and v.",
    ),
    "output and weights unpacked the wrong way round": Mistake(
        lambda x, w_q, w_k, w_v, w_o, n: (
            merge_heads(causal_attention(*(split_heads(x @ w, n) for w in (w_q, w_k, w_v)))[1])
            @ w_o
        ),
        "causal_attention gives back output first, then weights.",
    ),
    "heads cut from x, before the projections": Mistake(
        lambda x, w_q, w_k, w_v, w_o, n: split_heads(x, n) @ w_q,
        "Each head needs all d numbers of a word. Project first, x @ w_q, and cut what comes out: "
        "library.split_heads(x @ w_q, n_heads).",
    ),
    "w_q for all three": Mistake(
        lambda x, w_q, w_k, w_v, w_o, n: multi_head_attention(x, w_q, w_q, w_q, w_o, n),
        "Queries, keys and values have a matrix each: w_q, w_k, w_v.",
    ),
    "weights times x": Mistake(
        lambda x, w_q, w_k, w_v, w_o, n: w_q @ x,
        "Words are rows: x (b, t, d) @ w_q (d, n·h).",
    ),
    "the heads merged by flatten alone": Mistake(
        in_heads(merge=lambda x: x.flatten(2)),
        "First bring the heads behind the words: transpose(1, 2), then flatten(2); or "
        "library.merge_heads.",
    ),
    "h taken for d // n": Mistake(
        lambda x, *others: in_heads(
            lambda y, n: y.view(*y.shape[:2], n, x.shape[-1] // n).transpose(1, 2)
        )(x, *others),
        "After the projection a row has n·h numbers, w_q.shape[1], which need not be d: h is "
        "that // n_heads.",
    ),
    "no output projection": Mistake(
        without_w_o,
        "The heads lie side by side, and nothing has mixed them or brought the width n·h back to "
        "d. The last step is @ w_o.",
    ),
    "scores divided by √d_model": Mistake(
        lambda x, *others: in_heads(scale=lambda q: x.shape[-1] ** -0.5)(x, *others),
        "A score is a sum of h products, one head's share. h is q.shape[-1] after the split.",
    ),
    "attention between the heads": Mistake(
        in_heads(lambda x, n: x.unflatten(-1, (n, -1)), lambda x: x.flatten(2)),
        "Your weights are (b, t, n, n): each word's heads look at each other. Attention works on "
        "the last two axes, which must be (t, h): transpose(1, 2) after the cut.",
    ),
    "heads interleaved in the split": Mistake(
        in_heads(interleaved_split),
        "Head 0 got every n-th number. It owns the first h columns of w_q: the width is (n, h), "
        "not (h, n).",
    ),
    "heads interleaved in the merge": Mistake(
        in_heads(merge=interleaved_merge),
        "The weights are right, the output is not. Each head's h numbers stay side by side: "
        'checks.check("03.merge_heads", …).',
    ),
    "one head": Mistake(
        lambda x, w_q, w_k, w_v, w_o, n: multi_head_attention(x, w_q, w_k, w_v, w_o, 1),
        "There is one map where n should be: weights.shape[1] is 1. Split q, k and v into n_heads.",
    ),
    "no split at all": Mistake(
        never_split,
        "There is one map where n should be, made from the whole width. Split q, k and v into "
        "n_heads first.",
    ),
    "the weights of the projections transposed": Mistake(
        linear,
        "torch.nn.Linear stores its weight as (out, in) and transposes it. These are (in, out): "
        "x @ w_q, no .T.",
    ),
    "w_o transposed": Mistake(
        linear_out,
        "w_o is (n·h, d) and goes from n·h to d as it is: @ w_o, no .T.",
    ),
    "weights averaged over the heads": Mistake(
        averaged,
        "The output is right, but n maps became one. torch.nn.MultiheadAttention does this too, "
        "unless average_attn_weights=False. Keep the axis of the heads.",
    ),
    **results_of(multi_head_attention),
}

EXERCISES = {
    "03.split_heads": Exercise(
        reference=split_heads,
        more="refuses a width that n_heads does not divide",
        **drawing(  # b, t, n, h: an easy one, all different, all equal, then each of them 1
            to_split(1, 2, 3, 2),
            to_split(2, 5, 4, 3),
            to_split(2, 2, 2, 2),
            to_split(1, 3, 2, 4),
            to_split(3, 1, 4, 2),
            to_split(2, 3, 1, 4),
            to_split(3, 2, 4, 1),
        ),
        returns=("the result",),
        mistakes=SPLIT_MISTAKES,
        hints=(
            "Two steps: cut every row into n_heads pieces, then bring the heads to the front.",
            "The cut: (b, t, n·h) → (b, t, n, h). It is a view, as a head's numbers already lie "
            "side by side.",
            "To the front: (b, t, n, h) → (b, n, t, h), axes 1 and 2 change places.",
        ),
    ),
    "03.merge_heads": Exercise(
        reference=merge_heads,
        more="refuses what has no four axes",
        **drawing(  # b, n, t, h: an easy one, all different, all equal, then each of them 1
            to_merge(1, 3, 2, 2),
            to_merge(2, 4, 5, 3),
            to_merge(2, 2, 2, 2),
            to_merge(1, 2, 3, 4),
            to_merge(2, 1, 3, 4),
            to_merge(2, 3, 1, 4),
            to_merge(3, 4, 2, 1),
        ),
        returns=("the result",),
        mistakes=MERGE_MISTAKES,
        hints=(
            "The same two steps backwards: the heads go back behind the words, then the pieces "
            "are joined.",
            "First (b, n, t, h) → (b, t, n, h): axes 1 and 2 change places.",
            "flatten(2) joins axis 2 and all that follow; so does reshape(b, t, n * h). view "
            "cannot, after a transpose.",
        ),
    ),
    "03.multi_head_attention": Exercise(
        reference=multi_head_attention,
        more="refuses a width that n_heads does not divide",
        **drawing(  # b, t, d, n, h: an easy one, all different, d = n·h, then each of them 1
            random(1, 3, 4, 2, 2),
            random(2, 5, 7, 3, 4),
            random(2, 2, 4, 2, 2),
            random(2, 2, 2, 2, 2),
            random(1, 4, 5, 3, 2),
            random(3, 1, 5, 2, 4),
            random(2, 3, 1, 4, 5),
            random(2, 3, 5, 1, 4),
            random(2, 4, 5, 3, 1),
            other=resized(kept=widths),
        ),
        returns=("output", "weights"),
        mistakes=ATTENTION_MISTAKES,
        hints=(
            "Four steps: project three times and split, attend causally, merge, project once more.",
            "x @ w_q is (b, t, n·h) and holds the queries of all heads; the same for k and v.",
            "split_heads makes (b, n, t, h) of it. library.causal_attention then treats every head "
            "by itself; that is all it needs.",
        ),
    ),
}
