"""Receding-horizon control: a world model and a planner become a policy."""

from __future__ import annotations

import copy
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness import flops, memory, seeding
from harness.interfaces import Decision, Noise, Obs, Pair, Plan, Planner, Run, Solve, WorldModel
from harness.planning import cost, recorded
from harness.setting import Settings, setting

MEMORY_SHARE = 0.5  # of what is free, for the rollouts of all threads together
CACHE_BYTES = 24 * 2**20  # of working memory: on a CPU more rollouts at once are slower


@dataclass(frozen=True)
class MPCConfig(Settings):
    """Lengths in blocks; the paper plans 5 blocks and executes all of them before it replans.

    With warm_start, as in stable-worldmodel (policy.py), what was not executed of a plan is the
    first mean of the pair's next plan, with zeros behind it; without it that mean is zero.
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

    def __post_init__(self):
        super().__post_init__()
        if self.execute_blocks > self.horizon_blocks:
            raise ValueError(
                f"execute_blocks={self.execute_blocks} must lie in "
                f"1..horizon_blocks={self.horizon_blocks}"
            )

    @property
    def unread(self) -> tuple[str, ...]:
        """Fields that decide nothing: of a plan that is executed to its end nothing is left."""
        return ("warm_start",) if self.execute_blocks == self.horizon_blocks else ()


class _Size(NamedTuple):
    """What a recording is of."""

    pairs: int
    together: int  # in one call of the model


class MPCPolicy:
    """interfaces.Policy. Every (pair, replan) draws from a random stream of its own.

    `pairs_per_solve` pairs are planned together (0: all that need a plan) and the candidates of
    `pairs_per_rollout` (of an evaluation of fewer: of those) are rolled out in one call of the
    model, or as many of them as fit a CPU's cache and half of the free memory (`rollouts`, where
    given); on a CPU `threads` threads divide the pairs of a solve. None of this changes an outcome.
    """

    timed = "solve"

    def __init__(
        self,
        model: WorldModel,
        planner: Planner,
        config: MPCConfig,
        decode_actions: Callable[[Tensor], Tensor],
        action_dim: int,
        seed: int,
        device: torch.device | str = "cpu",
        pairs_per_solve: int = 0,
        pairs_per_rollout: int = 1,
        rollouts: int = 0,
        threads: int = 1,
        noise: Callable[[Tensor, torch.device], Noise] = seeding.PairNoise,
        record: recorded.Record | None = None,
    ):
        self._pairs_per_solve, self._pairs_per_rollout = pairs_per_solve, pairs_per_rollout
        self._together, self._threads = pairs_per_rollout, threads
        self._model, self._planner, self._config = model, planner, config
        self._noise = noise
        self._dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
        self._rolled = model if config.precision == "fp32" else copy.deepcopy(model).to(self._dtype)
        self._decode, self._action_dim, self._seed = decode_actions, action_dim, seed
        self._device = torch.device(device)
        self._rollouts = rollouts or self._rollouts_that_fit()
        self._record = record or (recorded.graphs() if self._device.type == "cuda" else None)
        self._recordings: dict[_Size, tuple[tuple[Tensor, ...], recorded.Recorder]] = {}
        self._warm: set[_Size | None] = set()
        self._told: Callable[[float], None] | None = None

    def reset(self, pairs: Sequence[Pair], told: Callable[[float], None] | None = None) -> None:
        """Forget all plans; the random streams follow the pairs' ids. `told` is called where one
        thread plans on a CPU.
        """
        shape = len(pairs), self._config.horizon_blocks, self._action_dim
        self._first_means = torch.zeros(shape)  # of the pairs' next plans
        self._told = told
        self._together = min(self._pairs_per_rollout, len(pairs))
        self._pair_ids = [pair.pair_id for pair in pairs]
        self._replans = np.zeros(len(pairs), dtype=int)
        self._queues: list[list[np.ndarray]] = [[] for _ in pairs]

    def act(self, obs: Obs, goal: Obs, rows: np.ndarray) -> Decision:
        """The next block of each pair's plan; pairs without one are planned first, together."""
        waiting = np.flatnonzero([not self._queues[row] for row in rows])
        limit = self._pairs_per_solve or max(1, len(waiting))
        solves = []
        for first in range(0, len(waiting), limit):
            chosen = waiting[first : first + limit]
            plan, seconds = self.solve(obs.rows(chosen), goal.rows(chosen), rows[chosen])
            self._enqueue(rows[chosen], plan)
            solves.append(Solve(rows[chosen], seconds))
        return Decision(np.stack([self._queues[row].pop(0) for row in rows]), tuple(solves))

    def solve(self, obs: Obs, goal: Obs, rows: np.ndarray) -> tuple[Plan, float]:
        """A plan for the pairs `rows`, and the wall time from raw pixels to it.

        The first solve of a policy warms the device up on one pair first, untimed; where iterations
        are recorded, the first of every size does, on its own pairs.
        """
        size = self._size(len(rows)) if self._record else None
        if size not in self._warm:
            some = np.arange(len(rows) if self._record else 1)
            self._plan(obs.rows(some), goal.rows(some), rows[some])
            self._warm.add(size)
        recorded.synchronise(self._device)
        started = time.perf_counter()
        plan = self._plan_together(obs, goal, rows)
        recorded.synchronise(self._device)
        return plan, time.perf_counter() - started

    def flops(self, obs: Obs, goal: Obs) -> int:
        """Operations (harness/flops.py) of a plan for one pair: both frames are encoded, and every
        candidate of every iteration is rolled out. obs and goal (1, 1, ...).
        """
        model = flops.shapes_only(self._model)
        seen, wanted = obs.to(flops.META), goal.to(flops.META)
        (start, target), encoding = flops.counted(
            lambda: (model.encode(seen)[:, -1], model.encode(wanted)[:, -1])
        )
        whole = cost.latent_distance(model, start, target, pairs=1, rollouts=sys.maxsize)
        counted = flops.CountedCost(whole)
        init = torch.zeros(1, self._config.horizon_blocks, self._action_dim)
        self._planner.plan(counted, init, lambda draw, shape: torch.zeros(1, *shape))
        return encoding + counted.total

    def _plan_together(self, obs: Obs, goal: Obs, rows: np.ndarray) -> Plan:
        """On a CPU each thread plans a share of the pairs: quicker than threads inside each
        operation, and outcomes do not depend on what is planned together.
        """
        shares = min(self._threads, len(rows)) if self._device.type == "cpu" else 1
        if shares == 1:
            return self._plan(obs, goal, rows, self._telling())
        indices = np.array_split(np.arange(len(rows)), shares)
        inside = torch.get_num_threads()
        torch.set_num_threads(1)  # inherited by the new threads
        try:
            with ThreadPoolExecutor(shares, thread_name_prefix="plan") as pool:
                parts = list(
                    pool.map(lambda i: self._plan(obs.rows(i), goal.rows(i), rows[i]), indices)
                )
        finally:
            torch.set_num_threads(inside)
        costs = torch.cat([part.cost_per_iteration for part in parts], dim=1)
        return Plan(
            torch.cat([part.actions for part in parts]),
            torch.cat([part.cost for part in parts]),
            costs,
        )

    @torch.inference_mode()
    def _plan(self, obs: Obs, goal: Obs, rows: np.ndarray, run: Run = recorded.directly) -> Plan:
        keys = [
            seeding.integer("plan", self._seed, self._pair_ids[row], self._replans[row])
            for row in rows
        ]
        keys = torch.tensor(keys, device=self._device)  # from here on nothing waits for a GPU
        obs, goal = obs.to(self._device), goal.to(self._device)
        start, target = self._encode(obs).to(self._dtype), self._encode(goal)  # (B, *D)
        init = self._first_means[rows].to(self._device)  # (B, K, A)
        if self._record is None:
            return self._search(start, target, init, self._noise(keys, self._device), run)
        return self._search_recorded(start, target, init, keys)

    def _telling(self) -> Run:
        """Iterations are called directly, and how far they are is told."""
        if self._told is None:
            return recorded.directly
        iterations = itertools.count(1)

        def run(function: Callable, *arguments: Tensor) -> tuple[Tensor, ...]:
            made = function(*arguments)
            self._told(self._config.execute_blocks * next(iterations) / self._planner.iterations)
            return made

        return run

    def _search(self, start: Tensor, target: Tensor, init: Tensor, noise: Noise, run: Run) -> Plan:
        """The planner's plans; start and target (B, *D), init (B, K, A)."""
        found = cost.latent_distance(self._rolled, start, target, self._together, self._rollouts)
        return self._planner.plan(found, init, noise, run)

    def _search_recorded(self, start: Tensor, target: Tensor, init: Tensor, keys: Tensor) -> Plan:
        """The same by recorded iterations, which read their inputs where the first plan of that
        size had them.
        """
        pairs, size = len(start), self._size(len(start))
        (filled,) = cost.filled(pairs, size.pairs, self._device)
        given = (start[filled], target[filled], keys[filled])
        if size not in self._recordings:
            own = tuple(value.clone() for value in given)
            self._recordings[size] = own, recorded.Recorder(self._record)
        own, run = self._recordings[size]
        for there, value in zip(own, given, strict=True):
            there.copy_(value)
        noise = self._noise(own[2], self._device)
        plan = self._search(own[0], own[1], init[filled], noise, run)
        return Plan(plan.actions[:pairs], plan.cost[:pairs], plan.cost_per_iteration[:, :pairs])

    def _size(self, pairs: int) -> _Size:
        """So many pairs filled up to whole calls of the model, of which numbers above 8 are filled
        up too, so that few sizes are recorded: four for each doubling.
        """
        calls = -(-pairs // self._together)
        step = 1 << max(0, (calls - 1).bit_length() - 3)
        return _Size(-(-calls // step) * step * self._together, self._together)

    def _encode(self, obs: Obs) -> Tensor:
        """Latents of the last frame, (B, *D), a fixed number of pairs at a time (see cost.py)."""
        count = len(obs.pixels)
        parts = [
            self._model.encode(obs.rows(chosen))[:, -1]
            for chosen in cost.filled(count, self._together, self._device)
        ]
        return torch.cat(parts)[:count]

    def _rollouts_that_fit(self) -> int:
        working, kept = self._model.rollout_bytes(self._config.horizon_blocks)
        fit = MEMORY_SHARE * memory.free(self._device) / (working + kept)
        if self._device.type == "cpu":
            fit = min(fit / self._threads, CACHE_BYTES / working)
        return max(1, int(fit))

    def _enqueue(self, rows: np.ndarray, plan: Plan) -> None:
        planned, executed = plan.actions.float().cpu(), self._config.execute_blocks
        if self._config.warm_start and executed < self._config.horizon_blocks:
            self._first_means[rows, :-executed] = planned[:, executed:]
        actions = self._decode(planned).numpy()
        for row, blocks in zip(rows, actions, strict=True):
            self._queues[row] = list(blocks[:executed])
            self._replans[row] += 1
