"""data: random training windows from disk, raw and compressed, against the peer's Lance reader.

[task=two_room] [image_size=224] [episodes=40] [batch=64] [batches=20] [repeats=5] [threads=2]
[datasets=data] [results=results/bench]

The same recorded frames on every side, in the page cache: windows of four frames, one block apart,
with their actions, put together as one array. `threads` threads read, each with a reader of its own
of the peer's (it unpacks JPEG by Pillow where torchvision is missing). Beside the rates: bytes on
disk a frame, and the most anonymous memory of this process while it reads, at `episodes` and at
four times as many. The outcome is the mean of the pixels read.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from harness import seeding, zoo
from harness.bench import peer, settings, versus
from harness.data import collect, normalize
from harness.data.episodes import Dataset, open_dataset
from harness.data.windows import Windows

NAME = "data"
FRAMES = 4  # of a window
GROWTH = 4  # the larger dataset, in episodes


@dataclass(frozen=True)
class DataBenchConfig:
    """The words of the command."""

    task: str = "two_room"
    image_size: int = 224
    episodes: int = 40
    batch: int = 64
    batches: int = 20  # of one measurement
    repeats: int = 5
    threads: int = 2
    datasets: str = "data"
    results: str = "results/bench"


def parse(words: Sequence[str]) -> DataBenchConfig:
    """key=value words; raises config.ConfigError."""
    return settings.parse(words, DataBenchConfig)


def run(config: DataBenchConfig) -> str:
    """Measure, write the rows, show the table; returns the path of the rows."""
    torch.set_num_threads(1)
    made = versus.measure(_figures(config), config.repeats)
    path = versus.write(config.results, NAME, made)
    title = f"Windows of {FRAMES} frames of {config.image_size} px, {config.task}"
    versus.show(title, made, f"{config.threads} readers. Outcome: mean of the pixels.")
    return path


def _figures(config: DataBenchConfig) -> Iterator[versus.Figure]:
    ours = {storage: _dataset(config, storage, config.episodes) for storage in ("raw", "lz4")}
    tables = {"peer, Lance": _lance(config, ours["raw"])} if peer.find() else {}
    sides = [versus.Side(name, _theirs(config, path)) for name, path in tables.items()]
    sides += [versus.Side(f"ours, {name}", _ours(config, d)) for name, d in ours.items()]
    name = f"batches of {config.batch}"
    told = {"unit": "windows/s", "larger_is_better": True, "outcome_name": "mean pixel"}
    yield versus.Figure(name, sides, sides[0].name, **told)

    frames = len(ours["raw"].state)
    sizes = {name: _size(path) for name, path in tables.items()}
    sizes |= {f"ours, {name}": _size(d.folder) for name, d in ours.items()}
    stored = [versus.Side(name, _constant(size / frames)) for name, size in sizes.items()]
    yield versus.Figure("on disk", stored, "ours, raw", unit="bytes/frame")

    for storage, few in ours.items():
        many = _dataset(config, storage, GROWTH * config.episodes)
        sides = [versus.Side(f"{len(d.lengths)} episodes", _memory(config, d)) for d in (few, many)]
        yield versus.Figure(f"memory of reading, {storage}", sides, sides[0].name, unit="MiB")


def _dataset(config: DataBenchConfig, storage: str, episodes: int) -> Dataset:
    data = collect.DataConfig(episodes, image_size=config.image_size, storage=storage)
    task = zoo.task(config.task, data.scene)
    return open_dataset(collect.ensure(task, data, config.datasets))


def _windows(config: DataBenchConfig, dataset: Dataset) -> Windows:
    block = zoo.TASKS[config.task].spec.action_block
    return Windows(dataset, "train", FRAMES, block, normalize.fit(dataset))


def _ours(config: DataBenchConfig, dataset: Dataset) -> Callable[[], tuple[float, float]]:
    windows = _windows(config, dataset)

    def read(number: int) -> torch.Tensor:
        rng = seeding.stream("bench", number)
        return windows.sample(rng, config.batch).batch.obs.pixels

    return _timed(config, read)


def _theirs(config: DataBenchConfig, path: str) -> Callable[[], tuple[float, float]]:
    block = zoo.TASKS[config.task].spec.action_block
    lance = peer.lance()
    local = threading.local()  # a reader of its own for each thread

    def read(number: int) -> torch.Tensor:
        if not hasattr(local, "dataset"):
            local.dataset = lance.LanceDataset(path, frameskip=block, num_steps=FRAMES)
        rng = seeding.stream("bench", number)
        chosen = np.sort(rng.integers(len(local.dataset), size=config.batch)).tolist()
        found = local.dataset.__getitems__(chosen)
        return torch.stack([window["pixels"] for window in found])

    return _timed(config, read)


def _timed(
    config: DataBenchConfig, read: Callable[[int], torch.Tensor]
) -> Callable[[], tuple[float, float]]:
    """Windows a second of that many threads, and the mean of some of what they read."""
    pool = ThreadPoolExecutor(config.threads)

    def some(number: int) -> float:
        return float(read(number)[::8, :, :, ::16, ::16].float().mean())

    def once() -> tuple[float, float]:
        started = time.perf_counter()
        means = list(pool.map(some, range(config.batches)))
        taken = time.perf_counter() - started
        return config.batches * config.batch / taken, float(np.mean(means))

    return once


def _lance(config: DataBenchConfig, dataset: Dataset) -> str:
    """The same episodes in the peer's format, written once."""
    path = f"{dataset.folder}-peer/frames.lance"
    if not os.path.isdir(path):
        made = ({"pixels": [*e.pixels], "action": [*e.actions]} for e in _episodes(dataset))
        with peer.lance().LanceWriter(path) as writer:
            writer.write_episodes(made)
    return path


def _episodes(dataset: Dataset) -> Iterator:
    return (dataset.episode(i) for i in range(len(dataset.lengths)))


def _memory(config: DataBenchConfig, dataset: Dataset) -> Callable[[], tuple[float, float]]:
    windows = _windows(config, dataset)

    def once() -> tuple[float, float]:
        most = 0
        for number in range(config.batches):
            held = windows.sample(seeding.stream("bench", number), config.batch)
            most = max(most, _anonymous())
            del held
        return most / 2**20, math.nan

    return once


def _anonymous() -> int:
    """Bytes of this process that no file backs."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024


def _size(folder: str) -> int:
    """Bytes on disk."""
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


def _constant(value: float) -> Callable[[], tuple[float, float]]:
    return lambda: (value, math.nan)
