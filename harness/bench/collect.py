"""collect: frames a second of one process, stepped and drawn, against the peer's environments.

Uniform random actions; a frame is one control step and its picture, with shadows and sky on the
MuJoCo tasks, as the peer draws them. The peer steps one environment at a time and always draws
224 px. A task or an environment whose package is missing is named in the log and left out.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import logging
import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from harness import zoo
from harness.bench import peer, settings, versus
from harness.contracts.setting import setting
from harness.contracts.task import Simulator
from harness.runtime import processes, seeding

if TYPE_CHECKING:
    import gymnasium as gym

log = logging.getLogger(__name__)

NAME = "collect"


@dataclass(frozen=True)
class Config(settings.Common):
    """The options of this figure."""

    image_size: int = setting(224, "Side of the pictures, in px.", ge=1)
    copies: int = setting(16, "Copies of our simulator, side by side.", ge=1)
    frames: int = setting(320, "Frames of a measurement; a fifth where drawing is slow.", ge=1)


def run(options: Config) -> str:
    """Measure, write the rows and show the table; returns the path of the rows."""
    measured = versus.measure(_figures(options), options.repeats)
    title = f"Frames stepped and drawn, {options.image_size} px"
    caption = "One process for each side. Outcome: mean of the last pictures."
    return versus.publish(options.results, NAME, measured, title, caption)


def _figures(options: Config) -> Iterator[versus.Figure]:
    sides_of = {"peer": _theirs, "ours": _ours} if peer.find() else {"ours": _ours}
    for task in (name for name in zoo.TASKS if name != "toy"):
        with contextlib.ExitStack() as stack:
            sides = []
            for name, measured in sides_of.items():
                # a child process, since two MuJoCo renderers in one process break each other
                context = multiprocessing.get_context("spawn")
                pool = stack.enter_context(
                    ProcessPoolExecutor(
                        1, mp_context=context, initializer=_prepare, initargs=(os.getpid(),)
                    )
                )
                once = functools.partial(_elsewhere, pool, measured, options, task)
                if math.isfinite(once()[0]):
                    sides.append(versus.Side(name, once))
            if not sides or sides[-1].name != "ours":
                continue
            yield versus.Figure(
                zoo.TASKS[task].spec.label,
                sides,
                sides[0].name,
                unit="frames/s",
                larger_is_better=True,
                outcome_name="mean pixel",
            )


_Measured = Callable[["Config", str], tuple[float, float]]  # of options and the name of a task


def _elsewhere(
    pool: ProcessPoolExecutor, measured: _Measured, options: Config, task: str
) -> tuple[float, float]:
    return pool.submit(measured, options, task).result()


def _prepare(parent: int) -> None:
    """Set up a measuring process: one thread, log lines on stderr, and it ends with its parent."""
    processes.end_with_parent(parent)
    torch.set_num_threads(1)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("harness").setLevel(logging.INFO)


def _ours(options: Config, name: str) -> tuple[float, float]:
    """(frames/s, mean pixel) of our simulator; NaN where it cannot be created."""
    try:
        simulator, start = _simulator(options, name)
    except (ImportError, OSError) as error:
        log.info("%s cannot be simulated here: %s", name, error)
        return math.nan, math.nan
    spec, rng = zoo.TASKS[name].spec, seeding.stream("bench", name)
    simulator.set_state(start)
    steps = math.ceil(_frames(options, name) / options.copies)
    started = time.perf_counter()
    for _ in range(steps):
        shape = options.copies, spec.action_dim
        simulator.step(rng.uniform(spec.action_low, spec.action_high, shape))
        pictures = simulator.render()
    taken = time.perf_counter() - started
    return steps * options.copies / taken, float(pictures.mean())


@functools.cache
def _simulator(options: Config, name: str) -> tuple[Simulator, np.ndarray]:
    task = zoo.task(name, "full")
    start, _ = task.collector(seeding.stream("bench", "start", name), options.copies).start()
    return task.simulator(options.copies, options.image_size), start


def _theirs(options: Config, name: str) -> tuple[float, float]:
    """(frames/s, mean pixel) of the peer's environment; NaN where it cannot be created."""
    env = _environment(name)
    if env is None:
        return math.nan, math.nan
    env.reset(seed=0)
    frames = _frames(options, name)
    started = time.perf_counter()
    for _ in range(frames):
        env.step(env.action_space.sample())
        picture = np.asarray(env.render())
    taken = time.perf_counter() - started
    atexit.unregister(_forget)  # last registered, first called: GL ends at exit too
    atexit.register(_forget)
    return frames / taken, float(np.mean(picture))


def _frames(options: Config, name: str) -> int:
    return math.ceil(options.frames / (5 if zoo.TASKS[name].spec.slow_to_draw else 1))


@functools.cache
def _environment(name: str) -> gym.Env[Any, Any] | None:
    return peer.environment(name)


def _forget() -> None:
    """Free the peer's renderer while GL is still up."""
    _environment.cache_clear()
    gc.collect()
