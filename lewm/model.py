"""LeWorldModel (arXiv 2603.19312), in the order of the paper's method section.

1. An encoder maps each frame to one latent, z_t = enc(o_t).
2. A causal predictor maps the last latents and blocks of actions to the next latent,
   z^_{t+1} = pred(z_{<=t}, a_{<=t}).
3. Two losses and nothing else, no stop-gradient, no target network: the prediction error, and
   SIGReg, which keeps the latents of a batch isotropic Gaussian (lewm/sigreg.py).
4. Planning rolls the predictor out over candidate plans and compares the last latent with that of
   the goal (harness/planning/cost.py, cem.py, receding_horizon.py).

Shapes: B windows, T frames, D floats of a latent, A floats of a block of actions, H observed
frames, K blocks of a plan, N candidate plans.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from harness.contracts.data import Batch, Obs
from harness.contracts.setting import setting
from harness.contracts.task import ModelDims
from harness.nn.jepa import JEPAConfig, JEPANetwork
from harness.nn.picture_decoder import Decoder
from harness.nn.straightness import diagnostics
from lewm.sigreg import KNOTS, sigreg

_TRAINED = "trained"  # weights=trained: by the trial itself


@dataclass(frozen=True)
class LeWMConfig(JEPAConfig):
    """Defaults are the paper's; the released code has sigreg_weight 0.09.

    The architecture's fields are JEPAConfig's: a ViT-Tiny with patches of 14 px, latents of 192
    floats, projectors with 2048 hidden units, and a predictor of 6 layers, 16 heads of 64 and
    dropout 0.1 that sees 3 frames.

    The statistic is multiplied by the number of windows in the batch, 128 in the paper: with 64, a
    weight of 0.2 weighs as much as the paper's 0.1 (weight x windows / 128).
    """

    sigreg_weight: float = setting(
        0.1,
        "Weight of SIGReg (lambda) beside the prediction error.",
        ge=0,
        paper="0.1; released code: 0.09",
    )
    sigreg_directions: int = setting(
        1024,
        "Random directions on which SIGReg looks at the latents, fresh ones each step.",
        ge=1,
        paper=1024,
    )
    sigreg_knots: int = setting(
        KNOTS, "Knots of SIGReg's integral, evenly spaced on [0, 3].", ge=2, paper=17
    )
    decoder_weight: float = setting(
        0.0, "Weight of a decoder's picture error, 0: no decoder (LeWM table 7).", ge=0, paper=0
    )
    weights: str = setting(
        _TRAINED,
        "Weights: the trial's own, or those to evaluate instead of a training, whose sizes hold.",
        text="trained, released, hf:owner/name[@revision], or the path of a folder or of a file",
    )

    @property
    def unread(self) -> tuple[str, ...]:
        """The path of weights decides nothing beside what lies there, which is hashed."""
        return ("weights",)

    @property
    def given_weights(self) -> str:
        """Weights to evaluate instead of a training, or ""."""
        return "" if self.weights == _TRAINED else self.weights


@dataclass(frozen=True)
class CollapsedConfig(LeWMConfig):
    """LeWM without SIGReg: a control in which nothing keeps the latents from collapsing."""

    sigreg_weight: float = setting(
        0.0, "Weight of SIGReg: none, so that nothing keeps latents apart.", ge=0
    )


class LeWM(JEPANetwork):
    """The network has five parts:

    encoder              a ViT; its CLS token is the feature of a frame
    projector            Linear, BatchNorm, GELU, Linear: the feature to the latent
    action_embedder      1x1 convolution to 10 channels, then an MLP: a block of actions to D
    predictor            a transformer over at most `history` latents, causal, learned positions;
                         the embedded actions shift, scale and gate each layer (AdaLN-zero)
    predictor_projector  like projector: the predictor's output to the next latent
    """

    def __init__(self, config: LeWMConfig, dims: ModelDims):
        super().__init__(config, dims)
        self.sigreg_weight = config.sigreg_weight
        self.decoder_weight = config.decoder_weight
        if self.decoder_weight:
            self.decoder = Decoder([config.latent_dim], dims.image_size)
        self.sigreg_directions, self.sigreg_knots = config.sigreg_directions, config.sigreg_knots

    def encode(self, obs: Obs) -> Tensor:
        """z_t = enc(o_t): latents (B, T, D), each frame on its own."""
        assert obs.pixels is not None
        features = self.encoder(obs.pixels.flatten(0, 1))  # (B * T, width)
        return self.projector(features.unflatten(0, obs.pixels.shape[:2]))

    def predict(self, z: Tensor, actions: Tensor) -> Tensor:
        """z^_{t+1} = pred(z_{<=t}, a_{<=t}) for each t: latents z (B, T, D) and the blocks taken
        there (B, T, A) to the next latents (B, T, D), T <= history.
        """
        return self.following(z, self.predictor(z, self.action_embedder(actions)))

    def rollout(self, z: Tensor, past: Tensor, plan: Tensor) -> Tensor:
        """The latents (N, K, D) that a plan (N, K, A) leads to, after the observed ones
        z (N, H, D) and the blocks between those, past (N, H - 1, A).
        """
        actions, observed = torch.cat([past, plan], dim=1), z.shape[1]
        for t in range(observed, observed + plan.shape[1]):
            recent = slice(max(0, t - self.history), t)
            following = self.predict(z[:, recent], actions[:, recent])[:, -1:]
            z = torch.cat([z, following], dim=1)
        return z[:, observed:]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Prediction error plus weighted SIGReg (LeWM eq. 4), teacher forced over the window."""
        return self.objective(self.encode(batch.obs), batch)

    def objective(self, z: Tensor, batch: Batch) -> dict[str, Tensor]:
        """`loss` of a batch whose latents are z (B, T, D)."""
        predicted = self.predict(z[:, :-1], batch.actions[:, :-1])  # (B, T - 1, D)
        prediction = F.mse_loss(predicted.float(), z[:, 1:].float())
        regulariser = sigreg(z, self.sigreg_directions, knots=self.sigreg_knots)
        loss = prediction + self.sigreg_weight * regulariser
        terms = {"pred": prediction, "sigreg": regulariser, **diagnostics(z)}
        if self.decoder_weight:
            terms["decode"] = self.picture_error(z, batch.obs)
            loss = loss + self.decoder_weight * terms["decode"]
        return {"loss": loss, **terms}

    def picture_error(self, z: Tensor, obs: Obs) -> Tensor:
        """Squared error of the pictures that the decoder draws of latents z (B, T, D)."""
        assert obs.pixels is not None
        real = obs.pixels.flatten(0, 1).float() / 255
        return F.mse_loss(self.decoder(z.flatten(0, 1)).float(), real)
