"""What `check` shows: a card for the notebook, and in words what differs."""

import html

import torch

COLOURS = {"Passed": "#009E73", "Not yet": "#D55E00", "Not started": "#767676"}


def card(name, verdict, message, hints, source):
    """The HTML of a result; hints open one inside the other, the library's code last."""
    fold = f"<pre>{html.escape(source)}</pre>"
    fold = details(
        "Compare with the library" if verdict == "Passed" else "Solution: the library's own code",
        fold,
    )
    if verdict != "Passed":
        for i, hint in reversed(list(enumerate(hints, start=1))):
            fold = details(f"Hint {i} of {len(hints)}", paragraphs(hint) + fold)
    return (
        f'<div style="border-left: 6px solid {COLOURS[verdict]}; padding: 4px 14px; '
        f'font-size: 15px"><p><b>{verdict}</b> · <code>{name}</code></p>'
        f"{paragraphs(message)}{fold}</div>"
    )


def paragraphs(text):
    """HTML of a text: its first line as prose, the others as they stand."""
    said, _, shown = map(html.escape, text.partition("\n"))
    return f"<p>{said}</p>" + (f"<pre>{shown}</pre>" if shown else "")


def details(summary, body):
    """HTML that unfolds body on a click or the Enter key, without a script."""
    return f'<details><summary style="cursor: pointer">{summary}</summary>{body}</details>'


def shapes(names, values):
    """The arguments of a probe in words: `for q (1, 1, 3, 2), n_heads = 4`."""
    return "for " + ", ".join(
        f"{name} {tuple(value.shape)}" if isinstance(value, torch.Tensor) else f"{name} = {value}"
        for name, value in zip(names, values, strict=False)
    )


def difference(names, got, expected):
    """In words, the first part of what came back that differs from what was expected."""
    if isinstance(expected, tuple):
        if not isinstance(got, tuple | list) or len(got) != len(expected):
            return f"return {kind(expected)}, {', '.join(names)}; you returned {kind(got)}"
        for name, g, e in zip(names, got, expected, strict=True):
            if said := difference([name], g, e):
                return said
        return ""
    if not isinstance(expected, torch.Tensor):
        if type(got) is type(expected) and got == expected:
            return ""
        return f"{names[0]} is {got!r}, it should be {expected!r}"
    if not isinstance(got, torch.Tensor) or got.shape != expected.shape:
        return f"{names[0]} is {kind(got)}, it should be {kind(expected)}"
    gap = (got.detach().double() - expected.double()).abs().max().item()
    if gap < 1e-4:
        return ""
    return (
        f"{names[0]} differs by up to {gap:.3g}\n"
        f"expected {corner(expected)}\n     got {corner(got)}"
    )


def kind(value):
    """What a value is, in words: `a tensor (2, 3)`."""
    if isinstance(value, torch.Tensor):
        return f"a {value.dtype} tensor {tuple(value.shape)}".replace("torch.", "")
    if isinstance(value, tuple | list):
        return f"{len(value)} thing{'s' * (len(value) != 1)}"
    return f"{value!r}"


def corner(x):
    """The first row of x, at most four numbers, as text."""
    row = x.detach().double().flatten(0, -2)[0, :4].tolist() if x.ndim > 1 else x[:4].tolist()
    return "[" + ", ".join(f"{value:.3f}" for value in row) + ", …]"
