"""Z-scores actions and proprio by the means and stds of the training episodes or a whole file, or
actions by those of the released file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import torch

from harness.data.episodes import Dataset

STD_FLOOR = 1e-3  # keeps a dimension that hardly varies in the data from being blown up

Scope = Literal["train", "file", "released"]
Moments = tuple[Sequence[float], Sequence[float]]  # mean and std of each action
Array = TypeVar("Array", np.ndarray, torch.Tensor)


@dataclass(frozen=True)
class Normalizer:
    """Converts to z-scores and back: numpy arrays or tensors, single steps (a) or blocks (A)."""

    action_mean: np.ndarray  # (a,) float32
    action_std: np.ndarray  # (a,) float32
    proprio_mean: np.ndarray  # (p,) float32
    proprio_std: np.ndarray  # (p,) float32

    def encode_actions(self, actions: Array) -> Array:
        """Actions (..., A) in the task's units to z-scores."""
        return (actions - _tiled(self.action_mean, actions)) / _tiled(self.action_std, actions)

    def decode_actions(self, actions: Array) -> Array:
        """Z-scored actions (..., A) to the task's units."""
        return actions * _tiled(self.action_std, actions) + _tiled(self.action_mean, actions)

    def encode_proprio(self, proprio: Array) -> Array:
        """Proprio (..., p) to z-scores."""
        return (proprio - _tiled(self.proprio_mean, proprio)) / _tiled(self.proprio_std, proprio)


def fit(dataset: Dataset, scope: Scope = "train", released: Moments | None = None) -> Normalizer:
    """The normalizer of all steps of the training episodes, or in scope "file" of all that there
    are: of the whole file that a dataset was imported from, including episodes that were not.
    Of the file's proprioception only the imported part is known.

    In scope "released" data of our own collectors get the `released` moments of actions where they
    are known, and everything else is as in scope "file".
    """
    rows = dataset.split_rows("train") if scope == "train" else np.arange(len(dataset.state))
    actions = _statistics(dataset.actions[rows[dataset.acted[rows]]])
    whole = dataset.manifest.collector_parameters
    if scope != "train" and "action_mean" in whole:
        actions = _floored(np.array(whole["action_mean"]), np.array(whole["action_std"]))
    elif scope == "released" and released:
        actions = _floored(*map(np.array, released))
    return Normalizer(*actions, *_statistics(dataset.proprio[rows]))


def _statistics(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean, std = values.mean(axis=0, dtype=np.float64), values.std(axis=0, dtype=np.float64)
    return _floored(mean, std)


def _floored(mean: np.ndarray, std: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return mean.astype(np.float32), np.maximum(std, STD_FLOOR).astype(np.float32)


def _tiled(values: np.ndarray, like: Array) -> Array:
    """Repeat `values` (a,) to the last dimension of `like`, as the same kind of array."""
    width = like.shape[-1]
    assert width % max(len(values), 1) == 0, f"{width} is not a multiple of {len(values)}"
    tiled = np.tile(values, width // max(len(values), 1))
    return torch.as_tensor(tiled, device=like.device) if torch.is_tensor(like) else tiled
