"""The table of released weights: does a published number hold?"""

from __future__ import annotations

from typing import Any

import pandas as pd

from harness.report import format, load, published, success_rates

_CAPTION = (
    "Weights that were given, evaluated here, beside what the paper and others report for the "
    "released ones. Success in percent, with its 95 % interval; random: the random policy on the "
    "same pairs. Others: the lowest and the highest value that they report{band}, and how many do, "
    "for the released or for retrained weights. Verdict: below or above where the whole interval "
    "lies outside what others report, else inside; few pairs make a wide interval, and inside is "
    "then no proof. "
    "There is none for weights whose checksum is no release's, and under a modified protocol. "
    "{data}"
)
_OURS = (
    "Pairs: our own, in pictures as the weights know them (data.scene=swm); data.source=released "
    "takes those of the released data instead."
)


def released_table(run: load.RunTables, estimates: pd.DataFrame) -> format.Table:
    """A line for each cell whose weights were given, not trained by a run; else it is empty."""
    raw = _raw(run, estimates)
    sections = []
    for section, _, rows in format.by_section(raw):
        band = " under this protocol, with Wilson's interval" if _is_clear(section[1]) else ""
        data = _OURS if (rows["data"] == _OWN).any() else ""
        caption = f"{format.about(run, rows)} "
        caption += _CAPTION.format(band=band, data=data)
        sections.append(format.Section("Released weights", caption, _frame(run, rows), True))
    return format.Table("released", "Released weights", raw, sections)


_OWN = "our pairs"


def _raw(run: load.RunTables, estimates: pd.DataFrame) -> pd.DataFrame:
    of_all = estimates[estimates["subset"] == success_rates.ALL] if len(estimates) else estimates
    rows = []
    trials = run.trials
    given = trials[(trials["weights"] != "") & (trials["weights_config_hash"] == "")]
    for cell, own in given.groupby("cell"):
        row = format.identity(run, cell)
        known = published.released(row["task"], row["protocol"])
        for estimate in of_all[of_all["cell"] == cell].itertuples():
            random = _random(run, of_all, row, estimate.split)
            rows.append(
                row
                | {"weights": own["weights"].iloc[0], "data": _data(own)}
                | {"split": estimate.split, "pairs": estimate.pairs, "random_pct": random}
                | {"success_pct": 100 * estimate.mean}
                | {"low_pct": 100 * estimate.low, "high_pct": 100 * estimate.high}
                | {"paper_pct": known.paper, "clear_pct": known.clear}
                | {"band_low_pct": known.low}
                | {"band_high_pct": known.high, "band_sources": known.sources}
                | {"verdict": _verdict(row, own, estimate, known)}
            )
    return format.in_order(run, pd.DataFrame(rows))


def _data(trials: pd.DataFrame) -> str:
    source = load.setting(trials, "data.source")
    return _OWN if source in (None, "own") else str(source)


def _random(run: load.RunTables, of_all: pd.DataFrame, row: dict[str, Any], split: str) -> float:
    """Success of the random policy on the same task under the same protocol, in percent."""
    cells = run.cells.loc[of_all["cell"]].reset_index()
    same = (cells[["task", *load.SECTION]] == [row[k] for k in ("task", *load.SECTION)]).all(axis=1)
    chosen = (same & (cells["method"] == success_rates.FLOOR)).to_numpy()
    found = of_all[chosen & (of_all["split"] == split).to_numpy()]
    return 100 * found["mean"].iloc[0] if len(found) else float("nan")


def _verdict(
    row: dict[str, Any], trials: pd.DataFrame, estimate: Any, known: published.Band
) -> str:
    """Whether the interval of a release (quentinll/lewm-pusht@22b330c2), under a protocol that was
    not modified, lies below, inside or above what others report; blank for all else.
    """
    is_release = "@" in trials["weights"].iloc[0]
    if pd.isna(known.low) or not is_release or row["protocol"].endswith("modified"):
        return format.BLANK
    low, high = 100 * estimate.low, 100 * estimate.high
    return "below" if high < known.low else "above" if low > known.high else "inside"


def _is_clear(protocol: str) -> bool:
    return protocol in published.CLEAR


def _frame(run: load.RunTables, rows: pd.DataFrame) -> pd.DataFrame:
    frame = pd.DataFrame({"Task": rows["task"].map(run.task_label)})
    frame["Weights"] = rows["weights"]
    frame["Data"] = rows["data"]
    frame["Pairs"] = rows["pairs"].map(format.whole)
    frame["Success %"] = format.with_interval(rows, "success_pct", "low_pct", "high_pct")
    frame["Random %"] = rows["random_pct"].map(format.one)
    frame["Paper %"] = rows["paper_pct"].map(format.one)
    frame["CLEAR-LeWM %"] = rows["clear_pct"].map(format.one)
    bands = zip(rows["band_low_pct"], rows["band_high_pct"], rows["band_sources"], strict=True)
    frame["Others %"] = [
        f"{format.one(low)} to {format.one(high)} ({n})" if n else format.BLANK
        for low, high, n in bands
    ]
    frame["Verdict"] = rows["verdict"]
    return frame
