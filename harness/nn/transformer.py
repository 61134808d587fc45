"""Transformer blocks shared by the latent world models: causal, conditioned on actions by
AdaLN-zero. This is the plain form; the fast one, for planning: conditioned_rollout.py.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.nn.dropout import Dropout, dropout


class Attention(nn.Module):
    """Pre-norm causal self-attention over (B, T, D)."""

    def __init__(self, width: int, heads: int, head_width: int, dropout: float):
        super().__init__()
        inner = heads * head_width
        self.heads, self.dropout = heads, dropout
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * inner, bias=False)
        self.out = nn.Sequential(nn.Linear(inner, width), Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T, D) -> (B, T, D)."""
        qkv = self.qkv(self.norm(x)).unflatten(-1, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, heads, T, head_width)
        visible = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).tril()
        mixed = attend(q, k, v, visible, self.dropout if self.training else 0.0)
        return self.out(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Sequential):
    """An MLP with a LayerNorm in front (pre-norm)."""

    def __init__(self, width: int, hidden: int, dropout: float):
        super().__init__(
            nn.LayerNorm(width),
            nn.Linear(width, hidden),
            nn.GELU(),
            Dropout(dropout),
            nn.Linear(hidden, width),
            Dropout(dropout),
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

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        """x (B, T, D), modulation (B, T, 6 D) -> (B, T, D)."""
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = modulation.chunk(6, -1)
        modulated = torch.addcmul(shift_1, self.norm_1(x), 1 + scale_1)
        x = torch.addcmul(x, gate_1, self.attention(modulated))
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
        condition = F.silu(self.project_condition(condition))
        x = self.project_in(x + self.positions[:, : x.shape[1]])
        for block in self.blocks:
            x = block(x, block.modulation(condition))  # type: ignore[operator] # a ConditionedBlock
        return self.project_out(self.norm(x))


def attend(q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None, p: float) -> Tensor:
    """Scaled dot-product attention, (..., M, head_width) each; visible (M, M) bool says which
    positions each one sees, None that it sees all. In training p of the weights are dropped, by
    dropout.py where torch's own form is the slow one.
    """
    if not p or q.device.type != "cpu":
        return F.scaled_dot_product_attention(q, k, v, attn_mask=visible, dropout_p=p)
    scores = (q * q.shape[-1] ** -0.5) @ k.mT
    if visible is not None:
        scores = scores.masked_fill(~visible, -math.inf)
    return dropout(scores.softmax(-1), p) @ v


def later(m: int, t: int, device: torch.device) -> Tensor:
    """Mask (m, t) bool: which of t positions come after each of the last m."""
    return torch.ones(m, t, dtype=torch.bool, device=device).triu(1 + t - m)
