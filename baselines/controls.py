"""Controls: policies that learn nothing and see the simulator's state. They run on the pairs of
every method.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.contracts.data import Pair
from harness.contracts.method import MethodConfig
from harness.contracts.task import Task
from harness.runtime import seeding


@dataclass(frozen=True)
class ControlConfig(MethodConfig):
    """Controls have no settings."""


class Random:
    """Uniform random actions within the bounds, the floor of every table. Each pair has its own
    random stream.
    """

    def __init__(self, config: ControlConfig, task: Task, seed: int):
        self._low, self._high = np.array(task.spec.action_low), np.array(task.spec.action_high)
        self._seed = seed

    def reset(self, pairs: Sequence[Pair]) -> None:
        """Give each pair its own random stream."""
        self._streams = [seeding.stream("random", self._seed, pair.pair_id) for pair in pairs]

    def act_state(self, state: np.ndarray, goal: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Uniform actions (len(rows), a) within the bounds."""
        return np.stack([self._streams[row].uniform(self._low, self._high) for row in rows])


class Noop:
    """Always the zero action."""

    def __init__(self, config: ControlConfig, task: Task, seed: int):
        self._dim = task.spec.action_dim

    def reset(self, pairs: Sequence[Pair]) -> None:
        """Nothing is remembered."""

    def act_state(self, state: np.ndarray, goal: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Zero actions (len(rows), a)."""
        return np.zeros((len(rows), self._dim))


class Replay:
    """The recorded actions from start to goal, then zero actions. It checks the simulator: below
    100 % success, states are not restored exactly.
    """

    def __init__(self, config: ControlConfig, task: Task, seed: int):
        self._dim = task.spec.action_dim

    def reset(self, pairs: Sequence[Pair]) -> None:
        """Read the recorded actions of the pairs from their beginning."""
        self._recorded = np.stack([pair.actions for pair in pairs])  # (pairs, offset, a)
        self._next = np.zeros(len(pairs), dtype=int)

    def act_state(self, state: np.ndarray, goal: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The next recorded actions (len(rows), a), zero after the last one."""
        step = self._next[rows]
        self._next[rows] += 1
        last = self._recorded.shape[1] - 1
        actions = self._recorded[rows, np.minimum(step, last)]
        return np.where((step <= last)[:, None], actions, 0.0)


class Heuristic:
    """The trivial policy of the task (Task.heuristic), e.g. a straight line to the goal."""

    def __init__(self, config: ControlConfig, task: Task, seed: int):
        self._act = task.heuristic

    def reset(self, pairs: Sequence[Pair]) -> None:
        """Nothing is remembered."""

    def act_state(self, state: np.ndarray, goal: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """The task's own trivial actions (len(rows), a)."""
        return self._act(state, goal)
