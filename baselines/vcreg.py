"""Variance, covariance and smoothness terms over latents (VICReg, PLDM)."""

from __future__ import annotations

import torch
from torch import Tensor


def variance(z: Tensor) -> Tensor:
    """Hinge at standard deviation 1: z (..., M, D), deviation over M; mean over the rest."""
    return torch.relu(1 - torch.sqrt(z.var(dim=-2) + 1e-4)).mean()


def covariance(z: Tensor) -> Tensor:
    """Mean of the squared off-diagonal covariances, z (..., M, D), covariance over M: PLDM's
    normalisation, to which its weights belong; VICReg's sum divided by D is D - 1 times as large.
    """
    width = z.shape[-1]
    centred = z - z.mean(dim=-2, keepdim=True)
    matrix = centred.transpose(-1, -2) @ centred / (z.shape[-2] - 1)  # (..., D, D)
    diagonal = matrix.diagonal(dim1=-2, dim2=-1).pow(2).sum(-1)
    return ((matrix.pow(2).sum((-1, -2)) - diagonal) / (width * (width - 1))).mean()


def similarity(z: Tensor) -> Tensor:
    """Mean squared difference of consecutive latents, z (B, T, D)."""
    return (z[:, 1:] - z[:, :-1]).pow(2).mean()
