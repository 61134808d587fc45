"""The figure of plan time against success, one dot a method."""

from __future__ import annotations

import numpy as np
import pandas as pd

from harness.report import format, load, published, success_rates
from harness.report.figures import style, success
from harness.report.tables import efficiency

_MACHINES = "os^vP"
_INFERENCE = "Of a feed-forward policy one inference, which is of one block; a plan is of several."
_BY = ["label", "method", "machine", "timed"]


def figure(run: load.RunTables, estimates: pd.DataFrame) -> style.Drawn | None:
    """None where no plan was timed alone or no pairs were evaluated."""
    times = data(run, estimates)
    if times.empty:
        return None
    drawn = draw(times, style.looks(run, times))
    cells = run.cells[run.cells["method"].isin(times["method"])]
    words = f"{drawn.caption}{style.notes(run, times['label'])}"
    return drawn._replace(caption=f"{style.where(run, cells)}. {words}")


def data(run: load.RunTables, estimates: pd.DataFrame) -> pd.DataFrame:
    """Tidy: one row per method and machine; columns label, method, machine, timed ("plan" or
    "inference"), seconds (geometric mean over tasks of the p50 of one pair alone), mean, low, high
    (of success, in percent, mean over tasks), published_s, published (NaN where one task has
    none), tasks.

    Of the tasks on which most methods were timed: a mean over other tasks would not compare.
    """
    rates = success.data(run, estimates)
    rates = rates[(rates["place"] == 0) & (rates["subset"] == success_rates.ALL)]
    rates = rates[rates["kind"] == "method"]
    times = efficiency.plan_times(run)
    rows = rates.merge(times[times["pairs"] == 1], on="cell")
    if rows.empty:
        return rows
    threads = rows["threads"].map(lambda n: format.counted(n, "thread"))
    rows["machine"] = rows["device"].replace("", "device not recorded") + ", " + threads
    papers = [published.plan_s(run.cells.loc[cell]) for cell in rows["cell"]]
    rows["published_s"] = [paper.value if paper else np.nan for paper in papers]
    methods = rows.groupby("task", sort=False)["label"].agg(set)
    most = max(methods, key=len)
    tasks = methods.index[[most <= known for known in methods]]
    rows = rows[rows["task"].isin(tasks) & rows["label"].isin(most)]
    tidy = rows.groupby(_BY, sort=False).apply(_mean, include_groups=False).reset_index()
    return tidy.assign(tasks=", ".join(map(run.task_label, tasks)))


def _mean(rows: pd.DataFrame) -> pd.Series:
    """A method's row, out of one row a task. The tasks are independent: the squares of the
    distances from a mean to the end of its interval add up (MOVER, Zou and Donner 2008).
    """
    mean, n = rows["mean"].mean(), len(rows)
    below = np.sqrt(((rows["mean"] - rows["low"]) ** 2).sum()) / n
    above = np.sqrt(((rows["high"] - rows["mean"]) ** 2).sum()) / n
    return pd.Series(
        {
            "seconds": np.exp(np.log(rows["p50_s"]).mean()),
            "mean": mean,
            "low": max(0.0, mean - below),
            "high": min(100.0, mean + above),
            "published_s": rows["published_s"].mean(skipna=False),
            "published": rows["published"].mean(skipna=False),
        }
    )


def draw(times: pd.DataFrame, looks: dict[str, style.Look]) -> style.Drawn:
    """One panel: seconds of a plan on a log axis, success, each method's name beside its dot."""
    import seaborn.objects as so

    figure, ((ax,),) = style.figure(1, 1, 3.2, style.COLUMN_IN)
    machines = list(times["machine"].unique())
    marks = so.Nominal(list(_MACHINES[: len(machines)]), order=machines)
    plot = style.plot(
        times, x="seconds", y="mean", ymin="low", ymax="high", color="label", marker="machine"
    )
    plot = plot.add(so.Range(linewidth=1.2, alpha=0.45), orient="x", legend=False)
    plot = plot.add(so.Dot(pointsize=6), legend=False)
    plot = plot.scale(x="log", color=style.scales(looks)["color"], marker=marks)
    plot.label(x="", y="").on(ax).plot()
    known = times.dropna(subset=["published_s", "published"])
    for row in known.itertuples():
        ax.plot(
            [row.seconds, row.published_s], [row.mean, row.published], ls=":", lw=1, marker="D",
            ms=5, mfc="none", markevery=[1], color=looks[row.label].colour,
        )  # fmt: skip
    ax.set_xlim(times["seconds"].min() / 6, 4 * times[["seconds", "published_s"]].max(axis=None))
    low = max(-3, times["low"].min() - 8)
    ax.set_ylim(low, 100 + 0.1 * (100 - low))
    ax.set_yticks([tick for tick in range(0, 101, 10 if low > 50 else 20) if tick > low])
    style.name_ticks(ax.xaxis)
    ax.set_xlabel("seconds of one plan")
    tasks = times["tasks"].iloc[0].split(", ")
    ax.set_ylabel("success, %" + (f", mean of {len(tasks)} tasks" if len(tasks) > 1 else ""))
    if len(tasks) == 1:
        ax.set_title(tasks[0], fontweight="bold")
    dot = {"color": style.FAINT, "ls": "none", "ms": 6}
    marks = zip(machines, _MACHINES, strict=False) if len(machines) > 1 else ()
    handles = [style.entry(machine, marker=mark, **dot) for machine, mark in marks]
    style.legend(figure, handles + [style.published_handle()] * bool(len(known)))
    points = times[["label", "seconds", "mean"]].set_axis(["label", "x", "y"], axis=1)
    others = known[["published_s", "published"]].set_axis(["x", "y"], axis=1).assign(label="")
    style.label_points(ax, pd.concat([points.sort_values("x"), others]))
    return style.Drawn(figure, _caption(times, known))


def _caption(times: pd.DataFrame, known: pd.DataFrame) -> str:
    words = [
        f"Seconds: median wall time of one solve of the planner for one pair alone, from pixels to "
        f"actions, geometric mean over tasks ({'; '.join(times['machine'].unique())}); success: "
        f"mean over {times['tasks'].iloc[0]} with its 95 % interval.",
    ]
    if (times["timed"] == "inference").any():
        words.append(_INFERENCE)
    if len(known):
        words.append("Diamonds: published, on the paper's hardware under its protocol.")
    return " ".join(words)
