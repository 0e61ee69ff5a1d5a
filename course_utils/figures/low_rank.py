"""How few numbers keep the keys and values, and what a model still answers with them."""

from statistics import fmean

import torch
from matplotlib.lines import Line2D

from course_utils.figures.card import KEY, KEY_TEXT, LOOK, VALUE, Card
from course_utils.figures.parts import DARK, LIGHT, bare, digits, plain, signed_bar

LINES = {"trained": (KEY, "o", "-"), "random": ("#000000", "s", "--")}  # colour, mark, line


@LOOK
def kept(panels, at, title):
    """What r numbers a token keep, for every r, trained against random, a panel for each matrix.

    panels {name: {"trained": [shares, one for each r from 1 on, …], "random": the same, "bound":
    {what it is called: the rank that none exceeds} if there is one}}; at: the r whose means are
    named.
    """
    means = {
        name: {kind: fmean(float(x[at - 1]) for x in of[kind]) for kind in LINES}
        for name, of in panels.items()
    }
    said = "; ".join(
        f"{name}: " + ", ".join(f"{kind} {digits(x)}" for kind, x in of.items())
        for name, of in means.items()
    )
    figure = Card(
        11,
        4.7,
        f"Share of the sum of squares that is kept, against kv_rank, {len(panels)} panels. "
        f"{title}. Means at {at}, {said}.",
    )
    figure.suptitle(title, x=0.01, ha="left")
    most = max(len(x) for of in panels.values() for x in of["trained"])
    every_axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    for axes, (name, of) in zip(every_axes, panels.items(), strict=True):
        for bound, rank in of.get("bound", {}).items():
            axes.axvline(rank, color=LIGHT, lw=4, zorder=0)
            axes.annotate(
                bound, (rank, 0), (-6, 4), ha="right", textcoords="offset points", color=DARK
            )
        for (kind, (color, marker, line)), side in zip(LINES.items(), (1, -1), strict=True):
            for x in of[kind]:
                axes.plot(range(1, len(x) + 1), x, line, color=color, lw=1.6, alpha=0.7)
            mean = means[name][kind]
            axes.plot(at, mean, marker, color=color, ms=9, mec="black", zorder=4)
            axes.annotate(
                digits(mean), (at, mean), (-12 * side, 10 * side), textcoords="offset points",
                ha="right" if side > 0 else "left", va="center", zorder=5,
                bbox={"fc": "white", "ec": "none", "pad": 0.5, "alpha": 0.8},
            )  # fmt: skip
        axes.set_xscale("log", base=2)
        ticks = [2**i for i in range(0, most.bit_length(), 2)]
        axes.set_xticks(ticks, ticks)
        axes.minorticks_off()
        axes.set(xlim=(1, most), ylim=(0, 1.1))
        axes.set_title(name, fontsize=12)
        axes.set_xlabel("numbers a token")
    every_axes[0].set_ylabel("share that is kept")
    figure.legend(
        handles=[
            Line2D([], [], color=color, marker=marker, mec="black", ls=line, ms=9,
                   label=f"{kind}, the mark is the mean")
            for kind, (color, marker, line) in LINES.items()
        ],
        loc="outside lower center", ncols=2, frameon=False,
    )  # fmt: skip
    return figure


@LOOK
def low_rank(exact, nearest, at, squares, right, trained):
    """One text's keys and values, the nearest ones made of `at` numbers a token, and what is right.

    exact, nearest (s, columns): the keys of all heads, then the values, as wide; of the s rows the
    first half are doors, the others questions. squares {r: how much of their sum is kept, one share
    a seed}; right {r: shares of right answers, one a seed}; trained {numbers a token: the same of
    models that were trained with so many}.
    """
    columns = exact.shape[1]
    title = (
        f"{at} numbers in place of {columns}: {share(squares[at])} of the squares kept, "
        f"{share(right[at])} right"
    )
    best = ", ".join(f"{r} {digits(fmean(x))}" for r, x in right.items())
    others = ", ".join(f"{r} {digits(fmean(x))}" for r, x in trained.items())
    figure = Card(
        11,
        5.6,
        f"{title}. Heat maps of one text's keys and values, the nearest of rank {at} and the "
        f"difference. Beside them the share of right answers: cut to so many numbers after "
        f"training {best}; GQA trained with so few {others}.",
    )
    figure.suptitle(title, x=0.01, ha="left")
    maps, side = figure.subplots(1, 2, width_ratios=[1.8, 1])
    three(maps, plain(exact), plain(nearest), f"nearest of rank {at}")
    answers(side, at, right, trained)
    return figure


def three(axes, exact, nearest, name):
    """Two matrices (s, columns) and their difference as one image, in the colours of one scale."""
    s, columns = exact.shape
    gap = torch.full((3, columns), torch.nan)  # room for a name
    parts = {"as they are": exact, name: nearest, "difference": exact - nearest}
    stacked = torch.cat([torch.cat([gap, x]) for x in parts.values()]).numpy()
    top = exact.abs().max().item()
    image = axes.imshow(stacked, vmin=-top, vmax=top, aspect="auto", interpolation="nearest")
    signed_bar(axes, image)
    middles = []
    for i, name in enumerate(parts):
        start = i * (s + 3) + 2.5
        axes.text(-0.5, start - 0.4, name, va="bottom")
        axes.plot([columns / 2 - 0.5] * 2, [start, start + s], color="black", lw=1.2)
        axes.plot([-0.5, columns - 0.5], [start + s / 2] * 2, color="black", lw=1.2)
        middles += [start + s / 4, start + 3 * s / 4]
    axes.set_yticks(middles, ["doors", "questions"] * 3)
    heads = [columns / 4 - 0.5, 3 * columns / 4 - 0.5]
    axes.set_xticks(heads, ["keys of all heads", "values of all heads"], fontweight="bold")
    for label, color in zip(axes.get_xticklabels(), (KEY_TEXT, VALUE), strict=True):
        label.set_color(color)
    bare(axes)


def answers(axes, at, right, trained):
    """The share of right answers against numbers a token, a ring round that of `at`."""
    for label, (color, marker, line), of, size in (
        ("cut after training", LINES["trained"], right, 7),
        ("GQA trained with so few", LINES["random"], trained, 11),  # seen behind the other
    ):
        means = [fmean(x) for x in of.values()]
        look = {"color": color, "marker": marker, "mec": "black", "ms": size}
        axes.plot(list(of), means, line, label=label, zorder=5 - size / 10, **look)
        for r, x in of.items():
            axes.plot([r, r], [min(x), max(x)], color=color, lw=5, alpha=0.5, zorder=2)
    axes.plot(at, fmean(right[at]), "o", ms=20, mfc="none", mec=DARK, mew=1.5, zorder=6)
    ticks = sorted({*right, *trained})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, ticks)
    axes.minorticks_off()
    axes.set(xlabel="numbers a token", ylabel="share of right answers", ylim=(0, 1.05))
    axes.legend(loc="lower right", frameon=False)


def share(seeds):
    """The mean of some shares, in per cent.

    >>> share([0.5, 0.6])
    '55 %'
    """
    return f"{100 * fmean(seeds):.0f} %"
