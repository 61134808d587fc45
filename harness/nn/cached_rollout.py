"""The fast rollout of a causal transformer, which planning uses; the plain one: rollout.py."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class LayerCache:
    """The keys and values that one attention layer has computed so far."""

    def __init__(self):
        self._keys_values: list[Tensor] = []  # (N, T, ...) each, none or one

    def extended(self, keys_values: Tensor) -> Tensor:
        """The keys and values of all positions (N, T, ...), after those of the next ones
        (N, M, ...) are added.
        """
        self._keys_values = [torch.cat([*self._keys_values, keys_values], dim=1)]
        return self._keys_values[0]

    @property
    def positions(self) -> int:
        """T, how many positions have passed the layer."""
        return self._keys_values[0].shape[1] if self._keys_values else 0


class KeyValueCache:
    """The keys and values of a causal transformer: later positions do not change them, so the
    stack is run on new positions alone.
    """

    def __init__(self, layers: int):
        self.layers = [LayerCache() for _ in range(layers)]

    @property
    def positions(self) -> int:
        """How many positions have passed the stack."""
        return self.layers[0].positions


class CachedRollout(ABC):
    """contracts.Rollout with less work than the plain form, equal to it to rounding.

    1. All that depends on actions alone is computed once, for all blocks together (`conditions`).
    2. While the history grows, keys and values of earlier positions come from a cache. Once it
       slides, every latent moves to another position, and the predictor runs on all of them.
    3. Only the last position of the predictor's output is computed.
    """

    def __init__(self, history: int, layers: int):
        self._history, self._layers = history, layers

    @abstractmethod
    def conditions(self, actions: Tensor) -> list[Tensor]:
        """The predictor's inputs that depend on actions (N, T, A) alone: tensors (N, T, ...), in
        which each block of actions decides its own position.
        """

    @abstractmethod
    def next_latent(
        self, z: Tensor, conditions: list[Tensor], cache: KeyValueCache | None
    ) -> Tensor:
        """The latent (N, *D) after the last of z (N, M, *D), whose blocks have these conditions.

        With a cache, z are the positions that follow those of the calls before.
        """

    def __call__(self, z: Tensor, past: Tensor, plan: Tensor) -> Tensor:
        """contracts.WorldModel.rollout."""
        assert past.shape[1] == z.shape[1] - 1, (past.shape, z.shape)
        conditions = self.conditions(torch.cat([past, plan], dim=1))
        latents = list(z.unbind(1))
        cache, first = KeyValueCache(self._layers), 0  # latents from `first` on are not cached
        for _ in range(plan.shape[1]):
            end = len(latents)
            if end > self._history:
                cache, first = None, end - self._history
            own = [condition[:, first:end] for condition in conditions]
            latents.append(self.next_latent(torch.stack(latents[first:end], dim=1), own, cache))
            first = end
        return torch.stack(latents[z.shape[1] :], dim=1)
