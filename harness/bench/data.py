"""data: random training windows from disk, raw and compressed, against the peer's Lance reader.

Every side reads the same recorded frames from the page cache: windows of four frames, one block
apart, with their actions, as one array. `threads` threads read; each has its own reader of the
peer's. Our frames are stored without loss, raw or by LZ4; the peer's are JPEG, with loss, and
unpacked by Pillow where torchvision is missing. Besides rates, it measures the bytes of a frame on
disk, and the largest growth of the anonymous memory of a process that opens a dataset and reads
from it, at `episodes` and at four times as many. The outcome is the mean of the pixels read.
"""

from __future__ import annotations

import contextlib
import functools
import math
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import torch

from harness import zoo
from harness.bench import peer, settings, versus
from harness.contracts.data import Episode
from harness.contracts.setting import setting
from harness.data import collect, normalize
from harness.data.episodes import Dataset, open_dataset
from harness.data.pixels import Storage
from harness.data.windows import Windows
from harness.runtime import processes, seeding

NAME = "data"
FRAMES = 4  # frames of a window
GROWTH = 4  # how many times the episodes the larger dataset has


@dataclass(frozen=True)
class Config(settings.Common):
    """The options of this figure."""

    task: str = setting("two_room", "The task that is recorded.", text=settings.A_TASK)
    image_size: int = setting(224, "Side of the pictures, in px.", ge=1)
    episodes: int = setting(40, "Recorded episodes.", ge=1)
    batch: int = setting(64, "Windows of a batch.", ge=1)
    batches: int = setting(20, "Batches of one measurement.", ge=1)
    threads: int = setting(2, "Threads that read.", ge=1)
    datasets: str = setting("data", "The folder of the datasets, made once.", text="a path")


def run(options: Config) -> str:
    """Measure, write the rows and show the table; returns the path of the rows."""
    torch.set_num_threads(1)
    measured = versus.measure(_figures(options), options.repeats)
    title = f"Windows of {FRAMES} frames of {options.image_size} px, {options.task}"
    caption = f"{options.threads} readers. Outcome: mean of the pixels. Ours: lossless."
    caption += f" The peer's: {peer.jpeg()}, lossy." if peer.find() else ""
    return versus.publish(options.results, NAME, measured, title, caption)


def _figures(options: Config) -> Iterator[versus.Figure]:
    ours = {storage: _dataset(options, storage, options.episodes) for storage in get_args(Storage)}
    tables = {"peer, Lance, lossy": _lance(options, ours["raw"])} if peer.find() else {}
    sides = [versus.Side(name, _theirs(options, path)) for name, path in tables.items()]
    sides += [versus.Side(f"ours, {name}", _ours(options, d)) for name, d in ours.items()]
    name = f"batches of {options.batch}"
    yield versus.Figure(
        name,
        sides,
        sides[0].name,
        unit="windows/s",
        larger_is_better=True,
        outcome_name="mean pixel",
    )

    frames = len(ours["raw"].state)
    sizes = {name: _size(path) for name, path in tables.items()}
    sizes |= {f"ours, {name}": _size(d.folder) for name, d in ours.items()}
    stored = [versus.Side(name, _constant(size / frames)) for name, size in sizes.items()]
    yield versus.Figure("on disk", stored, "ours, raw", unit="bytes/frame")

    for storage, few in ours.items():
        many = _dataset(options, storage, GROWTH * options.episodes)
        with contextlib.ExitStack() as stack:
            sides = [
                versus.Side(f"{len(d.lengths)} episodes", _elsewhere(stack, options, d.folder))
                for d in (few, many)
            ]
            yield versus.Figure(f"memory of reading, {storage}", sides, sides[0].name, unit="MiB")


def _dataset(options: Config, storage: Storage, episodes: int) -> Dataset:
    data = collect.DataConfig(episodes, image_size=options.image_size, storage=storage)
    task = zoo.task(options.task, data.scene)
    return open_dataset(collect.ensure(task, data, options.datasets))


def _windows(options: Config, dataset: Dataset) -> Windows:
    block = zoo.TASKS[options.task].spec.action_block
    return Windows(dataset, "train", FRAMES, block, normalize.fit(dataset))


def _ours(options: Config, dataset: Dataset) -> Callable[[], tuple[float, float]]:
    windows = _windows(options, dataset)

    def read(number: int) -> torch.Tensor:
        rng = seeding.stream("bench", number)
        pixels = windows.sample(rng, options.batch).batch.obs.pixels
        assert pixels is not None
        return pixels

    return _timed(options, read)


def _theirs(options: Config, path: str) -> Callable[[], tuple[float, float]]:
    block = zoo.TASKS[options.task].spec.action_block
    lance = peer.lance()
    local = threading.local()  # a reader of its own for each thread

    def read(number: int) -> torch.Tensor:
        if not hasattr(local, "dataset"):
            local.dataset = lance.LanceDataset(path, frameskip=block, num_steps=FRAMES)
        rng = seeding.stream("bench", number)
        chosen = np.sort(rng.integers(len(local.dataset), size=options.batch)).tolist()
        windows_read = local.dataset.__getitems__(chosen)
        return torch.stack([window["pixels"] for window in windows_read])

    return _timed(options, read)


def _timed(
    options: Config, read: Callable[[int], torch.Tensor]
) -> Callable[[], tuple[float, float]]:
    """A function that measures windows/s of all threads, and the mean of a sample of the pixels."""
    pool = ThreadPoolExecutor(options.threads)

    def some(number: int) -> float:
        return float(read(number)[::8, :, :, ::16, ::16].float().mean())

    def once() -> tuple[float, float]:
        started = time.perf_counter()
        means = list(pool.map(some, range(options.batches)))
        taken = time.perf_counter() - started
        return options.batches * options.batch / taken, float(np.mean(means))

    return once


def _lance(options: Config, dataset: Dataset) -> str:
    """The same episodes in the peer's format, written once."""
    path = f"{dataset.folder}-peer/frames.lance"
    if not os.path.isdir(path):
        recorded_episodes = (
            {"pixels": [*e.pixels], "action": [*e.actions]} for e in _episodes(dataset)
        )
        with peer.lance().LanceWriter(path) as writer:
            writer.write_episodes(recorded_episodes)
    return path


def _episodes(dataset: Dataset) -> Iterator[Episode]:
    return (dataset.episode(i) for i in range(len(dataset.lengths)))


def _elsewhere(
    stack: contextlib.ExitStack, options: Config, folder: str
) -> Callable[[], tuple[float, float]]:
    """A function that runs _memory in a child process, which ends with the stack."""
    context = multiprocessing.get_context("spawn")
    executor = ProcessPoolExecutor(
        1, mp_context=context, initializer=_prepare, initargs=(os.getpid(),)
    )
    pool = stack.enter_context(executor)
    return lambda: pool.submit(_memory, options, folder).result()


def _prepare(parent: int) -> None:
    """Set up a measuring process: one thread, and it ends with its parent."""
    processes.end_with_parent(parent)
    torch.set_num_threads(1)


def _memory(options: Config, folder: str) -> tuple[float, float]:
    """The largest MiB that an open dataset and reading from it take."""
    before, windows = _opened(options, folder)
    most = 0
    for number in range(options.batches):
        held = windows.sample(seeding.stream("bench", number), options.batch)
        most = max(most, _anonymous() - before)
        del held
    return most / 2**20, math.nan


@functools.cache
def _opened(options: Config, folder: str) -> tuple[int, Windows]:
    """Anonymous bytes before a dataset is opened, and its windows."""
    before = _anonymous()
    return before, _windows(options, open_dataset(folder))


def _anonymous() -> int:
    """Bytes of this process that no file backs."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024


def _size(folder: str) -> int:
    """Bytes on disk."""
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


def _constant(value: float) -> Callable[[], tuple[float, float]]:
    return lambda: (value, math.nan)
