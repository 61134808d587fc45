"""The main command: expand a suite, show the plan, run what is missing, report.

python -m harness.run suite=all [scale=laptop] [tasks=two_room] [methods=lewm,pldm] [seeds=3] ...
python -m harness.run protocols lewm-v3 clear-strict     what differs between two protocols
"""

from __future__ import annotations

from harness.runtime import quiet_start

if __name__ == "__main__":
    quiet_start.take_ctrl_c()

import logging
import sys
import time
from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from harness import launch, loggers, report, trial, zoo
from harness.experiment import (
    command_line,
    config,
    estimate,
    identity,
    manual,
    protocol_pages,
    suites,
    unread_keys,
)
from harness.experiment.identity import TrialSpec
from harness.experiment.run_folders import RunFolders
from harness.experiment.scales import SCALES
from harness.records import folder_lock, plan, rows
from harness.runtime import command, machine, yardstick
from harness.runtime.command import FAILED, OK, console

log = logging.getLogger(__name__)

GB = 10**9


def main(argv: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    if argv[:1] == ["protocols"]:  # a page of --help
        argv = ["--help", *argv]
    return command.main(
        argv or ["--help"],
        lambda words: manual.answer(words, manual.overview()),
        _parse,
        lambda parsed: _execute(*parsed, argv),
        failures=(OSError, launch.LaunchError),
    )


def _parse(argv: Sequence[str]) -> tuple[config.RunConfig, list[TrialSpec]]:
    """The run and all its trials. Raises config.ConfigError."""
    run = command_line.local_paths(config.parse(list(argv)))
    loggers.check(run.log, run.folder)
    return run, suites.expand(run, trial.STAGES)


def _execute(run: config.RunConfig, specs: list[TrialSpec], argv: Sequence[str]) -> int:
    """Show the plan; run what is missing and report, unless it is a dry run; the exit code."""
    command.set_up_logging(run.verbose)
    specs = _with_pairs(run, specs)
    if run.dry:
        todo, able, _ = _plan(run, specs)
        return FAILED if todo and not able else OK
    command_line.check_writable(run.folder)
    with folder_lock.hold(run.folder):
        return _run(run, specs, argv)


def _run(run: config.RunConfig, specs: list[TrialSpec], argv: Sequence[str]) -> int:
    """Run what is missing and report; the exit code."""
    folders = _folders(run)
    todo, able, planned = _plan(run, specs)
    _agree_to_download(run, able, folders)
    protocols = protocol_pages.settings(sorted({spec.task for spec in specs}))
    plan.write(run.folder, plan.Plan(planned, protocols))
    launch.prepare_datasets(able, folders)
    specs = _with_pairs(run, specs)  # the lengths of episodes are known now
    if gone := {trial.key for trial in planned} - {spec.key for spec in specs}:
        todo = [spec for spec in todo if spec.key not in gone]
        planned = [trial for trial in planned if trial.key not in gone]
        plan.write(run.folder, plan.Plan(planned, protocols), without=gone)
    started, clock = time.time(), time.monotonic()
    with loggers.following(run.log, run.folder, run.run):
        with plan.without_old_marks(run.folder, planned):
            estimates = {trial.key: trial.estimate_s for trial in planned}
            launch.launch(todo, folders, run, estimates)
        _show_share(todo, folders, started, time.monotonic() - clock)
        reported = _report(run.folder)
    failures = _show_failures(specs, folders, argv)
    return failures if reported else FAILED


def _plan(
    run: config.RunConfig, specs: list[TrialSpec]
) -> tuple[list[TrialSpec], list[TrialSpec], list[plan.PlannedTrial]]:
    """Show what is to run; the trials that are not done, those of them that can run here, and all
    as the record of the plan has them.
    """
    todo = launch.missing(specs, _folders(run))
    reasons = _reasons(run, todo)
    able = [spec for spec in todo if not reasons[spec.key]]
    launch.check_sources(able, _folders(run))
    estimates = _show_plan(run, specs, able, reasons)
    now = time.time()
    planned = [
        plan.PlannedTrial(
            key=spec.key,
            config_hash=identity.config_hash(spec),
            task=spec.task,
            method=spec.method,
            variant=spec.variant,
            seed=spec.seed,
            stages=list(identity.stage_names(spec)),
            task_label=zoo.TASKS[spec.task].spec.label,
            method_label=zoo.METHODS[spec.method].label,
            cannot_run=reasons.get(spec.key, ""),
            estimate_s=estimates[spec.key],
            planned=now,
        )
        for spec in specs
    ]
    return todo, able, planned


def _with_pairs(run: config.RunConfig, specs: list[TrialSpec]) -> list[TrialSpec]:
    """The trials without those that evaluate a training in a way of the suite for which the data
    have no pairs, as goals further away than an episode is long; names these. Of a task whose data
    have pairs for no way, all are left: they are refused, since the words ask for something else.
    """
    if suites.SUITES[run.suite].evaluations is None:
        return specs
    evaluations = [spec for spec in specs if "control" in spec.stages]
    reasons = {spec.key: launch.no_pairs_reason(spec, _folders(run)) for spec in evaluations}
    possible = {spec.task for spec in evaluations if not reasons[spec.key]}
    left_out = [spec for spec in evaluations if reasons[spec.key] and spec.task in possible]
    by_reason: dict[str, list[TrialSpec]] = {}
    for spec in left_out:
        by_reason.setdefault(f"{spec.task}: {reasons[spec.key]}", []).append(spec)
    for reason, own in by_reason.items():
        ways = ", ".join(dict.fromkeys(spec.variant for spec in own))
        console.print(f"left out: {ways}, of trials {len(own)}; {reason}", markup=False)
    gone = {spec.key for spec in left_out}
    return [spec for spec in specs if spec.key not in gone]


def _agree_to_download(run: config.RunConfig, able: list[TrialSpec], folders: RunFolders) -> None:
    """Ask before more than 1 GB is downloaded. Raises config.ConfigError where nobody agrees."""
    sizes = launch.downloads(able, folders)
    for place, size in sizes.items():
        console.print(f"to download: {place}, {size / GB:.1f} GB", markup=False)
    if run.download or sum(sizes.values()) < GB:
        return
    question = f"Download {sum(sizes.values()) / GB:.1f} GB to {run.datasets}? [y/N] "
    asks = sys.stdin is not None and sys.stdin.isatty()
    if not asks or input(question).strip().lower() not in ("y", "yes"):
        raise config.ConfigError(
            "nothing is downloaded without a yes: give download=true, or data.source=FILE for what "
            "lies here already, or leave data.source=released out"
        )


def _folders(run: config.RunConfig) -> RunFolders:
    return RunFolders(run.folder, run.run, run.suite, run.datasets)


def _report(folder: str) -> bool:
    """Whether there is a report, of all trials in the folder."""
    try:
        written = report.publish(folder)
    except (OSError, report.NoTrials) as error:
        console.print(f"error: no report: {error}", markup=False)
        return False
    console.print(
        f"wrote {len(written.paths)} files; {report.how_to_open(written.paths[-1])}", markup=False
    )
    return not written.broken


def _reasons(run: config.RunConfig, todo: list[TrialSpec]) -> dict[str, str]:
    """Why each of these cannot run here, or ""; of a cluster that is not known yet."""
    nodes = None if run.ray.address else launch.local_nodes()
    return launch.refusals(todo, _folders(run), nodes)


def _show_plan(
    run: config.RunConfig, specs: list[TrialSpec], able: list[TrialSpec], reasons: dict[str, str]
) -> dict[str, float | None]:
    """Print the plan; the estimated seconds of every trial, by key."""
    speed = yardstick.steps_per_cpu_s() if able and run.device == "cpu" else 0.0
    estimator = estimate.Estimator(run.results, speed)
    estimates = {spec.key: estimator.seconds(spec) for spec in specs}
    begun = {spec.key for spec in able if launch.goes_on(spec, _folders(run))}
    table = Table("trial", "state", "cpu", "gpu", "estimate", box=None, pad_edge=False)
    for spec in specs:
        state = "to run" if spec.key in reasons else "done"
        state = "goes on" if spec.key in begun else state
        state = "cannot run" if reasons.get(spec.key) else state
        words = "" if state == "done" else command_line.duration(estimates[spec.key])
        request = spec.config.resources
        table.add_row(Text(spec.key), state, f"{request.cpu:g}", f"{request.gpu:g}", words)
    console.print(f"suite {run.suite}: {suites.SUITES[run.suite].about}", markup=False)
    console.print(
        f"scale {run.scale}, protocol {run.protocol}, {run.device} with "
        f"{machine.counted(machine.cores())}, backend {run.backend}, results in {run.folder}",
        markup=False,
    )
    console.print(table)
    for reason in sorted(set(reasons.values()) - {""}):
        console.print(f"cannot run here: {reason}", markup=False)
    if run.device == "cpu" and "gpu" in SCALES[run.scale].get("resources", {}):
        console.print(f"scale={run.scale} is made for a GPU; on a CPU a training may take days")
    (here,) = launch.local_nodes()
    seconds, unknown = estimator.total(able, None if run.backend == "loop" else here)
    times = [f"about {command_line.duration(seconds)}"] if unknown < len(able) else []
    times += [f"{unknown} without an estimate, since none like them has run"] if unknown else []
    words = f": {', '.join(times)}" if times else ""
    console.print(f"{len(able)} of {len(specs)} trials to run{words}")
    if begun:
        console.print(f"{len(begun)} of them go on from the checkpoint of an interrupted training")
    if refused := sum(map(bool, reasons.values())):
        console.print(f"{refused} of {len(specs)} trials cannot run: change what is said above")
    if sharing := [spec for spec in able if 0 < spec.config.resources.gpu < 1]:
        unknown = sum(not launch.gpu_bytes_of(spec, _folders(run)) for spec in sharing)
        console.print(
            f"{len(sharing)} trials share GPUs: each fails beyond its part of the memory, and "
            f"their plan times do not count; whether that part is enough is not known for "
            f"{unknown} of them, since none of their setting has run here on a GPU"
        )
    if unread := unread_keys.unread(run, specs, trial.stages_of):
        console.print(f"without effect, since no trial of this run reads it: {', '.join(unread)}")
    lacking = launch.missing_datasets(able, _folders(run))
    if lacking:
        console.print(f"data to collect first, not in that time: {', '.join(lacking)}")
    others = set(lacking) - {spec.task for spec in able}
    if others:
        pooling = sorted({spec.method for spec in able if others & set(spec.config.pool)})
        console.print(f"  {', '.join(sorted(others))}: for the encoder of {', '.join(pooling)}")
    return estimates


def _show_share(todo: list[TrialSpec], folders: RunFolders, started: float, wall: float) -> None:
    """Show the share of `wall` seconds in which no trial ran: Ray's start, scheduling, start of
    processes.
    """
    spans = []
    for spec in todo:
        row = rows.read_trial(folders.trial(spec))
        if row is not None and row.started >= started:
            spans.append((row.started, row.ended))
    if spans:
        busy = _covered(sorted(spans))
        log.info(
            "%s of wall time, in trials %s of it; Ray's start, imports and scheduling %.1f s",
            command_line.duration(wall),
            command_line.duration(busy),
            wall - busy,
        )


def _covered(spans: list[tuple[float, float]]) -> float:
    total, end = 0.0, float("-inf")
    for start, stop in spans:
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total


def _show_failures(specs: list[TrialSpec], folders: RunFolders, argv: Sequence[str]) -> int:
    """Name the trials that failed, and the command that retries those that may succeed then."""
    failed = launch.missing(specs, folders)
    for spec in failed:
        console.print(f"{spec.key} failed: {launch.outcome(spec, folders)}", markup=False)
    if failed:
        failures = [rows.read_trial(folders.trial(spec)) for spec in failed]
        retried = sum(row is None or not row.permanent for row in failures)
        words = f"{len(failed)} of {len(specs)} trials failed"
        if retried < len(failed):
            count = "they" if retried == 0 else f"{len(failed) - retried} of them"
            words += f"; {count} would fail again: change what their lines name"
        if retried:
            which = "them" if retried == len(failed) else "the others"
            words += f"; to retry {which}: {command.module('harness.run', *argv)}"
        command.show_command(words)
    return FAILED if failed else OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
