"""What is read of a checkpoint, and the keys and values that it gives."""

import re

from matplotlib.patches import Rectangle

from course_utils.figures.card import KEY, LOOK, QUERY, VALUE, Card
from course_utils.figures.parts import (
    DARK,
    apart,
    bare,
    brief,
    plain,
    signed_bar,
    size,
    tint,
    two,
)

PARTS = {"q": (QUERY, ".."), "k": (KEY, "//"), "v": (VALUE, "\\\\"), "": (DARK, "xx")}
WIDTH = 10.6  # inches of the strip


@LOOK
def byte_map(sizes, read, title):
    """A checkpoint as one strip, to scale, with what was read of it filled and named below.

    sizes {tensor: bytes} in the order of the file; read {tensor: bytes read of it}, drawn from the
    tensor's beginning.

    Raises ValueError if nothing was read, or more of a tensor than there is.
    """
    for name, n in read.items():
        if not 0 < n <= sizes.get(name, 0):
            raise ValueError(f"read {n} bytes of {name}; the file has {sizes.get(name, 0)} of it")
    if not read:
        raise ValueError("read is empty; give the bytes that were read of one tensor or more")
    starts, total = {}, 0
    for name, n in sizes.items():
        starts[name], total = total, total + n
    some = sum(read.values())
    part = f"1 of {ratio(total / some)}" if some < total else "all of it"
    share = f"{size(some)} of {size(total)}: {part}"
    names = sorted(read, key=starts.get)
    texts = {name: f"{name}: {size(read[name])}" + of(read[name], sizes[name]) for name in names}
    figure = Card(
        11,
        2.3 + 0.3 * len(names),
        f"A strip for the {len(sizes)} tensors of a file. {title}. Read: {share}. "
        f"{'; '.join(texts.values())}.",
    )
    axes = figure.subplots()
    inch = total / WIDTH
    axes.vlines([*starts.values(), total], 0, 1, color="#BBBBBB", lw=0.5)
    axes.add_patch(Rectangle((0, 0), total, 1, fill=False, ec="black"))
    longest = max(map(len, texts.values()))
    far = total - (0.4 + 0.092 * longest) * inch  # no text starts further right
    right = apart({name: -starts[name] for name in names}, 0.16 * inch)
    places = apart({name: min(-right[name], far) for name in reversed(names)}, 0.16 * inch)
    for row, name in enumerate(reversed(names)):
        kind = re.search(r"\b[qkv](?=_)", name)
        color, hatch = PARTS[kind[0] if kind else ""]
        start, x, y = starts[name], places[name], -1.1 - 0.5 * row
        look = {"fc": color, "ec": "black", "lw": 0, "hatch": hatch}
        axes.add_patch(Rectangle((start, 0), read[name], 1, **look))
        middle = start + read[name] / 2
        axes.plot([middle, middle, x, x], [1, 0, -0.5, y], color=color, lw=2)
        axes.plot(x, y, "s", color=color, markersize=8)
        axes.text(x + 0.12 * inch, y, texts[name], va="center")
    axes.set(xlim=(-0.02 * total, 1.02 * total), ylim=(-1.1 - 0.5 * len(names), 1.02))
    axes.set_title(f"{title}\n{share}")
    axes.set_axis_off()
    return figure


@LOOK
def token_rows(panels, tokens, title, top, pairs=()):
    """What one head caches, a row a token: {name: (s, h)}; K before and after RoPE, or V.

    top: where the colours end, one number or {name: number}. pairs: (i, j), two rows of one word; a
    bracket joins them, beside it their largest |difference|.

    Raises ValueError if a panel is not (s, h) for the s tokens.
    """
    s = len(tokens)
    tops = top if isinstance(top, dict) else dict.fromkeys(panels, top)
    said = []
    width = 9.4 / len(panels)  # inches, of which `room` are beside the map
    room = 0.75 + 0.12 * len(pairs) if pairs else 0
    figure = Card(11, 2.3 + 0.33 * s, "")
    figure.suptitle(title, x=0.01, ha="left")
    every_axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (name, x) in zip(every_axes, panels.items(), strict=True):
        if x.ndim != 2 or len(x) != s:
            raise ValueError(
                f"{name} has shape {tuple(x.shape)}; it must be (s, h) for the {s} tokens"
            )
        h, end = x.shape[1], tops[name]
        image = axes.imshow(
            plain(x).numpy(), vmin=-end, vmax=end, aspect="auto", interpolation="nearest"
        )
        signed_bar(axes, image)
        inch = h / (width - room)  # in numbers across
        for k, (i, j) in enumerate(pairs, start=1):
            gap = two((x[i].double() - x[j].double()).abs().max())
            said.append(f"{name}, “{tokens[i]}” at {i} and at {j}: {gap}")
            for row in (i, j):
                axes.add_patch(Rectangle((-0.5, row - 0.5), h, 1, fill=False, ec="black", lw=1.5))
            edge, corner, to = (h - 0.5 + 0.12 * inch * m for m in (0, k, len(pairs) + 1))
            axes.plot([edge, corner, corner, to], [i, i, j, j], color="black", lw=1.5)
            axes.plot([edge, corner], [j, j], color="black", lw=1.5)
            axes.text(to, j, f" {gap}", va="center", fontweight="bold")
        axes.set_xlim(-0.5, h - 0.5 + room * inch)
        axes.set_title(name, color=tint(name))
        bare(axes)
        axes.set_xticks([0, h - 1], [0, h - 1])
    every_axes[0].set_yticks(range(s), brief(tokens))
    text = f"a row: the {h} numbers of a token"
    figure.alt = f"Heat maps, a row for each of {s} tokens: {', '.join(panels)}. {title}."
    if pairs:
        figure.alt += f" Largest difference of two rows: {'; '.join(said)}."
        text += "; beside a bracket: the largest |difference| of its two rows"
    figure.supxlabel(text, fontsize=12)
    return figure


def of(n_bytes, whole):
    """What a part is of its tensor, if not all of it."""
    return f" of {size(whole)}" if n_bytes < whole else ""


def ratio(x):
    """How many times, whole numbers from 10 on."""
    return f"{x:,.0f}" if x >= 10 else f"{x:.1f}"
