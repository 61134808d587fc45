"""Files on any file system: local paths and URIs; files written whole or not at all."""

from __future__ import annotations

import contextlib
import json
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
from pyarrow import fs as pafs

_PART = re.compile(r"(.+)\.[0-9a-f]{8}\.part")  # what whole_file writes into, beside the file


def filesystem(path: str) -> tuple[pafs.FileSystem, str]:
    """A local path or a URI (s3://...) as (file system, path on it). Raises OSError."""
    if "://" in str(path):
        try:
            fs, base = pafs.FileSystem.from_uri(str(path))
            return fs, base
        except (pa.ArrowException, OSError) as error:
            raise OSError(f"{path} cannot be used: {one_line(error)}") from error
    return pafs.LocalFileSystem(), str(path)


def join(folder: str, *names: str) -> str:
    """The path or URI of what lies in a folder; the query of a URI (s3://bucket/a?region=b) stays
    behind it.
    """
    path, mark, query = folder.partition("?") if "://" in folder else (folder, "", "")
    return "/".join([path.rstrip("/"), *names]) + mark + query


def parent(path: str) -> str:
    """The folder in which a path or URI of `join` lies."""
    path, mark, query = path.partition("?") if "://" in path else (path, "", "")
    return path.rstrip("/").rpartition("/")[0] + mark + query


@contextlib.contextmanager
def whole_file(fs: pafs.FileSystem, path: str) -> Iterator[pa.NativeFile]:
    """A new file to write into, which replaces `path` when the block ends and is deleted when it
    fails. Two processes that write the same path do not disturb each other.
    """
    part = f"{path}.{uuid.uuid4().hex[:8]}.part"
    try:
        with fs.open_output_stream(part) as sink:
            yield sink
        fs.move(part, path)
    except BaseException:
        delete(fs, part)  # half a file would only keep a full disk full
        raise


def remove_parts(folder: str, file: str = "", older_than_s: float = 0.0) -> None:
    """Delete what killed processes have left of files that they were writing in `folder`, or of
    `file` alone. Without an age it is for those who alone write there. What cannot be deleted
    stays.
    """
    fs, base = filesystem(folder)
    with contextlib.suppress(OSError, pa.ArrowException):
        for info in fs.get_file_info(pafs.FileSelector(base, allow_not_found=True)):
            part = _PART.fullmatch(info.base_name)
            is_old = info.mtime_ns is None or info.mtime_ns <= 1e9 * (time.time() - older_than_s)
            if part and (not file or part[1] == file) and (is_old or not older_than_s):
                with contextlib.suppress(FileNotFoundError):  # its owner was faster
                    fs.delete_file(info.path)


def write_json(path: str, content: Mapping[str, Any]) -> None:
    """Write a JSON object, its keys sorted, as one file, whole or not at all; the folder is made
    where it is missing. Raises OSError.
    """
    fs, base = filesystem(path)
    fs.create_dir(base.rpartition("/")[0] or ".", recursive=True)
    with whole_file(fs, base) as sink:
        sink.write(f"{json.dumps(content, indent=2, sort_keys=True)}\n".encode())


def parse_json(text: str | bytes) -> Any:
    """The content of JSON that somebody else may have written. Raises ValueError, also where it is
    nested too deep.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def delete(fs: pafs.FileSystem, path: str) -> None:
    """Delete the file `path` where there is one."""
    if fs.get_file_info(path).type != pafs.FileType.NotFound:
        fs.delete_file(path)


def is_file(path: str) -> bool:
    """Whether there is a file of this path or URI."""
    fs, base = filesystem(path)
    return bool(fs.get_file_info(base).type == pafs.FileType.File)


def one_line(error: object) -> str:
    """The first 200 characters of an error's message, or of another text, on one line."""
    return " ".join(str(error).split())[:200]
