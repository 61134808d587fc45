"""Tries values of keys of the configuration by Optuna, through the same trials as harness.run.

  python -m harness.sweep task=two_room method=lewm space.method.lewm.sigreg_weight=log:0.001:1.0

Words of the sweep:
  task            a name of --help tasks, or a file
  method          a name of --help methods, or a file
  space.KEY       log:LOW:HIGH, uniform:LOW:HIGH, int:LOW:HIGH or choice:A,B,C; one word a key
  trials=8        how many values are tried
  seed=0          seed of the trainings and of what is suggested
  Other words and keys are those of harness.run: scale, run, results, dry, train.lr, ...

What is maximised is success on validation pairs; test pairs are never touched. A trial that fails
or whose latents collapse counts as 0. The same command again runs only what is missing.

Ask further: --help tasks|methods|scales|method.lewm|train.lr|...; python -m harness.run --help
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence

import optuna
from optuna.exceptions import OptunaError

from harness import launch, loggers, report, zoo
from harness.experiment import command_line, estimate, manual
from harness.records import folder_lock
from harness.report import objective
from harness.runtime import command, yardstick
from harness.runtime.command import FAILED, OK, console
from harness.sweep import search, space
from harness.sweep.search import Standing
from harness.sweep.space import Sweep


def main(argv: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    return command.main(
        argv,
        lambda words: manual.answer(words, __doc__.strip()),
        space.parse,
        lambda sweep: _execute(sweep, argv),
        failures=(OSError, launch.LaunchError, report.NoTrials, OptunaError),
    )


def _execute(sweep: Sweep, argv: Sequence[str]) -> int:
    """Show the plan; try values and report, unless it is a dry run; the exit code."""
    command.set_up_logging(sweep.run.verbose)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if sweep.run.dry:
        _show_plan(sweep, search.standing(sweep, search.open_study(sweep)))
        return OK
    command_line.check_writable(sweep.run.folder)
    with folder_lock.hold(sweep.run.folder):
        return _run(sweep, argv)


def _run(sweep: Sweep, argv: Sequence[str]) -> int:
    """Run what is missing, report and conclude; the exit code."""
    study = search.open_study(sweep)
    before = search.standing(sweep, study)
    _show_plan(sweep, before)
    with loggers.following(sweep.run.log, sweep.run.folder, sweep.run.run):
        search.run(sweep, study, before)
        written = report.publish(sweep.run.folder)
    console.print(
        f"wrote {len(written.paths)} files; open {shlex.quote(written.paths[-1])}", markup=False
    )
    code = _conclude(sweep, search.standing(sweep, study), argv)
    return FAILED if written.broken else code


def _show_plan(sweep: Sweep, before: Standing) -> None:
    run, example = sweep.run, sweep.example
    missing = max(0, sweep.trials - len(before.settled))
    speed = yardstick.steps_per_cpu_s() if run.device == "cpu" else 0.0
    seconds = estimate.Estimator(run.results, speed).seconds(example)
    console.print(
        f"sweep of {', '.join(sweep.space)} for {sweep.method} on {sweep.task}, scale {run.scale}, "
        f"protocol {example.config.protocol.name} on validation pairs, {run.device}, backend "
        f"{run.backend}, results in {run.folder}\n"
        f"{missing} of {sweep.trials} trials to run, about {command_line.duration(seconds)} each",
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
        console.print(f"{spec.key} failed: {launch.outcome(spec, sweep.folders)}", markup=False)
    again = shlex.join(["python", "-m", "harness.sweep", *argv])
    command.show_command(
        f"{missing} of {sweep.trials} trials failed or did not run; to retry them: {again}"
    )
    return FAILED


def _show_best(sweep: Sweep, tried: list[str], judgement: objective.Judgement) -> None:
    words = [
        f"tasks={zoo.word('task', sweep.task)}",
        f"methods={zoo.word('method', sweep.method)}",
        *_run_words(sweep),
        *tried,
        "seeds=3",
    ]
    console.print(f"best: {' '.join(tried)}: {judgement.words()}", markup=False)
    command.show_command(f"on test pairs: python -m harness.run {shlex.join(words)}")


def _run_words(sweep: Sweep) -> list[str]:
    """The words that harness.run takes as well, with the scale spelt out."""
    words = [word for word in sweep.words if word.partition("=")[0] not in ("run", "dry")]
    named = any(word.startswith("scale=") for word in words)
    return words if named else [f"scale={sweep.run.scale}", *words]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
