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
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from harness.nn import encoders, published_names
from harness.nn.jepa import JEPAConfig, JEPANetwork
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


class LeWM(nn.Module):
    """The peer's LeWM, as far as it is called here."""

    encode: Callable[[dict[str, Tensor]], dict[str, Tensor]]
    predict: Callable[[Tensor, Tensor], Tensor]


class Solver(Protocol):
    """The peer's solver, as far as it is called here."""

    model: LeWM

    def solve(self, info_dict: dict[str, Tensor]) -> dict[str, Tensor]:
        """Plans under "actions" for frames under "pixels" and "goal"."""


def lewm(ours: JEPANetwork, config: JEPAConfig) -> LeWM:
    """The peer's LeWM with our encoder (a ViT with transformers' own attention, like the peer's)
    and a copy of our other weights; `config` is the one that our network was built by.
    """
    parts, latent = _module("wm.lewm.module"), config.latent_dim
    predictor = parts.Predictor(
        num_frames=config.history,
        depth=config.predictor_depth,
        heads=config.predictor_heads,
        mlp_dim=config.predictor_hidden,
        input_dim=latent,
        hidden_dim=config.predictor_width,
        dim_head=config.predictor_head_width,
        dropout=config.dropout,
    )
    sizes = config.projector_hidden, latent  # of both projectors
    embed = ours.action_embedder.smooth
    model = _module("wm.lewm").LeWM(
        encoder=_encoder(ours.encoder),
        predictor=predictor,
        action_encoder=parts.Embedder(embed.in_channels, embed.out_channels, latent),
        projector=parts.MLP(ours.encoder.width, *sizes, norm_fn=nn.BatchNorm1d),
        pred_proj=parts.MLP(latent, *sizes, norm_fn=nn.BatchNorm1d),
    )
    weights = {f"encoder.{name}": value for name, value in model.encoder.state_dict().items()}
    model.load_state_dict(published_names.theirs(ours.state_dict(), 5) | weights)
    return model


def batches() -> bool:
    """Whether its solver can plan several pairs in one call of the model."""
    return "batch_size" in inspect.signature(_module("solver").CEMSolver).parameters


def solver(
    model: LeWM, pairs: int, blocks: int, block_dim: int, together: int = 1, **settings: Any
) -> Solver:
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


def solve(solver: Solver, start: Tensor, goal: Tensor, block_dim: int) -> Tensor:
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


def _encoder(ours: encoders.Encoder) -> nn.Module:
    if not isinstance(ours, encoders.ViT):
        return _AsViT(ours)
    ours.vit.set_attn_implementation("sdpa")
    return ours.vit


class _AsViT(nn.Module):
    """Our encoder behind the interface of a ViT of transformers."""

    def __init__(self, encoder: encoders.Encoder):
        super().__init__()
        self.encoder = encoder

    def forward(
        self, pixels: Tensor, interpolate_pos_encoding: bool = False
    ) -> types.SimpleNamespace:
        token = self.encoder.features(pixels)[:, None]
        return types.SimpleNamespace(last_hidden_state=token)


def _module(name: str) -> types.ModuleType:
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()), _tensors():
        warnings.simplefilter("ignore")
        return importlib.import_module(f"stable_worldmodel.{name}")


@contextlib.contextmanager
def _tensors() -> Iterator[None]:
    """Provide torchvision.tv_tensors, with empty classes where torchvision is missing."""
    if importlib.util.find_spec("torchvision") is not None:
        yield
        return
    stand_in = types.ModuleType("torchvision.tv_tensors")
    vars(stand_in).update({name: type(name, (), {}) for name in ("Image", "Video")})
    modules = {"torchvision": types.ModuleType("torchvision"), stand_in.__name__: stand_in}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in modules:
            del sys.modules[name]
