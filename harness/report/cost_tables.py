"""The plan-time and the training table: what a method costs."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from harness.report import groups, layout, published


def plan_time_table(run: groups.Run) -> layout.Table:
    """p50 and p95 of the planner's solve by pairs per solve."""
    raw = _plan_time_raw(run)
    sections = []
    for section, _, rows in layout.by_section(raw):
        repetitions = [f"Repetitions of {n}" for n in _solve_sizes(rows)]
        frame, more = layout.fold(_plan_time_frame(rows), [*_SETTINGS.values(), *repetitions])
        caption = f"Run {run.name}, {groups.section_name(section)}. {_PLAN_TIME}{more}"
        caption += layout.sources(rows, "published_plan_s")
        sections.append(layout.Section(_tasks(section, rows), caption, frame))
    return layout.Table("plan_time", "Plan time", raw, sections)


_PLAN_TIME = (
    "Wall time around one call of the planner's solve, or around one inference of a feed-forward "
    "policy, from raw pixels to actions, device synchronised, warm-up excluded; p50 and p95 over "
    "repetitions. A plan is executed for several blocks, an inference for one."
)


def training_table(run: groups.Run) -> layout.Table:
    """Size, cost and last losses of what was trained."""
    raw = _training_raw(run)
    sections = []
    for section, _, rows in layout.by_section(raw):
        caption = f"Run {run.name}, {groups.section_name(section)}. {_TRAINING}"
        frame, more = layout.fold(_training_frame(rows), ["Training seeds", "Device", "Threads"])
        sections.append(layout.Section(_tasks(section, rows), caption + more, frame))
    return layout.Table("training", "Training", raw, sections)


_TRAINING = (
    "Means over training seeds; memory is the largest. Training time is training alone; prediction "
    "loss is the mean over the last 5 % of the logged steps; latent std and effective rank are "
    "those of held-out frames."
)


def _plan_time_raw(run: groups.Run) -> pd.DataFrame:
    """One row per cell, device and thread count; repetitions of all its trials together."""
    metrics = run.metrics[run.metrics["stage"] == "plan_time"]
    metrics = metrics[metrics["name"].str.match(r"^(solve|inference)_s(_\d+)?$")]
    pairs = metrics["name"].str.extract(r"(\d+)$")[0].fillna("1").astype(int)
    where = run.trials[["key", "config_hash", "device", "threads"]]
    metrics = metrics.assign(pairs=pairs).merge(where, on=["key", "config_hash"])
    papers = published.plan_time()
    rows = []
    for (cell, device, threads), part in metrics.groupby(["cell", "device", "threads"]):
        inferred = part["name"].str.startswith("inference").any()
        planner = dict.fromkeys(_PLANNER) if inferred else _planner(run, cell)
        row = layout.identity(run, cell) | planner
        row["timed"] = "inference" if inferred else "plan"
        for n, values in part.groupby("pairs")["value"]:
            row |= _solve_columns(int(n), values.to_numpy())
        if papers:
            name = published.name_of(row["method"], row["variant"])
            row |= layout.published_columns("published_plan_s", papers.get(name))
        rows.append(row | {"device": device, "threads": threads})
    return layout.in_order(run, pd.DataFrame(rows))


def _solve_columns(n: int, seconds: np.ndarray) -> dict[str, float]:
    p50, p95 = np.quantile(seconds, [0.5, 0.95])
    columns = {
        f"solve_{n}_p50_s": p50,
        f"solve_{n}_p95_s": p95,
        f"solve_{n}_repetitions": len(seconds),
    }
    return columns if n == 1 else columns | {f"solve_{n}_per_plan_s": p50 / n}


def _solve_sizes(rows: pd.DataFrame) -> list[int]:
    found = (re.fullmatch(r"solve_(\d+)_p50_s", column) for column in rows.columns)
    return sorted(int(m[1]) for m in found if m and rows[m[0]].notna().any())


def _planner(run: groups.Run, cell: int) -> dict[str, Any]:
    """Planner settings of a cell, None where its configuration does not say."""
    text = run.trials.loc[run.trials["cell"] == cell, "config_yaml"].iloc[0]
    config = groups.flat_config(text)
    return {key: config.get(f"config.{branch}.{key}") for key, branch in _PLANNER.items()}


_PLANNER = {"candidates": "planner", "iterations": "planner", "horizon_blocks": "mpc"}
_SETTINGS = {
    "timed": "Timed",
    "candidates": "Candidates",
    "iterations": "Iterations",
    "horizon_blocks": "Horizon, blocks",
    "device": "Device",
    "threads": "Threads",
}


def _plan_time_frame(rows: pd.DataFrame) -> pd.DataFrame:
    frame = layout.method_columns(rows)
    for n in _solve_sizes(rows):
        words = "1 pair" if n == 1 else f"{n} pairs"
        frame[f"{words}, p50 s"] = rows[f"solve_{n}_p50_s"].map(layout.three)
        frame[f"{words}, p95 s"] = rows[f"solve_{n}_p95_s"].map(layout.three)
        if n > 1:
            frame[f"per plan of {n}, s"] = rows[f"solve_{n}_per_plan_s"].map(layout.three)
    for n in _solve_sizes(rows):
        frame[f"Repetitions of {n}"] = rows[f"solve_{n}_repetitions"].map(layout.whole)
    for name, words in _SETTINGS.items():
        frame[words] = rows[name].map(layout.text)
    if "published_plan_s" in rows and rows["published_plan_s"].notna().any():
        frame["Published, s"] = rows["published_plan_s"].map(layout.three)
    return frame


def _training_raw(run: groups.Run) -> pd.DataFrame:
    trials = run.trials
    trained = trials[(trials["train_steps"] > 0) | (trials["parameters_trained"] > 0)]
    last = _last_values(run)
    rows = []
    for cell, part in trained.groupby("cell"):
        steps_per_s = last.get((cell, "steps_per_s"))
        if steps_per_s is None and (part["train_s"] > 0).all():
            steps_per_s = float((part["train_steps"] / part["train_s"]).mean())
        values = {
            "seeds": part["seed"].nunique(),
            "parameters_trained": part["parameters_trained"].mean(),
            "parameters_frozen": part["parameters_frozen"].mean(),
            "tokens_per_frame": part["tokens_per_frame"].max(),
            "train_steps": part["train_steps"].mean(),
            "train_s": part["train_s"].mean(),
            "steps_per_s": steps_per_s,
            "peak_memory_bytes": part["peak_memory_bytes"].max(),
            "final_prediction_loss": last.get((cell, "pred")),
            "final_latent_std": last.get((cell, "latent_std")),
            "effective_rank": last.get((cell, "effective_rank")),
            "diverged": any(not np.isfinite(last.get((cell, name), 0.0)) for name in _FINAL),
            "device": ", ".join(sorted(part["device"].unique())),
            "threads": ", ".join(str(n) for n in sorted(part["threads"].unique())),
        }
        rows.append(layout.identity(run, cell) | values)
    return layout.in_order(run, pd.DataFrame(rows))


_FINAL = ("pred", "latent_std", "effective_rank")


def _last_values(run: groups.Run) -> dict[tuple[int, str], float]:
    """(cell, metric) -> mean over seeds of its last 5 % (all of steps_per_s); NaN stays NaN."""
    metrics = run.metrics[run.metrics["stage"].isin(["train", "latents"])]
    metrics = metrics[metrics["name"].isin([*_FINAL, "steps_per_s"])]
    ends = metrics.groupby(["cell", "key", "name"])["index"].transform("max")
    late = metrics[(metrics["index"] >= 0.95 * ends) | (metrics["name"] == "steps_per_s")]
    by_trial = late.groupby(["cell", "name", "key"])["value"].agg(lambda v: np.mean(v.to_numpy()))
    by_cell = by_trial.groupby(level=["cell", "name"]).agg(lambda v: np.mean(v.to_numpy()))
    return by_cell.to_dict()


def _training_frame(rows: pd.DataFrame) -> pd.DataFrame:
    frame = layout.method_columns(rows)
    frame["Training seeds"] = rows["seeds"].map(layout.whole)
    frame["Trained, M"] = (rows["parameters_trained"] / 1e6).map(layout.three)
    frame["Frozen, M"] = (rows["parameters_frozen"] / 1e6).map(layout.three)
    frame["Tokens per frame"] = rows["tokens_per_frame"].map(layout.whole)
    frame["Steps"] = rows["train_steps"].map(layout.whole)
    frame["Time, s"] = rows["train_s"].map(layout.whole)
    frame["Steps/s"] = rows["steps_per_s"].map(layout.three)
    frame["Peak memory, GiB"] = (rows["peak_memory_bytes"] / 2**30).map(layout.three)
    for column, words in (
        ("final_prediction_loss", "Prediction loss"),
        ("final_latent_std", "Latent std"),
        ("effective_rank", "Effective rank"),
    ):
        frame[words] = rows[column].map(_final)
        frame.loc[rows["diverged"] & rows[column].isna(), words] = "NaN"
    frame["Device"], frame["Threads"] = (
        rows["device"].map(layout.text),
        rows["threads"].map(layout.text),
    )
    return frame


def _final(value: float) -> str:
    return layout.BLANK if pd.isna(value) else f"{value:.3g}"


def _tasks(section: tuple[str, str, str], rows: pd.DataFrame) -> str:
    """Title of a section: its tasks and protocol."""
    return ", ".join([*rows["task"].map(groups.task_name).unique(), section[1]])
