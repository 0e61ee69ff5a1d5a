"""The pictures: pure functions from tensors to a matplotlib Figure, one look for all lessons.

Queries are blue, keys orange, values green; groups take the Okabe-Ito hues in order. Every figure
is a `Card`: white in light and dark theme, drawn at twice the size it is shown at, with alt text.
"""

import base64
import html
import io
import os

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Polygon
from PIL import Image

from course_utils.attention import group_size

QUERY, KEY, VALUE = "#0072B2", "#E69F00", "#009E73"
GROUPS = ["#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#000000"]
CSS_DPI = 96
WIDGET = "application/vnd.jupyter.widget-view+json"
LOOK = mpl.rc_context(
    {
        "font.size": 12,
        "axes.titlesize": 14,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
    }
)


def stored():
    """Whether outputs are being made for the repository: pictures that need nothing alive."""
    return os.environ.get("COURSE_OUTPUTS") == "stored"


def as_shown(data):
    """A widget's MIME bundle; if stored, without the widget itself.

    Stored without its state a widget shows as an error in JupyterLab, and hides what stands beside.
    """
    return {kind: x for kind, x in data.items() if kind != WIDGET or not stored()}


def png(figure):
    """The figure as PNG bytes, two pixels for each CSS pixel it is shown at, in 256 colours."""
    drawn, small = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=2 * CSS_DPI, facecolor="white")
    Image.open(drawn).convert("RGB").quantize(256).save(small, "png")
    return small.getvalue()


class Card(Figure):
    """A Figure that a notebook shows sharp and with its alt text; width and height in inches.

    >>> Card(4, 3, alt="nothing yet").alt
    'nothing yet'
    """

    def __init__(self, width, height, alt):
        super().__init__(figsize=(width, height), layout="constrained", facecolor="white")
        self.alt = alt

    def _repr_mimebundle_(self, **kwargs):
        """JupyterLab reads alt text only from HTML, GitHub shows pictures only as PNG."""
        picture = base64.b64encode(png(self)).decode()
        width, alt = float(self.get_figwidth() * CSS_DPI), html.escape(self.alt)
        if stored():
            data = {"image/png": picture, "text/plain": self.alt}
            return data, {"image/png": {"width": width, "alt": self.alt}}
        tag = f'<img alt="{alt}" width="{width:.0f}" src="data:image/png;base64,{picture}">'
        return {"text/html": tag, "text/plain": self.alt}, {}


@LOOK
def attention_map(weights, tokens, title, vmax=1):
    """Heat map of weights (t, s) with its numbers: a row is a query, a column a key.

    tokens: the s words; the t queries are the last t of them. Raises ValueError if they are not s.
    """
    if weights.ndim != 2 or weights.shape[1] != len(tokens):
        raise ValueError(
            f"weights {tuple(weights.shape)} must be (t, s) with a token for each of the s keys; "
            f"there are {len(tokens)} tokens"
        )
    weights = weights.detach().float().cpu().numpy()
    t, s = weights.shape
    digits, cell = (2, 0.47) if s <= 15 else (1, 0.33)
    size = max(5.5, 1.8 + cell * s)
    figure = Card(size + 0.6, size - 0.2, f"Heat map. {title}. {looks(weights, tokens)}")
    axes = figure.subplots()
    image = axes.imshow(weights, cmap="cividis", vmin=0, vmax=vmax)
    for i in range(t):
        for j in range(s):
            value = weights[i, j]
            if s > 15 and value < 0.05:
                continue
            axes.text(
                j, i, f"{value:.{digits}f}".removeprefix("0"),
                ha="center", va="center", fontsize=11,
                color="black" if value > 0.42 * vmax else "white",
            )  # fmt: skip
    axes.set_xticks(range(s), tokens, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(t), tokens[s - t :])
    axes.set_xlabel("key: the word looked at", color="#8A5F00", fontweight="bold")
    axes.set_ylabel("query: the word that looks", color=QUERY, fontweight="bold")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    axes.set_title(title)
    figure.colorbar(image, ax=axes, shrink=0.7, pad=0.02)
    return figure


def looks(weights, tokens):
    """In words, what each row of weights (t, s) looks at most; what is said is said once.

    >>> import numpy as np
    >>> looks(np.array([[0.2, 0.8], [0.5, 0.5]]), ["one", "key"])
    'one looks most at key; key at all alike.'
    """
    t, s = weights.shape
    said = []
    for token, row in zip(tokens[s - t :], weights, strict=True):
        best = [tokens[j] for j in range(s) if row[j] > row.max() - 1e-4]
        said.append((token, "all alike" if len(best) == s else ", ".join(dict.fromkeys(best))))
    if {best for _, best in said} == {"all alike"}:
        return "Every word looks at all alike."
    first, *others = (f"{token} at {best}" for token, best in dict.fromkeys(said))
    return "; ".join([first.replace(" at ", " looks most at "), *others]) + "."


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


@LOOK
def wiring(n_heads, n_kv_heads):
    """Which K/V head each query head reads: n boxes above, g below, one hue a group.

    Raises ValueError if n is not divisible by g.
    """
    n, g = n_heads, n_kv_heads
    r = group_size(n, g)
    title = f"{n} query heads, {g} K/V head{'s' * (g > 1)}: {r} to one"
    figure = Card(8, 3.4, f"{title}. Query heads in a row; each group of {r} is wired to one box.")
    axes = figure.subplots()

    def box(x, y, color, text, hatch=None):
        shape = FancyBboxPatch((x - 0.3, y - 0.2), 0.6, 0.4, boxstyle="round,pad=0.06")
        shape.set(facecolor=color, edgecolor="black", hatch=hatch, zorder=2)
        axes.add_patch(shape)
        ink = "white" if color in ("#000000", QUERY) else "black"
        axes.text(x, y, text, ha="center", va="center", color=ink, zorder=3)

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
