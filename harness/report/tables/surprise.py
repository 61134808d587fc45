"""The surprise table: how well a world model notices events that break the task's physics."""

from __future__ import annotations

import pandas as pd

from harness.records import metric_names
from harness.report import format, load, stats

_CAPTION = (
    "{clips} clips of held-out episodes, which began in {families} different states; the event "
    "changes the middle frame and what follows. "
    "Surprise: mean squared error of the latent predicted one block ahead, z-scored by the frames "
    "of undisturbed clips. Gap: surprise at the event minus that at the same frame of the "
    "undisturbed clip, in their std. AUC: area under the ROC curve of these two kinds of frames; "
    "0.5 is chance. Detected: share of events above the threshold that one in 1,000 frames of "
    "undisturbed clips exceeds. p: two-sided, of the paired t-test and of Wilcoxon's signed-rank "
    "test (equal pairs left out, ties share their mean rank), over the means of clips from one "
    "initial state; of several training seeds the largest. In parentheses after Holm's correction "
    "for all events and methods of this table, for each of both tests. d: mean of the paired "
    'differences over their std. Two detectors know no physics: "latent stays", the squared change '
    'of the method\'s latent in a block, and row "{pixels}", the squared change of the picture. '
    "Means over training seeds."
)
PIXELS = "consecutive pictures"
_TESTS = ("t_test", "wilcoxon")
MEASURES = ("gap", "auc", "detected", *_TESTS, "effect", "rank_effect")


def surprise_table(run: load.RunTables) -> format.Table:
    """One section a task: a row for each kind of event and method."""
    raw = _raw(run)
    sections = []
    for section, (task,), rows in format.by_section(raw, "task"):
        words = _CAPTION.format(
            clips=format.span(rows["clips"]),
            families=format.span(rows["families"]),
            pixels=PIXELS,
        )
        title = f"{run.task_label(task)}, {section[1]}"
        sections.append(format.section(run, title, rows, words, _frame(rows)))
    return format.Table("surprise", "Surprise", raw, sections)


def label(kind: str) -> str:
    """How a kind of event is shown."""
    return kind.replace("_", " ")


def _raw(run: load.RunTables) -> pd.DataFrame:
    """One row per cell and kind of event, in the order of recording."""
    metrics = load.of_stage(run, "surprise", metric_names.SurpriseName)
    metrics = metrics[metrics["measure"].isin(MEASURES)]
    counts = run.metrics[run.metrics["stage"] == "surprise"]
    counts = counts[counts["name"].isin(["clips", "families"])]  # what the numbers are of
    lines = []
    for (cell, kind), part in metrics.groupby(["cell", "kind"], sort=False):
        own = counts[counts["cell"] == cell].groupby("name")["value"].max()
        line = {"cell": cell, "event": kind} | own.astype(int).to_dict()
        for (source, measure), values in part.groupby(["source", "measure"])["value"]:
            prefix = "" if source == metric_names.SURPRISE_SOURCES[0] else f"{source}_"
            line[f"{prefix}{measure}"] = values.agg(_pooled(measure))
        lines.append(line)
    raw = format.of_cells(run, lines)
    for test in _TESTS if lines else ():
        tables = raw.groupby(["task", *load.SECTION])
        raw[f"{test}_holm"] = tables[test].transform(stats.holm)
    return raw


def _frame(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows by kind of event; below the methods what the pictures alone tell, the same for all."""
    known = {f"pixels_{measure}": _pooled(measure) for measure in MEASURES}
    pixels = rows.groupby("event", sort=False).agg(known).set_axis(MEASURES, axis=1)
    rows = pd.concat([rows, pixels.reset_index().assign(label=PIXELS)])
    rows = format.together(rows, "event")
    shown = {
        "Event": rows["event"].map(label),
        "Method": rows["label"],
        "Gap, std": rows["gap"].map(lambda value: format.three(value).replace("-", "−")),
        "AUC": rows["auc"].map(format.two),
        "AUC, latent stays": rows["stay_auc"].map(format.two),
        "Detected, %": (100 * rows["detected"]).map(format.one),
        "Detected, latent stays, %": (100 * rows["stay_detected"]).map(format.one),
        "p, t-test (Holm's)": _both_p(rows, "t_test"),
        "p, Wilcoxon (Holm's)": _both_p(rows, "wilcoxon"),
        "d": rows["effect"].map(format.two),
    }
    return pd.DataFrame(shown).reset_index(drop=True)


def _both_p(rows: pd.DataFrame, test: str) -> list[str]:
    """ "0.002 (0.018)" per row; the first alone for the pictures, which are no method."""
    both = zip(rows[test], rows[f"{test}_holm"], strict=True)
    return [
        format.p_value(p) + ("" if pd.isna(holm) else f" ({format.p_value(holm)})")
        for p, holm in both
    ]


def _pooled(measure: str) -> str:
    """How a measure of several trials becomes one number."""
    return "max" if measure in _TESTS else "mean"
