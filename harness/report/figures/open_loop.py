"""The figures of rollouts: their error block by block, in the latents and in what probes read."""

from __future__ import annotations

import pandas as pd

from harness.records.metric_names import LATENT
from harness.report import load
from harness.report.figures import panels, style
from harness.report.tables import open_loop

_MOST = 4  # panels: the latent, then quantities in the order of recording
_TOP = 1.6  # of a panel, in largest errors of the guesses
_COPY: style.LineLook = {"color": style.CONTROL, "alpha": 0.5}
_SEEN = ":"
_CAPTION = (
    "Rollouts from one frame of a test episode. Latents: squared error as a share of their "
    "variance; quantities: mean distance to the true value, read by the probe's networks. Copy: "
    "the error of copying that frame, from the least to the largest of the methods.{guesses} Lines "
    "that leave a panel err by far more than the guesses.{bands}"
)
_GUESSES = {
    "mean": " Mean: of always guessing the mean.",
    "seen": " True latents: what the probe reads from these.",
}


def figures(run: load.RunTables) -> dict[str, style.Drawn]:
    """A figure a task."""
    return panels.figures(run, "open_loop", data(run), draw, _caption)


def _caption(frame: pd.DataFrame) -> str:
    guesses = "".join(words for guess, words in _GUESSES.items() if guess in set(frame["guess"]))
    return _CAPTION.format(guesses=guesses, bands=panels.bands(frame))


def data(run: load.RunTables) -> pd.DataFrame:
    """Tidy: mean, low and high over seeds by cell, quantity, unit, guess and index (blocks)."""
    rows = panels.of_cells(run, open_loop.errors(run))
    return panels.over_seeds(rows, "quantity", "unit", "guess", "index")


def draw(frame: pd.DataFrame) -> style.Figure:
    """A panel a quantity: lines of the model's error, the copy's as a band over all methods, and
    dotted what the probe reads from the true latents.
    """
    quantities = list(frame.groupby("quantity", sort=False))[:_MOST]
    figure, axes = panels.grid(len(quantities))
    for ax, (name, own) in zip(axes, quantities, strict=True):
        _panel(ax, own)
        unit = "share of variance" if name == LATENT else own["unit"].iloc[0]
        ax.set_title(f"{name.replace('_', ' ')}, {unit}")
    figure.supxlabel("blocks since the last frame seen", fontsize=9)
    handles = [*panels.handles(frame), style.area("copy of the frame", **_COPY)]
    lines = {"mean": ("mean", style.FAINT, "--"), "seen": ("true latents", style.INK, _SEEN)}
    handles += [
        style.entry(words, color=colour, ls=line, lw=1)
        for guess, (words, colour, line) in lines.items()
        if guess in set(frame["guess"])
    ]
    return panels.finish(figure, frame, handles)


def _panel(ax: style.Axes, part: pd.DataFrame) -> None:
    errors = dict(list(part.groupby("guess")))
    copies = errors["copy"].groupby("index")["mean"].agg(["min", "max"])
    ax.fill_between(copies.index, copies["min"], copies["max"], **_COPY, lw=2)
    means = errors["mean"].groupby("index")["mean"].mean() if "mean" in errors else pd.Series()
    ax.plot(means.index, means, color=style.FAINT, ls="--", lw=1)
    panels.lines(ax, errors["model"])
    if "seen" in errors:
        panels.lines(ax, errors["seen"].assign(line=_SEEN), lw=1, markers=False)
    known = part.loc[part["guess"] != "seen", "high"].max()
    top = min(1.05 * known, _TOP * max(copies["max"].max(), means.max() if len(means) else 0))
    ax.set(ylim=(0, top or 1), xlim=(part["index"].min(), part["index"].max()))
    ax.locator_params(axis="x", integer=True)
