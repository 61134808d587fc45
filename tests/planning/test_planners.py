"""What each planner beside CEM is known for, by what it asks the cost of."""

from __future__ import annotations

import itertools

import pytest
import torch

from harness import zoo
from harness.planning import icem, mppi
from harness.runtime import seeding

TARGET = torch.tensor([1.0, -2.0])[:, None, None].expand(2, 3, 2)  # (B, K, A)
OTHERS = sorted(set(zoo.PLANNERS) - {"cem"})


def distance(target):
    return lambda plans: (plans - target[:, None]).pow(2).sum((2, 3))


def search(name, init=None, keys=(1, 2), target=TARGET, **settings):
    """The plan of a planner, and the candidates of each call of the cost."""
    entry, asked = zoo.PLANNERS[name], []

    def cost(plans):
        asked.append(plans.detach().clone())
        return distance(target)(plans)

    planner = entry.build(entry.config(**settings))
    init = torch.zeros_like(target) if init is None else init
    return planner.plan(cost, init, seeding.PairNoise(list(keys))), asked


@pytest.mark.parametrize("name", OTHERS)
def test_a_pairs_plan_does_not_depend_on_the_pairs_beside_it(name):
    together, _ = search(name)
    for pair in (0, 1):
        alone, _ = search(name, keys=[pair + 1], target=TARGET[pair : pair + 1])
        assert torch.equal(alone.actions[0], together.actions[pair])
        assert torch.equal(alone.cost_per_iteration[:, 0], together.cost_per_iteration[:, pair])


@pytest.mark.parametrize("name", OTHERS)
def test_the_search_begins_at_the_first_mean(name):
    init = torch.full_like(TARGET, 0.25)
    _, asked = search(name, init)
    assert torch.equal(asked[0][:, 0], init)


@pytest.mark.parametrize("name", ["icem", "predictive_sampling", "adam", "rmsprop", "sgd"])
def test_the_plan_is_the_cheapest_that_was_tried(name):
    settings = {"colour": 1.0} if name == "icem" else {}
    found, asked = search(name, **settings)
    cheapest = torch.stack([distance(TARGET)(plans).amin(1) for plans in asked]).amin(0)
    assert torch.equal(found.cost, cheapest)
    assert torch.allclose(distance(TARGET)(found.actions[:, None])[:, 0], cheapest)
    assert (found.cost_per_iteration.diff(dim=0) <= 0).all()
    assert torch.equal(found.cost_per_iteration[-1], found.cost)


def test_icem_keeps_its_best_elites_among_the_candidates():
    _, asked = search("icem", candidates=64, elites=10, iterations=5, kept_share=0.3)
    for before, after in itertools.pairwise(asked):
        order = distance(TARGET)(before).argsort(1)[:, :3]
        best = torch.stack([plans[index] for plans, index in zip(before, order, strict=True)])
        assert torch.equal(after[:, 1:4], best)


def test_coloured_noise_has_the_variance_of_white_noise_and_falls_with_the_frequency():
    assert torch.allclose(icem.coloured(6, 0.0), torch.eye(6), atol=1e-6)
    colours = icem.coloured(6, 2.0)
    assert torch.allclose(colours.pow(2).sum(1), torch.ones(6), atol=1e-5)
    torch.manual_seed(0)
    noise = colours @ torch.randn(6, 20_000)
    assert noise.std(1) == pytest.approx(torch.ones(6), abs=0.03)
    power = torch.fft.rfft(noise, dim=0).abs().pow(2).mean(1)
    assert power[1] / power[2] == pytest.approx(4, rel=0.1)  # (2 f) ** -2
    assert (noise[0] * noise[1]).mean() == pytest.approx(0.454, abs=0.02)


def test_icem_without_its_own_parts_is_cem_whose_plan_is_the_best_elite():
    plain = {"candidates": 64, "elites": 8, "iterations": 4}
    _, expected = search("cem", **plain)
    _, asked = search("icem", **plain, colour=0.0, kept_share=0.0, momentum=0.0)
    for ours, theirs in zip(asked, expected, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)


def test_path_weights_fall_by_e_with_each_temperature_of_spread():
    cost = torch.tensor([[1.0, 2.0, 3.0]])  # std 1
    weights = mppi.path_weights(cost, 0.5)[0, :, 0, 0]
    assert weights.sum() == pytest.approx(1)
    assert (weights[0] / weights[1]).item() == pytest.approx(torch.e**2, rel=1e-4)
    assert mppi.path_weights(torch.ones(1, 4), 0.5).flatten().tolist() == [0.25] * 4


def test_mppi_is_near_cem_at_a_high_temperature_and_near_the_best_at_a_low_one():
    settings = {"candidates": 64, "elites": 8, "iterations": 1}
    mean, asked = search("mppi", **settings, temperature=1e6)
    expected, _ = search("cem", **settings)
    assert torch.allclose(mean.actions, expected.actions, atol=1e-4)
    best, _ = search("mppi", **settings, temperature=1e-3)
    order = distance(TARGET)(asked[0]).argmin(1)
    cheapest = torch.stack([plans[i] for plans, i in zip(asked[0], order, strict=True)])
    assert torch.allclose(best.actions, cheapest, atol=1e-4)


def test_a_step_of_sgd_is_the_gradient():
    init = torch.zeros_like(TARGET)
    _, asked = search("sgd", init, candidates=1, iterations=2, lr=0.1)
    assert torch.allclose(asked[1][:, 0], init - 0.1 * 2 * (init - TARGET))


def test_a_gradient_planner_says_what_it_is_worth():
    entry = zoo.PLANNERS["adam"]
    planner = entry.build(entry.config(candidates=4, iterations=10))
    assert planner.needs_gradient and planner.evaluations == 4 * 31
