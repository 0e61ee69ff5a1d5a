"""Fewer bits a number: whole numbers, and scales that bring them back to size.

Some numbers share a scale, those along the axis dim. Of keys or values (b, g, s, h) dim = -1 is a
scale for each token in each head, -2 one for each channel (each of the h numbers).
"""

import torch


def quantize(x, bits, dim=-1):
    """x as whole numbers of so many bits, and scales: integers · scales is nearly x.

    The number farthest from 0 becomes the highest level, 2^(bits - 1) - 1, or the lowest, minus
    that; the others are rounded to the nearest level. dim: the axis, or several, along which
    numbers share a scale. Returns integers, int8 of x's shape, and scales, of x's dtype and shape
    but 1 along dim; where all numbers are 0 the scale is 1.

    Raises ValueError if bits is not 2 to 8, TypeError if x is no floating tensor.

    >>> integers, scales = quantize(torch.tensor([[0.2, -0.7, 0.34], [0.0, 0.0, 0.0]]), bits=4)
    >>> integers.tolist(), scales.flatten().tolist()
    ([[2, -7, 3], [0, 0, 0]], [0.10000000149011612, 1.0])
    """
    if bits not in range(2, 9):
        raise ValueError(f"bits ({bits}) must be one of 2, 3, … 8; int8 holds no more")
    if not isinstance(x, torch.Tensor) or not x.is_floating_point():
        raise TypeError(f"x is {getattr(x, 'dtype', type(x).__name__)}; give a floating tensor")
    largest, most = x.abs().amax(dim, keepdim=True), 2 ** (bits - 1) - 1
    scales = torch.where(largest == 0, 1, largest / most)
    steps = (x / scales).round().clamp(-most, most)  # in half precision scales are rounded, too
    return steps.to(torch.int8), scales


def dequantize(integers, scales):
    """The numbers that integers and scales of `quantize` stand for, in the dtype of the scales.

    >>> dequantize(torch.tensor([[2, -7, 3]], dtype=torch.int8), torch.tensor([[0.5]]))
    tensor([[ 1.0000, -3.5000,  1.5000]])
    """
    return integers * scales


class RoundedCache:
    """Stands in for a cache whose numbers are kept in few bits: what goes in comes out rounded.

    keys, values: the axis dim of `quantize` for each; None leaves them as they are. It holds one
    call's tokens, so give a whole text at once.

    >>> k = torch.tensor([[[[0.2, -0.7, 0.34]]]])
    >>> RoundedCache(bits=4, keys=-1).append(k, k)
    (tensor([[[[ 0.2000, -0.7000,  0.3000]]]]), tensor([[[[ 0.2000, -0.7000,  0.3400]]]]))
    """

    n_tokens = 0

    def __init__(self, bits, keys=None, values=None):
        self.bits, self.keys, self.values = bits, keys, values

    def append(self, k, v):
        """The keys and values that attention reads: rounded, (b, g, s, h) each."""
        return tuple(
            x if dim is None else dequantize(*quantize(x, self.bits, dim))
            for x, dim in ((k, self.keys), (v, self.values))
        )
