"""plan_ratio: one plan of DINO-WM against one of LeWM: solve time and operations.

Shapes are those of the scale (paper: 224 px, DINOv2 ViT-S/14's for DINO-WM), weights are random:
neither time nor operations depend on their values. Each method is timed with its *_candidates and
with half of them, the two methods in turn. Where those are fewer than `candidates`, the time is
scaled by the operations, since candidates are rolled out in chunks, one after the other; seconds
per TFLOP at both numbers show whether that holds. Operations are counted, not scaled
(harness/runtime/flops.py).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
from rich.markup import escape
from rich.table import Table

from harness.bench import settings, versus
from harness.contracts.method import WorldModel
from harness.contracts.setting import setting
from harness.experiment.identity import TrialSpec
from harness.planning.receding_horizon import MPCPolicy
from harness.records import rows
from harness.report import published
from harness.runtime import provenance

log = logging.getLogger(__name__)

METHODS = ("lewm", "dino_wm")
NAME = "plan_ratio"


@dataclass(frozen=True)
class Config(settings.OfModels):
    """The options of this figure."""

    task: str = setting("push_t", "The task that is seen.", text=settings.A_TASK)
    candidates: int = setting(300, "Candidates of the plan that the ratio is of.", ge=4)
    lewm_candidates: int = setting(
        300, "Candidates of LeWM that are timed; half of them are timed too.", ge=4
    )
    dino_wm_candidates: int = setting(
        300, "Candidates of DINO-WM that are timed; half of them are timed too.", ge=4
    )
    iterations: int = setting(1, "Iterations of a plan.", ge=1)
    repeats: int = setting(3, "How often each side is measured.", ge=1)
    threads: int = setting(1, "Threads of a side.", ge=1)
    scale: str = setting("paper", "How big the models are.", text=settings.A_SCALE)
    precision: Literal["fp32", "bf16"] = setting("fp32", "Number format of the rollouts.")


@dataclass(frozen=True)
class SolveRow:
    """One timed solve of one pair."""

    method: str
    task: str
    candidates: int
    iterations: int
    repetition: int
    seconds: float
    flops: int
    precision: str
    threads: int
    device: str
    versions: str
    git_commit: str


class Side(NamedTuple):
    """One method's plan of `candidates` candidates."""

    timed: dict[int, tuple[float, int]]  # candidates -> median seconds, operations
    seconds: float  # of `candidates`, timed or scaled by the operations
    flops: int
    flops_whole: int  # with as many iterations as the protocol has


def run(options: Config) -> str:
    """Time, write the rows, show the table; returns the path of the rows."""
    torch.set_num_threads(options.threads)
    measured = list(_measure(options))
    device = "" if options.device == "cpu" else f"-{options.device}"
    path = f"{options.results.rstrip('/')}/{NAME}{device}.parquet"
    rows.write_table(path, SolveRow, measured)
    sides = {method: _side(options, method, measured) for method in METHODS}
    _show(options, sides)
    return path


def scaled(timed: dict[int, tuple[float, int]], flops: int) -> float:
    """Seconds of a plan of that many operations, as quick as that of the most candidates timed."""
    seconds, taken = timed[max(timed)]
    return seconds * flops / taken


def _measure(options: Config) -> Iterator[SolveRow]:
    """The methods in turn, so that what else the machine does meets both."""
    models = {
        method: settings.model(settings.spec(options.scale, options.task, method), options.device)
        for method in METHODS
    }
    policies = {
        (method, n): _policy(options, method, models[method], n)
        for method in METHODS
        for n in _timed(options, method)
    }
    now, goal = settings.frames(_lewm(options), pairs=1)
    taken = {key: policy.flops(now, goal) for key, policy in policies.items()}
    device, versions = provenance.device(options.device)[0], provenance.versions()
    commit = provenance.git()[0]
    for repetition in range(options.repeats):
        for (method, n), policy in policies.items():
            _, seconds = policy.solve(now, goal, np.zeros(1, dtype=int))
            words = f"{repetition + 1} of {options.repeats}"
            log.info("%s, %d candidates, %s: %.2f s", method, n, words, seconds)
            yield SolveRow(
                method=method,
                candidates=n,
                flops=taken[method, n],
                repetition=repetition,
                seconds=seconds,
                task=options.task,
                iterations=options.iterations,
                threads=options.threads,
                precision=options.precision,
                device=device,
                versions=versions,
                git_commit=commit,
            )


def _timed(options: Config, method: str) -> tuple[int, int]:
    most = getattr(options, f"{method}_candidates")
    return most // 2, most


def _policy(
    options: Config, method: str, model: WorldModel, candidates: int, *words: str
) -> MPCPolicy:
    """A policy that plans with that many candidates; `words` may say more."""
    words = words or (f"planner.cem.iterations={options.iterations}",)
    words += (f"mpc.precision={options.precision}",)
    elites = f"planner.cem.elites={max(2, candidates // 10)}"
    trial = settings.spec(
        options.scale, options.task, method, f"planner.cem.candidates={candidates}", elites, *words
    )
    return settings.policy(trial, model, pairs=1, device=options.device)


def _side(options: Config, method: str, measured: list[SolveRow]) -> Side:
    own = [row for row in measured if row.method == method]
    timed = {
        n: (
            float(np.median([row.seconds for row in own if row.candidates == n])),
            next(row.flops for row in own if row.candidates == n),
        )
        for n in _timed(options, method)
    }
    model = settings.model(settings.spec(options.scale, options.task, method), options.device)
    frames = settings.frames(_lewm(options), pairs=1)
    whole = _policy(options, method, model, options.candidates, "planner=cem")
    flops = _policy(options, method, model, options.candidates).flops(*frames)
    return Side(timed, scaled(timed, flops), flops, whole.flops(*frames))


def _show(options: Config, sides: dict[str, Side]) -> None:
    lewm, dino = (sides[method] for method in METHODS)
    papers = published.plan_time()
    device = provenance.device(options.device)[0]
    table = Table(
        title=f"One plan of one pair, {options.task}, scale={options.scale}: "
        f"{options.candidates} candidates, {options.iterations} of {_iterations(options)} "
        "iterations",
        caption=escape(_caption(options, sides, device)),
        caption_justify="left",
        min_width=100,
    )
    for column in ("", "LeWM", "DINO-WM", "DINO-WM : LeWM"):
        table.add_column(column, justify="right" if column else "left")
    paper_s = [papers[m].value if m in papers else np.nan for m in METHODS]
    lines: list[tuple[str, float, float]] = [
        ("solve, s", lewm.seconds, dino.seconds),
        ("TFLOP", lewm.flops / 1e12, dino.flops / 1e12),
        ("TFLOP, all iterations", lewm.flops_whole / 1e12, dino.flops_whole / 1e12),
        ("published plan, s", paper_s[0], paper_s[1]),
    ]
    for words, a, b in lines:
        table.add_row(words, f"{a:,.3g}", f"{b:,.4g}", f"{b / a:,.3g}")
    versus.terminal().print(table)


def _iterations(options: Config) -> int:
    return _lewm(options).config.planner.iterations


def _lewm(options: Config) -> TrialSpec:
    return settings.spec(options.scale, options.task, "lewm")


def _caption(options: Config, sides: dict[str, Side], device: str) -> str:
    timings = []
    for method, side in sides.items():
        timings += [
            f"{method} {n} candidates {seconds:.2f} s ({seconds / flops * 1e12:.1f} s per TFLOP)"
            for n, (seconds, flops) in sorted(side.timed.items())
        ]
    sources = {paper.source for name, paper in published.plan_time().items() if name in METHODS}
    return (
        f"{device}, {options.threads} thread(s), {options.precision}, medians of {options.repeats} "
        f"solves after a warm-up. Timed: {'; '.join(timings)}; other numbers of candidates are "
        "scaled by their operations. FLOP: matrix products, attention and convolutions, 2 for each "
        f"multiply-add, counted in full. Published: {', '.join(sorted(sources)) or 'not here'}."
    )
