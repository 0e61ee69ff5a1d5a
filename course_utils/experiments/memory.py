"""What a function allocates: the largest tensor it makes on the way."""

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Largest(TorchDispatchMode):
    """Sees the result of every operation, also of those that matmul does inside."""

    n_bytes = 0

    @classmethod
    def _should_skip_dynamo(cls):
        """No: nothing is compiled here, and to import what would skip it takes seconds."""
        return False

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        sizes = [x.untyped_storage().nbytes() for x in tree_leaves(result) if hasattr(x, "storage")]
        self.n_bytes = max(self.n_bytes, *sizes, 0)
        return result


def largest_tensor(fn, *arguments):
    """Bytes of the largest tensor that fn(*arguments) makes or reads; a view counts what it views.

    >>> import torch
    >>> x = torch.ones(1, 8, 4)
    >>> largest_tensor(lambda x: x.expand(6, 8, 4), x)
    128
    >>> largest_tensor(lambda x: x.repeat(6, 1, 1), x)
    768
    """
    with _Largest() as largest:
        fn(*arguments)
    return largest.n_bytes
