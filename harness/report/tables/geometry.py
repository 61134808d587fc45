"""The geometry table: how straight, how wide and how ordered a latent space is."""

from __future__ import annotations

import pandas as pd

from harness.report import format, load
from harness.report.format import Column, metric

_CAPTION = (
    "On windows of test episodes, one frame a block; means over training seeds. Straightness: mean "
    "cosine of the latent's change over one block and over the next (the paper's eq. 9; 1: "
    "a line, 0: right angles); in training: of the training batches at the end, where a window has "
    "three frames. Effective rank: exponential of the entropy of the covariance spectrum. 90 %: "
    "the number of principal directions with that share of the variance (of at most 64). SIGReg: "
    "its statistic over 256 windows, 1.05 for a standard normal distribution and 103 where all "
    "latents are zero. Order: Spearman's correlation of the distance between two latents of a "
    "window with the task's own distance between the states, and with the number of blocks between "
    "them: whether the planning cost orders states as the task does."
)


def _directions(trials: pd.DataFrame, metrics: pd.DataFrame) -> float:
    """Principal directions that hold 90 % of the variance, the mean over trials."""
    own = metrics[(metrics["stage"] == "geometry") & (metrics["name"] == "spectrum")]
    shares = own.pivot_table(index="key", columns="index", values="value")
    return ((shares.cumsum(axis=1) < 0.9).sum(axis=1) + 1).mean()


COLUMNS = [  # in this order; a new metric is one entry more
    Column("Straightness", "straightness", metric("geometry", "straightness"), format.two),
    Column("in training", "train_straightness", metric("train", "straightness"), format.two),
    Column("Effective rank", "effective_rank", metric("geometry", "effective_rank"), format.short),
    Column("90 %", "directions_of_90_pct", _directions, format.short),
    Column("SIGReg", "sigreg", metric("geometry", "sigreg"), format.three),
    Column("Order, distance", "rank_distance", metric("geometry", "rank_distance"), format.two),
    Column("Order, blocks", "rank_blocks", metric("geometry", "rank_blocks"), format.two),
]


def geometry_table(run: load.RunTables) -> format.Table:
    """One row per cell that has the stage."""
    rows = []
    for cell in run.metrics.loc[run.metrics["stage"] == "geometry", "cell"].unique():
        trials = run.trials[run.trials["cell"] == cell]
        metrics = run.metrics[run.metrics["cell"] == cell]
        values = {column.name: column.value(trials, metrics) for column in COLUMNS}
        rows.append({"cell": cell} | values)
    raw = format.of_cells(run, rows)
    sections = [
        format.section(
            run, format.tasks(run, own), own, _CAPTION, format.shown_columns(run, own, COLUMNS)
        )
        for _, _, own in format.by_section(raw)
    ]
    return format.Table("geometry", "Geometry of the latents", raw, sections)
