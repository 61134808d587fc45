"""Inverse dynamics: the block of actions, decoded from the latents before and after it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def mlp_head(latent: int, hidden: int, block_dim: int) -> nn.Sequential:
    """Two latents side by side (..., 2 D) to the block between them (..., A)."""
    return nn.Sequential(
        nn.Linear(2 * latent, hidden),
        nn.ReLU(),
        nn.Linear(hidden, hidden),
        nn.ReLU(),
        nn.Linear(hidden, block_dim),
    )


def block_error(head: nn.Module, z: Tensor, actions: Tensor) -> Tensor:
    """Mean squared error of the blocks that `head` decodes: latents z (B, T, D) and the blocks
    taken there (B, T, A), z-scored; the last block has no latent after it and does not count.
    """
    ends = torch.cat([z[:, :-1], z[:, 1:]], dim=-1)  # (B, T - 1, 2 D)
    return F.mse_loss(head(ends).float(), actions[:, :-1].float())
