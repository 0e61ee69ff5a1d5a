"""Exercises of lesson 10: what is cached of a token, and scores against it as it is."""

import io
import math
from contextlib import redirect_stdout
from typing import NamedTuple

import torch
from torch.nn.functional import layer_norm, rms_norm

from course_utils import ladder
from course_utils.attention import causal_mask, split_heads
from course_utils.checks.compare import close
from course_utils.checks.engine import Exercise, Mistake
from course_utils.checks.wrong import INF, drawn, interleaved_split, view_split
from course_utils.experiments.memory import Watch
from course_utils.latent import MultiHeadLatentAttention
from course_utils.rope import frequencies, rotate

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


# From x to what is cached, and to keys and values


def tokens(b, t, d, n, head_dim, rope_dim, kv_rank, value_dim, start, dtype=torch.float64):
    """x, w_down, gain, w_up, n_heads, head_dim, start."""
    random = torch.Generator().manual_seed(b * t * d + n * head_dim * kv_rank)
    x = numbers(random, b, t, d, dtype=dtype)
    w_down = 2 * numbers(random, kv_rank + rope_dim, d, dtype=dtype)  # eps is nothing beside it
    gain = 1.5 + numbers(random, kv_rank, dtype=dtype) / 2
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


def normed(raw, key, gain):
    """RMSNorm of the latent alone."""
    return rms_norm(raw, gain.shape, gain, EPS), key


def turned_from_start(key, start):
    return rope(key, start)


def latent_first(x, w_down, kv_rank):
    """The latent (b, t, kv_rank) and the RoPE key (b, 1, t, rope_dim)."""
    down = x @ w_down.mT
    return down[..., :kv_rank], down[:, None, :, kv_rank:]


def up_from(latent, w_up):
    return latent @ w_up.mT


def head_by_head(up, n, head_dim):
    """In each head first the key, then the value."""
    heads = split_heads(up, n)
    return heads[..., :head_dim], heads[..., head_dim:]


def latent_turned(turn):
    """RoPE on the latent before it is cached and expanded; turn(key, start) is the RoPE key."""

    def wrong(*given):
        start = given[-1]
        return making(
            norm=lambda raw, key, gain: (rope(normed(raw, key, gain)[0], start), key), turn=turn
        )(*given)

    return wrong


def all_three(made):
    return made.row(), made.keys(), made.values


def making(
    give=all_three, *, cut=latent_first, norm=normed, turn=turned_from_start, expand=up_from,
    heads=head_by_head, from_raw=False,
):  # fmt: skip
    """A latent_kv; each step that is given is done so.

    cut(x, w_down, kv_rank) are latent and RoPE key, norm(latent, key, gain) both after the norm,
    turn(key, start) is the key turned, expand(latent, w_up) what becomes keys and values, from the
    raw latent if so wanted, heads(up, n, head_dim) are these; give(made) comes back.
    """

    def wrong(x, w_down, gain, w_up, n_heads, head_dim, rope, start):
        raw, key = cut(x, w_down, len(gain))
        latent, key = norm(raw, key, gain)
        up = expand(raw if from_raw else latent, w_up)
        turned = turn(key, start)
        return give(Made(raw, latent, key, turned, up, *heads(up, n_heads, head_dim), start))

    return wrong


def norming(how):
    """A latent_kv with another norm of the latent: how(latent, gain)."""
    return making(norm=lambda raw, key, gain: (how(raw, gain), key))


def over_both(raw, key, gain):
    """One norm over latent and RoPE key; the gain multiplies the latent."""
    both = join(raw, key[:, 0])
    both = rms_norm(both, both.shape[-1:], eps=EPS)
    rank = len(gain)
    return both[..., :rank] * gain, both[:, None, :, rank:]


def key_first(x, w_down, kv_rank):
    """The first rows of w_down taken for the RoPE key's."""
    down, rope_dim = x @ w_down.mT, len(w_down) - kv_rank
    return down[..., rope_dim:], down[:, None, :, :rope_dim]


def not_transposed(x, w_down, kv_rank):
    """Weights taken for (d, kv_rank + rope_dim)."""
    down = x @ w_down
    return down[..., :kv_rank], down[:, None, :, kv_rank:]


def up_normed(latent, w_up):
    """The norm behind the expansion, where the gain does not fit."""
    up = latent @ w_up.mT
    return rms_norm(up, up.shape[-1:], eps=EPS)


def value_first(up, n, head_dim):
    """In each head first the value, then the key."""
    heads = split_heads(up, n)
    return heads[..., -head_dim:], heads[..., :-head_dim]


def all_keys_first(up, n, head_dim):
    """The keys of all heads, then the values of all."""
    keys, values = up[..., : n * head_dim], up[..., n * head_dim :]
    return split_heads(keys, n), split_heads(values, n)


def all_values_first(up, n, head_dim):
    """The values of all heads, then the keys of all."""
    values, keys = up[..., : -n * head_dim], up[..., -n * head_dim :]
    return split_heads(keys, n), split_heads(values, n)


def cut_by(split):
    """Heads made by another split_heads."""

    def heads(up, n, head_dim):
        both = split(up, n)
        return both[..., :head_dim], both[..., head_dim:]

    return heads


def neighbours(x, start):
    """RoPE that pairs neighbours, 0 with 1, 2 with 3, …, and leaves them where they are."""
    return rope(apart(x), start).unflatten(-1, (2, -1)).mT.flatten(-2)


def apart(x):
    """Numbers 0, 2, 4, …, then 1, 3, 5, …: halves out of neighbours."""
    return x.unflatten(-1, (-1, 2)).mT.flatten(-2)


def along_heads(x, start):
    """Positions counted along the axis in front of the tokens."""
    return rope(x.transpose(-3, -2), start).transpose(-3, -2)


def whole_row(made):
    """RoPE over latent and RoPE key, as if they were one vector."""
    row = rope(join(made.latent, made.key[:, 0]), made.start)
    return row, made.keys(key=row[:, None, :, made.latent.shape[-1] :]), made.values


def whole_keys(made):
    """RoPE over all numbers of each head's key; what is cached is right."""
    return made.row(), rope(made.keys(key=made.key), made.start), made.values


def key_per_head(made):
    """The RoPE key cached once for each head."""
    n = made.plain.shape[1]
    row = join(made.latent, made.turned[:, 0].repeat(1, 1, n))
    return row, made.keys(), made.values


def merged(x):
    """Heads (b, n, t, …) side by side."""
    return x.transpose(1, 2).flatten(2)


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
PLACES = (
    "A token's place is counted from the start of the sequence, not of this call: rope(…, start). "
)
UNTURNED = "The latent carries no position, so that W_UK can be folded into the query."
WITHOUT = (
    "The part that w_up makes carries no position: turned, it could not be left in the latent."
)
TURNLESS = "The first head_dim numbers of a query carry no position, nor do the latents they meet."
PAIRS = (
    "The rope you are given makes a pair of number i and number i + rope_dim / 2. Use it as it is: "
    "neighbours are paired by other weights."
)

KV_MISTAKES = {
    "the keys and values cached, head by head": Mistake(
        making(lambda x: (join(x.keys(), x.values), x.keys(), x.values)),
        f"That is all heads' keys and values, {COMPRESS}",
    ),
    "the keys and values cached, all heads in a row": Mistake(
        making(lambda x: (join(merged(x.keys()), merged(x.values)), x.keys(), x.values)),
        f"That is all heads' keys and values, {COMPRESS}",
    ),
    "what w_up makes cached": Mistake(
        making(lambda x: (x.up, x.keys(), x.values)),
        f"That is after the expansion, {COMPRESS}",
    ),
    "what w_up makes cached, with the RoPE key": Mistake(
        making(lambda x: (x.row(latent=x.up), x.keys(), x.values)),
        f"That is after the expansion, {COMPRESS}",
    ),
    "no norm": Mistake(
        making(norm=lambda raw, key, gain: (raw, key)),
        f"gain is never used. The latent goes through an RMSNorm: {NORM}",
    ),
    "a latent cached before its norm": Mistake(
        making(lambda x: (x.row(latent=x.raw), x.keys(), x.values)),
        "Keys and values are right, but who reads this cache would expand a raw latent, and get "
        "others: the norm is not done again. Cache the latent after its norm.",
    ),
    "keys and values made from the latent before its norm": Mistake(
        making(from_raw=True),
        "What is cached is right, keys and values are not what a later step would make from it. "
        "Expand the latent after its norm.",
    ),
    "a norm without its gain": Mistake(
        norming(lambda latent, gain: rms_norm(latent, gain.shape, eps=EPS)),
        f"After the norm each number is multiplied by a learned one, its gain: {NORM}",
    ),
    "1 + gain in place of the gain": Mistake(
        norming(lambda latent, gain: rms_norm(latent, gain.shape, 1 + gain, EPS)),
        "That is how Gemma keeps its norms. DeepSeek's multiplies by the gain itself.",
    ),
    "a LayerNorm": Mistake(
        norming(lambda latent, gain: layer_norm(latent, gain.shape, gain, eps=EPS)),
        "LayerNorm takes the mean away first, RMSNorm does not: it divides by the root of the mean "
        f"square. {NORM}",
    ),
    "a norm without the mean": Mistake(
        norming(lambda latent, gain: latent / latent.norm(dim=-1, keepdim=True) * gain),
        "You divided by the root of the sum of squares; √kv_rank is missing. RMSNorm takes the "
        "root of their mean.",
    ),
    "a norm without the root": Mistake(
        norming(lambda latent, gain: latent / latent.square().mean(-1, keepdim=True) * gain),
        "You divided by the mean square. RMSNorm divides by its root: after it the numbers of a "
        "token are of size 1, whatever size they were.",
    ),
    "one norm over all tokens": Mistake(
        norming(lambda latent, gain: latent / latent.square().mean().sqrt() * gain),
        "You took one mean over everything, so a token's latent depends on the tokens beside it. "
        "Each token has its own: mean over the last axis, keepdim=True.",
    ),
    "a norm over the tokens": Mistake(
        norming(lambda latent, gain: latent / latent.square().mean(1, keepdim=True).sqrt() * gain),
        "The mean runs over the tokens of a call, so chunks would change it. Take it over the "
        "numbers of one token: the last axis.",
    ),
    "one norm over latent and RoPE key": Mistake(
        making(norm=over_both),
        "The RoPE key has no norm, and must not change the latent's. Cut first, after kv_rank "
        f"numbers, then {NORM}",
    ),
    "the gain's norm asked of latent and RoPE key": Mistake(
        making(norm=lambda raw, key, gain: (rms_norm(join(raw, key[:, 0]), gain.shape, gain), key)),
        "gain has kv_rank numbers, w_down makes kv_rank + rope_dim. Cut first: the norm is the "
        "latent's alone.",
    ),
    "the RoPE key normed too": Mistake(
        making(
            norm=lambda raw, key, gain: (
                rms_norm(raw, gain.shape, gain, EPS),
                rms_norm(key, key.shape[-1:], eps=EPS),
            )
        ),
        "The latent is right. The RoPE key has no norm: it is turned, and cached so.",
    ),
    "the norm behind the expansion": Mistake(
        making(norm=lambda raw, key, gain: (raw, key), expand=up_normed),
        "gain has kv_rank numbers, so it is the latent's, and the latent is what is cached: norm "
        f"first, then expand. {NORM}",
    ),
    "the gain's norm behind the expansion": Mistake(
        making(
            norm=lambda raw, key, gain: (raw, (key, gain)),
            turn=lambda both, start: both[0],
            expand=lambda latent, w_up: rms_norm(latent @ w_up.mT, latent.shape[-1:], latent[0, 0]),
        ),
        "gain has kv_rank numbers, what w_up makes has n · (head_dim + value_dim). The norm is the "
        "latent's: norm first, then expand.",
    ),
    "the norm twice": Mistake(
        norming(lambda latent, gain: normed(*2 * [normed(latent, None, gain)[0]], gain)[0]),
        "The latent goes through its norm once: what was normed is cached, and expanded as it is.",
    ),
    "RoPE on the latent too": Mistake(
        latent_turned(rope),
        f"{UNTURNED} Turn the RoPE key alone.",
    ),
    "RoPE on the latent in place of the RoPE key": Mistake(
        latent_turned(lambda key, start: key),
        f"{UNTURNED} The last rope_dim numbers that w_down makes are what is turned.",
    ),
    "RoPE on the latent that is cached": Mistake(
        making(lambda x: (x.row(latent=rope(x.latent, x.start)), x.keys(), x.values)),
        f"Keys and values are right, and were made from a latent without a turn. {UNTURNED}",
    ),
    "RoPE over latent and RoPE key as one": Mistake(
        making(whole_row),
        f"{UNTURNED} Cut the row first, and turn the RoPE key alone.",
    ),
    "RoPE on the part without position too": Mistake(
        making(lambda x: (x.row(), x.keys(plain=rope(x.plain, x.start)), x.values)),
        f"{WITHOUT} Only the RoPE key is turned.",
    ),
    "RoPE on the part without position in place of the RoPE key": Mistake(
        making(
            lambda x: (x.row(), x.keys(plain=rope(x.plain, x.start)), x.values),
            turn=lambda key, start: key,
        ),
        f"{WITHOUT} It is the RoPE key that is turned, the last rope_dim numbers that w_down "
        "makes.",
    ),
    "RoPE over the whole key": Mistake(
        making(whole_keys),
        f"{WITHOUT} Turn the RoPE key before you join it to the keys, and turn it alone.",
    ),
    "the values turned": Mistake(
        making(lambda x: (x.row(), x.keys(), rope(x.values, x.start))),
        "Values are averaged, not compared: they have no position. Only the RoPE key is turned.",
    ),
    "no RoPE": Mistake(
        making(turn=lambda key, start: key),
        "Then no key knows its place. rope(rope_key, start) turns the last rope_dim numbers that "
        "w_down makes, as (b, 1, t, rope_dim), before they are cached.",
    ),
    "a RoPE key cached before its turn": Mistake(
        making(lambda x: (x.row(key=x.key), x.keys(), x.values)),
        "The keys are right. But a row does not say later where its token stood: cache the RoPE "
        "key turned, as it stands in the keys.",
    ),
    "a RoPE key that is turned in the cache only": Mistake(
        making(lambda x: (x.row(), x.keys(key=x.key), x.values)),
        "What is cached is right. In the keys the same turned RoPE key belongs: turn it once, then "
        "use it in both places.",
    ),
    "a RoPE key turned twice": Mistake(
        making(lambda x: (x.row(), x.keys(key=rope(x.turned, x.start)), x.values)),
        "What is cached is right. For the keys you turned it again: hand out the one that is "
        "cached.",
    ),
    "start left out": Mistake(
        making(turn=lambda key, start: rope(key, 0)),
        f"{PLACES}At 0 every chunk begins anew, and distances between chunks are wrong.",
    ),
    "start counted from 1": Mistake(
        making(turn=lambda key, start: rope(key, start + 1)),
        f"{PLACES}The first token of this call stands at start itself.",
    ),
    "start taken for the end": Mistake(
        making(turn=lambda key, start: rope(key, start - key.shape[-2])),
        f"{PLACES}The first token of this call stands at start, and t are not to be taken away.",
    ),
    "every token at the place of the first": Mistake(
        making(turn=along_heads),
        "rope counts along the axis before the last. Give it (b, 1, t, rope_dim), the heads in "
        "front of the tokens: rope_key[:, None], not [:, :, None].",
    ),
    "neighbours turned as pairs": Mistake(making(turn=neighbours), PAIRS),
    "neighbours turned as pairs, and laid out as halves": Mistake(
        making(turn=lambda key, start: rope(apart(key), start)),
        f"That is what transformers does where rope_interleave is set. {PAIRS}",
    ),
    "a RoPE key cached for each head": Mistake(
        making(key_per_head),
        "There is one RoPE key a token, and all heads read it: cache it once, kv_rank + rope_dim "
        "numbers in all. expand hands it to the heads, and copies nothing.",
    ),
    "the RoPE key left out of what is cached": Mistake(
        making(lambda x: (x.latent, x.keys(), x.values)),
        "The RoPE key cannot be made from the latent: it comes from x, and x is gone in the next "
        "step. Cache kv_rank + rope_dim numbers; in DeepSeek-V3 512 + 64, not 512.",
    ),
    "keys without the RoPE key": Mistake(
        making(lambda x: (x.row(), x.plain, x.values)),
        "These keys know no place. Each is head_dim + rope_dim wide: join the shared RoPE key to "
        "every head's own part.",
    ),
    "the RoPE key nowhere": Mistake(
        making(lambda x: (x.latent, x.plain, x.values)),
        "w_down makes kv_rank + rope_dim numbers, and you used kv_rank. The others are the RoPE "
        "key: turn it, cache it behind the latent, and join it to every head's key.",
    ),
    "the RoPE key cached in front of the latent": Mistake(
        making(lambda x: (join(x.turned[:, 0], x.latent), x.keys(), x.values)),
        "All is there, in another order: first the latent, then the RoPE key.",
    ),
    "the RoPE key in front of each key": Mistake(
        making(
            lambda x: (
                x.row(),
                join(x.turned.expand(-1, x.plain.shape[1], -1, -1), x.plain),
                x.values,
            )
        ),
        "In a key the part without position comes first, as in a query: else they are compared "
        "crosswise.",
    ),
    "the RoPE key in front, cached and in each key": Mistake(
        making(
            lambda x: (
                join(x.turned[:, 0], x.latent),
                join(x.turned.expand(-1, x.plain.shape[1], -1, -1), x.plain),
                x.values,
            )
        ),
        "All is there, in another order: first the latent, then the RoPE key; in a key first the "
        "part without position.",
    ),
    "the first rows of w_down taken for the RoPE key's": Mistake(
        making(cut=key_first),
        "w_down has first kv_rank rows for the latent, then rope_dim for the RoPE key.",
    ),
    "w_up split into all keys, then all values": Mistake(making(heads=all_keys_first), SPLIT),
    "w_up split into all values, then all keys": Mistake(making(heads=all_values_first), SPLIT),
    "the value's rows of w_up in front of the key's": Mistake(making(heads=value_first), SPLIT),
    "heads interleaved": Mistake(
        making(heads=cut_by(interleaved_split)),
        f"A head is rows side by side, yours are every n-th one. {SPLIT}",
    ),
    "a split without a transpose": Mistake(
        making(heads=cut_by(view_split)),
        "Your heads hold pieces of other tokens: view(b, t, n, -1) first, then transpose(1, 2); "
        "or split_heads of lesson 03.",
    ),
    "the heads behind the tokens": Mistake(
        making(lambda x: (x.row(), x.keys().transpose(1, 2), x.values.transpose(1, 2))),
        "Keys and values are (b, t, n, …), and the heads belong in front: transpose(1, 2).",
    ),
    "keys and values side by side": Mistake(
        making(lambda x: (x.row(), merged(x.keys()), merged(x.values))),
        "The heads lie side by side. Give them an axis of their own: (b, n, t, …).",
    ),
    "values, keys in place of keys, values": Mistake(
        making(lambda x: (x.row(), x.values, x.keys())),
        "The order is cached, keys, values.",
    ),
    "keys in place of values": Mistake(
        making(lambda x: (x.row(), x.keys(), x.plain)),
        "Each head's rows of w_up make head_dim numbers of a key, then value_dim of a value: "
        "return those as values.",
    ),
    "keys and values left latents": Mistake(
        making(lambda x: (x.row(), x.row()[:, None], x.latent[:, None])),
        "That is what the absorbed form attends to. Here each head gets keys and values of its "
        "own: latent @ w_up.mT makes them.",
    ),
    "an axis of heads in what is cached": Mistake(
        making(lambda x: (x.row()[:, None], x.keys(), x.values)),
        "The numbers are right. A row belongs to a token and to no head: (b, t, kv_rank + "
        "rope_dim), without an axis of length 1.",
    ),
    "the row in two pieces": Mistake(
        making(lambda x: (x.latent, x.turned[:, 0], x.keys(), x.values)),
        "All numbers are right. Cache one row: torch.cat([latent, rope_key], dim=-1).",
    ),
    "the row in two pieces, one with an axis of heads": Mistake(
        making(lambda x: (x.latent, x.turned, x.keys(), x.values)),
        "All numbers are right. Cache one row: take the axis of length 1 off the RoPE key, "
        "rope_key[:, 0], then torch.cat([latent, …], dim=-1).",
    ),
    "what is cached alone": Mistake(
        making(Made.row),
        "This row is right, and the first half is done. Now expand: latent @ w_up.mT holds every "
        "head's key and value; cut it, and join the RoPE key to each key.",
    ),
    "no values": Mistake(
        making(lambda x: (x.row(), x.keys())),
        "Both are right. Values are missing: the last value_dim numbers of each head in latent @ "
        "w_up.mT.",
    ),
    "no keys": Mistake(
        making(lambda x: (x.row(), x.values)),
        "Both are right. Keys are missing: the first head_dim numbers of each head in latent @ "
        "w_up.mT, and behind them the RoPE key.",
    ),
    "nothing to cache": Mistake(
        making(lambda x: (x.keys(), x.values)),
        "Keys and values are right. Return in front of them what the next step needs to make them "
        "again: the row of latent and RoPE key.",
    ),
    "w_down not transposed": Mistake(
        making(cut=not_transposed),
        "Weights are laid out as nn.Linear keeps them, a row for each output: x @ w_down.mT.",
    ),
    "w_up not transposed": Mistake(
        making(expand=lambda latent, w_up: latent @ w_up),
        "Weights are laid out as nn.Linear keeps them, a row for each output: latent @ w_up.mT.",
    ),
    "one RoPE key where n are to be joined": Mistake(
        making(lambda x: (x.row(), join(x.plain, x.turned), x.values)),
        "torch.cat stretches nothing. rope_key.expand(-1, n_heads, -1, -1) hands (b, 1, t, "
        "rope_dim) to all heads, without a copy.",
    ),
    "a RoPE key without an axis of heads": Mistake(
        making(lambda x: (x.row(), join(x.plain, x.turned[:, 0]), x.values)),
        "Each head's part is (b, n, t, head_dim), the RoPE key (b, t, rope_dim): give it an axis, "
        "[:, None], then expand it to n heads.",
    ),
}

# Scores against what is cached, as it is


def asked(b, n, t, s, head_dim, rope_dim, kv_rank, value_dim, dtype=torch.float64):
    """q, cached, w_up."""
    random = torch.Generator().manual_seed(b * n * t * s + head_dim * kv_rank)
    q = numbers(random, b, n, t, head_dim + rope_dim, dtype=dtype)
    cached = numbers(random, b, s, kv_rank + rope_dim, dtype=dtype)
    return q, cached, numbers(random, n * (head_dim + value_dim), kv_rank, dtype=dtype)


# In a probe with as many tokens, what is made on the way is told by its size: n, s and the widths
# of keys and latents are primes there, and w_up is smaller than n times the latents.
LONG = 31
NOTHING, KEYS, COPIES = (
    "nothing for a single head",
    "keys for single heads",
    "latents copied for each head",
)


def score(fn, q, cached, w_up):
    """The scores that fn gives; where they are right, also what it made for single heads."""
    got = fn(q, cached, w_up, rope)
    if got is None or got is ...:
        return got
    is_right = close(got, ladder.absorbed_scores(q, cached, w_up, rope))
    told = is_right and cached.shape[1] >= LONG
    return got, made_on_the_way(fn, q, cached, w_up) if told else NOTHING


def made_on_the_way(fn, q, cached, w_up):
    """NOTHING, or what no cache of latents is for: KEYS of heads, or a COPY for each head."""
    (n, width), (s, row), kv_rank = (q.shape[1], q.shape[3]), cached.shape[1:], w_up.shape[1]
    head_dim, both = width - (row - kv_rank), len(w_up) // n
    sizes, stored = set(), set()

    def see(x):
        sizes.add(x.numel())
        stored.add(x.untyped_storage().nbytes() // x.element_size())

    with Watch(see), redirect_stdout(io.StringIO()):
        fn(q, cached, w_up, rope)
    if any(x and x % (s * w) == 0 for x in sizes for w in (head_dim, width, both)):
        return KEYS
    return COPIES if max(stored, default=0) >= n * s * kv_rank else NOTHING


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


def content_first(q, z):
    """The part of q without position, and the part to be turned."""
    return q[..., : z.head_dim], q[..., z.head_dim :]


def rope_first(q, z):
    """The same, the other way round."""
    return q[..., z.rope_dim :], q[..., : z.rope_dim]


def key_rows(w_up, z):
    """W_UK (n, head_dim, kv_rank): in each head the first head_dim rows."""
    return w_up.unflatten(0, (z.n, -1))[:, : z.head_dim]


def latent_and_key(cached, z):
    """What is cached, cut."""
    return cached[..., : z.kv_rank], cached[..., z.kv_rank :]


def against(rows, keys):
    """All heads' rows (b, n, t, c) against keys (b, s, c) that have no heads."""
    return (rows.flatten(1, 2) @ keys.mT).unflatten(1, rows.shape[1:3])


def together(content, position, z):
    """Both sums of products, and one scale."""
    return (content + position) / math.sqrt(z.width)


def times(factor):
    """Both sums, times factor(z)."""
    return scoring(combine=lambda content, position, z: (content + position) * factor(z))


def apart_by(scale, scale_rope):
    """Each sum with a scale of its own."""
    return scoring(
        combine=lambda content, position, z: content * scale(z) + position * scale_rope(z)
    )


def scoring(
    *, parts=content_first, rows=key_rows, absorb=torch.matmul, turn=None, read=latent_and_key,
    combine=together, mask=causal_mask, fill=-INF, give=None,
):  # fmt: skip
    """An absorbed_scores; each step that is given is done so.

    parts(q, z) are content and position of the queries, z their Sizes; rows(w_up, z) what is
    absorbed, absorb(content, rows) the result; turn(position, z) is the position turned, read(
    cached, z) are latents and RoPE keys, combine(content, position, z) the scores of both sums;
    fill stands where mask(t, s) is False; give(scores) comes back.
    """

    def wrong(q, cached, w_up, rope):
        (n, t, width), (s, row), kv_rank = q.shape[1:], cached.shape[1:], w_up.shape[1]
        z = Sizes(n, t, s, width - (row - kv_rank), row - kv_rank, kv_rank)
        content, position = parts(q, z)
        latents, keys = read(cached, z)
        position = turn(position, z) if turn else rope(position, s - t)
        sums = against(absorb(content, rows(w_up, z)), latents), against(position, keys)
        scores = combine(*sums, z)
        scores = scores.masked_fill(~mask(t, s), fill) if mask else scores
        return give(scores) if give else scores

    return wrong


def turning(start):
    """Queries turned as if the first stood at start(z)."""
    return scoring(turn=lambda x, z: rope(x, start(z)))


def all_keys_rows(w_up, z):
    """The first n · head_dim rows."""
    return w_up[: z.n * z.head_dim].unflatten(0, (z.n, -1))


def expanded(q, cached, w_up, rope):
    """Right, by way of the keys of all heads."""
    (n, t, width), s, kv_rank = q.shape[1:], cached.shape[1], w_up.shape[1]
    head_dim = width - (cached.shape[2] - kv_rank)
    plain = split_heads(cached[..., :kv_rank] @ w_up.mT, n)[..., :head_dim]
    keys = join(plain, cached[:, None, :, kv_rank:].expand(-1, n, -1, -1))
    rotated = join(q[..., :head_dim], rope(q[..., head_dim:], s - t))
    return (rotated @ keys.mT / width**0.5).masked_fill(~causal_mask(t, s), -INF)


def copied(q, cached, w_up, rope):
    """Right, but matmul copies the cached rows for every head."""
    (n, t, width), s, kv_rank = q.shape[1:], cached.shape[1], w_up.shape[1]
    head_dim = width - (cached.shape[2] - kv_rank)
    absorbed = q[..., :head_dim] @ w_up.unflatten(0, (n, -1))[:, :head_dim]
    rows = join(absorbed, rope(q[..., head_dim:], s - t))
    keys = cached[:, None].expand(-1, n, -1, -1).contiguous()
    return (rows @ keys.mT / width**0.5).masked_fill(~causal_mask(t, s), -INF)


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
    "the latents copied for every head": Mistake(
        copied,
        "The numbers are right, but on the way the cached rows were copied for each of the n "
        "heads. repeat does that, and so does matmul when it broadcasts (b, n, t, …) with (b, 1, "
        "…), or flatten after expand. To a row that all heads read, n heads of t queries are "
        "n · t queries: fold them, (b, n · t, …) @ cached.mT, as in lesson 05; or use einsum.",
    ),
    "the values' rows absorbed": Mistake(
        scoring(rows=lambda w_up, z: w_up.unflatten(0, (z.n, -1))[:, z.head_dim :]),
        f"That is W_UV, which is folded into the output. Keys are made by W_UK: {ROWS}",
    ),
    "the last head_dim rows of each head absorbed": Mistake(
        scoring(rows=lambda w_up, z: w_up.unflatten(0, (z.n, -1))[:, -z.head_dim :]),
        f"Those make the value, or a part of it. {ROWS}",
    ),
    "w_up split into all keys, then all values": Mistake(scoring(rows=all_keys_rows), ROWS),
    "w_up split into all values, then all keys": Mistake(
        scoring(rows=lambda w_up, z: w_up[-z.n * z.head_dim :].unflatten(0, (z.n, -1))), ROWS
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
        scoring(rows=lambda w_up, z: w_up.unflatten(0, (z.n, -1))),
        f"A head's rows are head_dim of the key and value_dim of the value; the query meets the "
        f"key's. {ROWS}",
    ),
    "W_UK absorbed the wrong way round": Mistake(
        scoring(absorb=lambda content, rows: content @ rows.mT),
        "A key is W_UK c, so q · (W_UK c) = (W_UKᵀ q) · c. A query is a row here, and W_UKᵀ q is "
        "q @ W_UK: W_UK (head_dim, kv_rank) as it stands in w_up, without a transpose.",
    ),
    "nothing absorbed": Mistake(
        scoring(absorb=lambda content, rows: content),
        "A query has head_dim numbers, a latent kv_rank: they are not of one space, and where they "
        "happen to be equally long, the score means nothing. Multiply the query with W_UK first.",
    ),
    "the scale of the latent space": Mistake(
        times(lambda z: (z.kv_rank + z.rope_dim) ** -0.5),
        f"You divided by √(kv_rank + rope_dim), the width after absorbing. {SCALE}",
    ),
    "the scale of the latent": Mistake(
        times(lambda z: z.kv_rank**-0.5), f"You divided by √kv_rank. {SCALE}"
    ),
    "the scale of the part without position": Mistake(
        times(lambda z: z.head_dim**-0.5), f"You divided by √head_dim. {SCALE}"
    ),
    "the scale of the RoPE part": Mistake(
        times(lambda z: z.rope_dim**-0.5), f"You divided by √rope_dim. {SCALE}"
    ),
    "content and position scaled apart": Mistake(
        apart_by(lambda z: z.head_dim**-0.5, lambda z: z.rope_dim**-0.5),
        f"You divided one part by √head_dim, the other by √rope_dim. {SCALE}",
    ),
    "content and position scaled apart, by the latent's width": Mistake(
        apart_by(lambda z: z.kv_rank**-0.5, lambda z: z.rope_dim**-0.5),
        f"You divided one part by √kv_rank, the other by √rope_dim. {SCALE}",
    ),
    "content scaled alone": Mistake(
        apart_by(lambda z: z.width**-0.5, lambda z: 1),
        f"The position's part is not scaled: / binds more tightly than +. {SCALE}",
    ),
    "position scaled alone": Mistake(
        apart_by(lambda z: 1, lambda z: z.width**-0.5),
        f"The content's part is not scaled: / binds more tightly than +. {SCALE}",
    ),
    "no scale": Mistake(times(lambda z: 1), SCALE),
    "scores divided by head_dim + rope_dim": Mistake(
        times(lambda z: 1 / z.width), f"The root is missing. {SCALE}"
    ),
    "scores divided by √(n · (head_dim + rope_dim))": Mistake(
        times(lambda z: (z.n * z.width) ** -0.5), f"That is the width of all heads. {SCALE}"
    ),
    "scores times √(head_dim + rope_dim)": Mistake(
        times(lambda z: z.width**0.5), f"You multiplied where scores are divided. {SCALE}"
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
        for fill in (-1e4, -1e9, -1e30, *(torch.finfo(x).min for x in (torch.float32, torch.half)))
    },
    "softmax already": Mistake(
        scoring(give=lambda scores: scores.softmax(-1)),
        "These are weights. Return the scores before the softmax.",
    ),
    "scores of other sequences": Mistake(
        scoring(read=lambda cached, z: latent_and_key(cached[:1].expand_as(cached), z)),
        "Right for b = 1. Each sequence of the batch has rows of its own: leave axis 0 as it is.",
    ),
    "no RoPE": Mistake(
        scoring(turn=lambda x, z: x),
        f"The cached RoPE keys are turned, the queries are not. {STARTS} rope(…, s - t) turns "
        "their last rope_dim numbers.",
    ),
    "queries at position 0": Mistake(
        turning(lambda z: 0),
        f"{STARTS} Only with an empty cache that is 0.",
    ),
    "queries behind the last token": Mistake(
        turning(lambda z: z.s), f"{STARTS} The cached rows count the new tokens already."
    ),
    "queries from the place of the last token on": Mistake(
        turning(lambda z: z.s - 1), f"{STARTS} Right for t = 1 only."
    ),
    "queries at position t": Mistake(turning(lambda z: z.t), STARTS),
    "queries one place too far back": Mistake(
        turning(lambda z: z.s - z.t - 1), f"{STARTS} Places count from 0."
    ),
    "queries one place too far on": Mistake(
        turning(lambda z: z.s - z.t + 1), f"{STARTS} Places count from 0."
    ),
    "positions counted along the heads": Mistake(
        scoring(turn=lambda x, z: along_heads(x, z.s - z.t)),
        "rope counts along the axis before the last: give it (b, n, t, rope_dim), the heads in "
        "front of the tokens.",
    ),
    "neighbours turned as pairs": Mistake(
        scoring(turn=lambda x, z: neighbours(x, z.s - z.t)), PAIRS
    ),
    "neighbours turned as pairs, and laid out as halves": Mistake(
        scoring(turn=lambda x, z: rope(apart(x), z.s - z.t)),
        f"That is what transformers does where rope_interleave is set. {PAIRS}",
    ),
    "RoPE on the part without position too": Mistake(
        scoring(parts=lambda q, z: (rope(content_first(q, z)[0], z.s - z.t), q[..., z.head_dim :])),
        f"{TURNLESS} Turn the last rope_dim numbers only.",
    ),
    "RoPE on the part without position alone": Mistake(
        scoring(
            parts=lambda q, z: (rope(content_first(q, z)[0], z.s - z.t), q[..., z.head_dim :]),
            turn=lambda x, z: x,
        ),
        f"{TURNLESS} Turn the last rope_dim numbers, and those only.",
    ),
    "RoPE over the whole query": Mistake(
        scoring(parts=lambda q, z: content_first(rope(q, z.s - z.t), z), turn=lambda x, z: x),
        f"{TURNLESS} Cut the query first, and turn its last rope_dim numbers.",
    ),
    "RoPE on the absorbed query too": Mistake(
        lambda q, cached, w_up, rope: scoring(
            absorb=lambda content, rows: rope(content @ rows, cached.shape[1] - q.shape[2])
        )(q, cached, w_up, rope),
        "The latents carry no position, so what meets them must not either. Turn the last "
        "rope_dim numbers of the query only.",
    ),
    "the cached RoPE key turned again": Mistake(
        scoring(
            read=lambda cached, z: (cached[..., : z.kv_rank], rope(cached[..., z.kv_rank :], 0))
        ),
        "It was turned when it was cached. Turn the queries only.",
    ),
    "the latents turned": Mistake(
        scoring(
            read=lambda cached, z: (rope(cached[..., : z.kv_rank], 0), cached[..., z.kv_rank :])
        ),
        "The latents carry no position: that is what the RoPE key is for. Read what is cached as "
        "it is.",
    ),
    "the latents normed again": Mistake(
        scoring(
            read=lambda cached, z: (
                rms_norm(cached[..., : z.kv_rank], (z.kv_rank,), eps=EPS),
                cached[..., z.kv_rank :],
            )
        ),
        "The latent was normed before it was cached. Read what is cached as it is.",
    ),
    "the query's RoPE part taken from the front": Mistake(
        scoring(parts=rope_first),
        "A query has first head_dim numbers without position, then the rope_dim that are turned.",
    ),
    "the RoPE key taken from the front of what is cached": Mistake(
        scoring(read=lambda cached, z: (cached[..., z.rope_dim :], cached[..., : z.rope_dim])),
        "A cached row has first the latent, kv_rank numbers, then the RoPE key.",
    ),
    "content alone": Mistake(
        scoring(combine=lambda content, position, z: content / math.sqrt(z.width)),
        "The RoPE key takes no part, so a score does not know how far apart two tokens are. Add "
        "the turned part of the query times the cached RoPE key: 512 + 64 numbers in DeepSeek-V3.",
    ),
    "position alone": Mistake(
        scoring(combine=lambda content, position, z: position / math.sqrt(z.width)),
        "The latents take no part. Add what the absorbed query gives with them.",
    ),
    "heads and queries left in one axis": Mistake(
        scoring(give=lambda scores: scores.flatten(1, 2)),
        "All numbers are right, on three axes. Give the heads theirs back: (b, n, t, s).",
    ),
    "rows (n, t) read as (t, n)": Mistake(
        scoring(
            give=lambda x: x.flatten(1, 2).unflatten(1, (x.shape[2], x.shape[1])).transpose(1, 2)
        ),
        "You folded the heads before the queries, and unfolded the queries before the heads: "
        "view(b, n, t, s) is all.",
    ),
    "the heads in front of the batch": Mistake(
        scoring(give=lambda scores: scores.transpose(0, 1)),
        "That is (n, b, t, s). The batch stays in front: torch.stack(…, dim=1).",
    ),
    "scores laid out (b, n, s, t)": Mistake(
        scoring(give=lambda scores: scores.mT),
        "Rows belong to queries, columns to keys: (b, n, t, s).",
    ),
}

EXERCISES = {
    "10.latent_kv": Exercise(
        reference=ladder.latent_kv,
        more="also makes the queries and the output, as a layer",
        layer=MultiHeadLatentAttention,
        probes=[  # b, t, d, n, head_dim, rope_dim, kv_rank, value_dim, start
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
        ],
        returns=("cached", "keys", "values"),
        mistakes=KV_MISTAKES,
        hints=(
            "What must stay of a token so that every head's key and value can be made again "
            "without x? And which part of a key cannot be made from the latent?",
            "x @ w_down.mT holds the latent, as many numbers as gain has, then the RoPE key. The "
            "latent goes through torch.nn.functional.rms_norm(…, (kv_rank,), gain, eps=1e-6), the "
            "RoPE key as (b, 1, t, rope_dim) through rope(…, start). Side by side they are cached.",
            "split_heads(latent @ w_up.mT, n_heads) is (b, n, t, head_dim + value_dim): in each "
            "head first the key's part, then the value. rope_key.expand(-1, n_heads, -1, -1) hands "
            "the one RoPE key to all heads, and torch.cat joins it behind each key's part.",
        ),
        play=make,
    ),
    "10.absorbed_scores": Exercise(
        reference=ladder.absorbed_scores,
        more="also makes the queries and the output, as a layer",
        layer=MultiHeadLatentAttention,
        probes=[  # b, n, t, s, head_dim, rope_dim, kv_rank, value_dim
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
            asked(2, 7, 3, LONG, 11, 6, 23, 8),
        ],
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
            "q's own width, and put -inf where causal_mask(t, s) is False.",
        ),
        play=score,
    ),
}
