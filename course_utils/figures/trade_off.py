"""What sharing keys costs and buys: accuracy, speed of learning, diversity.

In all of them a colour and a mark mean one g, from the largest on.
"""

from statistics import fmean
from textwrap import fill

from matplotlib.lines import Line2D

from course_utils.figures.card import LOOK, Card
from course_utils.figures.parts import (
    A_LATENT,
    DARK,
    LIGHT,
    SIDES,
    STYLES,
    and_,
    apart,
    digits,
    two,
)

LINES = "-", "--"  # of what is looked at, whose marks are filled, and of what it is compared with
WAYS = (("#000000", "P", "-"), ("#6A3D9A", "X", "--"), ("#888888", "*", ":"))  # none is a g's
SEEDS = "mark: mean of the seeds, line: lowest to highest"


@LOOK
def frontier(cache_bytes, quality):
    """Accuracy against bytes of cache for each token, a ring round what no other beats in both.

    cache_bytes {g: bytes}; quality {panel: {label: {g: accuracies, one a seed}}}, one label or two;
    rings are for the first. Where both have the same accuracies at the largest g, they are one
    model, drawn at one place.
    """
    n = max(cache_bytes)
    looks = of_g(cache_bytes)
    best = {panel: unbeaten(cache_bytes, next(iter(of.values()))) for panel, of in quality.items()}
    named = [
        "every g" if len(on) == len(cache_bytes) else f"only g = {and_(on)}" for on in best.values()
    ]
    places = [f"{on} after {panel}" for on, panel in zip(named, quality, strict=True)]
    title = f"On the frontier: {', '.join(places)}"
    figure, panels = over_bytes(quality, title, 5, lambda g: f"g = {g}")
    for axes, (panel, labels) in zip(panels, quality.items(), strict=True):
        one_model = len({tuple(seeds[n]) for seeds in labels.values()}) == 1
        for line, side, (label, seeds) in zip(LINES, SIDES, labels.items(), strict=False):
            first, means = side == SIDES[0], []
            for g, x in cache_bytes.items():
                at = x * 2 ** (0.11 * side * (not one_model or g < n))
                if first and g in best[panel]:
                    ring(axes, at, fmean(seeds[g]))
                if first or not one_model or g < n:
                    beside = at * 2 ** (0.05 * side)
                    mean = sample(axes, at, beside, seeds[g], looks[g], filled=first)
                    number(axes, at, mean, side)
                means.append((at, fmean(seeds[g])))
            axes.plot(*zip(*means, strict=True), line, color=DARK, lw=1.3, zorder=1, label=label)
        against_bytes(axes, cache_bytes, panel)
    names = [f"{label} ({how})" for label, how in zip(labels, ("filled", "hollow"), strict=False)]
    keys(figure, dict(zip(names, LINES, strict=False)) | {f"on the frontier, {names[0]}": None})
    return figure


@LOOK
def latent_frontier(cache_bytes, quality):
    """Accuracy of heads and of latents against bytes of cache, a ring round what no other beats.

    cache_bytes {g: bytes of cache for each token}; quality {panel: {label: {g: accuracies, one a
    seed}}}, two labels: models with g K/V heads, and some that cache a latent of as many bytes.
    """
    looks = of_g(cache_bytes)
    best, places = {}, {}
    for panel, labels in quality.items():
        points = {(label, g): seeds for label, of in labels.items() for g, seeds in of.items()}
        best[panel] = unbeaten({(label, g): cache_bytes[g] for label, g in points}, points)
        named = []
        for label in labels:
            if at := [f"{cache_bytes[g]:,}" for one, g in best[panel] if one == label]:
                named.append(f"{label} at {and_(at)} B")
        places.setdefault(", ".join(named), []).append(panel)
    title = "On the frontier: " + "; ".join(
        f"after {and_(panels)} {named}" for named, panels in places.items()
    )
    figure, panels = over_bytes(quality, title, 5.3, lambda g: f"{cache_bytes[g]:,} B")
    for axes, (panel, labels) in zip(panels, quality.items(), strict=True):
        for line, side, (label, of) in zip(LINES, SIDES, labels.items(), strict=True):
            means = []
            for g in sorted(of):
                at = cache_bytes[g] * 2 ** (0.11 * side)
                style = looks[g] if side == SIDES[0] else A_LATENT
                mean = sample(axes, at, at * 2 ** (0.05 * side), of[g], style)
                number(axes, at, mean, side)
                if (label, g) in best[panel]:
                    ring(axes, at, mean)
                means.append((at, mean))
            axes.plot(*zip(*means, strict=True), line, color=DARK, lw=1.3, zorder=1, label=label)
        against_bytes(axes, cache_bytes, panel)
    marks = "a mark each g", "plus, moved aside"
    kinds = [f"{label} ({how})" for label, how in zip(labels, marks, strict=True)]
    keys(figure, dict(zip(kinds, LINES, strict=True)) | {"on the frontier": None})
    return figure


@LOOK
def learning_curves(curves, mine=None):
    """Accuracy while training, a thin line for each seed: {label: a list of (step, accuracy) each}.

    All curves end at one step. mine has the same form and is drawn thick, with marks; it may be
    shorter, and takes the colour of the curves with its label.
    """
    mine = mine or {}
    ends = {label: end(runs) for label, runs in curves.items()}
    best = max(ends, key=lambda label: round(ends[label][1], 2))
    worst = min(ends, key=lambda label: round(ends[label][1], 2))
    last = ends[best][0]
    title = (
        f"After {last:,} steps {best} gets {digits(ends[best][1])} right "
        f"and {worst} gets {digits(ends[worst][1])}"
    )
    ends |= {f"yours, {label}": end(runs) for label, runs in mine.items()}
    said = "; ".join(f"{label} {digits(y)} at step {step:,}" for label, (step, y) in ends.items())
    figure = Card(9, 5, f"Accuracy over training steps, a line a seed. {title}. Ends: {said}.")
    axes = figure.subplots()
    styles = dict(zip(dict.fromkeys([*curves, *mine]), STYLES, strict=False))
    for label, runs in curves.items():
        color, marker, line = styles[label]
        for run in runs:
            axes.plot(*zip(*run, strict=True), line, color=color, lw=1.3, alpha=0.8, label=label)
        axes.plot(*ends[label], marker, color=color, markersize=9, zorder=3, clip_on=False)
    for label, runs in mine.items():
        color, marker, line = styles[label]
        for run in runs:
            axes.plot(
                *zip(*run, strict=True), line, marker=marker, color=color, lw=3.5, markersize=9,
                mec="black", label=f"yours, {label}", zorder=4, clip_on=False,
            )  # fmt: skip
    for stop in {step for step, _ in ends.values()}:
        heights = {label: y for label, (step, y) in ends.items() if step == stop}
        for label, height in apart(heights, 0.065).items():
            axes.annotate(
                f"{label}: {digits(heights[label])}", ends[label], (stop + 0.035 * last, height),
                va="center", fontweight=None if label in curves else "bold", zorder=5,
                bbox={"fc": "white", "ec": "none", "pad": 1},
                arrowprops={"arrowstyle": "-", "color": DARK, "relpos": (0, 0.5), "shrinkB": 5},
            )  # fmt: skip
    axes.set(xlabel="training steps", ylabel="share of right answers", title=title)
    axes.set(xlim=(0, last), ylim=(0, 1.05))
    return figure


@LOOK
def uptraining(accuracy, scratch, control):
    """Accuracy of converted models before and after uptraining, a panel for each g.

    accuracy {g: {method: {share of the training: accuracies, one a seed}}}, the same seeds in the
    same order for every method; scratch {g: accuracies of models trained from scratch}; control
    {share: accuracies} of the MHA models that were converted, trained on as they are.
    """
    shares = list(control)
    mha, *looks = STYLES
    title = (
        f"Ahead as converted: {ahead(accuracy, shares[0])}; "
        f"after {100 * shares[-1]:g} % uptraining: {ahead(accuracy, shares[-1])}"
    )
    said = "; ".join(
        f"g = {g}: "
        + ", ".join(f"{method} {way(seeds)}" for method, seeds in methods.items())
        + f", from scratch {digits(fmean(scratch[g]))}"
        for g, methods in accuracy.items()
    )
    figure = Card(
        11,
        5,
        f"Share of right answers, a panel for each g. {title}. Means: {said}. "
        f"MHA, not converted: {way(control)}.",
    )
    figure.suptitle(title.replace("; ", ";\n"), x=0.01, ha="left")
    panels = figure.subplots(1, len(accuracy), sharey=True, squeeze=False)[0]
    for axes, look, (g, methods) in zip(panels, looks, accuracy.items(), strict=False):
        ways = methods | {"MHA, not converted": control}
        for i, (style, seeds) in enumerate(zip((*WAYS, mha), ways.values(), strict=False)):
            places = [place + 0.17 * (i - (len(ways) - 1) / 2) for place in range(len(shares))]
            means = [
                sample(axes, at, at + 0.07, seeds[share], style)
                for at, share in zip(places, shares, strict=True)
            ]
            axes.plot(places, means, style[2], marker=style[1], color=style[0], ms=0, zorder=1)
        color, _, line = look
        axes.axhline(fmean(scratch[g]), color=color, lw=2, ls=line, zorder=0)
        axes.axhspan(min(scratch[g]), max(scratch[g]), color=color, alpha=0.12, lw=0, zorder=0)
        text, at = f"from scratch {digits(fmean(scratch[g]))}", (-0.9, fmean(scratch[g]))
        axes.annotate(text, at, (0, 3), textcoords="offset points", va="bottom")
        axes.set_xticks(
            range(len(shares)), [f"+{100 * x:g} %" if x else "converted" for x in shares]
        )
        axes.set(xlim=(-0.95, len(shares) - 0.4), ylim=(0, 1.05))
        axes.set_title(f"g = {g}", fontsize=12)
    panels[0].set_ylabel("share of right answers")
    figure.legend(handles=[
        Line2D([], [], color=color, marker=marker, ls=line, ms=8.5, label=label)
        for (color, marker, line), label in zip((*WAYS, mha), ways, strict=True)
    ], loc="outside lower center", ncols=4, frameon=False, title=SEEDS)  # fmt: skip
    return figure


@LOOK
def trained_and_random(panels, title):
    """How different the heads are against g, trained and random, a panel for each measure.

    panels {measure: {"trained": {g: one number a seed}, "random": the same, and "bound":
    {g: number} unless it is 1}}.
    """
    every_g = sorted(next(iter(panels.values()))["trained"])
    looks = of_g(every_g)
    said = "; ".join(
        f"{label}: "
        + ", ".join(
            f"{kind} " + ", ".join(two(fmean(of[kind][g])) for g in every_g)
            for kind in ("trained", "random")
        )
        for label, of in panels.items()
    )
    figure = Card(
        0.5 + 3.5 * len(panels),
        5,
        f"{len(panels)} panels against g. {title}. Means, from g = {every_g[0]} to {every_g[-1]}, "
        f"{said}.",
    )
    figure.suptitle(title, x=0.01, ha="left")
    every_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (label, of) in zip(every_axes, panels.items(), strict=True):
        for kind, line, side in zip(("trained", "random"), LINES, SIDES, strict=True):
            means = []
            for place, g in enumerate(every_g):
                at, filled = place + 0.12 * side, kind == "trained"
                mean = sample(axes, at, at + 0.08 * side, of[kind][g], looks[g], filled)
                if filled:
                    number(axes, at, mean, side, two(mean))
                means.append((at, mean))
            axes.plot(*zip(*means, strict=True), line, color=DARK, lw=1.3, zorder=1)
        if "bound" in of:
            bounds = [of["bound"][g] for g in every_g]
            for place, y in enumerate(bounds):
                axes.plot([place - 0.4, place + 0.4], [y, y], color=LIGHT, lw=4, zorder=0)
            axes.annotate(
                "at most g·h", (len(every_g) - 1.4, bounds[-1]), (-6, 0), va="center", ha="right",
                textcoords="offset points", color=DARK,
            )  # fmt: skip
        axes.set_xticks(range(len(every_g)), every_g)
        axes.set(xlim=(-0.95, len(every_g) - 0.5), xlabel="K/V heads g")
        axes.set_ylim(0, 1.1 * bounds[-1] if "bound" in of else 1)
        axes.set_title(label, fontsize=12)
    keys(figure, {"trained weights (filled)": LINES[0], "random weights (hollow)": LINES[1]})
    return figure


def of_g(every_g):
    """The colour, mark and line of each g: {g: style}, from the largest on."""
    return dict(zip(sorted(every_g, reverse=True), STYLES, strict=False))


def over_bytes(quality, title, height, name):
    """A `Card` with a panel for each in quality, and these; its words have all means, by name."""
    said = "; ".join(
        f"after {panel}, {label} "
        + ", ".join(f"{name(g)} {digits(fmean(seeds[g]))}" for g in sorted(seeds))
        for panel, labels in quality.items()
        for label, seeds in labels.items()
    )
    figure = Card(
        11,
        height,
        f"Share of right answers against bytes of cache for each token, {len(quality)} panels. "
        f"{title} (ringed). Means: {said}.",
    )
    lines = [fill(line, 95) for line in title.replace("; ", ";\n").splitlines()]
    figure.suptitle("\n".join(lines), x=0.01, ha="left")
    panels = figure.subplots(1, len(quality), sharey=True, squeeze=False)[0]
    panels[0].set_ylabel("share of right answers")
    return figure, panels


def against_bytes(axes, cache_bytes, panel):
    """Axes for accuracies against bytes of cache, {g: bytes}, with both named below."""
    axes.set_xscale("log", base=2)
    axes.set_xticks(
        list(cache_bytes.values()), [f"{x:,} B\ng = {g}" for g, x in cache_bytes.items()]
    )
    axes.minorticks_off()
    axes.set_xlim(min(cache_bytes.values()) / 1.6, max(cache_bytes.values()) * 1.6)
    axes.set(ylim=(0, 1.1), xlabel="cache for each token")
    axes.set_title(panel, fontsize=12)


def ring(axes, at, mean):
    """A ring round a mark."""
    axes.plot(at, mean, "o", ms=20, mfc="none", mec=DARK, zorder=2)


def sample(axes, at, beside, seeds, style, filled=True):
    """The mean of some seeds as a mark on a line from lowest to highest, each as a dot beside it.

    Returns the mean.
    """
    color, marker, _ = style
    mean = fmean(seeds)
    axes.plot([beside] * len(seeds), list(seeds), ".", color=color, alpha=0.6, zorder=3)
    axes.plot([at, at], [min(seeds), max(seeds)], color=color, lw=1.8, zorder=3)
    face = color if filled else "white"
    axes.plot(at, mean, marker, color=color, markersize=8.5, mfc=face, mew=1.8, zorder=4)
    return mean


def number(axes, at, mean, side, text=None):
    """The mean in figures, left (side -1) and above or right and below its mark."""
    axes.annotate(
        text or digits(mean), (at, mean), (10 * side, -13 * side), textcoords="offset points",
        ha="right" if side < 0 else "left", va="center", zorder=5,
        bbox={"fc": "white", "ec": "none", "pad": 0.5, "alpha": 0.8},
    )  # fmt: skip


def keys(figure, named):
    """One legend below all panels: {label: a kind of line, or None for a ring}."""
    handles = [
        Line2D([], [], color=DARK, ls=line or "none", marker="" if line else "o", ms=14, mfc="none",
               label=label)
        for label, line in named.items()
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False, title=SEEDS)


def unbeaten(cache_bytes, accuracies):
    """Each g that no other beats: as good in cache and in mean accuracy, and better in one.

    >>> unbeaten({1: 64, 2: 128, 4: 256}, {1: [0.4, 0.6], 2: [1, 1], 4: [1, 1]})
    [1, 2]
    """
    at = {g: (x, -fmean(accuracies[g])) for g, x in cache_bytes.items()}  # lower is better
    return [
        g
        for g, (x, y) in sorted(at.items())
        if not any(a <= x and b <= y and (a, b) != (x, y) for a, b in at.values())
    ]


def ahead(accuracy, share):
    """Which methods of `uptraining` have the highest mean, in two digits, and at which g.

    >>> ahead({2: {"a": {0: [0.5]}, "b": {0: [0.4]}}, 1: {"a": {0: [0.3]}, "b": {0: [0.3]}}}, 0)
    '“a” at g = 2'
    """
    where = {method: [] for method in next(iter(accuracy.values()))}
    for g, methods in accuracy.items():
        means = {method: round(fmean(seeds[share]), 2) for method, seeds in methods.items()}
        best = [method for method, mean in means.items() if mean == max(means.values())]
        if len(best) == 1:  # no tie
            where[best[0]].append(g)
    found = [
        f"“{method}” at " + ("every g" if len(at) == len(accuracy) else f"g = {and_(at)}")
        for method, at in where.items()
        if at
    ]
    return ", ".join(found) or "none"


def way(seeds):
    """The means of {share: accuracies} in a row: .45 → .84 → .93."""
    return " → ".join(digits(fmean(x)) for x in seeds.values())


def end(runs):
    """The last step of some runs and their mean accuracy there: each run [(step, accuracy), ...].

    >>> end([[(0, 0.1), (50, 0.4)], [(0, 0.1), (50, 0.6)]])
    (50, 0.5)
    """
    return runs[0][-1][0], fmean(run[-1][1] for run in runs)
