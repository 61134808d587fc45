"""The figures of horizons: success over the distance of the goal, the length of plans, and how many
blocks of a plan are executed before the next one.
"""

from __future__ import annotations

import math

import pandas as pd

from harness.report import load
from harness.report.figures import panels, style, varied

_OFFSET, _PLAN, _EXECUTED = "protocol.offset_steps", "mpc.horizon_blocks", "mpc.execute_blocks"
_AXES = {  # key -> what its axis says
    _OFFSET: "goal offset, steps",
    _PLAN: "blocks of a plan",
    _EXECUTED: "blocks executed before a replan",
}
_CAPTION = {  # of each panel
    _OFFSET: "Goal offset: goals further away in the recording, with twice their distance as "
    "budget, each distance with pairs of its own.",
    _PLAN: "Blocks of a plan: longer plans, on the pairs of one distance.",
    _EXECUTED: "Blocks executed: later replans, on the pairs of one distance.",
}
_CONTROLS = "Lines across: controls on those pairs."
_OWN = "Dotted upright lines: the settings of the protocol, which the other panels keep."


def figures(run: load.RunTables, estimates: pd.DataFrame) -> dict[str, style.Drawn]:
    """ "horizons_<task>", where suite=horizons was evaluated."""
    return varied.figures(run, estimates, "horizons", data(run, estimates), draw, _caption)


def data(run: load.RunTables, estimates: pd.DataFrame) -> pd.DataFrame:
    """Tidy: the points of suite=horizons with columns label and, for each key of _AXES, the value
    that the cell's configuration has, NaN where it does not say.
    """
    rows = varied.of_suite(varied.points(run, estimates), varied.HORIZONS)
    rows = rows[rows["name"].isin(list(_AXES))].reset_index(drop=True)
    trials = dict(list(run.trials[run.trials["cell"].isin(rows["cell"])].groupby("cell")))
    settings = {
        key: [load.setting(trials[cell], key) or math.nan for cell in rows["cell"]] for key in _AXES
    }
    return rows.assign(label=varied.by_method(run, rows), **settings)


def draw(run: load.RunTables, rows: pd.DataFrame, _: pd.DataFrame) -> style.Figure:
    """A panel a key, with a line a method, and a second row of them for the hard pairs; the
    controls are those of its own distances.
    """
    looks, across = _looks(run, rows), _controls(rows)
    keys = [key for key in _AXES if (rows["name"] == key).any()]
    kinds = varied.kinds_of_pairs(rows)
    width = {1: style.COLUMN_IN, 2: 6.0}.get(len(keys), style.WIDTH_IN)
    height = min(style.HEIGHT_IN, 0.7 + 2.4 * len(kinds))
    figure, axes = style.figure(len(kinds), len(keys), height, width)
    for line, (of, words) in zip(axes, kinds.items(), strict=True):
        for ax, key in zip(line, keys, strict=True):
            own = rows[rows["name"] == key]
            varied.draw_lines(ax, own, "value", looks, is_log=False, of=of)
            # the protocol's own value is that of the cells of the other keys
            for value in rows.loc[rows["name"] != key, key].mode().head(1):
                ax.axvline(value, color=style.FAINT, ls=":", lw=1.2, zorder=1)
            rates = across if key != _OFFSET else across[:0]
            for label, rate in zip(rates["label"], rates[f"{of}mean"], strict=True):
                colour, _, line_style = looks[label]
                ax.axhline(rate, color=colour, ls=line_style, lw=1.3, zorder=1)
            ax.set_xticks(sorted(own["value"].unique()))
            ax.set_xlabel(_AXES[key] if line is axes[-1] else "")
        varied.success_axes(line, words)
    return panels.finish(figure, rows, style.method_handles(looks))


def _caption(run: load.RunTables, rows: pd.DataFrame) -> str:
    names = set(rows["name"])
    words = ["Success with 95 % intervals.", *(_CAPTION[key] for key in _AXES if key in names)]
    if names - {_OFFSET} and len(_controls(rows)):
        words.append(_CONTROLS)
    return " ".join(words + [_OWN] * (len(names) > 1)) + varied.hard_words(rows)


def _controls(rows: pd.DataFrame) -> pd.DataFrame:
    """The controls at the distance of the goals that plans and replans were varied on."""
    distance = rows.loc[rows["name"] != _OFFSET, _OFFSET].mode()
    same = (rows["name"] == _OFFSET) & rows["value"].isin(distance)
    return rows[same & rows["method"].isin(list(style.LINES))]


def _looks(run: load.RunTables, rows: pd.DataFrame) -> dict[str, style.Look]:
    """label -> look; random and heuristic look as their lines do in other figures."""
    looks = style.looks(run, rows)
    for row in rows.drop_duplicates("label").itertuples():
        if line := style.LINES.get(row.method):
            looks[row.label] = style.Look(line["color"], looks[row.label].marker, line["ls"])
    return looks
