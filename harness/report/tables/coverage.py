"""The coverage table: which figures and tables of the LeWM paper a run's rows reproduce."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import pandas as pd

from harness.report import format, load, published, success_rates

_CAPTION = (
    "Every figure and table of results in the LeWM paper (arXiv 2603.19312 v3), decided from the "
    "rows of this run alone. Reproduced: the same quantity was measured for every task and method "
    "that the item names, at this scale, under any protocol but those of tests (here: "
    "{protocols}); it does not mean the same value. Partly: for some of them; Missing names the "
    "others, as methods= and tasks= do. A sweep needs at least two values of its key. Gap: our "
    "value minus the published one where the paper gives it, mean over tasks and methods, and the "
    "largest; in points of success or, for probes, in hundredths of the MLP probe's r, averaged "
    "over a task's quantities. Command: makes what is missing; add the scale, "
    "protocol and run that are wanted (with run= an item stands in the report of that run)."
)
REPRODUCED, PARTLY, NOT = "reproduced", "partly", "not"
_SUCCESS = "success"  # the stage of an item that needs episodes
_ANY = "any"
_LISTED = 4  # missing parts that are named


class _Part(NamedTuple):
    """The needs of an item of one method on one task."""

    found: int
    needed: int
    missing: str  # "": nothing; else what, behind the names of method and task
    gaps: list[float]  # of what was found: ours minus the paper's


def coverage_table(
    run: load.RunTables, estimates: pd.DataFrame, probing: pd.DataFrame
) -> format.Table:
    """One section a scale with a row for each item; none where no row is of the paper's tasks.
    `probing` are the rows of the probing table.
    """
    items = published.items()
    cells = _cells(run, estimates, probing)
    cells = cells[cells["task"].isin({task for item in items for task in item.tasks})]
    raw, sections = [], []
    for scale, own in cells.groupby("scale", sort=False):
        protocols = ", ".join(own["protocol"].unique())
        rows = [{"scale": scale, "protocols": protocols} | _row(item, own) for item in items]
        raw += rows
        caption = f"Run {run.name}, scale {scale}. {_CAPTION.format(protocols=protocols)}"
        sections.append(format.Section(f"Scale {scale}", caption, _frame(run, pd.DataFrame(rows))))
    return format.Table("coverage", "What of the paper is reproduced", pd.DataFrame(raw), sections)


def _cells(run: load.RunTables, estimates: pd.DataFrame, probing: pd.DataFrame) -> pd.DataFrame:
    """The cells without those of tests, each with what was measured of it (stages, and metrics as
    "stage:name"), its success (on test pairs where it has any) and probing gap, and its
    configuration.
    """
    cells = run.cells[~run.cells.apply(published.of_tests, axis=1).astype(bool)].copy()
    metrics = run.metrics[["cell", "stage", "name"]].drop_duplicates()
    measured = {
        cell: {*own["stage"], *(own["stage"] + ":" + own["name"])}
        for cell, own in metrics.groupby("cell")
    }
    rates = estimates[estimates["subset"] == success_rates.ALL].sort_values("split")
    rates = rates.drop_duplicates("cell").set_index("cell")["mean"]
    configs = run.trials.groupby("cell")["config_yaml"].first()
    cells["success_pct"] = 100 * rates.reindex(cells.index)
    cells["measured"] = [
        measured.get(cell, set()) | ({_SUCCESS} if cell in rates.index else set())
        for cell in cells.index
    ]
    cells["config"] = [load.flat_config(configs[cell]) for cell in cells.index]
    cells["probing_gap"] = math.nan
    if "published_mlp_r" in probing:
        gaps = 100 * (probing["mlp_r"] - probing["published_mlp_r"])
        cells["probing_gap"] = gaps.groupby(probing["cell"]).mean().reindex(cells.index)
    return cells


def _row(item: published.Item, cells: pd.DataFrame) -> dict[str, Any]:
    """An item's row: its parts put together."""
    parts = {
        (task, method): _part(item, cells[(cells["task"] == task) & (cells["method"] == method)])
        for method in item.methods
        for task in item.tasks
        if item.published != "success" or published.success_of(task, method)
    }
    found = sum(part.found for part in parts.values())
    needed = sum(part.needed for part in parts.values())
    gaps = [(gap, pair) for pair, part in parts.items() for gap in part.gaps if not math.isnan(gap)]
    largest, (task, method) = max(gaps, key=lambda gap: abs(gap[0]), default=(math.nan, ("", "")))
    return {
        "item": item.item,
        "title": item.title,
        "status": REPRODUCED if found == needed else PARTLY if found else NOT,
        "found": found,
        "needed": needed,
        "missing": _missing(parts) if found else "all",
        "mean_gap": sum(gap for gap, _ in gaps) / len(gaps) if gaps else math.nan,
        "largest_gap": largest,
        "largest_gap_task": task,
        "largest_gap_method": method,
        "command": item.command,
    }


def _part(item: published.Item, cells: pd.DataFrame) -> _Part:
    """The needs of the item of these cells, which are those of one method on one task."""
    has_all = cells["measured"].map(set(item.stages).issubset).astype(bool)
    measured = cells[has_all]
    if item.key:
        return _swept(item, measured)
    plain = measured[measured["variant"] == ""]
    enough = plain[plain["seeds"] >= item.seeds]
    if len(enough):
        cell = enough.iloc[0]
        return _Part(1, 1, "", [_gap(item, cell, "")])
    if len(plain):
        return _Part(0, 1, f" ({plain['seeds'].max()} of {item.seeds} seeds)", [])
    stages = ", ".join(name.replace(":", " ").replace("_", " ") for name in item.stages)
    return _Part(0, 1, f" (no {stages})" if len(cells) else "", [])


def _swept(item: published.Item, cells: pd.DataFrame) -> _Part:
    """The values of the item's key at which it was measured."""
    key = f"config.{load.config_key(item.key)}"
    at: dict[str, pd.Series] = {}
    for _, cell in cells.iterrows():
        if key in cell["config"]:
            at.setdefault(str(cell["config"][key]), cell)
    short = item.key.rpartition(".")[2]
    if item.values[0] == _ANY:
        needed = int(item.values[1])
        found = min(len(at), needed) if len(at) > 1 else 0
        missing = f" ({len(at)} of {needed} values of {short})" if found < needed else ""
        return _Part(found, needed, missing, [])
    pairs = (value.partition("=") for value in item.values)
    wanted = {value: name or value for value, _, name in pairs}
    known = [value for value in wanted if value in at]
    found = len(known) if len(known) > 1 else 0
    absent = [value for value in wanted if value not in at]
    gaps = [_gap(item, at[value], wanted[value]) for value in known] if found else []
    return _Part(found, len(wanted), f" ({short} {', '.join(absent)})" if absent else "", gaps)


def _gap(item: published.Item, cell: pd.Series, setting: str) -> float:
    """Ours minus the paper's number; NaN where the paper has none."""
    kind, _, name = item.published.partition(":")
    theirs = math.nan
    if kind == "probing":
        return cell["probing_gap"]
    if kind == "success":
        paper = published.success_of(cell["task"], cell["method"])
        theirs = paper.value if paper else math.nan
    elif kind == "training_variance":
        theirs = published.over_training_seeds(cell["task"], cell["method"])
    elif kind == "ablation":
        theirs = published.ablation(name.format(method=cell["method"]), setting)
    return cell["success_pct"] - theirs


def _missing(parts: dict[tuple[str, str], _Part]) -> str:
    """ "pldm on cube, reacher; lewm on cube (no surprise)"."""
    tasks: dict[tuple[str, str], list[str]] = {}
    for (task, method), part in parts.items():
        if part.found < part.needed:
            tasks.setdefault((method, part.missing), []).append(task)
    words = [f"{method} on {', '.join(on)}{why}" for (method, why), on in tasks.items()]
    return "; ".join(format.few(words, _LISTED))


def _frame(run: load.RunTables, rows: pd.DataFrame) -> pd.DataFrame:
    states = {
        REPRODUCED: "reproduced at scale {scale}",
        PARTLY: "partly: {found} of {needed}",
        NOT: "not",
    }
    return pd.DataFrame(
        {
            "Item": rows["item"],
            "Title": rows["title"],
            "Status": [states[row["status"]].format(**row) for row in rows.to_dict("records")],
            "Missing": rows["missing"].map(format.text),
            "Gap": [_gap_words(run, row) for row in rows.itertuples()],
            "Command": rows["command"],
        }
    )


def _gap_words(run: load.RunTables, row: Any) -> str:
    """ "mean −20, largest −75 (LeWM, Push-T)"."""
    if math.isnan(row.mean_gap):
        return format.BLANK
    mean, largest = (f"{gap:+.0f}".replace("-", "−") for gap in (row.mean_gap, row.largest_gap))
    of = f"{run.method_label(row.largest_gap_method)}, {run.task_label(row.largest_gap_task)}"
    return f"mean {mean}, largest {largest} ({of})"
