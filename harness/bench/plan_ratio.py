"""plan_ratio: one plan of DINO-WM against one of LeWM on the CPU: solve time and operations.

[task=push_t] [candidates=300] [lewm_candidates=300] [dino_wm_candidates=300] [iterations=1]
[repeats=3] [threads=1] [scale=paper] [results=results/bench]

Shapes are those of the scale (paper: 224 px, DINOv2 ViT-S/14's for DINO-WM), weights are random:
neither time nor operations depend on their values. Each method is timed with its *_candidates and
with half of them, the two methods in turn. Where those are fewer than `candidates`, the time is
scaled by the operations, since candidates are rolled out in chunks, one after the other; seconds
per TFLOP at both numbers show whether that holds. Operations are counted (harness/flops.py), not
scaled.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness import config, provenance, rows, zoo
from harness.bench import settings
from harness.interfaces import Obs, Pair
from harness.planning.mpc import MPCPolicy
from harness.report import published

log = logging.getLogger(__name__)

METHODS = ("lewm", "dino_wm")
FILE = "plan_ratio.parquet"


@dataclass(frozen=True)
class PlanRatioConfig:
    """The words of the command."""

    task: str = "push_t"
    candidates: int = 300  # of the plan that the ratio is of
    lewm_candidates: int = 300  # the most that are timed
    dino_wm_candidates: int = 300
    iterations: int = 1
    repeats: int = 3
    threads: int = 1
    scale: str = "paper"
    results: str = "results/bench"

    def __post_init__(self):
        if min(self.lewm_candidates, self.dino_wm_candidates, self.candidates) < 4:
            raise config.ConfigError("candidates must be at least 4: half of them are timed too")


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


def parse(words: Sequence[str]) -> PlanRatioConfig:
    """key=value words; raises config.ConfigError."""
    return settings.parse(words, PlanRatioConfig)


def run(ratio: PlanRatioConfig) -> str:
    """Time, write the rows, show the table; returns the path of the rows."""
    torch.set_num_threads(ratio.threads)
    made = list(_measure(ratio))
    path = f"{ratio.results.rstrip('/')}/{FILE}"
    rows.write_table(path, SolveRow, made)
    sides = {method: _side(ratio, method, made) for method in METHODS}
    _show(ratio, sides)
    return path


def scaled(timed: dict[int, tuple[float, int]], flops: int) -> float:
    """Seconds of a plan of that many operations, as quick as that of the most candidates timed."""
    seconds, taken = timed[max(timed)]
    return seconds * flops / taken


def _measure(ratio: PlanRatioConfig) -> Iterator[SolveRow]:
    """The methods in turn, so that what else the machine does meets both."""
    models = {
        method: settings.model(settings.spec(ratio.scale, ratio.task, method)) for method in METHODS
    }
    policies = {
        (method, n): _policy(ratio, method, models[method], n)
        for method in METHODS
        for n in _timed(ratio, method)
    }
    now, goal = _frames(ratio)
    taken = {key: policy.flops(now, goal) for key, policy in policies.items()}
    about = {"task": ratio.task, "iterations": ratio.iterations, "threads": ratio.threads}
    about |= {"device": provenance.device("cpu")[0], "versions": provenance.versions()}
    about["git_commit"] = provenance.git()[0]
    for repetition in range(ratio.repeats):
        for (method, n), policy in policies.items():
            _, seconds = policy.solve(now, goal, np.zeros(1, dtype=int))
            known = {"method": method, "candidates": n, "flops": taken[method, n]}
            words = f"{repetition + 1} of {ratio.repeats}"
            log.info("%s, %d candidates, %s: %.2f s", method, n, words, seconds)
            yield SolveRow(**known, repetition=repetition, seconds=seconds, **about)


def _timed(ratio: PlanRatioConfig, method: str) -> tuple[int, int]:
    most = getattr(ratio, f"{method}_candidates")
    return most // 2, most


def _policy(
    ratio: PlanRatioConfig, method: str, model: torch.nn.Module, candidates: int, *words: str
) -> MPCPolicy:
    """A policy that plans with that many candidates; `words` may say more."""
    words = words or (f"planner.cem.iterations={ratio.iterations}",)
    words += ("mpc.precision=fp32",)
    elites = f"planner.cem.elites={max(2, candidates // 10)}"
    cfg = settings.spec(
        ratio.scale, ratio.task, method, f"planner.cem.candidates={candidates}", elites, *words
    ).config
    task = zoo.TASKS[ratio.task].spec
    planner = zoo.PLANNERS[cfg.planner_name].build(cfg.planner)
    block = task.action_dim * task.action_block
    policy = MPCPolicy(model, planner, cfg.mpc, lambda actions: actions, block, seed=0)
    nothing = np.zeros(0)
    policy.reset([Pair(0, 0, 0, nothing, nothing, nothing, nothing, nothing, "", False)])
    return policy


def _frames(ratio: PlanRatioConfig) -> tuple[Obs, Obs]:
    size = settings.spec(ratio.scale, ratio.task, METHODS[0]).config.data.image_size
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (2, 1, 1, 3, size, size), dtype=torch.uint8, generator=generator)
    return Obs(pixels[0]), Obs(pixels[1])


def _side(ratio: PlanRatioConfig, method: str, made: list[SolveRow]) -> Side:
    own = [row for row in made if row.method == method]
    timed = {
        n: (
            float(np.median([row.seconds for row in own if row.candidates == n])),
            next(row.flops for row in own if row.candidates == n),
        )
        for n in _timed(ratio, method)
    }
    model, frames = settings.model(settings.spec(ratio.scale, ratio.task, method)), _frames(ratio)
    whole = _policy(ratio, method, model, ratio.candidates, "planner=cem")
    flops = _policy(ratio, method, model, ratio.candidates).flops(*frames)
    return Side(timed, scaled(timed, flops), flops, whole.flops(*frames))


def _show(ratio: PlanRatioConfig, sides: dict[str, Side]) -> None:
    lewm, dino = (sides[method] for method in METHODS)
    papers = published.plan_time()
    device = provenance.device("cpu")[0]
    table = Table(
        title=f"One plan of one pair, {ratio.task}, scale={ratio.scale}: "
        f"{ratio.candidates} candidates, {ratio.iterations} of {_iterations(ratio)} "
        "iterations",
        caption=escape(_caption(ratio, sides, device)),
        caption_justify="left",
        min_width=100,
    )
    console = Console()
    console = console if console.is_terminal else Console(width=120)
    for column in ("", "LeWM", "DINO-WM", "DINO-WM : LeWM"):
        table.add_column(column, justify="right" if column else "left")
    for words, a, b in (
        ("solve, s", lewm.seconds, dino.seconds),
        ("TFLOP", lewm.flops / 1e12, dino.flops / 1e12),
        ("TFLOP, all iterations", lewm.flops_whole / 1e12, dino.flops_whole / 1e12),
        ("published plan, s", *(papers[m].value if m in papers else np.nan for m in METHODS)),
    ):
        table.add_row(words, f"{a:,.3g}", f"{b:,.4g}", f"{b / a:,.3g}")
    console.print(table)


def _iterations(ratio: PlanRatioConfig) -> int:
    return settings.spec(ratio.scale, ratio.task, METHODS[0]).config.planner.iterations


def _caption(ratio: PlanRatioConfig, sides: dict[str, Side], device: str) -> str:
    said = []
    for method, side in sides.items():
        said += [
            f"{method} {n} candidates {seconds:.2f} s ({seconds / flops * 1e12:.1f} s per TFLOP)"
            for n, (seconds, flops) in sorted(side.timed.items())
        ]
    sources = {paper.source for name, paper in published.plan_time().items() if name in METHODS}
    return (
        f"{device}, {ratio.threads} thread(s), fp32, medians of {ratio.repeats} solves after "
        f"a warm-up. Timed: {'; '.join(said)}; other numbers of candidates are scaled by their "
        "operations. FLOP: matrix products, attention and convolutions, 2 for each "
        f"multiply-add, counted in full. Published: {', '.join(sorted(sources)) or 'not here'}."
    )
