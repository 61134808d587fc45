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
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.contracts.data import Batch, Obs
from harness.contracts.method import WorldModel
from harness.contracts.setting import setting
from harness.contracts.task import ModelDims
from harness.nn.cached_rollout import CachedRollout, LayerCache, derived
from harness.nn.dropout import Dropout
from harness.nn.frozen import FrozenConfig, FrozenEncoder
from harness.nn.rollout import autoregressive
from harness.nn.straightness import diagnostics
from harness.nn.transformer import FeedForward, attend


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
    def tokens_per_frame(self) -> int:  # type: ignore[override] # nobody sets it
        """P, the latent tokens that planning carries for each frame."""
        return self.frozen.tokens

    def encode(self, obs: Obs) -> Tensor:
        """(B, T, P, C); every frame on its own."""
        return self.frozen.read(obs)

    def predict(self, z: Tensor, actions: Tensor) -> Tensor:
        """Latents z (B, T, P, D) and the blocks taken there (B, T, A) to the next latents (B, T, P,
        D), T <= history.
        """
        repeated = self.action_embedder(actions)[:, :, None].expand(-1, -1, z.shape[2], -1)
        tokens = torch.cat([self.to_predictor(z), repeated], dim=-1)  # (B, T, P, D + 10)
        return self.from_predictor(self.predictor(tokens)[..., : z.shape[-1]])

    def to_predictor(self, z: Tensor) -> Tensor:
        """Latents (..., D) in the predictor's units."""
        return z

    def from_predictor(self, z: Tensor) -> Tensor:
        """The inverse of to_predictor."""
        return z

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
        loss: Any = sum(terms.values())  # not 0: there is at least one
        return {"loss": loss, **terms, **diagnostics(z)}

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

    def to_predictor(self, z: Tensor) -> Tensor:
        """The predictor works on the proprio without its scale."""
        return z / self._scales(z)

    def from_predictor(self, z: Tensor) -> Tensor:
        """The inverse of to_predictor."""
        return z * self._scales(z)

    def _scales(self, z: Tensor) -> Tensor:
        scales = z.new_ones(z.shape[-1])
        scales[self.frozen.width :] = self.scale
        return scales


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

    def forward(self, x: Tensor) -> Tensor:
        """x (B, T, P, width) -> the same, T <= frames."""
        frames, tokens = x.shape[1:3]
        x = x.flatten(1, 2)
        x = x + self.positions[:, : x.shape[1]]
        frame = torch.arange(frames, device=x.device).repeat_interleave(tokens)
        visible = frame[:, None] >= frame if frames > 1 else None  # (T P, T P) bool
        for block in self.blocks:
            x = block(x, visible)
        return self.norm(x).unflatten(1, (-1, tokens))


class FrameCausalBlock(nn.Module):
    """Attention and MLP."""

    def __init__(self, width: int, heads: int, head_width: int, hidden: int, dropout: float):
        super().__init__()
        inner = heads * head_width
        self.heads, self.dropout = heads, dropout
        self.norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, inner, bias=False)
        self.key_value = nn.Linear(width, 2 * inner, bias=False)
        self.out = nn.Sequential(nn.Linear(inner, width), Dropout(dropout))
        self.mlp = FeedForward(width, hidden, dropout)

    def forward(self, x: Tensor, visible: Tensor | None) -> Tensor:
        """x (B, M, width) -> the same. visible (M, M) bool says which tokens each one sees, None
        that it sees all.
        """
        normed = self.norm(x)
        q = self.query(normed).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = self.key_value(normed).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = attend(q, k, v, visible, self.dropout if self.training else 0.0)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.mlp(x)


class DinoWMRollout(CachedRollout):
    """The predictor for the last frame alone. A frame's tokens see those of its own and of earlier
    frames: each frame is attended by itself, and nothing is masked.
    """

    @torch.no_grad()
    def __init__(self, model: DinoWM):
        super().__init__(model.history)
        self._model = [model]  # its weights are not the rollout's own
        self._embedder, self._norm = model.action_embedder, model.predictor.norm
        self._blocks = nn.ModuleList(
            FastBlock(block)  # type: ignore[arg-type] # a ModuleList forgets the class
            for block in model.predictor.blocks
        )
        positions = model.predictor.positions.detach()[0]
        self._positions = nn.Buffer(positions.unflatten(0, (-1, model.frozen.tokens)))

    def conditions(self, actions: Tensor) -> list[Tensor]:
        """Embedded blocks of actions."""
        return [self._embedder(actions)]

    def inputs(self, z: Tensor) -> Tensor:
        """Latents as the predictor's tokens."""
        return self._model[0].to_predictor(z)

    def caches(self) -> list[LayerCache]:
        """Keys and values of each layer together."""
        return [LayerCache(dim=1) for _ in self._blocks]

    def next_latent(
        self,
        inputs: Sequence[Tensor],
        conditions: list[Tensor],
        first: int,
        caches: list[LayerCache] | None,
    ) -> Tensor:
        """The latent that follows the last of the frames."""
        tokens, width = inputs[0].shape[1:]
        frames = [
            torch.cat([z, action[:, None].expand(-1, tokens, -1)], dim=-1)
            for z, action in zip(inputs, conditions[0], strict=True)
        ]
        x = torch.stack(frames, dim=1) + self._positions[first : first + len(frames)]
        for i, block in enumerate(self._blocks):
            outputs = 1 if i == len(self._blocks) - 1 else len(frames)
            x = block(x, outputs, None if caches is None else caches[i])
        return self._model[0].from_predictor(self._norm(x[:, -1])[..., :width])


class FastBlock(nn.Module):
    """FrameCausalBlock for the last frames; the attention's scale is in the queries' weights."""

    def __init__(self, plain: FrameCausalBlock):
        super().__init__()
        self.heads, self.norm, self.out = plain.heads, plain.norm, plain.out[0]
        self.mlp_norm, self.up, _, _, self.down, _ = plain.mlp
        query = plain.query.weight * (len(plain.query.weight) // plain.heads) ** -0.5
        self.query, self.key_value = derived(plain.query, query, None), plain.key_value
        joint = torch.cat([query, plain.key_value.weight])
        self.query_key_value = derived(plain.query, joint, None)

    def forward(self, x: Tensor, outputs: int, cache: LayerCache | None) -> Tensor:
        """x (N, T, P, width) -> (N, outputs, P, width), the last ones."""
        normed, tokens = self.norm(x).flatten(1, 2), x.shape[2]
        x = x[:, -outputs:].flatten(1, 2)
        if x.shape[1] == normed.shape[1]:
            joint, inner = self.query_key_value(normed), self.query.out_features
            q, kv = joint[..., :inner], joint[..., inner:]
        else:
            q, kv = self.query(normed[:, -x.shape[1] :]), self.key_value(normed)
        if cache is not None:
            kv = cache.extended(kv)
        mixed = [
            self._attend(own, kv[:, : kv.shape[1] - (outputs - 1 - i) * tokens])
            for i, own in enumerate(q.split(tokens, dim=1))
        ]
        x = self.out(mixed[0] if outputs == 1 else torch.cat(mixed, dim=1)).add_(x)
        hidden = torch.ops.aten.gelu_(self.up(self.mlp_norm(x)))
        return self.down(hidden).add_(x).unflatten(1, (outputs, tokens))

    def _attend(self, q: Tensor, kv: Tensor) -> Tensor:
        """Every token of q (N, P, inner) to all of kv (N, S, 2 inner) -> (N, P, inner)."""
        q = q.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = kv.unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v, scale=1.0).transpose(1, 2).flatten(2)
