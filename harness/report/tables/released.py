"""The table of released weights: does a published number hold?"""

from __future__ import annotations

import math

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
        is_clear = section[1] in published.CLEAR
        band = " under this protocol, with Wilson's interval" if is_clear else ""
        words = _CAPTION.format(band=band, data=_OURS if (rows["data"] == _OWN).any() else "")
        shown = _frame(run, rows)
        sections.append(format.section(run, "Released weights", rows, words, shown, headline=True))
    return format.Table("released", "Released weights", raw, sections)


_OWN = "our pairs"
_SAME = ["task", *load.SECTION, "split"]


def _raw(run: load.RunTables, estimates: pd.DataFrame) -> pd.DataFrame:
    of_all = success_rates.beside_cells(run, estimates)
    random = of_all[of_all["method"] == success_rates.FLOOR]
    random = random.drop_duplicates(_SAME).set_index(_SAME)["mean"]
    trials = run.trials
    given = trials[(trials["weights"] != "") & (trials["weights_config_hash"] == "")]
    rows = []
    for cell, own in given.groupby("cell"):
        weights, source = own["weights"].iloc[0], load.setting(own, "data.source")
        for known in of_all[of_all["cell"] == cell].to_dict("records"):
            rates = {f"{name}_pct": known[name] for name in ("mean", "low", "high")}
            band = published.released(known["task"], known["protocol"])
            rows.append(
                {"cell": cell, "weights": weights}
                | {"data": _OWN if source in (None, "own") else str(source)}
                | {"split": known["split"], "pairs": known["pairs"]}
                | {"random_pct": random.get(tuple(known[k] for k in _SAME), math.nan)}
                | {"success_pct": rates.pop("mean_pct")}
                | rates
                | {"paper_pct": band.paper, "clear_pct": band.clear}
                | {"band_low_pct": band.low, "band_high_pct": band.high}
                | {"band_sources": band.sources}
                | {"verdict": _verdict(known["protocol"], weights, rates, band)}
            )
    return format.of_cells(run, rows)


def _verdict(protocol: str, weights: str, rates: dict[str, float], band: published.Band) -> str:
    """Whether the interval of a release (quentinll/lewm-pusht@22b330c2), under a protocol that was
    not modified, lies below, inside or above what others report; blank for all else.
    """
    if pd.isna(band.low) or "@" not in weights or protocol.endswith("modified"):
        return format.BLANK
    if rates["high_pct"] < band.low:
        return "below"
    return "above" if rates["low_pct"] > band.high else "inside"


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
