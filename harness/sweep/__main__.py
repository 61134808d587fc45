"""Optuna over keys of the configuration, through the same launch and trials as harness.run.

python -m harness.sweep task=two_room method=lewm space.method.lewm.sigreg_weight=log:0.001:1.0
    [space.KEY=...] [trials=8] [seed=0] [any other word of harness.run: scale, run, train.lr, ...]

space.KEY is log:LOW:HIGH, uniform:LOW:HIGH, int:LOW:HIGH or choice:A,B,C. What is maximised is
success on validation pairs; test pairs are never touched. A trial that fails or whose latents
collapse counts as 0. The same command again runs only what is missing.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

import optuna
from optuna.exceptions import OptunaError
from rich.console import Console

from harness import command, config, estimate, launch, report, zoo
from harness.command import FAILED, OK, USAGE, console
from harness.report import objective
from harness.sweep import search, space
from harness.sweep.search import Standing
from harness.sweep.space import Sweep


def main(argv: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    if {"-h", "--help", "help"} & set(argv):
        _help()
        return OK
    try:
        sweep = space.parse(argv)
    except config.ConfigError as error:
        console.print(f"error: {error}", markup=False)
        return USAGE
    command.set_up_logging(sweep.run.verbose)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        if not sweep.run.dry:
            command.check_writable(sweep.run.folder)
        study = search.open_study(sweep)
        before = search.standing(sweep, study)
        _show_plan(sweep, before)
        if sweep.run.dry:
            return OK
        with command.ended_by_signals():
            search.run(sweep, study, before)
        written = report.publish(sweep.run.folder)
    except (OSError, launch.LaunchError, report.NoTrials, OptunaError) as error:
        console.print(f"error: {error}", markup=False)
        return FAILED
    except KeyboardInterrupt as error:
        return command.interrupted(error)
    console.print(f"wrote {len(written)} files; open {shlex.quote(written[-1])}", markup=False)
    return _conclude(sweep, search.standing(sweep, study), argv)


def _show_plan(sweep: Sweep, before: Standing) -> None:
    run, example = sweep.run, sweep.example
    missing = max(0, sweep.trials - len(before.settled))
    seconds = estimate.Estimator(run.results).seconds(example)
    console.print(
        f"sweep of {', '.join(sweep.space)} for {sweep.method} on {sweep.task}, scale {run.scale}, "
        f"protocol {example.config.protocol.name} on validation pairs, {run.device}, backend "
        f"{run.backend}, results in {run.folder}\n"
        f"{missing} of {sweep.trials} trials to run, about {command.duration(seconds)} each",
        markup=False,
    )


def _conclude(sweep: Sweep, after: Standing, argv: Sequence[str]) -> int:
    """The best value, how to run it on test pairs, and what is missing; the exit code."""
    if after.settled:
        best, judgement = max(after.settled, key=lambda entry: entry[1].value)
        if judgement.value > objective.WORST:
            _show_best(sweep, sweep.tried(best.params), judgement)
        else:
            console.print("no best value: every trial failed, collapsed or solved no pair")
    missing = sweep.trials - len(after.settled)
    if missing <= 0:
        return OK
    for values in after.again.values():
        spec = sweep.spec(values)
        console.print(f"{spec.key} failed: {launch.outcome(spec, sweep.place)}", markup=False)
    again = shlex.join(["python", "-m", "harness.sweep", *argv])
    command.show_command(
        f"{missing} of {sweep.trials} trials failed or did not run; to retry them: {again}"
    )
    return FAILED


def _show_best(sweep: Sweep, tried: list[str], judgement: objective.Judgement) -> None:
    words = [f"tasks={sweep.task}", f"methods={sweep.method}", *_kept(sweep), *tried, "seeds=3"]
    console.print(f"best: {' '.join(tried)}: {judgement.words()}", markup=False)
    command.show_command(f"on test pairs: python -m harness.run {shlex.join(words)}")


def _kept(sweep: Sweep) -> list[str]:
    """The words that harness.run takes as well, with the scale spelt out."""
    kept = [word for word in sweep.words if word.partition("=")[0] not in ("run", "dry")]
    named = any(word.startswith("scale=") for word in kept)
    return kept if named else [f"scale={sweep.run.scale}", *kept]


def _help() -> None:
    out = Console(highlight=False)
    out.print(__doc__.strip(), markup=False)
    listed = {"Tasks": zoo.TASKS, "Methods": zoo.METHODS}
    for title, names in listed.items():
        out.print(f"\n{title}:", *(f"  {name}" for name in names), sep="\n", markup=False)
    out.print("\nKeys:", command.keys_table(), sep="\n", markup=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
