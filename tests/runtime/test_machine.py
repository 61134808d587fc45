"""What a process may use of a machine, where a scheduler or a container grants only a part."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.runtime import machine

ROOT = Path(__file__).parents[2]
GIB = 2**30


def groups(root: Path, files: dict[str, str]) -> Path:
    """Control groups below `root`: texts by path."""
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text + "\n")
    return root


@pytest.mark.parametrize(
    ("membership", "files", "cores"),
    [
        ("0::/", {"cpu.max": "max 100000"}, math.inf),
        ("0::/", {"cpu.max": "400000 100000"}, 4),
        ("0::/", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/slurm/job_7", {"slurm/job_7/cpu.max": "max 100000"}, math.inf),
        # the limit of a group above holds too, and the lowest of all
        ("0::/slurm/job_7", {"slurm/job_7/cpu.max": "800000 100000", "slurm/cpu.max": "2 1"}, 2),
        ("0::/of/the/host", {"cpu.max": "300000 100000"}, 3),  # a path that is not visible here
        (
            "4:cpu,cpuacct:/docker/a\n0::/",
            {"cpu/docker/a/cpu.cfs_quota_us": "200000", "cpu/docker/a/cpu.cfs_period_us": "100000"},
            2,
        ),
        ("4:cpu:/a", {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, 0.5),
        ("4:cpu:/", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, math.inf),
        ("4:cpuset:/\n1:name=systemd:/", {"cpuset/cpu.cfs_quota_us": "1"}, math.inf),
        ("", {}, math.inf),  # another operating system
    ],
)
def test_a_cpu_quota_counts_in_both_versions_of_control_groups(tmp_path, membership, files, cores):
    assert machine.cpu_quota(membership, groups(tmp_path, files)) == cores


@pytest.mark.parametrize(
    ("membership", "files", "in_all", "left"),
    [
        ("0::/", {"memory.max": "max", "memory.current": "7"}, math.inf, math.inf),
        ("0::/a", {"a/memory.max": f"{8 * GIB}", "a/memory.current": f"{3 * GIB}"}, 8, 5),
        (
            "0::/",
            {
                "memory.max": f"{8 * GIB}",
                "memory.current": f"{7 * GIB}",
                "memory.stat": f"anon {4 * GIB}\nactive_file {GIB}\ninactive_file {2 * GIB}",
            },
            8,
            4,
        ),
        (
            "3:memory:/d",
            {
                "memory/d/memory.limit_in_bytes": f"{4 * GIB}",
                "memory/d/memory.usage_in_bytes": f"{3 * GIB}",
                "memory/d/memory.stat": f"inactive_file 0\ntotal_inactive_file {GIB}",
            },
            4,
            2,
        ),
    ],
)
def test_a_memory_limit_counts_without_pages_of_files(tmp_path, membership, files, in_all, left):
    found = machine.memory_limits(membership, groups(tmp_path, files))
    assert found == (in_all * GIB, left * GIB)


def test_the_memory_of_this_machine():
    in_all, left = machine.memory()
    assert 0 < left < in_all


def on_one_core(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a Python command on one of the cores that this process may use."""
    core = {min(os.sched_getaffinity(0))}
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, core),
    )


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_the_plan_counts_the_cores_that_the_process_may_use(tmp_path):
    words = ["suite=smoke", "scale=tiny", "tasks=[toy]", "methods=[lewm,pldm]", "device=cpu"]
    words += [f"results={tmp_path}", "dry=true", "for.lewm.resources.cpu=2"]
    done = on_one_core("-m", "harness.run", *words)
    assert done.returncode == 0, done.stderr
    assert "cpu with 1 core, backend ray" in done.stderr
    said = "resources.cpu=2 and 1 core on any machine here: use resources.cpu=1"
    assert f"cannot run here: {said}" in done.stderr and "1 of 2 trials to run" in done.stderr


RAY = """
from harness import launch
from harness.experiment import config
from harness.runtime import processes
with processes.scratch() as folder:
    nodes = launch.cluster(folder, config.parse(["suite=smoke"]))
    print("CPU", *[node["CPU"] for node in nodes])
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_a_local_ray_has_the_cores_that_the_process_may_use():
    done = on_one_core("-c", RAY)
    assert done.stdout.splitlines()[-1:] == ["CPU 1.0"], done.stderr
