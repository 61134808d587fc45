"""The figures of the decoder: how far decoded and imagined pictures are from the real ones over the
horizon, the pictures of one window, and the same as a training goes on (LeWM Fig. 10).
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pandas as pd

from harness.records.metric_names import PictureName
from harness.report import load
from harness.report.figures import panels, pictures, style, varied

_PICTURED = 3  # methods; two rows of pictures each
_ON_THEIR_WAY = 2  # methods whose training is shown; a row of pictures for each share
_OF_MODEL = {"decoded": ("--", "decoded"), "imagined": ("-", "imagined")}
_OF_NO_MODEL = {"copied": ("-", "first frame copied"), "mean": (":", "mean training frame")}
_MEASURES = {"psnr": "PSNR, dB", "ssim": "SSIM"}
_CAPTION = (
    "A decoder of frozen latents, trained after the model on training episodes, on windows of test "
    "episodes. Decoded: from the latent of the real frame; imagined: from the first frame and the "
    "recorded actions. PSNR of the squared error over all pixels and windows, SSIM the mean over "
    "windows; higher is nearer to the real frame. An imagined frame that is no better than the "
    "copied one shows nothing of the way there; one no better than the mean frame shows nothing at "
    "all."
)
_PICTURES = (
    "One window of test episodes, the same for every method: of those measured the one in which "
    "the picture changes most. First training seed. Decoded: from the latent of the real frame. "
    "Imagined: from the first frame and the recorded actions. Pictures are as the decoder draws "
    "them, blurred where the latent or the decoder's short training leaves something uncertain."
)
_SNAPSHOTS = (
    "One window of test episodes as decoders of the same training's weights draw it, a decoder for "
    "each share of the training, from the latents of the real frames above (LeWM Fig. 10). Beside "
    "each row PSNR, the mean over the blocks of all windows that were measured; higher is nearer."
)


def figures(run: load.RunTables) -> dict[str, style.Drawn]:
    """ "decoder_<task>": PSNR and SSIM over the horizon; "imagined_<task>": pictures;
    "snapshots_<task>": pictures over the shares of a training.
    """
    whole, shown = _whole(run, data(run)), _whole(run, picture_data(run))
    on_their_way = snapshot_data(run), draw_snapshots, lambda _: _SNAPSHOTS, _ON_THEIR_WAY
    return (
        panels.figures(run, "decoder", whole, draw, lambda part: _CAPTION + panels.bands(part))
        | panels.figures(run, "imagined", shown, draw_pictures, lambda _: _PICTURES, _PICTURED)
        | panels.figures(run, "snapshots", *on_their_way)
    )


def _whole(run: load.RunTables, frame: pd.DataFrame) -> pd.DataFrame:
    """The rows without those of a training on its way, which have a figure of their own; its end is
    the method, and looks like it.
    """
    shares = varied.shares(run)
    frame = frame[~frame["cell"].isin(shares.index[shares < 1])]
    ends = frame["cell"].isin(shares.index)
    labels = frame["method"].map(run.method_label)
    colours = frame["method"].map(lambda method: style.colour(run, method))
    return frame.assign(
        label=frame["label"].mask(ends, labels), colour=frame["colour"].mask(ends, colours)
    )


def data(run: load.RunTables) -> pd.DataFrame:
    """Tidy: mean, low and high over seeds by cell, source, measure and index (blocks)."""
    metrics = load.of_stage(run, "decoder", PictureName)
    return panels.over_seeds(panels.of_cells(run, metrics), "source", "measure", "index")


def draw(frame: pd.DataFrame) -> style.Figure:
    """A panel a measure, a colour a method; grey is what no model draws, which all share."""
    figure, axes = panels.grid(len(_MEASURES))
    for ax, (measure, words) in zip(axes, _MEASURES.items(), strict=True):
        own = frame[frame["measure"] == measure]
        for source, (line, _) in _OF_MODEL.items():
            panels.lines(ax, own[own["source"] == source].assign(line=line))
        for source, (line, _) in _OF_NO_MODEL.items():
            means = own[own["source"] == source].groupby("index")["mean"].mean()
            ax.plot(means.index, means, color=style.FAINT, ls=line, lw=1.4, zorder=1)
        ax.set_title(words)
        ax.locator_params(axis="x", integer=True)
    figure.supxlabel("blocks after the first frame", fontsize=9)
    sources = [
        style.entry(words, color=colour, ls=line, lw=1.4)
        for colour, looks in ((style.INK, _OF_MODEL), (style.FAINT, _OF_NO_MODEL))
        for line, words in looks.values()
    ]
    return panels.finish(figure, frame, [*panels.handles(frame.assign(line="-")), *sources])


def picture_data(run: load.RunTables) -> pd.DataFrame:
    """Tidy: one row per picture of stage "decoder" of each cell's first seed, in order of time."""
    frames = run.frames[run.frames["stage"] == "decoder"]
    frames = frames[frames["seed"] == frames.groupby("cell")["seed"].transform("min")]
    return panels.of_cells(run, frames.sort_values("step", kind="stable"))


def draw_pictures(frame: pd.DataFrame) -> style.Figure:
    """The real frames, and below them what each method decodes and imagines."""
    drawn = frame[frame["kind"] != "real"]
    names = drawn["label"].map(lambda label: style.wrap(label, 19)) + "\n" + drawn["kind"]
    by = [pd.factorize(drawn["label"])[0], drawn["kind"]]  # "decoded" stands before "imagined"
    return _below_real(frame, [own.assign(row=names) for _, own in drawn.groupby(by)])


def _below_real(frame: pd.DataFrame, rows: list[pd.DataFrame]) -> style.Figure:
    """Rows of pictures below the real frames, which are the same for all."""
    real = frame[(frame["kind"] == "real") & (frame["cell"] == frame["cell"].iloc[0])]
    words = np.where(real["step"] > 0, "step " + real["step"].astype(str), "first frame")
    every = [real.assign(row="real", words=words), *(own.assign(words="") for own in rows)]
    both = pd.concat(every).assign(edge=style.CONTROL)
    return pictures.grid(both.assign(column=both.groupby("row").cumcount()))


def snapshot_data(run: load.RunTables) -> pd.DataFrame:
    """Tidy: the real and the decoded pictures of trainings on their way, in order of time, with
    columns label (the method), share (of the training) and psnr (in dB, over all blocks).
    """
    shares = varied.shares(run)
    frame = picture_data(run)
    frame = frame[frame["cell"].isin(shares.index) & frame["kind"].isin(["real", "decoded"])]
    psnr = load.of_stage(run, "decoder", PictureName)
    psnr = psnr[(psnr["source"] == "decoded") & (psnr["measure"] == "psnr")]
    psnr = psnr.groupby("cell")["value"].mean()
    cells = frame["cell"]
    frame = frame.assign(share=cells.map(shares), psnr=cells.map(psnr))
    frame["label"] = frame["method"].map(run.method_label)
    return frame.sort_values("share", kind="stable")


def draw_snapshots(frame: pd.DataFrame) -> style.Figure:
    """The real frames, and below them what each share of a training lets a decoder draw."""
    drawn = frame[frame["kind"] == "decoded"].groupby("label", sort=False)
    rows = []
    for label, own in drawn:
        name = f"{style.wrap(label, 19)}\n" if len(drawn) > 1 else ""
        names = name + own["share"].map(_part) + own["psnr"].map("\n{:.1f} dB".format)
        rows.append(own.assign(row=names))
    return _below_real(frame, rows)


def _part(share: float) -> str:
    """ "1/16 of training"."""
    words = Fraction(share).limit_denominator(100)
    return f"{words} of training" if share < 1 else "whole training"
