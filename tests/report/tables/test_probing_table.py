"""The probing table: controls, and rows of older probes."""

from __future__ import annotations

from synthetic_run import outcome, raw, table

from harness import report
from harness.records import rows


def probed(error, source="latent", probe="mlp2x256", frames=12000):
    """Metrics of stage "probing" of one angle, read by a linear map and by a network."""
    kinds = {"linear": error + 0.5, probe: error}
    return [
        ("probing", rows.ProbeName("angle", source, kind, frames, what).text(), 0, value, unit)
        for kind, off in kinds.items()
        for what, value, unit in (("r", 1 - off, ""), ("error", off, "rad"))
    ]


def test_controls_stand_beside_what_the_latents_hold(run):
    controls = probed(0.4, "untrained") + probed(0.1, "pixels") + probed(0.5, "shuffled")
    for method, error in (("lewm", 0.2), ("pldm", 0.3)):
        run.trial(method=method, outcome=outcome(10), metrics=probed(error) + controls)
    report.write(run.folder)
    shown = table(run, "probing", "md")
    lines = [line for line in shown.splitlines() if line.startswith("| angle")]
    assert lines[0] == "| angle | LeWM | 0.30 | 0.80 | 0.700 rad | 0.200 rad | 0.400 | 0.500 |"
    assert lines[2] == "| angle | 32 px grey pixels | 0.40 | 0.90 | 0.600 rad | 0.100 rad | – | – |"
    assert len(lines) == 3 and "12,000 frames" in shown and "2 x 256 hidden units" in shown


def test_rows_of_an_older_probe_stand_in_a_section_of_their_own(run):
    old = [("probing", f"angle.{kind}.{what}", 0, 0.6, "") for kind in ("linear", "mlp")
           for what in ("r", "error")]  # fmt: skip
    run.trial(method="pldm", outcome=outcome(10), metrics=old)
    run.trial(method="lewm", outcome=outcome(10), metrics=probed(0.2))
    rows_of = raw(run, "probing").set_index("method")
    assert rows_of["mlp"].to_dict() == {"lewm": "2 x 256", "pldm": "1 x 128"}
    assert rows_of["frames"].to_dict() == {"lewm": 12000, "pldm": 6000}
    parts = table(run, "probing", "md").split("\n## ")[1:]
    assert len(parts) == 2 and not any("LeWM" in part and "PLDM" in part for part in parts)


def test_a_name_of_a_probe_is_read_as_it_was_written():
    name = rows.ProbeName("block_angle", "untrained", "mlp2x256", 12000, "error")
    assert rows.ProbeName.of(name.text()) == name
    old = rows.ProbeName("block_angle", "latent", "mlp1x128", 6000, "r")
    assert rows.ProbeName.of("block_angle.mlp.r") == old
