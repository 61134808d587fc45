"""What the goal-conditioned baselines share: a frame encoder, and a policy head on its features of
the frame seen and the frame wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from harness.interfaces import GoalConfig, GoalSampling, Obs, Shape
from harness.nn import encoders

_LAST_LAYER_GAIN = 1e-2  # of the policy at the start (OGBench, impls/utils/networks.py, GCActor)


@dataclass(frozen=True)
class GoalConditionedConfig:
    """Encoder and heads; the heads are OGBench's (impls/agents/gcbc.py)."""

    encoder: encoders.EncoderConfig = field(default_factory=encoders.EncoderConfig)
    hidden: int = 512
    layers: int = 3
    discount: float = 0.95  # per block of 5 steps; OGBench's 0.99 a step is 0.951 a block
    policy_goals: GoalConfig = field(default_factory=GoalConfig)

    def __post_init__(self):
        if not 0 <= self.discount < 1:
            raise ValueError(f"discount={self.discount} must be at least 0 and below 1")


class GoalConditioned(nn.Module):
    """interfaces.GoalPolicy without a loss."""

    window_frames = 1
    tokens_per_frame = 1

    def __init__(self, config: GoalConditionedConfig, shape: Shape):
        super().__init__()
        self.goal_sampling = GoalSampling(config.policy_goals, discount=config.discount)
        self.frames = FrameEncoder(config.encoder, shape)
        self.policy = head(2 * self.frames.width, config, shape.action_dim, nn.Identity)
        with torch.no_grad():
            self.policy[-1].weight.mul_(_LAST_LAYER_GAIN)

    def encode(self, obs: Obs) -> Tensor:
        """(B, T, D); every frame on its own."""
        return self.frames(obs)

    def act(self, obs: Obs, goal: Obs) -> Tensor:
        """interfaces.GoalPolicy.act."""
        z = self.encode(side_by_side(obs.frames(slice(-1, None)), goal))  # (B, 2, D)
        return self.policy(z.flatten(1)).float()

    def after_step(self, done: float) -> None:
        """No target network."""


class FrameEncoder(nn.Module):
    """What these methods see of a frame: the features of an encoder that is trained with them."""

    def __init__(self, config: encoders.EncoderConfig, shape: Shape):
        super().__init__()
        self.encoder = encoders.build(config, shape.image_size)
        self.width = self.encoder.width

    def forward(self, obs: Obs) -> Tensor:
        """(B, T, width)."""
        return self.encoder(obs.pixels.flatten(0, 1)).unflatten(0, obs.pixels.shape[:2])


def head(
    width_in: int,
    config: GoalConditionedConfig,
    width_out: int,
    norm: Callable[[int], nn.Module],
) -> nn.Sequential:
    """(B, width_in) -> (B, width_out): hidden layers of Linear, GELU and `norm`, then Linear."""
    layers: list[nn.Module] = []
    for _ in range(config.layers):
        layers += [nn.Linear(width_in, config.hidden), nn.GELU(), norm(config.hidden)]
        width_in = config.hidden
    return nn.Sequential(*layers, nn.Linear(width_in, width_out))


def side_by_side(*parts: Obs) -> Obs:
    """The frames of several observations as one, (B, T1 + T2 + ..., ...).

    Encoded together, equal frames have equal features even where BatchNorm looks at the batch.
    """
    fields = zip(*parts, strict=True)
    return Obs(*(None if field[0] is None else torch.cat(field, dim=1) for field in fields))
