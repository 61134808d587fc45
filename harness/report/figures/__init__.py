"""The figures of a report."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import NamedTuple

import pandas as pd

from harness.report import load, success_rates
from harness.report.figures import (
    ablations,
    aggregates,
    blame,
    compute,
    decoder,
    episodes,
    geometry,
    horizons,
    hyperparameters,
    learning,
    open_loop,
    plan_time,
    planners,
    plans,
    probing,
    style,
    success,
    surprise,
    sweep,
    training,
)

_LONGEST_NAME = 100


class Image(NamedTuple):
    """A figure as files, and its caption."""

    kinds: dict[str, bytes]  # "png", "svg" or "gif" -> content
    caption: str


def draw(run: load.RunTables, outcomes: dict, estimates: pd.DataFrame) -> dict[str, Image]:
    """name -> image, of the figures that this run has."""
    with style.style():
        filmed = episodes.data(run, estimates)
        figures = {
            **success.figures(run, estimates),
            "aggregates": aggregates.figure(run, outcomes),
            "plan_time": plan_time.figure(run, estimates),
            "compute": compute.figure(run, estimates),
            **planners.figures(run, estimates),
            **horizons.figures(run, estimates),
            **blame.figures(run, estimates),
            **learning.figures(run, estimates),
            **ablations.figures(run, estimates),
            "sweep": sweep.figure(run, estimates),
            "hyperparameters": hyperparameters.figure(run, estimates),
            **training.figures(run),
            **probing.figures(run),
            **surprise.figures(run),
            **open_loop.figures(run),
            **geometry.figures(run),
            **episodes.figures(run, filmed),
            **plans.figures(run),
            **decoder.figures(run),
        }
        images = {name: _image(drawn) for name, drawn in figures.items() if drawn}
    films = {name: Image(kinds, "") for name, kinds in episodes.films(filmed).items()}
    return {file_name(name): image for name, image in (images | films).items()}


def of_sweeps(run_folders: Sequence[str]) -> Image | None:
    """The figure of hyperparameters of several runs; None where none swept numbers of one or two
    keys. Raises load.NoTrials.
    """
    with style.style():
        runs = {PurePath(folder).name: load.load(folder) for folder in run_folders}
        points = []
        for name, run in runs.items():
            estimates = success_rates.estimates(success_rates.outcomes(run))
            points.append(hyperparameters.data(run, estimates).assign(run=name))
        joined = pd.concat(points, ignore_index=True)
        return None if joined.empty else _image(hyperparameters.draw(runs, joined))


def _image(drawn: style.Drawn) -> Image:
    return Image(style.render(drawn.figure), drawn.caption)


def file_name(name: str) -> str:
    """The name of a figure's files: a task's name is a part of it, and rows may say any."""
    return re.sub(r"[^\w.+-]+", "_", name)[:_LONGEST_NAME]
