"""Probes frozen latents: predicts the simulator's state from them, by a linear map and by a network
of two hidden layers (LeWM's probing experiment). Three controls show what a result is worth: an
untrained encoder, pictures of the latent's size, and labels that belong to other frames.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.contracts.data import Obs
from harness.contracts.task import TaskSpec
from harness.data.episodes import Dataset
from harness.data.normalize import Normalizer
from harness.evaluate import held_out
from harness.records import metric_names, rows
from harness.runtime import seeding

FRAMES = {"train": 10_000, "validation": 2000, "test": 2000}  # to fit, to stop early, to evaluate
SEEDS = 3  # networks that read the model's latents; a control is read by one
RIDGE = 1e-3
WIDTH = 256  # units of each of the network's two hidden layers
EPOCHS, PATIENCE = 15, 5  # largest number; how many without a smaller error end the training
KINDS = ("linear", f"mlp2x{WIDTH}")
_BATCH, _LR, _DECAY = 256, 4e-3, 1e-2  # of the network
_STD_FLOOR = 0.1  # share of the mean std; keeps features that hardly vary from being blown up
_SKIPPED = "solver_"  # prefix of states that are not quantities of the scene


class Quantity(NamedTuple):
    """States that are read together: a position, the angles of an arm, a speed."""

    name: str
    unit: str
    columns: tuple[int, ...]  # of the state

    def targets(self, state: np.ndarray) -> np.ndarray:
        """The numbers (..., C) to predict, for states (..., S); of angles the sines and cosines."""
        values = state[..., self.columns]
        if self.unit != "rad":
            return values
        return np.concatenate([np.sin(values), np.cos(values)], axis=-1)

    def errors(self, true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        """The errors (...) of predicted targets (..., C) in the quantity's unit: the length of the
        difference; of angles the mean over them, each the shorter way round.
        """
        if self.unit != "rad":
            return np.linalg.norm(predicted - true, axis=-1)
        half = true.shape[-1] // 2
        turn = np.arctan2(predicted[..., :half], predicted[..., half:])
        turn = turn - np.arctan2(true[..., :half], true[..., half:])
        return np.abs((turn + np.pi) % (2 * np.pi) - np.pi).mean(axis=-1)


def quantities(spec: TaskSpec, state: np.ndarray, speeds: bool) -> tuple[Quantity, ...]:
    """The quantities that vary in states (M, S) and that one frame shows; with `speeds` those that
    it takes two frames to see.
    """
    group_of = {name: group for group, names in spec.quantities for name in names}
    columns: dict[tuple[str, str], list[int]] = {}
    for i, text in enumerate(spec.state_names):
        name, _, unit = text.partition(" ")
        varies = np.ptp(state[..., i]) >= 1e-9 and not name.startswith(_SKIPPED)
        if varies and unit.endswith("/s]") == speeds:
            columns.setdefault((group_of.get(name, name), unit.strip("[]")), []).append(i)
    return tuple(Quantity(name, unit, tuple(own)) for (name, unit), own in columns.items())


class Pairs(NamedTuple):
    """Features of pairs of frames, a block apart, and the states."""

    features: dict[str, np.ndarray]  # source -> (M, 2, F)
    state: np.ndarray  # (M, 2, S)

    def shuffled(self, split: str) -> Pairs:
        """The latents as source "shuffled", beside the states of other pairs."""
        order = seeding.stream("probing", "shuffled", split).permutation(len(self.state))
        return Pairs({"shuffled": self.features["latent"]}, self.state[order])

    def inputs(self, source: str, speeds: bool) -> np.ndarray:
        """The inputs of a probe: each frame by itself, or to read speeds both frames of a pair."""
        z = self.features[source]
        return z.reshape(len(z), -1) if speeds else z.reshape(-1, z.shape[-1])

    def labels(self, known: Sequence[Quantity], speeds: bool) -> np.ndarray:
        """The targets of a probe: those of each frame, or of the later one of a pair."""
        state = self.state[:, 1] if speeds else self.state.reshape(-1, self.state.shape[-1])
        return np.concatenate([q.targets(state) for q in known], axis=-1)


Splits = Mapping[str, Pairs]  # for each split in FRAMES


def read_pairs(
    features: held_out.Read,
    dataset: Dataset,
    normalizer: Normalizer,
    block: int,
    device: torch.device,
) -> dict[str, Pairs]:
    """The pairs of every split."""
    chosen = {
        split: held_out.pairs(dataset, split, block, count // 2) for split, count in FRAMES.items()
    }
    return {
        split: Pairs(
            held_out.read(features, dataset, normalizer, pairs, device), dataset.state[pairs]
        )
        for split, pairs in chosen.items()
    }


def grey(floats: int) -> held_out.Read:
    """Reads "pixels": the picture in grey, resized to about that many pixels."""
    side = max(1, round(min(floats, held_out.MOST_FEATURES) ** 0.5))

    def features(obs: Obs) -> dict[str, Tensor]:
        assert obs.pixels is not None
        shades = obs.pixels.flatten(0, 1).float().mean(1, keepdim=True)
        small = F.adaptive_avg_pool2d(shades, min(side, shades.shape[-1]))
        return {"pixels": small.flatten(1).unflatten(0, obs.pixels.shape[:2])}

    return features


@dataclass(frozen=True)
class Probe:
    """A linear map and networks that read quantities out of features; all in standard units."""

    quantities: tuple[Quantity, ...]
    frames: int  # that it was fitted on
    middle: np.ndarray  # (F,) of the features
    spread: np.ndarray  # (F,)
    centre: np.ndarray  # (C,) of the targets
    scale: np.ndarray  # (C,)
    linear: np.ndarray  # (F, C)
    networks: tuple[nn.Module, ...]

    @torch.inference_mode()
    def read(self, features: np.ndarray) -> dict[str, np.ndarray]:
        """Predicted targets (seeds, M, C) by the kind of probe, for features (M, F)."""
        x = (features - self.middle) / self.spread
        with _one_thread():
            outputs = [n(torch.from_numpy(x.astype(np.float32))).numpy() for n in self.networks]
        found = (x.astype(np.float64) @ self.linear)[None], np.stack(outputs).astype(np.float64)
        return {
            kind: out * self.scale + self.centre for kind, out in zip(KINDS, found, strict=True)
        }

    def reader(self, device: torch.device) -> Callable[[Tensor], Tensor]:
        """Reads quantities (M, C) out of latents (M, *D), in standard units: the networks' mean."""
        middle, spread = (
            torch.from_numpy(x).float().to(device) for x in (self.middle, self.spread)
        )
        networks = [copy.deepcopy(network).to(device).eval() for network in self.networks]

        def read(z: Tensor) -> Tensor:
            x = (held_out.flat(z[:, None])[:, 0].float() - middle) / spread
            return torch.stack([network(x) for network in networks]).mean(0)

        return read

    def parts(self) -> Iterator[tuple[Quantity, slice]]:
        """Each quantity, and where its targets stand among all."""
        widths = [len(q.columns) * (2 if q.unit == "rad" else 1) for q in self.quantities]
        ends = [0, *itertools.accumulate(widths)]
        for quantity, (first, end) in zip(self.quantities, itertools.pairwise(ends), strict=True):
            yield quantity, slice(first, end)


def fit(
    inputs: Mapping[str, np.ndarray],
    labels: Mapping[str, np.ndarray],
    known: tuple[Quantity, ...],
    seeds: int = 1,
) -> Probe:
    """Fit both kinds on features (M, F) and targets (M, C) of the split "train". The network is
    kept as it was when its error on "validation" was smallest. All runs on one thread, so that sums
    have the same order on every machine.
    """
    middle, std = inputs["train"].mean(0), inputs["train"].std(0)
    spread = np.maximum(std, max(_STD_FLOOR * std.mean(), 1e-6))
    centre, scale = labels["train"].mean(0), np.maximum(labels["train"].std(0), 1e-9)
    x = {split: (values - middle) / spread for split, values in inputs.items()}
    y = {split: (values - centre) / scale for split, values in labels.items()}
    with _one_thread():
        linear = _linear(x["train"], y["train"])
        networks = tuple(_network(x, y, seed) for seed in range(seeds))
    return Probe(known, len(y["train"]), middle, spread, centre, scale, linear, networks)


def of_frames(splits: Splits, spec: TaskSpec) -> Probe:
    """The probe of what single frames show, fitted on the model's latents with SEEDS seeds."""
    known = quantities(spec, splits["train"].state, speeds=False)
    return _fitted(splits, "latent", known, False, SEEDS)


def measure(
    key: str,
    latents: Splits,
    controls: Sequence[Splits],
    probe: Probe,
    spec: TaskSpec,
) -> list[rows.MetricRow]:
    """Metric rows of the trial `key`, for every quantity, source and kind of probe: correlation,
    squared error and error on frames of test episodes.

    `probe` is that of `latents`, and `controls` are the features of an untrained encoder and of the
    pixels. Speeds are read from both frames of a pair. Quantities that do not vary are left out.
    """
    shuffled = {split: own.shuffled(split) for split, own in latents.items()}
    found = []
    for speeds in (False, True):
        known = quantities(spec, latents["train"].state, speeds)
        if not known:
            continue
        own = _fitted(latents, "latent", known, True, SEEDS) if speeds else probe
        found += _rows(key, "latent", own, latents["test"], speeds)
        for splits in (latents, *controls, shuffled):
            for source in splits["test"].features:
                if source != "latent":
                    other = _fitted(splits, source, known, speeds)
                    found += _rows(key, source, other, splits["test"], speeds)
    return found


def _fitted(
    splits: Splits,
    source: str,
    known: tuple[Quantity, ...],
    speeds: bool,
    seeds: int = 1,
) -> Probe:
    """A probe of one source."""
    inputs = {split: own.inputs(source, speeds) for split, own in splits.items()}
    labels = {split: own.labels(known, speeds) for split, own in splits.items()}
    return fit(inputs, labels, known, seeds)


def _rows(key: str, source: str, probe: Probe, test: Pairs, speeds: bool) -> list[rows.MetricRow]:
    """The rows of one source; their index is the probe's seed."""
    inputs, true = test.inputs(source, speeds), test.labels(probe.quantities, speeds)
    found = []
    for kind, readings in probe.read(inputs).items():
        for seed, reading in enumerate(readings):
            for quantity, own in probe.parts():
                off = (reading[:, own] - true[:, own]) / probe.scale[own]
                measures = {
                    "r": (correlation(true[:, own], reading[:, own]), ""),
                    "mse": (float((off**2).mean()), ""),
                    "error": (
                        float(quantity.errors(true[:, own], reading[:, own]).mean()),
                        quantity.unit,
                    ),
                }
                for measure, (value, unit) in measures.items():
                    name = metric_names.ProbeName(
                        quantity.name, source, kind, probe.frames, measure
                    )
                    found.append(rows.MetricRow(key, "probing", name.text(), seed, value, unit))
    return found


def correlation(true: np.ndarray, predicted: np.ndarray) -> float:
    """Pearson's r, the mean over columns (M, C); 0 for a column that does not vary."""
    a, b = true - true.mean(0), predicted - predicted.mean(0)
    scale = np.sqrt((a**2).mean(0) * (b**2).mean(0))
    return float(np.mean((a * b).mean(0) / np.where(scale > 0, scale, np.inf)))


def _linear(inputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Ridge regression (F, C), in float64: the tokens of a frame, concatenated, give a matrix that
    is too ill-conditioned for float32.
    """
    x, y = (torch.from_numpy(values).double() for values in (inputs, labels))
    penalty = RIDGE * torch.eye(min(x.shape), dtype=torch.float64)
    if x.shape[1] <= x.shape[0]:
        return torch.linalg.solve(x.T @ x + penalty, x.T @ y).numpy()
    return (x.T @ torch.linalg.solve(x @ x.T + penalty, y)).numpy()


def _network(
    inputs: Mapping[str, np.ndarray], labels: Mapping[str, np.ndarray], seed: int
) -> nn.Module:
    """The network of the epoch at which its squared error on validation episodes was smallest."""
    x = {split: torch.from_numpy(values.astype(np.float32)) for split, values in inputs.items()}
    y = {split: torch.from_numpy(values.astype(np.float32)) for split, values in labels.items()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeding.integer("probing", "network", seed))
        network = nn.Sequential(
            *(nn.Linear(x["train"].shape[1], WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH)),
            *(nn.ReLU(), nn.Linear(WIDTH, y["train"].shape[1])),
        )
    optimizer = torch.optim.AdamW(network.parameters(), _LR, weight_decay=_DECAY)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    order = seeding.stream("probing", "order", seed)
    least, best, last = np.inf, network, 0
    for epoch in range(EPOCHS):
        for batch in torch.from_numpy(order.permutation(len(y["train"]))).split(_BATCH):
            loss = F.mse_loss(network(x["train"][batch]), y["train"][batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        decay.step()
        with torch.no_grad():
            error = F.mse_loss(network(x["validation"]), y["validation"]).item()
        if error < least:
            least, best, last = error, copy.deepcopy(network), epoch
        if epoch - last >= PATIENCE:
            break
    return best.eval()


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Run torch on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
