"""Known answers for Cube, and ogbench's own environment and expert beside it."""

import copy
import itertools

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from harness.tasks import cube, cube_robot, rendering
from harness.tasks.cube import CUBE, CUBE_TURN, EFFECTOR, Cube

TASK = Cube()


def rollout(n, steps, seed=0):
    """States (steps + 1, n, 66) and actions (steps, n, 5) of the collector."""
    collector = TASK.collector(np.random.default_rng(seed), n)
    simulator = TASK.simulator(n, 16)
    simulator.set_state(collector.start()[0])
    states, actions = [simulator.state()], []
    for _ in range(steps):
        actions.append(collector.act(states[-1]))
        simulator.step(actions[-1])
        states.append(simulator.state())
    return np.stack(states), np.stack(actions)


@pytest.fixture(scope="module")
def recorded():
    return rollout(6, 80)


@pytest.fixture(scope="module")
def original():
    """ogbench's environment; it draws nothing here."""
    rendering.load()
    from ogbench.manipspace.envs.cube_env import CubeEnv

    return CubeEnv("single", mode="data_collection", visualize_info=False, terminate_at_goal=False)


def state_of(env, info):
    """Our state (66,) of ogbench's environment."""
    model, data = env.model, env.data
    site = data.site("ur5e/robotiq/pinch")
    assert np.array_equal(site.xpos, info["proprio/effector_pos"])
    sensed = [*site.xpos, *info["proprio/effector_yaw"], *info["proprio/gripper_contact"]]
    assert model.nq == 21 and model.nv == 20
    return np.concatenate([data.qpos, data.qvel, sensed, data.qacc_warmstart])


@pytest.mark.parametrize("policy", ["oracle", "random"])
def test_steps_and_expert_are_ogbenchs(original, policy):
    from ogbench.manipspace.oracles.markov.cube_markov import CubeMarkovOracle

    _, info = original.reset(seed=1)
    theirs, ours = CubeMarkovOracle(env=original), cube._oracle_class()(np.random.default_rng(0))
    np.random.seed(0)  # theirs draws from there
    theirs.reset(None, info)
    ours._final_pos, ours._final_yaw = theirs._final_pos, theirs._final_yaw
    target = cube.Target(
        info["privileged/target_block_pos"], info["privileged/target_block_yaw"][0]
    )
    simulator = TASK.simulator(1, 16)
    simulator.set_state(state_of(original, info)[None])
    rng, begin = np.random.default_rng(0), simulator.state()
    for _ in range(120):
        action = rng.uniform(-1, 1, 5)
        if policy == "oracle":
            wanted = theirs.select_action(None, info)
            facts = cube._oracle_info(simulator.state()[0], target)
            assert np.array_equal(wanted, ours.select_action(None, facts))
            action = np.clip(wanted + 0.1 * cube.NOISE_SCALE * action, -1, 1)
        info = original.step(action)[-1]
        simulator.step(action[None])
        assert np.array_equal(simulator.state()[0], state_of(original, info))
        proprio = [info[f"proprio/{name}"] for name in PROPRIO]
        assert np.array_equal(simulator.proprio()[0], np.concatenate(proprio).astype(np.float32))
    moved = TASK.distance(simulator.state(), begin)[0]
    assert (moved > 0.05) == (policy == "oracle")


PROPRIO = (
    "joint_pos",
    "joint_vel",
    "effector_pos",
    "effector_yaw",
    "gripper_opening",
    "gripper_vel",
    "gripper_contact",
)


def test_constants_are_ogbenchs(original):
    assert np.array_equal(cube_robot.ACTION_SCALE, original.action_high)
    assert np.array_equal(cube_robot.WORKSPACE, original._workspace_bounds)
    assert np.array_equal(cube_robot.HOME, original._home_qpos)
    assert np.array_equal(cube.ARM_START, original._arm_sampling_bounds)
    assert np.array_equal(cube.CUBE_START, original._object_sampling_bounds)
    assert np.array_equal(cube.CUBE_START, original._target_sampling_bounds)
    model = cube_robot.load().model
    names = [model.joint(i).name.rsplit("/")[-1] for i in range(len(cube_robot.JOINTS))]
    assert names == [f"{name}_joint" for name in cube_robot.JOINTS]


def test_start_holds_the_effector_where_it_was_drawn():
    begin, families = TASK.collector(np.random.default_rng(0), 20).start()
    assert (families == -1).all()
    low, high = cube.ARM_START
    inside = (begin[:, EFFECTOR][:, :3] > low - 1e-3) & (begin[:, EFFECTOR][:, :3] < high + 1e-3)
    assert inside.all()
    assert np.ptp(begin[:, CUBE], axis=0)[:2] == pytest.approx([0.25, 0.6], abs=0.15)


def test_cube_at_rest_stays_at_rest():
    begin, _ = TASK.collector(np.random.default_rng(0), 4).start()
    simulator = TASK.simulator(4, 16)
    simulator.set_state(begin)
    for _ in range(40):
        simulator.step(np.zeros((4, 5)))
    assert TASK.distance(simulator.state(), begin).max() < 1e-4  # it sinks a little into the table


def test_actions_move_the_effector_along_their_axes():
    begin = np.tile(TASK.collector(np.random.default_rng(3), 1).start()[0], (6, 1))
    simulator = TASK.simulator(6, 16)
    simulator.set_state(begin)
    for _ in range(4):
        simulator.step(np.concatenate([-0.3 * np.eye(5), np.zeros((1, 5))]))
    pose = simulator.state()[:, EFFECTOR]
    moved = (pose[:4] - pose[5]) / cube_robot.ACTION_SCALE[:4]  # the arm alone sinks a little
    assert (np.diag(moved) < -0.2).all()
    assert np.abs(moved - np.diag(np.diag(moved))).max() < 0.15
    simulator.step(np.tile([0, 0, 0, 0, 1.0], (6, 1)))
    assert (cube_robot.opening(simulator.state()) > 0.1).all()  # it closes


def test_success_within_4_cm_and_strata():
    goal = np.zeros((3, 66))
    state = goal.copy()
    state[:, CUBE] = [[0.039, 0, 0], [0, 0.03, 0.03], [0, 0, 0.041]]
    assert TASK.success(state, goal).tolist() == [True, False, False]
    assert TASK.strata(state, goal).tolist() == ["cube still", "cube moved", "cube moved"]
    assert TASK.distance(state, goal) == pytest.approx([0.039, 0.03 * 2**0.5, 0.041])


def test_turn_is_the_smallest_angle_to_any_of_the_24_rotations():
    """Against rotation matrices: permutations of the axes with signs, those of determinant 1."""
    signs = [np.diag(sign) for sign in itertools.product((1, -1), repeat=3)]
    matrices = [np.eye(3)[list(p)] @ s for p in itertools.permutations(range(3)) for s in signs]
    cubes = Rotation.from_matrix([m for m in matrices if np.linalg.det(m) > 0])
    assert len(cubes) == 24
    one, other = (Rotation.random(200, rng=np.random.default_rng(seed)) for seed in (0, 1))
    angles = np.stack([(one.inv() * other * cube_turn).magnitude() for cube_turn in cubes])
    quaternions = [-3.0 * r.as_quat(scalar_first=True) for r in (one, other)]
    assert cube.turn(*quaternions) == pytest.approx(angles.min(axis=0), abs=1e-6)
    assert angles.min(axis=0).max() < np.deg2rad(62.8)  # the farthest that two cubes can be


def test_the_pose_rule_takes_position_and_orientation_but_no_face():
    degrees = [0, 14.9, 15.1, 90, 104.9, 180]
    goal = np.zeros((8, 66))
    goal[:, CUBE_TURN] = 1, 0, 0, 0
    state = goal.copy()
    state[:6, CUBE_TURN] = [(np.cos(a / 2), 0, 0, np.sin(a / 2)) for a in np.deg2rad(degrees)]
    state[6, CUBE_TURN] = 0.5, 0.5, 0.5, 0.5  # a third of a turn about a diagonal
    state[7, CUBE] = 0, 0, 0.031
    expected = [True, True, False, True, True, True, True, False]
    assert TASK.success(state, goal, "pose").tolist() == expected
    state[:, CUBE] = 0, 0, 0.0299
    assert TASK.success(state, goal, "pose").tolist() == [*expected[:7], True]


def test_replay_reaches_every_goal_and_drawing_changes_nothing(recorded):
    states, actions = recorded
    begins = range(0, 51, 10)
    starts = np.concatenate([states[t] for t in begins])
    simulator = TASK.simulator(len(starts), 16)
    simulator.set_state(starts)
    for step in range(25):
        simulator.step(np.concatenate([actions[t + step] for t in begins]))
        if step % 10 == 0:
            simulator.render(np.array([step, 1]))
    assert np.array_equal(simulator.state(), np.concatenate([states[t + 25] for t in begins]))


def test_expert_moves_the_cube_and_the_heuristic_beats_random(recorded):
    states, _ = recorded
    moved = TASK.strata(states[0], states[-1]) == "cube moved"
    assert moved.mean() > 0.5
    starts, goals = states[30], states[55]
    rng, near, effector = np.random.default_rng(0), {}, {}
    policies = {
        "random": lambda state: rng.uniform(-1, 1, (len(state), 5)),
        "heuristic": lambda state: TASK.heuristic(state, goals),
    }
    simulator = TASK.simulator(len(starts), 16)
    for name, policy in policies.items():
        simulator.set_state(starts)
        distances = []
        for _ in range(40):
            simulator.step(policy(simulator.state()))
            distances.append(TASK.distance(simulator.state(), goals))
        near[name] = np.min(distances, axis=0).mean()
        reached = simulator.state()[:, EFFECTOR] - goals[:, EFFECTOR]
        effector[name] = np.linalg.norm(reached[:, :3], axis=1).max()
    assert near["heuristic"] < near["random"]
    assert effector["heuristic"] < 0.01 < effector["random"]


def test_goal_is_not_drawn_and_the_cube_is():
    begin, _ = TASK.collector(np.random.default_rng(0), 1).start()
    mujoco, model = rendering.load(), copy.copy(cube_robot.load().model)
    camera = rendering.Camera(model, cube.CAMERA, 64, "plain")
    pictures = []
    for target, place in (((0.4, 0, 0.02), begin[0, CUBE]), ((0.5, 0.2, 0.02), begin[0, CUBE])):
        data = mujoco.MjData(model)
        data.qpos[:] = begin[0, cube.POSITIONS]
        data.qpos[CUBE] = place
        data.mocap_pos[0] = target
        pictures.append(camera.draw([data])[0])
    data.qpos[CUBE] = (0.4, 0.0, 0.02)
    other = camera.draw([data])[0]
    camera.close()
    assert np.array_equal(*pictures)
    assert (pictures[0] != other).any()


def test_coarse_meshes_look_alike():
    model = cube_robot.load().model
    state = TASK.collector(np.random.default_rng(0), 1).start()[0]
    coarse, fine = TASK.simulator(1, 96), []
    coarse.set_state(state)
    picture = coarse.render().astype(int)
    camera = rendering.Camera(model, cube.CAMERA, 96, "plain")
    fine = camera.draw(coarse._copies).astype(int)
    camera.close()
    assert 0 < np.abs(picture - fine).mean() < 1.0
    assert model.mesh_facenum.sum() > 3 * cube._drawn("plain").mesh_facenum.sum()


def test_every_other_episode_goes_astray():
    collector = TASK.collector(np.random.default_rng(0), 64)
    states = collector.start()[0]
    actions = np.stack([collector.act(states) for _ in range(60)])
    held = (actions[1:] == actions[:-1]).all(axis=-1).mean(axis=0)  # noise never repeats itself
    assert not held[::2].any()
    # 12.5 of 26.5 steps astray, 2 of 3 of them as the one before
    assert abs(held[1::2].mean() - 0.31) < 0.05
