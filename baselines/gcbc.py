"""GCBC: goal-conditioned behavioural cloning, regression of the recorded block of actions on the
frame and a goal that was reached later; goals are later frames of the same episode, uniformly.

Source: OGBench (arXiv 2410.20092, impls/agents/gcbc.py). Departures from the source: one action is
a block of 5 steps and goals are whole blocks away; squared error, which is its log-likelihood at a
fixed std up to a constant; frame and goal pass the same encoder one at a time and their features
are joined (there, pictures are stacked before the encoder); no random crops. Departures from the
LeWM paper's GCBC: baselines/goal_conditioned.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from baselines.goal_conditioned import GoalConditioned, GoalConditionedConfig
from harness.contracts.data import Batch


@dataclass(frozen=True)
class GCBCConfig(GoalConditionedConfig):
    """The discount counts where policy_goals.distances is "geometric"."""


class GCBC(GoalConditioned):
    """Encoder and policy head, trained to give the recorded actions."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Mean squared error of the first block, z-scored."""
        assert batch.goals is not None
        actions = self.act(batch.obs.frames(slice(0, 1)), batch.goals.policy)
        return {"loss": F.mse_loss(actions, batch.actions[:, 0])}
