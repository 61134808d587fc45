"""How many threads the libraries use inside one operation."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from threadpoolctl import threadpool_limits


def use_one() -> None:
    """One thread inside every operation: more would add up in another order, so that outcomes
    would depend on the machine.
    """
    import scipy.linalg  # noqa: F401  loads the BLAS of scikit-learn, to be limited with numpy's

    torch.set_num_threads(1)
    threadpool_limits(1, user_api="blas")


@contextlib.contextmanager
def torch_uses(count: int) -> Iterator[None]:
    """Within the block, torch uses `count` threads inside an operation; after it one."""
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(1)
