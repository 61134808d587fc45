"""Averages over tasks as rliable has them: interquartile mean, mean, probability of improvement and
performance profile (Agarwal et al. 2021), tested against rliable 1.2.0.

`scores` has one array a task, with the scores of its training seeds on the last axis: (S,) as they
were observed, or (draws, S) of a bootstrap; functions keep the axes before the last. Tasks may have
different numbers of seeds, which rliable does not allow, and weigh alike all the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import scipy.stats

from harness.report import stats

Scores = Sequence[np.ndarray]


def mean(scores: Scores) -> np.ndarray:
    """The mean over tasks of the mean over seeds."""
    return np.mean([task.mean(axis=-1) for task in scores], axis=0)


def iqm(scores: Scores) -> np.ndarray:
    """The interquartile mean: that of the middle half of all runs of all tasks. A task with fewer
    seeds has each of them repeated, so that it has as many runs as the others.
    """
    runs = math.lcm(*(task.shape[-1] for task in scores))
    repeated = [np.repeat(task, runs // task.shape[-1], axis=-1) for task in scores]
    return scipy.stats.trim_mean(np.concatenate(repeated, axis=-1), 0.25, axis=-1)


def probability_of_improvement(x: Scores, y: Scores) -> np.ndarray:
    """The mean over tasks of the chance that a run of x scores higher than one of y on the same
    task, where equal scores count one half: Mann-Whitney's U over the number of couples.
    """
    chances = []
    for ours, theirs in zip(x, y, strict=True):
        gap = ours[..., :, None] - theirs[..., None, :]
        chances.append((gap > 0).mean(axis=(-2, -1)) + (gap == 0).mean(axis=(-2, -1)) / 2)
    return np.mean(chances, axis=0)


def performance_profile(scores: Scores, taus: np.ndarray) -> np.ndarray:
    """(..., taus): the share of runs that score more than each of `taus`, tasks weighing alike."""
    shares = [(task[..., :, None] > taus).mean(axis=-2) for task in scores]
    return np.mean(shares, axis=0)


def stratified_bootstrap(
    scores: Scores, stream: int = 0, draws: int = stats.DRAWS
) -> list[np.ndarray]:
    """Resample the seeds within each task: (draws, S) a task. Of scores (draws, S) whose pairs are
    resampled already, each draw takes from its own row. `stream` tells independent methods apart.
    """
    rng = np.random.default_rng([20240, stream])
    resampled = []
    for task in scores:
        rows = np.broadcast_to(task, (draws, task.shape[-1]))
        taken = rng.integers(rows.shape[-1], size=rows.shape)
        resampled.append(np.take_along_axis(rows, taken, axis=-1))
    return resampled


def interval(statistic: Callable[..., np.ndarray], *resampled: Scores) -> np.ndarray:
    """(2, ...): the 95 % percentile interval of a statistic of bootstrapped scores."""
    return np.quantile(statistic(*resampled), stats.ENDS, axis=0)
