"""The Parquet tables of a trial: their schemas, and how they are written and read.

A trial counts only in the folder that is named after it (`folder_name`); a copy of the folder is
left out. `trial.parquet` is written last: a trial is done when all its tables can be read and that
one has the same config hash and the status "ok". `frames.parquet` holds pictures alone, and a trial
is complete without it.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import fs as pafs

from harness.records import digest, parquet
from harness.records.parquet import LATER
from harness.records.storage import delete, filesystem, one_line

log = logging.getLogger(__name__)


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


FILES = {"metrics": MetricRow, "episodes": EpisodeRow, "trial": TrialRow}
ALL_FILES = FILES | {"frames": FrameRow}


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
    tables = {
        "metrics": parquet.table(MetricRow, metrics),
        "episodes": parquet.table(EpisodeRow, episodes),
    }
    if frames:
        tables["frames"] = parquet.table(FrameRow, frames)
    else:
        delete(fs, f"{base}/frames.parquet")  # of an earlier attempt
    trial = _digested(trial, _digests(tables))
    for name, table in (tables | {"trial": parquet.table(TrialRow, [trial])}).items():
        parquet.write(fs, f"{base}/{name}.parquet", table)
    return trial


def write_table(path: str, row: type, lines: Sequence[Any]) -> None:
    """Write rows of one dataclass as one Parquet file, whole or not at all; raises OSError."""
    fs, base = filesystem(path)
    fs.create_dir(base.rpartition("/")[0] or ".", recursive=True)
    parquet.write(fs, base, parquet.table(row, lines))


def read_trial(folder: str) -> TrialRow | None:
    """The trial row of a folder, or None when there is none that can be read and belongs there."""
    fs, base = filesystem(folder)
    try:
        table, _ = _read_trial(fs, base)
        return TrialRow(**table.to_pylist()[0])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (pa.ArrowException, OSError, OtherFolderError) as error:
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
        parquet.write(fs, f"{base}/trial.parquet", parquet.table(TrialRow, [row]))


def is_done(folder: str, config_hash: str, stages: Collection[str] = ()) -> bool:
    """True when the folder holds a finished trial of this configuration, all tables readable, with
    these stages.
    """
    try:
        trial = read_folder(*filesystem(folder)).tables["trial"].to_pylist()[0]
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (pa.ArrowException, OSError, OtherFolderError) as error:
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
        tables = read_folder(fs, base).tables
    except (FileNotFoundError, NotADirectoryError, pa.ArrowException, OSError, OtherFolderError):
        return None
    tables["frames"] = read_frames(fs, base)
    names = {kind: [f.name for f in dataclasses.fields(row)] for kind, row in ALL_FILES.items()}
    read = {
        kind: [row(**line) for line in tables[kind].select(names[kind]).to_pylist()]
        if tables[kind]
        else []
        for kind, row in ALL_FILES.items()
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
    now = _digests({name: parquet.table(ALL_FILES[name], part) for name, part in parts.items()})
    return [name for name in now if now[name] != recorded.get(name)]


def unknown_columns(folder: str) -> list[str]:
    """The columns in a trial's files that no row has: "NAME of FILE"."""
    return sorted(read_folder(*filesystem(folder)).ignored)


class OtherFolderError(LookupError):
    """A folder that is not named after the trial in it."""


class TrialTables(NamedTuple):
    """The tables of one trial, and the columns in its files that no row has."""

    tables: dict[str, pa.Table]
    ignored: set[str]


def read_folder(fs: pafs.FileSystem, folder: str) -> TrialTables:
    """Raises OtherFolderError, or pa.ArrowException or OSError where a table cannot be read."""
    trial, ignored = _read_trial(fs, folder)
    tables = {}
    for name in ("metrics", "episodes"):
        table, others = parquet.read(fs, f"{folder}/{name}.parquet", FILES[name])
        tables[name] = _of_trial(table, trial, name)
        ignored |= others
    return TrialTables(tables | {"trial": trial}, ignored)


def _read_trial(fs: pafs.FileSystem, folder: str) -> tuple[pa.Table, set[str]]:
    table, ignored = parquet.read(fs, f"{folder}/trial.parquet", TrialRow)
    if table.num_rows != 1:
        raise pa.ArrowInvalid(f"trial.parquet holds {table.num_rows} rows, not one")
    name = folder_name(table.column("key")[0].as_py(), table.column("config_hash")[0].as_py())
    if folder.rstrip("/").rpartition("/")[2] != name:
        raise OtherFolderError(f"it holds a copy of {name}")
    return table, ignored


def read_frames(fs: pafs.FileSystem, folder: str) -> pa.Table | None:
    """A trial's pictures with its config_hash, or None without any that can be read."""
    try:
        table, _ = parquet.read(fs, f"{folder}/frames.parquet", FrameRow)
        trial, _ = _read_trial(fs, folder)
        return _of_trial(table, trial, "frames") if table.num_rows else None
    except (OtherFolderError, FileNotFoundError):
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


def _digests(tables: Mapping[str, pa.Table]) -> dict[str, str]:
    return {name: digest.of_table(table, ALL_FILES[name]) for name, table in tables.items()}


def _digested(trial: TrialRow, others: Mapping[str, str]) -> TrialRow:
    """The row with the digests of the trial's other tables and of its own values."""
    own = _digests({"trial": parquet.table(TrialRow, [dataclasses.replace(trial, digests="")])})
    return dataclasses.replace(trial, digests=digest.text({**others, **own}))
