"""GCBC, GCIVL and GCIQL on problems with known answers."""

import math

import numpy as np
import pytest
import tiny
import torch
import torch.nn.functional as F

from baselines import gciql, gcivl, implicit
from harness import launch
from harness.contracts.data import Batch, Goals, Obs
from harness.data import normalize
from harness.data.windows import Windows
from harness.experiment import config, identity
from harness.nn import frozen, moving_average
from harness.training import pretraining

METHODS = ("gcbc", "gcivl", "gciql")
STATES, DISCOUNT = 5, 0.8
RIGHT, LEFT = 0, 1


def test_the_expectile_loss_at_one_half_is_half_the_squared_error():
    error = torch.randn(100, generator=torch.Generator().manual_seed(0))
    assert float(implicit.expectile_loss(error, error, 0.5)) == pytest.approx(
        0.5 * float(error.pow(2).mean())
    )


def test_the_expectile_loss_weighs_by_the_sign_of_the_advantage():
    error, advantage = torch.tensor([1.0, 2.0]), torch.tensor([-1.0, 0.0])
    assert float(implicit.expectile_loss(error, advantage, 0.9)) == pytest.approx(
        (0.1 * 1 + 0.9 * 4) / 2
    )


def test_the_return_of_a_reached_goal_is_0():
    after, reached = torch.tensor([[-2.0, -2.0]]), torch.tensor([True, False])
    assert implicit.returns(after, reached, 0.5).tolist() == [[0.0, -2.0]]


# -- values on a chain of five states


def distance_values():
    """(STATES, STATES): -(1 - discount^k) / (1 - discount) of state s and goal g, k = |s - g|."""
    s = torch.arange(STATES)
    return -(1 - DISCOUNT ** (s[:, None] - s).abs()) / (1 - DISCOUNT)


def transitions():
    """Every state, move and goal: (s, g, action, next s), each (STATES * STATES * 2,)."""
    grid = torch.cartesian_prod(torch.arange(STATES), torch.arange(STATES), torch.arange(2))
    s, g, action = grid.unbind(1)
    after = (s + torch.where(action == RIGHT, 1, -1)).clamp(0, STATES - 1)
    return s, g, action, after


def fit(table, losses, steps, lr=0.1):
    """Minimise losses() over a tensor `table` by Adam, lr falling to zero."""
    optimizer = torch.optim.Adam(table, lr=lr)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        optimizer.zero_grad()
        losses().backward()
        optimizer.step()
        yield


def test_gcivl_values_are_discounted_distances():
    """Rightward moves alone: the value of every goal ahead is exact at any expectile."""
    s, g, action, after = transitions()
    chosen = (action == RIGHT) & (g >= s)
    s, g, after = s[chosen], g[chosen], after[chosen]
    online = torch.nn.Embedding.from_pretrained(torch.zeros(2, STATES * STATES), freeze=False)
    target = moving_average.frozen_copy(online)

    def value_loss():
        now, then = target.weight[:, s * STATES + g], target.weight[:, after * STATES + g]
        values = online.weight[:, s * STATES + g]
        return gcivl.value_loss(values, now, then, s == g, DISCOUNT, expectile=0.9)

    for _ in fit([online.weight], value_loss, steps=400, lr=0.1):
        moving_average.follow(target, online, 0.05)
    ahead = torch.ones(STATES, STATES).triu().bool()
    for head in online.weight.detach().view(2, STATES, STATES):
        assert torch.allclose(head[ahead], distance_values()[ahead], atol=0.02)


@pytest.mark.parametrize("expectile", [0.5, 0.98])
def test_gciql_values_of_a_random_walk_near_the_best_with_the_expectile(expectile):
    """Moves both ways at random: only a high expectile ignores those that lead away."""
    s, g, action, after = transitions()
    pair = s * STATES + g
    value = torch.zeros(STATES * STATES, requires_grad=True)
    critic = torch.nn.Embedding.from_pretrained(torch.zeros(4, STATES * STATES), freeze=False)
    target = moving_average.frozen_copy(critic)

    def judged(network):
        return network.weight.view(2, 2, -1)[:, action, pair]  # (2, B): two heads

    def losses():
        better = judged(target).amin(0).detach() - value[pair]
        then = value[after * STATES + g].detach()
        return implicit.expectile_loss(better, better, expectile) + gciql.critic_loss(
            judged(critic), then, s == g, DISCOUNT
        )

    for _ in fit([value, critic.weight], losses, steps=1000, lr=0.05):
        moving_average.follow(target, critic, 0.05)
    gap = (value.detach().view(STATES, STATES) - distance_values()).abs().max()
    assert gap < 0.15 if expectile > 0.9 else gap > 0.8


# -- the models themselves


def scene(positions, size=32):
    """Pictures (B, 1, 3, size, size) whose red and green are the two coordinates in [0, 1]."""
    pixels = torch.zeros(len(positions), 1, 3, size, size, dtype=torch.uint8)
    pixels[:, 0, :2] = (255 * positions).round().to(torch.uint8)[..., None, None]
    return Obs(pixels)


def linear_task(count, generator):
    """A batch whose actions are a linear map of goal minus position, and the map's outputs."""
    here, there = torch.rand(2, count, 2, generator=generator)
    mixing = torch.randn(2, 10, generator=torch.Generator().manual_seed(7))
    actions = (there - here) @ mixing
    return Batch(scene(here), actions[:, None], Goals(scene(there)))


def test_gcbc_recovers_a_linear_policy():
    generator = torch.Generator().manual_seed(0)
    model = tiny.model(tiny.spec("gcbc"))
    train(model, lambda: linear_task(64, generator), steps=150)
    assert unexplained(model, linear_task(256, generator)) < 0.05


def train(model, batches, steps):
    """Minimise the loss over batches() by AdamW, lr falling to zero."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 - step / steps)
        optimizer.zero_grad()
        model.loss(batches())["loss"].backward()
        optimizer.step()
        model.after_step(step, steps)


def unexplained(model, batch):
    """Share of the variance of the actions that the policy does not predict."""
    with torch.no_grad():
        actions = model.eval().act(batch.obs, batch.goals.policy)
    wanted = batch.actions[:, 0]
    return F.mse_loss(actions, wanted) / wanted.var()


def test_the_policy_trains_no_value_head(datasets):
    for name, heads in (("gcivl", ["value"]), ("gciql", ["value", "critic"])):
        model = tiny.model(tiny.spec(name))
        batch = batch_of(model, name, datasets)
        model.loss(batch)["policy"].backward()
        for head in [*heads, "value_encoder"]:
            assert all(p.grad is None for p in getattr(model, head).parameters())
        assert all(p.grad.any() for p in model.encoder.parameters())
        (group,) = model.separate_clip_groups
        policy = {p for part in group for p in part.parameters()}
        assert policy == {p for p in model.parameters() if p.grad is not None}


def test_targets_follow_encoder_and_heads(datasets):
    for name, head in (("gcivl", "value"), ("gciql", "critic")):
        model = tiny.model(tiny.spec(name, f"method.{name}.target_rate=0.25"))
        for part, followed in (("value_encoder", "encoder"), (head, head)):
            online, target = getattr(model, part), getattr(model, f"target_{followed}")
            before = [p.clone() for p in target.parameters()]
            with torch.no_grad():
                for parameter in online.parameters():
                    parameter.add_(1)
            model.after_step(0, 2)
            moved = [p - b for p, b in zip(target.parameters(), before, strict=True)]
            assert all(torch.allclose(m, torch.tensor(0.25)) for m in moved)


def test_weights_are_clipped(datasets):
    model = tiny.model(tiny.spec("gcivl"))
    batch = batch_of(model, "gcivl", datasets)
    inputs, actions = model.transition_inputs(batch), batch.actions[:, 0]
    with torch.no_grad():
        weighted, plain = model.policy_loss(inputs, actions, torch.full((16,), 50.0))
    assert float(weighted) == pytest.approx(implicit.MAX_WEIGHT * float(plain), rel=1e-5)
    with torch.no_grad():
        weighted, _ = model.policy_loss(inputs, actions, torch.full((16,), -0.5))
    assert float(weighted) == pytest.approx(float(torch.tensor(-1.5).exp() * plain), rel=1e-5)


def test_equal_frames_have_equal_features(datasets):
    """Where the goal is the current frame the value can see it, BatchNorm or not."""
    model = tiny.model(tiny.spec("gcivl")).train()
    batch = batch_of(model, "gcivl", datasets)
    z = model.features(model.transition_inputs(batch))
    assert batch.goals.reached.any()
    same = batch.goals.reached
    assert torch.allclose(z.now[same], z.value_goal[same], atol=1e-5)


def batch_of(model, name, datasets):
    """Sixteen transitions of the toy task."""
    windows = tiny.windows(tiny.spec(name), datasets, 2, goals=model.goal_sampling)
    return windows.sample(np.random.default_rng(0), 16).batch


# -- frozen tokens instead of pixels


def tokens_of(name, *words):
    return tiny.spec(name, f"method.{name}.inputs=tokens", *words)


def test_gcbc_recovers_a_linear_policy_of_the_tokens():
    """Tokens are a linear map of two coordinates, and actions one of goal minus position."""
    generator = torch.Generator().manual_seed(0)
    model = tiny.model(tokens_of("gcbc"))
    shape = (model.frozen.tokens, model.frozen.width)
    showing = torch.randn(2, math.prod(shape), generator=generator)
    mixing = torch.randn(2, 10, generator=generator)

    def batch(count):
        places = torch.rand(2, count, 1, 2, generator=generator)
        here, there = (Obs(None, None, (place @ showing).unflatten(-1, shape)) for place in places)
        return Batch(here, (places[1] - places[0]) @ mixing, Goals(there))

    train(model, lambda: batch(64), steps=300)
    assert unexplained(model, batch(256)) < 0.05


@pytest.mark.parametrize("name", METHODS)
def test_cached_tokens_give_the_loss_and_the_actions_of_their_pixels(name, tmp_path):
    spec = tokens_of(name)
    model, data = tiny.model(spec), tiny.dataset(spec, tmp_path)
    place = (data, "train", model.window_frames, 5, normalize.fit(data), model.goal_sampling)
    cached = pretraining.tokens(model, data, torch.device("cpu"), tiny.quiet)
    pixels, tokens = (
        Windows(*place, features).sample(np.random.default_rng(0), 16).batch
        for features in (None, cached)
    )
    assert tokens.obs.pixels is None and tokens.goals.policy.pixels is None
    with torch.autocast("cpu", torch.bfloat16):
        assert model.loss(tokens)["loss"].isfinite()
    train(model, lambda: tokens, steps=20)
    model.eval()
    with torch.no_grad():
        expected, found = model.loss(pixels), model.loss(tokens)
        actions = [model.act(batch.obs, batch.goals.policy) for batch in (pixels, tokens)]
    assert all(torch.allclose(found[term], expected[term], rtol=1e-2) for term in expected)
    assert (actions[0] - actions[1]).abs().max() < 0.1 * actions[0].std(0).min()


@pytest.mark.parametrize("name", METHODS)
def test_the_frozen_encoder_stays_as_it_is_and_alone(name, datasets):
    model = tiny.model(tokens_of(name))
    before = {key: value.clone() for key, value in model.frozen.state_dict().items()}
    batch = batch_of(model, name, datasets)
    train(model.train(), lambda: batch, steps=3)
    after = model.frozen.state_dict()
    assert all(torch.equal(after[key], value) for key, value in before.items())
    assert all(p.grad is None and not p.requires_grad for p in model.frozen.parameters())
    encoders = [part for part in model.modules() if isinstance(part, frozen.FrozenEncoder)]
    assert encoders == [model.frozen]  # no target network has a copy


def test_what_these_inputs_do_not_read_decides_nothing():
    pixels, tokens = tiny.spec("gcivl"), tokens_of("gcivl")
    assert identity.config_hash(pixels) != identity.config_hash(tokens)
    for spec, same, other in (
        (tiny.spec, "weights=dinov2", "encoder.width=16"),
        (tiny.spec, "reader.depth=2", "hidden=32"),
        (tokens_of, "encoder.width=16", "weights=dinov2"),
    ):
        changed = spec("gcivl", f"method.gcivl.{same}")
        assert identity.config_hash(changed) == identity.config_hash(spec("gcivl"))
        assert config.from_yaml(config.to_yaml(changed)) == changed
        changed = spec("gcivl", f"method.gcivl.{other}")
        assert identity.config_hash(changed) != identity.config_hash(spec("gcivl"))


@pytest.mark.parametrize("name", METHODS)
def test_the_papers_scale_reads_tokens_and_the_others_pixels(name):
    for scale in ("tiny", "laptop", "workstation"):
        method = tiny.spec(name, f"scale={scale}").config.method
        assert (method.inputs, method.note, method.pool) == ("pixels", "", ())
    paper = tiny.spec(name, "scale=paper").config.method
    assert (paper.inputs, paper.weights, paper.encoder_width) == ("tokens", "dinov2", 384)


def test_weights_that_cannot_be_had_are_said_before_the_run(monkeypatch):
    monkeypatch.setattr(frozen, "_unreachable", lambda: "the hub cannot be reached")
    nodes = [{"CPU": 2.0, "GPU": 0.0}]
    reason = launch.unavailable_reason(tokens_of("gcbc", "method.gcbc.weights=dinov2"), nodes)
    for remedy in ("weights=FOLDER", "weights=mae", "inputs=pixels"):
        assert f"method.gcbc.{remedy}" in reason
    assert not launch.unavailable_reason(tiny.spec("gcbc", "method.gcbc.weights=dinov2"), nodes)
    assert not launch.unavailable_reason(tokens_of("gcbc", "method.gcbc.weights=mae"), nodes)


def test_heads_that_do_not_fit_the_tokens_are_refused():
    with pytest.raises(ValueError, match="=3 does not divide the tokens' width of 32"):
        tiny.model(tokens_of("gcbc", "method.gcbc.reader.heads=3"))
