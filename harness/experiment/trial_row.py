"""A trial's own row, and the rows that name the values which a sweep tries."""

from __future__ import annotations

import dataclasses
import errno
import functools
import math
from collections.abc import Iterable

import torch

from harness import zoo
from harness.experiment import config, identity
from harness.experiment.identity import TrialSpec
from harness.experiment.run_folders import RunFolders
from harness.records import rows
from harness.runtime import provenance

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def trial_row(
    spec: TrialSpec,
    folders: RunFolders,
    facts: Iterable[rows.Facts],
    error: str,
    started: float,
    total_s: float,
) -> rows.TrialRow:
    """The row of a trial that ends now: what it was, what ran it, and what its stages found."""
    previous = rows.read_trial(folders.trial(spec))
    commit, dirty = provenance.git()
    on_gpu = spec.config.device == "cuda" and not error
    device, driver = provenance.device("cuda" if on_gpu else "cpu")
    method, task = zoo.METHODS[spec.method], zoo.TASKS[spec.task].spec
    status, error = _status(spec, error)
    row = rows.TrialRow(
        key=spec.key,
        run=folders.run,
        suite=folders.suite,
        task=spec.task,
        method=spec.method,
        variant=spec.variant,
        seed=spec.seed,
        scale=spec.config.scale,
        protocol=spec.config.protocol.name,
        protocol_hash=identity.protocol_hash(spec),
        config_hash=identity.config_hash(spec),
        setting_hash=identity.setting_hash(spec),
        config_yaml=config.to_yaml(spec),
        status=status,
        error=error,
        note="; ".join(filter(None, (spec.config.method.note, spec.config.weights.note))),
        git_commit=commit,
        git_dirty=dirty,
        versions=provenance.versions(),
        device=device,
        driver=driver,
        threads=max(1, round(spec.config.resources.cpu)),
        started=started,
        ended=started + total_s,  # the clock may have been turned back since
        total_s=total_s,
        attempts=1 if previous is None else previous.attempts + 1,
        method_label=method.label,
        task_label=task.label,
        method_rank=list(zoo.METHODS).index(spec.method),
        task_rank=list(zoo.TASKS).index(spec.task),
        is_control=not method.trained,
        role=method.role,
        stages="" if error else " ".join(identity.stage_names(spec)),
        weights=spec.config.weights.origin,
        weights_config_hash=spec.config.weights.config_hash,
    )
    for known in facts:
        row = dataclasses.replace(row, **dataclasses.asdict(known))
    return row


def _status(spec: TrialSpec, error: str) -> tuple[str, str]:
    """The trial's status, and why it is not ok."""
    share = spec.config.train.stop_after
    if not error and "train" in spec.stages and share < 1:
        return "paused", f"paused after {100 * share:.3g} % of its training"
    return ("error" if error else "ok"), error


def joined(earlier: rows.TrialRow, later: rows.TrialRow) -> rows.TrialRow:
    """The row of a finished trial to which stages were added, or of the attempt to add them: it
    stays ok, and an error says what failed since.
    """
    stages = dict.fromkeys([*rows.stages_of(earlier), *later.stages.split()])
    return dataclasses.replace(
        earlier,
        stages=" ".join(stages),
        error=later.error,
        permanent=later.permanent,
        device_shared=earlier.device_shared or later.device_shared,
        eval_s=later.eval_s or earlier.eval_s,
        total_s=earlier.total_s + later.total_s,
        cpu_s=earlier.cpu_s + later.cpu_s,
        peak_memory_bytes=max(earlier.peak_memory_bytes, later.peak_memory_bytes),
        ended=later.ended,
        attempts=later.attempts,
    )


def sweep_rows(spec: TrialSpec) -> list[rows.MetricRow]:
    """The values that a sweep tries in this trial. A value that is not a number is recorded as NaN,
    with its text as the unit.
    """
    tried = []
    for key in spec.swept:
        branch, *path = key.split(".")
        path = path[1:] if branch in ("method", "planner") else path  # the entry's name
        value = functools.reduce(getattr, path, getattr(spec.config, branch))
        is_number = isinstance(value, int | float)
        number, text = (float(value), "") if is_number else (math.nan, str(value))
        tried.append(rows.MetricRow(spec.key, "sweep", key, 0, number, text))
    return tried


def error_line(failure: Exception, folders: RunFolders) -> str:
    """One line that says what failed, and for a full disk or GPU what to do."""
    text = "".join(c if c.isprintable() else " " for c in str(failure))  # no colours, no half text
    line = f"{type(failure).__name__}: {' '.join(text.split())}"[:500]
    if isinstance(failure, OSError) and failure.errno in _DISK_FULL:
        key = "datasets" if str(failure.filename).startswith(folders.datasets) else "results"
        line += f": free disk space or give another {key}=FOLDER, then issue the command again"
    if isinstance(failure, torch.OutOfMemoryError):
        line += ": lower train.batch_size or, where trials share a GPU, raise resources.gpu"
    return line
