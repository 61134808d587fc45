"""Runs whose page is read and opened."""

from __future__ import annotations

import numpy as np
import pytest
from planned_run import HOSTILE, planned
from synthetic_run import SyntheticRun, film, full_run, outcome

from harness import report
from harness.records import plan


@pytest.fixture(scope="session")
def reported(tmp_path_factory):
    """Two tasks with strata, curves and episodes, one failure, and a plan of which one trial runs
    and one waits.
    """
    run = SyntheticRun(tmp_path_factory.mktemp("page") / "synthetic")
    full_run(run, ["two_room", "push_t"], ["lewm", "dino_wm", "heuristic", "random"], seeds=1)
    for task in ("two_room", "push_t"):
        for method, steps, success in (("lewm", 14, True), ("heuristic", 50, False)):
            seed, at = 7, {"frames": film(steps, success), "setting_hash": "filmed"}
            run.trial(task, method, seed, outcome(20), **at)
    error = 'Traceback\n  File "x"\nOSError: <i>no disk</i>'
    run.trial(method="gcbc", seed=0, status="error", error=error, method_label=HOSTILE, ended=200.0)
    trials = [planned("lewm", 0), planned("pldm", 0), planned("pldm", 1, estimate_s=7200.0)]
    trials += [planned("gcbc", 0)]
    settings = {"protocol.pairs": {"two_room": "100", "push_t": "50"}}
    plan.write(str(run.folder), plan.Plan(trials, {"clear-strict": settings}))
    with plan.marked(str(run.folder / "trials" / trials[1].folder), lambda *_: None) as progress:
        progress("train", 350, 700)
        report.write(run.folder)
    return run


@pytest.fixture
def success():
    """Ten pairs, all solved."""
    return np.ones(10)
