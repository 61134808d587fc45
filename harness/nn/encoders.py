"""Picture encoders: (M, 3, size, size) uint8 -> (M, width). ViT and ResNet-18 are those of
`transformers`.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

from harness.contracts.setting import Settings, setting

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
RESNET18_WIDTH = 512
_ATTENTION = "harness"  # the name under which transformers finds _attend


@dataclass(frozen=True)
class EncoderConfig(Settings):
    """The kind of encoder and its sizes. `depth` and `heads` belong to vit, `channels` to conv, and
    `patch` to both: the first layer maps each patch of that side by itself.
    """

    kind: Literal["vit", "resnet18", "conv"] = setting(
        "vit", "Network that reads a picture.", paper="vit; resnet18 in an ablation"
    )
    width: int = setting(192, "Features of a picture.", ge=1, paper=192)
    patch: int = setting(14, "Side of a patch, in px; it divides the picture's.", ge=1, paper=14)
    depth: int = setting(12, "Layers of the ViT.", ge=1, paper=12)
    heads: int = setting(3, "Attention heads of the ViT; they divide the width.", ge=1, paper=3)
    channels: tuple[int, ...] = setting(
        (16, 32, 64, 128), "Channels of the convolutional encoder's layers.", ge=1, least=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind == "vit" and self.width % self.heads:
            raise ValueError(
                f"heads={self.heads} must divide width={self.width}: give heads or width, too"
            )

    def misfit(self, image_size: int) -> str:
        """Why the encoder cannot read pictures of that many px, and what to do, or ""."""
        if self.kind == "resnet18" or image_size % self.patch == 0:
            return ""
        return (
            f"patch={self.patch} must divide the picture's side, data.image_size={image_size}: "
            f"choose another patch (4, 8 or 16 for 64 px, 14 for 224 px)"
        )


def build(config: EncoderConfig, image_size: int) -> Encoder:
    """The encoder of `config` for square pictures of `image_size` px. Raises ValueError where they
    do not go together.
    """
    if misfit := config.misfit(image_size):
        raise ValueError(f"encoder.{misfit}")
    if config.kind == "vit":
        return ViT(config, image_size)
    if config.kind == "resnet18":
        return ResNet18()
    return Conv(config, image_size)


class Encoder(nn.Module):
    """Base of the encoders: normalises pixels on their device, then computes `features`."""

    width: int  # floats of the output
    tokens: int = 1  # tokens into which the encoder divides a frame
    _scale: Tensor
    _shift: Tensor

    def __init__(self) -> None:
        super().__init__()
        mean = torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)
        std = torch.tensor(IMAGENET_STD).view(1, 3, 1, 1)
        self.register_buffer("_scale", 1 / (255 * std), persistent=False)
        self.register_buffer("_shift", -mean / std, persistent=False)

    def forward(self, pixels: Tensor) -> Tensor:
        """(M, 3, size, size) uint8 -> (M, width) float."""
        return self.features(self.normalised(pixels))

    def normalised(self, pixels: Tensor) -> Tensor:
        """(M, 3, size, size) uint8 to floats by ImageNet's mean and std, in channels_last.

        A row of pixels is scaled at once: broadcasts over three channels take five times as long.
        """
        x = torch.stack(pixels.unbind(1), dim=-1).to(self._scale.dtype)  # (M, size, size, 3)
        scale, shift = (part.flatten().repeat(x.shape[2]) for part in (self._scale, self._shift))
        x.flatten(2).mul_(scale).add_(shift)
        return x.permute(0, 3, 1, 2)

    def features(self, x: Tensor) -> Tensor:
        """Normalised pictures to features."""
        raise TypeError(f"{type(self).__name__} has no method features()")


class ViT(Encoder):
    """A ViT whose output is the CLS token; the other outputs of its last layer are not computed."""

    def __init__(self, config: EncoderConfig, image_size: int):
        super().__init__()
        self.width = config.width
        self.tokens = (image_size // config.patch) ** 2 + 1
        transformers.AttentionInterface.register(_ATTENTION, _attend)
        self.vit = transformers.ViTModel(
            transformers.ViTConfig(
                hidden_size=config.width,
                num_hidden_layers=config.depth,
                num_attention_heads=config.heads,
                intermediate_size=4 * config.width,
                image_size=image_size,
                patch_size=config.patch,
                attn_implementation=_ATTENTION,  # type: ignore[call-arg] # one of its base class
            ),
            add_pooling_layer=False,
        )

    def features(self, x: Tensor) -> Tensor:
        """Normalised pictures to the CLS token (M, width)."""
        x = self.vit.embeddings(x)
        for layer in self.vit.layers[:-1]:
            x = layer(x)
        return self.vit.layernorm(_first_token(self.vit.layers[-1], x))


class ResNet18(Encoder):
    """A ResNet-18 whose output is globally pooled."""

    width = RESNET18_WIDTH

    def __init__(self) -> None:
        super().__init__()
        self.resnet = transformers.ResNetModel(
            transformers.ResNetConfig(
                embedding_size=64,
                hidden_sizes=[64, 128, 256, RESNET18_WIDTH],
                depths=[2, 2, 2, 2],
                layer_type="basic",
            )
        )

    def features(self, x: Tensor) -> Tensor:
        """Normalised pictures to pooled features (M, 512)."""
        return self.resnet(x).pooler_output.flatten(1)


class Conv(Encoder):
    """A small encoder for laptops: a convolution over patches, stride-2 convolutions with
    BatchNorm, and a linear layer over all positions.
    """

    def __init__(self, config: EncoderConfig, image_size: int):
        super().__init__()
        self.width = config.width
        first, *others = config.channels
        layers: list[nn.Module] = [
            nn.Conv2d(3, first, config.patch, stride=config.patch, bias=False)
        ]
        side = image_size // config.patch
        for before, after in itertools.pairwise([first, *others]):
            layers += [nn.BatchNorm2d(before), nn.ReLU(inplace=True)]
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)]
            side = (side + 1) // 2
        last = config.channels[-1]
        self.body = nn.Sequential(*layers, nn.BatchNorm2d(last), nn.ReLU(inplace=True))
        self.head = nn.Linear(last * side * side, config.width)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload] # torch has it

    def features(self, x: Tensor) -> Tensor:
        """Normalised pictures to features (M, width) of all positions."""
        x = self.body(x)
        if x.requires_grad:  # in the layout of the head's gradient, ReLU's takes five times as long
            x.register_hook(_channels_last)
        return self.head(x.flatten(1))


def _first_token(layer: Any, x: Tensor) -> Tensor:
    """The same as layer(x)[:, 0] for a layer of transformers' ViT (without dropout) and tokens x
    (M, P, D), with less work: of the other tokens only keys and values are computed.
    """
    attention, normed, first = layer.attention, layer.layernorm_before(x), x[:, 0]
    q = attention.q_proj(normed[:, :1])
    k, v = attention.k_proj(normed), attention.v_proj(normed)
    heads = (attention.num_attention_heads, attention.head_dim)
    q, k, v = (part.unflatten(-1, heads).transpose(1, 2) for part in (q, k, v))
    mixed = _mixed(q, k, v, attention.scaling)  # (M, heads, 1, head_dim)
    first = first + attention.o_proj(mixed.flatten(1))
    return first + layer.mlp(layer.layernorm_after(first))


def _attend(
    module: nn.Module, q: Tensor, k: Tensor, v: Tensor, mask: None, scaling: float, **_: object
) -> tuple[Tensor, None]:
    """_mixed with the interface of transformers: (M, P, heads, head_dim), and no weights."""
    return _mixed(q, k, v, scaling).transpose(1, 2).contiguous(), None


def _mixed(q: Tensor, k: Tensor, v: Tensor, scaling: float) -> Tensor:
    """Attention over q, k, v (M, heads, P, head_dim). In bf16 on a CPU it is written out, since
    torch's fused kernel takes three times as long, and five times as long backwards.
    """
    if q.dtype == torch.bfloat16 and q.device.type == "cpu":
        return ((q * scaling) @ k.transpose(-1, -2)).softmax(-1) @ v
    return F.scaled_dot_product_attention(q, k, v, scale=scaling)


def _channels_last(gradient: Tensor) -> Tensor:
    return gradient.contiguous(memory_format=torch.channels_last)
