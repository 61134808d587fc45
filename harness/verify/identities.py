"""Checks which trials a run has, and that each is the one that its row says: nothing of a plan is
missing, no row is of another run or protocol, and every hash follows from the configuration.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from harness.experiment import identity
from harness.records import rows
from harness.runtime import provenance
from harness.verify.check import Check, Note
from harness.verify.record import Run, Trial


def trials(run: Run) -> Check:
    """Every trial that was planned is there and has ended well, and none is of another run."""
    faults = [*_unusable(run), *_missing(run), *_strangers(run)]
    skipped = [
        Note(trial.name, "it pauses in the middle of its training")
        for trial in run.trials
        if trial.row.status == "paused"
    ]
    if not run.planned:
        skipped.append(Note("plan.json", "it is not there, so no trial can be known to be missing"))
    return Check("presence", len(run.planned) or len(run.trials), "trials", faults, skipped)


def _unusable(run: Run) -> Iterator[Note]:
    for name, why in run.unreadable.items():
        yield Note(name, why)
    for trial in run.trials:
        if trial.row.status == "error":
            yield Note(trial.name, f"failed: {trial.row.error[:120]}")


def _missing(run: Run) -> Iterator[Note]:
    known = {trial.name: trial for trial in run.trials}
    for planned in run.planned:
        trial = known.get(planned.folder)
        if trial is None:
            if planned.folder not in run.unreadable:
                yield Note(planned.folder, "missing: the plan has it, and it has no rows")
        elif trial.row.status == "ok":
            lacking = set(planned.stages) - set(rows.stages_of(trial.row))
            if lacking:
                yield Note(trial.name, f"lacks the stages {', '.join(sorted(lacking))} of the plan")


def _strangers(run: Run) -> Iterator[Note]:
    """Trials of another run, and of protocols that no planned trial of their task has."""
    names = Counter(trial.row.run for trial in run.trials)
    usual = names.most_common(1)[0][0] if names else ""
    planned = {trial.folder for trial in run.planned}
    protocols = {
        (trial.row.task, trial.row.protocol_hash) for trial in run.trials if trial.name in planned
    }
    for trial in run.trials:
        row = trial.row
        if row.run != usual:
            yield Note(trial.name, f"its row is of run {row.run}, the others of run {usual}")
        elif protocols and (row.task, row.protocol_hash) not in protocols:
            protocol = f"{row.protocol} {row.protocol_hash[:8]}"
            yield Note(trial.name, f"of another protocol than the planned trials: {protocol}")


def hashes(run: Run) -> Check:
    """The hashes of configuration, setting and protocol follow from the recorded configuration, and
    so do the columns that repeat it.
    """
    faults, skipped = [], []
    for trial in run.trials:
        wrong = _wrong_facts(trial) if trial.spec else trial.unreadable
        if wrong and _is_of_other_code(trial):
            skipped.append(Note(trial.name, "its rows are of another version of the code"))
        elif wrong:
            faults.append(Note(trial.name, wrong))
    return Check("hashes", len(run.trials) - len(skipped), "trials", faults, skipped)


def _is_of_other_code(trial: Trial) -> bool:
    """Whether the row is what its trial wrote and that trial ran another commit, whose versions of
    tasks and methods may have made other hashes.
    """
    row = trial.row
    written = bool(row.digests) and "trial" not in rows.changed(trial.written)
    return written and row.git_commit != provenance.git()[0]


def _wrong_facts(trial: Trial) -> str:
    """The columns that the configuration makes others, "" where there are none."""
    row, spec = trial.row, trial.known_spec
    expected = {
        "key": spec.key,
        "task": spec.task,
        "method": spec.method,
        "variant": spec.variant,
        "seed": spec.seed,
        "scale": spec.config.scale,
        "protocol": spec.config.protocol.name,
        "weights": spec.config.weights.origin,
        "protocol_hash": identity.protocol_hash(spec),
        "config_hash": identity.config_hash(spec),
        "setting_hash": identity.setting_hash(spec),
    }
    wrong = [name for name, value in expected.items() if getattr(row, name) != value]
    return f"its configuration makes another {', '.join(wrong)}" if wrong else ""
