"""The figure of a benchmark: medians of each side, their spread, and ratios to the reference."""

from __future__ import annotations

import textwrap

import pandas as pd

from harness.report import format
from harness.report.figures import style

_BAR_IN = 0.27


def png(rows: pd.DataFrame) -> bytes:
    """A panel for each figure of the rows (figure, side, reference, repetition, value, unit,
    larger_is_better, device, threads).
    """
    parts = list(rows.groupby("figure", sort=False))
    heights = [0.55 + _BAR_IN * part["side"].nunique() for _, part in parts]
    with style.style():
        figure, axes = style.figure(len(parts), 1, 0.5 + sum(heights), height_ratios=heights)
        for (name, part), (ax,) in zip(parts, axes, strict=True):
            _panel(ax, part)
            ax.set_title(f"{name}, {part['unit'].iloc[0]}")
        last = rows.iloc[-1]
        repetitions = rows["repetition"].max() + 1
        threads = format.counted(last["threads"], "thread")
        words = (
            f"{last['device']}, {threads}. Medians of up to {repetitions} measurements, lines from "
            "the least to the most"
        )
        if rows["reference"].any():
            words += "; x: times as good as the grey bar"
        small = {"x": 0.01, "ha": "left", "fontsize": 7.5, "color": style.FAINT}
        figure.supxlabel(textwrap.fill(f"{words}.", 130), **small)  # no page carries its caption
        return style.render(figure)["png"]


def _panel(ax: style.Axes, part: pd.DataFrame) -> None:
    import seaborn as sns

    sides = part.groupby("side", sort=False)["value"].agg(["median", "min", "max"])
    reference = part["reference"].iloc[0]
    base = sides["median"].get(reference)
    shades = {side: style.CONTROL if side == reference else "#0072B2" for side in sides.index}
    least_to_most = {"estimator": "median", "errorbar": ("pi", 100)}
    line = {"color": style.INK, "linewidth": 1}
    sns.barplot(
        part, x="value", y="side", hue="side", palette=shades, saturation=1, width=0.7,
        legend=False, ax=ax, err_kws=line, **least_to_most,
    )  # fmt: skip
    for place, (side, row) in enumerate(sides.iterrows()):
        words = _number(row["median"])
        if base is not None and side != reference:
            faster = part["larger_is_better"].iloc[0]
            ratio = row["median"] / base if faster else base / row["median"]
            words += f"  ({_number(ratio)} x)"
        ax.annotate(words, (row["max"], place), (4, 0), textcoords="offset points", va="center")
    ax.set(xlabel="", ylabel="", xlim=(0, 1.25 * sides["max"].max()))
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
