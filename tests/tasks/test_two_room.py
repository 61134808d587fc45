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


def test_the_near_rule_is_half_the_distance_and_in_the_room_of_the_goal():
    goal = np.array([[114.0, 49.0]] * 4)
    state = goal + np.array([[7.99, 0], [0, 8.0], [-1.9, 0], [-2.1, 0]])
    assert TASK.success(state, goal, "near").tolist() == [True, False, True, False]
    assert TASK.success(state, goal).all()


# the wall is x 107..117, the door y 35..63, the disc has radius 7
STEPS = [
    ((95, 49), (105, 49), True),  # into the door, 14 px from both of its edges
    ((105, 42), (112, 42), True),  # along its upper edge
    ((105, 41.9), (112, 41.9), False),  # 0.1 px of the disc in the wall
    ((98, 64), (103, 64), False),  # the released physics takes it
    ((95, 150), (100, 150), True),  # up to the wall
    ((95, 150), (100.1, 150), False),
    ((90, 150), (130, 150), False),  # through it: both ends are free
    ((95, 30), (129, 68), False),  # through the door, too steeply: 5.6 px from its corners
    ((99.9, 30), (99.9, 40), True),  # past the corner (107, 35), 7.1 px away
    ((98, 30), (106, 42), False),  # over it, 4.7 px away
    ((50, 20.9), (50, 25), False),  # the border
]


@pytest.mark.parametrize(("before", "after", "legal"), STEPS)
def test_a_step_is_legal_where_the_whole_disc_passes(before, after, legal):
    before, after = np.array([before], float), np.array([after], float)
    assert TASK.legal(before, after).tolist() == TASK.legal(after, before).tolist() == [legal]


def solid_step(position, action):
    simulator = TASK.corrected().simulator(1, 16)
    simulator.set_state(np.array([position], float))
    simulator.step(np.array([action], np.float32))
    return simulator.state()[0]


@pytest.mark.parametrize(
    ("start", "action", "end"),
    [
        ((50, 150), (1, -1), (55, 145)),  # free
        ((98, 150), (1, 1), (100, 155)),  # stopped by the wall, slides along it
        ((126, 150), (-1, 0), (124, 150)),
        ((98, 49), (1, 0), (103, 49)),  # through the door
        ((110, 54), (0, 1), (110, 56)),  # stopped by the edge of the door: 63 - 7
        ((110, 44), (1, -1), (115, 42)),
        ((23, 201), (-1, 1), (21, 203)),  # the border
    ],
)
def test_a_solid_wall_stops_the_disc(start, action, end):
    assert solid_step(start, action) == pytest.approx(end, abs=2e-4)


def test_a_disc_slides_round_the_corner_of_the_door():
    """It meets the corner (107, 63) 3 px below the disc's centre, goes up and on."""
    end = solid_step((99, 60), (1, 0))
    assert 101 < end[0] < 104 and end[1] < 60
    assert 7 < np.hypot(end[0] - 107, end[1] - 63) < 8


def test_a_solid_wall_lets_no_illegal_step_happen():
    """From free places near the door, in any direction; the released physics takes some."""
    rng = np.random.default_rng(0)
    start = np.stack([rng.uniform(85, 139, 3000), rng.uniform(25, 75, 3000)], axis=1)
    start = start[TASK.legal(start, start)]
    taken = []
    for task in (TASK.corrected(), TASK):
        simulator = task.simulator(len(start), 16)
        simulator.set_state(start)
        legal = np.ones(len(start), bool)
        for _ in range(5):
            before = simulator.state()
            simulator.step(rng.uniform(-1, 1, start.shape))
            legal &= task.legal(before, simulator.state())
        taken.append(legal)
    assert taken[0].all() and 0.05 < (~taken[1]).mean() < 0.5


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
