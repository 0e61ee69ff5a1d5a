"""Charts: points, lines and bars."""

from matplotlib.patches import Polygon

from course_utils.figures.card import LOOK, QUERY, VALUE, Card


@LOOK
def weighted_average(weights, values, tokens):
    """The average of s values (s, 2) as a point among them; a dot's area is its weight."""
    point = weights @ values
    at = ", ".join(f"{x:.3g}" for x in point.tolist())
    parts = [f"{w:.2g} · {token}" for w, token in zip(weights.tolist(), tokens, strict=True)]
    figure = Card(
        6.4,
        4.6,
        f"A dot for each value, a line from each to a star: {' + '.join(parts)} = ({at}).",
    )
    axes = figure.subplots()
    axes.add_patch(Polygon(values.tolist(), color=VALUE, alpha=0.12, linewidth=0))
    for (x, y), w, token in zip(values.tolist(), weights.tolist(), tokens, strict=True):
        axes.plot(*zip((x, y), point.tolist(), strict=True), color="#666666", lw=1 + 4 * abs(w))
        axes.scatter(x, y, s=150 + 1500 * abs(w), color=VALUE, zorder=3)
        away = 22 if y >= point[1] else -34
        axes.annotate(
            f"{token}, weight {w:.2g}", (x, y), (0, away), textcoords="offset points", ha="center"
        )
    axes.scatter(*point.tolist(), s=320, marker="*", color="black", zorder=4)
    axes.annotate(f"new vector ({at})", point.tolist(), (16, -16), textcoords="offset points")
    axes.set(xlabel="first number of a value", ylabel="second number", aspect="equal")
    axes.set_title(f"The average of the values is ({at})")
    axes.margins(0.3)
    return figure


@LOOK
def score_scale(widths, spread, raw, scaled):
    """Why √h: spread of q·k, and the largest of the weights, raw and scaled, against h.

    widths, spread, raw, scaled: one number for each head_dim h.
    """
    figure = Card(
        10,
        4.2,
        f"Two line charts over h from {widths[0]} to {widths[-1]}. Left: the measured spread of "
        f"q·k lies on √h, up to {spread[-1]:.0f}. Right: the largest weight climbs to "
        f"{raw[-1]:.2f} without scaling and stays near {scaled[-1]:.2f} with it.",
    )
    left, right = figure.subplots(1, 2)
    left.loglog(widths, [h**0.5 for h in widths], "--", color="#666666", label="√h")
    left.loglog(widths, spread, "o", color=QUERY, markersize=9, label="measured")
    left.set(ylabel="standard deviation of q·k (log)", title="Scores grow like √h")
    right.semilogx(widths, raw, "s-", color="#D55E00", markersize=8, label="softmax of q·k")
    right.semilogx(widths, scaled, "o-", color=QUERY, markersize=8, label="softmax of q·k / √h")
    right.set(ylabel="largest of 11 weights", ylim=(0, 1), title="Unscaled, one key takes all")
    left.set_yticks([2, 8, 32], [2, 8, 32])
    for axes in (left, right):
        axes.set_xlabel("h, numbers of a query or key")
        axes.set_xticks(widths, widths)
        axes.minorticks_off()
        axes.legend(frameon=False)
    return figure
