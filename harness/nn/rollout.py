"""The plain rollout of a one-step predictor (the fast one: cached_rollout.py).

It predicts the next latent from the last `history` ones and their blocks of actions, appends
it, slides the history on by one and repeats.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def autoregressive(
    predict: Callable[[Tensor, Tensor], Tensor],
    history: int,
    z: Tensor,
    past: Tensor,
    plan: Tensor,
) -> Tensor:
    """contracts.WorldModel.rollout by repeated contracts.WorldModel.predict."""
    actions, first = torch.cat([past, plan], dim=1), z.shape[1]
    for end in range(first, first + plan.shape[1]):
        recent = slice(max(0, end - history), end)
        z = torch.cat([z, predict(z[:, recent], actions[:, recent])[:, -1:]], dim=1)
    return z[:, first:]
