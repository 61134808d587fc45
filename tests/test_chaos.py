"""A short form of `python -m tests.chaos`, and that its checks find every kind of loss."""

import dataclasses
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import started
import tiny
from chaos import check

from harness import report, trial
from harness.experiment.run_folders import RunFolders
from harness.records import rows

SMALL = ["data.episodes=24", "protocol.pairs=4", "train.steps=2", "stages=[train,control]"]


def chaos(tmp_path, *words):
    """The words of the command, which ends with 0."""
    said = tmp_path / "said"
    words = ["-m", "tests.chaos", f"results={tmp_path / 'chaos'}", *words]
    code, text = started.run(words, said, 3600)
    assert code == 0, text
    return text


def test_a_run_that_is_killed_loses_nothing(tmp_path):
    said = chaos(tmp_path, "kinds=run", "cases=1", "kills=5")
    assert "| the driver, at a " in said and "; 0 faults." in said
    record = (tmp_path / "chaos" / "cases.jsonl").read_text()
    again = chaos(tmp_path, "kinds=run", "cases=1", "kills=5")  # it is done already
    assert "undisturbed" not in again
    assert (tmp_path / "chaos" / "cases.jsonl").read_text() == record


@pytest.mark.slow
def test_nothing_that_happens_to_a_command_loses_anything(tmp_path):
    assert "; 0 faults." in chaos(tmp_path, "cases=24", "seed=7")


def test_words_that_are_not_understood_are_said(tmp_path):
    code, said = started.run(["-m", "tests.chaos", "kinds=rum"], tmp_path / "said", 120)
    assert code == 2 and 'Did you mean "run"?' in said


# -- the checks find what they are for


@pytest.fixture(scope="module")
def reference(tmp_path_factory, datasets):
    """A run of two trials with its report."""
    results = tmp_path_factory.mktemp("results")
    folders = RunFolders(str(results / "r"), "r", "smoke", str(datasets))
    for method in ("gcbc", "noop"):
        row = trial.run(tiny.spec(method, *SMALL), folders, tiny.quiet)
        assert row.status == "ok", row.error
    report.write(folders.folder)
    return results / "r"


@pytest.fixture
def run(reference, tmp_path):
    shutil.copytree(reference, tmp_path / "r")
    return tmp_path / "r"


def folder(run, method="gcbc"):
    (found,) = run.glob(f"trials/toy.{method}.s0.*")
    return found


def rewrite(run, table, change, method="gcbc"):
    """Put what `change` makes of a table's lines in its place."""
    path = folder(run, method) / f"{table}.parquet"
    read = pq.read_table(path)
    pq.write_table(pa.Table.from_pylist(change(read.to_pylist()), read.schema), path)


def edited(column, value):
    return lambda lines: [{**lines[0], column: value(lines[0][column])}, *lines[1:]]


def again(run):
    """The trial is run again: equal but for its times."""
    written = rows.read_back(str(folder(run)))
    row = dataclasses.replace(written.trial, started=1.0, ended=2.0, attempts=2, digests="")
    rows.write(str(folder(run)), row, written.episodes, written.metrics, written.frames)


PLANTED = {
    "lost: toy.noop": lambda run: shutil.rmtree(folder(run, "noop")),
    "lost: toy.gcbc": lambda run: (folder(run) / "trial.parquet").unlink(),
    "doubled: toy.gcbc.s0.other was not planned": lambda run: shutil.copytree(
        folder(run), run / "trials" / "toy.gcbc.s0.other"
    ),
    "doubled: {gcbc} episodes: 5 of 4": lambda run: rewrite(
        run, "episodes", lambda lines: [*lines, lines[0]]
    ),
    "doubled: {gcbc} has an episode twice": lambda run: rewrite(
        run, "episodes", lambda lines: [lines[0], *lines[:-1]]
    ),
    "lost: {gcbc} episodes: 3 of 4": lambda run: rewrite(run, "episodes", lambda lines: lines[:-1]),
    "lost: {gcbc} is not in the tables of the run": lambda run: rewrite(
        run, "trial", lambda lines: lines * 2
    ),
    "not equal: {gcbc} episodes": lambda run: rewrite(
        run, "episodes", edited("success", lambda value: not value)
    ),
    "not equal: {gcbc} metrics": lambda run: rewrite(
        run, "metrics", lambda lines: [line | {"value": line["value"] + 1e-9} for line in lines]
    ),
    "half written: {gcbc}: the digests of episodes": lambda run: rewrite(
        run, "episodes", edited("env_s", lambda value: value + 1)
    ),
    "half written: {gcbc} cannot be read": lambda run: (
        folder(run) / "episodes.parquet"
    ).write_bytes(b"PAR1"),
    "run again: {gcbc} was finished": again,
    "run again: {gcbc} has 2 attempts": again,
    "not finished: {gcbc} error": lambda run: rows.end_otherwise(str(folder(run)), "error", "x"),
    "impossible: {gcbc} took -1": lambda run: rewrite(
        run, "trial", edited("total_s", lambda value: -1.0)
    ),
    "not equal: {gcbc} has other weights": lambda run: (
        folder(run) / "checkpoint" / "weights.safetensors"
    ).write_bytes(b"x"),
    "left over: trials/{gcbc}/trial.parquet.0123abcd.part": lambda run: (
        folder(run) / "trial.parquet.0123abcd.part"
    ).touch(),
    "left over: trials/{gcbc}/running.json": lambda run: (folder(run) / "running.json").touch(),
    "half written: index.html": lambda run: (run / "index.html").write_text("<html>"),
    "not equal: tables/success.csv": lambda run: (run / "tables" / "success.csv").write_text(""),
    "not equal: files of tables": lambda run: (run / "tables" / "more.csv").write_text(""),
}


@pytest.mark.parametrize(("said", "plant"), PLANTED.items(), ids=list(PLANTED))
def test_a_planted_fault_is_found(said, plant, run, reference):
    before = [check.snapshot(run)]
    assert check.of_run(run, reference, before, is_once=True) == []
    said = said.format(gcbc=folder(run).name)
    plant(run)
    found = check.of_run(run, reference, before, is_once=True)
    assert any(fault.startswith(said) for fault in found), found


def test_half_a_row_on_the_way_is_found(run, reference):
    cut = check.snapshot(run)
    cut[folder(run).name]["trial.parquet"] = b"PAR1"
    (fault,) = check.of_run(run, reference, [cut], is_once=True)
    assert fault.startswith(f"half written: trial.parquet of {folder(run).name}")


def test_traces_of_the_interpreter_are_found():
    assert check.of_output("collecting\ninterrupted; the same command goes on from here\n") == []
    said = "a\nTraceback (most recent call last):\n  File\nKeyboardInterrupt\n"
    assert check.of_output(said) == ["a traceback: KeyboardInterrupt"]
