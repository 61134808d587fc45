"""How far latents are spread out: what a training curve shows of a collapse."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def latent_std(z: Tensor) -> Tensor:
    """Standard deviation of each float over the frames of a batch, averaged: z (B, T, *D), scalar;
    as harness/evaluate/latents.py measures it on held-out frames.
    """
    return z.detach().float().flatten(0, 1).flatten(1).std(0).mean()
