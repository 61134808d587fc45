"""What a process keeps of the memory that it freed."""

import os
import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource, torch
from harness.runtime import memory
{first}
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(50):
        kept = [torch.ones(2**20) for _ in range(5)]  # 4 MiB each
        del kept
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(faults())
"""


def faults(first):
    """Of a process whose malloc gives every large block back, unless it is told otherwise."""
    small = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
    command = [sys.executable, "-c", FAULTS.format(first=first)]
    done = subprocess.run(
        command, env=os.environ | small, capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="an option of glibc")
def test_freed_memory_is_used_again():
    assert faults("assert memory.keep_freed()") < 100
    assert faults("") >= 50 * 5  # one a tensor, or one a page
