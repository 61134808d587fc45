"""What GCIVL and GCIQL share: implicit learning of goal-conditioned values (IQL, arXiv 2110.06169)
in OGBench's form (arXiv 2410.20092, impls/agents), and a policy by advantage-weighted regression.

The reward is -1 a block until the goal is reached, where the episode ends: the value of a goal k
blocks away is -(1 - discount^k) / (1 - discount).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from baselines.goal_conditioned import GoalConditioned, GoalConditionedConfig, each, head
from harness.interfaces import Batch, GoalConfig, GoalSampling, Shape
from harness.nn import moving_average
from harness.setting import setting

MAX_WEIGHT = 100.0  # of a sample in the policy's regression


def _value_goals() -> GoalConfig:
    return GoalConfig(current=0.2, future=0.5, random=0.3, distances="geometric")


@dataclass(frozen=True)
class ImplicitConfig(GoalConditionedConfig):
    """OGBench's values, but for the inverse temperature, which is the LeWM paper's (OGBench has 10
    for GCIVL, the paper's code 10 for GCIQL). What the policy's goals are and where the sources
    differ: baselines/goal_conditioned.py.
    """

    value_goals: GoalConfig = field(default_factory=_value_goals)
    expectile: float = setting(0.9, "Expectile of the values (tau).", gt=0, lt=1, paper=0.9)
    inverse_temperature: float = setting(
        3.0,
        "How strongly the policy prefers actions with an advantage; 0: not at all.",
        ge=0,
        paper=3.0,
    )
    target_rate: float = setting(
        0.005, "Share of the online network in an update of the target.", gt=0, le=1, paper=0.005
    )


class Features(NamedTuple):
    """Features (B, D) of a transition and of its goals."""

    now: Tensor
    after: Tensor
    policy_goal: Tensor
    value_goal: Tensor


class Implicit(GoalConditioned):
    """The policy with its frame encoder, another one for the values and its target; the heads that
    estimate values are added by the methods, each with its own target.
    """

    window_frames = 2  # a transition

    def __init__(self, config: ImplicitConfig, shape: Shape):
        super().__init__(config, shape)
        self.goal_sampling = GoalSampling(config.policy_goals, config.value_goals, config.discount)
        self.config = config
        self.value_frames = self.frame_encoder(config, shape)
        self.target_frames = moving_average.frozen_copy(self.value_frames)

    @property
    def clipped_apart(self) -> tuple[nn.Module, ...]:
        """The policy. Clipped together with the larger gradients of the values it may learn nothing
        for a whole training. (The LeWM paper's code trains it after the values, OGBench does not
        clip.)
        """
        return self.frames, self.policy

    def seen(self, batch: Batch) -> Tensor:
        """What encoders read (B, 4, ...): frame, next frame, the policy's and the value's goal."""
        return self.inputs(batch.obs, batch.goals.policy, batch.goals.value)

    def features(self, seen: Tensor) -> Features:
        """Of the values' trained encoder, all frames together."""
        return Features(*each(self.value_frames, seen).unbind(1))

    def target_features(self, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of the target encoder: frame, next frame and value goal, (B, D) each."""
        return each(self.target_frames, seen[:, [0, 1, 3]]).unbind(1)

    def policy_loss(
        self, seen: Tensor, actions: Tensor, advantage: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Squared errors weighted by exp(inverse_temperature * advantage), and plain; scalars."""
        error = (self.actions(seen[:, [0, 2]]) - actions).pow(2).mean(-1)  # (B,)
        weight = (self.config.inverse_temperature * advantage).exp().clamp(max=MAX_WEIGHT)
        return (weight.detach() * error).mean(), error.mean()

    def after_step(self, step: int, steps: int) -> None:
        """Move the target encoder towards the trained one."""
        moving_average.follow(self.target_frames, self.value_frames, self.config.target_rate)


class Values(nn.ModuleList):
    """Independent scalar estimates of the same thing."""

    def __init__(self, count: int, width_in: int, config: ImplicitConfig):
        super().__init__(head(width_in, config, 1, nn.LayerNorm) for _ in range(count))

    def forward(self, *parts: Tensor) -> Tensor:
        """(B, D), (B, D'), ... side by side -> (count, B)."""
        joined = torch.cat(parts, dim=-1)
        return torch.stack([one(joined)[:, 0].float() for one in self])


def returns(after: Tensor, reached: Tensor, discount: float) -> Tensor:
    """Reward and discounted value `after` (..., B) of the next frame; 0 where `reached` (B,)."""
    return torch.where(reached, 0.0, -1 + discount * after)


def expectile_loss(error: Tensor, advantage: Tensor, expectile: float) -> Tensor:
    """Mean squared error, weighted by `expectile` where the advantage is not negative and by its
    complement elsewhere (IQL eq. 5); scalar.
    """
    weight = torch.where(advantage >= 0, expectile, 1 - expectile)
    return (weight * error.pow(2)).mean()
