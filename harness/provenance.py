"""What a result was made with: revision, versions, device."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import subprocess
from pathlib import Path

import torch

_PACKAGES = (
    *("torch", "numpy", "transformers", "gymnasium", "mujoco", "ray", "pyarrow"),
    "stable-worldmodel",  # the peer of harness/bench
)
_ROOT = Path(__file__).resolve().parents[1]


@functools.cache  # the code that runs is the one that was there first
def git() -> tuple[str, bool]:
    """(commit, tracked files changed) at the first call; ("", False) outside a git checkout."""
    commit = _git("rev-parse", "HEAD")
    return commit, bool(commit and _git("status", "--porcelain", "--untracked-files=no"))


def versions() -> str:
    """ "python 3.11.7; torch 2.13.0; ..." of what is installed."""
    found = [f"python {platform.python_version()}"]
    for package in _PACKAGES:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return "; ".join(found)


def device(kind: str) -> tuple[str, str]:
    """(name of the device, driver) for "cpu" or "cuda"."""
    if kind == "cuda":
        return torch.cuda.get_device_name(), f"cuda {torch.version.cuda}"
    return _cpu_name(), ""


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} x{len(names)}" if names else platform.processor()


def _git(*words: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(_ROOT), *words], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
