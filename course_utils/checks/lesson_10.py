"""Exercises of lesson 10: what is cached of a token, and scores against it as it is."""

import io
import math
from contextlib import redirect_stdout
from functools import partial
from typing import NamedTuple

import torch
from torch.nn.functional import layer_norm, rms_norm

from course_utils import ladder
from course_utils.attention import causal_mask, split_heads
from course_utils.checks.compare import close
from course_utils.checks.draws import drawing, redrawable, resized
from course_utils.checks.engine import Exercise, Mistake
from course_utils.checks.wrong import INF, drawn, interleaved_split, view_split
from course_utils.experiments.memory import Watch, largest_tensor
from course_utils.latent import MultiHeadLatentAttention
from course_utils.rope import frequencies, rotate, rotate_neighbours

EPS = 1e-6


def rope(x, start):
    """x (…, t, width) turned as at positions start to start + t - 1; any even width will do."""
    return rotate(x, start, frequencies(x.shape[-1]))


def numbers(random, *shape, dtype=torch.float64):
    """Numbers of size 1. Weights are no smaller: with tiny ones, most mistakes change little."""
    return torch.randn(shape, generator=random, dtype=torch.float64).to(dtype)


def join(*parts):
    """Parts of a row side by side."""
    return torch.cat(parts, dim=-1)


def as_halves(x, start):
    """RoPE that pairs neighbours, 0 with 1, 2 with 3, …, and lays them out as halves."""
    return rotate_neighbours(x, start, frequencies(x.shape[-1]))


def neighbours(x, start):
    """RoPE that pairs neighbours, and leaves them where they are."""
    return as_halves(x, start).unflatten(-1, (2, -1)).mT.flatten(-2)


def along_heads(x, start):
    """Positions counted along the axis in front of the tokens."""
    return rope(x.transpose(-3, -2), start).transpose(-3, -2)


def least(raw):
    """How many times as long x must be for the norm's eps to be nothing beside raw: 1 or more."""
    return (0.2 / raw.square().mean(-1, keepdim=True)).clamp(min=1).sqrt()


# From x to what is cached, and to keys and values


def parities(b, t, d, n, head_dim, rope_dim, kv_rank, *others):
    """Of the widths that RoPE may turn: it needs even ones."""
    return head_dim % 2, rope_dim % 2, kv_rank % 2


@redrawable(resized(most=16, kept=parities))
def tokens(
    b, t, d, n, head_dim, rope_dim, kv_rank, value_dim, start, dtype=torch.float64, seed=0
):  # fmt: skip
    """x, w_down, gain, w_up, n_heads, head_dim, start."""
    random = torch.Generator().manual_seed(b * t * d + n * head_dim * kv_rank + seed)
    x = numbers(random, b, t, d, dtype=dtype)
    w_down = 2 * numbers(random, kv_rank + rope_dim, d, dtype=dtype)  # eps is nothing beside it
    gain = 1.5 + numbers(random, kv_rank, dtype=dtype) / 2
    x = x * least(x @ w_down[:kv_rank].mT)
    w_up = numbers(random, n * (head_dim + value_dim), kv_rank, dtype=dtype)
    return x, w_down, gain, w_up, n, head_dim, start


def make(fn, x, w_down, gain, w_up, n_heads, head_dim, start):
    """What fn makes of x, given `rope` to turn with."""
    return fn(x, w_down, gain, w_up, n_heads, head_dim, rope, start)


class Made(NamedTuple):
    """All that is made of x on the way; key and turned (b, 1, t, rope_dim) are the RoPE key."""

    raw: torch.Tensor  # (b, t, kv_rank), before its norm
    latent: torch.Tensor
    key: torch.Tensor
    turned: torch.Tensor
    up: torch.Tensor  # (b, t, n · (head_dim + value_dim))
    plain: torch.Tensor  # (b, n, t, head_dim)
    values: torch.Tensor
    start: int

    def row(self, latent=None, key=None):
        """What is cached, or the same with another latent or RoPE key."""
        key = self.turned if key is None else key
        return join(self.latent if latent is None else latent, key[:, 0])

    def keys(self, plain=None, key=None):
        """The keys of all heads, or the same with another part."""
        plain = self.plain if plain is None else plain
        key = self.turned if key is None else key
        return join(plain, key.expand(-1, plain.shape[1], -1, -1))

    def in_front(self, x):
        """A row or keys with the RoPE key in front of the rest."""
        return x.roll(self.key.shape[-1], -1)


def latent_first(x, w_down, kv_rank):
    """The latent (b, t, kv_rank) and the RoPE key (b, 1, t, rope_dim)."""
    down = x @ w_down.mT
    return down[..., :kv_rank], down[:, None, :, kv_rank:]


def key_first(x, w_down, kv_rank):
    """The first rows of w_down taken for the RoPE key's."""
    down, rope_dim = x @ w_down.mT, len(w_down) - kv_rank
    return down[..., rope_dim:], down[:, None, :, :rope_dim]


def normed_as_one(x, w_down, kv_rank):
    """Both out of one norm over both, without a gain."""
    down = x @ w_down.mT
    down = rms_norm(down, down.shape[-1:], eps=EPS)
    return down[..., :kv_rank], down[:, None, :, kv_rank:]


def normed_heads(up, n, head_dim):
    """All that w_up makes out of one norm, then cut."""
    return head_by_head(rms_norm(up, up.shape[-1:], eps=EPS), n, head_dim)


def normed(raw, gain):
    return rms_norm(raw, gain.shape, gain, EPS)


def the_key(latent, key, start):
    """The RoPE key turned, and the latent as it is."""
    return latent, rope(key, start)


def both_as_one(latent, key, start):
    """RoPE over latent and RoPE key, as if they were one vector."""
    row = rope(join(latent, key[:, 0]), start)
    return row[..., : latent.shape[-1]], row[:, None, :, latent.shape[-1] :]


def head_by_head(up, n, head_dim, split=split_heads):
    """In each head first the key, then the value."""
    heads = split(up, n)
    return heads[..., :head_dim], heads[..., head_dim:]


def value_first(up, n, head_dim):
    """In each head first the value, then the key."""
    heads = split_heads(up, n)
    return heads[..., -head_dim:], heads[..., :-head_dim]


def all_keys_first(up, n, head_dim):
    """The keys of all heads, then the values of all."""
    keys, values = up[..., : n * head_dim], up[..., n * head_dim :]
    return split_heads(keys, n), split_heads(values, n)


def making(
    give=None, *, cut=latent_first, norm=normed, turn=the_key, heads=head_by_head,
    expand=lambda raw, latent, w_up: latent @ w_up.mT, row=Made.row, keys=Made.keys,
):  # fmt: skip
    """A latent_kv; each step that is given is done so.

    cut(x, w_down, kv_rank) are latent and RoPE key, norm(latent, gain) is the latent after it,
    turn(latent, key, start) are both turned, expand(raw, latent, w_up) what becomes keys and
    values, raw being the latent before its norm, heads(up, n, head_dim) are these; row(made) and
    keys(made) come back with the values, or give(made) in place of all three.
    """

    def wrong(x, w_down, gain, w_up, n_heads, head_dim, rope, start):
        raw, key = cut(x, w_down, len(gain))
        latent, turned = turn(norm(raw, gain), key, start)
        up = expand(raw, latent, w_up)
        made = Made(raw, latent, key, turned, up, *heads(up, n_heads, head_dim), start)
        return give(made) if give else (row(made), keys(made), made.values)

    return wrong


def turning_key(how):
    """A latent_kv with how(key, start) for the RoPE key."""
    return making(turn=lambda latent, key, start: (latent, how(key, start)))


def plain_turned(made):
    """Keys whose part without position is turned as well."""
    return made.keys(plain=rope(made.plain, made.start))


NORM = (
    "rms_norm(latent, (kv_rank,), gain, eps=1e-6), for the latent alone, before it is cached and "
    "before it is expanded."
)
COMPRESS = (
    "so the saving is gone: the heads' keys and values are what is too large to keep. Cache what "
    "they are made from, the latent after its norm and the one turned RoPE key, and expand to use."
)
SPLIT = (
    "w_up has its rows head by head, and in each head the head_dim of the key, then those of the "
    "value: make (b, n, t, head_dim + value_dim) first, then cut the last axis."
)
LAYOUT = "Weights are laid out as nn.Linear keeps them, a row for each output: multiply with .mT."
UNTURNED = "The latent carries no position, so that W_UK can be folded into the query."
WITHOUT = (
    "The part that w_up makes carries no position: turned, it could not be left in the latent."
)
PAIRS = (
    "The rope you are given makes a pair of number i and number i + rope_dim / 2. Use it as it is: "
    "only weights made for it (rope_interleave, in transformers) want neighbours paired."
)

KV_MISTAKES = {
    "the keys and values cached": Mistake(
        making(row=lambda x: join(x.keys(), x.values)),
        f"That is all heads' keys and values, {COMPRESS}",
    ),
    "what w_up makes cached": Mistake(
        making(row=lambda x: x.up), f"That is after the expansion, {COMPRESS}"
    ),
    "what w_up makes cached, with the RoPE key": Mistake(
        making(row=lambda x: x.row(latent=x.up)), f"That is after the expansion, {COMPRESS}"
    ),
    "no norm": Mistake(
        making(norm=lambda raw, gain: raw),
        f"gain is never used. The latent goes through an RMSNorm: {NORM}",
    ),
    "a latent cached before its norm": Mistake(
        making(row=lambda x: x.row(latent=x.raw)),
        "Keys and values are right, but who reads this cache would expand a raw latent, and get "
        "others: the norm is not done again. Cache the latent after its norm.",
    ),
    "a row cached as w_down makes it": Mistake(
        making(row=lambda x: x.row(x.raw, x.key)),
        "Keys and values are right, but nobody norms or turns what is read from a cache: cache the "
        "latent after its norm, and the RoPE key turned.",
    ),
    "keys and values made from the latent before its norm": Mistake(
        making(expand=lambda raw, latent, w_up: raw @ w_up.mT),
        "What is cached is right, keys and values are not what a later step would make from it. "
        "Expand the latent after its norm.",
    ),
    "a norm without its gain": Mistake(
        making(norm=lambda raw, gain: rms_norm(raw, gain.shape, eps=EPS)),
        f"After the norm each number is multiplied by a learned one, its gain: {NORM}",
    ),
    "a LayerNorm": Mistake(
        making(norm=lambda raw, gain: layer_norm(raw, gain.shape, gain, eps=EPS)),
        "LayerNorm takes the mean away first, RMSNorm does not: it divides by the root of the mean "
        f"square. {NORM}",
    ),
    "a norm without the mean": Mistake(
        making(norm=lambda raw, gain: raw / raw.norm(dim=-1, keepdim=True) * gain),
        "You divided by the root of the sum of squares; √kv_rank is missing. RMSNorm takes the "
        "root of their mean.",
    ),
    "one norm over all tokens": Mistake(
        making(norm=lambda raw, gain: raw / raw.square().mean().sqrt() * gain),
        "You took one mean over everything, so a token's latent depends on the tokens beside it. "
        "Each token has its own: mean over the last axis, keepdim=True.",
    ),
    "one norm over latent and RoPE key": Mistake(
        making(cut=normed_as_one, norm=lambda latent, gain: latent * gain),
        "The RoPE key has no norm, and must not change the latent's. Cut first, after kv_rank "
        f"numbers, then {NORM}",
    ),
    "the gain's norm asked of latent and RoPE key": Mistake(
        lambda x, w_down, gain, *rest: normed(x @ w_down.mT, gain),
        "gain has kv_rank numbers, w_down makes kv_rank + rope_dim. Cut first: the norm is the "
        "latent's alone.",
    ),
    "the norm behind the expansion, without its gain": Mistake(
        making(norm=lambda raw, gain: raw, heads=normed_heads),
        "The norm is the latent's, and it is cached after it: norm first, with its gain, then "
        "expand.",
    ),
    "the norm behind the expansion": Mistake(
        lambda x, w_down, gain, w_up, *rest: normed(x @ w_down[: len(gain)].mT @ w_up.mT, gain),
        "gain has kv_rank numbers, what w_up makes has n · (head_dim + value_dim). The norm is the "
        "latent's: norm first, then expand.",
    ),
    "RoPE on the latent too": Mistake(
        making(turn=lambda latent, key, start: (rope(latent, start), rope(key, start))),
        f"{UNTURNED} Turn the RoPE key alone.",
    ),
    "RoPE over latent and RoPE key as one": Mistake(
        making(turn=both_as_one), f"{UNTURNED} Cut the row first, and turn the RoPE key alone."
    ),
    "RoPE on the part without position too": Mistake(
        making(keys=plain_turned), f"{WITHOUT} Only the RoPE key is turned."
    ),
    "RoPE on the part without position in place of the RoPE key": Mistake(
        making(keys=plain_turned, turn=lambda latent, key, start: (latent, key)),
        f"{WITHOUT} It is the RoPE key that is turned, the last rope_dim numbers that w_down "
        "makes.",
    ),
    "RoPE over the whole key": Mistake(
        making(keys=lambda x: rope(x.keys(key=x.key), x.start)),
        f"{WITHOUT} Turn the RoPE key before you join it to the keys, and turn it alone.",
    ),
    "no RoPE": Mistake(
        turning_key(lambda key, start: key),
        "Then no key knows its place. rope(rope_key, start) turns the last rope_dim numbers that "
        "w_down makes, as (b, 1, t, rope_dim), before they are cached.",
    ),
    "a RoPE key cached before its turn": Mistake(
        making(row=lambda x: x.row(key=x.key)),
        "The keys are right. But a row does not say later where its token stood: cache the RoPE "
        "key turned, as it stands in the keys.",
    ),
    "a RoPE key that is turned in the cache only": Mistake(
        making(keys=lambda x: x.keys(key=x.key)),
        "What is cached is right. In the keys the same turned RoPE key belongs: turn it once, then "
        "use it in both places.",
    ),
    "start left out": Mistake(
        turning_key(lambda key, start: rope(key, 0)),
        "A token's place is counted from the start of the sequence, not of this call: else every "
        "chunk begins anew, and distances between chunks are wrong. rope(…, start).",
    ),
    "every token at the place of the first": Mistake(
        turning_key(along_heads),
        "rope counts along the axis before the last. Give it (b, 1, t, rope_dim), the heads in "
        "front of the tokens: rope_key[:, None], not [:, :, None].",
    ),
    "neighbours turned as pairs": Mistake(turning_key(neighbours), PAIRS),
    "neighbours turned as pairs, and laid out as halves": Mistake(turning_key(as_halves), PAIRS),
    "a RoPE key cached for each head": Mistake(
        making(row=lambda x: join(x.latent, x.turned[:, 0].repeat(1, 1, x.plain.shape[1]))),
        "There is one RoPE key a token, and all heads read it: cache it once, kv_rank + rope_dim "
        "numbers in all. expand hands it to the heads, and copies nothing.",
    ),
    "the RoPE key left out of what is cached": Mistake(
        making(row=lambda x: x.latent),
        "The RoPE key cannot be made from the latent: it comes from x, and x is gone in the next "
        "step. Cache kv_rank + rope_dim numbers; in DeepSeek-V3 512 + 64, not 512.",
    ),
    "keys without the RoPE key": Mistake(
        making(keys=lambda x: x.plain),
        "These keys know no place. Each is head_dim + rope_dim wide: join the shared RoPE key to "
        "every head's own part.",
    ),
    "the RoPE key nowhere": Mistake(
        making(row=lambda x: x.latent, keys=lambda x: x.plain),
        "w_down makes kv_rank + rope_dim numbers, and you used kv_rank. The others are the RoPE "
        "key: turn it, cache it behind the latent, and join it to every head's key.",
    ),
    "the RoPE key cached in front of the latent": Mistake(
        making(row=lambda x: x.in_front(x.row())),
        "All is there, in another order: first the latent, then the RoPE key.",
    ),
    "the RoPE key in front of each key": Mistake(
        making(keys=lambda x: x.in_front(x.keys())),
        "In a key the part without position comes first, as in a query: else they are compared "
        "crosswise.",
    ),
    "the RoPE key in front, cached and in each key": Mistake(
        making(row=lambda x: x.in_front(x.row()), keys=lambda x: x.in_front(x.keys())),
        "All is there, in another order: first the latent, then the RoPE key; in a key first the "
        "part without position.",
    ),
    "the first rows of w_down taken for the RoPE key's": Mistake(
        making(cut=key_first),
        "w_down has first kv_rank rows for the latent, then rope_dim for the RoPE key.",
    ),
    "w_up split into all keys, then all values": Mistake(making(heads=all_keys_first), SPLIT),
    "a head's value before its key": Mistake(
        making(heads=value_first),
        f"You took the first rows of each head for its value. {SPLIT}",
    ),
    "heads interleaved": Mistake(
        making(heads=partial(head_by_head, split=interleaved_split)),
        f"A head is rows side by side, yours are every n-th one. {SPLIT}",
    ),
    "a split without a transpose": Mistake(
        making(heads=partial(head_by_head, split=view_split)),
        "Your heads hold pieces of other tokens: view(b, t, n, -1) first, then transpose(1, 2); "
        "or split_heads of lesson 03.",
    ),
    "the heads behind the tokens": Mistake(
        making(lambda x: (x.row(), x.keys().transpose(1, 2), x.values.transpose(1, 2))),
        "Keys and values are (b, t, n, …), and the heads belong in front: transpose(1, 2).",
    ),
    "values, keys in place of keys, values": Mistake(
        making(lambda x: (x.row(), x.values, x.keys())), "The order is cached, keys, values."
    ),
    "an axis of heads in what is cached": Mistake(
        making(row=lambda x: x.row()[:, None]),
        "The numbers are right. A row belongs to a token and to no head: (b, t, kv_rank + "
        "rope_dim), without an axis of length 1.",
    ),
    "the row in two pieces": Mistake(
        making(lambda x: (x.latent, x.turned[:, 0], x.keys(), x.values)),
        "All numbers are right. Cache one row: torch.cat([latent, rope_key], dim=-1).",
    ),
    "what is cached alone": Mistake(
        making(Made.row),
        "This row is right, and the first half is done. Now expand: latent @ w_up.mT holds every "
        "head's key and value; cut it, and join the RoPE key to each key.",
    ),
    "w_down not transposed": Mistake(lambda x, w_down, *rest: x @ w_down, LAYOUT),
    "w_up not transposed": Mistake(making(expand=lambda raw, latent, w_up: latent @ w_up), LAYOUT),
    "one RoPE key where n are to be joined": Mistake(
        making(keys=lambda x: join(x.plain, x.turned)),
        "torch.cat stretches nothing. rope_key.expand(-1, n_heads, -1, -1) hands (b, 1, t, "
        "rope_dim) to all heads, without a copy.",
    ),
    "a RoPE key without an axis of heads": Mistake(
        making(keys=lambda x: join(x.plain, x.turned[:, 0])),
        "Each head's part is (b, n, t, head_dim), the RoPE key (b, t, rope_dim): give it an axis, "
        "[:, None], then expand it to n heads.",
    ),
}

# Scores against what is cached, as it is


@redrawable(resized(most=16, kept=parities))
def asked(b, n, t, s, head_dim, rope_dim, kv_rank, value_dim, dtype=torch.float64, seed=0):
    """q, cached, w_up."""
    random = torch.Generator().manual_seed(b * n * t * s + head_dim * kv_rank + seed)
    q = numbers(random, b, n, t, head_dim + rope_dim, dtype=dtype)
    cached = numbers(random, b, s, kv_rank + rope_dim, dtype=dtype)
    return q, cached, numbers(random, n * (head_dim + value_dim), kv_rank, dtype=dtype)


class Sizes(NamedTuple):
    """The sizes of a probe; b is in none of the mistakes."""

    n: int
    t: int
    s: int
    head_dim: int
    rope_dim: int
    kv_rank: int

    @property
    def width(self):
        """Of a query."""
        return self.head_dim + self.rope_dim

    @property
    def start(self):
        """The place of the first query."""
        return self.s - self.t


def sizes(q, cached, w_up):
    (n, t, width), (s, row), kv_rank = q.shape[1:], cached.shape[1:], w_up.shape[1]
    return Sizes(n, t, s, width - (row - kv_rank), row - kv_rank, kv_rank)


# In a probe with as many tokens, keys of heads are told by how many numbers they have: s and the
# widths of a key, with its RoPE part, without it, or with the value behind it, are primes there.
LONG = 31
NOTHING, KEYS = "nothing for a single head", "keys for single heads"


def telling(b, n, t, s, head_dim, rope_dim, kv_rank, value_dim):
    """Whether only keys of heads can have as many numbers as those; and what must be even."""
    widths = head_dim, head_dim + rope_dim, head_dim + value_dim
    others = math.prod((b, n, t, rope_dim, kv_rank, kv_rank + rope_dim))
    return s, rope_dim % 2, all(is_prime(w) and others % w for w in widths)


def is_prime(x):
    return x > 1 and all(x % y for y in range(2, x))


def score(fn, q, cached, w_up):
    """The scores that fn gives; where they are right, also what it made for single heads."""
    got = fn(q, cached, w_up, rope)
    if got is None or got is ...:
        return got
    told = cached.shape[1] == LONG and close(got, ladder.absorbed_scores(q, cached, w_up, rope))
    return got, KEYS if told and makes_keys(fn, q, cached, w_up) else NOTHING


def makes_keys(fn, q, cached, w_up):
    """Whether fn makes keys of heads on the way, of all at once or of one after the other."""
    z, found = sizes(q, cached, w_up), []
    widths = z.head_dim, z.width, len(w_up) // z.n

    def see(x):
        found.append(x.numel() > 0 and any(x.numel() % (z.s * w) == 0 for w in widths))

    with Watch(see), redirect_stdout(io.StringIO()):
        fn(q, cached, w_up, rope)
    return any(found)


def copies(fn):
    """A remark on the memory an answer takes: whether it makes as much as copies of what is cached.

    One query for each of 2 sequences, in float64: only copies of cached can exceed it.
    """
    q, cached, w_up = asked(2, 8, 1, 64, head_dim=4, rope_dim=4, kv_rank=12, value_dim=4).made()
    with redirect_stdout(io.StringIO()):
        made = largest_tensor(fn, q, cached, w_up, rope)
    if made <= cached.nbytes:
        return f"And no tensor on the way was larger than cached: {cached.nbytes:,} bytes here."
    return (
        "But you paid for the memory you wanted to save: on the way your function made a tensor of "
        f"{made:,} bytes, {made // cached.nbytes} × the {cached.nbytes:,} bytes of cached. repeat "
        "copies it for every head, and so does matmul with a cached[:, None] that it must stretch: "
        "fold heads and queries into rows, (b, n · t, …), as in lesson 05."
    )


def heads_rows(w_up, z):
    """The rows (n, head_dim + value_dim, kv_rank) of each head."""
    return w_up.unflatten(0, (z.n, -1))


def key_rows(w_up, z):
    """W_UK (n, head_dim, kv_rank): in each head the first head_dim rows."""
    return heads_rows(w_up, z)[:, : z.head_dim]


def content_first(q, z):
    """The part of q without position, and the part to be turned."""
    return q[..., : z.head_dim], q[..., z.head_dim :]


def content_turned(q, z):
    """The same, but that the part without position is turned."""
    return rope(q[..., : z.head_dim], z.start), q[..., z.head_dim :]


def turned(x, z):
    return rope(x, z.start)


def as_it_is(x, z):
    return x


def latent_and_key(cached, z):
    """What is cached, cut."""
    return cached[..., : z.kv_rank], cached[..., z.kv_rank :]


def against(rows, keys):
    """All heads' rows (b, n, t, c) against keys (b, s, c) that have no heads."""
    return (rows.flatten(1, 2) @ keys.mT).unflatten(1, rows.shape[1:3])


def scoring(
    *, parts=content_first, rows=key_rows, absorb=lambda content, rows, z: content @ rows,
    turn=turned, read=latent_and_key, square=lambda z: z.width, square_rope=None,
    mask=causal_mask, fill=-INF, give=None,
):  # fmt: skip
    """An absorbed_scores; each step that is given is done so.

    parts(q, z) are content and position of the queries, z their Sizes; rows(w_up, z) what is
    absorbed, absorb(content, rows, z) the result; turn(position, z) is the position turned,
    read(cached, z) are latents and RoPE keys. The content's products are divided by √square(z),
    the position's by √square_rope(z) if that is another; fill stands where mask(t, s) is False;
    give(scores) comes back.
    """

    def wrong(q, cached, w_up, rope):
        z = sizes(q, cached, w_up)
        content, position = parts(q, z)
        latents, keys = read(cached, z)
        scores = against(absorb(content, rows(w_up, z), z), latents) / square(z) ** 0.5
        scores = scores + against(turn(position, z), keys) / (square_rope or square)(z) ** 0.5
        scores = scores.masked_fill(~mask(z.t, z.s), fill) if mask else scores
        return give(scores) if give else scores

    return wrong


def scaled(see, square, square_rope=None):
    """The mistake of another scale, or of one for each part."""
    return Mistake(scoring(square=square, square_rope=square_rope), f"{see} {SCALE}".lstrip())


def placed(see, start):
    """The mistake of queries turned as if the first stood at start(z)."""
    return Mistake(scoring(turn=lambda x, z: rope(x, start(z))), f"{STARTS} {see}")


def expanded(q, cached, w_up, rope):
    """Right, by way of the keys of all heads."""
    z = sizes(q, cached, w_up)
    latents, rope_keys = latent_and_key(cached, z)
    plain = split_heads(latents @ w_up.mT, z.n)[..., : z.head_dim]
    keys = join(plain, rope_keys[:, None].expand(-1, z.n, -1, -1))
    scores = join(q[..., : z.head_dim], rope(q[..., z.head_dim :], z.start)) @ keys.mT
    return (scores / math.sqrt(z.width)).masked_fill(~causal_mask(z.t, z.s), -INF)


SCALE = (
    "A score is q · k of a query and a key with head_dim + rope_dim numbers. Absorbing orders the "
    "products otherwise and changes no score, so the scale stays 1 / √(head_dim + rope_dim), for "
    "the sum of both parts."
)
STARTS = "The queries are the last t of s tokens, so the first of them stands at s - t."
ROWS = (
    "w_up has its rows head by head, and in each head the head_dim of the key, then those of the "
    "value: w_up.view(n, -1, kv_rank)[:, :head_dim]."
)
TURNLESS = "The first head_dim numbers of a query carry no position, nor do the latents they meet."

SCORE_MISTAKES = {
    **drawn(
        scoring,
        "a mask lined up with the upper left corner",
        "s - t the wrong way round",
        "a word that cannot see itself",
        "a look one word ahead",
        "triu in place of tril",
    ),
    "the keys of the heads expanded": Mistake(
        expanded,
        "The numbers are right, but on the way keys of the heads were made, s of them: that is the "
        "expanded form, done anew in every step. Multiply the query with the head's rows W_UK of "
        "w_up instead, head_dim → kv_rank numbers: then it meets the latents as they are. (One "
        "einsum of all three may expand as well: do it in two.)",
    ),
    "the values' rows absorbed": Mistake(
        scoring(rows=lambda w_up, z: heads_rows(w_up, z)[:, z.head_dim :]),
        f"That is W_UV, which is folded into the output. Keys are made by W_UK: {ROWS}",
    ),
    "a head's last rows absorbed": Mistake(
        scoring(rows=lambda w_up, z: heads_rows(w_up, z)[:, -z.head_dim :]),
        f"These are the last rows of each head. {ROWS}",
    ),
    "w_up split into all keys, then all values": Mistake(
        scoring(rows=lambda w_up, z: w_up[: z.n * z.head_dim].unflatten(0, (z.n, -1))), ROWS
    ),
    "heads interleaved": Mistake(
        scoring(rows=lambda w_up, z: w_up.unflatten(0, (-1, z.n)).transpose(0, 1)[:, : z.head_dim]),
        f"A head is rows side by side, yours are every n-th one. {ROWS}",
    ),
    "the rows of one head for all": Mistake(
        scoring(rows=lambda w_up, z: key_rows(w_up, z)[:1]),
        f"All heads share a latent, but each has rows of its own in w_up. {ROWS}",
    ),
    "w_up absorbed whole": Mistake(
        scoring(rows=heads_rows),
        "A head's rows are head_dim of the key and value_dim of the value; the query meets the "
        f"key's. {ROWS}",
    ),
    "W_UK absorbed the wrong way round": Mistake(
        scoring(absorb=lambda content, rows, z: content @ rows.mT),
        "A key is W_UK c, so q · (W_UK c) = (W_UKᵀ q) · c. A query is a row here, and W_UKᵀ q is "
        "q @ W_UK: W_UK (head_dim, kv_rank) as it stands in w_up, without a transpose.",
    ),
    "nothing absorbed": Mistake(
        scoring(absorb=lambda content, rows, z: content),
        "A query has head_dim numbers, a latent kv_rank: they are not of one space, and where they "
        "happen to be equally long, the score means nothing. Multiply the query with W_UK first.",
    ),
    "the scale of the latent space": scaled(
        "You divided by √(kv_rank + rope_dim), after absorbing.", lambda z: z.kv_rank + z.rope_dim
    ),
    "the scale of the latent": scaled("You divided by √kv_rank.", lambda z: z.kv_rank),
    "the scale of the part without position": scaled(
        "You divided by √head_dim.", lambda z: z.head_dim
    ),
    "content and position scaled apart": scaled(
        "You divided each part by a root of its own.", lambda z: z.head_dim, lambda z: z.rope_dim
    ),
    "content scaled alone": scaled(
        "The position is not scaled: / binds more tightly than +.", lambda z: z.width, lambda z: 1
    ),
    "position scaled alone": scaled(
        "The content is not scaled: / binds more tightly than +.", lambda z: 1, lambda z: z.width
    ),
    "no scale": scaled("", lambda z: 1),
    "scores divided by head_dim + rope_dim": scaled("The root is missing.", lambda z: z.width**2),
    "scores divided by √(n · (head_dim + rope_dim))": scaled(
        "That is the width of all heads.", lambda z: z.n * z.width
    ),
    "nothing hidden": Mistake(
        scoring(mask=None),
        "One new token needs no mask, several do: the first of them must not see the last. Where "
        "causal_mask(t, s) is False, the score is -inf.",
    ),
    "a mask turned round": Mistake(
        scoring(mask=lambda t, s: ~causal_mask(t, s)),
        "You hid what may be seen. causal_mask is True there: masked_fill(~mask, -inf).",
    ),
    "0 in place of -inf": Mistake(
        scoring(fill=0.0),
        "A score of 0 still gets weight: exp(0) is 1. What is hidden is -inf, before the softmax.",
    ),
    **{
        f"{fill:g} in place of -inf": Mistake(
            scoring(fill=fill),
            "It is as good as hidden, but the scores asked for have -inf there: float('-inf').",
        )
        for fill in (-1e4, -1e9, torch.finfo(torch.float32).min)
    },
    "softmax already": Mistake(
        scoring(give=lambda scores: scores.softmax(-1)),
        "These are weights. Return the scores before the softmax.",
    ),
    "no RoPE": Mistake(
        scoring(turn=as_it_is),
        f"The cached RoPE keys are turned, the queries are not. {STARTS} rope(…, s - t) turns "
        "their last rope_dim numbers.",
    ),
    "queries at position 0": placed("Only with an empty cache that is 0.", lambda z: 0),
    "queries behind the last token": placed("s counts the new tokens already.", lambda z: z.s),
    "queries from the place of the last token on": placed(
        "Right for t = 1 only.", lambda z: z.s - 1
    ),
    "queries one place too far back": placed("Places count from 0.", lambda z: z.start - 1),
    "queries one place too far on": placed("Places count from 0.", lambda z: z.start + 1),
    "neighbours turned as pairs": Mistake(scoring(turn=lambda x, z: neighbours(x, z.start)), PAIRS),
    "neighbours turned as pairs, and laid out as halves": Mistake(
        scoring(turn=lambda x, z: as_halves(x, z.start)), PAIRS
    ),
    "RoPE on the part without position too": Mistake(
        scoring(parts=content_turned), f"{TURNLESS} Turn the last rope_dim numbers only."
    ),
    "RoPE on the part without position alone": Mistake(
        scoring(parts=content_turned, turn=as_it_is),
        f"{TURNLESS} Turn the last rope_dim numbers, and those only.",
    ),
    "RoPE over the whole query": Mistake(
        scoring(parts=lambda q, z: content_first(turned(q, z), z), turn=as_it_is),
        f"{TURNLESS} Cut the query first, and turn its last rope_dim numbers.",
    ),
    "RoPE on the absorbed query too": Mistake(
        scoring(absorb=lambda content, rows, z: turned(content @ rows, z)),
        "The latents carry no position, so what meets them must not either. Turn the last "
        "rope_dim numbers of the query only.",
    ),
    "the cached RoPE key turned again": Mistake(
        scoring(
            read=lambda cached, z: (cached[..., : z.kv_rank], rope(cached[..., z.kv_rank :], 0))
        ),
        "It was turned when it was cached. Turn the queries only.",
    ),
    "the query's RoPE part taken from the front": Mistake(
        scoring(parts=lambda q, z: (q[..., z.rope_dim :], q[..., : z.rope_dim])),
        "A query has first head_dim numbers without position, then the rope_dim that are turned.",
    ),
    "the RoPE key taken from the front of what is cached": Mistake(
        scoring(read=lambda cached, z: (cached[..., z.rope_dim :], cached[..., : z.rope_dim])),
        "A cached row has first the latent, kv_rank numbers, then the RoPE key.",
    ),
    "content alone": Mistake(
        scoring(turn=lambda x, z: 0 * x),
        "The RoPE key takes no part, so a score does not know how far apart two tokens are. Add "
        "the turned part of the query times the cached RoPE key: 512 + 64 numbers in DeepSeek-V3.",
    ),
    "heads and queries left in one axis": Mistake(
        scoring(give=lambda scores: scores.flatten(1, 2)),
        "All numbers are right, on three axes. Give the heads theirs back: (b, n, t, s).",
    ),
    "rows (n, t) read as (t, n)": Mistake(
        scoring(give=lambda x: x.reshape(x.transpose(1, 2).shape).transpose(1, 2)),
        "You folded the heads before the queries, and unfolded the queries before the heads: "
        "view(b, n, t, s) is all.",
    ),
    "the heads in front of the batch": Mistake(
        scoring(give=lambda scores: scores.transpose(0, 1)),
        "That is (n, b, t, s). The batch stays in front: torch.stack(…, dim=1).",
    ),
}

EXERCISES = {
    "10.latent_kv": Exercise(
        reference=ladder.latent_kv,
        more="also makes the queries and the output, as a layer",
        layer=MultiHeadLatentAttention,
        **drawing(  # b, t, d, n, head_dim, rope_dim, kv_rank, value_dim, start
            tokens(1, 3, 5, 2, 2, 4, 6, 3, start=2),
            tokens(2, 5, 9, 3, 6, 4, 8, 10, start=7),
            tokens(3, 4, 7, 2, 5, 6, 9, 4, start=11),
            tokens(2, 3, 11, 5, 4, 8, 6, 7, start=0),
            tokens(4, 4, 4, 4, 4, 4, 4, 4, start=4),  # all equal; then some of them 1
            tokens(1, 4, 6, 3, 2, 4, 8, 5, start=3),
            tokens(2, 1, 6, 3, 4, 6, 8, 5, start=3),
            tokens(2, 3, 1, 4, 2, 4, 6, 5, start=9),
            tokens(2, 4, 6, 1, 8, 4, 10, 3, start=5),
            tokens(3, 2, 6, 4, 1, 4, 8, 5, start=6),
            tokens(2, 4, 6, 3, 2, 6, 3, 5, start=3),
            tokens(3, 4, 5, 2, 6, 2, 8, 1, start=1),
            tokens(2, 3, 7, 4, 6, 4, 10, 5, start=8, dtype=torch.float32),
        ),
        returns=("cached", "keys", "values"),
        mistakes=KV_MISTAKES,
        hints=(
            "What must stay of a token so that every head's key and value can be made again "
            "without x? And which part of a key cannot be made from the latent?",
            "x @ w_down.mT holds the latent, as many numbers as gain has, then the RoPE key. The "
            "latent goes through torch.nn.functional.rms_norm(…, (kv_rank,), gain, eps=1e-6), the "
            "RoPE key as (b, 1, t, rope_dim) through rope(…, start). Side by side they are cached.",
            "library.split_heads(latent @ w_up.mT, n_heads) is (b, n, t, head_dim + value_dim): in "
            "each head first the key's part, then the value. rope_key.expand(-1, n_heads, -1, -1) "
            "hands the one RoPE key to all heads, and torch.cat joins it behind each key's part.",
        ),
        play=make,
    ),
    "10.absorbed_scores": Exercise(
        reference=ladder.absorbed_scores,
        more="also makes the queries and the output, as a layer",
        layer=MultiHeadLatentAttention,
        **drawing(  # b, n, t, s, head_dim, rope_dim, kv_rank, value_dim
            asked(1, 2, 3, 5, 2, 4, 6, 2),
            asked(2, 3, 4, 7, 6, 4, 8, 5),
            asked(3, 2, 4, 9, 5, 6, 4, 7),
            asked(4, 4, 4, 4, 4, 4, 4, 4),  # all equal; then b, n, t, s and kv_rank 1
            asked(1, 3, 2, 6, 4, 6, 8, 5),
            asked(2, 1, 3, 8, 4, 6, 10, 2),
            asked(3, 2, 1, 6, 6, 4, 8, 9),
            asked(2, 3, 1, 1, 4, 6, 8, 5),
            asked(2, 3, 4, 6, 3, 4, 2, 5),
            asked(2, 4, 3, 7, 2, 4, 1, 3),
            asked(2, 4, 3, 5, 6, 2, 4, 3),
            asked(3, 4, 2, 9, 6, 8, 10, 5, dtype=torch.float32),
            asked(2, 7, 3, LONG, 11, 6, 23, 8)._replace(other=resized(most=24, kept=telling)),
        ),
        returns=("scores", "what was made on the way"),
        mistakes=SCORE_MISTAKES,
        hints=(
            "A head's key is W_UK c, so q · (W_UK c) = (W_UKᵀ q) · c. Which of the two products "
            "needs no key of a head?",
            "w_up.unflatten(0, (n, -1))[:, :head_dim] is W_UK of all heads, (n, head_dim, "
            "kv_rank); with it q[..., :head_dim] is absorbed, q @ w_uk, into kv_rank numbers. The "
            "queries start at s - t: turn their other numbers there. Both side by side are as wide "
            "as a cached row.",
            "All heads read the same rows, so fold (b, n, t, …) to (b, n · t, …) with flatten(1, "
            "2) before you multiply with cached.mT, and unfold afterwards. Divide by the root of "
            "q's own width, and put -inf where library.causal_mask(t, s) is False.",
        ),
        play=score,
        remark=copies,
    ),
}
