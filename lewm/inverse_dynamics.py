"""LeWM with a third term, inverse dynamics: a head decodes the block of actions from two
consecutive latents, so that the latents keep what the actions move.

Inverse dynamics are a term of PLDM's and SMWM's losses too; this combination with LeWM's loss has
no number in harness/report/papers.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from harness.contracts.data import Batch
from harness.contracts.setting import setting
from harness.contracts.task import ModelDims
from harness.nn import inverse_dynamics
from lewm.model import LeWM, LeWMConfig


@dataclass(frozen=True)
class LeWMInverseDynamicsConfig(LeWMConfig):
    """LeWM's settings, and those of the third term."""

    idm_weight: float = setting(
        0.1, "Weight of inverse dynamics beside the prediction error.", ge=0
    )
    idm_hidden: int = setting(
        256, "Units of each of the two hidden layers that decode the block.", ge=1
    )


class LeWMInverseDynamics(LeWM):
    """LeWM's network, and a head: two consecutive latents to the block between them."""

    def __init__(self, config: LeWMInverseDynamicsConfig, dims: ModelDims):
        super().__init__(config, dims)
        self.idm_weight = config.idm_weight
        self.inverse_dynamics = inverse_dynamics.mlp_head(
            config.latent_dim, config.idm_hidden, dims.block_dim
        )

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """LeWM's loss plus weighted inverse dynamics."""
        z = self.encode(batch.obs)  # (B, T, D)
        terms = self.objective(z, batch)
        idm = inverse_dynamics.block_error(self.inverse_dynamics, z, batch.actions)
        return terms | {"loss": terms["loss"] + self.idm_weight * idm, "idm": idm}
