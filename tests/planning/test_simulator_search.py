"""Planning in the simulator: what a plan costs there, and whose plan it is."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import tiny
import torch

from baselines.oracle import OracleConfig, pose_distance
from harness import trial, zoo
from harness.contracts.method import StatePolicy
from harness.data import normalize
from harness.data.privileged import PoseTask, with_pose
from harness.evaluate import control, pairs
from harness.experiment.run_folders import RunFolders
from harness.planning import cem
from harness.planning.simulator_search import SimulatorPolicy
from harness.runtime import seeding

SPEC = tiny.spec("oracle", task="two_room")


@pytest.fixture(scope="module")
def problem(datasets):
    """The task that shows poses, its normalizer, and pairs."""
    task = PoseTask(zoo.TASKS["two_room"])
    dataset = with_pose(tiny.dataset(SPEC, datasets), task)
    main, _ = pairs.draw(dataset, task, SPEC.config.protocol, 0)
    return task, normalize.fit(dataset), main


def policy(problem, horizon=5, execute=5, **settings):
    task, normalizer, _ = problem
    settings = {"candidates": 64, "elites": 8, "iterations": 4} | settings
    cost = pose_distance(OracleConfig(), task, normalizer.encode_proprio)
    return SimulatorPolicy(
        *(cem.CEM(cem.CEMConfig(**settings)), task, cost, horizon, execute),
        *(normalizer.decode_actions, 0),
    )


def run(problem, searching, part):
    task, normalizer, _ = problem
    assert isinstance(searching, StatePolicy)
    return control.run(searching, task, part, SPEC.config.protocol, normalizer, 16, tiny.quiet)


def test_a_plan_costs_what_executing_it_comes_to(problem):
    task, normalizer, main = problem
    searching = policy(problem)
    plans = torch.randn(1, 7, 5, task.spec.block_dim)
    pair = main[2]
    costs = searching._costs(plans, pair.start_state, pair)[0]
    for plan, cost in zip(plans[0], costs, strict=True):
        simulator = task.simulator(1, 16)
        simulator.set_state(pair.start_state[None])
        for action in normalizer.decode_actions(plan).numpy().reshape(-1, task.spec.action_dim):
            simulator.step(action[None])
        gap = (task.pose(simulator.state()) - task.pose(pair.goal_state[None])) / (
            normalizer.proprio_std
        )
        assert cost.item() == pytest.approx(np.square(gap).sum(), rel=1e-4)


def test_a_pairs_episode_does_not_depend_on_the_pairs_beside_it(problem):
    main = problem[2]
    together = run(problem, policy(problem), main)
    alone = run(problem, policy(problem), main[5:6])[0]
    assert (together[5].first_hit_step, together[5].dist_min) == (
        alone.first_hit_step,
        alone.dist_min,
    )


def test_more_search_in_the_simulator_ends_nearer(problem):
    ends = []
    for settings in ({"candidates": 8, "elites": 2, "iterations": 1}, {"iterations": 8}):
        searching = policy(problem, **settings)
        found = []
        for i, pair in enumerate(problem[2]):
            plan = searching._planner.plan(
                functools.partial(searching._costs, state=pair.start_state, pair=pair),
                torch.zeros(1, 5, problem[0].spec.block_dim),
                seeding.PairNoise([i]),
            )
            found.append(searching._costs(plan.actions[None], pair.start_state, pair))
        ends.append(torch.stack(found).mean())
    assert ends[1] < 0.3 * ends[0]


def test_what_is_not_executed_begins_the_next_plan(problem):
    searching = policy(problem, execute=2)
    pair = problem[2][0]
    searching.reset([pair])
    searching.act_state(pair.start_state[None], pair.goal_state[None], np.array([0]))
    means = searching._first_means[0]
    assert means[:3].abs().min() > 0 and not means[3:].any()
    assert len(searching._queues[0]) == 2 * 5 - 1


def test_a_trial_of_the_simulator_is_a_ceiling_on_the_first_pairs(tmp_path):
    words = ["method.oracle.pairs=3", "planner.cem.iterations=1"]
    spec = tiny.spec("oracle", *words, task="two_room")
    folders = RunFolders(str(tmp_path / "r"), "r", "smoke", str(tmp_path / "data"))
    row = trial.run(spec, folders, tiny.quiet)
    assert (row.status, row.role, row.is_control) == ("ok", "ceiling", True), row.error
    (written,) = [trial.rows.read_back(folders.trial(spec))]
    assert [episode.pair_id for episode in written.episodes] == [0, 1, 2]
