"""Transformer blocks shared by the latent world models: causal, conditioned on actions by
AdaLN-zero.

`last_only` and `cache` belong to the fast rollout (cached_rollout.py): the output of the last
position alone, and keys and values of earlier positions, which then need not be computed again.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.nn.cached_rollout import KeyValueCache, LayerCache


class Attention(nn.Module):
    """Pre-norm causal self-attention over (B, T, D)."""

    def __init__(self, width: int, heads: int, head_width: int, dropout: float):
        super().__init__()
        inner = heads * head_width
        self.heads, self.dropout = heads, dropout
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * inner, bias=False)
        self.out = nn.Sequential(nn.Linear(inner, width), nn.Dropout(dropout))

    def forward(
        self, x: Tensor, last_only: bool = False, cache: LayerCache | None = None
    ) -> Tensor:
        """x (B, T, D) -> (B, T, D), or (B, 1, D) with last_only."""
        x = self.norm(x)
        inner = self.qkv.out_features // 3
        if last_only and x.shape[1] > 1:
            q = F.linear(x[:, -1:], self.qkv.weight[:inner])
            kv = F.linear(x, self.qkv.weight[inner:])
        else:
            q, kv = self.qkv(x).split((inner, 2 * inner), dim=-1)
        if cache is not None:
            kv = cache.extended(kv)
        q = q.unflatten(-1, (self.heads, -1))
        k, v = kv.unflatten(-1, (2, self.heads, -1)).unbind(2)
        return self.out(self._attend(q, k, v).flatten(2))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Causal attention; q (B, M, heads, head_width) are the last M of the T positions of k and
        v (B, T, heads, head_width).
        """
        if q.device.type == "cpu" and not self.training:
            return _attend_few(q, k, v)
        mask = None if q.shape == k.shape else ~_later(q.shape[1], k.shape[1], q.device)
        mixed = F.scaled_dot_product_attention(
            *(part.transpose(1, 2) for part in (q, k, v)),
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            is_causal=mask is None,
        )
        return mixed.transpose(1, 2)


class FeedForward(nn.Sequential):
    """An MLP with a LayerNorm in front (pre-norm)."""

    def __init__(self, width: int, hidden: int, dropout: float):
        super().__init__(
            nn.LayerNorm(width),
            nn.Linear(width, hidden),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, width),
            nn.Dropout(dropout),
        )


class ConditionedBlock(nn.Module):
    """A transformer block that is shifted, scaled and gated by its condition (AdaLN-zero). It is
    the identity at initialisation.
    """

    def __init__(self, width: int, heads: int, head_width: int, hidden: int, dropout: float):
        super().__init__()
        self.attention = Attention(width, heads, head_width, dropout)
        self.mlp = FeedForward(width, hidden, dropout)
        self.norm_1 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.norm_2 = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.modulation = nn.Linear(width, 6 * width)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(
        self,
        x: Tensor,
        modulation: Tensor,
        last_only: bool = False,
        cache: LayerCache | None = None,
    ) -> Tensor:
        """x (B, T, D), modulation (B, T, 6 D) -> (B, T, D), or (B, 1, D) with last_only."""
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = modulation.chunk(6, -1)
        modulated = torch.addcmul(shift_1, self.norm_1(x), 1 + scale_1)
        if last_only:
            x, gate_1, shift_2, scale_2, gate_2 = (
                part[:, -1:] for part in (x, gate_1, shift_2, scale_2, gate_2)
            )
        x = torch.addcmul(x, gate_1, self.attention(modulated, last_only, cache))
        modulated = torch.addcmul(shift_2, self.norm_2(x), 1 + scale_2)
        return torch.addcmul(x, gate_2, self.mlp(modulated))


class ConditionedTransformer(nn.Module):
    """Causal stack over at most `frames` positions, learned positions, AdaLN-zero conditioning at
    every position.
    """

    def __init__(
        self,
        latent: int,
        width: int,
        frames: int,
        depth: int,
        heads: int,
        head_width: int,
        hidden: int,
        dropout: float,
    ):
        super().__init__()
        same = latent == width
        # memory of one position in floats, for rollout_bytes: the most that a block works on at a
        # time; the keys and values of all blocks; the modulations of all blocks
        self.working_floats = 10 * width + 4 * heads * head_width + 2 * hidden
        self.cached_floats = 2 * depth * heads * head_width
        self.modulation_floats = 6 * depth * width
        self.positions = nn.Parameter(torch.randn(1, frames, latent))
        self.project_in = nn.Identity() if same else nn.Linear(latent, width)
        self.project_condition = nn.Identity() if same else nn.Linear(latent, width)
        self.blocks = nn.ModuleList(
            ConditionedBlock(width, heads, head_width, hidden, dropout) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.project_out = nn.Identity() if same else nn.Linear(width, latent)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x (B, T, latent), condition (B, T, latent), T <= frames -> (B, T, latent)."""
        return self.modulated(x, self.modulations(condition))

    def modulations(self, condition: Tensor) -> list[Tensor]:
        """The shifts, scales and gates of each block: condition (B, T, latent) -> for each block
        (B, T, 6 D). Those of a position depend on its own condition alone.
        """
        condition = F.silu(self.project_condition(condition))
        return [block.modulation(condition) for block in self.blocks]

    def modulated(
        self,
        x: Tensor,
        modulations: list[Tensor],
        last_only: bool = False,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """x (B, T, latent), T <= frames -> (B, T, latent), or (B, 1, latent) with last_only.

        With a cache, x are the positions after those that it has; `frames` bounds all of them.
        """
        first = cache.positions if cache else 0
        layers = cache.layers if cache else [None] * len(self.blocks)
        x = self.project_in(x + self.positions[:, first : first + x.shape[1]])
        for block, modulation, layer in zip(self.blocks, modulations, layers, strict=True):
            x = block(x, modulation, last_only and block is self.blocks[-1], layer)
        return self.project_out(self.norm(x))


def _attend_few(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention over a handful of positions on a CPU. Elementwise products in memory order take a
    quarter of the time of the fused kernel.
    """
    m, t = q.shape[1], k.shape[1]
    if t == 1:
        return v
    scores = (q.unsqueeze(2) * k.unsqueeze(1)).sum(-1) * q.shape[-1] ** -0.5  # (B, M, T, heads)
    if m > 1:
        scores = scores.masked_fill(_later(m, t, q.device)[:, :, None], -torch.inf)
    first, *others = scores.softmax(2).unsqueeze(-1).unbind(2)  # each (B, M, heads, 1)
    mixed = first * v[:, :1]
    for i, share in enumerate(others, start=1):
        mixed = torch.addcmul(mixed, share, v[:, i : i + 1])
    return mixed


def _later(m: int, t: int, device: torch.device) -> Tensor:
    """Mask (m, t) bool: which of t positions come after each of the last m."""
    return torch.ones(m, t, dtype=torch.bool, device=device).triu(1 + t - m)
