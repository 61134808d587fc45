"""The joint-embedding world model that LeWM, PLDM and the EMA JEPA share; they differ in their
losses alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from harness.interfaces import Obs, Shape
from harness.nn import encoders, mlp, transformer
from harness.setting import Settings, setting


@dataclass(frozen=True)
class JEPAConfig(Settings):
    """Architecture of LeWM section 3 (the paper's sizes are the defaults)."""

    encoder: encoders.EncoderConfig = field(default_factory=encoders.EncoderConfig)
    latent_dim: int = setting(192, "Width of a latent.", ge=1, paper=192)
    projector_hidden: int = setting(
        2048, "Hidden units of the projectors behind encoder and predictor.", ge=1, paper=2048
    )
    predictor_width: int = setting(192, "Width of the predictor's tokens.", ge=1, paper=192)
    predictor_depth: int = setting(6, "Layers of the predictor.", ge=1, paper=6)
    predictor_heads: int = setting(16, "Attention heads of the predictor.", ge=1, paper=16)
    predictor_head_width: int = setting(64, "Width of one of these heads.", ge=1, paper=64)
    predictor_hidden: int = setting(
        2048, "Hidden units between two layers of attention.", ge=1, paper=2048
    )
    dropout: float = setting(0.1, "Dropout in the predictor.", ge=0, lt=1, paper=0.1)
    history: int = setting(3, "Frames that the predictor looks back on.", ge=1, paper=3)


class JEPA(nn.Module):
    """Encoder, action embedder and causal predictor over latents (interfaces.WorldModel without a
    loss).
    """

    goal_sampling = None  # it plans towards goals and learns without

    def __init__(self, config: JEPAConfig, shape: Shape):
        super().__init__()
        latent, hidden = config.latent_dim, config.projector_hidden
        self.history = config.history
        self.encoder = encoders.build(config.encoder, shape.image_size)
        self.projector = mlp.Projector(self.encoder.width, hidden, latent)
        self.action_embedder = mlp.ActionEmbedder(shape.action_dim, latent)
        self.predictor = transformer.ConditionedTransformer(
            latent=latent,
            width=config.predictor_width,
            frames=config.history,
            depth=config.predictor_depth,
            heads=config.predictor_heads,
            head_width=config.predictor_head_width,
            hidden=config.predictor_hidden,
            dropout=config.dropout,
        )
        self.predictor_projector = mlp.Projector(latent, hidden, latent)

    @property
    def window_frames(self) -> int:
        """Frames of a training window: the history and the last target."""
        return self.history + 1

    @property
    def tokens_per_frame(self) -> int:
        """Latent tokens that planning carries for each frame."""
        return 1

    def encode(self, obs: Obs) -> Tensor:
        """(B, T, D); every frame on its own."""
        features = self.encoder(obs.pixels.flatten(0, 1))
        return self.projector(features.unflatten(0, obs.pixels.shape[:2]))

    def predict(self, z: Tensor, actions: Tensor) -> Tensor:
        """Latents z (B, T, D) and the blocks taken there (B, T, A) to the next latents (B, T, D), T
        <= history.
        """
        modulations = self.predictor.modulations(self.action_embedder(actions))
        return self.predictor_projector(self.predictor(z, modulations))

    def rollout(self, z: Tensor, past: Tensor, plan: Tensor) -> Tensor:
        """interfaces.WorldModel.rollout: autoregressive, over at most `history` latents, (N, K, D).

        Equal to repeated `predict` with its last output appended; what actions do to the predictor
        is worked out once for all blocks, keys and values are kept while the history grows, and
        only the last position of the last layer is computed.
        """
        assert past.shape[1] == z.shape[1] - 1, (past.shape, z.shape)
        embedded = self.action_embedder(torch.cat([past, plan], dim=1))  # (N, H - 1 + K, D)
        modulations = self.predictor.modulations(embedded)

        def step(seen: Tensor, frames: slice, kept: list[list[Tensor]] | None) -> Tensor:
            own = [modulation[:, frames] for modulation in modulations]
            return self.predictor_projector(self.predictor(seen, own, last=True, kept=kept))[:, 0]

        layers = len(modulations)
        return transformer.autoregressive(step, z, plan.shape[1], self.history, layers)

    def rollout_bytes(self, blocks: int) -> tuple[int, int]:
        """interfaces.WorldModel.rollout_bytes; latents are small beside the rest."""
        own = self.predictor
        kept = self.history * own.kept + blocks * own.modulated
        return 4 * self.history * own.widest, 4 * kept

    def after_step(self, step: int, steps: int) -> None:
        """No target network."""
