"""The part that GCIVL and GCIQL share: implicit learning of goal-conditioned values (IQL, arXiv
2110.06169) in OGBench's form (arXiv 2410.20092, impls/agents), and a policy by advantage-weighted
regression.

The reward is -1 a block until the goal is reached, where the episode ends: the value of a goal k
blocks away is -(1 - discount^k) / (1 - discount).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from baselines.goal_conditioned import GoalConditioned, GoalConditionedConfig, each_frame, head
from harness.contracts.data import Batch, GoalConfig, GoalSampling
from harness.contracts.setting import setting
from harness.contracts.task import ModelDims
from harness.nn import moving_average

MAX_WEIGHT = 100.0  # largest weight of a sample in the policy's regression


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


class ImplicitQBase(GoalConditioned):
    """The policy with its encoder, another encoder for the values and its target; the methods add
    the heads that estimate values, each with its own target.
    """

    window_frames = 2  # a transition

    def __init__(self, config: ImplicitConfig, dims: ModelDims):
        super().__init__(config, dims)
        self.goal_sampling = GoalSampling(config.policy_goals, config.value_goals, config.discount)
        self.config = config
        self.value_encoder = self.new_encoder(config, dims)
        self.target_encoder = moving_average.frozen_copy(self.value_encoder)

    @property
    def separate_clip_groups(self) -> tuple[tuple[nn.Module, ...], ...]:
        """The policy. If its gradients were clipped together with the larger ones of the values, it
        could learn nothing for a whole training. (The LeWM paper's code trains the policy after the
        values, and OGBench does not clip.)
        """
        return ((self.encoder, self.policy),)

    def transition_inputs(self, batch: Batch) -> Tensor:
        """Inputs of the encoders (B, 4, ...): frame, next frame, policy goal, value goal."""
        assert batch.goals is not None and batch.goals.value is not None
        return self.inputs(batch.obs, batch.goals.policy, batch.goals.value)

    def features(self, inputs: Tensor) -> Features:
        """Features of all four frames by the values' trained encoder, encoded together."""
        return Features(*each_frame(self.value_encoder, inputs).unbind(1))

    def target_features(self, inputs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features of frame, next frame and value goal by the target encoder, (B, D) each."""
        needed = torch.cat([inputs[:, :2], inputs[:, 3:]], dim=1)  # an index takes 20 times as long
        now, after, goal = each_frame(self.target_encoder, needed).unbind(1)
        return now, after, goal

    def policy_loss(
        self, inputs: Tensor, actions: Tensor, advantage: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Squared errors weighted by exp(inverse_temperature * advantage), and plain; scalars."""
        frame_and_goal = inputs[:, :3:2]
        error = (self.actions(frame_and_goal) - actions).pow(2).mean(-1)  # (B,)
        weight = (self.config.inverse_temperature * advantage).exp().clamp(max=MAX_WEIGHT)
        return (weight.detach() * error).mean(), error.mean()

    def after_step(self, step: int, steps: int) -> None:
        """Move the target encoder towards the trained one."""
        moving_average.follow(self.target_encoder, self.value_encoder, self.config.target_rate)


class ValueHeads(nn.ModuleList):
    """Heads that estimate the same scalar, independently of each other."""

    def __init__(self, count: int, width_in: int, config: ImplicitConfig):
        super().__init__(head(width_in, config, 1, nn.LayerNorm) for _ in range(count))

    def forward(self, *parts: Tensor) -> Tensor:
        """(B, D), (B, D'), ..., joined to one input -> (count, B)."""
        joined = torch.cat(parts, dim=-1)
        return torch.stack([estimate(joined)[:, 0].float() for estimate in self])


def returns(after: Tensor, reached: Tensor, discount: float) -> Tensor:
    """The reward plus the discounted value `after` (..., B) of the next frame; 0 where
    `reached`.
    """
    return torch.where(reached, 0.0, -1 + discount * after)


def expectile_loss(error: Tensor, advantage: Tensor, expectile: float) -> Tensor:
    """Mean squared error, weighted by `expectile` where the advantage is not negative and by its
    complement elsewhere (IQL eq. 5); scalar.
    """
    weight = torch.where(advantage >= 0, expectile, 1 - expectile)
    return (weight * error.pow(2)).mean()
