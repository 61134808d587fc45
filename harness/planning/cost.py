"""Planning costs: what a plan is worth, as a function of candidates alone."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.interfaces import CostFn, WorldModel


def latent_distance(model: WorldModel, start: Tensor, goal: Tensor, pairs: int) -> CostFn:
    """Squared distance between the last predicted latent and the goal's (LeWM section 4).

    start (B, *D) and goal (B, *D) are encoded once by the caller. `pairs` of them are rolled out in
    one call of the model, always exactly that many (the last chunk is filled up), so that matrix
    shapes, and with them the rounding of every cost, do not depend on how many pairs are planned
    together.
    """

    def cost(plans: Tensor) -> Tensor:
        chunks = [
            _chunk_cost(model, start, goal, plans, first, pairs)
            for first in range(0, len(plans), pairs)
        ]
        return torch.cat(chunks)[: len(plans)]

    return cost


def _chunk_cost(
    model: WorldModel, start: Tensor, goal: Tensor, plans: Tensor, first: int, pairs: int
) -> Tensor:
    """Costs (pairs, N) of the pairs from `first` on."""
    rows = torch.arange(first, first + pairs, device=plans.device).clamp_(max=len(plans) - 1)
    chunk = plans[rows]  # (pairs, N, K, A)
    candidates = chunk.shape[1]
    z = start[rows].repeat_interleave(candidates, dim=0)[:, None]  # (pairs * N, 1, *D)
    flat = chunk.flatten(0, 1)  # (pairs * N, K, A)
    last = model.rollout(z, flat[:, :0], flat)[:, -1]  # (pairs * N, *D)
    gap = last.unflatten(0, (pairs, candidates)).float() - goal[rows][:, None].float()
    return gap.flatten(2).pow(2).sum(-1)
