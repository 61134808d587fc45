"""Probes recover a planted map, and find nothing where there is nothing."""

import dataclasses
from collections import defaultdict

import numpy as np
import pytest
import tiny
import torch

from harness import zoo
from harness.data import normalize
from harness.evaluate import held_out, probing
from harness.evaluate.probing import Pairs, Quantity
from harness.records import metric_names

CPU = torch.device("cpu")
SPEC = dataclasses.replace(
    zoo.TASKS["toy"].spec,
    state_names=(
        *("x [px]", "y [px]", "angle [rad]", "noise [1]", "still [1]", "solver_0 [1]"),
        *("x_speed [px/s]", "y_speed [px/s]"),
    ),
    quantities=(("place", ("x", "y")), ("speed", ("x_speed", "y_speed"))),
)


def planted(rng, count):
    """Pairs whose latents are a linear map of place and angle; the speed is how the place changes;
    everything else is in no latent.
    """
    start, speed = rng.uniform(-3, 3, (count, 2)), rng.uniform(-3, 3, (count, 2))
    place = np.stack([start, start + speed], axis=1)  # (M, 2, 2)
    angle, noise, solver = rng.uniform(-3, 3, (3, count, 2, 1))
    both = np.repeat(speed[:, None], 2, axis=1)
    state = np.concatenate([place, angle, noise, np.ones((count, 2, 1)), solver, both], axis=-1)
    seen = np.concatenate([place, np.sin(angle), np.cos(angle)], axis=-1)
    basis = np.random.default_rng(1).normal(size=(4, 8))
    blind = np.zeros((count, 2, 8))
    return Pairs({"latent": seen @ basis, "untrained": blind, "pooled": seen[..., :2]}, state)


def only(splits, *sources):
    return {
        name: own._replace(features={s: own.features[s] for s in sources})
        for name, own in splits.items()
    }


@pytest.fixture(scope="module")
def splits():
    rng = np.random.default_rng(0)
    counts = {"train": 600, "validation": 200, "test": 200}
    return {name: planted(rng, count) for name, count in counts.items()}


@pytest.fixture(scope="module")
def made(splits):
    own = only(splits, "latent", "pooled")
    return probing.measure(
        "k", own, [only(splits, "untrained")], probing.of_frames(own, SPEC), SPEC
    )


@pytest.fixture(scope="module")
def found(made):
    """(quantity, source, "linear" or "mlp", measure) -> values by seed."""
    values = defaultdict(list)
    for row in made:
        name = metric_names.ProbeName.of(row.name)
        kind = "linear" if name.probe == "linear" else "mlp"
        assert row.index == len(values[name.quantity, name.source, kind, name.measure])
        values[name.quantity, name.source, kind, name.measure].append(row.value)
    return values


@pytest.mark.parametrize("quantity", ["place", "angle", "speed"])
def test_the_linear_probe_recovers_a_planted_map(found, quantity):
    """Speeds too, which are in the difference of two latents."""
    assert found[quantity, "latent", "linear", "r"][0] == pytest.approx(1, abs=1e-6)
    assert found[quantity, "latent", "linear", "mse"][0] < 1e-6
    assert found[quantity, "latent", "linear", "error"][0] < 1e-2  # px, px/s, rad of 3


@pytest.mark.parametrize("quantity", ["place", "angle", "speed"])
def test_the_networks_recover_it_too(found, quantity):
    values = found[quantity, "latent", "mlp", "r"]
    assert len(values) == probing.SEEDS and len(set(values)) == probing.SEEDS
    assert min(values) > 0.95


def test_pooled_features_hold_what_they_hold(found):
    assert found["place", "pooled", "linear", "r"][0] > 0.999
    assert abs(found["angle", "pooled", "linear", "r"][0]) < 0.2
    assert len(found["place", "pooled", "mlp", "r"]) == 1


@pytest.mark.parametrize("source", ["untrained", "shuffled"])
@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_a_control_guesses(found, source, kind):
    for quantity in ("place", "angle", "speed", "noise"):
        assert abs(found[quantity, source, kind, "r"][0]) < 0.2
        assert 0.8 < found[quantity, source, kind, "mse"][0] < 1.3
    assert 1.2 < found["angle", source, kind, "error"][0] < 1.9  # half of pi


def test_what_is_not_in_the_latent_is_not_found(found):
    assert abs(found["noise", "latent", "linear", "r"][0]) < 0.2
    assert 1.2 < found["noise", "latent", "linear", "error"][0] < 1.8  # 1.5 by guessing the mean


def test_constants_and_the_solvers_memory_are_left_out(made):
    names = [metric_names.ProbeName.of(row.name) for row in made]
    assert {name.quantity for name in names} == {"place", "angle", "noise", "speed"}
    assert {name.frames for name in names if name.quantity == "speed"} == {600}  # pairs
    assert {name.frames for name in names if name.quantity == "place"} == {1200}
    units = {
        metric_names.ProbeName.of(r.name).quantity: r.unit for r in made if r.name.endswith("error")
    }
    assert units == {"place": "px", "angle": "rad", "noise": "1", "speed": "px/s"}


def test_the_same_on_several_threads(splits):
    def read():
        probe = probing.of_frames(splits, SPEC)
        return probe.read(splits["test"].inputs("latent", False))["mlp2x256"]

    threads, first = torch.get_num_threads(), read()
    torch.set_num_threads(2)
    try:
        assert np.array_equal(read(), first)
    finally:
        torch.set_num_threads(threads)


def test_the_network_reads_what_is_not_linear():
    """sqrt(a) times the sign of b - 4, from a and b."""
    values = np.random.default_rng(3).uniform(-3, 3, (1900, 2))
    hidden = np.abs(values[:, :1]) * np.sign(values[:, 1:] ** 2 - 4)
    names = ("train", "validation", "test")
    x = dict(zip(names, np.split(values**2, [1500, 1700]), strict=True))
    y = dict(zip(names, np.split(hidden, [1500, 1700]), strict=True))
    probe = probing.fit(x, y, (Quantity("a", "1", (0,)),))
    linear, network = (np.abs(r[0] - y["test"]).mean() for r in probe.read(x["test"]).values())
    assert network < 0.6 * linear


def test_an_angle_is_wrong_by_the_shorter_way_round():
    quantity = Quantity("a", "rad", (0, 1))
    true, read = np.array([[3.1, 0.2]]), np.array([[-3.1, 0.3]])
    errors = quantity.errors(quantity.targets(true), quantity.targets(read))
    assert errors == pytest.approx([((2 * np.pi - 6.2) + 0.1) / 2])


def test_a_position_is_wrong_by_the_length_of_the_difference():
    errors = Quantity("p", "px", (0, 1)).errors(np.zeros((1, 2)), np.array([[3.0, 4.0]]))
    assert errors == pytest.approx([5])


def test_correlation_of_known_columns():
    x = np.arange(10.0)
    true = np.stack([x, x], axis=1)
    assert probing.correlation(true, np.stack([2 * x + 1, -x], axis=1)) == pytest.approx(0)
    assert probing.correlation(true, np.stack([2 * x, np.ones(10)], axis=1)) == pytest.approx(0.5)


@pytest.mark.parametrize("task", zoo.TASKS)
def test_every_quantity_of_a_task_is_named_by_states_it_has(task):
    spec = zoo.TASKS[task].spec
    names = [name.partition(" ")[0] for name in spec.state_names]
    grouped = [name for _, members in spec.quantities for name in members]
    assert set(grouped) <= set(names) and len(set(grouped)) == len(grouped)
    assert not {group for group, _ in spec.quantities} & (set(names) - set(grouped))
    state = np.random.default_rng(0).normal(size=(5, len(names)))
    for speeds in (False, True):
        for quantity in probing.quantities(spec, state, speeds):
            units = {spec.state_names[i].partition(" ")[2] for i in quantity.columns}
            assert units == {f"[{quantity.unit}]"}
            assert quantity.unit.endswith("/s") == speeds


@pytest.mark.parametrize("method", ["lewm", "dino_wm_proprio", "gcbc"])
def test_pairs_of_a_real_model(method, datasets, monkeypatch):
    monkeypatch.setattr(probing, "FRAMES", {"train": 300, "validation": 100, "test": 100})
    spec = tiny.spec(method)
    data, model = tiny.dataset(spec, datasets), tiny.model(spec)
    features, known = held_out.latent(model), normalize.fit(data)
    splits = probing.read_pairs(features, data, known, 5, CPU)
    for name, own in splits.items():
        assert own.state.shape[:2] == (probing.FRAMES[name] // 2, 2)
        assert own.inputs("latent", False).shape[0] == 2 * own.inputs("latent", True).shape[0]
    assert ("pooled" in splits["test"].features) == (method == "dino_wm_proprio")
    pixels = probing.read_pairs(probing.grey(64), data, known, 5, CPU)
    assert pixels["test"].features["pixels"].shape == (50, 2, 64)
    assert np.array_equal(pixels["test"].state, splits["test"].state)
