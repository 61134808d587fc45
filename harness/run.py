"""The main command: expand a suite, show the plan, run what is missing, report.

python -m harness.run suite=all [scale=laptop] [tasks=two_room] [methods=lewm,pldm] [seeds=3] ...
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
import time
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness import command, config, estimate, launch, report, rows, suites, trial, zoo
from harness.command import FAILED, OK, USAGE, console
from harness.interfaces import TrialSpec
from harness.protocols import PROTOCOLS
from harness.scales import SCALES

log = logging.getLogger(__name__)


def main(argv: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    if not argv or {"-h", "--help", "help"} & set(argv):
        _help()
        return OK
    try:
        run = command.local_paths(config.parse(list(argv)))
        specs = suites.expand(run)
    except config.ConfigError as error:
        console.print(f"error: {error}", markup=False)
        return USAGE
    command.set_up_logging(run.verbose)
    place = _place(run)
    todo = launch.missing(specs, place)
    reasons = _reasons(run, todo)
    able = [spec for spec in todo if not reasons[spec.key]]
    _show_plan(run, specs, able, reasons)
    if run.dry:
        return OK
    try:
        with command.ended_by_signals():
            command.check_writable(run.folder)
            launch.prepare_datasets(able, place)
            started = time.time()
            launch.launch(todo, place, run)
            _show_share(todo, place, started)
    except (OSError, launch.LaunchError) as error:
        console.print(f"error: {error}", markup=False)
        return FAILED
    except KeyboardInterrupt as error:
        return command.interrupted(error)
    reported = _report(run.folder)
    failures = _show_failures(specs, place, argv)
    return failures if reported else FAILED


def _place(run: config.RunConfig) -> trial.Place:
    return trial.Place(run.folder, run.run, run.suite, run.datasets)


def _report(folder: str) -> bool:
    try:
        written = report.publish(folder)
    except (OSError, report.NoTrials) as error:
        console.print(f"error: no report: {error}", markup=False)
        return False
    console.print(f"wrote {len(written)} files; open {shlex.quote(written[-1])}", markup=False)
    return True


def _reasons(run: config.RunConfig, todo: list[TrialSpec]) -> dict[str, str]:
    """Why each of these cannot run here, or ""; of a cluster that is not known yet."""
    nodes = launch.local_nodes()
    return {spec.key: "" if run.ray.address else launch.lacks(spec, nodes) for spec in todo}


def _show_plan(
    run: config.RunConfig, specs: list[TrialSpec], able: list[TrialSpec], reasons: dict[str, str]
) -> None:
    cores = os.cpu_count() or 1
    estimator = estimate.Estimator(run.results)
    table = Table("trial", "state", "cpu", "gpu", "estimate", box=None, pad_edge=False)
    for spec in specs:
        seconds = estimator.seconds(spec)
        state = "to run" if spec.key in reasons else "done"
        state = "cannot run" if reasons.get(spec.key) else state
        words = "" if state == "done" else command.duration(seconds)
        asked = spec.config.resources
        table.add_row(Text(spec.key), state, f"{asked.cpu:g}", f"{asked.gpu:g}", words)
    console.print(
        f"suite {run.suite}, scale {run.scale}, protocol {run.protocol}, {run.device} with "
        f"{cores} cores, backend {run.backend}, results in {run.folder}",
        markup=False,
    )
    console.print(table)
    for reason in sorted(set(reasons.values()) - {""}):
        console.print(f"cannot run here: {reason}", markup=False)
    if run.device == "cpu" and "gpu" in SCALES[run.scale].get("resources", {}):
        console.print(f"scale={run.scale} is made for a GPU; on a CPU a training may take days")
    (machine,) = launch.local_nodes()
    seconds, unknown = estimator.total(able, None if run.backend == "loop" else machine)
    told = [f"about {command.duration(seconds)}"] if unknown < len(able) else []
    told += [f"{unknown} without an estimate, since none like them has run"] if unknown else []
    words = f": {', '.join(told)}" if told else ""
    console.print(f"{len(able)} of {len(specs)} trials to run{words}")
    lacking = launch.missing_datasets(able, _place(run))
    if lacking:
        console.print(f"data to collect first, not in that time: {', '.join(lacking)}")
    others = set(lacking) - {spec.task for spec in able}
    if others:
        pooling = sorted({spec.method for spec in able if others & set(spec.config.pool)})
        console.print(f"  {', '.join(sorted(others))}: for the encoder of {', '.join(pooling)}")


def _show_share(todo: list[TrialSpec], place: trial.Place, started: float) -> None:
    """Wall time in which no trial ran: Ray's start, scheduling, start of processes."""
    spans = []
    for spec in todo:
        row = rows.read_trial(trial.folder(place, spec))
        if row is not None and row.started >= started:
            spans.append((row.started, row.ended))
    if spans:
        wall, busy = time.time() - started, _covered(sorted(spans))
        log.info(
            "%s of wall time, in trials %s of it; Ray's start, imports and scheduling %.1f s",
            command.duration(wall),
            command.duration(busy),
            wall - busy,
        )


def _covered(spans: list[tuple[float, float]]) -> float:
    total, end = 0.0, float("-inf")
    for start, stop in spans:
        total += max(0.0, stop - max(start, end))
        end = max(end, stop)
    return total


def _show_failures(specs: list[TrialSpec], place: trial.Place, argv: Sequence[str]) -> int:
    failed = launch.missing(specs, place)
    for spec in failed:
        console.print(f"{spec.key} failed: {launch.outcome(spec, place)}", markup=False)
    if failed:
        again = shlex.join([os.path.relpath(sys.executable), "-m", "harness.run", *argv])
        command.show_command(f"{len(failed)} of {len(specs)} trials failed; to retry them: {again}")
    return FAILED if failed else OK


_WORDS = {
    "suite": "what to run, see below; default: all",
    "scale": "how big, see below; default: laptop, with CUDA workstation",
    "protocol": "how it is evaluated, see below; default: lewm-v3, at tiny smoke",
    "tasks": "[two_room,push_t]: these instead of the suite's",
    "methods": "[lewm,pldm]: these instead of the suite's",
    "seeds": "3: seeds 0, 1 and 2; [7]: that one",
    "run": "name of the results' folder; default: <suite>-<scale>-<protocol>",
    "results": "where that folder lies; default: results",
    "datasets": "where datasets are kept; default: data",
    "backend": "ray, or loop: one trial after the other in this process",
    "device": "auto, cpu or cuda",
    "planner": "see below; default: cem",
    "dry": "true: show the plan and the time it takes, run nothing",
    "verbose": "true: log more",
    "ray": "ray.address=HOST:PORT joins a cluster",
}


def _help() -> None:
    out = Console(highlight=False)
    out.print(__doc__.strip(), markup=False)
    out.print("\nWords of the run (key=value):", markup=False)
    for name, sentence in _WORDS.items():
        out.print(f"  {name:10}{sentence}", markup=False)
    listed = {
        "Suites": [f"{name}: {suite.about}" for name, suite in suites.SUITES.items()],
        "Scales": list(SCALES),
        "Protocols": list(PROTOCOLS),
        "Tasks": [f"{name}: {task.spec.label}" for name, task in zoo.TASKS.items()],
        "Methods": [f"{name}: {method.label}" for name, method in zoo.METHODS.items()],
        "Planners": list(zoo.PLANNERS),
    }
    for title, names in listed.items():
        out.print(f"\n{title}:", *(f"  {name}" for name in names), sep="\n", markup=False)
    out.print("\nKeys of a trial (for.<task or method>. before one narrows it):", markup=False)
    out.print(command.keys_table())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
