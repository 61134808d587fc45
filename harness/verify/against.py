"""Compares the runs of two machines: which trials are equal bit for bit, which differ although
their configuration is the same, and whether success differs by more than chance.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from harness.records import rows
from harness.report import compare, load, success_rates
from harness.verify.check import Check, Note
from harness.verify.record import Run, Trial

_SECONDS = "s"  # unit of the metrics that are the machine's, too
_ALPHA = 0.05
_MACHINE = ("git_commit", "versions", "device", "driver")
_BEYOND_CHANCE = "success differs by more than chance"
_SAME = "of the same commit, versions and device, and yet not equal in {}"


class Comparison(NamedTuple):
    """The outcome of a comparison: the check, and what a reviewer can paste."""

    check: Check
    line: str


class _Pairing(NamedTuple):
    """A trial that both runs have."""

    ours: Trial
    theirs: Trial
    unequal: list[str]  # of data, weights, episodes and metrics


def runs(ours: Run, theirs: Run) -> Comparison:
    """Compare the trials of the same configuration, and the success of the same methods."""
    known = {trial.name: trial for trial in theirs.ok}
    shared = [
        _Pairing(trial, known[trial.name], _unequal(trial, known[trial.name]))
        for trial in ours.ok
        if trial.name in known
    ]
    cells = _cells(ours, theirs)
    faults = [
        Note(pairing.ours.name, _SAME.format(", ".join(pairing.unequal)))
        for pairing in shared
        if pairing.unequal and _are_of_one_machine(pairing)
    ]
    faults += [
        Note(
            f"{cell.task} {cell.method}",
            f"success differs by more than chance, p {cell.p_holm:.2g}",
        )
        for cell in cells.itertuples()
        if cell.p_holm < _ALPHA
    ]
    check = Check("equality", len(shared), "trials", faults, list(_alone(ours, theirs)))
    return Comparison(check, _line(ours, theirs, shared, cells))


def _unequal(ours: Trial, theirs: Trial) -> list[str]:
    """In what two trials of one configuration differ, wall times apart."""
    data = [(t.row.dataset_hash, t.row.split_hash) for t in (ours, theirs)]
    parts: dict[str, Sequence[object]] = {
        "data": data,
        "weights": [t.row.checkpoint_hash for t in (ours, theirs)],
        "episodes": [_outcomes(t) for t in (ours, theirs)],
        "metrics": [_values(t) for t in (ours, theirs)],
    }
    return [name for name, (one, other) in parts.items() if one != other]


def _outcomes(trial: Trial) -> list[rows.EpisodeRow]:
    """The episodes without the times, which are the machine's."""
    return [
        dataclasses.replace(row, pairs_per_solve=[], solve_s=[], env_s=0.0, render_s=0.0)
        for row in trial.written.episodes
    ]


def _values(trial: Trial) -> list[tuple[str, str, int, str, str]]:
    """The metrics; as text, since NaN is not equal to itself."""
    found = [m for m in trial.written.metrics if m.unit != _SECONDS]
    return sorted((m.stage, m.name, m.index, repr(m.value), m.unit) for m in found)


def _are_of_one_machine(pairing: _Pairing) -> bool:
    ours, theirs = pairing.ours.row, pairing.theirs.row
    dirty = ours.git_dirty or theirs.git_dirty
    return not dirty and all(getattr(ours, name) == getattr(theirs, name) for name in _MACHINE)


def _alone(ours: Run, theirs: Run) -> Iterator[Note]:
    """Trials that only one of the runs has, and why they are not compared."""
    for one, other in ((ours, theirs), (theirs, ours)):
        names, keys = {t.name for t in other.ok}, {t.row.key for t in other.ok}
        for trial in one.ok:
            if trial.name not in names:
                why = "with another configuration" if trial.row.key in keys else "not"
                yield Note(trial.name, f"{other.name} has it {why}")


def _cells(ours: Run, theirs: Run) -> pd.DataFrame:
    """The success of each method that both runs have on a task, on the pairs that both have."""
    columns = ["task", "method", "difference_points", "p_holm"]
    try:
        loaded = {name: load.load(run.folder) for name, run in _named(ours, theirs).items()}
    except load.NoTrials:
        return pd.DataFrame(columns=columns)
    found = compare.compare(loaded).compared.raw
    if found.empty:
        return pd.DataFrame(columns=columns)
    own = (found["method"] == found["other_method"]) & (found["subset"] == success_rates.ALL)
    return found.loc[own, columns]


def _named(ours: Run, theirs: Run) -> dict[str, Run]:
    """The runs by their names, by their folders where these are equal."""
    by_name = {ours.name: ours, theirs.name: theirs}
    return by_name if len(by_name) > 1 else {ours.folder: ours, theirs.folder: theirs}


def _line(ours: Run, theirs: Run, shared: Sequence[_Pairing], cells: pd.DataFrame) -> str:
    unequal = [pairing for pairing in shared if pairing.unequal]
    counts = Counter(name for pairing in unequal for name in pairing.unequal)
    parts = ", ".join(f"{name} of {count}" for name, count in counts.items())
    first, second = _named(ours, theirs)
    line = f"{first} against {second}: {len(shared)} trials in both, "
    line += f"{len(shared) - len(unequal)} equal bit for bit, {len(unequal)} differ within the "
    line += f"protocol{f' ({parts})' if parts else ''}"
    return f"{line}; {_spread(cells)}" if len(cells) else line


def _spread(cells: pd.DataFrame) -> str:
    """How far success differs over methods and tasks, and the paired test that says most."""
    points = cells["difference_points"]
    return (
        f"success of {len(cells)} methods and tasks differs by {np.sqrt((points**2).mean()):.1f} "
        f"points (root mean square), {points.abs().max():.0f} at most; paired test: least p "
        f"{cells['p_holm'].min():.2g} after Holm's correction"
    )
