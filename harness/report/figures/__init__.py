"""The figures of a report."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

from harness.report import load
from harness.report.figures import (
    decoder,
    episodes,
    geometry,
    headline,
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


class Image(NamedTuple):
    """A figure as files, and its caption."""

    kinds: dict[str, bytes]  # "png", "svg" or "gif" -> content
    caption: str


def draw(run: load.RunTables, estimates: pd.DataFrame) -> dict[str, Image]:
    """name -> image, of the figures that this run has."""
    filmed = episodes.data(run, estimates)
    with style.style():
        figures = {
            "headline": headline.headline_figure(run, estimates),
            "success": success.success_figure(run, estimates),
            "plan_time": plan_time.plan_time_figure(run),
            "sweep": sweep.sweep_figure(run, estimates),
            **training.training_figures(run),
            **probing.probing_figures(run),
            **surprise.surprise_figures(run),
            **open_loop.open_loop_figures(run),
            **geometry.geometry_figures(run),
            **geometry.map_figures(run),
            **episodes.episodes_figures(run, filmed),
            **plans.plans_figures(run),
            **decoder.decoder_figures(run),
        }
        images = {
            name: Image(style.render(drawn.figure), drawn.caption)
            for name, drawn in figures.items()
            if drawn
        }
    films = {name: Image(kinds, "") for name, kinds in episodes.films(filmed).items()}
    return images | films
