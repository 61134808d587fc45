"""The search for plans with a world model: latents of start and goal, a cost, a planner."""

from __future__ import annotations

import copy
import operator
import sys
from collections.abc import Callable

import torch
from torch import Tensor, nn

from harness.contracts.data import Obs
from harness.contracts.method import Rollout, WorldModel
from harness.contracts.planning import CostFn, IterationRunner, Noise, Plan, Planner, Trace
from harness.planning import chunks, cost, cuda_graph
from harness.runtime import flops, memory, onednn, seeding

MEMORY_SHARE = 0.5  # share of the free memory for the rollouts of all threads
CACHE_BYTES = 36 * 2**20  # working memory on a CPU; more rollouts at once are slower


class PlanSearch:
    """Searches plans for several pairs together; a pair's plan does not depend on the others.

    horizon_blocks  K, blocks of a plan
    block_dim       A, floats of a block
    precision       of the rollouts, "fp32" or "bf16"; frames are encoded in fp32
    rollouts        candidates in one call of the model, 0: as many as fit a CPU's cache and half of
                    the free memory
    threads         threads of a CPU that search at the same time, each for its own pairs
    noise           the random numbers of pairs with these keys, on a device
    record          how iterations are recorded, None: as CUDA graphs on a GPU, not on a CPU
    read            what of the latents is compared with the goal, None: all of them

    A planner that needs the cost's gradient gets the model's plain rollout in fp32, which lets
    gradients through; its iterations are not recorded.
    """

    def __init__(
        self,
        model: WorldModel,
        planner: Planner,
        horizon_blocks: int,
        block_dim: int,
        precision: str = "fp32",
        device: torch.device | str = "cpu",
        rollouts: int = 0,
        threads: int = 1,
        noise: Callable[[Tensor, torch.device], Noise] = seeding.PairNoise,
        record: cuda_graph.Record | None = None,
        read: cost.Reading | None = None,
    ):
        self._model, self.planner = model, planner
        self.device, self.plan_shape = torch.device(device), (horizon_blocks, block_dim)
        self.threads, self._read = threads, read
        self._noise, self._differentiates = noise, getattr(planner, "needs_gradient", False)
        self._evaluations: int = getattr(planner, "evaluations", 0)
        low = precision == "bf16" and not self._differentiates
        self._dtype = torch.bfloat16 if low else torch.float32
        if self._differentiates:
            plain = copy.deepcopy(model).requires_grad_(False)
            self._rollout: Rollout = plain.rollout
        else:
            self._rollout = _rollout(model, self._dtype)
        self._rollouts = rollouts or self._rollouts_that_fit()
        if record is None and self.device.type == "cuda" and not self._differentiates:
            record = cuda_graph.graphs()
        self._recordings = None if record is None else cuda_graph.Recordings(record)

    @torch.no_grad()
    def __call__(
        self,
        obs: Obs,
        goal: Obs,
        keys: Tensor,
        init: Tensor,
        pairs_per_call: int,
        run: IterationRunner = operator.call,
    ) -> Plan:
        """Plans from the last frame of obs (B, T, ...) to the goal frame (B, 1, ...).

        keys (B,) int64 name the pairs' random streams and init (B, K, A) is the first mean, both on
        the device; the model sees `pairs_per_call` pairs at a time; iterations that are not
        recorded are carried out by `run`.
        """
        start = self._encode(obs, pairs_per_call).to(self._dtype)  # (B, *D)
        target = self._encode(goal, pairs_per_call)
        if self._recordings is None:
            return self._minimise(start, target, keys, init, pairs_per_call, run)
        return self._replay(start, target, keys, init, pairs_per_call)

    @torch.no_grad()
    def trace(self, obs: Obs, goal: Obs, keys: Tensor, init: Tensor, pairs_per_call: int) -> Trace:
        """The same search with everything that it tried; nothing is replayed from a recording."""
        start = self._encode(obs, pairs_per_call).to(self._dtype)
        target = self._encode(goal, pairs_per_call)
        distance = self._distance(start, target, pairs_per_call)
        candidates, costs = [], []

        def watched(plans: Tensor) -> Tensor:
            cost_of_plans = distance(plans)
            candidates.append(plans.detach().clone())  # a gradient planner moves them in place
            costs.append(cost_of_plans.detach())
            return cost_of_plans

        plan = self.planner.plan(watched, init, self._noise(keys, self.device))
        return Trace(plan, tuple(candidates), tuple(costs))

    @torch.inference_mode()
    def costs(self, obs: Obs, goal: Obs, plans: Tensor, pairs_per_call: int) -> Tensor:
        """The predicted costs (B, N) of plans (B, N, K, A), whatever their length K."""
        start = self._encode(obs, pairs_per_call).to(self._dtype)
        target = self._encode(goal, pairs_per_call)
        return self._distance(start, target, pairs_per_call)(plans.to(self.device))

    @torch.inference_mode()
    def cost_at(self, obs: Obs, goal: Obs, of: Tensor, frames_per_call: int) -> Tensor:
        """The cost (M,) of plans that really ended at the frames obs (M, 1, ...), where frame
        of[i] of goal (B, 1, ...) was wanted.
        """
        ends, target = (self._encode(o, frames_per_call).float() for o in (obs, goal))
        if self._read:
            ends, target = self._read(ends), self._read(target)
        return cost.squared_distance(ends, target[of.to(self.device)])

    def recording(self, pairs: int, pairs_per_call: int) -> tuple[int, int] | None:
        """The recording that a search for `pairs` pairs replays, as (pairs in all, pairs in one
        call of the model); None where nothing is recorded.
        """
        if self._recordings is None:
            return None
        return cuda_graph.padded_pairs(pairs, pairs_per_call), pairs_per_call

    def flops(self, obs: Obs, goal: Obs) -> int:
        """Operations of a plan for one pair (harness/runtime/flops.py): both frames are encoded,
        and every candidate of every iteration is rolled out; a step down a gradient counts as
        three rollouts. obs and goal (1, 1, ...).
        """
        model = flops.shapes_only(self._model)
        present, desired = obs.to(flops.META), goal.to(flops.META)
        (start, target), encoding = flops.counted(
            lambda: (model.encode(present)[:, -1], model.encode(desired)[:, -1])
        )
        rollout = model.fast_rollout()
        whole = cost.latent_distance(rollout, start, target, pairs=1, rollouts=sys.maxsize)
        counted = flops.CountedCost(whole)
        init = torch.zeros(1, *self.plan_shape)
        if self._differentiates:
            counted(init[:, None])
            return encoding + counted.total * self._evaluations
        self.planner.plan(counted, init, lambda draw, shape: torch.zeros(1, *shape))
        return encoding + counted.total

    def _encode(self, obs: Obs, pairs_per_call: int) -> Tensor:
        """Latents of the last frame, (B, *D)."""
        assert obs.pixels is not None
        count, obs = len(obs.pixels), obs.to(self.device)
        latents = [
            self._model.encode(obs.rows(chunk))[:, -1]
            for chunk in chunks.of_one_size(count, pairs_per_call, self.device)
        ]
        return torch.cat(latents)[:count]

    def _minimise(
        self,
        start: Tensor,
        target: Tensor,
        keys: Tensor,
        init: Tensor,
        pairs_per_call: int,
        run: IterationRunner,
    ) -> Plan:
        distance = self._distance(start, target, pairs_per_call)
        return self.planner.plan(distance, init, self._noise(keys, self.device), run)

    def _distance(self, start: Tensor, target: Tensor, pairs_per_call: int) -> CostFn:
        return cost.latent_distance(
            self._rollout, start, target, pairs_per_call, self._rollouts, self._read
        )

    def _replay(
        self, start: Tensor, target: Tensor, keys: Tensor, init: Tensor, pairs_per_call: int
    ) -> Plan:
        """The same as _minimise, by a recorded iteration. The recording may be for more pairs; the
        last pair is repeated to fill it.
        """
        pairs = len(start)
        size = self.recording(pairs, pairs_per_call)
        assert size is not None and self._recordings is not None
        (filled,) = chunks.of_one_size(pairs, size[0], self.device)
        tensors = start[filled], target[filled], keys[filled]
        (start, target, keys), run = self._recordings.of(size, tensors)
        plan = self._minimise(start, target, keys, init[filled], pairs_per_call, run)
        return Plan(plan.actions[:pairs], plan.cost[:pairs], plan.cost_per_iteration[:, :pairs])

    def _rollouts_that_fit(self) -> int:
        working, cached = self._model.rollout_bytes(self.plan_shape[0])
        fit = MEMORY_SHARE * memory.free(self.device) / (working + cached)
        if self.device.type == "cpu":
            fit = min(fit / self.threads, CACHE_BYTES / working)
        return max(1, int(fit))


def _rollout(model: WorldModel, dtype: torch.dtype) -> Rollout:
    """The fast rollout of a copy of the model in this number format. What it derives from the
    weights is derived in float32.
    """
    rolled = copy.deepcopy(model)
    rollout = rolled.fast_rollout()
    rolled.to(dtype)
    return onednn.packed(rollout.to(dtype)) if isinstance(rollout, nn.Module) else rollout
