"""The open-loop table: how far rollouts go astray, and from when on they are worth nothing."""

from __future__ import annotations

import numpy as np
import pandas as pd

from harness.records import metric_names
from harness.report import format, load

_CAPTION = (
    "Rollouts from one frame of a test episode under its recorded actions, without seeing another "
    "frame; in brackets the error of copying that frame. Mean: the error of always guessing the "
    "mean, over all blocks. The latent's error is squared, as a share of the latents' variance; "
    "other quantities are read by the probe's networks from the predicted latents, and their error "
    "is the mean distance to the true value. Seen: read from the true latents instead, the least "
    "error that this probe can show. Beats both: the number of blocks up to which the prediction "
    "errs less than the copy and than the mean; beats neither: the first block at which it errs at "
    "least as much as either (>: at none of those rolled out). Means over training seeds."
)
_OLDER = {"open_loop": "model", "stay": "copy"}  # names in stage "latents" of older rows


def open_loop_table(run: load.RunTables) -> format.Table:
    """A section per task: a row per quantity and method."""
    raw = _raw(run)
    sections = []
    for section, (task,), rows in format.by_section(raw, "task"):
        title = f"{run.task_label(task)}, {section[1]}: rollouts"
        sections.append(format.section(run, title, rows, _CAPTION, _frame(rows)))
    return format.Table("open_loop", "Open loop", raw, sections)


def errors(run: load.RunTables) -> pd.DataFrame:
    """The metrics of rollouts, with columns quantity, guess and index (blocks)."""
    metrics = run.metrics
    old = metrics[(metrics["stage"] == "latents") & metrics["name"].isin(_OLDER)]
    old = old.assign(quantity=metric_names.LATENT, guess=[_OLDER[name] for name in old["name"]])
    new = load.of_stage(run, "open_loop", metric_names.OpenLoopName)
    return pd.concat([new, old[~old["cell"].isin(new["cell"])]])


def _raw(run: load.RunTables) -> pd.DataFrame:
    """One row per cell and quantity."""
    lines = []
    for (cell, quantity), part in errors(run).groupby(["cell", "quantity"], sort=False):
        curves = part.pivot_table(index="guess", columns="index", values="value", sort=False)
        row = {"cell": cell, "quantity": quantity, "unit": part["unit"].iloc[0]}
        row |= {f"{guess}_{block}": value for (guess, block), value in curves.stack().items()}
        lines.append(row | _horizons(curves))
    return format.of_cells(run, lines)


def _horizons(curves: pd.DataFrame) -> dict[str, float]:
    """How long a rollout is worth something; NaN: it never beats neither."""
    guesses = curves.reindex(["copy", "mean"]).dropna(how="all")
    model = curves.loc["model"]
    worse_than_one = (model >= guesses.min()).to_numpy()
    worse_than_both = (model >= guesses.max()).to_numpy()
    both = int(np.argmax(worse_than_one)) if worse_than_one.any() else len(model)
    neither = model.index[np.argmax(worse_than_both)] if worse_than_both.any() else np.nan
    return {"blocks": len(model), "beats_both_blocks": both, "beats_neither_block": neither}


def _frame(rows: pd.DataFrame) -> pd.DataFrame:
    rows = format.together(rows, "quantity")
    units = rows["unit"].map({"share of variance": "", "1": ""}).fillna(" " + rows["unit"])
    shown = {"Quantity": rows["quantity"], "Method": rows["label"]}
    for block in sorted({1, min(5, rows["blocks"].max()), rows["blocks"].max()}):
        words = f"after {block} block{'s' if block > 1 else ''}"
        pairs = zip(rows[f"model_{block}"], rows[f"copy_{block}"], units, strict=True)
        shown[words] = [f"{format.three(m)} [{format.three(c)}]{unit}" for m, c, unit in pairs]
    for guess in ("mean", "seen"):
        known = [c for c in rows if c.startswith(f"{guess}_")]
        if known:
            shown[guess.capitalize()] = rows[known].mean(axis=1).map(format.three)
    shown["Beats both, blocks"] = rows["beats_both_blocks"].map(format.whole)
    last = zip(rows["beats_neither_block"], rows["blocks"], strict=True)
    shown["Beats neither from block"] = [f"> {n}" if pd.isna(b) else f"{b:.0f}" for b, n in last]
    return pd.DataFrame(shown).reset_index(drop=True)
