"""Evaluations of one training on its way: suite=training_time."""

from __future__ import annotations

import pytest
import tiny

from harness import trial
from harness.experiment import config, identity, suites
from harness.experiment.run_folders import RunFolders
from harness.report import load

WORDS = ["suite=training_time", "scale=tiny", "protocol=smoke", "tasks=toy", "device=cpu"]


def expanded(tmp_path, *words):
    run = config.parse([*WORDS, f"results={tmp_path}", "run=r", *words])
    folders = RunFolders(run.folder, run.run, run.suite, str(tmp_path / "data"))
    return suites.expand(run, trial.STAGES), folders


def test_one_training_then_an_evaluation_of_each_share(tmp_path):
    specs, folders = expanded(tmp_path, "methods=lewm,random", "stages=[train,control]")
    training, *others = specs
    assert training.stages == ("train",) and training.variant == "training"
    assert [spec.variant for spec in others[:4]] == [
        f"training-{share}" for share in ("0.0625", "0.25", "0.5", "1")
    ]
    assert all(spec.stages == ("control",) for spec in others[:4])
    assert others[4].method == "random" and not others[4].config.weights.identity
    assert len({identity.config_hash(spec) for spec in specs}) == 6
    first, second = suites.waves(specs)
    assert [spec.key for spec in first] == [training.key, others[4].key]
    assert second == others[:4]
    plain = tiny.spec("lewm")
    kept = tiny.spec("lewm", "train.snapshots=[0.5]")
    assert identity.config_hash(plain) == identity.config_hash(kept)

    row = trial.run(others[1], folders, tiny.quiet)
    assert row.status == "error" and "toy.lewm.training.s0 has not trained as far" in row.error
    rows = [trial.run(spec, folders, tiny.quiet) for spec in (*first, *second)]
    assert [row.status for row in rows] == ["ok"] * 6, [row.error for row in rows]
    assert [row.train_steps for row in rows] == [20, 0, 2, 5, 10, 20]
    assert [row.train_s / rows[0].train_s for row in rows[2:]] == [1 / 16, 1 / 4, 1 / 2, 1]
    assert len({row.checkpoint_hash for row in rows[2:]}) == 4
    cells = load.load(folders.folder).cells
    assert [label for label in cells["label"] if "steps" in label] == [
        f"LeWM steps={steps}" for steps in (2, 5, 10, 20)
    ]


def test_the_weights_of_a_run_are_not_its_own_training(tmp_path):
    with pytest.raises(config.ConfigError, match=r"suite=training_time .* from="):
        expanded(tmp_path, f"from={tmp_path}", "methods=lewm")
