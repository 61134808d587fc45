"""Named sets of trials, and how the words of a run become a list of TrialSpec."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from harness import zoo
from harness.experiment import config, imported
from harness.experiment.identity import TrialSpec

T = TypeVar("T")


@dataclass(frozen=True)
class Suite:
    """tasks x methods x seeds; `overlay` is a layer of the configuration. With `train_shares` a
    trained method has a variant for each: that share of its scale's training.
    """

    about: str
    tasks: tuple[str, ...]
    methods: tuple[str, ...] = tuple(zoo.METHODS)
    seeds: int = 1
    stages: tuple[str, ...] = ()  # none named: those that run by default
    overlay: dict[str, Any] | None = None
    train_shares: tuple[float, ...] = ()


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
        "LeWM on Push-T, trained shorter and longer (the longest takes an hour at laptop)",
        ("push_t",),
        ("lewm", "heuristic", "random"),
        stages=("train", "probing", "control"),
        train_shares=(8, 1, 1 / 4, 1 / 16),  # the longest starts first
    ),
    "bounds": Suite(
        "what data and planner allow: ceiling and floors; the first to run on a change of data",
        _PAPER_TASKS,
        ("true_state", "heuristic", "random", "noop", "replay"),
        stages=("train", "control"),
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
    specs = [varied for spec in specs for varied in _varied(spec, suite.train_shares)]
    return imported.from_run(specs, run) if run.from_ else specs


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


def _varied(spec: TrialSpec, shares: tuple[float, ...]) -> list[TrialSpec]:
    """The trial itself, or one variant of it for each share of its training."""
    if not shares or not _trains(spec):
        return [spec]
    whole = spec.config.train
    key = "train.steps" if whole.steps else "train.epochs"
    variants = []
    for share in shares:
        train = dataclasses.replace(
            whole, steps=math.ceil(share * whole.steps), epochs=share * whole.epochs
        )
        settings = dataclasses.replace(spec.config, train=train)
        variant = f"training-{share:.0%}".replace("%", "pct")
        variants.append(dataclasses.replace(spec, variant=variant, config=settings, swept=(key,)))
    return variants


def _once(values: Iterable[T]) -> list[T]:
    """Without repetitions: two trials of one name would share a folder."""
    return list(dict.fromkeys(values))
