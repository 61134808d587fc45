"""The figures of probing: methods above, controls below."""

from __future__ import annotations

import pytest
from synthetic_run import outcome

from harness import report
from harness.records.metric_names import PROBE_SOURCES, ProbeName
from harness.report import load
from harness.report.figures import probing, style


def probed(r):
    """Metrics of stage "probing" of two quantities; controls read less than the latents."""
    return [
        ("probing", ProbeName(quantity, source, probe, 10_000, measure).text(), 0, value, "px")
        for quantity in ("agent", "block_angle")
        for place, source in enumerate(PROBE_SOURCES)
        for probe, more in (("linear", 0.0), ("mlp2x256", 0.04))
        for measure, value in (("r", r - 0.1 * place + more), ("mse", 0.5), ("error", 2.0))
    ]


@pytest.fixture
def tables(run):
    for method, seed, r in (("lewm", 0, 0.9), ("lewm", 1, 0.92), ("pldm", 0, 0.7)):
        run.trial(method=method, seed=seed, outcome=outcome(10), metrics=probed(r))
    return load.load(str(run.folder))


def test_rows_are_means_over_seeds(tables):
    tidy = probing.data(tables)
    by = tidy.set_index(["method", "source", "quantity", "probe"])["r"]
    assert by["lewm", "latent", "block angle", "linear"] == pytest.approx(0.91)
    assert by["pldm", "shuffled", "agent", "MLP"] == pytest.approx(0.7 - 0.4 + 0.04)
    assert "pooled" not in set(tidy["source"])


def test_panels_have_methods_then_the_means_of_controls(tables):
    with style.style():
        figure = probing.draw(probing.data(tables))
    linear, mlp = figure.axes
    names = [label.get_text() for label in linear.get_yticklabels()]
    assert names == ["LeWM", "PLDM", "", "untrained encoder", "pixels", "shuffled labels"]
    assert [text.get_text() for text in linear.texts[::2]] == [
        *("0.910", "0.700"),
        *("0.605", "0.505", "0.405"),  # means of 0.71 and 0.5, and so on
    ]
    assert mlp.texts[0].get_text() == "0.950"


def test_rows_without_controls_say_nothing_of_them(run):
    old = [("probing", f"agent.{probe}.r", 0, 0.9, "1") for probe in ("linear", "mlp")]
    old += [("probing", f"agent.{probe}.error", 0, 2.0, "px") for probe in ("linear", "mlp")]
    run.trial(outcome=outcome(10), metrics=old)
    (drawn,) = probing.figures(load.load(str(run.folder))).values()
    assert "untrained" not in drawn.caption
    report.write(run.folder)
    page = (run.folder / "index.html").read_text()
    assert "<h2>Probing</h2>" in page and "figures/probing_two_room.png" in page
