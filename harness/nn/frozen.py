"""Picture encoders that are never trained here: pixels to patch tokens. Nothing is unpickled.

Where the weights come from, FrozenConfig.weights: "dinov2" (facebook/dinov2-small, out of the hub's
cache or from the hub), "random" (the same architecture, untrained), "mae" (a small autoencoder that
harness/pretrain.py trains first, and then a folder), or a folder with config.json and
model.safetensors of a DINOv2 or a ViT-MAE.
"""

from __future__ import annotations

import functools
import hashlib
import http.client
import json
import os
import urllib.request
from dataclasses import dataclass, field

import huggingface_hub
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

from harness.interfaces import Obs
from harness.nn import encoders

DINOV2 = "facebook/dinov2-small"
CONFIG, WEIGHTS = "config.json", "model.safetensors"
# by name: looking one up takes seconds, which every command and every worker would wait for
_NETWORKS = {"dinov2": "Dinov2Model", "vit_mae": "ViTMAEModel"}
_SEED = 0  # of untrained weights: the same ones for every training seed
_PATIENCE_S = 5.0


@dataclass(frozen=True)
class MAEConfig:
    """Training of weights=mae (He et al. 2022) on the training frames of `tasks` together."""

    tasks: tuple[str, ...] = ("two_room", "push_t", "reacher", "cube")
    steps: int = 10_000
    batch_size: int = 128  # frames
    lr: float = 1e-3
    mask_ratio: float = 0.75
    decoder_width: int = 64
    decoder_depth: int = 2
    decoder_heads: int = 4

    def __post_init__(self):
        if not 0 < self.mask_ratio < 1:
            raise ValueError(f"mae.mask_ratio={self.mask_ratio} must lie between 0 and 1")
        if self.steps < 1 or not self.tasks:
            raise ValueError("mae.steps must be at least 1, and mae.tasks name a task")


@dataclass(frozen=True)
class FrozenConfig:
    """Which weights; the sizes are those of weights=random and weights=mae (the defaults DINOv2
    ViT-S/14's), other weights bring their own.
    """

    weights: str = "dinov2"
    encoder_width: int = 384
    encoder_depth: int = 12
    encoder_heads: int = 6
    encoder_patch: int = 14
    standardize: bool = False  # tokens by the training frames, see FrozenEncoder.fit
    mae: MAEConfig = field(default_factory=MAEConfig)

    @property
    def used(self) -> bool:
        """Whether the method reads this encoder; some can do without."""
        return True

    @property
    def pool(self) -> tuple[str, ...]:
        """Tasks whose frames are needed before the weights are there."""
        return self.mae.tasks if self.used and self.weights == "mae" else ()

    @property
    def note(self) -> str:
        """What every table and figure must say of these weights, or ""."""
        if not self.used:
            return ""
        if self.weights == "random":
            return "untrained encoder"
        kind = "vit_mae" if self.weights == "mae" else _kind(self.weights)
        return "MAE encoder" if kind == "vit_mae" else ""

    def lacks(self, key: str) -> str:
        """Why the weights cannot be had here, and what to do, or ""; `key` is the configuration
        that `weights` belongs to, "method.dino_wm".
        """
        if not self.used or self.weights in ("random", "mae"):
            return ""
        if self.weights == "dinov2":
            instead = (
                f"copy its {CONFIG} and {WEIGHTS} here and give {key}.weights=FOLDER, or train an "
                f"encoder on the tasks' own frames with {key}.weights=mae"
            )
            reason = _unreachable()
            return f"{DINOV2} is not in the cache and {reason}: {instead}" if reason else ""
        here = os.path.isabs(self.weights) and os.path.isfile(f"{self.weights}/{WEIGHTS}")
        if here and _kind(self.weights) in _NETWORKS:
            return ""
        return (
            f"{key}.weights={self.weights} is neither dinov2, mae or random nor the absolute path "
            f"of a folder with {CONFIG} and {WEIGHTS} of a DINOv2 or a ViT-MAE"
        )


class FrozenEncoder(encoders.Encoder):
    """(M, 3, height, width) uint8 -> (M, P, C), the patches row by row, without CLS.

    Pictures whose side is no multiple of the patch are resized to the nearest one, on the device;
    positions are interpolated as `transformers` does. It has no gradient and stays in evaluation
    mode.
    """

    def __init__(self, config: FrozenConfig, image_size: int):
        super().__init__()
        self.vit = _network(config, image_size).requires_grad_(False)
        patch = self.vit.config.patch_size
        self.side = _nearest(image_size, patch)  # px, as the network sees it
        self.tokens = (self.side // patch) ** 2
        self.width = self.vit.config.hidden_size
        self.standardize = config.standardize
        self.register_buffer("mean", torch.zeros(self.tokens, self.width))
        self.register_buffer("spread", torch.ones(()))
        self.train(False)

    def train(self, mode: bool = True) -> FrozenEncoder:
        """The encoder stays in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def features(self, x: Tensor) -> Tensor:
        """Normalised pictures to tokens (M, P, C)."""
        if x.shape[-1] != self.side:
            x = F.interpolate(
                x, (self.side, self.side), mode="bilinear", align_corners=False, antialias=True
            )
        if self.vit.config.model_type == "vit_mae":
            # patches are kept in the order of this "noise": their own
            noise = torch.arange(self.tokens, device=x.device).expand(len(x), -1)
            other = self.side != self.vit.config.image_size
            found = self.vit(x, noise=noise, interpolate_pos_encoding=other)
        else:
            found = self.vit(x)
        return found.last_hidden_state[:, 1:]

    def read(self, obs: Obs) -> Tensor:
        """Standardized tokens (B, T, P, C), every frame on its own; those of obs.tokens where an
        observation has them.
        """
        if obs.tokens is not None:
            tokens = obs.tokens.float()
        else:
            tokens = self(obs.pixels.flatten(0, 1)).float().unflatten(0, obs.pixels.shape[:2])
        return (tokens - self.mean) / self.spread

    def fit(self, tokens: Tensor) -> None:
        """Standardize by tokens (M, P, C): their mean at each place, and one spread for all.

        In a small autoencoder most of a token says where it is; what differs between frames is a
        few hundredths of it, too little for a loss to work on.
        """
        self.mean.copy_(tokens.mean(0))
        self.spread.copy_((tokens - self.mean).pow(2).mean().sqrt().clamp(min=1e-6))

    def digest(self) -> str:
        """sha256 of everything that decides the tokens of a picture, not yet standardized."""
        found = hashlib.sha256(f"{type(self.vit).__name__} {self.side}".encode())
        for name, value in sorted(self.vit.state_dict().items()):
            found.update(f"vit.{name}".encode())
            found.update(value.cpu().contiguous().numpy())
        return found.hexdigest()


def _network(config: FrozenConfig, image_size: int) -> nn.Module:
    assert config.weights != "mae", "harness/pretrain.py makes them and gives their folder"
    transformers.logging.disable_progress_bar()
    if config.weights == "dinov2":
        return transformers.Dinov2Model.from_pretrained(DINOV2, use_safetensors=True)
    if config.weights != "random":
        kind = _kind(config.weights)
        seen = {"mask_ratio": 0.0} if kind == "vit_mae" else {}  # every patch
        network = getattr(transformers, _NETWORKS[kind])
        return network.from_pretrained(config.weights, use_safetensors=True, **seen)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        return transformers.Dinov2Model(
            transformers.Dinov2Config(
                hidden_size=config.encoder_width,
                num_hidden_layers=config.encoder_depth,
                num_attention_heads=config.encoder_heads,
                patch_size=config.encoder_patch,
                image_size=_nearest(image_size, config.encoder_patch),
            )
        )


def _nearest(size: int, patch: int) -> int:
    """The multiple of `patch` that is nearest to `size`."""
    return max(1, int(size / patch + 0.5)) * patch


def _kind(folder: str) -> str:
    """The architecture that a folder's config.json names, or ""."""
    try:
        with open(os.path.join(folder, CONFIG), encoding="utf-8") as source:
            return str(json.load(source).get("model_type", ""))
    except (OSError, ValueError, AttributeError):
        return ""


@functools.cache
def _unreachable() -> str:
    """Why DINOv2 can be had neither from the cache nor from the hub, or ""; asked once."""
    if isinstance(huggingface_hub.try_to_load_from_cache(DINOV2, WEIGHTS), str):
        return ""
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        head = urllib.request.Request(huggingface_hub.hf_hub_url(DINOV2, WEIGHTS), method="HEAD")
        with urllib.request.urlopen(head, timeout=_PATIENCE_S):
            return ""
    except (OSError, http.client.HTTPException) as error:
        return f"the hub cannot be reached ({error})"
