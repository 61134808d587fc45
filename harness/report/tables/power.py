"""How many pairs a claimed difference needs, from the pairs of this run."""

from __future__ import annotations

import math

import pandas as pd

from harness.report import format, load, stats, success_rates

_RATES = (10, 50, 90)  # percent, of the method to surpass
_DIFFERENCES = (5, 10, 20)  # points
_CAPTION = (
    "Before a difference is claimed: what a two-sided paired test at 5 % finds in 80 % of "
    "repetitions (sample size of McNemar's test, Connor 1987), for a method that is better than "
    "one whose success is the base rate, one training seed each. Worth: the number of independent "
    "pairs that these pairs are worth, since some resemble each other. Agreement: correlation of "
    "two methods' outcomes on a pair, which the test makes use of. Both are medians over the "
    "methods of this run, on its own pairs. Detectable: the smallest difference that these pairs "
    "show. The last columns: how many pairs like these a difference of so many points needs. A "
    "dash: even 100 % is too near. Training seeds differ besides, so that a claim about a method, "
    "and not about these weights, needs several."
)


def power_sections(run: load.RunTables, raw: pd.DataFrame, outcomes: dict) -> list[format.Section]:
    """One section a scale, protocol and split that has methods to compare; `raw` is that of the
    success table.
    """
    sections = []
    rows = raw[raw["method"].isin(run.of_role("method"))] if len(raw) else raw
    for (_, protocol, split), part, unclear in format.across_tasks(rows, least=1):
        frames = []
        for task, own in part.groupby("task", sort=False):
            family = [outcomes[cell, split] for cell in own["cell"]]
            if known := success_rates.pairs_worth(family):
                frames.append(_of_task(run.task_label(task), known))
        if not frames:
            continue
        title = f"Pairs that a difference needs, {protocol}, {split} pairs"
        words = f"{format.about(run, part)} {_CAPTION}{format.unclear_note(run, unclear)}"
        frame = pd.concat(frames, ignore_index=True)
        sections.append(format.Section(title, words, frame))
    return sections


def _of_task(task: str, known: success_rates.PairsWorth) -> pd.DataFrame:
    """A row per base rate."""
    worth = known.pairs / known.design_effect
    rows = []
    for percent in _RATES:
        rate = percent / 100
        detectable = 100 * stats.detectable_difference(rate, worth, known.agreement)
        row = {
            "Task": task,
            "Pairs": format.whole(known.pairs),
            "Worth": format.whole(worth),
            "Agreement": format.two(known.agreement),
            "Base rate %": str(percent),
            "Detectable, points": format.one(detectable),
        }
        for points in _DIFFERENCES:
            needed = stats.pairs_needed(rate, points / 100, known.agreement) * known.design_effect
            row[f"{points} points, pairs"] = format.whole(
                math.nan if math.isnan(needed) else math.ceil(needed)
            )
        rows.append(row)
    return pd.DataFrame(rows)
