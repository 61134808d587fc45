"""Known answers for the statistics of a latent space."""

import math

import pytest
import tiny
import torch

from harness.data import normalize
from harness.evaluate import latents


def spectrum(*values):
    """Latents whose covariance has eigenvalues in these proportions, in some rotated basis."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(64, len(values), generator=generator, dtype=torch.float64)
    basis, _ = torch.linalg.qr(noise - noise.mean(0))  # orthonormal columns of mean 0
    rotation, _ = torch.linalg.qr(torch.randn(len(values), len(values), generator=generator))
    return basis * torch.tensor(values, dtype=torch.float64).sqrt() @ rotation.double() + 3.0


@pytest.mark.parametrize(
    ("values", "rank"),
    [
        ((1, 1, 1, 1, 1), 5.0),
        ((9, 0, 0), 1.0),
        ((2, 2, 0, 0), 2.0),
        ((3, 1), math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25)))),
    ],
)
def test_effective_rank_of_a_known_spectrum(values, rank):
    assert latents.effective_rank(spectrum(*values)) == pytest.approx(rank, rel=1e-6)


def test_effective_rank_of_collapsed_latents_is_1():
    assert latents.effective_rank(torch.full((10, 4), 2.0)) == pytest.approx(1.0)


def test_statistics_of_a_model(datasets):
    spec = tiny.spec("lewm")
    model = tiny.model(spec)
    windows = tiny.windows(spec, datasets, model.window_frames, "validation")
    found = latents.statistics(model, windows, torch.device("cpu"))
    assert set(found) == {"latent_std", "effective_rank", "validation_pred"}
    values = {name: value for name, (value, _) in found.items()}
    assert values["latent_std"] > 0 and values["validation_pred"] > 0
    assert 1 <= values["effective_rank"] <= spec.config.method.latent_dim
    assert found == latents.statistics(model, windows, torch.device("cpu"))


def test_measure_gives_a_row_for_every_statistic(datasets):
    spec = tiny.spec("lewm")
    windows = tiny.windows(spec, datasets, 4)
    model, data = tiny.model(spec), windows.dataset
    known = normalize.fit(data)
    made = latents.measure(spec.key, model, data, known, windows.block, torch.device("cpu"))
    assert {row.name for row in made} == {"latent_std", "effective_rank", "validation_pred"}
