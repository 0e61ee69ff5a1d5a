"""Whether two results are the same, and in words what differs."""

import math
import reprlib
from numbers import Integral, Real

import numpy as np
import torch

from course_utils.geometry import Geometry

TOLERANCE = 1e-4
SHORT = reprlib.Repr()
SHORT.maxdict, SHORT.maxlist, SHORT.maxstring = 99, 3, 99
COARSE = torch.bfloat16, torch.float16


def same(got, expected):
    """Whether got is expected: of the same kind, shape and dtype, and `close` in numbers."""
    return close(got, expected) and not any(dtypes_of(*pair) for pair in parts(got, expected))


def close(got, expected, eps=0):
    """Whether got is expected but for the dtype: equal up to the precision it was computed in.

    That is seen in the numbers, or given: eps, the step from 1 to the next number.
    """
    pairs = list(parts(got, expected))
    eps = max([eps, *(precision(*pair) for pair in pairs if all(map(is_floating, pair)))])
    return all(equal(*pair, max(TOLERANCE, 4 * eps)) for pair in pairs)


def parts(got, expected):
    """The pairs of what came back and what should, if as many things came back."""
    several = isinstance(expected, tuple)
    if several and isinstance(got, tuple | list) and len(got) == len(expected):
        return zip(got, expected, strict=True)
    return [(got, expected)]


def precision(got, expected):
    """The step of the half precision that got was computed in, also if cast back since; else 0."""
    if expected.dtype in COARSE:
        return torch.finfo(expected.dtype).eps
    held = (dtype for dtype in COARSE if holds(dtype, got) and not holds(dtype, expected))
    return next((torch.finfo(dtype).eps for dtype in held), 0)


def holds(dtype, x):
    """Whether a dtype has all the numbers of x."""
    return torch.equal(x.to(dtype).double().nan_to_num(), x.double().nan_to_num())


def equal(got, expected, tolerance):
    """Whether one thing is another: tensors in any dtype of their kind, up to a tolerance.

    Where a float is expected, any number will do that is as near.
    """
    if isinstance(expected, Exception):
        return isinstance(got, type(expected))
    if isinstance(expected, tuple | list):
        as_many = isinstance(got, tuple | list) and len(got) == len(expected)
        return as_many and all(equal(*pair, tolerance) for pair in zip(got, expected, strict=True))
    if isinstance(expected, float):
        is_number = isinstance(got, Real) and not isinstance(got, bool)
        return is_number and math.isclose(got, expected, rel_tol=tolerance)
    if not isinstance(expected, torch.Tensor):
        if isinstance(got, Integral) and not isinstance(got, bool):
            got = int(got)  # numpy has whole numbers of its own
        return type(got) is type(expected) and got == expected
    if not alike(got, expected):
        return False
    if not is_floating(expected):
        return torch.equal(got.to(expected.dtype), expected)
    numbers = got.detach().double(), expected.detach().double()
    return torch.allclose(*numbers, rtol=tolerance, atol=tolerance, equal_nan=True)


def alike(got, expected):
    """Whether got is a tensor of expected's shape, and floating, whole or boolean as it is."""
    if not isinstance(got, torch.Tensor) or got.shape != expected.shape:
        return False
    booleans = [x.dtype == torch.bool for x in (got, expected)]
    return is_floating(got) == is_floating(expected) and len(set(booleans)) == 1


def is_floating(x):
    return isinstance(x, torch.Tensor) and x.is_floating_point()


def dtypes_of(got, expected):
    """The dtypes of two things that are `close`, if they are tensors and their dtypes differ."""
    if not isinstance(expected, torch.Tensor) or got.dtype == expected.dtype:
        return ()
    return word(got.dtype), word(expected.dtype)


def word(dtype):
    """A dtype in one word: `float32`."""
    return str(dtype).removeprefix("torch.")


def difference(names, got, expected):
    """In words, the first part of what came back that is not close to what was expected."""
    if isinstance(expected, Exception):
        instead = (
            f"raised {type(got).__name__}" if isinstance(got, Exception) else f"gave {kind(got)}"
        )
        return f"yours {instead}; it should raise {type(expected).__name__}: {expected}"
    if isinstance(expected, tuple):
        if not isinstance(got, tuple | list) or len(got) != len(expected):
            things = f"{len(expected)} things, {', '.join(names)}"
            return f"return {things}; you returned {kind(got)}"
        last = names[-1], got[-1], expected[-1]  # if each one by itself is close
        name, got, expected = [*wrong_parts(names, got, expected), last][0]
        return difference([name], got, expected)
    if not isinstance(expected, torch.Tensor) or not alike(got, expected):
        remedy = "; torch.from_numpy makes one" * isinstance(got, np.ndarray)
        return f"{names[0]} is {kind(got)}, it should be {kind(expected)}{remedy}"
    apart = gaps(got, expected)
    worst = apart.argmax().item()
    return (
        f"{names[0]} differs by up to {apart.max().item():.3g}{place(names[0], apart, worst)}\n"
        f"expected {near(expected, worst)}\n     got {near(got, worst)}"
    )


def wrong_parts(names, got, expected):
    """(name, got, expected) of each part that is not close, where as many came back as names."""
    every = zip(names, parts(got, expected), strict=True)
    return [(name, *pair) for name, pair in every if not close(*pair)]


def gaps(got, expected):
    """How far apart the numbers of two tensors of one shape are; nan where only one is a number.

    >>> gaps(torch.tensor([-torch.inf, -torch.inf, 3]), torch.tensor([-torch.inf, 1, 1]))
    tensor([0., inf, 2.], dtype=torch.float64)
    """
    got, expected = got.detach().double(), expected.detach().double()
    same = (got == expected) | (got.isnan() & expected.isnan())  # infinities have no difference
    return (got - expected).abs().masked_fill(same, 0)


def shapes(names, values):
    """The arguments of a probe in words: `for q (1, 1, 3, 2), n_heads = 4`."""
    return "for " + ", ".join(map(argument, names, values))


def argument(name, value):
    """One argument in words: `q (1, 1, 3, 2)`, `header_bytes (360 bytes)` or `n_heads = 4`.

    A Geometry: `model Falcon-7B (l = 32, n = 71, g = 1, h = 64)`. A dict's lists are cut short.
    """
    if isinstance(value, torch.Tensor):
        usual = value.dtype in (torch.float32, torch.bool)
        return f"{name} {tuple(value.shape)}" + ("" if usual else f" {word(value.dtype)}")
    if isinstance(value, Geometry):
        l, n, g, h = value.n_layers, value.n_heads, value.n_kv_heads, value.head_dim
        return f"{name} {value.name} (l = {l}, n = {n}, g = {g}, h = {h})"
    if isinstance(value, dict):
        return f"{name} = {SHORT.repr(value)}"
    return f"{name} ({len(value)} bytes)" if isinstance(value, bytes) else f"{name} = {value}"


def kind(value):
    """What a value is, in words: `a float32 tensor (2, 3)`."""
    if isinstance(value, torch.Tensor):
        return f"a {word(value.dtype)} tensor {tuple(value.shape)}"
    if isinstance(value, np.ndarray):
        return f"a {value.dtype} array of NumPy {value.shape}"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, tuple | list):
        return f"a {type(value).__name__} of {len(value)}"
    if isinstance(value, float):
        return repr(float(f"{value:.8g}"))
    return f"{value!r}" if len(repr(value)) < 80 else f"a {type(value).__name__}"


def place(name, x, i):
    """Which row of x its i-th number is in, in words: `, here in output[0, 1]`."""
    index = np.unravel_index(i, x.shape)[:-1]
    return f", here in {name}[{', '.join(map(str, index))}]" if index else ""


def near(x, i):
    """The i-th number of x and its neighbours in the row as text: four at most."""
    rows = x.detach().reshape(-1, x.shape[-1] if x.ndim else 1)
    row, column = divmod(i, rows.shape[1])
    start = max(0, column - 3)
    numbers = rows[row, start : start + 4].tolist()
    shown = [f"{y:.3f}" if is_floating(x) else str(y) for y in numbers]
    before, after = ["…"] * (start > 0), ["…"] * (start + 4 < rows.shape[1])
    return f"[{', '.join(before + shown + after)}]"
