"""The statistic of lewm/sigreg.py in a tenth of the time and memory, equal to rounding.

On evenly spaced knots t = 0, dt, 2 dt, ... one cosine and one sine are enough: the others follow by
the Chebyshev recursion cos((k + 1) x) = 2 cos x cos kx - cos((k - 1) x), the same for sines, with
x = dt u. The backward pass runs the recursion again instead of storing a cosine and a sine a knot.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def statistic(u: Tensor, knots: Tensor, weights: Tensor) -> Tensor:
    """u (B, ...) float32, knots and weights as of sigreg.quadrature -> (...)."""
    return _Statistic.apply(u, knots, weights)


class _Statistic(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u: Tensor, knots: Tensor, weights: Tensor) -> Tensor:
        gaps, sines = [], []
        for t, cosine, sine in _harmonics(u, knots):
            gaps.append(cosine.mean(0) - torch.exp(-(t**2) / 2))
            sines.append(sine.mean(0))
        ctx.gaps, ctx.sines = torch.stack(gaps), torch.stack(sines)  # (knots, ...)
        ctx.save_for_backward(u, knots, weights)
        shape = (-1,) + (1,) * (u.dim() - 1)
        return u.shape[0] * ((ctx.gaps**2 + ctx.sines**2) * weights.view(shape)).sum(0)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        u, knots, weights = ctx.saved_tensors
        total = torch.zeros_like(u)
        for k, (t, cosine, sine) in enumerate(_harmonics(u, knots)):
            scale = 2 * weights[k] * t
            total.addcmul_(cosine, scale * ctx.sines[k]).addcmul_(sine, -scale * ctx.gaps[k])
        return total.mul_(grad), None, None


def _harmonics(u: Tensor, knots: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield (t, cos(t u), sin(t u)) for knots 0, dt, 2 dt, ..."""
    base = u * knots[1]
    cosines, sines = [torch.ones_like(u), base.cos()], [torch.zeros_like(u), base.sin()]
    twice = 2 * cosines[1]
    yield knots[0], cosines[0], sines[0]
    for t in knots[1:]:
        yield t, cosines[1], sines[1]
        cosines = [cosines[1], torch.addcmul(-cosines[0], twice, cosines[1])]
        sines = [sines[1], torch.addcmul(-sines[0], twice, sines[1])]
