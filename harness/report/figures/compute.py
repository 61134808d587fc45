"""The figure of success at equal compute: one line a method over the operations of a plan."""

from __future__ import annotations

import pandas as pd

from harness.report import load, success_rates
from harness.report.figures import style, varied
from harness.report.format import metric

_MOST_PANELS = 4
_OF_A_PLAN = ("planner.", "mpc.")  # keys of a sweep that change what a plan costs
_CAPTION = (
    "Success on {split} pairs with 95 % intervals over the operations of one plan of one pair "
    "(matrix products, attention and convolutions, 2 for each multiply-add): the same weights "
    "with other settings of the protocols' planner, CEM."
)
_ONE = " A method whose planner has one setting is one point."
_PLANNER = "cem"  # that of every protocol, and of rows that do not say theirs


def figure(run: load.RunTables, estimates: pd.DataFrame) -> style.Drawn | None:
    """None where no method planned with two different numbers of operations on a task."""
    points = data(run, estimates)
    if points.empty:
        return None
    drawn = draw(points, style.looks(run, points))
    words = f"{drawn.caption}{style.notes(run, points['label'])}"
    return drawn._replace(caption=f"{style.run_footer(run, points)} {words}")


def data(run: load.RunTables, estimates: pd.DataFrame) -> pd.DataFrame:
    """Tidy: one row per cell whose plan has known operations, of those tasks where a method has two
    numbers of them; columns those of the cells, title, split, label, gflop, mean, low, high (in
    percent).

    Of a task the first protocol and split; the settings of the planner, which are part of a
    protocol's hash, may differ. Cells of other sweeps are left out.
    """
    swept = load.sweep_values(run.metrics)
    others = swept.loc[~swept["name"].str.startswith(_OF_A_PLAN), "cell"]
    points = success_rates.beside_cells(run, estimates[~estimates["cell"].isin(others)])
    points = points[points["cell"].isin(swept["cell"]) | (points["variant"] == "")]
    points["gflop"] = points["cell"].map(flops(run)) / 1e9
    points = points[points["gflop"] > 0]
    names = {cell: load.setting(own, "planner_name") for cell, own in run.trials.groupby("cell")}
    points = points[points["cell"].map(names).fillna(_PLANNER).eq(_PLANNER)]
    base = points["protocol"].str.removesuffix(" modified")
    points["section"] = list(zip(points["split"], points["scale"], base, strict=True))
    several = points.groupby(["task", "section", "method"])["gflop"].transform("nunique") > 1
    first = points[several].groupby("task")["section"].first()
    points = points[points["section"] == points["task"].map(first)]
    points["title"] = points["task"].map(run.task_label)
    points["label"] = varied.by_method(run, points)
    return points.reset_index(drop=True)


def flops(run: load.RunTables) -> pd.Series:
    """cell -> operations of a plan, NaN where they were not counted."""
    value = metric("plan_time", "flops")
    timed = run.metrics[run.metrics["stage"] == "plan_time"].groupby("cell")
    return pd.Series({cell: value(run.trials, rows) for cell, rows in timed}, dtype=float)


def draw(points: pd.DataFrame, looks: dict[str, style.Look]) -> style.Drawn:
    """A panel per task, with a line per method and its marker at each setting."""
    tasks = list(points["task"].unique())[:_MOST_PANELS]
    width = style.COLUMN_IN if len(tasks) == 1 else style.WIDTH_IN
    figure, (axes,) = style.figure(1, len(tasks), 2.9, width)
    for task, ax in zip(tasks, axes, strict=True):
        rows = points[points["task"] == task]
        varied.draw_lines(ax, rows, "gflop", looks)
        ax.set_title(rows["title"].iloc[0], fontweight="bold")
        ax.set_xlabel("GFLOP of one plan")
    varied.success_axes(axes)
    for ax in axes[1:]:
        ax.tick_params(axis="y", length=0)
    known = set(points.loc[points["task"].isin(tasks), "label"])
    shown = {name: look for name, look in looks.items() if name in known}
    style.legend(figure, style.method_handles(shown))
    splits = " or ".join(points["split"].unique())
    is_one = bool(points.groupby(["task", "label"])["gflop"].nunique().eq(1).any())
    return style.Drawn(figure, _CAPTION.format(split=splits) + _ONE * is_one)
