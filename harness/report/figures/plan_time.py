"""The figure of plan time, on a log axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from harness.report import format, load, published
from harness.report.figures import style
from harness.report.tables import efficiency

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_BAR = ["cell", "device", "threads"]


def plan_time_figure(run: load.RunTables) -> style.Drawn | None:
    """p50 (dot) to p95 (line end) of a plan, one pair alone and many together, on a log axis."""
    times = efficiency.plan_times(run)
    if times.empty:
        return None
    times = times.merge(run.cells, left_on="cell", right_index=True)
    times = format.in_order(run, times)
    parts, sizes = list(format.by_section(times, "task")), sorted(times["pairs"].unique())
    bars = [rows.drop_duplicates(_BAR)["label"] for *_, rows in parts]
    heights = [0.6 + 1.2 * sum(style.bar_heights(labels)) for labels in bars]
    figure, axes = style.figure(len(parts), 1, 1.3 + sum(heights), height_ratios=heights)
    for (section, (task,), rows), (ax,) in zip(parts, axes, strict=True):
        _plan_time_panel(ax, run, rows, sizes)
        ax.set_title(f"{run.task_label(task)}{_where(section, parts)}")
    low = min(ax.get_xlim()[0] for (ax,) in axes)
    high = max(ax.get_xlim()[1] for (ax,) in axes)
    for (ax,) in axes:
        ax.set_xlim(low / 1.3, high * 1.3)
        _name_ticks(ax)
    axes[-1][0].set_xlabel("seconds per plan (log axis)")
    style.legend(figure, _plan_time_handles(run, times, sizes))
    devices = "; ".join(sorted(set(times["device"]) - {""}))
    words = (
        f"Device: {devices or 'not recorded'}. Wall time of one solve (of a feed-forward policy "
        "one inference), pixels to actions; of many pairs together: divided by their number."
    )
    return style.Drawn(figure, f"{style.run_footer(run, times)} {words}")


def _plan_time_panel(ax: Axes, run: load.RunTables, rows: pd.DataFrame, sizes: list[int]) -> None:
    bars = list(rows.groupby(_BAR, sort=False))
    labels = pd.Series([bar["label"].iloc[0] for _, bar in bars])
    tall = style.bar_heights(labels)
    places = np.cumsum(tall) - np.array(tall) / 2
    for place, ((cell, *_), bar) in zip(places, bars, strict=True):
        shade = style.colour(run, run.cells.loc[cell, "method"])
        for row in bar.itertuples():
            p50, p95, i = row.p50_s / row.pairs, row.p95_s / row.pairs, sizes.index(row.pairs)
            height = place + 0.3 * style.BAR_IN * (i - (len(sizes) - 1) / 2)
            ax.plot([p50, p95], [height] * 2, color=shade, lw=2, solid_capstyle="butt")
            ax.plot(p95, height, "|", color=shade, ms=7, mew=2)
            ax.plot(p50, height, _marker(i), color=shade, ms=6, mec=style.INK, mew=0.5)
        if paper := published.plan_s(run.cells.loc[cell]):
            ax.plot(paper.value, place, "D", ms=6, mfc="white", mec=style.INK)
    ax.set_xscale("log")
    ax.set_yticks(places, [style.wrap(label) for label in labels])
    ax.set_ylim(sum(tall), 0)
    ax.tick_params(axis="y", length=0)


def _marker(i: int) -> str:
    return "os^v"[i % 4]


def _where(section: tuple[str, str, str], parts: list) -> str:
    """Names the protocol in a panel's title when the figure has several."""
    several = len({(known[0], known[1]) for known, _, _ in parts}) > 1
    return f", {section[1]} {section[2][:8]}, {section[0]}" if several else ""


def _plan_time_handles(run: load.RunTables, times: pd.DataFrame, sizes: list[int]) -> list:
    from matplotlib.lines import Line2D

    handles = []
    for i, n in enumerate(sizes):
        words = "one pair per solve" if n == 1 else f"{n} pairs together"
        look = {"color": style.FAINT, "marker": _marker(i), "ms": 6, "lw": 2}
        handles.append(Line2D([], [], **look, label=f"{words}: p50 to p95"))
    papers = any(published.plan_s(run.cells.loc[cell]) for cell in times["cell"].unique())
    return [*handles, style.published_handle()] if papers else handles


def _name_ticks(ax: Axes) -> None:
    """1, 2 and 5 of each decade, as plain numbers; of many decades 1 alone."""
    from matplotlib.ticker import LogLocator

    low, high = ax.get_xlim()
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter("")
