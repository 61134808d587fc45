"""PLDM: joint-embedding prediction kept from collapse by seven variance and covariance terms.

Encoder, predictor and planner are those of LeWM, as in the LeWM paper's comparison; the weights are
that paper's grid-searched ones, the same for all tasks. Deviations from `vladisai/PLDM`: the
encoder and the transformer predictor (theirs are convolutional), one-step teacher forcing over the
window instead of an unrolled prediction loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines import vcreg
from harness.interfaces import Batch, Shape
from harness.nn import spread
from harness.nn.jepa import JEPA, JEPAConfig
from harness.setting import setting


@dataclass(frozen=True)
class PLDMConfig(JEPAConfig):
    """Weights of the seven terms; the prediction error has weight 1."""

    var: float = setting(18.0, "Weight of the variance over the batch.", ge=0, paper=18)
    cov: float = setting(12.0, "Weight of the covariance over the batch.", ge=0, paper=12)
    time_sim: float = setting(
        0.2, "Weight of the difference of consecutive latents.", ge=0, paper=0.2
    )
    time_var: float = setting(0.7, "Weight of the variance over time.", ge=0, paper=0.7)
    time_cov: float = setting(0.0, "Weight of the covariance over time.", ge=0, paper=0)
    idm: float = setting(
        0.0,
        "Weight of inverse dynamics, the block between two consecutive latents.",
        ge=0,
        paper=0,
    )


class PLDM(JEPA):
    """LeWM's architecture under PLDM's objective."""

    def __init__(self, config: PLDMConfig, shape: Shape):
        super().__init__(config, shape)
        self.weights = {
            "var": config.var,
            "cov": config.cov,
            "time_sim": config.time_sim,
            "time_var": config.time_var,
            "time_cov": config.time_cov,
            "idm": config.idm,
        }
        if config.idm > 0:
            self.inverse_dynamics = nn.Linear(2 * config.latent_dim, shape.action_dim)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Prediction error plus the weighted terms; each is logged by its name."""
        z = self.encode(batch.obs)  # (B, T, D)
        predicted = self.predict(z[:, :-1], batch.actions[:, :-1])
        terms = {"pred": F.mse_loss(predicted.float(), z[:, 1:].float())}
        terms |= self.terms(z.float(), batch.actions)
        total = terms["pred"] + sum(self.weights[name] * terms[name] for name in self.weights)
        return {"loss": total, **terms, "latent_std": spread.latent_std(z)}

    def terms(self, z: Tensor, actions: Tensor) -> dict[str, Tensor]:
        """The six terms beside the prediction error, unweighted: z (B, T, D), actions (B, T, A)."""
        over_batch = z.transpose(0, 1)  # (T, B, D)
        return {
            "var": vcreg.variance(over_batch),
            "cov": vcreg.covariance(over_batch),
            "time_sim": vcreg.similarity(z),
            "time_var": vcreg.variance(z),
            "time_cov": vcreg.covariance(z),
            "idm": self._idm(z, actions),
        }

    def _idm(self, z: Tensor, actions: Tensor) -> Tensor:
        if self.weights["idm"] == 0:
            return z.new_zeros(())
        ends = torch.cat([z[:, :-1], z[:, 1:]], dim=-1)  # (B, T - 1, 2 D)
        return F.mse_loss(self.inverse_dynamics(ends), actions[:, :-1])
