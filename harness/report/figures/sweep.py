"""The sweep figure: a swept value against success, and the rank of the latents below."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from harness.report import load, objective
from harness.report.figures import style, varied

_HARD: style.LineLook = {"ls": "--", "lw": 1, "marker": "s", "ms": 3, "alpha": 0.75}
STAR: style.LineLook = {"mfc": "#f7d038", "mec": style.INK, "zorder": 5, "clip_on": False}
# published weight, and windows in a batch, of a term that is multiplied by that number
_GROWS_WITH_THE_BATCH = dict.fromkeys(
    ("method.lewm.sigreg_weight", "method.lewm_idm.sigreg_weight"), (0.1, 128)
)
_PLANNERS = r"^planner\.(\w+)\."  # of a key
_COLUMNS, _MOST_PANELS = 4, 8
_SAME = ["task", *load.SECTION, "split"]  # of a panel's points and controls
_LATENTS = {  # measure -> its name; the first that was recorded is drawn
    ("geometry", "effective_rank"): "effective rank",
    ("latents", "effective_rank"): "effective rank",
    ("latents", "latent_std"): "latent std",
}
_PLATEAU = "Shaded, the plateau: the values around the best one whose intervals overlap its own."


def figure(run: load.RunTables, estimates: pd.DataFrame) -> style.Drawn | None:
    """None where nothing was swept."""
    points = data(run, estimates)
    if points.empty:
        return None
    looks = {method: style.colour(run, method) for method in points["method"].unique()}
    drawn = draw(points, varied.controls(run, estimates), looks)
    return drawn._replace(caption=f"{style.run_footer(run, points)} {drawn.caption}")


def data(run: load.RunTables, estimates: pd.DataFrame) -> pd.DataFrame:
    """Tidy: one row per trial of a sweep and swept key.

    Columns: cell, panel (a number), title, name (the key), axis (its label), value and word (its
    value; a word where it is no number), method, task, split, SECTION, mean, low, high (in
    percent), collapsed, best (the value to choose, on validation pairs), plateau, shaded (one that
    has a width, of one key alone), latents and latents_name (what the lower panel shows, NaN where
    nothing was recorded), train_s where it is the training that was swept, paper (the published
    weight, in these batches) and paper_words.
    """
    points = varied.of_sweeps(varied.points(run, estimates))
    if points.empty:
        return points
    # points of keys that change the protocol's hash share a panel all the same
    own = points["protocol_hash"].where(~points["name"].str.startswith(load.OF_PROTOCOL), "")
    by = ["name", "task", "method", "scale", "protocol", own, "split"]
    points["panel"] = points.groupby(by, sort=False).ngroup()
    names = points["method"].map(run.method_label) + ", " + points["task"].map(run.task_label)
    planner = points["name"].str.extract(_PLANNERS)[0]  # the axis has the rest of such a key
    points["title"] = names + "\n" + (planner + ", ").fillna("") + points["split"] + " pairs"
    points["axis"] = points["name"].where(planner.isna(), points["name"].str.rpartition(".")[2])
    points["started"] = points["cell"].map(run.trials.groupby("cell")["started"].min())
    points["collapsed"] = points["cell"].isin(objective.collapsed(run.metrics, "cell"))
    timed = points["name"].isin(["train.steps", "train.epochs"])
    points["train_s"] = points["cell"].map(run.trials.groupby("cell")["train_s"].mean())
    points["train_s"] = points["train_s"].where(timed & (points["train_s"] > 0))
    points = points.sort_values(["panel", "value", "word"], ignore_index=True)
    points[["best", "plateau"]] = False
    for _, rows in points.groupby("panel"):
        points.loc[rows.index, "best"] = rows.index == best(rows)
        points.loc[rows.index, "plateau"] = _plateau(rows)
        points.loc[rows.index, ["paper", "paper_words"]] = _paper(run, rows)
    points["hard"] = points["hard"].where(points["alone"], "")  # of two keys it is no line
    wide = points.groupby("panel")["plateau"].transform("sum") > 1
    # over one of several keys the other keys differ too, and no span of its values is a plateau
    one_key = points.groupby("panel")["alone"].transform("all")
    points["shaded"] = points["plateau"] & wide & one_key
    latents = _latents(run, points["cell"])
    return points.assign(latents=points["cell"].map(latents), latents_name=latents.name)


def best(rows: pd.DataFrame) -> int | None:
    """The index of the row to choose: the first of those with most success on validation pairs, or
    None. Nothing is chosen on test pairs, and more success by another protocol is no better model.
    """
    known = rows[~rows["collapsed"] & (rows["mean"] > 0) & (rows["split"] == "validation")]
    known = known[~known["name"].str.startswith("protocol.")]
    return next(iter(known.sort_values(["mean", "started"], ascending=[False, True]).index), None)


def _plateau(rows: pd.DataFrame) -> np.ndarray:
    """The values around the best one, without a gap, whose interval meets its interval; none of a
    trial that collapsed or solved nothing. `rows` are in the order of their values.
    """
    sound = (~rows["collapsed"] & (rows["mean"] > 0)).to_numpy()
    if not sound.any() or len(rows) < 3:
        return np.zeros(len(rows), bool)
    best = int(np.argmax(np.where(sound, rows["mean"], -1)))
    level = sound & (rows["high"] >= rows["low"].iloc[best]).to_numpy()
    runs = np.cumsum(np.diff(level, prepend=level[0]))
    return level & (runs == runs[best])


def _latents(run: load.RunTables, cells: pd.Series) -> pd.Series:
    """cell -> the first measure of _LATENTS that any of these cells has, under its name."""
    for (stage, name), words in _LATENTS.items():
        metrics = run.metrics[(run.metrics["stage"] == stage) & (run.metrics["name"] == name)]
        metrics = metrics[metrics["cell"].isin(cells)]
        if len(metrics):
            return metrics.groupby("cell")["value"].mean().rename(words)
    return pd.Series(dtype=float, name="")


def _paper(run: load.RunTables, rows: pd.DataFrame) -> tuple[float, str]:
    """The paper's weight in a sweep with other batches: what weighs as much there."""
    name = rows["name"].iloc[0]
    trials = run.trials[run.trials["cell"].isin(rows["cell"])]
    batches = {load.setting(own, "train.batch_size") for _, own in trials.groupby("cell")}
    if name not in _GROWS_WITH_THE_BATCH or len(batches) > 1 or None in batches:
        return math.nan, ""
    weight, published = _GROWS_WITH_THE_BATCH[name]
    (windows,) = batches
    place = weight * published / windows
    words = f"the paper's {weight:g} of {published} windows, as much as {place:g} of {windows} here"
    return place, words


def draw(points: pd.DataFrame, lines: pd.DataFrame, shades: dict[str, str]) -> style.Drawn:
    """A column per panel: success over the swept value with the plateau shaded, controls as lines;
    below, where it was recorded, the rank of the latents.
    """
    parts = [rows for _, rows in points.groupby("panel")]
    shown = parts[:_MOST_PANELS]
    has_latents = points["latents"].notna().any()
    columns = min(_COLUMNS, len(shown))
    bands = [shown[i : i + columns] for i in range(0, len(shown), columns)]
    tall = 1.9 if len(bands) == 1 else 1.3
    heights = [tall, 0.4 * tall] if has_latents else [tall]
    width = {1: style.COLUMN_IN, 2: 6.0}.get(columns, style.WIDTH_IN)
    height = min(style.HEIGHT_IN, 0.4 + len(bands) * (0.8 + sum(heights)))
    figure, axes = style.figure(
        len(bands) * len(heights), columns, height, width, height_ratios=heights * len(bands)
    )
    for i, band in enumerate(bands):
        grid = axes[i * len(heights) : (i + 1) * len(heights)]
        for j, rows in enumerate(band):
            shade = shades[rows["method"].iloc[0]]
            _column([line[j] for line in grid], rows, lines, shade, j == 0)
        for ax in (ax for line in grid for ax in line[len(band) :]):
            ax.set_axis_off()
    kinds = set(lines.merge(pd.concat(shown)[_SAME].drop_duplicates())["kind"])
    style.legend(figure, _handles(points, kinds))
    return style.Drawn(figure, _words(points, len(parts)))


def _column(
    axes: list[style.Axes], rows: pd.DataFrame, lines: pd.DataFrame, shade: str, is_first: bool
) -> None:
    """One panel of success and the one below it, over one axis."""
    import seaborn as sns

    top = axes[0]
    for ax in axes:
        place = _places(ax, rows)
        if rows["shaded"].any():
            at = place[rows["shaded"].to_numpy()]
            half = 0.5 if rows["word"].any() else 0
            ax.axvspan(at.min() - half, at.max() + half, color=shade, alpha=0.12, lw=0)
    rows = rows.assign(place=place)
    one_key = rows["alone"].all() and rows["place"].is_unique and not rows["word"].any()
    line = {"x": "place", "color": shade, "lw": 1, "ls": "-" if one_key else "", "errorbar": None}
    varied.draw_controls(top, lines.merge(rows[_SAME].head(1)))
    sns.lineplot(rows, y="mean", alpha=0.45, ax=top, **line)
    if one_key:
        top.plot(rows["place"], rows["hard_mean"], color=shade, clip_on=False, **_HARD)
    _success(top, rows, shade)
    lines_of_title = rows["title"].iloc[0].split("\n")
    width = 64 // style.in_grid(top).get_gridspec().ncols + 8  # characters
    top.set_title("\n".join(style.wrap(line, width) for line in lines_of_title))
    top.set(xlabel="", ylabel="success, %" if is_first else "")
    for below in axes[1:]:
        known = rows.dropna(subset="latents")
        if len(known):
            dots = {"marker": "o", "ms": 4, "mec": shade, "clip_on": False}
            sns.lineplot(known, y="latents", estimator=None, ax=below, **line, **dots)
        below.set_ylim(0, 1.1 * max(known["latents"], default=1))
        below.set_xlim(top.get_xlim())
        words = rows["latents_name"].iloc[0].replace(" ", "\n")
        below.set_ylabel(words if is_first else "", fontsize=8)
        top.tick_params(axis="x", labelbottom=False)
    for ax in axes:
        if top.get_xscale() == "log":
            style.name_ticks(ax.xaxis)
    axes[-1].set_xlabel(style.wrap(rows["axis"].iloc[0], 22))


def _success(ax: style.Axes, rows: pd.DataFrame, shade: str) -> None:
    """Means over their intervals, hollow where collapsed, with what is to be said of them."""
    place = rows["place"]
    ax.vlines(place, rows["low"], rows["high"], color=shade, lw=1.4)
    faces = np.where(rows["collapsed"], "white", shade)
    ax.scatter(
        place, rows["mean"], c=faces, s=26, edgecolors=shade, lw=1.2, zorder=3, clip_on=False
    )
    for row in rows[rows["best"]].itertuples():
        ax.plot(row.place, row.mean, "*", ms=12, **STAR)
    for row in rows.dropna(subset="train_s").itertuples():
        words, at = f"{row.train_s:.0f} s", (row.place, row.mean)
        ax.annotate(words, at, (4, 7), textcoords="offset points", fontsize=7.5)
    if (paper := rows["paper"].iloc[0]) > 0:
        ax.axvline(paper, color=style.FAINT, ls=":", lw=1.2, zorder=1)
    ax.set(ylim=(0, 105), yticks=range(0, 101, 20))  # a star at 100 hides no title


def _places(ax: style.Axes, part: pd.DataFrame) -> np.ndarray:
    """The points' places on the x axis, which gets its scale and ticks."""
    if part["word"].any():
        words = sorted(part["word"].unique())
        ax.set_xticks(range(len(words)), words)
        ax.set_xlim(-0.5, len(words) - 0.5)
        return part["word"].map(words.index).to_numpy()
    value = part["value"]
    if varied.spans_decades(value):
        if value.min() == 0:
            ax.set_xscale("symlog", linthresh=value[value > 0].min())
            ax.xaxis.set_major_formatter("{x:g}")
        else:
            ax.set_xscale("log")
        ax.margins(x=0.08)
    return value.to_numpy()


def _handles(points: pd.DataFrame, kinds: set[str]) -> list[style.Line2D | style.Patch]:
    handles: list[style.Line2D | style.Patch] = []
    if points["best"].any():
        handles += [style.entry("the value chosen", marker="*", ms=11, ls="none", **STAR)]
    if (points["hard"] != "").any():
        handles.append(style.entry("hard pairs", color=style.INK, **_HARD))
    if points["shaded"].any():
        handles += [style.area("plateau", color=style.FAINT, alpha=0.2)]
    if points["collapsed"].any():
        handles.append(style.collapsed_handle())
    if points["paper"].notna().any():
        handles += [style.entry("published weight", color=style.FAINT, ls=":")]
    return handles + varied.control_handles(kinds)


def _words(points: pd.DataFrame, panels: int) -> str:
    words = [f"Success with 95 % intervals (as in the success table).{varied.hard_words(points)}"]
    words += [_PLATEAU] * bool(points["shaded"].any())
    if points["latents"].notna().any():
        words.append(f"Below: {points['latents_name'].iloc[0]} of held-out frames.")
    if points["collapsed"].any():
        words.append(f"Collapsed: latent std below {objective.COLLAPSED_STD:g}; never chosen.")
    words += [
        f"Published weight: {said}." for said in points["paper_words"].dropna().unique() if said
    ]
    if points["train_s"].notna().any():
        words.append("Beside the points: time of training.")
    if panels > _MOST_PANELS:
        words.append(f"Shown are {_MOST_PANELS} of {panels} panels; the table has all.")
    return " ".join(words)
