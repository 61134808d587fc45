"""Compares sweeps of the same keys by how many values each sampler needed to find the plateau.

  python -m harness.sweep compare results/RUN1 results/RUN2 ...

Each folder is the run of one sweep. The table is shown; with to=FOLDER it is also written there,
as Markdown, CSV and LaTeX.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

import optuna
from optuna.exceptions import OptunaError
from sqlalchemy.exc import SQLAlchemyError

from harness import report
from harness.records import rows
from harness.report.tables import sweep as sweep_tables
from harness.runtime import command
from harness.runtime.command import ConfigError
from harness.sweep import search, tables

_SAME = ("task", "method", "scale", "protocol")  # what sweeps that are compared have in common


class Words(NamedTuple):
    """What is compared, and where the table goes."""

    runs: tuple[str, ...]
    to: str  # "": nowhere


def parse(argv: Sequence[str]) -> Words:
    """The words of the command line. Raises ConfigError."""
    to = "".join(word.removeprefix("to=") for word in argv if word.startswith("to="))
    runs = [word for word in argv if not word.startswith("to=")]
    if not runs or any("=" in word for word in runs):
        raise ConfigError("give the folders of sweeps: compare results/RUN1 results/RUN2 ...")
    names = [command.expanded("results", word).rstrip("/") for word in runs]
    return Words(tuple(dict.fromkeys(names)), to and command.expanded("to", to))


def run(words: Words) -> int:
    """Show the table and write it; the exit code."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    read = {name: rows.read(name) for name in words.runs}
    for name, found in read.items():
        if not (found.metrics["stage"] == "sweep").any():
            raise report.NoTrials(
                f"{name} holds no sweep: give the folder of a run of harness.sweep"
            )
    _check_same(read)
    sweeps = [
        sweep_tables.Sweep(os.path.basename(name), sampler(name), sweep_tables.tried_values(found))
        for name, found in read.items()
    ]
    tables.publish(words.to, [sweep_tables.needed_table(sweeps)])
    return command.OK


def sampler(folder: str) -> str:
    """The sampler of the sweep in a run's folder; where no study says it, a question mark."""
    file = os.path.join(folder, search.STUDY_FILE)
    if not os.path.exists(file):
        return "?"
    try:
        study = optuna.load_study(study_name=None, storage=search.database(file))
    except (OptunaError, SQLAlchemyError, KeyError):
        return "?"
    return study.user_attrs.get(search.SAMPLER, "tpe")  # older studies do not say it


def _check_same(read: dict[str, rows.Tables]) -> None:
    """Raises ConfigError where the sweeps are of different keys, tasks, methods or pairs."""
    seen: dict[tuple, str] = {}
    for name, found in read.items():
        swept = found.metrics[found.metrics["stage"] == "sweep"]
        trials = found.trial[found.trial["config_hash"].isin(swept["config_hash"])]
        keys = ", ".join(sorted(swept["name"].unique()))
        for known in trials[list(_SAME)].drop_duplicates().itertuples(index=False, name=None):
            seen.setdefault((keys, *known), name)
    if len(seen) > 1:
        (first, *_), (second, *_) = list(seen.items())[:2]
        words = [f"{a} and {b}" for a, b in zip(first, second, strict=True) if a != b]
        raise ConfigError(
            f"{' and '.join(dict.fromkeys(list(seen.values())[:2]))} differ in {'; '.join(words)}: "
            "compare sweeps of the same keys, task, method, scale and protocol"
        )
