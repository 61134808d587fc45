"""The tasks by their gymnasium ids."""

import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
import started
from gymnasium.utils.env_checker import check_env

import jepa_bench

IDS = [f"jepa_bench/{name}-v0" for name in jepa_bench.TASKS]


@pytest.fixture(params=IDS)
def env(request):
    env = gymnasium.make(request.param, image_size=32)
    yield env
    env.close()


def test_gymnasium_accepts_it(env):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it would have pixels as (height, width, 3)
        check_env(env.unwrapped)
    assert env.unwrapped.spec.id in IDS


def test_a_seed_draws_start_and_goal(env):
    infos = [env.reset(seed=seed)[1] for seed in (0, 0, 1)]
    for part in ("state", "goal"):
        first, again, other = (info[part] for info in infos)
        assert np.array_equal(first, again) and not np.array_equal(first, other)
    task = env.unwrapped._task
    states = np.stack([infos[0]["state"], infos[2]["state"]])
    goals = np.stack([infos[0]["goal"], infos[2]["goal"]])
    assert (task.distance(states, goals) > 0).all()


def test_the_reward_is_reaching_the_goal(env):
    _, info = env.reset(seed=0)
    assert not env.unwrapped._task.success(info["state"][None], info["goal"][None]).any()
    still = np.zeros(env.action_space.shape, np.float32)
    _, reward, terminated, truncated, _ = env.step(still)
    assert (reward, terminated, truncated) == (0.0, False, False)
    env.reset(options={"state": info["goal"], "goal": info["goal"]})
    _, reward, terminated, _, _ = env.step(still)
    assert (reward, terminated) == (1.0, True)


def test_an_episode_is_as_long_as_a_recorded_one():
    env = gymnasium.make("jepa_bench/Toy-v0", image_size=8)
    env.reset(options={"state": np.zeros(2), "goal": np.ones(2)})
    ends = [env.step(np.zeros(2, np.float32))[2:4] for _ in range(jepa_bench.MAX_STEPS)]
    assert ends[-1] == (False, True) and set(ends[:-1]) == {(False, False)}


def test_gymnasium_imports_the_module_of_an_id():
    code = "import gymnasium; print(gymnasium.make('jepa_bench:jepa_bench/Toy-v0').spec.id)"
    words = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, cwd=started.ROOT)
    assert done.stdout.strip() == "jepa_bench/Toy-v0", done.stderr
