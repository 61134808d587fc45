"""Estimates of the time that a plan takes."""

import dataclasses
import shutil

import pytest
import tiny

from harness.experiment import estimate
from harness.experiment.identity import TrialSpec
from harness.records import rows

WORDS = ["train.steps=6", "resources.cpu=1"]


def row(method, name, steps, train_s, total_s):
    words = ("toy", method, "", 0, "tiny", "smoke", "p", "hash", "setting", "", "ok")
    times = {"train_steps": steps, "train_s": train_s, "total_s": total_s}
    return rows.TrialRow(name, "r", "smoke", *words, **times)


@pytest.fixture
def estimator(tmp_path, monkeypatch):
    """It knows two trials of LeWM, of 2 and 4 s a step and 30 and 50 s besides, and one no-op."""
    monkeypatch.setattr(estimate, "_REFERENCE", str(tmp_path / "none"))
    known = [row("lewm", "a", 10, 20, 50), row("lewm", "b", 5, 20, 70), row("noop", "c", 0, 0, 7)]
    for made in known:
        rows.write(f"{tmp_path}/r/trials/{rows.folder_name(made.key, 'hash')}", made, [], [])
    return estimate.Estimator(str(tmp_path), 0.0)


def spec(method, **resources) -> TrialSpec:
    found = tiny.spec(method, *WORDS)
    asked = dataclasses.replace(found.config.resources, **resources)
    return dataclasses.replace(found, config=dataclasses.replace(found.config, resources=asked))


def test_a_trial_takes_the_median_of_those_like_it(estimator):
    assert estimator.seconds(spec("lewm")) == 6 * 3 + 40
    assert estimator.seconds(spec("noop")) == 7
    assert estimator.seconds(spec("pldm")) is None


def test_a_copy_of_a_trial_or_of_a_run_counts_once(estimator, tmp_path):
    lewm = tmp_path / "r" / "trials" / "a.hash"
    shutil.copytree(lewm, lewm.with_name("a.hash.bak"))
    shutil.copytree(lewm, lewm.parent / "old" / "a.hash")
    for name in ("before", "again"):
        shutil.copytree(lewm, tmp_path / name / "trials" / "a.hash")
    assert estimate.Estimator(str(tmp_path), 0.0).seconds(spec("lewm")) == 6 * 3 + 40


def test_trials_share_the_machine_and_take_at_least_as_long_as_the_longest(estimator):
    specs = [spec("lewm"), spec("noop"), spec("pldm")]
    assert estimator.total(specs, {"CPU": 2, "GPU": 0}) == (58, 1)
    assert estimator.total(specs, {"CPU": 1, "GPU": 0}) == (65, 1)
    assert estimator.total([*specs, spec("lewm", cpu=2)], {"CPU": 2, "GPU": 0}) == (
        58 * 1.5 + 3.5,
        1,
    )


def test_trials_share_the_gpu(estimator):
    specs = [spec("lewm", gpu=0.5) for _ in range(4)]
    assert estimator.total(specs, {"CPU": 64, "GPU": 1}) == (2 * 58, 0)
    assert estimator.total(specs, {"CPU": 64, "GPU": 8}) == (58, 0)
    assert estimator.total(specs, {"CPU": 2, "GPU": 8}) == (2 * 58, 0)


def test_in_a_loop_one_trial_follows_another(estimator):
    assert estimator.total([spec("lewm"), spec("noop"), spec("pldm")], None) == (65, 1)


def test_times_are_scaled_from_the_machine_that_had_them_to_this_one(tmp_path, monkeypatch):
    monkeypatch.setattr(estimate, "_REFERENCE", str(tmp_path / "none"))
    made = dataclasses.replace(row("lewm", "a", 10, 20, 50), cpu_yardstick=60.0)
    rows.write(f"{tmp_path}/r/trials/{rows.folder_name(made.key, 'hash')}", made, [], [])
    assert estimate.Estimator(str(tmp_path), 0.0).seconds(spec("lewm")) == 6 * 2 + 30
    assert estimate.Estimator(str(tmp_path), 30.0).seconds(spec("lewm")) == 2 * (6 * 2 + 30)
    assert estimate.Estimator(str(tmp_path), 120.0).seconds(spec("lewm")) == (6 * 2 + 30) / 2


def test_what_other_programs_took_does_not_count(tmp_path, monkeypatch):
    monkeypatch.setattr(estimate, "_REFERENCE", str(tmp_path / "none"))
    made = dataclasses.replace(row("lewm", "a", 10, 20, 50), driver="", cpu_s=10.0)
    rows.write(f"{tmp_path}/r/trials/{rows.folder_name(made.key, 'hash')}", made, [], [])
    assert estimate.Estimator(str(tmp_path), 0.0).seconds(spec("lewm")) == (6 * 2 + 30) / 5


def test_trials_of_the_same_protocol_count_before_others(estimator, tmp_path):
    other = dataclasses.replace(row("lewm", "d", 10, 10, 15), protocol="lewm-v3")
    rows.write(f"{tmp_path}/r/trials/{rows.folder_name(other.key, 'hash')}", other, [], [])
    known = estimate.Estimator(str(tmp_path), 0.0)
    assert known.seconds(spec("lewm")) == 6 * 3 + 40
    lewm_v3 = tiny.spec("lewm", *WORDS, "protocol=lewm-v3")
    assert known.seconds(lewm_v3) == 6 * 1 + 5


def weighted(spec_of, training):
    """The trial with the weights of another trial of the run, which it evaluates."""
    weights = dataclasses.replace(spec_of.config.weights, identity="w", trial=training)
    settings = dataclasses.replace(spec_of.config, weights=weights)
    return dataclasses.replace(spec_of, config=settings, stages=("control",))


def test_one_wave_follows_the_other(estimator):
    training, evaluation = spec("lewm"), weighted(spec("lewm"), "toy.lewm.s0")
    assert estimator.seconds(evaluation) == 40  # a trial of its own, without its training
    assert estimator.total([training, evaluation], {"CPU": 8, "GPU": 0}) == (58 + 40, 0)
    assert estimator.total([evaluation] * 4, {"CPU": 2, "GPU": 0}) == (80, 0)


def test_evaluations_of_others_weights_stand_for_their_like_and_for_no_training(
    estimator, tmp_path
):
    made = dataclasses.replace(
        row("lewm", "e", 10, 20, 7), weights="of toy.lewm.s0", stages="control"
    )
    rows.write(f"{tmp_path}/r/trials/{rows.folder_name('e', 'hash')}", made, [], [])
    known = estimate.Estimator(str(tmp_path), 0.0)
    assert known.seconds(weighted(spec("lewm"), "toy.lewm.s0")) == 7  # its train_s is another's
    assert known.seconds(spec("lewm")) == 6 * 3 + 40


def test_trials_of_the_same_stages_count_before_others(estimator, tmp_path):
    alone = dataclasses.replace(row("lewm", "t", 10, 10, 12), stages="train")
    rows.write(f"{tmp_path}/r/trials/{rows.folder_name('t', 'hash')}", alone, [], [])
    known = estimate.Estimator(str(tmp_path), 0.0)
    training = dataclasses.replace(spec("lewm"), stages=("train",))
    assert known.seconds(training) == 6 * 1 + 2


def varied(name, method, variant, task, total_s, **more):
    return dataclasses.replace(
        row(method, name, 0, 0, total_s), variant=variant, task=task, stages="control", **more
    )


def test_ways_to_evaluate_a_training_count_each_for_itself(estimator, tmp_path):
    for name, total_s in (("cem", 10), ("adam", 90)):
        made = varied(name, "lewm", name, "toy", total_s, weights="of toy.lewm.s0")
        rows.write(f"{tmp_path}/r/trials/{rows.folder_name(name, 'hash')}", made, [], [])
    known = estimate.Estimator(str(tmp_path), 0.0)
    way = weighted(spec("lewm"), "toy.lewm.s0")
    assert known.seconds(dataclasses.replace(way, variant="cem")) == 10
    assert known.seconds(dataclasses.replace(way, variant="adam")) == 90
    assert known.seconds(dataclasses.replace(way, variant="icem")) == 50


def test_searches_in_a_simulator_are_known_by_those_in_the_same_one(estimator, tmp_path):
    """Two-Room's arithmetic takes a thousandth of Push-T's contacts."""
    made = varied("o", "oracle", "", "two_room", 2)
    rows.write(f"{tmp_path}/r/trials/{rows.folder_name('o', 'hash')}", made, [], [])
    known = estimate.Estimator(str(tmp_path), 0.0)
    assert known.seconds(dataclasses.replace(spec("oracle"), task="two_room")) == 2
    assert known.seconds(spec("oracle")) is None
    way = dataclasses.replace(weighted(spec("lewm"), "toy.lewm.s0"), variant="simulated")
    assert known.seconds(way) == 40
    mpc = dataclasses.replace(way.config.mpc, dynamics="simulator")
    way = dataclasses.replace(way, config=dataclasses.replace(way.config, mpc=mpc))
    assert known.seconds(way) is None
