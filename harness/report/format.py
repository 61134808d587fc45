"""Tables: how their rows are sorted into protocols, and how numbers become text."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from harness.report import load, published, success_rates

BLANK = "–"
_MOST_IDS = 6  # of a task in a caption
INTERVALS = (  # how figures and short captions say it; the table of success says more
    "95 % intervals (Wilson, for pairs clustered in episodes; with several seeds joined with a "
    "bootstrap over seeds and episodes)"
)
# of a difference with its interval and p
DISAGREEING = "Where few groups differ, interval and p can disagree; p is exact."
_LATE = 0.95  # share of the steps from which a curve counts as at its end


class Section(NamedTuple):
    """One readable table of one protocol: cells are text, rows are numbered from 0. The terminal
    shows headlines alone.
    """

    title: str
    caption: str
    frame: pd.DataFrame
    headline: bool = False
    bold: frozenset[tuple[int, str]] = frozenset()  # (row, column) of cells


class Table(NamedTuple):
    """`raw` goes to CSV, `sections` to Markdown, LaTeX, the page and the terminal."""

    name: str
    title: str
    raw: pd.DataFrame
    sections: list[Section]


class Column(NamedTuple):
    """One column of a table, computed from the trials and the metrics of a row."""

    heading: str  # "": in the CSV alone
    name: str  # in the CSV, with its unit
    value: Callable[[pd.DataFrame, pd.DataFrame], float]  # (trials, metrics of these trials)
    show: Callable[[float], str]


def metric(stage: str, name: str) -> Callable[[pd.DataFrame, pd.DataFrame], float]:
    """A Column's value: the mean over trials of a metric; of a curve, of its last 5 % of steps.
    NaN where it was not recorded, or where one of its values is NaN.
    """

    def value(trials: pd.DataFrame, metrics: pd.DataFrame) -> float:
        own = metrics[(metrics["stage"] == stage) & (metrics["name"] == name)]
        ends = own.groupby("key")["index"].transform("max")
        late = own[own["index"] >= _LATE * ends]
        return late.groupby("key")["value"].mean(skipna=False).mean(skipna=False)

    return value


def over_trials(how: str, field: str) -> Callable[[pd.DataFrame, pd.DataFrame], float]:
    """A Column's value: the "mean" or "max" over trials of a field of rows.TrialRow."""
    return lambda trials, metrics: trials[field].agg(how)


def of_cells(run: load.RunTables, rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The raw table of rows that name their cell, each with the columns that say which cell that
    is, in the order of the cells.
    """
    if not rows:
        return pd.DataFrame()
    cells = run.cells[[*load.GROUP, "label"]].rename_axis("cell").reset_index()
    return cells.merge(pd.DataFrame(rows), on="cell")


def section(
    run: load.RunTables, title: str, rows: pd.DataFrame, words: str, frame: pd.DataFrame, **look
) -> Section:
    """The section of these raw rows, shown as `frame`: its caption says first what they are of."""
    return Section(title, f"{about(run, rows)} {words}", frame, **look)


def together(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    """The rows with those of one value of the column together, in the order of appearance."""
    return rows.iloc[pd.factorize(rows[column])[0].argsort(kind="stable")]


def by_section(
    raw: pd.DataFrame, *more: str
) -> Iterator[tuple[tuple[str, str, str], tuple, pd.DataFrame]]:
    """(scale, protocol, hash), values of `more`, rows: one part each, in order of appearance."""
    if not raw.empty:
        for key, rows in raw.groupby([*load.SECTION, *more], sort=False):
            yield key[:3], key[3:], rows.reset_index(drop=True)


def across_tasks(
    raw: pd.DataFrame, least: int = 2
) -> Iterator[tuple[tuple[str, str, str], pd.DataFrame, set[str]]]:
    """(scale, protocol, split), rows of at least so many tasks, and the tasks left out of them
    because several protocols have this name there (their hashes differ): none is to be preferred.
    """
    if raw.empty:
        return
    for key, rows in raw.groupby(["scale", "protocol", "split"], sort=False):
        hashes = rows.groupby("task")["protocol_hash"].nunique()
        unclear = set(hashes.index[hashes > 1])
        rows = rows[~rows["task"].isin(unclear)].reset_index(drop=True)
        if rows["task"].nunique() >= least:
            yield key, rows, unclear


def unclear_note(run: load.RunTables, unclear: set[str]) -> str:
    """A sentence about the tasks that `across_tasks` leaves out."""
    names = ", ".join(map(run.task_label, sorted(unclear)))
    return f" Left out: {names}, where several protocols have this name." if unclear else ""


def by_rank(run: load.RunTables, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of several tasks with each method's together: competitors, ceilings, controls."""
    roles = rows["method"].map(run.methods["role"])
    places = roles.map({"method": 0, "ceiling": 1}).fillna(2)
    order = rows.assign(place=places, rank=rows["method"].map(run.methods["rank"]))
    order = order.sort_values(["place", "rank"], kind="stable")
    return rows.loc[order.index].reset_index(drop=True)


def task_ids(rows: pd.DataFrame) -> str:
    """The ids of the tasks of these rows, of a task with many protocols the first ones. An id stays
    the same wherever a number of this task and protocol is quoted.
    """
    known = rows[["task", "protocol", "protocol_hash"]].drop_duplicates()
    ids = known["task"] + "@" + known["protocol"] + "#" + known["protocol_hash"].str[:8]
    is_first = known.groupby("task").cumcount() < _MOST_IDS
    more = int((~is_first).sum())
    return ", ".join(ids[is_first]) + (f" and {more} more, which the CSV names" if more else "")


def about(run: load.RunTables, rows: pd.DataFrame) -> str:
    """How a caption begins: the run, the scale, each task's id, and what a ceiling is."""
    scale = rows["scale"].iloc[0]
    return f"Run {run.name}, scale {scale}: {task_ids(rows)}.{ceiling_note(run, rows)}"


def tasks(run: load.RunTables, rows: pd.DataFrame) -> str:
    """Title of a section that spans tasks: the tasks and their protocols."""
    return ", ".join([*rows["task"].map(run.task_label).unique(), *rows["protocol"].unique()])


def method_columns(run: load.RunTables, rows: pd.DataFrame) -> pd.DataFrame:
    """First columns of a table that spans tasks, and protocols where a task has several."""
    columns = {"Task": rows["task"].map(run.task_label), "Method": rows["label"]}
    if (rows.groupby("task")["protocol_hash"].nunique() > 1).any():
        columns["Protocol"] = rows["protocol"] + "#" + rows["protocol_hash"].str[:8]
    return pd.DataFrame(columns)


def shown_columns(run: load.RunTables, rows: pd.DataFrame, columns: list[Column]) -> pd.DataFrame:
    """Task, method and these columns as they are shown."""
    frame = method_columns(run, rows)
    for column in columns:
        if column.heading:
            frame[column.heading] = rows[column.name].map(column.show)
    return frame


def fold(frame: pd.DataFrame, columns: list[str]) -> tuple[pd.DataFrame, str]:
    """Move those of `columns` that hold one known value from the table into words."""
    known = {c: set(frame[c]) - {BLANK} for c in columns if c in frame}
    same = [c for c, values in known.items() if len(values) < 2]
    words = "; ".join(f"{c.lower()}: {known[c].pop()}" for c in same if known[c])
    return frame.drop(columns=same), f" Throughout, {words}." if words else ""


def span(values: pd.Series) -> str:
    """ "100", or "50 to 100" where rows differ."""
    low, high = int(values.min()), int(values.max())
    return str(low) if low == high else f"{low} to {high}"


def few(words: list[str], most: int, behind: str = "") -> list[str]:
    """The first words, and how many more there are."""
    more = len(words) - most
    return [*words[:most], f"{behind}{more} more"] if more > 0 else words


def count(values: pd.Series, noun: str) -> str:
    """ "1 training seed", "1 to 3 training seeds"."""
    return counted(span(values), noun)


def counted(number: int | str, noun: str) -> str:
    """ "1 trial", "0 trials"."""
    return f"{number} {noun}" + ("" if str(number) == "1" else "s")


def published_columns(name: str, paper: published.Published | None) -> dict[str, Any]:
    """A published number with its source; blanks where there is none."""
    known = paper or published.Published(np.nan, 0, "")
    stale = f" (stale: {known.stale})" if known.stale else ""
    return {
        name: known.value,
        "published_episodes": known.episodes or np.nan,
        "published_source": known.source + stale,
    }


def sources(run: load.RunTables, rows: pd.DataFrame, column: str) -> str:
    """A sentence: where the published numbers stand and how many episodes they are of."""
    if column not in rows or not rows[column].notna().any():
        return ""
    methods: dict[str, dict[str, None]] = {}
    for row in rows[rows[column].notna()].itertuples():
        episodes = f", {row.published_episodes:.0f} episodes" if row.published_episodes > 0 else ""
        names = methods.setdefault(f"{row.published_source}{episodes}", {})
        names[run.method_label(row.method, row.variant)] = None
    words = "; ".join(f"{', '.join(names)}: {source}" for source, names in methods.items())
    return f" Published, each under its paper's own protocol: {words}."


def ceiling_note(run: load.RunTables, rows: pd.DataFrame) -> str:
    """A sentence for each ceiling among these rows: what it is; "" without one."""
    known = set(rows["method"])
    return "".join(
        f" {run.method_label(name)} is a ceiling and no competitor: "
        + (_SIMULATOR if name == success_rates.SIMULATOR else _STATE)
        for name in run.of_role("ceiling")
        if name in known
    )


_STATE = (
    "it is given the task's state, which shows what any encoder could reach with the same data, "
    "predictor and planner."
)
_SIMULATOR = (
    "it plans in the simulator itself, by the distance of true poses, which shows what any model "
    "could reach with the same planner and budget; it learns nothing."
)


def with_interval(
    rows: pd.DataFrame, value: str, low: str, high: str, form: Callable[[float], str] | None = None
) -> list[str]:
    """ "89 [79, 96]" per row: a number and its interval in one cell."""
    form = form or whole
    cells = zip(rows[value], rows[low], rows[high], strict=True)
    return [form(v) + ("" if math.isnan(a) else f" [{form(a)}, {form(b)}]") for v, a, b in cells]


def fixed(decimals: int, sign: str = "") -> Callable[[float], str]:
    """How a number of so many decimals is shown: thousands apart, no zero with a minus."""
    return lambda value: (
        BLANK if pd.isna(value) else f"{value:{sign}z,.{decimals}f}".replace("-", "−")
    )


whole, one, two = fixed(0), fixed(1), fixed(2)
three_decimals = fixed(3)  # as the papers write a correlation
signed = fixed(0, "+")  # points


def millions(value: float) -> str:
    """Millions, three significant digits."""
    return three(value / 1e6)


def gibibytes(value: float) -> str:
    """Bytes in GiB, three significant digits."""
    return three(value / 2**30)


def short(value: float) -> str:
    """Three significant digits, in powers of ten where that is shorter."""
    return BLANK if pd.isna(value) else f"{value:.3g}"


def three(value: float) -> str:
    """Three significant digits, never in powers of ten."""
    if pd.isna(value):
        return BLANK
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:,.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"


def p_value(value: float) -> str:
    """Three decimals, or "< 0.001"."""
    if pd.isna(value):
        return BLANK
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def text(value: Any) -> str:
    """A word; blank for nothing."""
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return BLANK
    return f"{value:g}" if isinstance(value, float) else str(value)
