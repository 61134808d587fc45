"""Averages over tasks from synthetic rows have the numbers computed by hand."""

from __future__ import annotations

import pandas as pd
import pytest
from synthetic_run import SyntheticRun, outcome, raw, table

from harness.report import load, success_rates
from harness.report.tables import aggregates


def two_tasks(run, methods=("lewm", "mine"), tasks=("two_room", "push_t")):
    """Random solves 10 of 50 and replay 50; lewm scores 0.5 on both tasks, mine 1 and 0.25."""
    solved = {"lewm": (30, 30), "mine": (50, 20), "random": (10, 10), "replay": (50, 50)}
    for place, task in enumerate(tasks):
        for method in (*methods, "random", "replay"):
            run.trial(task, method, outcome=outcome(solved[method][place]))


def data(run, function):
    tables = load.load(str(run.folder))
    return function(tables, success_rates.outcomes(tables))


def test_scores_are_normalised_and_averaged_over_tasks(run):
    two_tasks(run)
    rows = raw(run, "aggregates").set_index("method")
    assert list(rows.index) == ["lewm", "mine"]  # no controls
    assert rows["mean"].tolist() == pytest.approx([0.5, 0.625])
    assert rows["iqm"].tolist() == pytest.approx([0.5, 0.625])  # two scores: their mean
    assert rows.loc["mine", "p_above_lewm"] == 0.5  # better on one of two tasks
    assert rows.loc["mine", "tasks"] == "two_room, push_t"
    assert (rows["mean_low"] < rows["mean"]).all() and (rows["mean"] < rows["mean_high"]).all()
    shown = table(run, "aggregates", "md")
    assert f"| mine | {score(rows, 'mine', 'iqm')} | {score(rows, 'mine', 'mean')} |" in shown
    assert "| LeWM |" in shown and "P(> LeWM)" in shown
    assert "two_room@quick-v1#" in shown and "push_t@quick-v1#" in shown


def score(rows, method, name):
    ends = (rows.loc[method, f"{name}{end}"] for end in ("", "_low", "_high"))
    return "{:.2f} [{:.2f}, {:.2f}]".format(*ends)


def test_training_seeds_count_in_the_probability_and_tasks_weigh_alike(run):
    two_tasks(run)
    run.trial("two_room", "mine", seed=1, outcome=outcome(20))  # 0.25 beside 1
    rows = raw(run, "aggregates").set_index("method")
    assert rows.loc["mine", "mean"] == pytest.approx(((1 + 0.25) / 2 + 0.25) / 2)
    assert rows.loc["mine", "p_above_lewm"] == pytest.approx((0.5 + 0) / 2)
    assert rows.loc["mine", ["seeds", "most_seeds"]].tolist() == [1, 2]
    assert "| 1 to 2 |" in table(run, "aggregates", "md")


def test_a_task_without_replay_and_a_method_of_one_task_are_left_out_and_named(run):
    two_tasks(run)
    run.trial("cube", "lewm", outcome=outcome(20))
    run.trial("cube", "random", outcome=outcome(10))
    run.trial("push_t", "pldm", outcome=outcome(20))
    rows = raw(run, "aggregates").set_index("method")
    assert set(rows["tasks"]) == {"two_room, push_t"} and "pldm" not in rows.index
    shown = table(run, "aggregates", "md")
    assert "Left out: Cube, without random and replay" in shown
    assert "On fewer than two tasks: PLDM." in shown


def test_protocols_are_not_averaged(run, tmp_path):
    """Two protocols of one name on one task: neither may be preferred."""
    two_tasks(run)
    for method in ("lewm", "random", "replay"):
        known = dict(protocol_hash="other", key=f"other.{method}")
        run.trial("push_t", method, outcome=outcome(20), **known)
    assert not (run.folder / "tables" / "aggregates.csv").exists()
    raw(run)
    assert not (run.folder / "tables" / "aggregates.csv").exists()  # one task is left
    alone = SyntheticRun(tmp_path / "alone")
    two_tasks(alone, tasks=("two_room",))
    raw(alone)
    assert not (alone.folder / "tables" / "aggregates.csv").exists()


def test_a_run_without_lewm_has_averages_alone(run):
    two_tasks(run, methods=("mine",))
    rows = raw(run, "aggregates")
    assert list(rows["method"]) == ["mine"] and "p_above_lewm" not in rows


def test_the_data_of_the_figures(run):
    two_tasks(run)
    profile = data(run, aggregates.profile_data)
    mine = profile[profile["method"] == "mine"].set_index("tau")
    assert mine.loc[0, "share"] == 1 and mine.loc[0.5, "share"] == 0.5 and mine.loc[1, "share"] == 0
    assert (mine["low"] <= mine["share"]).all() and (mine["share"] <= mine["high"]).all()
    chances = data(run, aggregates.improvement_data)
    assert chances[["label", "probability"]].to_numpy().tolist() == [["mine", 0.5]]
    assert (chances["low"] <= 0.5).all() and (chances["high"] >= 0.5).all()


def test_without_scores_the_data_of_the_figures_are_empty(run):
    run.trial(outcome=outcome(10))
    for function in (aggregates.profile_data, aggregates.improvement_data):
        found = data(run, function)
        assert found.empty and {"label", "method", "low", "high"} <= set(found)
        assert isinstance(found, pd.DataFrame)
