"""The success table: rates, intervals and differences on the same pairs, by task and protocol."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pandas as pd

from harness.report import format, load, published, success_rates
from harness.report.tables import beside, evaluations, power

_AVERAGING = (
    "Success in percent [95 % interval], averaged over the evaluation seeds of a training seed "
    "first, then over training seeds."
)
_INTERVALS = (
    "Interval: Wilson's, for the number of independent pairs that these pairs are worth, "
    "since those cut from one recorded episode, or from episodes that start alike, resemble each "
    "other (design effect over groups of such pairs, with one imagined group all of whose pairs "
    "agree). With several training seeds it is joined with a bootstrap (2,000 draws) that "
    "resamples these and, jointly, the groups (optimistic below five seeds)."
)
_BOLD = (
    " Bold: the method with the highest rate of a task and those that the paired test (exact, over "
    "one sign for each group of pairs; p at least 0.05 after Holm's correction for all couples of "
    "methods of that task) does not tell from it, where it tells any method from it. A lower "
    "number is bold where these pairs are too few to tell it apart, which is no tie: the table of "
    "pairs that a difference needs says how many would. Controls and ceilings do not compete."
)
_HARD_PAIRS = (
    "Hard pairs: {names}; "
    f"{success_rates.HARD}. A task's protocol draws more of them where there are few. Success in "
    "percent [95 % interval], in round brackets the points above the heuristic, the task's trivial "
    "policy, on the same pairs; *: p below 0.05 after Holm's correction for all differences of the "
    "task on kinds of pairs."
)
_WAY_TITLE = "share of the way from the best trivial control to the ceiling"
_WAY = (
    "Share of the way: (success − floor) / (ceiling − floor) in percent, on the same pairs; the "
    "floor is the best trivial control on them. In brackets its 95 % interval: bootstrap (2,000 "
    "draws) over the groups of these pairs, for all three together, and over the training seeds of "
    "each. A dash: no share, since the 95 % interval of ceiling − floor includes 0, or since the "
    "row checks the simulator."
)
_CEILINGS = " Ceiling: {names}, evaluated on the same pairs."
_PAIRED = (
    "Points of success [95 % interval]. Pairs cut from one recorded episode, or from episodes that "
    "start alike, form a group. The interval is not corrected: bootstrap (2,000 draws) over the "
    "groups of the shared pairs and, with several training seeds, over those. p: exact two-sided "
    "test, over one sign for the summed differences of each group (McNemar's with one seed and one "
    "pair a group); with several seeds at least that of Welch's t-test over seeds and groups. "
    f"{format.DISAGREEING}"
)
_UNSOLVED = " Not solved at start: pairs whose goal is not met before the first action."


def success_table(run: load.RunTables, outcomes: dict, estimates: pd.DataFrame) -> format.Table:
    """All tasks side by side, how many pairs a difference needs, then each task with its strata,
    published numbers, shares of the way to a ceiling, and paired differences.
    """
    elsewhere = evaluations.cells(run)  # in a table of their own: each has a protocol's hash
    raw = _raw(run, outcomes, estimates[~estimates["cell"].isin(elsewhere)])
    across = list(_across_tasks(run, raw, success_rates.hardest(run, estimates)))
    shown = {key for key, _ in across}
    of_tasks: list[format.Section] = []
    for section, (split, task), rows in format.by_section(raw, "split", "task"):
        alone = (*section[:2], split) not in shown
        title = f"{run.task_label(task)}, {section[1]}, {split} pairs"
        of_tasks += _of_task(run, title, rows, outcomes, headline=alone)
    needed = power.power_sections(run, raw, outcomes)
    main = [section for _, sections in across for section in sections]
    sections = [*main, *needed, *of_tasks] if main else [*of_tasks, *needed]
    return format.Table("success", "Success", raw, sections)


def _across_tasks(
    run: load.RunTables, raw: pd.DataFrame, hard: dict[str, str]
) -> Iterator[tuple[tuple, list[format.Section]]]:
    """(scale, protocol, split) and its tables, a row per method and a column per task: of all pairs
    and, where tasks have several kinds, of their hard ones (task -> kind). Then one with a row per
    task and method that has a published number.
    """
    for key, rows, unclear in format.across_tasks(raw):
        about, of = format.about(run, rows), f"{key[1]}, {key[2]} pairs"
        rows = format.by_rank(run, rows)
        rows["cell_text"] = format.with_interval(rows, *_interval(""))
        frame, bold = _wide(run, rows)
        words = f"{about} {_counts(rows, key[2])} {_AVERAGING} {_INTERVALS}"
        words += f"{_BOLD if bold else ''}{format.unclear_note(run, unclear)}"
        sections = [format.Section(f"Success by task, {of}", words, frame, True, bold)]
        if (own := _on_hard_pairs(rows, hard)) is not None:
            names = [
                f"{run.task_label(task)}'s {hard[task]} ({format.span(part['hard_number'])})"
                for task, part in own.groupby("task", sort=False)
            ]
            words = f"{format.about(run, own)} {_HARD_PAIRS.format(names=', '.join(names))}"
            words += f" {_INTERVALS}"
            frame, _ = _wide(run, own)
            sections.append(format.Section(f"Success on hard pairs, {of}", words, frame, True))
        compared = beside.section(run, f"Published beside ours, {of}", rows, _INTERVALS)
        sections += [compared] if compared else []
        yield key, sections


def _wide(run: load.RunTables, rows: pd.DataFrame) -> tuple[pd.DataFrame, frozenset]:
    """A row per method and a column per task of `cell_text`, and which cells are bold."""
    columns = list(rows["task"].unique())
    by = ["label", rows.groupby(["label", "task"]).cumcount().rename("copy")]
    order = rows.groupby(by, sort=False).size().index
    wide = rows.set_index([*by, "task"])[["cell_text", "is_best"]].unstack().loc[order]
    texts = wide["cell_text"].reindex(columns=columns).fillna(format.BLANK)
    best = wide["is_best"].reindex(columns=columns).eq(True).to_numpy()
    frame = texts.rename(columns=run.task_label).reset_index("label").reset_index(drop=True)
    frame = frame.rename(columns={"label": "Method"}).rename_axis(columns=None)
    headings = list(frame.columns[1:])
    return frame, frozenset((int(i), headings[j]) for i, j in zip(*best.nonzero(), strict=True))


def _on_hard_pairs(rows: pd.DataFrame, hard: dict[str, str]) -> pd.DataFrame | None:
    """The rows of tasks with hard pairs, with the text of a cell on them."""
    parts = []
    for task, own in rows.groupby("task", sort=False):
        prefix = _prefix(hard[task]) if task in hard else ""
        names = _interval(prefix)
        if not prefix or names[0] not in own:
            continue
        texts = pd.Series(format.with_interval(own, *names), own.index)
        points = f"{prefix}minus_heuristic_points"
        if points in own:
            clear = own[f"{prefix}minus_heuristic_p_holm"] < success_rates.ALPHA
            above = own[points].map(format.signed) + clear.map({True: "*", False: ""})
            texts += (" (" + above + ")").where(own[points].notna(), "")
        number = own[f"{prefix}pairs"]
        parts.append(own.assign(cell_text=texts, hard_number=number, is_best=None))
    return pd.concat(parts) if parts else None


def _of_task(
    run: load.RunTables, title: str, rows: pd.DataFrame, outcomes: dict, headline: bool
) -> Iterator[format.Section]:
    """One task: success with strata, shares of the way where strata have them, differences."""
    about = f"{format.about(run, rows)} {_counts(rows, rows['split'].iloc[0])}"
    about += _left_out(rows, outcomes)
    frame = _frame(rows)
    bold = frozenset((i, _SUCCESS) for i in rows.index[rows["is_best"].eq(True)])
    words = f"{about} {_AVERAGING} {_INTERVALS}{_BOLD if bold else ''}{_notes(run, rows)}"
    yield format.Section(title, words, frame, headline, bold)
    ways, ceiling = _ways_frame(rows), _ceiling(run, rows)
    if len(ways.columns) > 2:  # else all of it stands in the table of success
        yield format.Section(f"{title}: {_WAY_TITLE}", f"{about} {_WAY}{ceiling}", ways)
    counts = [f"pairs with {run.method_label(name)}" for name in success_rates.REFERENCES]
    paired, more = format.fold(_paired_frame(run, rows), counts)
    if not paired.empty:
        title = f"{title}: difference to the controls and to LeWM on the same pairs"
        yield format.Section(title, f"{about} {_PAIRED} {_corrected(rows)}{more}", paired)


# -- raw numbers


def _raw(run: load.RunTables, outcomes: dict, estimates: pd.DataFrame) -> pd.DataFrame:
    """One row per cell and split; percentages and points."""
    wide: dict[tuple[int, str], dict[str, Any]] = {}
    for row in estimates.itertuples():
        known = wide.setdefault((row.cell, row.split), {"cell": row.cell, "split": row.split})
        names = _RATES | (_RATES_OF_ALL if row.subset == success_rates.ALL else {})
        known |= _columns(row, names, _prefix(row.subset))
    for row in success_rates.differences(run, outcomes).itertuples():
        prefix = f"{_prefix(row.subset)}minus_{row.reference}_"
        wide.get((row.cell, row.split), {}).update(_columns(row, _DIFFERENCES, prefix))
    for row in success_rates.shares(run, outcomes).itertuples():
        wide.get((row.cell, row.split), {}).update(_columns(row, _SHARES, _prefix(row.subset)))
    for row in success_rates.best(run, outcomes).itertuples():
        wide.get((row.cell, row.split), {}).update(_columns(row, _TESTS))
    for (cell, split), columns in wide.items():
        if split == "test" and (paper := published.success(run.cells.loc[cell])):
            columns |= format.published_columns("published_success_pct", paper)
    raw = format.of_cells(run, list(wide.values()))
    return raw if raw.empty or "is_best" in raw else raw.assign(is_best=None)


# field of a row of success_rates -> its column; percentages and points are times 100
_RATES = {"mean": "success_pct", "low": "low_pct", "high": "high_pct", "pairs": "pairs"}
_RATES_OF_ALL = {
    "std": "seed_std_pct",
    "seeds": "seeds",
    "ever": "any_step_success_pct",
    "final": "final_success_pct",
}
_DIFFERENCES = {
    "difference": "points",
    "low": "low_points",
    "high": "high_points",
    "p_value": "p",
    "p_holm": "p_holm",
    "pairs": "pairs",
}
_SHARES = {
    "share": "share_of_way_pct",
    "low": "share_of_way_low_pct",
    "high": "share_of_way_high_pct",
    "pairs": "share_of_way_pairs",
    "floor": "floor",
    "floor_rate": "floor_pct",
    "ceiling": "ceiling",
    "ceiling_rate": "ceiling_pct",
}
_TESTS = {
    "is_best": "is_best",
    "p_value": "against_leader_p",
    "p_holm": "against_leader_p_holm",
}


def _columns(row: Any, names: dict[str, str], prefix: str = "") -> dict[str, Any]:
    """These fields of a row under their columns' names."""
    values = {name: getattr(row, field) for field, name in names.items()}
    return {
        prefix + name: 100 * value if name.endswith(("pct", "points")) else value
        for name, value in values.items()
    }


def _prefix(subset: str) -> str:
    word = re.sub(r"[^0-9a-zA-Z]+", "_", subset).lower()
    return "" if subset == success_rates.ALL else f"{word}_"


def _words(prefix: str) -> str:
    """The kind of pairs that a column prefix stands for."""
    return prefix.strip("_").replace("_", " ") or success_rates.ALL


def _strata(rows: pd.DataFrame) -> list[str]:
    """Column prefixes of the strata that these rows have."""
    ends = [c[: -len("success_pct")] for c in rows.columns if c.endswith("_success_pct")]
    own = {"any_step_", "final_", "published_", _prefix(success_rates.UNSOLVED)}
    return [p for p in ends if p not in own and rows[f"{p}success_pct"].notna().any()]


# -- readable tables of one task


_SUCCESS = "Success %"
_MOMENTS = {"At any step %": "any_step_success_pct", "At the end %": "final_success_pct"}


def _interval(prefix: str) -> tuple[str, str, str]:
    """The columns of success and of the ends of its interval, on these pairs."""
    return f"{prefix}success_pct", f"{prefix}low_pct", f"{prefix}high_pct"


def _judged_otherwise(rows: pd.DataFrame) -> bool:
    """Whether success depends on the moment; it does not where an episode stops when it is
    solved.
    """
    return any((rows[name] != rows["success_pct"]).any() for name in _MOMENTS.values())


def _frame(rows: pd.DataFrame) -> pd.DataFrame:
    frame = pd.DataFrame({"Method": rows["label"]})
    frame[_SUCCESS] = format.with_interval(rows, *_interval(""))
    if _has_ways(rows, ""):
        frame["Share of the way %"] = _ways(rows, "")
    if (rows["seeds"] > 1).any():
        frame["Std over seeds"] = rows["seed_std_pct"].map(format.one)
    for prefix in [*_strata(rows), _prefix(success_rates.UNSOLVED)]:
        if f"{prefix}success_pct" in rows:
            cells, counts = format.with_interval(rows, *_interval(prefix)), rows[f"{prefix}pairs"]
            heading = f"{_words(prefix)} %"
            if counts.nunique(dropna=False) == 1:
                heading += f" (n = {int(counts.iloc[0])})"
            else:
                sizes = [f", n = {n:.0f}" if n > 0 else "" for n in counts]
                cells = [cell + size for cell, size in zip(cells, sizes, strict=True)]
            frame[heading] = cells
    if _judged_otherwise(rows):
        for heading, name in _MOMENTS.items():
            frame[heading] = rows[name].map(format.whole)
    if "published_success_pct" in rows and rows["published_success_pct"].notna().any():
        frame["Published %"] = rows["published_success_pct"].map(format.short)
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
    """ "62 [51, 74]" per row, of both ends "0 (floor)" and "100 (ceiling)"."""
    name = f"{prefix}share_of_way"
    cells = format.with_interval(rows, f"{name}_pct", f"{name}_low_pct", f"{name}_high_pct")
    for i, row in enumerate(rows.to_dict("records")):
        ends = {row[f"{prefix}floor"]: "0 (floor)", row[f"{prefix}ceiling"]: "100 (ceiling)"}
        if not row["variant"] and (end := ends.get(row["method"])):
            cells[i] = end if cells[i] != format.BLANK else f"– {end.partition(' ')[2]}"
    return cells


def _paired_frame(run: load.RunTables, rows: pd.DataFrame) -> pd.DataFrame:
    """Method and kind of pairs, then difference, both p and pairs per control; empty without shared
    pairs.
    """
    parts = [_paired_part(run, rows, prefix) for prefix in ["", *_strata(rows)]]
    parts = [part for part in parts if len(part.columns) > 2]
    if not parts:
        return pd.DataFrame()
    frame = pd.concat(parts).sort_index(kind="stable").fillna(format.BLANK)
    return frame[(frame.iloc[:, 2:] != format.BLANK).any(axis=1)].reset_index(drop=True)


def _paired_part(run: load.RunTables, rows: pd.DataFrame, prefix: str) -> pd.DataFrame:
    """The differences on one subset of the pairs."""
    frame = pd.DataFrame({"Method": rows["label"], "Kind of pairs": _words(prefix)})
    for reference in success_rates.REFERENCES:
        name = f"{prefix}minus_{reference}"
        if f"{name}_points" in rows and rows[f"{name}_points"].notna().any():
            words = run.method_label(reference)
            ends = (f"{name}_points", f"{name}_low_points", f"{name}_high_points")
            frame[f"− {words}"] = format.with_interval(rows, *ends, format.signed)
            frame[f"p, {words}"] = rows[f"{name}_p"].map(format.p_value)
            frame[f"Holm's p, {words}"] = rows[f"{name}_p_holm"].map(format.p_value)
            frame[f"pairs with {words}"] = rows[f"{name}_pairs"].map(format.whole)
    return frame


# -- sentences of captions


def _counts(rows: pd.DataFrame, split: str) -> str:
    seeds = format.count(rows["seeds"], "training seed")
    return f"{format.span(rows['pairs'])} {split} pairs a task, {seeds}."


def _left_out(rows: pd.DataFrame, outcomes: dict) -> str:
    parts = [outcomes[key] for key in zip(rows["cell"], rows["split"], strict=True)]
    words, other = "", sum(part.other_seeds for part in parts)
    if other:
        words += f" Left out: {format.count(pd.Series([other]), 'training seed')} on other data."
    if dropped := max(part.dropped for part in parts):
        words += f" Up to {dropped} pairs that some seed lacks are left out."
    return words


def _corrected(rows: pd.DataFrame) -> str:
    """A sentence: what the p-values of a section are corrected for."""
    tests = rows.filter(regex="^(?!against).*_p_holm$").notna().sum()
    whole = int(tests[tests.index.str.startswith("minus_")].sum())
    counted = format.count(pd.Series([whole]), "difference")
    words = (
        f"Holm's p is corrected for one family: the {counted} on all pairs of this task (methods "
        "and references)."
    )
    if strata := int(tests.sum()) - whole:
        words += (
            f" The {strata} on kinds of pairs describe where a difference comes from and are a"
            " family of their own."
        )
    return words


def _ceiling(run: load.RunTables, rows: pd.DataFrame) -> str:
    """A sentence: which method is the ceiling of these rows' shares; "" without shares."""
    names = [f"{prefix}ceiling" for prefix in ["", *_strata(rows)]]
    known = pd.concat([rows[name] for name in names if name in rows] or [pd.Series(dtype=str)])
    labels = [run.method_label(method) for method in known.dropna().unique()]
    return _CEILINGS.format(names=" or ".join(labels)) if labels else ""


def _notes(run: load.RunTables, rows: pd.DataFrame) -> str:
    words = "" if _prefix(success_rates.UNSOLVED) + "pairs" not in rows else _UNSOLVED
    if (rows["seeds"] > 1).any():
        words += " Std: of the training seeds' means (ddof 1)."
    if _judged_otherwise(rows):
        words += " At any step: solved at some step; at the end: after the last one."
    if _has_ways(rows, ""):
        words += f" {_WAY}{_ceiling(run, rows)}"
    return words + format.sources(run, rows, "published_success_pct")
