"""SMWM's objective: inverse dynamics is what keeps its latents apart."""

import numpy as np
import pytest
import tiny
import torch

from harness import zoo
from harness.experiment.scales import SCALES


def batch_of(spec, datasets, model, rows=8):
    return tiny.windows(spec, datasets, model.window_frames).take(range(rows)).batch


def test_the_loss_is_prediction_plus_weighted_inverse_dynamics(datasets):
    for weight in (0.0, 30.0):
        spec = tiny.spec("smwm", f"method.smwm.idm_weight={weight}")
        model = tiny.model(spec)
        terms = {n: v.item() for n, v in model.loss(batch_of(spec, datasets, model)).items()}
        assert terms["loss"] == pytest.approx(terms["pred"] + weight * terms["idm"])
        assert terms["idm"] > 0


def test_both_latents_of_a_pair_get_a_gradient_from_both_terms(datasets):
    """No stop-gradient: prediction and inverse dynamics pull on the later latent too."""
    model = tiny.stir(tiny.model(tiny.spec("smwm"))).eval()
    batch = batch_of(tiny.spec("smwm"), datasets, model)
    latents = model.encode(batch.obs).detach().requires_grad_()
    model.encode = lambda obs: latents
    terms = model.loss(batch)
    for name in ("pred", "idm"):
        (gradient,) = torch.autograd.grad(terms[name], latents, retain_graph=True)
        assert (gradient.flatten(2).norm(dim=-1) > 0).all()


def latent_std_after(spec, datasets, steps=80):
    """The std of the latents after a short training, over its std before."""
    model = tiny.model(spec)
    windows = tiny.windows(spec, datasets, model.window_frames)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    stds = []
    for step in range(steps):
        torch.manual_seed(step)
        terms = model.loss(windows.sample(np.random.default_rng(step), 32).batch)
        stds.append(terms["latent_std"].item())
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
    return stds[-1] / stds[0]


def test_without_its_weight_the_latents_collapse(datasets):
    collapsed = latent_std_after(tiny.spec("smwm", "method.smwm.idm_weight=0"), datasets)
    kept = latent_std_after(tiny.spec("smwm", "method.smwm.idm_weight=10"), datasets)
    assert collapsed < 0.3 and kept > 2 * collapsed


@pytest.mark.parametrize("scale", SCALES)
def test_each_task_has_its_published_weight_at_every_scale(scale):
    weights = {"two_room": 0.1, "reacher": 1.0, "push_t": 30.0, "cube": 1.0, "toy": 1.0}
    assert set(weights) == set(zoo.TASKS)
    for task, weight in weights.items():
        assert tiny.spec("smwm", f"scale={scale}", task=task).config.method.idm_weight == weight
    spec = tiny.spec("smwm", f"scale={scale}", "method.smwm.idm_weight=5", task="push_t")
    assert spec.config.method.idm_weight == 5
