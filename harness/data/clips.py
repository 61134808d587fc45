"""Draws and stores the clips on which surprise is measured: pieces of held-out episodes as they
were recorded, and the same with an event in the middle (contracts.Surprise).

They are the same for every method and are drawn once, beside the dataset.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from harness.contracts.task import Simulator, Surprise, Task
from harness.data import atomic_dirs, cache
from harness.data.episodes import REMAKE, Dataset, DatasetError, reading
from harness.records.storage import parse_json
from harness.runtime import seeding
from harness.runtime.progress import Progress

log = logging.getLogger(__name__)

FORMAT = 1  # grows when clips or the events of a task change
COUNT = 100  # clips, or as many as there are
FRAMES = 13  # of a clip, one block apart, or fewer where no held-out episode is that long
APART_BLOCKS = 2  # at least, between the events of two clips of one episode
LEAST_FRAMES = 7  # no clips where episodes are shorter
MANIFEST = "manifest.json"


class Clips(NamedTuple):
    """n clips of F frames; K kinds of events, each at frame e = `event`, from which on frames
    differ from those of the undisturbed clip.

    Frame f + 1 comes after the block actions[:, f]. Arrays may be memory-mapped.
    """

    kinds: tuple[str, ...]
    event: int
    family: np.ndarray  # (n,) int, of the clip's episode: clips of one family resemble each other
    actions: np.ndarray  # (n, F - 1, A) float32, in the task's units
    pixels: np.ndarray  # (n, F, 3, size, size) uint8, undisturbed
    proprio: np.ndarray  # (n, F, p) float32
    state: np.ndarray  # (n, F, S) float64
    event_pixels: np.ndarray  # (K, n, F - e, 3, size, size), the frames from the event on
    event_proprio: np.ndarray  # (K, n, F - e, p)
    event_state: np.ndarray  # (K, n, F - e, S)


_ARRAYS = Clips._fields[2:]


class _Film(NamedTuple):
    """Pictures, proprioception and states of n copies at one moment (n, ...) or T (n, T, ...)."""

    pixels: np.ndarray
    proprio: np.ndarray
    state: np.ndarray


class _Start(NamedTuple):
    """The beginnings of clips: the episode and the row of the first frame, (n,) each."""

    episode: np.ndarray
    row: np.ndarray


def ensure(dataset: Dataset, task: Task, scene: str, progress: Progress) -> Clips | None:
    """The clips of the dataset for the task as it is drawn in `scene`. They are drawn first where
    they are not on the disk yet, and only drawn where the folder cannot be written. Returns None,
    and logs a warning, where no held-out episode has room for a clip with an event that shows.

    Any number of processes may call this at once; one of them draws. Raises DatasetError for a
    folder with other contents than its name promises, OSError when the disk fails.
    """
    kinds = task.surprises()
    frames, start = _starts(dataset, task, kinds)
    if not len(start.row):
        log.warning(
            "%s: no held-out episode has %d steps with an event that shows, so surprise is not "
            "measured; collect longer or more episodes (data.max_steps, data.episodes)",
            *(dataset.folder, (LEAST_FRAMES - 1) * task.spec.action_block + 1),
        )
        return None
    facts = {
        "format": FORMAT,
        "dataset": dataset.hash,
        "split": dataset.split_hash,
        "version": task.spec.version,
        "scene": scene,
        "kinds": [kind.name for kind in kinds],
        "shape": [len(start.row), frames],
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    root, name = os.path.dirname(os.path.abspath(dataset.folder)), f"clips-{digest[:12]}"

    def make(part: str) -> None:
        drawn = _draw(dataset, task, kinds, frames, start, progress)
        for array in _ARRAYS:
            np.save(os.path.join(part, f"{array}.npy"), getattr(drawn, array))
        with open(os.path.join(part, MANIFEST), "w", encoding="utf-8") as sink:
            json.dump(facts, sink)

    try:
        folder = cache.once(root, name, make)
    except atomic_dirs.NotWritable as error:
        log.warning("%s cannot be written (%s): clips are drawn again", root, error.reason)
        return _draw(dataset, task, kinds, frames, start, progress)
    return _mapped(folder, facts)


def _starts(dataset: Dataset, task: Task, kinds: tuple[Surprise, ...]) -> tuple[int, _Start]:
    """Frames of a clip, and where clips begin: where every kind of event would show. Families take
    turns, so that clips come from as many as possible.
    """
    block = task.spec.action_block
    episodes = np.sort(np.concatenate([dataset.split(s) for s in ("validation", "test")]))
    longest = (int(dataset.lengths[episodes].max(initial=1)) - 1) // block + 1
    frames = min(FRAMES, max(longest, LEAST_FRAMES))
    counts = np.maximum(dataset.lengths[episodes] - (frames - 1) * block, 0)
    episode = np.repeat(episodes, counts)
    step = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    row = dataset.first_row[episode] + step
    begin = row + (frames // 2 - 1) * block  # of the block that leads to the event
    actions = dataset.actions[begin[:, None] + np.arange(block)]
    states = dataset.state[begin], dataset.state[begin + block]
    shows = np.logical_and.reduce([kind.telling(*states, actions) for kind in kinds])
    order = seeding.stream("clips", task.spec.name).permutation(np.flatnonzero(shows))
    order = order[_spaced(episode[order], step[order], APART_BLOCKS * block)]
    family = np.asarray(dataset.manifest.families)[episode[order]]
    chosen = order[np.argsort(_occurrence(family), kind="stable")[:COUNT]]
    chosen = np.sort(chosen)
    return frames, _Start(episode[chosen], row[chosen])


def _spaced(episode: np.ndarray, step: np.ndarray, apart: int) -> list[int]:
    """Indices of those that are at least `apart` steps from all earlier ones of their episode."""
    taken: dict[int, list[int]] = {}
    chosen = []
    for i, (one, at) in enumerate(zip(episode.tolist(), step.tolist(), strict=True)):
        others = taken.setdefault(one, [])
        if all(abs(at - other) >= apart for other in others):
            others.append(at)
            chosen.append(i)
    return chosen


def _occurrence(values: np.ndarray) -> np.ndarray:
    """How often each of the values (n,) has occurred before."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    first = np.searchsorted(ordered, ordered)
    count = np.empty(len(values), np.int64)
    count[order] = np.arange(len(values)) - first
    return count


def _draw(
    dataset: Dataset,
    task: Task,
    kinds: tuple[Surprise, ...],
    frames: int,
    start: _Start,
    progress: Progress,
) -> Clips:
    """Simulate the clips without an event, and with each kind from the block before it on."""
    block, event = task.spec.action_block, frames // 2
    steps = start.row[:, None] + np.arange((frames - 1) * block)
    actions = dataset.actions[steps].reshape(len(start.row), frames - 1, block, -1)
    total = frames + len(kinds) * (frames - event)
    done = 0

    def film(first: int, kind: Surprise | None) -> _Film:
        nonlocal done
        state, seen = dataset.state[start.row + first * block], []
        for frame in _play(task, dataset.image_size, state, actions[:, first:], kind):
            seen.append(frame)
            progress("clips", done := done + 1, total)
        return _Film(*(np.stack(part, axis=1) for part in zip(*seen, strict=True)))

    plain, disturbed = film(0, None), [film(event - 1, kind) for kind in kinds]
    return Clips(
        tuple(kind.name for kind in kinds),
        event,
        np.asarray(dataset.manifest.families, np.int64)[start.episode],
        actions.reshape(*actions.shape[:2], -1),
        *plain,
        *(np.stack(parts) for parts in zip(*disturbed, strict=True)),
    )


def _play(
    task: Task, image_size: int, state: np.ndarray, actions: np.ndarray, kind: Surprise | None
) -> Iterator[_Film]:
    """Observe copies that start in `state` (n, S) after every block of actions (n, T, block, a);
    without an event also at the start. An event takes the place of the first block.
    """
    simulator = task.simulator(len(state), image_size)
    try:
        simulator.set_state(state)
        if kind is None:
            yield _seen(simulator)
        for t in range(actions.shape[1]):
            if kind is not None and t == 0:
                rng = seeding.stream("clips", task.spec.name, kind.name)
                kind.happen(simulator, actions[:, t], rng)
            else:
                for step in range(actions.shape[2]):
                    simulator.step(actions[:, t, step])
            yield _seen(simulator)
    finally:
        simulator.close()


def _seen(simulator: Simulator) -> _Film:
    return _Film(simulator.render(), simulator.proprio(), simulator.state())


def _mapped(folder: str, facts: dict[str, Any]) -> Clips:
    """The clips in the folder; raises DatasetError unless it holds those that `facts` describe."""
    with reading(folder):
        with open(os.path.join(folder, MANIFEST), encoding="utf-8") as source:
            manifest = parse_json(source.read())
        arrays = [np.load(os.path.join(folder, f"{name}.npy"), mmap_mode="r") for name in _ARRAYS]
    if manifest != facts:
        raise DatasetError(f"{folder} holds other clips than its name promises; {REMAKE}")
    return Clips(tuple(facts["kinds"]), facts["shape"][1] // 2, *arrays)
