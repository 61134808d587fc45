"""Only a ceiling sees the pose of the scene, in the place of proprioception."""

import numpy as np
import tiny

from harness import trial, zoo
from harness.data import normalize, privileged
from harness.data.episodes import open_dataset
from harness.experiment.run_folders import RunFolders
from harness.records import run_tables


def test_poses_have_angles_as_sine_and_cosine_and_no_speeds():
    state = np.zeros((1, 10))
    state[0] = [1, 2, 3, 4, np.pi / 2, 5, 6, 7, 8, 9]  # Push-T: disc, tee, angle, five speeds
    assert np.allclose(zoo.TASKS["push_t"].pose(state), [[1, 2, 3, 4, 1, 0]])
    assert np.allclose(zoo.TASKS["reacher"].pose(np.array([[0.0, np.pi, 9, 9]])), [[0, 1, 0, -1]])


def test_cubes_pose_has_its_yaw():
    spec = zoo.TASKS["cube"].spec
    names = [name.partition(" ")[0] for name in spec.state_names]
    state = np.zeros((1, len(names)))
    for name, value in (("cube_x", 0.4), ("cube_qw", np.cos(0.3)), ("cube_qz", np.sin(0.3))):
        state[0, names.index(name)] = value
    pose = zoo.TASKS["cube"].pose(state)[0]
    assert pose[6] == 0.4 and np.allclose(pose[-2:], [np.sin(0.6), np.cos(0.6)])


def test_a_task_shows_the_pose_and_is_otherwise_the_same():
    task = zoo.TASKS["push_t"]
    start = task.collector(np.random.default_rng(0), 2).start()[0]
    shown = privileged.PoseTask(task)
    simulator = shown.simulator(2, 32)
    simulator.set_state(start)
    assert np.array_equal(simulator.proprio(), task.pose(start).astype(np.float32))
    assert shown.spec.model_dims(32).proprio_dim == 6 and task.spec.model_dims(32).proprio_dim == 4
    assert shown.success(start, start).all()


def test_a_ceilings_trial_on_a_task_whose_proprioception_is_no_pose(tmp_path):
    """From data to rows, on Push-T; it is not probed, since nothing was encoded."""
    spec = tiny.spec("true_state", "protocol.pairs=2", "train.steps=2", task="push_t")
    folders = RunFolders(str(tmp_path / "r"), "r", "s", str(tmp_path / "d"))
    row = trial.run(spec, folders, lambda *_: None)
    assert row.status == "ok" and row.role == "ceiling", row.error
    tables = run_tables.read(str(tmp_path / "r"))
    assert len(tables.episodes) >= 2 and "probing" not in set(tables.metrics["stage"])
    (folder,) = (tmp_path / "d").glob("push_t-*")
    dataset = open_dataset(str(folder))
    assert dataset.proprio.shape[1] == 4
    assert normalize.fit(privileged.with_pose(dataset, zoo.TASKS["push_t"])).proprio_mean.shape == (
        6,
    )
