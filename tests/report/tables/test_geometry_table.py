"""The geometry table and its figures, from rows with known values."""

from __future__ import annotations

import re

import numpy as np
from synthetic_run import outcome, raw

from harness import report
from harness.records import metric_names
from harness.report import load
from harness.report.figures import geometry


def surveyed(straight, spectrum):
    """Metrics of a trial with a training curve, the stage geometry, and a map of 16 points."""
    rng = np.random.default_rng(0)
    grid = np.stack(np.meshgrid(range(4), range(4)), axis=-1).reshape(-1, 2)
    scalars = {"straightness": straight, "effective_rank": 2.5, "sigreg": 1.2}
    scalars |= {"rank_distance": 0.9, "rank_blocks": 0.8}
    return [
        *(("train", "straightness", step, 0.1 + step / 1000, "") for step in range(0, 101, 5)),
        *(("geometry", name, 0, value, "") for name, value in scalars.items()),
        *(("geometry", "spectrum", i, s, "") for i, s in enumerate(spectrum, start=1)),
        *((metric_names.MAP, "tsne_1", i, v, "") for i, v in enumerate(rng.normal(size=16))),
        *((metric_names.MAP, "tsne_2", i, v, "") for i, v in enumerate(rng.normal(size=16))),
        *((metric_names.MAP, "agent_x", i, v, "px") for i, v in enumerate(grid[:, 0])),
        *((metric_names.MAP, "agent_y", i, v, "px") for i, v in enumerate(grid[:, 1])),
    ]


def test_a_row_by_hand(run):
    run.trial(outcome=outcome(10), metrics=surveyed(0.4, [0.6, 0.2, 0.15, 0.05]))
    run.trial(method="random", outcome=outcome(10))
    (row,) = raw(run, "geometry").to_dict("records")
    assert (row["straightness"], row["rank_distance"], row["rank_blocks"]) == (0.4, 0.9, 0.8)
    assert row["directions_of_90_pct"] == 3 and row["sigreg"] == 1.2
    assert abs(row["train_straightness"] - 0.2) < 0.01


def test_figures_show_every_method_and_task(run):
    for task in ("two_room", "push_t"):
        for method in ("lewm", "pldm"):
            for seed in (0, 1):
                spectrum = [0.6, 0.3, 0.1, 0.0]  # a share of zero has no place on a log axis
                run.trial(
                    task, method, seed, outcome(10), metrics=surveyed(0.4 + seed / 10, spectrum)
                )
    report.write(run.folder)
    for name in ("geometry", "map"):
        for task, title in (("two_room", "Two-Room"), ("push_t", "Push-T")):
            svg = (run.folder / "figures" / f"{name}_{task}.svg").read_text()
            for words in ("LeWM", "PLDM", title):
                assert words in re.sub(r"<[^>]+>", " ", svg), (name, words)
    tables = load.load(str(run.folder))
    tidy = geometry.data(tables)
    assert (tidy.loc[tidy["name"] == "spectrum", "mean"] > 0).all()
    ends = tidy[(tidy["stage"] == "geometry") & (tidy["name"] == "straightness")]
    assert ends[["low", "mean", "high"]].drop_duplicates().to_numpy().tolist() == [[0.4, 0.45, 0.5]]
    points = geometry.map_data(tables)  # of the first seed
    assert len(points) == 4 * 16 and set(points["x_name"]) == {"agent_x, px"}
    page = (run.folder / "index.html").read_text()
    assert page.index("Geometry of the latents") < page.index("Maps of the latents")
