"""Tries values of keys of the configuration by Optuna, through the same trials as harness.run.

  python -m harness.sweep task=two_room method=lewm \\
      space.method.lewm.sigreg_weight=log:0.001:1.0

Words of the sweep:
  task            a name of --help tasks, or a file
  method          a name of --help methods, or a file
  space.KEY       log:LOW:HIGH, uniform:LOW:HIGH, int:LOW:HIGH or choice:A,B,C; one word a key
  sampler=tpe     which values are tried:
                    tpe        near those that were good (Optuna's TPE); the first 4 are random,
                               so that so few trials are a random search
                    random     drawn from the ranges
                    grid       `points` for each key at equal distances, and all choices
                    bisection  for one log: key: halves the gaps at both ends of the plateau and
                               those beside the best value
  trials=8        how many values are tried; of a grid all, of bisection as many as it needs
  points=8        values of a grid for each key
  resolution=1.5  factor to which bisection narrows the plateau's ends
  seed=0          seed of the trainings and of what is suggested
  seeds=3         instead: each value is trained with seeds 0, 1 and 2, or [0,7]: these two
  objectives      success; or success,plan_time: both, and the values that no other beats in both
  prune=none      asha: a training stops after a quarter, or half, where half of the others are
                  better by then; not with bisection
  test=false      true: at the end the weights of the best value are evaluated on test pairs, once
  Other words and keys are those of harness.run: scale, run, results, dry, train.lr, ...

What is maximised is success on validation pairs, mean over the seeds; values are chosen by it
alone. A trial that fails or whose latents collapse counts as 0. The same command again runs only
what is missing. The plateau: the values whose 95 % interval overlaps that of the best one.
Bisection takes success to rise to the plateau and to fall behind it.

  python -m harness.sweep compare results/RUN1 results/RUN2 ...

compares sweeps of the same keys: how many values each needed until the best lay on the plateau.

Ask further: --help tasks|methods|scales|method.lewm|train.lr|...
             python -m harness.run --help
"""

from __future__ import annotations

from harness.runtime import quiet_start

if __name__ == "__main__":
    quiet_start.take_ctrl_c()

import collections
import math
import sys
from collections.abc import Sequence
from typing import NamedTuple

import optuna
from optuna.distributions import FloatDistribution, IntDistribution
from optuna.exceptions import OptunaError
from optuna.trial import FrozenTrial

from harness import launch, loggers, report, zoo
from harness.experiment import command_line, estimate, identity, manual
from harness.records import folder_lock, rows, run_tables
from harness.report import format, objective
from harness.report.tables import sweep as sweep_tables
from harness.runtime import command, yardstick
from harness.runtime.command import FAILED, OK, console
from harness.sweep import compare, samplers, search, space, tables
from harness.sweep.search import Standing
from harness.sweep.space import BEST, Sweep

_FAILURES = (OSError, launch.LaunchError, report.NoTrials, OptunaError)
_NAMED_TIES = 4  # values as good as the best one that the end names
_LEAST_FOR_PLATEAU = 3  # values; of fewer no end can be told
_LEAST_FOR_IMPORTANCES = 8  # values; of fewer, fANOVA's forest says nothing


def main(argv: Sequence[str]) -> int:
    """Run the command; returns its exit code."""
    if argv[:1] == ["compare"]:
        overview = compare.__doc__.strip()
        return command.main(argv[1:], lambda _: overview, compare.parse, compare.run, _FAILURES)
    return command.main(
        argv,
        lambda words: manual.answer(words, __doc__.strip()),
        space.parse,
        lambda sweep: _execute(sweep, argv),
        failures=_FAILURES,
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
        after = search.standing(sweep, study)
        best = _best(after)
        tested = _test(sweep, best) if sweep.test and best and after.complete else _UNTESTED
        written = report.publish(sweep.run.folder)
    tables.publish(f"{sweep.run.folder}/tables", _tables(sweep, study, after))
    console.print(
        f"wrote {len(written.paths)} files; open {command.path(written.paths[-1])}", markup=False
    )
    code = _conclude(sweep, study, after, tested, argv)
    return FAILED if written.broken or tested.failed else code


def _show_plan(sweep: Sweep, before: Standing) -> None:
    run, example = sweep.run, sweep.example
    missing = sweep.trials - len(before.settled) - len(before.pruned)
    missing = 0 if before.complete else max(0, missing)
    most = "at most " if sweep.sampler == "bisection" else ""
    todo = f"{missing} of {most}{sweep.trials} trials to run"
    if (seeds := len(sweep.seeds)) > 1:
        todo = (
            f"{missing} of {most}{sweep.trials} values to try, {missing * seeds} trials with "
            f"{seeds} seeds each"
        )
    speed = yardstick.steps_per_cpu_s() if run.device == "cpu" else 0.0
    seconds = estimate.Estimator(run.results, speed).seconds(example)
    console.print(
        f"sweep of {', '.join(sweep.space)} for {sweep.method} on {sweep.task}, scale {run.scale}, "
        f"protocol {example.config.protocol.name} on validation pairs, {run.device}, backend "
        f"{run.backend}, results in {run.folder}\n"
        f"sampler {sweep.sampler}: {todo}, about {command_line.duration(seconds)} each",
        markup=False,
    )


class _Tested(NamedTuple):
    """The result of the look at test pairs."""

    words: str
    failed: bool


_UNTESTED = _Tested("", False)
_Best = tuple[FrozenTrial, objective.Judgement]


def _best(after: Standing) -> _Best | None:
    """The suggestion with the highest success, of equals the first; None where none has any."""
    best = max(after.settled, key=lambda entry: entry[1].value, default=None)
    return best if best and best[1].value > objective.WORST else None


def _ties(sweep: Sweep, after: Standing, best: _Best) -> str:
    """Says which other values have as much success as the one that is named; "" where none has."""
    same = [
        " ".join(sweep.tried(trial.params))
        for trial, judgement in after.settled
        if judgement.value == best[1].value and trial.number != best[0].number
    ]
    others = list(dict.fromkeys(same))
    if not others:
        return ""
    words = ", ".join(others[:_NAMED_TIES])
    more = f" and {len(others) - _NAMED_TIES} more" if len(others) > _NAMED_TIES else ""
    return f"as good on these pairs: {words}{more}; the one tried first is named"


def _tables(sweep: Sweep, study: optuna.Study, after: Standing) -> list[format.Table]:
    """The tables that this sweep has something for."""
    found = []
    settled = [trial for trial, _ in after.settled]
    if len(sweep.space) > 1 and len(settled) >= _LEAST_FOR_IMPORTANCES:
        shares = search.importances(sweep, settled)
        if shares:
            found.append(sweep_tables.importances_table(shares, len(settled)))
    if len(sweep.objectives) > 1 and after.settled:
        worth = {trial.number: judgement for trial, judgement in after.settled}
        front = [
            (" ".join(sweep.tried(trial.params)), worth[trial.number])
            for trial in study.best_trials
            if worth.get(trial.number, _NOTHING).value > objective.WORST
        ]
        found.append(sweep_tables.pareto_table(front, len(settled)))
    return found


_NOTHING = objective.Judgement(objective.WORST, 0, "")


def _test(sweep: Sweep, best: _Best) -> _Tested:
    """Evaluate the weights of the best value on test pairs, unless those of another value were
    before.
    """
    specs = sweep.on_test_pairs(best[0].params)
    hashes = {identity.config_hash(spec) for spec in specs}
    trials = run_tables.read(sweep.run.folder).trial
    earlier = trials[(trials["variant"] == BEST) & ~trials["config_hash"].isin(hashes)]
    if len(earlier):
        names = ", ".join(
            rows.folder_name(row.key, row.config_hash) for row in earlier.itertuples()
        )
        return _Tested(
            f"not evaluated on test pairs: another value was, when it was the best ({names}), and "
            "test pairs are used once",
            failed=False,
        )
    launch.launch(launch.missing(specs, sweep.folders), sweep.folders, sweep.run)
    for spec in launch.missing(specs, sweep.folders):
        reason = launch.outcome(spec, sweep.folders)
        return _Tested(f"not evaluated on test pairs: {spec.key}: {reason}", failed=True)
    found = [run_tables.read_one(sweep.folders.trial(spec)) for spec in specs]
    return _Tested(f"on test pairs: {objective.judge_seeds(found).words('test')}", failed=False)


def _conclude(
    sweep: Sweep, study: optuna.Study, after: Standing, tested: _Tested, argv: Sequence[str]
) -> int:
    """The best value, how to run it on test pairs, and what is missing; the exit code."""
    best = _best(after)
    if best:
        _show_best(sweep, sweep.tried(best[0].params), best[1], tested.words)
        if ties := _ties(sweep, after, best):
            console.print(ties, markup=False)
    elif after.settled or after.pruned:
        console.print(_no_best(after), markup=False)
    if after.pruned:
        console.print(f"pruned: {len(after.pruned)} of {sweep.trials} values")
    if best:
        for line in _plateau(sweep, study, after):
            console.print(line, markup=False)
    if after.complete:
        return OK
    for values in after.again.values():
        for spec in launch.missing(sweep.specs(values), sweep.folders):
            words = launch.outcome(spec, sweep.folders)
            console.print(f"{spec.key} failed: {words}", markup=False)
    missing = sweep.trials - len(after.settled) - len(after.pruned)
    again = command.module("harness.sweep", *argv)
    command.show_command(
        f"{missing} of {sweep.trials} trials failed or did not run; to retry them: {again}"
    )
    return FAILED


def _no_best(after: Standing) -> str:
    """Says why no value is the best one, and what may help."""
    reasons = collections.Counter(
        judgement.reason or "solved no pair" for _, judgement in after.settled
    )
    reasons.update(pruned=len(after.pruned))
    words = ", ".join(f"{reason} ({count})" for reason, count in reasons.items() if count)
    return (
        f"no best value: {words}; what may help: a longer training (train.steps), a wider space, "
        "more pairs (another protocol or scale)"
    )


def _plateau(sweep: Sweep, study: optuna.Study, after: Standing) -> list[str]:
    """Lines about the plateau of one key that is a number, and of bisection why it has ended."""
    (key, kind), *others = sweep.space.items()
    if others or not isinstance(kind, FloatDistribution | IntDistribution):
        return []
    judged = {trial.params[key]: judgement for trial, judgement in after.settled}
    if len(judged) < _LEAST_FOR_PLATEAU:
        return []
    bracket = samplers.bracket(judged, kind.low, kind.high)
    lines = [bracket.words()]
    if not isinstance(study.sampler, samplers.Bisection) or not after.complete:
        return lines
    factor = f"a factor of {sweep.resolution:g}"
    if gaps := study.sampler.open_values(study):
        more = sweep.trials + 2 * len(gaps)
        return [
            *lines,
            f"the plateau's ends and what lies beside the best value are not known to {factor} "
            f"yet: trials={more} goes on",
        ]
    ends = sum(not math.isnan(end) for end in bracket.outside)
    reason = (
        "the plateau has no end inside the range",
        f"the one end of the plateau inside the range is known to {factor}",
        f"both ends of the plateau are known to {factor}",
    )[ends]
    return [*lines, f"stopped after {len(judged)} of at most {sweep.trials} values: {reason}"]


def _show_best(sweep: Sweep, tried: list[str], judgement: objective.Judgement, tested: str) -> None:
    console.print(f"best: {' '.join(tried)}: {judgement.words()}", markup=False)
    if tested:
        console.print(tested, markup=False)
        return
    words = [
        f"tasks={zoo.word('task', sweep.task)}",
        f"methods={zoo.word('method', sweep.method)}",
        *_run_words(sweep),
        *tried,
        "seeds=3",
    ]
    command.show_command(f"on test pairs: {command.module('harness.run', *words)}")


def _run_words(sweep: Sweep) -> list[str]:
    """The words that harness.run takes as well, with the scale spelt out."""
    words = [word for word in sweep.words if word.partition("=")[0] not in ("run", "dry")]
    named = any(word.startswith("scale=") for word in words)
    return words if named else [f"scale={sweep.run.scale}", *words]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
