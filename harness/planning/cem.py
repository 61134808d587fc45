"""Cross-entropy method over plans in z-scored action space (LeWM section 4).

mean, std = init, initial_std
repeat `iterations` times:
    candidates = mean + std * noise; the first one is the mean itself
    elites = the candidates of the lowest cost
    mean, std = mean and std of the elites
the plan is the mean
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
class CEMConfig(Settings):
    """Settings of the search. Defaults are the paper's, which has 30 iterations on Push-T.

    Candidates are not clipped to the action range: the simulator clips what is executed.
    """

    candidates: int = setting(300, "Plans that an iteration tries.", ge=2, paper=300)
    elites: int = setting(
        30, "Cheapest candidates, which the next iteration draws around.", ge=2, paper=30
    )
    iterations: int = setting(
        10, "Iterations of a plan.", ge=1, paper="10; 30 on Push-T; released code: 30"
    )
    initial_std: float = setting(
        1.0, "Std of the first iteration's candidates, in z-scored actions.", gt=0, paper=1.0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.elites > self.candidates:
            raise ValueError(f"elites={self.elites} must lie in 2..candidates={self.candidates}")


class CEM:
    """The cross-entropy method as a planner (contracts.Planner)."""

    def __init__(self, config: CEMConfig):
        self.config = config
        self.iterations = config.iterations

    def plan(
        self, cost_fn: CostFn, init: Tensor, noise: Noise, run: IterationRunner = operator.call
    ) -> Plan:
        """Search for plans from a first mean `init` (B, K, A); the plan is the mean of the
        last elites.
        """
        config = self.config

        def iterate(iteration: Tensor, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            candidates = around(noise, iteration, config.candidates, mean, std)  # (B, N, K, A)
            cost = cost_fn(candidates)  # (B, N)
            assert cost.shape == candidates.shape[:2], (cost.shape, candidates.shape)
            elite_cost, index = cost.topk(config.elites, dim=1, largest=False)
            elites = take(candidates, index)  # (B, elites, K, A)
            return elites.mean(1), elites.std(1), elite_cost.mean(1)

        mean, std, costs = init, torch.full_like(init, config.initial_std), []
        for iteration in torch.arange(config.iterations, device=init.device):
            mean, std, cost = run(iterate, iteration, mean, std)
            costs.append(cost)
        return Plan(mean, costs[-1], torch.stack(costs))
