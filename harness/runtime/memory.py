"""Memory of a process: freed memory that it keeps, the peak of one trial, and what is free."""

from __future__ import annotations

import ctypes
import platform
import resource
from pathlib import Path

import torch

from harness.runtime import machine

_MALLOC_LIMITS = {
    -1: 2**30,
    -3: 2**25,
}  # bytes of M_TRIM_THRESHOLD and M_MMAP_THRESHOLD (its maximum)
CONTEXT_BYTES = 2**30  # left to each process on a shared GPU for what CUDA keeps beside tensors


def keep_freed() -> bool:
    """Let malloc keep up to 1 GiB of freed memory for the next allocations; memory freed so far
    goes back to the system. Without this, large tensors are new pages that the kernel has to clear,
    10^4 to 10^5 of them in one plan. Returns False, and does nothing, where malloc is not glibc's.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    libc.malloc_trim(0)
    return all([libc.mallopt(option, size) for option, size in _MALLOC_LIMITS.items()])


def reset_peak(device: torch.device) -> None:
    """Start a new measurement of `peak` (Linux and CUDA; elsewhere it covers the whole process)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak(device: torch.device) -> int:
    """The largest number of bytes since `reset_peak`: device memory on CUDA, else resident
    memory.
    """
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def free(device: torch.device, share: float = 1.0) -> int:
    """Bytes that this process can allocate now, of a GPU that it has a share of; on CUDA they
    include what torch has reserved but does not use.
    """
    if device.type == "cuda":
        used = torch.cuda.memory_allocated(device)
        unused, total = torch.cuda.mem_get_info(device)
        idle = torch.cuda.memory_reserved(device) - used
        return max(0, min(unused + idle, of_share(total, share) - used))
    return machine.memory()[1]


def of_share(total: int, share: float) -> int:
    """The bytes of tensors that a process may have which shares a GPU of `total` bytes; all of them
    where it has the whole GPU, also of `share` 0, which asks for none.
    """
    return max(0, int(share * total) - CONTEXT_BYTES) if 0 < share < 1 else total


def keep_to_share(device: torch.device, share: float) -> None:
    """Let this process have no more tensors on a GPU than its share: it fails itself, with torch's
    message, before the others on that GPU lack memory.
    """
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(of_share(total, share) / total, device)


def of_gpus() -> int:
    """Bytes of the smallest GPU that this process may use; 0 where there is none."""
    counted = range(torch.cuda.device_count())
    return min((torch.cuda.get_device_properties(i).total_memory for i in counted), default=0)
