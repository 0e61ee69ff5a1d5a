"""The largest tensor a function makes: known sizes, and what matmul copies in silence."""

import pytest
import torch

from course_utils.attention import attention
from course_utils.experiments.memory import largest_tensor

B, N, S, H = 2, 8, 64, 16
q, k = torch.ones(B, N, 1, H), torch.ones(B, 1, S, H)


@pytest.mark.parametrize(
    "fn, heads",
    [
        (lambda q, k: k, 0),  # nothing is made
        (lambda q, k: k.mT, 1),  # a view is as large as what it views
        (lambda q, k: k.expand(B, N, S, H), 1),
        (lambda q, k: k * 1, 1),
        (lambda q, k: k.repeat_interleave(N, dim=1), N),
        (lambda q, k: k.expand(B, N, S, H).contiguous(), N),
        (lambda q, k: q @ k.mT, N),  # the innocent broadcast
        (lambda q, k: (q.view(B, 1, N, H) @ k.mT).view(B, N, 1, S), 1),
        (lambda q, k: attention(q, k, k), 1),
    ],
)
def test_it_is_counted_in_copies_of_k(fn, heads):
    assert largest_tensor(fn, q, k) == heads * k.nbytes


def test_tensors_in_lists_and_dicts_are_seen():
    assert largest_tensor(lambda x: x.split(2), torch.ones(6)) == 24
    assert largest_tensor(lambda: [torch.ones(5), {"a": torch.ones(7).double()}]) == 56


def test_an_error_inside_is_raised():
    with pytest.raises(ZeroDivisionError):
        largest_tensor(lambda: 1 / 0)
