"""Shared by the figures of one task: which rows they show, how a method's line looks, the grid of
panels, and lines with bands over training seeds.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator

import pandas as pd

from harness.report import format, load
from harness.report.figures import style

log = logging.getLogger(__name__)

MOST = 10  # panels of a figure, in two rows
_PAPER = ("lewm", "pldm", "dino_wm", "dino_wm_proprio")  # its methods come before others
_DASHES = {"-": "", "--": (4, 2), ":": (1, 1.5), "-.": (5, 1.5, 1, 1.5)}  # as seaborn takes them
_MARKED = 6  # points of a line that have a marker
_LOOKS = ["colour", "line", "marker"]
_MARK = {"ms": 4.5, "mew": 0.5, "mec": "white"}
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def of_cells(run: load.RunTables, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of each task's first scale and protocol in table order, with columns task,
    task_label, method, label, and how a line of that label looks: colour, line, marker.
    """
    cells = run.cells[run.cells.index.isin(rows["cell"])]
    first = cells.groupby("task")[load.SECTION].transform("first")
    cells = cells[(cells[load.SECTION] == first).all(axis=1)]
    looks = [cells.reindex(columns=_LOOKS)[:0]]
    looks += [_looks(run, own)[_LOOKS] for _, own in cells.groupby("task", sort=False)]
    known = cells[["task", "method", "label"]].join(pd.concat(looks))
    known.insert(3, "task_label", known["task"].map(run.task_label))
    known["place"] = range(len(known))
    frame = rows.join(known, on="cell", how="inner")
    return frame.sort_values("place", kind="stable", ignore_index=True).drop(columns="place")


def over_seeds(frame: pd.DataFrame, *by: str) -> pd.DataFrame:
    """Columns mean, low and high of `value` over training seeds, for each cell and each `by`."""
    known = ["cell", "task", "task_label", "method", "label", *_LOOKS, *by]
    spans = frame.groupby(known, sort=False)["value"].agg(["mean", "min", "max"])
    return spans.reset_index().rename(columns={"min": "low", "max": "high"})


def by_task(
    run: load.RunTables, name: str, frame: pd.DataFrame, most: int = MOST
) -> Iterator[tuple[str, pd.DataFrame, str]]:
    """Yield for each task the name of its figure, the rows of at most `most` labels, and the start
    of the caption.
    """
    for task, part in frame.groupby("task", sort=False):
        if part["label"].nunique() > most:
            part = paper_first(part)
        labels = part["label"].unique()
        left_out = ", ".join(labels[most:])
        part = part[part["label"].isin(labels[:most])]
        cells = run.cells.loc[part["cell"].unique()]
        seeds = format.count(cells["seeds"], "training seed")
        about = f"{run.task_label(task)}. {style.where(run, cells)}; {seeds}."
        if left_out:
            log.info("figures/%s_%s has no room for %s", name, task, left_out)
            about += f" Not drawn, for want of room: {left_out}."
        yield f"{name}_{task}", part, about


def figures(
    run: load.RunTables,
    name: str,
    frame: pd.DataFrame,
    draw: Callable[[pd.DataFrame], style.Figure],
    caption: Callable[[pd.DataFrame], str],
    most: int = MOST,
) -> dict[str, style.Drawn]:
    """name of `by_task` -> the figure that `draw` makes of the rows, whose caption ends with that
    of `caption`.
    """
    return {
        of_task: style.Drawn(draw(part), f"{about} {caption(part)}")
        for of_task, part, about in by_task(run, name, frame, most)
    }


def paper_first(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of one task, those of the paper's methods first."""
    rank = {method: place for place, method in enumerate(_PAPER)}
    return frame.sort_values(
        "method", key=lambda names: names.map(rank).fillna(len(rank)), kind="stable"
    )


def grid(count: int, square: bool = False) -> tuple[style.Figure, list[style.Axes]]:
    """A figure with that many panels, in one row or two."""
    rows = 1 if 2 * count <= MOST else 2
    columns = math.ceil(count / rows)
    row_in = min(2.1, style.WIDTH_IN / columns + 0.15) if square else 2.1
    figure, axes = style.figure(rows, columns, min(style.HEIGHT_IN, 0.7 + row_in * rows))
    flat = [ax for line in axes for ax in line]
    for ax in flat[count:]:
        ax.set_axis_off()
    return figure, flat[:count]


def label(ax: style.Axes, text: str) -> str:
    """A method's name over as many lines as its panel needs; matplotlib would leave out one that
    begins with an underscore.
    """
    words = style.wrap(text, 88 // style.in_grid(ax).get_gridspec().ncols)
    return f" {words}" if words.startswith("_") else words


def bands(frame: pd.DataFrame) -> str:
    """A sentence about the bands of `lines`; "" where the training seeds have none."""
    if not (frame["high"] > frame["low"]).any():
        return ""
    return " Lines: means over training seeds; bands: from the least to the largest."


def finish(figure: style.Figure, frame: pd.DataFrame, handles: list) -> style.Figure:
    """The figure with the name of its task and a legend above the panels."""
    from matplotlib.font_manager import FontProperties

    title = frame["task_label"].iloc[0]
    style.legend(figure, handles)
    if figure.legends:
        figure.legends[0].set_title(title, FontProperties(weight="bold", size=9))
        figure.legends[0].set_alignment("left")
    else:
        figure.suptitle(title, x=0.01, ha="left", fontsize=9, fontweight="bold")
    return figure


def handles(frame: pd.DataFrame) -> list:
    """Legend entries of the labels of a frame."""
    looks = frame.drop_duplicates("label")[["label", *_LOOKS]]
    return [
        style.entry(label, color=colour, ls=line, marker=marker, **_MARK, lw=1.6)
        for label, colour, line, marker in looks.itertuples(index=False)
    ]


def lines(ax: style.Axes, frame: pd.DataFrame, **look) -> None:
    """A line a label through the means over seeds, a band from `low` to `high` where these differ;
    columns index, mean, low, high, label, colour, line, marker.
    """
    looks = frame.drop_duplicates("label").set_index("label")
    every = max(1, frame["index"].nunique() // _MARKED)
    marks = {"markers": looks["marker"].to_dict(), "markevery": every, **_MARK}
    curves(ax, frame, "label", looks["colour"].to_dict(), looks["line"].to_dict(), **marks | look)


def curves(
    ax: style.Axes,
    frame: pd.DataFrame,
    hue: str,
    palette: dict[str, str],
    styles: dict[str, str],
    **look,
) -> None:
    """`lines` for another column than the label, in these colours and line styles."""
    import seaborn as sns

    dashes = {name: _DASHES[line] for name, line in styles.items()}
    sns.lineplot(
        frame, x="index", y="mean", hue=hue, palette=palette, style=hue, dashes=dashes,
        estimator=None, legend=False, ax=ax, **{"lw": 1.4} | look,
    )  # fmt: skip
    for name, own in frame[frame["high"] > frame["low"]].groupby(hue, sort=False):
        ax.fill_between(own["index"], own["low"], own["high"], color=palette[name], alpha=0.2, lw=0)
    ax.set(xlabel="", ylabel="")
    ax.margins(x=0.03)
    ax.tick_params(labelsize=7.5)


def log_axis(ax: style.Axes) -> None:
    """A logarithmic y axis with at least two labelled ticks, in powers of ten where it is long."""
    ax.set_yscale("log", nonpositive="mask")
    low, high = ax.get_ylim()
    if high < 50 * low:  # powers of ten alone would leave one tick or none
        style.name_ticks(ax.yaxis)
    else:
        ax.yaxis.set_major_formatter(
            lambda value, _: "10" + f"{math.log10(value):.0f}".translate(_SUPERSCRIPT)
        )
    ax.minorticks_off()  # they take longer to draw than all lines


def _looks(run: load.RunTables, cells: pd.DataFrame) -> pd.DataFrame:
    """cell -> colour and marker of its method, and the line that tells its settings apart; the
    values of a sweep go from dark to light. `cells` are those of a task.
    """
    known = cells.drop_duplicates("label")[["method", "label"]]
    colours = known["method"].map(lambda method: style.colour(run, method))
    shortest_first = known["label"].map(len).sort_values(kind="stable").index  # the plain setting
    nth = colours[shortest_first].groupby(colours).cumcount() % len(style.STYLES)
    marks = {label: look.marker for label, look in style.looks(run, known).items()}
    looks = known.assign(
        colour=colours,
        line=nth.map(dict(enumerate(style.STYLES))),
        marker=known["label"].map(marks),
    )
    swept = looks.index.isin(load.sweep_values(run.metrics)["cell"])
    looks.loc[swept, "colour"] = style.ramp(int(swept.sum()))
    looks.loc[swept, "line"] = "-"
    looks = looks.set_index("label").loc[cells["label"]]
    return looks.set_index(cells.index)
