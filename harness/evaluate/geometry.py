"""The geometry of a latent space on test episodes: how straight its paths are, how many dimensions
it fills, whether it orders states as the task does, and a map of it.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from scipy import stats
from threadpoolctl import threadpool_limits
from torch import Tensor

from harness.contracts.method import WorldModel
from harness.contracts.task import Task, TaskSpec
from harness.data.episodes import Dataset
from harness.data.normalize import Normalizer
from harness.evaluate import held_out, latents
from harness.evaluate.held_out import Rollouts
from harness.nn.straightness import straightness
from harness.records import metric_names, rows
from harness.runtime import seeding

MAP_SIDE = 20  # cells of a map's grid of states, one way
_SPECTRUM = 64  # eigenvalues that are recorded
_DIRECTIONS = 256  # of SIGReg's statistic
_KNOTS = np.linspace(0, 3, 17)  # of its integral, as in LeWM's released code


def measure(key: str, task: Task, rollouts: Rollouts) -> list[rows.MetricRow]:
    """Metric rows of the trial `key`, of held-out windows."""
    z = rollouts.z
    by_distance, by_steps = rank_correlations(z, rollouts.state, task)
    spectrum = latents.spectrum(z.flatten(0, 1))[:_SPECTRUM].tolist()
    scalars = {
        "straightness": (float(straightness(z)), ""),
        "effective_rank": (latents.effective_rank(z.flatten(0, 1)), "dimensions"),
        "sigreg": (sigreg(z), ""),
        "rank_distance": (by_distance, ""),
        "rank_blocks": (by_steps, ""),
    }
    return [
        rows.MetricRow(key, "geometry", name, 0, value, unit)
        for name, (value, unit) in scalars.items()
    ] + [
        rows.MetricRow(key, "geometry", "spectrum", i, share, "share of variance")
        for i, share in enumerate(spectrum, start=1)
    ]


def rank_correlations(z: Tensor, state: np.ndarray, task: Task) -> tuple[float, float]:
    """Spearman's correlation of the distance between two latents of a window, z (W, T, F), with the
    task's distance between their states (W, T, S), and with the number of blocks between them.
    """
    first, later = np.array(list(itertools.combinations(range(z.shape[1]), 2))).T
    between = (z[:, later] - z[:, first]).norm(dim=-1).numpy()  # (W, pairs)
    ends = (state[:, i].reshape(-1, state.shape[-1]) for i in (first, later))
    blocks = np.broadcast_to(later - first, between.shape)
    return _spearman(between, task.distance(*ends)), _spearman(between, blocks)


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    """0 where one of the two does not vary."""
    a, b = a.reshape(-1), b.reshape(-1)
    return float(stats.spearmanr(a, b).statistic) if np.ptp(a) > 0 and np.ptp(b) > 0 else 0.0


def sigreg(z: Tensor) -> float:
    """SIGReg's statistic (lewm/sigreg.py) of latents z (W, T, F), by its definition: about 1 where
    the W latents of one time step are standard normal, 0.4 W where all are zero.
    """
    rng = seeding.stream("geometry", "sigreg")
    drawn = rng.standard_normal((z.shape[-1], _DIRECTIONS))
    sketch = torch.from_numpy(drawn / np.linalg.norm(drawn, axis=0)).float()
    statistics = [_epps_pulley((z[:, t] @ sketch).double().numpy()) for t in range(z.shape[1])]
    return float(np.mean(statistics))


def _epps_pulley(u: np.ndarray) -> np.ndarray:
    """The Epps-Pulley statistic (n,) of each column of scalars u (W, n): W times the integral of
    w(t) |ecf(t) - exp(-t^2 / 2)|^2 over [-3, 3], with w(t) = exp(-t^2 / 2).
    """
    gaps = [
        np.abs(np.exp(1j * t * u).mean(axis=0) - np.exp(-(t**2) / 2)) ** 2 * np.exp(-(t**2) / 2)
        for t in _KNOTS
    ]
    return 2 * len(u) * np.trapezoid(gaps, _KNOTS, axis=0)


def map_rows(
    key: str,
    model: WorldModel,
    dataset: Dataset,
    normalizer: Normalizer,
    spec: TaskSpec,
    device: torch.device,
) -> list[rows.MetricRow]:
    """Metric rows of the trial `key` for a map of its latents: t-SNE of test frames whose states
    lie on a grid, and the two states that span the grid.
    """
    names = axes(spec)
    columns = [spec.state_names.index(name) for name in names]
    frames = dataset.split_rows("test")
    chosen = frames[grid(dataset.state[frames][:, columns])]
    read = held_out.read(held_out.latent(model), dataset, normalizer, chosen[:, None], device)
    points = tsne(read["latent"][:, 0])
    units = [name.partition(" ")[2].strip("[]") for name in names]
    curves = [("tsne_1", points[:, 0], ""), ("tsne_2", points[:, 1], "")]
    curves += [
        (name.partition(" ")[0], dataset.state[chosen, column], unit)
        for name, column, unit in zip(names, columns, units, strict=True)
    ]
    return [
        rows.MetricRow(key, metric_names.MAP, name, i, float(value), unit)
        for name, values, unit in curves
        for i, value in enumerate(values)
    ]


def axes(spec: TaskSpec) -> list[str]:
    """The two states that span maps of the task: the first two of its first quantity."""
    wanted = spec.quantities[0][1][:2] if spec.quantities else ()
    named = [name for name in spec.state_names if name.partition(" ")[0] in wanted]
    return named if len(named) == 2 else list(spec.state_names[:2])


def grid(points: np.ndarray) -> np.ndarray:
    """The points (M, 2) nearest to the centres of the cells of a grid over them, as indices, one
    for each cell that has any.
    """
    low, span = points.min(0), np.maximum(np.ptp(points, axis=0), 1e-9)
    scaled = (points - low) / span * MAP_SIDE
    cell = np.minimum(scaled.astype(int), MAP_SIDE - 1)
    order = np.argsort(np.linalg.norm(scaled - cell - 0.5, axis=1), kind="stable")
    _, nearest = np.unique(cell[order] @ [MAP_SIDE, 1], return_index=True)
    return np.sort(order[nearest])


def tsne(z: np.ndarray) -> np.ndarray:
    """Place latents (M, F) in the plane, (M, 2), by scikit-learn's t-SNE; on one thread, so that
    sums have the same order on every machine.
    """
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(z) - 1) / 3)
    with threadpool_limits(1):
        return TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(z)
