"""What a command starts ends with it: scratch folders, the processes that use them, leftovers.

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
_LONGEST = 32  # bytes of a base: Ray's sockets lie 70 bytes deeper and may have 107
_SHORT = ("/tmp", "/dev/shm")  # where TMPDIR is too long
_RAY = ("ray", "gcs_server", "python")  # how the names of Ray's processes begin
_PR_SET_PDEATHSIG = 1


class Leftover(NamedTuple):
    """What a dead command left: its scratch folder, and the processes that still used it."""

    folder: str
    pids: list[int]

    def words(self) -> str:
        """ "/tmp/jepa-bench-x with processes 12, 34"."""
        pids = ", ".join(map(str, self.pids))
        return f"{self.folder} with processes {pids}" if pids else self.folder


@contextlib.contextmanager
def scratch() -> Iterator[str]:
    """A short new folder of this process's own; at the end it goes, and all processes that use it.

    Raises OSError where no folder can be made.
    """
    base = _base()
    hidden = tempfile.mkdtemp(prefix=f".{PREFIX}", dir=base)
    with open(os.path.join(hidden, _LOCK), "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        folder = os.path.join(base, os.path.basename(hidden)[1:])
        os.rename(hidden, folder)  # seen by others only now that it is locked
        try:
            yield folder
        finally:
            _remove(folder)


def remove_leftovers() -> list[Leftover]:
    """End and remove what dead commands of this user left behind; returns what that was."""
    found = []
    for base in dict.fromkeys([tempfile.gettempdir(), *_SHORT]):
        with contextlib.suppress(OSError):
            for entry in sorted(os.listdir(base)):
                folder = os.path.join(base, entry)
                if entry.startswith(PREFIX) and (lock := _free_lock(folder)):
                    with lock:
                        found.append(_remove(folder))
    return found


def end_with_parent(parent: int) -> None:
    """From now on this process is killed when the process `parent`, which started it, ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it had ended before
            os._exit(1)


def is_plain(path: str) -> bool:
    """Whether a shell reads `path` as it stands; Ray puts some paths into command lines."""
    return shlex.quote(path) == path


def _base() -> str:
    """The first folder that can be written whose path is short and plain enough for Ray."""
    tried = []
    for base in dict.fromkeys([tempfile.gettempdir(), *_SHORT]):
        if len(os.fsencode(base)) > _LONGEST or not is_plain(base):
            tried.append(f"{base} is longer than {_LONGEST} bytes or has special characters")
        elif not os.access(base, os.W_OK | os.X_OK):
            tried.append(f"{base} cannot be written")
        else:
            return base
    raise OSError(
        f"no place for Ray's sockets ({'; '.join(tried)}): set TMPDIR to a folder with a short "
        f"plain name that can be written, or use backend=loop"
    )


def _free_lock(folder: str) -> IO[str] | None:
    """The lock of a dead command's scratch folder, taken; None for any other folder."""
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
    while users := _users(folder):  # again, since a process may have started another meanwhile
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
