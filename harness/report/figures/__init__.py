"""The figures of a report."""

from __future__ import annotations

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
    stability,
    style,
    success,
    surprise,
    sweep,
)


def draw(run: load.RunTables, estimates: pd.DataFrame) -> dict[str, dict[str, bytes]]:
    """name -> kind ("png", "svg", "gif") -> bytes of the figures that this run has."""
    scenes = episodes.scenes(run)
    with style.style():
        figures = {
            "headline": headline.headline_figure(run, estimates),
            "success": success.success_figure(run, estimates),
            "plan_time": plan_time.plan_time_figure(run),
            "stability": stability.stability_figure(run),
            **surprise.surprise_figures(run),
            "open_loop": open_loop.open_loop_figure(run),
            "geometry": geometry.geometry_figure(run),
            "map": geometry.map_figure(run),
            "episodes": episodes.episodes_figure(run, scenes),
            "plans": plans.plans_figure(run),
            "decoder": decoder.decoder_figure(run),
            **decoder.pictures_figures(run),
            "sweep": sweep.sweep_figure(run, estimates),
        }
        images = {name: style.render(figure) for name, figure in figures.items() if figure}
    return images | episodes.films(scenes)
