"""The record: which folders count, what is read of rewritten tables, pictures beside them."""

import dataclasses
import logging
import math
import shutil
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness import zoo
from harness.experiment import config, identity
from harness.records import parquet, rows, run_tables, storage

REFERENCES = Path(__file__).parents[2] / "results" / "reference"
FRAMES = [
    rows.FrameRow("toy.lewm.s0", 3, "all", "start", 0, False, b"\x89PNG\x00one"),
    rows.FrameRow("toy.lewm.s0", 3, "all", "goal", 25, True, b"\x89PNG\xfftwo"),
]


def trial(**fields):
    words = ("toy", "lewm", "", 0, "tiny", "smoke", "p")
    return rows.TrialRow("toy.lewm.s0", "r", "smoke", *words, "hash", "setting", "", "ok", **fields)


def episode(pair_id, solve_s):
    words = ("toy.lewm.s0", "test", 0, pair_id, 1, 2, "", "pairs", False, True, True, False, 3)
    return rows.EpisodeRow(*words, 1.0, 0.1, 0.2, 2, [1] * len(solve_s), solve_s)


EPISODES = [episode(0, [0.5, 0.25]), episode(1, [])]
METRICS = [
    rows.MetricRow("toy.lewm.s0", "train", "loss", 0, 0.1, ""),
    rows.MetricRow("toy.lewm.s0", "sweep", "train.precision", 0, math.nan, "bf16"),
]


@pytest.fixture
def written(tmp_path):
    """A run's folder and the one trial in it."""
    folder = tmp_path / "trials" / rows.folder_name("toy.lewm.s0", "hash")
    rows.write(str(folder), trial(), EPISODES, METRICS, FRAMES)
    return tmp_path, folder


# -- which folders count


@pytest.mark.parametrize("name", ["toy.lewm.s0.hash.bak", "old/toy.lewm.s0.hash", "copy"])
def test_a_copy_of_a_trials_folder_is_left_out_and_named(written, name, caplog):
    run, folder = written
    shutil.copytree(folder, folder.parent / name)
    tables = run_tables.read(str(run))
    assert (len(tables.trial), len(tables.episodes), len(tables.metrics)) == (1, 2, 2)
    assert tables.left_out == (name,) and f"trials/{name} is left out: a copy" in caplog.text
    assert len(run_tables.frames(str(run))) == len(FRAMES)


def test_a_renamed_folder_is_no_trial(written):
    run, folder = written
    renamed = folder.rename(folder.with_name("toy.lewm.s1.hash"))
    tables = run_tables.read(str(run))
    assert tables.trial.empty and tables.left_out == (renamed.name,) and not tables.broken
    assert run_tables.frames(str(run)).empty and run_tables.read_one(str(renamed)) is None
    assert rows.read_trial(str(renamed)) is None and not rows.is_done(str(renamed), "hash")


@pytest.mark.parametrize("name", ["metrics", "episodes"])
def test_a_table_of_another_trial_breaks_its_trial(written, name):
    run, folder = written
    other = dataclasses.replace(trial(), key="toy.lewm.s1")
    rows.write(
        str(run / "other"),
        other,
        [dataclasses.replace(e, key=other.key) for e in EPISODES],
        [dataclasses.replace(m, key=other.key) for m in METRICS],
    )
    shutil.copy(run / "other" / f"{name}.parquet", folder)
    reason = f"{name}.parquet holds rows of another trial than toy.lewm.s0"
    assert run_tables.read(str(run)).broken == ((folder.name, reason),)
    assert not rows.is_done(str(folder), "hash")


# -- tables that another program wrote again


def retyped(found, into):
    """The table with every column of type `found` in type `into`."""
    return lambda table: pa.table(
        [c.cast(into) if c.type == found else c for c in table.columns], names=table.column_names
    )


def by_pandas(table):
    """NaN is null then, and empty lists have no type."""
    return pa.Table.from_pandas(table.to_pandas())


def untyped_if_empty(table):
    """As programs write columns of which they have seen no value."""
    return pa.table({name: pa.nulls(0) for name in table.column_names})


LOSSLESS = {
    "wide strings": retyped(pa.string(), pa.large_string()),
    "views": retyped(pa.string(), pa.string_view()),
    "dictionaries": retyped(pa.string(), pa.dictionary(pa.int32(), pa.string())),
    "narrow numbers": retyped(pa.int64(), pa.int32()),
    "whole numbers as floats": retyped(pa.int64(), pa.float64()),
    "wide lists": retyped(pa.list_(pa.float64()), pa.large_list(pa.float64())),
    "wide bytes": retyped(pa.binary(), pa.large_binary()),
    "another order": lambda table: table.select(table.column_names[::-1]),
    "a column more": lambda table: table.append_column("mine", pa.nulls(table.num_rows)),
    "pandas": by_pandas,
}


@pytest.mark.parametrize("name", LOSSLESS)
def test_a_rewritten_table_with_the_same_values_is_read(written, name, caplog):
    run, folder = written
    before, pictures = run_tables.read(str(run)), run_tables.frames(str(run))
    row = rows.read_trial(str(folder))
    for path in folder.glob("*.parquet"):
        pq.write_table(LOSSLESS[name](pq.read_table(path)), path)
    after = run_tables.read(str(run))
    assert not after.broken and rows.is_done(str(folder), "hash")
    for table in ("trial", "episodes", "metrics"):
        pd.testing.assert_frame_equal(getattr(after, table), getattr(before, table))
    pd.testing.assert_frame_equal(run_tables.frames(str(run)), pictures)
    assert rows.read_trial(str(folder)) == row
    said = [line for line in caplog.messages if "this version does not know it" in line]
    assert len(said) == (name == "a column more")
    assert all("mine of trial.parquet (trials: 1)" in line for line in said)


def test_an_empty_table_of_no_type_is_read(written):
    run, folder = written
    pq.write_table(
        untyped_if_empty(pq.read_table(folder / "metrics.parquet")), folder / "metrics.parquet"
    )
    tables = run_tables.read(str(run))
    assert tables.metrics.empty and len(tables.episodes) == 2 and not tables.broken


def without(column):
    return lambda table: table.drop_columns([column])


def replaced(column, values):
    """The table with other values in a column."""
    return lambda table: table.set_column(
        table.column_names.index(column), column, pa.array(values)
    )


BROKEN = {
    "a column less": ("metrics", without("unit"), "column unit is missing"),
    "a column with a default less": ("episodes", without("env_s"), "column env_s is missing"),
    "numbers as text": (
        "episodes",
        retyped(pa.float64(), pa.string()),
        "column dist_init has type string, not double",
    ),
    "parts of a number": (
        "metrics",
        replaced("index", [0.5, 1.0]),
        "column index: Float value 0.5",
    ),
    "no text": ("metrics", replaced("unit", ["", None]), "column unit lacks 1 values"),
    "no number": ("episodes", replaced("pair_id", [0, None]), "column pair_id lacks 1 values"),
    "no number in a list": (
        "episodes",
        replaced("solve_s", [[0.5, None], []]),
        "column solve_s lacks 1 values",
    ),
    "a column twice": (
        "metrics",
        lambda table: table.append_column("unit", table.column("unit")),
        "column unit is there 2 times",
    ),
    "two trials": ("trial", lambda t: pa.concat_tables([t, t]), "holds 2 rows, not one"),
    "no trial": ("trial", lambda table: table.slice(0, 0), "holds 0 rows, not one"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_table_whose_values_are_not_all_there_breaks_its_trial(written, name, caplog):
    run, folder = written
    table, rewrite, reason = BROKEN[name]
    path = folder / f"{table}.parquet"
    pq.write_table(rewrite(pq.read_table(path)), path)
    tables = run_tables.read(str(run))
    ((broken, said),) = tables.broken
    assert broken == folder.name and said.startswith(f"{table}.parquet") and reason in said
    assert tables.trial.empty and tables.episodes.empty and tables.metrics.empty
    assert reason in caplog.text and not rows.is_done(str(folder), "hash")


def test_a_table_that_is_not_there_breaks_its_trial(written):
    run, folder = written
    (folder / "episodes.parquet").unlink()
    ((broken, said),) = run_tables.read(str(run)).broken
    assert broken == folder.name and "episodes.parquet" in said


def test_a_column_that_came_later_has_its_default_in_older_rows(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Newer(rows.MetricRow):
        device: str = dataclasses.field(default="cpu", metadata=rows.LATER)

    Newer.__annotations__["device"] = str
    rows.write_table(f"{tmp_path}/metrics.parquet", rows.MetricRow, METRICS)
    fs, base = storage.filesystem(f"{tmp_path}/metrics.parquet")
    table, _ = parquet.read(fs, base, Newer)
    assert table.column("device").to_pylist() == ["cpu", "cpu"]


# -- writing


def test_two_processes_that_write_one_file_do_not_disturb_each_other(tmp_path):
    fs, path = storage.filesystem(f"{tmp_path}/success.md")
    with storage.whole_file(fs, path) as first, storage.whole_file(fs, path) as second:
        first.write(b"first")
        second.write(b"second")
    assert Path(path).read_bytes() == b"first" and list(tmp_path.iterdir()) == [Path(path)]


def test_a_file_stays_as_it_was_when_writing_it_fails(tmp_path):
    fs, path = storage.filesystem(f"{tmp_path}/success.md")
    Path(path).write_text("before")
    with pytest.raises(KeyboardInterrupt), storage.whole_file(fs, path) as sink:
        sink.write(b"half")
        raise KeyboardInterrupt
    assert Path(path).read_text() == "before" and list(tmp_path.iterdir()) == [Path(path)]


# -- pictures


def test_pictures_are_read_as_they_were_written(written):
    run, _ = written
    found = run_tables.frames(str(run))
    assert found.pop("config_hash").tolist() == ["hash", "hash"]
    assert [rows.FrameRow(*line) for line in found.itertuples(index=False)] == FRAMES


def test_a_trial_written_again_without_pictures_has_none(written):
    run, folder = written
    rows.write(str(folder), trial(), [], [])
    assert run_tables.frames(str(run)).empty


@pytest.mark.parametrize("content", [None, b"PAR1"])
def test_a_trial_is_done_and_read_without_its_pictures(written, content, caplog):
    run, folder = written
    (folder / "frames.parquet").unlink()
    if content is not None:
        (folder / "frames.parquet").write_bytes(content)
    assert rows.is_done(str(folder), "hash") and len(run_tables.read(str(run)).trial) == 1
    with caplog.at_level(logging.WARNING):
        assert run_tables.frames(str(run)).empty
    assert ("toy.lewm.s0.hash are left out" in caplog.text) == (content is not None)


def test_pictures_of_a_trial_that_is_not_finished_are_not_read(written):
    run, folder = written
    (folder / "trial.parquet").unlink()
    assert run_tables.frames(str(run)).empty


# -- the reference runs


RUNS = sorted(trials.parent for trials in REFERENCES.glob("*/packed"))


@pytest.mark.parametrize("folder", RUNS, ids=lambda folder: folder.name)
def test_reference_runs_can_be_read_and_are_done(folder):
    tables = run_tables.read(str(folder))
    assert not tables.broken and not tables.left_out
    names = run_tables.names(str(folder))
    assert len(tables.trial) == len(names)
    for trial_folder in (f"{folder}/trials/{name}" for name in names):
        assert rows.is_done(trial_folder, rows.read_trial(trial_folder).config_hash)


# versions of tasks and methods that have newer ones since those runs
EARLIER = {"two_room": 1, "push_t": 2}
EARLIER_METHODS = (
    {"pldm": 2}
    | dict.fromkeys(
        ("lewm", "lewm_idm", "smwm", "dino_wm", "dino_wm_proprio", "ema_jepa", "collapsed"), 1
    )
    | {"true_state": 1}
)


@pytest.mark.parametrize("folder", RUNS, ids=lambda folder: folder.name)
def test_only_a_version_makes_reference_trials_run_again(folder, monkeypatch):
    """A change that alters outcomes is another version, and these run again; others alter none.
    Rows that do not record their stages are of a time when these were hashed.
    """
    for name in run_tables.names(str(folder)):
        row = rows.read_trial(f"{folder}/trials/{name}")
        spec = config.from_yaml(row.config_yaml)
        if not row.stages:
            monkeypatch.setattr(identity, "_HASHED_STAGES", spec.stages)
        if identity.config_hash(spec) == row.config_hash:
            monkeypatch.undo()
            continue
        if method := EARLIER_METHODS.get(row.method):
            known = dataclasses.replace(zoo.METHODS[row.method], version=method)
            monkeypatch.setitem(zoo.METHODS, row.method, known)
        version = EARLIER.get(row.task)
        if version and identity.config_hash(spec) != row.config_hash:
            earlier = dataclasses.replace(zoo.TASKS[row.task].spec, version=version)
            monkeypatch.setattr(type(zoo.TASKS[row.task]), "spec", earlier)
        assert identity.config_hash(spec) == row.config_hash, row.key
        monkeypatch.undo()
