"""A task: its facts, its simulator, its scripted collector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np


class ModelDims(NamedTuple):
    """The sizes that a model needs from its task to be built."""

    image_size: int  # px, pictures are square
    block_dim: int  # A: one block of actions, flattened
    proprio_dim: int


@dataclass(frozen=True)
class TaskSpec:
    """Facts about a task; `version` grows when dynamics, data or pictures change; it is hashed."""

    name: str
    label: str
    version: int
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    state_names: tuple[str, ...]  # with units: "agent_x [px]"
    proprio_names: tuple[str, ...]
    distance_unit: str
    strata: tuple[str, ...]  # every value that Task.strata can return, the hardest last
    success_rules: tuple[str, ...] = ("default",)
    action_block: int = 5
    slow_to_draw: bool = False  # collect in several processes
    about: str = ""  # one sentence

    @property
    def action_dim(self) -> int:
        """Action dimension of one step."""
        return len(self.action_low)

    @property
    def block_dim(self) -> int:
        """A, the dimension of one block of actions, flattened."""
        return self.action_dim * self.action_block

    def model_dims(self, image_size: int) -> ModelDims:
        """The sizes that a model of this task is built with."""
        return ModelDims(image_size, self.block_dim, len(self.proprio_names))


@runtime_checkable
class Simulator(Protocol):
    """n copies of a task, stepped and drawn in one call."""

    n: int

    def set_state(self, state: np.ndarray) -> None:
        """Restore all copies; state (n, S)."""

    def state(self) -> np.ndarray:
        """The full simulator state, (n, S) float64: enough to restore a trajectory exactly."""

    def step(self, actions: np.ndarray) -> None:
        """One control step of every copy; actions (n, a), clipped to the task's bounds here."""

    def proprio(self) -> np.ndarray:
        """(n, p) float32."""

    def render(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Pictures of the copies in `rows` (all when None), (len(rows), 3, size, size) uint8. No
        goal is drawn.
        """

    def close(self) -> None:
        """Free what the simulator holds; safe to call twice."""


@runtime_checkable
class Collector(Protocol):
    """Scripted behaviour that records n episodes side by side."""

    def start(self) -> tuple[np.ndarray, np.ndarray]:
        """Initial states (n, S) and initial-condition families (n,) int."""

    def act(self, state: np.ndarray) -> np.ndarray:
        """Actions (n, a) within the bounds, for states (n, S)."""

    def done(self, state: np.ndarray) -> np.ndarray:
        """(n,) bool: episodes that end here, before the step limit."""


@runtime_checkable
class Task(Protocol):
    """What is solved. States are (B, S) float64 arrays in the units of spec.state_names."""

    spec: TaskSpec

    def simulator(self, n: int, image_size: int) -> Simulator: ...

    def make_env(self, seed: int, image_size: int = 64) -> Any:
        """A gymnasium.Env over one simulator copy; observation = {"pixels", "proprio"}."""

    def reset_to(self, env: Any, state: np.ndarray, goal: np.ndarray) -> dict[str, np.ndarray]:
        """Put `env` into `state` (S,) with goal state `goal` (S,); returns the observation."""

    def success(self, state: np.ndarray, goal: np.ndarray, rule: str = "default") -> np.ndarray:
        """(B,) bool under a named rule of spec.success_rules."""

    def distance(self, state: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """(B,) float in spec.distance_unit; what success thresholds, where one number says it."""

    def strata(self, start: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """(B,) str: the kind of each pair, out of spec.strata."""

    def collector(self, rng: np.random.Generator, n: int) -> Collector:
        """The scripted collector for n episodes; all its randomness comes from `rng`."""

    def heuristic(self, state: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """(B, a): the trivial policy of the task, with privileged state."""
