"""Runs compared pair by pair: known differences, and the reasons why some cannot be compared."""

import numpy as np
import pandas as pd
import pytest
from synthetic_run import SyntheticRun, outcome

from harness.report import __main__ as command
from harness.report import compare, load, stats


@pytest.fixture
def runs(tmp_path):
    """Two empty runs."""
    return SyntheticRun(tmp_path / "a"), SyntheticRun(tmp_path / "b")


def compared(*runs, methods=()):
    """The rows of both tables."""
    named = {run.folder.name: load.load(str(run.folder)) for run in runs}
    found = compare.compare(named, methods)
    return found.compared.raw, found.refused.raw


def reasons(refused):
    """(task, what) -> reason, with its details."""
    return {
        (row.task, row.what): row.reason + (f" ({row.details})" if row.details else "")
        for row in refused.itertuples()
    }


def test_the_difference_is_that_of_the_same_pairs(runs):
    a, b = runs
    ours, theirs = np.arange(50) % 2 == 0, np.arange(50) % 3 == 0
    a.trial(outcome=ours)
    b.trial(outcome=theirs)
    (row,) = compared(a, b)[0].to_dict("records")
    episodes = -np.arange(50)  # in the order in which a report numbers them
    expected = stats.paired_difference(theirs, ours, episodes)
    assert (row["method"], row["run"], row["other_run"]) == ("LeWM", "b", "a")
    assert row["difference_points"] == pytest.approx(100 * expected.difference)
    assert (row["rate_pct"], row["other_rate_pct"]) == pytest.approx((34, 50))
    assert (row["wins"], row["losses"], row["pairs"]) == (8, 16, 50)
    assert row["p_value"] == row["p_holm"] == pytest.approx(expected.p_value)
    assert row["low_points"] == pytest.approx(100 * expected.low)


def test_only_shared_pairs_count(runs):
    """The second run has the first twenty of fifty pairs."""
    a, b = runs
    a.trial(outcome=outcome(30))
    b.trial(outcome=outcome(10, n=20))
    (row,) = compared(a, b)[0].to_dict("records")
    assert row["pairs"] == 20 and (row["rate_pct"], row["other_rate_pct"]) == (50, 100)


def test_a_method_that_one_run_lacks_meets_all_of_the_other(runs):
    a, b = runs
    for method in ("lewm", "pldm"):
        a.trial(method=method, outcome=outcome(20))
    for method in ("lewm", "smwm"):
        b.trial(method=method, outcome=outcome(30))
    rows = compared(a, b)[0]
    assert set(zip(rows["method"], rows["other_method"], strict=True)) == {
        ("LeWM", "LeWM"),
        ("SMWM", "LeWM"),
        ("SMWM", "PLDM"),
        ("LeWM", "PLDM"),
    }
    assert list(rows["p_holm"]) == pytest.approx(stats.holm(rows["p_value"]))
    assert (rows["p_holm"] > rows["p_value"]).any()
    only = compared(a, b, methods=["smwm", "pldm"])[0]
    assert list(only["method"]) == ["SMWM"]


def test_three_runs_are_compared_two_by_two(runs, tmp_path):
    third = SyntheticRun(tmp_path / "c")
    for run, successes in zip((*runs, third), (10, 20, 40), strict=True):
        run.trial(outcome=outcome(successes))
    rows = compared(*runs, third)[0]
    pairs = list(zip(rows["run"], rows["other_run"], rows["difference_points"], strict=True))
    assert pairs == [("b", "a", 20), ("c", "a", 60), ("c", "b", 40)]


def test_several_seeds_of_one_run_against_one_of_another(runs):
    a, b = runs
    for seed in range(3):
        a.trial(seed=seed, outcome=outcome(20 + seed))
    b.trial(outcome=outcome(40))
    (row,) = compared(a, b)[0].to_dict("records")
    assert row["difference_points"] == pytest.approx(80 - 42)


CONFIG = "config:\n  protocol:\n    offset_steps: {}\n  data:\n    episodes: {}\n"
OTHERS = {
    "protocol": (
        {"protocol_hash": "deadbeef", "protocol": "strict", "config": CONFIG.format(100, 800)},
        "other protocol quick-v1 and strict (feedbeef and deadbeef; protocol.offset_steps 25 and "
        "100)",
    ),
    "dataset": (
        {"dataset_hash": "other", "config": CONFIG.format(25, 4000)},
        "other dataset (two_room and other; data.episodes 800 and 4000)",
    ),
    "split": ({"split_hash": "other"}, "other split of the dataset (two_room and other)"),
    "pairs": ({"split": "validation"}, "test pairs and validation pairs"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_what_is_not_the_same_is_refused_with_the_reason(runs, kind):
    a, b = runs
    fields, reason = OTHERS[kind]
    same = {"protocol_hash": "feedbeef", "config": CONFIG.format(25, 800)}
    a.trial(outcome=outcome(20), **same)
    b.trial(outcome=outcome(20), **(same | fields))
    rows, refused = compared(a, b)
    assert rows.empty
    assert reasons(refused) == {("two_room", "LeWM (b), LeWM (a)"): reason}


def test_what_is_refused_for_one_reason_is_one_line_with_its_count(runs, capsys):
    a, b = runs
    for task in ("two_room", "push_t"):
        for method in ("lewm", "pldm", "gcbc"):
            config = {"config": CONFIG.format(25, 800), "protocol_hash": f"feed{task}"}
            a.trial(task, method, outcome=outcome(20), **config)
            other = {"config": CONFIG.format(100, 800), "protocol_hash": f"dead{task}"}
            b.trial(task, method, outcome=outcome(20), **other)
    named = {run.folder.name: load.load(str(run.folder)) for run in runs}
    (section,) = compare.compare(named).refused.sections
    assert section.frame.to_dict("records") == [
        {
            "Reason": "protocol quick-v1 with other settings",
            "Cases": "6",
            "Tasks": "Two-Room, Push-T",
            "Example": "LeWM (b), LeWM (a): feedtwo_ and deadtwo_; protocol.offset_steps 25 and "
            "100",
        }
    ]
    assert len(compared(a, b)[1]) == 6  # the CSV has each
    assert command.main([str(a.folder), str(b.folder)]) == 1
    assert capsys.readouterr().out.count("with other settings") == 1


TRAINING = (
    "config:\n  train:\n    steps: {}\n    lr: {}\n  planner: {{candidates: {}}}\n  seed: {}\n"
)


def test_trainings_that_differ_are_compared_and_their_settings_named(runs, capsys):
    for run, *settings in zip(runs, (20, 30), (0.1, 0.1), (8, 9), (1, 2), strict=True):
        for method in ("lewm", "random"):
            run.trial(method=method, outcome=outcome(20), config=TRAINING.format(*settings))
    rows, _ = compared(*runs)
    assert rows.set_index("method")["trainings_differ"].to_dict() == {
        "LeWM": "train.steps: 20 (a), 30 (b)",  # neither the planner's nor a seed's
        "Random": "",
    }
    assert command.main([str(run.folder) for run in runs]) == 0
    assert "train.steps: 20 (a), 30 (b)" in capsys.readouterr().out


def test_of_many_settings_the_first_are_named(runs):
    for run, value in zip(runs, (1, 2), strict=True):
        keys = ", ".join(f"k{i}: {value}" for i in range(9))
        run.trial(outcome=outcome(20), config=f"config: {{method: {{{keys}}}}}")
    (words,) = compared(*runs)[0]["trainings_differ"]
    assert words.startswith("method.k0: 1 (a), 2 (b); ") and words.endswith("; 5 more")


def test_alike_trainings_have_no_table_of_settings(runs):
    for run in runs:
        run.trial(outcome=outcome(20))
    named = {run.folder.name: load.load(str(run.folder)) for run in runs}
    assert len(compare.compare(named).compared.sections) == 1


def test_a_task_is_a_family_of_tests(runs):
    a, b = runs
    for task in ("two_room", "push_t"):
        for method in ("lewm", "pldm"):
            a.trial(task, method, outcome=outcome(20), strata=("near", "far"))
            b.trial(task, method, outcome=outcome(30), strata=("near", "far"))
    rows = compared(a, b)[0]
    whole, strata = rows[rows["subset"] == "all"], rows[rows["subset"] != "all"]
    assert len(whole) == 4 and len(strata) == 8
    assert list(whole["p_holm"]) == pytest.approx(list(2 * whole["p_value"]))
    assert list(strata["p_holm"]) == pytest.approx(list(4 * strata["p_value"]))


def test_failed_trials_and_tasks_of_one_run_are_named(runs):
    a, b = runs
    for run in runs:
        run.trial(outcome=outcome(20))
    a.trial("push_t", outcome=outcome(20))
    b.trial(method="pldm", status="error", error="RuntimeError: no disk", outcome=outcome(0))
    rows, refused = compared(a, b)
    assert len(rows) == 1
    assert reasons(refused) == {
        ("two_room", "PLDM, seed 0 (b)"): "failed: RuntimeError: no disk",
        ("push_t", "a"): "b has no finished trial of this task",
    }


def test_a_run_in_which_everything_failed(runs):
    a, b = runs
    a.trial(status="error", error="RuntimeError: no disk")
    b.trial(outcome=outcome(20))
    for rows, refused in (compared(a, b), compared(b, a)):
        assert rows.empty and set(refused["reason"]) == {
            "failed: RuntimeError: no disk",
            "a has no finished trial of this task",
        }


def test_the_command_shows_both_and_writes_nothing_into_the_runs(runs, tmp_path, capsys):
    for run in runs:
        run.trial(outcome=outcome(20))
    runs[0].trial("push_t", outcome=outcome(20))
    before = sorted(tmp_path.rglob("*"))
    folders = [str(run.folder) for run in runs]
    assert command.main(folders) == 0
    shown = capsys.readouterr().out
    assert "LeWM: b − a" in shown and "b has no finished trial of this task" in shown
    assert sorted(tmp_path.rglob("*")) == before
    assert command.main([*folders, f"out={tmp_path / 'out'}"]) == 0
    assert pd.read_csv(tmp_path / "out" / "compared.csv")["pairs"].tolist() == [50]
    assert (tmp_path / "out" / "not_compared.md").read_text().count("Push-T") == 1


def test_exit_codes(runs, capsys):
    a, b = runs
    a.trial("push_t", outcome=outcome(20))
    b.trial("two_room", outcome=outcome(20))
    assert command.main([str(a.folder), str(b.folder)]) == 1
    assert "nothing can be compared" in capsys.readouterr().err
    assert command.main([str(a.folder), str(a.folder) + "/"]) == 2
    assert command.main([str(a.folder), str(a.folder.parent / "none")]) == 1
    assert command.main([str(a.folder), "out=x"]) == 2
    assert command.main([]) == 2


def test_runs_of_one_name_have_their_folders_names(tmp_path):
    names = command._names([f"{tmp_path}/x/run", f"{tmp_path}/y/run/"])
    assert list(names) == [f"{tmp_path}/x/run", f"{tmp_path}/y/run"]
