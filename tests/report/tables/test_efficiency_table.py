"""The efficiency table from synthetic rows has the numbers computed by hand."""

from __future__ import annotations

import pandas as pd
from synthetic_run import outcome, raw, table

from harness.records.metric_names import PlanTimeName


def test_plan_time_quantiles(run):
    alone = [("plan_time", "solve_s_1", i, float(i), "s") for i in range(101)]
    together = [("plan_time", "solve_s_50", i, 10.0, "s") for i in range(3)]
    run.trial(outcome=outcome(10), metrics=alone + together)
    row = raw(run, "efficiency").iloc[0]
    assert (row.solve_1_p50_s, row.solve_1_p95_s, row.solve_1_repetitions) == (50, 95, 101)
    assert (row.solve_50_p50_s, row.solve_50_per_plan_s) == (10.0, 0.2)
    assert (row.candidates, row.iterations, row.horizon_blocks) == (300, 10, 5)
    assert (row.published_plan_s, row.device, row.threads) == (0.98, "CPU", 2)


def test_an_inference_is_no_plan(run):
    run.trial(outcome=outcome(10), metrics=[("plan_time", "solve_s_1", 0, 0.5, "s")])
    run.trial(
        method="gcbc", outcome=outcome(10), metrics=[("plan_time", "inference_s_1", 0, 0.01, "s")]
    )
    rows = raw(run, "efficiency").set_index("method")
    assert rows["timed"].to_dict() == {"lewm": "plan", "gcbc": "inference"}
    assert rows.loc["gcbc", "solve_1_p50_s"] == 0.01
    settings = rows[["candidates", "iterations", "horizon_blocks"]]
    assert settings.loc["gcbc"].isna().all() and settings.loc["lewm"].notna().all()
    assert "| inference |" in table(run, "efficiency", "md")


def test_efficiency_of_a_made_record(run):
    """Two seeds: 5 and 10 steps/s of 32 windows of 4 frames; memory is the larger."""
    made = [
        ("model", "encoder", 0, 1e5, "parameters"),
        ("model", "window_frames", 0, 4, "frames"),
        ("model", "latent_floats", 0, 2048, "floats"),
        ("plan_time", "flops", 0, 3e9, "FLOP"),
    ]
    for seed, seconds in ((0, 10.0), (1, 5.0)):
        run.trial(
            seed=seed,
            metrics=made,
            config="config: {train: {batch_size: 32}}",
            parameters_trained=2_000_000,
            parameters_frozen=500_000,
            tokens_per_frame=16,
            train_steps=50,
            train_s=seconds,
            peak_memory_bytes=(seed + 1) * 2**30,
        )
    row = raw(run, "efficiency").iloc[0]
    assert (row.steps_per_s, row.train_frames_per_s, row.train_s) == (7.5, 960.0, 7.5)
    assert (row.tokens_per_frame, row.latent_floats_per_frame, row.plan_flops) == (16, 2048, 3e9)
    assert (row.parameters_trained, row.parameters_frozen) == (2e6, 5e5)
    assert row.peak_memory_bytes == 2 * 2**30
    lines = table(run, "efficiency", "md").split("| Two-Room | ")[1:]
    training, plan = (line.splitlines()[0].strip(" |").split(" | ") for line in lines)
    assert training == ["LeWM", "2.00", "0.500", "16", "2,048", "960", "50", "8", "2.00"]
    assert plan == ["LeWM", "3.00"]


def test_a_record_without_the_newer_numbers_has_blanks(run):
    run.trial(train_steps=50, train_s=10.0, tokens_per_frame=1, parameters_trained=10**6)
    row = raw(run, "efficiency").iloc[0]
    assert row.steps_per_s == 5.0
    assert pd.isna(row.train_frames_per_s) and pd.isna(row.plan_flops)
    shown = table(run, "efficiency", "md")
    assert "| LeWM | 1.00 | 0 | 1 | – | – | 50 |" in shown and "one plan" not in shown


def test_machines_are_not_averaged(run):
    for seed, device in enumerate(("CPU", "CPU", "GPU")):
        times = [("plan_time", "solve_s_1", 0, float(seed), "s")]
        run.trial(seed=seed, metrics=times, train_steps=1, train_s=1.0 + seed, device=device)
    rows = raw(run, "efficiency").set_index("device")
    assert rows["train_s"].to_dict() == {"CPU": 1.5, "GPU": 3.0}
    assert rows["solve_1_p50_s"].to_dict() == {"CPU": 0.5, "GPU": 2.0}
    assert rows["seeds"].to_dict() == {"CPU": 2, "GPU": 1}


def test_times_of_a_shared_device_are_left_out_and_said(run):
    """Seed 1 shared its GPU: its times do not count, its training does."""
    for seed, shared in enumerate((False, True)):
        times = [("plan_time", "solve_s_1", 0, 1.0 + seed, "s"), ("plan_time", "flops", 0, 9, "")]
        fields = {"train_steps": 1, "train_s": 1.0 + seed, "device_shared": shared}
        run.trial(seed=seed, metrics=times, **fields)
    row = raw(run, "efficiency").iloc[0]
    assert (row.solve_1_p50_s, row.solve_1_repetitions, row.train_s) == (1.0, 1, 1.5)
    said = "Left out: the plan times of 1 trial whose device others used meanwhile."
    assert table(run, "efficiency", "md").count(said) == 1


def test_where_every_device_was_shared_no_plan_time_is_shown(run):
    times = [("plan_time", "solve_s_1", 0, 1.0, "s"), ("plan_time", "flops", 0, 9e9, "")]
    run.trial(outcome=outcome(10), metrics=times, train_steps=1, device_shared=True)
    row = raw(run, "efficiency").iloc[0]
    assert "solve_1_p50_s" not in row and row.plan_flops == 9e9
    assert "the plan times of 1 trial whose" in table(run, "efficiency", "md")
    assert not (run.folder / "figures" / "plan_time.png").exists()


def test_a_name_of_a_plan_time_is_read_as_it_was_written():
    name = PlanTimeName("inference", 50)
    assert PlanTimeName.of(name.text()) == name
    assert PlanTimeName.of("solve_s") == PlanTimeName("solve", 1)  # of the oldest rows
    assert PlanTimeName.of("flops") is None
