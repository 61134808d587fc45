"""Draws hindsight goals for goal-conditioned learning: recorded frames that serve as the goals of
training windows.
"""

from __future__ import annotations

import numpy as np

from harness.contracts.data import GoalConfig


def draw(
    rng: np.random.Generator,
    config: GoalConfig,
    discount: float,
    first: np.ndarray,
    blocks_left: np.ndarray,
    block: int,
    split: np.ndarray,
) -> np.ndarray:
    """Draw one goal for each window; returns their rows (B,).

    `first` (B,) are the rows of the windows' first frames, and `blocks_left` (B,), at least 1, the
    numbers of blocks from there to the end of the episode. `split` are all rows that may be goals.
    After OGBench (impls/utils/datasets.py, GCDataset.sample_goals); its steps are blocks here.
    """
    assert (blocks_left >= 1).all(), blocks_left.min()
    future = first + block * _blocks_ahead(rng, config, discount, blocks_left)
    anywhere = split[rng.integers(len(split), size=len(first))]
    kind = rng.random(len(first))
    return np.select(
        [kind < config.current, kind < config.current + config.future], [first, future], anywhere
    )


def _blocks_ahead(
    rng: np.random.Generator, config: GoalConfig, discount: float, blocks_left: np.ndarray
) -> np.ndarray:
    """How many blocks ahead each goal is, (B,) in 1..blocks_left."""
    if config.distances == "uniform":
        return rng.integers(1, blocks_left + 1)
    return np.minimum(rng.geometric(1 - discount, size=len(blocks_left)), blocks_left)
