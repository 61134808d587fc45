"""The figures of cost: plan time on a log axis, training curves."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from harness.report import canvas, groups, layout

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_LABELS = 14  # in a legend


def plan_time_figure(run: groups.Run, raw: pd.DataFrame) -> Figure | None:
    """p50 (dot) to p95 (line end) of a plan, one pair alone and many together, on a log axis."""
    if raw.empty:
        return None
    parts = list(layout.by_section(raw, "task"))
    heights = [0.6 + 1.2 * sum(canvas.bar_heights(rows["label"])) for *_, rows in parts]
    figure, axes = canvas.figure(len(parts), 1, 1.3 + sum(heights), height_ratios=heights)
    methods = list(run.cells["method"])
    for (section, (task,), rows), (ax,) in zip(parts, axes, strict=True):
        _plan_time_panel(ax, rows, methods)
        ax.set_title(f"{groups.task_name(task)}{_where(section, parts)}")
    low = min(ax.get_xlim()[0] for (ax,) in axes)
    high = max(ax.get_xlim()[1] for (ax,) in axes)
    for (ax,) in axes:
        ax.set_xlim(low / 1.3, high * 1.3)
    axes[-1][0].set_xlabel("seconds per plan (log axis)")
    canvas.legend(figure, _plan_time_handles(raw))
    devices = "; ".join(sorted(set(raw["device"]) - {""}))
    words = (
        f"Device: {devices or 'not recorded'}. Wall time of one solve (of a feed-forward policy "
        "one inference), pixels to actions; of many pairs together: divided by their number."
    )
    canvas.footer(figure, f"{canvas.run_footer(run, raw)} {words}")
    return figure


def training_figure(run: groups.Run) -> Figure | None:
    """One panel per logged term (and task), one line per trial."""
    metrics = run.metrics[run.metrics["stage"] == "train"]
    metrics = metrics[~metrics["name"].isin(["lr", "steps_per_s"])]
    lengths = metrics.groupby(["key", "config_hash", "name"])["index"].transform("size")
    metrics = metrics[lengths > 1].merge(
        run.cells[[*groups.GROUP, "label"]], left_on="cell", right_index=True
    )
    if metrics.empty:
        return None
    metrics["trial"] = metrics.groupby(["key", "config_hash"]).ngroup()
    metrics = metrics.sort_values(["trial", "index"])
    tasks = sorted(metrics["task"].unique(), key=groups.task_rank)
    terms = _terms(metrics)
    columns = len(tasks) if len(tasks) > 1 else min(3, len(terms))
    panels = [(term, task) for term in terms for task in tasks]
    rows = math.ceil(len(panels) / columns)
    figure, axes = canvas.figure(rows, columns, 1.2 + (1.75 if rows < 5 else 1.45) * rows)
    flat = [ax for line in axes for ax in line]
    looks = _looks(run, metrics)
    for ax, (term, task) in zip(flat, panels, strict=False):
        part = metrics[(metrics["name"] == term) & (metrics["task"] == task)]
        if part.empty:
            canvas.hide([ax])
            continue
        _curves_panel(ax, part, looks)
        ax.set_title(f"{term}, {groups.task_name(task)}" if len(tasks) > 1 else term)
    canvas.hide(flat[len(panels) :])
    for i, ax in enumerate(flat[: len(panels)]):
        last = i + columns >= len(panels)
        ax.set_xlabel("training step" if last else "")
        ax.tick_params(labelbottom=last or len(tasks) == 1)
    notes = run.cells.set_index("label")["note"].to_dict()
    canvas.legend(figure, _curve_handles(looks, notes))
    canvas.footer(figure, f"{canvas.run_footer(run, metrics)} One line per trial.")
    return figure


def _plan_time_panel(ax: Axes, rows: pd.DataFrame, methods: list[str]) -> None:
    sizes, tall = _sizes(rows), canvas.bar_heights(rows["label"])
    places = np.cumsum(tall) - np.array(tall) / 2
    for place, row in zip(places, rows.to_dict("records"), strict=True):
        shade = canvas.colour(row["method"], row["variant"], methods)
        for i, n in enumerate(sizes):
            p50, p95 = row[f"solve_{n}_p50_s"] / n, row[f"solve_{n}_p95_s"] / n
            if not math.isnan(p50):
                height = place + 0.3 * canvas.BAR_IN * (i - (len(sizes) - 1) / 2)
                ax.plot([p50, p95], [height] * 2, color=shade, lw=2, solid_capstyle="butt")
                ax.plot(p95, height, "|", color=shade, ms=7, mew=2)
                ax.plot(p50, height, _marker(i), color=shade, ms=6, mec=canvas.INK, mew=0.5)
        paper = row.get("published_plan_s", math.nan)
        if not math.isnan(paper):
            ax.plot(paper, place, "D", ms=6, mfc="white", mec=canvas.INK)
    ax.set_xscale("log")
    ax.set_yticks(places, [canvas.wrap(label) for label in rows["label"]])
    ax.set_ylim(sum(tall), 0)
    ax.tick_params(axis="y", length=0)
    _name_ticks(ax)


def _name_ticks(ax: Axes) -> None:
    """1, 2 and 5 of each decade, as plain numbers."""
    from matplotlib.ticker import LogLocator

    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter("")


def _sizes(rows: pd.DataFrame) -> list[int]:
    return sorted(int(c.split("_")[1]) for c in rows.columns if c.endswith("_p50_s"))


def _marker(i: int) -> str:
    return "os^v"[i % 4]


def _curves_panel(ax: Axes, part: pd.DataFrame, looks: dict[str, tuple[str, str]]) -> None:
    from matplotlib.collections import LineCollection

    for label, own in part.groupby("label"):
        ends = np.flatnonzero(np.diff(own["trial"])) + 1
        points = own[["index", "value"]].to_numpy(dtype=float)
        lines = [_thin(curve) for curve in np.split(points, ends)]
        shade, style = looks[label]
        ax.add_collection(LineCollection(lines, colors=shade, linestyles=style, lw=1.1, alpha=0.85))
    ax.autoscale_view()
    values = part["value"].to_numpy()
    values = values[np.isfinite(values)]
    if len(values) and values.min() > 0 and values.max() > 30 * np.quantile(values, 0.02):
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_formatter("")  # ticks alone say that the axis is logarithmic
    else:
        ax.locator_params(axis="y", nbins=4)
    ax.locator_params(axis="x", nbins=4)
    ax.margins(x=0.02)


def _thin(curve: np.ndarray, most: int = 300) -> np.ndarray:
    """Every k-th point of one curve (points, 2), so that at most `most` are drawn."""
    return curve[:: max(1, math.ceil(len(curve) / most))]


def _terms(metrics: pd.DataFrame) -> list[str]:
    """Logged terms: the loss, its parts by how many methods have them, diagnostics last."""
    methods = metrics.groupby("name")["method"].nunique()
    first, last = ["loss", "pred"], ["latent_std", "grad_norm"]
    middle = sorted(set(methods.index) - set(first) - set(last), key=lambda n: (-methods[n], n))
    return [n for n in [*first, *middle, *last] if n in methods.index]


def _looks(run: groups.Run, metrics: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """label -> colour of its method, line style that tells its settings apart.

    What a sweep tried goes from dark to light.
    """
    looks: dict[str, tuple[str, str]] = {}
    used: dict[str, int] = {}
    cells = run.cells[run.cells.index.isin(metrics["cell"])]
    known = cells.drop_duplicates("label")[["method", "variant", "label"]]
    plain_first = known.sort_values("label", key=lambda c: c.str.len(), kind="stable")
    for method, variant, label in plain_first.itertuples(index=False):
        shade = canvas.colour(method, variant, list(run.cells["method"]))
        looks[label] = (shade, canvas.STYLES[used.get(shade, 0) % len(canvas.STYLES)])
        used[shade] = used.get(shade, 0) + 1
    swept = known.loc[known.index.isin(groups.tried(run.metrics)["cell"]), "label"]
    for label, shade in zip(swept, canvas.ramp(len(swept)), strict=True):
        looks[label] = (shade, "-")
    ranks = [
        groups.rank(method, variant)
        for method, variant in zip(known["method"], known["variant"], strict=True)
    ]
    order = np.argsort(ranks, kind="stable")  # else as in the tables
    return {label: looks[label] for label in known["label"].iloc[order]}


def _where(section: tuple[str, str, str], parts: list) -> str:
    """Names the protocol in a panel's title when the figure has several."""
    several = len({(known[0], known[1]) for known, _, _ in parts}) > 1
    return f", {section[1]} {section[2][:8]}, {section[0]}" if several else ""


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
    return [*made, canvas.published_handle()] if papers else made


def _curve_handles(looks: dict[str, tuple[str, str]], notes: dict[str, str]) -> list:
    from matplotlib.lines import Line2D

    if len(looks) > _MOST_LABELS:  # one entry per method; its settings differ in line style
        first = {}
        for label, (shade, _) in looks.items():
            note = f" ({notes[label]})" if notes[label] else ""
            first.setdefault((shade, note), label.partition(" (")[0] + note)
        every = math.ceil(len(first) / _MOST_LABELS)
        looks = {label: (shade, "-") for (shade, _), label in [*first.items()][::every]}
    return [
        Line2D([], [], color=shade, ls=style, lw=1.6, label=label)
        for label, (shade, style) in looks.items()
    ]
