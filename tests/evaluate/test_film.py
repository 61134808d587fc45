"""The episode that a trial shows: which pair, which moments, and the task's own pictures."""

import dataclasses
import io

import numpy as np
import pytest
import tiny
from PIL import Image

from baselines import controls
from harness import zoo
from harness.contracts.data import Pair
from harness.data.normalize import Normalizer
from harness.evaluate import control, film
from harness.experiment.protocols import ProtocolConfig

STRATA = ("easy", "hard")
SETTINGS = ProtocolConfig(budget_steps=12)
ONE = np.ones(2, np.float32)


def pair(number, stratum="all", solved=False, start=(0.1, 0.5), goal=(0.5, 0.5)):
    """A pair without a recording."""
    picture, actions = np.zeros((3, 8, 8), np.uint8), np.zeros((25, 2), np.float32)
    start, goal = np.array(start), np.array(goal)
    return Pair(number, 0, 0, start, goal, picture, np.float32(goal), actions, stratum, solved)


def shown(task, chosen, settings=SETTINGS):
    """Rows of the film of the task's heuristic."""
    policy = controls.Heuristic(controls.ControlConfig(), task, 0)
    normalizer = Normalizer(0 * ONE, ONE, 0 * ONE, ONE)
    outcomes = control.run(policy, task, chosen, settings, normalizer, 8, tiny.quiet)
    return film.draw("a.b.s0", task, chosen, outcomes, settings.success_rule)


def pixels(png):
    """(3, height, width) uint8."""
    return np.asarray(Image.open(io.BytesIO(png))).transpose(2, 0, 1)


@pytest.mark.parametrize(
    ("chosen", "index"),
    [
        ([pair(0, "easy"), pair(1, "hard"), pair(2, "hard")], 1),
        ([pair(0, "easy"), pair(1, "hard", solved=True), pair(2, "hard")], 2),
        ([pair(0, "easy", solved=True), pair(1, "hard", solved=True), pair(2, "easy")], 2),
        ([pair(3, "hard"), pair(2, "hard")], 1),
        ([pair(0, "hard", solved=True)], None),
    ],
)
def test_the_pair_is_the_first_unsolved_one_of_the_hardest_stratum_that_has_one(chosen, index):
    assert film.choose(chosen, STRATA) == index


def test_moments_and_pictures_of_an_episode():
    task = zoo.TASKS["toy"]
    frames = shown(task, [pair(0, solved=True, start=(0.5, 0.5)), pair(1)])
    assert {(f.key, f.pair_id, f.stratum) for f in frames} == {("a.b.s0", 1, "all")}
    assert [(f.kind, f.step, f.success) for f in frames] == [
        ("start", 0, False),
        ("block", 5, False),
        ("end", 8, True),
        ("goal", 25, True),
    ]
    simulator = task.simulator(4, film.FILM_PX)
    simulator.set_state(np.array([[0.1, 0.5], [0.3, 0.5], [0.42, 0.5], [0.5, 0.5]]))
    assert (np.stack([pixels(f.image) for f in frames]) == simulator.render()).all()


def test_an_episode_without_success_is_shown_to_its_budget():
    frames = shown(zoo.TASKS["toy"], [pair(0, goal=(0.95, 0.5))])
    ends = [(f.kind, f.step, f.success) for f in frames[-3:]]
    assert ends == [("block", 10, False), ("end", 12, False), ("goal", 25, True)]


def test_nothing_is_shown_where_every_pair_is_solved_at_the_start():
    assert shown(zoo.TASKS["toy"], [pair(0, solved=True, start=(0.5, 0.5))]) == []


@pytest.mark.parametrize("task", zoo.TASKS.values(), ids=zoo.TASKS)
def test_every_task_draws_its_film(task):
    """Budget of one block, from the collector's starts."""
    starts = task.collector(np.random.default_rng(0), 2).start()[0]
    chosen = [pair(0, task.spec.strata[-1], start=starts[0], goal=starts[1])]
    settings = dataclasses.replace(SETTINGS, budget_steps=task.spec.action_block)
    frames = shown(task, chosen, settings)
    pictures = [pixels(frame.image) for frame in frames]
    assert [frame.kind for frame in frames] == ["start", "end", "goal"]
    assert all(picture.shape == (3, 128, 128) and picture.std() > 1 for picture in pictures)
    assert (pictures[0] != pictures[-1]).any()
