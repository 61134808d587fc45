"""The objective of a sweep: the success of a value's trials, with its interval; the plateau."""

from __future__ import annotations

import math
import statistics
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from harness.records import metric_names, run_tables
from harness.report import stats

COLLAPSED_STD = 0.05  # a mean std of the latents below this says nothing of the picture any more
WORST = 0.0  # success of a trial that failed, collapsed or has no number
WORST_PLAN_S = 3600.0  # plan time of such a trial: no plan that is of use takes an hour


class Judgement(NamedTuple):
    """The worth of a value to a sweep, by one trial or by one for each seed: never NaN."""

    value: float  # success rate on the protocol's own draw, mean over seeds; or WORST
    pairs: int
    reason: str  # "", or why a value is not the success rate: "failed", "collapsed", ...
    low: float = WORST  # 95 % interval of the success rate; of failures alone both ends are WORST
    high: float = WORST
    plan_s: float = WORST_PLAN_S  # median time of one plan
    seeds: int = 1

    def words(self, split: str = "validation") -> str:
        """The value with what it is of, or why it is the worst."""
        if self.reason and self.value == WORST:
            return f"{self.reason}: counts as {WORST:g}"
        words = f"{100 * self.value:.1f} % of {self.pairs} {split} pairs"
        if self.seeds > 1:
            words += f", {self.seeds} seeds" + (f" ({self.reason})" if self.reason else "")
        if self.high > WORST:
            words += f", 95 % interval {100 * self.low:.1f} to {100 * self.high:.1f}"
        return words


def judge(
    tables: run_tables.Tables | None, statuses: Collection[str] = ("ok",), stratum: str = ""
) -> Judgement:
    """The value of one trial, out of its tables, which count under these statuses; with a stratum
    its success on that kind of pairs alone.
    """
    if tables is None:
        return Judgement(WORST, 0, "failed")
    if others := set(tables.trial["status"]) - set(statuses):
        return Judgement(WORST, 0, "pruned" if others == {"pruned"} else "failed")
    pairs = _pairs(tables, stratum)
    rate = float(pairs["success"].mean())
    if not math.isfinite(rate):
        return Judgement(WORST, 0, "no pairs")
    if collapsed(tables.metrics, "key"):
        return Judgement(WORST, len(pairs), "collapsed")
    return Judgement(rate, len(pairs), "", plan_s=_plan_s(tables))


def judge_seeds(
    trials: Sequence[run_tables.Tables | None],
    statuses: Collection[str] = ("ok",),
    stratum: str = "",
) -> Judgement:
    """The value by its trials, one for each seed: means over seeds, of which one that failed or
    collapsed counts as WORST.
    """
    judged = [judge(tables, statuses, stratum) for tables in trials]
    good = [t for t, one in zip(trials, judged, strict=True) if t is not None and not one.reason]
    low, high = _interval(good, len(judged) - len(good), stratum)
    reasons = [one.reason for one in judged if one.reason]
    reason = ", ".join(
        name if len(judged) == 1 else f"{reasons.count(name)} of {len(judged)} seeds {name}"
        for name in dict.fromkeys(reasons)
    )
    value = statistics.fmean(one.value for one in judged)
    plan_s = statistics.fmean(one.plan_s for one in judged)
    pairs = max(one.pairs for one in judged)
    return Judgement(value, pairs, reason, low, high, plan_s, len(judged))


def on_plateau(judged: Sequence[Judgement]) -> list[bool]:
    """Whether each value is as good as the best by what was measured: its interval overlaps that of
    the best one. One that failed, collapsed or solved nothing never is.
    """
    best = max(judged, key=lambda one: one.value)  # of equals the first
    return [one.value > WORST and one.high >= best.low for one in judged]


def collapsed(metrics: pd.DataFrame, column: str) -> set:
    """The values of `column` under which the latents have no spread left, or one that is NaN."""
    spread = metrics[(metrics["stage"] == "latents") & (metrics["name"] == "latent_std")]
    return set(spread.loc[~(spread["value"] >= COLLAPSED_STD), column])


def _plan_s(tables: run_tables.Tables) -> float:
    """The median time of a plan of one pair alone; WORST_PLAN_S where none was timed, or only while
    others used the GPU.
    """
    if tables.trial["device_shared"].any():
        return WORST_PLAN_S
    times = tables.metrics[tables.metrics["stage"] == "plan_time"]
    names = times["name"].map(metric_names.PlanTimeName.of)
    median = times.loc[[name is not None and name.pairs == 1 for name in names], "value"].median()
    return float(median) if math.isfinite(median) else WORST_PLAN_S


def _interval(good: Sequence[run_tables.Tables], bad: int, stratum: str) -> tuple[float, float]:
    """The 95 % interval of the success rate over the pairs that all good seeds were evaluated on;
    in `bad` seeds more nothing counts as solved.
    """
    if not good:
        return WORST, WORST
    pair = ["pair_id", "source_episode", "start_step"]
    rates = pd.concat(
        [_pairs(t, stratum).groupby(pair)["success"].mean() for t in good], axis=1, join="inner"
    )
    if rates.empty:
        return WORST, WORST
    outcome = np.vstack([rates.to_numpy(float).T, np.zeros((bad, len(rates)))])
    families = good[0].metrics.query("stage == 'pairs' and name == 'family'")
    family = dict(zip(families["index"], families["value"], strict=True))
    episodes = rates.index.get_level_values("source_episode")
    clusters = np.array([family.get(episode, -1 - episode) for episode in episodes])
    estimate = stats.estimate(outcome, clusters)
    return estimate.low, estimate.high


def _pairs(tables: run_tables.Tables, stratum: str) -> pd.DataFrame:
    """The episodes of the protocol's own draw, without those drawn for their stratum; or of a
    stratum all.
    """
    episodes = tables.episodes
    return episodes[episodes["stratum"] == stratum if stratum else episodes["sample"] == "pairs"]
