"""Statistics of success rates: intervals, spread over training seeds, differences on shared pairs.

All take arrays and give fractions (0 to 1). S training seeds, P pairs, C clusters: the pairs that
were cut from one recorded episode resemble each other, so every interval and p-value counts
episodes and not pairs. `clusters` (P,) has the episode of each pair; without it every pair is an
episode of its own. A NaN is an error, never averaged.
"""

from __future__ import annotations

import functools
import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import scipy.optimize
import scipy.stats

DRAWS = 2000  # bootstrap resamples
_LEVEL = 0.95  # of every interval and test
ENDS = (1 - _LEVEL) / 2, (1 + _LEVEL) / 2  # the quantiles between which an interval lies
_Z = float(scipy.stats.norm.ppf(ENDS[1]))
_POWER = 0.8  # of the tests that pairs_needed plans
_FINEST = 1000  # differences with larger denominators (many seeds) are rounded to thousandths
_CLUSTERS, _SEEDS_A, _SEEDS_B, _SEEDS_C = 0, 1, 2, 3  # independent random streams
_DIGITS = 9  # of scores: finer differences are those of float sums
_NO_GAP = 1e-9  # stands for a gap of zero or less in a resample: its share is out of all bounds


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


class Share(NamedTuple):
    """How far a method is on the way from the floor, 0, to the ceiling, 1, on the same pairs."""

    share: float  # NaN, like its interval, where the ceiling is not clearly above the floor
    low: float
    high: float
    floor_rate: float  # on these pairs
    ceiling_rate: float
    pairs: int


def wilson(successes: float, n: float) -> Interval:
    """Wilson score interval of `successes` out of `n`; raises ValueError for impossible counts."""
    if not (n > 0 and 0 <= successes <= n):
        raise ValueError(f"wilson needs 0 <= successes <= n and n > 0, got {successes} of {n}")
    rate, shrink = successes / n, 1 + _Z * _Z / n
    centre = (rate + _Z * _Z / (2 * n)) / shrink
    half = _Z / shrink * math.sqrt(rate * (1 - rate) / n + _Z * _Z / (4 * n * n))
    low = 0.0 if successes == 0 else centre - half
    return Interval(low, 1.0 if successes == n else centre + half)


def estimate(outcome: np.ndarray, clusters: np.ndarray | None = None) -> Estimate:
    """Rate of (S, P) outcomes (means over evaluation seeds) with its interval.

    One training seed: Wilson's interval for as many independent pairs as these clusters are worth
    (`independent_pairs`). Several: the same of the pairs' means, joined with the bootstrap over
    seeds and clusters, which alone is too narrow near 0 and 1.
    """
    outcome = _checked(outcome)
    clusters = _numbered(outcome, clusters)
    seeds, pairs = outcome.shape
    per_seed = outcome.mean(axis=1)
    mean = float(per_seed.mean())
    std = float(per_seed.std(ddof=1)) if seeds > 1 else math.nan
    worth = independent_pairs(outcome.mean(axis=0), clusters)
    low, high = wilson(min(mean * worth, worth), worth)
    if seeds > 1:
        resampled = hierarchical_bootstrap(outcome, clusters)
        low, high = min(low, resampled.low), max(high, resampled.high)
    return Estimate(mean, std, low, high, seeds, pairs)


def independent_pairs(rate: np.ndarray, clusters: np.ndarray) -> float:
    """How many independent pairs give the mean of `rate` (P,) the same standard error as these
    clusters do: P over the design effect (Kish 1965), at most P.

    Near 0 and 1 the outcomes do not show how alike the pairs of a cluster are. One more cluster of
    average size is therefore imagined, with equal chances all solved or not at all; where all pairs
    agree, this leaves one independent pair per cluster.
    """
    size = len(rate) / (clusters.max() + 1)
    mean = rate.mean()
    imagined = (mean**2 + (1 - mean) ** 2) / 2
    residual = rate - mean
    between = (np.bincount(clusters, residual) ** 2).sum() + size**2 * imagined
    within = (residual**2).sum() + size * imagined
    return float(len(rate) / max(between / within, 1.0))


def hierarchical_bootstrap(outcome: np.ndarray, clusters: np.ndarray | None = None) -> Interval:
    """Percentile interval of the mean of (S, P): resamples seeds and, jointly for them, whole
    clusters.
    """
    outcome = _checked(outcome)
    draws = _resampled_means(outcome, _numbered(outcome, clusters), _SEEDS_A)
    return _percentiles(draws, 0.0)


def mean_interval(
    values: np.ndarray, least: float = -math.inf, most: float = math.inf
) -> tuple[float, float, float]:
    """Mean of independent values (P,) and Student's interval, within what is possible; NaN where
    there are none, and an interval of all that is possible around one alone.
    """
    if not len(values):
        return math.nan, math.nan, math.nan
    mean, count = float(np.mean(values)), len(values)
    if count == 1:
        return mean, least, most
    half = scipy.stats.t.ppf(ENDS[1], count - 1) * scipy.stats.sem(values)
    return mean, max(least, float(mean - half)), min(most, float(mean + half))


def paired_difference(
    a: np.ndarray, b: np.ndarray, clusters: np.ndarray | None = None
) -> Difference:
    """a - b for (P,) or (S, P) outcomes on the same pairs in the same order; S may differ.

    Bootstrap interval (clusters resampled jointly, seeds of each apart) and `paired_p_value`.
    Raises ValueError when the pairs differ in number.
    """
    a, b = _same_pairs(a, b)
    clusters, pairs = _numbered(a, clusters), a.shape[1]
    change = a.mean(axis=0) - b.mean(axis=0)
    wins, losses = int((change > 1e-9).sum()), int((change < -1e-9).sum())
    draws = _resampled_means(a, clusters, _SEEDS_A) - _resampled_means(b, clusters, _SEEDS_B)
    interval = _percentiles(draws, -1.0)
    if interval.high - interval.low < 1e-9:
        episodes = int(clusters.max()) + 1
        share = episodes / pairs
        interval = _agresti_min(share * wins, share * losses, episodes)
    p_value = paired_p_value(a, b, clusters)
    return Difference(float(change.mean()), *interval, p_value, wins, losses, pairs)


def paired_p_value(a: np.ndarray, b: np.ndarray, clusters: np.ndarray | None = None) -> float:
    """Two-sided p-value of a - b for (P,) or (S, P) outcomes on the same pairs: `sign_flip` of the
    pairs' differences; with several seeds at least that of `_seeds_t_test`, which knows their
    spread. Raises ValueError when the pairs differ in number.
    """
    a, b = _same_pairs(a, b)
    clusters = _numbered(a, clusters)
    p_value = sign_flip(a.mean(axis=0) - b.mean(axis=0), clusters)
    several = len(a) > 1 or len(b) > 1
    return max(p_value, _seeds_t_test(a, b, clusters)) if several else p_value


def share_of_way(
    method: np.ndarray,
    floor: np.ndarray,
    ceiling: np.ndarray,
    clusters: np.ndarray | None = None,
) -> Share:
    """(method - floor) / (ceiling - floor) for (P,) or (S, P) outcomes on the same pairs in the
    same order; S may differ. It may be below 0 and above 1, and so may its interval.

    Percentile interval: clusters are resampled jointly for all three, seeds of each apart. Where
    all resamples agree, it is as wide as that of the difference to the nearer end. NaN where the
    interval of ceiling - floor includes 0: the share of no distance is not defined.

    The floor is given: the best of several is chosen once, on the observed rates, and not again in
    each resample. The larger of two rates that are about equal is too high already, since it was
    chosen for being larger; choosing in each resample would add that error a second time. (Of 100
    simulated pairs with three equal floors, the interval covers the true share 93 to 94 % of the
    time, with a choice in each resample 90 to 92 %.) So a share is of the way from the control that
    the table names, and errs, if at all, to the low side.
    """
    method, floor, ceiling = (_checked(np.atleast_2d(x)) for x in (method, floor, ceiling))
    clusters, pairs = _numbered(method, clusters), method.shape[1]
    gap = paired_difference(ceiling, floor, clusters)
    known = float(floor.mean()), float(ceiling.mean()), pairs
    if gap.low <= 0:
        return Share(math.nan, math.nan, math.nan, *known)
    way = float(ceiling.mean() - floor.mean())
    share = float(method.mean() - floor.mean()) / way
    start = _resampled_means(floor, clusters, _SEEDS_C)
    ways = _resampled_means(ceiling, clusters, _SEEDS_B) - start
    shares = (_resampled_means(method, clusters, _SEEDS_A) - start) / np.maximum(ways, _NO_GAP)
    low, high = _percentiles(shares, -math.inf, math.inf)
    if high - low < 1e-9:
        end = ceiling if share > 0.5 else floor
        change = paired_difference(method, end, clusters)
        low = share + (change.low - change.difference) / way
        high = share + (change.high - change.difference) / way
    return Share(share, low, high, *known)


def normalised(
    method: np.ndarray, zero: np.ndarray, one: np.ndarray, clusters: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray] | None:
    """Scores per training seed, of which `zero` has 0 and `one` has 1, for (S, P) outcomes on the
    same pairs: those observed (S,), and those of resampled clusters (DRAWS, S), which are the same
    for all three. None where the interval of one - zero includes 0.
    """
    clusters = _numbered(_checked(method), clusters)
    if paired_difference(one, zero, clusters).low <= 0:
        return None
    start, end = (_resampled_rates(x, clusters).mean(axis=1, keepdims=True) for x in (zero, one))
    resampled = (_resampled_rates(method, clusters) - start) / np.maximum(end - start, _NO_GAP)
    observed = (method.mean(axis=1) - zero.mean()) / (one.mean() - zero.mean())
    # equal rates that were added up in another order are to be equal scores
    return observed.round(_DIGITS), resampled.round(_DIGITS)


def sign_flip(change: np.ndarray, clusters: np.ndarray | None = None) -> float:
    """Exact two-sided p-value of paired differences (P,): the share of all choices of one sign per
    cluster whose sum is as far from zero. With one outcome per pair and one pair per cluster it is
    McNemar's exact test.
    """
    change = np.asarray(change)
    parts = [Fraction(c).limit_denominator(_FINEST) for c in change.tolist()]
    unit = min(math.lcm(*(part.denominator for part in parts)), _FINEST)
    steps = np.array([round(part * unit) for part in parts], dtype=np.int64)
    sums = np.zeros(len(steps), dtype=np.int64)
    np.add.at(sums, _numbered(change[None], clusters), steps)
    chance = np.ones(1)  # of the sums -reach, ..., reach
    for step in np.abs(sums[sums != 0]).tolist():
        flipped = np.zeros(len(chance) + 2 * step)
        flipped[: len(chance)] = chance / 2
        flipped[2 * step :] += chance / 2
        chance = flipped
    reach = len(chance) // 2
    far = np.abs(np.arange(-reach, reach + 1)) >= abs(int(sums.sum()))
    return min(1.0, float(chance[far].sum()))


def holm(p_values: np.ndarray) -> np.ndarray:
    """p-values (N,) of one family of tests after Holm's correction (1979): rejecting those below a
    level errs anywhere in the family with at most that probability. In the order given; NaN is no
    test and stays.
    """
    corrected = np.array(p_values, dtype=np.float64)
    known = np.flatnonzero(~np.isnan(corrected))
    order = known[np.argsort(corrected[known], kind="stable")]
    left = len(order) - np.arange(len(order))  # hypotheses not yet rejected
    corrected[order] = np.minimum(np.maximum.accumulate(left * corrected[order]), 1.0)
    return corrected


def pairs_needed(
    rate: float,
    difference: float,
    agreement: float = 0.0,
) -> float:
    """How many independent pairs show that a method solves `difference` more than one that solves
    `rate`: the sample size of McNemar's test (Connor 1987), two-sided. `agreement` is the
    correlation of both methods' outcomes on a pair. NaN where no rate is so much higher.
    """
    better = rate + difference
    if better > 1 + 1e-9:
        return math.nan
    spread = math.sqrt(max(rate * (1 - rate) * better * (1 - better), 0.0))
    differ = rate * (1 - better) + better * (1 - rate) - 2 * agreement * spread
    differ = max(differ, difference)  # the share of pairs that one of both solves
    error = _Z * math.sqrt(differ)
    miss = scipy.stats.norm.ppf(_POWER) * math.sqrt(differ - difference**2)
    return ((error + miss) / difference) ** 2


def detectable_difference(rate: float, pairs: float, agreement: float = 0.0) -> float:
    """The smallest difference that so many independent pairs show: `pairs_needed` the other way
    round. NaN where they do not show even the difference to 1.
    """

    def missing(difference: float) -> float:
        return pairs_needed(rate, difference, agreement) - pairs

    most = 1 - rate
    return math.nan if missing(most) > 0 else float(scipy.optimize.brentq(missing, 1e-6, most))


def _seeds_t_test(a: np.ndarray, b: np.ndarray, clusters: np.ndarray) -> float:
    """Two-sided p-value of mean a - mean b for (S, P) outcomes: Welch's t over the variances that
    the seeds of a, those of b and the clusters give the difference.
    """
    change = a.mean(axis=0) - b.mean(axis=0)
    sums = np.bincount(clusters, change - change.mean())
    variances = [  # of the difference, and the degrees of freedom it is known with
        (len(sums) / max(len(sums) - 1, 1) * (sums**2).sum() / len(change) ** 2, len(sums) - 1),
        *((x.mean(axis=1).var(ddof=1) / len(x), len(x) - 1) for x in (a, b) if len(x) > 1),
    ]
    total = sum(variance for variance, _ in variances)
    if total < 1e-18:
        return 1.0 if abs(change.mean()) < 1e-9 else 0.0
    freedom = total**2 / sum(variance**2 / max(df, 1) for variance, df in variances)
    return float(2 * scipy.stats.t.sf(abs(change.mean()) / math.sqrt(total), freedom))


def _numbered(outcome: np.ndarray, clusters: np.ndarray | None) -> np.ndarray:
    """Clusters of (S, P) outcomes, renumbered 0 to C - 1."""
    pairs = outcome.shape[1]
    if clusters is None:
        return np.arange(pairs)
    numbers = np.unique(np.asarray(clusters), return_inverse=True)[1]
    if len(numbers) != pairs:
        raise ValueError(f"expected the cluster of each of {pairs} pairs, got {len(numbers)}")
    return numbers


def _agresti_min(wins: float, losses: float, pairs: int) -> Interval:
    """Paired difference with a width even when all pairs agree (Agresti and Min 2005)."""
    n, up, down = pairs + 2, wins + 0.5, losses + 0.5
    centre = (up - down) / n
    half = _Z * math.sqrt(up + down - (up - down) ** 2 / n) / n
    return Interval(max(centre - half, -1.0), min(centre + half, 1.0))


def _resampled_means(outcome: np.ndarray, clusters: np.ndarray, seed_stream: int) -> np.ndarray:
    """(DRAWS,) means under resampled seeds and clusters; every call draws the same clusters.

    Seed effects are widened by sqrt(S / (S - 1)): resampling S seeds understates their spread.
    """
    seeds = len(outcome)
    if seeds > 1:
        effect = outcome.mean(axis=1, keepdims=True) - outcome.mean()
        outcome = outcome + effect * (math.sqrt(seeds / (seeds - 1)) - 1)
    of_seeds = _resampled_rates(outcome, clusters)
    return of_seeds[:, 0] if seeds == 1 else (of_seeds * _weights(seeds, seed_stream)).sum(axis=1)


def _resampled_rates(outcome: np.ndarray, clusters: np.ndarray) -> np.ndarray:
    """(DRAWS, S) means of each seed under resampled clusters; every call draws the same ones."""
    sizes = np.bincount(clusters)
    sums = np.stack([np.bincount(clusters, row) for row in outcome], axis=1)  # (C, S)
    drawn = _weights(len(sizes), _CLUSTERS)
    return (drawn @ sums) / (drawn @ sizes)[:, None]


@functools.lru_cache(maxsize=64)
def _weights(n: int, stream: int) -> np.ndarray:
    """(DRAWS, n): how often each of n items is drawn, as a fraction."""
    rng = np.random.default_rng([20240, stream, n])
    return rng.multinomial(n, np.full(n, 1 / n), size=DRAWS) / n


def _percentiles(draws: np.ndarray, least: float, most: float = 1.0) -> Interval:
    low, high = np.clip(np.quantile(draws, ENDS), least, most)
    return Interval(float(low), float(high))


def _same_pairs(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as (S, P); raises ValueError when the pairs differ in number."""
    a, b = (_checked(np.atleast_2d(np.asarray(x))) for x in (a, b))
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"a difference needs the same pairs, got {a.shape[1]} and {b.shape[1]}")
    return a, b


def _checked(outcome: np.ndarray) -> np.ndarray:
    outcome = np.asarray(outcome, dtype=np.float64)
    if outcome.ndim != 2 or outcome.size == 0:
        raise ValueError(f"expected (seeds, pairs), not empty, got {outcome.shape}")
    if np.isnan(outcome).any():
        raise ValueError("outcomes contain NaN: a missing episode must be dropped by name first")
    return outcome
