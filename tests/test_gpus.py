"""Trials that share GPUs, with Ray's simulated ones where there is none: which GPU each is given
and draws on, whether its part of the memory is enough, and what becomes of its plan times.
"""

import collections
import dataclasses
import json
import os
import tempfile

import pytest
import started
import tiny
import torch

from harness import launch, trial
from harness.experiment import config, identity, trial_row
from harness.experiment.run_folders import RunFolders
from harness.records import rows
from harness.runtime import machine, memory
from harness.tasks import rendering

GIB = 2**30
PATIENCE_S = 600
HALF = ["device=cuda", "resources.gpu=0.5"]
NODES = [{"CPU": 8.0, "GPU": 2.0, launch.GPU_BYTES: 24.0 * GIB}]


def test_gpus_follow_the_device_and_a_part_is_of_one():
    assert tiny.spec("lewm", "device=cuda").config.resources.gpu == 1
    assert tiny.spec("lewm", *HALF).config.resources.gpu == 0.5
    assert tiny.spec("lewm", "resources.gpu=0.5").config.resources.gpu == 0  # on a CPU
    with pytest.raises(config.ConfigError, match=r"resources\.gpu=1\.5 must be a part of one GPU"):
        tiny.spec("lewm", "device=cuda", "resources.gpu=1.5")


def test_what_a_trial_asks_of_gpus_must_be_on_one_machine():
    asked = tiny.spec("lewm", "device=cuda", "resources.gpu=3")
    said = "resources.gpu=3 and at most 2 GPUs on any machine here: use resources.gpu=2"
    assert launch.unavailable_reason(asked, NODES) == said
    assert launch.unavailable_reason(tiny.spec("lewm", *HALF), NODES) == ""


def test_a_part_of_a_gpu_leaves_room_for_what_cuda_keeps():
    assert memory.of_share(24 * GIB, 0.5) == 11 * GIB
    assert memory.of_share(24 * GIB, 1) == memory.of_share(24 * GIB, 0) == 24 * GIB


@pytest.fixture
def folders(tmp_path, datasets):
    return RunFolders(str(tmp_path / "r"), "r", "smoke", str(datasets))


def measured(folders, peak, resident, *words):
    """Record a trial of seed 0 on a GPU that took that much of its memory."""
    spec = tiny.spec("lewm", "device=cuda", *words)
    row = trial.record_failure(spec, folders, "no GPU here")
    facts = {"driver": "cuda 12.8", "peak_memory_bytes": peak, "resident_bytes": resident}
    row = dataclasses.replace(row, status="ok", error="", **facts)
    rows.write(folders.trial(spec), row, [], [])


@pytest.mark.parametrize(
    ("peak", "resident", "advice"),
    [
        (0, 0, None),  # nothing measured
        (12 * GIB, 4 * GIB, None),  # frames stay there only where they find room
        (12 * GIB, 0, "resources.gpu=0.5 leaves a trial 11.0 GiB of a GPU of 24.0 GiB, and one of "
         "the same setting took 12.0 GiB: use resources.gpu=1"),
    ],
)  # fmt: skip
def test_a_trial_whose_like_took_more_than_its_part_is_refused(peak, resident, advice, folders):
    spec = dataclasses.replace(tiny.spec("lewm", *HALF), seed=1)
    if peak:
        measured(folders, peak, resident)
        measured(folders, 99 * GIB, 0, "method.lewm.latent_dim=8")  # another setting
    assert launch.refusals([spec], folders, NODES) == {spec.key: advice or ""}
    assert launch.gpu_bytes_of(spec, folders) == peak - resident


def test_the_part_that_is_advised_fits(folders):
    """5 GiB: a quarter of 24 less 1 is exactly enough, a fifth is not."""
    measured(folders, 5 * GIB, 0)
    spec = dataclasses.replace(tiny.spec("lewm", "device=cuda", "resources.gpu=0.2"), seed=1)
    (reason,) = launch.refusals([spec], folders, NODES).values()
    assert reason.endswith("took 5.0 GiB: use resources.gpu=0.25")
    whole = dataclasses.replace(tiny.spec("lewm", "device=cuda"), seed=1)
    assert identity.setting_hash(whole) == identity.setting_hash(spec)
    assert launch.refusals([whole], folders, NODES) == {whole.key: ""}


def test_a_trial_that_runs_out_of_its_part_says_what_to_do(folders):
    failure = torch.OutOfMemoryError("CUDA out of memory. 11.00 GiB allowed")
    assert trial_row.error_line(failure, folders) == (
        "OutOfMemoryError: CUDA out of memory. 11.00 GiB allowed: lower train.batch_size or, where "
        "trials share a GPU, raise resources.gpu"
    )


# -- plan times


@pytest.mark.parametrize(("cores", "shared"), [(1, False), (0.5, True)])
def test_a_row_says_whether_others_could_use_the_device(cores, shared, folders):
    small = ["data.episodes=24", "protocol.pairs=4", "train.steps=2", "stages=train,plan_time"]
    spec = tiny.spec("gcbc", *small, f"resources.cpu={cores}")
    row = trial.run(spec, folders, tiny.quiet)
    assert (row.status, row.device_shared) == ("ok", shared)


@pytest.mark.parametrize(("answer", "shared"), [("12\n34", True), ("12", False), ("", False)])
def test_other_programs_on_a_gpu_are_those_that_the_driver_names(
    answer, shared, tmp_path, monkeypatch
):
    program = tmp_path / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n[ $3 = --id=GPU-1 ] && printf '{answer}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert machine.gpu_is_shared("GPU-1") == shared
    program.write_text("#!/bin/sh\necho 'No devices were found'; exit 6\n")
    assert not machine.gpu_is_shared("GPU-1")
    program.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not machine.gpu_is_shared("GPU-1")


# -- which GPU


@pytest.mark.parametrize(
    ("visible", "number"), [("1", "1"), (" 3,0", "3"), ("", ""), ("GPU-5a", ""), ("-1", "")]
)
def test_pictures_are_drawn_by_the_gpu_that_computes(visible, number):
    assert rendering.egl_device({"CUDA_VISIBLE_DEVICES": visible}) == number
    assert rendering.egl_device({}) == ""


WORKERS = """
import json, os, pathlib, sys, time
from harness import launch
from harness.runtime.progress import Display
from harness.tasks import rendering
folder, scratch, share = sys.argv[1], sys.argv[2], float(sys.argv[3])
def worker(words):
    open(f"{folder}/{words['key']}.began", "w").close()
    while len(list(pathlib.Path(folder).glob("*.began"))) < 4:  # the halves are taken at once
        time.sleep(0.1)
    seen = [os.environ.get("CUDA_VISIBLE_DEVICES"), rendering.egl_device(os.environ)]
    with open(f"{folder}/{words['key']}.json", "w") as sink:
        json.dump(seen, sink)
launch._set_environment(scratch, joins=False)
import ray
from ray import tune
ray.init(address="local", _temp_dir=scratch, num_cpus=4, num_gpus=2, include_dashboard=False,
         log_to_driver=False, object_store_memory=100 * 2**20)
with Display(4) as display:
    launch.tune_trials(
        scratch, worker, {"key": tune.grid_search(list("abcd"))},
        lambda words: {"cpu": 1, "gpu": share}, lambda words: words["key"], display, lambda key: "",
    )
"""


@pytest.fixture
def scratch():
    """Ray's folder; its sockets need a short path."""
    with tempfile.TemporaryDirectory(prefix="jb", dir="/tmp", ignore_cleanup_errors=True) as folder:
        yield folder


def test_trials_are_spread_over_gpus_and_draw_where_they_compute(scratch, tmp_path):
    """Two GPUs that Ray is told of; halves are taken two by two."""
    words = ["-c", WORKERS, str(tmp_path), scratch, "0.5"]
    code, said = started.run(words, tmp_path / "said", PATIENCE_S)
    assert code == 0, said
    found = [json.loads((tmp_path / f"{key}.json").read_text()) for key in "abcd"]
    assert all(cuda == egl for cuda, egl in found), found
    assert collections.Counter(cuda for cuda, _ in found) == {"0": 2, "1": 2}
