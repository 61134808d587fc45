"""Moments of a dataset: known answers from a collector whose every step is known."""

import csv
import dataclasses
import math

import numpy as np
import pytest
import tiny

from harness import moments as command
from harness import zoo
from harness.data import collect
from harness.data.episodes import open_dataset
from harness.evaluate import moments, pairs
from harness.tasks import toy

OFFSET = 10
STEP = 0.1  # action of every step; it moves the point by STEP * toy.SPEED
FAST = 1.0  # of the second episode, until the point stands at the edge


class Straight:
    """Two episodes along x: a slow one, and a fast one that ends at the edge of the square."""

    def __init__(self, rng, n):
        assert n == 2

    def start(self):
        return np.array([[0.0, 0.5], [0.52, 0.5]]), np.array([-1, -1])

    def act(self, state):
        return np.array([[STEP, 0.0], [FAST, 0.0]], np.float32)

    def done(self, state):
        return state[:, 0] >= toy.SIDE


class StraightToy(toy.Toy):
    """The toy under that collector."""

    def collector(self, rng, n):
        return Straight(rng, n)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    config = collect.DataConfig(episodes=2, max_steps=30, image_size=8, validation=0, test=0)
    root = str(tmp_path_factory.mktemp("data"))
    return open_dataset(collect.ensure(StraightToy(), config, root))


@pytest.fixture(scope="module")
def found(dataset):
    measured = moments.measure(dataset, StraightToy(), OFFSET, "default")
    return {(m.quantity, m.measure): m.value for m in measured}


def test_lengths_and_pairs_are_those_of_the_episodes(found, dataset):
    assert dataset.lengths.tolist() == [30, 12]  # 0.48 to go at 0.04 a step
    assert found["episodes", "number"] == 2
    assert [found["length", name] for name in ("min", "mean", "max")] == [12, 21, 30]
    assert found["all", "pairs"] == found["train", "pairs"] == 20 + 2
    assert found["test", "pairs"] == 0 and math.isnan(found["test", "solved at the start"])


def test_actions(found):
    share = 12 / 42  # of the steps that are the fast episode's
    assert found["action_0", "at a bound"] == pytest.approx(share)
    assert found["action_0", "mean"] == pytest.approx(share * FAST + (1 - share) * STEP)
    spread = (FAST - STEP) * math.sqrt(share * (1 - share))
    assert found["action_0", "std"] == pytest.approx(spread)
    assert found["action_1", "std"] == found["action_1", "at a bound"] == 0


def test_changes_are_those_of_all_starts(found):
    slow, fast = toy.SPEED * STEP, toy.SPEED * FAST
    block = [(5 * slow) ** 2] * 25 + [(5 * fast) ** 2] * 7
    whole = [(OFFSET * slow) ** 2] * 20 + [(OFFSET * fast) ** 2] * 2
    for steps, squares in ((5, block), (OFFSET, whole)):
        change = found["x", f"rms change in {steps} steps"]
        assert change == pytest.approx(math.sqrt(np.mean(squares)))
        assert found["y", f"rms change in {steps} steps"] == 0


def test_slow_pairs_are_solved_at_the_start_and_fast_ones_are_not(found):
    """0.04 and 0.4 apart, and success is within 0.1."""
    assert found["all", "solved at the start"] == pytest.approx(20 / 22)
    assert found["all", "all"] == 1  # the toy's only stratum


def test_an_angle_changes_the_shorter_way_round(dataset):
    """The slow episode turns by 0.4 rad in all; with a turn added half-way it still does."""
    turned = StraightToy()
    turned.spec = dataclasses.replace(toy.SPEC, state_names=("x [rad]", "y [side]"))
    plain = {m[1:3]: m.value for m in moments.measure(dataset, turned, OFFSET, "default")}
    dataset.state[15:30, 0] += 2 * np.pi
    jumped = {m[1:3]: m.value for m in moments.measure(dataset, turned, OFFSET, "default")}
    dataset.state[15:30, 0] -= 2 * np.pi
    key = ("x", f"rms change in {OFFSET} steps")
    assert jumped[key] == pytest.approx(plain[key])
    assert jumped["x", "std"] > 2 * plain["x", "std"]


def test_a_solver_s_accelerations_are_left_out(dataset):
    task = StraightToy()
    task.spec = dataclasses.replace(toy.SPEC, state_names=("x [m/s]", "y [rad/s2, m/s2]"))
    measured = moments.measure(dataset, task, OFFSET, "default")
    assert {(m.quantity, m.unit) for m in measured if m.kind == "state"} == {("x", "m/s")}


def test_shares_are_those_that_the_pairs_are_drawn_from(datasets):
    """Drawing every pair of the split gives the shares that are printed."""
    words = ["data.episodes=60", "data.max_steps=60", "data.image_size=8"]
    spec = tiny.spec("noop", *words, task="two_room")
    data, task = tiny.dataset(spec, datasets), zoo.TASKS["two_room"]
    measured = {m[1:3]: m.value for m in moments.measure(data, task, 25, "default")}
    count = int(measured["test", "pairs"])
    everything = tiny.spec("noop", *words, f"protocol.pairs={count}", task="two_room")
    drawn, _ = pairs.draw(data, task, everything.config.protocol, 0)
    assert len(drawn) == count
    solved = np.mean([pair.initially_solved for pair in drawn])
    assert measured["test", "solved at the start"] == pytest.approx(solved)
    for stratum in task.spec.strata:
        share = np.mean([pair.stratum == stratum for pair in drawn])
        assert measured["test", stratum] == pytest.approx(share)


def test_the_command_shows_and_writes_what_is_measured(tmp_path, capsys):
    file, words = tmp_path / "m.csv", ["tasks=toy", "scale=tiny", "data.episodes=20"]
    assert command.main([*words, f"datasets={tmp_path}/data", f"csv={file}"]) == 0
    shown = capsys.readouterr().out
    assert "Toy, version 1: 20 episodes of 60 to 60 steps" in shown
    (spec,) = command.parse(words).specs
    expected = command.measure(spec, f"{tmp_path}/data")
    with open(file, newline="") as lines:
        read = list(csv.DictReader(lines))
    assert [row["task"] for row in read] == ["toy"] * len(expected)
    for row, moment in zip(read, expected, strict=True):
        assert (row["quantity"], row["measure"]) == (moment.quantity, moment.measure)
        assert float(row["value"]) == moment.value


@pytest.mark.parametrize("word", ["methods=lewm", "task=toy", "data.episode=3", "tasks=toys", "x"])
def test_what_is_not_understood_is_said(word, capsys, tmp_path):
    assert command.main(["scale=tiny", f"datasets={tmp_path}", word]) == 2
    assert not any(tmp_path.iterdir())
