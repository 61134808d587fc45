"""Makes sure that what a command starts ends with it: scratch folders and the processes in them.

A scratch folder belongs to the process that holds its lock. The kernel frees the lock when that
process ends, whichever way it ends, so a folder whose lock is free is a leftover.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import shlex
import shutil
import signal
import stat
import sys
import tempfile
from collections.abc import Iterator
from typing import IO, NamedTuple

import psutil

PREFIX = "jepa-bench-"
_LOCK = "lock"
_LONGEST = 32  # bytes of a base folder: sockets of Ray add 70, and 107 are the maximum
_SHORT = ("/tmp", "/dev/shm")  # tried where TMPDIR is too long
_RAY = ("ray", "gcs_server", "python")  # how the names of Ray's processes begin
_PR_SET_PDEATHSIG = 1


class Leftover(NamedTuple):
    """The remains of a dead command: its scratch folder and the processes that still used it."""

    folder: str
    pids: list[int]

    def words(self) -> str:
        """ "/tmp/jepa-bench-x with processes 12, 34"."""
        pids = ", ".join(map(str, self.pids))
        return f"{self.folder} with processes {pids}" if pids else self.folder


@contextlib.contextmanager
def scratch() -> Iterator[str]:
    """A new folder with a short path. At the end it is removed, and all processes that use it are
    killed. Raises OSError where no folder can be created.
    """
    base = _base()
    hidden = tempfile.mkdtemp(prefix=f".{PREFIX}", dir=base)
    with open(os.path.join(hidden, _LOCK), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = os.path.join(base, os.path.basename(hidden)[1:])
        os.rename(hidden, folder)  # other commands see the folder only now that it is locked
        try:
            yield folder
        finally:
            _remove(folder)


def remove_leftovers() -> list[Leftover]:
    """Kill the processes and remove the folders that dead commands of this user left;
    returns them.
    """
    leftovers = []
    for base in dict.fromkeys([tempfile.gettempdir(), *_SHORT]):
        with contextlib.suppress(OSError):
            for entry in sorted(os.listdir(base)):
                folder = os.path.join(base, entry)
                if entry.startswith(PREFIX) and (lock := _free_lock(folder)):
                    with lock:
                        leftovers.append(_remove(folder))
    return leftovers


def end_with_parent(parent: int) -> None:
    """Let the kernel kill this process when `parent`, the process that started it, ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # the parent had ended before the call of prctl
            os._exit(1)


def is_plain(path: str) -> bool:
    """Whether `path` needs no quotes in a shell, since Ray puts some paths into command lines."""
    return shlex.quote(path) == path


def _base() -> str:
    """The first writable folder whose path is short and plain enough for Ray."""
    tried = []
    for base in dict.fromkeys([tempfile.gettempdir(), *_SHORT]):
        if len(os.fsencode(base)) > _LONGEST or not is_plain(base):
            tried.append(f"{base} is longer than {_LONGEST} bytes or has special characters")
        elif not os.access(base, os.W_OK | os.X_OK):
            tried.append(f"{base} cannot be written")
        else:
            return base
    raise OSError(
        f"no folder for Ray's sockets ({'; '.join(tried)}): set TMPDIR to a folder with a short "
        f"plain name that can be written, or use backend=loop"
    )


def _free_lock(folder: str) -> IO[str] | None:
    """Take the lock of a dead command's scratch folder; None for any other folder."""
    try:
        status = os.lstat(folder)
        if status.st_uid != os.getuid() or not stat.S_ISDIR(status.st_mode):
            return None
        lock = open(os.path.join(folder, _LOCK), encoding="utf-8")  # noqa: SIM115
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return lock
    except OSError:
        lock.close()
        return None


def _remove(folder: str) -> Leftover:
    pids: list[int] = []
    while users := _users(folder):  # repeated, since a process may have started another
        for process in users:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(users, timeout=10)
        new = [process.pid for process in users if process.pid not in pids]
        if not new:  # they cannot be killed
            break
        pids += new
    shutil.rmtree(folder, ignore_errors=True)
    return Leftover(folder, pids)


def _users(folder: str) -> list[psutil.Process]:
    """Ray's processes that belong to a scratch folder: by their words or by their open files."""
    return [p for p in psutil.process_iter() if p.pid != os.getpid() and _uses(p, f"{folder}/")]


def _uses(process: psutil.Process, below: str) -> bool:
    try:
        if process.uids().real != os.getuid() or process.status() == psutil.STATUS_ZOMBIE:
            return False
        if not process.name().startswith(_RAY):  # not somebody who reads a log
            return False
        words = any(below in word for word in process.cmdline())
        return words or any(file.path.startswith(below) for file in process.open_files())
    except (psutil.Error, OSError):
        return False
