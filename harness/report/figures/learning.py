"""The figures of learning: success against the time, the windows and the episodes of a training."""

from __future__ import annotations

import pandas as pd

from harness.report import load
from harness.report.figures import panels, style, varied

_SHARE = "train.data_share"
_AXES = {  # column -> what its axis says
    "seconds": "seconds of training",
    "windows_k": "thousand windows seen",
    "episodes_pct": "% of the training episodes",
}
_CAPTION = {
    "seconds": "Seconds: wall time of the optimizer steps alone, of one training that is evaluated "
    "on its way.",
    "windows_k": "Windows: optimizer steps times windows of a batch.",
    "episodes_pct": "Episodes: a training for each share of them, of equally many steps.",
}


def figures(run: load.RunTables, estimates: pd.DataFrame) -> dict[str, style.Drawn]:
    """ "learning_<task>", where suite=training_time or the ablation of data was run."""
    return varied.figures(run, estimates, "learning", data(run, estimates), draw, _caption)


def _caption(run: load.RunTables, rows: pd.DataFrame) -> str:
    words = [words for column, words in _CAPTION.items() if rows[column].notna().any()]
    return f"Success with 95 % intervals. {' '.join(words)}"


def data(run: load.RunTables, estimates: pd.DataFrame) -> pd.DataFrame:
    """Tidy: the points of a training on its way, and of trainings on fewer episodes, with columns
    label, seconds, windows_k and episodes_pct; NaN where a point has no place on that axis.
    """
    found = varied.points(run, estimates)
    on_its_way = varied.of_suite(found, varied.TRAINING_TIME)
    fewer = varied.of_suite(found, varied.ABLATION)
    fewer = fewer[fewer["name"] == _SHARE]
    rows = pd.concat([on_its_way, fewer], ignore_index=True)
    rows["label"] = varied.by_method(run, rows)
    trials = run.trials[run.trials["cell"].isin(on_its_way["cell"])].groupby("cell")
    steps = rows["cell"].map(trials["train_steps"].mean())
    batch = {cell: load.setting(own, "train.batch_size") for cell, own in trials}
    rows["seconds"] = rows["cell"].map(trials["train_s"].mean())
    rows["windows_k"] = steps * rows["cell"].map(batch).astype(float) / 1e3
    rows["episodes_pct"] = 100 * rows["value"].where(rows["name"] == _SHARE)
    columns = list(_AXES)
    rows[columns] = rows[columns].where(rows[columns] > 0)
    return rows


def draw(run: load.RunTables, rows: pd.DataFrame, lines: pd.DataFrame) -> style.Figure:
    """A panel for each thing that a training takes, with a line a method."""
    looks = style.looks(run, rows)
    columns = [column for column in _AXES if rows[column].notna().any()]
    width = {1: style.COLUMN_IN, 2: 6.4}.get(len(columns), style.WIDTH_IN)
    figure, (axes,) = style.figure(1, len(columns), 3.3, width)
    for ax, column in zip(axes, columns, strict=True):
        varied.draw_controls(ax, lines)
        varied.draw_lines(ax, rows, column, looks)
        ax.set_xlabel(_AXES[column])
    varied.success_axes(axes)
    handles = style.method_handles(looks) + varied.control_handles(lines["kind"])
    return panels.finish(figure, rows, handles)
