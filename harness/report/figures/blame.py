"""The figures of blame: whether a method's dynamics or its cost loses pairs."""

from __future__ import annotations

import pandas as pd

from harness.report import load
from harness.report.figures import panels, style, varied
from harness.report.tables import evaluations

_LOOKS = {  # variant -> its name and look
    "model": ("its own model", style.Look(style.INK, "o", "-")),
    "simulated": ("the simulator's dynamics", style.Look("#0072B2", "s", "-")),
    "probed": ("a probe's cost", style.Look("#D55E00", "^", "-")),
}
_APART = 0.2  # between the dots of a method, whose names are 1 apart
_METHOD_IN = 1.0  # inches of a method
_WRAP = 14  # characters on a line of its name
_CAPTION = (
    "Success with 95 % intervals of the same weights on the same pairs, evaluated in {number} "
    "ways. {ways}"
)
_READ = (
    "What a method gains with the simulator's dynamics its own dynamics lose, and what it gains "
    "with a probe's cost its own cost loses."
)


def figures(run: load.RunTables, estimates: pd.DataFrame) -> dict[str, style.Drawn]:
    """ "blame_<task>", where suite=blame was evaluated."""
    return varied.figures(run, estimates, "blame", data(run, estimates), draw, _caption)


def data(run: load.RunTables, estimates: pd.DataFrame) -> pd.DataFrame:
    """Tidy: the points of suite=blame, by method, ceilings last, with columns label (the method's)
    and way (what the legend says of the variant).
    """
    rows = varied.of_suite(varied.points(run, estimates), varied.BLAME)
    rows = rows[rows["variant"].isin(list(_LOOKS))]
    is_ceiling = rows["method"].isin(run.of_role("ceiling"))
    rows = rows.assign(
        label=varied.by_method(run, rows) + is_ceiling.map({True: " (ceiling)", False: ""}),
        way=[_LOOKS[variant][0] for variant in rows["variant"]],
        nth=rows["variant"].map(list(_LOOKS).index),
        rank=rows["method"].map(run.methods["rank"]),
        is_ceiling=is_ceiling,
    )
    by = ["is_ceiling", "rank", "label", "nth"]
    return rows.sort_values(["task", *by], kind="stable", ignore_index=True)


def draw(run: load.RunTables, rows: pd.DataFrame, lines: pd.DataFrame) -> style.Figure:
    """A panel of all pairs and one of the hard pairs: the dots of a method side by side."""
    looks = {way: look for way, look in _LOOKS.values() if (rows["way"] == way).any()}
    labels, kinds = list(rows["label"].unique()), varied.kinds_of_pairs(rows)
    width = min(style.WIDTH_IN, max(style.COLUMN_IN, 0.8 + _METHOD_IN * len(labels)))
    height = min(style.HEIGHT_IN, 1.2 + 1.7 * len(kinds))
    figure, axes = style.figure(len(kinds), 1, height, width)
    for (ax,), (of, words) in zip(axes, kinds.items(), strict=True):
        varied.draw_controls(ax, lines, of)
        for i, (way, (colour, marker, _)) in enumerate(looks.items()):
            own = rows[rows["way"] == way].dropna(subset=f"{of}mean")
            place = own["label"].map(labels.index) + _APART * (i - (len(looks) - 1) / 2)
            mean, low, high = (own[f"{of}{name}"] for name in ("mean", "low", "high"))
            ax.vlines(place, low, high, color=colour, lw=3, alpha=0.45)
            ax.plot(place, mean, marker=marker, ms=6, color=colour, ls="", clip_on=False, zorder=3)
        ax.set(xlim=(-0.5, len(labels) - 0.5), ylim=(-3, 103), ylabel=words)
        ax.set_xticks(range(len(labels)), [""] * len(labels))
        ax.grid(visible=False, axis="x")
        ax.tick_params(axis="x", length=0)
    axes[-1][0].set_xticklabels([style.wrap(label, _WRAP) for label in labels])
    handles = [
        style.entry(way, color=colour, marker=marker, ms=6, ls="")
        for way, (colour, marker, _) in looks.items()
    ]
    return panels.finish(figure, rows, handles + varied.control_handles(lines["kind"]))


def _caption(run: load.RunTables, rows: pd.DataFrame) -> str:
    known = [variant for variant in _LOOKS if (rows["variant"] == variant).any()]
    ways = [f"{_LOOKS[name][0].capitalize()}: {evaluations.WAYS[name]}" for name in known]
    words = _CAPTION.format(number=len(known), ways=" ".join(ways))
    words += f" {_READ}" if len(known) == len(_LOOKS) else ""
    return words + varied.hard_words(rows)
