"""Records the circumstances of a result: code revision, package versions, device."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import logging
import os
import platform
import subprocess
from pathlib import Path
from typing import NamedTuple

import torch

log = logging.getLogger(__name__)

_DISTRIBUTION = "jepa-bench"
_PACKAGES = (
    *("torch", "numpy", "transformers", "gymnasium", "mujoco", "ray", "pyarrow"),
    "stable-worldmodel",  # the peer of harness/bench
)
_ROOT = Path(__file__).resolve().parents[2]
_FILE = "harness/runtime/provenance.py"  # below _ROOT
# set in a git hook or a rebase that this process may be part of; they name another repository
_GIT_VARIABLES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE")


@functools.cache  # the code that runs is the one that was loaded first
def git() -> tuple[str, bool]:
    """(commit, dirty): the commit of the code that runs, and whether tracked files differ from it.

    A repository counts only where it tracks this file, since the code may be installed inside
    another project's. Otherwise the commit is that of the installed distribution, else
    "jepa-bench VERSION", else "". Logs a warning where there is no commit.
    """
    tracked = _git("ls-files", "--error-unmatch", _FILE)
    commit = _git("rev-parse", "HEAD") if tracked.text else tracked
    if commit.text:
        return commit.text, bool(_git("status", "--porcelain", "--untracked-files=no", ".").text)
    installed, version = _installed()
    if not installed:
        words = f"{version} instead" if version else "nothing"
        log.warning("no commit can be recorded, the rows say %s (%s)", words, commit.error)
    return installed or version, False


def _installed() -> tuple[str, str]:
    """(commit, "jepa-bench VERSION") of the distribution that the code belongs to; an unknown one
    is "".
    """
    for distribution in importlib.metadata.distributions(name=_DISTRIBUTION):
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        of_here = Path(str(distribution.locate_file(_FILE))).resolve() == _ROOT / _FILE
        if of_here or origin.get("url") == _ROOT.as_uri():  # the second in an editable installation
            commit = origin.get("vcs_info", {}).get("commit_id", "")
            return commit, f"{_DISTRIBUTION} {distribution.version}"
    return "", ""


def versions() -> str:
    """ "python 3.11.7; torch 2.13.0; ...": the installed versions of the packages that matter."""
    parts = [f"python {platform.python_version()}"]
    for package in _PACKAGES:
        try:
            parts.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return "; ".join(parts)


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


class _Answer(NamedTuple):
    """The output of git, or the reason why it failed."""

    text: str
    error: str


def _git(*words: str) -> _Answer:
    """Run git in the repository of _ROOT, which may belong to another user."""
    command = ["git", "--no-optional-locks", "-c", f"safe.directory={_ROOT}", "-C", str(_ROOT)]
    environment = {name: v for name, v in os.environ.items() if name not in _GIT_VARIABLES}
    try:
        done = subprocess.run(
            [*command, *words], env=environment, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return _Answer("", str(error))
    if done.returncode:
        return _Answer("", done.stderr.strip().partition("\n")[0])
    return _Answer(done.stdout.strip(), "")
