"""The tables of sweeps: values each sampler needed, importances of keys, the Pareto front."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from harness.records import run_tables
from harness.report import format, objective
from harness.report.objective import Judgement

_NAMED = 12  # values of a plateau that a caption lists
_RATE = ("success", "low", "high")


class Sweep(NamedTuple):
    """The values that one sweep has tried, in the order in which they were suggested."""

    run: str
    sampler: str
    values: list[tuple[str, Judgement]]  # in words: "sigreg_weight=0.03162"
    hard: Sequence[Judgement] = ()  # of the same values on hard pairs


def tried_values(tables: run_tables.Tables, stratum: str = "") -> list[tuple[str, Judgement]]:
    """The values of a sweep's run in the order in which their trials started, each with what it is
    worth, with a stratum on that kind of pairs alone. A value that was pruned or failed is worth
    nothing, and counts as tried.
    """
    swept = tables.metrics[tables.metrics["stage"] == "sweep"]
    texts = swept["unit"].where(swept["value"].isna(), swept["value"].map("{:g}".format))
    words = swept["name"].str.rpartition(".")[2] + "=" + texts
    by_trial = words.groupby(swept["config_hash"]).agg(", ".join).rename("words")
    trials = tables.trial.merge(by_trial, left_on="config_hash", right_index=True)
    started = trials.groupby("words")["started"].min().sort_values(kind="stable")
    hashes = trials.groupby("words")["config_hash"].agg(list)

    def trial(config_hash: str) -> run_tables.Tables:
        return run_tables.Tables(*(part[part["config_hash"] == config_hash] for part in tables[:3]))

    return [
        (words, objective.judge_seeds([*map(trial, hashes[words])], stratum=stratum))
        for words in started.index
    ]


def hard_pairs(runs: Iterable[run_tables.Tables]) -> str:
    """The kind of pairs that the trials of these runs together solve least (a stratum); "" where
    there is one kind.
    """
    rates = []
    for tables in runs:
        ok = tables.trial.loc[tables.trial["status"] == "ok", "config_hash"]
        episodes = tables.episodes[tables.episodes["config_hash"].isin(ok)]
        rates.append(episodes.groupby(["stratum", "config_hash"])["success"].mean())
    means = pd.concat(rates).groupby(level="stratum").mean()
    return str(means.drop("", errors="ignore").idxmin()) if len(means) > 1 else ""


def needed_table(sweeps: Mapping[str, Sequence[Sweep]], hard: str = "") -> format.Table:
    """How many values each sweep tried until its best one lay on the plateau; a section for each of
    `sweeps`, named by what is swept. A plateau is known from the values of all sweeps of a section.
    `hard` is the name of the hard pairs, where there are any.
    """
    parts = {name: _needed_section(name, own, hard) for name, own in sweeps.items()}
    raw = pd.concat([raw.assign(swept=name) for name, (raw, _) in parts.items()], ignore_index=True)
    sections = [section for _, section in parts.values()]
    return format.Table("needed", "How many values each sampler needs", raw, sections)


def _needed_section(
    name: str, sweeps: Sequence[Sweep], hard: str
) -> tuple[pd.DataFrame, format.Section]:
    """The rows of the sweeps of the same keys, and how they are shown."""
    raw, plateau = _needed(sweeps)
    frame = pd.DataFrame(
        {
            "Sampler": raw["sampler"].replace("", format.BLANK),
            "Run": raw["run"],
            "Values tried": raw["tried"].map(format.whole),
            "Needed": raw["needed"].map(format.whole),
            "Ends known to a factor of": raw["ends_factor"].map(format.three),
            "Best value": raw["best"].replace("", format.BLANK),
            "Success %": format.with_interval(100 * raw[[*_RATE]], *_RATE),
        }
    )
    hard_words = ""
    if hard:
        on_hard = [
            sweep._replace(
                values=[(w, one) for (w, _), one in zip(sweep.values, sweep.hard, strict=True)]
            )
            for sweep in sweeps
        ]
        own, of_hard = _needed(on_hard)
        frame["Needed, hard pairs"] = own["needed"].map(format.whole)
        frame["Success %, hard pairs"] = format.with_interval(100 * own[[*_RATE]], *_RATE)
        columns = ["needed", "ends_factor", "best", *_RATE]
        raw = raw.join(own[columns].add_prefix("hard_"))
        hard_words = (
            f"Hard pairs: {hard}, the kind that these runs solve least; their columns are the same "
            f"by success on these alone. On their plateau: {of_hard}. "
        )
    caption = (
        "Needed: how many values a sampler had tried, in the order of its suggestions, when the "
        "best of them first lay on the plateau; a dash: it never did. On the plateau are the "
        "values whose 95 % interval of success on validation pairs overlaps that of the best value "
        f"of all these runs together: {plateau}. {hard_words}"
        "Where hardly any value is off the plateau, these pairs cannot tell samplers apart. "
        "Ends known to a factor of: how far apart the outermost value on the plateau and its "
        "neighbour off it are, on the side where that is more; a dash where neither side has both, "
        "or where a value is no number. A value that failed, collapsed or was pruned counts as "
        "tried."
    )
    return raw, format.Section(f"Values until the plateau, {name}", caption, frame)


def _needed(sweeps: Sequence[Sweep]) -> tuple[pd.DataFrame, str]:
    """The rows of sweeps of the same keys, and their common plateau in words."""
    tried = [one for sweep in sweeps for one in sweep.values]
    flags = objective.on_plateau([judgement for _, judgement in tried])
    left = iter(flags)
    raw = pd.DataFrame([_row(sweep, [next(left) for _ in sweep.values]) for sweep in sweeps])
    # two sweeps may have tried the same value, which is one
    values = {words for words, _ in tried}
    plateau = {words for (words, _), flag in zip(tried, flags, strict=True) if flag}
    if not plateau:
        return raw, f"none of the {len(values)} values tried, since none solved any pair"
    best = max((judgement for _, judgement in tried), key=lambda one: one.value)
    named = sorted(plateau, key=_number)
    between = "; " if any(", " in words for words in named) else ", "
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    return raw, (
        f"{len(named)} of {len(values)}, namely {between.join(named[:_NAMED])}{more} "
        f"(the best: {best.words()}); off it: {len(values) - len(named)} of {len(values)}"
    )


def _row(sweep: Sweep, flags: Sequence[bool]) -> dict:
    """The row of one sweep; `flags` say which of its values lie on the plateau."""
    rates = [judgement.value for _, judgement in sweep.values]
    bests = [rates.index(record) for record in itertools.accumulate(rates, max)]  # so far
    needed = next((n for n, best in enumerate(bests, 1) if flags[best]), math.nan)
    words, judgement = sweep.values[bests[-1]]
    if judgement.value == objective.WORST:  # no value is the best of those that solved nothing
        words, judgement = "", Judgement(math.nan, 0, "", math.nan, math.nan)
    return {
        "sampler": sweep.sampler,
        "run": sweep.run,
        "tried": len(sweep.values),
        "needed": needed,
        "ends_factor": _ends_factor([_number(words)[0] for words, _ in sweep.values], flags),
        "best": words,
        "success": judgement.value,
        "low": judgement.low,
        "high": judgement.high,
    }


def _ends_factor(values: Sequence[float], flags: Sequence[bool]) -> float:
    """The larger of the factors between a plateau's outermost values and their neighbours off it;
    NaN where no end was seen.
    """
    plateau = [value for value, flag in zip(values, flags, strict=True) if flag]
    if not plateau or min(values) <= 0 or not math.isfinite(max(values)):
        return math.nan
    below = [min(plateau) / value for value in values if value < min(plateau)]
    above = [value / max(plateau) for value in values if value > max(plateau)]
    return max((min(side) for side in (below, above) if side), default=math.nan)


def _number(words: str) -> tuple[float, str]:
    """Sorts values of one key by their number."""
    number = pd.to_numeric(words.partition("=")[2], errors="coerce")
    return math.inf if math.isnan(number) else float(number), words


def importances_table(importances: Mapping[str, Mapping[str, float]], values: int) -> format.Table:
    """How much of an objective's variance each key explains; objective -> key -> share."""
    known = [(name, *one) for name, shares in importances.items() for one in shares.items()]
    raw = pd.DataFrame(known, columns=["objective", "key", "importance"])
    frame = raw.rename(columns=str.capitalize).drop(columns="Importance")
    frame["Importance %"] = (100 * raw["importance"]).map(format.whole)
    caption = (
        f"Share of the variance over the ranges that a key explains by itself, by fANOVA on the "
        f"{values} values tried; the shares of an objective add up to 100 %. With few values they "
        "are rough."
    )
    section = format.Section("Importance of the keys", caption, frame)
    return format.Table("importances", "Importance of the keys", raw, [section])


def pareto_table(front: Sequence[tuple[str, Judgement]], values: int) -> format.Table:
    """The values that no other value beats in both success and plan time."""
    columns = ["value", *_RATE, "plan_s"]
    known = [(words, one.value, one.low, one.high, one.plan_s) for words, one in front]
    raw = pd.DataFrame(known, columns=columns).sort_values("plan_s", ignore_index=True)
    frame = pd.DataFrame(
        {
            "Value": raw["value"],
            "Success %": format.with_interval(100 * raw[[*_RATE]], *_RATE),
            "Plan, s": raw["plan_s"].map(format.three),
        }
    )
    caption = (
        f"Of {values} values those that no other beats in success on validation pairs without "
        "taking longer for a plan, the fastest first; values that solved nothing are left out. "
        "Plan: median wall time of the plan of one pair alone. Trials that run side by side slow "
        "each other's plans down: give resources.cpu=<all cores> where that matters."
    )
    section = format.Section("Success against plan time", caption, frame)
    return format.Table("pareto", "Pareto front of the sweep", raw, [section])
