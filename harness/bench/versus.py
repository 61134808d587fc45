"""Measures the sides of a figure in turn, and reports medians and ratios.

Every figure of the bench is a list of sides that do the same work. One is the reference (the peer,
or our own plain form); the others have a ratio to it, which says how many times as fast they are.
"""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from harness.records import rows, storage
from harness.report.figures import bench
from harness.runtime import provenance

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BenchRow:
    """One measurement of one side of a figure."""

    figure: str  # "one plan of 300 x 10 x 5, laptop"
    side: str  # "ours, fp32", "peer", ...
    reference: str  # the side that the ratio is to
    repetition: int
    value: float
    unit: str  # "s", "windows/s", ...
    larger_is_better: bool
    outcome: float  # result of the work, e.g. the cost of a plan; NaN without one
    outcome_name: str
    threads: int
    device: str
    versions: str
    git_commit: str


class Side(NamedTuple):
    """A way to do the work: `once` does it and returns (value, outcome)."""

    name: str
    once: Callable[[], tuple[float, float]]


class Figure(NamedTuple):
    """Sides that do the same work; ratios are to `reference`."""

    name: str
    sides: Sequence[Side]
    reference: str
    unit: str = "s"
    larger_is_better: bool = False
    outcome_name: str = ""


def measure(
    figures: Iterable[Figure], repeats: int, device: str = "cpu", warm_up: bool = True
) -> list[BenchRow]:
    """Measure each side `repeats` times, in turn and every other time in reverse order, so that
    other load on the machine affects all sides. A warm-up of each side comes first.
    """
    measured = []
    for figure in figures:
        for side in figure.sides if warm_up else ():
            side.once()
        for repetition in range(repeats):
            for side in figure.sides[:: 1 if repetition % 2 == 0 else -1]:
                value, outcome = side.once()
                log.info(
                    "%s, %s, %d of %d: %.4g %s",
                    figure.name,
                    side.name,
                    repetition + 1,
                    repeats,
                    value,
                    figure.unit,
                )
                measured.append(row(figure, side.name, repetition, value, outcome, device))
    return measured


def row(
    figure: Figure, side: str, repetition: int, value: float, outcome: float, device: str
) -> BenchRow:
    """One measurement, with the circumstances in which it was made."""
    return BenchRow(
        figure=figure.name,
        side=side,
        reference=figure.reference,
        repetition=repetition,
        value=value,
        unit=figure.unit,
        larger_is_better=figure.larger_is_better,
        outcome=outcome,
        outcome_name=figure.outcome_name,
        threads=torch.get_num_threads(),
        device=provenance.device(device)[0],
        **_code(),
    )


@functools.cache
def _code() -> dict[str, str]:
    return {"versions": provenance.versions(), "git_commit": provenance.git()[0]}


def publish(results: str, name: str, measured: Sequence[BenchRow], title: str, caption: str) -> str:
    """Write the rows and their figure, show the table; returns the path of the rows."""
    path = write(results, name, measured)
    show(title, measured, caption)
    return path


def write(folder: str, name: str, made: Sequence[BenchRow]) -> str:
    """The rows as folder/name.parquet, their figure as .png; returns the first's path. Raises
    OSError.
    """
    path = f"{folder.rstrip('/')}/{name}"
    rows.write_table(f"{path}.parquet", BenchRow, made)
    fs, base = storage.filesystem(f"{path}.png")
    with storage.whole_file(fs, base) as sink:
        sink.write(bench.png(pd.DataFrame(made)))
    return f"{path}.parquet"


def show(title: str, measured: Sequence[BenchRow], caption: str = "") -> None:
    """A table of medians, spreads and ratios."""
    table = Table(title=title, caption=escape(caption) or None, caption_justify="left")
    for column in ("", "side", "median", "least-most", "unit", "times as good", "outcome"):
        words = column in ("", "side", "unit")
        table.add_column(column, justify="left" if words else "right", no_wrap=True)
    last = ""
    for line in summary(measured):
        outcome = f"{line.outcome:.4g}" if math.isfinite(line.outcome) else ""
        ratio = f"{line.ratio:.2f}" if math.isfinite(line.ratio) else ""
        table.add_row(
            escape(line.figure) if line.figure != last else "",
            escape(line.side),
            f"{line.median:.4g}",
            f"{line.low:.4g}-{line.high:.4g}",
            line.unit,
            ratio,
            outcome,
        )
        last = line.figure
    terminal().print(table)


def terminal() -> Console:
    """Standard output; in a file, 140 columns wide, since rich would fold tables at 80."""
    console = Console()
    return console if console.is_terminal else Console(width=140)


class Line(NamedTuple):
    """One side of a figure over its repetitions."""

    figure: str
    side: str
    median: float
    low: float
    high: float
    unit: str
    ratio: float  # as many times as good as the reference, by medians; NaN where that is missing
    outcome: float  # median


def summary(measured: Sequence[BenchRow]) -> list[Line]:
    """A line for each figure and side, in the order of measurement."""
    sides: dict[tuple[str, str], list[BenchRow]] = {}
    for row in measured:
        sides.setdefault((row.figure, row.side), []).append(row)
    medians = {key: float(np.median([r.value for r in own])) for key, own in sides.items()}
    lines = []
    for (figure, side), own in sides.items():
        values = [row.value for row in own]
        base = medians.get((figure, own[0].reference), math.nan)
        median = medians[figure, side]
        better = own[0].larger_is_better
        ratio = (median / base if better else base / median) if median and base else math.nan
        outcome = float(np.median([row.outcome for row in own]))
        lines.append(
            Line(figure, side, median, min(values), max(values), own[0].unit, ratio, outcome)
        )
    return lines
