"""The peer that figures compare with: stable-worldmodel, where it is installed.

Its LeWM gets our weights, so that both compute the same numbers. Its prints are suppressed. It
needs torchvision only for two class names, so empty classes replace them where torchvision is
missing.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import importlib.util
import inspect
import io
import logging
import sys
import types
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.nn import published_names
from harness.nn.jepa import JEPANetwork
from harness.runtime import command
from harness.tasks import rendering

if TYPE_CHECKING:
    import gymnasium as gym

log = logging.getLogger(__name__)

NAME = "stable-worldmodel"
SEED = 1234  # of its solver's random numbers


@functools.cache  # so that a missing peer is logged once
def find() -> str:
    """The version of the peer; "" where it is missing or cannot be imported, which is logged."""
    try:
        version = importlib.metadata.version(NAME)
        _module("solver"), _module("wm.lewm"), _module("wm.lewm.module"), _module("wm.loss")
    except importlib.metadata.PackageNotFoundError:
        fix = command.module("pip", "install", NAME)
        log.info("%s is not installed: figures are without it (%s)", NAME, fix)
        return ""
    except ImportError as error:
        log.info("%s %s cannot be imported (%s): figures are without it", NAME, version, error)
        return ""
    return version


def lewm(ours: JEPANetwork) -> nn.Module:
    """The peer's LeWM with our encoder (a ViT with transformers' own attention, like the peer's)
    and a copy of our other weights.
    """
    parts = _module("wm.lewm.module")
    own, stack = ours.predictor, ours.predictor.blocks[0]
    latent = own.positions.shape[-1]
    embed = ours.action_embedder
    predictor = parts.Predictor(
        num_frames=own.positions.shape[1],
        depth=len(own.blocks),
        heads=stack.attention.heads,
        mlp_dim=stack.mlp[1].out_features,
        input_dim=latent,
        hidden_dim=own.norm.normalized_shape[0],
        dim_head=stack.attention.out[0].in_features // stack.attention.heads,
        dropout=stack.attention.dropout,
    )
    model = _module("wm.lewm").LeWM(
        encoder=_encoder(ours.encoder),
        predictor=predictor,
        action_encoder=parts.Embedder(embed.smooth.in_channels, embed.smooth.out_channels, latent),
        projector=_mlp(parts, ours.projector),
        pred_proj=_mlp(parts, ours.predictor_projector),
    )
    weights = {f"encoder.{name}": value for name, value in model.encoder.state_dict().items()}
    model.load_state_dict(published_names.theirs(ours.state_dict(), 5) | weights)
    return model


def batches() -> bool:
    """Whether its solver can plan several pairs in one call of the model."""
    return "batch_size" in inspect.signature(_module("solver").CEMSolver).parameters


def solver(
    model: nn.Module, pairs: int, blocks: int, block_dim: int, together: int = 1, **settings: Any
):
    """A CEMSolver for plans of `blocks` blocks of `block_dim` numbers, `together` pairs in one
    call of the model.
    """
    gymnasium = importlib.import_module("gymnasium")
    settings |= {"batch_size": together} if together > 1 else {}
    solver = _module("solver").CEMSolver(model, seed=SEED, **settings)
    box = gymnasium.spaces.Box(-1, 1, (pairs, block_dim), np.float32)
    config = _module("policy").PlanConfig(blocks, blocks)
    solver.configure(action_space=box, n_envs=pairs, config=config)
    return solver


def solve(solver, start: Tensor, goal: Tensor, block_dim: int) -> Tensor:
    """Plans (B, K, A) from normalised frames start and goal (B, 1, 3, size, size)."""
    info = {"pixels": start, "goal": goal, "action": torch.zeros(len(start), 1, block_dim)}
    if (
        getattr(solver, "batch_size", 1) > 1
    ):  # its cost takes several pairs only if goals are encoded
        with torch.inference_mode():
            info["goal_emb"] = solver.model.encode({"pixels": goal})["emb"]
    with contextlib.redirect_stdout(io.StringIO()):
        return solver.solve(info)["actions"]


def sigreg(directions: int) -> nn.Module:
    """The peer's SIGReg, with 17 knots like ours."""
    return _module("wm.loss").SIGReg(num_proj=directions)


def lance() -> types.ModuleType:
    """The peer's module of the Lance format. Raises ImportError."""
    return _module("data.formats.lance")


def jpeg() -> str:
    """How the peer stores frames and what unpacks them, in words."""
    module = lance()
    by = "torchvision" if getattr(module, "_tv_decode_jpeg", None) else "Pillow"
    return f"JPEG of quality {getattr(module, '_DEFAULT_JPEG_QUALITY', '?')}, unpacked by {by}"


def environment(task: str) -> gym.Env[Any, Any] | None:
    """The peer's environment of one of our tasks, unwrapped. Logs and returns None without one."""
    gymnasium = importlib.import_module("gymnasium")
    gymnasium.logger.min_level = logging.ERROR
    try:
        rendering.load()  # a GL backend, which it leaves to its user
        _module("envs")
        with _tensors(), contextlib.redirect_stdout(io.StringIO()):
            return gymnasium.make(_ENVIRONMENTS[task], disable_env_checker=True).unwrapped
    except (ImportError, OSError) as error:
        log.info("%s has no environment of %s here: %s", NAME, task, error)
        return None


_ENVIRONMENTS = {
    "two_room": "swm/TwoRoom-v1",
    "push_t": "swm/PushT-v1",
    "reacher": "swm/ReacherDMControl-v0",
    "cube": "swm/OGBCube-v0",
}


def _encoder(ours: nn.Module) -> nn.Module:
    if not hasattr(ours, "vit"):
        return _AsViT(ours)
    ours.vit.set_attn_implementation("sdpa")
    return ours.vit


class _AsViT(nn.Module):
    """Our encoder behind the interface of a ViT of transformers."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder

    def forward(self, pixels: Tensor, interpolate_pos_encoding: bool = False):
        token = self.encoder.features(pixels)[:, None]
        return types.SimpleNamespace(last_hidden_state=token)


def _module(name: str) -> types.ModuleType:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), _tensors():
        warnings.simplefilter("ignore")
        return importlib.import_module(f"stable_worldmodel.{name}")


@contextlib.contextmanager
def _tensors():
    """Provide torchvision.tv_tensors, with empty classes where torchvision is missing."""
    if importlib.util.find_spec("torchvision") is not None:
        yield
        return
    stand_in = types.ModuleType("torchvision.tv_tensors")
    stand_in.Image, stand_in.Video = type("Image", (), {}), type("Video", (), {})
    modules = {"torchvision": types.ModuleType("torchvision"), stand_in.__name__: stand_in}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]


def _mlp(parts, ours: nn.Sequential) -> nn.Module:
    return parts.MLP(
        ours[0].in_features, ours[0].out_features, ours[3].out_features, norm_fn=nn.BatchNorm1d
    )
