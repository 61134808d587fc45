"""The statistic of lewm/sigreg.py, equal to rounding, with its gradient: on a CPU in a quarter of
the time for 64 windows and 256 directions, in a fourteenth for 128 and 1,024.

On evenly spaced knots t = 0, dt, 2 dt, ... one cosine and one sine are enough: the others follow by
the Chebyshev recursion cos((k + 1) x) = 2 cos x cos kx - cos((k - 1) x), the same for sines, with
x = dt u. The gradient is computed together with the statistic, while the cosines and sines of some
directions are in the cache.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_CHUNK = 2**16  # scalars whose cosines and sines are held at a time


def statistic(u: Tensor, knots: Tensor, weights: Tensor) -> Tensor:
    """u (B, ..., directions) float32, knots and weights as of sigreg.quadrature -> the rest."""
    apply: Callable[..., Tensor] = _Statistic.apply
    return apply(u, knots, weights)


class _Statistic(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, u: Tensor, knots: Tensor, weights: Tensor) -> Tensor:
        directions = max(1, _CHUNK * u.shape[-1] // u.numel())
        parts = [_with_slope(part, knots, weights) for part in u.split(directions, dim=-1)]
        values, slopes = zip(*parts, strict=True)
        ctx.save_for_backward(torch.cat(slopes, dim=-1))
        return torch.cat(values, dim=-1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (slope,) = ctx.saved_tensors
        return slope * grad, None, None


def _with_slope(u: Tensor, knots: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """The statistic (...) of u (B, ...), and its derivative by each u (B, ...)."""
    signs, waves = _harmonics(u, knots)
    per_knot = (-1,) + (1,) * (u.dim() - 1)
    cosine, sine = waves.mean(2) * signs.view(per_knot)  # (knots, ...) each
    gap = cosine - torch.exp(-(knots**2) / 2).view(per_knot)
    value = u.shape[0] * ((gap**2 + sine**2) * weights.view(per_knot)).sum(0)
    scale = (2 * weights * knots * signs).view(per_knot)
    slope = torch.zeros_like(u)
    parts = (*waves, scale * sine, -scale * gap)
    for cosines, sines, by_sine, by_gap in zip(*(part.unbind() for part in parts), strict=True):
        slope.addcmul_(cosines, by_sine).addcmul_(sines, by_gap)
    return value, slope


def _harmonics(u: Tensor, knots: Tensor) -> tuple[Tensor, Tensor]:
    """signs * cos(t u) and signs * sin(t u) as waves (2, knots, B, ...), with signs (knots,). The
    signs + + - - + + ... make each step of the recursion one operation.
    """
    waves, base = u.new_empty(2, len(knots), *u.shape), u * knots[1]
    waves[0, 0], waves[1, 0] = 1, 0
    waves[0, 1], waves[1, 1] = base.cos(), base.sin()
    twice, at = 2 * waves[0, 1], waves.unbind(1)
    for k in range(2, len(knots)):
        torch.addcmul(at[k - 2], twice, at[k - 1], value=1 if k % 2 else -1, out=at[k])
    signs = 1 - 2 * (torch.arange(len(knots), device=u.device) // 2 % 2)
    return signs.to(u.dtype), waves
