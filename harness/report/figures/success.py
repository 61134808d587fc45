"""The success figure: every method on every task in one row of panels, its strata below."""

from __future__ import annotations

from collections.abc import Collection

import pandas as pd

from harness.report import format, load, published, success_rates
from harness.report.figures import style

_WIDTHS_IN = (style.COLUMN_IN, 5.0, 5.4, 5.8)  # of as many panels; readable in one column, too
_TITLES = (50, 26, 20, 16)  # characters on a line of a title
_MOST_LINES = 30  # that a panel holds; of more methods the first
_MOST_STRATA = 3  # of a task, the largest
_MOST_PANELS = 4
_STRATA = "os^"


def figures(run: load.RunTables, estimates: pd.DataFrame) -> dict[str, style.Drawn]:
    """ "success", and "success_2" and on where tasks were evaluated under further protocols or on
    further splits, or are more than a row holds. No task is drawn whose methods stand elsewhere,
    in the figure of a suite or of a sweep: controls alone would show nothing.
    """
    drawn: dict[str, style.Drawn] = {}
    tidy = data(run, estimates)
    cells = run.cells[run.cells["method"].isin(run.of_role("method"))]
    has_method = tidy["kind"].eq("method").groupby([tidy["task"], tidy["place"]]).transform("any")
    shown = tidy[has_method | ~tidy["task"].isin(cells["task"])]
    nth = shown.groupby("place")["task"].transform(lambda own: pd.factorize(own)[0])
    for _, rows in shown.groupby(["place", nth // _MOST_PANELS]):
        name = f"success_{len(drawn) + 1}" if drawn else "success"
        figure, words = draw(rows, style.looks(run, rows))
        words += style.notes(run, rows["label"])
        drawn[name] = style.Drawn(figure, f"{style.run_footer(run, rows)} {words}")
    return drawn


def data(run: load.RunTables, estimates: pd.DataFrame) -> pd.DataFrame:
    """Tidy: one row per cell and subset of its pairs, in percent, without the trials of a sweep and
    without the subset of pairs that are not solved at the start.

    Columns: those of the cells, title, split, place (0 for the first protocol and split of a task,
    1 for the next), kind ("method", "random", "heuristic", "control" or of style.CEILINGS), subset,
    pairs, mean, low, high, published (NaN where there is none, or not beside these pairs).
    """
    swept = load.sweep_values(run.metrics)["cell"]
    rates = estimates[estimates["subset"] != success_rates.UNSOLVED]
    rates = rates[~rates["cell"].isin(swept)]
    tidy = success_rates.beside_cells(run, rates, subset="")
    tidy = tidy.sort_values("split", kind="stable", ignore_index=True)
    tidy["kind"] = style.kinds(run, tidy)
    # the papers' number for all test pairs; none that does not hold any more
    beside = (tidy["split"] == "test") & (tidy["subset"] == success_rates.ALL)
    papers = {i: published.success(row) for i, row in tidy[beside].iterrows()}
    known = {i: paper.value for i, paper in papers.items() if paper and not paper.stale}
    tidy["published"] = pd.Series(known, dtype=float).reindex(tidy.index)
    section = tidy.groupby([*load.SECTION, "split"], sort=False).ngroup()
    tidy["place"] = section.groupby(tidy["task"]).transform(lambda own: pd.factorize(own)[0])
    names = tidy["task"].map(run.task_label)
    protocol = ", " + tidy["protocol"] + " " + tidy["protocol_hash"].str[:8]
    split = (", " + tidy["split"]).where(tidy["split"] != "test", "")
    tidy["title"] = names + split + protocol.where(tidy["place"] > 0, "")
    tidy["label"] = style.marked(run, tidy["label"])
    return tidy


def draw(tidy: pd.DataFrame, looks: dict[str, style.Look]) -> style.Drawn:
    """A panel per task: a dot per method with its 95 % interval; random, heuristic and ceilings
    as lines, published numbers as diamonds; below, the strata of each task.

    Where nothing was trained, the controls are dots, and random too if it is alone.
    """
    tasks = list(tidy["task"].unique())
    every = tidy[tidy["subset"] == success_rates.ALL]
    kinds = [{"method"}, {"heuristic", "control"}, {"random"}, set(style.CEILINGS)]
    dots = next(kind for kind in kinds if every["kind"].isin(kind).any())
    names = _of(looks, every[every["kind"].isin(dots)])
    shown = dict(list(names.items())[:_MOST_LINES])
    strata = _strata(tidy, shown)
    below = _of(looks, strata)
    around = 1.55 if below else 0.95  # inches of legends, titles and axes
    lines = min(0.165, (style.HEIGHT_IN - around) / (max(4, len(shown)) + len(below)))
    heights = [lines * max(4, len(shown)), *([lines * len(below)] if below else [])]
    figure, axes = style.figure(
        len(heights), len(tasks), around + sum(heights), _WIDTHS_IN[len(tasks) - 1],
        height_ratios=heights,
    )  # fmt: skip
    small = min(8.5, 60 * lines)
    for i, task in enumerate(tasks):
        own = every[every["task"] == task]
        _panel(axes[0][i], own[own["label"].isin(list(shown))], shown)
        for row in own[~own["kind"].isin(dots)].itertuples():
            if row.kind in style.LINES:
                axes[0][i].axvline(row.mean, **style.LINES[row.kind], zorder=1.5)
        title = style.wrap(own["title"].iloc[0], _TITLES[len(tasks) - 1])
        axes[0][i].set_title(title, fontweight="bold")
        if below:
            _strata_panel(axes[1][i], strata[strata["task"] == task], below)
            axes[0][i].tick_params(axis="x", labelbottom=False)
        for line, labels in zip(axes, (shown, below), strict=False):
            line[i].set_yticks(range(len(labels)), [""] * len(labels) if i else labels)
            line[i].tick_params(axis="y", length=0, labelsize=small)
    axes[-1][0].set_xlabel("success, %", loc="left", fontsize=8)
    style.legend(figure, _handles(every, dots), is_close=True)
    return style.Drawn(figure, _caption(tidy, names, bool(below)))


def _of(looks: dict[str, style.Look], rows: pd.DataFrame) -> dict[str, style.Look]:
    """The looks of the labels of these rows."""
    return {name: look for name, look in looks.items() if name in set(rows["label"])}


def _strata(tidy: pd.DataFrame, shown: Collection[str]) -> pd.DataFrame:
    """The rows of the lower panels; empty where they would not fit below the upper ones."""
    rows = tidy[(tidy["subset"] != success_rates.ALL) & ~tidy["kind"].isin(style.CEILINGS)]
    rows = rows[rows["label"].isin(list(shown)) | rows["kind"].isin(list(style.LINES))]
    sizes = rows.groupby(["task", "subset"], as_index=False)["pairs"].max().sort_values("pairs")
    largest = sizes.groupby("task").tail(_MOST_STRATA)[["task", "subset"]]
    return rows.merge(largest) if len(shown) <= _MOST_LINES / 2 else rows.iloc[:0]


def _panel(ax: style.Axes, rows: pd.DataFrame, looks: dict[str, style.Look]) -> None:
    """Intervals, means and published numbers, a line a method from top to bottom."""
    style.dot_plot(ax, rows, "mean", looks)
    known = rows.dropna(subset="published")
    places = known["label"].map(list(looks).index)
    style.draw_published(ax, known["published"], places)
    ax.set(xlim=(-2, 102), xticks=[0, 50, 100], ylim=(len(looks) - 0.5, -0.5))


def _strata_panel(ax: style.Axes, rows: pd.DataFrame, looks: dict[str, style.Look]) -> None:
    """Success on each stratum, side by side on the line of a method."""
    import seaborn.objects as so

    strata = list(rows["subset"].unique())
    plot = style.plot(
        rows, y="label", x="mean", xmin="low", xmax="high", color="label", marker="subset"
    )
    beside = so.Dodge(by=["marker"])
    plot = plot.add(so.Range(linewidth=0.7), beside, orient="y", legend=False)
    plot = plot.add(so.Dot(pointsize=3, stroke=0.4), beside, orient="y", legend=False)
    marks = so.Nominal(list(_STRATA[: len(strata)]), order=strata)
    lines = so.Nominal(order=list(looks))
    plot = plot.scale(y=lines, color=style.scales(looks)["color"], marker=marks)
    plot.label(x="", y="").on(ax).plot()
    style.free_dots(ax)
    ax.set(xlim=(-2, 102), xticks=[0, 50, 100], ylim=(len(looks) - 0.5, -0.5))
    look = {"color": style.FAINT, "ls": "none", "ms": 4}
    named = zip(strata, _STRATA, strict=False)
    handles = [style.entry(stratum, marker=mark, **look) for stratum, mark in named]
    ax.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(-0.08, 0.98), fontsize=7.5,
        borderpad=0, labelspacing=0.15, handlelength=1, handletextpad=0.4,
    )  # fmt: skip


def _handles(every: pd.DataFrame, dots: set[str]) -> list:
    dot = {"color": style.CONTROL, "marker": "o", "mfc": style.INK, "mec": style.INK}
    handles = [style.entry("mean, 95 % interval", **dot, ms=5, lw=3)]
    for kind, look in style.LINES.items():
        labels = every.loc[every["kind"] == kind, "label"]
        if len(labels) and kind not in dots:
            words = labels.iloc[0].removesuffix(" (ceiling)").lower()
            words = f"ceiling: {words}" if kind in style.CEILINGS else words
            handles.append(style.entry(words, **look))
    if every.loc[every["kind"].isin(dots), "published"].notna().any():
        handles.append(style.published_handle())
    return handles


def _caption(tidy: pd.DataFrame, names: Collection[str], has_strata: bool) -> str:
    words = [f"Dots: means over training seeds with {format.INTERVALS}."]
    if tidy["published"].notna().any():
        words.append("Published numbers were measured under their papers' own protocols.")
    if len(names) > _MOST_LINES:
        words.append(f"Shown are the first {_MOST_LINES} of {len(names)} lines of the table.")
    if has_strata:
        words.append("Below, success on the kinds of pairs (strata) of each task.")
    return " ".join(words)
