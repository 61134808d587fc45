"""Health of a latent space on held-out windows: its spread, its dimensions, its error."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from harness import seeding
from harness.data.windows import Windows

_WINDOWS = 256


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


def effective_rank(z: Tensor) -> float:
    """Exponential of the entropy of the normalised covariance spectrum, z (M, D) (Roy and Vetterli
    2007).
    """
    values = torch.linalg.svdvals((z - z.mean(0)).double()).pow(2)
    share = values / values.sum().clamp_min(1e-300)
    return float(torch.exp(-(share * share.clamp_min(1e-300).log()).sum()))
