"""Shared by the figures of values that a suite or a sweep has varied: how successful each value is,
the controls beside, and a panel of lines.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import pandas as pd

from harness.report import load, success_rates
from harness.report.figures import style

PLANNERS, HORIZONS, BLAME = "planners", "horizons", "blame"
TRAINING_TIME, ABLATION = "training_time", "ablation"
# beginnings of suites that have a figure each
_OWN = (PLANNERS, HORIZONS, BLAME, TRAINING_TIME, ABLATION)
_SAME = ["task", "scale", "protocol", "split"]


def points(run: load.RunTables, estimates: pd.DataFrame) -> pd.DataFrame:
    """Tidy: one row per cell that has a varied key, per key and split, in table order.

    Columns: cell, those of the cells, split, name (the key), value and word (its value; a word
    where it is no number), alone (no other key was varied), suite, mean, low, high (in
    percent), and those of success_rates.with_hardest.
    """
    varied = load.sweep_values(run.metrics)
    found = success_rates.beside_cells(run, estimates)
    found = success_rates.with_hardest(run, estimates, found).merge(varied, on="cell")
    found = found.sort_values("name", kind="stable", ignore_index=True)
    found["alone"] = found["cell"].map(varied.groupby("cell").size()) == 1
    suites = run.trials.groupby("cell")["suite"].first()
    found["suite"] = found["cell"].map(suites).astype(str)  # also where there are none
    return found


def of_suite(found: pd.DataFrame, suite: str) -> pd.DataFrame:
    """The points of the suites whose name begins like this, each of one varied key."""
    return found[found["suite"].str.startswith(suite) & found["alone"]].reset_index(drop=True)


def of_sweeps(found: pd.DataFrame) -> pd.DataFrame:
    """The points of which no suite has a figure of its own."""
    return found[~found["suite"].str.startswith(_OWN)].reset_index(drop=True)


def shares(run: load.RunTables) -> pd.Series:
    """cell -> the share of its training after which it was evaluated, of suite=training_time."""
    trials = run.trials[run.trials["suite"] == TRAINING_TIME]
    known = load.sweep_values(run.metrics[run.metrics["cell"].isin(trials["cell"])])
    known = known.merge(run.cells[["task", "method"]], left_on="cell", right_index=True)
    whole = known.groupby(["task", "method"])["value"].transform("max")
    by_cell = dict(list(trials.groupby("cell")))
    found = {
        cell: load.setting(by_cell[cell], "weights.share") or value / of
        for cell, value, of in zip(known["cell"], known["value"], whole, strict=True)
    }
    return pd.Series(found, dtype=float)


def by_task(
    run: load.RunTables, name: str, found: pd.DataFrame
) -> Iterator[tuple[str, pd.DataFrame, str]]:
    """Yield for each task the name of its figure, the points of its first scale, protocol and
    split, with the column task_label, and the start of the caption.
    """
    for task, rows in found.groupby("task", sort=False):
        first = (rows[_SAME] == rows[_SAME].iloc[0]).all(axis=1)
        rows = rows[first].assign(task_label=run.task_label(task)).reset_index(drop=True)
        footer = style.run_footer(run, rows).removesuffix(".")
        yield f"{name}_{task}", rows, f"{run.task_label(task)}. {footer}, {rows['split'][0]} split."


def figures(
    run: load.RunTables,
    estimates: pd.DataFrame,
    name: str,
    found: pd.DataFrame,
    draw: Callable[[load.RunTables, pd.DataFrame, pd.DataFrame], style.Figure],
    caption: Callable[[load.RunTables, pd.DataFrame], str],
) -> dict[str, style.Drawn]:
    """name of `by_task` -> the figure that `draw` makes of its points and the controls beside them
    (`controls`), whose caption ends with that of `caption` and what marks of labels mean.
    """
    lines = controls(run, estimates)
    drawn = {}
    for of_task, rows, about in by_task(run, name, found):
        words = f"{about} {caption(run, rows)}{style.notes(run, rows['label'])}"
        drawn[of_task] = style.Drawn(draw(run, rows, beside(lines, rows)), words)
    return drawn


def success_axes(axes: list[style.Axes], words: str = "success, %") -> None:
    """Panels side by side have success on one axis, at the first of them."""
    axes[0].set_ylabel(words)
    for ax in axes[1:]:
        ax.tick_params(axis="y", labelleft=False)


def by_method(run: load.RunTables, found: pd.DataFrame) -> pd.Series:
    """The labels of methods, with the mark of a note, whatever was varied."""
    note = (" (" + found["note"] + ")").where(found["note"] != "", "")
    return style.marked(run, found["method"].map(run.method_label) + note)


def controls(run: load.RunTables, estimates: pd.DataFrame) -> pd.DataFrame:
    """The lines of style.LINES, in percent: columns task, SECTION, split, kind, mean, hard_mean."""
    rates = success_rates.beside_cells(run, estimates)
    rates = success_rates.with_hardest(run, estimates, rates)
    rates = rates.assign(kind=style.kinds(run, rates))
    return rates[rates["kind"].isin(list(style.LINES)) & (rates["variant"] == "")]


def beside(lines: pd.DataFrame, rows: pd.DataFrame) -> pd.DataFrame:
    """The controls on the pairs of `rows`, one of each kind: a planner or a training that varies
    changes the protocol's hash, or the trial's, and no pair.
    """
    known = rows[_SAME].drop_duplicates()
    return lines.merge(known, on=_SAME).drop_duplicates(["task", "kind"])


def spans_decades(values: pd.Series) -> bool:
    """Whether an axis of these values is logarithmic: where they span a factor of ten or, as
    weights and rates, which are no whole numbers and are tried by their order of magnitude, of
    three.
    """
    positive = values[values > 0]
    is_weight = (values > 0).all() and (values % 1 != 0).any()
    least = 3.0 if is_weight else 10.0
    return len(positive) > 0 and values.min() >= 0 and values.max() >= least * positive.min()


def draw_controls(ax: style.Axes, lines: pd.DataFrame, of: str = "") -> None:
    """A line across the panel for each control."""
    for kind, rate in zip(lines["kind"], lines[f"{of}mean"], strict=True):
        ax.axhline(rate, **style.LINES[kind], zorder=1)


def kinds_of_pairs(rows: pd.DataFrame) -> dict[str, str]:
    """The kinds of pairs that a task's panels show, all and, where there are any, the hard ones:
    the beginning of the columns' names, and what the axis says.
    """
    hard = rows["hard"].max()
    return {"": "success, %"} | ({"hard_": f"on {hard} pairs, %"} if hard else {})


def hard_words(rows: pd.DataFrame) -> str:
    """The sentence of a caption about the hard pairs."""
    names = ", ".join(name for name in rows["hard"].unique() if name)
    return f" Hard pairs: {names}, {success_rates.HARD}." if names else ""


def control_handles(kinds: Iterable[str]) -> list:
    """Legend entries of these kinds of controls."""
    known = set(kinds)
    return [style.entry(kind, **look) for kind, look in style.LINES.items() if kind in known]


def draw_lines(
    ax: style.Axes,
    rows: pd.DataFrame,
    x: str,
    looks: dict[str, style.Look],
    is_log: bool = True,
    of: str = "",
) -> None:
    """Success with its interval over x: a line and a marker for each label; `of`: of which pairs,
    a key of kinds_of_pairs.
    """
    import seaborn.objects as so

    rows = rows.dropna(subset=[x, f"{of}mean"])
    own = {name: look for name, look in looks.items() if name in set(rows["label"])}
    plot = style.plot(rows, x=x, y=f"{of}mean", ymin=f"{of}low", ymax=f"{of}high", color="label")
    plot = plot.add(so.Range(linewidth=1.2, alpha=0.45), orient="x", legend=False)
    line = so.Line(linewidth=1.4, pointsize=5)
    plot = plot.add(line, so.Agg(), marker="label", linestyle="label", orient="x", legend=False)
    axis = {"x": "log"} if is_log else {}
    plot.scale(**axis, **style.scales(own)).label(x="", y="").on(ax).plot()
    ax.set_ylim(-3, 103)
    ax.margins(x=0.08)
    if is_log:
        style.name_ticks(ax.xaxis)
