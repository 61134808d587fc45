"""Tells those who watch a run what it has still to do: which trials were planned, and how far those
that run are.

`plan.json` in the folder of a run has the trials that harness.run was asked for; `running.json` in
the folder of a trial is there while the trial runs. Neither decides what is done: that is what
trial.parquet says.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import math
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa
from pyarrow import fs as pafs

from harness.records import rows, storage

log = logging.getLogger(__name__)

FILE, RUNNING = "plan.json", "running.json"
_EVERY_S = 10.0  # between two writes of one stage's progress

Progress = Callable[[str, int, int], None]  # stage, done, total
Settings = Mapping[str, Mapping[str, Mapping[str, str]]]  # protocol -> key -> task -> value


@dataclass(frozen=True)
class PlannedTrial:
    """A trial that a command asked for."""

    key: str
    config_hash: str
    task: str
    method: str
    variant: str
    seed: int
    stages: list[str]  # as a trial's row names them
    task_label: str
    method_label: str
    cannot_run: str = ""  # why this machine cannot run it
    estimate_s: float | None = None
    planned: float = 0.0  # Unix time of the command

    @property
    def folder(self) -> str:
        """The name of the trial's folder below trials/."""
        return rows.folder_name(self.key, self.config_hash)


@dataclass(frozen=True)
class Plan:
    """The planned trials, and the settings of every named protocol on their tasks."""

    trials: list[PlannedTrial] = field(default_factory=list)
    protocols: Settings = field(default_factory=dict)

    @property
    def latest(self) -> list[PlannedTrial]:
        """The trials of the last command."""
        last = max((trial.planned for trial in self.trials), default=0.0)
        return [trial for trial in self.trials if trial.planned == last]


class Mark(NamedTuple):
    """How far a running trial was at a time."""

    stage: str
    done: int
    total: int
    at: float  # Unix time


def write(run_folder: str, plan: Plan, without: Collection[str] = ()) -> None:
    """Write the plan of a command. Trials of earlier commands stay in it, except those with the key
    of a trial in `plan`, whose configuration was changed, and those with the keys `without`. A plan
    that cannot be written is logged and costs no trial.
    """
    earlier = {trial.key: trial for trial in read(run_folder).trials if trial.key not in without}
    last = max((trial.planned for trial in earlier.values()), default=-math.inf)
    now = max((trial.planned for trial in plan.trials), default=0.0)
    if now <= last:  # the clock was turned back; `latest` must still be this command's
        now = math.nextafter(last, math.inf)
    planned = [dataclasses.replace(trial, planned=now) for trial in plan.trials]
    trials = earlier | {trial.key: trial for trial in planned}
    content = {
        "trials": [dataclasses.asdict(trial) for trial in trials.values()],
        "protocols": plan.protocols,
    }
    storage.remove_parts(run_folder, FILE)
    try:
        storage.write_json(storage.join(run_folder, FILE), content)
    except (OSError, pa.ArrowException) as error:
        log.warning("the plan of %s cannot be written: %s", run_folder, storage.one_line(error))


def read(run_folder: str) -> Plan:
    """The plan of a run; an empty one where there is none that can be read."""
    fs, base = storage.filesystem(run_folder)
    content = _json(fs, f"{base.rstrip('/')}/{FILE}")
    try:
        trials = [PlannedTrial(**line) for line in content.get("trials", [])]
        plan = Plan(trials, content.get("protocols", {}))
        _check_kinds(plan)
    except TypeError as error:
        log.warning("%s/%s is passed over: %s", run_folder, FILE, storage.one_line(error))
        return Plan()
    return plan


def _check_kinds(plan: Plan) -> None:
    """Raises TypeError where a part of the plan is not of its type: the file may be damaged."""
    for trial in plan.trials:
        values = dataclasses.asdict(trial)
        numbers = [values.pop(name) for name in ("seed", "planned", "estimate_s")]
        texts = [*values.pop("stages"), *values.values()]
        if not all(isinstance(text, str) for text in texts):
            raise TypeError(f"a trial has {texts}, which are no texts")
        if not all(isinstance(number, int | float | None) for number in numbers):
            raise TypeError(f"a trial has {numbers}, which are no numbers")
    level: list[Any] = [plan.protocols]
    for _ in range(3):  # protocol, key, task
        if not all(isinstance(part, dict) for part in level):
            raise TypeError("its protocols are no dictionaries")
        level = [item for part in level for item in part.values()]
    if not all(isinstance(text, str) for text in level):
        raise TypeError("its protocols have values that are no texts")


@contextlib.contextmanager
def marked(folder: str, progress: Progress) -> Iterator[Progress]:
    """A progress function that tells `progress` and also leaves a mark in a trial's folder, which
    is removed when the block ends. A mark that cannot be written costs no trial.
    """
    last_stage, last_at = "", -math.inf

    def report(stage: str, done: int, total: int) -> None:
        nonlocal last_stage, last_at
        now = time.monotonic()
        if stage != last_stage or now - last_at > _EVERY_S:
            last_stage, last_at = stage, now
            with contextlib.suppress(OSError, pa.ArrowException):
                mark = Mark(stage, done, total, time.time())
                storage.write_json(storage.join(folder, RUNNING), mark._asdict())
        progress(stage, done, total)

    try:
        yield report
    finally:
        _remove_mark(folder)


@contextlib.contextmanager
def without_old_marks(run_folder: str, trials: Sequence[PlannedTrial]) -> Iterator[None]:
    """Remove the marks that killed processes of these trials have left, before and after the block
    that runs them.
    """
    folders = [storage.join(run_folder, "trials", trial.folder) for trial in trials]
    for folder in folders:
        _remove_mark(folder)
    try:
        yield
    finally:
        for folder in folders:
            _remove_mark(folder)


def marks(run_folder: str, trials: Sequence[PlannedTrial]) -> dict[str, Mark]:
    """folder below trials/ -> mark, of those of the trials that run."""
    fs, base = storage.filesystem(run_folder)
    found = {}
    for trial in trials:
        content = _json(fs, f"{base.rstrip('/')}/trials/{trial.folder}/{RUNNING}")
        with contextlib.suppress(TypeError):
            mark = Mark(**content) if content else None
            if mark and isinstance(mark.stage, str) and mark.done + mark.total + mark.at >= 0:
                found[trial.folder] = mark
    return found


def _remove_mark(folder: str) -> None:
    with contextlib.suppress(OSError, pa.ArrowException):
        fs, base = storage.filesystem(folder)
        storage.delete(fs, f"{base}/{RUNNING}")


def _json(fs: pafs.FileSystem, path: str) -> dict[str, Any]:
    """The object in a JSON file; an empty one where there is none."""
    try:
        with fs.open_input_stream(path) as source:
            content = storage.parse_json(source.read())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
