"""The success table: per protocol and task, rates, intervals, differences on the same pairs."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from harness.report import format, load, published, success_rates

_INTERVALS = (
    "95 % interval: Wilson's, for the number of independent pairs that these pairs are worth, "
    "since those cut from one recorded episode, or from episodes that start alike, resemble each "
    "other (design effect over groups of such pairs, with one imagined group all of whose pairs "
    "agree). With several training seeds it is joined with a bootstrap (2,000 draws) that "
    "resamples these and, jointly, the groups (optimistic below five seeds)."
)


def success_table(run: load.RunTables, outcomes: dict, estimates: pd.DataFrame) -> format.Table:
    """Success per cell, with strata, published numbers, shares of the way from the best trivial
    control to the ceiling where one was run, and paired differences.
    """
    shares = success_rates.shares(run, outcomes)
    raw = _success_raw(run, estimates, success_rates.differences(run, outcomes), shares)
    sections = []
    for section, (split, task), rows in format.by_section(raw, "split", "task"):
        title = f"{run.task_label(task)}, {section[1]}, {split} pairs"
        caption = _success_caption(run, section, split, rows, outcomes)
        frame, _ = format.fold(_success_frame(rows), ["Pairs", "Training seeds"])  # in the caption
        sections.append(
            format.Section(
                title, f"{caption} {_INTERVALS}{_success_notes(run, rows)}", frame, headline=True
            )
        )
        ways = _ways_frame(rows)
        if len(ways.columns) > 2:  # else all of it stands in the table of success
            words = f"{caption} {_WAY}{format.ceiling_note(run, rows)}"
            sections.append(format.Section(f"{title}: {_WAY_TITLE}", words, ways))
        counts = [f"pairs with {run.method_label(name)}" for name in success_rates.REFERENCES]
        paired, more = format.fold(_paired_frame(run, rows), counts)
        if not paired.empty:
            title = f"{title}: difference to the controls and to LeWM on the same pairs"
            words = f"{caption} {_PAIRED} {_corrected(rows)}{more}"
            sections.append(format.Section(title, words, paired))
    return format.Table("success", "Success", raw, sections)


_WAY_TITLE = "share of the way from the best trivial control to the ceiling"
_WAY = (
    "Share of the way: (success − floor) / (ceiling − floor) in percent, on the same pairs; the "
    "floor is the best trivial control on them. In brackets its 95 % interval: bootstrap (2,000 "
    "draws) over the groups of these pairs, for all three together, and over the training seeds of "
    "each. A dash: no share, since the 95 % interval of ceiling − floor includes 0, or since the "
    "row checks the simulator."
)
_PAIRED = (
    "Points of success. Pairs cut from one recorded episode, or from episodes that start alike, "
    "form a group. 95 % interval, not corrected: bootstrap (2,000 draws) over the groups of the "
    "shared pairs and, with several training seeds, over those. p: exact two-sided test, over one "
    "sign for the summed differences of each group (McNemar's with one seed and one pair a group); "
    "with several seeds at least that of Welch's t-test over seeds and groups. Where few groups "
    "differ, interval and p can disagree; p is exact."
)


def _success_raw(
    run: load.RunTables, estimates: pd.DataFrame, paired: pd.DataFrame, shares: pd.DataFrame
) -> pd.DataFrame:
    """One row per cell and split; percentages and points."""
    rows = []
    differences = {key: part for key, part in paired.groupby(["cell", "split"])}
    ways = {key: part for key, part in shares.groupby(["cell", "split"])}
    for (cell, split), part in estimates.groupby(["cell", "split"], sort=False):
        row = {**format.identity(run, cell), "split": split}
        for estimate in part.itertuples():
            row |= _estimate_columns(estimate)
        for difference in getattr(differences.get((cell, split)), "itertuples", list)():
            row |= _difference_columns(difference)
        for share in getattr(ways.get((cell, split)), "itertuples", list)():
            row |= _share_columns(share)
        if split == "test" and (paper := published.success(run.cells.loc[cell])):
            row |= format.published_columns("published_success_pct", paper)
        rows.append(row)
    return pd.DataFrame(rows)


def _estimate_columns(estimate: Any) -> dict[str, float]:
    prefix = _prefix(estimate.subset)
    columns = {
        f"{prefix}success_pct": 100 * estimate.mean,
        f"{prefix}low_pct": 100 * estimate.low,
        f"{prefix}high_pct": 100 * estimate.high,
        f"{prefix}pairs": estimate.pairs,
    }
    if estimate.subset == success_rates.ALL:
        columns |= {"seed_std_pct": 100 * estimate.std, "seeds": estimate.seeds}
        columns |= {"final_success_pct": 100 * estimate.final}
    return columns


def _difference_columns(difference: Any) -> dict[str, float]:
    name = f"{_prefix(difference.subset)}minus_{difference.reference}"
    return {
        f"{name}_points": 100 * difference.difference,
        f"{name}_low_points": 100 * difference.low,
        f"{name}_high_points": 100 * difference.high,
        f"{name}_p": difference.p_value,
        f"{name}_p_holm": difference.p_holm,
        f"{name}_pairs": difference.pairs,
    }


def _share_columns(share: Any) -> dict[str, Any]:
    prefix = _prefix(share.subset)
    return {
        f"{prefix}share_of_way_pct": 100 * share.share,
        f"{prefix}share_of_way_low_pct": 100 * share.low,
        f"{prefix}share_of_way_high_pct": 100 * share.high,
        f"{prefix}share_of_way_pairs": share.pairs,
        f"{prefix}floor": share.floor,
        f"{prefix}floor_pct": 100 * share.floor_rate,
        f"{prefix}ceiling": share.ceiling,
        f"{prefix}ceiling_pct": 100 * share.ceiling_rate,
    }


def _prefix(subset: str) -> str:
    return (
        "" if subset == success_rates.ALL else f"{re.sub(r'[^0-9a-zA-Z]+', '_', subset).lower()}_"
    )


def _strata(rows: pd.DataFrame) -> list[str]:
    """Column prefixes of the strata that these rows have."""
    ends = [c[: -len("success_pct")] for c in rows.columns if c.endswith("_success_pct")]
    own = {"final_", "published_", _prefix(success_rates.UNSOLVED)}
    return [p for p in ends if p not in own and rows[f"{p}success_pct"].notna().any()]


def _success_frame(rows: pd.DataFrame) -> pd.DataFrame:
    frame = pd.DataFrame({"Method": rows["label"]})
    frame["Success %"] = rows["success_pct"].map(format.one)
    frame["95 % interval"] = format.interval(rows, "low_pct", "high_pct")
    if _has_ways(rows, ""):
        frame["Share of the way %"] = _ways(rows, "")
    if (rows["seeds"] > 1).any():
        frame["Std over seeds"] = rows["seed_std_pct"].map(format.one)
    frame["Pairs"], frame["Training seeds"] = (
        rows["pairs"].map(format.whole),
        rows["seeds"].map(format.whole),
    )
    for prefix in [*_strata(rows), _prefix(success_rates.UNSOLVED)]:
        if f"{prefix}success_pct" in rows:
            words = _words(prefix)
            counts = rows[f"{prefix}pairs"]
            constant = counts.nunique(dropna=False) == 1
            n = f" (n = {int(counts.iloc[0])})" if constant else ""
            frame[f"{words} %{n}"] = rows[f"{prefix}success_pct"].map(format.one)
            if not constant:
                frame[f"{words} pairs"] = counts.map(format.whole)
    if (rows["final_success_pct"] != rows["success_pct"]).any():  # else an episode stops there
        frame["Final %"] = rows["final_success_pct"].map(format.one)
    if "published_success_pct" in rows and rows["published_success_pct"].notna().any():
        frame["Published %"] = rows["published_success_pct"].map(format.one)
    return frame


def _ways_frame(rows: pd.DataFrame) -> pd.DataFrame:
    """Method and its share of the way on each kind of pairs; without the checks, which have
    none.
    """
    known = [prefix for prefix in ["", *_strata(rows)] if _has_ways(rows, prefix)]
    frame = pd.DataFrame({"Method": rows["label"]})
    for prefix in known:
        frame[f"{_words(prefix)} %"] = _ways(rows, prefix)
    return frame[rows[[f"{p}floor" for p in known]].notna().any(axis=1)].reset_index(drop=True)


def _has_ways(rows: pd.DataFrame, prefix: str) -> bool:
    return f"{prefix}floor" in rows and rows[f"{prefix}floor"].notna().any()


def _ways(rows: pd.DataFrame, prefix: str) -> list[str]:
    """ "62.3 [51.0, 73.5]" per row, of both ends "0 (floor)" and "100 (ceiling)"."""
    names = {f"{prefix}share_of_way{end}_pct": end for end in ("", "_low", "_high")}
    cells = []
    for row in rows.to_dict("records"):
        share, low, high = (format.one(row[name]).replace("-", "−") for name in names)
        ends = {row[f"{prefix}floor"]: "floor", row[f"{prefix}ceiling"]: "ceiling"}
        end = "" if row["variant"] else ends.get(row["method"], "")
        if end:
            value = share if share == format.BLANK else {"floor": "0", "ceiling": "100"}[end]
            cells.append(f"{value} ({end})")
        else:
            cells.append(share if share == format.BLANK else f"{share} [{low}, {high}]")
    return cells


def _words(prefix: str) -> str:
    """The kind of pairs that a column prefix stands for."""
    return prefix.strip("_").replace("_", " ") or success_rates.ALL


def _paired_frame(run: load.RunTables, rows: pd.DataFrame) -> pd.DataFrame:
    """Method and kind of pairs, then difference, interval, p and pairs per control; empty without
    shared pairs.
    """
    parts = [_paired_part(run, rows, prefix) for prefix in ["", *_strata(rows)]]
    parts = [part for part in parts if len(part.columns) > 2]
    if not parts:
        return pd.DataFrame()
    frame = pd.concat(parts).sort_index(kind="stable").fillna(format.BLANK)
    return frame[(frame.iloc[:, 2:] != format.BLANK).any(axis=1)].reset_index(drop=True)


def _paired_part(run: load.RunTables, rows: pd.DataFrame, prefix: str) -> pd.DataFrame:
    """The differences on one subset of the pairs."""
    frame = pd.DataFrame({"Method": rows["label"], "Pairs": _words(prefix)})
    for reference in success_rates.REFERENCES:
        name = f"{prefix}minus_{reference}"
        if f"{name}_points" in rows and rows[f"{name}_points"].notna().any():
            words = run.method_label(reference)
            frame[f"− {words}"] = rows[f"{name}_points"].map(format.signed)
            frame[f"interval, {words}"] = format.interval(
                rows, f"{name}_low_points", f"{name}_high_points", format.signed
            )
            frame[f"p, {words}"] = rows[f"{name}_p_holm"].map(format.p_value)
            frame[f"pairs with {words}"] = rows[f"{name}_pairs"].map(format.whole)
    return frame


def _corrected(rows: pd.DataFrame) -> str:
    """A sentence: what the p-values of a section are corrected for."""
    tests = int(rows.filter(regex="_p_holm$").notna().to_numpy().sum())
    return (
        f"The p shown is Holm's, corrected for all {format.count(pd.Series([tests]), 'comparison')}"
        " of this table (methods, references and kinds of pairs); the CSV has it uncorrected too."
    )


def _success_caption(
    run: load.RunTables, section: tuple, split: str, rows: pd.DataFrame, outcomes: dict
) -> str:
    words = (
        f"Run {run.name}, {load.section_name(section)}: {format.span(rows['pairs'])} {split} "
        f"pairs, {format.count(rows['seeds'], 'training seed')}."
    )
    dropped = max(outcomes[cell, split].dropped for cell in rows["cell"])
    other = sum(outcomes[cell, split].other_seeds for cell in rows["cell"])
    if other:
        words += f" Left out: {format.count(pd.Series([other]), 'training seed')} on other data."
    if dropped:
        words += f" Up to {dropped} pairs that some seed lacks are left out."
    return words


def _success_notes(run: load.RunTables, rows: pd.DataFrame) -> str:
    words = "" if _prefix(success_rates.UNSOLVED) + "pairs" not in rows else _UNSOLVED
    if (rows["final_success_pct"] != rows["success_pct"]).any():
        words += " Final: solved at the last step."
    if _has_ways(rows, ""):
        words += f" {_WAY}"
    words += format.ceiling_note(run, rows)
    return words + format.sources(run, rows, "published_success_pct")


_UNSOLVED = " Not solved at start: pairs whose goal is not met before the first action."
