"""Tables from synthetic rows have the numbers computed by hand and mix nothing."""

from __future__ import annotations

import io
import math
import re
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from harness import report
from harness.records import rows
from harness.report import __main__ as command
from harness.report import load, published, stats


def outcome(successes, n=50):
    """The first `successes` of n pairs succeed."""
    return np.arange(n) < successes


def table(run, name, kind="csv"):
    return (run.folder / "tables" / f"{name}.{kind}").read_text()


def raw(run, name="success"):
    report.write(run.folder)
    return pd.read_csv(io.StringIO(table(run, name)), keep_default_na=False, na_values=[""])


def test_one_seed_has_its_wilson_interval(run):
    run.trial(outcome=outcome(45))
    row = raw(run).iloc[0]
    assert (row.success_pct, row.pairs, row.seeds) == (90.0, 50, 1)
    assert (row.low_pct, row.high_pct) == pytest.approx((78.64, 95.65), abs=0.01)


def test_seeds_are_averaged_after_evaluation_seeds(run):
    run.trial(seed=0, outcome=[outcome(50), outcome(40)])  # 90 %
    run.trial(seed=1, outcome=[outcome(30)])  # 60 %
    row = raw(run).iloc[0]
    assert row.success_pct == pytest.approx(75.0)  # not 80, the mean of all episodes
    assert row.seed_std_pct == pytest.approx(30 / math.sqrt(2))
    assert (row.pairs, row.seeds) == (50, 2)


def test_differences_are_on_the_same_pairs(run):
    run.trial(method="lewm", outcome=outcome(40))
    run.trial(method="random", outcome=outcome(10, 40))  # lacks the last ten pairs
    row = raw(run).set_index("method").loc["lewm"]
    assert row.minus_random_pairs == 40
    assert row.minus_random_points == pytest.approx(75.0)  # 40 of 40 against 10 of 40
    assert row.minus_random_p == pytest.approx(2 / 2**30)
    assert "minus_heuristic_points" not in row


def test_pairs_of_one_episode_count_as_one_where_they_agree(run):
    for method, successes in (("lewm", 40), ("mine", 50)):
        run.trial(method=method, outcome=outcome(successes), pairs_per_episode=5)
    rows = raw(run).set_index("method")
    ends = stats.wilson(8, 10)  # 10 episodes: 8 solved, 2 not
    assert rows.loc["lewm", ["low_pct", "high_pct"]].tolist() == pytest.approx(
        [100 * end for end in ends], abs=0.1
    )
    assert rows.loc["mine", "minus_lewm_p"] == pytest.approx(2 / 2**2)  # two episodes differ


def test_episodes_of_one_family_count_as_one_where_they_agree(run):
    families = [("pairs", "family", episode, float(episode // 5), "") for episode in range(50)]
    run.trial(method="lewm", outcome=outcome(40), metrics=families)
    run.trial(method="mine", outcome=outcome(50))  # on the same data, before they were recorded
    row = raw(run).set_index("method").loc["mine"]
    assert row.minus_lewm_p == pytest.approx(2 / 2**2)


def test_p_values_are_corrected_over_their_table_and_no_further(run):
    """Push-T has 2 comparisons on all pairs and 2 on each stratum, Two-Room has one."""
    for method, successes in (("random", 10), ("lewm", 20), ("mine", 11)):
        run.trial("push_t", method, outcome=outcome(successes), strata=("near", "far"))
    for method, successes in (("random", 10), ("mine", 20)):
        run.trial("two_room", method, outcome=outcome(successes))
    rows = raw(run).set_index(["task", "method"])
    alone = rows.loc[("two_room", "mine")]
    assert alone.minus_random_p_holm == alone.minus_random_p == pytest.approx(2 / 2**10)
    best = rows.loc[("push_t", "lewm")]
    assert best.minus_random_p == pytest.approx(2 / 2**10)
    assert best.minus_random_p_holm == pytest.approx(9 * 2 / 2**10)
    assert rows.loc[("push_t", "mine"), "minus_random_p_holm"] == 1.0
    shown = table(run, "success", "md")
    assert "corrected for all 9 comparisons" in shown and "| 0.018 |" in shown
    assert "corrected for all 1 comparison of" in shown


def test_strata_and_pairs_not_solved_at_start(run):
    solved = outcome(10)
    run.trial(outcome=outcome(25), strata=("near", "far far"), initially_solved=solved)
    row = raw(run).iloc[0]
    assert (row.near_success_pct, row.near_pairs) == (100 * 13 / 25, 25)
    assert (row.far_far_success_pct, row.far_far_pairs) == (100 * 12 / 25, 25)
    assert (row.not_solved_at_start_success_pct, row.not_solved_at_start_pairs) == (37.5, 40)
    assert "far far % (n = 25)" in table(run, "success", "md")


def test_extra_pairs_count_in_their_stratum_only(run):
    strata, samples = ("near", "far"), ["pairs"] * 30 + ["stratum"] * 20
    run.trial(method="lewm", outcome=outcome(30), strata=strata, samples=samples)
    run.trial(method="random", outcome=outcome(0), strata=strata, samples=samples)
    row = raw(run).set_index("method").loc["lewm"]
    assert (row.success_pct, row.pairs) == (100.0, 30)
    assert (row.far_success_pct, row.far_pairs) == (60.0, 25)
    assert (row.minus_random_points, row.minus_random_pairs) == (100.0, 30)


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


def test_protocols_never_share_a_table(run):
    for name, hashed, successes in (("p", "aaaaaaaaaa", 10), ("p", "bbbbbbbbbb", 40)):
        common = dict(protocol=name, protocol_hash=hashed)
        run.trial(key=f"l{hashed}", outcome=outcome(successes), **common)
        run.trial(key=f"r{hashed}", method="random", outcome=outcome(5), **common)
    rows = raw(run).set_index(["method", "protocol_hash"])
    assert rows.loc[("lewm", "aaaaaaaaaa"), "success_pct"] == 20.0
    assert rows.loc[("lewm", "bbbbbbbbbb"), "minus_random_points"] == 70.0
    parts = table(run, "success", "md").split("\n## ")[1:]
    assert len(parts) == 4  # rates and differences, twice
    assert all(("aaaaaaaa" in part) != ("bbbbbbbb" in part) for part in parts)


def test_splits_and_scales_are_not_averaged(run):
    run.trial(key="a", outcome=outcome(10))
    run.trial(key="b", outcome=outcome(20), split="validation")
    run.trial(key="c", outcome=outcome(30), scale="tiny")
    assert sorted(raw(run)["success_pct"]) == [20.0, 40.0, 60.0]


def test_a_failed_trial_is_listed_and_not_averaged(run, capsys):
    run.trial(seed=0, outcome=outcome(40))
    error = 'Traceback (most recent call last):\n  File "x"\nRuntimeError: out of <memory>'
    run.trial(seed=1, outcome=outcome(0), status="error", error=error, diverged=True)
    row = raw(run).iloc[0]
    assert (row.success_pct, row.seeds) == (80.0, 1)
    page = (run.folder / "index.html").read_text()
    assert "two_room.lewm.s1" in page
    assert "RuntimeError: out of &lt;memory&gt;" in page
    report.console(run.folder)
    shown = capsys.readouterr().out
    assert "failed: two_room.lewm.s1: RuntimeError: out of <memory>" in shown
    assert "80.0" in shown


def test_only_failed_trials_still_make_a_page(run):
    run.trial(status="error", error="OSError: no disk")
    assert [path.rpartition("/")[2] for path in report.write(run.folder)] == ["index.html"]
    assert "OSError: no disk" in (run.folder / "index.html").read_text()


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


def test_published_numbers_stand_beside(run):
    run.trial(method="lewm", outcome=outcome(10))
    run.trial(method="dino_wm_proprio", outcome=outcome(10))
    run.trial(method="lewm", variant="small", key="small", outcome=outcome(10))
    rows = raw(run).set_index("label")
    assert rows["published_success_pct"].fillna(-1).to_dict() == {
        "LeWM": 87,
        "DINO-WM + proprio": 100,
        "LeWM small": -1,
    }
    assert rows.loc["LeWM", "published_episodes"] == 50


def test_nothing_published_stands_beside_a_protocol_of_tests(run):
    run.trial(method="lewm", protocol="smoke", outcome=outcome(10))
    assert "published_success_pct" not in raw(run)


def test_without_published_files_there_is_no_column(run, tmp_path, monkeypatch):
    module = published
    monkeypatch.setattr(module, "FOLDER", tmp_path / "none")
    module._read.cache_clear()
    run.trial(outcome=outcome(10))
    found = raw(run)
    module._read.cache_clear()
    assert not [column for column in found if "published" in column]
    assert "Published" not in table(run, "success", "md")


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


def curve(name, values, every=1):
    return [("train", name, i * every, value, "") for i, value in enumerate(values)]


def ended(std):
    return [("latents", "latent_std", 0, std, ""), ("latents", "effective_rank", 0, 7.0, "")]


def test_how_training_ended(run):
    warm = "config: {train: {warmup_fraction: 0.1}}"
    for seed, last in ((0, 0.2), (1, 0.4)):
        made = curve("pred", [1.0] * 50 + [last], 1) + curve("sigreg", [3.0] * 51)
        made += curve("grad_norm", [9.0] * 5 + [2.0, 6.0 + seed] + [1.0] * 44)
        made += curve("latent_std", [0.7] * 51) + ended(0.9)
        run.trial(seed=seed, metrics=made, config=warm, train_steps=50, train_s=1.0)
    row = raw(run, "stability").iloc[0]
    assert row.final_pred == pytest.approx((2 * 1.0 + 0.2 + 2 * 1.0 + 0.4) / 6)  # steps 48 to 50
    assert (row.final_sigreg, row.latent_std, row.effective_rank) == (3.0, 0.9, 7.0)
    assert (row.final_gradient_norm, row.largest_gradient_norm) == (1.0, 7.0)  # 9 is of the warm-up
    assert (row.seeds, row.diverged, row.collapsed) == (2, 0, 0)
    shown = table(run, "stability", "md")
    assert "| Two-Room | LeWM | pred 0.767, sigreg 3 |" in shown
    assert "training seeds: 2; diverged: 0; collapsed: 0" in shown


def test_collapsed_and_diverged_seeds_are_counted(run):
    error = "TrainingError: loss, pred is not finite at step 7: lower train.lr"
    same = dict(train_steps=50, train_s=1.0)
    run.trial(seed=0, metrics=curve("pred", [1.0, 0.5]) + ended(0.01), **same)
    run.trial(seed=1, metrics=curve("pred", [1.0, 0.5]) + ended(0.99), **same)
    run.trial(seed=2, status="error", error=error, diverged=True)
    run.trial(seed=3, status="error", error="OSError: no disk")
    run.trial(method="pldm", status="error", error=error, diverged=True)
    run.trial(method="gcbc", metrics=curve("loss", [1.0, 0.5]), **same)
    run.trial(method="ema_jepa", metrics=curve("pred", [1.0, math.nan]), **same)
    rows = raw(run, "stability").set_index("method")
    assert rows["diverged"].to_dict() == {"lewm": 1, "pldm": 1, "gcbc": 0, "ema_jepa": 1}
    assert rows["collapsed"].to_dict() == {"lewm": 1, "pldm": 0, "gcbc": 0, "ema_jepa": 0}
    assert rows["seeds"].to_dict() == {"lewm": 3, "pldm": 1, "gcbc": 1, "ema_jepa": 1}
    lines = {
        line.split(" | ")[1]: line for line in table(run, "stability", "md").split("\n| ")[2:11]
    }
    assert "NaN" in lines["PLDM"] and "NaN" in lines["EMA JEPA"]
    assert "NaN" not in lines["GCBC"] and "NaN" not in lines["LeWM"]


def test_latex_is_balanced_and_escaped(run):
    run.trial(method="my_method", outcome=outcome(10), note="50 % & more")
    run.trial(method="random", outcome=outcome(5))
    report.write(run.folder)
    text = table(run, "success", "tex")
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 2
    assert all(text.count(rule) == 2 for rule in (r"\toprule", r"\midrule", r"\bottomrule"))
    assert r"my\_method (50 \% \& more)" in text
    assert not re.search(r"(?<!\\)[%&](?! )", text.partition("\n")[2])
    for body in re.findall(r"\\midrule\n(.*?)\\bottomrule", text, re.S):
        assert len({line.count(" & ") for line in body.strip().splitlines()}) == 1


def test_markdown_rows_have_as_many_cells_as_the_head(run):
    run.trial(outcome=outcome(10), note="a|b")
    run.trial(method="random", outcome=outcome(5))
    report.write(run.folder)
    for block in re.findall(r"(?:^\|.*\|\n)+", table(run, "success", "md"), re.M):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}) == 1


def test_pairs_that_a_seed_lacks_are_left_out_and_said(run, caplog):
    run.trial(seed=0, outcome=outcome(50))
    run.trial(seed=1, outcome=outcome(20, 40))
    row = raw(run).iloc[0]
    assert (row.pairs, row.success_pct) == (40, 75.0)
    assert "10 of 50 pairs" in caplog.text
    assert "10 pairs that some seed lacks" in table(run, "success", "md")


def test_seeds_on_other_data_do_not_take_a_method_out_of_the_table(run):
    run.trial(seed=0, outcome=outcome(50), dataset_hash="elsewhere")
    run.trial(seed=1, outcome=outcome(20))
    run.trial(seed=2, outcome=outcome(30))
    row = raw(run).iloc[0]
    assert (row.pairs, row.seeds, row.success_pct) == (50, 2, 50.0)
    assert "Left out: 1 training seed on other data" in table(run, "success", "md")


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


def test_a_trial_that_cannot_be_read_is_shown_as_failed_and_ends_the_command_with_1(run, capsys):
    run.trial(seed=0, outcome=outcome(40))
    broken = run.place(run.trial(seed=1, outcome=outcome(0)))
    table = pq.read_table(broken / "metrics.parquet")
    pq.write_table(table.drop_columns(["unit"]), broken / "metrics.parquet")
    assert command.main([str(run.folder)]) == 1
    page, said = (run.folder / "index.html").read_text(), capsys.readouterr().out
    assert "1 trials finished, 0 failed, 1 cannot be read." in page
    reason = "cannot be read: metrics.parquet: column unit is missing"
    assert broken.name in page and reason in page and f"failed: {broken.name} {reason}" in said


def test_a_run_of_which_nothing_can_be_read_has_a_page_and_no_tables_of_an_earlier_report(run):
    broken = run.place(run.trial(outcome=outcome(40)))
    assert command.main([str(run.folder)]) == 0
    assert (run.folder / "tables" / "success.csv").exists()
    own = run.folder / "figures" / "mine.png"
    own.write_bytes(b"")
    (broken / "trial.parquet").write_bytes(b"broken")
    assert command.main([str(run.folder)]) == 1
    assert (
        "0 trials finished, 0 failed, 1 cannot be read." in (run.folder / "index.html").read_text()
    )
    left = [path for path in run.folder.glob("[tf]*s/*.*") if path.is_file()]
    assert left == [own]


def test_a_copy_of_a_trial_is_in_no_table_and_named(run, capsys):
    made = run.place(run.trial(method="random", outcome=outcome(10)))
    run.trial(seed=1, outcome=outcome(40))
    expected = raw(run)
    copy = made.with_name(f"{made.name}.bak")
    shutil.copytree(made, copy)
    solved = pq.read_table(copy / "episodes.parquet").to_pandas().assign(success=True)
    solved.to_parquet(copy / "episodes.parquet")
    assert command.main([str(run.folder)]) == 0
    pd.testing.assert_frame_equal(raw(run), expected)
    page = (run.folder / "index.html").read_text()
    assert "2 trials finished, 0 failed." in page and f"{copy.name} (a copy" in page
    assert f"{copy.name}/" not in page and f"left out: {copy.name}" in capsys.readouterr().out


def test_a_configuration_that_cannot_be_parsed_is_tolerated():
    assert load.flat_config("a: [") == {}
    assert load.flat_config("a:\n  b: [1, 2]\n  c: {}\n") == {"a.b": [1, 2], "a.c": {}}


def test_every_method_is_compared_with_lewm_on_the_same_pairs(run):
    run.trial(method="lewm", outcome=outcome(30))
    run.trial(method="mine", outcome=outcome(40))
    rows = raw(run).set_index("method")
    assert rows.loc["mine", "minus_lewm_points"] == pytest.approx(20.0)
    assert rows.loc["mine", "minus_lewm_p"] == pytest.approx(2 / 2**10)
    assert math.isnan(rows.loc["lewm", "minus_lewm_points"])
    assert "− LeWM" in table(run, "success", "md")


def test_published_numbers_do_not_stand_beside_those_of_tests(run):
    run.trial(
        outcome=outcome(30),
        protocol="smoke modified",
        metrics=[("plan_time", "solve_s_1", 0, 0.5, "s")],
    )
    assert "published_success_pct" not in raw(run)
    assert "published_plan_s" not in raw(run, "efficiency")


def probed(error, source="latent", probe="mlp2x256", frames=12000):
    """Metrics of stage "probing" of one angle, read by a linear map and by a network."""
    kinds = {"linear": error + 0.5, probe: error}
    return [
        ("probing", rows.ProbeName("angle", source, kind, frames, what).text(), 0, value, unit)
        for kind, off in kinds.items()
        for what, value, unit in (("r", 1 - off, ""), ("error", off, "rad"))
    ]


def test_controls_stand_beside_what_the_latents_hold(run):
    controls = probed(0.4, "untrained") + probed(0.1, "pixels") + probed(0.5, "shuffled")
    for method, error in (("lewm", 0.2), ("pldm", 0.3)):
        run.trial(method=method, outcome=outcome(10), metrics=probed(error) + controls)
    report.write(run.folder)
    shown = table(run, "probing", "md")
    lines = [line for line in shown.splitlines() if line.startswith("| angle")]
    assert lines[0] == "| angle | LeWM | 0.30 | 0.80 | 0.700 rad | 0.200 rad | 0.400 | 0.500 |"
    assert lines[2] == "| angle | 32 px grey pixels | 0.40 | 0.90 | 0.600 rad | 0.100 rad | – | – |"
    assert len(lines) == 3 and "12,000 frames" in shown and "2 x 256 hidden units" in shown


def test_rows_of_an_older_probe_stand_in_a_section_of_their_own(run):
    old = [("probing", f"angle.{kind}.{what}", 0, 0.6, "") for kind in ("linear", "mlp")
           for what in ("r", "error")]  # fmt: skip
    run.trial(method="pldm", outcome=outcome(10), metrics=old)
    run.trial(method="lewm", outcome=outcome(10), metrics=probed(0.2))
    rows_of = raw(run, "probing").set_index("method")
    assert rows_of["mlp"].to_dict() == {"lewm": "2 x 256", "pldm": "1 x 128"}
    assert rows_of["frames"].to_dict() == {"lewm": 12000, "pldm": 6000}
    parts = table(run, "probing", "md").split("\n## ")[1:]
    assert len(parts) == 2 and not any("LeWM" in part and "PLDM" in part for part in parts)


def test_a_name_of_a_probe_is_read_as_it_was_written():
    name = rows.ProbeName("block_angle", "untrained", "mlp2x256", 12000, "error")
    assert rows.ProbeName.of(name.text()) == name
    old = rows.ProbeName("block_angle", "latent", "mlp1x128", 6000, "r")
    assert rows.ProbeName.of("block_angle.mlp.r") == old
