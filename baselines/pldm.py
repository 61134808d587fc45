"""PLDM: joint-embedding prediction kept from collapse by variance and covariance terms.

The loss is the prediction error plus six weighted terms over the latents of a window: variance and
covariance over the batch, the same over time, smoothness in time, and inverse dynamics (vcreg.py).

Source: `vladisai/PLDM`; the weights are the grid-searched ones of the LeWM paper's comparison, the
same for all tasks. Departures from the source: encoder, transformer predictor and planner are
LeWM's, as in that comparison (there, they are convolutional), one-step teacher forcing over the
window instead of an unrolled prediction loss.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from baselines import vcreg
from harness.contracts.data import Batch
from harness.contracts.setting import setting
from harness.contracts.task import ModelDims
from harness.nn import inverse_dynamics
from harness.nn.jepa import JEPAConfig, JEPANetwork
from harness.nn.straightness import diagnostics


@dataclass(frozen=True)
class PLDMConfig(JEPAConfig):
    """Weights of the six terms beside the prediction error, whose weight is 1."""

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


class PLDM(JEPANetwork):
    """LeWM's network, and where `idm` has a weight a linear head: two latents to the block between
    them.
    """

    def __init__(self, config: PLDMConfig, dims: ModelDims):
        super().__init__(config, dims)
        self.weights = {
            "var": config.var,
            "cov": config.cov,
            "time_sim": config.time_sim,
            "time_var": config.time_var,
            "time_cov": config.time_cov,
            "idm": config.idm,
        }
        if config.idm > 0:
            self.inverse_dynamics = nn.Linear(2 * config.latent_dim, dims.block_dim)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Prediction error plus the weighted terms; each is logged by its name."""
        z = self.encode(batch.obs)  # (B, T, D)
        predicted = self.predict(z[:, :-1], batch.actions[:, :-1])
        terms = {"pred": F.mse_loss(predicted.float(), z[:, 1:].float())}
        terms |= self.terms(z.float(), batch.actions)
        total = terms["pred"] + sum(self.weights[name] * terms[name] for name in self.weights)
        return {"loss": total, **terms, **diagnostics(z)}

    def terms(self, z: Tensor, actions: Tensor) -> dict[str, Tensor]:
        """The six terms beside the prediction error, unweighted: z (B, T, D), actions (B, T, A)."""
        over_batch = z.transpose(0, 1)  # (T, B, D)
        return {
            "var": vcreg.variance(over_batch),
            "cov": vcreg.covariance(over_batch),
            "time_sim": vcreg.similarity(z),
            "time_var": vcreg.variance(z),
            "time_cov": vcreg.covariance(z),
            "idm": self._inverse_dynamics_error(z, actions),
        }

    def _inverse_dynamics_error(self, z: Tensor, actions: Tensor) -> Tensor:
        if self.weights["idm"] == 0:
            return z.new_zeros(())
        return inverse_dynamics.block_error(self.inverse_dynamics, z, actions)
