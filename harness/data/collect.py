"""Collects the dataset of a task with its scripted collector, unless it is there already.

A dataset appears whole or not at all: it is collected in a temporary folder (atomic_dirs.py).
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import errno
import hashlib
import json
import logging
import multiprocessing
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from harness.contracts.setting import Settings, setting
from harness.contracts.task import Collector, Simulator, Task
from harness.data import atomic_dirs, episodes, pixels
from harness.runtime import outside, processes, seeding
from harness.runtime.progress import Display

log = logging.getLogger(__name__)

CHUNK_EPISODES = 64  # episodes of a shard, recorded side by side; another number, other data
_THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class DataConfig(Settings):
    """How a dataset is collected; every field is part of the hash in the folder's name."""

    episodes: int = setting(
        800, "Recorded episodes, all splits together.", ge=1, paper="10000; 18685 on Push-T"
    )
    max_steps: int = setting(
        150, "Longest episode, in steps.", ge=1, paper="200 on Reacher and Cube"
    )
    image_size: int = setting(64, "Side of the pictures, in px.", ge=1, paper=224)
    seed: int = setting(0, "Seed of the collector; another one gives other episodes.", ge=0)
    validation: float = setting(
        0.1, "Share of the episodes' families that is held out for choices.", ge=0, lt=1
    )
    test: float = setting(
        0.1, "Share of the episodes' families that is held out for results.", ge=0, lt=1, paper=0.1
    )
    scene: Literal["plain", "full"] = setting(
        "plain",
        "How MuJoCo tasks are drawn; full has shadows, sky and smooth edges.",
        paper="full",
    )
    storage: pixels.Storage = setting(
        "raw", "How pictures lie on disk; lz4 compresses each without loss."
    )

    def __post_init__(self):
        super().__post_init__()
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation={self.validation} and test={self.test} must add up to less than 1, or "
                f"nothing is left to train on"
            )


class Chunk(NamedTuple):
    """A worker's report on the shard that it recorded."""

    shard: episodes.Shard
    lengths: list[int]
    families: list[int]
    collector: str
    collector_parameters: dict


def has(task: Task, config: DataConfig, root: str) -> bool:
    """Whether the dataset exists and is complete."""
    return os.path.isfile(os.path.join(_folder(task, config, root), episodes.MANIFEST))


def ensure(task: Task, config: DataConfig, root: str, workers: int = 1) -> str:
    """The folder of the complete dataset under `root`, which is collected first if it is missing.

    Any number of processes may call this at once; the data do not depend on `workers`. An
    interrupted collection goes on after its last whole shard. Raises DatasetError for a folder
    without a manifest or with another dataset, OSError when the disk is full, and NotWritable where
    the dataset is missing and `root` cannot be written.
    """
    folder = _folder(task, config, root)
    if os.path.exists(folder):
        _check_dataset(folder, task, config)
        return folder
    with atomic_dirs.claimed(root, os.path.basename(folder)) as part:
        needed = _check_room(task, config, part, folder)
        try:
            _collect(task, config, part, workers)
            _publish(part, folder)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                full = _disk_full(folder, needed)
                shutil.rmtree(part, ignore_errors=True)
                raise full from error
            raise
    return folder


def _check_room(task: Task, config: DataConfig, part: str, folder: str) -> int:
    """Estimate the bytes of the missing chunks; raises OSError where the disk has no room."""
    chunks = _recorded_chunks(part)
    needed = _bytes_needed(task, config, config.episodes - sum(len(c.lengths) for c in chunks))
    if shutil.disk_usage(part).free < needed:
        full = _disk_full(folder, needed)
        if not chunks:
            shutil.rmtree(part, ignore_errors=True)
        raise full
    return needed


def _collect(task: Task, config: DataConfig, part: str, workers: int) -> None:
    count = -(-config.episodes // CHUNK_EPISODES)
    chunks = _recorded_chunks(part)
    missing = [i for i in range(count) if _file(i) not in {chunk.shard.file for chunk in chunks}]
    left = config.episodes - sum(len(chunk.lengths) for chunk in chunks)
    if chunks:
        log.info("%s: an interrupted collection goes on, %d episodes left", task.spec.name, left)
    if workers == 1:
        results = (_record(task, config, part, i) for i in missing)
        with threadpool_limits(1, user_api="blas"):  # as in the workers of a pool
            chunks += _with_progress(results, task.spec.name, left)
    elif missing:
        with _pool(min(workers, len(missing))) as pool:
            pending = [pool.submit(_record, task, config, part, i) for i in missing]
            finished = (f.result() for f in concurrent.futures.as_completed(pending))
            chunks += _with_progress(finished, task.spec.name, left)
    chunks.sort(key=lambda chunk: chunk.shard.file)
    episodes.write_manifest(part, _manifest(task, config, chunks))


def _file(chunk: int) -> str:
    return f"{chunk:05d}.arrow"


def _recorded_chunks(part: str) -> list[Chunk]:
    """The chunks that an interrupted collection has left in the folder."""
    chunks = [
        Chunk(**facts | {"shard": episodes.Shard(**facts["shard"])})
        for facts in atomic_dirs.read_notes(part).values()
    ]
    sizes = {entry.name: entry.stat().st_size for entry in os.scandir(part)}
    return [chunk for chunk in chunks if sizes.get(chunk.shard.file) == chunk.shard.bytes]


def _record(task: Task, config: DataConfig, part: str, chunk: int) -> Chunk:
    """Record the episodes of one chunk side by side and write its shard."""
    first = chunk * CHUNK_EPISODES
    n = min(CHUNK_EPISODES, config.episodes - first)
    rng = seeding.stream("collect", task.spec.name, config.seed, chunk)
    collector = task.collector(rng, n)
    simulator = task.simulator(n, config.image_size)
    try:
        start, families = collector.start()
        simulator.set_state(start)
        lengths, recorded = _run(task, config, simulator, collector)
    finally:
        simulator.close()
    ids = np.arange(first, first + n)
    families = np.where(families < 0, ids, families)  # -1: a family of its own
    columns = episodes.Columns(
        episode=np.repeat(ids, lengths).astype(np.int32),
        step=np.concatenate([np.arange(length) for length in lengths]).astype(np.int32),
        family=np.repeat(families, lengths).astype(np.int32),
        **{name: _packed(values, lengths) for name, values in recorded.items()},
    )
    shard = episodes.write_shard(part, _file(chunk), columns, config.storage)
    name, parameters = type(collector).__name__, getattr(collector, "parameters", {})
    report = Chunk(shard, lengths.tolist(), families.tolist(), name, dict(parameters))
    facts = report._asdict() | {"shard": dataclasses.asdict(shard)}
    atomic_dirs.write_note(part, shard.file, facts)
    return report


def _run(
    task: Task, config: DataConfig, simulator: Simulator, collector: Collector
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Step n copies to the ends of their episodes.

    Returns lengths (n,) and columns (n, max_steps, ...).
    """
    spec, n, steps, size = task.spec, simulator.n, config.max_steps, config.image_size
    recorded = {
        "state": np.empty((n, steps, len(spec.state_names)), np.float64),
        "proprio": np.empty((n, steps, len(spec.proprio_names)), np.float32),
        "action": np.empty((n, steps, len(spec.action_low)), np.float32),
        "pixels": np.empty((n, steps, 3, size, size), np.uint8),
    }
    lengths = np.zeros(n, np.int64)
    live = np.arange(n)
    for t in range(steps):
        state = simulator.state()
        # the executed actions are those that are stored, in float32, so that a replay is exact
        actions = np.asarray(collector.act(state), np.float32)
        actions = np.clip(actions, np.float32(spec.action_low), np.float32(spec.action_high))
        recorded["state"][live, t] = state[live]
        recorded["proprio"][live, t] = simulator.proprio()[live]
        recorded["action"][live, t] = actions[live]
        recorded["pixels"][live, t] = simulator.render(live)
        lengths[live] = t + 1
        simulator.step(actions)
        live = live[~collector.done(simulator.state())[live]]
        if len(live) == 0:
            break
    return lengths, recorded


def _packed(values: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Close the gaps behind short episodes in place: (n, max_steps, ...) to (R, ...)."""
    flat = values.reshape(-1, *values.shape[2:])
    end = 0
    for i, length in enumerate(lengths):
        begin = i * values.shape[1]
        flat[end : end + length] = flat[begin : begin + length]
        end += length
    return flat[:end]


def _manifest(task: Task, config: DataConfig, chunks: list[Chunk]) -> episodes.Manifest:
    shards = [chunk.shard for chunk in chunks]
    families = [family for chunk in chunks for family in chunk.families]
    split = _split(task.spec.name, config, np.array(families))
    return episodes.Manifest(
        format=episodes.FORMAT,
        task=task.spec.name,
        spec_version=task.spec.version,
        config=dataclasses.asdict(config),
        image_size=config.image_size,
        collector=chunks[0].collector,
        collector_parameters=chunks[0].collector_parameters,
        lengths=[length for chunk in chunks for length in chunk.lengths],
        families=families,
        split=split,
        shards=shards,
        hash=episodes.content_hash(shards),
        split_hash=episodes.split_hash(split),
    )


def _split(name: str, config: DataConfig, families: np.ndarray) -> dict[str, list[int]]:
    """Episode ids by split; a family is never divided."""
    order = seeding.stream("split", name, config.seed).permutation(np.unique(families))
    test = _share(config.test, len(order))
    held_out = test + _share(config.validation, len(order))
    parts = {"train": order[held_out:], "validation": order[test:held_out], "test": order[:test]}
    return {key: np.flatnonzero(np.isin(families, part)).tolist() for key, part in parts.items()}


def _share(part: float, families: int) -> int:
    """The number of families that is a share `part` of all; at least one unless the share is 0."""
    return max(round(part * families), 1) if part > 0 else 0


def _folder(task: Task, config: DataConfig, root: str) -> str:
    facts = dataclasses.asdict(config)
    if config.storage == "raw":  # as it was before there was a choice
        del facts["storage"]
    decides = [task.spec.name, task.spec.version, episodes.FORMAT, facts]
    if code := outside.code("task", task.spec.name):
        decides.append(code.sha256)
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
    return os.path.join(root, f"{task.spec.name}-{digest[:12]}")


def _check_dataset(folder: str, task: Task, config: DataConfig) -> None:
    """Raise DatasetError where the folder does not hold the dataset that its name promises."""
    manifest = episodes.read_manifest(folder)
    expected = {"task": task.spec.name, "version": task.spec.version, **dataclasses.asdict(config)}
    actual = {"task": manifest.task, "version": manifest.spec_version, **manifest.config}
    actual.setdefault("storage", "raw")  # as it was before there was a choice
    differences = [
        f"{name} is {actual.get(name)} instead of {value}"
        for name, value in expected.items()
        if actual.get(name) != value
    ]
    if differences:
        raise episodes.DatasetError(
            f"{folder} holds another dataset ({', '.join(differences)}); {episodes.ADVICE}"
        )


def _publish(part: str, folder: str) -> None:
    """Rename `part` to `folder`, unless another process was first."""
    try:
        os.rename(part, folder)
    except OSError:
        if not os.path.isfile(os.path.join(folder, episodes.MANIFEST)):
            raise
        log.info("%s was collected by another process in the meantime; its data are used", folder)
        shutil.rmtree(part, ignore_errors=True)
    else:
        atomic_dirs.remove_notes(folder)


def _bytes_needed(task: Task, config: DataConfig, count: int) -> int:
    """Estimate the bytes of `count` episodes at the step limit; compression leaves a tenth of
    them.
    """
    spec = task.spec
    row = episodes.row_bytes(
        len(spec.state_names), len(spec.proprio_names), spec.action_dim, config.image_size
    )
    return count * config.max_steps * row // (1 if config.storage == "raw" else 10)


def _disk_full(folder: str, needed: int) -> OSError:
    free = shutil.disk_usage(os.path.dirname(folder)).free
    return OSError(
        errno.ENOSPC, f"disk full: about {needed:,} bytes are needed and {free:,} are free", folder
    )


@contextlib.contextmanager
def _pool(workers: int) -> Iterator[concurrent.futures.ProcessPoolExecutor]:
    """Fresh worker processes with one BLAS thread each; they end with this process."""
    previous = {name: os.environ.get(name) for name in _THREAD_LIMITS}
    os.environ.update(dict.fromkeys(_THREAD_LIMITS, "1"))  # read when numpy is imported there
    pool = concurrent.futures.ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(os.getpid(), outside.sources()),
    )
    try:
        yield pool
    except KeyboardInterrupt:
        for worker in multiprocessing.active_children():
            worker.kill()  # it would go on with its chunk for minutes
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        for name, value in previous.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _start_worker(parent: int, sources: list[outside.Source]) -> None:
    processes.end_with_parent(parent)
    outside.restore_modules(sources)  # the task may be of a class in one of them


def _with_progress(chunks: Iterable[Chunk], name: str, total: int) -> Iterator[Chunk]:
    """Pass the chunks on and show how many of `total` episodes they have so far."""
    log.info("collecting %s: %d episodes", name, total)
    with Display(total, title=f"collecting {name}, episodes") as display:
        for chunk in chunks:
            display.advance(len(chunk.lengths))
            yield chunk
