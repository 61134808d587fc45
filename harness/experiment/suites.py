"""Named sets of trials, and how the words of a run become a list of TrialSpec."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from harness import zoo
from harness.experiment import config, identity, imported
from harness.experiment.identity import TrialSpec, Weights
from harness.experiment.run_folders import RunFolders
from harness.training import checkpoint

T = TypeVar("T")


@dataclass(frozen=True)
class Suite:
    """tasks x methods x seeds; `overlay` is a layer of the configuration. With `snapshots` each
    training is evaluated after these shares of it, a variant each.
    """

    about: str
    tasks: tuple[str, ...]
    methods: tuple[str, ...] = tuple(
        name
        for name, method in zoo.METHODS.items()
        if not method.plans_in_simulator  # it is slow
    )
    seeds: int = 1
    stages: tuple[str, ...] = ()  # none named: those that run by default
    overlay: dict[str, Any] | None = None
    snapshots: tuple[float, ...] = ()


_PAPER_TASKS = tuple(name for name in zoo.TASKS if name != "toy")

SUITES: dict[str, Suite] = {
    "all": Suite("every method on every task", _PAPER_TASKS),
    "quick": Suite(
        "a first look: each family of methods on Two-Room, at scale and protocol quick",
        ("two_room",),
        (
            "dino_wm_proprio",
            "gcivl",
            "lewm",
            "pldm",
            "gcbc",
            "collapsed",
            "heuristic",
            "random",
            "noop",
            "replay",
        ),  # the longest start first
        stages=("train", "control", "plan_time"),
    ),
    "two_room": Suite("every method on Two-Room", ("two_room",)),
    "training_time": Suite(
        "every method on Push-T after a sixteenth, a quarter, half and all of one training",
        ("push_t",),
        stages=("train", "control", "decoder"),
        snapshots=(1 / 16, 1 / 4, 1 / 2, 1),
    ),
    "bounds": Suite(
        "what data and planner allow: ceiling and floors; the first to run on a change of data",
        _PAPER_TASKS,
        ("true_state", "heuristic", "random", "noop", "replay"),
        stages=("train", "control"),
    ),
    "ceilings": Suite(
        "what the protocol lets any model reach: CEM in the simulator, true state, and floors",
        _PAPER_TASKS,
        ("oracle", "true_state", "heuristic", "random"),
        stages=("train", "control"),
        overlay={"for": {"cube": {"method": {"oracle": {"pairs": 10}}}}},
    ),
    "published": Suite(
        "does a published number hold? The released LeWM and a random policy on the same pairs",
        _PAPER_TASKS,
        ("lewm", "random"),
        stages=("control",),
    ),
    "smoke": Suite("the whole way on the toy task, for tests", ("toy",)),
}


ON_REQUEST = ("plans", "decoder")  # stages that run only where they are named: they take longest


def expand(run: config.RunConfig, all_stages: Collection[str]) -> list[TrialSpec]:
    """The trials of a run, tasks first; `all_stages` are the names of trial.STAGES.

    Raises config.ConfigError on unknown names and keys.
    """
    suite = SUITES[config.known("suite", run.suite, SUITES)]
    by_default = [name for name in all_stages if name not in ON_REQUEST]
    named = run.stages or suite.stages or by_default
    asked = {config.known("stage", name, all_stages) for name in named}
    stages = tuple(name for name in all_stages if name in asked)  # in the order of their running
    tasks = [config.known("task", name, zoo.TASKS) for name in run.tasks or suite.tasks]
    methods = [config.known("method", name, zoo.METHODS) for name in run.methods or suite.methods]
    tasks, methods, seeds = map(_once, (tasks, methods, run.seeds or range(suite.seeds)))
    firsts = [
        imported.with_given(
            config.trial_spec(run, task, method, seeds[0], stages, suite.overlay or {})
        )
        for task in tasks
        for method in methods
    ]
    _check_narrowing(
        run, [*tasks, *methods, *(name for spec in firsts for name in spec.config.pool)]
    )
    specs = [
        dataclasses.replace(first, seed=seed)  # nothing else depends on it
        for first in firsts
        for seed in (seeds if _trains(first) else seeds[:1])
    ]
    if suite.snapshots and run.from_:
        raise config.ConfigError(
            f"suite={run.suite} evaluates a training on its way, which from= leaves out: use one"
        )
    specs = [part for spec in specs for part in _on_its_way(spec, suite.snapshots, run)]
    return imported.from_run(specs, run) if run.from_ else specs


def waves(specs: Sequence[TrialSpec]) -> list[list[TrialSpec]]:
    """The trials in the order in which they can run: those that need the weights of another trial
    of the run come after all others.
    """
    waiting = [spec for spec in specs if spec.config.weights.trial]
    return [[spec for spec in specs if not spec.config.weights.trial], waiting]


def _trains(spec: TrialSpec) -> bool:
    """Whether the seed is that of a training; given weights are of one that has been."""
    return zoo.METHODS[spec.method].trained and not spec.config.weights.identity


def _check_narrowing(run: config.RunConfig, used: list[str]) -> None:
    """A key for one task or method must reach a trial: else it would be ignored in silence."""
    for name in run.overrides.get("for", {}):
        if name not in used:
            raise config.ConfigError(
                f'"for.{name}." reaches no trial of this run, which has {", ".join(_once(used))}. '
                "Leave it out, or name it in tasks= or methods="
            )


def _on_its_way(
    spec: TrialSpec, shares: tuple[float, ...], run: config.RunConfig
) -> list[TrialSpec]:
    """The trial itself; with shares its training, then an evaluation of the weights after each."""
    if not shares or not _trains(spec):
        return [spec]
    whole = spec.config.train
    settings = dataclasses.replace(spec.config, train=dataclasses.replace(whole, snapshots=shares))
    training = dataclasses.replace(spec, variant="training", stages=("train",), config=settings)
    folder = RunFolders(run.folder, run.run, run.suite, run.datasets).checkpoint(training)
    stages = tuple(name for name in spec.stages if name != "train")
    evaluations = []
    for share in shares:
        weights = Weights(
            identity=f"{share:g} of the training {identity.training_hash(spec)}",
            origin=f"of {training.key}",
            path=f"{folder}/{checkpoint.snapshot_name(share)}",
            config_hash=identity.config_hash(training),
            trial=training.key,
        )
        train = dataclasses.replace(
            whole, steps=math.ceil(share * whole.steps), epochs=share * whole.epochs
        )
        evaluations.append(
            dataclasses.replace(
                spec,
                variant=f"training-{share:.3g}",
                stages=stages,
                config=dataclasses.replace(spec.config, train=train, weights=weights),
                swept=("train.steps" if whole.steps else "train.epochs",),
            )
        )
    return [training, *evaluations]


def _once(values: Iterable[T]) -> list[T]:
    """Without repetitions: two trials of one name would share a folder."""
    return list(dict.fromkeys(values))
