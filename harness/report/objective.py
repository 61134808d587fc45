"""The value that a sweep maximises, from the rows of one trial."""

from __future__ import annotations

import math
from typing import NamedTuple

import pandas as pd

from harness.records import rows

COLLAPSED_STD = 0.05  # a mean std of the latents below this says nothing of the picture any more
WORST = 0.0  # of a trial that failed, collapsed or has no number


class Judgement(NamedTuple):
    """A trial's value to a sweep: never NaN."""

    value: float  # success rate on the protocol's own draw, or WORST
    pairs: int
    reason: str  # "", or why the value is not the success rate: "failed", "collapsed", ...

    def words(self) -> str:
        """The value with what it is of, or why it is the worst."""
        if self.reason:
            return f"{self.reason}: counts as {WORST:g}"
        return f"{100 * self.value:.1f} % of {self.pairs} validation pairs"


def judge(tables: rows.Tables | None) -> Judgement:
    """The value of one trial, out of its tables."""
    if tables is None or (tables.trial["status"] != "ok").any():
        return Judgement(WORST, 0, "failed")
    drawn = tables.episodes[tables.episodes["sample"] == "pairs"]
    rate = float(drawn["success"].mean())
    if not math.isfinite(rate):
        return Judgement(WORST, 0, "no pairs")
    if collapsed(tables.metrics, "key"):
        return Judgement(WORST, len(drawn), "collapsed")
    return Judgement(rate, len(drawn), "")


def collapsed(metrics: pd.DataFrame, column: str) -> set:
    """The values of `column` under which the latents have no spread left, or one that is NaN."""
    spread = metrics[(metrics["stage"] == "latents") & (metrics["name"] == "latent_std")]
    return set(spread.loc[~(spread["value"] >= COLLAPSED_STD), column])
