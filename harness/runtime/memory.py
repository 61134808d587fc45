"""Memory: what a process keeps, the peak of one trial among several in it, and what is free."""

from __future__ import annotations

import ctypes
import platform
import resource
from pathlib import Path

import torch

from harness.runtime import machine

_KEPT = {-1: 2**30, -3: 2**25}  # bytes: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD (glibc allows no more)


def keep_freed() -> bool:
    """Give back what was freed so far, and keep up to 1 GiB of what will be; False, and nothing is
    done, where malloc is not glibc's. Large tensors would else be fresh pages that the kernel has
    to clear, 10^4 to 10^5 of them in one plan.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    libc.malloc_trim(0)
    return all([libc.mallopt(option, size) for option, size in _KEPT.items()])


def reset_peak(device: torch.device) -> None:
    """Start counting here (Linux and CUDA; elsewhere the peak is the process's)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak(device: torch.device) -> int:
    """Bytes: of device memory on CUDA, else of resident memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def free(device: torch.device) -> int:
    """Bytes that this process can take now; on CUDA with those that torch holds without using
    them.
    """
    if device.type == "cuda":
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + idle
    return machine.memory()[1]
