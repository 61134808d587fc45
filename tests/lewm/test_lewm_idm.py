"""LeWM with inverse dynamics: LeWM, and one term more."""

import pytest
import tiny
import torch


def terms_of(method, datasets, *words):
    """The terms of the first batch; weights and SIGReg's directions are those of one seed."""
    spec = tiny.spec(method, f"method.{method}.sigreg_weight=0.2", *words)
    model = tiny.model(spec).eval()
    batch = tiny.windows(spec, datasets, model.window_frames).take(range(8)).batch
    torch.manual_seed(0)
    return {name: value.item() for name, value in model.loss(batch).items()}


def test_the_loss_is_lewms_plus_weighted_inverse_dynamics(datasets):
    plain = terms_of("lewm", datasets)
    for weight in (0.0, 0.5):
        terms = terms_of("lewm_idm", datasets, f"method.lewm_idm.idm_weight={weight}")
        assert {name: terms[name] for name in ("pred", "sigreg", "latent_std")} == {
            name: plain[name] for name in ("pred", "sigreg", "latent_std")
        }
        assert terms["loss"] == pytest.approx(plain["loss"] + weight * terms["idm"])
        assert terms["idm"] > 0
