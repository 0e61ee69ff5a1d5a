"""How long a decode step takes, over the least it can take, of one layer and of a whole model."""

from itertools import pairwise
from math import log

from matplotlib.ticker import LogLocator

from course_utils.figures.card import LOOK, Card
from course_utils.figures.parts import DARK, LIGHT, STYLES, around, legend, speed, two


@LOOK
def roofline(measured, bytes_ms, flop_ms, title, call=None, limits=None):
    """Milliseconds of a decode step against g, over the roof that reading and computing set.

    measured {label: {g: (low, median, high)}}; bytes_ms and flop_ms {g: ms it takes at least to
    read the cache and to compute}; call, if given, the ms of a call with next to nothing to do. The
    title stands before the finding, which compares the ends; limits are the y axis's.
    """
    every_g = sorted(bytes_ms)
    few, n = every_g[0], every_g[-1]
    first, times = next(iter(measured.items()))
    finding = (
        f"{title}: {two(bytes_ms[n] / bytes_ms[few])}× less to read, "
        f"{first} {speed(times[n][1], times[few][1])}"
    )
    corners = crossing(bytes_ms, flop_ms)
    meet = "".join(f" Reading and computing take as long at g = {two(g)}." for g, _ in corners)
    alone = f" A dashed line: an empty call takes {two(call)} ms." if call else ""
    said = "; ".join(
        f"{label} " + ", ".join(two(of[g][1]) for g in reversed(every_g))
        for label, of in measured.items()
    )
    figure = Card(
        10,
        5.4,
        f"Times against g, log scales, over a grey line, the least a step can take. {finding}, "
        f"from g = {n} to {few}.{meet}{alone} "
        f"Milliseconds for g = {', '.join(map(str, reversed(every_g)))}: {said}.",
    )
    axes = figure.subplots()
    roof = sorted([(g, max(bytes_ms[g], flop_ms[g])) for g in every_g] + corners)
    axes.plot(*zip(*roof, strict=True), color=LIGHT, lw=7, label="least possible", zorder=0)
    if call:
        axes.axhline(call, color=DARK, ls=(0, (6, 3)), lw=1.5, label="an empty call", zorder=0)
    for (label, of), (color, marker, line) in zip(measured.items(), STYLES, strict=False):
        median, reach = around(of[g] for g in every_g)
        axes.errorbar(
            every_g, median, reach, ls=line, marker=marker, color=color, markersize=8.5,
            capsize=4, label=label,
        )  # fmt: skip
    for text, own, other in (
        ("reading the cache", bytes_ms, flop_ms),
        ("computing", flop_ms, bytes_ms),
    ):
        part = sorted([(g, own[g]) for g in every_g if own[g] > other[g]] + corners)
        if part:  # it is the longer somewhere
            (left, y), (right, top) = part[0], part[-1]
            middle = ((left * right) ** 0.5, (y * top) ** 0.5)
            axes.annotate(text, middle, (8, -8), textcoords="offset points", va="top")
    for g, _ in corners:
        axes.axvline(g, color=DARK, ls=":", zorder=0)
        axes.text(g, 0.02, f"  equal at g = {two(g)}", transform=axes.get_xaxis_transform())
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xticks(every_g, every_g)
    axes.minorticks_off()
    lowest, highest = min(y for _, y in roof), max(axes.dataLim.y1, roof[-1][1])
    axes.set(xlabel="K/V heads g (log)", ylabel="ms for a decode step (log)")
    axes.set_ylim(limits or (lowest / 2.5, highest * 1.5))  # room for words below the roof
    axes.set_title(finding)
    legend(figure)
    return figure


@LOOK
def whole_steps(measured, at_most, expected, title):
    """Tokens a second of all users together, against their number: a colour and a mark for each g.

    measured {g: {users: (low, median, high) ms of a step}}; at_most and expected {g: {users: tokens
    a second}}: what reading and computing allow, and what is left of that with an empty step before
    each. The title stands before the finding.
    """
    n, few = max(measured), min(measured)
    rates = {
        g: {b: [1000 * b / ms for ms in reversed(of[b])] for b in sorted(of)}
        for g, of in measured.items()
    }
    most = max(set.intersection(*(set(of) for of in rates.values())))
    one, many = (rates[few][b][1] / rates[n][b][1] for b in (1, most))
    finding = f"{title}: g = {few} is {two(one)}× as fast for one user, {two(many)}× for {most}"
    said = "; ".join(
        f"g = {g}: " + ", ".join(f"{b} user{'s' * (b > 1)} {of[b][1]:,.0f}" for b in of)
        for g, of in rates.items()
    )
    figure = Card(
        10,
        5.6,
        "Tokens a second in all against users, log scales. Marks: measured; dotted: at most; "
        f"dashed: with an empty step. {finding}, each against g = {n}. Measured: {said}.",
    )
    axes = figure.subplots()
    for (g, of), (color, marker, _) in zip(rates.items(), STYLES, strict=False):
        median, reach = around(of.values())
        axes.errorbar(
            list(of), median, reach, ls="none", marker=marker, color=color, markersize=9,
            capsize=4, label=f"g = {g}, measured",
        )  # fmt: skip
        for lines, dashes in ((at_most, ":"), (expected, "--")):
            axes.plot(*zip(*sorted(lines[g].items()), strict=True), color=color, ls=dashes)
    axes.plot([], [], color=DARK, ls=":", label="at most")
    axes.plot([], [], color=DARK, ls="--", label="with an empty step")
    users = sorted({b for of in rates.values() for b in of})
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.set_xticks(users, users)
    axes.minorticks_off()
    axes.set(xlabel="users, b (log)", ylabel="tokens a second in all (log)")
    axes.set_title(finding)
    legend(figure)
    return figure


def crossing(bytes_ms, flop_ms):
    """Where reading begins to take longer than computing: [(g, ms)], [] if nowhere. Both {g: ms}.

    >>> crossing({4: 4.0, 1: 1.0}, {4: 2.0, 1: 2.0})
    [(2.0, 2.0)]
    """
    for a, b in pairwise(sorted(bytes_ms)):
        left, right = (log(bytes_ms[g] / flop_ms[g]) for g in (a, b))
        if left <= 0 < right:
            way = left / (left - right)
            return [(a * (b / a) ** way, bytes_ms[a] * (bytes_ms[b] / bytes_ms[a]) ** way)]
    return []
