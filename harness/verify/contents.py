"""Checks the rows themselves: that they are those which the trials wrote, and that what is said
twice is said alike.

A digest in a trial's row (records/digest.py) covers every cell. Older rows have none; for them
there is what their columns say of each other, what the configuration says of them, and that all
methods of a task were evaluated on the same pairs.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from harness import zoo
from harness.experiment import trial_row
from harness.experiment.identity import TrialSpec
from harness.experiment.protocols import ProtocolConfig
from harness.records import digest, rows, storage
from harness.records.rows import EpisodeRow
from harness.verify.check import Check, Note
from harness.verify.record import Run, Trial

_CLOCK_S = 1e-3  # that two sums of the same wall times may differ by


def schemas(run: Run) -> Check:
    """Every table has the columns of its schema, with their types and without a missing value (else
    the trial could not be read), and no others.
    """
    skipped = [
        Note(trial.name, f"{column} is a column of no schema, which nothing reads")
        for trial in run.trials
        for column in rows.unknown_columns(trial.folder)
    ]
    return Check("schemas", len(rows.FILES) * len(run.trials), "files", (), skipped)


def digests(run: Run) -> Check:
    """The values of each table have the digest that was recorded when its trial ended."""
    faults, skipped, checked = [], [], 0
    for trial in run.trials:
        recorded = digest.read(trial.row.digests)
        if not recorded:
            skipped.append(Note(trial.name, "its rows are older than digests"))
            continue
        checked += 1
        changed = rows.changed(trial.written)
        if "frames" in recorded and not trial.written.frames:
            if storage.is_file(f"{trial.folder}/frames.parquet"):
                changed.append("frames")
            else:
                skipped.append(Note(trial.name, "its pictures are not there"))
        faults += [Note(trial.name, f"{name}.parquet is not as it was written") for name in changed]
    return Check("digests", checked, "trials", faults, skipped)


def consistency(run: Run) -> Check:
    """Columns that repeat each other, or the configuration, agree."""
    readable = [trial for trial in run.ok if trial.spec is not None]
    faults = [Note(t.name, text) for t in readable for text in _contradictions(t, t.known_spec)]
    faults += [*_other_data(readable), *_other_pairs(readable)]
    count = sum(len(trial.written.episodes) for trial in readable)
    return Check("consistency", count, "episode rows", faults)


def copies(run: Run) -> Check:
    """The compacted copy that reports read has the rows of the trials' own files."""
    if not storage.is_file(f"{run.folder}/compact/index.parquet"):
        return Check("copies", 0, "compacted rows")
    own = {(trial.row.key, trial.row.config_hash): trial.written for trial in run.trials}
    faults, count = [], 0
    for table in rows.FILES:
        found = getattr(run.tables, table)
        count += len(found)
        there = dict(list(found.groupby(["key", "config_hash"], sort=False)))
        for key in own.keys() | there.keys():
            if not _same(getattr(own[key], table) if key in own else None, there.get(key)):
                text = f"its rows of {key[0]} are not those of the trial: delete the folder compact"
                faults.append(Note(f"compact/{table}.parquet", text))
    return Check("copies", count, "compacted rows", sorted(faults))


def _same(written: rows.TrialRow | Sequence[object] | None, copied: pd.DataFrame | None) -> bool:
    """Whether a trial's rows of one table are those of the copy."""
    own = [written] if isinstance(written, rows.TrialRow) else list(written or ())
    if not own or copied is None:
        return not own and copied is None
    frame = pd.DataFrame([vars(row) for row in own])
    copied = copied[frame.columns].reset_index(drop=True)
    lists = [name for name in frame if isinstance(frame[name].iloc[0], list)]
    for name in lists:
        frame[name], copied[name] = frame[name].map(tuple), copied[name].map(tuple)
    return bool(((frame == copied) | (frame.isna() & copied.isna())).all(axis=None))


# -- one trial


def _contradictions(trial: Trial, spec: TrialSpec) -> Iterator[str]:
    """Contradictions among the rows of a finished trial, or to its configuration."""
    row, episodes = trial.row, trial.written.episodes
    method, steps = zoo.METHODS[spec.method], spec.config.train.steps
    if method.trained != bool(row.checkpoint_hash):
        yield "a trained method has weights, and a control has none: see checkpoint_hash"
    if "train" in trial.stages and method.trained and steps not in (0, row.train_steps):
        yield f"train_steps is {row.train_steps}, and its configuration asks for {steps}"
    swept = {(m.name, str(m.value), m.unit) for m in trial.written.metrics if m.stage == "sweep"}
    if swept != {(m.name, str(m.value), m.unit) for m in trial_row.sweep_rows(spec)}:
        yield "the values that a sweep tried are not those of its configuration"
    if ("control" in trial.stages) != bool(episodes):
        yield "there are episodes exactly where the stage control was run"
    elif episodes:
        yield from _counts(spec, episodes)
        yield from _broken_rules(spec, episodes)
        spent = sum(map(_seconds, episodes))
        if spent > row.eval_s + _CLOCK_S:
            yield f"its episodes took {spent:.1f} s, and all of them together {row.eval_s:.1f} s"


def _seconds(episode: EpisodeRow) -> float:
    """The episode's share of the wall time of its evaluation."""
    solves = zip(episode.solve_s, episode.pairs_per_solve, strict=False)
    return episode.env_s + episode.render_s + sum(s / pairs for s, pairs in solves)


def _counts(spec: TrialSpec, episodes: list[EpisodeRow]) -> Iterator[str]:
    """Each evaluation seed has the protocol's pairs, and no pair twice."""
    protocol = spec.config.protocol
    drawn = Counter(e.eval_seed for e in episodes if e.sample == "pairs")
    expected = min(protocol.pairs, spec.config.method.most_pairs or protocol.pairs)
    if set(drawn) != set(protocol.eval_seeds):
        seeds = (sorted(drawn), sorted(protocol.eval_seeds))
        yield "evaluation seeds {} instead of {}".format(*seeds)
    if not protocol.manifest and set(drawn.values()) != {expected}:
        yield f"{sorted(set(drawn.values()))} pairs a seed, where the protocol has {expected}"
    if len({(e.eval_seed, e.pair_id) for e in episodes}) < len(episodes):
        yield "a pair has two rows"


class _Rule(NamedTuple):
    """Something that holds for every episode row of a protocol."""

    text: str
    holds: Callable[[EpisodeRow, ProtocolConfig], bool]


_RULES = (
    _Rule("split is the protocol's", lambda e, p: e.split == p.split),
    _Rule(
        "success is success_final where success counts at the end, else success_ever",
        lambda e, p: e.success == (e.success_final if p.success_at == "end" else e.success_ever),
    ),
    _Rule(
        "success_ever says whether there is a first_hit_step",
        lambda e, p: e.success_ever == (e.first_hit_step >= 0),
    ),
    _Rule("first_hit_step is in the budget", lambda e, p: -1 <= e.first_hit_step <= p.budget_steps),
    _Rule("solved at last is solved once", lambda e, p: e.success_ever or not e.success_final),
    _Rule(
        "an episode stops where it is solved",
        lambda e, p: p.success_at == "end" or e.success_final == e.success_ever,
    ),
    _Rule("dist_min is the least", lambda e, p: e.dist_min <= min(e.dist_init, e.dist_final)),
    _Rule(
        "initially_solved is a first_hit_step of 0",
        lambda e, p: p.hold_steps > 1 or e.initially_solved == (e.first_hit_step == 0),
    ),
    _Rule(
        "no pair is solved at the start",
        lambda e, p: p.allow_presolved or not e.initially_solved,
    ),
    _Rule(
        "success needs legal steps alone",
        lambda e, p: p.physics != "corrected" or not e.success or e.illegal_steps <= 0,
    ),
    _Rule(
        "each replan has its wall time",
        lambda e, p: e.replans == len(e.solve_s) == len(e.pairs_per_solve),
    ),
)


def _broken_rules(spec: TrialSpec, episodes: list[EpisodeRow]) -> Iterator[str]:
    protocol, strata = spec.config.protocol, zoo.TASKS[spec.task].spec.strata
    rules = [
        *_RULES,
        _Rule("stratum is one of the task's", lambda e, p: e.stratum in strata),
        _Rule("replans fit the steps", lambda e, p: e.replans == _replans(spec, e)),
    ]
    for rule in rules:
        broken = [e.pair_id for e in episodes if not rule.holds(e, protocol)]
        if broken:
            yield f"not so in {len(broken)} episodes (pair {broken[0]}): {rule.text}"


def _replans(spec: TrialSpec, episode: EpisodeRow) -> int:
    """How often the policy was asked until the episode stopped."""
    method, protocol, mpc = zoo.METHODS[spec.method], spec.config.protocol, spec.config.mpc
    if (
        not method.trained
        or method.plans_in_simulator
        or (method.plans and mpc.dynamics == "simulator")
    ):
        return 0  # it acts step by step
    stops = episode.success_ever and protocol.success_at == "ever"
    steps = episode.first_hit_step if stops else protocol.budget_steps
    blocks = math.ceil(steps / zoo.TASKS[spec.task].spec.action_block)
    return math.ceil(blocks / mpc.execute_blocks) if method.plans else blocks


# -- several trials


def _other_pairs(trials: Iterable[Trial]) -> Iterator[Note]:
    """Trials with other pairs than most of those of their task, protocol and data."""
    facts: dict[Hashable, dict[str, tuple[object, ...]]] = defaultdict(dict)
    for trial in trials:
        row = trial.row
        place = row.task, row.protocol_hash, row.dataset_hash, row.split_hash
        for e in trial.written.episodes:
            start = e.source_episode, e.start_step, e.stratum, e.sample, e.initially_solved
            facts[*place, e.eval_seed, e.pair_id][trial.name] = (*start, f"{e.dist_init:.9g}")
    found = Counter(name for values in facts.values() for name in _outvoted(values))
    for name, count in sorted(found.items()):
        yield Note(name, f"{count} of its pairs are not those of the other methods")


def _other_data(trials: Iterable[Trial]) -> Iterator[Note]:
    """Trials that say that the same dataset is another one than most of the others say."""
    hashes: dict[Hashable, dict[str, tuple[str, str]]] = defaultdict(dict)
    for trial in trials:
        contents = repr(sorted(trial.known_spec.config.data.contents().items()))
        hashes[trial.row.task, contents][trial.name] = trial.row.dataset_hash, trial.row.split_hash
    for values in hashes.values():
        for name in _outvoted(values):
            yield Note(name, f"its data {values[name][0][:12]} are not those of the other trials")


def _outvoted(values: Mapping[str, Hashable]) -> list[str]:
    """The names whose value is not the most frequent one."""
    (usual, _), *others = Counter(values.values()).most_common()
    return [name for name, value in values.items() if value != usual] if others else []
