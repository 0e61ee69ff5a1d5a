"""Exercises of lesson 04: the bytes of a cache, and a decode step that uses one."""

import torch

from course_utils.attention import attention, causal_attention, causal_mask
from course_utils.checks.draws import drawing, given, redrawable, resized
from course_utils.checks.engine import Exercise, Mistake
from course_utils.checks.wrong import all_room, attend, drawn, held, stored
from course_utils.geometry import kv_cache_bytes
from course_utils.kv_cache import KVCache, decode_step


def count_bytes(fn, n_layers, batch, n_kv_heads, head_dim, n_tokens, bytes_per_element):
    """What fn gives; a float that is a whole number counts as one."""
    got = fn(n_layers, batch, n_kv_heads, head_dim, n_tokens, bytes_per_element)
    return int(got) if isinstance(got, float) and got.is_integer() else got


def times(factor):
    """The right number of bytes times a factor that depends on l, b, g, h, s and the bytes."""
    return lambda *sizes: kv_cache_bytes(*sizes) * factor(*sizes)


def over(divisor):
    """The right number of bytes divided by what depends on l, b, g, h, s and the bytes."""
    return lambda *sizes: kv_cache_bytes(*sizes) // divisor(*sizes)


def in_units(unit):
    """The right number of bytes in larger units."""
    return lambda *sizes: kv_cache_bytes(*sizes) / unit


@redrawable()
def step(b, n, t, h, n_past, seed=0):
    """q, k_new and v_new (b, n, t, h), and how many tokens the cache holds."""
    random = torch.Generator().manual_seed(b * n * t * h + seed)
    return (*torch.randn(3, b, n, t, h, generator=random), n_past)


def take_step(fn, q, k_new, v_new, tokens_in_the_cache):
    """fn with a cache of so many tokens → its output, and what the cache holds afterwards."""
    b, n, t, h = k_new.shape
    random = torch.Generator().manual_seed(9)
    cache = KVCache(b, n, tokens_in_the_cache + t + 3, h)
    cache.append(*torch.randn(2, b, n, tokens_in_the_cache, h, generator=random))
    output = fn(q, k_new, v_new, cache)
    if output is None or output is ...:
        return output
    return output, cache.n_tokens, *held(cache, tokens_in_the_cache + t)


def appending(store=stored, **steps):
    """A base: `decode_step`."""
    steps = {"mask": causal_mask} | steps
    return lambda q, k, v, cache: attend(q, *store(cache, k, v, q.shape[1]), **steps)[0]


def only_the_new(q, k, v, cache):
    """The new tokens look at each other; they are stored."""
    cache.append(k, v)
    return causal_attention(q, k, v)[0]


def joined(q, k, v, cache):
    """Old and new put together for this step, and forgotten."""
    k, v = (torch.cat(both, dim=2) for both in zip(held(cache), (k, v), strict=True))
    return causal_attention(q, k, v)[0]


def joined_whole(q, k, v, cache):
    """The whole buffer and the new put together."""
    k, v = torch.cat([cache.k, k], dim=2), torch.cat([cache.v, v], dim=2)
    return causal_attention(q, k, v)[0]


def append_last(q, k, v, cache):
    """The new tokens look at the old ones, and only then are stored."""
    output = causal_attention(q, *held(cache))[0]
    cache.append(k, v)
    return output


def old_only(q, k, v, cache):
    """The new tokens look at the old ones and are never stored."""
    return causal_attention(q, *held(cache))[0]


def counted_twice(q, k, v, cache):
    """All is right, but n_tokens is counted up once more."""
    output = decode_step(q, k, v, cache)
    cache.n_tokens += k.shape[2]
    return output


def overwrite(q, k, v, cache):
    """The new tokens are written at position 0, as if the cache were empty."""
    cache.n_tokens = 0
    return decode_step(q, k, v, cache)


def overwrite_start(q, k, v, cache):
    """The new tokens are written over the first ones, by hand."""
    t = k.shape[2]
    cache.k[:, :, :t], cache.v[:, :, :t] = k, v
    return causal_attention(q, *held(cache))[0]


def not_counted(q, k, v, cache):
    """Written behind the old ones by hand, but n_tokens stays what it was."""
    before = cache.n_tokens
    output = decode_step(q, k, v, cache)
    cache.n_tokens = before
    return output


UNITS = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "kB": 10**3, "MB": 10**6, "GB": 10**9}

BYTES_MISTAKES = {
    "no factor 2": Mistake(
        over(lambda *sizes: 2),
        "This is K alone. Every token leaves a key and a value: count both.",
    ),
    "the factor 2 twice": Mistake(
        times(lambda *sizes: 2),
        "K and V are one factor 2. The bytes of an element come in as bytes_per_element.",
    ),
    "no head_dim": Mistake(
        over(lambda n_layers, batch, g, h, s, size: h),
        "This counts one number a head. A key is a vector of h numbers.",
    ),
    "no head_dim, and 2 bytes for every element": Mistake(
        lambda n_layers, batch, g, h, s, size: n_layers * batch * g * s * 2 * 2,
        "This counts one number a head, but a key is a vector of h numbers; and an element need "
        "not have 2 bytes.",
    ),
    "no layers": Mistake(
        over(lambda n_layers, batch, g, h, s, size: n_layers),
        "This is one layer. Each has keys and values of its own: our model filled four caches.",
    ),
    "no batch": Mistake(
        over(lambda n_layers, batch, g, h, s, size: batch),
        "This is one sequence. Users share the weights of a model, never a cache.",
    ),
    "no heads": Mistake(
        over(lambda n_layers, batch, g, h, s, size: g),
        "This is one K/V head. Each of the g heads has keys and values of its own.",
    ),
    "no tokens": Mistake(
        over(lambda n_layers, batch, g, h, s, size: s),
        "This is one token. The cache grows with every one.",
    ),
    "elements in place of bytes": Mistake(
        over(lambda n_layers, batch, g, h, s, size: size),
        "So many numbers are in the cache; each takes bytes_per_element bytes.",
    ),
    "2 bytes for every element": Mistake(
        lambda n_layers, batch, g, h, s, size: kv_cache_bytes(n_layers, batch, g, h, s, 2),
        "Right for float16 and bfloat16. In float32 an element takes 4 bytes: use "
        "bytes_per_element.",
    ),
    "bits in place of bytes": Mistake(
        times(lambda *sizes: 8),
        "8 times too many: 16 bits are 2 bytes, and bytes_per_element counts bytes already.",
    ),
    "4 bytes for every element": Mistake(
        lambda n_layers, batch, g, h, s, size: kv_cache_bytes(n_layers, batch, g, h, s, 4),
        "Right for float32. In bfloat16 an element takes 2 bytes: use bytes_per_element.",
    ),
    "elements times 8": Mistake(
        over(lambda n_layers, batch, g, h, s, size: size / 8),
        "An element takes bytes_per_element bytes, 2 for 16 bits.",
    ),
    "bytes divided by 8": Mistake(
        in_units(8),
        "bytes_per_element counts bytes already, there are no bits to divide by 8.",
    ),
    "the tokens squared": Mistake(
        times(lambda n_layers, batch, g, h, s, size: s),
        "Scores are s × s, but they are not kept. The cache has one key and one value a token.",
    ),
    "head_dim squared": Mistake(
        times(lambda n_layers, batch, g, h, s, size: h),
        "h counts once: a key is one vector of h numbers.",
    ),
    "bytes_per_element added": Mistake(
        lambda *sizes: kv_cache_bytes(*sizes[:-1], 1) + sizes[-1],
        "Each element takes so many bytes: multiply.",
    ),
    "a product in 32 bits": Mistake(
        lambda *sizes: (kv_cache_bytes(*sizes) + 2**31) % 2**32 - 2**31,
        "Right while the product is below 2³¹, about 2 GB; beyond, an int32 starts again from "
        "below 0. Python's own numbers have no end: multiply those, or use int64.",
    ),
    **{
        f"{unit}, rounded": Mistake(
            lambda *sizes, size=size: kv_cache_bytes(*sizes) // size,
            "The function returns bytes; divide only to show them, and do not round before.",
        )
        for unit, size in UNITS.items()
        if unit in ("KiB", "kB")
    },
    "a tensor for a number": Mistake(
        lambda *sizes: torch.tensor(kv_cache_bytes(*sizes)),
        "The number is right. Return a plain one: .item() gives it.",
    ),
    **{
        unit: Mistake(in_units(size), "The function returns bytes; divide only to show them.")
        for unit, size in UNITS.items()
    },
}

STEP_MISTAKES = {
    **drawn(
        appending,
        "no scale",
        "scores divided by h",
        "no softmax",
        "keys in place of values",
        "a mask lined up with the upper left corner",
        "the empty places of the cache attended to",
    ),
    "cache.append called twice": Mistake(
        lambda q, k, v, cache: (cache.append(k, v), decode_step(q, k, v, cache))[1],
        "The new tokens are in the cache twice. One call does both: k, v = cache.append(k_new, "
        "v_new) stores them and gives back everything.",
    ),
    "what append gave back appended again": Mistake(
        lambda q, k, v, cache: (decode_step(q, k, v, cache), cache.append(*held(cache)))[0],
        "cache.append gives back everything so far, and you appended that as well. Append only "
        "k_new and v_new, and only once.",
    ),
    "the past left out": Mistake(
        only_the_new,
        "The new token sees only itself, so your output is v_new. Attend to what cache.append "
        "gives back: old and new.",
    ),
    "the past left out, and nothing stored": Mistake(
        lambda q, k, v, cache: causal_attention(q, k, v)[0],
        "The cache is never touched, and the new token sees only itself. cache.append(k_new, "
        "v_new) stores it and gives back everything.",
    ),
    "nothing stored": Mistake(
        joined,
        "The output is right, but the next step will not find these tokens: print cache.n_tokens "
        "before and after. cache.append does both.",
    ),
    "the new tokens not among what is read": Mistake(
        append_last,
        "A new token must see itself too: read what cache.append(k_new, v_new) gives back, old and "
        "new.",
    ),
    "the new tokens not among what is read, and no mask": Mistake(
        lambda q, k, v, cache: (attention(q, *held(cache))[0], cache.append(k, v))[0],
        "A new token must see itself too: read what cache.append(k_new, v_new) gives back, old and "
        "new, with causal attention.",
    ),
    "the weights in place of the output": Mistake(
        lambda q, k, v, cache: causal_attention(q, *cache.append(k, v))[1],
        "causal_attention gives two things, output and weights; return the first.",
    ),
    "k and v of two calls of append": Mistake(
        lambda q, k, v, cache: causal_attention(q, cache.append(k, v)[0], cache.append(k, v)[1])[0],
        "Each call stores the new tokens again. Call it once: k, v = cache.append(k_new, v_new).",
    ),
    "n_tokens counted up by hand as well": Mistake(
        counted_twice,
        "The output is right, but cache.append counts the new tokens already: the next step would "
        "leave a gap.",
    ),
    "the new tokens left out": Mistake(
        old_only,
        "k_new and v_new are never used. cache.append(k_new, v_new) stores them and gives back "
        "old and new.",
    ),
    "the past overwritten": Mistake(
        overwrite,
        "The new tokens went to position 0, and the cache lost what it knew. They belong behind "
        "cache.n_tokens, where cache.append puts them.",
    ),
    "the new tokens written over the first ones": Mistake(
        overwrite_start,
        "cache.k[:, :, :t] is where the oldest tokens lie, and cache.n_tokens did not move. Let "
        "cache.append write.",
    ),
    "n_tokens left behind": Mistake(
        not_counted,
        "The output is right, but cache.n_tokens is what it was: the next step would write over "
        "these tokens. cache.append counts them.",
    ),
    "the empty places of the cache attended to, without a mask": Mistake(
        appending(store=all_room, mask=None),
        "cache.k is the whole room, with zeros behind the last token, and a key of zeros gets "
        "weight too: exp(0) is 1. Use what cache.append gives back, and causal attention.",
    ),
    "every new token seeing the whole chunk": Mistake(
        appending(mask=None),
        "With one new token nothing has to be hidden. Of several, the first must not see the "
        "last: one call of causal attention for all of them. (Called for one query at a time, it "
        "takes each for the newest, which sees everything.)",
    ),
    "keys and values swapped": Mistake(
        lambda q, k, v, cache: decode_step(q, v, k, cache),
        "The order is append(k_new, v_new), and keys come back first.",
    ),
    "keys and values swapped in the cache": Mistake(
        lambda q, k, v, cache: causal_attention(q, *cache.append(v, k)[::-1])[0],
        "The output is right, but keys lie where values belong, and the next step will take them "
        "for those: append(k_new, v_new).",
    ),
    "k and v taken from the cache in the wrong order": Mistake(
        appending(read=lambda q, k, v: (q, v, k)),
        "All is stored well. But k and v changed places on the way to attention: append gives "
        "back k, v in this order, and causal_attention takes q, k, v.",
    ),
    "old and new joined with torch.cat, the empty places too": Mistake(
        joined_whole,
        "cache.k is the whole room, with zeros behind the last token. cache.append(k_new, v_new) "
        "stores the new ones behind the old, and gives back only those.",
    ),
    "only the last new token": Mistake(
        appending(read=lambda q, k, v: (q[:, :, -1:], k, v)),
        "With t = 1 that is right. In a chunk every new token gets an output: (b, n, t, h).",
    ),
    "the weights returned too": Mistake(
        lambda q, k, v, cache: causal_attention(q, *cache.append(k, v)),
        "causal_attention gives two things; return the first: output, _ = …",
    ),
}

EXERCISES = {
    "04.decode_step": Exercise(
        reference=decode_step,
        more="also takes K/V heads that are shared (06), and is faster for one new token",
        **drawing(
            step(1, 1, 1, 2, n_past=5),
            step(1, 2, 1, 3, n_past=0),
            step(2, 3, 4, 5, n_past=0),
            step(2, 3, 3, 5, n_past=4),
            step(2, 2, 2, 2, n_past=2),  # all equal; then each of them 1
            step(1, 3, 2, 4, n_past=5),
            step(2, 1, 3, 4, n_past=5),
            step(3, 2, 1, 4, n_past=5),
            step(2, 3, 4, 1, n_past=5),
            step(2, 3, 4, 5, n_past=1),
        ),
        returns=("output", "cache.n_tokens", "cache.k", "cache.v"),
        mistakes=STEP_MISTAKES,
        hints=(
            "A new token looks at everything before it and at itself. Where are those keys and "
            "values, and which of them does the next step need?",
            "Look at the cell that appends twice: what does append store, and what does it give "
            "back?",
            "cache.append(k_new, v_new) gives back all keys and values, old and new. q are the "
            "queries of the last t of them: causal attention from lesson 02 fits, as in slow_step.",
        ),
        play=take_step,
    ),
    "04.kv_cache_bytes": Exercise(
        reference=kv_cache_bytes,
        more="refuses sizes below 1",
        **drawing(
            given(1, 1, 1, 4, 3, 2),
            given(3, 5, 2, 7, 11, 2),
            given(3, 5, 2, 7, 11, 4),
            given(6, 3, 5, 16, 9, 1),
            given(2, 2, 2, 2, 2, 2),  # all equal; then each of them 1
            given(1, 5, 2, 7, 11, 4),
            given(3, 1, 2, 7, 11, 4),
            given(3, 5, 1, 7, 11, 4),
            given(3, 5, 2, 1, 11, 4),
            given(3, 5, 2, 7, 1, 4),
            given(126, 3, 7, 113, 9001, 2),  # more than 2³¹
            other=resized(kept=lambda *sizes: sizes[-1] in (1, 2, 4, 8)),
        ),
        returns=("the number of bytes",),
        mistakes=BYTES_MISTAKES,
        hints=(
            "512,000 is made of the four sizes in the shape, and three factors more. Which numbers "
            "does one token leave behind in one layer?",
            "A key and a value for each of the g K/V heads, h numbers each: 2 · g · h. The query "
            "heads leave nothing, so n is not in it.",
            "This many for each of s tokens, b sequences and l layers; then bytes for each number.",
        ),
        play=count_bytes,
    ),
}
