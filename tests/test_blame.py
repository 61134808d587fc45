"""Dynamics or cost: a world model's latents in the simulator, and a probe's cost in the model."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch

from harness import trial
from harness.experiment import config, identity, suites
from harness.experiment.run_folders import RunFolders

WORDS = ["suite=blame", "scale=tiny", "protocol=smoke", "tasks=toy", "device=cpu"]


def test_one_training_in_three_ways(tmp_path):
    run = config.parse([*WORDS, "methods=lewm,random", f"results={tmp_path}", "run=r"])
    folders = RunFolders(run.folder, run.run, run.suite, str(tmp_path / "data"))
    specs = suites.expand(run, trial.STAGES)
    rows = {s.variant: trial.run(s, folders, tiny.quiet) for w in suites.waves(specs) for s in w}
    assert {row.status for row in rows.values()} == {"ok"}, [r.error for r in rows.values()]
    assert set(rows) == {"training", "model", "simulated", "probed", ""}
    hashes = {rows[name].checkpoint_hash for name in ("model", "simulated", "probed")}
    assert len(hashes) == 1
    plain, simulated = (s for s in specs if s.variant in ("model", "simulated"))
    assert "dynamics" not in identity._outcome(plain)["config"]["mpc"]  # older rows keep their hash
    assert identity._outcome(simulated)["config"]["mpc"]["dynamics"] == "simulator"


def test_stages_that_ask_a_models_planner_have_no_rows_in_the_simulator(tmp_path):
    words = ["mpc.dynamics=simulator", "train.steps=2", "stages=[train,control,plan_time,plans]"]
    folders = RunFolders(str(tmp_path / "r"), "r", "smoke", str(tmp_path / "data"))
    row = trial.run(spec := tiny.spec("lewm", *words), folders, tiny.quiet)
    assert row.status == "ok", row.error
    stages = {metric.stage for metric in trial.rows.read_back(folders.trial(spec)).metrics}
    assert "train" in stages and not stages & {"plan_time", "plans"}


def test_the_simulator_with_a_probe_is_refused():
    with pytest.raises(config.ConfigError, match=r"mpc.dynamics=simulator with cost=probe"):
        tiny.spec("lewm", "mpc.dynamics=simulator", "mpc.cost=probe")


@pytest.fixture(scope="module")
def context(tmp_path_factory):
    """A trained tiny LeWM on Two-Room as a stage sees it."""
    root = tmp_path_factory.mktemp("blame")
    spec = tiny.spec("lewm", "train.steps=5", task="two_room")
    folders = RunFolders(str(root / "r"), "r", "smoke", str(root / "data"))
    found = []

    def keep(context):
        found.append(context)
        return trial.Result()

    stage = trial.STAGES["control"]
    trial.STAGES["control"] = stage._replace(run=keep)
    try:
        assert trial.run(spec, folders, tiny.quiet).status == "ok"
    finally:
        trial.STAGES["control"] = stage
    return found[0]


@torch.no_grad()
def test_the_latent_cost_of_the_goals_own_state_is_zero(context):
    cost, (main, _) = context._latent_cost(), context.pairs(0)
    simulator = context.task.simulator(2, context.config.data.image_size)
    simulator.set_state(np.stack([main[0].goal_state, main[1].goal_state]))
    at_goal, elsewhere = cost(simulator, main[0]).tolist()
    assert at_goal == pytest.approx(0, abs=1e-6) and elsewhere > 1e-4


def test_a_probe_reads_in_the_search_what_it_reads_by_itself(context):
    latents = context.probed["test"].features["latent"][:8, 0]
    (_, network) = context.probe.read(latents).values()
    standard = (network.mean(0) - context.probe.centre) / context.probe.scale
    read = context.probe.reader(torch.device("cpu"))
    assert torch.allclose(
        read(torch.from_numpy(latents)).double(), torch.from_numpy(standard), atol=1e-4
    )
