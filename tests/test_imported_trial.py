"""A trial on other people's data: its row has the data's hash, its keys decide its own."""

import dataclasses

import foreign
import pytest
import tiny

from harness import trial
from harness.data import collect
from harness.data.episodes import open_dataset
from harness.experiment import config, identity, suites
from harness.experiment.run_folders import RunFolders
from harness.runtime import command

SMALL = ["data.image_size=32", "protocol.pairs=4", "train.steps=4"]


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Push-T in HDF5: 24 episodes of 60 steps with a missing last action."""
    root = tmp_path_factory.mktemp("own")
    ours = foreign.recorded("push_t", root, episodes=24, steps=60, size=32)
    found = foreign.all_columns("push_t", ours, True)
    return foreign.hdf5(root / "pusht.h5", found, **foreign.blosc())


@pytest.mark.parametrize("method", ["lewm", "gcbc", "replay"])
def test_a_trial_runs_on_an_imported_file(tmp_path, file, method):
    words = [*SMALL, f"data.source={file}", "data.normalizer=file"]
    spec = tiny.spec(method, *words, task="push_t")
    folders = RunFolders(str(tmp_path / "r"), "r", "smoke", str(tmp_path / "data"))
    row = trial.run(spec, folders, tiny.quiet)
    assert row.status == "ok", row.error
    (folder,) = (tmp_path / "data").glob("push_t-*")
    dataset = open_dataset(str(folder))
    assert row.dataset_hash == dataset.hash and not dataset.acted.all()


def test_a_source_that_is_missing_is_the_rows_error(tmp_path):
    spec = tiny.spec("noop", *SMALL, f"data.source={tmp_path}/no.h5", task="push_t")
    folders = RunFolders(str(tmp_path / "r"), "r", "smoke", str(tmp_path / "data"))
    row = trial.run(spec, folders, tiny.quiet)
    assert row.status == "error" and "no.h5 does not exist" in row.error


def test_source_and_normaliser_are_part_of_the_hash_and_older_trials_keep_theirs():
    plain = tiny.spec("lewm")
    hashes = {identity.config_hash(plain)}
    for word in ("data.source=/a.h5", "data.source=/b.h5", "data.normalizer=file"):
        hashes.add(identity.config_hash(tiny.spec("lewm", word)))
    assert len(hashes) == 4
    tree = identity._outcome(plain)["config"]["data"]
    assert "source" not in tree and "normalizer" not in tree
    own = dataclasses.asdict(collect.DataConfig())
    assert (own["source"], own["normalizer"]) == ("own", "train")


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("own", "own"),
        ("hf:quentinll/lewm-pusht@22b330c2", "hf:quentinll/lewm-pusht@22b330c2"),
        ("s3://bucket/a.lance", "s3://bucket/a.lance"),
        ("/data/a.h5", "/data/a.h5"),
        ("a.h5", "{here}/a.h5"),
        ("~/a.h5", "{home}/a.h5"),
    ],
)
def test_a_source_is_the_same_file_wherever_the_trial_runs(tmp_path, monkeypatch, word, value):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    expected = value.format(here=tmp_path, home="/home/someone")
    for key in ("data.source", "for.push_t.data.source"):
        assert command.split(f"{key}={word}") == (key, expected)
    words = ["suite=smoke", "scale=tiny", "methods=noop", "tasks=push_t,two_room"]
    words += [f"for.push_t.data.source={word}"]
    specs = suites.expand(config.parse(words), ("control",))
    assert [spec.config.data.source for spec in specs] == [
        expected if spec.task == "push_t" else "own" for spec in specs
    ]
