"""The stability table from synthetic rows has the numbers computed by hand."""

from __future__ import annotations

import math

import pytest
from synthetic_run import raw, table


def curve(name, values, every=1):
    return [("train", name, i * every, value, "") for i, value in enumerate(values)]


def ended(std):
    return [("latents", "latent_std", 0, std, ""), ("latents", "effective_rank", 0, 7.0, "")]


def test_how_training_ended(run):
    warm = "config: {train: {warmup_fraction: 0.1}}"
    for seed, last in ((0, 0.2), (1, 0.4)):
        made = curve("pred", [1.0] * 50 + [last], 1) + curve("sigreg", [3.0] * 51)
        made += curve("grad_norm", [9.0] * 5 + [2.0, 6.0 + seed] + [1.0] * 44)
        made += curve("latent_std", [0.7] * 51) + ended(0.9)
        run.trial(seed=seed, metrics=made, config=warm, train_steps=50, train_s=1.0)
    row = raw(run, "stability").iloc[0]
    assert row.final_pred == pytest.approx((2 * 1.0 + 0.2 + 2 * 1.0 + 0.4) / 6)  # steps 48 to 50
    assert (row.final_sigreg, row.latent_std, row.effective_rank) == (3.0, 0.9, 7.0)
    assert (row.final_gradient_norm, row.largest_gradient_norm) == (1.0, 7.0)  # 9 is of the warm-up
    assert (row.seeds, row.diverged, row.collapsed) == (2, 0, 0)
    shown = table(run, "stability", "md")
    assert "| Two-Room | LeWM | pred 0.767, sigreg 3 |" in shown
    assert "training seeds: 2; diverged: 0; collapsed: 0" in shown


def test_collapsed_and_diverged_seeds_are_counted(run):
    error = "TrainingError: loss, pred is not finite at step 7: lower train.lr"
    same = dict(train_steps=50, train_s=1.0)
    run.trial(seed=0, metrics=curve("pred", [1.0, 0.5]) + ended(0.01), **same)
    run.trial(seed=1, metrics=curve("pred", [1.0, 0.5]) + ended(0.99), **same)
    run.trial(seed=2, status="error", error=error, diverged=True)
    run.trial(seed=3, status="error", error="OSError: no disk")
    run.trial(method="pldm", status="error", error=error, diverged=True)
    run.trial(method="gcbc", metrics=curve("loss", [1.0, 0.5]), **same)
    run.trial(method="ema_jepa", metrics=curve("pred", [1.0, math.nan]), **same)
    rows = raw(run, "stability").set_index("method")
    assert rows["diverged"].to_dict() == {"lewm": 1, "pldm": 1, "gcbc": 0, "ema_jepa": 1}
    assert rows["collapsed"].to_dict() == {"lewm": 1, "pldm": 0, "gcbc": 0, "ema_jepa": 0}
    assert rows["seeds"].to_dict() == {"lewm": 3, "pldm": 1, "gcbc": 1, "ema_jepa": 1}
    lines = {
        line.split(" | ")[1]: line for line in table(run, "stability", "md").split("\n| ")[2:11]
    }
    assert "NaN" in lines["PLDM"] and "NaN" in lines["EMA JEPA"]
    assert "NaN" not in lines["GCBC"] and "NaN" not in lines["LeWM"]
