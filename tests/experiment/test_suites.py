"""Suites that vary more than tasks, methods and seeds."""

from __future__ import annotations

import pytest

from harness import trial, zoo
from harness.experiment import config, identity, suites, variations

SMALL = ["scale=tiny", "protocol=smoke", "tasks=toy", "device=cpu"]


def expand(*words):
    return suites.expand(config.parse([*SMALL, *words]), trial.STAGES)


def by_variant(specs):
    return {spec.variant: spec for spec in specs}


@pytest.mark.parametrize("name", variations.ABLATIONS)
def test_every_ablation_is_a_suite_whose_values_are_trained_anew(name):
    axis = variations.ABLATIONS[name]
    specs = expand(f"suite=ablation_{name}", "methods=lewm,random")
    values = [spec for spec in specs if spec.method == "lewm"]
    assert len(values) == len(axis.values) and len(specs) == len(values) + 1
    assert len({identity.training_hash(spec) for spec in values}) == len(values)
    assert all(spec.swept == (axis.key,) and "train" in spec.stages for spec in values)


def test_an_ablation_gives_each_trial_its_value():
    found = by_variant(expand("suite=ablation_dropout", "methods=lewm"))
    assert [spec.config.method.dropout for spec in found.values()] == [0.0, 0.1, 0.2, 0.5]
    assert set(found) == {"dropout-0", "dropout-0.1", "dropout-0.2", "dropout-0.5"}
    found = by_variant(expand("suite=ablation_encoder", "methods=lewm"))
    assert {name: spec.config.method.encoder.kind for name, spec in found.items()} == {
        f"encoder-{kind}": kind for kind in ("conv", "vit", "resnet18")
    }


def test_all_ablations_are_those_by_name_and_methods_without_axis_stand_once():
    together = expand("suite=ablations", "methods=lewm,ema_jepa,random")
    expected = sum(len(axis.values) for axis in variations.ABLATIONS.values())
    assert len(together) == expected + 2
    assert [spec.variant for spec in together[-2:]] == ["", ""]


def test_planners_have_the_rollouts_of_cem_and_one_training():
    specs = expand("suite=planners", "methods=lewm,random", "planner.cem.candidates=60")
    training, *others = [spec for spec in specs if spec.method == "lewm"]
    assert training.stages == ("train",)
    found = by_variant(others)
    assert {spec.config.weights.trial for spec in others} == {training.key}
    assert {name.partition("-")[0] for name in found} == set(zoo.PLANNERS)
    for name in zoo.PLANNERS:
        whole, planner = found[name].config.planner, found[name].config.planner_name
        assert planner == name and found[name].swept == (f"planner.{name}.iterations",)
        step = whole.candidates * (3 if name in ("adam", "rmsprop", "sgd") else 1)
        assert 60 * 2 - step < step * whole.iterations <= 60 * 2  # to a whole step
        half = found[f"{name}-0.5"].config.planner
        assert half.candidates == whole.candidates
        assert half.iterations == -(-whole.iterations // 2)
    (random,) = [spec for spec in specs if spec.method == "random"]
    assert random.variant == ""  # it does not plan


@pytest.mark.parametrize(
    ("iterations", "of_shares"),
    [
        (1, {"cem": 1}),
        (2, {"cem-0.5": 1, "cem": 2}),
        (3, {"cem-0.25": 1, "cem-0.5": 2, "cem": 3}),
        (8, {"cem-0.125": 1, "cem-0.25": 2, "cem-0.5": 4, "cem": 8}),
    ],
)
def test_no_two_shares_of_a_planner_are_the_same_number_of_iterations(iterations, of_shares):
    words = ("suite=planners", "methods=lewm", f"planner.cem.iterations={iterations}")
    found = variations.planners(expand(*words)[0])
    own = {name: way.layer["planner"]["cem"] for name, way in found.items() if name[:3] == "cem"}
    assert {name: settings["iterations"] for name, settings in own.items()} == of_shares


def test_horizons_move_the_goals_of_controls_too():
    specs = expand("suite=horizons", "methods=lewm,gcbc,random")
    random = by_variant(spec for spec in specs if spec.method == "random")
    assert {name: spec.config.protocol.offset_steps for name, spec in random.items()} == {
        "offset-25": 25,
        "offset-50": 50,
        "offset-75": 75,
        "offset-100": 100,
    }
    lewm = by_variant(spec for spec in specs if spec.method == "lewm")
    assert lewm["offset-50"].config.protocol.budget_steps == 100
    assert lewm["horizon-2"].config.mpc.execute_blocks == 2
    assert (
        lewm["execute-1"].config.mpc.horizon_blocks == lewm["offset-25"].config.mpc.horizon_blocks
    )
    assert {f"execute-{blocks}" for blocks in range(1, 6)} <= set(lewm)
    gcbc = {spec.variant for spec in specs if spec.method == "gcbc"}
    assert gcbc == {"training", *random}  # it does not plan


def test_methods_that_do_not_plan_are_evaluated_once_by_the_suite_of_planners():
    specs = expand("suite=planners", "methods=gcbc,lewm")
    assert [spec.variant for spec in specs if spec.method == "gcbc"] == [""]


def test_a_share_of_the_data_is_of_the_training_alone_and_older_trials_keep_their_hash():
    whole, half = (
        expand("suite=smoke", "methods=lewm", *words)[0] for words in ([], ["train.data_share=0.5"])
    )
    assert identity.config_hash(whole) != identity.config_hash(half)
    plain = identity._outcome(whole)["config"]
    assert "data_share" not in plain["train"] and "sigreg_knots" not in plain["method"]
