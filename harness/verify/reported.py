"""Checks the tables in a run's folder: they are made again from the rows, and every cell compared.

Figures and the page are not compared.
"""

from __future__ import annotations

import csv
import io
import itertools
import math
import re

from pyarrow import fs as pafs

from harness import report
from harness.records import storage
from harness.verify.check import Check, Note
from harness.verify.record import Run

_BEFORE, _SHOWN = 10, 40  # characters of two cells, before they differ and in all
_ROUNDING = 1e-9  # relative: the last digits of a mean depend on the machine
_NAME = re.compile(r"\bRun .+?(?=, scale )")  # of a folder, which may have been copied to another
_RULE = re.compile(":?-+:?")  # below the head of a table in Markdown, as wide as its column


def tables(run: Run) -> Check:
    """Every committed table is the one that the rows make."""
    committed = _committed(run.folder)
    if not committed:
        return Check("tables", 0, "cells", skipped=[Note("tables/", "there are none")])
    try:
        made = report.table_files(run.folder)
    except report.NoTrials as error:
        made = {}
        reason = storage.one_line(error)
    faults, count = [], 0
    for path, content in committed.items():
        if path not in made:
            faults.append(Note(path, "no rows make this table" if made else reason))
            continue
        ours, theirs = _cells(path, content), _cells(path, made[path])
        count += sum(map(len, ours))
        if difference := _difference(ours, theirs):
            faults.append(Note(path, difference))
    return Check("tables", count, "cells", faults)


def _committed(folder: str) -> dict[str, bytes]:
    """Path in the run's folder -> content of everything below tables/."""
    fs, base = storage.filesystem(folder)
    where = pafs.FileSelector(f"{base}/tables", recursive=True, allow_not_found=True)
    files = [info for info in fs.get_file_info(where) if info.type == pafs.FileType.File]
    return {info.path[len(base) + 1 :]: _read(fs, info.path) for info in files}


def _read(fs: pafs.FileSystem, path: str) -> bytes:
    with fs.open_input_file(path) as source:
        return source.read()


def _cells(path: str, content: bytes) -> list[list[str]]:
    """The cells of each row of a table; a line of Markdown or LaTeX that is no row is one cell."""
    text = _NAME.sub("Run", content.decode(errors="replace"))
    if path.endswith(".csv"):
        return list(csv.reader(io.StringIO(text)))
    separator = "|" if path.endswith(".md") else "&"
    return [[cell.strip() for cell in line.split(separator)] for line in text.splitlines()]


def _difference(committed: list[list[str]], made: list[list[str]]) -> str:
    """How many cells of two tables differ, and which one is the first; "" where none does."""
    found = []
    nothing: list[str] = []
    lines = itertools.zip_longest(committed, made, fillvalue=nothing)
    for number, (ours, theirs) in enumerate(lines, 1):
        for column, cells in enumerate(itertools.zip_longest(ours, theirs, fillvalue="")):
            if not _equal(*cells):
                found.append((number, column, *cells))
    if not found:
        return ""
    number, column, cell, other = found[0]
    words = f"{len(found)} of its cells are not what the rows make, the first in line {number}"
    alike = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(cell, other, strict=False))
    start = max(0, sum(1 for _ in alike) - _BEFORE)
    shown = [repr(cell[start : start + _SHOWN]) for cell in (cell, other)]
    return f"{words}, cell {column + 1}: {' instead of '.join(shown)}"


def _equal(one: str, other: str) -> bool:
    if one == other or (_RULE.fullmatch(one) and _RULE.fullmatch(other)):
        return True
    try:
        return math.isclose(float(one), float(other), rel_tol=_ROUNDING, abs_tol=0.0)
    except ValueError:
        return False
