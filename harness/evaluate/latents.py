"""Measures a latent space on held-out windows: std, effective rank and prediction errors."""

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
    horizon_blocks: int,
    device: torch.device,
) -> list[rows.MetricRow]:
    """Metric rows of the trial `key`, from `statistics` and `open_loop` on validation episodes."""
    windows = Windows(dataset, "validation", model.window_frames, block, normalizer)
    blocks = min(horizon_blocks, windows.longest_steps // block - 1)
    longer = Windows(dataset, "validation", blocks + 1, block, normalizer)
    rolled, stayed = open_loop(model, longer, device)
    return [
        rows.MetricRow(key, "latents", name, 0, value, unit)
        for name, (value, unit) in statistics(model, windows, device).items()
    ] + [
        rows.MetricRow(key, "latents", name, k, float(value), "share of variance")
        for name, values in (("open_loop", rolled), ("stay", stayed))
        for k, value in enumerate(values, start=1)
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


@torch.inference_mode()
def open_loop(model: WorldModel, windows: Windows, device: torch.device) -> tuple[Tensor, Tensor]:
    """Errors of the rollout from a first frame alone, and of predicting no change, (T - 1,) each:
    the squared error k blocks later, as a share of the latents' variance.
    """
    model.eval()
    rollout = model.fast_rollout()
    errors = torch.zeros(2, windows.frames - 1, dtype=torch.float64)
    moments, count = [0.0, 0.0], 0
    for batch in _batches(windows, "open loop", device):
        z = model.encode(batch.obs).float()  # (B, T, *D)
        actions = batch.actions[:, :-1]
        rolled = rollout(z[:, :1], actions[:, :0], actions).float()  # (B, T - 1, *D)
        flat = z.flatten(0, 1).double().cpu()  # (B * T, *D)
        moments = [m + flat.pow(k).sum(0) for k, m in enumerate(moments, start=1)]
        count += len(flat)
        for i, guess in enumerate((rolled, z[:, :1])):
            gap = (guess - z[:, 1:]).double().pow(2)
            errors[i] += gap.transpose(0, 1).flatten(1).sum(1).cpu()
    mean, variance = moments[0] / count, moments[1] / count
    variance = ((variance - mean.pow(2)) * count / (count - 1)).mean().clamp_min(1e-12)
    return tuple((errors * windows.frames / (count * mean.numel()) / variance).float())


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
    """How many dimensions latents z (M, D) fill: the exponential of the entropy of their normalised
    covariance spectrum (Roy and Vetterli 2007).
    """
    z = z - z.mean(0)
    if z.shape[1] > len(z):  # both matrices have the same spectrum; this one is smaller
        values = torch.linalg.eigvalsh((z @ z.T).double()).clamp_min(0)
    else:
        values = torch.linalg.svdvals(z.double()).pow(2)
    share = values / values.sum().clamp_min(1e-300)
    return float(torch.exp(-(share * share.clamp_min(1e-300).log()).sum()))
