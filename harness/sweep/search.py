"""Suggestions to trials and their values back, by Ray Tune or in a loop; the study is on disk."""

from __future__ import annotations

import collections
import dataclasses
import functools
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import NopPruner, SuccessiveHalvingPruner
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from harness import launch
from harness.experiment import config
from harness.experiment.identity import TrialSpec
from harness.experiment.run_folders import RunFolders
from harness.records import rows, run_tables
from harness.report import load, objective
from harness.runtime import outside, seeding
from harness.runtime.progress import Display
from harness.sweep import samplers
from harness.sweep.samplers import Bisection
from harness.sweep.space import BEST, OBJECTIVES, Sweep

log = logging.getLogger(__name__)

STUDY_FILE = "sweep.db"  # inside the run's folder
_UNFINISHED = ("paused", "pruned")  # statuses of trials that were evaluated on their way
_NAMED = 4  # keys in which two sweeps differ that a message names
SAMPLER = "sampler"  # attribute of the study: the sampler's name


class Standing(NamedTuple):
    """How far a sweep has come, by its study and by what its trials left."""

    settled: list[tuple[FrozenTrial, objective.Judgement]]  # in the order they were suggested
    pruned: list[FrozenTrial]
    again: dict[str, dict[str, Any]]  # suggested, not done or not told: words -> values
    complete: bool  # nothing is left to try


def open_study(sweep: Sweep) -> optuna.Study:
    """The study in the run's folder. Raises launch.LaunchError when that holds another one."""
    file = os.path.join(sweep.run.folder, STUDY_FILE)
    try:
        new = sweep.run.dry and not os.path.exists(file)
        storage = InMemoryStorage() if new else database(file)
        if set(optuna.get_all_study_names(storage)) - {sweep.study}:
            others = _differences(sweep) or "another range, sampler, seed or configuration"
            raise launch.LaunchError(
                f"{sweep.run.folder} holds another sweep (of {others}): give this one another "
                "run=NAME"
            )
        study = optuna.create_study(
            storage=storage,
            study_name=sweep.study,
            directions=[OBJECTIVES[name] for name in sweep.objectives],
            load_if_exists=True,
        )
        if not sweep.run.dry:
            study.set_user_attr(SAMPLER, sweep.sampler)
        _check_values(sweep, study)
    except launch.LaunchError:
        raise
    except _DAMAGED as error:
        reason = " ".join(str(error).split())[:200]
        raise launch.LaunchError(
            f"{file} cannot be used ({reason}): delete it; finished trials stay"
        ) from error
    # each call draws other numbers, or it would suggest the first call's again
    seed = seeding.integer("sweep", sweep.seed, len(study.trials)) % 2**32
    study.sampler = samplers.create(sweep.sampler, seed, sweep.space, sweep.resolution)
    study.pruner = _pruner(sweep)
    return study


# what Optuna and its database raise where the file has other values than they wrote
_DAMAGED: tuple[type[Exception], ...] = (
    *(SQLAlchemyError, optuna.exceptions.OptunaError, LookupError, TypeError, ValueError),
    *(AttributeError, AssertionError, RuntimeError),
)


def _differences(sweep: Sweep) -> str:
    """Names keys of the configuration, none of them swept, in which the trials of the folder's
    sweep differ from those of this one; "" where there are none.
    """
    trials = run_tables.read(sweep.run.folder).trial
    trials = trials[(trials["suite"] == "sweep") & (trials["variant"] != BEST)]
    if trials.empty:
        return ""
    there = load.flat_config(trials["config_yaml"].iloc[0])
    here = load.flat_config(config.to_yaml(sweep.example))
    swept = {load.config_key(key) for key in sweep.space}
    words = []
    for name, value in here.items():
        key = name.removeprefix("config.")
        if key != name and key not in swept and there.get(name, value) != value:
            words.append(f"{key}={there[name]}, this one has {value}")
    more = f"; and {len(words) - _NAMED} keys more" if len(words) > _NAMED else ""
    return "; ".join(words[:_NAMED]) + more


def _check_values(sweep: Sweep, study: optuna.Study) -> None:
    """Raises ValueError where a suggestion has values that its key cannot have."""
    for suggestion in study.get_trials(deepcopy=False):
        for key, value in _values(suggestion).items():
            kind = sweep.space.get(key)
            if isinstance(kind, CategoricalDistribution):
                fits = value in kind.choices
            elif isinstance(kind, FloatDistribution | IntDistribution):
                number = isinstance(value, int | float) and not isinstance(value, bool)
                fits = number and kind.low <= value <= kind.high
            else:  # not a key of this sweep
                fits = True
            if not fits:
                raise ValueError(f"suggestion {suggestion.number} has {key}={value!r:.80}")


def importances(sweep: Sweep, settled: Sequence[FrozenTrial]) -> dict[str, dict[str, float]]:
    """Share of each objective's variance that a key explains, by Optuna's fANOVA, over these
    suggestions: objective -> key -> share.
    """
    study = optuna.create_study(directions=[OBJECTIVES[name] for name in sweep.objectives])
    study.add_trials(settled)
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=sweep.seed)
    return {
        name: optuna.importance.get_param_importances(
            study, evaluator=evaluator, target=functools.partial(_objective, i)
        )
        for i, name in enumerate(sweep.objectives)
        if len({trial.values[i] for trial in settled}) > 1  # else there is nothing to explain
    }


def _objective(index: int, suggestion: FrozenTrial) -> float:
    return float(suggestion.values[index])


def database(file: str) -> RDBStorage:
    """The database; in its URL special characters of the path are percent-encoded."""
    return RDBStorage(URL.create("sqlite", database=file).render_as_string())


def standing(sweep: Sweep, study: optuna.Study) -> Standing:
    """The suggestions that have a value or were pruned, and those that failed or did not end."""
    settled, pruned, again = [], [], {}
    for suggestion in study.get_trials(deepcopy=False):
        values = _values(suggestion)
        if suggestion.state == TrialState.WAITING or set(values) != set(sweep.space):
            continue  # nothing was tried yet, or it was killed before it had values
        if suggestion.state == TrialState.PRUNED:
            pruned.append(suggestion)
            continue
        judgement = _judge(sweep, _specs(sweep, values))
        is_told = suggestion.state == TrialState.COMPLETE
        if judgement is None or not is_told:  # also one killed before its value was told
            again[" ".join(sweep.tried(values))] = values
        elif suggestion.values == _told(sweep, judgement):
            settled.append((suggestion, judgement))
    for suggestion, _ in settled:
        again.pop(" ".join(sweep.tried(suggestion.params)), None)
    ended = len(settled) + len(pruned) >= sweep.trials
    bracketed = not again and _is_bracketed(study)
    return Standing(settled, pruned, again, ended or bracketed)


def _is_bracketed(study: optuna.Study) -> bool:
    """Bisection has come to its end; the other samplers always go on."""
    if not isinstance(study.sampler, Bisection):
        return False
    open_states = (TrialState.RUNNING, TrialState.WAITING)
    none_open = not study.get_trials(deepcopy=False, states=open_states)
    return none_open and not study.sampler.open_values(study)


def run(sweep: Sweep, study: optuna.Study, before: Standing) -> None:
    """Run suggestions until `trials` are settled; failed ones count here, not in the next call.

    Raises launch.LaunchError.
    """
    missing = sweep.trials - len(before.settled) - len(before.pruned)
    if before.complete:
        return
    if sweep.run.backend == "loop" or not sweep.run.ray.address:
        _check_fits(sweep, launch.local_nodes())
    _ask_again(sweep, study, before)
    launch.prepare_datasets([sweep.example], sweep.folders)
    if sweep.run.backend == "loop":
        with _display(sweep, missing) as display:
            _loop(Assignments(sweep, study, missing, display), display)
    else:
        launch.under_ray(sweep.run, _by_ray, sweep, missing, _ended(study) + missing)


class _RungsDisplay(launch.TrialsDisplay):
    """Progress over trials whose trainings stop at rungs: what has ended there may go on, so that
    Assignments says which trials are done.
    """

    def finish(self, key: str, outcome: str, is_done: bool = False) -> None:
        """The training of the trial `key` has come to a rung, or to its end."""
        super().finish(key, outcome, is_done)


def _display(sweep: Sweep, values: int, ended: int = 0) -> launch.TrialsDisplay:
    """The progress over the trials of so many values, of which some have ended."""
    kind = _RungsDisplay if sweep.rungs else launch.TrialsDisplay
    seeds = len(sweep.seeds)
    return kind(sweep.run.folder, values * seeds, ended * seeds)


def _ended(study: optuna.Study) -> int:
    """How many suggestions have a value, good or worst, or were pruned."""
    states = (TrialState.COMPLETE, TrialState.PRUNED)
    return len(study.get_trials(deepcopy=False, states=states))


def _ask_again(sweep: Sweep, study: optuna.Study, before: Standing) -> None:
    """Enqueue what a killed call left running, and what failed, with the same values; and the
    points of a grid.
    """
    _give_up_running(study)
    _enqueue(study, list(before.again.values()))
    if sweep.sampler == "grid":
        known = [_values(trial) for trial in study.get_trials(deepcopy=False)]
        points = samplers.grid(sweep.space, sweep.points, sweep.seed)
        _enqueue(study, [values for values in points if values not in known])


def _give_up_running(study: optuna.Study) -> list[dict[str, Any]]:
    """Close what a killed call left running; returns its values."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    for suggestion in running:
        study.tell(suggestion.number, state=TrialState.FAIL)
    return [_values(suggestion) for suggestion in running]


def _enqueue(study: optuna.Study, again: Sequence[dict[str, Any]]) -> None:
    """Have these values suggested next, those that wait already once."""
    states = (TrialState.WAITING,)
    waiting = [_values(t) for t in study.get_trials(deepcopy=False, states=states)]
    for values in again:
        if values not in waiting:
            study.enqueue_trial(values)


@dataclasses.dataclass
class _Open:
    """A suggestion whose trials are not all done, and the part of their training that runs."""

    suggestion: optuna.Trial
    specs: list[TrialSpec]  # one for each seed
    rung: int  # index in the shares of Assignments
    left: set[str] = dataclasses.field(default_factory=set)  # keys of trials that run or wait
    failed: set[str] = dataclasses.field(default_factory=set)  # keys of trials that do not go on


class Assignments:
    """The trials of a sweep in the order in which they run: asks the study for values, has each run
    with every seed, and tells the study what they are worth. `left` values are tried.
    """

    def __init__(self, sweep: Sweep, study: optuna.Study, left: int, display: Display):
        self._sweep, self._study, self._left, self._display = sweep, study, left, display
        self._shares = (*sweep.rungs, 1.0)
        self._queue: collections.deque[TrialSpec] = collections.deque()
        self._open: list[_Open] = []
        self.specs: dict[str, TrialSpec] = {}  # by key, those that were handed out
        self._held: optuna.Trial | None = None  # waits for the end of an equal one

    @property
    def folders(self) -> RunFolders:
        """The folders of the trials."""
        return self._sweep.folders

    @property
    def most(self) -> int:
        """How many trials there can be at most."""
        return self._left * self._sweep.trials_a_value

    @property
    def ended(self) -> bool:
        """Nothing runs, and nothing will."""
        idle = not self._queue and not self._open and self._held is None
        return idle and (not self._left or _is_bracketed(self._study))

    def next(self) -> TrialSpec | None:
        """The trial that may run now; None: none until another ends, or none at all."""
        while not self._queue and self._left and self._may_ask():
            suggestion = self._held or self._study.ask(self._sweep.space)
            specs = _specs(self._sweep, suggestion.params)
            self._held = suggestion if specs in [one.specs for one in self._open] else None
            if self._held:
                return None
            self._left -= 1
            self._begin(suggestion, specs)
        if not self._queue:
            return None
        spec = self._queue.popleft()
        self.specs[spec.key] = spec
        return spec

    def finish(self, spec: TrialSpec) -> None:
        """Take up the outcome of a trial that has ended."""
        (owner,) = (one for one in self._open if spec.key in one.left)
        owner.left.discard(spec.key)
        if not owner.left:
            self._settle(owner)

    def _may_ask(self) -> bool:
        """Whether the study has a value to try; bisection may have to wait for others first."""
        sampler = self._study.sampler
        if self._held or not isinstance(sampler, Bisection):
            return True
        waiting = self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
        return bool(waiting or sampler.open_values(self._study))

    def _begin(self, suggestion: optuna.Trial, specs: list[TrialSpec]) -> None:
        judgement = _judge(self._sweep, specs)
        if judgement is not None:  # the trials are there already, or none is possible
            for spec in specs:
                self._display.finish(spec.key, outcome(self.folders, spec))
            self._tell(suggestion, judgement)
            return
        one = _Open(suggestion, specs, _rungs_known(self._study, suggestion))
        self._open.append(one)
        self._start(one)

    def _start(self, one: _Open) -> None:
        """Queue the trials of a suggestion, trained up to its rung."""
        share = self._shares[one.rung]
        todo = [
            spec
            for spec in one.specs
            if spec.key not in one.failed and _judge(self._sweep, [spec]) is None
        ]
        one.left = {spec.key for spec in todo}
        self._queue.extend(_paused_after(spec, share) for spec in todo)
        if not todo:
            self._settle(one)

    def _settle(self, one: _Open) -> None:
        """Decide on a suggestion all of whose trials have come to its rung: it goes on, it is
        pruned, or it has its value.
        """
        tables = [run_tables.read_one(self.folders.trial(spec)) for spec in one.specs]
        for spec, table in zip(one.specs, tables, strict=True):
            if table is None or (table.trial["status"] == "error").any():
                one.failed.add(spec.key)
        if one.rung == len(self._sweep.rungs) or len(one.failed) == len(one.specs):
            self._open.remove(one)
            self._tell(one.suggestion, _final(self._sweep, one.specs))
            return
        judgement = objective.judge_seeds(tables, ("ok", *_UNFINISHED))
        one.suggestion.report(judgement.value, _step(one.rung))
        share = self._shares[one.rung]
        one.rung += 1
        if one.suggestion.should_prune():
            self._open.remove(one)
            self._study.tell(one.suggestion, state=TrialState.PRUNED)
            self._count()
            for spec in one.specs:
                if spec.key not in one.failed:
                    reason = f"pruned after {100 * share:.3g} % of its training"
                    rows.end_otherwise(self.folders.trial(spec), "pruned", reason)
        else:
            self._start(one)

    def _tell(self, suggestion: optuna.Trial, judgement: objective.Judgement) -> None:
        samplers.record(suggestion, judgement)
        self._study.tell(suggestion, _told(self._sweep, judgement))
        self._count()

    def _count(self) -> None:
        """Count the trials of a value that is settled; without rungs each counts as it ends."""
        if self._sweep.rungs:
            self._display.advance(len(self._sweep.seeds))


def _loop(assignments: Assignments, display: Display) -> None:
    while (spec := assignments.next()) is not None:
        launch.run_here(spec, assignments.folders, display)
        assignments.finish(spec)
        display.finish(spec.key, outcome(assignments.folders, spec))


def _by_ray(scratch: str, sweep: Sweep, missing: int, until: int) -> None:
    """Run suggestions until `until` of the study have ended; `missing` had not at the start."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # in this process
    nodes = launch.cluster(scratch, sweep.run)
    _check_fits(sweep, nodes)
    study = open_study(sweep)
    # where Ray died under an earlier call
    running = [v for v in _give_up_running(study) if set(v) == set(sweep.space)]
    _enqueue(study, running)
    left = until - _ended(study)
    with _display(sweep, missing, missing - left) as display:
        _tune(scratch, sweep, Assignments(sweep, study, left, display), display)


def _tune(scratch: str, sweep: Sweep, assignments: Assignments, display: Display) -> None:
    import ray
    from ray import tune

    request = launch.resources(sweep.example)
    whole = ray.cluster_resources()
    together = min(whole.get(kind.upper(), 0) / amount for kind, amount in request.items())
    folders = sweep.folders  # what is sent to a worker must not belong to this module (__main__)
    launch.tune_trials(
        scratch,
        tune.with_parameters(launch.run_text, folders=folders, sources=outside.sources()),
        {},
        lambda words: request,
        lambda words: words["key"],
        display,
        finished=lambda key: outcome(folders, assignments.specs[key]),
        search_alg=_searcher(assignments),
        num_samples=assignments.most,
        max_concurrent_trials=max(1, int(together)),
    )


def _searcher(assignments: Assignments) -> Any:
    from ray.tune.search import Searcher

    class Suggestions(Searcher):
        """The trials of a sweep for Ray Tune. Their values are read from the result files: nothing
        that Tune reports or saves is used.
        """

        def __init__(self) -> None:
            super().__init__()
            self._running: dict[str, tuple[TrialSpec, int]] = {}  # by Tune's id, with attempts

        def __reduce__(
            self,
        ) -> tuple[
            type[Searcher], tuple[()]
        ]:  # Tune pickles its search algorithm, and this one's parts cannot be
            return Searcher, ()

        def save(self, checkpoint_path: str) -> None:
            """Nothing: the study is on disk."""

        def suggest(  # type: ignore[override] # FINISHED is a str, which Ray does not declare
            self, trial_id: str
        ) -> dict[str, Any] | str | None:
            spec = assignments.next()
            if spec is None:
                return self.FINISHED if assignments.ended else None
            self._running[trial_id] = spec, launch.attempts(spec, assignments.folders)
            return {"key": spec.key, "spec": config.to_yaml(spec)}

        def on_trial_complete(
            self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
        ) -> None:
            spec, attempts = self._running.pop(trial_id)
            launch.settle(spec, assignments.folders, attempts)
            assignments.finish(spec)

    return Suggestions()


def _pruner(sweep: Sweep) -> optuna.pruners.BasePruner:
    """Asynchronous successive halving (ASHA): at each share of the training the better half of the
    values that have come so far goes on; of few values the best alone.
    """
    if not sweep.rungs:
        return NopPruner()
    return SuccessiveHalvingPruner(min_resource=_step(0), reduction_factor=_step(1))


def _step(rung: int) -> int:
    """The resource by which the pruner knows a rung."""
    return 2**rung


def _rungs_known(study: optuna.Study, suggestion: optuna.Trial) -> int:
    """How many rungs these values had passed when an earlier call was killed, reported again."""
    reported: dict[int, float] = {}
    for trial in study.get_trials(deepcopy=False, states=(TrialState.FAIL,)):
        if trial.params == suggestion.params:
            reported |= trial.intermediate_values
    for step, value in sorted(reported.items()):
        suggestion.report(value, step)
    return len(reported)


def _paused_after(spec: TrialSpec, share: float) -> TrialSpec:
    """The same trial, whose training stops after this share; the next one goes on from there."""
    train = dataclasses.replace(spec.config.train, stop_after=share)
    return dataclasses.replace(spec, config=dataclasses.replace(spec.config, train=train))


def _specs(sweep: Sweep, values: Mapping[str, Any]) -> list[TrialSpec]:
    """The trials of these values; none for values between the ends that the configuration
    refuses.
    """
    try:
        return sweep.specs(values)
    except config.ConfigError as error:
        log.warning("%s counts as %g: %s", values, objective.WORST, error)
        return []


def _judge(sweep: Sweep, specs: Sequence[TrialSpec]) -> objective.Judgement | None:
    """The value of finished trials, or of none at all; None where one is not done."""
    if not specs:
        return objective.Judgement(objective.WORST, 0, "refused")
    if launch.missing(specs, sweep.folders):
        return None
    return _final(sweep, specs)


def _final(sweep: Sweep, specs: Sequence[TrialSpec]) -> objective.Judgement:
    """The value of trials that have ended; one that is not done counts as failed."""
    missing = launch.missing(specs, sweep.folders)
    folders = [None if spec in missing else sweep.folders.trial(spec) for spec in specs]
    return objective.judge_seeds(
        [run_tables.read_one(folder) if folder else None for folder in folders]
    )


def _told(sweep: Sweep, judgement: objective.Judgement) -> list[float]:
    """The values that Optuna gets; never NaN."""
    known = {"success": judgement.value, "plan_time": judgement.plan_s}
    return [known[name] for name in sweep.objectives]


def outcome(folders: RunFolders, spec: TrialSpec) -> str:
    """How a trial has ended, and what it is worth."""
    tables = run_tables.read_one(folders.trial(spec))
    judgement = objective.judge(tables, ("ok", *_UNFINISHED))
    if judgement.reason == "failed":
        return launch.outcome(spec, folders)
    assert tables is not None  # or it would count as failed
    row = tables.trial.iloc[0]
    words = row["error"] if row["status"] in _UNFINISHED else launch.outcome(spec, folders)
    return f"{words}, {judgement.words()}"


def _values(suggestion: FrozenTrial) -> dict[str, Any]:
    """Its values; those of an enqueued one that nobody has taken up are its fixed ones."""
    return suggestion.system_attrs.get("fixed_params", {}) | suggestion.params


def _check_fits(sweep: Sweep, nodes: Sequence[launch.Node]) -> None:
    reason = launch.unavailable_reason(sweep.example, nodes)
    if reason:
        raise launch.LaunchError(reason)
