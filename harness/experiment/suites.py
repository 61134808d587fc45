"""Named sets of trials, and how the words of a run become a list of TrialSpec."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from harness import zoo
from harness.experiment import config, dotted_keys, identity, imported, variations
from harness.experiment.identity import TrialSpec, Weights
from harness.experiment.run_folders import RunFolders
from harness.experiment.variations import Evaluation, Evaluations
from harness.records import storage
from harness.training import checkpoint

T = TypeVar("T")


@dataclass(frozen=True)
class Suite:
    """tasks x methods x seeds; `overlay` is a layer of the configuration. A trained method has more
    trials than one where the suite says so:

    ablations    a training for each value of these axes (variations.ABLATIONS)
    evaluations  one training, evaluated in each of these ways
    snapshots    one training, evaluated after each of these shares of it
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
    overlay: dict[str, Any] = field(default_factory=dict)
    ablations: tuple[str, ...] = ()
    evaluations: Evaluations | None = None
    snapshots: tuple[float, ...] = ()


_PAPER_TASKS = tuple(name for name in zoo.TASKS if name != "toy")
SNAPSHOTS = (1 / 16, 1 / 4, 1 / 2, 1)  # which a training keeps that is evaluated in several ways
_ABLATED = tuple(
    dict.fromkeys(name for axis in variations.ABLATIONS.values() for name in axis.methods)
)
_ABLATION_STAGES = ("train", "geometry", "control")

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
        snapshots=SNAPSHOTS,
    ),
    "planners": Suite(
        "every planner with as many rollouts as CEM, and stopped early, on one training a method",
        ("two_room", "push_t"),
        ("lewm", "pldm", "true_state", "heuristic", "random"),
        stages=("train", "control", "plan_time"),
        evaluations=variations.planners,
    ),
    "blame": Suite(
        "dynamics or cost: world models with the simulator's dynamics, and with a probe's cost",
        ("two_room", "push_t", "reacher"),
        ("lewm", "pldm", "oracle", "true_state", "heuristic", "random"),
        stages=("train", "control"),
        evaluations=variations.blame,
    ),
    "horizons": Suite(
        "goals 25 to 100 steps away, plans of 2 to 8 blocks, replans after 1 to 5 of them",
        ("push_t",),
        ("lewm", "pldm", "gcbc", "true_state", "heuristic", "random"),
        stages=("train", "control"),
        evaluations=variations.horizons,
    ),
    "ablations": Suite(
        "every axis of the ablations, a training for each value",
        ("two_room", "reacher"),
        (*_ABLATED, "heuristic", "random"),
        stages=_ABLATION_STAGES,
        ablations=tuple(variations.ABLATIONS),
    ),
    **{
        f"ablation_{name}": Suite(
            f"{axis.about}, a training for each value",
            ("two_room", "reacher"),
            (*axis.methods, "heuristic", "random"),
            stages=_ABLATION_STAGES,
            ablations=(name,),
        )
        for name, axis in variations.ABLATIONS.items()
    },
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
    tasks, methods = _once(tasks), _once(methods)
    seeds = _once(run.seeds or range(suite.seeds))
    firsts = [
        imported.with_given(config.trial_spec(run, task, method, seeds[0], stages, suite.overlay))
        for task in tasks
        for method in methods
    ]
    _check_narrowing(
        run, [*tasks, *methods, *(name for spec in firsts for name in spec.config.pool)]
    )
    if run.from_ and (suite.snapshots or suite.evaluations):
        raise config.ConfigError(
            f"suite={run.suite} evaluates a training of its own in several ways, and from= names "
            "another: leave from= out, or give run= the run that has this suite's trainings"
        )
    specs = [
        dataclasses.replace(part, seed=seed)  # nothing else depends on it
        for first in firsts
        for part in _varied(first, suite, run)
        for seed in (seeds if _trains(part) else seeds[:1])
    ]
    specs = [part for spec in specs for part in _evaluated(spec, suite, run)]
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


def _varied(spec: TrialSpec, suite: Suite, run: config.RunConfig) -> list[TrialSpec]:
    """The trial itself, or a training for each value of the axes that vary its method."""
    variants = []
    for name, axis in variations.of(suite.ablations, spec.method):
        for value in axis.values:
            layer = variations.with_value(axis, value)
            varied = _again(spec, run, suite.overlay, axis.layer, layer)
            variant = variations.variant(name, value)
            variants.append(dataclasses.replace(varied, variant=variant, swept=(axis.key,)))
    return variants or [spec]


def _evaluated(spec: TrialSpec, suite: Suite, run: config.RunConfig) -> list[TrialSpec]:
    """The trial itself; or its training, and the trials that evaluate that in several ways."""
    ways = suite.evaluations(spec) if suite.evaluations else {}
    if not _trains(spec):
        alike = [_in_a_way(spec, *way, suite, run) for way in ways.items() if way[1].of_controls]
        return alike or [spec]
    if not ways and not suite.snapshots:
        return [spec]
    settings = dataclasses.replace(
        spec.config, train=dataclasses.replace(spec.config.train, snapshots=SNAPSHOTS)
    )
    training = dataclasses.replace(spec, variant="training", stages=("train",), config=settings)
    evaluated = [_after(spec, share) for share in suite.snapshots]
    evaluated += [_in_a_way(spec, *way, suite, run) for way in ways.items()]
    return [training, *(_with_weights_of(training, part, spec, run) for part in evaluated)]


def _after(spec: TrialSpec, share: float) -> TrialSpec:
    """The trial after this share of its training, without the weights that it has then."""
    whole = spec.config.train
    train = dataclasses.replace(
        whole, steps=math.ceil(share * whole.steps), epochs=share * whole.epochs
    )
    settings = dataclasses.replace(spec.config, train=train, weights=Weights(share=share))
    swept = ("train.steps" if whole.steps else "train.epochs",)
    variant = f"training-{share:.3g}"
    return dataclasses.replace(spec, variant=variant, config=settings, swept=swept)


def _in_a_way(
    spec: TrialSpec, variant: str, way: Evaluation, suite: Suite, run: config.RunConfig
) -> TrialSpec:
    """The trial under the layer, and the planner, of an evaluation."""
    run = dataclasses.replace(run, planner=way.planner or run.planner)
    found = _again(spec, run, suite.overlay, way.layer)
    return dataclasses.replace(found, variant=variant, swept=(way.key,))


def _again(spec: TrialSpec, run: config.RunConfig, *layers: Mapping[str, Any]) -> TrialSpec:
    """The trial with its configuration resolved under these layers of a suite."""
    overlay: dict[str, Any] = {}
    for layer in layers:
        dotted_keys.merge(overlay, layer)
    return config.trial_spec(run, spec.task, spec.method, spec.seed, spec.stages, overlay)


def _with_weights_of(
    training: TrialSpec, part: TrialSpec, spec: TrialSpec, run: config.RunConfig
) -> TrialSpec:
    """The trial `part` with the weights that the trial `training`, that of `spec`, keeps."""
    share = part.config.weights.share
    folder = RunFolders(run.folder, run.run, run.suite, run.datasets).checkpoint(training)
    weights = Weights(
        identity=f"{share:g} of the training {identity.training_hash(spec)}",
        origin=f"of {training.key}",
        path=storage.join(folder, checkpoint.snapshot_name(share)),
        config_hash=identity.config_hash(training),
        trial=training.key,
        share=share,
    )
    stages = tuple(name for name in part.stages if name != "train")
    settings = dataclasses.replace(part.config, weights=weights)
    return dataclasses.replace(part, stages=stages, config=settings)


def _once(values: Iterable[T]) -> list[T]:
    """The values without repetitions: two trials of one name would share a folder."""
    return list(dict.fromkeys(values))
