"""PLDM's terms on latents whose variance and covariance are known."""

import pytest
import tiny
import torch

from baselines import vcreg


def columns(*values):
    """(M, D) out of D columns of M values."""
    return torch.tensor(values, dtype=torch.float32).T


SIGNS, HALVES = (1.0, -1.0, 1.0, -1.0), (1.0, 1.0, -1.0, -1.0)  # uncorrelated; variance 4/3


def test_variance_is_a_hinge_at_std_1():
    wide = columns(SIGNS, HALVES)
    assert float(vcreg.variance(wide)) == 0
    narrow = 0.5 * (3 / 4) ** 0.5 * wide  # std 0.5
    assert float(vcreg.variance(narrow)) == pytest.approx(0.5, abs=1e-3)
    constant = torch.full((4, 2), 7.0)
    assert float(vcreg.variance(constant)) == pytest.approx(0.99, abs=1e-6)  # 1 - sqrt(1e-4)
    assert float(vcreg.variance(torch.stack([wide, narrow]))) == pytest.approx(0.25, abs=1e-3)


def test_covariance_counts_what_is_off_the_diagonal():
    assert float(vcreg.covariance(columns(SIGNS, HALVES))) == pytest.approx(0, abs=1e-12)
    # covariance 4/3 in both corners
    assert float(vcreg.covariance(columns(SIGNS, SIGNS))) == pytest.approx(16 / 9)
    # covariance 8/3 in two of the six places off the diagonal
    three = columns(SIGNS, [2 * v for v in SIGNS], HALVES)
    assert float(vcreg.covariance(three)) == pytest.approx(2 * (8 / 3) ** 2 / 6)
    assert float(vcreg.covariance(three + 5)) == pytest.approx(2 * (8 / 3) ** 2 / 6, rel=1e-5)


def test_similarity_is_the_mean_squared_step():
    z = torch.tensor([[[0.0, 0.0], [1.0, 2.0], [1.0, 2.0]]])
    assert float(vcreg.similarity(z)) == pytest.approx((1 + 4 + 0 + 0) / 4)


def test_terms_are_over_the_batch_and_over_time_as_named():
    """A latent that differs between windows alone, and one that differs in time alone."""
    model = tiny.model(tiny.spec("pldm"))
    between = columns(SIGNS, HALVES)[:, None].expand(4, 4, 2)  # (B, T, D)
    within = columns(SIGNS, SIGNS)[None].expand(4, 4, 2)
    actions = torch.zeros(4, 4, 10)
    found = {name: float(v) for name, v in model.terms(between, actions).items()}
    assert found == pytest.approx(
        {"var": 0, "cov": 0, "time_sim": 0, "time_var": 0.99, "time_cov": 0, "idm": 0}, abs=1e-6
    )
    found = {name: float(v) for name, v in model.terms(within, actions).items()}
    assert found == pytest.approx(
        {"var": 0.99, "cov": 0, "time_sim": 4, "time_var": 0, "time_cov": 16 / 9, "idm": 0},
        abs=1e-6,
    )


def test_the_loss_adds_the_weighted_terms(datasets):
    spec = tiny.spec("pldm", "method.pldm.time_cov=3", "method.pldm.idm=0.5")
    model = tiny.model(spec)
    terms = model.loss(tiny.windows(spec, datasets, 4).take(range(8)).batch)
    weights = {"var": 18, "cov": 12, "time_sim": 0.2, "time_var": 0.7, "time_cov": 3, "idm": 0.5}
    total = terms["pred"] + sum(weight * terms[name] for name, weight in weights.items())
    assert terms["loss"].item() == pytest.approx(total.item())
    assert terms["idm"].item() > 0
