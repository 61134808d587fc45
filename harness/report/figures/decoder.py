"""The figures of the decoder: how far decoded and imagined pictures are from the real ones over the
horizon, and the pictures of one window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from harness.records.metric_names import PictureName
from harness.report import load
from harness.report.figures import panels, pictures, style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PICTURED = 3  # methods; two rows of pictures each
_OF_MODEL = {"decoded": ("--", "decoded"), "imagined": ("-", "imagined")}
_OF_NO_MODEL = {"copied": ("-", "first frame copied"), "mean": (":", "mean training frame")}
_MEASURES = {"psnr": "PSNR, dB", "ssim": "SSIM"}
_CAPTION = (
    "A decoder of frozen latents, trained after the model on training episodes, on windows of test "
    "episodes. Decoded: from the latent of the real frame; imagined: from the first frame and the "
    "recorded actions. PSNR of the squared error over all pixels and windows, SSIM the mean over "
    "windows; higher is nearer to the real frame. Bands: from the least to the largest of the "
    "training seeds. An imagined frame that is no better than the copied one shows nothing of the "
    "way there; one no better than the mean frame shows nothing at all."
)
_PICTURES = (
    "One window of test episodes, the same for every method: of those measured the one in which "
    "the picture changes most. First training seed. Decoded: from the latent of the real frame. "
    "Imagined: from the first frame and the recorded actions. Pictures are as the decoder draws "
    "them, blurred where the latent or the decoder's short training leaves something uncertain."
)


def figures(run: load.RunTables) -> dict[str, style.Drawn]:
    """ "decoder_<task>": PSNR and SSIM over the horizon; "imagined_<task>": pictures."""
    curves = panels.by_task(run, "decoder", data(run))
    shown = panels.by_task(run, "imagined", picture_data(run), _PICTURED)
    return {
        name: style.Drawn(draw(part), f"{about} {_CAPTION}") for name, part, about in curves
    } | {
        name: style.Drawn(draw_pictures(part), f"{about} {_PICTURES}")
        for name, part, about in shown
    }


def data(run: load.RunTables) -> pd.DataFrame:
    """Tidy: mean, low and high over seeds by cell, source, measure and index (blocks)."""
    metrics = run.metrics[run.metrics["stage"] == "decoder"]
    names = [PictureName.of(name) for name in metrics["name"]]
    metrics = metrics.assign(source=[n.source for n in names], measure=[n.measure for n in names])
    return panels.over_seeds(panels.of_cells(run, metrics), "source", "measure", "index")


def draw(frame: pd.DataFrame) -> Figure:
    """A panel a measure, a colour a method; grey is what no model draws, which all share."""
    from matplotlib.lines import Line2D

    figure, axes = panels.grid(len(_MEASURES))
    for ax, (measure, words) in zip(axes, _MEASURES.items(), strict=True):
        own = frame[frame["measure"] == measure]
        for source, (line, _) in _OF_MODEL.items():
            panels.lines(ax, own[own["source"] == source].assign(line=line))
        for source, (line, _) in _OF_NO_MODEL.items():
            means = own[own["source"] == source].groupby("index")["mean"].mean()
            ax.plot(means.index, means, color=style.FAINT, ls=line, lw=1.4, zorder=1)
        ax.set_title(words)
        ax.xaxis.get_major_locator().set_params(integer=True)
    figure.supxlabel("blocks after the first frame", fontsize=9)
    sources = [
        Line2D([], [], color=colour, ls=line, lw=1.4, label=words)
        for colour, looks in ((style.INK, _OF_MODEL), (style.FAINT, _OF_NO_MODEL))
        for line, words in looks.values()
    ]
    return panels.finish(figure, frame, [*panels.handles(frame.assign(line="-")), *sources])


def picture_data(run: load.RunTables) -> pd.DataFrame:
    """Tidy: one row per picture of stage "decoder" of each cell's first seed, in order of time."""
    frames = run.frames[run.frames["stage"] == "decoder"]
    frames = frames[frames["seed"] == frames.groupby("cell")["seed"].transform("min")]
    return panels.of_cells(run, frames.sort_values("step", kind="stable"))


def draw_pictures(frame: pd.DataFrame) -> Figure:
    """The real frames, and below them what each method decodes and imagines."""
    real = frame[(frame["kind"] == "real") & (frame["cell"] == frame["cell"].iloc[0])]
    drawn = frame[frame["kind"] != "real"]
    words = np.where(real["step"] > 0, "step " + real["step"].astype(str), "first frame")
    names = drawn["label"].map(lambda label: style.wrap(label, 19)) + "\n" + drawn["kind"]
    order = drawn["kind"].map({"decoded": 0, "imagined": 1})
    place = drawn["label"].map({label: i for i, label in enumerate(drawn["label"].unique())})
    drawn = drawn.assign(row=names, words="", place=2 * place + order)
    both = pd.concat([real.assign(row="real", words=words, place=-1), drawn])
    both = both.sort_values("place", kind="stable").assign(edge=style.CONTROL)
    return pictures.grid(both.assign(column=both.groupby("row").cumcount()))
