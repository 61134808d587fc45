"""One trial by itself: what its row says, and the command that runs it from a file."""

import dataclasses
import logging
from pathlib import Path

import pytest
import repositories
import tiny

from harness import trial, zoo
from harness.evaluate import pairs
from harness.experiment import config, identity
from harness.experiment.run_folders import RunFolders
from harness.records import metric_names, rows, run_tables
from harness.runtime import provenance
from harness.trial_context import Result

SMALL = ["data.episodes=24", "protocol.pairs=4"]


@pytest.fixture
def folders(tmp_path, datasets):
    return RunFolders(str(tmp_path / "r"), "r", "smoke", str(datasets))


def only_row(results):
    (folder,) = (results / "trials").iterdir()
    return rows.read_trial(str(folder))


def test_a_row_has_the_commit_that_the_trial_began_with(folders, tmp_path, monkeypatch):
    first = repositories.checkout(tmp_path)
    monkeypatch.setattr(provenance, "_ROOT", tmp_path)
    provenance.git.cache_clear()
    row = trial.run(
        tiny.spec("noop", *SMALL), folders, lambda *_: repositories.commit(tmp_path, "later")
    )
    provenance.git.cache_clear()
    assert row.git_commit == first and row.status == "ok"


def test_a_clock_that_is_turned_back_changes_no_duration(folders, monkeypatch):
    now = [1e9]

    def turned_back():
        now[0] -= 3600.0
        return now[0]

    monkeypatch.setattr(trial.time, "time", turned_back)
    row = trial.run(tiny.spec("noop", *SMALL), folders, tiny.quiet)
    assert row.status == "ok" and 0 < row.total_s < 600
    assert row.ended == row.started + row.total_s


def test_half_files_of_a_killed_process_go_with_the_next_attempt(folders):
    spec = tiny.spec("noop", *SMALL)
    left = [Path(folders.trial(spec), "metrics.parquet.0123abcd.part")]
    left.append(Path(folders.checkpoint(spec), "weights.safetensors.0123abcd.part"))
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert trial.run(spec, folders, tiny.quiet).status == "ok"
    assert not any(path.exists() for path in left)


def test_a_training_of_several_threads_is_another_configuration():
    one, two = (
        tiny.spec("lewm", f"train.threads={threads}", "resources.cpu=2") for threads in (1, 2)
    )
    assert identity.config_hash(one) == identity.config_hash(tiny.spec("lewm"))
    assert identity.config_hash(one) != identity.config_hash(two)
    with pytest.raises(config.ConfigError, match=r"give resources\.cpu=2 too"):
        tiny.spec("lewm", "train.threads=2")
    with pytest.raises(config.ConfigError, match=r"train\.threads=0 must be at least 1"):
        tiny.spec("lewm", "train.threads=0")


def test_the_command_runs_a_spec_file(folders, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    row = trial.run(tiny.spec("replay", *SMALL), folders, lambda *_: None)
    (tmp_path / "spec.yaml").write_text(row.config_yaml)
    words = [f"results={tmp_path}/alone", f"datasets={folders.datasets}"]
    assert trial.main([str(tmp_path / "spec.yaml"), *words]) == 0
    alone = only_row(tmp_path / "alone")
    assert (alone.config_hash, alone.status) == (row.config_hash, "ok")


def test_families_of_the_pairs_episodes_are_recorded_where_there_are_some(folders, datasets):
    spec = tiny.spec("noop", *SMALL, task="push_t")
    assert trial.run(spec, folders, lambda *_: None).status == "ok"
    tables = run_tables.read_one(folders.trial(spec))
    families = tiny.dataset(spec, datasets).manifest.families
    found = tables.metrics[tables.metrics["stage"] == "pairs"]
    assert set(found["index"]) == set(tables.episodes["source_episode"])
    assert found["value"].tolist() == [families[i] for i in found["index"]]
    assert pairs.family_rows("k", tiny.dataset(tiny.spec("noop", *SMALL), datasets), []) == []


def test_a_stage_is_one_function_and_one_entry(folders, monkeypatch):
    """A stage from outside is part of every suite, and its rows are recorded under its name."""

    def count(context):
        return Result([rows.MetricRow(context.key, "count", "episodes", 0, 24.0, "episodes")])

    monkeypatch.setitem(trial.STAGES, "count", trial.Stage(count, of_controls=True))
    spec = tiny.spec("noop", *SMALL)
    assert spec.stages[-1] == "count"
    assert trial.run(spec, folders, tiny.quiet).status == "ok"
    metrics = run_tables.read_one(folders.trial(spec)).metrics
    assert metrics["name"][metrics["stage"] == "count"].tolist() == ["episodes"]


def test_a_stage_that_is_not_named_is_not_run(folders):
    spec = dataclasses.replace(tiny.spec("lewm", *SMALL), stages=("train",))
    row = trial.run(spec, folders, tiny.quiet)
    tables = run_tables.read_one(folders.trial(spec))
    assert row.status == "ok" and row.train_steps and not len(tables.episodes)
    assert not {"probing", "plan_time"} & set(tables.metrics["stage"])


@pytest.mark.parametrize(
    ("stages", "said"),
    [(("train", "contrl"), 'unknown stage "contrl"'), (("control",), "lacks the stage train")],
)
def test_stages_that_make_no_trial_are_an_error(folders, stages, said):
    spec = dataclasses.replace(tiny.spec("lewm", *SMALL), stages=stages)
    assert said in trial.run(spec, folders, tiny.quiet).error


def test_a_row_says_how_the_report_shows_the_trial(folders, monkeypatch):
    """Labels and ranks of a method from outside, without another list."""
    mine = dataclasses.replace(zoo.METHODS["noop"], label="Mine", role="ceiling")
    monkeypatch.setitem(zoo.METHODS, "mine", mine)
    row = trial.run(tiny.spec("mine", *SMALL), folders, tiny.quiet)
    assert (row.method_label, row.task_label, row.is_control) == ("Mine", "Toy", True)
    assert row.role == "ceiling"
    assert (row.method_rank, row.task_rank) == (len(zoo.METHODS) - 1, len(zoo.TASKS) - 1)


def test_a_method_declares_what_a_trial_asks_of_it():
    with pytest.raises(TypeError, match=r"must derive from .*MethodConfig"):
        dataclasses.replace(zoo.METHODS["noop"], config=dict)


def test_the_command_says_what_lacks_before_it_collects_data(tmp_path):
    spec = tiny.spec("dino_wm", f"method.dino_wm.weights={tmp_path}/absent")
    (tmp_path / "spec.yaml").write_text(config.to_yaml(spec))
    words = [f"results={tmp_path}/r", f"datasets={tmp_path}/datasets"]
    assert trial.main([str(tmp_path / "spec.yaml"), *words]) == 1
    said = f"TrialError: method.dino_wm.weights={tmp_path}/absent is neither"
    assert only_row(tmp_path / "r").error.startswith(said)
    assert not (tmp_path / "datasets").exists()


@pytest.mark.parametrize("text", ["task: [", "task: toy\n", None])
def test_a_spec_file_that_is_none(tmp_path, text, capsys):
    if text is not None:
        (tmp_path / "spec.yaml").write_text(text)
    assert trial.main([str(tmp_path / "spec.yaml"), f"results={tmp_path}/alone"]) == 2
    for words in ([], ["resluts=x", "spec.yaml"], ["spec.yaml", "results="]):
        assert trial.main(words) == 2
    assert "SPEC.yaml [results=FOLDER] [datasets=FOLDER]" in capsys.readouterr().err
    assert not (tmp_path / "alone").exists()


@pytest.mark.parametrize(
    ("method", "stages"),
    [
        ("lewm", ["train", "probing", "open_loop", "geometry", "control", "plan_time"]),
        ("dino_wm", ["train", "probing", "open_loop", "geometry", "control", "plan_time"]),
        ("gcbc", ["train", "probing", "control", "plan_time"]),  # it predicts nothing
        (
            "true_state",
            ["train", "open_loop", "control", "plan_time"],
        ),  # its encoder learns nothing
        ("random", ["control"]),
    ],
)
def test_which_stages_a_method_has(method, stages):
    ours = [*stages, "probing", "open_loop", "geometry"]
    applying = [name for name, stage in trial.STAGES.items() if stage.applies(zoo.METHODS[method])]
    assert [name for name in applying if name in ours] == stages


@pytest.mark.parametrize("method", ["lewm", "true_state"])
def test_stages_that_look_inside_leave_rows(method, folders):
    spec = tiny.spec(method, *SMALL)
    spec = dataclasses.replace(spec, stages=("train", "probing", "open_loop", "geometry"))
    row = trial.run(spec, folders, tiny.quiet)
    assert row.status == "ok", row.error
    found = set(run_tables.read_one(folders.trial(spec)).metrics["stage"])
    assert {"open_loop"} <= found
    assert ({"probing", "geometry", metric_names.MAP} <= found) == (method == "lewm")
