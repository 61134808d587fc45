"""The success figure: bars per task and stratum; random and the ceiling as lines."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from harness.report import format, load, published, success_rates
from harness.report.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

log = logging.getLogger(__name__)

_FLOOR, _BAND = "#b03030", "#f3d9d9"  # the random policy's mean and its interval
_CEILING_BAND = "#e3e6ee"
_COLUMNS = 4  # panels beside each other: all pairs and up to three strata


class _Panels(NamedTuple):
    """One row of the success figure: a task under one protocol."""

    title: str
    split: str
    cells: pd.DataFrame  # bars, top to bottom
    estimates: pd.DataFrame
    subsets: list[str]
    floor: int | None  # cell of the random policy
    ceiling: int | None

    def paper(self, bar: pd.Series) -> published.Published | None:
        """The papers' number for a bar; as in the table, it is of test pairs."""
        return published.success(bar) if self.split == "test" else None


def success_figure(run: load.RunTables, estimates: pd.DataFrame) -> style.Drawn | None:
    """Bars with 95 % intervals per task and stratum; random and the ceiling on the same pairs are
    lines.
    """
    shown = estimates[~estimates["cell"].isin(load.sweep_values(run.metrics)["cell"])]
    rows = _panel_rows(run, shown)
    if not rows:
        return None
    lines = _flow(rows)
    heights = [
        0.75 + max(sum(style.bar_heights(row.cells["label"])) for row, _ in line) for line in lines
    ]
    columns = max(map(len, lines))
    figure, axes = style.figure(len(lines), columns, 0.9 + sum(heights), height_ratios=heights)
    for line, places in zip(lines, axes, strict=True):
        for (row, subset), ax in zip(line, places, strict=False):
            _success_panel(ax, run, row, subset, columns)
        style.hide(places[len(line) :])
    papers = any(row.paper(bar) for row in rows for _, bar in row.cells.iterrows())
    style.legend(figure, _success_handles(run, rows, papers))
    words = (
        "Bars: means over training seeds; whiskers: 95 % intervals (Wilson, for pairs clustered in "
        "episodes; with several seeds joined with a bootstrap over seeds and episodes)."
    )
    return style.Drawn(figure, f"{style.run_footer(run, shown)} {words}")


def _panel_rows(run: load.RunTables, estimates: pd.DataFrame) -> list[_Panels]:
    if estimates.empty:
        return []
    joined = estimates.merge(run.cells[load.GROUP], left_on="cell", right_index=True)
    place = {cell: i for i, cell in enumerate(run.cells.index)}
    joined = joined.sort_values("cell", key=lambda c: c.map(place), kind="stable")
    parts = list(format.by_section(joined, "task", "split"))
    tasks = [task for _, (task, _), _ in parts]
    rows = []
    for section, (task, split), part in parts:
        cells = run.cells.loc[part["cell"].unique()]
        plain = cells[cells["variant"] == ""]
        random = plain.index[plain["method"] == success_rates.FLOOR]
        ceilings = cells.index[cells["method"].isin(run.of_role("ceiling"))]
        lines = [*random, *ceilings]
        bars = cells.drop(index=lines) if len(cells) > len(lines) else cells
        name = run.task_label(task) + ("" if split == "test" else f", {split}")
        if tasks.count(task) > 1:
            name += f", {section[1]} {section[2][:8]}, {section[0]}"
        ends = [int(found[0]) if len(found) else None for found in (random, ceilings)]
        rows.append(_Panels(name, split, bars, part, _shown_subsets(part), *ends))
    return rows


def _flow(rows: list[_Panels]) -> list[list[tuple[_Panels, str]]]:
    """Panels line by line; a task's panels stay on one line, short tasks share one."""
    wide = max(3, *(len(row.subsets) for row in rows)) if len(rows) > 1 else len(rows[0].subsets)
    lines: list[list[tuple[_Panels, str]]] = [[]]
    for row in rows:
        if lines[-1] and len(lines[-1]) + len(row.subsets) > wide:
            lines.append([])
        lines[-1] += [(row, subset) for subset in row.subsets]
    return lines


def _shown_subsets(part: pd.DataFrame) -> list[str]:
    """All pairs, then the strata; the largest three where there are more."""
    strata = part[~part["subset"].isin([success_rates.ALL, success_rates.UNSOLVED])]
    sizes = strata.groupby("subset")["pairs"].max().sort_index()
    if len(sizes) >= _COLUMNS:
        log.info("the success figure shows the largest %d of %d strata", _COLUMNS - 1, len(sizes))
        sizes = sizes[sizes.sort_values().index[1 - _COLUMNS :]].sort_index()
    return [success_rates.ALL, *sizes.index]


def _success_panel(ax: Axes, run: load.RunTables, row: _Panels, subset: str, columns: int) -> None:
    first, tall = subset == success_rates.ALL, style.bar_heights(row.cells["label"])
    known = row.estimates[row.estimates["subset"] == subset].set_index("cell")
    places = np.cumsum(tall) - np.array(tall) / 2
    whole = {"clip_on": False}  # a ceiling of 100 % stands on the edge of the panel
    _end_line(ax, known, row.ceiling, _CEILING_BAND, style.CEILING | whole)
    _end_line(ax, known, row.floor, _BAND, {"color": _FLOOR, "ls": "--", "lw": 1.2})
    for place, (cell, bar) in zip(places, row.cells.iterrows(), strict=True):
        if cell in known.index:
            shade = style.colour(run, bar["method"])
            _bar(ax, place, 100 * known.loc[cell, ["mean", "low", "high"]], shade)
        if first and (paper := row.paper(bar)):
            ax.plot(
                paper.value, place, "D", ms=5, mfc="white", mec=style.INK, zorder=5, clip_on=False
            )
    ax.set_ylim(sum(tall), 0)
    ax.set_xlim(0, 100)
    ax.set_xticks([0, 25, 50, 75, 100])
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)
    labels = [style.wrap(label) for label in row.cells["label"]] if first else [""] * len(places)
    ax.set_yticks(places, labels)
    ax.set_xlabel("success %")
    pairs = format.span(known["pairs"]) if len(known) else "0"
    name = f"{row.title}: all" if first else subset
    ax.set_title(style.wrap(f"{name} (n = {pairs})", [70, 45, 32, 24][min(columns, 4) - 1]))


def _end_line(ax: Axes, known: pd.DataFrame, cell: int | None, band: str, look: dict) -> None:
    """The success of `cell` as a line over its 95 % interval."""
    if cell in known.index:
        rate = 100 * known.loc[cell, ["mean", "low", "high"]]
        ax.axvspan(rate["low"], rate["high"], color=band, lw=0, zorder=0.5)
        ax.axvline(rate["mean"], **look, zorder=3)


def _bar(ax: Axes, place: float, percent: pd.Series, shade: str) -> None:
    mean, low, high = percent["mean"], percent["low"], percent["high"]
    ax.barh(place, mean, height=0.62 * style.BAR_IN, color=shade, zorder=2)
    ends = [[mean - low], [high - mean]]
    ax.errorbar(mean, place, xerr=np.maximum(ends, 0), color=style.INK, lw=1.1, capsize=2, zorder=4)
    ax.text(105, place, f"{mean:.0f}", va="center", fontsize=8, color=style.INK)


def _success_handles(run: load.RunTables, rows: list[_Panels], papers: bool) -> list:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Line2D([], [], color=style.INK, lw=1.1, marker="|", ms=6, label="95 % interval"),
        Line2D([], [], color=_FLOOR, ls="--", label="random on the same pairs"),
        Patch(color=_BAND, lw=0, label="95 % interval of random"),
    ]
    if any(row.ceiling is not None for row in rows):
        handles += [
            style.ceiling_handle(run, run.of_role("ceiling")[0]),
            Patch(color=_CEILING_BAND, lw=0, label="95 % interval of the ceiling"),
        ]
    return [*handles, style.published_handle()] if papers else handles
