"""Tables of sweeps, on runs whose plateau is known."""

import numpy as np
import pytest
from synthetic_run import SyntheticRun

from harness.records import rows, run_tables
from harness.report import load, objective
from harness.report.tables import sweep

KEY = "method.lewm.sigreg_weight"


def write(folder, rates, seeds=1, **fields):
    """A run with a trial for each weight and seed, in this order."""
    run = SyntheticRun(folder)
    for number, (weight, rate) in enumerate(rates.items()):
        for seed in range(seeds):
            solved = np.arange(100) < 100 * (rate or 0)
            run.trial(
                seed=seed,
                outcome=solved if rate is not None else (),
                variant=f"w{weight}",
                key=f"two_room.lewm.w{weight}.s{seed}",
                split="validation",
                status="ok" if rate is not None else "error",
                metrics=[("sweep", KEY, 0, weight, "")],
                started=10.0 * number + seed,
                **fields,
            )
    return run_tables.read(str(folder))


def test_values_come_as_they_were_tried_with_their_worth(tmp_path):
    tried = sweep.tried_values(write(tmp_path, {0.1: 0.5, 0.001: None, 1: 0.7}, seeds=2))
    assert [words for words, _ in tried] == [
        "sigreg_weight=0.1", "sigreg_weight=0.001", "sigreg_weight=1",
    ]  # fmt: skip
    assert [judgement.value for _, judgement in tried] == pytest.approx([0.5, 0, 0.7])
    assert [judgement.seeds for _, judgement in tried] == [2, 2, 2]


def test_trials_that_no_sweep_varied_are_left_out(tmp_path):
    write(tmp_path, {0.1: 0.5})
    SyntheticRun(tmp_path).trial(outcome=np.ones(100), variant="best", key="two_room.lewm.best.s0")
    assert [words for words, _ in sweep.tried_values(run_tables.read(str(tmp_path)))] == [
        "sigreg_weight=0.1"
    ]


def test_needed_counts_until_the_best_so_far_is_on_the_plateau_of_all_runs(tmp_path):
    """The plateau is 0.88 to 0.9: the intervals of 100 pairs overlap those of no other rate."""
    runs = {
        "quick": {0.1: 0.9, 0.01: 0.5},
        "slow": {0.001: None, 0.002: 0.5, 0.003: 0.7, 0.05: 0.88, 0.5: 0.6},
        "never": {1.0: 0.5, 0.9: 0.7},
    }
    sweeps = [
        sweep.Sweep(name, "tpe", sweep.tried_values(write(tmp_path / name, rates)))
        for name, rates in runs.items()
    ]
    table = sweep.needed_table({"lewm: weight": sweeps})
    raw = table.raw.set_index("run")
    assert raw["needed"].fillna(-1).to_dict() == {"quick": 1, "slow": 4, "never": -1}
    assert raw["tried"].to_dict() == {"quick": 2, "slow": 5, "never": 2}
    factors = {"quick": 10.0, "slow": 0.05 / 0.003, "never": np.nan}
    for name, factor in factors.items():
        assert raw.loc[name, "ends_factor"] == pytest.approx(factor, nan_ok=True)
    assert raw.loc["slow", "best"] == "sigreg_weight=0.05"
    (section,) = table.sections
    assert section.title == "Values until the plateau, lewm: weight"
    assert section.frame["Needed"].tolist() == ["1", "4", "–"]
    assert "2 of 9, namely sigreg_weight=0.05, sigreg_weight=0.1" in section.caption


def test_by_itself_every_run_reaches_its_own_plateau(tmp_path):
    tried = sweep.tried_values(write(tmp_path, {1.0: 0.5, 0.9: 0.7}))
    table = sweep.needed_table({"weight": [sweep.Sweep("alone", "tpe", tried)]})
    assert table.raw["needed"].tolist() == [2]


def test_sweeps_of_other_keys_have_a_section_and_a_plateau_of_their_own(tmp_path):
    sweeps = {
        name: [sweep.Sweep(name, "tpe", sweep.tried_values(write(tmp_path / name, rates)))]
        for name, rates in {"good": {0.1: 0.9, 0.2: 0.5}, "bad": {0.3: 0.2, 0.4: 0.3}}.items()
    }
    table = sweep.needed_table(sweeps)
    assert table.raw.set_index("swept")["needed"].to_dict() == {"good": 1, "bad": 1}
    good, bad = (section.caption for section in table.sections)
    assert "1 of 2, namely sigreg_weight=0.1 (the best: 90.0 %" in good and "off it: 1 of 2" in good
    assert (
        "2 of 2, namely sigreg_weight=0.3, sigreg_weight=0.4 (" in bad and "off it: 0 of 2" in bad
    )


def test_a_pruned_value_is_worth_nothing_and_says_so(tmp_path):
    (tried,) = sweep.tried_values(write(tmp_path, {0.1: 0.5}, protocol="p"))
    (row,) = [rows.read_trial(str(path)) for path in (tmp_path / "trials").iterdir()]
    folder = str(tmp_path / "trials" / rows.folder_name(row.key, row.config_hash))
    rows.end_otherwise(folder, "pruned", "pruned after 25 % of its training")
    ((_, judgement),) = sweep.tried_values(run_tables.read(str(tmp_path)))
    assert tried[1].value == 0.5 and judgement.words() == "pruned: counts as 0"
    assert rows.read_trial(folder).error == "pruned after 25 % of its training"
    assert rows.changed(rows.read_back(folder)) == []  # its digest is of the new row
    assert load.load(str(tmp_path)).failed.empty  # it did not fail


def test_where_nothing_is_solved_there_is_no_plateau(tmp_path):
    tried = sweep.tried_values(write(tmp_path, {1.0: 0.0, 0.9: None}))
    table = sweep.needed_table({"weight": [sweep.Sweep("r", "", tried)]})
    (section,) = table.sections
    assert table.raw["needed"].isna().all() and "none of the 2 values tried" in section.caption
    assert (
        section.frame[["Sampler", "Needed", "Best value", "Success %"]].iloc[0].tolist()
        == ["–"] * 4
    )


def test_a_sweep_that_solved_nothing_has_no_best_value_beside_one_that_did(tmp_path):
    """The interval of 0 of 100 pairs meets that of 3 of 100, and is on no plateau all the same."""
    sweeps = [
        sweep.Sweep(name, "tpe", sweep.tried_values(write(tmp_path / name, rates)))
        for name, rates in {"some": {0.1: 0.0, 0.2: 0.03}, "none": {0.3: 0.0, 0.4: None}}.items()
    ]
    table = sweep.needed_table({"weight": sweeps})
    assert table.raw["needed"].fillna(-1).tolist() == [2, -1]
    assert table.raw["best"].tolist() == ["sigreg_weight=0.2", ""]
    assert "1 of 4, namely sigreg_weight=0.2 (" in table.sections[0].caption


def test_a_value_that_two_sweeps_tried_is_one_value(tmp_path):
    sweeps = [
        sweep.Sweep(name, "tpe", sweep.tried_values(write(tmp_path / name, rates)))
        for name, rates in {"a": {0.1: 0.9, 0.2: 0.5}, "b": {0.2: 0.5, 0.1: 0.9}}.items()
    ]
    table = sweep.needed_table({"weight": sweeps})
    assert table.raw["needed"].tolist() == [1, 2]
    caption = table.sections[0].caption
    assert "1 of 2, namely sigreg_weight=0.1 (" in caption and "off it: 1 of 2" in caption


def test_hard_pairs_have_a_plateau_of_their_own(tmp_path):
    """Even pairs are near, odd ones far: all near ones are solved, and 10 or 45 far ones."""
    run = SyntheticRun(tmp_path)
    far = {0.1: 10, 0.2: 45}
    for number, (weight, solved) in enumerate(far.items()):
        outcome = [pair % 2 == 0 or pair < 2 * solved for pair in range(100)]
        run.trial(
            outcome=outcome, strata=("near", "far"), split="validation", variant=f"w{weight}",
            key=f"two_room.lewm.w{weight}.s0", metrics=[("sweep", KEY, 0, weight, "")],
            started=float(number),
        )  # fmt: skip
    tables = run_tables.read(str(tmp_path))
    assert sweep.hard_pairs([tables]) == "far"
    values, hard = sweep.tried_values(tables), sweep.tried_values(tables, "far")
    assert [one.value for _, one in values] == pytest.approx([0.6, 0.95])
    assert [(one.value, one.pairs) for _, one in hard] == [(0.2, 50), (0.9, 50)]
    near = [(words, one) for words, one in sweep.tried_values(tables, "near")]
    assert [one.value for _, one in near] == [1, 1]
    one = sweep.Sweep("r", "tpe", near, [one for _, one in hard])
    table = sweep.needed_table({"weight": [one]}, "far")
    assert table.raw[["needed", "hard_needed"]].iloc[0].tolist() == [1, 2]
    (section,) = table.sections
    assert section.frame["Needed, hard pairs"].tolist() == ["2"]
    assert section.frame["Success %, hard pairs"].str.startswith("90 [").all()
    assert "off it: 0 of 2. Hard pairs: far" in section.caption
    assert "1 of 2, namely sigreg_weight=0.2 (" in section.caption
    assert sweep.hard_pairs([write(tmp_path / "plain", {0.1: 0.5})]) == ""


def test_a_front_and_importances_show_what_they_are_given():
    front = [
        ("a=1", objective.Judgement(0.9, 50, "", 0.8, 0.95, 0.4)),
        ("a=2", objective.Judgement(0.5, 50, "", 0.4, 0.6, 0.1)),
    ]
    table = sweep.pareto_table(front, 7)
    assert table.raw["value"].tolist() == ["a=2", "a=1"]  # the fastest first
    assert table.sections[0].frame["Success %"].tolist() == ["50 [40, 60]", "90 [80, 95]"]
    assert sweep.pareto_table([], 7).sections[0].frame.empty
    table = sweep.importances_table({"success": {"train.lr": 0.75, "mpc.horizon": 0.25}}, 9)
    assert table.sections[0].frame["Importance %"].tolist() == ["75", "25"]
