"""Model predictive path integral control (Williams et al. 2017) over plans in z-scored actions, in
the form of TD-MPC2: weighted elites instead of all candidates.

mean, std = init, initial_std
repeat `iterations` times:
    candidates = mean + std * noise; the first one is the mean itself
    weights = softmax of -cost / temperature over the elites, costs in their std
    mean, std = weighted mean and std of the elites, std at least least_std
the plan is the mean
"""

from __future__ import annotations

import operator
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.contracts.planning import CostFn, IterationRunner, Noise, Plan
from harness.contracts.setting import setting
from harness.planning.candidates import around, take
from harness.planning.cem import CEMConfig


@dataclass(frozen=True)
class MPPIConfig(CEMConfig):
    """CEM's settings, and two of its own."""

    temperature: float = setting(
        0.5, "Std of the elites' costs by which a weight falls to 1/e; lower: greedier.", gt=0
    )
    least_std: float = setting(0.05, "Least std of the candidates, in z-scored actions.", ge=0)


class MPPI:
    """MPPI as a planner (contracts.Planner)."""

    def __init__(self, config: MPPIConfig):
        self.config = config
        self.iterations = config.iterations

    def plan(
        self, cost_fn: CostFn, init: Tensor, noise: Noise, run: IterationRunner = operator.call
    ) -> Plan:
        """Search for plans from a first mean `init` (B, K, A); the plan is the last mean."""
        config = self.config

        def iterate(iteration: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            candidates = around(noise, iteration, config.candidates, mean, std)  # (B, N, K, A)
            elite_cost, index = cost_fn(candidates).topk(config.elites, dim=1, largest=False)
            elites = take(candidates, index)  # (B, elites, K, A)
            weights = path_weights(elite_cost, config.temperature)
            mean = (weights * elites).sum(1)
            variance = (weights * (elites - mean[:, None]).pow(2)).sum(1)
            return mean, variance.sqrt().clamp_min(config.least_std), elite_cost.mean(1)

        mean, std, costs = init, torch.full_like(init, config.initial_std), []
        for iteration in torch.arange(config.iterations, device=init.device):
            mean, std, cost = run(iterate, iteration, mean, std)
            costs.append(cost)
        return Plan(mean, costs[-1], torch.stack(costs))


def path_weights(cost: Tensor, temperature: float) -> Tensor:
    """The weights (B, M, 1, 1) of plans with costs (B, M); equal ones where all costs are."""
    gap = cost - cost.amin(1, keepdim=True)
    spread = cost.std(1, keepdim=True).clamp_min(torch.finfo(cost.dtype).tiny)
    return torch.softmax(-gap / (temperature * spread), dim=1)[:, :, None, None]
