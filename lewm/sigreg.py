"""SIGReg: the sketched isotropic Gaussian regulariser (LeWM section 3.2, after Epps and Pulley).

Each of many random unit directions turns a batch of latents into scalars u; the statistic is the
weighted distance between their empirical characteristic function and that of N(0, 1),

    B * integral of w(t) |mean_b exp(i t u_b) - exp(-t^2 / 2)|^2 dt,      w(t) = exp(-t^2 / 2),

by the trapezoid rule on evenly spaced knots of [0, t_max], doubled for the symmetric half. Known
values of the released quadrature (17 knots on [0, 3]): 1.0525 in expectation on N(0, I), 0.402 B on
a batch that has collapsed to zero.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lewm import sigreg_fast

KNOTS = 17
T_MAX = 3.0


def sigreg(
    z: Tensor, directions: int, generator: torch.Generator | None = None, knots: int = KNOTS
) -> Tensor:
    """Mean statistic of latents z (B, T, D) over fresh directions and time steps; a scalar (LeWM
    eq. 3).
    """
    sketch = torch.randn(z.shape[-1], directions, generator=generator, device=z.device)
    sketch = sketch / sketch.norm(dim=0, keepdim=True)
    u = (z.float() @ sketch).float()  # (B, T, directions); autocast multiplies in bf16
    if u.device.type == "cuda":  # where the fast form's many small operations take longer
        return statistic(u, knots).mean()
    return sigreg_fast.statistic(u, *quadrature(u, knots)).mean()


def statistic(u: Tensor, knots: int = KNOTS) -> Tensor:
    """The statistic of each column by its definition: scalars u (B, ...) float32 -> (...)."""
    t, weights = quadrature(u, knots)
    angles = u[..., None] * t  # (B, ..., knots)
    real_gap = angles.cos().mean(0) - torch.exp(-(t**2) / 2)
    imaginary_gap = angles.sin().mean(0)
    return u.shape[0] * ((real_gap**2 + imaginary_gap**2) * weights).sum(-1)


def quadrature(u: Tensor, count: int = KNOTS) -> tuple[Tensor, Tensor]:
    """The knots t, and at each the trapezoid's weight times w(t), doubled for the symmetric half;
    (count,) each, on the device of u.
    """
    knots = torch.linspace(0, T_MAX, count, device=u.device, dtype=u.dtype)
    weights = torch.full_like(knots, 2 * T_MAX / (count - 1))
    weights[[0, -1]] /= 2
    return knots, weights * torch.exp(-(knots**2) / 2)
