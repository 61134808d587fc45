"""SMWM (sensorimotor world model): inverse dynamics keeps the latents from collapsing.

Two losses, both with gradients to the encoder from every latent, no stop-gradient and no target
network: the error of the predicted next latent, and lambda times the error of the block of actions
that a head decodes from two consecutive latents. Latents that were equal for all frames could not
tell which actions were taken. What the actions do not move need not be in the latent.

Source: arXiv 2606.20104 and its released code, `petr-ivashkov/sensorimotor-world-model`, which has
LeWM's network and planner, a predictor that sees one frame, and windows of two frames. Departures
from the source: optimizer and batch are the scale's, as for LeWM (released: learning rate 1e-4, 256
windows), and Reacher has the paper's lambda (the released training script has 5 there).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from harness.contracts.data import Batch
from harness.contracts.setting import setting
from harness.contracts.task import ModelDims
from harness.nn import inverse_dynamics
from harness.nn.jepa import JEPAConfig, JEPANetwork
from harness.nn.straightness import diagnostics


@dataclass(frozen=True)
class SMWMConfig(JEPAConfig):
    """`idm_hidden` and `history` are the released code's. The lambdas of the four tasks are in
    harness/experiment/scales.py (EVERY_SCALE).
    """

    idm_weight: float = setting(
        1.0,
        "Weight of inverse dynamics (lambda) beside the prediction error.",
        ge=0,
        paper="0.1 on Two-Room, 1 on Reacher, 30 on Push-T; released code: 1 on Cube",
    )
    idm_hidden: int = setting(
        256,
        "Units of each of the two hidden layers that decode the block.",
        ge=1,
        paper=256,
    )
    history: int = setting(1, "Frames that the predictor looks back on.", ge=1, paper=1)


class SMWM(JEPANetwork):
    """LeWM's network, and a head: two consecutive latents to the block between them."""

    def __init__(self, config: SMWMConfig, dims: ModelDims):
        super().__init__(config, dims)
        self.idm_weight = config.idm_weight
        self.inverse_dynamics = inverse_dynamics.mlp_head(
            config.latent_dim, config.idm_hidden, dims.block_dim
        )

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Prediction error plus weighted inverse dynamics, teacher forced over the window."""
        z = self.encode(batch.obs)  # (B, T, D)
        predicted = self.predict(z[:, :-1], batch.actions[:, :-1])
        prediction = F.mse_loss(predicted.float(), z[:, 1:].float())
        idm = inverse_dynamics.block_error(self.inverse_dynamics, z, batch.actions)
        return {
            "loss": prediction + self.idm_weight * idm,
            "pred": prediction,
            "idm": idm,
            **diagnostics(z),
        }
