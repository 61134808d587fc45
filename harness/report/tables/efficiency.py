"""The efficiency table: what a method costs, in training and for one plan."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd

from harness.report import format, load, published


def efficiency_table(run: load.Run) -> format.Table:
    """One row per cell, device and thread count: sizes, training, one plan and many together."""
    raw = _raw(run)
    sections = []
    for section, _, rows in format.by_section(raw):
        title = format.tasks(section, rows)
        about = f"Run {run.name}, {load.section_name(section)}."
        frame, more = format.fold(_training_frame(rows), ["Training seeds", "Device", "Threads"])
        sections.append(format.Section(title, f"{about} {_TRAINING}{more}", frame))
        planned = rows[rows["timed"].notna() | rows["plan_flops"].notna()]
        if not planned.empty:
            repetitions = [f"Repetitions of {n}" for n in _solve_sizes(planned)]
            frame, more = format.fold(_plan_frame(planned), [*_SETTINGS.values(), *repetitions])
            caption = f"{about} {_PLAN}{more}{format.sources(planned, 'published_plan_s')}"
            sections.append(format.Section(f"{title}: one plan", caption, frame))
    return format.Table("efficiency", "Efficiency", raw, sections)


_TRAINING = (
    "Means over training seeds. Trained, Frozen: parameters with and without gradient; targets "
    "that follow another network are frozen. Tokens, Floats: of the latent of one frame, of a "
    "world model as planning carries it, of a feed-forward policy as its heads read it. Frames/s: "
    "training steps a second x batch x frames of a window, goal frames not counted. Training: wall "
    "time of the optimizer steps alone; what a frozen encoder needs before them is not in it. "
    "Threads: of a plan (next table); a training step on a CPU has one or train.threads. "
    "Memory: the largest peak of a whole trial, of the device on CUDA, else resident memory."
)
_PLAN = (
    "GFLOP: of one plan of one pair (of a feed-forward policy one inference), both frames encoded, "
    "every candidate of every iteration rolled out; matrix products, attention and convolutions by "
    "torch.utils.flop_counter, 2 for each multiply-add, elementwise operations not counted. "
    "Seconds: wall time of one call of the planner's solve (or of one inference), from raw pixels "
    "to actions, device synchronised, warm-up excluded, of one pair alone or of many together; p50 "
    "and p95 over repetitions. Threads: on a CPU they divide the pairs among them; one pair alone "
    "has one. A plan is executed for several blocks, an inference for one."
)
_PLANNER = {"candidates": "planner", "iterations": "planner", "horizon_blocks": "mpc"}
_SETTINGS = {
    "timed": "Timed",
    "candidates": "Candidates",
    "iterations": "Iterations",
    "horizon_blocks": "Horizon, blocks",
    "device": "Device",
    "threads": "Threads",
}
_BY = ["cell", "device", "threads"]


def _raw(run: load.Run) -> pd.DataFrame:
    """Trials of one cell on different machines stand apart; controls are left out."""
    trials = run.trials
    where = trials[["key", "config_hash", "device", "threads"]]
    metrics = run.metrics[run.metrics["stage"].isin(["model", "plan_time"])]
    metrics = metrics.merge(where, on=["key", "config_hash"])
    by_place = {place: part for place, part in metrics.groupby(_BY)}
    rows = []
    for place, part in trials.groupby(_BY):
        own = by_place.get(place, metrics.iloc[:0])
        planned = _planned(run, place[0], own[own["stage"] == "plan_time"])
        trained = (part["train_steps"] > 0).any() or (part["parameters_trained"] > 0).any()
        if trained or planned["timed"]:
            row = format.identity(run, place[0]) | _trained(part, own) | planned
            rows.append(row | {"device": place[1], "threads": place[2]})
    return format.in_order(run, pd.DataFrame(rows))


def _trained(part: pd.DataFrame, metrics: pd.DataFrame) -> dict[str, Any]:
    """Sizes and training of the trials `part` of one cell; NaN where nothing was recorded."""
    sizes = metrics[metrics["stage"] == "model"].groupby("name")["value"].max()
    window = sizes.get("window_frames", np.nan)
    batch = load.setting(part, "train.batch_size")
    timed = part[part["train_s"] > 0]
    steps_per_s = (timed["train_steps"] / timed["train_s"]).mean()
    return {
        "seeds": part["seed"].nunique(),
        "parameters_trained": part["parameters_trained"].mean(),
        "parameters_frozen": part["parameters_frozen"].mean(),
        "tokens_per_frame": part["tokens_per_frame"].max(),
        "latent_floats_per_frame": sizes.get("latent_floats", np.nan),
        "train_steps": part["train_steps"].mean(),
        "train_s": part["train_s"].mean(),
        "steps_per_s": steps_per_s,
        "train_frames_per_s": steps_per_s * (np.nan if batch is None else batch) * window,
        "peak_memory_bytes": part["peak_memory_bytes"].max(),
    }


def _planned(run: load.Run, cell: int, metrics: pd.DataFrame) -> dict[str, Any]:
    """Operations and times of a plan; repetitions of all trials of the cell together."""
    times = metrics[metrics["name"].str.match(r"^(solve|inference)_s(_\d+)?$")]
    pairs = times["name"].str.extract(r"(\d+)$")[0].fillna("1").astype(int)
    inferred = times["name"].str.startswith("inference").any()
    row = dict.fromkeys(_PLANNER) if inferred or times.empty else _planner(run, cell)
    row["timed"] = None if times.empty else "inference" if inferred else "plan"
    row["plan_flops"] = metrics.loc[metrics["name"] == "flops", "value"].mean()
    for n, values in times.groupby(pairs)["value"]:
        row |= _solve_columns(int(n), values.to_numpy())
    own = run.cells.loc[cell]
    papers = {} if published.of_tests(own) else published.plan_time()
    if papers:
        paper = papers.get(published.name_of(own["method"], own["variant"]))
        row |= format.published_columns("published_plan_s", None if times.empty else paper)
    return row


def _planner(run: load.Run, cell: int) -> dict[str, Any]:
    """Planner settings of a cell, None where its configuration does not say."""
    part = run.trials[run.trials["cell"] == cell]
    return {key: load.setting(part, f"{branch}.{key}") for key, branch in _PLANNER.items()}


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


def _training_frame(rows: pd.DataFrame) -> pd.DataFrame:
    frame = format.method_columns(rows)
    frame["Training seeds"] = rows["seeds"].map(format.whole)
    frame["Trained, M"] = (rows["parameters_trained"] / 1e6).map(format.three)
    frame["Frozen, M"] = (rows["parameters_frozen"] / 1e6).map(format.three)
    frame["Tokens"] = rows["tokens_per_frame"].map(format.whole)
    frame["Floats"] = rows["latent_floats_per_frame"].map(format.whole)
    frame["Frames/s"] = rows["train_frames_per_s"].map(format.whole)
    frame["Steps"] = rows["train_steps"].map(format.whole)
    frame["Training, s"] = rows["train_s"].map(format.whole)
    frame["Memory, GiB"] = (rows["peak_memory_bytes"] / 2**30).map(format.three)
    frame["Device"] = rows["device"].map(format.text)
    frame["Threads"] = rows["threads"].map(format.text)
    return frame


def _plan_frame(rows: pd.DataFrame) -> pd.DataFrame:
    frame = format.method_columns(rows)
    frame["GFLOP"] = (rows["plan_flops"] / 1e9).map(format.three)
    for n in _solve_sizes(rows):
        words = "1 pair" if n == 1 else f"{n} pairs"
        frame[f"{words}, p50 s"] = rows[f"solve_{n}_p50_s"].map(format.three)
        frame[f"{words}, p95 s"] = rows[f"solve_{n}_p95_s"].map(format.three)
    for n in _solve_sizes(rows):
        frame[f"Repetitions of {n}"] = rows[f"solve_{n}_repetitions"].map(format.whole)
    for name, words in _SETTINGS.items():
        frame[words] = rows[name].map(format.text)
    if "published_plan_s" in rows and rows["published_plan_s"].notna().any():
        frame["Published, s"] = rows["published_plan_s"].map(format.three)
    return frame
