"""Transformer blocks shared by the latent world models: causal, conditioned on actions by AdaLN-
zero.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Pre-norm causal self-attention over (B, T, D)."""

    def __init__(self, width: int, heads: int, head_width: int, dropout: float):
        super().__init__()
        inner = heads * head_width
        self.heads, self.dropout = heads, dropout
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * inner, bias=False)
        self.out = nn.Sequential(nn.Linear(inner, width), nn.Dropout(dropout))

    def last(self, x: Tensor) -> Tensor:
        """The output at the last position alone, (B, 1, D)."""
        batch, frames, _ = x.shape
        x = self.norm(x)
        inner = self.qkv.out_features // 3
        q = F.linear(x[:, -1:], self.qkv.weight[:inner])
        kv = F.linear(x, self.qkv.weight[inner:]).view(batch, frames, 2, self.heads, -1)
        k, v = kv.permute(2, 0, 3, 1, 4)  # each (B, heads, T, head_width)
        q = q.view(batch, 1, self.heads, -1).transpose(1, 2)
        return self.out(self._attend(q, k, v, causal=False).transpose(1, 2).reshape(batch, 1, -1))

    def forward(self, x: Tensor) -> Tensor:
        batch, frames, _ = x.shape
        qkv = self.qkv(self.norm(x)).view(batch, frames, 3, self.heads, -1)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (B, heads, T, head_width)
        mixed = self._attend(q, k, v, causal=True)
        return self.out(mixed.transpose(1, 2).reshape(batch, frames, -1))

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
        """Values mixed by attention; q (B, heads, M, head_width), k and v (B, heads, T,
        head_width).
        """
        if q.device.type == "cpu" and not self.training:
            return _attend_few(q, k, v, causal)
        dropout = self.dropout if self.training else 0.0
        return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=causal)


class FeedForward(nn.Sequential):
    """Pre-norm MLP."""

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
    """Transformer block whose condition shifts, scales and gates it; the identity at initialisation
    (AdaLN-zero).
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

    def forward(self, x: Tensor, modulation: Tensor, last: bool = False) -> Tensor:
        """x (B, T, D), modulation (B, T, 6 D) -> (B, T, D), or (B, 1, D) for the last position
        alone.
        """
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = modulation.chunk(6, -1)
        seen = self.norm_1(x) * (1 + scale_1) + shift_1
        if last:
            x, gate_1, shift_2, scale_2, gate_2 = (
                part[:, -1:] for part in (x, gate_1, shift_2, scale_2, gate_2)
            )
        x = x + gate_1 * (self.attention.last(seen) if last else self.attention(seen))
        return x + gate_2 * self.mlp(self.norm_2(x) * (1 + scale_2) + shift_2)


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
        self.widest = 10 * width + 4 * heads * head_width + 2 * hidden  # of a position in a block
        self.positions = nn.Parameter(torch.randn(1, frames, latent))
        self.project_in = nn.Identity() if same else nn.Linear(latent, width)
        self.project_condition = nn.Identity() if same else nn.Linear(latent, width)
        self.blocks = nn.ModuleList(
            ConditionedBlock(width, heads, head_width, hidden, dropout) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.project_out = nn.Identity() if same else nn.Linear(width, latent)

    def modulations(self, condition: Tensor) -> list[Tensor]:
        """What actions do to each block: condition (B, T, latent) -> per block (B, T, 6 D)."""
        condition = F.silu(self.project_condition(condition))
        return [block.modulation(condition) for block in self.blocks]

    def forward(self, x: Tensor, modulations: list[Tensor], last: bool = False) -> Tensor:
        """x (B, T, latent), T <= frames -> (B, T, latent), or (B, 1, latent) for the last position
        alone.
        """
        x = self.project_in(x + self.positions[:, : x.shape[1]])
        for block, modulation in zip(self.blocks[:-1], modulations[:-1], strict=True):
            x = block(x, modulation)
        x = self.blocks[-1](x, modulations[-1], last)
        return self.project_out(self.norm(x))


def _attend_few(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
    """Attention over a handful of positions by plain products: a third of the fused kernel's time
    on a CPU.
    """
    if k.shape[-2] == 1:
        return v
    scores = (q.unsqueeze(-2) * k.unsqueeze(-3)).sum(-1) * q.shape[-1] ** -0.5  # (B, heads, M, T)
    if causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu(1)
        scores = scores.masked_fill(later, -torch.inf)
    return (scores.softmax(-1).unsqueeze(-1) * v.unsqueeze(-3)).sum(-2)
