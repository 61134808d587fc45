"""Stages that are added to a finished trial: what they find joins its rows, nothing is trained."""

import dataclasses

import pytest
import safetensors.torch
import tiny

from harness import launch, trial
from harness.evaluate import decoder
from harness.experiment import config, identity, suites
from harness.experiment.run_folders import RunFolders
from harness.records import rows
from harness.training import loop

WORDS = ["train.steps=6", "data.episodes=24", "protocol.pairs=4", "plan_time.singles=0"]


def spec(stages, *words, method="lewm"):
    return tiny.spec(method, f"stages=[{stages}]", *WORDS, *words)


def run(wanted, folders):
    return trial.run(wanted, folders, tiny.quiet)


@pytest.fixture
def folders(tmp_path, datasets):
    return RunFolders(str(tmp_path), "r", "smoke", str(datasets))


@pytest.fixture
def finished(folders):
    """A trial with a training and its evaluation."""
    assert run(spec("train,control"), folders).status == "ok"
    return rows.read_back(folders.trial(spec("train,control")))


def test_stages_decide_neither_hash_nor_folder(folders):
    plain, more = spec("train,control"), spec("control,surprise,train", "decoder.steps=7")
    assert identity.config_hash(plain) == identity.config_hash(more)
    assert more.stages == ("train", "surprise", "control")  # in the order in which they run
    assert identity.stage_names(more) == more.stages


def test_a_stage_is_added_and_nothing_is_trained(folders, finished, monkeypatch):
    monkeypatch.setattr(loop, "train", lambda *a: pytest.fail("it trained"))
    added = spec("open_loop,geometry")
    assert launch.missing([added], folders) == [added]
    row = run(added, folders)
    assert row.status == "ok" and not row.error and launch.missing([added], folders) == []
    assert row.stages == "train control open_loop geometry"
    assert row.train_s == finished.trial.train_s > 0
    assert row.checkpoint_hash == finished.trial.checkpoint_hash
    now = rows.read_back(folders.trial(added))
    assert now.episodes == finished.episodes and now.frames == finished.frames
    stages = {m.stage for m in now.metrics} - {m.stage for m in finished.metrics}
    assert {"open_loop", "geometry"} <= stages
    assert [m for m in now.metrics if m.stage not in stages] == finished.metrics
    assert launch.missing([spec("train,control")], folders) == []


def test_settings_of_a_stage_decide_that_stage_alone(folders, finished):
    words = ["decoder.steps=2", "decoder.patch=8"]
    first = spec("decoder", *words)
    assert run(first, folders).status == "ok"
    assert launch.missing([first, spec("train,control", *words)], folders) == []
    other = spec("decoder", "decoder.steps=3", "decoder.patch=8")
    assert launch.missing([other], folders) == [other]
    assert run(other, folders).status == "ok"
    names = [(m.stage, m.name, m.index) for m in rows.read_back(folders.trial(other)).metrics]
    assert len(set(names)) == len(names)  # the later rows replaced the earlier ones


def test_a_stage_that_fails_leaves_what_was_finished(folders, finished, monkeypatch):
    def fail(*arguments):
        raise ValueError("no pictures today")

    monkeypatch.setattr(decoder, "measure", fail)
    added = spec("decoder", "decoder.patch=8")
    row = run(added, folders)
    assert row.status == "ok" and row.error == "ValueError: no pictures today"
    assert launch.missing([added], folders) == [added]
    assert launch.outcome(added, folders) == "error: ValueError: no pictures today"
    now = rows.read_back(folders.trial(added))
    assert now.metrics == finished.metrics and now.episodes == finished.episodes
    assert launch.missing([spec("train,control")], folders) == []
    monkeypatch.undo()
    assert not run(added, folders).error


def test_weights_that_are_gone_are_named(folders, finished, tmp_path):
    for path in tmp_path.glob("trials/*/checkpoint/weights.safetensors"):
        path.unlink()
    assert "has no weights any more" in run(spec("geometry"), folders).error


def test_other_weights_than_the_rows_are_refused(folders, finished, tmp_path):
    """Weights of the same network that were swapped in, under the right configuration."""
    (path,) = tmp_path.glob("trials/*/checkpoint/weights.safetensors")
    tensors = safetensors.torch.load_file(path)
    with safetensors.safe_open(path, "pt") as known:
        metadata = known.metadata()
    safetensors.torch.save_file({n: 2 * t for n, t in tensors.items()}, path, metadata)
    assert "has other weights than its row says" in run(spec("geometry"), folders).error


def test_without_a_training_one_is_asked_for(folders):
    row = run(spec("geometry"), folders)
    assert row.status == "error" and "lacks the stage train" in row.error


def test_an_older_row_has_the_stages_of_its_configuration(finished):
    older = dataclasses.replace(finished.trial, stages="")
    assert rows.stages_of(older) == ["train", "control"]


def test_a_stage_that_is_not_known_is_refused():
    with pytest.raises(config.ConfigError, match='unknown stage "surprize"'):
        suites.expand(config.parse(["suite=smoke", "stages=surprize"]), trial.STAGES)
