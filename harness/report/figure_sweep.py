"""The sweep figure: swept value against success."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from harness.report import canvas, groups, success

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STAR = {"mfc": "#f7d038", "mec": canvas.INK, "zorder": 5, "clip_on": False}


def sweep_figure(run: groups.Run, estimates: pd.DataFrame) -> Figure | None:
    """Swept value against success with 95 % intervals; the best point marked."""
    swept = swept_cells(run).merge(estimates[estimates["subset"] == success.ALL], on="cell")
    if swept.empty:
        return None
    swept = swept.merge(run.cells[groups.GROUP], left_on="cell", right_index=True)
    # a swept protocol key changes the protocol's hash: its points share a panel, on one axis
    of_protocol = swept["name"].str.startswith("protocol.")
    swept["panel_hash"] = swept["protocol_hash"].where(~of_protocol, "")
    keys = ["name", "task", "method", "variant", "scale", "protocol", "panel_hash", "split"]
    parts = list(swept.groupby(keys))
    columns = min(3, len(parts))
    rows = math.ceil(len(parts) / columns)
    figure, axes = canvas.figure(rows, columns, 1.2 + 2.5 * rows)
    flat = [ax for line in axes for ax in line]
    for ax, (key, part) in zip(flat, parts, strict=False):
        name, task, method, variant, *_, split = key
        shade = canvas.colour(method, variant, list(run.cells["method"]))
        _sweep_panel(ax, part.sort_values("value"), shade, chosen=not name.startswith("protocol."))
        ax.set_title(f"{groups.method_name(method, variant)}, {groups.task_name(task)}, {split}")
        ax.set_xlabel(canvas.wrap(name, 34))
        ax.set_ylabel("success %")
    canvas.hide(flat[len(parts) :])
    canvas.legend(figure, _sweep_handles())
    canvas.footer(
        figure, canvas.run_footer(run, swept) + " Whiskers: 95 % intervals (Wilson with one seed)."
    )
    return figure


def swept_cells(run: groups.Run) -> pd.DataFrame:
    """cell, name (config key), value: what the sweep's trials tried."""
    metrics = run.metrics[run.metrics["stage"] == "sweep"]
    return metrics.drop_duplicates(["cell", "name"])[["cell", "name", "value"]]


def _sweep_panel(ax: Axes, part: pd.DataFrame, shade: str, chosen: bool) -> None:
    value, mean = part["value"].to_numpy(), 100 * part["mean"].to_numpy()
    ends = np.maximum([mean - 100 * part["low"], 100 * part["high"] - mean], 0)
    line = "-" if len(np.unique(value)) == len(value) else "none"
    ax.errorbar(value, mean, yerr=ends, fmt="o", ls=line, color=shade, ms=5, capsize=2, lw=1.2)
    if chosen:
        best = int(np.argmax(mean))
        ax.plot(value[best], mean[best], "*", ms=13, **_STAR)
    positive = value[value > 0]
    if len(positive) and value.min() >= 0:
        if value.min() == 0:
            ax.set_xscale("symlog", linthresh=positive.min())
        else:
            ax.set_xscale("log")
    ticks = np.unique(value)
    if len(ticks) <= 7:
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.set_xticks([], minor=True)
    ax.set_ylim(0, 100)


def _sweep_handles() -> list:
    from matplotlib.lines import Line2D

    return [
        Line2D(
            [], [], marker="*", ms=12, ls="none", **_STAR, label="highest success: the value chosen"
        )
    ]
