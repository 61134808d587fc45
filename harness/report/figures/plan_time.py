"""The figure of plan time, on a log axis."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from harness.report import format, load
from harness.report.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plan_time_figure(run: load.Run, raw: pd.DataFrame) -> Figure | None:
    """p50 (dot) to p95 (line end) of a plan, one pair alone and many together, on a log axis; `raw`
    is the efficiency table's.
    """
    raw = raw[raw["timed"].notna()] if "timed" in raw else raw
    if raw.empty:
        return None
    parts = list(format.by_section(raw, "task"))
    heights = [0.6 + 1.2 * sum(style.bar_heights(rows["label"])) for *_, rows in parts]
    figure, axes = style.figure(len(parts), 1, 1.3 + sum(heights), height_ratios=heights)
    methods = list(run.cells["method"])
    for (section, (task,), rows), (ax,) in zip(parts, axes, strict=True):
        _plan_time_panel(ax, rows, methods)
        ax.set_title(f"{load.task_name(task)}{_where(section, parts)}")
    low = min(ax.get_xlim()[0] for (ax,) in axes)
    high = max(ax.get_xlim()[1] for (ax,) in axes)
    for (ax,) in axes:
        ax.set_xlim(low / 1.3, high * 1.3)
        _name_ticks(ax)
    axes[-1][0].set_xlabel("seconds per plan (log axis)")
    style.legend(figure, _plan_time_handles(raw))
    devices = "; ".join(sorted(set(raw["device"]) - {""}))
    words = (
        f"Device: {devices or 'not recorded'}. Wall time of one solve (of a feed-forward policy "
        "one inference), pixels to actions; of many pairs together: divided by their number."
    )
    style.footer(figure, f"{style.run_footer(run, raw)} {words}")
    return figure


def _plan_time_panel(ax: Axes, rows: pd.DataFrame, methods: list[str]) -> None:
    sizes, tall = _sizes(rows), style.bar_heights(rows["label"])
    places = np.cumsum(tall) - np.array(tall) / 2
    for place, row in zip(places, rows.to_dict("records"), strict=True):
        shade = style.colour(row["method"], row["variant"], methods)
        for i, n in enumerate(sizes):
            p50, p95 = row[f"solve_{n}_p50_s"] / n, row[f"solve_{n}_p95_s"] / n
            if not math.isnan(p50):
                height = place + 0.3 * style.BAR_IN * (i - (len(sizes) - 1) / 2)
                ax.plot([p50, p95], [height] * 2, color=shade, lw=2, solid_capstyle="butt")
                ax.plot(p95, height, "|", color=shade, ms=7, mew=2)
                ax.plot(p50, height, _marker(i), color=shade, ms=6, mec=style.INK, mew=0.5)
        paper = row.get("published_plan_s", math.nan)
        if not math.isnan(paper):
            ax.plot(paper, place, "D", ms=6, mfc="white", mec=style.INK)
    ax.set_xscale("log")
    ax.set_yticks(places, [style.wrap(label) for label in rows["label"]])
    ax.set_ylim(sum(tall), 0)
    ax.tick_params(axis="y", length=0)


def _sizes(rows: pd.DataFrame) -> list[int]:
    return sorted(int(c.split("_")[1]) for c in rows.columns if c.endswith("_p50_s"))


def _marker(i: int) -> str:
    return "os^v"[i % 4]


def _where(section: tuple[str, str, str], parts: list) -> str:
    """Names the protocol in a panel's title when the figure has several."""
    several = len({(known[0], known[1]) for known, _, _ in parts}) > 1
    return f", {section[1]} {section[2][:8]}, {section[0]}" if several else ""


def _plan_time_handles(raw: pd.DataFrame) -> list:
    from matplotlib.lines import Line2D

    words = {n: "one pair per solve" if n == 1 else f"{n} pairs together" for n in _sizes(raw)}
    made = [
        Line2D(
            [], [], color=style.FAINT, marker=_marker(i), ms=6, lw=2, label=f"{word}: p50 to p95"
        )
        for i, word in enumerate(words.values())
    ]
    papers = "published_plan_s" in raw and raw["published_plan_s"].notna().any()
    return [*made, style.published_handle()] if papers else made


def _name_ticks(ax: Axes) -> None:
    """1, 2 and 5 of each decade, as plain numbers; of many decades 1 alone."""
    from matplotlib.ticker import LogLocator

    low, high = ax.get_xlim()
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter("")
