"""suite: how the report, the expansion of a suite and its way through Ray grow with the trials.

The report is `python -m harness.report` on made-up trials (four tasks, five methods,
the rest seeds), each with `episodes` episodes and a training curve: wall time and largest memory
of that process. It reads the tables that a run leaves compacted; "report, trial by trial" is
without them, from every trial's own files. Expansion is that of suite=all with more seeds. The
suite through Ray is the toy task's no-op control with a seed a trial: Ray's start, and what is not
the trial's own work.
Sizes are tens up to the largest; the exponent is the slope of log value over log trials, by least
squares from 100 trials on. Expansion is measured `repeats` times, so are the reports of all sizes
but the largest, which is measured once, as is all that goes through Ray.
"""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from harness import launch, zoo
from harness.bench import settings, versus
from harness.contracts.setting import setting
from harness.experiment import config, suites
from harness.experiment.identity import TrialSpec
from harness.experiment.run_folders import RunFolders
from harness.records import compact, rows, run_tables
from harness.runtime import seeding
from harness.trial import STAGES

NAME = "suite"
_FITTED_FROM = 100  # trials: below, what every run takes once hides the growth
_TASKS = ("two_room", "push_t", "reacher", "cube")
_METHODS = ("lewm", "pldm", "gcbc", "dino_wm", "ema_jepa")
_CURVE = ("loss", "pred", "latent_std", "grad_norm")
_POINTS = 12  # of a curve


@dataclass(frozen=True)
class Config(settings.Common):
    """The options of this figure."""

    report_trials: int = setting(10_000, "Trials of the largest report.", ge=1)
    ray_trials: int = setting(1000, "Trials of the largest suite through Ray.", ge=1)
    episodes: int = setting(100, "Episodes of a made-up trial.", ge=1)


def run(options: Config) -> str:
    """Measure, write the rows and show the table; returns the path of the rows."""
    with tempfile.TemporaryDirectory(prefix="bench-") as scratch:
        measured = list(_measure(options, scratch))
    grown = [f"{figure} {exponent(measured, figure):.2f}" for figure in _figures_of(measured)]
    caption = f"Exponents, by least squares from {_FITTED_FROM} trials on: {', '.join(grown)}."
    title = "Growth with the number of trials"
    return versus.publish(options.results, NAME, measured, title, caption)


def exponent(measured: Sequence[versus.BenchRow], figure: str) -> float:
    """Slope of log value over log trials by least squares over the medians of the sizes from 100
    trials on, of all where there are not two such; NaN with one size.
    """
    lines = [line for line in versus.summary(measured) if line.figure == figure]
    at = sorted((int(line.side.split()[0].replace(",", "")), line.median) for line in lines)
    if len(at) < 2:
        return math.nan
    fitted = [(n, value) for n, value in at if n >= _FITTED_FROM]
    sizes, values = np.log(fitted if len(fitted) > 1 else at).T
    return float(np.polyfit(sizes, values, 1)[0])


def _figures_of(measured: Sequence[versus.BenchRow]) -> list[str]:
    return list(dict.fromkeys(row.figure for row in measured))


def _sizes(most: int) -> list[int]:
    """10, 100, ... up to `most`."""
    return [10**i for i in range(1, 9) if 10**i <= most] or [most]


def _measure(options: Config, scratch: str) -> Iterator[versus.BenchRow]:
    folders = {size: f"{scratch}/report{size}" for size in _sizes(options.report_trials)}
    for size, folder in folders.items():
        _write_trials(folder, size, options.episodes)
        run_tables.compact_trials(folder)
    for name, compacted in (("report", True), ("report, trial by trial", False)):
        reports = [(size, _report(folder, compacted)) for size, folder in folders.items()]
        yield from _grown(name, reports, options.repeats, "memory, GiB")
    sizes = _sizes(options.report_trials)
    expansions = [(n, _expansion(n)) for n in sizes]
    yield from _grown("expansion", expansions, options.repeats, largest=options.repeats)
    sizes = _sizes(options.ray_trials)
    suites_of = [(n, _through_ray(f"{scratch}/ray{n}", n, scratch)) for n in sizes]
    yield from _grown("no-op suite through Ray", suites_of, 1)


def _grown(
    name: str,
    sizes: Sequence[tuple[int, Callable[[], tuple[float, float]]]],
    repeats: int,
    outcome: str = "",
    largest: int = 1,
) -> list[versus.BenchRow]:
    """Rows of one figure, a side for each size; the largest is measured so many times."""
    measured = []
    for size, once in sizes:
        side = versus.Side(f"{size:,} trials", once)
        figure = versus.Figure(name, [side], f"{sizes[0][0]:,} trials", outcome_name=outcome)
        times = largest if size == sizes[-1][0] else repeats
        measured += versus.measure([figure], times, warm_up=False)
    return measured


def _write_trials(folder: str, count: int, episodes: int) -> None:
    """Made-up trials, through the record's own writer."""
    texts: dict[tuple[str, str], str] = {}
    for number in range(count):
        task, method = _TASKS[number % 4], _METHODS[number // 4 % 5]
        spec = _spec(task, method, number // 20)
        text = texts.setdefault((task, method), config.to_yaml(spec))
        rng = seeding.stream("bench", number)
        key = spec.key
        trial = rows.TrialRow(
            key=key,
            run="bench",
            suite="all",
            task=task,
            method=method,
            variant="",
            seed=spec.seed,
            scale="tiny",
            protocol="smoke",
            protocol_hash=task,
            config_hash=key,
            setting_hash=f"{task}.{method}",
            config_yaml=text,
            status="ok",
            device="CPU",
            threads=1,
            train_steps=100,
            train_s=1.0,
            parameters_trained=1000,
            total_s=2.0,
        )
        outcomes = rng.random(episodes) < 0.5
        found = [_episode(key, i, bool(solved)) for i, solved in enumerate(outcomes)]
        curves = [
            rows.MetricRow(key, "train", name, 10 * i, float(value), "")
            for name in _CURVE
            for i, value in enumerate(np.exp(rng.normal(size=_POINTS)))
        ]
        rows.write(f"{folder}/trials/{rows.folder_name(key, key)}", trial, found, curves)


def _spec(task: str, method: str, seed: int) -> TrialSpec:
    return dataclasses.replace(settings.spec("tiny", task, method), seed=seed)


def _episode(key: str, number: int, solved: bool) -> rows.EpisodeRow:
    return rows.EpisodeRow(
        key=key,
        split="test",
        eval_seed=0,
        pair_id=number,
        start_step=0,
        source_episode=number // 3,
        stratum="",
        sample="pairs",
        initially_solved=False,
        success=solved,
        success_ever=solved,
        success_final=solved,
        first_hit_step=5 if solved else -1,
        dist_init=1.0,
        dist_min=0.1,
        dist_final=0.2,
        replans=2,
    )


def _report(folder: str, compacted: bool) -> Callable[[], tuple[float, float]]:
    """Seconds and GiB of the report's own process, with or without `compacted` tables."""

    def once() -> tuple[float, float]:
        if not compacted:
            shutil.rmtree(f"{folder}/{compact.FOLDER}", ignore_errors=True)
        started = time.perf_counter()
        command = [sys.executable, "-m", "harness.report", folder]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as p:
            _, status, used = os.wait4(p.pid, 0)
            p.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - started
        if p.returncode:
            raise OSError(f"the report of {folder} ended with code {p.returncode}")
        return seconds, used.ru_maxrss / 2**20

    return once


def _expansion(count: int) -> Callable[[], tuple[float, float]]:
    """Seconds to expand about that many trials of suite=all."""
    trained = sum(zoo.METHODS[m].trained for m in zoo.METHODS) * len(_TASKS)
    run = config.parse(["suite=all", "scale=tiny", f"seeds={-(-count // trained)}"])

    def once() -> tuple[float, float]:
        started = time.perf_counter()
        specs = suites.expand(run, STAGES)
        return (time.perf_counter() - started) * count / len(specs), math.nan

    return once


def _through_ray(results: str, count: int, scratch: str) -> Callable[[], tuple[float, float]]:
    """Seconds of that many no-op trials on the toy task."""
    specs = [_spec("toy", "noop", seed) for seed in range(count)]
    run = config.parse(["suite=smoke", "scale=tiny", f"datasets={scratch}/data"])

    def once() -> tuple[float, float]:
        folders = RunFolders(results, "bench", "smoke", f"{scratch}/data")
        launch.prepare_datasets(specs, folders)
        started = time.perf_counter()
        launch.launch(specs, folders, run)
        taken = time.perf_counter() - started
        done = len(specs) - len(launch.missing(specs, folders))
        if done < count:
            raise OSError(f"{count - done} of {count} trials are not done")
        return taken, math.nan

    return once
