"""The data of the page's script, which plays episodes and draws training curves."""

from __future__ import annotations

import base64
import itertools
import math
from typing import Any

import pandas as pd

from harness.report import load
from harness.report.figures import episodes, style, training
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

    frames = episodes.frames(run)
    frames["variant"] = frames["cell"].map(run.cells["variant"])
    first = frames.groupby(["task", "method", "variant"])["cell"].transform("first")
    scenes = []
    for task, own in frames[frames["cell"] == first].groupby("task", sort=False):
        cells = own["cell"].unique()[:_MOST_STRIPS]
        own = own[own["cell"].isin(cells)]
        paths = own[own["kind"] != "goal"].groupby("label", sort=False)
        pairs = ", ".join(map(str, sorted(own["pair_id"].unique())))
        strata = ", ".join(own["stratum"].unique())
        scenes.append(
            {
                "task": run.task_label(task),
                "title": f"{run.task_label(task)}: {strata}, pair {pairs}",
                "goal": number(own.loc[own["kind"] == "goal", "image"].iloc[0]),
                "strips": [
                    {
                        "label": label,
                        "frames": [
                            [number(frame.image), int(frame.step), bool(frame.success)]
                            for frame in path.itertuples()
                        ],
                    }
                    for label, path in paths
                ],
            }
        )
    images = [base64.b64encode(image).decode() for image in numbers]
    return {"images": images, "scenes": scenes}


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
