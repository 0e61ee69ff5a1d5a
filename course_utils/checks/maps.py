"""Tensors as small heat maps that show their numbers: what is wanted, and yours beside it."""

import html
import itertools
from math import inf

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.colors import Normalize, to_hex

from course_utils.checks.compare import (
    TOLERANCE,
    alike,
    argument,
    gaps,
    parts,
    wrong_parts,
)
from course_utils.figures.parts import SIGNED, digits

READABLE, MAPS, NUMBERS = 12, 4, 64  # rows or columns of a map; of one tensor: maps, and numbers
CELL = "padding: 1px 5px; text-align: right; min-width: 2.2em; border: "
MARK, PLAIN = "3px solid #E6007E", "1px solid #BBBBBB"


def wanted(names, given, returns, expected):
    """What a probe gives and what the library makes of it as (HTML, alt text); "" if no tensors.

    Of what comes back the first two things are shown, of a tensor with more axes the first maps.
    """
    results = [x for x in zip(returns, values_of(expected), strict=True) if is_readable(x[1])][:2]
    if not results:
        return "", ""
    given = list(zip(names, given, strict=False))
    alt = f"An example, as heat maps: {listed(given)} → {listed(results)}."
    maps = [each for name, x in [*given, ("→", None), *results] for each in several(name, x)]
    return picture(["What is wanted, for example:", *maps], alt), alt


def compared(returns, expected, got):
    """The library's result beside yours, of the parts that differ, as (HTML, alt text).

    The map that differs most is shown; each place that differs has a border and a ≠. Nothing where
    a picture would say less than words: no tensor, too large, or not as many things.
    """
    if len(list(parts(got, expected))) != len(returns):
        return "", ""
    wrong = wrong_parts(returns, got, expected)
    drawn = [beside(*x) for x in wrong if all(map(is_readable, x[1:]))][:2]
    alt = " ".join(said for _, said in drawn)
    return (picture([x for maps, _ in drawn for x in maps], alt), alt) if drawn else ("", "")


def beside(name, yours, library):
    """The maps of one part of a result, the library's and yours, and what they show in words."""
    if not alike(yours, library):
        norm = scale(library, yours)
        maps = several(f"library: {name}", library, norm) + several(f"yours: {name}", yours, norm)
        alt = f"Heat maps: the library's {listed([(name, library)])}, "
        return maps, alt + f"yours {tuple(yours.shape)}."
    where = gaps(yours, library).nan_to_num(torch.inf)
    first = np.unravel_index(where.argmax().item(), library.shape)
    at, (row, column) = first[:-2], ((0, *first)[-2], first[-1])
    differs, here = table(where[at]) > TOLERANCE, name + f"[{', '.join(map(str, at))}]" * bool(at)
    texts = [cell(table(x[at])[row, column]) for x in (library, yours)]
    alt = (
        f"Heat maps of {here}, the library's beside yours: {int(differs.sum())} of "
        f"{differs.numel()} places differ, most in row {row}, column {column}: {texts[0]} there, "
        f"yours {texts[1]}."
    )
    norm = scale(library[at], yours[at])
    maps = [grid(f"library: {here}", library[at], norm), grid("yours", yours[at], norm, differs)]
    return maps, alt


def values_of(result):
    """What came back as a tuple, also if it is one thing."""
    return result if isinstance(result, tuple) else (result,)


def is_readable(x):
    """Whether x is a tensor with rows and columns that fit on a card."""
    if not isinstance(x, torch.Tensor) or x.is_complex() or not 1 <= x.ndim <= 5 or not x.numel():
        return False
    return max(x.shape[-2:]) <= READABLE


def listed(pairs):
    """Things in words: `q (1, 1, 3, 2), n_heads = 4`."""
    return ", ".join(map(argument, *zip(*pairs, strict=True)))


def several(name, x, norm=None):
    """The first maps of a tensor, each under its place; other things in words, None by its name."""
    if not is_readable(x):
        return [f"<div>{html.escape(name if x is None else argument(name, x))}</div>"]
    places = list(itertools.product(*map(range, x.shape[:-2])))
    most = max(1, min(MAPS, NUMBERS * len(places) // x.numel()))
    norm, titles = norm or scale(x), [name + str(list(at)) * bool(at) for at in places]
    maps = [grid(t, x[at], norm) for t, at in zip(titles[:most], places, strict=False)]
    return maps + ["<div>…</div>"] * (len(places) > most)


def table(x):
    """x as rows and columns on the CPU, without its gradient."""
    return x.detach().cpu().reshape(-1, x.shape[-1])


def scale(*tensors):
    """One scale of colours for tensors: around 0 if a number is negative."""
    numbers = torch.cat([table(x).double().flatten() for x in tensors])
    numbers = numbers[numbers.isfinite()]
    top = numbers.abs().max().item() if len(numbers) else 1
    low = -top if len(numbers) and numbers.min() < 0 else 0
    return Normalize(low, top or 1)


def grid(title, x, norm, differs=None):
    """One map as a table: a colour and a number for each place, and a mark where it differs."""
    rows, x = "", table(x)
    colours = SIGNED if norm.vmin < 0 else colormaps["cividis"]
    fills = colours(norm(x.double().nan_to_num(0, 0, 0).numpy()))
    fills[~x.double().isfinite().numpy()] = 1  # white
    light = ((fills[..., :3] + 0.055) / 1.055) ** 2.4 @ (0.2126, 0.7152, 0.0722)  # WCAG's luminance
    dark = light < 0.179  # where white is read as well as black
    marked = torch.zeros_like(x, dtype=torch.bool) if differs is None else differs
    for numbers, fill, is_dark, mark in zip(x, fills, dark, marked.tolist(), strict=True):
        rows += "<tr>"
        for number, colour, on_dark, is_marked in zip(numbers, fill, is_dark, mark, strict=True):
            style = f"{CELL}{MARK if is_marked else PLAIN}; background: {to_hex(colour)}"
            style += f"; color: {'white' if on_dark else 'black'}"
            rows += f'<td style="{style}">{"≠ " * is_marked}{cell(number)}</td>'
        rows += "</tr>"
    head = f'<div style="margin-bottom: 2px">{html.escape(title)}</div>'
    return f'<div>{head}<table style="border-collapse: collapse; margin: 0">{rows}</table></div>'


def cell(x):
    """One number in a map: True, 12, .33 or nan."""
    number = x.item()
    if not isinstance(number, float):
        return str(number)
    if number != number or number in (inf, -inf) or number.is_integer():
        return f"{number:g}"
    return f"-{digits(-number)}" if number < 0 else digits(number)


def picture(maps, alt):
    """Maps side by side, with one alt text for all of them."""
    row = "display: flex; flex-wrap: wrap; gap: 6px 18px; align-items: flex-start"
    font = "font: 13px monospace; margin: 6px 0 10px"
    maps = [x if x.startswith("<") else f'<div style="width: 100%">{x}</div>' for x in maps]
    label = f'role="img" aria-label="{html.escape(alt)}"'
    return f'<div {label} style="{row}; {font}">{"".join(maps)}</div>'
