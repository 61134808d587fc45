"""Averages over tasks are rliable's, on the same arrays; with uneven seeds tasks weigh alike.

tests/golden/rliable/make.py computed the expected values with rliable 1.2.0.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.special

from harness.report import aggregates, stats

GOLDEN = json.loads(
    (Path(__file__).parents[1] / "golden" / "rliable" / "expected.json").read_text()
)
CASES = {
    name: {key: np.array(value) for key, value in case.items()}
    for name, case in GOLDEN["cases"].items()
}
DRAWS = 20_000


def by_task(matrix):
    """rliable's (runs, tasks) as one array a task."""
    return list(matrix.T)


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def test_the_golden_values_are_of_rliable():
    assert GOLDEN["versions"]["rliable"] == "1.2.0"


def test_iqm_mean_and_probability_are_rliable_s(case):
    x, y = by_task(case["x"]), by_task(case["y"])
    assert aggregates.iqm(x) == pytest.approx(case["iqm"][0], abs=1e-12)
    assert aggregates.mean(x) == pytest.approx(case["mean"][0], abs=1e-12)
    expected = case["probability_of_improvement"][0]
    assert aggregates.probability_of_improvement(x, y) == pytest.approx(expected, abs=1e-12)


def test_the_profile_is_rliable_s(case):
    taus = np.array(GOLDEN["taus"])
    found = aggregates.performance_profile(by_task(case["x"]), taus)
    assert found == pytest.approx(case["profile"], abs=1e-12)


def test_intervals_are_rliable_s(case):
    """Two bootstraps of 20,000 and 2,000 draws agree to the noise of their percentiles."""
    x = aggregates.stratified_bootstrap(by_task(case["x"]), draws=DRAWS)
    y = aggregates.stratified_bootstrap(by_task(case["y"]), stream=1, draws=DRAWS)
    taus = np.array(GOLDEN["taus"])
    for name, statistic, given in (
        ("iqm", aggregates.iqm, (x,)),
        ("mean", aggregates.mean, (x,)),
        ("probability_of_improvement", aggregates.probability_of_improvement, (x, y)),
    ):
        low, high = case[name][1:]
        found = aggregates.interval(statistic, *given)
        assert found == pytest.approx([low, high], abs=0.15 * (high - low)), name
    profile = aggregates.interval(lambda s: aggregates.performance_profile(s, taus), x)
    runs = case["x"].size
    assert profile == pytest.approx(case["profile_ends"], abs=1.01 / runs)


def test_tasks_of_uneven_seeds_weigh_alike():
    many, one = np.array([0.1, 0.2, 0.3]), np.array([0.9])
    assert aggregates.mean([many, one]) == pytest.approx((0.2 + 0.9) / 2)
    # repeated: .1 .2 .3 .9 .9 .9, of which the middle four stay
    assert aggregates.iqm([many, one]) == pytest.approx((0.2 + 0.3 + 0.9 + 0.9) / 4)
    profile = aggregates.performance_profile([many, one], np.array([0.2]))
    assert profile == pytest.approx([(1 / 3 + 1) / 2])
    assert aggregates.probability_of_improvement(
        [many, one], [np.array([0.2]), np.array([0.9, 0.5])]
    ) == pytest.approx(((1 + 0.5) / 3 + (1 + 0.5) / 2) / 2)


def test_a_method_is_as_good_as_itself():
    scores = [np.array([0.1, 0.5, 0.5]), np.array([0.2, 0.2])]
    assert aggregates.probability_of_improvement(scores, scores) == pytest.approx(0.5)


def test_resampled_pairs_keep_their_draw():
    """Every row of a (draws, S) array is resampled out of itself."""
    rows = np.arange(50.0)[:, None] + np.array([0.0, 0.1, 0.2])
    (found,) = aggregates.stratified_bootstrap([rows], draws=50)
    assert (np.floor(found) == np.arange(50)[:, None]).all()
    assert len(np.unique(np.round(found % 1, 1))) == 3
    (alone,) = aggregates.stratified_bootstrap([rows[:, :1]], draws=50)
    assert (alone == rows[:, :1]).all()  # one seed: the pairs alone vary


def test_methods_are_resampled_apart():
    scores = [np.arange(8.0)]
    one, same, other = (aggregates.stratified_bootstrap(scores, i)[0] for i in (0, 0, 1))
    assert (one == same).all() and not (one == other).all()


def test_normalised_scores_are_0_for_random_and_1_for_replay():
    pairs = np.arange(100)
    random, replay = (pairs < 20)[None].astype(float), np.ones((1, 100))
    method = np.stack([pairs < 60, pairs < 40]).astype(float)
    observed, resampled = stats.normalised(method, random, replay)
    assert observed == pytest.approx([0.5, 0.25])
    assert resampled.shape == (stats.DRAWS, 2)
    assert resampled.mean(axis=0) == pytest.approx([0.5, 0.25], abs=0.01)
    assert stats.normalised(random, random, replay)[1] == pytest.approx(0)  # jointly resampled
    assert stats.normalised(replay, random, replay)[1] == pytest.approx(1)
    # the ratio's standard error of 40 of 80 pairs that random does not solve
    error = np.sqrt(0.25 / 80)
    assert resampled[:, 0].std() == pytest.approx(error, rel=0.1)


def test_there_is_no_score_where_random_is_as_good_as_replay():
    random, replay = np.ones((1, 50)), np.ones((1, 50))
    random[0, 0] = 0
    assert stats.normalised(random, random, replay) is None


@pytest.mark.parametrize(("seeds", "seed_std"), [(1, 0.0), (5, 0.3)])
def test_intervals_of_pairs_and_seeds_cover_the_true_mean(seeds, seed_std):
    """Three tasks of 20 groups of pairs that are easy or hard together, and seeds that differ where
    there are several: the interval of one is that of these weights. Resampling the seeds alone has
    no width with one of them and covers too rarely with five.
    """
    rng = np.random.default_rng(12)
    groups, covered, seeds_alone = np.repeat(np.arange(20), 4), [], []
    for _ in range(200):
        scores = []
        for rate in (0.3, 0.5, 0.7):
            logit = scipy.special.logit(rng.beta(rate, 1 - rate, 20))[groups]
            chance = scipy.special.expit(logit + seed_std * rng.normal(size=(seeds, 1)))
            solved = rng.random((seeds, 80)) < chance  # 0.5 on average, as 0.3 and 0.7 mirror
            scores.append(stats.normalised(solved, np.zeros((1, 80)), np.ones((1, 80)), groups))
        observed, resampled = zip(*scores, strict=True)
        for given, found in ((resampled, covered), (observed, seeds_alone)):
            low, high = aggregates.interval(aggregates.mean, aggregates.stratified_bootstrap(given))
            found.append(low <= 0.5 <= high)
    assert 0.9 <= np.mean(covered) <= 0.99
    assert np.mean(seeds_alone) < 0.8
