"""Figures and the page are written, whole and with their words."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from synthetic_run import SyntheticRun, full_run, links, outcome

from harness import report
from harness.report import load, success_rates
from harness.report.figures import headline, style, success

NAMES = ("success", "plan_time", "stability")  # of README width, with a footer


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """One run with strata and controls, reported once."""
    run = SyntheticRun(tmp_path_factory.mktemp("full") / "synthetic")
    full_run(run, ["two_room", "push_t"], ["lewm", "dino_wm", "heuristic", "random"], seeds=2)
    return run, report.write(run.folder)


def size(png):
    """(width, height) in pixels."""
    return tuple(int.from_bytes(png[i : i + 4], "big") for i in (16, 20))


@pytest.mark.parametrize("name", NAMES)
def test_figures_are_written_with_text_as_text(written, name):
    run, _ = written
    png = (run.folder / "figures" / f"{name}.png").read_bytes()
    svg = (run.folder / "figures" / f"{name}.svg").read_text()
    assert png.startswith(b"\x89PNG")
    assert size(png)[0] == 1800
    assert len(png) > 20_000
    assert "<text" in svg
    assert "LeWM" in re.sub(r"<[^>]+>", " ", svg)
    captions = (run.folder / "figures" / "captions.md").read_text()
    (caption,) = re.findall(rf"^## {name}\n\n(.*)$", captions, re.M)
    for words in ("Run synthetic", "quick-v1", "laptop", "100 pairs", "2 training seeds"):
        assert words in caption, words


def test_a_notebooks_backend_and_a_users_style_change_no_figure(written, tmp_path):
    run, _ = written
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfont.size: 30\n")
    copy = shutil.copytree(run.folder, tmp_path / "synthetic")
    environment = {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
    environment |= {"MATPLOTLIBRC": str(tmp_path / "matplotlibrc")}
    done = subprocess.run(
        [sys.executable, "-m", "harness.report", str(copy)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "Error" not in done.stderr, done.stderr
    for name in NAMES:
        picture = (run.folder / "figures" / f"{name}.png").read_bytes()
        assert (copy / "figures" / f"{name}.png").read_bytes() == picture


def test_the_headline_figure_has_a_panel_a_task_and_a_line_a_method(written):
    run, _ = written
    tables = load.load(str(run.folder))
    estimates = success_rates.estimates(success_rates.outcomes(tables))
    tidy = headline.headline_data(tables, estimates).set_index(["task", "method"])
    assert len(tidy) == 2 * 4 and tidy.loc[("push_t", "lewm"), "published"] == 96
    assert (tidy["low"] <= tidy["mean"]).all() and (tidy["mean"] <= tidy["high"]).all()
    svg = re.sub(r"<[^>]+>", " ", (run.folder / "figures" / "headline.svg").read_text())
    for words in ("Two-Room", "Push-T", "LeWM", "DINO-WM", "heuristic", "random", "published"):
        assert words in svg, words
    page = (run.folder / "index.html").read_text()
    assert page.index("figures/headline.png") < page.index("<h2>Success</h2>")


def test_the_success_figure_has_strata_and_the_floor(written):
    run, _ = written
    svg = (run.folder / "figures" / "success.svg").read_text()
    for words in ("through door (n = 33)", "Push-T: all (n = 100)", "random on the same"):
        assert words in svg


def lines(ax, style):
    """Where the lines of this style stand in a panel."""
    return [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == style]


def test_the_ceiling_is_a_line_beside_random_and_never_a_dot_or_a_bar(run):
    for method, successes in (("lewm", 5), ("heuristic", 3), ("random", 2)):
        run.trial(method=method, outcome=outcome(successes, 10))
    known = dict(method_label="True state", role="ceiling")
    run.trial(method="true_state", outcome=outcome(8, 10), **known)
    tables = load.load(str(run.folder))
    estimates = success_rates.estimates(success_rates.outcomes(tables))
    for draw, names in (
        (headline.headline_figure, ["LeWM"]),
        (success.success_figure, ["LeWM", "Heuristic"]),
    ):
        with style.style():
            figure = draw(tables, estimates).figure
            ax = figure.axes[0]
        assert [label.get_text() for label in ax.get_yticklabels()] == names
        assert (lines(ax, "-."), lines(ax, "--")) == ([80.0], [20.0])
        assert "ceiling: true state" in [t.get_text() for t in figure.legends[0].get_texts()]
    assert style.colour(tables, "true_state") != style.colour(tables, "random")


@pytest.mark.parametrize("split", ["validation", "test"])
def test_published_numbers_stand_beside_test_pairs_alone(run, split):
    run.trial(outcome=np.ones(10), split=split)
    report.write(run.folder)
    svg = (run.folder / "figures" / "success.svg").read_text()
    assert ("published (paper" in svg) == (split == "test")


def test_the_page_holds_every_table_figure_and_link(written):
    run, paths = written
    page = (run.folder / "index.html").read_text()
    assert paths[-1].endswith("index.html")
    names = [path.rpartition("/")[2] for path in paths[:-1]]
    assert all(report._OURS.fullmatch(name) for name in names)  # a later report removes these
    assert (
        page.count('<div class="drawn"><svg') == 4 and "base64" not in page.partition("<script>")[0]
    )
    for title in ("Success", "Efficiency", "Training stability"):
        assert f"<h2>{title}</h2>" in page
    for link in links(run):
        assert (run.folder / link).is_file(), link
    assert "trials/push_t.lewm.s1.push_t.l/episodes.parquet" in links(run)
    addresses = re.findall(r"https?:[^\"' ]*", page)
    assert set(addresses) == {"http://www.w3.org/2000/svg"}  # a name, which nothing is loaded from
    markdown = (run.folder / "tables" / "success.md").read_text()
    for heading in re.findall(r"^## (.*)$", markdown, re.M):
        assert f"<h3>{heading}</h3>" in page


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_sweep_has_its_figure_and_no_bars(run, split):
    rng = np.random.default_rng(0)
    for i, weight in enumerate([0.0, 0.01, 0.1, 1.0]):
        run.trial(
            key=f"sweep{i}",
            split=split,
            setting_hash=str(i),
            config=f"config: {{train: {{batch_size: 64}}, method: {{sigreg_weight: {weight}}}}}",
            outcome=rng.random(20) < 0.5,
            metrics=[("sweep", "method.lewm.sigreg_weight", 0, weight, "1")],
        )
    names = {path.rpartition("/")[2] for path in report.write(run.folder)}
    assert {"sweep.png", "sweep.svg", "success.csv"} <= names
    assert "success.png" not in names
    svg = (run.folder / "figures" / "sweep.svg").read_text()
    assert "method.lewm.sigreg_weight" in svg
    assert f"{split} pairs" in svg
    assert "as much as 0.2 of 64 here" in svg
    assert ("the value chosen" in svg) == (split == "validation")
    assert "ceiling" not in svg
    run.trial(method="oracle", role="ceiling", split=split, outcome=np.ones(20))
    report.write(run.folder)
    assert "oracle (ceiling)" in (run.folder / "figures" / "sweep.svg").read_text()


def test_a_run_of_controls_needs_no_training(run):
    for method in ("random", "noop"):
        run.trial(method=method, outcome=np.ones(10))
    names = {path.rpartition("/")[2] for path in report.write(run.folder)}
    assert names == {
        "success.md",
        "success.csv",
        "success.tex",
        "success.png",
        "success.svg",
        "captions.md",
        "index.html",
    }


def test_the_stability_figure_has_a_panel_a_method_and_names_its_terms(written):
    run, _ = written
    svg = re.sub(r"<[^>]+>", " ", (run.folder / "figures" / "stability.svg").read_text())
    for words in ("LeWM", "DINO-WM", "latent std, all", "Two-Room", "Push-T", "gradient norm"):
        assert words in svg, words
    assert "sigreg" in svg and "grad_norm" not in svg


def test_a_method_without_terms_shows_its_loss_and_what_is_zero_is_not_drawn(run):
    steps = range(0, 100, 10)
    made = [("train", "loss", step, 1.0, "") for step in steps]
    run.trial(method="gcbc", metrics=made, train_steps=100, train_s=1.0)
    made = [*made, *(("train", "pred", step, 1.0, "") for step in steps)]
    made += [("train", "idm", step, 0.0, "") for step in steps]
    run.trial(method="pldm", metrics=made, train_steps=100, train_s=1.0)
    report.write(run.folder)
    svg = re.sub(r"<[^>]+>", " ", (run.folder / "figures" / "stability.svg").read_text())
    assert {"GCBC", "PLDM", "pred", "loss"} <= set(svg.split()) and "idm" not in svg
    assert "latent std, all" not in svg
