"""Samplers on objectives whose plateau is known: what each finds, and in how many trials."""

import itertools
import math
import statistics

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from harness.report import objective, stats
from harness.report.objective import Judgement
from harness.sweep import samplers

KEY = "weight"
LOW, HIGH, RESOLUTION = 1e-4, 10.0, 1.5
SPACE = {KEY: FloatDistribution(LOW, HIGH, log=True)}


def hill(low, high, top=0.9, per_decade=0.4):
    """Success that is `top` from low to high and falls on both sides, on a logarithmic axis."""

    def success(value):
        off = max(math.log10(low / value), math.log10(value / high), 0.0)
        return max(0.0, top - per_decade * off)

    return success


def measured(rate, pairs=200):
    """A rate as so many pairs show it, without noise."""
    solved = round(rate * pairs)
    low, high = stats.wilson(solved, pairs) if solved else (0.0, 0.0)
    return Judgement(solved / pairs, pairs, "", low, high)


def new_study(name, seed=0, storage=None):
    sampler = samplers.create(name, seed, SPACE, RESOLUTION)
    return optuna.create_study(
        direction="maximize", sampler=sampler, storage=storage, study_name="s", load_if_exists=True
    )


def tell(study, suggestion, success):
    judgement = measured(success(suggestion.params[KEY]))
    samplers.record(suggestion, judgement)
    study.tell(suggestion, judgement.value)


def bisected(success, study=None, most=100):
    """The study of a bisection that has come to its end, one value at a time."""
    study = study or new_study("bisection")
    while study.sampler.open_values(study) and len(study.trials) < most:
        tell(study, study.ask(SPACE), success)
    return study


def tried(study):
    return [trial.params[KEY] for trial in study.trials]


def needed(values, success):
    """How many values until the best of them lies on the plateau of a fine grid."""
    fine = samplers.grid(SPACE, 500, 0)
    best = max((measured(success(v[KEY])) for v in fine), key=lambda one: one.value)
    rates = [measured(success(value)) for value in values]
    for n in range(1, len(rates) + 1):
        if objective.on_plateau([best, max(rates[:n], key=lambda one: one.value)])[1]:
            return n
    return math.inf


BOUND = 3 + 4 * math.ceil(math.log2(math.log(HIGH / LOW) / 2 / math.log(RESOLUTION)))


@pytest.mark.parametrize(
    ("low", "high"),
    [(0.01, 0.1), (0.03, 0.04), (0.4, 0.8), (2e-4, 5e-4), (1e-4, 1e-3), (1.0, 10.0), (5.0, 10.0)],
)
def test_bisection_brackets_the_plateau_in_logarithmic_time(low, high):
    success = hill(low, high)
    study = bisected(success)
    assert len(study.trials) <= study.sampler.most_trials == BOUND
    assert len(set(tried(study))) == len(study.trials)
    bracket = study.sampler.bracket(study)
    threshold = measured(max(t.value for t in study.trials)).low  # a value's high must reach it
    ends = [v[KEY] for v in samplers.grid(SPACE, 3000, 0)]
    ends = sorted(v for v in ends if measured(success(v)).high >= threshold)
    for outside, inside, end in zip(
        bracket.outside, bracket.plateau, (ends[0], ends[-1]), strict=True
    ):
        if math.isnan(outside):  # the plateau reaches the end of the range
            assert inside in (LOW, HIGH) and end == pytest.approx(inside, rel=1e-3)
        else:
            assert max(outside / inside, inside / outside) <= RESOLUTION
            assert min(outside, inside) * 0.99 <= end <= max(outside, inside) * 1.01


def test_trials_grow_with_the_logarithm_of_the_range():
    """A range of twice as many decades takes one halving more: four values at most."""
    most = [samplers.Bisection(KEY, 1.0, 10.0**d, 1.5).most_trials for d in (2, 4, 8, 16)]
    assert [b - a for a, b in itertools.pairwise(most)] == [4, 4, 4]


def test_both_sides_are_bisected_at_once():
    success, study = hill(0.01, 0.1), new_study("bisection")
    rounds = 0
    while together := study.sampler.open_values(study):
        running = []
        for expected in together:
            assert expected in study.sampler.open_values(study)
            running.append(study.ask(SPACE))
        assert not study.sampler.open_values(study)  # nothing more until one of them ends
        for suggestion in running:
            tell(study, suggestion, success)
        rounds += 1
    assert len(study.trials) <= BOUND and rounds <= 1 + (BOUND - 3) / 4
    alone = bisected(success)
    assert study.sampler.bracket(study) == alone.sampler.bracket(alone)


@pytest.fixture(autouse=True)
def quiet():
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def test_an_interrupted_bisection_goes_on_from_its_study(tmp_path):
    storage, success = f"sqlite:///{tmp_path}/s.db", hill(0.01, 0.1)
    bisected(success, new_study("bisection", storage=storage), most=5)
    resumed = bisected(success, new_study("bisection", storage=storage))
    assert tried(resumed) == tried(bisected(success))


def test_a_value_that_failed_and_is_tried_again_counts_by_its_last_time():
    success, study = hill(0.01, 0.1), new_study("bisection")
    for value in (HIGH, math.sqrt(LOW * HIGH), LOW):
        study.enqueue_trial({KEY: value})
    tell(study, study.ask(SPACE), success)
    failed = study.ask(SPACE)
    samplers.record(failed, Judgement(0.0, 0, "failed"))
    study.tell(failed, 0.0)
    study.enqueue_trial(failed.params)
    tell(study, study.ask(SPACE), success)
    assert study.sampler.open_values(study) == []  # the middle waits: it decides where to go
    tell(study, study.ask(SPACE), success)
    resumed, alone = bisected(success, study), bisected(success)
    assert resumed.sampler.bracket(resumed) == alone.sampler.bracket(alone)


def test_where_nothing_is_solved_the_widest_gap_is_halved():
    success = hill(0.3, 0.6, per_decade=3.0)  # zero at both ends and in the middle
    assert [success(v) for v in (LOW, HIGH, math.sqrt(LOW * HIGH))] == [0, 0, 0]
    study = bisected(success)
    low, high = study.sampler.bracket(study).plateau
    assert 0.3 / RESOLUTION < low <= high < 0.6 * RESOLUTION
    nothing = bisected(lambda value: 0.0)
    assert "no value solved anything" in nothing.sampler.bracket(nothing).words()
    values = sorted(tried(nothing))
    assert max(b / a for a, b in itertools.pairwise(values)) <= RESOLUTION


def test_a_plateau_over_the_whole_range_reaches_both_ends():
    study = bisected(lambda value: 0.8)
    assert len(study.trials) == 3 + (BOUND - 3) / 4  # beside the best value, which is an end
    words = study.sampler.bracket(study).words()
    assert words == "the plateau is the whole range, 0.0001 to 10"
    nan = math.nan
    one = samplers.Bracket((0.01, 0.1), (0.03, 0.03)).words()
    assert one == (
        "the plateau is 0.03 alone: its lower end lies between 0.01 and 0.03, "
        "its upper end lies between 0.03 and 0.1"
    )
    low = samplers.Bracket((nan, 0.1), (0.001, 0.03)).words()
    assert low == (
        "the plateau holds from 0.001 to 0.03: its lower end is that of the range, "
        "its upper end lies between 0.03 and 0.1"
    )
    assert samplers.Bracket((nan, nan), (nan, nan)).words() == "no value solved anything"


def test_values_off_the_plateau_between_its_ends_are_counted():
    judged = {0.01: measured(0.9), 0.02: measured(0.1), 0.05: measured(0.9), 0.1: measured(0.9)}
    found = samplers.bracket(judged, 0.001, 1.0)
    assert found.plateau == (0.01, 0.1) and (found.between, found.off) == (2, 1)
    words = found.words()
    assert "off it between its ends: 1 of the 2 values tried there" in words
    assert words.count("was not seen: no value beyond was tried") == 2  # the range is wider
    del judged[0.02]
    whole = samplers.bracket(judged, 0.01, 0.1)
    assert whole.words() == "the plateau is the whole range, 0.01 to 0.1"


def test_a_hill_between_two_equal_values_is_found():
    success = hill(0.2, 2.0, per_decade=0.6)
    assert measured(success(math.sqrt(LOW * HIGH))).high > measured(success(HIGH)).low
    study = bisected(success)
    low, high = study.sampler.bracket(study).plateau
    assert 0.2 / RESOLUTION < low < 0.5 and 1.0 < high < 2.0 * RESOLUTION


@pytest.mark.parametrize("seed", range(5))
def test_with_noise_bisection_ends_and_its_best_value_is_a_good_one(seed):
    rng, success = np.random.default_rng(seed), hill(0.01, 0.1)

    def noisy(value):
        return rng.binomial(50, success(value)) / 50

    study = bisected(noisy)
    assert len(study.trials) <= 1.5 * BOUND
    assert success(study.best_params[KEY]) >= 0.9 - 0.1


def test_a_narrow_plateau_takes_chance_longer_and_a_coarse_grid_misses_it():
    """Of five decades the plateau is a sixth; a grid of eight values has steps of 0.7 decades."""
    steep = hill(0.003, 0.004, per_decade=0.8)
    own = needed(tried(bisected(steep)), steep)
    runs = []
    for seed in range(9):
        study = new_study("random", seed)
        for _ in range(25):
            tell(study, study.ask(SPACE), steep)
        runs.append(needed(tried(study), steep))
    assert own == 8 < statistics.median(runs)
    gentle = hill(0.03, 0.04)
    points = [values[KEY] for values in samplers.grid(SPACE, 8, 0)]
    assert needed(points, gentle) == math.inf
    assert needed(tried(bisected(gentle)), gentle) == 3  # the middle of the range lies on it


# -- grids


def test_a_grid_has_equal_distances_on_the_axis_of_its_range():
    space = {
        "a": FloatDistribution(0.001, 1.0, log=True),
        "b": FloatDistribution(0.0, 1.0),
        "c": IntDistribution(1, 3),
        "d": CategoricalDistribution(["x", "y"]),
    }
    axes = {key: sorted({v[key] for v in samplers.grid(space, 4, 0)}) for key in space}
    assert axes["a"] == pytest.approx([0.001, 0.01, 0.1, 1.0])
    assert axes["b"] == pytest.approx([0, 1 / 3, 2 / 3, 1]) and axes["c"] == [1, 2, 3]
    assert axes["d"] == ["x", "y"]
    points = samplers.grid(space, 4, 0)
    assert len(points) == 4 * 4 * 3 * 2 == len({tuple(p.values()) for p in points})
    assert points == samplers.grid(space, 4, 0) != samplers.grid(space, 4, 1)
    assert all(0.001 <= p["a"] <= 1.0 for p in points)
