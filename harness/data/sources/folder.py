"""stable-worldmodel's folder: one .npz a column of numbers, one JPEG a step for pictures."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Iterator

import numpy as np

from harness.data.episodes import DatasetError
from harness.data.sources import interface
from harness.data.sources.interface import PIXELS

_LENGTHS, _OFFSETS = "ep_len", "ep_offset"
# what numpy and zipfile raise on damaged bytes
_DAMAGED: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    ValueError,
    LookupError,
    RuntimeError,
    MemoryError,
)
_DAMAGED += (zipfile.BadZipFile, zlib.error)


class Folder:
    """A source (interface.Source)."""

    name = "folder"
    looks = f"a folder with {_LENGTHS}.npz"
    held_out = None

    def __init__(self, place: str):
        """Raises DatasetError for a folder whose files are damaged or do not fit together."""
        self.place = place
        names = [entry.name for entry in os.scandir(place) if entry.name.endswith(".npz")]
        read = {name.removesuffix(".npz"): self._load(name) for name in sorted(names)}
        self.lengths = read.pop(_LENGTHS).astype(np.int64)
        first = read.pop(_OFFSETS, np.cumsum(self.lengths) - self.lengths)
        self._first = first.astype(np.int64)
        rows = int(self.lengths.sum())
        numbers = {n: v for n, v in read.items() if len(v) == rows and v.dtype.kind in "fiub"}
        self._columns = {name: interface.flat(values) for name, values in numbers.items()}
        self.columns = {name: values.shape[1] for name, values in self._columns.items()}
        if not rows or not os.path.isdir(os.path.join(place, PIXELS)):
            raise DatasetError(f"{place} has no episodes or no folder {PIXELS}")
        self.size = self.pictures(0, 0, 1).shape[1:3]
        self.filters = "JPEG, one file a step"

    @classmethod
    def fits(cls, place: str) -> bool:
        """Whether the place looks like this format."""
        return os.path.isfile(os.path.join(place, f"{_LENGTHS}.npz"))

    def read(self, column: str, episode: int, begin: int, end: int) -> np.ndarray:
        """Rows of an episode's column of numbers, (n, width)."""
        first = self._first[episode]
        return self._columns[column][first + begin : first + end]

    def pictures(self, episode: int, begin: int, end: int) -> np.ndarray:
        """Rows of an episode's pictures, (n, height, width, 3) uint8."""
        return np.stack([self._picture(episode, step) for step in range(begin, end)])

    def whole(self, column: str) -> Iterator[np.ndarray]:
        """All rows of a column of numbers, (n, width)."""
        yield self._columns[column]

    @staticmethod
    def fingerprint(place: str) -> str:
        """A hash of the .npz files."""
        files = [e.path for e in os.scandir(place) if e.name.endswith(".npz")]
        return interface.fingerprint(files)

    def _load(self, name: str) -> np.ndarray:
        path = os.path.join(self.place, name)
        try:
            with np.load(path, allow_pickle=False) as archive:
                return archive[archive.files[0]]
        except _DAMAGED as error:
            raise DatasetError(f"{path} cannot be read ({error})") from None

    def _picture(self, episode: int, step: int) -> np.ndarray:
        stem = os.path.join(self.place, PIXELS, f"ep_{episode}_step_{step}")
        for path in (f"{stem}.jpeg", f"{stem}.jpg"):
            if os.path.isfile(path):
                with open(path, "rb") as file:
                    return interface.unpacked(path, file.read())
        raise DatasetError(f"{stem}.jpeg is missing")
