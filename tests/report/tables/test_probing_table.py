"""The probing table: the paper's layout, controls, spread over seeds, rows of older probes."""

from __future__ import annotations

import pytest
from synthetic_run import outcome, raw, table

from harness import report, zoo
from harness.evaluate import probing
from harness.records import metric_names
from harness.report import published


def probed(mse, source="latent", quantity="block_angle", unit="rad", frames=10000):
    """Metrics of stage "probing" of one quantity, read by a linear map and by networks."""
    seeds = 3 if source == "latent" else 1
    readings = [("linear", 0, mse + 0.1), *(("mlp2x256", s, mse + 0.01 * s) for s in range(seeds))]
    return [
        (
            "probing",
            metric_names.ProbeName(quantity, source, kind, frames, what).text(),
            seed,
            value,
            of,
        )
        for kind, seed, off in readings
        for what, value, of in (("r", 1 - off, ""), ("mse", off, ""), ("error", 3 * off, unit))
    ]


CONTROLS = probed(0.4, "untrained") + probed(0.5, "pixels") + probed(1.0, "shuffled")


def test_a_row_has_the_paper_s_columns_the_controls_and_what_is_published(run):
    run.trial("push_t", "lewm", outcome=outcome(10), metrics=probed(0.2) + CONTROLS)
    run.trial("push_t", "dino_wm", outcome=outcome(10), metrics=probed(0.1) + probed(0.3, "pooled"))
    report.write(run.folder)
    shown = table(run, "probing", "md")
    lines = [line for line in shown.splitlines() if line.startswith(("| Quantity", "| block"))]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    lewm = dict(zip(cells[0], cells[1], strict=True))
    assert lewm == {
        "Quantity": "block_angle",
        "Method": "LeWM",
        "linear MSE": "0.3",
        "linear r": "0.700",
        "MLP MSE": "0.21 ± 0.01",
        "MLP r": "0.790 ± 0.01",
        "MLP error": "0.630 rad",
        "r, pooled": "–",
        "r, untrained": "0.50, 0.60",
        "r, pixels": "0.40, 0.50",
        "r, shuffled": "-0.10, 0.00",
        "published linear MSE": "0.187",
        "published linear r": "0.902",
        "published MLP MSE": "0.021",
        "published MLP r": "0.990",
    }
    dino = dict(zip(cells[0], cells[2], strict=True))
    assert dino["r, pooled"] == "0.60, 0.70" and dino["published MLP r"] == "0.995"
    assert "10,000 frames" in shown and "2 x 256 hidden units" in shown


def test_speeds_stand_in_a_section_of_their_own(run):
    speed = probed(0.5, quantity="agent_velocity", unit="px/s", frames=5000)
    run.trial("push_t", "lewm", outcome=outcome(10), metrics=probed(0.2) + speed)
    report.write(run.folder)
    frames, speeds = table(run, "probing", "md").split("\n## ")[1:]
    assert "block_angle" in frames and "agent_velocity" not in frames
    assert "| agent_velocity |" in speeds and "5,000 pairs of frames" in speeds
    assert "Published" in frames and "Published" not in speeds  # the paper has none of Push-T


def test_rows_of_an_older_probe_stand_in_a_section_of_their_own(run):
    old = [("probing", f"angle.{kind}.{what}", 0, 0.6, "") for kind in ("linear", "mlp")
           for what in ("r", "error")]  # fmt: skip
    run.trial(method="pldm", outcome=outcome(10), metrics=old)
    run.trial(method="lewm", outcome=outcome(10), metrics=probed(0.2))
    rows_of = raw(run, "probing").set_index("method")
    assert rows_of["mlp"].to_dict() == {"lewm": "2 x 256", "pldm": "1 x 128"}
    assert rows_of["frames"].to_dict() == {"lewm": 10000, "pldm": 6000}
    parts = table(run, "probing", "md").split("\n## ")[1:]
    assert len(parts) == 2 and not any("LeWM" in part and "PLDM" in part for part in parts)
    assert "These rows are older" in parts[1] and "untrained" not in parts[1]


def test_a_run_of_older_rows_alone_has_a_table(run):
    old = [("probing", f"angle.{kind}.{what}", 0, 0.6, "") for kind in ("linear", "mlp")
           for what in ("r", "error")]  # fmt: skip
    run.trial(method="pldm", outcome=outcome(10), metrics=old)
    assert raw(run, "probing")["mlp_r"].tolist() == [0.6]


def test_a_name_of_a_probe_is_read_as_it_was_written():
    name = metric_names.ProbeName("block_angle", "untrained", "mlp2x256", 12000, "error")
    assert metric_names.ProbeName.of(name.text()) == name
    old = metric_names.ProbeName("block_angle", "latent", "mlp1x128", 6000, "r")
    assert metric_names.ProbeName.of("block_angle.mlp.r") == old


@pytest.mark.parametrize(("task", "quantity"), published._PROPERTIES)
def test_published_properties_are_quantities_of_the_task(task, quantity):
    spec = zoo.TASKS[task].spec
    names = {name.partition(" ")[0] for name in spec.state_names}
    assert quantity in names | {group for group, _ in spec.quantities}
    known = (task, published._PROPERTIES[task, quantity])
    for model in published._MODELS.values():
        assert float(published._by_key(published._PROBING)[(*known, model)]["mlp_mse"]) >= 0


def test_sources_of_probes_are_declared():
    sources = {"latent", "pooled", "untrained", "pixels", "shuffled"}
    assert set(metric_names.PROBE_SOURCES) == sources and metric_names.PROBE_SOURCES[0] == "latent"
    assert probing.KINDS[0] == "linear"
