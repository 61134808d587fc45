"""What cells are called and in which order they come; trials that cannot be read."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from synthetic_run import film, outcome, raw, train_metrics

from harness import report
from harness.records import run_tables
from harness.report import __main__ as command
from harness.report import load
from harness.report.figures import style


def test_settings_stand_apart_and_are_named(run):
    for setting, steps, successes in (("a", 100, 10), ("b", 2000, 40)):
        run.trial(
            key=setting,
            setting_hash=setting,
            config=f"train:\n  steps: {steps}\n  lr: 0.1\nseed: {steps}\n",
            outcome=outcome(successes),
        )
    rates = raw(run).set_index("label")["success_pct"].to_dict()
    assert rates == {"LeWM (train.steps=100)": 20.0, "LeWM (train.steps=2000)": 80.0}


def test_seeds_of_a_setting_do_not_name_it(run):
    for seed in (0, 1):
        for lr in (0.1, 0.2):
            run.trial(
                key=f"{seed}-{lr}",
                seed=seed,
                setting_hash=str(lr),
                config=f"data:\n  draw: {seed}\ntrain:\n  lr: {lr}\n",
                outcome=outcome(10),
            )
    assert set(raw(run)["label"]) == {"LeWM (train.lr=0.1)", "LeWM (train.lr=0.2)"}


def test_order_notes_and_names(run):
    for method in ("replay", "random", "novel", "gcbc", "lewm"):
        run.trial(method=method, outcome=outcome(10))
    run.trial(method="dino_wm", outcome=outcome(10), note="untrained encoder")
    run.trial(method="dino_wm", variant="small", key="ds", outcome=outcome(10))
    assert list(raw(run)["label"]) == [
        "LeWM",
        "DINO-WM (untrained encoder)",
        "DINO-WM small",
        "GCBC",
        "novel",
        "Random",
        "Replay",
    ]


def test_rows_of_two_versions_of_the_zoo_give_two_ranks(run):
    """A method that was entered before PLDM after PLDM's rows were written."""
    for method, rank in (("lewm", 0), ("pldm", 1), ("smwm", 1), ("gcbc", 5)):
        run.trial(method=method, outcome=outcome(10), method_rank=rank)
    ranks = load.load(run.folder).methods["rank"].to_dict()
    assert ranks == {"lewm": 0, "pldm": 1, "smwm": 2, "gcbc": 5}


def test_changed_code_from_outside_is_named_by_its_hash(run):
    for setting, digest, successes in (("a", "12345678" * 8, 10), ("b", "abcdefab" * 8, 40)):
        code = f"    method.mine:\n      origin: /{setting}/mine.py\n      sha256: {digest}\n"
        config = f"config:\n  outside:\n{code}"
        run.trial(key=setting, setting_hash=setting, config=config, outcome=outcome(successes))
    assert set(raw(run)["label"]) == {
        "LeWM (outside.method.mine.sha256=12345678)",
        "LeWM (outside.method.mine.sha256=abcdefab)",
    }


def test_a_method_from_outside_has_a_colour_of_its_own(run):
    """Ranks go on behind the controls', and colours begin again."""
    count = len(style._COLOURS)
    for method, rank in (("lewm", 0), ("pldm", 2), ("mine", count + 2), ("theirs", count + 3)):
        run.trial(method=method, outcome=outcome(10), method_rank=rank)
    tables = load.load(str(run.folder))
    colours = {method: style.colour(tables, method) for method in tables.methods.index}
    assert len(set(colours.values())) == 4
    assert (colours["lewm"], colours["pldm"]) == (style._COLOURS[0], style._COLOURS[2])


def test_rows_older_than_roles_have_those_that_their_controls_had(run):
    for method in ("lewm", "random", "heuristic", "noop", "replay", "outside"):
        run.trial(method=method, role="", outcome=outcome(10))
    run.trial(method="lewm", role="method", seed=1, outcome=outcome(10))
    tables = load.load(str(run.folder))
    assert tables.of_role("floor") == ["heuristic", "random", "noop"]
    assert tables.of_role("check") == ["replay"]
    assert tables.of_role("method") == ["lewm", "outside"]


def test_a_folder_without_trials_says_so(tmp_path, capsys):
    with pytest.raises(report.NoTrials, match="holds no trials"):
        report.write(tmp_path / "empty")
    assert command.main([str(tmp_path / "empty")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "harness.run" in line


def test_an_unreadable_trial_is_left_out(run):
    run.trial(seed=0, outcome=outcome(40))
    broken = run.place(run.trial(seed=1, outcome=outcome(0)))
    (broken / "episodes.parquet").write_bytes(b"broken")
    assert raw(run).iloc[0].success_pct == 80.0


def test_a_configuration_that_cannot_be_parsed_is_tolerated():
    assert load.flat_config("a: [") == {}
    assert load.flat_config("a:\n  b: [1, 2]\n  c: {}\n") == {"a.b": [1, 2], "a.c": {}}


def test_pictures_are_those_of_the_first_seed_that_has_any(run):
    """No figure shows more, and the pictures of many seeds fill the memory."""
    run.trial(method="lewm", seed=0, outcome=outcome(10))
    for seed in (1, 2):
        run.trial(method="lewm", seed=seed, outcome=outcome(10), frames=film(20, success=True))
        run.trial(method="gcbc", seed=seed, outcome=outcome(10), frames=film(20, success=True))
    frames = load.load(str(run.folder)).frames
    assert set(frames["key"]) == {"two_room.lewm.s1", "two_room.gcbc.s1"}


def test_a_report_from_compacted_tables_has_the_same_bytes(run, monkeypatch):
    monkeypatch.setattr(run_tables, "WORTH_COMPACTING", 1)
    for method in ("lewm", "pldm", "random"):
        for seed in range(2 if method != "random" else 1):
            frames = film(20, success=True) if method != "random" else ()
            metrics = train_metrics(np.random.default_rng(seed), ["loss", "pred"])
            trial = run.trial(
                "push_t", method, seed, outcome(20 + seed), frames=frames, metrics=metrics
            )
            for path in run.place(trial).iterdir():
                os.utime(path, (1_000_000_000, 1_000_000_000))
    first = {path: Path(path).read_bytes() for path in report.write(run.folder)}
    assert (run.folder / "compact" / "metrics.parquet").exists()
    assert {path: Path(path).read_bytes() for path in report.write(run.folder)} == first


def evaluated(run, suite):
    """LeWM's training and what its planner does with shares of two iterations."""
    run.trial(key="two_room.lewm.training.s0", variant="training", suite=suite)
    for share, iterations in ((1, 2), (0.5, 1), (0.25, 1)):
        variant = "cem" if share == 1 else f"cem-{share}"
        run.trial(
            key=f"two_room.lewm.{variant}.s0",
            variant=variant,
            suite=suite,
            setting_hash=variant,
            protocol_hash=f"{iterations}" * 8,
            outcome=outcome(5),
            metrics=[("sweep", "planner.cem.iterations", 0, float(iterations), "")],
        )


def test_evaluations_of_a_suite_are_called_by_their_names_which_are_unique(run):
    evaluated(run, "planners")
    labels = list(load.load(str(run.folder)).cells["label"])
    assert sorted(labels) == ["LeWM", "LeWM cem", "LeWM cem-0.25", "LeWM cem-0.5"]


def test_values_of_a_sweep_are_called_by_their_numbers(run):
    evaluated(run, "sweep")
    assert {"LeWM cem.iterations=1", "LeWM cem.iterations=2"} < set(
        load.load(str(run.folder)).cells["label"]
    )


def test_a_training_is_named_beside_another_one(run):
    run.trial(outcome=outcome(5))
    run.trial(key="two_room.lewm.training.s0", variant="training", setting_hash="t")
    assert set(load.load(str(run.folder)).cells["label"]) == {"LeWM", "LeWM training"}


def test_a_run_is_called_by_its_folder(run, monkeypatch):
    run.trial(outcome=outcome(5), run="made-elsewhere")
    assert load.load(f"{run.folder}/").name == "synthetic"
    monkeypatch.chdir(run.folder)
    assert load.load(".").name == "synthetic"
    assert load._folder_name("s3://bucket/results/mine/") == "mine"


def test_a_long_error_is_cut_between_words():
    why = "PairError: only 0 of 8 pairs in all with offset 100 in the test split: raise"
    assert load.short_error(f"{why} data.episodes or lower protocol.pairs").endswith(
        "lower protocol.pairs"
    )
    short = load.short_error("word " * 100)
    assert len(short) <= 240 and short.endswith("word …")
