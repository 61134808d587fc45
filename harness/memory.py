"""Memory: the peak of one trial in a process that runs several, and what is free."""

from __future__ import annotations

import resource
from pathlib import Path

import psutil
import torch


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
    """Bytes that can be taken now, those that torch holds without using them included on CUDA."""
    if device.type == "cuda":
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + idle
    return psutil.virtual_memory().available
