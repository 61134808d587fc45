"""A method in a file of its own: LeWM's network under a loss of one's own.

    ./run.sh suite=quick methods=lewm,examples/my_method.py,random method.my_method.weight=0.2

The file is all that there is to write: it trains, plans, is probed and stands in every table and
figure, and its text is part of its trials' hashes, so that a changed file is run again.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from harness.contracts.data import Batch
from harness.contracts.method import Method
from harness.contracts.setting import setting
from harness.contracts.task import ModelDims
from harness.nn.jepa import JEPAConfig, JEPANetwork
from harness.nn.straightness import diagnostics


@dataclass(frozen=True)
class MyConfig(JEPAConfig):
    """The architecture, with the sizes of every scale, and a weight."""

    weight: float = setting(0.1, "Weight of my term beside the prediction error.", ge=0)


class MyMethod(JEPANetwork):
    """LeWM's five parts, encode, predict and rollout, which may be overridden."""

    def __init__(self, config: MyConfig, dims: ModelDims):
        super().__init__(config, dims)
        self.weight = config.weight

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        z = self.encode(batch.obs)
        error = F.mse_loss(self.predict(z[:, :-1], batch.actions[:, :-1]), z[:, 1:])
        return {
            "loss": error + self.weight * z.mean() ** 2,
            "pred": error,
            **diagnostics(z),
        }


METHOD = Method("My method", MyConfig, MyMethod, trained=True, about="An example from outside.")
