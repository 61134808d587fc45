"""The names that published weights of LeWM have, and ours; and the sizes that its tensors tell.

A file may have one of three sets of names, which differ by nothing but the names:

transformers 4   the released files': encoder.encoder.layer.0.attention.attention.query.weight
transformers 5   the same model saved under that version: encoder.layers.0.attention.q_proj.weight
ours             encoder.vit.layers.0.attention.q_proj.weight
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from torch import Tensor

from harness.nn.encoders import EncoderConfig
from harness.nn.jepa import JEPAConfig

T = TypeVar("T")
Config = TypeVar("Config", bound=JEPAConfig)

# (theirs, ours), each from the start of a name or after a dot, to its end or before a dot
_PARTS = (
    ("action_encoder.patch_embed", "action_embedder.smooth"),
    ("action_encoder.embed", "action_embedder.embed"),
    ("projector.net", "projector"),
    ("pred_proj.net", "predictor_projector"),
    ("predictor.pos_embedding", "predictor.positions"),
    ("predictor.transformer.input_proj", "predictor.project_in"),
    ("predictor.transformer.cond_proj", "predictor.project_condition"),
    ("predictor.transformer.output_proj", "predictor.project_out"),
    ("predictor.transformer.norm", "predictor.norm"),
    ("predictor.transformer.layers", "predictor.blocks"),
)
_IN_A_BLOCK = (  # of the predictor
    ("attn.to_qkv", "attention.qkv"),
    ("attn.to_out", "attention.out"),
    ("attn.norm", "attention.norm"),
    ("mlp.net", "mlp"),
    ("adaLN_modulation.1", "modulation"),
)
_TRANSFORMERS_4 = (  # (transformers 4, transformers 5), within the encoder
    ("encoder.layer", "layers"),
    ("attention.attention.query", "attention.q_proj"),
    ("attention.attention.key", "attention.k_proj"),
    ("attention.attention.value", "attention.v_proj"),
    ("attention.output.dense", "attention.o_proj"),
    ("intermediate.dense", "mlp.fc1"),
    ("output.dense", "mlp.fc2"),
)
_ENCODER, _VIT = "encoder.", "encoder.vit."
CLS = f"{_VIT}embeddings.cls_token"  # our name of a tensor that every ViT has
_OF_A_VIT = ("embeddings.", "encoder.layer.", "layers.", "layernorm.")  # where names begin there


class SizesError(ValueError):
    """Tensors from which the sizes of a LeWM cannot be read; the message is one line."""


def ours(tensors: Mapping[str, T]) -> dict[str, T]:
    """The tensors under our names, whichever of the three sets they have. Names of none of them
    stay as they are.
    """
    return {_our_name(name): value for name, value in tensors.items()}


def theirs(tensors: Mapping[str, T], transformers: int = 4) -> dict[str, T]:
    """Tensors of a JEPANetwork with a ViT under the released names, those of transformers 4 or 5.

    Parts that the released network does not have (a head that only training needs) are left out.
    """
    published = {_their_name(name, transformers): value for name, value in tensors.items()}
    return {name: value for name, value in published.items() if name}


def config(tensors: Mapping[str, Tensor], base: Config, written: Mapping[str, Any]) -> Config:
    """`base` with the sizes of the network whose tensors these are, under our names.

    Heads leave no trace in shapes: they come from `written`, a released config.json, or else are
    the paper's. Raises SizesError where a tensor that tells a size is missing or has no such shape.
    """
    with _naming_what_is_missing():
        return dataclasses.replace(
            base,
            encoder=_encoder(tensors, written.get("encoder", {})),
            **_predictor(tensors, written.get("predictor", {})),
            residual=False,
        )


def image_size(tensors: Mapping[str, Tensor]) -> int:
    """The side in px of the pictures that the encoder's learned positions are for. Raises
    SizesError.
    """
    with _naming_what_is_missing():
        positions = tensors[f"{_VIT}embeddings.position_embeddings"].shape[1] - 1  # one is CLS's
        return math.isqrt(positions) * _patch(tensors)


def block_dim(tensors: Mapping[str, Tensor]) -> int:
    """The numbers in a block of actions. Raises SizesError."""
    with _naming_what_is_missing():
        return tensors["action_embedder.smooth.weight"].shape[1]


@contextlib.contextmanager
def _naming_what_is_missing() -> Iterator[None]:
    """Turn what looking at tensors raises into a SizesError."""
    try:
        yield
    except KeyError as error:
        raise SizesError(f"there is no {error.args[0]}, which tells a size of LeWM") from None
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise SizesError(f"the shapes are no LeWM's ({error})") from None


def released_config(config: JEPAConfig, image_size: int, block_dim: int) -> dict[str, Any]:
    """The config.json that stable-worldmodel builds the network from. Raises ValueError for a
    network that it does not have.
    """
    if config.encoder.kind != "vit":
        raise ValueError(f"its encoder is a {config.encoder.kind}, stable-worldmodel's a ViT")
    if config.residual:
        raise ValueError("it predicts changes of the latent (residual=true), not the latent")
    vit, latent, module = config.encoder, config.latent_dim, "stable_worldmodel.wm.lewm.module"
    projector = {
        "_target_": f"{module}.MLP",
        "output_dim": latent,
        "hidden_dim": config.projector_hidden,
        "norm_fn": {"_target_": "torch.nn.BatchNorm1d", "_partial_": True},
    }
    return {
        "_target_": "stable_worldmodel.wm.lewm.LeWM",
        "encoder": {
            "_target_": "stable_pretraining.backbone.utils.vit_hf",
            "size": "tiny",
            "patch_size": vit.patch,
            "image_size": image_size,
            "pretrained": False,
            "use_mask_token": False,
            "hidden_size": vit.width,
            "num_hidden_layers": vit.depth,
            "num_attention_heads": vit.heads,
            "intermediate_size": 4 * vit.width,
        },
        "predictor": {
            "_target_": f"{module}.Predictor",
            "num_frames": config.history,
            "input_dim": latent,
            "hidden_dim": config.predictor_width,
            "output_dim": latent,
            "depth": config.predictor_depth,
            "heads": config.predictor_heads,
            "mlp_dim": config.predictor_hidden,
            "dim_head": config.predictor_head_width,
            "dropout": config.dropout,
            "emb_dropout": 0.0,
        },
        "action_encoder": {
            "_target_": f"{module}.Embedder",
            "input_dim": block_dim,
            "emb_dim": latent,
        },
        "projector": {"input_dim": vit.width} | projector,
        "pred_proj": {"input_dim": latent} | projector,
    }


def _encoder(tensors: Mapping[str, Tensor], written: Mapping[str, Any]) -> EncoderConfig:
    width = tensors[CLS].shape[-1]
    heads = int(written.get("num_attention_heads", EncoderConfig().heads))
    if width % heads:
        raise ValueError(f"{heads} heads do not divide the encoder's width of {width}")
    depth = _count(tensors, f"{_VIT}layers")
    return EncoderConfig(kind="vit", width=width, patch=_patch(tensors), depth=depth, heads=heads)


def _predictor(tensors: Mapping[str, Tensor], written: Mapping[str, Any]) -> dict[str, int]:
    history, latent = tensors["predictor.positions"].shape[1:]
    inner = tensors["predictor.blocks.0.attention.qkv.weight"].shape[0] // 3
    heads = int(written.get("heads", JEPAConfig().predictor_heads))
    if inner % heads:
        raise ValueError(f"{heads} heads do not divide the predictor's inner width of {inner}")
    return {
        "history": history,
        "latent_dim": latent,
        "projector_hidden": tensors["projector.0.weight"].shape[0],
        "predictor_width": tensors["predictor.norm.weight"].shape[0],
        "predictor_depth": _count(tensors, "predictor.blocks"),
        "predictor_heads": heads,
        "predictor_head_width": inner // heads,
        "predictor_hidden": tensors["predictor.blocks.0.mlp.1.weight"].shape[0],
    }


def _patch(tensors: Mapping[str, Tensor]) -> int:
    return tensors[f"{_VIT}embeddings.patch_embeddings.projection.weight"].shape[-1]


def _count(tensors: Mapping[str, Tensor], layers: str) -> int:
    """How many layers there are."""
    numbers = [re.match(rf"{re.escape(layers)}\.(\d+)\.", name) for name in tensors]
    return 1 + max((int(number[1]) for number in numbers if number), default=-1)


def _our_name(name: str) -> str:
    inner = name.removeprefix(_ENCODER)
    if inner != name and inner.startswith(_OF_A_VIT):
        for old, new in _TRANSFORMERS_4:
            inner = _replaced(inner, old, new)
        return _VIT + inner
    for old, new in _PARTS:
        if name == old or name.startswith(f"{old}."):
            name = new + name.removeprefix(old)
            break
    if name.startswith("predictor.blocks."):
        for old, new in _IN_A_BLOCK:
            name = _replaced(name, old, new)
    return name


def _their_name(name: str, transformers: int) -> str:
    """ "" for a name that the released network does not have."""
    if name.startswith(_VIT):
        inner = name.removeprefix(_VIT)
        for old, new in reversed(_TRANSFORMERS_4) if transformers == 4 else ():
            inner = _replaced(inner, new, old)
        return _ENCODER + inner
    if name.startswith("predictor.blocks."):
        for old, new in _IN_A_BLOCK:
            name = _replaced(name, new, old)
    for old, new in _PARTS:
        if name == new or name.startswith(f"{new}."):
            return old + name.removeprefix(new)
    return ""


def _replaced(name: str, old: str, new: str) -> str:
    """`name` with `new` for `old`, where that is whole words between dots."""
    return re.sub(rf"(^|\.){re.escape(old)}(?=\.)", rf"\g<1>{new}", name)
