"""Compacted tables: the same rows as the trials' own files, and used only as long as these stay."""

import dataclasses
import os
import shutil

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harness import launch
from harness.records import parquet, rows, run_tables

SEEDS = range(5)


def write(run, seed, success=True, when=1_000_000_000):
    """A trial with `seed` + 1 episodes, whose files were written at `when`."""
    key = f"toy.lewm.s{seed}"
    words = ("toy", "lewm", "", seed, "tiny", "smoke", "p")
    trial = rows.TrialRow(key, "r", "smoke", *words, "hash", "setting", "", "ok")
    values = ("test", 0, 0, 1, 2, "", "pairs", False, success, success, False, 3, 1.0, 0.1, 0.2, 2)
    episodes = [
        dataclasses.replace(rows.EpisodeRow(key, *values), pair_id=i) for i in range(seed + 1)
    ]
    metrics = [rows.MetricRow(key, "train", "loss", i, 0.5, "") for i in range(3)]
    folder = run / "trials" / rows.folder_name(key, "hash")
    rows.write(str(folder), trial, episodes, metrics)
    for path in folder.iterdir():
        os.utime(path, (when, when))
    return folder


@pytest.fixture
def run(tmp_path, monkeypatch):
    """A compacted run of five trials."""
    monkeypatch.setattr(run_tables, "WORTH_COMPACTING", 1)
    for seed in SEEDS:
        write(tmp_path, seed)
    run_tables.read(str(tmp_path), compacting=True)
    assert len(list((tmp_path / "compact").iterdir())) == 4
    return tmp_path


def mark(run):
    """Write 7 into every compacted loss: rows that were read from there show it."""
    path = run / "compact" / "metrics.parquet"
    table = pq.read_table(path)
    sevens = pa.array([7.0] * table.num_rows)
    pq.write_table(table.set_column(table.column_names.index("value"), "value", sevens), path)


def marked(run):
    """The seeds whose trials are read from the compacted tables."""
    losses = run_tables.read(str(run)).metrics
    return sorted({int(key[-1]) for key in losses.loc[losses["value"] == 7, "key"]})


def own_rows(run):
    """The tables as they are read without the compacted ones."""
    shutil.rmtree(run / "compact")
    return run_tables.read(str(run))


def assert_equal(one, other):
    for name in rows.FILES:
        pd.testing.assert_frame_equal(getattr(one, name), getattr(other, name))
    assert (one.broken, one.left_out, one.pictured) == (
        other.broken,
        other.left_out,
        other.pictured,
    )


def test_the_same_rows_are_read_from_the_compacted_tables(run):
    compacted = run_tables.read(str(run))
    mark(run)
    assert marked(run) == list(SEEDS)
    assert_equal(compacted, own_rows(run))


def test_only_trials_whose_files_stayed_as_they_were_are_read_from_there(run):
    """One was made anew, one came between the others, one went, one broke, one was copied."""
    write(run, 1, success=False, when=1_000_000_001)
    shutil.copytree(write(run, 0).parent / "toy.lewm.s0.hash", run / "trials" / "copy")
    shutil.rmtree(run / "trials" / "toy.lewm.s3.hash")
    (run / "trials" / "toy.lewm.s4.hash" / "episodes.parquet").write_bytes(b"PAR1")
    shutil.copytree(run / "trials" / "toy.lewm.s2.hash", run / "trials" / "toy.lewm.s2.hash" / "b")
    found = run_tables.read(str(run))
    assert [name for name, _ in found.broken] == ["toy.lewm.s4.hash"]
    assert found.left_out == ("copy", "toy.lewm.s2.hash/b")
    assert found.episodes.groupby("key")["success"].mean().to_dict() == {
        "toy.lewm.s0": 1.0,
        "toy.lewm.s1": 0.0,
        "toy.lewm.s2": 1.0,
    }
    mark(run)
    assert marked(run) == [0, 2]
    assert_equal(found, own_rows(run))


def test_a_growing_run_keeps_the_order_of_its_folders(run):
    for seed in (5, 6):
        write(run, seed)
    shutil.rmtree(run / "trials" / "toy.lewm.s2.hash")
    write(run, 2, success=False, when=1_000_000_001)
    grown = run_tables.read(str(run), compacting=True)
    assert list(grown.trial["seed"]) == [0, 1, 2, 3, 4, 5, 6]
    mark(run)
    assert marked(run) == [0, 1, 2, 3, 4, 5, 6]  # it was compacted again
    assert_equal(grown, own_rows(run))


def test_a_trial_that_was_just_written_is_not_trusted(run):
    """It could be written again within one tick of the file system's clock."""
    for path in write(run, 5).iterdir():
        os.utime(path)
    run_tables.read(str(run), compacting=True)
    mark(run)
    assert marked(run) == list(SEEDS)


def rewritten(name, change):
    """Rewrites a compacted table."""

    def apply(folder):
        table = pq.read_table(folder / f"{name}.parquet")
        pq.write_table(change(table), folder / f"{name}.parquet")

    return apply


UNUSABLE = {
    "no Parquet": lambda folder: (folder / "metrics.parquet").write_bytes(b"PAR1"),
    "a table less": lambda folder: (folder / "trial.parquet").unlink(),
    "another writing": rewritten("episodes", lambda t: t.replace_schema_metadata({"writing": "x"})),
    "no writing": rewritten("episodes", lambda table: table.replace_schema_metadata()),
    "a column less": rewritten("metrics", lambda table: table.drop_columns(["unit"])),
    "rows less": rewritten("metrics", lambda table: table.slice(1)),
    "another index": rewritten("index", lambda table: table.drop_columns(["signature"])),
}


@pytest.mark.parametrize("name", UNUSABLE)
def test_tables_that_do_not_fit_are_not_used(run, name):
    mark(run)
    UNUSABLE[name](run / "compact")
    assert marked(run) == []
    run_tables.read(str(run), compacting=True)
    mark(run)
    assert marked(run) == list(SEEDS)


def test_few_trials_are_not_compacted_nor_any_unasked(tmp_path):
    for seed in SEEDS:
        write(tmp_path, seed)
    run_tables.read(str(tmp_path), compacting=True)
    assert not (tmp_path / "compact").exists()


def test_reading_writes_nothing_unless_it_is_to(run):
    shutil.rmtree(run / "compact")
    run_tables.read(str(run))
    assert not (run / "compact").exists()


def test_a_folder_that_cannot_be_written_is_read(run):
    before = own_rows(run)
    (run / "compact").write_text("a file in its place")
    assert_equal(run_tables.read(str(run), compacting=True), before)


def test_columns_that_nobody_reads_are_left_out(run):
    assert "solve_s" not in run_tables.read(str(run), without=("solve_s",)).episodes


@pytest.fixture
def opened(monkeypatch):
    """The trials' own files that are opened, as they are opened."""
    paths, read_table = [], parquet.read

    def counted(fs, path, row):
        paths.append("/".join(path.split("/")[-2:]))
        return read_table(fs, path, row)

    monkeypatch.setattr(parquet, "read", counted)
    return paths


def test_a_reading_opens_each_file_once_and_the_next_one_only_those_that_are_new(run, opened):
    shutil.rmtree(run / "compact")
    first = run_tables.read(str(run), compacting=True)
    names = [f"toy.lewm.s{seed}.hash/{table}.parquet" for seed in SEEDS for table in rows.FILES]
    assert sorted(opened) == sorted(names)
    opened.clear()
    assert_equal(run_tables.read(str(run)), first)
    assert opened == []
    write(run, 5)
    assert list(run_tables.read(str(run)).trial["seed"]) == [0, 1, 2, 3, 4, 5]
    assert sorted(opened) == [f"toy.lewm.s5.hash/{t}.parquet" for t in sorted(rows.FILES)]


def test_a_run_compacts_its_trials_as_they_end(tmp_path, monkeypatch):
    """The fourth to end is read from its own files, and so is one that is run again."""
    monkeypatch.setattr(run_tables, "WORTH_COMPACTING", 3)
    with launch.TrialsDisplay(str(tmp_path), 4) as display:
        for seed in range(4):
            write(tmp_path, seed)
            display.finish(f"toy.lewm.s{seed}", "ok")
            assert (tmp_path / "compact").exists() == (seed >= 2)
    write(tmp_path, 1, success=False, when=1_000_000_001)
    found = run_tables.read(str(tmp_path))
    assert found.episodes.groupby("key")["success"].mean().tolist() == [1.0, 0.0, 1.0, 1.0]
    mark(tmp_path)
    assert marked(tmp_path) == [0, 2]
    assert_equal(found, own_rows(tmp_path))


def test_tables_that_were_half_written_are_not_used(run, opened, monkeypatch):
    """A process is killed as it replaces them: two of them are new, the others those of before."""
    whole_file = run_tables.compact.whole_file
    write(run, 1, success=False, when=1_000_000_001)
    left = [2]

    def killed(fs, path):
        left[0] -= 1
        if left[0] < 0:
            raise KeyboardInterrupt
        return whole_file(fs, path)

    monkeypatch.setattr(run_tables.compact, "whole_file", killed)
    with pytest.raises(KeyboardInterrupt):
        run_tables.compact_trials(str(run))
    opened.clear()
    found = run_tables.read(str(run))
    assert len(opened) == len(SEEDS) * len(rows.FILES)
    assert found.episodes.groupby("key")["success"].mean().tolist() == [1.0, 0.0, 1.0, 1.0, 1.0]
    assert_equal(found, own_rows(run))


def test_a_store_that_does_not_answer_stops_no_run(tmp_path):
    (tmp_path / "trials").write_text("a file in its place")
    run_tables.compact_trials(str(tmp_path))
    assert not (tmp_path / "compact").exists()
