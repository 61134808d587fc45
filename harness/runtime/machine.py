"""The cores and the memory that this process may use, which a scheduler or a container can limit to
a part of the machine's.
"""

from __future__ import annotations

import math
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil

_MEMBERSHIP = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")
_ANSWER_S = 20.0  # that nvidia-smi may take


def cores() -> int:
    """The number of whole cores that this process may use, by its affinity and by the CPU quota of
    its control groups; at least 1.
    """
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    return max(1, math.floor(min(allowed, cpu_quota(_membership(), _GROUPS))))


def counted(cores: float) -> str:
    """ "1 core", "4 cores"."""
    return f"{cores:g} core{'' if cores == 1 else 's'}"


def memory() -> tuple[int, int]:
    """Bytes of memory (in all, available now) within the limits of the control groups."""
    whole = psutil.virtual_memory()
    limit, left = memory_limits(_membership(), _GROUPS)
    return int(min(whole.total, limit)), int(max(0, min(whole.available, left)))


def gpu_is_shared(uuid: str) -> bool:
    """Whether another process computes on the GPU beside this one, as far as nvidia-smi sees them:
    inside a container it may see none.
    """
    query = ["nvidia-smi", "--query-compute-apps=pid", "--format=csv,noheader", f"--id={uuid}"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=_ANSWER_S)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and len(done.stdout.split()) > 1


def cpu_quota(membership: str, root: Path) -> float:
    """The cores that control groups (version 1 or 2) below `root` grant; infinite without a quota.

    `membership` is the text of /proc/PID/cgroup. A group that is not visible here is ignored.
    """
    granted = math.inf
    for folder in _folders(membership, root, "cpu"):
        quota, period = _text(folder / "cpu.max").split() or ("max", "1")
        if quota == "max":
            quota = _text(folder / "cpu.cfs_quota_us") or "-1"
            period = _text(folder / "cpu.cfs_period_us") or "1"
        if float(quota) > 0:
            granted = min(granted, float(quota) / float(period))
    return granted


def memory_limits(membership: str, root: Path) -> tuple[float, float]:
    """The bytes that control groups below `root` grant (in all, still free); infinite without a
    limit. Cached pages of files count as free: the kernel drops them when memory is needed.
    """
    in_all = left = math.inf
    for folder in _folders(membership, root, "memory"):
        for limit_file, usage_file, prefix in (
            ("memory.max", "memory.current", ""),
            ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
        ):
            limit = _text(folder / limit_file)
            if not limit.isdecimal():
                continue
            stat = dict(line.split() for line in _text(folder / "memory.stat").splitlines())
            pages = sum(int(stat.get(f"{prefix}{k}_file", 0)) for k in ("active", "inactive"))
            held = max(0, int(_text(folder / usage_file) or 0) - pages)
            in_all, left = min(in_all, int(limit)), min(left, int(limit) - held)
    return in_all, left


def _membership() -> str:
    return _text(_MEMBERSHIP)


def _folders(membership: str, root: Path, controller: str) -> Iterator[Path]:
    """The folders of the process's group and of all groups above it, whose limits hold as well."""
    for line in membership.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        top = root / controller if controllers else root  # version 1 has a tree for each controller
        group = top / path.strip("/")
        yield from (group, *(above for above in group.parents if above.is_relative_to(top)))


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
