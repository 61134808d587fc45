"""Candidates of a search: drawn around a plan, and taken by their numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from harness.contracts.planning import Noise


def around(noise: Noise, draw: Tensor, count: int, mean: Tensor, std: Tensor | float) -> Tensor:
    """Draw `count` plans (B, N, K, A) around the mean (B, K, A), with a std for each number (B, K,
    A) or for all; the first one is the mean itself.
    """
    return spread(noise(draw, (count, *mean.shape[1:])), mean, std)


def spread(draws: Tensor, mean: Tensor, std: Tensor | float) -> Tensor:
    """Plans around the mean from draws (B, N, K, A), of which the first is not used."""
    draws[:, 0] = 0
    return mean[:, None] + (std[:, None] if torch.is_tensor(std) else std) * draws


def take(candidates: Tensor, index: Tensor) -> Tensor:
    """Rows `index` (B, M) of candidates (B, N, K, A)."""
    rows = torch.arange(len(index), device=index.device)[:, None]
    return candidates[rows, index]
