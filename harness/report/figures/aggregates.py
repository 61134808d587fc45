"""The figure of averages over tasks: performance profile and probability of improvement."""

from __future__ import annotations

import pandas as pd

from harness.report import load
from harness.report.figures import style
from harness.report.tables import aggregates as averages

_SECTION = ["scale", "protocol", "split"]
_PROFILE = (
    "Performance profile: the share of runs (a training seed on a task, tasks weighing alike) "
    "whose success, normalised within a task from the random policy, 0, to replay of the recorded "
    "actions, 1, is above a threshold."
)
_IMPROVEMENT = (
    "Right: the chance that a run of a method scores higher than one of LeWM on the same task, "
    "equal scores counting one half."
)
_INTERVALS = "With 95 % intervals of a bootstrap, as in the table of averages over tasks."


def figure(run: load.RunTables, outcomes: dict) -> style.Drawn | None:
    """The first scale, protocol and split whose methods were evaluated on several tasks; None where
    there is none.
    """
    profile = averages.profile_data(run, outcomes)
    if profile.empty:
        return None
    first = profile[_SECTION].head(1)
    profile, improvement = (
        rows.merge(first).assign(label=lambda own: style.marked(run, own["label"]))
        for rows in (profile, averages.improvement_data(run, outcomes))
    )
    drawn = draw(profile, improvement, style.looks(run, profile))
    scale, protocol, split = first.iloc[0]
    words = f"Run {run.name}; protocol {protocol}, scale {scale}, {split} pairs. {drawn.caption}"
    return drawn._replace(caption=words + style.notes(run, profile["label"]))


def draw(
    profile: pd.DataFrame, improvement: pd.DataFrame, looks: dict[str, style.Look]
) -> style.Drawn:
    """Two panels. `profile`: label, tau, share, low, high; `improvement`: label, probability, low,
    high; all fractions. The right panel is left out where there is nothing to compare.
    """
    compared = not improvement.empty
    looks = {name: look for name, look in looks.items() if name in set(profile["label"])}
    others = {name: look for name, look in looks.items() if name in set(improvement["label"])}
    height = 2.6 + 0.06 * len(looks)
    width = style.WIDTH_IN if compared else style.COLUMN_IN + 1.4
    figure, (axes,) = style.figure(1, 1 + compared, height, width)
    _profile(axes[0], profile, looks)
    if compared:
        style.dot_plot(axes[1], improvement, "probability", others)
        axes[1].axvline(0.5, color=style.INK, lw=0.8, zorder=1)
        axes[1].set(xlim=(0, 1), xticks=[0, 0.25, 0.5, 0.75, 1], xlabel="P(method > LeWM)")
        axes[1].tick_params(axis="y", length=0)
    style.legend(figure, style.method_handles(looks, has_markers=False))
    words = [_PROFILE, *([_IMPROVEMENT] if compared else []), _INTERVALS]
    return style.Drawn(figure, " ".join(words))


def _profile(ax: style.Axes, rows: pd.DataFrame, looks: dict[str, style.Look]) -> None:
    import seaborn.objects as so

    percent = rows.assign(**{name: 100 * rows[name] for name in ("share", "low", "high")})
    scales = style.scales(looks)
    plot = style.plot(percent, x="tau", color="label")
    plot = plot.add(so.Band(alpha=0.08), ymin="low", ymax="high", legend=False)
    plot = plot.add(so.Line(linewidth=1.5), y="share", linestyle="label", legend=False)
    plot.scale(color=scales["color"], linestyle=scales["linestyle"]).label(x="", y="").on(ax).plot()
    ax.set(xlim=(0, 1), ylim=(-2, 102), xlabel="normalised success τ", ylabel="runs above τ, %")
