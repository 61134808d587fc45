"""DINO-WM: dynamics over the patch tokens of a frozen encoder (Zhou et al. 2024).

1. A frozen encoder (harness/nn/frozen.py) maps each frame to P patch tokens.
2. A transformer over the tokens of the last three frames predicts the next frame's; a token sees
   those of its own and of earlier frames. The block of actions, embedded to 10 dimensions, is
   concatenated to every token of its frame; "DINO-WM + proprio" does the same with proprio.
3. The loss is the squared error of the tokens (and of the embedded proprio), teacher forced.
4. Planning compares the last predicted tokens (and proprio) with the goal's.

Source: gaoyuezhou/dino_wm. Departures from the source: no picture decoder; frames keep their size
up to the nearest multiple of the patch (theirs are first shrunk to 14/16 of it: 196 tokens at 224
px, here 256); the pixels-only method has no proprio at all; action, proprio and predictor share one
optimizer with warm-up and cosine (theirs two AdamW without a schedule); loss and planning cost
weigh the parts alike (their loss is a mean over all dimensions together, and their planning cost a
mean of each part, with a weight of its own for proprio); gradients are clipped. With
standardize=true (the laptop's autoencoder) tokens are standardized first, FrozenEncoder.fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.contracts.data import Batch, Obs
from harness.contracts.method import WorldModel
from harness.contracts.setting import setting
from harness.contracts.task import ModelDims
from harness.nn.cached_rollout import CachedRollout, KeyValueCache, LayerCache
from harness.nn.frozen import FrozenConfig, FrozenEncoder
from harness.nn.latent_std import latent_std
from harness.nn.rollout import autoregressive
from harness.nn.transformer import FeedForward


@dataclass(frozen=True)
class DinoWMConfig(FrozenConfig):
    """Defaults are the source's."""

    predictor_depth: int = setting(6, "Layers of the predictor.", ge=1, paper=6)
    predictor_heads: int = setting(16, "Attention heads of the predictor.", ge=1, paper=16)
    predictor_head_width: int = setting(64, "Width of one of these heads.", ge=1, paper=64)
    predictor_hidden: int = setting(
        2048, "Hidden units between two layers of attention.", ge=1, paper=2048
    )
    dropout: float = setting(0.1, "Dropout in the predictor.", ge=0, lt=1, paper=0.1)
    history: int = setting(3, "Frames that the predictor looks back on.", ge=1, paper=3)
    action_width: int = setting(10, "Width of an embedded block of actions.", ge=1, paper=10)
    proprio_width: int = setting(10, "Width of the embedded proprioception.", ge=1, paper=10)
    proprio_weight: float = setting(
        1.0, "Weight of proprioception's mean error beside that of the tokens.", ge=0
    )


class DinoWM(WorldModel):
    """Pixels only: z (B, T, P, C) is what the frozen encoder gives. `predictor` is a transformer
    over tokens that have the embedded action beside them.
    """

    proprio_width = 0  # features of a latent token beside the encoder's

    def __init__(self, config: DinoWMConfig, dims: ModelDims):
        super().__init__()
        self.history = config.history
        self.frozen = FrozenEncoder(config, dims.image_size)
        self.action_embedder = nn.Linear(dims.block_dim, config.action_width)
        self.predictor = FrameCausalTransformer(
            width=self.frozen.width + self.proprio_width + config.action_width,
            frames=config.history,
            tokens=self.frozen.tokens,
            depth=config.predictor_depth,
            heads=config.predictor_heads,
            head_width=config.predictor_head_width,
            hidden=config.predictor_hidden,
            dropout=config.dropout,
        )

    @property
    def frozen_encoder(self) -> FrozenEncoder:
        """contracts.LatentModel.frozen_encoder."""
        return self.frozen

    @property
    def tokens_per_frame(self) -> int:
        """P, the latent tokens that planning carries for each frame."""
        return self.frozen.tokens

    def encode(self, obs: Obs) -> Tensor:
        """(B, T, P, C); every frame on its own."""
        return self.frozen.read(obs)

    def predict(self, z: Tensor, actions: Tensor) -> Tensor:
        """Latents z (B, T, P, D) and the blocks taken there (B, T, A) to the next latents (B, T, P,
        D), T <= history.
        """
        return self.predict_embedded(z, self.action_embedder(actions))

    def predict_embedded(
        self,
        z: Tensor,
        actions: Tensor,
        last_only: bool = False,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """The same from embedded actions (B, T, 10); with last_only (B, 1, P, D), the latents after
        the last frame. With a cache, z are the frames after those that it has.
        """
        repeated = actions[:, :, None].expand(-1, -1, z.shape[2], -1)
        tokens = torch.cat([z, repeated], dim=-1)  # (B, T, P, D + 10)
        return self.predictor(tokens, last_only, cache)[..., : z.shape[-1]]

    def rollout(self, z: Tensor, past: Tensor, plan: Tensor) -> Tensor:
        """contracts.WorldModel.rollout, (N, K, P, D)."""
        return autoregressive(self.predict, self.history, z, past, plan)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Error of the next frame's tokens, teacher forced over the window."""
        z = self.encode(batch.obs)
        predicted = self.predict(z[:, :-1], batch.actions[:, :-1]).float()
        squared = (predicted - z[:, 1:].detach()).pow(2)
        width = self.frozen.width
        terms = {"visual": squared[..., :width].mean()}
        if self.proprio_width:
            terms["proprio"] = squared[..., width:].sum(-1).mean() / width  # its weight is in z
        return {"loss": sum(terms.values()), **terms, "latent_std": latent_std(z)}

    def fast_rollout(self) -> CachedRollout:
        """The same as `rollout` with less work."""
        return DinoWMRollout(self)

    def rollout_bytes(self, blocks: int) -> tuple[int, int]:
        """contracts.WorldModel.rollout_bytes."""
        own, token_bytes = self.predictor, 4 * self.frozen.tokens
        cached = self.history * own.cached_floats + blocks * own.width
        return token_bytes * self.history * own.working_floats, token_bytes * cached


class DinoWMProprio(DinoWM):
    """z (B, T, P, C + 10): every token of a frame carries the frame's embedded proprio after its
    own features, scaled so that squared distances over z weigh the means of the two parts
    1 : proprio_weight.

    An observation without proprio counts as one whose proprio is the mean.
    """

    def __init__(self, config: DinoWMConfig, dims: ModelDims):
        if not dims.proprio_dim:
            raise ValueError("this task has no proprio: use the method dino_wm")
        self.proprio_width = config.proprio_width
        super().__init__(config, dims)
        self.proprio_embedder = nn.Linear(dims.proprio_dim, config.proprio_width)
        self.scale = math.sqrt(config.proprio_weight * self.frozen.width / config.proprio_width)

    def encode(self, obs: Obs) -> Tensor:
        """(B, T, P, C + 10)."""
        tokens = super().encode(obs)
        proprio = obs.proprio
        if proprio is None:
            proprio = tokens.new_zeros(*tokens.shape[:2], self.proprio_embedder.in_features)
        embedded = self.scale * self.proprio_embedder(proprio).float()
        return torch.cat([tokens, embedded[:, :, None].expand(-1, -1, tokens.shape[2], -1)], dim=-1)

    def predict_embedded(
        self,
        z: Tensor,
        actions: Tensor,
        last_only: bool = False,
        cache: KeyValueCache | None = None,
    ) -> Tensor:
        """The predictor works on the proprio without its scale."""
        scales = z.new_ones(z.shape[-1])
        scales[self.frozen.width :] = self.scale
        return super().predict_embedded(z / scales, actions, last_only, cache) * scales


class DinoWMRollout(CachedRollout):
    """The actions of all blocks are embedded at once."""

    def __init__(self, model: DinoWM):
        super().__init__(model.history, layers=len(model.predictor.blocks))
        self._model = model

    def conditions(self, actions: Tensor) -> list[Tensor]:
        return [self._model.action_embedder(actions)]

    def next_latent(
        self, z: Tensor, conditions: list[Tensor], cache: KeyValueCache | None
    ) -> Tensor:
        return self._model.predict_embedded(z, conditions[0], last_only=True, cache=cache)[:, 0]


class FrameCausalTransformer(nn.Module):
    """Pre-norm stack over the tokens of at most `frames` frames, learned positions."""

    def __init__(
        self,
        width: int,
        frames: int,
        tokens: int,
        depth: int,
        heads: int,
        head_width: int,
        hidden: int,
        dropout: float,
    ):
        super().__init__()
        self.width = width
        # memory of one token in floats, for rollout_bytes: the most that a block works on at a
        # time; the keys and values of all blocks
        self.working_floats = 3 * width + 4 * heads * head_width + 2 * hidden
        self.cached_floats = 2 * depth * heads * head_width
        self.positions = nn.Parameter(torch.randn(1, frames * tokens, width))
        self.blocks = nn.ModuleList(
            FrameCausalBlock(width, heads, head_width, hidden, dropout) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(
        self, x: Tensor, last_only: bool = False, cache: KeyValueCache | None = None
    ) -> Tensor:
        """x (B, T, P, width) -> the same, or with last_only (B, 1, P, width), the last frame.

        With a cache, x are the frames after those that it has; `frames` bounds all of them.
        """
        frames, tokens = x.shape[1:3]
        first = cache.positions if cache else 0
        layers = cache.layers if cache else [None] * len(self.blocks)
        x = x.flatten(1, 2)
        x = x + self.positions[:, first : first + x.shape[1]]
        frame = torch.arange(first // tokens + frames, device=x.device).repeat_interleave(tokens)
        visible = frame[first:, None] >= frame if frames > 1 else None  # (T P, first + T P) bool
        for block, layer in zip(self.blocks, layers, strict=True):
            if last_only and block is self.blocks[-1]:  # the last frame sees all others
                x = block(x, None, tokens, layer)
            else:
                x = block(x, visible, frames * tokens, layer)
        return self.norm(x).unflatten(1, (-1, tokens))


class FrameCausalBlock(nn.Module):
    """Attention and MLP; the output is that of the last `outputs` tokens."""

    def __init__(self, width: int, heads: int, head_width: int, hidden: int, dropout: float):
        super().__init__()
        inner = heads * head_width
        self.heads, self.dropout = heads, dropout
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, inner, bias=False)
        self.key_value = nn.Linear(width, 2 * inner, bias=False)
        self.out = nn.Sequential(nn.Linear(inner, width), nn.Dropout(dropout))
        self.mlp = FeedForward(width, hidden, dropout)

    def forward(
        self, x: Tensor, visible: Tensor | None, outputs: int, cache: LayerCache | None = None
    ) -> Tensor:
        """x (B, M, width) -> (B, outputs, width). visible (outputs, M) bool says which tokens each
        output sees, None that it sees all; with a cache, M counts the tokens that it has as well.
        """
        normed, x = self.norm(x), x[:, -outputs:]
        q = self.query(normed[:, -outputs:]).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        kv = self.key_value(normed)
        if cache is not None:
            kv = cache.extended(kv)
        k, v = kv.unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=visible, dropout_p=dropout)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.mlp(x)
