"""The figure of rollouts: their error block by block, in the latents and in what probes read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from harness.records.rows import LATENT
from harness.report import load
from harness.report.figures import stability, style
from harness.report.tables import open_loop

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST = 4  # panels of a task: the latent, then quantities in the order of recording
_TOP = 1.6  # of a panel, in largest errors of the guesses
_COPY, _SEEN = "#d9d9d9", ":"


def open_loop_figure(run: load.RunTables) -> style.Drawn | None:
    """A row of panels per task: lines of the model's error, the copy's as a band over all methods,
    and dotted what the probe reads from the true latents.
    """
    errors = open_loop.errors(run)
    if errors.empty:
        return None
    errors = errors.merge(run.cells[[*load.GROUP, "label"]], left_on="cell", right_index=True)
    looks = stability.looks(run, errors)
    tasks = sorted(errors["task"].unique(), key=run.tasks["rank"].get)
    names = {task: list(own["quantity"].unique())[:_MOST] for task, own in errors.groupby("task")}
    columns = max(map(len, names.values()))
    figure, axes = style.figure(len(tasks), columns, 1.2 + 1.9 * len(tasks))
    for task, line in zip(tasks, axes, strict=True):
        own = errors[errors["task"] == task]
        for ax, name in zip(line, names[task], strict=False):
            _panel(ax, own[own["quantity"] == name], looks)
            unit = own.loc[own["quantity"] == name, "unit"].iloc[0]
            ax.set_title(f"{name}, {'share of variance' if name == LATENT else unit}")
        style.hide(line[len(names[task]) :])
        line[0].set_ylabel(run.task_label(task), fontweight="bold")
    for ax in axes[-1]:
        ax.set_xlabel("blocks since the last frame seen")
    style.legend(figure, _handles(looks))
    words = (
        "Rollouts from one frame of a test episode. Latents: squared error as a share of their "
        "variance; quantities: mean distance to the true value, read by the probe's networks. "
        "Lines that leave a panel err by far more than the guesses."
    )
    return style.Drawn(figure, f"{style.run_footer(run, errors)} {words}")


def _panel(ax: Axes, part: pd.DataFrame, looks: dict[str, tuple[str, str]]) -> None:
    import seaborn as sns

    copies = part[part["guess"] == "copy"].groupby(["label", "index"])["value"].mean().unstack(0)
    ax.fill_between(copies.index, copies.min(axis=1), copies.max(axis=1), color=_COPY, lw=2)
    means = part[part["guess"] == "mean"].groupby("index")["value"].mean()
    ax.plot(means.index, means, color=style.FAINT, ls="--", lw=1)
    for label, own in part.groupby("label", sort=False):
        shade, line = looks[label]
        by = {"x": "index", "y": "value", "color": shade, "errorbar": ("sd", 1), "ax": ax}
        sns.lineplot(own[own["guess"] == "model"], **by, linestyle=line, lw=1.6)
        seen = own[own["guess"] == "seen"]
        if len(seen):
            sns.lineplot(seen, **by | {"errorbar": None}, linestyle=_SEEN, lw=1)
    known = part.loc[part["guess"] != "seen", "value"].max()
    top = min(1.05 * known, _TOP * max(copies.max(axis=None), means.max()))
    ax.set(xlabel="", ylabel="", ylim=(0, top or 1), xlim=(1, part["index"].max()))
    ax.tick_params(labelsize=7.5)


def _handles(looks: dict[str, tuple[str, str]]) -> list:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    return [
        *(Line2D([], [], color=c, ls=ls, lw=1.6, label=name) for name, (c, ls) in looks.items()),
        Patch(color=_COPY, lw=0, label="copy of that frame, all methods"),
        Line2D([], [], color=style.FAINT, ls="--", lw=1, label="the mean"),
        Line2D([], [], color=style.INK, ls=_SEEN, lw=1, label="read from the true latents"),
    ]
