"""GCIVL: goal-conditioned implicit value learning, and a policy weighted by the advantage.

    V(s, g)   expectile regression towards r + discount * V'(s', g), V' a target network
    policy    regression of actions, weighted by exp(inverse_temperature * (V(s', g) - V(s, g)))

Source: OGBench (arXiv 2410.20092, impls/agents/gcivl.py): two value heads, the target's smaller
value in the advantage that picks the side of the expectile, each head towards its own target;
its shares of goals. One summed loss and one optimizer, as there. Departures from the source:
- A step is a block of 5 steps: reward -1 and discount per block, goals whole blocks away.
- Each encoder, the values' and the policy's, reads frame and goal one at a time (there, pictures
  are stacked). Advantages are constants, so the policy trains nothing of the values.
- Gradients are clipped, the policy's and the values' each by themselves.
- Squared error for the policy, the log-likelihood at a fixed std up to constants; no random crops.
- BatchNorm: encoder and target encoder normalise by their own batches (nn/moving_average.py).
Departures from the LeWM paper's GCIVL: baselines/goal_conditioned.py, and OGBench's two heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.implicit import (
    Features,
    ImplicitConfig,
    ImplicitQBase,
    ValueHeads,
    expectile_loss,
    returns,
)
from harness.contracts.data import Batch
from harness.contracts.task import ModelDims
from harness.nn import moving_average


@dataclass(frozen=True)
class GCIVLConfig(ImplicitConfig):
    """The fields of ImplicitConfig."""


class GCIVL(ImplicitQBase):
    """Two value heads V(s, g) and their target."""

    def __init__(self, config: GCIVLConfig, dims: ModelDims):
        super().__init__(config, dims)
        self.value = ValueHeads(2, 2 * self.value_encoder.width, config)
        self.target_value = moving_average.frozen_copy(self.value)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Value loss plus policy loss; "mse" is the policy's error without weights."""
        assert batch.goals is not None and batch.goals.reached is not None
        inputs = self.transition_inputs(batch)
        z = self.features(inputs)
        now, after = self._targets(inputs)  # (2, B) each
        values = self.value(z.now, z.value_goal)  # (2, B)
        reached, discount = batch.goals.reached, self.config.discount
        value = value_loss(values, now, after, reached, discount, self.config.expectile)
        policy, mse = self.policy_loss(inputs, batch.actions[:, 0], self._advantage(z))
        terms = {"value": value, "policy": policy, "mse": mse, "value_mean": values.mean()}
        return {"loss": value + policy, **terms}

    @torch.no_grad()
    def _targets(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """The target network's values (2, B) of the transition's two frames."""
        now, after, goal = self.target_features(inputs)
        return self.target_value(now, goal), self.target_value(after, goal)

    @torch.no_grad()
    def _advantage(self, z: Features) -> Tensor:
        """The gain in value that the transition brings towards the policy's goal, (B,)."""
        gained = self.value(z.after, z.policy_goal) - self.value(z.now, z.policy_goal)
        return gained.mean(0)

    def after_step(self, step: int, steps: int) -> None:
        """Move the target network towards the trained one."""
        super().after_step(step, steps)
        moving_average.follow(self.target_value, self.value, self.config.target_rate)


def value_loss(
    values: Tensor,
    target_now: Tensor,
    target_after: Tensor,
    reached: Tensor,
    discount: float,
    expectile: float,
) -> Tensor:
    """Expectile regression of both heads' `values` (2, B) towards their own targets, summed.

    target_now and target_after (2, B) are the target network's values before and after the step;
    the smaller of the latter decides on which side of the expectile a sample lies.
    """
    advantage = returns(target_after.amin(0), reached, discount) - target_now.mean(0)  # (B,)
    error = returns(target_after, reached, discount) - values  # (2, B)
    return len(values) * expectile_loss(error, advantage, expectile)
