"""Figures of evaluations and trainings that vary something, on rows whose numbers are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from synthetic_run import outcome, picture

from harness import report
from harness.records.metric_names import PictureName
from harness.report import load, success_rates
from harness.report.figures import (
    ablations,
    blame,
    decoder,
    horizons,
    hyperparameters,
    learning,
    planners,
    style,
    success,
    sweep,
    varied,
)

PLANNER = (
    "config: {{planner_name: {name}, planner: {{candidates: {candidates}, "
    "iterations: {iterations}}}}}"
)
HORIZON = (
    "config: {{mpc: {{horizon_blocks: {blocks}, execute_blocks: {executed}}}, "
    "protocol: {{offset_steps: {offset}}}}}"
)


def tables(run):
    """A run's tables and estimates, as figures take them."""
    loaded = load.load(str(run.folder))
    return loaded, success_rates.estimates(success_rates.outcomes(loaded))


def drawn(module, run):
    """The figures of a module."""
    with style.style():
        return module.figures(*tables(run))


def points_of(ax):
    """Label-free lines of a panel: the points of each line that has a marker."""
    lines = [line for line in ax.lines if line.get_marker() not in ("", "None", None)]
    return sorted(line.get_xydata().round(6).tolist() for line in lines if len(line.get_xdata()))


def titles(figure):
    return [ax.get_title("left") for ax in figure.axes]


def varied_trial(run, variant, key, value, successes, task="push_t", method="lewm", **fields):
    """A trial of a suite in which a key has this value; its protocol has a hash of its own."""
    own = dict(
        protocol_hash=f"{variant:x<8}", setting_hash=f"{method}{variant}", protocol="lewm-v3"
    )
    word = "" if not isinstance(value, str) else value
    number = np.nan if word else float(value)
    metrics = [("sweep", key, 0, number, word), *fields.pop("metrics", [])]
    run.trial(
        task, method, key=f"{task}.{method}.{variant}.s0", variant=variant, metrics=metrics,
        **({"outcome": outcome(successes, 100)} | own | fields),
    )  # fmt: skip


# -- planners


def planned(run, variant, successes, seconds, flops, method="lewm", iterations=10, **fields):
    name = variant.partition("-")[0]
    timed = [("plan_time", "solve_s_1", i, seconds, "s") for i in range(3)] if seconds else []
    counted = [("plan_time", "flops", 0, flops, "FLOP")] if flops else []
    varied_trial(
        run, variant, f"planner.{name}.iterations", iterations, successes, method=method,
        suite="planners", metrics=[*timed, *counted],
        config=PLANNER.format(name=name, candidates=30, iterations=iterations), **fields,
    )  # fmt: skip


def test_a_planner_is_a_line_over_its_time_and_one_over_its_operations(run):
    planned(run, "cem", 80, 2.0, 4e9)
    planned(run, "cem-0.5", 50, 1.0, 2e9, iterations=5)
    planned(run, "adam", 70, 3.0, 4e9)
    planned(run, "mine", 10, 3.0, 4e9)  # a planner from outside
    planned(run, "cem", 60, 2.0, 4e9, method="pldm")
    run.trial("push_t", "random", suite="planners", protocol="lewm-v3", outcome=outcome(7, 100))
    points = planners.data(*tables(run)).set_index(["method", "variant"])
    assert points.loc[("lewm", "cem-0.5"), ["ms", "gflop", "rollouts"]].tolist() == [1000, 2, 150]
    assert points.loc["lewm", "rollouts"].to_dict()["adam"] == 900  # three for each step
    assert points["paper"].dropna().to_dict() == {
        ("lewm", "adam"): 84, ("lewm", "cem"): 96, ("pldm", "cem"): 78,
    }  # fmt: skip
    ((name, (figure, caption)),) = drawn(planners, run).items()
    assert name == "planners_push_t" and "Tab. 10" in caption and "28 more" not in caption
    times, _, compute, _ = figure.axes
    assert titles(figure) == ["LeWM", "PLDM", "", ""]
    assert [[1000, 50], [2000, 80]] in points_of(times)
    assert [[2, 50], [4, 80]] in points_of(compute)
    assert [[4, 96]] in points_of(compute) and [[4, 96]] not in points_of(times)
    assert times.get_xlim() == figure.axes[1].get_xlim() and times.get_xscale() != "linear"
    assert times.lines[0].get_ydata() == pytest.approx([7, 7])  # random
    words = {text.get_text() for text in figure.legends[0].get_texts()}
    assert words == {"CEM", "Adam", "mine", "random", "published"}


def test_hard_pairs_have_panels_of_their_own(run):
    near_alone = np.arange(100) % 2 == 0  # the strata take turns
    strata = ("near", "far")
    for name, solved in (("cem", np.ones(100, bool)), ("mppi", near_alone)):
        planned(run, name, 0, 2.0, 4e9, strata=strata, outcome=solved)
    run.trial("push_t", "random", suite="planners", protocol="lewm-v3", strata=strata,
              outcome=near_alone)  # fmt: skip
    points = planners.data(*tables(run)).set_index("variant")
    assert set(points["hard"]) == {"far"}
    assert points["hard_mean"].to_dict() == {"cem": 100, "mppi": 0}
    assert points["mean"].to_dict() == {"cem": 100, "mppi": 50}
    ((_, (figure, caption)),) = drawn(planners, run).items()
    assert "Hard pairs: far, the kind" in caption
    every, hard, operations = figure.axes
    labels = [ax.get_ylabel() for ax in figure.axes]
    assert labels == ["success, %", "on far pairs, %", "on far pairs, %"]
    assert [ax.get_xlabel() for ax in figure.axes] == ["", "ms of one plan", "GFLOP of one plan"]
    assert [[2000, 50]] in points_of(every) and [[2000, 0]] in points_of(hard)
    assert [[4, 0]] in points_of(operations)
    assert [ax.lines[0].get_ydata()[0] for ax in (every, hard)] == [50, 0]  # random
    assert [[4, 96]] not in points_of(operations)  # the paper's number is of all pairs


def test_controls_alone_are_no_figure_of_success_beside_a_suite_s_own(run):
    planned(run, "cem", 80, 2.0, 4e9)
    run.trial("push_t", "random", suite="planners", protocol="lewm-v3", outcome=outcome(7, 100))
    assert drawn(success, run) == {}


def test_planners_whose_plans_nobody_timed_stand_over_their_rollouts(run):
    for share, successes in ((0.5, 20), (1, 40)):
        variant = "icem" if share == 1 else f"icem-{share}"
        planned(run, variant, successes, 0, 0, iterations=round(10 * share))
    ((_, (figure, caption)),) = drawn(planners, run).items()
    (ax,) = figure.axes
    assert ax.get_xlabel() == "rollouts of one plan" and "rollouts: candidates" in caption
    assert points_of(ax)[0] == [[150, 20], [300, 40]]


def test_a_sweep_shows_hard_pairs_beside_all(run):
    for weight, far in ((0.1, 20), (0.2, 40)):
        solved = np.arange(100) % 2 == 0  # near ones
        solved[1 : 2 * far : 2] = True
        varied_trial(
            run, f"w{weight}", "method.lewm.sigreg_weight", weight, 0, suite="sweep",
            split="validation", strata=("near", "far"), outcome=solved, protocol_hash="aaaa",
        )  # fmt: skip
    figure, caption = sweep.figure(*tables(run))
    top = figure.axes[0]
    assert [[0.1, 40], [0.2, 80]] in points_of(top) and "Hard pairs: far" in caption
    assert "hard pairs" in [text.get_text() for text in figure.legends[0].get_texts()]


def test_suites_with_a_figure_of_their_own_are_no_panels_of_the_sweep(run):
    planned(run, "cem", 80, 2.0, 4e9)
    varied_trial(run, "w", "method.lewm.sigreg_weight", 0.1, 30, suite="sweep")
    assert sweep.data(*tables(run))["name"].tolist() == ["method.lewm.sigreg_weight"]


# -- horizons


def horizon(run, variant, key, value, successes, method="lewm", blocks=5, executed=5, offset=25):
    config = HORIZON.format(blocks=blocks, executed=executed, offset=offset)
    varied_trial(
        run, variant, key, value, successes, method=method, suite="horizons", config=config
    )


def test_horizons_have_three_panels_with_the_controls_beside(run):
    for offset in (25, 100):
        for method, successes in (("lewm", 90), ("random", 8), ("heuristic", 30)):
            own = successes - offset // 25
            horizon(run, f"o-{offset}", horizons._OFFSET, offset, own, method, offset=offset)
    for blocks in (2, 8):
        horizon(run, f"h-{blocks}", horizons._PLAN, blocks, 10 * blocks, blocks=blocks, executed=2)
    for executed in (1, 4):
        horizon(run, f"e-{executed}", horizons._EXECUTED, executed, 70, executed=executed)
    ((name, (figure, caption)),) = drawn(horizons, run).items()
    assert name == "horizons_push_t" and "twice their distance" in caption
    for words in ("Blocks of a plan:", "Blocks executed:", "Lines across:", "Dotted upright"):
        assert words in caption
    far, plans, replans = figure.axes
    assert [[25, 89], [100, 86]] in points_of(far) and [[25, 7], [100, 4]] in points_of(far)
    assert [[2, 20], [8, 80]] in points_of(plans) and [[1, 70], [4, 70]] in points_of(replans)
    for ax in (plans, replans):  # of the controls, those at 25 steps
        assert {7.0, 29.0} <= {round(line.get_ydata()[0], 6) for line in ax.lines}
    upright = [line.get_xdata()[0] for line in far.lines if len(set(line.get_xdata())) == 1]
    assert 25 in upright  # the protocol's own distance
    width, height = figure.get_size_inches()
    assert width <= style.WIDTH_IN and height <= style.HEIGHT_IN


def test_a_caption_of_horizons_explains_no_panel_that_is_not_there(run):
    for offset in (25, 50):
        horizon(run, f"o-{offset}", horizons._OFFSET, offset, 50, offset=offset)
    ((_, (figure, caption)),) = drawn(horizons, run).items()
    assert len(figure.axes) == 1 and "Goal offset:" in caption
    for words in ("Blocks", "Lines across", "Dotted"):
        assert words not in caption


# -- blame


def blamed(run, variant, successes, method="lewm", std=1.0, **fields):
    key = "mpc.cost" if variant == "probed" else "mpc.dynamics"
    varied_trial(
        run, variant, key, variant, successes, method=method, suite="blame",
        metrics=[("latents", "latent_std", 0, std, "")], **fields,
    )  # fmt: skip


def blamed_dots(ax):
    """marker -> its dots in a panel."""
    return {
        line.get_marker(): line.get_xydata().round(6).tolist()
        for line in ax.lines
        if line.get_marker() not in ("", "None", None)
    }


def test_blame_has_three_dots_a_method_side_by_side(run):
    """The probe's latents of true state have little spread, which is no collapse."""
    rates = {"lewm": (60, 90, 65), "pldm": (50, 55, 80), "true_state": (97, 98, 99)}
    for method, successes in rates.items():
        for variant, number in zip(("model", "simulated", "probed"), successes, strict=True):
            std = 0.01 if method == "true_state" else 1.0
            blamed(run, variant, number, method, std)
    run.trial("push_t", "oracle", suite="blame", protocol="lewm-v3", outcome=outcome(100, 100))
    run.trial("push_t", "random", suite="blame", protocol="lewm-v3", outcome=outcome(7, 100))
    figures = drawn(blame, run)
    ((name, (figure, caption)),) = figures.items()
    assert name == "blame_push_t" and "in 3 ways" in caption and "Hard pairs" not in caption
    for words in ("Its own model:", "The simulator's dynamics:", "A probe's cost:", "its own cost"):
        assert words in caption
    (ax,) = figure.axes
    labels = [label.get_text() for label in ax.get_xticklabels()]
    assert labels == ["LeWM", "PLDM", "True state\n(ceiling)"]
    assert blamed_dots(ax) == {
        "o": [[-0.2, 60], [0.8, 50], [1.8, 97]],
        "s": [[0, 90], [1, 55], [2, 98]],
        "^": [[0.2, 65], [1.2, 80], [2.2, 99]],
    }
    spans = [points for part in ax.collections for points in part.get_segments()]
    assert len(spans) == 9 and all(low[1] < high[1] for low, high in spans)
    plain = [line for line in ax.lines if line.get_marker() in ("", "None")]
    across = [round(line.get_ydata()[0], 6) for line in plain]
    assert sorted(across) == [7, 100]  # random, and the simulator
    words = {text.get_text() for text in figure.legends[0].get_texts()}
    assert words >= {"its own model", "the simulator's dynamics", "a probe's cost", "random"}
    assert "collapsed" not in words
    with style.style():
        assert sweep.figure(*tables(run)) is None
    names = {path.rpartition("/")[2] for path in report.write(run.folder)}
    assert "blame_push_t.png" in names and "sweep.png" not in names


def test_blame_on_hard_pairs_stands_below(run):
    solved = np.arange(100) % 2 == 0  # the strata take turns
    for variant, both in (("model", solved), ("simulated", np.ones(100, bool))):
        blamed(run, variant, 0, strata=("near", "far"), outcome=both)
    ((_, (figure, caption)),) = drawn(blame, run).items()
    assert "in 2 ways" in caption and "Hard pairs: far" in caption and "probe" not in caption
    every, hard = figure.axes
    assert [ax.get_ylabel() for ax in figure.axes] == ["success, %", "on far pairs, %"]
    assert blamed_dots(every) == {"o": [[-0.1, 50]], "s": [[0.1, 100]]}
    assert blamed_dots(hard) == {"o": [[-0.1, 0]], "s": [[0.1, 100]]}


# -- learning


def snapshot(run, method, share, successes, seconds, stage_metrics=(), frames=()):
    steps = round(800 * share)
    varied_trial(
        run, f"training-{share:g}", "train.steps", steps, successes, method=method,
        suite="training_time", protocol_hash="same", train_s=seconds, train_steps=steps,
        config=f"config: {{train: {{batch_size: 50}}, weights: {{share: {share}}}}}",
        metrics=stage_metrics, frames=frames,
    )  # fmt: skip


def test_success_stands_over_time_windows_and_episodes(run):
    for method, speed in (("lewm", 100), ("gcbc", 40)):
        for share in (0.25, 1):
            snapshot(run, method, share, round(80 * share), speed * share)
    for share in (0.1, 1.0):
        varied_trial(
            run, f"data-{share}", "train.data_share", share, 30, suite="ablation_data",
            protocol_hash="same",
        )  # fmt: skip
    ((name, (figure, caption)),) = drawn(learning, run).items()
    assert name == "learning_push_t" and "windows of a batch" in caption
    time, windows, episodes = figure.axes
    assert points_of(time) == [[[10, 20], [40, 80]], [[25, 20], [100, 80]]]
    assert points_of(windows) == [[[10, 20], [40, 80]]] * 2
    assert points_of(episodes) == [[[10, 30], [100, 30]]]


def drawn_frames(grey):
    return [
        (7, "", kind, 5 * k, False, picture(grey + 40 * (kind == "real")), "decoder")
        for kind in ("real", "decoded", "imagined")
        for k in (0, 1, 2)
    ]


def test_a_training_on_its_way_is_a_row_of_pictures_for_each_share(run):
    for share in (0.0625, 0.5, 1):
        psnr = [
            ("decoder", PictureName(source, measure).text(), k, 10 + 8 * share + k - 1, "dB")
            for source in ("decoded", "imagined")
            for measure in ("psnr", "ssim")
            for k in range(3)
        ]
        snapshot(run, "lewm", share, 50, 10, psnr, drawn_frames(round(200 * share)))
    loaded, _ = tables(run)
    assert sorted(varied.shares(loaded)) == [0.0625, 0.5, 1]
    frame = decoder.snapshot_data(loaded)
    assert frame["share"].is_monotonic_increasing and set(frame["kind"]) == {"real", "decoded"}
    psnr = frame.groupby("share")["psnr"].first()
    assert psnr.to_dict() == {0.0625: 10.5, 0.5: 14, 1: 18}
    with style.style():
        figures = decoder.figures(loaded)
    assert set(figures) == {"decoder_push_t", "imagined_push_t", "snapshots_push_t"}
    (ax,) = figures["snapshots_push_t"].figure.axes
    words = [text.get_text() for text in ax.texts]
    rows = [text for text in words if "\n" in text or text == "real"]
    assert rows == ["real", "1/16 of training\n10.5 dB", "1/2 of training\n14.0 dB",
                    "whole training\n18.0 dB"]  # fmt: skip
    assert len(ax.images) == 4 * 3
    assert "LeWM Fig. 10" in figures["snapshots_push_t"].caption
    whole = decoder._whole(loaded, decoder.picture_data(loaded))
    assert whole["label"].unique().tolist() == ["LeWM"]
    assert set(whole["colour"]) == {style.colour(loaded, "lewm")}


# -- ablations


def ablated(run, name, key, value, successes, config, latent_std=1.0):
    varied_trial(
        run, f"{name}-{value}", key, value, successes, suite="ablations", protocol_hash="same",
        config=f"config: {{method: {{{config}}}}}",
        metrics=[("latents", "latent_std", 0, latent_std, "")],
    )  # fmt: skip


def test_ablations_are_a_panel_an_axis_with_the_default_and_the_paper_s_numbers(run):
    for dropout in (0.0, 0.1, 0.2):
        words = f"dropout: {dropout}, encoder: {{kind: conv}}"
        ablated(run, "dropout", "method.lewm.dropout", dropout, 60, words, 0.01 + (dropout > 0))
    for kind in ("conv", "vit"):
        words = f"dropout: 0.1, encoder: {{kind: {kind}}}"
        ablated(run, "encoder", "method.lewm.encoder.kind", kind, 40, words)
    for weight in (0.01, 0.1):
        words = f"sigreg_weight: {weight}, dropout: 0.1, encoder: {{kind: conv}}"
        ablated(run, "weight", "method.lewm.sigreg_weight", weight, 90, words)
    varied_trial(run, "data-1", "train.data_share", 1.0, 30, suite="ablations")
    points = ablations.data(*tables(run)).set_index(["name", "setting"])
    assert points.index[points["is_default"]].tolist() == [
        ("method.lewm.dropout", "0.1"),
        ("method.lewm.encoder.kind", "conv"),
    ]
    assert points.index[points["collapsed"]].tolist() == [("method.lewm.dropout", "0")]
    paper = points["paper"].dropna().groupby("setting").first().to_dict()
    assert paper == {"0": 78, "0.1": 96, "0.2": pytest.approx(85.33), "vit": 96}
    ((name, (figure, caption)),) = drawn(ablations, run).items()
    assert name == "ablations_push_t" and "Ringed: the default" in caption
    assert titles(figure) == ["dropout", "encoder.kind", "sigreg_weight"]
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == ["0", "0.1", "0.2"]
    for words in ("Tab. 8, Tab. 9", "above 80 % from 0.01 to 0.2", "Fig. 16"):
        assert words in caption
    assert "decoder" not in caption  # that axis is not there
    assert {text.get_text() for text in figure.legends[0].get_texts()} == {
        "default", "collapsed", "published",
    }  # fmt: skip


def test_one_axis_alone_has_no_default_and_no_words_about_one(run):
    """Which value is the default only the trainings of other axes say."""
    for kind in ("conv", "vit"):
        words = f"dropout: 0.1, encoder: {{kind: {kind}}}"
        ablated(run, "encoder", "method.lewm.encoder.kind", kind, 40, words)
    ((_, (_, caption)),) = drawn(ablations, run).items()
    assert "Ringed" not in caption and "a training for each setting" in caption


# -- hyperparameters


def tried(run, values, successes, std=1.0, method="pldm", strata=()):
    """A trial of a sweep that gave keys these values."""
    name = "-".join(map(str, values.values()))
    metrics = [("sweep", key, 0, value, "") for key, value in values.items()]
    run.trial(
        "push_t", method, key=f"push_t.{method}.{name}.s0", variant=name, setting_hash=name,
        suite="sweep", split="validation", outcome=outcome(successes, 100), strata=strata,
        metrics=[*metrics, ("latents", "latent_std", 0, std, "")],
    )  # fmt: skip


def stars(ax):
    """Where the chosen value is marked."""
    return [tuple(float(at[0]) for at in line.get_data()) for line in ax.lines
            if line.get_marker() == "*"]  # fmt: skip


def test_two_keys_are_a_heat_map_with_its_plateau_framed(run):
    rates = {(1, 1): 20, (1, 1000): 90, (10, 1): 88, (10, 1000): 99}
    for (var, cov), successes in rates.items():
        std = 0.01 if successes == 99 else 1.0  # a collapsed training is no value to choose
        tried(run, {"method.pldm.var": var, "method.pldm.cov": cov}, successes, std)
    loaded, estimates = tables(run)
    points = hyperparameters.data(loaded, estimates)
    assert points.set_index(["x", "y"])["mean"].to_dict() == {
        (cov, var): pytest.approx(rate) for (var, cov), rate in rates.items()
    }  # the first key by name is x
    on = points[hyperparameters.plateau(points)]
    assert sorted(zip(on["x"], on["y"], strict=True)) == [(1, 10), (1000, 1)]
    with style.style():
        figure, caption = hyperparameters.figure(loaded, estimates)
    ax, _ = figure.axes
    assert ax.get_title("left") == "PLDM, Push-T\n2 of 4 values on the plateau"
    assert sorted(text.get_text() for text in ax.texts) == ["20", "88", "90", "99"]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["1", "1000"]
    framed = [patch.get_xy() for patch in ax.patches]
    assert sorted(framed) == [(0.04, 0.04), (1.04, 1.04)]  # the largest var is above
    assert stars(ax) == [(1.83, 1.2)]  # 90 %, in the corner of its place
    assert "validation pairs" in caption
    names = {path.rpartition("/")[2] for path in report.write(run.folder)}
    assert {"hyperparameters.png", "sweep.png"} <= names


def test_hard_pairs_have_a_row_of_their_own_and_no_line_over_one_of_two_keys(run):
    """Of 100 pairs that take turns the first 50 or 99 are solved: 25 or 50 of each kind."""
    for (var, cov), successes in {(1, 1): 50, (1, 10): 99, (10, 1): 99, (10, 10): 99}.items():
        values = {"method.pldm.var": var, "method.pldm.cov": cov}
        tried(run, values, successes, strata=("near", "far"))  # the last pair is far
    loaded, estimates = tables(run)
    with style.style():
        figure, caption = hyperparameters.figure(loaded, estimates)
        _, words = sweep.figure(loaded, estimates)
    above, below, _ = figure.axes
    assert below.get_title("left") == "hard pairs: far\n3 of 4 values on the plateau"
    assert sorted(text.get_text() for text in above.texts) == ["50", "99", "99", "99"]
    assert sorted(text.get_text() for text in below.texts) == ["50", "98", "98", "98"]
    assert "Hard pairs: far" in caption and "Hard pairs" not in words


def test_two_keys_that_are_no_grid_are_dots_and_one_key_is_left_to_the_sweep_s_figure(run):
    for i in range(4):
        tried(run, {"method.pldm.var": 1.0 + i, "method.pldm.cov": 10.0**i}, 20 * i)
    loaded, estimates = tables(run)
    with style.style():
        figure, caption = hyperparameters.figure(loaded, estimates)
        above, _ = sweep.figure(loaded, estimates)
    ax = figure.axes[0]
    assert ax.get_xscale() == "log" and ax.get_yscale() == "linear"
    assert sorted(text.get_text() for text in ax.texts) == ["0", "20", "40", "60"]
    assert stars(ax) == [(1000.0, 4.0)] and "Star: the value chosen" in caption
    for panel in above.axes[:2]:  # over one of two keys no span is a plateau
        assert panel.get_title("left").startswith("PLDM") and not panel.patches


def test_one_key_alone_has_no_heat_map(run):
    tried(run, {"method.lewm.sigreg_weight": 0.1}, 50, method="lewm")
    loaded, estimates = tables(run)
    assert hyperparameters.figure(loaded, estimates) is None
    assert len(hyperparameters.data(loaded, estimates)) == 1
    assert hyperparameters.data(loaded, estimates.iloc[:0]).empty


def test_words_have_no_place_on_a_map(run):
    run.trial(
        variant="a", outcome=outcome(5), suite="sweep",
        metrics=[("sweep", "planner.name", 0, np.nan, "cem"), ("sweep", "train.lr", 0, 0.1, "")],
    )  # fmt: skip
    assert hyperparameters.data(*tables(run)).empty
    assert isinstance(sweep.data(*tables(run)), pd.DataFrame)


# -- axes and captions of the sweep


@pytest.mark.parametrize(
    ("values", "is_log"),
    [
        ((0.1, 0.4, 0.8), True),  # weights are tried by their order of magnitude
        ((0.5, 0.6, 0.9), False),
        ((0.0, 0.1, 0.5), False),
        ((0.0, 0.1, 1.0), True),
        ((1, 3, 8), False),
        ((1, 3, 10), True),
        ((-1.0, 10.0), False),
        ((0.0, 0.0), False),
    ],
)
def test_a_log_axis_is_one_of_decades_or_of_weights(values, is_log):
    assert varied.spans_decades(pd.Series(values)) == is_log


@pytest.mark.parametrize(("std", "has_plateau"), [(1.0, True), (0.01, False)])
def test_the_caption_of_a_sweep_explains_the_plateau_that_is_drawn(run, std, has_plateau):
    for weight in (0.1, 0.4, 0.8):
        tried(run, {"method.pldm.var": weight}, 50, std)
    with style.style():
        figure, caption = sweep.figure(*tables(run))
    top = figure.axes[0]
    assert bool(top.patches) == has_plateau == ("plateau" in caption)
    assert top.get_xscale() == "log" and "latent std of held-out frames" in caption
    handles = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert ("plateau" in handles) == has_plateau
