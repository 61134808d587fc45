"""Figures and the page are written, whole and with their words; they show the rows' numbers."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

import matplotlib.colors
import numpy as np
import pandas as pd
import pytest
from synthetic_run import SyntheticRun, full_run, links, outcome

from harness import report
from harness.report import load, success_rates
from harness.report.figures import aggregates, compute, plan_time, style, success, sweep

NAMES = ("success", "plan_time")
PIXELS = 200  # an inch


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """One run with strata and controls, reported once."""
    run = SyntheticRun(tmp_path_factory.mktemp("full") / "synthetic")
    full_run(run, ["two_room", "push_t"], ["lewm", "dino_wm", "heuristic", "random"], seeds=2)
    return run, report.write(run.folder)


def tables(run):
    """A run's tables and estimates, as figures take them."""
    loaded = load.load(str(run.folder))
    return loaded, success_rates.estimates(success_rates.outcomes(loaded))


def texts(run, name):
    """The words of a figure."""
    svg = (run.folder / "figures" / f"{name}.svg").read_text()
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", svg))


def size(png):
    """(width, height) in pixels."""
    return tuple(int.from_bytes(png[i : i + 4], "big") for i in (16, 20))


@pytest.mark.parametrize("name", NAMES)
def test_figures_are_written_with_text_as_text(written, name):
    run, _ = written
    png = (run.folder / "figures" / f"{name}.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert size(png)[0] <= PIXELS * style.WIDTH_IN and size(png)[1] <= PIXELS * style.HEIGHT_IN
    assert len(png) > 8_000
    assert "LeWM" in texts(run, name)
    captions = (run.folder / "figures" / "captions.md").read_text()
    (caption,) = re.findall(rf"^## {name}\n\n(.*)$", captions, re.M)
    for words in ("Run synthetic", "quick-v1", "laptop"):
        assert words in caption, words


def test_the_caption_of_success_counts_pairs_and_seeds(written):
    run, _ = written
    captions = (run.folder / "figures" / "captions.md").read_text()
    (caption,) = re.findall(r"^## success\n\n(.*)$", captions, re.M)
    assert "100 pairs, 1 to 2 training seeds" in caption


@pytest.mark.parametrize("name", ["success", "plan_time"])
def test_neutral_parts_have_the_colours_that_the_page_exchanges(written, name):
    """Every grey of an SVG is one of four, and its background is that of the page."""
    run, _ = written
    svg = (run.folder / "figures" / f"{name}.svg").read_text()
    colours = {matplotlib.colors.to_hex(code) for code in re.findall(r"#[0-9a-f]{6}\b", svg)}
    greys = {code for code in colours if len({code[i : i + 2] for i in (1, 3, 5)}) == 1}
    assert greys and greys <= {style.INK, style.FAINT, style.CONTROL, style.GRID}
    background = re.search(r'<g id="patch_1">\s*<path d="([^"]+)"\s+style="([^"]+)"', svg)
    assert background and "fill: none" in background[2]


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
        for kind in ("png", "svg"):
            picture = (run.folder / "figures" / f"{name}.{kind}").read_bytes()
            assert (copy / "figures" / f"{name}.{kind}").read_bytes() == picture


# -- success


def test_the_success_figure_has_a_panel_a_task_and_a_line_a_method(written):
    run, _ = written
    tidy = success.data(*tables(run))
    every = tidy[tidy["subset"] == "all"].set_index(["task", "method"])
    assert len(every) == 2 * 4 and every.loc[("push_t", "lewm"), "published"] == 96
    assert (tidy["low"] <= tidy["mean"]).all() and (tidy["mean"] <= tidy["high"]).all()
    words = texts(run, "success")
    for expected in ("Two-Room", "Push-T", "LeWM", "DINO-WM", "heuristic", "random", "published"):
        assert expected in words, expected
    page = (run.folder / "index.html").read_text()
    assert page.index("<h2>Success</h2>") < page.index("figures/success.png")


def test_strata_stand_in_a_second_row(written):
    run, _ = written
    loaded, estimates = tables(run)
    with style.style():
        figure, _ = success.figures(loaded, estimates)["success"]
    assert len(figure.axes) == 2 * 2
    below = figure.axes[2]
    assert [label.get_text() for label in below.get_yticklabels()][-2:] == ["Heuristic", "Random"]
    assert [t.get_text() for t in below.get_legend().get_texts()] == ["same room", "through door"]


def lines(ax, look):
    """Where the lines of this style stand in a panel."""
    return [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == look]


def dots(ax):
    """x of the dots of a panel, top to bottom."""
    return [x for points in ax.collections[1:2] for x, _ in points.get_offsets()]


def test_the_ceiling_is_a_line_beside_random_and_never_a_dot(run):
    for method, successes in (("lewm", 5), ("heuristic", 3), ("random", 2)):
        run.trial(method=method, outcome=outcome(successes, 10))
    known = dict(method_label="True state", role="ceiling")
    run.trial(method="true_state", outcome=outcome(8, 10), **known)
    loaded, estimates = tables(run)
    with style.style():
        figure, _ = success.figures(loaded, estimates)["success"]
        (ax,) = figure.axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["LeWM"]
    assert dots(ax) == [50.0]
    assert (lines(ax, "-."), lines(ax, "--"), lines(ax, ":")) == ([80.0], [20.0], [30.0])
    assert "ceiling: true state" in [t.get_text() for t in figure.legends[0].get_texts()]
    assert style.colour(loaded, "true_state") != style.colour(loaded, "random")


@pytest.mark.parametrize("of_search", [8, 10])
def test_two_ceilings_are_two_lines_with_a_name_each(run, of_search):
    for method, successes in (("lewm", 5), ("true_state", 8), ("oracle", of_search)):
        run.trial(method=method, outcome=outcome(successes, 10))
    loaded, estimates = tables(run)
    with style.style():
        figure, _ = success.figures(loaded, estimates)["success"]
    (ax,) = figure.axes
    assert lines(ax, "-.") == [80.0] and 10 * of_search in lines(ax, "-")
    words = [text.get_text() for text in figure.legends[0].get_texts()]
    assert words[1:3] == ["ceiling: true state", "ceiling: simulator"]
    handles = figure.legends[0].legend_handles[1:3]
    assert [handle.get_linestyle() for handle in handles] == ["-.", "-"]


@pytest.mark.parametrize("split", ["validation", "test"])
def test_published_numbers_stand_beside_test_pairs_alone(run, split):
    run.trial(outcome=np.ones(10), split=split)
    report.write(run.folder)
    assert ("published" in texts(run, "success")) == (split == "test")


def test_a_published_number_that_is_stale_is_no_mark(run):
    for method in ("random", "lewm"):
        run.trial(method=method, outcome=np.ones(10))
    rows = success.data(*tables(run)).set_index("method")["published"]
    assert rows["lewm"] == 87 and np.isnan(rows["random"])


def test_further_protocols_have_a_figure_of_their_own(run):
    for protocol in ("quick-v1", "strict"):
        known = dict(protocol=protocol, protocol_hash=protocol, config_hash=protocol)
        run.trial(key=protocol, outcome=outcome(5, 10), **known)
    names = {path.rpartition("/")[2] for path in report.write(run.folder)}
    assert {"success.svg", "success_2.svg"} <= names
    assert "strict" not in texts(run, "success") and "strict" in texts(run, "success_2")
    assert "figures/success_2.png" in (run.folder / "index.html").read_text()


def test_a_note_is_a_mark_whose_words_stand_in_the_caption(run):
    run.trial(method="dino_wm", outcome=outcome(5, 10), note="MAE encoder")
    loaded, estimates = tables(run)
    with style.style():
        figure, caption = success.figures(loaded, estimates)["success"]
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["DINO-WM†"]
    assert "† MAE encoder." in caption


def test_more_methods_than_fit_are_counted_in_the_caption(run):
    for i in range(40):
        run.trial(method=f"method_{i:02d}", outcome=outcome(5, 10), strata=("near", "far"))
    loaded, estimates = tables(run)
    with style.style():
        figure, caption = success.figures(loaded, estimates)["success"]
    assert "first 30 of 40 lines" in caption
    assert len(figure.axes) == 1 and figure.get_figheight() <= style.HEIGHT_IN


# -- plan time and compute


def timed(seconds, kind="solve"):
    return [("plan_time", f"{kind}_s_1", i, seconds, "s") for i in range(4)]


def test_plan_time_is_a_mean_over_the_tasks_that_all_methods_share(run):
    for task, seconds, successes in (("two_room", 0.1, 10), ("push_t", 0.4, 4)):
        run.trial(task, "lewm", outcome=outcome(successes, 10), metrics=timed(seconds))
        run.trial(task, "gcbc", outcome=outcome(1, 10), metrics=timed(1e-3, "inference"))
    run.trial("cube", "lewm", outcome=outcome(0, 10), metrics=timed(9.0))
    run.trial("cube", "true_state", outcome=outcome(9, 10), metrics=timed(9.0), role="ceiling")
    tidy = plan_time.data(*tables(run)).set_index("method")
    assert list(tidy.index) == ["lewm", "gcbc"]
    lewm = tidy.loc["lewm"]
    assert lewm["seconds"] == pytest.approx(0.2) and lewm["mean"] == pytest.approx(70)
    assert lewm["tasks"] == "Two-Room, Push-T"
    assert (lewm["published_s"], lewm["published"]) == (0.98, (87 + 96) / 2)
    assert tidy.loc["gcbc", "timed"] == "inference" and np.isnan(tidy.loc["gcbc", "published_s"])
    assert lewm["low"] < 70 < lewm["high"]


def test_the_interval_of_a_mean_over_tasks_adds_squares():
    rows = pd.DataFrame(
        dict(mean=[50.0, 50.0], low=[44.0, 42.0], high=[56.0, 58.0], p50_s=[1.0, 1.0])
    ).assign(published_s=np.nan, published=np.nan)
    known = plan_time._mean(rows)
    assert (known["low"], known["high"]) == (45.0, 55.0)  # sqrt(6 ** 2 + 8 ** 2) / 2 = 5


def test_names_stand_beside_their_dots_and_hide_no_other_name(run):
    for i, method in enumerate(("lewm", "pldm", "ema_jepa", "gcbc")):
        run.trial(method=method, outcome=outcome(10 - i, 10), metrics=timed(0.2 + 0.001 * i))
    loaded, estimates = tables(run)
    with style.style():
        figure = plan_time.figure(loaded, estimates).figure
        figure.draw_without_rendering()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["published"]
    names = [text for text in figure.axes[0].texts if text.get_text()]
    assert {text.get_text() for text in names} == {"LeWM", "PLDM", "EMA JEPA", "GCBC"}
    boxes = [text.get_window_extent() for text in names]
    inside = figure.axes[0].get_window_extent()
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[i + 1 :])
        assert inside.x0 <= box.x0 and box.x1 <= inside.x1
        assert inside.y0 <= box.y0 and box.y1 <= inside.y1


def planned(run, method, candidates, successes, flops, **fields):
    swept = [("sweep", "planner.candidates", 0, candidates, "")] if candidates else []
    run.trial(
        method=method,
        key=f"{method}{candidates}",
        variant=f"candidates-{candidates}" if candidates else "",
        setting_hash=f"{method}{candidates}",
        protocol_hash=f"{candidates:08d}",
        outcome=outcome(successes, 10),
        metrics=[*swept, ("plan_time", "flops", 0, flops, "FLOP")],
        **fields,
    )


def test_success_at_equal_compute_has_a_point_for_each_setting_of_the_planner(run):
    for candidates, successes in ((100, 3), (300, 8)):
        planned(run, "lewm", candidates, successes, candidates * 1e9)
    planned(run, "gcbc", 0, 5, 2e9)
    run.trial(method="pldm", outcome=outcome(1, 10))  # its plan has no known cost
    other = "config: {planner_name: adam, planner: {candidates: 30, iterations: 10}}"
    adam = [("sweep", "planner.adam.iterations", 0, 10, ""), ("plan_time", "flops", 0, 3e10, "")]
    run.trial(variant="adam", key="adam", outcome=outcome(9, 10), metrics=adam, config=other)
    weight = [("sweep", "method.pldm.var", 0, 1, ""), ("plan_time", "flops", 0, 1e9, "FLOP")]
    run.trial(method="pldm", variant="var-1", key="var", outcome=outcome(1, 10), metrics=weight)
    loaded, estimates = tables(run)
    points = compute.data(loaded, estimates)
    assert points[["label", "gflop", "mean"]].values.tolist() == [
        ["LeWM", 100, 30],
        ["LeWM", 300, 80],
        ["GCBC", 2, 50],
    ]
    with style.style():
        figure, caption = compute.figure(loaded, estimates)
    (ax,) = figure.axes
    lewm = max((line.get_xydata() for line in ax.lines), key=len)
    assert lewm == pytest.approx(np.array([(100, 30), (300, 80)]))
    assert ax.get_xscale() != "linear"
    assert {t.get_text() for t in figure.legends[0].get_texts()} == {"LeWM", "GCBC"}
    assert "test pairs" in caption


def test_one_setting_of_the_planner_makes_no_figure_of_compute(run):
    planned(run, "lewm", 100, 3, 1e9)
    planned(run, "pldm", 300, 8, 3e9)
    assert compute.figure(*tables(run)) is None


# -- sweeps


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_sweep_has_its_figure_and_no_dots_of_success(run, split):
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
    words = texts(run, "sweep")
    assert "method.lewm. sigreg_weight" in words and f"{split} pairs" in words
    captions = (run.folder / "figures" / "captions.md").read_text()
    assert "as much as 0.2 of 64 here" in captions and "published weight" in words
    assert ("the value chosen" in words) == (split == "validation")
    assert "ceiling" not in words
    run.trial(method="oracle", role="ceiling", split=split, outcome=np.ones(20))
    report.write(run.folder)
    assert "ceiling" in texts(run, "sweep")


def test_a_planner_s_key_is_in_title_and_axis(run):
    for name in ("cem", "predictive_sampling"):
        for value in (1.0, 2.0):
            run.trial(
                key=f"{name}{value}",
                setting_hash=f"{name}{value}",
                outcome=outcome(5, 10),
                metrics=[("sweep", f"planner.{name}.iterations", 0, value, "1")],
            )
    with style.style():
        axes = sweep.figure(*tables(run)).figure.axes
    titles = [ax.get_title(loc="left") for ax in axes]
    assert titles[0] == "LeWM, Two-Room\ncem, test pairs" and "predictive_sampling" in titles[1]
    assert [ax.get_xlabel() for ax in axes] == ["iterations"] * 2


def swept(run, value, successes, std=1.0, name="method.lewm.sigreg_weight", rank=None):
    metrics = [("sweep", name, 0, value, ""), ("latents", "latent_std", 0, std, "")]
    metrics += [("geometry", "effective_rank", 0, rank, "")] if rank else []
    run.trial(
        key=f"v{value}",
        variant=f"v{value}",
        setting_hash=f"v{value}",
        split="validation",
        outcome=outcome(successes, 100),
        metrics=metrics,
    )


def test_the_plateau_is_what_the_best_value_s_interval_meets_without_a_gap(run):
    for value, successes in ((1, 50), (2, 78), (3, 85), (4, 80), (5, 30), (6, 84)):
        swept(run, value, successes)
    points = sweep.data(*tables(run))
    assert list(points.loc[points["plateau"], "value"]) == [2, 3, 4]
    assert list(points.loc[points["best"], "value"]) == [3]


def test_a_collapsed_trial_is_neither_best_nor_on_the_plateau(run):
    for value, successes, std in ((1, 80, 1.0), (2, 90, 0.01), (3, 20, 1.0)):
        swept(run, value, successes, std)
    points = sweep.data(*tables(run)).set_index("value")
    assert list(points["plateau"]) == [True, False, False]
    assert list(points["best"]) == [True, False, False] and points.loc[2, "collapsed"]


@pytest.mark.parametrize(("ranks", "measure"), [((5, 9), "effective rank"), ((0, 0), "latent std")])
def test_below_a_sweep_stands_the_rank_of_the_latents_or_their_std(run, ranks, measure):
    for value, rank in zip((0.01, 1.0), ranks, strict=True):
        swept(run, value, 50, std=value, rank=rank)
    loaded, estimates = tables(run)
    with style.style():
        figure, caption = sweep.figure(loaded, estimates)
    top, below = figure.axes
    assert f"Below: {measure}" in caption and top.get_xlim() == below.get_xlim()
    assert top.get_xscale() == below.get_xscale() == "log"
    expected = np.array([(0.01, ranks[0] or 0.01), (1.0, ranks[1] or 1.0)])
    assert below.lines[0].get_xydata() == pytest.approx(expected)


def test_a_sweep_of_two_keys_has_no_line_through_its_points_and_the_same_bytes_twice(run):
    for i, (weight, rate) in enumerate([(0.1, 1e-3), (0.1, 1e-4), (0.2, 1e-3)]):
        metrics = [
            ("sweep", "method.lewm.sigreg_weight", 0, weight, ""),
            ("sweep", "train.lr", 0, rate, ""),
            ("latents", "effective_rank", 0, 5.0 + i, ""),
        ]
        run.trial(key=str(i), variant=str(i), outcome=outcome(4 + i, 10), metrics=metrics)
    loaded, estimates = tables(run)
    with style.style():
        figure, _ = sweep.figure(loaded, estimates)
        again, _ = sweep.figure(loaded, estimates)
        assert style.render(figure) == style.render(again)
    below = figure.axes[2]
    assert [line.get_linestyle() for line in below.lines] == ["None"]
    assert sorted(y for line in below.lines for y in line.get_ydata()) == [5, 6, 7]


def test_a_sweep_over_words_has_a_place_for_each(run):
    for word in ("cem", "adam"):
        metrics = [("sweep", "planner.name", 0, np.nan, word)]
        run.trial(key=word, variant=word, outcome=outcome(4, 10), metrics=metrics)
    loaded, estimates = tables(run)
    with style.style():
        figure, _ = sweep.figure(loaded, estimates)
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["adam", "cem"]


# -- averages over tasks


def test_the_figure_of_averages_draws_the_profile_and_the_chance_of_improvement(run):
    for method in ("lewm", "pldm"):
        run.trial(method=method, outcome=outcome(5, 10))
    loaded, _ = tables(run)
    taus = np.array([0.0, 0.5, 1.0])
    rows = [("LeWM", "lewm", (1.0, 0.5, 0.0)), ("PLDM", "pldm", (0.75, 0.25, 0.0))]
    profile = pd.concat(
        pd.DataFrame(dict(label=label, method=method, tau=taus, share=share))
        for label, method, share in rows
    )
    profile = profile.assign(low=profile["share"] - 0.1, high=profile["share"] + 0.1)
    improvement = pd.DataFrame(
        dict(label=["PLDM"], method=["pldm"], probability=[0.25], low=[0.1], high=[0.4])
    )
    with style.style():
        figure, caption = aggregates.draw(profile, improvement, style.looks(loaded, profile))
        alone, words = aggregates.draw(profile, improvement[:0], style.looks(loaded, profile))
    left, right = figure.axes
    drawn = {tuple(map(tuple, line.get_xydata())) for line in left.lines}
    assert drawn == {((0, 100), (0.5, 50), (1, 0)), ((0, 75), (0.5, 25), (1, 0))}
    assert [label.get_text() for label in right.get_yticklabels()] == ["PLDM"]
    assert dots(right) == [0.25] and lines(right, "-") == [0.5]
    assert "LeWM on the same task" in caption
    assert len(alone.axes) == 1 and "Right" not in words


# -- the page, and runs that have less


def test_the_page_holds_every_table_figure_and_link(written):
    run, paths = written
    page = (run.folder / "index.html").read_text()
    assert paths[-1].endswith("index.html")
    names = [path.rpartition("/")[2] for path in paths[:-1]]
    assert all(report._OURS.fullmatch(name) for name in names)  # a later report removes these
    pictures = [name for name in names if name.endswith(".png")]
    assert len(pictures) == page.count('<div class="drawn"><svg') == 4
    assert "base64" not in page.partition("<script>")[0]
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
        *(f"coverage.{kind}" for kind in ("md", "csv", "tex")),
        "index.html",
    }
