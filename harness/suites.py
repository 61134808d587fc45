"""Named sets of trials, and how a run's words become a list of TrialSpec."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from harness import config, zoo
from harness.interfaces import TrialSpec

T = TypeVar("T")

CONTROLS = tuple(name for name, method in zoo.METHODS.items() if not method.trained)
STAGES = ("train", "probing", "control", "plan_time")


@dataclass(frozen=True)
class Suite:
    """tasks x methods x seeds; `overlay` is a layer of the configuration."""

    about: str
    tasks: tuple[str, ...]
    methods: tuple[str, ...] = tuple(zoo.METHODS)
    seeds: int = 1
    stages: tuple[str, ...] = STAGES
    overlay: dict[str, Any] | None = None


_PAPER_TASKS = tuple(name for name in zoo.TASKS if name != "toy")

SUITES: dict[str, Suite] = {
    "all": Suite("every method on every task", _PAPER_TASKS),
    "quick": Suite("every method on Two-Room", ("two_room",)),
    "smoke": Suite("the whole way on the toy task, for tests", ("toy",)),
}


def expand(run: config.RunConfig) -> list[TrialSpec]:
    """The trials of a run, tasks first. Raises config.ConfigError on unknown names and keys."""
    suite = SUITES[config.known("suite", run.suite, SUITES)]
    tasks = [config.known("task", name, zoo.TASKS) for name in run.tasks or suite.tasks]
    methods = [config.known("method", name, zoo.METHODS) for name in run.methods or suite.methods]
    tasks, methods, seeds = map(_once, (tasks, methods, run.seeds or range(suite.seeds)))
    return [
        config.trial_spec(run, task, method, seed, suite.stages, suite.overlay or {})
        for task in tasks
        for method in methods
        for seed in seeds
        if seed == seeds[0] or zoo.METHODS[method].trained
    ]


def _once(values: Iterable[T]) -> list[T]:
    """Without repetitions: two trials of one name would share a folder."""
    return list(dict.fromkeys(values))
