"""The data of the page's script, which plays episodes and draws training curves."""

from __future__ import annotations

import base64
import itertools
import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from harness.report import load
from harness.report.figures import style, training
from harness.report.page import inline_svg

_MOST_POINTS = 150  # of a curve
_MOST_STRIPS = 24  # episodes of a task
_MOST_SEEDS = 5  # of a method, in one plot
_DIGITS = 5
_DASHES = ("", "6 3", "2 3", "8 3 2 3")  # tell the settings of one method apart
_FIRST = ("loss", "pred")  # terms that are offered first


def films(run: load.RunTables) -> dict[str, Any]:
    """The episodes of every task: {"images": [base64 PNG], "scenes": [{title, task, strips}]}. A
    picture that several methods share, as start and goal are, is there once.
    """
    numbers: dict[bytes, int] = {}

    def number(image: bytes) -> int:
        return numbers.setdefault(bytes(image), len(numbers))

    scenes = []
    for task, cells in _filmed(run):
        frames = run.frames[run.frames["stage"] == "control"]
        paths = {cell: _first_seed(frames[frames["cell"] == cell]) for cell in cells.index}
        goals = [path.loc[path["kind"] == "goal", "image"].iloc[0] for path in paths.values()]
        pairs = ", ".join(map(str, sorted({*pd.concat(paths.values())["pair_id"]})))
        strata = dict.fromkeys(kind for path in paths.values() for kind in path["stratum"])
        scenes.append(
            {
                "task": run.task_label(task),
                "title": f"{run.task_label(task)}: {', '.join(strata)}, pair {pairs}",
                "goal": number(goals[0]),
                "strips": [
                    {
                        "label": cells.loc[cell, "label"],
                        "frames": [
                            [number(frame.image), int(frame.step), bool(frame.success)]
                            for frame in path[path["kind"] != "goal"].itertuples()
                        ],
                    }
                    for cell, path in paths.items()
                ],
            }
        )
    images = [base64.b64encode(image).decode() for image in numbers]
    return {"images": images, "scenes": scenes}


def _filmed(run: load.RunTables) -> Iterator[tuple[str, pd.DataFrame]]:
    """Per task the cells whose episodes are shown: those of its first protocol, one for each method
    and variant, without the trials of a sweep.
    """
    swept = load.sweep_values(run.metrics)["cell"]
    filmed = run.frames.loc[run.frames["stage"] == "control", "cell"]
    cells = run.cells[run.cells.index.isin(filmed) & ~run.cells.index.isin(swept)]
    for task, part in cells.groupby("task", sort=False):
        first = (part[load.SECTION] == part[load.SECTION].iloc[0]).all(axis=1)
        yield task, part[first].drop_duplicates(["method", "variant"]).head(_MOST_STRIPS)


def _first_seed(frames: pd.DataFrame) -> pd.DataFrame:
    """The pictures of a cell's first training seed, in order of time."""
    return frames[frames["seed"] == frames["seed"].min()].sort_values("step", kind="stable")


def curves(run: load.RunTables) -> list[dict[str, Any]]:
    """Per task: {"task", "terms": {name: [{label, colour, dash, unit, points}]}}, a curve a trial,
    in table order.
    """
    metrics = run.metrics[run.metrics["stage"] == "train"]
    lengths = metrics.groupby(["key", "config_hash", "name"])["index"].transform("size")
    nth = metrics.groupby("cell")["seed"].rank(method="dense")
    finite = metrics["value"].abs() < math.inf
    finite = finite.groupby([metrics["key"], metrics["config_hash"], metrics["name"]])
    metrics = metrics[(lengths > 1) & (nth <= _MOST_SEEDS) & finite.transform("any")]
    return [
        {"task": run.task_label(task), "terms": _terms(run, metrics, cells)}
        for task, cells in run.cells.groupby("task", sort=False)
        if metrics["cell"].isin(cells.index).any()
    ]


def _terms(
    run: load.RunTables, metrics: pd.DataFrame, cells: pd.DataFrame
) -> dict[str, list[dict[str, Any]]]:
    """How a metric is called -> its curves, of the cells of one task."""
    of_task = metrics[metrics["cell"].isin(cells.index)]
    names = sorted(
        of_task["name"].unique(), key=lambda n: (n not in _FIRST, _FIRST.count(n) and n, n)
    )
    by_curve = {
        key: part.sort_values("index")
        for key, part in of_task.groupby(["name", "cell", "key", "config_hash"])
    }
    dashes: dict[str, Any] = {}
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for cell in cells[cells.index.isin(of_task["cell"])].itertuples():
        dash = next(dashes.setdefault(cell.method, itertools.cycle(_DASHES)))
        colour = inline_svg.both(style.colour(run, cell.method))
        for (name, own, _, _), part in by_curve.items():
            if own == cell.Index:
                seed = f", seed {part['seed'].iloc[0]}" if cell.seeds > 1 else ""
                look = {"label": cell.label + seed, "colour": colour, "dash": dash}
                found[name].append(look | {"points": _thin(part), "unit": part["unit"].iloc[0]})
    return {training.LOGGED.get(name, name): curves for name, curves in found.items()}


def _thin(curve: pd.DataFrame) -> list[list[float | None]]:
    """Every k-th point and the last one, at most _MOST_POINTS; None for what is not finite."""
    every = max(1, math.ceil((len(curve) - 1) / (_MOST_POINTS - 1)))
    chosen = sorted({*range(0, len(curve), every), len(curve) - 1})
    steps, values = curve["index"].to_numpy()[chosen], curve["value"].to_numpy()[chosen]
    return [
        [int(at), float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None]
        for at, value in zip(steps, values, strict=True)
    ]
