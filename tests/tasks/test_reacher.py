"""Known answers for Reacher, dm_control's own task beside it, and the renderer both MuJoCo tasks
share.
"""

import copy
import os
import subprocess
import sys

import numpy as np
import pytest

from harness.tasks import reacher, rendering
from harness.tasks.reacher import Reacher

TASK = Reacher()
LINKS = np.array([0.12, 0.12])  # m: shoulder to wrist, wrist to finger
CAMERA_HEIGHT, CAMERA_FOVY = 0.74, 45.0  # m above the arm, degrees


def rollout(n, steps, seed=0):
    """States (steps + 1, n, 4) and actions (steps, n, 2) of the collector."""
    collector = TASK.collector(np.random.default_rng(seed), n)
    simulator = TASK.simulator(n, 16)
    simulator.set_state(collector.start()[0])
    states, actions = [simulator.state()], []
    for _ in range(steps):
        actions.append(collector.act(states[-1]))
        simulator.step(actions[-1])
        states.append(simulator.state())
    return np.stack(states), np.stack(actions)


def finger(angles):
    """(n, 2) m, from trigonometry."""
    absolute = np.cumsum(angles[:, :2], axis=1)
    return np.stack([np.cos(absolute) @ LINKS, np.sin(absolute) @ LINKS], axis=1)


def test_forward_kinematics():
    mujoco, model = rendering.load(), reacher._model()
    angles = np.random.default_rng(0).uniform(-2.7, 2.7, (20, 2))
    for row, expected in zip(angles, finger(angles), strict=True):
        data = mujoco.MjData(model)
        data.qpos[:] = row
        mujoco.mj_kinematics(model, data)
        assert data.geom("finger").xpos[:2] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("size", [64, 96])
@pytest.mark.parametrize("scene", ["plain", "full"])
def test_picture_shows_the_finger_where_it_is(size, scene):
    state = np.zeros((4, 4))
    state[:, :2] = [[0, 0], [1.5, 0.5], [-2.5, -0.5], [3, 1]]
    simulator = Reacher(scene).simulator(4, size)
    simulator.set_state(state)
    pitch = 2 * CAMERA_HEIGHT * np.tan(np.deg2rad(CAMERA_FOVY / 2)) / size  # m per pixel
    for image, (x, y) in zip(simulator.render(), finger(state), strict=True):
        row, column = (size - 1) / 2 - y / pitch, (size - 1) / 2 + x / pitch
        arm = np.argwhere(image[0] > 128)  # the only red in the scene
        assert np.linalg.norm(arm - (row, column), axis=1).min() < 1.0
        assert len(arm) < 0.03 * size**2
    simulator.close()


def test_steps_are_dm_controls():
    from dm_control.suite import reacher as original

    env = original.easy(random=0)
    data, rng = env.physics.data, np.random.default_rng(0)
    simulator = TASK.simulator(1, 16)
    touched = 0
    for push in (0.0, 1.0):  # about the middle; into the wrist's limit
        env.reset()
        simulator.set_state(np.concatenate([data.qpos, data.qvel])[None])
        tolerance = 0.0  # to the last bit, until the limit makes the solver work
        for _ in range(200):
            action = np.clip(rng.normal(push, 0.7, (1, 2)), -1, 1)
            for _ in range(2):
                env.step(action[0])
                if abs(data.qpos[1]) > reacher.WRIST_LIMIT - 0.1:
                    tolerance = 1e-13
            simulator.step(action)
            difference = simulator.state()[0] - np.concatenate([data.qpos, data.qvel])
            assert np.abs(difference).max() <= tolerance
        touched += tolerance > 0
    assert touched


def test_success_takes_every_joint_and_the_shoulder_as_it_is():
    goal = np.zeros((5, 4))
    state = goal.copy()
    state[:, :2] = [[0.049, -0.049], [0.051, 0], [0, 0.051], [2 * np.pi, 0], [-2 * np.pi, 0.051]]
    assert TASK.success(state, goal).tolist() == [True, False, False, False, False]
    assert TASK.success(state, goal, "wrapped").tolist() == [True, False, False, True, False]
    assert TASK.distance(state, goal) == pytest.approx([0.049, 0.051, 0.051, 2 * np.pi, 2 * np.pi])
    state[:, 2:] = 7.0  # speeds do not matter
    assert TASK.success(state, goal)[0]


def test_the_fingertip_rule_takes_the_position_however_the_joints_reach_it():
    goal = np.zeros((4, 4))
    goal[:, :2] = [[0.3, 0.8]] * 4
    state = goal.copy()
    state[0, :2] = 0.3 + 0.8, -0.8  # the elbow on the other side
    state[1, 0] += 2 * np.pi
    reach = np.linalg.norm(reacher.fingertip(goal)[0])
    state[2, 0] += 0.0099 / reach  # an arc just shorter and just longer than 1 cm
    state[3, 0] += 0.0102 / reach
    assert TASK.success(state, goal, "fingertip").tolist() == [True, True, True, False]
    assert TASK.success(state, goal, "wrapped").tolist() == [False, True, True, True]
    angles = np.random.default_rng(0).uniform(-2.7, 2.7, (20, 4))
    assert reacher.fingertip(angles) == pytest.approx(finger(angles), abs=1e-12)


def test_strata():
    goal = np.zeros((3, 4))
    state = np.array([[0.5, -0.4, 0, 0], [0.51, 0, 0, 0], [0, -0.51, 0, 0]])
    assert TASK.strata(state, goal).tolist() == ["near", "far", "far"]


def test_target_is_not_drawn():
    model = copy.copy(reacher._model())
    pictures = []
    for place in ((0.05, 0.05, 0.01), (-0.15, 0.1, 0.01)):
        model.geom("target").pos[:] = place
        camera = rendering.Camera(model, reacher.CAMERA, 96, "full")
        pictures.append(camera.draw([rendering.load().MjData(model)]))
        camera.close()
    assert np.array_equal(*pictures)


def test_collector_is_half_uniform_half_reaching():
    states, actions = rollout(20, 150)
    uniform = TASK.collector(np.random.default_rng(0), 20)._uniform
    assert uniform.sum() == 10
    assert np.abs(actions[:, uniform].mean()) < 0.05
    assert actions[:, uniform].std() == pytest.approx(3**-0.5, abs=0.02)
    steps = np.abs(np.diff(actions, axis=0)).mean(axis=(0, 2))
    assert steps[~uniform].max() < 0.5 * steps[uniform].min()  # smooth
    travel = TASK.distance(states[:-25], states[25:]).mean(axis=0)
    assert travel[~uniform].mean() > 1.2 * travel[uniform].mean()  # farther, and yet slower
    speeds = np.abs(states[:, :, 2:]).mean(axis=(0, 2))
    assert speeds[~uniform].mean() < 0.7 * speeds[uniform].mean()


def test_replay_reaches_every_goal_and_the_heuristic_beats_random():
    states, actions = rollout(30, 60)
    starts, goals = states[[0, 10, 20, 30]], states[[25, 35, 45, 55]]
    starts, goals = starts.reshape(-1, 4), goals.reshape(-1, 4)
    recorded = np.stack([actions[t : t + 25] for t in (0, 10, 20, 30)], axis=1)
    simulator = TASK.simulator(len(starts), 16)
    simulator.set_state(starts)
    for action in recorded.reshape(25, -1, 2):
        simulator.step(action)
    assert np.array_equal(simulator.state(), goals)

    rng, solved = np.random.default_rng(0), {}
    policies = {
        "random": lambda state: rng.uniform(-1, 1, (len(state), 2)),
        "heuristic": lambda state: TASK.heuristic(state, goals),
    }
    for name, policy in policies.items():
        simulator.set_state(starts)
        hit = TASK.success(starts, goals)
        for _ in range(50):
            simulator.step(policy(simulator.state()))
            hit |= TASK.success(simulator.state(), goals)
        solved[name] = hit.mean()
    assert solved["heuristic"] > 0.95 and solved["random"] < 0.3


def test_simulators_share_the_renderer():
    small, large = TASK.simulator(2, 32), Reacher("full").simulator(2, 48)
    first, second = small.render(), large.render()
    assert first.shape == (2, 3, 32, 32) and second.shape == (2, 3, 48, 48)
    assert np.array_equal(small.render(), first) and np.array_equal(large.render(), second)
    for simulator in (small, large, large, small):
        simulator.close()
    assert np.array_equal(small.render(), first)
    with pytest.raises(AssertionError, match="is not one of"):
        Reacher("bright").simulator(1, 32)


def test_meshes_become_coarser_only_for_pictures():
    vertices = np.array([[0, 0, 0], [1e-3, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1e-3, 0]])
    faces = np.array([[0, 1, 2], [0, 2, 3], [1, 4, 3], [2, 3, 4]])
    merged, kept = rendering._merged(vertices, faces, 0.01)
    assert kept.tolist() == [1] and merged.tolist() == [[0, 2, 3]]
    merged, kept = rendering._merged(vertices, faces, 1e-6)
    assert kept.tolist() == [0, 1, 2, 3] and np.array_equal(merged, faces)


@pytest.mark.parametrize("backend", ["", "osmesa"])
def test_nothing_is_imported_early_and_exit_is_silent(backend):
    code = """
import os, sys
from harness.tasks.reacher import Reacher
assert not {"mujoco", "dm_control", "OpenGL"} & set(sys.modules)
simulators = [Reacher(scene).simulator(1, 32) for scene in ("plain", "full")]
shades = [simulator.render().mean() for simulator in simulators]
assert 0 < shades[0] < shades[1], shades
print(os.environ["MUJOCO_GL"])
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "MUJOCO_GL": backend, "PYOPENGL_PLATFORM": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert done.stdout.strip() == (backend or "egl") or done.stdout.strip() == "osmesa"
