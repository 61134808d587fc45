"""Shared by the figures: options of the command, and models of a scale with random weights."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import torch
from torch import nn

from harness import zoo
from harness.bench import ceiling
from harness.contracts.data import Batch, Obs
from harness.contracts.method import WorldModel
from harness.contracts.planning import Noise
from harness.contracts.setting import Settings, setting
from harness.experiment import config, dotted_keys, suites
from harness.experiment.identity import TrialSpec
from harness.experiment.scales import SCALES
from harness.nn.jepa import JEPANetwork
from harness.planning.plan_search import PlanSearch
from harness.planning.receding_horizon import MPCPolicy
from harness.runtime import command, onednn, seeding
from harness.trial import STAGES

T = TypeVar("T", bound=Settings)
A_TASK, A_SCALE = f"one of {', '.join(zoo.TASKS)}", f"one of {', '.join(SCALES)}"


@dataclass(frozen=True)
class Common(Settings):
    """Options of every figure."""

    repeats: int = setting(5, "How often each side is measured.", ge=1)
    results: str = setting("results/bench", "The folder of the rows and pictures.", text="a path")


@dataclass(frozen=True)
class OfModels(Common):
    """Options of figures about models."""

    scale: str = setting("laptop", "How big the model is.", text=A_SCALE)
    task: str = setting("two_room", "The task that is seen.", text=A_TASK)
    threads: int = setting(2, "Threads of a side.", ge=1)
    device: Literal["cpu", "cuda"] = setting("cpu", "Where models run.")


def parse(argv: Sequence[str], kind: type[T]) -> T:
    """key=value words as the dataclass `kind`; raises config.ConfigError."""
    options = dotted_keys.fill(kind(), dict(map(command.split, argv)))
    for name, valid in (("task", zoo.TASKS), ("scale", SCALES)):
        if hasattr(options, name):
            config.known(name, getattr(options, name), valid)
    return options


def file(name: str, options: OfModels) -> str:
    """Name of a figure's rows: "plan-paper", of a GPU "plan-paper-cuda"."""
    return f"{name}-{options.scale}{'' if options.device == 'cpu' else f'-{options.device}'}"


def spec(scale: str, task: str, method: str, *extra: str, device: str = "cpu") -> TrialSpec:
    """A trial of this method at this scale; frozen encoders have random weights."""
    said = ("suite=all", f"scale={scale}", f"tasks=[{task}]", f"methods=[{method}]", *extra)
    weights = ("method.dino_wm.weights=random", f"device={device}")
    (made,) = suites.expand(config.parse([*said, *weights]), STAGES)
    return made


def policy(
    trial: TrialSpec,
    model: WorldModel,
    pairs: int,
    device: torch.device | str = "cpu",
    noise: Callable[..., Noise] = seeding.PairNoise,
) -> MPCPolicy:
    """The trial's planner over the model, ready to solve that many pairs; actions stay z-scored."""
    cfg = trial.config
    search = PlanSearch(
        model,
        zoo.PLANNERS[cfg.planner_name].build(cfg.planner),
        cfg.mpc.horizon_blocks,
        zoo.TASKS[trial.task].spec.block_dim,
        cfg.mpc.precision,
        device,
        threads=torch.get_num_threads(),
        noise=noise,
    )
    policy = MPCPolicy(
        search,
        cfg.mpc.execute_blocks,
        lambda actions: actions,
        seed=0,
        pairs_per_call=cfg.resources.pairs_per_rollout,
    )
    policy.reset(range(pairs))
    return policy


def frames(trial: TrialSpec, pairs: int) -> tuple[Obs, Obs]:
    """Random present and goal pictures, (pairs, 1, 3, size, size) each."""
    size = trial.config.data.image_size
    drawn = torch.Generator().manual_seed(0)
    shape = (2, pairs, 1, 3, size, size)
    now, goal = torch.randint(0, 256, shape, dtype=torch.uint8, generator=drawn)
    return Obs(now), Obs(goal)


def windows(trial: TrialSpec, count: int, device: str = "cpu") -> Batch:
    """Random training windows (count, 4, ...) without proprio or goals."""
    drawn = torch.Generator().manual_seed(0)
    size, task = trial.config.data.image_size, zoo.TASKS[trial.task].spec
    shape = (count, 4, 3, size, size)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=drawn)
    actions = torch.randn(*shape[:2], task.block_dim, generator=drawn)
    return Batch(Obs(pixels.to(device)), actions.to(device), None)


@functools.cache
def modes(device: str) -> tuple[str, ...]:
    """Number formats to measure: fp32, and bf16 where the device multiplies it at least as fast."""
    if device != "cpu":
        return "fp32", "bf16"
    rates = ceiling.measure(torch.get_num_threads())
    return ("fp32", "bf16") if rates["bf16"] >= rates["fp32"] else ("fp32",)


def model(trial: TrialSpec, device: str = "cpu") -> WorldModel:
    """The trial's untrained model in evaluation mode, with the linear layers that trials use."""
    model = unaccelerated(trial, device)
    onednn.accelerate(model)
    return model


def unaccelerated(trial: TrialSpec, device: str = "cpu") -> WorldModel:
    """The same with torch's own linear layers, for the other side of a comparison. Layers that
    start at zero get random weights too, so that actions have an effect.
    """
    dims = zoo.TASKS[trial.task].spec.model_dims(trial.config.data.image_size)
    torch.manual_seed(0)
    model = zoo.METHODS[trial.method].build(trial.config.method, dims)
    assert isinstance(model, WorldModel), trial.method
    for parameter in model.parameters():
        if parameter.dim() > 1 and not parameter.any():
            nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
    return model.to(device).eval()


def unaccelerated_lewm(trial: TrialSpec, device: str = "cpu") -> JEPANetwork:
    """The same for a trial of LeWM, whose weights the peer's model takes."""
    model = unaccelerated(trial, device)
    assert isinstance(model, JEPANetwork), trial.method
    return model
