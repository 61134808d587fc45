"""A network that acts: what is inferred together changes no action."""

from typing import NamedTuple

import numpy as np
import pytest
import tiny
import torch

from harness import policies, zoo
from harness.contracts.data import Obs, Pair
from harness.contracts.method import Policy, WorldModel
from harness.data import normalize
from harness.evaluate import control, pairs, plan_time
from harness.experiment.identity import TrialSpec
from harness.planning.feed_forward import FeedForwardPolicy
from harness.planning.receding_horizon import MPCPolicy

PAIRS, CPU = 20, torch.device("cpu")


class Case(NamedTuple):
    """An untrained network on the toy task, and what it sees of twenty pairs."""

    spec: TrialSpec
    model: torch.nn.Module
    pairs: list[Pair]
    normalizer: normalize.Normalizer
    obs: Obs
    goal: Obs


@pytest.fixture(scope="module")
def case(datasets):
    words = ["offset_steps=6", "budget_steps=23", f"pairs={PAIRS}", "success_at=end"]
    spec = tiny.spec("gcbc", *(f"protocol.{word}" for word in words))
    dataset = tiny.dataset(spec, datasets)
    main, _ = pairs.draw(dataset, zoo.TASKS["toy"], spec.config.protocol, 0)
    simulator = zoo.TASKS["toy"].simulator(PAIRS, 32)
    simulator.set_state(np.stack([pair.start_state for pair in main]))
    normalizer = normalize.fit(dataset)
    obs = control.observation(simulator.render(), simulator.proprio(), normalizer)
    model = tiny.model(spec)
    with torch.no_grad():
        model.policy[-1].weight.mul_(1000)  # it starts almost constant
    return Case(
        spec, model.eval(), main, normalizer, obs, control.goal_observation(main, normalizer)
    )


def build(case, pairs_per_solve=0, pairs_per_call=1):
    decode = case.normalizer.decode_actions
    return FeedForwardPolicy(case.model, decode, CPU, pairs_per_solve, pairs_per_call)


def act(case, policy, rows):
    policy.reset([pair.pair_id for pair in case.pairs])
    return policy.act(case.obs.rows(rows), case.goal.rows(rows), rows)


def test_it_acts_as_the_model_in_the_tasks_units(case):
    policy = build(case)
    assert isinstance(policy, Policy)
    decision = act(case, policy, np.arange(PAIRS))
    with torch.no_grad():
        expected = case.normalizer.decode_actions(case.model.act(case.obs, case.goal))
    assert decision.actions.shape == (PAIRS, 10) and decision.actions.std(0).min() > 1e-3
    assert np.allclose(decision.actions, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("pairs_per_call", [1, 4])
def test_actions_do_not_depend_on_the_pairs_beside(case, pairs_per_call):
    everyone = np.arange(PAIRS)
    together = act(case, build(case, pairs_per_call=pairs_per_call), everyone).actions
    for limit in (1, 7):
        apart = act(case, build(case, limit, pairs_per_call), everyone)
        assert np.array_equal(apart.actions, together)
    rows = np.array([11, 3, 4])
    some = act(case, build(case, pairs_per_call=pairs_per_call), rows).actions
    assert np.array_equal(some, together[rows])


def test_every_inference_is_timed_with_the_pairs_that_took_part(case):
    decision = act(case, build(case, pairs_per_solve=8), np.arange(PAIRS))
    assert [solve.rows.tolist() for solve in decision.solves] == [
        list(range(8)),
        list(range(8, 16)),
        list(range(16, PAIRS)),
    ]
    assert all(solve.seconds > 0 for solve in decision.solves)


def test_it_acts_anew_every_block(case):
    task, protocol = zoo.TASKS["toy"], case.spec.config.protocol
    run = control.run(build(case), task, case.pairs, protocol, case.normalizer, 32, tiny.quiet)
    assert {len(outcome.solve_s) for outcome in run} == {5}  # 23 steps: four blocks and a part


def test_plan_time_measures_inference(case):
    settings = plan_time.PlanTimeConfig(singles=3, together=5, joint=2)
    task = zoo.TASKS["toy"]
    taken = plan_time.measure(
        build(case), task, case.pairs, case.normalizer, 32, settings, tiny.quiet
    )
    assert {size: len(seconds) for size, seconds in taken.seconds.items()} == {1: 3, 5: 2}
    assert taken.flops > 0


@pytest.mark.parametrize("name", [name for name, method in zoo.METHODS.items() if method.trained])
def test_a_world_model_plans_and_a_goal_policy_acts(name):
    spec = tiny.spec(name)
    model = tiny.model(spec).train()
    policy = policies.of_model(spec, model, lambda actions: actions, 0, CPU)
    assert isinstance(policy, MPCPolicy if isinstance(model, WorldModel) else FeedForwardPolicy)
    assert not model.training and policy.timed in ("solve", "inference")
