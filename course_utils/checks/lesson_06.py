"""Exercises of lesson 06: grouped-query attention, as a function and as a layer."""

from functools import cache

import torch
from torch import nn

from course_utils.attention import (
    GroupedQueryAttention,
    attention,
    causal_mask,
    merge_heads,
    split_heads,
)
from course_utils.checks.compare import kind
from course_utils.checks.draws import drawing, order, redrawable, resized
from course_utils.checks.engine import Exercise, Mistake
from course_utils.checks.running import is_stub
from course_utils.checks.wrong import (
    GROUPED,
    answer,
    as_they_are,
    attend,
    by_groups_of_r,
    drawn,
    held,
    modulo,
    ones,
    paid,
    probe,
    reading,
    refusals,
    results_of,
    stored,
    unmasked,
    view_split,
)
from course_utils.kv_cache import KVCache

WEIGHTS = [f"{x}_proj.weight" for x in "qkvo"]


def heads_of(q, k, v):
    """n and g."""
    return q.shape[1], k.shape[1]


def ask(fn, q, k, v):
    """What fn gives; where n % g is not 0, how it refuses."""
    return answer(*heads_of(q, k, v), lambda: fn(q, k, v))


def mean(x):
    """The mean of all heads, for every query head to read."""
    return x.mean(1, keepdim=True)


def unchecked(q, k, v):
    """Right where n % g == 0, and an error of PyTorch's elsewhere."""
    r = q.shape[1] // k.shape[1]
    copies = [x.repeat_interleave(r, 1) for x in (k, v)]
    return attend(q, k, v, read=lambda q, k, v: (q, *copies))


def in_groups(x, g):
    """Heads (n) as (g, r)."""
    return x.unflatten(1, (g, -1))


def reordered(q, k, v):
    """The right heads in the order (r, g)."""
    return tuple(in_groups(x, k.shape[1]).transpose(1, 2).flatten(1, 2) for x in attention(q, k, v))


def run_layer(cls, d_model, n_heads, n_kv_heads, x):
    """How a layer of class cls refuses, or what it does with known weights; None for a stub."""
    if isinstance(cls, nn.Module):
        raise TypeError("give check the class itself, not a layer made from it")
    if is_stub(cls):
        return None
    uneven, sizes = n_heads % n_kv_heads, (d_model, n_heads, n_kv_heads)
    run = (lambda: cls(*sizes)(x)) if uneven else (lambda: try_layer(cls, *sizes, x))
    with torch.random.fork_rng(devices=[]):
        return answer(n_heads, n_kv_heads, run)


def try_layer(cls, d_model, n_heads, n_kv_heads, x):
    """What a layer gives for all of x, in pieces through a cache, after that; what it learns."""
    layer = cls(d_model, n_heads, n_kv_heads)
    if not layer.state_dict():
        layer(x)  # says so itself if it is not implemented
    copy_weights(known_weights(d_model, n_heads, n_kv_heads), layer)
    got = layer(x)
    if got is None or got is ...:
        return got
    output, weights = pair(got)
    if not isinstance(output, torch.Tensor) or output.shape != x.shape:
        return output, weights, *7 * [None]
    learnt = gradients(layer, output)
    pieces = in_pieces(layer, n_kv_heads, d_model // n_heads, x)
    return output, weights, *pieces, pair(layer(x))[0], learnt


@torch.no_grad()
def in_pieces(layer, g, h, x):
    """For 3 tokens, then one after another, then the last 2: all outputs, the last weights.

    Then the output of another sequence, which comes after the first piece with a cache of its own,
    and what is in the first cache.
    """
    cache, another = (KVCache(len(x), g, room * x.shape[1], h) for room in (1, 2))
    first, *pieces = x.split([3] + [1] * (x.shape[1] - 5) + [2], dim=1)
    results = [pair(layer(first, cache))]
    other = pair(layer(x.flip(1), another))[0]
    results += [pair(layer(piece, cache)) for piece in pieces]
    outputs, weights = zip(*results, strict=True)
    return torch.cat(outputs, dim=1), weights[-1], other, cache.k, cache.v


def gradients(layer, output):
    """What one step of training would change: the gradients of all weights in one row, or 0."""
    weights = [layer.get_parameter(name) for name in WEIGHTS]
    if not output.requires_grad:
        return torch.zeros(sum(w.numel() for w in weights))
    found = torch.autograd.grad(
        output.square().mean(), weights, retain_graph=True, allow_unused=True
    )
    found = [torch.zeros_like(w) if x is None else x for w, x in zip(weights, found, strict=True)]
    return torch.cat([x.flatten() for x in found])


def pair(got):
    """output and weights, if forward gave both."""
    if not isinstance(got, tuple | list) or len(got) != 2:
        raise TypeError(f"forward must return two things: output, weights; it gave {kind(got)}")
    return got


@cache
def known_weights(d_model, n_heads, n_kv_heads):
    """The weights of a layer, the same every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return GroupedQueryAttention(d_model, n_heads, n_kv_heads).state_dict()


def copy_weights(needed, layer):
    """Give layer the weights it needs; ValueError says which of them do not fit."""
    given = dict(layer.named_parameters())
    for name, x in needed.items():
        if name not in given:
            raise ValueError(f"there is no {name}; there is {', '.join(given) or 'no weight'}")
        if given[name].shape != x.shape:
            raise ValueError(
                f"{name} is {tuple(given[name].shape)}, it should be {tuple(x.shape)}: queries "
                "have n_heads · h numbers, keys and values n_kv_heads · h, and h is "
                "d_model // n_heads"
            )
    for name in given:
        if name not in needed:
            raise ValueError(f"{name} is one too many; write nn.Linear(…, bias=False)")
    layer.load_state_dict(needed, strict=False)


def in_a_layer(
    store=stored,
    split=split_heads,
    merge=merge_heads,
    out=True,
    split_q=None,
    split_kv=None,
    as_queries=False,
    project=lambda layer, x: (layer.q_proj(x), layer.k_proj(x), layer.v_proj(x)),
    with_cache=None,
    **steps,
):
    """A base: `GroupedQueryAttention`; with_cache are more steps, where there is a cache."""

    class Layer(GroupedQueryAttention):
        def forward(self, x, cache=None):
            q, k, v = project(self, x)
            q = (split_q or split)(q, self.n_heads)
            g = self.n_heads if as_queries else self.n_kv_heads
            k, v = ((split_kv or split)(each, g) for each in (k, v))
            more = (cache and with_cache) or {}
            if cache:
                k, v = store(cache, k, v, self.n_heads)
            output, weights = attend(q, k, v, **{"mask": causal_mask} | steps | more)
            return self.o_proj(merge(output)) if out else merge(output), weights

    return Layer


def thrown_away(cache, k, v, n):
    """The new tokens are stored, and only they are read."""
    cache.append(k, v)
    return k, v


def append_copies(cache, k, v, n):
    """K and V repeated to n heads, and only then stored."""
    return cache.append(*(x.repeat_interleave(n // x.shape[1], dim=1) for x in (k, v)))


def all_but_the_newest(cache, k, v, n):
    """All is stored, and all but the newest token is read."""
    return tuple(x[:, :, :-1] for x in cache.append(k, v))


def before_they_are_stored(cache, k, v, n):
    """What the cache held before the new tokens came."""
    past = held(cache)
    cache.append(k, v)
    return past


def stored_the_wrong_way_round(cache, k, v, n):
    """append(v, k), and what it gives back is taken for values, keys."""
    return cache.append(v, k)[::-1]


class Remembers(GroupedQueryAttention):
    """Keeps the past on itself, and never looks into the cache that it is given."""

    def forward(self, x, cache=None):
        self.past = getattr(self, "past", None) if cache else None
        self.past = x if self.past is None else torch.cat([self.past, x], dim=1)
        output, weights = super().forward(self.past)
        return output[:, -x.shape[1] :], weights[:, :, -x.shape[1] :]


class OwnCache(GroupedQueryAttention):
    """Makes a cache of its own at the first call, and ignores the one that it is given."""

    def forward(self, x, cache=None):
        if cache and not hasattr(self, "cache"):
            self.cache = KVCache(len(x), self.n_kv_heads, 2 * cache.k.shape[2], self.head_dim)
        return super().forward(x, cache and self.cache)


class KeepsTheLast(GroupedQueryAttention):
    """Goes on with the last cache where none is given."""

    last = None

    def forward(self, x, cache=None):
        self.last = cache or self.last
        return super().forward(x, self.last)


class OneResult(GroupedQueryAttention):
    def forward(self, x, cache=None):
        return super().forward(x, cache)[0]


class Detached(GroupedQueryAttention):
    def forward(self, x, cache=None):
        output, weights = super().forward(x, cache)
        return output.detach(), weights


class Accepts(nn.Module):
    """Right where n % g == 0, and without an error elsewhere."""

    def __init__(self, d_model, n_heads, n_kv_heads):
        super().__init__()
        h = d_model // n_heads
        self.n, self.g = n_heads, n_kv_heads
        self.q_proj, self.o_proj = (nn.Linear(d_model, d_model, bias=False) for _ in range(2))
        self.k_proj, self.v_proj = (nn.Linear(d_model, self.g * h, bias=False) for _ in range(2))

    def forward(self, x, cache=None):
        q = split_heads(self.q_proj(x), self.n)
        k, v = (split_heads(project(x), self.g) for project in (self.k_proj, self.v_proj))
        if cache:
            k, v = cache.append(k, v)
        output, weights = attend(q, k, v, mask=causal_mask)
        return self.o_proj(merge_heads(output)), weights


class Swapped(GroupedQueryAttention):
    def forward(self, x, cache=None):
        return super().forward(x, cache)[::-1]


class Unchecked(Accepts):
    """Right where n % g == 0, and an error of PyTorch's elsewhere."""

    def forward(self, x, cache=None):
        copies = torch.zeros(self.g).repeat_interleave(self.n // self.g)
        return super().forward(x + 0 * (copies + torch.zeros(self.n)).sum(), cache)


def shared(n, g):
    """Whether g divides n, and how it compares with r."""
    return n % g == 0, order(n // g, g)


@redrawable(resized(kept=lambda h, n, g, b, t: (shared(n, g), t >= 6)))
def for_layer(h, n, g, b, t, seed=0):
    """d_model, n, g, and x (b, t, d_model) that is large enough for the weights to differ."""
    random = torch.Generator().manual_seed(b * t * n * h + seed)
    return n * h, n, g, 3 * torch.randn(b, t, n * h, generator=random)


ACCEPTED = (
    "Four K/V heads cannot be shared evenly by six query heads, yet there was no error, and nobody "
    "would have noticed. Raise a ValueError."
)

FUNCTION_MISTAKES = {
    **drawn(
        unmasked,
        "query head i reading K/V head i mod g",
        "g and r confused",
        "the first K/V head for all",
        "a causal mask",
        "no scale",
        "scores divided by h",
        "no softmax",
        "softmax over the queries",
        "scores returned in place of weights",
        "keys in place of values",
        "the first sequence for all",
    ),
    "keys and values averaged over the heads": Mistake(
        unmasked(read=lambda q, k, v: (q, mean(k), mean(v))),
        "All groups now read the same mean. Each group has a K/V head of its own. (Mean-pooling "
        "makes one model out of another, in lesson 07.)",
    ),
    "keys averaged over the heads": Mistake(
        lambda q, k, v: attend(q, mean(k).expand_as(k), v),
        "Each group compares its queries with the keys of its own head, not with the mean of all.",
    ),
    "values of the wrong group": Mistake(
        unmasked(read=reading(by_groups_of_r, modulo)),
        "The weights are right: K is shared as it should be. V is read in the order 0 1 0 1 …; it "
        "must go with K, 0 0 1 1 ….",
    ),
    "keys of the wrong group": Mistake(
        unmasked(read=reading(modulo, by_groups_of_r)),
        "V is shared as it should be. K is read in the order 0 1 0 1 …; it must go with V, "
        "0 0 1 1 ….",
    ),
    "the first value head for all": Mistake(
        unmasked(read=reading(by_groups_of_r, lambda i, n, g: 0)),
        "The weights are right, but all groups average the values of head 0.",
    ),
    "the heads in another order": Mistake(
        reordered,
        "The numbers are right, the heads are not where they were. After (b, g, r, t, …) join g "
        "and r as they stand, without a transpose.",
    ),
    "results left in groups": Mistake(
        lambda q, k, v: tuple(in_groups(x, k.shape[1]) for x in attention(q, k, v)),
        "All numbers are right, on five axes. Join g and r to n: flatten(1, 2).",
    ),
    "weights left in groups": Mistake(
        lambda q, k, v: (attention(q, k, v)[0], in_groups(attention(q, k, v)[1], k.shape[1])),
        "The output is right. The weights have five axes; join g and r to n: flatten(1, 2).",
    ),
    "no axis of r in k and v": Mistake(
        lambda q, k, v: tuple(
            x.flatten(1, 2) for x in attend(in_groups(q, k.shape[1]), k, v, read=as_they_are)
        ),
        "q (b, g, r, t, h) has an axis more than k (b, g, s, h), and torch lines g up with r. Give "
        "k and v one too: k[:, :, None].",
    ),
    "the axis of r before that of g": Mistake(
        lambda q, k, v: tuple(
            x.flatten(1, 2)
            for x in attend(in_groups(q, k.shape[1]), k[:, None], v[:, None], read=as_they_are)
        ),
        "q is (b, g, r, t, h), so the new axis of k and v comes behind g: k[:, :, None].",
    ),
    "all heads folded before one K/V head": Mistake(
        lambda q, k, v: tuple(
            x.reshape(*q.shape[:3], -1)
            for x in attend(q.flatten(1, 2)[:, None], k, v, read=as_they_are)
        ),
        "That is the answer of lesson 05, where g is 1. Here r heads belong to each K/V head: "
        "reshape(b, g, r * t, h).",
    ),
    "K and V left at g heads": Mistake(
        unmasked(read=as_they_are),
        "n query heads do not line up with g K/V heads. Fold the r heads of a group into the rows, "
        "q.reshape(b, g, r * t, h), or repeat each K/V head r times.",
    ),
    "g copies in place of r": Mistake(
        unmasked(read=lambda q, k, v: (q, *(x.repeat_interleave(x.shape[1], 1) for x in (k, v)))),
        "Each K/V head is read by r = n // g query heads: repeat_interleave(r, dim=1).",
    ),
    "n copies in place of r": Mistake(
        unmasked(read=lambda q, k, v: (q, *(x.repeat_interleave(q.shape[1], 1) for x in (k, v)))),
        "Each K/V head is read by r = n // g query heads: repeat_interleave(r, dim=1).",
    ),
    "query head i reading K/V head i mod r": Mistake(
        unmasked(read=reading(lambda i, n, g: i % (n // g))),
        "Query head i reads head i // r: neighbours share, 0 0 1 1 ….",
    ),
    "the query heads of a group averaged": Mistake(
        unmasked(read=lambda q, k, v: (in_groups(q, k.shape[1]).mean(2), k, v)),
        "Each query head asks for itself, and n outputs come back. Only keys and values are "
        "shared.",
    ),
    "n % g ≠ 0 accepted": Mistake(attend, ACCEPTED),
    **refusals(attention, heads_of, unchecked),
    **GROUPED,
    **results_of(attention),
}

LAYER_REFUSALS = refusals(GroupedQueryAttention, lambda d_model, n, g: (n, g), Unchecked)
del LAYER_REFUSALS["an error returned, not raised"]  # a class returns nothing

LAYER_MISTAKES = {
    **drawn(
        in_a_layer,
        "the empty places of the cache attended to",
        "no causal mask",
        "a mask lined up with the upper left corner",
        "query head i reading K/V head i mod g",
        "g and r confused",
        "the first K/V head for all",
        "scores divided by √d_model",
        "scores divided by h",
        "no scale",
        "no softmax",
        "softmax over the queries",
        "scores returned in place of weights",
        "a split without a transpose",
        "a merge without a transpose",
        "a split and a merge without a transpose",
        "heads interleaved",
    ),
    "K and V expanded before they are cached": Mistake(
        in_a_layer(store=append_copies),
        "The cache has room for g heads and you brought n: the saving is gone before it began. "
        "Cache k and v as they come from split_heads, share them in the attention.",
    ),
    "nothing stored in the cache": Mistake(
        in_a_layer(store=lambda cache, k, v, n: (k, v)),
        "In one go all is right; in pieces the cache stays empty, and each piece sees only itself. "
        "k, v = cache.append(k, v) stores them and gives back everything.",
    ),
    "what append gives back thrown away": Mistake(
        in_a_layer(store=thrown_away),
        "All is stored, but each piece sees only itself: keep what comes back, k, v = "
        "cache.append(k, v). It is old and new.",
    ),
    "cache.append called twice": Mistake(
        in_a_layer(store=lambda cache, k, v, n: (cache.append(k, v), cache.append(k, v))[1]),
        "The tokens are in the cache twice. One call stores them and gives back everything.",
    ),
    "k and v split into n heads": Mistake(
        in_a_layer(as_queries=True),
        "k_proj and v_proj make g·h numbers, g heads: split them with n_kv_heads.",
    ),
    "values, keys taken for keys, values": Mistake(
        in_a_layer(store=lambda cache, k, v, n: cache.append(k, v)[::-1]),
        "All is stored well, but append gives back k first: k, v = cache.append(k, v).",
    ),
    "the last cache kept": Mistake(
        KeepsTheLast,
        "A call without a cache must not know of the one before it: keep nothing on self, use the "
        "argument.",
    ),
    "k and v split without a transpose": Mistake(
        in_a_layer(split_kv=view_split),
        "In k and v words are torn apart. Use split_heads of lesson 03, with n_kv_heads.",
    ),
    "nothing hidden with a cache": Mistake(
        in_a_layer(with_cache={"mask": None}),
        "One new token needs no mask, several do: the first of them must not see the last. "
        "causal_attention is right for both.",
    ),
    "nothing hidden behind a filled cache": Mistake(
        in_a_layer(mask=lambda t, s: causal_mask(t, s) if t == s else ones(t, s)),
        "One new token needs no mask, several do: the first of them must not see the last. "
        "causal_attention is right for both.",
    ),
    "no o_proj": Mistake(
        in_a_layer(out=False),
        "The heads lie side by side and nothing has mixed them. The last step is self.o_proj.",
    ),
    "n % g ≠ 0 accepted": Mistake(Accepts, ACCEPTED),
    **LAYER_REFUSALS,
    "K and V projected to n heads": Mistake(
        lambda d_model, n, g: GroupedQueryAttention(d_model, n, n),
        "k_proj and v_proj make g heads, n_kv_heads * h numbers; only q_proj makes n. That is what "
        "shrinks the cache.",
    ),
    "a bias": Mistake(
        lambda d_model, n, g: GroupedQueryAttention(d_model, n, g, bias=True),
        "Llama's projections have none, and their weights are named so: write bias=False in each "
        "nn.Linear.",
    ),
    "k_proj and v_proj swapped": Mistake(
        in_a_layer(project=lambda layer, x: (layer.q_proj(x), layer.v_proj(x), layer.k_proj(x))),
        "k_proj makes the keys, v_proj the values. With weights of a real model it matters which.",
    ),
    "values from k_proj": Mistake(
        in_a_layer(project=lambda layer, x: (layer.q_proj(x), *2 * [layer.k_proj(x)])),
        "v_proj is never used: values are v_proj(x), split like the keys.",
    ),
    "keys from v_proj": Mistake(
        in_a_layer(project=lambda layer, x: (layer.q_proj(x), *2 * [layer.v_proj(x)])),
        "k_proj is never used: keys are k_proj(x), split like the values.",
    ),
    "keys and values swapped in the attention": Mistake(
        in_a_layer(read=lambda q, k, v: (q, *reading(by_groups_of_r)(q, v, k)[1:])),
        "Attention takes q, k, v in this order; append gives back k, v.",
    ),
    "keys and values swapped in the cache": Mistake(
        in_a_layer(store=stored_the_wrong_way_round),
        "All outputs are right, but keys lie where values belong: cache.append(k, v), and k, v "
        "come back in this order.",
    ),
    "keys and values swapped on the way to the cache": Mistake(
        in_a_layer(store=lambda cache, k, v, n: cache.append(v, k)),
        "Without a cache all is right. append(v, k) gives back v, k: write k, v = "
        "cache.append(k, v).",
    ),
    "q split without a transpose": Mistake(
        in_a_layer(split_q=view_split),
        "In q words are torn apart. Use split_heads of lesson 03 for q as well.",
    ),
    "the newest token left out": Mistake(
        in_a_layer(store=all_but_the_newest),
        "A word must see itself too: what cache.append gives back is all of it, old and new.",
    ),
    "the newest token left out, and hidden from none": Mistake(
        in_a_layer(store=all_but_the_newest, mask=lambda t, s: ones(t, s).tril(s - t)),
        "A word must see itself too: what cache.append gives back is all of it, old and new.",
    ),
    "the new tokens not among what is read": Mistake(
        in_a_layer(store=before_they_are_stored),
        "The new tokens must see themselves too: read what cache.append(k, v) gives back, old and "
        "new.",
    ),
    "the past kept in the layer": Mistake(
        Remembers,
        "The cache you were given stays empty, and the past of one sequence mixes with that of "
        "the next. A layer keeps nothing: k, v = cache.append(k, v).",
    ),
    "a cache of the layer's own": Mistake(
        OwnCache,
        "The cache you were given stays empty: two sequences that take turns would share yours. "
        "Use the one that comes as an argument.",
    ),
    "no gradient": Mistake(
        Detached,
        "The numbers are right, but training could change no weight: .detach(), .data, NumPy and "
        "torch.no_grad() cut the gradient. The cache keeps none; that is enough.",
    ),
    "only one result": Mistake(OneResult, "Return both: output, weights."),
    "the two results in the wrong order": Mistake(Swapped, "Return output first, then weights."),
}

EXERCISES = {
    "06.grouped_query_attention": Exercise(
        reference=attention,
        more="also takes a mask",
        **drawing(  # b, n, t, s, h, g: easy to hard, both ends of g, then each of the others 1
            probe(1, 4, 2, 3, 2, g=2),
            probe(2, 6, 4, 5, 7, g=3),
            probe(2, 8, 3, 5, 6, g=2),
            probe(2, 3, 2, 4, 5, g=3),
            probe(3, 4, 2, 6, 5, g=1),
            probe(2, 2, 2, 2, 2, g=2),
            probe(4, 4, 4, 4, 4, g=2),
            probe(1, 6, 3, 4, 5, g=2),
            probe(2, 1, 3, 4, 5, g=1),
            probe(2, 6, 1, 4, 5, g=3),
            probe(3, 4, 2, 1, 5, g=2),
            probe(2, 4, 3, 5, 1, g=2),
            probe(2, 6, 2, 3, 5, g=4),
            other=resized(kept=lambda b, n, t, s, h, g: shared(n, g)),
        ),
        returns=("output", "weights"),
        mistakes=FUNCTION_MISTAKES,
        hints=(
            "The same trick as in lesson 05, once for each group: to a key, r heads of t queries "
            "are r · t queries.",
            "r = n // g neighbours share a K/V head. q.reshape(b, g, r * t, h) lays them one under "
            "the other, and K (b, g, s, h) fits as it is.",
            "Where n % g is not 0, raise a ValueError. At the end reshape to (b, n, t, h) and "
            "(b, n, t, s).",
        ),
        play=ask,
        remark=paid(
            8,
            2,
            "repeat_interleave does that, and so does a broadcast k[:, :, None]: matmul copies K "
            "for every head before it multiplies. Fold the r heads of a group into the query "
            "rows, q.reshape(b, g, r * t, h), and nothing is copied.",
        ),
    ),
    "06.GroupedQueryAttention": Exercise(
        reference=GroupedQueryAttention,
        more="also takes head_dim, biases and rotary positions",
        **drawing(  # h, n, g, b, t: easy to hard, both ends of g, h and n being 1
            for_layer(2, 4, 2, 1, 6),
            for_layer(3, 6, 3, 2, 7),
            for_layer(2, 8, 2, 2, 6),
            for_layer(6, 6, 6, 6, 6),
            for_layer(2, 5, 1, 3, 6),
            for_layer(1, 6, 2, 2, 6),
            for_layer(5, 1, 1, 2, 6),
            for_layer(3, 6, 4, 2, 7),
        ),
        returns=(
            "output",
            "weights",
            "the output in pieces through a cache",
            "the last weights",
            "the output of a sequence that came between",
            "cache.k",
            "cache.v",
            "the output without a cache, afterwards",
            "the gradient of the weights",
        ),
        mistakes=LAYER_MISTAKES,
        hints=(
            "Multi-head attention of lesson 03 with two changes: k and v have g heads, and a cache "
            "may stand between them and the attention.",
            "q_proj: nn.Linear(d_model, n_heads * h, bias=False); k_proj and v_proj are "
            "n_kv_heads * h wide; o_proj goes back from n_heads * h to d_model.",
            "In forward: project and split; if cache: k, v = cache.append(k, v); attend; merge; "
            "o_proj. The cache gets g heads, never n.",
        ),
        play=run_layer,
    ),
}
