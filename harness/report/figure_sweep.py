"""The sweep figure: swept value against success."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from harness.report import canvas, groups, objective, success

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STAR = {"mfc": "#f7d038", "mec": canvas.INK, "zorder": 5, "clip_on": False}
# keys that change the protocol's hash: their points share a panel all the same
_OF_PROTOCOL = ("protocol.", "planner.", "mpc.")
_LOG_FROM = 10.0  # largest over smallest value from which the axis is logarithmic


def sweep_figure(run: groups.Run, estimates: pd.DataFrame) -> Figure | None:
    """Swept value against success with 95 % intervals; the best point marked."""
    swept = _points(run, estimates)
    if swept.empty:
        return None
    of_protocol = swept["name"].str.startswith(_OF_PROTOCOL)
    swept["panel_hash"] = swept["protocol_hash"].where(~of_protocol, "")
    keys = ["name", "task", "method", "scale", "protocol", "panel_hash", "split"]
    parts = list(swept.groupby(keys))
    columns = min(3, len(parts))
    rows = math.ceil(len(parts) / columns)
    figure, axes = canvas.figure(rows, columns, 1.2 + 2.5 * rows)
    flat = [ax for line in axes for ax in line]
    for ax, (key, part) in zip(flat, parts, strict=False):
        name, task, method, *_, split = key
        shade = canvas.colour(method, "", list(run.cells["method"]))
        _sweep_panel(ax, part.sort_values(["value", "word"]), shade, name)
        ax.set_title(f"{groups.method_name(method)}, {groups.task_name(task)}, {split} pairs")
        ax.set_xlabel(canvas.wrap(name, 34))
        ax.set_ylabel("success %")
    canvas.hide(flat[len(parts) :])
    canvas.legend(figure, _sweep_handles(swept))
    canvas.footer(
        figure, canvas.run_footer(run, swept) + " Whiskers: 95 % intervals (Wilson with one seed)."
    )
    return figure


def _points(run: groups.Run, estimates: pd.DataFrame) -> pd.DataFrame:
    """One row per trial of a sweep and key: value, estimate, when, and whether it collapsed."""
    tried = groups.tried(run.metrics)
    points = tried.merge(estimates[estimates["subset"] == success.ALL], on="cell")
    points = points.merge(run.cells[groups.GROUP], left_on="cell", right_index=True)
    points["started"] = points["cell"].map(run.trials.groupby("cell")["started"].min())
    points["collapsed"] = points["cell"].isin(objective.collapsed(run.metrics, "cell"))
    points["sound"] = ~points["collapsed"] & (points["mean"] > 0)
    points["alone"] = points["cell"].map(tried.groupby("cell").size()) == 1
    return points


def _sweep_panel(ax: Axes, part: pd.DataFrame, shade: str, name: str) -> None:
    mean = 100 * part["mean"].to_numpy()
    low, high = 100 * part["low"].to_numpy(), 100 * part["high"].to_numpy()
    ends = np.maximum([mean - low, high - mean], 0)
    place = _places(ax, part)
    if part["alone"].all() and len(np.unique(place)) == len(place) and not part["word"].any():
        ax.plot(place, mean, "-", color=shade, lw=1, alpha=0.45, zorder=1.5)
    ax.errorbar(place, mean, yerr=ends, fmt="none", color=shade, capsize=2, lw=1.2)
    faces = np.where(part["collapsed"], "white", shade)
    ax.scatter(place, mean, s=26, c=faces, edgecolors=shade, lw=1.2, zorder=3, clip_on=False)
    sound = part.assign(place=place)[part["sound"].to_numpy()]
    if len(sound) and not name.startswith("protocol."):  # more success there is no better model
        best = sound.sort_values(["mean", "started"], ascending=[False, True]).iloc[0]
        ax.plot(best["place"], 100 * best["mean"], "*", ms=13, **_STAR)
    ax.set_ylim(0, 100)


def _places(ax: Axes, part: pd.DataFrame) -> np.ndarray:
    """Where the points stand on the x axis, which gets its scale and ticks."""
    if part["word"].any():
        words = sorted(part["word"].unique())
        ax.set_xticks(range(len(words)), words)
        ax.set_xlim(-0.5, len(words) - 0.5)
        return part["word"].map(words.index).to_numpy()
    value = part["value"].to_numpy()
    positive = value[value > 0]
    if len(positive) and value.min() >= 0 and value.max() >= _LOG_FROM * positive.min():
        if value.min() == 0:
            ax.set_xscale("symlog", linthresh=positive.min())
        else:
            ax.set_xscale("log")
        ax.xaxis.set_major_formatter("{x:g}")
        ax.margins(x=0.08)
    return value


def _sweep_handles(swept: pd.DataFrame) -> list:
    from matplotlib.lines import Line2D

    made = []
    if swept.loc[~swept["name"].str.startswith("protocol."), "sound"].any():
        made += [Line2D([], [], marker="*", ms=12, ls="none", **_STAR, label="the value chosen")]
    if swept["collapsed"].any():
        hollow = {"marker": "o", "ms": 5, "mfc": "white", "mec": canvas.INK, "ls": "none"}
        words = f"collapsed (latent std below {objective.COLLAPSED_STD:g}): counts as 0"
        made += [Line2D([], [], **hollow, label=words)]
    return made
