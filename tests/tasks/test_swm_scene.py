"""The scene `swm` is the picture of stable-worldmodel 0.1.1: against pictures that are kept here,
and against the package where it is installed.

swm/<task>.png holds pictures of 224 px side by side, swm/states.json their states in the columns of
the released files. They were drawn by stable-worldmodel 0.1.1 with pygame 2.6.1, OpenCV 5.0.0 and
MuJoCo 3.17.0 under OSMesa.
"""

import functools
import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from harness import zoo
from harness.tasks import rendering

SIZE = 224
KEPT = Path(__file__).parent / "swm"
STATES = json.loads((KEPT / "states.json").read_text())
DRAWN_BY_US = ("two_room", "push_t")
ON_ANY_GL = 0.5  # mean difference of values that another GL may make


def draw(task, states, scene="swm", size=SIZE):
    """Pictures of states, which may lack the columns that no released file has."""
    task = zoo.task(task, scene)
    full = np.zeros((len(states), len(task.spec.state_names)))
    full[:, : np.shape(states)[1]] = states
    simulator = task.simulator(len(states), size)
    simulator.set_state(full)
    pictures = simulator.render()
    simulator.close()
    return pictures


def kept(task):
    strip = np.asarray(Image.open(KEPT / f"{task}.png")).transpose(2, 0, 1)
    return np.stack(np.split(strip, strip.shape[2] // SIZE, axis=2))


@functools.cache
def drawn(task, scene):
    return draw(task, STATES[task], scene)


def difference(ours, theirs):
    return np.abs(ours.astype(int) - theirs)


@pytest.mark.parametrize("task", DRAWN_BY_US)
def test_pictures_drawn_without_gl_are_equal(task):
    assert difference(drawn(task, "swm"), kept(task)).max() == 0


@pytest.mark.parametrize("task", ["reacher", "cube"])
def test_pictures_of_mujoco_are_equal_but_for_the_gl(task):
    assert difference(drawn(task, "swm"), kept(task)).mean() < ON_ANY_GL
    assert difference(drawn(task, "plain"), kept(task)).mean() > 10


def test_the_cube_is_seen_one_physics_step_late():
    late, prompt = (
        difference(drawn("cube", scene), kept("cube")).mean() for scene in ("swm", "full")
    )
    assert late < prompt / 4


@pytest.mark.parametrize("task", STATES)
def test_other_sizes_are_pillows_of_224_px(task):
    (small,), large = draw(task, STATES[task][:1], size=64), drawn(task, "swm")[0]
    image = Image.fromarray(large.transpose(1, 2, 0)).resize((64, 64), Image.Resampling.BILINEAR)
    assert np.array_equal(np.asarray(image).transpose(2, 0, 1), small)


@pytest.mark.parametrize("task", STATES)
def test_a_picture_depends_on_the_state_alone(task):
    task = zoo.task(task, "swm")
    simulator, other = task.simulator(2, 64), task.simulator(1, 64)
    simulator.set_state(task.collector(np.random.default_rng(0), 2).start()[0])
    for _ in range(3):
        simulator.step(np.ones((2, task.spec.action_dim), np.float32))
    pictures = simulator.render()
    other.set_state(simulator.state()[1:])
    assert np.array_equal(other.render(), pictures[1:])


@pytest.mark.parametrize("task", DRAWN_BY_US)
def test_the_other_scenes_are_one(task):
    assert np.array_equal(*(draw(task, STATES[task], scene) for scene in ("plain", "full")))
    with pytest.raises(AssertionError, match="scene 'dark' is not one of"):
        zoo.task(task, "dark").simulator(1, 64)


def test_a_tee_and_a_disc_outside_the_picture_are_not_drawn():
    far = np.array([[900.0, 256, 256, 900, 1], [-5000, -5000, -5000, -5000, 2]])
    empty, other = draw("push_t", far)
    assert np.array_equal(empty, other) and len(np.unique(empty.reshape(3, -1), axis=1).T) > 2


@pytest.mark.parametrize("task", STATES)
def test_pictures_equal_those_of_the_package(task, tmp_path):
    pytest.importorskip("stable_worldmodel", reason="stable-worldmodel is not installed")
    if (version := importlib.metadata.version("stable-worldmodel")) != "0.1.1":
        pytest.skip(f"the scene is that of stable-worldmodel 0.1.1, installed is {version}")
    rendering.load()  # chooses the GL for both
    out = tmp_path / "peer.npz"
    done = subprocess.run(
        [sys.executable, "-m", "tests.tasks.peer_swm", task, "80", str(out)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
    )
    assert out.exists(), done.stderr
    peer = np.load(out)
    assert difference(draw(task, peer["states"]), peer["pictures"]).max() == 0
