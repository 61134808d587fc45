"""The figures of surprise: one a task, its surprise over time, a panel for each kind of event."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from harness.records import rows as record
from harness.report import load
from harness.report.figures import style
from harness.report.tables import surprise

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_HEIGHT_IN = 3.3
_TICKS = (-10, -3, -1, 0, 1, 3, 10, 30, 100, 300, 1000, 10_000, 100_000)  # those in a panel's range
_PLAIN = {"ls": ":", "lw": 0.9}
_PIXELS = {"color": style.FAINT, "ls": "--", "lw": 1.2}
_FOOTER = (
    "Surprise: squared error of the latent predicted one block ahead, z-scored by the frames of "
    "undisturbed clips of its method. Bands: 95 % intervals of the mean over initial states. "
    "Dotted: the same clips undisturbed. Axes are linear from −2 to 2 and logarithmic beyond. "
    "Dashed: the squared change of the picture, which knows no physics."
)


def surprise_figures(run: load.RunTables) -> dict[str, style.Drawn]:
    """name -> figure for each task with world models whose surprise was measured; of each task the
    first protocol, of each method its first setting.
    """
    tidy = surprise_data(run)
    return {
        f"surprise_{task}": _figure(run, task, part)
        for task, part in tidy.groupby("task", sort=False)
    }


def surprise_data(run: load.RunTables) -> pd.DataFrame:
    """Tidy: one row per task, method, source of surprise, kind of event and block since the event;
    columns task, method, cell, source, kind, blocks, mean, low, high.
    """
    metrics = surprise.surprise_rows(run)
    cells = run.cells[run.cells.index.isin(metrics["cell"]) & (run.cells["variant"] == "")]
    cells = cells[~cells.index.isin(load.sweep_values(run.metrics)["cell"])]
    protocols = cells.groupby("task")["protocol_hash"].transform("first")
    cells = cells[cells["protocol_hash"] == protocols].drop_duplicates(["task", "method"])
    by = ["cell", "source", "kind", "index", "measure"]
    means = metrics[metrics["measure"].isin(["mean", "half_width"])].groupby(by, sort=False)
    tidy = means["value"].mean().unstack("measure").reset_index()
    tidy = cells[["task", "method"]].merge(tidy, left_index=True, right_on="cell")
    if tidy.empty:
        return tidy
    half = tidy["half_width"].fillna(0.0)  # of one family there is no interval
    tidy = tidy.assign(low=tidy["mean"] - half, high=tidy["mean"] + half)
    return tidy.rename(columns={"index": "blocks"})


def _figure(run: load.RunTables, task: str, rows: pd.DataFrame) -> style.Drawn:
    kinds = [kind for kind in rows["kind"].unique() if kind != record.UNDISTURBED]
    rows = rows.assign(label=rows["cell"].map(run.cells["label"]))
    known = rows.drop_duplicates("method").sort_values(
        "method", key=lambda names: names.map(run.methods["rank"])
    )
    shades = {row.label: style.colour(run, row.method) for row in known.itertuples()}
    figure, axes = style.figure(1, len(kinds), _HEIGHT_IN)
    for kind, ax in zip(kinds, axes[0], strict=True):
        _panel(ax, rows, kind, shades)
        ax.set_title(surprise.label(kind))
    axes[0][0].set_ylabel(f"surprise, {run.task_label(task)}", fontweight="bold")
    style.legend(figure, _handles(shades))
    return style.Drawn(figure, f"{style.run_footer(run, rows)} {_FOOTER}")


def _panel(ax: Axes, rows: pd.DataFrame, kind: str, shades: dict[str, str]) -> None:
    """Lines of all methods where the event happens at block 0, and where it does not."""
    import seaborn as sns
    from matplotlib.ticker import FixedLocator, MaxNLocator

    model, _, pixels = record.SURPRISE_SOURCES
    by = {"x": "blocks", "hue": "label", "hue_order": list(shades), "palette": shades, "ax": ax}
    by |= {"legend": False}
    own = rows[(rows["source"] == model) & (rows["kind"] == kind)]
    ends = own.melt(["blocks", "label"], ["low", "high"], value_name="std")
    whole = {"estimator": "median", "errorbar": ("pi", 100), "err_kws": {"alpha": 0.2, "lw": 0}}
    sns.lineplot(ends, y="std", **by, **whole, lw=1.5)
    plain = rows[(rows["source"] == model) & (rows["kind"] == record.UNDISTURBED)]
    sns.lineplot(plain, y="mean", **by, errorbar=None, **_PLAIN)
    pictures = rows[(rows["source"] == pixels) & (rows["kind"] == kind)]
    pictures = pictures.groupby("blocks")["mean"].mean()
    ax.plot(pictures.index, pictures, **_PIXELS, zorder=1.5)
    ax.axvline(0, color=style.FAINT, lw=0.8, zorder=1)
    ax.margins(x=0.02)
    low, high = ax.get_ylim()
    ax.set_yscale("symlog", linthresh=2)
    ax.set(ylim=(min(low, -1.2), max(high, 3.5)), ylabel="", xlabel="blocks since the event")
    ax.yaxis.set_major_locator(FixedLocator(_TICKS))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))


def _handles(shades: dict[str, str]) -> list:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=shade, lw=1.6, label=label) for label, shade in shades.items()]
    handles.append(Line2D([], [], **_PLAIN, color=style.INK, label=record.UNDISTURBED))
    return [*handles, Line2D([], [], **_PIXELS, label=surprise.PIXELS)]
