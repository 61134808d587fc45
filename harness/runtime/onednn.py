"""Linear layers by oneDNN, for CPUs with AVX-512.

torch multiplies fp32 matrices with MKL, which keeps to AVX2 on AMD's CPUs; oneDNN, which torch
brings along for bf16, takes AVX-512 there. Same fp32, other rounding (tests/test_onednn.py).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

LEAST = 2**22  # multiply-adds; a smaller product is over before oneDNN has begun


def accelerate(model: nn.Module) -> None:
    """Let oneDNN work out the model's linear layers, those of libraries too, where the CPU has
    AVX-512. Names, weights and (to rounding) outcomes stay.
    """
    if not (torch.backends.mkldnn.is_available() and torch.cpu._is_avx512_supported()):
        return
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = Linear


class Linear(nn.Linear):
    """nn.Linear whose larger fp32 products are oneDNN's."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        large = x.numel() * self.out_features >= LEAST
        fp32 = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
        if not (large and fp32 and x.device.type == "cpu"):
            return super().forward(x)
        made = _Product.apply if torch.is_grad_enabled() else _product
        return made(x, self.weight, self.bias)


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        flat = grad.flatten(0, -2)
        return (
            _product(grad, weight.t()) if of_x else None,
            _product(flat.t(), x.flatten(0, -2).t()) if of_weight else None,
            flat.sum(0) if of_bias else None,
        )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """F.linear by oneDNN."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
