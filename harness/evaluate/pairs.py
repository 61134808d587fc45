"""Draws the pairs of start and goal that are evaluated. They are the same for every method, since
they depend only on the task, the protocol and the evaluation seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from harness.contracts.data import Pair
from harness.contracts.task import Task
from harness.data.episodes import SPLITS, Dataset
from harness.records import manifest, rows
from harness.runtime import seeding


class PairError(ValueError):
    """The dataset cannot give the pairs that the protocol asks for."""


class PairSettings(Protocol):
    """The fields of protocols.ProtocolConfig that decide the pairs."""

    @property
    def offset_steps(self) -> int:
        """Steps from a pair's start to its goal."""

    @property
    def pairs(self) -> int:
        """Pairs of an evaluation seed."""

    @property
    def stratum_pairs(self) -> int:
        """Pairs that are drawn for their stratum alone."""

    @property
    def allow_presolved(self) -> bool:
        """Whether a pair may be solved at its start."""

    @property
    def success_rule(self) -> str:
        """The rule of Task.success."""

    @property
    def physics(self) -> str:
        """The physics of the simulators."""

    @property
    def split(self) -> str:
        """The episodes that pairs are drawn from."""

    @property
    def strata(self) -> tuple[str, ...]:
        """The strata that pairs are drawn from."""

    @property
    def sampling(self) -> str:
        """Whether starts or episodes are drawn uniformly."""

    @property
    def manifest(self) -> str:
        """The file whose pairs take the place of drawn ones, or ""."""

    @property
    def manifest_hash(self) -> str:
        """The hash of that file's pairs, or ""."""

    def least_pairs(self) -> dict[str, int]:
        """The least number of the `pairs` for each stratum; they add up to at most `pairs`."""


class _Starts(NamedTuple):
    """Starts (N,) that have a goal `offset_steps` later in their episode."""

    episode: np.ndarray
    step: np.ndarray
    row: np.ndarray
    solved: np.ndarray  # (N,) bool: before the first action
    stratum: np.ndarray  # (N,) str

    def at(self, index: np.ndarray) -> _Starts:
        """The starts `index`."""
        return _Starts(*(values[index] for values in self))


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


def shortage(lengths: np.ndarray, settings: PairSettings) -> str:
    """Why held-out episodes of these lengths (E,) cannot give the protocol's pairs, or "". Only the
    starts are counted: what the protocol demands of a pair besides can leave fewer, and `draw`
    finds that out.
    """
    if settings.manifest:  # its pairs are listed
        return ""
    count = int(np.maximum(lengths - settings.offset_steps, 0).sum())
    if count == 0:
        return (
            f"no pairs with offset {settings.offset_steps} in {_split(settings)}, whose longest "
            f"episode has {lengths.max(initial=0)} steps: raise data.max_steps or lower "
            f"protocol.offset_steps"
        )
    return "" if count >= settings.pairs else _too_few(count, settings.pairs, "in all", settings)


def draw(
    dataset: Dataset, task: Task, settings: PairSettings, seed: int
) -> tuple[list[Pair], list[Pair]]:
    """The protocol's pairs, and extra pairs that fill each stratum up to `stratum_pairs`. The pairs
    of a manifest are those that it lists, without extra ones.

    Raises PairError when the held-out episodes are too few or too short, a stratum is unknown, or
    a manifest does not fit the dataset.
    """
    _check_strata(task, settings)
    if settings.manifest:
        return _listed(dataset, task, settings), []
    episodes = _episodes(dataset, settings.split)
    if reason := shortage(dataset.lengths[episodes], settings):
        raise PairError(reason)
    candidates = _candidates(dataset, task, settings, seed)
    main = _main_draw(candidates, settings)
    extra = _stratum_draw(candidates, main, settings)
    pairs = [
        _pair(dataset, candidates, index, number, settings.offset_steps)
        for number, index in enumerate([*main, *extra])
    ]
    return pairs[: len(main)], pairs[len(main) :]


def _candidates(dataset: Dataset, task: Task, settings: PairSettings, seed: int) -> _Starts:
    """All starts that the protocol allows, in the order in which they are drawn."""
    episodes = _episodes(dataset, settings.split)
    found = starts(dataset, episodes, settings.offset_steps)
    order = seeding.stream("pairs", task.spec.name, seed).permutation(len(found[0]))
    every = _judged(dataset, task, settings, *(values[order] for values in found))
    usable = np.ones(len(order), bool) if settings.allow_presolved else ~every.solved
    if settings.strata:
        usable &= np.isin(every.stratum, settings.strata)
    if settings.physics == "corrected":
        usable &= _legally_recorded(dataset, task, every.row, settings.offset_steps)
    allowed = every.at(usable)
    if settings.sampling == "episodes":
        priority = seeding.stream("pair episodes", task.spec.name, seed).permutation(
            len(dataset.lengths)
        )
        allowed = allowed.at(_turn_by_turn(priority[allowed.episode]))
    return allowed


def _judged(
    dataset: Dataset,
    task: Task,
    settings: PairSettings,
    episode: np.ndarray,
    step: np.ndarray,
    row: np.ndarray,
) -> _Starts:
    """These starts, with whether they are solved and their stratum."""
    start, goal = dataset.state[row], dataset.state[row + settings.offset_steps]
    solved = task.success(start, goal, settings.success_rule)
    return _Starts(episode, step, row, solved, np.asarray(task.strata(start, goal)))


def _episodes(dataset: Dataset, split: str) -> np.ndarray:
    """The episodes of a split, ascending; "any": all of them."""
    return np.arange(len(dataset.lengths)) if split == "any" else np.sort(dataset.split(split))


def _legally_recorded(dataset: Dataset, task: Task, row: np.ndarray, steps: int) -> np.ndarray:
    """(N,) bool: every one of the `steps` recorded steps from the starts `row` on is legal."""
    before = np.unique(row[:, None] + np.arange(steps))
    illegal = np.zeros(len(dataset.state), int)
    illegal[before] = ~task.legal(dataset.state[before], dataset.state[before + 1])
    until = np.concatenate([[0], np.cumsum(illegal)])  # before each row
    return until[row + steps] == until[row]


def _turn_by_turn(group: np.ndarray) -> np.ndarray:
    """An order of N members of groups (N,): the first of each group, by the groups' numbers, then
    the second of each, and so on.
    """
    by_group = np.argsort(group, kind="stable")
    first = np.searchsorted(group[by_group], group)  # where each group begins
    turn = np.empty(len(group), int)
    turn[by_group] = np.arange(len(group)) - first[by_group]
    return np.lexsort((group, turn))


def _listed(dataset: Dataset, task: Task, settings: PairSettings) -> list[Pair]:
    """The pairs that the manifest lists. Raises PairError."""
    try:
        listed, digest = manifest.read(settings.manifest)
    except manifest.ManifestError as error:
        raise PairError(str(error)) from None
    where, offset = settings.manifest, settings.offset_steps
    if digest != settings.manifest_hash:
        raise PairError(f"{where} has changed since the command was issued: issue it again")
    for pair in listed.pairs:
        _check_fits(dataset, pair, settings)
    episode, step = (
        np.array([getattr(pair, name) for pair in listed.pairs])
        for name in ("episode_id", "start_step")
    )
    judged = _judged(dataset, task, settings, episode, step, dataset.first_row[episode] + step)
    return [
        _pair(dataset, judged, index, pair.pair_id, offset)
        for index, pair in enumerate(listed.pairs)
    ]


def _check_fits(dataset: Dataset, pair: manifest.ManifestPair, settings: PairSettings) -> None:
    """Raises PairError where the dataset does not have the pair in the protocol's split."""
    what = f"{settings.manifest}: pair {pair.pair_id} "
    if pair.episode_id >= len(dataset.lengths):
        last = len(dataset.lengths) - 1
        raise PairError(f"{what}is of episode {pair.episode_id}; the dataset has 0 to {last}")
    length = dataset.lengths[pair.episode_id]
    if pair.goal_step >= length:
        raise PairError(
            f"{what}has its goal at step {pair.goal_step} of episode {pair.episode_id}, which has "
            f"steps 0 to {length - 1}"
        )
    if pair.goal_step - pair.start_step != settings.offset_steps:
        raise PairError(
            f"{what}has its goal {pair.goal_step - pair.start_step} steps later, and "
            f"protocol.offset_steps is {settings.offset_steps}"
        )
    row = dataset.first_row[pair.episode_id] + pair.start_step
    if pair.start_row != row:
        raise PairError(
            f"{what}starts in row {pair.start_row}, and step {pair.start_step} of episode "
            f"{pair.episode_id} is row {row} here: the manifest is of another dataset"
        )
    if pair.episode_id not in _episodes(dataset, settings.split):
        (own,) = (name for name in SPLITS if pair.episode_id in dataset.split(name))
        raise PairError(
            f"{what}is of episode {pair.episode_id}, which is in the {own} split, and "
            f"protocol.split is {settings.split}"
        )


def _check_strata(task: Task, settings: PairSettings) -> None:
    named = {"strata": settings.strata, "strata_min": settings.least_pairs()}
    for key, strata in named.items():
        if unknown := set(strata) - set(task.spec.strata):
            raise PairError(
                f"protocol.{key} names {sorted(unknown)}; {task.spec.name} has "
                f"{list(task.spec.strata)}"
            )


def _main_draw(candidates: _Starts, settings: PairSettings) -> np.ndarray:
    """Indices of the first candidates, among them the least numbers for the strata."""
    chosen: list[int] = []
    for stratum, wanted in settings.least_pairs().items():
        found = np.flatnonzero(candidates.stratum == stratum)[:wanted]
        _enough(len(found), wanted, f'of stratum "{stratum}"', settings)
        chosen += found.tolist()
    every = np.arange(len(candidates.row))
    rest = np.setdiff1d(every, chosen)[: settings.pairs - len(chosen)]
    _enough(len(chosen) + len(rest), settings.pairs, "in all", settings)
    return np.sort(np.concatenate([np.array(chosen, dtype=int), rest]))


def _stratum_draw(candidates: _Starts, main: np.ndarray, settings: PairSettings) -> np.ndarray:
    """Indices of further candidates, so that each stratum has stratum_pairs pairs together with
    `main`, or as many as there are.
    """
    free = np.ones(len(candidates.row), bool)
    free[main] = False
    extra = []
    for stratum in np.unique(candidates.stratum):
        missing = settings.stratum_pairs - int((candidates.stratum[main] == stratum).sum())
        extra.append(np.flatnonzero(free & (candidates.stratum == stratum))[: max(0, missing)])
    return np.concatenate([*extra, np.array([], dtype=int)])


def _enough(found: int, wanted: int, what: str, settings: PairSettings) -> None:
    if found < wanted:
        raise PairError(_too_few(found, wanted, what, settings))


def _too_few(found: int, wanted: int, what: str, settings: PairSettings) -> str:
    return (
        f"only {found} of {wanted} pairs {what} with offset {settings.offset_steps} in "
        f"{_split(settings)}: raise data.episodes or lower protocol.pairs"
    )


def _split(settings: PairSettings) -> str:
    return "all splits" if settings.split == "any" else f"the {settings.split} split"


def _pair(dataset: Dataset, candidates: _Starts, index: int, number: int, offset: int) -> Pair:
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
