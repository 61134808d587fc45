"""The tables of a report, in the order in which the page shows them."""

from __future__ import annotations

import pandas as pd

from harness.report import format, load
from harness.report.tables import efficiency, geometry, open_loop, probing, stability, success


def of(run: load.RunTables, outcomes: dict, estimates: pd.DataFrame) -> list[format.Table]:
    """All tables of a run."""
    return [
        success.success_table(run, outcomes, estimates),
        efficiency.efficiency_table(run),
        stability.stability_table(run),
        probing.probing_table(run),
        open_loop.open_loop_table(run),
        geometry.geometry_table(run),
    ]
