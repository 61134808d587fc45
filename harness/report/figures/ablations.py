"""The figures of ablations: success at each setting of each axis, the published numbers beside."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from harness.report import load, objective, published
from harness.report.figures import panels, style, varied

_MOST = 12  # panels, in rows of five or six


class _Paper(NamedTuple):
    """An ablation of the paper: its table, its name in papers/, and which of our settings are which
    of its own; others have no place on our axis and stand in the caption.
    """

    table: str
    name: str
    settings: dict[str, str]
    others: tuple[str, ...] = ()


_PAPERS = {
    "method.lewm.predictor_depth": _Paper(
        "Tab. 6", "predictor_size", {}, ("tiny", "small", "base")
    ),
    "method.lewm.decoder_weight": _Paper("Tab. 7", "decoder_loss", {"0": "without"}, ("with",)),
    "method.lewm.encoder.kind": _Paper(
        "Tab. 8", "encoder", {"vit": "ViT-Tiny", "resnet18": "ResNet-18"}
    ),
    "method.lewm.dropout": _Paper(
        "Tab. 9", "dropout", {"0": "0.0", "0.1": "0.1", "0.2": "0.2", "0.5": "0.5"}
    ),
}
_CAPTION = "{method}, a training for each setting: success with 95 % intervals."
_RINGED = "Ringed: the default, which the trainings of all other panels have."
_PUBLISHED = "Diamonds: published success on Push-T, under the paper's own protocol ({tables})."


def figures(run: load.RunTables, estimates: pd.DataFrame) -> dict[str, style.Drawn]:
    """ "ablations_<task>", where one of the suites of ablations was run."""
    return varied.figures(run, estimates, "ablations", data(run, estimates), draw, _caption)


def data(run: load.RunTables, estimates: pd.DataFrame) -> pd.DataFrame:
    """Tidy: the points of the suites of ablations for the first method of a task, in the order of
    keys and values, with columns setting (the value as text), is_default, collapsed and paper (the
    published success at this setting, in percent; NaN where there is none).

    The share of the data is no setting of the method: the figures of learning have it.
    """
    rows = varied.of_suite(varied.points(run, estimates), varied.ABLATION)
    rows = rows[rows["name"] != "train.data_share"]
    rows = rows[rows["method"] == rows.groupby("task")["method"].transform("first")]
    numbers = rows["value"].map("{:g}".format)
    rows = rows.assign(setting=numbers.where(rows["value"].notna(), rows["word"]))
    rows["is_default"] = _are_defaults(run, rows)
    rows["collapsed"] = rows["cell"].isin(objective.collapsed(run.metrics, "cell"))
    rows["paper"] = [_paper(row) for _, row in rows.iterrows()]
    return rows.sort_values(["name", "value"], kind="stable", ignore_index=True)


def _are_defaults(run: load.RunTables, rows: pd.DataFrame) -> list[bool]:
    """Whether each row's setting is that of the cells in which other keys vary."""
    keys = {name: load.config_key(name) for name in rows["name"].unique()}
    cells = run.trials[run.trials["cell"].isin(rows["cell"])].drop_duplicates("cell")
    texts = cells.set_index("cell")["config_yaml"].map(load.flat_config)
    values = pd.DataFrame(
        {
            name: texts.map(lambda flat, key=key: str(flat.get(f"config.{key}")))
            for name, key in keys.items()
        }
    )
    found = []
    for row in rows.itertuples():
        others = rows.loc[(rows["task"] == row.task) & (rows["name"] != row.name), "cell"]
        usual = values.loc[others, row.name].mode().head(1)
        found.append(values.loc[row.cell, row.name] in usual.to_list())
    return found


def _paper(row: pd.Series) -> float:
    """The paper's success at a setting."""
    known = _PAPERS.get(row["name"])
    if known is None or row["setting"] not in known.settings or published.of_tests(row):
        return math.nan
    return published.ablation(known.name, known.settings[row["setting"]])


def draw(run: load.RunTables, rows: pd.DataFrame, lines: pd.DataFrame) -> style.Figure:
    """A small panel an axis: its settings from top to bottom, success from left to right."""
    colour = style.colour(run, rows["method"].iloc[0])
    parts = [own for _, own in rows.groupby("name", sort=False)][:_MOST]
    tall = 0.35 + 0.17 * max(len(own) for own in parts)
    columns = len(parts) if len(parts) < 4 else math.ceil(len(parts) / 2)
    bands = math.ceil(len(parts) / columns)
    height = min(style.HEIGHT_IN, 0.9 + bands * (tall + 0.35))
    width = {1: style.COLUMN_IN, 2: 6.0}.get(columns, style.WIDTH_IN)
    figure, grid = style.figure(bands, columns, height, width)
    axes = [ax for line in grid for ax in line]
    for ax in axes[len(parts) :]:
        ax.set_axis_off()
    for ax, own in zip(axes, parts, strict=False):
        for row in lines.itertuples():
            ax.axvline(row.mean, **style.LINES[row.kind], zorder=1)
        _panel(ax, own.reset_index(drop=True), colour)
    figure.supxlabel("success, %", fontsize=9)
    return panels.finish(figure, rows, _handles(rows, lines))


def _panel(ax: style.Axes, rows: pd.DataFrame, colour: str) -> None:
    """Means over intervals; the default ringed, published numbers as diamonds."""
    import seaborn as sns

    place = np.arange(len(rows))
    ax.hlines(place, rows["low"], rows["high"], color=colour, lw=3, alpha=0.45)
    look = {"s": 28, "lw": 1.2, "zorder": 3, "clip_on": False, "legend": False}
    faces = rows.assign(place=place)
    for collapsed, own in faces.groupby("collapsed"):
        shade = "white" if collapsed else colour
        sns.scatterplot(own, x="mean", y="place", color=shade, ec=colour, ax=ax, **look)
    usual, known = rows["is_default"], rows["paper"].notna()
    ax.scatter(
        rows["mean"][usual], place[usual], s=110, fc="none", ec=style.INK, lw=1.1, zorder=4,
        clip_on=False,
    )  # fmt: skip
    style.draw_published(ax, rows["paper"][known], place[known])
    ax.set(xlim=(-2, 102), xticks=[0, 50, 100], ylim=(len(rows) - 0.4, -0.6), xlabel="", ylabel="")
    ax.set_yticks(place, rows["setting"])
    ax.tick_params(labelsize=7.5)
    ax.tick_params(axis="y", length=0)
    ax.set_title(_title(rows["name"].iloc[0]), fontsize=8.5)


def _title(key: str) -> str:
    """ "encoder.kind" for "method.lewm.encoder.kind"."""
    return load.config_key(key).removeprefix("method.").removeprefix("train.")


def _handles(rows: pd.DataFrame, lines: pd.DataFrame) -> list:
    handles = []
    if rows["is_default"].any():
        ring = {"marker": "o", "ms": 10, "mfc": "none", "mec": style.INK, "ls": "none"}
        handles.append(style.entry("default", **ring))
    if rows["collapsed"].any():
        handles.append(style.collapsed_handle())
    if rows["paper"].notna().any():
        handles.append(style.published_handle())
    return handles + varied.control_handles(lines["kind"])


def _caption(run: load.RunTables, rows: pd.DataFrame) -> str:
    names = list(rows["name"].unique())
    words = [_CAPTION.format(method=run.method_label(rows["method"].iloc[0]))]
    words += [_RINGED] * bool(rows["is_default"].any())
    papers = {name: _PAPERS[name] for name in names if name in _PAPERS}
    if rows["collapsed"].any():
        words.append(f"Collapsed: latent std below {objective.COLLAPSED_STD:g}.")
    if rows["paper"].notna().any():
        tables = ", ".join(sorted(paper.table for paper in papers.values() if paper.settings))
        words.append(_PUBLISHED.format(tables=tables))
    said = [
        f"{_title(name)} {known}" for name in names if (known := published.ablation_words(name))
    ]
    for paper in papers.values():
        rates = [f"{name} {published.ablation(paper.name, name):.0f} %" for name in paper.others]
        if rates:
            said.append(f"{paper.name.replace('_', ' ')} {', '.join(rates)} ({paper.table})")
    if said and not published.of_tests(rows.iloc[0]):
        words.append(f"Published on Push-T and at no setting of these panels: {'; '.join(said)}.")
    if len(names) > _MOST:
        words.append(f"Shown are {_MOST} of {len(names)} axes; the success table has all.")
    return " ".join(words)
