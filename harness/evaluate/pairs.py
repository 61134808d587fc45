"""Draws the pairs of start and goal that are evaluated. They are the same for every method, since
they depend only on the task, the protocol and the evaluation seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from harness.contracts.data import Pair
from harness.contracts.task import Task
from harness.data.episodes import Dataset
from harness.records import rows
from harness.runtime import seeding


class PairError(ValueError):
    """The dataset cannot give the pairs that the protocol asks for."""


class PairSettings(Protocol):
    """The fields of protocols.ProtocolConfig that decide the pairs."""

    offset_steps: int
    pairs: int
    stratum_pairs: int
    allow_presolved: bool
    success_rule: str
    split: str

    def least_pairs(self) -> dict[str, int]:
        """The least number of the `pairs` for each stratum; they add up to at most `pairs`."""


class _Candidates:
    """Every (episode, step) of the split that has a goal `offset_steps` later, in random order."""

    def __init__(self, dataset: Dataset, task: Task, settings: PairSettings, seed: int):
        found = starts(dataset, np.sort(dataset.split(settings.split)), settings.offset_steps)
        order = seeding.stream("pairs", task.spec.name, seed).permutation(len(found[0]))
        self.episode, self.step, self.row = (values[order] for values in found)
        start = dataset.state[self.row]
        goal = dataset.state[self.row + settings.offset_steps]
        self.solved = task.success(start, goal, settings.success_rule)
        self.stratum = np.asarray(task.strata(start, goal))

    def __len__(self) -> int:
        return len(self.step)


def starts(
    dataset: Dataset, episodes: np.ndarray, offset_steps: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Every step of `episodes` that has another one `offset_steps` later in its episode: the
    episode, the step and the row of each, (N,).
    """
    counts = np.maximum(dataset.lengths[episodes] - offset_steps, 0)
    episode = np.repeat(episodes, counts)
    step = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return episode, step, dataset.first_row[episode] + step


def draw(
    dataset: Dataset, task: Task, settings: PairSettings, seed: int
) -> tuple[list[Pair], list[Pair]]:
    """The protocol's pairs, and extra pairs that fill each stratum up to `stratum_pairs`.

    Raises PairError when the held-out episodes are too few or too short, or a stratum is unknown.
    """
    _check_strata(task, settings)
    candidates = _Candidates(dataset, task, settings, seed)
    usable = np.ones(len(candidates), bool) if settings.allow_presolved else ~candidates.solved
    main = _main_draw(candidates, usable, settings)
    extra = _stratum_draw(candidates, usable, main, settings)
    pairs = [
        _pair(dataset, candidates, index, number, settings.offset_steps)
        for number, index in enumerate([*main, *extra])
    ]
    return pairs[: len(main)], pairs[len(main) :]


def _check_strata(task: Task, settings: PairSettings) -> None:
    unknown = set(settings.least_pairs()) - set(task.spec.strata)
    if unknown:
        raise PairError(
            f"protocol.strata_min names {sorted(unknown)}; {task.spec.name} has "
            f"{list(task.spec.strata)}"
        )


def _main_draw(candidates: _Candidates, usable: np.ndarray, settings: PairSettings) -> np.ndarray:
    """Indices of the first usable candidates, among them the least numbers for the strata."""
    chosen: list[int] = []
    for stratum, wanted in settings.least_pairs().items():
        found = np.flatnonzero(usable & (candidates.stratum == stratum))[:wanted]
        _enough(len(found), wanted, f'of stratum "{stratum}"', settings)
        chosen += found.tolist()
    rest = np.setdiff1d(np.flatnonzero(usable), chosen)[: settings.pairs - len(chosen)]
    _enough(len(chosen) + len(rest), settings.pairs, "in all", settings)
    return np.sort(np.concatenate([np.array(chosen, dtype=int), rest]))


def _stratum_draw(
    candidates: _Candidates, usable: np.ndarray, main: np.ndarray, settings: PairSettings
) -> np.ndarray:
    """Indices of further candidates, so that each stratum has stratum_pairs pairs together with
    `main`, or as many as there are.
    """
    free = usable.copy()
    free[main] = False
    extra = []
    for stratum in np.unique(candidates.stratum):
        missing = settings.stratum_pairs - int((candidates.stratum[main] == stratum).sum())
        extra.append(np.flatnonzero(free & (candidates.stratum == stratum))[: max(0, missing)])
    return np.concatenate([*extra, np.array([], dtype=int)])


def _enough(found: int, wanted: int, what: str, settings: PairSettings) -> None:
    if found < wanted:
        raise PairError(
            f"only {found} of {wanted} pairs {what} with offset {settings.offset_steps} in the "
            f"{settings.split} split: raise data.episodes or lower protocol.pairs"
        )


def _pair(dataset: Dataset, candidates: _Candidates, index: int, number: int, offset: int) -> Pair:
    row = candidates.row[index]
    goal = np.array([row + offset])
    return Pair(
        pair_id=number,
        episode=int(candidates.episode[index]),
        step=int(candidates.step[index]),
        start_state=dataset.state[row],
        goal_state=dataset.state[row + offset],
        goal_pixels=dataset.read_pixels(goal)[0],
        goal_proprio=dataset.proprio[row + offset],
        actions=dataset.actions[row : row + offset],
        stratum=str(candidates.stratum[index]),
        initially_solved=bool(candidates.solved[index]),
    )


def family_rows(key: str, dataset: Dataset, pairs: Sequence[Pair]) -> list[rows.MetricRow]:
    """The family of each source episode, by the episode's number. Nothing where every episode is a
    family of its own: the report's intervals count families where there are larger ones.
    """
    families = dataset.manifest.families
    if len(set(families)) == len(families):
        return []
    sources = sorted({pair.episode for pair in pairs})
    return [rows.MetricRow(key, "pairs", "family", i, float(families[i]), "") for i in sources]
