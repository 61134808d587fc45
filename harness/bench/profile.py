"""profile: where the time of a training step and of a plan of LeWM goes, by kind of operation.

torch's profiler gives the time of each operation without those that it calls; on CUDA, that of its
kernels, and of a plan, whose iterations are recorded, the kernels by their own names. Weights and
frames are random, and there is one pair. The same is measured for the peer's modules where they are
installed, and for a plan in the plain form (plan). The last line of each is the wall time of the
same work without the profiler; the caption says which share of the ceiling (ceiling.py) a training
step reaches in it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from harness.bench import ceiling, peer, settings, versus
from harness.bench import train as training
from harness.bench.plan import plain
from harness.contracts.method import WorldModel
from harness.contracts.setting import setting
from harness.experiment.identity import TrialSpec
from harness.planning.batch_solver import synchronise

NAME = "profile"
WALL = "wall time"
KINDS = {  # the first kind that has a part of an operation's or kernel's name
    "attention": ("scaled_dot_product", "softmax", "flash", "fmha", "bmm"),
    "matrix products": ("mm", "linear", "convolution", "gemm", "cutlass", "nvjet"),
    "normalisation": ("norm",),
    "activations": ("gelu", "silu", "relu"),
    "optimizer": ("adam", "optimizer", "zero_grad"),
    "copies": ("copy_", "cat", "index", "gather", "clone", "memcpy", "to_copy"),
}
OTHER = "other elementwise operations and overhead"


@dataclass(frozen=True)
class Config(settings.OfModels):
    """The options of this figure."""

    precision: Literal["fp32", "bf16"] = setting("fp32", "Number format of both.")
    windows: int = setting(8, "Windows of a training batch.", ge=1)
    iterations: int = setting(2, "Iterations of a plan.", ge=1)


def run(options: Config) -> str:
    """Measure, write the rows and show the table; returns the path of the rows."""
    torch.set_num_threads(options.threads)
    ceilings = ceiling.measure(options.threads, options.device)
    measured = list(_measure(options))
    title = (
        f"Where the time goes, LeWM, scale={options.scale}, {options.precision}, "
        f"{options.threads} thread(s)"
    )
    caption = _caption(options, measured, ceilings)
    name = settings.file(NAME, options) + (
        f"-{options.precision}" if options.precision != "fp32" else ""
    )
    return versus.publish(options.results, name, measured, title, caption)


def kind(name: str) -> str:
    """The kind of operation that a name of the profiler belongs to."""
    for category, parts in KINDS.items():
        if any(part in name.lower() for part in parts):
            return category
    return OTHER


def _caption(options: Config, measured: list[versus.BenchRow], ceilings: dict[str, float]) -> str:
    """The unit and the shares of the ceiling that the training steps reach."""
    flops = training.flops_of_step(options.scale, options.task, options.windows)
    names = (f"{_step_name(options)}, peer", _step_name(options))
    of_figures = dict.fromkeys(names, ceilings[options.precision])
    wall = [row for row in measured if row.side == WALL]
    reached = versus.summary(ceiling.shares(wall, flops, of_figures))
    shares = "; ".join(f"{line.figure} {line.median:.0f} %" for line in reached)
    return f"Milliseconds. Wall time, {shares}. {ceiling.sentence(ceilings, options.device)}"


def _step_name(options: Config) -> str:
    return f"training step, {options.windows} windows"


def _measure(options: Config) -> Iterator[versus.BenchRow]:
    step, plan = _step_name(options), f"plan, {options.iterations} iterations"
    work = {f"{step}, peer": (_step(options, training.peers_step), False)} if peer.find() else {}
    work |= {
        step: (_step(options, training.our_step), False),
        f"{plan}, plain": (_plan(options, plain), True),
        plan: (_plan(options, settings.model), True),
    }
    for name, (once, of_kernels) in work.items():
        once()
        figure = versus.Figure(name, (), "", unit="ms")
        for repetition in range(options.repeats):
            started = time.perf_counter()
            once()
            synchronise(torch.device(options.device))
            wall = time.perf_counter() - started
            for side, seconds in {**_profiled(options, once, of_kernels), WALL: wall}.items():
                yield versus.row(figure, side, repetition, 1e3 * seconds, math.nan, options.device)


def spent(entry: Any, device: str, of_kernels: bool) -> float:
    """Microseconds that an entry of the profiler counts for. On CUDA operations have the time of
    their kernels, which have entries as well: one of the two is counted. A recorded graph has
    kernels alone.
    """
    if device == "cpu":
        return entry.self_cpu_time_total
    is_kernel = entry.device_type == DeviceType.CUDA
    counted = is_kernel and not entry.is_user_annotation if of_kernels else not is_kernel
    return entry.self_device_time_total if counted else 0.0


def _profiled(options: Config, once: Callable[[], object], of_kernels: bool) -> dict[str, float]:
    """Seconds by kind, the longest first."""
    kinds = [ProfilerActivity.CPU]
    kinds += [ProfilerActivity.CUDA] if options.device == "cuda" else []
    with profile(activities=kinds) as profiler:
        once()
        synchronise(torch.device(options.device))
    taken = dict.fromkeys((*KINDS, OTHER), 0.0)
    for entry in profiler.key_averages():
        taken[kind(entry.key)] += spent(entry, options.device, of_kernels) / 1e6
    nonzero = {name: seconds for name, seconds in taken.items() if seconds}
    return dict(sorted(nonzero.items(), key=lambda item: -item[1]))


def _step(options: Config, build: Callable[..., Callable[[], object]]) -> Callable[[], object]:
    precision = f"train.precision={options.precision}"
    trial = settings.spec(options.scale, options.task, "lewm", precision, device=options.device)
    batch = settings.windows(trial, options.windows, options.device)
    return build(trial, trial.config.train, batch, options.device)


def _plan(options: Config, build: Callable[[TrialSpec, str], WorldModel]) -> Callable[[], object]:
    words = (f"planner.cem.iterations={options.iterations}", f"mpc.precision={options.precision}")
    trial = settings.spec(options.scale, options.task, "lewm", *words)
    model = build(trial, options.device)
    policy = settings.policy(trial, model, pairs=1, device=options.device)
    now, goal = settings.frames(trial, pairs=1)
    return lambda: policy.solve(now, goal, np.zeros(1, dtype=int))
