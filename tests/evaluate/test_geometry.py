"""Known answers for the geometry of latents that are the task's own states."""

import numpy as np
import pytest
import tiny
import torch

from harness import zoo
from harness.data import normalize
from harness.evaluate import geometry, held_out, latents
from harness.evaluate.held_out import Rollouts
from harness.records import metric_names
from lewm import sigreg

CPU = torch.device("cpu")
TASK = zoo.TASKS["two_room"]


def lines(windows=50, blocks=10):
    """States on straight lines at constant speeds, each with its own direction; the slowest is as
    far after ten blocks as no other after nine.
    """
    rng = np.random.default_rng(0)
    turn = rng.uniform(0, 2 * np.pi, windows)
    way = np.stack([np.cos(turn), np.sin(turn)], axis=1)[:, None]
    speed = rng.uniform(3.0, 3.3, (windows, 1, 1))
    return 100 + speed * np.arange(blocks + 1)[None, :, None] * way


def test_latents_that_are_the_state_order_as_the_task_does():
    state = lines()
    z = torch.from_numpy(state).float() @ torch.tensor([[0.0, 2.0], [-2.0, 0.0]])
    made = {
        row.name: row.value
        for row in geometry.measure("k", TASK, Rollouts(z, z[:, 1:], state))
        if row.name != "spectrum"
    }
    assert made["rank_distance"] == pytest.approx(1, abs=1e-3)
    assert made["rank_blocks"] == pytest.approx(1, abs=0.01)  # equal numbers of blocks tie
    assert made["straightness"] == pytest.approx(1, abs=1e-5)
    assert 1 < made["effective_rank"] <= 2


def test_latents_that_say_nothing_order_nothing():
    state = lines()
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(*state.shape[:2], 16, generator=generator)
    assert geometry.rank_correlations(noise, state, TASK) == pytest.approx((0, 0), abs=0.1)
    assert geometry.rank_correlations(torch.zeros_like(noise), state, TASK) == (0, 0)


def test_a_spectrum_of_known_shares():
    basis, _ = torch.linalg.qr(torch.randn(200, 3, generator=torch.Generator().manual_seed(0)))
    z = (basis - basis.mean(0)) * torch.tensor([3.0, 2.0, 1.0])
    assert latents.spectrum(z) == pytest.approx([9 / 14, 4 / 14, 1 / 14], abs=0.03)
    wide = torch.cat([z[:4], torch.zeros(4, 20)], dim=1)  # fewer frames than floats
    assert latents.spectrum(wide)[:3] == pytest.approx(latents.spectrum(z[:4])[:3], abs=1e-6)


def test_sigregs_statistic_is_lewms():
    z = torch.randn(256, 3, 5, generator=torch.Generator().manual_seed(0)) * 1.3 + 0.2
    sketch = np.random.default_rng(0).standard_normal((256, 7))
    own = geometry._epps_pulley(sketch)
    assert own == pytest.approx(sigreg.statistic(torch.from_numpy(sketch)).numpy(), rel=1e-9)
    assert geometry.sigreg(z) == pytest.approx(float(sigreg.sigreg(z, 4096)), rel=0.05)
    normal = torch.randn(256, 40, 64, generator=torch.Generator().manual_seed(1))
    assert geometry.sigreg(normal) == pytest.approx(1.0525, abs=0.1)
    assert geometry.sigreg(torch.zeros(256, 2, 5)) == pytest.approx(0.402 * 256, rel=0.01)


def test_a_grid_takes_one_point_of_each_cell_the_nearest_to_its_centre(monkeypatch):
    monkeypatch.setattr(geometry, "MAP_SIDE", 2)
    points = np.array([[0, 0], [1, 1], [0.3, 0.2], [0.8, 0.7], [0.9, 0.1], [0.26, 0.24]])
    assert geometry.grid(points).tolist() == [3, 4, 5]  # three of the four cells have points


def test_a_map_keeps_two_clusters_apart():
    rng = np.random.default_rng(0)
    z = np.concatenate([rng.normal(size=(30, 8)), rng.normal(size=(30, 8)) + 50]).astype(np.float32)
    points = geometry.tsne(z)
    assert points.shape == (60, 2) and np.array_equal(points, geometry.tsne(z))
    gap = np.linalg.norm(points[:30].mean(0) - points[30:].mean(0))
    assert gap > 2 * max(points[:30].std(), points[30:].std())


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ("two_room", ["agent_x [px]", "agent_y [px]"]),
        ("push_t", ["agent_x [px]", "agent_y [px]"]),
        ("reacher", ["shoulder [rad]", "wrist [rad]"]),
        ("cube", ["effector_x [m]", "effector_y [m]"]),
    ],
)
def test_the_axes_of_a_map(task, names):
    assert geometry.axes(zoo.TASKS[task].spec) == names


def test_rows_of_a_map_of_a_real_model(datasets):
    spec = tiny.spec("lewm")
    data, model = tiny.dataset(spec, datasets), tiny.model(spec)
    known, task = normalize.fit(data), zoo.TASKS[spec.task]
    made = geometry.map_rows("k", model, data, known, task.spec, CPU)
    names = [row.name for row in made]
    count = names.count("tsne_1")
    assert 20 < count <= geometry.MAP_SIDE**2
    assert list(dict.fromkeys(names)) == ["tsne_1", "tsne_2", "x", "y"]
    assert {row.stage for row in made} == {metric_names.MAP} and len(made) == 4 * count
    test_states = data.state[data.split_rows("test"), 0]
    assert {row.value for row in made if row.name == "x"} <= set(test_states)
    rolled = held_out.rollouts(model, data, known, 5, CPU)
    spectrum = [r for r in geometry.measure("k", task, rolled) if r.name == "spectrum"]
    assert sum(row.value for row in spectrum) == pytest.approx(1) and spectrum[0].index == 1
