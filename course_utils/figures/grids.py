"""Grids of squares: what a word may see, which number goes where."""

from matplotlib.patches import Rectangle

from course_utils.figures.card import GROUPS, KEY, KEY_TEXT, LOOK, QUERY, Card
from course_utils.figures.parts import bare, square


@LOOK
def sees(weights, tokens, current):
    """What the word at index `current` sees: the rows up to its own, its weights in numbers.

    weights (s, s), causal; tokens: the s words. Later rows are left blank: they are not there yet.
    """
    s, word = len(tokens), tokens[current]
    title = f"“{word}” sees {current + 1} of {s} words"
    row = ", ".join(f"{tokens[j]} {weights[current, j]:.2f}" for j in range(current + 1))
    figure = Card(9.6, 5.6, f"{title}. Its weights: {row}. Later words are hatched: hidden.")
    axes = figure.subplots()
    grid(axes, [[j <= i for j in range(s)] for i in range(current + 1)])
    for j in range(current + 1):
        axes.text(j, current, f"{weights[current, j]:.2f}", ha="center", va="center")
    axes.add_patch(Rectangle((-0.5, current - 0.5), s, 1, fill=False, edgecolor=QUERY, lw=3))
    axes.set(ylim=(s - 0.5, -0.5))
    axes.set_xticks(range(s), tokens)
    axes.xaxis.tick_top()
    axes.set_yticks(range(s), tokens)
    for i, label in enumerate(axes.get_yticklabels()):  # later words keep their place, unseen
        label.set_color("black" if i < current else QUERY if i == current else "white")
    name_axes(axes)
    axes.set_title(title, pad=12)
    return figure


@LOOK
def masks(masks, titles):
    """Masks (t, s) side by side, True filled and 1, False hatched; queries are the last t tokens.

    Position numbers count from 0. One title for each mask. All stand on one line: fewer queries
    are the bottom rows of more.
    """
    said = [f"{title}: {[''.join(map(str, row)) for row in m.int().tolist()]}"
            for m, title in zip(masks, titles, strict=True)]  # fmt: skip
    tallest = max(len(mask) for mask in masks)
    figure = Card(
        11, 1.3 + 0.45 * tallest, f"{len(masks)} masks, a row for each query. {'; '.join(said)}."
    )
    panels = figure.subplots(1, len(masks), squeeze=False)[0]
    for axes, mask, title in zip(panels, masks, titles, strict=True):
        t, s = mask.shape
        grid(axes, mask.tolist())
        for i in range(t):
            for j in range(s):
                axes.text(j, i, int(mask[i, j]), ha="center", va="center")
        axes.set_xticks(range(s), range(s))
        axes.set_yticks(range(t), range(s - t, s))
        axes.set(ylim=(t - 0.5, t - tallest - 0.5), xlabel="place of the key")
        axes.set_title(title, y=t / tallest)
    figure.axes[0].set_ylabel("query at place")
    return figure


def name_axes(axes):
    """Keys across and queries down, in their colours."""
    axes.set_xlabel("key: the word looked at", color=KEY_TEXT, fontweight="bold")
    axes.set_ylabel("query: the word that looks", color=QUERY, fontweight="bold")


def hidden(x, y):
    """The hatched square of what may not be seen."""
    look = {"fc": "#F4F4F4", "ec": "#B0B0B0", "hatch": "////", "lw": 0.8}
    return Rectangle((x - 0.5, y - 0.5), 1, 1, **look)


def grid(axes, seen):
    """Squares for a mask, a list of rows: orange what may be seen, hatched what may not."""
    for i, row in enumerate(seen):
        for j, may in enumerate(row):
            seen_here = Rectangle((j - 0.5, i - 0.5), 1, 1, fc="#FCE8BD", ec="#B0B0B0", lw=0.8)
            axes.add_patch(seen_here if may else hidden(j, i))
    axes.set(xlim=(-0.5, len(seen[0]) - 0.5), aspect="auto")
    bare(axes)


@LOOK
def columns(blocks, names, title, d_model, head_dim, rows=()):
    """Blocks (rows, columns) of whole numbers side by side, each number in the colour of its head.

    The numbers count the entries of x (t, d_model), row after row; names: one for each block;
    rows: what the rows of all blocks are.
    """
    said = f" Rows: {', '.join(rows)}." if rows else ""
    alt = f"{title}. Blocks of numbers: {', '.join(names)}; a hue for each head.{said}"
    figure = Card(11, 3.1, alt)
    widths = [block.shape[1] for block in blocks]
    panels = figure.subplots(1, len(blocks), width_ratios=widths, squeeze=False)[0]
    for axes, block, name in zip(panels, blocks, names, strict=True):
        for i, row in enumerate(block.tolist()):
            for j, number in enumerate(row):
                head = number % d_model // head_dim
                hatch = "//" if head >= 8 else None
                square(axes, j, i, GROUPS[head % 8], number, hatch=hatch, fontsize=11)
        axes.set(xlim=(-0.5, block.shape[1] - 0.5), ylim=(len(block) - 0.5, -0.5))
        axes.set_title(name, fontsize=12, fontweight="normal")
        axes.set_xticks([])
        axes.set_yticks([])
        bare(axes)
    panels[0].set_yticks(range(len(rows)), rows)
    figure.suptitle(title, x=0.01, ha="left")
    return figure


@LOOK
def decoding(step, tokens):
    """Which keys and values each step of decoding computes, up to `step`, without and with a cache.

    A row is a step, a column a word; tokens: the s words.
    """
    s, triangle = len(tokens), step * (step + 1) // 2
    title = f"Step {step}: keys computed so far, {triangle} without a cache and {step} with one"
    figure = Card(11, 4.6, f"Two grids, a row for each step. {title}: the rest is read.")
    for axes, cached in zip(figure.subplots(1, 2), (False, True), strict=True):
        for i in range(step):
            for j in range(i + 1):
                word = "new" if j == i else "read" if cached else "again"
                color = {"new": KEY, "again": "#F3C9A5", "read": "#EEEEEE"}[word]
                square(axes, j, i, color, word, fontsize=11)
        axes.set(xlim=(-0.5, s - 0.5), ylim=(s - 0.5, -0.5))
        axes.set_xticks(range(s), tokens, rotation=45, ha="left", rotation_mode="anchor")
        axes.xaxis.tick_top()
        axes.set_yticks(range(s), range(1, s + 1))
        bare(axes)
        axes.set_xlabel("with a cache" if cached else "without a cache", fontweight="bold")
    figure.axes[0].set_ylabel("step")
    figure.suptitle(title, x=0.01, ha="left")
    return figure
