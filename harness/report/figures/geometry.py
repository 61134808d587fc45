"""The figures of the latents' geometry: straightness and spectrum, and maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from harness.records import rows as record
from harness.report import load
from harness.report.figures import stability, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 5  # of maps side by side
_CORNERS = np.array([[0.0, 0.45, 0.70], [0.90, 0.62, 0.0], [0.0, 0.62, 0.45], [0.80, 0.47, 0.65]])


def geometry_figure(run: load.RunTables) -> style.Drawn | None:
    """Per task: straightness over training, with its value on test episodes as a dot at the end,
    and the spectrum of the covariance, on a log axis.
    """
    straight = run.metrics[run.metrics["name"] == "straightness"]
    spectra = run.metrics[(run.metrics["name"] == "spectrum") & (run.metrics["value"] > 0)]
    known = pd.concat([straight, spectra])
    if spectra.empty:
        return None
    known = known.merge(run.cells[[*load.GROUP, "label"]], left_on="cell", right_index=True)
    looks = stability.looks(run, known)
    tasks = sorted(known["task"].unique(), key=run.tasks["rank"].get)
    figure, axes = style.figure(len(tasks), 2, 1.2 + 2.1 * len(tasks))
    for task, (left, right) in zip(tasks, axes, strict=True):
        own = known[known["task"] == task]
        _straightness(left, own[own["name"] == "straightness"], looks)
        _spectrum(right, own[own["name"] == "spectrum"], looks)
        left.set_ylabel(run.task_label(task), fontweight="bold")
        left.set_title("straightness")
        right.set_title("share of the variance")
    axes[-1][0].set_xlabel("training step")
    axes[-1][1].set_xlabel("principal direction")
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=c, ls=ls, lw=1.6, label=n) for n, (c, ls) in looks.items()]
    style.legend(figure, lines)
    words = (
        "Straightness: mean cosine of the latent's change over one block and over the next, of "
        "training batches (lines; not of methods whose windows have two frames) and of test "
        "episodes after the training (dots)."
    )
    return style.Drawn(figure, f"{style.run_footer(run, known)} {words}")


def _straightness(ax: Axes, part: pd.DataFrame, looks: dict[str, tuple[str, str]]) -> None:
    import seaborn as sns

    curves = part[part["stage"] == "train"]
    last = curves["index"].max() if len(curves) else 1
    for label, own in part.groupby("label", sort=False):
        shade, line = looks[label]
        curve, end = own[own["stage"] == "train"], own[own["stage"] == "geometry"]
        if len(curve):
            by = {"x": "index", "y": "value", "errorbar": ("sd", 1), "ax": ax}
            sns.lineplot(curve, **by, color=shade, linestyle=line, lw=1.3)
        at = curve["index"].max() if len(curve) else last
        ax.plot([at] * len(end), end["value"], "o", color=shade, ms=5, mec="white", zorder=4)
    ax.set(xlabel="", ylabel="")
    ax.margins(x=0.03)


def _spectrum(ax: Axes, part: pd.DataFrame, looks: dict[str, tuple[str, str]]) -> None:
    import seaborn as sns

    for label, own in part.groupby("label", sort=False):
        shade, line = looks[label]
        by = {"x": "index", "y": "value", "errorbar": None, "ax": ax}
        sns.lineplot(own, **by, color=shade, linestyle=line, lw=1.5)
    ax.set(xlabel="", ylabel="", yscale="log", ylim=(1e-5, 1.2))
    ax.yaxis.set_major_formatter(lambda value, _: stability.power_of_ten(value))
    ax.margins(x=0.03)


def map_figure(run: load.RunTables) -> style.Drawn | None:
    """Per task a panel for each method: t-SNE of the latents of states on a grid, in colours that
    the first panel shows at the states' own places. First training seed of each cell.
    """
    points = _points(run)
    if points.empty:
        return None
    panels = []
    for task in sorted(points["task"].unique(), key=run.tasks["rank"].get):
        parts = list(points[points["task"] == task].groupby("label", sort=False))
        panels += [(task, f"{run.task_label(task)}: the states", parts[0][1], False)]
        panels += [(task, label, part, True) for label, part in parts]
    lines: list[list] = []
    for i, (task, *panel) in enumerate(panels):
        if not lines or panels[i - 1][0] != task or len(lines[-1]) == _COLUMNS:
            lines.append([])
        lines[-1].append(panel)
    columns = max(map(len, lines))
    side = (style.WIDTH_IN - 0.3) / columns
    figure, axes = style.figure(len(lines), columns, 0.6 + min(side, 2.6) * len(lines))
    for panels_of, line in zip(lines, axes, strict=True):
        for ax, (title, part, embedded) in zip(line, panels_of, strict=False):
            _map(ax, part, embedded)
            ax.set_title(style.wrap(title, 100 // columns))
        style.hide(line[len(panels_of) :])
    words = (
        "t-SNE (scikit-learn) of the latents of test frames, one for each cell of a grid of "
        "states; a point has the colour of its state's place in the first panel. First training "
        "seed."
    )
    return style.Drawn(
        figure, f"{style.where(run, run.cells.loc[points['cell'].unique()])}. {words}"
    )


def _points(run: load.RunTables) -> pd.DataFrame:
    """One row per point: task, cell, label, t-SNE (u, v), state (x, y) and its names."""
    maps = run.metrics[run.metrics["stage"] == record.MAP]
    maps = maps[~maps["cell"].isin(load.sweep_values(run.metrics)["cell"])]
    frames = []
    for cell in run.cells.index[run.cells.index.isin(maps["cell"])]:
        own = maps[maps["cell"] == cell]
        own = own[own["seed"] == own["seed"].min()]
        x, y = (name for name in own["name"].unique() if not name.startswith("tsne_"))
        wide = own.pivot_table(index="index", columns="name", values="value")
        wide = wide.rename(columns={"tsne_1": "u", "tsne_2": "v", x: "x", y: "y"})
        units = own.drop_duplicates("name").set_index("name")["unit"]
        names = {"x_name": f"{x}, {units[x]}", "y_name": f"{y}, {units[y]}"}
        known = run.cells.loc[cell, ["task", "label"]].to_dict()
        frames.append(wide.assign(cell=cell, **known, **names))
    return pd.concat(frames) if frames else pd.DataFrame(columns=["task", "label", "cell"])


def _map(ax: Axes, part: pd.DataFrame, embedded: bool) -> None:
    place = part[["x", "y"]].to_numpy()
    colours = _colours((place - place.min(0)) / np.maximum(np.ptp(place, axis=0), 1e-9))
    at = part[["u", "v"]].to_numpy() if embedded else place
    ax.scatter(*at.T, s=9, c=colours, lw=0)
    ax.grid(visible=False)
    if embedded:
        ax.set(xticks=[], yticks=[])
        ax.set_box_aspect(1)
    else:
        ax.set_xlabel(part["x_name"].iloc[0], fontsize=7.5)
        ax.set_ylabel(part["y_name"].iloc[0], fontsize=7.5)
        ax.tick_params(labelsize=7)
        ax.set_box_aspect(1)


def _colours(share: np.ndarray) -> np.ndarray:
    """Colours (M, 3) for places (M, 2) in the unit square, mixed from those of its corners."""
    x, y = share[:, :1], share[:, 1:]
    corners = _CORNERS
    low, high = ((1 - x) * a + x * b for a, b in (corners[:2], corners[2:]))
    return (1 - y) * low + y * high
