"""EMA JEPA: prediction of a target network's latents, the older remedy against collapse.

LeWM's encoder, predictor and planner; no regulariser. The targets are latents of a second encoder
and projector, which receives no gradient and follows the first as an exponential moving average
with a momentum that rises linearly over training (I-JEPA, arXiv 2301.08243, 0.996 to 1.0; the idea
is BYOL's).

Both start and goal are encoded by the target network at evaluation. The predictor's outputs are
predictions of that network's latents, so this is where the planning cost compares like with like,
and where all inputs of a rollout but its first lie; I-JEPA evaluates its target encoder as well.
What remains is that the first input of a rollout comes from the target, while in training it came
from the online encoder, which the target follows closely by the end of the cosine schedule.

Deviations from I-JEPA: the next frame is predicted from frames and actions, not masked patches from
visible ones; squared error instead of smoothed L1; BatchNorm in the projector (and in the
convolutional encoder), whose running statistics each network keeps for itself instead of averaging
them; LeWM's optimizer with a constant weight decay.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.interfaces import Batch, Obs, Shape
from harness.nn import moving_average, spread
from harness.nn.jepa import JEPA, JEPAConfig
from harness.setting import setting


@dataclass(frozen=True)
class EMAJEPAConfig(JEPAConfig):
    """Momentum of the target network at the start and at the end of training."""

    momentum_start: float = setting(
        0.996, "Share of itself that the target keeps in the first step.", ge=0, le=1, paper=0.996
    )
    momentum_end: float = setting(
        1.0, "Share of itself that the target keeps in the last step.", ge=0, le=1, paper=1.0
    )


class EMAJEPA(JEPA):
    """LeWM's architecture, its collapse prevented by a target network alone."""

    def __init__(self, config: EMAJEPAConfig, shape: Shape):
        super().__init__(config, shape)
        self.momentum = (config.momentum_start, config.momentum_end)
        self.target_encoder = moving_average.frozen_copy(self.encoder)
        self.target_projector = moving_average.frozen_copy(self.projector)

    def encode(self, obs: Obs) -> Tensor:
        """(B, T, D) of the target network; every frame on its own."""
        features = self.target_encoder(obs.pixels.flatten(0, 1))
        return self.target_projector(features.unflatten(0, obs.pixels.shape[:2]))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Prediction error against the target network, teacher forced over the window."""
        z = super().encode(batch.obs.frames(slice(None, -1)))  # (B, T - 1, D), online
        with torch.no_grad():
            target = self.encode(batch.obs.frames(slice(1, None)))  # (B, T - 1, D)
        predicted = self.predict(z, batch.actions[:, :-1])
        prediction = F.mse_loss(predicted.float(), target.float())
        spread_out = spread.latent_std(target)  # of the latents that planning compares
        return {"loss": prediction, "pred": prediction, "latent_std": spread_out}

    def after_step(self, done: float) -> None:
        """Move the target network towards the online one."""
        start, end = self.momentum
        rate = 1 - (start + (end - start) * done)
        moving_average.follow(self.target_encoder, self.encoder, rate)
        moving_average.follow(self.target_projector, self.projector, rate)
