"""Reads the episodes of other people's files (sources/) as rows of a dataset of this project.

The episodes that a configuration asks for are drawn by its seed, so that a part of a large file is
a fair part of it, and only their rows are read. Pictures are brought to data.image_size by the mean
of the area that a pixel covers. An action that is NaN in an episode's last row stays so: no action
was taken there. An action beyond the task's bounds stays as it is; simulators clip it.
"""

from __future__ import annotations

import functools
import itertools
import logging
import os
from collections.abc import Hashable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from PIL import Image

from harness.contracts.task import FileColumns, Task
from harness.data import sources
from harness.data.episodes import Columns, DatasetError, Manifest
from harness.data.sources.interface import Source
from harness.runtime import seeding

if TYPE_CHECKING:
    from harness.data.collect import DataConfig

log = logging.getLogger(__name__)

ACTION = "action"
SHARD_BYTES = (
    128 * 2**20
)  # of the pictures in a shard, so that memory stays flat; other, other data
FAMILY_COLUMNS = ("family", "init_idx", "initial_condition")  # of a row's initial condition
SAME_START = 1e-3  # in the units of a state: starts that differ by less are one family
_SIMULATED = 32  # rows whose proprioception is asked for together
_TOLD_COLUMNS = 12  # of a file that is refused, in the message


class Import(NamedTuple):
    """The plan of an import: the part of a source that is read, divided into shards."""

    source: Source
    columns: tuple[str, ...]  # those that make a state
    episodes: np.ndarray  # (E,) numbers in the source, ascending
    lengths: np.ndarray  # (E,) rows that are read
    families: np.ndarray  # (E,)
    held_out: np.ndarray | None  # (E,) bool
    shards: list[slice]  # of the E episodes
    facts: dict[str, Any]  # for the manifest


def plan(task: Task, config: DataConfig) -> Import:
    """The plan for a configuration whose source is a local file or folder, or a URI.

    Raises DatasetError where the source cannot be read or is another task's.
    """
    # mypy takes no Protocol for hashable
    return _plan(task.spec.name, cast(Hashable, task), config)


def check(task: Task, place: str) -> None:
    """Open a source on this machine, for a moment. Raises DatasetError where it cannot be read or
    is another task's, and OSError.
    """
    source = sources.open_source(place)
    state_columns(task, source)
    check_action(task, source)


def check_unchanged(folder: str, manifest: Manifest, place: str) -> None:
    """Raise DatasetError where the local source of an imported dataset is there and has changed."""
    if ":" in place.split("/")[0] or not os.path.exists(place):
        return  # of the hub, whose revisions stay as they are, or no longer needed
    if sources.fingerprint(place) != manifest.collector_parameters["fingerprint"]:
        raise DatasetError(
            f"{place} has changed since it was imported: delete {folder}, and it is imported again"
        )


def forget() -> None:
    """Close the source that the last plan has opened."""
    _plan.cache_clear()


@functools.lru_cache(maxsize=1)
def _plan(name: str, task: Task, config: DataConfig) -> Import:
    source = sources.open_source(config.source)
    columns = state_columns(task, source)
    check_action(task, source)
    if source.size[0] != source.size[1]:
        raise DatasetError(f"{source.place}: its pictures are not square but {source.size}")
    episodes = _draw(name, source, config)
    lengths = np.minimum(source.lengths[episodes], config.max_steps)
    families, how = find_families(source, columns, episodes)
    held_out = None if source.held_out is None else source.held_out[episodes]
    _check_splits(source.place, config, families, held_out)
    log.info("%s: reading the actions of all %d rows", source.place, source.lengths.sum())
    statistics = action_statistics(source.place, source.whole(ACTION))
    facts = {
        "format": source.name,
        "fingerprint": source.fingerprint(config.source),
        "source_episodes": len(source.lengths),
        "source_rows": int(source.lengths.sum()),
        "episodes": episodes.tolist(),
        "columns": columns,
        "families": how,
        "cut": int((source.lengths[episodes] > config.max_steps).sum()),
        **statistics._asdict(),
    }
    shards = _shards(lengths, config.image_size)
    return Import(source, columns, episodes, lengths, families, held_out, shards, facts)


def read(
    task: Task, config: DataConfig, shard: int
) -> tuple[Columns[np.ndarray], list[int], list[int]]:
    """The rows of one shard, and the lengths and families of its episodes. Raises DatasetError."""
    whole = plan(task, config)
    own = whole.shards[shard]
    episodes, lengths = whole.episodes[own], whole.lengths[own].tolist()
    ends = [0, *itertools.accumulate(lengths)]
    states, actions = [], []
    pictures = np.empty((ends[-1], 3, config.image_size, config.image_size), np.uint8)
    for episode, begin, end in zip(episodes.tolist(), ends[:-1], ends[1:], strict=True):
        values = {name: whole.source.read(name, episode, 0, end - begin) for name in whole.columns}
        states.append(file_columns(task).to_state(values))
        actions.append(whole.source.read(ACTION, episode, 0, end - begin).astype(np.float32))
        _check_numbers(whole.source, episode, states[-1], actions[-1])
        shown = whole.source.pictures(episode, 0, end - begin)
        pictures[begin:end] = resized(shown, config.image_size).transpose(0, 3, 1, 2)
    state = np.concatenate(states)
    numbers = np.arange(own.start, own.stop)
    columns = Columns(
        episode=np.repeat(numbers, lengths).astype(np.int32),
        step=np.concatenate([np.arange(length) for length in lengths]).astype(np.int32),
        family=np.repeat(whole.families[own], lengths).astype(np.int32),
        state=state,
        proprio=_proprio(task, state),
        action=np.concatenate(actions),
        pixels=pictures,
    )
    return columns, lengths, whole.families[own].tolist()


def file_columns(task: Task) -> FileColumns:
    """The columns of files that hold the task's states. Raises DatasetError where it has none."""
    columns = getattr(task, "file_columns", None)
    if not isinstance(columns, FileColumns):
        raise DatasetError(f"{task.spec.name} reads no files: it has no file_columns (FileColumns)")
    return columns


def state_columns(task: Task, source: Source) -> tuple[str, ...]:
    """The source's columns that make the task's state. Raises DatasetError where it has none."""
    choices = file_columns(task).choices
    for choice in choices:
        if all(source.columns.get(name) == width for name, width in choice.items()):
            return tuple(choice)
    wanted = " or ".join(_with_widths(choice) for choice in choices)
    raise DatasetError(
        f"{source.place} is no {task.spec.label} data: its state would be {wanted}, and it has "
        f"{_with_widths(dict(list(source.columns.items())[:_TOLD_COLUMNS])) or 'no numbers'}"
    )


def check_action(task: Task, source: Source) -> None:
    """Raise DatasetError where the source's actions have another width than the task's."""
    width = source.columns.get(ACTION, 0)
    if width != task.spec.action_dim:
        raise DatasetError(
            f"{source.place} is no {task.spec.label} data: {ACTION} has width {width}, not "
            f"{task.spec.action_dim}"
        )


class ActionStatistics(NamedTuple):
    """Moments of all actions of a source, of imported episodes and others, without NaN rows."""

    action_rows: int
    action_mean: list[float]
    action_std: list[float]  # ddof 0


def action_statistics(place: str, parts: Iterable[np.ndarray]) -> ActionStatistics:
    """Moments of the actions (n, a) in all parts. Raises DatasetError where none is a number."""
    mean: Any  # numbers at first, then (a,)
    squares: Any
    count, mean, squares = (
        0,
        0.0,
        0.0,
    )  # numbers at first, then (a,); squares: summed squared deviations (Chan et al. 1979)
    for part in parts:
        values = part[np.isfinite(part).all(axis=1)].astype(np.float64)
        if not len(values):
            continue
        total, shift = count + len(values), values.mean(axis=0) - mean
        squares = squares + ((values - values.mean(axis=0)) ** 2).sum(axis=0)
        squares = squares + shift**2 * count * len(values) / total
        mean, count = mean + shift * len(values) / total, total
    if not count:
        raise DatasetError(f"{place}: no action is a number")
    return ActionStatistics(count, mean.tolist(), np.sqrt(squares / count).tolist())


def resized(pictures: np.ndarray, size: int) -> np.ndarray:
    """Pictures (n, height, width, 3) at size x size, by the mean of the area a pixel covers."""
    if pictures.shape[1:3] == (size, size):
        return pictures
    box, shape = Image.Resampling.BOX, (size, size)
    return np.stack([np.asarray(Image.fromarray(p).resize(shape, box)) for p in pictures])


def _draw(name: str, source: Source, config: DataConfig) -> np.ndarray:
    """The episodes that are imported: all, or as many as the configuration says, drawn by its seed;
    of held-out ones the share data.test, at least one, or all.
    """
    count = len(source.lengths)
    if config.episodes >= count:
        return np.arange(count)
    order = seeding.stream("import", name, config.seed).permutation(count)
    if source.held_out is None:
        return np.sort(order[: config.episodes])
    theirs = order[source.held_out[order]]
    theirs = theirs[: max(1, round(config.test * config.episodes))]
    ours = order[~source.held_out[order]][: config.episodes - len(theirs)]
    return np.sort(np.concatenate([theirs, ours]))


def find_families(
    source: Source, columns: Iterable[str], episodes: np.ndarray
) -> tuple[np.ndarray, str]:
    """The initial-condition family of each episode (E,), and how it is known, in words."""
    named = next((name for name in FAMILY_COLUMNS if source.columns.get(name) == 1), None)
    names = [named] if named else list(columns)
    rows = [np.concatenate([source.read(n, i, 0, 1)[0] for n in names]) for i in episodes.tolist()]
    start = np.stack(rows) if named else np.rint(np.stack(rows) / SAME_START)
    _, families = np.unique(start, axis=0, return_inverse=True)
    families = families.reshape(-1)
    if named:
        return families, f"by the column {named}"
    if families.max() + 1 == len(families):
        return np.arange(len(families)), "none: every episode is one"
    return families, "episodes with one initial state"


def _check_splits(
    place: str, config: DataConfig, families: np.ndarray, held_out: np.ndarray | None
) -> None:
    """Raise DatasetError where a split that is wanted would have no family."""
    ours = families if held_out is None else families[~np.isin(families, families[held_out])]
    count = len(np.unique(ours))
    wanted = 1 + (config.validation > 0) + (config.test > 0 and held_out is None)
    if count < wanted:
        raise DatasetError(
            f"{place}: {len(ours)} episodes of {count} families cannot be divided into {wanted} "
            f"splits: raise data.episodes, or give data.validation=0 or data.test=0"
        )


def _shards(lengths: np.ndarray, image_size: int) -> list[slice]:
    """Consecutive episodes whose pictures have at most SHARD_BYTES together, one at least."""
    most = SHARD_BYTES // (3 * image_size**2)
    shards, first, rows = [], 0, 0
    for i, length in enumerate(lengths.tolist()):
        if rows and rows + length > most:
            shards.append(slice(first, i))
            first, rows = i, 0
        rows += length
    return [*shards, slice(first, len(lengths))]


def _check_numbers(source: Source, episode: int, state: np.ndarray, action: np.ndarray) -> None:
    """Raise DatasetError for a NaN anywhere but in the last action."""
    for what, values in (("its state", state), (ACTION, action[:-1])):
        broken = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(broken):
            raise DatasetError(
                f"{source.place}: {what} is NaN or infinite in row {broken[0]} of episode "
                f"{episode}; only the last action of an episode may be missing"
            )


def _proprio(task: Task, state: np.ndarray) -> np.ndarray:
    """The proprioception (R, p) of states (R, S), as the task's simulator gives it."""
    simulator = task.simulator(_SIMULATED, 8)
    try:
        return simulated(simulator, state, simulator.proprio)
    finally:
        simulator.close()


def simulated(simulator: Any, state: np.ndarray, answer: Any) -> np.ndarray:
    """answer() for states (R, S), with as many at a time as the simulator has copies."""
    parts = []
    for first in range(0, len(state), simulator.n):
        rows = np.minimum(np.arange(first, first + simulator.n), len(state) - 1)
        simulator.set_state(state[rows])
        parts.append(answer())
    return np.concatenate(parts)[: len(state)]


def _with_widths(columns: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({width})" for name, width in columns.items())
