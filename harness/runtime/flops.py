"""Floating-point operations, counted on shapes alone: nothing is computed and nothing is drawn.

Counted are matrix products, attention and convolutions, by torch.utils.flop_counter, 2 for each
multiply-add; elementwise operations are not. The models are on the "meta" device here, so the count
is the same whatever device they run on, and attention is counted where a CPU takes a kernel that
the counter does not know.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

T = TypeVar("T")
META = torch.device("meta")


def shapes_only(model: nn.Module) -> nn.Module:
    """The model with weights that have a shape and no values, in evaluation mode; no weight is
    copied.
    """
    weights = [
        (p, nn.Parameter(p.detach().to(META), requires_grad=False)) for p in model.parameters()
    ]
    buffers = [(b, b.detach().to(META)) for b in model.buffers()]
    return copy.deepcopy(model, {id(old): new for old, new in weights + buffers}).eval()


def counted(work: Callable[[], T]) -> tuple[T, int]:
    """What `work` returns, and its operations; its tensors are on the meta device."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        result = work()
    return result, counter.get_total_flops()


def of_step(loss: Callable[[nn.Module], Tensor], model: nn.Module) -> int:
    """Operations of one training step: loss(a copy of the model without values) and its gradients.

    `loss` works on tensors of the meta device.
    """
    model = copy.deepcopy(model).to(META).train()
    with FlopCounterMode(display=False) as counter:
        loss(model).backward()
    return counter.get_total_flops()


class CountedCost:
    """A planner's cost function (contracts.CostFn) that adds up what its calls would take.

    Calls of one shape take the same, so each shape is counted once; every cost is zero.
    """

    def __init__(self, cost: Callable[[Tensor], Tensor]):
        self.total = 0
        self._cost, self._known = cost, {}

    def __call__(self, plans: Tensor) -> Tensor:
        """plans (B, N, K, A) -> zeros (B, N)."""
        shape = plans.shape
        if shape not in self._known:
            _, self._known[shape] = counted(lambda: self._cost(plans.to(META)))
        self.total += self._known[shape]
        return plans.new_zeros(shape[:2])
