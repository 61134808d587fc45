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
    of_suites = [evaluations.evaluations_table(run, estimates)]
    rates = [success.success_table(run, outcomes, estimates)]
    rates.append(aggregates.aggregates_table(run, outcomes))
    methods = rates[0].raw.get("method", pd.Series(dtype=object))
    controls_alone = not methods.isin(run.of_role("method")).any()
    leading = of_suites + rates if controls_alone else rates + of_suites
    leading.insert(0, released.released_table(run, estimates))
    return [
        *(table for table in leading if table.sections),
        efficiency.efficiency_table(run),
        stability.stability_table(run),
        probes,
        open_loop.open_loop_table(run),
        geometry.geometry_table(run),
        surprise.surprise_table(run),
        plans.plans_table(run),
        coverage.coverage_table(run, estimates, probes.raw),
    ]
