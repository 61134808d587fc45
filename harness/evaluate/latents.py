"""Measures the health of a latent space after training: std, effective rank, one-step error."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from harness.contracts.data import Batch, Obs
from harness.contracts.method import LatentModel, WorldModel
from harness.contracts.task import ModelDims
from harness.data.episodes import Dataset
from harness.data.normalize import Normalizer
from harness.data.windows import Windows
from harness.records import rows
from harness.runtime import flops, seeding

log = logging.getLogger(__name__)

_WINDOWS = 256
_CHUNK = 32  # windows in one call of the model


def measure(
    key: str,
    model: WorldModel,
    dataset: Dataset,
    normalizer: Normalizer,
    block: int,
    device: torch.device,
) -> list[rows.MetricRow]:
    """Metric rows of the trial `key`, from `statistics` on validation episodes."""
    windows = Windows(dataset, "validation", model.window_frames, block, normalizer)
    return [
        rows.MetricRow(key, "latents", name, 0, value, unit)
        for name, (value, unit) in statistics(model, windows, device).items()
    ]


@torch.inference_mode()
def statistics(
    model: WorldModel, windows: Windows, device: torch.device
) -> dict[str, tuple[float, str]]:
    """Mean std and effective rank of the latents, and prediction error: name -> (value, unit)."""
    model.eval()
    latents, error, count = [], 0.0, 0
    for batch in _batches(windows, "latents", device):
        z = model.encode(batch.obs).float()  # (B, T, *D)
        gap = model.predict(z[:, :-1], batch.actions[:, :-1]).float() - z[:, 1:]
        error, count = error + float(gap.double().pow(2).sum()), count + gap.numel()
        latents.append(z.flatten(0, 1).flatten(1).cpu())
    flat = torch.cat(latents)  # (M, D)
    return {
        "latent_std": (float(flat.std(0).mean()), ""),
        "effective_rank": (effective_rank(flat), "dimensions"),
        "validation_pred": (error / count, ""),
    }


def _batches(windows: Windows, stream: str, device: torch.device) -> Iterator[Batch]:
    """Batches of the sampled windows, small ones since frames of many tokens take much memory."""
    chosen = seeding.stream(stream).integers(len(windows), size=min(_WINDOWS, len(windows)))
    for part in np.array_split(np.sort(chosen), -(-len(chosen) // _CHUNK)):
        batch = windows.take(part).batch
        yield Batch(batch.obs.to(device), batch.actions.to(device))


@torch.inference_mode()
def floats_per_frame(model: LatentModel, dims: ModelDims, device: torch.device) -> int:
    """The number of floats in the latent of one frame."""
    size = dims.image_size
    pixels = torch.zeros(1, 1, 3, size, size, dtype=torch.uint8, device=device)
    proprio = torch.zeros(1, 1, dims.proprio_dim, device=device)
    return model.encode(Obs(pixels, proprio)).numel()


def size_rows(key: str, model: LatentModel, dims: ModelDims) -> list[rows.MetricRow]:
    """Sizes of the model of the trial `key`, also logged: parameters of each part, frames of a
    training window, and floats of one frame's latent.
    """
    counts = {
        name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()
    }
    words = ", ".join(f"{name} {count / 1e6:.2f} M" for name, count in counts.items())
    log.info("%s: %s; %.2f M parameters in all", key, words, sum(counts.values()) / 1e6)
    floats = floats_per_frame(flops.shapes_only(model), dims, flops.META)
    return [
        *(rows.MetricRow(key, "model", name, 0, n, "parameters") for name, n in counts.items()),
        rows.MetricRow(key, "model", "window_frames", 0, model.window_frames, "frames"),
        rows.MetricRow(key, "model", "latent_floats", 0, floats, "floats"),
    ]


def effective_rank(z: Tensor) -> float:
    """How many dimensions latents z (M, D) fill: the exponential of the entropy of their spectrum
    (Roy and Vetterli 2007).
    """
    share = spectrum(z)
    return float(torch.exp(-(share * share.clamp_min(1e-300).log()).sum()))


def spectrum(z: Tensor) -> Tensor:
    """The eigenvalues of the covariance of latents z (M, D), largest first, as shares of their
    sum.
    """
    z = (z - z.mean(0)).double()
    small = z @ z.T if z.shape[1] > len(z) else z.T @ z  # both have the same eigenvalues
    values = torch.linalg.eigvalsh(small).clamp_min(0).flip(0)
    return values / values.sum().clamp_min(1e-300)
