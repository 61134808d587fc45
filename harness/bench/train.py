"""train: one optimizer step of LeWM against one of the peer's modules.

The same random frames, actions and first weights on both sides; each side's own SIGReg with as many
directions, the loss of LeWM eq. 4, clipped gradients, AdamW. fp32, and bf16 (autocast) as a figure
of its own where the device multiplies it fast. On CUDA our step is measured with deterministic
kernels as well, which trials use. Each step has its share of the ceiling, which is measured first
(ceiling.py). The outcome is the loss of the last step. Where the peer is missing, times stand
alone. Windows are in memory: reading them is the figure `data`.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.bench import ceiling, peer, settings, versus
from harness.contracts.data import Batch
from harness.contracts.setting import setting
from harness.experiment.identity import TrialSpec
from harness.runtime import deterministic, flops
from harness.training import loop

NAME = "train"
Step = Callable[[], Tensor | float]  # makes an optimizer step; gives the loss


@dataclass(frozen=True)
class Config(settings.OfModels):
    """The options of this figure."""

    windows: int = setting(64, "Windows of a batch.", ge=1)
    steps: int = setting(5, "Optimizer steps of a measurement.", ge=1)


def run(options: Config) -> str:
    """Measure, write the rows and show the table; returns the path of the rows."""
    torch.set_num_threads(options.threads)
    ceilings = ceiling.measure(options.threads, options.device)
    measured = versus.measure(_figures(options), options.repeats, options.device)
    title = f"Training steps of LeWM, scale={options.scale}, {options.threads} thread(s)"
    taken = flops_of_step(options.scale, options.task, options.windows)
    rates = (
        f"{line.side}, {line.figure}: {taken / line.median / 1e12:.3g} TFLOP/s"
        for line in versus.summary(measured)
    )
    caption = (
        "Seconds of one step. Outcome: loss of the last, median. A step takes "
        f"{taken / 1e12:.3g} TFLOP (forward and backward, counted by harness/runtime/flops.py). "
        f"{'; '.join(rates)}. {ceiling.sentence(ceilings, options.device)}"
    )
    of_figures = {_name(options, precision): rate for precision, rate in ceilings.items()}
    measured += ceiling.shares(measured, taken, of_figures)
    return versus.publish(options.results, settings.file(NAME, options), measured, title, caption)


def _figures(options: Config) -> Iterator[versus.Figure]:
    trial = settings.spec(options.scale, options.task, "lewm", device=options.device)
    batch = settings.windows(trial, options.windows, options.device)
    for precision in settings.modes(options.device):
        cfg = dataclasses.replace(trial.config.train, precision=precision)
        steps = {"peer": peers_step} if peer.find() else {}
        steps["ours"] = our_step
        if options.device == "cuda":
            steps["ours, deterministic"] = deterministic_step
        sides = [
            versus.Side(side, _timed(options, build(trial, cfg, batch, options.device)))
            for side, build in steps.items()
        ]
        name = _name(options, precision)
        yield versus.Figure(name, sides, sides[0].name, outcome_name="loss")


def _name(options: Config, precision: str) -> str:
    return f"{options.windows} windows, {precision}"


def flops_of_step(scale: str, task: str, windows: int) -> int:
    """Floating-point operations of one step on a batch of that many windows."""
    trial = settings.spec(scale, task, "lewm")
    batch = settings.windows(trial, windows, "meta")
    return flops.of_step(lambda model: model.loss(batch)["loss"], settings.model(trial))


def our_step(trial: TrialSpec, cfg: loop.TrainConfig, batch: Batch, device: str) -> Step:
    """A step of harness/training/loop.py; gives the loss."""
    model = settings.model(trial, device).train()
    optimizer = loop.optimizer_of(model, cfg)
    seeds = itertools.count()  # other directions and dropout in every step, as the peer draws them

    def step() -> Tensor | float:
        return loop.optimizer_step(model, optimizer, batch, cfg, cfg.lr, next(seeds))["loss"]

    return step


def deterministic_step(trial: TrialSpec, cfg: loop.TrainConfig, batch: Batch, device: str) -> Step:
    """Our step by the kernels that trials on a GPU use, which repeat themselves to the bit."""
    step = our_step(trial, cfg, batch, device)

    def once() -> Tensor | float:
        deterministic.use()
        try:
            return step()
        finally:
            deterministic.use(False)

    return once


def peers_step(trial: TrialSpec, cfg: loop.TrainConfig, batch: Batch, device: str) -> Step:
    """The same by the peer's modules, put together as its training script does: pixels arrive
    normalised.
    """
    assert batch.obs.pixels is not None
    ours = settings.unaccelerated_lewm(trial, device)
    model = peer.lewm(ours, trial.config.method).to(device).train()
    sigreg = peer.sigreg(trial.config.method.sigreg_directions).to(device)
    frames = ours.encoder.normalised(batch.obs.pixels.flatten(0, 1))
    frames = frames.unflatten(0, batch.obs.pixels.shape[:2])
    optimizer = torch.optim.AdamW(model.parameters(), lr=cfg.lr, weight_decay=cfg.weight_decay)

    def step() -> Tensor:
        with _autocast(device, cfg.precision):
            seen = model.encode({"pixels": frames, "action": batch.actions})
            z, action = seen["emb"], seen["act_emb"]
            predicted = model.predict(z[:, :-1], action[:, :-1])
            loss = F.mse_loss(predicted, z[:, 1:])
            loss = loss + trial.config.method.sigreg_weight * sigreg(z.transpose(0, 1))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), cfg.clip_norm)
        optimizer.step()
        return loss.detach()

    return step


def _autocast(device: str, precision: str) -> torch.autocast:
    return torch.autocast(torch.device(device).type, torch.bfloat16, enabled=precision == "bf16")


def _timed(options: Config, step: Step) -> Callable[[], tuple[float, float]]:
    def once() -> tuple[float, float]:
        started = time.perf_counter()
        for _ in range(options.steps):
            loss = step()
        value = float(loss)  # waits for the device
        return (time.perf_counter() - started) / options.steps, value

    return once
