"""The interface of a source of episodes, and what its formats share."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from PIL import Image, UnidentifiedImageError

from harness.data.episodes import DatasetError

PIXELS = "pixels"  # the column of pictures, in every format
EPISODE_COLUMNS = ("episode_idx", "ep_idx")  # the number of a row's episode; files have one of them
_SAMPLE = 64 * 1024  # bytes of each file's ends that a fingerprint reads


class Source(Protocol):
    """Episodes that another program wrote; row t of one has the observation at step t and the
    action taken there.
    """

    name: str  # of the format
    looks: str  # how a source of this format is recognised, in words
    place: str
    lengths: np.ndarray  # (E,) rows
    columns: dict[str, int]  # width of each column of numbers
    size: tuple[int, int]  # height and width of a picture, px
    filters: str  # how pictures are compressed, in words
    held_out: np.ndarray | None  # (E,) bool, where the source has held-out episodes of its own

    def read(self, column: str, episode: int, begin: int, end: int) -> np.ndarray:
        """Rows begin..end - 1 of an episode's column of numbers, (n, width)."""

    def pictures(self, episode: int, begin: int, end: int) -> np.ndarray:
        """Rows begin..end - 1 of an episode's pictures, (n, height, width, 3) uint8."""

    def whole(self, column: str) -> Iterator[np.ndarray]:
        """All rows of a column of numbers, in parts (n, width)."""

    @staticmethod
    def fingerprint(place: str) -> str:
        """A hash that changes with the files of the source, without reading all of them."""


def fingerprint(paths: Sequence[str]) -> str:
    """A hash of the files' names, sizes and ends."""
    digest = hashlib.sha256()
    for path in sorted(paths):
        size = os.path.getsize(path)
        digest.update(f"{os.path.basename(path)} {size}".encode())
        with open(path, "rb") as file:
            digest.update(file.read(_SAMPLE))
            file.seek(max(0, size - _SAMPLE))
            digest.update(file.read(_SAMPLE))
    return digest.hexdigest()


def contiguous(place: str, episode: np.ndarray) -> np.ndarray:
    """Lengths (E,) of the episodes whose numbers stand in a column (R,). Raises DatasetError where
    an episode's rows do not lie together.
    """
    starts = np.flatnonzero(np.diff(episode, prepend=np.nan) != 0)
    if len(np.unique(episode[starts])) < len(starts):
        raise DatasetError(f"{place}: the rows of an episode do not lie together; write it again")
    return np.diff(np.append(starts, len(episode)))


def unpacked(place: str, picture: bytes) -> np.ndarray:
    """The picture (height, width, 3) uint8 of a JPEG's or PNG's bytes. Raises DatasetError."""
    try:
        with Image.open(io.BytesIO(picture)) as image:
            return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError) as error:
        raise DatasetError(f"{place}: a picture cannot be read ({error})") from None


def flat(values: np.ndarray) -> np.ndarray:
    """Values (n, ...) as (n, width)."""
    return values.reshape(len(values), -1)
