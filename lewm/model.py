"""LeWorldModel (arXiv 2603.19312), in the order of the paper's method section.

1. An encoder maps each frame to one latent token, z_t = enc(o_t): a ViT's CLS token through a
   BatchNorm projector.
2. A causal predictor maps the last latents and action blocks to the next latent,
   z^_{t+1} = pred(z_{<=t}, a_{<=t}).
3. Two losses and nothing else, no stop-gradient, no target network:
   the prediction error, and SIGReg, which keeps the latents of a batch isotropic Gaussian.
4. Planning: roll the predictor out over candidate plans and compare the last latent with that of
the goal
   (harness/planning/cost.py, cem.py, mpc.py).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from harness.interfaces import Batch, Shape
from harness.nn import spread
from harness.nn.jepa import JEPA, JEPAConfig
from harness.setting import setting
from lewm.sigreg import sigreg


@dataclass(frozen=True)
class LeWMConfig(JEPAConfig):
    """Defaults are the paper's; the released code has sigreg_weight 0.09.

    The statistic is multiplied by the number of windows in the batch, 128 in the paper: with 64, a
    weight of 0.2 weighs as much as the paper's 0.1 (weight x windows / 128).
    """

    sigreg_weight: float = setting(
        0.1,
        "Weight of SIGReg (lambda) beside the prediction error.",
        ge=0,
        paper="0.1; released code: 0.09",
    )
    sigreg_directions: int = setting(
        1024,
        "Random directions on which SIGReg looks at the latents, fresh ones each step.",
        ge=1,
        paper=1024,
    )


@dataclass(frozen=True)
class CollapsedConfig(LeWMConfig):
    """LeWM without SIGReg: a control in which nothing keeps the latents from collapsing."""

    sigreg_weight: float = setting(
        0.0, "Weight of SIGReg: none, so that nothing keeps latents apart.", ge=0
    )


class LeWM(JEPA):
    """Encoder and predictor (1 and 2 above) are harness/nn/jepa.py; this is the objective."""

    def __init__(self, config: LeWMConfig, shape: Shape):
        super().__init__(config, shape)
        self.sigreg_weight = config.sigreg_weight
        self.sigreg_directions = config.sigreg_directions

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Prediction error plus weighted SIGReg (LeWM eq. 4), teacher forced over the window."""
        z = self.encode(batch.obs)  # (B, T, D)
        predicted = self.predict(z[:, :-1], batch.actions[:, :-1])  # (B, T - 1, D)
        prediction = F.mse_loss(predicted.float(), z[:, 1:].float())
        regulariser = sigreg(z, self.sigreg_directions)
        return {
            "loss": prediction + self.sigreg_weight * regulariser,
            "pred": prediction,
            "sigreg": regulariser,
            "latent_std": spread.latent_std(z),
        }
