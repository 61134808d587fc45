"""Predictive sampling (Howell et al. 2022): the cheapest of random changes to the best plan so far.

best = init
repeat `iterations` times:
    candidates = best + std * noise; the first one is the best itself
    best = the cheapest candidate
"""

from __future__ import annotations

import operator
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.contracts.planning import CostFn, IterationRunner, Noise, Plan
from harness.contracts.setting import Settings, setting
from harness.planning.candidates import around, take


@dataclass(frozen=True)
class PredictiveSamplingConfig(Settings):
    """Settings of the search. The source has one iteration for each plan, which starts at the last
    one; here a plan has as many rollouts as one of CEM.
    """

    candidates: int = setting(300, "Plans that an iteration tries.", ge=2)
    iterations: int = setting(10, "Iterations of a plan.", ge=1)
    std: float = setting(0.3, "Std of the changes, in z-scored actions.", gt=0)


class PredictiveSampling:
    """Predictive sampling as a planner (contracts.Planner)."""

    def __init__(self, config: PredictiveSamplingConfig):
        self.config = config
        self.iterations = config.iterations

    def plan(
        self, cost_fn: CostFn, init: Tensor, noise: Noise, run: IterationRunner = operator.call
    ) -> Plan:
        """Search for plans from `init` (B, K, A) on; the plan is the cheapest that was tried."""
        config = self.config

        def iterate(iteration: Tensor, best: Tensor) -> tuple[Tensor, Tensor]:
            candidates = around(noise, iteration, config.candidates, best, config.std)
            cost, index = cost_fn(candidates).min(dim=1, keepdim=True)
            return take(candidates, index)[:, 0], cost[:, 0]

        best, costs = init, []
        for iteration in torch.arange(config.iterations, device=init.device):
            best, cost = run(iterate, iteration, best)
            costs.append(cost)
        return Plan(best, costs[-1], torch.stack(costs))
