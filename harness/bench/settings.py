"""What the figures share: the words of the command, and models of a scale with random weights."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import nn

from harness import config, suites, zoo
from harness.interfaces import TrialSpec
from harness.scales import SCALES

Settings = TypeVar("Settings")


def parse(words: Sequence[str], kind: type[Settings]) -> Settings:
    """key=value words as the dataclass `kind`; raises config.ConfigError."""
    kinds = {f.name: type(f.default) for f in dataclasses.fields(kind)}
    values: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise config.ConfigError(f'"{word}" is not of the form key=value, e.g. repeats=3')
        wanted = kinds[config.known("key", key, kinds)]
        try:
            values[key] = wanted(value)
        except ValueError as error:
            raise config.ConfigError(f"{key}={value} must be a whole number") from error
    made = kind(**values)
    for name, known in (("task", zoo.TASKS), ("scale", SCALES)):
        if name in kinds:
            config.known(name, getattr(made, name), known)
    for name, value in vars(made).items():
        if isinstance(value, int) and value < 1:
            raise config.ConfigError(f"{name}={value} must be at least 1")
    return made


def spec(scale: str, task: str, method: str, *words: str, device: str = "cpu") -> TrialSpec:
    """The trial that the scale has of this method; frozen encoders are not trained."""
    said = ("suite=all", f"scale={scale}", f"tasks=[{task}]", f"methods=[{method}]", *words)
    weights = ("method.dino_wm.weights=random", f"device={device}")
    (made,) = suites.expand(config.parse([*said, *weights]))
    return made


def modes(device: str) -> list[str]:
    """fp32, and bf16 where the device multiplies matrices in it at least as fast."""
    taken = {}
    for dtype in (torch.float32, torch.bfloat16):
        a = torch.ones(256, 256, dtype=dtype, device=device)
        float((a @ a)[0, 0])
        started = time.perf_counter()
        float((a @ a @ a)[0, 0])
        taken[dtype] = time.perf_counter() - started
    faster = taken[torch.bfloat16] <= taken[torch.float32]
    return ["fp32", "bf16"] if faster else ["fp32"]


def model(trial: TrialSpec, device: str = "cpu") -> nn.Module:
    """Its untrained model, whose layers that start at zero are drawn too, for evaluation."""
    shape = zoo.TASKS[trial.task].spec.shape(trial.config.data.image_size)
    torch.manual_seed(0)
    made = zoo.METHODS[trial.method].build(trial.config.method, shape)
    for parameter in made.parameters():
        if parameter.dim() > 1 and not parameter.any():
            nn.init.normal_(parameter, std=0.02)
    return made.to(device).eval()
