"""Types, protocols and base classes that the rooms share; nothing here does any work.

Shape legend, used in every comment of the project:
    B batch, T frames, H history, K horizon in blocks, N candidates, A action block (steps x action
    dim, flattened), a action dim of one step, D latent, P patches, C features of a patch, S state,
    p proprio, L episode length in steps, R rows (steps of a dataset), n simulator copies. Pictures
    are (3, height, width) uint8. Actions inside a Batch and inside a planner are z-scored;
    everywhere else they are in the task's own units.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
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

    An observation has pixels, or the tokens that a frozen encoder made of them
    (data/features.py); `pixels` is None then.
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


class Trainable(nn.Module, ABC):
    """A network that `harness.train` can train."""

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Scalars. "loss" is minimised. The others are logged: the terms of the loss, without
        their weights, and for a world model "latent_std" (nn/latent_std.py).
        """

    def after_step(self, step: int, steps: int) -> None:
        """Called after optimizer step `step`, 0 for the first, of a training of `steps`; a method
        with a target network moves it here.
        """

    @property
    def separate_clip_groups(self) -> tuple[tuple[nn.Module, ...], ...]:
        """Groups of parts whose gradients are clipped apart from all others, by the norm of their
        group: parts whose loss no other part shares.
        """
        return ()


class LatentModel(Trainable):
    """The network of a trained method. It maps frames to latents and learns from windows."""

    window_frames: int  # frames of a training window
    goal_sampling: GoalSampling | None = None  # None: training needs no goals
    tokens_per_frame: int = 1  # latent tokens of one frame; a pooled latent counts as one

    @abstractmethod
    def encode(self, obs: Obs) -> Tensor:
        """Latents (B, T, *D), every frame on its own; *D is (D,) or (P, D)."""

    @property
    def frozen_encoder(self) -> FrozenTokens | None:
        """The encoder that is never trained, if there is one: its tokens of all frames are
        computed once and kept beside the dataset.
        """
        return None


class FrozenTokens(Protocol):
    """A picture encoder that is never trained (nn/frozen.py)."""

    tokens: int  # P, of a frame
    width: int  # C, of a token
    standardize: bool  # fit() is wanted before training

    def __call__(self, pixels: Tensor) -> Tensor:
        """Pictures (M, 3, height, width) uint8 to tokens (M, P, C), not standardized."""

    def fit(self, tokens: Tensor) -> None:
        """Standardize all further tokens by the mean and the spread of these (M, P, C)."""

    def digest(self) -> str:
        """A hash of all that decides the tokens of a picture."""


Rollout = Callable[[Tensor, Tensor, Tensor], Tensor]  # the arguments of WorldModel.rollout


class WorldModel(LatentModel):
    """Latent dynamics: a method that acts by planning."""

    history: int  # frames that the predictor looks back on

    @property
    def window_frames(self) -> int:
        """Frames of a training window: the history and the last target."""
        return self.history + 1

    @abstractmethod
    def predict(self, z: Tensor, actions: Tensor) -> Tensor:
        """The next latent after each of T <= history frames, (B, T, *D), from latents z (B, T, *D)
        and the blocks of actions taken there (B, T, A). It sees no later frame.
        """

    @abstractmethod
    def rollout(self, z: Tensor, past: Tensor, plan: Tensor) -> Tensor:
        """Latents after each block of the plan, (N, K, *D): the plain form.

        z (N, H, *D) are observed latents, oldest first, H <= history; past (N, H - 1, A) are the
        blocks of actions between them; plan is (N, K, A).
        """

    def fast_rollout(self) -> Rollout:
        """What planning and evaluation use as `rollout`: a faster form where the model has one.
        It gives the same latents to rounding (tests/test_contracts.py).
        """
        return self.rollout

    @abstractmethod
    def rollout_bytes(self, blocks: int) -> tuple[int, int]:
        """About how many bytes of float32 one candidate of `blocks` blocks takes in fast_rollout:
        working memory of one layer, and what stays in memory from block to block.
        """


class GoalPolicy(LatentModel):
    """The network of a feed-forward policy: a method that acts without planning."""

    @abstractmethod
    def act(self, obs: Obs, goal: Obs) -> Tensor:
        """The next block (B, A), z-scored, for the last frame of obs and the goal frame."""


@runtime_checkable
class Policy(Protocol):
    """Observation and goal in, one block of actions out."""

    def reset(self, pairs: Sequence[Pair], on_progress: Callable[[float], None] = ...) -> None:
        """Start an evaluation of these pairs, together.

        During an `act` that takes long, `on_progress` is called with the number of blocks, from
        this one on, whose actions are found by now; fractions count.
        """

    def act(self, obs: Obs, goal: Obs, rows: np.ndarray) -> Decision:
        """One block for each of the pairs `rows` (indices into the pairs of reset).

        obs and goal are (len(rows), 1, ...): the frame seen now, the frame wanted.
        """


class TimedPolicy(Policy, Protocol):
    """A policy of a trained model, whose solves can be timed and counted."""

    timed: Literal["solve", "inference"]  # the name of one solve in the record

    def solve(self, obs: Obs, goal: Obs, rows: np.ndarray) -> tuple[Any, float]:
        """What is found for the pairs `rows`, and the wall time in seconds from raw pixels to it,
        device synchronised, after a warm-up.
        """

    def flops(self, obs: Obs, goal: Obs) -> int:
        """Floating-point operations of one solve for one pair; obs and goal (1, 1, ...)."""


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


class IterationRunner(Protocol):
    """Carries out one iteration of a planner, e.g. by calling it, or by replaying a recording of it
    (planning/cuda_graph.py).
    """

    def __call__(
        self, iterate: Callable[..., tuple[Tensor, ...]], *state: Tensor
    ) -> tuple[Tensor, ...]:
        """iterate(*state), or its like: the same function with tensors of the same shapes."""


class PlannerEntry(NamedTuple):
    """An entry of zoo.PLANNERS: build(config) -> Planner."""

    config: type
    build: Callable[[Any], Planner]
    about: str = ""  # one sentence


class Planner(Protocol):
    """Minimises a cost; knows nothing of models."""

    iterations: int  # of a plan

    def plan(self, cost_fn: CostFn, init: Tensor, noise: Noise, run: IterationRunner = ...) -> Plan:
        """init (B, K, A): mean of the first iteration. Each iteration is a function of tensors
        alone and is carried out by `run`, which calls it unless another runner is given.
        """


@dataclass(frozen=True)
class Method:
    """An entry of zoo.METHODS.

    A trained method has build(config, dims) -> WorldModel or GoalPolicy, with dims: ModelDims; a
    control has build(config, task, seed) -> StatePolicy. `version` grows when its code gives other
    outcomes for the same configuration (it is hashed: its trials run again).
    """

    label: str
    config: type
    build: Callable[..., LatentModel | StatePolicy]
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
