"""Known answers for SIGReg."""

import math

import pytest
import torch

from lewm import sigreg, sigreg_fast

GAUSSIAN, COLLAPSED = 1.0525, 0.402  # in expectation on N(0, I); per window of a collapsed batch


@pytest.mark.parametrize("windows", [32, 256])
def test_gaussian_latents_score_1_0525_at_any_batch_size(windows):
    generator = torch.Generator().manual_seed(windows)
    u = torch.randn(windows, 2**20 // windows, generator=generator)
    draws = sigreg.statistic(u)
    error = float(draws.std()) / len(draws) ** 0.5
    assert float(draws.mean()) == pytest.approx(GAUSSIAN, abs=4 * error)
    assert 4 * error < 0.1


def test_the_expectation_on_gaussian_latents_is_that_of_the_quadrature():
    """The mean of |ecf - phi|^2 over batches of B is (1 - phi^2) / B."""
    step = sigreg.T_MAX / (sigreg.KNOTS - 1)
    total = 0.0
    for k in range(sigreg.KNOTS):
        t, weight = k * step, step if k in (0, sigreg.KNOTS - 1) else 2 * step
        total += weight * math.exp(-(t**2) / 2) * (1 - math.exp(-(t**2)))
    assert total == pytest.approx(GAUSSIAN, abs=5e-5)


def test_sigreg_projects_on_unit_directions():
    torch.manual_seed(0)
    isotropic = torch.stack([sigreg.sigreg(torch.randn(128, 4, 32), 64) for _ in range(100)])
    assert float(isotropic.mean()) == pytest.approx(GAUSSIAN, abs=0.04)
    # a common scale s of the latents is a scale of every projection
    u = 1.7 * torch.randn(128, 5000)
    wide = torch.stack([sigreg.sigreg(1.7 * torch.randn(128, 4, 32), 64) for _ in range(50)])
    assert float(wide.mean()) == pytest.approx(float(sigreg.statistic(u).mean()), rel=0.04)


@pytest.mark.parametrize("windows", [8, 64])
def test_collapsed_latents_score_0_402_a_window(windows):
    score = sigreg.sigreg(torch.zeros(windows, 3, 16), 32)
    assert float(score) == pytest.approx(COLLAPSED * windows, rel=1e-3)


def test_directions_come_from_the_generator():
    z = torch.randn(16, 2, 8, generator=torch.Generator().manual_seed(0))
    first, second, other = (
        sigreg.sigreg(z, 4, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
    )
    assert first == second != other


def test_autocast_changes_the_projection_alone():
    found = []
    for enabled in (False, True):
        z = torch.randn(64, 4, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            value = sigreg.sigreg(z, 128, torch.Generator().manual_seed(1))
        value.backward()
        assert value.dtype == z.grad.dtype == torch.float32
        found.append((value.item(), z.grad.flatten()))
    (fp32, wanted), (bf16, got) = found
    assert bf16 == pytest.approx(fp32, rel=2e-3)
    assert torch.cosine_similarity(got, wanted, dim=0) > 0.9995


def fast_statistic(u):
    """The form that training uses."""
    return sigreg_fast.statistic(u, *sigreg.quadrature(u))


def test_sigreg_is_the_definition_over_the_projections():
    z = torch.randn(32, 3, 16, generator=torch.Generator().manual_seed(0))
    sketch = torch.randn(16, 64, generator=torch.Generator().manual_seed(1))
    expected = sigreg.statistic(z @ (sketch / sketch.norm(dim=0))).mean()
    found = sigreg.sigreg(z, 64, torch.Generator().manual_seed(1))
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("directions_at_a_time", [7, 40])
@pytest.mark.parametrize("scale", [0.1, 1.0, 6.0])
def test_the_recursion_is_the_definition_in_value_and_gradient(
    scale, directions_at_a_time, monkeypatch
):
    monkeypatch.setattr(sigreg_fast, "_CHUNK", 64 * 3 * directions_at_a_time)
    generator = torch.Generator().manual_seed(0)
    u = scale * torch.randn(64, 3, 40, generator=generator)
    weight = torch.randn(3, 40, generator=generator)  # another slope for each statistic
    found = []
    for form in (fast_statistic, sigreg.statistic):
        leaf = u.clone().requires_grad_()
        value = form(leaf)
        (value * weight).sum().backward()
        found.append((value.detach(), leaf.grad))
    (fast, fast_grad), (plain, plain_grad) = found
    assert fast.shape == (3, 40)
    assert torch.allclose(fast, plain, rtol=1e-4, atol=1e-4)
    assert torch.allclose(fast_grad, plain_grad, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("knots", [2, 5, 33])
def test_other_numbers_of_knots_are_the_same_integral(knots):
    u = torch.randn(64, 3)
    fast = sigreg_fast.statistic(u, *sigreg.quadrature(u, knots))
    assert torch.allclose(fast, sigreg.statistic(u, knots), rtol=1e-4, atol=1e-5)
    if knots > 4:
        assert torch.allclose(fast, sigreg.statistic(u), rtol=0.15)
