"""The probing table: what can be read out of frozen latents, and how far rollouts go astray."""

from __future__ import annotations

import pandas as pd

from harness.report import groups, layout

_PROBING = (
    "Read from frozen latents of single frames of test episodes, probes fitted on training "
    "episodes: Pearson's r of a linear map and of a network with one hidden layer (MLP), of an "
    "angle the mean of its sine's and cosine's; error: mean absolute error, of an angle the "
    "shorter way round. Means over training seeds. One frame shows no speed, so speeds are in the "
    "CSV only."
)
_ROLLOUT = (
    "Open loop: squared error of the rollout from one frame after one block and after the last "
    "block of the horizon, as a share of the latents' variance on validation episodes; in "
    "brackets that of predicting no change."
)


def probing_table(run: groups.Run) -> layout.Table:
    """Two sections per task: quantities, and rollouts."""
    raw = _raw(run)
    sections = []
    for section, (task,), rows in layout.by_section(raw, "task"):
        caption = f"Run {run.name}, {groups.section_name(section)}. {_PROBING}"
        title = f"{groups.task_name(task)}, {section[1]}: what the latents hold"
        sections.append(layout.Section(title, caption, _probing_frame(rows)))
        astray = _rollout_frame(run, rows)
        if not astray.empty:
            title = f"{groups.task_name(task)}, {section[1]}: rollouts"
            caption = f"Run {run.name}, {groups.section_name(section)}. {_ROLLOUT}"
            sections.append(layout.Section(title, caption, astray))
    return layout.Table("probing", "Probing", raw, sections)


def _raw(run: groups.Run) -> pd.DataFrame:
    """One row per cell and quantity, in the order of recording."""
    metrics = run.metrics[run.metrics["stage"] == "probing"]
    rows = []
    if not metrics.empty:
        parts = metrics["name"].str.split(".", expand=True).set_axis(["of", "kind", "what"], axis=1)
        metrics = metrics.join(parts)
        for (cell, quantity), part in metrics.groupby(["cell", "of"], sort=False):
            values = part.groupby(["kind", "what"])["value"].mean()
            unit = part.loc[part["what"] == "error", "unit"].iloc[0]
            row = layout.identity(run, cell) | {"quantity": quantity, "unit": unit}
            rows.append(row | {f"{kind}_{what}": v for (kind, what), v in values.items()})
    return layout.in_order(run, pd.DataFrame(rows))


def _probing_frame(rows: pd.DataFrame) -> pd.DataFrame:
    """A row per quantity and method, in the order of the quantities."""
    rows = rows[~rows["unit"].str.contains("/s")]
    place = {quantity: i for i, quantity in enumerate(rows["quantity"].unique())}
    rows = rows.sort_values("quantity", key=lambda names: names.map(place), kind="stable")
    units = (" " + rows["unit"]).where(rows["unit"] != "1", "")
    return pd.DataFrame(
        {
            "Quantity": rows["quantity"],
            "Method": rows["label"],
            "linear r": rows["linear_r"].map(layout.two),
            "MLP r": rows["mlp_r"].map(layout.two),
            "linear error": rows["linear_error"].map(layout.three) + units,
            "MLP error": rows["mlp_error"].map(layout.three) + units,
        }
    ).reset_index(drop=True)


def _rollout_frame(run: groups.Run, rows: pd.DataFrame) -> pd.DataFrame:
    """One row per method: error after the first and after the last block."""
    metrics = run.metrics[
        (run.metrics["stage"] == "latents") & run.metrics["name"].isin(["open_loop", "stay"])
    ]
    found = []
    for cell, label in rows[["cell", "label"]].drop_duplicates().itertuples(index=False):
        own = metrics[metrics["cell"] == cell]
        if own.empty:
            continue
        means = own.groupby(["name", "index"])["value"].mean()
        row = {"Method": label}
        for block in sorted({1, int(own["index"].max())}):
            words = f"after {block} block{'s' if block > 1 else ''}"
            error, still = means["open_loop", block], means["stay", block]
            row[words] = f"{layout.three(error)} [{layout.three(still)}]"
        found.append(row)
    return pd.DataFrame(found)
