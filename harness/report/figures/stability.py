"""The figure of training: the terms of each method's loss, and the std of all methods' latents."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from harness.report import load
from harness.report.figures import style
from harness.report.tables import stability

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 5  # panels side by side
_SEEDS = 5  # drawn of each method; more cover each other
_INDENT = " " * 6  # of a title, room for a piece of line
_NORM, _STD = "grad_norm", "latent_std"
_TERMS = {  # Tol's bright and muted sets; one colour for a term in every panel
    "pred": "#4477AA",
    "visual": "#44AA99",
    "sigreg": "#EE6677",
    "var": "#EE7733",
    "cov": "#CCBB44",
    "time_sim": "#66CCEE",
    "time_var": "#AA3377",
    "time_cov": "#117733",
    "idm": "#332288",
    "proprio": "#999933",
    "policy": "#228833",
    "value": "#EE8866",
    "critic": "#882255",
    "loss": "#222222",
}
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_OTHER_TERMS = ("#332288", "#DDCC77", "#CC6677", "#661100")


def stability_figure(run: load.RunTables) -> style.Drawn | None:
    """Small multiples: per task one panel a method, its terms as lines, and one of latent std."""
    curves = _curves(run)
    if curves.empty:
        return None
    tasks = sorted(curves["task"].unique(), key=run.tasks["rank"].get)
    known = looks(run, curves)
    labels = list(known)
    spread = bool(curves["name"].eq(_STD).any())
    count = len(labels) + spread
    lines = math.ceil(count / _COLUMNS)  # of panels, for one task
    columns = math.ceil(count / lines)
    rows = lines * len(tasks)
    figure, axes = style.figure(rows, columns, 1.3 + (1.75 if rows < 5 else 1.5) * rows)
    for i, task in enumerate(tasks):
        panels = [ax for line in axes[i * lines : (i + 1) * lines] for ax in line]
        own = curves[curves["task"] == task]
        for ax, label in zip(panels, labels, strict=False):
            title = style.wrap(label, 90 // columns)
            _terms_panel(ax, own[own["label"] == label], title, known[label])
        if spread:
            _spread_panel(panels[len(labels)], own[own["name"] == _STD], known)
        style.hide(panels[count:])
        for first in range(0, len(panels), columns):
            shown = [ax for ax in panels[first : first + columns] if ax.axison]
            for ax in shown[:1]:
                ax.set_ylabel(run.task_label(task), fontweight="bold")
    for ax in axes[-1]:
        ax.set_xlabel("training step")
    style.legend(figure, _term_handles(curves))
    return style.Drawn(figure, f"{style.run_footer(run, curves)} {_FOOTER}{_SPREAD * spread}")


_FOOTER = (
    f"One line per term and seed (the first {_SEEDS}), without the term's weight; log axes, where "
    "a term that is zero is not drawn. Gradient norm before clipping."
)
_SPREAD = (
    " Latent std: of the batch in training, of each float over the frames, averaged; in the "
    "colours beside the methods' names."
)


def _curves(run: load.RunTables) -> pd.DataFrame:
    """Curves to draw: terms, or the loss of a method that has no other, gradient norm, std."""
    metrics = run.metrics[run.metrics["stage"] == "train"]
    lengths = metrics.groupby(["key", "config_hash", "name"])["index"].transform("size")
    metrics = metrics[lengths > 1]
    is_term = ~metrics["name"].isin([*stability.NO_TERMS, "steps_per_s"])
    with_terms = set(metrics.loc[is_term, "cell"])
    alone = (metrics["name"] == "loss") & ~metrics["cell"].isin(with_terms)
    nth = metrics.groupby("cell")["seed"].rank(method="dense")
    wanted = is_term | alone | metrics["name"].isin([_NORM, _STD])
    metrics = metrics[wanted & (nth <= _SEEDS)]
    metrics = metrics.merge(run.cells[[*load.GROUP, "label"]], left_on="cell", right_index=True)
    metrics["trial"] = metrics.groupby(["key", "config_hash"]).ngroup()
    return metrics.sort_values(["trial", "index"])


def _terms_panel(ax: Axes, part: pd.DataFrame, title: str, look: tuple[str, str]) -> None:
    """The lines of one method on one task; beside its name how its latent std is drawn."""
    from matplotlib.transforms import ScaledTranslation

    part = part[(part["name"] != _STD) & (part["value"] > 0)]
    if part.empty:
        style.hide([ax])
        return
    for name, own in part.groupby("name"):
        width, order = (0.7, 1) if name == _NORM else (1.2, 2)
        _lines(ax, own, color=_term_colour(name), lw=width, zorder=order)
    _decorate(ax, _INDENT + title.replace("\n", f"\n{_INDENT}"))
    shade, line = look
    corner = ScaledTranslation(0, 1, ax.transAxes)  # inches from the panel's upper left corner
    place = {"transform": ax.get_figure().dpi_scale_trans + corner, "clip_on": False}
    ax.plot([0, 0.16], [0.11, 0.11], line, color=shade, lw=2.5, **place)


def _spread_panel(ax: Axes, part: pd.DataFrame, looks: dict[str, tuple[str, str]]) -> None:
    part = part[part["value"] > 0]
    if part.empty:
        style.hide([ax])
        return
    for label, own in part.groupby("label"):
        _lines(ax, own, color=looks[label][0], linestyle=looks[label][1], lw=1.4)
    _decorate(ax, "latent std, all")


def _lines(ax: Axes, own: pd.DataFrame, **look) -> None:
    """One line a trial."""
    for _, curve in own.groupby("trial"):
        points = _thin(curve[["index", "value"]].to_numpy(dtype=float))
        ax.plot(points[:, 0], points[:, 1], alpha=0.85, **look)


def _decorate(ax: Axes, title: str) -> None:
    from matplotlib.ticker import LogLocator

    ax.set_title(title)
    ax.set_yscale("log", nonpositive="mask")
    low, high = ax.get_ylim()
    if high < 60 * low:  # powers of ten alone would leave one tick or none
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
    else:
        ax.yaxis.set_major_formatter(lambda value, _: power_of_ten(value))
    ax.yaxis.set_minor_formatter("")  # ticks alone say that the axis is logarithmic
    ax.tick_params(labelsize=7.5)
    ax.locator_params(axis="x", nbins=4)
    ax.margins(x=0.02)


def power_of_ten(value: float) -> str:
    """ "10⁻³" for 0.001."""
    return "10" + f"{math.log10(value):.0f}".translate(_SUPERSCRIPT)


def _thin(curve: np.ndarray, most: int = 300) -> np.ndarray:
    """Every k-th point of one curve (points, 2), so that at most `most` are drawn."""
    return curve[:: max(1, math.ceil(len(curve) / most))]


def _term_colour(name: str) -> str:
    if name == _NORM:
        return style.CONTROL
    return _TERMS.get(name) or _OTHER_TERMS[sum(name.encode()) % len(_OTHER_TERMS)]


def _term_handles(curves: pd.DataFrame) -> list:
    from matplotlib.lines import Line2D

    known = list(_TERMS)
    drawn = set(curves.loc[curves["value"] > 0, "name"]) - {_STD, _NORM}
    names = sorted(drawn, key=lambda n: (known.index(n) if n in known else len(known), n))
    handles = [Line2D([], [], color=_term_colour(name), lw=1.6, label=name) for name in names]
    norm = Line2D([], [], color=_term_colour(_NORM), lw=0.9, label="gradient norm")
    return [*handles, norm] if _NORM in set(curves["name"]) else handles


def looks(run: load.RunTables, metrics: pd.DataFrame) -> dict[str, tuple[str, str]]:
    """label -> colour of its method, line style that tells its settings apart.

    The values of a sweep go from dark to light.
    """
    found: dict[str, tuple[str, str]] = {}
    used: dict[str, int] = {}
    cells = run.cells[run.cells.index.isin(metrics["cell"])]
    known = cells.drop_duplicates("label")[["method", "label"]]
    plain_first = known.sort_values("label", key=lambda c: c.str.len(), kind="stable")
    for method, label in plain_first.itertuples(index=False):
        shade = style.colour(run, method)
        found[label] = (shade, style.STYLES[used.get(shade, 0) % len(style.STYLES)])
        used[shade] = used.get(shade, 0) + 1
    swept = known.loc[known.index.isin(load.sweep_values(run.metrics)["cell"]), "label"]
    for label, shade in zip(swept, style.ramp(len(swept)), strict=True):
        found[label] = (shade, "-")
    ranks = known["method"].map(run.methods["rank"])
    order = np.argsort(ranks, kind="stable")  # else as in the tables
    return {label: found[label] for label in known["label"].iloc[order]}
