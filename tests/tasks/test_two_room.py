"""Known answers for Two-Room."""

import subprocess
import sys

import numpy as np
import pytest

from harness.tasks import two_room
from harness.tasks.two_room import TwoRoom, through_door

TASK = TwoRoom()


def step(position, action, size=16):
    simulator = TASK.simulator(1, size)
    simulator.set_state(np.array([position], float))
    simulator.step(np.array([action], np.float32))
    return simulator.state()[0].tolist()


def picture(position, size):
    simulator = TASK.simulator(1, size)
    simulator.set_state(np.array([position], float))
    return simulator.render()[0]


@pytest.mark.parametrize(
    ("start", "action", "end"),
    [
        ((50, 150), (1, -1), (55, 145)),  # free
        ((50, 150), (9, 0), (55, 150)),  # clipped action
        ((98, 150), (1, 1), (99.5, 155)),  # blocked by the wall; slides along it
        ((126, 150), (-1, 0), (124.5, 150)),  # the same from the right
        ((98, 49), (1, 0), (103, 49)),  # through the door
        ((110, 49), (1, 0), (115, 49)),
        ((98, 64.75), (1, 0), (103, 64.75)),  # the door's last row, margin included
        ((98, 64.76), (1, 0), (99.5, 64.76)),
        ((110, 62), (0, 1), (99.5, 67)),  # out of the door sideways: back to its room
        ((23, 201), (-1, 1), (21, 203)),  # clamped at the border
        ((201, 23), (1, -1), (203, 21)),
    ],
)
def test_collisions(start, action, end):
    assert step(start, action) == pytest.approx(end, abs=1e-12)


def test_success_below_16_px():
    goal = np.array([[100.0, 100.0]] * 2)
    state = goal + np.array([[15.99, 0], [16.0, 0]])
    assert TASK.success(state, goal).tolist() == [True, False]


def test_strata():
    above, below = 49 - 15.75, 49 + 15.75  # the door's last rows, margin included
    pairs = [
        ((50, 50), (90, 200), "same room"),
        ((50, 50), (130, 50), "through door"),
        ((50, below), (130, 200), "through door"),  # the start can see the door
        ((50, below + 0.1), (130, 200), "detour"),
        ((130, 21), (50, above - 0.1), "detour"),
        ((130, 21), (50, 200), "through door"),  # one above and one below
    ]
    start, goal = (np.array([pair[i] for pair in pairs], float) for i in (0, 1))
    assert TASK.strata(start, goal).tolist() == [kind for _, _, kind in pairs]


def test_heuristic_is_blocked_by_the_wall_and_does_not_overshoot():
    start, goal = np.array([[50.0, 180.0]]), np.array([[180.0, 180.0]])
    simulator = TASK.simulator(1, 16)
    simulator.set_state(start)
    for _ in range(50):
        simulator.step(TASK.heuristic(simulator.state(), goal))
    assert simulator.state()[0].tolist() == [99.5, 180.0]
    assert TASK.heuristic(np.array([[50.0, 50.0]]), np.array([[52.0, 49.0]])) == pytest.approx(
        np.array([[0.4, -0.2]])
    )


def test_expert_solves_every_pair():
    collector = TASK.collector(np.random.default_rng(0), 200)
    start, _ = collector.start()
    goal = TASK.collector(np.random.default_rng(1), 200).start()[0]
    simulator = TASK.simulator(200, 16)
    simulator.set_state(start)
    for _ in range(80):
        delta = np.linalg.norm(goal - simulator.state(), axis=1, keepdims=True)
        direction = through_door(simulator.state(), goal)
        simulator.step(direction * np.minimum(1, delta / two_room.SPEED))
    # a goal behind the border's clamp can be 10 px away at most
    assert TASK.success(simulator.state(), goal).all()


def test_collector_starts_in_free_space_with_the_target_in_the_other_room():
    collector = TASK.collector(np.random.default_rng(0), 2000)
    start, families = collector.start()
    assert (families == -1).all()
    assert start.min() >= two_room.SAMPLE_LOW and start.max() <= two_room.SAMPLE_HIGH
    assert (np.abs(start[:, 0] - two_room.WALL_X) > 12).all()
    assert not collector.done(start).any()
    kinds, counts = np.unique(TASK.strata(start, collector._target), return_counts=True)
    assert kinds.tolist() == ["detour", "through door"] and counts.min() > 500
    door = np.array([two_room.WALL_X, two_room.DOOR_Y])
    way = sum(np.linalg.norm(place - door, axis=1) for place in (start, collector._target))
    assert way.min() >= 25 * two_room.SPEED


def test_episodes_are_as_long_as_the_published_ones():
    """Those have 31 to 101 rows, 92 on average over 10,000 episodes."""
    collector = TASK.collector(np.random.default_rng(0), 1000)
    simulator = TASK.simulator(1000, 16)
    simulator.set_state(collector.start()[0])
    length = np.full(1000, 101)
    for rows in range(1, 101):
        simulator.step(collector.act(simulator.state()))
        length[collector.done(simulator.state()) & (length == 101)] = rows
    assert length.mean() == pytest.approx(92.1, abs=2) and length.min() > 25


def test_picture_at_224():
    image = picture((60, 150), 224)
    assert (image[:, 30:35, 30:35] == 255).all()  # floor
    assert (image[:, 100, 10:14] == 0).all() and (image[:, 100, [9, 14]] == 255).all()  # border
    assert (image[:, 150, 107:118] == 0).all() and (image[:, 150, [106, 118]] == 255).all()  # wall
    assert (image[:, 35:64, 112] == 255).all() and (image[:, [34, 64], 112] == 0).all()  # door
    assert image[:, 150, 60].tolist() == [255, 0, 0]  # the agent's centre
    one_std = int(255 * (1 - np.exp(-0.5)))
    assert image[:, 150, 67].tolist() == image[:, 143, 60].tolist() == [255, one_std, one_std]


def test_pictures_of_all_sizes_show_the_same():
    large = picture((60.5, 150.5), 224).astype(float)
    assert np.array_equal(large[1], large[2])
    for size, pitch in ((112, 2), (32, 7)):
        mean = large.reshape(3, size, pitch, size, pitch).mean(axis=(2, 4))
        difference = np.abs(picture((60.5, 150.5), size) - mean)
        assert difference.mean() < 1.0 and difference.max() < 40
    small = picture((60, 150), 64)
    y, x = np.unravel_index(small[1, 5:58, 5:28].argmin(), (53, 23))  # inside the border
    seen = (np.array([x, y]) + 5.5) * 3.5 - 0.5
    assert np.abs(seen - (60, 150)).max() <= 1.75


def test_dot_is_whole_everywhere():
    """Drawing only a patch around the dot changes nothing outside it."""
    for position in ((21.0, 21.0), (203.0, 203.0), (112.3, 49.7), (14.0, 209.0)):
        for size in (16, 64, 224):
            pixel = (np.arange(size) + 0.5) * (224 / size) - 0.5
            gauss = np.exp(-((pixel[:, None] - position) ** 2) / (2 * two_room.DOT_STD**2))
            gauss /= gauss.max(axis=0)
            alpha = gauss[:, 1:] * gauss[:, :1].T
            expected = two_room._background(size) * (1 - alpha)
            assert np.abs(picture(position, size)[1] - expected).max() <= 1.01


def test_a_trial_needs_neither_ray_nor_the_simulators_of_other_tasks():
    code = """
import sys
for missing in ("ray", "optuna", "mujoco", "dm_control", "ogbench", "pymunk"):
    sys.modules[missing] = None  # importing it fails
from harness import trial, zoo
print(zoo.task("two_room", "plain").simulator(1, 16).render().shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip() == "(1, 3, 16, 16)", done.stderr
