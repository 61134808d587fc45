"""Training windows: T frames one block apart, with the actions between and after them."""

from __future__ import annotations

import numpy as np
import torch

from harness.data.episodes import Dataset, DatasetError
from harness.data.normalize import Normalizer
from harness.interfaces import Batch, Obs, Window


class Windows:
    """Every window of a split: start + frames * block <= episode length.

    With `features` (R, P, C) of every step of the dataset (data/features.py) a window has tokens
    and no pixels. Raises DatasetError where no episode of the split is long enough.
    """

    def __init__(
        self,
        dataset: Dataset,
        split: str,
        frames: int,
        block: int,
        normalizer: Normalizer,
        features: np.ndarray | None = None,
    ):
        episodes = dataset.split(split)
        counts = np.maximum(dataset.lengths[episodes] - frames * block + 1, 0)
        if counts.sum() == 0:
            longest = dataset.lengths[episodes].max(initial=0)
            raise DatasetError(
                f"{dataset.folder}: a window needs an episode of {frames * block} steps, and the "
                f"longest of {split!r} has {longest}; collect longer episodes or ask for less"
            )
        self.dataset, self.frames, self.block = dataset, frames, block
        self._features = features
        self.longest_steps = int(dataset.lengths[episodes].max())
        self._episode = np.repeat(episodes, counts)  # (W,)
        self._start = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        self._actions = normalizer.encode_actions(dataset.actions)  # (R, a)
        self._proprio = normalizer.encode_proprio(dataset.proprio)  # (R, p)

    def __len__(self) -> int:
        return len(self._start)

    def sample(self, rng: np.random.Generator, batch_size: int) -> Window:
        """Windows drawn uniformly, in the order of their rows so that reads go forward."""
        return self.take(np.sort(rng.integers(len(self), size=batch_size)))

    def take(self, indices: np.ndarray) -> Window:
        """The windows `indices` (B,) out of 0..len - 1."""
        episode, start = self._episode[indices], self._start[indices]
        first = self.dataset.first_row[episode] + start
        rows = first[:, None] + np.arange(self.frames) * self.block  # (B, T)
        steps = first[:, None] + np.arange(self.frames * self.block)  # (B, T * block)
        actions = self._actions[steps].reshape(*rows.shape, -1)  # (B, T, A)
        batch = Batch(self._seen(rows), torch.from_numpy(actions))
        return Window(batch, torch.from_numpy(self.dataset.state[rows]), episode, start)

    def _seen(self, rows: np.ndarray) -> Obs:
        """What a model sees at the steps `rows` (B, T)."""
        proprio = torch.from_numpy(self._proprio[rows])
        if self._features is not None:
            return Obs(None, proprio, torch.from_numpy(self._features[rows]))
        pixels = self.dataset.read_pixels(rows.reshape(-1))
        pixels = pixels.reshape(*rows.shape, *pixels.shape[1:])  # (B, T, 3, height, width)
        return Obs(torch.from_numpy(pixels), proprio)
