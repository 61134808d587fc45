"""The probing table: what can be read out of frozen latents, and how far rollouts go astray."""

from __future__ import annotations

import pandas as pd

from harness.records import rows as record
from harness.report import format, load

_PROBING = (
    "Read from frozen latents of single frames of test episodes, probes fitted on {frames:,} "
    "frames of training episodes: Pearson's r of a linear map and of a network with {network} "
    "hidden units (MLP; layers x units), of an angle the mean of its sine's and cosine's; error: "
    "mean absolute error, of an angle the shorter way round. Means over training seeds. One "
    "frame shows no speed, so speeds are left out."
)
_CONTROLS = (
    " Controls, what the same MLP reads without the training: untrained, from the same "
    "architecture with the weights that it starts from (a frozen encoder with random ones); "
    "shuffled, from latents where each label belongs to another frame, which is guessing; row "
    '"{pixels}", from the picture itself.'
)
_PIXELS = "32 px grey pixels"
_ROLLOUT = (
    "Open loop: squared error of the rollout from one frame after one block and after the last "
    "block of the horizon, as a share of the latents' variance on validation episodes; in "
    "brackets that of predicting no change."
)


def probing_table(run: load.RunTables) -> format.Table:
    """Sections per task: quantities, one section for each generation of probes, and rollouts."""
    raw = _raw(run)
    sections = []
    for section, (task,), rows in format.by_section(raw, "task"):
        title = f"{run.task_label(task)}, {section[1]}"
        about = f"Run {run.name}, {load.section_name(section)}.{format.ceiling_note(run, rows)}"
        for (frames, network), part in rows.groupby(["frames", "mlp"], sort=False):
            words = _PROBING.format(frames=frames, network=network)
            controls = part["untrained_mlp_error"].notna().any()
            words += _CONTROLS.format(pixels=_PIXELS) if controls else ""
            shown = _probing_frame(part, bool(controls))
            sections.append(
                format.Section(f"{title}: what the latents hold", f"{about} {words}", shown)
            )
        astray = _rollout_frame(run, rows)
        if not astray.empty:
            sections.append(format.Section(f"{title}: rollouts", f"{about} {_ROLLOUT}", astray))
    return format.Table("probing", "Probing", raw, sections)


def probe_rows(run: load.RunTables) -> pd.DataFrame:
    """The metrics of stage "probing" with the parts of their names as columns."""
    metrics = run.metrics[run.metrics["stage"] == "probing"]
    names = {name: record.ProbeName.of(name) for name in metrics["name"].unique()}
    parts = pd.DataFrame(
        [names[name] for name in metrics["name"]],
        columns=record.ProbeName._fields,
        index=metrics.index,
    )
    return metrics.join(parts)


def _raw(run: load.RunTables) -> pd.DataFrame:
    """One row per cell, quantity and generation of probes, in the order of recording."""
    metrics = probe_rows(run)
    lines = []
    for (cell, quantity, frames), part in metrics.groupby(
        ["cell", "quantity", "frames"], sort=False
    ):
        unit = part.loc[part["measure"] == "error", "unit"].iloc[0]
        networks = part.loc[part["probe"] != "linear", "probe"].str.removeprefix("mlp")
        row = format.identity(run, cell) | {"quantity": quantity, "unit": unit, "frames": frames}
        row["mlp"] = networks.iloc[0].replace("x", " x ")
        kind = part["probe"].where(part["probe"] == "linear", "mlp")
        for (source, probe, measure), value in (
            part.groupby(["source", kind, "measure"])["value"].mean().items()
        ):
            prefix = "" if source == "latent" else f"{source}_"
            row[f"{prefix}{probe}_{measure}"] = value
        lines.append(row)
    raw = pd.DataFrame(lines)
    for control in record.PROBE_SOURCES[1:]:
        if lines and f"{control}_mlp_error" not in raw:
            raw[f"{control}_mlp_error"] = float("nan")
    return format.in_order(run, raw)


def _probing_frame(rows: pd.DataFrame, controls: bool) -> pd.DataFrame:
    """A row per quantity and method, in the order of the quantities; below the methods what the
    pixels hold, which are the same for all.
    """
    rows = rows[~rows["unit"].str.contains("/s")]
    if controls:
        rows = pd.concat([rows, _pixel_rows(rows)])
    order = {quantity: i for i, quantity in enumerate(rows["quantity"].unique())}
    rows = rows.sort_values("quantity", key=lambda names: names.map(order), kind="stable")
    units = (" " + rows["unit"]).where(rows["unit"] != "1", "")
    shown = {
        "Quantity": rows["quantity"],
        "Method": rows["label"],
        "linear r": rows["linear_r"].map(format.two),
        "MLP r": rows["mlp_r"].map(format.two),
        "linear error": rows["linear_error"].map(format.three) + units,
        "MLP error": rows["mlp_error"].map(format.three) + units,
    }
    if controls:
        shown |= {
            f"MLP error, {control}": rows[f"{control}_mlp_error"].map(format.three)
            for control in ("untrained", "shuffled")
        }
    return pd.DataFrame(shown).reset_index(drop=True)


def _pixel_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """One row per quantity, with the pixels' readings in the place of the latents'."""
    columns = {f"pixels_{end}": end for end in ("linear_r", "mlp_r", "linear_error", "mlp_error")}
    means = rows.groupby("quantity", sort=False).agg(
        {"unit": "first"} | dict.fromkeys(columns, "mean")
    )
    return means.rename(columns=columns).reset_index().assign(label=_PIXELS)


def _rollout_frame(run: load.RunTables, rows: pd.DataFrame) -> pd.DataFrame:
    """One row per method: error after the first and after the last block."""
    metrics = run.metrics[
        (run.metrics["stage"] == "latents") & run.metrics["name"].isin(["open_loop", "stay"])
    ]
    lines = []
    for cell, label in rows[["cell", "label"]].drop_duplicates().itertuples(index=False):
        own = metrics[metrics["cell"] == cell]
        if own.empty:
            continue
        means = own.groupby(["name", "index"])["value"].mean()
        row = {"Method": label}
        for block in sorted({1, int(own["index"].max())}):
            words = f"after {block} block{'s' if block > 1 else ''}"
            error, still = means["open_loop", block], means["stay", block]
            row[words] = f"{format.three(error)} [{format.three(still)}]"
        lines.append(row)
    return pd.DataFrame(lines)
