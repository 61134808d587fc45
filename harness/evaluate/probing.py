"""Probes frozen latents: predicts the simulator's state from them, by a linear map and by a network
of two hidden layers (LeWM's probing experiment). Three controls show what a result is worth: an
untrained encoder, the picture itself, and labels that belong to other frames.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from harness.contracts.data import Obs
from harness.data.episodes import Dataset
from harness.records import rows
from harness.runtime import seeding

FRAMES = {"train": 12_000, "validation": 2000, "test": 2000}  # to fit, to stop early, to evaluate
RIDGE = 1e-3
WIDTH = 256  # units of each of the network's two hidden layers
EPOCHS, PATIENCE = 40, 10  # largest number; how many without a smaller error end the training
GREY_SIDE = 32  # px, side of the grey pictures that serve as a control
MOST_FEATURES = 8192  # a latent with more features is reduced to this number
_BATCH = 128  # frames encoded at once
_MLP_BATCH, _MLP_LR, _MLP_DECAY = 512, 2e-3, 1e-2
_STD_FLOOR = 0.1  # share of the mean std; keeps features that hardly vary from being blown up
_SKIPPED = "solver_"  # prefix of states that are not quantities of the scene


class Probe(NamedTuple):
    """How well one quantity is predicted on held-out frames."""

    quantity: str  # "block_angle"
    source: str  # rows.PROBE_SOURCES
    kind: str  # "linear" or "mlp2x256"
    frames: int  # frames that the probe was fitted on
    r: float  # Pearson correlation; for an angle, the mean of its sine's and cosine's
    error: float  # mean absolute error; for an angle, the shorter way round
    unit: str


class _Quantity(NamedTuple):
    name: str
    unit: str
    targets: np.ndarray  # (M, 1); for an angle, its sine and cosine (M, 2)


_Splits = Mapping[str, np.ndarray]  # for each split in FRAMES: features (M, features)


def measure(
    key: str,
    model: nn.Module,
    untrained: nn.Module,
    dataset: Dataset,
    state_names: tuple[str, ...],
    device: torch.device,
) -> list[rows.MetricRow]:
    """Metric rows of `probe` for the trial `key`: a correlation and an error for every quantity,
    source and kind of probe.
    """
    return [
        rows.MetricRow(
            *(key, "probing", rows.ProbeName(*reading[:4], measure).text(), 0, value, unit)
        )
        for reading in probe(model, untrained, dataset, state_names, device)
        for measure, value, unit in (("r", reading.r, ""), ("error", reading.error, reading.unit))
    ]


def probe(
    model: nn.Module,
    untrained: nn.Module,
    dataset: Dataset,
    state_names: tuple[str, ...],
    device: torch.device,
) -> list[Probe]:
    """Fit both probes on frames of training episodes and evaluate them on frames of test episodes,
    for the model's latents and for each control.

    `untrained` is the same architecture with its initial weights. state_names have units,
    "agent_x [px]"; quantities in rad are angles. Quantities that do not vary are left out. So are
    speeds, which one frame does not show and which would take capacity of the network from the
    others. The probes run on one core, so that their results do not depend on the number of cores.
    """
    chosen = {split: _frames(dataset, split, count) for split, count in FRAMES.items()}
    quantities = _quantities(dataset.state[chosen["train"]], state_names)
    names = {q.name for q in quantities}
    true = {
        split: _quantities(dataset.state[frames], state_names, names)
        for split, frames in chosen.items()
    }
    others = {split: _other_frames(split, own) for split, own in true.items()}
    latents, first, grey = (
        {split: read(frames) for split, frames in chosen.items()}
        for read in (
            lambda frames: _latents(model, dataset, frames, device),
            lambda frames: _latents(untrained, dataset, frames, device),
            lambda frames: _grey(dataset, frames),
        )
    )
    with _one_thread():
        return [
            *_read("latent", latents, true),
            *_read("untrained", first, true),
            *_read("pixels", grey, true),
            *_read("shuffled", latents, others),
        ]


def _read(
    source: str, inputs: _Splits, quantities: Mapping[str, list[_Quantity]]
) -> Iterator[Probe]:
    """Fit both probes on one source of features; yields their results on the test frames."""
    inputs = _standardized(inputs)
    fitted = np.concatenate([q.targets for q in quantities["train"]], axis=1)
    centre, scale = fitted.mean(0), np.maximum(fitted.std(0), 1e-9)
    labels = (fitted - centre) / scale
    linear = _linear(inputs["train"], labels, inputs["test"]) * scale + centre
    columns = _columns(quantities["test"])
    for quantity, own in zip(quantities["test"], columns, strict=True):
        yield _result(source, "linear", len(labels), quantity, linear[:, own])
    best = _mlp(inputs, labels, lambda read: read * scale + centre, quantities["validation"])
    for quantity, own, read in zip(quantities["test"], columns, best, strict=True):
        yield _result(source, f"mlp2x{WIDTH}", len(labels), quantity, read[:, own])


def _standardized(inputs: _Splits) -> dict[str, np.ndarray]:
    """Standardize features by the training frames' means and stds."""
    std = inputs["train"].std(0)
    std = np.maximum(std, max(_STD_FLOOR * std.mean(), 1e-6))
    middle = inputs["train"].mean(0)
    return {split: (values - middle) / std for split, values in inputs.items()}


def _linear(inputs: np.ndarray, labels: np.ndarray, test: np.ndarray) -> np.ndarray:
    """Ridge regression, in float64: the tokens of a frame, concatenated, give a matrix that is too
    ill-conditioned for float32.
    """
    x, y = (torch.from_numpy(values).double() for values in (inputs, labels))
    penalty = RIDGE * torch.eye(min(x.shape), dtype=torch.float64)
    if x.shape[1] <= x.shape[0]:
        weights = torch.linalg.solve(x.T @ x + penalty, x.T @ y)
    else:
        weights = x.T @ torch.linalg.solve(x @ x.T + penalty, y)
    return (torch.from_numpy(test).double() @ weights).numpy()


def _mlp(
    inputs: _Splits,
    labels: np.ndarray,
    in_units: Callable[[np.ndarray], np.ndarray],
    stop: list[_Quantity],
) -> list[np.ndarray]:
    """Predictions for the test frames (M, all targets), one array for each quantity: those of the
    epoch at which its error on validation episodes was smallest.
    """
    x = {split: torch.from_numpy(values.astype(np.float32)) for split, values in inputs.items()}
    y = torch.from_numpy(labels.astype(np.float32))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeding.integer("probing", "network"))
        network = nn.Sequential(
            *(nn.Linear(x["train"].shape[1], WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH)),
            *(nn.ReLU(), nn.Linear(WIDTH, y.shape[1])),
        )
    optimizer = torch.optim.AdamW(network.parameters(), _MLP_LR, weight_decay=_MLP_DECAY)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    order = seeding.stream("probing", "order")
    columns, last = _columns(stop), 0
    least, best = [np.inf] * len(stop), [np.empty(0)] * len(stop)
    for epoch in range(EPOCHS):
        for batch in torch.from_numpy(order.permutation(len(y))).split(_MLP_BATCH):
            loss = F.mse_loss(network(x["train"][batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        decay.step()
        with torch.no_grad():
            validation, test = (in_units(network(x[s]).numpy()) for s in ("validation", "test"))
        for i, (quantity, own) in enumerate(zip(stop, columns, strict=True)):
            error = _error(quantity, validation[:, own])
            if not error >= least[i]:  # a NaN is a reading as well
                least[i], best[i], last = error, test, epoch
        if epoch - last >= PATIENCE:
            break
    return best


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Run torch on one thread, so that sums have the same order on every machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _frames(dataset: Dataset, split: str, count: int) -> np.ndarray:
    """At most `count` rows of a split, ascending."""
    rows = dataset.split_rows(split)
    chosen = seeding.stream("probing", split).permutation(len(rows))[:count]
    return np.sort(rows[chosen])


def _other_frames(split: str, quantities: list[_Quantity]) -> list[_Quantity]:
    """Labels shuffled over the frames, so that no probe can do better than guess. The test frames
    keep their labels.
    """
    if split == "test":
        return quantities
    order = seeding.stream("probing", "shuffled", split).permutation(len(quantities[0].targets))
    return [q._replace(targets=q.targets[order]) for q in quantities]


def _grey(dataset: Dataset, rows: np.ndarray) -> np.ndarray:
    """The pictures in grey, resized to GREY_SIDE px, (M, GREY_SIDE ** 2)."""
    parts = []
    for first in range(0, len(rows), _BATCH):
        pixels = torch.from_numpy(dataset.read_pixels(rows[first : first + _BATCH]))
        grey = pixels.float().mean(1, keepdim=True)
        parts.append(F.adaptive_avg_pool2d(grey, GREY_SIDE).flatten(1).numpy())
    return np.concatenate(parts)


@torch.inference_mode()
def _latents(
    model: nn.Module, dataset: Dataset, rows: np.ndarray, device: torch.device
) -> np.ndarray:
    """The latents (M, features): each frame is encoded on its own and its tokens are concatenated.

    A latent with more than MOST_FEATURES features is reduced to that number by a count sketch
    (Charikar et al. 2002): every feature is added, with a random sign, to one of MOST_FEATURES
    sums, which preserves inner products on average.
    """
    model.eval()
    parts = []
    for first in range(0, len(rows), _BATCH):
        pixels = torch.from_numpy(dataset.read_pixels(rows[first : first + _BATCH]))
        z = model.encode(Obs(pixels[:, None].to(device)))[:, 0]
        parts.append(_sketched(z.float().flatten(1)).cpu().numpy())
    return np.concatenate(parts)


def _sketched(z: torch.Tensor) -> torch.Tensor:
    """Reduce (M, features) to at most MOST_FEATURES features."""
    if z.shape[1] <= MOST_FEATURES:
        return z
    rng = seeding.stream("sketch", z.shape[1])
    slot = torch.from_numpy(rng.integers(MOST_FEATURES, size=z.shape[1])).to(z.device)
    sign = torch.from_numpy(rng.choice([-1.0, 1.0], size=z.shape[1])).to(z)
    return z.new_zeros(len(z), MOST_FEATURES).index_add_(1, slot, z * sign)


def _quantities(
    state: np.ndarray, names: tuple[str, ...], only: set[str] | None = None
) -> list[_Quantity]:
    """The quantities named `only`; without it, all that vary and that one frame can show."""
    quantities = []
    for name, values in zip(names, state.T, strict=True):
        quantity, _, unit = name.partition(" ")
        visible = not quantity.startswith(_SKIPPED) and not unit.endswith("/s]")
        if not (visible and np.ptp(values) >= 1e-9 if only is None else quantity in only):
            continue
        columns = [np.sin(values), np.cos(values)] if unit == "[rad]" else [values]
        quantities.append(_Quantity(quantity, unit.strip("[]"), np.stack(columns, axis=1)))
    return quantities


def _columns(quantities: list[_Quantity]) -> list[slice]:
    """The columns of each quantity when the targets of all are concatenated."""
    ends = np.cumsum([0, *(q.targets.shape[1] for q in quantities)]).tolist()
    return [slice(first, end) for first, end in itertools.pairwise(ends)]


def _result(source: str, kind: str, frames: int, quantity: _Quantity, reading: np.ndarray) -> Probe:
    r = np.mean([_correlation(a, b) for a, b in zip(quantity.targets.T, reading.T, strict=True)])
    return Probe(
        quantity.name, source, kind, frames, float(r), _error(quantity, reading), quantity.unit
    )


def _error(quantity: _Quantity, reading: np.ndarray) -> float:
    """Mean absolute error; for an angle, the shorter way round."""
    if quantity.targets.shape[1] == 2:
        error = np.arctan2(*reading.T) - np.arctan2(*quantity.targets.T)
        error = (error + np.pi) % (2 * np.pi) - np.pi
    else:
        error = reading - quantity.targets
    return float(np.abs(error).mean())


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's r; 0 where one of the two does not vary."""
    scale = a.std() * b.std()
    return float(((a - a.mean()) * (b - b.mean())).mean() / scale) if scale > 0 else 0.0
