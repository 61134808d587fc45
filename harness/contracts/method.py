"""A method: what can be trained, and how a trained model or a control acts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from torch import Tensor, nn

from harness.contracts.data import Batch, GoalSampling, Obs, Pair
from harness.contracts.setting import Settings


class Solve(NamedTuple):
    """One timed call of a planner (or of a feed-forward policy)."""

    rows: np.ndarray  # the pairs planned together
    seconds: float  # wall time from raw pixels to actions, device synchronised


class Decision(NamedTuple):
    """What a policy returns."""

    actions: np.ndarray  # (B, A), one block in the task's units
    solves: tuple[Solve, ...] = ()  # the solves it took


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


@dataclass(frozen=True)
class MethodConfig(Settings):
    """Base of every method's configuration: what a trial asks of it beside its keys. The answers
    here are those of a method without a frozen encoder (nn/frozen.py has the others).
    """

    @property
    def uses_frozen_encoder(self) -> bool:
        """Whether the method reads the tokens of an encoder that is never trained."""
        return False

    @property
    def pool(self) -> tuple[str, ...]:
        """Tasks whose frames the method's encoder is trained on first."""
        return ()

    @property
    def unread(self) -> tuple[str, ...]:
        """Keys that decide nothing beside the values of the others: they are not hashed."""
        return ()

    @property
    def note(self) -> str:
        """What every table and figure must say of the method as configured, or ""."""
        return ""

    def unavailable_reason(self, key: str) -> str:
        """Why the method cannot run on this machine, and what to do, or ""; `key` is the branch of
        the configuration, "method.lewm".
        """
        return ""

    def untrained(self) -> MethodConfig:
        """The same sizes without any pretrained weights."""
        return self


@dataclass(frozen=True)
class Method:
    """An entry of zoo.METHODS.

    A trained method has build(config, dims) -> WorldModel or GoalPolicy, with dims: ModelDims; a
    control has build(config, task, seed) -> StatePolicy. `version` grows when its code gives other
    outcomes for the same configuration (it is hashed: its trials run again).
    """

    label: str
    config: type[MethodConfig]
    build: Callable[..., LatentModel | StatePolicy]
    trained: bool
    version: int = 1
    about: str = ""  # one sentence

    def __post_init__(self):
        if not issubclass(self.config, MethodConfig):
            raise TypeError(
                f"the configuration of {self.label}, {self.config.__name__}, must derive from "
                f"harness.contracts.method.MethodConfig"
            )
