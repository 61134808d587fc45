"""The contract of a task: its specification, its simulator and its scripted collector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np


class ModelDims(NamedTuple):
    """The sizes of a task that a model is built for."""

    image_size: int  # px, pictures are square
    block_dim: int  # A: one block of actions, flattened
    proprio_dim: int


@dataclass(frozen=True)
class TaskSpec:
    """Constants of a task. `version`, which is hashed, grows when dynamics, data or pictures change
    so that trials are run again.
    """

    name: str
    label: str
    version: int
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    state_names: tuple[str, ...]  # with units: "agent_x [px]"
    proprio_names: tuple[str, ...]
    distance_unit: str
    strata: tuple[str, ...]  # all values of Task.strata, the hardest last
    success_rules: Mapping[str, str] = field(  # a sentence for each rule of Task.success
        default_factory=lambda: {"default": "The distance is below the task's threshold."}
    )
    action_block: int = 5
    slow_to_draw: bool = False  # whether data are collected in several processes
    # mean and std of the released file's actions, where they are known
    released_actions: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    # states that a probe reads as one quantity: (its name, names of the states without units). A
    # state in none is a quantity by itself. The first two states of the first are the axes of maps.
    quantities: tuple[tuple[str, tuple[str, ...]], ...] = ()
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


class FileColumns(NamedTuple):
    """The columns of other people's files that hold the states of a task. Actions stand there in
    the task's units, under "action".
    """

    choices: tuple[Mapping[str, int], ...]  # widths by name; the first that a file has is read
    to_state: Callable[[Mapping[str, np.ndarray]], np.ndarray]  # (R, width) each -> (R, S) float64


@runtime_checkable
class Simulator(Protocol):
    """n copies of a task, stepped and drawn in one call."""

    n: int

    def set_state(self, state: np.ndarray) -> None:
        """Restore all copies; state (n, S)."""

    def state(self) -> np.ndarray:
        """The full simulator state, (n, S) float64, which restores a trajectory exactly."""

    def step(self, actions: np.ndarray) -> None:
        """Take one control step in every copy; actions (n, a) are clipped to the task's bounds."""

    def proprio(self) -> np.ndarray:
        """Proprioception of every copy, (n, p) float32."""

    def render(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Pictures of the copies in `rows` (all when None), (len(rows), 3, size, size) uint8. No
        goal is drawn.
        """

    def close(self) -> None:
        """Free what the simulator holds; safe to call twice."""


class Surprise(NamedTuple):
    """A kind of event that whoever knows the task does not expect, at one frame of an episode.

    `happen(simulator, actions, rng)` takes the place of the block of actions (n, block, a) that
    leads to the event's frame: it steps the task's own simulator through it and brings the event
    about. `telling(before, after, actions)` says where the event would show, (B,) bool, for
    recorded states (B, S) at the beginning and the end of that block and its actions (B, block, a).
    """

    name: str  # "tee_passed_through", in rows; words joined by "_"
    about: str  # one sentence
    happen: Callable[[Any, np.ndarray, np.random.Generator], None]  # of its own simulator
    telling: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


@runtime_checkable
class Collector(Protocol):
    """Scripted behaviour that acts in n episodes side by side, which are recorded."""

    def start(self) -> tuple[np.ndarray, np.ndarray]:
        """Initial states (n, S) and initial-condition families (n,) int."""

    def act(self, state: np.ndarray) -> np.ndarray:
        """Actions (n, a) within the bounds, for states (n, S)."""

    def done(self, state: np.ndarray) -> np.ndarray:
        """Whether each episode ends here, before the step limit, (n,) bool."""


@runtime_checkable
class Task(Protocol):
    """A task to be solved. States are (B, S) float64 arrays in the units of spec.state_names.

    A task whose data may come from other people's files has an attribute `file_columns` too
    (FileColumns).
    """

    spec: TaskSpec

    def simulator(self, n: int, image_size: int) -> Simulator:
        """n copies of the task, whose pictures have sides of `image_size` px."""

    def make_env(self, seed: int, image_size: int = 64) -> Any:
        """A gymnasium.Env over one simulator copy; observation = {"pixels", "proprio"}."""

    def reset_to(self, env: Any, state: np.ndarray, goal: np.ndarray) -> dict[str, np.ndarray]:
        """Put `env` into `state` (S,) with goal state `goal` (S,); returns the observation."""

    def success(self, state: np.ndarray, goal: np.ndarray, rule: str = "default") -> np.ndarray:
        """Whether the goal is reached, (B,) bool, by a rule out of spec.success_rules."""

    def legal(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """Whether the step from one state to the next passes through nothing solid, (B,) bool."""

    def corrected(self) -> Task:
        """The task with simulators that take legal steps alone; the same task where the released
        physics has no such fault.
        """

    def distance(self, state: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """Distance to the goal, (B,) float in spec.distance_unit. Success is a threshold on it
        where one number is enough to decide success.
        """

    def strata(self, start: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """The stratum of each pair, (B,) str out of spec.strata: how hard a kind of pair it is."""

    def pose(self, state: np.ndarray) -> np.ndarray:
        """The pose of the scene in states (B, S), as far as one picture shows it, in few numbers
        (B, F): no speeds, angles as sine and cosine. It is the latent of the ceiling.
        """

    def collector(self, rng: np.random.Generator, n: int) -> Collector:
        """The scripted collector for n episodes; all its randomness comes from `rng`."""

    def heuristic(self, state: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """Actions (B, a) of a trivial policy that sees the state, e.g. straight to the goal."""

    def surprises(self) -> tuple[Surprise, ...]:
        """The kinds of events that show whether a model knows the task's physics; it may be none.
        They see and change the task's own simulators.
        """
