"""The table of plans: what loses the pairs that first plans do not solve."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from harness.records import metric_names
from harness.report import format, load, stats

LOST_BY = metric_names.PLAN_OUTCOMES[1:]
RANKS = {"rank_first": "first iteration", "rank_last": "last iteration"}
_CAPTION = (
    "The first plan of each of the protocol's first pairs (not solved at the start), executed to "
    "its end without planning again. Lost: pairs that it does not solve; the share of these that "
    "is lost by the cost (the latent at the plan's end is as near to the goal's as that of a "
    "recorded frame that does solve the pair), else by the model (it predicts a cost as low as "
    "that, or as low as for the recorded actions, which does not come true), else by the search "
    "(the model predicts a lower cost for the recorded actions). Costs: medians over pairs, as a "
    "share of the cost of staying at the start. Rank: Spearman's correlation of predicted and "
    "executed cost over candidates of the search's first and last iteration, replayed in the "
    "simulator: mean over pairs with its 95 % t-interval; 0 where one of both does not vary. "
    "Training seeds together."
)


def plans_table(run: load.RunTables) -> format.Table:
    """One row per cell: pairs, what loses them, costs, rank correlations."""
    plans = plan_rows(run)
    by_cell = plans.groupby("cell") if len(plans) else ()
    raw = format.of_cells(run, [_row(cell, own) for cell, own in by_cell])
    sections = [
        format.section(run, format.tasks(run, rows), rows, _CAPTION, _frame(run, rows))
        for _, _, rows in format.by_section(raw)
    ]
    return format.Table("plans", "Why plans fail", raw, sections)


def plan_rows(run: load.RunTables) -> pd.DataFrame:
    """One row per first plan: cell, seed, pair, a column for each metric of stage "plans", and
    `outcome` in words; costs also as shares of the start's, `predicted_share` and so on, NaN where
    that is zero.
    """
    metrics = run.metrics[run.metrics["stage"] == "plans"]
    if metrics.empty:
        return pd.DataFrame()
    by = ["cell", "seed", "index"]
    wide = metrics.pivot_table("value", by, "name").reset_index().rename(columns={"index": "pair"})
    wide["outcome"] = [metric_names.PLAN_OUTCOMES[int(place)] for place in wide["outcome"]]
    for name in ("predicted", "executed", "recorded", "tolerance"):
        wide[f"{name}_share"] = wide[name] / wide["start"].where(wide["start"] > 0)
    for name in RANKS:
        if name not in wide:
            wide[name] = np.nan
    return wide


def _row(cell: int, plans: pd.DataFrame) -> dict[str, Any]:
    row = {"cell": cell, "pairs": len(plans), "seeds": plans["seed"].nunique()}
    row["lost"] = int((plans["outcome"] != "solved").sum())
    row |= {f"lost_by_{cause}": int((plans["outcome"] == cause).sum()) for cause in LOST_BY}
    for name in ("predicted", "executed", "recorded", "tolerance"):
        row[f"{name}_share_median"] = plans[f"{name}_share"].median()
    for name in RANKS:
        known = plans.dropna(subset=name).groupby("pair")[name].mean()
        mean, low, high = stats.mean_interval(known.to_numpy(), least=-1.0, most=1.0)
        row |= {name: mean, f"{name}_low": low, f"{name}_high": high}
    return row


def _frame(run: load.RunTables, rows: pd.DataFrame) -> pd.DataFrame:
    frame = format.method_columns(run, rows)
    frame["Plans"] = rows["pairs"].map(format.whole)
    frame["Lost"] = rows["lost"].map(format.whole)
    for cause in LOST_BY:
        share = 100 * rows[f"lost_by_{cause}"] / rows["lost"].where(rows["lost"] > 0)
        frame[f"by {cause}, %"] = share.map(format.whole)
    for name in ("predicted", "executed", "recorded"):
        frame[f"Cost {name}"] = rows[f"{name}_share_median"].map(format.short)
    for name, words in RANKS.items():
        ends = (name, f"{name}_low", f"{name}_high")
        frame[f"Rank, {words}"] = format.with_interval(rows, *ends, format.two)
    return frame
