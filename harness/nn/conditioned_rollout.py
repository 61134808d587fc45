"""The fast form of the predictor that LeWM, PLDM and the EMA JEPA share; the plain one:
transformer.py.

Tensors are (T, N, ...): positions, candidates. So every slice of positions is contiguous, and an
elementwise operation is one pass over memory. Weights are folded where two operations are one to
rounding: the 1 of 1 + scale into the bias that makes the scale, the attention's scale into the
queries, BatchNorm and the first layer of the action embedder into the layer beside it.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.nn.cached_rollout import LayerCache, derived
from harness.nn.mlp import ActionEmbedder, Projector
from harness.nn.transformer import Attention, ConditionedBlock, ConditionedTransformer, later

gelu_ = torch.ops.aten.gelu_.default  # in place


class FastTransformer(nn.Module):
    """ConditionedTransformer for the last position alone."""

    def __init__(self, plain: ConditionedTransformer):
        super().__init__()
        self.blocks = nn.ModuleList()
        for block in plain.blocks:
            assert isinstance(block, ConditionedBlock), type(block)
            self.blocks.append(FastBlock(block))
        self.project_condition, self.project_out = plain.project_condition, plain.project_out
        self.norm, positions = plain.norm, plain.positions.detach()[0]
        self.project_in = plain.project_in
        if isinstance(plain.project_in, nn.Linear):  # of a sum: each part has its own product
            positions = F.linear(positions, plain.project_in.weight, plain.project_in.bias)
            self.project_in = derived(plain.project_in, plain.project_in.weight, None)
        self.positions = nn.Buffer(positions.detach()[:, None])  # (frames, 1, width)

    def modulations(self, condition: Tensor) -> list[Tensor]:
        """Six for each block, one block after the other: condition (T, N, latent) -> (T, N, D)
        each, contiguous.
        """
        condition = F.silu(self.project_condition(condition))
        blocks = (cast(FastBlock, block) for block in self.blocks)
        return [part(condition) for block in blocks for part in block.modulation]

    def last(
        self, x: Tensor, modulations: list[Tensor], first: int, caches: list[LayerCache] | None
    ) -> Tensor:
        """The output (N, latent) at the last of the positions x (M, N, width), of which the first
        has the number `first`; x are latents after project_in.
        """
        x = x + self.positions[first : first + len(x)]
        for i, block in enumerate(self.blocks):
            own = modulations[6 * i : 6 * i + 6]
            cache = None if caches is None else caches[2 * i : 2 * i + 2]
            x = block(x, own, i == len(self.blocks) - 1, cache)
        return self.project_out(self.norm(x[-1]))


class FastBlock(nn.Module):
    """ConditionedBlock, with keys and values of earlier positions from a cache."""

    def __init__(self, plain: ConditionedBlock):
        super().__init__()
        self.attention = FastAttention(plain.attention)
        self.mlp_norm, self.up, _, _, self.down, _ = plain.mlp
        self.eps = plain.norm_1.eps
        modulation, width = plain.modulation, plain.modulation.in_features
        weights, biases = modulation.weight.chunk(6), list(modulation.bias.chunk(6))
        for scale in (1, 4):
            biases[scale] = biases[scale] + 1
        self.modulation = nn.ModuleList(
            derived(modulation, weight, bias) for weight, bias in zip(weights, biases, strict=True)
        )
        ones = modulation.weight.new_ones(
            width
        )  # torch's kernel without weights takes twice as long
        self.ones, self.zeros = nn.Buffer(ones), nn.Buffer(torch.zeros_like(ones))

    def forward(
        self, x: Tensor, modulation: list[Tensor], last_only: bool, cache: list[LayerCache] | None
    ) -> Tensor:
        """x (T, N, D), modulation six of (T, N, D) -> (T, N, D), or (1, N, D) with last_only."""
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = modulation
        normed = self.attention.norm(torch.addcmul(shift_1, self._norm(x), scale_1))
        if last_only:
            x, gate_1, shift_2, scale_2, gate_2 = (
                part[-1:] for part in (x, gate_1, shift_2, scale_2, gate_2)
            )
        x = torch.addcmul(x, gate_1, self.attention(normed, len(x), cache))
        hidden = self.up(self.mlp_norm(torch.addcmul(shift_2, self._norm(x), scale_2)))
        return torch.addcmul(x, gate_2, self.down(gelu_(hidden)))

    def _norm(self, x: Tensor) -> Tensor:
        return torch.layer_norm(x, self.ones.shape, self.ones, self.zeros, self.eps)


class FastAttention(nn.Module):
    """Attention for the last positions; its norm is applied by the caller."""

    def __init__(self, plain: Attention):
        super().__init__()
        self.norm, self.out = plain.norm, plain.out[0]
        query, key, value = plain.qkv.weight.chunk(3)
        self.head_width = len(query) // plain.heads
        self.query = derived(plain.qkv, query * self.head_width**-0.5, None)
        self.key, self.value = (derived(plain.qkv, weight, None) for weight in (key, value))

    def forward(self, x: Tensor, outputs: int, cache: list[LayerCache] | None) -> Tensor:
        """x (T, N, D), normed -> (outputs, N, D), the last ones."""
        k, v = self.key(x), self.value(x)  # (T, N, heads * head_width)
        if cache is not None:
            k, v = cache[0].extended(k), cache[1].extended(v)
        if len(k) == 1:
            return self.out(v)
        q = self.query(x[-outputs:])
        attend = _attend_few if x.device.type == "cpu" else _attend_fused
        return self.out(attend(q, k, v, self.head_width))


class FastProjector(nn.Module):
    """Projector in evaluation, its BatchNorm folded into the layer before it."""

    def __init__(self, plain: Projector):
        first, norm, _, second = plain
        assert isinstance(first, nn.Linear) and isinstance(norm, nn.BatchNorm1d)
        assert norm.running_mean is not None and norm.running_var is not None
        gain = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
        bias = (first.bias - norm.running_mean) * gain + norm.bias
        super().__init__()
        self.first, self.second = derived(first, first.weight * gain[:, None], bias), second

    def forward(self, x: Tensor) -> Tensor:
        """(N, width_in) -> (N, width_out)."""
        return self.second(gelu_(self.first(x)))


class FastActionEmbedder(nn.Sequential):
    """ActionEmbedder, its first two layers as one."""

    def __init__(self, plain: ActionEmbedder):
        first, silu, second = plain.embed
        assert isinstance(first, nn.Linear) and plain.smooth.bias is not None
        smooth = plain.smooth.weight[:, :, 0]
        bias = F.linear(plain.smooth.bias, first.weight, first.bias)
        super().__init__(derived(first, first.weight @ smooth, bias), silu, second)


def _attend_few(q: Tensor, k: Tensor, v: Tensor, head_width: int) -> Tensor:
    """Causal attention over a handful of positions on a CPU, query by query; q (M, N, heads *
    head_width) are the last M of the S positions of k and v, and have the attention's scale.
    """
    queries, keys, values = (part.view(len(part), -1, head_width) for part in (q, k, v))
    mixed = []
    for i, query in enumerate(queries, start=1 + len(k) - len(q)):
        shares = (query * keys[:i]).sum(-1, keepdim=True).softmax(0)  # (i, N * heads, 1)
        total = shares[0] * values[0]
        for share, value in zip(shares[1:], values[1:i], strict=True):
            total.addcmul_(share, value)
        mixed.append(total)
    return (mixed[0] if len(mixed) == 1 else torch.stack(mixed)).view_as(q)


def _attend_fused(q: Tensor, k: Tensor, v: Tensor, head_width: int) -> Tensor:
    """The same by torch's fused kernel."""
    mask = None if len(q) == 1 else ~later(len(q), len(k), q.device)
    q, k, v = (part.unflatten(-1, (-1, head_width)).permute(1, 2, 0, 3) for part in (q, k, v))
    mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
    return mixed.permute(2, 0, 1, 3).flatten(2)
