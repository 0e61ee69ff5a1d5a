"""Heat maps: who looks at what."""

from course_utils.figures.card import LOOK, QUERY, Card


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
