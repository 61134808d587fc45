"""The figure of plans: the cost that a model predicts for its first plans, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from harness.records import rows as record
from harness.report import load
from harness.report.figures import style
from harness.report.tables import plans

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LOW, _HIGH = 1e-3, 1e2  # shares beyond these stand at the edge
_SHADES = dict(zip(record.PLAN_OUTCOMES, ("#2a8a3e", "#E69F00", "#AA4499", "#0072B2"), strict=True))
_WORDS = {
    "solved": "solved",
    "search": "lost by the search",
    "model": "lost by the model",
    "cost": "lost by the cost",
}
_FOOTER = (
    "A dot a pair: the cost of its first plan, predicted by the model and by the encoder after the "
    "plan was executed, as shares of the cost of staying at the start; log axes. On the line the "
    "prediction came true, above it the plan ended further from the goal than predicted. The table "
    "of plans says what a pair is lost by."
)


def plans_data(run: load.RunTables) -> pd.DataFrame:
    """Tidy: one row per first plan with its cell's columns, predicted and executed shares within
    the axes; none where all latents are equal.
    """
    tidy = plans.plan_rows(run)
    if tidy.empty:
        return tidy
    tidy = tidy.merge(run.cells[[*load.GROUP, "label"]], left_on="cell", right_index=True)
    shares = ["predicted_share", "executed_share"]
    tidy[shares] = tidy[shares].clip(_LOW, _HIGH)
    return tidy.dropna(subset=shares)


def plans_figure(run: load.RunTables) -> style.Drawn | None:
    """Small multiples: a row of panels a task, one panel a cell."""
    tidy = plans_data(run)
    if tidy.empty:
        return None
    by_task = dict(list(tidy.groupby("task")))
    order = sorted(by_task, key=run.tasks["rank"].get)
    cells = {
        task: [c for c in run.cells.index if c in set(by_task[task]["cell"])] for task in order
    }
    columns = max(3, *(len(own) for own in cells.values()))
    figure, axes = style.figure(len(order), columns, 1.2 + 1.9 * len(order))
    for task, line in zip(order, axes, strict=True):
        for ax, cell in zip(line, cells[task], strict=False):
            own = tidy[tidy["cell"] == cell]
            _panel(ax, own)
            ax.set_title(style.wrap(own["label"].iloc[0], 100 // columns))
        style.hide(line[len(cells[task]) :])
        line[0].set_ylabel(f"{run.task_label(task)}\nexecuted cost")
    style.legend(figure, _handles(tidy))
    return style.Drawn(
        figure, f"{style.where(run, run.cells.loc[sorted(set(tidy['cell']))])}. {_FOOTER}"
    )


def _panel(ax: Axes, own: pd.DataFrame) -> None:
    import seaborn as sns

    ax.plot([_LOW, _HIGH], [_LOW, _HIGH], color=style.CONTROL, lw=1, zorder=1)
    sns.scatterplot(
        own, x="predicted_share", y="executed_share", hue="outcome", palette=_SHADES,
        s=16, alpha=0.85, legend=False, clip_on=False, ax=ax,
    )  # fmt: skip
    ax.set(xscale="log", yscale="log", xlim=(_LOW, _HIGH), ylim=(_LOW, _HIGH), aspect="equal")
    ax.set(xlabel="predicted cost", ylabel="")
    ax.set_xticks([_LOW, 1, _HIGH])
    ax.set_yticks([_LOW, 1, _HIGH])
    ax.minorticks_off()
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter("{x:g}")


def _handles(tidy: pd.DataFrame) -> list:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], marker="o", ms=5, ls="none", color=_SHADES[name], label=_WORDS[name])
        for name in record.PLAN_OUTCOMES
        if (tidy["outcome"] == name).any()
    ]
