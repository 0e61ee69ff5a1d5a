"""Exercises of lesson 10: right in any style, and mistakes known in a learner's own words."""

import inspect
import math
from itertools import starmap

import pytest
import torch
from torch import einsum, nn
from torch.nn.functional import layer_norm, linear, rms_norm

from course_utils import ladder
from course_utils.attention import causal_mask
from course_utils.checks import lesson_10
from course_utils.checks.compare import alike, gaps
from course_utils.checks.engine import examine, find, outcomes, rung

KV, SCORES = find("10.latent_kv"), find("10.absorbed_scores")
INF = float("inf")


# From x to what is cached, and to keys and values


def kv(
    x, w_down, gain, w_up, n, h, rope, start, *,
    norm=None, turn=None, plain=None, row=None, cut=None, kept=False,
):  # fmt: skip
    """A learner's latent_kv, with nn.functional's linear and views; each step may be another's.

    kept: the row of latent and RoPE key is cached as it was before any step.
    """
    rank, rope_dim, (b, t, _) = gain.numel(), len(w_down) - gain.numel(), x.shape
    raw, rope_key = linear(x, w_down).split([rank, rope_dim], dim=2)
    c = norm(raw, gain) if norm else rms_norm(raw, [rank], gain, 1e-6)
    k_rope = (turn or rope)(rope_key.view(b, 1, t, rope_dim), start)
    made = linear(c, w_up)
    if cut:
        k, v = cut(made)
    else:
        k, v = made.view(b, t, n, -1).transpose(1, 2).tensor_split([h], dim=3)
    k = plain(k) if plain else k
    cached = torch.concat([raw if kept else c, k_rope.squeeze(1)], dim=2)
    k = torch.concat([k, k_rope.repeat(1, n, 1, 1)], dim=3)
    return (row(cached, k, v) if row else cached), k, v


def kv_with(**steps):
    return lambda *given: kv(*given, **steps)


def by_modules(x, w_down, gain, w_up, n_heads, head_dim, rope, start):
    down, norm, up = nn.Linear(*w_down.T.shape), nn.RMSNorm(len(gain)), nn.Linear(*w_up.T.shape)
    down.weight, norm.weight, up.weight = map(nn.Parameter, (w_down, gain, w_up))
    down.bias = up.bias = None
    rank = len(gain)
    both = down(x)
    latent, rope_key = norm(both[..., :rank]), rope(both[..., rank:].unsqueeze(1), start)
    heads = up(latent).unflatten(-1, (n_heads, -1)).movedim(2, 1)
    keys = torch.cat([heads[..., :head_dim], rope_key.repeat(1, n_heads, 1, 1)], -1)
    cached = torch.cat([latent, rope_key.squeeze(1)], -1)
    return cached.detach(), keys.detach(), heads[..., head_dim:].detach()


def kv_by_einsum(x, w_down, gain, w_up, n_heads, head_dim, rope, start):
    rank = len(gain)
    raw = einsum("btd,cd->btc", x, w_down[:rank])
    latent = gain * raw * (raw.pow(2).mean(-1, keepdim=True) + 1e-6).rsqrt()
    rope_key = rope(einsum("btd,rd->btr", x, w_down[rank:]), start)  # three axes are enough
    w_up = w_up.view(n_heads, -1, rank)
    keys = einsum("btc,nhc->bnth", latent, w_up[:, :head_dim])
    values = einsum("btc,nvc->bntv", latent, w_up[:, head_dim:])
    shared = torch.stack([rope_key] * n_heads, dim=1)
    return torch.cat([latent, rope_key], -1), torch.cat([keys, shared], -1), values


def kv_head_by_head(x, w_down, gain, w_up, n_heads, head_dim, rope, start):
    rank = len(gain)
    latent = rms_norm(x @ w_down[:rank].T, (rank,), gain, eps=1e-6)
    rope_key = rope((x @ w_down[rank:].T)[:, None], start)[:, 0]
    keys, values = [], []
    for w in w_up.chunk(n_heads):
        keys.append(torch.cat([latent @ w[:head_dim].T, rope_key], dim=-1))
        values.append(latent @ w[head_dim:].T)
    return [
        torch.cat([latent, rope_key], dim=-1),
        torch.stack(keys, dim=1),
        torch.stack(values, dim=1),
    ]


def kv_token_by_token(x, w_down, gain, w_up, n_heads, head_dim, rope, start):
    each = [
        kv(x[:, i : i + 1], w_down, gain, w_up, n_heads, head_dim, rope, start + i)
        for i in range(x.shape[1])
    ]
    cached, keys, values = zip(*each, strict=True)
    return torch.cat(cached, 1), torch.cat(keys, 2), torch.cat(values, 2)


def kv_from_the_row(x, w_down, gain, w_up, n_heads, head_dim, rope, start):
    """As a decode step would: keys and values from what is cached and nothing else."""
    rank, t = len(gain), x.shape[1]
    cached = x @ w_down.mT
    cached = torch.cat(
        [rms_norm(cached[..., :rank], (rank,), gain), rope(cached[..., rank:], start)], -1
    )
    up = (cached[..., :rank] @ w_up.mT).reshape(len(x), t, n_heads, -1).permute(0, 2, 1, 3)
    keys = up.new_empty(len(x), n_heads, t, head_dim + cached.shape[-1] - rank)
    keys[..., :head_dim] = up[..., :head_dim]
    keys[..., head_dim:] = cached[:, None, :, rank:]
    return cached, keys, up[..., head_dim:].contiguous()


def kv_without_cuts(x, w_down, gain, w_up, n_heads, head_dim, rope, start):
    """Rows of weights picked one by one, in place of a cut of what they make."""
    rank, width = len(gain), len(w_up) // n_heads
    latent = rms_norm(x @ w_down[:rank].mT, (rank,), gain, 1e-6)
    rope_key = rope(x.unsqueeze(1) @ w_down[rank:].mT, start)
    rows = torch.arange(len(w_up))
    is_key = rows % width < head_dim
    keys = (latent @ w_up[is_key].mT).unflatten(2, (n_heads, -1)).transpose(1, 2)
    values = (latent @ w_up[~is_key].mT).unflatten(2, (n_heads, -1)).transpose(1, 2)
    keys = torch.cat([keys, rope_key.expand(*keys.shape[:3], -1)], -1)
    return torch.cat([latent, rope_key[:, 0]], -1), keys, values


def by_hand(eps):
    """RMSNorm as it is written by hand, in float32 as transformers does."""

    def norm(raw, gain):
        x = raw.float()
        return gain * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps)).to(raw.dtype)

    return norm


def turning_heads(x, w_down, gain, w_up, n, h, rope, start):
    """The RoPE key handed out first, and turned in every head."""

    def turn(key, start):
        return rope(key.expand(-1, n, -1, -1), start)[:, :1]

    return kv(x, w_down, gain, w_up, n, h, rope, start, turn=turn)


# Scores against what is cached


def queries(q, cached, w_up, rope, start=None):
    """W_UK (n, h, c), and the two parts of q, the second turned."""
    n, rank = q.shape[1], w_up.shape[1]
    h = q.shape[3] - cached.shape[2] + rank
    start = cached.shape[1] - q.shape[2] if start is None else start
    return w_up.view(n, -1, rank)[:, :h], q[..., :h], rope(q[..., h:], start)


def hidden(scores):
    return scores.masked_fill(causal_mask(*scores.shape[-2:]).logical_not(), -math.inf)


def scores_by_einsum(q, cached, w_up, rope):
    w_uk, content, position = queries(q, cached, w_up, rope)
    rank = w_up.shape[1]
    absorbed = einsum("bnth,nhc->bntc", content, w_uk)
    sums = einsum("bntc,bsc->bnts", absorbed, cached[..., :rank])
    sums = sums + einsum("bntr,bsr->bnts", position, cached[..., rank:])
    return hidden(sums / math.sqrt(q.shape[-1]))


def scores_head_by_head(q, cached, w_up, rope):
    w_uk, content, position = queries(q, cached, w_up, rope)
    every = []
    for i, w in enumerate(w_uk):
        row = torch.cat([content[:, i] @ w, position[:, i]], dim=-1)
        every.append(row @ cached.transpose(1, 2) / q.shape[-1] ** 0.5)
    return hidden(torch.stack(every, dim=1))


def scores_by_linear(q, cached, w_up, rope):
    """W_UK copied and transposed, as nn.Linear wants it."""
    w_uk, content, position = queries(q, cached, w_up, rope)
    w = w_uk.transpose(1, 2).contiguous()
    absorbed = torch.stack([linear(content[:, i], w[i]) for i in range(len(w))], dim=1)
    rows = torch.cat([absorbed, position], -1).reshape(len(q), -1, cached.shape[-1])
    return hidden(torch.bmm(rows, cached.mT).div(q.shape[-1] ** 0.5).reshape(*q.shape[:3], -1))


def scores_sequence_by_sequence(q, cached, w_up, rope):
    w_uk, content, position = queries(q, cached, w_up, rope)
    rows = torch.cat([content @ w_uk, position], -1)
    sums = torch.stack([x @ keys.T for x, keys in zip(rows, cached, strict=True)])
    return hidden(sums * q.shape[-1] ** -0.5)


def scores_query_by_query(q, cached, w_up, rope):
    t, s = q.shape[2], cached.shape[1]
    scores = q.new_full((*q.shape[:3], s), -INF)
    for i in range(t):
        seen = s - t + i + 1
        scores[:, :, i : i + 1, :seen] = scores_by_einsum(
            q[:, :, i : i + 1], cached[:, :seen], w_up, rope
        )
    return scores


def scores_scaled_first(q, cached, w_up, rope):
    w_uk, content, position = queries(q * q.shape[-1] ** -0.5, cached, w_up, rope)
    rows = torch.cat([content @ w_uk, position], -1).flatten(1, 2)
    scores = (rows @ cached.mT).unflatten(1, q.shape[1:3])
    t, s = scores.shape[-2:]
    return scores + torch.full((t, s), -INF, dtype=q.dtype).triu(s - t + 1)


def scores_keys_first(q, cached, w_up, rope):
    """cached @ rows in place of rows @ cached."""
    w_uk, content, position = queries(q, cached, w_up, rope)
    rows = torch.cat([content @ w_uk, position], -1).flatten(1, 2)
    scores = (cached @ rows.mT).transpose(1, 2).view(*q.shape[:3], -1) / q.shape[-1] ** 0.5
    may = torch.arange(scores.shape[3]) <= torch.arange(q.shape[2])[:, None] + (
        scores.shape[3] - q.shape[2]
    )
    return torch.where(may, scores, -INF)


def scores_in_double(q, cached, w_up, rope):
    return scores_by_einsum(q.double(), cached.double(), w_up.double(), rope).to(q.dtype)


def scores_in_float(q, cached, w_up, rope):
    return scores_by_einsum(q.float(), cached.float(), w_up.float(), rope).to(q.dtype)


def scores_in_place(q, cached, w_up, rope):
    scores = chunk(q, cached, w_up, rope, mask=None)
    scores[..., ~causal_mask(*scores.shape[-2:])] = -INF
    return scores


def scores_two_sums(q, cached, w_up, rope):
    """Each sum scaled, by the same root."""
    w_uk, content, position = queries(q, cached, w_up, rope)
    latents, keys = cached.tensor_split([w_up.shape[1]], dim=2)
    root = (content.shape[3] + position.shape[3]) ** 0.5
    first = (content @ w_uk).flatten(1, 2) @ latents.mT / root
    second = position.flatten(1, 2) @ keys.mT / root
    return hidden((first + second).view(*q.shape[:3], -1))


def scores_by_tensordot(q, cached, w_up, rope):
    w_uk, content, position = queries(q, cached, w_up, rope)
    absorbed = torch.stack(
        [torch.tensordot(x, w, dims=1) for x, w in zip(content.unbind(1), w_uk, strict=True)], 1
    )
    rows = torch.cat([absorbed, position], 3)
    every = [
        torch.tensordot(x, keys, dims=([2], [1])) for x, keys in zip(rows, cached, strict=True)
    ]
    return hidden(torch.stack(every) / q.shape[3] ** 0.5)


def broadcast(q, cached, w_up, rope):
    w_uk, content, position = queries(q, cached, w_up, rope)
    rows = torch.cat([content @ w_uk, position], dim=-1)
    return hidden(rows @ cached[:, None].mT / q.shape[-1] ** 0.5)


def repeated(q, cached, w_up, rope):
    w_uk, content, position = queries(q, cached, w_up, rope)
    rows = torch.cat([content @ w_uk, position], dim=-1)
    keys = cached.unsqueeze(1).repeat(1, q.shape[1], 1, 1)
    return hidden(rows @ keys.mT / q.shape[-1] ** 0.5)


def expanded_view(q, cached, w_up, rope):
    w_uk, content, position = queries(q, cached, w_up, rope)
    rows = torch.cat([content @ w_uk, position], dim=-1)
    keys = cached[:, None].expand(-1, q.shape[1], -1, -1)
    return hidden(einsum("bntc,bnsc->bnts", rows, keys) / q.shape[-1] ** 0.5)


def rope_keys_broadcast(q, cached, w_up, rope):
    """The latents are met by folded queries, the RoPE keys are not."""
    w_uk, content, position = queries(q, cached, w_up, rope)
    latents, keys = cached.tensor_split([w_up.shape[1]], dim=2)
    sums = ((content @ w_uk).flatten(1, 2) @ latents.mT).view(*q.shape[:3], -1)
    return hidden((sums + position @ keys[:, None].mT) / math.sqrt(q.shape[-1]))


COPYING = ["broadcast", "repeat", "expand", "the RoPE keys broadcast"]
STYLES = {
    "10.latent_kv": {
        "modules": by_modules,
        "views and linear": kv,
        "einsum": kv_by_einsum,
        "head by head": kv_head_by_head,
        "token by token": kv_token_by_token,
        "from the row": kv_from_the_row,
        "without cuts": kv_without_cuts,
        "turned in every head": turning_heads,
        "by hand, eps 0": kv_with(norm=by_hand(0)),
        "by hand, eps 1e-6": kv_with(norm=by_hand(1e-6)),
        "by hand, eps 1e-5": kv_with(norm=by_hand(1e-5)),
        "normalize": kv_with(
            norm=lambda raw, gain: nn.functional.normalize(raw, dim=-1) * len(gain) ** 0.5 * gain
        ),
    },
    "10.absorbed_scores": {
        "einsum": scores_by_einsum,
        "head by head": scores_head_by_head,
        "linear": scores_by_linear,
        "sequence by sequence": scores_sequence_by_sequence,
        "query by query": scores_query_by_query,
        "scaled first": scores_scaled_first,
        "keys first": scores_keys_first,
        "double": scores_in_double,
        "float": scores_in_float,
        "in place": scores_in_place,
        "two sums": scores_two_sums,
        "tensordot": scores_by_tensordot,
        "broadcast": broadcast,
        "repeat": repeated,
        "expand": expanded_view,
        "the RoPE keys broadcast": rope_keys_broadcast,
    },
}


@pytest.mark.parametrize("name, style", [(x, style) for x in STYLES for style in STYLES[x]])
def test_other_good_styles_pass(name, style):
    result = examine(find(name), STYLES[name][style])
    assert result.passed, result.message


# The probes are drawn so that a mistake shows


@pytest.mark.parametrize("exercise", [KV, SCORES], ids=["latent_kv", "absorbed_scores"])
def test_no_mistake_is_small(exercise):
    """As many would be with weights of 0.02, or at position 0."""
    right = outcomes(exercise, exercise.reference)
    for name, mistake in exercise.mistakes.items():
        wrong = outcomes(exercise, mistake.wrong)
        assert any(map(differ, wrong, right)), name


def differ(wrong, right):
    """Whether something else came back, or numbers that are 0.1 apart."""
    if not isinstance(wrong, tuple | list) or len(wrong) != len(right):
        return True
    return any(starmap(is_far, zip(wrong, right, strict=True)))


def is_far(x, y):
    if not alike(x, y):
        return x is not y
    return gaps(x, y)[x != y].nan_to_num(INF).gt(0.1).any()  # -inf less -inf is not 0


def test_the_probes_have_weights_that_count_chunks_and_places_beyond_0():
    for x, w_down, gain, w_up, *_ in KV.probes:
        assert min(w_down.std(), w_up.std()) > 0.2
        raw = x @ w_down[: len(gain)].mT
        assert raw.square().mean(-1).min() > 0.2  # eps is from 0 to 1e-5
        assert not torch.allclose(gain, torch.ones_like(gain), atol=0.1)
    assert sum(probe[-1] > 0 for probe in KV.probes) >= 10
    assert sum(probe[0].shape[1] >= 2 for probe in KV.probes) >= 10
    assert sum(1 < q.shape[2] < cached.shape[1] for q, cached, _ in SCORES.probes) >= 8
    assert min(w_up.std() for *_, w_up in SCORES.probes) > 0.2


def test_probes_are_in_both_precisions():
    for exercise in (KV, SCORES):
        assert {probe[0].dtype for probe in exercise.probes} == {torch.float32, torch.float64}


def test_absorbing_gives_the_scores_of_the_expanded_keys():
    """Over chunks, on the lesson's two rungs together."""
    for x, w_down, gain, w_up, n, h, start in KV.probes:
        x = torch.cat([x, x.flip(1)], dim=1)
        cached, keys, _ = ladder.latent_kv(x, w_down, gain, w_up, n, h, lesson_10.rope, 0)
        t, s = min(start + 1, x.shape[1]), x.shape[1]
        q = torch.randn(len(x), n, t, keys.shape[-1]).to(x.dtype)
        turned = torch.cat([q[..., :h], lesson_10.rope(q[..., h:], s - t)], dim=-1)
        expected = hidden(turned @ keys.mT / keys.shape[-1] ** 0.5)
        got = ladder.absorbed_scores(q, cached, w_up, lesson_10.rope)
        torch.testing.assert_close(got, expected)


# Mistakes in the words of a learner


KV_SLIPS = {
    "the keys and values cached": kv_with(row=lambda c, k, v: torch.cat([k, v], 3)),
    "no norm": kv_with(norm=lambda raw, gain: raw),
    "a latent cached before its norm": kv_with(kept=True),
    "a norm without its gain": kv_with(
        norm=lambda raw, gain: raw * torch.rsqrt(raw.square().mean(-1, keepdim=True) + 1e-6)
    ),
    "a LayerNorm": kv_with(norm=lambda raw, gain: layer_norm(raw, (len(gain),), gain)),
    "a norm without the mean": kv_with(norm=lambda raw, gain: nn.functional.normalize(raw, dim=2) * gain),
    "one norm over all tokens": kv_with(norm=lambda raw, gain: gain * raw / raw.pow(2).mean() ** 0.5),
    "no RoPE": kv_with(turn=lambda key, start: key),
    "start left out": lambda x, a, b, c, n, h, rope, start: kv(x, a, b, c, n, h, rope, 0),
    "the RoPE key left out of what is cached": lambda *given: kv(
        *given, row=lambda c, k, v: c[..., : len(given[2])]
    ),
    "an axis of heads in what is cached": kv_with(row=lambda c, k, v: c.unsqueeze(1)),
    "w_up split into all keys, then all values": lambda x, w_down, gain, w_up, n, h, rope, start: kv(
        x, w_down, gain, w_up, n, h, rope, start,
        cut=lambda up: (
            up[..., : n * h].unflatten(2, (n, h)).transpose(1, 2),
            up[..., n * h :].unflatten(2, (n, -1)).transpose(1, 2),
        ),
    ),
    "a split without a transpose": lambda x, w_down, gain, w_up, n, h, rope, start: kv(
        x, w_down, gain, w_up, n, h, rope, start,
        cut=lambda up: up.view(len(x), n, x.shape[1], -1).tensor_split([h], dim=3),
    ),
    "RoPE on the part without position too": lambda x, w_down, gain, w_up, n, h, rope, start: kv(
        x, w_down, gain, w_up, n, h, rope, start, plain=lambda k: rope(k, start)
    ),
    "the norm behind the expansion": lambda x, w_down, gain, w_up, *rest: rms_norm(
        linear(linear(x, w_down[: len(gain)]), w_up), [len(gain)], gain, 1e-6
    ),
    "what is cached alone": lambda *given: kv(*given)[0],
    "values, keys in place of keys, values": lambda *given: [kv(*given)[i] for i in (0, 2, 1)],
    "w_down not transposed": lambda x, w_down, *rest: x @ w_down,
    "w_up not transposed": lambda x, w_down, gain, w_up, *rest: (
        rms_norm((x @ w_down.T)[..., : len(gain)], gain.shape, gain) @ w_up
    ),
    "one RoPE key where n are to be joined": lambda *given: (
        lambda cached, keys, values: (
            cached,
            torch.cat([keys[..., : given[5]], keys[:, :1, :, given[5] :]], dim=-1),
            values,
        )
    )(*kv(*given)),
}  # fmt: skip


def chunk(q, cached, w_up, rope, *, scale=None, mask=causal_mask, start=None, rows=None):
    """A learner's absorbed_scores by einsum; each step may be another's."""
    w_uk, content, position = queries(q, cached, w_up, rope, start)
    absorbed = einsum("bnth,nhc->bntc", content, w_uk if rows is None else rows)
    rows = torch.cat([absorbed, position], dim=-1)
    scores = einsum("bntc,bsc->bnts", rows, cached)
    scores = scores / math.sqrt(q.shape[-1]) if scale is None else scores * scale
    return scores.masked_fill(~mask(*scores.shape[-2:]), -INF) if mask else scores


def widths(q, cached, w_up):
    """h, rope_dim, kv_rank."""
    rank = w_up.shape[1]
    return q.shape[3] - cached.shape[2] + rank, cached.shape[2] - rank, rank


def expanded_by_einsum(q, cached, w_up, rope):
    w_uk, content, position = queries(q, cached, w_up, rope)
    latents, keys = cached.tensor_split([w_up.shape[1]], dim=2)
    sums = einsum("bnth,bnsh->bnts", content, einsum("bsc,nhc->bnsh", latents, w_uk))
    return hidden((sums + einsum("bntr,bsr->bnts", position, keys)) / q.shape[-1] ** 0.5)


def expanded_head_by_head(q, cached, w_up, rope):
    w_uk, content, position = queries(q, cached, w_up, rope)
    latents, keys = cached.tensor_split([w_up.shape[1]], dim=2)
    every = [
        content[:, i] @ (latents @ w.T).mT + position[:, i] @ keys.mT for i, w in enumerate(w_uk)
    ]
    return hidden(torch.stack(every, 1) / q.shape[-1] ** 0.5)


def expanded_with_values(q, cached, w_up, rope):
    """Keys and values of all heads, as in the expanded form, and a key with its RoPE part."""
    w_uk, content, position = queries(q, cached, w_up, rope)
    n, h, rank = w_uk.shape
    up = linear(cached[..., :rank], w_up).view(*cached.shape[:2], n, -1).transpose(1, 2)
    keys = torch.cat([up[..., :h], cached[:, None, :, rank:].repeat(1, n, 1, 1)], -1)
    return hidden(torch.cat([content, position], -1) @ keys.mT / q.shape[-1] ** 0.5)


def latents_broadcast(q, cached, w_up, rope):
    """(b, 1, s, c) @ (n, c, h): matmul copies, and keys come out of it."""
    w_uk, content, position = queries(q, cached, w_up, rope)
    latents, keys = cached[:, None].tensor_split([w_up.shape[1]], dim=3)
    sums = content @ (latents @ w_uk.mT).mT + position @ keys.mT
    return hidden(sums / q.shape[-1] ** 0.5)


EXPANDED = "the keys of the heads expanded"

SCORE_SLIPS = [
    (expanded_by_einsum, EXPANDED),
    (expanded_head_by_head, EXPANDED),
    (expanded_with_values, EXPANDED),
    (latents_broadcast, EXPANDED),
    (
        lambda q, cached, w_up, rope: chunk(
            q, cached, w_up, rope,
            rows=w_up.view(q.shape[1], -1, w_up.shape[1])[:, widths(q, cached, w_up)[0] :],
        ),
        "the values' rows absorbed",
    ),
    (
        lambda q, cached, w_up, rope: chunk(
            q, cached, w_up, rope, rows=queries(q, cached, w_up, rope)[0].mT
        ),
        "W_UK absorbed the wrong way round",
    ),
    (
        lambda q, cached, w_up, rope: chunk(
            q, cached, w_up, rope,
            rows=w_up[: q.shape[1] * widths(q, cached, w_up)[0]].view(
                q.shape[1], -1, w_up.shape[1]
            ),
        ),
        "w_up split into all keys, then all values",
    ),
    (
        lambda q, cached, w_up, rope: chunk(
            q, cached, w_up, rope, scale=1 / math.sqrt(cached.shape[-1])
        ),
        "the scale of the latent space",
    ),
    (
        lambda q, cached, w_up, rope: chunk(
            q, cached, w_up, rope, scale=widths(q, cached, w_up)[0] ** -0.5
        ),
        "the scale of the part without position",
    ),
    (lambda *given: chunk(*given, scale=1), "no scale"),
    (lambda *given: chunk(*given, mask=None), "nothing hidden"),
    (
        lambda *given: chunk(*given, mask=lambda t, s: torch.ones(t, s).tril().bool()),
        "a mask lined up with the upper left corner",
    ),
    (lambda *given: chunk(*given, start=0), "queries at position 0"),
    (lambda *given: chunk(*given, start=given[1].shape[1]), "queries behind the last token"),
    (lambda *given: chunk(*given[:3], lambda x, start: x), "no RoPE"),
    (
        lambda q, cached, w_up, rope: chunk(
            rope(q, cached.shape[1] - q.shape[2]), cached, w_up, lambda x, start: x
        ),
        "RoPE over the whole query",
    ),
    (lambda *given: torch.softmax(chunk(*given), dim=-1), "softmax already"),
    (lambda *given: chunk(*given).reshape(len(given[0]), -1, given[1].shape[1]),
     "heads and queries left in one axis"),
    (
        lambda q, cached, w_up, rope: hidden(
            (torch.cat(queries(q, cached, w_up, rope)[1:], -1).flatten(1, 2) @ cached.mT).view(
                *q.shape[:3], -1
            ) / q.shape[-1] ** 0.5
        ),
        "nothing absorbed",
    ),
]  # fmt: skip


@pytest.mark.parametrize("diagnosis", KV_SLIPS)
def test_a_mistake_on_the_way_to_keys_and_values_is_named(diagnosis):
    result = examine(KV, KV_SLIPS[diagnosis])
    assert result.diagnosis == diagnosis, result.message


@pytest.mark.parametrize("slip, diagnosis", SCORE_SLIPS)
def test_a_mistake_in_the_scores_is_named(slip, diagnosis):
    result = examine(SCORES, slip)
    assert result.diagnosis == diagnosis, result.message


def test_keys_of_heads_are_told_though_the_numbers_are_right():
    message = examine(SCORES, expanded_head_by_head).message
    assert "The numbers are right, but on the way" in message
    assert "it should be 'nothing for a single head'" in message


@pytest.mark.parametrize(
    "slip, said",
    [
        (broadcast, "131,072 bytes, 8 ×"),
        (repeated, "131,072 bytes, 8 ×"),
        (expanded_view, "131,072 bytes, 8 ×"),
        (rope_keys_broadcast, "32,768 bytes, 2 ×"),
    ],
)
def test_who_copies_what_is_cached_for_every_head_is_told_what_it_took(slip, said):
    result = examine(SCORES, slip)
    assert result.passed
    assert "But you paid for the memory you wanted to save: " in result.message
    assert f"a tensor of {said} the 16,384 bytes of cached." in result.message


@pytest.mark.parametrize("style", [x for x in STYLES["10.absorbed_scores"] if x not in COPYING])
def test_who_copies_nothing_is_told_so(style):
    message = examine(SCORES, STYLES["10.absorbed_scores"][style]).message
    assert message.endswith("no tensor on the way was larger than cached: 16,384 bytes here.")


def test_two_mistakes_at_once_are_not_taken_for_one():
    slip = kv_with(kept=True, norm=lambda raw, gain: rms_norm(raw, gain.shape))
    assert examine(KV, slip).diagnosis == "something else"


# What is not started, and what a hint gives away


def no_kv(x, w_down, gain, w_up, n_heads, head_dim, rope, start):
    """x (b, t, d) → cached, keys, values"""
    ...


def no_scores(q, cached, w_up, rope):
    """q (b, n, t, head_dim + rope_dim) → scores"""
    ...


@pytest.mark.parametrize("exercise, stub", [(KV, no_kv), (SCORES, no_scores)])
def test_a_stub_is_not_started(exercise, stub):
    assert not examine(exercise, stub).started


@pytest.mark.parametrize("name", STYLES)
def test_the_first_hint_asks_and_no_hint_has_a_line_of_the_solution(name):
    hints = find(name).hints
    assert hints[0].endswith("?")
    *_, body = inspect.getsource(rung(name)).split('"""')
    for line in filter(None, map(str.strip, body.splitlines())):
        assert not any(line in hint for hint in hints)
