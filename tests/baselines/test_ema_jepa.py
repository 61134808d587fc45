"""The EMA JEPA's target network."""

import pytest
import tiny
import torch

from harness.experiment import config

SPEC = tiny.spec("ema_jepa", "method.ema_jepa.momentum_start=0.5", "method.ema_jepa.turnovers=0")


def weights(model):
    return [*model.target_encoder.parameters(), *model.target_projector.parameters()]


@torch.no_grad()
def moved(model, amount=1.0):
    """The model with an online network that has moved away from its target."""
    for part in (model.encoder, model.projector):
        for parameter in part.parameters():
            parameter.add_(amount)
    return model


def distances(model, before):
    """How far each weight of the target has come, (weights,)."""
    pairs = zip(weights(model), before, strict=True)
    return torch.cat([(now - then).flatten() for now, then in pairs])


def test_the_target_starts_as_a_copy_and_follows_on_the_schedule():
    model = tiny.model(SPEC)
    before = [parameter.clone() for parameter in weights(model)]
    moved(model)
    for step, expected in (
        (0, 0.5),  # momentum 0.5: half way
        (1, 0.625),  # 0.75: a quarter of the rest
        (2, 0.625),  # 1: it stands still
    ):
        model.after_step(step, 3)
        assert torch.allclose(distances(model, before), torch.tensor(expected), atol=1e-5)


def test_no_gradient_reaches_the_target(datasets):
    model = tiny.stir(tiny.model(SPEC))
    model.loss(tiny.windows(SPEC, datasets, 4).take(range(8)).batch)["loss"].backward()
    assert all(p.grad is None and not p.requires_grad for p in weights(model))
    assert all(p.grad.any() for p in model.encoder.parameters())


@torch.no_grad()
def test_the_target_encodes_at_evaluation(datasets):
    model = tiny.model(SPEC).eval()
    obs = tiny.windows(SPEC, datasets, 4).take(range(4)).batch.obs
    before = model.encode(obs)
    assert torch.equal(moved(model).encode(obs), before)
    for _ in range(30):
        model.after_step(0, 100)
    assert not torch.allclose(model.encode(obs), before)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("momentum_end=1.5", "momentum_end=1.5 must be at least 0 and at most 1"),
        ("momentum_start=1", "the target never moves; give one of them below 1"),
        ("turnovers=-1", "turnovers=-1.0 must be at least 0"),
    ],
)
def test_momenta_that_make_no_sense_are_refused(word, reason):
    with pytest.raises(config.ConfigError, match=reason):
        tiny.spec("ema_jepa", f"method.ema_jepa.{word}")
