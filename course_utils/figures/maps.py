"""Heat maps: who looks at what."""

from course_utils.figures.card import LOOK, Card
from course_utils.figures.grids import hidden, name_axes
from course_utils.figures.parts import bare


@LOOK
def attention_map(weights, tokens, title, vmax=1):
    """Heat map of weights (t, s) with its numbers, hatched where exactly 0: rows are queries.

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
            if value == 0:  # hidden by a mask
                axes.add_patch(hidden(j, i))
                continue
            if s > 15 and value < 0.05:
                continue
            write(axes, j, i, value, digits, vmax)
    axes.set_xticks(range(s), tokens, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(t), tokens[s - t :])
    name_axes(axes)
    bare(axes)
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
def lookup(weights, right, attributes, title):
    """Where each head looks for one question row: a row is a head, a column a door.

    weights (n, s); right: for each attribute, the index of the door it is about.
    """
    n, s = weights.shape
    asked = [[a for a, j in zip(attributes, right, strict=True) if j == door] for door in range(s)]
    best = "; ".join(
        f"head {i} looks most at door {j} ({', '.join(asked[j]) or 'not asked for'})"
        for i, j in enumerate(weights.argmax(dim=1).tolist())
    )
    figure = Card(10, 0.42 * n + 2.3, f"Heat map. {title}. {best}.")
    axes = figure.subplots()
    numbers(axes, weights)
    lines = [[f"door {j}", *asked[j], "", "", ""] for j in range(s)]  # four lines keep it still
    axes.set_xticks(range(s), ["\n".join(x[: max(4, len(x) - 3)]) for x in lines])
    axes.set_yticks(range(n), [f"head {i}" for i in range(n)])
    axes.set_title(title)
    return figure


@LOOK
def found(shares, titles, attributes):
    """How much weight each head puts on the right door for each attribute, models side by side.

    shares: (n, attributes) for each model, 0 to 1, with a title each.
    """
    n = len(shares[0])
    most = ", ".join(
        f"{title}: {share.max():.2f}" for share, title in zip(shares, titles, strict=True)
    )
    figure = Card(11, 0.4 * n + 1.6, f"Heat maps, heads by attributes. Largest share, {most}.")
    panels = figure.subplots(1, len(shares), sharey=True, squeeze=False)[0]
    for axes, share, title in zip(panels, shares, titles, strict=True):
        image = numbers(axes, share)
        axes.set_xticks(range(len(attributes)), attributes)
        axes.set_title(title)
    panels[0].set_yticks(range(n), [f"head {i}" for i in range(n)])
    figure.colorbar(image, ax=panels, shrink=0.8, pad=0.01)
    return figure


def write(axes, x, y, value, digits=2, vmax=1):
    """The value in its cell of a heat map that goes from 0 to vmax, as .12."""
    color = "black" if value > 0.42 * vmax else "white"
    text = f"{value:.{digits}f}".removeprefix("0")
    axes.text(x, y, text, ha="center", va="center", color=color, fontsize=11)


def numbers(axes, values):
    """Heat map of values from 0 to 1 with two digits in each cell."""
    image = axes.imshow(values.numpy(), cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for i, row in enumerate(values.tolist()):
        for j, value in enumerate(row):
            write(axes, j, i, value)
    bare(axes)
    return image
