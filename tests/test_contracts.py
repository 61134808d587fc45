"""The contracts that every method and planner must keep (tasks: tests/tasks/test_contract.py)."""

import dataclasses
from typing import NamedTuple

import numpy as np
import pytest
import tiny
import torch

from harness import zoo
from harness.contracts.data import Batch, Obs
from harness.contracts.method import GoalPolicy, LatentModel, StatePolicy, WorldModel
from harness.evaluate import control, pairs
from harness.experiment import config, identity
from harness.experiment.identity import TrialSpec
from harness.runtime import seeding
from harness.training import loop
from harness.training.checkpoint import Checkpoint

TRAINED = [name for name, method in zoo.METHODS.items() if method.trained]
VARIANTS = [pytest.param([name], id=name) for name in TRAINED] + [
    pytest.param([name, f"method.{name}.inputs=tokens"], id=f"{name}-tokens")
    for name in ("gcbc", "gcivl", "gciql")
]
VARIANTS += [
    pytest.param([name, f"method.{name}.residual=true"], id=f"{name}-residual")
    for name in ("lewm", "true_state")
]
CONTROLS = [
    name
    for name, method in zoo.METHODS.items()
    if not method.trained and not method.plans_in_simulator
]
HORIZON = 5
STEPS = 30


class Case(NamedTuple):
    """A trained method with a model and a batch of 16 windows of the toy task."""

    spec: TrialSpec
    model: torch.nn.Module
    batch: Batch


@pytest.fixture(params=VARIANTS)
def case(request, datasets):
    spec = tiny.spec(*request.param)
    model = tiny.stir(tiny.model(spec))
    windows = tiny.windows(spec, datasets, model.window_frames, goals=model.goal_sampling)
    return Case(spec, model, windows.sample(np.random.default_rng(0), 16).batch)


def of_kind(case, kind):
    """The case in evaluation mode, where its model is of this kind."""
    if not isinstance(case.model, kind):
        pytest.skip(f"is no {kind.__name__}")
    case.model.eval()
    return case


@pytest.fixture
def world(case):
    return of_kind(case, WorldModel)


@pytest.fixture
def encoder(case):
    return of_kind(case, LatentModel)


@pytest.fixture
def actor(case):
    return of_kind(case, GoalPolicy)


def loss(case, seed=0):
    torch.manual_seed(seed)
    return case.model.loss(case.batch)


# -- trained methods


def test_the_loss_is_finite_and_made_of_scalars(case):
    terms = loss(case)
    assert "loss" in terms and terms["loss"].requires_grad
    assert all(term.shape == () and term.isfinite() for term in terms.values()), terms


def test_gradients_reach_every_parameter(case):
    loss(case)["loss"].backward()
    trained = {n: p.grad for n, p in case.model.named_parameters() if p.requires_grad}
    assert trained
    missed = [n for n, grad in trained.items() if grad is None or not grad.any()]
    assert not missed
    assert all(grad.isfinite().all() for grad in trained.values())


def test_a_few_steps_lower_the_loss(case):
    case.model.train()
    optimizer = torch.optim.AdamW(case.model.parameters(), lr=3e-3)
    before = loss(case)["loss"].item()
    for step in range(STEPS):
        optimizer.zero_grad()
        loss(case, step)["loss"].backward()
        optimizer.step()
        case.model.after_step(step, STEPS)
    assert loss(case)["loss"].item() < 0.8 * before


def test_same_seed_same_weights(case):
    first, second, other = (tiny.model(case.spec, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_loaded_weights_give_the_saved_models_outputs(case, tmp_path):
    loss(case)  # batch statistics that are not those of a fresh model
    other = tiny.model(case.spec, seed=1)
    checkpoint = Checkpoint(str(tmp_path), "a hash")
    digest = checkpoint.finish(case.model, "config: text")
    assert checkpoint.load_weights(other) == digest
    with torch.no_grad():
        case.model.eval(), other.eval()
        torch.manual_seed(0)
        expected = case.model.loss(case.batch)
        torch.manual_seed(0)
        found = other.loss(case.batch)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


class Interrupted(Exception):
    """The error that the progress callback raises."""


def trained(spec, datasets, folder, stop_at=None):
    """The trial's weights, trained from whatever lies in `folder`."""

    def progress(stage, done, total):
        if done == stop_at:
            raise Interrupted

    model = tiny.model(spec)
    windows = tiny.windows(spec, datasets, model.window_frames, goals=model.goal_sampling)
    checkpoint = Checkpoint(str(folder), "a hash")
    settings = spec.config.train
    loop.train(model, windows, settings, 0, torch.device("cpu"), checkpoint, progress)
    return model.state_dict()


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_resumed_training_ends_with_the_same_weights(variant, datasets, tmp_path):
    words = ["train.steps=5", "train.batch_size=8", "train.checkpoint_every_s=0"]
    spec = tiny.spec(*variant, *words)
    with pytest.raises(Interrupted):
        trained(spec, datasets, tmp_path / "resumed", stop_at=4)
    found = trained(spec, datasets, tmp_path / "resumed")
    expected = trained(spec, datasets, tmp_path / "whole")
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("name", TRAINED)
def test_a_method_plans_or_acts(name):
    model = tiny.model(tiny.spec(name))
    assert isinstance(model, WorldModel) != isinstance(model, GoalPolicy)


def test_parts_that_are_clipped_apart_are_trained_parts_of_one_group(case):
    parts = [part for group in case.model.separate_clip_groups for part in group]
    parameters = [id(p) for part in parts for p in part.parameters()]
    assert len(parameters) == len(set(parameters))
    assert set(parameters) <= {id(p) for p in case.model.parameters() if p.requires_grad}


@torch.no_grad()
def test_an_action_depends_on_frame_and_goal_of_its_row_alone(actor):
    model, obs, goal = actor.model, actor.batch.obs, actor.batch.goals.policy
    actions = model.act(obs, goal)
    assert actions.shape == actor.batch.actions[:, 0].shape and actions.isfinite().all()
    rows = np.arange(3, 5)
    assert torch.allclose(model.act(obs.rows(rows), goal.rows(rows)), actions[3:5], atol=1e-5)
    last = obs.frames(slice(-1, None))
    assert torch.equal(model.act(last, goal), actions)
    changed = Obs(255 - last.pixels, last.proprio), Obs(255 - goal.pixels, goal.proprio)
    for seen, wanted in ((changed[0], goal), (last, changed[1])):
        assert ((model.act(seen, wanted) - actions).abs().amax(1) > 1e-6).all()


@torch.no_grad()
def test_every_frame_is_encoded_on_its_own(encoder):
    obs = encoder.batch.obs
    z = encoder.model.encode(obs)
    assert z.shape[:2] == obs.pixels.shape[:2] and z.isfinite().all()
    alone = encoder.model.encode(obs.rows(np.arange(3, 5)).frames(slice(-1, None)))
    assert torch.allclose(alone, z[3:5, -1:], atol=1e-5)


def latents_and_plan(world, observed):
    """z (N, observed, *D), past blocks and a plan of HORIZON blocks."""
    z = world.model.encode(world.batch.obs)[:, :observed]
    generator = torch.Generator().manual_seed(0)
    action_dim = world.batch.actions.shape[-1]
    actions = torch.randn(len(z), observed - 1 + HORIZON, action_dim, generator=generator)
    return z, actions[:, : observed - 1], actions[:, observed - 1 :]


@torch.no_grad()
def test_both_rollouts_are_repeated_predict(world):
    model = world.model
    for observed in range(1, model.history + 1):
        z, past, plan = latents_and_plan(world, observed)
        actions, latents = torch.cat([past, plan], dim=1), z
        for _ in range(HORIZON):
            end = latents.shape[1]
            first = max(0, end - model.history)
            predicted = model.predict(latents[:, first:], actions[:, first:end])
            latents = torch.cat([latents, predicted[:, -1:]], dim=1)
        for rollout in (model.rollout, model.fast_rollout()):
            rolled = rollout(z, past, plan)
            assert rolled.shape == (len(z), HORIZON, *z.shape[2:])
            assert torch.allclose(rolled, latents[:, observed:], atol=1e-4)


@torch.no_grad()
def test_a_rollout_depends_on_its_plan_from_the_changed_block_on(world):
    z, past, plan = latents_and_plan(world, 1)
    changed = plan.clone()
    changed[:, 2] += 1
    for rollout in (world.model.rollout, world.model.fast_rollout()):
        before, after = rollout(z, past, plan), rollout(z, past, changed)
        assert torch.equal(before[:, :2], after[:, :2])
        assert ((before - after)[:, 2].flatten(1).abs().amax(1) > 1e-3).all()


@torch.no_grad()
def test_predictions_do_not_see_later_frames(world):
    z, actions = world.model.encode(world.batch.obs), world.batch.actions
    z, actions = z[:, : world.model.history], actions[:, : world.model.history]
    predicted = world.model.predict(z, actions)
    assert predicted.shape == z.shape
    for t in range(1, z.shape[1]):
        later_z, later_actions = z.clone(), actions.clone()
        later_z[:, t] *= -1  # a LayerNorm would not see a constant added
        later_actions[:, t] += 1
        for other in (
            world.model.predict(later_z, actions),
            world.model.predict(z, later_actions),
        ):
            assert torch.allclose(other[:, :t], predicted[:, :t], atol=1e-6)
            assert not torch.allclose(other[:, t:], predicted[:, t:], atol=1e-3)


# -- controls


@pytest.fixture(scope="module", params=zoo.TASKS)
def chosen(request, datasets):
    """A task and eight pairs of it."""
    words = ["data.episodes=6", "data.max_steps=33", "data.image_size=16", "data.test=0.34"]
    spec = tiny.spec("noop", *words, task=request.param)
    dataset = tiny.dataset(spec, datasets)
    main, _ = pairs.draw(dataset, zoo.TASKS[spec.task], spec.config.protocol, 0)
    return zoo.TASKS[spec.task], main


def build(name, task, seed=0):
    method = zoo.METHODS[name]
    return method.build(method.config(), task, seed)


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_acts_within_the_bounds(name, chosen):
    task, main = chosen
    policy = build(name, task)
    assert isinstance(policy, StatePolicy)
    policy.reset(main)
    rows = np.array([1, 4, 6])
    state, goal = (
        np.stack([getattr(main[r], f) for r in rows]) for f in ("start_state", "goal_state")
    )
    low, high = np.array(task.spec.action_low), np.array(task.spec.action_high)
    for _ in range(30):
        actions = policy.act_state(state, goal, rows)
        assert actions.shape == (3, task.spec.action_dim) and np.isfinite(actions).all()
        assert (actions >= low - 1e-6).all() and (actions <= high + 1e-6).all()


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_does_not_depend_on_the_pairs_beside_it(name, chosen):
    task, main = chosen
    settings = tiny.spec("noop").config.protocol

    def outcomes(part):
        return control.run(build(name, task), task, part, settings, None, 16, tiny.quiet)

    together, alone = outcomes(main), outcomes(main[5:6])[0]
    assert (together[5].first_hit_step, together[5].dist_min) == (
        alone.first_hit_step,
        alone.dist_min,
    )


def test_replay_reaches_every_goal(chosen):
    task, main = chosen
    settings = tiny.spec("replay").config.protocol
    run = control.run(build("replay", task), task, main, settings, None, 16, tiny.quiet)
    assert [outcome.success_ever for outcome in run] == [True] * 8
    assert max(outcome.first_hit_step for outcome in run) <= settings.offset_steps


# -- planners


@pytest.mark.parametrize("name", zoo.PLANNERS)
def test_a_planner_descends_a_parabola(name):
    entry = zoo.PLANNERS[name]
    targets = torch.tensor([0.5, -1.0, 1.5])[:, None, None].expand(3, 2, 2)  # (B, K, A)

    def cost(plans):
        return (plans - targets[:, None]).pow(2).sum((2, 3))

    planner = entry.build(entry.config())
    found = [
        planner.plan(cost, torch.zeros(3, 2, 2), seeding.PairNoise([1, 2, 3])) for _ in range(2)
    ]
    plan = found[0]
    assert plan.actions.shape == targets.shape and plan.cost.shape == (3,)
    assert plan.cost_per_iteration.shape == (planner.iterations, 3)
    assert torch.equal(plan.cost_per_iteration[-1], plan.cost)
    at_start = cost(torch.zeros(3, 1, 2, 2))[:, 0]
    assert (cost(plan.actions[:, None])[:, 0] < 0.01 * at_start).all()
    assert torch.equal(plan.actions, found[1].actions)


# -- roles


def test_every_control_says_what_it_is_to_a_report():
    roles = {name: zoo.METHODS[name].role for name in CONTROLS}
    floors = dict.fromkeys(("heuristic", "random", "noop"), "floor")
    assert roles == floors | {"replay": "check"}


def test_a_role_that_no_report_knows_is_refused():
    with pytest.raises(ValueError, match="'oracle', not one of method, floor, ceiling, check"):
        dataclasses.replace(zoo.METHODS["lewm"], role="oracle")


def test_a_role_decides_no_outcome(monkeypatch):
    hashes = []
    for role in ("method", "ceiling"):
        entry = dataclasses.replace(zoo.METHODS["lewm"], role=role)
        monkeypatch.setitem(zoo.METHODS, "lewm", entry)
        spec = tiny.spec("lewm")
        hashes.append((identity.config_hash(spec), identity.setting_hash(spec)))
    assert hashes[0] == hashes[1]


# -- configuration


@pytest.mark.parametrize("task", zoo.TASKS)
@pytest.mark.parametrize("protocol", sorted(config.PROTOCOLS))
def test_protocols_name_strata_and_rules_of_the_task(protocol, task):
    resolved = tiny.spec("noop", f"protocol={protocol}", task=task).config.protocol
    assert set(resolved.strata_min) <= set(zoo.TASKS[task].spec.strata)
    assert resolved.success_rule in zoo.TASKS[task].spec.success_rules
