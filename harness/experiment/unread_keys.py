"""Finds words of a command line that change nothing, since no trial of the run reads their keys."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from harness import zoo
from harness.experiment import config
from harness.experiment.identity import TrialSpec

_OF_STAGES = ("train", "plan_time", "plans", "decoder")  # sections that their stage alone reads


def unread(
    run: config.RunConfig,
    specs: Sequence[TrialSpec],
    stages_of: Callable[[TrialSpec], Collection[str]],
) -> list[str]:
    """The keys of the command line that none of the trials reads, as they were typed; `stages_of`
    are the stages that a trial runs.
    """
    known = [(spec, set(stages_of(spec))) for spec in specs]
    return [
        key
        for key in _keys(run.overrides)
        if not any(_reads(spec, stages, key) for spec, stages in known)
    ]


def _keys(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _keys(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def _reads(spec: TrialSpec, stages: Collection[str], key: str) -> bool:
    """Whether the trial, which runs these stages, reads the key."""
    branch, *path = key.split(".")
    if branch == "for":
        of_trial = path[0] in (spec.task, spec.method, *spec.config.pool)
        return of_trial and _reads(spec, stages, ".".join(path[1:]))
    if branch in _OF_STAGES:
        return branch in stages
    if branch == "method":
        return path[0] == spec.method and path[1] not in spec.config.method.unread
    plans = zoo.METHODS[spec.method].plans or zoo.METHODS[spec.method].plans_in_simulator
    if branch == "planner":
        return plans and path[0] == spec.config.planner_name
    return branch != "mpc" or (plans and path[0] not in spec.config.mpc.unread)
