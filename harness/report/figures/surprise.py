"""The figures of surprise: a task's surprise over time, a panel a method as in the paper's Fig. 8
and 11, a line for each kind of event.
"""

from __future__ import annotations

import pandas as pd

from harness.records import metric_names
from harness.report import load
from harness.report.figures import panels, style
from harness.report.tables import surprise

_TICKS = (-10, -3, -1, 0, 1, 3, 10, 30, 100, 300, 1000, 10_000, 100_000)  # those in the range
_EVENTS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00")  # in the order of recording
_LINES = ("--", "-", "-.", ":", "--")
_CAPTION = (
    "Surprise: squared error of the latent predicted one block ahead, z-scored by the frames of "
    "undisturbed clips of its method; the event changes the picture of block 0 and those after it. "
    "Bands: 95 % intervals of the mean over initial states. The axis is linear from −2 to 2 and "
    "logarithmic beyond."
)


def figures(run: load.RunTables) -> dict[str, style.Drawn]:
    """A figure for each task with world models whose surprise was measured."""
    return panels.figures(run, "surprise", data(run), draw, lambda _: _CAPTION)


def data(run: load.RunTables) -> pd.DataFrame:
    """Tidy: mean, low and high by cell, kind of event and index (blocks since the event); of each
    method the first setting.
    """
    metrics = load.of_stage(run, "surprise", metric_names.SurpriseName)
    metrics = metrics[metrics["source"] == metric_names.SURPRISE_SOURCES[0]]
    plain = run.cells.index[run.cells["variant"] == ""]
    plain = plain.difference(load.sweep_values(run.metrics)["cell"])
    metrics = metrics[metrics["cell"].isin(plain)]
    means = panels.over_seeds(panels.of_cells(run, metrics), "kind", "measure", "index")
    halves = means[means["measure"] == "half_width"].set_index(["cell", "kind", "index"])["mean"]
    frame = means[means["measure"] == "mean"].drop(columns="measure")
    first = frame.drop_duplicates(["task", "method"])["cell"]
    frame = frame[frame["cell"].isin(first)].join(halves.rename("half"), ["cell", "kind", "index"])
    half = frame.pop("half").fillna(0.0)  # of one family there is no interval
    return frame.assign(low=frame["mean"] - half, high=frame["mean"] + half)


def draw(frame: pd.DataFrame) -> style.Figure:
    """Panels with the same axis, on which every kind of event has its colour."""
    from matplotlib.ticker import FixedLocator, MaxNLocator

    events = [kind for kind in frame["kind"].unique() if kind != metric_names.UNDISTURBED]
    kinds = [metric_names.UNDISTURBED, *events]
    palette = dict(zip(kinds, (style.FAINT, *_EVENTS), strict=False))
    styles = dict(zip(kinds, (":", *_LINES), strict=False))
    methods = frame.groupby("label", sort=False)
    figure, axes = panels.grid(len(methods))
    low, high = min(frame["low"].min(), -1.2), max(1.1 * frame["high"].max(), 3.5)
    for ax, (label, own) in zip(axes, methods, strict=True):
        panels.curves(ax, own, "kind", palette, styles)
        ax.axvline(0, color=style.CONTROL, lw=0.8, zorder=1)
        ax.set_title(panels.label(ax, label))
        ax.set_yscale("symlog", linthresh=2)
        ax.set_ylim(low, high)
        ax.yaxis.set_major_locator(FixedLocator(_TICKS))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        ax.tick_params(labelleft=style.in_grid(ax).is_first_col())
    figure.supylabel("surprise, std", fontsize=9)
    figure.supxlabel("blocks since the event", fontsize=9)
    handles = [
        style.entry(surprise.label(kind), color=colour, ls=styles[kind], lw=1.6)
        for kind, colour in palette.items()
    ]
    return panels.finish(figure, frame, handles)
