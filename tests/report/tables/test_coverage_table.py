"""The coverage table: every item of the paper is listed, and rows decide what is reproduced."""

import re
import shlex

import pytest
from synthetic_run import outcome, raw, table

from harness.experiment import config, suites
from harness.report import load, published, success_rates
from harness.report.tables import coverage, probing
from harness.sweep import space
from harness.trial import STAGES

# the figures and tables of results in arXiv 2603.19312 v3
ITEMS = {*(f"Fig. {n}" for n in (3, *range(6, 20))), *(f"Tab. {n}" for n in range(1, 11))}


def names(item):
    """ "Fig. 8, 11" -> Fig. 8 and Fig. 11."""
    kind, _, numbers = item.item.partition(" ")
    return {f"{kind} {number}" for number in numbers.split(", ")}


def rows_of(run):
    """The rows of the table, without the rest of a report."""
    tables = load.load(str(run.folder))
    estimates = success_rates.estimates(success_rates.outcomes(tables))
    return coverage.coverage_table(tables, estimates, probing.probing_table(tables).raw).raw


def line(run, title):
    """The row of the item with this title."""
    return rows_of(run).set_index("title").loc[title]


def test_every_item_of_the_paper_is_listed():
    assert set().union(*map(names, published.items())) == ITEMS


@pytest.mark.parametrize("item", published.items(), ids=lambda item: f"{item.item} {item.title}")
def test_commands_are_understood(item):
    """A loop's command is read with each of its values; an item without one says why."""
    if item.command.startswith("none: "):
        return
    loop = re.fullmatch(r"for v in (.+); do (.+); done", item.command)
    values, command = (loop[1].split(), loop[2]) if loop else ([""], item.command)
    for value in values:
        words = shlex.split(command.replace("$v", value))
        if words[:3] == ["python", "-m", "harness.sweep"]:
            sweep = space.parse(words[3:])
            assert item.key in sweep.space and sweep.trials >= len(item.values)
            continue
        assert words[0] == "./run.sh"
        specs = suites.expand(config.parse(words[1:]), STAGES)
        made = {}  # stages of all trials of a method on a task: a training, and evaluations of it
        for spec in specs:
            made.setdefault((spec.task, spec.method), set()).update(spec.stages)
        stages = {"success": "control", "map": "geometry"}
        needed = {stages.get(name, name) for name in (s.partition(":")[0] for s in item.stages)}
        assert all(needed | {"train"} <= own for own in made.values())
        for method in item.methods:
            for task in item.tasks:
                known = item.published != "success" or published.success_of(task, method)
                assert (task, method) in made or not known


def test_an_item_is_not_then_partly_then_reproduced(run):
    title = "Violation of expectation"
    run.trial("push_t", "gcbc", outcome=outcome(10))
    nothing = line(run, title)
    assert (nothing.status, nothing.found, nothing.missing) == ("not", 0, "all")
    wanted = [(m, t) for m in ("lewm", "pldm", "dino_wm") for t in ("two_room", "push_t", "cube")]
    for count, (method, task) in enumerate(wanted, start=1):
        surprise = [("surprise", "teleported.model.mean", 0, 1.0, "")]
        run.trial(task, method, outcome=outcome(10), metrics=surprise)
        known = line(run, title)
        assert (known.found, known.needed) == (count, 9)
        assert known.status == ("partly" if count < 9 else "reproduced")
        if count == 5:
            assert known.missing == "pldm on cube; dino_wm on two_room, push_t, cube"
    assert known.missing == ""


def test_the_table_stands_in_the_report(run):
    run.trial("push_t", "lewm", outcome=outcome(23))  # published: 96 %
    assert set(raw(run, "coverage")["status"]) == {"not", "partly"}
    shown = table(run, "coverage", "md")
    assert "partly: 1 of 25" in shown and "mean −50, largest −50 (LeWM, Push-T)" in shown
    assert "What of the paper is reproduced" in (run.folder / "index.html").read_text()


def test_a_trial_without_the_stage_is_missing_by_name(run):
    run.trial("two_room", "lewm", outcome=outcome(10))
    run.trial("two_room", "pldm", outcome=outcome(10), metrics=PROBES)
    probed = line(run, "Probing on Two-Room")
    assert probed.missing == "lewm on two_room (no probing); dino_wm on two_room"
    assert probed.mean_gap == pytest.approx(100 * (0.5 - 1.0))  # hundredths of the MLP's r


PROBES = [
    ("probing", f"agent.latent.{probe}.12000.{measure}", 0, 0.5, "px")
    for probe in ("linear", "mlp2x256")
    for measure in ("r", "mse", "error")
]


def test_the_gap_is_ours_minus_published(run):
    run.trial("push_t", "lewm", outcome=outcome(23))  # 46 %, published 96
    run.trial("push_t", "pldm", outcome=outcome(44))  # 88 %, published 78
    success = line(run, "Success on four tasks")
    assert success.mean_gap == pytest.approx(-20) and success.largest_gap == pytest.approx(-50)
    assert (success.largest_gap_method, success.largest_gap_task) == ("lewm", "push_t")


def test_a_spread_needs_its_training_seeds(run):
    for seed in range(3):
        for method in ("lewm", "pldm", "dino_wm_proprio"):
            run.trial("push_t", method, seed, outcome(24))
        spread = line(run, "Spread over training seeds")
        assert spread.status == ("reproduced" if seed == 2 else "not")
    assert spread.mean_gap == pytest.approx(48 - (96 + 78 + 92) / 3)


def swept(run, key, value, successes):
    """A trial of a setting, whose configuration has this value of a method's key."""
    text = f"config:\n  method:\n    {key}: {value}\n"
    own = dict(key=f"{key}-{value}", setting_hash=f"{key}-{value}", config=text)
    run.trial("push_t", "lewm", outcome=outcome(successes), **own)


def test_named_values_of_a_sweep(run):
    """One value is no sweep; each of several is compared with the paper's at that value."""
    swept(run, "dropout", 0.1, 40)
    assert line(run, "Dropout in the predictor").status == "not"
    swept(run, "dropout", 0.5, 20)
    two = line(run, "Dropout in the predictor")
    assert (two.status, two.found) == ("partly", 2)
    assert two.missing == "lewm on push_t (dropout 0.0, 0.2)"
    assert two.mean_gap == pytest.approx((80 - 96 + 40 - 66.67) / 2)
    swept(run, "dropout", 0.0, 20)
    swept(run, "dropout", 0.2, 20)
    assert line(run, "Dropout in the predictor").status == "reproduced"


def test_any_values_of_a_sweep(run):
    for count, value in enumerate((32, 64, 128), start=1):
        swept(run, "latent_dim", value, 20)
        size = line(run, "Size of the latent")
        assert size.found == {1: 0, 2: 2, 3: 3}[count]
    assert size.status == "reproduced" and line(run, "Weight of SIGReg").status == "not"


def test_scales_stand_apart_and_tests_do_not_count(run):
    for scale, protocol in (("laptop", "lewm-v3"), ("paper", "lewm-v3"), ("tiny", "smoke")):
        curves = [("train", "loss", 0, 1.0, "")]
        own = dict(key=scale, setting_hash=scale, metrics=curves)
        run.trial("push_t", "pldm", outcome=outcome(9), scale=scale, protocol=protocol, **own)
    rows = rows_of(run)
    weights = rows[rows["title"] == "Weights of PLDM's loss"].set_index("scale")["status"]
    assert weights.to_dict() == {"laptop": "reproduced", "paper": "reproduced"}


def test_a_run_of_other_tasks_has_no_coverage(run):
    run.trial("toy", "lewm", outcome=outcome(9))
    assert rows_of(run).empty
