"""The figures of a report."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from harness.report import load
from harness.report.figures import (
    compute,
    decoder,
    episodes,
    geometry,
    open_loop,
    plan_time,
    plans,
    stability,
    style,
    success,
    surprise,
    sweep,
)


class Image(NamedTuple):
    """A figure as files, and its caption."""

    kinds: dict[str, bytes]  # "png", "svg" or "gif" -> content
    caption: str


def draw(run: load.RunTables, estimates: pd.DataFrame) -> dict[str, Image]:
    """name -> image, of the figures that this run has."""
    scenes = episodes.scenes(run)
    with style.style():
        figures = {
            **success.figures(run, estimates),
            "plan_time": plan_time.figure(run, estimates),
            "compute": compute.figure(run, estimates),
            "stability": stability.stability_figure(run),
            **surprise.surprise_figures(run),
            "open_loop": open_loop.open_loop_figure(run),
            "geometry": geometry.geometry_figure(run),
            "map": geometry.map_figure(run),
            "episodes": episodes.episodes_figure(run, scenes),
            "plans": plans.plans_figure(run),
            "decoder": decoder.decoder_figure(run),
            **decoder.pictures_figures(run),
            "sweep": sweep.figure(run, estimates),
        }
        images = {
            name: Image(style.render(drawn.figure), drawn.caption)
            for name, drawn in figures.items()
            if drawn
        }
    films = {name: Image(kinds, "") for name, kinds in episodes.films(scenes).items()}
    return images | films
