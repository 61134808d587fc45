"""Moments of a dataset: what its actions, states and pairs are like before a model is trained.

A recorded set is like a published one where these agree; what they say about the pairs is exact,
over every start of a split instead of a sample.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from harness.contracts.task import Task
from harness.data.episodes import SPLITS, Dataset
from harness.evaluate import pairs

ALL = "all"  # the pairs of every split together
SHARE, COUNT = "share", "number"  # units of what has none


class Moment(NamedTuple):
    """One number of a dataset: `measure` of `quantity`, in `unit` ("1" where it has none)."""

    kind: str  # "action", "state", "episodes" or "pairs"
    quantity: str  # a dimension, or for pairs the split
    measure: str
    value: float
    unit: str


def measure(dataset: Dataset, task: Task, offset_steps: int, rule: str) -> list[Moment]:
    """All moments of the dataset; its pairs are `offset_steps` apart and judged by `rule`."""
    return [
        *_actions(dataset, task),
        *_states(dataset, task, offset_steps),
        *_episodes(dataset),
        *_pairs(dataset, task, offset_steps, rule),
    ]


def _actions(dataset: Dataset, task: Task) -> Iterator[Moment]:
    """Mean, std and the share at a bound, for each dimension of an action."""
    low, high = np.array((task.spec.action_low, task.spec.action_high), np.float32)
    actions = dataset.actions[dataset.acted]
    at_bounds = (actions <= low) | (actions >= high)
    for i, values in enumerate(actions.T.astype(np.float64)):
        yield Moment("action", f"action_{i}", "mean", values.mean(), "1")
        yield Moment("action", f"action_{i}", "std", values.std(), "1")
        yield Moment("action", f"action_{i}", "at a bound", at_bounds[:, i].mean(), SHARE)


def _states(dataset: Dataset, task: Task, offset_steps: int) -> Iterator[Moment]:
    """Mean and std of every position and speed of the state, and the rms of its change from one
    block to the next and from a start to its goal; an angle changes the shorter way round.
    """
    everything = np.arange(len(dataset.lengths))
    spans = dict.fromkeys((task.spec.action_block, offset_steps))  # once where they are equal
    starts = {steps: pairs.starts(dataset, everything, steps)[2] for steps in spans}
    for full_name, values in zip(task.spec.state_names, dataset.state.T, strict=True):
        name, _, unit = full_name.removesuffix("]").partition(" [")
        if "/s2" in unit:
            continue  # accelerations are the solver's memory, no picture or model shows them
        yield Moment("state", name, "mean", values.mean(), unit)
        yield Moment("state", name, "std", values.std(), unit)
        for steps, rows in starts.items():
            change = values[rows + steps] - values[rows]
            if unit == "rad":
                change = (change + np.pi) % (2 * np.pi) - np.pi
            yield Moment("state", name, f"rms change in {steps} steps", _rms(change), unit)


def _episodes(dataset: Dataset) -> Iterator[Moment]:
    """How many episodes there are and how long they are."""
    lengths = dataset.lengths
    yield Moment("episodes", "episodes", "number", len(lengths), COUNT)
    for name in ("min", "mean", "max"):
        yield Moment("episodes", "length", name, float(getattr(lengths, name)()), "steps")


def _pairs(dataset: Dataset, task: Task, offset_steps: int, rule: str) -> Iterator[Moment]:
    """Count each split's starts that have a goal, with the share of them that is solved already and
    the share of each stratum. Shares are NaN where there is no start.
    """
    splits = {ALL: np.arange(len(dataset.lengths)), **{s: dataset.split(s) for s in SPLITS}}
    for split, episodes in splits.items():
        rows = pairs.starts(dataset, episodes, offset_steps)[2]
        start, goal = dataset.state[rows], dataset.state[rows + offset_steps]
        solved, stratum = task.success(start, goal, rule), np.asarray(task.strata(start, goal))
        yield Moment("pairs", split, "pairs", len(rows), COUNT)
        yield Moment("pairs", split, "solved at the start", _share(solved), SHARE)
        for name in task.spec.strata:
            yield Moment("pairs", split, name, _share(stratum == name), SHARE)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2))) if len(values) else float("nan")


def _share(chosen: np.ndarray) -> float:
    return float(chosen.mean()) if len(chosen) else float("nan")
