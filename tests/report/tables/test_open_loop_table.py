"""The open-loop table: errors beside those of the guesses, and how far a rollout is worth it."""

from __future__ import annotations

import math

from synthetic_run import outcome, raw, table

from harness.records import metric_names
from harness.report import load
from harness.report.figures import open_loop, style


def rolled(quantity, unit, **curves):
    return [
        ("open_loop", metric_names.OpenLoopName(quantity, guess).text(), k, value, unit)
        for guess, curve in curves.items()
        for k, value in enumerate(curve, start=1)
    ]


MODEL = [1, 4, 7, 12, 13, 14]  # below the copy for two blocks, below the mean for three
METRICS = rolled(
    *("block", "px"), model=MODEL, copy=[5, 6, 7, 8, 9, 10], mean=[10] * 6, seen=[0.5] * 6
) + rolled("latent", "share of variance", model=[0.1] * 6, copy=[0.2] * 6, mean=[1] * 6)


def test_horizons_by_hand(run):
    run.trial(outcome=outcome(10), metrics=METRICS)
    lines = raw(run, "open_loop").set_index("quantity")
    assert lines["beats_both_blocks"].to_dict() == {"block": 2, "latent": 6}
    assert lines.loc["block", "beats_neither_block"] == 4  # block 3: the mean is still worse
    assert math.isnan(lines.loc["latent", "beats_neither_block"])
    assert lines.loc["block", ["model_5", "copy_5", "mean_5", "seen_5"]].tolist() == [
        13,
        9,
        10,
        0.5,
    ]
    shown = table(run, "open_loop", "md")
    (line,) = [line for line in shown.splitlines() if line.startswith("| block")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == [
        *("block", "LeWM", "1.00 [5.00] px", "13.0 [9.00] px", "14.0 [10.0] px"),
        *("10.0", "0.500", "2", "4"),
    ]
    (line,) = [line for line in shown.splitlines() if line.startswith("| latent")]
    assert line.endswith("| 6 | > 6 |")


def test_means_are_over_training_seeds(run):
    for seed, factor in ((0, 1), (1, 3)):
        curves = {"model": [0.1 * factor] * 2, "copy": [1, 1], "mean": [1, 1]}
        run.trial(
            seed=seed, outcome=outcome(10), metrics=rolled("latent", "share of variance", **curves)
        )
    assert raw(run, "open_loop")["model_1"].tolist() == [0.2]


def test_older_rows_are_shown(run):
    old = [("latents", "open_loop", k, 0.1 * k, "share of variance") for k in (1, 2, 3)]
    old += [("latents", "stay", k, 0.2, "share of variance") for k in (1, 2, 3)]
    run.trial(outcome=outcome(10), metrics=old)
    (line,) = raw(run, "open_loop").to_dict("records")
    assert (line["model_3"], line["copy_3"], line["beats_both_blocks"]) == (0.1 * 3, 0.2, 1)
    assert (run.folder / "figures" / "open_loop_two_room.png").exists()


def test_the_figure_has_means_over_seeds_and_a_panel_a_quantity(run):
    for seed, factor in ((0, 1), (1, 3)):
        curves = {"model": [0.1 * factor] * 2, "copy": [1, 1], "mean": [1, 1]}
        latent = rolled("latent", "share of variance", **curves)
        agent = rolled("agent", "px", **curves, seen=[0.01, 0.01])
        run.trial(seed=seed, outcome=outcome(10), metrics=latent + agent)
    tidy = open_loop.data(load.load(str(run.folder)))
    model = tidy[tidy["guess"] == "model"]
    assert model[["low", "mean", "high"]].round(9).drop_duplicates().to_numpy().tolist() == [
        [0.1, 0.2, 0.3]
    ]
    with style.style():
        figure = open_loop.draw(tidy)
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == ["latent, share of variance", "agent, px"]


def test_a_name_is_read_as_it_was_written():
    name = metric_names.OpenLoopName("block_angle", "copy")
    assert metric_names.OpenLoopName.of(name.text()) == name
