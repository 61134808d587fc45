"""Suggestions to trials and their values back, by Ray Tune or in a loop; the study is on disk."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import optuna
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import URL
from sqlalchemy.exc import SQLAlchemyError

from harness import launch
from harness.experiment import config, identity
from harness.experiment.identity import TrialSpec
from harness.records import rows
from harness.report import objective
from harness.runtime import outside, seeding
from harness.runtime.progress import Display
from harness.sweep.space import Sweep

log = logging.getLogger(__name__)

STUDY_FILE = "sweep.db"  # inside the run's folder
RANDOM_FIRST = 4  # suggestions before TPE models anything; Optuna's 10 is more than a small sweep


class Standing(NamedTuple):
    """How far a sweep has come, by its study and by what its trials left."""

    settled: list[tuple[FrozenTrial, objective.Judgement]]  # in the order they were suggested
    again: dict[str, dict[str, Any]]  # suggested and not done: config hash -> values


def open_study(sweep: Sweep) -> optuna.Study:
    """The study in the run's folder. Raises launch.LaunchError when that holds another one."""
    file = os.path.join(sweep.run.folder, STUDY_FILE)
    try:
        new = sweep.run.dry and not os.path.exists(file)
        storage = InMemoryStorage() if new else _storage(file)
        if set(optuna.get_all_study_names(storage)) - {sweep.study}:
            raise launch.LaunchError(
                f"{sweep.run.folder} holds another sweep (of another range, seed or configuration):"
                " give this one another run=NAME"
            )
        study = optuna.create_study(
            storage=storage, study_name=sweep.study, direction="maximize", load_if_exists=True
        )
    except (SQLAlchemyError, optuna.exceptions.OptunaError) as error:
        reason = str(error).splitlines()[0]
        raise launch.LaunchError(
            f"{file} cannot be used ({reason}): delete it; finished trials stay"
        ) from error
    # each call draws other numbers, or it would suggest the first call's again
    seed = seeding.integer("sweep", sweep.seed, len(study.trials)) % 2**32
    study.sampler = optuna.samplers.TPESampler(n_startup_trials=RANDOM_FIRST, seed=seed)
    return study


def _storage(file: str) -> RDBStorage:
    """The database; in its URL special characters of the path are percent-encoded."""
    return RDBStorage(URL.create("sqlite", database=file).render_as_string())


def standing(sweep: Sweep, study: optuna.Study) -> Standing:
    """The suggestions that have a value, and those whose trial failed or did not end."""
    progress = Standing([], {})
    for suggestion in study.get_trials(deepcopy=False):
        values = _values(suggestion)
        if set(values) != set(sweep.space):  # killed before it had any
            continue
        spec = _spec(sweep, values)
        judgement = _judge(sweep, spec)
        if judgement is None:
            progress.again[identity.config_hash(spec)] = values
        elif suggestion.state == TrialState.COMPLETE and suggestion.value == judgement.value:
            progress.settled.append((suggestion, judgement))
    return progress


def run(sweep: Sweep, study: optuna.Study, before: Standing) -> None:
    """Run suggestions until `trials` are settled; failed ones count here, not in the next call.

    Raises launch.LaunchError.
    """
    missing = sweep.trials - len(before.settled)
    if missing <= 0:
        return
    if sweep.run.backend == "loop" or not sweep.run.ray.address:
        _check_fits(sweep, launch.local_nodes())
    _ask_again(sweep, study, before)
    launch.prepare_datasets([sweep.example], sweep.folders)
    if sweep.run.backend == "loop":
        with Display(missing) as display:
            _loop(sweep, study, missing, display)
    else:
        launch.under_ray(sweep.run, _by_ray, sweep, missing, _completed(study) + missing)


def _completed(study: optuna.Study) -> int:
    """How many suggestions have a value, good or worst."""
    return sum(t.state == TrialState.COMPLETE for t in study.get_trials(deepcopy=False))


def _ask_again(sweep: Sweep, study: optuna.Study, before: Standing) -> None:
    """Enqueue what a killed call left running, and what failed, with the same values."""
    _give_up_running(study)
    _enqueue(study, list(before.again.values()))


def _give_up_running(study: optuna.Study) -> list[dict[str, Any]]:
    """Close what a killed call left running; returns its values."""
    running = [t for t in study.get_trials(deepcopy=False) if t.state == TrialState.RUNNING]
    for suggestion in running:
        study.tell(suggestion.number, state=TrialState.FAIL)
    return [_values(suggestion) for suggestion in running]


def _enqueue(study: optuna.Study, again: Sequence[dict[str, Any]]) -> None:
    """Have these values suggested next, those that wait already once."""
    trials = study.get_trials(deepcopy=False)
    waiting = [_values(t) for t in trials if t.state == TrialState.WAITING]
    for values in again:
        if values not in waiting:
            study.enqueue_trial(values)


def _loop(sweep: Sweep, study: optuna.Study, missing: int, display: Display) -> None:
    for _ in range(missing):
        suggestion = study.ask(sweep.space)
        spec = _spec(sweep, suggestion.params)
        if _judge(sweep, spec) is None:
            launch.run_here(spec, sweep.folders, display)
        study.tell(suggestion, _value(sweep, spec))
        if spec is not None:
            display.finish(spec.key, _outcome(sweep, spec))


def _by_ray(scratch: str, sweep: Sweep, missing: int, until: int) -> None:
    """Run suggestions until `until` of the study have a value; `missing` had none at the start."""
    nodes = launch.cluster(scratch, sweep.run)
    _check_fits(sweep, nodes)
    study = open_study(sweep)
    # where Ray died under an earlier call
    running = [v for v in _give_up_running(study) if set(v) == set(sweep.space)]
    _enqueue(study, running)
    left = until - _completed(study)
    with Display(missing, missing - left) as display:
        _tune(scratch, sweep, study, left, display)


def _tune(scratch: str, sweep: Sweep, study: optuna.Study, left: int, display: Display) -> None:
    import ray
    from ray import tune

    request = launch.resources(sweep.example)
    whole = ray.cluster_resources()
    together = min(whole.get(kind.upper(), 0) / amount for kind, amount in request.items())
    searcher = _searcher(sweep, study, left, display)
    folders = sweep.folders  # what is sent to a worker must not belong to this module (__main__)
    launch.tune_trials(
        scratch,
        tune.with_parameters(launch.run_text, folders=folders, sources=outside.sources()),
        {},
        lambda words: request,
        lambda words: words["key"],
        display,
        finished=lambda key: _outcome(sweep, searcher.specs[key]),
        search_alg=searcher,
        num_samples=left,
        max_concurrent_trials=max(1, int(together)),
    )


def _searcher(sweep: Sweep, study: optuna.Study, missing: int, display: Display) -> Any:
    from ray.tune.search.optuna import OptunaSearch

    class Suggestions(OptunaSearch):
        """Optuna's suggestions as trials. Their values are read from the result files: nothing
        that Tune reports or saves is used.
        """

        def __init__(self, **parts: Any):
            super().__init__(**parts)
            self.specs: dict[str, TrialSpec] = {}  # by key
            self._running: dict[str, tuple[str, TrialSpec, int]] = {}  # by Tune's id: our id, ...
            self._left = missing
            self._held = ""  # a suggestion that waits for the end of an equal one

        def __reduce__(self):  # Tune pickles its search algorithm, and this one's parts cannot be
            return OptunaSearch, ()

        def save(self, checkpoint_path: str) -> None:
            """Nothing: the study is on disk."""

        def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
            while self._left:
                own = self._held or f"{trial_id}.{self._left}"
                spec = _spec(sweep, super().suggest(own))
                if spec in [running for _, running, _ in self._running.values()]:
                    self._held = own
                    return None
                self._held, self._left = "", self._left - 1
                if _judge(sweep, spec) is None:
                    self.specs[spec.key] = spec
                    attempts = launch.attempts(spec, sweep.folders)
                    self._running[trial_id] = own, spec, attempts
                    return {"key": spec.key, "spec": config.to_yaml(spec)}
                self._tell(own, spec)
                if spec is not None:
                    display.finish(spec.key, _outcome(sweep, spec))
            return self.FINISHED

        def on_trial_result(self, trial_id: str, result: dict) -> None:
            """Nothing: progress is no value."""

        def on_trial_complete(
            self, trial_id: str, result: dict | None = None, error: bool = False
        ) -> None:
            own, spec, attempts = self._running.pop(trial_id)
            launch.settle(spec, sweep.folders, attempts)
            self._tell(own, spec)

        def _tell(self, own: str, spec: TrialSpec | None) -> None:
            super().on_trial_complete(own, {self.metric: _value(sweep, spec)})

    return Suggestions(
        space=sweep.space,
        mode="max",
        sampler=study.sampler,
        study_name=sweep.study,
        storage=_storage(os.path.join(sweep.run.folder, STUDY_FILE)),
    )


def _spec(sweep: Sweep, values: Mapping[str, Any]) -> TrialSpec | None:
    """The trial, or None for values between the ends that the configuration refuses."""
    try:
        return sweep.spec(values)
    except config.ConfigError as error:
        log.warning("%s counts as %g: %s", values, objective.WORST, error)
        return None


def _judge(sweep: Sweep, spec: TrialSpec | None) -> objective.Judgement | None:
    """The value of a finished trial, or of none at all; None for one that is not done."""
    if spec is None:
        return objective.Judgement(objective.WORST, 0, "refused")
    folder = sweep.folders.trial(spec)
    if not rows.is_done(folder, identity.config_hash(spec), identity.stage_names(spec)):
        return None
    return objective.judge(rows.read_one(folder))


def _value(sweep: Sweep, spec: TrialSpec | None) -> float:
    """The value that Optuna gets; never NaN."""
    judgement = _judge(sweep, spec)
    return objective.WORST if judgement is None else judgement.value


def _outcome(sweep: Sweep, spec: TrialSpec) -> str:
    judgement, words = _judge(sweep, spec), launch.outcome(spec, sweep.folders)
    return words if judgement is None else f"{words}, {judgement.words()}"


def _values(suggestion: FrozenTrial) -> dict[str, Any]:
    """Its values; those of an enqueued one that nobody has taken up are its fixed ones."""
    return suggestion.system_attrs.get("fixed_params", {}) | suggestion.params


def _check_fits(sweep: Sweep, nodes: Sequence[launch.Node]) -> None:
    reason = launch.unavailable_reason(sweep.example, nodes)
    if reason:
        raise launch.LaunchError(reason)
