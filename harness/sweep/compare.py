"""Compares sweeps: how many values each sampler needed to find the plateau, and how wide it is over
the keys of one method beside those of another.

  python -m harness.sweep compare results/RUN1 results/RUN2 ... [to=FOLDER]

Each folder is the run of one sweep; all are of one task, scale and protocol. The table has a
section for each method and its keys; where the task has several kinds of pairs, also columns on the
hard ones alone, where fewer values are as good as the best. With to=FOLDER it is written there as
Markdown, CSV and LaTeX, with a figure, hyperparameters.png and .svg: a panel for each method, a
line over one key, a heat map over two, such as LeWM's one weight beside two of PLDM's
(sampler=grid).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import optuna
from optuna.exceptions import OptunaError
from sqlalchemy.exc import SQLAlchemyError

from harness import report
from harness.records import run_tables
from harness.report import figures
from harness.report.tables import sweep as sweep_tables
from harness.runtime import command
from harness.runtime.command import ConfigError
from harness.sweep import search, tables

_SAME = ("task", "scale", "protocol")  # what sweeps that are compared have in common


class Words(NamedTuple):
    """The words of a comparison: the runs, and where the table goes."""

    runs: tuple[str, ...]
    to: str  # "": nowhere


class _Kind(NamedTuple):
    """The kind of a sweep: those of one kind are compared value by value."""

    method: str
    keys: tuple[str, ...]


def parse(argv: Sequence[str]) -> Words:
    """The words of the command line. Raises ConfigError."""
    to = "".join(word.removeprefix("to=") for word in argv if word.startswith("to="))
    runs = [word for word in argv if not word.startswith("to=")]
    if not runs or any("=" in word for word in runs):
        raise ConfigError("give the folders of sweeps: compare results/RUN1 results/RUN2 ...")
    names = [command.expanded("results", word).rstrip("/") for word in runs]
    return Words(tuple(dict.fromkeys(names)), to and command.expanded("to", to))


def run(words: Words) -> int:
    """Show the table and write it, with the figure; the exit code."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    read = {name: run_tables.read(name) for name in words.runs}
    for name, found in read.items():
        if not (found.metrics["stage"] == "sweep").any():
            raise report.NoTrials(
                f"{name} holds no sweep: give the folder of a run of harness.sweep"
            )
    kinds = _kinds(read)
    sweeps: dict[_Kind, list[sweep_tables.Sweep]] = {}
    hard = sweep_tables.hard_pairs(read.values())
    for name, found in read.items():
        values = sweep_tables.tried_values(found)
        on_hard = [one for _, one in sweep_tables.tried_values(found, hard)] if hard else []
        one = sweep_tables.Sweep(os.path.basename(name), sampler(name), values, on_hard)
        sweeps.setdefault(kinds[name], []).append(one)
    named = {f"{kind.method}: {', '.join(kind.keys)}": own for kind, own in sweeps.items()}
    tables.publish(words.to, [sweep_tables.needed_table(named, hard)])
    if words.to:
        tables.write_figure(words.to, "hyperparameters", figures.of_sweeps(words.runs))
    return command.OK


def sampler(folder: str) -> str:
    """The sampler of the sweep in a run's folder; "" where no study says it."""
    file = os.path.join(folder, search.STUDY_FILE)
    if not os.path.exists(file):
        return ""
    try:
        study = optuna.load_study(study_name=None, storage=search.database(file))
    except (OptunaError, SQLAlchemyError, KeyError):
        return ""
    return study.user_attrs.get(search.SAMPLER, "tpe")  # older studies do not say it


def _kinds(read: dict[str, run_tables.Tables]) -> dict[str, _Kind]:
    """The kind of each run's sweep. Raises ConfigError where it sweeps several things, or where two
    runs are of different tasks or pairs.
    """
    kinds: dict[str, _Kind] = {}
    seen: dict[tuple[str, ...], str] = {}
    for name, found in read.items():
        swept = found.metrics[found.metrics["stage"] == "sweep"]
        trials = found.trial[found.trial["config_hash"].isin(swept["config_hash"])]
        keys = tuple(sorted(swept["name"].unique()))
        known = trials[[*_SAME, "method"]].drop_duplicates()
        for *same, method in known.itertuples(index=False, name=None):
            seen.setdefault(tuple(same), name)
            kinds[name] = _Kind(method, keys)
    if len(seen) > 1:
        (first, *_), (second, *_) = list(seen.items())[:2]
        words = [f"{a} and {b}" for a, b in zip(first, second, strict=True) if a != b]
        raise ConfigError(
            f"{' and '.join(dict.fromkeys(list(seen.values())[:2]))} differ in {'; '.join(words)}: "
            "compare sweeps of one task, scale and protocol"
        )
    return kinds
