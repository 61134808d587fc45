"""Known answers and coverage of the statistics."""

from __future__ import annotations

import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st
from scipy.stats import binomtest

from harness.report import stats


def test_wilson_of_45_in_50():
    assert stats.wilson(45, 50) == pytest.approx((0.786, 0.957), abs=5e-4)


def test_wilson_at_the_ends_stays_inside_and_keeps_a_width():
    assert stats.wilson(0, 50) == pytest.approx((0.0, 0.0714), abs=5e-4)
    assert stats.wilson(50, 50) == pytest.approx((0.9286, 1.0), abs=5e-4)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (6, 5), (-1, 5), (math.nan, 5)])
def test_wilson_refuses_impossible_counts(successes, n):
    with pytest.raises(ValueError, match="wilson needs"):
        stats.wilson(successes, n)


def test_the_std_is_of_the_seeds_means():
    found = stats.estimate([[0.5, 0.5, 0.5], [1.0, 0.0, 0.0]])
    assert found.mean == pytest.approx((0.5 + 1 / 3) / 2)
    assert found.std == pytest.approx((0.5 - 1 / 3) / math.sqrt(2))  # ddof 1
    assert (found.seeds, found.pairs) == (2, 3)


def test_one_seed_has_wilson_and_an_unknown_std():
    found = stats.estimate([[1] * 45 + [0] * 5])
    assert (found.low, found.high) == pytest.approx(stats.wilson(45, 50))
    assert math.isnan(found.std)


def test_agreeing_seeds_keep_a_width():
    found = stats.estimate(np.ones((3, 50)))
    assert (found.low, found.high) == pytest.approx(stats.wilson(50, 50))


def test_a_worse_result_has_no_tighter_interval():
    perfect, nearly = np.ones((3, 100)), np.ones((3, 100))
    nearly[0, 0] = 0
    assert stats.estimate(nearly).low < stats.estimate(perfect).low


def test_nan_is_refused():
    outcome = np.ones((2, 5))
    outcome[1, 2] = math.nan
    with pytest.raises(ValueError, match="NaN"):
        stats.estimate(outcome)
    with pytest.raises(ValueError, match="NaN"):
        stats.paired_difference(outcome, np.ones((2, 5)))


def changes(wins, losses, ties=3):
    return np.array([1.0] * wins + [-1.0] * losses + [0.0] * ties)


def test_sign_flip_of_a_hand_computed_table():
    # 10 pairs won, 2 lost: 2 * (C(12,0) + C(12,1) + C(12,2)) / 2^12 = 2 * 79 / 4096
    assert stats.sign_flip(changes(10, 2)) == pytest.approx(158 / 4096)
    assert stats.sign_flip(changes(0, 0)) == 1.0
    assert stats.sign_flip(changes(4, 4)) == 1.0
    # of the sums of +-1 +-1/3 +-1/3 two of eight are as far out as 5/3
    assert stats.sign_flip(np.array([1, 1 / 3, 1 / 3])) == pytest.approx(2 / 8)


@pytest.mark.parametrize(("wins", "losses"), [(3, 9), (1, 0), (60, 41), (0, 12)])
def test_with_one_outcome_per_pair_it_is_mcnemars_exact_test(wins, losses):
    expected = binomtest(wins, wins + losses, 0.5).pvalue
    assert stats.sign_flip(changes(wins, losses)) == pytest.approx(expected)


def test_agreeing_seeds_are_no_more_evidence_than_one():
    a, b = np.array([1] * 7 + [0] * 43), np.zeros(50)
    one = stats.paired_difference(a, b)
    three = stats.paired_difference(np.stack([a] * 3), b)
    almost = np.stack([a] * 3)
    almost[0, 0] = 0
    assert one.p_value == three.p_value == 2 / 2**7
    assert stats.paired_difference(almost, b).p_value >= one.p_value


def test_seeds_that_disagree_count_in_the_p_value():
    """One of two seeds is lucky on all pairs: every pair says the same, the seeds do not."""
    a = np.stack([np.ones(50), np.zeros(50)])
    assert stats.sign_flip(a.mean(0)) < 1e-6
    assert stats.paired_difference(a, np.zeros(50)).p_value > 0.05


def test_paired_difference_of_a_hand_computed_table():
    both, only_a, only_b, neither = 30, 10, 2, 8
    a = np.array([1] * both + [1] * only_a + [0] * only_b + [0] * neither)
    b = np.array([1] * both + [0] * only_a + [1] * only_b + [0] * neither)
    found = stats.paired_difference(a, b)
    assert found.difference == pytest.approx(8 / 50)
    assert (found.wins, found.losses, found.pairs) == (10, 2, 50)
    assert found.p_value == pytest.approx(158 / 4096)
    spread = math.sqrt((10 + 2 - 8**2 / 50) / 50**2)  # of a difference of paired proportions
    assert found.low == pytest.approx(8 / 50 - 1.96 * spread, abs=0.02)
    assert found.high == pytest.approx(8 / 50 + 1.96 * spread, abs=0.02)


def test_a_method_against_itself_has_no_difference_but_a_width():
    a = np.array([1, 0] * 25)
    found = stats.paired_difference(a, a)
    assert found.difference == 0
    assert found.low < 0 < found.high
    assert found.p_value == 1.0


def test_paired_difference_refuses_other_pairs():
    with pytest.raises(ValueError, match="same pairs"):
        stats.paired_difference(np.ones(5), np.ones(6))


def _simulated(rng, seeds, pairs, seed_std, shift=0.0):
    """Outcomes with seed and pair effects on the logit; the pair effects are returned too."""
    pair = 2 * rng.normal(size=(1, pairs))
    return pair, _outcomes(rng, pair, seeds, seed_std, shift)


def _outcomes(rng, pair, seeds, seed_std, shift):
    logit = 1 + shift + seed_std * rng.normal(size=(seeds, 1)) + pair
    return (rng.random((seeds, pair.shape[1])) < 1 / (1 + np.exp(-logit))).astype(float)


def _true_rate(seed_std, shift=0.0):
    x, w = np.polynomial.hermite_e.hermegauss(80)
    logit = 1 + shift + math.hypot(2, seed_std) * x
    return float((w / (1 + np.exp(-logit))).sum() / w.sum())


def _coverage(intervals, truth):
    return np.mean([low <= truth <= high for low, high in intervals])


@pytest.mark.parametrize(("seeds", "seed_std", "least"), [(3, 0.4, 0.92), (10, 0.4, 0.92)])
def test_the_bootstrap_covers_the_true_rate(seeds, seed_std, least):
    rng = np.random.default_rng(0)
    runs = [_simulated(rng, seeds, 100, seed_std)[1] for _ in range(300)]
    found = [stats.hierarchical_bootstrap(run) for run in runs]
    assert least <= _coverage(found, _true_rate(seed_std)) <= 0.995


@pytest.mark.parametrize("rate", [0.95, 0.97])
def test_intervals_of_agreeing_seeds_cover_a_rate_near_one(rate):
    rng = np.random.default_rng(3)
    runs = [np.repeat(rng.random((1, 100)) < rate, 3, axis=0) for _ in range(300)]
    for run in runs:
        run[0, rng.integers(100)] ^= True  # else there is nothing to resample
    found = [(e.low, e.high) for e in map(stats.estimate, runs)]
    assert _coverage(found, rate) >= 0.92


def test_the_paired_bootstrap_covers_the_true_difference():
    rng, found = np.random.default_rng(1), []
    for _ in range(300):
        pair, a = _simulated(rng, 5, 100, 0.3, shift=0.5)
        b = _outcomes(rng, pair, 1, 0.0, 0.0)
        difference = stats.paired_difference(a, b)
        found.append((difference.low, difference.high))
    assert 0.9 <= _coverage(found, _true_rate(0.3, 0.5) - _true_rate(0.0)) <= 0.995


def _sizes(rng, clusters, pairs):
    """(P,) the cluster of each pair; every cluster has at least one."""
    return np.repeat(
        np.arange(clusters), 1 + rng.multinomial(pairs - clusters, [1 / clusters] * clusters)
    )


# clusters and pairs as on Cube, Push-T's episodes, Push-T's families
@pytest.mark.parametrize("clusters", [29, 60, 20])
@pytest.mark.parametrize("rate", [0.5, 0.8, 0.95])
@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9])
def test_intervals_of_clustered_pairs_cover_the_true_rate(clusters, rate, correlation):
    """Each cluster has a rate of its own, beta distributed; Wilson's over the pairs covers the true
    rate 55 to 90 % of the time where the correlation within clusters is not zero.
    """
    rng, found = np.random.default_rng(4), []
    spread = (1 - correlation) / max(correlation, 1e-9)
    for _ in range(400):
        cluster = _sizes(rng, clusters, 100)
        own = rng.beta(rate * spread, (1 - rate) * spread, clusters)
        outcome = rng.random((1, 100)) < own[cluster]
        estimate = stats.estimate(outcome, cluster)
        found.append((estimate.low, estimate.high))
    assert _coverage(found, rate) >= 0.92


def test_independent_pairs_are_worth_their_number_and_equal_ones_one_a_cluster():
    cluster = np.repeat(np.arange(25), 4)
    rng = np.random.default_rng(5)
    alone, alike = (rng.random(100) < 0.5).astype(float), np.repeat(rng.random(25) < 0.5, 4)
    worth = stats.independent_pairs
    assert worth(alone, np.arange(100)) == pytest.approx(100)
    assert worth(alike.astype(float), cluster) == pytest.approx(25)
    assert worth(np.ones(100), cluster) == pytest.approx(25)  # nothing shows that they differ
    assert worth(np.ones(100), np.zeros(100, int)) == pytest.approx(1)


def test_names_and_order_of_clusters_do_not_matter():
    rng = np.random.default_rng(6)
    outcome, other = (rng.random((2, 100)) < 0.5).astype(float)
    cluster, order = _sizes(rng, 29, 100), rng.permutation(100)
    named = 1000 - 7 * cluster
    one = stats.paired_difference(outcome, other, cluster)
    two = stats.paired_difference(outcome[order], other[order], cluster[order])
    assert one == pytest.approx(two)
    assert one.p_value == pytest.approx(stats.paired_difference(outcome, other, named).p_value)
    assert stats.estimate(outcome[None], named)[3] == stats.estimate(outcome[None], cluster)[3]


def test_sign_flip_of_clusters_by_every_choice_of_signs():
    """Four clusters with summed differences 2, 1, -1 and 0: 2 of the 16 choices reach 4."""
    change = np.array([1, 1, 1, -1, 1, -1, 0])
    cluster = np.array([0, 0, 1, 2, 3, 3, 3])
    sums = np.array([2, 1, -1, 0])
    signs = np.array(np.meshgrid(*[[-1, 1]] * 4)).reshape(4, -1).T
    expected = (np.abs(signs @ sums) >= abs(sums.sum())).mean()
    assert stats.sign_flip(change, cluster) == pytest.approx(expected)
    assert stats.sign_flip(np.ones(50), np.zeros(50, int)) == 1.0  # one episode says nothing
    assert stats.sign_flip(np.ones(50), np.repeat(np.arange(10), 5)) == pytest.approx(2 / 2**10)


@pytest.mark.parametrize("seeds", [1, 3])
def test_p_values_of_clustered_pairs_reject_as_often_as_they_say(seeds):
    """Two equal methods, each lucky or unlucky on whole episodes; one p-value per pair would reject
    a third of the time.
    """
    rng, rejected = np.random.default_rng(7), []
    for _ in range(300):
        cluster = _sizes(rng, 20, 100)
        luck = 3 * rng.normal(size=(2, 1, 20))[..., cluster]
        rate = 1 / (1 + np.exp(-luck))
        a, b = rng.random((seeds, 100)) < rate[0], rng.random((1, 100)) < rate[1]
        rejected.append(stats.paired_difference(a, b, cluster).p_value < 0.05)
    assert np.mean(rejected) <= 0.08


def test_a_large_difference_of_three_seeds_survives_a_correction_over_a_hundred_tests():
    rng = np.random.default_rng(8)
    a, b = rng.random((3, 100)) < 0.9, np.zeros((1, 100))
    assert stats.paired_difference(a, b).p_value * 100 < 1e-3


def test_holm_of_known_values():
    # R: p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([0.6, 0.7]) == pytest.approx([1.0, 1.0])
    assert stats.holm([0.02]) == pytest.approx([0.02])
    assert stats.holm([0.03, math.nan, 0.01]) == pytest.approx([0.03, math.nan, 0.02], nan_ok=True)
    assert len(stats.holm([])) == 0


def test_pairing_narrows_the_interval():
    rng = np.random.default_rng(2)
    _, a = _simulated(rng, 1, 200, 0.0)
    b = np.where(rng.random(a.shape) < 0.05, 1 - a, a)
    paired = stats.paired_difference(a, b)
    shuffled = stats.paired_difference(a, rng.permutation(b[0]))
    assert paired.high - paired.low < 0.6 * (shuffled.high - shuffled.low)


# -- the share of the way from floor to ceiling


def first(successes, pairs=100):
    """(P,) the first pairs are solved."""
    return (np.arange(pairs) < successes).astype(float)


def test_a_share_of_known_value_has_the_interval_of_a_ratio_estimate():
    """Taylor's standard error of a ratio of sums (Cochran 1977, 6.4): of the residuals
    (method - floor) - share (ceiling - floor), per pair or summed per cluster.
    """
    rng = np.random.default_rng(9)
    method, floor, ceiling = first(60), rng.permutation(first(20)), rng.permutation(first(80))
    for clusters in (np.arange(100), np.arange(100) // 2):
        found = stats.share_of_way(method, floor, ceiling, clusters)
        assert found.share == pytest.approx((60 - 20) / (80 - 20))
        assert (found.floor_rate, found.ceiling_rate, found.pairs) == (0.2, 0.8, 100)
        residual = np.bincount(clusters, (method - floor) - 2 / 3 * (ceiling - floor))
        error = math.sqrt((residual**2).sum()) / 60
        expected = (2 / 3 - 1.96 * error, 2 / 3 + 1.96 * error)
        assert (found.low, found.high) == pytest.approx(expected, abs=0.04)


@pytest.mark.parametrize("ceiling", [15, 20, 22])
def test_there_is_no_share_of_a_way_that_may_have_no_length(ceiling):
    found = stats.share_of_way(first(21), first(20), first(ceiling))
    assert all(math.isnan(value) for value in found[:3])
    assert (found.floor_rate, found.ceiling_rate) == (0.2, ceiling / 100)


def test_a_method_that_solves_what_an_end_solves_is_there_with_a_width():
    for successes, share in ((80, 1.0), (20, 0.0)):
        found = stats.share_of_way(first(successes), first(20), first(80))
        same = stats.paired_difference(first(successes), first(successes))
        assert found.share == pytest.approx(share)
        assert (found.low, found.high) == pytest.approx(
            (share + same.low / 0.6, share + same.high / 0.6)
        )
        assert found.low < share < found.high


def test_seeds_that_disagree_widen_a_share():
    alike = np.stack([first(50)] * 3)
    apart = np.stack([first(40), first(50), first(60)])
    one, two = (stats.share_of_way(x, first(20), first(80)) for x in (alike, apart))
    assert one.share == pytest.approx(two.share) == pytest.approx(0.5)
    assert two.high - two.low > 1.2 * (one.high - one.low)


SEEDS_AND_PAIRS = st.tuples(st.integers(1, 3), st.integers(20, 60), st.integers(0, 2**32 - 1))


@hypothesis.settings(max_examples=60, deadline=None, derandomize=True)
@hypothesis.given(SEEDS_AND_PAIRS)
def test_of_all_ways_the_floor_is_at_0_the_ceiling_at_1_and_names_do_not_matter(drawn):
    seeds, pairs, seed = drawn
    rng = np.random.default_rng(seed)
    floor, ceiling = rng.random((1, pairs)) < 0.1, rng.random((seeds, pairs)) < 0.9
    method, clusters = rng.random((seeds, pairs)) < 0.5, rng.integers(0, pairs // 2, pairs)
    hypothesis.assume(not math.isnan(stats.share_of_way(floor, floor, ceiling, clusters).share))
    assert stats.share_of_way(floor, floor, ceiling, clusters).share == pytest.approx(0)
    assert stats.share_of_way(ceiling, floor, ceiling, clusters).share == pytest.approx(1)
    found = stats.share_of_way(method, floor, ceiling, clusters)
    assert found.low <= found.high
    way = found.ceiling_rate - found.floor_rate
    assert found.floor_rate + found.share * way == pytest.approx(method.mean())
    order = rng.permutation(pairs)
    parts = (part[:, order] for part in (method, floor, ceiling))
    assert stats.share_of_way(*parts, clusters[order]) == pytest.approx(found)


@pytest.mark.parametrize("floors", [(0.3, 0.1), (0.3, 0.3, 0.3)])
def test_the_interval_covers_the_true_share_with_the_best_of_several_floors(floors):
    rng, found = np.random.default_rng(10), []
    for _ in range(300):
        method, ceiling = rng.random((1, 100)) < 0.5, rng.random((1, 100)) < 0.8
        best = max((rng.random((1, 100)) < rate for rate in floors), key=np.mean)
        share = stats.share_of_way(method, best, ceiling)
        found.append((share.low, share.high))
    assert 0.91 <= _coverage(found, (0.5 - 0.3) / (0.8 - 0.3)) <= 0.99


def test_the_interval_of_a_mean_is_student_s():
    """t of four degrees of freedom is 2.776; std of 1..5 is 1.5811."""
    mean, low, high = stats.mean_interval(np.array([1.0, 2, 3, 4, 5]))
    half = 2.7764 * 1.5811 / math.sqrt(5)
    assert (mean, low, high) == pytest.approx((3, 3 - half, 3 + half), abs=1e-3)
    assert stats.mean_interval(np.array([0.9, 1.0]), least=-1, most=1)[2] == 1
    assert stats.mean_interval(np.array([0.5]), least=-1, most=1) == (0.5, -1, 1)
    assert all(math.isnan(value) for value in stats.mean_interval(np.array([])))


# -- how many pairs a difference needs


def test_pairs_needed_of_a_hand_computed_case():
    """10 points more than 40 %, where outcomes differ on 30 % of the pairs: Connor (1987)."""
    agreement = (0.5 - 0.3) / (2 * math.sqrt(0.4 * 0.6 * 0.5 * 0.5))
    found = stats.pairs_needed(0.4, 0.1, agreement)
    expected = ((1.959964 * math.sqrt(0.3) + 0.841621 * math.sqrt(0.3 - 0.01)) / 0.1) ** 2
    assert found == pytest.approx(expected, rel=1e-5)
    assert expected == pytest.approx(232.9, abs=0.5)


def test_without_agreement_a_pair_counts_as_one_of_each_of_two_samples():
    """R: power.prop.test(p1 = 0.5, p2 = 0.6, power = 0.8) has n = 387.3 in each group."""
    assert stats.pairs_needed(0.5, 0.1) == pytest.approx(387.3, abs=4)


def test_agreeing_outcomes_need_fewer_pairs():
    counts = [stats.pairs_needed(0.5, 0.1, agreement) for agreement in (0, 0.3, 0.6, 0.9)]
    assert counts == sorted(counts, reverse=True) and counts[-1] < counts[0] / 2


def test_nobody_is_better_than_all_pairs():
    assert math.isnan(stats.pairs_needed(0.9, 0.2))
    assert stats.pairs_needed(0.9, 0.1) > 0
    assert math.isnan(stats.detectable_difference(0.9, 20))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_detectable_difference_needs_as_many_pairs(rate):
    found = stats.detectable_difference(rate, 150, 0.2)
    assert stats.pairs_needed(rate, found, 0.2) == pytest.approx(150)


@pytest.mark.parametrize(
    ("rate", "difference", "agreement"), [(0.5, 0.2, 0.0), (0.5, 0.1, 0.5), (0.1, 0.1, 0.2)]
)
def test_four_of_five_simulated_tests_find_the_difference(rate, difference, agreement):
    """By the exact test, which is a little more careful than the formula's."""
    rng, better = np.random.default_rng(11), rate + difference
    pairs = math.ceil(stats.pairs_needed(rate, difference, agreement))
    both = rate * better + agreement * math.sqrt(rate * (1 - rate) * better * (1 - better))
    chances = [better - both, rate - both, 1 - better - rate + 2 * both]  # won, lost, equal
    found = [
        stats.sign_flip(rng.choice([1.0, -1.0, 0.0], pairs, p=chances)) < 0.05 for _ in range(600)
    ]
    assert 0.74 <= np.mean(found) <= 0.85
