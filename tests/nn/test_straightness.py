"""Straightness by hand, and that every world model logs it."""

import numpy as np
import pytest
import tiny
import torch

from harness import zoo
from harness.nn.straightness import straightness


def path(*points):
    return torch.tensor(points, dtype=torch.float32)[None]  # (1, T, D)


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        (((0, 0), (1, 2), (2, 4), (6, 12)), 1.0),  # a line, at two speeds
        (((0, 0), (1, 0), (1, 1), (0, 1)), 0.0),  # right angles
        (((0, 0), (1, 0), (0, 0)), -1.0),  # there and back
        (((0, 0), (1, 0), (1, 0), (5, 3)), 0.0),  # it stands still in between: no angle
        (((0, 0), (1, 0), (2, 0), (2, 0)), 1.0),  # of which only the first two moves count
    ],
)
def test_known_paths(points, expected):
    assert straightness(path(*points)) == pytest.approx(expected, abs=1e-6)


def test_scale_and_tokens_change_nothing():
    z = torch.randn(5, 4, 6, generator=torch.Generator().manual_seed(0))
    assert straightness(1e-6 * z) == pytest.approx(float(straightness(z)), abs=1e-6)
    assert straightness(z.unflatten(-1, (2, 3))) == straightness(z)
    assert abs(straightness(z) + 0.5) < 0.2  # of independent points: -1/2 in expectation


@pytest.mark.parametrize("name", [n for n, method in zoo.METHODS.items() if method.plans])
def test_every_world_model_logs_it_where_its_windows_show_it(name, datasets):
    spec = tiny.spec(name)
    model = tiny.model(spec)
    windows = tiny.windows(spec, datasets, model.window_frames)
    terms = model.loss(windows.take(np.array([0, 3, 5, 9])).batch)
    assert ("straightness" in terms) == (model.window_frames > 2)
    if model.window_frames > 2:
        assert -1 <= terms["straightness"] <= 1 and not terms["straightness"].requires_grad
