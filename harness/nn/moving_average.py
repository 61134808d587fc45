"""Target networks: copies that are not trained but follow a network as the exponential moving
average of its parameters.

The rate must fit the number of steps: (1 - rate)^steps of the initial weights stay in the target
(tests/experiment/test_rates.py checks every method and scale).

BatchNorm's running statistics are not averaged: a target that trains beside its network normalises
with the statistics of its own batches and keeps the running ones of its own activations, which fit
its own weights.
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def frozen_copy(module: Module) -> Module:
    """A deep copy of the module whose parameters have no gradients."""
    return copy.deepcopy(module).requires_grad_(False)


@torch.no_grad()
def follow(target: nn.Module, online: nn.Module, rate: float) -> None:
    """target <- (1 - rate) * target + rate * online, parameter by parameter."""
    pairs = zip(target.parameters(), online.parameters(), strict=True)
    for average, parameter in pairs:
        average.lerp_(parameter, rate)
