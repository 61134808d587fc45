"""Downloads a dataset of the Hugging Face hub: hf:OWNER/NAME[@REVISION][/FILE].

Without FILE the repository must hold one dataset: a file .h5 or .hdf5, the same compressed (.zst,
.tar.zst), or a folder .lance. An interrupted download goes on where it was; each file's checksum is
compared with the hub's; what is compressed is unpacked as it is read, and kept unpacked alone.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import logging
import os
import re
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from typing import IO, NamedTuple

import huggingface_hub
import pyarrow as pa
from huggingface_hub.errors import EntryNotFoundError, HTTPError
from huggingface_hub.hf_api import RepoFile

from harness.data import atomic_dirs
from harness.data.episodes import DatasetError
from harness.runtime.progress import Display

log = logging.getLogger(__name__)

PREFIX = "hf:"
_PLACE = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[^/]+))?(/(?P<file>.+))?")
_FILES = (".h5", ".hdf5")
_PACKED = tuple(f"{kind}.zst" for kind in _FILES)
_ARCHIVE = ".tar.zst"
_TABLE = ".lance"
_BLOCK = 8 * 2**20  # bytes read at a time
_MB = 10**6


class _File(NamedTuple):
    path: str  # in the repository
    size: int
    sha256: str  # "" where the hub does not say it


def fetch(place: str, root: str) -> str:
    """The local file or folder of a dataset of the hub, which is downloaded into the folder `root`
    unless it is there already.

    Raises DatasetError for a name that the hub does not have, a file that is damaged and a hub that
    does not answer, and OSError where the disk is full.
    """
    with _explaining(place):
        found = _find(place)

        def make(part: str) -> None:
            _check_room(place, found.files, part)
            for file in found.files:
                _download(found.remote, file, part)
            _unpack(place, found.chosen, part)

        os.makedirs(root, exist_ok=True)
        return _inside(atomic_dirs.once(root, found.folder, make))


def missing(place: str, root: str) -> int:
    """The bytes that `fetch` would download. Raises DatasetError as it does."""
    with _explaining(place):
        found = _find(place)
    there = os.path.isdir(os.path.join(root, found.folder))
    return 0 if there else sum(file.size for file in found.files)


class _Found(NamedTuple):
    remote: str  # the repository at its commit
    chosen: str  # the file, or the folder of a table, in it
    files: list[_File]  # of which that consists
    folder: str  # its name here


def _find(place: str) -> _Found:
    match = _PLACE.fullmatch(place)
    if match is None:
        raise DatasetError(f"{place} is not of the form hf:OWNER/NAME[@REVISION][/FILE]")
    commit, files = _list(match["repo"], match["revision"])
    chosen = _choose(place, files, match["file"])
    wanted = [f for f in files if f.path == chosen or f.path.startswith(f"{chosen}/")]
    name = f"{match['repo']}/{commit[:12]}/{chosen}".replace("/", "--")
    return _Found(f"datasets/{match['repo']}@{commit}", chosen, wanted, name)


@contextlib.contextmanager
def _explaining(place: str) -> Iterator[None]:
    """Turn what the hub's library raises into a DatasetError that says what to do."""
    try:
        yield
    except (HTTPError, ConnectionError, EntryNotFoundError) as error:
        raise DatasetError(
            f"{place} cannot be had: {_reason(error)}; where it lies on a disk, give "
            f"data.source=FILE_OR_FOLDER"
        ) from None


def _list(repo: str, revision: str | None) -> tuple[str, list[_File]]:
    """The commit that a revision stands for, and the files of a repository at it."""
    api = huggingface_hub.HfApi(endpoint=_endpoint())
    commit = api.dataset_info(repo, revision=revision).sha
    assert commit is not None, repo
    tree = api.list_repo_tree(repo, recursive=True, revision=commit, repo_type="dataset")
    found = [entry for entry in tree if isinstance(entry, RepoFile)]
    return commit, [_File(e.path, e.size, e.lfs.sha256 if e.lfs else "") for e in found]


def _endpoint() -> str | None:
    return os.environ.get("HF_ENDPOINT")


def _choose(place: str, files: Sequence[_File], named: str | None) -> str:
    """The path in the repository of the file, or of the folder of a table."""
    inside = [f.path.partition(f"{_TABLE}/") for f in files if f"{_TABLE}/" in f.path]
    tables = {f"{above}{_TABLE}" for above, _, _ in inside}
    kinds = (*_FILES, *_PACKED, _ARCHIVE)
    paths = sorted(tables | {f.path for f in files if f.path.endswith(kinds)})
    choices = [named] if named in paths else ([] if named else paths)
    if len(choices) == 1:
        return choices[0]
    wrong = f"has no {named}" if named else ("has several" if paths else "has no dataset")
    there = ", ".join(paths) or f"no file {', '.join(kinds)} and no folder {_TABLE}"
    raise DatasetError(f"{place} {wrong}; the repository has {there}")


def _check_room(place: str, files: Sequence[_File], part: str) -> None:
    """Say how large the files are. Raises OSError where they do not fit on the disk."""
    there = sum(e.stat().st_size for e in os.scandir(part) if e.is_file())
    needed, free = sum(f.size for f in files) - there, shutil.disk_usage(part).free
    log.info("%s: downloading %.1f MB to %s", place, needed / _MB, os.path.dirname(part))
    if needed > free:
        raise OSError(
            errno.ENOSPC, f"disk full: {needed:,} bytes are needed and {free:,} are free", part
        )


def _download(remote: str, file: _File, part: str) -> None:
    """Download a file, from where an interrupted download ended on. Raises DatasetError where its
    checksum is not the hub's.
    """
    target = os.path.join(part, file.path)
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if os.path.exists(target):
        return
    half = f"{target}.half"
    with (
        open(half, "ab") as sink,
        Display(file.size // _MB, sink.tell() // _MB, f"{file.path}, MB") as display,
    ):
        reader = huggingface_hub.HfFileSystem(endpoint=_endpoint())
        with reader.open(f"{remote}/{file.path}", "rb", block_size=_BLOCK) as stream:
            stream.seek(sink.tell())
            while block := stream.read(_BLOCK):
                shown = sink.tell() // _MB
                sink.write(block)
                display.advance(sink.tell() // _MB - shown)
    _check_sum(file, half)
    os.rename(half, target)


def _check_sum(file: _File, path: str) -> None:
    size, digest = os.path.getsize(path), hashlib.sha256()
    with open(path, "rb") as source:
        while block := source.read(_BLOCK):
            digest.update(block)
    if size != file.size or (file.sha256 and digest.hexdigest() != file.sha256):
        os.remove(path)
        raise DatasetError(
            f"{file.path} has {size:,} bytes and sha256 {digest.hexdigest()[:12]}, the hub says "
            f"{file.size:,} and {file.sha256[:12] or '?'}: it was deleted, and the same command "
            f"downloads it again"
        )


def _unpack(place: str, chosen: str, part: str) -> None:
    """Unpack a compressed file beside it and delete it. Raises DatasetError and OSError."""
    packed = os.path.join(part, chosen)
    if not chosen.endswith((*_PACKED, _ARCHIVE)):
        return
    half, size = os.path.join(part, "unpacked.half"), os.path.getsize(packed)
    log.info("unpacking %s, %.1f MB", chosen, size / _MB)
    name = os.path.basename(chosen.removesuffix(".zst"))
    try:
        with open(packed, "rb") as source, Display(size // _MB, title=f"{chosen}, MB") as display:
            counted = pa.PythonFile(_Counted(source, display), "r")
            with pa.CompressedInputStream(counted, "zstd") as stream, open(half, "wb") as sink:
                if chosen.endswith(_ARCHIVE):
                    name = _extract(stream, sink)
                else:
                    shutil.copyfileobj(stream, sink, _BLOCK)
    except BaseException as error:
        os.remove(half)  # half a file would only keep a full disk full
        of_stream = isinstance(error, OSError) and error.errno is None  # Arrow's, of bad contents
        if of_stream or isinstance(error, tarfile.TarError | pa.ArrowException | EOFError):
            reason = _reason(error)
            raise DatasetError(f"{place}: {chosen} cannot be unpacked ({reason})") from None
        raise
    os.rename(half, os.path.join(part, name))
    os.remove(packed)


def _extract(stream: pa.NativeFile, sink: IO[bytes]) -> str:
    """Copy the one HDF5 file of an archive, which is read forwards; its name without folders."""
    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            if member.isfile() and member.name.endswith(_FILES):
                content = archive.extractfile(member)
                assert content is not None, member.name  # it is a file
                shutil.copyfileobj(content, sink, _BLOCK)
                return os.path.basename(member.name)
    raise tarfile.TarError(f"it holds no file {' or '.join(_FILES)}")


class _Counted(io.RawIOBase):
    """A file whose reading is shown."""

    def __init__(self, source: IO[bytes], display: Display):
        self._source, self._display, self._shown = source, display, 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        block = self._source.read(size)
        done = self._source.tell() // _MB
        self._display.advance(done - self._shown)
        self._shown = done
        return block


def _inside(folder: str) -> str:
    """The dataset in a folder that was filled."""
    for top, names, files in os.walk(folder):
        for name in [*names, *files]:
            if name.endswith((*_FILES, _TABLE)):
                return os.path.join(top, name)
    raise DatasetError(f"{folder} holds no dataset; delete it, and it is downloaded again")


def _reason(error: BaseException) -> str:
    """An error's message on one line, cut."""
    return " ".join(str(error).split())[:200] or type(error).__name__
