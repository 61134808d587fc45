"""The figure of a benchmark: medians of each side, their spread, and ratios to the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from harness.report.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def png(rows: pd.DataFrame) -> bytes:
    """A panel for each figure of the rows (figure, side, reference, repetition, value, unit,
    larger_is_better, device, threads).
    """
    parts = list(rows.groupby("figure", sort=False))
    heights = [0.55 + style.BAR_IN * part["side"].nunique() for _, part in parts]
    with style.style():
        figure, axes = style.figure(len(parts), 1, 0.5 + sum(heights), height_ratios=heights)
        for (name, part), (ax,) in zip(parts, axes, strict=True):
            _panel(ax, part)
            ax.set_title(f"{name}, {part['unit'].iloc[0]}")
        last = rows.iloc[-1]
        repetitions = rows["repetition"].max() + 1
        words = (
            f"{last['device']}, {last['threads']} thread(s). Medians of up to {repetitions} "
            "measurements, lines from the least to the most"
        )
        if rows["reference"].any():
            words += "; x: times as good as the grey bar"
        style.footer(figure, f"{words}.")
        return style.render(figure)["png"]


def _panel(ax: Axes, part: pd.DataFrame) -> None:
    sides = part.groupby("side", sort=False)["value"].agg(["median", "min", "max"])
    reference = part["reference"].iloc[0]
    base = sides["median"].get(reference)
    places = range(len(sides))
    shades = [style.CONTROL if side == reference else "#0072B2" for side in sides.index]
    ax.barh(places, sides["median"], color=shades, height=0.7)
    ax.hlines(places, sides["min"], sides["max"], color=style.INK, lw=1)
    for place, (side, row) in enumerate(sides.iterrows()):
        words = _number(row["median"])
        if base is not None and side != reference:
            faster = part["larger_is_better"].iloc[0]
            ratio = row["median"] / base if faster else base / row["median"]
            words += f"  ({_number(ratio)} x)"
        ax.annotate(words, (row["max"], place), (4, 0), textcoords="offset points", va="center")
    ax.set_yticks(places, sides.index)
    ax.set_ylim(len(sides) - 0.4, -0.6)
    ax.set_xlim(0, 1.25 * sides["max"].max())
    ax.tick_params(axis="y", length=0)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
