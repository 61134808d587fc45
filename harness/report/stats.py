"""Statistics of success rates: intervals, spread over training seeds, differences on shared pairs.

All take arrays and give fractions (0 to 1). S training seeds, P pairs. A NaN is an error, never
averaged.
"""

from __future__ import annotations

import functools
import math
import statistics
from fractions import Fraction
from typing import NamedTuple

import numpy as np

DRAWS = 2000  # bootstrap resamples
_FINEST = 1000  # differences with larger denominators (many seeds) are rounded to thousandths
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


def estimate(outcome: np.ndarray, level: float = 0.95) -> Estimate:
    """Rate of (S, P) outcomes (means over evaluation seeds).

    One training seed: Wilson over its pairs. Several: the same of the pairs' means, joined with the
    bootstrap over seeds and pairs, which alone is too narrow near 0 and 1.
    """
    outcome = _checked(outcome)
    seeds, pairs = outcome.shape
    per_seed = outcome.mean(axis=1)
    mean = float(per_seed.mean())
    std = float(per_seed.std(ddof=1)) if seeds > 1 else math.nan
    low, high = wilson(min(outcome.mean(axis=0).sum(), pairs), pairs, level)
    if seeds > 1:
        resampled = hierarchical_bootstrap(outcome, level)
        low, high = min(low, resampled.low), max(high, resampled.high)
    return Estimate(mean, std, low, high, seeds, pairs)


def hierarchical_bootstrap(outcome: np.ndarray, level: float = 0.95) -> Interval:
    """Percentile interval of the mean of (S, P): resamples seeds and, jointly for them, pairs."""
    draws = _resampled_means(_checked(outcome), _SEEDS_A)
    return _percentiles(draws, level, 0.0)


def paired_difference(a: np.ndarray, b: np.ndarray, level: float = 0.95) -> Difference:
    """a - b for (P,) or (S, P) outcomes on the same pairs in the same order; S may differ.

    Bootstrap interval (pairs resampled jointly, seeds of each apart). p-value: sign_flip of the
    pairs' differences; with several seeds at least the tail of that bootstrap, which knows their
    spread. Raises ValueError when the pairs differ in number.
    """
    a, b = (_checked(np.atleast_2d(np.asarray(x))) for x in (a, b))
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
    p_value = sign_flip(change)
    if len(a) > 1 or len(b) > 1:
        p_value = max(p_value, _tail(draws))
    return Difference(float(change.mean()), *interval, p_value, wins, losses, a.shape[1])


def sign_flip(change: np.ndarray) -> float:
    """Exact two-sided p-value of paired differences (P,): the share of all choices of their signs
    whose sum is as far from zero. With one outcome per pair it is McNemar's exact test.
    """
    parts = [Fraction(c).limit_denominator(_FINEST) for c in np.asarray(change).tolist()]
    unit = min(math.lcm(*(part.denominator for part in parts)), _FINEST)
    steps = [round(part * unit) for part in parts if part]
    chance = np.ones(1)  # of the sums -reach, ..., reach
    for step in map(abs, steps):
        flipped = np.zeros(len(chance) + 2 * step)
        flipped[: len(chance)] = chance / 2
        flipped[2 * step :] += chance / 2
        chance = flipped
    reach = len(chance) // 2
    far = np.abs(np.arange(-reach, reach + 1)) >= abs(sum(steps))
    return min(1.0, float(chance[far].sum()))


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


def _checked(outcome: np.ndarray) -> np.ndarray:
    outcome = np.asarray(outcome, dtype=np.float64)
    if outcome.ndim != 2 or outcome.size == 0:
        raise ValueError(f"expected (seeds, pairs), not empty, got {outcome.shape}")
    if np.isnan(outcome).any():
        raise ValueError("outcomes contain NaN: a missing episode must be dropped by name first")
    return outcome


def _z(level: float) -> float:
    return statistics.NormalDist().inv_cdf((1 + level) / 2)
