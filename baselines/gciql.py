"""GCIQL: goal-conditioned implicit Q-learning, and a policy weighted by the advantage.

    V(s, g)     expectile regression towards Q'(s, a, g), Q' a target network
    Q(s, a, g)  regression towards r + discount * V(s', g)
    policy      regression of actions, weighted by exp(inverse_temperature * (Q(s, a, g) - V(s, g)))

Source: OGBench (arXiv 2410.20092, impls/agents/gciql.py): one V, two Q heads of which the smaller
counts, its shares of goals; of its two policies the advantage-weighted one, as in the LeWM paper
(OGBench's default is DDPG with behavioural cloning). Departures from the source: those of
baselines/gcivl.py, and Q reads the z-scored actions of a block of 5 steps.
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
class GCIQLConfig(ImplicitConfig):
    """The fields of ImplicitConfig."""


class GCIQL(ImplicitQBase):
    """A value head V(s, g), two critic heads Q(s, a, g), and the critic's target."""

    def __init__(self, config: GCIQLConfig, dims: ModelDims):
        super().__init__(config, dims)
        width = 2 * self.value_encoder.width
        self.value = ValueHeads(1, width, config)
        self.critic = ValueHeads(2, width + dims.block_dim, config)
        self.target_critic = moving_average.frozen_copy(self.critic)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Value, critic and policy loss, summed; "mse" is the policy's error without weights."""
        assert batch.goals is not None and batch.goals.reached is not None
        inputs, actions = self.transition_inputs(batch), batch.actions[:, 0]
        z = self.features(inputs)
        values = self.value(z.now, z.value_goal)[0]  # (B,)
        q = self.critic(z.now, z.value_goal, actions)  # (2, B)
        with torch.no_grad():
            after = self.value(z.after, z.value_goal)[0]
        error = self._target(inputs, actions) - values
        value = expectile_loss(error, error, self.config.expectile)
        critic = critic_loss(q, after, batch.goals.reached, self.config.discount)
        policy, mse = self.policy_loss(inputs, actions, self._advantage(z, actions))
        terms = {"value": value, "critic": critic, "policy": policy, "mse": mse}
        return {"loss": value + critic + policy, **terms, "value_mean": values.mean()}

    @torch.no_grad()
    def _target(self, inputs: Tensor, actions: Tensor) -> Tensor:
        """The target network's Q (B,) of the recorded actions."""
        now, _, goal = self.target_features(inputs)
        return self.target_critic(now, goal, actions).amin(0)

    @torch.no_grad()
    def _advantage(self, z: Features, actions: Tensor) -> Tensor:
        """The advantage Q - V (B,) of the recorded actions, towards the policy's goal."""
        q = self.critic(z.now, z.policy_goal, actions).amin(0)
        return q - self.value(z.now, z.policy_goal)[0]

    def after_step(self, step: int, steps: int) -> None:
        """Move the target network towards the trained one."""
        super().after_step(step, steps)
        moving_average.follow(self.target_critic, self.critic, self.config.target_rate)


def critic_loss(q: Tensor, after: Tensor, reached: Tensor, discount: float) -> Tensor:
    """Squared error of both heads' q (2, B) against the reward plus the discounted value `after`
    (B,) of the next frame, summed over heads; scalar.
    """
    return (q - returns(after, reached, discount)).pow(2).mean(1).sum()
