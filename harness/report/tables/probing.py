"""The probing table: what can be read out of frozen latents, beside the paper's and controls."""

from __future__ import annotations

import pandas as pd

from harness.records import metric_names
from harness.report import format, load, published

_PROBING = (
    "Read from frozen latents of test episodes, in the layout of the paper's Tables 1, 3 and 4, by "
    "probes fitted on {frames:,} {inputs} of training episodes: a linear map, and a network with "
    "{network} hidden units (MLP; layers x units). MSE: of standardised values, so that 1 is "
    "guessing the mean; r: Pearson's; both are means over a quantity's numbers, of angles over "
    "sines and cosines. Error of the MLP: the mean distance to the true value, of angles the "
    "shorter way round. ±: std over the probe's seeds. Means over training seeds."
)
_INPUTS = {False: "frames", True: "pairs of frames, a block apart, whose latents are joined,"}
_CONTROLS = (
    " What the same probes read elsewhere, as r of the linear map and of the MLP: pooled, from the "
    "mean of a frame's tokens (else they are joined); untrained, from the same architecture with "
    "the weights that it starts from (a frozen encoder with random ones); pixels, from the grey "
    "picture resized to as many pixels as the latent has floats; shuffled, from latents beside "
    "labels of other frames, which is guessing."
)
_OLDER = (
    " These rows are older: a quantity is one number, and its controls are not shown (they stand "
    "in the CSV; the pixels are 32 px grey pictures there)."
)
_PUBLISHED = (
    " Published: arXiv 2603.19312 v3, on its own data and architecture; its speeds are read "
    "from single latents."
)


def probing_table(run: load.RunTables) -> format.Table:
    """Sections per task: what frames show, and speeds; rows of older probes stand apart."""
    raw = _raw(run)
    sections = []
    for section, (task,), rows in format.by_section(raw, "task"):
        title = f"{run.task_label(task)}, {section[1]}: what the latents hold"
        speeds = rows["unit"].str.contains("/s")
        for (frames, network, of_pairs), part in rows.groupby(
            ["frames", "mlp", speeds.rename("speeds")], sort=False
        ):
            older = part["mlp_mse"].isna().all()
            if older and of_pairs:
                continue  # single frames, which show no speed
            words = _PROBING.format(frames=frames, network=network, inputs=_INPUTS[of_pairs])
            words += _OLDER if older else _CONTROLS
            shown = _frame(part, controls=not older)
            words += _PUBLISHED if any(c.startswith("published") for c in shown) else ""
            name = f"{title}, speeds" if of_pairs else title
            sections.append(format.section(run, name, rows, words, shown))
    return format.Table("probing", "Probing", raw, sections)


def _raw(run: load.RunTables) -> pd.DataFrame:
    """One row per cell, quantity and generation of probes, in the order of recording."""
    metrics = load.of_stage(run, "probing", metric_names.ProbeName)
    lines = []
    by = ["cell", "quantity", "frames"]
    for (cell, quantity, frames), part in metrics.groupby(by, sort=False):
        unit = part.loc[part["measure"] == "error", "unit"].iloc[0]
        networks = part.loc[part["probe"] != "linear", "probe"].str.removeprefix("mlp")
        row = {"cell": cell, "quantity": quantity, "unit": unit, "frames": frames}
        row["mlp"] = networks.iloc[0].replace("x", " x ")
        kind = part["probe"].where(part["probe"] == "linear", "mlp").rename("kind")
        for (source, probe, measure), own in part.groupby(["source", kind, "measure"]):
            name = "_".join([*([] if source == "latent" else [source]), probe, measure])
            row[name] = own["value"].mean()
            row[f"{name}_std"] = own.groupby("key")["value"].std().mean()  # over the probe's seeds
        if paper := published.probing(run.cells.loc[cell], quantity):
            row |= {f"published_{name}": value for name, value in paper._asdict().items()}
        lines.append(row)
    raw = format.of_cells(run, lines)
    known = raw.dropna(axis=1, how="all")
    return known if raw.empty else known.assign(mlp_mse=raw.get("mlp_mse", float("nan")))


def _frame(rows: pd.DataFrame, controls: bool) -> pd.DataFrame:
    """A row per quantity and method, in the order of the quantities."""
    rows = format.together(rows, "quantity")
    units = (" " + rows["unit"]).where(rows["unit"] != "1", "")
    shown = {"Quantity": rows["quantity"], "Method": rows["label"]}
    for kind, words in (("linear", "linear"), ("mlp", "MLP")):
        shown[f"{words} MSE"] = _with_std(rows, f"{kind}_mse", format.short)
        shown[f"{words} r"] = _with_std(rows, f"{kind}_r", format.three_decimals)
    shown["MLP error"] = rows["mlp_error"].map(format.three) + units
    for control in metric_names.PROBE_SOURCES[1:] if controls else ():
        if f"{control}_mlp_r" in rows:
            both = zip(rows[f"{control}_linear_r"], rows[f"{control}_mlp_r"], strict=True)
            shown[f"r, {control}"] = [
                format.BLANK if pd.isna(mlp) else f"{linear:.2f}, {mlp:.2f}" for linear, mlp in both
            ]
    for kind, words in (("linear", "linear"), ("mlp", "MLP")):
        for measure, form in (("mse", format.short), ("r", format.three_decimals)):
            if f"published_{kind}_{measure}" in rows:
                heading = f"published {words} {measure.replace('mse', 'MSE')}"
                shown[heading] = rows[f"published_{kind}_{measure}"].map(form)
    frame = pd.DataFrame(shown).reset_index(drop=True)
    empty = [c for c in frame if (frame[c] == format.BLANK).all()]
    return frame.drop(columns=empty)


def _with_std(rows: pd.DataFrame, name: str, form) -> list[str]:
    """ "0.021 ± 0.003" per row; the value alone where there is no std."""
    if name not in rows:
        return [format.BLANK] * len(rows)
    stds = rows.get(f"{name}_std", pd.Series(float("nan"), rows.index))
    pairs = zip(rows[name], stds, strict=True)
    return [form(v) if pd.isna(std) else f"{form(v)} ± {std:.1g}" for v, std in pairs]
