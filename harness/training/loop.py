"""One training loop for every method: AdamW over `loss(batch)["loss"]`, resumable to the same
weights.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from harness.contracts.data import Batch, Window
from harness.contracts.method import LatentModel, Trainable
from harness.contracts.setting import Settings, setting
from harness.records import rows
from harness.runtime import onednn, seeding
from harness.runtime.progress import Progress
from harness.training.checkpoint import Checkpoint

_FIRST_SAVE_S = 10.0
_READERS = 4  # threads that read for a GPU, whose steps are short

M = TypeVar("M", bound=Trainable)


class TrainingError(RuntimeError):
    """Training cannot go on."""


class DivergedError(TrainingError):
    """The loss, or a term of it, is not finite."""


@dataclass(frozen=True)
class TrainConfig(Settings):
    """AdamW with a linear warm-up and a cosine; the defaults are those of LeWM section 3."""

    steps: int = setting(0, "Optimizer steps; 0: as many as `epochs` need.", ge=0)
    epochs: float = setting(10.0, "Passes over the training windows.", ge=0, paper=10)
    batch_size: int = setting(128, "Windows of a batch.", ge=2, paper=128)
    lr: float = setting(5e-5, "Learning rate after the warm-up, its highest.", gt=0, paper=5e-5)
    weight_decay: float = setting(1e-3, "Weight decay of AdamW.", ge=0, paper=1e-3)
    warmup_fraction: float = setting(
        0.01, "Share of the steps in which the learning rate rises.", ge=0, le=1, paper=0.01
    )
    clip_norm: float = setting(1.0, "Largest norm of the gradients.", gt=0, paper=1.0)
    precision: Literal["fp32", "bf16"] = setting(
        "bf16", "Number format of the forward and backward pass.", paper="bf16"
    )
    log_every: int = setting(50, "Steps between two points of the training curve.", ge=1)
    threads: int = setting(
        1, "Threads inside each operation on a CPU; another number adds up in another order.", ge=1
    )
    checkpoint_every_s: float = setting(60.0, "Seconds between two checkpoints.", ge=0)
    data_share: float = setting(
        1.0, "Share of the training episodes that are learned from, the same ones for all.",
        gt=0, le=1,
    )  # fmt: skip
    snapshots: tuple[float, ...] = setting(
        (), "Shares of the training, such as 0.25, after which its weights are kept.", gt=0, le=1
    )
    stop_after: float = setting(
        1.0, "Share of the training after which it pauses, to go on in a later trial.", gt=0, le=1
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps == 0 and self.epochs == 0:
            raise ValueError("steps=0 and epochs=0: one must be above 0")


class TrainingData(Protocol):
    """The source of a training's batches: data/windows.py's Windows, or another."""

    def __len__(self) -> int:
        """How many windows there are."""

    def sample(self, rng: np.random.Generator, batch_size: int) -> Window:
        """Windows drawn at random, `batch_size` of them."""


class Logged(NamedTuple):
    """A value of the training curve."""

    name: str
    step: int
    value: float


class TrainResult(NamedTuple):
    """The outcome of `train` beside the model's weights."""

    steps: int
    seconds: float  # over all attempts
    wait_s: float  # of this attempt, for batches that were not there yet
    curve: list[Logged]


def total_steps(config: TrainConfig, windows: int) -> int:
    """Optimizer steps for a training split of that many windows."""
    return config.steps or math.ceil(config.epochs * windows / config.batch_size)


def train(
    model: Trainable,
    windows: TrainingData,
    config: TrainConfig,
    seed: int,
    device: torch.device,
    checkpoint: Checkpoint,
    progress: Progress,
) -> TrainResult:
    """Minimise model.loss over random windows, from the checkpoint's step on if there is one.

    What step k draws (batch, dropout, SIGReg's directions) depends on (seed, k) alone, so that a
    training that was interrupted ends with the weights of one that was not. Raises TrainingError
    when the loss is not finite. The model keeps the faster layers (onednn.py) for what follows.
    """
    steps = total_steps(config, len(windows))
    snapshots = {math.ceil(share * steps): share for share in config.snapshots}
    stop = math.ceil(config.stop_after * steps)
    optimizer = optimizer_of(model, config)
    done, seconds, entries = checkpoint.load_training(model, optimizer)
    curve = [Logged(*entry) for entry in entries]
    onednn.accelerate(model)
    model.train()
    started = saved = time.perf_counter()
    waited = 0.0
    readers = _READERS if device.type == "cuda" else 1
    with contextlib.closing(
        _prefetched(windows, config.batch_size, seed, range(done, stop), device, readers)
    ) as batches:
        for step in range(done, stop):
            before = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - before
            logged = step % config.log_every == 0 or step == steps - 1
            seed_of_step = seeding.integer("step", seed, step)
            lr = _lr(config, step, steps)
            terms = optimizer_step(model, optimizer, batch, config, lr, seed_of_step)
            model.after_step(step, steps)
            if logged:
                curve += _log(terms, step)
            progress("train", step + 1, steps)
            now = time.perf_counter()
            if step + 1 in snapshots:
                checkpoint.keep_snapshot(model, snapshots[step + 1])
            wait = min(config.checkpoint_every_s, _FIRST_SAVE_S + now - started)  # sooner at first
            if step == stop - 1 or now - saved > wait:
                spent = seconds + time.perf_counter() - started
                checkpoint.save_training(model, optimizer, step + 1, spent, curve)
                saved = time.perf_counter()
    model.eval()
    return TrainResult(max(done, stop), seconds + time.perf_counter() - started, waited, curve)


# of a model whose weights come from elsewhere: no time was measured
NOT_TRAINED = TrainResult(0, math.nan, 0.0, [])


def ready_to_act(model: M) -> M:
    """A model whose weights come from elsewhere, as `train` leaves one; returns it."""
    onednn.accelerate(model)
    return model.eval()


def metric_rows(key: str, result: TrainResult) -> list[rows.MetricRow]:
    """The rows of the trial `key`: the training curve, and the time spent waiting for batches."""
    wait = rows.MetricRow(key, "train_time", "wait_s", 0, result.wait_s, "s")
    curve = [rows.MetricRow(key, "train", p.name, p.step, p.value, "") for p in result.curve]
    return [wait, *curve]


def facts(model: LatentModel, result: TrainResult, checkpoint_hash: str) -> rows.TrainingFacts:
    """Columns of the trial's own row about the training."""
    return rows.TrainingFacts(
        checkpoint_hash=checkpoint_hash,
        parameters_trained=sum(p.numel() for p in model.parameters() if p.requires_grad),
        parameters_frozen=sum(p.numel() for p in model.parameters() if not p.requires_grad),
        tokens_per_frame=model.tokens_per_frame,
        train_steps=result.steps,
        train_s=result.seconds,
    )


def optimizer_of(model: Trainable, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW over the trained parameters, in the groups whose gradients are clipped together."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = []
    for parts in model.separate_clip_groups:
        separate = {p for part in parts for p in part.parameters()}
        groups.append([p for p in trained if p in separate])
        trained = [p for p in trained if p not in separate]
    params = [{"params": group} for group in [trained, *groups] if group]
    return torch.optim.AdamW(params, lr=config.lr, weight_decay=config.weight_decay, fused=True)


def optimizer_step(
    model: Trainable,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    config: TrainConfig,
    lr: float,
    seed: int,
) -> dict[str, Tensor | float]:
    """One step on a batch that is on the model's device; the terms of the loss, detached."""
    torch.manual_seed(seed)
    for group in optimizer.param_groups:
        group["lr"] = lr
    kind = batch.actions.device.type
    with torch.autocast(kind, torch.bfloat16, enabled=config.precision == "bf16"):
        terms = model.loss(batch)
    if "loss" not in terms:
        raise TrainingError(
            f"{type(model).__name__}.loss returned {', '.join(terms) or 'nothing'}, and not the "
            f'"loss" that is minimised'
        )
    optimizer.zero_grad(set_to_none=True)
    terms["loss"].backward()
    norms = [
        nn.utils.clip_grad_norm_(group["params"], config.clip_norm)
        for group in optimizer.param_groups
    ]
    optimizer.step()
    norm = torch.stack(norms).norm()
    return {**{name: term.detach() for name, term in terms.items()}, "grad_norm": norm, "lr": lr}


def _log(terms: dict[str, Tensor | float], step: int) -> list[Logged]:
    values = [Logged(name, step, float(value)) for name, value in terms.items()]
    broken = [entry.name for entry in values if not math.isfinite(entry.value)]
    if broken:
        raise DivergedError(
            f"{', '.join(broken)} is not finite at step {step}: lower train.lr or train with "
            f"train.precision=fp32"
        )
    return values


def _lr(config: TrainConfig, step: int, steps: int) -> float:
    """Linear warm-up, then cosine to zero."""
    warmup = max(1, round(config.warmup_fraction * steps))
    if step < warmup:
        return config.lr * (step + 1) / warmup
    return config.lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def _prefetched(
    windows: TrainingData,
    batch_size: int,
    seed: int,
    steps: range,
    device: torch.device,
    readers: int,
) -> Generator[Batch, None, None]:
    """The batches of the steps, on the device. `readers` threads read the next ones while one is in
    use; each step draws from a random stream of its own.
    """

    def read(step: int) -> Batch:
        rng = seeding.stream("batch", seed, step)
        return windows.sample(rng, batch_size).batch.to(device)

    with ThreadPoolExecutor(readers, thread_name_prefix="windows") as pool:
        pending = deque(pool.submit(read, step) for step in steps[:readers])
        for step in steps:
            batch = pending.popleft().result()
            if step + readers in steps:
                pending.append(pool.submit(read, step + readers))
            yield batch
