"""Data that pass between rooms: observations, training batches, episodes and evaluation pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.contracts.setting import Settings, setting


def _moved(tensor: Tensor, device: torch.device) -> Tensor:
    """Move a tensor to a device. A copy to a GPU is asynchronous."""
    if tensor.is_cpu and device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class Obs(NamedTuple):
    """Observation: all that a model may see of a task. Simulator state is never part of it.

    An observation has either pixels, or the tokens that a frozen encoder computed from them
    (data/features.py).
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

    def to(self, device: torch.device) -> Obs:
        """The observations on a device; a copy to a GPU is asynchronous."""
        return Obs(*(None if part is None else _moved(part, device) for part in self))


@dataclass(frozen=True)
class GoalConfig(Settings):
    """The recorded frames that serve as goals of a training window. The three shares, which add up
    to 1, are: the window's own first frame, a later frame of its episode, any frame of the split.

    A later frame is a whole number of blocks away. The number is uniform up to the end of the
    episode, or geometric with the discount of GoalSampling and cut off at the end of the episode.
    """

    current: float = setting(0.0, "Share of goals that are the frame itself.", ge=0, le=1)
    future: float = setting(1.0, "Share of goals that are later frames of the episode.", ge=0, le=1)
    random: float = setting(0.0, "Share of goals that are any frame of the split.", ge=0, le=1)
    distances: Literal["uniform", "geometric"] = setting(
        "uniform", "How far away later frames are: uniform, or geometric by the discount."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        shares = (self.current, self.future, self.random)
        if abs(sum(shares) - 1) > 1e-6:
            raise ValueError(f"current, future and random must add up to 1, not {shares}")


class GoalSampling(NamedTuple):
    """How the goals of a method's training windows are drawn."""

    policy: GoalConfig
    value: GoalConfig | None = None  # None: the model learns no value
    discount: float = 0.0  # per block; it decides geometric distances


class Goals(NamedTuple):
    """The goals of a Batch's windows, one frame each."""

    policy: Obs  # (B, 1, ...)
    value: Obs | None = None  # (B, 1, ...)
    reached: Tensor | None = None  # (B,) bool: the window's first frame is its value goal

    def to(self, device: torch.device) -> Goals:
        """The goals on a device; a copy to a GPU is asynchronous."""
        return Goals(
            self.policy.to(device),
            None if self.value is None else self.value.to(device),
            None if self.reached is None else _moved(self.reached, device),
        )


class Batch(NamedTuple):
    """Training input; actions[:, t] is the block that leads from frame t to frame t + 1."""

    obs: Obs
    actions: Tensor  # (B, T, A) float32, z-scored
    goals: Goals | None = None

    def to(self, device: torch.device) -> Batch:
        """The batch on a device; a copy to a GPU is asynchronous."""
        goals = None if self.goals is None else self.goals.to(device)
        return Batch(self.obs.to(device), _moved(self.actions, device), goals)


class Window(NamedTuple):
    """A Batch together with the simulator states, which only evaluation may see."""

    batch: Batch
    state: Tensor  # (B, T, S) float64
    episode: np.ndarray  # (B,) int
    start: np.ndarray  # (B,) int, step of the first frame


class Episode(NamedTuple):
    """One recorded episode; row t holds the observation at step t and the action taken there."""

    pixels: np.ndarray  # (L, 3, height, width) uint8
    proprio: np.ndarray  # (L, p) float32
    state: np.ndarray  # (L, S) float64
    actions: np.ndarray  # (L, a) float32, in the task's units, as executed
    family: int  # episodes with one initial state share a family, and are in the same split


class Pair(NamedTuple):
    """An evaluation problem: a start and a later goal of the same held-out episode."""

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
