"""The record: Parquet tables of a trial, their schemas, and how they are written and read.

`trial.parquet` is written last. A trial is done when that file is readable, has the same config
hash and status "ok". `frames.parquet` holds pictures alone: a trial is done, and read, without it.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import logging
import types
import typing
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs as pafs

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrialRow:
    """One line per trial: what was run, on what, and how it ended."""

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
    status: str  # "ok" or "error"
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


@dataclass(frozen=True)
class EpisodeRow:
    """One line per evaluated episode."""

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


@dataclass(frozen=True)
class MetricRow:
    """Everything else, long: curves have one line per index."""

    key: str
    stage: str  # "train", "control", "plan_time", ...
    name: str
    index: int
    value: float
    unit: str


PROBE_SOURCES = ("latent", "untrained", "pixels", "shuffled")  # the first is no control


class ProbeName(NamedTuple):
    """The name of a metric of stage "probing": what was read from what, by which probe.

    Rows written before there were controls have three of the five parts; their probes were fitted
    on 6,000 frames, and the network had one hidden layer of 128 units.
    """

    quantity: str  # "block_angle"
    source: str  # of PROBE_SOURCES
    probe: str  # "linear"; "mlp2x256": hidden layers x units
    frames: int  # that the probe was fitted on
    measure: str  # "r" or "error"

    def text(self) -> str:
        """The name as a row holds it."""
        return ".".join(map(str, self))

    @classmethod
    def of(cls, text: str) -> ProbeName:
        """The parts of a row's name; raises ValueError for another text."""
        parts = text.split(".")
        if len(parts) == 3:
            quantity, probe, measure = parts
            return cls(quantity, "latent", {"mlp": "mlp1x128"}.get(probe, probe), 6000, measure)
        quantity, source, probe, frames, measure = parts
        return cls(quantity, source, probe, int(frames), measure)


@dataclass(frozen=True)
class FrameRow:
    """One picture of the episode that a trial shows, or of its goal."""

    key: str
    pair_id: int
    stratum: str
    kind: str  # "start"; "block": after a block; "end": where the episode stopped; "goal"
    step: int  # since the start; of the goal: in the recording
    success: bool  # what is seen here is solved under the protocol's rule
    image: bytes  # PNG


class Tables(NamedTuple):
    """All trials of a run; episodes and metrics carry the config_hash of their trial."""

    trial: pd.DataFrame
    episodes: pd.DataFrame
    metrics: pd.DataFrame


_BATCH = 128  # trials read by one thread at a time
FILES = {"metrics": MetricRow, "episodes": EpisodeRow, "trial": TrialRow}  # in the order of writing
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


def filesystem(path: str) -> tuple[pafs.FileSystem, str]:
    """A local path or a URI (s3://...) as (file system, path on it). Raises OSError."""
    if "://" in str(path):
        try:
            return pafs.FileSystem.from_uri(str(path))
        except (pa.ArrowException, OSError) as error:
            raise OSError(f"{path} cannot be used: {_line(error)}") from error
    return pafs.LocalFileSystem(), str(path)


def write(
    folder: str,
    trial: TrialRow,
    episodes: list[EpisodeRow],
    metrics: list[MetricRow],
    frames: Sequence[FrameRow] = (),
) -> None:
    """Write one trial's tables into `folder`, each whole or not at all, trial.parquet last; none of
    pictures where there are none.

    Raises OSError when the folder cannot be written.
    """
    fs, base = filesystem(folder)
    fs.create_dir(base, recursive=True)
    pictures = f"{base}/frames.parquet"
    if frames:
        _write_whole(fs, pictures, _table(FrameRow, frames))
    elif fs.get_file_info(pictures).type != pafs.FileType.NotFound:
        fs.delete_file(pictures)  # of an earlier attempt
    for name, rows in (("metrics", metrics), ("episodes", episodes), ("trial", [trial])):
        _write_whole(fs, f"{base}/{name}.parquet", _table(FILES[name], rows))


def write_table(path: str, row: type, made: Sequence) -> None:
    """Write rows of one dataclass as one Parquet file, whole or not at all; raises OSError."""
    fs, base = filesystem(path)
    fs.create_dir(base.rpartition("/")[0] or ".", recursive=True)
    _write_whole(fs, base, _table(row, made))


def read_trial(folder: str) -> TrialRow | None:
    """The trial row of a folder, or None when there is none that can be read."""
    fs, base = filesystem(folder)
    try:
        with fs.open_input_file(f"{base}/trial.parquet") as source:
            return TrialRow(**pq.ParquetFile(source).read(use_threads=False).to_pylist()[0])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (pa.ArrowException, OSError, IndexError, TypeError) as error:
        log.warning(
            "%s/trial.parquet cannot be read (%s); the trial counts as missing",
            folder,
            _line(error),
        )
        return None


def is_done(folder: str, config_hash: str) -> bool:
    """True when the folder holds a finished trial of this configuration, all tables readable."""
    trial = read_trial(folder)
    if trial is None or trial.status != "ok" or trial.config_hash != config_hash:
        return False
    return all(_readable(folder, name, row) for name, row in FILES.items())


def read(run_folder: str) -> Tables:
    """All readable trials under `run_folder`/trials; a broken one is logged and left out."""
    fs, base = filesystem(run_folder)
    folders = _holding(fs, base, "trial")
    batches = [folders[i : i + _BATCH] for i in range(0, len(folders), _BATCH)]
    with ThreadPoolExecutor(pa.cpu_count()) as pool:
        found = list(pool.map(lambda batch: _read_folders(fs, batch), batches))
    made = {name: _concat(row, [tables[name] for tables in found]) for name, row in FILES.items()}
    del found
    return Tables(**{name: table.to_pandas(self_destruct=True) for name, table in made.items()})


def read_one(folder: str) -> Tables | None:
    """The tables of one trial, or None when they cannot be read."""
    tables = _read_folder(*filesystem(folder))
    return None if tables is None else Tables(**{k: t.to_pandas() for k, t in tables.items()})


def frames(run_folder: str) -> pd.DataFrame:
    """The pictures of those trials under `run_folder`/trials that have any, with config_hash."""
    fs, base = filesystem(run_folder)
    folders = _holding(fs, base, "frames", "trial")
    with ThreadPoolExecutor(pa.cpu_count()) as pool:
        found = [t for t in pool.map(lambda folder: _read_frames(fs, folder), folders) if t]
    return _concat(FrameRow, found).to_pandas()


def _read_frames(fs: pafs.FileSystem, folder: str) -> pa.Table | None:
    try:
        table = _read_table(fs, f"{folder}/frames.parquet", FrameRow)
        if not table.num_rows:
            return None
        return _with_hash(table, _read_table(fs, f"{folder}/trial.parquet", TrialRow))
    except (pa.ArrowException, OSError) as error:
        log.warning("the pictures of %s are left out: %s", folder, _line(error))
        return None


def _holding(fs: pafs.FileSystem, base: str, *names: str) -> list[str]:
    """The folders under `base`/trials that hold these tables, in order."""
    wanted = {f"{name}.parquet" for name in names}
    where = pafs.FileSelector(f"{base}/trials", recursive=True, allow_not_found=True)
    found = collections.Counter(
        info.path.rpartition("/")[0] for info in fs.get_file_info(where) if info.base_name in wanted
    )
    return sorted(folder for folder, held in found.items() if held == len(names))


def _with_hash(table: pa.Table, trial: pa.Table) -> pa.Table:
    column = pa.repeat(trial.column("config_hash")[0], table.num_rows)
    return table.append_column("config_hash", column)


def _read_folders(fs: pafs.FileSystem, folders: list[str]) -> dict[str, pa.Table]:
    """The tables of those that can be read, each in one piece: small pieces waste memory."""
    found = [tables for folder in folders if (tables := _read_folder(fs, folder))]
    return {
        name: _concat(row, [tables[name] for tables in found]).combine_chunks()
        for name, row in FILES.items()
    }


def _read_folder(fs: pafs.FileSystem, folder: str) -> dict[str, pa.Table] | None:
    try:
        tables = {
            name: _read_table(fs, f"{folder}/{name}.parquet", row) for name, row in FILES.items()
        }
    except (pa.ArrowException, OSError) as error:
        log.warning(
            "%s is left out: %s. Issue the run command again to repeat it.", folder, _line(error)
        )
        return None
    for name in ("episodes", "metrics"):
        tables[name] = _with_hash(tables[name], tables["trial"])
    return tables


def _read_table(fs: pafs.FileSystem, path: str, row: type) -> pa.Table:
    with fs.open_input_file(path) as source:
        whole = pa.BufferReader(source.read_buffer())  # small files: pieces and threads cost more
    table = pq.ParquetFile(whole).read(use_threads=False)
    _check_schema(path, table.schema, row)
    return table


def _check_schema(path: str, found: pa.Schema, row: type) -> None:
    if not found.equals(schema(row)):
        raise pa.ArrowInvalid(f"{path} has another schema; it was written by another version")


def _readable(folder: str, name: str, row: type) -> bool:
    fs, base = filesystem(folder)
    try:
        with fs.open_input_file(f"{base}/{name}.parquet") as source:
            _check_schema(f"{folder}/{name}.parquet", pq.read_schema(source), row)
        return True
    except (pa.ArrowException, OSError) as error:
        log.warning(
            "%s/%s.parquet cannot be read (%s); the trial counts as missing",
            folder,
            name,
            _line(error),
        )
        return False


def _concat(row: type, tables: list[pa.Table]) -> pa.Table:
    empty = schema(row)
    if row is not TrialRow:
        empty = empty.append(pa.field("config_hash", pa.string()))
    return pa.concat_tables([empty.empty_table(), *tables])


def _table(row: type, rows: Sequence) -> pa.Table:
    return pa.Table.from_pylist([dataclasses.asdict(r) for r in rows], schema=schema(row))


def _write_whole(fs: pafs.FileSystem, path: str, table: pa.Table) -> None:
    part = f"{path}.{uuid.uuid4().hex[:8]}.part"
    try:
        with fs.open_output_stream(part) as sink:
            # one file has few rows: dictionaries and statistics take more than they save
            pq.write_table(
                table, sink, compression="snappy", use_dictionary=False, write_statistics=False
            )
        fs.move(part, path)
    except BaseException:
        if fs.get_file_info(part).type != pafs.FileType.NotFound:
            fs.delete_file(part)
        raise


def _arrow_type(hint: object) -> pa.DataType:
    if isinstance(hint, types.GenericAlias):
        return pa.list_(_ARROW[typing.get_args(hint)[0]])
    return _ARROW[hint]


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
