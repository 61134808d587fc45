"""Gradient descent on the actions of several plans at once: Adam, SGD and RMSProp (LeWM table 10).

plans = init, and init + initial_std * noise for the others
repeat `iterations` times:
    plans = one step of the optimizer down the gradient of each plan's cost
the plan is the cheapest of all that were tried, the last ones included
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from harness.contracts.planning import CostFn, IterationRunner, Noise, Plan
from harness.contracts.setting import Settings, setting
from harness.planning.candidates import around, take


@dataclass(frozen=True)
class GradientConfig(Settings):
    """Settings of the descent. A step takes about three rollouts' time: one forwards, and twice
    as much backwards.
    """

    candidates: int = setting(30, "Plans that descend side by side.", ge=1)
    iterations: int = setting(100, "Steps of the optimizer.", ge=1)
    lr: float = setting(0.1, "Learning rate, in z-scored actions.", gt=0)
    initial_std: float = setting(
        1.0, "Std of the plans at the start, in z-scored actions; the first is their mean.", ge=0
    )


@dataclass(frozen=True)
class SGDConfig(GradientConfig):
    """The same; a step is the gradient times lr, so its size depends on the model's latents."""

    lr: float = setting(0.1, "Learning rate: how far a step goes along the gradient.", gt=0)


class GradientDescent:
    """An optimizer of torch as a planner (contracts.Planner). Every plan descends on its own: the
    cost that is differentiated is the sum of all.
    """

    needs_gradient: ClassVar[bool] = True

    def __init__(self, config: GradientConfig, optimizer: Callable[..., torch.optim.Optimizer]):
        self.config, self._optimizer = config, optimizer
        self.iterations = config.iterations
        self.evaluations = config.candidates * (3 * config.iterations + 1)

    def plan(
        self, cost_fn: CostFn, init: Tensor, noise: Noise, run: IterationRunner = operator.call
    ) -> Plan:
        """Descend from `init` (B, K, A) on; the cost must let gradients through."""
        config = self.config
        start = torch.arange(1, device=init.device)[0]
        plans = around(noise, start, config.candidates, init, config.initial_std)  # (B, N, K, A)
        with torch.enable_grad():
            plans = plans.detach().requires_grad_()
            optimizer = self._optimizer([plans], lr=config.lr)

            def iterate(iteration: Tensor) -> tuple[Tensor, Tensor]:
                before = plans.detach().clone()
                cost = cost_fn(plans)
                (plans.grad,) = torch.autograd.grad(cost.sum(), plans)
                optimizer.step()
                return _cheapest(before, cost.detach())

            best, lowest, costs = init, torch.full_like(init[:, 0, 0], torch.inf), []
            for iteration in torch.arange(config.iterations, device=init.device):
                found, cost = run(iterate, iteration)
                best, lowest = _better(best, lowest, found, cost)
                costs.append(lowest)
        last = plans.detach()
        best, lowest = _better(best, lowest, *_cheapest(last, cost_fn(last)))
        return Plan(best, lowest, torch.stack([*costs[1:], lowest]))


def _cheapest(plans: Tensor, cost: Tensor) -> tuple[Tensor, Tensor]:
    """Find the cheapest plan of each pair, (B, K, A) out of (B, N, K, A), and its cost (B,)."""
    cost, index = cost.min(dim=1, keepdim=True)
    return take(plans, index)[:, 0], cost[:, 0]


def _better(best: Tensor, lowest: Tensor, found: Tensor, cost: Tensor) -> tuple[Tensor, Tensor]:
    """The plans found where they cost less than the best so far."""
    is_better = cost < lowest
    return torch.where(is_better[:, None, None], found, best), torch.where(is_better, cost, lowest)


adam = functools.partial(GradientDescent, optimizer=torch.optim.Adam)
sgd = functools.partial(GradientDescent, optimizer=torch.optim.SGD)
rmsprop = functools.partial(GradientDescent, optimizer=torch.optim.RMSprop)
