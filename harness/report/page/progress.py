"""The holes of a run: trials that failed, run, wait or cannot be read, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from harness.records import plan, rows
from harness.report import load

RUNNING, LEFT, FAILED = "running", "not run yet", "failed"


class Progress(NamedTuple):
    """The plan, and how far the trials that run are; empty where no plan was recorded."""

    plan: plan.Plan
    marks: Mapping[str, plan.Mark]  # folder below trials/ -> mark


class Hole(NamedTuple):
    """A trial that is in no average."""

    key: str
    state: str
    reason: str
    task: str = ""  # "", as what follows, where it cannot be read
    method: str = ""
    variant: str = ""
    task_label: str = ""
    method_label: str = ""
    share: float = 0.0  # of its stage that is done


class Counts(NamedTuple):
    """How many trials of the last command are in which state."""

    done: int
    running: int
    left: int
    failed: int
    left_s: float  # what the trials that are left take, those added up that have an estimate

    @property
    def total(self) -> int:
        """All trials of the command."""
        return self.done + self.running + self.left + self.failed


def read(run_folder: str) -> Progress:
    """The progress of a run as its folder says it."""
    planned = plan.read(run_folder)
    return Progress(planned, plan.marks(run_folder, planned.trials))


def holes(run: load.RunTables, progress: Progress) -> list[Hole]:
    """The planned trials without a result: first those that run, then those that failed, cannot be
    read, or wait.
    """
    waiting = _waiting(run, progress)
    known = {hole.key for hole in waiting}
    failed = [
        Hole(
            *(row.key, FAILED, _reason(row), row.task, row.method, row.variant),
            *(run.task_label(row.task), run.method_label(row.method, row.variant)),
        )
        for row in run.failed.sort_values("key").itertuples()
        if row.key not in known
    ]
    broken = [Hole(folder, "cannot be read", reason) for folder, reason in run.broken]
    run_now = [hole for hole in waiting if hole.state == RUNNING]
    return [*run_now, *failed, *broken, *(hole for hole in waiting if hole.state != RUNNING)]


def counts(run: load.RunTables, progress: Progress) -> Counts | None:
    """The trials of the last command by state; None where no plan was recorded."""
    latest = progress.plan.latest
    if not latest:
        return None
    states = {hole.key: hole.state for hole in _waiting(run, progress)}
    failed = set(run.failed["key"]) - set(states)
    left = [trial for trial in latest if states.get(trial.key) == LEFT]
    return Counts(
        done=sum(trial.key not in states and trial.key not in failed for trial in latest),
        running=sum(states.get(trial.key) == RUNNING for trial in latest),
        left=len(left),
        failed=sum(trial.key in failed for trial in latest),
        left_s=sum(trial.estimate_s or 0.0 for trial in left),
    )


def _waiting(run: load.RunTables, progress: Progress) -> list[Hole]:
    """The planned trials that run, and those that no process has ended since they were planned."""
    trials = run.trials[["key", "config_hash", "stages", "config_yaml"]].itertuples()
    done = {(row.key, row.config_hash): set(rows.stages_of(row)) for row in trials}
    failures = {(row.key, row.config_hash): row for row in run.failed.itertuples()}
    found = []
    for trial in progress.plan.trials:
        identity = trial.key, trial.config_hash
        lacking = [name for name in trial.stages if name not in done.get(identity, ())]
        failure, mark = failures.get(identity), progress.marks.get(trial.folder)
        ended = failure is not None and failure.ended >= trial.planned
        if mark is None and (ended or (identity in done and not lacking)):
            continue
        if mark is not None:
            state, reason = RUNNING, f"{mark.stage} {mark.done} of {mark.total}"
        else:
            state, reason = LEFT, trial.cannot_run or _again(lacking, identity in done, failure)
        found.append(
            Hole(
                *(trial.key, state, reason, trial.task, trial.method, trial.variant),
                *(trial.task_label, f"{trial.method_label} {trial.variant}".strip()),
                mark.done / max(1, mark.total) if mark else 0.0,
            )
        )
    return found


def _again(lacking: list[str], is_done: bool, failure) -> str:
    """Why a trial that has a row waits."""
    if is_done:
        return f"stages to add: {', '.join(name.partition('@')[0] for name in lacking)}"
    return f"failed before: {_reason(failure)}" if failure is not None else ""


def _reason(row) -> str:
    attempts = f" ({row.attempts} attempts)" if row.attempts > 1 else ""
    return load.error_line(row.error) + attempts
