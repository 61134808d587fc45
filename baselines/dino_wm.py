"""DINO-WM: dynamics over the patch tokens of a frozen encoder (Zhou et al. 2024).

1. A frozen encoder (harness/nn/frozen.py) maps each frame to P patch tokens.
2. A transformer over the tokens of the last three frames predicts the next frame's; a token sees
   those of its own and of earlier frames. The block of actions, embedded to 10 dimensions, is
   concatenated to every token of its frame; "DINO-WM + proprio" does the same with proprio.
3. The loss is the squared error of the tokens (and of the embedded proprio), teacher forced.
4. Planning compares the last predicted tokens (and proprio) with the goal's.

Deviations from gaoyuezhou/dino_wm: no picture decoder; frames keep their size up to the nearest
multiple of the patch (theirs are first shrunk to 14/16 of it: 196 tokens at 224 px, here 256); the
pixels-only method has no proprio at all; action, proprio and predictor share one optimizer with
warm-up and cosine (theirs two AdamW without a schedule); loss and planning cost weigh the parts
alike (their loss is a mean over all dimensions together, and their planning cost a mean of each
part, with a weight of its own for proprio); gradients are clipped. With standardize=true (the
laptop's autoencoder) tokens are standardized first, FrozenEncoder.fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.interfaces import Batch, Obs, Shape
from harness.nn import spread
from harness.nn.frozen import FrozenConfig, FrozenEncoder
from harness.nn.transformer import FeedForward, autoregressive
from harness.setting import setting


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


class DinoWM(nn.Module):
    """Pixels only (interfaces.WorldModel): z (B, T, P, C) is what the encoder gives."""

    extra = 0  # features of a latent token beside the encoder's

    goal_sampling = None

    def __init__(self, config: DinoWMConfig, shape: Shape):
        super().__init__()
        self.history = config.history
        self.frozen = FrozenEncoder(config, shape.image_size)
        self.action_embedder = nn.Linear(shape.action_dim, config.action_width)
        self.predictor = FrameCausalTransformer(
            width=self.frozen.width + self.extra + config.action_width,
            frames=config.history,
            tokens=self.frozen.tokens,
            depth=config.predictor_depth,
            heads=config.predictor_heads,
            head_width=config.predictor_head_width,
            hidden=config.predictor_hidden,
            dropout=config.dropout,
        )

    @property
    def window_frames(self) -> int:
        """Frames of a training window: the history and the last target."""
        return self.history + 1

    @property
    def tokens_per_frame(self) -> int:
        """Latent tokens that planning carries for each frame."""
        return self.frozen.tokens

    def encode(self, obs: Obs) -> Tensor:
        """(B, T, P, C); every frame on its own."""
        return self.frozen.read(obs)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Error of the next frame's tokens, teacher forced over the window."""
        z = self.encode(batch.obs)
        predicted = self.predict(z[:, :-1], batch.actions[:, :-1]).float()
        squared = (predicted - z[:, 1:].detach()).pow(2)
        width = self.frozen.width
        terms = {"visual": squared[..., :width].mean()}
        if self.extra:
            terms["proprio"] = squared[..., width:].sum(-1).mean() / width  # its weight is in z
        return {"loss": sum(terms.values()), **terms, "latent_std": spread.latent_std(z)}

    def predict(self, z: Tensor, actions: Tensor) -> Tensor:
        """Latents z (B, T, P, D) and the blocks taken there (B, T, A) to the next latents (B, T, P,
        D), T <= history.
        """
        return self._next(z, self.action_embedder(actions))

    def rollout(self, z: Tensor, past: Tensor, plan: Tensor) -> Tensor:
        """interfaces.WorldModel.rollout: autoregressive, over at most `history` frames, (N, K, P,
        D). Equal to repeated `predict` with its last output appended; keys and values are kept
        while the history grows.
        """
        assert past.shape[1] == z.shape[1] - 1, (past.shape, z.shape)
        embedded = self.action_embedder(torch.cat([past, plan], dim=1))  # (N, H - 1 + K, 10)

        def step(seen: Tensor, frames: slice, kept: list[list[Tensor]] | None) -> Tensor:
            return self._next(seen, embedded[:, frames], True, kept)[:, 0]

        layers = len(self.predictor.blocks)
        return autoregressive(step, z, plan.shape[1], self.history, layers)

    def rollout_bytes(self, blocks: int) -> tuple[int, int]:
        """interfaces.WorldModel.rollout_bytes."""
        own, each = self.predictor, 4 * self.frozen.tokens
        kept = self.history * own.kept + blocks * own.width
        return each * self.history * own.widest, each * kept

    def after_step(self, step: int, steps: int) -> None:
        """No target network."""

    def _next(
        self,
        z: Tensor,
        actions: Tensor,
        last: bool = False,
        kept: list[list[Tensor]] | None = None,
    ) -> Tensor:
        """Next latents (B, T, P, D), or (B, 1, P, D) after the last frame alone; actions (B, T,
        10); `kept` as in FrameCausalTransformer.
        """
        repeated = actions[:, :, None].expand(-1, -1, z.shape[2], -1)
        return self.predictor(torch.cat([z, repeated], dim=-1), last, kept)[..., : z.shape[-1]]


class DinoWMProprio(DinoWM):
    """z (B, T, P, C + 10): every token of a frame carries the frame's embedded proprio after its
    own features, scaled so that squared distances over z weigh the means of the two parts
    1 : proprio_weight.

    An observation without proprio counts as one whose proprio is the mean.
    """

    def __init__(self, config: DinoWMConfig, shape: Shape):
        if not shape.proprio_dim:
            raise ValueError("this task has no proprio: use the method dino_wm")
        self.extra = config.proprio_width
        super().__init__(config, shape)
        self.proprio_embedder = nn.Linear(shape.proprio_dim, config.proprio_width)
        self.scale = math.sqrt(config.proprio_weight * self.frozen.width / config.proprio_width)

    def encode(self, obs: Obs) -> Tensor:
        """(B, T, P, C + 10)."""
        tokens = super().encode(obs)
        seen = obs.proprio
        if seen is None:
            seen = tokens.new_zeros(*tokens.shape[:2], self.proprio_embedder.in_features)
        embedded = self.scale * self.proprio_embedder(seen).float()
        return torch.cat([tokens, embedded[:, :, None].expand(-1, -1, tokens.shape[2], -1)], dim=-1)

    def _next(self, z: Tensor, *how) -> Tensor:
        parts = z.new_ones(z.shape[-1])
        parts[self.frozen.width :] = self.scale
        return super()._next(z / parts, *how) * parts


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
        # floats of a token: at most in a block; keys and values of all blocks
        self.widest = 3 * width + 4 * heads * head_width + 2 * hidden
        self.kept = 2 * depth * heads * head_width
        self.positions = nn.Parameter(torch.randn(1, frames * tokens, width))
        self.blocks = nn.ModuleList(
            FrameCausalBlock(width, heads, head_width, hidden, dropout) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)

    def forward(
        self, x: Tensor, last: bool = False, kept: list[list[Tensor]] | None = None
    ) -> Tensor:
        """x (B, T, P, width) -> the same, or (B, 1, P, width) for the last frame alone.

        With `kept`, an empty list for each block at first, x are the frames after those of the
        calls before; all together at most `frames`.
        """
        frames, tokens = x.shape[1:3]
        kept = kept or [None] * len(self.blocks)
        past = kept[0][0].shape[1] if kept[0] else 0
        x = x.flatten(1, 2)
        x = x + self.positions[:, past : past + x.shape[1]]
        frame = torch.arange(past // tokens + frames, device=x.device).repeat_interleave(tokens)
        seen = frame[past:, None] >= frame if frames > 1 else None  # (T P, past + T P) bool
        for block, memory in zip(self.blocks, kept, strict=True):
            only = last and block is self.blocks[-1]  # the last frame sees everything
            x = block(x, *((None, tokens) if only else (seen, frames * tokens)), memory)
        return self.norm(x).unflatten(1, (-1, tokens))


class FrameCausalBlock(nn.Module):
    """Attention and MLP; the outputs are those of the last `wanted` tokens."""

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
        self, x: Tensor, seen: Tensor | None, wanted: int, kept: list[Tensor] | None = None
    ) -> Tensor:
        """x (B, M, width), seen (wanted, M) bool -> (B, wanted, width); with `kept`, the keys and
        values of earlier tokens, those are seen too, and these are kept with them.
        """
        normed, x = self.norm(x), x[:, -wanted:]
        q = self.query(normed[:, -wanted:]).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        kv = self.key_value(normed)
        if kept is not None:
            kv = torch.cat([*kept, kv], dim=1)
            kept[:] = [kv]
        k, v = kv.unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, dropout_p=dropout)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.mlp(x)
