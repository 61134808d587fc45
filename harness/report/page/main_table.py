"""The page's main table: a line for each task, method and kind of pairs, and the holes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from harness.report import format, load, published, success_rates
from harness.report.figures import style
from harness.report.page import inline_svg, progress, provenance


class Line(NamedTuple):
    """A line of the table; numbers in percent, None where there is none."""

    task: str
    method: str
    kind: str  # "method", "control" or "ceiling"
    colour: str  # CSS
    stratum: str
    split: str
    protocol: str = ""  # provenance.titles; the menu chooses by it
    protocol_shown: str = ""  # the same, of a policy that does not plan without its planner
    protocol_id: str = ""  # "#11ca4ee2"
    rate: Any = None  # the row of the estimates beside their cells
    floor: float | None = None  # the random policy on the same task, protocol and pairs
    way: str = ""  # share of the way from floor to ceiling, with its interval
    published: published.Published | None = None
    state: str = ""  # of a hole
    reason: str = ""


def lines(
    run: load.RunTables,
    estimates: pd.DataFrame,
    shares: pd.DataFrame,
    holes: Sequence[progress.Hole],
) -> list[Line]:
    """The lines in table order; the holes of a task stand behind its other lines."""
    ordered = run.tasks.sort_values("rank").index
    by_task: dict[str, list[Line]] = {run.task_label(task): [] for task in ordered}
    ways = {(way.cell, way.split, way.subset): way for way in shares.itertuples()}
    titles, unplanned = (provenance.titles(run, of_planners) for of_planners in (True, False))
    rates = success_rates.beside_cells(run, estimates, subset="")
    place = ["task", *load.SECTION, "split", "subset"]
    random = (rates["method"] == success_rates.FLOOR) & (rates["variant"] == "")
    floors = rates[random].drop_duplicates(place, keep="last").set_index(place)["mean"]
    for _, rate in rates.iterrows():
        section, task = tuple(rate[load.SECTION]), run.task_label(rate["task"])
        plans = run.methods.loc[rate["method"], "plans"]
        beside_papers = rate["subset"] == success_rates.ALL and rate["split"] == "test"
        by_task[task].append(
            Line(
                task,
                rate["label"],
                _kind(run, rate["method"]),
                inline_svg.both(style.colour(run, rate["method"])),
                rate["subset"],
                rate["split"],
                titles[section],
                (titles if plans else unplanned)[section],
                f"#{rate['protocol_hash'][:8]}",
                rate,
                floors.get(tuple(rate[place])),
                _way(ways.get(tuple(rate[["cell", "split", "subset"]])), rate),
                published.success(rate) if beside_papers else None,
            )
        )
    alike: dict[tuple, list[progress.Hole]] = {}
    for hole in holes:
        same = hole.task_label, hole.method, hole.variant, hole.state, hole.reason
        alike.setdefault(same, []).append(hole)
    for group in alike.values():
        by_task.setdefault(group[0].task_label, []).append(_of_holes(run, group))
    return [line for of_task in by_task.values() for line in of_task]


def protocol_words(lines: Sequence[Line]) -> dict[str, str]:
    """A protocol's title -> the same with its hash on each task, as the menu shows it."""
    ids: dict[str, dict[str, None]] = {}
    for line in lines:
        if line.protocol:
            ids.setdefault(line.protocol, {})[line.protocol_id] = None
    return {
        title: title if "#" in title else f"{title} ({', '.join(own)})"
        for title, own in ids.items()
    }


def _kind(run: load.RunTables, method: str) -> str:
    if method not in run.methods.index:
        return "method"
    if run.methods.loc[method, "role"] == "ceiling":
        return "ceiling"
    return "control" if run.methods.loc[method, "is_control"] else "method"


def _way(way, cell: pd.Series) -> str:
    if way is None or pd.isna(way.share):
        return ""
    if not cell["variant"] and cell["method"] in (way.floor, way.ceiling):
        return f"{100 * way.share:.0f} ({'floor' if cell['method'] == way.floor else 'ceiling'})"
    share, low, high = (format.whole(100 * value) for value in (way.share, way.low, way.high))
    return f"{share} [{low}, {high}]".replace("-", "−")


def _of_holes(run: load.RunTables, alike: Sequence[progress.Hole]) -> Line:
    """The line of holes that differ in the seed alone."""
    hole, keys = alike[0], ", ".join(hole.key for hole in alike)
    known = hole.method in run.methods.index
    colour = style.colour(run, hole.method) if known else style.CONTROL
    return Line(
        task=hole.task_label,
        method=hole.method_label or hole.key,
        kind=_kind(run, hole.method),
        colour=inline_svg.both(colour),
        stratum=success_rates.ALL,
        split="",
        state=hole.state,
        reason=f"{keys}: {hole.reason}" if hole.reason else keys,
    )
