"""The rows of a run in one file a table, RUN/packed/, in the place of the trials' own files: they
take a fifth of the room, for a repository or an appendix, and a reader opens one file.

What reads trials reads them from here where RUN/trials/ has no folder of that name: a report and
harness.verify do. Weights, and the files of a run that goes on, are not here.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs as pafs

from harness.records.storage import one_line, whole_file

FOLDER = "packed"
TRIAL, PICTURES = "trial", "frames"  # the table with one row a trial, and that which some lack
_NAME = "folder"  # the column of each table with the name of the trial's folder below RUN/trials/
_ALONE = {_NAME, "config_hash"}  # columns that a table of one trial does not have, trial aside
_LEVEL = 19  # of zstd: written once, and small


def write(fs: pafs.FileSystem, base: str, trials: Mapping[str, Mapping[str, pa.Table]]) -> None:
    """Write the tables of trials (name of the folder -> name of the table -> rows and config_hash)
    into `base`/packed, one file a table. Raises OSError.
    """
    fs.create_dir(f"{base}/{FOLDER}", recursive=True)
    for name in dict.fromkeys(name for tables in trials.values() for name in tables):
        parts = [
            tables[name].add_column(0, _NAME, pa.repeat(trial, tables[name].num_rows))
            for trial, tables in trials.items()
            if name in tables
        ]
        with whole_file(fs, f"{base}/{FOLDER}/{name}.parquet") as sink:
            whole = pa.concat_tables(parts)
            pq.write_table(whole, sink, compression="zstd", compression_level=_LEVEL)


def files(fs: pafs.FileSystem, below: str, names: Iterable[str]) -> list[pafs.FileInfo]:
    """The files that the packed trials of these tables would have below the folder `below`. Raises
    OSError where they cannot be read.
    """
    source = _source(fs, below.rpartition("/")[0])
    if source is None:
        return []
    written = max(mtime or 0 for _, _, mtime in source.stamps)
    return [
        pafs.FileInfo(
            f"{below}/{trial}/{name}.parquet",
            pafs.FileType.File,
            size=tables[name].nbytes,
            mtime_ns=written,
        )
        for trial, tables in _read(source).items()
        for name in names
        if name in tables
    ]


def table(fs: pafs.FileSystem, path: str) -> pa.Table:
    """Read the table that a packed trial would have at `path`, RUN/trials/NAME/TABLE.parquet.

    Raises FileNotFoundError where there is no such trial, OSError where the packed files cannot be
    read.
    """
    folder, _, file = path.rpartition("/")
    below, _, trial = folder.rpartition("/")
    source = _source(fs, below.rpartition("/")[0])
    tables = _read(source).get(trial, {}) if source else {}
    name = file.removesuffix(".parquet")
    if name not in tables:
        raise FileNotFoundError(path)
    return tables[name]


@dataclass(frozen=True)
class _Source:
    """Packed files, and by what a change of them is seen."""

    base: str
    stamps: tuple[tuple[str, int, int | None], ...]  # name, size, time of writing
    fs: pafs.FileSystem = field(compare=False)


def _source(fs: pafs.FileSystem, base: str) -> _Source | None:
    """None where the run is not packed."""
    where = pafs.FileSelector(f"{base}/{FOLDER}", allow_not_found=True)
    there = [info for info in fs.get_file_info(where) if info.extension == "parquet"]
    stamps = tuple(sorted((info.base_name, info.size, info.mtime_ns) for info in there))
    return _Source(base, stamps, fs) if stamps else None


@functools.lru_cache(maxsize=2)
def _read(source: _Source) -> dict[str, dict[str, pa.Table]]:
    """Name of a trial's folder -> its tables, as its own files would have them."""
    found: dict[str, dict[str, pa.Table]] = {}
    none = {}
    for file, *_ in source.stamps:
        name, path = file.removesuffix(".parquet"), f"{source.base}/{FOLDER}/{file}"
        try:
            with source.fs.open_input_file(path) as opened:
                whole = pq.read_table(opened)
            trials = whole.column(_NAME).cast(pa.string()).to_pylist()
        except (pa.ArrowException, KeyError) as error:
            raise OSError(f"{path} cannot be read: {one_line(error)}") from error
        if wrong := [trial for trial in trials if not _is_name(trial)]:
            raise OSError(f"{path}: {wrong[0]!r} is no name of a trial's folder")
        alone = {_NAME} if name == TRIAL else _ALONE
        rows = whole.drop_columns([column for column in whole.column_names if column in alone])
        none[name] = rows.slice(0, 0)
        places: dict[str, list[int]] = {}
        for place, trial in enumerate(trials):
            places.setdefault(trial, []).append(place)
        for trial, own in places.items():
            found.setdefault(trial, {})[name] = rows.take(pa.array(own))
    none.pop(PICTURES, None)
    return {trial: none | tables for trial, tables in found.items() if TRIAL in tables}


def _is_name(text: str | None) -> bool:
    """Whether it can be a folder below trials/, and none elsewhere."""
    return text is not None and "/" not in text and bool(text.strip("."))
