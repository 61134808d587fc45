"""Receding-horizon control with the simulator itself as the model."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from harness.contracts.data import Pair
from harness.contracts.method import EndCost
from harness.contracts.planning import Planner
from harness.contracts.task import Simulator, Task
from harness.planning import chunks
from harness.runtime import seeding

_COPIES = 1024  # of the simulator, stepped together


class SimulatorPolicy:
    """contracts.StatePolicy: plans by trying candidates in copies of the simulator, as
    receding_horizon.py does in a world model: the same planner, lengths, random streams and
    z-scored actions. What it lacks is a model's error.

    planner         searches for the plan of the lowest cost
    end_cost        the cost of the states in which plans for a pair end
    horizon_blocks, execute_blocks
                    blocks of a plan, and how many of them are executed before the next plan
    decode_actions  z-scored actions to the task's units
    on_progress     told after each pair: pairs planned, pairs that wait for a plan
    """

    def __init__(
        self,
        planner: Planner,
        task: Task,
        end_cost: EndCost,
        horizon_blocks: int,
        execute_blocks: int,
        decode_actions: Callable[[Tensor], Tensor],
        seed: int,
        warm_start: bool = True,
        image_size: int = 64,
        on_progress: Callable[[int, int], None] = lambda done, all_pairs: None,
    ):
        self._planner, self._task, self._end_cost = planner, task, end_cost
        self._plan_shape = (horizon_blocks, task.spec.block_dim)
        self._execute_blocks = execute_blocks
        self._warm_start = warm_start and execute_blocks < horizon_blocks
        self._decode, self._seed, self._on_progress = decode_actions, seed, on_progress
        self._image_size = image_size
        self._simulator: Simulator | None = None

    def reset(self, pairs: Sequence[Pair]) -> None:
        """Forget all plans; the random streams follow the pairs' ids."""
        self._first_means = torch.zeros(len(pairs), *self._plan_shape)
        self._pairs = list(pairs)
        self._replans = [0] * len(pairs)
        self._queues: list[deque[np.ndarray]] = [deque() for _ in pairs]

    def act_state(self, state: np.ndarray, goal: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The next action of each pair's plan; pairs that have none left are planned first."""
        waiting = [i for i, row in enumerate(rows) if not self._queues[row]]
        for done, i in enumerate(waiting):
            self._on_progress(done, len(waiting))
            self._plan(rows[i], state[i])
        return np.stack([self._queues[row].popleft() for row in rows])

    def _plan(self, row: int, state: np.ndarray) -> None:
        """Search for the plan of one pair and keep the steps that will be executed."""
        pair = self._pairs[row]
        key = seeding.integer("plan", self._seed, pair.pair_id, self._replans[row])
        noise, init = seeding.PairNoise([key]), self._first_means[row][None]
        with torch.no_grad():
            plan = self._planner.plan(lambda plans: self._costs(plans, state, pair), init, noise)
        self._replans[row] += 1
        blocks = self._execute_blocks
        if self._warm_start:
            self._first_means[row, :-blocks] = plan.actions[0, blocks:]
        steps = self._steps(plan.actions[0, :blocks])
        self._queues[row] = deque(steps)

    def _costs(self, plans: Tensor, state: np.ndarray, pair: Pair) -> Tensor:
        """Costs (1, N) of plans (1, N, K, A) for a pair from a state (S,) on."""
        flat = plans[0]  # (N, K, A)
        copies = chunks.even_size(len(flat), _COPIES)
        simulator = self._copies(copies)
        costs = []
        for index in chunks.of_one_size(len(flat), copies, flat.device):
            actions = self._steps(flat[index])  # (copies, steps, a)
            simulator.set_state(np.repeat(state[None], copies, axis=0))
            for step in range(actions.shape[1]):
                simulator.step(actions[:, step])
            costs.append(self._end_cost(simulator, pair))
        return torch.cat(costs)[None, : len(flat)].float()

    def _steps(self, blocks: Tensor) -> np.ndarray:
        """Z-scored blocks (..., K, A) as actions of single steps (..., steps, a)."""
        actions = self._decode(blocks).numpy()
        return actions.reshape(*actions.shape[:-2], -1, self._task.spec.action_dim)

    def _copies(self, n: int) -> Simulator:
        """A simulator of n copies, the same as last time where that had as many."""
        if self._simulator is None or self._simulator.n != n:
            self.close()
            self._simulator = self._task.simulator(n, self._image_size)
        return self._simulator

    def close(self) -> None:
        """Free the copies of the simulator."""
        if self._simulator is not None:
            self._simulator.close()
            self._simulator = None
