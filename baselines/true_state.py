"""The ceiling: LeWM's predictor over the scene's true pose instead of a latent.

Data, windows, predictor, planner, pairs and budget are those of the world models; what is perfect
is the encoder. So its success is what any encoder of single pictures could reach with them, and a
method's success reads as a share of the way from the best trivial control to it.

The latent is the pose that the task gives (contracts.Task.pose: positions, and angles as sine and
cosine, no speeds since a picture shows none), z-scored. It is padded with zeros to the width of the
other methods' latents, so that the predictor is the same network; predictions are zero there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from harness.contracts.data import Batch, Obs
from harness.contracts.task import ModelDims
from harness.nn.jepa import JEPAConfig, LatentPredictor
from harness.nn.mlp import Projector
from harness.nn.straightness import diagnostics


@dataclass(frozen=True)
class TrueStateConfig(JEPAConfig):
    """The predictor's sizes; the encoder's decide nothing."""

    @property
    def unread(self) -> tuple[str, ...]:
        """The encoder is not built."""
        return ("encoder",)


class TrueState(LatentPredictor):
    """LeWM's action embedder, predictor and projector over padded poses."""

    def __init__(self, config: TrueStateConfig, dims: ModelDims):
        super().__init__(config)
        self.pose_dim = dims.proprio_dim
        if self.pose_dim > config.latent_dim:
            raise ValueError(
                f"a pose of {self.pose_dim} numbers does not fit latent_dim {config.latent_dim}: "
                f"raise method.true_state.latent_dim"
            )
        self._padding = config.latent_dim - self.pose_dim
        self.add_predictor(config, dims)
        self.predictor_projector = Projector(
            config.latent_dim, config.projector_hidden, self.pose_dim
        )

    def encode(self, obs: Obs) -> Tensor:
        """The pose (B, T, p) that takes the place of proprioception, padded to (B, T, D)."""
        assert obs.proprio is not None
        return F.pad(obs.proprio, (0, self._padding))

    def moved(self, z: Tensor, projected: Tensor) -> Tensor:
        """Poses after z (..., D), from the projector's (..., p)."""
        return super().moved(z, F.pad(projected, (0, self._padding)))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """The prediction error over the pose."""
        z = self.encode(batch.obs)
        predicted = self.predict(z[:, :-1], batch.actions[:, :-1])
        error = (predicted.float() - z[:, 1:])[..., : self.pose_dim].pow(2).mean()
        return {"loss": error, "pred": error, **diagnostics(z[..., : self.pose_dim])}
