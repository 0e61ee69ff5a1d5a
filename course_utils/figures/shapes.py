"""What is counted, and how large it is: the letters of the course, the way through attention."""

from matplotlib.colors import LinearSegmentedColormap
from matplotlib.offsetbox import AnnotationBbox, HPacker, TextArea, VPacker
from matplotlib.patches import FancyBboxPatch, Rectangle

from course_utils.figures.card import KEY, KEY_TEXT, LOOK, QUERY, VALUE, Card, ink
from course_utils.figures.parts import DARK, plain, tint

# Nine different sizes, so that every letter can be counted in the picture.
LETTERS = {"l": 9, "b": 6, "n": 8, "g": 2, "r": 4, "t": 5, "s": 7, "h": 3, "d": 10}
GREY = "#DDDDDD"
LARGE = {"fontsize": 17, "fontweight": "bold"}


@LOOK
def alphabet():
    """The nine letters of the course, each as something that can be counted in a picture."""
    l, b, n, g, r, t, s, h, d = LETTERS.values()
    figure = Card(
        11,
        5.5,
        "What each letter counts. "
        f"Left, a model: a stack of l = {l} layers. In one of them, x: a sheet for each of "
        f"b = {b} sequences, with t = {t} rows and d = {d} columns. One sheet gives n = {n} query "
        f"heads q, in blue, with t rows and h = {h} columns each. Below them are g = {g} K/V "
        f"heads: keys k, in orange, and values v, in green, with s = {s} rows and h columns. "
        f"Lines wire r = {r} query heads to each K/V head.",
    )
    axes = figure.subplots()
    axes.set(xlim=(0, 57.5), ylim=(0, 27.8), aspect="equal")
    axes.set_axis_off()
    axes.set_title("What each letter counts")

    for i in range(l):  # a model, and one of its layers opened
        axes.add_patch(rounded(3.6, 0.6 + 3.0 * i, 4.4, 1.8, DARK if i == 4 else GREY))
    span(axes, (3, 0.4), (3, 26.6), "left", "l", "layers")
    axes.add_patch(rounded(10.3, 0.3, 46.9, 26.7, "#FAFAFA", lw=1))
    for y, corner in ((12.6, 0.3), (14.4, 27)):
        axes.plot([8.1, 10.2], [y, corner], color=DARK, lw=1)

    left, top = 14.5, 20
    for i in reversed(range(b)):  # what goes in
        grid(axes, left + 0.4 * i, top + 0.4 * i, t, d, GREY, DARK, "" if i else "x")
    behind = 0.4 * (b - 1)
    span(axes, (left, top - t - 0.6), (left + d, top - t - 0.6), "below", "d", "columns")
    span(axes, (left - 0.6, top - t), (left - 0.6, top), "left", "t", "rows")
    corner = left - 0.5, top + 0.5
    span(axes, corner, (corner[0] + behind, corner[1] + behind), "end", "b", "sequences")

    lefts = [28.5 + i * (h + 0.4) + 1.3 * (i // r) for i in range(n)]
    right = lefts[-1] + h
    for x in lefts:  # heads
        grid(axes, x, top, t, h, QUERY, "white", "q")
    span(axes, (lefts[0] - 0.6, top - t), (lefts[0] - 0.6, top), "left", "t", "")
    span(axes, (lefts[0], top + 0.6), (lefts[0] + h, top + 0.6), "above", "h", "columns")
    span(axes, (lefts[r], top + 0.6), (right, top + 0.6), "above", "r", "share a K/V head")
    span(axes, (lefts[0], top + 3.7), (right, top + 3.7), "above", "n", "query heads")
    low = 11.6
    middles = [(lefts[j * r] + lefts[j * r + r - 1] + h) / 2 for j in range(g)]
    for i, x in enumerate(lefts):
        ends = [x + h / 2, middles[i // r]], [top - t - 0.2, low + 0.2]
        axes.plot(*ends, color=DARK, lw=2)
    for middle in middles:
        grid(axes, middle - h - 0.1, low, s, h, KEY, "white", "k")
        grid(axes, middle + 0.1, low, s, h, VALUE, "white", "v")
    start, end = middles[0] - h - 0.1, middles[-1] + h + 0.1
    span(axes, (start - 0.6, low - s), (start - 0.6, low), "left", "s", "rows")
    span(axes, (start, low - s - 0.6), (end, low - s - 0.6), "below", "g", "K/V heads")
    return figure


@LOOK
def flow(x, q, k, v, tokens, i):
    """From x to the output, product after product, with the row of word i framed all the way.

    x (s, d), q, k and v (s, h), tokens: the s words. Scores are q @ k.T as they are, not scaled.
    The darker a cell the larger its number; below 0 it is white.
    """
    (s, d), h = x.shape, q.shape[1]
    scores = q @ k.T
    weights = scores.softmax(dim=-1)
    title = f"From x to the output: follow the row of “{tokens[i]}”"
    figure = Card(
        11,
        6.8,
        f"{title}. x ({s}, {d}) gives q, k and v, each ({s}, {h}). q times k.T gives the scores "
        f"({s}, {s}), their softmax the weights ({s}, {s}), weights times v the output ({s}, {h}).",
    )
    axes = figure.subplots()
    gap, above = 4.6, s + 3.6  # x stands over q, k.T over scores, v over output
    second = max(d, h) + gap
    third = second + s + gap
    last = third + s + gap

    matrix(axes, 0, above, x, DARK, "x (s, d)", i)
    matrix(axes, second, above, k.T, KEY, "k.T (h, s)")
    matrix(axes, last, above, v, VALUE, "v (s, h)")
    matrix(axes, 0, 0, q, QUERY, "q (s, h)", i)
    matrix(axes, second, 0, scores, DARK, "scores (s, s)", i)
    matrix(axes, third, 0, weights, DARK, "weights (s, s)", i)
    matrix(axes, last, 0, weights @ v, VALUE, "output (s, h)", i)

    arrow(axes, (h / 2, above), (h / 2, s), "@ w_q")
    arrow(axes, (d, above + h / 2), (second, above + h / 2), "@ w_k")
    arrow(axes, (d, above + s - 2), (last, above + s - 2), "@ w_v")
    arrow(axes, (h, s / 2), (second, s / 2), "@ k.T")
    arrow(axes, (second + s, s / 2), (third, s / 2), "softmax")
    arrow(axes, (third + s, s / 2), (last, s / 2), "@ v")

    for j, token in enumerate(tokens):
        look = {"ha": "right", "fontsize": 11, "fontweight": "bold" if j == i else "normal"}
        for y in (0, above):
            axes.text(-0.4, y + s - j - 0.5, token, va="center", **look)
        look |= {"color": KEY_TEXT, "rotation": 90, "va": "top", "ha": "center"}
        axes.text(second + j + 0.5, above - 0.3, token, **look)
    axes.set(xlim=(-4, last + h + 0.8), ylim=(-1.6, above + s + 1.6), aspect="equal")
    axes.set_axis_off()
    axes.set_title(title)
    return figure


def matrix(axes, x, y, values, color, name, framed=None):
    """A named matrix in shades of one colour, its lower left corner at x, y, one row framed."""
    rows, columns = values.shape
    edges = [x + j for j in range(columns + 1)], [y + rows - j for j in range(rows + 1)]
    shades = LinearSegmentedColormap.from_list(name, ["white", color])
    axes.pcolormesh(*edges, plain(values), cmap=shades, vmin=0, edgecolors="#BBBBBB", lw=0.6)
    at, align = (y + rows + 0.4, "bottom") if y else (-0.4, "top")
    look = {"color": tint(name), "fontweight": "bold"}
    axes.text(x + columns / 2, at, name, ha="center", va=align, **look)
    if framed is not None:
        axes.add_patch(Rectangle((x, y + rows - framed - 1), columns, 1, fill=False, lw=3))


def arrow(axes, start, end, label):
    """An arrow to the right with its label above, or down with its label beside."""
    look = {"arrowstyle": "-|>", "lw": 2, "color": DARK, "shrinkA": 5, "shrinkB": 5}
    axes.annotate("", end, start, arrowprops=look)
    x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    if start[0] == end[0]:
        axes.text(x + 0.4, y, label, va="center")
    else:
        axes.text(x, y + 0.4, label, ha="center")


def rounded(x, y, width, height, color, **look):
    """A box with round corners, its lower left one at x, y."""
    box = FancyBboxPatch((x + 0.2, y + 0.2), width - 0.4, height - 0.4, boxstyle="round,pad=0.2")
    box.set(facecolor=color, edgecolor=DARK, zorder=0, **look)
    return box


def grid(axes, x, y, rows, columns, color, edge, name):
    """A named grid of rows and columns of squares, its upper left corner at x, y."""
    for i in range(rows):
        for j in range(columns):
            axes.add_patch(Rectangle((x + j, y - i - 1), 1, 1, fc=color, ec=edge, lw=0.6))
    look = {"color": ink(color), "ha": "center", "va": "center"} | LARGE
    axes.text(x + columns / 2, y - rows / 2, name, **look)


def span(axes, start, end, side, letter, words):
    """A line from start to end, and on one side of it the letter that says how much that is."""
    look = {"arrowstyle": "|-|,widthA=0.25,widthB=0.25", "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", start, end, arrowprops=look)
    lines = [TextArea(letter, textprops=LARGE), *([TextArea(words)] if words else [])]
    if side == "left":
        said = VPacker(children=lines, align="center", pad=0, sep=2)
    else:
        said = HPacker(children=lines, align="baseline", pad=0, sep=5)
    x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    at, align = {
        "left": ((x - 0.4, y), (1, 0.5)),
        "end": ((end[0] - 0.3, end[1] + 0.35), (0, 0)),
        "above": ((x, y + 0.35), (0.5, 0)),
        "below": ((x, y - 0.35), (0.5, 1)),
    }[side]
    axes.add_artist(AnnotationBbox(said, at, frameon=False, box_alignment=align, pad=0))
