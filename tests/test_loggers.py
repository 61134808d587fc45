"""log=tensorboard, log=wandb and log=mlflow, each offline, from rows to what the tool has of them.
A test is skipped where its tool is not installed.
"""

from __future__ import annotations

import json
import logging
import math
from pathlib import Path

import numpy as np
import pytest
from report.synthetic_run import SyntheticRun, outcome

from harness import loggers, report, run
from harness.runtime import command

CURVE = [(0, 4.0), (50, 2.0), (99, 1.0)]
METRICS = [("train", "loss", step, value, "1") for step, value in CURVE]
METRICS += [
    ("latents", "effective_rank", 0, 7.5, "dimensions"),
    ("latents", "bad", 0, math.nan, ""),
]
METRICS += [("pairs", "family", i, float(i), "") for i in range(3)]
CONFIG = "task: toy\nconfig:\n  train:\n    lr: 0.001\n  method:\n    weight: 0.3\n"
KEY = "toy.lewm.s0"
FIGURES = {"figures/success", "figures/training_toy"}


@pytest.fixture
def finished(tmp_path):
    """A run with a trial that is done and one that failed, and its report."""
    run = SyntheticRun(tmp_path / "made")
    words = {"metrics": METRICS, "config": CONFIG, "config_hash": "ab" * 32}
    run.trial("toy", "lewm", 0, outcome(20), key=KEY, **words)
    run.trial("toy", "pldm", 0, outcome(0), key="toy.pldm.s0", status="error", error="no")
    report.write(run.folder)
    return str(run.folder)


def send(name, folder):
    with loggers.following([name], folder, "made"):
        pass


def scalars(folder):
    """The curves tensorboard shows: name -> [(step, value)], and the names of pictures."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    tags = events.Tags()
    values = {t: [(e.step, e.value) for e in events.Scalars(t)] for t in tags["scalars"]}
    return values, set(tags["images"])


def test_a_record_is_what_the_rows_say(finished):
    found = loggers.record(f"{finished}/trials/{KEY}.abababab")
    assert found.key == KEY and found.tags["method"] == "lewm"
    assert found.curves == {"train/loss": CURVE}
    assert found.config == {"task": "toy", "config.train.lr": 0.001, "config.method.weight": 0.3}
    assert found.numbers["control/success_pct"] == 40.0
    assert found.numbers["latents/effective_rank"] == 7.5
    assert not {"latents/bad", "pairs/family"} & set(found.numbers)


def test_tensorboard(finished):
    pytest.importorskip("tensorboard")
    send("tensorboard", finished)
    values, _ = scalars(f"{finished}/tensorboard/{KEY}.abababab")
    assert values["train/loss"] == CURVE
    assert values["control/success_pct"] == [(0, 40.0)]
    _, images = scalars(f"{finished}/tensorboard/report")
    assert images >= FIGURES


def test_wandb_offline(finished, monkeypatch):
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2

    monkeypatch.setenv("WANDB_MODE", "offline")
    send("wandb", finished)
    history, summary, names, figures = [], {}, [], set()
    for file in sorted(loggers_files(finished, "wandb/offline-run-*/*.wandb")):
        for data in log_entries(file.read_bytes()):
            entry = wandb_internal_pb2.Record()
            entry.ParseFromString(data)
            if entry.WhichOneof("record_type") == "run" and entry.run.display_name not in names:
                names.append(entry.run.display_name)
                assert (entry.run.project, entry.run.run_group) == ("jepa-bench", "made")
            for item in entry.history.item:
                key = item.key or ".".join(item.nested_key)
                figures |= {key.partition(".")[0]} if key.startswith("figures/") else set()
                history += [json.loads(item.value_json)] if key == "train/loss" else []
            for item in entry.summary.update:
                summary[item.key or ".".join(item.nested_key)] = json.loads(item.value_json)
    assert names == [KEY, "report"] and figures >= FIGURES
    assert history == [value for _, value in CURVE]
    assert summary["control/success_pct"] == 40.0


def test_mlflow(finished, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    send("mlflow", finished)
    client = mlflow.MlflowClient(f"sqlite:///{finished}/mlflow.db")
    experiment = client.get_experiment_by_name("jepa-bench/made")
    runs = {r.info.run_name: r for r in client.search_runs([experiment.experiment_id])}
    assert set(runs) == {KEY, "report"}
    mine = runs[KEY]
    assert mine.info.status == "FINISHED" and mine.data.tags["method"] == "lewm"
    assert mine.data.params["config.method.weight"] == "0.3"
    assert mine.data.metrics["control/success_pct"] == 40.0
    curve = client.get_metric_history(mine.info.run_id, "train/loss")
    assert sorted((m.step, m.value) for m in curve) == CURVE
    files = client.list_artifacts(runs["report"].info.run_id, "figures")
    assert {file.path.removesuffix(".png") for file in files} >= FIGURES


def log_entries(data):
    """The entries of a file in the log format of LevelDB, behind wandb's header of seven bytes."""
    at, entry = 7, b""
    while at + 7 <= len(data):
        left = 2**15 - at % 2**15  # of a block; an entry may go on in the next one
        if left < 7:
            at += left
            continue
        length, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        entry += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            yield entry
            entry = b""


def loggers_files(folder, pattern):
    return Path(folder).glob(pattern)


# -- which trials are sent


class Remembers:
    """A logger that remembers what it was sent, and fails where it should."""

    package = "json"

    def __init__(self):
        self.keys, self.images, self.fails = [], [], False

    def build(self, folder, run):
        return self

    def trial(self, record):
        if self.fails:
            raise RuntimeError("no network\nat all")
        self.keys.append(record.key)

    def figures(self, images):
        self.images.append({name: np.asarray(image).ndim for name, image in images.items()})


@pytest.fixture
def memory(monkeypatch):
    logger = Remembers()
    monkeypatch.setitem(loggers._LOGGERS, "wandb", logger)
    return logger


def test_a_trial_is_sent_once_and_again_where_the_notes_are_deleted(finished, memory):
    send("wandb", finished)
    send("wandb", finished)
    assert memory.keys == [KEY] and len(memory.images) == 1  # the failed one is not sent
    assert memory.images[0]["success"] == 3
    for file in loggers_files(finished, "logged/wandb/*"):
        file.unlink()
    send("wandb", finished)
    assert memory.keys == [KEY, KEY]


def test_a_trial_is_sent_as_soon_as_it_has_ended(finished, memory, monkeypatch):
    monkeypatch.setattr(loggers, "_POLL_S", 0.01)
    with loggers.following(["wandb"], finished, "made"):
        for _ in range(1000):
            if memory.keys:
                break
            loggers.threading.Event().wait(0.01)
        assert memory.keys == [KEY] and not memory.images
    assert len(memory.images) == 1


def test_a_logger_that_fails_costs_nothing(finished, memory, caplog):
    memory.fails = True
    with caplog.at_level(logging.WARNING):
        send("wandb", finished)
    (line,) = caplog.messages
    assert "log=wandb: RuntimeError: no network at all." in line and not memory.images
    memory.fails = False
    send("wandb", finished)
    assert memory.keys == [KEY]


# -- the command line


def test_an_absent_package_is_said_before_anything_runs(monkeypatch, capsys):
    monkeypatch.setattr(loggers._Wandb, "package", "no_such_package")
    assert run.main(["suite=smoke", "scale=tiny", "log=wandb"]) == command.USAGE
    (line,) = capsys.readouterr().err.splitlines()
    assert "-m pip install wandb" in line


def test_an_unknown_logger(capsys):
    assert run.main(["suite=smoke", "log=visdom"]) == command.USAGE
    assert "must be one of tensorboard, wandb, mlflow" in capsys.readouterr().err


def test_a_run_sends_its_trials(memory, tmp_path, datasets):
    words = ["suite=smoke", "scale=tiny", "methods=random", "backend=loop", "log=wandb", "run=r"]
    assert run.main([*words, f"results={tmp_path}", f"datasets={datasets}"]) == 0
    assert memory.keys == ["toy.random.s0"] and len(memory.images) == 1
