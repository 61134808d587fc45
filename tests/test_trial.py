"""One trial by itself: what its row says, and the command that runs it from a file."""

import logging
import subprocess

import pytest
import tiny

from harness import config, provenance, rows, trial

SMALL = ["data.episodes=24", "protocol.pairs=4"]


@pytest.fixture
def place(tmp_path, datasets):
    return trial.Place(str(tmp_path / "r"), "r", "smoke", str(datasets))


def only_row(results):
    (folder,) = (results / "trials").iterdir()
    return rows.read_trial(str(folder))


def commit(folder, message):
    """Make an empty commit; its hash."""
    git = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", message], check=True)
    done = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_a_row_has_the_commit_that_the_trial_began_with(place, tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    first = commit(tmp_path, "first")
    monkeypatch.setattr(provenance, "_ROOT", tmp_path)
    provenance.git.cache_clear()
    row = trial.run(tiny.spec("noop", *SMALL), place, lambda *_: commit(tmp_path, "later"))
    provenance.git.cache_clear()
    assert row.git_commit == first and row.status == "ok"


def test_the_command_runs_a_spec_file(place, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    row = trial.run(tiny.spec("replay", *SMALL), place, lambda *_: None)
    (tmp_path / "spec.yaml").write_text(row.config_yaml)
    words = [f"results={tmp_path}/alone", f"datasets={place.datasets}"]
    assert trial.main([str(tmp_path / "spec.yaml"), *words]) == 0
    alone = only_row(tmp_path / "alone")
    assert (alone.config_hash, alone.status) == (row.config_hash, "ok")


def test_families_of_the_pairs_episodes_are_recorded_where_there_are_some(place, datasets):
    spec = tiny.spec("noop", *SMALL, task="push_t")
    assert trial.run(spec, place, lambda *_: None).status == "ok"
    tables = rows.read_one(trial.folder(place, spec))
    families = tiny.dataset(spec, datasets).manifest.families
    found = tables.metrics[tables.metrics["stage"] == "pairs"]
    assert set(found["index"]) == set(tables.episodes["source_episode"])
    assert found["value"].tolist() == [families[i] for i in found["index"]]
    assert trial._families("k", tiny.dataset(tiny.spec("noop", *SMALL), datasets), []) == []


def test_the_command_says_what_lacks_before_it_collects_data(tmp_path):
    spec = tiny.spec("dino_wm", f"method.dino_wm.weights={tmp_path}/absent")
    (tmp_path / "spec.yaml").write_text(config.to_yaml(spec))
    words = [f"results={tmp_path}/r", f"datasets={tmp_path}/datasets"]
    assert trial.main([str(tmp_path / "spec.yaml"), *words]) == 1
    said = f"TrialError: method.dino_wm.weights={tmp_path}/absent is neither"
    assert only_row(tmp_path / "r").error.startswith(said)
    assert not (tmp_path / "datasets").exists()


@pytest.mark.parametrize("text", ["task: [", "task: toy\n", None])
def test_a_spec_file_that_is_none(tmp_path, text, caplog):
    if text is not None:
        (tmp_path / "spec.yaml").write_text(text)
    assert trial.main([str(tmp_path / "spec.yaml"), f"results={tmp_path}/alone"]) == 2
    assert trial.main([]) == 2 and "usage: python -m harness.trial" in caplog.text
    assert not (tmp_path / "alone").exists()
