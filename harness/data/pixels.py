"""Stores the pictures of a shard in an Arrow column: raw, or each compressed by itself with LZ4."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np
import pyarrow as pa

Storage = Literal["raw", "lz4"]
_CODEC = "lz4_raw"


class Pictures(Protocol):
    """The pictures of a shard, whichever way they are stored."""

    storage: Storage

    def take(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Read the pictures of `rows` (N,) into out (N, 3, size, size)."""

    def span(self, first: int, last: int) -> np.ndarray:
        """The pictures of rows first..last - 1, (last - first, 3, size, size)."""


def field(storage: Storage, size: int) -> pa.Field:
    """The Arrow field of square pictures of `size` px."""
    kind = pa.binary(_bytes(size)) if storage == "raw" else pa.large_binary()
    return pa.field("pixels", kind, nullable=False)


def layout(storage: Storage, size: int) -> str:
    """The description of the column for the file's schema."""
    return f"uint8 (3, {size}, {size}) RGB, channel first, {storage}"


def to_arrow(storage: Storage, pictures: np.ndarray) -> pa.Array:
    """A column of pictures (R, 3, size, size) uint8; raw pictures are not copied."""
    pictures = np.ascontiguousarray(pictures)
    if storage == "raw":
        kind = pa.binary(_bytes(pictures.shape[-1]))
        return pa.Array.from_buffers(kind, len(pictures), [None, pa.py_buffer(pictures)])
    codec = pa.Codec(_CODEC)
    packed = [codec.compress(pa.py_buffer(picture), asbytes=True) for picture in pictures]
    return pa.array(packed, pa.large_binary())


def from_arrow(column: pa.Array, size: int) -> Pictures:
    """A reader of the pictures in a column."""
    return Packed(column, size) if pa.types.is_large_binary(column.type) else Raw(column, size)


class Raw:
    """Reads uncompressed pictures."""

    storage: Storage = "raw"

    def __init__(self, column: pa.Array, size: int):
        flat = np.frombuffer(column.buffers()[1], np.uint8, len(column) * _bytes(size))
        self._pictures = flat.reshape(len(column), 3, size, size)

    def take(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Read the pictures of `rows` (N,) into out (N, 3, size, size)."""
        # mode="clip" writes straight to `out`; the default goes through a buffer
        np.take(self._pictures, rows, axis=0, out=out, mode="clip")

    def span(self, first: int, last: int) -> np.ndarray:
        """The pictures of rows first..last - 1, as a view."""
        return self._pictures[first:last]


class Packed:
    """Reads compressed pictures. Those of a simulator take less time to unpack than to copy."""

    storage: Storage = "lz4"

    def __init__(self, column: pa.Array, size: int):
        _, ends, self._values = column.buffers()
        self._ends = np.frombuffer(ends, np.int64, len(column) + 1)
        self._size = size
        self._codec = pa.Codec(_CODEC)

    def take(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Read the pictures of `rows` (N,) into out (N, 3, size, size)."""
        flat, count = out.reshape(len(rows), -1), _bytes(self._size)
        begins, ends = self._ends[rows].tolist(), self._ends[rows + 1].tolist()
        for i, (begin, end) in enumerate(zip(begins, ends, strict=True)):
            packed = self._values.slice(begin, end - begin)
            flat[i] = np.frombuffer(self._codec.decompress(packed, count), np.uint8)

    def span(self, first: int, last: int) -> np.ndarray:
        """The pictures of rows first..last - 1, unpacked."""
        out = np.empty((last - first, 3, self._size, self._size), np.uint8)
        self.take(np.arange(first, last), out)
        return out


def _bytes(size: int) -> int:
    return 3 * size**2
