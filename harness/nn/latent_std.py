"""The std of latents, which shows a collapse in the training curve of a world model."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def latent_std(z: Tensor) -> Tensor:
    """Standard deviation of each float of the latents z (B, T, *D) over the frames of a batch,
    averaged over the floats; a scalar. harness/evaluate/latents.py measures the same on held-out
    frames.
    """
    return z.detach().float().flatten(0, 1).flatten(1).std(0).mean()
