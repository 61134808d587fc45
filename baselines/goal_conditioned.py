"""The network that the goal-conditioned baselines share: an encoder of the present frame and of the
goal frame, and a policy head on their features. `inputs` says where the features come from:

    pixels   an encoder that is trained with the method, of LeWM's kinds
    tokens   a transformer that is trained, over the patch tokens of a frozen encoder
             (harness/nn/frozen.py), as in the LeWM paper

The goals that the policy is trained on are `policy_goals`. By default all are later frames of the
same episode, uniformly, as in OGBench (impls/agents, actor_p_trajgoal=1) and as the LeWM paper's
code has it for GCBC. That code (stable-worldmodel, scripts/train/config/gcivl.yaml, gciql.yaml)
draws half of GCIVL's and GCIQL's from the whole data set instead: `scale=paper` does the same, and
policy_goals.future=0.5 with policy_goals.random=0.5 does it at any scale. Goals of the values are
0.2 current, 0.5 future, 0.3 random in all three.

Source: the heads are OGBench's (arXiv 2410.20092), `tokens` is the input of the LeWM paper's
baselines (stable-worldmodel, wm/gcrl). Departures of `tokens` from that source: each transformer
reads a frame on its own and the heads join frame and goal (there, the observation attends to the
goal in it); the pooled token passes BatchNorm; 6 heads of 64 (there 16); no history of three
frames, no dropout, no proprio.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import torch
from torch import Tensor, nn

from harness.contracts.data import GoalConfig, GoalSampling, Obs
from harness.contracts.method import GoalPolicy
from harness.contracts.setting import Settings, setting
from harness.contracts.task import ModelDims
from harness.nn import encoders
from harness.nn.frozen import FrozenConfig, FrozenEncoder

_LAST_LAYER_GAIN = 1e-2  # of the policy at the start (OGBench, impls/utils/networks.py, GCActor)
_QUERY_STD = 0.02  # at the start; positions have 1 (stable-worldmodel, wm/gcrl.py)


@dataclass(frozen=True)
class TokenPoolerConfig(Settings):
    """The transformer over a frame's tokens, as wide as they are."""

    depth: int = setting(6, "Layers of the transformer over the tokens.", ge=1, paper=6)
    heads: int = setting(6, "Attention heads; they divide the tokens' width.", ge=1, paper=16)
    hidden: int = setting(2048, "Hidden units between two layers of attention.", ge=1, paper=2048)


@dataclass(frozen=True)
class GoalConditionedConfig(FrozenConfig):
    """Inputs and heads; the heads are OGBench's (impls/agents/gcbc.py). `encoder` is that of
    inputs=pixels, `reader` and the fields of FrozenConfig are those of inputs=tokens.
    """

    inputs: Literal["pixels", "tokens"] = setting(
        "pixels",
        "What the method reads: pixels by an encoder of its own, or a frozen encoder's tokens.",
        paper="tokens",
    )
    encoder: encoders.EncoderConfig = field(default_factory=encoders.EncoderConfig)
    reader: TokenPoolerConfig = field(default_factory=TokenPoolerConfig)
    hidden: int = setting(512, "Hidden units of a layer of the heads.", ge=1, paper=512)
    layers: int = setting(3, "Hidden layers of the heads.", ge=1, paper=3)
    discount: float = setting(
        0.95,
        "Discount of a block of 5 steps.",
        ge=0,
        lt=1,
        paper="0.99 a step, which is 0.951 a block",
    )
    policy_goals: GoalConfig = field(default_factory=GoalConfig)

    @property
    def uses_frozen_encoder(self) -> bool:
        """Whether tokens are read."""
        return self.inputs == "tokens"

    @property
    def unread(self) -> tuple[str, ...]:
        """Fields that decide nothing with these inputs."""
        if self.uses_frozen_encoder:
            return ("encoder",)
        return ("inputs", "reader", *(f.name for f in fields(FrozenConfig)))

    def misfit(self, image_size: int) -> str:
        """Whether the patches of the encoder that is read divide the picture."""
        if self.uses_frozen_encoder:
            return super().misfit(image_size)
        reason = self.encoder.misfit(image_size)
        return f"encoder.{reason}" if reason else ""

    def unavailable_reason(self, key: str) -> str:
        """FrozenConfig.unavailable_reason, and that there are other inputs."""
        reason = super().unavailable_reason(key)
        instead = f"{key}.inputs=pixels, an encoder that is trained with the method"
        return f"{reason}; or give {instead}" if reason else ""


class GoalConditioned(GoalPolicy):
    """An encoder of frames and goals, and a policy head on both; the methods add losses.

    frozen   the frozen encoder of inputs=tokens, None with inputs=pixels
    encoder  pixels or frozen tokens of a frame to its features (M, D)
    policy   features of frame and goal to a block of actions
    """

    window_frames = 1

    def __init__(self, config: GoalConditionedConfig, dims: ModelDims):
        super().__init__()
        self.goal_sampling = GoalSampling(config.policy_goals, discount=config.discount)
        self.frozen = FrozenEncoder(config, dims.image_size) if config.uses_frozen_encoder else None
        self.encoder = self.new_encoder(config, dims)
        self.policy = head(2 * self.encoder.width, config, dims.block_dim, nn.Identity)
        with torch.no_grad():
            last: Any = self.policy[-1]
            last.weight.mul_(_LAST_LAYER_GAIN)

    def new_encoder(
        self, config: GoalConditionedConfig, dims: ModelDims
    ) -> encoders.Encoder | TokenPooler:
        """An untrained encoder of pixels or of frozen tokens."""
        if self.frozen is None:
            return encoders.build(config.encoder, dims.image_size)
        return TokenPooler(config.reader, self.frozen.tokens, self.frozen.width)

    @property
    def frozen_encoder(self) -> FrozenEncoder | None:
        """contracts.LatentModel.frozen_encoder."""
        return self.frozen

    @property
    def tokens_per_frame(self) -> int:  # type: ignore[override] # nobody sets it
        """Tokens that `encoder` reads of a frame; a picture counts as one."""
        return 1 if self.frozen is None else self.frozen.tokens

    def inputs(self, *parts: Obs) -> Tensor:
        """The pixels or frozen tokens of several observations, joined to one of (B, T1 + T2 + ...,
        ...), for `encoder`.

        Encoded together, equal frames have equal features even where BatchNorm looks at the batch.
        """
        return torch.cat([self._read(obs) for obs in parts], dim=1)

    def _read(self, obs: Obs) -> Tensor:
        if self.frozen is not None:
            return self.frozen.read(obs)
        assert obs.pixels is not None
        return obs.pixels

    def encode(self, obs: Obs) -> Tensor:
        """(B, T, D); every frame on its own."""
        return each_frame(self.encoder, self.inputs(obs))

    def act(self, obs: Obs, goal: Obs) -> Tensor:
        """contracts.GoalPolicy.act."""
        return self.actions(self.inputs(obs.frames(slice(-1, None)), goal))

    def actions(self, inputs: Tensor) -> Tensor:
        """Actions (B, A), z-scored, from inputs (B, 2, ...): the frame and the goal."""
        return self.policy(each_frame(self.encoder, inputs).flatten(1)).float()


class TokenPooler(nn.Module):
    """Pools a frame's tokens to one feature: a transformer over them and one more, learned token,
    whose output is the feature.

    The feature is z-scored over the batch, since a large part of a token is the same in all frames.
    """

    def __init__(self, config: TokenPoolerConfig, tokens: int, width: int):
        super().__init__()
        if width % config.heads:
            raise ValueError(
                f"reader.heads={config.heads} does not divide the tokens' width of {width}: "
                f"give another reader.heads"
            )
        self.width = width
        self.positions = nn.Parameter(torch.randn(1, tokens, width))
        self.query = nn.Parameter(_QUERY_STD * torch.randn(1, 1, width))
        self.blocks = nn.Sequential(
            *(
                nn.TransformerEncoderLayer(
                    width,
                    config.heads,
                    config.hidden,
                    dropout=0.0,
                    activation="gelu",
                    batch_first=True,
                    norm_first=True,
                )
                for _ in range(config.depth)
            )
        )
        self.norm = nn.Sequential(nn.LayerNorm(width), nn.BatchNorm1d(width))

    def forward(self, tokens: Tensor) -> Tensor:
        """(M, P, C) -> (M, C)."""
        query = self.query.expand(len(tokens), -1, -1)
        x = self.blocks(torch.cat([query, tokens + self.positions], dim=1))
        return self.norm(x[:, 0])


def each_frame(encoder: nn.Module, inputs: Tensor) -> Tensor:
    """Encode each frame of the inputs (B, T, ...) to features (B, T, D)."""
    return encoder(inputs.flatten(0, 1)).unflatten(0, inputs.shape[:2])


def head(
    width_in: int,
    config: GoalConditionedConfig,
    width_out: int,
    norm: Callable[[int], nn.Module],
) -> nn.Sequential:
    """A head (B, width_in) -> (B, width_out): layers of Linear, GELU and `norm`, then a Linear."""
    layers: list[nn.Module] = []
    for _ in range(config.layers):
        layers += [nn.Linear(width_in, config.hidden), nn.GELU(), norm(config.hidden)]
        width_in = config.hidden
    return nn.Sequential(*layers, nn.Linear(width_in, width_out))
