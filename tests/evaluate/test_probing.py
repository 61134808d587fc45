"""Probes recover a planted map, and find nothing where there is nothing."""

import numpy as np
import pytest
import tiny
import torch
from torch import nn

from harness.evaluate import probing
from harness.records import rows

CPU = torch.device("cpu")
NAMES = ("x [px]", "angle [rad]", "noise [1]", "still [1]", "solver_0 [1]", "speed [px/s]")


class Dataset:
    """600 frames in 60 episodes; a picture is one pixel: x, sin(angle), cos(angle)."""

    def __init__(self):
        rng = np.random.default_rng(0)
        x, angle, noise, solver, speed = rng.uniform(-3, 3, (5, 600))
        self.state = np.stack([x, angle, noise, np.ones(600), solver, speed], axis=1)
        seen = np.stack([x / 3, np.sin(angle), np.cos(angle)], axis=1)
        self._pixels = np.round(127.5 + 127.5 * seen).astype(np.uint8).reshape(600, 3, 1, 1)

    def split_rows(self, name):
        return np.split(np.arange(600), [400, 480])[["train", "validation", "test"].index(name)]

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


class Blind(nn.Module):
    """A latent that says nothing."""

    def encode(self, obs):
        return torch.zeros(*obs.pixels.shape[:2], 8)


def probes():
    return probing.probe(Mixed(), Blind(), Dataset(), NAMES, CPU)


@pytest.fixture(scope="module")
def all_found():
    return probes()


@pytest.fixture(scope="module")
def found(all_found):
    names = {"linear": "linear", "mlp2x256": "mlp"}
    return {(p.quantity, names[p.kind]): p for p in all_found if p.source == "latent"}


def test_the_linear_probe_recovers_a_planted_map(found):
    assert found["x", "linear"].r > 0.999 and found["x", "linear"].error < 0.02
    assert found["angle", "linear"].r > 0.999 and found["angle", "linear"].error < 0.02
    assert found["x", "linear"].unit == "px" and found["angle", "linear"].unit == "rad"


def test_the_network_recovers_it_too(found):
    assert found["x", "mlp"].r > 0.98 and found["angle", "mlp"].r > 0.98


@pytest.mark.parametrize("source", ["untrained", "shuffled"])
def test_a_control_guesses(all_found, source):
    read = {(p.quantity, p.kind): p for p in all_found if p.source == source}
    assert len(read) == 6
    for kind in ("linear", "mlp2x256"):
        assert 1.2 < read["x", kind].error < 1.9  # uniform over 6: 1.5 by guessing the mean
        assert 1.2 < read["angle", kind].error < 1.9  # half of pi


def test_pixels_hold_what_a_grey_picture_shows(all_found):
    read = {(p.quantity, p.kind): p for p in all_found if p.source == "pixels"}
    assert 0.3 < read["x", "mlp2x256"].r < 0.9  # one of three numbers added up
    assert read["x", "linear"].frames == 400


def test_the_same_on_several_threads(all_found):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        again = probes()
    finally:
        torch.set_num_threads(threads)
    assert again == all_found


def test_the_network_reads_what_is_not_linear():
    """sqrt(a) times the sign of b - 4, from a and b."""
    values = np.random.default_rng(3).uniform(-3, 3, (900, 2)).astype(np.float32)
    split = np.split(np.arange(900), [600, 750])
    names = ("train", "validation", "test")
    inputs = {name: values[rows] ** 2 for name, rows in zip(names, split, strict=True)}
    hidden = np.abs(values[:, :1]) * np.sign(values[:, 1:] ** 2 - 4)
    true = {
        name: [probing._Quantity("a", "1", hidden[rows])]
        for name, rows in zip(names, split, strict=True)
    }
    linear, network = probing._read("latent", inputs, true)
    assert network.r > 0.9 and network.error < 0.6 * linear.error


def test_what_is_not_in_the_picture_is_not_found(found):
    assert abs(found["noise", "linear"].r) < 0.2
    assert 1.0 < found["noise", "linear"].error < 2.0  # uniform over 6: 1.5 by guessing the mean


def test_constants_speeds_and_the_solvers_memory_are_left_out(found):
    assert {quantity for quantity, _ in found} == {"x", "angle", "noise"}


def test_an_angle_is_wrong_by_the_shorter_way_round():
    angles = np.array([3.1, -3.1])
    true = probing._Quantity("a", "rad", np.stack([np.sin(angles), np.cos(angles)], axis=1))
    read = np.stack([np.sin(-angles), np.cos(-angles)], axis=1)
    assert probing._error(true, read) == pytest.approx(2 * np.pi - 6.2)


def test_rows_of_a_real_model(datasets, monkeypatch):
    monkeypatch.setattr(probing, "FRAMES", {"train": 300, "validation": 100, "test": 100})
    monkeypatch.setattr(probing, "EPOCHS", 2)
    spec = tiny.spec("lewm")
    data = tiny.dataset(spec, datasets)
    names = ("x [px]", "y [px]", *(f"s{i} [1]" for i in range(data.state.shape[1] - 2)))
    models = tiny.model(spec), tiny.model(spec, seed=1)
    made = probing.measure("toy.lewm.s0", *models, data, names, CPU)
    assert {row.stage for row in made} == {"probing"}
    assert all(np.isfinite(row.value) for row in made)
    parts = [rows.ProbeName.of(row.name) for row in made]
    assert {part.source for part in parts} == set(rows.PROBE_SOURCES)
    assert {part.frames for part in parts} == {300}
    assert [part.text() for part in parts] == [row.name for row in made]
