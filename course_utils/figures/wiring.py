"""Boxes and lines: which head reads which."""

from matplotlib.patches import FancyBboxPatch

from course_utils.attention import group_size
from course_utils.figures.card import GROUPS, LOOK, Card, ink
from course_utils.figures.parts import wires


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

    def box(x, y, color, i, hatch):
        shape = FancyBboxPatch((x - 0.3, y - 0.2), 0.6, 0.4, boxstyle="round,pad=0.06")
        shape.set(facecolor=color, edgecolor="black", hatch=hatch, zorder=2)
        axes.add_patch(shape)
        text = f"q{i}" if y else f"kv{i}"
        axes.text(x, y, text, ha="center", va="center", color=ink(color), zorder=3)

    wires(axes, n, g, box, hue=lambda j: GROUPS[j % 8])
    axes.set(xlim=(-2.3, n - 0.4), ylim=(-0.5, 2))
    axes.set_title(title)
    return figure
