"""A run as it lies in its folder: every trial's own tables, read without the compacted copy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from harness.experiment import config, identity
from harness.experiment.identity import TrialSpec
from harness.experiment.run_folders import RunFolders
from harness.records import plan, rows, run_tables, storage
from harness.runtime.command import ConfigError


class Trial(NamedTuple):
    """A trial whose tables can be read."""

    name: str  # of its folder, below trials/
    folder: str
    written: rows.Written
    spec: TrialSpec | None  # None where its configuration is of another version of this project
    unreadable: str = ""  # why

    @property
    def row(self) -> rows.TrialRow:
        """The trial's own row."""
        return self.written.trial

    @property
    def known_spec(self) -> TrialSpec:
        """The specification, where its configuration is of this version."""
        assert self.spec is not None, f"{self.name}: {self.unreadable}"
        return self.spec

    @property
    def is_recomputable(self) -> bool:
        """Whether this code makes the same trial of its configuration."""
        return self.spec is not None and identity.config_hash(self.spec) == self.row.config_hash

    @property
    def stages(self) -> list[str]:
        """The names of the stages that it has done."""
        return [stage.partition("@")[0] for stage in rows.stages_of(self.row)]


@dataclass(frozen=True)
class Run:
    """Everything in the folder of a run that can be verified."""

    folder: str  # without / at its end
    datasets: str
    trials: list[Trial]
    tables: run_tables.Tables  # as a report reads them, from the compacted copy where there is one
    unreadable: dict[str, str]  # folder below trials/ -> why it cannot be read
    planned: list[plan.PlannedTrial]

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.folder.rpartition("/")[2]

    @property
    def ok(self) -> list[Trial]:
        """The trials that have ended well."""
        return [trial for trial in self.trials if trial.row.status == "ok"]

    @property
    def folders(self) -> RunFolders:
        """The folders as the trials of the run had them."""
        return RunFolders(self.folder, self.name, "", self.datasets)


def read(folder: str, datasets: str) -> Run:
    """Read a run. Raises OSError where the folder cannot be read or is none of a run."""
    folder = folder.rstrip("/")
    names = run_tables.names(folder)
    planned, tables = plan.read(folder).trials, run_tables.read(folder)
    if not names and not planned:
        raise OSError(f"{folder} holds no trials: give the folder of a run, results/RUN")
    trials, unreadable = [], {}
    reasons = dict(tables.broken) | dict.fromkeys(tables.left_out, run_tables.LEFT_OUT)
    for name in names:
        place = f"{folder}/trials/{name}"
        written = rows.read_back(place)
        if written is None:
            unreadable[name] = reasons.get(name, "it has no trial.parquet, so it was not finished")
        else:
            trials.append(Trial(name, place, written, *_spec(written.trial.config_yaml)))
    return Run(folder, datasets, trials, tables, unreadable, planned)


def _spec(config_yaml: str) -> tuple[TrialSpec | None, str]:
    try:
        return config.from_yaml(config_yaml), ""
    except ConfigError as error:
        return None, storage.one_line(error)
