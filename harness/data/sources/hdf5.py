"""One HDF5 file: a data set a column, and `ep_len` with `ep_offset`, or a column of episodes.

stable-worldmodel writes it without compression; released files compress their pictures by a plugin
filter, which is named where this machine lacks it: everything but the pictures reads without it.
Of a file on another file system (s3://, gs://, ...) only the rows that are wanted are read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import h5py
import hdf5plugin  # noqa: F401  registers the filters
import numpy as np
import pyarrow as pa

from harness.data.episodes import DatasetError
from harness.data.sources import interface
from harness.data.sources.interface import EPISODE_COLUMNS, PIXELS
from harness.records import storage
from harness.runtime import command

_NO_COLUMNS = ("ep_len", "ep_offset")
_PART = 1 << 16  # rows read at a time
_MOST_LEVELS = 8  # of groups in one another; a group may be inside itself
# what h5py raises where a file is not what HDF5 allows
_DAMAGED = (OSError, pa.ArrowException, RuntimeError, LookupError, ValueError, TypeError)


class HDF5:
    """A source (interface.Source)."""

    name = "HDF5"
    looks = "FILE.h5 or FILE.hdf5"
    held_out = None

    def __init__(self, place: str):
        """Raises DatasetError for a file that is cut off, or has no episodes or no pictures."""
        self.place = place
        try:
            self._file = h5py.File(_opened(place) if "://" in place else place, "r")
            sets = dict(_data_sets(self._file))
        except _DAMAGED as error:
            raise DatasetError(f"{place} cannot be opened: {_line(error)}") from None
        found = {name: data for name, data in sets.items() if name not in _NO_COLUMNS}
        shape: tuple[int, ...] = found[PIXELS].shape if PIXELS in found else ()
        kind = found[PIXELS].dtype if PIXELS in found else None
        if len(shape) != 4 or shape[-1] != 3 or kind != np.uint8:
            raise DatasetError(f"{place} has no pictures: no {PIXELS} (N, height, width, 3) uint8")
        self._pixels = found.pop(PIXELS)
        self._columns = {name: d for name, d in found.items() if d.ndim and d.dtype.kind in "fiub"}
        self.columns = {n: int(np.prod(d.shape[1:])) for n, d in self._columns.items()}
        self.size = self._pixels.shape[1:3]
        try:
            self.lengths, self._first = self._episodes()
        except DatasetError:
            raise
        except (*_DAMAGED, MemoryError) as error:
            raise DatasetError(
                f"{place} does not say where episodes begin: {_line(error)}"
            ) from None
        self.filters = _filters(self._pixels)

    @classmethod
    def fits(cls, place: str) -> bool:
        """Whether the place looks like this format."""
        there = "://" in place or os.path.isfile(place)
        return there and place.endswith((".h5", ".hdf5"))

    def read(self, column: str, episode: int, begin: int, end: int) -> np.ndarray:
        """Rows of an episode's column of numbers, (n, width)."""
        first = self._first[episode]
        return interface.flat(self._rows(self._columns[column], first + begin, first + end))

    def pictures(self, episode: int, begin: int, end: int) -> np.ndarray:
        """Rows of an episode's pictures, (n, height, width, 3) uint8."""
        first = self._first[episode]
        return self._rows(self._pixels, first + begin, first + end)

    def whole(self, column: str) -> Iterator[np.ndarray]:
        """All rows of a column of numbers, in parts (n, width)."""
        data = self._columns[column]
        for first in range(0, len(data), _PART):
            yield interface.flat(self._rows(data, first, min(first + _PART, len(data))))

    @staticmethod
    def fingerprint(place: str) -> str:
        """A hash of the file's size and ends; "" for a file that is far away."""
        return "" if "://" in place else interface.fingerprint([place])

    def _rows(self, data: h5py.Dataset, first: int, end: int) -> np.ndarray:
        try:
            return data[first:end]
        except (*_DAMAGED, MemoryError) as error:
            missing = _missing_filters(data)
            if missing:
                raise DatasetError(
                    f"{self.place}: {data.name[1:]} is compressed by filter {missing}, which "
                    f"hdf5plugin does not have here: "
                    f"{command.module('pip', 'install', '-U', 'hdf5plugin')}"
                ) from None
            raise DatasetError(
                f"{self.place}: {data.name[1:]} cannot be read ({_line(error)})"
            ) from None

    def _episodes(self) -> tuple[np.ndarray, np.ndarray]:
        """Lengths and first rows of the episodes, (E,) each."""
        rows = len(self._pixels)
        if all(name in self._file for name in _NO_COLUMNS):
            lengths, first = (self._file[name][:].astype(np.int64) for name in _NO_COLUMNS)
            good = len(lengths) == len(first) > 0 and (lengths > 0).all() and (first >= 0).all()
            if not good or (first + lengths).max() > rows:
                raise DatasetError(f"{self.place}: ep_len and ep_offset do not fit {rows} rows")
            if lengths.sum() != rows:
                raise DatasetError(
                    f"{self.place}: ep_len adds up to {lengths.sum():,} of {rows:,} rows: "
                    f"correct it, or leave it and ep_offset out where a column says the episodes"
                )
        else:
            name = next((c for c in EPISODE_COLUMNS if c in self._columns), None)
            if name is None or not rows:
                raise DatasetError(
                    f"{self.place} does not say where episodes begin: it has neither "
                    f"{' with '.join(_NO_COLUMNS)} nor {' or '.join(EPISODE_COLUMNS)}"
                )
            column = self._rows(self._columns[name], 0, rows).reshape(-1)
            lengths = interface.contiguous(self.place, column)
            first = np.cumsum(lengths) - lengths
        short = [n for n, d in self._columns.items() if len(d) < (first + lengths).max()]
        self._columns = {n: d for n, d in self._columns.items() if n not in short}
        self.columns = {n: width for n, width in self.columns.items() if n not in short}
        return lengths, first


def _opened(uri: str) -> pa.NativeFile:
    fs, path = storage.filesystem(uri)
    return fs.open_input_file(path)


def _data_sets(
    group: h5py.Group, above: str = "", levels: int = _MOST_LEVELS
) -> Iterator[tuple[str, h5py.Dataset]]:
    """Every data set by its name; those in groups have the groups' names in front, with "_". What a
    link names in another file is no part of this one.
    """
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            continue
        item = group[name]
        if isinstance(item, h5py.Group) and levels:
            yield from _data_sets(item, f"{above}{name}_", levels - 1)
        elif isinstance(item, h5py.Dataset):
            yield f"{above}{name}", item


def _filter_ids(data: h5py.Dataset) -> list[tuple[int, str]]:
    properties = data.id.get_create_plist()
    found = [properties.get_filter(i) for i in range(properties.get_nfilters())]
    return [(code, name.decode(errors="replace")) for code, _, _, name in found]


def _filters(data: h5py.Dataset) -> str:
    ids = _filter_ids(data)
    return ", ".join(f"{name} ({code})" if name else str(code) for code, name in ids) or "none"


def _missing_filters(data: h5py.Dataset) -> str:
    ids = _filter_ids(data)
    return ", ".join(f"{code} ({name})" for code, name in ids if not h5py.h5z.filter_avail(code))


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
