"""The least time and the highest speed of a decode step, of one layer and of a whole model."""

from itertools import pairwise
from math import log

from matplotlib.ticker import LogLocator

from course_utils.figures.card import LATENT, LOOK, Card
from course_utils.figures.parts import (
    A_LATENT,
    DARK,
    LIGHT,
    STYLES,
    and_,
    around,
    legend,
    speed,
    two,
)


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


@LOOK
def ridges(forms, machines, title, measured=None, limits=(0.5, 4000)):
    """The most flop a second that each form of attention can do, under the roofs of machines.

    forms {label: flop a byte of cache read}, four of which MLA is the last, each at least 1.8 times
    another, else their names meet; machines {name: Machine} as `results.machines` gives them, in
    half precision; measured {label: a list of (flop a byte, Tflop/s)}, hollow. The title stands
    below the finding, which says on which side of each ridge MLA is; limits are the x axis's.
    """
    at_ridge = {name: 1000 * machine.half / machine.bandwidth for name, machine in machines.items()}
    *_, (latent, reached) = forms.items()
    sides = {
        "above": [name for name, ridge in at_ridge.items() if reached > ridge],
        "below": [name for name, ridge in at_ridge.items() if reached <= ridge],
    }
    where = [f"{side} the ridge of {and_(names)}" for side, names in sides.items() if names]
    finding = f"{latent}, {reached:,.0f} flop a byte: {', '.join(where)}"

    def at_most(x, machine):  # Tflop/s
        return min(machine.half, x * machine.bandwidth / 1000)

    roofs = "; ".join(
        f"{name}, ridge at {at_ridge[name]:.0f}: "
        + ", ".join(f"{label} {two(at_most(x, machine))}" for label, x in forms.items())
        for name, machine in machines.items()
    )
    said = "".join(
        f" Measured, {label}: " + ", ".join(f"{two(y)} at {two(x)}" for x, y in points) + "."
        for label, points in (measured or {}).items()
    )
    figure = Card(
        10,
        5.8,
        "Tflop/s against flop a byte of cache read, log scales, under the roofs of "
        f"{and_(machines)}. {title}. {finding}. Flop a byte: "
        + ", ".join(f"{label} {x:,.0f}" for label, x in forms.items())
        + f". At most, in Tflop/s, {roofs}.{said}",
    )
    figure.suptitle(finding, x=0.01, ha="left")
    axes = figure.subplots()
    highest, lowest = (
        end(at_most(x, machine) for machine in machines.values())
        for end, x in ((max, limits[1]), (min, limits[0]))
    )
    for (name, machine), line in zip(machines.items(), ("-", "--", ":", "-."), strict=False):
        ridge = at_ridge[name]
        corners = [limits[0], ridge, limits[1]]
        axes.plot(
            corners, [at_most(x, machine) for x in corners], ls=line, color=DARK, lw=2,
            label=f"at most on {name}, ridge at {ridge:.0f}",
        )  # fmt: skip
        axes.plot(
            [ridge, ridge], [lowest / 4, machine.half], ls=line, color=LIGHT, lw=1.5, zorder=0
        )
    for (label, x), (color, marker, _) in zip(forms.items(), (*STYLES[:3], A_LATENT), strict=True):
        under = [at_most(x, machine) for machine in machines.values()]
        axes.plot([x] * len(under), under, marker=marker, color=color, markersize=9, zorder=3)
        axes.annotate(
            f"{label}\n{x:,.0f}", (x, max(under)), (x, 2.2 * highest),
            ha="center", va="bottom", arrowprops={"arrowstyle": "-", "color": color, "shrinkB": 5},
        )  # fmt: skip
    for (label, points), marker in zip((measured or {}).items(), "PX*", strict=False):
        axes.plot(
            *zip(*points, strict=True), marker, mfc="white", color=LATENT, markersize=9, mew=1.8,
            label=f"measured, {label}", zorder=4,
        )  # fmt: skip
    axes.text(limits[0] * 1.2, lowest / 2.5, "← reading takes longer")
    axes.text(limits[1] / 1.2, lowest / 2.5, "computing takes longer →", ha="right")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.xaxis.set_major_locator(LogLocator(base=4))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,g}")
    axes.minorticks_off()
    axes.set(xlim=limits, ylim=(lowest / 4, 7 * highest))
    axes.set(xlabel="flop a byte of cache read (log)", ylabel="Tflop/s (log)")
    axes.set_title(title, fontsize=12)
    legend(figure, columns=2)
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
