"""Sweeps: what Optuna is told, what runs again, which pairs are used, the words of a space."""

import contextlib
import dataclasses
import io
import math
import re
import shlex
import signal

import optuna
import pandas as pd
import pytest
import started
import tiny
from optuna.trial import TrialState

from harness import trial
from harness.experiment import config, identity, suites
from harness.records import run_tables
from harness.report import objective
from harness.sweep import search, space
from harness.sweep.__main__ import main

WEIGHT = "method.lewm.sigreg_weight"
BASE = ["task=toy", "method=lewm", "scale=tiny", "device=cpu", "run=r"]
SPACE = [f"space.{WEIGHT}=log:0.001:1.0"]


class Sweeping:
    """One folder of results; `issue` gives the command, `said` is what it wrote to stderr."""

    def __init__(self, results, datasets, *words):
        self.words = [*BASE, f"results={results}", f"datasets={datasets}", *words]
        self.folder, self.said = results / "r", ""

    def issue(self, *words):
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            code = main(tiny.together([*self.words, "backend=loop"], words))
        self.said = said.getvalue()
        return code

    def parsed(self, *words):
        return space.parse([*self.words, *words])

    @property
    def tables(self):
        return run_tables.read(str(self.folder))

    @property
    def suggestions(self):
        storage = f"sqlite:///{self.folder / search.STUDY_FILE}"
        return optuna.load_study(study_name=None, storage=storage).trials

    def tried(self):
        """Swept values in the order of the trials."""
        trials = self.tables.trial.sort_values("started")
        found = self.tables.metrics.query("stage == 'sweep'").set_index("config_hash")["value"]
        return found.loc[trials["config_hash"]].tolist()

    def values(self):
        """What Optuna holds, and what the trials' rows are worth, by the value tried."""
        told = {t.params[WEIGHT]: t.value for t in self.suggestions}
        folders = {f: run_tables.read_one(str(f)) for f in (self.folder / "trials").iterdir()}
        worth = {
            t.metrics.query("stage == 'sweep'")["value"].item(): objective.judge(t).value
            for t in folders.values()
        }
        return told, worth


@pytest.fixture(scope="module")
def swept(datasets, tmp_path_factory):
    """Three trials in a loop."""
    found = Sweeping(tmp_path_factory.mktemp("sweep"), datasets, *SPACE, "trials=3")
    found.code = found.issue("train.steps=60")
    return found


# -- the whole way


def test_values_are_tried_recorded_and_told(swept):
    assert swept.code == 0, swept.said
    trials = swept.tables.trial
    assert len(trials) == 3 and trials["key"].is_unique and set(trials["status"]) == {"ok"}
    assert set(trials["suite"]) == {"sweep"}
    for line in trials.itertuples():
        spec = config.from_yaml(line.config_yaml)
        metrics = swept.tables.metrics.query("config_hash == @line.config_hash")
        row = metrics.query("stage == 'sweep'").iloc[0]
        assert (row["name"], row["index"]) == (WEIGHT, 0)
        assert row["value"] == spec.config.method.sigreg_weight
        assert f"sigreg_weight-{row['value']}".replace(".", "p") in line.key
    told, worth = swept.values()
    assert sorted(told) == pytest.approx(sorted(worth), rel=1e-3)
    assert [told[v] for v in sorted(told)] == [worth[v] for v in sorted(worth)]


def test_only_validation_pairs_are_seen_under_the_named_protocol(swept):
    assert set(swept.tables.episodes["split"]) == {"validation"}
    assert set(swept.tables.trial["protocol"]) == {"smoke"}
    ordinary = identity.protocol_hash(tiny.spec("lewm"))
    assert set(swept.tables.trial["protocol_hash"]).isdisjoint({ordinary})


def test_the_end_names_the_best_value_and_a_command_for_test_pairs(swept):
    lines = {line.partition(":")[0]: line for line in swept.said.splitlines()}
    _, worth = swept.values()
    if max(worth.values()) == 0:
        assert "no best value" in swept.said
        return
    best = float(lines["best"].split(WEIGHT + "=")[1].split(":")[0])
    assert worth[best] == max(worth.values())
    words = shlex.split(lines["on test pairs"].partition("python -m harness.run ")[2])
    specs = suites.expand(config.parse(words), trial.STAGES)
    assert [(s.task, s.method, s.seed) for s in specs] == [("toy", "lewm", s) for s in range(3)]
    assert {s.config.method.sigreg_weight for s in specs} == {best}
    assert {s.config.protocol.split for s in specs} == {"test"}
    assert {s.config.train.steps for s in specs} == {60}


def test_the_figure_is_one_panel_of_values(swept):
    svg = (swept.folder / "figures" / "sweep.svg").read_text()
    texts = re.sub(r"<[^>]+>|\s", "", svg)  # the key stands on two lines
    assert texts.count(WEIGHT) == 1 and "validation pairs" in svg
    table = pd.read_csv(swept.folder / "tables" / "success.csv")
    assert sorted(table["label"]) == sorted(f"LeWM sigreg_weight={v:g}" for v in swept.tried())


def test_a_finished_sweep_runs_nothing_and_reports(swept):
    before = {f: f.stat().st_mtime_ns for f in swept.folder.glob("trials/*/*.parquet")}
    (swept.folder / "index.html").unlink()
    assert swept.issue("train.steps=60") == 0
    assert "0 of 3 trials to run" in swept.said
    assert before == {f: f.stat().st_mtime_ns for f in swept.folder.glob("trials/*/*.parquet")}
    assert (swept.folder / "index.html").exists() and len(swept.suggestions) == 3


def test_another_sweep_needs_another_folder(swept):
    assert swept.issue("train.steps=61") == 1
    assert "give this one another run=NAME" in swept.said
    assert swept.issue("train.steps=60", "dry=true") == 0


def test_ray_tune_runs_the_same_trials(datasets, tmp_path):
    sweeping = Sweeping(tmp_path, datasets, *SPACE, "trials=2", "train.steps=20", "resources.cpu=2")
    words = ["-m", "harness.sweep", *sweeping.words, "backend=ray"]
    code, said = started.run(words, tmp_path / "said", 180)
    assert code == 0, said
    assert set(sweeping.tables.trial["status"]) == {"ok"} and len(sweeping.tables.trial) == 2
    told, worth = sweeping.values()
    assert [told[v] for v in sorted(told)] == [worth[v] for v in sorted(worth)]
    assert {t.state for t in sweeping.suggestions} == {TrialState.COMPLETE}
    assert sweeping.issue() == 0 and "0 of 2 trials to run" in sweeping.said


# -- again


def test_what_was_running_when_killed_is_tried_again(datasets, tmp_path):
    sweeping = Sweeping(tmp_path, datasets, *SPACE, "trials=2", "train.steps=2")
    sweep = sweeping.parsed()
    sweeping.folder.mkdir()
    killed = search.open_study(sweep).ask(sweep.space).params[WEIGHT]
    assert sweeping.issue() == 0, sweeping.said
    states = [(t.state, t.params[WEIGHT] == killed) for t in sweeping.suggestions]
    complete = TrialState.COMPLETE
    assert states == [(TrialState.FAIL, True), (complete, True), (complete, False)]
    assert sweeping.tried()[0] == pytest.approx(killed, rel=1e-3)


def test_ctrl_c_is_an_interruption_and_the_same_command_goes_on(datasets, tmp_path, monkeypatch):
    sweeping = Sweeping(tmp_path, datasets, *SPACE, "trials=1", "train.steps=2")
    with monkeypatch.context() as patch:
        patch.setattr(trial, "run", lambda *_: signal.raise_signal(signal.SIGINT))
        assert sweeping.issue() == 130
    assert sweeping.said.endswith("interrupted; the same command goes on from here\n")
    assert sweeping.issue() == 0, sweeping.said
    assert [t.state for t in sweeping.suggestions] == [TrialState.FAIL, TrialState.COMPLETE]


def test_an_equal_suggestion_is_not_run_twice(datasets, tmp_path):
    sweeping = Sweeping(tmp_path, datasets, "space.train.steps=choice:2,3", "trials=4")
    assert sweeping.issue() == 0, sweeping.said
    assert len(sweeping.suggestions) == 4
    trials = sweeping.tables.trial
    assert len(trials) <= 2 and set(trials["attempts"]) == {1}


def test_a_trial_that_diverges_counts_as_worst_and_is_retried_by_the_next_call(datasets, tmp_path):
    words = ["space.train.lr=choice:1e30,1e31", "trials=1", "train.steps=6"]
    sweeping = Sweeping(tmp_path, datasets, *words)
    for attempt in (1, 2):
        assert sweeping.issue() == 1
        assert "is not finite" in sweeping.said and "1 of 1 trials failed" in sweeping.said
        assert [t.value for t in sweeping.suggestions] == [objective.WORST] * attempt
        assert sweeping.tables.trial["attempts"].tolist() == [attempt]


# -- what a trial is worth


def tables(success=(True, False), latent_std=1.0, status="ok", sample="pairs"):
    return run_tables.Tables(
        pd.DataFrame({"status": [status], "device_shared": False}),
        pd.DataFrame({"success": list(success), "sample": sample}, columns=["success", "sample"]),
        pd.DataFrame([{"key": "k", "stage": "latents", "name": "latent_std", "value": latent_std}]),
    )


@pytest.mark.parametrize(
    ("judged", "value", "reason"),
    [
        (tables(), 0.5, ""),
        (tables(latent_std=0.9 * objective.COLLAPSED_STD), 0.0, "collapsed"),
        (tables(latent_std=math.nan), 0.0, "collapsed"),
        (tables(status="error"), 0.0, "failed"),
        (tables(success=()), 0.0, "no pairs"),
        (tables(sample="stratum"), 0.0, "no pairs"),
        (None, 0.0, "failed"),
    ],
)
def test_a_value_is_never_nan(judged, value, reason):
    found = objective.judge(judged)
    assert (found.value, found.reason) == (value, reason)


def test_what_is_swept_is_no_part_of_a_trial_s_identity():
    spec = tiny.spec("lewm")
    marked = dataclasses.replace(spec, swept=(WEIGHT,))
    assert identity.config_hash(marked) == identity.config_hash(spec)
    assert config.from_yaml(config.to_yaml(marked)) == marked


def test_a_word_is_recorded_as_a_word(datasets, tmp_path):
    sweep = Sweeping(tmp_path, datasets, "space.train.precision=choice:fp32,bf16").parsed()
    spec = sweep.spec({"train.precision": "bf16"})
    folder = sweep.folders.trial(spec)
    trial.record_failure(spec, sweep.folders, "not run")
    (row,) = run_tables.read_one(folder).metrics.itertuples()
    assert (row.name, row.unit) == ("train.precision", "bf16") and math.isnan(row.value)


def test_a_list_is_recorded_as_a_word(datasets, tmp_path):
    key = "method.lewm.encoder.channels"
    sweep = Sweeping(tmp_path, datasets, f"space.{key}=choice:[8],[16]").parsed()
    spec = sweep.spec({key: "[16]"})
    trial.record_failure(spec, sweep.folders, "not run")
    (row,) = run_tables.read_one(sweep.folders.trial(spec)).metrics.itertuples()
    assert (row.name, row.unit) == (key, "(16,)") and math.isnan(row.value)


# -- words


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "nothing to vary"),
        ([f"space.{WEIGHT}=log:0:1"], "log:LOW:HIGH with 0 < LOW < HIGH"),
        ([f"space.{WEIGHT}=lin:0:1"], "uniform:LOW:HIGH"),
        ([f"space.{WEIGHT}=uniform:1:0"], "LOW < HIGH"),
        ([f"space.{WEIGHT}=uniform:0:inf"], "LOW < HIGH"),
        ([f"space.{WEIGHT}=uniform:0:1:2"], "uniform:LOW:HIGH"),
        (["space.train.steps=int:1:2.5"], "int:LOW:HIGH"),
        (["space.train.steps=uniform:1:9"], "train.steps=1.0 must be a whole number"),
        (["space.train.steps=int:-9:9"], "train.steps=-9 must be at least 0"),
        (["space.train.precision=choice:fp32"], "two or more"),
        (["space.train.precision=choice:fp32,fp99"], "fp99"),
        (["space.method.lewm.sigreg_wieght=log:0.1:1"], f'Did you mean "{WEIGHT}"'),
        (["space.method.pldm.dropout=uniform:0:1"], 'unknown key "method.pldm.dropout"'),
        (["space.protocol.pairs=int:4:8"], 'unknown key "protocol.pairs"'),
        (["space.resources.cpu=int:1:2"], 'unknown key "resources.cpu"'),
        ([f"space.{WEIGHT}=uniform:-1:1"], f"{WEIGHT}=-1.0 must be at least 0"),
        ([*SPACE, "seed=1.5"], "seed=1.5: give a whole number"),
        ([*SPACE, "protocol.split=test"], "validation pairs only"),
        ([*SPACE, f"for.toy.{WEIGHT}=0.1"], "leave one of them out"),
        ([*SPACE, f"{WEIGHT}=0.3"], f"{WEIGHT}=0.3: {WEIGHT} is swept"),
        ([*SPACE, "trials=0"], "at least 1"),
        ([*SPACE, "trails=3"], 'Did you mean "trials"'),
        ([*SPACE, "tasks=toy"], 'Did you mean "task"'),
        ([*SPACE, "task=tyo"], 'Did you mean "toy"'),
        ([*SPACE, "results=s3://bucket/x"], "folder on this machine"),
    ],
)
def test_wrong_words_say_what_is_right(words, said, tmp_path):
    sweeping = Sweeping(tmp_path, tmp_path)
    assert sweeping.issue(*words) == 2
    assert said in sweeping.said
    assert not sweeping.folder.exists()


def test_a_planner_s_key_marks_the_protocol_as_modified(tmp_path):
    sweep = Sweeping(tmp_path, tmp_path, "space.planner.cem.iterations=int:1:3").parsed()
    assert sweep.example.config.protocol.name == "smoke modified"
    assert sweep.example.variant == "iterations-1"
