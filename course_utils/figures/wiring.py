"""Boxes and lines: which head reads which, and what is kept of it."""

from matplotlib.patches import FancyBboxPatch, Polygon, Rectangle

from course_utils.attention import group_size
from course_utils.figures.card import GROUPS, KEY, KEY_TEXT, LATENT, LOOK, QUERY, VALUE, Card, ink
from course_utils.figures.parts import A_LATENT, STYLES, wires


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


@LOOK
def latent_wiring(n_heads, kv_rank, rope_dim, head_dim, n_kv_heads=8):
    """From x to one latent and one RoPE key, the cache, and on to all heads; how much is cached.

    A latent has kv_rank numbers, a RoPE key rope_dim, a key and a value head_dim each. Widths are
    to scale, but not that of x; of the heads the first 8 are drawn. Below, on an axis, are the
    numbers a token has in the cache, with MHA, MQA and a GQA with n_kv_heads beside it.
    """
    n, drawn = n_heads, min(n_heads, 8)
    head, cached = 2 * head_dim, kv_rank + rope_dim
    heads = cached / head
    worth = f"{heads:.3g} K/V head{'s’' if heads > 1 else '’s'} worth"
    title = f"{kv_rank:,} + {rope_dim} = {cached:,} numbers a token: {worth}"
    others = {"MQA": head, f"GQA, {n_kv_heads} K/V heads": n_kv_heads * head, "MHA": n * head}
    said = ", ".join(f"{name} {x:,}" for name, x in others.items())
    figure = Card(
        10,
        6.8,
        f"{title}. From x a latent of {kv_rank:,} numbers and a RoPE key of {rope_dim} are made "
        f"and cached; from these, when they are used, keys and values for {n} query heads, {drawn} "
        "of them drawn. Numbers cached for each token and layer, on a log axis: "
        f"{said}, MLA {cached:,}.",
    )
    axes, scale = figure.subplots(2, 1, height_ratios=[3, 1])
    left = (drawn - (heads + 0.1)) / 2
    middle, right = left + kv_rank / head, left + 0.1 + heads

    def box(x, y, width, color, text="", **look):
        style = {"fc": color, "ec": "black", "lw": 1.5, "zorder": 2} | look
        axes.add_patch(Rectangle((x, y - 0.3), width, 0.6, **style))
        axes.text(x + width / 2, y, text, ha="center", va="center", color=ink(color), zorder=3)

    box(0, 0, drawn, "#DDDDDD", "x")
    box(left, 1.5, kv_rank / head, LATENT, lw=3)
    box(middle + 0.1, 1.5, rope_dim / head, KEY, hatch="////", lw=3)
    funnel = [(0, 0.3), (drawn, 0.3), (right, 1.2), (left, 1.2)]
    axes.add_patch(Polygon(funnel, fc="#EEEEEE", zorder=0))
    rope, bus = middle + 0.1 + rope_dim / head / 2, 2.8
    behind = {"color": KEY_TEXT, "ls": "--", "lw": 1.5, "zorder": 0}
    axes.plot([rope, rope, 0.25, max(drawn - 0.75, rope)], [1.8, bus, bus, bus], **behind)
    for i in range(drawn):
        start = left + (i + 0.5) / drawn * kv_rank / head
        axes.plot([start, i + 0.5], [1.8, 3.2], color=LATENT, lw=3, zorder=1)
        axes.plot([i + 0.25, i + 0.25], [bus, 3.2], **behind)
        axes.plot([i + 0.5, i + 0.5], [3.8, 4.4], color=QUERY, lw=3, zorder=1)
        box(i + 0.03, 3.5, 0.47, KEY, f"k{i}", ls="--")
        box(i + 0.5, 3.5, 0.47, VALUE, f"v{i}", ls="--")
        box(i + 0.2, 4.7, 0.6, QUERY, f"q{i}")
    axes.text((left + middle) / 2, 1.1, f"latent, {kv_rank:,}", ha="center", va="top", color=LATENT)
    axes.text(right + 0.12, 1.5, f"RoPE key, {rope_dim}", va="center", color=KEY_TEXT)
    if n > drawn:
        for y in (3.5, 4.7):
            axes.text(drawn + 0.15, y, f"… to {n - 1}", va="center")
    for y, text, look in (
        (4.7, "queries", {"color": QUERY}),
        (3.5, "keys, values,\nmade when used", {}),
        (2.4, "↑ expand", {"fontweight": None}),
        (1.5, "cached", {}),
        (0.75, "↑ compress", {"fontweight": None}),
        (0, "a token", {}),
    ):
        axes.text(-0.25, y, text, ha="right", va="center", **({"fontweight": "bold"} | look))
    axes.set(xlim=(-2.3, max(drawn + 1.7, right + 1.5)), ylim=(-0.4, 5.1))
    axes.set_axis_off()
    axes.set_title(title)

    look = {"textcoords": "offset points", "va": "center"}
    for (name, x), (color, marker, _) in zip(others.items(), STYLES[2::-1], strict=True):
        scale.plot(x, 1, marker, color=color, markersize=9)
        scale.annotate(f"{name}: {x:,}", (x, 1), (0, 15), ha="center", **look)
    color, marker, _ = A_LATENT
    scale.plot([cached, cached], [-1, 0], ":", color=color)
    scale.plot(cached, 0, marker, color=color, markersize=9)
    said = f"MLA: {cached:,}, {worth}"
    scale.annotate(said, (cached, 0), (12, 0), color=color, fontweight="bold", **look)
    steps = [2**i for i in range(-1, n.bit_length())]
    scale.set_xscale("log", base=2)
    scale.set_xticks(
        [head * step for step in steps], [f"{head * step:,.0f}\n{step:g}" for step in steps]
    )
    scale.set_yticks([])
    scale.minorticks_off()
    scale.spines.left.set_visible(False)
    scale.set(xlim=(head / 4, head * n * 2), ylim=(-1, 2))
    scale.set_xlabel("numbers cached for each token and layer (log), below: in K/V heads")
    return figure
