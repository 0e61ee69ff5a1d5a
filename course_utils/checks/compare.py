"""Whether two results are the same, and in words what differs."""

from numbers import Integral

import torch


def same(got, expected):
    """Whether got is expected: same kind, same shape, and equal up to got's precision."""
    if isinstance(expected, Exception):
        return isinstance(got, type(expected))
    if isinstance(expected, tuple):
        return (
            isinstance(got, tuple | list)
            and len(got) == len(expected)
            and all(map(same, got, expected))
        )
    if not isinstance(expected, torch.Tensor):
        if isinstance(got, Integral) and not isinstance(got, bool):
            got = int(got)  # numpy has whole numbers of its own
        return type(got) is type(expected) and got == expected
    if not alike(got, expected):
        return False
    if not expected.is_floating_point():
        return torch.equal(got, expected)
    tolerance = max(1e-4, 4 * torch.finfo(got.dtype).eps)
    numbers = got.detach().double(), expected.double()
    return torch.allclose(*numbers, rtol=tolerance, atol=tolerance, equal_nan=True)


def alike(got, expected):
    """Whether got is a tensor of expected's shape, and floating or of its dtype."""
    if not isinstance(got, torch.Tensor) or got.shape != expected.shape:
        return False
    return got.dtype == expected.dtype or (got.is_floating_point() and expected.is_floating_point())


def difference(names, got, expected):
    """In words, the first part of what came back that is not the same as what was expected."""
    if same(got, expected):
        return ""
    if isinstance(expected, Exception):
        instead = (
            f"raised {type(got).__name__}" if isinstance(got, Exception) else f"gave {kind(got)}"
        )
        return f"yours {instead}; it should raise {type(expected).__name__}: {expected}"
    if isinstance(expected, tuple):
        if not isinstance(got, tuple | list) or len(got) != len(expected):
            return f"return {kind(expected)}, {', '.join(names)}; you returned {kind(got)}"
        parts = zip(names, got, expected, strict=True)
        return next(filter(None, (difference([name], g, e) for name, g, e in parts)))
    if not isinstance(expected, torch.Tensor) or not alike(got, expected):
        return f"{names[0]} is {kind(got)}, it should be {kind(expected)}"
    gaps = (got.detach().double() - expected.double()).abs()
    worst = gaps.argmax().item()
    return (
        f"{names[0]} differs by up to {gaps.max().item():.3g}{place(names[0], gaps, worst)}\n"
        f"expected {near(expected, worst)}\n     got {near(got, worst)}"
    )


def shapes(names, values):
    """The arguments of a probe in words: `for q (1, 1, 3, 2), n_heads = 4`."""
    return "for " + ", ".join(map(argument, names, values))


def argument(name, value):
    """One argument in words: `q (1, 1, 3, 2)`, `header_bytes (360 bytes)` or `n_heads = 4`."""
    if isinstance(value, torch.Tensor):
        return f"{name} {tuple(value.shape)}"
    return f"{name} ({len(value)} bytes)" if isinstance(value, bytes) else f"{name} = {value}"


def kind(value):
    """What a value is, in words: `a tensor (2, 3)`."""
    if isinstance(value, torch.Tensor):
        return f"a {value.dtype} tensor {tuple(value.shape)}".replace("torch.", "")
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, tuple | list):
        return f"{len(value)} thing{'s' * (len(value) != 1)}"
    return f"{value!r}"


def place(name, x, i):
    """Which row of x its i-th number is in, in words: `, here in output[0, 1]`."""
    index = torch.unravel_index(torch.tensor(i), x.shape)[:-1]
    return f", here in {name}[{', '.join(str(j.item()) for j in index)}]" if index else ""


def near(x, i):
    """The i-th number of x and its neighbours in the row as text: four at most."""
    rows = x.detach().double().reshape(-1, x.shape[-1] if x.ndim else 1)
    row, column = divmod(i, rows.shape[1])
    start = max(0, column - 3)
    shown = [f"{value:.3f}" for value in rows[row, start : start + 4].tolist()]
    before, after = ["…"] * (start > 0), ["…"] * (start + 4 < rows.shape[1])
    return f"[{', '.join(before + shown + after)}]"
