"""Controls: random, zero, recorded and trivial actions, row by row."""

from __future__ import annotations

import numpy as np
import pytest

from baselines import controls
from baselines.controls import ControlConfig
from harness.contracts.data import Pair
from harness.tasks.push_t import PushT
from harness.tasks.toy import SPEED, Toy

STATE = np.zeros((2, 2))
BOTH = np.array([0, 1])


def pair(pair_id, actions=((0.0, 0.0),)):
    nothing = np.zeros(0)
    return Pair(pair_id, 0, 0, nothing, nothing, nothing, nothing, np.array(actions), "all", False)


@pytest.mark.parametrize("task", [Toy(), PushT()], ids=lambda task: task.spec.name)
def test_random_actions_fill_the_bounds(task):
    policy = controls.Random(ControlConfig(), task, seed=3)
    policy.reset([pair(i) for i in range(4)])
    drawn = np.stack([policy.act_state(STATE, STATE, np.arange(4)) for _ in range(500)])
    low, high = np.array(task.spec.action_low), np.array(task.spec.action_high)
    assert (drawn >= low).all() and (drawn <= high).all()
    third = (high - low) / np.sqrt(12)  # std of a uniform number
    np.testing.assert_allclose(drawn.std((0, 1)), third, rtol=0.05)
    assert np.abs(drawn.mean((0, 1)) - (low + high) / 2).max() < 0.1 * (high - low).max()


def test_a_pairs_random_actions_do_not_depend_on_the_pairs_beside_it():
    together, alone, other = (controls.Random(ControlConfig(), Toy(), seed) for seed in (1, 1, 2))
    together.reset([pair(5), pair(7)])
    alone.reset([pair(7)])
    other.reset([pair(7)])
    first = together.act_state(STATE, STATE, BOTH)
    assert (first[1] == alone.act_state(STATE, STATE, BOTH[:1])[0]).all()
    assert (first[1] != first[0]).all()
    assert (first[1] != other.act_state(STATE, STATE, BOTH[:1])[0]).all()
    second = together.act_state(STATE, STATE, BOTH[1:])  # the first pair has stopped
    assert (second[0] == alone.act_state(STATE, STATE, BOTH[:1])[0]).all()


def test_noop_stands_still():
    policy = controls.Noop(ControlConfig(), PushT(), seed=0)
    policy.reset([pair(0), pair(1), pair(2)])
    actions = policy.act_state(STATE, STATE, np.arange(3))
    assert actions.shape == (3, 2) and not actions.any()


def test_replay_gives_each_pair_its_next_recorded_action_and_then_zero():
    policy = controls.Replay(ControlConfig(), Toy(), seed=0)
    policy.reset([pair(0, [(0.1, 0.2), (0.3, 0.4)]), pair(1, [(-0.1, -0.2), (-0.3, -0.4)])])
    assert policy.act_state(STATE, STATE, BOTH).tolist() == [[0.1, 0.2], [-0.1, -0.2]]
    assert policy.act_state(STATE, STATE, BOTH[1:]).tolist() == [[-0.3, -0.4]]
    assert policy.act_state(STATE, STATE, BOTH).tolist() == [[0.3, 0.4], [0.0, 0.0]]
    assert policy.act_state(STATE, STATE, BOTH).tolist() == [[0.0, 0.0], [0.0, 0.0]]
    policy.reset([pair(0, [(0.5, 0.5)])])
    assert policy.act_state(STATE, STATE, BOTH[:1]).tolist() == [[0.5, 0.5]]


def test_heuristic_is_the_tasks_own():
    policy = controls.Heuristic(ControlConfig(), Toy(), seed=0)
    policy.reset([pair(0), pair(1)])
    goal = np.array([[-0.5, 0.25], [0.0, SPEED / 2]])  # far, and half a step away
    actions = policy.act_state(STATE, goal, BOTH)
    np.testing.assert_allclose(actions, [[-1.0, 0.5], [0.0, 0.5]], rtol=1e-6)
