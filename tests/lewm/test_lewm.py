"""LeWM at the sizes of the paper, and its objective."""

import numpy as np
import pytest
import tiny
import torch

from harness.contracts.task import ModelDims
from lewm.model import LeWM, LeWMConfig


def test_sizes_of_the_paper():
    """5.50 M + 10.79 M of 18.03 M; 303 entries as in the released weights (Push-T: A = 10)."""
    with torch.device("meta"):
        model = LeWM(LeWMConfig(), ModelDims(image_size=224, block_dim=10, proprio_dim=4))

    def millions(part):
        return round(sum(p.numel() for p in part.parameters()) / 1e6, 2)

    assert (millions(model.encoder), millions(model.predictor)) == (5.50, 10.79)
    assert millions(model) == 18.03
    assert len(model.state_dict()) == 303
    assert (model.history, model.window_frames, model.tokens_per_frame) == (3, 4, 1)
    assert model.encoder.tokens == 257  # 16 x 16 patches and CLS


def test_the_loss_is_prediction_plus_weighted_sigreg(datasets):
    for weight in (0.0, 2.0):
        spec = tiny.spec("lewm", f"method.lewm.sigreg_weight={weight}")
        batch = tiny.windows(spec, datasets, 4).take(range(8)).batch
        terms = tiny.model(spec).loss(batch)
        pred, regulariser = terms["pred"].item(), terms["sigreg"].item()
        assert terms["loss"].item() == pytest.approx(pred + weight * regulariser)
        assert regulariser > 0


def test_no_target_is_detached(datasets):
    """Prediction and target both pull on the encoder: no stop-gradient."""
    spec = tiny.spec("lewm", "method.lewm.sigreg_weight=0", "method.lewm.dropout=0")
    model = tiny.stir(tiny.model(spec))
    batch = tiny.windows(spec, datasets, 4).take(range(8)).batch

    def gradient(loss):
        model.zero_grad()
        loss.backward()
        return model.encoder.head.weight.grad.clone()

    def prediction_error(target):
        z = model.encode(batch.obs)
        predicted = model.predict(z[:, :-1], batch.actions[:, :-1])
        return (predicted - target(z)[:, 1:]).pow(2).mean()

    found = gradient(model.loss(batch)["loss"])
    assert torch.allclose(found, gradient(prediction_error(lambda z: z)), atol=1e-6)
    detached = gradient(prediction_error(torch.Tensor.detach))
    assert not torch.allclose(found, detached, rtol=0.1, atol=1e-6)


def test_a_decoder_adds_its_weighted_picture_error_and_trains_the_encoder(datasets):
    plain, drawn = (tiny.spec("lewm", *words) for words in ([], ["method.lewm.decoder_weight=2"]))
    model = tiny.model(drawn).train()
    batch = tiny.windows(drawn, datasets, model.window_frames).take(np.arange(8)).batch
    terms = model.loss(batch)
    weighted = terms["pred"] + drawn.config.method.sigreg_weight * terms["sigreg"]
    assert torch.allclose(terms["loss"], weighted + 2 * terms["decode"])
    assert 0 < terms["decode"].item() < 2
    terms["decode"].backward()
    assert all(p.grad is not None for p in model.encoder.parameters())
    assert "decode" not in tiny.model(plain).loss(batch)
