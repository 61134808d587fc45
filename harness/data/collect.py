"""Makes the dataset of a task, unless it is there already: its scripted collector records it, or it
is imported from other people's files (importing.py).

A dataset appears whole or not at all: it is collected in a temporary folder (atomic_dirs.py).
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import errno
import functools
import hashlib
import json
import logging
import math
import multiprocessing
import os
import shutil
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from harness.contracts.setting import Settings, setting
from harness.contracts.task import Collector, Simulator, Task
from harness.data import atomic_dirs, cache, episodes, importing, normalize, pixels, sources
from harness.runtime import outside, processes, seeding
from harness.runtime.progress import Display

log = logging.getLogger(__name__)

CHUNK_EPISODES = 64  # episodes of a shard, recorded side by side; another number, other data
_IMPORT = "import"  # stands for the collector of an imported dataset
_BEFORE = {"storage": "raw", "source": sources.OWN}  # younger keys, and what was fixed before them
_THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class DataConfig(Settings):
    """The origin of a dataset and what it is like. The fields that decide its contents are part
    of the hash in the folder's name.
    """

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
    scene: Literal["plain", "full", "swm"] = setting(
        "plain",
        "How tasks are drawn; full: MuJoCo's with shadows, sky and smooth edges; swm: as by "
        "stable-worldmodel 0.1.1, whose pictures the released weights know.",
        paper="full",
    )
    storage: pixels.Storage = setting(
        "raw", "How pictures lie on disk; lz4 compresses each without loss."
    )
    source: str = setting(
        sources.OWN,
        "Where episodes come from: own is the task's collector, else a file or folder is imported.",
        text="own, released, FILE.h5, FOLDER.lance, another FOLDER, or hf:OWNER/NAME[@REV][/FILE]",
    )
    normalizer: normalize.Scope = setting(
        "train",
        "What z-scores are of: the training split, or the whole file as released weights expect; "
        "released: actions of our own data by the released file's statistics, if they are known.",
        paper="file",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.validation + self.test >= 1:
            raise ValueError(
                f"validation={self.validation} and test={self.test} must add up to less than 1, or "
                f"nothing is left to train on"
            )

    def of_task(self, task: str) -> DataConfig:
        """The same with the word `released` replaced: by the task's place on the hub, of which
        whole episodes are taken. Raises ValueError where there is none.
        """
        if self.source != sources.RELEASED:
            return self
        if task not in sources.RELEASES:
            raise ValueError(
                f"data.source=released: {task} has no released data; these have: "
                f"{', '.join(sources.RELEASES)}"
            )
        release = sources.RELEASES[task]
        return dataclasses.replace(self, source=release.place, max_steps=release.longest)

    @property
    def is_imported(self) -> bool:
        """Whether the episodes come from a file."""
        return self.source != sources.OWN

    def contents(self) -> dict[str, Any]:
        """The fields that decide the dataset's contents."""
        fields = dataclasses.asdict(self)
        del fields["normalizer"]
        if self.is_imported:
            del fields["scene"]  # its pictures are there already
        return fields


class Chunk(NamedTuple):
    """A worker's report on the shard that it wrote."""

    shard: episodes.Shard
    lengths: list[int]
    families: list[int]
    collector: str
    collector_parameters: dict[str, Any]


def has(task: Task, config: DataConfig, root: str) -> bool:
    """Whether the dataset exists and is complete."""
    folder = _folder(task, config, cache.local(root))
    here = os.path.isfile(os.path.join(folder, episodes.MANIFEST))
    return here or cache.has(*os.path.split(folder))


def manifest(task: Task, config: DataConfig, root: str) -> episodes.Manifest | None:
    """The manifest of the dataset, or None where this machine has none that can be read."""
    try:
        return episodes.read_manifest(_folder(task, config, cache.local(root)))
    except (episodes.DatasetError, OSError):
        return None


def ensure(task: Task, config: DataConfig, root: str, workers: int = 1) -> str:
    """The folder of the complete dataset under `root`, which is made first if it is missing. Of a
    URI it is this machine's copy (cache.py).

    Any number of processes may call this at once; the data do not depend on `workers`. An
    interrupted collection or import goes on after its last whole shard. Raises DatasetError for a
    folder without a manifest or with another dataset and for a source that cannot be used, OSError
    when the disk is full, and NotWritable where the dataset is missing and `root` cannot be
    written.
    """
    root = cache.local(root)
    folder = _folder(task, config, root)
    collecting = functools.partial(_collect_once, task, config, root, folder, workers)
    cache.shared(*os.path.split(folder), collecting)
    _check_dataset(folder, task, config)
    return folder


def _collect_once(task: Task, config: DataConfig, root: str, folder: str, workers: int) -> None:
    """Collect or import the dataset into `folder`, unless there is one."""
    if os.path.exists(folder):
        return
    with atomic_dirs.claimed(root, os.path.basename(folder)) as part:
        try:
            local = sources.local(config.source, root) if config.is_imported else config.source
            local_config = dataclasses.replace(config, source=local)
            with _explaining_a_full_disk(folder, _check_room(task, local_config, part, folder)):
                _collect(task, local_config, part, workers)
                _write_manifest(task, config, local_config, part)
                _publish(part, folder)
        finally:
            importing.forget()
            if os.path.isdir(part):  # it was not published
                whole = _recorded_chunks(part)
                _drop_others(part, whole)
                if not whole:
                    shutil.rmtree(part, ignore_errors=True)


def _drop_others(part: str, chunks: list[Chunk]) -> None:
    """Delete shards, half written or of another source, that are not the chunks'."""
    files = {chunk.shard.file for chunk in chunks}
    for entry in os.scandir(part):
        shard = entry.name.removesuffix(".json")
        if shard.endswith(".arrow") and shard not in files:
            os.remove(entry.path)


def _check_room(task: Task, config: DataConfig, part: str, folder: str) -> int:
    """Estimate the bytes of the missing chunks; raises OSError where the disk has no room."""
    done = sum(len(chunk.lengths) for chunk in _finished(task, config, part))
    needed = _bytes_needed(task, config, sum(_chunk_episodes(task, config)) - done)
    if shutil.disk_usage(part).free < needed:
        raise _disk_full(folder, needed)
    return needed


def _collect(task: Task, config: DataConfig, part: str, workers: int) -> None:
    """Write the missing shards."""
    name, sizes = task.spec.name, _chunk_episodes(task, config)
    chunks = _finished(task, config, part)
    _drop_others(part, chunks)
    missing = [i for i in range(len(sizes)) if _file(i) not in {c.shard.file for c in chunks}]
    left = sum(sizes) - sum(len(chunk.lengths) for chunk in chunks)
    verb = "importing" if config.is_imported else "collecting"
    if chunks:
        log.info("%s: interrupted %s goes on, %d episodes left", name, verb, left)
    if workers == 1 or len(missing) < 2:
        results = (_record(task, config, part, i) for i in missing)
        with threadpool_limits(1, user_api="blas"):  # as in the workers of a pool
            _show_progress(results, f"{verb} {name}", left)
    else:
        with _pool(min(workers, len(missing))) as pool:
            with _without_ctrl_c():
                pending = [pool.submit(_record, task, config, part, i) for i in missing]
            finished = (f.result() for f in concurrent.futures.as_completed(pending))
            _show_progress(finished, f"{verb} {name}", left)


def _chunk_episodes(task: Task, config: DataConfig) -> list[int]:
    """The number of episodes of each chunk."""
    if config.is_imported:
        return [part.stop - part.start for part in importing.plan(task, config).shards]
    whole, rest = divmod(config.episodes, CHUNK_EPISODES)
    return [CHUNK_EPISODES] * whole + [rest] * (rest > 0)


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


def _finished(task: Task, config: DataConfig, part: str) -> list[Chunk]:
    """The whole chunks; those that were read from another file of the same name do not count."""
    chunks = _recorded_chunks(part)
    if not config.is_imported:
        return chunks
    fingerprint = importing.plan(task, config).facts["fingerprint"]
    return [c for c in chunks if c.collector_parameters["fingerprint"] == fingerprint]


def _record(task: Task, config: DataConfig, part: str, chunk: int) -> Chunk:
    """Record or read the episodes of one chunk and write its shard."""
    if config.is_imported:
        columns, lengths, families = importing.read(task, config, chunk)
        fingerprint = importing.plan(task, config).facts["fingerprint"]
        name, parameters = _IMPORT, {"fingerprint": fingerprint}
    else:
        columns, lengths, families, collector = _columns(task, config, chunk)
        name, parameters = type(collector).__name__, dict(getattr(collector, "parameters", {}))
    shard = episodes.write_shard(part, _file(chunk), columns, config.storage)
    report = Chunk(shard, lengths, families, name, parameters)
    facts = report._asdict() | {"shard": dataclasses.asdict(shard)}
    atomic_dirs.write_note(part, shard.file, facts)
    return report


def _columns(
    task: Task, config: DataConfig, chunk: int
) -> tuple[episodes.Columns[np.ndarray], list[int], list[int], Collector]:
    """Record the episodes of one chunk side by side; the rows, the episodes' lengths and families,
    and their collector.
    """
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
    return columns, lengths.tolist(), families.tolist(), collector


def _run(
    task: Task, config: DataConfig, simulator: Simulator, collector: Collector
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Step n copies to the ends of their episodes.

    Returns lengths (n,) and columns (n, max_steps, ...).
    """
    spec, n, steps, size = task.spec, simulator.n, config.max_steps, config.image_size
    recorded: dict[str, np.ndarray] = {
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
        actions = np.clip(actions, *np.array((spec.action_low, spec.action_high), np.float32))
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


def _write_manifest(task: Task, config: DataConfig, local_config: DataConfig, part: str) -> None:
    """Write the manifest of the whole shards; local_config has the source as it lies here."""
    chunks = sorted(_finished(task, local_config, part), key=lambda chunk: chunk.shard.file)
    parameters, held_out = chunks[0].collector_parameters, None
    if config.is_imported:
        plan = importing.plan(task, local_config)
        parameters, held_out = plan.facts, plan.held_out
        log.info("%s: families of episodes: %s", task.spec.name, parameters["families"])
    shards = [chunk.shard for chunk in chunks]
    families = [family for chunk in chunks for family in chunk.families]
    split = _split(task.spec.name, config, np.array(families), held_out)
    manifest = episodes.Manifest(
        format=episodes.FORMAT,
        task=task.spec.name,
        spec_version=task.spec.version,
        config=dataclasses.asdict(config),
        image_size=config.image_size,
        collector=chunks[0].collector,
        collector_parameters=parameters,
        lengths=[length for chunk in chunks for length in chunk.lengths],
        families=families,
        split=split,
        shards=shards,
        hash=episodes.content_hash(shards),
        split_hash=episodes.split_hash(split),
    )
    episodes.write_manifest(part, manifest)


def _split(
    name: str, config: DataConfig, families: np.ndarray, held_out: np.ndarray | None = None
) -> dict[str, list[int]]:
    """Episode ids by split; a family is never divided. Episodes that a source holds out (E,) are
    the test split, together with those that share a family with one of them.
    """
    if held_out is None:
        held_out = np.zeros(len(families), bool)
    held_out = np.isin(families, families[held_out])
    order = np.unique(families[~held_out])
    order = seeding.stream("split", name, config.seed).permutation(order)
    test = 0 if held_out.any() else _share(config.test, len(order))
    validation = test + _share(config.validation, len(order))
    parts = {
        "train": order[validation:],
        "validation": order[test:validation],
        "test": order[:test],
    }
    split = {
        key: np.flatnonzero(np.isin(families, part) & ~held_out) for key, part in parts.items()
    }
    split["test"] = np.union1d(split["test"], np.flatnonzero(held_out))
    return {key: ids.tolist() for key, ids in split.items()}


def _share(part: float, families: int) -> int:
    """The number of families that is a share `part` of all; at least one unless the share is 0."""
    return max(round(part * families), 1) if part > 0 else 0


def _folder(task: Task, config: DataConfig, root: str) -> str:
    facts = config.contents()
    for key, before in _BEFORE.items():
        if facts[key] == before:
            del facts[key]
    decides = [task.spec.name, task.spec.version, episodes.FORMAT, facts]
    if code := outside.code("task", task.spec.name):
        decides.append(code.sha256)
    digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()
    return os.path.join(root, f"{task.spec.name}-{digest[:12]}")


def _check_dataset(folder: str, task: Task, config: DataConfig) -> None:
    """Raise DatasetError where the folder does not hold the dataset that its name promises."""
    manifest = episodes.read_manifest(folder)
    expected = {"task": task.spec.name, "version": task.spec.version, **config.contents()}
    actual = {"task": manifest.task, "version": manifest.spec_version, **_BEFORE, **manifest.config}
    differences = [
        f"{name} is {actual.get(name)} instead of {value}"
        for name, value in expected.items()
        if actual.get(name) != value
    ]
    if differences:
        raise episodes.DatasetError(
            f"{folder} holds another dataset ({', '.join(differences)}); {episodes.ADVICE}"
        )
    if config.is_imported:
        importing.check_unchanged(folder, manifest, config.source)


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
    """Estimate the bytes of `count` episodes, those of the collector at the step limit; compression
    leaves a tenth of them.
    """
    spec, steps = task.spec, config.max_steps
    if config.is_imported:
        steps = math.ceil(importing.plan(task, config).lengths.mean())
    row = episodes.row_bytes(
        len(spec.state_names), len(spec.proprio_names), spec.action_dim, config.image_size
    )
    return count * steps * row // (1 if config.storage == "raw" else 10)


@contextlib.contextmanager
def _explaining_a_full_disk(folder: str, needed: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise _disk_full(folder, needed) from error
        raise


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


@contextlib.contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Processes that are started within never see Ctrl-C, which a terminal sends to all of a
    command: the command ends them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start_worker(parent: int, codes: list[outside.Source]) -> None:
    processes.end_with_parent(parent)
    outside.restore_modules(codes)  # the task may be of a class in one of them


def _show_progress(chunks: Iterable[Chunk], title: str, total: int) -> None:
    """Take the chunks as they are finished, and show how many of `total` episodes they have."""
    log.info("%s: %d episodes", title, total)
    with Display(total, title=f"{title}, episodes") as display:
        for chunk in chunks:
            display.advance(len(chunk.lengths))
