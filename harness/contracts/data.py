"""What a model sees, what it is trained on, and what an evaluation starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from harness.contracts.setting import Settings, setting


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
