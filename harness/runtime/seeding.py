"""Random streams that have names: a draw from one never depends on draws from another."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import torch
from torch import Tensor

_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as int64
_MIX_1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX_2 = -7723592293110705685  # 0x94D049BB133111EB


def integer(*parts: int | str) -> int:
    """A 63-bit seed that depends on all parts and on their order."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def stream(*parts: int | str) -> np.random.Generator:
    """The numpy generator that belongs to these parts."""
    return np.random.default_rng(integer(*parts))


class PairNoise:
    """Standard normal numbers, one independent stream per key (contracts.Noise).

    The generator is counter based: element j of draw d under key k is a hash of (k, d, j)
    (SplitMix64's finaliser), made normal by Box-Muller. So the numbers are the same on any device,
    in any batch and in any order.
    """

    def __init__(self, keys: list[int] | Tensor, device: torch.device | str = "cpu"):
        self._keys = torch.as_tensor(keys, dtype=torch.int64, device=device)[:, None]

    def __call__(self, draw: int | Tensor, shape: tuple[int, ...]) -> Tensor:
        """(keys, *shape) float32; `draw` is a whole number."""
        count = math.prod(shape)
        half = (count + 1) // 2
        counter = torch.arange(half, device=self._keys.device) + (draw << 40)
        bits = _mix(self._keys + counter * _GOLDEN)  # (B, half)
        radius = torch.sqrt(-2 * torch.log(_uniform(bits >> 32)))
        angle = (2 * math.pi) * _uniform(bits)
        normal = torch.cat([radius * torch.cos(angle), radius * torch.sin(angle)], dim=1)
        return normal[:, :count].reshape(-1, *shape)


def _mix(z: Tensor) -> Tensor:
    z = (z ^ _shift(z, 30)) * _MIX_1
    z = (z ^ _shift(z, 27)) * _MIX_2
    return z ^ _shift(z, 31)


def _shift(z: Tensor, bits: int) -> Tensor:
    return (z >> bits) & ((1 << (64 - bits)) - 1)  # torch shifts int64 with its sign


def _uniform(bits: Tensor) -> Tensor:
    """Floats in (0, 1), float32, from the low 32 bits."""
    return ((bits & 0xFFFFFFFF).to(torch.float64).add_(0.5).mul_(2.0**-32)).to(torch.float32)
