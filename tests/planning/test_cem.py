"""The cross-entropy method, by what it asks the cost of."""

import itertools

import pytest
import torch

from harness.planning import cem
from harness.runtime import seeding

CONFIG = cem.CEMConfig(candidates=64, elites=8, iterations=6)
TARGET = torch.tensor([1.0, -2.0])[:, None, None].expand(2, 3, 2)  # (B, K, A)


def plan(init, config=CONFIG, keys=(1, 2)):
    """The plan, and the candidates of each iteration."""
    asked = []

    def cost(plans):
        asked.append(plans.clone())
        return (plans - TARGET[:, None]).pow(2).sum((2, 3))

    return cem.CEM(config).plan(cost, init, seeding.PairNoise(list(keys))), asked


def elites(candidates):
    cost = (candidates - TARGET[:, None]).pow(2).sum((2, 3))
    order = cost.argsort(1)[:, : CONFIG.elites]
    return torch.stack([rows[index] for rows, index in zip(candidates, order, strict=True)])


def test_the_first_candidate_is_the_mean():
    init = torch.full((2, 3, 2), 0.25)
    found, asked = plan(init)
    assert len(asked) == CONFIG.iterations and asked[0].shape == (2, 64, 3, 2)
    assert torch.equal(asked[0][:, 0], init)
    for before, after in itertools.pairwise(asked):
        assert torch.allclose(after[:, 0], elites(before).mean(1), atol=1e-6)
    assert torch.allclose(found.actions, elites(asked[-1]).mean(1), atol=1e-6)


def test_candidates_spread_as_the_elites_did():
    _, asked = plan(torch.zeros(2, 3, 2))
    assert asked[0].std(1) == pytest.approx(torch.ones(2, 3, 2), abs=0.35)
    spread = asked[1].std(1) / elites(asked[0]).std(1)
    assert spread == pytest.approx(torch.ones(2, 3, 2), abs=0.35)


def test_the_cost_is_that_of_the_last_elites():
    found, asked = plan(torch.zeros(2, 3, 2))
    last = (elites(asked[-1]) - TARGET[:, None]).pow(2).sum((2, 3)).mean(1)
    assert torch.allclose(found.cost, last, rtol=1e-5)
    assert torch.equal(found.cost_per_iteration[-1], found.cost)
    assert found.cost_per_iteration.shape == (CONFIG.iterations, 2)


def test_the_cost_falls_in_every_iteration_to_almost_nothing():
    targets = torch.tensor([0.5, -1.0, 1.5])[:, None, None].expand(3, 2, 2)
    found = cem.CEM(cem.CEMConfig()).plan(
        lambda plans: (plans - targets[:, None]).pow(2).sum((2, 3)),
        torch.zeros(3, 2, 2),
        seeding.PairNoise([1, 2, 3]),
    )
    assert (found.actions - targets).abs().max() < 0.02
    falls = found.cost_per_iteration
    assert (falls[1:] < falls[:-1]).all() and (falls[-1] < 0.01 * falls[0]).all()


def test_the_paper_settings_reach_the_minimum():
    """300 candidates, 30 elites, 30 iterations over 5 blocks of 10: within 0.1 everywhere."""
    target = torch.linspace(-1, 1, 50).view(1, 5, 10)
    found = cem.CEM(cem.CEMConfig(iterations=30)).plan(
        lambda plans: (plans - target[:, None]).pow(2).sum((2, 3)),
        torch.zeros(1, 5, 10),
        seeding.PairNoise([3]),
    )
    assert (found.actions - target).abs().max() < 0.1
    assert (found.cost_per_iteration.diff(dim=0) <= 0).float().mean() > 0.9


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"elites": 1}, r"elites=1 must be at least 2"),
        ({"elites": 301}, r"elites=301 must lie in 2"),
        ({"iterations": 0}, r"iterations=0 must be at least 1"),
    ],
)
def test_settings_that_make_no_sense(words, said):
    with pytest.raises(ValueError, match=said):
        cem.CEMConfig(**words)
