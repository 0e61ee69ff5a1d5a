"""What is dropped of the past, far tokens or bits, and what a model still answers without it."""

from itertools import pairwise
from statistics import fmean

from course_utils.figures.card import KEY_TEXT, LOOK, VALUE, Card
from course_utils.figures.low_rank import three
from course_utils.figures.parts import DARK, LIGHT, STYLES, digits, plain

WAYS = STYLES[0], STYLES[1], STYLES[3]  # green is for values


@LOOK
def by_distance(right, window, n_layers, chance):
    """The share of right answers against how many rows back the answer lies.

    right {label: {distance: shares, one a seed}}, the first with this window in all n_layers.
    Behind them bands of window - 1 rows, each one layer farther: so many must work together.
    """
    first, *_ = right.values()
    far = list(first)
    ends = [*(k * (window - 1) for k in range(n_layers + 1)), max(far)]
    zones = [(a + 1, b) for a, b in pairwise(ends)]
    means = {
        label: [digits(fmean(fmean(of[i]) for i in range(a, b + 1))) for a, b in zones]
        for label, of in right.items()
    }
    one, *more, beyond = next(iter(means.values()))
    others = ", ".join(f"by {k} {x}" for k, x in enumerate(more, 2))
    title = f"Window {window}: right by 1 layer {one}, {others}; beyond {beyond}"
    named = [*map(str, range(1, n_layers + 1)), "beyond"]
    said = "; ".join(
        f"{label}: " + ", ".join(f"{zone} {x}" for zone, x in zip(named, of, strict=True))
        for label, of in means.items()
    )
    figure = Card(
        11,
        5.2,
        f"Share of right answers against rows back. {title}. Means where so many layers must "
        f"work together, {said}; chance {digits(chance)}.",
    )
    axes = figure.subplots()
    for i, (a, b) in enumerate(zones):
        axes.axvspan(a - 0.5, b + 0.5, color=("#DDEBF5", "white")[i % 2], lw=0, zorder=0)
    above = axes.secondary_xaxis("top")
    above.set_xticks([(a + b) / 2 for a, b in zones], named)
    above.tick_params(length=0)
    above.set_xlabel("layers that must work together to reach so far back")
    above.spines[:].set_visible(False)
    for (label, of), (color, marker, line) in zip(right.items(), STYLES, strict=False):
        low, high = ([end(of[i]) for i in far] for end in (min, max))
        axes.fill_between(far, low, high, color=color, alpha=0.25, lw=0)
        mean = [fmean(of[i]) for i in far]
        axes.plot(far, mean, line, marker=marker, ms=5, color=color, label=label)
    axes.axhline(chance, ls=":", color=DARK, zorder=1)
    axes.text(1, chance + 0.03, "chance", color=DARK, fontsize=11)
    axes.set_xticks(ends[1:])
    axes.set(xlabel="rows back to the answer", ylabel="share of right answers")
    axes.set(xlim=(0.5, max(far) + 1.5), ylim=(0, 1.06), yticks=[0, 0.25, 0.5, 0.75, 1])
    axes.set_title(title)
    axes.legend(frameon=False, loc="center right")
    return figure


@LOOK
def fewer_bits(exact, nearest, bits, right):
    """One text's keys and values, the same in few bits, and what is right with few bits.

    exact, nearest (s, columns): the keys of all heads, then the values, as wide; of the s rows the
    first half are doors, the others questions. right {"keys": {what shares a scale: {bits: shares
    of right answers, one a seed}}, "values": the same}.
    """
    keys, values = (digits(max(fmean(of[bits]) for of in ways.values())) for ways in right.values())
    title = f"{bits} bits: at best {keys} right if keys have so few, {values} if values"
    said = "; ".join(
        f"{part}, {way}: " + ", ".join(f"{b} bits {digits(fmean(x))}" for b, x in of.items())
        for part, ways in right.items()
        for way, of in ways.items()
    )
    figure = Card(
        11,
        5.8,
        f"{title}. Heat maps of one text's keys and values, of the same in {bits} bits, and of the "
        f"difference. Beside them the share of right answers. {said}.",
    )
    figure.suptitle(title, x=0.01, ha="left")
    grid = figure.add_gridspec(2, 2, width_ratios=[1.5, 1])
    three(figure.add_subplot(grid[:, 0]), plain(exact), plain(nearest), f"in {bits} bits")
    above = figure.add_subplot(grid[0, 1])
    charts = above, figure.add_subplot(grid[1, 1], sharex=above)
    for axes, (part, ways), color in zip(charts, right.items(), (KEY_TEXT, VALUE), strict=True):
        for (way, of), (hue, marker, line) in zip(ways.items(), WAYS, strict=False):
            counts = list(range(len(of)))
            axes.plot(counts, [fmean(x) for x in of.values()], line, marker=marker, color=hue,
                      label=way)  # fmt: skip
            for i, x in zip(counts, of.values(), strict=True):
                axes.plot([i, i], [min(x), max(x)], color=hue, lw=5, alpha=0.4)
        axes.axvspan(list(of).index(bits) - 0.3, list(of).index(bits) + 0.3, color=LIGHT, alpha=0.4)
        axes.set(xlim=(-0.4, len(of) - 0.6), ylim=(0, 1.08), yticks=[0, 0.5, 1])
        axes.set_ylabel("share right")
        axes.set_title(f"{part} rounded", fontsize=12, color=color)
    charts[1].set_xticks(counts, [str(b) for b in of])
    charts[1].set_xlabel("bits a number")
    charts[1].legend(title="a scale for each", loc="lower left", framealpha=1, edgecolor="white")
    return figure
