"""The fast rollout of a causal transformer, which planning uses; the plain one: rollout.py.

The stacks stand beside their plain forms: conditioned_rollout.py and baselines/dino_wm.py.
"""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class LayerCache:
    """The keys or values that one attention layer has computed so far, joined along `dim`."""

    def __init__(self, dim: int):
        self._dim = dim
        self._positions: Tensor | None = None

    def extended(self, new: Tensor) -> Tensor:
        """Add the next positions; the keys or values of all positions so far."""
        if self._positions is not None:
            new = torch.cat([self._positions, new], dim=self._dim)
        self._positions = new
        return new


class CachedRollout(nn.Module):
    """contracts.Rollout with less work than the plain form, equal to it to rounding. It is
    for a model that is trained no further: some of its weights are derived when it is built.

    1. All that depends on actions alone is computed once, for all blocks together (`conditions`),
       and all that depends on one latent alone once for each latent (`inputs`).
    2. While the history grows, keys and values of earlier positions come from a cache. Once it
       slides, every latent moves to another position, and the predictor runs on all of them.
    3. Only the last position of the predictor's output is computed.
    """

    def __init__(self, history: int):
        super().__init__()
        self._history = history

    @abstractmethod
    def conditions(self, actions: Tensor) -> list[Tensor]:
        """The predictor's inputs that depend on actions (T, N, A) alone: tensors (T, N, ...), in
        which each block of actions decides its own position.
        """

    def inputs(self, z: Tensor) -> Tensor:
        """The part of the predictor's work that needs one latent (N, *D) alone, (N, ...)."""
        return z

    def following(self, z: Tensor, predicted: Tensor) -> Tensor:
        """The latent after z (N, *D), from what `next_latent` gives."""
        return predicted

    @abstractmethod
    def caches(self) -> list[LayerCache]:
        """Empty caches of the predictor's layers."""

    @abstractmethod
    def next_latent(
        self,
        inputs: Sequence[Tensor],
        conditions: list[Tensor],
        first: int,
        caches: list[LayerCache] | None,
    ) -> Tensor:
        """The prediction (N, *D) after the last of M positions, whose latents have these `inputs`,
        (N, ...) each, and whose blocks have these `conditions`, (M, N, ...) each. `first` is the
        number of the first one in the predictor; with caches, those before it are in them.
        """

    def forward(self, z: Tensor, past: Tensor, plan: Tensor) -> Tensor:
        """contracts.WorldModel.rollout."""
        assert past.shape[1] == z.shape[1] - 1, (past.shape, z.shape)
        actions = torch.cat([past, plan], dim=1) if past.shape[1] else plan
        conditions = self.conditions(actions.transpose(0, 1))
        inputs = [self.inputs(latent) for latent in z.unbind(1)]
        caches: list[LayerCache] | None = self.caches()
        latents: list[Tensor] = []
        first = 0  # inputs from it on are not cached
        for end in range(z.shape[1], actions.shape[1] + 1):
            if end > self._history:
                caches, first = None, end - self._history
            own = [condition[first:end] for condition in conditions]
            position = first if caches is not None else 0
            predicted = self.next_latent(inputs[first:end], own, position, caches)
            latents.append(self.following(latents[-1] if latents else z[:, -1], predicted))
            if end < actions.shape[1]:
                inputs.append(self.inputs(latents[-1]))
            first = end
        return torch.stack(latents, dim=1)


def derived(layer: nn.Linear, weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A linear layer of the same class as `layer` (it may be one of runtime/onednn.py) with other
    weights, which are not trained.
    """
    made = copy.deepcopy(layer)
    made.out_features, made.in_features = weight.shape
    made.weight = nn.Parameter(weight.detach().contiguous(), requires_grad=False)
    made.register_parameter("bias", None)
    if bias is not None:
        made.bias = nn.Parameter(bias.detach().contiguous(), requires_grad=False)
    return made
