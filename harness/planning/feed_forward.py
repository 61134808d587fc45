"""The policy of a goal-conditioned network: one inference for each block of actions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from harness.contracts.data import Obs
from harness.contracts.method import Decision, GoalPolicy
from harness.planning import chunks
from harness.planning.batch_solver import BatchSolver, OnProgress
from harness.runtime import flops


class FeedForwardPolicy:
    """contracts.TimedPolicy. A solve is one inference, from raw pixels to actions.

    `pairs_per_solve` pairs are timed together (0: all). The model, in evaluation mode, sees
    `pairs_per_call` pairs at a time, or all pairs of a smaller evaluation, so an action does not
    depend on the pairs beside it.
    """

    timed: Literal["solve", "inference"] = "inference"

    def __init__(
        self,
        model: GoalPolicy,
        decode_actions: Callable[[Tensor], Tensor],
        device: torch.device | str = "cpu",
        pairs_per_solve: int = 0,
        pairs_per_call: int = 1,
    ):
        self._model, self._decode = model, decode_actions
        self._device = torch.device(device)
        self._most_per_call = self._pairs_per_call = pairs_per_call
        self._solver = BatchSolver(self._infer, self._device, pairs_per_solve)

    def reset(
        self, pair_ids: Sequence[int], on_progress: Callable[[float], None] | None = None
    ) -> None:
        """Start an evaluation; nothing is remembered between calls, and none takes long."""
        self._pairs_per_call = min(self._most_per_call, len(pair_ids))

    def act(self, obs: Obs, goal: Obs, rows: np.ndarray) -> Decision:
        """One block for each of the pairs."""
        solves, blocks = zip(*self._solver.solves(obs, goal, rows), strict=True)
        actions = [self._decode(part.float().cpu()).numpy() for part in blocks]
        return Decision(np.concatenate(actions), solves)

    def solve(self, obs: Obs, goal: Obs, rows: np.ndarray) -> tuple[Tensor, float]:
        """Actions (B, A), z-scored, of the pairs `rows`, and the wall time from raw pixels to
        them.
        """
        return self._solver.solve(obs, goal, rows)

    def flops(self, obs: Obs, goal: Obs) -> int:
        """The operations of one inference (contracts.TimedPolicy.flops)."""
        model = flops.shapes_only(self._model)
        present, desired = obs.to(flops.META), goal.to(flops.META)
        return flops.counted(lambda: model.act(present, desired))[1]

    @torch.inference_mode()
    def _infer(self, obs: Obs, goal: Obs, rows: np.ndarray, on_progress: OnProgress) -> Tensor:
        assert obs.pixels is not None
        count = len(obs.pixels)
        obs, goal = obs.to(self._device), goal.to(self._device)
        actions = [
            self._model.act(obs.rows(chunk), goal.rows(chunk))
            for chunk in chunks.of_one_size(count, self._pairs_per_call, self._device)
        ]
        return torch.cat(actions)[:count]
