"""Whether training would learn through a right answer."""

import copy
import inspect
import io
from contextlib import redirect_stdout, suppress

import torch

from course_utils.checks.compare import is_floating
from course_utils.checks.running import outcome


def gradient_lost(exercise, fn, names):
    """What to say of a right answer through which training does not reach its inputs, or "".

    No answer fails for it: who computes with NumPy or lists is right, too. What is decorated with
    torch.no_grad means it.
    """
    probe = next((x for x in exercise.probes if any(map(is_floating, x))), ())
    right, got = (gradients(exercise, f, probe) for f in (exercise.reference, inspect.unwrap(fn)))
    pairs = [x for x in zip(names, right, got, strict=False) if x[1] is not None and x[1].any()]
    lost = [name for name, x, y in pairs if y is None or (y - x).norm() > 0.1 * x.norm()]
    if not lost:
        return ""
    return (
        f"But training would not learn through it: the gradient of {', '.join(lost)} is not the "
        "library's. .detach(), .data, .item(), NumPy and torch.no_grad() cut it off, and steps in "
        "place (exp_, /=) can break it."
    )


def gradients(exercise, fn, probe):
    """The gradient of what comes back for each argument of a probe; None where there is none."""
    given = [x.clone().requires_grad_() if is_floating(x) else copy.deepcopy(x) for x in probe]
    inputs = [x for x in given if is_floating(x)]
    found = [None] * len(inputs)
    with torch.enable_grad(), redirect_stdout(io.StringIO()):
        got = outcome(exercise, fn, given)
        results = got if isinstance(got, tuple | list) else (got,)
        learnt = [x.double().square().sum() for x in results if is_floating(x) and x.requires_grad]
        with suppress(RuntimeError):  # numbers that it needs were written over
            found = torch.autograd.grad(sum(learnt), inputs, allow_unused=True) if learnt else found
    left = iter(found)
    return [next(left) if is_floating(x) else None for x in given]
