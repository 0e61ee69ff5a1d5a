"""What several exercises share: probes, mutations, and how a refusal and memory are judged.

A mutation is a step of attention done otherwise, here under the name of its diagnosis. An exercise
draws on them by name, `drawn(base, "no scale", "softmax over the heads")`, where base(**steps) is
what its reference does, but for these steps.
"""

import io
import re
from contextlib import redirect_stdout
from functools import partial

import torch

from course_utils.attention import causal_mask
from course_utils.checks.draws import redrawable
from course_utils.checks.engine import Mistake
from course_utils.checks.running import is_by_hand
from course_utils.experiments.memory import largest_tensor

INF = float("inf")


@redrawable()
def probe(b, n, t, s, h, g=None, seed=0):
    """Queries (b, n, t, h), keys and values (b, g, s, h), g = n if not given; small for softmax."""
    random = torch.Generator().manual_seed(b * n * t * s * h + seed)
    shapes = (b, n, t, h), (b, g or n, s, h), (b, g or n, s, h)
    return tuple(torch.randn(shape, generator=random) for shape in shapes)


# The steps


def attend(
    q, k, v, *,
    read=None, score=None, scale=None, mask=None, fill=-INF, axis=-1, weigh=None, give=None,
):  # fmt: skip
    """Attention; each step that is given is done so.

    read(q, k, v) is what is taken for them, score(q, k) for their products; scores become scale(q)
    times these, and fill where mask(t, s) is False; weigh(scores) are the weights; give(output,
    weights, scores) comes back.
    """
    q, k, v = (read or reading(by_groups_of_r))(q, k, v)
    scores = score(q, k) if score else q @ k.mT
    scores = scores * (scale(q) if scale else q.shape[-1] ** -0.5)
    if mask:
        scores = scores.masked_fill(~mask(*scores.shape[-2:]), fill)
    weights = weigh(scores) if weigh else scores.softmax(axis)
    output = weights @ v
    return give(output, weights, scores) if give else (output, weights)


def by_all_heads(q):
    """The scale 1 / √(n·h), which is 1 / √d_model where d_model = n·h."""
    return (q.shape[1] * q.shape[-1]) ** -0.5


def reading(which, which_v=None):
    """The K/V head which(i, n, g) for query head i; V may be read otherwise."""

    def read(q, k, v):
        n, g = q.shape[1], k.shape[1]
        heads, heads_v = ([w(i, n, g) for i in range(n)] for w in (which, which_v or which))
        return q, k[:, heads], v[:, heads_v]

    return read


def as_they_are(q, k, v):
    """Nothing repeated: torch lines the heads up, or cannot."""
    return q, k, v


def by_groups_of_r(i, n, g):
    """The head that query head i should read, if n % g == 0."""
    return i * g // n


def modulo(i, n, g):
    """The head that query head i reads after repeat in place of repeat_interleave."""
    return i % g


def ones(t, s):
    """A mask (t, s) that hides nothing."""
    return torch.ones(t, s, dtype=torch.bool)


def view_split(x, n):
    """The numbers cut into heads as they lie in memory: words are torn apart."""
    return x.reshape(len(x), n, x.shape[1], -1)


def view_merge(x):
    """The numbers read as they lie in memory: each row mixes words of one head."""
    return x.reshape(len(x), x.shape[2], -1)


def interleaved_split(x, n):
    """Head i gets numbers i, i + n, i + 2n, …"""
    return x.unflatten(-1, (-1, n)).permute(0, 3, 1, 2)


def interleaved_merge(x):
    """Number 0 of every head, then number 1 of every head, …"""
    return x.permute(0, 2, 3, 1).flatten(2)


def folded(q, k, v):
    """Right, but the heads are still folded into the rows."""
    return attend(q.reshape(len(q), k.shape[1], -1, q.shape[-1]), k, v)


def scrambled(q, k, v):
    """Heads folded into the rows from a layout (b, t, n, h), and read back as (b, n, t, h)."""
    output, weights = folded(q.transpose(1, 2), k, v)
    return output.reshape(q.shape), weights.reshape(*q.shape[:3], -1)


def unfolded(q, k, v):
    """Right, but the rows (n, t) are unfolded as (t, n), and then transposed."""
    (b, n, t, _), results = q.shape, folded(q, k, v)
    return tuple(x.reshape(b, t, n, -1).transpose(1, 2) for x in results)


def stored(cache, k, v, n):
    """The new tokens are stored, and all so far are read, as is right."""
    return cache.append(k, v)


def held(cache, n_tokens=None):
    """The keys and values of all tokens in the cache, or of the first n_tokens."""
    end = cache.n_tokens if n_tokens is None else n_tokens
    return cache.k[:, :, :end], cache.v[:, :, :end]


def all_room(cache, k, v, n):
    """The new tokens are stored, but what is read is the whole room of the cache."""
    cache.append(k, v)
    return cache.k, cache.v


MUTATIONS = {  # what attend, or what is around it, does otherwise; how to see that it is wrong
    "no scale": (
        {"scale": lambda q: 1},
        "Divide the scores by √h before the softmax; h is q.shape[-1], the width of one head. If "
        "you did: dividing gives back a new tensor, keep it.",
    ),
    "scores divided by √d_model": (
        {"scale": by_all_heads},
        "q·k is a sum of h products, so √h counts, whatever the number of heads; h is q.shape[-1].",
    ),
    "scores divided by √(n·h)": (
        {"scale": by_all_heads},
        "A score is a sum of h products, the share of one head, however many heads there are; h "
        "is q.shape[-1].",
    ),
    "scores divided by h": (
        {"scale": lambda q: 1 / q.shape[-1]},
        "The spread of q·k grows like √h, not like h: divide by h**0.5, and only once.",
    ),
    "no softmax": (
        {"weigh": lambda x: x},
        "Print weights.min() inside your function: some are negative, so this is no average. If "
        "you called softmax: it gives back a new tensor, keep it.",
    ),
    "softmax over the queries": (
        {"axis": -2},
        "Print weights.sum(-1) inside your function: each query must hand out exactly 1. The keys "
        "are the last axis.",
    ),
    "softmax over the heads": (
        {"axis": 1},
        "Axis 1 counts heads, and F.softmax without dim takes that one here. The weights of one "
        "query must sum to 1 over the keys, the last axis: dim=-1.",
    ),
    "scores returned in place of weights": (
        {"give": lambda output, weights, scores: (output, scores)},
        "The output is right. Return with it what the softmax gave.",
    ),
    "queries and keys swapped": (
        {"read": lambda q, k, v: (k, q, v)},
        "Rows of weights belong to queries: weights must be (…, t, s), so the queries come first.",
    ),
    "keys and values swapped": (
        {"read": lambda q, k, v: (q, v, k)},
        "w_k makes what is compared with the queries, w_v what is averaged.",
    ),
    "keys in place of values": (
        {"read": lambda q, k, v: (q, k, k)},
        "Keys decide the weights; what is averaged are the values.",
    ),
    "queries in place of keys": (
        {"read": lambda q, k, v: (q, q, v)},
        "The queries are compared with themselves: your keys are never used.",
    ),
    "the first sequence for all": (
        {"read": lambda q, k, v: (q, k[:1], v[:1])},
        "Right for b = 1. Each sequence of the batch has keys and values of its own: leave axis 0 "
        "as it is.",
    ),
    "a causal mask": (
        {"mask": causal_mask},
        "Here every query may see every key: no mask.",
    ),
    "no causal mask": (
        {"mask": None},
        "Print weights[0, 0]: row 0 must be 1, 0, 0, …. Use causal attention.",
    ),
    "a mask lined up with the upper left corner": (
        {"mask": lambda t, s: ones(t, s).tril()},
        "The queries are the last t of s places, but this mask takes them for the first t: the "
        "newest word does not see everything. tril(s - t) moves the diagonal to where they stand; "
        "is_causal=True does not.",
    ),
    "s - t the wrong way round": (
        {"mask": lambda t, s: ones(t, s).tril(t - s)},
        "tril(d) with d > 0 shows more, with d < 0 less, and a row that sees nothing comes out as "
        "nan. Row 0 must reach column s - t, so d is s - t.",
    ),
    "a word that cannot see itself": (
        {"mask": lambda t, s: ones(t, s).tril(s - t - 1)},
        "The diagonal belongs to the mask: the last column of the last row is the word itself. "
        "With t = s row 0 sees nothing at all: softmax has nothing to share out and gives nan.",
    ),
    "a look one word ahead": (
        {"mask": lambda t, s: ones(t, s).tril(s - t + 1)},
        "The first query stands at place s - t and sees s - t + 1 keys. With t = s row 0 must see "
        "itself only.",
    ),
    "triu in place of tril": (
        {"mask": lambda t, s: ones(t, s).triu(s - t)},
        "Row i now sees itself and what comes after. Words look back, and the past lies to the "
        "left of the diagonal: tril.",
    ),
    "a split without a transpose": (
        {"split": view_split},
        'Your heads hold pieces of other words: checks.check("03.split_heads", …) tests your split '
        "alone.",
    ),
    "a merge without a transpose": (
        {"merge": view_merge},
        'The weights are right, the output mixes words: checks.check("03.merge_heads", …) tests '
        "your merge alone.",
    ),
    "a split and a merge without a transpose": (
        {"split": view_split, "merge": view_merge},
        'The shapes fit, but words are torn apart: checks.check("03.split_heads", …) and '
        'checks.check("03.merge_heads", …) test both alone.',
    ),
    "heads interleaved": (
        {"split": interleaved_split, "merge": interleaved_merge},
        "A head is h numbers side by side, and yours is every n-th number: the width is (n, h), "
        "not (h, n).",
    ),
    "query head i reading K/V head i mod g": (
        {"read": reading(modulo)},
        "Follow the heads: repeat gives 0 1 0 1 …, and so does reshape(b, r, g, …). Neighbours "
        "share a K/V head, 0 0 1 1 …: repeat_interleave, or reshape(b, g, r, …).",
    ),
    "g and r confused": (
        {"read": reading(lambda i, n, g: i // g)},
        "Query head i reads head i // r, and r = n // g. You divided by g: with n = 6 and g = 3 "
        "the heads read are 0 0 0 1 1 1, and K/V head 2 is never read.",
    ),
    "the first K/V head for all": (
        {"read": reading(lambda i, n, g: 0)},
        "That is multi-query attention: g - 1 of the K/V heads are never read.",
    ),
    "the empty places of the cache attended to": (
        {"store": all_room},
        "cache.k is the whole room, with zeros behind the last token, and a key of zeros gets "
        "weight too: exp(0) is 1. Use what cache.append gives back.",
    ),
}


def drawn(base, *names):
    """The mistakes of these names: base with the steps that MUTATIONS has for each."""
    return {name: Mistake(base(**MUTATIONS[name][0]), MUTATIONS[name][1]) for name in names}


GROUPED = {  # of grouped attention, whose heads may be folded into the rows
    "keys and values swapped": Mistake(
        lambda q, k, v: attend(q, v, k),
        "Keys are what is compared with the queries, values what is averaged: q @ k.mT, and "
        "weights @ v.",
    ),
    "the heads in front of the batch": Mistake(
        lambda q, k, v: tuple(x.transpose(0, 1) for x in attend(q, k, v)),
        "That is (n, b, t, h). The batch stays in front: torch.stack(…, dim=1).",
    ),
    "tokens and heads mixed up": Mistake(
        scrambled,
        "The numbers are right, their places are not: you folded from (b, t, n, h), and so cut the "
        "tokens in place of the heads. Fold q (b, n, t, h) as it comes, without a transpose.",
    ),
    "rows (n, t) read as (t, n)": Mistake(
        unfolded,
        "You folded the heads before the queries, and unfolded the queries before the heads: the "
        "numbers are right, their places are not. reshape(b, n, t, …) is all.",
    ),
    "results left folded": Mistake(
        folded,
        "All numbers are right, in r·t rows a group. Give them their axes back: reshape to "
        "(b, n, t, h) and (b, n, t, s).",
    ),
    "weights left folded": Mistake(
        lambda q, k, v: (attend(q, k, v)[0], folded(q, k, v)[1]),
        "The output is right. The weights need their axes back too: reshape(b, n, t, s).",
    ),
}


def unmasked(**steps):
    """A base: `attention`."""
    return partial(attend, **steps)


def causal(**steps):
    """A base: `causal_attention`."""
    return partial(attend, **{"mask": causal_mask} | steps)


def results_of(reference):
    """The mistakes of returning the right things in the wrong way: output and weights."""
    return {
        "no weights": Mistake(
            lambda *given: (reference(*given)[0], None),
            "The output is right. Return what the softmax gave as well; "
            "scaled_dot_product_attention does not tell it.",
        ),
        "the two results in the wrong order": Mistake(
            lambda *given: reference(*given)[::-1], "Return output first, then weights."
        ),
        "only one result": Mistake(
            lambda *given: reference(*given)[0], "Return both: output, weights."
        ),
    }


# What is judged beside the numbers: how a function refuses, and what it pays in memory


def answer(n, g, act):
    """What act gives; where n % g is not 0, the ValueError that it raises, if that names n and g.

    If it does something else instead: what, in words.
    """
    try:
        got = act()
    except ValueError as error:
        names_both = {str(n), str(g)} <= set(re.findall(r"\d+", str(error)))
        if n % g == 0:
            if names_both and not re.search(r"\(\d+,", str(error)):  # not of a shape
                return "a ValueError, though the heads can be shared"
            raise
        return error if names_both else "a ValueError without both numbers"
    except Exception as error:
        if n % g == 0:
            raise
        return other_error(error)
    if n % g == 0:
        return got
    return "an error returned, not raised" if isinstance(got, Exception) else "no error"


def other_error(error):
    """In words, what was raised in place of a ValueError."""
    if isinstance(error, AssertionError):
        return "an AssertionError"
    by_pytorch = isinstance(error, RuntimeError | IndexError) and not is_by_hand(error)
    return "an error of PyTorch's" if by_pytorch else "an error of another kind"


def refusing(fn, sizes, text="{} heads cannot share {}", error=ValueError, where=None):
    """fn behind a check: where n % g is not 0, an error that says what text says of n and g.

    sizes(*what fn is given) are n and g; error None returns what it should raise; where(n, g)
    refuses otherwise than by n % g.
    """

    def careful(*given):
        n, g = sizes(*given)
        if where(n, g) if where else n % g:
            said = (error or ValueError)(text.format(n, g))
            if error is None:
                return said
            raise said
        return fn(*given)

    return careful


def refusals(reference, sizes, unchecked):
    """The mistakes of functions that are right, but refuse n % g ≠ 0 in another way.

    unchecked: a function that is right, and where n % g is not 0 gets an error of PyTorch's.
    """
    return {
        "what fits refused": Mistake(
            refusing(reference, sizes, where=lambda n, g: n % g == 0),
            "Turn the condition round: refuse where n % g is not 0, for then something is left "
            "over.",
        ),
        "g < n refused": Mistake(
            refusing(reference, sizes, where=lambda n, g: n != g),
            "Sharing is the point: g may be smaller than n, as long as n % g is 0. Refuse where it "
            "is not.",
        ),
        "g = n refused": Mistake(
            refusing(reference, sizes, where=lambda n, g: n % g or g == n),
            "All else is right. But with g = n each query head has a K/V head of its own: that is "
            "MHA, with r = 1, and must work.",
        ),
        "g = 1 refused": Mistake(
            refusing(reference, sizes, where=lambda n, g: n % g or g == 1),
            "All else is right. But with g = 1 all query heads share one K/V head: that is MQA, "
            "with r = n, and must work.",
        ),
        "n % g ≠ 0 left to PyTorch": Mistake(
            unchecked,
            "All else is right. But PyTorch speaks of shapes of its own making; raise a ValueError "
            "first, with n and g in its text.",
        ),
        "an assert for a ValueError": Mistake(
            refusing(reference, sizes, error=AssertionError),
            "All else is right. But python -O skips every assert, and who calls waits for a "
            "ValueError: raise one, with both numbers in its text.",
        ),
        "an error of another kind": Mistake(
            refusing(reference, sizes, error=TypeError),
            "All else is right. But who calls waits for a ValueError, as for every number that "
            "does not fit: raise one, with n and g in its text.",
        ),
        "an error returned, not raised": Mistake(
            refusing(reference, sizes, error=None),
            "All else is right. But an error that is returned stops nobody: write raise in place "
            "of return.",
        ),
        "a ValueError without both numbers": Mistake(
            refusing(reference, sizes, "this does not fit"),
            "All else is right. Say in the text of the error what n and g are: it saves the reader "
            "a search.",
        ),
    }


def paid(n, g, advice):
    """A remark on the memory an answer takes: whether it makes K as large as n heads of it.

    One query for each of 2 sequences, as in decoding: only copies of K or V can exceed K.
    """

    def remark(fn):
        q, k = torch.ones(2, n, 1, 64), torch.ones(2, g, 64, 64)
        with redirect_stdout(io.StringIO()):
            made = largest_tensor(fn, q, k, k)
        if made <= k.nbytes:
            return f"And no tensor on the way was larger than K: {k.nbytes:,} bytes here."
        if made < n // g * k.nbytes:
            return ""
        return (
            "But you paid for the memory you wanted to save: on the way your function made a "
            f"tensor of {made:,} bytes, {made // k.nbytes} × the {k.nbytes:,} bytes of K. {advice}"
        )

    return remark
