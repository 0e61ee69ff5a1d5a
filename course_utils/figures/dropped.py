"""What is dropped of the past, far tokens or bits, and what a model still answers without it."""

from statistics import fmean

from course_utils.figures.card import KEY_TEXT, LOOK, VALUE, Card
from course_utils.figures.low_rank import three
from course_utils.figures.parts import DARK, LIGHT, STYLES, digits, plain


@LOOK
def by_distance(right, window, n_layers, chance):
    """The share of right answers against how many rows back the answer lies.

    right {label: {distance: shares, one a seed}}, the first with this window in all n_layers;
    behind them how far one layer sees, and how far all of them can pass on.
    """
    first, *_ = right.values()
    reach, far = n_layers * (window - 1), list(first)
    zones = {
        "one layer sees": (1, window - 1),
        f"{n_layers} layers pass on": (window, reach),
        "beyond": (reach + 1, max(far)),
    }
    means = {
        label: {
            zone: fmean(fmean(of[i]) for i in range(a, b + 1)) for zone, (a, b) in zones.items()
        }
        for label, of in right.items()
    }
    near, passed, beyond = map(digits, next(iter(means.values())).values())
    title = (
        f"Window {window}: {near} right up to {window - 1} rows back, then {passed}, then {beyond}"
    )
    said = "; ".join(
        f"{label}: " + ", ".join(f"{zone} {digits(x)}" for zone, x in of.items())
        for label, of in means.items()
    )
    figure = Card(
        11,
        4.8,
        f"Share of right answers against rows back. {title}. Means, {said}; chance "
        f"{digits(chance)}.",
    )
    axes = figure.subplots()
    for (zone, (a, b)), fill in zip(zones.items(), ("#DDEBF5", "#F2F2F2", "white"), strict=True):
        axes.axvspan(a - 0.5, b + 0.5, color=fill, lw=0, zorder=0)
        words = zone.replace(" ", "\n") if b - a < 7 else zone
        axes.text((a + b) / 2, 1.2, words, ha="center", va="center", color=DARK, fontsize=11)
    for (label, of), (color, marker, line) in zip(right.items(), STYLES, strict=False):
        low, high = ([end(of[i]) for i in far] for end in (min, max))
        axes.fill_between(far, low, high, color=color, alpha=0.25, lw=0)
        mean = [fmean(of[i]) for i in far]
        axes.plot(far, mean, line, marker=marker, ms=5, color=color, label=label)
    axes.axhline(chance, ls=":", color=DARK, zorder=1)
    axes.text(1, chance + 0.03, "chance", color=DARK, fontsize=11)
    axes.set(xlabel="rows back to the answer", ylabel="share of right answers", title=title)
    axes.set(xlim=(0.5, max(far) + 1.5), ylim=(0, 1.32), yticks=[0, 0.25, 0.5, 0.75, 1])
    axes.legend(frameon=False, loc="center right")
    return figure


@LOOK
def fewer_bits(exact, nearest, bits, right):
    """One text's keys and values, the same in few bits, and what is right with few bits.

    exact, nearest (s, columns): the keys of all heads, then the values, as wide; of the s rows the
    first half are doors, the others questions. right {"keys": {what shares a scale: {bits: shares
    of right answers, one a seed}}, "values": the same}.
    """
    best = {
        part: digits(max(fmean(of[bits]) for of in ways.values())) for part, ways in right.items()
    }
    title = f"{bits} bits: {best['keys']} right with such keys, {best['values']} with such values"
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
        for (way, of), (hue, marker, line) in zip(ways.items(), STYLES, strict=False):
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
    charts[0].legend(frameon=False, title="a scale for each", loc="lower left")
    return figure
