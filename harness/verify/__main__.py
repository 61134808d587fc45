"""Verifies a run: everything that can be recomputed of it is, and the last line can be pasted.

python -m harness.verify results/RUN [sample=N] [datasets=FOLDER] [against=results/OTHER]

It checks which trials are there, the hashes of their configurations, the digests and the
consistency of their rows, every cell of the tables, and, where data and weights are there, the
contents of datasets, the draw of pairs, the checksums of weights, and `sample` episodes, which are
replayed. What is not there is skipped and named. Figures and the page are not compared. against=,
or --against, also compares the trials with those of another run, e.g. of another machine.

Whoever changes a number and recomputes every checksum and digest is not found by those; the replay
of episodes finds some of it, as far as the weights are there. Exit code 1 where there is a fault.
"""

from __future__ import annotations

from harness.runtime import quiet_start

if __name__ == "__main__":
    quiet_start.take_ctrl_c()

import dataclasses
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from harness.contracts.setting import Settings, setting
from harness.experiment import command_line
from harness.runtime import command
from harness.verify import against, contents, data, identities, record, replay, reported
from harness.verify.check import Check, grouped
from harness.verify.record import Run


@dataclass(frozen=True)
class Options(Settings):
    """The words of the command."""

    sample: int = setting(8, "Episodes that are replayed.", ge=0)
    datasets: str = setting("data", "The folder of the datasets.", text="a path")
    against: str = setting("", "Another run to compare with.", text="the folder of a run")


def main(argv: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    command.set_up_logging(verbose=False)
    return command.main(
        argv, lambda _: __doc__.strip(), _parse, lambda parsed: _execute(*parsed), (OSError,)
    )


def verify(run: Run, sample: int) -> list[Check]:
    """Every check of one run."""
    present, kept = data.datasets(run), replay.weights(run)
    return [
        identities.trials(run),
        identities.hashes(run),
        contents.schemas(run),
        contents.digests(run),
        contents.consistency(run),
        contents.copies(run),
        reported.tables(run),
        present.check,
        data.pairs(run, present.trials),
        kept.check,
        replay.episodes(run, present.trials, kept.names, sample),
    ]


def verdict(run: Run, checks: Sequence[Check]) -> str:
    """One line: the run, its commits, what was checked, what could not be, and what was found."""
    commits = Counter(
        f"{trial.row.git_commit[:8] or 'unknown'}{' with changes' if trial.row.git_dirty else ''}"
        for trial in run.trials
    )
    done = ", ".join(check.summary() for check in checks if check.checked)
    skipped = [f"{check.name} ({len(check.skipped)})" for check in checks if check.skipped]
    faults = sum(len(check.faults) for check in checks)
    names = ", ".join(commit for commit, _ in commits.most_common())
    return (
        f"verified {run.name}, commit {names}, {_count(len(run.trials), 'trial')}: {done}; "
        f"not checked: {', '.join(['figures', *skipped])}; "
        f"{_count(faults, 'FAULT') if faults else 'no fault'}"
    )


def _count(count: int, noun: str) -> str:
    """ "1 FAULT", "2 FAULTS"."""
    return f"{count} {noun}" + ("" if count == 1 else "S" if noun.isupper() else "s")


def _parse(argv: Sequence[str]) -> tuple[str, Options]:
    given, options = command_line.folder_and_options(argv, Options(), "results/RUN", "against")
    datasets = command.expanded("datasets", options.datasets)
    other = command.expanded("against", options.against)
    folder = command.expanded("results", given)
    if folder.rstrip("/") == other.rstrip("/"):
        raise command.ConfigError(f"against={options.against} is the same run: give another one")
    return folder, dataclasses.replace(options, datasets=datasets, against=other)


_FAULTS_NAMED, _SKIPPED_NAMED = 12, 3  # trials of one fault, or of one reason


def _execute(folder: str, options: Options) -> int:
    terminal = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
    run = record.read(folder, options.datasets)
    checks = verify(run, options.sample)
    lines = [verdict(run, checks)]
    if options.against:
        other = record.read(options.against, options.datasets)
        others = verify(other, options.sample)
        compared = against.runs(run, other)
        _show(terminal, run, checks)
        _show(terminal, other, others)
        terminal.print()
        _show_check(terminal, compared.check)
        lines += [verdict(other, others), compared.line]
        checks = [*checks, *others, compared.check]
    else:
        _show(terminal, run, checks)
    terminal.print()
    for line in lines:
        terminal.print(line)
    return command.FAILED if any(check.faults for check in checks) else command.OK


def _show(terminal: Console, run: Run, checks: Sequence[Check]) -> None:
    terminal.print(f"\n{run.folder}")
    for check in checks:
        _show_check(terminal, check)


def _show_check(terminal: Console, check: Check) -> None:
    outcome = "ok" if check.checked else "-"
    if check.faults:
        outcome = _count(len(check.faults), "FAULT")
    terminal.print(f"{check.name:<12} {check.checked:>8,} {check.counted:<15} {outcome}")
    for line in grouped(check.faults, _FAULTS_NAMED):
        terminal.print(f"    fault: {line}")
    for line in grouped(check.skipped, _SKIPPED_NAMED):
        terminal.print(f"    not checked: {line}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
