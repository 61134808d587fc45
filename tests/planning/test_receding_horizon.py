"""Receding-horizon control: what is planned together changes neither plans nor outcomes."""

import gc
import itertools
import operator
import weakref
from typing import NamedTuple

import numpy as np
import pytest
import tiny
import torch

from harness import zoo
from harness.contracts.data import Pair
from harness.contracts.planning import Plan
from harness.data import normalize
from harness.evaluate import control, pairs
from harness.experiment.identity import TrialSpec
from harness.planning import batch_solver, chunks, cost, cuda_graph, plan_search
from harness.planning.plan_search import PlanSearch
from harness.planning.receding_horizon import MPCPolicy

PAIRS, HORIZON, EXECUTED = 50, 3, 2


class Case(NamedTuple):
    """An untrained world model of the toy task that heeds actions, and fifty pairs."""

    spec: TrialSpec
    model: torch.nn.Module
    pairs: list[Pair]
    normalizer: normalize.Normalizer


@pytest.fixture(scope="module")
def case(datasets):
    lengths = ["offset_steps=6", "budget_steps=20", f"pairs={PAIRS}", "success_at=end"]
    words = [f"protocol.{word}" for word in lengths]
    words += [f"mpc.horizon_blocks={HORIZON}", f"mpc.execute_blocks={EXECUTED}"]
    spec = tiny.spec("lewm", *words)
    dataset = tiny.dataset(spec, datasets)
    main, _ = pairs.draw(dataset, zoo.TASKS["toy"], spec.config.protocol, 0)
    return Case(spec, tiny.stir(tiny.model(spec)).eval(), main, normalize.fit(dataset))


def search(case, planner=None, **settings):
    """The trial's search for plans of HORIZON blocks."""
    planner = planner or zoo.PLANNERS["cem"].build(case.spec.config.planner)
    return PlanSearch(case.model, planner, HORIZON, block_dim=10, **settings)


def build(
    case, pairs_per_solve=0, pairs_per_call=1, executed=EXECUTED, warm_start=True, **settings
):
    return MPCPolicy(
        search(case, **settings),
        executed,
        case.normalizer.decode_actions,
        5,
        pairs_per_solve,
        pairs_per_call,
        warm_start,
    )


def evaluate(case, policy, order=range(PAIRS)):
    """Outcomes by pair, whatever the order they are evaluated in."""
    chosen = [case.pairs[i] for i in order]
    task, settings = zoo.TASKS["toy"], case.spec.config.protocol
    run = control.run(policy, task, chosen, settings, case.normalizer, 32, tiny.quiet)
    return {pair.pair_id: outcome for pair, outcome in zip(chosen, run, strict=True)}


def test_progress_is_reported_while_plans_are_made(case):
    heard = []
    policy = build(case)
    policy.reset([pair.pair_id for pair in case.pairs[:2]], heard.append)
    policy.act(*frames(case, case.pairs[:2]), np.arange(2))
    iterations = case.spec.config.planner.iterations
    assert heard == pytest.approx([EXECUTED * (i + 1) / iterations for i in range(iterations)])
    policy.act(*frames(case, case.pairs[:2]), np.arange(2))  # from the queue
    assert len(heard) == iterations


def test_the_progress_of_control_never_goes_back(case):
    shown = []
    task, settings = zoo.TASKS["toy"], case.spec.config.protocol
    control.run(
        build(case),
        task,
        case.pairs[:3],
        settings,
        case.normalizer,
        32,
        lambda stage, done, total: shown.append((done, total)),
    )
    assert shown == sorted(shown) and shown[0] == (0, 20) and shown[-1] == (20, 20)
    assert (5, 20) in shown and len(shown) > 1 + 20 / 5  # while planning, too


def frames(case, chosen):
    """Observations at the starts and at the goals."""
    simulator = zoo.TASKS["toy"].simulator(len(chosen), 32)
    simulator.set_state(np.stack([pair.start_state for pair in chosen]))
    now = control.observation(simulator.render(), simulator.proprio(), case.normalizer)
    return now, control.goal_observation(chosen, case.normalizer)


def plans(case, policy, together, order=range(PAIRS)):
    """First plans (PAIRS, K, A) by pair, `together` of them in a solve."""
    order = np.array(order)
    chosen = [case.pairs[i] for i in order]
    now, goal = frames(case, chosen)
    policy.reset([pair.pair_id for pair in chosen])
    found = torch.empty(PAIRS, HORIZON, 10)
    for first in range(0, PAIRS, together):
        rows = np.arange(first, min(first + together, PAIRS))
        plan, seconds = policy.solve(now.rows(rows), goal.rows(rows), rows)
        assert seconds > 0
        found[order[rows]] = plan.actions
    return found


@pytest.fixture(scope="module")
def expected(case):
    """Fifty together, in their own order."""
    policy = build(case)
    return evaluate(case, policy), plans(case, policy, PAIRS)


def summary(outcomes):
    return {i: (o.success_ever, o.success_final, o.first_hit_step) for i, o in outcomes.items()}


def test_there_is_something_to_keep(expected):
    """Pairs are solved at many different steps, some never, and plans differ."""
    outcomes, found = expected
    steps = {outcome.first_hit_step for outcome in outcomes.values()}
    assert len(steps - {-1, 0}) >= 5 and -1 in steps
    assert found.std(0).min() > 0.05


@pytest.mark.parametrize("pairs_per_solve", [1, 7, 50])
def test_outcomes_do_not_depend_on_the_planners_batch(case, expected, pairs_per_solve):
    outcomes = evaluate(case, build(case, pairs_per_solve))
    assert summary(outcomes) == summary(expected[0])
    assert max(max(o.pairs_per_solve, default=0) for o in outcomes.values()) <= pairs_per_solve


@pytest.mark.parametrize("together", [1, 7, 50])
def test_plans_do_not_depend_on_the_planners_batch(case, expected, together):
    assert (plans(case, build(case), together) - expected[1]).abs().max() < 1e-4


def test_the_order_of_pairs_changes_nothing(case, expected):
    order = np.random.default_rng(0).permutation(PAIRS).tolist()
    assert summary(evaluate(case, build(case, 7), order)) == summary(expected[0])
    assert (plans(case, build(case), 7, order) - expected[1]).abs().max() < 1e-4


def test_pairs_rolled_out_together_give_the_same_plans(case, expected):
    found = plans(case, build(case, pairs_per_call=16), PAIRS)
    assert (found - expected[1]).abs().max() < 1e-4


@pytest.mark.parametrize(("rollouts", "pairs_per_call"), [(7, 1), (20, 3), (1000, 3)])
def test_plans_do_not_depend_on_how_many_rollouts_fit(case, expected, rollouts, pairs_per_call):
    policy = build(case, pairs_per_call=pairs_per_call, rollouts=rollouts)
    assert (plans(case, policy, PAIRS) - expected[1]).abs().max() < 1e-4


@pytest.mark.parametrize("rollouts", [1, 5, 32])
def test_costs_on_tokens_do_not_depend_on_how_many_rollouts_fit(rollouts):
    model = tiny.model(tiny.spec("dino_wm")).eval()
    torch.manual_seed(0)
    start, goal = torch.randn(2, 3, model.tokens_per_frame, 32)  # (B, P, D) each
    candidates = torch.randn(3, 32, HORIZON, 10)
    with torch.inference_mode():
        together, apart = (
            cost.latent_distance(model.fast_rollout(), start, goal, pairs, most)(candidates)
            for pairs, most in ((3, 1000), (2, rollouts))
        )
        last = model.rollout(start[1:2, None], candidates[1, 7:8, :0], candidates[1, 7:8])[0, -1]
    assert together.shape == (3, 32) and torch.allclose(together, apart, rtol=1e-4)
    assert torch.allclose(together[1, 7], (last - goal[1]).pow(2).sum(), rtol=1e-4)


def test_as_many_rollouts_as_half_of_the_free_memory_holds(case, monkeypatch):
    each = sum(case.model.rollout_bytes(HORIZON))
    monkeypatch.setattr(plan_search.memory, "free", lambda device: 2 * 21 * each + 1)
    assert search(case)._rollouts == 21
    monkeypatch.setattr(plan_search.memory, "free", lambda device: 0)
    assert search(case)._rollouts == 1
    assert [chunks.even_size(300, most) for most in (1000, 300, 299, 7, 1)] == [300, 300, 150, 7, 1]


def test_the_fast_rollout_of_a_model_is_the_one_that_plans(case, expected, monkeypatch):
    """Where a model has none its plain one plans, and finds the same."""
    fast, calls = case.model.fast_rollout(), []

    def counted(*latents_and_actions):
        calls.append(len(latents_and_actions[0]))
        return fast(*latents_and_actions)

    monkeypatch.setattr(case.model, "fast_rollout", lambda: counted)
    assert torch.equal(plans(case, build(case), PAIRS), expected[1]) and calls
    monkeypatch.setattr(case.model, "fast_rollout", lambda: case.model.rollout)
    assert (plans(case, build(case), PAIRS) - expected[1]).abs().max() < 1e-4


@pytest.mark.parametrize("together", [1, 7, 50])
def test_recorded_iterations_give_the_same_plans(case, expected, together):
    """A recording of the first pairs is replayed for others, also for a few less of them."""
    sizes = []
    policy = build(case, record=noting(sizes))
    assert (plans(case, policy, together) - expected[1]).abs().max() < 1e-4
    assert sizes == {1: [1], 7: [7, 1], 50: [56]}[together]


def call_again(iterate, inputs):
    """A cuda_graph.Record for any device, whose replay calls the function again."""
    outputs = tuple(output.clone() for output in iterate(*inputs))

    def replay():
        for output, new in zip(outputs, iterate(*inputs), strict=True):
            output.copy_(new)

    return replay, outputs


def noting(sizes):
    """A record for a CPU that notes how many pairs each recording has."""

    def record(iterate, state):
        _, mean, _ = state
        sizes.append(len(mean))
        return call_again(iterate, state)

    return record


def test_a_recording_keeps_what_its_iteration_reads():
    """A graph reads the memory of constants that a planner made for its first plan."""
    constant = torch.ones(3)
    kept = weakref.ref(constant)

    def iterate(x, constant=constant):
        return (x + constant,)

    runner = cuda_graph.Replayed(lambda iterate, inputs: (lambda: None, iterate(*inputs)))
    runner(iterate, torch.zeros(3))
    del iterate, constant
    gc.collect()
    assert kept() is not None


def test_few_sizes_are_recorded_and_little_is_filled_up():
    sizes = [cuda_graph.padded_pairs(pairs, 16) for pairs in (1, 16, 17, 100, 128)]
    assert sizes == [16, 16, 32, 112, 128]
    assert len({cuda_graph.padded_pairs(pairs, 16) for pairs in range(1, 1001)}) == 20


def test_a_pair_that_is_timed_alone_is_not_filled_up(case):
    sizes = []
    policy = build(case, pairs_per_call=16, record=noting(sizes))
    for count in (1, 20):  # pairs of the evaluation
        policy.reset([pair.pair_id for pair in case.pairs[:count]])
        policy.solve(*frames(case, case.pairs[:1]), np.zeros(1, dtype=int))
    assert sizes == [1, 16]


def test_recorded_iterations_give_the_same_outcomes(case, expected):
    outcomes = evaluate(case, build(case, pairs_per_call=16, record=call_again))
    assert summary(outcomes) == summary(expected[0])


@pytest.mark.parametrize("together", [1, 7])
def test_iterations_are_recorded_before_they_are_timed(case, together, monkeypatch):
    """Also those of a size that comes later."""
    events, ticks = [], itertools.count(1.0)

    def record(iterate, state):
        events.append("recorded")
        return call_again(iterate, state)

    def clock():
        events.append("clock")
        return next(ticks)

    monkeypatch.setattr(batch_solver.time, "perf_counter", clock)
    plans(case, build(case, record=record), together)
    timed, solves = ["clock", "clock"], -(-PAIRS // together)
    last = ["recorded", *timed] if together == 7 else timed  # the fiftieth pair is alone
    assert events == ["recorded", *timed * (solves - 1), *last]


def test_plans_found_in_bf16_cost_little_more(case, expected):
    found = plans(case, build(case, precision="bf16"), PAIRS)
    assert (found - expected[1]).abs().max() > 1e-4
    with torch.inference_mode():
        start, goal = (case.model.encode(seen)[:, -1] for seen in frames(case, case.pairs))
        price = cost.latent_distance(case.model.fast_rollout(), start, goal, PAIRS, 1000)
        bf16, fp32 = (price(each[:, None]).mean().item() for each in (found, expected[1]))
    assert bf16 == pytest.approx(fp32, rel=0.02)


def test_threads_that_plan_a_share_each_give_the_same_plans(case, expected):
    assert torch.equal(plans(case, build(case, threads=3), PAIRS), expected[1])


def test_each_pair_draws_from_a_stream_of_its_own(case):
    same_start = [case.pairs[0]._replace(pair_id=i) for i in range(PAIRS)]
    found = plans(case._replace(pairs=same_start), build(case), PAIRS)
    assert found.std(0).min() > 0.05


def test_each_replan_draws_anew(case):
    """Two plans from one and the same picture, one after the other."""
    policy = build(case)
    normalizer, one = case.normalizer, case.pairs[:1]
    policy.reset([pair.pair_id for pair in one])
    goal = control.goal_observation(one, normalizer)
    blocks = [policy.act(goal, goal, np.array([0])) for _ in range(2 * EXECUTED)]
    assert [len(decision.solves) for decision in blocks] == [1, 0, 1, 0]
    assert np.abs(blocks[0].actions - blocks[EXECUTED].actions).max() > 0.05


def test_so_many_blocks_of_a_plan_are_executed_before_the_next(expected):
    assert {len(outcome.solve_s) for outcome in expected[0].values()} == {2}  # 20 steps, 2 x 5 each


class Numbered:
    """A planner whose plans are the numbers of their blocks, by pair; it keeps the first means and
    the plans.
    """

    iterations = 1

    def __init__(self):
        self.inits, self.plans = [], []

    def plan(self, cost_fn, init, noise, run=operator.call):
        blocks = torch.arange(1.0, HORIZON + 1)[:, None].expand_as(init)
        self.inits.append(init.clone())
        self.plans.append(blocks + 10 * noise(torch.tensor(0), init.shape[1:]))
        return Plan(self.plans[-1], init[:, 0, 0], init[None])


def first_means(case, pairs_per_solve, executed=EXECUTED, **settings):
    """What a planner starts from in its first, second and third plan of four pairs, and after a
    reset, and the plans that it makes from there; (4, K, A) each.
    """
    planner = Numbered()
    policy = build(case, pairs_per_solve, executed=executed, planner=planner, **settings)
    chosen = case.pairs[:4]
    policy.reset([pair.pair_id for pair in chosen])
    policy.solve(*frames(case, chosen), np.arange(4))  # the first one warms up
    planner.inits.clear()
    planner.plans.clear()
    for _ in range(3 * executed):
        policy.act(*frames(case, chosen), np.arange(4))
    policy.reset([pair.pair_id for pair in chosen])
    policy.act(*frames(case, chosen), np.arange(4))
    return torch.cat(planner.inits).split(4), torch.cat(planner.plans).split(4)


@pytest.mark.parametrize("pairs_per_solve", [1, 3, 4])
def test_the_rest_of_a_plan_is_the_first_mean_of_the_next(case, pairs_per_solve):
    inits, made = first_means(case, pairs_per_solve)
    assert not inits[0].any() and not inits[3].any()  # the fourth comes after a reset
    for init, before in zip(inits[1:3], made[:2], strict=True):
        assert torch.equal(init[:, : HORIZON - EXECUTED], before[:, EXECUTED:])
        assert before[:, EXECUTED:].all() and not init[:, HORIZON - EXECUTED :].any()


@pytest.mark.parametrize("settings", [{"warm_start": False}, {"executed": HORIZON}])
def test_nothing_of_a_plan_is_left_where_it_is_not_asked_for_or_executed_whole(case, settings):
    inits, _ = first_means(case, 0, **settings)
    assert not any(init.any() for init in inits)


def test_a_trace_is_the_search_of_the_first_plans_and_its_costs_are_the_model_s(case):
    policy, rows = build(case), np.arange(4)
    now, goal = frames(case, case.pairs[:4])
    policy.reset([pair.pair_id for pair in case.pairs[:4]])
    plan, _ = policy.solve(now, goal, rows)
    trace = policy.trace(now, goal, rows)
    assert torch.equal(trace.plan.actions, plan.actions)
    settings = case.spec.config.planner
    assert len(trace.candidates) == len(trace.costs) == settings.iterations
    assert trace.candidates[0].shape == (4, settings.candidates, HORIZON, 10)
    for tried, costs in zip(trace.candidates, trace.costs, strict=True):
        assert torch.allclose(policy.costs(now, goal, tried), costs, rtol=1e-4)
    assert not trace.candidates[0][:, 0].any()  # the first candidate is the first mean


def test_the_cost_of_a_real_end_is_its_distance_from_the_goal(case):
    policy = build(case)
    now, goal = frames(case, case.pairs[:3])
    of = np.array([2, 0, 0, 1])
    z, target = (case.model.encode(obs)[:, 0].detach() for obs in (now.rows(of), goal.rows(of)))
    found = policy.cost_at(now.rows(of), goal, of)
    assert torch.allclose(found, (z - target).pow(2).sum(-1), rtol=1e-3)
    assert policy.cost_at(goal.rows(of), goal, of).tolist() == [0, 0, 0, 0]
