"""Known answers for Push-T."""

import numpy as np
import pymunk
import pytest

from harness.data import collect, episodes
from harness.evaluate import pairs
from harness.experiment.protocols import ProtocolConfig
from harness.tasks import push_t_collect, push_t_physics, push_t_scene
from harness.tasks.push_t import PushT, turn

TASK = PushT()
SIZE = 16


def simulator(states, size=SIZE):
    states = np.atleast_2d(np.asarray(states, float))
    padded = np.zeros((len(states), 10))
    padded[:, : states.shape[1]] = states
    copies = TASK.simulator(len(states), size)
    copies.set_state(padded)
    return copies


def collected(n, steps, seed=0):
    """States (steps + 1, n, 10), actions (steps, n, 2) and the collector."""
    collector = TASK.collector(np.random.default_rng(seed), n)
    copies = simulator(collector.start()[0])
    states, actions = [copies.state()], []
    for _ in range(steps):
        actions.append(collector.act(copies.state()))
        copies.step(actions[-1])
        states.append(copies.state())
    return np.stack(states), np.stack(actions), collector


@pytest.fixture(scope="module")
def recording():
    return collected(64, 150)


def test_tee_is_the_references():
    bar, stem = (box.tolist() for box in push_t_scene.BOXES)
    assert bar == [[-60, 0], [60, 0], [60, 30], [-60, 30]]
    assert stem == [[-15, 30], [15, 30], [15, 120], [-15, 120]]
    assert push_t_scene.TEE_COG == (0, (15 + 75) / 2)
    # a rectangle's moment about its centre, and the parallel axis theorem; twice, as there
    moment = (120**2 + 30**2) / 12 + 15**2
    assert pytest.approx(2 * moment) == push_t_scene.TEE_INERTIA
    assert pymunk.moment_for_poly(1, bar) == pytest.approx(moment)
    body = push_t_physics.Physics()._tee
    assert (body.mass, body.moment, body.center_of_gravity) == (1, pytest.approx(3000), (0, 45))
    assert [shape.friction for shape in body.shapes] == [0, 0]


@pytest.mark.parametrize(
    ("start", "action", "steps", "end"),
    [  # as computed by stable-worldmodel 0.1.1 with float64 actions; the disc touches the tee
        (
            *((150, 250, 256, 256, 0.5), (0.3, 0.05), 20),
            (390.843091, 290.140515, 423.268927, 333.81885, 1.886424, 111.513622, 18.585604),
        ),
        (
            *((256, 130, 256, 256, 3.0), (0.05, 0.4), 15),
            (285.967217, 369.737733, 200.913806, 326.075204, 3.77273, 18.585604, 148.68483),
        ),
        (
            *((380, 300, 300, 256, 5.0), (-0.5, 0.1), 12),
            (141.367626, 347.726475, 290.823289, 236.776668, 5.25806, -185.856037, 37.171207),
        ),
    ],
)
def test_trajectories_are_the_references(start, action, steps, end):
    copy = simulator(start)
    for _ in range(steps):
        copy.step(np.array([action]))
    assert copy.state()[0, :7] == pytest.approx(end, abs=2e-6)


def test_agent_reaches_a_target_without_overshoot():
    goal = simulator([400, 90, 250, 330, 0]).state()
    copy = simulator([100, 60, 250, 330, 0])
    for _ in range(60):
        copy.step(TASK.heuristic(copy.state(), goal))
        assert copy.state()[0, 0] < 400.01
    assert copy.state()[0, :2] == pytest.approx([400, 90], abs=0.01)
    assert copy.state()[0, 5:7] == pytest.approx([0, 0], abs=0.1)


def test_actions_are_relative_and_follow_the_pd_law():
    copy = simulator([100, 200, 400, 400, 0])
    position, velocity = 100.0, 0.0
    for action in (1.0, -0.5):
        target = position + 100 * action
        for _ in range(10):
            velocity += (100 * (target - position) - 20 * velocity) * 0.01
            position += velocity * 0.01
        copy.step(np.array([[action, 0.0]]))
        assert copy.state()[0, [0, 1, 5, 6]] == pytest.approx([position, 200, velocity, 0])


def test_block_at_rest_stays_at_rest():
    """Exactly, while the disc moves elsewhere; and just as well where the physics is asked."""
    start = [100, 60, 250, 330, 1.234]
    copy = simulator(start)
    for action in ((1, 0), (0, -1), (-1, 0.5), (0, 0)):
        copy.step(np.array([action], float))
    assert copy.state()[0, 2:5].tolist() == start[2:5]
    assert not copy.state()[0, 7:].any()
    state = simulator(start).state()[0].tolist()
    pose, motion = push_t_physics.Physics().step(state, [[0.0, 0.0]] * 10)
    assert pose == pytest.approx(start[2:5], abs=1e-10) and motion == pytest.approx((0, 0, 0))


def test_walls_hold_the_block():
    """A tee that overlaps a wall is moved back to its face, whichever wall it is."""
    for side, (x, y) in enumerate([(508, 256), (256, 508), (3, 256), (256, 3)]):
        pose = (x, y, np.pi / 2 * (side + 1))  # its bar's outer edge faces the wall
        copy = simulator([256, 256, *pose])
        for _ in range(60):
            copy.step(np.zeros((1, 2)))
        corners = push_t_scene.to_world(copy.state()[0, 2:5], push_t_scene.BOXES[0])
        depth = max(7 - corners.min(), corners.max() - 504)
        assert 0 < depth < 0.2  # the solver leaves 0.1
        assert copy.state()[0, 4] == pytest.approx(pose[2] % (2 * np.pi), abs=1e-3)


def test_success_needs_position_and_angle():
    goal = np.tile([100.0, 100, 300, 300, 0.1, 0, 0, 0, 0, 0], (7, 1))
    state = goal.copy()
    state[1, 0] += 19.99
    state[2, 3] += 20.0
    state[3, [0, 1, 2, 3]] += 10.01  # each is near, their norm is not
    state[4, 4] = 2 * np.pi - 0.1  # 0.2 rad across the seam
    state[5, 4] += np.pi / 9 + 1e-6
    state[6, 5:] = 500.0  # velocities do not count
    assert TASK.success(state, goal).tolist() == [True, True, False, False, True, False, True]
    assert TASK.distance(state, goal) == pytest.approx([0, 19.99, 20, 20.02, 0, 0, 0])


def test_the_block_rule_takes_the_tee_alone_and_half_the_distances():
    goal = np.tile([100.0, 100, 300, 300, 0.1, 0, 0, 0, 0, 0], (6, 1))
    state = goal.copy()
    state[0, :2] = 400  # the disc does not count
    state[1, 2:4] += 7.0  # 9.9 px
    state[2, 2:4] += 7.1  # 10.04 px
    state[3, 4] += np.deg2rad(9.99)
    state[4, 4] += np.deg2rad(10.01)
    state[5, 4] = 2 * np.pi - 0.07  # 0.17 rad across the seam, 9.7 degrees
    assert TASK.success(state, goal, "block").tolist() == [True, True, False, True, False, True]


def test_strata():
    start = np.zeros((4, 10))
    start[:, 4] = 6.2
    goal = start.copy()
    goal[0, :4] = 90, 90, 14, 14
    goal[1, 2:4] = 15
    goal[2, 4] = 0.1  # across the seam
    goal[3, 4] = 0.3
    expected = ["block still", "block moved", "block still", "block moved"]
    assert TASK.strata(start, goal).tolist() == expected


def test_turn_wraps():
    state, goal = np.zeros((3, 10)), np.zeros((3, 10))
    state[:, 4], goal[:, 4] = (0.1, 6.2, 1.0), (6.2, 0.1, 1.0 + np.pi)
    assert turn(state, goal) == pytest.approx([0.1 + 2 * np.pi - 6.2] * 2 + [np.pi])


def test_a_step_depends_on_state_and_action_alone(recording):
    """Every recorded step, from its state in a simulator with another past, in another order."""
    states, actions, _ = recording
    before = states[:-1].reshape(-1, 10)
    order = np.random.default_rng(0).permutation(len(before))[:3000]
    copies = TASK.simulator(len(order), SIZE)
    copies.set_state(before[order])
    copies.step(actions.reshape(-1, 2)[order])
    assert np.array_equal(copies.state(), states[1:].reshape(-1, 10)[order])


def test_replay_solves_every_pair(tmp_path):
    config = collect.DataConfig(episodes=40, max_steps=50, image_size=SIZE)
    dataset = episodes.open_dataset(collect.ensure(TASK, config, str(tmp_path)))
    drawn, _ = pairs.draw(dataset, TASK, ProtocolConfig(pairs=20), seed=0)
    copies = TASK.simulator(len(drawn), SIZE)
    copies.set_state(np.stack([pair.start_state for pair in drawn]))
    for step in range(25):
        copies.step(np.stack([pair.actions[step] for pair in drawn]))
    goals = np.stack([pair.goal_state for pair in drawn])
    assert np.array_equal(copies.state(), goals) and TASK.success(copies.state(), goals).all()
    assert np.array_equal(copies.render(), np.stack([pair.goal_pixels for pair in drawn]))


def test_collector_moves_and_turns_the_block(recording):
    states, _, _ = recording
    start, goal = (part.reshape(-1, 10) for part in (states[:-25], states[25:]))
    assert np.mean(turn(start, goal) > np.pi / 9) > 0.5
    assert np.mean(np.linalg.norm((start - goal)[:, 2:4], axis=1) > 20) > 0.65
    assert 0.03 < np.mean(TASK.strata(start, goal) == "block still") < 0.25
    assert np.mean(push_t_scene.within_walls(states[..., 2:5], -5.0)) > 0.99


def test_moments_are_those_of_the_published_set():
    """DINO-WM's constants: action std 0.2, disc speed 75 px/s, tee 53 and 57 px."""
    states, actions, _ = collected(256, 150)  # 64 families
    assert np.abs(actions.std((0, 1)) - 0.2).max() < 0.02 and np.abs(actions.mean()) < 0.02
    assert np.abs(states[..., 5:7].std((0, 1)) - 75).max() < 6
    assert np.abs(states[..., 2:4].std((0, 1)) - 55).max() < 6


def test_families_share_initial_states_and_chunks_do_not_share_families():
    families = []
    for seed in (0, 1):
        start, family = TASK.collector(np.random.default_rng(seed), 64).start()
        names, counts = np.unique(family, return_counts=True)
        assert len(names) == 16 and (counts == 4).all() and names.min() >= 0
        assert all(len(np.unique(start[family == name], axis=0)) == 1 for name in names)
        assert push_t_scene.within_walls(start[:, 2:5], push_t_collect.WALL_MARGIN).all()
        assert (push_t_scene.tee_distance(start[:, 2:5], start[:, :2]) >= 20).all()
        assert start[:, 2:4].min() >= 170 and start[:, 2:4].max() <= 340
        families += names.tolist()
    assert len(set(families)) == 32
    assert len(np.unique(TASK.collector(np.random.default_rng(0), 2).start()[0], axis=0)) == 2


def test_pusher_foresees_what_a_push_does():
    """A short push at every contact shifts and turns the tee as the pusher reckons."""
    pose = np.array([256.0, 256.0, 0.7])
    points = push_t_collect.CONTACTS
    normal = push_t_scene.rotate(pose[2], push_t_collect.NORMALS)
    agent = push_t_scene.to_world(pose, points) + 15.0 * normal
    copies = simulator(np.concatenate([agent, np.tile(pose, (len(points), 1))], axis=1))
    copies.step(-0.01 * normal)
    after = copies.state()
    pushed = np.linalg.norm(after[:, :2] - agent, axis=1)
    assert pushed == pytest.approx(100 * 0.01 * push_t_collect.STEP_TARGET, rel=1e-3)
    centre = np.array(push_t_scene.TEE_COG)
    moved = push_t_scene.to_world(after[:, 2:5], centre) - push_t_scene.to_world(pose, centre)
    shift = push_t_scene.rotate(pose[2], push_t_collect.SHIFT) * pushed[:, None]
    assert moved == pytest.approx(shift, abs=0.06)
    assert after[:, 4] - pose[2] == pytest.approx(push_t_collect.TURN * pushed, abs=1e-3)


def picture(state, size):
    return simulator(state, size).render()[0].astype(float)


def test_picture_at_512():
    image = picture([100, 120, 250, 200, 0], 512)
    assert image[:, 120, 100].tolist() == list(push_t_scene.AGENT_LIGHT)
    assert image[:, 120, 113].tolist() == list(push_t_scene.AGENT_DARK)
    assert image[:, 215, 250].tolist() == list(push_t_scene.TEE_LIGHT)  # bar
    assert image[:, 300, 250].tolist() == list(push_t_scene.TEE_LIGHT)  # stem
    for y, x in ((230, 250), (200, 220), (320, 250), (270, 235), (215, 310)):  # outlines, seam
        assert image[:, y, x].tolist() == list(push_t_scene.TEE_DARK)
    for y, x in ((260, 290), (196, 250), (325, 250), (120, 117), (20, 20)):
        assert image[:, y, x].tolist() == [255, 255, 255]
    assert image[:, 5, 250].tolist() == image[:, 250, 506].tolist() == [211, 211, 211]


def exact(state, size, factor=16):
    """Each pixel the mean of what it covers, seen `factor` times as large."""
    fine = picture(state, size * factor)
    return fine.reshape(3, size, factor, size, factor).mean(axis=(2, 4))


@pytest.mark.parametrize("size", [64, 96])
def test_pictures_carry_fractions_of_a_pixel_and_of_a_degree(size):
    """What a small move changes is what it would change if each pixel were averaged exactly."""
    state = np.array([130.3, 340.7, 280.2, 210.9, 2.345])
    before = picture(state, size)
    assert np.abs(before - exact(state, size)).mean() < 0.25
    assert np.abs(before - exact(state, size)).max() < 40
    for moved, by in ((0, 1.0), (3, 1.0), (4, np.radians(1))):  # agent x, block y, angle
        after = state.copy()
        after[moved] += by
        seen = picture(after, size) - before
        expected = exact(after, size) - exact(state, size)
        assert np.corrcoef(seen.ravel(), expected.ravel())[0, 1] > 0.9
        assert np.abs(seen).sum() == pytest.approx(np.abs(expected).sum(), rel=0.25)


def test_drawing_a_patch_changes_nothing_outside_it(monkeypatch):
    states = collected(24, 20)[0][-1]
    states[:4, 2:4] = (0, 0), (512, 300), (505, 505), (-300, 90)  # partly or wholly outside
    states[4:8, :2] = (0, 0), (512, 300), (505, 505), (-300, 90)
    for size in (16, 64, 96):
        painted = simulator(states, size).render()
        with monkeypatch.context() as patch:
            patch.setattr(push_t_scene.Painter, "_patch", _whole)
            assert np.array_equal(painted, simulator(states, size).render())


def _whole(self, centre, reach):
    pixel = np.broadcast_to(np.arange(self._size), (*centre.shape, self._size))
    return np.zeros(centre.shape, int), (pixel + 0.5) * self._pitch - 0.5
