"""One process at a time works in a folder of results; another one is told which process that is.

The lock is the operating system's, on the file FOLDER/.lock, so it ends with its process, however
that ends. What the file says is for people. Those that only read (report, dry run) need no lock.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Iterator

from pyarrow import fs as pafs

from harness.records import storage

log = logging.getLogger(__name__)

FILE = ".lock"
_HELD = (errno.EAGAIN, errno.EACCES)  # POSIX leaves open which


class InUseError(OSError):
    """Another process works in the folder: which one, and what to do about it."""


@contextlib.contextmanager
def hold(folder: str) -> Iterator[None]:
    """Keep other processes that call this out of `folder` while the block runs.

    Raises InUseError where another process holds it, another OSError where it cannot be written.
    Where there are no locks (an object store, some network file systems) the log says so.
    """
    fs, base = storage.filesystem(folder)
    if not isinstance(fs, pafs.LocalFileSystem):
        log.info("%s cannot be locked: do not start the same command twice", folder)
        yield
        return
    os.makedirs(base, exist_ok=True)
    lock = os.open(os.path.join(base, FILE), os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _lock(lock, folder)
        _sign(lock, folder)
        try:
            yield
        finally:
            _write(lock, "")  # it stays: were it removed, two processes could lock two such files
    finally:
        os.close(lock)


def _lock(lock: int, folder: str) -> None:
    """Lock the file until it is closed or this process ends."""
    try:
        # not flock, which a forked child would hold on to
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in _HELD:
            log.info("%s cannot be locked (%s): do not start the same command twice", folder, error)
            return
        owner = _read(lock)
        raise InUseError(
            f"{folder} is in use by process {owner['process']} on {owner['host']} since "
            f"{owner['since']}: wait until that has ended, or give another run=NAME or "
            f"results=FOLDER"
        ) from None


def _sign(lock: int, folder: str) -> None:
    """Write who has the lock; warn where another machine left it without an end."""
    host, before = socket.gethostname(), _read(lock)
    if before["host"] not in (host, _UNKNOWN["host"]):
        log.warning(
            "process %s on %s, which worked in %s since %s, did not end in order: where that "
            "machine's locks are not seen here, make sure that it has ended",
            *(before["process"], before["host"], folder, before["since"]),
        )
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    _write(lock, json.dumps({"process": os.getpid(), "host": host, "since": since}))


def _write(lock: int, text: str) -> None:
    with contextlib.suppress(OSError):  # a file of another user
        os.fchmod(lock, 0o666)  # whoever may write the folder may take the lock after a kill
    with contextlib.suppress(OSError):  # a full disk
        os.ftruncate(lock, 0)
        os.pwrite(lock, text.encode(), 0)


_UNKNOWN: dict[str, object] = {"process": "(unknown)", "host": "(unknown)", "since": "(unknown)"}


def _read(lock: int) -> dict[str, object]:
    try:
        signed = storage.parse_json(os.pread(lock, 4096, 0))
    except ValueError:  # empty: its owner has not signed yet
        return _UNKNOWN
    return _UNKNOWN | signed if isinstance(signed, dict) else _UNKNOWN
