"""What several files of tests share."""

import pytest
import torch


@pytest.fixture(scope="module")
def one_thread():
    """Sums in one order, so that training gives the same numbers every time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
