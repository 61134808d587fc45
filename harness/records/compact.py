"""The tables of many trials in one file a table, for reading them fast: 10,000 trials are 30,000
small files, and opening these takes longer than everything else that a report does.

The record is the trials' own files. RUN/compact/ only repeats them and may be deleted: a trial is
read from there as long as its own files have the sizes and times of writing that they had when they
were compacted, and from its own files otherwise. A run writes it anew as its trials end, a report
where it had to open the files of many.
"""

from __future__ import annotations

import functools
import logging
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs as pafs

from harness.records.storage import one_line, whole_file

log = logging.getLogger(__name__)

FOLDER = "compact"
_INDEX = "index"  # the table of Entry
_WRITING = b"writing"  # in the metadata of each file: which writing it belongs to
_SETTLED_S = 2.0  # files younger than this may change again within one tick of the clock
_ROW_GROUP = 100_000


class Entry(NamedTuple):
    """A trial in the compacted tables: its folder below trials/, what its files looked like, and
    how many rows of each table are its own.
    """

    name: str
    signature: str  # "": its own files are read every time
    rows: dict[str, int]


@dataclass(frozen=True)
class Compact:
    """Tables in which the rows of a trial stand together, in the order of `entries`."""

    tables: Mapping[str, pa.Table]
    entries: Sequence[Entry]

    def part(self, first: int, last: int) -> Compact:
        """The trials `first` to `last` - 1, without copying their rows."""
        ends = {name: ends[[first, last]].tolist() for name, ends in self._ends.items()}
        tables = {
            name: table.slice(ends[name][0], ends[name][1] - ends[name][0])
            for name, table in self.tables.items()
        }
        return Compact(tables, self.entries[first:last])

    @functools.cached_property
    def _ends(self) -> dict[str, np.ndarray]:
        """Per table, the number of rows before each trial and after the last."""
        counts = {name: [entry.rows[name] for entry in self.entries] for name in self.tables}
        return {name: np.cumsum([0, *own]) for name, own in counts.items()}


def signature(files: Iterable[pafs.FileInfo]) -> str:
    """Sizes and times of writing of a trial's files; "" where they may still change unnoticed."""
    files = sorted(files, key=lambda info: info.base_name)
    if any(info.mtime_ns is None for info in files):
        return ""
    if max(info.mtime_ns for info in files) > 1e9 * (time.time() - _SETTLED_S):
        return ""
    return " ".join(f"{info.base_name} {info.size} {info.mtime_ns}" for info in files)


def read(fs: pafs.FileSystem, base: str, schemas: Mapping[str, pa.Schema]) -> Compact:
    """Read the tables in `base`/compact; none where they are not of these schemas, cannot be read,
    or are a mixture of two writings.
    """
    try:
        read = {n: _read_file(fs, f"{base}/{FOLDER}/{n}.parquet") for n in (_INDEX, *schemas)}
        writings = {table.schema.metadata[_WRITING] for table in read.values()}
        entries = [Entry(**line) for line in read[_INDEX].to_pylist()]
    except FileNotFoundError:
        return Compact({}, [])
    except (pa.ArrowException, OSError, KeyError, TypeError) as error:
        log.info("%s/%s is not used: %s", base, FOLDER, one_line(error))
        return Compact({}, [])
    tables = {name: read[name].replace_schema_metadata() for name in schemas}
    whole = len(writings) == 1 and all(
        tables[name].schema.equals(schemas[name])
        and tables[name].num_rows == sum(entry.rows.get(name, -1) for entry in entries)
        for name in schemas
    )
    return Compact(tables, entries) if whole else Compact({}, [])


def write(fs: pafs.FileSystem, base: str, compact: Compact) -> None:
    """Write `base`/compact anew. Where that cannot be, the log says so: nothing depends on it."""
    index = pa.Table.from_pylist([entry._asdict() for entry in compact.entries])
    writing = {_WRITING: uuid.uuid4().bytes}
    try:
        fs.create_dir(f"{base}/{FOLDER}", recursive=True)
        for name, table in {**compact.tables, _INDEX: index}.items():
            with whole_file(fs, f"{base}/{FOLDER}/{name}.parquet") as sink:
                marked = table.replace_schema_metadata(writing)
                pq.write_table(marked, sink, row_group_size=_ROW_GROUP)
    except OSError as error:
        log.info("%s/%s cannot be written: %s", base, FOLDER, one_line(error))


def _read_file(fs: pafs.FileSystem, path: str) -> pa.Table:
    with fs.open_input_file(path) as source:
        return pq.read_table(source)
