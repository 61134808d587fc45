"""The page's main table: a line for each task, method and kind of pairs, and the holes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

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
    protocol: str  # provenance.titles; the menu chooses by it
    protocol_shown: str  # the same, of a policy that does not plan without its planner
    protocol_id: str  # "#11ca4ee2"
    success: float | None = None
    low: float | None = None
    high: float | None = None
    floor: float | None = None  # the random policy on the same task, protocol and pairs
    way: str = ""  # share of the way from floor to ceiling, with its interval
    pairs: int | None = None
    seeds: int | None = None
    published: float | None = None
    source: str = ""  # of the published number
    stale: str = ""  # why the published number does not hold any more
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
    floors, titles = _floors(run, estimates), provenance.titles(run)
    unplanned = provenance.titles(run, of_planners=False)
    for estimate in estimates.itertuples():
        cell = run.cells.loc[estimate.cell]
        way = ways.get((estimate.cell, estimate.split, estimate.subset))
        paper = published.success(cell)
        shown = estimate.subset == success_rates.ALL and estimate.split == "test"
        section = tuple(cell[load.SECTION])
        plans = run.methods.loc[cell["method"], "plans"]
        place = (cell["task"], *section, estimate.split, estimate.subset)
        by_task[run.task_label(cell["task"])].append(
            Line(
                task=run.task_label(cell["task"]),
                method=cell["label"],
                kind=_kind(run, cell["method"]),
                colour=inline_svg.both(style.colour(run, cell["method"])),
                stratum=estimate.subset,
                split=estimate.split,
                protocol=titles[section],
                protocol_shown=(titles if plans else unplanned)[section],
                protocol_id=f"#{cell['protocol_hash'][:8]}",
                success=100 * estimate.mean,
                low=100 * estimate.low,
                high=100 * estimate.high,
                floor=floors.get(place),
                way=_way(way, cell),
                pairs=estimate.pairs,
                seeds=estimate.seeds,
                published=paper.value if paper and shown else None,
                source=paper.source if paper and shown else "",
                stale=paper.stale if paper and shown else "",
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


def _floors(run: load.RunTables, estimates: pd.DataFrame) -> dict[tuple, float]:
    """(task, scale, protocol, hash, split, subset) -> success of the random policy."""
    known = estimates.join(run.cells[load.GROUP], on="cell")
    known = known[(known["method"] == success_rates.FLOOR) & (known["variant"] == "")]
    places = known[["task", *load.SECTION, "split", "subset"]].itertuples(index=False, name=None)
    return dict(zip(places, 100 * known["mean"], strict=True))


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
        protocol="",
        protocol_shown="",
        protocol_id="",
        state=hole.state,
        reason=f"{keys}: {hole.reason}" if hole.reason else keys,
    )
