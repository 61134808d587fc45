"""Probes recover a planted map, and find nothing where there is nothing."""

import numpy as np
import pytest
import tiny
import torch
from torch import nn

from harness.evaluate import probing

CPU = torch.device("cpu")
NAMES = ("x [px]", "angle [rad]", "noise [1]", "still [1]", "solver_0 [1]")


class Dataset:
    """600 frames in 60 episodes; a picture is one pixel: x, sin(angle), cos(angle)."""

    def __init__(self):
        rng = np.random.default_rng(0)
        x, angle, noise, solver = rng.uniform(-3, 3, (4, 600))
        self.state = np.stack([x, angle, noise, np.ones(600), solver], axis=1)
        seen = np.stack([x / 3, np.sin(angle), np.cos(angle)], axis=1)
        self._pixels = np.round(127.5 + 127.5 * seen).astype(np.uint8).reshape(600, 3, 1, 1)

    def split_rows(self, name):
        return np.arange(0, 400) if name == "train" else np.arange(400, 600)

    def read_pixels(self, rows):
        return self._pixels[rows]


class Mixed(nn.Module):
    """The three numbers of a picture, rotated into 8 dimensions."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self._map = torch.randn(3, 8, generator=generator)

    def encode(self, obs):
        return (obs.pixels.flatten(2).float() / 127.5 - 1) @ self._map


@pytest.fixture(scope="module")
def found():
    return {(p.quantity, p.kind): p for p in probing.probe(Mixed(), Dataset(), NAMES, CPU)}


def test_the_linear_probe_recovers_a_planted_map(found):
    assert found["x", "linear"].r > 0.999 and found["x", "linear"].error < 0.02
    assert found["angle", "linear"].r > 0.999 and found["angle", "linear"].error < 0.02
    assert found["x", "linear"].unit == "px" and found["angle", "linear"].unit == "rad"


def test_the_network_recovers_it_too(found):
    assert found["x", "mlp"].r > 0.98 and found["angle", "mlp"].r > 0.98


def test_what_is_not_in_the_picture_is_not_found(found):
    assert abs(found["noise", "linear"].r) < 0.2
    assert 1.0 < found["noise", "linear"].error < 2.0  # uniform over 6: 1.5 by guessing the mean


def test_constants_and_the_solvers_memory_are_left_out(found):
    assert {quantity for quantity, _ in found} == {"x", "angle", "noise"}


def test_an_angle_is_wrong_by_the_shorter_way_round():
    angles = np.array([3.1, -3.1])
    true = probing._Quantity("a", "rad", np.stack([np.sin(angles), np.cos(angles)], axis=1))
    read = np.stack([np.sin(-angles), np.cos(-angles)], axis=1)
    assert probing._judged("linear", true, read).error == pytest.approx(2 * np.pi - 6.2)


def test_rows_of_a_real_model(datasets):
    spec = tiny.spec("lewm")
    data = tiny.dataset(spec, datasets)
    names = ("x [px]", "y [px]", *(f"s{i} [1]" for i in range(data.state.shape[1] - 2)))
    made = probing.measure("toy.lewm.s0", tiny.model(spec), data, names, CPU)
    assert {row.stage for row in made} == {"probing"}
    assert all(np.isfinite(row.value) for row in made)
