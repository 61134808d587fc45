"""The figures of probing: what can be read out of each method's latents, beside what the same
probes read out of controls.
"""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from harness.records import metric_names
from harness.report import load
from harness.report.figures import panels, style

_WIDE = 14  # quantities side by side in two panels; more stand in panels one above the other
_CONTROLS = {"untrained": "untrained encoder", "pixels": "pixels", "shuffled": "shuffled labels"}
_CAPTION = (
    "Pearson's r of what probes read from frozen latents of test episodes with the true value "
    "(1: exact, 0: guessing), by a linear map and by a network (MLP); means over a quantity's "
    "numbers and over seeds."
)
_CONTROLS_CAPTION = (
    " Below the gap what the same probes read elsewhere, means over the methods: from an "
    "untrained encoder of the same architecture, from the grey picture in as many pixels as the "
    "latent has floats, and from latents beside labels of other frames."
)


def figures(run: load.RunTables) -> dict[str, style.Drawn]:
    """A figure a task."""
    return panels.figures(
        run, "probing", data(run), draw, lambda f: _CAPTION + _CONTROLS_CAPTION * bool(_controls(f))
    )


def data(run: load.RunTables) -> pd.DataFrame:
    """Tidy: r by cell, source, quantity and probe ("linear", "MLP"), the mean over seeds."""
    rows = load.of_stage(run, "probing", metric_names.ProbeName)
    rows = rows[(rows["measure"] == "r") & rows["source"].isin(["latent", *_CONTROLS])]
    rows = rows.assign(
        probe=np.where(rows["probe"] == "linear", "linear", "MLP"),
        quantity=rows["quantity"].str.replace("_", " "),
    )
    means = panels.over_seeds(panels.of_cells(run, rows), "source", "quantity", "probe")
    return means.rename(columns={"mean": "r"}).drop(columns=["low", "high"])


def draw(frame: pd.DataFrame) -> style.Figure:
    """A panel a probe: a row a method and a control, a column a quantity."""
    import seaborn as sns
    from matplotlib.backend_bases import FigureCanvasBase

    methods, controls = frame["label"].unique(), _controls(frame)
    lines, quantities = [*methods, *([""] * bool(controls)), *controls], frame["quantity"].unique()
    frame = frame.assign(row=frame["source"].map(_CONTROLS).fillna(frame["label"]))
    wide = len(quantities) > _WIDE
    longest = max(map(len, quantities))
    crowded = len(quantities) * longest > (90 if wide else 45)  # characters side by side
    digits = 3 if len(quantities) <= 6 else 2
    height = (0.22 * len(lines) + 0.3) * (1 + wide) + 0.6 + (0.065 * longest if crowded else 0.2)
    figure, axes = style.figure(1 + wide, 2 - wide, min(style.HEIGHT_IN, height))
    FigureCanvasBase(figure)  # on one that draws, seaborn draws it all to see if labels overlap
    for ax, probe in zip(itertools.chain(*axes), ("linear", "MLP"), strict=True):
        own = frame[frame["probe"] == probe]
        table = own.pivot_table("r", "row", "quantity").reindex(lines, columns=quantities)
        table = table.round(digits) + 0.0  # no minus before a zero
        sns.heatmap(
            table, vmin=0, vmax=1, cmap="Blues", annot=not wide, fmt=f".{digits}f",
            annot_kws={"size": 7}, linewidths=0.6, linecolor=style.CONTROL, cbar=False, ax=ax,
        )  # fmt: skip
        ax.grid(visible=False)
        ax.set(xlabel="", ylabel="", title=f"r, {probe}")
        ax.tick_params(length=0, labelsize=7 if wide else 8)
        ax.tick_params(axis="x", rotation=90 if crowded else 0)
        outer = style.in_grid(ax)
        ax.tick_params(labelleft=outer.is_first_col(), labelbottom=outer.is_last_row())
    return panels.finish(figure, frame, [])


def _controls(frame: pd.DataFrame) -> list[str]:
    """The names of the controls that were measured."""
    return [words for source, words in _CONTROLS.items() if source in set(frame["source"])]
