"""Faster linear layers for CPUs with AVX-512, by oneDNN.

torch multiplies fp32 matrices with MKL, which uses only AVX2 on AMD's CPUs. oneDNN, which is part
of torch, uses AVX-512 there. Results are equal to rounding (tests/runtime/test_onednn.py).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

LEAST = 2**22  # multiply-adds; below this, the overhead of a call outweighs the gain
PACKED_ROWS = 512  # rows of the products that packed weights are laid out for


def accelerate(model: nn.Module) -> None:
    """Let oneDNN compute all linear layers of the model, also those of libraries, where the CPU has
    AVX-512. The names of its parameters, their values and, to rounding, its outputs stay the same.
    """
    if not (torch.backends.mkldnn.is_available() and torch.cpu._is_avx512_supported()):
        return
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = Linear


def packed(model: nn.Module) -> nn.Module:
    """Store the weights of the model's accelerated layers in oneDNN's own order too, which spares
    every product their reordering and makes bf16's products oneDNN's as well. For a model that is
    trained no further; returns it.
    """
    for module in model.modules():
        if type(module) is Linear and module.weight.device.type == "cpu":
            module.pack()
    return model


class Linear(nn.Linear):
    """nn.Linear whose larger fp32 products are computed by oneDNN."""

    _packed: Tensor | None = None  # the weight in oneDNN's order

    @torch.no_grad()
    def pack(self) -> None:
        """Store the weight in oneDNN's order, where the CPU multiplies its type fast."""
        weight = self.weight.detach()
        if weight.dtype == torch.float32 or (
            weight.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported()
        ):
            self._packed = torch.ops.mkldnn._reorder_linear_weight(weight, PACKED_ROWS)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        large = x.numel() * self.out_features >= LEAST
        if large and self._packed is not None and not torch.is_grad_enabled():
            return _product(x, self._packed, self.bias)
        fp32 = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        if not (large and fp32 and x.device.type == "cpu"):
            return super().forward(x)
        product = _Product.apply if torch.is_grad_enabled() else _product
        return product(x, self.weight, self.bias)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        x_needs, weight_needs, bias_needs = ctx.needs_input_grad
        flat = grad.flatten(0, -2)
        return (
            _product(grad, weight.t()) if x_needs else None,
            _product(flat.t(), x.flatten(0, -2).t()) if weight_needs else None,
            flat.sum(0) if bias_needs else None,
        )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The same as F.linear, computed by oneDNN."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
