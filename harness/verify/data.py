"""Checks the datasets that a run's trials name, where they are on this machine: their contents,
their split, and the pairs that the protocol draws from them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator
from typing import Any, NamedTuple

import torch

from harness import trial_context, zoo
from harness.contracts.data import Pair
from harness.data import collect
from harness.data.episodes import DatasetError, changed_shards, open_dataset
from harness.evaluate.pairs import PairError
from harness.records.rows import EpisodeRow
from harness.trial_context import Context
from harness.verify.check import Check, Note
from harness.verify.record import Run, Trial


class Present(NamedTuple):
    """The trials whose datasets are here and are theirs, and the outcome of looking for them."""

    trials: list[Trial]
    check: Check


def datasets(run: Run) -> Present:
    """Every dataset here has the contents and the split that its manifest and the rows name."""
    groups: dict[Hashable, list[Trial]] = defaultdict(list)
    faults, skipped, present, count = [], [], [], 0
    for trial in run.ok:
        if trial.spec is None:
            skipped.append(Note(trial.name, "its configuration cannot be read"))
        else:
            contents = repr(sorted(trial.spec.config.data.contents().items()))
            groups[trial.spec.task, contents].append(trial)
    for trials in groups.values():
        spec = trials[0].known_spec
        task, data = zoo.task(spec.task, spec.config.data.scene), spec.config.data
        if not collect.has(task, data, run.datasets):
            skipped.append(
                Note(f"data of {spec.task}", f"they are not in {run.datasets} (datasets=FOLDER)")
            )
            continue
        count += 1
        try:
            folder = collect.ensure(task, data, run.datasets)
            dataset, changed = open_dataset(folder), changed_shards(folder)
        except (DatasetError, OSError) as error:
            faults.append(Note(f"data of {spec.task}", str(error)))
            continue
        faults += [Note(folder, f"{file} has other contents than its manifest") for file in changed]
        for trial in trials:
            hashes = trial.row.dataset_hash, trial.row.split_hash
            if hashes != (dataset.hash, dataset.split_hash):
                words = f"it read other data than {folder} holds: {hashes[0][:12]}"
                faults.append(Note(trial.name, words))
            elif not changed:
                present.append(trial)
    return Present(present, Check("contents", count, "datasets", faults, skipped))


def pairs(run: Run, present: list[Trial]) -> Check:
    """The pairs of every trial are those that its protocol draws from its data."""
    drawn: dict[Hashable, list[_Fact] | str] = {}
    faults, count = [], 0
    for trial in present:
        by_seed = defaultdict(list)
        for episode in trial.written.episodes:
            by_seed[episode.eval_seed].append(episode)
        for seed, episodes in sorted(by_seed.items()):
            key = (*_decides_pairs(trial), seed)
            if key not in drawn:
                drawn[key] = _drawn(run, trial, seed)
            count += len(episodes)
            faults += [Note(trial.name, text) for text in _differences(drawn[key], episodes)]
    return Check("draw", count, "pairs", faults)


def _decides_pairs(trial: Trial) -> tuple[Hashable, ...]:
    row, most = trial.row, trial.known_spec.config.method.most_pairs
    return row.task, row.dataset_hash, row.split_hash, row.protocol_hash, most


def context(run: Run, trial: Trial) -> Context:
    """The trial's context with its data, which must be there."""
    spec = trial.known_spec
    device = torch.device(spec.config.device)
    return trial_context.with_data(spec, run.folders, device, lambda *_: None)


def _drawn(run: Run, trial: Trial, seed: int) -> list[_Fact] | str:
    """The facts of the protocol's pairs, or why it cannot draw them."""
    try:
        main, extra = context(run, trial).pairs(seed)
    except PairError as error:
        return str(error)
    return [(*_facts(pair), index < len(main)) for index, pair in enumerate([*main, *extra])]


_FACTS = ("pair_id", "source_episode", "start_step", "stratum", "initially_solved")
_Fact = tuple[int, int, int, str, bool, bool]  # those of a pair, and whether it is of the sample


def _facts(pair: Pair) -> tuple[int, int, int, str, bool]:
    return pair.pair_id, pair.episode, pair.step, pair.stratum, pair.initially_solved


def _differences(drawn: list[_Fact] | str, episodes: list[EpisodeRow]) -> Iterator[str]:
    if isinstance(drawn, str):
        yield drawn
        return
    recorded: set[tuple[Any, ...]] = {
        (*(getattr(episode, name) for name in _FACTS), episode.sample == "pairs")
        for episode in episodes
    }
    if others := recorded - set(drawn):
        yield f"{len(others)} pairs are not drawn by its protocol (pair {min(others)[0]})"
    if missing := set(drawn) - recorded:
        yield f"{len(missing)} pairs of its protocol have no row (pair {min(missing)[0]})"
