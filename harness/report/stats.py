"""Statistics of success rates: intervals, spread over training seeds, differences on shared pairs.

All take arrays and give fractions (0 to 1). S training seeds, P pairs. A NaN is an error, never
averaged.
"""

from __future__ import annotations

import functools
import math
import statistics
from typing import NamedTuple

import numpy as np

DRAWS = 2000  # bootstrap resamples
_PAIRS, _SEEDS_A, _SEEDS_B = 0, 1, 2  # independent random streams


class Interval(NamedTuple):
    """Both ends of a confidence interval."""

    low: float
    high: float


class Estimate(NamedTuple):
    """A success rate with its spread (std, ddof 1) over training seeds."""

    mean: float
    std: float  # NaN with one training seed: unknown
    low: float
    high: float
    seeds: int
    pairs: int


class Difference(NamedTuple):
    """a minus b on the same pairs."""

    difference: float
    low: float
    high: float
    p_value: float
    wins: int  # pairs on which a scores higher
    losses: int
    pairs: int


def wilson(successes: float, n: int, level: float = 0.95) -> Interval:
    """Wilson score interval of `successes` out of `n`; raises ValueError for impossible counts."""
    if not (n > 0 and 0 <= successes <= n):
        raise ValueError(f"wilson needs 0 <= successes <= n and n > 0, got {successes} of {n}")
    z = _z(level)
    rate, shrink = successes / n, 1 + z * z / n
    centre = (rate + z * z / (2 * n)) / shrink
    half = z / shrink * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else centre - half
    return Interval(low, 1.0 if successes == n else centre + half)


def mean_over_evaluations(outcome: np.ndarray) -> np.ndarray:
    """(S, E, P) outcomes to (S, P): the mean over evaluation seeds, before anything else."""
    return _checked(outcome, 3).mean(axis=1)


def estimate(outcome: np.ndarray, level: float = 0.95) -> Estimate:
    """Rate of (S, P) outcomes (means over evaluation seeds).

    One training seed: Wilson over its pairs. Several: bootstrap over seeds and pairs, or Wilson
    where all resamples agree.
    """
    outcome = _checked(outcome, 2)
    seeds, pairs = outcome.shape
    per_seed = outcome.mean(axis=1)
    mean = float(per_seed.mean())
    std = float(per_seed.std(ddof=1)) if seeds > 1 else math.nan
    interval = hierarchical_bootstrap(outcome, level) if seeds > 1 else None
    if interval is None or interval.high - interval.low < 1e-9:
        interval = wilson(min(outcome.mean(axis=0).sum(), pairs), pairs, level)
    return Estimate(mean, std, *interval, seeds, pairs)


def hierarchical_bootstrap(outcome: np.ndarray, level: float = 0.95) -> Interval:
    """Percentile interval of the mean of (S, P): resamples seeds and, jointly for them, pairs."""
    draws = _resampled_means(_checked(outcome, 2), _SEEDS_A)
    return _percentiles(draws, level, 0.0)


def paired_difference(a: np.ndarray, b: np.ndarray, level: float = 0.95) -> Difference:
    """a - b for (P,) or (S, P) outcomes on the same pairs in the same order; S may differ.

    Bootstrap interval (pairs resampled jointly, seeds of each apart). p-value: exact McNemar for
    one outcome per pair, the tail of the same bootstrap for rates (several seeds).
    Raises ValueError when the pairs differ in number.
    """
    a, b = (_checked(np.atleast_2d(np.asarray(x)), 2) for x in (a, b))
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"paired_difference needs the same pairs, got {a.shape[1]} and {b.shape[1]}"
        )
    rate_a, rate_b = a.mean(axis=0), b.mean(axis=0)
    wins, losses = int((rate_a - rate_b > 1e-9).sum()), int((rate_b - rate_a > 1e-9).sum())
    draws = _resampled_means(a, _SEEDS_A) - _resampled_means(b, _SEEDS_B)
    interval = _percentiles(draws, level, -1.0)
    if interval.high - interval.low < 1e-9:
        interval = _agresti_min(wins, losses, a.shape[1], level)
    change = rate_a - rate_b
    binary = np.isin(change, (-1.0, 0.0, 1.0)).all()
    p_value = mcnemar(wins, losses) if binary else _tail(draws)
    return Difference(float(change.mean()), *interval, p_value, wins, losses, a.shape[1])


def mcnemar(wins: int, losses: int) -> float:
    """Exact two-sided McNemar p-value (binomial, one half) from the counts of discordant pairs."""
    n, fewer = wins + losses, min(wins, losses)
    return min(1.0, 2 * sum(math.comb(n, k) for k in range(fewer + 1)) / 2**n)


def _tail(draws: np.ndarray) -> float:
    """Two-sided p-value of resampled differences: twice the share beyond zero."""
    beyond = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return min(1.0, 2 * (1 + beyond) / (1 + len(draws)))


def _agresti_min(wins: int, losses: int, pairs: int, level: float) -> Interval:
    """Paired difference with a width even when all pairs agree (Agresti and Min 2005)."""
    n, up, down = pairs + 2, wins + 0.5, losses + 0.5
    centre = (up - down) / n
    half = _z(level) * math.sqrt(up + down - (up - down) ** 2 / n) / n
    return Interval(max(centre - half, -1.0), min(centre + half, 1.0))


def _resampled_means(outcome: np.ndarray, seed_stream: int) -> np.ndarray:
    """(DRAWS,) means under resampled seeds and pairs; every call draws the same pairs.

    Seed effects are widened by sqrt(S / (S - 1)): resampling S seeds understates their spread.
    """
    seeds, pairs = outcome.shape
    if seeds > 1:
        effect = outcome.mean(axis=1, keepdims=True) - outcome.mean()
        outcome = outcome + effect * (math.sqrt(seeds / (seeds - 1)) - 1)
    of_seeds = _weights(pairs, _PAIRS) @ outcome.T  # (DRAWS, S)
    return of_seeds[:, 0] if seeds == 1 else (of_seeds * _weights(seeds, seed_stream)).sum(axis=1)


@functools.lru_cache(maxsize=64)
def _weights(n: int, stream: int) -> np.ndarray:
    """(DRAWS, n): how often each of n items is drawn, as a fraction."""
    rng = np.random.default_rng([20240, stream, n])
    return rng.multinomial(n, np.full(n, 1 / n), size=DRAWS) / n


def _percentiles(draws: np.ndarray, level: float, least: float) -> Interval:
    tail = (1 - level) / 2
    low, high = np.clip(np.quantile(draws, [tail, 1 - tail]), least, 1.0)
    return Interval(float(low), float(high))


def _checked(outcome: np.ndarray, dimensions: int) -> np.ndarray:
    outcome = np.asarray(outcome, dtype=np.float64)
    if outcome.ndim != dimensions or outcome.size == 0:
        raise ValueError(f"expected {dimensions} non-empty dimensions, got {outcome.shape}")
    if np.isnan(outcome).any():
        raise ValueError("outcomes contain NaN: a missing episode must be dropped by name first")
    return outcome


def _z(level: float) -> float:
    return statistics.NormalDist().inv_cdf((1 + level) / 2)
