"""What several kinds of pictures share: intervals, legends, wires, and numbers in words."""

from math import inf
from statistics import fmean, stdev

from matplotlib import colormaps
from matplotlib.patches import Rectangle

from course_utils.attention import group_size
from course_utils.figures.card import KEY_TEXT, LATENT, QUERY, VALUE, ink

STUDENT = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26)  # 97.5 % quantile, 2 to 10 values
STYLES = ((QUERY, "o", "-"), ("#D55E00", "s", "--"), (VALUE, "^", ":"), ("#CC79A7", "D", "-."))
A_LATENT = (LATENT, "P", "--")  # none of these
SIDES = (-1, 1)  # two that stand side by side at one g
DARK, LIGHT = "#666666", "#BBBBBB"
SIGNED = colormaps["PuOr"].resampled(65)  # few enough for a PNG to keep the colours of its text


def interval(values):
    """The mean of 2 to 10 values and half the width of its 95 % interval, t·sd/√m (Student's t).

    Raises ValueError for more or fewer.

    >>> mean, half = interval([0.7, 0.8, 0.9])
    >>> f"{mean:.2f} ± {half:.2f}"
    '0.80 ± 0.25'
    """
    m = len(values)
    if not 2 <= m <= len(STUDENT) + 1:
        raise ValueError(f"interval knows Student's t for 2 to 10 values, not for {m}")
    return fmean(values), STUDENT[m - 2] * stdev(values) / m**0.5


def around(quartiles):
    """Medians, and how far the quartiles lie below and above, from (quartile, median, quartile).

    >>> around([(1, 2, 4), (5, 5, 6)])
    ((2, 5), ([1, 0], [2, 1]))
    """
    low, median, high = zip(*quartiles, strict=True)
    below = [m - x for m, x in zip(median, low, strict=True)]
    return median, (below, [x - m for m, x in zip(median, high, strict=True)])


def legend(figure, columns=None):
    """One legend for all panels, below them."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    columns = columns or (4 if len(labels) < 5 else 3)
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)


def wires(axes, n, g, box, hue, edge=0):
    """n query heads in a row, g K/V heads in a row below, and from each a line to the one it reads.

    box(x, y, color, i, hatch) draws the i-th head of a row, y is 1.5 or 0; hue(j) colours group j;
    edge: how far from the middle of a box its line begins.
    """
    r = group_size(n, g)
    for i in range(n):
        j = i // r
        below = j * r + (r - 1) / 2
        axes.plot([i, below], [1.5 - edge, edge], color=hue(j), lw=3, zorder=1)
        box(i, 1.5, QUERY, i, None)
        if i % r == 0:
            box(below, 0, hue(j), j, "//" if j >= 8 else None)
    axes.text(-1, 1.5, "queries", ha="right", va="center", color=QUERY, fontweight="bold")
    axes.text(-1, 0, "keys and\nvalues", ha="right", va="center", fontweight="bold")
    axes.set_axis_off()


def apart(heights, gap):
    """Heights {label: y} at least `gap` apart: the highest stays, others move down.

    >>> apart({"a": 0.5, "b": 1.0, "c": 1.0}, 0.25)
    {'b': 1.0, 'c': 0.75, 'a': 0.5}
    """
    moved, above = {}, inf
    for label, y in sorted(heights.items(), key=lambda item: -item[1]):
        above = moved[label] = min(y, above - gap)
    return moved


def two(x):
    """A number in two digits.

    >>> two(8.88), two(32.0), two(128.0)
    ('8.9', '32', '130')
    """
    return f"{float(f'{x:.2g}'):g}"


def digits(x):
    """Two digits, as in a heat map: .64 or 1.00."""
    return f"{x:.2f}".removeprefix("0")


def and_(numbers):
    """Numbers or names in words.

    >>> and_([4, 2, 1]), and_([8])
    ('4, 2 and 1', '8')
    """
    *others, last = map(str, numbers)
    return f"{', '.join(others)} and {last}" if others else last


def speed(before, after):
    """How a time compares with the one before, in words.

    >>> speed(8.0, 0.9), speed(1.0, 1.5)
    ('8.9× faster', '1.5× slower')
    """
    times, word = (before / after, "faster") if after <= before else (after / before, "slower")
    return "as fast" if two(times) == "1" else f"{two(times)}× {word}"


def size(n_bytes):
    """Bytes for reading: 512 B, 98.3 kB, 16.9 MB, 16,061 MB.

    >>> size(512), size(98304), size(16883712), size(16060522496)
    ('512 B', '98.3 kB', '16.9 MB', '16,061 MB')
    """
    if n_bytes < 1000:
        return f"{n_bytes} B"
    number, unit = (n_bytes / 1e3, "kB") if n_bytes < 1e6 else (n_bytes / 1e6, "MB")
    return f"{number:.1f} {unit}" if number < 1000 else f"{number:,.0f} {unit}"


def signed_bar(axes, image):
    """The image in colours for signed numbers, with a bar of them below, its ends and 0 named."""
    image.set_cmap(SIGNED)
    bar = axes.figure.colorbar(image, ax=axes, location="bottom", shrink=0.6, aspect=30, pad=0.02)
    end = two(image.norm.vmax)
    bar.set_ticks([-image.norm.vmax, 0, image.norm.vmax], labels=[f"−{end}", "0", end])


def plain(x):
    """Any floating tensor as the float32 that pictures are made from."""
    return x.detach().float().cpu()


def tint(name):
    """The colour of text about queries (blue), keys (dark orange) or values (green)."""
    return {"q": QUERY, "k": KEY_TEXT, "v": VALUE}.get(name[:1].lower(), "black")


def brief(tokens):
    """Tokens as labels: at most ten characters each.

    >>> brief(["key", "<|begin_of_text|>"])
    ['key', '<|begin_o…']
    """
    return [token if len(token) <= 10 else token[:9] + "…" for token in tokens]


def square(axes, x, y, fill, text, edge="white", hatch=None, lw=1, **look):
    """A unit square round x, y, and in it a text in an ink that can be read on it."""
    axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, fc=fill, ec=edge, hatch=hatch, lw=lw))
    axes.text(x, y, text, ha="center", va="center", color=ink(fill), **look)


def bare(axes):
    """Neither a line round a map nor ticks at its labels."""
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
