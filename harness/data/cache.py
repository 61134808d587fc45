"""Lets datasets lie in an object store: every machine reads them from a local copy, and what one
machine makes is uploaded for the others.

`local` turns a location (a folder, or a URI such as s3://bucket/data) into a folder of this
machine. For a URI that is a folder of its cache, in which a file says where its contents come from;
`shared` reads it, so everything that is made in the folder, datasets, tokens of frozen encoders and
these encoders, is found in the store first and goes there afterwards.

In the store, a folder is whole once it has CHECKSUMS, which is uploaded last.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs as pafs

from harness.data import atomic_dirs
from harness.data.episodes import DatasetError
from harness.records import storage

log = logging.getLogger(__name__)

VARIABLE = "JEPA_BENCH_CACHE"  # of the environment: the folder of this machine's copies
CHECKSUMS = "checksums.json"  # of a folder's files, by name
_DEFAULT = "~/.cache/jepa-bench"
_ORIGIN = "origin"  # the file in a cache folder that holds the URI it is a copy of
_NOT_SENT = (".part", ".arrow.json", CHECKSUMS)  # ends of names: notes of a collection
_THREADS = 8
_BLOCK = 8 * 2**20  # bytes copied at a time

# of a claim, all in seconds
_BEAT_S = 10.0  # between two signs of life of its owner
_DEAD_S = 60.0  # without one, its owner counts as dead
_POLL_S = 1.0
_SETTLE_S = 1.0  # after which two claims of the same moment see each other

Checksums = Mapping[str, Mapping[str, int | str]]  # file -> {"bytes": ..., "sha256": ...}


def local(location: str) -> str:
    """The folder of this machine for the datasets at a location: the location itself, or for a URI
    a folder of the cache, which is made. Raises OSError where the cache cannot be written.
    """
    if "://" not in location:
        return location
    base = os.environ.get(VARIABLE) or _DEFAULT
    digest = hashlib.sha256(location.encode()).hexdigest()[:12]
    name = f"{urlsplit(location).hostname or 'store'}-{digest}"
    folder = os.path.join(os.path.abspath(os.path.expanduser(base)), name)
    if not os.path.isfile(os.path.join(folder, _ORIGIN)):
        try:
            os.makedirs(folder, exist_ok=True)
            fs, path = storage.filesystem(os.path.join(folder, _ORIGIN))
            with storage.whole_file(fs, path) as sink:
                sink.write(location.encode())
        except OSError as error:
            raise OSError(
                f"this machine's copies of {location} cannot be written ({error}): set {VARIABLE} "
                f"to a folder that can"
            ) from None
    return folder


def has(root: str, name: str) -> bool:
    """Whether the folder `name` is in the store that `root` is a copy of."""
    remote = _remote(root, name)
    return remote is not None and remote.checksums() is not None


def once(root: str, name: str, make: Callable[[str], None]) -> str:
    """The folder root/name, which `make` fills under a temporary name where it is missing: as
    atomic_dirs.once does it, and as `shared` where `root` is a copy of a store.
    """
    return shared(root, name, lambda: atomic_dirs.once(root, name, make))


def shared(root: str, name: str, make: Callable[[], object]) -> str:
    """The folder root/name, which `make` has made, here or on another machine.

    Where `root` is a copy of a store, the folder is downloaded from there; if it is not there,
    `make` is called (by one process of all machines, as far as a store without locks can say that)
    and its folder is uploaded. Processes of this machine wait for each other. Raises OSError, and
    DatasetError where a file in the store is not what its checksum says.
    """
    folder, remote = os.path.join(root, name), _remote(root, name)
    if remote is None:
        make()
        return folder
    there = remote.checksums()
    if there is None or there != _checksums_here(folder):
        with _only_process_here(root, name):
            there = remote.checksums() or _make_for_all(remote, folder, make)
            if there != _checksums_here(folder):
                _download(remote, there, root, folder)
    return folder


class _Remote(NamedTuple):
    """A folder in a store."""

    fs: pafs.FileSystem
    path: str
    address: str  # without what may be secret, for messages

    def checksums(self) -> Checksums | None:
        """The checksums of its files; None where it is not whole."""
        content = _json(self.fs, f"{self.path}/{CHECKSUMS}")
        for name in content or ():
            if os.path.isabs(name) or os.path.normpath(name) != name or name.startswith(".."):
                raise DatasetError(f"{self.address}/{CHECKSUMS} names a file outside it: {name}")
        return content


def _remote(root: str, name: str) -> _Remote | None:
    """The folder `name` in the store that `root` is a copy of; None where it is a copy of none."""
    try:
        with open(os.path.join(root, _ORIGIN), encoding="utf-8") as source:
            location = source.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    fs, base = storage.filesystem(location)
    base = base.rstrip("/")
    return _Remote(fs, f"{base}/{name}", f"{urlsplit(location).scheme}://{base}/{name}")


def _make_for_all(remote: _Remote, folder: str, make: Callable[[], object]) -> Checksums:
    """Make the folder and upload it, unless another machine does; its checksums in the store."""
    with _claimed(remote):
        there = remote.checksums()
        if there is None:
            make()
            there = _upload(remote, folder)
    return there


# -- copies


def _upload(remote: _Remote, folder: str) -> Checksums:
    """Copy the files of the folder to the store, their checksums last."""
    names = sorted(
        os.path.relpath(os.path.join(place, file), folder)
        for place, _, files in os.walk(folder)
        for file in files
        if not file.endswith(_NOT_SENT)
    )
    log.info("uploading %s", remote.address)
    remote.fs.create_dir(remote.path, recursive=True)

    def send(name: str) -> dict[str, int | str]:
        with (
            open(os.path.join(folder, name), "rb") as source,
            remote.fs.open_output_stream(f"{remote.path}/{name}") as sink,
        ):
            return _copy(source, sink)

    with ThreadPoolExecutor(_THREADS) as pool:
        sums = dict(zip(names, pool.map(send, names), strict=True))
    with storage.whole_file(remote.fs, f"{remote.path}/{CHECKSUMS}") as sink:
        sink.write(json.dumps(sums).encode())
    _write_checksums(folder, sums)
    return sums


def _download(remote: _Remote, sums: Checksums, root: str, folder: str) -> None:
    """Copy the folder from the store, in place of the one that is here. An interrupted download
    goes on with the next file.
    """
    part = os.path.join(root, f".download-{os.path.basename(folder)}.part")
    os.makedirs(part, exist_ok=True)
    needed = sum(int(entry["bytes"]) for entry in sums.values())
    if shutil.disk_usage(part).free < needed:
        raise OSError(
            f"{root} has no room for {remote.address} ({needed / 1e9:.1f} GB): set {VARIABLE} to a "
            f"folder on a larger disk"
        )
    log.info("downloading %s (%.1f MB)", remote.address, needed / 1e6)

    def get(name: str) -> None:
        target = os.path.join(part, name)
        if not os.path.isfile(target) or _sum_of(target) != sums[name]:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            with (
                remote.fs.open_input_stream(f"{remote.path}/{name}") as source,
                open(target, "wb") as sink,
            ):
                found = _copy(source, sink)
            if found != sums[name]:
                raise DatasetError(
                    f"{remote.address}/{name} is not what {CHECKSUMS} beside it says: delete "
                    f"{remote.address}, it is made again"
                )

    try:
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(get, sums))
    except FileNotFoundError as error:
        raise DatasetError(
            f"{remote.address} has lost a file ({storage.one_line(error)}): delete it, it is made "
            f"again"
        ) from None
    _write_checksums(part, sums)
    if os.path.isdir(folder):  # a copy of what the store had before
        old = os.path.join(root, f".{uuid.uuid4().hex[:8]}.part")
        os.rename(folder, old)
        shutil.rmtree(old, ignore_errors=True)
    os.rename(part, folder)


def _copy(source: BinaryIO | pa.NativeFile, sink: BinaryIO | pa.NativeFile) -> dict[str, Any]:
    """Copy to the end; the size and checksum of what was copied."""
    digest, size = hashlib.sha256(), 0
    while block := source.read(_BLOCK):
        digest.update(block)
        sink.write(block)
        size += len(block)
    return {"bytes": size, "sha256": digest.hexdigest()}


def _sum_of(path: str) -> dict[str, int | str]:
    with open(path, "rb") as source:
        digest = hashlib.file_digest(source, "sha256").hexdigest()
    return {"bytes": os.path.getsize(path), "sha256": digest}


def _checksums_here(folder: str) -> Checksums | None:
    """The checksums of a folder when it was uploaded or downloaded; None for another one."""
    return _json(pafs.LocalFileSystem(), os.path.join(folder, CHECKSUMS))


def _write_checksums(folder: str, sums: Checksums) -> None:
    with storage.whole_file(*storage.filesystem(os.path.join(folder, CHECKSUMS))) as sink:
        sink.write(json.dumps(sums).encode())


def _json(fs: pafs.FileSystem, path: str) -> dict[str, Any] | None:
    """The object in a JSON file; None where there is none."""
    try:
        with fs.open_input_stream(path) as source:
            read: dict[str, Any] = json.loads(source.read())
            return read
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise DatasetError(f"{path} is not JSON ({error}): delete it") from None


# -- who makes a folder


@contextlib.contextmanager
def _only_process_here(root: str, name: str) -> Iterator[None]:
    """Keep the other processes of this machine out."""
    with open(os.path.join(root, f".{name}.copying"), "w", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log.info("waiting for another process to get %s", name)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _claimed(remote: _Remote) -> Iterator[None]:
    """Keep other machines out by a file in the store, as long as this process gives signs of life.

    A store has no locks. The last of several that write the file at once is its owner, which all
    see a moment later. If two ever took themselves for the owner, both would do the work, and the
    folder of the one that ends last would be everybody's.
    """
    path, owner = f"{remote.path}.claim", f"{uuid.uuid4().hex} of {socket.gethostname()}"
    stopped = threading.Event()

    def sign(beat: int) -> None:
        with storage.whole_file(remote.fs, path) as sink:
            sink.write(json.dumps({"owner": owner, "beat": beat}).encode())

    def give_signs_of_life() -> None:
        beat = 0
        while not stopped.wait(_BEAT_S):
            beat += 1
            with contextlib.suppress(OSError):  # the next one may get through
                sign(beat)

    remote.fs.create_dir(remote.path.rpartition("/")[0], recursive=True)
    _wait_for(remote, path, lambda: sign(0), owner)
    thread = threading.Thread(target=give_signs_of_life, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()
        with contextlib.suppress(OSError):
            storage.delete(remote.fs, path)


def _wait_for(remote: _Remote, path: str, sign: Callable[[], None], owner: str) -> None:
    """Wait until the claim is this process's: until nobody owns it, or its owner is dead."""
    seen, since, told = None, time.monotonic(), False
    while True:
        found = _json(remote.fs, path)
        if found != seen:
            seen, since = found, time.monotonic()
        if found is None or time.monotonic() - since > _DEAD_S:
            sign()
            time.sleep(_SETTLE_S)
            seen = _json(remote.fs, path)
            since = time.monotonic()
            if seen and seen.get("owner") == owner:
                return
        elif not told:
            told = True
            log.info("waiting for another machine to make %s: %s", remote.address, found)
        time.sleep(_POLL_S)
