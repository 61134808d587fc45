"""Reads training windows: T frames one block apart, with the actions between and after them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from harness.contracts.data import Batch, Goals, GoalSampling, Obs, Window
from harness.data import goals
from harness.data.episodes import Dataset, DatasetError
from harness.data.normalize import Normalizer

_READ = 4096  # frames read at a time when a whole dataset is copied to a device


class Windows:
    """All windows of a split; a window fits where start + frames * block <= episode length, without
    a last row in which no action was taken.

    With `goal_sampling`, sampled windows have goals, so an episode must also have a frame one block
    after the window's first. With `features` (R, P, C) for every step of the dataset
    (data/features.py), frames have tokens instead of pixels. Raises DatasetError where no episode
    of the split is long enough.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: str,
        frames: int,
        block: int,
        normalizer: Normalizer,
        goal_sampling: GoalSampling | None = None,
        features: np.ndarray | None = None,
    ):
        episodes = dataset.split(split)
        needed = frames * block if goal_sampling is None else max(frames * block, block + 1)
        last = dataset.first_row[episodes] + dataset.lengths[episodes] - 1
        acted = dataset.lengths[episodes] - ~dataset.acted[last]
        counts = np.maximum(acted - needed + 1, 0)
        if counts.sum() == 0:
            longest = dataset.lengths[episodes].max(initial=0)
            raise DatasetError(
                f"{dataset.folder}: a window needs an episode of {needed} steps, and the "
                f"longest of {split!r} has {longest}; collect longer episodes (data.max_steps)"
            )
        self.dataset, self.frames, self.block = dataset, frames, block
        self.goal_sampling = goal_sampling
        self._split_rows = dataset.split_rows(split)
        self._features = features
        self._resident: Tensor | None = None
        self.longest_steps = int(dataset.lengths[episodes].max())
        self._episode = np.repeat(episodes, counts)  # (W,)
        self._start = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        self._actions = normalizer.encode_actions(dataset.actions)  # (R, a)
        self._proprio = normalizer.encode_proprio(dataset.proprio)  # (R, p)

    def __len__(self) -> int:
        return len(self._start)

    def sample(self, rng: np.random.Generator, batch_size: int) -> Window:
        """Draw windows uniformly, with goals where the method samples goals. They are sorted by
        row, so that the dataset is read forwards.
        """
        indices = np.sort(rng.integers(len(self), size=batch_size))
        if self.goal_sampling is None:
            return self.take(indices)
        return self._window(indices, self._goal_rows(rng, indices, self.goal_sampling))

    def reside(self, device: torch.device, room: int) -> bool:
        """Copy all frames of the dataset to `device` where they take at most `room` bytes; returns
        whether they do. Windows then have their frames on the device.
        """
        count, one = len(self._actions), self._read(np.array([0]))[0]
        if count * one.nbytes > room:
            return False
        resident = torch.empty(count, *one.shape, dtype=one.dtype, device=device)
        for first in range(0, count, _READ):
            rows = np.arange(first, min(first + _READ, count))
            resident[first : first + _READ] = self._read(rows)
        self._resident = resident
        return True

    @property
    def resident_bytes(self) -> int:
        """The bytes of frames that lie on a device."""
        return 0 if self._resident is None else self._resident.nbytes

    def take(self, indices: np.ndarray) -> Window:
        """The windows `indices` (B,) out of 0..len - 1, without goals."""
        return self._window(indices, [])

    def _goal_rows(
        self, rng: np.random.Generator, indices: np.ndarray, sampling: GoalSampling
    ) -> list[np.ndarray]:
        """Draw the rows (B,) of the policy's goals and, where there is a value, of its goals."""
        episode, start = self._episode[indices], self._start[indices]
        first = self.dataset.first_row[episode] + start
        blocks_left = (self.dataset.lengths[episode] - 1 - start) // self.block
        where = (first, blocks_left, self.block, self._split_rows)
        configs = [config for config in (sampling.policy, sampling.value) if config is not None]
        return [goals.draw(rng, config, sampling.discount, *where) for config in configs]

    def _window(self, indices: np.ndarray, goal_rows: list[np.ndarray]) -> Window:
        episode, start = self._episode[indices], self._start[indices]
        first = self.dataset.first_row[episode] + start
        rows = first[:, None] + np.arange(self.frames) * self.block  # (B, T)
        steps = first[:, None] + np.arange(self.frames * self.block)  # (B, T * block)
        actions = self._actions[steps].reshape(*rows.shape, -1)  # (B, T, A)
        obs, *goal_obs = self._observe(rows, *(chosen[:, None] for chosen in goal_rows))
        batch = Batch(obs, torch.from_numpy(actions), _goals(goal_obs, goal_rows, first))
        return Window(batch, torch.from_numpy(self.dataset.state[rows]), episode, start)

    def _observe(self, *parts: np.ndarray) -> list[Obs]:
        """Read the frames at the rows (B, T) of each part; a row in several parts is read once."""
        flat = np.concatenate([part.reshape(-1) for part in parts])
        if len(parts) == 1:
            frames = self._read(flat)
        else:
            ordered, position = np.unique(flat, return_inverse=True)
            frames = self._read(ordered)[torch.from_numpy(position)]
        return [
            self._obs(part, own.unflatten(0, part.shape))
            for part, own in zip(parts, frames.split([part.size for part in parts]), strict=True)
        ]

    def _read(self, rows: np.ndarray) -> Tensor:
        """Read the pictures (M, 3, height, width) of the rows (M,), or their features (M, P, C)."""
        if self._resident is not None:
            return self._resident[torch.from_numpy(rows)]
        if self._features is not None:
            return torch.from_numpy(self._features[rows])
        return torch.from_numpy(self.dataset.read_pixels(rows))

    def _obs(self, rows: np.ndarray, frames: Tensor) -> Obs:
        proprio = torch.from_numpy(self._proprio[rows])
        return Obs(frames, proprio) if self._features is None else Obs(None, proprio, frames)


def _goals(obs: list[Obs], rows: list[np.ndarray], first: np.ndarray) -> Goals | None:
    """Goals from the observations at the goal rows; first (B,) are the rows of the windows' first
    frames.
    """
    if len(obs) < 2:
        return Goals(obs[0]) if obs else None
    policy, value = obs
    return Goals(policy, value, torch.from_numpy(rows[1] == first))
