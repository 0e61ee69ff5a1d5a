"""Exercises of lesson 02: the causal mask, and attention that looks only back."""

import torch
from torch.nn.functional import scaled_dot_product_attention

from course_utils.attention import attention, causal_attention, causal_mask
from course_utils.checks.draws import drawing, given, redrawable, resized
from course_utils.checks.engine import Exercise, Mistake
from course_utils.checks.wrong import INF, causal, drawn, ones, probe, results_of, unmasked


def further(random, row):
    """Scores farther from 0."""
    far = random.randint(1, 4)
    return tuple(x + far if x > 0 else x - far for x in row)


@redrawable(further)
def scored(seen, unseen, seed=0):
    """q, k and v (1, 1, 4, 4) whose scores are near `seen` where a word may look, else `unseen`.

    All numbers are exact, in half precision too.
    """
    k = torch.full((4, 4), seen / 2).triu() + torch.full((4, 4), unseen / 2).tril(-1)
    k += torch.tensor([0.0, 0.5, 1.0, 0.0])[:, None]
    v = (seed + torch.arange(16)).view(4, 4) % 5
    return tuple(x[None, None] for x in (4 * torch.eye(4), k, v.float()))


def hidden(scores):
    """Where scores (…, t, s) belong to what may not be seen."""
    return ~causal_mask(*scores.shape[-2:])


def shared(weights):
    """Weights divided by their sum over the keys."""
    return weights / weights.sum(-1, keepdim=True)


MASK_MISTAKES = {
    **drawn(
        lambda mask: mask,
        "a mask lined up with the upper left corner",
        "s - t the wrong way round",
        "a word that cannot see itself",
        "a look one word ahead",
        "triu in place of tril",
    ),
    "True where a word may not look": Mistake(
        lambda t, s: ~causal_mask(t, s),
        "This marks what is hidden, as torch.nn.MultiheadAttention has it. Here, as in "
        "scaled_dot_product_attention, True = may attend: turn it round with ~.",
    ),
    "True where a word may not look, lined up with the upper left corner": Mistake(
        lambda t, s: ones(t, s).triu(1),
        "Two things: here True = may attend, and the queries are the last t places. The last row "
        "must be True all over.",
    ),
    "triu in place of tril, lined up with the upper left corner": Mistake(
        lambda t, s: ones(t, s).triu(),
        "Row 0 sees everything, the last row the least; it must be the other way round. The past "
        "lies to the left: tril, with its diagonal at column s - t.",
    ),
    "0 and -inf in place of True and False, lined up with the upper left corner": Mistake(
        lambda t, s: torch.full((t, s), -INF).triu(1),
        "Two things: this kind of mask is added to the scores, and here True = may attend; and the "
        "queries are the last t places, so the last row must be True all over.",
    ),
    "the square mask of torch.nn.Transformer": Mistake(
        lambda t, s: torch.nn.Transformer.generate_square_subsequent_mask(s),
        "It is (s, s), of 0 and -inf, to be added to the scores. Here it is (t, s), True = may "
        "attend.",
    ),
    "the square mask of torch.nn.Transformer, of the queries": Mistake(
        lambda t, s: torch.nn.Transformer.generate_square_subsequent_mask(t),
        "It is (t, t), of 0 and -inf, to be added to the scores. Here it is (t, s), True = may "
        "attend.",
    ),
    "floats in place of True and False, lined up with the upper left corner": Mistake(
        lambda t, s: torch.ones(t, s).tril(),
        "Two things: write dtype=torch.bool; and the queries are the last t places, so the last "
        "row must be True all over.",
    ),
    "everything hidden": Mistake(
        lambda t, s: ~ones(t, s),
        "All False: no word sees anything. tril of torch.ones, not of torch.zeros.",
    ),
    "a word that cannot see itself, lined up with the upper left corner": Mistake(
        lambda t, s: ones(t, s).tril(-1),
        "Two things: the diagonal belongs to the mask; and the queries are the last t of s places, "
        "so it stands at column s - t: tril(s - t).",
    ),
    "a look one word ahead, lined up with the upper left corner": Mistake(
        lambda t, s: ones(t, s).tril(1),
        "Row 0 must reach column s - t: tril(s - t), whatever s - t is.",
    ),
    "whole numbers in place of True and False, lined up with the upper left corner": Mistake(
        lambda t, s: ones(t, s).tril().long(),
        "Two things: write dtype=torch.bool; and the queries are the last t places, so the last "
        "row must be True all over.",
    ),
    "t and s swapped, lined up with the upper left corner": Mistake(
        lambda t, s: ones(s, t).tril(),
        "Rows are queries, and there are t of them: torch.ones(t, s), and tril(s - t).",
    ),
    "an axis in front": Mistake(
        lambda t, s: causal_mask(t, s)[None],
        "Two axes are enough: (t, s) fits scores (b, n, t, s) as it is.",
    ),
    "1 and -inf": Mistake(
        lambda t, s: causal_mask(t, s).float().masked_fill(~causal_mask(t, s), -INF),
        "These are two kinds of mask in one. Here it is a table: True = may attend.",
    ),
    "nothing hidden": Mistake(
        ones,
        "All True: row 0 sees the last word. Only the last row may be True all over. If you called "
        "tril: it gives back a new tensor, keep it.",
    ),
    "floats in place of True and False": Mistake(
        lambda t, s: causal_mask(t, s).float(),
        "The places are right, the kind is not: ~ does not work on floats, and "
        "scaled_dot_product_attention would add them to the scores. Write dtype=torch.bool.",
    ),
    "whole numbers in place of True and False": Mistake(
        lambda t, s: causal_mask(t, s).long(),
        "The places are right, the kind is not: ~1 is -2, not 0. Write dtype=torch.bool.",
    ),
    "0 and -inf in place of True and False": Mistake(
        lambda t, s: torch.zeros(t, s).masked_fill(~causal_mask(t, s), -INF),
        "This is the other kind of mask, one that is added to the scores. Here it is a table: "
        "True = may attend.",
    ),
    "keys down and queries across": Mistake(
        lambda t, s: causal_mask(t, s).T,
        "Scores have a row for each query and a column for each key: the mask is (t, s).",
    ),
    "t and s swapped": Mistake(
        lambda t, s: ones(s, t).tril(t - s),
        "Rows are queries, and there are t of them: the mask is (t, s).",
    ),
    "a row for every word": Mistake(
        lambda t, s: causal_mask(s, s),
        "That is the square mask. Only the last t words ask: its bottom t rows are the answer.",
    ),
    "a column for every query": Mistake(
        lambda t, s: causal_mask(t, t),
        "The t queries see what came before them too: the mask has s columns, and the first "
        "s - t of them are True all over.",
    ),
    "extra axes": Mistake(
        lambda t, s: causal_mask(t, s)[None, None],
        "Two axes are enough: (t, s) fits scores (b, n, t, s) as it is.",
    ),
}

ATTENTION_MISTAKES = {
    **drawn(
        causal,
        "a mask lined up with the upper left corner",
        "s - t the wrong way round",
        "a word that cannot see itself",
        "a look one word ahead",
        "softmax over the queries",
        "softmax over the heads",
        "no scale",
        "scores divided by h",
        "no softmax",
        "keys in place of values",
        "the first sequence for all",
        "scores returned in place of weights",
    ),
    "no mask": Mistake(
        attention,
        "Print weights[0, 0] inside your function: above its diagonal all must be 0. If you did "
        "mask: masked_fill returns a new tensor, keep it.",
    ),
    "the past hidden, not the future": Mistake(
        causal(mask=lambda t, s: ones(t, s).triu(s - t)),
        "A word must see itself and what comes before. Hide what is above the diagonal, or keep "
        "what is below and give masked_fill ~mask.",
    ),
    "keys down and queries across": Mistake(
        causal(mask=lambda t, s: causal_mask(t, s).T),
        "Scores have a row for each query and a column for each key: the mask is (t, s), without "
        ".T.",
    ),
    "a large positive number": Mistake(
        causal(fill=1e9),
        "The hidden words get all the weight: mind the sign, -inf or -1e9.",
    ),
    "a mask of numbers in masked_fill": Mistake(
        unmasked(weigh=lambda x: x.masked_fill(hidden(x).float(), -INF).softmax(-1)),
        "masked_fill needs True and False: make the mask with dtype=torch.bool, or write mask == "
        "0.",
    ),
    "~ of a mask of numbers": Mistake(
        unmasked(weigh=lambda x: x.masked_fill(~causal_mask(*x.shape[-2:]).float(), -INF)),
        "~ turns round True and False, not numbers: make the mask with dtype=torch.bool.",
    ),
    "weights cut with tril": Mistake(
        unmasked(weigh=lambda x: x.softmax(-1).tril()),
        "Two things: what was cut is missing from the sum of a row, so hide the scores before the "
        "softmax; and the queries are the last t places.",
    ),
    "a softmax before the mask, and one after": Mistake(
        unmasked(weigh=lambda x: x.softmax(-1).masked_fill(hidden(x), -INF).softmax(-1)),
        "Scores are hidden, not weights: mask first, then one softmax.",
    ),
    "-100 added to the scores": Mistake(
        unmasked(weigh=lambda x: (x + hidden(x) * -100.0).softmax(-1)),
        "-100 hides a word only where the others score about as high. Here what must be hidden "
        "scores 120 more, and wins. Only -inf is below everything.",
    ),
    "queries and keys multiplied without a transpose": Mistake(
        causal(score=lambda q, k: q @ k),
        "(t, h) @ (h, s) is (t, s): q @ k.mT, as in lesson 01.",
    ),
    "a mask for s queries": Mistake(
        causal(mask=lambda t, s: causal_mask(s, s)),
        "Scores are (t, s), and causal_mask(s, s) is (s, s): right for t = s only. Give it "
        "q.shape[-2] and k.shape[-2].",
    ),
    "a mask for t keys": Mistake(
        causal(mask=lambda t, s: causal_mask(t, t)),
        "Scores are (t, s), and causal_mask(t, t) is (t, t): right for t = s only. Give it "
        "q.shape[-2] and k.shape[-2].",
    ),
    "is_causal=True": Mistake(
        lambda q, k, v: (
            scaled_dot_product_attention(q, k, v, is_causal=True),
            causal_attention(q, k, v)[1],
        ),
        "The weights are right. is_causal=True takes the t queries for the first t of the s "
        "places, so the newest does not see everything: give attn_mask=causal_mask(t, s).",
    ),
    "is_causal=True, and only one result": Mistake(
        lambda q, k, v: scaled_dot_product_attention(q, k, v, is_causal=True),
        "Two things: return output and weights; and is_causal=True takes the t queries for the "
        "first t of the s places, not for the last.",
    ),
    "a word that cannot see itself, and nan made 0": Mistake(
        causal(
            mask=lambda t, s: ones(t, s).tril(s - t - 1),
            weigh=lambda x: x.softmax(-1).nan_to_num(0),
        ),
        "Where t = s row 0 saw nothing, and softmax gave nan: that was the hint. The diagonal "
        "belongs to the mask; then there is no nan to hide.",
    ),
    "weights hidden after the softmax, and divided by their new sum": Mistake(
        unmasked(weigh=lambda x: shared(x.softmax(-1) * ~hidden(x))),
        "Right while scores are small. Where one that must be hidden is large, softmax gives it "
        "everything and leaves 0 for the others, and 0 / 0 is nan. Hide the scores before it.",
    ),
    "-inf on the past": Mistake(
        causal(mask=lambda t, s: ~causal_mask(t, s)),
        "The last row is nan: everything it may see was hidden. masked_fill fills where its mask "
        "is True, so give it ~mask.",
    ),
    "a large negative number on the past": Mistake(
        causal(mask=lambda t, s: ~causal_mask(t, s), fill=-1e9),
        "Print weights[0, 0]: row 0 sees what comes after, not itself. masked_fill fills where its "
        "mask is True, so give it ~mask.",
    ),
    "zeros after the softmax": Mistake(
        unmasked(weigh=lambda x: x.softmax(-1).masked_fill(hidden(x), 0)),
        "Print weights.sum(-1): rows must sum to 1, and what was zeroed is missing. Hide the "
        "scores before the softmax, which then shares out the whole 1.",
    ),
    "-inf after the softmax": Mistake(
        unmasked(weigh=lambda x: x.softmax(-1).masked_fill(hidden(x), -INF)),
        "Weights of -inf are no weights. The scores become -inf; the softmax makes 0 of them.",
    ),
    "zeros after the softmax, and a second softmax": Mistake(
        unmasked(weigh=lambda x: (x.softmax(-1) * ~hidden(x)).softmax(-1)),
        "Rows sum to 1 again, but exp(0) is 1: the future got weight back. One softmax, with the "
        "scores hidden before it.",
    ),
    "a mask of 0 and 1 added to the scores": Mistake(
        unmasked(weigh=lambda x: (x + ~hidden(x)).softmax(-1)),
        "Adding 1 only favours the past, it hides nothing: print weights[0, 0], no number in it "
        "is 0. A mask that is added has 0 and -inf in it.",
    ),
    "nan everywhere": Mistake(
        unmasked(weigh=lambda x: (x + hidden(x).float() * -INF).softmax(-1)),
        "Either -inf was multiplied, and 0 · -inf is nan: fill, with masked_fill or torch.where. "
        "Or every key of each row was hidden: print the mask.",
    ),
    "scores of 0 in place of -inf": Mistake(
        causal(fill=0),
        "A score of 0 still gets a weight, because exp(0) is 1; so does a score times a mask of 0, "
        "and what tril cuts off; 1e-9 is nearly 0. Only exp(-inf) is 0.",
    ),
    "scores of -10 in place of -inf": Mistake(
        causal(fill=-10),
        "-10 hides a word only where the others score far above it. Here all scores are near -12, "
        "and the hidden words win. Only -inf is below everything.",
    ),
    "scores of -100 in place of -inf": Mistake(
        causal(fill=-100),
        "-100 hides a word only where the others score far above it. Here they score near -92, "
        "and the hidden words get a part. Only -inf is below everything.",
    ),
    "scores of -1 in place of -inf": Mistake(
        causal(fill=-1),
        "-1 is a score like any other: exp(-1) is 0.37. Only exp(-inf) is 0.",
    ),
    "inf in place of -inf": Mistake(
        causal(fill=INF),
        "The rows become nan: the largest score wins, and there is none larger than inf. "
        "exp(-inf) is 0; mind the sign.",
    ),
    **results_of(causal_attention),
}

EXERCISES = {
    "02.causal_mask": Exercise(
        reference=causal_mask,
        more="refuses t > s",
        **drawing(
            given(3, 3),
            given(2, 5),
            given(1, 4),
            given(3, 7),
            given(1, 1),
            other=resized(most=12),
        ),
        returns=("mask",),
        mistakes=MASK_MISTAKES,
        hints=(
            "Draw it for t = 2 and s = 5: the queries stand at places 3 and 4. Row 0 sees 0 to 3, "
            "row 1 sees 0 to 4.",
            "With t = s it is torch.ones(t, s, dtype=torch.bool).tril(): True on the diagonal and "
            "to the left of it.",
            "tril(d) moves the diagonal d columns to the right. In row 0 it must stand at column "
            "s - t.",
        ),
    ),
    "02.causal_attention": Exercise(
        reference=causal_attention,
        more="also takes K/V heads that several query heads share (05, 06)",
        **drawing(  # b, n, t, s, h: an easy one, all equal, all different, then each of them 1
            probe(1, 1, 3, 3, 2),
            probe(1, 1, 2, 4, 3),
            probe(2, 2, 2, 2, 2),
            probe(2, 3, 4, 6, 5),
            probe(1, 3, 2, 4, 5),
            probe(3, 1, 2, 4, 5),
            probe(2, 3, 1, 4, 5),
            probe(3, 2, 1, 1, 5),
            probe(2, 3, 4, 5, 1),
            scored(seen=-12, unseen=-12),  # lower than -10 is not far enough
            scored(seen=-92, unseen=-92),  # lower than -100 is not far enough
            scored(seen=-60, unseen=60),  # what must be hidden has all the weight
        ),
        returns=("output", "weights"),
        mistakes=ATTENTION_MISTAKES,
        hints=(
            "Attention as in lesson 01, and one line between the scale and the softmax.",
            "t is q.shape[-2] and s is k.shape[-2]; your causal_mask(t, s) says what each query "
            "may see.",
            'scores.masked_fill(~mask, float("-inf")) hides what the mask does not allow. The '
            "softmax makes 0 of it and shares out the rest.",
        ),
    ),
}
