"""The sweep figure: swept value against success, and against what the latents hold."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from harness.report import load, objective, success_rates
from harness.report.figures import style
from harness.report.tables import probing

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STAR = {"mfc": "#f7d038", "mec": style.INK, "zorder": 5, "clip_on": False}
# keys that change the protocol's hash: their points share a panel all the same
_OF_PROTOCOL = ("protocol.", "planner.", "mpc.")
_MOST_QUANTITIES = 8  # in a panel of probes
# published weight, and windows in a batch, of a term that is multiplied by that number
_GROWS_WITH_THE_BATCH = dict.fromkeys(
    ("method.lewm.sigreg_weight", "method.lewm_idm.sigreg_weight"), (0.1, 128)
)
_LOG_FROM = 10.0  # largest over smallest value from which the axis is logarithmic


def sweep_figure(run: load.RunTables, estimates: pd.DataFrame) -> style.Drawn | None:
    """Swept value against success with 95 % intervals, controls as lines, on validation pairs the
    best point marked; beside it, where the latents were probed, r of every quantity.
    """
    swept = _points(run, estimates)
    if swept.empty:
        return None
    of_protocol = swept["name"].str.startswith(_OF_PROTOCOL)
    swept["panel_hash"] = swept["protocol_hash"].where(~of_protocol, "")
    keys = ["name", "task", "method", "scale", "protocol", "panel_hash", "split"]
    parts = list(swept.groupby(keys))
    probes = _probes(run, swept)
    panels = [(key, part, False) for key, part in parts]
    panels += [(key, part, True) for key, part in parts if part["cell"].isin(probes["cell"]).any()]
    columns = min(3, len(parts)) if len(panels) == len(parts) else min(2, len(panels))
    rows = math.ceil(len(panels) / columns)
    figure, axes = style.figure(rows, columns, 1.2 + 2.5 * rows)
    flat = [ax for line in axes for ax in line]
    for ax, (key, part, probed) in zip(flat, panels, strict=False):
        name, task, method, *_, split = key
        part = part.sort_values(["value", "word"])
        if probed:
            _probe_panel(ax, part, probes)
        else:
            shade = style.colour(run, method)
            _control_lines(ax, run, estimates, part)
            _published_line(ax, run, part)
            _sweep_panel(ax, part, shade)
        pairs = "probes of the latents" if probed else f"{split} pairs"
        ax.set_title(f"{run.method_label(method)}, {run.task_label(task)}, {pairs}")
        ax.set_xlabel(style.wrap(name, 34))
        ax.set_ylabel("Pearson's r, MLP probe" if probed else "success %")
    style.hide(flat[len(panels) :])
    style.legend(figure, _sweep_handles(swept))
    words = " Whiskers: 95 % intervals (as in the success table)."
    if swept["timed"].any():
        words += " Beside the points: time of training."
    return style.Drawn(figure, style.run_footer(run, swept) + words)


def _points(run: load.RunTables, estimates: pd.DataFrame) -> pd.DataFrame:
    """One row per trial of a sweep and key: value, estimate, when, and whether it collapsed."""
    values = load.sweep_values(run.metrics)
    points = values.merge(estimates[estimates["subset"] == success_rates.ALL], on="cell")
    points = points.merge(run.cells[load.GROUP], left_on="cell", right_index=True)
    points["started"] = points["cell"].map(run.trials.groupby("cell")["started"].min())
    points["collapsed"] = points["cell"].isin(objective.collapsed(run.metrics, "cell"))
    points["eligible"] = (
        ~points["collapsed"]
        & (points["mean"] > 0)
        & (points["split"] == "validation")  # nothing is chosen on test pairs
        & ~points["name"].str.startswith("protocol.")  # more success there is no better model
    )
    points["alone"] = points["cell"].map(values.groupby("cell").size()) == 1
    points["timed"] = points["name"].isin(["train.steps", "train.epochs"])
    points["train_s"] = points["cell"].map(run.trials.groupby("cell")["train_s"].mean())
    return points


def _sweep_panel(ax: Axes, part: pd.DataFrame, shade: str) -> None:
    mean = 100 * part["mean"].to_numpy()
    low, high = 100 * part["low"].to_numpy(), 100 * part["high"].to_numpy()
    ends = np.maximum([mean - low, high - mean], 0)
    place = _places(ax, part)
    if part["alone"].all() and len(np.unique(place)) == len(place) and not part["word"].any():
        ax.plot(place, mean, "-", color=shade, lw=1, alpha=0.45, zorder=1.5)
    ax.errorbar(place, mean, yerr=ends, fmt="none", color=shade, capsize=2, lw=1.2)
    faces = np.where(part["collapsed"], "white", shade)
    ax.scatter(place, mean, s=26, c=faces, edgecolors=shade, lw=1.2, zorder=3, clip_on=False)
    for at, height, row in zip(place, mean, part.itertuples(), strict=True):
        if row.timed and row.train_s > 0:  # NaN: trained elsewhere
            ax.annotate(
                f"{row.train_s:.0f} s",
                (at, height),
                (4, 7),
                textcoords="offset points",
                fontsize=7.5,
            )
    eligible = part.assign(place=place)[part["eligible"].to_numpy()]
    if len(eligible):
        best = eligible.sort_values(["mean", "started"], ascending=[False, True]).iloc[0]
        ax.plot(best["place"], 100 * best["mean"], "*", ms=13, **_STAR)
    ax.set_ylim(0, 100)


def _control_lines(
    ax: Axes, run: load.RunTables, estimates: pd.DataFrame, part: pd.DataFrame
) -> None:
    """Success of the run's controls and its ceiling under the same protocol, as lines with their
    names.
    """
    same = ["task", *load.SECTION]
    names = set(run.methods.index[run.methods["is_control"]]) & set(success_rates.REFERENCES)
    is_ceiling = run.cells["method"].isin(run.of_role("ceiling")) & (run.cells["variant"] == "")
    controls = run.cells[run.cells["method"].isin(names) | is_ceiling]
    controls = controls[(controls[same] == part.iloc[0][same]).all(axis=1)]
    rates = estimates[
        (estimates["subset"] == success_rates.ALL) & (estimates["split"] == part.iloc[0]["split"])
    ].set_index("cell")["mean"]
    for cell, label in controls["label"].items():
        if cell in rates.index:
            plain = {"color": style.CONTROL, "ls": "--", "lw": 1}
            look, side = (style.CEILING, "top") if is_ceiling[cell] else (plain, "bottom")
            ax.axhline(100 * rates[cell], **look, zorder=1)
            ax.annotate(
                label.lower(), (1, 100 * rates[cell]), xycoords=("axes fraction", "data"),
                ha="right", va=side, fontsize=7.5, color=style.FAINT,
            )  # fmt: skip


def _published_line(ax: Axes, run: load.RunTables, part: pd.DataFrame) -> None:
    """Where the paper's weight stands in a sweep with other batches: what weighs as much there."""
    name = part.iloc[0]["name"]
    trials = run.trials[run.trials["cell"].isin(part["cell"])]
    batches = {load.setting(own, "train.batch_size") for _, own in trials.groupby("cell")}
    if name not in _GROWS_WITH_THE_BATCH or len(batches) > 1 or None in batches:
        return
    weight, published = _GROWS_WITH_THE_BATCH[name]
    (windows,) = batches
    place = weight * published / windows
    ax.axvline(place, color=style.FAINT, ls=":", lw=1, zorder=1)
    ax.annotate(
        f"the paper's {weight:g} of {published} windows:\nas much as {place:g} of {windows} here",
        (place, 0.04), xycoords=("data", "axes fraction"), xytext=(-4, 0),
        textcoords="offset points", ha="right", va="bottom", fontsize=7.5, color=style.FAINT,
    )  # fmt: skip


def _probes(run: load.RunTables, swept: pd.DataFrame) -> pd.DataFrame:
    """cell, quantity, r of the MLP, of those tasks whose quantities fit into a panel. Where trials
    were probed by several networks, only the one fitted on most frames: they do not compare.
    """
    probes = probing.probe_rows(run)
    probes = probes[probes["cell"].isin(swept["cell"]) & (probes["source"] == "latent")]
    probes = probes[probes["probe"] != "linear"]
    probes = probes[probes["frames"] == probes["frames"].max()]
    speeds = probes.loc[probes["unit"].str.contains("/s"), "quantity"]
    readings = probes[(probes["measure"] == "r") & ~probes["quantity"].isin(speeds)]
    counts = readings.groupby("cell")["quantity"].transform("nunique")
    return readings[counts <= _MOST_QUANTITIES][["cell", "quantity", "value"]]


def _probe_panel(ax: Axes, part: pd.DataFrame, probes: pd.DataFrame) -> None:
    place = dict(zip(part["cell"], _places(ax, part), strict=True))
    own = probes[probes["cell"].isin(place)]
    names = list(own["quantity"].unique())
    for i, (name, shade) in enumerate(zip(names, style.ramp(len(names)), strict=True)):
        line = own[own["quantity"] == name].groupby("cell")["value"].mean()
        at = sorted((place[cell], r) for cell, r in line.items())
        ax.plot(
            *zip(*at, strict=True),
            "o" + style.STYLES[i % 4],
            color=shade,
            ms=4,
            lw=1.2,
            label=name,
        )
    ax.set_ylim(min(0.0, ax.get_ylim()[0]), 1.02)
    ax.legend(fontsize=7.5)


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

    handles = []
    if swept["eligible"].any():
        handles += [Line2D([], [], marker="*", ms=12, ls="none", **_STAR, label="the value chosen")]
    if swept["collapsed"].any():
        hollow = {"marker": "o", "ms": 5, "mfc": "white", "mec": style.INK, "ls": "none"}
        words = f"collapsed (latent std below {objective.COLLAPSED_STD:g}): is not chosen"
        handles += [Line2D([], [], **hollow, label=words)]
    return handles
