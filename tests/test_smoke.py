"""`suite=smoke scale=tiny` through Ray, the whole way, with the trials' processes killed once, and
Ray's raylet once.
"""

import contextlib
import signal
import time
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import psutil
import pytest
import started
import tiny
import torch

from harness import trial
from harness.experiment import suites
from harness.experiment.run_folders import RunFolders
from harness.records import run_tables
from harness.training.checkpoint import TRAINING

COMMAND = ["-m", "harness.run", "suite=smoke", "scale=tiny", "device=cpu", "run=r"]
STEPS = 80
METHODS = suites.SUITES["smoke"].methods
WORDS = [f"for.lewm.train.steps={STEPS}", "for.lewm.train.checkpoint_every_s=0"]
PATIENCE_S = 600


class Run(NamedTuple):
    """The outcome of the command."""

    code: int
    said: str
    folder: Path
    steps: list[int]  # of LeWM's checkpoint, as seen from outside
    killed: int  # index into steps


def training_step(trials):
    """How far LeWM's training has come, by its checkpoint; 0: there is none now."""
    for path in trials.glob(f"toy.lewm.s0.*/checkpoint/{TRAINING}"):
        with contextlib.suppress(FileNotFoundError):
            return torch.load(path, weights_only=True)["state"][0]
    return 0


def named(process, beginning):
    """The processes under `process` whose command line begins so."""
    found = []
    for child in started.descendants(process.pid):
        with contextlib.suppress(psutil.NoSuchProcess, IndexError):
            if Path(child.cmdline()[0]).name.startswith(beginning):
                found.append(child)
    return found


@pytest.fixture(scope="module")
def smoke(datasets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("smoke")
    words = [*COMMAND, *WORDS, f"results={folder}", f"datasets={datasets}"]
    steps, killed = [], 0
    victims = [(5, "ray::ImplicitFunc"), (STEPS // 2, "raylet")]  # (from this step on, who)
    another = {"RAY_ADDRESS": "127.0.0.1:1"}  # another cluster: it was not asked for
    with started.process(words, folder / "said", **another) as process:
        began = time.monotonic()
        while process.poll() is None and time.monotonic() - began < PATIENCE_S:
            step = training_step(folder / "r" / "trials")
            if step and step != (steps or [0])[-1]:
                steps.append(step)
            if victims and step > victims[0][0]:
                for victim in named(process, victims.pop(0)[1]):
                    victim.send_signal(signal.SIGKILL)
                    killed = killed or len(steps)
            time.sleep(0.05)
        process.terminate()
        code = process.wait(30)
    return Run(code, (folder / "said").read_text(), folder / "r", steps, killed)


def test_every_trial_is_ok(smoke):
    assert smoke.code == 0, smoke.said
    table = run_tables.read(str(smoke.folder)).trial
    assert sorted(table["method"]) == sorted(METHODS)
    count = len(METHODS)
    assert set(table["status"]) == {"ok"} and f"{count} of {count} trials to run" in smoke.said


def test_a_killed_trial_goes_on_from_its_checkpoint(smoke):
    assert smoke.killed, "training was over before its process could be killed"
    before, after = smoke.steps[: smoke.killed], smoke.steps[smoke.killed :]
    assert before[-1] < STEPS and after[-1] > before[-1]
    assert smoke.steps == sorted(smoke.steps)  # a training from the start would write step 1 again


def test_a_dead_raylet_is_one_line_and_ray_is_started_again(smoke):
    lines = [line for line in smoke.said.splitlines() if "aylet" in line]
    assert lines == ["Ray's raylet died; starting Ray again for the rest (restart 1 of 2)"]


def test_its_weights_are_those_of_a_trial_that_was_not_killed(smoke, datasets, tmp_path):
    spec = tiny.spec("lewm", *WORDS)
    alone = trial.run(spec, RunFolders(str(tmp_path), "r", "smoke", str(datasets)), tiny.quiet)
    table = run_tables.read(str(smoke.folder)).trial.set_index("method")
    assert table.loc["lewm", "config_hash"] == alone.config_hash
    assert table.loc["lewm", "checkpoint_hash"] == alone.checkpoint_hash
    assert not list(smoke.folder.glob(f"trials/*/checkpoint/{TRAINING}"))


def test_pairs_are_the_same_for_every_method(smoke):
    episodes = run_tables.read(str(smoke.folder)).episodes
    columns = ["pair_id", "source_episode", "start_step", "stratum", "sample", "dist_init"]
    by_trial = [part[columns].to_numpy().tolist() for _, part in episodes.groupby("key")]
    assert len(by_trial) == len(METHODS) and len(by_trial[0]) == 8
    assert all(part == by_trial[0] for part in by_trial)
    replay = episodes[episodes["key"] == "toy.replay.s0"]
    assert replay["success"].all() and (replay["first_hit_step"] <= 25).all()


def test_every_trial_shows_the_same_pair(smoke):
    frames, count = run_tables.frames(str(smoke.folder)), len(METHODS)
    frames = frames[frames["stage"] == "control"]
    assert frames["key"].nunique() == count and frames["pair_id"].nunique() == 1
    for kind in ("start", "goal"):
        pictures = frames.loc[frames["kind"] == kind, "image"]
        assert len(pictures) == count and pictures.nunique() == 1
    assert frames.loc[
        (frames["key"] == "toy.replay.s0") & (frames["kind"] == "end"), "success"
    ].all()
    assert (smoke.folder / "figures" / "episode_toy.gif").read_bytes()[:4] == b"GIF8"


def test_tables_figures_and_page_are_written(smoke):
    for name in ("success", "efficiency", "stability"):
        for kind in ("md", "csv", "tex"):
            assert (smoke.folder / "tables" / f"{name}.{kind}").stat().st_size > 0
    for name in ("success", "plan_time", "training_toy", "episodes_toy"):
        assert (smoke.folder / "figures" / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
        assert "<svg" in (smoke.folder / "figures" / f"{name}.svg").read_text()
    assert "LeWM" in (smoke.folder / "index.html").read_text()
    success = pd.read_csv(smoke.folder / "tables" / "success.csv")
    assert set(METHODS) <= set(success.to_numpy().astype(str).ravel())


def test_ctrl_c_keeps_the_checkpoint_and_leaves_no_row_and_no_process(datasets, tmp_path):
    """With a home folder that cannot be written, and too long a path to that of temporary files."""
    words = [*COMMAND, "methods=[lewm]", "train.steps=1000000", "train.checkpoint_every_s=0"]
    words += [f"results={tmp_path}", f"datasets={datasets}"]
    trials = tmp_path / "r" / "trials"
    (tmp_path / ("t" * 120)).mkdir()
    odd = {"HOME": "/proc/nowhere", "TMPDIR": str(tmp_path / ("t" * 120))}
    with started.process(words, tmp_path / "said", **odd) as process:
        began = time.monotonic()
        while training_step(trials) < 5 and time.monotonic() - began < PATIENCE_S:
            time.sleep(0.1)
        family = started.descendants(process.pid)
        folders = {word for p in named(process, "raylet") for word in p.cmdline()}
        (folder,) = {w.partition("=")[2] for w in folders if w.startswith("--temp_dir=")}
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        assert psutil.wait_procs(family, timeout=5)[1] == [] and not Path(folder).exists()
    said = (tmp_path / "said").read_text()
    assert said.endswith("interrupted; the same command goes on from here\n")
    assert training_step(trials) >= 5 and not list(trials.glob("*/trial.parquet"))
