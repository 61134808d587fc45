"""The figures of training: the terms of each method's loss, and the std of all methods' latents."""

from __future__ import annotations

import pandas as pd

from harness.report import load
from harness.report.figures import panels, style
from harness.report.tables import stability

_POINTS = 200  # of a curve, at most
_NORM, _STD = "grad_norm", "latent_std"
LOGGED = {_NORM: "gradient norm", _STD: "latent std of the batch"}  # unlike that of held-out frames
_TERMS = {  # a term looks alike in every panel; no two hues lie near each other in CIELAB (tests)
    "pred": ("#0057B8", "-"),
    "visual": ("#00A6A6", "-"),
    "sigreg": ("#D7191C", "--"),
    "var": ("#FF9500", "--"),
    "cov": ("#8C5A2B", ":"),
    "time_sim": ("#3DB8FF", "-."),
    "time_var": ("#E0219E", "-."),
    "time_cov": ("#0B7A33", "--"),
    "idm": ("#6A1FB0", ":"),
    "proprio": ("#9AA600", "--"),
    "policy": ("#35C759", "-"),
    "value": ("#F2A0B5", "--"),
    "critic": ("#7A0C2E", ":"),
    "loss": (style.INK, "-"),
    _NORM: (style.CONTROL, "-"),
}
_OTHER_TERMS = (("#332288", "--"), ("#DDCC77", "-."), ("#CC6677", ":"), ("#661100", "--"))
_CAPTION = (
    "The terms of each method's loss over training steps, without their weights; log axes, where a "
    "term that is zero is not drawn. Gradient norm: before clipping."
)
_SPREAD = (
    " {}: of each float over the frames of a batch in training, averaged; in the lines beside the "
    "methods' names."
)


def figures(run: load.RunTables) -> dict[str, style.Drawn]:
    """A figure a task."""
    most = panels.MOST - 1  # and the panel of latent std
    return panels.figures(run, "training", data(run), draw, _caption, most)


def data(run: load.RunTables) -> pd.DataFrame:
    """Tidy: mean, low and high over seeds by cell, name and index (step); names are terms, or the
    loss of a method that has no other, gradient norm and latent std. LeWM and PLDM come first, as
    in the paper's Fig. 18 and 19: two terms against seven.
    """
    metrics = run.metrics[(run.metrics["stage"] == "train") & (run.metrics["value"] > 0)]
    points = metrics.groupby(["cell", "name"])["index"]
    every = points.transform("nunique") // _POINTS + 1
    drawn = (points.rank("dense") - 1) % every == 0
    metrics = metrics[drawn & (points.transform("nunique") > 1)]
    is_term = ~metrics["name"].isin([*stability.NO_TERMS, "steps_per_s"])
    alone = (metrics["name"] == "loss") & ~metrics["cell"].isin(metrics.loc[is_term, "cell"])
    metrics = metrics[is_term | alone | metrics["name"].isin([_NORM, _STD])]
    frame = panels.over_seeds(panels.of_cells(run, metrics), "name", "index")
    parts = [panels.paper_first(own) for _, own in frame.groupby("task", sort=False)]
    return pd.concat([frame[:0], *parts])


def draw(frame: pd.DataFrame) -> style.Figure:
    """A panel a method, with a line a term; the last panel has the std of all latents."""
    spread = frame[frame["name"] == _STD]
    terms = frame[frame["name"] != _STD].groupby("label", sort=False)
    figure, axes = panels.grid(len(terms) + bool(len(spread)))
    palette, styles = ({n: _look(n)[i] for n in frame["name"].unique()} for i in (0, 1))
    for ax, (_, own) in zip(axes, terms, strict=False):
        panels.curves(ax, own, "name", palette, styles, lw=1.2)
        (head,) = panels.handles(own)
        head.set_label(panels.label(ax, head.get_label()))
        ax.legend(
            handles=[head], loc="lower left", bbox_to_anchor=(-0.02, 0.98), handlelength=1.3,
            borderaxespad=0, borderpad=0.3, handletextpad=0.4, fontsize=8,
        )  # fmt: skip
    if len(spread):
        panels.lines(axes[-1], spread)
        axes[-1].set_title(panels.label(axes[-1], LOGGED[_STD]))
    for ax in axes:
        panels.log_axis(ax)
        ax.locator_params(axis="x", nbins=3)
    figure.supxlabel("training step", fontsize=9)
    # entries of terms in the order of _TERMS, others beside the loss
    known = {name: place for place, name in enumerate(_TERMS)}
    names = sorted(
        set(frame["name"]) - {_STD}, key=lambda name: (known.get(name, known["loss"]), name)
    )
    handles = [
        style.entry(LOGGED.get(name, name), color=palette[name], ls=styles[name], lw=1.6)
        for name in names
    ]
    return panels.finish(figure, frame, handles)


def _caption(frame: pd.DataFrame) -> str:
    has_std = frame["name"].eq(_STD).any()
    spread = _SPREAD.format(LOGGED[_STD].capitalize()) if has_std else ""
    return f"{_CAPTION}{panels.bands(frame)}{spread}"


def _look(name: str) -> tuple[str, str]:
    """The colour and the line style of a term."""
    return _TERMS.get(name) or _OTHER_TERMS[sum(name.encode()) % len(_OTHER_TERMS)]
