"""Health of a latent space on held-out windows: its spread, its dimensions, its errors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from harness import rows, seeding
from harness.data.episodes import Dataset
from harness.data.normalize import Normalizer
from harness.data.windows import Windows

_WINDOWS = 256


def measure(
    key: str,
    model: nn.Module,
    dataset: Dataset,
    normalizer: Normalizer,
    block: int,
    horizon_blocks: int,
    device: torch.device,
) -> list[rows.MetricRow]:
    """All of this room for the trial `key`, on validation episodes."""
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
    model: nn.Module, windows: Windows, device: torch.device
) -> dict[str, tuple[float, str]]:
    """name -> (value, unit): mean std and effective rank of the latents, prediction error."""
    model.eval()
    chosen = seeding.stream("latents").integers(len(windows), size=min(_WINDOWS, len(windows)))
    batch = windows.take(np.sort(chosen)).batch
    z = model.encode(batch.obs.to(device)).float()  # (B, T, *D)
    predicted = model.predict(z[:, :-1], batch.actions[:, :-1].to(device)).float()
    flat = z.flatten(0, 1).flatten(1)
    return {
        "latent_std": (float(flat.std(0).mean()), ""),
        "effective_rank": (effective_rank(flat), "dimensions"),
        "validation_pred": (float((predicted - z[:, 1:]).pow(2).mean()), ""),
    }


@torch.inference_mode()
def open_loop(model: nn.Module, windows: Windows, device: torch.device) -> tuple[Tensor, Tensor]:
    """Squared error k blocks after the first frame, as a share of the latents' variance, (T - 1,)
    each: of the rollout from that frame alone, and of staying there.
    """
    model.eval()
    chosen = seeding.stream("open loop").integers(len(windows), size=min(_WINDOWS, len(windows)))
    batch = windows.take(np.sort(chosen)).batch
    z = model.encode(batch.obs.to(device)).float()  # (B, T, *D)
    actions = batch.actions[:, :-1].to(device)
    rolled = model.rollout(z[:, :1], actions[:, :0], actions).float()  # (B, T - 1, *D)
    variance = z.flatten(0, 1).var(0).mean().clamp_min(1e-12)
    later = z[:, 1:]
    return tuple(
        (guess - later).pow(2).transpose(0, 1).flatten(1).mean(1).cpu() / variance.cpu()
        for guess in (rolled, z[:, :1].expand_as(later))
    )


def effective_rank(z: Tensor) -> float:
    """Exponential of the entropy of the normalised covariance spectrum, z (M, D) (Roy and Vetterli
    2007).
    """
    values = torch.linalg.svdvals((z - z.mean(0)).double()).pow(2)
    share = values / values.sum().clamp_min(1e-300)
    return float(torch.exp(-(share * share.clamp_min(1e-300).log()).sum()))
