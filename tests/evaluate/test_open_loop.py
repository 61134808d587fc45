"""Known answers for rollouts that are right, stand still, or know only the mean."""

import numpy as np
import pytest
import torch
from test_probing import SPEC, planted

from harness.evaluate import open_loop, probing
from harness.evaluate.held_out import Rollouts
from harness.records import metric_names


def walk(windows=200, blocks=4, dims=3):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(windows, blocks + 1, dims, generator=generator).cumsum(1)


def test_a_perfect_model_errs_by_nothing_and_the_guesses_by_what_they_miss():
    z = walk()
    errors = open_loop.latent_errors(z, z[:, 1:])
    variance = float((z - z.flatten(0, 1).mean(0)).pow(2).mean())
    assert errors["model"].tolist() == [0, 0, 0, 0]
    expected = torch.tensor([1.0, 2, 3, 4]) / variance  # of a walk of steps with variance 1
    assert torch.allclose(errors["copy"], expected, rtol=0.15)
    assert torch.allclose(errors["mean"], (1 + torch.arange(1, 5)) / variance, rtol=0.2)


def test_a_model_that_stands_still_is_the_copy():
    z = walk()
    errors = open_loop.latent_errors(z, z[:, :1].expand(-1, 4, -1))
    assert torch.allclose(errors["model"], errors["copy"])


def test_the_mean_latent_errs_by_the_variance():
    """Independent frames have 1 at every block."""
    z = torch.randn(500, 6, 8, generator=torch.Generator().manual_seed(1))
    assert open_loop.latent_errors(z, z[:, 1:])["mean"] == pytest.approx([1] * 5, abs=0.05)


@pytest.fixture(scope="module")
def probe():
    rng = np.random.default_rng(0)
    splits = {name: planted(rng, count) for name, count in (("train", 800), ("validation", 200))}
    return probing.of_frames(splits, SPEC)


def test_quantities_are_read_from_predicted_latents(probe):
    """A place that moves by (3, 4) a block, whose rollout lags one block behind."""
    start = planted(np.random.default_rng(2), 60)
    state = np.repeat(start.state[:, :1], 3, axis=1)
    state[:, :, :2] = np.array([-2.5, -2.5]) + np.arange(3)[:, None] * [0.9, 1.2]
    seen = np.concatenate([state[..., :2], np.sin(state[..., 2:3]), np.cos(state[..., 2:3])], -1)
    z = torch.from_numpy(seen @ np.random.default_rng(1).normal(size=(4, 8))).float()
    made = Rollouts(z, z[:, :-1], state)
    errors = open_loop.quantity_errors(made, probe)["place", "px"]
    assert errors["seen"] == pytest.approx([0, 0], abs=0.25)
    assert errors["model"] == pytest.approx([1.5, 1.5], abs=0.25)
    assert errors["copy"] == pytest.approx([1.5, 3.0], abs=0.25)
    off = np.linalg.norm(state[0, 1:, :2] - probe.centre[:2], axis=1)
    assert errors["mean"] == pytest.approx(off)
    assert ("speed", "px/s") not in open_loop.quantity_errors(made, probe)


def test_rows_name_what_and_by_which_guess(probe):
    start = planted(np.random.default_rng(2), 30)
    z = torch.from_numpy(start.features["latent"]).float()
    made = open_loop.measure("k", Rollouts(z, z[:, 1:], start.state), probe)
    names = {metric_names.OpenLoopName.of(row.name) for row in made}
    assert {name.guess for name in names if name.quantity == metric_names.LATENT} == {
        *("model", "copy", "mean"),
    }
    assert {name.guess for name in names if name.quantity == "place"} == {
        *("model", "copy", "mean", "seen"),
    }
    assert {row.index for row in made} == {1} and {row.stage for row in made} == {"open_loop"}
    assert {row.unit for row in made} == {"share of variance", "px", "rad", "1"}
