"""The table and the figure of plans: causes, costs as shares, rank correlations."""

from __future__ import annotations

import pytest
from synthetic_run import outcome, raw, table

from harness.records import metric_names
from harness.report import load
from harness.report.figures import plans


def plan(pair, word, predicted=1.0, executed=2.0, start=4.0, **more):
    """Metrics of stage "plans" of one pair."""
    values = dict(predicted=predicted, executed=executed, recorded=0.5, tolerance=0.1, start=start)
    values |= {"outcome": metric_names.PLAN_OUTCOMES.index(word)} | more
    return [("plans", name, pair, float(value), "") for name, value in values.items()]


@pytest.fixture
def found(run):
    ranked = {"rank_first": 0.8, "rank_last": 0.2}, {"rank_first": 0.6, "rank_last": -0.2}
    lewm = [
        *plan(0, "solved", **ranked[0]),
        *plan(1, "search", predicted=3.0, **ranked[1]),
        *plan(2, "model"),
        *plan(5, "model", executed=8.0),
        *plan(7, "cost", executed=0.1),
    ]
    run.trial(method="lewm", outcome=outcome(10), metrics=lewm)
    collapsed = [line for pair in (0, 1) for line in plan(pair, "cost", 0.0, 0.0, 0.0)]
    run.trial(method="collapsed", outcome=outcome(10), metrics=collapsed)
    return run


def test_causes_costs_and_ranks(found):
    lines = raw(found, "plans").set_index("method")
    lewm = lines.loc["lewm"]
    assert (lewm["pairs"], lewm["lost"]) == (5, 4)
    assert [lewm[f"lost_by_{cause}"] for cause in ("search", "model", "cost")] == [1, 2, 1]
    assert (lewm["predicted_share_median"], lewm["executed_share_median"]) == (0.25, 0.5)
    assert lewm["rank_first"] == pytest.approx(0.7)
    half = 12.7062 * 0.1  # Student's t of one degree of freedom, times the standard error
    assert lewm["rank_first_low"] == pytest.approx(0.7 - half, abs=1e-4)
    assert (lewm["rank_first_high"], lewm["rank_last_low"]) == (1, -1)  # no correlation is larger
    collapsed = lines.loc["collapsed"]
    assert collapsed["lost_by_cost"] == 2 and collapsed[["predicted_share_median"]].isna().all()
    shown = [line for line in table(found, "plans", "md").splitlines() if "| LeWM |" in line]
    assert shown == [
        "| Two-Room | LeWM | 5 | 4 | 25 | 50 | 25 | 0.25 | 0.5 | 0.125 | 0.70 [−0.57, 1.00] "
        "| 0.00 [−1.00, 1.00] |"
    ]


def test_the_figure_has_a_dot_a_pair_within_the_axes(found):
    tidy = plans.data(load.load(str(found.folder)))
    assert tidy["method"].unique().tolist() == ["lewm"]  # shares of nothing are not drawn
    assert tidy["pair"].tolist() == [0, 1, 2, 5, 7]
    assert tidy["executed_share"].tolist() == [0.5, 0.5, 0.5, 2.0, 0.025]
    raw(found, "plans")
    svg = (found.folder / "figures" / "plans_two_room.svg").read_text()
    for words in ("lost by the model", "lost by the cost", "solved"):
        assert words in svg, words
    page = (found.folder / "index.html").read_text()
    assert page.index("<h2>Why plans fail</h2>") < page.index("figures/plans_two_room.png")


def test_runs_without_such_rows_have_neither(run):
    run.trial(outcome=outcome(10))
    assert plans.data(load.load(str(run.folder))).empty
    raw(run)
    assert not (run.folder / "tables" / "plans.md").exists()
