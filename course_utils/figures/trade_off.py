"""What sharing keys costs and buys: accuracy, speed of learning, diversity."""

from statistics import fmean

from course_utils.figures.card import LOOK, Card
from course_utils.figures.parts import (
    DARK,
    LIGHT,
    SIDES,
    STYLES,
    apart,
    clusters,
    digits,
    interval,
    legend,
    two,
)

PARTS = {1: "the whole", 2: "half the", 4: "a quarter of the", 8: "an eighth of the"}


@LOOK
def frontier(cache_bytes, quality, g):
    """Accuracy against bytes of cache for each token, this g filled and with its means.

    cache_bytes {g: bytes}; quality {panel: {label: {g: accuracies, one a seed}}}, one label or two.
    Where both have the same accuracies at the largest g, they are one model, drawn at one place.
    """
    n = max(cache_bytes)
    less = cache_bytes[n] / cache_bytes[g]
    part = PARTS.get(less, f"1/{less:.3g} of the") + " cache"
    means = {
        panel: {label: digits(fmean(seeds[g])) for label, seeds in labels.items()}
        for panel, labels in quality.items()
    }
    right = ", ".join(f"{next(iter(of.values()))} after {panel}" for panel, of in means.items())
    said = "; ".join(
        f"after {panel}, " + ", ".join(f"{mean} with {label}" for label, mean in of.items())
        for panel, of in means.items()
    )
    figure = Card(
        11,
        5,
        f"Means and intervals, {len(quality)} panels: share of right answers against bytes of "
        f"cache for each token. g = {g}: {cache_bytes[g]:,} bytes, {part}. Right: {said}.",
    )
    title = f"g = {g}: {part}; {right}".replace(" after", " right after", 1)
    figure.suptitle(title, x=0.01, ha="left")
    panels = figure.subplots(1, len(quality), sharey=True, squeeze=False)[0]
    for axes, (panel, labels) in zip(panels, quality.items(), strict=True):
        one_model = len({tuple(seeds[n]) for seeds in labels.values()}) == 1
        for style, side, (label, seeds) in zip(STYLES, SIDES, labels.items(), strict=False):
            shift = {one: side * (not one_model or one < n) for one in cache_bytes}
            at = [x * 2 ** (0.11 * shift[one]) for one, x in cache_bytes.items()]
            beside = [
                x * 2 ** (0.14 * (shift[one] or SIDES[0]))
                for one, x in zip(cache_bytes, at, strict=True)
            ]
            samples = [seeds[one] for one in cache_bytes]
            marked = [i for i, one in enumerate(shift) if shift[one] or side == SIDES[0]]
            means = clusters(axes, at, beside, samples, style, label, False, marked)
            place = dict(zip(cache_bytes, zip(at, means, strict=True), strict=True))[g]
            if shift[g] or side == SIDES[0]:  # else the mark of the first label stands there
                axes.plot(*place, style[1], color=style[0], markersize=13, zorder=5)
                axes.annotate(
                    digits(place[1]), place, (22 * side, -11 * side), textcoords="offset points",
                    ha="right" if side < 0 else "left", va="center", fontweight="bold",
                )  # fmt: skip
        axes.set_xscale("log", base=2)
        axes.set_xticks(
            list(cache_bytes.values()), [f"{x:,} B\ng = {one}" for one, x in cache_bytes.items()]
        )
        axes.minorticks_off()
        axes.set_xlim(min(cache_bytes.values()) / 1.6, max(cache_bytes.values()) * 1.6)
        axes.set(ylim=(0, 1.05), xlabel="cache for each token")
        axes.set_title(panel, fontsize=12)
    panels[0].set_ylabel("share of right answers")
    legend(figure)
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
    title = (
        f"As converted, {ahead(accuracy, shares[0])}; "
        f"after {100 * shares[-1]:g} % uptraining, {ahead(accuracy, shares[-1])}"
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
        f"Means and intervals, a panel for each g. {title} (compared seed by seed). {said}. "
        f"MHA, not converted: {way(control)}.",
    )
    figure.suptitle(title, x=0.01, ha="left")
    panels = figure.subplots(1, len(accuracy), sharey=True, squeeze=False)[0]
    for axes, (g, methods) in zip(panels, accuracy.items(), strict=True):
        ways = methods | {"MHA, not converted": control}
        for i, (style, (method, seeds)) in enumerate(zip(STYLES, ways.items(), strict=False)):
            places = [place + 0.22 * (i - (len(ways) - 1) / 2) for place in range(len(shares))]
            beside = [place + 0.1 for place in places]
            clusters(axes, places, beside, [seeds[share] for share in shares], style, method)
        mean, half = interval(scratch[g])
        axes.axhline(mean, color=DARK, lw=1.5, ls=(0, (6, 3)), zorder=0)
        axes.axhspan(mean - half, mean + half, color=DARK, alpha=0.12, lw=0, zorder=0)
        text = f"from scratch {digits(mean)}"
        axes.annotate(text, (-0.9, mean), (0, 3), textcoords="offset points", va="bottom")
        axes.set_xticks(
            range(len(shares)), [f"+{100 * x:g} %" if x else "converted" for x in shares]
        )
        axes.set(xlim=(-0.95, len(shares) - 0.4), ylim=(0, 1.05))
        axes.set_title(f"g = {g}", fontsize=12)
    panels[0].set_ylabel("share of right answers")
    legend(figure)
    return figure


@LOOK
def trained_and_random(panels):
    """How different the heads are against g, trained and random, a panel for each measure.

    panels {axis label: {"trained": {g: one number a seed}, "random": the same, and maybe
    "bound": {g: number}}}.
    """
    every_g = sorted(next(iter(panels.values()))["trained"])
    few, n = every_g[0], every_g[-1]
    titles = {
        label: [
            f"{kind} " + ", ".join(two(fmean(of[kind][g])) for g in every_g)
            for kind in ("trained", "random")
        ]
        for label, of in panels.items()
    }
    said = "; ".join(f"{label}: {'; '.join(title)}" for label, title in titles.items())
    figure = Card(
        0.5 + 3.5 * len(panels),
        5,
        f"Means and intervals against g, {len(panels)} panels. From g = {few} to {n}, {said}.",
    )
    figure.suptitle(f"Means, from g = {few} to g = {n}", x=0.01, ha="left")
    every_axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axes, (label, of) in zip(every_axes, panels.items(), strict=True):
        for kind, style, side in zip(("trained", "random"), STYLES, SIDES, strict=False):
            places = [place + 0.1 * side for place in range(len(every_g))]
            beside = [place + 0.15 * side for place in places]
            samples = [of[kind][g] for g in every_g]
            clusters(
                axes, places, beside, samples, style, f"{kind} weights", filled=kind == "trained"
            )
        if "bound" in of:
            bounds = [of["bound"][g] for g in every_g]
            for place, y in enumerate(bounds):
                axes.plot([place - 0.4, place + 0.4], [y, y], color=LIGHT, lw=4, zorder=0)
            axes.annotate(
                "bound g·h", (len(every_g) - 1.4, bounds[-1]), (-6, 0), va="center", ha="right",
                textcoords="offset points", color=DARK,
            )  # fmt: skip
        axes.set_xticks(range(len(every_g)), every_g)
        axes.set(xlim=(-0.5, len(every_g) - 0.5), xlabel="K/V heads g", ylabel=label)
        axes.set_ylim(0)
        axes.set_title("\n".join(titles[label]), fontsize=12)
    legend(figure)
    return figure


def ahead(accuracy, share):
    """Which method of `uptraining` leads in the most panels, and in how many.

    It leads where the interval of its differences from each other, seed by seed, lies above 0.
    """

    def beats(one, other):
        mean, half = interval([a - b for a, b in zip(one[share], other[share], strict=True)])
        return mean > half

    wins = {
        method: sum(
            all(beats(methods[method], methods[other]) for other in methods if other != method)
            for methods in accuracy.values()
        )
        for method in next(iter(accuracy.values()))
    }
    best = max(wins, key=wins.get)
    return f"“{best}” leads in {wins[best]} of {len(accuracy)}" if wins[best] else "no method leads"


def way(seeds):
    """The means of {share: accuracies} in a row: .45 → .84 → .93."""
    return " → ".join(digits(fmean(x)) for x in seeds.values())


def end(runs):
    """The last step of some runs and their mean accuracy there: each run [(step, accuracy), ...].

    >>> end([[(0, 0.1), (50, 0.4)], [(0, 0.1), (50, 0.6)]])
    (50, 0.5)
    """
    return runs[0][-1][0], fmean(run[-1][1] for run in runs)
