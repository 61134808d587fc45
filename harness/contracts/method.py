"""A method: what can be trained, and how a trained model or a control acts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, get_args, runtime_checkable

import numpy as np
from torch import Tensor, nn

from harness.contracts.data import Batch, GoalSampling, Obs, Pair
from harness.contracts.setting import Settings
from harness.contracts.task import Simulator


class Solve(NamedTuple):
    """One timed call of a planner (or of a feed-forward policy)."""

    rows: np.ndarray  # the pairs planned together
    seconds: float  # wall time from raw pixels to actions, device synchronised


class Decision(NamedTuple):
    """A policy's answer: a block of actions for each pair."""

    actions: np.ndarray  # (B, A), one block for each pair, in the task's units
    solves: tuple[Solve, ...] = ()  # the solves that were necessary


class Trainable(nn.Module, ABC):
    """A network that harness/training/loop.py can train."""

    @abstractmethod
    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Scalars by name. "loss" is minimised; the others are only logged: the unweighted terms of
        the loss and, for a world model, nn/straightness.py's diagnostics.
        """

    def after_step(self, step: int, steps: int) -> None:
        """Called after each optimizer step, `step` = 0 .. steps - 1. A method with a target network
        updates it here.
        """

    @property
    def separate_clip_groups(self) -> tuple[tuple[nn.Module, ...], ...]:
        """Groups of modules whose gradients are clipped by the norm of their own group, apart from
        all other parameters. It suits modules whose loss trains no other module.
        """
        return ()


class LatentModel(Trainable):
    """Base of all trained methods: a network that maps frames to latents and learns from
    windows.
    """

    window_frames: int  # frames of a training window
    goal_sampling: GoalSampling | None = None  # None: training needs no goals
    tokens_per_frame: int = 1  # latent tokens of one frame; a pooled latent counts as one

    @abstractmethod
    def encode(self, obs: Obs) -> Tensor:
        """Latents (B, T, *D), every frame on its own; *D is (D,) or (P, D)."""

    @property
    def frozen_encoder(self) -> FrozenTokens | None:
        """The encoder that is never trained, or None. Its tokens of all frames are computed once
        and stored beside the dataset.
        """
        return None


class FrozenTokens(Protocol):
    """A picture encoder that is never trained (nn/frozen.py)."""

    tokens: int  # P, tokens of a frame
    width: int  # C, floats of a token
    standardize: bool  # whether fit() has to be called before training

    def __call__(self, pixels: Tensor) -> Tensor:
        """Encode pictures (M, 3, height, width) uint8 to tokens (M, P, C), not standardized."""

    def fit(self, tokens: Tensor) -> None:
        """Standardize all further tokens by the mean and the std of these, (M, P, C)."""

    def digest(self) -> str:
        """A hash of everything that decides the tokens of a picture."""


Rollout = Callable[[Tensor, Tensor, Tensor], Tensor]  # the arguments of WorldModel.rollout


class WorldModel(LatentModel):
    """A method that learns latent dynamics and acts by planning with them."""

    history: int  # the largest number of frames that the predictor reads

    @property
    def window_frames(self) -> int:  # type: ignore[override] # nobody sets it after the building
        """Frames of a training window: the history and one target more."""
        return self.history + 1

    @abstractmethod
    def predict(self, z: Tensor, actions: Tensor) -> Tensor:
        """Predict the latent that follows each of T <= history frames, (B, T, *D), from their
        latents z (B, T, *D) and the blocks of actions taken there (B, T, A). A prediction depends
        on no later frame.
        """

    @abstractmethod
    def rollout(self, z: Tensor, past: Tensor, plan: Tensor) -> Tensor:
        """Predict the latents after each block of a plan, (N, K, *D), in the plain form.

        z (N, H, *D) are observed latents, oldest first, H <= history; past (N, H - 1, A) are the
        blocks of actions between them; plan is (N, K, A).
        """

    def fast_rollout(self) -> Rollout:
        """The function that planning and evaluation use in place of `rollout`: a faster form, where
        the model has one. It gives the same latents to rounding (tests/test_contracts.py).
        """
        return self.rollout

    @abstractmethod
    def rollout_bytes(self, blocks: int) -> tuple[int, int]:
        """Estimate the bytes that one candidate of `blocks` blocks takes in fast_rollout, in
        float32: (working memory of one layer, memory held from block to block).
        """


class GoalPolicy(LatentModel):
    """A method that acts without planning, by a feed-forward policy."""

    @abstractmethod
    def act(self, obs: Obs, goal: Obs) -> Tensor:
        """Choose the next block of actions (B, A), z-scored, from the last frame of obs and the
        goal frame.
        """


@runtime_checkable
class Policy(Protocol):
    """Maps observations and goals to one block of actions each."""

    def reset(self, pair_ids: Sequence[int], on_progress: Callable[[float], None] = ...) -> None:
        """Start an evaluation of the pairs with these ids, which run side by side. A policy is told
        nothing else of them: their states and recorded actions would say the way.

        An `act` that takes long calls `on_progress` meanwhile with the number of blocks, counted
        from the next one, whose actions are planned so far. The number may be a fraction.
        """

    def act(self, obs: Obs, goal: Obs, rows: np.ndarray) -> Decision:
        """Choose one block for each of the pairs `rows`, indices into the pairs of `reset`.

        obs holds the present frames and goal the goal frames, (len(rows), 1, ...) each.
        """


class TimedPolicy(Policy, Protocol):
    """A policy of a trained model, whose solves can be timed and whose operations counted."""

    timed: Literal["solve", "inference"]  # what the metric rows call one solve

    def solve(self, obs: Obs, goal: Obs, rows: np.ndarray) -> tuple[Any, float]:
        """Solve the pairs `rows`; returns the result and the wall time in seconds from raw pixels
        to it, device synchronised, after a warm-up.
        """

    def flops(self, obs: Obs, goal: Obs) -> int:
        """Floating-point operations of one solve for one pair; obs and goal (1, 1, ...)."""


@runtime_checkable
class StatePolicy(Protocol):
    """A control: a policy that sees the simulator's state and acts one step at a time."""

    def reset(self, pairs: Sequence[Pair]) -> None:
        """Start an evaluation of these pairs, which run side by side."""

    def act_state(self, state: np.ndarray, goal: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Choose actions (len(rows), a), in the task's units, for states and goals
        (len(rows), S).
        """


# The cost (M,) of plans for one pair that ended in the states of a simulator's M copies.
EndCost = Callable[[Simulator, Pair], Tensor]


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
        """A remark for every table and figure on the method as configured, or ""."""
        return ""

    @property
    def given_weights(self) -> str:
        """The text that says which weights are evaluated instead of a training, or ""."""
        return ""

    def unavailable_reason(self, key: str) -> str:
        """Why the method cannot run on this machine, and what to do, or ""; `key` is the branch of
        the configuration, "method.lewm".
        """
        return ""

    def misfit(self, image_size: int) -> str:
        """Why the network cannot read pictures of that many px, and what to do, or ""; it begins
        with the name of a key.
        """
        return ""

    @property
    def most_pairs(self) -> int:
        """How many of a protocol's pairs it is evaluated on, the first ones; 0: all."""
        return 0

    def untrained(self) -> MethodConfig:
        """The same sizes without any pretrained weights."""
        return self


# What a method is to a report: a competitor; a trivial control, whose best one is the floor; the
# ceiling, which is given what no competitor has; a check of the simulator.
Role = Literal["method", "floor", "ceiling", "check"]


@dataclass(frozen=True)
class Method:
    """An entry of zoo.METHODS.

    A trained method has build(config, dims) -> WorldModel or GoalPolicy, with dims: ModelDims; a
    control has build(config, task, seed) -> StatePolicy; a ceiling that is not trained plans in the
    simulator and has build(config, task, encode_pose) -> EndCost. `version` grows when its code
    gives other outcomes for the same configuration (it is hashed: its trials run again). `role`
    decides where a report shows it; it is not hashed.
    """

    label: str
    config: type[MethodConfig]
    build: Callable[..., Any]  # what it returns depends on the kind of method, see above
    trained: bool
    version: int = 1
    about: str = ""  # one sentence
    role: Role = "method"

    def __post_init__(self) -> None:
        if self.role not in get_args(Role):
            allowed = ", ".join(get_args(Role))
            raise ValueError(f"the role of {self.label} is {self.role!r}, not one of {allowed}")
        if not issubclass(self.config, MethodConfig):
            raise TypeError(
                f"the configuration of {self.label}, {self.config.__name__}, must derive from "
                f"harness.contracts.method.MethodConfig"
            )

    @property
    def plans(self) -> bool:
        """Whether it learns a world model, which it plans with: `build` is that model's class."""
        return isinstance(self.build, type) and issubclass(self.build, WorldModel)

    @property
    def sees_pose(self) -> bool:
        """Whether Task.pose takes the place of proprioception: a ceiling sees it."""
        return self.role == "ceiling"

    @property
    def plans_in_simulator(self) -> bool:
        """Whether the simulator itself takes the place of a model."""
        return self.role == "ceiling" and not self.trained
