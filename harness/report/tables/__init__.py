"""The tables of a report, in the order in which the page shows them."""

from __future__ import annotations

import pandas as pd

from harness.report import format, load
from harness.report.tables import (
    aggregates,
    coverage,
    efficiency,
    evaluations,
    geometry,
    open_loop,
    plans,
    probing,
    released,
    stability,
    success,
    surprise,
)


def of(run: load.RunTables, outcomes: dict, estimates: pd.DataFrame) -> list[format.Table]:
    """All tables of a run."""
    probes = probing.probing_table(run)
    return [
        *filter(lambda table: table.sections, [released.released_table(run, estimates)]),
        success.success_table(run, outcomes, estimates),
        *filter(lambda table: table.sections, [aggregates.aggregates_table(run, outcomes)]),
        *filter(lambda table: table.sections, [evaluations.evaluations_table(run, estimates)]),
        efficiency.efficiency_table(run),
        stability.stability_table(run),
        probes,
        open_loop.open_loop_table(run),
        geometry.geometry_table(run),
        surprise.surprise_table(run),
        plans.plans_table(run),
        coverage.coverage_table(run, estimates, probes.raw),
    ]
