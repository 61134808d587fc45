"""A Lance table: one row a step, pictures as JPEG in a binary column, numbers in lists.

Local folders and any URI that the library opens (s3://, gs://, ...); of a table that is far away,
only the rows that are wanted are read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from harness.data.episodes import DatasetError
from harness.data.sources import interface
from harness.data.sources.interface import EPISODE_COLUMNS, PIXELS
from harness.runtime import command


class Lance:
    """A source (interface.Source)."""

    name = "Lance"
    looks = "FOLDER.lance"
    held_out = None

    def __init__(self, place: str):
        """Raises DatasetError for a table that cannot be opened or has no episodes or pictures."""
        self.place = place
        self._table = _open(place)
        schema = self._table.schema
        self.columns = {field.name: width for field in schema if (width := _width(field.type))}
        if PIXELS not in schema.names or not _is_binary(schema.field(PIXELS).type):
            raise DatasetError(f"{place} has no pictures: no {PIXELS} of encoded pictures")
        episode = next((name for name in EPISODE_COLUMNS if name in self.columns), None)
        if episode is None:
            raise DatasetError(
                f"{place} does not say where episodes begin: it has neither "
                f"{' nor '.join(EPISODE_COLUMNS)}"
            )
        column = np.concatenate([*self.whole(episode)] or [np.empty((0, 1))])[:, 0]
        if not len(column):
            raise DatasetError(f"{place} has no rows")
        self.lengths = interface.contiguous(place, column)
        self._first = np.cumsum(self.lengths) - self.lengths
        picture = self.pictures(0, 0, 1)[0]
        self.size = picture.shape[:2]
        self.filters = "encoded one by one"

    @classmethod
    def fits(cls, place: str) -> bool:
        """Whether the place looks like this format."""
        return place.rstrip("/").endswith(".lance")

    def read(self, column: str, episode: int, begin: int, end: int) -> np.ndarray:
        """Rows of an episode's column of numbers, (n, width)."""
        return _numbers(self._rows(column, episode, begin, end))

    def pictures(self, episode: int, begin: int, end: int) -> np.ndarray:
        """Rows of an episode's pictures, (n, height, width, 3) uint8."""
        column = self._rows(PIXELS, episode, begin, end)
        return np.stack([interface.unpacked(self.place, value.as_py()) for value in column])

    def whole(self, column: str) -> Iterator[np.ndarray]:
        """All rows of a column of numbers, in parts (n, width)."""
        for batch in self._table.scanner(columns=[column]).to_reader():
            yield _numbers(batch.column(0))

    @staticmethod
    def fingerprint(place: str) -> str:
        """A hash of the files' names, sizes and ends; "" for a table that is far away."""
        if "://" in place:
            return ""
        paths = [os.path.join(top, f) for top, _, files in os.walk(place) for f in files]
        return interface.fingerprint(paths)

    def _rows(self, column: str, episode: int, begin: int, end: int) -> pa.Array:
        first = int(self._first[episode]) + begin
        try:
            table = self._table.to_table([column], offset=first, limit=end - begin)
        except (OSError, ValueError) as error:
            raise DatasetError(f"{self.place}: {column} cannot be read ({_line(error)})") from None
        return table.column(0).combine_chunks()


def _open(place: str) -> Any:
    try:
        import lance
    except ImportError as error:
        raise DatasetError(
            f"{place} needs the package pylance ({error}): "
            f"{command.module('pip', 'install', 'pylance')}"
        ) from None
    try:
        return lance.dataset(place)
    except (OSError, ValueError) as error:
        raise DatasetError(f"{place} cannot be opened: {_line(error)}") from None


def _width(kind: pa.DataType) -> int:
    """How many numbers a column has in a row; 0 for a column of something else."""
    if pa.types.is_fixed_size_list(kind):
        return kind.list_size if _is_number(kind.value_type) else 0
    return int(_is_number(kind))


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_floating(kind) or pa.types.is_integer(kind)


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _numbers(column: pa.Array) -> np.ndarray:
    """A column as (n, width); a missing number is NaN."""
    if pa.types.is_fixed_size_list(column.type):
        width = column.type.list_size
        return column.flatten().to_numpy(zero_copy_only=False).reshape(-1, width)
    return column.to_numpy(zero_copy_only=False)[:, None]


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]
