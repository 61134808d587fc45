"""Runs compared pair by pair: the same starts and goals, solved by the methods of two runs.

Two trials can be compared where they were evaluated on the same pairs: the same task, protocol,
dataset and split (their hashes), and the same pair, kind of sample, recorded episode and start.
What cannot be compared is named with the reason: a line a reason on the terminal, a row each in the
CSV.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import pandas as pd

from harness.report import format, load, stats, success_rates

_PROTOCOL = ("protocol.", "planner.", "mpc.", "planner_name")  # keys that its hash is made of
_NOT_TRAINED = (*_PROTOCOL, "weights.")  # keys that no training depends on
_DATA = ("data.",)
NAME = "compared"  # of the table and its files
_NAMED = 4  # differing keys that a reason names
_CAPTION = (
    "Runs {runs}. Success in percent and its difference in points on the pairs that both were "
    "evaluated on; a kind of pairs besides all has the extra pairs drawn for it. 95 % interval: "
    "bootstrap over recorded episodes, which are resampled jointly, and over training seeds. p: "
    "exact two-sided test over one sign for each episode's summed differences, with several "
    "training seeds at least that of Welch's t-test; after Holm's correction for one family a "
    "task: its differences on all pairs ({tests} in all). Those on kinds of pairs describe where a "
    "difference comes from and are a family of their own. Won, lost: pairs that the first solves "
    f"more often, or less. {format.DISAGREEING}"
)


class Comparison(NamedTuple):
    """A comparison's two tables: the pairs that could be compared, and the cases that could not."""

    compared: format.Table
    refused: format.Table


class _Refusal(NamedTuple):
    """Something that is not compared."""

    task: str  # "" where it is not known
    what: str  # "LeWM (B), LeWM (A)"
    reason: str  # alike for all that are refused alike
    details: str = ""  # hashes and settings that differ


def compare(runs: Mapping[str, load.RunTables], methods: Collection[str] = ()) -> Comparison:
    """Compare each two of these runs (by the names that they are to have), the later one minus the
    earlier: methods of the same name, and a method that only one of the two has on a task with all
    of the other's. `methods` are the only ones to compare, all where none is named.
    """
    joined = _joined(runs)
    outcomes = success_rates.outcomes(joined)
    sides = joined.cells.rename_axis("cell").reset_index().itertuples()
    sides = [side for side in sides if not methods or side.method in methods]
    rows, refusals = [], _elsewhere(runs, methods)
    for first, second in itertools.combinations(runs, 2):
        for a, b in _opposed(sides, first, second):
            found = _differences(joined, outcomes, a, b)
            trainings = _trainings_differ(joined, a, b) if found else ""
            rows += [row | {"trainings_differ": trainings} for row in found]
            if not found:
                names = f"{b.label} ({b.run}), {a.label} ({a.run})"
                refusals.append(_Refusal(a.task, names, *_reason(joined, outcomes, a, b)))
    return Comparison(_compared(runs, joined, rows), _refused(joined, refusals))


def _joined(runs: Mapping[str, load.RunTables]) -> load.RunTables:
    """One run of all, whose cells know their run and whose pairs are numbered together. The scale
    does not tell pairs apart, only their data do.
    """
    parts: dict[str, list[pd.DataFrame]] = {}
    offset = 0
    for name, run in runs.items():
        pairs = run.metrics[run.metrics["stage"] == "pairs"]
        known = {"trials": run.trials, "episodes": run.episodes, "metrics": pairs}
        for kind, table in known.items():
            parts.setdefault(kind, []).append(table.assign(cell=table["cell"] + offset))
        cells = run.cells.assign(run=name)
        cells.index = cells.index + offset
        parts.setdefault("cells", []).append(cells)
        parts.setdefault("tasks", []).append(run.tasks)
        parts.setdefault("methods", []).append(run.methods)
        offset += len(cells)
    tables = {kind: pd.concat(own) for kind, own in parts.items()}
    for kind in ("tasks", "methods"):
        tables[kind] = tables[kind][~tables[kind].index.duplicated()]
    cells = tables["cells"]
    cells["comparison_id"] = cells.groupby(["task", "protocol_hash"]).ngroup()
    episodes = tables["episodes"].reset_index(drop=True)
    episodes["comparison_id"] = episodes["cell"].map(cells["comparison_id"])
    first = next(iter(runs.values()))
    return first._replace(**tables | {"episodes": load.number_pairs(episodes)})


def _opposed(sides: list[Any], first: str, second: str) -> list[tuple[Any, Any]]:
    """The cells of two runs that are set against each other."""
    ours, theirs = ([side for side in sides if side.run == run] for run in (first, second))
    shared = set(map(_name, ours)) & set(map(_name, theirs))
    return [
        (a, b)
        for a, b in itertools.product(ours, theirs)
        if a.task == b.task and (_name(a) == _name(b) or not {_name(a), _name(b)} <= shared)
    ]


def _name(side: Any) -> tuple[str, str, str]:
    """Name a cell so that the same method on the same task has the same name in both runs."""
    return side.task, side.method, side.variant


def _differences(joined: load.RunTables, outcomes: dict, a: Any, b: Any) -> list[dict[str, Any]]:
    """A row for each split and kind of pairs on which both were evaluated: b minus a."""
    rows = []
    for split in sorted({split for cell, split in outcomes if cell == b.cell}):
        if (a.cell, split) not in outcomes:
            continue
        for found in success_rates.paired(outcomes[b.cell, split], outcomes[a.cell, split]):
            names = {"task": b.task, "split": split, "method": b.label, "run": b.run}
            rows.append(names | {"other_method": a.label, "other_run": a.run} | found)
    return rows


def _reason(joined: load.RunTables, outcomes: dict, a: Any, b: Any) -> tuple[str, str]:
    """Why two cells share no pair, and what differs."""
    ours, theirs = (joined.trials[joined.trials["cell"] == side.cell] for side in (a, b))
    for column, (what, keys) in _HASHES.items():
        one, other = set(ours[column]), set(theirs[column])
        if not one & other:
            hashes = " and ".join(", ".join(sorted(own))[:8] for own in (one, other))
            words = [
                f"{key} {one} and {other}"
                for key, one, other in _unlike(ours, theirs)
                if key.startswith(keys)
            ]
            details = "; ".join([hashes, *format.few(words, _NAMED)])
            names = [own["protocol"].iloc[0] for own in (ours, theirs)]
            if column == "protocol_hash" and names[0] == names[1]:
                return f"{what} {names[0]} with other settings", details
            named = f" {names[0]} and {names[1]}" if column == "protocol_hash" else ""
            return f"other {what}{named}", details
    splits = [{split for cell, split in outcomes if cell == side.cell} for side in (a, b)]
    if not all(splits):
        return "no episodes were recorded", ""
    if not splits[0] & splits[1]:
        return f"{', '.join(splits[0])} pairs and {', '.join(splits[1])} pairs", ""
    return "no pair in common", ""


_HASHES = {
    "protocol_hash": ("protocol", _PROTOCOL),
    "dataset_hash": ("dataset", _DATA),
    "split_hash": ("split of the dataset", _DATA),
}


def _trainings_differ(joined: load.RunTables, a: Any, b: Any) -> str:
    """ "train.steps: 20 (A), 30 (B)": the settings in which two trainings of one method differ, the
    seeds apart; "" where nothing was trained.
    """
    if _name(a) != _name(b) or joined.methods.loc[a.method, "is_control"]:
        return ""
    ours, theirs = (joined.trials[joined.trials["cell"] == side.cell] for side in (a, b))
    words = [
        f"{key}: {one} ({a.run}), {two} ({b.run})"
        for key, one, two in _unlike(ours, theirs)
        if not key.startswith(_NOT_TRAINED)
    ]
    return "; ".join(format.few(words, _NAMED))


def _unlike(ours: pd.DataFrame, theirs: pd.DataFrame) -> list[tuple[str, Any, Any]]:
    """Key and both values of the settings in which two cells differ."""
    one, other = (
        {key.removeprefix("config."): value for key, value in load.flat_config(text).items()}
        for text in (ours["config_yaml"].iloc[0], theirs["config_yaml"].iloc[0])
    )
    return [
        (key, one.get(key, "unset"), other.get(key, "unset"))
        for key in sorted(one | other)
        if key.rpartition(".")[2] not in load.NOT_SETTINGS and one.get(key) != other.get(key)
    ]


def _elsewhere(runs: Mapping[str, load.RunTables], methods: Collection[str]) -> list[_Refusal]:
    """Trials that failed, and tasks that only one of two runs has."""
    refusals = []
    for name, run in runs.items():
        for trial in run.failed.sort_values("key").itertuples():
            if not methods or trial.method in methods:
                label = run.method_label(trial.method, trial.variant)
                why = f"failed: {load.short_error(trial.error)}"
                what = f"{label}, seed {trial.seed} ({name})"
                refusals.append(_Refusal(trial.task, what, why))
        for folder, why in run.broken:
            refusals.append(_Refusal("", f"{folder} ({name})", f"cannot be read: {why}"))
    for one, other in itertools.permutations(runs, 2):
        for task in sorted(set(runs[one].cells["task"]) - set(runs[other].cells["task"])):
            why = f"{other} has no finished trial of this task"
            refusals.append(_Refusal(task, one, why))
    return refusals


def _compared(
    runs: Mapping[str, load.RunTables], joined: load.RunTables, rows: list[dict[str, Any]]
) -> format.Table:
    raw = pd.DataFrame(rows)
    if raw.empty:
        return format.Table(NAME, "Runs compared", raw, [])
    ranks = raw["task"].map(joined.tasks["rank"])
    raw = raw.loc[ranks.sort_values(kind="stable").index].reset_index(drop=True)
    is_whole = raw["subset"] == success_rates.ALL  # not one of the kinds of pairs
    raw["p_holm"] = raw.groupby(["task", "split", is_whole])["p_value"].transform(stats.holm)
    raw[["rate", "other_rate", *_POINTS]] *= 100
    frame = pd.DataFrame(
        {
            "Task": raw["task"].map(joined.task_label),
            "Method": [_against(row) for row in raw.itertuples()],
            "Kind of pairs": raw["subset"].where(
                raw["split"] == "test", raw["subset"] + ", " + raw["split"]
            ),
            "First %": raw["rate"].map(format.whole),
            "Second %": raw["other_rate"].map(format.whole),
            "Difference": format.with_interval(raw, "difference", "low", "high", format.signed),
            "p": raw["p_holm"].map(format.p_value),
            "Won": raw["wins"].map(format.whole),
            "Lost": raw["losses"].map(format.whole),
            "Pairs": raw["pairs"].map(format.whole),
        }
    )
    caption = _CAPTION.format(runs=", ".join(runs), tests=is_whole.sum())
    units = {"rate": "pct", "other_rate": "pct"} | dict.fromkeys(_POINTS, "points")
    raw = raw.rename(columns={name: f"{name}_{unit}" for name, unit in units.items()})
    sections = [format.Section(" and ".join(runs), caption, frame), *_settings(frame, raw)]
    return format.Table(NAME, "Runs compared", raw, sections)


def _settings(frame: pd.DataFrame, raw: pd.DataFrame) -> list[format.Section]:
    """The settings in which the compared trainings differ, a row for those that differ alike."""
    words = frame[["Method", "Task"]].assign(settings=raw["trainings_differ"])
    words = words[words["settings"] != ""].drop_duplicates()
    if words.empty:
        return []
    shown = words.groupby("settings", sort=False)[["Method", "Task"]].agg(
        lambda own: ", ".join(own.unique())
    )
    shown = shown.reset_index().rename(columns={"Task": "Tasks", "settings": "Settings"})
    caption = (
        "The differences above are of trainings whose settings differ too: each key with its value "
        "in both runs. Protocol and planner are the same."
    )
    return [
        format.Section("Trainings that differ", caption, shown[["Method", "Tasks", "Settings"]])
    ]


_POINTS = ("difference", "low", "high")


def _against(row: Any) -> str:
    """ "LeWM: B − A", "Mine (B) − LeWM (A)"."""
    if row.method == row.other_method:
        return f"{row.method}: {row.run} − {row.other_run}"
    return f"{row.method} ({row.run}) − {row.other_method} ({row.other_run})"


def _refused(joined: load.RunTables, refusals: list[_Refusal]) -> format.Table:
    """A line a reason: how much it concerns, on which tasks, and the first case in full."""
    raw = pd.DataFrame(refusals, columns=_Refusal._fields).drop_duplicates()
    if raw.empty:
        return format.Table(f"not_{NAME}", "Not compared", raw, [])
    ranks = raw["task"].map(joined.tasks["rank"]).sort_values(kind="stable", na_position="first")
    raw = raw.loc[ranks.index].reset_index(drop=True)
    by_reason = raw.assign(task=raw["task"].map(joined.task_label)).groupby("reason", sort=False)
    first = by_reason[["what", "details"]].first()
    shown = pd.DataFrame(
        {
            "Reason": first.index,
            "Cases": by_reason.size().map(format.whole),
            "Tasks": by_reason["task"].agg(lambda own: ", ".join(filter(None, own.unique()))),
            "Example": first["what"] + (": " + first["details"]).where(first["details"] != "", ""),
        }
    ).reset_index(drop=True)
    words = (
        "What cannot be compared, and why. A case is a method of one run with one of another, a "
        "trial that failed, or a task that one run does not have; with out=FOLDER, "
        f"not_{NAME}.csv has all of them."
    )
    section = format.Section("Not compared", words, shown)
    return format.Table(f"not_{NAME}", "Not compared", raw, [section])
