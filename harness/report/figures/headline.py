"""The headline figure: success of every method on every task, in one row of panels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from harness.report import load, published, success_rates
from harness.report.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDTH_IN = 8.0
_CAPTION = (
    "Success of every method on the test pairs of each task: mean over training seeds with its "
    "95 % interval; the random policy, the heuristic and the ceiling as lines."
)
_LINES = {success_rates.FLOOR: ("#b03030", "--"), "heuristic": (style.FAINT, ":")}


def headline_data(run: load.RunTables, estimates: pd.DataFrame) -> pd.DataFrame:
    """Tidy: one row per task and method in percent; columns task, method, task_label, label, mean,
    low, high, published (NaN where there is none).

    Of each task the first protocol, of each method the first setting without a variant, on all
    test pairs; trials of a sweep are left out.
    """
    rates = estimates[estimates["subset"] == success_rates.ALL]
    rates = rates[
        (rates["split"] == "test") & ~rates["cell"].isin(load.sweep_values(run.metrics)["cell"])
    ]
    cells = run.cells.loc[run.cells.index.isin(rates["cell"]) & (run.cells["variant"] == "")]
    protocols = cells.groupby("task")["protocol_hash"].transform("first")
    cells = cells[cells["protocol_hash"] == protocols].drop_duplicates(["task", "method"])
    tidy = cells[["task", "method"]].merge(rates, left_index=True, right_on="cell")
    tidy[["mean", "low", "high"]] *= 100
    papers = [published.success(run.cells.loc[cell]) for cell in tidy["cell"]]
    tidy["published"] = [paper.value if paper else np.nan for paper in papers]
    tidy["task_label"] = tidy["task"].map(run.task_label)
    notes = tidy["cell"].map(run.cells["note"])  # "MAE encoder": a published number had another one
    tidy["label"] = [
        f"{run.method_label(method)} ({note})" if note else run.method_label(method)
        for method, note in zip(tidy["method"], notes, strict=True)
    ]
    columns = ["task", "method", "task_label", "label", "mean", "low", "high", "published", "cell"]
    return tidy[columns].reset_index(drop=True)


def headline_figure(run: load.RunTables, estimates: pd.DataFrame) -> style.Drawn | None:
    """A panel per task: a dot per trained method with its 95 % interval; random, heuristic and the
    ceiling as lines, published numbers as diamonds. None where no trained method was evaluated.
    """
    tidy = headline_data(run, estimates)
    ceilings = run.of_role("ceiling")
    trained = tidy[~tidy["method"].map(run.methods["is_control"]).astype(bool)]
    trained = trained[~trained["method"].isin(ceilings)]
    if trained.empty:
        return None
    methods = trained[["method", "label"]].drop_duplicates()
    methods = methods.sort_values("method", key=lambda names: names.map(run.methods["rank"]))
    shades = {row.label: style.colour(run, row.method) for row in methods.itertuples()}
    tasks = list(dict.fromkeys(trained["task"]))
    height = 0.75 + 0.2 * max(4, len(shades))
    figure, axes = style.figure(1, len(tasks), height, width_in=_WIDTH_IN)
    for task, ax in zip(tasks, axes[0], strict=True):
        rows = trained[trained["task"] == task]
        _panel(ax, rows, shades)
        _lines(ax, tidy[tidy["task"] == task], ceilings)
        ax.set_title(run.task_label(task), fontweight="bold")
        names = [label if ax is axes[0][0] else "" for label in shades]
        ax.set_yticks(range(len(shades)), names)
    axes[0][0].set_xlabel("success, %", loc="left", fontsize=8)
    handles = _handles(run, tidy)
    figure.legend(handles=handles, loc="outside lower right", ncols=len(handles), fontsize=8)
    return style.Drawn(figure, f"{style.run_footer(run, tidy)} {_CAPTION}")


def _panel(ax: Axes, rows: pd.DataFrame, shades: dict[str, str]) -> None:
    """Intervals, means and published numbers, a line a method from top to bottom."""
    import seaborn as sns

    known = {"order": list(shades), "hue_order": list(shades), "palette": shades}
    by = {"y": "label", "hue": "label", "legend": False, "ax": ax, **known}
    ends = rows.melt(["label"], ["low", "high"], value_name="rate")
    bar = {"lw": 3.5, "alpha": 0.45, "solid_capstyle": "butt"}
    whole = {"estimator": "median", "errorbar": ("pi", 100)}  # from low to high
    sns.pointplot(ends, x="rate", **by, **whole, linestyle="none", markers="", err_kws=bar)
    dots = {"jitter": False, "clip_on": False}
    sns.stripplot(rows, x="mean", **by, **dots, size=6, zorder=4)
    if rows["published"].notna().any():
        diamonds = {"marker": "D", "size": 5, "edgecolor": style.INK, "linewidth": 1}
        by |= {"palette": dict.fromkeys(shades, "none")}
        sns.stripplot(rows, x="published", **by, **dots, **diamonds, zorder=5)
    ax.set(
        xlim=(-2, 102), xticks=[0, 50, 100], xlabel="", ylabel="", ylim=(len(shades) - 0.5, -0.5)
    )
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="y", visible=True)


def _lines(ax: Axes, rows: pd.DataFrame, ceilings: list[str]) -> None:
    """Trivial controls and the ceiling."""
    for method, (shade, line) in _LINES.items():
        for rate in rows.loc[rows["method"] == method, "mean"]:
            ax.axvline(rate, color=shade, ls=line, lw=1.3, zorder=1.5)
    for rate in rows.loc[rows["method"].isin(ceilings[:1]), "mean"]:
        ax.axvline(rate, **style.CEILING, zorder=1.5)


def _handles(run: load.RunTables, tidy: pd.DataFrame) -> list:
    from matplotlib.lines import Line2D

    dot = {"color": style.CONTROL, "marker": "o", "mfc": style.INK, "mec": style.INK}
    handles = [Line2D([], [], **dot, ms=5, lw=3.5, label="mean and 95 % interval")]
    handles += [
        Line2D([], [], color=shade, ls=line, lw=1.3, label=run.method_label(method).lower())
        for method, (shade, line) in _LINES.items()
        if method in set(tidy["method"])
    ]
    handles += [
        style.ceiling_handle(run, method)
        for method in run.of_role("ceiling")[:1]
        if method in set(tidy["method"])
    ]
    if tidy["published"].notna().any():
        handles.append(style.published_handle())
    return handles
