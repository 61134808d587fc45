"""Known answers for the events of each task (on recorded episodes: tests/data/test_clips.py)."""

import numpy as np
import pytest

from harness import zoo
from harness.tasks import push_t_scene, surprises, two_room

RNG = np.random.default_rng(0)


def event(name, kind, state, actions, size=32):
    """The simulator after an event in a block of actions (block, a) from one state."""
    task = zoo.TASKS[name]
    (found,) = (one for one in task.surprises() if one.name == kind)
    simulator = task.simulator(1, size)
    simulator.set_state(np.array([state], np.float64))
    found.happen(simulator, np.array([actions], np.float32), RNG)
    return simulator


def telling(name, kind, state, actions):
    """Whether the event would show there."""
    task = zoo.TASKS[name]
    (found,) = (one for one in task.surprises() if one.name == kind)
    simulator = task.simulator(1, 16)
    before, actions = np.array([state], np.float64), np.array([actions], np.float32)
    simulator.set_state(before)
    surprises.play(simulator, actions)
    return bool(found.telling(before, simulator.state(), actions)[0])


def test_every_task_has_the_papers_kinds_and_one_beyond(task):
    names = [kind.name for kind in task.surprises()]
    assert names[:2] == ["recoloured", "teleported"] and len(names) == 3
    assert all(kind.about.endswith(".") for kind in task.surprises())


RIGHT = [(1, 0)] * 5


@pytest.mark.parametrize(
    ("start", "action", "end"),
    [
        ((98, 150), (1, 0), (144.5, 150)),  # stopped in the first step, then four more beyond
        ((90, 150), (1, 1), (134.5, 175)),  # 95, 100, then stopped
        ((126, 150), (-1, 0), (79.5, 150)),  # the same from the right
        ((98, 49), (1, 0), (123, 49)),  # through the door, as ever
        ((50, 150), (1, 0), (75, 150)),  # nothing is in the way
    ],
)
def test_a_dot_passes_through_the_wall_that_would_stop_it(start, action, end):
    actions = [action] * 5
    found = event("two_room", "wall_passed_through", start, actions).state()[0]
    assert found.tolist() == pytest.approx(end)
    stopped = end[0] in (144.5, 134.5, 79.5)
    assert telling("two_room", "wall_passed_through", start, actions) == stopped


def test_a_dot_passes_once():
    back = [(1, 0), (-1, 0), (-1, 0), (-1, 0), (-1, 0)]
    found = event("two_room", "wall_passed_through", (98, 150), back).state()[0]
    assert found.tolist() == pytest.approx((two_room.ZONE_RIGHT + two_room.PUSHBACK, 150))


TEE = (256.0, 200.0, 0.0)  # its bar lies from y = 200 to 230


def test_the_agent_passes_through_the_tee():
    start = [256, 180, *TEE, 0, 0, 0, 0, 0]
    actions = [(0, 0.4)] * 5
    there = event("push_t", "recoloured", start, actions).state()[0]
    assert there[3] > 220  # the push moves the tee down
    passed = event("push_t", "tee_passed_through", start, actions).state()[0]
    assert passed[2:5].tolist() == list(TEE) and not passed[7:].any()
    assert passed[0] == pytest.approx(256) and passed[1] >= 320 + push_t_scene.AGENT_RADIUS
    assert telling("push_t", "tee_passed_through", start, actions)
    assert not telling("push_t", "tee_passed_through", [256, 80, *start[2:]], actions)


def test_an_agent_that_would_come_out_beyond_the_walls_is_no_event():
    start = [256, 370, 256, 490, np.pi, 0, 0, 0, 0, 0]  # the bar along the lower wall
    assert not telling("push_t", "tee_passed_through", start, [(0, 0.5)] * 5)


def test_both_joints_turn_round():
    still = [(0, 0)] * 5
    swung = event("reacher", "velocity_reversed", (0.3, 0.5, 3.0, -2.0), still).state()[0]
    mirror = event("reacher", "recoloured", (0.3, 0.5, -3.0, 2.0), still).state()[0]
    assert np.array_equal(swung, mirror)
    assert telling("reacher", "velocity_reversed", (0.3, 0.5, 0.0, -3.0), still)
    assert not telling("reacher", "velocity_reversed", (0.3, 0.5, 1.0, 1.0), still)


@pytest.mark.parametrize("name", ["toy", "cube"])
def test_ignored_actions_are_zero_actions(name):
    task = zoo.TASKS[name]
    start = task.collector(np.random.default_rng(0), 2).start()[0][0]
    actions = RNG.uniform(-1, 1, (5, task.spec.action_dim))
    found = event(name, "action_ignored", start, actions).state()
    assert np.array_equal(found, event(name, "recoloured", start, 0 * actions).state())
    assert not telling(name, "action_ignored", start, 0 * actions)


def test_a_recoloured_object_keeps_its_shape(task):
    start = task.collector(np.random.default_rng(1), 2).start()[0]
    simulator = task.simulator(2, 48)
    simulator.set_state(start)
    before = simulator.render()
    simulator.recolour()
    after = simulator.render()
    assert np.array_equal(simulator.state(), start)
    differs = (before != after).any(axis=1)
    assert 0 < differs[0].mean() < 0.2
    if task.spec.name in ("two_room", "toy"):  # red and blue are exchanged
        assert np.array_equal(after, before[:, ::-1])
    simulator.close()
    other = task.simulator(2, 48)  # the colour is the simulator's own
    other.set_state(start)
    assert np.array_equal(other.render(), before)
    other.close()
