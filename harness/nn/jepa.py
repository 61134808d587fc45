"""The network that LeWM, SMWM, PLDM and the EMA JEPA share: its parts, and their fast rollout.

What a method computes with the parts stands in its own file: lewm/model.py,
lewm/inverse_dynamics.py, baselines/smwm.py, baselines/pldm.py, baselines/ema_jepa.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from harness.contracts.data import Obs
from harness.contracts.method import MethodConfig, WorldModel
from harness.contracts.setting import setting
from harness.contracts.task import ModelDims
from harness.nn import conditioned_rollout, encoders, mlp, transformer
from harness.nn.cached_rollout import CachedRollout, LayerCache
from harness.nn.rollout import autoregressive


@dataclass(frozen=True)
class JEPAConfig(MethodConfig):
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
    residual: bool = setting(
        False,
        "Predict how the latent changes, and add that to it, instead of the next latent.",
        paper=False,
    )

    def misfit(self, image_size: int) -> str:
        """Whether the encoder's patches divide the picture (MethodConfig.misfit)."""
        reason = self.encoder.misfit(image_size)
        return f"encoder.{reason}" if reason and "encoder" not in self.unread else ""


class LatentPredictor(WorldModel):
    """The three parts behind a latent, by the names that checkpoints have, and what LeWM predicts
    with them; planning uses `fast_rollout`.
    """

    action_embedder: mlp.ActionEmbedder  # blocks of actions (B, T, A) -> conditions (B, T, D)
    predictor: transformer.ConditionedTransformer  # latents, conditions -> (B, T, D)
    predictor_projector: mlp.Projector  # (B, T, D) -> next latents (B, T, D)

    def __init__(self, config: JEPAConfig):
        super().__init__()
        self.history, self.residual = config.history, config.residual

    def predict(self, z: Tensor, actions: Tensor) -> Tensor:
        """Latents z (B, T, D) and the blocks taken there (B, T, A) to the next ones (B, T, D)."""
        return self.following(z, self.predictor(z, self.action_embedder(actions)))

    def rollout(self, z: Tensor, past: Tensor, plan: Tensor) -> Tensor:
        """contracts.WorldModel.rollout, (N, K, D)."""
        return autoregressive(self.predict, self.history, z, past, plan)

    def following(self, z: Tensor, predicted: Tensor) -> Tensor:
        """The latents after z (B, T, D), from the predictor's outputs there (B, T, D)."""
        return self.moved(z, self.predictor_projector(predicted))

    def moved(self, z: Tensor, projected: Tensor) -> Tensor:
        """The same from outputs of the projector."""
        return z + projected if self.residual else projected

    def add_predictor(self, config: JEPAConfig, dims: ModelDims) -> None:
        """Build the parts; initial weights depend on what was built before."""
        latent, hidden = config.latent_dim, config.projector_hidden
        self.action_embedder = mlp.ActionEmbedder(dims.block_dim, latent)
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

    def fast_rollout(self) -> CachedRollout:
        """The method's `rollout` with less work. It uses the parts above: a method whose `predict`
        does something else with them must override this too (return self.rollout).
        """
        return JEPARollout(self)

    def rollout_bytes(self, blocks: int) -> tuple[int, int]:
        """contracts.WorldModel.rollout_bytes; the latents themselves are small beside the rest."""
        own = self.predictor
        cached = self.history * own.cached_floats + blocks * own.modulation_floats
        return 4 * self.history * own.working_floats, 4 * cached


class JEPANetwork(LatentPredictor):
    """All five parts; a method adds its loss. lewm/model.py says again what is computed, in the
    order of the paper.
    """

    encoder: encoders.Encoder  # pixels (M, 3, size, size) -> features (M, width)
    projector: mlp.Projector  # features (B, T, width) -> latents (B, T, D)

    def __init__(self, config: JEPAConfig, dims: ModelDims):
        super().__init__(config)
        self.encoder = encoders.build(config.encoder, dims.image_size)
        self.projector = mlp.Projector(
            self.encoder.width, config.projector_hidden, config.latent_dim
        )
        self.add_predictor(config, dims)

    def encode(self, obs: Obs) -> Tensor:
        """(B, T, D); every frame on its own."""
        assert obs.pixels is not None
        features = self.encoder(obs.pixels.flatten(0, 1))
        return self.projector(features.unflatten(0, obs.pixels.shape[:2]))


class JEPARollout(CachedRollout):
    """Each block of actions modulates every layer of the predictor; the modulations of all blocks
    are computed at once.
    """

    @torch.no_grad()
    def __init__(self, network: LatentPredictor):
        super().__init__(network.history)
        self._moved = network.moved
        self._embedder = conditioned_rollout.FastActionEmbedder(network.action_embedder)
        self._predictor = conditioned_rollout.FastTransformer(network.predictor)
        self._projector = conditioned_rollout.FastProjector(network.predictor_projector)

    def conditions(self, actions: Tensor) -> list[Tensor]:
        """The modulations of every layer."""
        return self._predictor.modulations(self._embedder(actions))

    def inputs(self, z: Tensor) -> Tensor:
        """Latents at the predictor's width."""
        return self._predictor.project_in(z)

    def following(self, z: Tensor, predicted: Tensor) -> Tensor:
        """The latent after z, from the projector's output."""
        return self._moved(z, predicted)

    def caches(self) -> list[LayerCache]:
        """Keys and values of each layer."""
        return [LayerCache(dim=0) for _ in range(2 * len(self._predictor.blocks))]

    def next_latent(
        self,
        inputs: Sequence[Tensor],
        conditions: list[Tensor],
        first: int,
        caches: list[LayerCache] | None,
    ) -> Tensor:
        """The projector's output (N, D) at the last position."""
        x = torch.stack(tuple(inputs))
        return self._projector(self._predictor.last(x, conditions, first, caches))
