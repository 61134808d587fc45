"""The figures of plans: the cost that a model predicts for its first plans, and what came of it."""

from __future__ import annotations

import pandas as pd

from harness.records import metric_names
from harness.report import load
from harness.report.figures import panels, style
from harness.report.tables import plans

_LOW, _HIGH = 1e-3, 1e2  # shares beyond these stand at the edge
_SHADES = dict(
    zip(metric_names.PLAN_OUTCOMES, ("#2a8a3e", "#E69F00", "#AA4499", "#0072B2"), strict=True)
)
_MARKERS = dict(zip(metric_names.PLAN_OUTCOMES, "osX^", strict=True))
_WORDS = {
    "solved": "solved",
    "search": "lost by the search",
    "model": "lost by the model",
    "cost": "lost by the cost",
}
_CAPTION = (
    "A dot a pair: the cost of its first plan, predicted by the model and by the encoder after the "
    "plan was executed, as shares of the cost of staying at the start; log axes. On the line the "
    "prediction came true, above it the plan ended further from the goal than predicted. The table "
    "of plans says what a pair is lost by."
)


def figures(run: load.RunTables) -> dict[str, style.Drawn]:
    """A figure a task."""
    return panels.figures(run, "plans", data(run), draw, lambda _: _CAPTION)


def data(run: load.RunTables) -> pd.DataFrame:
    """Tidy: one row per first plan, predicted and executed shares within the axes, and the outcome;
    none where all latents are equal.
    """
    frame = plans.plan_rows(run)
    if frame.empty:
        return frame.assign(task=[])
    shares = ["predicted_share", "executed_share"]
    frame[shares] = frame[shares].clip(_LOW, _HIGH)
    return panels.of_cells(run, frame.dropna(subset=shares))


def draw(frame: pd.DataFrame) -> style.Figure:
    """A panel a method."""
    methods = frame.groupby("label", sort=False)
    figure, axes = panels.grid(len(methods), square=True)
    for ax, (label, own) in zip(axes, methods, strict=True):
        _panel(ax, own)
        ax.set_title(panels.label(ax, label))
    figure.supxlabel("predicted cost", fontsize=9)
    figure.supylabel("executed cost", fontsize=9)
    dot = {"ls": "none", "ms": 5, "mec": "white"}
    handles = [
        style.entry(words, marker=_MARKERS[name], color=_SHADES[name], **dot)
        for name, words in _WORDS.items()
        if name in set(frame["outcome"])
    ]
    return panels.finish(figure, frame, handles)


def _panel(ax: style.Axes, own: pd.DataFrame) -> None:
    import seaborn as sns

    ax.plot([_LOW, _HIGH], [_LOW, _HIGH], color=style.CONTROL, lw=1, zorder=1)
    sns.scatterplot(
        own, x="predicted_share", y="executed_share", hue="outcome", style="outcome",
        palette=_SHADES, markers=_MARKERS, s=20, alpha=0.85, legend=False, clip_on=False, ax=ax,
    )  # fmt: skip
    ax.set(xscale="log", yscale="log", xlim=(_LOW, _HIGH), ylim=(_LOW, _HIGH), xlabel="", ylabel="")
    ax.set(xticks=[_LOW, 1, _HIGH], yticks=[_LOW, 1, _HIGH])
    ax.set_box_aspect(1)
    ax.minorticks_off()
    ax.tick_params(labelsize=7.5)
    ax.tick_params(labelleft=style.in_grid(ax).is_first_col())
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter("{x:g}")
