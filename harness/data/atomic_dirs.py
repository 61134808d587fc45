"""Folders that are being made or whose making was interrupted: whose they are, what they hold."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from typing import IO, Any

log = logging.getLogger(__name__)

_LOCK = "lock"  # held by the process that collects
_STALE_S = 7 * 86400.0  # what no process uses is removed after so long
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class NotWritable(OSError):
    """A missing folder cannot be made; the message is one line with what to do."""

    def __init__(self, root: str, name: str, reason: str):
        super().__init__(
            f"{name} is missing and {root} cannot be written: {reason}. Give another "
            f"datasets=FOLDER"
        )
        self.reason = reason


@contextlib.contextmanager
def claimed(root: str, name: str) -> Iterator[str]:
    """A folder to collect dataset `name` in, which no living process uses: the one that an
    interrupted collection left, or a new one. Raises OSError, NotWritable where `root` cannot be
    written.

    It stays when the collection is interrupted.
    """
    fresh = os.path.join(root, f".{name}.{uuid.uuid4().hex[:8]}.part")
    with _writing(root, name):
        os.makedirs(root, exist_ok=True)
        os.mkdir(fresh)
    _remove_stale(root, name)
    left = [e.path for e in os.scandir(root) if _is_part(e.name, name) and e.path != fresh]
    for part in [*sorted(left), fresh]:
        lock = _lock(part)
        if lock is not None:
            break
    if part != fresh:
        os.rmdir(fresh)
    with lock:
        yield part


def once(root: str, name: str, make: Callable[[str], None]) -> str:
    """The folder root/name; where it is missing, `make` fills a folder that is then renamed to it.

    One process makes it, others wait for that one. `make` finds what an interrupted process had
    left. Raises OSError, NotWritable where the folder is missing and `root` cannot be written.
    """
    folder, part = os.path.join(root, name), os.path.join(root, f".{name}.part")
    if not os.path.isdir(folder):
        with _writing(root, name):
            lock = open(os.path.join(root, f".{name}.lock"), "w", encoding="utf-8")  # noqa: SIM115
        with lock:
            _wait(lock, name)
            if not os.path.isdir(folder):
                with _writing(root, name):
                    os.makedirs(part, exist_ok=True)
                make(part)
                os.rename(part, folder)
                os.remove(lock.name)  # those that wait for it find the folder
    return folder


def keep(part: str, file: str, facts: dict[str, Any]) -> None:
    """Note that `file` of a folder is whole, with what is known about it. Raises OSError."""
    path = os.path.join(part, f"{file}.json")
    with open(f"{path}.part", "w", encoding="utf-8") as sink:
        json.dump(facts, sink)
    os.rename(f"{path}.part", path)


def kept(part: str) -> dict[str, dict[str, Any]]:
    """file -> facts of what an interrupted collection had noted; a damaged note counts as none."""
    found = {}
    for entry in os.scandir(part):
        if entry.name.endswith(".arrow.json"):
            with contextlib.suppress(ValueError), open(entry.path, encoding="utf-8") as source:
                found[entry.name.removesuffix(".json")] = json.load(source)
    return found


def forget(folder: str) -> None:
    """Remove all notes and the lock: what is left is the dataset. It has its own name by now, or
    another process could take the folder up between this and that.
    """
    for entry in os.scandir(folder):
        if entry.name == _LOCK or entry.name.endswith((".json.part", ".arrow.json")):
            os.remove(entry.path)


@contextlib.contextmanager
def _writing(root: str, name: str) -> Iterator[None]:
    """The first thing that is written for root/name, which tells whether that is allowed."""
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise
        raise NotWritable(root, name, error.strerror) from error


def _is_part(entry: str, name: str) -> bool:
    return entry.startswith(f".{name}.") and entry.endswith(".part")


def _lock(part: str) -> IO[str] | None:
    """The lock of a folder, freed when it is closed; None where another process has it or has just
    renamed the folder, and where the folder belongs to another user.
    """
    beside = f"{part.removesuffix('.part')}.lock"  # there while `once` fills the folder
    path = beside if os.path.exists(beside) else os.path.join(part, _LOCK)
    try:
        lock = open(path, "w", encoding="utf-8")  # noqa: SIM115
    except (FileNotFoundError, PermissionError):
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.stat(part)
    except (BlockingIOError, FileNotFoundError):
        lock.close()
        return None
    return lock


def _wait(lock: IO[str], name: str) -> None:
    """Until the lock is this process's."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.info("waiting for another process, which makes %s", name)
        fcntl.flock(lock, fcntl.LOCK_EX)


def _remove_stale(root: str, name: str) -> None:
    """What was left long ago, but not of dataset `name` and not what a living process fills."""
    for entry in os.scandir(root):
        part = entry.name.startswith(".") and entry.name.endswith(".part")
        if not part or not entry.is_dir() or _is_part(entry.name, name):
            continue
        with contextlib.suppress(FileNotFoundError):
            if time.time() - entry.stat().st_mtime > _STALE_S and (lock := _lock(entry.path)):
                log.warning("removing %s, left by a killed process", entry.path)
                with lock:
                    shutil.rmtree(entry.path, ignore_errors=True)
