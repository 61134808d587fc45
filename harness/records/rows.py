"""The Parquet tables of a trial: their schemas, and how they are written and read.

A trial counts only in the folder that is named after it (`folder_name`); a copy of the folder is
left out. `trial.parquet` is written last: a trial is done when all its tables can be read and that
one has the same config hash and the status "ok". `frames.parquet` holds pictures alone, and a trial
is complete without it.

Tables that another program has rewritten are read as long as every value is unchanged: the order of
the columns and the width of their types may differ, and further columns are ignored.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import itertools
import logging
import math
import re
import types
import typing
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow import fs as pafs

from harness.records import compact, digest, packed
from harness.records.storage import delete, filesystem, one_line, whole_file

log = logging.getLogger(__name__)

# field(default=..., metadata=LATER) marks a column that is younger than some rows: these are read
# with its default. Any other missing column is an error, since 0 s would pass for a measurement.
LATER = {"later": True}


@dataclass(frozen=True)
class TrialRow:
    """One row per trial: what was run, on what, and how it ended."""

    key: str
    run: str
    suite: str
    task: str
    method: str
    variant: str
    seed: int
    scale: str
    protocol: str
    protocol_hash: str  # of the protocol as resolved for this task
    config_hash: str  # of everything that decides the outcome, seed included
    setting_hash: str  # the same without the seed: trials that may be averaged share it
    config_yaml: str
    # "ok"; "error"; or evaluated before the end of its training: "paused", "pruned" by a sweep
    status: str
    error: str = ""
    note: str = ""  # shown in every table and figure, e.g. "untrained encoder"
    git_commit: str = ""
    git_dirty: bool = False
    versions: str = ""  # "python 3.11.7; torch 2.13.0; ..."
    device: str = ""
    driver: str = ""
    threads: int = 0
    dataset_hash: str = ""
    split_hash: str = ""
    checkpoint_hash: str = ""
    parameters_trained: int = 0
    parameters_frozen: int = 0
    tokens_per_frame: int = 0
    train_steps: int = 0
    train_s: float = 0.0  # training alone, over all attempts
    eval_s: float = 0.0
    total_s: float = 0.0  # this attempt, from the trial's first line to its last
    peak_memory_bytes: int = 0
    started: float = 0.0  # Unix time
    ended: float = 0.0
    attempts: int = 1
    # how the report shows the trial, by the entries of zoo.py; "" and -1 in older rows
    method_label: str = field(default="", metadata=LATER)
    task_label: str = field(default="", metadata=LATER)
    method_rank: int = field(default=-1, metadata=LATER)  # place in zoo.METHODS: order and colour
    task_rank: int = field(default=-1, metadata=LATER)  # place in zoo.TASKS
    is_control: bool = field(default=False, metadata=LATER)  # a policy that is not trained
    diverged: bool = field(default=False, metadata=LATER)  # status "error": loss not finite
    # status "error": the same command would fail again, on this machine and with these data
    permanent: bool = field(default=False, metadata=LATER)
    role: str = field(default="", metadata=LATER)  # contracts.method.Role; "" in older rows
    stages: str = field(default="", metadata=LATER)  # done, see stages_of; "" in older rows
    cpu_s: float = field(default=0.0, metadata=LATER)  # of all threads in total_s; 0: not measured
    # steps a CPU second of a fixed training (runtime/yardstick.py); 0: not measured
    cpu_yardstick: float = field(default=0.0, metadata=LATER)
    # whose weights were evaluated, where the trial did not train them, and the trial that did
    weights: str = field(default="", metadata=LATER)
    weights_config_hash: str = field(default="", metadata=LATER)
    # other trials or programs could use the device while plans were timed
    device_shared: bool = field(default=False, metadata=LATER)
    resident_bytes: int = field(default=0, metadata=LATER)  # frames on the GPU, a part of the peak
    # of the values of this and the trial's other tables (digest.py); `write` fills it in
    digests: str = field(default="", metadata=LATER)


@dataclass(frozen=True)
class DataFacts:
    """The columns of TrialRow that say which data a trial read."""

    dataset_hash: str
    split_hash: str


@dataclass(frozen=True)
class TrainingFacts:
    """The columns of TrialRow that a training fills."""

    checkpoint_hash: str
    parameters_trained: int
    parameters_frozen: int
    tokens_per_frame: int
    train_steps: int
    train_s: float
    resident_bytes: int = 0


@dataclass(frozen=True)
class SpeedFacts:
    """The column of TrialRow that says how fast the machine was."""

    cpu_yardstick: float


@dataclass(frozen=True)
class ControlFacts:
    """The column of TrialRow that the evaluation fills."""

    eval_s: float


@dataclass(frozen=True)
class TimingFacts:
    """The column of TrialRow that says whether its plan times count."""

    device_shared: bool


@dataclass(frozen=True)
class MemoryFacts:
    """The column of TrialRow that is known when all stages are done."""

    peak_memory_bytes: int


@dataclass(frozen=True)
class CPUFacts:
    """The column of TrialRow that contention does not inflate, as it does the wall times."""

    cpu_s: float


@dataclass(frozen=True)
class FailureFacts:
    """The columns of TrialRow that tell failures apart."""

    diverged: bool
    permanent: bool


Facts = (
    DataFacts
    | TrainingFacts
    | SpeedFacts
    | ControlFacts
    | TimingFacts
    | MemoryFacts
    | CPUFacts
    | FailureFacts
)


@dataclass(frozen=True)
class EpisodeRow:
    """One row per evaluated episode."""

    key: str
    split: str  # "test"; "validation" for sweeps, "train" for checks
    eval_seed: int
    pair_id: int
    source_episode: int
    start_step: int
    stratum: str
    sample: str  # "pairs": the protocol's draw; "stratum": drawn besides, for its stratum only
    initially_solved: bool
    success: bool  # under the protocol's rule: one of the next two
    success_ever: bool
    success_final: bool
    first_hit_step: int  # -1: never; 0: solved before the first action
    dist_init: float
    dist_min: float
    dist_final: float
    replans: int
    pairs_per_solve: list[int] = field(default_factory=list)
    solve_s: list[float] = field(
        default_factory=list
    )  # wall time of each solve this pair took part in
    env_s: float = 0.0  # this episode's share
    render_s: float = 0.0
    error: str = ""
    # steps that passed through something solid, as the released Two-Room lets them; -1: not counted
    illegal_steps: int = field(default=-1, metadata=LATER)


@dataclass(frozen=True)
class MetricRow:
    """One measured value; a curve has one row for each index."""

    key: str
    stage: str  # "train", "control", "plan_time", ...
    name: str
    index: int
    value: float
    unit: str


@dataclass(frozen=True)
class FrameRow:
    """One picture that a trial shows: of stage "control", of an episode or of its goal; of stage
    "decoder", of a recorded window, as it was, decoded and imagined.
    """

    key: str
    pair_id: int  # of a window: its number
    stratum: str
    # control: "start"; "block": after a block; "end": where the episode stopped; "goal"
    # decoder: "real", "decoded", "imagined"
    kind: str
    step: int  # since the start; of the goal: in the recording
    success: bool  # what is seen here is solved under the protocol's rule
    image: bytes  # PNG
    stage: str = field(default="control", metadata=LATER)


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


LEFT_OUT = "a copy, or renamed: a trial counts in its own folder alone"
_BATCH = 128  # trials read by one thread at a time
WORTH_COMPACTING = 200  # trials that were read from files of their own: half a second
FILES = {"metrics": MetricRow, "episodes": EpisodeRow, "trial": TrialRow}
_ROWS = FILES | {"frames": FrameRow}
_FILE_NAMES = {f"{name}.parquet": name for name in _ROWS}
_ARROW = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    bytes: pa.binary(),
}


@functools.cache
def schema(row: type) -> pa.Schema:
    """Arrow schema of a row dataclass."""
    hints = typing.get_type_hints(row)
    return pa.schema([(f.name, _arrow_type(hints[f.name])) for f in dataclasses.fields(row)])


def folder_name(key: str, config_hash: str) -> str:
    """Name of a trial's folder below trials/; a changed configuration has another one."""
    return f"{key}.{config_hash[:8]}"


def write(
    folder: str,
    trial: TrialRow,
    episodes: list[EpisodeRow],
    metrics: list[MetricRow],
    frames: Sequence[FrameRow] = (),
) -> TrialRow:
    """Write one trial's tables into `folder`, each whole or not at all, trial.parquet last, and
    return its row with the digests of all. There is a table of pictures only where there are
    pictures.

    Raises OSError when the folder cannot be written.
    """
    fs, base = filesystem(folder)
    fs.create_dir(base, recursive=True)
    tables = {"metrics": _table(MetricRow, metrics), "episodes": _table(EpisodeRow, episodes)}
    if frames:
        tables["frames"] = _table(FrameRow, frames)
    else:
        delete(fs, f"{base}/frames.parquet")  # of an earlier attempt
    trial = _digested(trial, _digests(tables))
    for name, table in (tables | {"trial": _table(TrialRow, [trial])}).items():
        _write_table(fs, f"{base}/{name}.parquet", table)
    return trial


def write_table(path: str, row: type, lines: Sequence[Any]) -> None:
    """Write rows of one dataclass as one Parquet file, whole or not at all; raises OSError."""
    fs, base = filesystem(path)
    fs.create_dir(base.rpartition("/")[0] or ".", recursive=True)
    _write_table(fs, base, _table(row, lines))


def read_trial(folder: str) -> TrialRow | None:
    """The trial row of a folder, or None when there is none that can be read and belongs there."""
    fs, base = filesystem(folder)
    try:
        table, _ = _read_trial(fs, base)
        return TrialRow(**table.to_pylist()[0])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (pa.ArrowException, OSError, _OtherFolderError) as error:
        log.warning(
            "%s/trial.parquet cannot be used (%s); the trial counts as missing",
            folder,
            one_line(error),
        )
        return None


def end_otherwise(folder: str, status: str, error: str) -> None:
    """Give the trial that was written into `folder` another status and reason. Raises OSError."""
    row = read_trial(folder)
    if row is not None:
        fs, base = filesystem(folder)
        row = dataclasses.replace(row, status=status, error=error)
        row = _digested(row, digest.read(row.digests)) if row.digests else row
        _write_table(fs, f"{base}/trial.parquet", _table(TrialRow, [row]))


def is_done(folder: str, config_hash: str, stages: Collection[str] = ()) -> bool:
    """True when the folder holds a finished trial of this configuration, all tables readable, with
    these stages.
    """
    try:
        trial = _read_folder(*filesystem(folder)).tables["trial"].to_pylist()[0]
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (pa.ArrowException, OSError, _OtherFolderError) as error:
        log.warning("%s cannot be used (%s); the trial counts as missing", folder, one_line(error))
        return False
    of_this = trial["status"] == "ok" and trial["config_hash"] == config_hash
    return of_this and set(stages) <= set(stages_of(TrialRow(**trial)))


def stages_of(trial: TrialRow) -> list[str]:
    """The stages that a trial has done; of an older row, those that its configuration names."""
    if trial.stages:
        return trial.stages.split()
    named = re.search(r"^stages:\n((?:- \w+\n)*)", trial.config_yaml, re.MULTILINE)
    return re.findall(r"\w+", named[1]) if named else []


class Written(NamedTuple):
    """Everything that a trial has written."""

    trial: TrialRow
    episodes: list[EpisodeRow]
    metrics: list[MetricRow]
    frames: list[FrameRow]


def read_back(folder: str) -> Written | None:
    """A trial's tables as `write` takes them, or None where they cannot be read."""
    fs, base = filesystem(folder)
    try:
        tables = _read_folder(fs, base).tables
    except (FileNotFoundError, NotADirectoryError, pa.ArrowException, OSError, _OtherFolderError):
        return None
    tables["frames"] = _read_frames(fs, base)
    names = {kind: [f.name for f in dataclasses.fields(row)] for kind, row in _ROWS.items()}
    read = {
        kind: [row(**line) for line in tables[kind].select(names[kind]).to_pylist()]
        if tables[kind]
        else []
        for kind, row in _ROWS.items()
    }
    return Written(read["trial"][0], read["episodes"], read["metrics"], read["frames"])


def changed(written: Written) -> list[str]:
    """The tables whose values are not those that the trial wrote, by the digests in its row; all of
    them where it has none. Pictures that are no longer there are left out.
    """
    recorded = digest.read(written.trial.digests)
    trial = dataclasses.replace(written.trial, digests="")
    parts: dict[str, Sequence[Any]] = {
        "trial": [trial],
        "episodes": written.episodes,
        "metrics": written.metrics,
    }
    if written.frames:
        parts["frames"] = written.frames
    now = _digests({name: _table(_ROWS[name], part) for name, part in parts.items()})
    return [name for name in now if now[name] != recorded.get(name)]


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


def unknown_columns(folder: str) -> list[str]:
    """The columns in a trial's files that no row has: "NAME of FILE"."""
    return sorted(_read_folder(*filesystem(folder)).ignored)


def pack(run_folder: str, to: str, pictures: bool = True) -> int:
    """Write the rows of all trials into `to`/packed, one file a table (records/packed.py); how many
    trials. Raises OSError, also where a trial cannot be read.
    """
    fs, below = _below(run_folder)
    trials: dict[str, dict[str, pa.Table]] = {}
    for folder in _files(fs, below):
        try:
            tables = dict(_read_folder(fs, folder).tables)
        except (pa.ArrowException, _OtherFolderError) as error:
            raise OSError(f"{folder} cannot be packed: {one_line(error)}") from error
        if pictures and (shown := _read_frames(fs, folder)):
            tables["frames"] = shown
        trials[folder.rpartition("/")[2]] = tables
    target, base = filesystem(to)
    packed.write(target, base.rstrip("/"), trials)
    return len(trials)


def read_one(folder: str) -> Tables | None:
    """The tables of one trial, or None when they cannot be read."""
    try:
        tables = _read_folder(*filesystem(folder)).tables
    except (pa.ArrowException, OSError, _OtherFolderError) as error:
        log.warning("%s is left out: %s", folder, one_line(error))
        return None
    return Tables(**{name: table.to_pandas() for name, table in tables.items()})


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
        tables = [t for t in pool.map(lambda folder: _read_frames(fs, folder), folders) if t]
    return _concat(FrameRow, tables).to_pandas()


class _OtherFolderError(LookupError):
    """A folder that is not named after the trial in it."""


class _TrialTables(NamedTuple):
    """The tables of one trial, and the columns in its files that no row has."""

    tables: dict[str, pa.Table]
    ignored: set[str]


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
    for info in packed.files(fs, below, _ROWS):
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
    known = compact.read(fs, base, {name: _whole_schema(row) for name, row in FILES.items()})
    with ThreadPoolExecutor(pa.cpu_count()) as pool:
        pieces = _pieces(below, files, known)
        batches = list(pool.map(lambda piece: _read_piece(fs, below, piece), pieces))
    tables = {name: _concat(row, [b.tables[name] for b in batches]) for name, row in FILES.items()}
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
                raise _OtherFolderError(name)
            trial = _read_folder(fs, folder)
        except _OtherFolderError:
            left_out.append(name)
        except (pa.ArrowException, OSError) as error:
            broken.append(Broken(name, one_line(error)))
        else:
            trials.append(trial)
            counts = {table: trial.tables[table].num_rows for table in FILES}
            # what is ignored is named at every reading
            entries.append(compact.Entry(name, "" if trial.ignored else signature, counts))
    tables = {
        name: _concat(row, [one.tables[name] for one in trials]).combine_chunks()
        for name, row in FILES.items()
    }
    ignored = collections.Counter(column for one in trials for column in one.ignored)
    return _Batch(tables, entries, ignored, tuple(broken), tuple(left_out))


def _read_folder(fs: pafs.FileSystem, folder: str) -> _TrialTables:
    """Raises _OtherFolderError, or pa.ArrowException or OSError where a table cannot be read."""
    trial, ignored = _read_trial(fs, folder)
    tables = {}
    for name in ("metrics", "episodes"):
        table, others = _read_table(fs, f"{folder}/{name}.parquet", FILES[name])
        tables[name] = _of_trial(table, trial, name)
        ignored |= others
    return _TrialTables(tables | {"trial": trial}, ignored)


def _read_trial(fs: pafs.FileSystem, folder: str) -> tuple[pa.Table, set[str]]:
    table, ignored = _read_table(fs, f"{folder}/trial.parquet", TrialRow)
    if table.num_rows != 1:
        raise pa.ArrowInvalid(f"trial.parquet holds {table.num_rows} rows, not one")
    name = folder_name(table.column("key")[0].as_py(), table.column("config_hash")[0].as_py())
    if folder.rstrip("/").rpartition("/")[2] != name:
        raise _OtherFolderError(f"it holds a copy of {name}")
    return table, ignored


def _read_frames(fs: pafs.FileSystem, folder: str) -> pa.Table | None:
    try:
        table, _ = _read_table(fs, f"{folder}/frames.parquet", FrameRow)
        trial, _ = _read_trial(fs, folder)
        return _of_trial(table, trial, "frames") if table.num_rows else None
    except (_OtherFolderError, FileNotFoundError):
        return None
    except (pa.ArrowException, OSError) as error:
        log.warning("the pictures of %s are left out: %s", folder, one_line(error))
        return None


def _of_trial(table: pa.Table, trial: pa.Table, name: str) -> pa.Table:
    """The table with its trial's config_hash. Raises pa.ArrowInvalid on rows of another trial."""
    key = trial.column("key")[0]
    if not pc.all(pc.equal(table.column("key"), key), min_count=0).as_py():
        raise pa.ArrowInvalid(f"{name}.parquet holds rows of another trial than {key}")
    column = pa.repeat(trial.column("config_hash")[0], table.num_rows)
    return table.append_column("config_hash", column)


def _read_table(fs: pafs.FileSystem, path: str, row: type) -> tuple[pa.Table, set[str]]:
    """The table, and those of its columns that `row` does not have: "name of name.parquet"."""
    file = path.rpartition("/")[2]
    try:
        with fs.open_input_file(path) as source:
            whole = pa.BufferReader(source.read_buffer())  # a small file: threads cost more
    except FileNotFoundError:
        whole = None
    try:
        table = pq.ParquetFile(whole).read(use_threads=False) if whole else packed.table(fs, path)
        ignored = {f"{name} of {file}" for name in set(table.column_names) - set(schema(row).names)}
        return _conform(table, row), ignored
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise pa.ArrowInvalid(f"{file}: {one_line(error)}") from error


def _conform(table: pa.Table, row: type) -> pa.Table:
    """The table under the schema of `row`, with every value unchanged. Raises pa.ArrowException
    where a value would change.
    """
    wanted = schema(row)
    if table.schema.equals(wanted) and not any(map(_nulls, table.columns)):
        return table
    columns = []
    for own, target in zip(dataclasses.fields(row), wanted, strict=True):
        count = table.column_names.count(own.name)
        if count == 1:
            columns.append(_same_values(table.column(own.name), target))
        elif not count and "later" in own.metadata:
            columns.append(pa.array([own.default] * table.num_rows, target.type))
        else:
            where = f"is there {count} times" if count else "is missing"
            raise pa.ArrowInvalid(f"column {own.name} {where}")
    return pa.table(columns, schema=wanted)


def _same_values(column: pa.ChunkedArray, target: pa.Field) -> pa.ChunkedArray:
    """The column in the type of `target`."""
    actual = column.type
    if pa.types.is_dictionary(actual):
        column = column.cast(actual.value_type)
    if _kind(column.type) not in (_kind(target.type), "null", "list of null"):
        raise pa.ArrowInvalid(f"column {target.name} has type {actual}, not {target.type}")
    try:
        column = column.cast(target.type)  # fails where a value would change
    except pa.ArrowException as error:
        raise pa.ArrowInvalid(f"column {target.name}: {error}") from error
    if pa.types.is_floating(target.type):
        column = column.fill_null(math.nan)  # as other programs write NaN
    if nulls := _nulls(column):
        raise pa.ArrowInvalid(f"column {target.name} lacks {nulls} values")
    return column


def _nulls(column: pa.ChunkedArray) -> int:
    """How many values are missing, also inside lists; rows never have any."""
    inside = pc.list_flatten(column).null_count if pa.types.is_list(column.type) else 0
    return int(column.null_count + inside)


def _kind(dtype: pa.DataType) -> str:
    """The kind of a column's values, whatever their width in bits."""
    is_a = pa.types
    if is_a.is_list(dtype) or is_a.is_large_list(dtype):
        return f"list of {_kind(dtype.value_type)}"
    if is_a.is_string(dtype) or is_a.is_large_string(dtype) or is_a.is_string_view(dtype):
        return "text"
    if is_a.is_binary(dtype) or is_a.is_large_binary(dtype) or is_a.is_binary_view(dtype):
        return "bytes"
    return "number" if is_a.is_integer(dtype) or is_a.is_floating(dtype) else str(dtype)


def _concat(row: type, tables: list[pa.Table]) -> pa.Table:
    return pa.concat_tables([_whole_schema(row).empty_table(), *tables])


def _whole_schema(row: type) -> pa.Schema:
    """The schema of `row`, beside the rows of other trials: with the config_hash of its own."""
    own = schema(row)
    return own if row is TrialRow else own.append(pa.field("config_hash", pa.string()))


def _table(row: type, rows: Sequence[Any]) -> pa.Table:
    return pa.Table.from_pylist([dataclasses.asdict(r) for r in rows], schema=schema(row))


def _digests(tables: Mapping[str, pa.Table]) -> dict[str, str]:
    return {name: digest.of_table(table, _ROWS[name]) for name, table in tables.items()}


def _digested(trial: TrialRow, others: Mapping[str, str]) -> TrialRow:
    """The row with the digests of the trial's other tables and of its own values."""
    own = _digests({"trial": _table(TrialRow, [dataclasses.replace(trial, digests="")])})
    return dataclasses.replace(trial, digests=digest.text({**others, **own}))


def _write_table(fs: pafs.FileSystem, path: str, table: pa.Table) -> None:
    with whole_file(fs, path) as sink:
        # one file has few rows: dictionaries and statistics take more than they save
        pq.write_table(
            table, sink, compression="snappy", use_dictionary=False, write_statistics=False
        )


def _arrow_type(hint: Any) -> pa.DataType:
    if isinstance(hint, types.GenericAlias):
        return pa.list_(_ARROW[typing.get_args(hint)[0]])
    return _ARROW[hint]
