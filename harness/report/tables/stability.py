"""The stability table: how training ended."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from harness.report import format, load, objective

NO_TERMS = {"loss", "lr", "grad_norm", "latent_std", "value_mean", "mse"}  # logged besides
_DIVERGED = "is not finite"  # what harness.training.loop says of such a trial
_LATE = 0.95


def stability_table(run: load.Run) -> format.Table:
    """One row per cell: spread and rank of the latents, gradient norms, final terms of the loss."""
    raw = _raw(run)
    sections = []
    for section, _, rows in format.by_section(raw):
        title = format.tasks(section, rows)
        about = f"Run {run.name}, {load.section_name(section)}."
        frame, more = format.fold(_frame(rows), ["Training seeds", "Diverged", "Collapsed"])
        sections.append(format.Section(title, f"{about} {_CAPTION}{more}", frame))
        terms = _terms_frame(rows)
        if not terms.empty:
            title = f"{title}: terms of the loss at the end"
            sections.append(format.Section(title, f"{about} {_TERMS_CAPTION}", terms))
    return format.Table("stability", "Training stability", raw, sections)


def diverged(run: load.Run) -> pd.DataFrame:
    """The failed trials whose loss, or a term of it, was not finite."""
    return run.failed[run.failed["error"].str.contains(_DIVERGED, regex=False)]


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


def _raw(run: load.Run) -> pd.DataFrame:
    trials = run.trials
    trained = trials[(trials["train_steps"] > 0) | (trials["parameters_trained"] > 0)]
    last, largest = _last_values(run), _largest_norms(run)
    broken = diverged(run)
    rows = []
    for cell, part in trained.groupby("cell"):
        known = run.cells.loc[cell, load.GROUP]
        failed = (broken[load.GROUP] == known).all(axis=1).sum()
        rows.append(format.identity(run, cell) | _ended(run, cell, part, last, int(failed)))
        rows[-1]["largest_gradient_norm"] = largest.get(cell)
        rows[-1] |= {
            f"final_{name}": value
            for (of, name), value in last.items()
            if of == cell and name not in [*NO_TERMS - {"loss"}, *_HEALTH]
        }
    return pd.concat(
        [format.in_order(run, pd.DataFrame(rows)), _never_ended(run, broken)], ignore_index=True
    )


_STD = "held-out latent_std"  # apart from the batch's, which is logged in training
_HEALTH = (_STD, "effective_rank")


def _ended(run: load.Run, cell: int, part: pd.DataFrame, last: dict, failed: int) -> dict[str, Any]:
    of_cell = run.metrics[run.metrics["cell"] == cell]
    curves = of_cell[of_cell["stage"].isin(["train", "latents"])]
    broken = set(curves.loc[~np.isfinite(curves["value"]), "key"])
    return {
        "seeds": part["seed"].nunique() + failed,
        "diverged": len(broken) + failed,
        "collapsed": len(objective.collapsed(of_cell, "key") - broken),
        "latent_std": last.get((cell, _STD)),
        "effective_rank": last.get((cell, "effective_rank")),
        "final_gradient_norm": last.get((cell, "grad_norm")),
    }


def _never_ended(run: load.Run, broken: pd.DataFrame) -> pd.DataFrame:
    """Rows of what has no cell, because every seed diverged."""
    known = set(run.cells[load.GROUP].itertuples(index=False, name=None))
    rows = [
        dict(zip(load.GROUP, group, strict=True))
        | {"cell": -1, "seeds": len(part), "diverged": len(part), "collapsed": 0}
        for group, part in broken.groupby(load.GROUP)
        if group not in known
    ]
    for row in rows:
        row["label"] = load.method_name(row["method"], row["variant"])
    return pd.DataFrame(rows)


def _last_values(run: load.Run) -> dict[tuple[int, str], float]:
    """(cell, metric) -> mean over seeds of the mean of its last 5 %; NaN stays NaN."""
    metrics = run.metrics[run.metrics["stage"].isin(["train", "latents"])]
    held_out = metrics["stage"] == "latents"
    name = metrics["name"].mask(held_out & (metrics["name"] == "latent_std"), _STD)
    metrics = metrics.assign(name=name)[~held_out | name.isin(_HEALTH)]
    ends = metrics.groupby(["cell", "key", "name"])["index"].transform("max")
    late = metrics[metrics["index"] >= _LATE * ends]
    by_trial = late.groupby(["cell", "name", "key"])["value"].mean(skipna=False)
    by_cell = by_trial.groupby(level=["cell", "name"]).mean(skipna=False)
    return by_cell.to_dict()


def _largest_norms(run: load.Run) -> dict[int, float]:
    """cell -> the largest logged gradient norm after the warm-up."""
    norms = run.metrics[(run.metrics["stage"] == "train") & (run.metrics["name"] == "grad_norm")]
    same = ["key", "config_hash"]
    norms = norms.merge(run.trials[[*same, "train_steps"]], on=same)
    found = {}
    for cell, part in norms.groupby("cell"):
        trials = run.trials[run.trials["cell"] == cell]
        share = load.setting(trials, "train.warmup_fraction") or 0.0
        after = part.loc[
            part["index"] >= np.maximum(1, np.round(share * part["train_steps"])), "value"
        ]
        found[cell] = after.max() if len(after) else np.nan
    return found


def _frame(rows: pd.DataFrame) -> pd.DataFrame:
    frame = format.method_columns(rows)
    frame["Training seeds"] = rows["seeds"].map(format.whole)
    for column, words in (
        ("latent_std", "Latent std"),
        ("effective_rank", "Effective rank"),
        ("final_gradient_norm", "Gradient norm, end"),
        ("largest_gradient_norm", "Gradient norm, largest"),
    ):
        frame[words] = rows[column].map(_short) if column in rows else format.BLANK
        broken = (rows["diverged"] == rows["seeds"]) & (frame[words] == format.BLANK)
        frame.loc[broken, words] = "NaN"
    frame["Diverged"] = rows["diverged"].map(format.whole)
    frame["Collapsed"] = rows["collapsed"].map(format.whole)
    return frame


def _terms_frame(rows: pd.DataFrame) -> pd.DataFrame:
    """Task, method and its own terms in words: no two methods share more than a few."""
    frame = format.method_columns(rows)
    names = [c.removeprefix("final_") for c in rows if c.startswith("final_")]
    names = [name for name in names if name != "gradient_norm"]
    names.sort(key=lambda name: (name != "loss", name != "pred"))
    frame["Terms"] = [
        ", ".join(
            f"{name} {_short(row[f'final_{name}'])}"
            for name in names
            if pd.notna(row[f"final_{name}"])
        )
        for row in rows.to_dict("records")
    ]
    return frame[frame["Terms"] != ""]


def _short(value: float) -> str:
    return format.BLANK if pd.isna(value) else f"{value:.3g}"
