"""The table of evaluations: one training under other planners, horizons, dynamics or costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from harness.report import format, load, stats, success_rates
from harness.report.tables import efficiency

_WHOLE = ("cem", "model")  # variants that the others of a method are compared with
_CAPTION = (
    "{pairs} {split} pairs of a task each. Success in percent, in brackets {intervals}. "
    "Evaluation: its name in the trials' keys."
)
WAYS = {  # variant of suite=blame -> a sentence that says how its plans are found
    "model": "the method's own dynamics predict where a plan ends, and its own cost compares that "
    "latent with the goal's.",
    "simulated": "each candidate plan is carried out in the simulator, and the method's encoder "
    "and cost compare the frame at its end with the goal's, so that no prediction can be wrong.",
    "probed": "the method's own dynamics predict the end of a plan, and the cost is the distance "
    "of the poses that a probe reads in its latent and in the goal's.",
}
_SHARES = " A number behind a planner's name is the share of its iterations that it does."
_OF_COLUMNS = {
    "Hard pairs %": f"Hard pairs: {{hard}}, {success_rates.HARD}.",
    "Rollouts": "Rollouts: those of one plan; a step down a gradient counts as three.",
    "Seconds": "Seconds: median wall time of one plan of one pair.",
}
_COMPARED = (
    " {heading}: points of success minus those of {whole}, with the same weights on the same pairs "
    "and the bootstrap's 95 % interval over groups of pairs; p: exact, after Holm's correction for "
    "all such comparisons of a task in this table (those on hard pairs are a family of their own). "
    f"{format.DISAGREEING}"
)
_WHOLES = {  # kind of key -> heading of the difference, and what is subtracted
    "planner": ("− CEM", "CEM with all its iterations"),
    "mpc": ("− model", "the evaluation with the model's own dynamics and cost"),
}
_DIFFERENCE = ("points", "low_points", "high_points", "p")
_HARD = "hard_"
_GRADIENT = ("adam", "rmsprop", "sgd")


def cells(run: load.RunTables) -> list[int]:
    """The cells whose trials give such a key a value."""
    swept = load.sweep_values(run.metrics)
    return list(swept.loc[swept["name"].str.startswith(load.OF_PROTOCOL), "cell"].unique())


def evaluations_table(run: load.RunTables, estimates: pd.DataFrame) -> format.Table:
    """A section for each kind of key, scale, protocol's name and split: a row per evaluation."""
    raw = _raw(run, estimates)
    sections = []
    by = ["kind", "scale", "protocol", "split"]
    for (kind, scale, protocol, split), rows in raw.groupby(by, sort=False) if len(raw) else ():
        pairs = format.span(rows["pairs"])
        words = _CAPTION.format(pairs=pairs, split=split, intervals=format.INTERVALS)
        heading, whole = _WHOLES.get(kind, ("", ""))
        frame = _frame(run, rows.reset_index(drop=True), heading)
        if kind == "planner" and rows["variant"].str.contains("-").any():
            words += _SHARES
        known = rows["variant"].unique() if kind == "mpc" else ()
        words += "".join(f" {name}: {said}" for name, said in WAYS.items() if name in known)
        hard = ", ".join(name for name in rows["hard_pairs"].unique() if name)
        said = [said.format(hard=hard) for column, said in _OF_COLUMNS.items() if column in frame]
        words += "".join(f" {sentence}" for sentence in said)
        if heading in frame:
            words += _COMPARED.format(heading=heading, whole=whole)
        title = f"{_TITLES[kind]}, {protocol}, scale {scale}, {split} pairs"
        sections.append(format.section(run, title, rows, words, frame, headline=True))
    return format.Table("evaluations", "One training, several evaluations", raw, sections)


_TITLES = {
    "planner": "Planners",
    "protocol": "Goals further away",
    "mpc": "Horizons, replans, dynamics and costs",
}


def _raw(run: load.RunTables, estimates: pd.DataFrame) -> pd.DataFrame:
    """One row per cell and split."""
    keys = load.sweep_values(run.metrics).drop_duplicates("cell").set_index("cell")
    known = success_rates.beside_cells(run, estimates[estimates["cell"].isin(cells(run))])
    known = success_rates.with_hardest(run, estimates, known)
    seconds = efficiency.plan_times(run)
    seconds = seconds[seconds["pairs"] == 1].groupby("cell")["p50_s"].median()
    rows, outcomes = [], _on_shared_pairs(run, keys)
    for row in known.itertuples():
        key, value = keys.loc[row.cell, ["name", "value"]]
        rows.append(
            {"cell": row.cell, "split": row.split, "kind": key.partition(".")[0], "key": key}
            | {"value": value, "rollouts": rollouts(run, row.cell)}
            | {"success_pct": row.mean, "low_pct": row.low, "high_pct": row.high}
            | {"hard_pairs": row.hard, "hard_success_pct": row.hard_mean}
            | {"hard_low_pct": row.hard_low, "hard_high_pct": row.hard_high}
            | {"pairs": row.pairs, "seeds": row.seeds}
            | {"solve_1_p50_s": seconds.get(row.cell, np.nan)}
            | _difference(
                run, outcomes, row.cell, row.split, {"": success_rates.ALL, _HARD: row.hard}
            )
        )
    raw = format.of_cells(run, rows)
    if raw.empty:
        return raw
    family = ["task", "kind", "scale", "protocol", "split"]
    for p in ("minus_whole_p", f"{_HARD}minus_whole_p"):
        raw[f"{p}_holm"] = raw.groupby(family)[p].transform(stats.holm)
    return _ordered(run, raw)


def _ordered(run: load.RunTables, raw: pd.DataFrame) -> pd.DataFrame:
    """Rows by task, method and key: CEM, which the others are compared with, before the other
    planners, and each planner from all of its iterations down; those of suite=blame as in WAYS.
    """
    is_planner = raw["kind"] == "planner"
    order = raw.assign(
        task=raw["task"].map(run.tasks["rank"]),
        method=raw["method"].map(run.methods["rank"]),
        other=~raw["key"].str.startswith("planner.cem."),
        way=raw["variant"].map({name: place for place, name in enumerate(WAYS)}).fillna(-1),
        value=raw["value"].where(~is_planner, -raw["value"]),
        share=raw["variant"].str.len(),  # "cem" before "cem-0.5", where both do one iteration
    ).sort_values(["task", "method", "other", "way", "key", "value", "share"], kind="stable")
    return raw.loc[order.index].reset_index(drop=True)


def _on_shared_pairs(run: load.RunTables, keys: pd.DataFrame) -> dict:
    """The outcomes of evaluations that differ in planner, horizon, dynamics or cost alone, with one
    number for the same pair under all of them.
    """
    alike = keys.index[~keys["name"].str.startswith("protocol.")].intersection(cells(run))
    groups = run.cells.loc[alike].groupby(["task", "scale", "protocol"]).ngroup()
    episodes = run.episodes[run.episodes["cell"].isin(alike)].reset_index(drop=True)
    episodes["comparison_id"] = episodes["cell"].map(groups)
    return success_rates.outcomes(run._replace(episodes=load.number_pairs(episodes)))


def rollouts(run: load.RunTables, cell: int) -> float:
    """Rollouts of one plan of one pair: candidates times iterations; NaN where none is planned."""
    trials = run.trials[run.trials["cell"] == cell]
    planner = load.setting(trials, "planner_name")
    sizes = [load.setting(trials, f"planner.{name}") for name in ("candidates", "iterations")]
    if None in sizes or not run.methods.loc[run.cells.loc[cell, "method"], "plans"]:
        return np.nan
    return float(sizes[0]) * float(sizes[1]) * (3 if planner in _GRADIENT else 1)


def _difference(
    run: load.RunTables, outcomes: dict, cell: int, split: str, subsets: dict[str, str]
) -> dict[str, Any]:
    """Against the same method's whole evaluation on the same pairs, for each of `subsets`: a
    beginning of columns -> kind of pairs. Blanks where there is none.
    """
    columns = {
        subset: [f"{prefix}minus_whole_{name}" for name in _DIFFERENCE]
        for prefix, subset in subsets.items()
    }
    blank = dict.fromkeys([name for names in columns.values() for name in names], np.nan)
    own = run.cells.loc[cell]
    same = ["task", "method", "scale", "protocol"]
    alike = (run.cells[same] == own[same]).all(axis=1) & run.cells["variant"].isin(_WHOLE)
    whole = [other for other in run.cells.index[alike] if other != cell]
    known = all((other, split) in outcomes for other in (cell, *whole))
    if own["variant"] in _WHOLE or len(whole) != 1 or not known:
        return blank
    for row in success_rates.paired(outcomes[cell, split], outcomes[whole[0], split]):
        points = [100 * row[name] for name in ("difference", "low", "high")]
        blank |= zip(columns.get(row["subset"], ()), [*points, row["p_value"]], strict=False)
    return blank


def _frame(run: load.RunTables, rows: pd.DataFrame, heading: str) -> pd.DataFrame:
    """`heading`: of the column of differences."""
    shown = {
        "Task": rows["task"].map(run.task_label),
        "Method": rows["method"].map(run.method_label),
        "Evaluation": rows["variant"],
        "Success %": format.with_interval(rows, "success_pct", "low_pct", "high_pct"),
    }
    if rows["hard_success_pct"].notna().any():
        names = ("hard_success_pct", "hard_low_pct", "hard_high_pct")
        shown["Hard pairs %"] = format.with_interval(rows, *names)
    if rows["rollouts"].notna().any():
        shown["Rollouts"] = rows["rollouts"].map(format.whole)
    if rows["solve_1_p50_s"].notna().any():
        shown["Seconds"] = rows["solve_1_p50_s"].map(format.three)
    for prefix, of in (("", ""), (_HARD, ", hard")):
        points, low, high, p = (f"{prefix}minus_whole_{name}" for name in _DIFFERENCE)
        if rows[points].notna().any():
            shown[f"{heading}{of}"] = format.with_interval(rows, points, low, high, format.signed)
            shown[f"p{of}"] = rows[f"{p}_holm"].map(format.p_value)
    return pd.DataFrame(shown)
