"""The section of the success table that puts published numbers beside ours, with both ends of what
can be reached on our pairs.
"""

from __future__ import annotations

import pandas as pd

from harness.report import format, load, published

_CAPTION = (
    "Others: what other works report for the same method, lowest to highest, and how many do. "
    "Here: success in percent "
    "[95 % interval] on our pairs; floor: the best trivial control on them; ceiling: the method "
    "that is given the task's state or, where none was evaluated, the one that plans in the "
    "simulator; share of the way: (here − floor) / (ceiling − floor). Numbers "
    "of different pairs, pictures and data: a difference to a published one is made of all three, "
    "and of the training, whose size here the last column gives. The papers have pictures of "
    "224 px."
)


def section(
    run: load.RunTables, title: str, rows: pd.DataFrame, words: str
) -> format.Section | None:
    """A line per task and method with a published number, from rows of the raw success table on
    test pairs; None where no task has one. `words` ends the caption.
    """
    if "published_success_pct" not in rows:
        return None
    known = format.together(rows[rows["published_success_pct"].notna()], "task")
    known = known.reset_index(drop=True)
    if known.empty:
        return None
    frame = pd.DataFrame({"Task": known["task"].map(run.task_label), "Method": known["label"]})
    frame["Published %"] = known["published_success_pct"].map(format.short)
    frame["Others %"] = [_others(task, method) for task, method in _names(known)]
    frame["Here %"] = format.with_interval(known, "success_pct", "low_pct", "high_pct")
    for heading, name in (("Floor %", "floor_pct"), ("Ceiling %", "ceiling_pct")):
        frame[heading] = known[name].map(format.whole) if name in known else format.BLANK
    if "share_of_way_pct" in known:
        frame["Share of the way %"] = known["share_of_way_pct"].map(format.whole)
    frame["Trained here on"] = known["cell"].map(lambda cell: _training(run, cell))
    sources = format.sources(run, known, "published_success_pct")
    caption = f"{format.about(run, known)} {_CAPTION}{sources} {words}"
    return format.Section(title, caption, frame)


def _names(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """(task, name of the method in the papers' files) per row."""
    names = map(published.name_of, rows["method"], rows["variant"])
    return list(zip(rows["task"], names, strict=True))


def _others(task: str, method: str) -> str:
    values = published.others(task, method).values()
    if not values:
        return format.BLANK
    low, high = format.whole(min(values)), format.whole(max(values))
    return f"{low} to {high} ({len(values)})" if len(values) > 1 else low


def _training(run: load.RunTables, cell: int) -> str:
    """ "5,500 steps of 64 windows, 64 px"; blank where nothing was trained."""
    trials = run.trials[run.trials["cell"] == cell]
    steps = trials["train_steps"].iloc[0]
    if not steps:
        return format.BLANK
    batch, size = (load.setting(trials, f"{key}") for key in _SIZES)
    return f"{steps:,} steps of {batch} windows, {size} px"


_SIZES = ("train.batch_size", "data.image_size")
