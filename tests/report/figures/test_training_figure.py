"""The figures of training: panels, terms, and what is not drawn."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest
from matplotlib.text import Text
from synthetic_run import full_run

from harness import report
from harness.report import load
from harness.report.figures import style, training


def words(run, task):
    svg = (run.folder / "figures" / f"training_{task}.svg").read_text()
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", svg))


def test_a_panel_a_method_that_names_its_terms(run):
    full_run(run, ["two_room", "push_t"], ["lewm", "dino_wm", "random"], seeds=2)
    report.write(run.folder)
    for task, title in (("two_room", "Two-Room"), ("push_t", "Push-T")):
        shown = words(run, task)
        for known in ("LeWM", "DINO-WM", "latent std", title, "gradient norm", "training step"):
            assert known in shown, known
        assert "sigreg" in shown and "grad_norm" not in shown and "Random" not in shown
    captions = (run.folder / "figures" / "captions.md").read_text()
    (caption,) = re.findall(r"^## training_push_t\n\n(.*)$", captions, re.M)
    for known in ("Push-T. Run synthetic", "quick-v1", "laptop", "2 training seeds", "Latent std"):
        assert known in caption, known
    page = (run.folder / "index.html").read_text()
    assert page.index("figures/training_two_room.png") < page.index("figures/training_push_t.png")


def test_a_method_without_terms_shows_its_loss_and_what_is_zero_is_not_drawn(run):
    steps = range(0, 100, 10)
    metrics = [("train", "loss", step, 1.0, "") for step in steps]
    run.trial(method="gcbc", metrics=metrics, train_steps=100, train_s=1.0)
    metrics = [*metrics, *(("train", "pred", step, 1.0, "") for step in steps)]
    metrics += [("train", "idm", step, 0.0, "") for step in steps]
    run.trial(method="pldm", metrics=metrics, train_steps=100, train_s=1.0)
    report.write(run.folder)
    shown = words(run, "two_room")
    assert {"GCBC", "PLDM", "pred", "loss"} <= set(shown.split()) and "idm" not in shown
    assert "latent std" not in shown
    tidy = training.data(load.load(str(run.folder)))
    terms = tidy.groupby("method")["name"].unique().map(list).to_dict()
    assert terms == {"gcbc": ["loss"], "pldm": ["pred"]}


def test_the_papers_two_stand_first_and_curves_are_thinned_alike(run):
    for method in ("ema_jepa", "pldm", "smwm", "lewm"):
        metrics = [("train", "pred", step, 1.0 + step, "") for step in range(1000)]
        run.trial(method=method, metrics=metrics, train_steps=1000, train_s=1.0)
    tidy = training.data(load.load(str(run.folder)))
    assert tidy["method"].unique().tolist() == ["lewm", "pldm", "smwm", "ema_jepa"]
    steps = tidy[tidy["method"] == "pldm"]["index"].to_numpy()
    assert 100 <= len(steps) <= 200 and steps[0] == 0 and len(set(np.diff(steps))) == 1
    with style.style():
        figure = training.draw(tidy)
    assert len(figure.axes) == 4


def test_the_title_of_the_last_panel_fits_a_row_of_five(run):
    for method in ("lewm", "pldm", "smwm", "ema_jepa"):
        metrics = [("train", n, step, 1.0, "") for n in ("pred", "latent_std") for step in (0, 1)]
        run.trial(method=method, metrics=metrics, train_steps=2, train_s=1.0)
    with style.style():
        figure = training.draw(training.data(load.load(str(run.folder))))
        style.render(figure)
        assert len(figure.axes) == 5
        words = figure.axes[-1].get_title("left")
        (title,) = [t for t in figure.axes[-1].findobj(Text) if t.get_text() == words]
        assert words.startswith("latent std")
        assert title.get_window_extent().x1 <= figure.bbox.x1


def lab(colour):
    """A colour in CIELAB (D65), by its definition."""
    channels = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = to_xyz @ linear / [0.9505, 1.0, 1.089]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_terms_are_told_apart_by_their_colours():
    assert lab("#ffffff") == pytest.approx([100, 0, 0], abs=0.1)
    assert lab("#ff0000") == pytest.approx([53.2, 80.1, 67.2], abs=0.2)
    points = {name: lab(colour) for name, (colour, _) in training._TERMS.items()}
    for one, other in itertools.combinations(points, 2):
        assert np.linalg.norm(points[one] - points[other]) > 30, (one, other)
