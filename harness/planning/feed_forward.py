"""A goal-conditioned network as a policy: one block of actions, then it looks again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from harness import flops
from harness.interfaces import Decision, GoalPolicy, Obs, Pair, Solve
from harness.planning import cost, recorded


class FeedForwardPolicy:
    """interfaces.Policy. A solve is one inference, from raw pixels to actions.

    `pairs_per_solve` pairs are timed together (0: all), `pairs_per_call` of them (of an evaluation
    of fewer: those) are given to the model at once, always exactly that many (the last call is
    filled up): with a model in evaluation mode an action does not depend on the pairs beside it.
    """

    timed = "inference"

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
        self._pairs_per_solve, self._pairs_per_call = pairs_per_solve, pairs_per_call
        self._together = pairs_per_call
        self._warm = False

    def reset(self, pairs: Sequence[Pair], told: Callable[[float], None] | None = None) -> None:
        """Nothing is remembered from one act to the next, which is quick."""
        self._together = min(self._pairs_per_call, len(pairs))

    def act(self, obs: Obs, goal: Obs, rows: np.ndarray) -> Decision:
        """One block for each of the pairs."""
        limit = self._pairs_per_solve or max(1, len(rows))
        parts, solves = [], []
        for first in range(0, len(rows), limit):
            chosen = np.arange(first, min(first + limit, len(rows)))
            actions, seconds = self.solve(obs.rows(chosen), goal.rows(chosen), rows[chosen])
            parts.append(self._decode(actions.float().cpu()).numpy())
            solves.append(Solve(rows[chosen], seconds))
        return Decision(np.concatenate(parts), tuple(solves))

    def solve(self, obs: Obs, goal: Obs, rows: np.ndarray) -> tuple[Tensor, float]:
        """Actions (B, A), z-scored, of the pairs `rows`, and the wall time from raw pixels to them.

        The first solve of a policy warms the device up on one pair first, untimed.
        """
        if not self._warm:
            one = np.zeros(1, dtype=int)
            self._infer(obs.rows(one), goal.rows(one))
            self._warm = True
        recorded.synchronise(self._device)
        started = time.perf_counter()
        actions = self._infer(obs, goal)
        recorded.synchronise(self._device)
        return actions, time.perf_counter() - started

    def flops(self, obs: Obs, goal: Obs) -> int:
        """Operations (harness/flops.py) of one inference for one pair; obs and goal (1, 1, ...)."""
        model = flops.shapes_only(self._model)
        seen, wanted = obs.to(flops.META), goal.to(flops.META)
        return flops.counted(lambda: model.act(seen, wanted))[1]

    @torch.inference_mode()
    def _infer(self, obs: Obs, goal: Obs) -> Tensor:
        count = len(obs.pixels)
        obs, goal = obs.to(self._device), goal.to(self._device)
        parts = [
            self._model.act(obs.rows(chosen), goal.rows(chosen))
            for chosen in cost.filled(count, self._together, self._device)
        ]
        return torch.cat(parts)[:count]
