"""Known answers for surprise: planted jumps, identical clips, and tests of known samples."""

import dataclasses
import math

import numpy as np
import pytest
import tiny
import torch

from harness import trial, zoo
from harness.contracts.method import WorldModel
from harness.data import clips, normalize
from harness.evaluate import surprise
from harness.experiment.run_folders import RunFolders
from harness.records import metric_names, run_tables

CPU = torch.device("cpu")
COUNT, FRAMES, EVENT = 20, 13, 6
NOBODY = normalize.Normalizer(
    *(np.zeros(2, np.float32), np.ones(2, np.float32), np.zeros(2, np.float32)),
    np.ones(2, np.float32),
)


class Walker(WorldModel):
    """Knows that a position, which it reads from proprio, moves by the block of actions."""

    history = 3

    def encode(self, obs):
        return obs.proprio

    def predict(self, z, actions):
        return z + actions

    def rollout(self, z, past, plan):
        return z[:, -1:] + plan.cumsum(1)

    def rollout_bytes(self, blocks):
        return 1, 1

    def loss(self, batch):
        return {}


def walks(jump):
    """Clips of positions that move by their actions and some noise; one kind of event, in which
    they also move by `jump` at its frame.
    """
    rng = np.random.default_rng(0)
    actions = rng.normal(size=(COUNT, FRAMES - 1, 2)).astype(np.float32)
    noise = 0.1 * rng.normal(size=(COUNT, FRAMES, 2))
    path = np.concatenate([np.zeros((COUNT, 1, 2)), actions.cumsum(1)], axis=1) + noise
    pixels = np.zeros((COUNT, FRAMES, 3, 2, 2), np.uint8)
    after = path[:, EVENT:] + jump
    return clips.Clips(
        *(("jumped",), EVENT, np.arange(COUNT) // 2, actions, pixels, path, path),
        *(pixels[None, :, EVENT:], after[None], after[None]),
    )


def measured(found):
    """(kind, source, measure) -> index -> value of the metric rows."""
    out = {}
    for row in found:
        name = metric_names.SurpriseName.of(row.name)
        if name:
            assert name.text() == row.name
            out.setdefault(tuple(name), {})[row.index] = row.value
    return out


def of(jump):
    return measured(surprise.measure("k", Walker(), walks(jump), NOBODY, CPU))


def test_identical_clips_surprise_alike():
    found = of(0.0)
    for source in metric_names.SURPRISE_SOURCES:
        known = {"auc": 0.5, "gap": 0.0, "t_test": 1.0, "wilcoxon": 1.0, "effect": 0.0}
        for measure, value in known.items():
            assert found["jumped", source, measure][0] == value, (source, measure)
    curve = found["jumped", "model", "mean"]
    assert curve == found[metric_names.UNDISTURBED, "model", "mean"]
    assert list(curve) == list(range(1 - EVENT, FRAMES - EVENT))


def test_planted_jumps_are_all_found_and_at_their_frame_alone():
    found = of(np.array([5.0, 0.0]))
    assert found["jumped", "model", "auc"][0] == 1.0
    assert found["jumped", "model", "detected"][0] == 1.0
    assert found["jumped", "model", "t_test"][0] < 1e-6
    assert found["jumped", "model", "wilcoxon"][0] == pytest.approx(2 / 2**10)  # 10 families
    assert found["jumped", "model", "rank_effect"][0] == 1.0
    assert found["jumped", "model", "gap"][0] > 100
    curve, plain = (found[kind, "model", "mean"] for kind in ("jumped", metric_names.UNDISTURBED))
    assert [i for i in curve if abs(curve[i] - plain[i]) > 1e-3] == [0]
    assert found["jumped", "stay", "auc"][0] > 0.9  # farther than any block leads
    assert found["jumped", "pixels", "auc"][0] == 0.5  # the pictures are all black


def test_normal_frames_have_mean_0_and_std_1():
    found = of(0.0)
    curve = found[metric_names.UNDISTURBED, "model", "mean"]
    normal = [value for index, value in curve.items() if index + EVENT >= surprise.FIRST]
    assert len(normal) == FRAMES - surprise.FIRST
    assert np.mean(normal) == pytest.approx(0, abs=1e-9)


def test_surprise_is_the_error_of_the_last_history_frames():
    class Sum(Walker):
        """Predicts the sum of the frames that it reads, and of nothing else."""

        def predict(self, z, actions):
            assert z.shape[1] == actions.shape[1] <= self.history
            return z.cumsum(1)

    drawn = walks(1.0)
    found = surprise.surprise(Sum(), drawn, NOBODY, CPU)
    for f in (1, 2, 5, 12):
        guess = drawn.proprio[:, max(0, f - 3) : f].sum(1)
        expected = ((guess - drawn.proprio[:, f]) ** 2).mean(1)
        assert found["model"][0, :, f - 1] == pytest.approx(expected, rel=1e-4)
    seen = np.concatenate([drawn.proprio[:, :EVENT], drawn.event_proprio[0]], axis=1)
    expected = ((seen[:, 4:7].sum(1) - seen[:, 7]) ** 2).mean(1)
    assert found["model"][1, :, 6] == pytest.approx(expected, rel=1e-4)
    still = ((drawn.proprio[:, 4] - drawn.proprio[:, 3]) ** 2).mean(1)
    assert found["stay"][0, :, 3] == pytest.approx(still, rel=1e-4)


def test_pixels_are_the_difference_of_consecutive_pictures():
    drawn = walks(0.0)
    bright = drawn.event_pixels.copy()
    bright[0, :, 0] = 51  # a fifth of white, at the event's frame alone
    found = surprise.surprise(Walker(), drawn._replace(event_pixels=bright), NOBODY, CPU)
    expected = np.zeros(FRAMES - 1)
    expected[EVENT - 1] = expected[EVENT] = 0.2**2
    assert np.allclose(found["pixels"][1], expected) and not found["pixels"][0].any()


@pytest.mark.parametrize(
    ("event", "normal", "area"),
    [
        ([1, 2, 3], [1, 2, 3], 0.5),
        ([4, 5], [1, 2, 3], 1.0),
        ([0], [1, 2], 0.0),
        ([2], [1, 2, 3, 4], 0.375),  # above one, equal to one
        ([3, 1], [2, 2], 0.5),
    ],
)
def test_area_under_the_roc_curve(event, normal, area):
    assert surprise.auc(np.array(event, float), np.array(normal, float)) == pytest.approx(area)


def test_detection_at_one_false_alarm_in_a_thousand():
    normal = np.arange(2000.0)  # two of these may be above the threshold
    assert surprise.detected(np.array([1997.0, 1997.5, 1998.0, 5000.0]), normal) == 0.75
    assert surprise.detected(np.array([998.0, 998.5, 999.0]), np.arange(1000.0)) == 2 / 3
    assert surprise.detected(np.array([1.0, 2.0]), np.array([0.0, 1.0])) == 0.5  # none may be


# Student's "sleep" data (1908), extra hours with two drugs; R's t.test gives p = 0.00283
DRUG_1 = np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
DRUG_2 = np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])


def test_paired_tests_of_known_samples():
    test = surprise.paired(DRUG_2, DRUG_1)
    assert test.gap == pytest.approx(1.58)
    assert test.t_test == pytest.approx(0.00283, abs=5e-6)
    assert test.effect == pytest.approx(4.0621 / math.sqrt(10), abs=1e-4)  # t = 4.0621
    assert test.rank_effect == 1.0  # nine pairs differ, all in one direction
    other = surprise.paired(DRUG_1, DRUG_2)
    assert (other.gap, other.rank_effect) == (-test.gap, -1.0) and other.t_test == test.t_test


def test_wilcoxons_test_without_ties_is_exact():
    change = np.array([-1.0, 2.0, 3.0, 4.0, 5.0])  # W = 1: 2 of 32 arrangements on either side
    test = surprise.paired(change, np.zeros(5))
    assert test.wilcoxon == pytest.approx(4 / 32)
    assert test.rank_effect == pytest.approx((14 - 1) / 15)
    with_zero = surprise.paired(np.append(change, 0.0), np.zeros(6))
    assert with_zero.rank_effect == test.rank_effect


def test_a_constant_difference_is_beyond_doubt_and_none_is_none():
    assert surprise.paired(DRUG_1, DRUG_1) == (0.0, 1.0, 1.0, 0.0, 0.0)
    test = surprise.paired(np.ones(8), np.zeros(8))
    assert test.t_test == 0.0 and test.effect == math.inf and test.wilcoxon < 0.01
    assert math.isnan(surprise.paired(np.ones(1), np.zeros(1)).t_test)


def test_clips_of_a_family_count_once():
    means = surprise._family_means(np.array([[1.0], [3.0], [10.0]]), np.array([7, 7, 2]))
    assert means.tolist() == [[10.0], [2.0]]


METHODS = [name for name, method in zoo.METHODS.items() if method.trained]


@pytest.mark.parametrize("method", METHODS)
def test_the_stage_is_of_every_world_model_and_of_no_other(method, datasets, tmp_path):
    words = ["train.steps=2", "protocol.pairs=2"]
    spec = tiny.spec(method, *words)
    spec = dataclasses.replace(spec, stages=("train", "surprise"))
    folders = RunFolders(str(tmp_path / "r"), "r", "smoke", str(datasets))
    row = trial.run(spec, folders, tiny.quiet)
    assert row.status == "ok", row.error
    metrics = run_tables.read_one(folders.trial(spec)).metrics
    found = metrics[metrics["stage"] == "surprise"]
    if not isinstance(tiny.model(spec), WorldModel):
        assert found.empty
        return
    assert np.isfinite(found["value"]).all()
    names = {metric_names.SurpriseName.of(name) for name in found["name"]} - {None}
    kinds = {metric_names.UNDISTURBED, *(kind.name for kind in zoo.TASKS["toy"].surprises())}
    assert {name.kind for name in names} == kinds
    assert {name.source for name in names} == set(metric_names.SURPRISE_SOURCES)
    if method == "true_state":  # a pose has no colour
        auc = metric_names.SurpriseName("recoloured", "model", "auc").text()
        assert found.set_index("name").loc[auc, "value"] == 0.5
