"""Picture encoders that methods do not train: pixels to patch tokens. Nothing is unpickled.

FrozenConfig.weights says where the weights come from: "dinov2" (facebook/dinov2-small, from the
hub or its cache), "shipped" (a small autoencoder for pictures of 64 px that is part of the package,
in SHIPPED), "random" (the architecture of dinov2, untrained), "mae" (a small autoencoder that
harness/training/pretraining.py trains first, which then replaces "mae" by its folder), or a folder
with config.json and model.safetensors of a DINOv2 or a ViT-MAE.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import http.client
import json
import os
import urllib.request
from dataclasses import dataclass, field
from typing import Any

import huggingface_hub
import safetensors
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

from harness.contracts.data import Obs
from harness.contracts.method import MethodConfig
from harness.contracts.setting import Settings, setting
from harness.nn import encoders

DINOV2 = "facebook/dinov2-small"
CONFIG, WEIGHTS = "config.json", "model.safetensors"
SHIPPED = os.path.join(os.path.dirname(os.path.abspath(__file__)), "weights")  # weights=shipped
# names, because looking up a class of transformers takes seconds in every command and worker
_NETWORKS = {"dinov2": "Dinov2Model", "vit_mae": "ViTMAEModel"}
_NOT_READ = {"embeddings.mask_token"}  # tokens do not depend on it, so a file may lack it
_FLOATS = ("F64", "F32", "F16", "BF16", "I64")  # safetensors' names; int64 are indices
_SEED = 0  # untrained weights are the same for every training seed
_PATIENCE_S = 5.0
_NAMED = 3  # weights that an error names; it counts the others
_UNREADABLE = (  # raised by transformers for a broken file or configuration
    *(OSError, ValueError, TypeError, RuntimeError, LookupError, AttributeError, ArithmeticError),
    *(ImportError, safetensors.SafetensorError, huggingface_hub.errors.StrictDataclassError),
)


class WeightsError(ValueError):
    """Weights of a frozen encoder that do not fit its network; the message is one line."""


@dataclass(frozen=True)
class MAEConfig(Settings):
    """Training of weights=mae (He et al. 2022) on the training frames of `tasks` together."""

    tasks: tuple[str, ...] = setting(
        (),
        "Tasks whose training frames the autoencoder learns from; each scale names them.",
        text="names of --help tasks",
    )
    steps: int = setting(10_000, "Optimizer steps.", ge=1)
    batch_size: int = setting(128, "Frames of a batch.", ge=2)
    lr: float = setting(1e-3, "Learning rate after the warm-up, its highest.", gt=0)
    mask_ratio: float = setting(
        0.75,
        "Share of the patches that are hidden and rebuilt; 0 rebuilds all from all.",
        ge=0,
        lt=1,
        paper=0.75,
    )
    decoder_width: int = setting(64, "Width of the decoder's tokens.", ge=1, paper=512)
    decoder_depth: int = setting(2, "Layers of the decoder.", ge=1, paper=8)
    decoder_heads: int = setting(4, "Attention heads of the decoder.", ge=1, paper=16)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.decoder_width % self.decoder_heads:
            raise ValueError(
                f"decoder_heads={self.decoder_heads} must divide decoder_width="
                f"{self.decoder_width}: give decoder_heads or decoder_width, too"
            )


@dataclass(frozen=True)
class FrozenConfig(MethodConfig):
    """The weights of a frozen encoder; the sizes are those of weights=random and weights=mae (the
    defaults DINOv2 ViT-S/14's), other weights bring their own.
    """

    weights: str = setting(
        "dinov2",
        "Weights of the frozen encoder.",
        text="dinov2, shipped (for 64 px), mae (trained first), random or a folder's absolute path",
        paper="dinov2",
    )
    encoder_width: int = setting(384, "Width of the encoder's tokens.", ge=1, paper=384)
    encoder_depth: int = setting(12, "Layers of the encoder.", ge=1, paper=12)
    encoder_heads: int = setting(6, "Attention heads of the encoder.", ge=1, paper=6)
    encoder_patch: int = setting(14, "Side of a patch, in px.", ge=1, paper=14)
    standardize: bool = setting(
        False, "Standardize tokens by the training frames.", paper=False
    )  # FrozenEncoder.fit
    mae: MAEConfig = field(default_factory=MAEConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoder_width % self.encoder_heads:
            raise ValueError(
                f"encoder_heads={self.encoder_heads} must divide encoder_width="
                f"{self.encoder_width}: give encoder_heads or encoder_width, too"
            )

    @property
    def uses_frozen_encoder(self) -> bool:
        """True; a method that can do without the encoder overrides it."""
        return True

    @property
    def pool(self) -> tuple[str, ...]:
        """Tasks whose frames are needed before the weights are there."""
        return self.mae.tasks if self.uses_frozen_encoder and self.weights == "mae" else ()

    @property
    def note(self) -> str:
        """A remark for every table and figure on these weights, or ""."""
        if not self.uses_frozen_encoder:
            return ""
        if self.weights == "random":
            return "untrained encoder"
        if self.weights == "shipped":
            return "autoencoder"
        kind = "vit_mae" if self.weights == "mae" else _kind(self.weights)
        if kind != "vit_mae":
            return ""
        return "MAE encoder" if self.mae.mask_ratio > 0 else "autoencoder"

    def untrained(self) -> FrozenConfig:
        """The same sizes with random weights."""
        return dataclasses.replace(self, weights="random")

    def misfit(self, image_size: int) -> str:
        """Whether the patches of an encoder that is trained here divide the picture; others resize
        it.
        """
        if self.weights != "mae" or image_size % self.encoder_patch == 0:
            return ""
        return (
            f"encoder_patch={self.encoder_patch} must divide the picture's side, "
            f"data.image_size={image_size}: choose another patch (8 or 16 for 64 px)"
        )

    def unavailable_reason(self, key: str) -> str:
        """Why the weights cannot be had here, and what to do, or ""; `key` is the configuration
        that `weights` belongs to, "method.dino_wm".
        """
        if not self.uses_frozen_encoder or self.weights in ("random", "mae"):
            return ""
        if self.weights == "dinov2":
            instead = (
                f"copy its {CONFIG} and {WEIGHTS} here and give {key}.weights=FOLDER, or train an "
                f"encoder on the tasks' own frames with {key}.weights=mae, or give "
                f"{key}.weights=shipped for pictures of 64 px"
            )
            reason = _unreachable()
            if reason:
                return f"{DINOV2} is not in the cache and {reason}: {instead}"
            cached = _cached()
            misfit = weights_misfit(cached) if os.path.isfile(f"{cached}/{CONFIG}") else ""
            return f"{cached}, the cache of {DINOV2}: {misfit}; or {instead}" if misfit else ""
        folder = _folder(self.weights)
        here = os.path.isabs(folder) and os.path.isfile(f"{folder}/{WEIGHTS}")
        if here and _kind(folder) in _NETWORKS:
            misfit = weights_misfit(folder)
            return f"{key}.weights={self.weights}: {misfit}" if misfit else ""
        return (
            f"{key}.weights={self.weights} is neither dinov2, shipped, mae or random nor the "
            f"absolute path of a folder with {CONFIG} and {WEIGHTS} of a DINOv2 or a ViT-MAE"
        )


class FrozenEncoder(encoders.Encoder):
    """(M, 3, height, width) uint8 -> (M, P, C), the patches row by row, without CLS.

    Pictures whose side is no multiple of the patch are resized to the nearest one, on the device;
    positions are interpolated as `transformers` does. It has no gradient and stays in evaluation
    mode.
    """

    mean: Tensor
    spread: Tensor

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
            # ViT-MAE shuffles patches by this "noise"; ascending values keep their order
            noise = torch.arange(self.tokens, device=x.device).expand(len(x), -1)
            other = self.side != self.vit.config.image_size
            output = self.vit(x, noise=noise, interpolate_pos_encoding=other)
        else:
            output = self.vit(x)
        return output.last_hidden_state[:, 1:]

    def read(self, obs: Obs) -> Tensor:
        """Standardized tokens (B, T, P, C), every frame on its own. They are computed from
        obs.tokens where an observation has those, else from its pixels.
        """
        if obs.tokens is not None:
            tokens = obs.tokens.float()
        else:
            assert obs.pixels is not None
            tokens = self(obs.pixels.flatten(0, 1)).float().unflatten(0, obs.pixels.shape[:2])
        return (tokens - self.mean) / self.spread

    def fit(self, tokens: Tensor) -> None:
        """Standardize by tokens (M, P, C): by their mean at each patch, and by one std for all.

        In a small autoencoder, most of a token tells its position in the picture. The difference
        between frames is a few hundredths of it, too little for a loss to learn from.
        """
        self.mean.copy_(tokens.mean(0))
        self.spread.copy_((tokens - self.mean).pow(2).mean().sqrt().clamp(min=1e-6))

    def digest(self) -> str:
        """sha256 of everything that decides the tokens of a picture before they are
        standardized.
        """
        digest = hashlib.sha256(f"{type(self.vit).__name__} {self.side}".encode())
        for name, value in sorted(self.vit.state_dict().items()):
            digest.update(f"vit.{name}".encode())
            digest.update(value.cpu().contiguous().numpy())
        return digest.hexdigest()


def weights_misfit(folder: str) -> str:
    """Why the weights in `folder` do not fit the network that its config.json describes, and what
    to do, or "". The files are read again only after they changed.
    """
    files = [os.stat(os.path.join(folder, name)) for name in (CONFIG, WEIGHTS)]
    return _misfit(folder, tuple((file.st_mtime_ns, file.st_size) for file in files))


_LARGEST = 100_000  # number in a config.json


@functools.lru_cache
def _misfit(folder: str, _state: tuple[tuple[int, int], ...]) -> str:
    try:
        quantized = _quantized(os.path.join(folder, WEIGHTS))
        if quantized:
            return (
                f"{WEIGHTS} holds {_listed(quantized)} as integers or in 8 bits: give a folder "
                f"with the weights as they were before they were quantized"
            )
        if too_large := _too_large(os.path.join(folder, CONFIG)):
            return f"{CONFIG} has {too_large}, which no encoder has: copy it again"
        _load(folder, _kind(folder))
    except WeightsError as error:
        return str(error)
    except _UNREADABLE as error:
        words = " ".join(str(error).split())[:200]
        return f"{CONFIG} and {WEIGHTS} cannot be read ({words}): copy them again"
    return ""


def _too_large(path: str) -> str:
    """A size in a config.json that would take for ever to build, as "name=value", or ""."""
    with open(path, encoding="utf-8") as source:
        sizes = json.load(source)
    wrong = [
        f"{name}={value}"
        for name, value in sizes.items()
        if isinstance(value, int | float) and not -1 <= value <= _LARGEST
    ]
    return wrong[0][:80] if wrong else ""


def _quantized(path: str) -> list[str]:
    """Names of tensors that are no floats, although transformers would read them as floats."""
    with safetensors.safe_open(path, "pt") as file:
        kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    return [name for name, kind in kinds.items() if kind not in _FLOATS]


def _load(source: str, kind: str) -> Any:
    """Load the network of a folder or of a name on the hub. Raises WeightsError where the file
    lacks a weight that the tokens depend on, which transformers would draw at random.
    """
    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()  # missing weights are an error below
    every_patch = {"mask_ratio": 0.0} if kind == "vit_mae" else {}
    network, report = getattr(transformers, _NETWORKS[kind]).from_pretrained(
        source,
        use_safetensors=True,
        dtype=torch.float32,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # so that the error below names them
        **every_patch,
    )
    complaint = _complaint(network, report)
    if complaint:
        raise WeightsError(
            f"{WEIGHTS} does not hold the {type(network).__name__} of its {CONFIG}: {complaint}. "
            f"Give a folder written by save_pretrained(), or rename the weights"
        )
    broken = [name for name, value in _read_weights(network) if not value.isfinite().all()]
    if broken:
        raise WeightsError(
            f"{WEIGHTS} has NaN or infinite values, in {_listed(broken)}: give a folder with the "
            f"weights of a training that went well"
        )
    return network


def _read_weights(network: nn.Module) -> list[tuple[str, Tensor]]:
    """Names and values of everything that the tokens depend on."""
    return [item for item in network.state_dict().items() if item[0] not in _NOT_READ]


def _complaint(network: nn.Module, report: dict[str, set[Any]]) -> str:
    """The weights that a file lacks or has in excess, by transformers' report of loading it, or "".
    It may have a decoder, a pooler or a head that the network lacks.
    """
    missing = sorted(report["missing_keys"] - _NOT_READ)
    unexpected = sorted(report["unexpected_keys"])
    shapes = [
        f"{name} is {tuple(actual)} instead of {tuple(expected)}"
        for name, actual, expected in sorted(report["mismatched_keys"])
        if name not in _NOT_READ
    ]
    parts = {name for name, _ in network.named_children()}
    unplaced = [
        name
        for name in unexpected
        if name.removeprefix(f"{network.base_model_prefix}.").split(".")[0] in parts
    ]
    if missing:
        extra = f", {len(unexpected)} unexpected ({_listed(unexpected, 1)})" if unexpected else ""
        total = len(_read_weights(network))
        return f"of {total} weights {len(missing)} are missing ({_listed(missing)}){extra}"
    if shapes:
        return f"{len(shapes)} weights have another shape ({_listed(shapes)})"
    if unplaced:
        return f"{len(unplaced)} weights have no place in it ({_listed(unplaced)})"
    return ""


def _listed(names: list[str], most: int = _NAMED) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _network(config: FrozenConfig, image_size: int) -> Any:
    """A network of transformers."""
    if config.weights == "mae":  # harness/training/pretraining.py replaces it by a folder
        raise ValueError("weights=mae has no task to be trained on: give mae.tasks=[TASK, ...]")
    if config.weights == "dinov2":
        return _load(DINOV2, "dinov2")
    if config.weights == "shipped":
        network = _load(SHIPPED, _kind(SHIPPED))
        if image_size != network.config.image_size:
            raise ValueError(
                f"weights=shipped read pictures of {network.config.image_size} px, not of "
                f"{image_size}: give data.image_size={network.config.image_size}, or weights=mae"
            )
        return network
    if config.weights != "random":
        return _load(config.weights, _kind(config.weights))
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


def _folder(weights: str) -> str:
    """The folder of weights that need no hub and no training."""
    return SHIPPED if weights == "shipped" else weights


def _nearest(size: int, patch: int) -> int:
    """The multiple of `patch` that is nearest to `size`."""
    return max(1, int(size / patch + 0.5)) * patch


def _kind(folder: str) -> str:
    """The architecture that a folder's config.json names, or ""."""
    try:
        with open(os.path.join(folder, CONFIG), encoding="utf-8") as source:
            return str(json.load(source).get("model_type", ""))
    except (OSError, ValueError, AttributeError, RecursionError):
        return ""


def _cached() -> str:
    """The folder of the hub's cache with DINOv2's weights, or ""."""
    file = huggingface_hub.try_to_load_from_cache(DINOV2, WEIGHTS)
    return os.path.dirname(file) if isinstance(file, str) else ""


@functools.cache
def _unreachable() -> str:
    """Why DINOv2 is neither in the cache nor on a hub within reach, or ""; tried once a process."""
    if _cached():
        return ""
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        head = urllib.request.Request(huggingface_hub.hf_hub_url(DINOV2, WEIGHTS), method="HEAD")
        with urllib.request.urlopen(head, timeout=_PATIENCE_S):
            return ""
    except (OSError, http.client.HTTPException) as error:
        return f"the hub cannot be reached ({error})"
