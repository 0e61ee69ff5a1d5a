"""Inside a real model: the keys and values its heads read, how alike they are, who looks where.

n query heads, g K/V heads, r = n // g query heads a group, s tokens, h head_dim, t queries.
"""

import torch
from matplotlib.patches import Rectangle

from course_utils.attention import group_size
from course_utils.figures.card import GROUPS, KEY_TEXT, LOOK, QUERY, Card
from course_utils.figures.grids import hidden
from course_utils.figures.maps import looks, write
from course_utils.figures.parts import SIGNED, bare, brief, plain, signed_bar, tint


@LOOK
def head_grid(panels, n_heads, title, tops=None):
    """The map (s, h) that each query head reads, a row for each group, framed in the group's hue.

    panels {name: (g, s, h)}, K or V as they are cached; tops {name: where the colours of its panel
    end}, by default at the largest magnitude. Where r is 1 or more than 8, a row is 4 heads
    (8, if n > 32).

    Raises ValueError if n is not divisible by g, or the panels differ in g, s or h.
    """
    one, *_ = panels
    for name, x in panels.items():
        if x.ndim != 3:
            raise ValueError(
                f"{name} has shape {tuple(x.shape)}; it must be (g, s, h): take one sequence of a "
                f"batch with {name}[0]"
            )
        if x.shape != panels[one].shape:
            raise ValueError(
                f"{name} has shape {tuple(x.shape)}; it must be (g, s, h), as {one} has with "
                f"{tuple(panels[one].shape)}"
            )
    (g, s, h), n = panels[one].shape, n_heads
    r = group_size(n, g)
    fits = 2 <= r <= 8  # a group into a row
    columns = r if fits else 4 if n <= 32 else 8
    rows = -(-n // columns)
    differ = {name: len(plain(x).flatten(1).unique(dim=0)) for name, x in panels.items()}
    said = "; ".join(f"{name}: {k} different map{'s' * (k > 1)}" for name, k in differ.items())
    groups = ", ".join(f"{i}–{i + r - 1}" for i in range(0, n, r))
    each = f"One map for each of heads {groups}" if r > 1 else "One map for each head"
    figure = Card(
        11,
        2.2 + rows * min(1, max(0.5, 5.2 / rows)),
        f"{title}. Maps of {s} tokens down and {h} numbers across, {columns} a row: what query "
        f"heads 0 to {n - 1} read. {each}. {said}.",
    )
    figure.suptitle(title, x=0.01, ha="left")
    every_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    gap = (-(-s // 6), -(-h * columns // 50))
    for axes, (name, x) in zip(every_axes, panels.items(), strict=True):
        top = (tops or {}).get(name)
        read = plain(x).repeat_interleave(r, dim=0)
        signed_bar(axes, mosaic(axes, read, g, columns, gap, top))
        axes.set_title(name, color=tint(name))
        bare(axes)
        axes.set_xticks([])
    labels = [heads(i, min(i + columns, n) - 1) for i in range(0, n, columns)]
    if fits:
        labels = [f"K/V head {j}\n{label}" for j, label in enumerate(labels)]
    middles = [row * (s + gap[0]) + (s - 1) / 2 for row in range(rows)]
    every_axes[0].set_yticks(middles, labels)
    figure.supxlabel(f"each map: {s} tokens down, {h} numbers across", fontsize=12)
    return figure


@LOOK
def likeness(matrices, groups, title):
    """How alike two heads are, a frame round each group: {name: cosine similarities (n, n)}.

    groups: the number g of groups, one for all matrices or {name: g}.

    Raises ValueError if a matrix is not square, or its n is not divisible by g.
    """
    said, every_g = [], groups if isinstance(groups, dict) else dict.fromkeys(matrices, groups)
    for name, matrix in matrices.items():
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
            raise ValueError(f"{name} has shape {tuple(matrix.shape)}; it must be (n, n)")
        n, g = len(matrix), every_g[name]
        r = group_size(n, g)
        group = torch.arange(n) // r
        same, other = group[:, None] == group, torch.ones(n, n).triu(1).bool()
        of = {"inside the frames": matrix[same & other], "outside": matrix[~same & other]}
        ranges = [f"{where} {x.min():.2f} to {x.max():.2f}" for where, x in of.items() if len(x)]
        frames = f"{g} frame{'s' * (g > 1)} of {r} × {r} on the diagonal"
        said.append(f"{name}: {frames}; {', '.join(ranges)}".replace("-", "−"))
    figure = Card(
        11 if len(matrices) > 1 else 8,
        5.3 if len(matrices) < 3 else 4.4,
        f"{title}. Cosine similarity of every two of the query heads. {'. '.join(said)}.",
    )
    figure.suptitle(title, x=0.01, ha="left")
    panels = figure.subplots(1, len(matrices), squeeze=False)[0]
    for axes, (name, matrix) in zip(panels, matrices.items(), strict=True):
        n, g = len(matrix), every_g[name]
        image = alike(axes, plain(matrix), g)
        image.set_cmap(SIGNED)
        ticks = range(0, n, n // g * -(-g // 8)) if g > 1 else [0, n - 1]
        axes.set_xticks(ticks, ticks)
        axes.set_yticks(ticks, ticks)
        axes.set_title(name, color=tint(name))
        axes.set_xlabel("query head")
    panels[0].set_ylabel("query head")
    alike_bar(figure, image, panels)
    return figure


@LOOK
def group_maps(weights, tokens, title, heads):
    """The attention maps (r, t, s) of the r query heads of one group, hatched where exactly 0.

    tokens: the s words; the t queries are the last t of them. heads: the r numbers of the heads.

    Raises ValueError if weights are not (r, t, s) for r heads, at most 8, and s tokens.
    """
    if weights.ndim != 3 or weights.shape[::2] != (len(heads), len(tokens)) or len(heads) > 8:
        raise ValueError(
            f"weights {tuple(weights.shape)} must be (r, t, s) for the {len(heads)} heads, at most "
            f"8, and the {len(tokens)} tokens"
        )
    r, t, s = weights.shape
    columns = r if r <= 4 else -(-r // 2)
    rows, width = -(-r // columns), 8.6 / columns
    height = min(width, 4)
    roomy = width > 0.6 * s and height > 0.3 * t
    weights = plain(weights)
    said = " ".join(
        f"Query head {i}: {looks(x[-1:], tokens)}" for i, x in zip(heads, weights, strict=True)
    )
    figure = Card(11, 1.9 + rows * (height + 0.3), f"Heat maps. {title}. {said}")
    figure.suptitle(title, x=0.01, ha="left")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes in panels.flat[r:]:
        axes.set_visible(False)
    for axes, i, values in zip(panels.flat, heads, weights, strict=False):
        square = hidden(0, 0)  # behind the whole map
        square.set(bounds=(-0.5, -0.5, s, t), zorder=-1)
        axes.add_patch(square)
        seen = values.masked_fill(values == 0, torch.nan).numpy()
        image = axes.imshow(seen, cmap="cividis", vmin=0, vmax=1, aspect="auto")
        for y, x in values.nonzero().tolist() if roomy else []:
            write(axes, x, y, values[y, x])
        axes.set_title(f"query head {i}", color=QUERY, fontsize=12)
        axes.set_xticks(range(s), brief(tokens), rotation=90)
        axes.set_yticks(range(t), brief(tokens[s - t :]))
        bare(axes)
    figure.colorbar(image, ax=panels, shrink=0.8, pad=0.01)
    figure.supxlabel("key: the word looked at", color=KEY_TEXT, fontweight="bold", fontsize=12)
    figure.supylabel("query: the word that looks", color=QUERY, fontweight="bold", fontsize=12)
    return figure


def heads(first, last):
    """The name of a row of heads."""
    return f"heads {first}–{last}" if first < last else f"head {first}"


def mosaic(axes, read, g, columns=8, gap=(1, 1), top=None):
    """The maps (s, h) that each of n heads reads, so many columns, framed in their group's hue.

    gap: empty cells below and beside a map. top: where the colours end, by default the largest
    magnitude. Returns the image.
    """
    n, s, h = read.shape
    (below, beside), r, rows = gap, n // g, -(-n // columns)
    picture = torch.full((rows * (s + below), columns * (h + beside)), float("nan"))
    for i in range(n):
        y, x, j = i // columns * (s + below), i % columns * (h + beside), i // r
        picture[y : y + s, x : x + h] = read[i]
        corner = (x - 0.5 - 0.2 * beside, y - 0.5 - 0.2 * below)
        frame = Rectangle(corner, h + 0.4 * beside, s + 0.4 * below, fill=False, ec=hue(j, r), lw=3)
        frame.set_linestyle(":" if r > 1 and j >= 8 else "-")
        axes.add_patch(frame)
    top = top or read.abs().max().item() or 1
    image = axes.imshow(
        picture.numpy(), cmap="PuOr", vmin=-top, vmax=top, aspect="auto", interpolation="nearest"
    )
    axes.set(
        xlim=(-0.5 - 0.55 * beside, columns * (h + beside) - 0.5 * beside),
        ylim=(rows * (s + below) - 0.5 * below, -0.5 - 0.55 * below),
    )
    return image


def alike(axes, likeness, g):
    """Cosine similarity (n, n) of what n heads read, a frame round each group; the image."""
    n = len(likeness)
    image = axes.imshow(likeness.numpy(), cmap="PuOr", vmin=-1, vmax=1, interpolation="nearest")
    for j in range(g):
        start, r = j * n // g - 0.5, n // g
        axes.add_patch(Rectangle((start, start), r, r, fill=False, ec="black", lw=1.2))
    return image


def alike_bar(figure, image, axes):
    """The bar of cosine similarities, in words."""
    bar = figure.colorbar(image, ax=axes, location="right", pad=0.03)
    bar.set_ticks([-1, 0, 1], labels=["−1 opposite", "0", "1 the same"])


def hue(j, r):
    """The colour of group j; where r is 1 nothing is shared, and nothing has a colour."""
    return GROUPS[j % 8] if r > 1 else "#D9D9D9"
