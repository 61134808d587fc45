"""The stability table: how training ended."""

from __future__ import annotations

import numpy as np
import pandas as pd

from harness.report import format, load, objective
from harness.report.format import Column, metric

NO_TERMS = {  # logged besides
    *("loss", "lr", "grad_norm", "latent_std", "straightness", "value_mean", "mse"),
}


def stability_table(run: load.RunTables) -> format.Table:
    """One row per cell: spread and rank of the latents, gradient norms, final terms of the loss;
    one section a scale, since no training depends on a protocol.
    """
    raw = _raw(run)
    sections = []
    for _, rows in raw.groupby("scale", sort=False) if len(raw) else ():
        rows = rows.reset_index(drop=True)
        title = format.tasks(run, rows)
        frame, more = format.fold(_frame(run, rows), ["Training seeds", "Diverged", "Collapsed"])
        sections.append(format.section(run, title, rows, f"{_CAPTION}{more}", frame))
        terms = _terms_frame(run, rows)
        if not terms.empty:
            title = f"{title}: terms of the loss at the end"
            sections.append(format.section(run, title, rows, _TERMS_CAPTION, terms))
    return format.Table("stability", "Training stability", raw, sections)


_CAPTION = (
    "Means over the training seeds that ended. Latent std and effective rank (exponential of the "
    "entropy of the covariance spectrum) are those of held-out frames after training, of world "
    "models; std: of each float over the frames, averaged. Gradient norm: before clipping; at the "
    "end: mean over the last 5 % of the logged steps; largest: of all logged steps after the "
    "warm-up and of all seeds. Diverged: seeds with a value that was not finite; collapsed: seeds "
    f"that ended with a latent std below {objective.COLLAPSED_STD:g}."
)
_TERMS_CAPTION = (
    "Means over the last 5 % of the logged steps and over training seeds, without their weights; "
    "loss: the weighted sum."
)


def _largest_norm(trials: pd.DataFrame, metrics: pd.DataFrame) -> float:
    """The largest logged gradient norm after the warm-up."""
    norms = metrics[(metrics["stage"] == "train") & (metrics["name"] == "grad_norm")]
    norms = norms.merge(trials[["key", "config_hash", "train_steps"]])
    if norms.empty:
        return np.nan
    share = load.setting(trials, "train.warmup_fraction") or 0.0
    start = np.maximum(1, np.round(share * norms["train_steps"]))
    return norms.loc[norms["index"] >= start, "value"].max()


COLUMNS = [  # in this order; a new metric is one entry more
    Column("Latent std", "latent_std", metric("latents", "latent_std"), format.short),
    Column("Effective rank", "effective_rank", metric("latents", "effective_rank"), format.short),
    Column("Gradient norm, end", "final_gradient_norm", metric("train", "grad_norm"), format.short),
    Column("Gradient norm, largest", "largest_gradient_norm", _largest_norm, format.short),
]


def _raw(run: load.RunTables) -> pd.DataFrame:
    trials = load.one_per_training(run.trials)
    trained = trials[(trials["train_steps"] > 0) | (trials["parameters_trained"] > 0)]
    metrics = dict(list(run.metrics.groupby("cell")))
    broken = run.failed[run.failed["diverged"]]  # where a term of the loss was not finite
    rows = []
    for cell, part in trained.groupby("cell"):
        own = metrics.get(cell, run.metrics.iloc[:0])
        own = own[own["config_hash"].isin(part["config_hash"])]
        known = run.cells.loc[cell, load.GROUP]
        failed = int((broken[load.GROUP] == known).all(axis=1).sum())
        row = {"cell": cell} | _counts(part, own, failed)
        row |= {column.name: column.value(part, own) for column in COLUMNS}
        logged = own.loc[own["stage"] == "train", "name"].unique()
        # the loss and its terms, which are the metrics of training that are nothing else
        terms = sorted(name for name in logged if name not in NO_TERMS or name == "loss")
        rows.append(row | {f"final_{term}": metric("train", term)(part, own) for term in terms})
    return pd.concat([format.of_cells(run, rows), _never_ended(run, broken)], ignore_index=True)


def _counts(trials: pd.DataFrame, metrics: pd.DataFrame, failed: int) -> dict[str, int]:
    """Training seeds: all, those that diverged (`failed` of which never ended), those that
    collapsed.
    """
    curves = metrics[metrics["stage"].isin(["train", "latents"])]
    broken = set(curves.loc[~np.isfinite(curves["value"]), "key"])
    return {
        "seeds": trials["seed"].nunique() + failed,
        "diverged": len(broken) + failed,
        "collapsed": len(objective.collapsed(metrics, "key") - broken),
    }


def _never_ended(run: load.RunTables, broken: pd.DataFrame) -> pd.DataFrame:
    """Rows of what has no cell, because every seed diverged."""
    known = set(run.cells[load.GROUP].itertuples(index=False, name=None))
    rows = [
        dict(zip(load.GROUP, group, strict=True))
        | {"cell": -1, "seeds": len(part), "diverged": len(part), "collapsed": 0}
        for group, part in broken.groupby(load.GROUP)
        if group not in known
    ]
    for row in rows:
        row["label"] = run.method_label(row["method"], row["variant"])
    return pd.DataFrame(rows)


def _frame(run: load.RunTables, rows: pd.DataFrame) -> pd.DataFrame:
    frame = format.method_columns(run, rows)
    frame["Training seeds"] = rows["seeds"].map(format.whole)
    for column in COLUMNS:
        known = column.name in rows
        frame[column.heading] = rows[column.name].map(column.show) if known else format.BLANK
        broken = (rows["diverged"] == rows["seeds"]) & (frame[column.heading] == format.BLANK)
        frame.loc[broken, column.heading] = "NaN"
    frame["Diverged"] = rows["diverged"].map(format.whole)
    frame["Collapsed"] = rows["collapsed"].map(format.whole)
    return frame


def _terms_frame(run: load.RunTables, rows: pd.DataFrame) -> pd.DataFrame:
    """Task, method and its own terms in words: no two methods share more than a few."""
    frame = format.method_columns(run, rows)
    others = {column.name for column in COLUMNS}
    names = [c.removeprefix("final_") for c in rows if c.startswith("final_") and c not in others]
    names.sort(key=lambda name: (name != "loss", name != "pred"))
    frame["Terms"] = [
        ", ".join(
            f"{name} {format.short(row[f'final_{name}'])}"
            for name in names
            if pd.notna(row[f"final_{name}"])
        )
        for row in rows.to_dict("records")
    ]
    return frame[frame["Terms"] != ""]
