"""Plans of synthetic runs."""

from __future__ import annotations

from harness.records import plan

HOSTILE = '</script><b onmouseover="x">&amp; {{ 7 * 7 }}</b>'
LABELS = {"lewm": "LeWM", "pldm": "PLDM", "gcbc": HOSTILE}


def planned(method, seed=0, task="two_room", config_hash=None, **fields):
    """A trial of the plan, under the names that a synthetic trial has."""
    key = f"{task}.{method}.s{seed}"
    known = dict(
        key=key,
        config_hash=config_hash or key,
        task=task,
        method=method,
        variant="",
        seed=seed,
        stages=[],
        task_label="Two-Room",
        method_label=LABELS[method],
        planned=100.0,
    )
    return plan.PlannedTrial(**(known | fields))
