"""The folders that the trials of a run read and write."""

from __future__ import annotations

from dataclasses import dataclass

from harness.experiment import identity
from harness.experiment.identity import TrialSpec
from harness.records import rows, storage


@dataclass(frozen=True)
class RunFolders:
    """The folders of a run, and the names of run and suite that its rows carry."""

    folder: str  # results/<run>
    run: str
    suite: str
    datasets: str

    def trial(self, spec: TrialSpec) -> str:
        """The trial's folder; a changed configuration has another one."""
        return storage.join(
            self.folder, "trials", rows.folder_name(spec.key, identity.config_hash(spec))
        )

    def checkpoint(self, spec: TrialSpec) -> str:
        """The folder of the trial's weights."""
        return storage.join(self.trial(spec), "checkpoint")
