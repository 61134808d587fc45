"""The table that says whether a published number holds."""

import math

import pytest

from harness.report import load, published, success_rates
from harness.report.tables import released

OWN = "config: {data: {source: own}, planner: {candidates: 300, iterations: 30}}"
WEIGHTS = {"weights": "quentinll/lewm-pusht@22b330c2", "config": OWN, "scale": "published"}


def table(run):
    tables = load.load(str(run.folder))
    estimates = success_rates.estimates(success_rates.outcomes(tables))
    return released.released_table(tables, estimates)


@pytest.mark.parametrize(
    ("solved", "verdict"), [(90, "inside"), (70, "below"), (83, "inside"), (100, "above")]
)
def test_the_verdict_compares_the_interval_with_what_others_report(run, solved, verdict):
    """On Push-T they report 84.5 to 90.4."""
    outcome = [i < solved for i in range(100)]
    run.trial(task="push_t", outcome=outcome, protocol="lewm-code", **WEIGHTS)
    run.trial(
        task="push_t",
        method="random",
        outcome=[i < 4 for i in range(100)],
        protocol="lewm-code",
        scale="published",
    )
    (row,) = table(run).raw.to_dict("records")
    assert (row["verdict"], row["success_pct"], row["random_pct"]) == (verdict, solved, 4)
    assert (row["paper_pct"], row["band_low_pct"], row["band_high_pct"]) == (96, 84.5, 90.4)
    ((section),) = table(run).sections
    assert (
        list(section.frame["Data"]) == ["our pairs"] and "data.source=released" in section.caption
    )


def test_under_clears_protocol_the_band_is_clears_interval(run):
    run.trial(task="cube", outcome=[True] * 26 + [False] * 74, protocol="clear-strict", **WEIGHTS)
    (row,) = table(run).raw.to_dict("records")
    assert row["verdict"] == "inside" and math.isnan(row["paper_pct"])
    assert row["clear_pct"] == 26.3
    assert row["band_low_pct"] < 26.3 < row["band_high_pct"] < row["band_low_pct"] + 12


def test_a_run_that_trains_has_no_such_table(run):
    run.trial(outcome=[True])
    run.trial(method="pldm", outcome=[True], weights="of other", weights_config_hash="abc")
    assert not table(run).sections


def test_the_random_policys_rate_is_no_replication():
    assert published.released("push_t", "lewm-code") == (96.0, 89.0, 84.5, 90.4, 5)
    assert published.released("toy", "lewm-code").sources == 0


def test_there_is_no_verdict_for_other_weights_or_a_modified_protocol(run):
    of_a_folder = WEIGHTS | {"weights": "golden/lewm 0123abcd"}
    run.trial(task="push_t", outcome=[True] * 9, protocol="lewm-code", **of_a_folder)
    run.trial(task="cube", outcome=[True] * 9, protocol="lewm-code modified", **WEIGHTS)
    assert set(table(run).raw["verdict"]) == {"–"}
