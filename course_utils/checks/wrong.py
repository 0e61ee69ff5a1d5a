"""What several exercises share: probes, mutations, and how a refusal and memory are judged.

A mutation is a step of attention done otherwise, here under the name of its diagnosis. An exercise
draws on them by name, with what it has to say of each: `drawn(base, {"no scale": "Divide …"})`,
where base(**steps) is what its reference does, but for these steps.
"""

import io
import re
from contextlib import redirect_stdout
from functools import partial

import torch

from course_utils.attention import causal_mask
from course_utils.checks.engine import Mistake
from course_utils.experiments.memory import largest_tensor

INF = float("inf")


def probe(seed, b, n, t, s, h, g=None):
    """Queries (b, n, t, h), keys and values (b, g, s, h), g = n if not given; small for softmax."""
    random = torch.Generator().manual_seed(seed)
    shapes = (b, n, t, h), (b, g or n, s, h), (b, g or n, s, h)
    return tuple(torch.randn(shape, generator=random) for shape in shapes)


# The steps


def attend(q, k, v, *, read=None, mask=None, fill=-INF, scale=None, axis=-1, weigh=None, give=None):
    """Attention; each step that is given is done so.

    read(q, k, v) is what is taken for them; scores become scale(q) times the products, and fill
    where mask(t, s) is False; weigh(scores) are the weights; give(output, weights, scores) comes
    back.
    """
    q, k, v = (read or reading(by_groups_of_r))(q, k, v)
    scores = q @ k.mT * (scale(q) if scale else q.shape[-1] ** -0.5)
    if mask:
        scores = scores.masked_fill(~mask(*scores.shape[-2:]), fill)
    weights = weigh(scores) if weigh else scores.softmax(axis)
    output = weights @ v
    return give(output, weights, scores) if give else (output, weights)


def reading(which, which_v=None):
    """The K/V head which(i, n, g) for query head i; V may be read otherwise."""

    def read(q, k, v):
        n, g = q.shape[1], k.shape[1]
        heads, heads_v = ([w(i, n, g) for i in range(n)] for w in (which, which_v or which))
        return q, k[:, heads], v[:, heads_v]

    return read


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


def stored(cache, k, v, n):
    """The new tokens are stored, and all so far are read, as is right."""
    return cache.append(k, v)


def all_room(cache, k, v, n):
    """The new tokens are stored, but what is read is the whole room of the cache."""
    cache.append(k, v)
    return cache.k, cache.v


MUTATIONS = {  # what attend, or what is around it, does otherwise
    "no scale": {"scale": lambda q: 1},
    "scores divided by √d_model": {"scale": lambda q: (q.shape[1] * q.shape[-1]) ** -0.5},
    "scores divided by √(n·h)": {"scale": lambda q: (q.shape[1] * q.shape[-1]) ** -0.5},
    "softmax over the queries": {"axis": -2},
    "softmax over the heads": {"axis": 1},
    "scores returned in place of weights": {
        "give": lambda output, weights, scores: (output, scores)
    },
    "queries and keys swapped": {"read": lambda q, k, v: (k, q, v)},
    "keys and values swapped": {"read": lambda q, k, v: (q, v, k)},
    "keys in place of values": {"read": lambda q, k, v: (q, k, k)},
    "a causal mask": {"mask": causal_mask},
    "no causal mask": {"mask": None},
    "a mask lined up with the upper left corner": {"mask": lambda t, s: ones(t, s).tril()},
    "s - t the wrong way round": {"mask": lambda t, s: ones(t, s).tril(t - s)},
    "a word that cannot see itself": {"mask": lambda t, s: ones(t, s).tril(s - t - 1)},
    "a look one word ahead": {"mask": lambda t, s: ones(t, s).tril(s - t + 1)},
    "triu in place of tril": {"mask": lambda t, s: ones(t, s).triu(s - t)},
    "a split without a transpose": {"split": view_split},
    "a merge without a transpose": {"merge": view_merge},
    "a split and a merge without a transpose": {"split": view_split, "merge": view_merge},
    "heads interleaved": {"split": interleaved_split, "merge": interleaved_merge},
    "query head i reading K/V head i mod g": {"read": reading(modulo)},
    "g and r confused": {"read": reading(lambda i, n, g: i // g)},
    "the first K/V head for all": {"read": reading(lambda i, n, g: 0)},
    "the empty places of the cache attended to": {"store": all_room},
}


def drawn(base, said):
    """The mistakes of these names, {name: what to say of it}: base with their steps."""
    return {name: Mistake(base(**MUTATIONS[name]), see) for name, see in said.items()}


def unmasked(**steps):
    """A base: `attention`."""
    return partial(attend, **steps)


def causal(**steps):
    """A base: `causal_attention`."""
    return partial(attend, **{"mask": causal_mask} | steps)


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


# What is judged beside the numbers: how a function refuses, and what it pays in memory


def answer(n, g, act):
    """What act gives; where n % g is not 0, the ValueError that it raises, if that names n and g.

    If it does something else instead: what, in words.
    """
    if n % g == 0:
        return act()
    try:
        act()
    except ValueError as error:
        said = set(re.findall(r"\d+", str(error)))
        return error if {str(n), str(g)} <= said else "a ValueError without both numbers"
    except Exception as error:
        return f"an error of another kind: {type(error).__name__}"
    return "no error"


def refusing(fn, sizes, text="{} heads cannot share {}", error=ValueError):
    """fn behind a check: where n % g is not 0, an error that says what text says of n and g.

    sizes(*what fn is given) are n and g.
    """

    def careful(*given):
        n, g = sizes(*given)
        if n % g:
            raise error(text.format(n, g))
        return fn(*given)

    return careful


def refusals(reference, sizes, unchecked):
    """The mistakes of functions that are right, but refuse n % g ≠ 0 in another way.

    unchecked: a function that is right, and where n % g is not 0 gets an error of PyTorch's.
    """
    return {
        "n % g ≠ 0 left to PyTorch": Mistake(
            unchecked,
            "All else is right. But PyTorch speaks of shapes of its own making; raise a ValueError "
            "first, with n and g in its text.",
        ),
        "an assert for a ValueError": Mistake(
            refusing(reference, sizes, error=AssertionError),
            "All else is right. But python -O skips every assert, and this one does not say what n "
            "and g are: raise a ValueError with both numbers.",
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
