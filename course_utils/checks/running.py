"""Run a learner's function: what it gives or raises, and whether it is written at all."""

import copy
import dis
import inspect
import io
import traceback
from contextlib import redirect_stdout
from pathlib import Path

import torch

from course_utils.checks.compare import COARSE
from course_utils.experiments.memory import Watch


def outcomes(exercise, fn):
    """What fn gives on every probe."""
    return [outcome(exercise, fn, copy.deepcopy(probe)) for probe in exercise.probes]


def outcome(exercise, fn, probe):
    """What fn gives on a probe, or the error it raises."""
    try:
        return plain(exercise.play(fn, *probe) if exercise.play else fn(*probe))
    except Exception as error:  # whatever a learner's code raises is the learner's to see
        return error


def plain(got):
    """What came back, with tensors of PyTorch's own class: others may say anything of themselves.

    Raises TypeError for one that answers in PyTorch's place in another way.

    >>> type(plain(torch.nn.Parameter(torch.ones(2))))
    <class 'torch.Tensor'>
    """
    if isinstance(got, tuple | list):
        return (list if isinstance(got, list) else tuple)(map(plain, got))
    if not isinstance(got, torch.Tensor) or type(got) is torch.Tensor:
        return got
    if getattr(type(got), "__torch_dispatch__", None) is not torch.Tensor.__torch_dispatch__:
        raise TypeError(f"return a torch.Tensor, not a {type(got).__name__}")
    with torch._C.DisableTorchFunctionSubclass():
        return torch.Tensor.as_subclass(got, torch.Tensor)


def is_unwritten(got):
    """Whether somebody wrote `raise NotImplementedError`; PyTorch raises it for what it lacks."""
    return isinstance(got, NotImplementedError) and is_by_hand(got)


def is_by_hand(error):
    """Whether a line of Python outside of PyTorch raises this error, or a forward is missing."""
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    code, of_torch = frame.f_code, Path(torch.__file__).parent
    if of_torch in Path(code.co_filename).parents:
        return code.co_name == "_forward_unimplemented"
    raises = (x for x in dis.get_instructions(code) if x.opname == "RAISE_VARARGS")
    return any(x.positions.lineno == line for x in raises)


def coarsest(exercise, fn, probe):
    """The step of the coarsest half precision that fn computes in on a probe; 0 if in none."""
    dtypes = set()
    with Watch(lambda x: dtypes.add(x.dtype)), redirect_stdout(io.StringIO()):
        outcome(exercise, fn, copy.deepcopy(probe))
    return max((torch.finfo(dtype).eps for dtype in dtypes.intersection(COARSE)), default=0)


def is_stub(fn):
    """Whether the body of fn reads and sets no variable at all."""
    code = code_of(fn)
    return code is not None and not any("FAST" in x.opname for x in dis.get_instructions(code))


def where(error, fn):
    """The learner's line in which an error arose, and what the error says."""
    said = f"{type(error).__name__}: {error}"
    code = code_of(fn)
    frames = traceback.extract_tb(error.__traceback__)
    mine = [f.line for f in frames if code and f.filename == code.co_filename]
    return f"line: {mine[-1]}\n{said}" if mine else said


def code_of(fn):
    """The code of a function (also decorated, or a partial) or of a module's forward, or None."""
    fn = inspect.unwrap(getattr(fn, "func", fn))
    if isinstance(fn, torch.nn.Module) or (isinstance(fn, type) and hasattr(fn, "forward")):
        fn = fn.forward
    return getattr(inspect.unwrap(fn), "__code__", None)
