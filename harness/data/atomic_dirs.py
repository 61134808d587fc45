"""Folders that appear whole or not at all: they are filled under a temporary name, then renamed.

A process that fills a folder holds its lock, so an interrupted folder can be told from one that is
being filled, and is taken up again.
"""

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

from harness.records import storage

log = logging.getLogger(__name__)

_LOCK = "lock"  # file in the folder, locked by the process that fills it
_STALE_S = 7 * 86400.0  # an interrupted folder is removed after this time
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class NotWritable(OSError):
    """A missing folder cannot be created; the message is one line that says what to do."""

    def __init__(self, root: str, name: str, reason: str):
        super().__init__(
            f"{name} is missing and {root} cannot be written: {reason}. Give another "
            f"datasets=FOLDER"
        )
        self.reason = reason


@contextlib.contextmanager
def claimed(root: str, name: str) -> Iterator[str]:
    """A temporary folder for the dataset `name`, locked for this process: one that an interrupted
    collection left, or a new one. Raises OSError, and NotWritable where `root` cannot be written.

    The folder stays when the collection is interrupted, so that the next one can go on with it.
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
    assert lock is not None, fresh  # nobody else has `fresh`
    with lock:
        yield part


def once(root: str, name: str, make: Callable[[str], None]) -> str:
    """The folder root/name. Where it is missing, `make` fills a temporary folder, which is then
    renamed to it.

    One process makes the folder and others wait for it. The temporary folder may hold files of an
    interrupted process. Raises OSError, and NotWritable where the folder is missing and `root`
    cannot be written.
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
                os.remove(lock.name)  # a process that waits for the lock then sees the folder
    return folder


def write_note(part: str, file: str, facts: dict[str, Any]) -> None:
    """Note that `file` in the folder `part` is whole, with facts about it. Raises OSError."""
    fs, path = storage.filesystem(os.path.join(part, f"{file}.json"))
    with storage.whole_file(fs, path) as sink:
        sink.write(json.dumps(facts).encode())


def read_notes(part: str) -> dict[str, dict[str, Any]]:
    """The facts about each whole file in the folder, by file name; damaged notes are left out."""
    notes = {}
    for entry in os.scandir(part):
        if entry.name.endswith(".arrow.json"):
            with contextlib.suppress(ValueError), open(entry.path, encoding="utf-8") as source:
                notes[entry.name.removesuffix(".json")] = storage.parse_json(source.read())
    return notes


def remove_notes(folder: str) -> None:
    """Remove all notes and the lock, so that only the dataset is left. Call it after the folder was
    renamed: under its temporary name another process could claim it without its lock.
    """
    for entry in os.scandir(folder):
        if entry.name == _LOCK or entry.name.endswith((".part", ".arrow.json")):
            os.remove(entry.path)


@contextlib.contextmanager
def _writing(root: str, name: str) -> Iterator[None]:
    """Turn an error of the first write for root/name into NotWritable, unless the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise
        raise NotWritable(root, name, error.strerror or str(error)) from error


def _is_part(entry: str, name: str) -> bool:
    return entry.startswith(f".{name}.") and entry.endswith(".part")


def _lock(part: str) -> IO[str] | None:
    """Take the lock of a folder; closing the file frees it. None where another process has the lock
    or has just renamed the folder, and where the folder belongs to another user.
    """
    beside = f"{part.removesuffix('.part')}.lock"  # exists while `once` fills the folder
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
    """Wait until this process has the lock."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.info("waiting for another process to make %s", name)
        fcntl.flock(lock, fcntl.LOCK_EX)


def _remove_stale(root: str, name: str) -> None:
    """Remove folders that were left long ago, except those of `name` and those being filled."""
    for entry in os.scandir(root):
        part = entry.name.startswith(".") and entry.name.endswith(".part")
        if not part or not entry.is_dir() or _is_part(entry.name, name):
            continue
        with contextlib.suppress(FileNotFoundError):
            if time.time() - entry.stat().st_mtime > _STALE_S and (lock := _lock(entry.path)):
                log.warning("removing %s, left by a killed process", entry.path)
                with lock:
                    shutil.rmtree(entry.path, ignore_errors=True)
