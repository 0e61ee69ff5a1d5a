"""What a function computes on the way, and the largest tensor that it allocates."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Watch(TorchDispatchMode):
    """Shows see(tensor) the result of every operation, also of those that matmul does inside."""

    def __init__(self, see):
        super().__init__()
        self.see = see

    @classmethod
    def _should_skip_dynamo(cls):
        """No: nothing is compiled here, and to import what would skip it takes seconds."""
        return False

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        for x in tree_leaves(result):
            if isinstance(x, torch.Tensor):
                self.see(x)
        return result


def largest_tensor(fn, *arguments):
    """Bytes of the largest tensor that fn(*arguments) makes or reads; a view counts what it views.

    >>> x = torch.ones(1, 8, 4)
    >>> largest_tensor(lambda x: x.expand(6, 8, 4), x)
    128
    >>> largest_tensor(lambda x: x.repeat(6, 1, 1), x)
    768
    """
    sizes = [0]
    with Watch(lambda x: sizes.append(x.untyped_storage().nbytes())):
        fn(*arguments)
    return max(sizes)
