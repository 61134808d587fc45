"""Same seed, same numbers: what a trial finds out depends neither on the process that runs it, its
threads and cores, nor on how many pairs are planned together, nor on Ray. On a CPU, to the bit;
harness/PROTOCOLS.md says what holds elsewhere, and tests/test_cuda.py tests it on a GPU.
"""

import dataclasses
import os

import pandas as pd
import pytest
import started
import tiny
import torch
from threadpoolctl import threadpool_limits

from harness import trial
from harness.data import collect, episodes
from harness.experiment.run_folders import RunFolders
from harness.records import rows, run_tables
from harness.tasks.two_room import TwoRoom

SMALL = ["data.episodes=24", "protocol.pairs=4", "train.steps=6", "plan_time.singles=1"]
METHODS = ("lewm", "dino_wm", "gcbc", "random")  # JEPA, frozen encoder, policy, control
TASKS = ("toy", "two_room")
TIMES = ["solve_s", "env_s", "render_s"]  # of an episode; metrics that are times have the unit s
TOGETHER = ["resources.pairs_per_solve=3", "resources.pairs_per_rollout=3"]
# what calls of a model with another number of pairs change by rounding: a policy's actions do
ROUNDING = {"gcbc": 1e-6}
BRIEF = ["stages=train,control"]  # the toy task has all stages once
PATIENCE_S = 600


@pytest.fixture(scope="module")
def expected(datasets, tmp_path_factory):
    """(task, method) -> the trial in this process, with one core and one thread, and its folder."""
    folders = RunFolders(str(tmp_path_factory.mktemp("equal")), "r", "smoke", str(datasets))
    stages = {"toy": [], "two_room": BRIEF}
    return {
        (task, method): run(task, method, folders, *stages[task])
        for task in TASKS
        for method in METHODS
    }


def run(task, method, folders, *words):
    """The row of the trial, and its folder."""
    spec = tiny.spec(method, *SMALL, *words, task=task)
    row = trial.run(spec, folders, tiny.quiet)
    assert row.status == "ok", row.error
    return row, folders.trial(spec)


def check_equal(found, expected, rounding=0.0):
    """Whether two trials found out the same in the stages of the first, whatever time it took them:
    to the bit, or distances and metrics up to `rounding`.
    """
    (row, folder), (other, other_folder) = found, expected
    for name in ("config_hash", "dataset_hash", "split_hash", "checkpoint_hash", "train_steps"):
        assert getattr(row, name) == getattr(other, name), name
    own, theirs = run_tables.read_one(folder), run_tables.read_one(other_folder)
    judged = {"check_exact": True} if not rounding else {"rtol": rounding, "atol": rounding}
    planned = [*TIMES, "pairs_per_solve"]
    pd.testing.assert_frame_equal(
        *(tables.episodes.drop(columns=planned) for tables in (own, theirs)), **judged
    )
    stages = set(own.metrics["stage"])
    assert stages <= set(theirs.metrics["stage"])
    values = [
        metrics[(metrics["unit"] != "s") & metrics["stage"].isin(stages)].reset_index(drop=True)
        for metrics in (own.metrics, theirs.metrics)
    ]
    pd.testing.assert_frame_equal(*values, **judged)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("task", TASKS)
def test_threads_cores_and_the_planners_batch_change_nothing(
    task, method, expected, datasets, tmp_path
):
    folders = RunFolders(str(tmp_path), "r", "smoke", str(datasets))
    torch.set_num_threads(2)
    with threadpool_limits(2):  # as another machine or OMP_NUM_THREADS may have it
        stages = BRIEF if task != "toy" else []
        found = run(task, method, folders, "resources.cpu=2", *TOGETHER, *stages)
    assert found[0].threads == (1 if method == "random" else 2)
    check_equal(found, expected[task, method], ROUNDING.get(method, 0.0))


def test_ray_and_other_processes_change_nothing(expected, tmp_path):
    """Another Python's order of sets, other threads, and data that were collected there."""
    words = [
        "-m",
        "harness.run",
        "suite=smoke",
        "scale=tiny",
        "device=cpu",
        "run=r",
        *SMALL,
        *BRIEF,
    ]
    words += [f"tasks={','.join(TASKS)}", f"methods={','.join(METHODS)}"]
    words += [f"results={tmp_path}", f"datasets={tmp_path / 'data'}"]
    other = {"PYTHONHASHSEED": "7", "OMP_NUM_THREADS": "2"}
    code, said = started.run(words, tmp_path / "said", PATIENCE_S, **other)
    assert code == 0, said
    for row, folder in expected.values():
        own = str(tmp_path / "r" / "trials" / os.path.basename(folder))
        check_equal((rows.read_trial(own), own), (row, folder))


def test_data_do_not_depend_on_the_number_of_processes_that_collect(tmp_path):
    small = collect.DataConfig(episodes=70, max_steps=20, image_size=16)
    one, two = (
        collect.ensure(TwoRoom(), small, str(tmp_path / str(count)), workers=count)
        for count in (1, 2)
    )
    assert os.path.basename(one) == os.path.basename(two)
    first, second = episodes.open_dataset(one), episodes.open_dataset(two)
    assert first.hash == second.hash and first.split_hash == second.split_hash
    assert first.manifest == second.manifest


def test_another_seed_gives_other_numbers(expected, datasets, tmp_path):
    """What is compared above can differ."""
    folders = RunFolders(str(tmp_path), "r", "smoke", str(datasets))
    spec = dataclasses.replace(tiny.spec("lewm", *SMALL, *BRIEF), seed=1)
    row = trial.run(spec, folders, tiny.quiet)
    assert row.checkpoint_hash != expected["toy", "lewm"][0].checkpoint_hash
    found = run_tables.read_one(folders.trial(spec)).episodes["dist_final"]
    own = run_tables.read_one(expected["toy", "lewm"][1]).episodes["dist_final"]
    assert (found != own).any()
