"""Lesson 11's bills: layer by layer, ten models against the length of a text, lever by lever."""

from functools import partial
from math import log10

from matplotlib.patches import Patch

from course_utils.figures.card import KEY, LATENT, LOOK, QUERY, Card
from course_utils.figures.parts import DARK, LIGHT, apart, two

TOKENS = [2**i for i in range(10, 21)]  # 1,024 to 1,048,576
LEAST = 1e4  # bytes of a layer, where bars begin
KINDS = {  # what a layer keeps: colour, hatch, words
    "full": (KEY, None, "all tokens"),
    "window": ("#56B4E9", "//", "the last {:,}"),
    "state": ("#CC79A7", "..", "a state"),
}
LINES = {  # of models, by what keeps their bill small: colour, line
    "all layers keep all tokens": ("#000000", "-"),
    "all keep latents of all": (LATENT, "-."),
    "some keep a window": (QUERY, "--"),
    "some keep a state": ("#D55E00", ":"),
}


def kind_of(layers):
    """The key of KINDS of a `Layers`."""
    if layers.window:
        return "window"
    return "full" if layers.per_token else "state"


def all_full(model, n_tokens):
    """Bytes if every layer kept all tokens; one with a state what the first full layer keeps."""
    usual = next(x for x in model.caches if kind_of(x) == "full")
    each = [(x.n_layers, x.per_token or usual.per_token) for x in model.caches]
    return 2 * n_tokens * sum(n_layers * numbers for n_layers, numbers in each)


@LOOK
def layer_bills(model, n_tokens):
    """A bar for each layer's cache of n_tokens, by kinds; beside it the whole bill for any length.

    model: a `Geometry` whose layers keep all tokens, a window, or a state; some keep all.
    """
    total, full = model.kv_bytes(n_tokens), all_full(model, n_tokens)
    title = f"{model.name}, {n_tokens:,} tokens: {gb(total)}"
    title += "" if full == total else f"; with every layer full {gb(full)}"
    kinds = {}
    for x in model.caches:
        n_bytes, words = x.n_bytes(n_tokens), KINDS[kind_of(x)][2].format(x.window)
        keep = f"{x.n_layers} layers keep {words}: {gb(n_bytes)}, {n_bytes / total:.0%}"
        kinds[keep] = x, n_bytes / x.n_layers
    figure = Card(
        11,
        5,
        f"{title}. A bar for each layer, log scale: {'; '.join(kinds)}. Beside it the bill against "
        "tokens, log scales, and what it were with every layer full.",
    )
    figure.suptitle(title, x=0.01, ha="left")
    left, right = figure.subplots(1, 2, width_ratios=[1.15, 1])
    start, n_layers = 0, sum(x.n_layers for x, _ in kinds.values())
    for keep, (x, n_bytes) in kinds.items():
        color, hatch, _ = KINDS[kind_of(x)]
        middles = [(start + i + 0.5) / n_layers for i in range(x.n_layers)]
        bar = {"left": LEAST, "color": color, "hatch": hatch, "ec": "white", "lw": 0}
        left.barh(middles, n_bytes - LEAST, 0.8 / n_layers, **bar)
        box = {"fc": "white", "ec": "none", "pad": 1.5, "alpha": 0.9}
        middle = (start + x.n_layers / 2) / n_layers
        left.text(1.4 * LEAST, middle, keep, va="center", fontsize=11, bbox=box)
        start += x.n_layers
    left.set_xscale("log")
    left.set_xticks([1e5, 1e6, 1e7, 1e8, 1e9], ["0.1 MB", "1 MB", "10 MB", "0.1 GB", "1 GB"])
    left.minorticks_off()
    left.set(xlim=(LEAST, 2e10), ylim=(1, 0), yticks=[], xlabel="bytes of one layer (log)")
    left.set_ylabel(f"{model.n_layers} layers, by kind")
    lengths = [2**i for i in range(6, 21)]
    every, as_is = (
        [of(s) / 1e9 for s in lengths] for of in (partial(all_full, model), model.kv_bytes)
    )
    right.plot(lengths, every, "--", color=DARK, lw=2, label="every layer full")
    right.plot(lengths, as_is, color=KEY, lw=3, label="as it is")
    right.plot(n_tokens, total / 1e9, "o", color="black", ms=10, zorder=4)
    for window in {x.window for x in model.caches if x.window}:
        right.axvline(window, color=LIGHT, lw=3, zorder=0)
        right.text(window / 1.15, 600, f"window\n{window:,}", color=DARK, ha="right", va="top")
    by_tokens(right, 50)
    right.set(ylim=(1e-3, 1e3), ylabel="GB (log)")
    right.legend(frameon=False, loc="lower right")
    return figure


def by_tokens(axes, least):
    """The axis of tokens, from least on."""
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    ticks = [2**i for i in range(7, 20, 3) if 2**i > least]
    axes.set_xticks(ticks, [f"{s // 1024}k" if s >= 1024 else s for s in ticks])
    axes.set(xlabel="tokens (log; 1k is 1,024)", xlim=(least, TOKENS[-1] * 1.2))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()


def gb(n_bytes):
    """Bytes in GB, with three digits at most.

    >>> gb(11_173_625_856), gb(66_571_993_088), gb(20_971_520)
    ('11.2 GB', '66.6 GB', '0.021 GB')
    """
    return f"{n_bytes / 1e9:.3g} GB" if n_bytes >= 1e8 else f"{n_bytes / 1e9:.2g} GB"


def keeps(model):
    """The key of LINES that a `Geometry` belongs to."""
    kinds = {kind_of(x) for x in model.caches}
    everything, latents, window, state = LINES
    if kinds != {"full"}:
        return window if "window" in kinds else state
    return latents if model.kind == "MLA" else everything


@LOOK
def bills(models, title):
    """GB a sequence against tokens of each `Geometry`, log scales; dotted past its own context.

    At both ends stands its place, 1 being the smallest bill.
    """
    ends = {s: sorted(models, key=lambda m: m.kv_bytes(s)) for s in (TOKENS[0], TOKENS[-1])}
    first, last = ({m.name: i + 1 for i, m in enumerate(of)} for of in ends.values())
    said = "; ".join(
        f"{m.name} {two(m.kv_bytes(TOKENS[0]) / 1e9)} and {two(m.kv_bytes(TOKENS[-1]) / 1e9)}"
        for m in ends[TOKENS[-1]]
    )
    figure = Card(11, 6.4, f"A line for each of {len(models)} models, GB against tokens, log "
                  f"scales. {title}. GB at 1,024 and 1,048,576 tokens: {said}.")  # fmt: skip
    axes = figure.subplots()
    names = apart({m.name: log10(m.kv_bytes(TOKENS[-1]) / 1e9) for m in models}, 0.14)
    ranks = apart({m.name: log10(m.kv_bytes(TOKENS[0]) / 1e9) for m in models}, 0.14)
    for m in models:
        color, line = LINES[keeps(m)]
        gigabytes = [m.kv_bytes(s) / 1e9 for s in TOKENS]
        known = sum(s <= (m.max_context or TOKENS[-1]) for s in TOKENS)
        axes.plot(TOKENS[:known], gigabytes[:known], line, color=color, lw=2.4)
        axes.plot(TOKENS[known - 1 :], gigabytes[known - 1 :], line, color=color, lw=1, alpha=0.5)
        for of, x, side, text in (
            (names, 1.06 * TOKENS[-1], "left", f"{last[m.name]}  {m.name}"),
            (ranks, TOKENS[0] / 1.06, "right", f"{first[m.name]}"),
        ):
            axes.text(x, 10 ** of[m.name], text, color=color, ha=side, va="center", fontsize=11)
    by_tokens(axes, 800)
    axes.set(xlim=(750, TOKENS[-1] * 9), ylabel="GB a sequence (log)", title=title)
    handles = [
        axes.plot([], [], line, color=color, lw=2.4, label=label)[0]
        for label, (color, line) in LINES.items()
        if any(keeps(m) == label for m in models)
    ]
    axes.legend(handles=handles, frameon=False, loc="upper left")
    return figure


@LOOK
def common_beginning(users, shared, own, token_bytes, top):
    """GB of so many users' caches, a beginning of `shared` tokens kept once for each, or for all.

    own: tokens of each user beside it; the axis ends at `top` GB.
    """
    each, one = (
        users * (shared + own) * token_bytes / 1e9,
        (shared + users * own) * token_bytes / 1e9,
    )
    title = f"{shared:,} tokens in common: {each:.3g} GB, or {one:.3g} if they are kept once"
    figure = Card(10, 3.4, f"Two bars, {users} users with {own:,} tokens of their own. {title}.")
    axes = figure.subplots()
    for y, (times, total) in enumerate(((users, each), (1, one))):
        begin = times * shared * token_bytes / 1e9
        axes.barh(y, begin, 0.6, color="white", ec=KEY, hatch="//")
        axes.barh(y, total - begin, 0.6, left=begin, color=KEY)
        axes.text(total, y, f" {total:.3g} GB", va="center")
    axes.set_yticks([0, 1], [f"{users} caches", "beginning kept once"])
    axes.invert_yaxis()
    axes.set(xlabel="GB", xlim=(0, 1.12 * top), title=title)
    axes.legend(
        handles=[Patch(fc="white", ec=KEY, hatch="//", label="beginning"),
                 Patch(color=KEY, label="own tokens")],
        frameon=False, loc="lower right",
    )  # fmt: skip
    return figure


@LOOK
def levers(bills, title):
    """One bar for each lever: bills {(letter, what is done): bytes}, the first is without any."""
    (_, base), *_ = bills.items()
    said = "; ".join(
        f"{letter}, {what}: {gb(n)}" if letter else f"{what}: {gb(n)}"
        for (letter, what), n in bills.items()
    )
    figure = Card(11, 1.1 + 0.52 * len(bills), f"A bar for each lever, in GB. {title}. {said}.")
    axes = figure.subplots()
    for y, ((letter, what), n_bytes) in enumerate(bills.items()):
        axes.barh(y, n_bytes / 1e9, 0.62, color=KEY if letter else LIGHT)
        times = "" if n_bytes == base else f", {two(base / n_bytes)}× less"
        axes.text(n_bytes / 1e9, y, f" {gb(n_bytes)}{times}", va="center")
        axes.text(-0.25, y, letter, ha="right", va="center", fontweight="bold", fontsize=14)
        axes.text(-1.6 - 0.25, y, what, ha="right", va="center")
    axes.set(yticks=[], xlim=(0, 1.2 * base / 1e9), xlabel="GB")
    axes.invert_yaxis()
    axes.set_title(title)
    return figure
