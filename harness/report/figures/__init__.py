"""The figures of a report."""

from __future__ import annotations

import re
from typing import NamedTuple

import pandas as pd

from harness.report import load
from harness.report.figures import (
    aggregates,
    compute,
    decoder,
    episodes,
    geometry,
    open_loop,
    plan_time,
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
            "sweep": sweep.figure(run, estimates),
            **training.figures(run),
            **probing.figures(run),
            **surprise.figures(run),
            **open_loop.figures(run),
            **geometry.figures(run),
            **episodes.figures(run, filmed),
            **plans.figures(run),
            **decoder.figures(run),
        }
        images = {
            name: Image(style.render(drawn.figure), drawn.caption)
            for name, drawn in figures.items()
            if drawn
        }
    films = {name: Image(kinds, "") for name, kinds in episodes.films(filmed).items()}
    return {file_name(name): image for name, image in (images | films).items()}


def file_name(name: str) -> str:
    """The name of a figure's files: a task's name is a part of it, and rows may say any."""
    return re.sub(r"[^\w.+-]+", "_", name)[:_LONGEST_NAME]
