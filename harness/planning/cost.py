"""Planning costs: what a plan is worth, as a function of candidates alone."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from harness.interfaces import CostFn, WorldModel


def latent_distance(
    model: WorldModel, start: Tensor, goal: Tensor, pairs: int, rollouts: int
) -> CostFn:
    """Squared distance between the last predicted latent and the goal's (LeWM section 4).

    start (B, *D) and goal (B, *D) are encoded once by the caller. Candidates of `pairs` pairs, but
    at most `rollouts` of them, are rolled out in one call of the model: always exactly that many
    (the last chunk is filled up), so that matrix shapes, and with them the rounding of every cost,
    do not depend on how many pairs are planned together. Rollouts have the precision of start.
    """

    def cost(plans: Tensor) -> Tensor:
        each = plans.shape[1]
        flat = plans.flatten(0, 1)  # (B * N, K, A)
        size = even_share(pairs * each, rollouts)
        chunks = [
            _chunk_cost(model, start, goal, flat, each, index)
            for index in filled(len(flat), size, flat.device)
        ]
        return torch.cat(chunks)[: len(flat)].unflatten(0, plans.shape[:2])

    return cost


def even_share(count: int, most: int) -> int:
    """`count` rollouts in as few calls of at most `most` as it takes: how many each call has."""
    calls = -(-count // max(1, most))
    return -(-count // calls)


def filled(count: int, size: int, device: torch.device) -> Iterator[Tensor]:
    """0..count - 1 by `size`, always that many: the last is repeated."""
    for first in range(0, count, size):
        yield torch.arange(first, first + size, device=device).clamp_(max=count - 1)


def _chunk_cost(
    model: WorldModel, start: Tensor, goal: Tensor, flat: Tensor, each: int, index: Tensor
) -> Tensor:
    """Costs of the candidates `index`; there are `each` for a pair."""
    pair, plans = index // each, flat[index].to(start.dtype)  # (size, K, A)
    last = model.rollout(start[pair][:, None], plans[:, :0], plans)[:, -1]  # (size, *D)
    gap = last.float() - goal[pair].float()
    return gap.flatten(1).pow(2).sum(-1)
