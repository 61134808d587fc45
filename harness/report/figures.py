"""The four figures. Each function gives a matplotlib figure, or None when the run has nothing for it."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from harness.report import canvas, groups, layout, published, success

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)

_COLUMNS = 4  # panels beside each other in the success figure: all pairs and up to three strata
_BAR_IN = 0.27


class _Panels(NamedTuple):
    """One row of the success figure: a task under one protocol."""

    title: str
    cells: pd.DataFrame  # bars, top to bottom
    estimates: pd.DataFrame
    subsets: list[str]
    floor: int | None  # cell of the random policy


def success_figure(run: groups.Run, estimates: pd.DataFrame) -> Figure | None:
    """Bars with 95 % intervals per task and stratum, over the random floor of the same pairs."""
    shown = estimates[~estimates["cell"].isin(_swept(run)["cell"])]
    rows = _panel_rows(run, shown)
    if not rows:
        return None
    columns = max(len(row.subsets) for row in rows)
    heights = [0.75 + sum(_bar_heights(row)) for row in rows]
    figure, axes = canvas.figure(len(rows), columns, 0.9 + sum(heights), height_ratios=heights)
    for row, line in zip(rows, axes, strict=True):
        for ax, subset in zip(line, row.subsets, strict=False):
            _success_panel(ax, run, row, subset, first=subset == success.ALL)
        canvas.hide(line[len(row.subsets) :])
    canvas.legend(figure, _success_handles(), columns=3)
    canvas.footer(
        figure,
        _footer(run, shown) + " Bars: means over training seeds; whiskers: 95 % "
        "intervals (Wilson with one seed, else bootstrap over seeds and pairs).",
    )
    return figure


def plan_time_figure(run: groups.Run, raw: pd.DataFrame) -> Figure | None:
    """p50 (dot) to p95 (line end) of a plan, one pair alone and many together, on a log axis."""
    if raw.empty:
        return None
    parts = list(layout.by_section(raw, "task"))
    heights = [0.7 + 0.34 * sum(_lines(label) for label in rows["label"]) for _, _, rows in parts]
    figure, axes = canvas.figure(
        len(parts),
        1,
        1.3 + sum(heights),
        height_ratios=heights,
    )
    figure_methods = list(run.cells["method"])
    for (section, (task,), rows), (ax,) in zip(parts, axes, strict=True):
        _plan_time_panel(ax, rows, figure_methods)
        ax.set_title(f"{groups.task_name(task)}{_where(section, parts)}")
    low = min(ax.get_xlim()[0] for (ax,) in axes)
    high = max(ax.get_xlim()[1] for (ax,) in axes)
    for (ax,) in axes:
        ax.set_xlim(low / 1.3, high * 1.3)
    axes[-1][0].set_xlabel("seconds per plan (log axis)")
    canvas.legend(figure, _plan_time_handles(raw))
    devices = "; ".join(sorted(set(raw["device"]) - {""}))
    canvas.footer(
        figure,
        _footer(run, raw) + f" Device: {devices or 'not recorded'}. Wall time of one solve, "
        "pixels to actions; of many pairs together: the solve divided by their number.",
    )
    return figure


def training_figure(run: groups.Run) -> Figure | None:
    """One panel per logged term (and task), one line per trial."""
    metrics = run.metrics[run.metrics["stage"] == "train"]
    metrics = metrics[~metrics["name"].isin(["lr", "steps_per_s"])]
    lengths = metrics.groupby(["key", "config_hash", "name"])["index"].transform("size")
    metrics = metrics[lengths > 1].merge(
        run.cells[["task", "method", "variant", "label"]], left_on="cell", right_index=True
    )
    if metrics.empty:
        return None
    tasks = sorted(metrics["task"].unique(), key=groups.task_rank)
    terms = _terms(metrics)
    columns = len(tasks) if len(tasks) > 1 else min(3, len(terms))
    panels = [(term, task) for term in terms for task in tasks]
    rows = math.ceil(len(panels) / columns)
    figure, axes = canvas.figure(rows, columns, 1.2 + 1.75 * rows)
    flat = [ax for line in axes for ax in line]
    looks = _looks(run, metrics)
    for ax, (term, task) in zip(flat, panels, strict=False):
        part = metrics[(metrics["name"] == term) & (metrics["task"] == task)]
        _curves_panel(ax, part, looks)
        ax.set_title(f"{term}, {groups.task_name(task)}" if len(tasks) > 1 else term)
    canvas.hide(flat[len(panels) :])
    for ax in flat[max(0, len(panels) - columns) : len(panels)]:
        ax.set_xlabel("training step")
    canvas.legend(figure, _curve_handles(looks))
    canvas.footer(
        figure,
        _footer(run, metrics.merge(run.cells[groups.SECTION], left_on="cell", right_index=True))
        + " One line per trial.",
    )
    return figure


def sweep_figure(run: groups.Run, estimates: pd.DataFrame) -> Figure | None:
    """Swept value against success with 95 % intervals; the best point marked."""
    swept = _swept(run).merge(estimates[estimates["subset"] == success.ALL], on="cell")
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
    canvas.footer(figure, _footer(run, swept) + " Whiskers: 95 % intervals (Wilson with one seed).")
    return figure


def _swept(run: groups.Run) -> pd.DataFrame:
    """cell, name (config key), value: what the sweep's trials tried."""
    metrics = run.metrics[run.metrics["stage"] == "sweep"]
    return metrics.drop_duplicates(["cell", "name"])[["cell", "name", "value"]]


def _panel_rows(run: groups.Run, estimates: pd.DataFrame) -> list[_Panels]:
    if estimates.empty:
        return []
    joined = estimates.merge(run.cells[groups.GROUP], left_on="cell", right_index=True)
    place = {cell: i for i, cell in enumerate(run.cells.index)}
    joined = joined.sort_values("cell", key=lambda c: c.map(place), kind="stable")
    parts = list(layout.by_section(joined, "task", "split"))
    tasks = [task for _, (task, _), _ in parts]
    rows = []
    for section, (task, split), part in parts:
        cells = run.cells.loc[part["cell"].unique()]
        random = cells.index[(cells["method"] == "random") & (cells["variant"] == "")]
        floor = int(random[0]) if len(random) else None
        bars = cells.drop(index=random) if len(cells) > len(random) else cells
        name = groups.task_name(task) + ("" if split == "test" else f", {split}")
        if tasks.count(task) > 1:
            name += f", {section[1]} {section[2][:8]}, {section[0]}"
        rows.append(_Panels(name, bars, part, _shown_subsets(part), floor))
    return rows


def _shown_subsets(part: pd.DataFrame) -> list[str]:
    """All pairs, then the strata; the largest three where there are more."""
    strata = part[~part["subset"].isin([success.ALL, success.UNSOLVED])]
    sizes = strata.groupby("subset")["pairs"].max().sort_index()
    if len(sizes) >= _COLUMNS:
        log.info("the success figure shows the largest %d of %d strata", _COLUMNS - 1, len(sizes))
        sizes = sizes[sizes.sort_values().index[1 - _COLUMNS :]].sort_index()
    return [success.ALL, *sizes.index]


def _success_panel(ax: Axes, run: groups.Run, row: _Panels, subset: str, first: bool) -> None:
    known = row.estimates[row.estimates["subset"] == subset].set_index("cell")
    places = np.cumsum(_bar_heights(row)) - np.array(_bar_heights(row)) / 2
    papers = published.success() if first else {}
    if row.floor in known.index:
        floor = 100 * known.loc[row.floor]
        ax.axvspan(floor["low"], floor["high"], color="#f3d9d9", lw=0, zorder=0.5)
        ax.axvline(floor["mean"], color="#b03030", ls="--", lw=1.2, zorder=3)
    for place, (cell, bar) in zip(places, row.cells.iterrows(), strict=True):
        if cell in known.index:
            shade = canvas.colour(bar["method"], bar["variant"], list(run.cells["method"]))
            _bar(ax, place, 100 * known.loc[cell, ["mean", "low", "high"]], shade)
        name = published.name_of(bar["method"], bar["variant"])
        if paper := papers.get((bar["task"], name)):
            ax.plot(
                paper.value, place, "D", ms=5, mfc="white", mec=canvas.INK, zorder=5, clip_on=False
            )
    ax.set_ylim(sum(_bar_heights(row)), 0)
    ax.set_xlim(0, 100)
    ax.set_xticks([0, 25, 50, 75, 100])
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)
    labels = [canvas.wrap(label) for label in row.cells["label"]] if first else [""] * len(places)
    ax.set_yticks(places, labels)
    ax.set_xlabel("success %")
    pairs = layout.span(known["pairs"]) if len(known) else "0"
    name = f"{row.title}: all pairs" if first else subset
    ax.set_title(canvas.wrap(f"{name} (n = {pairs})", 60 if len(row.subsets) < 3 else 30))


def _bar(ax: Axes, place: float, percent: pd.Series, shade: str) -> None:
    mean, low, high = percent["mean"], percent["low"], percent["high"]
    ax.barh(place, mean, height=0.62 * _BAR_IN, color=shade, zorder=2)
    ends = [[mean - low], [high - mean]]
    ax.errorbar(
        mean, place, xerr=np.maximum(ends, 0), color=canvas.INK, lw=1.1, capsize=2, zorder=4
    )
    ax.text(103, place, f"{mean:.0f}", va="center", fontsize=8, color=canvas.INK)


def _lines(label: str) -> int:
    return canvas.wrap(label).count("\n") + 1


def _bar_heights(row: _Panels) -> list[float]:
    """Inches per bar: labels of several lines need more."""
    return [max(_BAR_IN, 0.16 * _lines(label) + 0.05) for label in row.cells["label"]]


def _plan_time_panel(ax: Axes, rows: pd.DataFrame, methods: list[str]) -> None:
    sizes = _sizes(rows)
    for place, row in enumerate(rows.to_dict("records")):
        shade = canvas.colour(row["method"], row["variant"], methods)
        for i, n in enumerate(sizes):
            p50, p95 = row[f"solve_{n}_p50_s"] / n, row[f"solve_{n}_p95_s"] / n
            if not math.isnan(p50):
                height = place + 0.24 * (i - (len(sizes) - 1) / 2)
                ax.plot([p50, p95], [height] * 2, color=shade, lw=2, solid_capstyle="butt")
                ax.plot(p95, height, "|", color=shade, ms=7, mew=2)
                ax.plot(p50, height, _marker(i), color=shade, ms=6, mec=canvas.INK, mew=0.5)
        paper = row.get("published_plan_s", math.nan)
        if not math.isnan(paper):
            ax.plot(paper, place, "D", ms=6, mfc="white", mec=canvas.INK)
    ax.set_xscale("log")
    ax.set_yticks(range(len(rows)), [canvas.wrap(label, 30) for label in rows["label"]])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.xaxis.set_major_formatter("{x:g}")


def _sizes(rows: pd.DataFrame) -> list[int]:
    return sorted(int(c.split("_")[1]) for c in rows.columns if c.endswith("_p50_s"))


def _marker(i: int) -> str:
    return "os^v"[i % 4]


def _curves_panel(ax: Axes, part: pd.DataFrame, looks: dict[str, tuple[str, str]]) -> None:
    from matplotlib.collections import LineCollection

    for label, own in part.groupby("label"):
        lines = [_thin(curve) for _, curve in own.groupby(["key", "config_hash"])]
        shade, style = looks[label]
        ax.add_collection(LineCollection(lines, colors=shade, linestyles=style, lw=1.1, alpha=0.85))
    ax.autoscale_view()
    values = part["value"].to_numpy()
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() > 30 * np.quantile(values, 0.02):
        ax.set_yscale("log")
    ax.margins(x=0.01)


def _thin(curve: pd.DataFrame, most: int = 300) -> np.ndarray:
    """(points, 2) of one curve, every k-th so that at most `most` are drawn."""
    curve = curve.sort_values("index")
    return curve[["index", "value"]].to_numpy(dtype=float)[:: max(1, math.ceil(len(curve) / most))]


def _terms(metrics: pd.DataFrame) -> list[str]:
    """Logged terms: the loss, its parts by how many methods have them, diagnostics last."""
    methods = metrics.groupby("name")["method"].nunique()
    first, last = ["loss", "pred"], ["latent_std", "grad_norm"]
    middle = sorted(set(methods.index) - set(first) - set(last), key=lambda n: (-methods[n], n))
    return [n for n in [*first, *middle, *last] if n in methods.index]


def _looks(run: groups.Run, metrics: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """label -> colour of its method, line style that tells its settings apart."""
    looks: dict[str, tuple[str, str]] = {}
    used: dict[str, int] = {}
    for cell in run.cells.index[run.cells.index.isin(metrics["cell"])]:
        method, variant, label = run.cells.loc[cell, ["method", "variant", "label"]]
        if label not in looks:
            shade = canvas.colour(method, variant, list(run.cells["method"]))
            looks[label] = (shade, canvas.STYLES[used.get(shade, 0) % len(canvas.STYLES)])
            used[shade] = used.get(shade, 0) + 1
    return looks


def _sweep_panel(ax: Axes, part: pd.DataFrame, shade: str, chosen: bool) -> None:
    value, mean = part["value"].to_numpy(), 100 * part["mean"].to_numpy()
    ends = np.maximum([mean - 100 * part["low"], 100 * part["high"] - mean], 0)
    line = "-" if len(np.unique(value)) == len(value) else "none"
    ax.errorbar(value, mean, yerr=ends, fmt="o", ls=line, color=shade, ms=5, capsize=2, lw=1.2)
    if chosen:
        best = int(np.argmax(mean))
        ax.plot(value[best], mean[best], "*", ms=15, mfc="#f7d038", mec=canvas.INK, zorder=5)
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


def _where(section: tuple[str, str, str], parts: list) -> str:
    """Names the protocol in a panel's title when the figure has several."""
    several = len({(known[0], known[1]) for known, _, _ in parts}) > 1
    return f", {section[1]} {section[2][:8]}, {section[0]}" if several else ""


def _footer(run: groups.Run, rows: pd.DataFrame) -> str:
    """Run, protocols, scales, pairs and seeds of the cells in `rows`."""
    cells = run.cells.loc[rows["cell"].unique()]
    protocols = cells.drop_duplicates(groups.SECTION).groupby(["scale", "protocol"])[
        "protocol_hash"
    ]
    named = [
        f"protocol {protocol} ({', '.join(h[:8] for h in hashes)}), scale {scale}"
        for (scale, protocol), hashes in protocols
    ]
    episodes = run.episodes[run.episodes["cell"].isin(cells.index)]
    pairs = episodes.groupby(["cell", "split"])["pair"].nunique()
    words = f"{layout.span(pairs)} pairs, " if len(pairs) else ""
    return (
        f"Run {run.name}; {'; '.join(named)}; {words}{layout.span(cells['seeds'])} training seeds."
    )


def _success_handles() -> list:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=canvas.INK, lw=1.1, marker="|", ms=6, label="95 % interval"),
        Line2D([], [], color="#b03030", ls="--", label="random on the same pairs"),
        _published_handle(),
    ]


def _plan_time_handles(raw: pd.DataFrame) -> list:
    from matplotlib.lines import Line2D

    words = {n: "one pair per solve" if n == 1 else f"{n} pairs together" for n in _sizes(raw)}
    made = [
        Line2D(
            [], [], color=canvas.FAINT, marker=_marker(i), ms=6, lw=2, label=f"{word}: p50 to p95"
        )
        for i, word in enumerate(words.values())
    ]
    papers = "published_plan_s" in raw and raw["published_plan_s"].notna().any()
    return [*made, _published_handle()] if papers else made


def _curve_handles(looks: dict[str, tuple[str, str]]) -> list:
    from matplotlib.lines import Line2D

    return [
        Line2D([], [], color=shade, ls=style, lw=1.6, label=canvas.wrap(label, 30))
        for label, (shade, style) in looks.items()
    ]


def _sweep_handles() -> list:
    from matplotlib.lines import Line2D

    star = {"marker": "*", "ms": 12, "mfc": "#f7d038", "mec": canvas.INK, "ls": "none"}
    return [Line2D([], [], **star, label="highest success: the value chosen")]


def _published_handle():
    from matplotlib.lines import Line2D

    look = {"marker": "D", "ms": 5, "mfc": "white", "mec": canvas.INK, "ls": "none"}
    return Line2D([], [], **look, label="published (paper, its own protocol)")
