"""The planning cost: how good a plan is, as a function of the plan alone."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from harness.contracts.method import Rollout
from harness.contracts.planning import CostFn
from harness.planning import chunks

Reading = Callable[[Tensor], Tensor]  # latents (B, *D) -> what is compared of them (B, F)


def latent_distance(
    rollout: Rollout,
    start: Tensor,
    goal: Tensor,
    pairs: int,
    rollouts: int,
    read: Reading | None = None,
) -> CostFn:
    """Squared distance between the last predicted latent and the goal's (LeWM section 4), or
    between what `read` makes of them.

    start (B, *D) and goal (B, *D) are encoded once by the caller; rollouts have the precision of
    start. One call of `rollout` has the candidates of `pairs` pairs, but at most `rollouts` of
    them, and always equally many (chunks.py), so a cost does not depend on how many pairs are
    planned together.
    """

    goal = read(goal.float()) if read else goal

    def cost(plans: Tensor) -> Tensor:
        candidates = plans.shape[1]
        flat = plans.flatten(0, 1)  # (B * N, K, A)
        size = chunks.even_size(pairs * candidates, rollouts)
        costs = [
            _chunk_cost(rollout, start, goal, flat, candidates, index, read)
            for index in chunks.of_one_size(len(flat), size, flat.device)
        ]
        return torch.cat(costs)[: len(flat)].unflatten(0, plans.shape[:2])

    return cost


def _chunk_cost(
    rollout: Rollout,
    start: Tensor,
    goal: Tensor,
    flat: Tensor,
    candidates: int,
    index: Tensor,
    read: Reading | None,
) -> Tensor:
    """Costs (size,) of the plans `index` out of flat (B * N, K, A), N = `candidates` for a pair."""
    pair, plans = index // candidates, flat[index].to(start.dtype)  # (size, K, A)
    last = rollout(start[pair][:, None], plans[:, :0], plans)[:, -1]  # (size, *D)
    return squared_distance(read(last.float()) if read else last, goal[pair])


def squared_distance(z: Tensor, goal: Tensor) -> Tensor:
    """The cost (B,) of a plan that ends at the latents z (B, *D), where goal (B, *D) is wanted."""
    gap = z.float() - goal.float()
    return gap.flatten(1).pow(2).sum(-1)
