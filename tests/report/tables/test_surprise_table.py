"""The surprise table and its figures: methods, and two detectors that know no physics."""

from __future__ import annotations

import re

import pytest
from synthetic_run import outcome, raw, table

from harness import report
from harness.records import metric_names
from harness.report import load
from harness.report.figures import surprise as figure

KINDS = ("recoloured", "wall_passed_through")


def surprised(gap, p=0.0004, half=0.5):
    """Metrics of stage "surprise": the model's surprise jumps by `gap` at the event, a latent's
    change by half of it, and that of the pictures by 1.
    """
    sizes = {"model": gap, "stay": gap / 2, "pixels": 1.0}
    found = [("clips", 0, 100.0, "clips"), ("families", 0, 40.0, "families")]
    for source, size in sizes.items():
        for kind in (metric_names.UNDISTURBED, *KINDS):
            for block in range(-5, 7):
                jump = size if block == 0 and kind != metric_names.UNDISTURBED else 0.0
                values = {"mean": jump, "half_width": half}
                found += [
                    (metric_names.SurpriseName(kind, source, measure).text(), block, value, "std")
                    for measure, value in values.items()
                ]
        for kind in KINDS:
            known = {"gap": size, "auc": 0.5 + size / 20, "detected": size / 10, "t_test": p}
            known |= {"wilcoxon": 0.25, "effect": size, "rank_effect": 0.9}
            found += [
                (metric_names.SurpriseName(kind, source, measure).text(), 0, value, "")
                for measure, value in known.items()
            ]
    return [("surprise", *metric) for metric in found]


@pytest.fixture
def surprising(run):
    """LeWM with two seeds, PLDM with one, on one task; a method without a world model."""
    run.trial(method="lewm", outcome=outcome(10), metrics=surprised(6.0), seed=0)
    run.trial(method="lewm", outcome=outcome(10), metrics=surprised(8.0, p=0.03), seed=1)
    run.trial(method="pldm", outcome=outcome(10), metrics=surprised(2.0))
    run.trial(method="gcbc", outcome=outcome(10))
    return run


def test_methods_and_the_two_detectors_stand_in_one_table(surprising):
    report.write(surprising.folder)
    shown = table(surprising, "surprise", "md")
    lines = [line for line in shown.splitlines() if line.startswith("| wall passed through")]
    assert [line.split(" | ", 1)[1] for line in lines] == [  # two events of two methods: four tests
        "LeWM | 7.00 | 0.85 | 0.68 | 70.0 | 35.0 | 0.030 (0.060) | 0.250 (1.000) | 7.00 |",
        "PLDM | 2.00 | 0.60 | 0.55 | 20.0 | 10.0 | < 0.001 (0.002) | 0.250 (1.000) | 2.00 |",
        "consecutive pictures | 1.00 | 0.55 | – | 10.0 | – | 0.030 | 0.250 | 1.00 |",
    ]
    assert (
        "100 clips of held-out episodes, which began in 40 different states" in shown
        and "GCBC" not in shown
    )


def test_the_csv_has_every_source_and_measure(surprising):
    found = raw(surprising, "surprise").set_index(["method", "event"])
    assert len(found) == 4 and found.loc[("lewm", "recoloured"), "clips"] == 100
    row = found.loc[("lewm", "recoloured")]
    assert (row["gap"], row["stay_gap"], row["pixels_gap"]) == (7.0, 3.5, 1.0)
    assert (row["t_test"], row["rank_effect"]) == (0.03, 0.9)  # of two seeds the larger
    assert row["t_test_holm"] == pytest.approx(2 * 0.03)  # the other two of four are smaller


def test_the_figure_has_a_panel_a_method_and_a_band_a_kind(surprising):
    report.write(surprising.folder)
    svg = (surprising.folder / "figures" / "surprise_two_room.svg").read_text()
    words = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", svg))
    for text in ("recoloured", "wall passed through", "undisturbed", "LeWM", "PLDM"):
        assert text in words, text
    assert "blocks since the event" in words and "Two-Room" in words and "GCBC" not in words
    tidy = figure.data(load.load(str(surprising.folder)))
    one = tidy[(tidy["method"] == "lewm") & (tidy["index"] == 0)]
    means = one.set_index("kind")[["low", "mean", "high"]]
    assert means.loc["recoloured"].tolist() == [6.5, 7.0, 7.5]
    assert means.loc[metric_names.UNDISTURBED].tolist() == [-0.5, 0.0, 0.5]
    page = (surprising.folder / "index.html").read_text()
    assert "figures/surprise_two_room.png" in page and "<h2>Surprise</h2>" in page


def test_a_run_without_the_stage_has_neither(run):
    run.trial(method="lewm", outcome=outcome(10))
    names = {path.rpartition("/")[2] for path in report.write(run.folder)}
    assert not any("surprise" in name for name in names)


def test_a_later_report_removes_a_figure_that_it_has_no_rows_for(surprising):
    report.write(surprising.folder)
    for method, seed in (("lewm", 0), ("lewm", 1), ("pldm", 0)):
        surprising.trial(method=method, outcome=outcome(10), seed=seed)
    report.write(surprising.folder)
    assert not list(surprising.folder.glob("*/surprise*"))
