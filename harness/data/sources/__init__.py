"""Reads datasets that other programs wrote: one file here for each format, all with one interface.

    HDF5         FILE.h5              hdf5.py
    Lance        FOLDER.lance         lance.py
    folder       FOLDER of .npz       folder.py, stable-worldmodel's layout with one JPEG a step
    DINO-WM      pusht_noise          dino_wm.py, tensors and one video an episode
    the hub      hf:OWNER/NAME        hub.py downloads one of these

Nothing that is read is unpickled.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from harness.data import cache
from harness.data.episodes import DatasetError
from harness.data.sources import dino_wm, folder, hdf5, hub, lance
from harness.data.sources.interface import Source

OWN = "own"  # the value of data.source that stands for the task's own collector
RELEASED = "released"  # the value that stands for the task's released dataset


class Release(NamedTuple):
    """A released dataset of the hub."""

    place: str
    longest: int  # steps of its longest episode


RELEASES = {  # by task
    "push_t": Release("hf:quentinll/lewm-pusht", 246),
    "two_room": Release("hf:quentinll/lewm-tworooms", 101),
    "reacher": Release("hf:quentinll/lewm-reacher", 201),
    "cube": Release("hf:quentinll/lewm-cube", 201),
}
_FORMATS = (hdf5.HDF5, lance.Lance, folder.Folder, dino_wm.DinoWM)


def local(place: str, root: str) -> str:
    """The place on this machine of a source: one of the hub is downloaded into the folder `root`
    first, unless it is there already. Raises DatasetError and OSError.
    """
    return hub.fetch(place, _downloads(root)) if place.startswith(hub.PREFIX) else place


def to_download(place: str, root: str) -> int:
    """The bytes that `local` would download. Raises DatasetError."""
    return hub.missing(place, _downloads(root)) if place.startswith(hub.PREFIX) else 0


def _downloads(root: str) -> str:
    return os.path.join(cache.local(root), "hub")


def open_source(place: str) -> Source:
    """Open a local file or folder, or the URI of a Lance table. Raises DatasetError."""
    source: Source = _kind(place)(place)
    return source


def fingerprint(place: str) -> str:
    """A hash that changes with the files of a local source. Raises DatasetError."""
    return _kind(place).fingerprint(place)


def _kind(place: str) -> Any:
    """The class of the source's format, which takes a place and gives a Source."""
    if "://" not in place and not os.path.exists(place):
        raise DatasetError(f"{place} does not exist; data.source is a file, a folder or hf:NAME")
    for kind in _FORMATS:
        if kind.fits(place):
            return kind
    formats = ", ".join(f"{kind.name} ({kind.looks})" for kind in _FORMATS)
    raise DatasetError(f"{place} has no format that can be read; these can: {formats}")
