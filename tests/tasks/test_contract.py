"""The contract that every task must keep (contracts.Task, Simulator, Collector)."""

import functools
import warnings

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from harness.contracts.task import Collector, Simulator, Task

SIZE = 32


@functools.cache
def rollout(task, n=8, steps=40, seed=0):
    """States (steps + 1, n, S), actions (steps, n, a) and pictures (steps + 1, n, ...)."""
    collector = task.collector(np.random.default_rng(seed), n)
    simulator = task.simulator(n, SIZE)
    simulator.set_state(collector.start()[0])
    states, actions, pictures = [simulator.state()], [], [simulator.render()]
    for _ in range(steps):
        actions.append(collector.act(simulator.state()).copy())
        simulator.step(actions[-1])
        states.append(simulator.state())
        pictures.append(simulator.render())
    simulator.close()
    return np.stack(states), np.stack(actions), np.stack(pictures)


def test_protocols(task):
    collector = task.collector(np.random.default_rng(0), 3)
    assert isinstance(task, Task)
    assert isinstance(collector, Collector)
    assert isinstance(task.simulator(3, SIZE), Simulator)
    start, families = collector.start()
    assert start.shape == (3, len(task.spec.state_names)) and start.dtype == np.float64
    assert families.shape == (3,)
    assert collector.done(start).shape == (3,)


def test_gymnasium_accepts_the_environment(task):
    env = task.make_env(0, SIZE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it would have pixels as (height, width, 3)
        check_env(env)
    assert env.render().shape == (SIZE, SIZE, 3)
    env.close()
    env.close()


def test_environments_with_the_same_seed_start_alike(task):
    first, second, other = (task.make_env(seed, SIZE).reset()[1] for seed in (3, 3, 4))
    assert np.array_equal(first["state"], second["state"])
    assert not np.array_equal(first["state"], other["state"])


def test_same_seed_same_trajectory(task):
    once, again, other = (rollout.__wrapped__(task, 2, 15, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(*both) for both in zip(once, again, strict=True))
    assert not np.array_equal(once[1], other[1])


def test_recorded_actions_replay_to_the_recorded_states(task):
    states, actions, pictures = rollout(task)
    low, high = np.float32(task.spec.action_low), np.float32(task.spec.action_high)
    assert actions.dtype == np.float32 and (actions >= low).all() and (actions <= high).all()
    simulator = task.simulator(1, SIZE)
    simulator.set_state(states[0, :1])
    for t, action in enumerate(actions[:, :1]):
        simulator.step(action)
        assert np.array_equal(simulator.state(), states[t + 1, :1])
    assert np.array_equal(simulator.render(), pictures[-1, :1])


def test_reset_to_restores_state_and_picture(task):
    states, actions, pictures = rollout(task)
    env = task.make_env(0, SIZE)
    observation = task.reset_to(env, states[20, 2], states[-1, 2])
    assert np.array_equal(observation["pixels"], pictures[20, 2])
    _, _, terminated, _, info = env.step(actions[20, 2])
    assert np.array_equal(info["state"], states[21, 2])
    assert np.array_equal(info["goal"], states[-1, 2])
    assert terminated == task.success(states[21, 2:3], states[-1, 2:3])[0]


def test_steps_and_pictures_do_not_depend_on_the_other_copies(task):
    states, _, pictures = rollout(task)
    simulator = task.simulator(8, SIZE)
    simulator.set_state(states[-1])
    assert np.array_equal(simulator.render(np.array([6, 1])), pictures[-1][[6, 1]])
    assert simulator.render(np.array([], int)).shape == (0, 3, SIZE, SIZE)


def test_actions_are_clipped(task):
    spec = task.spec
    states, _, _ = rollout(task, n=2, steps=1)
    high = np.tile(np.float32(spec.action_high), (2, 1))
    after = []
    for actions in (high, 3 * high):
        simulator = task.simulator(2, SIZE)
        simulator.set_state(states[0])
        simulator.step(actions)
        after.append(simulator.state())
    assert np.array_equal(*after)


def test_observations_are_finite_and_vary(task):
    states, _, pictures = rollout(task)
    simulator = task.simulator(8, SIZE)
    simulator.set_state(states[-1])
    proprio = simulator.proprio()
    assert proprio.shape == (8, len(task.spec.proprio_names)) and proprio.dtype == np.float32
    assert np.isfinite(proprio).all() and np.isfinite(states).all()
    assert pictures.dtype == np.uint8 and pictures.shape[2:] == (3, SIZE, SIZE)
    assert pictures[0].std() > 0 and (pictures[0] != pictures[-1]).any()


def test_success_is_distance_and_holds_at_the_goal(task):
    states, _, _ = rollout(task)
    start, goal = states[0], states[-1]
    assert task.success(goal, goal).all()
    assert np.allclose(task.distance(goal, goal), 0)
    unsolved = ~task.success(start, goal)
    assert unsolved.any()
    assert (task.distance(start, goal)[unsolved] > 0).all()
    with pytest.raises(AssertionError, match="is not one of"):
        task.success(start, goal, "no such rule")


def test_strata_and_heuristic(task):
    states, _, _ = rollout(task)
    strata = task.strata(states[0], states[-1])
    assert strata.shape == (8,) and set(strata) <= set(task.spec.strata)
    action = task.heuristic(states[0], states[-1])
    assert action.shape == (8, task.spec.action_dim)
    low, high = np.array(task.spec.action_low), np.array(task.spec.action_high)
    assert (action >= low - 1e-6).all() and (action <= high + 1e-6).all()


def test_every_rule_has_a_sentence_and_holds_at_the_goal(task):
    goal = rollout(task)[0][-1]
    for rule, sentence in task.spec.success_rules.items():
        assert sentence.endswith(".") and task.success(goal, goal, rule).all()


def test_the_corrected_task_takes_legal_steps_alone(task):
    states, actions, _ = rollout(task)
    simulator = task.corrected().simulator(8, SIZE)
    simulator.set_state(states[0])
    legal = task.legal(states[0], states[0])  # a start may stand in a wall already
    for action in actions:
        before = simulator.state()
        simulator.step(action)
        after = simulator.state()
        assert task.legal(before, after)[legal].all()
    assert legal.any() and legal.shape == (8,)
