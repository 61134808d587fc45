"""The pictures beside the tables: they are read back, and nothing depends on them."""

import logging
from pathlib import Path

import pytest

from harness import config, rows

REFERENCES = Path(__file__).parent.parent / "results" / "reference"
FRAMES = [
    rows.FrameRow("toy.lewm.s0", 3, "all", "start", 0, False, b"\x89PNG\x00one"),
    rows.FrameRow("toy.lewm.s0", 3, "all", "goal", 25, True, b"\x89PNG\xfftwo"),
]


def trial(**fields):
    words = ("toy", "lewm", "", 0, "tiny", "smoke", "p")
    return rows.TrialRow("toy.lewm.s0", "r", "smoke", *words, "hash", "setting", "", "ok", **fields)


@pytest.fixture
def written(tmp_path):
    """A run's folder and the one trial in it."""
    folder = tmp_path / "trials" / "toy.lewm.s0"
    rows.write(str(folder), trial(), [], [], FRAMES)
    return tmp_path, folder


def test_pictures_are_read_as_they_were_written(written):
    run, _ = written
    found = rows.frames(str(run))
    assert found.pop("config_hash").tolist() == ["hash", "hash"]
    assert [rows.FrameRow(*line) for line in found.itertuples(index=False)] == FRAMES


def test_a_trial_written_again_without_pictures_has_none(written):
    run, folder = written
    rows.write(str(folder), trial(), [], [])
    assert rows.frames(str(run)).empty


@pytest.mark.parametrize("content", [None, b"PAR1"])
def test_a_trial_is_done_and_read_without_its_pictures(written, content, caplog):
    run, folder = written
    (folder / "frames.parquet").unlink()
    if content is not None:
        (folder / "frames.parquet").write_bytes(content)
    assert rows.is_done(str(folder), "hash") and len(rows.read(str(run)).trial) == 1
    with caplog.at_level(logging.WARNING):
        assert rows.frames(str(run)).empty
    assert ("toy.lewm.s0 are left out" in caplog.text) == (content is not None)


def test_pictures_of_a_trial_that_is_not_finished_are_not_read(written):
    run, folder = written
    (folder / "trial.parquet").unlink()
    assert rows.frames(str(run)).empty


RUNS = sorted(trials.parent for trials in REFERENCES.glob("*/trials"))


@pytest.mark.parametrize("folder", RUNS, ids=lambda folder: folder.name)
def test_reference_runs_can_be_read_and_are_done(folder):
    table = rows.read(str(folder)).trial
    assert len(table) == len(list((folder / "trials").iterdir()))
    for trial_folder in (folder / "trials").iterdir():
        assert rows.is_done(str(trial_folder), rows.read_trial(str(trial_folder)).config_hash)


@pytest.mark.parametrize("folder", RUNS, ids=lambda folder: folder.name)
def test_reference_trials_count_as_done_under_the_code_as_it_is(folder):
    """A change that alters outcomes is another version, and these run again; others alter none."""
    for trial_folder in (folder / "trials").iterdir():
        row = rows.read_trial(str(trial_folder))
        assert config.config_hash(config.from_yaml(row.config_yaml)) == row.config_hash, row.key
