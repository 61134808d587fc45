"""Counts floating-point operations from shapes alone, without computing anything.

torch.utils.flop_counter counts matrix products, attention and convolutions, 2 for each multiply-
add; elementwise operations are not counted. The models are on the "meta" device here. So the count
does not depend on the device that they run on, and it includes attention, for which a CPU would
take a kernel that the counter does not know.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

T = TypeVar("T")
M = TypeVar("M", bound=nn.Module)
META = torch.device("meta")


def shapes_only(model: M) -> M:
    """A copy of the model on the meta device, in evaluation mode: its weights have shapes but no
    values, so it takes no memory.
    """
    weights = [
        (p, nn.Parameter(p.detach().to(META), requires_grad=False)) for p in model.parameters()
    ]
    buffers = [(b, b.detach().to(META)) for b in model.buffers()]
    return copy.deepcopy(model, {id(old): new for old, new in weights + buffers}).eval()


def counted(work: Callable[[], T]) -> tuple[T, int]:
    """Call `work`, whose tensors are on the meta device; returns its result and its operations."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        result = work()
    return result, counter.get_total_flops()


def of_step(loss: Callable[[M], Tensor], model: M) -> int:
    """Operations of one training step, forwards and backwards. `loss` is called with a copy of the
    model on the meta device.
    """
    model = copy.deepcopy(model).to(META).train()
    with FlopCounterMode(display=False) as counter:
        loss(model).backward()
    return counter.get_total_flops()


class CountedCost:
    """A cost function (contracts.CostFn) that counts the operations of its calls and returns zeros.

    Calls with plans of the same shape take the same operations, so each shape is counted once.
    """

    def __init__(self, cost: Callable[[Tensor], Tensor]):
        self.total = 0
        self._cost = cost
        self._known: dict[torch.Size, int] = {}

    def __call__(self, plans: Tensor) -> Tensor:
        """plans (B, N, K, A) -> zeros (B, N)."""
        shape = plans.shape
        if shape not in self._known:
            _, self._known[shape] = counted(lambda: self._cost(plans.to(META)))
        self.total += self._known[shape]
        return plans.new_zeros(shape[:2])
