"""What the figures of one task share: which rows they show, and how large they are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from synthetic_run import SyntheticRun, film, full_run, train_metrics

from harness import zoo
from harness.report import load, success_rates
from harness.report.figures import episodes, panels, style, training

METHODS = [name for name, method in zoo.METHODS.items() if method.trained]


def rows(run):
    """The loss of each trial, as columns of a tidy frame."""
    tables = load.load(str(run.folder))
    return tables, panels.of_cells(tables, tables.metrics[tables.metrics["name"] == "loss"])


def test_rows_are_of_each_tasks_first_protocol_in_table_order(run):
    metrics = train_metrics(np.random.default_rng(0), ["loss"])
    for task in ("push_t", "two_room"):
        for method in ("pldm", "lewm"):
            for protocol in ("b-v1", "a-v1"):
                key = f"{task}{method}{protocol}"
                known = {"protocol": protocol, "protocol_hash": protocol, "metrics": metrics}
                run.trial(task, method, key=key, outcome=[1], **known)
    tables, frame = rows(run)
    shown = frame.drop_duplicates("cell")
    assert shown["task_label"].tolist() == ["Two-Room", "Two-Room", "Push-T", "Push-T"]
    assert shown["label"].tolist() == ["LeWM", "PLDM"] * 2
    assert set(tables.cells.loc[shown["cell"], "protocol"]) == {"a-v1"}


def test_settings_of_a_method_share_its_colour_and_have_lines_of_their_own(run):
    metrics = train_metrics(np.random.default_rng(0), ["loss"])
    for i, variant in enumerate(("", "wide", "narrow")):
        known = {"variant": variant, "setting_hash": str(i), "key": f"k{i}"}
        run.trial(outcome=[1], metrics=metrics, **known)
    _, frame = rows(run)
    looks = frame.drop_duplicates("label").set_index("label")
    assert looks["colour"].nunique() == 1 and looks["line"].nunique() == 3
    assert looks.loc["LeWM", "line"] == "-"


def test_the_papers_methods_stay_where_there_is_no_room_for_all(run):
    metrics = train_metrics(np.random.default_rng(0), ["loss"])
    for method in METHODS:
        run.trial(method=method, outcome=[1], metrics=metrics)
    tables, frame = rows(run)
    ((name, part, about),) = panels.by_task(tables, "loss", frame, 4)
    assert name == "loss_two_room" and about.startswith("Two-Room. Run synthetic;")
    assert part["method"].unique().tolist() == ["lewm", "pldm", "dino_wm", "dino_wm_proprio"]
    left = [zoo.METHODS[m].label for m in METHODS if m not in set(part["method"])]
    assert all(label in about for label in left)
    ((_, part, about),) = panels.by_task(tables, "loss", frame, 99)
    assert len(part) == len(frame) and "want of room" not in about


def test_a_mean_over_seeds_has_its_span(run):
    for seed, loss in ((0, 1.0), (1, 4.0)):
        run.trial(seed=seed, outcome=[1], metrics=[("train", "loss", 0, loss, "")])
    _, frame = rows(run)
    (row,) = panels.over_seeds(frame, "index").to_dict("records")
    assert (row["mean"], row["low"], row["high"]) == (2.5, 1.0, 4.0)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A run with more methods than a figure holds, and films of all."""
    run = SyntheticRun(tmp_path_factory.mktemp("full") / "synthetic")
    full_run(run, ["two_room"], METHODS, seeds=2, pairs=20)
    for method in ("replay", *METHODS[:3]):
        run.trial("push_t", method, outcome=np.ones(3), frames=film(150, False))
    return load.load(str(run.folder))


def drawn(tables):
    estimates = success_rates.estimates(success_rates.outcomes(tables))
    with style.style():
        figures = training.figures(tables)
        return figures | episodes.figures(tables, episodes.data(tables, estimates))


def test_figures_are_at_most_eight_by_five_inches(full):
    for name, (figure, _) in drawn(full).items():
        width, height = figure.get_size_inches()
        assert width <= 8 and height <= 5, name


def test_pictures_are_large_enough_to_be_looked_at(full):
    figure = drawn(full)["episodes_push_t"].figure
    sides = [(image.get_extent(), image) for image in figure.axes[0].images]
    assert len(sides) == 3 * 8  # seven on the way, and the goal
    for (left, right, bottom, top), image in sides:
        assert 200 * (right - left) >= 96 and 200 * (bottom - top) >= 96
        assert image.get_size()[0] == round(200 * (right - left))  # not resampled again


def test_the_same_rows_give_the_same_bytes(full):
    with style.style():
        first, second = (
            {name: style.render(figure) for name, (figure, _) in drawn(full).items()}
            for _ in range(2)
        )
    assert first == second and len(first) == 2


def test_a_run_without_rows_has_no_figures(run):
    run.trial(method="random", outcome=[1])
    tables = load.load(str(run.folder))
    frame = panels.of_cells(tables, pd.DataFrame({"cell": [], "value": []}))
    assert list(panels.by_task(tables, "nothing", frame)) == [] and drawn(tables) == {}


def test_the_values_of_a_sweep_have_the_same_colours_on_every_task(run):
    """They are other numbers there: a share of a training is of as many steps as the task's."""
    for task, steps in (("two_room", 100), ("push_t", 4000)):
        for share in (0.25, 1):
            run.trial(
                task, key=f"{task}.lewm.{share}.s0", variant=f"training-{share}", outcome=[1],
                setting_hash=f"{task}{share}", metrics=[
                    ("sweep", "train.steps", 0, share * steps, ""), ("train", "loss", 0, 1.0, ""),
                ],
            )  # fmt: skip
    _, frame = rows(run)
    colours = frame.groupby("task")["colour"].agg(list).to_dict()
    assert colours["two_room"] == colours["push_t"] == style.ramp(2)


def test_bands_are_explained_where_there_are_any():
    frame = pd.DataFrame({"low": [1.0, 2.0], "high": [1.0, 2.0]})
    assert panels.bands(frame) == ""
    assert "least to the largest" in panels.bands(frame.assign(high=3.0))


@pytest.mark.parametrize(
    ("label", "width", "lines"),
    [
        ("LeWM sigreg_weight=0.1033", 17, ["LeWM", "sigreg_weight=", "0.1033"]),
        ("method.lewm.sigreg_weight", 17, ["method.lewm.", "sigreg_weight"]),
        ("latent std of the batch", 17, ["latent std of the", "batch"]),
        ("lr=0.00001234567", 6, ["lr=", "0.00001234567"]),
    ],
)
def test_a_label_breaks_at_spaces_and_between_the_parts_of_a_key_and_in_no_number(
    label, width, lines
):
    assert style.wrap(label, width).split("\n") == lines
