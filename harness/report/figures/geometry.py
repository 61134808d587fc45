"""The figures of the latents' geometry: straightness and spectrum, and maps."""

from __future__ import annotations

import numpy as np
import pandas as pd

from harness.records import metric_names
from harness.report import load
from harness.report.figures import panels, style

_OF_PICTURES = "px"  # unit of places whose y grows downwards, as pictures show them
_CORNERS = np.array([[0.0, 0.45, 0.70], [0.90, 0.62, 0.0], [0.0, 0.62, 0.45], [0.80, 0.47, 0.65]])
_CAPTION = (
    "Straightness: mean cosine of the latent's change over one block and over the next, of "
    "{trained}test episodes after the training. Spectrum: of the covariance of test latents, a log "
    "axis.{bands}"
)
_TRAINED = "training batches (not of methods whose windows have two frames) and of "
_MAP_CAPTION = (
    "t-SNE (scikit-learn) of the latents of test frames, one for each cell of a grid of states; a "
    "point has the colour of its state's place in the first panel. First training seed."
)


def figures(run: load.RunTables) -> dict[str, style.Drawn]:
    """ "geometry_<task>": straightness and spectrum; "map_<task>": t-SNE."""
    most = panels.MOST - 1  # and a panel of the states
    maps = panels.figures(run, "map", map_data(run), draw_map, lambda _: _MAP_CAPTION, most)
    return panels.figures(run, "geometry", data(run), draw, _caption) | maps


def _caption(frame: pd.DataFrame) -> str:
    trained = _TRAINED * bool((frame["stage"] == "train").any())
    return _CAPTION.format(trained=trained, bands=panels.bands(frame))


def data(run: load.RunTables) -> pd.DataFrame:
    """Tidy: mean, low and high over seeds by cell, stage, name (straightness, spectrum) and index;
    of the cells that have a spectrum.
    """
    metrics = run.metrics[run.metrics["name"].isin(["straightness", "spectrum"])]
    metrics = metrics[(metrics["name"] != "spectrum") | (metrics["value"] > 0)]
    metrics = metrics[metrics["cell"].isin(metrics.loc[metrics["name"] == "spectrum", "cell"])]
    return panels.over_seeds(panels.of_cells(run, metrics), "stage", "name", "index")


def draw(frame: pd.DataFrame) -> style.Figure:
    """Straightness over training where it was logged, on test episodes, and the spectrum."""
    straight, spectrum = (frame[frame["name"] == name] for name in ("straightness", "spectrum"))
    curve = straight[straight["stage"] == "train"]
    figure, axes = panels.grid(2 + bool(len(curve)))
    if len(curve):
        panels.lines(axes[0], curve)
        axes[0].set(title="straightness in training", xlabel="training step")
        axes[0].locator_params(axis="x", nbins=4)
    _ends(axes[-2], straight[straight["stage"] == "geometry"])
    panels.lines(axes[-1], spectrum)
    panels.log_axis(axes[-1])
    axes[-1].set(title="share of the variance", xlabel="principal direction", ylim=(1e-5, 1.2))
    return panels.finish(figure, frame, panels.handles(frame))


def _ends(ax: style.Axes, ends: pd.DataFrame) -> None:
    """Straightness of test episodes, a dot a method."""
    import seaborn as sns

    for label, own in ends.groupby("label", sort=False):
        ax.plot([own["low"].min(), own["high"].max()], [label] * 2, color=style.CONTROL, lw=1.5)
    looks = ends.drop_duplicates("label").set_index("label")
    by = {"x": "mean", "y": "label", "hue": "label", "palette": looks["colour"].to_dict()}
    by |= {"style": "label", "markers": looks["marker"].to_dict(), "legend": False}
    sns.scatterplot(ends, **by, s=40, zorder=3, ax=ax)
    ax.set_yticks(ends["label"], [style.wrap(label, 18) for label in ends["label"]])
    ax.set(title="straightness on test episodes", xlabel="mean cosine", ylabel="")
    ax.margins(0.1)
    ax.tick_params(labelsize=7.5)


def map_data(run: load.RunTables) -> pd.DataFrame:
    """Tidy: one row per point: t-SNE (u, v), state (x, y) and the state's names, by cell."""
    maps = run.metrics[run.metrics["stage"] == metric_names.MAP]
    maps = maps[~maps["cell"].isin(load.sweep_values(run.metrics)["cell"])]
    maps = maps[maps["seed"] == maps.groupby("cell")["seed"].transform("min")]
    points = [maps[:0].assign(u=0.0)]
    for cell, own in maps.groupby("cell"):
        x, y = (name for name in own["name"].unique() if not name.startswith("tsne_"))
        wide = own.pivot_table(index="index", columns="name", values="value")
        wide = wide.rename(columns={"tsne_1": "u", "tsne_2": "v", x: "x", y: "y"})
        units = own.drop_duplicates("name").set_index("name")["unit"]
        names = {f"{axis}_name": f"{n}, {units[n]}" for axis, n in (("x", x), ("y", y))}
        points.append(wide.assign(cell=cell, **names))
    return panels.of_cells(run, pd.concat(points))


def draw_map(frame: pd.DataFrame) -> style.Figure:
    """The states at their own places, then t-SNE of each method's latents in the same colours."""
    parts = [own for _, own in frame.groupby("label", sort=False)]
    figure, axes = panels.grid(1 + len(parts), square=True)
    first = parts[0]
    _points(axes[0], first, "x", "y")
    axes[0].set_title("the states")
    axes[0].set_xlabel(first["x_name"].iloc[0], fontsize=7.5)
    axes[0].set_ylabel(first["y_name"].iloc[0], fontsize=7.5)
    axes[0].tick_params(labelsize=7)
    if first["y_name"].iloc[0].endswith(f", {_OF_PICTURES}"):
        axes[0].invert_yaxis()
    for ax, part in zip(axes[1:], parts, strict=True):
        _points(ax, part, "u", "v")
        ax.set(xticks=[], yticks=[])
        ax.set_title(panels.label(ax, part["label"].iloc[0]))
    return panels.finish(figure, frame, [])


def _points(ax: style.Axes, part: pd.DataFrame, x: str, y: str) -> None:
    place = part[["x", "y"]].to_numpy()
    share = (place - place.min(0)) / np.maximum(np.ptp(place, axis=0), 1e-9)
    ax.scatter(part[x], part[y], s=7, c=_mixed(share), lw=0)
    ax.grid(visible=False)
    ax.set_box_aspect(1)


def _mixed(share: np.ndarray) -> np.ndarray:
    """Colours (M, 3) for places (M, 2) in the unit square, mixed from those of its corners."""
    x, y = share[:, :1], share[:, 1:]
    low, high = ((1 - x) * a + x * b for a, b in (_CORNERS[:2], _CORNERS[2:]))
    return (1 - y) * low + y * high
