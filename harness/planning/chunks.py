"""Divides the inputs of a model into calls that all have the same size.

Matrix products round differently at different sizes. A model that always sees equally many inputs
gives each of them the same output, whatever the other inputs of the call are.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch


def of_one_size(count: int, size: int, device: torch.device) -> Iterator[torch.Tensor]:
    """The indices 0..count - 1 in chunks of `size`; the last chunk repeats the last index until it
    is full.
    """
    for first in range(0, count, size):
        yield torch.arange(first, first + size, device=device).clamp_(max=count - 1)


def even_size(count: int, largest: int) -> int:
    """The size of equal chunks, when `count` inputs are divided into as few chunks of at most
    `largest` inputs as possible.
    """
    chunks = -(-count // max(1, largest))
    return -(-count // chunks)
