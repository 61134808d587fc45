"""GCIQL: goal-conditioned implicit Q-learning, and a policy weighted by the advantage.

    V(s, g)     expectile regression towards Q'(s, a, g), Q' a target network
    Q(s, a, g)  regression towards r + discount * V(s', g)
    policy      regression of actions, weighted by exp(inverse_temperature * (Q(s, a, g) - V(s, g)))

Source: OGBench (arXiv 2410.20092, impls/agents/gciql.py): one V, two Q heads of which the smaller
counts, its shares of goals; of its two policies the advantage-weighted one, as in the LeWM paper
(OGBench's default is DDPG with behavioural cloning). Deviations: those of baselines/gcivl.py, and Q
reads the z-scored actions of a block of 5 steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.implicit import Features, Implicit, ImplicitConfig, Values, expectile_loss, returns
from harness.interfaces import Batch, Shape
from harness.nn import moving_average


@dataclass(frozen=True)
class GCIQLConfig(ImplicitConfig):
    """Nothing of its own."""


class GCIQL(Implicit):
    """Values of (frame, goal) and of (frame, goal, action)."""

    def __init__(self, config: GCIQLConfig, shape: Shape):
        super().__init__(config, shape)
        width = 2 * self.value_frames.width
        self.value = Values(1, width, config)
        self.critic = Values(2, width + shape.action_dim, config)
        self.target_critic = moving_average.frozen_copy(self.critic)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Value, critic and policy loss, summed; "mse" is the policy's error without weights."""
        seen, actions = self.seen(batch), batch.actions[:, 0]
        z = self.features(seen)
        values = self.value(z.now, z.value_goal)[0]  # (B,)
        judged = self.critic(z.now, z.value_goal, actions)  # (2, B)
        with torch.no_grad():
            after = self.value(z.after, z.value_goal)[0]
        better = self._target(seen, actions) - values
        value = expectile_loss(better, better, self.config.expectile)
        critic = critic_loss(judged, after, batch.goals.reached, self.config.discount)
        policy, mse = self.policy_loss(seen, actions, self._advantage(z, actions))
        terms = {"value": value, "critic": critic, "policy": policy, "mse": mse}
        return {"loss": value + critic + policy, **terms, "value_mean": values.mean()}

    @torch.no_grad()
    def _target(self, seen: Tensor, actions: Tensor) -> Tensor:
        """The target network's Q (B,) of what was done."""
        now, _, goal = self.target_features(seen)
        return self.target_critic(now, goal, actions).amin(0)

    @torch.no_grad()
    def _advantage(self, z: Features, actions: Tensor) -> Tensor:
        """What the actions gain towards the policy's goal, (B,)."""
        judged = self.critic(z.now, z.policy_goal, actions).amin(0)
        return judged - self.value(z.now, z.policy_goal)[0]

    def after_step(self, step: int, steps: int) -> None:
        """Move the target network towards the trained one."""
        super().after_step(step, steps)
        moving_average.follow(self.target_critic, self.critic, self.config.target_rate)


def critic_loss(judged: Tensor, after: Tensor, reached: Tensor, discount: float) -> Tensor:
    """Squared error of both heads (2, B) against reward and value `after` (B,), summed over heads;
    scalar.
    """
    return (judged - returns(after, reached, discount)).pow(2).mean(1).sum()
