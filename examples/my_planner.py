"""A planner in a file of its own: a search around the best candidates that narrows on a schedule.

./run.sh suite=quick methods=lewm,random planner=examples/my_planner.py
"""

from __future__ import annotations

import operator
from dataclasses import dataclass

import torch
from torch import Tensor

from harness.contracts.planning import CostFn, IterationRunner, Noise, Plan, PlannerEntry
from harness.contracts.setting import Settings, setting


@dataclass(frozen=True)
class MyConfig(Settings):
    """Sizes of the search; actions are z-scored, so a std of 1 is that of the recorded ones."""

    candidates: int = setting(128, "Plans that an iteration tries.", ge=8)
    best: int = setting(8, "Cheapest ones, whose mean the next iteration draws around.", ge=1, le=8)
    iterations: int = setting(16, "Iterations of a plan.", ge=1)
    shrink: float = setting(0.7, "Std of an iteration as a share of the last one's.", gt=0, le=1)


class MyPlanner:
    """contracts.Planner: `plan` knows a function from plans to costs, and no model."""

    def __init__(self, config: MyConfig):
        self.config = config
        self.iterations = config.iterations

    def plan(
        self, cost_fn: CostFn, init: Tensor, noise: Noise, run: IterationRunner = operator.call
    ) -> Plan:
        """Search from `init` (B, K, A) on; an iteration is a function of tensors alone."""

        def iterate(iteration: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
            draws = noise(iteration, (self.config.candidates, *init.shape[1:]))  # (B, N, K, A)
            candidates = mean[:, None] + self.config.shrink**iteration * draws
            cost, index = cost_fn(candidates).topk(self.config.best, dim=1, largest=False)
            pair = torch.arange(len(index), device=index.device)[:, None]
            return candidates[pair, index].mean(1), cost.mean(1)

        mean, costs = init, []
        for iteration in torch.arange(self.iterations, device=init.device):
            mean, cost = run(iterate, iteration, mean)
            costs.append(cost)
        return Plan(mean, costs[-1], torch.stack(costs))


PLANNER = PlannerEntry(MyConfig, MyPlanner, about="The best candidates, and around them again.")
