"""A decoder of latents to pictures: a query for each patch of the picture reads the latent's tokens
by cross-attention (LeWM's appendix on decoding).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_STATISTICS = 1000  # frames
_STD_FLOOR = 0.1  # share of the std of all directions; keeps those that hardly vary small


class Decoder(nn.Module):
    """Latents (M, *D) to pictures (M, 3, size, size) in 0..1, not clipped.

    Latents are whitened, and pictures are drawn as differences from the mean one, by statistics of
    the frames that it learns from (`fit_statistics`); without these neither is. Where latents vary
    along few directions, as those of an EMA JEPA do, the others are too faint to be read otherwise.
    """

    z_mean: Tensor
    whiten: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        latent_shape: Sequence[int],
        size: int,
        patch: int = 16,
        width: int = 128,
        depth: int = 2,
        heads: int = 4,
    ):
        super().__init__()
        if size % patch:
            raise ValueError(f"patch={patch} must divide the picture's side, {size} px")
        *tokens, floats = latent_shape
        self.patch, self.side = patch, size // patch
        self.read = nn.Linear(floats, width)
        self.places = nn.Parameter(0.02 * torch.randn(*tokens or [1], width))
        self.queries = nn.Parameter(torch.randn(self.side**2, width))
        self.blocks = nn.ModuleList(CrossBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.write = nn.Linear(width, 3 * patch**2)
        self.register_buffer("z_mean", torch.zeros(*latent_shape))
        self.register_buffer("whiten", torch.eye(floats))
        self.register_buffer("mean", torch.zeros(3, size, size))
        self.register_buffer("std", torch.ones(()))

    def fit_statistics(self, z: Tensor, pixels: Tensor) -> None:
        """Mean and covariance of latents (M, *D), and the mean and std of at most _STATISTICS of
        their frames, pixels (M, 3, size, size) uint8.
        """
        pictures = pixels[:_STATISTICS].float() / 255
        self.z_mean.copy_(z.mean(0))
        self.whiten.copy_(_whitening((z - self.z_mean.to(z)).flatten(0, -2)))
        mean = pictures.mean(0)
        self.mean.copy_(mean)
        self.std.copy_((pictures - mean).pow(2).mean().sqrt().clamp(min=1e-3))

    def forward(self, z: Tensor) -> Tensor:
        """Latents (M, *D) to pictures (M, 3, size, size)."""
        z = ((z - self.z_mean) @ self.whiten).reshape(len(z), *self.places.shape[:-1], -1)
        memory = self.read(z) + self.places  # (M, P, width)
        x = self.queries.expand(len(z), -1, -1)
        for block in self.blocks:
            x = block(x, memory)
        patches = self.write(self.norm(x))
        drawn = patches.unflatten(1, (self.side, self.side)).unflatten(-1, (3, self.patch, -1))
        drawn = drawn.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
        return self.mean + self.std * drawn


def _whitening(x: Tensor) -> Tensor:
    """The symmetric (D, D) by which centred vectors x (M, D) have unit variance in each direction,
    but for those below the floor.
    """
    variance, directions = torch.linalg.eigh((x.T @ x / len(x)).double())
    std = variance.clamp(min=0).sqrt()
    floor = max(_STD_FLOOR * float(variance.mean().clamp(min=0).sqrt()), 1e-6)
    return ((directions / std.clamp(min=floor)) @ directions.T).to(x.dtype)


class CrossBlock(nn.Module):
    """Pre-norm: each query reads the memory, then passes an MLP."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm, self.memory_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        """x (M, Q, width), memory (M, P, width) -> (M, Q, width)."""
        q = self.query(self.norm(x)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        kv = self.key_value(self.memory_norm(memory)).unflatten(-1, (2, self.heads, -1))
        k, v = kv.permute(2, 0, 3, 1, 4)
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.mlp(x)
