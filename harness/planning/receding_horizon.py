"""Receding-horizon control: plan, execute the first blocks of the plan, observe, plan again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from harness.contracts.data import Obs
from harness.contracts.method import Decision
from harness.contracts.planning import IterationRunner, Plan, Trace
from harness.contracts.setting import Settings, setting
from harness.planning.batch_solver import BatchSolver, OnProgress
from harness.planning.plan_search import PlanSearch
from harness.runtime import seeding

_FRAMES_PER_CALL = 32  # frames that `cost_at` encodes together


@dataclass(frozen=True)
class MPCConfig(Settings):
    """Lengths in blocks; the paper plans 5 blocks and executes all of them before it replans.

    With warm_start, as in stable-worldmodel (policy.py), the blocks of a plan that were not
    executed are the first mean of the pair's next plan, followed by zeros. Without it, that mean is
    zero.
    """

    horizon_blocks: int = setting(5, "Blocks of 5 steps that a plan reaches ahead.", ge=1, paper=5)
    execute_blocks: int = setting(
        5, "Blocks of a plan that are executed before the next plan.", ge=1, paper=5
    )
    warm_start: bool = setting(
        True, "Whether the rest of a plan is the first mean of the next one, else zero."
    )
    precision: Literal["fp32", "bf16"] = setting(
        "fp32", "Number format of the rollouts; frames are encoded in fp32."
    )
    dynamics: Literal["model", "simulator"] = setting(
        "model", "What predicts where a plan ends; simulator: the task itself, an upper bound."
    )
    cost: Literal["latent", "probe"] = setting(
        "latent", "What is compared with the goal; probe: the pose that a probe reads in latents."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dynamics == "simulator" and self.cost == "probe":
            raise ValueError(
                "dynamics=simulator with cost=probe leaves little of the model: use one of them, "
                "or the method oracle, which plans in the simulator by true poses"
            )
        if self.execute_blocks > self.horizon_blocks:
            raise ValueError(
                f"execute_blocks={self.execute_blocks} must lie in "
                f"1..horizon_blocks={self.horizon_blocks}"
            )

    @property
    def unread(self) -> tuple[str, ...]:
        """Fields without effect: a plan that is executed to its end leaves nothing for a
        warm start.
        """
        return ("warm_start",) if self.execute_blocks == self.horizon_blocks else ()


class MPCPolicy:
    """contracts.TimedPolicy: a world model and a planner (plan_search.py) as a policy.

    Every (pair, replan) draws from a random stream of its own, and the model sees `pairs_per_call`
    pairs at a time, or all pairs of a smaller evaluation. So neither `pairs_per_solve`, the number
    of pairs that are planned together (0: all that need a plan), nor threads change an outcome.
    With `warm_start` the blocks that were not executed are the first mean of the pair's next plan.
    """

    timed: Literal["solve", "inference"] = "solve"

    def __init__(
        self,
        search: PlanSearch,
        execute_blocks: int,
        decode_actions: Callable[[Tensor], Tensor],
        seed: int,
        pairs_per_solve: int = 0,
        pairs_per_call: int = 1,
        warm_start: bool = True,
    ):
        self._search, self._execute_blocks = search, execute_blocks
        self._warm_start = warm_start and execute_blocks < search.plan_shape[0]
        self._decode, self._seed = decode_actions, seed
        self._most_per_call = self._pairs_per_call = pairs_per_call
        self._solver = BatchSolver(
            self._plan,
            search.device,
            pairs_per_solve,
            join=_joined,
            threads=search.threads,
            recording=lambda pairs: search.recording(pairs, self._pairs_per_call),
        )

    def reset(
        self,
        pair_ids: Sequence[int],
        on_progress: Callable[[float], None] = lambda blocks: None,
    ) -> None:
        """Forget all plans; the random streams follow the pairs' ids."""
        self._first_means = torch.zeros(
            len(pair_ids), *self._search.plan_shape
        )  # of the next plans
        self._on_progress = on_progress
        self._pairs_per_call = min(self._most_per_call, len(pair_ids))
        self._pair_ids = list(pair_ids)
        self._replans = [0] * len(pair_ids)
        self._queues: list[deque[np.ndarray]] = [deque() for _ in pair_ids]

    def act(self, obs: Obs, goal: Obs, rows: np.ndarray) -> Decision:
        """The next block of each pair's plan; pairs that have none left are planned first."""
        waiting = np.flatnonzero([not self._queues[row] for row in rows])
        solves = []
        for solve, plan in self._solver.solves(
            obs.rows(waiting), goal.rows(waiting), rows[waiting], self._report
        ):
            self._enqueue(solve.rows, plan)
            solves.append(solve)
        return Decision(np.stack([self._queues[row].popleft() for row in rows]), tuple(solves))

    def solve(self, obs: Obs, goal: Obs, rows: np.ndarray) -> tuple[Plan, float]:
        """Plans for the pairs `rows`, and the wall time from raw pixels to them."""
        return self._solver.solve(obs, goal, rows)

    def flops(self, obs: Obs, goal: Obs) -> int:
        """contracts.TimedPolicy.flops."""
        return self._search.flops(obs, goal)

    def trace(self, obs: Obs, goal: Obs, rows: np.ndarray) -> Trace:
        """The search for the next plans of the pairs `rows`, with everything that it tries."""
        return self._search.trace(obs, goal, *self._beginnings(rows), self._pairs_per_call)

    def costs(self, obs: Obs, goal: Obs, plans: Tensor) -> Tensor:
        """The costs (B, N) that the model predicts for z-scored plans (B, N, K, A) from the last
        frame of obs.
        """
        return self._search.costs(obs, goal, plans, self._pairs_per_call)

    def cost_at(self, obs: Obs, goal: Obs, of: np.ndarray) -> Tensor:
        """The cost (M,) of plans that really ended at the frames obs (M, 1, ...), where goal frame
        of[i] was wanted.
        """
        return self._search.cost_at(obs, goal, torch.from_numpy(of), _FRAMES_PER_CALL)

    def _plan(self, obs: Obs, goal: Obs, rows: np.ndarray, on_progress: OnProgress) -> Plan:
        """Plans for the pairs `rows`, each from its first mean; zero is the mean action."""
        run = _reporting(self._search.planner.iterations, on_progress)
        return self._search(obs, goal, *self._beginnings(rows), self._pairs_per_call, run)

    def _beginnings(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Keys (B,) of the random streams and first means (B, K, A) of the next plans."""
        streams = [
            seeding.integer("plan", self._seed, self._pair_ids[row], self._replans[row])
            for row in rows
        ]
        keys = torch.tensor(streams, device=self._search.device)
        return keys, self._first_means[rows].to(self._search.device)

    def _enqueue(self, rows: np.ndarray, plan: Plan) -> None:
        """Keep the first blocks of each pair's plan for the coming calls of `act`, and the others
        for its next plan.
        """
        planned = plan.actions.float().cpu()
        if self._warm_start:
            self._first_means[rows, : -self._execute_blocks] = planned[:, self._execute_blocks :]
        actions = self._decode(planned).numpy()
        for row, blocks in zip(rows, actions, strict=True):
            self._queues[row] = deque(blocks[: self._execute_blocks])
            self._replans[row] += 1

    def _report(self, share: float) -> None:
        self._on_progress(self._execute_blocks * share)


def _reporting(iterations: int, on_progress: OnProgress) -> IterationRunner:
    """Calls each of a plan's iterations and reports the share of them that is done."""
    done = 0

    def run(iterate: Callable[..., tuple[Tensor, ...]], *state: Tensor) -> tuple[Tensor, ...]:
        nonlocal done
        result = iterate(*state)
        done += 1
        on_progress(done / iterations)
        return result

    return run


def _joined(plans: Sequence[Plan]) -> Plan:
    """Plans of several shares of pairs as one."""
    return Plan(
        torch.cat([plan.actions for plan in plans]),
        torch.cat([plan.cost for plan in plans]),
        torch.cat([plan.cost_per_iteration for plan in plans], dim=1),
    )
