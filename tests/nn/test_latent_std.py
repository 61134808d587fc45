"""The std that training logs, by hand and for every world model."""

import numpy as np
import pytest
import tiny
import torch

from harness import zoo
from harness.contracts.method import WorldModel
from harness.nn.latent_std import latent_std

WORLD_MODELS = [
    name
    for name, method in zoo.METHODS.items()
    if method.trained and issubclass(method.build, WorldModel)
]


def test_std_is_of_each_float_over_frames():
    z = torch.tensor([[[0.0, 5.0], [2.0, 5.0]], [[4.0, 5.0], [6.0, 5.0]]])  # (B, T, D)
    expected = torch.tensor([0.0, 2.0, 4.0, 6.0]).std() / 2  # the second float never changes
    assert latent_std(z) == pytest.approx(float(expected))
    assert latent_std(z.unflatten(-1, (2, 1))) == latent_std(z)


@pytest.mark.parametrize("name", WORLD_MODELS)
def test_every_world_model_logs_it_without_gradient(name, datasets):
    spec = tiny.spec(name)
    model = tiny.model(spec)
    windows = tiny.windows(spec, datasets, model.window_frames)
    terms = model.loss(windows.take(np.array([0, 3, 5, 9])).batch)
    assert terms["latent_std"] > 0 and not terms["latent_std"].requires_grad
