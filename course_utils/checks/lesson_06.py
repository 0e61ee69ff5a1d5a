"""Exercises of lesson 06: grouped-query attention, as a function and as a layer."""

import torch
from torch import nn

from course_utils.attention import (
    GroupedQueryAttention,
    attention,
    causal_mask,
    merge_heads,
    split_heads,
)
from course_utils.checks.engine import Exercise, Mistake, is_stub
from course_utils.checks.wrong import (
    FOLDED,
    answer,
    attend,
    by_groups_of_r,
    drawn,
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
    """A layer of class cls with known weights on all of x, and in pieces through a cache."""
    if isinstance(cls, nn.Module):
        raise TypeError("give check the class itself, not a layer made from it")
    if is_stub(cls):
        return None
    with torch.random.fork_rng(devices=[]):
        if n_heads % n_kv_heads:
            return answer(n_heads, n_kv_heads, lambda: cls(d_model, n_heads, n_kv_heads)(x))
        layer = cls(d_model, n_heads, n_kv_heads)
        if not layer.state_dict():
            layer(x)  # says so itself if it is not implemented
        torch.manual_seed(0)
        copy_weights(GroupedQueryAttention(d_model, n_heads, n_kv_heads), layer)
    got = layer(x)
    if got is None or got is ...:
        return got
    output, weights = pair(got)
    if not isinstance(output, torch.Tensor) or output.shape != x.shape:
        return output, weights, output, weights
    return output, weights, *in_pieces(layer, n_kv_heads, d_model // n_heads, x)


def in_pieces(layer, g, h, x):
    """For 3 tokens, then one after another, then the last 2: all outputs, the last weights."""
    cache = KVCache(len(x), g, x.shape[1], h)
    pieces = x.split([3] + [1] * (x.shape[1] - 5) + [2], dim=1)
    try:
        outputs, weights = zip(*(pair(layer(piece, cache)) for piece in pieces), strict=True)
    except ValueError as error:
        if "fit this cache" not in str(error):
            raise
        return str(error), None
    return torch.cat(outputs, dim=1), weights[-1]


def pair(got):
    """output and weights, if forward gave both."""
    if not isinstance(got, tuple | list) or len(got) != 2:
        raise TypeError("forward must return two things: output, weights")
    return got


def copy_weights(reference, layer):
    """Give layer the weights of reference; ValueError says which of them do not fit."""
    needed, given = reference.state_dict(), dict(layer.named_parameters())
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
    split_kv=None,
    with_cache=None,
    **steps,
):
    """A base: `GroupedQueryAttention`; with_cache are more steps, where there is a cache."""

    class Layer(GroupedQueryAttention):
        def forward(self, x, cache=None):
            q = split(self.q_proj(x), self.n_heads)
            k = (split_kv or split)(self.k_proj(x), self.n_kv_heads)
            v = (split_kv or split)(self.v_proj(x), self.n_kv_heads)
            more = (cache and with_cache) or {}
            if cache:
                k, v = store(cache, k, v, self.n_heads)
            output, weights = attend(q, k, v, **{"mask": causal_mask} | steps | more)
            return self.o_proj(merge(output)) if out else merge(output), weights

    return Layer


def append_copies(cache, k, v, n):
    """K and V repeated to n heads, and only then stored."""
    return cache.append(*(x.repeat_interleave(n // x.shape[1], dim=1) for x in (k, v)))


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


def swapped(d_model, n_heads, n_kv_heads):
    """A layer that returns weights first."""

    class Layer(GroupedQueryAttention):
        def forward(self, x, cache=None):
            return super().forward(x, cache)[::-1]

    return Layer(d_model, n_heads, n_kv_heads)


def tokens(seed, b, t, d):
    """x (b, t, d), large enough for the weights to differ."""
    return 3 * torch.randn(b, t, d, generator=torch.Generator().manual_seed(seed))


ACCEPTED = (
    "Four K/V heads cannot be shared evenly by six query heads, yet an answer came out, and nobody "
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
    "n % g ≠ 0 accepted": Mistake(attend, ACCEPTED),
    **refusals(attention, heads_of, unchecked),
    **FOLDED,
    **results_of(attention),
}

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
        "no scale",
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
    "the cache never read": Mistake(
        in_a_layer(store=lambda cache, k, v, n: (k, v)),
        "In one go all is right; in pieces, each piece sees only itself. With a cache, k and v "
        "are what cache.append(k, v) gives back.",
    ),
    "k and v split without a transpose": Mistake(
        in_a_layer(split_kv=view_split),
        "In k and v words are torn apart. Use split_heads of lesson 03, with n_kv_heads.",
    ),
    "no mask with a cache": Mistake(
        in_a_layer(with_cache={"mask": None}),
        "One new token needs no mask, several do: the first of them must not see the last. "
        "causal_attention is right for both.",
    ),
    "no mask behind a filled cache": Mistake(
        in_a_layer(mask=lambda t, s: causal_mask(t, s) if t == s else ones(t, s)),
        "One new token needs no mask, several do: the first of them must not see the last. "
        "causal_attention is right for both.",
    ),
    "no o_proj": Mistake(
        in_a_layer(out=False),
        "The heads lie side by side and nothing has mixed them. The last step is self.o_proj.",
    ),
    "n % g ≠ 0 accepted": Mistake(Accepts, ACCEPTED),
    "the two results in the wrong order": Mistake(swapped, "Return output first, then weights."),
}

EXERCISES = {
    "06.grouped_query_attention": Exercise(
        reference=attention,
        probes=[
            probe(17, 1, 4, 2, 3, 2, g=2),
            probe(18, 2, 6, 4, 5, 7, g=3),
            probe(19, 2, 8, 3, 5, 6, g=2),
            probe(20, 2, 6, 2, 3, 5, g=4),
        ],
        returns=("output", "weights"),
        mistakes=FUNCTION_MISTAKES,
        hints=(
            "The same trick as in lesson 05, once for each group: to a key, r heads of t queries "
            "are r · t queries.",
            "r = n // g neighbours share a K/V head. q.reshape(b, g, r * t, h) lays them one under "
            "the other, and K (b, g, s, h) fits as it is.",
            "Where n % g is not 0, raise a ValueError. At the end reshape to (b, n, t, h) and "
            "(b, n, t, s).",
            "(b, n, t, h), g = q.shape, k.shape[1]\n"
            "if n % g:\n"
            '    raise ValueError(f"{n} query heads cannot share {g} K/V heads evenly")\n'
            "weights = (q.reshape(b, g, n // g * t, h) @ k.mT / h**0.5).softmax(dim=-1)\n"
            "output = weights @ v\n"
            "return output.reshape(b, n, t, h), weights.reshape(b, n, t, -1)",
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
        probes=[
            (8, 4, 2, tokens(21, 1, 7, 8)),
            (18, 6, 3, tokens(22, 2, 7, 18)),
            (16, 8, 2, tokens(23, 2, 7, 16)),
            (18, 6, 4, tokens(24, 2, 7, 18)),
        ],
        returns=("output", "weights", "the output in pieces through a cache", "the last weights"),
        mistakes=LAYER_MISTAKES,
        hints=(
            "Multi-head attention of lesson 03 with two changes: k and v have g heads, and a cache "
            "may stand between them and the attention.",
            "q_proj: nn.Linear(d_model, n_heads * h, bias=False); k_proj and v_proj are "
            "n_kv_heads * h wide; o_proj goes back from n_heads * h to d_model.",
            "In forward: project and split; if cache: k, v = cache.append(k, v); attend; merge; "
            "o_proj. The cache gets g heads, never n.",
            "def forward(self, x, cache=None):\n"
            "    q = library.split_heads(self.q_proj(x), self.n_heads)\n"
            "    k = library.split_heads(self.k_proj(x), self.n_kv_heads)\n"
            "    v = library.split_heads(self.v_proj(x), self.n_kv_heads)\n"
            "    if cache:\n"
            "        k, v = cache.append(k, v)\n"
            "    output, weights = library.causal_attention(q, k, v)\n"
            "    return self.o_proj(library.merge_heads(output)), weights",
        ),
        play=run_layer,
    ),
}
