"""The figures of the decoder: how far decoded and imagined pictures are from the real ones over the
horizon, and for each task the pictures of one window.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from harness.records.rows import PictureName
from harness.report import load
from harness.report.figures import episodes, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINES = {  # source -> dashes, what the legend says
    "decoded": ((3, 1.5), "decoded from the real frame's latent"),
    "imagined": ("", "imagined from the first frame and the recorded actions"),
    "copied": ("", "first frame copied"),
    "mean": ((1, 1.5), "mean training frame"),
}
_OF_NO_MODEL = ("copied", "mean")
_MEASURES = {"psnr": "PSNR, dB", "ssim": "SSIM"}
_FOOTER = (
    "A decoder of frozen latents, trained after the model on training episodes, on windows of test "
    "episodes. PSNR of the squared error over all pixels and windows, SSIM the mean over windows; "
    "higher is nearer to the real frame. An imagined frame that is no better than the copied one "
    "shows nothing of the way there; one no better than the mean frame shows nothing at all."
)
_PICTURES = (
    "One window of test episodes, the same for every method: of those measured the one in which "
    "the picture changes most. First training seed. Decoded: from the latent of the real frame. "
    "Imagined: from the first frame and the recorded actions. Pictures are as the decoder draws "
    "them, blurred where the latent or the decoder's short training leaves something uncertain."
)
_LABEL, _PITCH, _CAPTION, _BETWEEN = 2.0, 1.05, 0.24, 0.05  # in widths of a picture


def horizon_data(run: load.RunTables) -> pd.DataFrame:
    """Tidy: means over training seeds; columns task, label, method, source, measure, block,
    value. What no model draws is there once a task, with an empty label. Of each task the first
    protocol and scale, as in the figures of pictures.
    """
    metrics = run.metrics[run.metrics["stage"] == "decoder"]
    if metrics.empty:
        return pd.DataFrame()
    names = [PictureName.of(name) for name in metrics["name"]]
    tidy = metrics.assign(
        source=[name.source for name in names], measure=[name.measure for name in names]
    )
    tidy = tidy.merge(_shown_cells(run, metrics), left_on="cell", right_index=True)
    tidy.loc[tidy["source"].isin(_OF_NO_MODEL), ["label", "method"]] = ""
    by = ["task", "label", "method", "source", "measure", "index"]
    means = tidy.groupby(by, sort=False)["value"].mean().reset_index()
    return means.rename(columns={"index": "block"})


def decoder_figure(run: load.RunTables) -> style.Drawn | None:
    """PSNR and SSIM over the horizon, a row of two panels a task, a colour a method."""
    tidy = horizon_data(run)
    if tidy.empty:
        return None
    tasks = sorted(tidy["task"].unique(), key=run.tasks["rank"].get)
    figure, axes = style.figure(len(tasks), 2, 1.5 + 2.1 * len(tasks))
    known = run.cells[run.cells["label"].isin(tidy["label"])]
    shades = {"": style.CONTROL}
    for row in known.itertuples():  # in the order of the tables
        shades[row.label] = style.colour(run, row.method)
    for task, line in zip(tasks, axes, strict=True):
        for ax, (measure, words) in zip(line, _MEASURES.items(), strict=True):
            own = tidy[(tidy["task"] == task) & (tidy["measure"] == measure)]
            _panel(ax, own, shades)
            ax.set_title(f"{run.task_label(task)}: {words}")
    for ax in axes[-1]:
        ax.set_xlabel("blocks after the first frame")
    style.legend(figure, _handles(shades))
    cells = _shown_cells(run, run.metrics[run.metrics["stage"] == "decoder"])
    return style.Drawn(figure, f"{style.where(run, cells)}. {_FOOTER}")


def pictures_figures(run: load.RunTables) -> dict[str, style.Drawn]:
    """ "imagined_<task>" -> real frames, and below them what each method decodes and imagines."""
    pictures = run.frames[run.frames["stage"] == "decoder"]
    if pictures.empty:
        return {}
    return {
        f"imagined_{task}": _pictures_figure(run, cells, pictures)
        for task, cells in _shown_cells(run, pictures).groupby("task", sort=False)
    }


def _shown_cells(run: load.RunTables, table: pd.DataFrame) -> pd.DataFrame:
    """The cells of a table that are drawn."""
    cells = run.cells[run.cells.index.isin(table["cell"])]
    by_task = cells.groupby("task", sort=False)
    return pd.concat([episodes.row_cells(run, part) for _, part in by_task])


def _panel(ax: Axes, own: pd.DataFrame, shades: dict[str, str]) -> None:
    import seaborn as sns

    dashes = {source: line for source, (line, _) in _LINES.items()}
    sns.lineplot(
        own, x="block", y="value", hue="label", style="source", palette=shades, dashes=dashes,
        errorbar=None, legend=False, lw=1.5, ax=ax,
    )  # fmt: skip
    ax.set(xlabel="", ylabel="")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.margins(x=0.02)


def _handles(shades: dict[str, str]) -> list:
    from matplotlib.lines import Line2D

    lines = []
    for source, (dashes, words) in _LINES.items():
        colour = style.CONTROL if source in _OF_NO_MODEL else style.INK
        pattern = (0, dashes) if dashes else "-"
        lines.append(Line2D([], [], color=colour, ls=pattern, lw=1.5, label=words))
    methods = [
        Line2D([], [], color=shade, lw=3, label=label) for label, shade in shades.items() if label
    ]
    return [*methods, *lines]


def _pictures_figure(
    run: load.RunTables, cells: pd.DataFrame, pictures: pd.DataFrame
) -> style.Drawn:
    strips = _strips(cells, pictures)
    columns = max(len(strip) for _, strip in strips)
    width, pitch = _LABEL + columns * _PITCH, 1 + _BETWEEN
    tall = _CAPTION + len(strips) * pitch
    inches = (style.WIDTH_IN - 0.25) / width * tall
    figure, (((ax),),) = style.figure(1, 1, 0.9 + inches)
    for row, (label, strip) in enumerate(strips):
        top = _CAPTION + row * pitch
        ax.text(-_LABEL, top + 0.5, label, va="center", fontsize=8, color=style.INK)
        for column, frame in enumerate(strip.itertuples()):
            caption = "" if row else (f"step {frame.step}" if frame.step else "first frame")
            episodes.draw_picture(ax, frame.image, column * _PITCH, top, caption, None)
    ax.set(xlim=(-_LABEL, width - _LABEL), ylim=(tall, 0), aspect="equal", anchor="NW")
    ax.set_axis_off()
    ax.set_title(run.task_label(cells["task"].iloc[0]), fontsize=10)
    return style.Drawn(figure, f"{style.where(run, cells)}. {_PICTURES}")


def _strips(cells: pd.DataFrame, pictures: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """A label and the pictures of each row: the real frames, then two rows a cell."""
    strips = []
    for cell, label in cells["label"].items():
        own = pictures[pictures["cell"] == cell]
        own = own[own["seed"] == own["seed"].min()].sort_values("step")
        if not strips:
            strips.append(("real", own[own["kind"] == "real"]))
        for kind in ("decoded", "imagined"):
            words = f"{style.wrap(label, 22)}\n{kind}"
            strips.append((words, own[own["kind"] == kind]))
    return strips
