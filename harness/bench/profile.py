"""profile: where the time of a training step and of a plan of LeWM goes, by kind of operation.

torch's profiler, time of each operation without those that it calls; on CUDA that of its kernels,
which in a plan, where iterations are recorded, are told apart by their own names.
Random weights and frames, one pair. Beside ours the same by the peer's modules where they are
installed, and the plan in the plain form (plan). The last line of each is the wall time of the same
work without the profiler.
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

from harness.bench import peer, settings, versus
from harness.bench import train as training
from harness.bench.plan import plain
from harness.contracts.method import WorldModel
from harness.contracts.setting import setting
from harness.experiment.identity import TrialSpec
from harness.planning.batch_solver import synchronise

NAME = "profile"
WALL = "wall time"
KINDS = {  # by what the name of an operation or a kernel contains, the first that fits
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
    """The words of the command."""

    precision: Literal["fp32", "bf16"] = setting("fp32", "Number format of both.")
    windows: int = setting(8, "Windows of a training batch.", ge=1)
    iterations: int = setting(2, "Iterations of a plan.", ge=1)


def run(asked: Config) -> str:
    """Measure, write the rows, show the table; returns the path of the rows."""
    torch.set_num_threads(asked.threads)
    made = list(_measure(asked))
    title = (
        f"Where the time goes, LeWM, scale={asked.scale}, {asked.precision}, "
        f"{asked.threads} thread(s)"
    )
    name = settings.file(NAME, asked) + (f"-{asked.precision}" if asked.precision != "fp32" else "")
    return versus.publish(asked.results, name, made, title, "Milliseconds.")


def kind(name: str) -> str:
    """The kind of an operation."""
    for found, parts in KINDS.items():
        if any(part in name.lower() for part in parts):
            return found
    return OTHER


def _measure(asked: Config) -> Iterator[versus.BenchRow]:
    step, plan = f"training step, {asked.windows} windows", f"plan, {asked.iterations} iterations"
    work = {f"{step}, peer": (_step(asked, training.peers_step), False)} if peer.find() else {}
    work |= {
        step: (_step(asked, training.our_step), False),
        f"{plan}, plain": (_plan(asked, plain), True),
        plan: (_plan(asked, settings.model), True),
    }
    for name, (once, of_kernels) in work.items():
        once()
        figure = versus.Figure(name, (), "", unit="ms")
        for repetition in range(asked.repeats):
            started = time.perf_counter()
            once()
            synchronise(torch.device(asked.device))
            wall = time.perf_counter() - started
            for side, seconds in {**_profiled(asked, once, of_kernels), WALL: wall}.items():
                yield versus.row(figure, side, repetition, 1e3 * seconds, math.nan, asked.device)


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


def _profiled(asked: Config, once: Callable[[], object], of_kernels: bool) -> dict[str, float]:
    """Seconds by kind, the longest first."""
    kinds = [ProfilerActivity.CPU]
    kinds += [ProfilerActivity.CUDA] if asked.device == "cuda" else []
    with profile(activities=kinds) as profiler:
        once()
        synchronise(torch.device(asked.device))
    taken = dict.fromkeys((*KINDS, OTHER), 0.0)
    for entry in profiler.key_averages():
        taken[kind(entry.key)] += spent(entry, asked.device, of_kernels) / 1e6
    found = {name: seconds for name, seconds in taken.items() if seconds}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _step(asked: Config, made: Callable[..., Callable[[], object]]) -> Callable[[], object]:
    precision = f"train.precision={asked.precision}"
    trial = settings.spec(asked.scale, asked.task, "lewm", precision, device=asked.device)
    batch = settings.windows(trial, asked.windows, asked.device)
    return made(trial, trial.config.train, batch, asked.device)


def _plan(asked: Config, build: Callable[[TrialSpec, str], WorldModel]) -> Callable[[], object]:
    words = (f"planner.cem.iterations={asked.iterations}", f"mpc.precision={asked.precision}")
    trial = settings.spec(asked.scale, asked.task, "lewm", *words)
    model = build(trial, asked.device)
    policy = settings.policy(trial, model, pairs=1, device=asked.device)
    now, goal = settings.frames(trial, pairs=1)
    return lambda: policy.solve(now, goal, np.zeros(1, dtype=int))
