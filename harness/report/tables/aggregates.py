"""Averages over tasks: interquartile mean, mean and probability of improvement of each method."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from harness.report import aggregates, format, load, success_rates

REFERENCE = "lewm"
TAUS = np.linspace(0, 1, 51)
_ABOVE = f"p_above_{REFERENCE}"
_NAME, _SECTION = ["method", "variant"], ["scale", "protocol", "split"]
_CAPTION = (
    "Success normalised within each task: 0 is the random policy and 1 replay of the recorded "
    "actions, on the same pairs. A score is that of one training seed on one task, averaged over "
    "evaluation seeds; tasks weigh alike. IQM: interquartile mean, of the middle half of all "
    "scores (of fewer than four: of all). Mean: over tasks, of the mean over training seeds. "
    "P(> LeWM): chance that a training seed of the method scores higher than one of LeWM on the "
    "same task, the mean over the tasks that both have (equal scores count one half; 0.5: no "
    "better). In brackets the 95 % percentile interval of a bootstrap (2,000 draws) that resamples "
    "training seeds within each task, as rliable does (optimistic below five seeds), and within "
    "each task whole groups of pairs that resemble each other, the same for all methods: with few "
    "training seeds most of what is unknown is in the pairs. With one training seed the pairs "
    "alone are resampled, and the interval is that of these weights. Rows of different tasks are "
    "not to be compared."
)


class _Method(NamedTuple):
    """One method's scores on the tasks that have them."""

    first: pd.Series  # of its cells
    tasks: list[str]
    observed: list[np.ndarray]  # tasks -> (S,)
    resampled: list[np.ndarray]  # tasks -> (DRAWS, S), pairs resampled

    @property
    def seeds(self) -> list[int]:
        return [len(scores) for scores in self.observed]

    def on(self, tasks: list[str]) -> _Method:
        """The same on some of its tasks."""
        at = [self.tasks.index(task) for task in tasks]
        scores = ([part[i] for i in at] for part in (self.observed, self.resampled))
        return _Method(self.first, tasks, *scores)


class _Section(NamedTuple):
    rows: pd.DataFrame  # the competitors' cells of one scale, protocol and split
    unclear: set[str]  # tasks left out
    methods: list[_Method]


def aggregates_table(run: load.RunTables, outcomes: dict) -> format.Table:
    """One section a scale, protocol and split with at least two tasks: a row per trained method."""
    raw, sections = [], []
    ends = {"probability": _ABOVE, "low": f"{_ABOVE}_low", "high": f"{_ABOVE}_high"}
    improvements = improvement_data(run, outcomes).rename(columns=ends).drop(columns="method")
    for section in _sections(run, outcomes):
        rows = pd.DataFrame(map(_row, section.methods))
        if len(improvements):
            rows = rows.merge(improvements, "left", [*_SECTION, "label"])
        raw.append(rows)
        key = rows.iloc[0]
        title = f"Averages over tasks, {key['protocol']}, {key['split']} pairs"
        words, frame = f"{_CAPTION}{_left_out(run, section)}", _frame(run, rows)
        sections.append(format.section(run, title, section.rows, words, frame, headline=True))
    table = pd.concat(raw, ignore_index=True) if raw else pd.DataFrame()
    return format.Table("aggregates", "Averages over tasks", table, sections)


def profile_data(run: load.RunTables, outcomes: dict) -> pd.DataFrame:
    """Long: scale, protocol, split, label, method, tau, share, low, high: the performance profile
    of each method of aggregates_table, the share of its runs that score more than tau.
    """
    columns = [*_SECTION, "label", "method", "tau", "share", "low", "high"]
    parts = [pd.DataFrame(columns=columns)]

    def profile(scores: aggregates.Scores) -> np.ndarray:
        return aggregates.performance_profile(scores, TAUS)

    for section in _sections(run, outcomes):
        for own in section.methods:
            ends = aggregates.interval(profile, aggregates.stratified_bootstrap(own.resampled))
            values = [TAUS, profile(own.observed), *ends]
            part = pd.DataFrame(dict(zip(columns[-4:], values, strict=True)))
            parts.append(part.assign(**own.first[columns[:-4]])[columns])
    return pd.concat(parts[1:] or parts, ignore_index=True)


def improvement_data(run: load.RunTables, outcomes: dict) -> pd.DataFrame:
    """Long: scale, protocol, split, label, method, probability, low, high: P(method > LeWM) of each
    method that has two tasks with LeWM.
    """
    rows, columns = [], [*_SECTION, "label", "method", "probability", "low", "high"]
    for section in _sections(run, outcomes):
        plain = [m for m in section.methods if tuple(m.first[_NAME]) == (REFERENCE, "")]
        for own in section.methods if plain else ():
            if own is plain[0]:
                continue
            tasks = [task for task in own.tasks if task in plain[0].tasks]
            if len(tasks) > 1:
                both = own.on(tasks), plain[0].on(tasks)
                drawn = [
                    aggregates.stratified_bootstrap(m.resampled, i) for i, m in enumerate(both)
                ]
                chance = aggregates.probability_of_improvement(*(m.observed for m in both))
                ends = aggregates.interval(aggregates.probability_of_improvement, *drawn)
                rows.append([*own.first[columns[:-3]], chance, *ends])
    return pd.DataFrame(rows, columns=columns)


def _sections(run: load.RunTables, outcomes: dict) -> Iterator[_Section]:
    """The methods of every scale, protocol and split that have scores on two tasks or more."""
    scores = success_rates.normalised(run, outcomes)
    competitors = run.of_role("method")
    cells = pd.DataFrame(
        [run.cells.loc[cell].to_dict() | {"cell": cell, "split": split} for cell, split in outcomes]
    )
    cells = cells[cells["method"].isin(competitors)] if len(cells) else cells
    for _, rows, unclear in format.across_tasks(cells):
        methods = []
        for _, own in format.by_rank(run, rows).groupby("label", sort=False):
            keys = zip(own["task"], own["cell"], own["split"], strict=True)
            known = {task: scores.get((cell, split)) for task, cell, split in keys}
            known = {task: score for task, score in known.items() if score}
            if len(known) > 1:
                parts = map(list, zip(*known.values(), strict=True))
                methods.append(_Method(own.iloc[0], [*known], *parts))
        if methods:
            yield _Section(rows, unclear, methods)


def _row(own: _Method) -> dict[str, Any]:
    """Raw numbers of one method, without those beside LeWM."""
    drawn = aggregates.stratified_bootstrap(own.resampled)
    row = own.first[[*_SECTION, "method", "variant", "label"]].to_dict()
    row |= {"tasks": ", ".join(own.tasks), "seeds": min(own.seeds), "most_seeds": max(own.seeds)}
    for name, statistic in (("iqm", aggregates.iqm), ("mean", aggregates.mean)):
        low, high = aggregates.interval(statistic, drawn)
        row |= {name: float(statistic(own.observed)), f"{name}_low": low, f"{name}_high": high}
    return row


def _frame(run: load.RunTables, rows: pd.DataFrame) -> pd.DataFrame:
    frame = pd.DataFrame({"Method": rows["label"]})
    for name, heading in (
        ("iqm", "IQM"),
        ("mean", "Mean"),
        (_ABOVE, f"P(> {run.method_label(REFERENCE)})"),
    ):
        if name in rows:
            ends = (name, f"{name}_low", f"{name}_high")
            frame[heading] = format.with_interval(rows, *ends, format.two)
    frame["Tasks"] = [", ".join(map(run.task_label, names.split(", "))) for names in rows["tasks"]]
    seeds = rows[["seeds", "most_seeds"]]
    frame["Training seeds"] = [format.span(row) for _, row in seeds.iterrows()]
    return frame


def _left_out(run: load.RunTables, section: _Section) -> str:
    """Sentences about the tasks and methods that have no part in this table."""
    words = format.unclear_note(run, section.unclear)
    scored = {task for own in section.methods for task in own.tasks}
    if unscored := [task for task in section.rows["task"].unique() if task not in scored]:
        names = ", ".join(map(run.task_label, unscored))
        words += (
            f" Left out: {names}, without random and replay on the same pairs, or where the "
            "interval of their difference includes 0."
        )
    shown = {own.first["label"] for own in section.methods}
    if few := [label for label in section.rows["label"].unique() if label not in shown]:
        words += f" On fewer than two tasks: {', '.join(few)}."
    return words
