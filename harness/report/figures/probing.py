"""The figures of probing: what can be read out of each method's latents, beside what the same
probes read out of controls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from harness.report import load
from harness.report.figures import panels, style
from harness.report.tables import probing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST = 10  # methods
_WIDE = 14  # quantities side by side in two panels; more stand in panels one above the other
_CONTROLS = {"untrained": "untrained encoder", "pixels": "pixels", "shuffled": "shuffled labels"}
_CAPTION = (
    "Pearson's r of what probes read from frozen latents of test episodes with the true value "
    "(1: exact, 0: guessing), by a linear map and by a network (MLP); means over a quantity's "
    "numbers and over seeds. Below the line what the same probes read elsewhere, means over the "
    "methods: from an untrained encoder of the same architecture, from the grey picture in as "
    "many pixels as the latent has floats, and from latents beside labels of other frames."
)


def figures(run: load.RunTables) -> dict[str, style.Drawn]:
    """A figure a task."""
    return {
        name: style.Drawn(draw(part), f"{about} {_CAPTION}")
        for name, part, about in panels.by_task(run, "probing", data(run), _MOST)
    }


def data(run: load.RunTables) -> pd.DataFrame:
    """Tidy: r by cell, source, quantity and probe ("linear", "MLP"), the mean over seeds."""
    rows = probing.probe_rows(run)
    rows = rows[(rows["measure"] == "r") & rows["source"].isin(["latent", *_CONTROLS])]
    rows = rows.assign(
        probe=np.where(rows["probe"] == "linear", "linear", "MLP"),
        quantity=rows["quantity"].str.replace("_", " "),
    )
    means = panels.over_seeds(panels.of_cells(run, rows), "source", "quantity", "probe")
    return means.rename(columns={"mean": "r"}).drop(columns=["low", "high"])


def draw(frame: pd.DataFrame) -> Figure:
    """A panel a probe: a row a method and a control, a column a quantity."""
    import seaborn as sns

    methods = frame["label"][frame["source"] == "latent"].unique()
    lines = [*methods, *(_CONTROLS[c] for c in _CONTROLS if c in set(frame["source"]))]
    quantities = frame["quantity"].unique()
    frame = frame.assign(row=frame["source"].map(_CONTROLS).fillna(frame["label"]))
    wide = len(quantities) > _WIDE
    crowded = len(quantities) * max(map(len, quantities)) > (90 if wide else 45)  # characters
    digits = 3 if len(quantities) <= 6 else 2
    height = (0.22 * len(lines) + 0.3) * (1 + wide) + 1.3
    figure, axes = style.figure(1 + wide, 2 - wide, min(style.HEIGHT_IN, height))
    for ax, probe in zip(np.ravel(axes), ("linear", "MLP"), strict=True):
        own = frame[frame["probe"] == probe]
        table = own.pivot_table("r", "row", "quantity").reindex(lines, columns=quantities)
        sns.heatmap(
            table, vmin=0, vmax=1, cmap="Blues", annot=None if wide else table, fmt=f".{digits}f",
            annot_kws={"size": 7}, linewidths=0.6, linecolor=style.CONTROL, cbar=False, ax=ax,
        )  # fmt: skip
        ax.axhline(len(methods), color=style.INK, lw=1.2)
        ax.set(xlabel="", ylabel="", title=f"r, {probe}")
        ax.tick_params(length=0, labelsize=7 if wide else 8)
        ax.tick_params(axis="x", rotation=90 if crowded else 0)
        outer = ax.get_subplotspec()
        ax.tick_params(labelleft=outer.is_first_col(), labelbottom=outer.is_last_row())
    return panels.finish(figure, frame, [])
