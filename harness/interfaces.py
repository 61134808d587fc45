"""Types and protocols that the rooms share; nothing here does any work.

Shape legend, used in every comment of the project:
    B batch, T frames, H history, K horizon in blocks, N candidates, A action block (steps x action
    dim, flattened), a action dim of one step, D latent, P patches, C features of a patch, S state,
    p proprio, L episode length in steps, R rows (steps of a dataset), n simulator copies. Pictures
    are (3, height, width) uint8. Actions inside a Batch and inside a planner are z-scored;
    everywhere else they are in the task's own units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from harness.setting import Settings, setting


def _moved(value: Any, device: torch.device) -> Any:
    """A tensor, or tensors in tuples, on another device; a copy to a GPU is not waited for."""
    if isinstance(value, tuple):
        return type(value)(*(_moved(part, device) for part in value))
    if value is not None and value.is_cpu and device.type == "cuda":
        return value.pin_memory().to(device, non_blocking=True)
    return value if value is None else value.to(device)


class Obs(NamedTuple):
    """What a model may see. Simulator state is never part of it.

    Pixels are there unless the tokens that a frozen encoder makes of them are (data/features.py).
    """

    pixels: Tensor | None  # (B, T, 3, height, width) uint8
    proprio: Tensor | None = None  # (B, T, p) float32, z-scored
    tokens: Tensor | None = None  # (B, T, P, C) float16

    def rows(self, index: np.ndarray | Tensor) -> Obs:
        """The observations `index` of the batch."""
        return Obs(*(None if part is None else part[index] for part in self))

    def frames(self, index: slice) -> Obs:
        """The frames `index` of every window."""
        return Obs(*(None if part is None else part[:, index] for part in self))

    to = _moved


@dataclass(frozen=True)
class GoalConfig(Settings):
    """Which frames serve as goals of recorded windows: shares of the first frame of the window, of
    later frames of its episode, and of any frame of the split.

    Later frames are a whole number of blocks away: uniform up to the end of the episode, or
    geometric with the discount of GoalSampling, those beyond the end at the last one.
    """

    current: float = setting(0.0, "Share of goals that are the frame itself.", ge=0, le=1)
    future: float = setting(1.0, "Share of goals that are later frames of the episode.", ge=0, le=1)
    random: float = setting(0.0, "Share of goals that are any frame of the split.", ge=0, le=1)
    distances: Literal["uniform", "geometric"] = setting(
        "uniform", "How far away later frames are: uniform, or geometric by the discount."
    )

    def __post_init__(self):
        super().__post_init__()
        shares = (self.current, self.future, self.random)
        if abs(sum(shares) - 1) > 1e-6:
            raise ValueError(f"current, future and random must add up to 1, not {shares}")


class GoalSampling(NamedTuple):
    """The goals that a model wants with its windows."""

    policy: GoalConfig
    value: GoalConfig | None = None  # None: the model learns no value
    discount: float = 0.0  # per block, of geometric distances


class Goals(NamedTuple):
    """Goals of the windows of a Batch, one frame each."""

    policy: Obs  # (B, 1, ...)
    value: Obs | None = None  # (B, 1, ...)
    reached: Tensor | None = None  # (B,) bool: the first frame is the value goal
    to = _moved


class Batch(NamedTuple):
    """Training input; actions[:, t] is the block that leads from frame t to frame t + 1."""

    obs: Obs
    actions: Tensor  # (B, T, A) float32, z-scored
    goals: Goals | None = None
    to = _moved


class Window(NamedTuple):
    """A Batch with what only evaluation may see."""

    batch: Batch
    state: Tensor  # (B, T, S) float64
    episode: np.ndarray  # (B,) int
    start: np.ndarray  # (B,) int, step of the first frame


class Episode(NamedTuple):
    """One recorded episode; row t holds what was seen at step t and the action taken there."""

    pixels: np.ndarray  # (L, 3, height, width) uint8
    proprio: np.ndarray  # (L, p) float32
    state: np.ndarray  # (L, S) float64
    actions: np.ndarray  # (L, a) float32, in the task's units, as executed
    family: int  # initial-condition family; the split never divides one


class Pair(NamedTuple):
    """A start and a goal out of one held-out episode."""

    pair_id: int
    episode: int
    step: int
    start_state: np.ndarray  # (S,)
    goal_state: np.ndarray  # (S,)
    goal_pixels: np.ndarray  # (3, height, width) uint8
    goal_proprio: np.ndarray  # (p,)
    actions: np.ndarray  # (offset, a), the recorded actions from start to goal
    stratum: str
    initially_solved: bool


class Plan(NamedTuple):
    """What a planner returns."""

    actions: Tensor  # (B, K, A), z-scored
    cost: Tensor  # (B,), mean cost of the last elites
    cost_per_iteration: Tensor  # (iterations, B)


class Solve(NamedTuple):
    """One timed call of a planner (or of a feed-forward policy)."""

    rows: np.ndarray  # the pairs planned together
    seconds: float  # wall time from raw pixels to actions, device synchronised


class Decision(NamedTuple):
    """What a policy returns."""

    actions: np.ndarray  # (B, A), one block in the task's units
    solves: tuple[Solve, ...] = ()  # the solves it took


class Shape(NamedTuple):
    """All that a model must know of its task to be built."""

    image_size: int
    action_dim: int  # A: one block, flattened
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

    def shape(self, image_size: int) -> Shape:
        """The shapes a model of this task works with."""
        return Shape(image_size, self.action_dim * self.action_block, len(self.proprio_names))


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


class Trainable(Protocol):
    """A model that `harness.train` can train.

    Its gradients are clipped together, but for modules that it may name in `clipped_apart`, a
    sequence: those whose loss no other module shares.
    """

    window_frames: int  # frames of a training window
    goal_sampling: GoalSampling | None  # None: it learns without goals

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Scalars; "loss" is minimised, the rest is logged: its terms, without their weights, and
        "latent_std" of a world model (nn/spread.py).
        """

    def after_step(self, step: int, steps: int) -> None:
        """Called after optimizer step `step`, 0 for the first, of a training of `steps` (target
        networks).
        """


class WorldModel(Trainable, Protocol):
    """Latent dynamics; *D is (D,) or (P, D)."""

    history: int  # frames the predictor looks back on

    def encode(self, obs: Obs) -> Tensor:
        """(B, T, *D)."""

    def rollout(self, z: Tensor, past: Tensor, plan: Tensor) -> Tensor:
        """Latents after each block of the plan.

        z (N, H, *D): observed latents, oldest first, H <= history; past (N, H - 1, A): the blocks
        between them; plan (N, K, A). Returns (N, K, *D).
        """

    def rollout_bytes(self, blocks: int) -> tuple[int, int]:
        """About what one candidate takes in float32: activations of a layer; what is kept."""


class GoalPolicy(Trainable, Protocol):
    """A feed-forward policy's network."""

    def act(self, obs: Obs, goal: Obs) -> Tensor:
        """The next block (B, A), z-scored, for the last frame of obs and the goal frame."""


@runtime_checkable
class Policy(Protocol):
    """Observation and goal in, one block of actions out."""

    def reset(self, pairs: Sequence[Pair], told: Callable[[float], None] = ...) -> None:
        """Start an evaluation of these pairs, together. An `act` that takes long tells meanwhile
        for how many of the coming blocks it has found actions, a fraction at first.
        """

    def act(self, obs: Obs, goal: Obs, rows: np.ndarray) -> Decision:
        """One block for each of the pairs `rows` (indices into the pairs of reset).

        obs and goal are (len(rows), 1, ...): the frame seen now, the frame wanted.
        """


@runtime_checkable
class StatePolicy(Protocol):
    """A control with privileged state; one step at a time."""

    def reset(self, pairs: Sequence[Pair]) -> None: ...

    def act_state(self, state: np.ndarray, goal: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Actions (len(rows), a) in the task's units for states and goals (len(rows), S)."""


CostFn = Callable[[Tensor], Tensor]  # (B, N, K, A) -> (B, N)


class Noise(Protocol):
    """Standard normal numbers that belong to one (pair, replan) each, whatever is planned beside
    it.
    """

    def __call__(self, draw: Tensor, shape: tuple[int, ...]) -> Tensor:
        """(B, *shape) float32; the same `draw`, a whole number, gives the same numbers."""


Run = Callable[..., tuple[Tensor, ...]]  # calls its first argument with the others


class PlannerEntry(NamedTuple):
    """An entry of zoo.PLANNERS: build(config) -> Planner."""

    config: type
    build: Callable[[Any], Planner]
    about: str = ""  # one sentence


class Planner(Protocol):
    """Minimises a cost; knows nothing of models."""

    iterations: int  # of a plan

    def plan(self, cost_fn: CostFn, init: Tensor, noise: Noise, run: Run = ...) -> Plan:
        """init (B, K, A): mean of the first iteration. Each iteration is one function of tensors,
        called by `run` where that is given.
        """


@dataclass(frozen=True)
class Method:
    """An entry of zoo.METHODS.

    A trained method has build(config, shape) -> nn.Module (a WorldModel or a GoalPolicy); a
    control has build(config, task, seed) -> StatePolicy. `version` grows when its code gives other
    outcomes for the same configuration (it is hashed: its trials run again).
    """

    label: str
    config: type
    build: Callable[..., nn.Module | StatePolicy]
    trained: bool
    version: int = 1
    about: str = ""  # one sentence


@dataclass(frozen=True)
class TrialSpec:
    """task x method x seed x variant, with its configuration fully resolved (plain values, hashable
    as YAML).
    """

    task: str
    method: str
    seed: int
    variant: str
    stages: tuple[str, ...]
    config: Any
    swept: tuple[str, ...] = ()  # keys whose values a sweep tries here; they decide no outcome

    @property
    def key(self) -> str:
        """Name of the trial and of its folder: "push_t.lewm.s0"."""
        middle = f".{self.variant}" if self.variant else ""
        return f"{self.task}.{self.method}{middle}.s{self.seed}"
