"""What can be read out of frozen latents: the simulator's state, by a linear map and by a small
network (LeWM's probing experiment).
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import nn

from harness import rows, seeding
from harness.data.episodes import Dataset
from harness.interfaces import Obs

if TYPE_CHECKING:
    from sklearn.linear_model import Ridge
    from sklearn.neural_network import MLPRegressor

FIT_FRAMES, TEST_FRAMES = 6000, 2000
RIDGE = 1e-3
HIDDEN = 128
EPOCHS = 60
MOST_FEATURES = 8192  # of a latent; more are added up into so many
_BATCH = 128  # frames encoded at once
_SKIPPED = "solver_"  # states that are no quantity of the scene


class Probe(NamedTuple):
    """How well one quantity is read from held-out frames."""

    quantity: str  # "block_angle"
    kind: str  # "linear" or "mlp"
    r: float  # Pearson correlation; of an angle the mean of its sine's and cosine's
    error: float  # mean absolute error, of an angle the shorter way round
    unit: str


class _Quantity(NamedTuple):
    name: str
    unit: str
    targets: np.ndarray  # (M, 1), of an angle its sine and cosine (M, 2)


def measure(
    key: str,
    model: nn.Module,
    dataset: Dataset,
    state_names: tuple[str, ...],
    device: torch.device,
) -> list[rows.MetricRow]:
    """`probe` for the trial `key`: a correlation and an error for every quantity and kind."""
    return [
        rows.MetricRow(key, "probing", f"{found.quantity}.{found.kind}.{name}", 0, value, unit)
        for found in probe(model, dataset, state_names, device)
        for name, value, unit in (("r", found.r, ""), ("error", found.error, found.unit))
    ]


def probe(
    model: nn.Module, dataset: Dataset, state_names: tuple[str, ...], device: torch.device
) -> list[Probe]:
    """Fit both probes on frames of training episodes and test them on those of test episodes.

    state_names with units, "agent_x [px]"; quantities in rad count as angles; what does not vary
    is left out.
    """
    from sklearn.exceptions import ConvergenceWarning

    model.eval()
    fit, test = (
        _frames(dataset, split, n) for split, n in (("train", FIT_FRAMES), ("test", TEST_FRAMES))
    )
    seen, unseen = _latents(model, dataset, fit, device), _latents(model, dataset, test, device)
    middle, spread = seen.mean(0), np.maximum(seen.std(0), 1e-6)
    seen, unseen = (seen - middle) / spread, (unseen - middle) / spread
    wanted = _quantities(dataset.state[fit], state_names)
    true = {q.name: q for q in _quantities(dataset.state[test], state_names)}
    targets = np.concatenate([q.targets for q in wanted], axis=1)
    centre, scale = targets.mean(0), np.maximum(targets.std(0), 1e-9)
    found = []
    for kind, regressor in _regressors().items():
        # many tokens side by side leave a matrix that float32 cannot solve
        digits = np.float64 if kind == "linear" else np.float32
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a bounded fit is what is meant
            regressor.fit(seen.astype(digits), (targets - centre) / scale)
        read = regressor.predict(unseen.astype(digits)).reshape(len(unseen), -1) * scale + centre
        first = 0
        for quantity in wanted:
            width = quantity.targets.shape[1]
            columns = read[:, first : first + width]
            found.append(_judged(kind, true[quantity.name], columns))
            first += width
    return found


def _regressors() -> dict[str, Ridge | MLPRegressor]:
    from sklearn.linear_model import Ridge  # a second that other stages need not wait for
    from sklearn.neural_network import MLPRegressor

    network = MLPRegressor(
        hidden_layer_sizes=(HIDDEN,), max_iter=EPOCHS, early_stopping=True, random_state=0
    )
    return {"linear": Ridge(RIDGE), "mlp": network}


def _frames(dataset: Dataset, split: str, count: int) -> np.ndarray:
    """At most `count` rows of a split, ascending."""
    rows = dataset.split_rows(split)
    chosen = seeding.stream("probing", split).permutation(len(rows))[:count]
    return np.sort(rows[chosen])


@torch.inference_mode()
def _latents(
    model: nn.Module, dataset: Dataset, rows: np.ndarray, device: torch.device
) -> np.ndarray:
    """(M, features): each frame encoded on its own, several tokens side by side.

    Above MOST_FEATURES every feature is added, with a random sign, to one of so many sums, which
    keeps inner products on average (count sketch, Charikar et al. 2002).
    """
    parts = []
    for first in range(0, len(rows), _BATCH):
        pixels = torch.from_numpy(dataset.read_pixels(rows[first : first + _BATCH]))
        z = model.encode(Obs(pixels[:, None].to(device)))[:, 0]
        parts.append(_sketched(z.float().flatten(1)).cpu().numpy())
    return np.concatenate(parts)


def _sketched(z: torch.Tensor) -> torch.Tensor:
    """(M, features) to (M, at most MOST_FEATURES)."""
    if z.shape[1] <= MOST_FEATURES:
        return z
    rng = seeding.stream("sketch", z.shape[1])
    place = torch.from_numpy(rng.integers(MOST_FEATURES, size=z.shape[1])).to(z.device)
    sign = torch.from_numpy(rng.choice([-1.0, 1.0], size=z.shape[1])).to(z)
    return z.new_zeros(len(z), MOST_FEATURES).index_add_(1, place, z * sign)


def _quantities(state: np.ndarray, names: tuple[str, ...]) -> list[_Quantity]:
    found = []
    for name, values in zip(names, state.T, strict=True):
        quantity, _, unit = name.partition(" ")
        if quantity.startswith(_SKIPPED) or np.ptp(values) < 1e-9:
            continue
        columns = [np.sin(values), np.cos(values)] if unit == "[rad]" else [values]
        found.append(_Quantity(quantity, unit.strip("[]"), np.stack(columns, axis=1)))
    return found


def _judged(kind: str, true: _Quantity, read: np.ndarray) -> Probe:
    r = np.mean([_correlation(a, b) for a, b in zip(true.targets.T, read.T, strict=True)])
    if true.targets.shape[1] == 2:
        error = np.arctan2(*read.T) - np.arctan2(*true.targets.T)
        error = (error + np.pi) % (2 * np.pi) - np.pi
    else:
        error = read - true.targets
    return Probe(true.name, kind, float(r), float(np.abs(error).mean()), true.unit)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's r; 0 where one does not vary."""
    spread = a.std() * b.std()
    return float(((a - a.mean()) * (b - b.mean())).mean() / spread) if spread > 0 else 0.0
