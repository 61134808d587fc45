"""The figure of hyperparameters: success over one key as a line, and over two as a heat map, so
that a method with one weight to choose stands beside one with two.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from harness.report import load, objective
from harness.report.figures import style, sweep, varied

_MOST = 3  # panels
_MOST_KEYS = 2
_FULL = 0.75  # share of a grid's places that must be known for a heat map
_COLOURS = "viridis"
_PLATEAU = "#e31a1c"
PART = ["method", "task", "scale", "protocol", "split", "keys"]  # one panel each
_CAPTION = (
    "Success on {split} pairs over the values that sweeps have tried ({runs}): over one key with "
    "95 % intervals, over two as a colour and a number in percent. Framed in red: the plateau, "
    "the values whose interval overlaps that of the best one; above each panel how many of those "
    "tried lie on it; shaded: from the first to the last of them. Star: the value chosen, the "
    "first of those with most success on all validation pairs. Crossed: the latents collapsed, "
    "which is no value to choose."
)
_BELOW = " Below, the same on hard pairs alone."
_RATE = ["mean", "low", "high"]


def figure(run: load.RunTables, estimates: pd.DataFrame) -> style.Drawn | None:
    """The heat maps of a run; None where no two keys were swept together."""
    points = data(run, estimates)
    points = points[points["keys"].map(len) == _MOST_KEYS]
    if points.empty:
        return None
    drawn = draw({run.name: run}, points.assign(run=run.name))
    return drawn._replace(caption=f"{style.run_footer(run, points)} {drawn.caption}")


def data(run: load.RunTables, estimates: pd.DataFrame) -> pd.DataFrame:
    """Tidy: one row per tried value, or pair of values, of at most two keys that are numbers.

    Columns: cell, those of PART (keys: a tuple of names), title, x and y (its values; y is NaN of
    one key), mean, low, high (in percent), those of success_rates.with_hardest, collapsed,
    started.
    """
    found = varied.of_sweeps(varied.points(run, estimates))
    found = found[found.groupby("cell")["value"].transform(lambda own: own.notna().all())]
    if found.empty:
        return found.assign(keys=None)
    tried = found.sort_values("name").groupby(["cell", "split"], sort=False)
    points = tried.nth(0).set_index(["cell", "split"])
    points["keys"], values = tried["name"].agg(tuple), tried["value"].agg(list)
    points["x"], points["y"] = values.str[0], values.str[1].astype(float)
    points = points[points["keys"].map(len) <= _MOST_KEYS].reset_index()
    points["collapsed"] = points["cell"].isin(objective.collapsed(run.metrics, "cell"))
    points["started"] = points["cell"].map(run.trials.groupby("cell")["started"].min())
    names = points["method"].map(run.method_label) + ", " + points["task"].map(run.task_label)
    return points.assign(title=names)


def draw(runs: Mapping[str, load.RunTables], points: pd.DataFrame) -> style.Drawn:
    """A panel for each method and its keys; `points` are those of `data` with a column run."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    parts = [part for _, part in points.groupby(PART, sort=False)]
    shown = parts[:_MOST]
    width = {1: style.COLUMN_IN, 2: 7.0}.get(len(shown), style.WIDTH_IN)
    has_hard = any((part["hard"] != "").any() for part in shown)
    rows = 2 if has_hard else 1
    figure, axes = style.figure(rows, len(shown), 0.6 + 2.8 * rows, width)
    for column, part in zip(zip(*axes, strict=True), shown, strict=True):
        part = part.reset_index(drop=True)
        part["best"] = part.index == sweep.best(part)
        colour = style.colour(runs[part["run"].iloc[0]], part["method"].iloc[0])
        _panel(column[0], part, part["title"].iloc[0], colour)
        if hard := part["hard"].iloc[0]:
            own = part.drop(columns=_RATE).rename(columns={f"hard_{name}": name for name in _RATE})
            _panel(column[1], own, f"hard pairs: {hard}", colour)
        for ax in column[1 + bool(hard) :]:
            ax.set_axis_off()
    if any(part["y"].notna().any() for part in shown):
        scale = ScalarMappable(Normalize(0, 100), _COLOURS)
        every = [ax for line in axes for ax in line]
        bar = figure.colorbar(scale, ax=every, fraction=0.04, pad=0.02, label="success, %")
        bar.outline.set_visible(False)
    splits = " or ".join(points["split"].unique())
    words = _CAPTION.format(split=splits, runs=", ".join(points["run"].unique()))
    if has_hard:
        words += _BELOW + varied.hard_words(pd.concat(shown))
    if len(parts) > _MOST:
        words += f" Shown are {_MOST} of {len(parts)} panels."
    return style.Drawn(figure, words)


def plateau(part: pd.DataFrame) -> pd.Series:
    """Whether each value's interval overlaps the best one's, and its training did not collapse."""
    sound = part[~part["collapsed"] & (part["mean"] > 0)]
    if sound.empty:
        return pd.Series(False, index=part.index)
    best = sound.loc[sound["mean"].idxmax()]
    return ~part["collapsed"] & (part["mean"] > 0) & (part["high"] >= best["low"])


def _panel(ax: style.Axes, part: pd.DataFrame, title: str, colour: str) -> None:
    """Success of a method over its keys, and how much of it is the plateau."""
    part = part.assign(plateau=plateau(part)).reset_index(drop=True)
    keys = part["keys"].iloc[0]
    ax.set_title(f"{title}\n{part['plateau'].sum()} of {len(part)} values on the plateau")
    if len(keys) == 1:
        _line(ax, part, colour)
        ax.set_ylabel("success, %")
    else:
        places = part["x"].nunique() * part["y"].nunique()
        tried = len(part[["x", "y"]].drop_duplicates())
        (_heat_map if tried >= _FULL * places else _scatter)(ax, part)
        ax.set_ylabel(style.wrap(load.config_key(keys[1]).removeprefix("method."), 22))
    ax.set_xlabel(style.wrap(load.config_key(keys[0]).removeprefix("method."), 22))


def _line(ax: style.Axes, part: pd.DataFrame, colour: str) -> None:
    """Success over one key, the plateau shaded."""
    import seaborn as sns

    part = part.sort_values("x")
    on = part.loc[part["plateau"], "x"]
    if len(on) > 1:
        ax.axvspan(on.min(), on.max(), color=colour, alpha=0.12, lw=0)
    ax.vlines(part["x"], part["low"], part["high"], color=colour, lw=1.4)
    sns.lineplot(part, x="x", y="mean", color=colour, lw=1, alpha=0.45, errorbar=None, ax=ax)
    for collapsed, own in part.groupby("collapsed"):
        look = {"marker": "X" if collapsed else "o", "s": 28, "zorder": 3, "clip_on": False}
        sns.scatterplot(own, x="x", y="mean", color=colour, legend=False, ax=ax, **look)
    for row in part[part["best"]].itertuples():
        ax.plot(row.x, row.mean, "*", ms=12, **sweep.STAR)
    ax.set_ylim(0, 100)
    _log_where_long(ax, part, "x")


def _heat_map(ax: style.Axes, part: pd.DataFrame) -> None:
    """Success at each place of a grid of two keys; those never tried stay white."""
    import seaborn as sns
    from matplotlib.patches import Rectangle

    def grid(column: str) -> pd.DataFrame:
        return part.pivot_table(index="y", columns="x", values=column).sort_index(ascending=False)

    means = grid("mean")
    small = 8 if means.shape[1] <= 6 else 6.5
    look = {"vmin": 0, "vmax": 100, "cmap": _COLOURS, "cbar": False, "square": False}
    text = {"annot": True, "fmt": ".0f", "annot_kws": {"size": small}}
    sns.heatmap(means, ax=ax, linewidths=0.5, linecolor="white", **look, **text)
    across, up = ([f"{float(f'{v:.3g}'):g}" for v in axis] for axis in (means.columns, means.index))
    ax.set_xticklabels(across, rotation=45 * (small < 8), fontsize=7.5)
    ax.set_yticklabels(up, rotation=0, fontsize=7.5)
    ax.tick_params(length=0)
    for row, column in np.argwhere(grid("plateau").to_numpy() > 0):
        at = column + 0.04, row + 0.04
        ax.add_patch(
            Rectangle(at, 0.92, 0.92, fill=False, ec=_PLATEAU, lw=1.6, clip_on=False, zorder=4)
        )
    for row, column in np.argwhere(grid("best").to_numpy() > 0):
        ax.plot(column + 0.83, row + 0.2, "*", ms=9, **sweep.STAR)
    for row, column in np.argwhere(grid("collapsed").to_numpy() > 0):
        ax.plot([column + 0.1, column + 0.9], [row + 0.1, row + 0.9], color="white", lw=0.8)


def _scatter(ax: style.Axes, part: pd.DataFrame) -> None:
    """Success as the colour of dots and a number beside each, of two keys whose values are no
    grid.
    """
    import seaborn as sns
    from matplotlib.transforms import ScaledTranslation

    look = {"hue_norm": (0, 100), "palette": _COLOURS, "s": 60, "legend": False, "zorder": 3}
    for collapsed, own in part.groupby("collapsed"):
        mark = "X" if collapsed else "o"
        sns.scatterplot(own, x="x", y="y", hue="mean", marker=mark, ax=ax, **look)
    on = part[part["plateau"]]
    ax.scatter(on["x"], on["y"], s=110, fc="none", ec=_PLATEAU, lw=1.6, zorder=4)
    for row in part.itertuples():
        at, words = (row.x, row.y), f"{row.mean:.0f}"
        ax.annotate(words, at, (6, 4), textcoords="offset points", fontsize=7, zorder=6)
    for row in part[part["best"]].itertuples():
        left = ScaledTranslation(-0.11, 0.085, ax.figure.dpi_scale_trans)
        ax.plot(row.x, row.y, "*", ms=9, transform=ax.transData + left, **sweep.STAR)
    ax.margins(0.1)
    _log_where_long(ax, part, "x", "y")


def _log_where_long(ax: style.Axes, part: pd.DataFrame, *axes: str) -> None:
    for axis in axes:
        if part[axis].min() > 0 and varied.spans_decades(part[axis]):
            ax.set(**{f"{axis}scale": "log"})
            style.name_ticks({"x": ax.xaxis, "y": ax.yaxis}[axis])
