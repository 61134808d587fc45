"""The table of evaluations: planners, horizons and dynamics of one training."""

from __future__ import annotations

import numpy as np
import pytest
from synthetic_run import outcome, raw, table

from harness.report import load, success_rates, tables

CONFIG = (
    "config: {{planner_name: {name}, planner: {{candidates: {candidates}, "
    "iterations: {iterations}}}, protocol: {{offset_steps: 25}}}}"
)


def planner(run, variant, successes, candidates=30, iterations=10, solved=None, **fields):
    """LeWM's training under a planner, whose protocol has a hash of its own."""
    name = variant.partition("-")[0]
    run.trial(
        key=f"two_room.lewm.{variant}.s0",
        variant=variant,
        outcome=outcome(successes) if solved is None else solved,
        config=CONFIG.format(name=name, candidates=candidates, iterations=iterations),
        setting_hash=variant,
        protocol_hash=f"{variant:a<8}",
        metrics=[
            ("sweep", f"planner.{name}.iterations", 0, float(iterations), "1"),
            *(("plan_time", "solve_s_1", i, 0.1 * iterations, "s") for i in range(3)),
        ],
        **fields,
    )


def test_planners_stand_in_a_table_of_their_own_beside_whole_cem(run):
    planner(run, "cem", 30)
    planner(run, "cem-0.5", 20, iterations=5)
    planner(run, "adam", 40, candidates=3, iterations=33)
    run.trial(method="random", outcome=outcome(10))
    rows = raw(run, "evaluations").set_index("variant")
    assert rows["rollouts"].to_dict() == {"cem": 300, "cem-0.5": 150, "adam": 297}
    assert rows["success_pct"].to_dict() == {"cem": 60, "cem-0.5": 40, "adam": 80}
    assert rows["minus_whole_points"].dropna().to_dict() == {"cem-0.5": -20, "adam": 20}
    assert rows["solve_1_p50_s"].to_dict() == pytest.approx({"cem": 1, "cem-0.5": 0.5, "adam": 3.3})
    p = rows["minus_whole_p"].dropna()
    assert rows.loc[p.index, "minus_whole_p_holm"].tolist() == [min(1, 2 * p.min())] * 2
    shown = table(run, "evaluations", "md")
    lines = [line for line in shown.splitlines() if line.startswith("| Two-Room")]
    assert [line.split(" | ")[2].strip() for line in lines] == ["cem", "cem-0.5", "adam"]
    assert "| − CEM |" in shown and "minus those of CEM with all its iterations" in shown
    assert "Planners, quick-v1, scale laptop, test pairs" in table(run, "evaluations", "md")
    assert raw(run, "success")["method"].tolist() == ["random"]  # not one section a planner


def test_goals_further_away_are_not_compared_since_their_pairs_are_others(run):
    for offset in (25, 50):
        for method in ("lewm", "random"):
            run.trial(
                method=method,
                key=f"two_room.{method}.offset-{offset}.s0",
                variant=f"offset-{offset}",
                outcome=outcome(offset // 2),
                setting_hash=f"{method}{offset}",
                protocol_hash=f"{offset}aaaaaa",
                metrics=[("sweep", "protocol.offset_steps", 0, float(offset), "1")],
            )
    rows = raw(run, "evaluations")
    assert len(rows) == 4 and rows["minus_whole_points"].isna().all()
    assert np.isnan(rows.set_index("method").loc["random", "rollouts"]).all()
    assert "Goals further away" in table(run, "evaluations", "md")


def test_a_caption_explains_the_columns_that_are_there(run):
    model = ("model", "window_frames", 0, 4, "frames")
    for method in ("lewm", "gcbc"):
        latents = [("latents", "latent_std", 0, 1.0, "")] * (method == "lewm")
        run.trial(
            method=method,
            key=f"two_room.{method}.offset-25.s0",
            variant="offset-25",
            config=CONFIG.format(name="cem", candidates=30, iterations=10),
            outcome=outcome(9),
            metrics=[("sweep", "protocol.offset_steps", 0, 25.0, ""), model, *latents],
        )
    rows = raw(run, "evaluations").set_index("method")["rollouts"]
    assert rows["lewm"] == 300 and np.isnan(rows["gcbc"])  # which plans nothing
    shown = table(run, "evaluations", "md")
    assert "Rollouts: those" in shown and "Seconds" not in shown and "share of its" not in shown


def test_where_controls_alone_have_success_the_evaluations_come_first(run):
    planner(run, "cem", 30)
    run.trial(method="random", outcome=outcome(10))
    loaded = load.load(str(run.folder))
    outcomes = success_rates.outcomes(loaded)
    made = tables.of(loaded, outcomes, success_rates.estimates(outcomes))
    assert [one.name for one in made][:2] == ["evaluations", "success"]


def test_hard_pairs_have_columns_and_a_family_of_tests_of_their_own(run):
    near = np.arange(50) % 2 == 0  # the strata take turns
    for variant, solved in (("cem", near | True), ("mppi", near), ("adam", near | True)):
        planner(run, variant, 0, strata=("near", "far"), solved=solved)
    run.trial(method="random", outcome=outcome(10), strata=("near", "far"))
    rows = raw(run, "evaluations").set_index("variant")
    assert set(rows["hard_pairs"]) == {"far"}
    assert rows["hard_success_pct"].to_dict() == {"cem": 100, "mppi": 0, "adam": 100}
    assert rows["hard_minus_whole_points"].dropna().to_dict() == {"mppi": -100, "adam": 0}
    assert rows["minus_whole_points"].dropna().to_dict() == {"mppi": -50, "adam": 0}
    p = rows["hard_minus_whole_p"].dropna()
    assert p["mppi"] < 1e-6 and p["adam"] == 1
    assert rows.loc["mppi", "hard_minus_whole_p_holm"] == 2 * p["mppi"]
    shown = table(run, "evaluations", "md")
    assert "| Hard pairs % |" in shown and "| − CEM, hard | p, hard |" in shown
    assert "Hard pairs: far, the kind of a task's pairs" in shown


def test_the_ways_of_blame_are_in_order_and_explained_where_they_occur(run):
    for variant, key in (("probed", "mpc.cost"), ("model", "mpc.dynamics")):
        run.trial(
            key=f"two_room.lewm.{variant}.s0", variant=variant, outcome=outcome(9),
            metrics=[("sweep", key, 0, np.nan, variant)], suite="blame",
            protocol_hash=f"{variant:x<8}",
        )  # fmt: skip
    assert raw(run, "evaluations")["variant"].tolist() == ["model", "probed"]
    shown = table(run, "evaluations", "md")
    assert "model: the method's own dynamics" in shown and "probed: the method's" in shown
    assert "simulated:" not in shown
