"""The efficiency table: what a method costs, in training and for one plan."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from harness.records.metric_names import PlanTimeName
from harness.report import format, load, published
from harness.report.format import Column, metric, over_trials


def efficiency_table(run: load.RunTables) -> format.Table:
    """One row per cell, device and thread count: sizes, training, one plan and many together; one
    section of trainings a scale, since none depends on a protocol, and one of plans.
    """
    times = plan_times(run)
    raw = _raw(run, times)
    sections = []
    for _, rows in raw.groupby("scale", sort=False) if len(raw) else ():
        trained = rows[rows["trains"]].reset_index(drop=True)
        if len(trained):
            title, frame = format.tasks(run, trained), format.shown_columns(run, trained, COLUMNS)
            for heading, name in _MACHINE.items():
                frame[heading] = trained[name].map(format.text)
            frame, more = format.fold(frame, ["Training seeds", *_MACHINE])
            sections.append(format.section(run, title, trained, f"{_TRAINING}{more}", frame))
        planned = rows[rows["timed"].notna() | rows["plan_flops"].notna()].reset_index(drop=True)
        if len(planned):
            title = f"{format.tasks(run, planned)}: one plan"
            sizes = sorted(times.loc[times["cell"].isin(planned["cell"]), "pairs"].unique())
            repetitions = [f"Repetitions of {n}" for n in sizes]
            frame, more = format.fold(
                _plan_frame(run, planned, sizes), [*_SETTINGS.values(), *repetitions]
            )
            words = f"{_PLAN}{_shared(run, planned)}{more}"
            words += format.sources(run, planned, "published_plan_s")
            sections.append(format.section(run, title, planned, words, frame))
    raw = raw.drop(columns="trains", errors="ignore")
    return format.Table("efficiency", "Efficiency", raw, sections)


def plan_times(run: load.RunTables) -> pd.DataFrame:
    """Long: cell, device, threads, timed ("plan" or "inference"), pairs of one call, and over all
    repetitions of the cell's trials p50_s, p95_s, repetitions. Without the times of trials that
    shared their device, which say nothing about a method.
    """
    metrics = run.metrics[run.metrics["stage"] == "plan_time"]
    alone = run.trials.loc[~run.trials["device_shared"], ["key", "config_hash"]]
    metrics = metrics.merge(alone)
    texts = metrics["name"].unique()
    names = {name: parts for name in texts if (parts := PlanTimeName.of(name))}
    metrics = metrics[metrics["name"].isin(names)]
    metrics = metrics.merge(run.trials[["key", "config_hash", *_MACHINE.values()]])
    timed = metrics["name"].map({name: _TIMED[n.timed] for name, n in names.items()})
    pairs = metrics["name"].map({name: n.pairs for name, n in names.items()})
    by = [*_BY, timed.rename("timed"), pairs.rename("pairs")]
    seconds = metrics.groupby(by)["value"]
    columns = {"p50_s": seconds.quantile(0.5), "p95_s": seconds.quantile(0.95)}
    return pd.DataFrame(columns | {"repetitions": seconds.size()}).reset_index()


def _shared(run: load.RunTables, rows: pd.DataFrame) -> str:
    """A sentence on the trials of these cells whose plan times are left out."""
    own = run.trials[run.trials["cell"].isin(rows["cell"])]
    count = int(own["device_shared"].sum())
    trials = format.counted(count, "trial")
    words = f" Left out: the plan times of {trials} whose device others used meanwhile."
    return words if count else ""


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
_TIMED = {"solve": "plan", "inference": "inference"}
_PLANNER = {  # column -> its key
    "planner": "planner_name",
    "candidates": "planner.candidates",
    "iterations": "planner.iterations",
    "horizon_blocks": "mpc.horizon_blocks",
}
_MACHINE = {"Device": "device", "Threads": "threads"}
_SETTINGS = {
    "timed": "Timed",
    "planner": "Planner",
    "candidates": "Candidates",
    "iterations": "Iterations",
    "horizon_blocks": "Horizon, blocks",
} | {name: heading for heading, name in _MACHINE.items()}
_BY = ["cell", *_MACHINE.values()]


def _steps_per_s(trials: pd.DataFrame, _: pd.DataFrame) -> float:
    timed = trials[trials["train_s"] > 0]
    return (timed["train_steps"] / timed["train_s"]).mean()


def _frames_per_s(trials: pd.DataFrame, metrics: pd.DataFrame) -> float:
    """NaN where no batch or no window was recorded."""
    batch = load.setting(trials, "train.batch_size")
    window = metric("model", "window_frames")(trials, metrics)
    return _steps_per_s(trials, metrics) * (np.nan if batch is None else batch) * window


COLUMNS = [  # of training, in this order; a new metric is one entry more
    Column("Training seeds", "seeds", lambda trials, _: trials["seed"].nunique(), format.whole),
    Column(
        "Trained, M",
        "parameters_trained",
        over_trials("mean", "parameters_trained"),
        format.millions,
    ),
    Column(
        "Frozen, M", "parameters_frozen", over_trials("mean", "parameters_frozen"), format.millions
    ),
    Column("Tokens", "tokens_per_frame", over_trials("max", "tokens_per_frame"), format.whole),
    Column("Floats", "latent_floats_per_frame", metric("model", "latent_floats"), format.whole),
    Column("Frames/s", "train_frames_per_s", _frames_per_s, format.whole),
    Column("Steps", "train_steps", over_trials("mean", "train_steps"), format.whole),
    Column("Training, s", "train_s", over_trials("mean", "train_s"), format.whole),
    Column("", "steps_per_s", _steps_per_s, format.three),
    Column(
        "Memory, GiB",
        "peak_memory_bytes",
        over_trials("max", "peak_memory_bytes"),
        format.gibibytes,
    ),
]


def _raw(run: load.RunTables, times: pd.DataFrame) -> pd.DataFrame:
    """Trials of one cell on different machines stand apart; controls are left out."""
    metrics = run.metrics.merge(run.trials[["key", "config_hash", *_MACHINE.values()]])
    metrics_of = dict(list(metrics.groupby(_BY)))
    times_of = dict(list(times.groupby(_BY)))
    own_training = load.one_per_training(run.trials)["cell"].unique()
    rows = []
    for by, trials in run.trials.groupby(_BY):
        own, timed = metrics_of.get(by, metrics.iloc[:0]), times_of.get(by, times.iloc[:0])
        trained = (trials["train_steps"] > 0).any() or (trials["parameters_trained"] > 0).any()
        if trained or len(timed):
            row = {"cell": by[0]} | {column.name: column.value(trials, own) for column in COLUMNS}
            row["trains"] = by[0] in own_training
            row["plan_flops"] = metric("plan_time", "flops")(trials, own)
            rows.append(row | _planned(run, by[0], timed) | dict(zip(_BY, by, strict=True)))
    return format.of_cells(run, rows)


def _planned(run: load.RunTables, cell: int, times: pd.DataFrame) -> dict[str, Any]:
    """Planner settings, None where the configuration does not say, and times of a plan."""
    timed = None if times.empty else times["timed"].iloc[0]
    row = dict.fromkeys(_PLANNER)
    if timed == "plan":
        own = run.trials[run.trials["cell"] == cell]
        row = {name: load.setting(own, key) for name, key in _PLANNER.items()}
    row["timed"] = timed
    for size in times.itertuples():
        row[f"solve_{size.pairs}_p50_s"] = size.p50_s
        row[f"solve_{size.pairs}_p95_s"] = size.p95_s
        row[f"solve_{size.pairs}_repetitions"] = size.repetitions
        if size.pairs > 1:
            row[f"solve_{size.pairs}_per_plan_s"] = size.p50_s / size.pairs
    if timed and (paper := published.plan_s(run.cells.loc[cell])):
        row |= format.published_columns("published_plan_s", paper)
    return row


def _plan_frame(run: load.RunTables, rows: pd.DataFrame, sizes: list[int]) -> pd.DataFrame:
    frame = format.method_columns(run, rows)
    frame["GFLOP"] = (rows["plan_flops"] / 1e9).map(format.three)
    for n in sizes:
        words = format.counted(n, "pair")
        frame[f"{words}, p50 s"] = rows[f"solve_{n}_p50_s"].map(format.three)
        frame[f"{words}, p95 s"] = rows[f"solve_{n}_p95_s"].map(format.three)
    for n in sizes:
        frame[f"Repetitions of {n}"] = rows[f"solve_{n}_repetitions"].map(format.whole)
    for name, words in _SETTINGS.items():
        frame[words] = rows[name].map(format.text)
    if "published_plan_s" in rows and rows["published_plan_s"].notna().any():
        frame["Published, s"] = rows["published_plan_s"].map(format.three)
    return frame
