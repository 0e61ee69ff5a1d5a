"""Boxes and lines: which head reads which."""

from matplotlib.patches import FancyBboxPatch

from course_utils.attention import group_size
from course_utils.figures.card import GROUPS, LOOK, QUERY, Card, ink


@LOOK
def wiring(n_heads, n_kv_heads):
    """Which K/V head each query head reads: n boxes above, g below, one hue a group.

    Raises ValueError if n is not divisible by g.
    """
    n, g = n_heads, n_kv_heads
    r = group_size(n, g)
    title = f"{n} query heads, {g} K/V head{'s' * (g > 1)}: {r} to one"
    figure = Card(
        max(8, n / 2), 3.4, f"{title}. Query heads in a row; each group of {r} is wired to one box."
    )
    axes = figure.subplots()

    def box(x, y, color, text, hatch=None):
        shape = FancyBboxPatch((x - 0.3, y - 0.2), 0.6, 0.4, boxstyle="round,pad=0.06")
        shape.set(facecolor=color, edgecolor="black", hatch=hatch, zorder=2)
        axes.add_patch(shape)
        axes.text(x, y, text, ha="center", va="center", color=ink(color), zorder=3)

    for i in range(n):
        j = i // r
        below = j * r + (r - 1) / 2
        axes.plot([i, below], [1.5, 0], color=GROUPS[j % 8], lw=3, zorder=1)
        box(i, 1.5, QUERY, f"q{i}")
        if i % r == 0:
            box(below, 0, GROUPS[j % 8], f"kv{j}", "//" if j >= 8 else None)
    axes.text(-1, 1.5, "queries", ha="right", va="center", color=QUERY, fontweight="bold")
    axes.text(-1, 0, "keys and\nvalues", ha="right", va="center", fontweight="bold")
    axes.set(xlim=(-2.3, n - 0.4), ylim=(-0.5, 2))
    axes.set_axis_off()
    axes.set_title(title)
    return figure
