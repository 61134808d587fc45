"""Folders that are being made or whose making was interrupted: whose they are, what they hold."""

from __future__ import annotations

import contextlib
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


@contextlib.contextmanager
def claimed(root: str, name: str) -> Iterator[str]:
    """A folder to collect dataset `name` in, which no living process uses: the one that an
    interrupted collection left, or a new one. Raises OSError.

    It stays when the collection is interrupted.
    """
    _remove_stale(root, name)
    left = sorted(e.path for e in os.scandir(root) if _is_part(e.name, name))
    fresh = os.path.join(root, f".{name}.{uuid.uuid4().hex[:8]}.part")
    os.mkdir(fresh)
    for part in [*left, fresh]:
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
    left. Raises OSError.
    """
    folder, part = os.path.join(root, name), os.path.join(root, f".{name}.part")
    if not os.path.isdir(folder):
        with open(os.path.join(root, f".{name}.lock"), "w", encoding="utf-8") as lock:
            _wait(lock, name)
            if not os.path.isdir(folder):
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
    """file -> facts of what an interrupted collection had noted."""
    found = {}
    for entry in os.scandir(part):
        if entry.name.endswith(".arrow.json"):
            with open(entry.path, encoding="utf-8") as source:
                found[entry.name.removesuffix(".json")] = json.load(source)
    return found


def forget(folder: str) -> None:
    """Remove all notes and the lock: what is left is the dataset. It has its own name by now, or
    another process could take the folder up between this and that.
    """
    for entry in os.scandir(folder):
        if entry.name == _LOCK or entry.name.endswith((".json.part", ".arrow.json")):
            os.remove(entry.path)


def _is_part(entry: str, name: str) -> bool:
    return entry.startswith(f".{name}.") and entry.endswith(".part")


def _lock(part: str) -> IO[str] | None:
    """The lock of a folder, freed when it is closed; None where another process has it, or has just
    renamed the folder.
    """
    beside = f"{part.removesuffix('.part')}.lock"  # there while `once` fills the folder
    path = beside if os.path.exists(beside) else os.path.join(part, _LOCK)
    try:
        lock = open(path, "w", encoding="utf-8")  # noqa: SIM115
    except FileNotFoundError:
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
