"""Lesson 11's bills: layer by layer, ten models against the length of a text, lever by lever."""

from functools import partial
from math import log10

from matplotlib.patches import Patch, Polygon

from course_utils.figures.card import KEY, LATENT, LOOK, QUERY, Card
from course_utils.figures.parts import DARK, LIGHT, apart, two

TOKENS = [2**i for i in range(10, 21)]  # 1,024 to 1,048,576
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
    """How many layers are of each kind, what each takes of the bill, and the bill for any length.

    model: a `Geometry` whose layers keep all tokens, a window, or a state; some keep all.
    """
    total, full = model.kv_bytes(n_tokens), all_full(model, n_tokens)
    title = f"{model.name}, {n_tokens:,} tokens: {gb(total)}, "
    if total == full:
        title += "as with every layer full"
    else:
        title += f"{total / full:.0%} of that with every layer full"
    kinds = sorted(model.caches, key=lambda x: kind_of(x) != "full")  # these are below
    shares = [x.n_bytes(n_tokens) / total for x in kinds]
    keep = [KINDS[kind_of(x)][2].format(x.window) for x in kinds]
    said = "; ".join(
        f"{x.n_layers} layers keep {words}: {gb(share * total)}, {share:.0%}"
        for x, words, share in zip(kinds, keep, shares, strict=True)
    )
    figure = Card(
        11,
        5,
        f"{title}. A column of {model.n_layers} layers beside one of bytes: {said}. Beside them "
        "the bill against tokens, log scales, and what it would be with every layer full.",
    )
    figure.suptitle(title, x=0.01, ha="left")
    left, right = figure.subplots(1, 2, width_ratios=[1.15, 1])
    n_layers, layer, byte, middles = sum(x.n_layers for x in kinds), 0, 0, {}
    for x, words, share in zip(kinds, keep, shares, strict=True):
        color, hatch, _ = KINDS[kind_of(x)]
        part, bottoms = x.n_layers / n_layers, [layer, byte]
        look = {"color": color, "hatch": hatch, "ec": "white", "lw": 0}
        left.bar([0, 2], [part, share], 1, bottom=bottoms, **look)
        for start, bottom, height in zip((-0.5, 1.5), bottoms, (part, share), strict=True):
            if height / x.n_layers > 0.004:  # a line between two layers
                cuts = [bottom + height * i / x.n_layers for i in range(x.n_layers + 1)]
                left.hlines(cuts, start, start + 1, color="white", lw=0.8)
        edges = [(0.5, layer), (1.5, byte), (1.5, byte + share), (0.5, layer + part)]
        left.add_patch(Polygon(edges, color=color, alpha=0.25, lw=0))
        said = f"{x.n_layers} layers keep\n{words}:\n{gb(share * total)}, {share:.0%}"
        middles[said] = byte + share / 2
        layer, byte = layer + part, byte + share
    for words, y in apart({text: min(y, 0.9) for text, y in middles.items()}, 0.24).items():
        left.text(2.65, max(y, 0.1), words, va="center")
    left.set(xlim=(-0.5, 5), ylim=(0, 1), yticks=[])
    left.set_xticks([0, 2], [f"{model.n_layers} layers", "bytes"])
    left.tick_params(length=0)
    left.spines[:].set_visible(False)
    lengths = [2**i for i in range(6, 21)]
    every, as_is = (
        [of(s) / 1e9 for s in lengths] for of in (partial(all_full, model), model.kv_bytes)
    )
    right.plot(lengths, every, "--", color=DARK, lw=2, label="every layer full")
    right.plot(lengths, as_is, color=KEY, lw=3, label="as it is")
    right.plot(n_tokens, total / 1e9, "o", color="black", ms=10, zorder=4)
    for window in {x.window for x in kinds if x.window}:
        right.axvline(window, color=LIGHT, lw=3, zorder=0)
        right.text(window * 1.15, 600, f"window\n{window:,}", color=DARK, va="top")
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
def bills(models, title, named):
    """GB a sequence against tokens of each `Geometry`, log scales; thin past its own context.

    At both ends stands its place, 1 being the smallest bill. named: the one that title is about.
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
        width = 5 if m.name == named else 2.4
        axes.plot(TOKENS[:known], gigabytes[:known], line, color=color, lw=width)
        axes.plot(TOKENS[known - 1 :], gigabytes[known - 1 :], line, color=color, lw=1, alpha=0.5)
        for of, x, side, text in (
            (names, 1.06 * TOKENS[-1], "left", f"{last[m.name]}  {m.name}"),
            (ranks, TOKENS[0] / 1.06, "right", f"{first[m.name]}"),
        ):
            weight = "bold" if m.name == named else "normal"
            look = {"color": color, "fontsize": 11, "fontweight": weight}
            axes.text(x, 10 ** of[m.name], text, ha=side, va="center", **look)
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
    title = f"{shared:,} tokens in common, kept once: {one:.3g} GB, {two(each / one)}× less"
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
def levers(bills, what):
    """One bar for each lever: bills {(letter, what is done): bytes}, the first is without any.

    what: of which model, and how many tokens.
    """
    (_, base), *_ = bills.items()
    (_, best), least = min(bills.items(), key=lambda item: item[1])
    title = f"{what}: {best} saves most, {two(base / least)} times"
    said = "; ".join(
        f"{letter}, {done}: {gb(n)}" if letter else f"{done}: {gb(n)}"
        for (letter, done), n in bills.items()
    )
    figure = Card(11, 1.1 + 0.52 * len(bills), f"A bar for each lever, in GB. {title}. {said}.")
    axes = figure.subplots()
    for y, ((letter, done), n_bytes) in enumerate(bills.items()):
        axes.barh(y, n_bytes / 1e9, 0.62, color=KEY if letter else LIGHT)
        times = "" if n_bytes == base else f", {two(base / n_bytes)}× less"
        axes.text(n_bytes / 1e9, y, f" {gb(n_bytes)}{times}", va="center")
        axes.text(-0.25, y, letter, ha="right", va="center", fontweight="bold", fontsize=14)
        axes.text(-1.85, y, done, ha="right", va="center")
    axes.set(yticks=[], xlim=(0, 1.13 * base / 1e9), xlabel="GB")
    axes.invert_yaxis()
    figure.suptitle(title, x=0.01, ha="left")
    return figure
