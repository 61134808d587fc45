"""Says whether results on other people's data can be compared with published ones: is the file
whole, are its pictures those that our simulator draws of its states, and do its recorded actions
lead our simulator to its recorded states.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

from harness.contracts.task import Task
from harness.data import importing
from harness.data.importing import ACTION
from harness.data.sources.interface import Source
from harness.runtime import seeding

REPLAY_STEPS = 25  # the published distance of a goal
REPLAYS = 64
LARGE = 24  # of 255; JPEG of quality 95 changes the released pictures by 19 at most
LARGE_SHARE = 1e-4  # of a picture's values may differ by more than LARGE in the same pictures
REPLAYED_SHARE = 0.95  # of the replays must end at their recorded state by the task's own success
WORST = 3  # pictures of the strip
_FRAME = 2  # px between the pictures of the strip


class Published(NamedTuple):
    """The size of a released dataset."""

    rows: int
    episodes: int
    lengths: tuple[int, int]  # shortest and longest episode


PUBLISHED = {  # quentinll/lewm-* on the hub
    "push_t": Published(2_336_736, 18_685, (49, 246)),
    "two_room": Published(920_809, 10_000, (31, 101)),
    "reacher": Published(2_010_000, 10_000, (201, 201)),
    "cube": Published(2_010_000, 10_000, (201, 201)),
}


class Finding(NamedTuple):
    """One line of the report."""

    subject: str
    text: str
    objection: str = ""  # why results cannot be compared with published ones; "": no reason


class Report(NamedTuple):
    """All findings, and the strip of the worst pictures: recorded, drawn, and their difference."""

    findings: list[Finding]
    strip: bytes  # PNG

    @property
    def objections(self) -> list[str]:
        """Why results on the data cannot be compared with published ones."""
        return [finding.objection for finding in self.findings if finding.objection]


def audit(task: Task, source: Source, states: int) -> Report:
    """Examine a source, with `states` sampled states. Raises DatasetError for one that cannot be
    read or is another task's.
    """
    columns = importing.state_columns(task, source)
    importing.check_action(task, source)
    pictures, strip = _pictures(task, source, columns, states)
    findings = [
        _size(task, source),
        _families(source, columns),
        *_numbers(task, source, columns),
        Finding("compression", f"{source.filters}; a picture of {source.size} px was read"),
        pictures,
        _dynamics(task, source, columns),
    ]
    return Report(findings, strip)


def _size(task: Task, source: Source) -> Finding:
    lengths = source.lengths  # of the part that is not held out: it is the one that was released
    lengths = lengths if source.held_out is None else lengths[~source.held_out]
    text = _in_words(int(lengths.sum()), len(lengths), int(lengths.min()), int(lengths.max()))
    known = PUBLISHED.get(task.spec.name)
    if known is None:
        return Finding("size", f"{text}; nothing is published", "no such dataset is published")
    published = _in_words(known.rows, known.episodes, *known.lengths)
    if text == published:
        return Finding("size", f"{text}, as published")
    return Finding("size", f"{text}; published: {published}", "its size is not the published one")


def _in_words(rows: int, episodes: int, shortest: int, longest: int) -> str:
    return f"{rows:,} rows in {episodes:,} episodes of {shortest} to {longest}"


def _families(source: Source, columns: tuple[str, ...]) -> Finding:
    families, how = importing.find_families(source, columns, np.arange(len(source.lengths)))
    text = f"{len(np.unique(families)):,} ({how})"
    if source.held_out is not None:
        text += f"; {source.held_out.sum():,} episodes are held out by the source"
    return Finding("families", text)


def _numbers(task: Task, source: Source, columns: tuple[str, ...]) -> Iterator[Finding]:
    """Missing numbers, and the actions' range."""
    broken = {name: sum(int(_broken(p).sum()) for p in source.whole(name)) for name in columns}
    found = ", ".join(f"{count:,} in the column {name}" for name, count in broken.items())
    objection = "its states have NaN" if any(broken.values()) else ""
    yield Finding("NaN rows of states", found, objection)
    actions = np.concatenate([*source.whole(ACTION)])
    missing = int(_broken(actions).sum())
    last = sum(
        int(_broken(source.read(ACTION, i, length - 1, length))[0])
        for i, length in enumerate(source.lengths.tolist())
    )
    objection = "actions are missing inside episodes" if missing > last else ""
    text = f"{last:,} in the last row of an episode, {missing - last:,} elsewhere"
    yield Finding("missing actions", text, objection)
    _, *moments = importing.action_statistics(source.place, [actions])
    mean, std = (", ".join(f"{value:.4f}" for value in moment) for moment in moments)
    values = actions[~_broken(actions)]
    beyond = (values < task.spec.action_low) | (values > task.spec.action_high)
    yield Finding(
        "actions",
        f"{values.min():.3f} to {values.max():.3f}; {beyond.mean():.2%} of values beyond the "
        f"bounds, where our simulator clips; mean {mean}; std {std}",
    )


def _broken(values: np.ndarray) -> np.ndarray:
    return ~np.isfinite(values).all(axis=1)


def _pictures(
    task: Task, source: Source, columns: tuple[str, ...], count: int
) -> tuple[Finding, bytes]:
    """Draw sampled states and compare with the recorded pictures."""
    rng = seeding.stream("audit", "pictures", task.spec.name)
    episode = rng.integers(len(source.lengths), size=count)
    step = rng.integers(source.lengths[episode])
    where = list(zip(episode.tolist(), step.tolist(), strict=True))
    state = np.concatenate([_state(task, source, columns, i, t, t + 1) for i, t in where])
    recorded = np.concatenate([source.pictures(i, t, t + 1) for i, t in where])
    simulator = task.simulator(1, source.size[0])
    try:
        drawn = importing.simulated(simulator, state, simulator.render).transpose(0, 2, 3, 1)
    finally:
        simulator.close()
    apart = np.abs(recorded.astype(np.int16) - drawn)
    large = float((apart > LARGE).mean())
    text = (
        f"{count} states drawn: {apart.mean():.3f} of 255 apart on average, {apart.max()} at most; "
        f"{large:.3%} of values by more than {LARGE}"
    )
    objection = "its pictures are not those that our simulator draws" if large > LARGE_SHARE else ""
    worst = np.argsort(apart.mean(axis=(1, 2, 3)))[::-1][:WORST]
    strip = _strip(recorded[worst], drawn[worst], apart[worst].astype(np.uint8))
    return Finding("pictures", text, objection), strip


def _strip(*columns: np.ndarray) -> bytes:
    """A PNG whose lines have one picture of each column (n, size, size, 3) side by side."""
    padded = [
        np.pad(c, ((0, 0), (0, _FRAME), (0, _FRAME), (0, 0)), constant_values=128) for c in columns
    ]
    lines = [np.concatenate(line, axis=1) for line in zip(*padded, strict=True)]
    sink = io.BytesIO()
    Image.fromarray(np.concatenate(lines)).save(sink, format="PNG")
    return sink.getvalue()


def _dynamics(task: Task, source: Source, columns: tuple[str, ...]) -> Finding:
    """Replay recorded actions from recorded states and compare the states that they end in."""
    rng = seeding.stream("audit", "dynamics", task.spec.name)
    long = np.flatnonzero(source.lengths > REPLAY_STEPS)
    if not len(long):
        return Finding("dynamics", "no episode is long enough", "its dynamics cannot be compared")
    episode = rng.choice(long, size=REPLAYS)
    first = rng.integers(source.lengths[episode] - REPLAY_STEPS)
    where = list(zip(episode.tolist(), first.tolist(), strict=True))
    ends = [_state(task, source, columns, i, t, t + REPLAY_STEPS + 1)[[0, -1]] for i, t in where]
    start, goal = np.stack(ends, axis=1)
    actions = np.stack([source.read(ACTION, i, t, t + REPLAY_STEPS) for i, t in where])
    simulator = task.simulator(REPLAYS, 8)
    try:
        simulator.set_state(start)
        for t in range(REPLAY_STEPS):
            simulator.step(np.nan_to_num(actions[:, t]))
        reached = simulator.state()
    finally:
        simulator.close()
    distance, unit = task.distance(reached, goal), task.spec.distance_unit
    share = float(task.success(reached, goal).mean())
    outside = (np.abs(actions) > np.array(task.spec.action_high)).any(axis=(1, 2))
    text = (
        f"{REPLAYS} replays of {REPLAY_STEPS} steps ({outside.sum()} with a clipped action): "
        f"{np.median(distance):.3g} {unit} from the recorded state (median), "
        f"{distance.max():.3g} at most; {share:.0%} end where they should"
    )
    objection = "its actions do not lead to its states" if share < REPLAYED_SHARE else ""
    return Finding("dynamics", text, objection)


def _state(
    task: Task, source: Source, columns: tuple[str, ...], episode: int, begin: int, end: int
) -> np.ndarray:
    values = {name: source.read(name, episode, begin, end) for name in columns}
    return importing.file_columns(task).to_state(values)
