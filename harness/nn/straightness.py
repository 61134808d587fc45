"""Diagnostics of a world model's latents in training: their std, and how straight paths are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.nn.latent_std import latent_std


@torch.no_grad()
def straightness(z: Tensor) -> Tensor:
    """Mean cosine between the change of the latent over one block and over the next (LeWM eq. 9),
    for latents z (B, T, *D), T >= 3; a scalar. It is 1 on a line and 0 where every turn is a right
    angle. Where a latent does not change there is no angle; 0 where it never changes.
    """
    velocity = z.detach().float().flatten(2).diff(dim=1)  # (B, T - 1, D)
    moves = velocity.abs().amax(-1) > 0
    cosine = F.cosine_similarity(velocity[:, :-1], velocity[:, 1:], dim=-1, eps=1e-30)
    both = moves[:, :-1] & moves[:, 1:]
    return (cosine * both).sum() / both.sum().clamp_min(1)


def diagnostics(z: Tensor) -> dict[str, Tensor]:
    """Scalars to log beside the terms of a loss: "latent_std" of latents z (B, T, *D) and, where a
    window has three frames, "straightness". They draw no random numbers and have no gradient.
    """
    logged = {"latent_std": latent_std(z)}
    return logged | {"straightness": straightness(z)} if z.shape[1] > 2 else logged
