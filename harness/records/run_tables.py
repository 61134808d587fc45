"""The tables of all trials of a run, read as one, compacted, packed."""

from __future__ import annotations

import collections
import itertools
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
from pyarrow import fs as pafs

from harness.records import compact, packed, parquet, rows
from harness.records.rows import FILES
from harness.records.storage import filesystem, one_line

log = logging.getLogger(__name__)

LEFT_OUT = "a copy, or renamed: a trial counts in its own folder alone"
_BATCH = 128  # trials read by one thread at a time
WORTH_COMPACTING = 200  # trials that were read from files of their own: half a second
_FILE_NAMES = {f"{name}.parquet": name for name in rows.ALL_FILES}


class Broken(NamedTuple):
    """A trial whose tables cannot be read."""

    folder: str  # its name below trials/
    reason: str


class Tables(NamedTuple):
    """All trials of a run; episodes and metrics carry the config_hash of their trial."""

    trial: pd.DataFrame
    episodes: pd.DataFrame
    metrics: pd.DataFrame
    broken: tuple[Broken, ...] = ()
    left_out: tuple[str, ...] = ()  # below trials/: folders that are not named after their trial
    pictured: tuple[str, ...] = ()  # below trials/: folders with pictures, see `frames`


def read(run_folder: str, without: Collection[str] = (), compacting: bool = False) -> Tables:
    """All readable trials under `run_folder`/trials, without the columns `without` of episodes.
    Trials that cannot be read, and folders that are not named after their trial, are logged and
    named in the result. `compacting`: repeat the tables in `run_folder`/compact where many trials
    were read from files of their own, so that the next reading is fast.
    """
    fs, below = _below(run_folder)
    files = _files(fs, below)
    joined = _read_all(fs, below, files, compacting)
    for entry in joined.broken:
        words = "%s/%s is left out: %s. Issue the run command again to repeat it."
        log.warning(words, below, entry.folder, entry.reason)
    for name in joined.left_out:
        log.warning("%s/%s is left out: %s", below, name, LEFT_OUT)
    if joined.ignored:
        columns = ", ".join(f"{name} (trials: {n})" for name, n in sorted(joined.ignored.items()))
        words = "not read, since this version does not know it and another one wrote it: %s"
        log.warning(words, columns)
    tables, joined = dict(joined.tables), joined._replace(tables={})
    tables["episodes"] = tables["episodes"].drop_columns(list(without))
    frames = {}
    for name in FILES:  # each is freed while it becomes pandas
        frames[name] = tables.pop(name).to_pandas(self_destruct=True)
    pictured = tuple(folder[len(below) + 1 :] for folder in files if "frames" in files[folder])
    return Tables(**frames, broken=joined.broken, left_out=joined.left_out, pictured=pictured)


def read_one(folder: str) -> Tables | None:
    """The tables of one trial, or None when they cannot be read."""
    try:
        tables = rows.read_folder(*filesystem(folder)).tables
    except (pa.ArrowException, OSError, rows.OtherFolderError) as error:
        log.warning("%s is left out: %s", folder, one_line(error))
        return None
    return Tables(**{name: table.to_pandas() for name, table in tables.items()})


def compact_trials(run_folder: str) -> None:
    """`read` with `compacting`, for the compacted tables alone. Where that cannot be, the log says
    so: nothing depends on it.
    """
    try:
        fs, below = _below(run_folder)
        _read_all(fs, below, _files(fs, below), compacting=True)
    except OSError as error:
        log.info("%s is not compacted: %s", run_folder, one_line(error))


def names(run_folder: str) -> list[str]:
    """The folders below `run_folder`/trials, and those that are packed."""
    fs, below = _below(run_folder)
    found = fs.get_file_info(pafs.FileSelector(below, allow_not_found=True))
    own = {info.base_name for info in found if info.type == pafs.FileType.Directory}
    packed_ones = {info.path.split("/")[-2] for info in packed.files(fs, below, ["trial"])}
    return sorted(own | packed_ones)


def pack(run_folder: str, to: str, pictures: bool = True) -> int:
    """Write the rows of all trials into `to`/packed, one file a table (records/packed.py); how many
    trials. Raises OSError, also where a trial cannot be read.
    """
    fs, below = _below(run_folder)
    trials: dict[str, dict[str, pa.Table]] = {}
    for folder in _files(fs, below):
        try:
            tables = dict(rows.read_folder(fs, folder).tables)
        except (pa.ArrowException, rows.OtherFolderError) as error:
            raise OSError(f"{folder} cannot be packed: {one_line(error)}") from error
        if pictures and (shown := rows.read_frames(fs, folder)):
            tables["frames"] = shown
        trials[folder.rpartition("/")[2]] = tables
    target, base = filesystem(to)
    packed.write(target, base.rstrip("/"), trials)
    return len(trials)


def frames(run_folder: str, names: Collection[str] | None = None) -> pd.DataFrame:
    """The pictures of those trials under `run_folder`/trials that have any, with config_hash;
    `names` are the folders to look into instead of all.
    """
    fs, below = _below(run_folder)
    if names is None:
        files = _files(fs, below)
        names = [f[len(below) + 1 :] for f in files if "frames" in files[f]]
    folders = [f"{below}/{name}" for name in sorted(names) if "/" not in name]
    with ThreadPoolExecutor(pa.cpu_count()) as pool:
        tables = [t for t in pool.map(lambda folder: rows.read_frames(fs, folder), folders) if t]
    return parquet.concat(rows.FrameRow, tables).to_pandas()


class _Batch(NamedTuple):
    """The tables of several trials, joined: many small pieces waste memory."""

    tables: Mapping[str, pa.Table]
    entries: Sequence[compact.Entry]  # of the trials in the tables, in their order
    ignored: collections.Counter[str]
    broken: tuple[Broken, ...] = ()
    left_out: tuple[str, ...] = ()
    compacted: bool = False  # the tables are a part of the compacted ones


def _below(run_folder: str) -> tuple[pafs.FileSystem, str]:
    """The folder of a run's trials, and its file system."""
    fs, base = filesystem(run_folder)
    return fs, f"{base.rstrip('/')}/trials"


_Files = Mapping[str, pafs.FileInfo]  # of one folder, by the name of the table


def _files(fs: pafs.FileSystem, below: str) -> dict[str, _Files]:
    """The folders, at any depth, that hold a trial, in order, and the tables in each; also of those
    that are packed.
    """
    where = pafs.FileSelector(below, recursive=True, allow_not_found=True)
    folders: dict[str, dict[str, pafs.FileInfo]] = collections.defaultdict(dict)
    for info in fs.get_file_info(where):
        if info.base_name in _FILE_NAMES:
            folders[info.path.rpartition("/")[0]][_FILE_NAMES[info.base_name]] = info
    own = {folder for folder in folders if "trial" in folders[folder]}
    for info in packed.files(fs, below, rows.ALL_FILES):
        folder, _, file = info.path.rpartition("/")
        if folder not in own:
            folders[folder][_FILE_NAMES[file]] = info
    return {folder: folders[folder] for folder in sorted(folders) if "trial" in folders[folder]}


_Piece = _Batch | Mapping[str, str]  # read already, or folders to read, with their signatures


def _read_all(
    fs: pafs.FileSystem, below: str, files: Mapping[str, _Files], compacting: bool
) -> _Batch:
    """All trials as one batch, which is compacted where many were read from files of their own."""
    base = below.rpartition("/")[0]
    known = compact.read(fs, base, {name: parquet.whole_schema(row) for name, row in FILES.items()})
    with ThreadPoolExecutor(pa.cpu_count()) as pool:
        pieces = _pieces(below, files, known)
        batches = list(pool.map(lambda piece: _read_piece(fs, below, piece), pieces))
    tables = {
        name: parquet.concat(row, [b.tables[name] for b in batches]) for name, row in FILES.items()
    }
    entries = [entry for batch in batches for entry in batch.entries]
    unknown = sum(len(batch.entries) for batch in batches if not batch.compacted)
    if compacting and unknown >= WORTH_COMPACTING:
        compact.write(fs, base, compact.Compact(tables, entries))
    return _Batch(
        tables,
        entries,
        ignored=sum((batch.ignored for batch in batches), collections.Counter()),
        broken=tuple(entry for batch in batches for entry in batch.broken),
        left_out=tuple(name for batch in batches for name in batch.left_out),
    )


def _pieces(below: str, files: Mapping[str, _Files], known: compact.Compact) -> Iterator[_Piece]:
    """All trials in the order of `files`: as much as possible at once from the compacted ones, the
    others in batches.
    """
    places = {f"{below}/{entry.name}": i for i, entry in enumerate(known.entries)}
    signatures = {folder: _signature(tables) for folder, tables in files.items()}

    def shift(numbered: tuple[int, str]) -> int | None:
        """The same for neighbours that are neighbours in the compacted tables, too."""
        number, folder = numbered
        place, own = places.get(folder), signatures[folder]
        if place is None or not own or known.entries[place].signature != own:
            return None
        return place - number

    for distance, group in itertools.groupby(enumerate(files), shift):
        numbers, folders = zip(*group, strict=True)
        if distance is None:
            for i in range(0, len(folders), _BATCH):
                yield {folder: signatures[folder] for folder in folders[i : i + _BATCH]}
        else:
            part = known.part(numbers[0] + distance, numbers[-1] + distance + 1)
            yield _Batch(part.tables, part.entries, collections.Counter(), compacted=True)


def _signature(tables: _Files) -> str:
    """compact.signature of a trial's files; "" where one of its tables is missing."""
    return compact.signature(tables[n] for n in FILES) if tables.keys() >= FILES.keys() else ""


def _read_piece(fs: pafs.FileSystem, below: str, piece: _Piece) -> _Batch:
    if isinstance(piece, _Batch):
        return piece
    trials, entries, broken, left_out = [], [], [], []
    for folder, signature in piece.items():
        name = folder[len(below) + 1 :]
        try:
            if "/" in name:
                raise rows.OtherFolderError(name)
            trial = rows.read_folder(fs, folder)
        except rows.OtherFolderError:
            left_out.append(name)
        except (pa.ArrowException, OSError) as error:
            broken.append(Broken(name, one_line(error)))
        else:
            trials.append(trial)
            counts = {table: trial.tables[table].num_rows for table in FILES}
            # what is ignored is named at every reading
            entries.append(compact.Entry(name, "" if trial.ignored else signature, counts))
    tables = {
        name: parquet.concat(row, [one.tables[name] for one in trials]).combine_chunks()
        for name, row in FILES.items()
    }
    ignored = collections.Counter(column for one in trials for column in one.ignored)
    return _Batch(tables, entries, ignored, tuple(broken), tuple(left_out))
