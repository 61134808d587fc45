"""Training windows: T frames one block apart, with the actions between and after them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from harness.contracts.data import Batch, Goals, GoalSampling, Obs, Window
from harness.data import goals
from harness.data.episodes import Dataset, DatasetError
from harness.data.normalize import Normalizer

_READ = 4096  # frames at a time, into a device's memory


class Windows:
    """Every window of a split: start + frames * block <= episode length.

    With `goal_sampling` every sampled window has goals, so there must be a frame one block after
    its first. With `features` (R, P, C) of every step of the dataset (data/features.py) frames
    have tokens and no pixels. Raises DatasetError where no episode of the split is long enough.
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
        counts = np.maximum(dataset.lengths[episodes] - needed + 1, 0)
        if counts.sum() == 0:
            longest = dataset.lengths[episodes].max(initial=0)
            raise DatasetError(
                f"{dataset.folder}: a window needs an episode of {needed} steps, and the "
                f"longest of {split!r} has {longest}; collect longer episodes or ask for less"
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
        """Windows drawn uniformly, in the order of their rows so that reads go forward, with goals
        where they are asked for.
        """
        indices = np.sort(rng.integers(len(self), size=batch_size))
        if self.goal_sampling is None:
            return self.take(indices)
        return self._window(indices, self._goal_rows(rng, indices, self.goal_sampling))

    def reside(self, device: torch.device, room: int) -> bool:
        """Keep every frame of the dataset on `device` where they take at most `room` bytes; says
        whether they do. Windows then have their frames there.
        """
        count, one = len(self._actions), self._read(np.array([0]))[0]
        if count * one.nbytes > room:
            return False
        kept = torch.empty(count, *one.shape, dtype=one.dtype, device=device)
        for first in range(0, count, _READ):
            rows = np.arange(first, min(first + _READ, count))
            kept[first : first + _READ] = self._read(rows)
        self._resident = kept
        return True

    def take(self, indices: np.ndarray) -> Window:
        """The windows `indices` (B,) out of 0..len - 1, without goals."""
        return self._window(indices, [])

    def _goal_rows(
        self, rng: np.random.Generator, indices: np.ndarray, wanted: GoalSampling
    ) -> list[np.ndarray]:
        """Rows (B,) of the policy's goals, and of the value's."""
        episode, start = self._episode[indices], self._start[indices]
        first = self.dataset.first_row[episode] + start
        blocks_left = (self.dataset.lengths[episode] - 1 - start) // self.block
        place = (first, blocks_left, self.block, self._split_rows)
        configs = [config for config in (wanted.policy, wanted.value) if config is not None]
        return [goals.draw(rng, config, wanted.discount, *place) for config in configs]

    def _window(self, indices: np.ndarray, goal_rows: list[np.ndarray]) -> Window:
        episode, start = self._episode[indices], self._start[indices]
        first = self.dataset.first_row[episode] + start
        rows = first[:, None] + np.arange(self.frames) * self.block  # (B, T)
        steps = first[:, None] + np.arange(self.frames * self.block)  # (B, T * block)
        actions = self._actions[steps].reshape(*rows.shape, -1)  # (B, T, A)
        obs, *found = self._observe(rows, *(chosen[:, None] for chosen in goal_rows))
        batch = Batch(obs, torch.from_numpy(actions), _goals(found, goal_rows, first))
        return Window(batch, torch.from_numpy(self.dataset.state[rows]), episode, start)

    def _observe(self, *parts: np.ndarray) -> list[Obs]:
        """The frames at the rows (B, T) of each part; with several none is read twice."""
        flat = np.concatenate([part.reshape(-1) for part in parts])
        if len(parts) == 1:
            frames = self._read(flat)
        else:
            ordered, where = np.unique(flat, return_inverse=True)
            frames = self._read(ordered)[torch.from_numpy(where)]
        return [
            self._obs(part, found.unflatten(0, part.shape))
            for part, found in zip(parts, frames.split([part.size for part in parts]), strict=True)
        ]

    def _read(self, rows: np.ndarray) -> Tensor:
        """Pictures (M, 3, height, width) of the rows (M,), or their features (M, P, C)."""
        if self._resident is not None:
            return self._resident[torch.from_numpy(rows)]
        kept = self._features
        return torch.from_numpy(self.dataset.read_pixels(rows) if kept is None else kept[rows])

    def _obs(self, rows: np.ndarray, frames: Tensor) -> Obs:
        proprio = torch.from_numpy(self._proprio[rows])
        return Obs(frames, proprio) if self._features is None else Obs(None, proprio, frames)


def _goals(obs: list[Obs], rows: list[np.ndarray], first: np.ndarray) -> Goals | None:
    """What was observed at the policy's goals, and at the value's; first (B,) are the windows'."""
    if len(obs) < 2:
        return Goals(*obs) if obs else None
    policy, value = obs
    return Goals(policy, value, torch.from_numpy(rows[1] == first))
